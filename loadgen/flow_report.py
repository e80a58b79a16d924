"""What came of a file: counts, the final book against the file's own, and the executions."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from openoutcry.loadgen.flow_book import FileBook
from openoutcry.loadgen.flow_executions import Reproduction, compare_executions
from openoutcry.loadgen.flow_files import FlowFile
from openoutcry.loadgen.flow_mapping import Mapper
from openoutcry.loadgen.flow_orders import OwnOrders

GAP = "gap"
EARLY = "early"
CORRECTED = "corrected"
FILLED_MORE = "filled more"
FILLED_LESS = "filled less"
REFUSED = "refused"
UNEXPLAINED = "unexplained"

#: The rules of docs/flow.md that explain a difference.
RULES = {
    GAP: "a later event shows that the order had left, though the file does not say when",
    EARLY: "the file tells of its end before its creation, so its own book never loses it",
    FILLED_MORE: "the venue's price-time priority filled more of it than the file's market did",
    FILLED_LESS: "what the file's market filled of it went to an order that stood before it",
    CORRECTED: "quantities of single fills differ (the file rounds), and were corrected once",
    REFUSED: "a request on it was refused: the venue had filled the order before",
    UNEXPLAINED: "no rule explains it",
}


@dataclass(frozen=True, slots=True)
class Difference:
    """An order that the two final books do not agree on."""

    order_id: str
    rule: str
    #: (price, quantity left); None where it does not rest.
    in_file: tuple[int, int] | None
    at_venue: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class FlowReport:
    """The outcome of one file."""

    format: str
    events: int
    events_by_word: dict[str, int]
    sent_by_word: dict[str, int]
    #: (reason, word) → events.
    skipped: dict[tuple[str, str], int]
    requests: int
    gap_cancels: int
    gaps_contradicted: int
    #: Events that named an order before its creation.
    held: int
    refused: dict[str, int]
    fills: int
    file_resting: int
    venue_resting: int
    differences: tuple[Difference, ...]
    reproduction: Reproduction

    @property
    def events_sent(self) -> int:
        """Events for which requests were sent."""
        return sum(self.sent_by_word.values())

    def as_json(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return {
            "format": self.format,
            "events": self.events,
            "events_sent": self.events_sent,
            "events_by_type": self.events_by_word,
            "sent_by_type": self.sent_by_word,
            "skipped": [
                {"reason": reason, "type": word, "events": count}
                for (reason, word), count in sorted(self.skipped.items())
            ],
            "requests": self.requests,
            "gap_cancels": self.gap_cancels,
            "gaps_contradicted": self.gaps_contradicted,
            "held_until_created": self.held,
            "refused": self.refused,
            "fills": self.fills,
            "file_resting": self.file_resting,
            "venue_resting": self.venue_resting,
            "differences": [
                {
                    "order_id": one.order_id,
                    "rule": one.rule,
                    "file": one.in_file,
                    "venue": one.at_venue,
                }
                for one in self.differences
            ],
            "executions": self.reproduction.executions,
            "executions_reproduced": self.reproduction.reproduced,
            "executions_reproduced_but_for_rounding": self.reproduction.rounded,
            "executions_of_orders_never_created": self.reproduction.never_created,
            "executions_share": round(self.reproduction.share, 4),
        }

    def lines(self) -> list[str]:
        """Return a readable table."""
        found = [f"events read          {self.events:>8,}   {_counts(self.events_by_word)}"]
        found.append(f"  sent               {self.events_sent:>8,}   {_counts(self.sent_by_word)}")
        if self.held:
            found.append(f"    of them held     {self.held:>8,}   until their order was created")
        for reason, count in _by_reason(self.skipped).most_common():
            words = {word: n for (why, word), n in self.skipped.items() if why == reason}
            found.append(f"  skipped            {count:>8,}   {reason} ({_counts(words)})")
        found.append(f"requests             {self.requests:>8,}")
        if self.gap_cancels:
            found.append(
                f"  closing gaps       {self.gap_cancels:>8,}   cancels of orders that must have "
                f"left; events that name one later: {self.gaps_contradicted}"
            )
        for reason, count in sorted(self.refused.items()):
            found.append(f"  refused            {count:>8,}   {reason}")
        found.append(f"fills                {self.fills:>8,}")
        found.append(
            f"final book           {self.venue_resting:>8,}   orders; {self.file_resting:,} in the "
            "book made from the file's events alone"
        )
        found.append(f"  differences        {len(self.differences):>8,}")
        for rule, count in Counter(one.rule for one in self.differences).most_common():
            found.append(f"    {rule:<17}{count:>8,}   {RULES[rule]}")
        again = self.reproduction
        found.append(f"executions in file   {again.executions:>8,}")
        found.append(
            f"  reproduced         {again.reproduced:>8,}   same resting order and quantity: "
            f"{again.share:.1%}"
        )
        if again.rounded:
            found.append(f"  but for rounding   {again.rounded:>8,}   by at most 0.00000002")
        if again.never_created:
            found.append(f"  never created      {again.never_created:>8,}   resting order unknown")
        missed = again.executions - again.reproduced - again.rounded - again.never_created
        found.append(f"  not reproduced     {missed:>8,}")
        return found


def _by_reason(skipped: dict[tuple[str, str], int]) -> Counter[str]:
    total: Counter[str] = Counter()
    for (reason, _), count in skipped.items():
        total[reason] += count
    return total


def _counts(words: dict[str, int]) -> str:
    return ", ".join(f"{word} {count:,}" for word, count in sorted(words.items()))


def make_report(file: FlowFile, mapper: Mapper, own: OwnOrders, requests: int) -> FlowReport:
    """Gather the outcome of a file that was sent to the end."""
    straight = FileBook()
    for event in file.events:
        straight.apply(event)
    return FlowReport(
        format=file.format,
        events=len(file.events),
        events_by_word=dict(mapper.words),
        sent_by_word=dict(mapper.sent),
        skipped=dict(mapper.skipped),
        requests=requests,
        gap_cancels=len(mapper.gaps),
        gaps_contradicted=mapper.gaps_contradicted,
        held=mapper.held,
        refused=dict(Counter(f"{request.kind.value}: {reason}" for request, reason in own.refused)),
        fills=len(own.fills),
        file_resting=len(straight.resting()),
        venue_resting=len(own.resting()),
        differences=differences(straight, mapper, own),
        reproduction=compare_executions(file, own.fills, mapper.file.orders.keys()),
    )


def differences(straight: FileBook, mapper: Mapper, own: OwnOrders) -> tuple[Difference, ...]:
    """Compare the venue's final book with one made from the file's events in their order, by id."""
    in_file = {name: (one.price, one.left) for name, one in straight.resting().items()}
    at_venue = {name: (one.price, one.leaves_qty) for name, one in own.resting().items()}
    return tuple(
        Difference(name, _rule(name, mapper, own), in_file.get(name), at_venue.get(name))
        for name in sorted(in_file.keys() | at_venue.keys())
        if in_file.get(name) != at_venue.get(name)
    )


def _rule(order_id: str, mapper: Mapper, own: OwnOrders) -> str:
    if order_id in mapper.gaps:
        return GAP
    told = mapper.file.orders.get(order_id)
    order = own.by_order_id.get(order_id)
    left = 0 if told is None else told.left
    if left == (0 if order is None else order.leaves_qty):
        # With each event behind the creation of its order, the books agree.
        return EARLY
    if told is None or order is None:
        # A replace was refused: under this id the venue never heard of the order.
        return REFUSED
    if order.cum_qty != told.executed:
        return FILLED_MORE if order.cum_qty > told.executed else FILLED_LESS
    if order_id in mapper.corrected:
        return CORRECTED
    return REFUSED if order.refusals else UNEXPLAINED

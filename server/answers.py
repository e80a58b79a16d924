"""Which of the clients' messages the gateway itself has still to answer, and which were answered
before it died.

The shards' answers are followed by number in `SessionIndex.flight`. What is here concerns the
messages that Python answers over time (requests about many orders, lists), and what a recovery
found out: numbers that were answered although one before them was not. Their clients send them
again, as asked, and they are passed over then.
"""

from dataclasses import dataclass, field
from typing import NamedTuple


class FoundRow(NamedTuple):
    """A shard's report that belongs to an answer which Python puts together."""

    shard: int
    #: shard << 48 | position in the report log.
    source: int
    kind: int
    qty_lots: int
    reason: int
    account: int
    order_id: int
    report_seq: int


@dataclass(slots=True)
class Answers:
    """What Python owes to clients, and what they got before a crash."""

    #: Session → number of a message that Python answers over time → number due next to the client
    #: when it began.
    _open: dict[int, dict[int, int]] = field(default_factory=dict)
    #: Session → numbers answered before a crash, above the lowest that was not.
    _done: dict[int, set[int]] = field(default_factory=dict)
    #: Session → from which of our numbers on the index tells of those.
    _done_from: dict[int, int] = field(default_factory=dict)
    #: (session, number) → messages of an answer that were sent before a crash, without the last.
    _parts: dict[tuple[int, int], int] = field(default_factory=dict)
    #: (session, number) → what shards reported before a crash, for an answer that was not sent.
    _rows: dict[tuple[int, int], list[FoundRow]] = field(default_factory=dict)
    #: (session, number) → by shard, the first report that an answer not sent yet is made of.
    _first_rows: dict[tuple[int, int], dict[int, tuple[int, int]]] = field(default_factory=dict)

    # --- while the gateway runs -------------------------------------------------------------------

    def begin(self, session: int, number: int, next_out: int) -> None:
        """Note that Python answers a message, which may take a while."""
        self._open.setdefault(session, {})[number] = next_out

    def end(self, session: int, number: int) -> None:
        """Note that the last message of the answer is noted in the index."""
        numbers = self._open.get(session)
        if numbers is not None:
            numbers.pop(number, None)
            if not numbers:
                del self._open[session]
        for known in (self._parts, self._rows, self._first_rows):
            known.pop((session, number), None)

    def is_open(self, session: int, number: int) -> bool:
        """Tell whether Python still owes an answer, and in the epoch in which it was asked."""
        return number in self._open.get(session, {})

    def lowest(self) -> dict[int, tuple[int, int]]:
        """Return, by session, the lowest number not answered yet, and the number that was due next
        to the client when the oldest of those answers began."""
        return {
            session: (min(numbers), min(numbers.values()))
            for session, numbers in self._open.items()
        }

    def note_row(self, session: int, number: int, row: FoundRow) -> None:
        """Note that an answer is made of a shard's report: it has to be kept until then."""
        rows = self._first_rows.setdefault((session, number), {})
        rows.setdefault(row.shard, (row.report_seq, row.source))

    def forget(self, session: int) -> None:
        """Forget all about a session: its numbers begin anew."""
        self._open.pop(session, None)
        self._done.pop(session, None)
        self._done_from.pop(session, None)
        for known in (self._parts, self._rows, self._first_rows):
            for key in [key for key in known if key[0] == session]:
                del known[key]

    # --- after a crash ----------------------------------------------------------------------------

    def was_answered(self, session: int, number: int) -> bool:
        """Tell whether a message that is now due was answered before; it is due only once."""
        numbers = self._done.get(session)
        if numbers is None:
            return False
        is_done = number in numbers
        if number >= max(numbers):
            del self._done[session]
        return is_done

    def is_repeating(self, session: int, next_in: int) -> bool:
        """Whether messages that were answered before may still come from a session's client."""
        numbers = self._done.get(session)
        return numbers is not None and next_in <= max(numbers)

    def note_done(self, session: int, numbers: set[int], first_out: int) -> None:
        """Note what was answered above the lowest number that was not, and from which of our
        numbers on the index tells of it."""
        if numbers:
            self._done[session] = numbers
        self._done_from[session] = first_out

    def told_from(self) -> dict[int, int]:
        """Return, by session, from which of our numbers on the index tells what was answered before
        a crash."""
        return self._done_from

    def settle(self, session: int, next_in: int) -> None:
        """Forget from where on the index tells of a session, unless its client is still to send
        again what was answered; to be called when nothing else is owed to it."""
        if session in self._done and not self.is_repeating(session, next_in):
            # It filled the gap without them.
            del self._done[session]
        if session not in self._done and session not in self.waiting():
            self._done_from.pop(session, None)

    def note_unfinished(
        self, session: int, number: int, *, parts: int, rows: list[FoundRow]
    ) -> None:
        """Note what there is of an answer that is still to be sent, once the client asks again."""
        if parts:
            self._parts[session, number] = parts
        if rows:
            self._rows[session, number] = rows
            for row in rows:
                self.note_row(session, number, row)

    def note_late(self, session: int, number: int, row: FoundRow) -> None:
        """Note a report that a shard had still to make when the recovery went on without it."""
        self._rows.setdefault((session, number), []).append(row)
        self.note_row(session, number, row)

    def parts_sent(self, session: int, number: int) -> int:
        """Return how many messages of an answer the client has: they are not made again."""
        return self._parts.get((session, number), 0)

    def rows_found(self, session: int, number: int) -> list[FoundRow]:
        """Return what shards reported for an answer."""
        return self._rows.get((session, number), [])

    def oldest_rows(self) -> dict[int, tuple[int, int]]:
        """Return, by shard, the first report that an unsent answer needs: (report_seq, source)."""
        oldest: dict[int, tuple[int, int]] = {}
        for rows in self._first_rows.values():
            for shard, first in rows.items():
                oldest[shard] = min(first, oldest.get(shard, first))
        return oldest

    def give_up_below(self, session: int, next_in: int) -> None:
        """Forget unsent answers that nobody waits for: their clients went on without them."""
        is_open = self._open.get(session, {})
        for known in (self._parts, self._rows, self._first_rows):
            for key in [k for k in known if k[0] == session and k[1] < next_in]:
                if key[1] not in is_open:
                    del known[key]

    def waiting(self) -> set[int]:
        """Return the sessions that have unsent answers."""
        return {session for session, _ in (*self._parts, *self._rows)}

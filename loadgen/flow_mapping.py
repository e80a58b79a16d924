"""From a file's events to requests: docs/flow.md in code.

A `Mapper` sees the file's events and what the client knows of its own orders, nothing else. Where
a request depends on what the venue did with an order, `needs_state` says so, and the caller first
waits until everything sent before has been answered.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from openoutcry.loadgen.flow_book import Displayed, FileBook
from openoutcry.loadgen.flow_files import EventKind, FileEvent
from openoutcry.loadgen.flow_orders import OwnOrder, OwnOrders, Request, RequestKind
from openoutcry.protocol.binary.enums import Side, TimeInForce

NEVER_CREATED = "id never created"
NOT_AN_ORDER = "no book effect: trade of hidden orders, or a message about no order"
GONE_ALREADY = "no book effect: the file has taken the order away before"
DONE_BY_MATCHING = "no book effect: the venue's own matching has done it"


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of an event: requests, or the reason why there are none."""

    requests: tuple[Request, ...] = ()
    skipped: str = ""


def causal_order(events: Iterable[FileEvent]) -> Iterator[tuple[FileEvent, bool]]:
    """Yield events and whether each was held back: until the order that it names was created.

    A recorded file may tell of an order's end shortly before its creation. What names an order that
    is never created stays where it is.
    """
    events = tuple(events)
    uncreated = {created for event in events if (created := _created_by(event))}
    held: dict[str, list[FileEvent]] = defaultdict(list)
    for event in events:
        if event.kind is not EventKind.ADD and event.order_id in uncreated:
            held[event.order_id].append(event)
            continue
        yield event, False
        fresh = {_created_by(event)}
        while fresh:
            uncreated -= fresh
            late = [waiting for order_id in fresh for waiting in held.pop(order_id, ())]
            for waiting in sorted(late, key=lambda one: one.number):
                yield waiting, True
            fresh = {_created_by(waiting) for waiting in late}


def _created_by(event: FileEvent) -> str:
    """Return the id that an event creates, or nothing."""
    if event.kind is EventKind.ADD:
        return event.order_id
    return event.new_order_id if event.kind is EventKind.REPLACE else ""


class Mapper:
    """Turns a file's events into requests, one after the other.

    Args:
        closes_gaps: cancel the orders of which a later event shows that they have left (ITCH).
    """

    def __init__(self, *, closes_gaps: bool) -> None:
        #: The book by order id, with held events where they belong.
        self.file = FileBook()
        #: Orders cancelled without an event of their own → number of the event that showed it.
        self.gaps: dict[str, int] = {}
        #: Of those, how many events named them afterwards: evidence against the rule.
        self.gaps_contradicted = 0
        #: Events held back.
        self.held = 0
        #: Orders of which more was left at the venue than the file says: requests that took it off.
        self.corrected: Counter[str] = Counter()
        self.words: Counter[str] = Counter()
        self.sent: Counter[str] = Counter()
        self.skipped: Counter[tuple[str, str]] = Counter()
        self._displayed = Displayed() if closes_gaps else None
        self._amended: set[str] = set()

    def needs_state(self, event: FileEvent) -> bool:
        """Tell whether `decide` must know what the venue made of all that was sent before."""
        stands = self._stands(event.order_id)
        if stands and event.kind in {EventKind.REMAINS, EventKind.REDUCE, EventKind.REPLACE}:
            return True
        # The ClOrdID to name depends on whether a replace was accepted.
        if stands and event.kind is EventKind.DELETE:
            return event.order_id in self._amended
        return not self._amended.isdisjoint(self._gap_shown_by(event))

    def decide(self, event: FileEvent, own: OwnOrders, *, was_held: bool = False) -> Decision:
        """Return the requests for an event, and take the event into the file's book."""
        requests, reason = self._decide(event, own)
        if was_held:
            self.held += 1
        self.words[event.word] += 1
        if reason:
            self.skipped[reason, event.word] += 1
        else:
            self.sent[event.word] += 1
        if event.order_id in self.gaps:
            self.gaps_contradicted += 1
        self._apply(event)
        return Decision(tuple(requests), reason)

    def _stands(self, order_id: str) -> bool:
        order = self.file.orders.get(order_id)
        return order is not None and order.is_open

    def _apply(self, event: FileEvent) -> None:
        self.file.apply(event)
        if self._displayed is None:
            return
        if event.kind is EventKind.ADD:
            self._display(event.order_id)
        elif event.order_id and not self._stands(event.order_id):
            self._displayed.remove(event.order_id)
            if event.kind is EventKind.REPLACE and event.new_order_id in self.file.orders:
                self._display(event.new_order_id)

    def _display(self, order_id: str) -> None:
        order = self.file.orders[order_id]
        if self._displayed is not None:
            self._displayed.add(order_id, order.symbol, order.side, order.price)

    def _decide(self, event: FileEvent, own: OwnOrders) -> tuple[list[Request], str]:
        if event.kind is EventKind.NONE:
            return [], NOT_AN_ORDER
        if event.kind is EventKind.ADD:
            return self._add(event, own), ""
        if event.order_id not in self.file.orders:
            return [], NEVER_CREATED
        if not self._stands(event.order_id):
            return [], GONE_ALREADY
        order = own.by_order_id.get(event.order_id)
        match event.kind:
            case EventKind.EXECUTE:
                return self._execute(event, own), ""
            case EventKind.REDUCE:
                return [self._reduce(event, order)], ""
            case EventKind.REPLACE:
                return self._replace(event, order, own), ""
            case EventKind.REMAINS:
                requests = self._remains(event, order)
                return requests, "" if requests else DONE_BY_MATCHING
            case _:
                return [self._cancel(event, order)], ""

    # --- one kind of event each -------------------------------------------------------------------

    def _add(self, event: FileEvent, own: OwnOrders) -> list[Request]:
        side = event.side or Side.BUY
        requests = self._close_gaps(event, own)
        requests.append(
            Request(
                RequestKind.NEW,
                event.order_id,
                event.symbol,
                side,
                event.order_id,
                price=event.price,
                qty=event.qty,
            )
        )
        return requests

    def _execute(self, event: FileEvent, own: OwnOrders) -> list[Request]:
        """Send the other side of an execution: it is not in the file."""
        order = self.file.orders[event.order_id]
        requests = self._close_gaps(event, own)
        name = f"x{event.number}"
        requests.append(
            Request(
                RequestKind.NEW,
                name,
                order.symbol,
                Side.SELL if order.side is Side.BUY else Side.BUY,
                name,
                price=order.price,
                qty=event.qty,
                tif=TimeInForce.IOC,
            )
        )
        return requests

    def _reduce(self, event: FileEvent, order: OwnOrder | None) -> Request:
        if order is None or order.leaves_qty <= event.qty:
            return self._cancel(event, order)
        return self._amend(event, order, order.price, order.qty - event.qty, event.order_id)

    def _replace(self, event: FileEvent, order: OwnOrder | None, own: OwnOrders) -> list[Request]:
        old = self.file.orders[event.order_id]
        requests = self._close_gaps(event, own)
        if order is None:
            requests.append(self._cancel(event, order))
        elif order.is_open and event.price == order.price and event.qty <= order.leaves_qty:
            # The file's market takes every replaced order's place away; a replace would keep it.
            requests.append(self._cancel(event, order))
            requests.append(
                Request(
                    RequestKind.NEW,
                    event.new_order_id,
                    old.symbol,
                    old.side,
                    event.new_order_id,
                    price=event.price,
                    qty=event.qty,
                )
            )
        else:
            total = order.cum_qty + event.qty
            requests.append(self._amend(event, order, event.price, total, event.new_order_id))
        return requests

    def _remains(self, event: FileEvent, order: OwnOrder | None) -> list[Request]:
        """Bring an order to what the file says is left, where matching has not done so."""
        if order is None:
            return []
        grown = max(0, event.qty - self.file.orders[event.order_id].left)
        left = min(event.qty, order.leaves_qty + grown)
        if left == order.leaves_qty and (event.price == order.price or not order.is_open):
            return []
        if left < order.leaves_qty:
            self.corrected[event.order_id] += 1
        if left == 0:
            return [self._cancel(event, order)]
        return [self._amend(event, order, event.price, order.cum_qty + left, event.order_id)]

    # --- requests ---------------------------------------------------------------------------------

    def _cancel(self, event: FileEvent, order: OwnOrder | None) -> Request:
        file_order = self.file.orders[event.order_id]
        return Request(
            RequestKind.CANCEL,
            f"{event.order_id}.{event.number}",
            file_order.symbol,
            file_order.side,
            event.order_id,
            orig_cl_ord_id=event.order_id if order is None else order.cl_ord_id,
        )

    def _amend(
        self, event: FileEvent, order: OwnOrder, price: int, qty: int, order_id: str
    ) -> Request:
        self._amended.add(order_id)
        return Request(
            RequestKind.REPLACE,
            f"{event.order_id}.{event.number}",
            order.symbol,
            order.side,
            order_id,
            orig_cl_ord_id=order.cl_ord_id,
            price=price,
            qty=qty,
        )

    def _gap_shown_by(self, event: FileEvent) -> list[str]:
        """Return the orders that must have left before this event, by the rules of the market."""
        if self._displayed is None:
            return []
        if event.kind is EventKind.ADD and event.side is not None:
            return self._displayed.crossed_by(event.symbol, event.side, event.price)
        order = self.file.orders.get(event.order_id)
        if order is None or not order.is_open:
            return []
        if event.kind is EventKind.EXECUTE:
            return self._displayed.ahead_of(event.order_id)
        if event.kind is EventKind.REPLACE:
            return self._displayed.crossed_by(order.symbol, order.side, event.price)
        return []

    def _close_gaps(self, event: FileEvent, own: OwnOrders) -> list[Request]:
        requests = []
        for order_id in self._gap_shown_by(event):
            self._displayed.remove(order_id)  # type: ignore[union-attr]
            self.gaps[order_id] = event.number
            file_order = self.file.orders[order_id]
            order = own.by_order_id.get(order_id)
            requests.append(
                Request(
                    RequestKind.CANCEL,
                    f"{order_id}.g{event.number}",
                    file_order.symbol,
                    file_order.side,
                    order_id,
                    orig_cl_ord_id=order_id if order is None else order.cl_ord_id,
                    closes_gap=True,
                )
            )
        return requests

"""What a client asks a venue for, what it is answered, and what it then knows of its orders."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum

from openoutcry.protocol.binary.enums import Side, TimeInForce


class RequestKind(Enum):
    """What is asked for."""

    NEW = "new"
    CANCEL = "cancel"
    REPLACE = "replace"


@dataclass(frozen=True, slots=True)
class Request:
    """A request to the venue, prices in ticks and quantities in lots."""

    kind: RequestKind
    cl_ord_id: str
    symbol: str
    side: Side
    #: The file's id of the order, once the request is accepted.
    order_id: str
    orig_cl_ord_id: str = ""
    price: int = 0
    qty: int = 0
    tif: TimeInForce = TimeInForce.GTC
    #: Not an event of the file: it closes a gap in it.
    closes_gap: bool = False


class AnswerKind(Enum):
    """What a report tells."""

    NEW = "new"
    TRADE = "trade"
    CANCELED = "canceled"
    REPLACED = "replaced"
    REJECTED = "rejected"
    EXPIRED = "expired"
    STATUS = "status"
    CANCEL_REJECTED = "cancel rejected"


@dataclass(frozen=True, slots=True)
class Answer:
    """A report of either protocol, prices in ticks and quantities in lots."""

    kind: AnswerKind
    cl_ord_id: str
    price: int = 0
    qty: int = 0
    cum_qty: int = 0
    leaves_qty: int = 0
    last_px: int = 0
    last_qty: int = 0
    trade_id: str = ""
    #: TRADE: this order took liquidity.
    is_aggressor: bool = False
    #: REJECTED, CANCEL_REJECTED: the reason in words.
    reason: str = ""


@dataclass(slots=True)
class OwnOrder:
    """An order as its reports describe it."""

    order_id: str
    symbol: str
    side: Side
    cl_ord_id: str
    price: int
    qty: int
    tif: TimeInForce
    cum_qty: int = 0
    leaves_qty: int = 0
    is_open: bool = False
    #: The venue's words for each request on this order that it refused.
    refusals: list[str] = field(default_factory=list)

    def is_as(self, answer: Answer) -> bool:
        """Tell whether the answer to a status request agrees with all reports before."""
        reported = (self.price, self.cum_qty, self.leaves_qty)
        return reported == (answer.price, answer.cum_qty, answer.leaves_qty)


@dataclass(frozen=True, slots=True)
class Fill:
    """A trade between two own orders, by the file's ids (x{event} is an order of ours)."""

    resting_id: str
    aggressor_id: str
    price: int
    qty: int


class OwnOrders:
    """Every order that was sent, from requests and answers alone."""

    def __init__(self) -> None:
        self.by_order_id: dict[str, OwnOrder] = {}
        #: Trades in the order in which the venue made them.
        self.fills: list[Fill] = []
        self.refused: list[tuple[Request, str]] = []
        self._requests: dict[str, Request] = {}
        self._orders: dict[str, OwnOrder] = {}
        self._half_fills: dict[str, tuple[OwnOrder, bool]] = {}

    def sent(self, request: Request) -> None:
        """Note a request as it is sent."""
        self._requests[request.cl_ord_id] = request
        if request.kind is RequestKind.NEW:
            order = OwnOrder(
                request.order_id,
                request.symbol,
                request.side,
                request.cl_ord_id,
                request.price,
                request.qty,
                request.tif,
            )
            self._orders[request.cl_ord_id] = order
            self.by_order_id[request.order_id] = order
        elif (known := self._orders.get(request.orig_cl_ord_id)) is not None:
            self._orders[request.cl_ord_id] = known

    def answered(self, answer: Answer) -> None:
        """Take in a report."""
        order = self._orders.get(answer.cl_ord_id)
        request = self._requests.get(answer.cl_ord_id)
        match answer.kind:
            case AnswerKind.STATUS:
                return
            case AnswerKind.REJECTED | AnswerKind.CANCEL_REJECTED:
                if request is not None:
                    self.refused.append((request, answer.reason))
                if order is not None:
                    order.refusals.append(answer.reason)
                return
            case _:
                if order is None:
                    raise LookupError(f"a report for {answer.cl_ord_id}, which was never sent")
        if answer.kind is AnswerKind.REPLACED and request is not None:
            order.cl_ord_id = answer.cl_ord_id
            order.price = answer.price
            if request.order_id != order.order_id:
                del self.by_order_id[order.order_id]
                order.order_id = request.order_id
                self.by_order_id[order.order_id] = order
        order.qty = answer.qty
        order.cum_qty = answer.cum_qty
        order.leaves_qty = answer.leaves_qty
        order.is_open = answer.leaves_qty > 0
        if answer.kind is AnswerKind.TRADE:
            self._traded(order, answer)

    def _traded(self, order: OwnOrder, answer: Answer) -> None:
        """Join the two reports of a trade; both orders are ours."""
        other = self._half_fills.pop(answer.trade_id, None)
        if other is None:
            self._half_fills[answer.trade_id] = (order, answer.is_aggressor)
            return
        if other[1] == answer.is_aggressor:
            raise LookupError(f"both sides of trade {answer.trade_id} say the same of liquidity")
        resting, aggressor = (other[0], order) if answer.is_aggressor else (order, other[0])
        self.fills.append(
            Fill(resting.order_id, aggressor.order_id, answer.last_px, answer.last_qty)
        )

    @property
    def unmatched_fills(self) -> Iterable[str]:
        """Trades of which only one side was reported; none, when all is received."""
        return self._half_fills.keys()

    def resting(self) -> dict[str, OwnOrder]:
        """Return the open orders by the file's ids."""
        return {name: order for name, order in self.by_order_id.items() if order.is_open}

"""What a FIX venue answers, as typed values with `Decimal` prices and quantities."""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from openoutcry.protocol.fix.message import Message

_ZERO = Decimal(0)


class Side(StrEnum):
    """Side(54)."""

    BUY = "1"
    SELL = "2"


class OrdType(StrEnum):
    """OrdType(40)."""

    MARKET = "1"
    LIMIT = "2"


class TimeInForce(StrEnum):
    """TimeInForce(59)."""

    DAY = "0"
    GTC = "1"
    IOC = "3"
    FOK = "4"


class ExecType(StrEnum):
    """ExecType(150): what happened, in FIX 4.4's terms."""

    NEW = "0"
    CANCELED = "4"
    REPLACED = "5"
    REJECTED = "8"
    EXPIRED = "C"
    RESTATED = "D"
    TRADE = "F"
    TRADE_CORRECT = "G"
    TRADE_CANCEL = "H"
    ORDER_STATUS = "I"


class OrdStatus(StrEnum):
    """OrdStatus(39): how the order stands."""

    NEW = "0"
    PARTIALLY_FILLED = "1"
    FILLED = "2"
    DONE_FOR_DAY = "3"
    CANCELED = "4"
    REPLACED = "5"
    PENDING_CANCEL = "6"
    REJECTED = "8"
    PENDING_NEW = "A"
    EXPIRED = "C"
    PENDING_REPLACE = "E"


#: The order can have no more fills.
FINAL_STATUSES = frozenset(
    {OrdStatus.FILLED, OrdStatus.CANCELED, OrdStatus.REJECTED, OrdStatus.EXPIRED}
)


#: ExecTransType(20), which FIX 4.0 to 4.2 have beside or in place of ExecType.
_BY_EXEC_TRANS_TYPE = {
    "1": ExecType.TRADE_CANCEL,
    "2": ExecType.TRADE_CORRECT,
    "3": ExecType.ORDER_STATUS,
}
#: Partial fill and fill, for which FIX 4.1 to 4.3 had codes of their own.
_FILLS = frozenset("12")


@dataclass(frozen=True, slots=True)
class ExecutionReport:
    """ExecutionReport(8). Codes are the wire's characters: compare them with the enums above.

    Reports of older versions read as those of FIX 4.4: a fill is ExecType `F`, an answer about an
    order's state `I`; what FIX 4.0 leaves out (ExecType, LeavesQty) follows from the rest.
    """

    cl_ord_id: str
    #: Of the request that a replace or cancel answered; empty otherwise.
    orig_cl_ord_id: str
    order_id: str
    exec_id: str
    exec_type: str
    ord_status: str
    symbol: str
    side: str
    order_qty: Decimal
    #: None for a market order.
    price: Decimal | None
    last_qty: Decimal
    last_px: Decimal | None
    leaves_qty: Decimal
    cum_qty: Decimal
    avg_px: Decimal
    #: OrdRejReason(103), None unless rejected.
    ord_rej_reason: int | None
    text: str
    #: Resent by the venue: the client may have seen it before a crash of its own.
    is_poss_dup: bool
    message: Message
    #: MassStatusReqID(584), where the report answers a mass status request; how many reports do
    #: (911), and whether it is the last (912).
    mass_status_req_id: str = ""
    total_reports: int | None = None
    is_last_report: bool = False

    @property
    def is_final(self) -> bool:
        """Whether the order can have no more fills."""
        return self.ord_status in FINAL_STATUSES


@dataclass(frozen=True, slots=True)
class OrderCancelReject:
    """OrderCancelReject(9): a cancel or replace was declined, the order stands as it did."""

    cl_ord_id: str
    orig_cl_ord_id: str
    order_id: str
    ord_status: str
    #: CxlRejReason(102).
    cxl_rej_reason: int | None
    #: CxlRejResponseTo(434): `1` cancel, `2` replace.
    response_to: str
    text: str
    is_poss_dup: bool
    message: Message


@dataclass(frozen=True, slots=True)
class MassCancelReport:
    """OrderMassCancelReport(r): what became of a mass cancel; each order has a report besides."""

    cl_ord_id: str
    #: MassCancelRequestType(530), as asked.
    request_type: str
    #: MassCancelResponse(531): `0` refused, else the type that was carried out.
    response: str
    #: TotalAffectedOrders(533).
    total_affected: int | None
    #: MassCancelRejectReason(532).
    reason: int | None
    text: str
    is_poss_dup: bool
    message: Message

    @property
    def is_refused(self) -> bool:
        """Whether nothing was canceled."""
        return self.response == "0"


@dataclass(frozen=True, slots=True)
class Reject:
    """Reject(3): the venue could not read one of our messages."""

    ref_seq_num: int
    ref_tag: int | None
    ref_msg_type: str
    #: SessionRejectReason(373).
    reason: int | None
    text: str
    #: ClOrdID of the refused message, where this client sent it on this connection.
    cl_ord_id: str
    message: Message


@dataclass(frozen=True, slots=True)
class BusinessReject:
    """BusinessMessageReject(j): good FIX that the venue does not serve."""

    ref_seq_num: int
    ref_msg_type: str
    #: BusinessRejectReason(380).
    reason: int | None
    #: BusinessRejectRefID(379): the ClOrdID, as a rule.
    cl_ord_id: str
    text: str
    message: Message


Report = ExecutionReport | OrderCancelReject | MassCancelReport | Reject | BusinessReject


def read_report(message: Message, *, rejected_cl_ord_id: str = "") -> Report | None:
    """Return the typed form of a message, or None for a type that is no report."""
    match message.msg_type:
        case "8":
            return _execution_report(message)
        case "9":
            return OrderCancelReject(
                cl_ord_id=_text(message, 11),
                orig_cl_ord_id=_text(message, 41),
                order_id=_text(message, 37),
                ord_status=_text(message, 39),
                cxl_rej_reason=_int(message, 102),
                response_to=_text(message, 434),
                text=_text(message, 58),
                is_poss_dup=message.get(43) == b"Y",
                message=message,
            )
        case "r":
            return MassCancelReport(
                cl_ord_id=_text(message, 11),
                request_type=_text(message, 530),
                response=_text(message, 531),
                total_affected=_int(message, 533),
                reason=_int(message, 532),
                text=_text(message, 58),
                is_poss_dup=message.get(43) == b"Y",
                message=message,
            )
        case "3":
            return Reject(
                ref_seq_num=_int(message, 45) or 0,
                ref_tag=_int(message, 371),
                ref_msg_type=_text(message, 372),
                reason=_int(message, 373),
                text=_text(message, 58),
                cl_ord_id=rejected_cl_ord_id,
                message=message,
            )
        case "j":
            return BusinessReject(
                ref_seq_num=_int(message, 45) or 0,
                ref_msg_type=_text(message, 372),
                reason=_int(message, 380),
                cl_ord_id=_text(message, 379) or rejected_cl_ord_id,
                text=_text(message, 58),
                message=message,
            )
        case _:
            return None


def _execution_report(message: Message) -> ExecutionReport:
    order_qty = _decimal(message, 38) or _ZERO
    cum_qty = _decimal(message, 14) or _ZERO
    leaves_qty = _decimal(message, 151)
    if leaves_qty is None:
        is_final = _text(message, 39) in FINAL_STATUSES
        leaves_qty = _ZERO if is_final else max(order_qty - cum_qty, _ZERO)
    return ExecutionReport(
        cl_ord_id=_text(message, 11),
        orig_cl_ord_id=_text(message, 41),
        order_id=_text(message, 37),
        exec_id=_text(message, 17),
        exec_type=_exec_type(message),
        ord_status=_text(message, 39),
        symbol=_text(message, 55),
        side=_text(message, 54),
        order_qty=order_qty,
        price=_decimal(message, 44),
        last_qty=_decimal(message, 32) or _ZERO,
        last_px=_decimal(message, 31),
        leaves_qty=leaves_qty,
        cum_qty=cum_qty,
        avg_px=_decimal(message, 6) or _ZERO,
        ord_rej_reason=_int(message, 103),
        text=_text(message, 58),
        is_poss_dup=message.get(43) == b"Y",
        message=message,
        mass_status_req_id=_text(message, 584),
        total_reports=_int(message, 911),
        is_last_report=message.get(912) == b"Y",
    )


def _exec_type(message: Message) -> str:
    """Return what happened; FIX 4.0 tells it by the state that the order is in then."""
    of_trans_type = _BY_EXEC_TRANS_TYPE.get(_text(message, 20))
    if of_trans_type is not None:
        return of_trans_type
    code = _text(message, 150)
    if not code:
        code = _text(message, 39)
        if code in _FILLS and not _decimal(message, 32):
            # News of an order with fills, but no fill, and no answer about its state.
            return ExecType.REPLACED
    return ExecType.TRADE if code in _FILLS else code


def _text(message: Message, tag: int) -> str:
    return (message.get(tag) or b"").decode("utf-8", "replace")


def _decimal(message: Message, tag: int) -> Decimal | None:
    value = message.get(tag)
    return None if value is None else Decimal(value.decode("ascii"))


def _int(message: Message, tag: int) -> int | None:
    value = message.get(tag)
    return int(value) if value and value.removeprefix(b"-").isdigit() else None

"""What clients sent and received, read from the bytes, in one form for FIX and the binary protocol.

Prices are ticks and quantities lots; OrderID, ExecID and trades are texts as FIX writes them
(`E0-17`: shard, sequence).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

import msgspec

from openoutcry.protocol.binary import messages as bm
from openoutcry.protocol.binary.enums import ReportKind
from openoutcry.protocol.fix.message import Message, parse

_SHARD_SHIFT = 48

#: FIX fields that differ between a message and the same message sent again.
_OF_SENDING = frozenset({9, 10, 43, 52, 122})

_FIX_KINDS = {
    "0": "new",
    "F": "trade",
    "4": "canceled",
    "5": "replaced",
    "8": "rejected",
    "C": "expired",
    "I": "status",
}
_BINARY_KINDS = {
    ReportKind.NEW: "new",
    ReportKind.TRADE: "trade",
    ReportKind.CANCELED: "canceled",
    ReportKind.REPLACED: "replaced",
    ReportKind.REJECTED: "rejected",
    ReportKind.EXPIRED: "expired",
    ReportKind.STATUS: "status",
    ReportKind.CANCEL_REJECTED: "cancel-rejected",
}


@dataclass(frozen=True, slots=True)
class Units:
    """A symbol's tick and lot."""

    tick: Fraction
    lot: Fraction

    def ticks(self, text: bytes | None) -> int:
        """Convert a price of FIX; 0 where there is none."""
        return _whole(text, self.tick)

    def lots(self, text: bytes | None) -> int:
        """Convert a quantity of FIX; 0 where there is none."""
        return _whole(text, self.lot)


def _whole(text: bytes | None, unit: Fraction) -> int:
    if text is None:
        return 0
    count = Fraction(text.decode()) / unit
    assert count.denominator == 1, (text, unit)
    return int(count)


class Request(msgspec.Struct, frozen=True, array_like=True):
    """An application message of a client."""

    number: int
    #: new, cancel, replace, status, mass-cancel, mass-status
    kind: str
    cl_ord_id: str
    orig: str
    symbol: str
    side: int
    price: int
    qty: int


class Report(msgspec.Struct, frozen=True, array_like=True):
    """An application message of the venue."""

    number: int
    #: As in the tables above; mass-canceled, declined (a Reject), or other.
    kind: str
    #: The client's message answered: its number in the binary protocol, 0 in FIX.
    answers: int
    cl_ord_id: str
    orig: str
    symbol: str
    side: int
    order_id: str
    #: Empty where FIX has none.
    exec_id: str
    trade_id: str
    price: int
    qty: int
    last_px: int
    last_qty: int
    cum: int
    leaves: int
    #: Of FIX, as its character's number; -1 where the message has none.
    status: int
    #: How many orders a mass cancel hit.
    count: int
    #: A drop copy: the session whose order it is about is another one.
    is_copy: bool
    text: str
    #: A Reject(3), which is administrative: a resend has a gap fill for it.
    is_of_session: bool = False
    #: Part of an answer to a mass status request: its id, how many parts there are, the last one.
    mass_id: str = ""
    parts: int = 0
    is_last: bool = False


@dataclass(frozen=True, slots=True)
class Received:
    """One arrival of a numbered message."""

    number: int
    #: None: an administrative message of FIX.
    report: Report | None
    #: Equal in all copies of a message.
    content: bytes
    is_repeated: bool
    #: SendingTime(52) and OrigSendingTime(122) of FIX.
    sent: bytes
    first_sent: bytes
    #: A gap fill: the number up to which (not including) nothing comes; else 0.
    fills_to: int
    #: The Logon with which both sides' numbers begin anew.
    resets: bool = False


def identifier(letter: str, value: int) -> str:
    """Write a shard's identifier as FIX does; empty for 0."""
    mask = (1 << _SHARD_SHIFT) - 1
    return f"{letter}{value >> _SHARD_SHIFT}-{value & mask}" if value else ""


def _text(message: Message, tag: int) -> str:
    return (message.get(tag) or b"").decode()


def _number(message: Message, tag: int) -> int:
    return int(message.get(tag) or 0)


def read_fix(frame: bytes, symbols: Mapping[str, Units]) -> Received:
    """Read a message of the venue."""
    message = parse(frame)
    number = _number(message, 34)
    fills_to = 0
    if message.msg_type == "4":
        assert message.get(123) == b"Y", frame
        fills_to = _number(message, 36)
    is_report = message.msg_type in {"8", "9", "r", "3", "j"}
    return Received(
        number,
        _fix_report(message, number, symbols) if is_report else None,
        b"\x01".join(b"%d=%b" % field for field in message.fields if field[0] not in _OF_SENDING),
        message.get(43) == b"Y",
        message.get(52) or b"",
        message.get(122) or b"",
        fills_to,
        message.msg_type == "A" and message.get(141) == b"Y",
    )


def _fix_report(message: Message, number: int, symbols: Mapping[str, Units]) -> Report:
    kind = {"9": "cancel-rejected", "r": "mass-canceled", "3": "declined", "j": "declined"}.get(
        message.msg_type, ""
    )
    if not kind:
        exec_type = _text(message, 150)
        is_status = message.get(20) == b"3"
        kind = "trade" if exec_type in {"1", "2"} else _FIX_KINDS.get(exec_type, "other")
        kind = "status" if is_status else kind
    symbol = _text(message, 55)
    units = symbols.get(symbol, Units(Fraction(1), Fraction(1)))
    status = _text(message, 39)
    exec_id = _text(message, 17)
    return Report(
        number=number,
        kind=kind,
        answers=0,
        cl_ord_id=_text(message, 379) if message.msg_type == "j" else _text(message, 11),
        orig=_text(message, 41),
        symbol=symbol,
        side=_number(message, 54),
        order_id=_text(message, 37).removeprefix("NONE"),
        exec_id=exec_id,
        trade_id=_text(message, 527),
        price=units.ticks(message.get(44)),
        qty=units.lots(message.get(38)),
        last_px=units.ticks(message.get(31)),
        last_qty=units.lots(message.get(32)),
        cum=units.lots(message.get(14)),
        leaves=units.lots(message.get(151)),
        status=int(status, 16) if status else -1,
        count=_number(message, 533),
        is_copy=message.get(797) == b"Y",
        text=_text(message, 58),
        is_of_session=message.msg_type == "3",
        mass_id=_text(message, 584),
        parts=_number(message, 911),
        is_last=message.get(912) == b"Y",
    )


def read_binary(payload: bytes, names: Mapping[int, str]) -> Received | None:
    """Read a message of the venue; None for one that has no number."""
    message = bm.decode_server_message(payload)
    if isinstance(message, bm.Reject):
        report = Report(
            message.seq, "declined", message.ref_seq, message.cl_ord_id, *("", "", 0, "", "", ""),
            *(0, 0, 0, 0, 0, 0, -1, 0), is_copy=False, text=message.text,
        )  # fmt: skip
    elif isinstance(message, bm.ExecutionReport):
        report = Report(
            number=message.seq,
            kind=_BINARY_KINDS.get(ReportKind(message.kind), "other"),
            answers=message.ref_seq,
            cl_ord_id=message.cl_ord_id,
            orig=message.orig_cl_ord_id,
            symbol=names.get(message.symbol, str(message.symbol)),
            side=message.side,
            order_id=identifier("O", message.order_id),
            exec_id=identifier("E", message.exec_id),
            trade_id=identifier("T", message.trade_id),
            price=message.price,
            qty=message.qty,
            last_px=message.last_px,
            last_qty=message.last_qty,
            cum=message.cum_qty,
            leaves=message.leaves_qty,
            status=message.status,
            count=0,
            is_copy=False,
            text="",
        )
    else:
        return None
    content = bm.encode_payload(msgspec.structs.replace(message, repeated=False))
    return Received(message.seq, report, content, message.repeated, b"", b"", 0)


_FIX_REQUESTS = {
    "D": "new",
    "F": "cancel",
    "G": "replace",
    "H": "status",
    "q": "mass-cancel",
    "AF": "mass-status",
}


def read_fix_request(frame: bytes, symbols: Mapping[str, Units]) -> Request | None:
    """Read a message of a client; None for an administrative one."""
    message = parse(frame)
    kind = _FIX_REQUESTS.get(message.msg_type)
    if kind is None:
        return None
    symbol = _text(message, 55)
    units = symbols.get(symbol, Units(Fraction(1), Fraction(1)))
    return Request(
        _number(message, 34),
        kind,
        _text(message, 584) if kind == "mass-status" else _text(message, 11),
        _text(message, 41),
        symbol,
        _number(message, 54),
        units.ticks(message.get(44)),
        units.lots(message.get(38)),
    )


def read_binary_request(payload: bytes, names: Mapping[int, str]) -> Request:
    """Read a numbered message of a client."""
    message = bm.decode_client_message(payload)
    match message:
        case bm.NewOrder():
            kind, orig, rest = "new", "", (message.side, message.price, message.qty)
        case bm.Cancel():
            kind, orig, rest = "cancel", message.orig_cl_ord_id, (message.side, 0, 0)
        case bm.Replace():
            kind, orig = "replace", message.orig_cl_ord_id
            rest = (message.side, message.price, message.qty)
        case bm.Status():
            kind, orig, rest = "status", "", (0, 0, 0)
        case _:
            raise ValueError(f"{message} has no number")
    symbol = names.get(message.symbol, str(message.symbol))
    return Request(message.seq, kind, message.cl_ord_id, orig, symbol, *rest)

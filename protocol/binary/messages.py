"""The binary protocol's schema: one msgspec Struct per message, a MessagePack array on the wire.

The first element is the message's type (the Struct's tag), the others are the fields in the order
written here; docs/binary.md has the same tables. Prices are integer ticks, quantities integer lots.
The Structs define truth: the kernels in decode.py, encode.py and client_codec.py are tested against
them byte for byte.

What a client sends is checked strictly (ranges, characters, no extra elements). What a server sends
may get further elements in later versions, so a client ignores those after the ones that it knows.
"""

from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta, Struct

from openoutcry.protocol.binary.enums import MessageType

Seq: TypeAlias = Annotated[int, Meta(ge=1, le=2**63 - 1)]
Int64: TypeAlias = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
SymbolNumber: TypeAlias = Annotated[int, Meta(ge=0, le=2**31 - 1)]
#: An enumeration's number. One that means nothing is declined by an ExecutionReport.
Code: TypeAlias = Annotated[int, Meta(ge=0, le=255)]
#: 1 to 36 printable ASCII characters without space.
ClOrdID: TypeAlias = Annotated[str, Meta(pattern=r"^[!-~]{1,36}\Z")]
#: Empty (the session's default account), or up to 32 printable ASCII characters without space.
Account: TypeAlias = Annotated[str, Meta(pattern=r"^[!-~]{0,32}\Z")]


class _Request(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What a client sends."""


class _Response(Struct, frozen=True, array_like=True):
    """What a server sends, or both do."""


class Logon(_Request, frozen=True, tag=int(MessageType.LOGON)):
    """Open a session; the first message of a connection."""

    version: Annotated[int, Meta(ge=1, le=65535)]
    session_id: Annotated[str, Meta(min_length=1, max_length=32)]
    password: Annotated[str, Meta(max_length=128)]
    #: Number of the next server message that the client awaits; 0: repeat nothing.
    next_expected: Annotated[int, Meta(ge=0, le=2**63 - 1)]
    #: Seconds between heartbeats, 0 to 3600; 0: none, and no time-out.
    heartbeat_s: Annotated[int, Meta(ge=0, le=65535)]


class Heartbeat(_Response, frozen=True, tag=int(MessageType.HEARTBEAT)):
    """Say "still here"; either side, after heartbeat_s without having sent anything."""


class Logout(_Response, frozen=True, tag=int(MessageType.LOGOUT)):
    """End the session, or refuse a Logon; the sender closes the connection after it."""

    text: str = ""
    #: LogoutReason
    reason: Code = 0


class NewOrder(_Request, frozen=True, tag=int(MessageType.NEW_ORDER)):
    """Ask for a new order."""

    seq: Seq
    cl_ord_id: ClOrdID
    symbol: SymbolNumber
    side: Code
    ord_type: Code
    tif: Code
    #: Ticks; 0 in a market order.
    price: Int64
    qty: Int64
    account: Account = ""


class Cancel(_Request, frozen=True, tag=int(MessageType.CANCEL)):
    """Ask for the rest of an order to be canceled."""

    seq: Seq
    cl_ord_id: ClOrdID
    orig_cl_ord_id: ClOrdID
    symbol: SymbolNumber
    #: 0: not stated; otherwise it must be the order's.
    side: Code = 0


class Replace(_Request, frozen=True, tag=int(MessageType.REPLACE)):
    """Ask for an order's price and total quantity to be changed."""

    seq: Seq
    cl_ord_id: ClOrdID
    orig_cl_ord_id: ClOrdID
    symbol: SymbolNumber
    #: 0: not stated; otherwise it must be the order's.
    side: Code
    ord_type: Code
    price: Int64
    #: The new total, filled part included.
    qty: Int64


class Status(_Request, frozen=True, tag=int(MessageType.STATUS)):
    """Ask for the state of an order."""

    seq: Seq
    cl_ord_id: ClOrdID
    symbol: SymbolNumber


class LogonAccepted(_Response, frozen=True, tag=int(MessageType.LOGON_ACCEPTED)):
    """Answer a Logon; `symbols` SymbolDefinitions and the repeated messages follow."""

    version: int
    session_number: int
    #: Number of the last client message that the server accepted; the next is one higher.
    last_accepted: int
    #: Number that the server's next new message will carry: lower numbers follow as repeated.
    next_seq: int
    heartbeat_s: int
    #: How many SymbolDefinitions follow.
    symbols: int


class SymbolDefinition(_Response, frozen=True, tag=int(MessageType.SYMBOL_DEFINITION)):
    """Describe a symbol: its number, tick and lot, and its limits in ticks and lots."""

    number: int
    name: str
    #: Decimal text: what one tick and one lot are worth.
    tick: str
    lot: str
    min_price: int
    max_price: int
    min_qty: int
    max_qty: int


class ExecutionReport(_Response, frozen=True, tag=int(MessageType.EXECUTION_REPORT)):
    """Tell what became of an order or a request."""

    seq: int
    #: Sent before (or meant to be) on an earlier connection.
    repeated: bool
    #: Number of the client message answered; 0: unsolicited.
    ref_seq: int
    #: ReportKind, OrderStatus, RejectReason
    kind: int
    status: int
    reason: int
    symbol: int
    side: int
    ord_type: int
    tif: int
    liquidity: int
    order_id: int
    exec_id: int
    #: 0 unless kind is TRADE; the same in both reports of a trade.
    trade_id: int
    cl_ord_id: str
    orig_cl_ord_id: str
    account: str
    price: int
    qty: int
    last_px: int
    last_qty: int
    cum_qty: int
    leaves_qty: int
    #: In 1e-8 of a tick, rounded half to even; nil when it does not fit 64 bits.
    avg_px: int | None
    #: Nanoseconds since 1970, UTC.
    time_ns: int


class Reject(_Response, frozen=True, tag=int(MessageType.REJECT)):
    """Decline a client message that did not reach the book."""

    seq: int
    repeated: bool
    ref_seq: int
    cl_ord_id: str
    #: RejectReason
    reason: int
    text: str


ClientApplication: TypeAlias = NewOrder | Cancel | Replace | Status
ServerApplication: TypeAlias = ExecutionReport | Reject
ClientMessage: TypeAlias = Logon | Heartbeat | Logout | NewOrder | Cancel | Replace | Status
ServerMessage: TypeAlias = (
    LogonAccepted | Heartbeat | Logout | SymbolDefinition | ExecutionReport | Reject
)

_encoder = msgspec.msgpack.Encoder()
_client_decoder: msgspec.msgpack.Decoder[ClientMessage] = msgspec.msgpack.Decoder(ClientMessage)
_server_decoder: msgspec.msgpack.Decoder[ServerMessage] = msgspec.msgpack.Decoder(ServerMessage)


def encode_payload(message: ClientMessage | ServerMessage) -> bytes:
    """Encode a message as MessagePack, without the length prefix."""
    return _encoder.encode(message)


def decode_client_message(payload: bytes | memoryview) -> ClientMessage:
    """Decode what a client sent.

    Raises:
        msgspec.ValidationError: it is MessagePack, but not one of the client's messages.
        msgspec.DecodeError: it is not MessagePack.
    """
    return _client_decoder.decode(payload)


def decode_server_message(payload: bytes | memoryview) -> ServerMessage:
    """Decode what a server sent; raises as `decode_client_message`."""
    return _server_decoder.decode(payload)

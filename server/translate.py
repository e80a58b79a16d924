"""The one place that knows both vocabularies: wire fields into commands, reports into wire fields.

`Routes` is what the kernels of the order path share. The kernels that fuse decoding with this are
in `inbound_fix`, `inbound_binary` and `outbound`.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from openoutcry.config.jit import inline_kernel, lean_kernel
from openoutcry.engine.atomics import (
    CLOCK_MONOTONIC,
    clock_ns,
    fence_seq_cst,
    fetch_add,
    futex_wake,
    load_acquire,
)
from openoutcry.engine.enums import OrderStatus, RejectReason, ReportKind
from openoutcry.engine.latency import GatewayCounter, GatewayStage, add_many
from openoutcry.engine.ring import HEADER_BYTES, free_records, publish
from openoutcry.engine.state import ShardWord
from openoutcry.protocol.fix.encode import NONE
from openoutcry.protocol.fix.slots import DecodeTables
from openoutcry.protocol.fix.versions import Version
from openoutcry.server.sessions import ANSWERED, OUT_SINCE, SENT, SINCE

#: Commands after which a long chunk's first part is handed to the shards: they match while we
#: decode.
PUBLISH_EVERY = 64

#: Return codes of the inbound kernels.
INBOUND_DONE = 0  # no complete frame is left
INBOUND_PYTHON = 1  # the frame at the position is for Python
INBOUND_FULL = 2  # the command ring has no room for the frame at the position
INBOUND_GARBLED = 3  # bytes up to the position were dropped


class Routes(NamedTuple):
    """What a gateway's kernels need to route a message to its shard.

    symbols, accounts, sessions: rows; symbol_index, account_index: hash indexes (server.tables).
    commands: COMMAND (shards, rings, capacity); headers: address of the ring headers; ring: our
    ring.
    states: address of the shards' state blocks; state_bytes: size of one.
    tails: position after the last command written, one a shard; published: what the shard may see.
    decode_tables: profiles by which FIX messages are decoded (protocol.fix.slots).
    account_texts: what ACCOUNT_ROW's offsets point into; copies: drop copies (`CopyTable`).
    flight: what the shards have still to answer (`SessionIndex`).
    """

    symbols: NDArray[Any]
    symbol_index: NDArray[np.int32]
    accounts: NDArray[Any]
    account_index: NDArray[np.int32]
    sessions: NDArray[Any]
    commands: NDArray[Any]
    headers: int
    ring: int
    states: int
    state_bytes: int
    tails: NDArray[np.int64]
    published: NDArray[np.int64]
    decode_tables: DecodeTables
    counters: NDArray[np.int64]
    histograms: NDArray[np.int64]
    account_texts: NDArray[np.uint8]
    copies: NDArray[np.int64]
    flight: NDArray[np.int64]


@inline_kernel
def ring_header(routes: Routes, shard: int) -> int:
    """Return the address of the header of our ring to a shard."""
    return routes.headers + (shard * routes.commands.shape[1] + routes.ring) * HEADER_BYTES


@inline_kernel
def has_room(routes: Routes, shard: int) -> bool:
    """Tell whether one more command fits into the ring to a shard."""
    capacity = routes.commands.shape[2]
    return free_records(ring_header(routes, shard), routes.tails[shard], 1, capacity) > 0


@inline_kernel
def is_shard_down(routes: Routes, shard: int) -> bool:
    """Tell whether the supervisor says that a shard takes no orders: Python answers them."""
    return load_acquire(routes.states + shard * routes.state_bytes + ShardWord.IS_DOWN * 8) != 0


@inline_kernel
def note_sent(routes: Routes, session: int, shard: int, number: int) -> None:
    """Note that a client's message of this number was sent to a shard, which has to answer it."""
    flight = routes.flight
    if flight[session, shard, SENT] <= flight[session, shard, ANSWERED]:
        flight[session, shard, SINCE] = number
        flight[session, shard, OUT_SINCE] = routes.sessions[session]["next_out"]
    flight[session, shard, SENT] = number


@lean_kernel
def note_command(routes: Routes, session: int, shard: int, number: int) -> None:
    """Do the same for Python."""
    note_sent(routes, session, shard, number)


@lean_kernel
def publish_commands(routes: Routes, recv_ns: int) -> None:
    """Make all commands written so far visible to their shards, and wake those that sleep."""
    mask = routes.commands.shape[2] - 1
    for shard in range(len(routes.tails)):
        tail = routes.tails[shard]
        first = routes.published[shard]
        if tail == first:
            continue
        now = clock_ns(CLOCK_MONOTONIC)
        for position in range(first, tail):
            routes.commands[shard, routes.ring, position & mask]["ring_ns"] = now
        publish(ring_header(routes, shard), tail)
        routes.published[shard] = tail
        routes.counters[GatewayCounter.RING_PUBLISHED + shard] = tail
        # Position first, then the flag: see engine.loop.
        fence_seq_cst()
        state = routes.states + shard * routes.state_bytes
        if load_acquire(state + ShardWord.SLEEPING * 8) != 0:
            fetch_add(state + ShardWord.DOORBELL * 8, 1)
            futex_wake(state + ShardWord.DOORBELL * 8)
        add_many(routes.histograms, GatewayStage.DECODE_TO_RING, now - recv_ns, tail - first)


_V40, _V41, _V42, _V43, _V44, _V50, _V50SP1, _V50SP2 = Version
#: Since when FIX has the codes that follow here.
_ORD_REJ_SINCE = {0: _V40, 1: _V40, 2: _V40, 3: _V40, 5: _V41, 6: _V41, 11: _V43} | {
    13: _V44,
    15: _V44,
    18: _V50,
    99: _V44,
}
_CXL_REJ_SINCE = {0: _V40, 1: _V40, 2: _V42, 6: _V43, 18: _V50, 99: _V44}
_RESTATEMENT_SINCE = {12: _V50SP2, 13: _V50SP2, 99: _V44}


def _by_version(
    since: dict[int, Version], codes: dict[RejectReason, tuple[int, ...]], default: tuple[int, ...]
) -> NDArray[np.int64]:
    """Return (Version, RejectReason) → the first of the reason's codes that the version has, or
    NONE."""
    table = np.empty((len(Version), 256), np.int64)
    for version in Version:

        def first(wanted: tuple[int, ...], version: Version = version) -> int:
            return next((code for code in wanted if since[code] <= version), NONE)

        table[version] = first(default)
        for reason, wanted in codes.items():
            table[version, reason] = first(wanted)
    return table


#: OrdRejReason(103) by Version and RejectReason.
ORD_REJ_REASON = _by_version(
    _ORD_REJ_SINCE,
    {
        RejectReason.UNKNOWN_SYMBOL: (1,),
        RejectReason.DUPLICATE_CL_ORD_ID: (6, 0),
        RejectReason.INVALID_SIDE: (11, 0),
        RejectReason.UNSUPPORTED_ORDER_TYPE: (11, 0),
        RejectReason.UNSUPPORTED_FIELD: (11, 0),
        RejectReason.UNSUPPORTED_TIME_IN_FORCE: (11, 0),
        RejectReason.PRICE_OUT_OF_RANGE: (3,),
        RejectReason.PRICE_OFF_TICK: (18, 99, 0),
        RejectReason.QTY_OUT_OF_RANGE: (13, 0),
        RejectReason.QTY_OFF_LOT: (13, 0),
        RejectReason.PRICE_REQUIRED: (11, 0),
        RejectReason.PRICE_NOT_ALLOWED: (11, 0),
        RejectReason.UNKNOWN_ACCOUNT: (15, 0),
        RejectReason.UNKNOWN_ORDER: (5, 0),
        RejectReason.ORDER_CAPACITY: (0,),
        RejectReason.LEVEL_CAPACITY: (0,),
        RejectReason.SESSION_CAPACITY: (0,),
        RejectReason.LOG_CAPACITY: (0,),
        RejectReason.LEVEL_QTY_OVERFLOW: (3,),
        RejectReason.VENUE_CLOSED: (2,),
        RejectReason.SHARD_DOWN: (0,),
    },
    (99, 0),
)

#: CxlRejReason(102) by Version and RejectReason; NONE leaves the field out.
CXL_REJ_REASON = _by_version(
    _CXL_REJ_SINCE,
    {
        RejectReason.UNKNOWN_SYMBOL: (1,),
        RejectReason.DUPLICATE_CL_ORD_ID: (6, 2),
        RejectReason.PRICE_OFF_TICK: (18, 99, 2),
        RejectReason.UNKNOWN_ORDER: (1,),
        RejectReason.SIDE_MISMATCH: (1,),
        RejectReason.TOO_LATE_TO_CANCEL: (0,),
        RejectReason.ORDER_REPLACED: (0,),
        RejectReason.ORDER_CAPACITY: (2,),
        RejectReason.LEVEL_CAPACITY: (2,),
        RejectReason.SESSION_CAPACITY: (2,),
        RejectReason.LOG_CAPACITY: (2,),
        RejectReason.VENUE_CLOSED: (2,),
        RejectReason.SHARD_DOWN: (2,),
    },
    (99, 2),
)

#: ExecRestatementReason(378) of a CANCELED report by Version and RejectReason; NONE leaves it out.
#: A mass cancel is what its client asked for, so it has none.
RESTATEMENT = _by_version(
    _RESTATEMENT_SINCE,
    {RejectReason.CONNECTION_LOST: (12, 99), RejectReason.LOGGED_OUT: (13, 99)},
    (),
)

#: What a client is told, by RejectReason.
REASON_TEXTS: dict[int, str] = {
    RejectReason.UNKNOWN_SYMBOL: "unknown symbol",
    RejectReason.DUPLICATE_CL_ORD_ID: "ClOrdID was used before in this session",
    RejectReason.INVALID_SIDE: "Side must be 1 (buy) or 2 (sell)",
    RejectReason.UNSUPPORTED_ORDER_TYPE: "OrdType must be 1 (market) or 2 (limit)",
    RejectReason.UNSUPPORTED_TIME_IN_FORCE: (
        "TimeInForce must be 0 DAY, 1 GTC, 3 IOC or 4 FOK; a replace cannot change it"
    ),
    RejectReason.PRICE_OUT_OF_RANGE: "price is outside the symbol's limits",
    RejectReason.PRICE_OFF_TICK: "price is not a multiple of the symbol's tick",
    RejectReason.QTY_OUT_OF_RANGE: "quantity is outside the symbol's limits",
    RejectReason.QTY_OFF_LOT: "quantity is not a multiple of the symbol's lot",
    RejectReason.PRICE_REQUIRED: "a limit order needs Price",
    RejectReason.PRICE_NOT_ALLOWED: "a market order takes no Price",
    RejectReason.UNKNOWN_ACCOUNT: "unknown account",
    RejectReason.SYMBOL_EXISTS: "symbol exists",
    RejectReason.UNSUPPORTED_FIELD: "a field asks for what this venue does not do",
    RejectReason.UNKNOWN_ORDER: "unknown order",
    RejectReason.TOO_LATE_TO_CANCEL: "too late: the order is finished",
    RejectReason.ORDER_REPLACED: "the order was replaced: use its latest ClOrdID",
    RejectReason.QTY_NOT_ABOVE_CUM_QTY: "new quantity must be above what is filled already",
    RejectReason.SIDE_MISMATCH: "Side is not the order's",
    RejectReason.ORDER_CAPACITY: "the venue holds as many open orders as it can",
    RejectReason.LEVEL_CAPACITY: "the venue holds as many price levels as it can",
    RejectReason.SESSION_CAPACITY: "the venue holds as many sessions as it can",
    RejectReason.LOG_CAPACITY: "the venue's log is full: orders can only be cancelled",
    RejectReason.LEVEL_QTY_OVERFLOW: "the price level's total quantity would overflow",
    RejectReason.VENUE_CLOSED: "the venue is closed",
    RejectReason.SHARD_DOWN: "the symbol cannot be traded now: its shard is being restarted",
    RejectReason.MASS_CANCEL: "canceled by a mass cancel request",
    RejectReason.CONNECTION_LOST: "canceled since the session lost its connection",
    RejectReason.LOGGED_OUT: "canceled since the session logged out",
}

#: No report is longer, in bytes, whatever route and party fields it echoes: a FIX client that takes
#: less (MaxMessageSize) cannot be served.
LARGEST_REPORT = 1536

#: ExecType(150) by Version and ReportKind, as character codes; 0: what OrdStatus says, which up to
#: 4.2 is the ExecType of trades and of answers to status requests.
EXEC_TYPE = np.zeros((len(Version), 16), np.int64)
for _kind, _character in {
    ReportKind.NEW: "0",
    ReportKind.TRADE: "F",
    ReportKind.CANCELED: "4",
    ReportKind.REPLACED: "5",
    ReportKind.REJECTED: "8",
    ReportKind.EXPIRED: "C",
    ReportKind.STATUS: "I",
    ReportKind.MASS_STATUS: "I",
}.items():
    EXEC_TYPE[:, _kind] = ord(_character)
    if _character in "FI":
        EXEC_TYPE[: Version.FIX43, _kind] = 0

#: OrdStatus(39) by Version and OrderStatus, as character codes. FIX 4.4 has no code for an
#: identifier that a replace superseded: the request about it is rejected.
ORD_STATUS = np.zeros((len(Version), 16), np.int64)
for _status in OrderStatus:
    ORD_STATUS[:, _status] = ord("C") if _status == OrderStatus.EXPIRED else ord("0") + _status
ORD_STATUS[Version.FIX44, OrderStatus.REPLACED] = ord("8")


@lean_kernel
def has_room_for(routes: Routes, shard: int) -> bool:
    """Tell Python whether one more command fits into the ring to a shard."""
    return has_room(routes, shard)

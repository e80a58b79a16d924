"""What the generator remembers, as rows: its orders, the requests in flight, connections, markets.

A ClOrdID is 16 characters: four of the run, two of the connection, ten of base 32 that hold the
order's slot (18 bits) and a generation (32 bits) that no other request of the connection has with
this slot. So a report leads to its order without a search.
"""

from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from openoutcry.protocol.binary.layouts import REPORT_VALUES

#: Bits of a ClOrdID that hold the order's slot.
SLOT_BITS = 18
SLOT_MAX = 1 << SLOT_BITS
GENERATION_BITS = 32
#: Shards whose ExecIDs are watched.
SHARDS_MAX = 256
#: Mismatches that are described; all are counted.
MISMATCHES_KEPT = 16
#: How far slots are chosen ahead; a power of two.
CANDIDATES = 8
NIL = -1

#: One of our orders; 64 bytes, one cache line.
ORDER = np.dtype(
    [
        ("price", "<i8"),  # ticks
        ("qty", "<i8"),  # lots
        ("cum_qty", "<i8"),
        ("order_id", "<i8"),  # 0 before the venue has told
        ("notional", "<i8"),  # sum of last_px × last_qty
        ("generation", "<i8"),  # of the ClOrdID by which the venue knows the order
        ("newest", "<i4"),  # generation given last to this slot; wraps
        ("pending", "<i4"),  # row of the request in flight, or NIL
        ("market", "<i2"),
        ("state", "u1"),  # OrderState
        ("side", "u1"),
        ("tif", "u1"),
        ("ord_type", "u1"),
        ("status", "u1"),  # OrderStatus in the latest report
        ("is_measured", "u1"),  # sent after the warm-up
    ],
    align=True,
)
assert ORDER.itemsize == 64

#: A request that is not answered yet.
PENDING = np.dtype(
    [
        ("generation", "<i8"),
        ("sent_ns", "<i8"),  # the intended time, when a rate is given
        ("price", "<i8"),
        ("qty", "<i8"),
        ("seq", "<i8"),
        ("slot", "<i4"),
        ("kind", "u1"),  # Action
        ("is_measured", "u1"),
    ],
    align=True,
)

#: What is asked next; filled by the workload, read by the encoders.
ACTION = np.dtype(
    [
        ("seq", "<i8"),
        ("price", "<i8"),
        ("qty", "<i8"),
        ("id0", "<u8"),
        ("id1", "<u8"),
        ("orig0", "<u8"),
        ("orig1", "<u8"),
        ("market", "<i4"),
        ("kind", "u1"),
        ("side", "u1"),
        ("ord_type", "u1"),
        ("tif", "u1"),
    ],
    align=True,
)

CONNECTION = np.dtype(
    [
        ("prefix", "<u8"),  # run and connection: the first six characters of each ClOrdID
        ("random", "<u8"),  # state of the generator of random bits, never 0
        ("next_out", "<i8"),
        ("next_in", "<i8"),
        ("free_slots", "<i8"),  # on the stack of free slots
        ("free_pending", "<i8"),  # on the stack of free PENDING rows
        ("top", "<i8"),  # slots from here on were never used
        ("cursor", "<i8"),  # clean-up: next slot to look at
        ("candidate", "<i8"),  # next of the slots chosen for a look
        ("in_start", "<i8"),  # received bytes not decoded yet
        ("in_end", "<i8"),
        ("out_start", "<i8"),  # encoded bytes not sent yet
        ("out_end", "<i8"),
        ("frame_end", "<i8"),  # of the frame at in_start that is for Python
        ("spare", "<i8", (2,)),
    ],
    align=True,
)
assert CONNECTION.itemsize == 128

MARKET = np.dtype(
    [
        ("middle", "<i8"),  # ticks; walks
        ("start", "<i8"),
        ("min_qty", "<i8"),
        ("qty_range", "<i8"),
        ("tick_mantissa", "<i8"),
        ("lot_mantissa", "<i8"),
        ("tick_scale", "<i8"),
        ("lot_scale", "<i8"),
        ("symbol0", "<u8"),
        ("symbol1", "<u8"),
        ("symbol2", "<u8"),
        ("bought", "<i8"),
        ("sold", "<i8"),
        ("number", "<i4"),  # the venue's, in the binary protocol
        ("spare", "<i4"),
    ],
    align=True,
)

#: One row: what all connections share.
PLAN = np.dtype(
    [
        ("new_below", "<i8"),  # thresholds for 16 random bits
        ("cancel_below", "<i8"),
        ("replace_below", "<i8"),
        ("resting_each", "<i8"),  # resting orders aimed at, a connection
        ("depth", "<i8"),
        ("through", "<i8"),
        ("walk_mask", "<i8"),
        ("walk_range", "<i8"),
        ("near", "<i8"),
        ("tif", "<i8"),
        ("phase", "<i8"),
        ("budget", "<i8"),  # requests that may still be sent
        ("window", "<i8"),  # requests in flight at most, a connection
        ("is_measuring", "<i8"),
        ("is_own_venue", "<i8"),
        ("avg_px_decimals", "<i8"),  # of AvgPx(6) in FIX; -1: 1e-8 of a tick, as in binary
        ("account0", "<u8"),
        ("account1", "<u8"),
        ("account2", "<u8"),
        ("account3", "<u8"),
        ("mismatches", "<i8"),
    ],
    align=True,
)

#: What is wrong with the report at hand: the first difference found.
VERDICT = np.dtype([("code", "<i8"), ("expected", "<i8"), ("got", "<i8")])

#: A report that does not fit its order.
MISMATCH = np.dtype(
    [
        ("connection", "<i8"),
        ("code", "<i8"),  # check.Mismatch
        ("expected", "<i8"),
        ("got", "<i8"),
        ("report", REPORT_VALUES),
    ]
)


class Action(IntEnum):
    """What is asked."""

    NEW = 1
    CANCEL = 2
    REPLACE = 3
    #: A new order that crosses the market, and never rests.
    MARKETABLE = 4


class OrderState(IntEnum):
    """Where one of our orders stands."""

    FREE = 0
    #: Sent; the venue has not answered.
    SENT = 1
    OPEN = 2
    #: Finished; the slot waits for the answer to a request in flight.
    FINISHED = 3


class Phase(IntEnum):
    """What the workload does."""

    #: Only new orders, until enough rest.
    FILL = 0
    MIX = 1
    #: Cancels of whatever rests.
    CLEAN = 2
    #: Nothing.
    QUIET = 3


class Turn(IntEnum):
    """What a connection's turn ended with."""

    #: All that was received is decoded, but for a part of a frame.
    DONE = 0
    #: The frame from in_start to frame_end is for Python.
    SESSION = 1
    #: What stands at in_start is no frame.
    GARBLED = 2


class Count(IntEnum):
    """Places in Load.counts; zeroed when the measurement starts."""

    SENT = 0
    REPORTS = 1
    ACKED = 2
    REJECTED = 3
    NEW = 4
    CANCEL = 5
    REPLACE = 6
    MARKETABLE = 7
    #: New orders with at least one fill.
    FILLED = 8
    TRADES = 9
    #: Reports that belong to orders of an earlier run.
    FOREIGN = 10
    BYTES_OUT = 11
    BYTES_IN = 12
    MAX_LATENCY_NS = 13
    LAST_ANSWER_NS = 14


class Load(NamedTuple):
    """All state of the generator. The first index is the connection, where there are two."""

    plan: NDArray[Any]
    connections: NDArray[Any]
    markets: NDArray[Any]
    orders: NDArray[Any]
    free_slots: NDArray[np.int32]
    #: Slots chosen for a look, whose rows are on their way into the cache.
    candidates: NDArray[np.int32]
    pending: NDArray[Any]
    free_pending: NDArray[np.int32]
    #: Highest ExecID seen, a connection and shard.
    exec_ids: NDArray[np.int64]
    action: NDArray[Any]
    #: Two reports: the second is decoded before the first is looked at.
    report: NDArray[Any]
    verdict: NDArray[Any]
    counts: NDArray[np.int64]
    #: Rejects of measured requests, by kind (0 new, 1 cancel or replace) and reason.
    rejects: NDArray[np.int64]
    histogram: NDArray[np.int64]
    mismatches: NDArray[Any]

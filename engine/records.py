"""Every record layout of the engine, in one place. All are multiples of 64 bytes and little-endian.

A ClOrdID is 1 to 36 printable ASCII characters. It is held in 40 bytes, padded with NUL, and
kernels see it as five 64-bit words `id0 … id4` (so that comparing and hashing are five operations);
the overlay `cl_ord_id` (`S40`) is the same bytes for Python. The second identifier works alike:
`orig0 … orig4` and `orig_cl_ord_id`.

COMMAND, 192 bytes                                  REPORT, 192 bytes
  0 seq          8  time_ns                           0 report_seq    8  seq
 16 inbound_seq 24  session  28 epoch                16 time_ns      24 order_id
 32 account     36  firm                             32 price_ticks  40 qty_lots
 40 symbol      44  kind side ord_type tif           48 cum_qty      56 leaves_qty
 48 price_ticks 56  qty_lots                         64 inbound_seq  72 session  76 epoch
 64 id0 … id4                                        80 account      84 symbol
104 flags 106 reject_reason 108 smp_group            88 id0 … id4
112 orig0 … orig4                                   128 orig0 … orig4   or, in a TRADE:
152 price2_ticks 160 qty2_lots 168 expire_ns            128 last_px 136 last_qty 144 trade_id
176 recv_ns     184 ring_ns   (never logged)            152 contra_order_id 160 (unused)
                                                    168 notional_lo 176 notional_hi
                                                    184 kind status side ord_type
                                                    188 tif liquidity reason(2)
"""

import numpy as np

#: Bytes of a slot: a cache line.
SLOT_BYTES = 64
#: Longest ClOrdID, in characters.
CL_ORD_ID_MAX = 36
#: "No index", in every link and table.
NIL = -1
#: A session number that no session has: control commands carry it.
NO_SESSION = 0

_ID = [("id0", "<u8"), ("id1", "<u8"), ("id2", "<u8"), ("id3", "<u8"), ("id4", "<u8")]
_ORIG = [(name.replace("id", "orig"), kind) for name, kind in _ID]


def _layout(
    fields: list[tuple[str, str, int]], itemsize: int, *, overlap: tuple[str, ...] = ()
) -> np.dtype[np.void]:
    """Build a dtype from (name, format, offset), checking that nothing overlaps but what is
    named."""
    used = bytearray(itemsize)
    for name, kind, offset in fields:
        width = np.dtype(kind).itemsize
        if offset % min(width, 8) and not kind.startswith("S"):
            raise ValueError(f"{name} at {offset} is not aligned")
        if name not in overlap:
            if any(used[offset : offset + width]) or offset + width > itemsize:
                raise ValueError(f"{name} at {offset} overlaps another field")
            used[offset : offset + width] = b"\1" * width
    names, kinds, offsets = zip(*fields, strict=True)
    return np.dtype(
        {
            "names": list(names),
            "formats": list(kinds),
            "offsets": list(offsets),
            "itemsize": itemsize,
        }
    )


def _words(words: list[tuple[str, str]], offset: int) -> list[tuple[str, str, int]]:
    return [(name, kind, offset + 8 * i) for i, (name, kind) in enumerate(words)]


COMMAND = _layout(
    [
        ("seq", "<i8", 0),  # given by the shard when it sequences; 0 before
        ("time_ns", "<i8", 8),  # given by the shard: ns since 1970, never going back
        ("inbound_seq", "<i8", 16),  # the session's MsgSeqNum; 0 in process
        ("session", "<u4", 24),
        ("epoch", "<u4", 28),  # raised by each sequence reset of the session
        ("account", "<u4", 32),
        ("firm", "<u4", 36),
        ("symbol", "<i4", 40),
        ("kind", "u1", 44),  # CommandKind
        ("side", "u1", 45),
        ("ord_type", "u1", 46),
        ("tif", "u1", 47),
        ("price_ticks", "<i8", 48),
        ("qty_lots", "<i8", 56),
        *_words(_ID, 64),
        ("cl_ord_id", "S40", 64),
        ("flags", "<u2", 104),
        ("reject_reason", "<u2", 106),  # set before logging: the shard answers with this reject
        ("smp_group", "<u4", 108),
        *_words(_ORIG, 112),
        ("orig_cl_ord_id", "S40", 112),
        ("price2_ticks", "<i8", 152),  # ADD_SYMBOL: the largest price
        ("qty2_lots", "<i8", 160),  # ADD_SYMBOL: the largest quantity
        ("expire_ns", "<i8", 168),
        ("recv_ns", "<i8", 176),  # monotonic; measurement only, never logged
        ("ring_ns", "<i8", 184),  # monotonic; measurement only, never logged
    ],
    192,
    overlap=("cl_ord_id", "orig_cl_ord_id"),
)
assert COMMAND.itemsize == 3 * SLOT_BYTES

#: Bytes of a command that are logged: all before the two measurement stamps.
COMMAND_LOGGED_BYTES = 176

REPORT = _layout(
    [
        ("report_seq", "<i8", 0),  # dense per shard, from 1
        ("seq", "<i8", 8),  # the command that caused it
        ("time_ns", "<i8", 16),  # that command's time
        ("order_id", "<i8", 24),
        ("price_ticks", "<i8", 32),
        ("qty_lots", "<i8", 40),
        ("cum_qty", "<i8", 48),
        ("leaves_qty", "<i8", 56),
        ("inbound_seq", "<i8", 64),  # the MsgSeqNum answered; 0 in an unsolicited report
        ("session", "<u4", 72),
        ("epoch", "<u4", 76),
        ("account", "<u4", 80),
        ("symbol", "<i4", 84),
        *_words(_ID, 88),
        ("cl_ord_id", "S40", 88),
        *_words(_ORIG, 128),
        ("orig_cl_ord_id", "S40", 128),
        ("last_px", "<i8", 128),  # TRADE: ticks
        ("last_qty", "<i8", 136),  # TRADE: lots
        ("trade_id", "<i8", 144),  # TRADE: report_seq of the aggressor's report
        ("contra_order_id", "<i8", 152),  # TRADE
        ("notional_lo", "<u8", 168),  # sum of last_px * last_qty, 128-bit two's complement
        ("notional_hi", "<i8", 176),
        ("kind", "u1", 184),  # ReportKind
        ("status", "u1", 185),  # OrderStatus
        ("side", "u1", 186),
        ("ord_type", "u1", 187),
        ("tif", "u1", 188),
        ("liquidity", "u1", 189),  # TRADE: Liquidity
        ("response_to", "u1", 189),  # CANCEL_REJECTED: CommandKind of the declined request
        ("reason", "<u2", 190),  # RejectReason
    ],
    192,
    overlap=(
        "cl_ord_id",
        "orig_cl_ord_id",
        "last_px",
        "last_qty",
        "trade_id",
        "contra_order_id",
        "response_to",
    ),
)
assert REPORT.itemsize == 3 * SLOT_BYTES

EVENT = _layout(
    [
        ("event_seq", "<i8", 0),  # dense per shard, from 1; stored last, 0 while being written
        ("time_ns", "<i8", 8),
        ("order_id", "<i8", 16),
        ("price_ticks", "<i8", 24),
        ("qty_lots", "<i8", 32),
        ("leaves_qty", "<i8", 40),
        ("trade_id", "<i8", 48),
        ("symbol", "<i4", 56),
        ("kind", "u1", 60),  # EventKind
        ("side", "u1", 61),  # the resting order's
    ],
    64,
)
assert EVENT.itemsize == SLOT_BYTES

DEPTH_LEVEL = np.dtype([("price_ticks", "<i8"), ("qty_lots", "<i8"), ("orders", "<i8")], align=True)

#: An order's or trade's identifier holds the shard in the upper 16 bits, the sequence below.
SHARD_SHIFT = 48

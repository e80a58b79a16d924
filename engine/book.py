"""A shard's order books as one value: the pools, tables and counters that every kernel works on.

Everything is allocated, and touched once, by `create_book`; kernels take rows from the pools and
give them back. Links are row numbers, `NIL` (-1) where there is none.

ORDER, 32 bytes: what the price-time queue needs.   LEVEL, 64 bytes: a price of a symbol's side.
  0 leaves_qty   8 session                            0 price_ticks   8 qty_lots (of all its orders)
 16 next 20 prev 24 level 28 detail                  16 orders       20 head 24 tail (time priority)
                                                     28 block        32 side row
BLOCK, 32 bytes: 64 neighbouring prices of a side, and in `block_levels` the LEVEL row of each.
  0 key (of its prices, without the low 6 bits)       8 bits (which of its prices have a level)
 16 next (worse)   20 side row

DETAIL, 128 bytes: the rest of an order, open or among the last N finished ones.
  0 id0 … id4                                        64 qty_lots    72 cum_qty   80 price_ticks
 40 session 44 tag (of the id table)                 88 notional_lo 96 notional_hi
 48 order  (ORDER row; NIL: finished)               104 epoch      108 account  112 firm
 52 symbol  56 order_id                             116 side ord_type tif status  120 expire_ns

SYMBOL, 64 bytes: limits, policy.  SIDE_ROW, 32 bytes: row = symbol * 2 + (0 buy, 1 sell).
A price is ordered by its *key*, `price ^ mask` with mask 0 for sells and -1 for buys: the smaller
key is always the better price, and no int64 overflows.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from openoutcry.engine.records import EVENT, NIL, SHARD_SHIFT, SLOT_BYTES
from openoutcry.engine.words import INT64_MAX, splitmix

_HUGE_PAGE_BYTES = 2 << 20

#: Most keys of a tree node.
TREE_FANOUT = 32
#: Fewest keys of a tree node other than a root.
TREE_MIN = 12
#: What stands in a node's places for keys that it does not have: above every key there can be.
NO_KEY = INT64_MAX

ORDER = np.dtype(
    [
        ("leaves_qty", "<i8"),
        ("session", "<u4"),
        ("unused", "<u4"),
        ("next", "<i4"),
        ("prev", "<i4"),
        ("level", "<i4"),
        ("detail", "<i4"),
    ],
    align=True,
)
assert ORDER.itemsize == 32

DETAIL = np.dtype(
    {
        "names": [
            *("id0", "id1", "id2", "id3", "id4", "cl_ord_id", "session", "tag", "order", "symbol"),
            *("order_id", "qty_lots", "cum_qty", "price_ticks", "notional_lo", "notional_hi"),
            *("epoch", "account", "firm", "side", "ord_type", "tif", "status", "expire_ns"),
        ],
        "formats": [
            *("<u8", "<u8", "<u8", "<u8", "<u8", "S40", "<u4", "<i4", "<i4", "<i4"),
            *("<i8", "<i8", "<i8", "<i8", "<i8", "<i8"),
            *("<u4", "<u4", "<u4", "u1", "u1", "u1", "u1", "<i8"),
        ],
        "offsets": [
            *(0, 8, 16, 24, 32, 0, 40, 44, 48, 52),
            *(56, 64, 72, 80, 88, 96),
            *(104, 108, 112, 116, 117, 118, 119, 120),
        ],
        "itemsize": 128,
    }
)
assert DETAIL.itemsize == 2 * SLOT_BYTES

LEVEL = np.dtype(
    {
        "names": [
            *("price_ticks", "qty_lots", "orders", "head", "tail", "block", "side", "is_used"),
            "next_free",
        ],
        "formats": ["<i8", "<i8", "<i4", "<i4", "<i4", "<i4", "<i4", "u1", "<i4"],
        "offsets": [0, 8, 16, 20, 24, 28, 32, 36, 40],
        "itemsize": SLOT_BYTES,
    }
)

#: Prices of a block, as a power of two.
BLOCK_BITS = 6
BLOCK_PRICES = 1 << BLOCK_BITS
BLOCK = np.dtype(
    [("key", "<i8"), ("bits", "<i8"), ("next", "<i4"), ("side", "<i4"), ("unused", "<i8")],
    align=True,
)
assert BLOCK.itemsize == 32

SIDE_ROW = np.dtype(
    [
        ("best_key", "<i8"),  # of the best level; says nothing where there is none
        ("best", "<i4"),
        ("levels", "<i4"),
        ("orders", "<i4"),
        ("tree_root", "<i4"),
        ("tree_height", "<i4"),
        ("unused", "<i4"),
    ],
    align=True,
)
assert SIDE_ROW.itemsize == 32

SYMBOL = np.dtype(
    {
        "names": [
            *("price_min", "price_max", "qty_min", "qty_max"),
            *("day_orders", "is_defined", "replace_policy"),
        ],
        "formats": ["<i8", "<i8", "<i8", "<i8", "<i4", "u1", "u1"],
        "offsets": [0, 8, 16, 24, 32, 36, 37],
        "itemsize": SLOT_BYTES,
    }
)

#: A session's inbound mark: the highest number seen in its highest epoch; and how many of its
#: orders rest.
MARK = np.dtype([("inbound_seq", "<i8"), ("epoch", "<u4"), ("open_orders", "<i4")], align=True)
assert MARK.itemsize == 16

#: The counters of a book, one row. `*_free` heads a list of returned rows, `*_fresh` counts the
#: rows ever used.
STATE = np.dtype(
    [
        ("seq", "<i8"),
        ("time_ns", "<i8"),
        ("event_seq", "<i8"),
        ("open_orders", "<i8"),
        ("day_orders", "<i8"),
        ("order_free", "<i8"),
        ("order_fresh", "<i8"),
        ("detail_free", "<i8"),
        ("detail_fresh", "<i8"),
        ("details_used", "<i8"),
        ("level_free", "<i8"),
        ("level_fresh", "<i8"),
        ("levels_used", "<i8"),
        ("block_free", "<i8"),
        ("block_fresh", "<i8"),
        ("blocks_used", "<i8"),
        ("node_free", "<i8"),
        ("node_fresh", "<i8"),
        ("nodes_used", "<i8"),
        ("finished_next", "<i8"),
        ("finished_count", "<i8"),
        ("key0", "<i8"),
        ("key1", "<i8"),
        ("key2", "<i8"),
        ("key3", "<i8"),
        ("key4", "<i8"),
        ("key5", "<i8"),
    ],
    align=True,
)


class Capacity(NamedTuple):
    """How much a book can hold; exceeding any of it is a reject with its own reason."""

    #: Orders open at a time, over all symbols.
    open_orders: int = 262_144
    #: Finished orders whose ClOrdID is remembered (the duplicate window); 0: reusable at once.
    finished_orders: int = 1_000_000
    #: Price levels at a time, over all symbols and both sides.
    levels: int = 131_072
    #: Symbol numbers are 0 … symbols - 1.
    symbols: int = 1_024
    #: Session numbers are 0 … sessions - 1; 0 is nobody.
    sessions: int = 4_096


DEFAULT_CAPACITY = Capacity()


class Book(NamedTuple):
    """All state of a shard's books; a tuple of arrays, so that kernels take it as one argument."""

    state: NDArray[Any]  # STATE[1]
    orders: NDArray[Any]  # ORDER[open_orders]
    details: NDArray[Any]  # DETAIL[open_orders + finished_orders + 1]
    id_slots: NDArray[Any]  # i8[2^id_bits]: tag << 32 | detail row + 1
    levels: NDArray[Any]  # LEVEL[levels]
    blocks: NDArray[Any]  # BLOCK[levels]
    block_levels: NDArray[Any]  # i4[levels * BLOCK_PRICES]: level rows, where the block has the bit
    block_slots: NDArray[Any]  # i8[2^block_bits]: tag << 32 | block row + 1
    tree_keys: NDArray[Any]  # i8[nodes * TREE_FANOUT]: NO_KEY beyond a node's count
    tree_refs: NDArray[Any]  # i4[nodes * TREE_FANOUT]: child nodes, or block rows in a leaf
    tree_counts: NDArray[Any]  # i4[nodes]
    sides: NDArray[Any]  # SIDE_ROW[symbols * 2]
    symbols: NDArray[Any]  # SYMBOL[symbols]
    marks: NDArray[Any]  # MARK[sessions]
    finished: NDArray[
        Any
    ]  # i8[max(finished_orders, 1)]: id slots of finished orders, oldest evicted
    events: NDArray[Any]  # EVENT[event_mask + 1], the broadcast ring
    notes: NDArray[Any]  # i8[128]: what is known of the commands ahead (a batch's own scratch)
    event_mask: int
    id_bits: int
    block_bits: int
    shard_base: int  # shard << SHARD_SHIFT
    open_capacity: int
    finished_capacity: int
    level_capacity: int
    symbol_capacity: int
    session_capacity: int


def _allocate(dtype: Any, count: int) -> NDArray[Any]:
    """Return a zeroed array, each page touched, on a cache line (a huge page where it is large)."""
    dtype = np.dtype(dtype)
    size = dtype.itemsize * count
    alignment = _HUGE_PAGE_BYTES if size >= _HUGE_PAGE_BYTES else SLOT_BYTES
    raw = np.empty(size + alignment, dtype=np.uint8)
    start = -raw.ctypes.data % alignment
    rows = raw[start : start + size]
    rows.fill(0)
    return rows.view(dtype)


def _table_bits(entries: int) -> int:
    """Return the size exponent of a hash table that stays under two thirds full."""
    return max(4, (entries * 3 // 2).bit_length())


def _tree_nodes(levels: int, symbols: int) -> int:
    """Return how many tree nodes any set of levels can need, with spares for a split.

    Each level may have a block of its own. Nodes other than roots hold at least TREE_MIN entries,
    so n blocks take fewer than n / (TREE_MIN - 1) of them; each side adds a root.
    """
    return levels // (TREE_MIN - 1) + 2 * symbols + 32


def _check_capacity(capacity: Capacity, shard: int) -> None:
    for name, value in capacity._asdict().items():
        least = 0 if name == "finished_orders" else 1
        if not least <= value <= 1 << 28:
            raise ValueError(f"capacity of {name} must be {least} to {1 << 28}, not {value}")
    if not 0 <= shard < 1 << 15:
        raise ValueError(f"shard must be 0 to {(1 << 15) - 1}, not {shard}")


def create_book(
    capacity: Capacity = DEFAULT_CAPACITY,
    shard: int = 0,
    events: NDArray[Any] | None = None,
    seed: int = 0,
) -> Book:
    """Create the empty books of a shard.

    `events` is the broadcast ring to write (EVENT rows, a power of two of them, perhaps in shared
    memory); without it a private ring of one row is overwritten. `seed` varies where identifiers
    lie in the hash table, so that no client can aim at one spot; it influences no report and no
    state hash.
    """
    _check_capacity(capacity, shard)
    if events is None:
        events = _allocate(EVENT, 1)
    rows = events.size
    if events.dtype != EVENT or events.ndim != 1 or not rows or rows & (rows - 1):
        raise ValueError(
            f"events must be a power of two of EVENT rows, not {events.shape} of {events.dtype}"
        )
    if not (events.flags.c_contiguous and events.flags.writeable and events.flags.aligned):
        # Kernels know nothing but the address.
        raise ValueError("events must be contiguous, aligned and writable: they are written into")
    details = capacity.open_orders + capacity.finished_orders + 1
    id_bits = _table_bits(details)
    block_bits = _table_bits(capacity.levels)
    nodes = _tree_nodes(capacity.levels, capacity.symbols)
    book = Book(
        state=_allocate(STATE, 1),
        orders=_allocate(ORDER, capacity.open_orders),
        details=_allocate(DETAIL, details),
        id_slots=_allocate(np.int64, 1 << id_bits),
        levels=_allocate(LEVEL, capacity.levels),
        blocks=_allocate(BLOCK, capacity.levels),
        block_levels=_allocate(np.int32, capacity.levels * BLOCK_PRICES),
        block_slots=_allocate(np.int64, 1 << block_bits),
        tree_keys=_allocate(np.int64, nodes * TREE_FANOUT),
        tree_refs=_allocate(np.int32, nodes * TREE_FANOUT),
        tree_counts=_allocate(np.int32, nodes),
        sides=_allocate(SIDE_ROW, capacity.symbols * 2),
        symbols=_allocate(SYMBOL, capacity.symbols),
        marks=_allocate(MARK, capacity.sessions),
        finished=_allocate(np.int64, max(capacity.finished_orders, 1)),
        events=events,
        notes=_allocate(np.int64, 128),
        event_mask=len(events) - 1,
        id_bits=id_bits,
        block_bits=block_bits,
        shard_base=shard << SHARD_SHIFT,
        open_capacity=capacity.open_orders,
        finished_capacity=capacity.finished_orders,
        level_capacity=capacity.levels,
        symbol_capacity=capacity.symbols,
        session_capacity=capacity.sessions,
    )
    state = book.state[0]
    for name in ("order_free", "detail_free", "level_free", "block_free", "node_free"):
        state[name] = NIL
    for number, word in enumerate(splitmix(seed, 6)):
        state[f"key{number}"] = word | 1
    book.sides["best"] = NIL
    book.sides["tree_root"] = NIL
    book.tree_keys.fill(NO_KEY)
    return book


def book_bytes(book: Book) -> int:
    """Return the memory that a book's arrays occupy, in bytes."""
    return sum(part.nbytes for part in book if isinstance(part, np.ndarray))

"""A book as logical rows, and a book made of them: what a snapshot holds.

The rows say nothing of pool sizes, hash keys and free lists, so a book may be loaded into other
capacities; it then answers, and hashes, as the one it was taken from.

Open orders come by symbol, buys before sells, from best price to worst, in time priority; finished
ones from the one that finished first. Each is packed:

    0  lengths of 16 words, four bits each (0 to 8), little-endian
    8  the words' significant low bytes, one word after another

The words are those of a DETAIL row, but for word 5: session (low 32 bits) and symbol (high 32
bits), word 6: the quantity that is open, and word 7: the order_id without the shard's bits. A usual
order takes about 45 bytes.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from openoutcry.config.jit import inlined_kernel, int64, lean_kernel, lean_part
from openoutcry.engine.atomics import prefetch
from openoutcry.engine.book import DETAIL, Book, Capacity, create_book
from openoutcry.engine.enums import Side, TimeInForce
from openoutcry.engine.levels import append_order, create_level, next_level
from openoutcry.engine.log import as_words
from openoutcry.engine.orders import id_tag, take_detail, take_order
from openoutcry.engine.pack import LOW_BYTES, load_word, significant_bytes, store_word
from openoutcry.engine.records import NIL, SHARD_SHIFT
from openoutcry.engine.table import home_of, insert_slot, row_of, slot_of
from openoutcry.engine.words import LOW_32, wrap_mul

IMAGE_SYMBOL = np.dtype(
    [
        ("price_min", "<i8"),
        ("price_max", "<i8"),
        ("qty_min", "<i8"),
        ("qty_max", "<i8"),
        ("symbol", "<i4"),
        ("replace_policy", "<i4"),
    ]
)
IMAGE_MARK = np.dtype([("inbound_seq", "<i8"), ("session", "<u4"), ("epoch", "<u4")])

#: Words of a packed order, and the most bytes that one takes; storing one may touch 8 more.
ORDER_WORDS = DETAIL.itemsize // 8
_DETAIL_BYTES = DETAIL.itemsize
_LENGTHS_BYTES = 8
MAX_ORDER_BYTES = _LENGTHS_BYTES + DETAIL.itemsize
_SPARE_BYTES = 16
_SESSION_WORD, _SYMBOL_WORD, _ORDER_ID_WORD = 5, 6, 7
_fields = DETAIL.fields
assert _fields is not None
assert [_fields[name][1] for name in ("session", "tag", "order", "symbol", "order_id")] == [
    *(8 * _SESSION_WORD, 8 * _SESSION_WORD + 4),
    *(8 * _SYMBOL_WORD, 8 * _SYMBOL_WORD + 4),
    8 * _ORDER_ID_WORD,
]
assert ORDER_WORDS == 16  # one word holds all lengths
#: Rows ahead of the one worked on whose memory is asked for.
_AHEAD = 12

#: Codes of the kernel that loads: all was loaded; a row is none that a book can hold.
_LOADED = 0
_MALFORMED = 1


class ImageError(ValueError):
    """Rows that make no book, or none of the capacity wanted; the text is for the operator."""


class Image(NamedTuple):
    """A book's content."""

    shard: int
    seq: int
    time_ns: int
    event_seq: int
    #: The capacity of the book that it was taken from.
    capacity: Capacity
    #: IMAGE_SYMBOL and IMAGE_MARK rows, by number.
    symbols: NDArray[Any]
    marks: NDArray[Any]
    levels: int
    open_orders: int
    finished_orders: int
    #: Packed orders, as bytes.
    orders: NDArray[np.uint8]
    finished: NDArray[np.uint8]


def capacity_of(book: Book) -> Capacity:
    """Return the capacity that a book was made with."""
    return Capacity(
        open_orders=book.open_capacity,
        finished_orders=book.finished_capacity,
        levels=book.level_capacity,
        symbols=book.symbol_capacity,
        sessions=book.session_capacity,
    )


# --- from a book ----------------------------------------------------------------------------------


@lean_kernel
def _list_open(book: Book, rows: NDArray[np.int64]) -> int:
    """List the ORDER rows of all open orders in the order of the image; return how many."""
    count = int64(0)
    limit = len(rows)
    orders = book.orders
    for side in range(2 * book.symbol_capacity):
        level = int64(book.sides[side]["best"])
        while level != NIL:
            after = next_level(book, side, level)
            if after != NIL:
                head = int64(book.levels[after]["head"])
                prefetch(int64(orders.ctypes.data) + head * orders.itemsize)
            order = int64(book.levels[level]["head"])
            while order != NIL and count < limit:
                rows[count] = order
                count += 1
                order = int64(orders[order]["next"])
            level = after
    return count


@inlined_kernel
def _pack_order(
    details: NDArray[np.int64], row: int, leaves: int, shard_base: int, address: int
) -> int:
    """Pack row `row` of DETAIL seen as (n, 16) words at `address`; return the end."""
    at = address + _LENGTHS_BYTES
    lengths = int64(0)
    for w in range(ORDER_WORDS):
        word = details[row, w]
        if w == _SESSION_WORD:
            word = (word & LOW_32) | (details[row, _SYMBOL_WORD] & ~int64(LOW_32))
        elif w == _SYMBOL_WORD:
            word = leaves
        elif w == _ORDER_ID_WORD:
            word = word ^ shard_base
        size = significant_bytes(word)
        store_word(at, word)
        at += size
        lengths |= wrap_mul(size, int64(1) << (4 * w))
    store_word(address, lengths)
    return at


@lean_kernel
def _pack_open(
    book: Book, rows: NDArray[np.int64], count: int, details: NDArray[np.int64], address: int
) -> int:
    """Pack the open orders with these ORDER rows; return the end."""
    orders = book.orders
    base = int64(book.details.ctypes.data)
    for n in range(count):
        # The ORDER row was read a moment ago; its DETAIL may be anywhere.
        if n + _AHEAD < count:
            ahead = base + int64(orders[rows[n + _AHEAD]]["detail"]) * _DETAIL_BYTES
            prefetch(ahead)
            prefetch(ahead + 64)
        if n + 2 * _AHEAD < count:
            prefetch(int64(orders.ctypes.data) + rows[n + 2 * _AHEAD] * orders.itemsize)
        order = orders[rows[n]]
        address = _pack_order(
            details, int64(order["detail"]), order["leaves_qty"], book.shard_base, address
        )
    return address


@lean_kernel
def _pack_finished(book: Book, details: NDArray[np.int64], address: int) -> int:
    """Pack the finished orders, the one that finished first before the others; return the end."""
    state = book.state
    count = state[0]["finished_count"]
    base = int64(book.details.ctypes.data)
    first = state[0]["finished_next"] - count
    for n in range(count):
        if n + _AHEAD < count:
            place = first + n + _AHEAD
            if place < 0:
                place += book.finished_capacity
            ahead = base + row_of(book.finished[place]) * _DETAIL_BYTES
            prefetch(ahead)
            prefetch(ahead + 64)
        place = first + n
        if place < 0:
            place += book.finished_capacity
        row = row_of(book.finished[place])
        address = _pack_order(details, row, int64(0), book.shard_base, address)
    return address


def take_image(book: Book) -> Image:
    """Return a book's content. The book must stand still meanwhile, and is not changed."""
    state = book.state[0]
    details = as_words(book.details)
    open_orders, finished_orders = int(state["open_orders"]), int(state["finished_count"])
    rows = np.empty(open_orders, np.int64)
    listed = int(_list_open(book, rows))
    if listed != open_orders:
        raise ImageError(f"the book counts {open_orders} open orders, but {listed} are there")
    # Pages that no byte comes to lie on are never touched.
    orders = np.empty(open_orders * MAX_ORDER_BYTES + _SPARE_BYTES, np.uint8)
    start = int(orders.ctypes.data)
    orders = orders[: int(_pack_open(book, rows, open_orders, details, start)) - start]
    finished = np.empty(finished_orders * MAX_ORDER_BYTES + _SPARE_BYTES, np.uint8)
    start = int(finished.ctypes.data)
    finished = finished[: int(_pack_finished(book, details, start)) - start]
    return Image(
        shard=book.shard_base >> SHARD_SHIFT,
        seq=int(state["seq"]),
        time_ns=int(state["time_ns"]),
        event_seq=int(state["event_seq"]),
        capacity=capacity_of(book),
        symbols=_image_symbols(book),
        marks=_image_marks(book),
        levels=int(state["levels_used"]),
        open_orders=open_orders,
        finished_orders=finished_orders,
        orders=orders,
        finished=finished,
    )


def _image_symbols(book: Book) -> NDArray[Any]:
    defined = np.flatnonzero(book.symbols["is_defined"])
    rows = np.zeros(len(defined), IMAGE_SYMBOL)
    rows["symbol"] = defined
    for name in ("price_min", "price_max", "qty_min", "qty_max", "replace_policy"):
        rows[name] = book.symbols[name][defined]
    return rows


def _image_marks(book: Book) -> NDArray[Any]:
    marked = np.flatnonzero((book.marks["epoch"] != 0) | (book.marks["inbound_seq"] != 0))
    rows = np.zeros(len(marked), IMAGE_MARK)
    rows["session"] = marked
    for name in ("inbound_seq", "epoch"):
        rows[name] = book.marks[name][marked]
    return rows


# --- to a book ------------------------------------------------------------------------------------


@inlined_kernel
def _unpack_order(details: NDArray[np.int64], row: int, shard_base: int, address: int) -> int:
    """Unpack one order into row `row`, its words as they were packed; return the end."""
    lengths = load_word(address)
    at = address + _LENGTHS_BYTES
    for w in range(ORDER_WORDS):
        size = min((lengths >> (4 * w)) & 15, int64(8))
        details[row, w] = load_word(at) & LOW_BYTES[size]
        at += size
    details[row, _ORDER_ID_WORD] ^= shard_base
    return at


@lean_part
def _spread_words(details: NDArray[np.int64], row: int) -> int:
    """Give an unpacked row the places of a DETAIL row (no tag, no order); return what is open."""
    leaves = details[row, _SYMBOL_WORD]
    both = details[row, _SESSION_WORD]
    details[row, _SESSION_WORD] = both & LOW_32
    details[row, _SYMBOL_WORD] = both & ~int64(LOW_32)
    return leaves


@lean_part
def _can_rest(book: Book, detail: int, leaves: int) -> bool:
    """Tell whether an order, as it was read, is one that a book can hold."""
    order = book.details[detail]
    symbol, side = int64(order["symbol"]), int64(order["side"])
    if symbol < 0 or symbol >= book.symbol_capacity or leaves < 1:
        return False
    if order["session"] >= book.session_capacity:
        return False
    return side == Side.BUY or side == Side.SELL


@lean_kernel
def _load_open(
    book: Book, details: NDArray[np.int64], count: int, address: int, stop: int
) -> tuple[int, int]:
    """Put packed open orders into a book without any; return a code and the end."""
    last_side, last_price, level = int64(NIL), int64(0), int64(NIL)
    state = book.state
    for _ in range(count):
        if address >= stop or state[0]["open_orders"] >= book.open_capacity:
            return _MALFORMED, address
        detail = take_detail(book)
        address = _unpack_order(details, detail, book.shard_base, address)
        leaves = _spread_words(details, detail)
        if not _can_rest(book, detail, leaves):
            return _MALFORMED, address
        order = take_order(book)
        side = int64(book.details[detail]["symbol"]) * 2 + book.details[detail]["side"] - 1
        price = book.details[detail]["price_ticks"]
        if side != last_side or price != last_price:
            if state[0]["levels_used"] >= book.level_capacity:
                return _MALFORMED, address
            level = create_level(book, side, price)
            last_side, last_price = side, price
        session = int64(book.details[detail]["session"])
        book.details[detail]["order"] = order
        book.orders[order]["detail"] = detail
        book.orders[order]["session"] = session
        book.marks[session]["open_orders"] += 1
        append_order(book, level, order, leaves)
        if book.details[detail]["tif"] == TimeInForce.DAY:
            book.symbols[side >> 1]["day_orders"] += 1
            state[0]["day_orders"] += 1
        book.details[detail]["tag"] = id_tag(book, book.details, detail)
    return _LOADED, address


@lean_kernel
def _load_finished(
    book: Book, details: NDArray[np.int64], skip: int, count: int, address: int, stop: int
) -> tuple[int, int]:
    """Put packed finished orders into a book, all but the first `skip`; return a code and the
    end."""
    # A row that no order has, for those that are forgotten.
    spare = len(details) - 1
    for n in range(count):
        if address >= stop:
            return _MALFORMED, address
        if n < skip:
            address = _unpack_order(details, spare, book.shard_base, address)
            continue
        detail = take_detail(book)
        address = _unpack_order(details, detail, book.shard_base, address)
        _spread_words(details, detail)
        tag = id_tag(book, book.details, detail)
        book.details[detail]["tag"] = tag
        book.details[detail]["order"] = NIL
        book.finished[n - skip] = slot_of(tag, detail)
    kept = count - skip
    book.state[0]["finished_count"] = kept
    book.state[0]["finished_next"] = 0 if kept == book.finished_capacity else kept
    return _LOADED, address


@lean_kernel
def _enter_all(book: Book) -> None:
    """Make all DETAIL rows findable by their identifiers."""
    slots = int64(book.id_slots.ctypes.data)
    count = book.state[0]["detail_fresh"]
    for row in range(count):
        if row + _AHEAD < count:
            tag = int64(book.details[row + _AHEAD]["tag"])
            prefetch(slots + home_of(tag, book.id_bits) * 8)
        insert_slot(book.id_slots, book.id_bits, slot_of(int64(book.details[row]["tag"]), row))


def load_image(
    image: Image,
    capacity: Capacity | None = None,
    events: NDArray[Any] | None = None,
    seed: int = 0,
) -> Book:
    """Return a new book with an image's content, by default of the same capacity.

    Where the book remembers fewer finished orders, the oldest are forgotten.

    Raises:
        ImageError: the content does not fit, or is damaged.
    """
    capacity = capacity or image.capacity
    _refuse_if(_misfit(image, capacity))
    book = create_book(capacity, image.shard, events, seed)
    state = book.state[0]
    state["seq"], state["time_ns"] = image.seq, image.time_ns
    state["event_seq"] = image.event_seq
    symbols = image.symbols["symbol"]
    for name in ("price_min", "price_max", "qty_min", "qty_max", "replace_policy"):
        book.symbols[name][symbols] = image.symbols[name]
    book.symbols["is_defined"][symbols] = 1
    for name in ("inbound_seq", "epoch"):
        book.marks[name][image.marks["session"]] = image.marks[name]
    details = as_words(book.details)
    skip = max(0, image.finished_orders - capacity.finished_orders)
    # Room behind the last byte: reading a word touches eight, and the last order may be cut.
    room = np.zeros(MAX_ORDER_BYTES + 8, np.uint8)
    packed = [np.concatenate([part, room]) for part in (image.orders, image.finished)]
    starts = [int(part.ctypes.data) for part in packed]
    stops = [starts[0] + len(image.orders), starts[1] + len(image.finished)]
    code, end = _load_open(book, details, image.open_orders, starts[0], stops[0])
    if code == _LOADED and end == stops[0]:
        code, end = _load_finished(book, details, skip, image.finished_orders, starts[1], stops[1])
        if code == _LOADED and end == stops[1]:
            _enter_all(book)
            return book
    raise ImageError("an order of the snapshot is none that a book can hold")


def resize(book: Book, capacity: Capacity, seed: int = 0) -> Book:
    """Return a book of another capacity with the same content, over the same event ring.

    Raises:
        ImageError: the content does not fit.
    """
    return load_image(take_image(book), capacity, book.events, seed)


def _refuse_if(sentence: str | None) -> None:
    if sentence is not None:
        raise ImageError(sentence)


class _Used(NamedTuple):
    open_orders: int
    levels: int
    symbols: int
    sessions: int


def _why_not(used: _Used, capacity: Capacity) -> str | None:
    for name, count in used._asdict().items():
        room = getattr(capacity, name)
        if count > room:
            what = name.replace("_", " ")
            needs = f"{count} {what} are in use"
            if name in ("symbols", "sessions"):
                needs = f"{what[:-1]} number {count - 1} is in use"
            return f"capacity.{name} cannot be {room}: {needs}; set it to {count} or more"
    return None


def _misfit(image: Image, capacity: Capacity) -> str | None:
    symbols, sessions = image.symbols["symbol"], image.marks["session"]
    if len(symbols) and symbols.min() < 0:
        return f"no symbol has the number {symbols.min()}"
    used = _Used(
        open_orders=image.open_orders,
        levels=image.levels,
        symbols=int(symbols.max()) + 1 if len(symbols) else 0,
        sessions=int(sessions.max()) + 1 if len(sessions) else 0,
    )
    return _why_not(used, capacity)


def why_not(book: Book, capacity: Capacity) -> str | None:
    """Return why a book cannot have another capacity, as a sentence, or None where it can."""
    state = book.state[0]
    symbols = np.flatnonzero(book.symbols["is_defined"])
    marks = book.marks
    sessions = np.flatnonzero(
        (marks["epoch"] != 0) | (marks["inbound_seq"] != 0) | (marks["open_orders"] != 0)
    )
    used = _Used(
        open_orders=int(state["open_orders"]),
        levels=int(state["levels_used"]),
        symbols=int(symbols[-1]) + 1 if len(symbols) else 0,
        sessions=int(sessions[-1]) + 1 if len(sessions) else 0,
    )
    return _why_not(used, capacity)

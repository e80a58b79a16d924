"""Price levels: found by hash, kept in price order by links, each a queue of orders in time
priority."""

from typing import Any

from numpy.typing import NDArray

from openoutcry.config.jit import int64, lean_kernel, lean_part
from openoutcry.engine.book import Book
from openoutcry.engine.records import NIL
from openoutcry.engine.table import home_of, insert_slot, remove_slot, row_of, slot_of, tag_of
from openoutcry.engine.tree import insert_key, remove_key
from openoutcry.engine.words import fold, wrap_add, wrap_mul


@lean_part
def key_mask(side: int) -> int:
    """Return the mask that turns a side's prices into keys (better is smaller): -1 buy, 0 sell."""
    return (side & 1) - 1


@lean_part
def _level_tag(state: NDArray[Any], side: int, price: int) -> int:
    return tag_of(
        wrap_add(wrap_mul(fold(price), state[0]["key0"]), wrap_mul(side, state[0]["key1"]))
    )


@lean_part
def find_level(book: Book, side: int, price: int) -> int:
    """Return the level of a price on a side row, or NIL."""
    levels, slots = book.levels, book.level_slots
    best = int64(book.sides[side]["best"])
    if best == NIL or levels[best]["price_ticks"] == price:
        return best
    mask = (1 << book.level_bits) - 1
    tag = _level_tag(book.state, side, price)
    place = home_of(tag, book.level_bits)
    slot = slots[place]
    while slot != 0:
        if slot >> 32 == tag:
            level = row_of(slot)
            if levels[level]["price_ticks"] == price and levels[level]["side"] == side:
                return level
        place = (place + 1) & mask
        slot = slots[place]
    return int64(NIL)


@lean_kernel
def create_level(book: Book, side: int, price: int) -> int:
    """Make the level of a price that has none; the caller knows that a row is free."""
    state, levels, sides = book.state, book.levels, book.sides
    level = state[0]["level_free"]
    if level != NIL:
        state[0]["level_free"] = levels[level]["next"]
    else:
        level = state[0]["level_fresh"]
        state[0]["level_fresh"] = level + 1
    state[0]["levels_used"] += 1
    better, worse = insert_key(book, side, price ^ key_mask(side), level)
    levels[level]["price_ticks"] = price
    levels[level]["qty_lots"] = 0
    levels[level]["orders"] = 0
    levels[level]["head"] = NIL
    levels[level]["tail"] = NIL
    levels[level]["next"] = worse
    levels[level]["prev"] = better
    levels[level]["side"] = side
    levels[level]["is_used"] = 1
    if better == NIL:
        sides[side]["best"] = level
    else:
        levels[better]["next"] = level
    if worse != NIL:
        levels[worse]["prev"] = level
    sides[side]["levels"] += 1
    tag = _level_tag(state, side, price)
    insert_slot(book.level_slots, book.level_bits, slot_of(tag, level))
    return level


@lean_kernel
def remove_level(book: Book, level: int) -> None:
    """Take an empty level out of its side."""
    state, levels, sides = book.state, book.levels, book.sides
    side = int64(levels[level]["side"])
    price = levels[level]["price_ticks"]
    better = int64(levels[level]["prev"])
    worse = int64(levels[level]["next"])
    if better == NIL:
        sides[side]["best"] = worse
    else:
        levels[better]["next"] = worse
    if worse != NIL:
        levels[worse]["prev"] = better
    sides[side]["levels"] -= 1
    remove_key(book, side, price ^ key_mask(side))
    tag = _level_tag(state, side, price)
    remove_slot(book.level_slots, book.level_bits, slot_of(tag, level))
    levels[level]["is_used"] = 0
    levels[level]["next"] = state[0]["level_free"]
    state[0]["level_free"] = level
    state[0]["levels_used"] -= 1


@lean_part
def append_order(book: Book, level: int, order: int, leaves: int) -> None:
    """Put an order at the end of a level's queue."""
    levels, orders = book.levels, book.orders
    tail = int64(levels[level]["tail"])
    orders[order]["leaves_qty"] = leaves
    orders[order]["level"] = level
    orders[order]["prev"] = tail
    orders[order]["next"] = NIL
    if tail == NIL:
        levels[level]["head"] = order
    else:
        orders[tail]["next"] = order
    levels[level]["tail"] = order
    levels[level]["qty_lots"] += leaves
    levels[level]["orders"] += 1
    book.sides[levels[level]["side"]]["orders"] += 1


@lean_part
def unlink_order(book: Book, order: int) -> None:
    """Take an order out of its level's queue, and the level out of its side when it was the
    last."""
    levels, orders = book.levels, book.orders
    level = int64(orders[order]["level"])
    before = int64(orders[order]["prev"])
    after = int64(orders[order]["next"])
    book.sides[levels[level]["side"]]["orders"] -= 1
    if before == NIL and after == NIL:
        remove_level(book, level)
        return
    if before == NIL:
        levels[level]["head"] = after
    else:
        orders[before]["next"] = after
    if after == NIL:
        levels[level]["tail"] = before
    else:
        orders[after]["prev"] = before
    levels[level]["qty_lots"] -= orders[order]["leaves_qty"]
    levels[level]["orders"] -= 1

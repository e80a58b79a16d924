"""Price levels, each a queue of orders in time priority, in blocks of 64 neighbouring prices.

A block is found by hash of its side and price. Its bits say which of its prices have a level, in
the order of their keys; so the next level is the next bit, or the first one of the next block.
Levels come and go by a bit, wherever prices lie close together. Where they lie far apart each has a
block of its own, which the side's tree (engine/tree.py) puts in order.
"""

from typing import Any

from numpy.typing import NDArray

from openoutcry.config.jit import int64, lean_kernel, lean_part
from openoutcry.engine.book import BLOCK_BITS, BLOCK_PRICES, Book
from openoutcry.engine.records import NIL
from openoutcry.engine.table import home_of, insert_slot, remove_slot, row_of, slot_of, tag_of
from openoutcry.engine.tree import insert_key, remove_key
from openoutcry.engine.words import fold, lowest_bit, wrap_add, wrap_mul

_PLACE_MASK = BLOCK_PRICES - 1


@lean_part
def key_mask(side: int) -> int:
    """Return the mask that turns a side's prices into keys (better is smaller): -1 buy, 0 sell."""
    return (side & 1) - 1


@lean_part
def block_tag(state: NDArray[Any], side: int, block_key: int) -> int:
    """Return the block table's tag of a side's block."""
    return tag_of(
        wrap_add(wrap_mul(fold(block_key), state[0]["key0"]), wrap_mul(side, state[0]["key1"]))
    )


@lean_part
def find_block(book: Book, side: int, block_key: int, tag: int) -> int:
    """Return the block of a side, or NIL."""
    blocks, slots = book.blocks, book.block_slots
    mask = (1 << book.block_bits) - 1
    place = home_of(tag, book.block_bits)
    slot = slots[place]
    while slot != 0:
        if slot >> 32 == tag:
            block = row_of(slot)
            if blocks[block]["key"] == block_key and blocks[block]["side"] == side:
                return block
        place = (place + 1) & mask
        slot = slots[place]
    return int64(NIL)


@lean_part
def find_level(book: Book, side: int, price: int) -> int:
    """Return the level of a price on a side row, or NIL."""
    best = int64(book.sides[side]["best"])
    key = price ^ key_mask(side)
    if best == NIL or book.sides[side]["best_key"] == key:
        return best
    block_key = key >> BLOCK_BITS
    block = find_block(book, side, block_key, block_tag(book.state, side, block_key))
    if block == NIL:
        return int64(NIL)
    place = key & _PLACE_MASK
    if (book.blocks[block]["bits"] >> place) & 1 == 0:
        return int64(NIL)
    return int64(book.block_levels[block * BLOCK_PRICES + place])


@lean_part
def next_level(book: Book, side: int, level: int) -> int:
    """Return the level after one of a side (the next worse price), or NIL."""
    blocks = book.blocks
    block = int64(book.levels[level]["block"])
    place = (book.levels[level]["price_ticks"] ^ key_mask(side)) & _PLACE_MASK
    bits = blocks[block]["bits"] & (int64(-2) << place)
    if bits != 0:
        place = lowest_bit(bits)
    else:
        block = int64(blocks[block]["next"])
        if block == NIL:
            return block
        place = lowest_bit(blocks[block]["bits"])
    return int64(book.block_levels[block * BLOCK_PRICES + place])


@lean_kernel
def _create_block(book: Book, side: int, block_key: int, tag: int) -> int:
    """Make a block without levels, in its place among the side's."""
    state, blocks = book.state, book.blocks
    block = state[0]["block_free"]
    if block != NIL:
        state[0]["block_free"] = int64(blocks[block]["next"])
    else:
        block = state[0]["block_fresh"]
        state[0]["block_fresh"] = block + 1
    state[0]["blocks_used"] += 1
    blocks[block]["key"] = block_key
    blocks[block]["bits"] = 0
    blocks[block]["side"] = side
    # Before the tree knows the new block: the first block of the side is its best level's.
    best = int64(book.sides[side]["best"])
    worse = int64(NIL)
    if best != NIL:
        worse = int64(book.levels[best]["block"])
    better = insert_key(book, side, block_key, block)
    if better != NIL:
        worse = int64(blocks[better]["next"])
        blocks[better]["next"] = block
    blocks[block]["next"] = worse
    insert_slot(book.block_slots, book.block_bits, slot_of(tag, block))
    return block


@lean_kernel
def _remove_block(book: Book, block: int) -> None:
    """Take a block without levels out of its side."""
    state, blocks = book.state, book.blocks
    side = int64(blocks[block]["side"])
    block_key = blocks[block]["key"]
    better = remove_key(book, side, block_key)
    if better != NIL:
        blocks[better]["next"] = blocks[block]["next"]
    tag = block_tag(state, side, block_key)
    remove_slot(book.block_slots, book.block_bits, slot_of(tag, block))
    blocks[block]["next"] = state[0]["block_free"]
    state[0]["block_free"] = block
    state[0]["blocks_used"] -= 1


@lean_part
def create_level(book: Book, side: int, price: int) -> int:
    """Make the level of a price that has none; the caller knows that a row is free."""
    state, levels, sides = book.state, book.levels, book.sides
    level = state[0]["level_free"]
    if level != NIL:
        state[0]["level_free"] = int64(levels[level]["next_free"])
    else:
        level = state[0]["level_fresh"]
        state[0]["level_fresh"] = level + 1
    state[0]["levels_used"] += 1
    key = price ^ key_mask(side)
    block_key = key >> BLOCK_BITS
    tag = block_tag(state, side, block_key)
    block = find_block(book, side, block_key, tag)
    if block == NIL:
        block = _create_block(book, side, block_key, tag)
    place = key & _PLACE_MASK
    book.blocks[block]["bits"] |= int64(1) << place
    book.block_levels[block * BLOCK_PRICES + place] = level
    levels[level]["price_ticks"] = price
    levels[level]["qty_lots"] = 0
    levels[level]["orders"] = 0
    levels[level]["head"] = NIL
    levels[level]["tail"] = NIL
    levels[level]["block"] = block
    levels[level]["side"] = side
    levels[level]["is_used"] = 1
    if sides[side]["best"] == NIL or key < sides[side]["best_key"]:
        sides[side]["best"] = level
        sides[side]["best_key"] = key
    sides[side]["levels"] += 1
    return level


@lean_part
def remove_level(book: Book, level: int) -> None:
    """Take an empty level out of its side."""
    state, levels, sides, blocks = book.state, book.levels, book.sides, book.blocks
    side = int64(levels[level]["side"])
    block = int64(levels[level]["block"])
    key = levels[level]["price_ticks"] ^ key_mask(side)
    if sides[side]["best"] == level:
        worse = next_level(book, side, level)
        sides[side]["best"] = worse
        if worse != NIL:
            sides[side]["best_key"] = levels[worse]["price_ticks"] ^ key_mask(side)
    bits = blocks[block]["bits"] & ~(int64(1) << (key & _PLACE_MASK))
    blocks[block]["bits"] = bits
    if bits == 0:
        _remove_block(book, block)
    sides[side]["levels"] -= 1
    levels[level]["is_used"] = 0
    levels[level]["next_free"] = state[0]["level_free"]
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

"""Open addressing with linear probing: where the order of an identifier, the level of a price,
lies.

A slot is one word, `tag << 32 | row + 1`, or 0 when empty. The tag is 31 bits of the key's hash;
its upper bits are the home slot, so a deletion shifts later entries back without looking at their
rows (no tombstones: the table never ages), and eight slots share a cache line.
"""

from typing import Any

from numpy.typing import NDArray

from openoutcry.config.jit import lean_part
from openoutcry.engine.words import LOW_32, mix

TAG_BITS = 31
_TAG_MASK = (1 << TAG_BITS) - 1


@lean_part
def tag_of(hashed: int) -> int:
    """Return the tag of a 64-bit hash."""
    return (mix(hashed, 0) >> 33) & _TAG_MASK


@lean_part
def slot_of(tag: int, row: int) -> int:
    """Return the slot word that leads from a tag to a row."""
    return (tag << 32) | (row + 1)


@lean_part
def row_of(slot: int) -> int:
    """Return the row that a slot word leads to."""
    return (slot & LOW_32) - 1


@lean_part
def home_of(tag: int, bits: int) -> int:
    """Return where the search for a tag begins in a table of 2^bits slots."""
    return tag >> (TAG_BITS - bits)


@lean_part
def insert_slot(slots: NDArray[Any], bits: int, slot: int) -> None:
    """Put a slot word into the first empty place from its home."""
    mask = (1 << bits) - 1
    place = home_of(slot >> 32, bits)
    while slots[place] != 0:
        place = (place + 1) & mask
    slots[place] = slot


@lean_part
def remove_slot(slots: NDArray[Any], bits: int, slot: int) -> None:
    """Take out a slot word that is in the table, shifting back what it had displaced."""
    mask = (1 << bits) - 1
    hole = home_of(slot >> 32, bits)
    while slots[hole] != slot:
        hole = (hole + 1) & mask
    place = (hole + 1) & mask
    moved = slots[place]
    while moved != 0:
        home = home_of(moved >> 32, bits)
        # An entry may move back as long as it does not pass its home.
        if ((place - home) & mask) >= ((place - hole) & mask):
            slots[hole] = moved
            hole = place
        place = (place + 1) & mask
        moved = slots[place]
    slots[hole] = 0

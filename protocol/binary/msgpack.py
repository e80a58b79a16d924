"""MessagePack scalars in kernels: read and write integers, text and headers, as msgspec does.

Positions are addresses. Readers take the position and the end of the payload and return the
position after the value, or BAD. They take every width that msgspec takes; writers write the
narrowest, as msgspec does. Where a value lies partly behind the end, a reader of integers returns a
position behind it, at which the next reader fails: the caller compares after the last one.
"""

from typing import Any

import numpy as np

from openoutcry.config.jit import lean_part
from openoutcry.protocol.binary.words import (
    bit_length,
    load_big_endian,
    load_byte,
    load_word,
    store_big_endian,
    store_byte,
    store_word,
)

#: Returned in place of a position.
BAD = -1

_HIGH_BITS = np.uint64(0x8080_8080_8080_8080)
_ONES = np.uint64(0x0101_0101_0101_0101)
#: 0x80 - 0x21: carries into the high bit from the first printable character on.
_TO_PRINTABLE = np.uint64(0x5F5F_5F5F_5F5F_5F5F)
_FILL = np.uint64(0x2121_2121_2121_2121)
_ALL = np.uint64(0xFFFF_FFFF_FFFF_FFFF)
_ZERO = np.uint64(0)
_ONE = np.uint64(1)


@lean_part
def read_int(pos: int, end: int) -> tuple[int, int]:
    """Read an integer of any width that fits int64; return (value, next position or BAD)."""
    if pos >= end:
        return 0, BAD
    first = load_byte(pos)
    if first < 0x80:
        return first, pos + 1
    if first >= 0xE0:
        return first - 256, pos + 1
    if 0xCC <= first <= 0xD3:
        width = 1 << (first & 3)
        value = load_big_endian(pos + 1) >> (64 - 8 * width)
        if first < 0xD0:
            if width < 8:
                value &= (1 << (8 * width)) - 1
            elif value < 0:
                return 0, BAD
        return value, pos + 1 + width
    return 0, BAD


@lean_part
def read_byte(pos: int, end: int) -> tuple[int, int]:
    """Read an integer from 0 to 255; return (value, next position or BAD)."""
    value, after = read_int(pos, end)
    if value < 0 or value > 255:
        return 0, BAD
    return value, after


@lean_part
def read_array(pos: int, end: int) -> tuple[int, int]:
    """Read an array's header; return (number of elements, next position or BAD)."""
    if pos >= end:
        return 0, BAD
    first = load_byte(pos)
    if 0x90 <= first <= 0x9F:
        return first & 15, pos + 1
    if first == 0xDC:
        return (load_big_endian(pos + 1) >> 48) & 0xFFFF, pos + 3
    if first == 0xDD:
        return (load_big_endian(pos + 1) >> 32) & 0xFFFF_FFFF, pos + 5
    return 0, BAD


@lean_part
def read_text(pos: int, end: int) -> tuple[int, int]:
    """Find a text that ends within the payload; return (start, next position or BAD)."""
    if pos >= end:
        return 0, BAD
    first = load_byte(pos)
    if 0xA0 <= first <= 0xBF:
        start = pos + 1
        after = start + (first & 31)
    elif first == 0xD9:
        start = pos + 2
        after = start + load_byte(pos + 1)
    elif first == 0xDA:
        start = pos + 3
        after = start + ((load_big_endian(pos + 1) >> 48) & 0xFFFF)
    elif first == 0xDB:
        start = pos + 5
        after = start + ((load_big_endian(pos + 1) >> 32) & 0xFFFF_FFFF)
    else:
        return 0, BAD
    if after > end:
        return 0, BAD
    return start, after


@lean_part
def read_word(pos: int, end: int) -> tuple[Any, Any]:
    """Load up to eight characters; return (word, NUL-padded, and 0 if all are 0x21 to 0x7E)."""
    left = end - pos
    if left <= 0:
        return _ZERO, _ZERO
    word = load_word(pos)
    mask = _ALL
    if left < 8:
        mask = (_ONE << np.uint64(8 * left)) - _ONE
        word &= mask
    # Three checks in one: no high bit, none below "!", none above "~". Behind the end stands "!".
    high = word & _HIGH_BITS
    filled = (word | (_FILL & ~mask)) & ~_HIGH_BITS
    low = ~(filled + _TO_PRINTABLE) & _HIGH_BITS
    above = (filled + _ONES) & _HIGH_BITS
    return word, high | low | above


@lean_part
def text_length(w0: Any, w1: Any, w2: Any, w3: Any, w4: Any) -> int:
    """Return the length of a NUL-padded text in words."""
    if w4 != _ZERO:
        return 32 + ((bit_length(w4) + 7) >> 3)
    if w3 != _ZERO:
        return 24 + ((bit_length(w3) + 7) >> 3)
    if w2 != _ZERO:
        return 16 + ((bit_length(w2) + 7) >> 3)
    if w1 != _ZERO:
        return 8 + ((bit_length(w1) + 7) >> 3)
    return (bit_length(w0) + 7) >> 3


@lean_part
def write_int(pos: int, value: Any) -> int:
    """Write an integer in its narrowest form; return the next position."""
    if -32 <= value < 128:
        store_byte(pos, value)
        return pos + 1
    if value >= 0:
        bits = bit_length(np.uint64(value))
        first = 0xCC
    else:
        # One more for the sign.
        bits = bit_length(np.uint64(~value)) + 1
        first = 0xD0
    size = int(bits > 8) + int(bits > 16) + int(bits > 32)
    width = 1 << size
    store_byte(pos, first + size)
    store_big_endian(pos + 1, value << (64 - 8 * width))
    return pos + 1 + width


@lean_part
def write_byte(pos: int, value: Any) -> int:
    """Write an integer from 0 to 255 in its narrowest form; return the next position."""
    if value < 128:
        store_byte(pos, value)
        return pos + 1
    store_byte(pos, 0xCC)
    store_byte(pos + 1, value)
    return pos + 2


@lean_part
def write_text(pos: int, w0: Any, w1: Any, w2: Any, w3: Any, w4: Any) -> int:
    """Write a NUL-padded text of up to 40 characters; return the next position."""
    length = text_length(w0, w1, w2, w3, w4)
    if length < 32:
        store_byte(pos, 0xA0 + length)
        start = pos + 1
    else:
        store_byte(pos, 0xD9)
        store_byte(pos + 1, length)
        start = pos + 2
    # What is stored behind the text is overwritten by the next value, or is the buffer's spare
    # room.
    store_word(start, w0)
    store_word(start + 8, w1)
    if length > 16:
        store_word(start + 16, w2)
        store_word(start + 24, w3)
        store_word(start + 32, w4)
    return start + length


@lean_part
def write_length(pos: int, length: int) -> None:
    """Write the four bytes of a frame's length."""
    store_byte(pos, (length >> 24))
    store_byte(pos + 1, (length >> 16))
    store_byte(pos + 2, (length >> 8))
    store_byte(pos + 3, length)


@lean_part
def read_length(pos: int) -> int:
    """Read the four bytes of a frame's length."""
    return (load_big_endian(pos) >> 32) & 0xFFFF_FFFF

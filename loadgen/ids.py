"""The generator's ClOrdIDs: 50 bits as ten characters of base 32, behind a prefix of six.

All in words: `id0` holds the prefix and two characters, `id1` the other eight.
"""

from typing import Any

import numpy as np

from openoutcry.config.jit import inlined_kernel
from openoutcry.loadgen.layouts import SLOT_BITS

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUV"
_RUN_CHARACTERS = 4
_CONNECTION_CHARACTERS = 2

_PREFIX_MASK = np.uint64((1 << 48) - 1)
_LOW_20 = np.uint64(0xFFFFF)
_TENS = np.uint64(0x0000_03FF_0000_03FF)
_FIVES = np.uint64(0x001F_001F_001F_001F)
_BYTES_5 = np.uint64(0x1F1F_1F1F_1F1F_1F1F)
_ASCII_ZEROS = np.uint64(0x3030_3030_3030_3030)
_ONES = np.uint64(0x0101_0101_0101_0101)
#: 0x80 - 10: carries into the high bit from 10 on.
_FROM_TEN = np.uint64(0x7676_7676_7676_7676)
_U3 = np.uint64(3)
_U4 = np.uint64(4)
_U5 = np.uint64(5)
_U6 = np.uint64(6)
_U7 = np.uint64(7)
_U8 = np.uint64(8)
_U10 = np.uint64(10)
_U16 = np.uint64(16)
_U20 = np.uint64(20)
_U32 = np.uint64(32)
_U40 = np.uint64(40)
_U48 = np.uint64(48)
_SLOT_MASK = np.uint64((1 << SLOT_BITS) - 1)
_LOW_40 = np.uint64((1 << 40) - 1)


def prefix_word(run: int, connection: int) -> int:
    """Return the first six characters of a connection's ClOrdIDs, as a word."""
    number = (run % 32**_RUN_CHARACTERS) * 32**_CONNECTION_CHARACTERS + connection
    text = "".join(_DIGITS[(number >> shift) & 31] for shift in range(25, -1, -5))
    return int.from_bytes(text.encode(), "little")


@inlined_kernel
def eight_digits(number: Any) -> Any:
    """Return 40 bits as eight characters of base 32."""
    x = ((number & _LOW_20) << _U32) | (number >> _U20)
    x = ((x & _TENS) << _U16) | ((x >> _U10) & _TENS)
    x = ((x & _FIVES) << _U8) | ((x >> _U5) & _FIVES)
    letters = ((x + _FROM_TEN) >> _U7) & _ONES
    # From "9" to "A" are eight: the seven that lie between are left out.
    return x + _ASCII_ZEROS + ((letters << _U3) - letters)


@inlined_kernel
def eight_values(word: Any) -> Any:
    """Return the 40 bits of eight characters; what is no such character gives nonsense."""
    letters = (word >> _U6) & _ONES
    # "0" is 0x30 and "A" 0x41: the lower five bits are 16 too many, or 9 too few.
    x = ((word & _BYTES_5) ^ ((letters ^ _ONES) << _U4)) + (letters << _U3) + letters
    x &= _BYTES_5
    x = ((x & _FIVES) << _U5) | ((x >> _U8) & _FIVES)
    x = ((x & _TENS) << _U10) | ((x >> _U16) & _TENS)
    return ((x & _LOW_20) << _U20) | (x >> _U32)


@inlined_kernel
def slot_of(id1: Any) -> Any:
    """Return the slot in the last eight characters of a ClOrdID that is one of ours."""
    return eight_values(id1) & _SLOT_MASK


@inlined_kernel
def encode_id(prefix: Any, slot: Any, generation: Any) -> tuple[Any, Any]:
    """Return (id0, id1) of a slot and generation."""
    number = (np.uint64(generation) << np.uint64(SLOT_BITS)) | np.uint64(slot)
    top = eight_digits(number >> _U40)
    # The last two of eight: the upper ten bits of the number.
    return prefix | ((top >> _U48) << _U48), eight_digits(number & _LOW_40)


@inlined_kernel
def decode_id(prefix: Any, id0: Any, id1: Any) -> int:
    """Return generation << SLOT_BITS | slot, or -1 where the words are no ClOrdID of the prefix."""
    if (id0 & _PREFIX_MASK) != prefix:
        return -1
    upper = eight_values((id0 & ~_PREFIX_MASK) | (_ASCII_ZEROS & _PREFIX_MASK))
    lower = eight_values(id1)
    if eight_digits(lower) != id1:
        return -1
    number: Any = np.int64((upper << _U40) | lower)
    return number

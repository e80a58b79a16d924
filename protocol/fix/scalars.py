"""What the order path makes of decoded fields: words of identifiers, ticks and lots of decimals.

Identifiers travel as little-endian words of eight bytes: ClOrdID as five, Account as four, Symbol
as three. `buf` needs SPARE_BYTES behind its last byte that counts. Decimals become ticks and lots
exactly, or not at all.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from openoutcry.config.jit import inline_kernel, kernel, uint64
from openoutcry.protocol.binary.words import address_of
from openoutcry.protocol.binary.words import load_word as _word_at

#: Codes of `decimal_to_units`.
DECIMAL_OK = 0
DECIMAL_NOT_MULTIPLE = 1
DECIMAL_OVERFLOW = 2

_INT64_MAX = 2**63 - 1
_POWERS = np.array([10**n for n in range(19)], np.int64)
_NONE = uint64(0)
_ALL = uint64(0xFFFF_FFFF_FFFF_FFFF)


@inline_kernel
def _padded_word(address: int, length: int) -> int:
    """Return the word at an address, of whose bytes `length` (which may be negative) count."""
    if length >= 8:
        return _word_at(address)
    if length <= 0:
        return _NONE
    return _word_at(address) & (_ALL >> uint64(64 - 8 * length))


@inline_kernel
def load_word(buf: NDArray[Any], off: int, length: int, n: int) -> int:
    """Return the `n`-th word (uint64) of a range, padded with NUL; 0 behind its end."""
    return _padded_word(address_of(buf) + off + 8 * n, length - 8 * n)


@inline_kernel
def load_words(buf: NDArray[Any], off: int, length: int) -> tuple[int, int, int, int, int]:
    """Return the five words (uint64) of a range of up to 40 bytes, padded with NUL."""
    address = address_of(buf) + off
    return (
        _padded_word(address, length),
        _padded_word(address + 8, length - 8),
        _padded_word(address + 16, length - 16),
        _padded_word(address + 24, length - 24),
        _padded_word(address + 32, length - 32),
    )


@inline_kernel
def bytes_equal(
    buf: NDArray[Any], off: int, length: int, other: NDArray[Any], other_off: int, other_len: int
) -> bool:
    """Tell whether two ranges hold the same bytes; `other` needs SPARE_BYTES too."""
    if length != other_len:
        return False
    address = address_of(buf) + off
    other_address = address_of(other) + other_off
    while length > 0:
        if _padded_word(address, length) != _padded_word(other_address, length):
            return False
        address += 8
        other_address += 8
        length -= 8
    return True


@kernel
def _reduce(number: int, unit: int) -> tuple[int, int]:
    """Divide both by their greatest common divisor."""
    a, b = number, unit
    while b:
        a, b = b, a % b
    return number // a, unit // a


@kernel
def decimal_to_units(
    mantissa: int, scale: int, unit_mantissa: int, unit_scale: int
) -> tuple[int, int]:
    """Return (code, n) with mantissa × 10^-scale = n × unit_mantissa × 10^-unit_scale.

    Scales are 0 to 18, unit_mantissa is at least 1. n is 0 unless the code is DECIMAL_OK: where
    the value is no whole number of units (DECIMAL_NOT_MULTIPLE), or where n does not fit an int64
    (DECIMAL_OVERFLOW).
    """
    number = abs(mantissa)
    if scale > unit_scale:
        power = _POWERS[scale - unit_scale]
        if unit_mantissa > _INT64_MAX // power:
            # One unit is larger than any mantissa.
            return (DECIMAL_OK, 0) if number == 0 else (DECIMAL_NOT_MULTIPLE, 0)
        unit = unit_mantissa * power
        units = number // unit
        if units * unit != number:
            return DECIMAL_NOT_MULTIPLE, 0
    else:
        power = _POWERS[unit_scale - scale]
        if number <= _INT64_MAX // power:
            number *= power
            units = number // unit_mantissa
            if units * unit_mantissa != number:
                return DECIMAL_NOT_MULTIPLE, 0
        else:
            # What is left of the unit has no divisor in common with the number: the power must
            # hold it.
            number, unit = _reduce(number, unit_mantissa)
            factor = power // unit
            if factor * unit != power:
                return DECIMAL_NOT_MULTIPLE, 0
            if number > _INT64_MAX // factor:
                return DECIMAL_OVERFLOW, 0
            units = number * factor
    return DECIMAL_OK, -units if mantissa < 0 else units

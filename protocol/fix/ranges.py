"""Kernels over a range of a byte buffer: compare it, or load it as NUL-padded words.

Identifiers travel as little-endian words of eight bytes: ClOrdID as five, Account as four, Symbol
as three. `buf` needs SPARE_BYTES behind its last byte that counts.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from openoutcry.config.jit import inline_kernel
from openoutcry.protocol.binary.words import address_of
from openoutcry.protocol.binary.words import load_word as _word_at

_NONE = np.uint64(0)
_ALL = np.uint64(0xFFFF_FFFF_FFFF_FFFF)


@inline_kernel
def _padded_word(address: int, length: int) -> int:
    """Return the word at an address, of whose bytes `length` (which may be negative) count."""
    if length >= 8:
        return _word_at(address)
    if length <= 0:
        return _NONE
    return _word_at(address) & (_ALL >> np.uint64(64 - 8 * length))


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

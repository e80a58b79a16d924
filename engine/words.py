"""64-bit words for kernels: wrapping arithmetic and hashing that agree with and without the JIT.

Words are signed int64, so that no kernel mixes signed with unsigned (numba would turn that into
float64). But signed overflow is undefined in compiled code (numba marks each sum and product "no
signed wrap", and LLVM draws conclusions: a division here came out wrong by one), plain Python
integers do not wrap, and numpy scalars warn. So whatever may wrap goes through `wrap_add` and
`wrap_mul`.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from openoutcry.config.jit import IS_COMPILED, int64, lean_part, uint64

INT64_MAX = (1 << 63) - 1
INT64_MIN = -(1 << 63)
LOW_32 = (1 << 32) - 1

#: Odd multiplier of every mixing step (from splitmix64), as a signed word.
MIX = 0xBF58476D1CE4E5B9 - (1 << 64)

if IS_COMPILED:

    @intrinsic
    def _trailing_zeros(typingctx: Any, word: Any) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return builder.cttz(args[0], ir.IntType(1)(1))

        return types.int64(types.int64), codegen

    @lean_part
    def lowest_bit(word: int) -> int:
        """Return the number of the lowest set bit of a word that is not 0."""
        return _trailing_zeros(word)

    @lean_part
    def as_signed(word: Any) -> int:
        """Return the same 64 bits as a signed integer."""
        return int64(word)

    @lean_part
    def as_unsigned(word: int) -> Any:
        """Return the same 64 bits as an unsigned integer, to be stored in a `<u8` field."""
        return uint64(word)

    @lean_part
    def wrap_add(a: int, b: int) -> int:
        """Add, modulo 2^64."""
        return int64(uint64(a) + uint64(b))

    @lean_part
    def wrap_mul(a: int, b: int) -> int:
        """Multiply, modulo 2^64."""
        return int64(uint64(a) * uint64(b))

else:

    def lowest_bit(word: int) -> int:
        """Return the number of the lowest set bit of a word that is not 0."""
        word = int(word)
        return (word & -word).bit_length() - 1

    def _wrap(value: int) -> int:
        value &= (1 << 64) - 1
        return value - (1 << 64) if value >> 63 else value

    def as_signed(word: Any) -> int:
        """Return the same 64 bits as a signed integer."""
        return _wrap(int(word))

    def as_unsigned(word: int) -> Any:
        """Return the same 64 bits as an unsigned integer, to be stored in a `<u8` field."""
        return np.uint64(int(word) & ((1 << 64) - 1))

    def wrap_add(a: int, b: int) -> int:
        """Add, modulo 2^64."""
        return _wrap(int(a) + int(b))

    def wrap_mul(a: int, b: int) -> int:
        """Multiply, modulo 2^64."""
        return _wrap(int(a) * int(b))


@lean_part
def is_below_unsigned(a: int, b: int) -> bool:
    """Compare two words as unsigned integers."""
    return (a ^ INT64_MIN) < (b ^ INT64_MIN)


@lean_part
def fold(word: int) -> int:
    """Bring a word's upper half into its lower half, so that a multiplication spreads both."""
    return word ^ ((word >> 32) & LOW_32)


@lean_part
def mix(state: int, word: int) -> int:
    """Take one more word into a running 64-bit hash."""
    mixed = wrap_mul(state ^ word, MIX)
    return mixed ^ ((mixed >> 29) & ((1 << 35) - 1))


def splitmix(seed: int, count: int) -> list[int]:
    """Derive `count` signed words from a seed (splitmix64); the hash keys of a book."""
    words = []
    for step in range(1, count + 1):
        z = (seed + step * 0x9E3779B97F4A7C15) & ((1 << 64) - 1)
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & ((1 << 64) - 1)
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB & ((1 << 64) - 1)
        z ^= z >> 31
        words.append(z - (1 << 64) if z >> 63 else z)
    return words

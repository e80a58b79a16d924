"""Kernels that load by address keep their meaning where they are inlined into others."""

import numba
import numpy as np

from openoutcry.protocol.binary.words import load_word

NONE = np.uint64(0)


# Compiled without the disk cache: what is tested is the compiler.
@numba.njit
def word_or_part(address, length):
    if length >= 8:
        return load_word(address)
    if length <= 0:
        return NONE
    return load_word(address) & np.uint64(length)


@numba.njit
def nth_word(base, length, n):
    return word_or_part(base + 8 * n, length - 8 * n)


@numba.njit
def load_five(base, length, words):
    for n in range(5):
        words[n] = nth_word(base, length, n)


def test_an_address_with_a_literal_zero_in_its_sum_is_not_a_null_pointer():
    data = np.arange(64, dtype=np.uint8)
    words = np.full(5, 7, np.uint64)
    load_five(data.ctypes.data, 40, words)
    assert words.tobytes() == data[:40].tobytes()

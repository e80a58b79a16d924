"""Words of identifiers, comparison of ranges, and exact ticks and lots."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.fix import buffer

from openoutcry.config.jit import kernel
from openoutcry.protocol.fix import scalars
from openoutcry.protocol.fix.scalars import (
    DECIMAL_NOT_MULTIPLE,
    DECIMAL_OK,
    DECIMAL_OVERFLOW,
    decimal_to_units,
)


# What is inlined is called from a kernel, as on the order path.
@kernel
def load_all(buf, off, length, words):
    words[0], words[1], words[2], words[3], words[4] = scalars.load_words(buf, off, length)
    for n in range(5):
        words[5 + n] = scalars.load_word(buf, off, length, n)


@kernel
def are_equal(buf, off, length, other, other_off, other_len):
    return scalars.bytes_equal(buf, off, length, other, other_off, other_len)


@given(st.binary(max_size=40), st.integers(0, 20))
def test_words_are_the_bytes_padded_with_nul(data, off):
    words = np.full(10, 0xEEEE, np.uint64)
    load_all(buffer(data, off), off, len(data), words)
    assert words[:5].tobytes() == words[5:].tobytes() == data.ljust(40, b"\0")


@given(st.binary(max_size=50), st.binary(max_size=50), st.booleans(), st.integers(0, 9))
def test_ranges_are_compared_whole(one, other, is_same, off):
    if is_same:
        other = one
    got = are_equal(buffer(one, off), off, len(one), buffer(other, 3), 3, len(other))
    assert bool(got) == (one == other)


@given(st.binary(min_size=1, max_size=50), st.data())
def test_one_byte_makes_the_difference(one, data):
    place = data.draw(st.integers(0, len(one) - 1))
    other = one[:place] + bytes([one[place] ^ 1]) + one[place + 1 :]
    assert not are_equal(buffer(one), 0, len(one), buffer(other), 0, len(other))


@pytest.mark.parametrize(
    ("text", "unit", "expected"),
    [
        ("60123.45", "0.01", (DECIMAL_OK, 6012345)),
        ("60123.450", "0.01", (DECIMAL_OK, 6012345)),
        ("60123.455", "0.01", (DECIMAL_NOT_MULTIPLE, 0)),
        ("100", "0.00000001", (DECIMAL_OK, 10_000_000_000)),
        ("-1.5", "0.5", (DECIMAL_OK, -3)),
        ("7", "0.25", (DECIMAL_OK, 28)),
        ("7.1", "0.25", (DECIMAL_NOT_MULTIPLE, 0)),
        ("150", "100", (DECIMAL_NOT_MULTIPLE, 0)),
        ("300", "100", (DECIMAL_OK, 3)),
        ("0", "100", (DECIMAL_OK, 0)),
        ("0.000000000000000000", "999999999999", (DECIMAL_OK, 0)),
        ("0.000000000000000001", "999999999999", (DECIMAL_NOT_MULTIPLE, 0)),
        ("999999999999999999", "0.01", (DECIMAL_OVERFLOW, 0)),
        ("92233720368547758", "0.01", (DECIMAL_OK, 9223372036854775800)),
        ("92233720368547759", "0.01", (DECIMAL_OVERFLOW, 0)),
        ("-999999999999999999", "0.000000000000000001", (DECIMAL_OVERFLOW, 0)),
        ("999999999999999999", "0.0000003", (DECIMAL_OVERFLOW, 0)),
        ("999999999999999998", "0.0000003", (DECIMAL_NOT_MULTIPLE, 0)),
        ("999999999999999999", "99999999999999999.9", (DECIMAL_OK, 10)),
        ("999999999999999998", "99999999999999999.9", (DECIMAL_NOT_MULTIPLE, 0)),
        ("999999999999999999", "333333333333333.333", (DECIMAL_OK, 3000)),
    ],
)
def test_decimals_become_units(text, unit, expected):
    assert decimal_to_units(*_split(text), *_split(unit)) == expected
    assert _exact(*_split(text), *_split(unit)) == expected


def _split(text: str) -> tuple[int, int]:
    whole, _, fraction = text.partition(".")
    return int(whole + fraction), len(fraction)


def _exact(mantissa: int, scale: int, unit_mantissa: int, unit_scale: int) -> tuple[int, int]:
    value = Fraction(mantissa, 10**scale) / Fraction(unit_mantissa, 10**unit_scale)
    if value.denominator != 1:
        return DECIMAL_NOT_MULTIPLE, 0
    if abs(value.numerator) > 2**63 - 1:
        return DECIMAL_OVERFLOW, 0
    return DECIMAL_OK, value.numerator


_MANTISSAS = st.integers(-(10**18) + 1, 10**18 - 1)
_SCALES = st.integers(0, 18)


@given(_MANTISSAS, _SCALES, st.integers(1, 10**18 - 1), _SCALES)
@example(10**18 - 1, 0, 1, 18)
@example(10**18 - 1, 18, 10**18 - 1, 0)
@example(4 * 10**17, 0, 2**17, 18)
def test_any_decimal_equals_fractions(mantissa, scale, unit_mantissa, unit_scale):
    got = decimal_to_units(mantissa, scale, unit_mantissa, unit_scale)
    assert got == _exact(mantissa, scale, unit_mantissa, unit_scale)


@given(
    st.integers(-(10**9), 10**9), _SCALES, st.sampled_from([1, 2, 5, 25, 125, 10**6, 3]), _SCALES
)
def test_likely_units_equal_fractions(mantissa, scale, unit_mantissa, unit_scale):
    for number in (mantissa, mantissa * unit_mantissa):
        got = decimal_to_units(number, scale, unit_mantissa, unit_scale)
        assert got == _exact(number, scale, unit_mantissa, unit_scale)

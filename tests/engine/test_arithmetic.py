"""128-bit sums and quotients against Python's integers."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from openoutcry.config.jit import IS_COMPILED, lean_kernel
from openoutcry.engine.arithmetic import add_notional, average_price

INT64_MAX = (1 << 63) - 1
EXAMPLES = 500 if IS_COMPILED else 100

_words = st.integers(-(1 << 63), INT64_MAX)
_positive = st.integers(1, INT64_MAX) | st.integers(0, 62).map(lambda e: 1 << e)


@lean_kernel
def _add(hi, lo, price, qty):
    return add_notional(hi, lo, price, qty)


def split(notional: int) -> tuple[int, int]:
    """Return a 128-bit number as (hi, lo), both signed."""
    lo = notional & ((1 << 64) - 1)
    return notional >> 64, lo - (1 << 64) if lo >> 63 else lo


def join(hi, lo):
    return (int(hi) << 64) | (int(lo) & ((1 << 64) - 1))


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(st.tuples(_words, _positive), max_size=8))
def test_notionals_add_up(fills):
    hi, lo, expected = 0, 0, 0
    left = INT64_MAX
    for price, wanted in fills:
        qty = min(wanted, left)
        left -= qty
        hi, lo = _add(hi, lo, price, qty)
        expected += price * qty
        assert join(hi, lo) == expected


@pytest.mark.parametrize("price", [-(1 << 63), -(1 << 31), 1 << 31, -1, 0, 1, INT64_MAX])
@pytest.mark.parametrize("qty", [1, (1 << 31) - 1, 1 << 31, 1 << 32, INT64_MAX])
def test_products_at_the_edges(price, qty):
    assert join(*_add(0, 0, price, qty)) == price * qty
    assert join(*_add(-1, -1, price, qty)) == price * qty - 1


def expected_average(notional, cum_qty, multiplier):
    """Round half to even, as Fraction does."""
    return round(Fraction(notional * multiplier, cum_qty))


@settings(max_examples=EXAMPLES, deadline=None)
@given(_words, _positive, st.data(), st.integers(1, 10**12) | _positive)
@example(-(1 << 63), INT64_MAX, None, 1)
@example(INT64_MAX, INT64_MAX, None, 1)
@example(INT64_MAX, INT64_MAX, None, INT64_MAX)
def test_the_average_is_the_exact_quotient_rounded_half_to_even(price, cum_qty, data, multiplier):
    notional = price * cum_qty
    if data is not None:
        # Between two prices: any sum that fills of cum_qty lots can have.
        notional += data.draw(st.integers(0, max(0, min(cum_qty, INT64_MAX - price))))
    expected = expected_average(notional, cum_qty, multiplier)
    mantissa, fits = average_price(*split(notional), cum_qty, multiplier)
    if -(1 << 63) <= expected <= INT64_MAX:
        assert (int(mantissa), bool(fits)) == (expected, True)
    else:
        assert (int(mantissa), bool(fits)) == (0, False)


@pytest.mark.parametrize(
    ("notional", "cum_qty", "multiplier", "expected"),
    [
        (0, 0, 100, 0),
        (1, 2, 1, 0),
        (3, 2, 1, 2),
        (5, 2, 1, 2),
        (-1, 2, 1, 0),
        (-3, 2, 1, -2),
        (-5, 2, 1, -2),
        (7, 3, 1, 2),
        (8, 3, 1, 3),
        (1, 3, 10**8, 33_333_333),
        (2, 3, 10**8, 66_666_667),
        (301 * 5 + 302 * 2, 7, 10**6, 301_285_714),
    ],
)
def test_known_averages(notional, cum_qty, multiplier, expected):
    assert average_price(*split(notional), cum_qty, multiplier)[0] == expected


def test_a_reports_unsigned_word_is_taken_as_it_is():
    notional = (1 << 63) + 12_345
    mantissa, fits = average_price(0, np.uint64(notional), 1 << 20, 1)
    assert (int(mantissa), bool(fits)) == (expected_average(notional, 1 << 20, 1), True)

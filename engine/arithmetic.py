"""Exact sums and quotients beyond 64 bits: the notional of an order, and its average price.

A notional, the sum of last_px * last_qty, is a 128-bit two's complement number in two signed words
(hi, lo). |price| is at most 2^63 and an order's quantities sum to less than 2^63, so it never
overflows.
"""

from typing import Any

from openoutcry.config.jit import int64, lean_kernel, lean_part
from openoutcry.engine.words import (
    INT64_MIN,
    LOW_32,
    as_signed,
    is_below_unsigned,
    wrap_add,
    wrap_mul,
)

_SMALL = 1 << 31


@lean_part
def _multiply_unsigned(a: int, b: int) -> tuple[int, int]:
    """Return the 128-bit product of two words taken as unsigned, as (hi, lo)."""
    a_low, a_high = a & LOW_32, (a >> 32) & LOW_32
    b_low, b_high = b & LOW_32, (b >> 32) & LOW_32
    low = wrap_mul(a_low, b_low)
    # Each partial product is at most (2^32 - 1)^2, so adding two 32-bit carries cannot wrap past
    # 2^64.
    middle = wrap_add(wrap_mul(a_high, b_low), (low >> 32) & LOW_32)
    other = wrap_add(wrap_mul(a_low, b_high), middle & LOW_32)
    high = wrap_add(wrap_mul(a_high, b_high), (middle >> 32) & LOW_32)
    return wrap_add(high, (other >> 32) & LOW_32), wrap_mul(a, b)


@lean_part
def add_notional(hi: int, lo: int, price: int, qty: int) -> tuple[int, int]:
    """Return (hi, lo) plus price * qty; qty is not negative."""
    if -_SMALL < price < _SMALL and qty < _SMALL:
        product_lo = int64(price) * int64(qty)
        product_hi = product_lo >> 63
    else:
        product_hi, product_lo = _multiply_unsigned(price, qty)
        if price < 0:
            # The unsigned product counted price as price + 2^64.
            product_hi = wrap_add(product_hi, -qty)
    total = wrap_add(lo, product_lo)
    carry = 1 if is_below_unsigned(total, lo) else 0
    return wrap_add(wrap_add(hi, product_hi), carry), total


@lean_part
def _divide(hi: int, lo: int, divisor: int) -> tuple[int, int]:
    """Divide an unsigned 128-bit number by a positive int64; hi < divisor. Return quotient, rest.

    The quotient is 64 bits, to be taken as unsigned. Shift and subtract: 64 steps, about 0.1 µs.
    """
    rest = hi
    quotient = lo
    for _ in range(64):
        bit = (quotient >> 63) & 1
        quotient = wrap_add(quotient, quotient)
        # 2 * rest + bit may pass 2^63, so it is compared by what is missing.
        missing = divisor - rest - bit
        if rest >= missing:
            rest = rest - missing
            quotient |= 1
        else:
            rest = rest + rest + bit
    return quotient, rest


@lean_part
def _rounds_up(rest: int, divisor: int, is_odd: bool) -> bool:
    """Tell whether half to even rounds quotient + rest / divisor up."""
    missing = divisor - rest
    return rest > missing or (rest == missing and is_odd)


@lean_kernel
def average_price(hi: int, lo: Any, cum_qty: int, multiplier: int) -> tuple[int, bool]:
    """Return notional * multiplier / cum_qty, rounded half to even, and whether it fits an int64.

    `hi`, `lo` are a report's notional words (`lo` of either signedness), `multiplier` a positive
    int64 (10 to the number of decimals wanted, say). Without a fill the average is 0. On overflow
    the result is (0, False).
    """
    if cum_qty <= 0:
        return int64(0), True
    high = int64(hi)
    low = as_signed(lo)
    is_negative = high < 0
    if is_negative:
        low = wrap_add(~low, 1)
        high = wrap_add(~high, 1 if low == 0 else 0)
    # The average in ticks is a price, so the first quotient is at most 2^63.
    if high == 0 and low >= 0:
        whole = low // cum_qty
        rest = low - whole * cum_qty
    else:
        if high >= cum_qty:
            return int64(0), False
        whole, rest = _divide(high, low, cum_qty)
    if rest <= LOW_32 and multiplier < _SMALL:
        scaled = rest * multiplier
        part = scaled // cum_qty
        rest = scaled - part * cum_qty
    else:
        part_hi, part_lo = _multiply_unsigned(rest, multiplier)
        part, rest = _divide(part_hi, part_lo, cum_qty)
    # |average| * multiplier + part, still without sign.
    total_hi, total_lo = _multiply_unsigned(whole, multiplier)
    total = wrap_add(total_lo, part)
    if is_below_unsigned(total, part):
        total_hi = wrap_add(total_hi, 1)
    if _rounds_up(rest, cum_qty, (total & 1) == 1):
        total = wrap_add(total, 1)
        if total == 0:
            total_hi = wrap_add(total_hi, 1)
    if is_negative and total_hi == 0 and total == INT64_MIN:
        return int64(INT64_MIN), True
    if total_hi != 0 or total < 0:
        return int64(0), False
    return (-total if is_negative else total), True

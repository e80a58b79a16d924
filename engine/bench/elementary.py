"""Elementary functions whose results are the same bits on every platform.

A C library's `log`, `exp` and `cos` may differ in the last place between libraries and processors.
These are made of additions, multiplications, divisions and exact scalings alone, each of which
IEEE 754 defines to the last bit (numba is not allowed to fuse any two), and are right to about
2 units in the last place.
"""

import math

from openoutcry.config.jit import inlined_kernel, int64

#: ln 2 in two parts; the first has 20 trailing zero bits, so that small multiples of it are exact.
_LN2_HIGH = 0.6931471803691238
_LN2_LOW = 1.9082149292705877e-10
_SQRT_HALF = 0.7071067811865476
_TWO_PI = 6.283185307179586


@inlined_kernel
def log(x: float) -> float:
    """Return the natural logarithm of a positive, normal number."""
    fraction, exponent = math.frexp(x)
    if fraction < _SQRT_HALF:
        fraction *= 2.0
        exponent -= 1
    # log(f) = 2 artanh((f - 1) / (f + 1)), with the quotient at most 0.172.
    s = (fraction - 1.0) / (fraction + 1.0)
    square = s * s
    total = 0.0
    for k in range(23, 1, -2):
        total = (total + 1.0 / k) * square
    return exponent * _LN2_HIGH + (2.0 * s * total + 2.0 * s + exponent * _LN2_LOW)


@inlined_kernel
def exp(x: float) -> float:
    """Return e^x; 0 where that is below the smallest normal number."""
    if x < -708.0:
        return 0.0
    n = math.floor(x / (_LN2_HIGH + _LN2_LOW) + 0.5)
    rest = (x - n * _LN2_HIGH) - n * _LN2_LOW
    total = 1.0
    for k in range(17, 0, -1):
        total = 1.0 + total * rest / k
    return math.ldexp(total, int(n))


@inlined_kernel
def cos_turns(turns: float) -> float:
    """Return the cosine of 0 to 1 full turns."""
    quarter = int64(math.floor(turns * 4.0 + 0.5))
    angle = (turns - quarter * 0.25) * _TWO_PI
    square = angle * angle
    total = 1.0
    is_odd = quarter == 1 or quarter == 3
    if not is_odd:
        for k in range(18, 0, -2):
            total = 1.0 - total * square / (k * (k - 1))
    else:
        # A quarter turn on, the cosine is minus the sine.
        for k in range(19, 1, -2):
            total = 1.0 - total * square / (k * (k - 1))
        total *= -angle
    return -total if quarter == 2 or quarter == 3 else total

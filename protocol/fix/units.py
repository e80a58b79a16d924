"""From decimal text to integer ticks and lots: exactly, or not at all."""

import numpy as np

from openoutcry.config.jit import kernel

#: Codes of `decimal_to_units`.
UNITS_OK = 0
NOT_MULTIPLE = 1
UNITS_OVERFLOW = 2

_INT64_MAX = 2**63 - 1
_POWERS = np.array([10**n for n in range(19)], np.int64)


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

    Scales are 0 to 18, unit_mantissa is at least 1. n is 0 unless the code is UNITS_OK: where the
    value is no whole number of units (NOT_MULTIPLE), or n does not fit an int64 (UNITS_OVERFLOW).
    """
    number = abs(mantissa)
    if scale > unit_scale:
        power = _POWERS[scale - unit_scale]
        if unit_mantissa > _INT64_MAX // power:
            # One unit is larger than any mantissa.
            return (UNITS_OK, 0) if number == 0 else (NOT_MULTIPLE, 0)
        unit = unit_mantissa * power
        units = number // unit
        if units * unit != number:
            return NOT_MULTIPLE, 0
    else:
        power = _POWERS[unit_scale - scale]
        if number <= _INT64_MAX // power:
            number *= power
            units = number // unit_mantissa
            if units * unit_mantissa != number:
                return NOT_MULTIPLE, 0
        else:
            # What is left of the unit has no divisor in common with the number: the power must
            # hold it.
            number, unit = _reduce(number, unit_mantissa)
            factor = power // unit
            if factor * unit != power:
                return NOT_MULTIPLE, 0
            if number > _INT64_MAX // factor:
                return UNITS_OVERFLOW, 0
            units = number * factor
    return UNITS_OK, -units if mantissa < 0 else units

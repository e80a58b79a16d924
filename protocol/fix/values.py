"""Kernels that read FIX values by address: whole numbers, decimals, times.

`read_…` return (fault, value …): fault is SOUND, or the SessionRejectReason of what is wrong.
"""

from openoutcry.config.jit import inline_kernel
from openoutcry.protocol.binary.words import load_byte
from openoutcry.protocol.fix.enums import SessionRejectReason
from openoutcry.protocol.fix.layouts import DIGITS_MAX
from openoutcry.protocol.fix.swar import read_clock, read_eight_digits

#: Nothing is wrong with a value.
SOUND = -1

_VALUE = int(SessionRejectReason.VALUE_INCORRECT)
_FORMAT = int(SessionRejectReason.INCORRECT_FORMAT)
_ZERO = ord("0")
_MINUS = ord("-")
_DASH = ord("-")
_POINT = ord(".")
_MS_OF_DAY = 86_400_000
# UTCTimestamp: to the second, and with 3, 6 or 9 decimals.
_TO_SECOND = 17
_TO_MS = 21
_TO_US = 24
_TO_NS = 27


@inline_kernel
def read_natural(address: int, length: int) -> int:
    """Return the number that 1 to 18 digits write, -1 for anything else."""
    if length < 1 or length > DIGITS_MAX:
        return -1
    number = 0
    for i in range(length):
        digit = load_byte(address + i) - _ZERO
        if digit < 0 or digit > 9:
            return -1
        number = number * 10 + digit
    return number


@inline_kernel
def read_decimal(address: int, length: int) -> tuple[int, int, int]:
    """Read `-12.30` as (SOUND, -1230, 2): value = mantissa × 10^-scale, up to 18 digits."""
    stop = address + length
    is_negative = length > 0 and load_byte(address) == _MINUS
    if is_negative:
        address += 1
    mantissa = 0
    digits = 0  # leading zeros of the whole part not counted
    point = 0
    has_digit = False
    while address < stop:
        char = load_byte(address)
        digit = char - _ZERO
        address += 1
        if 0 <= digit <= 9:
            has_digit = True
            if mantissa or digit or point:
                digits += 1
            # It may wrap beyond 18 digits: then nobody looks at it.
            mantissa = mantissa * 10 + digit
        elif char == _POINT and not point:
            point = address
        else:
            return _FORMAT, 0, 0
    if not has_digit:
        return _FORMAT, 0, 0
    if digits > DIGITS_MAX:
        return _VALUE, 0, 0
    scale = stop - point if point else 0
    return SOUND, -mantissa if is_negative else mantissa, scale


@inline_kernel
def days_since_1970(yyyymmdd: int) -> tuple[bool, int]:
    """Return (whether a calendar has it, its days since 1970-01-01) of a date."""
    year = yyyymmdd // 10_000
    month = yyyymmdd // 100 % 100
    day = yyyymmdd % 100
    if year < 1 or month < 1 or month > 12 or day < 1 or day > 31:
        return False, 0
    if day > 28:
        if month == 2:
            is_leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
            if day > 29 or not is_leap:
                return False, 0
        elif day == 31 and month in (4, 6, 9, 11):
            return False, 0
    # Years begin in March, so that the leap day is the last; see "days_from_civil".
    shifted = month - 3
    if month <= 2:
        shifted = month + 9
        year -= 1
    day_of_year = (153 * shifted + 2) // 5 + day - 1
    return True, 365 * year + year // 4 - year // 100 + year // 400 + day_of_year - 719_468


@inline_kernel
def read_timestamp(address: int, length: int) -> tuple[int, int]:
    """Read a UTCTimestamp as (SOUND, ms since 1970); finer decimals are cut off, :60 is :59."""
    if length not in (_TO_SECOND, _TO_MS, _TO_US, _TO_NS):
        return _FORMAT, 0
    date = read_eight_digits(address)
    seconds = read_clock(address + 9)
    if date < 0 or seconds < 0 or load_byte(address + 8) != _DASH:
        return _FORMAT, 0
    is_date, days = days_since_1970(date)
    if not is_date:
        return _FORMAT, 0
    ms = 0
    if length > _TO_SECOND:
        if load_byte(address + _TO_SECOND) != _POINT:
            return _FORMAT, 0
        ms = read_natural(address + _TO_SECOND + 1, 3)
        if ms < 0:
            return _FORMAT, 0
        if length > _TO_MS and read_natural(address + _TO_MS, length - _TO_MS) < 0:
            return _FORMAT, 0
    return SOUND, days * _MS_OF_DAY + seconds * 1000 + ms

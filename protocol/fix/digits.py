"""Numbers, decimals, times and short texts as FIX writes them, for encode kernels.

Positions are addresses; each writer returns the position behind what it wrote, and may store up to
seven bytes of rubbish behind that. Digits are made eight at a time in one word, without a table.
"""

from typing import Any

import numpy as np

from openoutcry.config.jit import inline_kernel, kernel
from openoutcry.protocol.binary.words import bit_length, load_word, store_byte, store_word

#: 64-bit words that a cache of `put_time` takes; zeros mean that it remembers nothing.
TIME_CACHE_WORDS = 4

_E8 = 100_000_000
_ASCII_ZEROS = 0x3030_3030_3030_3030
_POINT = ord(".")
_MINUS = ord("-")
_DASH = ord("-")
_COLON = ord(":")
_ZERO = ord("0")
#: "000" and SOH, behind the seconds' point.
_TAIL = 0x0130_3030
_POWERS = np.array([10**n for n in range(19)], np.int64)
_NUL_WORD = np.uint64(0)
_SHARD_SHIFT = 48
_SEQ_MASK = (1 << _SHARD_SHIFT) - 1


def chars(text: str) -> int:
    """Return up to eight ASCII characters as a little-endian word, for constants in kernels."""
    return int.from_bytes(text.encode("ascii").ljust(8, b"\0"), "little")


@inline_kernel
def _eight(value: int) -> int:
    """Return the eight digits of 0 <= value < 10^8, first digit in the lowest byte, as 0 to 9."""
    # Halve the problem three times, all lanes at once; multiplications stand for the divisions.
    upper = value // 10_000
    fours = upper | ((value - upper * 10_000) << 32)
    upper = ((fours * 10_486) >> 20) & 0x0000_007F_0000_007F
    twos = upper | ((fours - upper * 100) << 16)
    upper = ((twos * 103) >> 10) & 0x000F_000F_000F_000F
    return upper | ((twos - upper * 10) << 8)


@inline_kernel
def _lowest_byte(word: int) -> int:
    """Return the index of the lowest byte that is not zero; the word is not negative, nor zero."""
    return (bit_length(np.uint64(word & -word)) - 1) >> 3


@inline_kernel
def put_short(pos: int, value: int) -> int:
    """Write 0 <= value < 10^8 without leading zeros."""
    digits = _eight(value)
    # The last digit is written whatever it is.
    skipped = _lowest_byte(digits | (1 << 56))
    store_word(pos, (digits | _ASCII_ZEROS) >> (8 * skipped))
    return pos + 8 - skipped


@kernel
def _put_long(pos: int, value: int) -> int:
    """Write 10^8 <= value < 2^63."""
    upper = value // _E8
    if upper >= _E8:
        top = upper // _E8
        pos = put_short(pos, top)
        store_word(pos, _eight(upper - top * _E8) | _ASCII_ZEROS)
        pos += 8
    else:
        pos = put_short(pos, upper)
    store_word(pos, _eight(value - upper * _E8) | _ASCII_ZEROS)
    return pos + 8


@inline_kernel
def put_number(pos: int, value: int) -> int:
    """Write 0 <= value < 2^63 without leading zeros."""
    if value < _E8:
        return put_short(pos, value)
    return _put_long(pos, value)


@inline_kernel
def _put_padded(pos: int, value: int, width: int) -> int:
    """Write the last `width` (1 to 8) digits of 0 <= value < 10^8, zeros in front included."""
    store_word(pos, (_eight(value) | _ASCII_ZEROS) >> (8 * (8 - width)))
    return pos + width


@inline_kernel
def _put_fraction(pos: int, value: int, width: int) -> int:
    """Write 0 <= value < 10^width as `width` (1 to 18) digits."""
    if width > 8:
        upper = value // _E8
        value -= upper * _E8
        width -= 8
        if width > 8:
            top = upper // _E8
            upper -= top * _E8
            pos = _put_padded(pos, top, width - 8)
            width = 8
        pos = _put_padded(pos, upper, width)
        width = 8
    return _put_padded(pos, value, width)


@kernel
def _put_long_decimal(pos: int, mantissa: int, scale: int) -> int:
    """Write any int64 × 10^-scale, for 0 <= scale <= 18."""
    if mantissa < 0:
        store_byte(pos, _MINUS)
        pos += 1
        # In this order since -2^63 has no positive.
        size = np.uint64(-(mantissa + 1)) + np.uint64(1)
    else:
        size = np.uint64(mantissa)
    power = np.uint64(_POWERS[scale if scale != 0 else 18])
    whole: Any = np.int64(size // power)
    rest: Any = np.int64(size - np.uint64(whole) * power)
    if scale == 0:
        if whole == 0:
            return put_number(pos, rest)
        return _put_fraction(put_short(pos, whole), rest, 18)
    pos = put_number(pos, whole)
    store_byte(pos, _POINT)
    return _put_fraction(pos + 1, rest, scale)


@inline_kernel
def put_decimal(pos: int, mantissa: int, scale: int) -> int:
    """Write mantissa × 10^-scale with exactly `scale` (0 to 18) decimals, or without a point."""
    if mantissa < 0 or mantissa >= _E8 or scale > 7:
        return _put_long_decimal(pos, mantissa, scale)
    digits = _eight(mantissa)
    # One digit stands before the point at least.
    skipped = _lowest_byte(digits | (1 << (8 * (7 - scale))))
    text = (digits | _ASCII_ZEROS) >> (8 * skipped)
    store_word(pos, text)
    if scale == 0:
        return pos + 8 - skipped
    whole = 8 - skipped - scale
    store_byte(pos + whole, _POINT)
    store_word(pos + whole + 1, text >> (8 * whole))
    return pos + 9 - skipped


@inline_kernel
def put_words(pos: int, w0: Any, w1: Any, w2: Any, w3: Any, w4: Any) -> int:
    """Write a NUL-padded text of up to 40 characters."""
    store_word(pos, w0)
    if w1 == _NUL_WORD:
        return pos + ((bit_length(w0) + 7) >> 3)
    store_word(pos + 8, w1)
    if w2 == _NUL_WORD:
        return pos + 8 + ((bit_length(w1) + 7) >> 3)
    store_word(pos + 16, w2)
    if w3 == _NUL_WORD:
        return pos + 16 + ((bit_length(w2) + 7) >> 3)
    store_word(pos + 24, w3)
    if w4 == _NUL_WORD:
        return pos + 24 + ((bit_length(w3) + 7) >> 3)
    store_word(pos + 32, w4)
    return pos + 32 + ((bit_length(w4) + 7) >> 3)


@inline_kernel
def put_identifier(pos: int, letter: int, identifier: int) -> int:
    """Write shard << 48 | sequence as {letter}{shard}-{sequence}."""
    shard = identifier >> _SHARD_SHIFT
    if shard < 10:
        # Letter, digit and dash in one word.
        store_word(pos, letter | (shard + _ZERO) << 8 | _DASH << 16)
        pos += 3
    else:
        store_byte(pos, letter)
        pos = put_short(pos + 1, shard)
        store_byte(pos, _DASH)
        pos += 1
    return put_number(pos, identifier & _SEQ_MASK)


@kernel
def _remember_second(second: int, cache: int) -> None:
    """Write YYYYMMDD-HH:MM:SS. of a second since 1970 into a cache."""
    days = second // 86_400
    rest = second - days * 86_400
    # Civil calendar from days, by eras of 400 years that begin on 1 March.
    shifted = days + 719_468
    era = shifted // 146_097
    day_of_era = shifted - era * 146_097
    year_of_era = (
        day_of_era - day_of_era // 1_460 + day_of_era // 36_524 - day_of_era // 146_096
    ) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    month_index = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * month_index + 2) // 5 + 1
    month = month_index + 3 if month_index < 10 else month_index - 9
    year = year_of_era + era * 400 + (1 if month <= 2 else 0)
    hour = rest // 3_600
    minute = (rest - hour * 3_600) // 60
    moment = hour * 10_000 + minute * 100 + rest % 60
    clock = _eight(moment) | _ASCII_ZEROS  # 00HHMMSS
    store_word(cache, second)
    store_word(cache + 8, _eight(year * 10_000 + month * 100 + day) | _ASCII_ZEROS)
    hour_text = (clock >> 16) & 0xFFFF
    minute_text = (clock >> 32) & 0xFFFF
    store_word(
        cache + 16,
        _DASH
        | hour_text << 8
        | _COLON << 24
        | minute_text << 32
        | _COLON << 48
        | ((clock >> 48) & 0xFF) << 56,
    )
    store_word(cache + 24, (clock >> 56) | _POINT << 8)


@inline_kernel
def put_time(pos: int, utc_ms: int, cache: int) -> int:
    """Write YYYYMMDD-HH:MM:SS.sss and SOH for 0 <= ms since 1970, up to the year 9999.

    `cache` is the address of TIME_CACHE_WORDS words, zeros at first, that hold the last second.
    """
    second = utc_ms // 1_000
    ms = utc_ms - second * 1_000
    if load_word(cache) != np.uint64(second) or load_word(cache + 8) == _NUL_WORD:
        _remember_second(second, cache)
    store_word(pos, load_word(cache + 8))
    store_word(pos + 8, load_word(cache + 16))
    hundreds = ms // 100
    tens = (ms - hundreds * 100) // 10
    digits = hundreds | tens << 8 | (ms - hundreds * 100 - tens * 10) << 16
    tail = np.int64(load_word(cache + 24)) | ((digits | _TAIL) << 16)
    store_word(pos + 16, tail)
    return pos + 22

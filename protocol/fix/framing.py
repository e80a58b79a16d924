"""Where a FIX frame begins and ends: BeginString, BodyLength, MsgType first, CheckSum last.

A frame is `8=…|9=n|`, n bytes that begin with `35=`, and `10=ddd|`. What cannot become one is
garbled as soon as a byte shows it. Reading goes on behind the `10=` field that follows the claimed
length, wherever that is, else at the next `8=FIX`; a part of `8=FIX` at the end of what was
received is kept. Such a field is waited for as long as a message may be: however the bytes come in,
they are cut alike.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from openoutcry.config.jit import inline_kernel, kernel, uint64
from openoutcry.protocol.binary.words import address_of, load_byte, load_word
from openoutcry.protocol.fix.layouts import GARBLED, OTHER, PARTIAL
from openoutcry.protocol.fix.swar import BLOCK_BYTES, block_sum

#: Longest BeginString, in characters.
BEGIN_STRING_MAX = 16
#: Most digits of BodyLength, leading zeros counted.
BODY_LENGTH_DIGITS_MAX = 9
#: What BeginString says: 0 to 4 are FIX.4.0 to FIX.4.4, then FIXT.1.1; any other text is none.
BEGIN_FIXT = 5
NO_BEGIN = -1
#: `10=ddd` and SOH.
TRAILER_BYTES = 7

_SOH = 1
_ZERO = ord("0")
_EIGHT = ord("8")
_EQUALS = ord("=")


def _word(text: bytes) -> int:
    return uint64(int.from_bytes(text, "little"))


_BEGIN = np.frombuffer(b"8=FIX", np.uint8)
_BODY_LENGTH = np.frombuffer(b"9=", np.uint8)
_MSG_TYPE = np.frombuffer(b"35=", np.uint8)
_CHECK_SUM = np.frombuffer(b"\x0110=", np.uint8)
_FIX4_LOW = _word(b"8=FIX.4.")
_FIX4_HIGH = _word(b"\0\x019=")
_FIX4_MASK = _word(b"\0\xff\xff\xff")
_FIX4_BYTES = len("8=FIX.4.4|9=")
_FIXT_LOW = _word(b"8=FIXT.1")
_FIXT_HIGH = _word(b".1\x019=")
_FIXT_MASK = _word(b"\xff\xff\xff\xff\xff")
_FIXT_BYTES = len("8=FIXT.1.1|9=")
_SOH_10 = _word(b"\x0110=\0\0\0\x01")
_SOH_10_MASK = _word(b"\xff\xff\xff\xff\0\0\0\xff")


@kernel
def next_begin(pos: int, end: int) -> int:
    """Return the address of the next `8=FIX`, or of the part of one that ends the range, or end."""
    while pos < end:
        i = 0
        while i < len(_BEGIN) and pos + i < end and load_byte(pos + i) == _BEGIN[i]:
            i += 1
        if i == len(_BEGIN) or pos + i == end:
            return pos
        pos += 1
    return end


@kernel
def _any_begin(pos: int, end: int) -> tuple[int, int]:
    """Read `8=FIX…|9=` at pos, whatever the version: (status, position behind it)."""
    for i in range(len(_BEGIN)):
        if pos + i == end:
            return PARTIAL, 0
        if load_byte(pos + i) != _BEGIN[i]:
            return GARBLED, 0
    last = pos + 2 + BEGIN_STRING_MAX
    pos += len(_BEGIN)
    while True:
        if pos == end:
            return PARTIAL, 0
        if load_byte(pos) == _SOH:
            break
        if pos == last:
            return GARBLED, 0
        pos += 1
    pos += 1
    for i in range(len(_BODY_LENGTH)):
        if pos + i == end:
            return PARTIAL, 0
        if load_byte(pos + i) != _BODY_LENGTH[i]:
            return GARBLED, 0
    return OTHER, pos + len(_BODY_LENGTH)


@kernel
def _odd_trailer(pos: int, end: int, last: int) -> tuple[int, int]:
    """Find the next `|10=…|` from pos on, not beyond `last`: (status, where to go on or 0)."""
    stop = min(end, last)
    while pos + len(_CHECK_SUM) <= stop:
        i = 0
        while i < len(_CHECK_SUM) and load_byte(pos + i) == _CHECK_SUM[i]:
            i += 1
        if i == len(_CHECK_SUM):
            pos += i
            while pos < stop:
                pos += 1
                if load_byte(pos - 1) == _SOH:
                    return GARBLED, pos
            break
        pos += 1
    return (GARBLED if end >= last else PARTIAL), 0


@inline_kernel
def find_frame(start: int, end: int, max_bytes: int) -> tuple[int, int, int, int, int]:
    """Find the frame that begins at address `start`.

    Returns (status, frame_end, body, body_end, begin): OTHER for a whole frame whose BodyLength and
    CheckSum are right; with PARTIAL frame_end is 0 while it is not known; with GARBLED it is where
    to go on. `body` is where `35=` is, body_end where `10=` is; `begin` is the BeginString.
    """
    begin = NO_BEGIN
    pos = start
    if end - start >= _FIXT_BYTES:
        low = load_word(start)
        high = load_word(start + 8)
        if low == _FIX4_LOW and high & _FIX4_MASK == _FIX4_HIGH:
            begin = load_byte(start + 8) - _ZERO
            pos = start + _FIX4_BYTES
            if begin < 0 or begin >= BEGIN_FIXT:
                begin = NO_BEGIN
        elif low == _FIXT_LOW and high & _FIXT_MASK == _FIXT_HIGH:
            begin = BEGIN_FIXT
            pos = start + _FIXT_BYTES
    if begin == NO_BEGIN:
        status, pos = _any_begin(start, end)
        if status == PARTIAL:
            return PARTIAL, 0, 0, 0, NO_BEGIN
        if status == GARBLED:
            return GARBLED, next_begin(start + 1, end), 0, 0, NO_BEGIN

    length = 0
    first = pos
    while True:
        if pos == end:
            return PARTIAL, 0, 0, 0, NO_BEGIN
        char = load_byte(pos)
        pos += 1
        if char == _SOH and pos - 1 > first:
            break
        length = length * 10 + char - _ZERO
        if (
            not 0 <= char - _ZERO <= 9
            or pos - first > BODY_LENGTH_DIGITS_MAX
            or pos + length + TRAILER_BYTES - start > max_bytes
        ):
            return GARBLED, next_begin(start + 1, end), 0, 0, NO_BEGIN

    body = pos
    body_end = body + length
    frame_end = body_end + TRAILER_BYTES
    if frame_end - start > max_bytes:
        return GARBLED, next_begin(start + 1, end), 0, 0, NO_BEGIN
    for i in range(len(_MSG_TYPE)):
        if body + i == end:
            return PARTIAL, frame_end, 0, 0, NO_BEGIN
        if load_byte(body + i) != _MSG_TYPE[i]:
            return GARBLED, next_begin(start + 1, end), 0, 0, NO_BEGIN

    claimed = -1
    if frame_end <= end and load_word(body_end - 1) & _SOH_10_MASK == _SOH_10:
        hundreds = load_byte(body_end + 3) - _ZERO
        tens = load_byte(body_end + 4) - _ZERO
        ones = load_byte(body_end + 5) - _ZERO
        if 0 <= hundreds <= 9 and 0 <= tens <= 9 and 0 <= ones <= 9:
            claimed = hundreds * 100 + tens * 10 + ones
    if claimed < 0:
        if body_end > end:
            return PARTIAL, frame_end, 0, 0, NO_BEGIN
        status, resume = _odd_trailer(body_end - 1, end, start + max_bytes)
        if status == PARTIAL:
            return PARTIAL, frame_end if end < frame_end else 0, 0, 0, NO_BEGIN
        if resume == 0:
            resume = next_begin(start + 1, end)
        return GARBLED, resume, 0, 0, NO_BEGIN

    total = 0
    pos = start
    while pos < body_end:
        total += block_sum(pos, min(body_end - pos, BLOCK_BYTES))
        pos += BLOCK_BYTES
    if total & 0xFF != claimed:
        return GARBLED, frame_end, 0, 0, NO_BEGIN
    return OTHER, frame_end, body, body_end, begin


@kernel
def scan_frame(
    buf: NDArray[Any], start: int, end: int, max_message_bytes: int, bounds: NDArray[Any]
) -> int:
    """Find the frame at `start`, without a look at its fields.

    `buf` is uint8 with SPARE_BYTES behind `end`; `bounds` (int64) gets frame_end in its first
    place: behind the frame, or where to go on, or, with PARTIAL, where the frame will end (0 while
    that is not known).

    Returns OTHER for a whole frame, PARTIAL or GARBLED.
    """
    base = address_of(buf)
    status, frame_end, _, _, _ = find_frame(base + start, base + end, max_message_bytes)
    bounds[0] = frame_end - base if frame_end else 0
    return status

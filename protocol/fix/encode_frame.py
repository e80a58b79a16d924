"""What frames every message of the encode kernels: header, Text(58), BodyLength(9), CheckSum(10).

A message is written once, front to back, into a uint8 buffer, mostly as words of eight bytes, each
of which may store up to seven bytes of rubbish behind its text that the next field overwrites.

Three digits are kept free for BodyLength(9). Only where the body turns out to be longer than 999 or
shorter than 100 bytes (a long Text, a tiny reject) is it moved by a byte.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from openoutcry.config.jit import inline_kernel, kernel
from openoutcry.protocol.binary.words import load_byte, load_word, store_byte, store_word
from openoutcry.protocol.fix.digits import (
    TIME_CACHE_WORDS,
    chars,
    put_number,
    put_time,
)
from openoutcry.protocol.fix.versions import Version

#: Longest Text(58), and bytes of a row of the table of texts (a multiple of eight).
TEXT_MAX = 511
TEXT_ROW_BYTES = 512

SOH = 1
_SOH_52 = chars("\x0152=")
_43_Y_122_A = chars("43=Y\x0112")
_43_Y_122_B = chars("2=")
_369 = chars("369=")
_58 = chars("58=")
_10 = chars("10=")
_ZERO = ord("0")
_NUL_WORD = np.uint64(0)
#: Bytes of a cache of times; a thread has three: SendingTime, OrigSendingTime, TransactTime.
CACHE_BYTES = 8 * TIME_CACHE_WORDS
_LANES = np.uint64(0x00FF_00FF_00FF_00FF)
_BYTE = np.uint64(8)
# Words whose even and odd bytes four lanes of 16 bits can hold the sums of.
_WORDS_AT_ONCE = 128
_FIX42 = int(Version.FIX42)
# Places of whole seconds in a UTCTimestamp.
_SECONDS_LEN = 17

#: A session's constant texts: 8=…|9= and 49=…|56=…|34= (CompIDs of up to 32 characters), as words.
SESSION_TEXT = np.dtype(
    [
        *[(f"begin{i}", "<u8") for i in range(2)],
        *[(f"comp{i}", "<u8") for i in range(10)],
        ("begin_len", "<i8"),
        ("comp_len", "<i8"),
        ("version", "<i8"),  # Version
    ],
    align=True,
)


def session_text(version: Version, sender: str, target: str) -> np.void:
    """Return a session's SESSION_TEXT row; `sender` is the venue's CompID, `target` the client's.

    Raises ValueError where a text is longer than its room.
    """
    begin = f"8={version.begin_string}\x019=".encode("ascii")
    comp = f"49={sender}\x0156={target}\x0134=".encode("ascii")
    row = np.zeros(1, SESSION_TEXT)
    if len(begin) > 16 or len(comp) > 80:
        raise ValueError(f"CompIDs are too long: {sender}, {target}")
    room = row.view(np.uint8)
    room[: len(begin)] = np.frombuffer(begin, np.uint8)
    room[16 : 16 + len(comp)] = np.frombuffer(comp, np.uint8)
    row[0]["begin_len"] = len(begin)
    row[0]["comp_len"] = len(comp)
    row[0]["version"] = int(version)
    return row[0]


def text_table(texts: list[str]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return (rows, lengths) of a table of texts for Text(58). Raises ValueError for a bad one."""
    rows = np.zeros((max(1, len(texts)), TEXT_ROW_BYTES), np.uint8)
    lengths = np.zeros(max(1, len(texts)), np.int64)
    for number, text in enumerate(texts):
        encoded = text.encode("ascii")
        if not 1 <= len(encoded) <= TEXT_MAX or not text.isprintable():
            raise ValueError(f"Text(58) takes 1 to {TEXT_MAX} printable characters: {text!r}")
        rows[number, : len(encoded)] = np.frombuffer(encoded, np.uint8)
        lengths[number] = len(encoded)
    return rows, lengths


def time_cache() -> NDArray[np.int64]:
    """Return what the kernels remember of the last second they wrote: zeros, one array a thread."""
    return np.zeros(3 * TIME_CACHE_WORDS, np.int64)


@inline_kernel
def put_stamp(pos: int, utc_ms: int, cache: int, version: int) -> int:
    """Write a UTCTimestamp and SOH as `put_time` does; FIX 4.0 and 4.1 know whole seconds only."""
    end = put_time(pos, utc_ms, cache)
    if version < _FIX42:
        store_byte(pos + _SECONDS_LEN, SOH)
        return pos + _SECONDS_LEN + 1
    return end


@inline_kernel
def put_raw(pos: int, text: int, length: int) -> int:
    """Write a text from its address; up to seven bytes behind it are read, too."""
    for at in range(0, length, 8):
        store_word(pos + at, load_word(text + at))
    return pos + length


@inline_kernel
def put_header(start: int, msg_type: int, text: Any, row: Any, times: int) -> tuple[int, int]:
    """Write the header from REPORT_VALUES `row`; return (position, where BodyLength stands)."""
    store_word(start, text["begin0"])
    store_word(start + 8, text["begin1"])
    length_at = start + text["begin_len"]
    store_word(length_at + 3, msg_type)
    pos = length_at + 9
    comp_len = text["comp_len"]
    store_word(pos, text["comp0"])
    store_word(pos + 8, text["comp1"])
    store_word(pos + 16, text["comp2"])
    store_word(pos + 24, text["comp3"])
    if comp_len > 32:
        store_word(pos + 32, text["comp4"])
        store_word(pos + 40, text["comp5"])
        store_word(pos + 48, text["comp6"])
        store_word(pos + 56, text["comp7"])
        store_word(pos + 64, text["comp8"])
        store_word(pos + 72, text["comp9"])
    pos = put_number(pos + comp_len, row["seq_num"])
    store_word(pos, _SOH_52)
    version = text["version"]
    pos = put_stamp(pos + 4, row["sending_time_ms"], times, version)
    if row["poss_dup"] != 0:
        store_word(pos, _43_Y_122_A)
        store_word(pos + 7, _43_Y_122_B)
        pos = put_stamp(pos + 9, row["orig_sending_time_ms"], times + CACHE_BYTES, version)
    if row["last_processed"] > 0:
        store_word(pos, _369)
        pos = put_number(pos + 4, row["last_processed"])
        store_byte(pos, SOH)
        pos += 1
    if row["route_len"] > 0:
        pos = put_raw(pos, row["route"], row["route_len"])
    return pos, length_at


@inline_kernel
def put_text(pos: int, text: int, length: int) -> int:
    """Write 58 from the address of a text."""
    store_word(pos, _58)
    pos = put_raw(pos + 3, text, length)
    store_byte(pos, SOH)
    return pos + 1


@kernel
def _move_body(body: int, end: int, by: int) -> None:
    """Make room for BodyLength's fourth digit, or close the gap that its third leaves."""
    if by > 0:
        for at in range(end - 1, body - 1, -1):
            store_byte(at + by, load_byte(at))
    else:
        for at in range(body, end):
            store_byte(at + by, load_byte(at))


@inline_kernel
def put_trailer(start: int, length_at: int, pos: int) -> int:
    """Fill in BodyLength and write CheckSum behind the last SOH; return the message's end."""
    body = length_at + 4
    length = pos - body
    if 100 <= length <= 999:
        hundreds = length // 100
        tens = (length - hundreds * 100) // 10
        store_byte(length_at, hundreds + _ZERO)
        store_byte(length_at + 1, tens + _ZERO)
        store_byte(length_at + 2, length - hundreds * 100 - tens * 10 + _ZERO)
    else:
        by = 1 if length > 999 else -1
        _move_body(body, pos, by)
        pos += by
        # Last digit first, byte by byte: a word would spoil the body.
        left = length
        for at in range(length_at + 2 + by, length_at - 1, -1):
            store_byte(at, left % 10 + _ZERO)
            left //= 10
        store_byte(body - 1 + by, SOH)
    total = 0
    at = start
    while at + 8 <= pos:
        # Sums of the even and the odd bytes in four lanes of 16 bits.
        stop = min(at + 8 * _WORDS_AT_ONCE, pos - 7)
        lanes = _NUL_WORD
        while at < stop:
            word = load_word(at)
            lanes += (word & _LANES) + ((word >> _BYTE) & _LANES)
            at += 8
        sums: Any = np.int64(lanes)
        total += (sums & 0xFFFF) + ((sums >> 16) & 0xFFFF)
        total += ((sums >> 32) & 0xFFFF) + ((sums >> 48) & 0xFFFF)
    while at < pos:
        total += load_byte(at)
        at += 1
    total &= 255
    hundreds = total // 100
    tens = (total - hundreds * 100) // 10
    digits = hundreds | tens << 8 | (total - hundreds * 100 - tens * 10) << 16
    store_word(pos, _10 | (digits | 0x0130_3030) << 24)
    return pos + 7

"""The venue's encode kernels: REPORT_VALUES rows to ExecutionReport (8) and OrderCancelReject (9).

A message is written once, front to back, into a uint8 buffer, mostly as words of eight bytes, each
of which may store up to seven bytes of rubbish behind its text that the next field overwrites. So a
buffer needs MAX_REPORT_BYTES of room from `pos` on, whatever the message's own length is.

Three digits are kept free for BodyLength(9). Only where the body turns out to be longer than 999 or
shorter than 100 bytes (a long Text, a tiny reject) is it moved by a byte.

Fields, in this order ([] where the row has them):

  8  8 9 35 49 56 34 52 [43 122] 37 [11] [41] 17 150 39 [1] [55] 54 38 [40] [44] 59 [32 31] 151 14 6
     60 [851] [527] [103] [58] 10
  9  8 9 35 49 56 34 52 [43 122] 37 [11] [41] 39 434 [102] [1] 60 [58] 10
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from openoutcry.config.jit import inline_kernel, kernel
from openoutcry.protocol.binary.words import (
    address_of,
    load_byte,
    load_word,
    store_byte,
    store_word,
)
from openoutcry.protocol.fix.digits import (
    TIME_CACHE_WORDS,
    chars,
    put_decimal,
    put_identifier,
    put_number,
    put_short,
    put_time,
    put_words,
)

#: Room that a message needs from its position on: the longest one, and what words store behind it.
MAX_REPORT_BYTES = 1536
#: Longest Text(58), and bytes of a row of the table of texts (a multiple of eight).
TEXT_MAX = 511
TEXT_ROW_BYTES = 512
#: No Text(58), no OrdRejReason(103), no CxlRejReason(102).
NONE = -1

# Tags as words: what stands before a value, with the SOH that ends the field before.
_SOH = 1
_SOH_35_8 = chars("\x0135=8\x01")
_SOH_35_9 = chars("\x0135=9\x01")
_SOH_52 = chars("\x0152=")
_43_Y_122_A = chars("43=Y\x0112")
_43_Y_122_B = chars("2=")
_37 = chars("37=")
_NONE_ID = chars("NONE")
_SOH_11 = chars("\x0111=")
_SOH_41 = chars("\x0141=")
_SOH_17 = chars("\x0117=")
_SOH_150 = chars("\x01150=")
_SOH_39 = chars("\x0139=")
_SOH_434 = chars("\x01434=")
_SOH_102 = chars("\x01102=")
_SOH_1 = chars("\x011=")
_SOH_55 = chars("\x0155=")
_SOH_54 = chars("\x0154=")
_SOH_38 = chars("\x0138=")
_SOH_40 = chars("\x0140=")
_SOH_44 = chars("\x0144=")
_SOH_59 = chars("\x0159=")
_SOH_32 = chars("\x0132=")
_SOH_31 = chars("\x0131=")
_SOH_151 = chars("\x01151=")
_SOH_14 = chars("\x0114=")
_SOH_6 = chars("\x016=")
_SOH_60 = chars("\x0160=")
_851 = chars("851=")
_527 = chars("527=")
_103 = chars("103=")
_58 = chars("58=")
_10 = chars("10=")
_ZERO = ord("0")
_O, _E, _T = ord("O"), ord("E"), ord("T")
_NUL_WORD = np.uint64(0)
_CACHE_BYTES = 8 * TIME_CACHE_WORDS
_LANES = np.uint64(0x00FF_00FF_00FF_00FF)
_BYTE = np.uint64(8)

#: What a message is encoded from. Decimals are mantissa × 10^-scale, scales are 0 to 18.
REPORT_VALUES = np.dtype(
    [
        ("seq_num", "<i8"),  # MsgSeqNum(34), from 1
        ("sending_time_ms", "<i8"),  # SendingTime(52): ms since 1970, up to the year 9999
        ("orig_sending_time_ms", "<i8"),  # OrigSendingTime(122), where poss_dup is set
        ("transact_time_ns", "<i8"),  # TransactTime(60): ns since 1970; cut to milliseconds
        # Identifiers: shard << 48 | sequence.
        ("order_id", "<i8"),  # OrderID(37): O{shard}-{seq}; 0 is NONE
        ("exec_id", "<i8"),  # ExecID(17): E{shard}-{seq}
        ("trade_id", "<i8"),  # SecondaryExecID(527): T{shard}-{seq}; 0 leaves the field out
        # NUL-padded texts as little-endian words; an empty one leaves the field out.
        *[(f"id{i}", "<u8") for i in range(5)],  # ClOrdID(11)
        *[(f"orig{i}", "<u8") for i in range(5)],  # OrigClOrdID(41)
        *[(f"symbol{i}", "<u8") for i in range(3)],  # Symbol(55)
        *[(f"account{i}", "<u8") for i in range(4)],  # Account(1)
        ("price", "<i8"),  # Price(44), where has_price is set
        ("last_px", "<i8"),  # LastPx(31), at price_scale, where has_last is set
        ("avg_px", "<i8"),  # AvgPx(6), at avg_px_scale
        ("order_qty", "<i8"),  # OrderQty(38), like all quantities at qty_scale
        ("last_qty", "<i8"),  # LastQty(32), where has_last is set
        ("leaves_qty", "<i8"),  # LeavesQty(151)
        ("cum_qty", "<i8"),  # CumQty(14)
        ("price_scale", "<i8"),
        ("qty_scale", "<i8"),
        ("avg_px_scale", "<i8"),
        ("text", "<i8"),  # Text(58): row in the table of texts, or NONE
        ("ord_rej_reason", "<i8"),  # OrdRejReason(103): 0 to 99, or NONE
        ("cxl_rej_reason", "<i8"),  # CxlRejReason(102): 0 to 99, or NONE; message 9 only
        ("cxl_rej_response_to", "u1"),  # CxlRejResponseTo(434): 1 cancel, 2 replace; message 9 only
        ("exec_type", "u1"),  # ExecType(150), the character's code
        ("ord_status", "u1"),  # OrdStatus(39), the character's code
        ("side", "u1"),  # Side(54), 1 or 2
        ("ord_type", "u1"),  # OrdType(40), 1 or 2; 0 leaves the field out
        ("tif", "u1"),  # TimeInForce(59), 0 to 9
        ("liquidity", "u1"),  # LastLiquidityInd(851), 1 or 2; 0 leaves the field out
        ("has_price", "u1"),
        ("has_last", "u1"),
        ("poss_dup", "u1"),  # PossDupFlag(43)=Y and OrigSendingTime(122)
    ],
    align=True,
)

#: A session's constant texts: 8=…|9= and 49=…|56=…|34= (CompIDs of up to 32 characters), as words.
SESSION_TEXT = np.dtype(
    [
        *[(f"begin{i}", "<u8") for i in range(2)],
        *[(f"comp{i}", "<u8") for i in range(10)],
        ("begin_len", "<i8"),
        ("comp_len", "<i8"),
    ],
    align=True,
)


def session_text(begin_string: str, sender: str, target: str) -> np.void:
    """Return a session's SESSION_TEXT row; `sender` is the venue's CompID, `target` the client's.

    Raises ValueError where a text is longer than its room.
    """
    begin = f"8={begin_string}\x019=".encode("ascii")
    comp = f"49={sender}\x0156={target}\x0134=".encode("ascii")
    row = np.zeros(1, SESSION_TEXT)
    if len(begin) > 16 or len(comp) > 80:
        raise ValueError(f"BeginString or CompIDs are too long: {begin_string}, {sender}, {target}")
    room = row.view(np.uint8)
    room[: len(begin)] = np.frombuffer(begin, np.uint8)
    room[16 : 16 + len(comp)] = np.frombuffer(comp, np.uint8)
    row[0]["begin_len"] = len(begin)
    row[0]["comp_len"] = len(comp)
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
def _put_header(start: int, msg_type: int, text: Any, row: Any, times: int) -> tuple[int, int]:
    """Write the header; return (position, where the digits of BodyLength stand)."""
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
    pos = put_time(pos + 4, row["sending_time_ms"], times)
    if row["poss_dup"] != 0:
        store_word(pos, _43_Y_122_A)
        store_word(pos + 7, _43_Y_122_B)
        pos = put_time(pos + 9, row["orig_sending_time_ms"], times + _CACHE_BYTES)
    return pos, length_at


@inline_kernel
def _put_order_ids(pos: int, row: Any) -> int:
    """Write 37, 11 and 41."""
    store_word(pos, _37)
    order_id = row["order_id"]
    if order_id != 0:
        pos = put_identifier(pos + 3, _O, order_id)
    else:
        store_word(pos + 3, _NONE_ID)
        pos += 7
    if row["id0"] != _NUL_WORD:
        store_word(pos, _SOH_11)
        pos = put_words(pos + 4, row["id0"], row["id1"], row["id2"], row["id3"], row["id4"])
    if row["orig0"] != _NUL_WORD:
        store_word(pos, _SOH_41)
        pos = put_words(
            pos + 4, row["orig0"], row["orig1"], row["orig2"], row["orig3"], row["orig4"]
        )
    return pos


@inline_kernel
def _put_account(pos: int, row: Any) -> int:
    if row["account0"] == _NUL_WORD:
        return pos
    store_word(pos, _SOH_1)
    return put_words(
        pos + 3, row["account0"], row["account1"], row["account2"], row["account3"], _NUL_WORD
    )


@inline_kernel
def _put_text(pos: int, text: int, length: int) -> int:
    """Write 58 from the address of a text."""
    store_word(pos, _58)
    pos += 3
    for at in range(0, length, 8):
        store_word(pos + at, load_word(text + at))
    store_byte(pos + length, _SOH)
    return pos + length + 1


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
def _put_trailer(start: int, length_at: int, pos: int) -> int:
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
        store_byte(body - 1 + by, _SOH)
    # Sums of the even and the odd bytes in four lanes of 16 bits: good for 257 words.
    lanes = _NUL_WORD
    at = start
    while at + 8 <= pos:
        word = load_word(at)
        lanes += (word & _LANES) + ((word >> _BYTE) & _LANES)
        at += 8
    total: Any = np.int64(lanes)
    total = (total & 0xFFFF) + ((total >> 16) & 0xFFFF) + ((total >> 32) & 0xFFFF) + (total >> 48)
    while at < pos:
        total += load_byte(at)
        at += 1
    total &= 255
    hundreds = total // 100
    tens = (total - hundreds * 100) // 10
    digits = hundreds | tens << 8 | (total - hundreds * 100 - tens * 10) << 16
    store_word(pos, _10 | (digits | 0x0130_3030) << 24)
    return pos + 7


@kernel
def encode_execution_report(
    out: NDArray[Any],
    pos: int,
    sessions: NDArray[Any],
    session: int,
    texts: NDArray[Any],
    text_lens: NDArray[Any],
    times: NDArray[Any],
    values: NDArray[Any],
    k: int,
) -> int:
    """Write row `k` of `values` as an ExecutionReport at `pos`; return where it ends.

    out: uint8 with room for MAX_REPORT_BYTES from `pos`; sessions: SESSION_TEXT rows, of which row
    `session` is used; texts, text_lens: from `text_table`; times: from `time_cache`.
    """
    row = values[k]
    base = address_of(out)
    times_at = address_of(times)
    pos, length_at = _put_header(base + pos, _SOH_35_8, sessions[session], row, times_at)
    start = length_at - sessions[session]["begin_len"]
    pos = _put_order_ids(pos, row)
    store_word(pos, _SOH_17)
    pos = put_identifier(pos + 4, _E, row["exec_id"])
    store_word(pos, _SOH_150 | np.int64(row["exec_type"]) << 40)
    store_word(pos + 6, _SOH_39 | np.int64(row["ord_status"]) << 32)
    pos = _put_account(pos + 11, row)
    if row["symbol0"] != _NUL_WORD:
        store_word(pos, _SOH_55)
        pos = put_words(
            pos + 4, row["symbol0"], row["symbol1"], row["symbol2"], _NUL_WORD, _NUL_WORD
        )
    price_scale = row["price_scale"]
    qty_scale = row["qty_scale"]
    store_word(pos, _SOH_54 | (np.int64(row["side"]) + _ZERO) << 32)
    store_word(pos + 5, _SOH_38)
    pos = put_decimal(pos + 9, row["order_qty"], qty_scale)
    if row["ord_type"] != 0:
        store_word(pos, _SOH_40 | (np.int64(row["ord_type"]) + _ZERO) << 32)
        pos += 5
    if row["has_price"] != 0:
        store_word(pos, _SOH_44)
        pos = put_decimal(pos + 4, row["price"], price_scale)
    store_word(pos, _SOH_59 | (np.int64(row["tif"]) + _ZERO) << 32)
    pos += 5
    if row["has_last"] != 0:
        store_word(pos, _SOH_32)
        pos = put_decimal(pos + 4, row["last_qty"], qty_scale)
        store_word(pos, _SOH_31)
        pos = put_decimal(pos + 4, row["last_px"], price_scale)
    store_word(pos, _SOH_151)
    pos = put_decimal(pos + 5, row["leaves_qty"], qty_scale)
    store_word(pos, _SOH_14)
    pos = put_decimal(pos + 4, row["cum_qty"], qty_scale)
    store_word(pos, _SOH_6)
    pos = put_decimal(pos + 3, row["avg_px"], row["avg_px_scale"])
    store_word(pos, _SOH_60)
    pos = put_time(pos + 4, row["transact_time_ns"] // 1_000_000, times_at + 2 * _CACHE_BYTES)
    if row["liquidity"] != 0:
        store_word(pos, _851 | (np.int64(row["liquidity"]) + _ZERO) << 32 | _SOH << 40)
        pos += 6
    if row["trade_id"] != 0:
        store_word(pos, _527)
        pos = put_identifier(pos + 4, _T, row["trade_id"])
        store_byte(pos, _SOH)
        pos += 1
    if row["ord_rej_reason"] >= 0:
        store_word(pos, _103)
        pos = put_short(pos + 4, row["ord_rej_reason"])
        store_byte(pos, _SOH)
        pos += 1
    if row["text"] >= 0:
        text = row["text"]
        pos = _put_text(pos, address_of(texts) + text * TEXT_ROW_BYTES, text_lens[text])
    return _put_trailer(start, length_at, pos) - base


@kernel
def encode_cancel_reject(
    out: NDArray[Any],
    pos: int,
    sessions: NDArray[Any],
    session: int,
    texts: NDArray[Any],
    text_lens: NDArray[Any],
    times: NDArray[Any],
    values: NDArray[Any],
    k: int,
) -> int:
    """Write row `k` of `values` as an OrderCancelReject at `pos`; return where it ends.

    Arguments as for `encode_execution_report`; of the row, the header's fields are used, order_id,
    the identifiers and account, ord_status, cxl_rej_response_to and cxl_rej_reason, text and
    transact_time_ns.
    """
    row = values[k]
    base = address_of(out)
    times_at = address_of(times)
    pos, length_at = _put_header(base + pos, _SOH_35_9, sessions[session], row, times_at)
    start = length_at - sessions[session]["begin_len"]
    pos = _put_order_ids(pos, row)
    store_word(pos, _SOH_39 | np.int64(row["ord_status"]) << 32)
    store_word(pos + 5, _SOH_434 | (np.int64(row["cxl_rej_response_to"]) + _ZERO) << 40)
    pos += 11
    if row["cxl_rej_reason"] >= 0:
        store_word(pos, _SOH_102)
        pos = put_short(pos + 5, row["cxl_rej_reason"])
    pos = _put_account(pos, row)
    store_word(pos, _SOH_60)
    pos = put_time(pos + 4, row["transact_time_ns"] // 1_000_000, times_at + 2 * _CACHE_BYTES)
    if row["text"] >= 0:
        text = row["text"]
        pos = _put_text(pos, address_of(texts) + text * TEXT_ROW_BYTES, text_lens[text])
    return _put_trailer(start, length_at, pos) - base

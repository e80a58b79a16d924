"""The client side's kernels: ORDER_REQUEST rows to D, F and G; 8 and 9 to CLIENT_REPORT rows.

For programs that send and check very many orders; the asyncio client uses the Message class. A
client is told no data dictionary here: fields may come in any order, and those that have no place
in the row are passed over. Decimals are mantissa × 10^-scale.

Fields sent, in this order ([] where the row has them):

  D  8 9 35 49 56 34 52 11 [1] 55 54 60 38 40 [44] 59 10
  F  8 9 35 49 56 34 52 41 11 [1] 55 54 60 38 10
  G  8 9 35 49 56 34 52 41 11 [1] 55 54 60 38 40 [44] 59 10
"""

from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openoutcry.config.jit import lean_kernel, lean_part
from openoutcry.protocol.binary.words import address_of, load_byte, load_word, store_word
from openoutcry.protocol.fix.digits import chars, put_decimal, put_number, put_time, put_words
from openoutcry.protocol.fix.layouts import GARBLED, OTHER, PARTIAL
from openoutcry.protocol.fix.swar import (
    BLOCK_BYTES,
    clear_lowest,
    read_tag,
    soh_mask,
    trailing_zeros,
)

#: A well-formed ExecutionReport or OrderCancelReject: the row is filled.
REPORT = 1

#: Room that a request needs from its position on.
MAX_REQUEST_BYTES = 512

_ID = [(f"id{i}", "<u8") for i in range(5)]
_ORIG = [(f"orig{i}", "<u8") for i in range(5)]
_SYMBOL = [(f"symbol{i}", "<u8") for i in range(3)]
_ACCOUNT = [(f"account{i}", "<u8") for i in range(4)]

#: A request. Texts are NUL-padded words.
ORDER_REQUEST = np.dtype(
    [
        ("seq", "<i8"),  # MsgSeqNum(34)
        ("price", "<i8"),  # Price(44), of limit orders; mantissa
        ("qty", "<i8"),  # OrderQty(38); mantissa
        *_ID,  # ClOrdID(11)
        *_ORIG,  # OrigClOrdID(41), of F and G
        *_SYMBOL,  # Symbol(55)
        *_ACCOUNT,  # Account(1); empty leaves the field out
        ("price_scale", "u1"),
        ("qty_scale", "u1"),
        ("msg_type", "u1"),  # MsgType(35), the character's code: D, F or G
        ("side", "u1"),  # Side(54), 1 or 2
        ("ord_type", "u1"),  # OrdType(40), 1 or 2
        ("tif", "u1"),  # TimeInForce(59), 0 to 9
    ],
    align=True,
)

#: What an ExecutionReport or OrderCancelReject says. `present` tells which fields came (Field).
CLIENT_REPORT = np.dtype(
    [
        ("frame_end", "<i8"),  # position after the frame
        ("seq", "<i8"),  # MsgSeqNum(34)
        ("ref_seq", "<i8"),  # RefSeqNum(45)
        ("order_id", "<i8"),  # OrderID(37) of the form O{shard}-{seq}: shard << 48 | seq; else -1
        ("exec_id", "<i8"),  # ExecID(17), likewise
        ("trade_id", "<i8"),  # SecondaryExecID(527), likewise
        ("price", "<i8"),  # Price(44)
        ("qty", "<i8"),  # OrderQty(38)
        ("last_px", "<i8"),  # LastPx(31)
        ("last_qty", "<i8"),  # LastQty(32)
        ("cum_qty", "<i8"),  # CumQty(14)
        ("leaves_qty", "<i8"),  # LeavesQty(151)
        ("avg_px", "<i8"),  # AvgPx(6)
        *_ID,  # ClOrdID(11)
        *_ORIG,  # OrigClOrdID(41)
        *_SYMBOL,
        *_ACCOUNT,
        ("text_start", "<i8"),  # Text(58): place in the buffer
        ("text_length", "<i8"),
        ("present", "<i8"),  # Field
        ("reason", "<i4"),  # OrdRejReason(103) or CxlRejReason(102)
        ("price_scale", "u1"),
        ("qty_scale", "u1"),
        ("last_px_scale", "u1"),
        ("last_qty_scale", "u1"),
        ("cum_qty_scale", "u1"),
        ("leaves_qty_scale", "u1"),
        ("avg_px_scale", "u1"),
        ("msg_type", "u1"),  # MsgType(35): the first character's code
        ("exec_type", "u1"),  # ExecType(150), the character's code
        ("ord_status", "u1"),  # OrdStatus(39), the character's code
        ("side", "u1"),  # Side(54), OrdType(40), TimeInForce(59): characters less 48
        ("ord_type", "u1"),
        ("tif", "u1"),
        ("liquidity", "u1"),  # LastLiquidityInd(851)
        ("response_to", "u1"),  # CxlRejResponseTo(434)
        ("is_poss_dup", "u1"),  # PossDupFlag(43)=Y
    ],
    align=True,
)


class Field(IntEnum):
    """Bits of `present`: which fields a report had."""

    ORDER_ID = 1 << 0
    EXEC_ID = 1 << 1
    CL_ORD_ID = 1 << 2
    ORIG_CL_ORD_ID = 1 << 3
    EXEC_TYPE = 1 << 4
    ORD_STATUS = 1 << 5
    SYMBOL = 1 << 6
    SIDE = 1 << 7
    ORDER_QTY = 1 << 8
    PRICE = 1 << 9
    LAST_PX = 1 << 10
    LAST_QTY = 1 << 11
    LEAVES_QTY = 1 << 12
    CUM_QTY = 1 << 13
    AVG_PX = 1 << 14
    REASON = 1 << 15
    RESPONSE_TO = 1 << 16
    ACCOUNT = 1 << 17
    TRANSACT_TIME = 1 << 18
    SENDING_TIME = 1 << 19
    ORD_TYPE = 1 << 20
    TIME_IN_FORCE = 1 << 21
    MSG_SEQ_NUM = 1 << 22


_NEW_ORDER = ord("D")
_CANCEL = ord("F")
_EXECUTION_REPORT = ord("8")
_CANCEL_REJECT = ord("9")
_LIMIT = 2
_ASCII_ZERO = 48
_YES = ord("Y")
_SHARD_SHIFT = 48
_EVEN = np.uint64(0x00FF_00FF_00FF_00FF)
_U8 = np.uint64(8)
_U16 = np.uint64(16)
_U32 = np.uint64(32)
_NUL = np.uint64(0)

# The constant pieces, as words of up to eight characters.
_BEGIN = chars("8=FIX.4.")
_BEGIN_LENGTH = chars("4\x019=")
_MSG_TYPE = chars("35=")
_SENDING_TIME = chars("\x0152=")
_CL_ORD_ID = chars("11=")
_NEXT_CL_ORD_ID = chars("\x0111=")
_ORIG_CL_ORD_ID = chars("41=")
_ACCOUNT_TAG = chars("\x011=")
_SYMBOL_TAG = chars("\x0155=")
_SIDE = chars("\x0154=")
_TRANSACT_TIME = chars("\x0160=")
_ORDER_QTY = chars("38=")
_ORD_TYPE = chars("\x0140=")
_PRICE = chars("\x0144=")
_TIF = chars("\x0159=")
_SOH = 1
_CHECKSUM = chars("10=000\x01")
_BODY_START = 16  # 8=FIX.4.4|9=ddd|
_CHECKSUM_BYTES = 7


def client_header(sender: str, target: str) -> NDArray[np.uint8]:
    """Return a session's constant part of each request, for `encode_request`: 49=…|56=…|34=."""
    text = f"49={sender}\x0156={target}\x0134=".encode("ascii")
    header = np.zeros(96, np.uint8)
    if len(text) > 80:
        raise ValueError(f"the CompIDs are too long: {sender}, {target}")
    header[8 : 8 + len(text)] = np.frombuffer(text, np.uint8)
    header[0] = len(text)
    return header


@lean_part
def _sum_bytes(start: int, stop: int) -> int:
    """Return the sum of bytes modulo 256, eight at a time in lanes of 16 bits (up to 1 KB)."""
    lanes = _NUL
    while stop - start >= 8:
        word = load_word(start)
        lanes += (word & _EVEN) + ((word >> _U8) & _EVEN)
        start += 8
    if start < stop:
        word = load_word(start) & ((np.uint64(1) << np.uint64(8 * (stop - start))) - np.uint64(1))
        lanes += (word & _EVEN) + ((word >> _U8) & _EVEN)
    lanes += lanes >> _U32
    lanes += lanes >> _U16
    total: Any = np.int64(lanes & np.uint64(0xFF))
    return total


@lean_kernel
def encode_request(
    out: NDArray[Any],
    pos: int,
    headers: NDArray[Any],
    session: int,
    times: NDArray[Any],
    utc_ms: int,
    requests: NDArray[Any],
    k: int,
) -> int:
    """Write row `k` of `requests` (ORDER_REQUEST) at `pos` of `out`; return where it ends.

    out: uint8 with room for MAX_REQUEST_BYTES from `pos`; headers: rows from `client_header`, of
    which row `session` is used; times: int64, twelve zeros at first, remembered between calls;
    utc_ms: SendingTime(52) and TransactTime(60). Return -1 where a body has fewer than 100 bytes or
    more than 999.
    """
    row = requests[k]
    base = address_of(out)
    header = address_of(headers) + session * headers.shape[1]
    cache = address_of(times)
    start = base + pos
    kind: Any = np.int64(row["msg_type"])
    price_scale: Any = np.int64(row["price_scale"])
    qty_scale: Any = np.int64(row["qty_scale"])
    at = start + _BODY_START
    store_word(at, _MSG_TYPE | kind << 24 | _SOH << 32)
    at += 5
    length = load_byte(header)
    for offset in range(0, length, 8):
        store_word(at + offset, load_word(header + 8 + offset))
    at = put_number(at + length, row["seq"])
    store_word(at, _SENDING_TIME)
    sending_time = at + 4
    at = put_time(sending_time, utc_ms, cache)
    if kind != _NEW_ORDER:
        store_word(at, _ORIG_CL_ORD_ID)
        at = put_words(at + 3, row["orig0"], row["orig1"], row["orig2"], row["orig3"], row["orig4"])
        store_word(at, _NEXT_CL_ORD_ID)
        at += 4
    else:
        store_word(at, _CL_ORD_ID)
        at += 3
    at = put_words(at, row["id0"], row["id1"], row["id2"], row["id3"], row["id4"])
    if row["account0"] != _NUL:
        store_word(at, _ACCOUNT_TAG)
        at = put_words(
            at + 3, row["account0"], row["account1"], row["account2"], row["account3"], _NUL
        )
    store_word(at, _SYMBOL_TAG)
    at = put_words(at + 4, row["symbol0"], row["symbol1"], row["symbol2"], _NUL, _NUL)
    store_word(at, _SIDE | (np.int64(row["side"]) + _ASCII_ZERO) << 32)
    store_word(at + 5, _TRANSACT_TIME)
    at += 9
    store_word(at, load_word(sending_time))
    store_word(at + 8, load_word(sending_time + 8))
    store_word(at + 16, load_word(sending_time + 16))
    at += 22
    store_word(at, _ORDER_QTY)
    at = put_decimal(at + 3, row["qty"], qty_scale)
    if kind != _CANCEL:
        store_word(at, _ORD_TYPE | (np.int64(row["ord_type"]) + _ASCII_ZERO) << 32)
        at += 5
        if row["ord_type"] == _LIMIT:
            store_word(at, _PRICE)
            at = put_decimal(at + 4, row["price"], price_scale)
        store_word(at, _TIF | (np.int64(row["tif"]) + _ASCII_ZERO) << 32)
        at += 5
    store_word(at, _SOH)
    at += 1
    body = at - start - _BODY_START
    if body < 100 or body > 999:
        return -1
    store_word(start, _BEGIN)
    # The last byte of the second word is the SOH in front of the body.
    hundreds = body // 100
    tens = (body - hundreds * 100) // 10
    ones = body - hundreds * 100 - tens * 10
    store_word(
        start + 8,
        _BEGIN_LENGTH
        | (hundreds + _ASCII_ZERO) << 32
        | (tens + _ASCII_ZERO) << 40
        | (ones + _ASCII_ZERO) << 48
        | _SOH << 56,
    )
    total = _sum_bytes(start, at)
    hundreds = total // 100
    tens = (total - hundreds * 100) // 10
    ones = total - hundreds * 100 - tens * 10
    store_word(at, _CHECKSUM | hundreds << 24 | tens << 32 | ones << 40)
    return at + _CHECKSUM_BYTES - base


# --- reports --------------------------------------------------------------------------------------

_ZEROS = np.uint64(0x3030_3030_3030_3030)
_POINTS = np.uint64(0x1E1E_1E1E_1E1E_1E1E)  # "." less "0", by exclusive or
_ONES = np.uint64(0x0101_0101_0101_0101)
_HIGHS = np.uint64(0x8080_8080_8080_8080)
_CARRY_10 = np.uint64(0x7676_7676_7676_7676)
_LOW_PAIR = np.uint64(0x0000_00FF_0000_00FF)
_MUL_1 = np.uint64(0x000F_4240_0000_0064)
_MUL_2 = np.uint64(0x0000_2710_0000_0001)
_U10 = np.uint64(10)
_U56 = np.uint64(56)
_U64 = np.uint64(64)
_INDEX = np.uint64(0x38)
_E8 = 100_000_000
_BAD = -1
_LONGEST_DECIMAL = 17
_POWERS = np.array([10**n for n in range(19)], np.int64)
_SCALE_MAX = 18


@lean_part
def _read_eight(start: int, length: int) -> tuple[int, int]:
    """Read 1 to 8 digits with at most one point: (number, digits behind the point).

    The second is -1 without a point, -2 where it is no number.
    """
    shift = _U64 - np.uint64(8 * length)
    digits = (load_word(start) ^ _ZEROS) << shift
    other = digits ^ _POINTS
    found = (other - _ONES) & ~other & _HIGHS
    behind: Any = -1
    if found != _NUL:
        # Close the gap: what stands before the point moves up by a byte.
        bits = np.uint64(trailing_zeros(found)) & _INDEX
        before = digits & ((np.uint64(1) << bits) - np.uint64(1))
        after = (digits >> bits) >> _U8 << _U8 << bits if bits < _U56 else _NUL
        digits = (before << _U8) | after
        behind = 7 - (np.int64(bits) >> 3)
        if length == 1:
            return 0, -2
    if ((digits + _CARRY_10) | digits) & _HIGHS != _NUL:
        return 0, -2
    pairs = digits * _U10 + (digits >> _U8)
    high = (pairs & _LOW_PAIR) * _MUL_1
    low = ((pairs >> _U16) & _LOW_PAIR) * _MUL_2
    number: Any = np.int64((high + low) >> _U32)
    return number, behind


@lean_kernel
def _read_long_decimal(start: int, length: int) -> tuple[int, int]:
    """Read any decimal that read_decimal takes, byte by byte."""
    sign = 1
    stop = start + length
    if load_byte(start) == ord("-"):
        sign = -1
        start += 1
    mantissa = 0
    scale = _BAD
    digits = 0
    is_number = False
    while start < stop:
        byte = load_byte(start)
        if byte == ord("."):
            if scale != _BAD:
                return 0, _BAD
            scale = 0
        elif _ASCII_ZERO <= byte <= _ASCII_ZERO + 9:
            mantissa = mantissa * 10 + byte - _ASCII_ZERO
            is_number = True
            if mantissa > 0:
                digits += 1
            if scale != _BAD:
                scale += 1
        else:
            return 0, _BAD
        start += 1
    if digits > _SCALE_MAX or scale > _SCALE_MAX or not is_number:
        return 0, _BAD
    return sign * mantissa, max(scale, 0)


@lean_part
def read_decimal(start: int, length: int) -> tuple[int, int]:
    """Read `length` characters as a decimal of up to 18 digits: (mantissa, scale), or scale -1."""
    if length > 8:
        if length <= 16:
            head, head_behind = _read_eight(start, length - 8)
            tail, tail_behind = _read_eight(start + length - 8, 8)
            if head_behind == -1 and tail_behind >= 0:
                return head * 10_000_000 + tail, tail_behind
            if head_behind >= 0 and tail_behind == -1:
                return head * _E8 + tail, head_behind + 8
            if head_behind == -1 and tail_behind == -1:
                return head * _E8 + tail, 0
        return _read_long_decimal(start, length)
    number, behind = _read_eight(start, length)
    if behind == -2:
        return _read_long_decimal(start, length)
    return number, max(behind, 0)


@lean_part
def _word_at(start: int, length: int, index: int) -> Any:
    """Return the characters 8 index … of a text as a word, NUL-padded."""
    left = length - 8 * index
    if left <= 0:
        return _NUL
    word = load_word(start + 8 * index)
    if left < 8:
        word &= (np.uint64(1) << np.uint64(8 * left)) - np.uint64(1)
    return word


@lean_part
def _read_identifier(start: int, length: int) -> int:
    """Read {letter}{shard}-{seq} as shard << 48 | seq; -1 for any other text."""
    dash = start + 2
    stop = start + length
    shard = load_byte(start + 1) - _ASCII_ZERO
    if shard < 0 or shard > 9:
        return _BAD
    while dash < stop and load_byte(dash) != ord("-"):
        digit = load_byte(dash) - _ASCII_ZERO
        if digit < 0 or digit > 9:
            return _BAD
        shard = shard * 10 + digit
        dash += 1
    left = stop - dash - 1
    if left < 1 or left > 15 or shard > 65535 // 2:
        return _BAD
    seq, scale = read_decimal(dash + 1, left)
    if scale != 0 or seq < 0 or seq >> _SHARD_SHIFT:
        return _BAD
    return shard << _SHARD_SHIFT | seq


@lean_part
def _clear(row: Any) -> None:
    row["ref_seq"] = 0
    row["order_id"] = 0
    row["exec_id"] = 0
    row["trade_id"] = 0
    row["price"] = 0
    row["qty"] = 0
    row["last_px"] = 0
    row["last_qty"] = 0
    row["cum_qty"] = 0
    row["leaves_qty"] = 0
    row["avg_px"] = 0
    row["id0"] = _NUL
    row["id1"] = _NUL
    row["id2"] = _NUL
    row["id3"] = _NUL
    row["id4"] = _NUL
    row["orig0"] = _NUL
    row["orig1"] = _NUL
    row["orig2"] = _NUL
    row["orig3"] = _NUL
    row["orig4"] = _NUL
    row["symbol0"] = _NUL
    row["symbol1"] = _NUL
    row["symbol2"] = _NUL
    row["account0"] = _NUL
    row["account1"] = _NUL
    row["account2"] = _NUL
    row["account3"] = _NUL
    row["text_start"] = 0
    row["text_length"] = 0
    row["reason"] = 0
    row["price_scale"] = 0
    row["qty_scale"] = 0
    row["last_px_scale"] = 0
    row["last_qty_scale"] = 0
    row["cum_qty_scale"] = 0
    row["leaves_qty_scale"] = 0
    row["avg_px_scale"] = 0
    row["exec_type"] = 0
    row["ord_status"] = 0
    row["side"] = 0
    row["ord_type"] = 0
    row["tif"] = 0
    row["liquidity"] = 0
    row["response_to"] = 0
    row["is_poss_dup"] = 0
    row["present"] = 0
    row["seq"] = 0


@lean_part
def _frame(start: int, stop: int, max_bytes: int) -> tuple[int, int, int]:
    """Return (status, body, trailer): OTHER for a whole frame, whose sum is not checked yet."""
    if stop - start < _BODY_START + _CHECKSUM_BYTES:
        return PARTIAL, 0, 0
    if load_byte(start) != ord("8") or load_byte(start + 1) != ord("="):
        return GARBLED, 0, 0
    mask = soh_mask(start)
    if mask == _NUL:
        return GARBLED, 0, 0
    length_field = start + trailing_zeros(mask) + 1
    mask = clear_lowest(mask)
    if mask == _NUL:
        return GARBLED, 0, 0
    body = start + trailing_zeros(mask) + 1
    if load_byte(length_field) != ord("9") or load_byte(length_field + 1) != ord("="):
        return GARBLED, 0, 0
    digits = body - length_field - 3
    if digits < 1 or digits > 6:
        return GARBLED, 0, 0
    length, scale = read_decimal(length_field + 2, digits)
    if scale != 0 or length < 5 or length > max_bytes:
        return GARBLED, 0, 0
    trailer = body + length
    if trailer + _CHECKSUM_BYTES > stop:
        return PARTIAL, body, trailer
    return OTHER, body, trailer


@lean_part
def _is_sum_right(start: int, trailer: int) -> bool:
    """Tell whether SOH and `10=ddd|` stand at the trailer, with the sum of all before."""
    total = _sum_bytes(start, trailer)
    hundreds = total // 100
    tens = (total - hundreds * 100) // 10
    ones = total - hundreds * 100 - tens * 10
    wanted = _CHECKSUM | hundreds << 24 | tens << 32 | ones << 40
    found = np.int64(load_word(trailer) << _U8 >> _U8)
    return found == wanted and load_byte(trailer - 1) == _SOH


@lean_kernel
def decode_report(
    buf: NDArray[Any], start: int, end: int, max_bytes: int, values: NDArray[Any], k: int
) -> int:
    """Decode the frame at `start` into row `k` of `values` (CLIENT_REPORT).

    `buf` is uint8 and may be read SPARE_BYTES (protocol.fix.layouts) behind `end`.

    Returns REPORT; OTHER, a whole frame of another type (of the row, frame_end, seq, msg_type,
    ref_seq and is_poss_dup count); PARTIAL (frame_end is where it will end, 0 while not known); or
    GARBLED: framing, length, sum or a field is wrong.
    """
    row = values[k]
    base = address_of(buf)
    first = base + start
    row["frame_end"] = 0
    status, pos, trailer = _frame(first, base + end, max_bytes)
    if status != OTHER:
        if status == PARTIAL and trailer != 0:
            row["frame_end"] = trailer + _CHECKSUM_BYTES - base
        return status
    row["frame_end"] = trailer + _CHECKSUM_BYTES - base
    if not _is_sum_right(first, trailer):
        return GARBLED
    # 35=x|
    if load_word(pos) & np.uint64(0xFFFFFF) != np.uint64(_MSG_TYPE):
        return GARBLED
    msg_type = load_byte(pos + 3)
    row["msg_type"] = msg_type
    is_report = load_byte(pos + 4) == _SOH and (msg_type in (_EXECUTION_REPORT, _CANCEL_REJECT))
    _clear(row)
    present = np.int64(0)
    block = pos
    mask = soh_mask(block)
    while pos < trailer:
        while mask == _NUL:
            block += BLOCK_BYTES
            mask = soh_mask(block)
        field_end = block + trailing_zeros(mask)
        mask = clear_lowest(mask)
        tag, digits = read_tag(pos)
        value = pos + digits + 1
        length = field_end - value
        if tag == 0 or length < 1:
            return GARBLED
        pos = field_end + 1
        # In the order of how often a report has them.
        if tag == 11:
            row["id0"] = _word_at(value, length, 0)
            row["id1"] = _word_at(value, length, 1)
            row["id2"] = _word_at(value, length, 2)
            row["id3"] = _word_at(value, length, 3)
            row["id4"] = _word_at(value, length, 4)
            present |= Field.CL_ORD_ID
        elif tag == 41:
            row["orig0"] = _word_at(value, length, 0)
            row["orig1"] = _word_at(value, length, 1)
            row["orig2"] = _word_at(value, length, 2)
            row["orig3"] = _word_at(value, length, 3)
            row["orig4"] = _word_at(value, length, 4)
            present |= Field.ORIG_CL_ORD_ID
        elif tag == 55:
            row["symbol0"] = _word_at(value, length, 0)
            row["symbol1"] = _word_at(value, length, 1)
            row["symbol2"] = _word_at(value, length, 2)
            present |= Field.SYMBOL
        elif tag == 1:
            row["account0"] = _word_at(value, length, 0)
            row["account1"] = _word_at(value, length, 1)
            row["account2"] = _word_at(value, length, 2)
            row["account3"] = _word_at(value, length, 3)
            present |= Field.ACCOUNT
        elif tag in (34, 45):
            number, scale = read_decimal(value, length)
            if scale != 0 or number < 0:
                return GARBLED
            if tag == 34:
                row["seq"] = number
                present |= Field.MSG_SEQ_NUM
            else:
                row["ref_seq"] = number
        elif tag == 37:
            row["order_id"] = _read_identifier(value, length)
            present |= Field.ORDER_ID
        elif tag == 17:
            row["exec_id"] = _read_identifier(value, length)
            present |= Field.EXEC_ID
        elif tag == 527:
            row["trade_id"] = _read_identifier(value, length)
        elif tag == 44:
            row["price"], scale = read_decimal(value, length)
            row["price_scale"] = scale
            present |= Field.PRICE
            if scale < 0:
                return GARBLED
        elif tag == 38:
            row["qty"], scale = read_decimal(value, length)
            row["qty_scale"] = scale
            present |= Field.ORDER_QTY
            if scale < 0:
                return GARBLED
        elif tag == 31:
            row["last_px"], scale = read_decimal(value, length)
            row["last_px_scale"] = scale
            present |= Field.LAST_PX
            if scale < 0:
                return GARBLED
        elif tag == 32:
            row["last_qty"], scale = read_decimal(value, length)
            row["last_qty_scale"] = scale
            present |= Field.LAST_QTY
            if scale < 0:
                return GARBLED
        elif tag == 14:
            row["cum_qty"], scale = read_decimal(value, length)
            row["cum_qty_scale"] = scale
            present |= Field.CUM_QTY
            if scale < 0:
                return GARBLED
        elif tag == 151:
            row["leaves_qty"], scale = read_decimal(value, length)
            row["leaves_qty_scale"] = scale
            present |= Field.LEAVES_QTY
            if scale < 0:
                return GARBLED
        elif tag == 6:
            row["avg_px"], scale = read_decimal(value, length)
            row["avg_px_scale"] = scale
            present |= Field.AVG_PX
            if scale < 0:
                return GARBLED
        elif tag in (102, 103):
            number, scale = read_decimal(value, length)
            if scale != 0 or length > 4:
                return GARBLED
            row["reason"] = number
            present |= Field.REASON
        elif tag == 150:
            row["exec_type"] = load_byte(value)
            present |= Field.EXEC_TYPE
        elif tag == 39:
            row["ord_status"] = load_byte(value)
            present |= Field.ORD_STATUS
        elif tag == 54:
            row["side"] = load_byte(value) - _ASCII_ZERO
            present |= Field.SIDE
        elif tag == 40:
            row["ord_type"] = load_byte(value) - _ASCII_ZERO
            present |= Field.ORD_TYPE
        elif tag == 59:
            row["tif"] = load_byte(value) - _ASCII_ZERO
            present |= Field.TIME_IN_FORCE
        elif tag == 851:
            row["liquidity"] = load_byte(value) - _ASCII_ZERO
        elif tag == 434:
            row["response_to"] = load_byte(value) - _ASCII_ZERO
            present |= Field.RESPONSE_TO
        elif tag == 52:
            present |= Field.SENDING_TIME
        elif tag == 60:
            present |= Field.TRANSACT_TIME
        elif tag == 43:
            row["is_poss_dup"] = 1 if load_byte(value) == _YES else 0
        elif tag == 58:
            row["text_start"] = value - base
            row["text_length"] = length
    row["present"] = present
    if pos != trailer:
        return GARBLED
    return REPORT if is_report else OTHER

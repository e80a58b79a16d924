"""The venue's encode kernels: REPORT_VALUES rows to ExecutionReport (8) and OrderCancelReject (9).

A buffer needs MAX_REPORT_BYTES of room from `pos` on, whatever the message's own length is; see
`encode_frame`.

Fields, in this order; [] where the row has them, {} only in the versions of FIX that are named:

  8  8 9 35 49 56 34 52 [43 122] [369] [route] 37 [11] {4.1 up: [41]} 17 {up to 4.2: 20}
     {4.1 up: 150} 39 [1] [55] 54 38 [40] [44] 59 [32 31] {4.1 up: 151} 14 6 60 {4.4 up: [851]}
     {4.3 up: [527]} [103] {4.2 up: [378]} [58] {4.4 up: [797]} [parties] 10
  9  8 9 35 49 56 34 52 [43 122] [369] [route] 37 [11] {4.1 up: [41] 39} {4.2 up: 434} [102]
     {4.2 up: [1] 60} [58] {up to 4.2, 5.0SP2: [parties]} 10

Up to 4.1 times are whole seconds, quantities have no zeros behind the point (those versions know
whole numbers only), and 32 and 31 are there in every 8, as zeros where nothing was traded. Up to
4.2 an 8 without a symbol has 55=[N/A]. In 4.0 ExecID(17) is a number, as there it must be.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from openoutcry.config.jit import inline_kernel, kernel
from openoutcry.protocol.binary.words import address_of, store_byte, store_word
from openoutcry.protocol.fix.digits import (
    chars,
    put_decimal,
    put_identifier,
    put_number,
    put_short,
    put_words,
)
from openoutcry.protocol.fix.encode_frame import (
    CACHE_BYTES,
    SOH,
    TEXT_ROW_BYTES,
    put_header,
    put_raw,
    put_stamp,
    put_text,
    put_trailer,
)
from openoutcry.protocol.fix.versions import Version

#: Most bytes of an order's route fields and of its party fields.
ROUTE_MAX = 256
PARTIES_MAX = 512
#: Room that a message needs from its position on: the longest one, and what words store behind it.
MAX_REPORT_BYTES = 1536 + ROUTE_MAX + PARTIES_MAX
#: No Text(58), no OrdRejReason(103), no CxlRejReason(102), no ExecRestatementReason(378).
NONE = -1

_FIX40 = int(Version.FIX40)
_FIX42 = int(Version.FIX42)
_FIX43 = int(Version.FIX43)
_FIX44 = int(Version.FIX44)
_FIX50SP2 = int(Version.FIX50SP2)

# Tags as words: what stands before a value, with the SOH that ends the field before.
_SOH_35_8 = chars("\x0135=8\x01")
_SOH_35_9 = chars("\x0135=9\x01")
_37 = chars("37=")
_NONE_ID = chars("NONE")
_SOH_11 = chars("\x0111=")
_SOH_41 = chars("\x0141=")
_SOH_17 = chars("\x0117=")
_SOH_20 = chars("\x0120=")
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
_378 = chars("378=")
_797_Y = chars("797=Y\x01")
_NO_LAST_A = chars("\x0132=0\x0131")
_NO_LAST_B = chars("=0")
_NO_SYMBOL = chars("[N/A]")
_ZERO = ord("0")
_O, _E, _T = ord("O"), ord("E"), ord("T")
_NUL_WORD = np.uint64(0)

#: What a message is encoded from. Decimals are mantissa × 10^-scale, scales are 0 to 18.
REPORT_VALUES = np.dtype(
    [
        ("seq_num", "<i8"),  # MsgSeqNum(34), from 1
        ("sending_time_ms", "<i8"),  # SendingTime(52): ms since 1970, up to the year 9999
        ("orig_sending_time_ms", "<i8"),  # OrigSendingTime(122), where poss_dup is set
        ("last_processed", "<i8"),  # LastMsgSeqNumProcessed(369); 0 leaves it out
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
        ("restatement", "<i8"),  # ExecRestatementReason(378): 0 to 99, or NONE
        # Addresses and lengths of whole fields, SOH behind each; up to seven bytes more are read.
        ("route", "<i8"),  # OnBehalfOf and DeliverTo fields, for the header
        ("route_len", "<i8"),  # 0 leaves them out
        ("parties", "<i8"),  # NoPartyIDs(453) with its group, or ClientID(109) and ExecBroker(76)
        ("parties_len", "<i8"),
        ("cxl_rej_response_to", "u1"),  # CxlRejResponseTo(434): 1 cancel, 2 replace; message 9 only
        ("exec_trans_type", "u1"),  # ExecTransType(20), 0 new, 3 status
        ("exec_type", "u1"),  # ExecType(150), the character's code
        ("ord_status", "u1"),  # OrdStatus(39), the character's code
        ("side", "u1"),  # Side(54), 1 or 2
        ("ord_type", "u1"),  # OrdType(40), 1 or 2; 0 leaves the field out
        ("tif", "u1"),  # TimeInForce(59), 0 to 9
        ("liquidity", "u1"),  # LastLiquidityInd(851), 1 or 2; 0 leaves the field out
        ("has_price", "u1"),
        ("has_last", "u1"),
        ("poss_dup", "u1"),  # PossDupFlag(43)=Y and OrigSendingTime(122)
        ("is_copy", "u1"),  # CopyMsgIndicator(797)=Y
    ],
    align=True,
)


@inline_kernel
def _put_order_ids(pos: int, row: Any, version: int) -> int:
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
    if row["orig0"] != _NUL_WORD and version != _FIX40:
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


@kernel
def _put_short_qty(pos: int, mantissa: int, scale: int) -> int:
    """Write mantissa × 10^-scale without zeros behind the point."""
    while scale > 0 and mantissa % 10 == 0:
        mantissa //= 10
        scale -= 1
    return put_decimal(pos, mantissa, scale)


@inline_kernel
def _put_qty(pos: int, mantissa: int, scale: int, version: int) -> int:
    if version < _FIX42:
        return _put_short_qty(pos, mantissa, scale)
    return put_decimal(pos, mantissa, scale)


@inline_kernel
def _put_symbol(pos: int, row: Any, version: int) -> int:
    if row["symbol0"] != _NUL_WORD:
        store_word(pos, _SOH_55)
        return put_words(
            pos + 4, row["symbol0"], row["symbol1"], row["symbol2"], _NUL_WORD, _NUL_WORD
        )
    if version <= _FIX42:
        store_word(pos, _SOH_55)
        store_word(pos + 4, _NO_SYMBOL)
        return pos + 9
    return pos


@inline_kernel
def _put_last(pos: int, row: Any, version: int) -> int:
    """Write 32 and 31."""
    if row["has_last"] != 0:
        store_word(pos, _SOH_32)
        pos = _put_qty(pos + 4, row["last_qty"], row["qty_scale"], version)
        store_word(pos, _SOH_31)
        return put_decimal(pos + 4, row["last_px"], row["price_scale"])
    if version < _FIX42:
        store_word(pos, _NO_LAST_A)
        store_word(pos + 8, _NO_LAST_B)
        return pos + 10
    return pos


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
    version = sessions[session]["version"]
    pos, length_at = put_header(base + pos, _SOH_35_8, sessions[session], row, times_at)
    start = length_at - sessions[session]["begin_len"]
    pos = _put_order_ids(pos, row, version)
    store_word(pos, _SOH_17)
    if version == _FIX40:
        pos = put_number(pos + 4, row["exec_id"])
    else:
        pos = put_identifier(pos + 4, _E, row["exec_id"])
    if version <= _FIX42:
        store_word(pos, _SOH_20 | (np.int64(row["exec_trans_type"]) + _ZERO) << 32)
        pos += 5
    if version != _FIX40:
        store_word(pos, _SOH_150 | np.int64(row["exec_type"]) << 40)
        pos += 6
    store_word(pos, _SOH_39 | np.int64(row["ord_status"]) << 32)
    pos = _put_account(pos + 5, row)
    pos = _put_symbol(pos, row, version)
    price_scale = row["price_scale"]
    qty_scale = row["qty_scale"]
    store_word(pos, _SOH_54 | (np.int64(row["side"]) + _ZERO) << 32)
    store_word(pos + 5, _SOH_38)
    pos = _put_qty(pos + 9, row["order_qty"], qty_scale, version)
    if row["ord_type"] != 0:
        store_word(pos, _SOH_40 | (np.int64(row["ord_type"]) + _ZERO) << 32)
        pos += 5
    if row["has_price"] != 0:
        store_word(pos, _SOH_44)
        pos = put_decimal(pos + 4, row["price"], price_scale)
    store_word(pos, _SOH_59 | (np.int64(row["tif"]) + _ZERO) << 32)
    pos = _put_last(pos + 5, row, version)
    if version != _FIX40:
        store_word(pos, _SOH_151)
        pos = _put_qty(pos + 5, row["leaves_qty"], qty_scale, version)
    store_word(pos, _SOH_14)
    pos = _put_qty(pos + 4, row["cum_qty"], qty_scale, version)
    store_word(pos, _SOH_6)
    pos = put_decimal(pos + 3, row["avg_px"], row["avg_px_scale"])
    store_word(pos, _SOH_60)
    transact_ms = row["transact_time_ns"] // 1_000_000
    pos = put_stamp(pos + 4, transact_ms, times_at + 2 * CACHE_BYTES, version)
    if row["liquidity"] != 0 and version >= _FIX44:
        store_word(pos, _851 | (np.int64(row["liquidity"]) + _ZERO) << 32 | SOH << 40)
        pos += 6
    if row["trade_id"] != 0 and version >= _FIX43:
        store_word(pos, _527)
        pos = put_identifier(pos + 4, _T, row["trade_id"])
        store_byte(pos, SOH)
        pos += 1
    if row["ord_rej_reason"] >= 0:
        store_word(pos, _103)
        pos = put_short(pos + 4, row["ord_rej_reason"])
        store_byte(pos, SOH)
        pos += 1
    if row["restatement"] >= 0 and version >= _FIX42:
        store_word(pos, _378)
        pos = put_short(pos + 4, row["restatement"])
        store_byte(pos, SOH)
        pos += 1
    if row["text"] >= 0:
        text = row["text"]
        pos = put_text(pos, address_of(texts) + text * TEXT_ROW_BYTES, text_lens[text])
    if row["is_copy"] != 0 and version >= _FIX44:
        store_word(pos, _797_Y)
        pos += 6
    if row["parties_len"] > 0:
        pos = put_raw(pos, row["parties"], row["parties_len"])
    return put_trailer(start, length_at, pos) - base


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
    the identifiers and account, ord_status, cxl_rej_response_to and cxl_rej_reason, text,
    transact_time_ns, and the parties.
    """
    row = values[k]
    base = address_of(out)
    times_at = address_of(times)
    version = sessions[session]["version"]
    pos, length_at = put_header(base + pos, _SOH_35_9, sessions[session], row, times_at)
    start = length_at - sessions[session]["begin_len"]
    pos = _put_order_ids(pos, row, version)
    if version != _FIX40:
        store_word(pos, _SOH_39 | np.int64(row["ord_status"]) << 32)
        pos += 5
    if version >= _FIX42:
        store_word(pos, _SOH_434 | (np.int64(row["cxl_rej_response_to"]) + _ZERO) << 40)
        pos += 6
    if row["cxl_rej_reason"] >= 0:
        store_word(pos, _SOH_102)
        pos = put_short(pos + 5, row["cxl_rej_reason"])
    if version >= _FIX42:
        pos = _put_account(pos, row)
        store_word(pos, _SOH_60)
        transact_ms = row["transact_time_ns"] // 1_000_000
        pos = put_stamp(pos + 4, transact_ms, times_at + 2 * CACHE_BYTES, version)
    else:
        store_byte(pos, SOH)
        pos += 1
    if row["text"] >= 0:
        text = row["text"]
        pos = put_text(pos, address_of(texts) + text * TEXT_ROW_BYTES, text_lens[text])
    if row["parties_len"] > 0 and (version <= _FIX42 or version == _FIX50SP2):
        pos = put_raw(pos, row["parties"], row["parties_len"])
    return put_trailer(start, length_at, pos) - base

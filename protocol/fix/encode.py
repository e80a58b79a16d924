"""The venue's encode kernels: REPORT_VALUES rows to ExecutionReport (8) and OrderCancelReject (9).

A message is written once, front to back, into a uint8 buffer, mostly as words of eight bytes, each
of which may store up to seven bytes of rubbish behind its text that the next field overwrites. So a
buffer needs MAX_REPORT_BYTES of room from `pos` on, whatever the message's own length is.

Three digits are kept free for BodyLength(9). Only where the body turns out to be longer than 999 or
shorter than 100 bytes (a long Text, a tiny reject) is it moved by a byte.

Fields, in this order ([] where the row has them):

  8  8 9 35 49 56 34 52 [43 122] 37 [11] [41] 17 150 39 [1] [55] 54 38 [40] [44] 59 [32 31] 151 14 6
     60 [851] [527] [103] [58] 10
  9  8 9 35 49 56 34 52 [43 122] 37 [11] [41] 39 434 [102] [1] [58] 60 10
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from openoutcry.config.jit import inline_kernel, kernel
from openoutcry.protocol.binary.words import (
    address_of,
    bit_length,
    load_byte,
    load_word,
    store_byte,
    store_word,
)

#: Room that a message needs from its position on: the longest one, and what words store behind it.
MAX_REPORT_BYTES = 1280
#: Longest Text(58), and bytes of a row of the table of texts (a multiple of eight).
TEXT_MAX = 255
TEXT_ROW_BYTES = 256
#: No Text(58), no OrdRejReason(103), no CxlRejReason(102).
NONE = -1

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
    return np.zeros(12, np.int64)


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
    return pos


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

    Arguments as for `encode_execution_report`; of the row, the header's fields are used, order_id, the
    texts but symbol, ord_status, cxl_rej_response_to, cxl_rej_reason, text and transact_time_ns.
    """
    return pos

"""The client side's kernels: ORDER_FIELDS rows to request frames, report frames to REPORT_VALUES
rows.

For programs that send and check very many orders; the asyncio client uses the Structs.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from openoutcry.config.jit import lean_kernel, lean_part
from openoutcry.protocol.binary.enums import MessageType
from openoutcry.protocol.binary.frames import HEADER_BYTES
from openoutcry.protocol.binary.layouts import NO_AVG_PX, OTHER, PARTIAL, REPORT, TOO_LONG
from openoutcry.protocol.binary.msgpack import (
    BAD,
    read_array,
    read_byte,
    read_int,
    read_length,
    read_text,
    write_byte,
    write_int,
    write_length,
    write_text,
)
from openoutcry.protocol.binary.texts import (
    clear_account,
    clear_orig_cl_ord_id,
    read_account,
    read_cl_ord_id,
    read_orig_cl_ord_id,
)
from openoutcry.protocol.binary.words import address_of, load_byte, store_byte

_NEW_ORDER = int(MessageType.NEW_ORDER)
_CANCEL = int(MessageType.CANCEL)
_REPLACE = int(MessageType.REPLACE)
_STATUS = int(MessageType.STATUS)
_EXECUTION_REPORT = int(MessageType.EXECUTION_REPORT)
_REJECT = int(MessageType.REJECT)
_REPORT_ELEMENTS = 26
_REJECT_ELEMENTS = 7
_REASON_MAX = 65535
_SYMBOL_MIN = -(2**31)
_SYMBOL_MAX = 2**31 - 1
_FALSE = 0xC2
_TRUE = 0xC3
_NIL = 0xC0
_ZERO = np.uint64(0)


@lean_kernel
def encode_request(out: NDArray[Any], pos: int, fields: NDArray[Any], k: int) -> int:
    """Write row `k` of `fields` (ORDER_FIELDS, with its tag) as a frame; return the position after
    it.

    `out` is uint8 with room for MAX_REQUEST_FRAME and SPARE_BYTES from `pos` on. The bytes are
    those that msgspec writes for the same NewOrder, Cancel, Replace or Status.
    """
    row = fields[k]
    base = address_of(out)
    start = base + pos
    tag = np.int64(row["tag"])
    if tag == _NEW_ORDER:
        count = 10
    elif tag == _CANCEL:
        count = 6
    elif tag == _REPLACE:
        count = 9
    else:
        count = 4
    store_byte(start + 4, 0x90 + count)
    store_byte(start + 5, tag)
    pos = write_int(start + 6, row["seq"])
    pos = write_text(pos, row["id0"], row["id1"], row["id2"], row["id3"], row["id4"])
    if tag in (_CANCEL, _REPLACE):
        pos = write_text(pos, row["orig0"], row["orig1"], row["orig2"], row["orig3"], row["orig4"])
    pos = write_int(pos, np.int64(row["symbol"]))
    if tag != _STATUS:
        pos = write_byte(pos, row["side"])
        if tag != _CANCEL:
            pos = write_byte(pos, row["ord_type"])
            if tag == _NEW_ORDER:
                pos = write_byte(pos, row["tif"])
            pos = write_int(pos, row["price"])
            pos = write_int(pos, row["qty"])
            if tag == _NEW_ORDER:
                pos = write_text(
                    pos,
                    row["account0"],
                    row["account1"],
                    row["account2"],
                    row["account3"],
                    _ZERO,
                )
    write_length(start, pos - start - HEADER_BYTES)
    return pos - base


@lean_part
def _read_bool(pos: int, end: int) -> tuple[int, int]:
    if pos >= end:
        return 0, BAD
    first = load_byte(pos)
    if first not in (_FALSE, _TRUE):
        return 0, BAD
    return first - _FALSE, pos + 1


@lean_part
def _read_avg_px(pos: int, end: int) -> tuple[int, int]:
    if pos < end and load_byte(pos) == _NIL:
        return NO_AVG_PX, pos + 1
    return read_int(pos, end)


@lean_part
def _decode_reject(pos: int, end: int, base: int, row: Any) -> int:
    pos = read_cl_ord_id(pos, end, 0, row)
    if pos == BAD:
        return OTHER
    reason, pos = read_int(pos, end)
    if pos == BAD or reason < 0 or reason > _REASON_MAX:
        return OTHER
    text, pos = read_text(pos, end)
    if pos != end:
        return OTHER
    row["reason"] = reason
    row["text_start"] = text - base
    row["text_length"] = end - text
    row["kind"] = 0
    row["status"] = 0
    row["symbol"] = 0
    row["side"] = 0
    row["ord_type"] = 0
    row["tif"] = 0
    row["liquidity"] = 0
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
    row["time_ns"] = 0
    clear_orig_cl_ord_id(row)
    clear_account(row)
    return REPORT


@lean_kernel
def decode_report(
    buf: NDArray[Any], start: int, end: int, max_payload: int, values: NDArray[Any], k: int
) -> int:
    """Decode the frame at `start` into row `k` of `values` (REPORT_VALUES).

    `buf` is uint8 and has SPARE_BYTES behind `end`, which is the position after the last byte
    received.

    Returns PARTIAL (frame_end is where the frame will end, 0 while its length is not known),
    REPORT (`tag` says whether an ExecutionReport or a Reject), OTHER or TOO_LONG. With REPORT and
    OTHER the next frame starts at frame_end. A later version's longer messages are OTHER too.
    """
    row = values[k]
    row["frame_end"] = 0
    if end - start < HEADER_BYTES:
        return PARTIAL
    base = address_of(buf)
    pos = base + start
    length = read_length(pos)
    if length > max_payload:
        return TOO_LONG
    row["frame_end"] = start + HEADER_BYTES + length
    if start + HEADER_BYTES + length > end:
        return PARTIAL
    pos += HEADER_BYTES
    frame_end = pos + length

    count, pos = read_array(pos, frame_end)
    if pos == BAD:
        return OTHER
    tag, pos = read_int(pos, frame_end)
    if pos == BAD:
        return OTHER
    if tag == _EXECUTION_REPORT:
        if count != _REPORT_ELEMENTS:
            return OTHER
    elif tag != _REJECT or count != _REJECT_ELEMENTS:
        return OTHER
    row["tag"] = tag
    row["seq"], pos = read_int(pos, frame_end)
    if pos == BAD:
        return OTHER
    row["repeated"], pos = _read_bool(pos, frame_end)
    if pos == BAD:
        return OTHER
    row["ref_seq"], pos = read_int(pos, frame_end)
    if pos == BAD:
        return OTHER
    if tag == _REJECT:
        return _decode_reject(pos, frame_end, base, row)
    row["text_start"] = 0
    row["text_length"] = 0
    row["kind"], pos = read_byte(pos, frame_end)
    if pos == BAD:
        return OTHER
    row["status"], pos = read_byte(pos, frame_end)
    if pos == BAD:
        return OTHER
    reason, pos = read_int(pos, frame_end)
    if pos == BAD or reason < 0 or reason > _REASON_MAX:
        return OTHER
    row["reason"] = reason
    symbol, pos = read_int(pos, frame_end)
    if pos == BAD or symbol < _SYMBOL_MIN or symbol > _SYMBOL_MAX:
        return OTHER
    row["symbol"] = symbol
    row["side"], pos = read_byte(pos, frame_end)
    if pos == BAD:
        return OTHER
    row["ord_type"], pos = read_byte(pos, frame_end)
    if pos == BAD:
        return OTHER
    row["tif"], pos = read_byte(pos, frame_end)
    if pos == BAD:
        return OTHER
    row["liquidity"], pos = read_byte(pos, frame_end)
    if pos == BAD:
        return OTHER
    row["order_id"], pos = read_int(pos, frame_end)
    if pos == BAD:
        return OTHER
    row["exec_id"], pos = read_int(pos, frame_end)
    if pos == BAD:
        return OTHER
    row["trade_id"], pos = read_int(pos, frame_end)
    if pos == BAD:
        return OTHER
    pos = read_cl_ord_id(pos, frame_end, 0, row)
    if pos == BAD:
        return OTHER
    pos = read_orig_cl_ord_id(pos, frame_end, 0, row)
    if pos == BAD:
        return OTHER
    pos = read_account(pos, frame_end, row)
    if pos == BAD:
        return OTHER
    row["price"], pos = read_int(pos, frame_end)
    if pos == BAD:
        return OTHER
    row["qty"], pos = read_int(pos, frame_end)
    if pos == BAD:
        return OTHER
    row["last_px"], pos = read_int(pos, frame_end)
    if pos == BAD:
        return OTHER
    row["last_qty"], pos = read_int(pos, frame_end)
    if pos == BAD:
        return OTHER
    row["cum_qty"], pos = read_int(pos, frame_end)
    if pos == BAD:
        return OTHER
    row["leaves_qty"], pos = read_int(pos, frame_end)
    if pos == BAD:
        return OTHER
    row["avg_px"], pos = _read_avg_px(pos, frame_end)
    if pos == BAD:
        return OTHER
    row["time_ns"], pos = read_int(pos, frame_end)
    if pos == BAD:
        return OTHER
    if pos != frame_end:
        return OTHER
    return REPORT

"""The venue's encode kernel: REPORT_VALUES rows to ExecutionReport frames."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from openoutcry.config.jit import lean_kernel
from openoutcry.protocol.binary.enums import MessageType
from openoutcry.protocol.binary.frames import HEADER_BYTES
from openoutcry.protocol.binary.layouts import NO_AVG_PX
from openoutcry.protocol.binary.msgpack import write_byte, write_int, write_length, write_text
from openoutcry.protocol.binary.words import address_of, store_byte

_EXECUTION_REPORT = int(MessageType.EXECUTION_REPORT)
_ELEMENTS = 26
_FALSE = 0xC2
_NIL = 0xC0
_ZERO = np.uint64(0)


@lean_kernel
def encode_execution_report(out: NDArray[Any], pos: int, values: NDArray[Any], k: int) -> int:
    """Write row `k` of `values` (REPORT_VALUES) as a frame at `pos`; return where it ends.

    `out` is uint8 with room for MAX_REPORT_FRAME and SPARE_BYTES from `pos` on. The bytes are those
    that msgspec writes for the same ExecutionReport.
    """
    row = values[k]
    base = address_of(out)
    start = base + pos
    # Header of 26 elements: array16.
    store_byte(start + 4, 0xDC)
    store_byte(start + 5, 0)
    store_byte(start + 6, _ELEMENTS)
    store_byte(start + 7, _EXECUTION_REPORT)
    pos = write_int(start + 8, row["seq"])
    store_byte(pos, _FALSE + row["repeated"])
    pos = write_int(pos + 1, row["ref_seq"])
    pos = write_byte(pos, row["kind"])
    pos = write_byte(pos, row["status"])
    pos = write_int(pos, np.int64(row["reason"]))
    pos = write_int(pos, np.int64(row["symbol"]))
    pos = write_byte(pos, row["side"])
    pos = write_byte(pos, row["ord_type"])
    pos = write_byte(pos, row["tif"])
    pos = write_byte(pos, row["liquidity"])
    pos = write_int(pos, row["order_id"])
    pos = write_int(pos, row["exec_id"])
    pos = write_int(pos, row["trade_id"])
    pos = write_text(pos, row["id0"], row["id1"], row["id2"], row["id3"], row["id4"])
    pos = write_text(pos, row["orig0"], row["orig1"], row["orig2"], row["orig3"], row["orig4"])
    pos = write_text(pos, row["account0"], row["account1"], row["account2"], row["account3"], _ZERO)
    pos = write_int(pos, row["price"])
    pos = write_int(pos, row["qty"])
    pos = write_int(pos, row["last_px"])
    pos = write_int(pos, row["last_qty"])
    pos = write_int(pos, row["cum_qty"])
    pos = write_int(pos, row["leaves_qty"])
    if row["avg_px"] == NO_AVG_PX:
        store_byte(pos, _NIL)
        pos += 1
    else:
        pos = write_int(pos, row["avg_px"])
    pos = write_int(pos, row["time_ns"])
    write_length(start, pos - start - HEADER_BYTES)
    return pos - base

"""The venue's decode kernel: client bytes to ORDER_FIELDS rows. (Signatures first; body follows.)"""

from typing import Any

from numpy.typing import NDArray

from openoutcry.config.jit import inline_kernel, kernel
from openoutcry.protocol.fix.layouts import PARTIAL


@kernel
def decode_message(
    buf: NDArray[Any], start: int, end: int, max_message_bytes: int, fields: NDArray[Any], k: int
) -> int:
    """Decode the frame at `start` into row `k` of `fields` (ORDER_FIELDS); return a status."""
    fields[k]["frame_end"] = 0
    return PARTIAL


@kernel
def scan_frame(
    buf: NDArray[Any], start: int, end: int, max_message_bytes: int, bounds: NDArray[Any]
) -> int:
    """Frame only: PARTIAL, OTHER or GARBLED; `bounds[0]` (int64) is as `frame_end`."""
    bounds[0] = 0
    return PARTIAL


@inline_kernel
def bytes_equal(
    buf: NDArray[Any], off: int, length: int, other: NDArray[Any], other_off: int, other_len: int
) -> bool:
    """Compare two ranges of uint8 arrays."""
    if length != other_len:
        return False
    for i in range(length):
        if buf[off + i] != other[other_off + i]:
            return False
    return True

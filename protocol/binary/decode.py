"""The venue's decode kernel: client bytes to ORDER_FIELDS rows.

It decides exactly as msgspec does with the Structs in messages.py: what it calls ORDER, msgspec
decodes to the same values; every other complete frame is OTHER, and Python has a look.
"""

from typing import Any

from numpy.typing import NDArray

from openoutcry.config.jit import lean_kernel
from openoutcry.protocol.binary.enums import MessageType
from openoutcry.protocol.binary.frames import HEADER_BYTES
from openoutcry.protocol.binary.layouts import ORDER, OTHER, PARTIAL, TOO_LONG
from openoutcry.protocol.binary.msgpack import BAD, read_array, read_byte, read_int, read_length
from openoutcry.protocol.binary.texts import (
    clear_account,
    clear_orig_cl_ord_id,
    read_account,
    read_cl_ord_id,
    read_orig_cl_ord_id,
)
from openoutcry.protocol.binary.words import address_of

_NEW_ORDER = int(MessageType.NEW_ORDER)
_CANCEL = int(MessageType.CANCEL)
_REPLACE = int(MessageType.REPLACE)
_STATUS = int(MessageType.STATUS)
_SYMBOL_MAX = 2**31 - 1


@lean_kernel
def decode_message(
    buf: NDArray[Any], start: int, end: int, max_payload: int, fields: NDArray[Any], k: int
) -> int:
    """Decode the frame at `start` into row `k` of `fields` (ORDER_FIELDS).

    `buf` is uint8 and has SPARE_BYTES behind `end`, which is the position after the last byte
    received.

    Returns PARTIAL (frame_end is where the frame will end, 0 while its length is not known),
    ORDER, OTHER or TOO_LONG. With ORDER and OTHER the next frame starts at frame_end; with OTHER
    and TOO_LONG no other field counts.
    """
    row = fields[k]
    row["frame_end"] = 0
    if end - start < HEADER_BYTES:
        return PARTIAL
    pos = address_of(buf) + start
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
    if tag == _NEW_ORDER:
        if not 9 <= count <= 10:
            return OTHER
    elif tag == _CANCEL:
        if not 5 <= count <= 6:
            return OTHER
    elif tag == _REPLACE:
        if count != 9:
            return OTHER
    elif tag == _STATUS:
        if count != 4:
            return OTHER
    else:
        return OTHER
    row["tag"] = tag

    seq, pos = read_int(pos, frame_end)
    if pos == BAD or seq < 1:
        return OTHER
    row["seq"] = seq

    pos = read_cl_ord_id(pos, frame_end, 1, row)
    if pos == BAD:
        return OTHER
    if tag in (_CANCEL, _REPLACE):
        pos = read_orig_cl_ord_id(pos, frame_end, 1, row)
        if pos == BAD:
            return OTHER
    else:
        clear_orig_cl_ord_id(row)

    symbol, pos = read_int(pos, frame_end)
    if pos == BAD or symbol < 0 or symbol > _SYMBOL_MAX:
        return OTHER
    row["symbol"] = symbol

    side = 0
    ord_type = 0
    tif = 0
    price = 0
    qty = 0
    if tag in (_NEW_ORDER, _REPLACE):
        side, pos = read_byte(pos, frame_end)
        if pos == BAD:
            return OTHER
        ord_type, pos = read_byte(pos, frame_end)
        if pos == BAD:
            return OTHER
        if tag == _NEW_ORDER:
            tif, pos = read_byte(pos, frame_end)
            if pos == BAD:
                return OTHER
        price, pos = read_int(pos, frame_end)
        if pos == BAD:
            return OTHER
        qty, pos = read_int(pos, frame_end)
        if pos == BAD:
            return OTHER
    elif tag == _CANCEL and count == 6:
        side, pos = read_byte(pos, frame_end)
        if pos == BAD:
            return OTHER
    row["side"] = side
    row["ord_type"] = ord_type
    row["tif"] = tif
    row["price"] = price
    row["qty"] = qty

    if tag == _NEW_ORDER and count == 10:
        pos = read_account(pos, frame_end, row)
        if pos == BAD:
            return OTHER
    else:
        clear_account(row)
    if pos != frame_end:
        return OTHER
    return ORDER

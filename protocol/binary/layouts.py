"""Row layouts that the kernels fill and read; all little-endian, of a multiple of 64 bytes.

A ClOrdID is held in five 64-bit words `id0 … id4`, NUL-padded (the overlay `cl_ord_id` is the same
bytes for Python); the second identifier in `orig0 … orig4`; an account in four words, `account0 …`.
"""

import numpy as np

_Fields = list[tuple[str, str, int]]


def _layout(fields: _Fields, itemsize: int) -> np.dtype[np.void]:
    """Build a dtype from (name, format, offset), checking that only `S` overlays overlap others."""
    used = bytearray(itemsize)
    for name, kind, offset in fields:
        width = np.dtype(kind).itemsize
        if offset + width > itemsize:
            raise ValueError(f"{name} at {offset} does not fit {itemsize} bytes")
        if kind.startswith("S"):
            continue
        if offset % width:
            raise ValueError(f"{name} at {offset} is not aligned")
        if any(used[offset : offset + width]):
            raise ValueError(f"{name} at {offset} overlaps another field")
        used[offset : offset + width] = b"\1" * width
    names, formats, offsets = zip(*fields, strict=True)
    return np.dtype(
        {
            "names": list(names),
            "formats": list(formats),
            "offsets": list(offsets),
            "itemsize": itemsize,
        }
    )


def _text(prefix: str, overlay: str, words: int, offset: int) -> _Fields:
    fields = [(f"{prefix}{i}", "<u8", offset + 8 * i) for i in range(words)]
    return [*fields, (overlay, f"S{8 * words}", offset)]


#: A client's application message. The venue's `decode_message` fills it, the client's
#: `encode_request` reads it (and needs no frame_end). What a message type has not is 0.
ORDER_FIELDS = _layout(
    [
        ("seq", "<i8", 0),
        ("price", "<i8", 8),
        ("qty", "<i8", 16),
        ("frame_end", "<i8", 24),  # position after the frame
        ("symbol", "<i4", 32),
        ("tag", "u1", 36),  # MessageType
        ("side", "u1", 37),
        ("ord_type", "u1", 38),
        ("tif", "u1", 39),
        *_text("id", "cl_ord_id", 5, 40),
        *_text("orig", "orig_cl_ord_id", 5, 80),
        *_text("account", "account", 4, 120),
    ],
    192,
)

#: An ExecutionReport. The venue's `encode_execution_report` reads it, the client's `decode_report`
#: fills it, there also from a Reject (tag, seq, repeated, ref_seq, reason, id…, text_…; others 0).
REPORT_VALUES = _layout(
    [
        ("seq", "<i8", 0),
        ("ref_seq", "<i8", 8),
        ("order_id", "<i8", 16),
        ("exec_id", "<i8", 24),
        ("trade_id", "<i8", 32),
        ("price", "<i8", 40),
        ("qty", "<i8", 48),
        ("last_px", "<i8", 56),
        ("last_qty", "<i8", 64),
        ("cum_qty", "<i8", 72),
        ("leaves_qty", "<i8", 80),
        ("avg_px", "<i8", 88),  # in 1e-8 of a tick; NO_AVG_PX: nil
        ("time_ns", "<i8", 96),
        ("symbol", "<i4", 104),
        ("reason", "<u2", 108),
        ("tag", "u1", 110),  # set by decode_report only: EXECUTION_REPORT or REJECT
        ("repeated", "u1", 111),  # 0 or 1
        ("kind", "u1", 112),
        ("status", "u1", 113),
        ("side", "u1", 114),
        ("ord_type", "u1", 115),
        ("tif", "u1", 116),
        ("liquidity", "u1", 117),
        *_text("id", "cl_ord_id", 5, 120),
        *_text("orig", "orig_cl_ord_id", 5, 160),
        *_text("account", "account", 4, 200),
        ("frame_end", "<i8", 232),  # decode_report only
        ("text_start", "<i8", 240),  # decode_report only, Reject: place of the text in the buffer
        ("text_length", "<i8", 248),
    ],
    256,
)

#: In REPORT_VALUES: the average price does not fit, nil on the wire.
NO_AVG_PX = -(2**63)

#: Every uint8 array that a kernel reads or writes is longer by this than what is used of it, since
#: kernels load and store eight bytes at a time.
SPARE_BYTES = 16

#: What a decode kernel answers.
PARTIAL = 0  # the frame is not complete yet; frame_end is where it will end, 0 if not known
ORDER = 1  # NewOrder, Cancel, Replace or Status in valid form; the row is filled
REPORT = 1  # ExecutionReport or Reject in valid form; the row is filled
OTHER = 2  # complete up to frame_end, and for Python: another type, or not valid
TOO_LONG = 3  # the length prefix is above the cap

#: Room in bytes that an output buffer needs (and SPARE_BYTES after it) for a message to be encoded:
#: no ExecutionReport and no request is longer.
MAX_REPORT_FRAME = 320
MAX_REQUEST_FRAME = 192

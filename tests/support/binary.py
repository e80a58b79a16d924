"""The binary protocol in tests: strategies, and converters between messages, rows and bytes."""

import struct
from typing import Any

import msgspec
import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from openoutcry.protocol.binary.enums import MessageType
from openoutcry.protocol.binary.frames import HEADER_BYTES
from openoutcry.protocol.binary.layouts import (
    NO_AVG_PX,
    ORDER_FIELDS,
    REPORT_VALUES,
    SPARE_BYTES,
)
from openoutcry.protocol.binary.messages import (
    Cancel,
    ClientApplication,
    ExecutionReport,
    NewOrder,
    Reject,
    Replace,
    ServerApplication,
    Status,
    decode_client_message,
    decode_server_message,
)

INT64_MIN = -(2**63)
INT64_MAX = 2**63 - 1

#: On both sides of every border between two widths.
BORDERS = sorted(
    {
        value
        for power in (0, 5, 6, 7, 8, 15, 16, 31, 32, 62, 63)
        for sign in (1, -1)
        for step in (-1, 0, 1)
        if INT64_MIN <= (value := sign * 2**power + step) <= INT64_MAX
    }
)

_PRINTABLE = "".join(chr(code) for code in range(0x21, 0x7F))


def ints(low: int, high: int) -> st.SearchStrategy[int]:
    """Integers in a range, the borders of the widths preferred."""
    inside = [value for value in [*BORDERS, low, high] if low <= value <= high]
    return st.sampled_from(inside) | st.integers(low, high)


int64s = ints(INT64_MIN, INT64_MAX)
seqs = ints(1, INT64_MAX)
codes = ints(0, 255)
symbols = ints(0, 2**31 - 1)
cl_ord_ids = st.text(_PRINTABLE, min_size=1, max_size=36)
accounts = st.text(_PRINTABLE, max_size=32)

new_orders = st.builds(
    NewOrder, seqs, cl_ord_ids, symbols, codes, codes, codes, int64s, int64s, accounts
)
cancels = st.builds(Cancel, seqs, cl_ord_ids, cl_ord_ids, symbols, codes)
replaces = st.builds(Replace, seqs, cl_ord_ids, cl_ord_ids, symbols, codes, codes, int64s, int64s)
statuses = st.builds(Status, seqs, cl_ord_ids, symbols)
requests = new_orders | cancels | replaces | statuses

reports = st.builds(
    ExecutionReport,
    seq=int64s,
    repeated=st.booleans(),
    ref_seq=int64s,
    kind=codes,
    status=codes,
    reason=ints(0, 65535),
    symbol=ints(-(2**31), 2**31 - 1),
    side=codes,
    ord_type=codes,
    tif=codes,
    liquidity=codes,
    order_id=int64s,
    exec_id=int64s,
    trade_id=int64s,
    cl_ord_id=cl_ord_ids | st.just(""),
    orig_cl_ord_id=cl_ord_ids | st.just(""),
    account=accounts,
    price=int64s,
    qty=int64s,
    last_px=int64s,
    last_qty=int64s,
    cum_qty=int64s,
    leaves_qty=int64s,
    avg_px=ints(INT64_MIN + 1, INT64_MAX) | st.none(),
    time_ns=int64s,
)
rejects = st.builds(
    Reject,
    int64s,
    st.booleans(),
    int64s,
    cl_ord_ids | st.just(""),
    ints(0, 65535),
    st.text(max_size=300),
)


def framed(payload: bytes) -> bytes:
    """Put the length in front."""
    return len(payload).to_bytes(HEADER_BYTES, "big") + payload


def buffer(data: bytes, behind: int = 0xA1) -> NDArray[np.uint8]:
    """Return the bytes in an array with spare room, filled with something that misleads."""
    array = np.full(len(data) + SPARE_BYTES, behind, np.uint8)
    array[: len(data)] = np.frombuffer(data, np.uint8)
    return array


def dirty(layout: np.dtype[Any], rows: int = 1) -> NDArray[Any]:
    """Return rows full of what an earlier message may have left."""
    return np.full(rows * layout.itemsize, 0xEE, np.uint8).view(layout)


def order_row(message: ClientApplication) -> NDArray[Any]:
    """Return one ORDER_FIELDS row with a request."""
    rows = np.zeros(1, ORDER_FIELDS)
    for name in message.__struct_fields__:
        rows[name] = getattr(message, name)
    rows["tag"] = int(message.__struct_config__.tag)  # type: ignore[arg-type]
    return rows


_TYPES: dict[int, type[ClientApplication]] = {
    MessageType.NEW_ORDER: NewOrder,
    MessageType.CANCEL: Cancel,
    MessageType.REPLACE: Replace,
    MessageType.STATUS: Status,
}


def _python(value: Any) -> Any:
    value = value.item()
    return value.decode("ascii") if isinstance(value, bytes) else value


def order_message(rows: NDArray[Any], k: int = 0) -> ClientApplication:
    """Return the request in an ORDER_FIELDS row."""
    kind = _TYPES[int(rows[k]["tag"])]
    values = [_python(rows[k : k + 1][name][0]) for name in kind.__struct_fields__]
    return kind(*values)


def report_row(message: ExecutionReport) -> NDArray[Any]:
    """Return one REPORT_VALUES row with an ExecutionReport."""
    rows = np.zeros(1, REPORT_VALUES)
    for name in message.__struct_fields__:
        value = getattr(message, name)
        rows[name] = NO_AVG_PX if value is None else value
    return rows


def report_message(rows: NDArray[Any], data: NDArray[np.uint8], k: int = 0) -> ServerApplication:
    """Return the ExecutionReport or Reject in a REPORT_VALUES row that was decoded from `data`."""
    row = rows[k : k + 1]
    if int(row["tag"][0]) == MessageType.REJECT:
        start, length = int(row["text_start"][0]), int(row["text_length"][0])
        return Reject(
            int(row["seq"][0]),
            bool(row["repeated"][0]),
            int(row["ref_seq"][0]),
            _python(row["cl_ord_id"][0]),
            int(row["reason"][0]),
            data[start : start + length].tobytes().decode(),
        )
    values = {name: _python(row[name][0]) for name in ExecutionReport.__struct_fields__}
    values["repeated"] = bool(values["repeated"])
    if values["avg_px"] == NO_AVG_PX:
        values["avg_px"] = None
    return ExecutionReport(**values)


def msgspec_order(payload: bytes) -> ClientApplication | None:
    """Return the request that msgspec sees in a payload, or None."""
    try:
        message = decode_client_message(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return message if isinstance(message, NewOrder | Cancel | Replace | Status) else None


def msgspec_report(payload: bytes) -> ServerApplication | None:
    """Return the report that msgspec sees in a payload, or None."""
    try:
        message = decode_server_message(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return message if isinstance(message, ExecutionReport | Reject) else None


_INT_FORMATS = [
    (0xCC, ">B", 0, 2**8 - 1),
    (0xCD, ">H", 0, 2**16 - 1),
    (0xCE, ">I", 0, 2**32 - 1),
    (0xCF, ">Q", 0, 2**64 - 1),
    (0xD0, ">b", -(2**7), 2**7 - 1),
    (0xD1, ">h", -(2**15), 2**15 - 1),
    (0xD2, ">i", -(2**31), 2**31 - 1),
    (0xD3, ">q", INT64_MIN, INT64_MAX),
]


def _wide_int(draw: st.DrawFn, value: int) -> bytes:
    choices = [
        bytes([first]) + struct.pack(form, value)
        for first, form, low, high in _INT_FORMATS
        if low <= value <= high
    ]
    if -32 <= value < 128:
        choices.append(bytes([value & 0xFF]))
    return draw(st.sampled_from(choices))


def _wide_text(draw: st.DrawFn, value: str) -> bytes:
    data = value.encode()
    choices = [b"\xda" + struct.pack(">H", len(data)), b"\xdb" + struct.pack(">I", len(data))]
    if len(data) < 256:
        choices.append(bytes([0xD9, len(data)]))
    if len(data) < 32:
        choices.append(bytes([0xA0 | len(data)]))
    return draw(st.sampled_from(choices)) + data


@st.composite
def wide_payloads(draw: st.DrawFn, messages: st.SearchStrategy[Any]) -> tuple[Any, bytes]:
    """Draw a message, and its payload with each element in any width that can hold it."""
    message = draw(messages)
    elements = msgspec.to_builtins(message)
    count = len(elements)
    heads = [b"\xdc" + struct.pack(">H", count), b"\xdd" + struct.pack(">I", count)]
    if count < 16:
        heads.append(bytes([0x90 | count]))
    payload = draw(st.sampled_from(heads))
    for element in elements:
        if element is None:
            payload += b"\xc0"
        elif isinstance(element, bool):
            payload += b"\xc3" if element else b"\xc2"
        elif isinstance(element, int):
            payload += _wide_int(draw, element)
        else:
            payload += _wide_text(draw, element)
    return message, payload


def mutate(data: bytes, random: np.random.Generator) -> bytes:
    """Change a few bytes: replaced, flipped, inserted, removed, or doubled."""
    mutated = bytearray(data)
    for _ in range(int(random.integers(1, 4))):
        at = int(random.integers(0, len(mutated) + 1))
        here = min(at, len(mutated) - 1) if mutated else 0
        action = int(random.integers(0, 5))
        if action == 0 and mutated:
            mutated[here] = int(random.integers(0, 256))
        elif action == 1 and mutated:
            mutated[here] ^= 1 << int(random.integers(0, 8))
        elif action == 2:
            mutated[at:at] = bytes([int(random.choice(_LIKELY))])
        elif action == 3 and mutated:
            del mutated[here]
        else:
            length = int(random.integers(1, 12))
            mutated[at:at] = mutated[at : at + length]
    return bytes(mutated)


#: First bytes of MessagePack values of every sort.
_LIKELY = [0x00, 0x10, 0x7F, 0x90, 0x9A, 0xA0, 0xA5, 0xBF, *range(0xC0, 0xE1), 0xFF]

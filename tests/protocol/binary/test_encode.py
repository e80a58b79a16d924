"""The venue's encode kernel against msgspec, byte for byte."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.binary import BORDERS, INT64_MIN, report_row, reports

from openoutcry.protocol.binary.encode import encode_execution_report
from openoutcry.protocol.binary.frames import encode_frame
from openoutcry.protocol.binary.layouts import MAX_REPORT_FRAME, REPORT_VALUES, SPARE_BYTES
from openoutcry.protocol.binary.messages import ExecutionReport

_WIDE = ["seq", "ref_seq", "order_id", "exec_id", "trade_id", "price", "qty", "last_px"]
_WIDE += ["last_qty", "cum_qty", "leaves_qty", "avg_px", "time_ns"]


def encoded(report: ExecutionReport, pos: int = 0) -> bytes:
    """Encode with the kernel at a position; nothing before it may change."""
    out = np.full(pos + MAX_REPORT_FRAME + SPARE_BYTES, 0xEE, np.uint8)
    end = encode_execution_report(out, pos, report_row(report), 0)
    assert out[:pos].tobytes() == b"\xee" * pos
    assert end - pos <= MAX_REPORT_FRAME
    return out[pos:end].tobytes()


def blank(**values: object) -> ExecutionReport:
    fields: dict[str, object] = dict.fromkeys(ExecutionReport.__struct_fields__, 0)
    fields |= {"repeated": False, "cl_ord_id": "", "orig_cl_ord_id": "", "account": ""}
    return ExecutionReport(**(fields | values))  # type: ignore[arg-type]


@given(reports, st.integers(0, 40))
def test_the_bytes_are_those_of_msgspec(report: ExecutionReport, pos: int) -> None:
    assert encoded(report, pos) == encode_frame(report)


@pytest.mark.parametrize("name", _WIDE)
def test_every_border_of_widths(name: str) -> None:
    for value in BORDERS:
        if name == "avg_px" and value == INT64_MIN:
            continue
        report = blank(**{name: value})
        assert encoded(report) == encode_frame(report), value


@pytest.mark.parametrize("name", ["kind", "status", "side", "ord_type", "tif", "liquidity"])
def test_every_byte(name: str) -> None:
    for value in range(256):
        report = blank(**{name: value})
        assert encoded(report) == encode_frame(report), value


@pytest.mark.parametrize(
    ("name", "longest"), [("cl_ord_id", 36), ("orig_cl_ord_id", 36), ("account", 32)]
)
def test_every_length_of_text(name: str, longest: int) -> None:
    for length in range(longest + 1):
        report = blank(**{name: "abcdefghijklmnopqrstuvwxyz0123456789"[:length]})
        assert encoded(report) == encode_frame(report), length


def test_no_average_price_is_nil() -> None:
    assert encoded(blank(avg_px=None)) == encode_frame(blank(avg_px=None))


def test_the_longest_report_fits() -> None:
    longest = blank(**dict.fromkeys(_WIDE, 2**62))
    texts = {"cl_ord_id": "A" * 36, "orig_cl_ord_id": "B" * 36, "account": "C" * 32}
    codes = dict.fromkeys(["kind", "status", "side", "ord_type", "tif", "liquidity"], 255)
    values = {name: getattr(longest, name) for name in longest.__struct_fields__}
    report = ExecutionReport(**(values | texts | codes | {"reason": 65535, "symbol": -(2**31)}))
    assert encoded(report) == encode_frame(report)


@given(st.lists(reports, min_size=1, max_size=4))
def test_frames_in_a_row(batch: list[ExecutionReport]) -> None:
    rows = np.frombuffer(b"".join(report_row(r).tobytes() for r in batch), REPORT_VALUES)
    out = np.zeros(len(batch) * MAX_REPORT_FRAME + SPARE_BYTES, np.uint8)
    pos = 0
    for k in range(len(batch)):
        pos = encode_execution_report(out, pos, rows, k)
    assert out[:pos].tobytes() == b"".join(encode_frame(report) for report in batch)

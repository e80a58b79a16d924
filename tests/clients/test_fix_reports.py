"""Reports of all versions read into one form."""

from decimal import Decimal

import pytest
from conformance.fix_harness import START_MS, frame

from openoutcry.clients.fix_reports import ExecutionReport, OrderCancelReject, read_report
from openoutcry.protocol.fix.message import parse

ORDER = "37=O|17=E|55=BTCUSDT|54=1|38=10|44=5|6=5"


def read(version: str, text: str) -> ExecutionReport:
    one = frame(f"35=8|34=2|{ORDER}|{text}", sender="V", target="C", now_ms=START_MS, begin=version)
    report = read_report(parse(one))
    assert isinstance(report, ExecutionReport)
    return report


@pytest.mark.parametrize(
    ("version", "text", "exec_type", "leaves"),
    [
        ("FIX.4.0", "20=0|39=0|32=0|31=0|14=0", "0", 10),
        ("FIX.4.0", "20=0|39=1|32=4|31=5|14=4", "F", 6),
        ("FIX.4.0", "20=0|39=2|32=6|31=5|14=10", "F", 0),
        ("FIX.4.0", "20=0|39=4|32=0|31=0|14=4", "4", 0),
        ("FIX.4.0", "20=0|39=8|32=0|31=0|14=0", "8", 0),
        ("FIX.4.0", "20=0|39=1|32=0|31=0|14=4", "5", 6),
        ("FIX.4.0", "20=0|39=5|32=0|31=0|14=0", "5", 10),
        ("FIX.4.0", "20=3|39=1|32=0|31=0|14=4", "I", 6),
        ("FIX.4.0", "20=1|39=0|32=4|31=5|14=0", "H", 10),
        ("FIX.4.1", "20=0|150=1|39=1|32=4|31=5|151=6|14=4", "F", 6),
        ("FIX.4.2", "20=0|150=2|39=2|32=6|31=5|151=0|14=10", "F", 0),
        ("FIX.4.2", "20=0|150=5|39=5|151=10|14=0", "5", 10),
        ("FIX.4.2", "20=3|150=1|39=1|151=6|14=4", "I", 6),
        ("FIX.4.2", "20=2|150=1|39=1|32=3|31=5|151=7|14=3", "G", 7),
        ("FIX.4.3", "150=F|39=1|32=4|31=5|151=6|14=4", "F", 6),
        ("FIX.4.4", "150=I|39=1|151=6|14=4", "I", 6),
        ("FIX.4.4", "150=4|39=4|151=0|14=4", "4", 0),
    ],
)
def test_what_happened(version: str, text: str, exec_type: str, leaves: int) -> None:
    report = read(version, text)
    assert (report.exec_type, report.leaves_qty) == (exec_type, Decimal(leaves))


def test_the_rest_of_a_report_is_as_it_stands() -> None:
    report = read("FIX.4.2", "20=0|150=1|39=1|32=4|31=5.25|151=6|14=4|11=x|41=w|58=hello|43=Y")
    assert (report.cl_ord_id, report.orig_cl_ord_id, report.order_id) == ("x", "w", "O")
    assert (report.last_qty, report.last_px) == (Decimal(4), Decimal("5.25"))
    assert (report.ord_status, report.text, report.is_poss_dup) == ("1", "hello", True)
    assert not report.is_final


def test_40_declines_a_cancel_in_few_words() -> None:
    one = frame("35=9|34=2|37=O|11=x|102=1", sender="V", target="C", now_ms=START_MS)
    report = read_report(parse(one))
    assert isinstance(report, OrderCancelReject)
    assert (report.cl_ord_id, report.response_to, report.cxl_rej_reason) == ("x", "", 1)

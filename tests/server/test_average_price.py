"""AvgPx(6) of reports: as many decimals as are configured, or as FIX's 18 digits leave room for."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.gateway_alone import GatewayAlone

from openoutcry.engine.enums import ReportKind
from openoutcry.engine.records import REPORT
from openoutcry.protocol.fix.encode import REPORT_VALUES
from openoutcry.server.reports import fill_fix

#: The symbol's tick is 0.05.
PARTS, TICK, DECIMALS = 1, Fraction(1, 20), 8


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Any:
    made = GatewayAlone(Path(tmp_path_factory.mktemp("alone")))
    yield made
    made.close()


def told(alone: GatewayAlone, notional: int, cum_qty: int) -> tuple[int, int]:
    """Return AvgPx of a report as mantissa and scale."""
    report = np.zeros(1, REPORT)
    report[0]["kind"], report[0]["session"], report[0]["symbol"] = ReportKind.CANCELED, 1, PARTS
    report[0]["cum_qty"] = cum_qty
    report[0]["notional_hi"] = notional >> 64
    report[0]["notional_lo"] = notional & (2**64 - 1)
    values = np.zeros(1, REPORT_VALUES)
    fill_fix(values, report, 0, alone.gateway.routes, 0, 1, 4)
    return int(values[0]["avg_px"]), int(values[0]["avg_px_scale"])


def mantissa(average: Fraction, scale: int) -> int:
    """Return the average with so many decimals, rounded half to even."""
    return round(average * 10**scale)


@given(
    price=st.one_of(st.integers(-(10**6), 10**6), st.integers(-(10**17), 10**17)),
    cum_qty=st.integers(1, 10**12),
    data=st.data(),
)
def test_the_average_has_the_decimals_that_fit(
    alone: GatewayAlone, price: int, cum_qty: int, data: Any
):
    notional = price * cum_qty + data.draw(st.integers(0, cum_qty - 1))
    average = Fraction(notional, cum_qty) * TICK
    fitting = [scale for scale in range(2, DECIMALS + 1) if abs(mantissa(average, scale)) < 10**18]
    scale = max(fitting, default=2)
    assert told(alone, notional, cum_qty) == (mantissa(average, scale), scale)


def test_a_large_price_keeps_some_decimals(alone: GatewayAlone):
    notional = 4 * 10**14 + 1
    assert told(alone, notional, 3) == (mantissa(Fraction(notional, 3) * TICK, 5), 5)

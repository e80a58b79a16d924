"""The engine's numbers and the binary protocol's are the same: neither imports the other."""

from enum import IntEnum

import pytest

from openoutcry.engine import enums as engine
from openoutcry.engine import records
from openoutcry.protocol.binary import enums as binary


@pytest.mark.parametrize(
    ("inside", "outside"),
    [
        (engine.Side, binary.Side),
        (engine.OrderType, binary.OrderType),
        (engine.TimeInForce, binary.TimeInForce),
        (engine.OrderStatus, binary.OrderStatus),
        (engine.Liquidity, binary.Liquidity),
    ],
)
def test_the_same_members(inside: type[IntEnum], outside: type[IntEnum]) -> None:
    assert {m.name: m.value for m in inside} == {m.name: m.value for m in outside}


def test_report_kinds_less_those_that_never_go_out() -> None:
    inside = {kind.name: kind.value for kind in engine.ReportKind}
    for name in ("DUPLICATE", "MASS_CANCELED", "MASS_STATUS", "MASS_STATUS_END"):
        del inside[name]
    assert inside == {kind.name: kind.value for kind in binary.ReportKind}


def test_reject_reasons_and_the_gateways_own_above_them() -> None:
    inside = {reason.name: reason.value for reason in engine.RejectReason}
    outside = {reason.name: reason.value for reason in binary.RejectReason}
    assert inside == {name: value for name, value in outside.items() if value < 100}
    assert max(inside.values()) < 100


def test_the_longest_clordid() -> None:
    assert records.CL_ORD_ID_MAX == binary.CL_ORD_ID_MAX

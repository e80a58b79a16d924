"""The client in every version of FIX: orders as the version wants them, reports in one form."""

from collections.abc import Callable
from decimal import Decimal

import pytest
from support.fix_acceptor import FixAcceptor, now_ms

from openoutcry.clients.fix import (
    BusinessReject,
    ExecType,
    ExecutionReport,
    FixClient,
    MassCancelReport,
    OrderCancelReject,
    OrdStatus,
    Reject,
    Report,
    Side,
)
from openoutcry.protocol.fix.dictionary import dictionary
from openoutcry.protocol.fix.validate import validate
from openoutcry.protocol.fix.versions import VERSIONS, Version

WAIT_S = 5.0

all_versions = pytest.mark.parametrize("version", list(Version), ids=list(VERSIONS))


def has(exec_type: ExecType) -> Callable[[Report], bool]:
    return lambda report: isinstance(report, ExecutionReport) and report.exec_type == exec_type


@all_versions
async def test_an_order_lives_and_dies(version: Version) -> None:
    async with (
        FixAcceptor(version=version) as venue,
        FixClient("127.0.0.1", venue.port, "ME", version=version) as client,
    ):
        order = await client.new_order("BTCUSDT", Side.BUY, 3, "10.5", account="A1")
        new = await client.wait_for(order, has(ExecType.NEW), timeout_s=WAIT_S)
        other = await client.replace(order, "BTCUSDT", Side.BUY, 4, "10.25")
        replaced = await client.wait_for(other, has(ExecType.REPLACED), timeout_s=WAIT_S)
        await client.status(other, "BTCUSDT", Side.BUY)
        status = await client.wait_for(other, has(ExecType.ORDER_STATUS), timeout_s=WAIT_S)
        gone = await client.cancel(other, "BTCUSDT", Side.BUY, 4)
        canceled = await client.wait_for(gone, has(ExecType.CANCELED), timeout_s=WAIT_S)
        filled = await client.new_order("FILL", Side.SELL, 2, "7")
        fill = await client.wait_for(filled, has(ExecType.TRADE), timeout_s=WAIT_S)
        bad = await client.new_order("BAD", Side.SELL, 2)
        rejected = await client.wait_for(bad, has(ExecType.REJECTED), timeout_s=WAIT_S)
        late = await client.cancel("unknown", "BTCUSDT", Side.BUY, 4)
        declined = await client.wait_for(late, timeout_s=WAIT_S)
    facts = dictionary(version)
    assert [m.msg_type for m in venue.applied] == ["D", "G", "H", "F", "D", "D", "F"]
    assert [validate(message, facts) for message in venue.applied] == [None] * 7
    answers = [new, replaced, status, canceled, fill, rejected, declined]
    assert [validate(report.message, facts) for report in answers] == [None] * 7
    assert isinstance(new, ExecutionReport)
    assert (new.order_qty, new.price, new.leaves_qty) == (Decimal(3), Decimal("10.5"), Decimal(3))
    assert isinstance(canceled, ExecutionReport)
    assert canceled.ord_status == OrdStatus.CANCELED
    assert canceled.leaves_qty == 0
    assert isinstance(fill, ExecutionReport)
    assert (fill.last_qty, fill.last_px) == (Decimal(2), Decimal(7))
    assert (fill.cum_qty, fill.leaves_qty) == (Decimal(2), Decimal(0))
    assert fill.is_final
    assert isinstance(rejected, ExecutionReport)
    assert rejected.ord_rej_reason == 1
    assert isinstance(declined, OrderCancelReject)


@all_versions
async def test_a_refusal_names_the_order(version: Version) -> None:
    async with (
        FixAcceptor(version=version) as venue,
        FixClient("127.0.0.1", venue.port, "ME", version=version) as client,
    ):
        order = await client.new_order("BTCUSDT", Side.BUY, 1, 1)
        await client.wait_for(order, timeout_s=WAIT_S)
        session, message = venue.session("ME"), venue.applied[0]
        session.business_reject(message, 4, now_ms(), text="not now")
        venue.flush("ME")
        refusal = await client.wait_for(
            order, lambda r: isinstance(r, Reject | BusinessReject), timeout_s=WAIT_S
        )
    kind = BusinessReject if version >= Version.FIX42 else Reject
    assert isinstance(refusal, kind)
    assert refusal.text == "not now"


async def test_40_wants_the_quantity_in_a_cancel() -> None:
    async with (
        FixAcceptor(version=Version.FIX40) as venue,
        FixClient("127.0.0.1", venue.port, "ME", version=Version.FIX40) as client,
    ):
        with pytest.raises(ValueError, match=r"under FIX\.4\.0 tells the order's qty"):
            await client.cancel("x", "BTCUSDT", Side.BUY)


@pytest.mark.parametrize("version", [v for v in Version if v >= Version.FIX43])
async def test_all_orders_at_once(version: Version) -> None:
    async with (
        FixAcceptor(version=version, served_types=frozenset({"q", "AF"})) as venue,
        FixClient("127.0.0.1", venue.port, "ME", version=version) as client,
    ):
        every = await client.cancel_all()
        done = await client.wait_for(every, timeout_s=WAIT_S)
        some = await client.cancel_all("BAD", Side.SELL, cl_ord_id="some")
        refused = await client.wait_for(some, timeout_s=WAIT_S)
        asked = await client.status_of_all("BTCUSDT", Side.BUY)
        status = await client.wait_for("x", timeout_s=WAIT_S)
    facts = dictionary(version)
    assert [validate(message, facts) for message in venue.applied] == [None] * 3
    assert [m.get(530) or m.get(585) for m in venue.applied] == [b"7", b"1", b"1"]
    assert [m.get(54) for m in venue.applied] == [None, b"2", b"1"]
    assert isinstance(done, MassCancelReport)
    assert (done.is_refused, done.response, done.total_affected) == (False, "7", 2)
    assert isinstance(refused, MassCancelReport)
    assert (some, refused.is_refused, refused.reason) == ("some", True, 1)
    assert isinstance(status, ExecutionReport)
    assert status.exec_type == ExecType.ORDER_STATUS
    if version >= Version.FIX44:
        assert (status.mass_status_req_id, status.total_reports) == (asked, 1)
        assert status.is_last_report


async def test_older_versions_have_no_mass_requests() -> None:
    async with (
        FixAcceptor(version=Version.FIX42) as venue,
        FixClient("127.0.0.1", venue.port, "ME", version=Version.FIX42) as client,
    ):
        with pytest.raises(ValueError, match=r"FIX\.4\.2 has no message q"):
            await client.cancel_all()
        with pytest.raises(ValueError, match=r"FIX\.4\.2 has no message AF"):
            await client.status_of_all()


@all_versions
async def test_credentials_in_every_version(version: Version) -> None:
    async with (
        FixAcceptor(version=version, password="secret") as venue,
        FixClient(
            "127.0.0.1", venue.port, "ME", version=version, username="me", password="secret"
        ) as client,
    ):
        assert client.is_logged_on

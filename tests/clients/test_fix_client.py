"""The FIX client against an acceptor of the same Session, over loopback, with cuts."""

import asyncio
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from support.fix_acceptor import FixAcceptor, now_ms

from openoutcry.clients.fix import (
    BusinessReject,
    ExecType,
    ExecutionReport,
    FileStore,
    FixClient,
    LogonRefused,
    OrderCancelReject,
    OrdStatus,
    Reject,
    Report,
    SessionEnded,
    Side,
    TimeInForce,
)

WAIT_S = 5.0


@pytest.fixture
async def venue() -> AsyncIterator[FixAcceptor]:
    async with FixAcceptor() as acceptor:
        yield acceptor


def make(venue: FixAcceptor, name: str = "DEMO", **settings: Any) -> FixClient:
    settings.setdefault("backoff_s", (0.01, 0.05))
    return FixClient("127.0.0.1", venue.port, name, **settings)


async def until(is_true: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not is_true():
            await asyncio.sleep(0.01)


def has(exec_type: ExecType) -> Callable[[Report], bool]:
    return lambda report: isinstance(report, ExecutionReport) and report.exec_type == exec_type


async def test_an_order_and_its_fill(venue: FixAcceptor) -> None:
    async with make(venue) as client:
        order = await client.new_order("FILL", Side.BUY, "0.5", "65000.01", account="A1")
        report = await client.wait_for(order, has(ExecType.TRADE), timeout_s=WAIT_S)
    assert isinstance(report, ExecutionReport)
    assert report.last_px == Decimal("65000.01")
    assert report.cum_qty == Decimal("0.5")
    assert report.leaves_qty == 0
    assert report.is_final
    sent = venue.applied[0]
    assert sent.get(1) == b"A1"
    assert sent.get(40) == b"2"
    assert sent.get(59) == b"0"


async def test_a_market_order_has_no_price(venue: FixAcceptor) -> None:
    async with make(venue) as client:
        order = await client.new_order("FILL", Side.SELL, 3, tif=TimeInForce.IOC, cl_ord_id="m-1")
        report = await client.wait_for(order, has(ExecType.TRADE), timeout_s=WAIT_S)
    assert order == "m-1"
    assert isinstance(report, ExecutionReport)
    assert report.price is None
    assert venue.applied[0].get(44) is None


async def test_cancel_replace_and_status(venue: FixAcceptor) -> None:
    async with make(venue) as client:
        order = await client.new_order("BTCUSDT", Side.BUY, 2, 10)
        other = await client.replace(order, "BTCUSDT", Side.BUY, 3, Decimal("11.5"))
        replaced = await client.wait_for(other, timeout_s=WAIT_S)
        await client.status(other, "BTCUSDT", Side.BUY)
        status = await client.wait_for(other, has(ExecType.ORDER_STATUS), timeout_s=WAIT_S)
        gone = await client.cancel(other, "BTCUSDT", Side.BUY, 3)
        canceled = await client.wait_for(gone, timeout_s=WAIT_S)
    assert isinstance(replaced, ExecutionReport)
    assert (replaced.exec_type, replaced.orig_cl_ord_id) == (ExecType.REPLACED, order)
    assert replaced.price == Decimal("11.5")
    assert isinstance(status, ExecutionReport)
    assert isinstance(canceled, ExecutionReport)
    assert canceled.ord_status == OrdStatus.CANCELED


async def test_declined_requests_are_typed(venue: FixAcceptor) -> None:
    async with make(venue) as client:
        bad = await client.new_order("BAD", Side.BUY, 1, 1)
        rejected = await client.wait_for(bad, timeout_s=WAIT_S)
        request = await client.cancel("unknown", "BTCUSDT", Side.BUY)
        declined = await client.wait_for(request, timeout_s=WAIT_S)
    assert isinstance(rejected, ExecutionReport)
    assert (rejected.ord_rej_reason, rejected.text) == (1, "unknown symbol")
    assert isinstance(declined, OrderCancelReject)
    assert (declined.cxl_rej_reason, declined.response_to) == (1, "1")


async def test_rejects_name_the_order(venue: FixAcceptor) -> None:
    async with make(venue) as client:
        order = await client.new_order("BTCUSDT", Side.BUY, 1, 1)
        await client.wait_for(order, timeout_s=WAIT_S)
        session, message = venue.session("DEMO"), venue.applied[0]
        session.reject(message, 5, now_ms(), ref_tag=44, text="no")
        session.business_reject(message, 3, now_ms(), text="not now")
        venue.flush("DEMO")
        reject = await client.wait_for(order, lambda r: isinstance(r, Reject), timeout_s=WAIT_S)
        business = await client.wait_for(
            order, lambda r: isinstance(r, BusinessReject), timeout_s=WAIT_S
        )
    assert isinstance(reject, Reject)
    assert (reject.ref_tag, reject.reason, reject.text) == (44, 5, "no")
    assert isinstance(business, BusinessReject)
    assert business.text == "not now"


async def test_reports_come_as_a_stream_that_ends_with_the_client(venue: FixAcceptor) -> None:
    client = make(venue)
    await client.connect()
    stream = client.reports()
    await client.new_order("FILL", Side.BUY, 1, 5)
    await client.new_order("BTCUSDT", Side.BUY, 1, 5)
    await until(lambda: len(client._history) == 3)
    await client.logout()
    kinds = [report.exec_type async for report in stream if isinstance(report, ExecutionReport)]
    assert kinds == [ExecType.NEW, ExecType.TRADE, ExecType.NEW]
    assert [r async for r in client.reports()] == []


async def test_reports_of_the_time_away_arrive_after_the_reconnect(venue: FixAcceptor) -> None:
    async with make(venue) as client:
        order = await client.new_order("BTCUSDT", Side.BUY, 1, 5)
        await client.wait_for(order, timeout_s=WAIT_S)
        venue.cut()
        await until(lambda: not venue.connections)
        fill = {11: order, 37: "x", 55: "BTCUSDT", 54: "1", 38: "1", 39: "2", 150: "F"}
        fill |= {32: "1", 31: "5", 14: "1", 151: "0", 6: "5"}
        venue.report("DEMO", fill)
        report = await client.wait_for(order, has(ExecType.TRADE), timeout_s=WAIT_S)
        assert isinstance(report, ExecutionReport)
        assert report.is_poss_dup
        assert client.logons == 2


async def test_orders_sent_while_away_arrive_once(venue: FixAcceptor) -> None:
    async with make(venue) as client:
        names = []
        for turn in range(30):
            names.append(await client.new_order("BTCUSDT", Side.BUY, 1, 5))
            if turn % 7 == 3:
                venue.cut()
                await asyncio.sleep(0)
        for name in names:
            await client.wait_for(name, timeout_s=WAIT_S)
        assert [(m.get(11) or b"").decode() for m in venue.applied] == names
        received = [r.cl_ord_id for r in client._history]
        assert received == names


async def test_the_venue_may_be_gone_for_a_while(venue: FixAcceptor) -> None:
    async with make(venue) as client:
        await venue.stop()
        await until(lambda: not client.is_logged_on)
        order = await client.new_order("BTCUSDT", Side.BUY, 1, 5)
        await asyncio.sleep(0.05)
        await venue.listen()
        await client.wait_for(order, timeout_s=WAIT_S)
        assert client.is_logged_on


async def test_a_logout_by_the_venue_is_followed_by_a_reconnect(venue: FixAcceptor) -> None:
    async with make(venue) as client:
        venue.session("DEMO").logout("pause", now_ms())
        venue.flush("DEMO")
        await until(lambda: client.logons == 2)
        assert client.is_logged_on


async def test_without_reconnect_the_session_ends(venue: FixAcceptor) -> None:
    client = make(venue, reconnect=False)
    await client.connect()
    stream = client.reports()
    venue.cut()
    assert [r async for r in stream] == []
    with pytest.raises(SessionEnded, match="connection lost"):
        await client.new_order("BTCUSDT", Side.BUY, 1, 5)
    with pytest.raises(SessionEnded, match="connection lost"):
        await client.wait_for("x")
    await client.close()


async def test_a_refused_logon_says_why() -> None:
    async with FixAcceptor(username="me", password="secret") as venue:
        client = make(venue, username="me", password="guess")
        with pytest.raises(LogonRefused, match="not authorized"):
            await client.connect()
        async with make(venue, "OTHER", username="me", password="secret") as other:
            assert other.is_logged_on


async def test_a_second_connection_is_refused_and_the_first_goes_on(venue: FixAcceptor) -> None:
    async with make(venue) as first:
        with pytest.raises(LogonRefused, match="closed the connection"):
            await make(venue).connect()
        order = await first.new_order("BTCUSDT", Side.BUY, 1, 5)
        await first.wait_for(order, timeout_s=WAIT_S)


async def test_nobody_listens() -> None:
    with pytest.raises(OSError, match=r"refused|Connect call failed"):
        await FixClient("127.0.0.1", 1, "DEMO").connect()


async def test_numbers_outlive_the_process(venue: FixAcceptor, tmp_path: Path) -> None:
    for turn in range(3):
        store = FileStore(tmp_path / "demo")
        async with make(venue, store=store) as client:
            order = await client.new_order("BTCUSDT", Side.BUY, 1, 5, cl_ord_id=f"order-{turn}")
            await client.wait_for(order, timeout_s=WAIT_S)
        store.close()
    # Logon, order and Logout each time.
    assert venue.session("DEMO").state.next_in == 10
    assert [m.get(11) for m in venue.applied] == [b"order-0", b"order-1", b"order-2"]


async def test_an_order_stored_by_a_process_that_died_is_sent_by_the_next(
    venue: FixAcceptor, tmp_path: Path
) -> None:
    store = FileStore(tmp_path)
    client = make(venue, store=store)
    await client.connect()
    await venue.stop()
    await until(lambda: not client.is_logged_on)
    await client.new_order("BTCUSDT", Side.BUY, 1, 5, cl_ord_id="left-behind")
    await client.close()
    store.close()
    await venue.listen()
    store = FileStore(tmp_path)
    async with make(venue, store=store) as second:
        report = await second.wait_for("left-behind", timeout_s=WAIT_S)
        assert isinstance(report, ExecutionReport)
    store.close()


async def test_heartbeats_keep_the_session(venue: FixAcceptor) -> None:
    async with make(venue, heartbeat_s=1) as client:
        await asyncio.sleep(1.4)
        assert client.is_logged_on
        assert client.numbers[1] >= 3


async def test_what_cannot_be_sent_is_an_error_here(venue: FixAcceptor) -> None:
    client = make(venue)
    with pytest.raises(SessionEnded, match="not connected"):
        await client.new_order("BTCUSDT", Side.BUY, 1, 5)
    async with client:
        with pytest.raises(TypeError, match="is a float"):
            await client.new_order("BTCUSDT", Side.BUY, 0.1, 5)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="no decimal number"):
            await client.new_order("BTCUSDT", Side.BUY, "1e3", 5)
        with pytest.raises(ValueError, match="no decimal number"):
            await client.new_order("BTCUSDT", Side.BUY, Decimal("NaN"), 5)
        with pytest.raises(ValueError, match="symbol"):
            await client.new_order("BTC\x01USDT", Side.BUY, 1, 5)
        with pytest.raises(ValueError, match="1 to 36 printable"):
            await client.new_order("BTCUSDT", Side.BUY, 1, 5, cl_ord_id="x" * 37)
        with pytest.raises(SessionEnded, match="not used again"):
            await client.connect()
    with pytest.raises(SessionEnded):
        await client.new_order("BTCUSDT", Side.BUY, 1, 5)
    assert venue.applied == []

"""Many orders: connections that break in the midst of them, and logs of many segments."""

import asyncio
import random
from collections import Counter
from pathlib import Path

import pytest
from support.peers import BinaryPeer, FixPeer
from support.proxy import CuttingProxy
from support.venue import Venue

from openoutcry.clients.binary import BinaryClient, Reject, ReportKind
from openoutcry.clients.binary import Side as BinarySide
from openoutcry.clients.fix import ExecType, ExecutionReport, FixClient, Side
from openoutcry.protocol.binary.frames import encode_frame

ORDERS = 3000
CUTS = 12


async def cut_now_and_then(proxy: CuttingProxy, done: asyncio.Event) -> None:
    """Cut the wire after random pauses, until enough or done."""
    chance = random.Random(3)
    while proxy.cuts < CUTS and not done.is_set():
        await asyncio.sleep(0.05 + chance.random() * 0.25)
        proxy.cut()


async def test_binary_orders_over_a_wire_that_breaks_are_executed_once(venue: Venue):
    symbol = venue.take_symbol()
    done = asyncio.Event()
    async with CuttingProxy(venue.port("binary")) as proxy:
        client = BinaryClient("127.0.0.1", proxy.port, "CUT-B", backoff_s=(0.02, 0.1))
        await client.connect()
        stream = client.reports()
        cutting = asyncio.create_task(cut_now_and_then(proxy, done))
        sent = []

        async def send() -> None:
            for number in range(ORDERS):
                side = BinarySide.BUY if number % 2 else BinarySide.SELL
                sent.append(await client.new_order(symbol, side, 10, "10.00"))
                if number % 20 == 0:
                    await asyncio.sleep(0.01)

        sending = asyncio.create_task(send())
        new: Counter[str] = Counter()
        exec_ids: Counter[int] = Counter()
        filled = 0
        async with asyncio.timeout(90):
            async for report in stream:
                assert not isinstance(report, Reject), report
                exec_ids[report.exec_id] += 1
                new[report.cl_ord_id] += report.kind is ReportKind.NEW
                filled += report.kind is ReportKind.TRADE
                if len(new) == ORDERS and filled == ORDERS:
                    break
        await sending
        done.set()
        await cutting
        assert list(new) == sent
        assert set(new.values()) == {1}
        assert set(exec_ids.values()) == {1}
        assert client.logons > 3
        await client.close()


async def test_fix_orders_over_a_wire_that_breaks_are_executed_once(venue: Venue):
    symbol = venue.take_symbol()
    done = asyncio.Event()
    async with CuttingProxy(venue.port("fix")) as proxy:
        client = FixClient("127.0.0.1", proxy.port, "CUT-F", backoff_s=(0.02, 0.1))
        await client.connect()
        stream = client.reports()
        cutting = asyncio.create_task(cut_now_and_then(proxy, done))
        sent = []

        async def send() -> None:
            for number in range(ORDERS):
                side = Side.BUY if number % 2 else Side.SELL
                sent.append(await client.new_order(symbol, side, 10, "10.00"))
                if number % 20 == 0:
                    await asyncio.sleep(0.01)

        sending = asyncio.create_task(send())
        new: Counter[str] = Counter()
        exec_ids: Counter[str] = Counter()
        filled = 0
        async with asyncio.timeout(90):
            async for report in stream:
                assert isinstance(report, ExecutionReport), report
                exec_ids[report.exec_id] += 1
                new[report.cl_ord_id] += report.exec_type == ExecType.NEW
                filled += report.exec_type == ExecType.TRADE
                if len(new) == ORDERS and filled == ORDERS:
                    break
        await sending
        done.set()
        await cutting
        assert list(new) == sent
        assert set(new.values()) == {1}
        assert set(exec_ids.values()) == {1}
        assert client.logons > 3
        await client.close()


@pytest.mark.slow
def test_logs_of_many_segments_are_written_and_resent_from(tmp_path: Path):
    data = tmp_path / "data"
    count, burst = 200_000, 2000
    with Venue(tmp_path, "log.segment_bytes=1048576", data_dir=data) as venue:
        with BinaryPeer(venue.port("binary"), "B") as client:
            client.log_on()
            first: list[tuple[int, int, str]] = []
            for start in range(0, count, burst):
                orders = [
                    client.order(f"o{n}", "AAPL", 1 + n % 2, 1, 1000, 1)
                    for n in range(start, start + burst)
                ]
                client.raw(b"".join(map(encode_frame, orders)))
                reports = client.reports(burst * 2)
                first.extend((r.seq, r.exec_id, r.cl_ord_id) for r in reports)
            assert len(list(data.glob("shard-0-commands-*.seg"))) > 5
            assert len(list(data.glob("shard-0-reports-*.seg"))) > 5
            client.log_out()
        with FixPeer(venue.port("fix"), "F") as fix:
            fix.log_on()
            names = [f"f{n}" for n in range(5000)]
            for start in range(0, len(names), 250):
                for name in names[start : start + 250]:
                    fix.new(name, "MSFT", "1", 10, "10.00")
                assert len(fix.reports(250)) == 250
            # All of it again, from segments that nobody has mapped any more.
            with BinaryPeer(venue.port("binary"), "B", next_in=1) as again:
                assert again.log_on().next_seq == 2 * count + 1
                for seq, exec_id, name in first:
                    report = again.report(20)
                    assert (report.seq, report.exec_id, report.cl_ord_id) == (seq, exec_id, name)
            fix.send("2", "7=2|16=0|")
            copies = [fix.receive(20, is_numbered=False) for _ in names]
            assert [copy[11] for copy in copies] == names
            assert all(copy[43] == "Y" for copy in copies)
        # What is behind the writer is unmapped again: memory does not grow with the log.
        resident = venue.metrics()("process_resident_memory_bytes", process="gateway-0")
        assert resident < 400 << 20

"""The asyncio binary client against a venue made of the protocol's session, over sockets."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from openoutcry.clients.binary import (
    BinaryClient,
    LogonRefused,
    OrderStatus,
    Reject,
    Report,
    ReportKind,
    SessionEnded,
    Side,
    Symbol,
    TimeInForce,
)
from openoutcry.protocol.binary.enums import LogoutReason
from openoutcry.protocol.binary.errors import BinaryProtocolError, DataLost
from openoutcry.protocol.binary.frames import FrameReader, encode_frame
from openoutcry.protocol.binary.messages import (
    Cancel,
    ClientApplication,
    ExecutionReport,
    NewOrder,
    Replace,
    ServerApplication,
    SymbolDefinition,
)
from openoutcry.protocol.binary.session import (
    Application,
    BinarySession,
    Disconnect,
    LogonRequest,
)

SYMBOLS = [
    SymbolDefinition(0, "BTCUSDT", "0.01", "0.00001", 1, 10**9, 1, 10**12),
    SymbolDefinition(7, "AAPL", "0.01", "1", 1, 10**7, 1, 10**6),
]


@dataclass
class Numbers:
    next_in: int = 1
    next_out: int = 1


@dataclass
class StubVenue:
    """Accepts one session, answers each request with one report, and does as told about failure."""

    numbers: Numbers = field(default_factory=Numbers)
    received: list[ClientApplication] = field(default_factory=list)
    outgoing: list[ServerApplication] = field(default_factory=list)
    writers: set[asyncio.StreamWriter] = field(default_factory=set)
    refuse: tuple[LogoutReason, str] | None = None
    #: Lose this many requests, then cut the connection.
    lose_requests: int = 0
    #: Execute, but cut the connection before answering.
    cut_before_answer: bool = False
    port: int = 0
    logons: int = 0
    tasks: set["asyncio.Task[None]"] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        self.writers.add(writer)
        with suppress(OSError):
            await self._serve(reader, writer)
        self.writers.discard(writer)
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
        self.tasks.discard(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session = BinarySession(0)
        frames = FrameReader()
        while data := await reader.read(65536):
            frames.receive_data(data)
            for payload in frames.payloads():
                event = session.receive_payload(payload, 0)
                answers: list[ServerApplication] = []
                if isinstance(event, LogonRequest):
                    answers = self._log_on(session)
                elif isinstance(event, Application):
                    if self.lose_requests:
                        self.lose_requests -= 1
                        return
                    answers = [self._execute(event.message)]
                    if self.cut_before_answer:
                        self.cut_before_answer = False
                        return
                writer.write(session.data_to_send() + b"".join(map(encode_frame, answers)))
                if isinstance(event, Disconnect):
                    return

    def _log_on(self, session: BinarySession) -> list[ServerApplication]:
        if self.refuse is not None:
            session.refuse(*self.refuse, 0)
            return []
        self.logons += 1
        repeat = session.accept(self.numbers, session_number=1, symbols=SYMBOLS, now_ms=0)
        if isinstance(repeat, Disconnect):
            return []
        return [msgspec.structs.replace(self.outgoing[seq - 1], repeated=True) for seq in repeat]

    def _execute(self, message: ClientApplication) -> ServerApplication:
        self.numbers.next_in += 1
        self.received.append(message)
        if message.symbol not in (0, 7):
            return self._number(Reject(0, False, message.seq, message.cl_ord_id, 1, "unknown"))
        kind = {Cancel: ReportKind.CANCELED, Replace: ReportKind.REPLACED}.get(
            type(message), ReportKind.NEW
        )
        fields: dict[str, Any] = dict.fromkeys(ExecutionReport.__struct_fields__, 0)
        fields |= {"repeated": False, "orig_cl_ord_id": "", "account": "", "order_id": 5}
        fields |= {name: getattr(message, name) for name in message.__struct_fields__}
        fields |= {"ref_seq": message.seq, "kind": int(kind), "leaves_qty": fields["qty"]}
        return self._number(ExecutionReport(**fields))

    def _number(self, message: ServerApplication) -> ServerApplication:
        numbered = msgspec.structs.replace(message, seq=self.numbers.next_out)
        self.numbers.next_out += 1
        self.outgoing.append(numbered)
        return numbered

    def push(self, message: ServerApplication) -> None:
        frame = encode_frame(self._number(message))
        for writer in self.writers:
            writer.write(frame)

    def cut(self) -> None:
        for writer in list(self.writers):
            writer.transport.abort()


@asynccontextmanager
async def venue(port: int = 0, **settings: Any) -> AsyncIterator[StubVenue]:
    stub = StubVenue(**settings)
    server = await asyncio.start_server(stub.serve, "127.0.0.1", port)
    stub.port = server.sockets[0].getsockname()[1]
    try:
        yield stub
    finally:
        server.close()
        stub.cut()
        if stub.tasks:
            await asyncio.wait(stub.tasks, timeout=5)
        await server.wait_closed()


def client_of(stub: StubVenue, **settings: Any) -> BinaryClient:
    settings = {"backoff_s": (0.01, 0.05), "id_prefix": "T-", **settings}
    return BinaryClient("127.0.0.1", stub.port, "S1", **settings)


def fill(cl_ord_id: str, **values: Any) -> ExecutionReport:
    fields: dict[str, Any] = dict.fromkeys(ExecutionReport.__struct_fields__, 0)
    fields |= {"repeated": False, "cl_ord_id": cl_ord_id, "orig_cl_ord_id": "", "account": ""}
    return ExecutionReport(**(fields | {"kind": int(ReportKind.TRADE)} | values))


async def test_an_order_and_its_report() -> None:
    async with venue() as stub, client_of(stub) as client:
        order = await client.new_order("BTCUSDT", Side.BUY, "0.5", "65000.01", account="ACC")
        report = await client.wait_for(order, ReportKind.NEW)
    assert stub.received == [NewOrder(1, "T-1", 0, 1, 2, 0, 6_500_001, 50_000, "ACC")]
    assert report.kind is ReportKind.NEW
    assert report.status is OrderStatus.NEW
    assert (report.symbol, report.price, report.qty) == (
        "BTCUSDT",
        Decimal("65000.01"),
        Decimal("0.5"),
    )
    assert report.leaves_qty == Decimal("0.50000")
    assert report.avg_px is None
    assert report.account == "ACC"


async def test_a_market_order_has_no_price() -> None:
    async with venue() as stub, client_of(stub) as client:
        await client.new_order("AAPL", Side.SELL, 100, tif=TimeInForce.IOC, cl_ord_id="MINE")
    assert stub.received == [NewOrder(1, "MINE", 7, 2, 1, 3, 0, 100, "")]


async def test_cancel_replace_and_status() -> None:
    async with venue() as stub, client_of(stub) as client:
        order = await client.new_order("AAPL", Side.BUY, 100, "180.25")
        replaced = await client.replace(order, "AAPL", 50, "180.50", side=Side.BUY)
        canceled = await client.cancel(replaced, "AAPL")
        ref_seq = await client.status(replaced, "AAPL")
        assert (await client.wait_for(replaced)).kind is ReportKind.REPLACED
        assert (await client.wait_for(canceled)).orig_cl_ord_id == replaced
        answer = await client.wait_until(
            lambda item: isinstance(item, Report) and item.raw.ref_seq == ref_seq
        )
        assert answer.cl_ord_id == replaced
    assert stub.received[1] == Replace(2, "T-2", "T-1", 7, 1, 2, 18_050, 50)
    assert stub.received[2] == Cancel(3, "T-3", "T-2", 7, 0)


async def test_fills_have_decimal_prices() -> None:
    async with venue() as stub, client_of(stub) as client:
        average = 6_500_012 * 10**8 + 33_333_333
        stub.push(fill("A", last_px=6_500_012, last_qty=3, cum_qty=3, avg_px=average))
        report = await client.wait_for("A", ReportKind.TRADE)
        assert report.last_px == Decimal("65000.12")
        assert report.last_qty == Decimal("0.00003")
        assert report.avg_px == Decimal("65000.1233333333")
        stub.push(fill("A", cum_qty=3, avg_px=None))
        later = await client.wait_for("A", after=report.raw.seq)
        assert later.avg_px is None


async def test_reports_as_a_stream() -> None:
    async with venue() as stub, client_of(stub) as client:
        stream = client.reports()
        for _ in range(3):
            await client.new_order("AAPL", Side.BUY, 1, 1)
        names = []
        async with asyncio.timeout(5):
            async for item in stream:
                names.append(item.cl_ord_id)
                if len(names) == 3:
                    break
        stream.close()
        rest = client.reports()
    assert names == ["T-1", "T-2", "T-3"]
    async with asyncio.timeout(5):
        assert [item async for item in rest] == []
        assert [item async for item in client.reports()] == []


async def test_a_reject_is_an_error_for_who_waits() -> None:
    async with venue() as stub, client_of(stub) as client:
        client.symbols["GONE"] = Symbol.from_definition(
            SymbolDefinition(99, "GONE", "1", "1", 1, 2, 1, 2)
        )
        order = await client.new_order("GONE", Side.BUY, 1, 1)
        with pytest.raises(BinaryProtocolError, match=r"T-1 rejected \(1\): unknown"):
            await client.wait_for(order)


async def test_an_undefined_symbol_and_a_later_versions_reason_in_a_report() -> None:
    async with venue() as stub, client_of(stub) as client:
        stub.push(fill("A", symbol=99, qty=5, reason=60_000))
        report = await client.wait_for("A")
    assert (report.symbol, report.qty, report.reason) == ("#99", Decimal(5), 60_000)


@pytest.mark.parametrize(
    ("values", "error", "text"),
    [
        ({"symbol": "XYZ"}, ValueError, "unknown symbol 'XYZ'; known: AAPL, BTCUSDT"),
        ({"price": "1.001"}, ValueError, "AAPL: price 1.001 is not a multiple of the tick 0.01"),
        ({"qty": "0.5"}, ValueError, "AAPL: quantity 0.5 is not a multiple of the lot 1"),
        ({"price": 1.5}, TypeError, "is a float"),
        ({"cl_ord_id": "A B"}, ValueError, "NewOrder cannot be sent"),
        ({"cl_ord_id": "A" * 37}, ValueError, "NewOrder cannot be sent"),
        ({"account": "A" * 33}, ValueError, "NewOrder cannot be sent"),
        ({"price": 10**17}, ValueError, "NewOrder cannot be sent"),
        ({"qty": 10**30}, ValueError, "NewOrder cannot be sent"),
    ],
)
async def test_what_cannot_be_sent_is_our_own_error(
    values: dict[str, Any], error: type[Exception], text: str
) -> None:
    arguments: dict[str, Any] = {"symbol": "AAPL", "side": Side.BUY, "qty": 1, "price": 1}
    async with venue() as stub, client_of(stub) as client:
        with pytest.raises(error, match=text):
            await client.new_order(**(arguments | values))
        await client.new_order("AAPL", Side.BUY, 1, 1)
        await client.wait_for("T-1" if len(stub.received) == 1 else f"T-{client._ids}")
    assert [message.seq for message in stub.received] == [1]


async def test_waiting_has_an_end() -> None:
    async with venue() as stub, client_of(stub) as client:
        with pytest.raises(TimeoutError):
            await client.wait_for("NEVER", timeout_s=0.01)


async def test_after_a_cut_the_client_comes_back() -> None:
    async with venue() as stub, client_of(stub) as client:
        first = await client.new_order("AAPL", Side.BUY, 1, 1)
        await client.wait_for(first)
        stub.cut()
        async with asyncio.timeout(5):
            while client.is_logged_on:
                await asyncio.sleep(0.001)
            second = await client.new_order("AAPL", Side.BUY, 2, 2)
        report = await client.wait_for(second)
        assert client.logons == 2
    assert report.raw.ref_seq == 2
    assert [message.seq for message in stub.received] == [1, 2]


async def test_a_request_that_was_lost_is_sent_again() -> None:
    async with venue(lose_requests=1) as stub, client_of(stub) as client:
        order = await client.new_order("AAPL", Side.BUY, 1, 1)
        report = await client.wait_for(order)
    assert not report.raw.repeated
    assert len(stub.received) == 1
    assert stub.logons == 2


async def test_a_report_that_was_lost_is_repeated() -> None:
    async with venue(cut_before_answer=True) as stub, client_of(stub) as client:
        stream = client.reports()
        order = await client.new_order("AAPL", Side.BUY, 1, 1)
        report = await client.wait_for(order)
    assert report.raw.repeated
    assert len(stub.received) == 1
    assert len([item async for item in stream]) == 1


async def test_reports_during_an_absence_are_repeated() -> None:
    async with venue() as stub, client_of(stub) as client:
        await client.wait_for(await client.new_order("AAPL", Side.BUY, 1, 1))
        stub.cut()
        for writer in list(stub.writers):
            stub.writers.discard(writer)
        stub.push(fill("T-1"))
        report = await client.wait_for("T-1", ReportKind.TRADE)
    assert report.raw.repeated


@pytest.mark.parametrize(("next_expected", "names"), [(0, []), (1, ["A", "B", "C"]), (3, ["C"])])
async def test_a_new_client_chooses_what_is_repeated(next_expected: int, names: list[str]) -> None:
    async with venue() as stub:
        for name in "ABC":
            stub.push(fill(name))
        async with client_of(stub, next_expected=next_expected) as client:
            stub.push(fill("END"))
            await client.wait_for("END")
            assert [item.cl_ord_id for item in client._history] == [*names, "END"]
            assert client.next_expected == 5


async def test_without_reconnection_a_cut_ends_the_session() -> None:
    async with venue() as stub, client_of(stub, reconnect=False) as client:
        stream = client.reports()
        stub.cut()
        with pytest.raises(SessionEnded, match="connection lost"):
            await client.wait_for("A")
        with pytest.raises(SessionEnded):
            await client.new_order("AAPL", Side.BUY, 1, 1)
        assert [item async for item in stream] == []


async def test_a_refused_logon() -> None:
    async with venue(refuse=(LogoutReason.NOT_AUTHORIZED, "no such session")) as stub:
        with pytest.raises(LogonRefused, match="no such session"):
            await client_of(stub).connect()


async def test_nobody_listens() -> None:
    async with venue() as stub:
        pass
    with pytest.raises(OSError, match=r"refused|Connect"):
        await client_of(stub).connect()


async def test_a_venue_that_says_nothing() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    stub = StubVenue(port=server.sockets[0].getsockname()[1])
    with pytest.raises(TimeoutError):
        await client_of(stub, connect_timeout_s=0.05).connect()
    server.close()
    await server.wait_closed()


async def test_the_venue_logs_the_client_out_for_good() -> None:
    async with venue() as stub, client_of(stub) as client:
        stream = client.reports()
        logout = BinarySession(0)
        logout.logout(LogoutReason.NORMAL, "closed by the operator", 0)
        for writer in stub.writers:
            writer.write(logout.data_to_send())
        with pytest.raises(SessionEnded, match="closed by the operator"):
            await client.wait_for("A")
        assert [item async for item in stream] == []


async def test_a_restarting_venue_is_awaited() -> None:
    async with venue() as first:
        client = await client_of(first).connect()
        order = await client.new_order("AAPL", Side.BUY, 1, 1)
        await client.wait_for(order)
        logout = BinarySession(0)
        logout.logout(LogoutReason.VENUE_STOPPING, "stopping", 0)
        for writer in first.writers:
            writer.write(logout.data_to_send())
    request = asyncio.create_task(client.new_order("AAPL", Side.BUY, 2, 2))
    await asyncio.sleep(0.05)
    assert not request.done()
    async with venue(first.port, numbers=first.numbers, outgoing=first.outgoing) as second:
        async with asyncio.timeout(5):
            await client.wait_for(await request)
        assert [message.seq for message in second.received] == [2]
        await client.logout()


async def test_a_venue_that_lost_its_data_ends_the_session() -> None:
    async with venue() as stub, client_of(stub) as client:
        await client.wait_for(await client.new_order("AAPL", Side.BUY, 1, 1))
        stub.numbers = Numbers(1, 2)
        stub.cut()
        with pytest.raises(DataLost):
            await client.wait_for("A")
    async with venue() as stub, client_of(stub) as client:
        await client.wait_for(await client.new_order("AAPL", Side.BUY, 1, 1))
        stub.numbers = Numbers(1, 1)
        stub.cut()
        with pytest.raises(LogonRefused, match="next_expected is 2"):
            await client.wait_for("A")


async def test_heartbeats_keep_an_idle_session_open() -> None:
    async with venue() as stub, client_of(stub, heartbeat_s=1) as client:
        await asyncio.sleep(1.2)
        assert client.is_logged_on
        assert client.logons == 1


async def test_a_client_connects_once() -> None:
    async with venue() as stub:
        client = client_of(stub)
        with pytest.raises(SessionEnded, match="not connected"):
            await client.new_order("AAPL", Side.BUY, 1, 1)
        await client.connect()
        with pytest.raises(SessionEnded, match="connects once"):
            await client.connect()
        await client.close()
        with pytest.raises(SessionEnded, match="closed"):
            await client.new_order("AAPL", Side.BUY, 1, 1)
        await client.close()


async def test_an_error_inside_the_block_closes_without_logout() -> None:
    async with venue() as stub:
        with pytest.raises(ZeroDivisionError):
            async with client_of(stub):
                raise ZeroDivisionError


def test_a_symbols_limits() -> None:
    symbol = Symbol.from_definition(SYMBOLS[0])
    assert symbol.max_price == Decimal("10000000.00")
    assert symbol.min_qty == Decimal("0.00001")
    assert symbol.ticks(Decimal("1E+2")) == 10_000
    assert symbol.price(2**63 - 1) == Decimal("92233720368547758.07")

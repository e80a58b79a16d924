"""An asyncio client of the binary protocol, with decimal prices, reconnection and recovery.

    async with BinaryClient("127.0.0.1", 8082, "DEMO") as client:
        order = await client.new_order("BTCUSDT", Side.BUY, "0.5", "65000.01")
        report = await client.wait_for(order)
        print(report.kind.name, report.leaves_qty)

The client keeps its numbers and its unanswered requests. When the connection breaks it connects
again, the venue repeats the reports that were missed, and requests that did not arrive are sent
again: each is executed once. docs/binary.md describes the protocol itself.
"""

import asyncio
import contextlib
import secrets
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from decimal import Context, Decimal
from fractions import Fraction
from types import TracebackType
from typing import Final, Self, TypeAlias

import msgspec

from openoutcry.protocol.binary.client_session import (
    ClientEvent,
    ClientSession,
    LoggedOn,
    LoggedOut,
)
from openoutcry.protocol.binary.enums import (
    AVG_PX_SCALE,
    Liquidity,
    LogoutReason,
    OrderStatus,
    OrderType,
    RejectReason,
    ReportKind,
    Side,
    TimeInForce,
)
from openoutcry.protocol.binary.errors import BinaryProtocolError, DataLost, LogonRefused, PeerError
from openoutcry.protocol.binary.messages import (
    Cancel,
    ClientApplication,
    ExecutionReport,
    NewOrder,
    Reject,
    Replace,
    Status,
    SymbolDefinition,
    decode_client_message,
    encode_payload,
)

__all__ = [
    "BinaryClient",
    "Report",
    "Reject",
    "ReportStream",
    "SessionEnded",
    "Symbol",
    "Liquidity",
    "LogonRefused",
    "OrderStatus",
    "OrderType",
    "RejectReason",
    "ReportKind",
    "Side",
    "TimeInForce",
]

#: What a price or quantity may be given as. Not a float: 0.1 is not a tenth.
Number: TypeAlias = Decimal | str | int

#: Wide enough for any 64-bit number times any tick.
_EXACT: Final = Context(prec=100)
_READ_BYTES: Final = 65536
#: After these the venue may well accept the same client again.
_RETRY: Final = {
    LogoutReason.VENUE_STOPPING,
    LogoutReason.ALREADY_LOGGED_ON,
    LogoutReason.SEQUENCE_GAP,
    LogoutReason.HEARTBEAT_TIMEOUT,
    LogoutReason.LOGON_TIMEOUT,
    LogoutReason.SLOW_CONSUMER,
}


class SessionEnded(BinaryProtocolError):
    """The session is over: the venue logged us out, or the client was closed."""


@dataclass(frozen=True, slots=True)
class Symbol:
    """A symbol as the venue defines it; prices and quantities in decimal."""

    number: int
    name: str
    tick: Decimal
    lot: Decimal
    min_price: Decimal
    max_price: Decimal
    min_qty: Decimal
    max_qty: Decimal

    @classmethod
    def from_definition(cls, definition: SymbolDefinition) -> Self:
        """Convert the venue's message."""
        tick, lot = Decimal(definition.tick), Decimal(definition.lot)
        return cls(
            definition.number,
            definition.name,
            tick,
            lot,
            _EXACT.multiply(definition.min_price, tick),
            _EXACT.multiply(definition.max_price, tick),
            _EXACT.multiply(definition.min_qty, lot),
            _EXACT.multiply(definition.max_qty, lot),
        )

    def ticks(self, price: Number) -> int:
        """Convert a price to ticks; ValueError if it is not a multiple."""
        return _units(price, self.tick, f"{self.name}: price", "tick")

    def lots(self, qty: Number) -> int:
        """Convert a quantity to lots; ValueError if it is not a multiple."""
        return _units(qty, self.lot, f"{self.name}: quantity", "lot")

    def price(self, ticks: int) -> Decimal:
        """Convert ticks to a price."""
        return _EXACT.multiply(ticks, self.tick)

    def qty(self, lots: int) -> Decimal:
        """Convert lots to a quantity."""
        return _EXACT.multiply(lots, self.lot)


def _units(value: Number, unit: Decimal, what: str, unit_name: str) -> int:
    if isinstance(value, float):
        raise TypeError(f"{what} {value!r} is a float: give a Decimal, a str or an int")
    units = Fraction(Decimal(value)) / Fraction(unit)
    if units.denominator != 1:
        raise ValueError(f"{what} {value} is not a multiple of the {unit_name} {unit}")
    return int(units)


@dataclass(frozen=True, slots=True)
class Report:
    """An execution report with names and decimals in place of numbers."""

    kind: ReportKind
    status: OrderStatus
    reason: RejectReason | int
    symbol: str
    side: int
    cl_ord_id: str
    orig_cl_ord_id: str
    order_id: int
    exec_id: int
    trade_id: int
    account: str
    price: Decimal
    qty: Decimal
    last_px: Decimal
    last_qty: Decimal
    cum_qty: Decimal
    leaves_qty: Decimal
    #: None where nothing is filled or the venue could not express it.
    avg_px: Decimal | None
    #: The message as it came: seq, ref_seq, repeated, time_ns and the integers.
    raw: ExecutionReport


def _report(message: ExecutionReport, symbol: Symbol) -> Report:
    avg_px = None
    if message.avg_px is not None and message.cum_qty:
        scaled = _EXACT.multiply(message.avg_px, symbol.tick)
        avg_px = _EXACT.divide(scaled, AVG_PX_SCALE)
    return Report(
        kind=ReportKind(message.kind),
        status=OrderStatus(message.status),
        reason=_reason(message.reason),
        symbol=symbol.name,
        side=message.side,
        cl_ord_id=message.cl_ord_id,
        orig_cl_ord_id=message.orig_cl_ord_id,
        order_id=message.order_id,
        exec_id=message.exec_id,
        trade_id=message.trade_id,
        account=message.account,
        price=symbol.price(message.price),
        qty=symbol.qty(message.qty),
        last_px=symbol.price(message.last_px),
        last_qty=symbol.qty(message.last_qty),
        cum_qty=symbol.qty(message.cum_qty),
        leaves_qty=symbol.qty(message.leaves_qty),
        avg_px=avg_px,
        raw=message,
    )


class ReportStream:
    """All reports from the call of `BinaryClient.reports` on, as an asynchronous iterator."""

    def __init__(self, client: "BinaryClient") -> None:
        self._client = client
        self._queue: asyncio.Queue[Report | Reject | None] = asyncio.Queue()
        client._streams.append(self)
        if client._failure is not None:
            self._queue.put_nowait(None)

    def __aiter__(self) -> AsyncIterator[Report | Reject]:
        return self

    async def __anext__(self) -> Report | Reject:
        item = await self._queue.get()
        if item is not None:
            return item
        self.close()
        failure = self._client._failure
        if failure is None or isinstance(failure, SessionEnded):
            raise StopAsyncIteration
        raise failure

    def close(self) -> None:
        """Stop listening."""
        with contextlib.suppress(ValueError):
            self._client._streams.remove(self)


@dataclass(slots=True)
class _Waiter:
    matches: Callable[[Report | Reject], bool]
    found: "asyncio.Future[Report | Reject]"


class BinaryClient:
    """A trading client over the binary protocol; one task of the running loop reads for it."""

    def __init__(
        self,
        host: str,
        port: int,
        session_id: str,
        password: str = "",
        *,
        heartbeat_s: int = 10,
        next_expected: int = 0,
        reconnect: bool = True,
        backoff_s: tuple[float, float] = (0.1, 5.0),
        connect_timeout_s: float = 10.0,
        history: int = 10_000,
        id_prefix: str | None = None,
    ) -> None:
        """Prepare a client; `connect` (or `async with`) opens the session.

        Args:
            host: The venue's address.
            port: Its binary order-entry port.
            session_id: Name of the session.
            password: Its password.
            heartbeat_s: Seconds between heartbeats; 0 for none.
            next_expected: Number of the first server message wanted: 0 for new ones only, 1 for
                all that the session ever got, or `next_expected` of an earlier client.
            reconnect: Connect again when an open session loses its connection.
            backoff_s: First and longest pause before connecting again; doubled each time.
            connect_timeout_s: How long connecting and logging on may take.
            history: How many reports `wait_for` looks back on.
            id_prefix: What generated ClOrdIDs start with; by default something random.
        """
        self._host = host
        self._port = port
        self._reconnect = reconnect
        self._backoff_s = backoff_s
        self._connect_timeout_s = connect_timeout_s
        self._id_prefix = secrets.token_hex(4) + "-" if id_prefix is None else id_prefix
        self._ids = 0
        self._session = ClientSession(
            session_id, password, heartbeat_s=heartbeat_s, next_expected=next_expected
        )
        #: The venue's symbols by name; filled by the logon.
        self.symbols: dict[str, Symbol] = {}
        #: How often the client has logged on.
        self.logons = 0
        self._by_number: dict[int, Symbol] = {}
        self._history: deque[Report | Reject] = deque(maxlen=history)
        self._waiters: list[_Waiter] = []
        self._streams: list[ReportStream] = []
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._task: asyncio.Task[None] | None = None
        # Set while requests can be sent, and for good once they never can again.
        self._ready = asyncio.Event()
        self._failure: BaseException | None = None

    # --- opening and closing ----------------------------------------------------------------------

    async def connect(self) -> Self:
        """Connect and log on.

        Raises:
            LogonRefused: The venue declined.
            OSError: Nobody listens there (TimeoutError: it took too long).
        """
        if self._task is not None:
            raise SessionEnded("a client connects once; make a new one")
        try:
            await self._open()
        except BaseException:
            await self._close_writer()
            raise
        self._task = asyncio.create_task(self._run(), name="binary client")
        return self

    async def logout(self, text: str = "", *, timeout_s: float = 5.0) -> None:
        """Log out, await the venue's answer for a while, and close."""
        if self._session.is_active and self._task is not None:
            self._reconnect = False
            self._ready.clear()
            self._session.logout(text, self._now_ms())
            self._flush()
            await asyncio.wait([self._task], timeout=timeout_s)
        await self.close()

    async def close(self) -> None:
        """Close the connection without a Logout; the session's orders stay."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._session.disconnected()
        await self._close_writer()
        self._fail(SessionEnded("the client is closed"))

    async def __aenter__(self) -> Self:
        return await self.connect()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            await self.logout()
        else:
            await self.close()

    @property
    def is_logged_on(self) -> bool:
        """True while requests go out at once."""
        return self._session.is_active

    @property
    def next_expected(self) -> int:
        """Number of the next server message: keep it to go on from here with another client."""
        return self._session.next_expected

    # --- requests ---------------------------------------------------------------------------------

    async def new_order(
        self,
        symbol: str,
        side: Side,
        qty: Number,
        price: Number | None = None,
        *,
        tif: TimeInForce = TimeInForce.DAY,
        account: str = "",
        cl_ord_id: str | None = None,
    ) -> str:
        """Send a limit order, or a market order where no price is given; return its ClOrdID.

        Like all requests, waits for the session while the client is connecting again.

        Raises:
            ValueError: The symbol is unknown, or a number or text cannot be sent.
            BinaryProtocolError: The session is over.
        """
        await self._until_ready()
        known = self._symbol(symbol)
        identifier = self._new_id(cl_ord_id)
        await self._send(
            NewOrder(
                seq=1,
                cl_ord_id=identifier,
                symbol=known.number,
                side=int(side),
                ord_type=int(OrderType.MARKET if price is None else OrderType.LIMIT),
                tif=int(tif),
                price=0 if price is None else known.ticks(price),
                qty=known.lots(qty),
                account=account,
            )
        )
        return identifier

    async def cancel(
        self,
        orig_cl_ord_id: str,
        symbol: str,
        *,
        side: Side | None = None,
        cl_ord_id: str | None = None,
    ) -> str:
        """Ask for an order to be canceled; return the request's own ClOrdID."""
        await self._until_ready()
        identifier = self._new_id(cl_ord_id)
        number = self._symbol(symbol).number
        await self._send(Cancel(1, identifier, orig_cl_ord_id, number, int(side or 0)))
        return identifier

    async def replace(
        self,
        orig_cl_ord_id: str,
        symbol: str,
        qty: Number,
        price: Number,
        *,
        side: Side | None = None,
        cl_ord_id: str | None = None,
    ) -> str:
        """Ask for another price and total quantity of a limit order; return the new ClOrdID."""
        await self._until_ready()
        known = self._symbol(symbol)
        identifier = self._new_id(cl_ord_id)
        await self._send(
            Replace(
                seq=1,
                cl_ord_id=identifier,
                orig_cl_ord_id=orig_cl_ord_id,
                symbol=known.number,
                side=int(side or 0),
                ord_type=int(OrderType.LIMIT),
                price=known.ticks(price),
                qty=known.lots(qty),
            )
        )
        return identifier

    async def status(self, cl_ord_id: str, symbol: str) -> int:
        """Ask for an order's state; return the request's number, the `ref_seq` of the answer."""
        await self._until_ready()
        return await self._send(Status(1, cl_ord_id, self._symbol(symbol).number))

    # --- answers ----------------------------------------------------------------------------------

    def reports(self) -> ReportStream:
        """Return all reports and rejects from now on, as an asynchronous iterator.

        It ends when the client is closed or logs out. What is not read is kept.
        """
        return ReportStream(self)

    async def wait_for(
        self,
        cl_ord_id: str,
        *kinds: ReportKind,
        after: int = 0,
        timeout_s: float = 10.0,
    ) -> Report:
        """Return an order's first report of one of some kinds (or of any), past ones included.

        Args:
            cl_ord_id: The request's ClOrdID.
            kinds: The kinds awaited; none for any.
            after: Only reports with a higher number (`report.raw.seq`).
            timeout_s: How long to wait; then TimeoutError.

        Raises:
            BinaryProtocolError: The venue sent a Reject for this ClOrdID, or the session ended.
        """

        def matches(item: Report | Reject) -> bool:
            if item.cl_ord_id != cl_ord_id:
                return False
            if isinstance(item, Reject):
                return item.seq > after
            return item.raw.seq > after and (not kinds or item.kind in kinds)

        item = await self.wait_until(matches, timeout_s=timeout_s)
        if isinstance(item, Reject):
            raise BinaryProtocolError(f"{item.cl_ord_id} rejected ({item.reason}): {item.text}")
        return item

    async def wait_until(
        self, matches: Callable[[Report | Reject], bool], *, timeout_s: float = 10.0
    ) -> Report | Reject:
        """Return the first report or reject that matches, past ones included."""
        for item in self._history:
            if matches(item):
                return item
        if self._failure is not None:
            raise self._failure
        waiter = _Waiter(matches, asyncio.get_running_loop().create_future())
        self._waiters.append(waiter)
        try:
            async with asyncio.timeout(timeout_s):
                return await waiter.found
        finally:
            self._waiters.remove(waiter)

    # --- sending ----------------------------------------------------------------------------------

    async def _until_ready(self) -> None:
        if self._task is None:
            raise SessionEnded("not connected")
        while not self._session.is_active:
            if self._failure is not None:
                raise self._failure
            # Cleared wherever the session stops being active, before anything is awaited.
            await self._ready.wait()

    def _symbol(self, name: str) -> Symbol:
        try:
            return self.symbols[name]
        except KeyError:
            known = ", ".join(sorted(self.symbols)) or "none"
            raise ValueError(f"unknown symbol {name!r}; known: {known}") from None

    def _new_id(self, given: str | None) -> str:
        if given is not None:
            return given
        self._ids += 1
        return f"{self._id_prefix}{self._ids}"

    async def _send(self, message: ClientApplication) -> int:
        try:
            # Encoding does not check ranges and characters; what the venue would see does.
            decode_client_message(encode_payload(message))
        except (msgspec.ValidationError, OverflowError) as error:
            raise ValueError(f"{type(message).__name__} cannot be sent: {error}") from error
        seq = self._session.send(message, self._now_ms())
        self._flush()
        if self._writer is not None:
            # If the connection just broke, the reading task sees it too and sends again.
            with contextlib.suppress(OSError):
                await self._writer.drain()
        return seq

    def _flush(self) -> None:
        data = self._session.data_to_send()
        if data and self._writer is not None:
            self._writer.write(data)

    # --- the connection ---------------------------------------------------------------------------

    @staticmethod
    def _now_ms() -> int:
        return int(asyncio.get_running_loop().time() * 1000)

    async def _open(self) -> None:
        """Connect, log on, and handle what comes with the logon."""
        async with asyncio.timeout(self._connect_timeout_s):
            self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
            self._session.connected(self._now_ms())
            self._flush()
            while not self._session.is_active:
                self._receive(await self._reader.read(_READ_BYTES))

    async def _run(self) -> None:
        try:
            while True:
                try:
                    await self._read_to_the_end()
                except (OSError, PeerError) as error:
                    if not self._reconnect:
                        raise SessionEnded(f"connection lost: {error}") from error
                await self._open_again()
        except Exception as error:
            # Whoever waits, or asks later, gets it.
            self._fail(error)
        finally:
            self._session.disconnected()
            await self._close_writer()

    async def _read_to_the_end(self) -> None:
        """Read until the connection ends; returns where connecting again makes sense."""
        assert self._reader is not None
        while True:
            deadline_ms = self._session.next_deadline_ms()
            timeout_s = None if deadline_ms is None else (deadline_ms - self._now_ms() + 1) / 1000
            try:
                async with asyncio.timeout(timeout_s) as timer:
                    data = await self._reader.read(_READ_BYTES)
            except TimeoutError:
                if not timer.expired():
                    raise  # the socket's own
                self._session.poll(self._now_ms())
                self._flush()
                continue
            if self._receive(data):
                return

    async def _open_again(self) -> None:
        pause_s, longest_s = self._backoff_s
        self._ready.clear()
        while True:
            self._session.disconnected()
            await self._close_writer()
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, longest_s)
            try:
                await self._open()
            except LogonRefused as error:
                if error.reason not in _RETRY:
                    raise
            except DataLost:
                raise
            except (OSError, PeerError):
                pass
            else:
                return

    def _receive(self, data: bytes) -> bool:
        """Handle bytes; True where the venue logged us out and may take us back."""
        if not data:
            raise ConnectionResetError("the venue closed the connection")
        for event in self._session.receive_data(data, self._now_ms()):
            if self._handle(event):
                return True
        self._flush()
        return False

    def _handle(self, event: ClientEvent) -> bool:
        match event:
            case LoggedOn():
                symbols = [Symbol.from_definition(symbol) for symbol in event.symbols]
                self.symbols = {symbol.name: symbol for symbol in symbols}
                self._by_number = {symbol.number: symbol for symbol in symbols}
                self.logons += 1
                self._ready.set()
            case LoggedOut():
                if self._reconnect and event.reason in _RETRY:
                    return True
                raise SessionEnded(f"logged out by the venue ({event.reason}): {event.text}")
            case Reject():
                self._publish(event)
            case ExecutionReport():
                symbol = self._by_number.get(event.symbol) or _nameless(event.symbol)
                self._publish(_report(event, symbol))
        return False

    def _publish(self, item: Report | Reject) -> None:
        self._history.append(item)
        for stream in self._streams:
            stream._queue.put_nowait(item)
        for waiter in self._waiters:
            if not waiter.found.done() and waiter.matches(item):
                waiter.found.set_result(item)

    def _fail(self, error: BaseException) -> None:
        if self._failure is not None:
            return
        self._failure = error
        self._ready.set()
        for stream in self._streams:
            stream._queue.put_nowait(None)
        for waiter in self._waiters:
            if not waiter.found.done():
                waiter.found.set_exception(error)

    async def _close_writer(self) -> None:
        writer, self._writer, self._reader = self._writer, None, None
        if writer is not None:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


def _reason(number: int) -> RejectReason | int:
    try:
        return RejectReason(number)
    except ValueError:
        return number  # a later version's


def _nameless(number: int) -> Symbol:
    """Return a stand-in for a symbol that the venue did not define: units of one."""
    one = Decimal(1)
    return Symbol(number, f"#{number}", one, one, one, one, one, one)

"""An asyncio client of a FIX 4.4 venue, with decimal prices, reconnection and recovery.

    async with FixClient("127.0.0.1", 8081, "DEMO") as client:
        order = await client.new_order("BTCUSDT", Side.BUY, "0.5", "65000.01")
        report = await client.wait_for(order)
        print(report.ord_status, report.leaves_qty)

When the connection breaks the client connects again; the venue resends the reports that were
missed, and requests sent meanwhile follow by resend, too: each is executed once. Without a store
the numbers begin anew with each client object (its first Logon asks for a reset); with a
`FileStore` they outlive the process.

The session itself, with all of its rules, is `openoutcry.protocol.fix.session`, the same state
machine that the venue uses.
"""

import asyncio
import contextlib
import re
import secrets
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from types import TracebackType
from typing import Final, Self, TypeAlias

from openoutcry.clients.fix_reports import (
    BusinessReject,
    ExecType,
    ExecutionReport,
    OrderCancelReject,
    OrdStatus,
    OrdType,
    Reject,
    Report,
    Side,
    TimeInForce,
    read_report,
)
from openoutcry.clients.fix_store import FileStore
from openoutcry.protocol.errors import ProtocolError
from openoutcry.protocol.fix.events import (
    Application,
    Disconnect,
    Event,
    LoggedOn,
    LoggedOut,
    RejectReceived,
)
from openoutcry.protocol.fix.message import Message
from openoutcry.protocol.fix.session import MemoryState, Role, Session, SessionConfig, State
from openoutcry.protocol.fix.stamps import format_utc_ms
from openoutcry.protocol.fix.store import MemoryStore
from openoutcry.protocol.fix.stream import FrameReader

__all__ = [
    "FixClient",
    "FileStore",
    "LogonRefused",
    "SessionEnded",
    "ReportStream",
    "Report",
    "ExecutionReport",
    "OrderCancelReject",
    "Reject",
    "BusinessReject",
    "Side",
    "OrdType",
    "TimeInForce",
    "ExecType",
    "OrdStatus",
]

#: What a price or quantity may be given as. Not a float: 0.1 is not a tenth.
Number: TypeAlias = Decimal | str | int

_READ_BYTES: Final = 65_536
#: The clock may be set back while we sleep: look at it so often.
_LONGEST_SLEEP_S: Final = 1.0
_RESEND_SLICE: Final = 500
_TEXT = re.compile(r"[!-~]+\Z")
_CL_ORD_ID = re.compile(r"[!-~]{1,36}\Z")
_NUMBER = re.compile(r"-?\d+(\.\d+)?\Z")


class LogonRefused(ProtocolError):
    """The venue answered the Logon with a Logout, or by closing the connection."""


class SessionEnded(ProtocolError):
    """The session is over: the client was closed, or the venue does not take it back."""


@dataclass(slots=True)
class _Waiter:
    matches: Callable[[Report], bool]
    found: "asyncio.Future[Report]"


class ReportStream:
    """All reports from the call of `FixClient.reports` on, as an asynchronous iterator."""

    def __init__(self, client: "FixClient") -> None:
        self._client = client
        self._queue: asyncio.Queue[Report | None] = asyncio.Queue()
        client._streams.append(self)
        if client._failure is not None:
            self._queue.put_nowait(None)

    def __aiter__(self) -> AsyncIterator[Report]:
        return self

    async def __anext__(self) -> Report:
        report = await self._queue.get()
        if report is not None:
            return report
        self.close()
        raise StopAsyncIteration

    def close(self) -> None:
        """Stop listening."""
        with contextlib.suppress(ValueError):
            self._client._streams.remove(self)


class FixClient:
    """A trading client over FIX 4.4; one task of the running loop reads for it."""

    def __init__(
        self,
        host: str,
        port: int,
        sender_comp_id: str,
        target_comp_id: str = "OPENOUTCRY",
        *,
        username: str | None = None,
        password: str | None = None,
        heartbeat_s: int = 10,
        store: FileStore | None = None,
        reset: bool | None = None,
        reconnect: bool = True,
        backoff_s: tuple[float, float] = (0.1, 5.0),
        connect_timeout_s: float = 10.0,
        history: int = 10_000,
        id_prefix: str | None = None,
    ) -> None:
        """Prepare a client; `connect` (or `async with`) opens the session.

        Args:
            host: The venue's address.
            port: Its FIX port.
            sender_comp_id: Our CompID.
            target_comp_id: The venue's CompID.
            username: Username(553), if the venue asks for one.
            password: Password(554), likewise.
            heartbeat_s: HeartBtInt(108); 0 for none.
            store: Keeps numbers and sent messages over restarts of the process.
            reset: Whether the first Logon asks for new numbers on both sides; by default where
                nothing is stored. Reports that the venue still kept for us are then lost.
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
        self._store = store
        if reset is None:
            reset = store is None or store.is_empty
        config = SessionConfig(
            role=Role.INITIATOR,
            sender_comp_id=sender_comp_id,
            target_comp_id=target_comp_id,
            heartbeat_s=heartbeat_s,
            username=username,
            password=password,
            reset_on_logon=reset,
            logon_timeout_ms=round(connect_timeout_s * 1000),
            served_types=frozenset("89"),
        )
        if store is None:
            self._session = Session(config, MemoryState(), MemoryStore())
        else:
            self._session = Session(config, store, store)
        #: How often the client has logged on.
        self.logons = 0
        #: Text(58) of the venue's last Logout.
        self.logout_text = ""
        # ClOrdIDs of what was sent, by number: for a Reject, which names only the number.
        self._sent: dict[int, str] = {}
        self._history: deque[Report] = deque(maxlen=history)
        self._waiters: list[_Waiter] = []
        self._streams: list[ReportStream] = []
        self._frames = FrameReader()
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._task: asyncio.Task[None] | None = None
        self._failure: BaseException | None = None

    # --- opening and closing ----------------------------------------------------------------------

    async def connect(self) -> Self:
        """Connect and log on.

        Raises:
            LogonRefused: The venue declined.
            OSError: Nobody listens there (TimeoutError: it took too long).
        """
        if self._task is not None:
            raise SessionEnded("a client that was connected is not used again; make a new one")
        try:
            await self._open()
        except BaseException:
            self._disconnected()
            await self._close_writer()
            raise
        self._task = asyncio.create_task(self._run(), name="FIX client")
        return self

    async def logout(self, text: str = "", *, timeout_s: float = 5.0) -> None:
        """Log out, await the venue's answer for a while, and close."""
        if self._session.is_logged_on and self._task is not None:
            self._reconnect = False
            self._act(self._session.logout(text, _now_ms()))
            await asyncio.wait([self._task], timeout=timeout_s)
        await self.close()

    async def close(self) -> None:
        """Close the connection without a Logout; the session's orders stay."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
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
        """True while requests go out at once; otherwise they wait for the next Logon."""
        return self._session.is_logged_on

    @property
    def numbers(self) -> tuple[int, int]:
        """Return the numbers due next: from the venue, and from us."""
        return self._session.state.next_in, self._session.state.next_out

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

        While the client is connecting again the order is kept, and sent after the Logon.

        Raises:
            ValueError: A text or number cannot be sent.
            SessionEnded: The client is closed.
        """
        identifier = self._new_id(cl_ord_id)
        fields = [(11, identifier)]
        if account:
            fields.append((1, _text(account, "account")))
        fields += [(55, _text(symbol, "symbol")), (54, side), (60, ""), (38, _number(qty))]
        if price is None:
            fields.append((40, OrdType.MARKET))
        else:
            fields += [(40, OrdType.LIMIT), (44, _number(price))]
        fields.append((59, tif))
        await self._send("D", fields, identifier)
        return identifier

    async def cancel(
        self,
        orig_cl_ord_id: str,
        symbol: str,
        side: Side,
        qty: Number | None = None,
        *,
        cl_ord_id: str | None = None,
    ) -> str:
        """Ask for an order to be canceled; return the request's own ClOrdID.

        `qty` is the order's OrderQty(38), for venues that want to see it; the whole of what is left
        is canceled in any case.
        """
        identifier = self._new_id(cl_ord_id)
        fields = [(41, _text(orig_cl_ord_id, "orig_cl_ord_id")), (11, identifier)]
        fields += [(55, _text(symbol, "symbol")), (54, side), (60, "")]
        if qty is not None:
            fields.append((38, _number(qty)))
        await self._send("F", fields, identifier)
        return identifier

    async def replace(
        self,
        orig_cl_ord_id: str,
        symbol: str,
        side: Side,
        qty: Number,
        price: Number,
        *,
        cl_ord_id: str | None = None,
    ) -> str:
        """Ask for another price and total quantity of a limit order; return the new ClOrdID."""
        identifier = self._new_id(cl_ord_id)
        fields = [(41, _text(orig_cl_ord_id, "orig_cl_ord_id")), (11, identifier)]
        fields += [(55, _text(symbol, "symbol")), (54, side), (60, ""), (38, _number(qty))]
        fields += [(40, OrdType.LIMIT), (44, _number(price))]
        await self._send("G", fields, identifier)
        return identifier

    async def status(self, cl_ord_id: str, symbol: str, side: Side) -> int:
        """Ask for an order's state; return the request's number. The answer has ExecType `I`."""
        fields = [(11, _text(cl_ord_id, "cl_ord_id")), (55, _text(symbol, "symbol")), (54, side)]
        return await self._send("H", fields, cl_ord_id)

    # --- answers ----------------------------------------------------------------------------------

    def reports(self) -> ReportStream:
        """Return all reports and rejects from now on, as an asynchronous iterator.

        It ends when the client is closed or logs out. What is not read is kept.
        """
        return ReportStream(self)

    async def wait_for(
        self,
        cl_ord_id: str,
        matches: Callable[[Report], bool] | None = None,
        *,
        timeout_s: float = 10.0,
    ) -> Report:
        """Return a ClOrdID's first report that matches (by default the first), past ones included.

        Raises:
            TimeoutError: None came in time.
            SessionEnded: The session is over.
        """

        def is_wanted(report: Report) -> bool:
            return report.cl_ord_id == cl_ord_id and (matches is None or matches(report))

        return await self.wait_until(is_wanted, timeout_s=timeout_s)

    async def wait_until(
        self, matches: Callable[[Report], bool], *, timeout_s: float = 10.0
    ) -> Report:
        """Return the first report that matches, past ones included."""
        for report in self._history:
            if matches(report):
                return report
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

    def _new_id(self, given: str | None) -> str:
        if given is None:
            self._ids += 1
            given = f"{self._id_prefix}{self._ids}"
        if not _CL_ORD_ID.match(given):
            raise ValueError(f"ClOrdID {given!r}: 1 to 36 printable ASCII characters, no space")
        return given

    async def _send(self, msg_type: str, fields: list[tuple[int, str]], identifier: str) -> int:
        if self._task is None:
            raise SessionEnded("not connected")
        if self._failure is not None:
            raise self._failure
        now_ms = _now_ms()
        stamp = format_utc_ms(now_ms)
        # TransactTime(60) is the moment of sending.
        body = [(tag, stamp if tag == 60 else str(value).encode()) for tag, value in fields]
        number = self._session.send_application(msg_type, body, now_ms)
        self._sent[number] = identifier
        self._sent.pop(number - (self._history.maxlen or 0), None)
        self._flush()
        if self._writer is not None:
            # If the connection just broke, the reading task sees it, too, and connects again.
            with contextlib.suppress(OSError):
                await self._writer.drain()
        return number

    def _flush(self) -> None:
        data = self._session.data_to_send()
        while self._session.is_resending:
            data += self._session.resend_slice(_now_ms(), _RESEND_SLICE)
        if data and self._writer is not None:
            self._writer.write(data)

    # --- the connection ---------------------------------------------------------------------------

    async def _open(self) -> None:
        """Connect, log on, and handle what comes with the logon."""
        async with asyncio.timeout(self._connect_timeout_s):
            self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
            self._frames = FrameReader()
            self.logout_text = ""
            self._act(self._session.connected(_now_ms()))
            while not self._session.is_logged_on:
                data = await self._reader.read(_READ_BYTES)
                is_over = not data or self._receive(data)
                if is_over and not self._session.is_logged_on:
                    raise LogonRefused(self.logout_text or "the venue closed the connection")

    async def _run(self) -> None:
        try:
            while True:
                try:
                    await self._read_to_the_end()
                except OSError as error:
                    if not self._reconnect:
                        raise SessionEnded(f"connection lost: {error}") from error
                if not self._reconnect:
                    raise SessionEnded(self.logout_text or "logged out")
                await self._open_again()
        except Exception as error:
            # Whoever waits, or asks later, gets it.
            self._fail(error)
        finally:
            self._disconnected()
            await self._close_writer()

    async def _read_to_the_end(self) -> None:
        """Read until the session has nothing more to say on this connection."""
        assert self._reader is not None
        while self._session.connection is not State.CLOSING:
            due_ms = self._session.next_timeout_ms()
            sleep_s = _LONGEST_SLEEP_S
            if due_ms is not None:
                sleep_s = min(max((due_ms - _now_ms() + 1) / 1000, 0), _LONGEST_SLEEP_S)
            try:
                async with asyncio.timeout(sleep_s) as timer:
                    data = await self._reader.read(_READ_BYTES)
            except TimeoutError:
                if not timer.expired():
                    raise  # the socket's own
                self._act(self._session.poll(_now_ms()))
                continue
            if not data:
                raise ConnectionResetError("the venue closed the connection")
            self._receive(data)

    async def _open_again(self) -> None:
        pause_s, longest_s = self._backoff_s
        while True:
            self._disconnected()
            await self._close_writer()
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, longest_s)
            try:
                await self._open()
            except LogonRefused as error:
                # Closed without a word: the old connection may not be gone yet on the other side.
                if self.logout_text:
                    raise SessionEnded(f"the venue refused the Logon: {error}") from error
            except OSError:
                pass
            else:
                return

    def _receive(self, data: bytes) -> bool:
        """Handle bytes; True where the session asked to close."""
        is_over = False
        for frame in self._frames.feed(data):
            now_ms = _now_ms()
            if frame is None:
                events = self._session.receive_garbled(now_ms)
            else:
                events = self._session.receive(frame, now_ms)
            is_over |= self._act(events)
        if self._store is not None:
            self._store.save()
        return is_over

    def _act(self, events: list[Event]) -> bool:
        """Do what events ask for, and write what the session has to say; True: close."""
        is_over = False
        for event in events:
            match event:
                case LoggedOn():
                    self.logons += 1
                    # Once is enough: from now on the numbers go on over reconnects.
                    self._session.config = replace(self._session.config, reset_on_logon=False)
                case Application() | RejectReceived():
                    self._publish(event.message)
                case LoggedOut():
                    self.logout_text = event.text
                case Disconnect():
                    is_over = True
                case _:
                    pass
        self._flush()
        return is_over

    def _disconnected(self) -> None:
        if self._session.connection is not State.DISCONNECTED:
            self._session.connection_lost(_now_ms())

    def _publish(self, message: Message) -> None:
        number = message.get(45)
        identifier = self._sent.get(int(number), "") if number and number.isdigit() else ""
        report = read_report(message, rejected_cl_ord_id=identifier)
        if report is None:
            return
        self._history.append(report)
        for stream in self._streams:
            stream._queue.put_nowait(report)
        for waiter in self._waiters:
            if not waiter.found.done() and waiter.matches(report):
                waiter.found.set_result(report)

    def _fail(self, error: BaseException) -> None:
        if self._failure is not None:
            return
        self._failure = error
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


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _text(value: str, what: str) -> str:
    if not _TEXT.match(value):
        raise ValueError(f"{what} {value!r}: printable ASCII characters, no space")
    return value


def _number(value: Number) -> str:
    if isinstance(value, float):
        raise TypeError(f"{value!r} is a float: give a Decimal, a str or an int")
    text = format(value, "f") if isinstance(value, Decimal) else str(value)
    if not _NUMBER.match(text):
        raise ValueError(f"{value!r} is no decimal number")
    return text

"""A FIX session over a connection that is made again when it breaks: for any venue, any message.

    config = SessionConfig(
        role=Role.INITIATOR, version=Version.FIX42, sender_comp_id="ME", target_comp_id="THEM",
        served_types=frozenset("8"),
    )
    async with FixLink("192.0.2.7", 9000, config) as link:
        events = link.events()
        await link.send("V", [(262, "1"), (263, 1), (264, 1), (267, 1), (269, 0), (146, 1),
                              (55, "MSFT")])
        async for event in events:
            print(event)

The session itself, with all of its rules, is `openoutcry.protocol.fix.session`, the same state
machine that the venue uses; the events are the classes of `openoutcry.protocol.fix.events`.
"""

import asyncio
import contextlib
import time
from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal
from types import TracebackType
from typing import Final, Self, TypeAlias

from openoutcry.clients.fix_store import FileStore
from openoutcry.clients.fix_streams import Hub, Stream
from openoutcry.protocol.errors import ProtocolError
from openoutcry.protocol.fix.enums import SessionStatus
from openoutcry.protocol.fix.events import Disconnect, Event, LoggedOn, LoggedOut
from openoutcry.protocol.fix.session import MemoryState, Session, SessionConfig, State
from openoutcry.protocol.fix.store import MemoryStore
from openoutcry.protocol.fix.stream import FrameReader

#: What the value of a field may be given as. Not a float: 0.1 is not a tenth.
Value: TypeAlias = bytes | str | int | Decimal
#: The session's events, in the order in which they happened.
EventStream: TypeAlias = Stream[Event]

_READ_BYTES: Final = 65_536
#: The clock may be set back while we sleep: look at it so often.
_LONGEST_SLEEP_S: Final = 1.0
_RESEND_SLICE: Final = 500


class LogonRefused(ProtocolError):
    """The venue answered the Logon with a Logout, or by closing the connection."""


class SessionEnded(ProtocolError):
    """The session is over: the client was closed, or the venue does not take it back."""


class FixLink:
    """An initiator's session and its connection; one task of the running loop reads for it."""

    def __init__(
        self,
        host: str,
        port: int,
        config: SessionConfig,
        *,
        store: FileStore | None = None,
        reset: bool | None = None,
        reconnect: bool = True,
        backoff_s: tuple[float, float] = (0.1, 5.0),
        connect_timeout_s: float = 10.0,
    ) -> None:
        """Prepare a link; `connect` (or `async with`) opens the session.

        Args:
            host: The venue's address.
            port: Its FIX port.
            config: What was agreed with the venue; `reset_on_logon` resets with every Logon.
            store: Keeps numbers and sent messages over restarts of the process.
            reset: Whether the first Logon asks for new numbers on both sides; by default where
                nothing is stored. Messages that the venue still kept for us are then lost.
            reconnect: Connect again when an open session loses its connection.
            backoff_s: First and longest pause before connecting again; doubled each time.
            connect_timeout_s: How long connecting and logging on may take.
        """
        self._host = host
        self._port = port
        self._reconnect = reconnect
        self._backoff_s = backoff_s
        self._connect_timeout_s = connect_timeout_s
        self._store = store
        self._resets_each_time = config.reset_on_logon
        is_first_reset = (store is None or store.is_empty) if reset is None else reset
        config = replace(
            config,
            reset_on_logon=is_first_reset or config.reset_on_logon,
            logon_timeout_ms=round(connect_timeout_s * 1000),
        )
        if store is None:
            self._session = Session(config, MemoryState(), MemoryStore())
        else:
            self._session = Session(config, store, store)
        #: How often the client has logged on.
        self.logons = 0
        #: Text(58) and SessionStatus(1409) of the venue's last Logout.
        self.logout_text = ""
        self.logout_status: int | None = None
        self._events: Hub[Event] = Hub()
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
        """True while messages go out at once; otherwise they wait for the next Logon."""
        return self._session.is_logged_on

    @property
    def numbers(self) -> tuple[int, int]:
        """Return the numbers due next: from the venue, and from us."""
        return self._session.state.next_in, self._session.state.next_out

    # --- messages and events ----------------------------------------------------------------------

    async def send(self, msg_type: str, fields: Iterable[tuple[int, Value]]) -> int:
        """Send an application message; return its MsgSeqNum(34).

        While the client is connecting again the message is kept, and sent after the Logon. What
        the fields say is not looked at.

        Raises:
            ValueError: It is larger than the venue takes.
            SessionEnded: The client is closed.
        """
        self._check_open()
        body = [(tag, to_bytes(value)) for tag, value in fields]
        number = self._session.send_application(msg_type, body, _now_ms())
        await self._sent()
        return number

    async def reset_numbers(self) -> None:
        """Ask the venue to begin both directions again at 1, on the live session.

        Raises:
            LocalProtocolError: Nobody is logged on, or the version is FIX 4.0.
            SessionEnded: The client is closed.
        """
        self._check_open()
        self._act(self._session.reset_numbers(_now_ms()))
        await self._sent()

    def events(self) -> EventStream:
        """Return all events of the session from now on, as an asynchronous iterator.

        `Application` holds a message of the venue; others tell of Logons, gaps, resends, rejects,
        Logouts and lost connections. It ends when the client is closed or logs out.
        """
        return self._events.open()

    def _check_open(self) -> None:
        if self._task is None:
            raise SessionEnded("not connected")
        if self._failure is not None:
            raise self._failure

    async def _sent(self) -> None:
        self._flush()
        if self._writer is not None:
            # If the connection just broke, the reading task sees it, too, and connects again.
            with contextlib.suppress(OSError):
                await self._writer.drain()

    def _flush(self) -> None:
        self._write(self._session.data_to_send())
        while self._session.is_resending:
            self._write(self._session.resend_slice(_now_ms(), _RESEND_SLICE))

    def _write(self, data: bytes) -> None:
        if data and self._writer is not None:
            self._writer.write(data)

    # --- the connection ---------------------------------------------------------------------------

    async def _open(self) -> None:
        """Connect, log on, and handle what comes with the logon."""
        async with asyncio.timeout(self._connect_timeout_s):
            self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
            self._frames = FrameReader()
            self.logout_text, self.logout_status = "", None
            self._act(self._session.connected(_now_ms()))
            while not self._session.is_logged_on:
                data = await self._reader.read(_READ_BYTES)
                is_over = not data or self._receive(data)
                if is_over and not self._session.is_logged_on:
                    raise LogonRefused(
                        self.logout_text
                        or "the venue closed the connection: its log says why (a session or a "
                        "TargetCompID that it does not know, perhaps)"
                    )

    async def _run(self) -> None:
        try:
            while True:
                try:
                    await self._read_to_the_end()
                except OSError as error:
                    self._events.publish(Disconnect(f"connection lost: {error}", is_error=True))
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
                if self.logout_text and self.logout_status != SessionStatus.LOGONS_NOT_ALLOWED:
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
                    self._logged_on(event)
                case LoggedOut():
                    self.logout_text, self.logout_status = event.text, event.status
                case Disconnect():
                    is_over = True
                case _:
                    pass
            self._take(event)
            self._events.publish(event)
        self._flush()
        return is_over

    def _take(self, event: Event) -> None:
        """See an event before the streams do: for what is built on the link."""

    def _logged_on(self, event: LoggedOn) -> None:
        self.logons += 1
        config = self._session.config
        # Once is enough, unless agreed otherwise: the numbers go on over reconnects.
        config = replace(config, reset_on_logon=self._resets_each_time, new_password=None)
        if event.status == SessionStatus.PASSWORD_CHANGED:
            config = replace(config, password=self._session.config.new_password)
        self._session.config = config

    def _disconnected(self) -> None:
        if self._session.connection is not State.DISCONNECTED:
            self._session.connection_lost(_now_ms())

    def _fail(self, error: BaseException) -> None:
        if self._failure is None:
            self._failure = error
            self._ended(error)
            self._events.end()

    def _ended(self, error: BaseException) -> None:
        """See the end before the streams do: for what is built on the link."""

    async def _close_writer(self) -> None:
        writer, self._writer, self._reader = self._writer, None, None
        if writer is not None:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


def to_bytes(value: Value) -> bytes:
    """Return the value of a field as it goes over the wire.

    Raises:
        TypeError: It is a float.
        ValueError: It is a Decimal that is no finite number, or text with SOH.
    """
    if isinstance(value, bytes):
        return value
    if isinstance(value, float):
        raise TypeError(f"{value!r} is a float: give a Decimal, a str or an int")
    if isinstance(value, Decimal):
        if not value.is_finite():
            raise ValueError(f"{value!r} is no decimal number")
        return format(value, "f").encode()
    text = str(value).encode()
    if b"\x01" in text:
        raise ValueError(f"{value!r}: SOH may stand in data only, given as bytes")
    return text


def _now_ms() -> int:
    return time.time_ns() // 1_000_000

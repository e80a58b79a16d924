"""The client's side of a binary session, without I/O: bytes and times in, events and bytes out.

One object lives as long as the client, over any number of connections: it keeps the numbers and the
messages that may have to be sent again. Times are milliseconds of any clock that does not go back.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeAlias

import msgspec

from openoutcry.protocol.binary.enums import MAX_PAYLOAD_BYTES, VERSION, LogoutReason
from openoutcry.protocol.binary.errors import DataLost, LogonRefused, PeerError, UsageError
from openoutcry.protocol.binary.frames import FrameReader, FrameTooLong, encode_frame
from openoutcry.protocol.binary.messages import (
    ClientApplication,
    ExecutionReport,
    Heartbeat,
    Logon,
    LogonAccepted,
    Logout,
    Reject,
    SymbolDefinition,
    decode_server_message,
)
from openoutcry.protocol.binary.session import SILENT_INTERVALS


class ClientState(Enum):
    """Where the client stands."""

    DISCONNECTED = "disconnected"
    LOGON_SENT = "logon sent"
    #: LogonAccepted is here, not yet all SymbolDefinitions.
    RECEIVING_SYMBOLS = "receiving symbols"
    ACTIVE = "active"
    LOGOUT_SENT = "logout sent"


@dataclass(frozen=True, slots=True)
class LoggedOn:
    """The session is open; `symbols` are the venue's definitions, `resent` what was sent again."""

    accepted: LogonAccepted
    symbols: tuple[SymbolDefinition, ...]
    resent: int


@dataclass(frozen=True, slots=True)
class LoggedOut:
    """The venue ended the session; the connection is to be closed."""

    reason: int
    text: str


ClientEvent: TypeAlias = LoggedOn | LoggedOut | ExecutionReport | Reject


class ClientSession:
    """A client's session: numbers, recovery and heartbeats."""

    def __init__(
        self,
        session_id: str,
        password: str = "",
        *,
        heartbeat_s: int = 10,
        next_expected: int = 0,
        max_payload: int = MAX_PAYLOAD_BYTES,
    ) -> None:
        """Prepare a session.

        Args:
            session_id: Name of the session.
            password: Its password.
            heartbeat_s: Seconds between heartbeats; 0 for none.
            next_expected: Number of the next server message awaited: 1 to have all repeated, a
                stored number to go on from there, 0 for what is new only.
            max_payload: Longest payload accepted.
        """
        self.session_id = session_id
        self.state = ClientState.DISCONNECTED
        #: Number of the next server message awaited; 0 until known.
        self.next_expected = next_expected
        #: Number of our next message; 0 until the venue has told what it has accepted.
        self.next_seq = 0
        self._password = password
        self._heartbeat_s = heartbeat_s
        self._max_payload = max_payload
        self._reader = FrameReader(max_payload)
        self._outgoing = bytearray()
        self._accepted: LogonAccepted | None = None
        self._symbols: list[SymbolDefinition] = []
        # Messages not answered yet, and answered ones above an unanswered one: the venue may
        # ask for all of them again. In the order of their numbers.
        self._kept: dict[int, ClientApplication] = {}
        self._answered: set[int] = set()
        self._received_ms = 0
        self._sent_ms = 0

    @property
    def is_active(self) -> bool:
        """True while messages may be sent."""
        return self.state is ClientState.ACTIVE

    @property
    def unanswered(self) -> int:
        """How many of our messages have no answer yet."""
        return len(self._kept) - len(self._answered)

    def connected(self, now_ms: int) -> None:
        """Start on a fresh connection: queue the Logon."""
        self._reader = FrameReader(self._max_payload)
        self._outgoing.clear()
        self._accepted = None
        self._symbols = []
        self._received_ms = now_ms
        self.state = ClientState.LOGON_SENT
        logon = Logon(
            VERSION, self.session_id, self._password, self.next_expected, self._heartbeat_s
        )
        self._send(logon, now_ms)

    def disconnected(self) -> None:
        """Tell that the connection is gone."""
        self.state = ClientState.DISCONNECTED
        self._outgoing.clear()

    def send(self, message: ClientApplication, now_ms: int) -> int:
        """Queue an application message (whose `seq` is ignored); return the number it got.

        Raises:
            UsageError: The session is not active.
        """
        if self.state is not ClientState.ACTIVE:
            raise UsageError(f"no message can be sent: the session is {self.state.value}")
        seq = self.next_seq
        numbered = msgspec.structs.replace(message, seq=seq)
        self.next_seq += 1
        self._kept[seq] = numbered
        self._send(numbered, now_ms)
        return seq

    def logout(self, text: str, now_ms: int) -> None:
        """Queue a Logout; the venue answers with one."""
        if self.state is ClientState.ACTIVE:
            self._send(Logout(text), now_ms)
            self.state = ClientState.LOGOUT_SENT

    def receive_data(self, data: bytes, now_ms: int) -> list[ClientEvent]:
        """Take bytes as they came; return what they mean.

        Raises:
            PeerError: The venue broke the protocol. Close the connection; a new one recovers.
            DataLost: The venue forgot messages that it had answered.
            LogonRefused: The venue refused the Logon.
        """
        self._received_ms = now_ms
        self._reader.receive_data(data)
        events: list[ClientEvent] = []
        try:
            for payload in self._reader.payloads():
                event = self._receive(decode_server_message(payload), now_ms)
                if event is not None:
                    events.append(event)
        except FrameTooLong as error:
            raise PeerError(str(error)) from error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise PeerError(f"message not understood: {error}") from error
        return events

    def poll(self, now_ms: int) -> None:
        """Do what is due: queue a Heartbeat.

        Raises:
            PeerError: The venue has been silent for too long.
        """
        if self.state is ClientState.DISCONNECTED or not self._heartbeat_s:
            return
        interval_ms = self._heartbeat_s * 1000
        if now_ms >= self._received_ms + SILENT_INTERVALS * interval_ms:
            raise PeerError(f"nothing received for {(now_ms - self._received_ms) // 1000} s")
        if self.state is not ClientState.LOGON_SENT and now_ms >= self._sent_ms + interval_ms:
            self._send(Heartbeat(), now_ms)

    def next_deadline_ms(self) -> int | None:
        """Return when poll() has something to do if nothing happens before, or None for never."""
        if self.state is ClientState.DISCONNECTED or not self._heartbeat_s:
            return None
        interval_ms = self._heartbeat_s * 1000
        silent_ms = self._received_ms + SILENT_INTERVALS * interval_ms
        if self.state is ClientState.LOGON_SENT:
            return silent_ms
        return min(self._sent_ms + interval_ms, silent_ms)

    def data_to_send(self) -> bytes:
        """Return the bytes to be written now, and forget them."""
        data = bytes(self._outgoing)
        self._outgoing.clear()
        return data

    # --- helpers ----------------------------------------------------------------------------------

    def _receive(self, message: Any, now_ms: int) -> ClientEvent | None:
        if isinstance(message, Heartbeat):
            return None
        if isinstance(message, Logout):
            refused = self.state is ClientState.LOGON_SENT
            self.state = ClientState.DISCONNECTED
            if refused:
                raise LogonRefused(_reason(message.reason), message.text)
            return LoggedOut(message.reason, message.text)
        if isinstance(message, LogonAccepted):
            if self.state is not ClientState.LOGON_SENT:
                raise PeerError("LogonAccepted without a Logon")
            self._accept(message)
            return self._logged_on(now_ms)
        if isinstance(message, SymbolDefinition):
            if self.state is not ClientState.RECEIVING_SYMBOLS:
                raise PeerError("SymbolDefinition out of place")
            self._symbols.append(message)
            return self._logged_on(now_ms)
        if self.state not in (ClientState.ACTIVE, ClientState.LOGOUT_SENT):
            raise PeerError(f"{type(message).__name__} while {self.state.value}")
        return self._receive_numbered(message)

    def _accept(self, accepted: LogonAccepted) -> None:
        if self.next_expected == 0:
            self.next_expected = accepted.next_seq
        resume = accepted.last_accepted + 1
        oldest = min(self._kept, default=self.next_seq)
        if self.next_seq and resume < oldest:
            raise DataLost(
                f"the venue accepted our messages up to {accepted.last_accepted} only, but those "
                f"before {oldest} are answered and gone: it has lost data"
            )
        self.next_seq = max(self.next_seq, resume)
        for seq in [seq for seq in self._kept if seq < resume]:
            del self._kept[seq]
            self._answered.discard(seq)
        self._accepted = accepted
        self.state = ClientState.RECEIVING_SYMBOLS

    def _logged_on(self, now_ms: int) -> LoggedOn | None:
        accepted = self._accepted
        if accepted is None or len(self._symbols) < accepted.symbols:
            return None
        self.state = ClientState.ACTIVE
        for message in self._kept.values():
            self._send(message, now_ms)
        return LoggedOn(accepted, tuple(self._symbols), len(self._kept))

    def _receive_numbered(self, message: ExecutionReport | Reject) -> ClientEvent | None:
        if message.seq < self.next_expected:
            return None  # had it before
        if message.seq > self.next_expected:
            raise PeerError(f"message {message.seq} received, {self.next_expected} expected")
        self.next_expected += 1
        if message.ref_seq in self._kept:
            self._answered.add(message.ref_seq)
            self._forget_answered()
        return message

    def _forget_answered(self) -> None:
        while self._kept:
            oldest = next(iter(self._kept))
            if oldest not in self._answered:
                return
            del self._kept[oldest]
            self._answered.remove(oldest)

    def _send(self, message: Any, now_ms: int) -> None:
        self._outgoing += encode_frame(message)
        self._sent_ms = now_ms


def _reason(number: int) -> LogoutReason | int:
    try:
        return LogoutReason(number)
    except ValueError:
        return number

"""The venue's side of a binary session, without I/O: payloads and times in, events and bytes out.

Application messages go past it: the gateway decodes them with the kernel of decode.py, compares
their numbers with `next_in`, and encodes reports with the kernel of encode.py. The session handles
what is rare: logon, heartbeats, logout, time-outs, and frames that the kernel does not take.

    AWAITING_LOGON ── Logon ──▶ LOGON_RECEIVED ── accept() ──▶ ACTIVE
    any of them ── Logout, refuse(), logout(), an error, a time-out ──▶ CLOSED

Times are milliseconds of any clock that does not go back.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol, TypeAlias

import msgspec

from openoutcry.protocol.binary.enums import VERSION, LogoutReason, MessageType, RejectReason
from openoutcry.protocol.binary.errors import UsageError
from openoutcry.protocol.binary.frames import encode_frame
from openoutcry.protocol.binary.messages import (
    Cancel,
    ClOrdID,
    Heartbeat,
    Logon,
    LogonAccepted,
    Logout,
    NewOrder,
    Reject,
    Replace,
    Seq,
    Status,
    SymbolDefinition,
    decode_client_message,
)

#: A side that received nothing for this many heartbeat intervals takes the connection for dead.
SILENT_INTERVALS = 3
#: Longest heartbeat interval that a venue accepts, in seconds.
MAX_HEARTBEAT_S = 3600
#: How long a new connection may take to send its Logon.
LOGON_TIMEOUT_MS = 10_000

_APPLICATION = {
    MessageType.NEW_ORDER,
    MessageType.CANCEL,
    MessageType.REPLACE,
    MessageType.STATUS,
}


class SessionNumbers(Protocol):
    """A session's numbers, kept by the gateway (in its session row, and on disk)."""

    #: Number of the next client message.
    next_in: int
    #: Number of the server's next new message.
    next_out: int


class VenueState(Enum):
    """Where a connection stands."""

    AWAITING_LOGON = "awaiting logon"
    LOGON_RECEIVED = "logon received"
    ACTIVE = "active"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class LogonRequest:
    """A client wants to open a session: answer with accept() or refuse()."""

    session_id: str
    password: str
    next_expected: int
    heartbeat_s: int

    def __repr__(self) -> str:
        """Leave out the password: events may be logged."""
        return f"LogonRequest(session_id={self.session_id!r}, next_expected={self.next_expected})"


@dataclass(frozen=True, slots=True)
class Application:
    """A valid application message that came by this way; `frame` is it as the kernel takes it."""

    seq: int
    message: NewOrder | Cancel | Replace | Status
    frame: bytes


@dataclass(frozen=True, slots=True)
class Malformed:
    """A numbered message, the next one, in invalid form: answer with reject(), which counts it."""

    seq: int
    cl_ord_id: str
    text: str


@dataclass(frozen=True, slots=True)
class Disconnect:
    """The session ended: send data_to_send(), then close the connection."""

    reason: LogoutReason
    text: str


Event: TypeAlias = LogonRequest | Application | Malformed | Disconnect


class _Head(msgspec.Struct, array_like=True):
    """Type and number of an application message whose rest may be anything."""

    type: int
    seq: Seq


class _HeadWithID(msgspec.Struct, array_like=True):
    type: int
    seq: Seq
    cl_ord_id: ClOrdID


_head_decoder = msgspec.msgpack.Decoder(_Head)
_id_decoder = msgspec.msgpack.Decoder(_HeadWithID)


def _decode_or_none(decoder: "msgspec.msgpack.Decoder[Any]", payload: bytes | memoryview) -> Any:
    try:
        return decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


class BinarySession:
    """One connection's session on the venue's side."""

    def __init__(
        self,
        now_ms: int,
        *,
        logon_timeout_ms: int = LOGON_TIMEOUT_MS,
        max_heartbeat_s: int = MAX_HEARTBEAT_S,
    ) -> None:
        self.state = VenueState.AWAITING_LOGON
        #: The Logon, once received.
        self.logon: Logon | None = None
        self._numbers: SessionNumbers | None = None
        self._heartbeat_ms = 0
        self._max_heartbeat_s = max_heartbeat_s
        self._logon_deadline_ms = now_ms + logon_timeout_ms
        self._received_ms = now_ms
        self._sent_ms = now_ms
        self._outgoing = bytearray()

    @property
    def is_active(self) -> bool:
        """True between accept() and the end."""
        return self.state is VenueState.ACTIVE

    @property
    def numbers(self) -> SessionNumbers:
        """The numbers given to accept()."""
        if self._numbers is None:
            raise UsageError("the session has no numbers before its logon is accepted")
        return self._numbers

    # --- bytes and times in -----------------------------------------------------------------------

    def receive_payload(self, payload: bytes | memoryview, now_ms: int) -> Event | None:
        """Take a complete frame's payload: any while not active, then those the kernel calls OTHER.

        Returns what the gateway has to do, or None.
        """
        if self.state is VenueState.CLOSED:
            return None
        self._received_ms = now_ms
        try:
            message = decode_client_message(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return self._receive_invalid(payload, str(error), now_ms)
        if self.state is VenueState.AWAITING_LOGON:
            return self._receive_first(message, now_ms)
        if self.state is VenueState.LOGON_RECEIVED:
            return self.logout(LogoutReason.PROTOCOL_ERROR, "Logon is not answered yet", now_ms)
        match message:
            case Heartbeat():
                return None
            case Logout():
                return self.logout(LogoutReason.NORMAL, "", now_ms)
            case Logon():
                return self.logout(LogoutReason.PROTOCOL_ERROR, "second Logon", now_ms)
            case _:
                return self._receive_numbered(message, now_ms)

    def poll(self, now_ms: int) -> Disconnect | None:
        """Do what is due: send a Heartbeat, or give up a silent client."""
        if self.state is VenueState.AWAITING_LOGON:
            if now_ms >= self._logon_deadline_ms:
                return self.logout(LogoutReason.LOGON_TIMEOUT, "no Logon received", now_ms)
            return None
        if self.state is not VenueState.ACTIVE or not self._heartbeat_ms:
            return None
        if now_ms >= self._received_ms + SILENT_INTERVALS * self._heartbeat_ms:
            silent_s = (now_ms - self._received_ms) // 1000
            text = f"nothing received for {silent_s} s"
            return self.logout(LogoutReason.HEARTBEAT_TIMEOUT, text, now_ms)
        if now_ms >= self._sent_ms + self._heartbeat_ms:
            self._send(Heartbeat(), now_ms)
        return None

    def next_deadline_ms(self) -> int | None:
        """Return when poll() has something to do if nothing happens before, or None for never."""
        if self.state is VenueState.AWAITING_LOGON:
            return self._logon_deadline_ms
        if self.state is not VenueState.ACTIVE or not self._heartbeat_ms:
            return None
        return min(
            self._sent_ms + self._heartbeat_ms,
            self._received_ms + SILENT_INTERVALS * self._heartbeat_ms,
        )

    def note_received(self, now_ms: int) -> None:
        """Tell that the gateway received frames that it did not hand over."""
        self._received_ms = now_ms

    def note_sent(self, now_ms: int) -> None:
        """Tell that the gateway sent frames of its own making."""
        self._sent_ms = now_ms

    def data_to_send(self) -> bytes:
        """Return the bytes to be written now, in front of what the gateway has, and forget them."""
        data = bytes(self._outgoing)
        self._outgoing.clear()
        return data

    # --- the gateway's decisions ------------------------------------------------------------------

    def accept(
        self,
        numbers: SessionNumbers,
        *,
        session_number: int,
        symbols: Sequence[SymbolDefinition],
        now_ms: int,
        oldest_out: int = 1,
    ) -> range | Disconnect:
        """Accept the Logon: queue LogonAccepted and the SymbolDefinitions.

        Args:
            numbers: The session's numbers; read and raised by both sides from here on.
            session_number: The session's number in the venue.
            symbols: What the session may trade.
            now_ms: The time.
            oldest_out: Lowest server number that can still be repeated.

        Returns:
            The server numbers to be repeated now, before anything new; or Disconnect, where the
            client awaits a number that the venue has not reached or no longer has.
        """
        logon = self._logon_in_decision()
        next_out = int(numbers.next_out)
        awaited = logon.next_expected or next_out
        if not oldest_out <= awaited <= next_out:
            text = f"next_expected is {awaited}, but {oldest_out} to {next_out} can be sent"
            return self.logout(LogoutReason.NEXT_EXPECTED_OUT_OF_RANGE, text, now_ms)
        self._numbers = numbers
        self.state = VenueState.ACTIVE
        self._heartbeat_ms = logon.heartbeat_s * 1000
        self._received_ms = now_ms
        self._send(
            LogonAccepted(
                version=VERSION,
                session_number=session_number,
                last_accepted=int(numbers.next_in) - 1,
                next_seq=next_out,
                heartbeat_s=logon.heartbeat_s,
                symbols=len(symbols),
            ),
            now_ms,
        )
        for symbol in symbols:
            self._send(symbol, now_ms)
        return range(awaited, next_out)

    def refuse(self, reason: LogoutReason, text: str, now_ms: int) -> Disconnect:
        """Refuse the Logon."""
        self._logon_in_decision()
        return self.logout(reason, text, now_ms)

    def logout(self, reason: LogoutReason, text: str, now_ms: int) -> Disconnect:
        """End the session from the venue's side: queue a Logout (once)."""
        if self.state is not VenueState.CLOSED:
            self._send(Logout(text, int(reason)), now_ms)
            self.state = VenueState.CLOSED
        return Disconnect(reason, text)

    def skipped(self, seq: int, now_ms: int) -> Disconnect:
        """End the session since a client message skipped a number."""
        text = f"message {seq} received, {self.numbers.next_in} expected"
        return self.logout(LogoutReason.SEQUENCE_GAP, text, now_ms)

    def too_long(self, length: int, max_payload: int, now_ms: int) -> Disconnect:
        """End the session since a frame claims to be too long; nothing after it can be read."""
        text = f"frame of {length} bytes: at most {max_payload} allowed"
        return self.logout(LogoutReason.PROTOCOL_ERROR, text, now_ms)

    def reject(self, seq: int, cl_ord_id: str, reason: RejectReason, text: str) -> Reject:
        """Count client message `seq` (it is `next_in`) and build the Reject that answers it.

        Takes the next outgoing number. The gateway stores the message, then sends its frame
        (`encode_frame`).
        """
        numbers = self.numbers
        if seq != numbers.next_in:
            raise UsageError(f"message {seq} cannot be answered, {numbers.next_in} is the next")
        answer = Reject(int(numbers.next_out), False, seq, cl_ord_id, int(reason), text)
        numbers.next_in += 1
        numbers.next_out += 1
        return answer

    # --- helpers ----------------------------------------------------------------------------------

    def _logon_in_decision(self) -> Logon:
        if self.state is not VenueState.LOGON_RECEIVED or self.logon is None:
            raise UsageError(f"no Logon to be answered: the session is {self.state.value}")
        return self.logon

    def _receive_first(self, message: Any, now_ms: int) -> LogonRequest | Disconnect:
        if not isinstance(message, Logon):
            text = "the first message must be Logon"
            return self.logout(LogoutReason.PROTOCOL_ERROR, text, now_ms)
        if message.version != VERSION:
            text = f"version {message.version} is not supported, version {VERSION} is"
            return self.logout(LogoutReason.UNSUPPORTED_VERSION, text, now_ms)
        if message.heartbeat_s > self._max_heartbeat_s:
            text = f"heartbeat_s is {message.heartbeat_s}, at most {self._max_heartbeat_s} allowed"
            return self.logout(LogoutReason.INVALID_HEARTBEAT, text, now_ms)
        self.logon = message
        self.state = VenueState.LOGON_RECEIVED
        return LogonRequest(
            message.session_id, message.password, message.next_expected, message.heartbeat_s
        )

    def _receive_numbered(
        self, message: NewOrder | Cancel | Replace | Status, now_ms: int
    ) -> Event | None:
        if message.seq < self.numbers.next_in:
            return None  # accepted before
        if message.seq > self.numbers.next_in:
            return self.skipped(message.seq, now_ms)
        return Application(message.seq, message, encode_frame(message))

    def _receive_invalid(
        self, payload: bytes | memoryview, text: str, now_ms: int
    ) -> Malformed | Disconnect | None:
        head = _decode_or_none(_head_decoder, payload)
        if not self.is_active or head is None or head.type not in _APPLICATION:
            return self.logout(LogoutReason.PROTOCOL_ERROR, text, now_ms)
        if head.seq < self.numbers.next_in:
            return None
        if head.seq > self.numbers.next_in:
            return self.skipped(head.seq, now_ms)
        with_id = _decode_or_none(_id_decoder, payload)
        return Malformed(head.seq, "" if with_id is None else with_id.cl_ord_id, text)

    def _send(self, message: Any, now_ms: int) -> None:
        self._outgoing += encode_frame(message)
        self._sent_ms = now_ms

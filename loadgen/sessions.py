"""Logon, heartbeats and logout of the generator's connections: what is rare, in plain Python.

A session gets whole frames that the kernels do not take, and returns bytes to be sent. It shares
the sequence numbers with the kernels through its row of CONNECTION.
"""

from typing import Any, Protocol

import msgspec
import simplefix

from openoutcry.protocol.binary.enums import VERSION
from openoutcry.protocol.binary.frames import encode_frame
from openoutcry.protocol.binary.messages import (
    Heartbeat,
    Logon,
    LogonAccepted,
    Logout,
    SymbolDefinition,
    decode_server_message,
)
from openoutcry.protocol.fix.stamps import format_utc_ms

#: Seconds between heartbeats that the generator asks for.
HEARTBEAT_S = 30
_SOH = b"\x01"


class SessionError(Exception):
    """The venue refused, ended or broke a session."""


class Session(Protocol):
    """What the driver needs of a session."""

    is_active: bool
    is_closed: bool

    def logon(self, utc_ms: int) -> bytes:
        """Return the first bytes to send."""

    def receive(self, frame: bytes, utc_ms: int) -> bytes:
        """Take a frame that the kernel leaves alone; return what to send. Raises SessionError."""

    def heartbeat(self, utc_ms: int) -> bytes:
        """Return the bytes of a heartbeat."""

    def logout(self, utc_ms: int) -> bytes:
        """Return the bytes that end the session."""

    def take_frame(self, data: bytes | bytearray) -> int:
        """Return the length of the whole frame at the beginning of `data`, or 0."""


class BinarySession:
    """A session of the binary protocol."""

    def __init__(self, row: Any, session_id: str, password: str = "") -> None:
        self.is_active = False
        self.is_closed = False
        #: What the venue told at logon, by name.
        self.symbols: dict[str, SymbolDefinition] = {}
        self._row = row
        self._logon = Logon(VERSION, session_id, password, 0, HEARTBEAT_S)
        self._awaited = -1
        self._is_leaving = False

    def logon(self, utc_ms: int) -> bytes:
        """Return the Logon."""
        return encode_frame(self._logon)

    def receive(self, frame: bytes, utc_ms: int) -> bytes:
        """Take LogonAccepted, SymbolDefinition, Heartbeat or Logout."""
        try:
            message = decode_server_message(frame[4:])
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise SessionError(f"message not understood: {error}") from error
        match message:
            case LogonAccepted():
                self._row["next_out"] = message.last_accepted + 1
                self._row["next_in"] = message.next_seq
                self._awaited = message.symbols
            case SymbolDefinition():
                self.symbols[message.name] = message
            case Heartbeat():
                pass
            case Logout():
                self.is_closed = True
                if not self._is_leaving:
                    raise SessionError(f"logged out: {message.text} (reason {message.reason})")
            case _:
                raise SessionError(f"{type(message).__name__} is not expected here")
        self.is_active = not self.is_closed and len(self.symbols) == self._awaited
        return b""

    def heartbeat(self, utc_ms: int) -> bytes:
        """Return a Heartbeat."""
        return encode_frame(Heartbeat())

    def logout(self, utc_ms: int) -> bytes:
        """Return a Logout."""
        self._is_leaving = True
        return encode_frame(Logout())

    def take_frame(self, data: bytes | bytearray) -> int:
        """Return the length of the frame at the beginning, or 0."""
        if len(data) < 4:
            return 0
        length = 4 + int.from_bytes(data[:4], "big")
        return length if len(data) >= length else 0


class FixSession:
    """A FIX session as initiator, without resends: the generator keeps nothing to be sent again."""

    def __init__(
        self, row: Any, sender: str, target: str, username: str = "", password: str = ""
    ) -> None:
        self.is_active = False
        self.is_closed = False
        self._row = row
        self._sender = sender
        self._target = target
        self._username = username
        self._password = password
        self._is_leaving = False

    def logon(self, utc_ms: int) -> bytes:
        """Return a Logon that resets both sequence numbers."""
        self._row["next_out"] = 1
        self._row["next_in"] = 1
        fields: list[tuple[int, Any]] = [(98, 0), (108, HEARTBEAT_S), (141, "Y")]
        if self._password:
            fields += [(553, self._username or self._sender), (554, self._password)]
        return self._message("A", fields, utc_ms)

    def receive(self, frame: bytes, utc_ms: int) -> bytes:
        """Take Logon, Heartbeat, TestRequest, Logout; anything else ends the run."""
        parser = simplefix.FixParser()
        parser.append_buffer(frame)
        message = parser.get_message()
        if message is None or message.get(34) is None:
            raise SessionError(f"message not understood: {frame.replace(_SOH, b'|')!r}")
        kind = message.message_type.decode()
        number = int(message.get(34))
        if number != self._row["next_in"]:
            raise SessionError(f"MsgSeqNum {number} received, {self._row['next_in']} expected")
        self._row["next_in"] = number + 1
        text = (message.get(58) or b"").decode("utf-8", "replace")
        match kind:
            case "A":
                self.is_active = True
            case "0":
                pass
            case "1":
                return self._message("0", [(112, message.get(112))], utc_ms)
            case "5":
                self.is_closed = True
                if not self._is_leaving:
                    raise SessionError(f"logged out: {text}")
                self.is_active = False
            case "3" | "j":
                ref = (message.get(45) or b"?").decode()
                raise SessionError(f"message {ref} was rejected (35={kind}): {text}")
            case _:
                raise SessionError(f"message of type {kind} is not expected: {text}")
        return b""

    def heartbeat(self, utc_ms: int) -> bytes:
        """Return a Heartbeat."""
        return self._message("0", [], utc_ms)

    def logout(self, utc_ms: int) -> bytes:
        """Return a Logout."""
        self._is_leaving = True
        return self._message("5", [], utc_ms)

    def take_frame(self, data: bytes | bytearray) -> int:
        """Return the length of the message at the beginning, or 0."""
        if len(data) < 24:
            return 0
        begin = data.find(_SOH)
        body = data.find(_SOH, begin + 1) + 1
        if body <= 0 or data[begin + 1 : begin + 3] != b"9=":
            raise SessionError(f"not FIX: {bytes(data[:40])!r}")
        length = body + int(data[begin + 3 : body - 1]) + 7
        return length if len(data) >= length else 0

    def _message(self, kind: str, fields: list[tuple[int, Any]], utc_ms: int) -> bytes:
        message = simplefix.FixMessage()
        message.append_pair(8, "FIX.4.4")
        message.append_pair(35, kind)
        message.append_pair(49, self._sender)
        message.append_pair(56, self._target)
        message.append_pair(34, int(self._row["next_out"]))
        message.append_pair(52, format_utc_ms(utc_ms))
        for tag, value in fields:
            message.append_pair(tag, value)
        self._row["next_out"] += 1
        encoded: bytes = message.encode()
        return encoded

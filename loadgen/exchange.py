"""What the client loop says to a venue: sessions in Python, order flow in kernels."""

import socket
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from openoutcry.loadgen import binary_turn, fix_turn
from openoutcry.loadgen.driver import DriverError
from openoutcry.loadgen.layouts import Load
from openoutcry.loadgen.scenario import Scenario, decimal_parts
from openoutcry.loadgen.sessions import BinarySession, FixSession, Session, SessionError
from openoutcry.loadgen.workload import unanswered

RECEIVE_BYTES = 1 << 18
#: Most that is encoded ahead, a connection.
SEND_BYTES = 1 << 18
_LOGON_S = 20.0


def utc_ms() -> int:
    """Return milliseconds since 1970."""
    return time.time_ns() // 1_000_000


class VenueExchange:
    """Order flow for all connections, over one of the two protocols."""

    def __init__(
        self,
        load: Load,
        protocol: str,
        session_ids: Sequence[str],
        *,
        target: str = "OPENOUTCRY",
        account: str = "",
        password: str = "",
    ) -> None:
        self.load = load
        self.send_bytes = 0
        self.connections = load.connections
        count = len(session_ids)
        rows = load.connections
        self.sessions: list[Session]
        # One module's kernels or the other's: the same names.
        self._kernels: Any
        self._wire: Any
        if protocol == "fix":
            pairs = [(name, target) for name in session_ids]
            self._kernels = fix_turn
            self._wire = fix_turn.new_wire(pairs, RECEIVE_BYTES, SEND_BYTES, account)
            self.sessions = [
                FixSession(rows[c], name, target, password=password)
                for c, name in enumerate(session_ids)
            ]
        else:
            self._kernels = binary_turn
            self._wire = binary_turn.new_wire(count, RECEIVE_BYTES, SEND_BYTES, account)
            self.sessions = [
                BinarySession(rows[c], name, password) for c, name in enumerate(session_ids)
            ]
        self.received = self._wire.received
        self.to_send = self._wire.to_send
        for buffer in (self.received, self.to_send):
            buffer[:] = 0  # maps its pages

    # --- Exchange ---------------------------------------------------------------------------------

    def turn(self, c: int, received: int, now: int) -> int:
        """Take received bytes, fill the window again."""
        status: int = self._kernels.turn(self.load, self._wire, c, received, now, utc_ms())
        return status

    def receive(self, c: int, received: int, now: int) -> int:
        """Take received bytes."""
        status: int = self._kernels.receive(self.load, self._wire, c, received, now)
        return status

    def fill(self, c: int, limit: int, start_ns: int, first: int, burst: int, step_ns: int) -> int:
        """Encode up to `limit` requests, of a schedule of bursts."""
        done: int = self._kernels.fill(
            self.load, self._wire, c, limit, start_ns, first, burst, step_ns, utc_ms()
        )
        return done

    def session_frame(self, c: int, frame: bytes) -> bytes:
        """Hand a frame to its session."""
        try:
            return self.sessions[c].receive(frame, utc_ms())
        except SessionError as error:
            raise DriverError(f"connection {c}: {error}") from error

    def heartbeat(self, c: int) -> bytes:
        """Return a heartbeat's bytes."""
        return self.sessions[c].heartbeat(utc_ms())

    def awaits_reply(self) -> bool:
        """Tell whether a request is in flight."""
        return unanswered(self.load) > 0

    # --- before and after -------------------------------------------------------------------------

    def compile(self) -> None:
        """Compile the kernels, or load them from the cache, before anything is timed."""
        plan = self.load.plan[0]
        budget = int(plan["budget"])
        plan["budget"] = 0
        self.turn(0, 0, 0)
        self.receive(0, 0, 0)
        self.fill(0, 0, 0, 0, 1, 0)
        plan["budget"] = budget

    def logon(self, c: int, sock: socket.socket) -> None:
        """Open session `c`; what came behind the logon stays in its buffer. Raises DriverError."""
        session = self.sessions[c]
        data = bytearray()
        try:
            sock.settimeout(_LOGON_S)
            sock.sendall(session.logon(utc_ms()))
            while not session.is_active:
                length = session.take_frame(data)
                if length:
                    frame = bytes(data[:length])
                    del data[:length]
                    session.receive(frame, utc_ms())
                    continue
                part = sock.recv(65536)
                if not part:
                    raise DriverError(f"connection {c}: closed by the venue at logon")
                data += part
        except (OSError, SessionError, ValueError) as error:
            raise DriverError(f"connection {c}: logon: {error}") from error
        self.received[c, : len(data)] = np.frombuffer(bytes(data), np.uint8)
        self.connections[c]["in_end"] = len(data)

    def logout(self, c: int, sock: socket.socket, timeout_s: float = 5.0) -> None:
        """End session `c`, and await the answer. Raises DriverError."""
        session = self.sessions[c]
        row = self.connections[c]
        data = bytearray(self.received[c, int(row["in_start"]) : int(row["in_end"])].tobytes())
        try:
            sock.settimeout(timeout_s)
            sock.sendall(session.logout(utc_ms()))
            while not session.is_closed:
                length = session.take_frame(data)
                if length:
                    frame = bytes(data[:length])
                    del data[:length]
                    session.receive(frame, utc_ms())
                    continue
                part = sock.recv(65536)
                if not part:
                    return
                data += part
        except (OSError, SessionError) as error:
            raise DriverError(f"connection {c}: logout: {error}") from error

    def take_symbols(self, scenario: Scenario) -> None:
        """Take the symbols' numbers from the venue, where it tells. Raises DriverError."""
        session = self.sessions[0]
        if not isinstance(session, BinarySession):
            return
        for place, symbol in enumerate(scenario.symbols):
            defined = session.symbols.get(symbol.name)
            if defined is None:
                raise DriverError(f"the venue has no symbol {symbol.name}")
            told = decimal_parts(defined.tick), decimal_parts(defined.lot)
            if told != (symbol.tick_parts, symbol.lot_parts):
                raise DriverError(
                    f"{symbol.name}: tick and lot are {defined.tick} and {defined.lot} there, "
                    f"{symbol.tick} and {symbol.lot} in the scenario"
                )
            self.load.markets[place]["number"] = defined.number

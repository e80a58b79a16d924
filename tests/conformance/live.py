"""Run a row of the table against a live venue, over a socket of its own.

What the venue must send stands in the table. Stamps must be within a few seconds of this clock. A
resent message must have the 52 of its first sending as 122, and all else as it was. At the end the
venue is asked for its numbers: by a TestRequest where the connection stands, else by a Logon.

Every run has a session of its own. Connections 1 and 2 are of that session; 3 is another client's.
`@symbol` is a symbol that no other run uses: tick 0.05, lot 10.
"""

import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from conformance.table import Row, Step, expand, rows
from conformance.wire import Envelope, Mismatch, check, fields_of, readable, split, value_of
from support.venue import SYMBOLS, Venue

from openoutcry.protocol.fix.versions import Version

VENUE = "OPENOUTCRY"
#: How long an answer may take on a busy machine.
PATIENCE_S = 20.0
_CLOCKS_APART_S = 5.0
#: Rows at a time: most of a row's time is waiting.
_AT_A_TIME = 24
_STAMP = re.compile(r"\d{8}-\d\d:\d\d:\d\d(\.\d{3})?")


class Connection:
    """One socket to the venue, and what came of it."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._frames: list[bytes] = []
        self._rest = b""

    def send(self, data: bytes) -> None:
        """Send bytes."""
        self._socket.sendall(data)

    def receive(self, timeout_s: float) -> bytes:
        """Return the next message, or nothing where the venue closes; TimeoutError if late."""
        deadline = time.monotonic() + timeout_s
        while not self._frames:
            self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
            try:
                data = self._socket.recv(65536)
            except ConnectionResetError:
                data = b""
            if not data:
                assert not self._rest, f"a part of a message: {readable(self._rest)}"
                return b""
            self._frames, self._rest = split(self._rest + data)
        return self._frames.pop(0)

    def close(self) -> None:
        """Close our side."""
        self._socket.close()


def is_near(there: str, here: str) -> bool:
    """Tell whether two stamps of the same precision are close to each other."""
    if not _STAMP.fullmatch(there) or len(there) != len(here):
        return False
    one, other = (
        datetime.strptime(text.partition(".")[0], "%Y%m%d-%H:%M:%S").replace(tzinfo=UTC)
        for text in (there, here)
    )
    return abs((one - other).total_seconds()) <= _CLOCKS_APART_S


class LiveRun:
    """A row on its way."""

    def __init__(self, row: Row, version: Version, client: str, symbol: str, port: int) -> None:
        self.row = row
        self.version = version
        self.client = client
        self.symbol = symbol
        self.port = port
        self._connections: dict[int, Connection] = {}
        #: Messages as they were first sent, by session and MsgSeqNum.
        self._sent: dict[tuple[str, str], bytes] = {}

    def run(self) -> None:
        """Run all the steps, and see how it ends."""
        try:
            if self.row.before != (1, 1):
                self._bring_to(*self.row.before)
            for step in self.row.expand(self.version, "acceptor"):
                self.step(step)
            if self.row.numbers is not None and "password" not in self.row.venue:
                self._ask_numbers(*self.row.numbers)
        finally:
            for connection in self._connections.values():
                connection.close()

    def step(self, step: Step) -> None:
        """Let something happen, and check the answers."""
        self._act(step)
        patience_s = PATIENCE_S + (float(step.text) if step.action == "wait" else 0)
        connection = self._connections.get(step.connection)
        for text in step.messages:
            assert connection is not None
            self._check(connection, text, patience_s, step)
        if step.closes:
            assert connection is not None
            data = connection.receive(patience_s)
            assert not data, (step, readable(data))
            self._connections.pop(step.connection).close()
        elif step.action == "wait" and not step.answers:
            self._stay_silent(float(step.text))

    def _act(self, step: Step) -> None:
        envelope = self._envelope(self._name(step.connection), VENUE)
        connection = self._connections.get(step.connection)
        if step.action == "connect":
            self._connections[step.connection] = Connection(self.port)
        elif step.action == "cut":
            self._connections.pop(step.connection).close()
            # The venue must see the end before the next Logon.
            time.sleep(0.1)
        elif step.action in (">", ">1", ">>"):
            assert connection is not None
            if step.action == ">":
                connection.send(envelope.message(step.text))
            elif step.action == ">>":
                connection.send(envelope.raw(step.text))
            else:
                for byte in envelope.message(step.text):
                    connection.send(bytes([byte]))
        elif step.action not in ("wait", "hear"):
            raise ValueError(f"no such step on a live venue: {step.action}")

    def _name(self, connection: int) -> str:
        return self.client if connection < _OTHER_CLIENT else f"{self.client}.b"

    def _envelope(self, sender: str, target: str) -> Envelope:
        return Envelope(self.version, sender, target, time.time_ns() // 1_000_000, self.symbol)

    def _check(self, connection: Connection, text: str, patience_s: float, step: Step) -> None:
        after = f"after {step.action} {step.text}:\n"
        try:
            frame = connection.receive(patience_s)
        except TimeoutError:
            raise Mismatch(f"{after}nothing came, expected {text}") from None
        if not frame:
            raise Mismatch(f"{after}closed, expected {text}")
        name = self._name(step.connection)
        try:
            check(frame, text, self._envelope(VENUE, name), is_near)
        except Mismatch as error:
            raise Mismatch(f"{after}{error}") from None
        key = (name, value_of(frame, 34) or "")
        if value_of(frame, 43) != "Y":
            self._sent[key] = frame
        elif value_of(frame, 35) != "4" and key in self._sent:
            first = self._sent[key]
            assert value_of(frame, 122) == value_of(first, 52), readable(frame)
            assert _lasting(frame) == _lasting(first)

    def _stay_silent(self, seconds: float) -> None:
        time.sleep(seconds)
        for connection in self._connections.values():
            try:
                data = connection.receive(0.001)
            except TimeoutError:
                continue
            raise AssertionError(f"within {seconds} s: {readable(data)}")

    # -- numbers

    def _say(self, text: str, *answers: str) -> None:
        action, _, rest = expand(text, self.version).partition(" ")
        self.step(Step(action, rest, tuple(expand(answer, self.version) for answer in answers)))

    def _log_out(self, next_in: int, next_out: int) -> None:
        self._say(f"> 35=5|34={next_in}", f"35=5|34={next_out}$done", "closed")

    def _bring_to(self, next_in: int, next_out: int) -> None:
        """Bring a new session's numbers to what a row begins with; next_in is not below."""
        self._say("connect")
        logon = "35=A|34=1|98=0|108=30$appl"
        self._say(f"> {logon}", logon)
        for number in range(2, next_out - 1):
            self._say(f"> 35=1|34={number}|112=n", f"35=0|34={number}|112=n")
        self._say(f"> 35=4|34=0|36={next_in - 1}")
        self._log_out(next_in - 1, next_out - 1)

    def _ask_numbers(self, next_in: int, next_out: int) -> None:
        if 1 not in self._connections:
            self._say("connect")
            reply = f"35=A|34={next_out}|98=0|108=30$appl"
            self._say(f"> 35=A|34={next_in}|98=0|108=30$appl", reply)
            self._log_out(next_in + 1, next_out + 1)
        elif not self.row.gap:
            self._say(f"> 35=1|34={next_in}|112=end", f"35=0|34={next_out}|112=end")
            self._log_out(next_in + 1, next_out + 1)


_OTHER_CLIENT = 3
#: What changes when a message is sent again.
_STAMPS = frozenset({"8", "9", "10", "43", "52", "122"})


def _lasting(frame: bytes) -> list[tuple[str, str]]:
    return [(tag, value) for tag, value in fields_of(frame) if tag not in _STAMPS]


@cache
def all_runs() -> dict[str, tuple[Row, Version, str, str]]:
    """Return the rows that run live: name → row, version, session and symbol of its own."""
    symbols = iter([str(each["name"]) for each in SYMBOLS[4:]])
    return {
        f"{row.id}-{version.label}": (
            row,
            version,
            f"C{number}.{version.label[4:]}",
            next(symbols) if "@symbol" in row.steps or "$order" in row.steps else "",
        )
        for number, row in enumerate(rows())
        if row.is_live
        for version in Version
        if row.holds_in(version)
    }


def _sessions() -> list[dict[str, Any]]:
    """Return the sessions that must be configured: those of rows that want other settings."""
    found = []
    for row, version, client, _ in all_runs().values():
        if row.venue:
            session = {"id": client, "begin_string": version.begin_string, **row.venue}
            if version.is_fixt:
                session["appl_version"] = version.label
            found.append(session)
    return found


@contextmanager
def venue_for(folder: Path) -> Iterator[dict[str, Future[None]]]:
    """Start a venue, and let every row run on it; give what becomes of the runs."""
    config = {
        "capacity": {"sessions": 8192},
        "firms": [{"name": "conformance", "sessions": _sessions()}],
    }
    with (
        Venue(folder, config=config, symbols=SYMBOLS) as venue,
        ThreadPoolExecutor(_AT_A_TIME) as pool,
    ):
        port = venue.port("fix")
        yield {name: pool.submit(LiveRun(*run, port).run) for name, run in all_runs().items()}

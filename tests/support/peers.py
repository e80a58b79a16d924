"""Trading clients of few words for tests: blocking sockets, every wait bounded, nothing automatic.

They number what they send and check the numbers of what they receive; all else is the test's.
"""

import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Self

import msgspec

from openoutcry.protocol.binary.frames import encode_frame
from openoutcry.protocol.binary.messages import (
    Cancel,
    ExecutionReport,
    Heartbeat,
    Logon,
    LogonAccepted,
    Logout,
    NewOrder,
    Reject,
    Replace,
    ServerMessage,
    Status,
    SymbolDefinition,
    decode_server_message,
)
from openoutcry.protocol.fix.message import Message, parse
from openoutcry.protocol.fix.stream import FrameReader

from .fix import seal, to_bytes

TIMEOUT_S = 10.0


class Closed(Exception):
    """The venue closed the connection."""


class Peer:
    """A socket that gives out messages."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), TIMEOUT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close without a word."""
        self.socket.close()

    def raw(self, data: bytes) -> None:
        """Send bytes as they are."""
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            raise Closed from None

    def more(self, deadline: float) -> bytes:
        """Receive something."""
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("no message in time")
        self.socket.settimeout(left)
        try:
            data = self.socket.recv(1 << 18)
        except ConnectionResetError:
            raise Closed from None
        if not data:
            raise Closed
        return data

    def wait_closed(self, timeout_s: float = TIMEOUT_S) -> bytes:
        """Wait for the end of the connection; return what came before it."""
        deadline = time.monotonic() + timeout_s
        data = b""
        while True:
            try:
                data += self.more(deadline)
            except Closed:
                return data


class FixReport(dict[int, str]):
    """The fields of a message by tag (the first of each), and the message itself."""

    def __init__(self, message: Message) -> None:
        super().__init__()
        self.message = message
        for tag, value in message.fields:
            self.setdefault(tag, value.decode("latin-1"))

    @property
    def kind(self) -> str:
        """MsgType(35)."""
        return self[35]

    def pick(self, *tags: int) -> list[str | None]:
        """Return the values of some tags."""
        return [self.get(tag) for tag in tags]

    @property
    def outcome(self) -> str:
        """Return what happened in one line: 11 150/39 LastQty@LastPx cum leaves avg."""
        last = f" {self[32]}@{self[31]}" if 32 in self else ""
        return f"{self[11]} {self[150]}/{self[39]}{last} cum={self[14]} leaves={self[151]}"


def utc(offset_s: float = 0.0) -> str:
    """Return the time as FIX writes it."""
    now = datetime.fromtimestamp(time.time() + offset_s, UTC)
    return now.strftime("%Y%m%d-%H:%M:%S.%f")[:-3]


class FixPeer(Peer):
    """A FIX client."""

    def __init__(
        self,
        port: int,
        comp_id: str,
        *,
        next_out: int = 1,
        next_in: int = 1,
        venue: str = "",
        begin: str = "FIX.4.4",
    ) -> None:
        super().__init__(port)
        self.comp_id = comp_id
        self.begin = begin
        self.venue = venue or "OPENOUTCRY"
        self.next_out = next_out
        self.next_in = next_in
        self._reader = FrameReader()
        self._frames: list[FixReport] = []

    # --- out

    def frame(self, msg_type: str, body: str = "", **header: str) -> bytes:
        """Return the next message; `|` stands for SOH; header: seq, time, sender, target, extra."""
        seq = header.get("seq", str(self.next_out))
        if "seq" not in header:
            self.next_out += 1
        head = f"35={msg_type}|34={seq}|49={header.get('sender', self.comp_id)}|"
        head += f"52={header.get('time', utc())}|56={header.get('target', self.venue)}|"
        return seal(to_bytes(head + header.get("extra", "") + body), self.begin.encode())

    def send(self, msg_type: str, body: str = "", **header: str) -> int:
        """Send a message; return its number."""
        self.raw(self.frame(msg_type, body, **header))
        return int(header.get("seq", self.next_out - 1))

    def log_on(self, body: str = "", heartbeat_s: int = 0) -> "FixReport":
        """Log on; return the answer."""
        self.send("A", f"98=0|108={heartbeat_s}|{body}")
        answer = self.receive()
        assert answer.kind == "A", answer
        return answer

    def log_out(self) -> None:
        """Log out, and await the answer and the end."""
        self.send("5")
        while self.receive().kind != "5":
            pass
        self.close()

    @staticmethod
    def order(
        cl_ord_id: str,
        symbol: str,
        side: str,
        qty: object,
        price: object = None,
        tif: str = "1",
        extra: str = "",
    ) -> str:
        """Return the body of a NewOrderSingle."""
        kind = "40=1|" if price is None else f"40=2|44={price}|"
        head = f"11={cl_ord_id}|55={symbol}|54={side}|60={utc()}|38={qty}|"
        return f"{head}{kind}59={tif}|{extra}"

    def new(self, *args: Any, **kwargs: Any) -> int:
        """Send a NewOrderSingle, see `order`; return its number."""
        return self.send("D", self.order(*args, **kwargs))

    def cancel(self, cl_ord_id: str, orig: str, symbol: str, side: str = "1") -> int:
        """Send an OrderCancelRequest."""
        return self.send("F", f"41={orig}|11={cl_ord_id}|55={symbol}|54={side}|60={utc()}|")

    def replace(
        self, cl_ord_id: str, orig: str, symbol: str, side: str, qty: object, price: object
    ) -> int:
        """Send an OrderCancelReplaceRequest."""
        head = f"41={orig}|11={cl_ord_id}|55={symbol}|54={side}|60={utc()}|"
        return self.send("G", f"{head}38={qty}|40=2|44={price}|")

    def status(self, cl_ord_id: str, symbol: str, side: str = "1") -> int:
        """Send an OrderStatusRequest."""
        return self.send("H", f"11={cl_ord_id}|55={symbol}|54={side}|")

    # --- in

    def receive(self, timeout_s: float = TIMEOUT_S, *, is_numbered: bool = True) -> FixReport:
        """Return the next message; it must have the number due next unless `is_numbered` is off.

        Raises:
            Closed, TimeoutError
        """
        deadline = time.monotonic() + timeout_s
        while not self._frames:
            for frame in self._reader.feed(self.more(deadline)):
                assert frame is not None, "the venue sent garbled bytes"
                self._frames.append(FixReport(parse(frame)))
        message = self._frames.pop(0)
        assert message[8] == self.begin
        assert message[49] == self.venue
        assert message[56] == self.comp_id
        if is_numbered:
            assert int(message[34]) == self.next_in, message
            self.next_in += 1
            if message.kind == "4":
                self.next_in = int(message[36])
        return message

    def reports(self, count: int) -> list[FixReport]:
        """Return the next messages."""
        return [self.receive() for _ in range(count)]

    def outcomes(self, count: int) -> list[str]:
        """Return the next ExecutionReports as text."""
        return [report.outcome for report in self.reports(count)]

    def is_alive(self) -> bool:
        """Tell whether the session still answers a TestRequest, and says nothing else."""
        self.send("1", "112=ALIVE|")
        answer = self.receive()
        return (answer.kind, answer.get(112)) == ("0", "ALIVE")


class BinaryPeer(Peer):
    """A client of the binary protocol."""

    def __init__(self, port: int, session_id: str, *, seq: int = 1, next_in: int = 1) -> None:
        super().__init__(port)
        self.session_id = session_id
        self.seq = seq
        self.next_in = next_in
        self.symbols: dict[str, SymbolDefinition] = {}
        self._buffer = bytearray()
        self._messages: list[ServerMessage] = []

    # --- out

    def send(self, *messages: msgspec.Struct) -> None:
        """Send messages as they are."""
        self.raw(b"".join(encode_frame(message) for message in messages))  # type: ignore[arg-type]

    def log_on(
        self, next_expected: int | None = None, password: str = "", heartbeat_s: int = 0
    ) -> LogonAccepted:
        """Log on and take the symbols in; the numbers go on where the venue says."""
        awaited = self.next_in if next_expected is None else next_expected
        self.send(Logon(1, self.session_id, password, awaited, heartbeat_s))
        accepted = self.receive()
        assert isinstance(accepted, LogonAccepted), accepted
        for _ in range(accepted.symbols):
            symbol = self.receive()
            assert isinstance(symbol, SymbolDefinition)
            self.symbols[symbol.name] = symbol
        self.seq = accepted.last_accepted + 1
        self.next_in = awaited or accepted.next_seq
        return accepted

    def log_out(self) -> None:
        """Log out, and await the answer and the end."""
        self.send(Logout())
        while not isinstance(self.receive(), Logout):
            pass
        self.close()

    def next_seq(self) -> int:
        """Take a number."""
        self.seq += 1
        return self.seq - 1

    def order(
        self,
        cl_ord_id: str,
        symbol: str,
        side: int,
        qty: int,
        price: int | None = None,
        tif: int = 1,
        account: str = "",
    ) -> NewOrder:
        """Return the next message as a new order; price in ticks, quantity in lots."""
        number = self.symbols[symbol].number
        kind = 1 if price is None else 2
        seq = self.next_seq()
        return NewOrder(seq, cl_ord_id, number, side, kind, tif, price or 0, qty, account)

    def new(self, *args: Any, **kwargs: Any) -> None:
        """Send a new order, see `order`."""
        self.send(self.order(*args, **kwargs))

    def cancel(self, cl_ord_id: str, orig: str, symbol: str, side: int = 0) -> None:
        """Send a Cancel."""
        self.send(Cancel(self.next_seq(), cl_ord_id, orig, self.symbols[symbol].number, side))

    def replace(self, cl_ord_id: str, orig: str, symbol: str, qty: int, price: int) -> None:
        """Send a Replace."""
        number = self.symbols[symbol].number
        self.send(Replace(self.next_seq(), cl_ord_id, orig, number, 0, 2, price, qty))

    def status(self, cl_ord_id: str, symbol: str) -> None:
        """Send a Status."""
        self.send(Status(self.next_seq(), cl_ord_id, self.symbols[symbol].number))

    # --- in

    def receive(self, timeout_s: float = TIMEOUT_S) -> ServerMessage:
        """Return the next message; a numbered one must have the number due next.

        Raises:
            Closed, TimeoutError
        """
        deadline = time.monotonic() + timeout_s
        while not self._messages:
            self._buffer += self.more(deadline)
            self._messages.extend(self._cut())
        message = self._messages.pop(0)
        if isinstance(message, ExecutionReport | Reject):
            assert message.seq == self.next_in, message
            self.next_in += 1
        return message

    def _cut(self) -> Iterator[ServerMessage]:
        start = 0
        while len(self._buffer) - start >= 4:
            end = start + 4 + int.from_bytes(self._buffer[start : start + 4], "big")
            if len(self._buffer) < end:
                break
            yield decode_server_message(bytes(self._buffer[start + 4 : end]))
            start = end
        del self._buffer[:start]

    def report(self, timeout_s: float = TIMEOUT_S) -> ExecutionReport:
        """Return the next message, an ExecutionReport."""
        message = self.receive(timeout_s)
        assert isinstance(message, ExecutionReport), message
        return message

    def reports(self, count: int) -> list[ExecutionReport]:
        """Return the next messages, ExecutionReports."""
        return [self.report() for _ in range(count)]

    def reject(self) -> Reject:
        """Return the next message, a Reject."""
        message = self.receive()
        assert isinstance(message, Reject), message
        return message

    def logout_reason(self) -> int:
        """Return the reason of the venue's Logout, which ends the connection."""
        while not isinstance(message := self.receive(), Logout):
            pass
        self.wait_closed()
        return message.reason

    def is_alive(self, symbol: str = "BTCUSDT") -> bool:
        """Tell whether the session still answers, and says nothing else."""
        self.status("nothing", symbol)
        return self.report().ref_seq == self.seq - 1


__all__ = ["BinaryPeer", "Closed", "FixPeer", "FixReport", "Heartbeat", "Peer", "utc"]

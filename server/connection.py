"""One client's socket: bytes into the kernels, frames that they leave to the session, bytes out."""

import abc
import asyncio
import errno
import logging
import os
from typing import TYPE_CHECKING, cast

import numpy as np

from openoutcry.config.jit import IS_TEST_BUILD
from openoutcry.engine.faults import FaultPoint, is_due, reach_in_python
from openoutcry.engine.latency import GatewayCounter, Protocol
from openoutcry.protocol.fix.layouts import SPARE_BYTES as FIX_SPARE_BYTES
from openoutcry.protocol.fix.message import parse
from openoutcry.protocol.fix.redact import without_secrets
from openoutcry.server.binary_gateway import BinaryLink
from openoutcry.server.message_log import RECEIVED, SENT
from openoutcry.server.translate import (
    INBOUND_DONE,
    INBOUND_FULL,
    INBOUND_GARBLED,
)

if TYPE_CHECKING:
    from openoutcry.server.fix_gateway import FixSession
    from openoutcry.server.gateway import Gateway
    from openoutcry.server.message_log import SessionLog

log = logging.getLogger(__name__)

#: Frames that Python takes of one connection before others get their turn; kernels take any number.
_FRAMES_PER_TURN = 64
#: How long a closed connection may take to send what is queued.
_LINGER_S = 3.0


class Connection(asyncio.BufferedProtocol, abc.ABC):
    """A connection of either protocol; subclasses take the frames.

    Attributes:
        row: the connection's row in the gateway's output buffers, or -1 when it was refused.
        session_number: the session's number, 0 before logon.
        opened_ms: when it was accepted, UTC in ms since 1970.
        is_handed: another gateway accepted it.
        message_log: takes every byte of the session, where one is asked for.
    """

    protocol: Protocol

    def __init__(self, gateway: "Gateway", data: bytes = b"", opened_ms: int = 0) -> None:
        """Make one; `data` was read since `opened_ms` where another gateway accepted it."""
        self.gateway = gateway
        self.opened_ms = opened_ms or gateway.now_ms()
        self.is_handed = opened_ms > 0
        self._handed = data
        self.row = -1
        self.session_number = 0
        self.message_log: SessionLog | None = None
        self.is_closed = False
        # The transport is closing: nothing can be written any more.
        self._is_gone = False
        self.is_writing_paused = False
        self.is_held = False
        self._is_stalled = False
        self._start = 0
        self._end = 0
        # Where the frame begins that Python took last.
        self._frame_start = 0
        config = gateway.config
        limits = config.fix if self.protocol == Protocol.FIX else config.binary
        # A message that is not whole stays in the buffer, and more is read behind it.
        size = max(config.gateway.receive_buffer_bytes, 2 * limits.max_message_bytes)
        self.buffer = np.empty(size + FIX_SPARE_BYTES, np.uint8)
        self._view = memoryview(self.buffer.data)[:size]
        self.transport: asyncio.Transport
        self.peer = ""
        self._fd = -1

    # --- asyncio ----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a place, or be refused."""
        # uvloop's transports are no subclass of asyncio's.
        self.transport = cast(asyncio.Transport, transport)
        self.peer = str(transport.get_extra_info("peername"))
        sock = transport.get_extra_info("socket")
        self._fd = sock.fileno()
        self.transport.set_write_buffer_limits(high=256 << 10)
        counters = self.gateway.metrics.counters
        if not self.gateway.register(self):
            counters[GatewayCounter.CONNECTIONS_REFUSED + self.protocol] += 1
            log.warning("refused: peer=%s reason=no room for a connection", self.peer)
            self.is_closed = True
            self.transport.abort()
            return
        if not self.is_handed:
            counters[GatewayCounter.CONNECTIONS_OPENED + self.protocol] += 1
        self.opened()
        if self._handed:
            # What is read from now on comes behind it.
            self._end = len(self._handed)
            self._view[: self._end] = self._handed
            self._handed = b""
            self.gateway.loop.call_soon(self._go_on)

    def connection_lost(self, exc: Exception | None) -> None:
        """Free the place; the session lives on."""
        self.is_closed = self._is_gone = True
        if self.row >= 0:
            self.lost()
            self.gateway.unregister(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Give the free part of the buffer."""
        return self._view[self._end :]

    def buffer_updated(self, nbytes: int) -> None:
        """Take the bytes just received."""
        if self.is_closed:
            return
        if self.message_log is not None:
            chunk = self._view[self._end : self._end + nbytes]
            self.message_log.put(RECEIVED, bytes(chunk))
        self._end += nbytes
        counters = self.gateway.metrics.counters
        counters[GatewayCounter.BYTES_IN + self.protocol] += nbytes
        counters[GatewayCounter.READ_CALLS] += 1
        self.process()

    def eof_received(self) -> bool:
        """Close: the client sends nothing more, and its session is free at once.

        The socket itself is closed by us where something may still wait for the disk.
        """
        self.close("the client has closed", is_error=False)
        return self.gateway.gate is not None

    def pause_writing(self) -> None:
        """Stop reading from a client that does not read: its own orders make its reports."""
        self.is_writing_paused = True
        if not self.is_closed:
            self.transport.pause_reading()

    def resume_writing(self) -> None:
        """Read again."""
        self.is_writing_paused = False
        if not self.is_closed and not self._is_stalled and not self.is_held:
            self.transport.resume_reading()

    # --- in ---------------------------------------------------------------------------------------

    def process(self) -> None:
        """Hand everything complete in the buffer on; then let the gateway look for answers."""
        gateway = self.gateway
        gateway.recv_ns = gateway.monotonic_ns()
        if self.session_number:
            gateway.index.rows[self.session_number]["received_ms"] = gateway.now_ms()
        taken = 0
        while not self.is_closed and not self.is_held:
            if taken == _FRAMES_PER_TURN:
                self._yield_turn()
                break
            has_room = not gateway.orders.waiting or gateway.orders.flush()
            if not has_room or not gateway.index.has_room:
                self._stall()
                break
            code, self._start = self._receive_in_turn()
            if code == INBOUND_DONE:
                break
            if code == INBOUND_FULL:
                self._stall()
                break
            if code == INBOUND_GARBLED:
                continue
            self.take_frame()
            taken += 1
        self._make_room()
        gateway.look_for_reports()

    def _receive_in_turn(self) -> tuple[int, int]:
        """Run the kernel; where commands wait for a ring, have it leave what comes to Python, which
        puts it behind them: a shard passes over a number below one that it has logged."""
        if not self.gateway.orders.waiting:
            return self.receive(self._start, self._end)
        row = self.gateway.index.rows[self.session_number]
        takes_orders = int(row["takes_orders"])
        row["takes_orders"] = 0
        found = self.receive(self._start, self._end)
        row["takes_orders"] = takes_orders
        return found

    def _make_room(self) -> None:
        """Move an incomplete frame to the front, where the rest of it will fit."""
        if self._start == self._end:
            self._start = self._end = 0
        elif self._start > 0:
            rest = self._end - self._start
            self.buffer[:rest] = self.buffer[self._start : self._end].copy()
            self._start = 0
            self._end = rest

    def _stall(self) -> None:
        """Stop reading until the command ring has room."""
        if not self._is_stalled:
            self._is_stalled = True
            self.transport.pause_reading()
            self.gateway.stalled.append(self)
            self.gateway.metrics.counters[GatewayCounter.RING_FULL + self.protocol] += 1

    def _yield_turn(self) -> None:
        """Let other connections have their turn before the rest of a long chunk."""
        if not self._is_stalled:
            self._is_stalled = True
            self.transport.pause_reading()
            self.gateway.loop.call_soon(self.resume)

    def resume(self) -> None:
        """Go on after a stall."""
        self._is_stalled = False
        self._go_on()

    def hold(self) -> None:
        """Read nothing more until `release`: an answer to what came takes its time."""
        self.is_held = True
        self.transport.pause_reading()

    def release(self) -> None:
        """Go on after `hold`."""
        self.is_held = False
        self._go_on()

    def _go_on(self) -> None:
        if self.is_closed or self.is_held:
            return
        self.process()
        is_waiting = self._is_stalled or self.is_writing_paused or self.is_held
        if not is_waiting and not self.is_closed:
            self.transport.resume_reading()

    def log_messages(self, message_log: "SessionLog", first: bytes) -> None:
        """Have all bytes logged from now on, after the first message and what came with it."""
        message_log.put(RECEIVED, first + self.buffer[self._start : self._end].tobytes())
        self.message_log = message_log

    # --- to another gateway -----------------------------------------------------------------------

    @property
    def logon_deadline_ms(self) -> int:
        """Until when the Logon is awaited, UTC in ms since 1970."""
        config = self.gateway.config
        limits = config.fix if self.protocol == Protocol.FIX else config.binary
        return self.opened_ms + limits.logon_timeout_s * 1000

    def first_bytes(self) -> bytes:
        """Return the frame just taken, and everything read behind it."""
        return self.buffer[self._frame_start : self._end].tobytes()

    def duplicate(self) -> int:
        """Return another descriptor of the socket, the caller's to close."""
        return os.dup(self._fd)

    def let_go(self) -> None:
        """Leave the socket to whoever has a duplicate of it."""
        self.is_closed = self._is_gone = True
        self.transport.abort()

    @abc.abstractmethod
    def receive(self, start: int, end: int) -> tuple[int, int]:
        """Run the inbound kernel over the buffer; return (INBOUND_…, position)."""

    @abc.abstractmethod
    def take_frame(self) -> None:
        """Take the frame at the position with Python, and step over it."""

    @abc.abstractmethod
    def opened(self) -> None:
        """Do what is due when the connection stands."""

    @abc.abstractmethod
    def lost(self) -> None:
        """Do what is due when the connection is gone."""

    @abc.abstractmethod
    def poll(self, now_ms: int) -> None:
        """Look at the timers."""

    @abc.abstractmethod
    def log_out(self, text: str) -> None:
        """Say goodbye before the venue stops."""

    # --- out --------------------------------------------------------------------------------------

    def write(self, data: bytes | memoryview) -> None:
        """Send bytes: at once, or under `durability: power` when what they tell is on the disk."""
        if self.is_closed or not data:
            return
        if self.message_log is not None:
            self.message_log.put(SENT, bytes(data))
        gate = self.gateway.gate
        if gate is None:
            self.write_now(data)
        else:
            gate.put(self, bytes(data))

    def write_now(self, data: bytes | memoryview) -> None:
        """Write to the socket what it takes, and leave the rest to the event loop, within the
        bound."""
        if self._is_gone:
            return
        gateway = self.gateway
        if IS_TEST_BUILD:
            reach_in_python(gateway.faults, FaultPoint.BEFORE_WRITE)
            if is_due(gateway.faults, FaultPoint.PARTIAL_WRITE):
                os.write(self._fd, data[: len(data) // 2])
            reach_in_python(gateway.faults, FaultPoint.PARTIAL_WRITE)
        counters = gateway.metrics.counters
        counters[GatewayCounter.WRITE_CALLS] += 1
        counters[GatewayCounter.BYTES_OUT + self.protocol] += len(data)
        queued = self.transport.get_write_buffer_size()
        sent = 0
        if queued == 0:
            try:
                sent = os.write(self._fd, data)
            except BlockingIOError:
                sent = 0
            except OSError as error:
                if error.errno not in {errno.EPIPE, errno.ECONNRESET, errno.EBADF}:
                    log.warning("write failed: peer=%s reason=%s", self.peer, error)
                self._cut("the client closed the connection", is_error=False)
                return
        if sent == len(data):
            return
        if queued + len(data) - sent > gateway.config.gateway.send_queue_bytes:
            counters[GatewayCounter.SLOW_CONSUMERS + self.protocol] += 1
            self._cut(
                f"reads too slowly: {queued + len(data) - sent} bytes wait for it", is_error=True
            )
            return
        # The kernel's buffer is used again at once: what the loop keeps must be a copy.
        self.transport.write(bytes(data[sent:]))

    def close(self, reason: str, *, is_error: bool, abort: bool = False) -> None:
        """Close the connection, after what is queued unless it is to be cut."""
        if self.is_closed:
            return
        self.is_closed = True
        if is_error:
            self.gateway.metrics.counters[GatewayCounter.CONNECTIONS_CLOSED + self.protocol] += 1
        log.log(
            logging.WARNING if is_error else logging.INFO,
            "closing: peer=%s session=%d reason=%s",
            self.peer,
            self.session_number,
            reason,
        )
        # What the session still had to say is written: its next connection may come at once.
        if self.row >= 0:
            self.lost()
        if abort:
            self._is_gone = True
            self.transport.abort()
        elif self.gateway.gate is not None:
            self.gateway.gate.close(self)
        else:
            self.close_now()

    def _cut(self, reason: str, *, is_error: bool) -> None:
        """Close a connection that nothing more can be written to."""
        if self.is_closed:
            self._is_gone = True
            self.transport.abort()
        else:
            self.close(reason, is_error=is_error, abort=True)

    def close_now(self) -> None:
        """Close the socket, once it has taken what is queued."""
        if self._is_gone:
            return
        self._is_gone = True
        self.transport.close()
        # What is queued may never go out to a client that does not read; its session must not stay
        # taken for that.
        self.gateway.loop.call_later(_LINGER_S, self._abort)

    def _abort(self) -> None:
        if self.row >= 0:
            self.transport.abort()


class FixConnection(Connection):
    """A connection on the FIX port."""

    protocol = Protocol.FIX

    def __init__(self, gateway: "Gateway", data: bytes = b"", opened_ms: int = 0) -> None:
        super().__init__(gateway, data, opened_ms)
        self.session: FixSession | None = None

    def opened(self) -> None:
        """Await the Logon; `poll` sees to its time."""

    def receive(self, start: int, end: int) -> tuple[int, int]:
        """Run the FIX kernel."""
        code, position = self.gateway.receive_fix(self, start, end)
        if code == INBOUND_GARBLED:
            self.gateway.metrics.counters[GatewayCounter.GARBLED + self.protocol] += 1
            log.info(
                "garbled: peer=%s session=%d bytes=%r",
                self.peer,
                self.session_number,
                without_secrets(self.buffer[start : min(position, start + 120)].tobytes()),
            )
            if self.session is None:
                self.close("first message is garbled", is_error=True)
            else:
                self.session.act(self.session.session.receive_garbled(self.gateway.now_ms()))
        return code, position

    def take_frame(self) -> None:
        """Give a frame to the session; the first one must be a Logon."""
        end = int(self.gateway.fix_fields[0]["frame_end"])
        frame = self.buffer[self._start : end].tobytes()
        self._frame_start, self._start = self._start, end
        if self.session is not None:
            self.session.receive(frame)
        else:
            self.gateway.fix.desk.first_message(self, parse(frame))

    def lost(self) -> None:
        """Release the session."""
        session, self.session = self.session, None
        if session is not None:
            session.detach()
        if self.message_log is not None:
            self.message_log.end()
            self.message_log = None

    def poll(self, now_ms: int) -> None:
        """Close a connection that sends no Logon; else the session looks at its timers."""
        if self.session is not None:
            self.session.poll(now_ms)
        elif now_ms >= self.logon_deadline_ms and not self.is_held:
            self.close("no Logon received in time", is_error=True)

    def log_out(self, text: str) -> None:
        """Send a Logout, or just close where nobody is logged on."""
        if self.session is not None:
            self.session.log_out(text)
        else:
            self.close(text, is_error=False)


class BinaryConnection(Connection):
    """A connection on the binary port."""

    protocol = Protocol.BINARY

    def __init__(self, gateway: "Gateway", data: bytes = b"", opened_ms: int = 0) -> None:
        super().__init__(gateway, data, opened_ms)
        self.link: BinaryLink

    def opened(self) -> None:
        """Await the Logon."""
        self.link = BinaryLink(self.gateway, self)

    def receive(self, start: int, end: int) -> tuple[int, int]:
        """Run the binary kernel."""
        return self.gateway.receive_binary(self, start, end)

    def take_frame(self) -> None:
        """Give a frame to the session."""
        start = self._start
        length = int.from_bytes(self.buffer[start : start + 4].tobytes(), "big")
        if length > self.gateway.config.binary.max_message_bytes:
            self._start = self._end
            self.link.too_long(length)
            return
        payload = self.buffer[start + 4 : start + 4 + length].tobytes()
        self._frame_start, self._start = start, start + 4 + length
        self.link.receive(payload)

    def lost(self) -> None:
        """Release the session."""
        self.link.detach()

    def poll(self, now_ms: int) -> None:
        """Let the session look at its timers."""
        self.link.poll(now_ms)

    def log_out(self, text: str) -> None:
        """Send a Logout."""
        self.link.log_out(text)

"""The client loop: sockets on an epoll, one kernel call and one send for each socket that is ready.

The same loop drives the venue and the echo that it is compared with: what is sent, and how replies
are judged, is behind `Exchange`.
"""

import select
import socket
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from openoutcry.loadgen.layouts import Turn

#: A run in which nothing comes back for this long has failed.
STALLED_S = 10.0
#: How often the loop looks at what is not about messages: heartbeats, progress, the end.
TICK_S = 0.1


class DriverError(Exception):
    """A connection broke or the venue stopped answering."""


class Exchange(Protocol):
    """What is said on the connections. Rows of `connections` hold the places in the buffers."""

    connections: NDArray[np.void]
    received: NDArray[np.uint8]
    to_send: NDArray[np.uint8]
    #: Bytes of a send at most; 0: all that is encoded goes out in one.
    send_bytes: int

    def turn(self, c: int, received: int, now: int) -> int:
        """Take received bytes, fill the window again; return a Turn."""

    def receive(self, c: int, received: int, now: int) -> int:
        """Take received bytes only."""

    def fill(self, c: int, limit: int, start_ns: int, first: int, burst: int, step_ns: int) -> int:
        """Encode up to `limit` requests, of a schedule of bursts; return how many."""

    def session_frame(self, c: int, frame: bytes) -> bytes:
        """Take a frame for Python; return bytes to be sent."""

    def heartbeat(self, c: int) -> bytes:
        """Return a heartbeat's bytes."""

    def awaits_reply(self) -> bool:
        """Tell whether a request is unanswered."""


class Driver:
    """Connections, and the loop over them."""

    def __init__(self, sockets: Sequence[socket.socket], exchange: Exchange) -> None:
        self._sockets = sockets
        self._exchange = exchange
        # Columns: a field of a row costs six times as much from Python.
        rows = exchange.connections
        self._in_start, self._in_end = rows["in_start"], rows["in_end"]
        self._frame_end = rows["frame_end"]
        self._out_start, self._out_end = rows["out_start"], rows["out_end"]
        self._inputs = [memoryview(row) for row in exchange.received]
        self._outputs = [memoryview(row) for row in exchange.to_send]
        self._send_bytes = exchange.send_bytes
        self._input_room = exchange.received.shape[1] - 64
        self._epoll = select.epoll()
        self._by_fd = {sock.fileno(): c for c, sock in enumerate(sockets)}
        self._is_blocked = [False] * len(sockets)
        self._heard = time.perf_counter()
        self._spoke = [time.perf_counter()] * len(sockets)
        for sock in sockets:
            sock.setblocking(False)
            self._epoll.register(sock.fileno(), select.EPOLLIN)

    def release(self) -> None:
        """Let go of the connections, which stay open."""
        self._epoll.close()

    # --- closed loop ------------------------------------------------------------------------------

    def run_closed(self, is_over: Callable[[], bool]) -> None:
        """Keep every window full until `is_over`, which is asked ten times a second and when idle.

        Raises:
            DriverError: A connection broke, or nothing was answered for STALLED_S.
        """
        exchange = self._exchange
        for c in range(len(self._sockets)):
            self._check(c, exchange.turn(c, 0, time.perf_counter_ns()), closed=True)
            self._send(c)
        next_tick = 0.0
        while True:
            events = self._epoll.poll(TICK_S)
            for fd, event in events:
                c = self._by_fd[fd]
                if event & ~select.EPOLLOUT:
                    received = self._receive(c)
                    now = time.perf_counter_ns()
                    status = exchange.turn(c, received, now)
                    if status:
                        self._check(c, status, closed=True)
                if self._out_end[c]:
                    self._send(c)
            clock = time.perf_counter()
            if clock >= next_tick or not events:
                next_tick = clock + TICK_S
                if is_over():
                    return
                self._tick(clock)

    # --- open loop --------------------------------------------------------------------------------

    def run_open(self, rate: float, burst: int, is_over: Callable[[], bool]) -> None:
        """Send at a rate, all connections together, whatever comes back, until `is_over`.

        Each request has its time beforehand, `burst` requests of a connection the same; its latency
        counts from there, however late it was sent. Raises DriverError.
        """
        exchange = self._exchange
        count = len(self._sockets)
        step = max(int(count * burst * 1e9 / rate), 1)
        now = time.perf_counter_ns()
        # Connections take turns.
        starts = [now + c * step // count for c in range(count)]
        sent = [0] * count
        next_tick = 0.0
        while True:
            now = time.perf_counter_ns()
            for c in range(count):
                due = ((now - starts[c]) // step + 1) * burst - sent[c]
                if due > 0 and not self._is_blocked[c]:
                    sent[c] += exchange.fill(c, due, starts[c], sent[c], burst, step)
                    self._send(c)
            self._wait_until(min(starts[c] + sent[c] // burst * step for c in range(count)))
            for fd, event in self._epoll.poll(0):
                c = self._by_fd[fd]
                if event & ~select.EPOLLOUT:
                    received = self._receive(c)
                    status = exchange.receive(c, received, time.perf_counter_ns())
                    if status:
                        self._check(c, status, closed=False)
                if self._is_blocked[c] and event & select.EPOLLOUT:
                    self._send(c)
            clock = time.perf_counter()
            if clock >= next_tick:
                next_tick = clock + TICK_S
                if is_over():
                    return
                self._tick(clock)

    def _wait_until(self, due_ns: int) -> None:
        """Sleep until something can be read or written, or the time has come.

        An epoll is itself readable when it has events, and select, unlike epoll_wait, counts in
        microseconds.
        """
        left = (due_ns - time.perf_counter_ns()) / 1e9
        if left > 0:
            select.select([self._epoll], (), (), min(left, TICK_S))
        elif any(self._is_blocked):
            select.select([self._epoll], (), (), 0.001)

    # --- one connection ---------------------------------------------------------------------------

    def _receive(self, c: int) -> int:
        end = int(self._in_end[c])
        try:
            received = self._sockets[c].recv_into(self._inputs[c][end : self._input_room])
        except BlockingIOError:
            return 0
        except OSError as error:
            raise DriverError(f"connection {c}: {error}") from error
        if not received:
            raise DriverError(f"connection {c}: the peer closed it")
        self._heard = time.perf_counter()
        return received

    def _send(self, c: int) -> None:
        """Send what is encoded; what the socket does not take waits for it to be writable."""
        start, end = int(self._out_start[c]), int(self._out_end[c])
        most = self._send_bytes or end
        while start < end:
            part = self._outputs[c][start : min(start + most, end)]
            try:
                sent = self._sockets[c].send(part)
            except BlockingIOError:
                break
            except OSError as error:
                raise DriverError(f"connection {c}: {error}") from error
            start += sent
            if sent < len(part):
                break
        is_blocked = start != end
        self._out_start[c] = start if is_blocked else 0
        if not is_blocked:
            self._out_end[c] = 0
        if is_blocked != self._is_blocked[c]:
            self._is_blocked[c] = is_blocked
            events = select.EPOLLIN | select.EPOLLOUT if is_blocked else select.EPOLLIN
            self._epoll.modify(self._sockets[c].fileno(), events)
        self._spoke[c] = self._heard

    def _check(self, c: int, status: int, *, closed: bool) -> None:
        """Serve the frames that a kernel left to Python, until its turn is done."""
        while status != Turn.DONE:
            start, end = int(self._in_start[c]), int(self._frame_end[c])
            if status == Turn.GARBLED:
                excerpt = bytes(self._inputs[c][start : start + 80])
                raise DriverError(f"connection {c}: not a message: {excerpt!r}")
            answer = self._exchange.session_frame(c, bytes(self._inputs[c][start:end]))
            self._in_start[c] = end
            self._append(c, answer)
            status = self._exchange.receive(c, 0, time.perf_counter_ns())
        self._send(c)
        if closed and not self._is_blocked[c]:
            # The turn that was cut short did not fill the window.
            self._check(c, self._exchange.turn(c, 0, time.perf_counter_ns()), closed=False)

    def _append(self, c: int, data: bytes) -> None:
        """Put bytes of a session behind what waits to be sent."""
        if data:
            end = int(self._out_end[c])
            self._outputs[c][end : end + len(data)] = data
            self._out_end[c] = end + len(data)

    def _tick(self, clock: float) -> None:
        """Look for a stall, and send heartbeats on connections that were silent."""
        if self._exchange.awaits_reply() and clock - self._heard > STALLED_S:
            raise DriverError(f"nothing came back for {STALLED_S:g} s, with requests unanswered")
        for c in range(len(self._sockets)):
            if clock - self._spoke[c] > HEARTBEAT_EVERY_S and not self._is_blocked[c]:
                self._spoke[c] = clock
                self._append(c, self._exchange.heartbeat(c))
                self._send(c)


#: Half of what is agreed at logon: an interval is never missed.
HEARTBEAT_EVERY_S = 15.0


def connect(host: str, port: int, timeout_s: float = 10.0) -> socket.socket:
    """Return a connected socket that sends at once. Raises DriverError."""
    try:
        sock = socket.create_connection((host, port), timeout_s)
    except OSError as error:
        raise DriverError(f"{host}:{port}: {error}") from error
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock

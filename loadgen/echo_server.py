"""The yardstick's servers: whatever comes is sent back; each a process of its own.

`uvloop` is a Protocol whose data_received calls transport.write; `native` is one loop over
epoll_wait, recv and send in a kernel, without Python in between: what this machine's TCP costs by
itself.
"""

import asyncio
import signal
import socket
import sys
from typing import Any, cast

import numpy as np
from numba import types

from openoutcry.config.jit import lean_kernel
from openoutcry.protocol.binary.words import address_of, load_word

_BUFFER_BYTES = 1 << 18
_EVENT_BYTES = 12
_EVENTS = 64

_epoll_ctl = types.ExternalFunction(
    "epoll_ctl", types.int32(types.int32, types.int32, types.int32, types.int64)
)
_epoll_wait = types.ExternalFunction(
    "epoll_wait", types.int32(types.int32, types.int64, types.int32, types.int32)
)
_recv = types.ExternalFunction(
    "recv", types.int64(types.int32, types.int64, types.int64, types.int32)
)
_send = types.ExternalFunction(
    "send", types.int64(types.int32, types.int64, types.int64, types.int32)
)
_NO_SIGNAL = 0x4000


@lean_kernel
def echo_until_closed(epoll: int, events: Any, buffer: Any, connections: int) -> None:
    """Echo on the sockets of an epoll until so many of them were closed by their peers."""
    where = address_of(events)
    room = address_of(buffer)
    while connections > 0:
        ready = _epoll_wait(np.int32(epoll), where, np.int32(_EVENTS), np.int32(-1))
        for i in range(ready):
            # struct epoll_event is packed: events, then the fd in the lower half of its data.
            fd = np.int32(load_word(where + i * _EVENT_BYTES + 4) & np.uint64(0xFFFF_FFFF))
            got = _recv(fd, room, _BUFFER_BYTES, np.int32(0))
            sent = np.int64(0)
            while sent < got:
                done = _send(fd, room + sent, got - sent, np.int32(_NO_SIGNAL))
                if done <= 0:
                    got = np.int64(0)
                    break
                sent += done
            if got <= 0:
                connections -= 1
                _epoll_ctl(np.int32(epoll), np.int32(2), fd, where)


class _Echo(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._transport.write(data)


async def _serve_uvloop() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Echo, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    server.close()


def _serve_native(connections: int) -> None:
    import select

    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    epoll = select.epoll()
    events = np.zeros(_EVENT_BYTES * _EVENTS + 8, np.uint8)
    buffer = np.zeros(_BUFFER_BYTES, np.uint8)
    echo_until_closed(epoll.fileno(), events, buffer, 0)
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    peers = [listener.accept()[0] for _ in range(connections)]
    for peer in peers:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        epoll.register(peer.fileno(), select.EPOLLIN)
    echo_until_closed(epoll.fileno(), events, buffer, connections)


def main() -> None:
    """Serve on a free port, which is printed, until SIGTERM or the last connection ends."""
    kind, connections = sys.argv[1], int(sys.argv[2])
    if kind == "uvloop":
        import uvloop

        uvloop.run(_serve_uvloop())
    else:
        _serve_native(connections)


if __name__ == "__main__":
    main()

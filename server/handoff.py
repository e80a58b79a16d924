"""From gateway to gateway: connections whose session has its home elsewhere, and declines.

All gateways accept from the same sockets. The one that accepted a connection reads the first
message, and where the session that it names belongs to another gateway, hands over the socket
(SCM_RIGHTS) with all bytes read so far. Each gateway has a datagram socket for that in the venue's
folder of shared memory.
"""

import asyncio
import contextlib
import errno
import logging
import os
import socket
import tempfile
from array import array
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from openoutcry.engine.enums import RejectReason
from openoutcry.engine.latency import Protocol
from openoutcry.protocol.fix.message import Message
from openoutcry.server.declined import Declined

if TYPE_CHECKING:
    from openoutcry.server.connection import Connection
    from openoutcry.server.gateway import Gateway

log = logging.getLogger(__name__)

#: A gateway that is away, or whose queue is full, is tried again after this time.
_RETRY_S = 0.02
#: Datagrams taken before the loop's other work has its turn.
_AT_ONCE = 32
_DATAGRAM_BYTES = 1 << 17
#: Copies that wait for a gateway at most: beyond that the oldest are given up.
_WAITING_MAX = 100_000
#: Errors that say that the other gateway is not there, or busy, just now.
_LATER = {errno.ENOENT, errno.ECONNREFUSED, errno.EAGAIN, errno.ENOBUFS, errno.ECONNRESET}


class HandedConnection(Struct, frozen=True, tag_field="kind", tag="connection"):
    """A connection: the datagram carries its socket, and a file with the bytes read from it."""

    protocol: int
    #: When it was accepted, UTC in ms since 1970: the Logon is due within its time from then on.
    opened_ms: int
    bytes_read: int


class HandedDecline(Struct, frozen=True, tag_field="kind", tag="decline"):
    """A message that its session's gateway declined, for the drop copies of another gateway."""

    session: int
    #: The session's: only its home knows it.
    epoch: int
    msg_type: str
    #: Tags and values, these as ISO 8859-1.
    fields: list[tuple[int, str]]
    reason: int
    text: str


_decoder = msgspec.json.Decoder(HandedConnection | HandedDecline)


class Neighbours:
    """The other gateways of the venue, as one gateway sees them.

    Args:
        gateway: whose.
        folder: the venue's folder of shared memory.
    """

    def __init__(self, gateway: "Gateway", folder: Path) -> None:
        self._gateway = gateway
        self._folder = folder
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._declines: dict[int, deque[bytes]] = {}
        self._is_retry_due = False
        self._tasks: set[asyncio.Task[None]] = set()

    def _path(self, gateway: int) -> Path:
        return self._folder / f"gateway-{gateway}.sock"

    def listen(self) -> None:
        """Take what the others hand over, from now on."""
        path = self._path(self._gateway.number)
        path.unlink(missing_ok=True)
        self._socket.bind(str(path))
        path.chmod(0o600)
        self._gateway.loop.add_reader(self._socket.fileno(), self._receive)

    def close(self) -> None:
        """Take nothing more."""
        if self._socket.fileno() >= 0:
            with contextlib.suppress(AttributeError, RuntimeError):
                self._gateway.loop.remove_reader(self._socket.fileno())
            self._socket.close()

    # --- connections ------------------------------------------------------------------------------

    def hand_over(self, connection: "Connection", home: int, data: bytes) -> None:
        """Give a connection, and the bytes read from it, to the gateway of its session.

        Where that gateway is away the client waits, until the time for its Logon is over.
        """
        connection.hold()
        self._try_to_hand_over(connection, home, data)

    def _try_to_hand_over(self, connection: "Connection", home: int, data: bytes) -> None:
        if connection.is_closed:
            return
        gateway = self._gateway
        if gateway.now_ms() >= connection.logon_deadline_ms:
            connection.close(f"gateway {home}, the session's own, is away", is_error=True)
            return
        note = HandedConnection(int(connection.protocol), connection.opened_ms, len(data))
        fds = [connection.duplicate()]
        try:
            fds.append(_file_of(data))
            files = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", fds))
            # Not socket.send_fds: it passes over the address.
            self._socket.sendmsg([msgspec.json.encode(note)], [files], 0, str(self._path(home)))
        except OSError as error:
            if error.errno in _LATER:
                gateway.loop.call_later(_RETRY_S, self._try_to_hand_over, connection, home, data)
                return
            connection.close(f"cannot be handed to gateway {home}: {error}", is_error=True)
            return
        finally:
            for fd in fds:
                os.close(fd)
        log.info("handed over: peer=%s gateway=%d", connection.peer, home)
        connection.let_go()

    def _receive(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                data, fds, flags, _ = socket.recv_fds(self._socket, _DATAGRAM_BYTES, 2)
            except BlockingIOError:
                return
            except OSError as error:
                log.error("cannot take what another gateway hands over: error=%s", error)
                return
            try:
                if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
                    raise ValueError("the datagram was cut")
                self._take(_decoder.decode(data), fds)
            except (ValueError, OSError, msgspec.DecodeError) as error:
                log.error("passed over what another gateway handed over: error=%s", error)
            finally:
                for fd in fds:
                    os.close(fd)

    def _take(self, note: HandedConnection | HandedDecline, fds: list[int]) -> None:
        """Take one datagram; whatever is kept of its files is a duplicate."""
        if isinstance(note, HandedDecline):
            message = Message(
                note.msg_type, [(tag, value.encode("latin-1")) for tag, value in note.fields]
            )
            declined = Declined(RejectReason(note.reason), note.text)
            self._gateway.orders.copy_decline(note.session, note.epoch, message, declined)
            return
        if len(fds) != 2:
            raise ValueError(f"{len(fds)} files came with a connection")
        data = os.pread(fds[1], note.bytes_read, 0)
        sock = socket.socket(fileno=os.dup(fds[0]))
        sock.setblocking(False)
        task = self._gateway.loop.create_task(self._adopt(sock, note, data))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _adopt(self, sock: socket.socket, note: HandedConnection, data: bytes) -> None:
        gateway = self._gateway

        def make() -> "Connection":
            return gateway.make_connection(Protocol(note.protocol), data, note.opened_ms)

        try:
            await gateway.loop.connect_accepted_socket(make, sock)
        except OSError as error:
            sock.close()
            log.info("a connection that was handed over is gone: error=%s", error)

    # --- declines ---------------------------------------------------------------------------------

    def tell_decline(
        self, homes: set[int], session: int, message: Message, declined: Declined
    ) -> None:
        """Have other gateways copy what this one declined to the drop copies that are theirs."""
        fields = [(tag, value.decode("latin-1")) for tag, value in message.fields]
        epoch = int(self._gateway.index.rows[session]["epoch"])
        note = HandedDecline(
            session, epoch, message.msg_type, fields, declined.reason, declined.text
        )
        data = msgspec.json.encode(note)
        for home in sorted(homes):
            waiting = self._declines.setdefault(home, deque())
            if len(waiting) >= _WAITING_MAX:
                waiting.popleft()
                log.error("a drop copy of a decline is lost: gateway=%d is away too long", home)
            waiting.append(data)
        self._send_declines()

    def _send_declines(self) -> None:
        for home, waiting in self._declines.items():
            while waiting:
                try:
                    self._socket.sendto(waiting[0], str(self._path(home)))
                except OSError as error:
                    if error.errno not in _LATER:
                        log.error("a drop copy of a decline is lost: error=%s", error)
                        waiting.popleft()
                        continue
                    break
                waiting.popleft()
        if any(self._declines.values()) and not self._is_retry_due:
            self._is_retry_due = True
            self._gateway.loop.call_later(_RETRY_S, self._retry)

    def _retry(self) -> None:
        self._is_retry_due = False
        self._send_declines()


def _file_of(data: bytes) -> int:
    """Return a nameless file with this content."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("handed-over", os.MFD_CLOEXEC)
    else:
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    view = memoryview(data)
    try:
        while view:
            view = view[os.pwrite(fd, view, len(data) - len(view)) :]
    except OSError:
        os.close(fd)
        raise
    return fd

"""The supervisor's control socket: one JSON command a line, one JSON answer back."""

import contextlib
import json
import selectors
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

CONTROL_SOCKET = "control.sock"
_MAX_LINE = 4096

Answer = dict[str, Any]


class Pending(Protocol):
    """A command that is being executed."""

    def answer(self) -> Answer | None:
        """Return the answer, or None while there is none."""


class ControlSocket:
    """Takes commands on a Unix socket, by a selector that its owner runs.

    Args:
        path: of the socket.
        selector: gets callbacks as data: `key.data(key.fileobj)`.
        execute: executes a command (a JSON object); what it returns is the answer, or will have it.
    """

    def __init__(
        self,
        path: Path,
        selector: selectors.BaseSelector,
        execute: Callable[[Answer], Answer | Pending],
    ) -> None:
        self._selector = selector
        self._execute = execute
        self._read_so_far: dict[socket.socket, bytes] = {}
        self._pending: dict[socket.socket, Pending] = {}
        path.unlink(missing_ok=True)
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._server.bind(str(path))
        self._server.listen(8)
        self._server.setblocking(False)
        selector.register(self._server, selectors.EVENT_READ, self._accept)

    @property
    def is_busy(self) -> bool:
        """Whether a command is being executed."""
        return bool(self._pending)

    def poll(self) -> None:
        """Send the answers that are there by now."""
        for connection, pending in list(self._pending.items()):
            answer = pending.answer()
            if answer is not None:
                del self._pending[connection]
                self._send(connection, answer)

    def close(self) -> None:
        """Close all sockets; a fork does so, too."""
        self._server.close()
        for connection in [*self._read_so_far, *self._pending]:
            connection.close()

    def _accept(self, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            connection, _ = server.accept()
            connection.setblocking(False)
            self._read_so_far[connection] = b""
            self._selector.register(connection, selectors.EVENT_READ, self._read)

    def _read(self, connection: socket.socket) -> None:
        data = b""
        try:
            data = connection.recv(_MAX_LINE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        text = self._read_so_far[connection] + data
        if data and b"\n" not in text and len(text) < _MAX_LINE:
            self._read_so_far[connection] = text
            return
        self._selector.unregister(connection)
        del self._read_so_far[connection]
        if b"\n" not in text:
            connection.close()
            return
        answer = self._answer(text.partition(b"\n")[0])
        if isinstance(answer, dict):
            self._send(connection, answer)
        else:
            self._pending[connection] = answer

    def _answer(self, line: bytes) -> Answer | Pending:
        try:
            request = json.loads(line)
        except (ValueError, RecursionError):
            return refusal("a command is one line of JSON")
        if not isinstance(request, dict):
            return refusal("a command is a JSON object")
        return self._execute(request)

    def _send(self, connection: socket.socket, answer: Answer) -> None:
        # It fits into the socket's buffer: nobody waits here for a client that does not read.
        with contextlib.suppress(OSError):
            connection.sendall(json.dumps(answer).encode() + b"\n")
        connection.close()


def refusal(text: str) -> Answer:
    """Return the answer to a command that is not executed."""
    return {"ok": False, "error": text}

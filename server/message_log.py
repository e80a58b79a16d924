"""The message log: what FIX sessions said and were told, as bytes, a file for each session.

The event loop only appends chunks of bytes to a queue. A thread looks at it now and then, cuts
them into messages, masks passwords and writes. The queue is bounded: what does not fit is not
logged, and the log says so. A line is the UTC time, `<` (from the client) or `>` (to it), and the
message with its SOHs; `openoutcry fix-log` reads it.
"""

import logging
import os
import re
import threading
import time
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from openoutcry.protocol.fix.redact import without_secrets

log = logging.getLogger(__name__)

#: Bytes that may wait for the thread, of all sessions.
QUEUE_BYTES = 32 << 20
#: A file larger than this is put aside as `….log.1`, after those put aside before moved on.
FILE_BYTES = 64 << 20
#: Files put aside for a session; older ones are deleted.
KEPT_FILES = 8
#: What is shown of a garbled stretch of bytes.
_GARBLED_BYTES = 4096
_LONGEST_MESSAGE = 1 << 17
#: How often the thread looks: it takes the interpreter from the event loop while it works.
_LOOK_S = 0.02
#: Messages of a write: the interpreter is given back with each.
_MESSAGES_AT_ONCE = 16
_CLOSE_S = 5.0
_COMPLAINT_S = 60.0

_HEAD = re.compile(rb"8=FIX[^\x01]{1,13}\x019=([0-9]{1,9})\x01")
_HEAD_BYTES = 32
_TRAILER = re.compile(rb"10=[0-9]{3}\x01")
_TRAILER_BYTES = 7
_BEGIN = b"8=FIX"
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]")

#: Directions, as they stand in the file.
RECEIVED = b"<"
SENT = b">"


class Frames:
    """Cuts one direction of a connection into messages and garbled stretches."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what is whole now, as it may be shown."""
        self._buffer += data
        while self._buffer:
            size, is_message = self._next()
            if size == 0:
                return
            yield self._take(size, is_message=is_message)

    def end(self) -> Iterator[bytes]:
        """Yield what is left: the connection is gone."""
        if self._buffer:
            yield self._take(len(self._buffer), is_message=False)

    def _next(self) -> tuple[int, bool]:
        """Return how many bytes come next, 0 to wait, and whether they are a message."""
        buffer = self._buffer
        head = _HEAD.match(buffer)
        if head is not None:
            size = head.end() + int(head[1]) + _TRAILER_BYTES
            if size <= _LONGEST_MESSAGE:
                if len(buffer) < size:
                    return 0, False
                if _TRAILER.fullmatch(buffer, size - _TRAILER_BYTES, size):
                    return size, True
        elif len(buffer) < _HEAD_BYTES and buffer.startswith(_BEGIN[: len(buffer)]):
            return 0, False
        following = buffer.find(_BEGIN, 1)
        return (following if following > 0 else len(buffer)), False

    def _take(self, size: int, *, is_message: bool) -> bytes:
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        if is_message:
            return without_secrets(data)
        shown = without_secrets(data)[:_GARBLED_BYTES].replace(b"\n", b"\\n")
        rest = size - _GARBLED_BYTES
        return shown + (b" and %d bytes more" % rest if rest > 0 else b"")


class SessionLog:
    """One session's log; `put` and `end` are the event loop's, all else is the thread's."""

    def __init__(self, logs: "MessageLogs", name: str) -> None:
        self._logs = logs
        self.path = logs.folder / f"{name}.log"
        self._lost_messages = 0
        self._lost_bytes = 0
        self._frames = {RECEIVED: Frames(), SENT: Frames()}
        self._fd = -1
        self._size = 0

    def put(self, direction: bytes, data: bytes) -> None:
        """Take a copy of bytes received or sent."""
        if self._lost_messages:
            note = b"not logged: %d chunks, %d bytes; the queue was full" % (
                self._lost_messages,
                self._lost_bytes,
            )
            if not self._logs.append(self, b"", note):
                self._lose(data)
                return
            self._lost_messages = self._lost_bytes = 0
        if not self._logs.append(self, direction, data):
            self._lose(data)

    def end(self) -> None:
        """The connection is gone: what comes next begins anew."""
        self._logs.append(self, b"", b"")

    def _lose(self, data: bytes) -> None:
        self._lost_messages += 1
        self._lost_bytes += len(data)

    def lines(self, time_ns: int, direction: bytes, data: bytes) -> Iterator[bytes]:
        """Yield the lines that a chunk completes."""
        stamp = datetime.fromtimestamp(time_ns / 1e9, UTC).strftime("%Y%m%d-%H:%M:%S.%f").encode()
        if direction:
            for piece in self._frames[direction].feed(data):
                yield b"%b %b %b\n" % (stamp, direction, piece)
            return
        # Behind a hole or another connection's bytes nothing fits together.
        for side in (RECEIVED, SENT):
            for piece in self._frames[side].end():
                yield b"%b %b %b\n" % (stamp, side, piece)
        if data:
            yield b"%b # %b\n" % (stamp, data)

    def write(self, data: bytes) -> None:
        """Append to the file; OSError where that cannot be."""
        if self._fd >= 0 and self._size + len(data) > self._logs.file_bytes:
            self._put_aside()
        if self._fd < 0:
            self._logs.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            self._fd = os.open(self.path, flags, 0o600)
            self._size = os.fstat(self._fd).st_size
        while data:
            written = os.write(self._fd, data)
            self._size += written
            data = data[written:]

    def _put_aside(self) -> None:
        self.close()
        for number in range(KEPT_FILES, 0, -1):
            older = self.path.with_name(f"{self.path.name}.{number}")
            newer = older.with_name(f"{self.path.name}.{number - 1}") if number > 1 else self.path
            if newer.exists():
                newer.replace(older)

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class MessageLogs:
    """The message logs of a gateway, with one thread that writes them; no thread before the first.

    Args:
        folder: where the files go; made when the first is written.
        min_free_bytes: nothing is written while the file system has less room than this.
        queue_bytes, file_bytes: see QUEUE_BYTES and FILE_BYTES.
    """

    def __init__(
        self,
        folder: Path,
        min_free_bytes: int = 0,
        *,
        queue_bytes: int = QUEUE_BYTES,
        file_bytes: int = FILE_BYTES,
    ) -> None:
        self.folder = folder
        self.file_bytes = file_bytes
        self._min_free_bytes = min_free_bytes
        self._queue_bytes = queue_bytes
        self._logs: dict[str, SessionLog] = {}
        self._queue: deque[tuple[SessionLog, int, bytes, bytes]] = deque()
        # Each is written by one thread only: the event loop's and the writer's.
        self._appended = 0
        self._written = 0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._complained = -_COMPLAINT_S

    def of(self, comp_id: str, begin_string: str) -> SessionLog:
        """Return a session's log."""
        name = f"{file_name(comp_id)}.{begin_string}"
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="message-log", daemon=True)
            self._thread.start()
        return self._logs.setdefault(name, SessionLog(self, name))

    def append(self, session_log: SessionLog, direction: bytes, data: bytes) -> bool:
        """Queue a chunk; return False where there is no room."""
        if self._appended - self._written + len(data) > self._queue_bytes:
            return False
        self._appended += len(data)
        self._queue.append((session_log, time.time_ns(), direction, data))
        return True

    def close(self) -> None:
        """Write what is queued, and end the thread."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._stop.set()
        thread.join(_CLOSE_S)
        if thread.is_alive():
            log.error("message log: not all of it could be written in time")

    def _run(self) -> None:
        while not self._stop.wait(_LOOK_S):
            self._drain()
        self._drain()
        for session_log in self._logs.values():
            session_log.close()

    def _drain(self) -> None:
        if not self._queue:
            return
        if not self._has_room():
            self._complain("too little room is left for it")
            while self._queue:
                self._written += len(self._queue.popleft()[3])
            return
        while self._queue:
            session_log, time_ns, direction, data = self._queue.popleft()
            try:
                lines: list[bytes] = []
                for line in session_log.lines(time_ns, direction, data):
                    lines.append(line)
                    if len(lines) == _MESSAGES_AT_ONCE:
                        session_log.write(b"".join(lines))
                        lines.clear()
                if lines:
                    session_log.write(b"".join(lines))
            except OSError as error:
                self._complain(str(error))
            self._written += len(data)

    def _has_room(self) -> bool:
        if not self._min_free_bytes:
            return True
        place = self.folder if self.folder.exists() else self.folder.parent
        free = os.statvfs(place)
        return free.f_bavail * free.f_frsize >= self._min_free_bytes

    def _complain(self, reason: str) -> None:
        now = time.monotonic()
        if now - self._complained >= _COMPLAINT_S:
            self._complained = now
            log.error("message log: messages are not logged: reason=%s", reason)


def file_name(comp_id: str) -> str:
    """Return a CompID as part of a file's name: anything unusual becomes %XX."""
    return _UNSAFE.sub(lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode()), comp_id)

"""A FIX client's sequence numbers and sent messages in a folder: a restart goes on where it was.

    messages   every sent message: number, SendingTime, frame, checksum; appended before it is sent
    expected   the MsgSeqNum(34) due next from the venue, as text

A crash of the process loses nothing: what was appended is in the page cache. A torn last record (a
full disk, a machine that went down) is cut off when the file is opened.
"""

import errno
import fcntl
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from openoutcry.protocol.fix.store import Run, as_resent, as_runs

_HEAD = struct.Struct("<QqiI")  # number, SendingTime in ms, frame length (-1: none), crc32
_NO_FRAME = -1


class FileStore:
    """Sequence numbers and sent messages on disk: both `SessionState` and `MessageStore`.

    `next_in` is written by `save`, when the messages received so far have been processed.

    Raises:
        OSError: The folder cannot be written, or another process holds it.
        ValueError: A file in it is none of this store's.
    """

    def __init__(self, folder: str | Path) -> None:
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self._messages = os.open(folder / "messages", os.O_RDWR | os.O_CREAT, 0o600)
        self._expected = os.open(folder / "expected", os.O_RDWR | os.O_CREAT, 0o600)
        # Number → place of the frame in the file and its length.
        self._places: dict[int, tuple[int, int]] = {}
        self._end = 0
        self.next_out = 1
        try:
            fcntl.flock(self._messages, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.next_in = self._read_expected(folder)
            self._read_messages()
        except BaseException:
            self.close()
            raise
        self._saved = self.next_in

    @property
    def is_empty(self) -> bool:
        """Whether nothing was sent since the numbers began at 1."""
        return self.next_out == 1

    def record(
        self, number: int, sending_time_ms: int, frame: bytes | None, answers: int = 0
    ) -> None:
        """Append a message; the number counts as used from now on."""
        data = frame or b""
        length = _NO_FRAME if frame is None else len(data)
        head = _HEAD.pack(number, sending_time_ms, length, _sum(number, length, data))
        record = head + data
        if os.pwrite(self._messages, record, self._end) != len(record):
            # What was written is overwritten by the next attempt, or cut off at the next start.
            raise OSError(errno.ENOSPC, "message not stored, so not sent: no space left")
        if frame is not None:
            self._places[number] = (self._end + _HEAD.size, length)
        self._end += _HEAD.size + len(data)

    def resent(self, first: int, last: int, now_ms: int) -> Iterator[Run]:
        """Yield runs of messages marked as resent."""
        return as_resent(self.first_time(first, last), now_ms)

    def first_time(self, first: int, last: int) -> Iterator[Run]:
        """Yield runs of messages as recorded."""
        return as_runs((number, self._frame(number)) for number in range(first, last + 1))

    def _frame(self, number: int) -> bytes | None:
        place = self._places.get(number)
        return None if place is None else os.pread(self._messages, place[1], place[0])

    def reset(self) -> None:
        """Discard the sent messages: the next number to be recorded is 1."""
        os.ftruncate(self._messages, 0)
        self._places.clear()
        self._end = 0
        self.next_out = 1

    def save(self) -> None:
        """Write `next_in`: everything received below it has been processed."""
        if self.next_in != self._saved:
            os.pwrite(self._expected, b"%020d\n" % self.next_in, 0)
            self._saved = self.next_in

    def close(self) -> None:
        """Release the folder; `next_in` keeps the value of the last `save`."""
        for descriptor in (self._messages, self._expected):
            os.close(descriptor)

    def _read_expected(self, folder: Path) -> int:
        text = os.pread(self._expected, 32, 0)
        if not text:
            return 1
        if not text.strip().isdigit():
            raise ValueError(f"{folder / 'expected'}: not a sequence number: {text!r}")
        return int(text)

    def _read_messages(self) -> None:
        """Build the index, and cut off a torn last record."""
        size = os.fstat(self._messages).st_size
        while self._end + _HEAD.size <= size:
            head = os.pread(self._messages, _HEAD.size, self._end)
            number, _, length, checksum = _HEAD.unpack(head)
            place = self._end + _HEAD.size
            if place + max(length, 0) > size:
                break
            frame = os.pread(self._messages, max(length, 0), place)
            if _sum(number, length, frame) != checksum:
                break
            if length != _NO_FRAME:
                self._places[number] = (place, length)
            self.next_out = number + 1
            self._end = place + len(frame)
        os.ftruncate(self._messages, self._end)


def _sum(number: int, length: int, frame: bytes) -> int:
    return zlib.crc32(frame, zlib.crc32(struct.pack("<Qi", number, length)))

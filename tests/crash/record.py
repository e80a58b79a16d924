"""The clients' record: every byte that came and every request, in the order in which they happened.

One append-only file, written by the clients' process alone, before it acts on what it notes. The
process is never killed, so what the file says did happen, whatever the venue went through.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """One line of the record."""

    session: str
    #: opened: a connection; came: bytes from the venue; asked: a request (whole, before its first
    #: byte leaves); defined: the names of the binary symbols, as JSON.
    what: str
    data: bytes


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Entry)
_HEAD_BYTES = 4


class RecordWriter:
    """The clients' end of the record."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def note(self, session: str, what: str, data: bytes = b"") -> None:
        """Append an entry."""
        entry = _encoder.encode(Entry(session, what, data))
        os.write(self._fd, len(entry).to_bytes(_HEAD_BYTES, "big") + entry)


class RecordReader:
    """Reads a record that grows."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._rest = b""

    def fresh(self) -> Iterator[Entry]:
        """Yield what was appended since the last call."""
        if self._file is None:
            if not self._path.exists():
                return
            self._file = self._path.open("rb")
        data = self._rest + self._file.read()
        at = 0
        while at + _HEAD_BYTES <= len(data):
            end = at + _HEAD_BYTES + int.from_bytes(data[at : at + _HEAD_BYTES], "big")
            if end > len(data):
                break
            yield _decoder.decode(data[at + _HEAD_BYTES : end])
            at = end
        self._rest = data[at:]

    def close(self) -> None:
        """Give the file back."""
        if self._file is not None:
            self._file.close()


def entries(path: Path) -> list[Entry]:
    """Return a whole record."""
    reader = RecordReader(path)
    found = list(reader.fresh())
    reader.close()
    return found

"""Snapshots: a shard's book in a file, and where it stands in the shard's logs.

Layout of `shard-N-snapshot-<seq, 20 digits>.snap` (little-endian)

    0  magic "OOSNAP\\r\\n"
    8  format (32 bits), bytes of the header (32 bits)
   16  CRC-32 of the header (32 bits), 0 (32 bits)
   24  header: JSON (`SnapshotHeader`), with the size and CRC-32 of each section
    …  the sections, one after another: symbols, marks, orders, finished (see engine.image)

A file has this name only when it is whole and on the disk: it is written under another one first.
"""

import contextlib
import os
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from openoutcry.engine.book import Book, Capacity
from openoutcry.engine.faults import FaultPoint, reach_in_python
from openoutcry.engine.image import (
    IMAGE_MARK,
    IMAGE_SYMBOL,
    Image,
    ImageError,
    load_image,
    take_image,
)
from openoutcry.engine.log import MAX_RINGS
from openoutcry.engine.snapshot import state_hash
from openoutcry.server.durable import rename, sync_file, sync_folder

if TYPE_CHECKING:
    from openoutcry.server.replica import Replica

FORMAT = 1
_MAGIC = b"OOSNAP\r\n"
_PRELUDE_BYTES = 24
_SECTIONS = ("symbols", "marks", "orders", "finished")
_PIECE_BYTES = 1 << 20
_MAX_HEADER_BYTES = 1 << 20


class SnapshotError(Exception):
    """A file is no good snapshot; the text is for the operator."""


#: What counts, and what is a place; all fit the words that they are put into.
_Count = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
_Word = Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)]


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of the file."""

    bytes: _Count
    crc: _Count


class SnapshotHeader(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a book stood: the last command in it, and what belongs to that moment."""

    venue: str
    shard: _Count
    seq: _Count
    time_ns: _Count
    epoch: _Count
    #: Behind the batch of the last command, and behind the last report.
    log_bytes: Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 8, multiple_of=8)]
    report_seq: _Count
    report_bytes: _Count
    #: Base time of the report log.
    base_ns: _Count
    event_seq: _Count
    ring_positions: Annotated[list[_Count], msgspec.Meta(max_length=MAX_RINGS)]
    capacity: Capacity
    state_hash: _Word
    open_orders: _Count
    finished_orders: _Count
    levels: _Count
    sections: dict[str, Section]


@dataclass(frozen=True)
class Snapshot:
    """A snapshot that was read."""

    path: Path
    header: SnapshotHeader
    image: Image


def snapshot_path(folder: Path, shard: int, seq: int) -> Path:
    """Return the path of the snapshot of a shard's book after a command."""
    return folder / f"shard-{shard}-snapshot-{seq:020d}.snap"


def snapshots(folder: Path, shard: int) -> list[Path]:
    """Return the paths of a shard's snapshots, newest first; [] without the folder."""
    if not folder.is_dir():
        return []
    wanted = re.compile(rf"shard-{shard}-snapshot-\d{{20}}\.snap")
    found = (path for path in folder.iterdir() if wanted.fullmatch(path.name))
    return sorted(found, key=lambda path: path.name, reverse=True)


def write_snapshot(
    folder: Path,
    replica: "Replica",
    venue: str,
    *,
    faults: int = 0,
    before_rename: Callable[[], None] | None = None,
) -> Path:
    """Write a replica's book, and return the file's path.

    `before_rename` is called when the file is on the disk, but not under its name. `faults` is the
    address of the process's FAULTS word.

    Raises:
        OSError: the file cannot be written; nothing of it is left.
        ValueError: the replica stands within a batch.
    """
    if not replica.is_between_batches:
        raise ValueError(f"command {replica.seq} is not the last of its batch")
    image = take_image(replica.book)
    parts = {name: getattr(image, name).view(np.uint8).data for name in _SECTIONS}
    header = SnapshotHeader(
        venue=venue,
        shard=replica.shard,
        seq=replica.seq,
        time_ns=replica.time_ns,
        epoch=replica.epoch,
        log_bytes=replica.log_bytes,
        report_seq=replica.report_seq,
        report_bytes=replica.report_bytes,
        base_ns=replica.base_ns,
        event_seq=image.event_seq,
        ring_positions=replica.ring_positions,
        capacity=image.capacity,
        state_hash=replica.state_hash(),
        open_orders=image.open_orders,
        finished_orders=image.finished_orders,
        levels=image.levels,
        sections={
            name: Section(bytes=len(part), crc=zlib.crc32(part)) for name, part in parts.items()
        },
    )
    text = msgspec.json.encode(header)
    prelude = _MAGIC + b"".join(
        word.to_bytes(4, "little") for word in (FORMAT, len(text), zlib.crc32(text), 0)
    )
    path = snapshot_path(folder, replica.shard, replica.seq)
    temporary = path.with_suffix(".new")
    try:
        with open(temporary, "wb", buffering=0, opener=_open_private) as file:
            for part in (prelude, text, *parts.values()):
                _write_all(file.fileno(), part)
            sync_file(file.fileno(), temporary)
        if before_rename is not None:
            before_rename()
        reach_in_python(faults, FaultPoint.SNAPSHOT_WRITTEN)
        rename(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    reach_in_python(faults, FaultPoint.SNAPSHOT_RENAMED)
    sync_folder(folder)
    return path


def _open_private(path: str, flags: int) -> int:
    """Open a file that only the venue's user and group may read, as all that it keeps."""
    return os.open(path, flags, 0o640)


def _write_all(fd: int, part: bytes | memoryview) -> None:
    at = 0
    while at < len(part):
        at += os.write(fd, part[at : at + 16 * _PIECE_BYTES])


def read_header(path: Path) -> SnapshotHeader:
    """Return a snapshot's header, without looking at what follows.

    Raises:
        SnapshotError: it is none, is damaged, or of another format.
    """
    try:
        with path.open("rb") as file:
            return _read_header(path, file)[0]
    except OSError as error:
        raise SnapshotError(f"{path} cannot be read: {error.strerror}") from error


def _read_header(path: Path, file: BufferedReader) -> tuple[SnapshotHeader, int]:
    """Return the header, and the byte at which the sections begin."""
    prelude = file.read(_PRELUDE_BYTES)
    if len(prelude) < _PRELUDE_BYTES or not prelude.startswith(_MAGIC):
        raise SnapshotError(f"{path} is no snapshot")
    form, size, crc, zero = np.frombuffer(prelude, "<u4", 4, 8).tolist()
    if form != FORMAT:
        raise SnapshotError(
            f"{path} is a snapshot of format {form}, and this program reads format {FORMAT}: let "
            f"the program that wrote it stop cleanly, or remove the file to have the log replayed"
        )
    text = file.read(min(size, _MAX_HEADER_BYTES))
    if len(text) != size or zlib.crc32(text) != crc or zero != 0:
        raise SnapshotError(f"{path} is damaged: the checksum of its header is wrong")
    try:
        header = msgspec.json.decode(text, type=SnapshotHeader)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SnapshotError(f"{path} has a header that this program cannot read: {error}") from None
    if tuple(header.sections) != _SECTIONS:
        raise SnapshotError(f"{path} has other sections than {', '.join(_SECTIONS)}")
    return header, _PRELUDE_BYTES + size


def verify_snapshot(path: Path) -> SnapshotHeader:
    """Check all of a file's checksums in little memory; return its header.

    Raises:
        SnapshotError: it is none, or is damaged.
    """
    with _opened(path) as file:
        header, _ = _read_header(path, file)
        for name, section in header.sections.items():
            crc, left = 0, section.bytes
            while left > 0:
                piece = file.read(min(left, _PIECE_BYTES))
                if not piece:
                    break
                crc = zlib.crc32(piece, crc)
                left -= len(piece)
            _check_section(path, name, section, section.bytes - left, crc)
        _check_end(path, file)
    return header


def read_snapshot(path: Path) -> Snapshot:
    """Read a snapshot, with all of its checksums.

    Raises:
        SnapshotError: it is none, or is damaged.
    """
    with _opened(path) as file:
        header, _ = _read_header(path, file)
        parts: dict[str, NDArray[np.uint8]] = {}
        size = os.fstat(file.fileno()).st_size
        for name, section in header.sections.items():
            part = np.empty(min(section.bytes, size), np.uint8)
            count = file.readinto(part.data)
            _check_section(path, name, section, count, zlib.crc32(part.data))
            parts[name] = part
        _check_end(path, file)
    try:
        symbols, marks = parts["symbols"].view(IMAGE_SYMBOL), parts["marks"].view(IMAGE_MARK)
    except ValueError:
        raise SnapshotError(f"{path} has a section of half a row") from None
    image = Image(
        shard=header.shard,
        seq=header.seq,
        time_ns=int(header.time_ns),
        event_seq=header.event_seq,
        capacity=header.capacity,
        symbols=symbols,
        marks=marks,
        levels=header.levels,
        open_orders=header.open_orders,
        finished_orders=header.finished_orders,
        orders=parts["orders"],
        finished=parts["finished"],
    )
    return Snapshot(path, header, image)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BufferedReader]:
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise SnapshotError(f"{path} cannot be read: {error.strerror}") from error


def _check_section(path: Path, name: str, section: Section, count: int, crc: int) -> None:
    if count != section.bytes:
        raise SnapshotError(
            f"{path} is cut: its section {name} has {count} of {section.bytes} bytes"
        )
    if crc != section.crc:
        raise SnapshotError(f"{path} is damaged: the checksum of its section {name} is wrong")


def _check_end(path: Path, file: BufferedReader) -> None:
    if file.read(1):
        raise SnapshotError(f"{path} is damaged: something follows its last section")


def load_snapshot(snapshot: Snapshot, events: NDArray[Any] | None = None, seed: int = 0) -> Book:
    """Return a new book with a snapshot's content, whose state hash is the one noted.

    Raises:
        SnapshotError: the content makes no such book.
    """
    try:
        book = load_image(snapshot.image, events=events, seed=seed)
    except (ImageError, IndexError, ValueError) as error:
        raise SnapshotError(f"{snapshot.path} makes no book: {error}") from error
    found = int(state_hash(book))
    if found != snapshot.header.state_hash:
        raise SnapshotError(
            f"{snapshot.path} makes a book with the state hash {found}, not "
            f"{snapshot.header.state_hash} as it says"
        )
    return book

"""Segmented files that appear in memory as one array: the command log, the report log, the session
index.

A range of addresses is reserved once; the content of each segment file is then mapped at its place
in that range, one after another. A record may cross a segment border, and a position in the file
series is an offset in the array, so kernels see no segments at all. Every segment is allocated
whole before it is mapped: a store into a hole of a full disk would kill the process.
"""

import contextlib
import ctypes
import errno
import logging
import mmap
import os
import threading
import time
import weakref
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from openoutcry.engine.faults import FaultPoint, reach_in_python
from openoutcry.server.durable import rename, sync_file, sync_folder
from openoutcry.server.process import move_to
from openoutcry.server.segments import (
    HEADER_BYTES,
    SegmentError,
    SegmentHeader,
    SegmentOwner,
    check_segment,
    config_fingerprint,
    kind_and_number,
    owner_of,
    read_segment_header,
    segments_on_disk,
)

__all__ = [
    "HEADER_BYTES",
    "OutOfSpaceError",
    "Preparer",
    "SegmentError",
    "SegmentHeader",
    "SegmentOwner",
    "SegmentedFile",
    "SyncError",
    "allocate_file",
    "config_fingerprint",
    "open_segments",
    "owner_of",
    "read_segment_header",
    "segments_on_disk",
]

log = logging.getLogger(__name__)

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_long,
]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]

_MAP_FIXED = 0x10
_MAP_NORESERVE = 0x4000 if os.uname().sysname == "Linux" else 0x40
_PROT_NONE = 0
_MADV_POPULATE_WRITE = 23  # Linux 5.14
_MAP_FAILED = ctypes.c_void_p(-1).value

#: Segments are made ready in pieces, with pauses between them.
_PIECE_BYTES = 1 << 20
_PIECE_PAUSE_S = 0.0005
_ZEROS = bytes(_PIECE_BYTES)

#: Addresses reserved for one series of segments, from the first that is mapped on: a terabyte, or
#: less where a process has not so many.
RESERVE_BYTES = 1 << 40


class OutOfSpaceError(OSError):
    """The next segment could not be allocated."""


def _mmap(
    address: int | None, size: int, protection: int, flags: int, fd: int, offset: int = 0
) -> int:
    mapped = _libc.mmap(address, size, protection, flags, fd, offset)
    if mapped == _MAP_FAILED or mapped is None:
        code = ctypes.get_errno()
        raise OSError(code, f"mmap of {size} bytes: {os.strerror(code)}")
    return int(mapped)


class _Addresses:
    """A range of reserved addresses; given back at the latest when nothing refers to it any more.

    Raises:
        OSError: there is no range of at least `least` bytes.
    """

    def __init__(self, least: int) -> None:
        size = RESERVE_BYTES
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE
        while True:
            try:
                self.start = _mmap(None, size, _PROT_NONE, flags, -1)
                break
            except OSError:
                if size <= least:
                    raise
                size = max(size >> 1, least)
        self.size = size
        self.give_back = weakref.finalize(self, _libc.munmap, self.start, size)
        # At the process's end threads may still write; the mappings end with it.
        self.give_back.atexit = False


def _close_all(fds: dict[int, int]) -> None:
    while fds:
        os.close(fds.popitem()[1])


class SyncError(OSError):
    """What was written may not be on the disk; the file must not be written any more."""


class SegmentedFile:
    """A series of equally large files `NAME-00000000.seg` in a folder, mapped one after another.

    Each file is a header page (`server.segments`) and `segment_bytes` of content. Positions count
    content only, since the beginning of the series; early segments may be gone.

    Args:
        folder: where the segments lie.
        name: their common name.
        segment_bytes: size of each new series' segments, a multiple of the page size; a series
            that is there keeps the size that it began with.
        writable: a writer opens the segments that are there, and creates and allocates others; a
            reader maps those that exist.
        owner: what new headers say, and what old ones must.
        is_synced_in_parts: whether a durable writer brings what it wrote to the disk again and
            again, a little at a time; then new segments are written there ahead.
        faults: address of the process's FAULTS word, or 0.

    Attributes:
        first_segment: the first segment that is mapped, unless `ensure_from` says otherwise: the
            lowest that was there when this object was made.
        mapped_bytes: the range [first_byte, mapped_bytes) may be accessed.
        has_sync_failed: whether a sync failed; there is no other try.

    Raises:
        SegmentError: the first segment that is there cannot be used.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        segment_bytes: int | None,
        *,
        writable: bool,
        owner: SegmentOwner = SegmentOwner(),  # noqa: B008 - it is immutable
        is_synced_in_parts: bool = True,
        faults: int = 0,
    ) -> None:
        self.folder = folder
        self.name = name
        self.writable = writable
        self.owner = owner
        indexes = segments_on_disk(folder, name)
        self.first_segment = indexes[0] if indexes else 0
        self.segment_bytes = self._size(segment_bytes, bool(indexes))
        self.has_sync_failed = False
        self._is_written_ahead = owner.is_durable and is_synced_in_parts
        self._faults = faults
        self._are_names_synced = False
        self._has_array = False
        self._lock = threading.Lock()
        #: A writer's open segments, by index: a file learns of a failed write only while open.
        self._fds: dict[int, int] = {}
        self._reserved = _Addresses(2 * self.segment_bytes)
        # Of one that nobody closes: a start that is refused leaves several.
        weakref.finalize(self, _close_all, self._fds).atexit = False
        self._begin_at(self.first_segment)

    def _begin_at(self, segment: int) -> None:
        """Have the reserved addresses begin with a segment; nothing is mapped yet."""
        self._first_mapped = segment
        self.mapped_bytes = self._window = segment * self.segment_bytes
        #: Where byte 0 would lie, whether or not these addresses are ours.
        self.address = self._reserved.start - self._window

    def _size(self, wanted: int | None, is_there: bool) -> int:
        if wanted is not None and (wanted <= 0 or wanted % mmap.PAGESIZE):
            raise ValueError(
                f"a segment's size is a multiple of {mmap.PAGESIZE} bytes, not {wanted}"
            )
        if not is_there:
            if wanted is None:
                raise FileNotFoundError(
                    errno.ENOENT, f"no segments {self.name}-*.seg in {self.folder}"
                )
            return wanted
        return read_segment_header(self.segment_path(self.first_segment)).segment_bytes

    def array(self, dtype: DTypeLike) -> NDArray[Any]:
        """Return the series from byte 0 on as an array; only what is mapped may be touched.

        It keeps the addresses, though not the file, until `close`.
        """
        self._has_array = True
        itemsize = np.dtype(dtype).itemsize
        count = (self._window + self._reserved.size) // itemsize
        buffer: Any = (ctypes.c_char * (count * itemsize)).from_address(self.address)
        buffer.addresses = self._reserved
        return np.frombuffer(buffer, dtype=dtype)

    @property
    def first_byte(self) -> int:
        """The first byte that is still mapped."""
        return self._first_mapped * self.segment_bytes

    def segment_path(self, index: int) -> Path:
        """Return the path of the segment with this index, from 0."""
        return self.folder / f"{self.name}-{index:08d}.seg"

    def locate(self, position: int) -> tuple[Path, int]:
        """Return the segment and the byte in that file where a position lies."""
        index, offset = divmod(position, self.segment_bytes)
        return self.segment_path(index), HEADER_BYTES + offset

    def ensure_from(self, byte: int) -> None:
        """Begin with the segment that holds a byte, and map it if it is there.

        To be called before anything is mapped, and before `array`: what lies before is neither
        mapped nor needed, and the addresses change.
        """
        if self.mapped_bytes != self.first_byte or self._has_array:
            raise ValueError(f"segments of {self.name} are mapped already, or about to be")
        self._begin_at(byte // self.segment_bytes)
        if self.writable or self.is_next_there():
            self.map_next()

    def is_next_there(self) -> bool:
        """Return whether the next segment to be mapped exists."""
        return self.segment_path(self.mapped_bytes // self.segment_bytes).exists()

    def map_next(self, *, populate: bool = False) -> None:
        """Map one more segment; a writer allocates it first where it does not exist.

        Raises:
            OutOfSpaceError: the file system has no room; nothing changed.
            FileNotFoundError: a reader asked for a segment that is not there yet.
            SegmentError: the segment that is there cannot be used.
        """
        with self._lock:
            if self.mapped_bytes + self.segment_bytes > self._window + self._reserved.size:
                raise OutOfSpaceError(
                    errno.EFBIG,
                    f"{self.name} has grown by {self._reserved.size} bytes, as far as one process "
                    "maps it: start the venue again",
                )
            index = self.mapped_bytes // self.segment_bytes
            protection = mmap.PROT_READ | (mmap.PROT_WRITE if self.writable else 0)
            is_new = self.writable and not self.segment_path(index).exists()
            fd = self._open(index)
            try:
                _mmap(
                    self.address + self.mapped_bytes,
                    self.segment_bytes,
                    protection,
                    mmap.MAP_SHARED | _MAP_FIXED,
                    fd,
                    HEADER_BYTES,
                )
            except OSError:
                os.close(fd)
                raise
            if self.writable:
                self._fds[index] = fd
            else:
                os.close(fd)
            if populate:
                self._populate(fd, is_new=is_new)
            self.mapped_bytes += self.segment_bytes
        reach_in_python(self._faults, FaultPoint.SEGMENT_MAPPED)

    def _populate(self, fd: int, *, is_new: bool) -> None:
        """Meet the page faults here, not in the matching loop; older kernels say EINVAL.

        Zeros are written to a segment that was just made: the pages come in larger pieces than a
        fault for each gets them (0.7 us a page in place of 2.7 here; 3.9 with read-ahead). But a
        sync of a few batches writes these larger pieces, too. So where such syncs follow, pages
        come one by one, and are written to the disk at once, which spares later syncs a change of
        the file's extents: 90 us in place of 250 and 140. All goes in parts, for others want the
        core and the disk meanwhile: a sync behind a whole segment takes tens of milliseconds.
        """
        for start in range(0, self.segment_bytes, _PIECE_BYTES):
            size = min(_PIECE_BYTES, self.segment_bytes - start)
            if is_new and not self._is_written_ahead:
                with contextlib.suppress(OSError):
                    os.pwrite(fd, memoryview(_ZEROS)[:size], HEADER_BYTES + start)
            _libc.madvise(self.address + self.mapped_bytes + start, size, _MADV_POPULATE_WRITE)
            if self._is_written_ahead:
                self._sync_segment(self.mapped_bytes // self.segment_bytes)
            time.sleep(_PIECE_PAUSE_S)

    def _open(self, index: int) -> int:
        path = self.segment_path(index)
        try:
            fd = os.open(path, os.O_RDWR if self.writable else os.O_RDONLY)
        except FileNotFoundError:
            if not self.writable:
                raise
            return self._create(path, index)
        try:
            self._check(check_segment(fd, path), index, path)
            self._sync_names_once()
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _sync_names_once(self) -> None:
        """Have the names of segments on the disk that a writer before this one made: it may have
        died between a rename and the sync of the folder."""
        if self.writable and self.owner.is_durable and not self._are_names_synced:
            self._sync_names()
            self._are_names_synced = True

    def _sync_names(self) -> None:
        try:
            sync_folder(self.folder)
        except OSError as error:
            # The segment is there under its name, and would be used when it is asked for again.
            self.has_sync_failed = True
            raise SyncError(error.errno, f"cannot sync {self.folder}: {error.strerror}") from error

    def _check(self, header: SegmentHeader, index: int, path: Path) -> None:
        kind, number = kind_and_number(self.name)
        found = (header.kind, header.number, header.segment, header.segment_bytes)
        wanted = (kind, number, index, self.segment_bytes)
        if found != wanted:
            raise SegmentError(
                f"{path} is another file than its name says (kind, number, index, size: {found}, "
                f"not {wanted}): restore the right one from a backup"
            )
        if self.owner.venue and header.venue != self.owner.venue:
            raise SegmentError(
                f"{path} belongs to the venue {header.venue!r}, not to {self.owner.venue!r}: name "
                "another --data-dir, or set venue.name back"
            )

    def _create(self, path: Path, index: int) -> int:
        temporary = path.with_suffix(".new")
        kind, number = kind_and_number(self.name)
        venue, fingerprint, is_durable = self.owner
        header = SegmentHeader(
            kind, venue, number, index, self.segment_bytes, fingerprint, time.time_ns()
        )
        # What a crash left under the temporary name is overwritten.
        fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o640)
        try:
            allocate_file(fd, HEADER_BYTES + self.segment_bytes)
            os.pwrite(fd, header.encode(), 0)
            if is_durable:
                sync_file(fd, temporary)
            reach_in_python(self._faults, FaultPoint.SEGMENT_CREATED)
            # Readers see a segment under its name only when it has its full size.
            rename(temporary, path)
            if is_durable:
                self._sync_names()
        except OSError as error:
            os.close(fd)
            with contextlib.suppress(OSError):
                temporary.unlink()
            if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
                raise OutOfSpaceError(
                    error.errno, f"no room for segment {path.name} of {self.segment_bytes} bytes"
                ) from error
            raise
        return fd

    def ensure(self, end: int) -> None:
        """Map segments until byte `end` is mapped."""
        while self.mapped_bytes < end:
            self.map_next()

    def discard_bad_ahead(self) -> None:
        """Take away segments that were made ahead, behind all that is mapped, and cannot be used.

        To be called by a writer that knows that its content ends within what is mapped: nothing of
        such a segment is lost, and it would fail the writer when it comes to it.
        """
        for index in segments_on_disk(self.folder, self.name):
            if index < self.mapped_bytes // self.segment_bytes:
                continue
            try:
                os.close(self._open(index))
            except SegmentError as error:
                log.warning("a segment that was made ahead is made again: %s", error)
                self.segment_path(index).unlink()

    def sync(self, start: int, stop: int) -> None:
        """Bring the segments that bytes start … stop - 1 lie in to the disk.

        Raises:
            SyncError: they may not be there. That is final: no later sync is tried, for the kernel
                tells of a lost page once and then takes it for clean.
        """
        if stop <= start:
            return
        for index in range(start // self.segment_bytes, (stop - 1) // self.segment_bytes + 1):
            self._sync_segment(index)

    def _sync_segment(self, index: int) -> None:
        if self.has_sync_failed:
            raise SyncError(errno.EIO, f"an earlier sync of {self.name} failed")
        path, fd = self.segment_path(index), self._fds.get(index, -1)
        try:
            if fd >= 0:
                sync_file(fd, path)
                return
            fd = os.open(path, os.O_RDONLY)
            try:
                sync_file(fd, path)
            finally:
                os.close(fd)
        except OSError as error:
            self.has_sync_failed = True
            raise SyncError(error.errno, f"cannot sync {path}: {error.strerror}") from error

    def zero(self, start: int, stop: int) -> None:
        """Set bytes start … stop - 1, which are mapped, to zero."""
        self.array(np.uint8)[start:stop] = 0

    def drop_below(self, byte: int) -> None:
        """Unmap whole segments below a byte, to bound resident memory; the files stay.

        A writer must have synced them if it syncs at all.
        """
        with self._lock:
            stop = min(byte // self.segment_bytes, self.mapped_bytes // self.segment_bytes)
            first = self._first_mapped
            if stop <= first:
                return
            flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE | _MAP_FIXED
            size = (stop - first) * self.segment_bytes
            _mmap(self.address + first * self.segment_bytes, size, _PROT_NONE, flags, -1)
            self._first_mapped = stop
            self._close_files(stop)

    def _close_files(self, stop: int) -> None:
        for index in [index for index in self._fds if index < stop]:
            os.close(self._fds.pop(index))

    def read(self, start: int, stop: int) -> bytes:
        """Read bytes from the files themselves, mapped or not."""
        parts = []
        while start < stop:
            path, offset = self.locate(start)
            size = min(stop - start, HEADER_BYTES + self.segment_bytes - offset)
            with path.open("rb") as file:
                file.seek(offset)
                parts.append(file.read(size))
            start += size
        return b"".join(parts)

    def close(self) -> None:
        """Give the addresses back. Arrays over them must not be used any more."""
        self._reserved.give_back()
        _close_all(self._fds)
        self.mapped_bytes = self._first_mapped = 0


def open_segments(folder: Path, name: str) -> SegmentedFile | None:
    """Open a series for reading, whoever wrote it; None where there is no segment.

    Raises:
        SegmentError: its first segment cannot be used.
    """
    if not segments_on_disk(folder, name):
        return None
    return SegmentedFile(folder, name, None, writable=False)


def allocate_file(fd: int, size: int) -> None:
    """Give a file its size, with room on the disk for all of it."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(fd, 0, size)
        return
    # macOS has no posix_fallocate; writing zeros allocates as surely.
    zeros = bytes(1 << 20)
    for start in range(0, size, len(zeros)):
        os.pwrite(fd, zeros[: size - start], start)


class Preparer:
    """A thread that keeps segments mapped ahead of a writer, so that the writer meets no cold page.

    The writer calls `wake` when it has moved on; `failed` tells that segments cannot be allocated.
    The thread runs on `cores`: by default on those of the thread that starts it.
    """

    def __init__(self, min_free_bytes: int, cores: Collection[int] = ()) -> None:
        self._cores = cores
        self._targets: list[tuple[SegmentedFile, int]] = []
        self._wanted: dict[str, int] = {}
        self._kept: dict[str, int] = {}
        self._min_free_bytes = min_free_bytes
        self._event = threading.Event()
        self._is_stopping = False
        #: Names of files whose next segment could not be made.
        self._failing: set[str] = set()
        self._thread = threading.Thread(target=self._run, name="segments", daemon=True)

    @property
    def failed(self) -> bool:
        """Whether any file's next segment could not be made."""
        return bool(self._failing)

    def add(self, file: SegmentedFile, ahead_bytes: int) -> None:
        """Keep `ahead_bytes` mapped beyond the writer's position in this file."""
        self._targets.append((file, ahead_bytes))
        self._wanted[file.name] = ahead_bytes

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def wake(self, positions: dict[str, int], kept: dict[str, int] | None = None) -> None:
        """Tell how far each file has been written, in bytes, and from where on it stays mapped.

        Unmapping waits for a segment that is just being allocated, so it is the thread's, too.
        """
        is_due = False
        for file, ahead in self._targets:
            end = positions[file.name] + ahead
            self._wanted[file.name] = end
            is_due = is_due or file.mapped_bytes < end
            if kept is not None:
                self._kept[file.name] = kept[file.name]
                is_due = is_due or file.first_byte + file.segment_bytes <= kept[file.name]
        if is_due:
            self._event.set()

    def has_room(self, file: SegmentedFile, size: int) -> bool:
        """Tell whether the file system has room for `size` more bytes above the configured
        reserve."""
        stat = os.statvfs(file.folder)
        return stat.f_bavail * stat.f_frsize >= size + self._min_free_bytes

    def _run(self) -> None:
        move_to(self._cores)
        while not self._is_stopping:
            self._event.wait(1.0)
            self._event.clear()
            for file, _ in self._targets:
                while file.mapped_bytes < self._wanted[file.name] and not self._is_stopping:
                    try:
                        if not self.has_room(file, file.segment_bytes):
                            raise OutOfSpaceError(errno.ENOSPC, "free space is below the reserve")
                        file.map_next(populate=True)
                        self._failing.discard(file.name)
                    except OSError as error:
                        if file.name not in self._failing:
                            log.error("no new segment: file=%s reason=%s", file.name, error)
                        self._failing.add(file.name)
                        break
                file.drop_below(self._kept.get(file.name, 0))

    def stop(self) -> None:
        """End the thread."""
        self._is_stopping = True
        self._event.set()
        if self._thread.is_alive():
            self._thread.join(5)

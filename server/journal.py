"""Segmented files that appear in memory as one array: the command log, the report log, the session
index.

A range of addresses is reserved once; each segment file is then mapped at its place in that range,
one after another. A record may cross a segment border, and a position in the file series is an
offset in the array, so kernels see no segments at all. Every segment is allocated whole before it
is mapped: a store into a hole of a full disk would kill the process.
"""

import contextlib
import ctypes
import errno
import logging
import mmap
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

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

#: Addresses reserved for one series of segments: room for a terabyte.
RESERVE_BYTES = 1 << 40


class OutOfSpaceError(OSError):
    """The next segment could not be allocated."""


def _mmap(address: int | None, size: int, protection: int, flags: int, fd: int) -> int:
    mapped = _libc.mmap(address, size, protection, flags, fd, 0)
    if mapped == _MAP_FAILED or mapped is None:
        code = ctypes.get_errno()
        raise OSError(code, f"mmap of {size} bytes: {os.strerror(code)}")
    return int(mapped)


class SegmentedFile:
    """A series of equally large files `NAME-00000000.seg` in a folder, mapped one after another.

    Args:
        folder: where the segments lie.
        name: their common name.
        segment_bytes: size of each; a multiple of the page size.
        writable: a writer creates and allocates segments; a reader maps those that exist.

    Attributes:
        mapped_bytes: the range [first kept byte, mapped_bytes) may be accessed.
    """

    def __init__(self, folder: Path, name: str, segment_bytes: int, *, writable: bool) -> None:
        if segment_bytes <= 0 or segment_bytes % mmap.PAGESIZE:
            raise ValueError(
                f"a segment's size is a multiple of {mmap.PAGESIZE} bytes, not {segment_bytes}"
            )
        self.folder = folder
        self.name = name
        self.segment_bytes = segment_bytes
        self.writable = writable
        self.mapped_bytes = 0
        self._first_mapped = 0
        self._lock = threading.Lock()
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE
        self.address = _mmap(None, RESERVE_BYTES, _PROT_NONE, flags, -1)

    def array(self, dtype: DTypeLike) -> NDArray[Any]:
        """Return the whole reserved range as an array; only what is mapped may be touched."""
        itemsize = np.dtype(dtype).itemsize
        count = RESERVE_BYTES // itemsize
        buffer: Any = (ctypes.c_char * (count * itemsize)).from_address(self.address)
        return np.frombuffer(buffer, dtype=dtype)

    @property
    def first_byte(self) -> int:
        """The first byte that is still mapped."""
        return self._first_mapped * self.segment_bytes

    def segment_path(self, index: int) -> Path:
        """Return the path of the segment with this index, from 0."""
        return self.folder / f"{self.name}-{index:08d}.seg"

    def map_next(self, *, populate: bool = False) -> None:
        """Map one more segment; a writer allocates it first.

        Raises:
            OutOfSpaceError: the file system has no room; nothing changed.
            FileNotFoundError: a reader asked for a segment that is not there yet.
        """
        with self._lock:
            if self.mapped_bytes + self.segment_bytes > RESERVE_BYTES:
                raise OutOfSpaceError(errno.EFBIG, f"{self.name} has reached {RESERVE_BYTES} bytes")
            index = self.mapped_bytes // self.segment_bytes
            path = self.segment_path(index)
            protection = mmap.PROT_READ
            if self.writable:
                protection |= mmap.PROT_WRITE
                fd = self._allocate(path)
            else:
                fd = os.open(path, os.O_RDONLY)
            try:
                _mmap(
                    self.address + self.mapped_bytes,
                    self.segment_bytes,
                    protection,
                    mmap.MAP_SHARED | _MAP_FIXED,
                    fd,
                )
            finally:
                os.close(fd)
            if populate:
                # Page faults move from the matching loop to the caller; older kernels say EINVAL.
                _libc.madvise(
                    self.address + self.mapped_bytes, self.segment_bytes, _MADV_POPULATE_WRITE
                )
            self.mapped_bytes += self.segment_bytes

    def _allocate(self, path: Path) -> int:
        temporary = path.with_suffix(".new")
        fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o640)
        try:
            _allocate_file(fd, self.segment_bytes)
            # Readers see a segment under its name only when it has its full size.
            temporary.rename(path)
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

    def drop_below(self, byte: int) -> None:
        """Unmap whole segments below a byte, to bound resident memory; the files stay."""
        with self._lock:
            stop = min(byte // self.segment_bytes, self.mapped_bytes // self.segment_bytes)
            first = self._first_mapped
            if stop <= first:
                return
            flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE | _MAP_FIXED
            size = (stop - first) * self.segment_bytes
            _mmap(self.address + first * self.segment_bytes, size, _PROT_NONE, flags, -1)
            self._first_mapped = stop

    def read(self, start: int, stop: int) -> bytes:
        """Read bytes from the files themselves, mapped or not."""
        parts = []
        while start < stop:
            index, offset = divmod(start, self.segment_bytes)
            size = min(stop - start, self.segment_bytes - offset)
            with self.segment_path(index).open("rb") as file:
                file.seek(offset)
                parts.append(file.read(size))
            start += size
        return b"".join(parts)

    def close(self) -> None:
        """Give the addresses back. Arrays over them must not be used any more."""
        _libc.munmap(self.address, RESERVE_BYTES)
        self.mapped_bytes = 0


def _allocate_file(fd: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(fd, 0, size)
        return
    # macOS: no posix_fallocate; writing zeros allocates as surely.
    zeros = bytes(1 << 20)
    for start in range(0, size, len(zeros)):
        os.pwrite(fd, zeros[: size - start], start)


class Preparer:
    """A thread that keeps segments mapped ahead of a writer, so that the writer meets no cold page.

    The writer calls `wake` when it has moved on; `failed` is set while segments cannot be
    allocated.
    """

    def __init__(self, min_free_bytes: int) -> None:
        self._targets: list[tuple[SegmentedFile, int]] = []
        self._wanted: dict[str, int] = {}
        self._min_free_bytes = min_free_bytes
        self._event = threading.Event()
        self._is_stopping = False
        self.failed = False
        self._thread = threading.Thread(target=self._run, name="segments", daemon=True)

    def add(self, file: SegmentedFile, ahead_bytes: int) -> None:
        """Keep `ahead_bytes` mapped beyond the writer's position in this file."""
        self._targets.append((file, ahead_bytes))
        self._wanted[file.name] = ahead_bytes

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def wake(self, positions: dict[str, int]) -> None:
        """Tell how far each file has been written, in bytes."""
        behind = False
        for file, ahead in self._targets:
            end = positions[file.name] + ahead
            self._wanted[file.name] = end
            behind = behind or file.mapped_bytes < end
        if behind:
            self._event.set()

    def has_room(self, file: SegmentedFile, size: int) -> bool:
        """Tell whether the file system has room for `size` more bytes above the configured
        reserve."""
        stat = os.statvfs(file.folder)
        return stat.f_bavail * stat.f_frsize >= size + self._min_free_bytes

    def _run(self) -> None:
        while not self._is_stopping:
            self._event.wait(1.0)
            self._event.clear()
            for file, _ in self._targets:
                while file.mapped_bytes < self._wanted[file.name] and not self._is_stopping:
                    try:
                        if not self.has_room(file, file.segment_bytes):
                            raise OutOfSpaceError(errno.ENOSPC, "free space is below the reserve")
                        file.map_next(populate=True)
                        self.failed = False
                    except OSError as error:
                        if not self.failed:
                            log.error("no new segment: file=%s reason=%s", file.name, error)
                        self.failed = True
                        break

    def stop(self) -> None:
        """End the thread."""
        self._is_stopping = True
        self._event.set()
        if self._thread.is_alive():
            self._thread.join(5)

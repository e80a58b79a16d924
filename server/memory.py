"""The venue's shared memory: one file in a folder of its own under `shm_dir`.

The supervisor makes it before it forks the other processes, which inherit the mapping; other
programs (`book`, tests) open it by its path. Sections follow one another on page boundaries, in the
order of `VenueMemory.SECTIONS`; a header says for which sizes they were laid out.
"""

import contextlib
import fcntl
import hashlib
import mmap
import os
import shutil
import time
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openoutcry.engine.log import as_words
from openoutcry.engine.records import COMMAND, DEPTH_LEVEL, EVENT
from openoutcry.engine.ring import HEADER_WORDS, check_capacity
from openoutcry.engine.state import DEPTH_LEVELS, GATEWAY_WORDS, SHARD_WORDS, STAMP_RECORDS
from openoutcry.server.process import is_alive

_MAGIC = 0x4F4F43525953484D
_FORMAT = 4
_HEADER_BYTES = 4096
MEMORY_FILE = "venue.shm"
_PREFIX = "openoutcry-"
#: Words that the supervisor keeps of each process.
PROCESS_WORDS = 8
_LOCK_PAUSE_S = 0.02


class VenueWord(IntEnum):
    """Word numbers in the venue's block; the comment names the writer."""

    #: Supervisor: 1 from when the venue first serves until it stops.
    SERVES = 0
    #: Supervisor: 1 while it starts, until every shard has recovered: no shard changes its log
    #: before.
    HOLDS = 1
    #: Exporter: rises twice a second.
    EXPORTER_HEARTBEAT = 16


class VenueMemory:
    """Views of one venue's shared memory.

    Attributes (arrays):
        shards: int64 (shards, SHARD_WORDS); gateways: int64 (gateways, GATEWAY_WORDS).
        venue: int64 (64,): see `VenueWord`.
        processes: int64 (2 × shards + gateways + 1, PROCESS_WORDS): see `server.processes`.
        ring_headers: int64 (shards, rings, HEADER_WORDS); rings = gateways + 1, the last is the
            control ring.
        commands: COMMAND (shards, rings, capacity).
        events: EVENT (shards, event capacity).
        depth_levels: DEPTH_LEVEL (shards, 2, DEPTH_LEVELS).
        stamps: int64 (shards, STAMP_RECORDS, 2): see engine.loop; measurement only.
        recovered: int64 (shards): 1 from when a shard has recovered and agrees to the
            configuration.
        retain: int64 (gateways, shards): the lowest byte of each report log that a gateway needs.
    """

    def __init__(self, buffer: mmap.mmap, path: Path) -> None:
        self.path = path
        self._buffer = buffer
        header = np.frombuffer(buffer, np.int64, 8)
        if header[0] != _MAGIC or header[1] != _FORMAT:
            raise ValueError(f"{path} is no shared memory of this version of the venue")
        sizes = [int(size) for size in header[2:6]]
        self.shard_count, self.gateway_count = sizes[:2]
        self.ring_count = self.gateway_count + 1
        for name, (offset, dtype, shape) in _layout(*sizes)[0].items():
            count = int(np.prod(shape))
            view = np.frombuffer(buffer, dtype, count, offset).reshape(shape)
            setattr(self, name, view)

    venue: NDArray[np.int64]
    processes: NDArray[np.int64]
    shards: NDArray[np.int64]
    gateways: NDArray[np.int64]
    ring_headers: NDArray[np.int64]
    commands: NDArray[Any]
    events: NDArray[Any]
    depth_levels: NDArray[Any]
    stamps: NDArray[np.int64]
    recovered: NDArray[np.int64]
    retain: NDArray[np.int64]

    @classmethod
    def create(
        cls, folder: Path, shards: int, gateways: int, ring_records: int, event_records: int
    ) -> "VenueMemory":
        """Make the file, fully allocated and zero."""
        check_capacity(ring_records)
        check_capacity(event_records)
        sizes = (shards, gateways, ring_records, event_records)
        _, total = _layout(*sizes)
        path = folder / MEMORY_FILE
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(fd, 0, total)
            else:
                os.ftruncate(fd, total)
            buffer = mmap.mmap(fd, total)
        finally:
            os.close(fd)
        np.frombuffer(buffer, np.int64, 6)[:] = (_MAGIC, _FORMAT, *sizes)
        return cls(buffer, path)

    @classmethod
    def open(cls, folder: Path) -> "VenueMemory":
        """Map the memory of a running venue."""
        path = folder / MEMORY_FILE
        with path.open("r+b") as file:
            return cls(mmap.mmap(file.fileno(), 0), path)

    def command_words(self) -> NDArray[np.int64]:
        """Return the commands seen as (shards, rings, capacity, words)."""
        return as_words(self.commands)


def _layout(
    shards: int, gateways: int, ring_records: int, event_records: int
) -> tuple[dict[str, tuple[int, Any, tuple[int, ...]]], int]:
    rings = gateways + 1
    sections: list[tuple[str, Any, tuple[int, ...]]] = [
        ("venue", np.int64, (64,)),
        ("processes", np.int64, (2 * shards + gateways + 1, PROCESS_WORDS)),
        ("shards", np.int64, (shards, SHARD_WORDS)),
        ("gateways", np.int64, (gateways, GATEWAY_WORDS)),
        ("ring_headers", np.int64, (shards, rings, HEADER_WORDS)),
        ("commands", COMMAND, (shards, rings, ring_records)),
        ("events", EVENT, (shards, event_records)),
        ("depth_levels", DEPTH_LEVEL, (shards, 2, DEPTH_LEVELS)),
        ("stamps", np.int64, (shards, STAMP_RECORDS, 2)),
        ("recovered", np.int64, (shards,)),
        ("retain", np.int64, (gateways, shards)),
    ]
    placed = {}
    at = _HEADER_BYTES
    for name, dtype, shape in sections:
        placed[name] = (at, dtype, shape)
        size = np.dtype(dtype).itemsize * int(np.prod(shape))
        at += -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
    return placed, at


# --- the folder -----------------------------------------------------------------------------------


class FolderInUseError(Exception):
    """A folder is locked by a venue that runs; `pid` is its supervisor's, or 0 if not readable.

    `is_ending`: that supervisor is gone, and processes of it are left.
    """

    def __init__(self, folder: Path, pid: int, *, is_ending: bool = False) -> None:
        self.folder = folder
        self.pid = pid
        self.is_ending = is_ending
        super().__init__(f"{folder} is in use by the venue with pid {pid}")


def lock_folder(folder: Path, wait_s: float = 0.0) -> int:
    """Take a folder's lock for the life of this process; return the file descriptor that holds it.

    The processes that a supervisor forks hold the lock, too: until the last of them is gone, others
    have to wait. `wait_s` is how long to wait for those whose supervisor was killed.

    Raises:
        FolderInUseError: another living venue holds it.
    """
    deadline = time.monotonic() + wait_s
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "lock"
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            text = os.pread(fd, 32, 0).decode("ascii", "replace").strip()
            os.close(fd)
            pid = int(text) if text.isdigit() else 0
            is_ending = pid == 0 or not is_alive(pid)
            if not is_ending or time.monotonic() >= deadline:
                raise FolderInUseError(folder, pid, is_ending=is_ending) from None
            time.sleep(_LOCK_PAUSE_S)
            continue
        if _is_file(fd, path):
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
            return fd
        # Somebody removed the folder between our two steps: it was stale.
        os.close(fd)


def _is_file(fd: int, path: Path) -> bool:
    with contextlib.suppress(OSError):
        return os.path.samestat(os.fstat(fd), path.stat())
    return False


def shared_folder(shm_dir: str, venue_name: str, data_dir: Path) -> Path:
    """Return the folder of the venue that has this name and this data directory."""
    if not Path(shm_dir).is_dir():
        # macOS has no /dev/shm; any folder serves for development.
        shm_dir = str(data_dir / "shm")
    digest = hashlib.sha256(str(data_dir.resolve()).encode()).hexdigest()[:12]
    return Path(shm_dir) / f"{_PREFIX}{venue_name}-{digest}"


def remove_stale(shm_dir: str, venue_name: str, wait_s: float = 0.0) -> None:
    """Remove what killed venues of this name left: folders whose lock nobody holds.

    `wait_s` is how long to wait, for all of them together, until their last processes have ended.
    """
    if not Path(shm_dir).is_dir():
        return
    deadline = time.monotonic() + wait_s
    for folder in Path(shm_dir).glob(f"{_PREFIX}{venue_name}-*"):
        with contextlib.suppress(FolderInUseError, OSError):
            fd = lock_folder(folder, deadline - time.monotonic())
            shutil.rmtree(folder, ignore_errors=True)
            os.close(fd)

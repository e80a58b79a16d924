"""What a power cut would leave: a shadow of every file as the disk surely holds it.

For crash tests only (the test build, with OPENOUTCRY_RECORD_SYNCS=FOLDER). Each completed sync
copies what the file held when it began into the shadow folder:

    data-<inode>-<generation>     a file's content, as of its last sync
    names-<hash of the folder>    JSON: the folder, and the names in it (name → data file) as of its
                                  last sync

A page that differs from its shadow may be old or new after a power cut, and a name that is not in
the list may be there or not. What the shadow holds was on the disk before the sync returned, so
before anybody could act on it.

A test can have the power cut at one of these moments: it writes a file `halt` into the shadow
folder, with an event and a pattern of a file's name, and the first process that comes by stops
itself there. A file `fail` has that sync fail, as a disk does that tells of a lost write.
"""

import errno
import fcntl
import fnmatch
import hashlib
import json
import os
import signal
import threading
from pathlib import Path

from openoutcry.config.jit import IS_TEST_BUILD
from openoutcry.server import durable

VARIABLE = "OPENOUTCRY_RECORD_SYNCS"

PAGE_BYTES = 4096
#: Where a test asks for a process to stop, and for a sync to fail; renamed when it was done.
HALT, HALTED = "halt", "halted"
FAIL, FAILED = "fail", "failed"
#: Held from the listing of a folder until the list is in the shadow.
_NAMES_LOCK = "lock"

#: ioctl: the generation of an inode, which tells files with the same inode number apart.
_FS_IOC_GETVERSION = 0x80087601


def data_name(path: Path) -> str:
    """Return the name of a file's shadow.

    Raises:
        OSError: the file is gone.
    """
    fd = os.open(path, os.O_RDONLY)
    try:
        return _data_name(fd)
    finally:
        os.close(fd)


def _data_name(fd: int) -> str:
    answer = bytearray(8)
    try:
        fcntl.ioctl(fd, _FS_IOC_GETVERSION, answer)
    except OSError:
        # A file system without generations: inode numbers have to do.
        answer = bytearray(8)
    return f"data-{os.fstat(fd).st_ino}-{int.from_bytes(answer, 'little')}"


def names_name(folder: Path) -> str:
    """Return the name of the list of a folder's names."""
    return f"names-{hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:12]}"


class Recorder:
    """An observer of `server.durable`, in each of the venue's processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._pending: dict[tuple[int, Path], tuple[int, bytes]] = {}

    def __call__(self, event: str, path: Path) -> None:
        """Take an event."""
        if self._is_asked(HALT, HALTED, event, path):
            # Before a sync, or after it, when nobody can know of it yet.
            os.kill(os.getpid(), signal.SIGSTOP)
        if self._is_asked(FAIL, FAILED, event, path):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        key = (threading.get_ident(), path)
        if event == durable.SYNC:
            self._pending[key] = self._begin(path)
        elif event == durable.SYNCED:
            fd, content = self._pending.pop(key)
            _store(fd, content)
            os.close(fd)
        elif event == durable.FOLDER_SYNC:
            # As with files: of two at a time the later list must win.
            fd = os.open(self.folder / _NAMES_LOCK, os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(fd, fcntl.LOCK_EX)
            self._pending[key] = (fd, self._list(path))
        elif event == durable.FOLDER_SYNCED:
            fd, names = self._pending.pop(key)
            temporary = self.folder / f"{names_name(path)}.{os.getpid()}.{key[0]}"
            temporary.write_bytes(names)
            temporary.rename(self.folder / names_name(path))
            os.close(fd)

    def _is_asked(self, order: str, done: str, event: str, path: Path) -> bool:
        """Tell whether a test wants something here, which no other process has done yet."""
        file = self.folder / order
        try:
            wanted, _, pattern = file.read_text().partition(" ")
            if wanted != event or not fnmatch.fnmatch(path.name, pattern):
                return False
            # Of several that come by only one can rename it.
            file.rename(self.folder / done)
        except FileNotFoundError:
            return False
        return True

    def _begin(self, path: Path) -> tuple[int, bytes]:
        """Copy a file; return the copy, and its shadow, locked: of two syncs of a file at a time
        the later copy must win."""
        source = os.open(path, os.O_RDONLY)
        try:
            shadow = self.folder / _data_name(source)
            fd = os.open(shadow, os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(fd, fcntl.LOCK_EX)
            return fd, os.pread(source, os.fstat(source).st_size, 0)
        finally:
            os.close(source)

    def _list(self, folder: Path) -> bytes:
        names = {}
        for path in folder.iterdir():
            if path.is_file():
                try:
                    names[path.name] = data_name(path)
                except OSError:
                    continue
        return json.dumps({"folder": str(folder.resolve()), "names": names}).encode()


def _store(fd: int, content: bytes) -> None:
    """Write the pages that differ: a process may be stopped anywhere, and no page may be torn."""
    before = os.pread(fd, max(os.fstat(fd).st_size, 1), 0)
    for start in range(0, len(content), PAGE_BYTES):
        page = content[start : start + PAGE_BYTES]
        if before[start : start + PAGE_BYTES] != page:
            os.pwrite(fd, page, start)
    if len(before) != len(content):
        os.ftruncate(fd, len(content))


def install() -> None:
    """Record syncs from here on, in this process and those that it forks, if a test asks for it."""
    folder = os.environ.get(VARIABLE)
    if IS_TEST_BUILD and folder:
        durable.observer = Recorder(Path(folder))

"""Small files that must outlive a power cut, and the calls that bring bytes and names to the disk.

Everything durable goes through these functions, so that one place knows what has reached the disk.
"""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

#: What `observer` is told of, with the path: a sync begins, and it is done (what the file held at
#: its beginning is on the disk, at least); a file was renamed to it; the same two of a folder and
#: its names.
SYNC, SYNCED, RENAMED = "sync", "synced", "renamed"
FOLDER_SYNC, FOLDER_SYNCED = "folder-sync", "folder-synced"

#: The test build's recorder; nobody elsewhere.
observer: Callable[[str, Path], None] | None = None


def _tell(event: str, path: Path) -> None:
    if observer is not None:
        observer(event, path)


def sync_file(fd: int, path: Path) -> None:
    """Bring a file's content to the disk, and of its inode what is needed to read it.

    Raises:
        OSError: it may be lost; the call must not be repeated, for the kernel tells it only once.
    """
    _tell(SYNC, path)
    if hasattr(os, "fdatasync"):
        os.fdatasync(fd)
    else:
        os.fsync(fd)
    _tell(SYNCED, path)


def sync_folder(folder: Path) -> None:
    """Bring a folder's names to the disk."""
    _tell(FOLDER_SYNC, folder)
    fd = os.open(folder, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
    _tell(FOLDER_SYNCED, folder)


def rename(old: Path, new: Path) -> None:
    """Give a file the name under which it is looked for, replacing one that has it."""
    old.rename(new)
    _tell(RENAMED, new)


def write_durably(path: Path, data: bytes, *, mode: int = 0o640) -> None:
    """Replace a file: whenever the machine stops, the old or the new content is there, whole.

    Raises:
        OSError: the old file is as it was, unless only the folder could not be synced.
    """
    temporary = path.with_name(path.name + ".new")
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
            sync_file(fd, temporary)
        finally:
            os.close(fd)
        rename(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    sync_folder(path.parent)

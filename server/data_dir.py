"""The folder of a venue's logs, and that of its shared memory: one writer each, always."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from openoutcry.server.config import Config
from openoutcry.server.listeners import StartError
from openoutcry.server.memory import FolderInUseError, lock_folder, remove_stale, shared_folder

#: Temporary folders of venues that run without --data-dir.
_TEMPORARY = "openoutcry-data-"
#: How long the processes of a killed supervisor may take to end.
_ENDING_S = 3.0


@contextlib.contextmanager
def data_directory(data_dir: Path | None) -> Iterator[Path]:
    """Give the folder of the logs: the one named, locked, or a temporary one that is removed after.

    What an earlier run left in the named one is recovered; temporary ones of killed venues go.

    Raises:
        StartError: it is in use, or cannot be written.
    """
    if data_dir is None:
        _remove_abandoned()
        temporary = Path(tempfile.mkdtemp(prefix=_TEMPORARY))
        lock = lock_folder(temporary)
        try:
            yield temporary
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
            os.close(lock)
        return
    try:
        lock = lock_folder(data_dir, _ENDING_S)
    except FolderInUseError as error:
        raise StartError(_in_use(f"data directory {data_dir}", error)) from error
    except OSError as error:
        raise StartError(f"cannot use data directory {data_dir}: {error.strerror}") from error
    try:
        yield data_dir
    finally:
        os.close(lock)


@contextlib.contextmanager
def shared_memory_folder(config: Config, data_dir: Path) -> Iterator[Path]:
    """Give the folder of the shared memory, new and locked; it is removed after.

    What killed venues of this name left goes before, that of the same data directory included.

    Raises:
        StartError: it is in use, or cannot be written.
    """
    folder = shared_folder(config.shm_dir, config.venue.name, data_dir)
    try:
        remove_stale(config.shm_dir, config.venue.name, _ENDING_S)
        lock = lock_folder(folder, _ENDING_S)
    except FolderInUseError as error:
        raise StartError(_in_use(f"shared memory {folder}", error)) from error
    except OSError as error:
        raise StartError(
            f"cannot use shared memory {folder}: {error.strerror}; name another folder with "
            "--set shm_dir=DIR"
        ) from error
    try:
        # Left by one whose last processes ended only while we waited for the lock.
        for path in folder.iterdir():
            if path.name != "lock":
                path.unlink()
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _in_use(what: str, error: FolderInUseError) -> str:
    if error.is_ending and error.pid:
        return (
            f"{what} is in use: the venue with pid {error.pid} was killed, and processes of it are "
            "still ending; start again in a moment"
        )
    return (
        f"{what} is in use by the venue with pid {error.pid}; "
        "stop that one or name another --data-dir"
    )


def _remove_abandoned() -> None:
    """Remove the temporary folders of killed venues: those whose lock nobody holds."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_TEMPORARY}*"):
        # One without a lock is just being made.
        if not (folder / "lock").is_file():
            continue
        with contextlib.suppress(FolderInUseError, OSError):
            lock = lock_folder(folder)
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)

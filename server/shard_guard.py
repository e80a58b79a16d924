"""What keeps a shard from being two: its lock. And what keeps it from being taken for hung while it
is busy with something other than its loop: a heartbeat of its own."""

import fcntl
import os
import threading
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from openoutcry.engine.state import ShardWord
from openoutcry.server.log_end import RecoveryError

_BEAT_S = 0.1
#: A step that takes longer is taken for hung: the heartbeat ends.
_STEP_LIMIT_S = 600.0


class Beat:
    """Moves the heartbeat while the shard is busy with something other than its loop."""

    def __init__(self, words: NDArray[np.int64]) -> None:
        self._words = words
        self._is_over = threading.Event()
        self._deadline = 0.0
        self._thread = threading.Thread(target=self._run, name="beat", daemon=True)

    def __enter__(self) -> "Beat":
        self.step()
        self._thread.start()
        return self

    def step(self) -> None:
        """Tell that a step is done and another begins."""
        self._deadline = time.monotonic() + _STEP_LIMIT_S

    def _run(self) -> None:
        while not self._is_over.wait(_BEAT_S) and time.monotonic() < self._deadline:
            self._words[ShardWord.HEARTBEAT] += 1

    def __exit__(self, *exc: object) -> None:
        self._is_over.set()
        self._thread.join()


def lock_shard(folder: Path, index: int) -> int:
    """Take a shard's lock for the life of this process; return the descriptor that holds it.

    Raises:
        RecoveryError: another process has it.
    """
    path = folder / f"shard-{index}.lock"
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o640)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = os.pread(fd, 32, 0).decode("ascii", "replace").strip()
        os.close(fd)
        raise RecoveryError(
            f"{path} is held by process {holder or 'unknown'}, which writes this shard's log: stop "
            "that one first"
        ) from None
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    return fd

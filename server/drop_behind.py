"""Takes what was written a while ago out of the page cache.

A venue writes hundreds of megabytes a second, and reads little of it again. Left in the cache it
drives out everything else, and each new page is memory that was not touched for long, which in a
virtual machine the host may have to find first: making segments took three times as long here.
"""

import os
import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path

from openoutcry.server.journal import SegmentedFile
from openoutcry.server.process import move_to

_ROUND_S = 0.2
#: The first time, the kernel only begins to write what is not on the disk; pages that a reader has
#: mapped stay. Later times drop the rest.
_TIMES = 3
_PAUSE_S = 1.0


class DropBehind:
    """A thread that has the kernel drop segments of some files below a byte.

    Args:
        cores: what it runs on.
    """

    def __init__(self, cores: Collection[int] = ()) -> None:
        self._cores = cores
        self._files: list[tuple[SegmentedFile, Callable[[], int], int]] = []
        #: When, how many times more, and which.
        self._waiting: list[tuple[float, int, Path]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="drop-behind", daemon=True)

    def add(self, file: SegmentedFile, below: Callable[[], int]) -> None:
        """Drop whole segments below the byte that `below` returns; before `start`."""
        self._files.append((file, below, file.first_segment))

    def start(self) -> None:
        """Start the thread, where the system can do this."""
        if hasattr(os, "posix_fadvise"):
            self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(5)

    def _run(self) -> None:
        move_to(self._cores)
        while not self._stop.wait(_ROUND_S):
            self.step(time.monotonic())

    def step(self, now: float) -> None:
        """Do what is due."""
        for n, (file, below, first) in enumerate(self._files):
            stop = below() // file.segment_bytes
            for index in range(first, stop):
                self._waiting.append((now, _TIMES, file.segment_path(index)))
            self._files[n] = (file, below, max(first, stop))
        waiting, self._waiting = self._waiting, []
        for due, times, path in waiting:
            if due > now:
                self._waiting.append((due, times, path))
            elif _drop(path) and times > 1:
                self._waiting.append((now + _PAUSE_S, times - 1, path))


def _drop(path: Path) -> bool:
    """Have the kernel drop a file's pages; tell whether the file is there."""
    try:
        fd = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        # Archived or deleted meanwhile.
        return False
    try:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(fd)
    return True

"""The thread that brings a shard's command log to the disk, beside matching (`durability: power`).

One sync serves all batches that were appended while the one before it ran (group commit). A failed
sync is final: what was in it may be lost though the page cache still shows it, so nothing more is
committed, the shard stops, and the next recovery cuts the log where it was last known to be on the
disk. The commands are still in the rings.
"""

import logging
import threading
import time
from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from openoutcry.engine.commit import await_appended, tell_synced
from openoutcry.engine.faults import FaultPoint, reach_in_python
from openoutcry.engine.state import ShardWord
from openoutcry.server.journal import SegmentedFile
from openoutcry.server.process import move_to, take_short_slices

log = logging.getLogger(__name__)

_SLEEP_NS = 100_000_000


class Committer:
    """Syncs a log up to where the shard has appended, at most every `group_commit_us`.

    The thread runs on `cores`: on the shard's own it would wait for a loop that spins.

    Attributes:
        has_failed: whether a sync failed; the thread has ended then.
    """

    def __init__(
        self,
        file: SegmentedFile,
        words: NDArray[np.int64],
        group_commit_us: int,
        cores: Collection[int] = (),
    ) -> None:
        self.has_failed = False
        self._file = file
        self._words = words
        self._state = int(words.ctypes.data)
        self._interval_s = group_commit_us / 1e6
        self._cores = cores
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="committer", daemon=True)

    def start(self) -> None:
        """Start the thread; SYNCED_BYTES is what is on the disk so far."""
        self._thread.start()

    def _run(self) -> None:
        move_to(self._cores)
        take_short_slices()
        synced = int(self._words[ShardWord.SYNCED_BYTES])
        began = 0.0
        while not self._is_stopping:
            length = int(await_appended(self._state, synced, _SLEEP_NS))
            if length <= synced:
                continue
            pause = began + self._interval_s - time.monotonic()
            if pause > 0:
                time.sleep(pause)
                length = int(self._words[ShardWord.LOG_BYTES])
            began = time.monotonic()
            try:
                self._file.sync(synced, length)
            except OSError as error:
                self._words[ShardWord.SYNC_CUT] = synced + 1
                self.has_failed = True
                log.critical("the log cannot be synced, the shard stops: %s", error)
                return
            reach_in_python(self._state + ShardWord.FAULTS * 8, FaultPoint.AFTER_SYNC)
            synced = length
            tell_synced(self._state, synced)

    def stop(self) -> None:
        """End the thread; what is appended but not synced stays so."""
        self._is_stopping = True
        if self._thread.is_alive():
            self._thread.join(5)

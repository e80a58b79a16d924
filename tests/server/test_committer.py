"""The syncing thread: what it syncs, how often, and that a failure is its last act."""

import errno
import threading
import time

import numpy as np
import pytest

from openoutcry.engine.state import SHARD_WORDS, ShardWord
from openoutcry.server import journal
from openoutcry.server.committer import Committer
from openoutcry.server.journal import SegmentedFile

SEGMENT = 1 << 16


class Log:
    """A log that the test appends to, and when it was synced."""

    def __init__(self, folder, monkeypatch, group_commit_us):
        self.words = np.zeros(SHARD_WORDS, np.int64)
        self.file = SegmentedFile(folder, "shard-0-commands", SEGMENT, writable=True)
        self.file.ensure(2 * SEGMENT)
        self.synced: list[tuple[float, str]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.error: OSError | None = None
        monkeypatch.setattr(journal, "sync_file", self._sync)
        self.committer = Committer(self.file, self.words, group_commit_us)
        self.committer.start()

    def _sync(self, fd, path):
        self.synced.append((time.monotonic(), path.name[-5:-4]))
        assert self.gate.wait(10)
        if self.error is not None:
            raise self.error

    def append(self, size):
        """Append bytes, as the shard does; return the log's length."""
        self.words[ShardWord.LOG_BYTES] += size
        return int(self.words[ShardWord.LOG_BYTES])

    def await_synced(self, length):
        """Wait until that much is said to be on the disk."""
        deadline = time.monotonic() + 5
        while self.words[ShardWord.SYNCED_BYTES] < length:
            assert time.monotonic() < deadline
            time.sleep(0.0005)

    def close(self):
        self.gate.set()
        self.committer.stop()
        self.file.close()


@pytest.fixture
def make(tmp_path, monkeypatch):
    logs: list[Log] = []

    def made(group_commit_us=0):
        logs.append(Log(tmp_path, monkeypatch, group_commit_us))
        return logs[0]

    yield made
    for log in logs:
        log.close()


def test_what_was_appended_is_synced_and_told(make):
    log = make()
    log.await_synced(log.append(100))
    assert [name for _, name in log.synced] == ["0"]
    # A batch that crosses the border of two segments is in both.
    log.await_synced(log.append(SEGMENT))
    assert [name for _, name in log.synced] == ["0", "0", "1"]
    time.sleep(0.15)
    assert len(log.synced) == 3


def test_what_comes_while_a_sync_runs_waits_for_the_next_one(make):
    log = make()
    log.gate.clear()
    first = log.append(100)
    while not log.synced:
        time.sleep(0.001)
    second = log.append(100)
    time.sleep(0.02)
    assert log.words[ShardWord.SYNCED_BYTES] == 0
    log.gate.set()
    log.await_synced(first)
    log.await_synced(second)
    assert len(log.synced) == 2


def test_syncs_begin_at_least_the_group_commit_apart(make):
    log = make(group_commit_us=30_000)
    for _ in range(100):
        length = log.append(8)
        time.sleep(0.001)
    log.await_synced(length)
    began = [at for at, _ in log.synced]
    assert 2 <= len(began) <= 8
    assert min(np.diff(began)) >= 0.029


def test_an_error_is_final(make, caplog):
    log = make()
    log.await_synced(log.append(100))
    log.error = OSError(errno.EIO, "Input/output error")
    log.append(50)
    deadline = time.monotonic() + 5
    while not log.committer.has_failed:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    log.error = None
    log.append(50)
    time.sleep(0.15)
    assert len(log.synced) == 2
    assert log.words[ShardWord.SYNCED_BYTES] == 100
    assert log.words[ShardWord.SYNC_CUT] == 101
    assert "shard-0-commands-00000000.seg: Input/output error" in caplog.text

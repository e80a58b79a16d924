"""The process beside a shard that follows its log and writes snapshots: matching never waits.

It holds a book of its own, which it brings to the committed end of the log again and again, and
writes that one: when enough was logged, when enough time has passed, when asked, and at a clean
stop. It takes a small share (`SHARE`) of what others leave of the cores; only when it has fallen
behind by several periods of snapshots (`RAISE_AT`) does it claim as much as everybody else, because
that lag is what a recovery would have to replay on top.
"""

import contextlib
import logging
import os
import signal
import time
from pathlib import Path

from openoutcry.engine.recovery import FollowEnd
from openoutcry.engine.state import ProcessStatus, ShardWord
from openoutcry.server.background import Background
from openoutcry.server.config import Config, Snapshots
from openoutcry.server.durable import sync_folder
from openoutcry.server.journal import SegmentedFile, SegmentError, open_segments
from openoutcry.server.memory import VenueMemory
from openoutcry.server.process import (
    available_cores,
    die_with_parent,
    is_orphan,
    keep_off,
    process_name,
    shard_cores,
)
from openoutcry.server.replica import FollowResult, RecoveryError, Replica
from openoutcry.server.retention import Retention, needed_commands, needed_reports
from openoutcry.server.snapshots import (
    SnapshotError,
    SnapshotHeader,
    read_header,
    snapshots,
    verify_snapshot,
    write_snapshot,
)

log = logging.getLogger(__name__)

#: The lag, in periods of `snapshots.every_bytes`, above which the follower raises its priority, and
#: below which it gives it back. A recovery replays four periods of 512 MiB, 30 million commands, in
#: 5 s at best, and in 15 s where a million orders rest.
RAISE_AT = 4.0
LOWER_AT = 1.0
#: What the follower takes of a core as long as nobody waits for it: enough to repeat some 600,000
#: commands a second. On busy cores what it takes is missing elsewhere, and low priority alone would
#: not do: it fills each gap, and whoever comes back finds its caches cold.
SHARE = 0.1
#: Bytes of a period where `every_bytes` is null.
_PERIOD_BYTES = 512 << 20
#: Commands that are followed between two heartbeats: a few milliseconds of a core's time.
_SLICE_COMMANDS = 20_000
_POLL_S = 0.05
#: Between two looks at the segments.
_RETENTION_S = 2.0
#: How long a snapshot on request waits for the end of the log as it was when it was asked for.
_CATCH_UP_S = 10.0
#: How long the shard may take to release what it has logged, before a snapshot is put off.
_RELEASE_S = 1.0
_PUT_OFF_S = 5.0
#: After a failure: 1, 2, 4 … seconds up to this.
_LONGEST_PAUSE_S = 300.0

_STOP_NOW = 2


class Follower:
    """One shard's follower in its process."""

    def __init__(self, config: Config, memory: VenueMemory, index: int, data_dir: Path) -> None:
        self.config = config
        self.settings = config.snapshots or Snapshots(every_bytes=None, every_s=None)
        self.memory = memory
        self.index = index
        self.folder = data_dir
        self.words = memory.shards[index]
        self.retention = Retention(config, data_dir)
        self.background = Background(self._beat)
        self.replica: Replica
        #: The shard's logs, and up to which byte each is known to be on the disk.
        self._files: dict[str, SegmentedFile] = {}
        self._synced = {"commands": 0, "reports": 0}
        self._faults = int(self.words.ctypes.data) + ShardWord.FAULTS * 8
        self._period = self.settings.every_bytes or _PERIOD_BYTES
        #: Snapshots whose checksums were found right, and those found wrong.
        self._good: dict[Path, SnapshotHeader] = {}
        self._bad: set[Path] = set()
        self._has_unsettled = True
        #: Processor time that the latest slice took.
        self._slice_s = 0.0
        #: Why another snapshot is wanted although nothing changed.
        self._wanted = ""
        #: The latest snapshot's command and log position, and when it was written (monotonic).
        self._last_seq = 0
        self._last_bytes = 0
        self._last_at = time.monotonic()
        self._next_retention = 0.0
        self._retry_at = 0.0
        self._pause_s = 0.0
        #: The request being served, the log's end when it came, and how long to wait for that.
        self._request = (0, 0, 0.0)

    # --- the loop ---------------------------------------------------------------------------------

    def run(self, parent: int) -> int:
        """Follow until asked to stop; return the process's exit status."""
        words = self.words
        words[ShardWord.FOLLOWER_PID] = os.getpid()
        words[ShardWord.FOLLOWER_STATUS] = ProcessStatus.STARTING
        try:
            while not self._may_begin():
                if words[ShardWord.FOLLOWER_STOP] or is_orphan(parent):
                    return self._end(ProcessStatus.STOPPED)
                self._beat()
                time.sleep(_POLL_S)
            words[ShardWord.FOLLOWER_STATUS] = ProcessStatus.RECOVERING
            self._open()
            words[ShardWord.FOLLOWER_STATUS] = ProcessStatus.RUNNING
            while self._turn():
                if is_orphan(parent):
                    log.error("supervisor is gone: follower=%d stops", self.index)
                    break
        except (RecoveryError, SegmentError) as error:
            log.critical("the follower cannot go on: shard=%d reason=%s", self.index, error)
            return self._end(ProcessStatus.FAILED)
        return self._end(ProcessStatus.STOPPED)

    def _end(self, status: ProcessStatus) -> int:
        self.words[ShardWord.FOLLOWER_STATUS] = status
        return int(status is ProcessStatus.FAILED)

    def _may_begin(self) -> bool:
        """Tell whether the shard has recovered: it needs the cores more, and may cut the log."""
        return int(self.words[ShardWord.STATUS]) in {ProcessStatus.RUNNING, ProcessStatus.STOPPED}

    def _turn(self) -> bool:
        """Follow a little and do what is due; tell whether to go on."""
        words = self.words
        self._beat()
        stop = int(words[ShardWord.FOLLOWER_STOP])
        if stop == _STOP_NOW:
            return False
        end = self._committed()
        is_behind = self.replica.log_bytes < end and self._follow(end)
        self._set_priority(end - self.replica.log_bytes, is_awaited=stop > 0)
        if stop:
            if not is_behind:
                if self.replica.seq != self._last_seq:
                    self._write("the venue stops")
                return False
            return True
        reason = self._due()
        if reason:
            self._write(reason)
        self._look_after_files()
        if not is_behind:
            time.sleep(_POLL_S)
        elif not self._is_in_a_hurry():
            time.sleep(min(self._slice_s * (1 / SHARE - 1), _POLL_S))
        return True

    def _is_in_a_hurry(self) -> bool:
        """Tell whether somebody waits for the snapshot, or the lag has grown too long."""
        is_asked = self.words[ShardWord.SNAPSHOT_REQUEST] != self.words[ShardWord.SNAPSHOT_ANSWER]
        return bool(is_asked) or self.background.is_raised

    def _beat(self) -> None:
        self.words[ShardWord.FOLLOWER_HEARTBEAT] += 1

    def _committed(self) -> int:
        """Return the end of what may be followed, in bytes of the log."""
        is_synced = self.config.log.durability == "power"
        return int(self.words[ShardWord.SYNCED_BYTES if is_synced else ShardWord.LOG_BYTES])

    def _set_priority(self, lag_bytes: int, *, is_awaited: bool = False) -> None:
        """Claim a fair share of a core while the lag is longer than a period of snapshots, and for
        what a stop waits for."""
        background = self.background
        if is_awaited:
            background.is_raised = True
        elif not background.is_raised and lag_bytes > RAISE_AT * self._period:
            log.warning("far behind, priority raised: shard=%d bytes=%d", self.index, lag_bytes)
            background.is_raised = True
        elif background.is_raised and lag_bytes < LOWER_AT * self._period:
            log.info("caught up, priority lowered: shard=%d bytes=%d", self.index, lag_bytes)
            background.is_raised = False

    # --- following --------------------------------------------------------------------------------

    def _open(self) -> None:
        for left in self.folder.glob(f"shard-{self.index}-snapshot-*.new"):
            log.info("a snapshot that was not finished is removed: file=%s", left.name)
            left.unlink()
        self.replica = self.background.run(lambda: Replica.open(self.folder, self.index))
        self._last_seq = self.replica.snapshot_seq
        self.words[ShardWord.FOLLOWED_SEQ] = self.replica.seq
        self.words[ShardWord.FOLLOWED_BYTES] = self.replica.log_bytes
        # Its snapshot was written when they were synced up to there.
        self._synced = {
            "commands": self.replica.log_bytes,
            "reports": self.replica.report_bytes if self._last_seq else 0,
        }
        for path in snapshots(self.folder, self.index):
            with contextlib.suppress(SnapshotError, OSError):
                header = read_header(path)
                if header.seq == self._last_seq:
                    self._last_bytes = header.log_bytes
                    self._publish(path, header, path.stat().st_mtime_ns, 0)

    def _follow(self, end: int) -> bool:
        """Follow a slice; tell whether there is more up to `end`. Raises RecoveryError."""
        replica = self.replica

        def follow() -> FollowResult:
            began = time.thread_time()
            found = replica.follow(end_bytes=end, max_commands=_SLICE_COMMANDS)
            self._slice_s = time.thread_time() - began
            return found

        result = self.background.run(follow)
        self.words[ShardWord.FOLLOWED_SEQ] = replica.seq
        self.words[ShardWord.FOLLOWED_BYTES] = replica.log_bytes
        if result.end == FollowEnd.TORN:
            # Committed bytes are whole: this names the file and the place.
            replica.find_end(floor=end)
            raise RecoveryError(f"the log of shard {self.index} is damaged: {result.reason}")
        return result.end == FollowEnd.LIMIT

    # --- snapshots --------------------------------------------------------------------------------

    def _due(self) -> str:
        """Return why a snapshot is due, or nothing."""
        words, now = self.words, time.monotonic()
        if now < self._retry_at and not self._pause_s:
            return ""
        request = int(words[ShardWord.SNAPSHOT_REQUEST])
        if request != words[ShardWord.SNAPSHOT_ANSWER]:
            if self._request[0] != request:
                self._request = (request, self._committed(), now + _CATCH_UP_S)
            _, wanted, until = self._request
            return "requested" if self.replica.log_bytes >= wanted or now > until else ""
        if now < self._retry_at:
            return ""
        if self._wanted or self.replica.seq == self._last_seq:
            return self._wanted
        logged = self.replica.log_bytes - self._last_bytes
        if self.settings.every_bytes is not None and logged >= self.settings.every_bytes:
            return f"{logged} bytes logged"
        if self.settings.every_s is not None and now - self._last_at >= self.settings.every_s:
            return f"{self.settings.every_s} s passed"
        return ""

    def _write(self, reason: str) -> None:
        """Write a snapshot of the book as it stands; a failure is logged, counted and answered."""
        request = int(self.words[ShardWord.SNAPSHOT_REQUEST])
        replica, started = self.replica, time.monotonic_ns()
        if replica.seq != self._last_seq or self._wanted:
            if not self._await_release():
                log.warning("shard releases nothing, snapshot put off: shard=%d", self.index)
                self._retry_at = time.monotonic() + _PUT_OFF_S
                return
            try:
                path = self.background.run(self._write_file)
            except (SnapshotError, OSError) as error:
                self._count_failure(request, error)
                return
            header = read_header(path)
            took_ns = time.monotonic_ns() - started
            self._last_seq, self._last_bytes = header.seq, header.log_bytes
            self.words[ShardWord.SNAPSHOTS_WRITTEN] += 1
            self._publish(path, header, time.time_ns(), took_ns)
            self._pause_s = self._retry_at = 0.0
            self._wanted = ""
            self._has_unsettled = True
            log.info(
                "snapshot: file=%s seq=%d orders=%d bytes=%d took_s=%.3f because=%s",
                *(path.name, header.seq, header.open_orders, path.stat().st_size, took_ns / 1e9),
                reason,
            )
        self._last_at = time.monotonic()
        self._answer(request, 0)

    def _write_file(self) -> Path:
        """Sync what the snapshot stands on, then write it."""
        self._sync_logs()
        return write_snapshot(
            self.folder, self.replica, self.config.venue.name, faults=self._faults
        )

    def _await_release(self) -> bool:
        """Wait until the shard has written all reports that a snapshot would not write again."""
        deadline = time.monotonic() + _RELEASE_S
        while self.words[ShardWord.RELEASED_POSITION] < self.replica.report_bytes:
            if time.monotonic() > deadline:
                return False
            self._beat()
            time.sleep(0.001)
        return True

    def _count_failure(self, request: int, error: Exception) -> None:
        self.words[ShardWord.SNAPSHOTS_FAILED] += 1
        self._pause_s = min(max(2 * self._pause_s, 1.0), _LONGEST_PAUSE_S)
        self._retry_at = time.monotonic() + self._pause_s
        log.error(
            "no snapshot, next try in %.0f s: shard=%d reason=%s", self._pause_s, self.index, error
        )
        self._answer(request, 1)

    def _answer(self, request: int, result: int) -> None:
        self.words[ShardWord.SNAPSHOT_RESULT] = result
        self.words[ShardWord.SNAPSHOT_ANSWER] = request

    def _publish(self, path: Path, header: SnapshotHeader, at_ns: int, took_ns: int) -> None:
        words = self.words
        words[ShardWord.SNAPSHOT_NS] = at_ns
        words[ShardWord.SNAPSHOT_LOG_BYTES] = header.log_bytes
        words[ShardWord.SNAPSHOT_REPORT_BYTES] = header.report_bytes
        words[ShardWord.SNAPSHOT_TOOK_NS] = took_ns
        words[ShardWord.SNAPSHOT_BYTES] = path.stat().st_size
        words[ShardWord.SNAPSHOT_SEQ] = header.seq

    def _sync_logs(self) -> None:
        """Bring to the disk what the snapshot stands on.

        The reports below it are never written again by a recovery that begins with it; and without
        the commands below it a power cut would leave a snapshot from the log's future.
        """
        self._sync("commands", self.replica.log_bytes)
        self._sync("reports", self.replica.report_bytes)

    def _sync(self, kind: str, end: int) -> None:
        file = self._file(kind)
        if file is not None:
            file.sync(self._synced[kind], end)
            self._synced[kind] = end

    def _file(self, kind: str) -> SegmentedFile | None:
        """Return one of the shard's logs, nothing of it mapped; None while there is none."""
        if kind not in self._files:
            file = open_segments(self.folder, f"shard-{self.index}-{kind}")
            if file is None:
                return None
            self._files[kind] = file
        return self._files[kind]

    # --- files ------------------------------------------------------------------------------------

    def _look_after_files(self) -> None:
        """Read new snapshots back, remove old ones, release segments now and then."""
        if self._has_unsettled:
            self._has_unsettled = False
            self.background.run(self._settle)
        if time.monotonic() >= self._next_retention:
            self._next_retention = time.monotonic() + _RETENTION_S
            self.background.run(self._release_segments)

    def _settle(self) -> None:
        """Keep the newest `keep` snapshots that read back well, and publish the oldest of them.

        One that does not read back counts for nothing, and goes when enough newer ones are good.
        While there are fewer than `keep`, no segment is released: with what is there the log can be
        recovered from one step further back.
        """
        good: list[SnapshotHeader] = []
        for path in snapshots(self.folder, self.index):
            if len(good) == self.settings.keep:
                # What stays is on the disk under its name before anything goes.
                sync_folder(self.folder)
                path.unlink()
                continue
            header = self._read_back(path)
            if header is not None:
                good.append(header)
            elif not good:
                # A recovery would begin with the one before: better write another now.
                self._wanted = "the latest is damaged"
        is_whole = len(good) == self.settings.keep
        self.words[ShardWord.OLDEST_REPORT_BYTES] = good[-1].report_bytes if is_whole else 0
        self.words[ShardWord.OLDEST_LOG_BYTES] = good[-1].log_bytes if is_whole else 0

    def _read_back(self, path: Path) -> SnapshotHeader | None:
        """Return the header of a snapshot whose checksums are right; log one that is damaged."""
        if path in self._good:
            return self._good[path]
        try:
            header = verify_snapshot(path)
        except (SnapshotError, OSError) as error:
            if path not in self._bad:
                log.error("snapshot is damaged: file=%s reason=%s", path, error)
                self._bad.add(path)
            return None
        self._bad.discard(path)
        self._good[path] = header
        return header

    def _release_segments(self) -> None:
        for kind, needed in (("commands", needed_commands), ("reports", needed_reports)):
            file = self._file(kind)
            if file is not None:
                needed_from = needed(self.memory, self.index)
                self.retention.release(file.name, file.segment_bytes, needed_from)
        words, retention = self.words, self.retention
        words[ShardWord.SEGMENTS_RELEASED] += retention.released
        words[ShardWord.RETENTION_FAILED] += retention.failed
        retention.released = retention.failed = 0


def run_process(
    config: Config, memory: VenueMemory, index: int, data_dir: Path, parent: int
) -> None:
    """Be the process of a shard's follower (called in the child)."""
    die_with_parent(parent)
    process_name(f"oo-follower-{index}")
    # The supervisor tells when to stop; a terminal's Ctrl-C reaches the whole group.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    keep_off([core for core in shard_cores(config, available_cores()) if core is not None])
    status = Follower(config, memory, index, data_dir).run(parent)
    if status:
        raise SystemExit(status)

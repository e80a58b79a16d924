"""How a shard comes to its book: recovery, and the batch that begins its new life.

Every start goes this way, the first as well. The shard locks its log, makes its book again from the
newest good snapshot and the log behind it, writes what the report log lacks, cuts off what a crash
left half-written at the end, and appends a batch: START with an epoch above all before, and what
the configuration now says otherwise than the log. It executes that batch as it did the others.
While the venue starts, no shard appends before all have recovered and none refuses the
configuration: a start that is refused leaves the old configuration's data as they were.

With the venue's shared memory still there (only this process died), reports that were released are
not touched, for gateways may be reading them, and the command rings go on where the log says. In
fresh memory the rings begin at 0, and the START batch says so.
"""

import logging
import os
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from openoutcry.engine.book import Book
from openoutcry.engine.faults import FaultPoint, reach_in_python
from openoutcry.engine.log import MAX_BATCH_COMMANDS, append_batch, as_words, batch_words
from openoutcry.engine.pack import MAX_PACKED_BYTES, read_header, write_header
from openoutcry.engine.records import COMMAND, EVENT
from openoutcry.engine.recovery import last_word
from openoutcry.engine.ring import HEAD_WORD
from openoutcry.engine.state import SHARD_WORDS, ShardWord
from openoutcry.server.config import Config
from openoutcry.server.gateway_files import last_reports_sent, lost_end
from openoutcry.server.journal import SegmentedFile, open_segments, owner_of, segments_on_disk
from openoutcry.server.log_end import missing_log
from openoutcry.server.memory import VenueMemory, VenueWord
from openoutcry.server.process import is_orphan
from openoutcry.server.replica import FollowEnd, LogEnd, LogSink, RecoveryError, Replica
from openoutcry.server.resolve import resting_refusals
from openoutcry.server.shard_guard import Beat, lock_shard
from openoutcry.server.start_commands import start_commands
from openoutcry.server.trading_day import has_ended_since, utc

log = logging.getLogger(__name__)

#: Commands replayed between two looks at the clock: some 10 ms.
_SLICE = 30_000
_PROGRESS_S = 1.0
_HOLD_PAUSE_S = 0.001
_PAGE_WORDS = 4096 // 8
#: Segment size of the log that is needed at a start only (`durability: none`).
_UNKEPT_BYTES = 1 << 20


class Started(NamedTuple):
    """What a shard runs with.

    positions: one a command ring: the next command to be taken. replayed: commands executed from
    the log, behind the snapshot's last one. lock_fd: holds the lock. seconds: how long it took.
    """

    book: Book
    log: SegmentedFile
    reports: SegmentedFile
    positions: NDArray[np.int64]
    replayed: int
    snapshot_seq: int
    lock_fd: int = -1
    seconds: float = 0.0


def start_shard(
    config: Config, memory: VenueMemory, index: int, folder: Path, *, seed: int = 0
) -> Started:
    """Recover a shard and begin its new epoch; its words in shared memory are set for the loop.

    `seed` varies the book's hash table.

    Raises:
        RecoveryError, SegmentError, OutOfSpaceError, SyncError: it cannot start; the text is for
            the operator.
    """
    lock_fd = lock_shard(folder, index)
    started = time.monotonic()
    try:
        with Beat(memory.shards[index]) as beat:
            done = _start(config, memory, index, folder, beat, seed)
    except BaseException:
        os.close(lock_fd)
        raise
    seconds = time.monotonic() - started
    if done.replayed:
        log.info(
            "shard recovered: shard=%d snapshot_seq=%d commands=%d seq=%d seconds=%.2f",
            *(index, done.snapshot_seq, done.replayed, memory.shards[index, ShardWord.SEQ]),
            seconds,
        )
    return done._replace(lock_fd=lock_fd, seconds=seconds)


def _start(
    config: Config, memory: VenueMemory, index: int, folder: Path, beat: Beat, seed: int
) -> Started:
    if config.log.durability != "none":
        return _Start(config, memory, index, folder, folder, beat, seed).run()
    _refuse_old_logs(memory, index, folder)
    # The commands that set the book up take the usual way, through a log that nobody keeps.
    with tempfile.TemporaryDirectory(prefix="openoutcry-") as name:
        done = _Start(config, memory, index, folder, Path(name), beat, seed).run()
    memory.shards[index][ShardWord.LOG_POSITION] = 0
    memory.shards[index][ShardWord.LOG_BYTES] = 0
    return done


def _refuse_old_logs(memory: VenueMemory, index: int, folder: Path) -> None:
    if memory.shards[index, ShardWord.EPOCH]:
        raise RecoveryError(
            f"shard {index} died, and log.durability is none: what it held is lost; start the venue"
            " anew"
        )
    for kind in ("commands", "reports"):
        if segments_on_disk(folder, f"shard-{index}-{kind}"):
            raise RecoveryError(
                f"{folder} holds the log of shard {index}, and log.durability none would not go on "
                "with it: set it to process or power, or name another --data-dir"
            )


class _Start:
    """One start of a shard."""

    def __init__(
        self,
        config: Config,
        memory: VenueMemory,
        index: int,
        folder: Path,
        log_folder: Path,
        beat: Beat,
        seed: int,
    ) -> None:
        self.config = config
        self.memory = memory
        self.index = index
        self.words = memory.shards[index]
        self._replayed = 0
        self._folder = folder
        self._log_folder = log_folder
        self._beat = beat
        self._seed = seed
        self._owner = owner_of(config)
        self._is_power = config.log.durability == "power"
        state = int(memory.shards.ctypes.data) + index * SHARD_WORDS * 8
        self._faults = state + ShardWord.FAULTS * 8
        #: Whether a shard ran in this shared memory before.
        self._has_memory = bool(self.words[ShardWord.EPOCH])
        self._shared_events = memory.events[index]

    def run(self) -> Started:
        """Recover, and begin the new epoch."""
        words, index = self.words, self.index
        replica = Replica.open(
            self._log_folder,
            index,
            events=np.zeros(len(self._shared_events), EVENT),
            seed=self._seed,
            faults=self._faults,
            on_event=lambda text: log.warning("recovering: shard=%d %s", index, text),
        )
        self._check_venue(replica)
        self._beat.step()
        is_new = not segments_on_disk(self._log_folder, f"shard-{index}-commands")
        if is_new:
            self._check_sent(replica)
            self._agree(replica)
        reports = self._open_reports(replica)
        end = self._replay(replica, reports)
        if not is_new:
            self._check_sent(replica)
            self._agree(replica)
        file = self._cut(replica, end)
        if not self._has_memory:
            words[ShardWord.PREVIOUS_NS] = replica.time_ns
        self._begin_epoch(replica, file, reports)
        replica.close()
        positions = self._set_rings(replica)
        book = self._share_events(replica.book)
        words[ShardWord.EPOCH] = replica.epoch
        words[ShardWord.SEQ] = words[ShardWord.COMMITTED_SEQ] = replica.seq
        words[ShardWord.TIME_NS] = replica.time_ns
        words[ShardWord.LOG_POSITION] = replica.log_bytes // 8
        words[ShardWord.LOG_BYTES] = replica.log_bytes
        words[ShardWord.SYNCED_BYTES] = replica.log_bytes if self._is_power else 0
        words[ShardWord.BASE_NS] = replica.base_ns
        words[ShardWord.REPORT_SEQ] = replica.report_seq
        words[ShardWord.REPORT_POSITION] = replica.report_bytes
        words[ShardWord.RELEASED_POSITION] = replica.report_bytes
        words[ShardWord.RELEASED_REPORT] = replica.report_seq
        words[ShardWord.EVENT_SEQ] = replica.event_seq
        for word in (
            *(ShardWord.BATCH_END, ShardWord.BATCH_NEXT, ShardWord.BATCH_RING),
            *(ShardWord.SLEEPING, ShardWord.SYNC_SLEEPING, ShardWord.SYNC_CUT),
            *(ShardWord.IDLE_SINCE, ShardWord.IDLE_NS, ShardWord.LOG_IS_FULL),
        ):
            words[word] = 0
        words[ShardWord.LAST_BATCH_NS] = time.monotonic_ns()
        words[ShardWord.RECOVERED_SEQ] = replica.seq
        reach_in_python(self._faults, FaultPoint.AFTER_RECOVERY)
        return Started(book, file, reports, positions, self._replayed, replica.snapshot_seq)

    def _check_venue(self, replica: Replica) -> None:
        name = self.config.venue.name
        if replica.venue not in ("", name):
            raise RecoveryError(
                f"the snapshots of shard {self.index} in {self._folder} are of the venue "
                f"{replica.venue!r}, not of {name!r}: name another --data-dir, or set venue.name "
                "back"
            )

    def _check_sent(self, replica: Replica) -> None:
        """Refuse a log that has lost its end: gateways know of reports behind it.

        Whatever stands there would be cut as a torn tail, and the new epoch be written over it. A
        shard that comes back alone knows from shared memory what was released.

        Raises:
            RecoveryError, SegmentError: that is so, or what a gateway sent cannot be read.
        """
        if self._has_memory or self._log_folder != self._folder:
            return
        sent = last_reports_sent(self._folder, since_checkpoint=True)
        position, gateway = sent.get(self.index, (-1, 0))
        if position < replica.report_bytes:
            return
        if replica.log_bytes == 0:
            raise missing_log(self._folder, self.index)
        raise RecoveryError(
            lost_end(self._folder, self.index, replica.log_bytes, replica.seq, gateway)
        )

    def _agree(self, replica: Replica) -> None:
        """Refuse what the configuration may not do to this book, and wait for the other shards."""
        start_commands(self.config, self.index, replica)
        found = resting_refusals(self.config, replica.book, self.index)
        if found:
            raise RecoveryError("; ".join(found))
        parent = os.getppid()
        self.memory.recovered[self.index] = 1
        while self.memory.venue[VenueWord.HOLDS]:
            self._beat.step()
            if is_orphan(parent):
                raise RecoveryError("the supervisor is gone")
            time.sleep(_HOLD_PAUSE_S)

    def _open_reports(self, replica: Replica) -> SegmentedFile:
        name, size = f"shard-{self.index}-reports", self.config.log.segment_bytes
        owner, faults = self._owner, self._faults
        reports = SegmentedFile(
            *(self._folder, name, size),
            writable=True, owner=owner, is_synced_in_parts=False, faults=faults,
        )  # fmt: skip
        reports.ensure_from(replica.report_bytes)
        return reports

    # --- replay ---

    def _replay(self, replica: Replica, reports: SegmentedFile) -> LogEnd:
        """Execute the log, and write the reports that are missing; return where it ends."""
        words = self.words
        released = int(words[ShardWord.RELEASED_POSITION]) if self._has_memory else 0
        sink = LogSink(reports, released)
        # What was written behind this byte may be lost: a sync of it failed.
        cut = int(words[ShardWord.SYNC_CUT]) - 1
        end_bytes = cut if cut >= 0 else None
        length = self._log_bytes() if end_bytes is None else end_bytes
        words[ShardWord.RECOVERY_BYTES] = length
        told_at = time.monotonic() + _PROGRESS_S
        most = 1
        while True:
            result = replica.follow(reports=sink, end_bytes=end_bytes, max_commands=most)
            self._replayed += result.commands
            self._beat.step()
            words[ShardWord.RECOVERED_SEQ] = replica.seq
            if most == 1:
                # The base time is known from the first batch on, and no segment is dropped yet.
                self._write_report_header(replica, reports)
                most = _SLICE
            if result.end != FollowEnd.LIMIT:
                break
            reports.drop_below(replica.report_bytes - reports.segment_bytes)
            if time.monotonic() >= told_at:
                told_at = time.monotonic() + _PROGRESS_S
                log.info(
                    "recovering: shard=%d commands=%d seq=%d log_bytes=%d of=%d",
                    *(self.index, self._replayed, replica.seq, replica.log_bytes, length),
                )
        word = ShardWord.SYNCED_BYTES if self._is_power else ShardWord.LOG_BYTES
        floor = int(words[word]) if self._has_memory else 0
        end = replica.find_end(floor if end_bytes is None else end_bytes)
        missing = int(words[ShardWord.RELEASED_REPORT]) - replica.report_seq
        if self._has_memory and missing > 0:
            raise RecoveryError(
                f"shard {self.index} has released {missing} reports more than its log accounts "
                f"for: the log in {self._log_folder} is not the one that it wrote; restore it"
            )
        return end

    def _log_bytes(self) -> int:
        """Return about how long the log is: behind its last byte that is not 0."""
        file = open_segments(self._log_folder, f"shard-{self.index}-commands")
        if file is None:
            return 0
        indexes = segments_on_disk(self._log_folder, file.name)
        found = 0
        # The last segments may have been prepared ahead.
        for index in reversed(indexes[-4:]):
            one = open_segments(self._log_folder, file.name)
            assert one is not None
            start = index * file.segment_bytes
            one.ensure_from(start)
            found = int(last_word(one.array(np.int64), start // 8, one.mapped_bytes // 8)) * 8
            one.close()
            if found > start:
                break
        file.close()
        return found

    def _write_report_header(self, replica: Replica, reports: SegmentedFile) -> None:
        if reports.first_byte > 0 or replica.base_ns == 0:
            return
        words = reports.array(np.int64)
        try:
            is_there = read_header(words) == replica.base_ns
        except ValueError:
            is_there = False
        if not is_there:
            write_header(words, replica.base_ns)

    # --- the log's end ---

    def _cut(self, replica: Replica, end: LogEnd) -> SegmentedFile:
        """Open the log for writing, without what a crash left half-written at its end."""
        name, size = f"shard-{self.index}-commands", self.config.log.segment_bytes
        if self._log_folder != self._folder:
            size = _UNKEPT_BYTES
        owner, faults = self._owner, self._faults
        file = SegmentedFile(
            self._log_folder, name, size, writable=True, owner=owner, faults=faults
        )
        doubtful = min(self._synced_bytes(replica), end.position)
        file.ensure_from(doubtful if self._is_power else end.position)
        file.ensure(max(end.dirty_end, end.position + 1))
        if end.is_torn:
            file.zero(end.position, end.dirty_end)
            log.warning(
                "cut a torn tail: shard=%d from_byte=%d bytes=%d; nothing of it was acknowledged",
                *(self.index, end.position, end.dirty_end - end.position),
            )
        if self._is_power:
            # The page cache may show what the disk has not got, and take it for clean, if an
            # earlier process's sync failed: it is made dirty anew, and synced.
            words = file.array(np.int64)
            doubt = words[doubtful // 8 : end.position // 8 : _PAGE_WORDS]
            doubt[:] = doubt.copy()
            file.sync(doubtful, max(end.position, end.dirty_end))
        return file

    def _synced_bytes(self, replica: Replica) -> int:
        """Return how much of the log is known to be on the disk."""
        if self._has_memory:
            return int(self.words[ShardWord.SYNCED_BYTES])
        # A snapshot is written when the log below it is on the disk. Nothing may follow it, and
        # what lies below it may be gone.
        return max(replica.synced_bytes, replica.floor)

    # --- the new epoch ---

    def _begin_epoch(self, replica: Replica, file: SegmentedFile, reports: SegmentedFile) -> None:
        """Append the batch that begins this life, and execute it."""
        commands = start_commands(self.config, self.index, replica)
        rings = np.zeros(self.memory.ring_count, np.int64)
        before = replica.ring_positions
        if self._has_memory and len(before) == len(rings):
            rings[:] = before
        begin = replica.log_bytes
        position, seq, synced = begin // 8, replica.seq, begin
        now = self._now(replica)
        for first in range(0, len(commands), MAX_BATCH_COMMANDS):
            part = np.zeros(MAX_BATCH_COMMANDS, COMMAND)
            count = len(commands[first:][:MAX_BATCH_COMMANDS])
            part[:count] = commands[first:][:count]
            file.ensure((position + batch_words(count, len(rings))) * 8)
            position = int(
                append_batch(
                    file.array(np.int64),
                    position,
                    as_words(part),
                    MAX_BATCH_COMMANDS - 1,
                    0,
                    count,
                    seq + 1,
                    now,
                    replica.epoch + 1 if first == 0 else replica.epoch,
                    synced if self._is_power else 0,
                    rings,
                    self._faults,
                )
            )
            seq += count
            released = self.words[ShardWord.RELEASED_POSITION] if self._has_memory else 0
            sink = LogSink(reports, int(released))
            result = replica.follow(reports=sink, end_bytes=position * 8)
            if result.end != FollowEnd.END or replica.seq != seq:
                raise RecoveryError(
                    f"shard {self.index} cannot execute the beginning of its new epoch at byte "
                    f"{result.position} of its log: {result.reason}"
                )
            if self._is_power:
                # Before the next part: only a log's first batch may say that nothing is synced.
                file.sync(synced, position * 8)
                synced = position * 8
        self._write_report_header(replica, reports)
        reports.discard_bad_ahead()
        reports.ensure(replica.report_bytes + 2 * MAX_PACKED_BYTES)

    def _now(self, replica: Replica) -> int:
        """Return the new epoch's time, which never goes back."""
        day, before, now = self.config.day, replica.time_ns, time.time_ns()
        if day is not None and before and has_ended_since(day, before, utc(now)):
            # The day's end moves the log's time on, not this: should the venue die before that is
            # in the log, the next start has to see that it is due.
            return before
        return max(now, before)

    # --- shared memory ---

    def _set_rings(self, replica: Replica) -> NDArray[np.int64]:
        """Give back the slots of all commands that the log has; return where the rings go on."""
        positions = np.array(replica.ring_positions, np.int64)
        self.memory.ring_headers[self.index, :, HEAD_WORD] = positions
        return positions

    def _share_events(self, book: Book) -> Book:
        """Put the events of the replay into the ring that others read, which the book goes on
        with."""
        shared, own = self._shared_events, book.events
        made = own["event_seq"] != 0
        shared[made] = own[made]
        return book._replace(events=shared)

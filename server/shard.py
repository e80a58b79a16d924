"""The matching process of one shard: owns its book and its logs, and runs engine.loop on its
core."""

import logging
import os
import secrets
import signal
from collections.abc import Collection
from pathlib import Path
from typing import NoReturn

import numpy as np

from openoutcry.engine.book import Book
from openoutcry.engine.commit import make_queue
from openoutcry.engine.latency import Metrics, Pool, Role, ShardCounter, open_metrics
from openoutcry.engine.log import as_words, batch_words
from openoutcry.engine.loop import BATCH_COMMANDS, run_shard, wake_gateways
from openoutcry.engine.pack import MAX_PACKED_BYTES
from openoutcry.engine.records import REPORT
from openoutcry.engine.state import (
    GATEWAY_WORDS,
    SHARD_WORDS,
    Durability,
    LoopExit,
    ProcessStatus,
    ShardWord,
)
from openoutcry.server.committer import Committer
from openoutcry.server.config import Config
from openoutcry.server.drop_behind import DropBehind
from openoutcry.server.journal import OutOfSpaceError, Preparer, SegmentedFile, SegmentError
from openoutcry.server.memory import VenueMemory
from openoutcry.server.process import (
    available_cores,
    die_with_parent,
    is_orphan,
    pin,
    process_name,
    shard_cores,
)
from openoutcry.server.replica import RecoveryError
from openoutcry.server.shard_start import start_shard

log = logging.getLogger(__name__)

#: How long a call of the loop lasts at most: signals are looked at in between.
_TICK_NS = 50_000_000
#: Mapped segments behind the writer that are kept, for the gateway reads them a moment later.
_KEEP_SEGMENTS = 1
#: What of the command log's end stays in the page cache for the follower, however far behind it is:
#: some 1.8 million commands.
_CACHED_BYTES = 128 << 20
#: Reports of a batch beyond those of its largest command.
_SPARE_REPORTS = 4096


class Shard:
    """One shard's state in its process."""

    book: Book
    log: SegmentedFile
    reports: SegmentedFile

    def __init__(
        self,
        config: Config,
        memory: VenueMemory,
        index: int,
        data_dir: Path,
        eventfds: list[int],
        cores: Collection[int] = (),
    ) -> None:
        self.config = config
        self.memory = memory
        self.index = index
        self.words = memory.shards[index]
        self.metrics: Metrics = open_metrics(memory.path.parent, Role.SHARD, index)
        self._data_dir = data_dir
        self._cores = cores
        self._durability = Durability[config.log.durability.upper()]
        self._queue = make_queue()
        self._eventfds = np.array(eventfds, np.int64)
        base = int(memory.gateways.ctypes.data)
        self._gateways = np.array(
            [base + g * GATEWAY_WORDS * 8 for g in range(memory.gateway_count)], np.int64
        )
        self._spin_ns = {
            "spin": 1 << 40,
            "block": 0,
            "adaptive": config.wait.spin_us * 1000,
        }[config.wait.mode]

    def run(self, parent: int) -> None:
        """Recover, then match until asked to stop."""
        words = self.words
        words[ShardWord.PID] = os.getpid()
        words[ShardWord.STATUS] = ProcessStatus.RECOVERING
        self._start()
        words[ShardWord.STATUS] = ProcessStatus.RUNNING
        # Those that lived on have reports to look at.
        wake_gateways(self._gateways, self._eventfds)
        self._set_pool_sizes()
        memory, index = self.memory, self.index
        state = int(memory.shards.ctypes.data) + index * SHARD_WORDS * 8
        headers = int(memory.ring_headers[index].ctypes.data)
        records = memory.commands[index]
        command_words = memory.command_words()[index]
        log_words = self.log.array(np.int64)
        fresh = np.empty(2 * self.config.capacity.open_orders + _SPARE_REPORTS, REPORT)
        fresh_words = as_words(fresh)
        while True:
            code = run_shard(
                self.book,
                state,
                headers,
                records,
                command_words,
                log_words,
                self.log.mapped_bytes // 8,
                fresh,
                fresh_words,
                self.reports.address,
                self.reports.mapped_bytes - MAX_PACKED_BYTES,
                self._positions,
                self._gateways,
                self._eventfds,
                memory.stamps[index],
                self.metrics.counters,
                self.metrics.histograms,
                memory.depth_levels[index],
                _TICK_NS,
                self._spin_ns,
                self._durability,
                self._queue,
            )
            if self.committer is not None and self.committer.has_failed:
                self._fail()
            self._keep_up(code)
            if code == LoopExit.STOPPED:
                break
            if is_orphan(parent):
                log.error("supervisor is gone: shard=%d stops", index)
                break
        words[ShardWord.STATUS] = ProcessStatus.STOPPED
        self.preparer.stop()
        self.drop_behind.stop()
        if self.committer is not None:
            self.committer.stop()
        os.close(self._lock_fd)

    def _start(self) -> None:
        """Get the book, the logs and the threads that work beside the loop."""
        config = self.config
        try:
            started = start_shard(
                config,
                self.memory,
                self.index,
                self._data_dir,
                # Where identifiers lie in the hash table; no report and no hash depends on it.
                seed=secrets.randbits(63),
            )
        except (RecoveryError, SegmentError, OSError) as error:
            log.critical("cannot start: shard=%d reason=%s", self.index, error)
            self._fail(error)
        self.book, self.log, self.reports = started.book, started.log, started.reports
        self._positions = started.positions
        self._lock_fd = started.lock_fd
        counters = self.metrics.counters
        counters[ShardCounter.RECOVERY_COMMANDS] = started.replayed
        counters[ShardCounter.RECOVERY_NS] = int(started.seconds * 1e9)
        self.preparer = Preparer(config.log.min_free_bytes, self._cores)
        if self._durability != Durability.NONE:
            self.preparer.add(self.log, self.log.segment_bytes)
        self.preparer.add(self.reports, self.reports.segment_bytes)
        self.preparer.start()
        self.drop_behind = DropBehind(self._cores)
        self.drop_behind.add(self.reports, lambda: self.reports.first_byte)
        if self._durability != Durability.NONE:
            self.drop_behind.add(self.log, self._followed)
            self.drop_behind.add(self.log, self._long_ago)
        self.drop_behind.start()
        self.committer: Committer | None = None
        if self._durability == Durability.POWER:
            interval = config.log.group_commit_us
            self.committer = Committer(self.log, self.words, interval, self._cores)
            self.committer.start()

    def _followed(self) -> int:
        """Return up to where the log is neither mapped here nor wanted by the follower."""
        mapped = self.log.first_byte
        if self.config.snapshots is None:
            return mapped
        return min(mapped, int(self.words[ShardWord.FOLLOWED_BYTES]))

    def _long_ago(self) -> int:
        """Return up to where the log is neither mapped here nor of late: a follower that is so far
        behind reads it from the disk, and what it has read is dropped then."""
        log_bytes = int(self.words[ShardWord.LOG_BYTES])
        return min(self.log.first_byte, log_bytes - _CACHED_BYTES)

    def _fail(self, error: BaseException | None = None) -> NoReturn:
        self.words[ShardWord.STATUS] = ProcessStatus.FAILED
        raise SystemExit(1) from error

    def _keep_up(self, code: int) -> None:
        """Map what the loop asked for, let the helper prepare what comes next, publish gauges."""
        words = self.words
        log_end = int(words[ShardWord.LOG_POSITION]) * 8
        report_end = int(words[ShardWord.REPORT_POSITION])
        if code == LoopExit.LOG_SEGMENT:
            need = batch_words(BATCH_COMMANDS, self.memory.ring_count) * 8
            self._map(self.log, log_end + need)
        elif code == LoopExit.REPORT_SEGMENT:
            wanted = int(words[ShardWord.REPORT_BYTES_WANTED])
            self._map(self.reports, wanted + 2 * MAX_PACKED_BYTES)
        # New orders stop while there is still room for the cancels that follow.
        words[ShardWord.LOG_IS_FULL] = int(self.preparer.failed)
        # What is not on the disk yet stays mapped, with its file open: a sync has to see it.
        log_kept = int(words[ShardWord.SYNCED_BYTES]) if self.committer is not None else log_end
        self.preparer.wake(
            {self.log.name: log_end, self.reports.name: report_end},
            {
                self.log.name: log_kept - _KEEP_SEGMENTS * self.log.segment_bytes,
                self.reports.name: report_end - _KEEP_SEGMENTS * self.reports.segment_bytes,
            },
        )
        counters = self.metrics.counters
        counters[ShardCounter.LOG_BYTES] = log_end
        counters[ShardCounter.REPORT_LOG_BYTES] = report_end
        counters[ShardCounter.RELEASED_REPORTS] = words[ShardWord.RELEASED_REPORT]
        self._set_pools_used()

    def _map(self, file: SegmentedFile, end: int) -> None:
        try:
            file.ensure(end)
        except OutOfSpaceError as error:
            # Nothing can be logged any more, so nothing may be answered: better to stop than to
            # lie.
            log.critical("log is full: shard=%d file=%s reason=%s", self.index, file.name, error)
            self._fail(error)

    def _set_pool_sizes(self) -> None:
        counters = self.metrics.counters
        capacity = self.config.capacity
        counters[ShardCounter.POOL_CAPACITY + Pool.OPEN_ORDERS] = capacity.open_orders
        counters[ShardCounter.POOL_CAPACITY + Pool.FINISHED_ORDERS] = capacity.finished_orders
        counters[ShardCounter.POOL_CAPACITY + Pool.LEVELS] = capacity.levels

    def _set_pools_used(self) -> None:
        counters = self.metrics.counters
        state = self.book.state[0]
        counters[ShardCounter.POOL_USED + Pool.OPEN_ORDERS] = state["open_orders"]
        counters[ShardCounter.POOL_USED + Pool.FINISHED_ORDERS] = state["finished_count"]
        counters[ShardCounter.POOL_USED + Pool.LEVELS] = state["levels_used"]


def run_process(
    config: Config,
    memory: VenueMemory,
    index: int,
    data_dir: Path,
    eventfds: list[int],
    parent: int,
) -> None:
    """Be the process of a shard (called in the child)."""
    die_with_parent(parent)
    process_name(f"oo-shard-{index}")
    # The supervisor tells when to stop; a terminal's Ctrl-C reaches the whole group.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    cores = available_cores()
    pin(shard_cores(config, cores)[index])
    Shard(config, memory, index, data_dir, eventfds, cores).run(parent)

"""The matching process of one shard: owns its book and its logs, and runs engine.loop on its
core."""

import logging
import os
import secrets
import signal
import time
from pathlib import Path

import numpy as np

from openoutcry.engine.book import Book, Capacity, create_book
from openoutcry.engine.commit import make_queue
from openoutcry.engine.latency import Metrics, Pool, Role, ShardCounter, open_metrics
from openoutcry.engine.log import as_words, batch_words
from openoutcry.engine.loop import BATCH_COMMANDS, run_shard
from openoutcry.engine.pack import FIRST_BYTE, MAX_PACKED_BYTES, write_header
from openoutcry.engine.records import REPORT
from openoutcry.engine.state import (
    GATEWAY_WORDS,
    SHARD_WORDS,
    Durability,
    LoopExit,
    ProcessStatus,
    ShardWord,
)
from openoutcry.server.config import Config
from openoutcry.server.journal import OutOfSpaceError, Preparer, SegmentedFile
from openoutcry.server.memory import VenueMemory
from openoutcry.server.process import (
    available_cores,
    die_with_parent,
    is_orphan,
    pin,
    process_name,
    shard_cores,
)

log = logging.getLogger(__name__)

#: How long a call of the loop lasts at most: signals are looked at in between.
_TICK_NS = 50_000_000
#: Mapped segments behind the writer that are kept, for the gateway reads them a moment later.
_KEEP_SEGMENTS = 1
#: Reports of a batch beyond those of its largest command.
_SPARE_REPORTS = 4096


def book_capacity(config: Config) -> Capacity:
    """Return the sizes of a shard's pools."""
    capacity = config.capacity
    return Capacity(
        open_orders=capacity.open_orders,
        finished_orders=capacity.finished_orders,
        levels=capacity.levels,
        symbols=capacity.symbols,
        sessions=capacity.sessions,
    )


class Shard:
    """One shard's state in its process."""

    def __init__(
        self, config: Config, memory: VenueMemory, index: int, data_dir: Path, eventfds: list[int]
    ) -> None:
        self.config = config
        self.memory = memory
        self.index = index
        self.words = memory.shards[index]
        self.metrics: Metrics = open_metrics(memory.path.parent, Role.SHARD, index)
        segment = config.log.segment_bytes
        self.log = SegmentedFile(data_dir, f"shard-{index}-commands", segment, writable=True)
        self.reports = SegmentedFile(data_dir, f"shard-{index}-reports", segment, writable=True)
        self.preparer = Preparer(config.log.min_free_bytes)
        self.preparer.add(self.log, segment)
        self.preparer.add(self.reports, segment)
        self.log.map_next()
        self.reports.map_next()
        self.book: Book = create_book(
            book_capacity(config),
            shard=index,
            events=memory.events[index],
            # Where identifiers lie in the hash table; no report and no hash depends on it.
            seed=secrets.randbits(63),
        )
        self._eventfds = np.array(eventfds, np.int64)
        base = int(memory.gateways.ctypes.data)
        self._gateways = np.array(
            [base + g * GATEWAY_WORDS * 8 for g in range(memory.gateway_count)], np.int64
        )
        self._positions = np.zeros(memory.ring_count, np.int64)
        self._queue = make_queue()
        self._spin_ns = {
            "spin": 1 << 40,
            "block": 0,
            "adaptive": config.wait.spin_us * 1000,
        }[config.wait.mode]

    def run(self, parent: int) -> None:
        """Match until asked to stop."""
        words = self.words
        words[ShardWord.EPOCH] = 1
        base_ns = time.time_ns()
        write_header(self.reports.array(np.int64), base_ns)
        words[ShardWord.BASE_NS] = base_ns
        words[ShardWord.REPORT_POSITION] = FIRST_BYTE
        words[ShardWord.PID] = os.getpid()
        words[ShardWord.STATUS] = ProcessStatus.RUNNING
        self._set_pool_sizes()
        self.preparer.start()
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
                Durability.PROCESS,
                self._queue,
            )
            self._keep_up(code)
            if code == LoopExit.STOPPED:
                break
            if is_orphan(parent):
                log.error("supervisor is gone: shard=%d stops", index)
                break
        words[ShardWord.STATUS] = ProcessStatus.STOPPED
        self.preparer.stop()

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
        self.preparer.wake({self.log.name: log_end, self.reports.name: report_end})
        keep = _KEEP_SEGMENTS * self.log.segment_bytes
        self.log.drop_below(log_end - keep)
        self.reports.drop_below(report_end - keep)
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
            self.words[ShardWord.STATUS] = ProcessStatus.FAILED
            raise SystemExit(1) from error

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
    pin(shard_cores(config, available_cores())[index])
    Shard(config, memory, index, data_dir, eventfds).run(parent)

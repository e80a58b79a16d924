"""A shard without a process: its logs on the disk and its words in memory, written by hand."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openoutcry.engine.api import SymbolLimits, add_symbols, new_orders
from openoutcry.engine.enums import CommandKind
from openoutcry.engine.log import append_batch, as_words
from openoutcry.engine.records import COMMAND
from openoutcry.engine.state import ProcessStatus, ShardWord
from openoutcry.server.config import Config
from openoutcry.server.journal import SegmentedFile
from openoutcry.server.memory import VenueMemory
from openoutcry.server.replica import LogSink, Replica

_START_NS = 1_800_000_000_000_000_000


class LoggedShard:
    """Appends batches as a shard does, and executes them when told.

    Args:
        config: capacity and segments are taken from it.
        memory: whose words it publishes.
        index: the shard.
        folder: the data directory.
    """

    def __init__(self, config: Config, memory: VenueMemory, index: int, folder: Path) -> None:
        self.config = config
        self.index = index
        self.folder = folder
        self.words = memory.shards[index]
        self.rings = np.zeros(memory.ring_count, np.int64)
        size = config.log.segment_bytes
        self.log, self.reports = (
            SegmentedFile(folder, f"shard-{index}-{kind}", size, writable=True)
            for kind in ("commands", "reports")
        )
        self.reports.map_next()
        self.seq = self.position = 0
        self._ids = itertools.count(1)
        self.start()
        self.replica = Replica.open(folder, index, snapshot=False)
        self.release()
        self.words[ShardWord.STATUS] = ProcessStatus.RUNNING

    def start(self) -> None:
        """Append the batch with which a shard's life begins."""
        capacity = self.config.capacity
        commands = np.zeros(2, COMMAND)
        commands["kind"] = (CommandKind.START, CommandKind.CAPACITY)
        commands["symbol"] = -1
        sizes = commands[1]
        sizes["price_ticks"] = capacity.open_orders
        sizes["price2_ticks"] = capacity.finished_orders
        sizes["qty_lots"] = capacity.levels
        sizes["qty2_lots"] = capacity.symbols
        sizes["expire_ns"] = capacity.sessions
        symbols = add_symbols((n, SymbolLimits()) for n in range(2))
        self.append(np.concatenate([commands, symbols]))

    def append(self, commands: NDArray[Any]) -> None:
        """Log a batch, which is then committed (in `power` not: see `sync`)."""
        records = np.zeros(1 << 12, COMMAND)
        records[: len(commands)] = commands
        self.log.ensure(self.position * 8 + (1 << 20))
        self.rings[0] += len(commands)
        self.position = append_batch(
            self.log.array(np.int64),
            self.position,
            as_words(records),
            len(records) - 1,
            0,
            len(commands),
            self.seq + 1,
            _START_NS + self.seq,
            1,
            0,
            self.rings,
            0,
        )
        self.seq += len(commands)
        words = self.words
        words[ShardWord.LOG_BYTES] = self.position * 8
        words[ShardWord.SEQ] = words[ShardWord.COMMITTED_SEQ] = self.seq

    def sync(self) -> None:
        """Say that all is on the disk."""
        self.words[ShardWord.SYNCED_BYTES] = self.position * 8

    def release(self) -> None:
        """Execute what is logged, and write and release the reports."""
        self.replica.follow(end_bytes=self.position * 8, reports=LogSink(self.reports))
        self.words[ShardWord.RELEASED_REPORT] = self.replica.report_seq
        self.words[ShardWord.RELEASED_POSITION] = self.replica.report_bytes

    def trade(self, count: int) -> None:
        """Log and execute so many orders; every third one finds another."""
        made = [next(self._ids) for _ in range(count)]
        for first in range(0, count, 256):
            numbers = np.array(made[first : first + 256])
            orders = new_orders(len(numbers), id0=numbers, session=1, epoch=1, qty_lots=5)
            orders["side"] = 1 + (numbers % 3 == 0)
            orders["symbol"] = numbers % 2
            orders["price_ticks"] = 100 + numbers % 7
            orders["inbound_seq"] = numbers
            self.append(orders)
        self.release()

    def close(self) -> None:
        """Give everything back."""
        self.replica.close()
        self.log.close()
        self.reports.close()

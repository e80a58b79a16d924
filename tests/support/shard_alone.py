"""A shard without its venue: real files, real shared memory, rings written by the test."""

import os
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from openoutcry.engine.api import new_orders
from openoutcry.engine.log import as_words
from openoutcry.engine.pack import FIRST_BYTE, unpack_rows
from openoutcry.engine.records import COMMAND, REPORT, SHARD_SHIFT
from openoutcry.engine.ring import HEAD_WORD, TAIL_WORD
from openoutcry.engine.state import ProcessStatus, ShardWord
from openoutcry.server.config import Capacity, Config, Gateway, Log, Symbol
from openoutcry.server.config import Shard as ShardConfig
from openoutcry.server.journal import open_segments
from openoutcry.server.memory import VenueMemory
from openoutcry.server.shard import Shard

SEGMENT_BYTES = 1 << 20


def small_config(**log: Any) -> Config:
    """Return a venue of two shards and two gateways with small pools."""
    return Config(
        capacity=Capacity(
            open_orders=20_000,
            finished_orders=5_000,
            levels=1_000,
            symbols=8,
            sessions=16,
            accounts=8,
            command_ring_records=1 << 14,
            event_ring_records=256,
        ),
        log=Log(segment_bytes=SEGMENT_BYTES, min_free_bytes=0, **log),
        gateway=Gateway(count=2),
        shards=(ShardConfig(core=None), ShardConfig(core=None)),
        symbols=tuple(Symbol(name=f"S{n}") for n in range(4)),
    )


def with_log(config: Config, **changes: Any) -> Config:
    """Return the configuration with other settings of `log`."""
    return msgspec.structs.replace(config, log=msgspec.structs.replace(config.log, **changes))


def fresh_memory(config: Config, folder: Path) -> VenueMemory:
    """Return new shared memory, as a start of the venue makes it."""
    capacity = config.capacity
    folder.mkdir(exist_ok=True)
    return VenueMemory.create(
        folder,
        len(config.shards),
        config.gateway.count,
        capacity.command_ring_records,
        capacity.event_ring_records,
    )


def orders(count: int, shard: int, session: int, first: int) -> NDArray[Any]:
    """Return orders of a shard's two symbols that trade and rest, numbered from `first` inbound."""
    numbers = np.arange(count) + first
    commands = new_orders(count, id0=numbers, session=session, qty_lots=1 + numbers % 5)
    commands["symbol"] = shard + 2 * (numbers // 2 % 2)
    commands["side"] = 1 + (numbers + session) % 2
    commands["price_ticks"] = 100 + numbers * 7919 % 21
    commands["inbound_seq"] = numbers
    commands["epoch"] = 1
    return commands


class ShardAlone:
    """One shard of a venue, run in this process for as long as its rings hold commands."""

    def __init__(self, config: Config, memory: VenueMemory, index: int, folder: Path) -> None:
        self.config = config
        self.memory = memory
        self.index = index
        self.folder = folder
        self.words = memory.shards[index]

    def put(self, commands: NDArray[Any], ring: int = 0) -> None:
        """Publish commands in a ring."""
        records = self.memory.commands[self.index, ring]
        header = self.memory.ring_headers[self.index, ring]
        tail = int(header[TAIL_WORD])
        assert tail + len(commands) - int(header[HEAD_WORD]) <= len(records)
        records[(tail + np.arange(len(commands))) & (len(records) - 1)] = commands
        header[TAIL_WORD] = tail + len(commands)

    def run(self) -> Shard:
        """Start the shard, let it work off what the rings hold, and stop it."""
        self.words[ShardWord.STOP] = 1
        shard = Shard(self.config, self.memory, self.index, self.folder, [-1, -1])
        try:
            shard.run(os.getppid())
        finally:
            self.words[ShardWord.STOP] = 0
            _give_back(shard)
        return shard

    @property
    def heads(self) -> list[int]:
        """How far each ring's slots were given back."""
        return [int(head) for head in self.memory.ring_headers[self.index, :, HEAD_WORD]]

    def reports(self) -> NDArray[Any]:
        """Return all released reports, from the report log's files."""
        return read_reports(self.folder, self.index, self.words)


def _give_back(shard: Shard) -> None:
    """Give back what the end of a process would: threads, addresses, and after a failure the
    lock."""
    if not hasattr(shard, "log"):
        return
    shard.preparer.stop()
    if shard.committer is not None:
        shard.committer.stop()
    for file in (shard.log, shard.reports):
        file.close()
    if shard.words[ShardWord.STATUS] == ProcessStatus.FAILED:
        os.close(shard._lock_fd)


def read_reports(folder: Path, index: int, words: NDArray[np.int64]) -> NDArray[Any]:
    """Return all reports that a shard's words say are released."""
    end, count = int(words[ShardWord.RELEASED_POSITION]), int(words[ShardWord.RELEASED_REPORT])
    file = open_segments(folder, f"shard-{index}-reports")
    assert file is not None
    data = np.frombuffer(file.read(FIRST_BYTE, end) + bytes(256), np.uint8)
    file.close()
    rows = np.zeros(count, REPORT)
    start = int(data.ctypes.data)
    base_ns = int(words[ShardWord.BASE_NS])
    stop = unpack_rows(as_words(rows), 0, count, base_ns, index << SHARD_SHIFT, start)
    assert stop - start == end - FIRST_BYTE
    return rows


def command(**fields: Any) -> NDArray[Any]:
    """Return one command."""
    row = np.zeros(1, COMMAND)
    for name, value in fields.items():
        row[name] = value
    return row

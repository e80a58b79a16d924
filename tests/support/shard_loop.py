"""The shard's loop over arrays, without a process, files or shared memory."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from oracle.book import join_rows

from openoutcry.engine.book import Capacity, create_book
from openoutcry.engine.commit import make_queue
from openoutcry.engine.latency import HISTOGRAM_WORDS, STAGE_ROWS
from openoutcry.engine.log import BATCH_OK, as_words, read_batch
from openoutcry.engine.loop import BATCH_COMMANDS, run_shard
from openoutcry.engine.pack import FIRST_BYTE, MAX_PACKED_BYTES, unpack_rows
from openoutcry.engine.records import COMMAND, DEPTH_LEVEL, REPORT
from openoutcry.engine.ring import HEAD_WORD, HEADER_WORDS, TAIL_WORD
from openoutcry.engine.state import SHARD_WORDS, STAMP_RECORDS, Durability, LoopExit, ShardWord

#: As a shard's process sizes its buffer.
SPARE = 4096
SEGMENT_BYTES = 1 << 20


class Loop:
    """A shard's memory; its report log grows by segments, as the process lets it grow."""

    def __init__(
        self,
        capacity: Capacity,
        ring_records: int = 1 << 17,
        durability: Durability = Durability.PROCESS,
        rings: int = 1,
        queue: int = 16,
    ) -> None:
        self.capacity = capacity
        self.book = create_book(capacity)
        self.state = np.zeros(SHARD_WORDS, np.int64)
        self.state[ShardWord.REPORT_POSITION] = FIRST_BYTE
        self.headers = np.zeros((rings, HEADER_WORDS), np.int64)
        self.records = np.zeros((rings, ring_records), COMMAND)
        self.log = np.zeros(16 << 20, np.int64)
        self.fresh = np.zeros(2 * capacity.open_orders + SPARE, REPORT)
        self.report_log = np.zeros(64 << 20, np.uint8)
        self.mapped = SEGMENT_BYTES
        self.stamps = np.zeros((STAMP_RECORDS, 2), np.int64)
        self.counters = np.zeros(1024, np.int64)
        self.histograms = np.zeros((STAGE_ROWS, HISTOGRAM_WORDS), np.int64)
        self.levels = np.zeros((2, 8), DEPTH_LEVEL)
        self.positions = np.zeros(rings, np.int64)
        self.durability = durability
        self.queue = make_queue(queue)
        self.exits: list[int] = []
        #: Commands as the loop sequenced them.
        self.sent: list[Any] = []

    def put(self, commands: NDArray[Any], ring: int = 0) -> None:
        """Put commands into a ring."""
        tail = int(self.headers[ring, TAIL_WORD])
        rows = (tail + np.arange(len(commands))) & (self.records.shape[1] - 1)
        self.records[ring, rows] = commands
        self.headers[ring, TAIL_WORD] = tail + len(commands)

    def run(self) -> NDArray[Any]:
        """Run until the ring is empty, mapping what the loop asks for; return the new reports."""
        first, start = (
            int(self.state[word]) for word in (ShardWord.REPORT_SEQ, ShardWord.REPORT_POSITION)
        )
        self.state[ShardWord.STOP] = 1
        code = None
        while code != LoopExit.STOPPED:
            code = self.call()
            self.exits.append(code)
            assert code in (LoopExit.REPORT_SEGMENT, LoopExit.STOPPED, LoopExit.TICK)
            if code == LoopExit.REPORT_SEGMENT:
                wanted = int(self.state[ShardWord.REPORT_BYTES_WANTED]) + 2 * MAX_PACKED_BYTES
                assert wanted > self.mapped - MAX_PACKED_BYTES
                while self.mapped < wanted:
                    self.mapped += SEGMENT_BYTES
        count = int(self.state[ShardWord.REPORT_SEQ]) - first
        rows = np.zeros(count + 1, REPORT)
        address = int(self.report_log.ctypes.data)
        end = unpack_rows(as_words(rows), 0, count, 0, 0, address + start)
        assert end - address == self.state[ShardWord.REPORT_POSITION]
        assert self.state[ShardWord.RELEASED_REPORT] == self.state[ShardWord.REPORT_SEQ]
        assert (self.headers[:, HEAD_WORD] == self.headers[:, TAIL_WORD]).all()
        return rows[:count]

    def call(self, duration_ns: int = 50_000_000) -> int:
        """Run the loop once."""
        return run_shard(
            self.book,
            int(self.state.ctypes.data),
            int(self.headers.ctypes.data),
            self.records,
            as_words(self.records),
            self.log,
            len(self.log),
            self.fresh,
            as_words(self.fresh),
            int(self.report_log.ctypes.data),
            min(self.mapped, len(self.report_log)) - MAX_PACKED_BYTES,
            self.positions,
            np.zeros(0, np.int64),
            np.zeros(0, np.int64),
            self.stamps,
            self.counters,
            self.histograms,
            self.levels,
            duration_ns,
            0,
            self.durability,
            self.queue,
        )

    def logged(self) -> NDArray[Any]:
        """Read the command log back."""
        read: list[Any] = []
        position = 0
        commands, header = np.zeros(BATCH_COMMANDS, COMMAND), np.zeros(8, np.int64)
        while True:
            code, count, position = read_batch(
                self.log, position, len(self.log), as_words(commands), header
            )
            if code != BATCH_OK:
                return join_rows(read, COMMAND)
            read.append(commands[:count].copy())

"""A shared-memory folder such as a running venue has, filled by hand."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from openoutcry.config.jit import kernel
from openoutcry.engine.enums import CommandKind, RejectReason, ReportKind
from openoutcry.engine.latency import (
    GatewayCounter,
    GatewayStage,
    Metrics,
    Pool,
    Protocol,
    Role,
    ShardCounter,
    ShardStage,
    SupervisorCounter,
    add,
    open_metrics,
)
from openoutcry.engine.ring import HEAD_WORD, TAIL_WORD
from openoutcry.engine.state import ShardWord
from openoutcry.server.memory import VenueMemory
from openoutcry.server.processes import ProcessState, ProcessWord


@kernel
def add_all(histograms: NDArray[np.int64], row: int, values: NDArray[np.int64]) -> None:
    for value in values:
        add(histograms, row, value)


class VenueFolder:
    """One gateway, two shards, and a supervisor that says ready."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.memory = VenueMemory.create(folder, 2, 1, 64, 64)
        self.supervisor = open_metrics(folder, Role.SUPERVISOR)
        self.gateway = open_metrics(folder, Role.GATEWAY)
        self.shards = [open_metrics(folder, Role.SHARD, index) for index in range(2)]

    def fill(self) -> None:
        """Write values that are all different."""
        self.memory.venue[0] = 1
        self.memory.processes[:, ProcessWord.STATE] = ProcessState.RUNNING
        self.memory.processes[1, ProcessWord.RESTARTS] = 2
        self.supervisor.counters[SupervisorCounter.DAY_ENDS] = 3
        for index, shard in enumerate(self.shards):
            counters = shard.counters
            counters[ShardCounter.COMMANDS + CommandKind.NEW] = 100 + index
            counters[ShardCounter.COMMANDS + CommandKind.CANCEL] = 50 + index
            counters[ShardCounter.REPORTS + ReportKind.NEW] = 90 + index
            counters[ShardCounter.REPORTS + ReportKind.TRADE] = 40 + 2 * index
            counters[ShardCounter.REJECTS + RejectReason.UNKNOWN_ORDER] = 7 + index
            counters[ShardCounter.POOL_USED + Pool.OPEN_ORDERS] = 30 + index
            counters[ShardCounter.POOL_CAPACITY + Pool.OPEN_ORDERS] = 1000
            counters[ShardCounter.LOG_BYTES] = 4096 + index
            self.memory.ring_headers[index, 0, TAIL_WORD] = 25 + index
            self.memory.ring_headers[index, 0, HEAD_WORD] = 20
            self.memory.ring_headers[index, 1, TAIL_WORD] = 1
            words = self.memory.shards[index]
            words[ShardWord.RELEASED_REPORT] = 130
            words[ShardWord.FOLLOWER_PID] = 1
            words[ShardWord.COMMITTED_SEQ] = 1000 + index
            words[ShardWord.FOLLOWED_SEQ] = 990
            words[ShardWord.SNAPSHOT_SEQ] = 900 + index
            words[ShardWord.SNAPSHOT_NS] = 1_800_000_000_500_000_000
            words[ShardWord.SNAPSHOT_LOG_BYTES] = 80_000 + index
            words[ShardWord.SNAPSHOT_BYTES] = 4_000 + index
            words[ShardWord.SNAPSHOT_TOOK_NS] = 250_000_000
            words[ShardWord.SNAPSHOTS_WRITTEN] = 5 + index
            words[ShardWord.SNAPSHOTS_FAILED] = index
            words[ShardWord.SEGMENTS_RELEASED] = 3 + index
            self.gateway.counters[GatewayCounter.REPORTS_READ + index] = 128 - index
            self.observe(shard, ShardStage.MATCH, [250] * 1000 + [80_000])
            self.observe(shard, ShardStage.RING_WAIT, [2_000] * 100)
        counters = self.gateway.counters
        counters[GatewayCounter.SESSIONS + Protocol.FIX] = 3
        counters[GatewayCounter.CONNECTIONS + Protocol.BINARY] = 4
        counters[GatewayCounter.MESSAGES_IN + Protocol.FIX] = 500
        counters[GatewayCounter.BYTES_OUT + Protocol.BINARY] = 12345
        counters[GatewayCounter.REJECTS + RejectReason.UNKNOWN_SYMBOL] = 6
        for stage in GatewayStage:
            self.observe(self.gateway, stage, [1_500, 5_000, 2_000_000, 3_000_000_000])

    @staticmethod
    def observe(metrics: Metrics, stage: int, values: list[int]) -> None:
        """Count durations in ns."""
        add_all(metrics.histograms, stage, np.array(values, np.int64))

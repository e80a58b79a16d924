"""The supervisor's way into a shard: one control ring a shard, written by Python, a few commands a
day."""

import time
from typing import Any

from openoutcry.config.jit import lean_kernel
from openoutcry.engine.atomics import fence_seq_cst, fetch_add, futex_wake, load_acquire
from openoutcry.engine.enums import CommandKind
from openoutcry.engine.ring import free_records, publish, tail_position
from openoutcry.engine.state import SHARD_WORDS, ShardWord
from openoutcry.server.memory import VenueMemory


@lean_kernel
def ring_bell(state: int) -> None:
    """Wake a shard that sleeps."""
    fence_seq_cst()
    if load_acquire(state + ShardWord.SLEEPING * 8) != 0:
        fetch_add(state + ShardWord.DOORBELL * 8, 1)
        futex_wake(state + ShardWord.DOORBELL * 8)


@lean_kernel
def _publish(header: int, tail: int, state: int) -> None:
    publish(header, tail)
    ring_bell(state)


@lean_kernel
def _tail(header: int, capacity: int) -> tuple[int, int]:
    tail = tail_position(header)
    return tail, free_records(header, tail, 1, capacity)


class ControlRing:
    """The control ring of one shard."""

    def __init__(self, memory: VenueMemory, shard: int) -> None:
        ring = memory.ring_count - 1
        self.state = int(memory.shards.ctypes.data) + shard * SHARD_WORDS * 8
        self._header = int(memory.ring_headers[shard, ring].ctypes.data)
        self._rows = memory.commands[shard, ring]

    def send(self, kind: CommandKind, **fields: Any) -> None:
        """Put one command in; fields are COMMAND's.

        Raises:
            TimeoutError: the shard does not take commands.
        """
        deadline = time.monotonic() + 5
        while True:
            tail, free = _tail(self._header, len(self._rows))
            if free > 0:
                break
            if time.monotonic() > deadline:
                raise TimeoutError("the shard's control ring is full")
            time.sleep(0.001)
        row = self._rows[tail & (len(self._rows) - 1)]
        for name in row.dtype.names or ():
            row[name] = b"" if row.dtype[name].kind == "S" else 0
        row["kind"] = kind
        row["symbol"] = -1
        for name, value in fields.items():
            row[name] = value
        _publish(self._header, int(tail) + 1, self.state)

    def wake(self) -> None:
        """Wake the shard, so that it looks at its stop word."""
        ring_bell(self.state)

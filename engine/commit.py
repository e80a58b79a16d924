"""Batches that are executed, but not yet on the disk (`durability: power`), and what the shard and
its syncing thread tell each other.

The shard runs ahead: it appends a batch, matches it and packs its reports, notes in a queue how far
each of its cursors got, and takes the next one. The thread syncs the log and stores how many bytes
of it are on the disk. Only what such a batch led to is released then: reports, events, and the
ring's slots, which hold the commands for as long as the disk may not.
"""

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from openoutcry.config.jit import inline_kernel, lean_kernel
from openoutcry.engine.atomics import (
    CLOCK_MONOTONIC,
    clock_ns,
    fence_seq_cst,
    fetch_add,
    futex_wait,
    futex_wake,
    load32_acquire,
    load_acquire,
    store_release,
)
from openoutcry.engine.ring import HEADER_BYTES, release
from openoutcry.engine.state import ShardWord

#: Batches that may be under way to the disk; a power of two.
QUEUE_BATCHES = 4096


class Queued(IntEnum):
    """Columns of the queue's rows from 1 on: where things stand behind a batch."""

    LOG_BYTES = 0
    SEQ = 1
    RING = 2
    RING_POSITION = 3
    REPORT_SEQ = 4
    REPORT_POSITION = 5
    EVENT_SEQ = 6


class QueueWord(IntEnum):
    """Columns of the queue's row 0."""

    #: The first batch that is not released, and the next to be queued, counted since the start.
    FIRST = 0
    NEXT = 1
    #: Number of the depth request that was answered last, and the log's bytes that must be on the
    #: disk before the answer may be told.
    DEPTH_REQUEST = 2
    DEPTH_LOG_BYTES = 3


QUEUE_COLUMNS = 8


def make_queue(batches: int = QUEUE_BATCHES) -> NDArray[np.int64]:
    """Return an empty queue."""
    return np.zeros((batches + 1, QUEUE_COLUMNS), np.int64)


@inline_kernel
def _row(queue: NDArray[np.int64], batch: int) -> int:
    return 1 + (batch & (len(queue) - 2))


@lean_kernel
def queued_batches(queue: NDArray[np.int64]) -> int:
    """Return how many batches wait for the disk."""
    return queue[0, QueueWord.NEXT] - queue[0, QueueWord.FIRST]


@lean_kernel
def oldest_bytes(queue: NDArray[np.int64]) -> int:
    """Return how much of the log must be on the disk for the next release; -1: nothing waits."""
    first = queue[0, QueueWord.FIRST]
    if first == queue[0, QueueWord.NEXT]:
        return -1
    return queue[_row(queue, first), Queued.LOG_BYTES]


@lean_kernel
def enqueue(
    queue: NDArray[np.int64],
    log_bytes: int,
    seq: int,
    ring: int,
    ring_position: int,
    report_seq: int,
    report_position: int,
    event_seq: int,
) -> None:
    """Note a batch that is executed; there must be room."""
    batch = queue[0, QueueWord.NEXT]
    row = _row(queue, batch)
    queue[row, Queued.LOG_BYTES] = log_bytes
    queue[row, Queued.SEQ] = seq
    queue[row, Queued.RING] = ring
    queue[row, Queued.RING_POSITION] = ring_position
    queue[row, Queued.REPORT_SEQ] = report_seq
    queue[row, Queued.REPORT_POSITION] = report_position
    queue[row, Queued.EVENT_SEQ] = event_seq
    queue[0, QueueWord.NEXT] = batch + 1


@lean_kernel
def release_synced(
    state: int, headers: int, queue: NDArray[np.int64], stamps: NDArray[np.int64]
) -> bool:
    """Release what came of the batches that are on the disk; return whether there were any.

    Their reports' release stamps are set anew: matched they were before.
    """
    synced = load_acquire(state + ShardWord.SYNCED_BYTES * 8)
    first, stop = queue[0, QueueWord.FIRST], queue[0, QueueWord.NEXT]
    batch = first
    while batch < stop and queue[_row(queue, batch), Queued.LOG_BYTES] <= synced:
        batch += 1
    if batch == first:
        return False
    last = _row(queue, batch - 1)
    report_seq = queue[last, Queued.REPORT_SEQ]
    now = clock_ns(CLOCK_MONOTONIC)
    mask = len(stamps) - 1
    released = load_acquire(state + ShardWord.RELEASED_REPORT * 8)
    for report in range(max(released, report_seq - len(stamps)) + 1, report_seq + 1):
        stamps[report & mask, 1] = now
    store_release(state + ShardWord.COMMITTED_SEQ * 8, queue[last, Queued.SEQ])
    store_release(state + ShardWord.RELEASED_POSITION * 8, queue[last, Queued.REPORT_POSITION])
    store_release(state + ShardWord.RELEASED_REPORT * 8, report_seq)
    store_release(state + ShardWord.EVENT_SEQ * 8, queue[last, Queued.EVENT_SEQ])
    for done in range(first, batch):
        row = _row(queue, done)
        header = headers + queue[row, Queued.RING] * HEADER_BYTES
        release(header, queue[row, Queued.RING_POSITION])
    queue[0, QueueWord.FIRST] = batch
    return True


# --- the syncing thread ---------------------------------------------------------------------------


@lean_kernel
def await_appended(state: int, synced: int, timeout_ns: int) -> int:
    """Syncing thread: sleep until the log is longer than `synced` bytes, or the time is over;
    return its length."""
    length = load_acquire(state + ShardWord.LOG_BYTES * 8)
    if length > synced:
        return length
    bell = state + ShardWord.SYNC_BELL * 8
    seen = load32_acquire(bell)
    store_release(state + ShardWord.SYNC_SLEEPING * 8, 1)
    # The flag before the second look, as in engine.loop: one of the two sees the other.
    fence_seq_cst()
    length = load_acquire(state + ShardWord.LOG_BYTES * 8)
    if length <= synced:
        futex_wait(bell, seen, timeout_ns)
        length = load_acquire(state + ShardWord.LOG_BYTES * 8)
    store_release(state + ShardWord.SYNC_SLEEPING * 8, 0)
    return length


@lean_kernel
def tell_appended(state: int) -> None:
    """Shard: wake the syncing thread if it sleeps; LOG_BYTES is stored."""
    fence_seq_cst()
    if load_acquire(state + ShardWord.SYNC_SLEEPING * 8) != 0:
        fetch_add(state + ShardWord.SYNC_BELL * 8, 1)
        futex_wake(state + ShardWord.SYNC_BELL * 8)


@lean_kernel
def tell_synced(state: int, length: int) -> None:
    """Syncing thread: tell how many bytes are on the disk, and wake the shard if it sleeps."""
    store_release(state + ShardWord.SYNCED_BYTES * 8, length)
    fence_seq_cst()
    if load_acquire(state + ShardWord.SLEEPING * 8) != 0:
        fetch_add(state + ShardWord.DOORBELL * 8, 1)
        futex_wake(state + ShardWord.DOORBELL * 8)

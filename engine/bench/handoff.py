"""Matching with its reports handed to another core: what the timed runs of the engine consist of.

One thread executes commands and has the book write its reports straight into a ring of REPORT rows;
another thread, on a core of its own, reads every word of each report as it comes. Both are compiled
kernels that hold no lock. A run is over when the last report has been read.

A command's reports lie in adjacent rows: where the rest of the ring is too short for those that the
next command may need, a row with report_seq 0 ends the lap, and the next one begins at row 0.
"""

import os
import threading
import time
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from openoutcry.config.jit import int64, lean_kernel
from openoutcry.engine.atomics import CLOCK_MONOTONIC, clock_ns, cpu_pause, load_acquire
from openoutcry.engine.book import Book
from openoutcry.engine.match import command_tags, process_batch, process_command, reports_needed
from openoutcry.engine.records import REPORT
from openoutcry.engine.ring import (
    HEADER_WORDS,
    available_records,
    free_records,
    head_position,
    header_address,
    publish,
    release,
    tail_position,
)
from openoutcry.engine.words import wrap_add, wrap_mul

#: Rows of the ring: what a sweep of the deepest scenario needs, and small enough for a cache.
RING_ROWS = 1 << 14
#: Commands executed between two publications.
BATCH = 64
_WORDS = REPORT.itemsize // 8


class RingTooSmallError(ValueError):
    """A command may yield more reports than the ring has rows."""


@lean_kernel
def _make_room(ring: NDArray[Any], header: int, tail: int, needed: int) -> int:
    """Wait until so many adjacent rows are free, ending the lap if need be; return where."""
    rows = len(ring)
    row = tail & (rows - 1)
    if row + needed > rows:
        while free_records(header, tail, 1, rows) < 1:
            cpu_pause()
        ring[row]["report_seq"] = 0
        tail += rows - row
        publish(header, tail)
    while free_records(header, tail, needed, rows) < needed:
        cpu_pause()
    return tail


@lean_kernel
def match_into_ring(
    book: Book,
    commands: NDArray[Any],
    first: int,
    stop: int,
    ring: NDArray[Any],
    header: int,
    report_seq: int,
    batch: int,
) -> int:
    """Execute commands first … stop - 1, with their reports into the ring, published `batch`
    commands at a time.

    Return the last report's number, or -1 at a command whose reports the ring could never hold.
    """
    rows = len(ring)
    tail = tail_position(header)
    i = first
    while i < stop:
        end = min(i + batch, stop)
        row = tail & (rows - 1)
        room = min(free_records(header, tail, rows - row, rows), rows - row)
        done, last = process_batch(
            book, commands, i, end, ring, report_seq + 1 - row, report_seq, report_seq + room
        )
        tail += last - report_seq
        publish(header, tail)
        report_seq = last
        i = done
        if done < end:
            needed = reports_needed(book, commands, done)
            if needed > rows:
                return int64(-1)
            tail = _make_room(ring, header, tail, needed)
    return report_seq


@lean_kernel
def time_each(
    book: Book,
    commands: NDArray[Any],
    first: int,
    stop: int,
    ring: NDArray[Any],
    header: int,
    interval_ns: int,
    is_idle: bool,
    nanoseconds: NDArray[Any],
) -> int:
    """Execute commands one by one, each published by itself, and note each one's time.

    With an interval, a command is due that long after the one before it, and its time is from then
    to its last report; without one, it is from one clock reading to the next. `is_idle` leaves the
    commands out: what is noted then are the machine's own stalls. Return the last report's number,
    or -1 at a command whose reports the ring could never hold.
    """
    rows = len(ring)
    report_seq = int64(0)
    tail = tail_position(header)
    now = clock_ns(CLOCK_MONOTONIC)
    due = now
    for i in range(first, stop):
        if interval_ns > 0:
            due += interval_ns
            now = clock_ns(CLOCK_MONOTONIC)
            while now < due:
                now = clock_ns(CLOCK_MONOTONIC)
        else:
            due = now
        if not is_idle:
            needed = reports_needed(book, commands, i)
            if needed > rows:
                return int64(-1)
            if (tail & (rows - 1)) + needed > rows or (
                free_records(header, tail, needed, rows) < needed
            ):
                tail = _make_room(ring, header, tail, needed)
            base = report_seq + 1 - (tail & (rows - 1))
            tag, own = command_tags(book, commands, i)
            last = process_command(book, commands, i, tag, own, ring, base, report_seq)
            tail += last - report_seq
            report_seq = last
            publish(header, tail)
            now = clock_ns(CLOCK_MONOTONIC)
        nanoseconds[i - first] = now - due
    return report_seq


@lean_kernel
def clock_cost(nanoseconds: NDArray[Any]) -> None:
    """Note the time between two clock readings with nothing in between."""
    before = clock_ns(CLOCK_MONOTONIC)
    for i in range(len(nanoseconds)):
        after = clock_ns(CLOCK_MONOTONIC)
        nanoseconds[i] = after - before
        before = after


@lean_kernel
def _drain(words: NDArray[Any], header: int, is_over: int) -> tuple[int, int]:
    """Read reports (rows of 64-bit words) until the word at address `is_over` is set and none is
    left; return how many, and a hash of their words."""
    rows = len(words)
    head = head_position(header)
    count = int64(0)
    hashed = int64(0)
    while True:
        # In this order: what was published before the end is seen after it.
        over = load_acquire(is_over)
        ready = available_records(header, head, 1)
        if ready == 0:
            if over != 0:
                return count, hashed
            cpu_pause()
        for _ in range(ready):
            row = head & (rows - 1)
            if words[row, 0] == 0:
                head += rows - row
                break
            total = int64(0)
            for word in range(_WORDS):
                total = wrap_add(total, words[row, word])
            hashed = wrap_add(wrap_mul(hashed, 31), total)
            head += 1
            count += 1
        if ready > 0:
            release(header, head)


def two_cores() -> tuple[int, int] | None:
    """Return two cores that this process may use, or None where there is no such choice."""
    if not hasattr(os, "sched_getaffinity"):
        return None
    cores = sorted(os.sched_getaffinity(0))
    return (cores[0], cores[-1]) if len(cores) > 1 else None


class Drained(NamedTuple):
    """What the reading side got."""

    reports: int
    hash: int


class Drain:
    """A ring of reports and the thread that reads them, for one run.

    A context manager: the caller runs on a core of its own inside. `finish` waits for the last
    report to be read.
    """

    def __init__(self, rows: int = RING_ROWS) -> None:
        self.ring: NDArray[Any] = np.zeros(rows, REPORT)
        headers = np.zeros(2 * HEADER_WORDS, np.int64)
        # The header's pairs of cache lines want to begin on one.
        start = -headers.ctypes.data % 128 // 8
        self._headers = headers[start : start + HEADER_WORDS].reshape(1, HEADER_WORDS)
        self.header = header_address(self._headers, 0)
        self._is_over = np.zeros(1, np.int64)
        self._result: list[Drained] = []
        self._cores = two_cores()
        self._allowed = os.sched_getaffinity(0) if self._cores else set()
        self._thread = threading.Thread(target=self._read, daemon=True)

    def _read(self) -> None:
        if self._cores:
            os.sched_setaffinity(0, {self._cores[1]})
        words = self.ring.view(np.int64).reshape(len(self.ring), _WORDS)
        count, hashed = _drain(words, self.header, self._is_over.ctypes.data)
        self._result.append(Drained(int(count), int(hashed)))

    def __enter__(self) -> Self:
        self._thread.start()
        if self._cores:
            os.sched_setaffinity(0, {self._cores[0]})
        # The reader is to be in its loop when the clock starts.
        time.sleep(0.02)
        return self

    def finish(self, last: int) -> Drained:
        """Wait until all is read; `last` is what the matching kernel returned.

        Raises: RingTooSmallError: it stopped at a command that may need more rows.
        """
        self._is_over[0] = 1
        self._thread.join()
        if last < 0:
            raise RingTooSmallError(
                f"a command may yield more than the {len(self.ring)} reports that the ring holds"
            )
        return self._result[0]

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._is_over[0] = 1
        self._thread.join()
        if self._cores:
            os.sched_setaffinity(0, self._allowed)

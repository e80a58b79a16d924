"""Matching with its reports handed to another core: what the timed runs of the engine consist of.

One thread executes commands and has the book write its reports straight into a ring of REPORT rows
in memory; another thread, on a core of its own, reads every word of each report as it comes. A run
is over when the last report has been read. Both are compiled kernels that hold no lock.

A command's reports lie in adjacent rows: where the rest of the ring is too short for those that the
next command may need, a row with report_seq 0 ends the lap, and the next one begins at row 0.
"""

import os
import threading
import time
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from openoutcry.config.jit import int64, lean_kernel
from openoutcry.engine.atomics import cpu_pause, load_acquire
from openoutcry.engine.book import Book
from openoutcry.engine.log import as_words
from openoutcry.engine.match import process_batch, reports_needed
from openoutcry.engine.records import REPORT
from openoutcry.engine.ring import (
    HEADER_WORDS,
    available_records,
    free_records,
    header_address,
    head_position,
    publish,
    release,
    tail_position,
)
from openoutcry.engine.words import wrap_add, wrap_mul

#: Rows of the ring.
RING_ROWS = 1 << 14
#: Commands executed between two publications.
BATCH = 64
_WORDS = REPORT.itemsize // 8


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
    """Execute commands first … stop - 1, their reports into the ring; return the last report's
    number, or -1 for a command whose reports the ring could never hold."""
    rows = len(ring)
    tail = tail_position(header)
    i = first
    while i < stop:
        end = min(i + batch, stop)
        row = tail & (rows - 1)
        room = free_records(header, tail, rows - row, rows)
        base = report_seq + 1 - row
        done, last = process_batch(
            book, commands, i, end, ring, base, report_seq, report_seq + min(room, rows - row)
        )
        tail += last - report_seq
        publish(header, tail)
        report_seq = last
        i = done
        if done == end:
            continue
        needed = reports_needed(book, commands, done)
        if needed > rows:
            return int64(-1)
        row = tail & (rows - 1)
        if row + needed > rows:
            ring[row]["report_seq"] = 0
            tail += rows - row
            publish(header, tail)
        while free_records(header, tail, needed, rows) < needed:
            cpu_pause()
    return report_seq


@lean_kernel
def drain_ring(words: NDArray[Any], header: int, total: int, is_over: int) -> tuple[int, int]:
    """Read reports (rows of 64-bit words) until the word at address `is_over` is set and none is
    left; return how many, and a hash of their words in order."""
    rows = len(words)
    head = head_position(header)
    count = int64(0)
    hashed = int64(0)
    while True:
        over = load_acquire(is_over)
        ready = available_records(header, head, 1)
        if ready == 0:
            if over != 0:
                return count, hashed
            cpu_pause()
            continue
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
        release(header, head)

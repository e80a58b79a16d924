"""`openoutcry bench ring`: what the command ring carries between two processes.

This process produces, a second one consumes; both see one anonymous file. Throughput: COMMAND
records of which every word is written and read, published so many at a time. Round trip: one record
in flight, there over one ring and back over a second. Both sides spin: the figures hold for two
processes with a core each.
"""

import json
import mmap
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from openoutcry.config.jit import lean_kernel
from openoutcry.engine.atomics import CLOCK_MONOTONIC, clock_ns, cpu_pause
from openoutcry.engine.log import as_words
from openoutcry.engine.records import COMMAND
from openoutcry.engine.ring import (
    HEADER_BYTES,
    HEADER_WORDS,
    available_records,
    check_capacity,
    free_records,
    head_position,
    header_address,
    publish,
    release,
    tail_position,
)

#: Published at a time.
BATCHES = (1, 8, 64, 256)
#: A peer that shows nothing for so many pauses (seconds) is gone.
_MOST_PAUSES = 200_000_000
#: The two rings, there and back, and the word behind their headers by which the consumer says that
#: it is ready.
_RINGS = 2
_READY_BYTES = 4096
_HEADERS_AT = _READY_BYTES


@lean_kernel
def _produce(header: int, words: NDArray[np.int64], count: int, batch: int) -> int:
    """Put `count` records into the ring, published `batch` at a time; return how many went in."""
    capacity = len(words)
    mask = capacity - 1
    tail = tail_position(header)
    first = tail
    pauses = 0
    while tail - first < count:
        wanted = min(batch, count - (tail - first))
        if free_records(header, tail, wanted, capacity) < wanted:
            cpu_pause()
            pauses += 1
            if pauses > _MOST_PAUSES:
                return tail - first
            continue
        pauses = 0
        for position in range(tail, tail + wanted):
            slot = position & mask
            for w in range(words.shape[1]):
                words[slot, w] = position + w
        tail += wanted
        publish(header, tail)
    while head_position(header) < tail:
        cpu_pause()
        pauses += 1
        if pauses > _MOST_PAUSES:
            return head_position(header) - first
    return count


@lean_kernel
def _consume(header: int, words: NDArray[np.int64], count: int) -> int:
    """Take `count` records out, reading every word; return how many were there and right."""
    mask = len(words) - 1
    head = head_position(header)
    stop = head + count
    right = 0
    pauses = 0
    while head < stop:
        ready = min(available_records(header, head, 1), stop - head)
        if ready <= 0:
            cpu_pause()
            pauses += 1
            if pauses > _MOST_PAUSES:
                return right
            continue
        pauses = 0
        for position in range(head, head + ready):
            slot = position & mask
            wrong = 0
            for w in range(words.shape[1]):
                wrong |= words[slot, w] ^ (position + w)
            if wrong == 0:
                right += 1
        head += ready
        release(header, head)
    return right


@lean_kernel
def _await(header: int, head: int) -> int:
    """Spin until a record lies at `head`; return 0 where none came."""
    pauses = 0
    while available_records(header, head, 1) <= 0:
        cpu_pause()
        pauses += 1
        if pauses > _MOST_PAUSES:
            return 0
    return 1


@lean_kernel
def _ping(
    there: int, back: int, out: NDArray[np.int64], answers: NDArray[np.int64], ns: NDArray[np.int64]
) -> int:
    """Send one record at a time and await its answer; return how many came back right."""
    mask = len(out) - 1
    right = 0
    for n in range(len(ns)):
        tail = tail_position(there)
        head = head_position(back)
        before = clock_ns(CLOCK_MONOTONIC)
        for w in range(out.shape[1]):
            out[tail & mask, w] = n + w
        publish(there, tail + 1)
        if _await(back, head) == 0:
            return right
        word = answers[head & mask, 1]
        release(back, head + 1)
        ns[n] = clock_ns(CLOCK_MONOTONIC) - before
        if word == n + 1:
            right += 1
    return right


@lean_kernel
def _pong(
    there: int, back: int, asked: NDArray[np.int64], out: NDArray[np.int64], count: int
) -> int:
    """Answer `count` records with a copy of each; return how many came."""
    mask = len(out) - 1
    for n in range(count):
        head = head_position(there)
        if _await(there, head) == 0:
            return n
        tail = tail_position(back)
        for w in range(out.shape[1]):
            out[tail & mask, w] = asked[head & mask, w]
        release(there, head + 1)
        publish(back, tail + 1)
    return count


class _Rings:
    """Two rings over a file that two processes map."""

    def __init__(self, fd: int, capacity: int) -> None:
        headers = _RINGS * HEADER_BYTES
        size = _READY_BYTES + headers + _RINGS * capacity * COMMAND.itemsize
        if os.fstat(fd).st_size < size:
            os.ftruncate(fd, size)
        self._memory = mmap.mmap(fd, size)
        self.ready = np.frombuffer(self._memory, np.int64, 1)
        self._headers = np.frombuffer(
            self._memory, np.int64, _RINGS * HEADER_WORDS, _HEADERS_AT
        ).reshape(_RINGS, HEADER_WORDS)
        records = np.frombuffer(
            self._memory, COMMAND, _RINGS * capacity, _HEADERS_AT + headers
        ).reshape(_RINGS, capacity)
        self.words = as_words(records)
        self.there, self.back = (header_address(self._headers, ring) for ring in range(_RINGS))


def consume(fd: int, capacity: int, count: int, runs: int, trips: int) -> None:
    """Be the second process: take `count` records, over and over, then answer `trips`."""
    rings = _Rings(fd, capacity)
    # Compiled, or loaded, before the first process takes the time.
    _consume(rings.there, rings.words[0], 0)
    _pong(rings.there, rings.back, rings.words[0], rings.words[1], 0)
    rings.ready[0] = 1
    for _ in range(runs * len(BATCHES)):
        right = _consume(rings.there, rings.words[0], count)
        if right != count:
            raise SystemExit(f"{right} of {count} records came over whole")
    if _pong(rings.there, rings.back, rings.words[0], rings.words[1], trips) != trips:
        raise SystemExit("the producer is gone")


def _speed(rings: _Rings, records: int, batch: int) -> float:
    started = time.perf_counter_ns()
    done = _produce(rings.there, rings.words[0], records, batch)
    elapsed = time.perf_counter_ns() - started
    if done != records:
        raise RuntimeError(f"{done} of {records} records were taken")
    return records * 1e9 / elapsed


def bench_ring(
    capacity: int = 16_384, records: int = 1_000_000, runs: int = 5, trips: int = 200_000
) -> dict[str, Any]:
    """Run the benchmark; return records a second by batch size, and round-trip percentiles in ns.

    The speeds are medians of `runs`, each of `records`.

    Raises:
        RuntimeError: the second process failed, or a record came over wrong.
    """
    check_capacity(capacity)
    folder = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryFile(dir=folder) as file:
        fd = file.fileno()
        rings = _Rings(fd, capacity)
        _produce(rings.there, rings.words[0], 0, 1)
        ns = np.zeros(trips, np.int64)
        _ping(rings.there, rings.back, rings.words[0], rings.words[1], ns[:0])
        arguments = f"{fd}, {capacity}, {records}, {runs}, {trips}"
        code = f"from openoutcry.engine.bench.ring import consume; consume({arguments})"
        with subprocess.Popen([sys.executable, "-c", code], pass_fds=[fd]) as consumer:
            try:
                while not rings.ready[0]:
                    if consumer.poll() is not None:
                        raise RuntimeError("the consumer did not start")
                    time.sleep(0.005)
                speeds: dict[int, list[float]] = {batch: [] for batch in BATCHES}
                for _ in range(runs):
                    for batch, found in speeds.items():
                        found.append(_speed(rings, records, min(batch, capacity)))
                right = _ping(rings.there, rings.back, rings.words[0], rings.words[1], ns)
                if right != trips:
                    raise RuntimeError(f"{right} of {trips} records came back right")
            except BaseException:
                consumer.kill()
                raise
            if consumer.wait(30):
                raise RuntimeError("the consumer found records that were not whole")
    points = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p999": 99.9, "max": 100.0}
    return {
        "record_bytes": COMMAND.itemsize,
        "capacity": capacity,
        "records": records,
        "runs": runs,
        "records_per_s": {str(batch): statistics.median(found) for batch, found in speeds.items()},
        "round_trips": trips,
        "round_trip_ns": {name: int(np.percentile(ns, at)) for name, at in points.items()},
    }


@click.command()
@click.option("--capacity", type=click.IntRange(2), default=16_384, show_default=True)
@click.option("--records", type=click.IntRange(1), default=1_000_000, show_default=True)
@click.option("--runs", type=click.IntRange(1, 99), default=5, show_default=True)
@click.option("--trips", type=click.IntRange(1), default=200_000, show_default=True)
@click.option("--json", "json_file", type=click.Path(dir_okay=False), help="Write the result.")
def ring(capacity: int, records: int, runs: int, trips: int, json_file: str | None) -> None:
    """Measure the command ring between two processes: records a second, and the round trip.

    The speeds are medians of all runs.
    """
    try:
        result = bench_ring(capacity, records, runs, trips)
    except (RuntimeError, ValueError) as error:
        raise click.ClickException(str(error)) from None
    size = result["record_bytes"]
    for batch, speed in result["records_per_s"].items():
        click.echo(
            f"published {batch:>3} at a time   {speed / 1e6:6.1f} M records/s of {size} bytes"
        )
    trip = result["round_trip_ns"]
    click.echo("round trip            " + "  ".join(f"{k} {v}" for k, v in trip.items()) + " ns")
    if json_file:
        text = json.dumps(result, indent=2) + "\n"
        if json_file == "-":
            click.echo(text, nl=False)
        else:
            Path(json_file).write_text(text, "utf-8")

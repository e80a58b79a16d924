"""`openoutcry bench snapshot`: what a snapshot costs matching, and how long it takes beside it.

A real shard process and its follower over a data directory; this process plays the gateway and puts
new orders and as many cancels into the command ring, in an open loop. Spells with a snapshot and
equally long ones without take turns. The stall is the shard's own count: the longest that commands
lay in the ring while it began no batch.
"""

import json
import os
import signal
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from openoutcry.config.jit import kernel
from openoutcry.config.system import file_system, machine
from openoutcry.engine.api import cancels, new_orders
from openoutcry.engine.atomics import CLOCK_MONOTONIC, clock_ns, futex_wait
from openoutcry.engine.enums import Side
from openoutcry.engine.log import as_words
from openoutcry.engine.records import COMMAND
from openoutcry.engine.ring import free_records, publish, tail_position
from openoutcry.engine.state import ProcessStatus, ShardWord
from openoutcry.server.config import Capacity, Config, Log, Snapshots
from openoutcry.server.control import ring_bell
from openoutcry.server.memory import VenueMemory
from openoutcry.server.process import wait_until

#: What the median of the stalls and of the snapshots' durations may be.
TARGET_STALL_MS = 1.0
TARGET_SNAPSHOT_S = 1.0

#: The ring is filled at this pace: about what a gateway does with a socket's chunk.
_PACE_NS = 100_000
#: After a snapshot the follower reads it back and removes the oldest; that belongs to its cost.
_AFTER_S = 0.5
_BETWEEN_S = 0.25
_TIMEOUT_S = 120.0
_LEVELS = 5_000
_MIDDLE = 100_000

_fields = COMMAND.fields
assert _fields is not None
_INBOUND = _fields["inbound_seq"][1] // 8
_PRICE = _fields["price_ticks"][1] // 8
_ID = _fields["id0"][1] // 8
_ORIG = _fields["orig0"][1] // 8
_RING_NS = _fields["ring_ns"][1] // 8

#: Words of a plan: orders sent and cancelled, commands sent, and since when at the present pace.
_NEW, _GONE, _SENT, _PACED, _SINCE_NS, _BELL = range(6)


@kernel
def feed(
    header: int,
    state: int,
    ring: NDArray[np.int64],
    orders: NDArray[np.int64],
    cancel: NDArray[np.int64],
    plan: NDArray[np.int64],
    rate: int,
    fill: int,
    stop_ns: int,
) -> None:
    """Put commands into a ring until a time, or until `fill` orders are in (0: no such end).

    Args:
        header, state: addresses of the ring's header and of the shard's state block.
        ring: the ring's commands as (capacity, 24) words.
        orders: two templates (buy, sell) of a new order; `cancel`: one of a cancel.
        plan: six words, kept between calls.
        rate: commands a second, every second one a cancel of the oldest order; 0: new orders only,
            as fast as they are taken.
    """
    capacity = len(ring)
    bell = plan.ctypes.data + _BELL * 8
    while True:
        now = clock_ns(CLOCK_MONOTONIC)
        if now >= stop_ns or (fill and plan[_NEW] >= fill):
            return
        tail = tail_position(header)
        room = free_records(header, tail, capacity // 2, capacity)
        due = room
        if rate:
            due = (now - plan[_SINCE_NS]) // 1000 * rate // 1_000_000 - plan[_PACED]
        for _ in range(min(due, room)):
            plan[_SENT] += 1
            plan[_PACED] += 1
            row = ring[tail & (capacity - 1)]
            if rate and plan[_SENT] & 1:
                row[:] = cancel
                plan[_GONE] += 1
                row[_ORIG] = 2 * plan[_GONE]
                row[_ID] = 2 * plan[_GONE] + 1
            else:
                plan[_NEW] += 1
                number = plan[_NEW]
                side = number & 1
                row[:] = orders[side]
                depth = (number * 2_654_435_761 >> 8) % _LEVELS
                row[_PRICE] = _MIDDLE + (1 + depth if side else -depth)
                row[_ID] = 2 * number
            row[_INBOUND] = plan[_SENT]
            row[_RING_NS] = now
            tail += 1
            if fill and plan[_NEW] >= fill:
                break
        publish(header, tail)
        ring_bell(state)
        futex_wait(bell, 0, _PACE_NS)


class Feeder:
    """The gateway's part of the bench."""

    def __init__(self, memory: VenueMemory) -> None:
        common: dict[str, Any] = {"session": 1, "epoch": 1, "account": 1, "qty_lots": 100}
        sides = [new_orders(1, side=side, id0=1, **common) for side in (Side.BUY, Side.SELL)]
        self._orders = np.concatenate([as_words(side) for side in sides])
        self._cancel = as_words(cancels(1, id0=1, orig0=1, **common))[0].copy()
        self._plan = np.zeros(6, np.int64)
        self._header = int(memory.ring_headers[0, 0].ctypes.data)
        self._state = int(memory.shards[0].ctypes.data)
        self._ring = memory.command_words()[0, 0]

    def put(self, seconds: float, rate: int = 0, fill: int = 0) -> None:
        """Feed for so long at a rate, or until so many orders are in."""
        stop_ns = time.monotonic_ns() + int(seconds * 1e9)
        templates = (self._orders, self._cancel)
        feed(self._header, self._state, self._ring, *templates, self._plan, rate, fill, stop_ns)

    def pace(self) -> None:
        """Count what is due from now on."""
        self._plan[_PACED] = 0
        self._plan[_SINCE_NS] = time.monotonic_ns()


@contextmanager
def _processes(bodies: list[Callable[[], Any]]) -> Iterator[None]:
    """Run the bodies in processes of their own; end them afterwards whatever happens."""
    pids = []
    for body in bodies:
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                code = int(body() or 0)
            finally:
                os._exit(code)
        pids.append(pid)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


class SnapshotBench:
    """A shard, its follower and their load."""

    def __init__(self, folder: Path, config: Config, rate: int) -> None:
        from openoutcry.server import follower, shard

        capacity = config.capacity
        self.rate = rate
        self._shm = tempfile.TemporaryDirectory(prefix="openoutcry-bench-", dir=config.shm_dir)
        self.memory = VenueMemory.create(
            Path(self._shm.name), 1, 1, capacity.command_ring_records, capacity.event_ring_records
        )
        self.words = self.memory.shards[0]
        self.feeder = Feeder(self.memory)
        self.feeder.put(0.0)
        wakes = [os.eventfd(0)]
        parent = os.getpid()
        self._bodies: list[Callable[[], Any]] = [
            lambda: shard.run_process(config, self.memory, 0, folder, wakes, parent),
            lambda: follower.run_process(config, self.memory, 0, folder, parent),
        ]

    @contextmanager
    def running(self) -> Iterator[None]:
        """Have the two processes run."""
        with self._shm, _processes(self._bodies):
            for word in (ShardWord.STATUS, ShardWord.FOLLOWER_STATUS):
                if not wait_until(lambda w=word: self.words[w] == ProcessStatus.RUNNING, 60.0):
                    raise click.ClickException("the shard or its follower did not come up")
            yield

    def fill(self, orders: int) -> None:
        """Let so many orders rest, and the follower have them all."""
        self.feeder.put(_TIMEOUT_S, fill=orders)
        is_there = wait_until(lambda: self.words[ShardWord.FOLLOWED_SEQ] >= orders, _TIMEOUT_S)
        if not is_there:
            raise click.ClickException(f"the follower has not followed within {_TIMEOUT_S:g} s")
        self.feeder.pace()

    def with_snapshot(self, at_least_s: float) -> dict[str, Any]:
        """Feed while a snapshot is written, and a little longer; return what it took."""
        words = self.words
        self._begin()
        started = time.monotonic()
        words[ShardWord.SNAPSHOT_REQUEST] += 1
        while words[ShardWord.SNAPSHOT_ANSWER] != words[ShardWord.SNAPSHOT_REQUEST]:
            self.feeder.put(0.02, self.rate)
            if time.monotonic() - started > _TIMEOUT_S:
                raise click.ClickException(f"no snapshot within {_TIMEOUT_S:g} s")
        if words[ShardWord.SNAPSHOT_RESULT]:
            raise click.ClickException("a snapshot failed; the log says why")
        until = max(started + at_least_s, time.monotonic() + _AFTER_S)
        self.feeder.put(until - time.monotonic(), self.rate)
        return {
            "stall_ms": self._stall_ms(),
            "spell_s": time.monotonic() - started,
            "snapshot_s": int(words[ShardWord.SNAPSHOT_TOOK_NS]) / 1e9,
            "bytes": int(words[ShardWord.SNAPSHOT_BYTES]),
            "seq": int(words[ShardWord.SNAPSHOT_SEQ]),
        }

    def without(self, seconds: float) -> float:
        """Feed for a spell; return the stall in ms."""
        self._begin()
        self.feeder.put(seconds, self.rate)
        return self._stall_ms()

    def _begin(self) -> None:
        self.feeder.put(_BETWEEN_S, self.rate)
        self.words[ShardWord.LARGEST_GAP_NS] = 0

    def _stall_ms(self) -> float:
        return int(self.words[ShardWord.LARGEST_GAP_NS]) / 1e6


def bench_config(orders: int, finished: int, durability: str) -> Config:
    """Return the configuration of a shard with room for so many orders."""
    return Config(
        capacity=Capacity(
            open_orders=orders + orders // 8 + 1024,
            finished_orders=finished,
            command_ring_records=65536,
        ),
        log=Log(durability=durability),  # type: ignore[arg-type]
        snapshots=Snapshots(every_bytes=None, every_s=None),
    )


def run_bench(
    folder: Path, config: Config, orders: int, rate: int, count: int, spell_s: float
) -> dict[str, Any]:
    """Run the bench in an empty folder; return its figures."""
    from openoutcry.server.warm import warm_kernels

    warm_kernels(lambda: False)
    bench = SnapshotBench(folder, config, rate)
    with_rows: list[dict[str, Any]] = []
    without: list[float] = []
    with bench.running():
        bench.fill(orders)
        bench.without(1.0)
        sent, started = int(bench.words[ShardWord.SEQ]), time.monotonic()
        for number in range(count):
            click.echo(f"snapshot {number + 1} of {count}", err=True)
            with_rows.append(bench.with_snapshot(spell_s))
            without.append(bench.without(with_rows[-1]["spell_s"]))
        reached = (int(bench.words[ShardWord.SEQ]) - sent) / (time.monotonic() - started)
    stalls = [row["stall_ms"] for row in with_rows]
    seconds = [row["snapshot_s"] for row in with_rows]
    return {
        "orders": orders,
        "rate": rate,
        "rate_reached": reached,
        "durability": config.log.durability,
        "snapshots": count,
        "stall_ms": statistics.median(stalls),
        "stall_ms_range": [min(stalls), max(stalls)],
        "stall_ms_without": statistics.median(without),
        "stall_ms_without_range": [min(without), max(without)],
        "snapshot_s": statistics.median(seconds),
        "snapshot_s_range": [min(seconds), max(seconds)],
        "bytes": with_rows[-1]["bytes"],
        "is_within_target": statistics.median(stalls) <= TARGET_STALL_MS
        and statistics.median(seconds) <= TARGET_SNAPSHOT_S,
        "all": [row | {"stall_ms_without": w} for row, w in zip(with_rows, without, strict=True)],
    }


@click.command()
@click.option("--orders", type=click.IntRange(1), default=1_000_000, show_default=True)
@click.option("--finished", type=click.IntRange(1), default=1_000_000, show_default=True)
@click.option("--rate", type=click.IntRange(1), default=200_000, show_default=True)
@click.option("--snapshots", "count", type=click.IntRange(1), default=20, show_default=True)
@click.option("--seconds", type=click.FloatRange(min=0.1), default=2.0, show_default=True)
@click.option("--durability", type=click.Choice(["process", "power"]), default="process")
@click.option("--dir", "place", type=click.Path(exists=True, file_okay=False), help="Where to log.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False), help="Write the result.")
def snapshot(
    orders: int,
    finished: int,
    rate: int,
    count: int,
    seconds: float,
    durability: str,
    place: str | None,
    json_file: str | None,
) -> None:
    """Measure the longest pause of matching while snapshots are written, and without.

    A shard with --orders open orders (and up to --finished finished ones, which a snapshot holds,
    too) takes --rate commands a second, while --snapshots snapshots are written, one in each spell
    of at least --seconds; a spell of the same length without one follows each. Prints medians.
    """
    with tempfile.TemporaryDirectory(prefix="openoutcry-bench-", dir=place) as text:
        folder = Path(text)
        kind = file_system(folder)
        config = bench_config(orders, finished, durability)
        result = run_bench(folder, config, orders, rate, count, seconds)
    result |= {"file_system": kind, "finished": finished, "machine": machine()}
    click.echo(
        f"{orders:,} open orders, {result['rate_reached']:,.0f} commands/s, "
        f"durability {durability}, file system {kind}"
    )
    for name, text in (("stall_ms", "with a snapshot"), ("stall_ms_without", "without")):
        low, high = result[f"{name}_range"]
        click.echo(
            f"longest pause of matching {text:16} median {result[name]:7.3f} ms "
            f"({low:.3f} … {high:.3f}, {count} spells)"
        )
    low, high = result["snapshot_s_range"]
    verdict = "within" if result["is_within_target"] else "beyond"
    click.echo(
        f"a snapshot took {result['snapshot_s']:.2f} s ({low:.2f} … {high:.2f}) and has "
        f"{result['bytes']:,} bytes; {verdict} {TARGET_STALL_MS:g} ms and {TARGET_SNAPSHOT_S:g} s"
    )
    if json_file:
        Path(json_file).write_text(json.dumps(result, indent=2) + "\n")

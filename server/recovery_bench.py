"""`openoutcry bench recovery`: how fast a log is replayed, and a snapshot written and loaded.

The replay: a recorded mixed flow over a book that is filled before (engine.bench.mixes), logged as
a shard logs it in batches of several sizes, then followed by a Replica from the page cache; once
with reports that are only counted, and once with reports written into a report log, whose pages are
there, as after a crash of the shard alone. The snapshot: a book with so many open orders, spread
over symbols and prices, and as many finished ones.
"""

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from openoutcry.config.system import file_system, machine
from openoutcry.engine.api import new_orders
from openoutcry.engine.bench.mixes import open_book
from openoutcry.engine.bench.workloads import Workload, make_workload
from openoutcry.engine.book import Book, Capacity
from openoutcry.engine.enums import CommandKind
from openoutcry.engine.image import load_image
from openoutcry.engine.log import append_batch, as_words, batch_words
from openoutcry.engine.match import process_batch
from openoutcry.engine.pack import MAX_PACKED_BYTES
from openoutcry.engine.records import COMMAND, REPORT
from openoutcry.server.journal import SegmentedFile
from openoutcry.server.replica import FollowResult, LogSink, Replica, ReportSink
from openoutcry.server.snapshots import (
    load_snapshot,
    read_snapshot,
    verify_snapshot,
    write_snapshot,
)

#: Commands of a batch: under load, at an easy pace, and each alone.
BATCHES = (256, 16, 1)
#: What a replay may take, and a snapshot.
TARGET_COMMANDS_PER_S = 3_000_000
TARGET_SNAPSHOT_S = 1.0

_SEGMENT = 64 << 20
_RINGS = 2
_START_NS = 1_700_000_000_000_000_000
_SYMBOLS = 1_000
_CHUNK = 100_000
_HEAD_BATCH = 1_000


def _head(workload: Workload) -> NDArray[Any]:
    """Return the commands that a log begins with: start, sizes, symbols."""
    rows = np.zeros(2 + workload.symbols, COMMAND)
    rows["kind"] = CommandKind.ADD_SYMBOL
    rows["kind"][:2] = CommandKind.START, CommandKind.CAPACITY
    for name, value in zip(
        ("price_ticks", "price2_ticks", "qty_lots", "qty2_lots", "expire_ns"),
        workload.capacity,
        strict=True,
    ):
        rows[name][1] = value
    symbols = rows[2:]
    symbols["symbol"] = np.arange(workload.symbols)
    symbols["price_ticks"], symbols["price2_ticks"] = -(1 << 63), (1 << 63) - 1
    symbols["qty_lots"], symbols["qty2_lots"] = 1, (1 << 63) - 1
    return rows


class _Writer:
    """Logs commands as a shard does, without being one."""

    def __init__(self, folder: Path) -> None:
        self.file = SegmentedFile(folder, "shard-0-commands", _SEGMENT, writable=True)
        self._log = self.file.array(np.int64)
        self._rings = np.zeros(_RINGS, np.int64)
        self.position = 0
        self.seq = 0

    def put(self, commands: NDArray[Any], batch: int) -> None:
        """Log commands in batches of one size; commands are a ring of which all rows are used."""
        ring = np.zeros(1 << max(len(commands) - 1, 1).bit_length(), COMMAND)
        ring[: len(commands)] = commands
        words, mask = as_words(ring), len(ring) - 1
        for head in range(0, len(commands), batch):
            count = min(batch, len(commands) - head)
            self.file.ensure((self.position + batch_words(count, _RINGS)) * 8)
            time_ns = _START_NS + self.seq * 500
            self.position = int(
                append_batch(
                    *(self._log, self.position, words, mask, head, count, self.seq + 1),
                    *(time_ns, 1, 0, self._rings, 0),
                )
            )
            self.seq += count


def _measured(call: Callable[[], Any], runs: int) -> float:
    times = []
    for _ in range(runs):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def _replay(
    folder: Path, warm_up: int, sink: ReportSink | None, runs: int
) -> tuple[float, FollowResult, int]:
    """Follow the log behind its warm-up; return commands/s, the last run's result and report
    bytes."""
    speeds = []
    for _ in range(runs):
        replica = Replica.open(folder, 0)
        replica.follow(max_commands=warm_up, reports=sink)
        started = time.perf_counter()
        result = replica.follow(reports=sink)
        speeds.append(result.commands / (time.perf_counter() - started))
        written = replica.report_bytes
        replica.close()
    return statistics.median(speeds), result, written


def bench_replay(
    workload: Workload, batch: int, runs: int, folder: Path | None = None
) -> dict[str, Any]:
    """Log a workload in batches of one size and replay it; return the figures."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        place = Path(name)
        writer = _Writer(place)
        writer.put(_head(workload), _HEAD_BATCH)
        writer.put(workload.commands, batch)
        logged = 2 + workload.symbols + workload.warm_up
        counted, result, size = _replay(place, logged, None, runs)
        reports = SegmentedFile(place, "shard-0-reports", _SEGMENT, writable=True)
        reports.ensure(size + 2 * MAX_PACKED_BYTES)
        # One round more: the first one finds pages that nobody touched.
        sink = LogSink(reports)
        _replay(place, logged, sink, 1)
        written, _, _ = _replay(place, logged, sink, runs)
        reports.close()
        writer.file.close()
        return {
            "commands": result.commands,
            "reports": result.reports,
            "bytes_per_command": writer.position * 8 / writer.seq,
            "commands_per_s": counted,
            "commands_per_s_writing_reports": written,
        }


def filled_book(orders: int) -> Book:
    """Return a book with so many open orders over 1,000 symbols, and as many finished."""
    book = open_book(Capacity(2 * orders, orders, 2 * orders, _SYMBOLS), _SYMBOLS)
    chooser = np.random.default_rng(1)
    rows = np.zeros(4_096, REPORT)
    total = 2 * orders
    sides, symbols = chooser.integers(1, 3, total), chooser.integers(0, _SYMBOLS, total)
    sessions = chooser.integers(1, 1_000, total)
    gone = np.sort(chooser.permutation(total)[:orders])
    away = 1 + (chooser.pareto(1.5, total) * 20).astype(np.int64) % 300
    seq = _SYMBOLS
    for kind, which in ((CommandKind.NEW, np.arange(total)), (CommandKind.CANCEL, gone)):
        for first in range(0, len(which), _CHUNK):
            part = which[first : first + _CHUNK]
            names = np.char.add(b"ORD-20260801-", np.char.zfill(part.astype("S8"), 8))
            commands = new_orders(len(part), cl_ord_id=names)
            commands["kind"] = kind
            commands["side"], commands["symbol"] = sides[part], symbols[part]
            commands["session"], commands["account"] = sessions[part], sessions[part]
            if kind == CommandKind.CANCEL:
                commands["orig_cl_ord_id"] = names
                commands["cl_ord_id"] = np.char.replace(names, b"ORD", b"CXL")
            commands["price_ticks"] = 10_000 + np.where(sides[part] == 1, -1, 1) * away[part]
            commands["qty_lots"] = 1 + part % 500
            commands["seq"] = np.arange(seq + 1, seq + 1 + len(part))
            commands["time_ns"] = _START_NS + commands["seq"] * 500
            seq += len(part)
            for at in range(0, len(part), 1_000):
                process_batch(book, commands, at, min(at + 1_000, len(part)), rows, 1, 0, 4_096)
    return book


def bench_snapshot(orders: int, runs: int, folder: Path | None = None) -> dict[str, Any]:
    """Write and load snapshots of a book; return the figures."""
    book = filled_book(orders)
    with tempfile.TemporaryDirectory(dir=folder) as name:
        place = Path(name)
        replica = Replica.of_book(place, book)
        path = write_snapshot(place, replica, "BENCH")
        image = read_snapshot(path).image
        return {
            "open_orders": int(book.state[0]["open_orders"]),
            "finished_orders": int(book.state[0]["finished_count"]),
            "levels": int(book.state[0]["levels_used"]),
            "bytes": path.stat().st_size,
            "write_s": _measured(lambda: write_snapshot(place, replica, "BENCH"), runs),
            "verify_s": _measured(lambda: verify_snapshot(path), runs),
            "load_s": _measured(lambda: load_snapshot(read_snapshot(path)), runs),
            "make_book_s": _measured(lambda: load_image(image), runs),
        }


@click.command()
@click.option(
    "--dir",
    "folder",
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    help="Where the files lie. By default the temporary folder.",
)
@click.option("--flow", default="mixed-window", show_default=True, help="As in bench engine.")
@click.option("--commands", type=click.IntRange(1_000), default=2_000_000, show_default=True)
@click.option(
    "--orders",
    type=click.IntRange(1_000),
    default=1_000_000,
    show_default=True,
    help="In the book.",
)
@click.option("--runs", type=click.IntRange(1, 99), default=5, show_default=True)
@click.option("--json", "json_file", type=click.Path(dir_okay=False), help="Write the result.")
def recovery(
    folder: Path | None, flow: str, commands: int, orders: int, runs: int, json_file: str | None
) -> None:
    """Measure replaying a command log, and writing and loading a snapshot. Medians of all runs."""
    try:
        workload = make_workload(flow, commands)
    except KeyError:
        raise click.BadParameter(f"there is no flow {flow!r}: bench engine lists them") from None
    rows = workload.commands
    # What a gateway puts into every command, and the flow leaves out.
    rows["inbound_seq"] = np.arange(len(rows)) + 1
    rows["epoch"], rows["account"], rows["firm"] = 1, 7, 3
    place = folder or Path(tempfile.gettempdir())
    result: dict[str, Any] = {
        "machine": machine(),
        "file_system": file_system(place),
        "flow": flow,
        "replay": {},
    }
    click.echo(f"file system {result['file_system']}, flow {flow}")
    for batch in BATCHES:
        found = result["replay"][str(batch)] = bench_replay(workload, batch, runs, folder)
        click.echo(
            f"replay, batches of {batch:>3}   {found['commands_per_s'] / 1e6:5.2f} M commands/s, "
            f"{found['commands_per_s_writing_reports'] / 1e6:5.2f} M writing reports   "
            f"{found['bytes_per_command']:5.1f} bytes a command"
        )
    snapshot = result["snapshot"] = bench_snapshot(orders, runs, folder)
    click.echo(
        f"snapshot of {snapshot['open_orders']:,} open and {snapshot['finished_orders']:,} "
        f"finished orders   {snapshot['bytes'] / 1e6:.0f} MB   "
        f"write {snapshot['write_s']:.2f} s, load {snapshot['load_s']:.2f} s"
    )
    fast = result["replay"][str(BATCHES[0])]["commands_per_s"] >= TARGET_COMMANDS_PER_S
    quick = snapshot["write_s"] <= TARGET_SNAPSHOT_S
    click.echo(
        f"targets: {TARGET_COMMANDS_PER_S / 1e6:g} M commands/s {'met' if fast else 'missed'}, "
        f"snapshot in {TARGET_SNAPSHOT_S:g} s {'met' if quick else 'missed'}"
    )
    if json_file:
        text = json.dumps(result, indent=2) + "\n"
        if json_file == "-":
            click.echo(text, nl=False)
        else:
            Path(json_file).write_text(text, "utf-8")

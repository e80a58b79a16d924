"""`openoutcry bench journal`: what logging costs, a command and a report.

The command log: `append_batch`, as the shard calls it, for several batch sizes. The report log:
`pack_rows` and `unpack_rows`. Each twice: cold, into pages of a file that nobody touched yet, as
the log meets them unless they are prepared ahead, and warm, over the same pages again. The file is
allocated first and mapped, as the log's segments are; what the disk does later is not measured.
"""

import json
import mmap
import os
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

from openoutcry.config.jit import lean_kernel
from openoutcry.engine.api import Engine, cancels, new_orders
from openoutcry.engine.enums import Side
from openoutcry.engine.log import append_batch, as_words, batch_words
from openoutcry.engine.pack import MAX_PACKED_BYTES, pack_rows, unpack_rows
from openoutcry.engine.records import COMMAND

#: Commands of a batch.
BATCHES = (1, 16, 256)
#: Commands in the ring that they are taken from: a power of two.
_RING_RECORDS = 16_384
_RINGS = 2
_TIME_NS = 1_700_000_000_000_000_000


def sample() -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return a ring full of ordinary commands, and the words of the reports that they yield.

    Of each eight one is a marketable order that fills against one resting, three are cancels; the
    rest are new orders that rest.
    """
    engine = Engine(symbols=4)
    commands = np.zeros(_RING_RECORDS, COMMAND)
    reports = []
    for first in range(0, _RING_RECORDS, 8):
        names = [b"ORD-%08d" % n for n in range(first, first + 8)]
        block = commands[first : first + 8]
        block[:4] = new_orders(4, cl_ord_id=names[:4], side=Side.SELL, qty_lots=100)
        block[4:5] = new_orders(1, cl_ord_id=names[4], side=Side.BUY, qty_lots=100)
        block[5:] = cancels(
            3, cl_ord_id=names[5:], orig_cl_ord_id=names[1:4], side=Side.SELL, qty_lots=100
        )
        block["price_ticks"][:5] = 100_000 + first // 8 % 50
        block["session"], block["epoch"], block["account"] = 3, 1, 7
        block["symbol"] = first // 8 % 4
        block["time_ns"] = _TIME_NS + first * 500
        block["inbound_seq"] = np.arange(first + 1, first + 9)
        reports.append(as_words(engine.process(block)).copy())
    return commands, np.concatenate(reports)


@lean_kernel
def _append_all(
    log: NDArray[np.int64],
    records: NDArray[np.int64],
    batch: int,
    rounds: int,
    positions: NDArray[np.int64],
) -> int:
    """Append the whole ring `rounds` times in batches; return the position reached, in words."""
    position = 0
    mask = len(records) - 1
    head = 0
    stop = rounds * len(records)
    while head < stop:
        position = append_batch(
            log, position, records, mask, head, batch, head + 1, 1, 1, 0, positions, 0
        )
        head += batch
    return position


@contextmanager
def mapped_file(folder: Path, size: int) -> Iterator[NDArray[np.int64]]:
    """Give a fresh file of a folder as words: allocated, mapped, its pages never touched."""
    with tempfile.TemporaryFile(dir=folder) as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            os.ftruncate(file.fileno(), size)
        yield np.frombuffer(mmap.mmap(file.fileno(), size), np.int64)


def _timed(call: Callable[[], int]) -> tuple[int, int]:
    started = time.perf_counter_ns()
    result = call()
    return result, time.perf_counter_ns() - started


def bench_journal(folder: Path | None = None, rounds: int = 16, runs: int = 5) -> dict[str, Any]:
    """Run the benchmark in a folder; return medians of `runs`.

    A run logs the sample `rounds` times.
    """
    folder = folder or Path(tempfile.gettempdir())
    commands, reports = sample()
    words = as_words(commands)
    positions = np.zeros(_RINGS, np.int64)
    count = rounds * len(commands)
    _append_all(np.zeros(batch_words(len(commands), _RINGS), np.int64), words, 1, 0, positions)
    result: dict[str, Any] = {"folder": str(folder), "runs": runs, "append": {}}
    for batch in BATCHES:
        size = rounds * len(commands) // batch * batch_words(batch, _RINGS) * 8
        cold, warm, used = [], [], 0
        for _ in range(runs):
            with mapped_file(folder, -(-size // 4096) * 4096) as log:
                used, elapsed = _timed(lambda: _append_all(log, words, batch, rounds, positions))  # noqa: B023
                cold.append(elapsed / count)
                _, elapsed = _timed(lambda: _append_all(log, words, batch, rounds, positions))  # noqa: B023
                warm.append(elapsed / count)
        result["append"][str(batch)] = {
            "bytes_per_command": used * 8 / count,
            "cold_ns": statistics.median(cold),
            "warm_ns": statistics.median(warm),
        }
    result["reports"] = _bench_pack(folder, reports, rounds, runs)
    return result


def _bench_pack(folder: Path, words: NDArray[Any], rounds: int, runs: int) -> dict[str, float]:
    back = np.zeros_like(words)
    many = np.concatenate([words] * rounds)
    count = len(many)
    size = -(-(count + 1) * MAX_PACKED_BYTES // 4096) * 4096
    cold, warm, unpack, used = [], [], [], 0
    pack_rows(words, 0, 0, _TIME_NS, 0, 0)
    unpack_rows(back, 0, 0, _TIME_NS, 0, 0)
    for _ in range(runs):
        with mapped_file(folder, size) as log:
            address = int(log.ctypes.data)
            end, elapsed = _timed(lambda: pack_rows(many, 0, count, _TIME_NS, 0, address))  # noqa: B023
            used = end - address
            cold.append(elapsed / count)
            _, elapsed = _timed(lambda: pack_rows(many, 0, count, _TIME_NS, 0, address))  # noqa: B023
            warm.append(elapsed / count)
            _, elapsed = _timed(lambda: unpack_rows(back, 0, len(back), _TIME_NS, 0, address))  # noqa: B023
            unpack.append(elapsed / len(back))
            if not np.array_equal(back, words):
                raise RuntimeError("reports came back otherwise than they were packed")
    return {
        "bytes_per_report": used / count,
        "pack_cold_ns": statistics.median(cold),
        "pack_warm_ns": statistics.median(warm),
        "unpack_ns": statistics.median(unpack),
    }


@click.command()
@click.option(
    "--dir",
    "folder",
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    help="Where the file lies: its file system counts. By default the temporary folder.",
)
@click.option(
    "--rounds", type=click.IntRange(1), default=16, show_default=True, help="Of 16,384 commands."
)
@click.option("--runs", type=click.IntRange(1, 99), default=5, show_default=True)
@click.option("--json", "json_file", type=click.Path(dir_okay=False), help="Write the result.")
def journal(folder: Path | None, rounds: int, runs: int, json_file: str | None) -> None:
    """Measure appending to the command log, and packing reports into theirs.

    Each into pages never touched before (cold), and over them again (warm). Medians of all runs.
    """
    result = bench_journal(folder, rounds, runs)
    for batch, row in result["append"].items():
        click.echo(
            f"command, batches of {batch:>3}   {row['bytes_per_command']:5.1f} bytes   "
            f"append {row['warm_ns']:6.1f} ns warm, {row['cold_ns']:6.1f} ns cold"
        )
    row = result["reports"]
    click.echo(
        f"report                   {row['bytes_per_report']:5.1f} bytes   "
        f"pack   {row['pack_warm_ns']:6.1f} ns warm, {row['pack_cold_ns']:6.1f} ns cold   "
        f"unpack {row['unpack_ns']:.1f} ns"
    )
    if json_file:
        text = json.dumps(result, indent=2) + "\n"
        if json_file == "-":
            click.echo(text, nl=False)
        else:
            Path(json_file).write_text(text, "utf-8")

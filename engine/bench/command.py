"""`openoutcry bench engine`: the matching engine in process, timed over flows of commands."""

import json
import math
import platform
import statistics
import time
from collections.abc import Callable, Iterable
from typing import IO, Any

import click
import numpy as np
from numpy.typing import NDArray

from openoutcry.config.jit import lean_kernel
from openoutcry.engine.bench.handoff import (
    BATCH,
    RING_ROWS,
    Drain,
    clock_cost,
    match_into_ring,
    time_each,
)
from openoutcry.engine.bench.workloads import EQUITY_NAMES, NAMES, Workload, make_workload
from openoutcry.engine.book import Book
from openoutcry.engine.enums import Liquidity, ReportKind
from openoutcry.engine.match import process_batch
from openoutcry.engine.records import REPORT
from openoutcry.engine.snapshot import state_hash

_POINTS = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p999": 99.9, "max": 100.0}
_BILLION = 1_000_000_000


@lean_kernel
def _run(
    book: Book, commands: NDArray[Any], first: int, stop: int, reports: NDArray[Any], batch: int
) -> int:
    """Execute commands in batches, overwriting the reports; return the first that did not fit."""
    while first < stop:
        end = min(first + batch, stop)
        done, _ = process_batch(book, commands, first, end, reports, 1, 0, len(reports))
        if done == first:
            return first
        first = done
    return first


@lean_kernel
def _survey(
    book: Book, commands: NDArray[Any], first: int, reports: NDArray[Any], counts: NDArray[Any]
) -> None:
    """Execute commands one by one; `counts` gets reports, fills, refusals, and the most orders and
    levels that were there."""
    for i in range(first, len(commands)):
        _, last = process_batch(book, commands, i, i + 1, reports, 1, 0, len(reports))
        for row in range(last):
            kind = reports[row]["kind"]
            if kind == ReportKind.TRADE and reports[row]["liquidity"] == Liquidity.ADDED:
                counts[1] += 1
            if kind == ReportKind.REJECTED or kind == ReportKind.CANCEL_REJECTED:
                counts[2] += 1
        counts[0] += last
        counts[3] = max(counts[3], book.state[0]["open_orders"])
        counts[4] = max(counts[4], book.state[0]["levels_used"])


def _filled_book(workload: Workload) -> Book:
    book = workload.new_book()
    reports = np.zeros(RING_ROWS, REPORT)
    if _run(book, workload.commands, 0, workload.warm_up, reports, 1024) != workload.warm_up:
        raise ValueError(f"a command of {workload.name} may yield more than {RING_ROWS} reports")
    return book


def survey(workload: Workload) -> dict[str, Any]:
    """Return what a flow does: messages, reports, fills, peaks, the span of its prices."""
    book = _filled_book(workload)
    resting, levels = (int(book.state[0][name]) for name in ("open_orders", "levels_used"))
    counts = np.array([0, 0, 0, resting, levels])
    _survey(book, workload.commands, workload.warm_up, np.zeros(RING_ROWS, REPORT), counts)
    prices = workload.commands["price_ticks"][workload.commands["price_ticks"] != 0]
    started = time.perf_counter_ns()
    hashed = int(state_hash(book)) & (1 << 64) - 1
    return {
        "messages": workload.messages,
        "reports": int(counts[0]),
        "fills": int(counts[1]),
        "declined": int(counts[2]),
        "peak_resting": int(counts[3]),
        "peak_levels": int(counts[4]),
        "price_span": [int(prices.min()), int(prices.max())],
        "state_hash": f"{hashed:016x}",
        "state_hash_ms": (time.perf_counter_ns() - started) / 1e6,
    }


def _handed_rate(workload: Workload) -> float:
    """Time a whole flow with its reports read by another core: messages a second."""
    book = _filled_book(workload)
    commands = workload.commands
    with Drain() as drain:
        started = time.perf_counter_ns()
        last = match_into_ring(
            *(book, commands, workload.warm_up, len(commands)),
            *(drain.ring, drain.header, 0, BATCH),
        )
        drain.finish(int(last))
        elapsed = time.perf_counter_ns() - started
    return workload.messages * _BILLION / elapsed


def _alone_rate(workload: Workload) -> float:
    """Time a whole flow with its reports overwritten unread: messages a second."""
    book = _filled_book(workload)
    reports = np.zeros(RING_ROWS, REPORT)
    commands = workload.commands
    started = time.perf_counter_ns()
    _run(book, commands, workload.warm_up, len(commands), reports, BATCH)
    return workload.messages * _BILLION / (time.perf_counter_ns() - started)


def _service_times(workload: Workload) -> NDArray[Any]:
    """Return each message's time in ns, one message at a time, the clock's own cost taken off."""
    book = _filled_book(workload)
    commands = workload.commands
    nanoseconds = np.zeros(workload.messages, np.int64)
    clock = np.zeros(10_000, np.int64)
    with Drain() as drain:
        clock_cost(clock)
        last = time_each(
            *(book, commands, workload.warm_up, len(commands), drain.ring, drain.header),
            *(0, False, nanoseconds),
        )
        drain.finish(int(last))
    return np.maximum(nanoseconds - int(np.median(clock)), 0)


def _paced_times(workload: Workload, rate: int, seconds: float, is_idle: bool) -> NDArray[Any]:
    """Return each message's time in ns from when it was due, at a fixed rate, for so long.

    A flow that is over before is begun again with a fresh book and a schedule of its own.
    """
    wanted = max(1, int(rate * seconds))
    parts: list[NDArray[Any]] = []
    while wanted > 0:
        stop = min(len(workload.commands), workload.warm_up + wanted)
        book = _filled_book(workload)
        nanoseconds = np.zeros(stop - workload.warm_up, np.int64)
        with Drain() as drain:
            last = time_each(
                *(book, workload.commands, workload.warm_up, stop, drain.ring, drain.header),
                *(_BILLION // rate, is_idle, nanoseconds),
            )
            drain.finish(int(last))
        parts.append(nanoseconds)
        wanted -= len(nanoseconds)
    return np.concatenate(parts)


def _percentiles(nanoseconds: NDArray[Any]) -> dict[str, int]:
    found = np.percentile(nanoseconds, list(_POINTS.values()))
    return {name: int(value) for name, value in zip(_POINTS, found, strict=True)}


def _medians(runs: list[dict[str, int]]) -> dict[str, int]:
    return {name: int(statistics.median(run[name] for run in runs)) for name in runs[0]}


def _spread(rates: list[float]) -> dict[str, Any]:
    return {"median": statistics.median(rates), "runs": sorted(rates)}


def bench_workload(
    workload: Workload, runs: int = 5, rate: int = 0, seconds: float = 10.0
) -> dict[str, Any]:
    """Time one flow; return its figures, medians of `runs`.

    With a `rate` (messages a second) also the open loop, `seconds` a run, beside the same loop
    without any work.
    """
    # What is compiled or touched for the first time is not to be timed.
    short = workload._replace(
        commands=workload.commands[: workload.warm_up + min(1_000, workload.messages)]
    )
    for first_time in (_handed_rate, _alone_rate, _service_times, survey):
        first_time(short)
    handed, alone, services = [], [], []
    for _ in range(runs):
        handed.append(_handed_rate(workload))
        alone.append(_alone_rate(workload))
        services.append(_percentiles(_service_times(workload)))
    figures = {
        "scenario": workload.name,
        **survey(workload),
        "messages_per_s": statistics.median(handed),
        "handed_over": _spread(handed),
        "not_handed_over": _spread(alone),
        "latency_ns": _medians(services),
    }
    if rate:
        _paced_times(short, rate, 0.001, False)
        paced, idle = [], []
        for _ in range(runs):
            paced.append(_percentiles(_paced_times(workload, rate, seconds, False)))
            idle.append(_percentiles(_paced_times(workload, rate, seconds, True)))
        figures["open_loop"] = {
            "rate": rate,
            "seconds": seconds,
            "latency_ns": _medians(paced),
            "no_work_ns": _medians(idle),
        }
    return figures


def bench_all(
    names: Iterable[str] = EQUITY_NAMES,
    *,
    messages: int | None = None,
    seed: int | None = None,
    runs: int = 5,
    rate: int = 0,
    seconds: float = 10.0,
    begin: Callable[[str], None] = lambda name: None,
    show: Callable[[dict[str, Any]], None] = lambda figures: None,
) -> dict[str, Any]:
    """Time flows; return the figures by name, the slowest, and the machine.

    `begin` is called with the name of each, `show` with its figures as soon as they are there.
    """
    scenarios = {}
    for name in names:
        begin(name)
        workload = make_workload(name, messages, seed)
        scenarios[name] = bench_workload(workload, runs, rate, seconds)
        show(scenarios[name])
    worst = min(scenarios.values(), key=lambda figures: figures["messages_per_s"])
    return {
        "scenarios": scenarios,
        "worst": {"scenario": worst["scenario"], "messages_per_s": worst["messages_per_s"]},
        "machine": {
            "machine": platform.machine(),
            "system": platform.platform(),
            "python": platform.python_version(),
        },
    }


def _times(latency: dict[str, int]) -> str:
    names = {"p50": "p50", "p90": "p90", "p99": "p99", "p999": "p99.9", "max": "max"}
    return " ".join(f"{names[name]} {value:,}" for name, value in latency.items()) + " ns"


def format_figures(figures: dict[str, Any]) -> str:
    """Return a scenario's figures as lines for a terminal."""
    rates = figures["handed_over"]["runs"]
    low, high = figures["price_span"]
    lines = [
        f"{figures['scenario']:12} {figures['messages_per_s'] / 1e6:6.2f} M messages/s "
        f"({rates[0] / 1e6:.2f} to {rates[-1] / 1e6:.2f}), reports read by another core; "
        f"{figures['not_handed_over']['median'] / 1e6:.2f} M with none reading them",
        f"time of a message by itself {_times(figures['latency_ns'])}",
        f"{figures['messages']:,} messages, {figures['reports']:,} reports, "
        f"{figures['fills']:,} fills, {figures['declined']:,} declined",
        f"at most {figures['peak_resting']:,} orders rest on {figures['peak_levels']:,} levels; "
        f"prices {low:,} to {high:,}; state hash {figures['state_hash']}, "
        f"taken in {figures['state_hash_ms']:.1f} ms",
    ]
    if "open_loop" in figures:
        loop = figures["open_loop"]
        lines += [
            f"open loop at {loop['rate']:,}/s {_times(loop['latency_ns'])}",
            f"the same loop without work {_times(loop['no_work_ns'])}",
        ]
    return ("\n" + " " * 13).join(lines)


@click.command()
@click.option(
    "--scenario",
    type=click.Choice(["equity", "all", *NAMES]),
    default="equity",
    show_default=True,
    help="Which flow (docs/performance.md tells them); equity: static to flash-crash.",
)
@click.option(
    "--messages",
    type=click.IntRange(1),
    help="About so many; by default 2.0 M for equity, else 1 M.",
)
@click.option("--seed", type=click.IntRange(0, (1 << 32) - 1), help="Of the flow.")
@click.option("--runs", type=click.IntRange(1), default=5, show_default=True)
@click.option(
    "--rate", type=click.IntRange(1, 10_000_000), help="Open loop, too: messages a second."
)
@click.option("--seconds", type=click.FloatRange(0.001), default=10.0, show_default=True)
@click.option("--json", "json_file", type=click.File("w", lazy=False), help="Write the result.")
def engine(
    scenario: str,
    messages: int | None,
    seed: int | None,
    runs: int,
    rate: int | None,
    seconds: float,
    json_file: IO[str] | None,
) -> None:
    """Measure the matching engine in process, without any server.

    Messages a second on one core while another reads all reports, and the time of each message by
    itself; medians of the runs. The five flows of `equity` are those of the public
    matching-engine-benchmark by Flash One Technologies.
    """
    if not math.isfinite(seconds):
        raise click.BadParameter(f"{seconds} is no time to measure for.", param_hint="--seconds")
    names = {"equity": EQUITY_NAMES, "all": NAMES}.get(scenario, (scenario,))
    result = bench_all(
        names,
        messages=messages,
        seed=seed,
        runs=runs,
        rate=rate or 0,
        seconds=seconds,
        begin=lambda name: click.echo(f"{name}: {runs} runs …", err=True),
        show=lambda figures: click.echo(format_figures(figures)),
    )
    if json_file:
        json_file.write(json.dumps(result, indent=2) + "\n")

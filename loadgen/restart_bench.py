"""`openoutcry bench restart`: how long a venue is away after kill -9.

A venue of our own on a disk's file system trades until it has executed --commands, with --resting
orders in its books, and its log has nearly grown to the next snapshot; then all of it is killed and
started again on the same data directory.
"""

import multiprocessing
import os
import signal
import statistics
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import msgspec
from prometheus_client.parser import text_string_to_metric_families

from openoutcry.config.system import file_system, machine
from openoutcry.loadgen.report import versions
from openoutcry.loadgen.run import RunOptions, run
from openoutcry.loadgen.scenario import Scenario

#: Longest time from the start to the ready line, seconds.
TARGET_S = 10.0
_LOOK_S = 0.05
_FILL_TIMEOUT_S = 1800.0
#: The kill comes when so much of a snapshot's share of the log is written.
_NEARLY = 0.97
#: More connections than usual where that many orders rest: each has room for a few times as many.
_RESTING_EACH = 50_000


class RestartError(Exception):
    """The venue did not get as far as it should have, or did not come back as it was."""


class _Figures:
    """What a venue's metrics say."""

    def __init__(self, http: str) -> None:
        with urllib.request.urlopen(f"http://{http}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        self._samples = [
            sample for family in text_string_to_metric_families(text) for sample in family.samples
        ]

    def sum(self, name: str, **labels: str) -> float:
        """Return the sum of a metric's samples that have these labels."""
        return sum(
            sample.value
            for sample in self._samples
            if sample.name == f"openoutcry_{name}" and labels.items() <= sample.labels.items()
        )


def _trade(host: str, port: int, flow: Scenario, rate: float, seed: int) -> None:
    """Be the process that sends orders until it is killed."""
    run(
        RunOptions(
            scenario=flow,
            scenario_name="restart",
            host=host,
            port=port,
            rate=rate,
            connections=max(8, -(-flow.resting_orders // _RESTING_EACH)),
            duration_s=_FILL_TIMEOUT_S,
            seed=seed,
            is_quiet=True,
        )
    )


def _fill(
    ready: dict[str, Any],
    commands: int,
    resting: int,
    snapshot_bytes: int,
    is_trading: Callable[[], bool],
) -> dict[str, Any]:
    """Wait for the moment to kill; return how the venue stood."""
    until = time.monotonic() + _FILL_TIMEOUT_S
    while time.monotonic() < until:
        if not is_trading():
            raise RestartError("the load ended before the moment to kill: see above")
        figures = _Figures(ready["http"])
        executed = figures.sum("orders_total")
        open_orders = figures.sum("pool_used", pool="open_orders")
        log_bytes = figures.sum("log_bytes", log="command")
        since = log_bytes - figures.sum("snapshot_log_bytes")
        is_due = since >= _NEARLY * snapshot_bytes
        if executed >= commands and open_orders >= 0.9 * resting and is_due:
            return {
                "commands": executed,
                "open_orders": open_orders,
                "log_bytes": log_bytes,
                "bytes_since_snapshot": since,
            }
        time.sleep(_LOOK_S)
    raise RestartError(f"the venue did not execute {commands:,} commands in {_FILL_TIMEOUT_S:g} s")


def _kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    # The venue is our child: its status is taken by own_venue.
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


def bench_restart(
    flow: Scenario,
    folder: Path,
    *,
    commands: int,
    rate: float,
    rounds: int,
    snapshot_bytes: int,
    settings: tuple[str, ...] = (),
    seed: int = 1,
) -> dict[str, Any]:
    """Run the benchmark; return its result. Raises RestartError."""
    from openoutcry.loadgen.venue import endpoint, own_venue

    rows: list[dict[str, Any]] = []
    context = multiprocessing.get_context("spawn")
    room = flow.resting_orders + flow.resting_orders // 4
    chosen = (
        f"capacity.open_orders={room}",
        f"snapshots.every_bytes={snapshot_bytes}",
        "day=null",
        *settings,
    )
    for number in range(rounds):
        with tempfile.TemporaryDirectory(prefix="restart-", dir=folder) as data_dir:
            logged: list[str] = []
            with own_venue(chosen, None, data_dir, logged.append) as ready:
                host, port = endpoint(ready["binary"])
                process = context.Process(target=_trade, args=(host, port, flow, rate, seed))
                process.start()
                try:
                    row = _fill(
                        ready, commands, flow.resting_orders, snapshot_bytes, process.is_alive
                    )
                    _kill(ready["pid"])
                finally:
                    process.kill()
                    process.join()
            started = time.perf_counter()
            with own_venue(chosen, None, data_dir, logged.append) as ready:
                row["ready_s"] = time.perf_counter() - started
                figures = _Figures(ready["http"])
                row["replayed"] = figures.sum("recovery_commands")
                row["recovery_s"] = figures.sum("recovery_seconds")
                row["open_orders_after"] = figures.sum("pool_used", pool="open_orders")
        if row["open_orders_after"] < 0.5 * flow.resting_orders:
            raise RestartError(f"{row['open_orders_after']:.0f} orders are open after the restart")
        rows.append(row)
        click.echo(
            f"round {number + 1} of {rounds}: ready after {row['ready_s']:.2f} s, "
            f"{row['replayed']:,.0f} of {row['commands']:,.0f} commands replayed in "
            f"{row['recovery_s']:.2f} s, {row['open_orders_after']:,.0f} open orders",
            err=True,
        )
    return {
        "rounds": rows,
        **{name: statistics.median(row[name] for row in rows) for name in rows[0]},
    }


@click.command()
@click.option("--commands", type=click.IntRange(1), default=10_000_000, show_default=True)
@click.option("--resting", type=click.IntRange(1, 2_000_000), default=1_000_000, show_default=True)
@click.option("--rate", type=click.FloatRange(min=1), default=200_000.0, show_default=True)
@click.option("--rounds", type=click.IntRange(1, 99), default=3, show_default=True)
@click.option(
    "--snapshot-bytes",
    type=click.IntRange(1 << 20),
    default=512 << 20,
    show_default=True,
    help="snapshots.every_bytes of the venue.",
)
@click.option(
    "--folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Where the data directories go, by default the working directory; a disk, not tmpfs.",
)
@click.option("--scenario", default="default", show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True)
@click.option("--set", "settings", multiple=True, help="Override key=value of the configuration.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False), help="Write the result.")
def restart(
    commands: int,
    resting: int,
    rate: float,
    rounds: int,
    snapshot_bytes: int,
    folder: Path | None,
    scenario: str,
    seed: int,
    settings: tuple[str, ...],
    json_file: str | None,
) -> None:
    """Kill a venue with full books just before its next snapshot, and time its return.

    From the start of the process to the ready line, with the kernels compiled before; medians.
    """
    from openoutcry.loadgen.main import write_json
    from openoutcry.loadgen.scenario import ScenarioError, load_scenario
    from openoutcry.loadgen.venue import VenueError

    try:
        flow = load_scenario(scenario)
    except ScenarioError as error:
        raise click.UsageError(str(error)) from None
    flow = msgspec.structs.replace(flow, resting_orders=resting)
    folder = folder or Path.cwd()
    kind = file_system(folder)
    click.echo(f"file system: {kind}")
    try:
        result = bench_restart(
            flow,
            folder,
            commands=commands,
            rate=rate,
            rounds=rounds,
            snapshot_bytes=snapshot_bytes,
            settings=settings,
            seed=seed,
        )
    except (VenueError, RestartError) as error:
        raise click.ClickException(str(error)) from None
    result |= {"file_system": kind, "rate": rate, "snapshot_bytes": snapshot_bytes}
    result |= {"machine": machine(), "versions": versions()}
    click.echo(
        f"ready after {result['ready_s']:.2f} s (target {TARGET_S:g}), "
        f"{result['replayed']:,.0f} commands replayed in {result['recovery_s']:.2f} s, "
        f"{result['open_orders_after']:,.0f} open orders; medians of {rounds}"
    )
    if json_file:
        write_json(result, json_file)
    sys.exit(0 if result["ready_s"] <= TARGET_S else 1)

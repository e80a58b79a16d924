"""`openoutcry bench durability`: what each level of durability costs.

Venues of our own on a disk's file system, one after another, the levels in turn (none, process,
power, none, …): throughput in a closed loop, then latency in an open loop at several rates. Ratios
and differences are those of neighbours in the same round.
"""

import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from openoutcry.config.system import file_system, machine
from openoutcry.loadgen.report import versions
from openoutcry.loadgen.run import RunOptions, run
from openoutcry.loadgen.scenario import Scenario

#: Share of the throughput of `none` that the others are to reach.
TARGETS = {"process": 0.9, "power": 0.6}
#: Orders a second, open loop.
RATES = (50_000.0, 200_000.0, 500_000.0)
_POINTS = ("p50", "p90", "p99", "p999")


class _Bench:
    """The runs, each on a venue of its own with a fresh data directory."""

    def __init__(
        self,
        flow: Scenario,
        folder: Path,
        options: dict[str, Any],
        settings: Sequence[str],
        config: str | None,
    ) -> None:
        self._flow = flow
        self._folder = folder
        self._options = options
        self._settings = tuple(settings)
        self._config = config
        self.errors: list[str] = []

    def run(self, level: str, **more: Any) -> dict[str, Any]:
        """Run once at a level of durability; return what `load` would."""
        from openoutcry.loadgen.venue import endpoint, own_venue

        with tempfile.TemporaryDirectory(prefix="durability-", dir=self._folder) as data_dir:
            settings = [f"log.durability={level}", "day=null", *self._settings]
            logged: list[str] = []
            with own_venue(settings, self._config, data_dir, logged.append) as ready:
                host, port = endpoint(ready[self._options["protocol"]])
                options = RunOptions(
                    scenario=self._flow, host=host, port=port, **self._options, **more
                )
                result = run(options)
        self.errors += [f"{level}: {text}" for text in result["error_texts"]]
        return result

    def throughput(self, levels: Sequence[str], rounds: int, seconds: float) -> dict[str, Any]:
        """Measure acknowledged orders a second of each level, closed loop."""
        rows: list[dict[str, float]] = []
        latencies: dict[str, list[dict[str, float]]] = {level: [] for level in levels}
        for number in range(rounds):
            row = {}
            for level in levels:
                found = self.run(level, duration_s=seconds)
                row[level] = found["acked_per_s"]
                latencies[level].append(found["latency_us"])
                click.echo(
                    f"round {number + 1} of {rounds}: {level:8} {row[level]:12,.0f} acked/s",
                    err=True,
                )
            rows.append(row)
        return {
            "rounds": rows,
            "acked_per_s": {n: statistics.median(row[n] for row in rows) for n in levels},
            "latency_us": {n: _medians(latencies[n]) for n in levels},
            "ratio": {n: _spread([row[n] / row[levels[0]] for row in rows]) for n in levels[1:]},
        }

    def latency(
        self, levels: Sequence[str], rate: float, rounds: int, seconds: float
    ) -> dict[str, Any]:
        """Measure the latencies of each level at a rate, open loop, and what each adds."""
        rows: list[dict[str, dict[str, float]]] = []
        for number in range(rounds):
            row = {n: self.run(n, rate=rate, duration_s=seconds)["latency_us"] for n in levels}
            rows.append(row)
            click.echo(f"{rate:,.0f}/s, round {number + 1} of {rounds}", err=True)
        return {
            "rate": rate,
            "rounds": rows,
            "latency_us": {n: _medians([row[n] for row in rows]) for n in levels},
            "added_us": {
                n: {
                    point: _spread([row[n][point] - row[levels[0]][point] for row in rows])
                    for point in _POINTS
                }
                for n in levels[1:]
            },
        }


def _medians(rows: list[dict[str, float]]) -> dict[str, float]:
    return {point: statistics.median(row[point] for row in rows) for point in _POINTS}


def _spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


def _print_throughput(found: dict[str, Any]) -> None:
    for level, acked in found["acked_per_s"].items():
        text = f"{level:8} {acked:12,.0f} acked/s"
        ratio = found["ratio"].get(level)
        if ratio:
            text += (
                f"   {ratio['median']:.3f} of the first ({ratio['low']:.3f} … {ratio['high']:.3f})"
            )
            if level in TARGETS:
                text += f", target {TARGETS[level]:.2f}"
        click.echo(text)


def _print_latency(found: dict[str, Any]) -> None:
    for level, figures in found["latency_us"].items():
        text = f"{found['rate']:9,.0f}/s {level:8} p50 {figures['p50']:9.1f}  p99 "
        text += f"{figures['p99']:9.1f} µs"
        added = found["added_us"].get(level)
        if added:
            for point in ("p50", "p99"):
                spread = added[point]
                text += f"   {point} +{spread['median']:.0f} "
                text += f"({spread['low']:.0f} … {spread['high']:.0f})"
        click.echo(text)


@click.command()
@click.option("--rounds", type=click.IntRange(1, 99), default=7, show_default=True)
@click.option("--seconds", type=click.FloatRange(min=0.5), default=20.0, show_default=True)
@click.option("--connections", type=click.IntRange(1, 512), default=8, show_default=True)
@click.option("--window", type=click.IntRange(1), default=1024, show_default=True)
@click.option("--protocol", type=click.Choice(["fix", "binary"]), default="binary")
@click.option(
    "--level",
    "levels",
    multiple=True,
    type=click.Choice(["none", "process", "power"]),
    help="Levels to compare with the first one; none, process and power if not given.",
)
@click.option("--rate", "rates", multiple=True, type=click.FloatRange(min=1), help="For latency.")
@click.option("--no-throughput", is_flag=True, help="Latencies only.")
@click.option("--no-latency", is_flag=True, help="Throughput only.")
@click.option(
    "--folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Where the data directories go, by default the working directory; a disk, not tmpfs.",
)
@click.option("--scenario", default="default", show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True)
@click.option("--config", type=click.Path(exists=True), help="The venue's configuration.")
@click.option("--set", "settings", multiple=True, help="Override key=value of it.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False), help="Write the result.")
def durability(
    rounds: int,
    seconds: float,
    connections: int,
    window: int,
    protocol: str,
    levels: tuple[str, ...],
    rates: tuple[float, ...],
    no_throughput: bool,
    no_latency: bool,
    folder: Path | None,
    scenario: str,
    seed: int,
    config: str | None,
    settings: tuple[str, ...],
    json_file: str | None,
) -> None:
    """Compare the levels of durability: throughput, and latency at fixed rates.

    Prints medians; a ratio or a difference is the median of those of each round, with its range.
    The status is 1 when an answer was wrong or missing.
    """
    from openoutcry.loadgen.driver import DriverError
    from openoutcry.loadgen.main import write_json
    from openoutcry.loadgen.scenario import ScenarioError, load_scenario
    from openoutcry.loadgen.venue import VenueError

    try:
        flow = load_scenario(scenario)
    except ScenarioError as error:
        raise click.UsageError(str(error)) from None
    folder = folder or Path.cwd()
    kind = file_system(folder)
    click.echo(f"file system: {kind}")
    if kind in {"tmpfs", "ramfs"}:
        click.echo("a sync costs nothing in memory: name a --folder on a disk", err=True)
    options = {
        "scenario_name": scenario,
        "protocol": protocol,
        "connections": connections,
        "window": window,
        "seed": seed,
        "is_quiet": True,
    }
    bench = _Bench(flow, folder, options, settings, config)
    chosen = levels or ("none", "process", "power")
    result: dict[str, Any] = {"file_system": kind, "levels": chosen, "seconds": seconds} | options
    try:
        if not no_throughput:
            result["throughput"] = bench.throughput(chosen, rounds, seconds)
            _print_throughput(result["throughput"])
        if not no_latency:
            result["latency"] = []
            for rate in rates or RATES:
                result["latency"].append(bench.latency(chosen, rate, rounds, seconds))
                _print_latency(result["latency"][-1])
    except (VenueError, DriverError) as error:
        raise click.ClickException(str(error)) from None
    result |= {"machine": machine(), "versions": versions(), "error_texts": bench.errors}
    for text in bench.errors:
        click.echo(text, err=True)
    if json_file:
        write_json(result, json_file)
    sys.exit(1 if bench.errors else 0)

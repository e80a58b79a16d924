"""`openoutcry bench compare`: venue and echo, driven by the same loop in the same run."""

import statistics
from collections.abc import Sequence
from typing import Any

import click


@click.command()
@click.option(
    "--protocol",
    "protocols",
    type=click.Choice(["binary", "fix"]),
    multiple=True,
    default=("binary", "fix"),
    show_default=True,
)
@click.option("--runs", type=click.IntRange(1, 99), default=5, show_default=True)
@click.option("--seconds", type=click.FloatRange(min=0.2), default=20.0, show_default=True)
@click.option("--warmup", type=click.FloatRange(min=0), default=2.0, show_default=True)
@click.option("--connections", type=click.IntRange(1, 512), default=8, show_default=True)
@click.option("--window", type=click.IntRange(50, 65536), default=1024, show_default=True)
@click.option("--scenario", default="default", show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True)
@click.option("--config", type=click.Path(exists=True), help="The venue's configuration.")
@click.option("--set", "settings", multiple=True, help="Override key=value of it.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False), help="Write the result.")
def compare(
    protocols: Sequence[str],
    runs: int,
    seconds: float,
    warmup: float,
    connections: int,
    window: int,
    scenario: str,
    seed: int,
    config: str | None,
    settings: Sequence[str],
    json_file: str | None,
) -> None:
    """Measure venue and echo in turns: throughput with full windows, and the unloaded round trip.

    Prints medians, and the median and range of the pairwise ratios. The status is 1 when a report
    did not fit its order.
    """
    import sys

    from rich.console import Console
    from rich.table import Table

    from openoutcry.config.system import machine
    from openoutcry.loadgen import echo
    from openoutcry.loadgen.main import write_json
    from openoutcry.loadgen.report import versions
    from openoutcry.loadgen.run import RunOptions, run
    from openoutcry.loadgen.scenario import ScenarioError, load_scenario
    from openoutcry.loadgen.venue import VenueError, endpoint, own_venue

    try:
        flow = load_scenario(scenario)
    except ScenarioError as error:
        raise click.UsageError(str(error)) from None
    errors = 0
    result: dict[str, Any] = {
        "runs": runs,
        "seconds": seconds,
        "connections": connections,
        "window": window,
        "scenario": scenario,
        "seed": seed,
        "machine": machine(),
        "versions": versions(),
    }
    # Round trips vary little: short runs, so that echo and venue stay near to each other in time.
    brief = min(seconds, 3.0)

    def venue(protocol: str, count: int, in_flight: int, seconds: float) -> dict[str, Any]:
        nonlocal errors
        found = run(
            RunOptions(
                scenario=flow,
                scenario_name=scenario,
                host=where[protocol][0],
                port=where[protocol][1],
                protocol=protocol,
                connections=count,
                window=in_flight,
                duration_s=seconds,
                warmup_s=min(warmup, seconds),
                seed=seed,
                is_quiet=True,
            )
        )
        errors += found["errors"]
        for text in found["error_texts"]:
            click.echo(text, err=True)
        return found

    try:
        with own_venue(settings, config) as ready:
            where = {protocol: endpoint(ready[protocol]) for protocol in protocols}
            for protocol in protocols:
                size = echo.SIZES[protocol]
                rows: list[dict[str, float]] = []
                for number in range(runs):
                    click.echo(f"{protocol}: run {number + 1} of {runs}", err=True)
                    uvloop = echo.pipelined("uvloop", connections, size, 50, window, seconds)
                    batch = echo.pipelined("uvloop", connections, size, 50, 50, min(seconds, 3.0))
                    loaded = venue(protocol, connections, window, seconds)
                    echo_us = echo.round_trip_us("uvloop", size, brief)
                    alone = venue(protocol, 1, 1, brief)
                    native_us = echo.round_trip_us("native", size, brief)
                    acked = loaded["acked_per_s"]
                    round_trip = alone["latency_us"]["p50"]
                    rows.append(
                        {
                            "acked_per_s": acked,
                            "rejected_percent": loaded["rejected_percent"],
                            "echo_messages_per_s": uvloop,
                            "throughput_ratio": acked / uvloop,
                            "batch_messages_per_s": batch,
                            "batch_ratio": acked / batch,
                            "venue_rtt_us": round_trip,
                            "echo_rtt_us": echo_us,
                            "native_rtt_us": native_us,
                            "rtt_ratio": round_trip / echo_us,
                        }
                    )
                result[protocol] = {
                    "bytes": size,
                    "median": {k: statistics.median(row[k] for row in rows) for k in rows[0]},
                    "range": {
                        k: [min(row[k] for row in rows), max(row[k] for row in rows)]
                        for k in rows[0]
                    },
                    "all": rows,
                }
    except VenueError as error:
        raise click.ClickException(str(error)) from None
    result["errors"] = errors

    table = Table(title=f"medians of {runs} runs, venue and echo in turns; ranges in brackets")
    table.add_column("")
    for protocol in protocols:
        table.add_column(protocol, justify="right")
    for name, text, form in (
        ("acked_per_s", "acknowledged orders/s", ",.0f"),
        ("echo_messages_per_s", "uvloop echo, messages/s", ",.0f"),
        ("throughput_ratio", "ratio to it", ".2f"),
        ("batch_messages_per_s", "the same, one batch of 50 in flight", ",.0f"),
        ("batch_ratio", "ratio to that", ".2f"),
        ("rejected_percent", "rejected, %", ".3f"),
        ("venue_rtt_us", "venue round trip p50, µs", ".1f"),
        ("echo_rtt_us", "uvloop echo round trip p50, µs", ".1f"),
        ("native_rtt_us", "native echo round trip p50, µs", ".1f"),
        ("rtt_ratio", "ratio to the uvloop echo", ".2f"),
    ):
        cells = []
        for protocol in protocols:
            low, high = result[protocol]["range"][name]
            middle = result[protocol]["median"][name]
            cells.append(f"{middle:{form}} ({low:{form}} … {high:{form}})")
        table.add_row(text, *cells)
    console = Console()
    console.print(table)
    console.print(f"errors: {errors}")
    if json_file:
        write_json(result, json_file)
    sys.exit(1 if errors else 0)

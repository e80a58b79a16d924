"""`openoutcry load`: generated order flow against a venue, checked and measured."""

import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click


@click.command()
@click.option(
    "--protocol", type=click.Choice(["fix", "binary"]), default="binary", show_default=True
)
@click.option("--connections", type=click.IntRange(1, 512), default=8, show_default=True)
@click.option(
    "--window",
    type=click.IntRange(1, 65536),
    default=1024,
    show_default=True,
    help="Closed loop: requests in flight, a connection.",
)
@click.option(
    "--rate",
    type=click.FloatRange(min=1),
    help="Open loop: requests a second, all connections together.",
)
@click.option(
    "--burst",
    type=click.IntRange(1, 1024),
    default=1,
    show_default=True,
    help="Open loop: requests that a connection sends at once.",
)
@click.option("--orders", type=click.IntRange(min=1), help="Requests to be measured.")
@click.option(
    "--duration",
    type=click.FloatRange(min=0.1),
    default=20.0,
    show_default=True,
    help="Seconds to be measured, where --orders is not given.",
)
@click.option(
    "--warmup",
    type=click.FloatRange(min=0),
    default=2.0,
    show_default=True,
    help="Seconds before that, after the book is filled.",
)
@click.option(
    "--scenario", default="default", show_default=True, help="Name, or a YAML file of your own."
)
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--target", help="HOST:PORT of a running venue; else one of our own is started.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False), help="Write the result.")
@click.option("--session-prefix", default="LOAD", show_default=True, help="Of session names.")
@click.option("--target-comp-id", default="OPENOUTCRY", show_default=True, help="FIX: the venue.")
@click.option("--password", default="", help="Of the sessions.")
@click.option("--account", default="LOAD", show_default=True)
@click.option("--avg-px-decimals", type=click.IntRange(0, 12), default=8, help="FIX: the venue's.")
@click.option("--config", type=click.Path(exists=True), help="Own venue: its configuration.")
@click.option("--data-dir", type=click.Path(), help="Own venue: its data directory.")
@click.option("--set", "settings", multiple=True, help="Own venue: override key=value.")
@click.option("--quiet", is_flag=True, help="No progress line.")
def load(
    protocol: str,
    connections: int,
    window: int,
    rate: float | None,
    burst: int,
    orders: int | None,
    duration: float,
    warmup: float,
    scenario: str,
    seed: int,
    target: str | None,
    json_file: str | None,
    session_prefix: str,
    target_comp_id: str,
    password: str,
    account: str,
    avg_px_decimals: int,
    config: str | None,
    data_dir: str | None,
    settings: Sequence[str],
    quiet: bool,
) -> None:
    """Send generated order flow, check every report, measure.

    The status is 1 when a report did not fit its order, a request was not answered, or a connection
    broke.
    """
    from rich.console import Console

    from openoutcry.loadgen.report import print_table
    from openoutcry.loadgen.run import RunOptions, run
    from openoutcry.loadgen.scenario import ScenarioError, load_scenario
    from openoutcry.loadgen.venue import VenueError, endpoint, own_venue

    if seed < 0:
        raise click.UsageError("--seed must not be negative")
    try:
        flow = load_scenario(scenario)
    except ScenarioError as error:
        raise click.UsageError(str(error)) from None
    try:
        with ExitStack() as stack:
            if target:
                try:
                    host, port = endpoint(target)
                except ValueError as error:
                    raise click.UsageError(f"--target: {error}") from None
            else:
                if not quiet:
                    click.echo("starting a venue …", err=True)
                ready = stack.enter_context(own_venue(settings, config, data_dir))
                host, port = endpoint(ready[protocol])
            result = run(
                RunOptions(
                    scenario=flow,
                    scenario_name=scenario,
                    host=host,
                    port=port,
                    protocol=protocol,
                    connections=connections,
                    window=window,
                    rate=rate or 0.0,
                    burst=burst,
                    orders=orders or 0,
                    duration_s=duration,
                    warmup_s=warmup,
                    seed=seed,
                    is_own_venue=target is None,
                    session_prefix=session_prefix,
                    target_comp_id=target_comp_id,
                    password=password,
                    account=account,
                    avg_px_decimals=avg_px_decimals,
                    is_quiet=quiet,
                )
            )
    except (VenueError, ValueError) as error:
        raise click.ClickException(str(error)) from None
    print_table(result, Console())
    if json_file:
        write_json(result, json_file)
    sys.exit(1 if result["errors"] else 0)


def write_json(result: dict[str, Any], file: str) -> None:
    """Write a result; `-` is stdout."""
    text = json.dumps(result, indent=2)
    if file == "-":
        click.echo(text)
    else:
        Path(file).write_text(text + "\n", "utf-8")

"""`openoutcry flow FILE`: recorded real order flow, sent through a venue."""

import asyncio
import json
import os
import secrets
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from openoutcry.loadgen.flow_files import FORMATS, FlowFile, FlowFileError, read_flow
from openoutcry.loadgen.flow_links import BinaryLink, FixLink, FlowError
from openoutcry.loadgen.flow_mapping import Mapper
from openoutcry.loadgen.flow_report import UNEXPLAINED, FlowReport, make_report
from openoutcry.loadgen.flow_runner import FlowRunner
from openoutcry.loadgen.venue import VenueError, endpoint, own_venue

DEFAULT_WINDOW = 256


def venue_config(file: FlowFile) -> str:
    """Return the configuration of a venue with the symbols that a file needs (JSON is YAML)."""
    return json.dumps(
        {
            # Names the files in shared memory: another venue may run beside this one.
            "venue": {"name": f"flow-{os.getpid()}-{secrets.token_hex(2)}"},
            "day": None,
            "symbols": [
                {"name": symbol.name, "tick": symbol.tick, "lot": symbol.lot}
                for symbol in file.symbols
            ],
        },
        indent=2,
    )


async def send_flow(
    file: FlowFile,
    target: tuple[str, int],
    protocol: str,
    *,
    closes_gaps: bool = True,
    window: int = DEFAULT_WINDOW,
    session: str | None = None,
    is_shown: bool = False,
) -> tuple[FlowReport, FlowRunner]:
    """Send a file through one session with a venue; return the outcome and what is known of it.

    Args:
        file: What `read_flow` returned.
        target: Host and port of the venue's FIX or binary order entry.
        protocol: `fix` or `binary`.
        closes_gaps: For ITCH, cancel orders that must have left, by a later event's evidence.
        window: Most requests in flight.
        session: SenderCompID or session id; by default one never used before.
        is_shown: Show progress on stderr.

    Raises:
        FlowError: the venue refused a message, ended the session or fell silent.
        OSError: the venue cannot be reached.
    """
    name = session or f"FLOW-{secrets.token_hex(4)}"
    link = (FixLink if protocol == "fix" else BinaryLink)(*target, name, file.symbols)
    mapper = Mapper(closes_gaps=closes_gaps and file.format == "itch")

    def show(number: int) -> None:
        print(f"\r{number:,} of {len(file.events):,} events", end="", file=sys.stderr, flush=True)

    runner = FlowRunner(link, mapper, window=window, progress=show if is_shown else None)
    async with link:
        await runner.run(file)
    if is_shown:
        print("\r" + " " * 40 + "\r", end="", file=sys.stderr, flush=True)
    return make_report(file, mapper, runner.own, runner.requests), runner


@contextmanager
def _target(file: FlowFile, protocol: str, given: str | None) -> Iterator[tuple[str, int]]:
    """Yield where to send: the address given, or a venue of our own."""
    if given is not None:
        try:
            yield endpoint(given)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--target") from None
        return
    with tempfile.TemporaryDirectory(prefix="openoutcry-flow-") as folder:
        config = Path(folder) / "venue.yaml"
        config.write_text(venue_config(file), "utf-8")
        click.echo("starting a venue of our own", err=True)
        with own_venue(config=str(config)) as ready:
            yield endpoint(str(ready[protocol]))


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--format",
    "format_name",
    type=click.Choice(FORMATS),
    help="What FILE holds; by default bitstamp where its name contains .csv, otherwise itch.",
)
@click.option("--protocol", type=click.Choice(["fix", "binary"]), default="fix", show_default=True)
@click.option(
    "--target",
    metavar="HOST:PORT",
    help="A running venue with the file's symbols and an empty book; by default one is started.",
)
@click.option(
    "--gaps",
    type=click.Choice(["close", "keep"]),
    default="close",
    show_default=True,
    help="ITCH: cancel orders of which a later message shows that they had left, or let them rest.",
)
@click.option(
    "--window",
    type=click.IntRange(1, 100_000),
    default=DEFAULT_WINDOW,
    show_default=True,
    help="Most requests in flight.",
)
@click.option("--session", help="SenderCompID or session id; by default a new one.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path))
def flow(
    file: Path,
    format_name: str | None,
    protocol: str,
    target: str | None,
    gaps: str,
    window: int,
    session: str | None,
    json_file: Path | None,
) -> None:
    """Send recorded order flow through a venue and compare what becomes of it with the recording.

    FILE is a Bitstamp CSV of order events or a NASDAQ TotalView-ITCH 5.0 file, plain or compressed
    (.xz, .gz). docs/flow.md describes how events become requests. The status is 1 where the
    final book differs from the file's in a way that no rule explains.
    """
    try:
        read = read_flow(file, format_name)
        with _target(read, protocol, target) as address:
            report, runner = asyncio.run(
                send_flow(
                    read,
                    address,
                    protocol,
                    closes_gaps=gaps == "close",
                    window=window,
                    session=session,
                    is_shown=sys.stderr.isatty(),
                )
            )
    except (FlowFileError, FlowError, VenueError, OSError) as error:
        raise click.ClickException(str(error)) from error
    for line in report.lines():
        click.echo(line)
    per_s = report.requests / runner.elapsed_s
    click.echo(f"duration             {runner.elapsed_s:>8.1f} s {per_s:,.0f} requests/s")
    if json_file is not None:
        outcome = {"file": str(file), "protocol": protocol, **report.as_json()}
        outcome["status_requests"] = runner.status_requests
        outcome["duration_s"] = round(runner.elapsed_s, 3)
        json_file.write_text(json.dumps(outcome, indent=2) + "\n", "utf-8")
    if any(one.rule == UNEXPLAINED for one in report.differences):
        raise click.exceptions.Exit(1)

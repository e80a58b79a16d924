"""What `book` and `top` have in common: finding the venue, and showing pictures."""

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import click

from openoutcry.server.depth import VenueGoneError
from openoutcry.server.venues import (
    DEFAULT_SHM_DIR,
    RunningVenue,
    VenueNotFoundError,
    find_venue,
)

Record = dict[str, Any]


def venue_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that tell which venue is meant."""
    for option in (
        click.option(
            "--shm-dir",
            default=DEFAULT_SHM_DIR,
            show_default=True,
            type=click.Path(file_okay=False, path_type=Path),
            help="Where venues keep their shared memory.",
        ),
        click.option(
            "--data-dir",
            type=click.Path(file_okay=False, path_type=Path),
            help="Data directory of the venue, where several of one name run.",
        ),
        click.option("--venue", metavar="NAME", help="Name of the venue, where several run."),
    ):
        command = option(command)
    return command


def choose_venue(name: str | None, data_dir: Path | None, shm_dir: Path) -> RunningVenue:
    """Return the running venue that the options mean, or end with a sentence."""
    try:
        return find_venue(name, data_dir, shm_dir)
    except VenueNotFoundError as error:
        raise click.ClickException(str(error)) from None


def show(
    update: Callable[[], None],
    record: Callable[[], Record],
    draw: Callable[[Record, int, int], Any],
    *,
    refresh_s: float,
    poll_s: float,
    is_once: bool,
    is_json: bool,
) -> None:
    """Show records until Ctrl-C, or one only.

    Args:
        update: Called every `poll_s`; may raise VenueGoneError, which ends the show.
        record: What is to be shown, as JSON.
        draw: Turns a record into something that rich prints, for a terminal's columns and lines.
        refresh_s: Seconds between two records.
        poll_s: Seconds between two updates.
        is_once: Show one record. So does a human form that goes to no terminal.
        is_json: One JSON object a record and line, in place of the human form.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        if is_json:
            _run(update, lambda: _print_json(record()), refresh_s, poll_s, is_once)
        elif is_once or not sys.stdout.isatty():
            _show_once(record, draw)
        else:
            _show_live(update, record, draw, refresh_s, poll_s)
    except KeyboardInterrupt:
        return
    except BrokenPipeError:
        # Whoever read us has gone; nothing more can be written, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except VenueGoneError as error:
        raise click.ClickException(str(error)) from None


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _run(
    update: Callable[[], None],
    refresh: Callable[[], None],
    refresh_s: float,
    poll_s: float,
    is_once: bool,
) -> None:
    refresh()
    due = time.monotonic() + refresh_s
    while not is_once:
        time.sleep(max(min(poll_s, due - time.monotonic()), 0.001))
        update()
        if time.monotonic() >= due:
            refresh()
            due = max(due + refresh_s, time.monotonic())


def _print_json(record: Record) -> None:
    sys.stdout.write(json.dumps(record) + "\n")
    sys.stdout.flush()


def _show_once(record: Callable[[], Record], draw: Callable[[Record, int, int], Any]) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    console.print(draw(record(), console.width, 1000))


def _show_live(
    update: Callable[[], None],
    record: Callable[[], Record],
    draw: Callable[[Record, int, int], Any],
    refresh_s: float,
    poll_s: float,
) -> None:
    from rich.console import Console
    from rich.live import Live

    console = Console(highlight=False)
    last = None
    try:
        with Live(console=console, screen=True, auto_refresh=False) as live:

            def refresh() -> None:
                nonlocal last
                last = record()
                live.update(draw(last, console.width, console.height), refresh=True)

            _run(update, refresh, refresh_s, poll_s, False)
    finally:
        # The screen is given back as it was: leave the last picture on it.
        if last is not None:
            console.print(draw(last, console.width, console.height))

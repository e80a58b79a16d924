"""`openoutcry fix-log`: read what was said in FIX from a capture or a log."""

import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import BufferedReader
from pathlib import Path
from typing import cast

import click

from openoutcry.clients.fix_log import LogEntry, LogReader
from openoutcry.clients.fix_log_view import View, version_named
from openoutcry.protocol.fix.versions import VERSIONS

_CHUNK_BYTES = 1 << 20
#: How often a followed file is looked at.
_LOOK_S = 0.2
_TIME_OF_DAY = re.compile(r"(\d{2}):(\d{2}):(\d{2})(?:\.(\d{1,6}))?")
_CL_ORD_IDS = (11, 41)


@dataclass(frozen=True, slots=True)
class Filters:
    """What of a log to show; all that is set must hold."""

    sessions: tuple[str, ...] = ()
    types: frozenset[str] = frozenset()
    #: (tag, value, or None for any).
    tags: tuple[tuple[int, bytes | None], ...] = ()
    since: str | None = None
    until: str | None = None
    direction: str | None = None
    faulty: bool = False

    def takes(self, entry: LogEntry, name: str) -> bool:
        """Tell whether a message is to be shown; `name` is its name."""
        comp_ids = {entry.get(49).decode("latin-1"), entry.get(56).decode("latin-1")}
        kinds = {entry.get(35).decode("latin-1"), name.lower()}
        return (
            (not self.sessions or not comp_ids.isdisjoint(self.sessions))
            and (not self.types or not kinds.isdisjoint(self.types))
            and all(_has(entry, tag, value) for tag, value in self.tags)
            and (self.direction is None or entry.direction == self.direction)
            and (not self.faulty or bool(entry.faults))
            and self._is_in_time(entry)
        )

    def _is_in_time(self, entry: LogEntry) -> bool:
        if self.since is None and self.until is None:
            return True
        at = entry.time
        if at is None:
            return False
        since, until = _moment(self.since, at), _moment(self.until, at)
        return (since is None or at >= since) and (until is None or at <= until)


def _has(entry: LogEntry, tag: int, value: bytes | None) -> bool:
    return any(each == tag and value in (None, found) for each, found in entry.fields)


def _moment(text: str | None, near: datetime) -> datetime | None:
    """Return a time that was asked for; a time of day is one of the message's own day."""
    if text is None:
        return None
    of_day = _TIME_OF_DAY.fullmatch(text)
    if of_day is not None:
        hour, minute, second = (int(of_day[n]) for n in (1, 2, 3))
        micros = int((of_day[4] or "0").ljust(6, "0"))
        start = near.replace(hour=0, minute=0, second=0, microsecond=0)
        return start + timedelta(hours=hour, minutes=minute, seconds=second, microseconds=micros)
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


class Chain:
    """The orders that belong to one identifier: its replaces and cancels, by what they name."""

    def __init__(self, identifier: str) -> None:
        self._known: set[tuple[object, ...]] = set()
        self._wanted = identifier.encode("latin-1", "replace")

    def takes(self, entry: LogEntry) -> bool:
        """Tell whether a message is of the chain, which takes the identifiers it names in."""
        names = self._names(entry)
        if self._known.isdisjoint(names) and self._wanted not in {name[-1] for name in names}:
            return False
        self._known |= names
        return True

    @property
    def size(self) -> int:
        """How many identifiers are known."""
        return len(self._known)

    @staticmethod
    def _names(entry: LogEntry) -> set[tuple[object, ...]]:
        # ClOrdIDs are a session's own; OrderIDs are the venue's.
        session = tuple(sorted((entry.get(49), entry.get(56))))
        names: set[tuple[object, ...]] = {
            (session, value) for tag in _CL_ORD_IDS if (value := entry.get(tag))
        }
        if (order_id := entry.get(37)) not in (b"", b"NONE"):
            names.add((b"OrderID", order_id))
        return names


def read(stream: BufferedReader) -> Iterator[LogEntry]:
    """Yield the messages of a stream until its end."""
    reader = LogReader()
    while data := stream.read1(_CHUNK_BYTES):
        yield from reader.feed(data)
    yield from reader.end()


def follow(path: Path, *, is_done: Callable[[], bool] = lambda: False) -> Iterator[LogEntry]:
    """Yield the messages of a file as it grows; begin again where it was replaced or cut."""
    while not is_done():
        reader = LogReader()
        with path.open("rb") as stream:
            opened = os.fstat(stream.fileno()).st_ino
            while True:
                data = stream.read(_CHUNK_BYTES)
                if data:
                    yield from reader.feed(data)
                    continue
                if is_done():
                    break
                with suppress(FileNotFoundError):
                    now = path.stat()
                    if now.st_ino != opened or now.st_size < stream.tell():
                        break
                time.sleep(_LOOK_S)
            # What was written between the last look and the change.
            yield from reader.feed(stream.read())
        yield from reader.end()


def of_chain(entries: Iterable[LogEntry], identifier: str) -> list[LogEntry]:
    """Return the messages of one order's chain, whichever of its identifiers was given."""
    found = list(entries)
    chain = Chain(identifier)
    size = -1
    while chain.size > size:
        size = chain.size
        for entry in found:
            chain.takes(entry)
    return [entry for entry in found if chain.takes(entry)]


def _parse_tags(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[tuple[int, bytes | None], ...]:
    parsed = []
    for text in values:
        tag, equals, value = text.partition("=")
        if not tag.isascii() or not tag.isdigit():
            raise click.BadParameter(f"{text!r} is not TAG or TAG=VALUE")
        parsed.append((int(tag), value.encode("latin-1", "replace") if equals else None))
    return tuple(parsed)


def _parse_time(context: click.Context, parameter: click.Parameter, text: str | None) -> str | None:
    try:
        _moment(text, datetime.now(UTC))
    except ValueError:
        raise click.BadParameter(f"{text!r} is neither HH:MM:SS nor an ISO time") from None
    return text


@click.command()
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--session", "sessions", multiple=True, metavar="ID", help="A CompID of either side.")
@click.option("--order", metavar="ID", help="An order with its replaces: ClOrdID or OrderID.")
@click.option("--type", "types", multiple=True, metavar="TYPE", help="MsgType(35), or its name.")
@click.option("--tag", "tags", multiple=True, callback=_parse_tags, metavar="TAG[=VALUE]",
              help="A field that must be there, perhaps with a value.")  # fmt: skip
@click.option("--since", callback=_parse_time, metavar="TIME",
              help="Not before: HH:MM:SS, or an ISO time; UTC.")  # fmt: skip
@click.option("--until", callback=_parse_time, metavar="TIME", help="Not after.")
@click.option("--direction", type=click.Choice(["in", "out"]), help="As the log's writer saw it.")
@click.option("--validate", "is_judged", is_flag=True,
              help="By the version's dictionary, too; status 1 if anything is wrong.")  # fmt: skip
@click.option("--faulty", is_flag=True, help="Only messages with something wrong.")
@click.option("--version", "label", type=click.Choice([v for v in VERSIONS if v >= "FIX.5"]),
              help="Of FIXT messages whose Logon is not there; otherwise FIX.5.0SP2.")  # fmt: skip
@click.option("--long", "is_long", is_flag=True, help="Field by field, with names.")
@click.option("--json", "is_json", is_flag=True, help="A line of JSON for each message.")
@click.option("--follow", "is_followed", is_flag=True, help="Go on as the file grows.")
def fix_log(
    files: tuple[Path, ...],
    sessions: tuple[str, ...],
    order: str | None,
    types: tuple[str, ...],
    tags: tuple[tuple[int, bytes | None], ...],
    since: str | None,
    until: str | None,
    direction: str | None,
    label: str | None,
    *,
    is_judged: bool,
    faulty: bool,
    is_long: bool,
    is_json: bool,
    is_followed: bool,
) -> None:
    """Show FIX messages of captured streams and of logs, from FILES or standard input.

    Fields may be parted by SOH, | or ^A; what a log puts before a message is read for time and
    direction (in, out). BodyLength and CheckSum are always checked; passwords are never shown.
    """
    if is_followed and len(files) != 1:
        raise click.UsageError("--follow wants one file")
    kinds = {kind for text in types for kind in text.split(",")}
    filters = Filters(
        sessions,
        frozenset(kinds | {kind.lower() for kind in kinds if len(kind) > 2}),
        tags,
        since,
        until,
        direction,
        faulty,
    )
    view = View(version_named(label))
    show = view.as_json if is_json else view.long if is_long else view.one_line
    entries = _seen_by(view, follow(files[0]) if is_followed else _all(files))
    if order is not None:
        if is_followed:
            chain = Chain(order)
            entries = (entry for entry in entries if chain.takes(entry))
        else:
            entries = iter(of_chain(entries, order))
    is_any_wrong = False
    with suppress(KeyboardInterrupt):
        for entry in entries:
            name = "" if entry.is_garbled else view.name(entry)
            if is_judged:
                view.judge(entry)
            if filters.takes(entry, name):
                is_any_wrong |= bool(entry.faults)
                click.echo(show(entry))
                if is_followed:
                    sys.stdout.flush()
    if is_judged and is_any_wrong:
        sys.exit(1)


def _seen_by(view: View, entries: Iterable[LogEntry]) -> Iterator[LogEntry]:
    """Have every Logon count for what follows, shown or not."""
    for entry in entries:
        view.version(entry)
        yield entry


def _all(files: tuple[Path, ...]) -> Iterator[LogEntry]:
    if not files:
        yield from read(cast(BufferedReader, sys.stdin.buffer))
    for path in files:
        with path.open("rb") as stream:
            yield from read(stream)

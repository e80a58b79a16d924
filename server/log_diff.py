"""The first place where the logs of two data directories differ."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openoutcry.engine.log import LOGGED_WORDS, as_words
from openoutcry.engine.pack import REPORT_WORDS
from openoutcry.engine.records import COMMAND, REPORT
from openoutcry.engine.recovery import ReplayExit
from openoutcry.server.journal_names import Names
from openoutcry.server.journal_records import (
    Record,
    command_line,
    command_record,
    report_line,
    report_record,
)
from openoutcry.server.log_reader import CommandReader, ReportReader, find_start


@dataclass
class LogDiff:
    """What a comparison found.

    Attributes:
        what: "command" or "report" where the first difference is; "" without one.
        number: its sequence; without a difference, the last command that both logs have.
        ours, theirs: the record in the one log and in the other.
        ends: last commands of both.
        reports: reports that were compared, all of them equal but the one that differs.
    """

    what: str = ""
    number: int = 0
    ours: Record = field(default_factory=dict)
    theirs: Record = field(default_factory=dict)
    first: int = 1
    ends: tuple[int, int] = (0, 0)
    reports: int = 0
    lines: list[str] = field(default_factory=list)

    @property
    def differs(self) -> bool:
        """Return whether there is a difference; that one log goes on is none."""
        return bool(self.what)

    def record(self) -> Record:
        """Return it for JSON."""
        return {
            "differs": self.what or None,
            "number": self.number,
            "first_command": self.first,
            "last_commands": self.ends,
            "reports_compared": self.reports,
            "this": self.ours or None,
            "other": self.theirs or None,
        }

    def text(self) -> str:
        """Return it as a sentence."""
        if self.what:
            return f"{self.what} {self.number} is the first that differs"
        same = f"commands {self.first} to {self.number} and {self.reports} reports are the same"
        if self.ends[0] == self.ends[1]:
            return same
        which = "this journal" if self.ends[0] > self.ends[1] else "the other"
        return f"{same}; {which} goes on to command {max(self.ends)}"


def diff_logs(folder: Path, other: Path, shard: int, names: Names) -> LogDiff:
    """Compare a shard's command logs, and its report logs as far as both are there.

    Commands are compared by what was logged of them, their time included; how they were framed in
    batches is no difference.

    Raises:
        RecoveryError: a log cannot be read, or is damaged before a difference was found.
    """
    starts = [find_start(each, shard) for each in (folder, other)]
    first = max(start.seq for start in starts) + 1
    found = LogDiff(first=first)
    readers = [
        CommandReader(each, shard, find_start(each, shard, first)) for each in (folder, other)
    ]
    try:
        streams = [_from(reader, first) for reader in readers]
        pair = _first_difference(streams, LOGGED_WORDS, COMMAND)
        if pair is None:
            # One of them ended; how far the other goes on is to be told.
            for following in streams:
                while following() is not None:
                    pass
        found.ends = (readers[0].seq, readers[1].seq)
        if pair is not None:
            found.what, found.number = "command", int(pair[0]["seq"])
            found.ours, found.theirs = (
                command_record(row, names, epoch=reader.epoch, offset=reader.position)
                for row, reader in zip(pair, readers, strict=True)
            )
            for record in (found.ours, found.theirs):
                # Of the piece read, not of the batch.
                del record["epoch"], record["offset"]
            found.lines = [
                f"{label} {command_line({'epoch': '', **record})}"
                for label, record in (("this: ", found.ours), ("other:", found.theirs))
            ]
            return found
        found.number = min(found.ends)
        for reader in readers:
            if reader.end not in {ReplayExit.PIECE, ReplayExit.END}:
                reader.examine()
    finally:
        for reader in readers:
            reader.close()
    _diff_reports(found, folder, other, shard, names)
    return found


def _from(reader: CommandReader, first: int) -> Callable[[], NDArray[Any] | None]:
    """Return a function that gives the next commands from `first` on, None at the end."""
    pieces = reader.pieces()

    def following() -> NDArray[Any] | None:
        for commands, _ in pieces:
            late = commands[commands["seq"] >= first]
            if len(late):
                return late
        return None

    return following


def _diff_reports(found: LogDiff, folder: Path, other: Path, shard: int, names: Names) -> None:
    starts = [find_start(each, shard, found.first) for each in (folder, other)]
    readers = [
        ReportReader(each, shard, start)
        for each, start in zip((folder, other), starts, strict=True)
    ]
    try:
        first = max(start.report_seq for start in starts) + 1
        streams = [_reports_from(reader.pieces(found.number), first) for reader in readers]
        pair = _first_difference(streams, REPORT_WORDS, REPORT)
        found.reports = max(min(reader.report_seq for reader in readers) - first + 1, 0)
        if pair is None:
            return
        found.what, found.number = "report", int(pair[0]["report_seq"])
        found.reports = found.number - first
        found.ours, found.theirs = (report_record(row, names, shard) for row in pair)
        found.lines = [
            f"this:  {report_line(found.ours)}",
            f"other: {report_line(found.theirs)}",
            f"both of command {found.ours['seq']}"
            if found.ours["seq"] == found.theirs["seq"]
            else f"of the commands {found.ours['seq']} and {found.theirs['seq']}",
        ]
    finally:
        for reader in readers:
            reader.close()


def _reports_from(pieces: Iterator[NDArray[Any]], first: int) -> Callable[[], NDArray[Any] | None]:
    def following() -> NDArray[Any] | None:
        for rows in pieces:
            late = rows[rows["report_seq"] >= first]
            if len(late):
                return late
        return None

    return following


def _first_difference(
    streams: list[Callable[[], NDArray[Any] | None]], words: int, layout: np.dtype[np.void]
) -> tuple[Any, Any] | None:
    """Return the first rows of two streams that differ in their first `words` words; None where
    one of them ends first."""
    rows = [np.zeros(0, layout), np.zeros(0, layout)]
    while True:
        for n, stream in enumerate(streams):
            if not len(rows[n]):
                following = stream()
                if following is None:
                    return None
                rows[n] = following
        count = min(len(rows[0]), len(rows[1]))
        ours, theirs = (as_words(each[:count])[:, :words] for each in rows)
        differs = (ours != theirs).any(axis=1)
        if differs.any():
            at = int(np.argmax(differs))
            return rows[0][at], rows[1][at]
        rows = [each[count:] for each in rows]

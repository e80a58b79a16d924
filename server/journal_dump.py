"""`openoutcry journal dump DIR`: what the command logs hold, in readable form."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import click
import msgspec
import numpy as np
from numpy.typing import NDArray

from openoutcry.engine.records import CL_ORD_ID_MAX, REPORT
from openoutcry.engine.recovery import ReplayExit
from openoutcry.server.journal_folder import (
    account_numbers,
    chosen_shards,
    folder_argument,
    read_names,
    running_pid,
    session_numbers,
    shard_option,
    symbol_numbers,
)
from openoutcry.server.journal_names import Names
from openoutcry.server.journal_records import (
    Record,
    command_line,
    command_record,
    report_line,
    report_record,
)
from openoutcry.server.log_end import RecoveryError
from openoutcry.server.log_reader import CommandReader, ReportReader, find_start, join_rows

#: The greatest sequence there is.
LAST_SEQ = (1 << 63) - 1


@dataclass(frozen=True)
class Filter:
    """Which commands are wanted; None: any."""

    symbols: list[int] | None = None
    accounts: list[int] | None = None
    sessions: list[int] | None = None
    cl_ord_id: bytes | None = None
    first_seq: int = 1
    last_seq: int = LAST_SEQ

    def select(self, commands: NDArray[Any]) -> NDArray[np.intp]:
        """Return the places of the commands that are wanted, in order."""
        wanted = (commands["seq"] >= self.first_seq) & (commands["seq"] <= self.last_seq)
        for field, numbers in (
            ("symbol", self.symbols),
            ("account", self.accounts),
            ("session", self.sessions),
        ):
            if numbers is not None:
                wanted &= np.isin(commands[field], numbers)
        if self.cl_ord_id is not None:
            wanted &= (commands["cl_ord_id"] == self.cl_ord_id) | (
                commands["orig_cl_ord_id"] == self.cl_ord_id
            )
        return np.flatnonzero(wanted)


class Found(NamedTuple):
    """A command that is wanted, the epoch and place of its batch, and its reports."""

    command: Any
    epoch: int
    offset: int
    reports: NDArray[Any]


def find_commands(
    reader: CommandReader, wanted: Filter, reports: ReportReader | None = None
) -> Iterator[Found]:
    """Yield the commands wanted, with their reports where a reader of these is given.

    Rows are valid until the next one is asked for.
    """
    nothing: NDArray[Any] = np.zeros(0, np.int64)
    for commands, batches in reader.pieces():
        first = int(commands["seq"][0])
        if first > wanted.last_seq:
            return
        places = wanted.select(commands)
        rows = nothing
        if reports is not None:
            rows = _reports_of(reports, commands, places)
            ends = np.searchsorted(rows["seq"], commands["seq"][places], side="right")
            starts = np.searchsorted(rows["seq"], commands["seq"][places])
        batch_of = np.searchsorted(batches["seq"], commands["seq"][places], side="right") - 1
        for n, place in enumerate(places.tolist()):
            batch = batches[batch_of[n]]
            own = rows[starts[n] : ends[n]] if reports is not None else nothing
            yield Found(commands[place], int(batch["epoch"]), int(batch["position"]), own)


def _reports_of(
    reports: ReportReader, commands: NDArray[Any], places: NDArray[np.intp]
) -> NDArray[Any]:
    """Read the reports of a piece of commands; return those of the commands at `places`."""
    first = int(commands["seq"][0])
    is_wanted = np.zeros(len(commands), np.bool_)
    is_wanted[places] = True
    kept = []
    for rows in reports.pieces(first + len(commands) - 1):
        late = rows[rows["seq"] >= first]
        kept.append(late[is_wanted[late["seq"] - first]])
    return join_rows(kept, REPORT)


@click.command()
@folder_argument
@shard_option("Only this shard; all by default.")
@click.option("--symbol", metavar="NAME", help="Only commands for this symbol.")
@click.option(
    "--account", metavar="NAME", help="Only commands that name this account; cancels name none."
)
@click.option("--session", metavar="ID", help="Only commands of this session.")
@click.option("--cl-ord-id", metavar="ID", help="Only commands that name this ClOrdID.")
@click.option("--from", "first_seq", type=click.IntRange(1), metavar="SEQ", help="Begin here.")
@click.option("--to", "last_seq", type=click.IntRange(1), metavar="SEQ", help="End here.")
@click.option("--reports", "with_reports", is_flag=True, help="With the reports of each command.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def dump(
    folder: Path,
    shard: int | None,
    symbol: str | None,
    account: str | None,
    session: str | None,
    cl_ord_id: str | None,
    first_seq: int | None,
    last_seq: int | None,
    with_reports: bool,
    as_json: bool,
) -> None:
    """Show the commands that the shards of a venue logged in DIR, oldest first.

    The venue may be running. Names that the directory does not know are numbers; for --symbol,
    --account and --session numbers do as well.
    """
    names = read_names(folder)
    if cl_ord_id is not None and not 1 <= len(cl_ord_id) <= CL_ORD_ID_MAX:
        raise click.UsageError(f"a ClOrdID has 1 to {CL_ORD_ID_MAX} characters")
    wanted = Filter(
        symbols=None if symbol is None else symbol_numbers(names, symbol),
        accounts=None if account is None else account_numbers(names, account),
        sessions=None if session is None else session_numbers(names, session),
        cl_ord_id=None if cl_ord_id is None else cl_ord_id.encode(),
        first_seq=first_seq or 1,
        last_seq=last_seq or LAST_SEQ,
    )
    shards = chosen_shards(folder, shard)
    count = 0
    try:
        for number in shards:
            if len(shards) > 1 and not as_json:
                click.echo(f"shard {number}")
            count += _dump(folder, number, names, wanted, with_reports, as_json)
    except RecoveryError as error:
        raise click.ClickException(str(error)) from None
    if not count:
        _tell("no command is what was asked for")


def _dump(
    folder: Path, shard: int, names: Names, wanted: Filter, with_reports: bool, as_json: bool
) -> int:
    """Show a shard's commands; return how many were shown."""
    count = 0
    start = find_start(folder, shard, wanted.first_seq)
    if start.seq >= wanted.first_seq:
        _tell(f"shard {shard}: the log begins behind command {start.seq}; what was before is gone")
    out = sys.stdout.buffer
    with CommandReader(folder, shard, start) as reader:
        reports = ReportReader(folder, shard, start) if with_reports else None
        is_one_missing = False
        for found in find_commands(reader, wanted, reports):
            count += 1
            record = command_record(found.command, names, epoch=found.epoch, offset=found.offset)
            rows = [report_record(row, names, shard) for row in found.reports]
            # Whatever a client asks for is answered; other commands may have nothing to report.
            is_one_missing |= not rows and found.command["session"] != 0
            if as_json:
                out.write(_json_line(shard, record, rows if with_reports else None))
            else:
                lines = [command_line(record), *(below(row) for row in rows)]
                out.write("".join(f"{line}\n" for line in lines).encode())
        out.flush()
        if reports is not None:
            if reports.reason and is_one_missing:
                _tell(
                    f"shard {shard}: reports are shown up to command {reports.seq}: "
                    f"{reports.reason} (openoutcry replay makes them again)"
                )
            reports.close()
        if reader.end != ReplayExit.PIECE:
            tell_end(folder, shard, reader)
            if wanted.first_seq > max(reader.seq, 1):
                _tell(f"shard {shard}: the log ends with command {reader.seq}")
    return count


def below(report: Record) -> str:
    """Return a report's line as it stands below its command's."""
    return f"{'->':>12} {report_line(report)}"


def _json_line(shard: int, record: Record, reports: list[Record] | None) -> bytes:
    line: Record = {"shard": shard, **record}
    if reports is not None:
        line["reports"] = reports
    return msgspec.json.encode(line) + b"\n"


def tell_end(folder: Path, shard: int, reader: CommandReader) -> None:
    """Say on stderr what lies behind the last batch, where something does.

    Raises:
        CorruptLogError: it is damage.
    """
    end = reader.examine()
    if end.is_torn:
        pid = running_pid(folder)
        what = (
            "the batch that a crash cut, which the next start removes"
            if pid is None
            else f"a batch that the venue (pid {pid}) is just writing, or one that a crash cut"
        )
        _tell(
            f"shard {shard}: behind command {reader.seq}, {end.dirty_end - end.position} bytes at "
            f"byte {end.position} of the log are no whole batch: {what}"
        )


def _tell(text: str) -> None:
    click.echo(text, err=True)

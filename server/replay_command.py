"""`openoutcry replay DIR`: run a journal again, and say what comes out."""

from dataclasses import dataclass
from pathlib import Path

import click
import msgspec

from openoutcry.engine.enums import CommandKind
from openoutcry.engine.records import CL_ORD_ID_MAX
from openoutcry.server.gateway_files import last_reports_sent
from openoutcry.server.journal_dump import Filter, find_commands
from openoutcry.server.journal_folder import (
    chosen_shards,
    folder_argument,
    only_shard,
    read_names,
    shard_option,
    symbol_numbers,
)
from openoutcry.server.journal_names import Names
from openoutcry.server.log_diff import LogDiff, diff_logs
from openoutcry.server.log_end import RecoveryError
from openoutcry.server.log_reader import CommandReader, find_start
from openoutcry.server.replay_run import ReplayRun
from openoutcry.server.segments import SegmentError
from openoutcry.server.snapshots import SnapshotError

#: What a client can send under a ClOrdID of its own.
_NAMED_KINDS = (CommandKind.NEW, CommandKind.REPLACE, CommandKind.CANCEL)


@click.command()
@folder_argument
@shard_option("Only this shard; all by default.")
@click.option(
    "--to", "last_seq", type=click.IntRange(1), metavar="SEQ", help="Stop behind this command."
)
@click.option(
    "--to-order",
    metavar="CLORDID",
    help="Stop before the command with this ClOrdID; show it, and its reports.",
)
@click.option("--from-snapshot", is_flag=True, help="Begin with the newest good snapshot.")
@click.option("--verify", is_flag=True, help="Compare the report log and the snapshots' hashes.")
@click.option("--book", "symbol", metavar="SYMBOL", help="Print this symbol's book at the end.")
@click.option(
    "--levels", type=click.IntRange(1, 100_000), default=10, show_default=True, help="Of --book."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a shard.")
@click.option(
    "--diff",
    "other",
    metavar="OTHER",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Replay nothing; name the first place where the logs in OTHER differ.",
)
def replay(
    folder: Path,
    shard: int | None,
    last_seq: int | None,
    to_order: str | None,
    from_snapshot: bool,
    verify: bool,
    symbol: str | None,
    levels: int,
    as_json: bool,
    other: Path | None,
) -> None:
    """Run the commands in the journal of DIR again, and print where the books stand then.

    The same log gives the same reports and the same state hash, on any machine. Nothing in DIR is
    changed, and a venue may be running there. The status is 1 where --verify or --diff finds a
    difference, or the log is damaged.
    """
    names = read_names(folder)
    try:
        if other is not None:
            if last_seq or to_order or from_snapshot or verify or symbol:
                raise click.UsageError("--diff compares two journals, and replays none")
            _diff(folder, other, shard, names, as_json)
            return
        if last_seq is not None and to_order is not None:
            raise click.UsageError("--to and --to-order both say where to stop: give one")
        wanted = None if symbol is None else symbol_numbers(names, symbol)[-1]
        order: _Order | None = None
        if to_order is not None:
            order = _find_order(folder, shard, to_order)
            shard, last_seq = order.shard, order.seq - 1
        elif last_seq is not None:
            shard = only_shard(folder, shard, "--to")
        is_good, is_shown = True, wanted is None
        # Looked at before the logs: what is sent meanwhile is in these.
        sent = last_reports_sent(folder) if verify and last_seq is None else {}
        for number in chosen_shards(folder, shard):
            run = ReplayRun(
                folder, number, names, last_seq, from_snapshot, verify, sent.get(number)
            )
            try:
                run.go()
                if wanted is not None and run.has_symbol(wanted):
                    run.take_book(wanted, levels)
                    is_shown = True
                if order is not None:
                    run.execute(order.seq, order.cl_ord_id)
                run.show(as_json)
                is_good = is_good and run.is_good
            finally:
                run.close()
    except (RecoveryError, SegmentError, SnapshotError) as error:
        raise click.ClickException(str(error)) from None
    if not is_shown:
        raise click.ClickException(f"no shard that was replayed has a symbol {symbol!r}")
    if not is_good:
        raise SystemExit(1)


@dataclass(frozen=True)
class _Order:
    """The command that a ClOrdID means."""

    cl_ord_id: str
    shard: int
    seq: int


def _find_order(folder: Path, shard: int | None, cl_ord_id: str) -> _Order:
    """Find the command with a ClOrdID; raise click.ClickException where there is not just one."""
    if not 1 <= len(cl_ord_id) <= CL_ORD_ID_MAX:
        raise click.UsageError(f"a ClOrdID has 1 to {CL_ORD_ID_MAX} characters")
    found: list[tuple[int, int, str]] = []
    wanted = Filter(cl_ord_id=cl_ord_id.encode())
    for number in chosen_shards(folder, shard):
        with CommandReader(folder, number, find_start(folder, number)) as reader:
            for command, _, _, _ in find_commands(reader, wanted):
                kind = int(command["kind"])
                if bytes(command["cl_ord_id"]) == wanted.cl_ord_id and kind in _NAMED_KINDS:
                    what = f"{CommandKind(kind).name} of session {int(command['session'])}"
                    found.append((number, int(command["seq"]), what))
    if not found:
        raise click.ClickException(
            f"no order, replace or cancel with ClOrdID {cl_ord_id!r} is in the command logs of "
            f"{folder}: a gateway rejected it by itself, or what was logged then is in the archive"
        )
    if len(found) > 1:
        places = "; ".join(f"shard {n}, command {seq} ({what})" for n, seq, what in found[:10])
        raise click.ClickException(
            f"ClOrdID {cl_ord_id!r} was sent {len(found)} times: {places}. Choose with --shard N "
            f"--to SEQ, one less than the command's number for the book that it met"
        )
    return _Order(cl_ord_id, found[0][0], found[0][1])


def _diff(folder: Path, other: Path, shard: int | None, names: Names, as_json: bool) -> None:
    """Show where the logs of two folders differ."""
    shards = chosen_shards(folder, shard)
    is_same = True
    for number in shards:
        chosen_shards(other, number)
        found = diff_logs(folder, other, number, names)
        is_same = is_same and not found.differs
        if as_json:
            click.echo(msgspec.json.encode({"shard": number, **found.record()}).decode())
        else:
            _show_diff(number, found)
    if not is_same:
        raise SystemExit(1)


def _show_diff(shard: int, found: LogDiff) -> None:
    click.echo(f"shard {shard}: {found.text()}")
    for line in found.lines:
        click.echo(f"  {line}")

"""`openoutcry journal verify DIR`: is everything in a data directory as it was written?"""

from collections.abc import Callable
from pathlib import Path

import click
import msgspec

from openoutcry.engine.recovery import ReplayExit
from openoutcry.server.directory import FILE_NAME, DirectoryError, read_directory
from openoutcry.server.gateway_files import last_reports_sent, lost_end
from openoutcry.server.journal_folder import (
    chosen_shards,
    folder_argument,
    running_pid,
    shard_option,
)
from openoutcry.server.journal_verify_gateway import check_gateways
from openoutcry.server.log_end import (
    CorruptLogError,
    LogEnd,
    RecoveryError,
    first_log_byte,
    log_name,
)
from openoutcry.server.log_reader import (
    CommandReader,
    LogStart,
    ReportReader,
    first_batch_from,
)
from openoutcry.server.segments import SegmentError, read_segment_header, segments_on_disk
from openoutcry.server.snapshots import (
    SnapshotError,
    load_snapshot,
    read_header,
    read_snapshot,
    snapshots,
)
from openoutcry.server.verify_segments import DAMAGED, NOTE, OK, Finding, check_segments


@click.command()
@folder_argument
@shard_option("Only this shard's files; every file by default.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a finding.")
def verify(folder: Path, shard: int | None, as_json: bool) -> None:
    """Check the files in DIR: headers, checksums, sequences, snapshots and their hashes.

    Nothing is changed, and a venue may be running there. What each command made of the books is not
    looked at: `openoutcry replay DIR --verify` does that. The status is 1 where something is
    damaged; each line says where, and what to do.
    """
    damaged = 0
    for finding in check_folder(folder, shard):
        damaged += finding.state == DAMAGED
        if as_json:
            click.echo(msgspec.json.encode(finding).decode())
        else:
            click.echo(finding.line())
    if damaged:
        if not as_json:
            click.echo(f"{damaged} {'part is' if damaged == 1 else 'parts are'} damaged")
        raise SystemExit(1)
    if not as_json:
        click.echo("no damage")


def check_folder(folder: Path, shard: int | None = None) -> list[Finding]:
    """Check everything in a data directory, or what belongs to one shard."""
    findings: list[Finding] = []
    # Looked at before the logs: what is sent meanwhile is in these.
    sent = _last_sent(folder)
    for number in chosen_shards(folder, shard):
        logs = (log_name(number), f"shard-{number}-reports")
        usable = [check_segments(folder, name, findings.append) for name in logs]
        good = _check_snapshots(folder, number, findings.append)
        found = _check_commands(folder, number, findings.append) if usable[0] else None
        if found is None:
            continue
        with found[0] as reader:
            is_lost = usable[1] and _check_reports(
                folder, reader, good, sent.get(number), findings.append
            )
            if found[1].is_torn and not is_lost:
                findings.append(_torn_tail(folder, reader, found[1]))
    if shard is None:
        check_gateways(folder, findings.append)
        _check_directory(folder, findings.append)
    return findings


def _check_directory(folder: Path, tell: Callable[[Finding], None]) -> None:
    path = folder / FILE_NAME
    if not path.exists():
        tell(Finding(FILE_NAME, NOTE, "missing: numbers have no names", str(path)))
        return
    try:
        content = read_directory(folder)
    except DirectoryError as error:
        tell(Finding(FILE_NAME, DAMAGED, str(error), str(path)))
        return
    text = (
        f"venue {content.venue}: {len(content.symbols)} symbols, {len(content.firms)} firms, "
        f"{len(content.accounts) - 1} accounts, {len(content.sessions)} sessions"
    )
    tell(Finding(FILE_NAME, OK, text))
    if content.torn:
        text = f"its last {content.torn} bytes are no whole line: the next writer cuts them off"
        tell(Finding(FILE_NAME, NOTE, text, str(path)))


def _check_snapshots(folder: Path, shard: int, tell: Callable[[Finding], None]) -> list[LogStart]:
    """Check a shard's snapshots; return where the good ones stand, the newest first."""
    good = []
    for path in snapshots(folder, shard):
        try:
            snapshot = read_snapshot(path)
            load_snapshot(snapshot)
        except (SnapshotError, ValueError) as error:
            text = f"{error}; a recovery takes the one before it: move the file away"
            tell(Finding(path.name, DAMAGED, text, str(path)))
            continue
        header = snapshot.header
        if path.name != f"shard-{shard}-snapshot-{header.seq:020d}.snap" or header.shard != shard:
            text = f"{path} says that it is of shard {header.shard}, command {header.seq}"
            tell(Finding(path.name, DAMAGED, f"{text}: move the file away", str(path)))
            continue
        text = (
            f"{header.open_orders:,} open and {header.finished_orders:,} finished orders behind "
            f"command {header.seq}, state hash {header.state_hash & (1 << 64) - 1:016x}"
        )
        tell(Finding(path.name, OK, text))
        good.append(
            LogStart(
                header.log_bytes,
                header.seq,
                header.report_bytes,
                header.report_seq,
                header.base_ns,
            )
        )
    for path in sorted(folder.glob(f"shard-{shard}-*.new")):
        tell(Finding(path.name, NOTE, "left over by a process that died; nobody reads it"))
    return good


def _last_sent(folder: Path) -> dict[int, tuple[int, int]]:
    try:
        return last_reports_sent(folder)
    except (RecoveryError, SegmentError):
        # That the check of the gateways' files tells of.
        return {}


def _check_commands(
    folder: Path, shard: int, tell: Callable[[Finding], None]
) -> tuple[CommandReader, LogEnd] | None:
    """Check a shard's command log; return a reader that stands at its end, and what is there; or
    None."""
    name = log_name(shard)
    try:
        first_byte = first_log_byte(folder, shard)
        start = LogStart() if first_byte == 0 else first_batch_from(folder, shard, first_byte)
        reader = CommandReader(folder, shard, start)
        first = start.seq + 1 if first_byte == 0 else 0
        epochs: list[int] = []
        batches = 0
        for commands, found in reader.pieces():
            first = first or int(commands["seq"][0])
            batches += len(found)
            epochs = sorted({*epochs, *found["epoch"].tolist()})
        what = "no commands"
        if batches:
            what = (
                f"commands {first} to {reader.seq} in {batches:,} batches, epochs {epochs[0]} to "
                f"{epochs[-1]}, {reader.position:,} bytes"
            )
        if first_byte:
            what += f" from byte {start.log_bytes:,} on ({start.log_bytes - first_byte} before it)"
        end = reader.examine(_floor(folder, shard))
    except CorruptLogError as error:
        tell(Finding(name, DAMAGED, str(error), str(error.path), error.offset))
        return None
    except RecoveryError as error:
        tell(Finding(name, DAMAGED, str(error), str(folder)))
        return None
    tell(Finding(name, OK, what))
    return reader, end


def _torn_tail(folder: Path, reader: CommandReader, end: LogEnd) -> Finding:
    path, offset = reader.locate(end.position)
    why = (
        "it does not follow what is before it"
        if reader.end == ReplayExit.OUT_OF_ORDER
        else "it is no whole batch"
    )
    pid = running_pid(folder)
    missing = reader.goes_on_in()
    if missing is not None:
        remedy = (
            f"its batch goes on in {missing.name}, which is not here, as in a part of an archive"
        )
    elif pid is None:
        remedy = "the next start cuts it off"
    else:
        remedy = f"the venue (pid {pid}) is writing it, or its next start cuts it off"
    text = (
        f"torn tail: {end.dirty_end - end.position} bytes at byte {end.position} of the log "
        f"({path}, byte {offset}): {why}; {remedy}"
    )
    return Finding(log_name(reader.shard), NOTE, text, str(path), offset)


def _floor(folder: Path, shard: int) -> int:
    """Return how many bytes of the log there were once, as the snapshots say."""
    floor = 0
    for path in snapshots(folder, shard):
        try:
            floor = max(floor, read_header(path).log_bytes)
        except SnapshotError:
            continue
    return floor


def _check_reports(
    folder: Path,
    end: CommandReader,
    good: list[LogStart],
    sent: tuple[int, int] | None,
    tell: Callable[[Finding], None],
) -> bool:
    """Check a shard's report log as far as the commands go (`end` stands behind the last of them);
    return whether the commands end before what gateways have `sent` (see `last_reports_sent`)."""
    name = f"shard-{end.shard}-reports"
    first = segments_on_disk(folder, name)[0]
    start = LogStart()
    if first > 0:
        size = read_segment_header(folder / f"{name}-{first:08d}.seg").segment_bytes
        there = [place for place in good if place.report_bytes >= first * size]
        if not there:
            text = f"not checked: no snapshot tells where a report begins behind segment {first}"
            tell(Finding(name, NOTE, text))
            return False
        start = there[-1]
    with ReportReader(folder, end.shard, start) as reader:
        for _ in reader.pieces(end.seq):
            pass
        text = (
            f"reports {start.report_seq + 1} to {reader.report_seq}, the last one of command "
            f"{reader.seq}, {reader.position:,} bytes"
        )
        if not reader.report_seq > start.report_seq:
            text = "no reports"
        tell(Finding(name, OK, text))
        where = reader.where()
        path, offset = where if where is not None else (folder, 0)
        newest = max((place.report_bytes for place in good), default=0)
        if reader.reason and reader.position < newest:
            text = (
                f"{reader.reason} (byte {reader.position}), but a snapshot stands at byte "
                f"{newest}: restore {path.name} from a backup; until then resends of these "
                f"reports fail"
            )
            tell(Finding(name, DAMAGED, text, str(path), offset))
        if sent is None or sent[0] < max(reader.position, newest):
            return False
        row = reader.report_at(sent[0])
        if row is None or row["seq"] <= end.seq:
            text = (
                f"{reader.reason}, and gateway {sent[1]} has sent later ones: `openoutcry replay "
                f"{folder} --verify` tells whether the command log has lost its end, too"
            )
            tell(Finding(name, NOTE, text, str(path), offset))
            return False
        text = lost_end(folder, end.shard, end.position, end.seq, sent[1])
        path, offset = end.locate(end.position)
        tell(Finding(log_name(end.shard), DAMAGED, text, str(path), offset))
        return True

"""`openoutcry journal cut DIR`: give up what lies behind a place where the command log is damaged.

Nothing is deleted: what is given up is moved to a folder beside. The damaged log itself is changed
last, so that a cut that is interrupted leaves a log that a venue still refuses, and that can be cut
again.
"""

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import click
import numpy as np

from openoutcry.engine.records import SHARD_SHIFT
from openoutcry.engine.recovery import ReplayExit
from openoutcry.server.checkpoint import CheckpointFile, checkpoint_sizes, read_checkpoint
from openoutcry.server.durable import rename, sync_file, sync_folder
from openoutcry.server.gateway_files import gateways_in, last_reports_sent
from openoutcry.server.journal_folder import chosen_shards, folder_argument, shard_option
from openoutcry.server.log_end import (
    CorruptLogError,
    RecoveryError,
    find_end,
    log_name,
)
from openoutcry.server.log_reader import CommandReader, first_batch_from
from openoutcry.server.memory import FolderInUseError, lock_folder
from openoutcry.server.replica import FollowEnd, Replica
from openoutcry.server.segments import (
    HEADER_BYTES,
    SegmentError,
    read_segment_header,
    segments_on_disk,
)
from openoutcry.server.sessions import (
    BLOCK_BYTES,
    BLOCK_ENTRIES,
    BLOCK_HEADER_WORDS,
    BLOCK_WORDS,
    SEGMENT_HEAD_WORDS,
    SEGMENT_MARK,
    SOURCE_ADMINISTRATIVE,
)
from openoutcry.server.shard_guard import lock_shard
from openoutcry.server.snapshots import SnapshotError, read_header, snapshots, verify_snapshot

_ZEROS = bytes(1 << 20)


@click.command()
@folder_argument
@shard_option("The shard whose log is cut.")
@click.option(
    "--at",
    "position",
    type=click.IntRange(0),
    metavar="OFFSET",
    help="Byte of the log at which a batch begins; by default where it is damaged.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
def cut(folder: Path, shard: int | None, position: int | None, yes: bool) -> None:
    """Give up the command log of a shard from a batch on, so that the venue starts again.

    The last remedy, where the log is damaged and there is no backup: commands are given up that
    clients were told of. They are moved aside, with all that was made of them, and nothing is
    deleted. The venue must not run.
    """
    try:
        if shard is None or len(chosen_shards(folder, shard)) != 1:
            raise click.UsageError("name the shard whose log is cut: --shard N")
        with _locked(folder, shard):
            plan = _plan(folder, shard, position)
            for line in plan.text():
                click.echo(line)
            if not yes:
                click.confirm("Cut?", abort=True)
            aside = carry_out(plan)
    except FolderInUseError as error:
        raise click.ClickException(f"{error}: stop it first") from None
    except (RecoveryError, SegmentError, OSError) as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"cut: what was given up is in {aside}")
    click.echo(f"start the venue; check with: openoutcry journal verify {folder}")


@contextlib.contextmanager
def _locked(folder: Path, shard: int) -> Iterator[None]:
    """Hold the locks that a venue would hold."""
    descriptors = [lock_folder(folder)]
    try:
        descriptors.append(lock_shard(folder, shard))
        yield
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


@dataclass
class CutPlan:
    """What a cut does.

    Attributes:
        position: the byte of the command log that becomes its end.
        seq: the last command that stays.
        last_seq: the last command that can be read behind it; `seq` where there is none.
        report_seq, report_bytes: the last report that stays, and the end of the report log.
        snapshots: those of books that are given up.
    """

    folder: Path
    shard: int
    position: int
    seq: int
    last_seq: int
    report_seq: int
    report_bytes: int
    snapshots: list[Path] = field(default_factory=list)

    def text(self) -> list[str]:
        """Return what the operator should know."""
        lines = [
            f"shard {self.shard}: the log ends with command {self.seq} from now on, at byte "
            f"{self.position} ({_place(self.folder, log_name(self.shard), self.position)})"
        ]
        if self.last_seq > self.seq:
            lines.append(
                f"given up: the {self.last_seq - self.seq} commands {self.seq + 1} to "
                f"{self.last_seq}, and what cannot be read behind them"
            )
        else:
            lines.append("given up: commands that cannot be read, their number is not known")
        lines += [
            "sessions may have been told of them: orders, cancels and trades that were reported "
            "are undone, and the OrderIDs, ExecIDs and TradeIDs of these reports will be given "
            "again. Sessions keep their sequence numbers; what is given up is gap-filled when a "
            "client asks for it again. Tell the clients, and compare positions.",
        ]
        if self.snapshots:
            names = ", ".join(path.name for path in self.snapshots)
            lines.append(f"moved aside with them: {names}")
        return lines


def _place(folder: Path, name: str, position: int) -> str:
    indexes = segments_on_disk(folder, name)
    size = read_segment_header(folder / f"{name}-{indexes[0]:08d}.seg").segment_bytes
    index, offset = divmod(position, size)
    return f"{name}-{index:08d}.seg, byte {HEADER_BYTES + offset}"


def _plan(folder: Path, shard: int, position: int | None) -> CutPlan:
    """Find out what a cut gives up.

    Raises:
        RecoveryError: there is nothing to cut, or no batch begins there.
    """
    if position is None:
        position = _damage(folder, shard)
    start: Path | bool = False
    given_up = []
    for path in snapshots(folder, shard):
        try:
            header = verify_snapshot(path)
        except SnapshotError:
            continue
        if header.log_bytes > position:
            given_up.append(path)
        elif start is False:
            start = path
    replica = Replica.open(folder, shard, snapshot=start)
    try:
        result = replica.follow(end_bytes=position)
        if replica.log_bytes != position or result.end not in {FollowEnd.END, FollowEnd.TORN}:
            raise RecoveryError(
                f"no batch of shard {shard} begins at byte {position}: the log can be read up to "
                f"byte {replica.log_bytes}; cut there, or where `openoutcry journal verify` says"
            )
        last_seq = _last_seq(folder, shard, position, replica.seq)
        return CutPlan(
            folder,
            shard,
            position,
            replica.seq,
            last_seq,
            replica.report_seq,
            replica.report_bytes,
            given_up,
        )
    finally:
        replica.close()


def _damage(folder: Path, shard: int) -> int:
    """Return where a shard's log is damaged, or has lost its end.

    Raises:
        RecoveryError: it is not, or where no start reads it.
    """
    newest = next((path for path in snapshots(folder, shard) if _is_good(path)), None)
    floor = 0 if newest is None else read_header(newest).log_bytes
    is_startable = newest is not None
    if newest is not None:
        try:
            find_end(folder, shard, start=floor, floor=floor)
        except CorruptLogError as error:
            return error.position
        except RecoveryError:
            is_startable = False
    try:
        find_end(folder, shard, floor=floor)
    except CorruptLogError as error:
        if newest is None or not is_startable:
            return error.position
        raise RecoveryError(
            f"the log is damaged at byte {error.position}, and the venue starts from "
            f"{newest.name} behind it all the same: nothing has to be given up. Restore "
            f"{error.path.name} from a backup for what reads the whole log; --at OFFSET cuts "
            "nevertheless"
        ) from error
    with contextlib.closing(Replica.open(folder, shard, snapshot=newest or False)) as replica:
        replica.follow()
        sent, _ = last_reports_sent(folder).get(shard, (-1, 0))
        if sent >= replica.report_bytes:
            return replica.log_bytes
    raise RecoveryError(
        f"the command log of shard {shard} in {folder} is not damaged (a torn tail is cut by the "
        f"next start): there is nothing to give up; --at OFFSET cuts a good one"
    )


def _is_good(path: Path) -> bool:
    try:
        verify_snapshot(path)
    except SnapshotError:
        return False
    return True


def _last_seq(folder: Path, shard: int, position: int, seq: int) -> int:
    """Return the last command that can be read behind a position, `seq` where there is none."""
    while True:
        try:
            start = first_batch_from(folder, shard, position)
            with CommandReader(folder, shard, start) as reader:
                for _ in reader.pieces():
                    pass
                seq = max(seq, reader.seq)
                if reader.end == ReplayExit.END or reader.position <= position:
                    return seq
                position = reader.position + 8
        except RecoveryError:
            return seq


def carry_out(plan: CutPlan) -> Path:
    """Move aside what is given up; return the folder where it is.

    Raises:
        OSError: a file cannot be written; the command log is as it was, or can be cut again.
    """
    folder, shard = plan.folder, plan.shard
    aside = _new_folder(folder, f"cut-shard-{shard}-at-{plan.position}")
    for gateway in gateways_in(folder):
        _forget_reports(folder, gateway, plan, aside)
    _cut_series(folder, f"shard-{shard}-reports", plan.report_bytes, aside)
    for path in plan.snapshots:
        rename(path, aside / path.name)
    _cut_series(folder, log_name(shard), plan.position, aside)
    sync_folder(aside)
    sync_folder(folder)
    return aside


def _new_folder(folder: Path, name: str) -> Path:
    for path in (folder / name, *(folder / f"{name}-{n}" for n in range(2, 1000))):
        with contextlib.suppress(FileExistsError):
            path.mkdir()
            return path
    raise FileExistsError(f"{folder / name} and its likes are there already")


def _cut_series(folder: Path, name: str, position: int, aside: Path) -> None:
    """Keep the bytes of a series below a position, and move the rest aside."""
    indexes = segments_on_disk(folder, name)
    if not indexes:
        return
    # From the end on: what stays is a series without a hole at any moment.
    for index in reversed(indexes):
        path = folder / f"{name}-{index:08d}.seg"
        try:
            start = index * read_segment_header(path).segment_bytes
        except SegmentError:
            start = position + 1
        if start > position:
            rename(path, aside / path.name)
            continue
        if (offset := HEADER_BYTES + position - start) < path.stat().st_size:
            _keep_copy(path, aside)
            _zero_from(path, offset)
        return


def _keep_copy(path: Path, aside: Path) -> None:
    copy = aside / path.name
    shutil.copyfile(path, copy)
    _sync(copy)


def _zero_from(path: Path, offset: int) -> None:
    fd = os.open(path, os.O_RDWR)
    try:
        size = os.fstat(fd).st_size
        for at in range(offset, size, len(_ZEROS)):
            os.pwrite(fd, _ZEROS[: size - at], at)
        sync_file(fd, path)
    finally:
        os.close(fd)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        sync_file(fd, path)
    finally:
        os.close(fd)


def _forget_reports(folder: Path, gateway: int, plan: CutPlan, aside: Path) -> None:
    """Let a gateway's index point at none of the reports that are given up.

    Their numbers stay, and are gap-filled: a session's numbers never mean two things.
    """
    name = f"gateway-{gateway}-index"
    for index in segments_on_disk(folder, name):
        path = folder / f"{name}-{index:08d}.seg"
        data = np.memmap(path, np.uint8, "r", HEADER_BYTES)
        blocks = np.array(data).view(np.int64).reshape(-1, BLOCK_WORDS)
        if _forget(blocks, plan):
            _keep_copy(path, aside)
            fd = os.open(path, os.O_RDWR)
            try:
                os.pwrite(fd, blocks.tobytes(), HEADER_BYTES)
                sync_file(fd, path)
            finally:
                os.close(fd)
    path = folder / f"gateway-{gateway}-checkpoint"
    if not path.exists():
        return
    found = read_checkpoint(path)
    if found is None or plan.shard >= len(found.shards):
        return
    place = found.shards[plan.shard]
    if place["position"] <= plan.report_bytes:
        return
    _keep_copy(path, aside)
    for number, position in (("next_report", "position"), ("first_report", "first_position")):
        if place[position] > plan.report_bytes:
            place[position] = plan.report_bytes
            place[number] = plan.report_seq + 1
    file = CheckpointFile(path, *checkpoint_sizes(path))
    try:
        # Both slots: the older one would lead behind the cut, too.
        for _ in range(2):
            file.write(file.image(found))
        file.sync()
    finally:
        file.close()


def _forget(blocks: np.ndarray[tuple[int, int], np.dtype[np.int64]], plan: CutPlan) -> bool:
    """Change index blocks in place; return whether anything was to be changed."""
    assert BLOCK_BYTES == 8 * BLOCK_WORDS
    first = plan.shard << SHARD_SHIFT | plan.report_bytes
    stop = (plan.shard + 1) << SHARD_SHIFT
    entries = blocks[:, BLOCK_HEADER_WORDS:].reshape(len(blocks), BLOCK_ENTRIES, 2)
    sources = entries[:, :, 1]
    is_block = (blocks[:, 0] > 0)[:, None]
    is_written = np.arange(BLOCK_ENTRIES) < blocks[:, 4:5]
    is_given_up = is_block & is_written & (sources >= first) & (sources < stop)
    sources[is_given_up] = SOURCE_ADMINISTRATIVE
    changed = bool(is_given_up.any())
    heads = blocks[blocks[:, 0] == SEGMENT_MARK]
    at = SEGMENT_HEAD_WORDS + plan.shard
    if len(heads) and (heads[:, 1] > plan.shard).all() and (heads[:, at] > plan.report_bytes).any():
        places = blocks[:, 0] == SEGMENT_MARK
        blocks[places, at] = np.minimum(blocks[places, at], plan.report_bytes)
        changed = True
    return changed

"""Where a command log ends, and whether what follows is a torn tail or damage."""

import contextlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from openoutcry.engine.recovery import last_word, later_batch, skip_batches
from openoutcry.server.journal import SegmentedFile, open_segments
from openoutcry.server.segments import SegmentError, segments_on_disk
from openoutcry.server.snapshots import SnapshotError, read_header, snapshots, verify_snapshot


class RecoveryError(Exception):
    """The book cannot be made again; the text is for the operator."""


class CorruptLogError(RecoveryError):
    """The log is damaged where it was good once.

    Attributes:
        path: the segment; offset: the byte in it; position: the byte in the log.
    """

    def __init__(self, text: str, path: Path, offset: int, position: int) -> None:
        super().__init__(text)
        self.path = path
        self.offset = offset
        self.position = position


class LogEnd(NamedTuple):
    """Where a log ends, in bytes: behind its last good batch, and behind the last byte that is not
    0."""

    position: int
    dirty_end: int

    @property
    def is_torn(self) -> bool:
        """Return whether something has to be cut off."""
        return self.dirty_end > self.position


def log_name(shard: int) -> str:
    """Return the name of a shard's command log."""
    return f"shard-{shard}-commands"


def first_log_byte(folder: Path, shard: int) -> int:
    """Return the first byte of a shard's command log that is there; 0 where none is.

    Raises:
        RecoveryError: its first segment is damaged.
    """
    try:
        file = open_segments(folder, log_name(shard))
    except SegmentError as error:
        raise RecoveryError(str(error)) from error
    if file is None:
        return 0
    file.close()
    return file.first_segment * file.segment_bytes


def missing_log(folder: Path, shard: int) -> RecoveryError:
    """Return the error of a log that is gone while its snapshots are there."""
    return RecoveryError(
        f"the command log of shard {shard} is missing in {folder}, though it is known to have been "
        f"there: restore the segments {log_name(shard)}-*.seg"
    )


def open_log(folder: Path, shard: int, byte: int) -> SegmentedFile | None:
    """Open a shard's command log and map the segment that holds a byte.

    Return None where it is not there and need not be: nothing has been written behind that byte.

    Raises:
        RecoveryError: the log does not reach that byte, or is damaged.
    """
    name = log_name(shard)
    try:
        file = open_segments(folder, name)
        if file is None:
            if byte == 0:
                return None
            raise missing_log(folder, shard)
        index = byte // file.segment_bytes
        path = file.segment_path(index)
        if not path.exists():
            file.close()
            is_at_end = segments_on_disk(folder, name)[-1] == index - 1
            if byte == index * file.segment_bytes and is_at_end:
                return None
            raise RecoveryError(
                f"{path} is missing: shard {shard} goes on at byte {byte} of its command log; "
                f"restore the segment from a backup"
            )
        try:
            file.ensure_from(byte)
        except BaseException:
            file.close()
            raise
    except SegmentError as error:
        raise RecoveryError(str(error)) from error
    return file


def map_another(file: SegmentedFile) -> bool:
    """Map the next segment of a log, if there is one; return whether there was.

    Raises:
        RecoveryError: it is damaged, or it is missing while later ones are there.
    """
    index = file.mapped_bytes // file.segment_bytes
    path = file.segment_path(index)
    if not path.exists():
        later = [number for number in segments_on_disk(file.folder, file.name) if number > index]
        if later:
            raise CorruptLogError(
                f"{path} is missing, but {file.segment_path(later[0]).name} is there: restore the "
                f"segment from a backup",
                path,
                0,
                file.mapped_bytes,
            )
        return False
    try:
        file.map_next()
    except SegmentError as error:
        raise RecoveryError(str(error)) from error
    return True


def find_end(folder: Path, shard: int, *, start: int | None = None, floor: int = 0) -> LogEnd:
    """Tell where a shard's log ends, from its frames and checksums alone.

    `start` is the byte of a batch; by default the log's first, or where its segments begin later,
    that of the oldest snapshot behind that place.

    Raises:
        CorruptLogError: the log is damaged where it was good once.
        RecoveryError: no beginning of a batch is known.
    """
    if start is None:
        start = _first_batch(folder, shard)
    file = open_log(folder, shard, start)
    if file is None:
        return LogEnd(start, start)
    try:
        while map_another(file):
            pass
        last = np.array([-1, 0, 0], np.int64)
        words = file.array(np.int64)
        _, position = skip_batches(words, start // 8, file.mapped_bytes // 8, last)
        return examine(file, shard, int(position) * 8, floor)
    finally:
        file.close()


def _first_batch(folder: Path, shard: int) -> int:
    first_byte = first_log_byte(folder, shard)
    if first_byte == 0:
        return 0
    for path in reversed(snapshots(folder, shard)):
        try:
            header = read_header(path)
        except SnapshotError:
            continue
        if header.log_bytes >= first_byte:
            return header.log_bytes
    raise RecoveryError(
        f"the command log of shard {shard} in {folder} begins at byte {first_byte}, and no "
        f"snapshot tells where a batch begins behind it: name one"
    )


def examine(file: SegmentedFile, shard: int, position: int, floor: int) -> LogEnd:
    """Tell what a place is at which no good batch begins; all segments behind it get mapped.

    `floor` is how many bytes of the log are known to have been there.

    Raises:
        CorruptLogError: the log is damaged there, not torn.
    """
    while map_another(file):
        pass
    words = file.array(np.int64)
    limit = file.mapped_bytes // 8
    start = position // 8
    dirty_end = int(last_word(words, start, limit))
    at = start
    while at < dirty_end:
        at, synced = (int(value) for value in later_batch(words, at + 1, limit))
        if at < 0:
            break
        if synced == 0 or synced > position:
            raise _corrupt(
                file, shard, position, f"a good batch follows at byte {at * 8} of the log"
            )
    if floor > position:
        why = f"the log was good up to byte {floor} at least"
        raise _corrupt(file, shard, position, why)
    return LogEnd(position, max(dirty_end * 8, position))


def _snapshot_behind(folder: Path, shard: int, position: int) -> Path | None:
    """Return the newest good snapshot if it stands behind a byte, on a log that reaches so far,
    else None: a start reads nothing before it."""
    for path in snapshots(folder, shard):
        try:
            log_bytes = verify_snapshot(path).log_bytes
        except SnapshotError:
            continue
        with contextlib.suppress(RecoveryError):
            file = open_log(folder, shard, log_bytes)
            if file is not None:
                file.close()
            return path if log_bytes > position else None
        return None
    return None


def _corrupt(file: SegmentedFile, shard: int, position: int, why: str) -> CorruptLogError:
    path, offset = file.locate(position)
    snapshot = _snapshot_behind(file.folder, shard, position)
    if snapshot is not None:
        remedy = (
            f"the venue starts from {snapshot.name} behind it all the same: restore the file from "
            "a backup for what reads the whole log"
        )
    else:
        remedy = (
            "restore the file from a backup, or give up everything from there on with: openoutcry "
            f"journal cut {file.folder} --shard {shard}"
        )
    return CorruptLogError(
        f"{path} is damaged at byte {offset} (byte {position} of the log): {why}; {remedy}",
        path,
        offset,
        position,
    )

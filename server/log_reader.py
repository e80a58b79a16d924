"""A shard's two logs as rows, read in large pieces and executed by nobody.

The tools over a data directory read this way; nothing is written, locked or held back, so a venue
may be running there.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from openoutcry.config.jit import lean_kernel
from openoutcry.engine.log import (
    BATCH_END,
    BATCH_OK,
    MAGIC,
    MAX_BATCH_COMMANDS,
    READ_HEADER_WORDS,
    BatchWord,
    as_words,
    read_batch,
)
from openoutcry.engine.pack import (
    FIRST_BYTE,
    LENGTHS_BYTES,
    MAX_PACKED_BYTES,
    load_word,
    read_header,
    unpack_report,
)
from openoutcry.engine.records import COMMAND, REPORT, SHARD_SHIFT
from openoutcry.engine.recovery import ReplayExit, later_batch
from openoutcry.server.journal import SegmentedFile, open_segments
from openoutcry.server.log_end import (
    LogEnd,
    RecoveryError,
    examine,
    first_log_byte,
    map_another,
    open_log,
)
from openoutcry.server.segments import SegmentError
from openoutcry.server.snapshots import SnapshotError, snapshots
from openoutcry.server.snapshots import read_header as read_snapshot_header

#: A batch as `CommandReader` tells of it: `position` is its byte in the log.
BATCH = np.dtype(
    [
        ("position", "<i8"),
        ("seq", "<i8"),  # of its first command
        ("count", "<i8"),
        ("epoch", "<i8"),
        ("time_ns", "<i8"),
        ("synced", "<i8"),
    ]
)

#: Rows that a piece has room for: 12 MiB of commands or reports.
_ROWS = 1 << 16
_FIRST_LENGTHS, _REST_LENGTHS = 16, 8


@lean_kernel
def read_batches(
    log: NDArray[np.int64],
    position: int,
    limit: int,
    last: NDArray[np.int64],
    commands: NDArray[np.int64],
    batches: NDArray[Any],
    header: NDArray[np.int64],
) -> tuple[int, int, int, int]:
    """Read batches from word `position` on; return (ReplayExit, commands, batches, position).

    `last` has sequence, epoch and time of the command before (a sequence of -1: any may follow),
    and gets those of the last one. The exit is PIECE where there might be no room for the next
    batch: `commands` has at least MAX_BATCH_COMMANDS rows of 24 words, `batches` is of BATCH,
    `header` is scratch of READ_HEADER_WORDS.
    """
    rows = 0
    count = 0
    while rows + MAX_BATCH_COMMANDS <= len(commands) and count < len(batches):
        code, found, after = read_batch(log, position, limit, commands[rows:], header)
        if code == BATCH_END:
            return ReplayExit.END.value, rows, count, position
        if code != BATCH_OK:
            return ReplayExit.TORN.value, rows, count, position
        seq, epoch = header[BatchWord.SEQ], header[BatchWord.EPOCH]
        time_ns = header[BatchWord.TIME_NS]
        if (last[0] >= 0 and seq != last[0] + 1) or epoch < last[1] or time_ns < last[2]:
            return ReplayExit.OUT_OF_ORDER.value, rows, count, position
        batches[count]["position"] = position * 8
        batches[count]["seq"] = seq
        batches[count]["count"] = found
        batches[count]["epoch"] = epoch
        batches[count]["time_ns"] = time_ns
        batches[count]["synced"] = header[BatchWord.SYNCED]
        last[0], last[1], last[2] = seq + found - 1, epoch, time_ns
        rows += found
        count += 1
        position = after
    return ReplayExit.PIECE.value, rows, count, position


@lean_kernel
def packed_bytes(address: int) -> int:
    """Return what the packed row at an address takes, or 0 where its lengths are no lengths."""
    size = LENGTHS_BYTES
    lengths = load_word(address)
    for w in range(_FIRST_LENGTHS):
        n = (lengths >> (4 * w)) & 15
        if n > 8:
            return 0
        size += n
    lengths = load_word(address + 8)
    for w in range(_REST_LENGTHS):
        n = (lengths >> (4 * w)) & 15
        if n > 8:
            return 0
        size += n
    return size


@lean_kernel
def count_rows(address: int, size: int) -> int:
    """Return how many packed rows the bytes at an address are; all of them are whole."""
    count = 0
    at = address
    while at < address + size:
        at += packed_bytes(at)
        count += 1
    return count


@lean_kernel
def read_rows(
    address: int,
    position: int,
    limit: int,
    base_ns: int,
    shard_base: int,
    last: NDArray[np.int64],
    stop_seq: int,
    rows: NDArray[Any],
    words: NDArray[np.int64],
) -> tuple[int, int, int]:
    """Unpack reports from byte `position` of the report log on; return (code, rows, position).

    `last` has number and command of the report before, and gets those of the last one. It ends (0)
    before the first report of a command above `stop_seq`, (1) where `rows` (also seen as words) is
    full, (2) at what is no report that follows, (3) less than a largest report before `limit`.
    """
    count = 0
    while count < len(rows):
        if position + MAX_PACKED_BYTES > limit:
            return 3, count, position
        size = packed_bytes(address + position)
        if size == 0:
            return 2, count, position
        unpack_report(words, count, base_ns, shard_base, address + position)
        if rows[count]["report_seq"] != last[0] + 1 or rows[count]["seq"] < last[1]:
            return 2, count, position
        if rows[count]["seq"] > stop_seq:
            return 0, count, position
        last[0] += 1
        last[1] = rows[count]["seq"]
        position += size
        count += 1
    return 1, count, position


class LogStart(NamedTuple):
    """A place in a shard's logs from which they can be read: behind command `seq`.

    Attributes:
        log_bytes, report_bytes: behind that command, and behind its last report.
        report_seq: that report's number.
        base_ns: base time of the report log; 0: as its own beginning says.
    """

    log_bytes: int = 0
    seq: int = 0
    report_bytes: int = FIRST_BYTE
    report_seq: int = 0
    base_ns: int = 0


def find_start(folder: Path, shard: int, seq: int = 1) -> LogStart:
    """Return the last place that is known at or before a command; the first one where all are
    later.

    The beginning of a log is known, and where each snapshot stood.

    Raises:
        RecoveryError: the log's early segments are gone, and no snapshot tells where a batch
            begins behind them; or its first segment cannot be used.
    """
    first_byte = first_log_byte(folder, shard)
    places = [LogStart()] if first_byte == 0 else []
    for path in snapshots(folder, shard):
        try:
            header = read_snapshot_header(path)
        except SnapshotError:
            continue
        if header.log_bytes >= first_byte and header.shard == shard:
            places.append(
                LogStart(
                    header.log_bytes,
                    header.seq,
                    header.report_bytes,
                    header.report_seq,
                    header.base_ns,
                )
            )
    if not places:
        raise RecoveryError(
            f"the command log of shard {shard} in {folder} begins at byte {first_byte}, and no "
            f"snapshot tells where a batch begins behind it: restore older segments or a snapshot "
            f"from the archive or a backup"
        )
    before = [place for place in places if place.seq < max(seq, 1)]
    return max(before) if before else min(places)


def first_batch_from(folder: Path, shard: int, byte: int) -> LogStart:
    """Return the place of the first whole batch from a byte of the log on; any sequence may follow
    (`seq` is -1), and nothing is known of the report log.

    Raises:
        RecoveryError: there is none.
    """
    file = open_log(folder, shard, byte)
    at = -1
    if file is not None:
        try:
            while at < 0:
                found = later_batch(file.array(np.int64), byte // 8, file.mapped_bytes // 8)
                at = int(found[0])
                if at < 0 and not map_another(file):
                    break
        finally:
            file.close()
    if at < 0:
        raise RecoveryError(f"no whole batch of shard {shard} begins behind byte {byte} of its log")
    return LogStart(at * 8, -1)


#: Where every log begins.
BEGINNING = LogStart()


class CommandReader:
    """Reads a shard's command log in pieces.

    Attributes:
        end: why the last piece was the last: END, TORN or OUT_OF_ORDER; PIECE before that.
        position: the byte behind the last batch read.
    """

    def __init__(self, folder: Path, shard: int, start: LogStart = BEGINNING) -> None:
        self.shard = shard
        self.end = ReplayExit.PIECE
        self.position = start.log_bytes
        self._file = open_log(folder, shard, self.position)
        self._last = np.array([start.seq, 0, 0], np.int64)
        self._commands = np.zeros(_ROWS, COMMAND)
        self._words = as_words(self._commands)
        self._batches = np.zeros(_ROWS, BATCH)
        self._header = np.zeros(READ_HEADER_WORDS, np.int64)

    @property
    def seq(self) -> int:
        """The last command read."""
        return int(self._last[0])

    @property
    def epoch(self) -> int:
        """The epoch of the last batch read; 0 before the first."""
        return int(self._last[1])

    def pieces(self) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
        """Yield (COMMAND rows, BATCH rows of whole batches); the next piece overwrites them.

        Raises:
            RecoveryError: a segment is missing, or cannot be used.
        """
        file = self._file
        if file is None:
            self.end = ReplayExit.END
            return
        log = file.array(np.int64)
        while True:
            code, rows, count, position = read_batches(
                *(log, self.position // 8, file.mapped_bytes // 8, self._last),
                *(self._words, self._batches, self._header),
            )
            self.position = int(position) * 8
            if rows:
                yield self._commands[:rows], self._batches[:count]
                file.drop_below(self.position)
            if code == ReplayExit.PIECE:
                assert rows, "a piece has room for a batch"
                continue
            if code != ReplayExit.OUT_OF_ORDER and map_another(file):
                continue
            self.end = ReplayExit(int(code))
            return

    def examine(self, floor: int = 0) -> LogEnd:
        """Tell what the place is at which the last piece ended; see `log_end.examine`.

        Raises:
            CorruptLogError: the log is damaged there.
        """
        if self._file is None:
            return LogEnd(self.position, self.position)
        return examine(self._file, self.shard, self.position, floor)

    def goes_on_in(self) -> Path | None:
        """Return the segment in which the batch at `position` goes on, if that is not there."""
        file = self._file
        if file is None:
            return None
        at, limit = self.position // 8, file.mapped_bytes // 8
        word = int(file.array(np.int64)[at]) if at < limit else 0
        if word & 0xFFFFFFFF != MAGIC or at + (word >> 35 & 0x1FFFFFFF) <= limit:
            return None
        return file.segment_path(file.mapped_bytes // file.segment_bytes)

    def locate(self, position: int) -> tuple[Path, int]:
        """Return file and byte of a position in the log; only to be asked of a log that exists."""
        assert self._file is not None
        return self._file.locate(position)

    def close(self) -> None:
        """Give the addresses back; pieces must not be used any more."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class ReportReader:
    """Reads a shard's report log in pieces, beside its command log.

    Attributes:
        position: the byte behind the last report read.
        reason: "", or why no more can be read.
    """

    def __init__(self, folder: Path, shard: int, start: LogStart = BEGINNING) -> None:
        self.reason = ""
        self.position = start.report_bytes
        self._base_ns = start.base_ns
        self._shard_base = shard << SHARD_SHIFT
        self._last = np.array([start.report_seq, start.seq], np.int64)
        self._rows = np.zeros(_ROWS, REPORT)
        self._file: SegmentedFile | None = None
        name = f"shard-{shard}-reports"
        try:
            file = open_segments(folder, name)
        except SegmentError as error:
            self.reason = str(error)
            return
        if file is None:
            self.reason = f"there is no report log {name}-*.seg in {folder}"
            return
        self._file = file
        if self.position < file.first_segment * file.segment_bytes:
            self.reason = f"{name} begins behind byte {self.position}"
            return
        try:
            file.ensure_from(self.position)
            if file.mapped_bytes == file.first_byte:
                self.reason = f"{name} ends before byte {self.position}"
            elif not self._base_ns:
                self._base_ns = read_header(file.array(np.int64)[:8])
        except SegmentError as error:
            self.reason = str(error)
        except ValueError as error:
            self.reason = f"{file.segment_path(0)}: {error}"

    @property
    def report_seq(self) -> int:
        """The last report read."""
        return int(self._last[0])

    @property
    def seq(self) -> int:
        """The command of the last report read."""
        return int(self._last[1])

    def pieces(self, stop_seq: int) -> Iterator[NDArray[Any]]:
        """Yield the REPORT rows of the commands up to one; the next piece overwrites them."""
        file = self._file
        while file is not None and not self.reason:
            code, count, position = read_rows(
                *(file.address, self.position, file.mapped_bytes, self._base_ns, self._shard_base),
                *(self._last, stop_seq, self._rows, as_words(self._rows)),
            )
            self.position = int(position)
            if count:
                yield self._rows[:count]
                file.drop_below(self.position)
            if code == 0:
                return
            if code == 1:
                continue
            try:
                if map_another(file):
                    continue
            except RecoveryError as error:
                self.reason = str(error)
                return
            self.reason = f"the report log ends, or is damaged, behind report {self.report_seq}"

    def report_at(self, position: int) -> Any:
        """Return the REPORT row at a byte of the log that lies behind what was read; None where
        there is none."""
        file = self._file
        if file is None or not self._base_ns:
            return None
        try:
            while file.mapped_bytes < position + MAX_PACKED_BYTES:
                if not map_another(file):
                    return None
        except RecoveryError:
            return None
        if packed_bytes(file.address + position) == 0:
            return None
        row = np.zeros(1, REPORT)
        address = file.address + position
        unpack_report(as_words(row), 0, self._base_ns, self._shard_base, address)
        return row[0]

    def where(self) -> tuple[Path, int] | None:
        """Return file and byte of the last report's end; None without a log."""
        return None if self._file is None else self._file.locate(self.position)

    def close(self) -> None:
        """Give the addresses back; pieces must not be used any more."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def join_rows(parts: list[NDArray[Any]], layout: np.dtype[np.void]) -> NDArray[Any]:
    """Return rows one after another (numpy's own way would lay overlapping fields out anew)."""
    words = layout.itemsize // 8
    joined = [np.zeros((0, words), np.int64), *(as_words(part) for part in parts if len(part))]
    return np.concatenate(joined).reshape(-1).view(layout)


def shards_in(folder: Path) -> list[int]:
    """Return the shards that have files in a data directory."""
    found = set()
    for pattern in ("shard-*-commands-*.seg", "shard-*-snapshot-*.snap", "shard-*-reports-*.seg"):
        for path in folder.glob(pattern):
            number = path.name.split("-")[1]
            if number.isdigit():
                found.add(int(number))
    return sorted(found)

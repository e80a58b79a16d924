"""A shard's book made again from its newest good snapshot and the command log behind it.

Recovery, the follower, replay and export all go this one way, so what one of them makes of a log is
what the others do.
"""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from openoutcry.engine.book import Book, Capacity, create_book
from openoutcry.engine.image import ImageError, capacity_of, resize
from openoutcry.engine.log import READ_HEADER_WORDS, as_words
from openoutcry.engine.pack import FIRST_BYTE, MAX_PACKED_BYTES
from openoutcry.engine.records import COMMAND, REPORT, SHARD_SHIFT
from openoutcry.engine.recovery import (
    CURSOR_WORDS,
    READ_ROWS,
    Cursor,
    FollowEnd,
    ReplayExit,
    replay,
)
from openoutcry.engine.snapshot import state_hash
from openoutcry.engine.words import INT64_MAX
from openoutcry.server.journal import SegmentedFile
from openoutcry.server.log_end import (
    CorruptLogError,
    LogEnd,
    RecoveryError,
    examine,
    find_end,
    first_log_byte,
    map_another,
    missing_log,
    open_log,
)
from openoutcry.server.report_sink import LogSink, ReportSink, RowSink
from openoutcry.server.snapshots import (
    Snapshot,
    SnapshotError,
    load_snapshot,
    read_header,
    read_snapshot,
    snapshots,
)

__all__ = [
    "CorruptLogError",
    "FollowEnd",
    "FollowResult",
    "LogEnd",
    "LogSink",
    "RecoveryError",
    "Replica",
    "ReportSink",
    "RowSink",
    "find_end",
]

log = logging.getLogger(__name__)

#: Rows for the reports of a piece of a batch, to begin with.
_ROWS = 16_384
#: What a book is until the log's first batch gives it its sizes.
_NO_CAPACITY = Capacity(open_orders=1, finished_orders=0, levels=1, symbols=1, sessions=1)


class FollowResult(NamedTuple):
    """What a call of `Replica.follow` did: why it ended, how much it executed, where it stands."""

    end: FollowEnd
    commands: int
    reports: int
    #: Byte of the log: TORN, where the bad batch begins.
    position: int
    #: TORN: what is wrong there.
    reason: str = ""


class Replica:
    """A shard's book, as far as it has followed the shard's command log.

    Attributes:
        book: the book; it may be taken over, and lives on when the replica is closed.
        snapshot_seq: the last command in the snapshot that it began with; 0: none.
        venue: the venue's name in that snapshot, or "".
        floor: bytes of the log that were there once, as the snapshots tell.
    """

    def __init__(
        self,
        folder: Path,
        shard: int,
        *,
        events: NDArray[Any] | None = None,
        seed: int = 0,
        faults: int = 0,
    ) -> None:
        self.folder = folder
        self.shard = shard
        self.book: Book = create_book(_NO_CAPACITY, shard, events, seed)
        self.snapshot_seq = 0
        self.venue = ""
        self.floor = 0
        self._events = events
        self._seed = seed
        self._faults = faults
        self._file: SegmentedFile | None = None
        self._cursor = np.zeros(CURSOR_WORDS, np.int64)
        self._cursor[Cursor.REPORT_POSITION] = FIRST_BYTE
        self._commands = np.zeros(READ_ROWS, COMMAND)
        self._header = np.zeros(READ_HEADER_WORDS, np.int64)
        self._make_rows(_ROWS)

    @classmethod
    def open(
        cls,
        folder: Path,
        shard: int,
        *,
        snapshot: bool | Path = True,
        events: NDArray[Any] | None = None,
        seed: int = 0,
        faults: int = 0,
        on_event: Callable[[str], None] = log.warning,
    ) -> Self:
        """Begin with the newest good snapshot, one that is named, or (False) the empty book.

        `events` is the ring for market data, `seed` varies the hash table (engine.book), `faults`
        is the address of the process's FAULTS word. A bad snapshot is told of by `on_event`, and
        the one before it taken.

        Raises:
            RecoveryError: the log does not reach back to a good snapshot, or not up to one.
            SnapshotError: the snapshot named is bad.
        """
        replica = cls(folder, shard, events=events, seed=seed, faults=faults)
        try:
            replica._begin(snapshot, on_event)
        except BaseException:
            replica.close()
            raise
        return replica

    @classmethod
    def of_book(cls, folder: Path, book: Book) -> Self:
        """Stand where a book stands that was made without a log: to take a snapshot of it."""
        replica = cls(folder, book.shard_base >> SHARD_SHIFT)
        replica.book = book
        replica._cursor[Cursor.SEQ] = book.state[0]["seq"]
        replica._cursor[Cursor.TIME_NS] = book.state[0]["time_ns"]
        return replica

    # --- where it stands ---

    @property
    def seq(self) -> int:
        """The last command executed."""
        return int(self._cursor[Cursor.SEQ])

    @property
    def time_ns(self) -> int:
        """That command's time."""
        return int(self.book.state[0]["time_ns"])

    @property
    def epoch(self) -> int:
        """The epoch of that command's batch; 0 before the first."""
        return int(self._cursor[Cursor.EPOCH])

    @property
    def log_bytes(self) -> int:
        """The byte of the command log behind the last batch that is executed whole."""
        return int(self._cursor[Cursor.EXECUTED]) * 8

    @property
    def synced_bytes(self) -> int:
        """How much of the log was on the disk when the last batch was written; 0: unknown."""
        return int(self._cursor[Cursor.SYNCED])

    @property
    def is_between_batches(self) -> bool:
        """Whether `log_bytes` is just behind the last command."""
        return bool(self._cursor[Cursor.AT] == self._cursor[Cursor.WHOLE_AT])

    @property
    def report_seq(self) -> int:
        """The last report."""
        return int(self._cursor[Cursor.REPORT_SEQ])

    @property
    def report_bytes(self) -> int:
        """The byte of the report log behind that report."""
        return int(self._cursor[Cursor.REPORT_POSITION])

    @property
    def base_ns(self) -> int:
        """Base time of the report log: the time of the command log's first batch; 0 before it."""
        return int(self._cursor[Cursor.BASE_NS])

    @property
    def event_seq(self) -> int:
        """The last event of market data."""
        return int(self.book.state[0]["event_seq"])

    @property
    def ring_positions(self) -> list[int]:
        """The position reached in each command ring, after the last batch executed whole."""
        count = int(self._cursor[Cursor.RINGS])
        return [int(p) for p in self._cursor[Cursor.RING_POSITIONS :][:count]]

    @property
    def capacity(self) -> Capacity:
        """The sizes of the book's pools."""
        return capacity_of(self.book)

    def state_hash(self) -> int:
        """Return the hash of the book's state, signed (see engine.snapshot)."""
        return int(state_hash(self.book))

    # --- following the log ---

    def follow(
        self,
        *,
        end_bytes: int | None = None,
        max_commands: int | None = None,
        stop_seq: int | None = None,
        reports: ReportSink | None = None,
    ) -> FollowResult:
        """Execute what the log holds from here on, as far as `end_bytes` where it is given.

        It may be called again and again while the log grows; without `end_bytes`, a batch that is
        just being written is TORN. `max_commands` ends it (LIMIT) behind the batch in which so
        many are executed, `stop_seq` (STOPPED) behind that command, within a batch, too.

        Raises:
            RecoveryError: the log has a command that this program cannot execute.
            OutOfSpaceError: the report log cannot be continued.
        """
        sink = reports or ReportSink()
        cursor = self._cursor
        first_report = self.report_seq
        total = 0
        while True:
            file = self._open_log()
            if file is None:
                return self._result(FollowEnd.END, total, first_report)
            limit = file.mapped_bytes if end_bytes is None else min(file.mapped_bytes, end_bytes)
            code, done = replay(
                self.book,
                file.array(np.int64),
                limit // 8,
                cursor,
                self._commands,
                as_words(self._commands),
                self._header,
                self._fresh,
                self._fresh_words,
                int(self._packed.ctypes.data),
                sink.address,
                sink.from_byte,
                sink.limit(),
                INT64_MAX if max_commands is None else max_commands - total,
                INT64_MAX if stop_seq is None else stop_seq,
                sink.by_piece,
                self._faults,
            )
            total += int(done)
            match ReplayExit(code):
                case ReplayExit.PIECE:
                    first, count = int(cursor[Cursor.FIRST]), int(cursor[Cursor.DONE])
                    rows = self._fresh[: int(cursor[Cursor.ROWS])]
                    sink.take(self._commands[first : first + count], rows)
                case ReplayExit.CAPACITY:
                    self._change_capacity()
                    total += 1
                    at = int(cursor[Cursor.AT])
                    sink.take(self._commands[at - 1 : at], self._fresh[:0])
                case ReplayExit.ROWS:
                    wanted = int(cursor[Cursor.ROWS_WANTED])
                    self._make_rows(max(wanted, 2 * len(self._fresh)))
                case ReplayExit.REPORT_SEGMENT:
                    rows_bytes = (int(cursor[Cursor.ROWS]) + 1) * MAX_PACKED_BYTES
                    sink.make_room(self.report_bytes + rows_bytes)
                case ReplayExit.END | ReplayExit.TORN if self._map_more(limit, end_bytes):
                    pass
                case ReplayExit.LIMIT:
                    return self._result(FollowEnd.LIMIT, total, first_report)
                case ReplayExit.STOPPED:
                    return self._result(FollowEnd.STOPPED, total, first_report)
                case ReplayExit.END if end_bytes is None or self.log_bytes >= end_bytes:
                    return self._result(FollowEnd.END, total, first_report)
                case bad:
                    return self._result(FollowEnd.TORN, total, first_report, _REASONS[bad])

    def _result(
        self, end: FollowEnd, commands: int, first_report: int, reason: str = ""
    ) -> FollowResult:
        if self._file is not None:
            # What lies behind is not read again, and need not stay resident.
            self._file.drop_below(self.log_bytes)
        return FollowResult(end, commands, self.report_seq - first_report, self.log_bytes, reason)

    def _make_rows(self, rows: int) -> None:
        self._fresh = np.zeros(rows, REPORT)
        self._fresh_words = as_words(self._fresh)
        self._packed = np.empty((rows + 1) * MAX_PACKED_BYTES, np.uint8)

    def _open_log(self) -> SegmentedFile | None:
        """Return the log, mapped from here on, or None where there is none yet."""
        if self._file is None:
            self._file = open_log(self.folder, self.shard, self.log_bytes)
        return self._file

    def _map_more(self, limit: int, end_bytes: int | None) -> bool:
        """Map the next segment, if there is one that may be read; return whether there is."""
        file = self._file
        assert file is not None
        if end_bytes is not None and limit >= end_bytes:
            return False
        return map_another(file)

    def _change_capacity(self) -> None:
        """Execute the CAPACITY command that the replay stopped before."""
        cursor = self._cursor
        at = int(cursor[Cursor.AT])
        command = self._commands[at]
        capacity = Capacity(
            open_orders=int(command["price_ticks"]),
            finished_orders=int(command["price2_ticks"]),
            levels=int(command["qty_lots"]),
            symbols=int(command["qty2_lots"]),
            sessions=int(command["expire_ns"]),
        )
        try:
            if capacity != self.capacity:
                self.book = resize(self.book, capacity, self._seed)
        except ValueError as error:
            raise RecoveryError(
                f"command {int(command['seq'])} of shard {self.shard} cannot be executed: {error}"
            ) from error
        self.book.state[0]["seq"] = command["seq"]
        self.book.state[0]["time_ns"] = command["time_ns"]
        cursor[Cursor.AT] = at + 1
        cursor[Cursor.SEQ] = command["seq"]

    # --- the beginning ---

    def _begin(self, snapshot: bool | Path, on_event: Callable[[str], None]) -> None:
        if isinstance(snapshot, Path):
            self._start_from(read_snapshot(snapshot))
        elif snapshot:
            self._start_from_newest(on_event)
        if self._open_log() is None and self.log_bytes == 0 and snapshots(self.folder, self.shard):
            raise missing_log(self.folder, self.shard)

    def _start_from_newest(self, on_event: Callable[[str], None]) -> None:
        first_byte = first_log_byte(self.folder, self.shard)
        reasons = []
        for path in snapshots(self.folder, self.shard):
            try:
                header = read_header(path)
                self.floor = max(self.floor, header.log_bytes)
                if header.log_bytes < first_byte:
                    reasons.append(f"{path.name}: the log behind it is gone")
                    continue
                self._start_from(read_snapshot(path))
            except (SnapshotError, ImageError) as error:
                reasons.append(str(error))
                on_event(f"a snapshot is bad, the one before it is taken: {error}")
                continue
            return
        if first_byte > 0:
            why = "; ".join(reasons) or "there is no snapshot"
            raise RecoveryError(
                f"the command log of shard {self.shard} in {self.folder} begins at byte "
                f"{first_byte}, and no good snapshot tells what was before ({why}): restore an "
                f"older segment or a snapshot from the archive or a backup"
            )
        if reasons:
            on_event(f"no snapshot of shard {self.shard} is good: the whole log is replayed")

    def _start_from(self, snapshot: Snapshot) -> None:
        header = snapshot.header
        if header.shard != self.shard:
            raise SnapshotError(
                f"{snapshot.path} is of shard {header.shard}, not of shard {self.shard}"
            )
        self.book = load_snapshot(snapshot, events=self._events, seed=self._seed)
        self.snapshot_seq = header.seq
        self.venue = header.venue
        self.floor = max(self.floor, header.log_bytes)
        cursor = self._cursor
        cursor[Cursor.POSITION] = cursor[Cursor.EXECUTED] = header.log_bytes // 8
        cursor[Cursor.SEQ], cursor[Cursor.EPOCH] = header.seq, header.epoch
        cursor[Cursor.TIME_NS] = header.time_ns
        cursor[Cursor.REPORT_SEQ] = header.report_seq
        cursor[Cursor.REPORT_POSITION] = header.report_bytes
        cursor[Cursor.BASE_NS] = header.base_ns
        count = len(header.ring_positions)
        cursor[Cursor.RINGS] = count
        cursor[Cursor.RING_POSITIONS :][:count] = header.ring_positions

    # --- the end ---

    def find_end(self, floor: int = 0) -> LogEnd:
        """Tell where the log ends: to be asked when `follow` has come to END or TORN.

        `floor` is how many bytes of it are known to have been there.

        Raises:
            CorruptLogError: it is damaged here, not torn.
            RecoveryError: there is no log, though there was one.
        """
        file = self._open_log()
        floor = max(floor, self.floor)
        if file is not None:
            return examine(file, self.shard, self.log_bytes, floor)
        if floor > self.log_bytes:
            raise missing_log(self.folder, self.shard)
        return LogEnd(self.log_bytes, self.log_bytes)

    def close(self) -> None:
        """Give the log's addresses back; the book stays."""
        if self._file is not None:
            self._file.close()
            self._file = None


_REASONS = {
    ReplayExit.END: "no batch begins where one should",
    ReplayExit.TORN: "the batch is cut, or its checksum is wrong",
    ReplayExit.OUT_OF_ORDER: "the batch does not follow the one before it",
}

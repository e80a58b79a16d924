"""Replay: a command log's batches through a book, their reports packed as the shard packs them.

Several batches are read at a time, so that memory is asked for ahead from one to the next, however
small they are. A call goes on from where the last one ended, which the words of Cursor say, within
a batch too. It ends at the log's end, where a batch is none, at a limit, before a CAPACITY command
(Python makes the book anew), or where memory is missing.

What follows a bad batch tells what it is (`later_batch`): nothing that is valid follows a torn
tail, the batch that a crash left half written. A valid batch behind it that was written when the
log was known to be on the disk beyond the bad one (its word `synced`), or that was written where
nobody syncs the log, shows that the bad batch was good once: then data are damaged, and nothing is
cut. A valid one with less says that a power cut took pages that nobody had been promised.
"""

from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openoutcry.config.jit import int64, lean_kernel, lean_part
from openoutcry.engine.book import Book
from openoutcry.engine.enums import CommandKind
from openoutcry.engine.faults import FaultPoint, reach
from openoutcry.engine.log import (
    BATCH_END,
    BATCH_OK,
    HEADER_WORDS,
    MAGIC,
    MAX_BATCH_COMMANDS,
    MAX_RINGS,
    BatchWord,
    checksum,
    read_batch_at,
)
from openoutcry.engine.match import (
    PREFETCH_DISTANCE,
    noted_tags,
    prefetch_command,
    process_command,
    reports_needed,
)
from openoutcry.engine.pack import MAX_PACKED_BYTES, pack_rows
from openoutcry.engine.words import INT64_MAX, LOW_32


class FollowEnd(IntEnum):
    """Why a follower of a log stands where it stands."""

    #: There is no more batch, or the end asked for is reached.
    END = 0
    #: So many commands as were asked for are executed.
    LIMIT = 1
    #: There is something that is no good batch.
    TORN = 2
    #: The last command asked for is executed.
    STOPPED = 3


class Cursor(IntEnum):
    """Words by which a replay knows where it stands."""

    #: Word of the log behind the last batch read.
    POSITION = 0
    #: Word of the log behind the last batch executed whole.
    EXECUTED = 1
    #: Of the commands read: the next one to be executed, and how many there are.
    AT = 2
    COUNT = 3
    #: The last command, the epoch and time of its batch.
    SEQ = 4
    EPOCH = 5
    TIME_NS = 6
    #: The last report, and the byte of the report log behind it.
    REPORT_SEQ = 7
    REPORT_POSITION = 8
    #: Rows that the next command may need.
    ROWS_WANTED = 9
    #: The piece executed last: its first command, its commands, its reports (in the first rows).
    FIRST = 10
    DONE = 11
    ROWS = 12
    #: 1 while these reports are not packed yet.
    IS_PENDING = 13
    #: Base time of the report log: the time of the log's first batch.
    BASE_NS = 14
    #: Rings, and from here on the position in each, after the last batch executed whole.
    RINGS = 15
    #: Batches read, how many of them are executed whole, and the command behind these.
    BATCHES = 16
    WHOLE = 17
    WHOLE_AT = 18
    #: Bytes of the log that were on the disk when the last batch was written (0: unknown).
    SYNCED = 19
    RING_POSITIONS = 20


#: Commands from which on no other batch is read, and most batches read at a time.
READ_COMMANDS = 256
_READ_BATCHES = 256
#: Rows for the commands read at a time.
READ_ROWS = READ_COMMANDS + MAX_BATCH_COMMANDS
# Behind the ring positions, of each batch read: the command behind it, and the words of the log at
# which it begins and ends.
_BOUNDS = Cursor.RING_POSITIONS + MAX_RINGS
CURSOR_WORDS = _BOUNDS + 3 * _READ_BATCHES


class ReplayExit(IntEnum):
    """Why a call of the kernel ended."""

    #: No batch begins here, as far as the log is mapped.
    END = 0
    #: So many commands as were asked for are executed.
    LIMIT = 1
    #: No good batch begins here, but something does, or it goes beyond what is mapped.
    TORN = 2
    #: The last command asked for is executed.
    STOPPED = 3
    #: The batch here follows no command before it, or has an epoch below the one before it.
    OUT_OF_ORDER = 4
    #: The next command is a CAPACITY, and no reports wait.
    CAPACITY = 5
    #: The next command may need more rows than there are.
    ROWS = 6
    #: The report log has to be mapped further.
    REPORT_SEGMENT = 7
    #: A piece of what is read is executed, and its reports are in the scratch (where they are
    #: asked for).
    PIECE = 8


@lean_kernel
def _read_batches(
    log: NDArray[np.int64],
    limit: int,
    cursor: NDArray[np.int64],
    commands: NDArray[np.int64],
    header: NDArray[np.int64],
) -> int:
    """Read the next batches; return a ReplayExit, PIECE where there is one at least."""
    seq, epoch, time_ns = cursor[Cursor.SEQ], cursor[Cursor.EPOCH], cursor[Cursor.TIME_NS]
    position = cursor[Cursor.POSITION]
    rows = int64(0)
    batches = int64(0)
    result = int64(ReplayExit.PIECE.value)
    while rows < READ_COMMANDS and batches < _READ_BATCHES:
        code, count, stop = read_batch_at(log, position, limit, commands, rows, header)
        if code == BATCH_END:
            result = int64(ReplayExit.END.value)
            break
        if code != BATCH_OK:
            result = int64(ReplayExit.TORN.value)
            break
        if (
            header[BatchWord.SEQ] != seq + 1
            or header[BatchWord.EPOCH] < epoch
            or header[BatchWord.TIME_NS] < time_ns
        ):
            result = int64(ReplayExit.OUT_OF_ORDER.value)
            break
        if seq == 0:
            cursor[Cursor.BASE_NS] = header[BatchWord.TIME_NS]
        seq += count
        epoch, time_ns = header[BatchWord.EPOCH], header[BatchWord.TIME_NS]
        rows += count
        cursor[_BOUNDS + 3 * batches] = rows
        cursor[_BOUNDS + 3 * batches + 1] = position
        cursor[_BOUNDS + 3 * batches + 2] = stop
        batches += 1
        position = stop
    if batches == 0:
        return result
    # What ended it will be met again.
    cursor[Cursor.POSITION] = position
    cursor[Cursor.AT] = 0
    cursor[Cursor.COUNT] = rows
    cursor[Cursor.BATCHES] = batches
    cursor[Cursor.WHOLE] = 0
    cursor[Cursor.WHOLE_AT] = 0
    return ReplayExit.PIECE.value


@lean_kernel
def _note_whole(log: NDArray[np.int64], cursor: NDArray[np.int64], faults: int) -> None:
    """Note which batches are executed by now, the last one perhaps in part."""
    at = cursor[Cursor.AT]
    batch = cursor[Cursor.WHOLE]
    begins = int64(-1)
    while batch < cursor[Cursor.BATCHES] and cursor[_BOUNDS + 3 * batch] <= at:
        begins = cursor[_BOUNDS + 3 * batch + 1]
        cursor[Cursor.EXECUTED] = cursor[_BOUNDS + 3 * batch + 2]
        cursor[Cursor.WHOLE_AT] = cursor[_BOUNDS + 3 * batch]
        batch += 1
        if faults != 0:
            reach(faults, FaultPoint.WITHIN_RECOVERY.value)
    cursor[Cursor.WHOLE] = batch
    if begins >= 0:
        rings = (log[begins + 3] >> 32) & LOW_32
        cursor[Cursor.RINGS] = rings
        for r in range(rings):
            cursor[Cursor.RING_POSITIONS + r] = log[begins + HEADER_WORDS + r]
    if at > cursor[Cursor.WHOLE_AT]:
        begins = cursor[_BOUNDS + 3 * batch + 1]
    if begins >= 0:
        cursor[Cursor.EPOCH] = log[begins + 4]
        cursor[Cursor.TIME_NS] = log[begins + 5]
        cursor[Cursor.SYNCED] = log[begins + 6]


@lean_part
def _end_of(cursor: NDArray[np.int64], wanted: int) -> int:
    """Return the command behind the batch, of those read, with which `wanted` more are executed."""
    at, count = cursor[Cursor.AT], cursor[Cursor.COUNT]
    if wanted >= count - at:
        return count
    batch = cursor[Cursor.WHOLE]
    while cursor[_BOUNDS + 3 * batch] - at < wanted:
        batch += 1
    return cursor[_BOUNDS + 3 * batch]


@lean_kernel
def _keep_reports(
    book: Book,
    cursor: NDArray[np.int64],
    fresh_words: NDArray[np.int64],
    rows: int,
    packed: int,
    report_log: int,
    keep_below: int,
    report_limit: int,
) -> bool:
    """Pack a piece's reports; return False where the report log has no room for them.

    Reports that begin below `keep_below` are there already: packing them only tells where they end.
    `packed` is scratch with room for all rows.
    """
    base_ns = cursor[Cursor.BASE_NS]
    position = cursor[Cursor.REPORT_POSITION]
    first = int64(0)
    if report_log == 0 or position < keep_below:
        if report_log == 0 or position + rows * MAX_PACKED_BYTES <= keep_below:
            end = pack_rows(fresh_words, 0, rows, base_ns, book.shard_base, packed)
            cursor[Cursor.REPORT_POSITION] = position + end - packed
            return True
        # Report by report: somewhere in here the log ends.
        while first < rows and position < keep_below:
            end = pack_rows(fresh_words, first, first + 1, base_ns, book.shard_base, packed)
            position += end - packed
            first += 1
    if position + (rows - first + 1) * MAX_PACKED_BYTES > report_limit:
        return False
    end = pack_rows(fresh_words, first, rows, base_ns, book.shard_base, report_log + position)
    cursor[Cursor.REPORT_POSITION] = end - report_log
    return True


@lean_kernel
def replay(
    book: Book,
    log: NDArray[np.int64],
    limit: int,
    cursor: NDArray[np.int64],
    commands: NDArray[Any],
    command_words: NDArray[np.int64],
    header: NDArray[np.int64],
    fresh: NDArray[Any],
    fresh_words: NDArray[np.int64],
    packed: int,
    report_log: int,
    keep_below: int,
    report_limit: int,
    max_commands: int,
    stop_seq: int,
    by_piece: int,
    faults: int,
) -> tuple[int, int]:
    """Execute what the log holds; return a ReplayExit and the commands executed.

    Args:
        book: the book as it is after command Cursor.SEQ.
        log: the command log as words; only words below `limit` may be touched.
        cursor: the words of Cursor; new and filled in by the caller, or as the last call left it.
        commands: READ_ROWS COMMAND rows (`command_words`: the same as (n, 24) words).
        header: READ_HEADER_WORDS words of scratch.
        fresh: REPORT rows for the reports of a piece (`fresh_words`: the same as words).
        packed: address of scratch for as many packed rows.
        report_log: address of the report log, or 0; bytes from `keep_below` on are written, and
            only those below `report_limit` may be touched.
        max_commands: end behind the batch in which so many are executed.
        stop_seq: end behind this command.
        by_piece: 1 to end after each piece of what is read, with its reports in `fresh`.
        faults: address of the process's FAULTS word, or 0.
    """
    total = int64(0)
    # The caller may have executed a CAPACITY command.
    _note_whole(log, cursor, faults)
    if cursor[Cursor.IS_PENDING] != 0:
        # The report log had no room; it has now, or the caller comes again.
        rows = cursor[Cursor.ROWS]
        if not _keep_reports(
            book, cursor, fresh_words, rows, packed, report_log, keep_below, report_limit
        ):
            return ReplayExit.REPORT_SEGMENT.value, total
        cursor[Cursor.IS_PENDING] = 0
    while True:
        if cursor[Cursor.SEQ] >= stop_seq:
            return ReplayExit.STOPPED.value, total
        if total >= max_commands and cursor[Cursor.AT] == cursor[Cursor.WHOLE_AT]:
            return ReplayExit.LIMIT.value, total
        if cursor[Cursor.AT] == cursor[Cursor.COUNT]:
            code = _read_batches(log, limit, cursor, command_words, header)
            if code != ReplayExit.PIECE:
                return code, total
        # --- a piece of what is read: as much as the rows suffice for ---
        first = cursor[Cursor.AT]
        stop = _end_of(cursor, max_commands - total)
        stop = first + min(stop - first, stop_seq - cursor[Cursor.SEQ])
        first_report = cursor[Cursor.REPORT_SEQ]
        report_seq = first_report
        at = first
        code = ReplayExit.PIECE.value
        for i in range(at, min(at + PREFETCH_DISTANCE, stop)):
            prefetch_command(book, commands, i)
        while at < stop:
            if at + PREFETCH_DISTANCE < stop:
                prefetch_command(book, commands, at + PREFETCH_DISTANCE)
            if commands[at]["kind"] == CommandKind.CAPACITY:
                code = ReplayExit.CAPACITY.value
                break
            rows = report_seq - first_report + reports_needed(book, commands, at)
            if rows > len(fresh):
                code = ReplayExit.ROWS.value
                cursor[Cursor.ROWS_WANTED] = rows - (report_seq - first_report)
                break
            tag, own = noted_tags(book, at)
            # The one place of this call: it is inlined, and large.
            report_seq = process_command(
                book, commands, at, tag, own, fresh, first_report + 1, report_seq
            )
            at += 1
        done = at - first
        total += done
        cursor[Cursor.FIRST] = first
        cursor[Cursor.DONE] = done
        cursor[Cursor.AT] = at
        cursor[Cursor.SEQ] += done
        cursor[Cursor.REPORT_SEQ] = report_seq
        _note_whole(log, cursor, faults)
        rows = report_seq - first_report
        cursor[Cursor.ROWS] = rows
        if rows > 0 and not _keep_reports(
            book, cursor, fresh_words, rows, packed, report_log, keep_below, report_limit
        ):
            cursor[Cursor.IS_PENDING] = 1
            return ReplayExit.REPORT_SEGMENT.value, total
        if by_piece != 0 and done > 0:
            return ReplayExit.PIECE.value, total
        if code == ReplayExit.CAPACITY:
            return code, total
        if code == ReplayExit.ROWS and done == 0:
            return code, total


# --- The end of a log -----------------------------------------------------------------------------


@lean_kernel
def later_batch(log: NDArray[np.int64], position: int, limit: int) -> tuple[int, int]:
    """Return word and `synced` of the first batch from word `position` on whose checksum is right.

    Return (-1, 0) where there is none below word `limit`. Every word is looked at, those of
    commands too, whose prices and identifiers a client may have chosen to look like a batch: one
    that cannot lie at its place is none. No batch says that more was synced than lies before it,
    and each command before it takes a word at least.
    """
    for at in range(position, limit - HEADER_WORDS + 1):
        if log[at] & LOW_32 != MAGIC:
            continue
        size = (log[at] >> 32) & LOW_32
        stop = at + (size >> 3)
        count = log[at + 3] & LOW_32
        rings = (log[at + 3] >> 32) & LOW_32
        if size & 7 != 0 or stop > limit or count < 1 or stop < at + HEADER_WORDS + rings + count:
            continue
        if log[at + 2] < 1 or log[at + 2] > at + 1 or log[at + 6] < 0 or log[at + 6] > at * 8:
            continue
        if checksum(log, at, stop) == log[at + 1]:
            return at, log[at + 6]
    return int64(-1), int64(0)


@lean_kernel
def last_word(log: NDArray[np.int64], position: int, limit: int) -> int:
    """Return the word behind the last one below `limit` that is not 0, at least `position`."""
    at = limit
    while at > position and log[at - 1] == 0:
        at -= 1
    return at


@lean_kernel
def skip_batches(
    log: NDArray[np.int64], position: int, limit: int, last: NDArray[np.int64]
) -> tuple[int, int]:
    """Go over the good batches from word `position` on; return a ReplayExit and where they end.

    `last` has sequence, epoch and time of the command before (a sequence of -1: any may follow),
    and gets those of the last one. Nothing but the frames and checksums is looked at.
    """
    while True:
        if position + HEADER_WORDS > limit or log[position] & LOW_32 != MAGIC:
            return ReplayExit.END.value, position
        size = (log[position] >> 32) & LOW_32
        stop = position + (size >> 3)
        count = log[position + 3] & LOW_32
        if size & 7 != 0 or stop > limit or stop < position + HEADER_WORDS or count < 1:
            return ReplayExit.TORN.value, position
        if checksum(log, position, stop) != log[position + 1]:
            return ReplayExit.TORN.value, position
        seq, epoch, time_ns = log[position + 2], log[position + 4], log[position + 5]
        if seq < 1 or seq > INT64_MAX - count:
            return ReplayExit.TORN.value, position
        if (last[0] >= 0 and seq != last[0] + 1) or epoch < last[1] or time_ns < last[2]:
            return ReplayExit.OUT_OF_ORDER.value, position
        last[0] = seq + count - 1
        last[1] = epoch
        last[2] = time_ns
        position = stop

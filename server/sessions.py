"""The gateway's sessions: their rows, and the index of what each sent, from which it is sent again.

A session's numbers live in a row that kernels and Python share. What was sent is kept as the issue
of identity demands: before the first byte of an application message leaves, its number, SendingTime
and source are appended to the session's index; the source is a report of a shard, bytes that the
gateway made itself, or nothing (an administrative message, which is gap-filled).

Index: blocks of 4 KiB in one segmented file a gateway, chained per session and epoch, newest first.
Each is written so that a gateway that dies at any moment leaves what is whole: the session's number
is stored behind the rest of a new block's header, the number of entries behind each entry. An epoch
begins with a block of its own, so that a reset has happened or has not.

Block, in 64-bit words
    0  session      1  epoch     2  number of its first entry    3  block before it, or -1
    4  entries      5  UTC ms at which the epoch began           6-7  unused
    8… 252 entries of two words: SendingTime in ms, source

The first block of each segment is no session's. It tells from where on what the blocks of its
segment and of later ones point to is needed:
    0  -1           1  shards    2  offset in the stored messages
    3… position in each shard's report log

Stored message, from a multiple of 8 on
    0  length   4  CRC-32 of words 1, 2 and the data   8  session
   16  number of the client's message that it answers for good, below 0 where more follows; or 0
   24  data
"""

import bisect
import errno
import itertools
import logging
import threading
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from openoutcry.config.jit import inline_kernel, int64, lean_kernel, lean_part
from openoutcry.engine.atomics import store_release
from openoutcry.engine.faults import FaultPoint, reach, reach_in_python
from openoutcry.engine.pack import FIRST_BYTE
from openoutcry.server.answers import Answers
from openoutcry.server.journal import OutOfSpaceError, SegmentedFile, SegmentError, SegmentOwner

log = logging.getLogger(__name__)

#: One row a session; the row's number is the session's number; row 0 stays unused.
SESSION_ROW = np.dtype(
    [
        ("next_in", "<i8"),  # Expected: the number due next from the client
        ("next_out", "<i8"),  # the number of the next message to the client
        ("is_live", "<i8"),  # 1: reports are encoded at once; 0: they are numbered and kept
        ("takes_orders", "<i8"),  # 1: the inbound kernel may take application messages
        ("connection", "<i8"),  # row of the connection, or -1
        ("protocol", "<i8"),  # PROTOCOL_FIX or PROTOCOL_BINARY
        ("epoch", "<i8"),  # raised by each sequence reset
        ("firm", "<i8"),
        ("block", "<i8"),  # newest block of the index, or -1
        ("entries", "<i8"),  # entries in that block
        ("sent_ms", "<i8"),  # UTC time of the kernels' latest send and receipt, for heartbeats
        ("received_ms", "<i8"),
        ("profile", "<i8"),  # by which decode tables messages are judged; -1: none yet
        ("copies", "<i8"),  # first of the drop copies of the session's firm in Routes.copies, or -1
        # The throttle: D and G taken in the window that began at window_ms, and how many may be.
        ("throttle_limit", "<i8"),  # 0: no throttle; -1: messages wait, all goes by way of Python
        ("throttle_interval_ms", "<i8"),
        ("throttle_window_ms", "<i8"),
        ("throttle_taken", "<i8"),
        ("sends_last_processed", "<i8"),  # 1: LastMsgSeqNumProcessed(369) in every header
        ("python_statuses", "<i8"),  # status requests whose answers Python completes
        ("home", "<i8"),  # the gateway that numbers what it is sent, or HOME_UNKNOWN, HOME_NONE
        ("first_block", "<i8"),  # oldest kept block of the epoch, or -1
        ("epoch_ms", "<i8"),  # UTC time at which the epoch began
        ("oldest_out", "<i8"),  # lowest number that can still be sent again
    ],
    align=True,
)

#: Homes that are no gateway: of a session that this gateway has not heard of, and of row 0.
HOME_UNKNOWN = -1
HOME_NONE = -2

PROTOCOL_FIX = 1
PROTOCOL_BINARY = 2

BLOCK_BYTES = 4096
BLOCK_WORDS = BLOCK_BYTES // 8
BLOCK_HEADER_WORDS = 8
BLOCK_ENTRIES = (BLOCK_WORDS - BLOCK_HEADER_WORDS) // 2

#: Sources: reports are shard << 48 | position in the report log, so positive; stored bytes are the
#: negated offset less 2; an administrative message that answers one of the client's is
#: SOURCE_ANSWER less its number.
SOURCE_ADMINISTRATIVE = 0
SOURCE_ANSWER = -(1 << 62)

#: Words of the gateway's private state that kernels use.
NEXT_BLOCK = 0
BLOCK_LIMIT = 1
SEGMENT_BLOCKS = 2  # blocks of a segment
FAULTS = 3  # address of the fault points' words

#: What `Routes.flight` has of each session and shard: numbers of messages, the client's and ours.
SINCE = 0  # the first one sent to the shard since it had answered all
SENT = 1  # the last one sent
ANSWERED = 2  # the last one answered
OUT_SINCE = 3  # the number due next to the client when SINCE was noted
FLIGHT_WORDS = 4

#: Word 0 of a segment's first block.
SEGMENT_MARK = -1
SEGMENT_HEAD_WORDS = 3

#: Bytes in front of a stored message.
STORED_HEAD_BYTES = 24
#: Blocks kept free for what the gateway has to say while it reads nothing, for want of room.
_RESERVED_BLOCKS = 8
#: Blocks that one call lists.
_BLOCKS_AT_ONCE = 4096


@lean_part
def _begin_block(
    sessions: NDArray[Any],
    session: int,
    blocks: NDArray[np.int64],
    allocator: NDArray[np.int64],
    number: int,
    time_ms: int,
) -> int:
    """Give a session a new block, for its numbers from `number` on; return 0 where there is none
    left."""
    fresh = allocator[NEXT_BLOCK]
    if fresh % allocator[SEGMENT_BLOCKS] == 0:
        fresh += 1
    if fresh >= allocator[BLOCK_LIMIT]:
        return 0
    row = sessions[session]
    if row["epoch_ms"] == 0:
        row["epoch_ms"] = time_ms
    at = fresh * BLOCK_WORDS
    blocks[at + 1] = row["epoch"]
    blocks[at + 2] = number
    blocks[at + 3] = row["block"]
    blocks[at + 4] = 0
    blocks[at + 5] = row["epoch_ms"]
    # Last, and not before: a block that has a session is whole.
    store_release(int64(blocks.ctypes.data) + at * 8, int64(session))
    allocator[NEXT_BLOCK] = fresh + 1
    if row["block"] < 0:
        row["first_block"] = fresh
    row["block"] = fresh
    row["entries"] = 0
    return 1


@lean_kernel
def begin_epoch(
    sessions: NDArray[Any],
    session: int,
    blocks: NDArray[np.int64],
    allocator: NDArray[np.int64],
) -> int:
    """Begin the blocks of a session's new epoch; return 0 where no block is mapped any more."""
    sessions[session]["block"] = -1
    return _begin_block(sessions, session, blocks, allocator, int64(1), int64(0))


@inline_kernel
def index_append(
    sessions: NDArray[Any],
    session: int,
    blocks: NDArray[np.int64],
    allocator: NDArray[np.int64],
    number: int,
    time_ms: int,
    source: int,
) -> int:
    """Note the source of a session's message; return 1, or 0 where no block is mapped any more.

    Numbers come without holes; the caller raises next_out.
    """
    reach(allocator[FAULTS], FaultPoint.BEFORE_INDEX)
    entries = sessions[session]["entries"]
    if sessions[session]["block"] < 0 or entries == BLOCK_ENTRIES:
        if _begin_block(sessions, session, blocks, allocator, number, time_ms) == 0:
            return 0
        entries = 0
    first = sessions[session]["block"] * BLOCK_WORDS
    at = first + BLOCK_HEADER_WORDS + entries * 2
    blocks[at] = time_ms
    blocks[at + 1] = source
    entries += 1
    # Behind the entry: it counts once it is whole.
    store_release(int64(blocks.ctypes.data) + (first + 4) * 8, entries)
    sessions[session]["entries"] = entries
    reach(allocator[FAULTS], FaultPoint.AFTER_INDEX)
    return 1


@lean_kernel
def append_entry(
    sessions: NDArray[Any],
    session: int,
    blocks: NDArray[np.int64],
    allocator: NDArray[np.int64],
    number: int,
    time_ms: int,
    source: int,
) -> int:
    """Do the same for Python."""
    return index_append(sessions, session, blocks, allocator, number, time_ms, source)


@lean_kernel
def walk_blocks(
    blocks: NDArray[np.int64], block: int, known: int, first_mapped: int, found: NDArray[np.int64]
) -> tuple[int, int]:
    """List (first number, block) from a block back to the one behind `known`, newest first.

    Returns (how many, the next block): it ends at -1, at `known`, below `first_mapped`, or when
    `found` is full.
    """
    count = 0
    while block >= first_mapped and block >= 0 and block != known and count < len(found):
        found[count, 0] = blocks[block * BLOCK_WORDS + 2]
        found[count, 1] = block
        count += 1
        block = blocks[block * BLOCK_WORDS + 3]
    return count, block


class _Stand(NamedTuple):
    """How far each session's blocks went when a sync began."""

    blocks: NDArray[np.int64]
    entries: NDArray[np.int64]
    next_block: int


class StoredMessage(NamedTuple):
    """What is told about a stored message: who was sent it, what it answers, where it ends."""

    session: int
    answers: int
    end: int


class SessionIndex:
    """What every session of a gateway sent: the index blocks, and the bytes made by the gateway.

    Args:
        folder: where the files lie.
        name: the gateway's, with which the files' names begin.
        capacity: most sessions, the unused row 0 included.
        segment_bytes: size of the files' segments.
        shards: how many there are.
        owner: what the segments' headers say.
        next_block, stored_end: where a checkpoint found the files' ends; what was written since is
            mapped, too.
        faults: address of the process's FAULTS words, or 0.

    Raises:
        SegmentError: a segment cannot be used, or is missing.

    Attributes:
        rows: SESSION_ROW, by session.
        flight: int64 (sessions, shards, FLIGHT_WORDS): what the shards have still to answer.
        positions: int64 (shards): how far each report log has been read.
        stored_end: offset behind the last stored message.
        answers: what the gateway itself owes to clients.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        capacity: int,
        segment_bytes: int,
        shards: int = 1,
        *,
        owner: SegmentOwner = SegmentOwner(),  # noqa: B008 - it is immutable
        next_block: int = 0,
        stored_end: int = 0,
        faults: int = 0,
    ) -> None:
        self.rows = np.zeros(capacity, SESSION_ROW)
        for field in ("block", "connection", "profile", "copies", "first_block"):
            self.rows[field] = -1
        self.rows["home"] = HOME_UNKNOWN
        self.rows["home"][0] = HOME_NONE
        self.rows["oldest_out"] = 1
        self.flight = np.zeros((capacity, shards, FLIGHT_WORDS), np.int64)
        self.positions = np.full(shards, FIRST_BYTE, np.int64)
        self.index_file = SegmentedFile(
            folder, f"{name}-index", segment_bytes, writable=True, owner=owner
        )
        self.message_file = SegmentedFile(
            folder, f"{name}-messages", segment_bytes, writable=True, owner=owner
        )
        self.stored_end = stored_end
        self._faults = faults
        #: What the kernels are given where there are no fault points.
        self._no_faults = np.zeros(256, np.int64)
        self.allocator = np.zeros(8, np.int64)
        segment_bytes = self.index_file.segment_bytes
        self.allocator[SEGMENT_BLOCKS] = segment_bytes // BLOCK_BYTES
        self.allocator[FAULTS] = faults or int(self._no_faults.ctypes.data)
        self.allocator[NEXT_BLOCK] = next_block
        _check_last(self.index_file, next_block * BLOCK_BYTES)
        _check_last(self.message_file, stored_end)
        # Blocks that sessions may still go on in lie up to two segments back.
        _map_existing(self.index_file, next_block * BLOCK_BYTES - 2 * segment_bytes)
        _map_existing(self.message_file, stored_end - self.message_file.segment_bytes)
        # Not before: where the files begin in memory depends on what is mapped first.
        self.blocks = self.index_file.array(np.int64)
        self._stored = self.message_file.array(np.uint8)
        self.allocator[BLOCK_LIMIT] = self.index_file.mapped_bytes // BLOCK_BYTES
        self._synced = (self.message_file.first_byte, -1)
        self._first_segment = self.index_file.first_byte // segment_bytes
        #: How the sessions stood at the latest two syncs.
        self._stands: list[_Stand] = []
        self._sync_lock = threading.Lock()
        # The first numbers and the places of a session's blocks, oldest first, as last seen.
        self._directory: dict[int, tuple[list[int], list[int]]] = {}
        self._has_failed = False
        self.answers = Answers()
        if self.index_file.mapped_bytes == self.index_file.first_byte:
            self.make_room()

    # --- room -------------------------------------------------------------------------------------

    @property
    def has_room(self) -> bool:
        """Whether more may be read from clients: what they send has to be answered."""
        free = self.allocator[BLOCK_LIMIT] - self.allocator[NEXT_BLOCK]
        left = self.message_file.mapped_bytes - self.stored_end
        return bool(free > _RESERVED_BLOCKS and left > _RESERVED_BLOCKS * BLOCK_BYTES)

    def make_room(self, *, wants_more: bool = False) -> None:
        """Map another segment where less than half a segment is left, or more is wanted; unmap old
        ones.

        Where the file system has no room, what is mapped has to do: see `has_room`.
        """
        half = self.index_file.segment_bytes // 2
        used = int(self.allocator[NEXT_BLOCK]) * BLOCK_BYTES
        is_index_low = wants_more or self.index_file.mapped_bytes - used < half
        if not is_index_low and self.message_file.mapped_bytes - self.stored_end >= half:
            return
        try:
            if is_index_low:
                self._map_blocks(used)
            if self.message_file.mapped_bytes - self.stored_end < half:
                self._map_messages(self.stored_end + half)
            self._has_failed = False
        except OutOfSpaceError as error:
            if not self._has_failed:
                log.error("no room for what sessions are sent: %s", error)
            self._has_failed = True

    def _map_blocks(self, used: int) -> None:
        first = self.index_file.mapped_bytes // BLOCK_BYTES * BLOCK_WORDS
        self.index_file.map_next()
        reach_in_python(self._faults, FaultPoint.GATEWAY_SEGMENT)
        self._mark(first)
        self.allocator[BLOCK_LIMIT] = self.index_file.mapped_bytes // BLOCK_BYTES
        self._drop_below(self.index_file, used - self.index_file.segment_bytes)
        # A session that sent nothing for long begins a new block: its old one is unmapped.
        is_old = self.rows["block"] * BLOCK_BYTES < self.index_file.first_byte
        self.rows["entries"][is_old & (self.rows["block"] >= 0)] = BLOCK_ENTRIES

    def _mark(self, first: int) -> None:
        """Write the first block of a segment, which begins with this word."""
        shards = len(self.positions)
        head = self.blocks[first : first + SEGMENT_HEAD_WORDS + shards]
        head[1:] = [shards, self.stored_end, *self.positions]
        head[0] = SEGMENT_MARK

    def mark_segments(self) -> None:
        """Write what a crash may have taken: the first blocks of segments that were made since the
        latest checkpoint. To be called when all stands as it stood at that checkpoint."""
        file = self.index_file
        for byte in range(file.first_byte, file.mapped_bytes, file.segment_bytes):
            if self.blocks[byte // 8] != SEGMENT_MARK:
                self._mark(byte // 8)

    def _map_messages(self, end: int) -> None:
        while self.message_file.mapped_bytes < end:
            reach_in_python(self._faults, FaultPoint.GATEWAY_SEGMENT)
            self.message_file.map_next()
        self._drop_below(self.message_file, self.stored_end - self.message_file.segment_bytes)

    def _drop_below(self, file: SegmentedFile, byte: int) -> None:
        # What is just being synced stays until the next time.
        if self._sync_lock.acquire(blocking=False):
            file.drop_below(byte)
            self._sync_lock.release()

    def sync(self) -> None:
        """Bring all that was noted and stored so far to the disk; in a thread besides the loop's.

        Only segments that changed since the sync before are synced: the disk empties its cache for
        each, changed or not.

        Raises:
            OSError: it may not be there; that is final.
        """
        with self._sync_lock:
            messages, last_end = self._synced
            reached = self.message_file.first_byte, self.stored_end
            if reached[1] != last_end:
                # A recovery may have cleared what lies behind the end.
                stop = reached[1] if last_end >= 0 else self.message_file.mapped_bytes
                self.message_file.sync(messages, stop)
            self._stands.append(self._stand())
            for segment in self._changed_segments():
                start = segment * self.index_file.segment_bytes
                self.index_file.sync(start, start + 1)
            del self._stands[:-2]
            # What is unmapped from now on has been synced.
            self._synced = reached

    def _stand(self) -> "_Stand":
        # In this order, for the loop goes on meanwhile: a session that is in the block in which it
        # was has entries of that block, and a block that it has begun is below the next one.
        entries, blocks = self.rows["entries"].copy(), self.rows["block"].copy()
        return _Stand(blocks, entries, int(self.allocator[NEXT_BLOCK]))

    def _changed_segments(self) -> list[int]:
        """Return the segments of the index that may have changed since the sync before.

        A row may have been looked at while its entry was being written: what changed before that
        sync counts, too.
        """
        segment = int(self.allocator[SEGMENT_BLOCKS])
        now, before = self._stands[-1], self._stands[:-1]
        if len(before) < 2:
            return list(range(self._first_segment, (now.next_block - 1) // segment + 1))
        changed = np.zeros(len(now.blocks), np.bool_)
        for older, newer in itertools.pairwise(self._stands):
            changed |= (older.blocks != newer.blocks) | (older.entries != newer.entries)
        fresh = range(before[0].next_block // segment, (now.next_block - 1) // segment + 1)
        found = set(fresh) if now.next_block > before[0].next_block else set()
        for stand in self._stands:
            blocks = stand.blocks[changed]
            found.update((blocks[blocks >= 0] // segment).tolist())
        return sorted(found)

    # --- what was sent ----------------------------------------------------------------------------

    def block_of(self, session: int, number: int) -> tuple[int, NDArray[np.int64]] | None:
        """Return (its first number, its words) of the block where a message of the session is noted
        if it is at all; None where its number is below all that are kept.

        The words come from the file where the block is not mapped any more.
        """
        starts, places = self.blocks_of(session)
        at = bisect.bisect_right(starts, number) - 1
        if at < 0:
            return None
        return starts[at], self.words_of(places[at])

    def blocks_of(self, session: int) -> tuple[list[int], list[int]]:
        """Return the first numbers and the places of a session's blocks, oldest first."""
        starts, places = self._directory.setdefault(session, ([], []))
        newest = int(self.rows[session]["block"])
        if newest >= 0 and (not places or places[-1] != newest):
            self._list_blocks(newest, int(self.rows[session]["first_block"]), starts, places)
        return starts, places

    def _list_blocks(self, newest: int, oldest: int, starts: list[int], places: list[int]) -> None:
        """Add the blocks that came since to a session's list."""
        found = np.empty((_BLOCKS_AT_ONCE, 2), np.int64)
        fresh: list[tuple[int, int]] = []
        known = places[-1] if places else -1
        block = newest
        # Blocks before the oldest one may be gone.
        while block > known and block >= oldest:
            first_mapped = max(self.index_file.first_byte // BLOCK_BYTES, oldest)
            if block >= first_mapped:
                count, block = walk_blocks(self.blocks, block, known, first_mapped, found)
                fresh += map(tuple, found[:count].tolist())
                block = int(block)
            else:
                words = self.words_of(block)
                fresh.append((int(words[2]), block))
                block = int(words[3])
        for start, place in reversed(fresh):
            starts.append(start)
            places.append(place)

    def forget_before(self, session: int, block: int) -> None:
        """Give up a session's blocks before one: what they tell of is not sent again any more."""
        starts, places = self.blocks_of(session)
        at = bisect.bisect_left(places, block)
        if at == 0:
            return
        row = self.rows[session]
        if at == len(places):
            # All are before it; the newest stays.
            at -= 1
        del starts[:at], places[:at]
        row["first_block"] = places[0]
        row["oldest_out"] = starts[0]

    def words_of(self, block: int) -> NDArray[np.int64]:
        """Return a block's words, from the file where it is not mapped any more."""
        start = block * BLOCK_BYTES
        if start >= self.index_file.first_byte:
            return self.blocks[block * BLOCK_WORDS : (block + 1) * BLOCK_WORDS]
        data = self.index_file.read(start, start + BLOCK_BYTES)
        return np.frombuffer(bytearray(data), np.int64)

    # --- stored messages --------------------------------------------------------------------------

    def store_bytes(self, data: bytes, session: int = 0, answers: int = 0) -> int:
        """Keep the bytes of a message that the gateway made; return its source.

        Args:
            data: the message.
            session: who is sent it.
            answers: see `openoutcry.protocol.fix.store.MessageStore.record`.

        Raises:
            OutOfSpaceError: there is no room.
        """
        start = self.stored_end
        end = start + STORED_HEAD_BYTES + (len(data) + 7) // 8 * 8
        if end > self.message_file.mapped_bytes:
            self._map_messages(end)
        record = stored_record(data, session, answers)
        self._stored[start : start + len(record)] = np.frombuffer(record, np.uint8)
        self.stored_end = end
        return -start - 2

    def stored_bytes(self, source: int) -> bytes:
        """Return bytes kept by `store_bytes`."""
        start = -source - 2
        length = int.from_bytes(self._read_stored(start, start + 4), "little")
        start += STORED_HEAD_BYTES
        return self._read_stored(start, start + length)

    def stored_message(self, source: int) -> StoredMessage | None:
        """Return what is told about a stored message; None where it is not whole."""
        start = -source - 2
        if start < 0 or start + STORED_HEAD_BYTES > self.message_file.mapped_bytes:
            return None
        head = self._read_stored(start, start + STORED_HEAD_BYTES)
        length = int.from_bytes(head[:4], "little")
        end = start + STORED_HEAD_BYTES + length
        if end > self.message_file.mapped_bytes:
            return None
        session = int.from_bytes(head[8:16], "little")
        answers = int.from_bytes(head[16:24], "little", signed=True)
        record = stored_record(self._read_stored(end - length, end), session, answers)
        if record[:STORED_HEAD_BYTES] != head:
            return None
        return StoredMessage(session, answers, start + len(record) + -len(record) % 8)

    def clear_stored(self) -> None:
        """Make whole messages behind the end unreadable: nothing tells of them.

        What is stored over one may be lost in a power cut while the entry that tells of it is not,
        and would tell of the old one then.
        """
        at = self.stored_end
        while (stored := self.stored_message(-at - 2)) is not None:
            self._stored[at : at + STORED_HEAD_BYTES] = 0
            at = stored.end

    def _read_stored(self, start: int, stop: int) -> bytes:
        if start >= self.message_file.first_byte:
            return self._stored[start:stop].tobytes()
        return self.message_file.read(start, stop)

    # --- Python's own entries ---------------------------------------------------------------------

    def append(self, session: int, number: int, time_ms: int, source: int) -> None:
        """Note a message made by Python.

        Raises:
            OutOfSpaceError: there is no room.
        """
        self.make_room()
        if not append_entry(
            self.rows, session, self.blocks, self.allocator, number, time_ms, source
        ):
            raise OutOfSpaceError(errno.ENOSPC, "no room to note what a session is sent")

    def reset(self, session: int, now_ms: int, *, epoch: int = 0) -> None:
        """Start a new epoch: both directions count from 1, and nothing sent before is sent
        again.

        `epoch` names it; 0 is the next one.

        Raises:
            OutOfSpaceError: there is no room to note it; nothing has changed.
        """
        row = self.rows[session]
        row["epoch_ms"] = now_ms
        if row["block"] < 0 and row["next_in"] == 1 and not epoch:
            # Nothing went either way in this epoch: it may as well go on.
            return
        self.make_room()
        if self.allocator[NEXT_BLOCK] + 2 > self.allocator[BLOCK_LIMIT]:
            raise OutOfSpaceError(errno.ENOSPC, "no room to note a reset of a session")
        row["epoch"] = epoch or row["epoch"] + 1
        begin_epoch(self.rows, session, self.blocks, self.allocator)
        row["next_in"] = 1
        row["next_out"] = 1
        row["oldest_out"] = 1
        self.flight[session] = 0
        self.answers.forget(session)
        self._directory.pop(session, None)

    def close(self) -> None:
        """Unmap the files."""
        self.index_file.close()
        self.message_file.close()


def _check_last(file: SegmentedFile, end: int) -> None:
    """Check that the segment is there in which a file ended at the latest checkpoint.

    Raises:
        SegmentError: without it numbers that clients have seen would be given again.
    """
    path, _ = file.locate(max(end - 1, 0))
    if end > 0 and not path.exists():
        raise SegmentError(
            f"{path} is missing, though the gateway's checkpoint tells of what it holds: restore "
            "it from a backup"
        )


def _map_existing(file: SegmentedFile, byte: int) -> None:
    """Map what is there of a file, from the segment with a byte on."""
    if file.is_next_there():
        file.ensure_from(max(byte, file.first_byte))
    while file.is_next_there():
        file.map_next()


def stored_record(data: bytes, session: int, answers: int) -> bytes:
    """Return a stored message with its head."""
    body = session.to_bytes(8, "little") + answers.to_bytes(8, "little", signed=True) + data
    head = len(data).to_bytes(4, "little") + zlib.crc32(body).to_bytes(4, "little")
    return head + body

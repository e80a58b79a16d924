"""The gateway's sessions: their rows, and the index of what each sent, from which it is sent again.

A session's numbers live in a row that kernels and Python share. What was sent is kept as the issue
of identity demands: before the first byte of an application message leaves, its number, SendingTime
and source are appended to the session's index; the source is a report of a shard, bytes that the
gateway made itself, or
nothing (an administrative message, which is gap-filled).

Index: blocks of 4 KiB in one segmented file a gateway, chained per session, newest first.

Block, in 64-bit words
    0  session      1  epoch     2  number of its first entry    3  block before it, or -1
    4  entries      5-7 unused   8… 252 entries of two words: SendingTime in ms, source
"""

import bisect
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openoutcry.config.jit import inline_kernel, lean_kernel
from openoutcry.server.journal import SegmentedFile

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
    ],
    align=True,
)

PROTOCOL_FIX = 1
PROTOCOL_BINARY = 2

BLOCK_BYTES = 4096
BLOCK_WORDS = BLOCK_BYTES // 8
BLOCK_HEADER_WORDS = 8
BLOCK_ENTRIES = (BLOCK_WORDS - BLOCK_HEADER_WORDS) // 2

#: Sources: reports are shard << 48 | position in the report log, so positive; stored bytes are the
#: negated offset less 2.
SOURCE_ADMINISTRATIVE = 0

#: Words of the gateway's private state that kernels use.
NEXT_BLOCK = 0
BLOCK_LIMIT = 1

#: Blocks that one call lists.
_BLOCKS_AT_ONCE = 4096


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
    block = sessions[session]["block"]
    entries = sessions[session]["entries"]
    if block < 0 or entries == BLOCK_ENTRIES:
        fresh = allocator[NEXT_BLOCK]
        if fresh >= allocator[BLOCK_LIMIT]:
            return 0
        allocator[NEXT_BLOCK] = fresh + 1
        at = fresh * BLOCK_WORDS
        blocks[at] = session
        blocks[at + 1] = sessions[session]["epoch"]
        blocks[at + 2] = number
        blocks[at + 3] = block
        block = fresh
        entries = 0
        sessions[session]["block"] = block
    at = block * BLOCK_WORDS + BLOCK_HEADER_WORDS + entries * 2
    blocks[at] = time_ms
    blocks[at + 1] = source
    entries += 1
    blocks[block * BLOCK_WORDS + 4] = entries
    sessions[session]["entries"] = entries
    return 1


@lean_kernel
def walk_blocks(
    blocks: NDArray[np.int64], block: int, known: int, first_mapped: int, found: NDArray[np.int64]
) -> tuple[int, int]:
    """List (first number, block) from a block back to the one before `known`, newest first.

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


class SessionIndex:
    """What every session of a gateway sent: the index blocks, and the bytes made by the gateway.

    Args:
        folder: where the files lie.
        capacity: most sessions, the unused row 0 included.
        segment_bytes: size of the files' segments.
    """

    def __init__(self, folder: Path, name: str, capacity: int, segment_bytes: int) -> None:
        self.rows = np.zeros(capacity, SESSION_ROW)
        self.rows["block"] = -1
        self.rows["connection"] = -1
        self.rows["profile"] = -1
        self.rows["copies"] = -1
        self._index = SegmentedFile(folder, f"{name}-index", segment_bytes, writable=True)
        self.blocks = self._index.array(np.int64)
        self._bytes = SegmentedFile(folder, f"{name}-messages", segment_bytes, writable=True)
        self._stored = self._bytes.array(np.uint8)
        self._stored_end = 0
        self.allocator = np.zeros(8, np.int64)
        # The first numbers and the places of a session's blocks, oldest first, as last seen.
        self._directory: dict[int, tuple[list[int], list[int]]] = {}
        self.make_room()

    def make_room(self) -> None:
        """Map another segment where less than half a segment of blocks is left; unmap old ones."""
        used = int(self.allocator[NEXT_BLOCK]) * BLOCK_BYTES
        if self._index.mapped_bytes - used >= self._index.segment_bytes // 2:
            return
        self._index.map_next()
        self.allocator[BLOCK_LIMIT] = self._index.mapped_bytes // BLOCK_BYTES
        self._index.drop_below(used - self._index.segment_bytes)
        # A session that sent nothing for long begins a new block: its old one is unmapped.
        is_old = self.rows["block"] * BLOCK_BYTES < self._index.first_byte
        self.rows["entries"][is_old & (self.rows["block"] >= 0)] = BLOCK_ENTRIES

    def block_of(self, session: int, number: int) -> tuple[int, NDArray[np.int64]] | None:
        """Return (its first number, its words) of the block where a message of the session is noted
        if it is at all; None where its number is below all that are noted.

        The words come from the file where the block is not mapped any more.
        """
        blocks = self._directory.get(session)
        if blocks is None:
            blocks = self._directory[session] = ([], [])
        starts, places = blocks
        newest = int(self.rows[session]["block"])
        if newest < 0:
            return None
        if not places or places[-1] != newest:
            self._list_blocks(newest, starts, places)
        at = bisect.bisect_right(starts, number) - 1
        if at < 0:
            return None
        return starts[at], self._words_of(places[at])

    def _list_blocks(self, newest: int, starts: list[int], places: list[int]) -> None:
        """Add the blocks that came since to a session's list."""
        found = np.empty((_BLOCKS_AT_ONCE, 2), np.int64)
        fresh: list[tuple[int, int]] = []
        known = places[-1] if places else -1
        block = newest
        while block not in {-1, known}:
            first_mapped = self._index.first_byte // BLOCK_BYTES
            if block >= first_mapped:
                count, block = walk_blocks(self.blocks, block, known, first_mapped, found)
                fresh += map(tuple, found[:count].tolist())
                block = int(block)
            else:
                words = self._words_of(block)
                fresh.append((int(words[2]), block))
                block = int(words[3])
        for start, place in reversed(fresh):
            starts.append(start)
            places.append(place)

    def _words_of(self, block: int) -> NDArray[np.int64]:
        start = block * BLOCK_BYTES
        if start >= self._index.first_byte:
            return self.blocks[block * BLOCK_WORDS : (block + 1) * BLOCK_WORDS]
        return np.frombuffer(bytearray(self._index.read(start, start + BLOCK_BYTES)), np.int64)

    def store_bytes(self, data: bytes) -> int:
        """Keep the bytes of a message that the gateway made; return its source."""
        start = self._stored_end
        self._bytes.ensure(start + len(data) + 8)
        self._stored[start : start + 8] = np.frombuffer(len(data).to_bytes(8, "little"), np.uint8)
        self._stored[start + 8 : start + 8 + len(data)] = np.frombuffer(data, np.uint8)
        self._stored_end = start + 8 + (len(data) + 7) // 8 * 8
        return -start - 2

    def stored_bytes(self, source: int) -> bytes:
        """Return bytes kept by `store_bytes`."""
        start = -source - 2
        length = int.from_bytes(self._stored[start : start + 8].tobytes(), "little")
        return self._stored[start + 8 : start + 8 + length].tobytes()

    def append(self, session: int, number: int, time_ms: int, source: int) -> None:
        """Note a message made by Python."""
        self.make_room()
        index_append(self.rows, session, self.blocks, self.allocator, number, time_ms, source)

    def reset(self, session: int) -> None:
        """Start a new epoch: both directions count from 1, and nothing sent before is sent
        again."""
        row = self.rows[session]
        row["next_in"] = 1
        row["next_out"] = 1
        row["epoch"] += 1
        row["block"] = -1
        row["entries"] = 0
        self._directory.pop(session, None)

    def close(self) -> None:
        """Unmap the files."""
        self._index.close()
        self._bytes.close()

"""What a gateway's sessions may still be sent again, so that retention keeps that and no more.

A session can ask for all that it was sent since its numbers began, or for the last
`retention.resend_messages`. Its oldest block of the index that is needed lies in a segment whose
first block says from where on the shards' report logs, and the messages stored, are needed.
"""

import bisect
import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from openoutcry.engine.state import GatewayWord, ProcessStatus
from openoutcry.server.retention import Retention
from openoutcry.server.sessions import (
    BLOCK_BYTES,
    NEXT_BLOCK,
    SEGMENT_BLOCKS,
    SEGMENT_HEAD_WORDS,
    SEGMENT_MARK,
)

if TYPE_CHECKING:
    from openoutcry.server.gateway import Gateway

log = logging.getLogger(__name__)

_LOOK_NS = 2_500_000_000


class _Needed(NamedTuple):
    """From which byte on files are needed, as found out behind a checkpoint."""

    checkpoint: int
    #: By shard.
    reports: NDArray[np.int64]
    blocks: int
    messages: int


class Retainer:
    """Says what of the files a gateway needs, and lets go of its own that nobody does."""

    def __init__(self, gateway: "Gateway", data_dir: Path) -> None:
        self._gateway = gateway
        self._limit = gateway.config.retention.resend_messages
        self._is_kept = gateway.config.retention.segments == "keep"
        self._retention = Retention(gateway.config, data_dir)
        self._thread = ThreadPoolExecutor(1, "retention")
        self._looked_ns = 0
        self._found: _Needed | None = None

    def poll(self) -> None:
        """Look at what is needed, every few seconds; the latest checkpoint counts, too."""
        gateway = self._gateway
        if gateway.words[GatewayWord.STATUS] != ProcessStatus.RUNNING:
            return
        if gateway.monotonic_ns() - self._looked_ns < _LOOK_NS:
            return
        self._looked_ns = gateway.monotonic_ns()
        try:
            self.look()
        except OSError as error:
            log.error("what sessions may be sent again cannot be looked up: %s", error)

    def look(self) -> None:
        """Publish which bytes of the report logs are needed, and release segments of our own.

        What is found out now counts at a later look: a gateway that comes after this one begins
        with the latest checkpoint, or the one before it, and needs what these name.
        """
        gateway, found = self._gateway, self._found
        if found is not None:
            if gateway.checkpoints.stored < found.checkpoint + 2:
                return
            gateway.memory.retain[gateway.number] = found.reports
            self._release("index", gateway.index.index_file.segment_bytes, found.blocks)
            self._release("messages", gateway.index.message_file.segment_bytes, found.messages)
        self._found = self._find()

    def _find(self) -> "_Needed":
        """Return what is needed from now on, and forget all else."""
        gateway, index = self._gateway, self._gateway.index
        reports = gateway.positions.copy()
        for shard, (_, source) in index.answers.oldest_rows().items():
            reports[shard] = min(reports[shard], source & (1 << 48) - 1)
        block = self._oldest_block()
        head = self._head_of(block)
        if head is not None:
            reports = np.minimum(reports, head[1])
        checkpoint = gateway.checkpoints.made
        if head is None or self._is_kept:
            return _Needed(checkpoint, reports, 0, 0)
        first = block - block % int(index.allocator[SEGMENT_BLOCKS])
        if self._limit is not None:
            for session in np.flatnonzero(index.rows["block"] >= 0).tolist():
                if index.rows[session]["first_block"] < first:
                    index.forget_before(session, first)
        return _Needed(checkpoint, reports, first * BLOCK_BYTES, head[0])

    def _release(self, kind: str, segment_bytes: int, needed_from: int) -> None:
        series = f"gateway-{self._gateway.number}-{kind}"
        self._thread.submit(self._retention.release, series, segment_bytes, needed_from)

    def _oldest_block(self) -> int:
        """Return the oldest block that some session needs, or the next one to be used."""
        index = self._gateway.index
        rows = index.rows
        used = np.flatnonzero(rows["block"] >= 0)
        oldest = int(index.allocator[NEXT_BLOCK])
        if self._limit is None:
            return int(rows["first_block"][used].min(initial=oldest))
        for session in used.tolist():
            if rows[session]["first_block"] >= oldest:
                continue
            starts, places = index.blocks_of(session)
            wanted = int(rows[session]["next_out"]) - self._limit
            at = max(bisect.bisect_right(starts, wanted) - 1, 0)
            oldest = min(oldest, places[at])
        return oldest

    def _head_of(self, block: int) -> tuple[int, list[int]] | None:
        """Return what a segment's first block says: from where stored messages are needed, and each
        shard's reports; None where it says nothing."""
        index = self._gateway.index
        segment = int(index.allocator[SEGMENT_BLOCKS])
        first = block - block % segment
        if first * BLOCK_BYTES >= index.index_file.mapped_bytes:
            first -= segment
        words = index.words_of(first)
        if words[0] != SEGMENT_MARK:
            return None
        shards = len(self._gateway.positions)
        positions = words[SEGMENT_HEAD_WORDS : SEGMENT_HEAD_WORDS + shards].tolist()
        return int(words[2]), positions

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(wait=False)

"""What gateways keep in a data directory, as others read it: which there are, and how far the
shards' reports were sent."""

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from openoutcry.engine.records import SHARD_SHIFT
from openoutcry.server.checkpoint import Checkpoint, read_checkpoint
from openoutcry.server.journal import SegmentedFile, open_segments
from openoutcry.server.log_end import map_another
from openoutcry.server.sessions import (
    BLOCK_BYTES,
    BLOCK_ENTRIES,
    BLOCK_HEADER_WORDS,
    BLOCK_WORDS,
)

_POSITION_MASK = (1 << SHARD_SHIFT) - 1


def gateways_in(folder: Path) -> list[int]:
    """Return the gateways that have files in a data directory."""
    names = (path.name for path in folder.glob("gateway-*"))
    found = (re.match(r"gateway-(\d+)-", name) for name in names)
    return sorted({int(match[1]) for match in found if match})


def map_whole(folder: Path, name: str) -> SegmentedFile | None:
    """Map all that is kept of a series; None where nothing is.

    Raises:
        SegmentError, RecoveryError: a segment is missing, or cannot be used.
    """
    file = open_segments(folder, name)
    if file is not None:
        try:
            while map_another(file):
                pass
        except BaseException:
            file.close()
            raise
    return file


def checkpoint_of(folder: Path, gateway: int) -> Checkpoint | None:
    """Return a gateway's newest whole checkpoint; None where there is none."""
    try:
        return read_checkpoint(folder / f"gateway-{gateway}-checkpoint")
    except (OSError, ValueError):
        return None


def last_reports_sent(
    folder: Path, *, since_checkpoint: bool = False
) -> dict[int, tuple[int, int]]:
    """Return by shard (byte of its report log, gateway) of the last report that is known to have
    been sent, or worked off: it begins at that byte, or ends behind it.

    `since_checkpoint` reads what was noted since each gateway's checkpoint, and not the whole
    index: what was noted before lies below what the checkpoint says.

    Raises:
        SegmentError, RecoveryError: an index cannot be read.
    """
    found: dict[int, tuple[int, int]] = {}
    for gateway in gateways_in(folder):
        checkpoint = checkpoint_of(folder, gateway) if since_checkpoint else None
        if checkpoint is not None:
            for shard, position in enumerate(checkpoint.shards["position"].tolist()):
                found[shard] = max(found.get(shard, (-1, 0)), (position - 1, gateway))
        file = map_whole(folder, f"gateway-{gateway}-index")
        if file is None:
            continue
        try:
            for blocks in _blocks(file, checkpoint):
                for shard, last in _last_sources(blocks):
                    found[shard] = max(found.get(shard, (-1, 0)), (last, gateway))
        finally:
            file.close()
    return found


def lost_end(folder: Path, shard: int, log_bytes: int, seq: int, gateway: int) -> str:
    """Return the sentence of a command log that ends at a byte, with a command, before the reports
    that a gateway has sent."""
    return (
        f"the command log of shard {shard} in {folder} has lost its end: it can be read up to byte "
        f"{log_bytes}, command {seq}, and gateway {gateway} has sent reports of later commands. "
        "What follows there is damaged, or the files are not of one time: restore them together "
        "from a backup, or give up what is missing with: openoutcry journal cut "
        f"{folder} --shard {shard}"
    )


def _blocks(file: SegmentedFile, checkpoint: Checkpoint | None) -> list[NDArray[np.int64]]:
    """Return the blocks that may tell of something since a checkpoint; without one, all of them by
    segments."""
    blocks = file.array(np.int64)[: file.mapped_bytes // 8].reshape(-1, BLOCK_WORDS)
    first = file.first_byte // BLOCK_BYTES
    if checkpoint is None:
        step = file.segment_bytes // BLOCK_BYTES
        return [blocks[at : at + step] for at in range(first, len(blocks), step)]
    open_ones = checkpoint.rows["block"][checkpoint.rows["epoch"] > 0]
    open_ones = open_ones[(open_ones >= first) & (open_ones < len(blocks))]
    return [blocks[open_ones], blocks[max(checkpoint.next_block, first) :]]


def _last_sources(blocks: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Return (shard, byte of its report log) of the last report of each shard in index blocks."""
    count = np.where(blocks[:, 0] > 0, blocks[:, 4], 0)
    is_entry = np.arange(BLOCK_ENTRIES) < count[:, np.newaxis]
    sources = blocks[:, BLOCK_HEADER_WORDS + 1 :: 2][is_entry]
    # Below 0 are messages of the gateway's own; 0 is an administrative message.
    sources = sources[sources > 0]
    return [
        (shard, int(sources[sources >> SHARD_SHIFT == shard].max()) & _POSITION_MASK)
        for shard in np.unique(sources >> SHARD_SHIFT).tolist()
    ]

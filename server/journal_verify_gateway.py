"""Checks of what gateways keep: the index of what each session was sent, stored messages,
checkpoints."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from openoutcry.server.checkpoint import Checkpoint
from openoutcry.server.gateway_files import checkpoint_of, gateways_in, map_whole
from openoutcry.server.sessions import (
    BLOCK_BYTES,
    BLOCK_ENTRIES,
    BLOCK_WORDS,
    SEGMENT_MARK,
    STORED_HEAD_BYTES,
    stored_record,
)
from openoutcry.server.verify_segments import DAMAGED, NOTE, OK, Finding, check_segments

Tell = Callable[[Finding], None]


def check_gateways(folder: Path, tell: Tell) -> None:
    """Check what every gateway keeps in a data directory."""
    for gateway in gateways_in(folder):
        name = f"gateway-{gateway}"
        stored_from = 0
        checkpoint = checkpoint_of(folder, gateway)
        if check_segments(folder, f"{name}-index", tell):
            next_block = 0 if checkpoint is None else checkpoint.next_block
            stored_from = _check_index(folder, f"{name}-index", next_block, tell)
        if check_segments(folder, f"{name}-messages", tell):
            _check_messages(folder, f"{name}-messages", stored_from, tell)
        _check_checkpoint(folder / f"{name}-checkpoint", checkpoint, tell)


def _check_index(folder: Path, name: str, next_block: int, tell: Tell) -> int:
    """Check the index blocks; return the first byte of the stored messages that they need.

    From `next_block` on are those of segments that were made since the checkpoint: the next start
    writes the first block of one that died before it had been written.
    """
    file = map_whole(folder, name)
    assert file is not None
    try:
        first = file.first_byte // BLOCK_BYTES
        words = file.array(np.int64)[first * BLOCK_WORDS : file.mapped_bytes // 8]
        blocks = words.reshape(-1, BLOCK_WORDS)
        a_segment = file.segment_bytes // BLOCK_BYTES
        entries = sessions = 0
        heads = np.arange(-first % a_segment, len(blocks), a_segment)
        is_late = (blocks[heads, 0] == 0) & (heads + first >= next_block)
        for n in heads[is_late].tolist():
            path, offset = file.locate((first + n) * BLOCK_BYTES)
            text = (
                f"block {first + n} ({path}, byte {offset}) does not begin its segment yet: the "
                "segment is just being made, or was when the venue died; the next start writes it"
            )
            tell(Finding(name, NOTE, text, str(path), offset))
        may_be_empty = np.isin(np.arange(len(blocks)), heads[is_late])
        for n, reason in _bad_blocks(blocks, first, a_segment, may_be_empty):
            path, offset = file.locate((first + n) * BLOCK_BYTES)
            text = f"block {first + n} ({path}, byte {offset}) {reason}: restore it from a backup"
            tell(Finding(name, DAMAGED, text, str(path), offset))
        is_used = blocks[:, 0] > 0
        entries = int(blocks[is_used, 4].sum())
        sessions = len(np.unique(blocks[is_used, 0]))
        tell(
            Finding(
                name,
                OK,
                f"{int(is_used.sum()):,} blocks of {sessions:,} sessions, {entries:,} messages",
            )
        )
        return int(blocks[0, 2]) if blocks[0, 0] == SEGMENT_MARK else 0
    finally:
        file.close()


def _bad_blocks(
    blocks: NDArray[np.int64], first: int, a_segment: int, may_be_empty: NDArray[np.bool_]
) -> Iterator[tuple[int, str]]:
    """Yield (place, what is wrong) of the blocks that nobody can have written so."""
    places = np.arange(len(blocks))
    is_head = ((places + first) % a_segment == 0) & ~may_be_empty
    session, entries, before = blocks[:, 0], blocks[:, 4], blocks[:, 3]
    for is_bad, reason in (
        (is_head & (session != SEGMENT_MARK), "does not begin its segment"),
        (~is_head & (session < 0), "has a session below 0"),
        ((session > 0) & ((entries < 0) | (entries > BLOCK_ENTRIES)), "has too many entries"),
        ((session > 0) & (before >= places + first), "follows a later block"),
        ((session > 0) & (blocks[:, 2] < 1), "begins with no message number"),
    ):
        for place in np.flatnonzero(is_bad)[:3]:
            yield int(place), reason


def _check_messages(folder: Path, name: str, start: int, tell: Tell) -> None:
    """Check the stored messages' checksums from a byte on."""
    file = map_whole(folder, name)
    assert file is not None
    try:
        data = file.array(np.uint8)
        at = max(start, file.first_byte)
        count = 0
        while at + STORED_HEAD_BYTES <= file.mapped_bytes:
            head = data[at : at + STORED_HEAD_BYTES].tobytes()
            length = int.from_bytes(head[:4], "little")
            if length == 0 and not any(head):
                break
            end = at + STORED_HEAD_BYTES + length
            body = data[at + STORED_HEAD_BYTES : min(end, file.mapped_bytes)].tobytes()
            session = int.from_bytes(head[8:16], "little")
            answers = int.from_bytes(head[16:24], "little", signed=True)
            if end > file.mapped_bytes or not _is_whole(head, body, session, answers):
                path, offset = file.locate(at)
                text = (
                    f"the message at byte {at} ({path}, byte {offset}) is not whole: a crash cut "
                    f"it, or it is damaged; sessions get a gap fill for it and what was stored "
                    f"behind it in the same moment"
                )
                tell(Finding(name, NOTE, text, str(path), offset))
                break
            count += 1
            at = end + -end % 8
        tell(Finding(name, OK, f"{count:,} messages of the gateway's own, {at:,} bytes"))
    finally:
        file.close()


def _is_whole(head: bytes, body: bytes, session: int, answers: int) -> bool:
    return session < 1 << 63 and stored_record(body, session, answers)[: len(head)] == head


def _check_checkpoint(path: Path, found: Checkpoint | None, tell: Tell) -> None:
    if not path.exists():
        text = "missing: the next start reads the whole index in its place"
        tell(Finding(path.name, NOTE, text, str(path)))
        return
    if found is None:
        text = "no checkpoint in it is whole: the next start reads the whole index in its place"
        tell(Finding(path.name, NOTE, text, str(path)))
        return
    sessions = int(np.count_nonzero(found.rows["epoch"]))
    tell(Finding(path.name, OK, f"{sessions:,} sessions, next block {found.next_block}"))

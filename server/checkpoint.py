"""A gateway's checkpoint: how its sessions stood, from which a recovery goes on.

The index alone tells what each session was sent; the checkpoint tells where to begin with reading
it, which of the clients' messages are answered, and who is connected. It is written about once a
second, in two slots by turns, so that a torn one leaves the one before.

File, in pages of 4096 bytes
    header     64-bit words: "OOCHKPT", format, sessions, shards, byte of the first slot, slot bytes
    presence   a word a session, stored in place: 0 away, CONNECTED, or when the orders of a client
               that is gone are to be canceled (UTC ms << 8 | flags of the command)
    2 slots    words: CRC-32 of the rest, number of the checkpoint, next block, end of the stored
               messages, time, UTC ms, sessions told of; SHARD_POSITION rows; CHECKPOINT_ROW rows
"""

import mmap
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from openoutcry.engine.pack import FIRST_BYTE
from openoutcry.engine.records import SHARD_SHIFT
from openoutcry.server.durable import rename, sync_file, sync_folder
from openoutcry.server.journal import allocate_file
from openoutcry.server.sessions import ANSWERED, NEXT_BLOCK, OUT_SINCE, SENT, SINCE

if TYPE_CHECKING:
    from openoutcry.server.gateway import Gateway

_MAGIC = int.from_bytes(b"OOCHKPT\0", "little")
_FORMAT = 1
_PAGE = 4096
_HEAD_WORDS = 8

#: Presence of a client that is logged on.
CONNECTED = 1

#: How far a shard's report log is worked off: every report before `position` is numbered; those
#: from `first_position` on may belong to answers that are not sent yet. With their report numbers.
SHARD_POSITION = np.dtype(
    [
        ("next_report", "<i8"),
        ("position", "<i8"),
        ("first_report", "<i8"),
        ("first_position", "<i8"),
    ]
)

CHECKPOINT_ROW = np.dtype(
    [
        ("epoch", "<i8"),  # 0: there is no such session
        ("epoch_ms", "<i8"),
        ("block", "<i8"),
        ("first_block", "<i8"),
        ("next_out", "<i8"),
        ("oldest_out", "<i8"),
        ("expected", "<i8"),  # the client's lowest number that is not answered
        ("scan_from", "<i8"),  # our lowest number that may answer one above it
    ]
)


@dataclass(slots=True)
class Checkpoint:
    """How a gateway's sessions stood."""

    next_block: int
    stored_end: int
    time_ms: int
    shards: NDArray[Any]
    rows: NDArray[Any]

    @classmethod
    def empty(cls, sessions: int, shards: int) -> "Checkpoint":
        """Return the one that every gateway begins with."""
        positions = np.ones(shards, SHARD_POSITION)
        positions["position"] = positions["first_position"] = FIRST_BYTE
        return cls(0, 0, 0, positions, np.zeros(sessions, CHECKPOINT_ROW))


def capture(gateway: "Gateway") -> Checkpoint:
    """Return how a gateway's sessions stand now."""
    index = gateway.index
    rows, flight, answers = index.rows, index.flight, index.answers
    none = np.iinfo(np.int64).max
    is_under_way = flight[:, :, SENT] > flight[:, :, ANSWERED]
    lowest = np.maximum(flight[:, :, SINCE], flight[:, :, ANSWERED] + 1)
    expected = np.where(is_under_way, lowest, none).min(axis=1)
    scan_from = np.where(is_under_way, flight[:, :, OUT_SINCE], none).min(axis=1)
    for session, (number, first_out) in (*answers.lowest().items(), *gateway.fix.held()):
        expected[session] = min(expected[session], number)
        scan_from[session] = min(scan_from[session], first_out)
    expected = np.minimum(expected, rows["next_in"])
    for session in answers.waiting():
        answers.give_up_below(session, int(expected[session]))
    for session, first_out in list(answers.told_from().items()):
        if expected[session] == rows["next_in"][session]:
            answers.settle(session, int(expected[session]))
        if session in answers.told_from():
            scan_from[session] = min(scan_from[session], first_out)
    made = Checkpoint.empty(len(rows), len(gateway.positions))
    made.next_block, made.stored_end = int(index.allocator[NEXT_BLOCK]), index.stored_end
    made.time_ms = gateway.now_ms()
    for name in ("epoch", "epoch_ms", "block", "first_block", "next_out", "oldest_out"):
        made.rows[name] = rows[name]
    made.rows["expected"] = expected
    made.rows["scan_from"] = np.minimum(scan_from, rows["next_out"])
    made.shards["next_report"] = made.shards["first_report"] = gateway.next_report
    made.shards["position"] = made.shards["first_position"] = gateway.positions
    for shard, (report_seq, source) in answers.oldest_rows().items():
        row = made.shards[shard]
        if report_seq < row["first_report"]:
            row["first_report"] = report_seq
            row["first_position"] = source & (1 << SHARD_SHIFT) - 1
    return made


class CheckpointFile:
    """The file of a gateway's checkpoints.

    Args:
        path: the file; made where there is none, and made anew where the capacities changed.
        sessions: most sessions, the unused row 0 included.
        shards: how many there are.

    Attributes:
        presence: int64 (sessions), stored in place.
        made: number of the latest checkpoint of which there is an image.
        stored: number of the latest one that was written.
    """

    def __init__(self, path: Path, sessions: int, shards: int) -> None:
        self.path = path
        self._sessions, self._shards = sessions, shards
        self._first_slot, self._slot_bytes = _places(sessions, shards)
        old = _Old.read(path)
        if old is None or old.sizes != (sessions, shards, self._first_slot, self._slot_bytes):
            self._make(old)
        self._fd = os.open(path, os.O_RDWR)
        self._map = mmap.mmap(self._fd, self._first_slot)
        self.presence: NDArray[np.int64] = np.frombuffer(self._map, np.int64, sessions, _PAGE)
        made = _Old.read(path)
        assert made is not None
        self.made, self._latest = made.latest()
        self.stored = self.made
        self._slot = made.newest_slot()

    def _make(self, old: "_Old | None") -> None:
        """Write the file with room for the sessions and shards of today, and the latest checkpoint
        of the old one."""
        temporary = self.path.with_name(self.path.name + ".new")
        number, latest = (0, None) if old is None else old.latest()
        fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o640)
        try:
            allocate_file(fd, self._first_slot + 2 * self._slot_bytes)
            head = [_MAGIC, _FORMAT, self._sessions, self._shards]
            head += [self._first_slot, self._slot_bytes]
            os.pwrite(fd, np.array(head, np.int64).tobytes(), 0)
            if old is not None:
                count = min(len(old.presence), self._sessions)
                os.pwrite(fd, old.presence[:count].tobytes(), _PAGE)
            if latest is not None:
                resized = Checkpoint.empty(self._sessions, self._shards)
                resized.next_block, resized.stored_end = latest.next_block, latest.stored_end
                resized.time_ms = latest.time_ms
                for name in ("shards", "rows"):
                    before, now = getattr(latest, name), getattr(resized, name)
                    count = min(len(before), len(now))
                    now[:count] = before[:count]
                image = self._image(resized, number)
                os.pwrite(fd, image, self._first_slot + number % 2 * self._slot_bytes)
            sync_file(fd, temporary)
        finally:
            os.close(fd)
        rename(temporary, self.path)
        sync_folder(self.path.parent)

    def latest(self) -> Checkpoint | None:
        """Return the newest checkpoint that was whole when the file was opened, or None."""
        return self._latest

    def image(self, checkpoint: Checkpoint) -> bytes:
        """Return a checkpoint as `write` takes it; they are to be written in this order."""
        self.made += 1
        return self._image(checkpoint, self.made)

    def _image(self, checkpoint: Checkpoint, number: int) -> bytes:
        used = np.flatnonzero(checkpoint.rows["epoch"])
        count = int(used[-1]) + 1 if len(used) else 0
        words = [number, checkpoint.next_block, checkpoint.stored_end, checkpoint.time_ms, count]
        body = b"".join(
            (
                np.array([*words, 0, 0], np.int64).tobytes(),
                checkpoint.shards.tobytes(),
                checkpoint.rows[:count].tobytes(),
            )
        )
        return zlib.crc32(body).to_bytes(8, "little") + body

    def write(self, image: bytes) -> None:
        """Write a checkpoint, and not over the latest one that was written.

        Raises:
            OSError: it is not there, but the one before is; the next one goes to the same place.
        """
        slot = 1 - self._slot
        offset = self._first_slot + slot * self._slot_bytes
        if os.pwrite(self._fd, image, offset) != len(image):
            raise OSError(f"{self.path.name}: a checkpoint was not written whole")
        # Not by its number: one is never written where a later one came before it was its turn.
        self._slot = slot
        self.stored = int.from_bytes(image[8:16], "little")

    def sync(self) -> None:
        """Have everything on the disk."""
        sync_file(self._fd, self.path)

    def close(self) -> None:
        """Close the file; `presence` must not be used any more."""
        del self.presence
        self._map.close()
        os.close(self._fd)


def read_checkpoint(path: Path) -> Checkpoint | None:
    """Return the newest whole checkpoint of a file, which is left alone; None where there is
    none."""
    old = _Old.read(path)
    return None if old is None else old.latest()[1]


def checkpoint_sizes(path: Path) -> tuple[int, int]:
    """Return for how many sessions and shards a file of checkpoints was made.

    Raises:
        ValueError: it is none.
    """
    old = _Old.read(path)
    if old is None:
        raise ValueError(f"{path} is no file of checkpoints")
    return old.sizes[:2]


@dataclass(slots=True)
class _Old:
    """A checkpoint file as it was found."""

    sizes: tuple[int, int, int, int]
    presence: NDArray[np.int64]
    slots: tuple[bytes, bytes]

    @classmethod
    def read(cls, path: Path) -> "_Old | None":
        """Return what a file holds; None where there is none, or it is none of ours."""
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        if len(data) < _PAGE:
            return None
        magic, form, sessions, shards, first_slot, slot_bytes = (
            int(word) for word in np.frombuffer(data, np.int64, 6)
        )
        # Nothing guards these words but that they follow from each other, and from the file's size.
        if (magic, form) != (_MAGIC, _FORMAT) or sessions < 0 or shards < 0:
            return None
        if (first_slot, slot_bytes) != _places(sessions, shards):
            return None
        if len(data) < first_slot + 2 * slot_bytes:
            return None
        presence = np.frombuffer(data, np.int64, sessions, _PAGE)
        second = first_slot + slot_bytes
        slots = data[first_slot:second], data[second : second + slot_bytes]
        return cls((sessions, shards, first_slot, slot_bytes), presence, slots)

    def latest(self) -> tuple[int, Checkpoint | None]:
        """Return the number and content of the newest slot that is whole; (0, None) without."""
        found = [slot for slot in map(self._parse, self.slots) if slot is not None]
        return max(found, key=lambda slot: slot[0], default=(0, None))

    def newest_slot(self) -> int:
        """Return which slot holds the newest checkpoint; the second where there is none."""
        first, second = (self._parse(slot) for slot in self.slots)
        return int(first is None or (second is not None and second[0] > first[0]))

    def _parse(self, slot: bytes) -> tuple[int, Checkpoint] | None:
        sessions, shards = self.sizes[:2]
        words = [int(word) for word in np.frombuffer(slot, np.int64, _HEAD_WORDS)]
        crc, number, next_block, stored_end, time_ms, count = words[:6]
        if number < 1 or not 0 <= count <= sessions:
            return None
        start = _HEAD_WORDS * 8
        middle = start + shards * SHARD_POSITION.itemsize
        end = middle + count * CHECKPOINT_ROW.itemsize
        if zlib.crc32(slot[8:end]) != crc:
            return None
        rows = np.zeros(sessions, CHECKPOINT_ROW)
        rows[:count] = np.frombuffer(slot, CHECKPOINT_ROW, count, middle)
        positions = np.frombuffer(slot, SHARD_POSITION, shards, start).copy()
        return number, Checkpoint(next_block, stored_end, time_ms, positions, rows)


def _places(sessions: int, shards: int) -> tuple[int, int]:
    """Return at which byte the first slot begins, and the bytes of each."""
    words = _HEAD_WORDS * 8 + shards * SHARD_POSITION.itemsize
    return _PAGE + _pages(sessions * 8), _pages(words + sessions * CHECKPOINT_ROW.itemsize)


def _pages(size: int) -> int:
    return -(-size // _PAGE) * _PAGE

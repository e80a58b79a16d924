"""Segmented files: one array over many files, allocated whole, readable while they are written."""

import errno
import os
import time
from pathlib import Path

import numpy as np
import pytest

from openoutcry.server import durable, journal
from openoutcry.server.journal import (
    HEADER_BYTES,
    RESERVE_BYTES,
    OutOfSpaceError,
    Preparer,
    SegmentedFile,
    SegmentError,
    SegmentOwner,
    SyncError,
    open_segments,
    read_segment_header,
    segments_on_disk,
)

SEGMENT = 1 << 16

needs_proc = pytest.mark.skipif(
    not Path("/proc/self/maps").exists(), reason="looks at the process's mappings in /proc"
)


def test_a_record_may_cross_a_segment_border(tmp_path: Path) -> None:
    file = SegmentedFile(tmp_path, "log", SEGMENT, writable=True)
    file.ensure(SEGMENT + 1)
    assert file.mapped_bytes == 2 * SEGMENT
    bytes_ = file.array(np.uint8)
    bytes_[SEGMENT - 3 : SEGMENT + 3] = [1, 2, 3, 4, 5, 6]
    assert (tmp_path / "log-00000000.seg").read_bytes()[-3:] == b"\1\2\3"
    assert (tmp_path / "log-00000001.seg").read_bytes()[HEADER_BYTES:][:3] == b"\4\5\6"
    assert file.read(SEGMENT - 3, SEGMENT + 3) == b"\1\2\3\4\5\6"
    file.close()


def test_a_reader_sees_what_a_writer_writes(tmp_path: Path) -> None:
    writer = SegmentedFile(tmp_path, "log", SEGMENT, writable=True)
    writer.map_next()
    reader = SegmentedFile(tmp_path, "log", SEGMENT, writable=False)
    reader.ensure(SEGMENT)
    writer.array(np.int64)[7] = 42
    assert reader.array(np.int64)[7] == 42
    with pytest.raises(FileNotFoundError):
        reader.map_next()
    writer.close()
    reader.close()


def test_segments_are_allocated_whole(tmp_path: Path) -> None:
    file = SegmentedFile(tmp_path, "log", SEGMENT, writable=True)
    file.map_next()
    assert os.stat(file.segment_path(0)).st_blocks * 512 >= SEGMENT
    file.close()


def test_dropped_segments_can_still_be_read_from_their_files(tmp_path: Path) -> None:
    file = SegmentedFile(tmp_path, "log", SEGMENT, writable=True)
    file.ensure(3 * SEGMENT)
    array = file.array(np.int64)
    array[0] = 17
    array[2 * SEGMENT // 8] = 18
    file.drop_below(2 * SEGMENT + 5)
    assert array[2 * SEGMENT // 8] == 18
    assert int.from_bytes(file.read(0, 8), "little") == 17
    file.close()


def test_a_full_disk_is_reported_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(fd: int, size: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(journal, "allocate_file", no_room)
    file = SegmentedFile(tmp_path, "log", SEGMENT, writable=True)
    with pytest.raises(OutOfSpaceError, match="log-00000000"):
        file.map_next()
    assert list(tmp_path.iterdir()) == []
    assert file.mapped_bytes == 0
    file.close()


NAME = "shard-3-commands"
MINE = SegmentOwner("venue-1", "0123456789abcdef")


def test_a_segments_first_page_says_what_it_is(tmp_path: Path) -> None:
    file = SegmentedFile(tmp_path, NAME, SEGMENT, writable=True, owner=MINE)
    before = time.time_ns()
    file.ensure(2 * SEGMENT)
    header = read_segment_header(file.segment_path(1))
    assert header[:-1] == ("commands", "venue-1", 3, 1, SEGMENT, "0123456789abcdef")
    assert before <= header.created_ns <= time.time_ns()
    file.close()


def test_a_series_is_opened_again_with_its_own_segment_size(tmp_path: Path) -> None:
    file = SegmentedFile(tmp_path, NAME, SEGMENT, writable=True, owner=MINE)
    file.ensure(2 * SEGMENT)
    file.array(np.uint8)[SEGMENT + 5] = 77
    file.close()
    again = SegmentedFile(tmp_path, NAME, 4 * SEGMENT, writable=True, owner=MINE)
    assert again.segment_bytes == SEGMENT
    again.ensure(3 * SEGMENT)
    assert again.array(np.uint8)[SEGMENT + 5] == 77
    again.array(np.uint8)[SEGMENT + 6] = 78
    again.close()
    reader = open_segments(tmp_path, NAME)
    assert reader is not None
    reader.ensure_from(SEGMENT + 5)
    assert reader.first_byte == SEGMENT
    assert reader.array(np.uint8)[SEGMENT + 6] == 78
    assert reader.locate(SEGMENT + 6) == (tmp_path / f"{NAME}-00000001.seg", HEADER_BYTES + 6)
    reader.close()
    assert open_segments(tmp_path, "other") is None


def test_a_series_may_begin_late(tmp_path: Path) -> None:
    file = SegmentedFile(tmp_path, "log", SEGMENT, writable=True)
    file.ensure(4 * SEGMENT)
    file.array(np.uint8)[2 * SEGMENT] = 9
    file.close()
    for index in range(2):
        file.segment_path(index).unlink()
    assert segments_on_disk(tmp_path, "log") == [2, 3]
    again = SegmentedFile(tmp_path, "log", SEGMENT, writable=False)
    assert again.first_byte == again.mapped_bytes == 2 * SEGMENT
    again.ensure(3 * SEGMENT)
    assert again.array(np.uint8)[2 * SEGMENT] == 9
    again.close()


def test_positions_beyond_the_addresses_reserved_are_reached_by_beginning_there(
    tmp_path: Path,
) -> None:
    """A process maps so much in its life; a series may grow on from one life to the next."""
    index = 3 * RESERVE_BYTES // SEGMENT - 1
    begin = index * SEGMENT
    writer = SegmentedFile(tmp_path, "log", SEGMENT, writable=True)
    writer.ensure_from(begin + 8)
    writer.ensure(begin + 2 * SEGMENT)
    assert (writer.first_byte, writer.mapped_bytes) == (begin, begin + 2 * SEGMENT)
    words = writer.array(np.int64)
    words[(begin + SEGMENT) // 8 - 1 :][:2] = (5, 6)
    writer.zero(begin + SEGMENT - 8, begin + SEGMENT)
    writer.sync(begin, begin + SEGMENT + 8)
    assert segments_on_disk(tmp_path, "log") == [index, index + 1]
    reader = open_segments(tmp_path, "log")
    assert reader is not None
    while reader.is_next_there():
        reader.map_next()
    assert reader.array(np.int64)[(begin + SEGMENT) // 8 - 1 :][:2].tolist() == [0, 6]
    assert reader.read(begin + SEGMENT, begin + SEGMENT + 1) == b"\6"
    reader.drop_below(begin + SEGMENT)
    assert reader.first_byte == begin + SEGMENT
    reader.close()
    writer.close()


def mapped(file: SegmentedFile) -> bool:
    """Tell whether the range of a file's addresses is taken."""
    return is_mapped(file.address + file.first_byte)


def is_mapped(address: int) -> bool:
    for line in Path("/proc/self/maps").read_text().splitlines():
        first, last = (int(word, 16) for word in line.split()[0].split("-"))
        if first <= address < last:
            return True
    return False


@needs_proc
def test_addresses_and_descriptors_of_a_file_that_nobody_closed_come_back(tmp_path: Path) -> None:
    def leave_one() -> int:
        file = SegmentedFile(tmp_path, "log", SEGMENT, writable=True)
        file.ensure(2 * SEGMENT)
        file.array(np.uint8)[3] = 7
        return file.address

    # More than there are addresses for, 1 TiB each.
    descriptors = len(os.listdir("/proc/self/fd"))
    for _ in range(200):
        address = leave_one()
    assert not is_mapped(address)
    assert len(os.listdir("/proc/self/fd")) == descriptors


@needs_proc
def test_an_array_keeps_the_addresses_that_it_shows(tmp_path: Path) -> None:
    file = SegmentedFile(tmp_path, "log", SEGMENT, writable=True)
    file.ensure(SEGMENT)
    address = file.address
    part = file.array(np.int64)[8:16]
    part[:] = 5
    file = None  # type: ignore[assignment]
    assert part.tolist() == [5] * 8
    part[1] = 6
    assert (tmp_path / "log-00000000.seg").read_bytes()[HEADER_BYTES:][72:73] == b"\6"
    assert is_mapped(address)
    del part
    assert not is_mapped(address)


@needs_proc
def test_a_closed_file_takes_nobody_elses_addresses(tmp_path: Path) -> None:
    first = SegmentedFile(tmp_path, "log", SEGMENT, writable=True)
    first.map_next()
    first.close()
    # It gets the place that the first one had.
    second = SegmentedFile(tmp_path, "other", SEGMENT, writable=True)
    second.map_next()
    first.close()
    del first
    second.array(np.uint8)[5] = 9
    assert mapped(second)
    second.close()
    assert not mapped(second)


def test_where_addresses_are_few_fewer_are_reserved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some arm64 kernels give a process 512 GiB in all; and there is `ulimit -v`."""
    monkeypatch.setattr(journal, "RESERVE_BYTES", 1 << 62)
    file = SegmentedFile(tmp_path, "log", SEGMENT, writable=True)
    file.ensure(2 * SEGMENT)
    file.array(np.uint8)[SEGMENT] = 3
    assert file.read(SEGMENT, SEGMENT + 1) == b"\3"
    assert len(file.array(np.uint8)) < 1 << 62
    file.close()


def test_no_addresses_at_all_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(address: int | None, size: int, *_: object) -> int:
        raise OSError(errno.ENOMEM, f"mmap of {size} bytes: Cannot allocate memory")

    monkeypatch.setattr(journal, "_mmap", refuse)
    with pytest.raises(OSError, match=f"mmap of {2 * SEGMENT} bytes"):
        SegmentedFile(tmp_path, "log", SEGMENT, writable=True)


def test_no_more_is_mapped_than_there_are_addresses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "RESERVE_BYTES", 2 * SEGMENT)
    file = SegmentedFile(tmp_path, "log", SEGMENT, writable=True)
    file.ensure_from(SEGMENT)
    file.ensure(3 * SEGMENT)
    with pytest.raises(OutOfSpaceError, match="start the venue again"):
        file.map_next()
    file.close()
    again = SegmentedFile(tmp_path, "log", SEGMENT, writable=True)
    again.ensure_from(3 * SEGMENT)
    assert again.mapped_bytes == 4 * SEGMENT
    again.close()


def test_another_venues_segments_are_refused(tmp_path: Path) -> None:
    file = SegmentedFile(tmp_path, NAME, SEGMENT, writable=True, owner=MINE)
    file.map_next()
    file.close()
    other = SegmentedFile(tmp_path, NAME, SEGMENT, writable=True, owner=SegmentOwner("venue-2"))
    with pytest.raises(SegmentError, match="belongs to the venue 'venue-1', not to 'venue-2'"):
        other.map_next()
    other.close()
    # A changed configuration is no other venue, and tools read whatever is there.
    for owner in (MINE._replace(fingerprint="f" * 16), SegmentOwner()):
        same = SegmentedFile(tmp_path, NAME, SEGMENT, writable=True, owner=owner)
        same.map_next()
        same.close()


def test_a_segment_under_another_ones_name_is_refused(tmp_path: Path) -> None:
    file = SegmentedFile(tmp_path, NAME, SEGMENT, writable=True)
    file.ensure(2 * SEGMENT)
    file.close()
    file.segment_path(0).unlink()
    file.segment_path(1).rename(file.segment_path(0))
    again = SegmentedFile(tmp_path, NAME, SEGMENT, writable=False)
    with pytest.raises(SegmentError, match="another file than its name says"):
        again.map_next()
    again.close()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"OOB1" + bytes(8188), "format 1"),
        (b"OOREPORT" + bytes(8184), "format 1"),
        (b"OOSEG\0\0\0\3" + bytes(8183), "was written in format 3"),
        (bytes(8192), "has no segment header"),
        (b"", "has no segment header"),
    ],
)
def test_what_is_no_segment_is_refused(tmp_path: Path, content: bytes, sentence: str) -> None:
    (tmp_path / "log-00000000.seg").write_bytes(content)
    with pytest.raises(SegmentError, match=sentence):
        SegmentedFile(tmp_path, "log", SEGMENT, writable=False)


def test_every_damage_of_a_first_page_that_matters_is_found(tmp_path: Path) -> None:
    file = SegmentedFile(tmp_path, "log", SEGMENT, writable=True, owner=MINE)
    file.map_next()
    file.close()
    path = file.segment_path(0)
    good = path.read_bytes()
    used = len(good[:HEADER_BYTES].rstrip(b"\0"))
    for place in range(used):
        damaged = bytearray(good)
        damaged[place] ^= 0x10
        path.write_bytes(damaged)
        with pytest.raises(SegmentError):
            read_segment_header(path)
    path.write_bytes(good[:-1])
    with pytest.raises(SegmentError, match="has 69631 bytes where a segment has 69632"):
        read_segment_header(path)


def test_what_a_crash_left_under_the_temporary_name_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "log-00000000.new").write_bytes(b"half")
    file = SegmentedFile(tmp_path, "log", SEGMENT, writable=True)
    file.map_next()
    assert [path.name for path in tmp_path.iterdir()] == ["log-00000000.seg"]
    file.close()


@pytest.mark.parametrize("is_durable", [False, True])
def test_a_sync_reaches_each_segment_of_its_range(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_durable: bool
) -> None:
    owner = SegmentOwner(is_durable=is_durable)
    file = SegmentedFile(tmp_path, "log", SEGMENT, writable=True, owner=owner)
    file.ensure(4 * SEGMENT)
    file.drop_below(SEGMENT)
    seen: list[str] = []

    def note(fd: int, path: Path) -> None:
        assert os.fstat(fd).st_ino == path.stat().st_ino
        seen.append(path.name)

    monkeypatch.setattr(journal, "sync_file", note)
    file.sync(SEGMENT - 8, 2 * SEGMENT)
    file.sync(2 * SEGMENT, 2 * SEGMENT + 8)
    file.sync(3 * SEGMENT, 3 * SEGMENT)
    assert seen == [f"log-0000000{index}.seg" for index in (0, 1, 2)]
    file.close()


def test_a_durable_segment_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, str]] = []
    monkeypatch.setattr(durable, "observer", lambda event, path: seen.append((event, path.name)))
    owner = SegmentOwner(is_durable=True)
    file = SegmentedFile(tmp_path, "log", SEGMENT, writable=True, owner=owner)
    file.map_next(populate=True)
    new, name = "log-00000000.new", "log-00000000.seg"
    assert seen == [
        ("sync", new),
        ("synced", new),
        ("renamed", name),
        ("folder-sync", tmp_path.name),
        ("folder-synced", tmp_path.name),
        ("sync", name),
        ("synced", name),
    ]
    file.close()


def test_a_name_that_a_crash_kept_from_the_disk_is_brought_there_before_the_segment_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between the rename and the folder's sync; the machine may go down later."""
    owner = SegmentOwner(is_durable=True)
    SegmentedFile(tmp_path, "log", SEGMENT, writable=True, owner=owner).ensure(2 * SEGMENT)
    seen: list[str] = []
    monkeypatch.setattr(durable, "observer", lambda event, path: seen.append(event))
    again = SegmentedFile(tmp_path, "log", SEGMENT, writable=True, owner=owner)
    again.map_next()
    assert seen == ["folder-sync", "folder-synced"]
    again.map_next()
    assert len(seen) == 2
    for other in ({"writable": False, "owner": owner}, {"writable": True}):
        SegmentedFile(tmp_path, "log", SEGMENT, **other).ensure(2 * SEGMENT)
    assert len(seen) == 2


def test_a_segment_whose_name_cannot_be_synced_ends_all_syncs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What would be written there could vanish with the name, however often it is synced."""
    owner = SegmentOwner(is_durable=True)
    file = SegmentedFile(tmp_path, "log", SEGMENT, writable=True, owner=owner)
    file.map_next()

    def fail(folder: Path) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(journal, "sync_folder", fail)
        with pytest.raises(SyncError, match="Input/output error"):
            file.map_next()
    assert file.has_sync_failed
    with pytest.raises(SyncError, match="an earlier sync"):
        file.sync(0, 1)
    file.close()


def test_a_failed_sync_is_final(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = SegmentedFile(tmp_path, "log", SEGMENT, writable=True)
    file.ensure(2 * SEGMENT)

    def fail(fd: int, path: Path) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(journal, "sync_file", fail)
        with pytest.raises(SyncError, match=r"cannot sync .*log-00000001\.seg: Input/output error"):
            file.sync(SEGMENT, SEGMENT + 1)
    assert file.has_sync_failed
    with pytest.raises(SyncError, match="an earlier sync"):
        file.sync(0, 1)
    file.close()


def test_what_is_cut_is_zeroed(tmp_path: Path) -> None:
    file = SegmentedFile(tmp_path, "log", SEGMENT, writable=True)
    file.ensure(2 * SEGMENT)
    data = file.array(np.uint8)
    data[: 2 * SEGMENT] = 7
    file.zero(10, SEGMENT + 3)
    assert data[9] == data[SEGMENT + 3] == 7
    assert not data[10 : SEGMENT + 3].any()
    file.close()


@pytest.mark.parametrize("size", [0, 1000, -4096])
def test_a_segment_size_that_is_no_multiple_of_a_page_is_refused(tmp_path: Path, size: int) -> None:
    with pytest.raises(ValueError, match=f"not {size}"):
        SegmentedFile(tmp_path, "log", size, writable=True)


def _wait(condition: object, seconds: float = 5) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_the_preparer_stays_ahead_of_the_writer(tmp_path: Path) -> None:
    file = SegmentedFile(tmp_path, "log", SEGMENT, writable=True)
    preparer = Preparer(min_free_bytes=0)
    preparer.add(file, SEGMENT)
    preparer.start()
    preparer.wake({"log": 0})
    _wait(lambda: file.mapped_bytes == SEGMENT)
    preparer.wake({"log": SEGMENT // 2})
    _wait(lambda: file.mapped_bytes == 2 * SEGMENT)
    preparer.stop()
    assert not preparer.failed
    file.close()


def test_the_preparer_stops_above_the_reserve_and_says_so(tmp_path: Path) -> None:
    file = SegmentedFile(tmp_path, "log", SEGMENT, writable=True)
    preparer = Preparer(min_free_bytes=1 << 60)
    preparer.add(file, SEGMENT)
    preparer.start()
    preparer.wake({"log": 0})
    _wait(lambda: preparer.failed)
    preparer.stop()
    assert file.mapped_bytes == 0
    file.close()


def test_a_file_that_gets_its_segment_does_not_hide_one_that_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log has no room, the smaller segments of the reports still do: orders are declined."""
    files = [
        SegmentedFile(tmp_path, name, SEGMENT, writable=True) for name in ("log", "reports", "last")
    ]
    full = ["log"]
    monkeypatch.setattr(Preparer, "has_room", lambda _, file, __: file.name not in full)
    preparer = Preparer(min_free_bytes=0)
    for file in files:
        preparer.add(file, SEGMENT)
    preparer.start()
    wanted = {"log": 0, "reports": 0, "last": 0}
    preparer.wake(wanted)
    _wait(lambda: files[2].mapped_bytes == SEGMENT)
    assert preparer.failed
    full.clear()
    preparer.wake(wanted)
    _wait(lambda: files[0].mapped_bytes == SEGMENT and not preparer.failed)
    preparer.stop()
    for file in files:
        file.close()

"""Segmented files: one array over many files, allocated whole, readable while they are written."""

import errno
import os
import time
from pathlib import Path

import numpy as np
import pytest

from openoutcry.server import journal
from openoutcry.server.journal import OutOfSpaceError, Preparer, SegmentedFile

SEGMENT = 1 << 16


def test_a_record_may_cross_a_segment_border(tmp_path: Path) -> None:
    file = SegmentedFile(tmp_path, "log", SEGMENT, writable=True)
    file.ensure(SEGMENT + 1)
    assert file.mapped_bytes == 2 * SEGMENT
    bytes_ = file.array(np.uint8)
    bytes_[SEGMENT - 3 : SEGMENT + 3] = [1, 2, 3, 4, 5, 6]
    assert (tmp_path / "log-00000000.seg").read_bytes()[-3:] == b"\1\2\3"
    assert (tmp_path / "log-00000001.seg").read_bytes()[:3] == b"\4\5\6"
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

    monkeypatch.setattr(journal, "_allocate_file", no_room)
    file = SegmentedFile(tmp_path, "log", SEGMENT, writable=True)
    with pytest.raises(OutOfSpaceError, match="log-00000000"):
        file.map_next()
    assert list(tmp_path.iterdir()) == []
    assert file.mapped_bytes == 0
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

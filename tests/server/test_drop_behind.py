"""What was written a while ago leaves the page cache, and stays in the file."""

import ctypes
import mmap
import os
from pathlib import Path

import numpy as np
import pytest

from openoutcry.config.system import file_system
from openoutcry.server.drop_behind import DropBehind
from openoutcry.server.journal import SegmentedFile

SEGMENT_BYTES = 1 << 20


def cached_pages(path: Path) -> int:
    """Return how many of a file's pages are in the page cache."""
    size = path.stat().st_size
    found = (ctypes.c_ubyte * (-(-size // mmap.PAGESIZE)))()
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p]
    with path.open("rb") as file, mmap.mmap(file.fileno(), size, prot=mmap.PROT_READ) as mapped:
        array = np.frombuffer(mapped, np.uint8)
        assert libc.mincore(array.ctypes.data, size, found) == 0
        del array
    return sum(each & 1 for each in found)


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="the system cannot be told")
def test_only_what_is_not_mapped_any_more_leaves_the_cache(tmp_path: Path):
    if file_system(tmp_path) in {"tmpfs", "ramfs"}:
        pytest.skip("a file system in memory is the cache")
    file = SegmentedFile(tmp_path, "shard-0-reports", SEGMENT_BYTES, writable=True)
    for _ in range(4):
        file.map_next(populate=True)
    content = file.array(np.uint8)
    for n in range(4):
        content[n * SEGMENT_BYTES : (n + 1) * SEGMENT_BYTES] = n + 1
    paths = [file.segment_path(n) for n in range(4)]
    behind = DropBehind()
    behind.add(file, lambda: file.first_byte)
    behind.step(0.0)
    file.drop_below(2 * SEGMENT_BYTES + 5)
    assert all(cached_pages(path) >= SEGMENT_BYTES // mmap.PAGESIZE for path in paths)
    behind.step(10.0)
    os.sync()
    behind.step(10.5)
    assert cached_pages(paths[0]) > 0
    behind.step(11.0)
    assert [cached_pages(path) for path in paths[:2]] == [0, 0]
    assert all(cached_pages(path) >= SEGMENT_BYTES // mmap.PAGESIZE for path in paths[2:])
    assert file.read(SEGMENT_BYTES - 1, SEGMENT_BYTES + 1) == b"\1\2"
    # The third time is the last; a file that went away meanwhile is nobody's matter.
    paths[1].unlink()
    behind.step(12.0)
    file.read(0, SEGMENT_BYTES)
    behind.step(20.0)
    assert cached_pages(paths[0]) > 0
    file.close()


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="the system cannot be told")
def test_what_a_late_reader_brought_back_leaves_again(tmp_path: Path):
    if file_system(tmp_path) in {"tmpfs", "ramfs"}:
        pytest.skip("a file system in memory is the cache")
    file = SegmentedFile(tmp_path, "shard-0-commands", SEGMENT_BYTES, writable=True)
    file.map_next(populate=True)
    path, read_by = file.segment_path(0), 0
    file.drop_below(SEGMENT_BYTES)
    behind = DropBehind()
    behind.add(file, lambda: read_by)
    behind.add(file, lambda: file.first_byte)
    os.sync()
    behind.step(0.0)
    assert cached_pages(path) == 0
    file.read(0, SEGMENT_BYTES)
    assert cached_pages(path) > 0
    read_by = SEGMENT_BYTES
    behind.step(10.0)
    assert cached_pages(path) == 0
    file.close()


def test_the_thread_ends(tmp_path: Path):
    file = SegmentedFile(tmp_path, "shard-0-reports", SEGMENT_BYTES, writable=True)
    file.map_next()
    behind = DropBehind()
    behind.add(file, lambda: SEGMENT_BYTES)
    behind.start()
    behind.stop()
    assert not behind._thread.is_alive()
    file.close()

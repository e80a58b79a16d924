"""Snapshot files: what they say, what is refused, and that half a one never has the name of one."""

import json
import resource
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from oracle.commands import random_commands
from support.log_writer import CAPACITY, LogWriter, start_commands

from openoutcry.engine.book import Capacity
from openoutcry.server.replica import Replica
from openoutcry.server.snapshots import (
    SnapshotError,
    load_snapshot,
    read_header,
    read_snapshot,
    snapshot_path,
    snapshots,
    verify_snapshot,
    write_snapshot,
)


@pytest.fixture
def replica(tmp_path: Path) -> Iterator[Replica]:
    """A shard's book after some commands, with its log in `log`."""
    folder = tmp_path / "log"
    folder.mkdir()
    writer = LogWriter(folder, 1)
    writer.append(start_commands(CAPACITY))
    writer.append_all(random_commands(2, 300, ids=100), 1)
    made = Replica.open(folder, 1)
    made.follow()
    yield made
    made.close()
    writer.close()


def test_the_header_says_where_the_book_stood(replica, tmp_path):
    path = write_snapshot(tmp_path, replica, "Börse")
    header = read_header(path)
    assert header == verify_snapshot(path) == read_snapshot(path).header
    state = replica.book.state[0]
    assert (header.venue, header.shard, header.seq) == ("Börse", 1, replica.seq)
    assert (header.log_bytes, header.report_bytes) == (replica.log_bytes, replica.report_bytes)
    assert (header.report_seq, header.base_ns) == (replica.report_seq, replica.base_ns)
    assert (header.epoch, header.ring_positions) == (1, replica.ring_positions)
    assert (header.time_ns, header.event_seq) == (replica.time_ns, int(state["event_seq"]))
    assert header.capacity == CAPACITY
    assert isinstance(header.capacity, Capacity)
    assert (header.open_orders, header.finished_orders, header.levels) == tuple(
        int(state[name]) for name in ("open_orders", "finished_count", "levels_used")
    )
    assert header.state_hash == replica.state_hash()
    assert path.stat().st_mode & 0o007 == 0
    assert [entry.name for entry in tmp_path.iterdir() if entry.is_file()] == [path.name]


def test_they_are_listed_newest_first_by_shard(tmp_path):
    for shard, seq in ((1, 5), (1, 40), (11, 7), (1, 12)):
        snapshot_path(tmp_path, shard, seq).write_bytes(b"")
    for other in ("shard-1-snapshot-00000000000000000099.new", "shard-1-commands-00000000.seg"):
        (tmp_path / other).write_bytes(b"")
    assert [int(path.stem[-20:]) for path in snapshots(tmp_path, 1)] == [40, 12, 5]
    assert [int(path.stem[-20:]) for path in snapshots(tmp_path, 11)] == [7]
    assert snapshots(tmp_path, 2) == snapshots(tmp_path / "none", 1) == []


def test_nothing_is_left_of_one_that_cannot_be_written(replica, tmp_path):
    def fail() -> None:
        assert [path.suffix for path in tmp_path.iterdir() if path.is_file()] == [".new"]
        raise OSError(5, "the report log cannot be synced")

    with pytest.raises(OSError, match="report log"):
        write_snapshot(tmp_path, replica, "V", before_rename=fail)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_snapshot(tmp_path, replica, "V")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path for path in tmp_path.iterdir() if path.is_file()] == []


def test_one_of_another_format_is_refused_with_what_to_do(replica, tmp_path):
    path = write_snapshot(tmp_path, replica, "V")
    data = bytearray(path.read_bytes())
    data[8] = 9
    path.write_bytes(data)
    for read in (read_header, verify_snapshot, read_snapshot):
        with pytest.raises(SnapshotError, match="format 9, and this program reads format 1"):
            read(path)


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda data: b"", "is no snapshot"),
        (lambda data: b"PK" + data[2:], "is no snapshot"),
        (lambda data: data[:100], "checksum of its header"),
        (lambda data: data[:-1], "is cut: its section finished has"),
        (lambda data: data + b"\0", "something follows its last section"),
        (lambda data: data[:-1] + bytes([data[-1] ^ 1]), "checksum of its section finished"),
    ],
)
def test_damage_is_named(replica, tmp_path, spoil, sentence):
    path = write_snapshot(tmp_path, replica, "V")
    path.write_bytes(spoil(path.read_bytes()))
    for read in (verify_snapshot, read_snapshot):
        with pytest.raises(SnapshotError, match=sentence) as caught:
            read(path)
        assert str(path) in str(caught.value)


def with_header(path: Path, **changes: object) -> None:
    """Change a snapshot's header, with a right checksum."""
    data = path.read_bytes()
    size = int.from_bytes(data[12:16], "little")
    header = json.loads(data[24 : 24 + size]) | changes
    text = json.dumps(header).encode()
    words = b"".join(word.to_bytes(4, "little") for word in (len(text), zlib.crc32(text), 0))
    path.write_bytes(data[:12] + words + text + data[24 + size :])


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"state_hash": 1}, "makes a book with the state hash"),
        ({"seq": 77}, "makes a book with the state hash"),
        ({"open_orders": 1}, "makes no book"),
        ({"finished_orders": 10**6}, "makes no book"),
        ({"capacity": [1, 0, 1, 2, 3]}, "makes no book: capacity.open_orders cannot be 1"),
        ({"capacity": [-1, 0, 1, 2, 3]}, "makes no book"),
        ({"colour": 1}, "header that this program cannot read: Object contains unknown field"),
        ({"shard": "one"}, "header that this program cannot read: Expected `int`"),
        ({"sections": {"symbols": {"bytes": -1, "crc": 0}}}, "cannot read: Expected `int` >= 0"),
        ({"sections": {}}, "other sections than symbols, marks, orders, finished"),
    ],
)
def test_a_header_that_lies_makes_no_book(replica, tmp_path, changes, sentence):
    path = write_snapshot(tmp_path, replica, "V")
    with_header(path, **changes)
    with pytest.raises(SnapshotError, match=sentence):
        load_snapshot(read_snapshot(path))


def test_one_that_is_not_there_is_told_of(tmp_path):
    for read in (read_header, verify_snapshot, read_snapshot):
        with pytest.raises(SnapshotError, match="cannot be read: No such file"):
            read(tmp_path / "shard-0-snapshot-00000000000000000001.snap")


def test_another_shards_is_refused(replica, tmp_path):
    path = write_snapshot(tmp_path, replica, "V")
    with pytest.raises(SnapshotError, match="is of shard 1, not of shard 0"):
        Replica.open(tmp_path, 0, snapshot=path)

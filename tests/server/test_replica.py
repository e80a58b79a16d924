"""A replica makes of snapshot and log what the commands make one by one."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from oracle.book import join_rows
from oracle.commands import random_commands
from support.log_writer import (
    CAPACITY,
    SEGMENT,
    Expected,
    LogWriter,
    capacity_command,
    control,
    start_commands,
)

from openoutcry.engine.enums import CommandKind
from openoutcry.engine.pack import FIRST_BYTE
from openoutcry.engine.records import COMMAND, REPORT
from openoutcry.engine.recovery import FollowEnd
from openoutcry.engine.snapshot import check_invariants
from openoutcry.server.journal import SegmentedFile
from openoutcry.server.log_end import open_log
from openoutcry.server.replica import (
    CorruptLogError,
    LogEnd,
    LogSink,
    RecoveryError,
    Replica,
    RowSink,
    find_end,
)
from openoutcry.server.snapshots import SnapshotError, read_header, snapshots, write_snapshot

COUNT = 1_500


class Taken:
    """The rows that a replay gave."""

    def __init__(self) -> None:
        self.parts: list[Any] = []
        self.commands: list[Any] = []
        self.sink = RowSink(self._take)

    def _take(self, commands: Any, reports: Any) -> None:
        self.commands.append(commands.copy())
        self.parts.append(reports.copy())

    def rows(self) -> bytes:
        return join_rows(self.parts, REPORT).tobytes()


def write_log(
    folder: Path, seed: int = 1, count: int = COUNT, shard: int = 0, synced: int = 0
) -> LogWriter:
    """Write a log of random commands, with a start in the middle that changes the sizes."""
    writer = LogWriter(folder, shard)
    writer.synced = synced
    writer.append(start_commands(CAPACITY))
    commands = random_commands(seed, count, masses=0.01, ids=200)
    writer.append_all(commands[: count // 2], seed)
    writer.epoch += 1
    larger = CAPACITY._replace(open_orders=300, finished_orders=20, levels=250)
    writer.append(join_rows([control(CommandKind.START), capacity_command(larger)], COMMAND))
    writer.append_all(commands[count // 2 :], seed + 1)
    return writer


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, LogWriter, Expected]:
    """A log that no test changes, and what it makes."""
    folder = tmp_path_factory.mktemp("log")
    writer = write_log(folder, shard=3)
    return folder, writer, Expected(writer.commands, shard=3)


def test_a_log_is_replayed_to_the_reports_and_the_state_of_its_commands(logged):
    folder, writer, expected = logged
    taken = Taken()
    replica = Replica.open(folder, 3)
    result = replica.follow(reports=taken.sink)
    assert (result.end, result.commands, result.reports) == (
        *(FollowEnd.END, writer.seq, expected.report_seq),
    )
    assert taken.rows() == expected.rows().tobytes()
    assert join_rows(taken.commands, COMMAND).tobytes() == b"".join(
        batch.tobytes() for batch in writer.commands
    )
    assert replica.state_hash() == expected.hashes[-1]
    assert (replica.seq, replica.epoch) == (writer.seq, 2)
    assert replica.log_bytes == result.position == writer.ends[-1]
    assert replica.ring_positions == [writer.seq, 7]
    assert replica.base_ns == expected.base_ns
    assert (replica.report_seq, replica.report_bytes) == (
        *(expected.report_seq, expected.report_bytes()),
    )
    assert replica.find_end() == LogEnd(writer.ends[-1], writer.ends[-1])
    check_invariants(replica.book)
    replica.close()


def test_reports_are_written_where_the_shard_writes_them(logged, tmp_path):
    folder, _, expected = logged
    packed = expected.packed()
    # What the report log has already, up to a report's end, is not touched.
    kept = len(Expected(logged[1].commands[:9], shard=3).packed())
    for held in (0, kept, len(packed)):
        file = SegmentedFile(tmp_path, f"reports-{held}", SEGMENT, writable=True)
        file.map_next()
        data = file.array(np.uint8)
        data[:100] = 0xEE
        replica = Replica.open(folder, 3)
        result = replica.follow(reports=LogSink(file, FIRST_BYTE + held if held else 0))
        assert result.end == FollowEnd.END
        assert replica.report_bytes == FIRST_BYTE + len(packed)
        assert data[FIRST_BYTE + held : FIRST_BYTE + len(packed)].tobytes() == packed[held:]
        assert (data[: 100 if held else FIRST_BYTE] == 0xEE).all()
        replica.close()
        file.close()


def test_a_replay_may_end_and_go_on_anywhere(logged):
    folder, writer, expected = logged
    taken = Taken()
    replica = Replica.open(folder, 3)
    starts = [batch for batch in writer.commands if batch["kind"][0] == CommandKind.START]
    second, start_seq = int(starts[1]["time_ns"][0]), int(starts[1]["seq"][0])
    stops = [1, 2, 3, 4, 5, 40, 41, 42, *range(100, writer.seq, 97), writer.seq]
    stops = sorted({*stops, start_seq - 1, start_seq, start_seq + 1})
    for seq in stops:
        result = replica.follow(stop_seq=seq, reports=taken.sink)
        assert (result.end, replica.seq) == (FollowEnd.STOPPED, seq)
        assert replica.state_hash() == expected.hashes[seq - 1]
        ended = [end for end, last in zip(writer.ends, writer.seqs, strict=True) if last <= seq]
        assert replica.log_bytes == (ended[-1] if ended else 0)
        assert replica.is_between_batches == (seq in writer.seqs)
        begun = sum(last < seq for last in writer.seqs)
        assert replica.time_ns == writer.commands[begun]["time_ns"][0]
        assert replica.epoch == (2 if replica.time_ns >= second else 1)
    assert replica.follow(reports=taken.sink).commands == 0
    assert taken.rows() == expected.rows().tobytes()
    replica.close()


def test_limits_end_it_behind_a_batch(logged):
    folder, writer, expected = logged
    replica = Replica.open(folder, 3)
    results = []
    while (result := replica.follow(max_commands=50)).end == FollowEnd.LIMIT:
        assert result.position in writer.ends
        assert 50 <= result.commands < 90
        results.append(result.commands)
    assert result.end == FollowEnd.END
    assert sum(results) + result.commands == writer.seq
    assert replica.state_hash() == expected.hashes[-1]
    replica.close()


def test_a_follower_sees_only_what_is_committed(logged):
    folder, writer, _ = logged
    replica = Replica.open(folder, 3)
    for n in range(0, len(writer.ends), 5):
        result = replica.follow(end_bytes=writer.ends[n])
        assert (result.end, replica.seq) == (FollowEnd.END, writer.seqs[n])
    result = replica.follow(end_bytes=writer.ends[-1] + 64)
    assert result.end == FollowEnd.TORN
    assert result.reason == "no batch begins where one should"
    replica.close()


@pytest.mark.parametrize("where", [0.1, 0.5, 0.7, 1.0])
def test_a_snapshot_goes_on_as_the_book_it_was_taken_from(logged, tmp_path, where):
    folder, writer, expected = logged
    for segment in folder.glob("*.seg"):
        (tmp_path / segment.name).hardlink_to(segment)
    replica = Replica.open(tmp_path, 3)
    at = round(where * (len(writer.ends) - 1))
    replica.follow(end_bytes=writer.ends[at])
    path = write_snapshot(tmp_path, replica, "V")
    assert path.name == f"shard-3-snapshot-{writer.seqs[at]:020d}.snap"
    stood = [getattr(replica, name) for name in STANDS]
    replica.close()
    taken = Taken()
    again = Replica.open(tmp_path, 3, seed=99)
    assert [getattr(again, name) for name in STANDS] == stood
    assert (again.snapshot_seq, again.venue) == (writer.seqs[at], "V")
    check_invariants(again.book)
    again.follow(reports=taken.sink)
    assert taken.rows() == expected.rows(writer.seqs[at] + 1).tobytes()
    assert again.state_hash() == expected.hashes[-1]
    assert again.report_bytes == expected.report_bytes()
    again.close()


STANDS = (
    *("seq", "time_ns", "epoch", "log_bytes", "report_seq", "report_bytes", "base_ns"),
    *("ring_positions", "event_seq", "capacity"),
)


def test_no_snapshot_is_taken_within_a_batch(logged, tmp_path):
    replica = Replica.open(logged[0], 3)
    replica.follow(stop_seq=2)
    with pytest.raises(ValueError, match="command 2 is not the last of its batch"):
        write_snapshot(tmp_path, replica, "V")
    replica.close()


# --- Snapshots that are bad -----------------------------------------------------------------------


def with_snapshots(folder: Path) -> tuple[LogWriter, list[Path]]:
    """Write a log with three snapshots along it; return the snapshots, the newest first."""
    writer = write_log(folder, count=300)
    replica = Replica.open(folder, 0)
    for n in (3, 8, 12):
        replica.follow(end_bytes=writer.ends[n])
        write_snapshot(folder, replica, "V")
    replica.close()
    return writer, snapshots(folder, 0)


def test_a_bad_snapshot_falls_back_to_the_one_before_saying_so(tmp_path):
    writer, paths = with_snapshots(tmp_path)
    assert [int(path.stem[-20:]) for path in paths] == [writer.seqs[n] for n in (12, 8, 3)]
    expected = Expected(writer.commands).hashes[-1]
    half = paths[0].read_bytes()
    paths[0].write_bytes(half[: len(half) // 2])
    flipped = bytearray(paths[1].read_bytes())
    flipped[-5] ^= 4
    paths[1].write_bytes(flipped)
    for bad in range(1, 4):
        events: list[str] = []
        replica = Replica.open(tmp_path, 0, on_event=events.append)
        assert replica.follow().end == FollowEnd.END
        assert replica.state_hash() == expected
        assert replica.snapshot_seq == (writer.seqs[3] if bad < 3 else 0)
        assert [paths[n].name in event for n, event in enumerate(events[:2])] == [True, True]
        assert "is cut" in events[0]
        assert "checksum" in events[1]
        replica.close()
        if bad == 2:
            paths[2].write_bytes(b"")
    assert "the whole log is replayed" in events[-1]
    with pytest.raises(SnapshotError, match="is cut"):
        Replica.open(tmp_path, 0, snapshot=paths[0])


def test_any_cut_or_flip_of_a_snapshot_is_seen(tmp_path):
    _, paths = with_snapshots(tmp_path)
    data = paths[0].read_bytes()
    chooser = np.random.default_rng(3)
    for _ in range(150):
        bad = bytearray(data)
        at = int(chooser.integers(len(bad)))
        if chooser.random() < 0.5:
            bad[at] ^= 1 << int(chooser.integers(8))
        else:
            del bad[at:]
        paths[0].write_bytes(bad)
        events: list[str] = []
        replica = Replica.open(tmp_path, 0, on_event=events.append)
        assert len(events) == 1
        assert replica.seq == int(paths[1].stem[-20:])
        replica.close()


def test_a_log_that_ends_before_its_snapshot_is_refused(tmp_path):
    writer, _ = with_snapshots(tmp_path)
    writer.words[writer.ends[5] // 8 : writer.position] = 0
    replica = Replica.open(tmp_path, 0, snapshot=False)
    for path in snapshots(tmp_path, 0)[:2]:
        assert replica.follow().end == FollowEnd.END
        replica.floor = int(path.stat().st_size) and writer.ends[8]
        with pytest.raises(CorruptLogError, match=f"good up to byte {writer.ends[8]} at least"):
            replica.find_end()
    replica.close()


def test_a_missing_log_is_told_of(tmp_path):
    writer, _ = with_snapshots(tmp_path)
    writer.close()
    for segment in tmp_path.glob("*.seg"):
        segment.unlink()
    with pytest.raises(RecoveryError, match="command log of shard 0 is missing"):
        Replica.open(tmp_path, 0)


def test_segments_may_begin_late_where_a_snapshot_reaches(tmp_path):
    """Older segments are archived or deleted: neither recovery nor find_end needs them."""
    writer = write_log(tmp_path, count=900)
    expected = Expected(writer.commands).hashes[-1]
    late = next(n for n, end in enumerate(writer.ends) if end > 2 * SEGMENT)
    replica = Replica.open(tmp_path, 0)
    replica.follow(end_bytes=writer.ends[late])
    path = write_snapshot(tmp_path, replica, "V")
    replica.close()
    for index in range(2):
        writer.file.segment_path(index).unlink()
    replica = Replica.open(tmp_path, 0)
    assert replica.follow().end == FollowEnd.END
    assert replica.state_hash() == expected
    assert replica.find_end() == find_end(tmp_path, 0) == LogEnd(writer.ends[-1], writer.ends[-1])
    replica.close()
    # Without the snapshot there is no way to know what was before.
    path.rename(path.with_suffix(".bad"))
    for begin in (True, False):
        with pytest.raises(RecoveryError, match=r"begins at byte 32768|00000000\.seg is missing"):
            Replica.open(tmp_path, 0, snapshot=begin)
    with pytest.raises(RecoveryError, match="no snapshot tells where a batch begins"):
        find_end(tmp_path, 0)


def test_a_log_may_begin_where_a_snapshot_ends(tmp_path, monkeypatch):
    _, paths = with_snapshots(tmp_path)
    first = read_header(paths[1]).log_bytes
    monkeypatch.setattr("openoutcry.server.replica.first_log_byte", lambda folder, shard: first)
    paths[0].unlink()
    replica = Replica.open(tmp_path, 0)
    assert (replica.snapshot_seq, replica.log_bytes) == (read_header(paths[1]).seq, first)
    replica.close()


def test_a_segment_missing_in_the_middle_is_told_of(tmp_path):
    writer = write_log(tmp_path, count=900)
    writer.file.segment_path(1).unlink()
    replica = Replica.open(tmp_path, 0)
    with pytest.raises(CorruptLogError, match=r"00000001\.seg is missing, but .*00000002\.seg is"):
        replica.follow()
    replica.close()


def test_only_a_log_that_ends_with_its_segment_may_lack_the_next(tmp_path):
    """A snapshot may stand at a segment's very end, before the next one is made."""
    writer = write_log(tmp_path, count=900)
    writer.file.segment_path(1).unlink()
    # The one behind is there: then this one was, too.
    with pytest.raises(RecoveryError, match=r"00000001\.seg is missing: shard 0 goes on at"):
        open_log(tmp_path, 0, SEGMENT)
    for index in range(2, writer.file.mapped_bytes // SEGMENT):
        writer.file.segment_path(index).unlink()
    assert open_log(tmp_path, 0, SEGMENT) is None
    for byte in (SEGMENT + 8, 2 * SEGMENT - 8, 2 * SEGMENT):
        with pytest.raises(RecoveryError, match=f"shard 0 goes on at byte {byte} of its"):
            open_log(tmp_path, 0, byte)


def test_a_log_that_was_there_is_missed_without_snapshots_too(tmp_path):
    replica = Replica.open(tmp_path, 0)
    assert replica.find_end() == LogEnd(0, 0)
    with pytest.raises(RecoveryError, match="is missing in"):
        replica.find_end(floor=8)


def test_an_empty_folder_is_a_new_shard(tmp_path):
    replica = Replica.open(tmp_path, 0)
    assert replica.follow() == (FollowEnd.END, 0, 0, 0, "")
    assert (replica.seq, replica.epoch, replica.base_ns) == (0, 0, 0)
    assert replica.find_end() == LogEnd(0, 0)
    # It follows once there is something.
    writer = write_log(tmp_path, count=20)
    assert replica.follow().commands == writer.seq
    replica.close()


def test_capacity_that_does_not_fit_is_refused_with_a_sentence(tmp_path):
    writer = LogWriter(tmp_path)
    writer.append(start_commands(CAPACITY))
    writer.append(capacity_command(CAPACITY._replace(symbols=1)))
    replica = Replica.open(tmp_path, 0)
    with pytest.raises(RecoveryError, match=r"command 5 of shard 0.*symbol number 1 is in use"):
        replica.follow()
    replica.close()


# --- The end of the log ---------------------------------------------------------------------------


def ends_at(folder: Path) -> LogEnd:
    """Return where the log ends, which a replica and the frames alone must agree on."""
    replica = Replica.open(folder, 0)
    replica.follow()
    try:
        found = replica.find_end()
        assert find_end(folder, 0) == found
    except CorruptLogError:
        with pytest.raises(CorruptLogError):
            find_end(folder, 0)
        raise
    finally:
        replica.close()
    return found


def test_a_tail_cut_at_any_word_is_torn(tmp_path):
    writer = write_log(tmp_path, count=40)
    begin, end = writer.ends[-2] // 8, writer.position
    kept = writer.words[begin:end].copy()
    for cut in range(end - begin):
        writer.words[begin + cut : end] = 0
        found = ends_at(tmp_path)
        assert found.position == begin * 8
        dirty = int(np.flatnonzero(kept[:cut]).max(initial=-1)) + 1
        assert found.dirty_end == (begin + dirty) * 8
        assert found.is_torn == (dirty > 0)
        writer.words[begin:end] = kept
    assert ends_at(tmp_path).position == end * 8


@pytest.mark.parametrize("synced", [0, "beyond"])
def test_damage_in_the_middle_is_refused_naming_file_and_offset(tmp_path, synced):
    # Nothing but the last batch knows that the damaged one was on the disk.
    writer = write_log(tmp_path, count=600, synced=8 if synced else 0)
    assert writer.ends[-1] > 2 * SEGMENT
    bad = next(n for n, end in enumerate(writer.ends) if end > SEGMENT + 200)
    if synced:
        writer.synced = writer.ends[-1]
        writer.append(control(CommandKind.TIME))
    at = writer.ends[bad] // 8 + 3
    writer.words[at] ^= 1 << 7
    with pytest.raises(CorruptLogError, match="openoutcry journal cut") as caught:
        ends_at(tmp_path)
    assert caught.value.position == writer.ends[bad]
    assert caught.value.path.name == "shard-0-commands-00000001.seg"
    place = writer.ends[bad] % SEGMENT
    assert caught.value.offset % 4096 == place % 4096
    assert str(caught.value.path) in str(caught.value)


def test_pages_that_a_power_cut_took_from_the_unsynced_tail_are_cut(tmp_path):
    writer = LogWriter(tmp_path)
    writer.append(start_commands(CAPACITY))
    # What is behind here was never on the disk, as each batch says.
    good = writer.synced = writer.ends[-1]
    writer.append_all(random_commands(4, 60), 1, most=10)
    replica = Replica.open(tmp_path, 0)
    assert replica.follow(max_commands=1).end == FollowEnd.LIMIT
    assert replica.synced_bytes == 0
    assert replica.follow().end == FollowEnd.END
    assert replica.synced_bytes == good
    replica.close()
    begin = good // 8
    writer.words[begin : begin + 20] = 0
    found = ends_at(tmp_path)
    assert found == LogEnd(good, writer.ends[-1])
    # One that knows better makes it damage.
    replica = Replica.open(tmp_path, 0)
    replica.follow()
    with pytest.raises(CorruptLogError, match="good up to byte"):
        replica.find_end(floor=good + 8)
    replica.close()


@pytest.mark.parametrize("has_snapshot", [False, True])
def test_time_never_goes_back(tmp_path, has_snapshot):
    writer = write_log(tmp_path, count=30)
    replica = Replica.open(tmp_path, 0)
    replica.follow()
    if has_snapshot:
        write_snapshot(tmp_path, replica, "V")
        replica.close()
        replica = Replica.open(tmp_path, 0)
    writer.skew_ns = -(10**9)
    writer.append(control(CommandKind.TIME))
    result = replica.follow()
    assert (result.end, result.commands) == (FollowEnd.TORN, 0)
    assert result.reason == "the batch does not follow the one before it"
    replica.close()


def test_a_batch_of_an_earlier_epoch_or_out_of_sequence_is_not_executed(tmp_path):
    writer = LogWriter(tmp_path)
    writer.epoch = 5
    writer.append(start_commands(CAPACITY))
    good = writer.synced = writer.ends[-1]
    writer.epoch = 4
    writer.append(control(CommandKind.TIME))
    replica = Replica.open(tmp_path, 0)
    result = replica.follow()
    assert (result.end, result.position) == (FollowEnd.TORN, good)
    assert result.reason == "the batch does not follow the one before it"
    assert replica.find_end() == LogEnd(good, writer.ends[-1])
    writer.position, writer.epoch = good // 8, 6
    writer.append(control(CommandKind.TIME))
    assert replica.follow().end == FollowEnd.TORN
    writer.position, writer.seq = good // 8, 4
    writer.append(control(CommandKind.TIME))
    assert (replica.follow().end, replica.epoch) == (FollowEnd.END, 6)
    replica.close()

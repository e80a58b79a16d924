"""The follower over logs on the disk: what it writes, when, what it keeps, and what it survives."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.logged_shard import LoggedShard
from support.venue import wait_for

from openoutcry.engine.state import ProcessStatus, ShardWord
from openoutcry.server import follower as module
from openoutcry.server.config import Capacity, Config, Log, Retention, Snapshots
from openoutcry.server.follower import Follower
from openoutcry.server.memory import VenueMemory
from openoutcry.server.replica import Replica
from openoutcry.server.snapshot_request import SnapshotRequest, ask_for_snapshots
from openoutcry.server.snapshots import read_header, snapshots, write_snapshot

CAPACITY = Capacity(
    open_orders=100_000, finished_orders=1_000, levels=256, symbols=4, sessions=8, accounts=8
)
NEVER = Snapshots(every_bytes=None, every_s=None)


class Bench:
    """Shards without a process, and a thread that follows each."""

    def __init__(self, folder: Path, snapshots: Snapshots = NEVER, shards: int = 1, **log: object):
        self.folder = folder / "data"
        self.folder.mkdir()
        self.config = Config(
            capacity=CAPACITY,
            log=Log(segment_bytes=1 << 20, min_free_bytes=0, **log),  # type: ignore[arg-type]
            snapshots=snapshots,
            retention=Retention(segments="archive", archive_dir=str(folder / "archive")),
        )
        (folder / "shm").mkdir()
        self.memory = VenueMemory.create(folder / "shm", shards, 1, 64, 64)
        self.shards = [
            LoggedShard(self.config, self.memory, index, self.folder) for index in range(shards)
        ]
        self.shard = self.shards[0]
        self.words = self.memory.shards[0]
        self.threads: list[threading.Thread] = []
        self.statuses: dict[int, int] = {}

    def follow(self, index: int = 0) -> Follower:
        """Start a follower of a shard."""
        follower = Follower(self.config, self.memory, index, self.folder)
        self.memory.shards[index, ShardWord.FOLLOWER_STOP] = 0

        def run() -> None:
            self.statuses[index] = follower.run(os.getppid())
            follower.background.close()

        self.threads.append(threading.Thread(target=run))
        self.threads[-1].start()
        return follower

    def stop(self, how: int = 1) -> None:
        """Stop all followers."""
        self.memory.shards[:, ShardWord.FOLLOWER_STOP] = how
        for thread in self.threads:
            thread.join(30)
            assert not thread.is_alive()
        self.threads.clear()

    def ask(self, shard: int | None = None) -> dict[str, object]:
        """Ask for snapshots, and wait for the answer."""
        request = ask_for_snapshots(self.config, self.memory, self.folder, shard)
        assert isinstance(request, SnapshotRequest)
        answer = wait_for(request.answer)
        assert isinstance(answer, dict)
        return answer

    def seqs(self, index: int = 0) -> list[int]:
        """Return the last commands in a shard's snapshots, the newest first."""
        return [read_header(path).seq for path in snapshots(self.folder, index)]

    def wait_for_word(self, word: ShardWord, value: int) -> None:
        wait_for(lambda: self.words[word] == value, 20)

    def check(self, index: int = 0) -> None:
        """Compare the newest snapshot with a replay of the log from its beginning."""
        newest = Replica.open(self.folder, index, snapshot=snapshots(self.folder, index)[0])
        again = Replica.open(self.folder, index, snapshot=False)
        again.follow(stop_seq=newest.seq)
        assert again.state_hash() == newest.state_hash()
        for name in ("report_seq", "report_bytes", "log_bytes", "ring_positions", "base_ns"):
            assert getattr(again, name) == getattr(newest, name), name
        newest.close()
        again.close()


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def start(*args: object, **kwargs: object) -> Bench:
        made.append(Bench(tmp_path, *args, **kwargs))  # type: ignore[arg-type]
        return made[-1]

    yield start
    for bench in made:
        bench.stop(2)
        for shard in bench.shards:
            shard.close()


def test_a_snapshot_on_request_holds_what_was_committed_when_it_was_asked_for(
    make: Callable[..., Bench],
):
    bench = make()
    bench.follow()
    bench.shard.trade(3_000)
    answer = bench.ask()
    path = snapshots(bench.folder, 0)[0]
    words = bench.words
    assert answer["ok"] is True
    assert answer["snapshots"] == [
        {
            "shard": 0,
            "file": str(path),
            "seq": bench.shard.seq,
            "bytes": path.stat().st_size,
            "seconds": int(words[ShardWord.SNAPSHOT_TOOK_NS]) / 1e9,
        }
    ]
    bench.check()
    header = read_header(path)
    assert words[ShardWord.FOLLOWED_SEQ] == words[ShardWord.SNAPSHOT_SEQ] == bench.shard.seq
    assert words[ShardWord.SNAPSHOT_LOG_BYTES] == header.log_bytes == bench.shard.position * 8
    assert words[ShardWord.SNAPSHOT_REPORT_BYTES] == header.report_bytes
    assert words[ShardWord.SNAPSHOTS_WRITTEN] == 1
    assert abs(words[ShardWord.SNAPSHOT_NS] - time.time_ns()) < 60e9
    # Nothing changed: the same one will do.
    assert bench.ask()["snapshots"] == answer["snapshots"]
    assert words[ShardWord.SNAPSHOTS_WRITTEN] == 1


def test_a_snapshot_is_due_after_so_many_bytes(make: Callable[..., Bench]):
    bench = make(Snapshots(every_bytes=1 << 20, every_s=None))
    bench.follow()
    for number in range(3):
        bench.shard.trade(20_000)
        bench.wait_for_word(ShardWord.SNAPSHOTS_WRITTEN, number + 1)
    # Two are kept, the newest.
    wait_for(lambda: len(bench.seqs()) == 2)
    bench.check()
    behind = bench.shard.position * 8 - bench.words[ShardWord.SNAPSHOT_LOG_BYTES]
    assert behind < 1 << 20


def test_a_snapshot_is_due_after_a_time_if_anything_changed(make: Callable[..., Bench]):
    bench = make(Snapshots(every_bytes=None, every_s=1))
    bench.follow()
    bench.wait_for_word(ShardWord.SNAPSHOTS_WRITTEN, 1)
    bench.shard.trade(5)
    bench.wait_for_word(ShardWord.SNAPSHOTS_WRITTEN, 2)
    time.sleep(1.3)
    assert bench.words[ShardWord.SNAPSHOTS_WRITTEN] == 2


def test_a_clean_stop_follows_to_the_end_and_writes_the_last_one(make: Callable[..., Bench]):
    bench = make()
    bench.shard.trade(40_000)
    bench.words[ShardWord.STATUS] = ProcessStatus.STOPPED
    bench.follow()
    wait_for(lambda: bench.words[ShardWord.FOLLOWER_STATUS] == ProcessStatus.RUNNING)
    bench.stop()
    assert bench.seqs() == [bench.shard.seq]
    assert bench.statuses == {0: 0}
    assert bench.words[ShardWord.FOLLOWER_STATUS] == ProcessStatus.STOPPED
    # And once more with nothing new.
    bench.follow()
    wait_for(lambda: bench.words[ShardWord.FOLLOWER_STATUS] == ProcessStatus.RUNNING)
    bench.stop()
    assert bench.words[ShardWord.SNAPSHOTS_WRITTEN] == 1


def test_a_stop_without_a_data_directory_writes_nothing(make: Callable[..., Bench]):
    bench = make()
    bench.shard.trade(10)
    bench.follow()
    bench.wait_for_word(ShardWord.FOLLOWED_SEQ, bench.shard.seq)
    bench.stop(2)
    assert bench.seqs() == []


def test_it_reads_nothing_before_its_shard_has_recovered(make: Callable[..., Bench]):
    bench = make()
    bench.words[ShardWord.STATUS] = ProcessStatus.RECOVERING
    bench.follow()
    before = int(bench.words[ShardWord.FOLLOWER_HEARTBEAT])
    wait_for(lambda: bench.words[ShardWord.FOLLOWER_HEARTBEAT] > before + 2)
    assert bench.words[ShardWord.FOLLOWED_SEQ] == 0
    assert bench.words[ShardWord.FOLLOWER_STATUS] == ProcessStatus.STARTING
    bench.words[ShardWord.STATUS] = ProcessStatus.RUNNING
    bench.wait_for_word(ShardWord.FOLLOWED_SEQ, bench.shard.seq)


def test_under_power_it_follows_what_is_on_the_disk_only(make: Callable[..., Bench]):
    bench = make(durability="power")
    bench.shard.sync()
    first = bench.shard.seq
    bench.shard.trade(20)
    bench.follow()
    bench.wait_for_word(ShardWord.FOLLOWED_SEQ, first)
    time.sleep(0.2)
    assert bench.words[ShardWord.FOLLOWED_SEQ] == first
    bench.shard.sync()
    bench.wait_for_word(ShardWord.FOLLOWED_SEQ, bench.shard.seq)


def test_no_snapshot_stands_on_reports_that_are_not_written(
    make: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
):
    """A recovery that began with it would never write them."""
    monkeypatch.setattr(module, "_RELEASE_S", 0.05)
    monkeypatch.setattr(module, "_PUT_OFF_S", 0.1)
    bench = make()
    released = int(bench.words[ShardWord.RELEASED_POSITION])
    bench.shard.trade(100)
    there = int(bench.words[ShardWord.RELEASED_POSITION])
    bench.words[ShardWord.RELEASED_POSITION] = released
    bench.follow()
    request = SnapshotRequest(bench.memory, bench.folder, [0])
    bench.wait_for_word(ShardWord.FOLLOWED_SEQ, bench.shard.seq)
    time.sleep(0.3)
    assert request.answer() is None
    assert bench.seqs() == []
    bench.words[ShardWord.RELEASED_POSITION] = there
    answer = wait_for(request.answer)
    assert answer["ok"]
    bench.check()


def test_what_a_snapshot_stands_on_is_synced_first(
    make: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
):
    bench = make()
    steps: list[tuple[str, int]] = []
    follower = bench.follow()
    bench.wait_for_word(ShardWord.FOLLOWED_SEQ, bench.shard.seq)
    sync = follower._sync

    def note_sync(kind: str, end: int) -> None:
        sync(kind, end)
        steps.append((kind, end))

    def note_write(*args: Any, **kwargs: Any) -> Path:
        steps.append(("write", 0))
        return write_snapshot(*args, **kwargs)

    monkeypatch.setattr(follower, "_sync", note_sync)
    monkeypatch.setattr(module, "write_snapshot", note_write)
    bench.shard.trade(100)
    bench.ask()
    header = read_header(snapshots(bench.folder, 0)[0])
    assert steps == [
        ("commands", header.log_bytes),
        ("reports", header.report_bytes),
        ("write", 0),
    ]


def test_a_damaged_snapshot_counts_for_nothing_and_is_replaced(
    make: Callable[..., Bench], caplog: pytest.LogCaptureFixture
):
    bench = make(Snapshots(every_bytes=None, every_s=None, keep=2))
    bench.follow()
    for _ in range(3):
        bench.shard.trade(50)
        bench.ask()
    first = wait_for(lambda: bench.seqs() if len(bench.seqs()) == 2 else None)
    bench.stop()
    newest, older = snapshots(bench.folder, 0)
    content = bytearray(newest.read_bytes())
    content[-20] ^= 4
    newest.write_bytes(content)
    # It begins with the one before, says so, and writes the damaged one anew.
    follower = bench.follow()
    bench.wait_for_word(ShardWord.SNAPSHOTS_WRITTEN, 4)
    assert follower.replica.snapshot_seq == read_header(older).seq
    assert newest.name in caplog.text
    assert "damaged" in caplog.text
    wait_for(lambda: bench.words[ShardWord.OLDEST_LOG_BYTES] > 0)
    assert bench.seqs() == first
    bench.check()


def test_a_good_snapshot_is_never_removed_for_damaged_ones(make: Callable[..., Bench]):
    bench = make(Snapshots(every_bytes=None, every_s=None, keep=2))
    bench.shard.trade(50)
    bench.follow()
    bench.ask()
    bench.stop()
    (good,) = snapshots(bench.folder, 0)
    for number in (1, 2, 3):
        name = good.name.replace(f"{bench.shard.seq:020d}", f"{bench.shard.seq + number:020d}")
        (good.parent / name).write_bytes(good.read_bytes()[:-9])
    bench.follow()
    # One good one alone: nothing is known to be beyond it, so no segment is given up.
    bench.wait_for_word(ShardWord.SNAPSHOTS_WRITTEN, 2)
    assert good.exists()
    assert bench.words[ShardWord.OLDEST_LOG_BYTES] == 0


def test_left_over_temporary_files_are_removed(make: Callable[..., Bench]):
    bench = make(shards=2)
    own = bench.folder / "shard-0-snapshot-00000000000000000007.new"
    others = bench.folder / "shard-1-snapshot-00000000000000000007.new"
    own.touch()
    others.touch()
    bench.follow()
    wait_for(lambda: not own.exists())
    assert others.exists()


def test_a_snapshot_that_fails_is_told_counted_and_tried_again(
    make: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def fail(*args: object, **kwargs: object) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "write_snapshot", fail)
    bench = make(Snapshots(every_bytes=None, every_s=1))
    bench.follow()
    bench.shard.trade(50)
    answer = bench.ask()
    assert answer == {
        "ok": False,
        "error": "no snapshot of shard 0 was written; the log says why",
    }
    assert "No space left on device" in caplog.text
    assert bench.words[ShardWord.SNAPSHOTS_FAILED] >= 1
    monkeypatch.setattr(module, "write_snapshot", write_snapshot)
    bench.wait_for_word(ShardWord.SNAPSHOTS_WRITTEN, 1)
    bench.check()


def test_segments_below_the_oldest_kept_snapshot_are_archived(make: Callable[..., Bench]):
    bench = make(Snapshots(every_bytes=1 << 20, every_s=None, keep=2))
    bench.memory.gateways[0, :] = 0
    bench.memory.gateways[0, 33] = ProcessStatus.RUNNING
    bench.follow()
    for number in range(4):
        bench.shard.trade(20_000)
        bench.wait_for_word(ShardWord.SNAPSHOTS_WRITTEN, number + 1)
    # It is counted before the oldest that stays is published.
    oldest_bytes = read_header(snapshots(bench.folder, 0)[1]).log_bytes
    bench.wait_for_word(ShardWord.OLDEST_LOG_BYTES, oldest_bytes)
    oldest = oldest_bytes // (1 << 20)
    wait_for(lambda: not (bench.folder / f"shard-0-commands-{oldest - 1:08d}.seg").exists())
    names = sorted(path.name for path in bench.folder.glob("shard-0-commands-*.seg"))
    assert names[0] == f"shard-0-commands-{oldest:08d}.seg"
    archived = bench.folder.parent / "archive" / "openoutcry" / "shard-0"
    assert len(list(archived.glob("*-commands-*"))) == oldest
    # The gateway has not said which reports it needs: all of them.
    assert (bench.folder / "shard-0-reports-00000000.seg").exists()
    assert bench.words[ShardWord.SEGMENTS_RELEASED] == oldest
    bench.memory.retain[0, 0] = 1 << 40
    wait_for(lambda: not (bench.folder / "shard-0-reports-00000000.seg").exists())
    # What is left is enough, from either snapshot.
    for path in snapshots(bench.folder, 0):
        replica = Replica.open(bench.folder, 0, snapshot=path)
        replica.follow(end_bytes=bench.shard.position * 8)
        assert replica.state_hash() == bench.shard.replica.state_hash()
        replica.close()


def test_two_shards_have_a_follower_each(make: Callable[..., Bench]):
    bench = make(shards=2)
    for index in range(2):
        bench.follow(index)
        bench.shards[index].trade(100 + index)
    answer = bench.ask()
    assert [each["seq"] for each in answer["snapshots"]] == [s.seq for s in bench.shards]  # type: ignore[attr-defined]
    for index in range(2):
        bench.check(index)
    bench.shards[1].trade(1)
    assert bench.ask(1)["ok"]
    assert (len(bench.seqs(0)), len(bench.seqs(1))) == (1, 2)


def test_the_priority_rises_only_while_it_is_far_behind(make: Callable[..., Bench]):
    bench = make(Snapshots(every_bytes=1 << 20, every_s=None))
    follower = Follower(bench.config, bench.memory, 0, bench.folder)
    assert not follower.background.is_raised
    follower._set_priority(4 << 20)
    assert not follower.background.is_raised
    follower._set_priority((4 << 20) + 1)
    assert follower.background.is_raised
    follower._set_priority(1 << 20)
    assert follower.background.is_raised
    follower._set_priority((1 << 20) - 1)
    assert not follower.background.is_raised
    follower._set_priority(0, is_awaited=True)
    assert follower.background.is_raised


def test_what_a_stop_waits_for_has_ordinary_priority(
    make: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
):
    bench = make()
    bench.shard.trade(10)
    raised = []
    write = Follower._write

    def note(follower: Follower, reason: str) -> None:
        raised.append((reason, follower.background.is_raised))
        write(follower, reason)

    monkeypatch.setattr(Follower, "_write", note)
    bench.follow()
    wait_for(lambda: bench.words[ShardWord.FOLLOWER_STATUS] == ProcessStatus.RUNNING)
    bench.stop()
    assert raised == [("the venue stops", True)]


def test_steps_run_on_a_thread_of_low_priority_unless_it_is_raised(make: Callable[..., Bench]):
    bench = make()
    follower = Follower(bench.config, bench.memory, 0, bench.folder)

    def nice() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    own = nice()
    assert follower.background.run(nice) == 19
    follower.background.is_raised = True
    assert follower.background.run(nice) == own
    before = int(bench.words[ShardWord.FOLLOWER_HEARTBEAT])
    follower.background.run(lambda: time.sleep(0.9))
    assert bench.words[ShardWord.FOLLOWER_HEARTBEAT] >= before + 3
    with pytest.raises(TimeoutError, match="its own"):
        follower.background.run(lambda: (_ for _ in ()).throw(TimeoutError("its own")))
    follower.background.close()


@pytest.mark.parametrize("damage", ["a bit", "cut"])
def test_a_log_that_is_damaged_where_it_was_committed_ends_the_follower(
    make: Callable[..., Bench], caplog: pytest.LogCaptureFixture, damage: str
):
    bench = make()
    bench.shard.trade(500)
    if damage == "a bit":
        bench.shard.log.array("<i8")[bench.shard.position - 5] ^= 1
    else:
        os.truncate(bench.shard.log.segment_path(0), 600_000)
    bench.follow()
    wait_for(lambda: bench.statuses)
    assert bench.statuses == {0: 1}
    assert bench.words[ShardWord.FOLLOWER_STATUS] == ProcessStatus.FAILED
    assert "the follower cannot go on" in caplog.text
    assert "shard-0-commands-00000000.seg" in caplog.text


@pytest.mark.parametrize(
    ("settings", "shard", "expected"),
    [
        ({"snapshots": None}, None, "snapshots: null"),
        ({"log": Log(durability="none")}, None, "nothing is logged"),
        ({}, 1, "no shard 1: the last one is 0"),
        ({}, "0", "no shard '0'"),
    ],
)
def test_a_request_that_cannot_be_served_is_one_sentence(
    make: Callable[..., Bench], settings: dict[str, object], shard: object, expected: str
):
    bench = make()
    config = Config(**settings)  # type: ignore[arg-type]
    answer = ask_for_snapshots(config, bench.memory, bench.folder, shard)
    assert isinstance(answer, dict)
    assert answer["ok"] is False
    assert expected in answer["error"]
    assert bench.words[ShardWord.SNAPSHOT_REQUEST] == 0


def test_a_follower_that_is_down_makes_a_request_time_out(
    make: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("openoutcry.server.snapshot_request.TIMEOUT_S", 0.05)
    bench = make()
    answer = bench.ask()
    assert answer["ok"] is False
    assert "its follower is down" in str(answer["error"])

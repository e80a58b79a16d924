"""The follower as the process that it is: killed at its two points and anywhere, it comes back."""

import multiprocessing
import os
import random
import signal
import time
from collections.abc import Iterator
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any

import pytest
from support.logged_shard import LoggedShard
from support.venue import wait_for

from openoutcry.engine import faults
from openoutcry.engine.faults import HIT, FaultPoint
from openoutcry.engine.state import ProcessStatus, ShardWord
from openoutcry.server.config import Capacity, Config, Log, Snapshots
from openoutcry.server.follower import run_process
from openoutcry.server.memory import VenueMemory
from openoutcry.server.replica import Replica
from openoutcry.server.snapshot_request import SnapshotRequest
from openoutcry.server.snapshots import SnapshotError, snapshots, verify_snapshot

CONFIG = Config(
    capacity=Capacity(
        open_orders=100_000, finished_orders=1_000, levels=256, symbols=4, sessions=8, accounts=8
    ),
    log=Log(segment_bytes=1 << 20, min_free_bytes=0),
    snapshots=Snapshots(every_bytes=1 << 20, every_s=None),
)


def be_follower(*args: Any) -> None:
    """Be a follower of the build for crash tests (in a child)."""
    vars(faults)["IS_TEST_BUILD"] = True
    run_process(*args)


class Processes:
    """Two shards without a process, and followers with one each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "data"
        self.folder.mkdir()
        self.memory = VenueMemory.create(folder, 2, 1, 64, 64)
        self.shards = [LoggedShard(CONFIG, self.memory, n, self.folder) for n in range(2)]
        self.running: dict[int, ForkProcess] = {}

    def start(self, index: int) -> ForkProcess:
        args = (CONFIG, self.memory, index, self.folder, os.getpid())
        process = multiprocessing.get_context("fork").Process(target=be_follower, args=args)
        process.start()
        self.running[index] = process
        return process

    def end(self, index: int, status: int) -> None:
        process = self.running.pop(index)
        process.join(20)
        assert process.exitcode == status

    def wait_for_word(self, index: int, word: ShardWord, value: int) -> None:
        wait_for(lambda: self.memory.shards[index, word] == value, 30)

    def check(self, index: int) -> None:
        """Compare every snapshot there is, and what follows from it, with a clean replay."""
        shard = self.shards[index]
        assert not list(self.folder.glob("*.new"))
        for path in snapshots(self.folder, index):
            try:
                replica = Replica.open(self.folder, index, snapshot=path)
            except SnapshotError:
                # A follower that runs takes older ones away.
                assert not path.exists()
                continue
            replica.follow(end_bytes=shard.position * 8)
            assert replica.seq == shard.seq
            assert replica.report_bytes == shard.replica.report_bytes
            assert replica.state_hash() == shard.replica.state_hash()
            replica.close()


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    made = Processes(tmp_path)
    yield made
    for process in made.running.values():
        process.kill()
        process.join()
    for shard in made.shards:
        shard.close()


def test_two_followers_stop_in_good_order_with_a_last_snapshot(processes: Processes):
    for index in range(2):
        processes.start(index)
        processes.shards[index].trade(300 + index)
    rows = processes.memory.shards
    for index in range(2):
        processes.wait_for_word(index, ShardWord.FOLLOWER_STATUS, ProcessStatus.RUNNING)
    for index, process in processes.running.items():
        assert rows[index, ShardWord.FOLLOWER_PID] == process.pid
        comm = Path(f"/proc/{process.pid}/comm")
        assert comm.read_text().strip() == f"oo-follower-{index}"
    rows[:, ShardWord.STATUS] = ProcessStatus.STOPPED
    rows[:, ShardWord.FOLLOWER_STOP] = 1
    for index in range(2):
        processes.end(index, 0)
        (path,) = snapshots(processes.folder, index)
        assert verify_snapshot(path).seq == processes.shards[index].seq
        processes.check(index)


@pytest.mark.parametrize("point", [FaultPoint.SNAPSHOT_WRITTEN, FaultPoint.SNAPSHOT_RENAMED])
def test_a_death_around_the_rename_leaves_whole_snapshots_only(
    processes: Processes, point: FaultPoint
):
    shard, words = processes.shards[0], processes.memory.shards[0]
    shard.trade(100)
    processes.start(0)
    first = SnapshotRequest(processes.memory, processes.folder, [0])
    assert wait_for(first.answer, 30)["ok"]
    for _ in range(3):
        words[ShardWord.FAULTS + point] = 1
        shard.trade(100)
        request = SnapshotRequest(processes.memory, processes.folder, [0])
        processes.end(0, -signal.SIGKILL)
        assert words[ShardWord.FAULTS + point] == HIT
        is_there = point is FaultPoint.SNAPSHOT_RENAMED
        newest = verify_snapshot(snapshots(processes.folder, 0)[0])
        assert (newest.seq == shard.seq) is is_there
        assert bool(list(processes.folder.glob("*.new"))) is not is_there
        # The next one answers what this one was asked for.
        processes.start(0)
        assert wait_for(request.answer, 30)["ok"]
        assert verify_snapshot(snapshots(processes.folder, 0)[0]).seq == shard.seq
        processes.check(0)


def test_killed_at_any_moment_it_goes_on(processes: Processes):
    shard, words = processes.shards[0], processes.memory.shards[0]
    dice = random.Random(5)
    for _ in range(8):
        processes.start(0)
        until = time.monotonic() + dice.uniform(0.1, 0.4)
        while time.monotonic() < until and shard.seq < 90_000:
            shard.trade(200)
            time.sleep(0.004)
        os.kill(processes.running[0].pid or 0, signal.SIGKILL)
        processes.end(0, -signal.SIGKILL)
        for path in snapshots(processes.folder, 0):
            verify_snapshot(path)
    processes.start(0)
    wait_for(lambda: words[ShardWord.FOLLOWED_SEQ] == shard.seq, 30)
    request = SnapshotRequest(processes.memory, processes.folder, [0])
    assert wait_for(request.answer, 30)["ok"]
    wait_for(lambda: len(snapshots(processes.folder, 0)) <= 2)
    processes.check(0)


def test_it_ends_when_the_supervisor_is_gone(processes: Processes):
    """The parent of the follower is not who forked it: as if that had died before."""
    args = (CONFIG, processes.memory, 0, processes.folder, 1)
    process = multiprocessing.get_context("fork").Process(target=be_follower, args=args)
    process.start()
    process.join(10)
    assert process.exitcode == 1

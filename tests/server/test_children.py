"""Processes that die, hang or cannot start, and how each is started again alone."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from support.venue import wait_for

from openoutcry.engine.state import ProcessStatus
from openoutcry.server.children import Child, Children, Words
from openoutcry.server.config import Supervision
from openoutcry.server.memory import PROCESS_WORDS, VenueMemory
from openoutcry.server.process import StopFlag
from openoutcry.server.processes import ProcessState, ProcessWord, read_reason

Body = Callable[[Words], None]


class Nursery:
    """Children whose bodies are functions of a test; their words are in shared memory."""

    def __init__(self, folder: Path, **settings: int) -> None:
        self.memory = VenueMemory.create(folder, 4, 4, 64, 64)
        self.stop = StopFlag()
        self.folder = folder
        supervision = Supervision(**{"hang_s": 1, **settings})
        self.children = Children(supervision, folder, self.stop, lambda: None)

    def add(self, body: Body, name: str = "shard-0") -> Child:
        number = len(self.children.members)
        block = self.memory.shards[number]
        words = Words(block[0:1], block[1:2])
        child = Child(name, lambda: body(words), self.memory.processes[number], words)
        self.children.add(child)
        return child

    def until(self, condition: Callable[[], object], timeout_s: float = 10.0) -> None:
        """Look until something is so."""

        def looked() -> object:
            self.children.look()
            return condition()

        wait_for(looked, timeout_s)

    def look_for(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        self.until(lambda: time.monotonic() >= deadline, seconds + 5)


@pytest.fixture
def nursery(tmp_path: Path) -> Iterator[Nursery]:
    made = Nursery(tmp_path, restart_max_s=2)
    yield made
    made.stop.is_set = True
    made.children.kill(made.children.members)


def live(words: Words) -> None:
    """Beat for ever."""
    assert words.status is not None
    words.status[0] = ProcessStatus.RUNNING
    while True:
        words.heartbeat[0] += 1
        time.sleep(0.02)


def test_a_killed_process_is_started_again_at_once_and_alone(nursery: Nursery):
    one, other = nursery.add(live), nursery.add(live, "shard-1")
    nursery.until(lambda: one.is_running and other.is_running)
    pids = one.pid, other.pid
    os.kill(one.pid, signal.SIGKILL)
    started = time.monotonic()
    nursery.until(lambda: one.pid not in {0, pids[0]} and one.is_running)
    assert time.monotonic() - started < 1
    assert other.pid == pids[1]
    assert one.row[ProcessWord.RESTARTS] == 1
    assert one.row[ProcessWord.EXIT_STATUS] == -signal.SIGKILL
    assert other.row[ProcessWord.RESTARTS] == 0


def test_a_crash_loop_backs_off_up_to_the_longest_pause(nursery: Nursery):
    starts: list[float] = []

    def fail(words: Words) -> None:
        raise SystemExit(1) from ValueError("there is no log")

    child = nursery.add(fail)
    seen = -1

    def note() -> bool:
        nonlocal seen
        if child.row[ProcessWord.RESTARTS] != seen:
            seen = int(child.row[ProcessWord.RESTARTS])
            starts.append(time.monotonic())
        return len(starts) == 5

    nursery.until(note, 20)
    pauses = np.diff(starts)
    assert pauses[0] < 0.5
    assert np.round(pauses[1:]).tolist() == [1, 2, 2]
    nursery.until(lambda: child.state == ProcessState.DOWN)
    assert child.row[ProcessWord.STATE] == ProcessState.DOWN
    assert child.row[ProcessWord.EXIT_STATUS] == 1
    assert child.row[ProcessWord.NEXT_TRY_NS] > time.monotonic_ns()
    assert read_reason(nursery.folder, "shard-0") == "there is no log"


def test_in_a_crash_loop_it_is_down_since_it_last_ran(nursery: Nursery):
    def run_once(words: Words) -> None:
        if nursery.memory.processes[0, ProcessWord.RESTARTS] == 0:
            live(words)
        raise SystemExit(1)

    child = nursery.add(run_once)
    assert child.down_since == 0
    nursery.until(lambda: child.is_running)
    os.kill(child.pid, signal.SIGKILL)
    killed = time.monotonic()
    nursery.until(lambda: not child.is_running)
    since = child.down_since
    assert killed <= since <= time.monotonic()
    nursery.until(lambda: child.row[ProcessWord.RESTARTS] == 2)
    assert child.down_since == since


def test_a_good_life_ends_the_backing_off():
    child = Child("shard-0", lambda: None, np.zeros(PROCESS_WORDS, np.int64), words_alone())
    child.note_start(100.0)
    assert [child.note_end(now, 30) for now in (101, 102, 103, 104, 105, 106, 107)] == [
        *(0, 1, 2, 4, 8, 16, 30)
    ]
    child.note_start(200.0)
    assert child.note_end(259.9, 30) == 30
    child.note_start(300.0)
    assert child.note_end(360.0, 30) == 0


def words_alone() -> Words:
    block = np.zeros(2, np.int64)
    return Words(block[0:1], block[1:2])


def test_a_stopped_process_is_killed_and_replaced(nursery: Nursery):
    child = nursery.add(live)
    nursery.until(lambda: child.is_running)
    nursery.look_for(0.1)
    pid = child.pid
    os.kill(pid, signal.SIGSTOP)
    stopped = time.monotonic()
    nursery.until(lambda: child.is_killed)
    assert child.state == ProcessState.DOWN
    assert 0.9 < time.monotonic() - stopped < 2
    nursery.until(lambda: child.pid != pid and child.is_running)
    assert child.row[ProcessWord.EXIT_STATUS] == -signal.SIGKILL
    assert not Path(f"/proc/{pid}").exists()


def test_a_supervisor_that_was_away_begins_to_measure_anew(nursery: Nursery):
    child = nursery.add(live)
    nursery.until(lambda: child.is_running)
    nursery.look_for(0.1)
    os.kill(child.pid, signal.SIGSTOP)
    for _ in range(2):
        # It did not look for longer than anybody may be still.
        time.sleep(1.3)
        nursery.children.look()
        nursery.look_for(0.5)
        assert not child.is_killed
    os.kill(child.pid, signal.SIGCONT)
    nursery.look_for(1.2)
    assert not child.is_killed
    assert child.row[ProcessWord.RESTARTS] == 0


def test_time_without_a_core_is_not_hanging(monkeypatch: pytest.MonkeyPatch):
    waited = [5_000_000_000]
    monkeypatch.setattr("openoutcry.server.children.waited_ns", lambda pid: waited[0])
    child = Child("shard-0", lambda: None, np.zeros(PROCESS_WORDS, np.int64), words_alone())
    child.note_start(0.0)
    child.words.heartbeat[0] = 1
    assert child.has_beaten(0.1, is_anew=False)
    for now in (1.0, 2.0, 2.9):
        assert not child.is_hung(now, 2)
        waited[0] += 900_000_000
    assert not child.is_hung(3.8, 2)
    assert child.is_hung(5.5, 2)


def test_a_process_may_take_its_time_until_it_first_beats(nursery: Nursery):
    def begin_late(words: Words) -> None:
        time.sleep(1.5)
        live(words)

    child = nursery.add(begin_late)
    nursery.until(lambda: child.is_running)
    assert child.row[ProcessWord.RESTARTS] == 0


def test_a_fatal_end_is_told_and_nothing_is_started_again(nursery: Nursery):
    nursery.children.is_fatal = lambda child: child.name == "shard-1"
    nursery.add(live)
    child = nursery.add(lambda words: None, "shard-1")
    nursery.until(lambda: nursery.children.failed)
    assert nursery.children.failed == "shard-1"
    assert child.state == ProcessState.STOPPED


def test_at_the_stop_nothing_is_started_again_and_a_beating_process_gets_more_time(
    nursery: Nursery, caplog: pytest.LogCaptureFixture
):
    def finish(words: Words) -> None:
        for _ in range(75):
            words.heartbeat[0] += 1
            time.sleep(0.02)

    slow, hanging = nursery.add(finish, "follower-0"), nursery.add(live, "follower-1")
    nursery.until(lambda: hanging.is_running)
    nursery.stop.is_set = True
    os.kill(hanging.pid, signal.SIGSTOP)
    nursery.children.end("follower", 0.5, while_beating_s=10)
    assert (slow.pid, hanging.pid) == (0, 0)
    assert slow.row[ProcessWord.EXIT_STATUS] == 0
    assert hanging.row[ProcessWord.EXIT_STATUS] == -signal.SIGKILL
    assert "does not stop, killing it: name=follower-1" in caplog.text
    assert {slow.state, hanging.state} == {ProcessState.STOPPED}

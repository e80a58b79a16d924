"""What the supervisor decides before and while the venue runs."""

import multiprocessing
import os
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any

import pytest

from openoutcry.server.config import Config, Day, Listen, Shard, Symbol
from openoutcry.server.data_dir import data_directory, shared_memory_folder
from openoutcry.server.listeners import StartError, bind_listeners
from openoutcry.server.memory import FolderInUseError, lock_folder, remove_stale, shared_folder
from openoutcry.server.process import shard_cores
from openoutcry.server.supervisor import _register as give_numbers
from openoutcry.server.trading_day import has_ended_since, next_day_end

DAY = Day(end="17:00:00", time_zone="America/New_York")


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ("2026-11-20T21:59:59", "2026-11-20T22:00:00"),
        ("2026-11-20T22:00:00", "2026-11-21T22:00:00"),
        # Summer time ends on 1 November 2026 and begins on 8 March 2026: the local time stays.
        ("2026-10-31T22:00:00", "2026-11-01T22:00:00"),
        ("2026-03-07T23:00:00", "2026-03-08T21:00:00"),
    ],
)
def test_the_day_ends_at_the_local_time_in_summer_and_winter(now: str, expected: str):
    at = datetime.fromisoformat(now).replace(tzinfo=UTC)
    end = next_day_end(DAY, at)
    assert end.astimezone(UTC).replace(tzinfo=None) == datetime.fromisoformat(expected)


@pytest.mark.parametrize(
    ("last", "now", "expected"),
    [
        ("2026-11-20T21:59:59.999999", "2026-11-20T22:00:00", True),
        ("2026-11-20T22:00:00", "2026-11-21T21:59:59", False),
        ("2026-11-20T22:00:00", "2026-11-21T22:00:00", True),
        ("2026-11-01T00:00:00", "2026-11-20T12:00:00", True),
    ],
)
def test_a_day_that_ended_while_nobody_was_there(last: str, now: str, expected: bool):
    last_ns = int(datetime.fromisoformat(last + "+00:00").timestamp() * 1e6) * 1000
    assert has_ended_since(DAY, last_ns, datetime.fromisoformat(now + "+00:00")) is expected


@pytest.mark.parametrize(
    ("shards", "cores", "expected"),
    [
        (["auto"], [0, 1], [1]),
        (["auto"], [0], [None]),
        (["auto"], [], [None]),
        (["auto", "auto"], [0, 1], [1, None]),
        (["auto", "auto"], [0, 1, 2, 3], [3, 2]),
        ([3, "auto"], [0, 1, 2, 3], [3, 2]),
        ([None, "auto"], [4, 5], [None, 5]),
    ],
)
def test_automatic_cores_leave_one_to_the_rest(
    shards: list[Any], cores: list[int], expected: list[int | None]
):
    config = Config(shards=tuple(Shard(core=core) for core in shards))
    assert shard_cores(config, cores) == expected


def test_a_port_in_use_is_one_clear_sentence():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        config = Config(listen=Listen(fix=port, binary=0, http=0))
        expected = rf"127\.0\.0\.1:{port} \(listen\.fix\).*--set listen\.fix=PORT"
        with pytest.raises(StartError, match=expected):
            bind_listeners(config)


def test_a_temporary_data_directory_goes_away():
    with data_directory(None) as folder:
        assert folder.is_dir()
    assert not folder.exists()


def test_a_data_directory_in_use_names_the_holder(tmp_path: Path):
    with (
        data_directory(tmp_path),
        pytest.raises(StartError, match=f"pid {os.getpid()}"),
        data_directory(tmp_path),
    ):
        pass


@pytest.mark.parametrize("has_empty", [False, True])
def test_a_directory_that_is_lost_is_not_made_anew(tmp_path: Path, has_empty: bool):
    config = Config(symbols=(Symbol(name="A", tick="1", lot="1"),))
    give_numbers(config, tmp_path)
    path = tmp_path / "directory.log"
    before = path.read_bytes()
    assert before
    (tmp_path / "shard-0-commands-00000000.seg").touch()
    give_numbers(config, tmp_path)
    assert path.read_bytes() == before
    path.unlink()
    if has_empty:
        path.touch()
    with pytest.raises(StartError, match=r"is missing or empty, though there are logs"):
        give_numbers(config, tmp_path)
    assert path.exists() == has_empty


def test_only_folders_of_dead_venues_are_removed(tmp_path: Path):
    alive = shared_folder(str(tmp_path), "here", tmp_path / "a")
    dead = shared_folder(str(tmp_path), "here", tmp_path / "b")
    other = shared_folder(str(tmp_path), "other", tmp_path / "c")
    held = lock_folder(alive)
    os.close(lock_folder(dead))
    os.close(lock_folder(other))
    remove_stale(str(tmp_path), "here")
    assert alive.is_dir()
    assert not dead.exists()
    assert other.is_dir()
    with pytest.raises(FolderInUseError):
        lock_folder(alive)
    os.close(held)


def hold(folder: Path) -> ForkProcess:
    """Lock a folder in a process that another made and left behind; return that other, ended."""
    reader, writer = os.pipe()

    def supervisor() -> None:
        lock_folder(folder)
        if os.fork() == 0:
            os.write(writer, b"%d\n" % os.getpid())
            time.sleep(60)
        os._exit(0)

    process = multiprocessing.get_context("fork").Process(target=supervisor)
    process.start()
    child = int(os.read(reader, 20))
    process.join()
    os.close(reader)
    os.close(writer)
    held.append(child)
    return process


held: list[int] = []


@pytest.fixture
def _nothing_held() -> Iterator[None]:
    yield
    while held:
        os.kill(held.pop(), signal.SIGKILL)


@pytest.mark.usefixtures("_nothing_held")
def test_the_processes_of_a_killed_venue_are_waited_for(tmp_path: Path):
    killed = hold(tmp_path)
    with pytest.raises(StartError, match=rf"pid {killed.pid} was killed.*still ending"):
        lock(tmp_path)
    timer = threading.Timer(0.3, lambda: os.kill(held.pop(), signal.SIGKILL))
    timer.start()
    lock(tmp_path)
    timer.join()


@pytest.mark.usefixtures("_nothing_held")
def test_shared_memory_of_a_venue_whose_processes_still_end_goes_too(tmp_path: Path):
    config = Config(shm_dir=str(tmp_path))
    left = shared_folder(config.shm_dir, config.venue.name, tmp_path / "before")
    hold(left)
    timer = threading.Timer(0.3, lambda: os.kill(held.pop(), signal.SIGKILL))
    timer.start()
    with shared_memory_folder(config, tmp_path / "data"):
        timer.join()
        assert not left.exists()


def lock(folder: Path) -> None:
    with data_directory(folder):
        pass


@pytest.mark.usefixtures("_nothing_held")
def test_temporary_folders_of_killed_venues_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    abandoned, used, other = (tmp_path / f"openoutcry-{name}" for name in ("data-a", "data-b", "c"))
    for folder in (abandoned, used, other):
        folder.mkdir()
        (folder / "file").touch()
    os.close(lock_folder(abandoned))
    hold(used)
    with data_directory(None) as folder:
        assert sorted(tmp_path.iterdir()) == sorted([used, other, folder])


def test_shared_memory_of_a_killed_run_is_replaced(tmp_path: Path):
    config = Config(shm_dir=str(tmp_path))
    with shared_memory_folder(config, tmp_path / "data") as folder:
        (folder / "venue.shm").write_bytes(b"new")
        sentence = "shared memory .* is in use by the venue with pid"
        with pytest.raises(StartError, match=sentence):
            enter(config, tmp_path / "data")
    assert not folder.exists()
    folder.mkdir()
    (folder / "venue.shm").write_bytes(b"old")
    with shared_memory_folder(config, tmp_path / "data") as again:
        assert again == folder
        assert [path.name for path in folder.iterdir()] == ["lock"]


def enter(config: Config, data_dir: Path) -> None:
    with shared_memory_folder(config, data_dir):
        pass

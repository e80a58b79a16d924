"""What the supervisor decides before and while the venue runs."""

import os
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from openoutcry.server.config import Config, Day, Listen, Shard
from openoutcry.server.memory import FolderInUseError, lock_folder, remove_stale, shared_folder
from openoutcry.server.process import shard_cores
from openoutcry.server.supervisor import (
    StartError,
    bind_listeners,
    data_directory,
    next_day_end,
)

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


def test_a_data_directory_with_a_log_is_refused(tmp_path: Path):
    (tmp_path / "shard-0-commands-00000000.seg").touch()
    with pytest.raises(StartError, match="log of an earlier run"), data_directory(tmp_path):
        pass


def test_a_data_directory_in_use_names_the_holder(tmp_path: Path):
    with (
        data_directory(tmp_path),
        pytest.raises(StartError, match=f"pid {os.getpid()}"),
        data_directory(tmp_path),
    ):
        pass


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

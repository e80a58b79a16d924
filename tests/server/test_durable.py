"""Small files that survive a power cut, and what is told of each step."""

import errno
import os
from pathlib import Path

import pytest

from openoutcry.server import durable
from openoutcry.server.durable import write_durably


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    steps: list[tuple[str, str]] = []
    monkeypatch.setattr(durable, "observer", lambda event, path: steps.append((event, path.name)))
    return steps


def test_a_file_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, seen: list[tuple[str, str]]
) -> None:
    path = tmp_path / "state"
    write_durably(path, b"one")
    write_durably(path, b"two")
    assert path.read_bytes() == b"two"
    assert os.listdir(tmp_path) == ["state"]
    assert seen[:5] == [
        ("sync", "state.new"),
        ("synced", "state.new"),
        ("renamed", "state"),
        ("folder-sync", tmp_path.name),
        ("folder-synced", tmp_path.name),
    ]
    assert seen[5:] == seen[:5]


def test_a_file_that_cannot_be_synced_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state"
    write_durably(path, b"one")

    def fail(fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fdatasync", fail)
    with pytest.raises(OSError, match="No space"):
        write_durably(path, b"two")
    assert path.read_bytes() == b"one"
    assert os.listdir(tmp_path) == ["state"]


def test_what_a_crash_left_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "state.new").write_bytes(b"a longer one that was cut")
    write_durably(tmp_path / "state", b"")
    assert (tmp_path / "state").read_bytes() == b""
    assert os.listdir(tmp_path) == ["state"]

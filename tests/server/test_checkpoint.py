"""The checkpoint file: two slots, of which one is whole whatever happens."""

import errno
import os
import random
from pathlib import Path

import numpy as np
import pytest

from openoutcry.server.checkpoint import Checkpoint, CheckpointFile

SESSIONS, SHARDS = 40, 2


def made(number: int, sessions: int = SESSIONS) -> Checkpoint:
    checkpoint = Checkpoint.empty(sessions, SHARDS)
    checkpoint.next_block, checkpoint.stored_end = number, 8 * number
    checkpoint.rows["epoch"][1 : sessions // 2] = 1
    checkpoint.rows["expected"][1 : sessions // 2] = number
    checkpoint.shards["position"] = 64 + number
    return checkpoint


def write(file: CheckpointFile, *numbers: int) -> None:
    for number in numbers:
        file.write(file.image(made(number)))


def latest(path: Path, sessions: int = SESSIONS) -> Checkpoint | None:
    file = CheckpointFile(path, sessions, SHARDS)
    found = file.latest()
    file.close()
    return found


def test_the_latest_checkpoint_comes_back(tmp_path: Path):
    path = tmp_path / "gateway-0-checkpoint"
    assert latest(path) is None
    for life in range(3):
        file = CheckpointFile(path, SESSIONS, SHARDS)
        write(file, 3 * life + 1, 3 * life + 2, 3 * life + 3)
        file.close()
        found = latest(path)
        assert found is not None
        expected = made(3 * life + 3)
        assert (found.next_block, found.stored_end) == (expected.next_block, expected.stored_end)
        assert np.array_equal(found.rows, expected.rows)
        assert np.array_equal(found.shards, expected.shards)


@pytest.mark.parametrize("seed", range(5))
def test_a_torn_checkpoint_leaves_the_one_before(tmp_path: Path, seed: int):
    chooser = random.Random(seed)
    path = tmp_path / "gateway-0-checkpoint"
    file = CheckpointFile(path, SESSIONS, SHARDS)
    write(file, *range(1, 1 + chooser.randrange(2, 5)))
    before = path.read_bytes()
    last = file.image(made(77))
    file.write(last)
    file.close()
    after = bytearray(path.read_bytes())
    differing = [at for at in range(len(before)) if before[at] != after[at]]
    cut = chooser.choice(differing)
    after[cut:] = before[cut:]
    path.write_bytes(after)
    found, expected = latest(path), before
    path.write_bytes(expected)
    old = latest(path)
    assert found is not None
    assert old is not None
    assert found.next_block == old.next_block
    assert np.array_equal(found.rows, old.rows)


def test_checkpoints_that_cannot_be_written_leave_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "gateway-0-checkpoint"
    file = CheckpointFile(path, SESSIONS, SHARDS)
    write(file, 1, 2)
    pwrite = os.pwrite

    def fail(fd: int, data: bytes, offset: int) -> int:
        # Half of it gets there.
        pwrite(fd, data[: len(data) // 2], offset)
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "pwrite", fail)
    for number in (3, 4, 5):
        with pytest.raises(OSError, match="Input/output error"):
            write(file, number)
    monkeypatch.undo()
    found = latest(path)
    assert found is not None
    assert found.next_block == 2
    write(file, 6)
    file.close()
    found = latest(path)
    assert found is not None
    assert found.next_block == 6


def test_a_checkpoint_that_is_never_written_leaves_the_slots_in_turn(tmp_path: Path):
    path = tmp_path / "gateway-0-checkpoint"
    file = CheckpointFile(path, SESSIONS, SHARDS)
    # While the one before is on its way to the disk, a later one takes the place of the second.
    for number in range(1, 6):
        file.image(made(number))
        file.write(file.image(made(number)))
        assert file.stored == file.made == 2 * number
    whole = path.read_bytes()
    write(file, 6)
    file.close()
    found = latest(path)
    assert found is not None
    assert found.next_block == 6
    # Whichever of the two is torn, the other one is there.
    torn = path.read_bytes()
    at = next(n for n in range(4096, len(torn)) if torn[n] != whole[n])
    path.write_bytes(torn[:at] + bytes(64) + torn[at + 64 :])
    found = latest(path)
    assert found is not None
    assert found.next_block == 5


def test_more_sessions_find_room_and_everything_is_kept(tmp_path: Path):
    path = tmp_path / "gateway-0-checkpoint"
    file = CheckpointFile(path, SESSIONS, SHARDS)
    write(file, 1, 2)
    file.presence[5] = 1
    file.close()
    grown = CheckpointFile(path, 4000, SHARDS + 1)
    found = grown.latest()
    assert found is not None
    assert len(found.rows) == 4000
    assert found.rows["expected"][5] == 2
    assert found.shards["position"].tolist() == [66, 66, 64]
    assert grown.presence[5] == 1
    grown.write(grown.image(found))
    grown.close()


def test_a_file_that_is_none_is_made_anew(tmp_path: Path):
    path = tmp_path / "gateway-0-checkpoint"
    path.write_bytes(b"something else" * 1000)
    assert latest(path) is None

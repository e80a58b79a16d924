"""Retention: what somebody may still need is never released, and a released file is never lost."""

import errno
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openoutcry.engine.state import GatewayWord, ProcessStatus, ShardWord
from openoutcry.server.config import Config
from openoutcry.server.config import Retention as Settings
from openoutcry.server.memory import VenueMemory
from openoutcry.server.retention import Retention, needed_commands, needed_reports
from openoutcry.server.segments import segments_on_disk

SEGMENT = 1 << 12
SERIES = "shard-0-commands"


def fill(folder: Path, series: str, first: int, stop: int) -> None:
    folder.mkdir(exist_ok=True)
    for index in range(first, stop):
        (folder / f"{series}-{index:08d}.seg").write_bytes(content(series, index))


def content(series: str, index: int) -> bytes:
    return f"{series} {index}".encode() * 9


def indexes(folder: Path, series: str = SERIES) -> list[int]:
    return segments_on_disk(folder, series)


def make(folder: Path, policy: str, archive: Path | None = None) -> Retention:
    named = None if archive is None else str(archive)
    setting = Settings(segments=policy, archive_dir=named)  # type: ignore[arg-type]
    return Retention(Config(retention=setting), folder)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    fill(folder, SERIES, 0, 6)
    return folder


def test_keep_releases_nothing(data: Path):
    assert make(data, "keep").release(SERIES, SEGMENT, 99 * SEGMENT) == 0
    assert indexes(data) == list(range(6))


@pytest.mark.parametrize(
    ("needed_from", "left"), [(0, 0), (SEGMENT - 1, 0), (SEGMENT, 1), (3 * SEGMENT + 1, 3)]
)
def test_only_whole_segments_below_the_bound_go(data: Path, needed_from: int, left: int):
    assert make(data, "delete").release(SERIES, SEGMENT, needed_from) == left
    assert indexes(data) == list(range(left, 6))


def test_a_series_is_not_taken_for_another_of_similar_name(data: Path):
    fill(data, "shard-00-commands", 0, 2)
    fill(data, "shard-0-reports", 0, 2)
    (data / f"{SERIES}-00000000.new").touch()
    make(data, "delete").release(SERIES, SEGMENT, 2 * SEGMENT)
    assert indexes(data, "shard-00-commands") == indexes(data, "shard-0-reports") == [0, 1]
    assert (data / f"{SERIES}-00000000.new").exists()


def test_an_archived_segment_lies_in_its_shards_folder(data: Path, tmp_path: Path):
    archive = tmp_path / "archive"
    keeper = make(data, "archive", archive)
    assert keeper.release(SERIES, SEGMENT, 2 * SEGMENT) == 2
    folder = archive / "openoutcry" / "shard-0"
    assert indexes(folder) == [0, 1]
    assert indexes(data) == [2, 3, 4, 5]
    assert (folder / f"{SERIES}-00000001.seg").read_bytes() == content(SERIES, 1)
    assert keeper.release(SERIES, SEGMENT, 3 * SEGMENT) == 1
    assert keeper.released == 3


@pytest.fixture
def other_file_system(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr("openoutcry.server.retention.os.link", refuse)


@pytest.mark.usefixtures("other_file_system")
def test_an_archive_in_another_file_system_gets_copies(data: Path, tmp_path: Path):
    archive = tmp_path / "archive"
    before = (data / f"{SERIES}-00000001.seg").stat().st_mtime_ns
    make(data, "archive", archive).release(SERIES, SEGMENT, 2 * SEGMENT)
    folder = archive / "openoutcry" / "shard-0"
    assert sorted(os.listdir(folder)) == [f"{SERIES}-{index:08d}.seg" for index in (0, 1)]
    assert (folder / f"{SERIES}-00000001.seg").read_bytes() == content(SERIES, 1)
    assert (folder / f"{SERIES}-00000001.seg").stat().st_mtime_ns == before
    assert indexes(data) == [2, 3, 4, 5]


@pytest.mark.usefixtures("other_file_system")
def test_a_full_archive_keeps_the_rest_here_and_no_half_file_there(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    whole = shutil.copyfile

    def copy(source: Path, target: Path) -> None:
        if source.name.endswith("1.seg"):
            Path(target).write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        whole(source, target)

    monkeypatch.setattr("openoutcry.server.retention.shutil.copyfile", copy)
    keeper = make(data, "archive", tmp_path / "archive")
    assert keeper.release(SERIES, SEGMENT, 4 * SEGMENT) == 1
    assert (keeper.released, keeper.failed) == (1, 1)
    folder = tmp_path / "archive" / "openoutcry" / "shard-0"
    assert os.listdir(folder) == [f"{SERIES}-00000000.seg"]
    assert indexes(data) == [1, 2, 3, 4, 5]
    assert "No space left on device" in caplog.text
    # It rests for a while, then goes on where it stopped.
    monkeypatch.setattr("openoutcry.server.retention.shutil.copyfile", whole)
    assert keeper.release(SERIES, SEGMENT, 4 * SEGMENT) == 0
    keeper._retry_at.clear()
    assert keeper.release(SERIES, SEGMENT, 4 * SEGMENT) == 3
    assert indexes(data) == [4, 5]


@pytest.mark.parametrize("how", ["linked", "copied"])
def test_what_a_death_left_in_both_places_is_finished(data: Path, tmp_path: Path, how: str):
    folder = tmp_path / "archive" / "openoutcry" / "shard-0"
    folder.mkdir(parents=True)
    source = data / f"{SERIES}-00000000.seg"
    if how == "linked":
        os.link(source, folder / source.name)
    else:
        shutil.copyfile(source, folder / source.name)
    make(data, "archive", tmp_path / "archive").release(SERIES, SEGMENT, 2 * SEGMENT)
    assert indexes(data) == [2, 3, 4, 5]
    assert (folder / source.name).read_bytes() == content(SERIES, 0)


def test_a_file_of_another_run_in_the_archive_is_never_replaced(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    folder = tmp_path / "archive" / "openoutcry" / "shard-0"
    folder.mkdir(parents=True)
    foreign = folder / f"{SERIES}-00000000.seg"
    foreign.write_bytes(b"another run's")
    keeper = make(data, "archive", tmp_path / "archive")
    assert keeper.release(SERIES, SEGMENT, 2 * SEGMENT) == 0
    assert keeper.failed == 1
    assert foreign.read_bytes() == b"another run's"
    assert indexes(data) == list(range(6))
    assert "move it away" in caplog.text


# --- what is needed -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def memory(tmp_path_factory: pytest.TempPathFactory) -> VenueMemory:
    return VenueMemory.create(tmp_path_factory.mktemp("memory"), 2, 2, 64, 64)


@pytest.mark.parametrize(
    "status", [ProcessStatus.STARTING, ProcessStatus.RECOVERING, ProcessStatus.STOPPED]
)
def test_a_gateway_that_does_not_run_holds_all_reports(memory: VenueMemory, status: ProcessStatus):
    memory.shards[1, ShardWord.OLDEST_LOG_BYTES] = 700
    memory.shards[1, ShardWord.OLDEST_REPORT_BYTES] = 900
    memory.retain[:, 1] = (800, 1000)
    memory.gateways[:, GatewayWord.STATUS] = ProcessStatus.RUNNING
    assert needed_reports(memory, 1) == 800
    memory.gateways[0, GatewayWord.STATUS] = status
    assert needed_reports(memory, 1) == 0
    # The commands are the recovery's alone.
    assert needed_commands(memory, 1) == 700


POSITION = st.integers(0, 12 * SEGMENT)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    policy=st.sampled_from(["archive", "delete"]),
    ends=st.tuples(st.integers(0, 12), st.integers(0, 12)),
    rounds=st.lists(
        st.tuples(POSITION, POSITION, st.tuples(POSITION, POSITION), st.booleans()),
        min_size=1,
        max_size=5,
    ),
)
def test_nothing_that_is_needed_is_ever_released(
    memory: VenueMemory,
    tmp_path: Path,
    policy: str,
    ends: tuple[int, int],
    rounds: list[tuple[int, int, tuple[int, int], bool]],
):
    data, archive = tmp_path / "data", tmp_path / "archive"
    for folder in (data, archive):
        shutil.rmtree(folder, ignore_errors=True)
    series = ("shard-0-commands", "shard-0-reports")
    for name, end in zip(series, ends, strict=True):
        fill(data, name, 0, end)
    keeper = make(data, policy, archive)
    words = memory.shards[0]
    for log_bytes, report_bytes, retained, is_up in rounds:
        words[ShardWord.OLDEST_LOG_BYTES] = log_bytes
        words[ShardWord.OLDEST_REPORT_BYTES] = report_bytes
        memory.retain[:, 0] = retained
        memory.gateways[:, GatewayWord.STATUS] = ProcessStatus.RUNNING
        if not is_up:
            memory.gateways[1, GatewayWord.STATUS] = ProcessStatus.RECOVERING
        needed = {
            series[0]: log_bytes,
            series[1]: min(report_bytes, *retained) if is_up else 0,
        }
        before = {name: indexes(data, name) for name in series}
        keeper.release(series[0], SEGMENT, needed_commands(memory, 0))
        keeper.release(series[1], SEGMENT, needed_reports(memory, 0))
        for name, end in zip(series, ends, strict=True):
            left = indexes(data, name)
            kept = [index for index in before[name] if (index + 1) * SEGMENT > needed[name]]
            assert left == kept
            assert left == list(range(end - len(left), end))
            archived = indexes(archive / "openoutcry" / "shard-0", name)
            assert archived == ([*range(end - len(left))] if policy == "archive" else [])
    assert keeper.failed == 0

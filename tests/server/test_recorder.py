"""The shadow holds what was synced, and no more."""

import json
import os
import signal
import threading
from pathlib import Path

import pytest

from openoutcry.server import durable
from openoutcry.server.recorder import PAGE_BYTES, Recorder, data_name, install, names_name


@pytest.fixture
def shadow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which syncs are recorded."""
    folder = tmp_path / "shadow"
    folder.mkdir()
    monkeypatch.setattr(durable, "observer", Recorder(folder))
    return folder


def test_a_file_is_in_the_shadow_as_it_was_when_its_sync_began(tmp_path, shadow):
    path = tmp_path / "file"
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    os.pwrite(fd, b"a" * PAGE_BYTES * 2 + b"b", 0)
    assert not list(shadow.iterdir())
    durable.sync_file(fd, path)
    kept = shadow / data_name(path)
    assert kept.read_bytes() == path.read_bytes()
    os.pwrite(fd, b"c", PAGE_BYTES)
    assert kept.read_bytes()[PAGE_BYTES : PAGE_BYTES + 1] == b"a"
    os.ftruncate(fd, PAGE_BYTES + 1)
    durable.sync_file(fd, path)
    assert kept.read_bytes() == b"a" * PAGE_BYTES + b"c"
    os.close(fd)


def test_names_are_listed_when_their_folder_is_synced(tmp_path, shadow):
    durable.write_durably(tmp_path / "one", b"1")
    names = json.loads((shadow / names_name(tmp_path)).read_bytes())
    assert names == {"folder": str(tmp_path), "names": {"one": data_name(tmp_path / "one")}}
    first = names["names"]["one"]
    durable.write_durably(tmp_path / "one", b"2")
    (tmp_path / "two").write_bytes(b"")
    names = json.loads((shadow / names_name(tmp_path)).read_bytes())["names"]
    assert set(names) == {"one"}
    # Another file has the name now; what the first one held is kept.
    assert names["one"] != first
    assert (shadow / first).read_bytes() == b"1"
    assert (shadow / names["one"]).read_bytes() == b"2"


def test_of_two_syncs_of_a_folder_the_later_list_stays(tmp_path, shadow):
    recorder = Recorder(shadow)
    folder = tmp_path / "some-folder"
    folder.mkdir()
    recorder(durable.FOLDER_SYNC, folder)
    (folder / "fresh").write_bytes(b"")
    other = threading.Thread(target=durable.sync_folder, args=(folder,))
    other.start()
    other.join(0.2)
    recorder(durable.FOLDER_SYNCED, folder)
    other.join(10)
    assert not other.is_alive()
    names = json.loads((shadow / names_name(folder)).read_bytes())["names"]
    assert set(names) == {"fresh"}


@pytest.mark.parametrize("event", ["sync", "synced", "renamed", "folder-sync", "folder-synced"])
def test_a_process_stops_where_a_test_asks_for_it(tmp_path, shadow, event):
    folder = tmp_path / "some-folder"
    folder.mkdir()
    part = "*folder" if event.startswith("folder") else "state*"
    (shadow / "halt").write_text(f"{event} {part}")
    pid = os.fork()
    if pid == 0:
        try:
            durable.write_durably(folder / "other", b"1")
            durable.write_durably(folder / "state", b"2")
        finally:
            os._exit(0)
    _, status = os.waitpid(pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    assert (shadow / "halted").exists()
    assert not (shadow / "halt").exists()
    names = shadow / names_name(folder)
    listed = json.loads(names.read_bytes())["names"] if names.exists() else {}
    # What is done is told when it is done, and recorded behind that.
    assert set(listed) == (set() if event.startswith("folder") else {"other"})
    assert (folder / "state").exists() == (event == "renamed")
    written = [path.read_bytes() for path in shadow.glob("data-*")]
    assert (b"2" in written) == (event == "renamed")
    os.kill(pid, signal.SIGCONT)
    _, status = os.waitpid(pid, 0)
    assert os.WIFEXITED(status)
    assert (folder / "state").read_bytes() == b"2"


@pytest.mark.parametrize("order", ["sync state.new", "folder-sync some*"])
def test_a_sync_fails_where_a_test_asks_for_it(tmp_path, shadow, order):
    folder = tmp_path / "some-folder"
    folder.mkdir()
    (shadow / "fail").write_text(order)
    if order.startswith("sync"):
        durable.write_durably(folder / "other", b"1")
    with pytest.raises(OSError, match="Input/output error"):
        durable.write_durably(folder / "state", b"2")
    assert (shadow / "failed").exists()
    durable.write_durably(folder / "state", b"3")


def test_nothing_is_recorded_outside_of_the_test_build(monkeypatch, tmp_path):
    monkeypatch.setenv("OPENOUTCRY_RECORD_SYNCS", str(tmp_path))
    monkeypatch.setattr(durable, "observer", None)
    install()
    assert durable.observer is None

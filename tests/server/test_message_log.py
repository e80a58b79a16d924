"""The message log by itself: what is cut, masked, bounded and put aside."""

import threading
from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fix import frame
from support.venue import wait_for

from openoutcry.server.message_log import (
    RECEIVED,
    SENT,
    Frames,
    MessageLogs,
    file_name,
)

ONE = frame("35=0|34=2|49=A|56=B|")
TWO = frame("35=j|34=3|49=B|56=A|58=line\nbreak|")
LOGON = frame("35=A|34=1|49=A|56=B|98=0|108=30|554=hunter2|925=hunter3|")


def cut(data: bytes, step: int = 1 << 20) -> list[bytes]:
    frames = Frames()
    found: list[bytes] = []
    for start in range(0, len(data), step):
        found += frames.feed(data[start : start + step])
    return found + list(frames.end())


@pytest.mark.parametrize("step", [1, 5, 1 << 20])
def test_messages_are_cut_whatever_the_chunks(step: int):
    assert cut(ONE + TWO + ONE, step) == [ONE, TWO, ONE]


def test_garbled_bytes_are_kept_between_messages():
    assert cut(b"GET /\n" + ONE + TWO[:-9] + ONE) == [b"GET /\\n", ONE, TWO[:-9].replace(
        b"\n", b"\\n"
    ), ONE]  # fmt: skip
    (long,) = cut(b"x" * 10_000)
    assert long == b"x" * 4096 + b" and 5904 bytes more"


def test_passwords_are_masked_in_whole_and_cut_messages():
    for data in (LOGON, LOGON[:-15], b"junk\x01554=hunter4\x01" + ONE):
        assert b"hunter" not in b"".join(cut(data))


@given(
    st.lists(
        st.one_of(st.binary(max_size=20), st.sampled_from([ONE, TWO, b"8=FIX", b"8=FIX.4.4\x019="]))
    ),
    st.integers(1, 50),
)
def test_property_no_bytes_crash_it_and_none_are_lost(pieces: list[bytes], step: int):
    data = b"".join(pieces)
    shown = b"".join(cut(data, step))
    assert len(shown) >= len(data)


def test_a_file_for_each_session(tmp_path: Path):
    logs = MessageLogs(tmp_path / "logs")
    one, other = logs.of("../A B", "FIX.4.4"), logs.of("../A B", "FIX.4.2")
    assert logs.of("../A B", "FIX.4.4") is one
    one.put(RECEIVED, ONE[:10])
    one.put(SENT, TWO)
    one.put(RECEIVED, ONE[10:])
    other.put(SENT, TWO[:10])
    other.end()
    other.put(SENT, ONE)
    logs.close()
    assert {path.name for path in (tmp_path / "logs").iterdir()} == {
        "%2E%2E%2FA%20B.FIX.4.4.log",
        "%2E%2E%2FA%20B.FIX.4.2.log",
    }
    assert one.path.stat().st_mode & 0o777 == 0o600
    first, second = one.path.read_bytes().split(b"\x01\n")[:2]
    assert first.endswith(b" > " + TWO[:-1])
    assert second.endswith(b" < " + ONE[:-1])
    assert [line.split(b" ", 1)[1] for line in other.path.read_bytes().splitlines()] == [
        b"> " + TWO[:10],
        b"> " + ONE,
    ]


def test_no_thread_without_a_session_that_is_logged(tmp_path: Path):
    before = threading.active_count()
    logs = MessageLogs(tmp_path / "logs")
    logs.close()
    assert threading.active_count() == before
    assert not (tmp_path / "logs").exists()


def test_what_does_not_fit_into_the_queue_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("openoutcry.server.message_log._LOOK_S", 0.2)
    logs = MessageLogs(tmp_path, queue_bytes=len(ONE) * 3)
    one = logs.of("A", "FIX.4.4")
    for _ in range(5):
        one.put(SENT, ONE)
    # Bytes count as waiting until they are written.
    wait_for(lambda: logs._written == logs._appended)
    one.put(SENT, TWO)
    logs.close()
    text = one.path.read_bytes()
    assert text.count(ONE) == 3
    note = b"# not logged: 2 chunks, %d bytes; the queue was full\n" % (2 * len(ONE))
    assert text.index(note) < text.index(TWO)


def test_files_are_put_aside_by_size(tmp_path: Path):
    logs = MessageLogs(tmp_path, file_bytes=1000)
    one = logs.of("A", "FIX.4.4")
    for _ in range(600):
        one.put(SENT, ONE)
    logs.close()
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["A.FIX.4.4.log", *(f"A.FIX.4.4.log.{n}" for n in range(1, 9))]
    assert all(path.stat().st_size <= 1000 for path in tmp_path.iterdir())


def test_nothing_is_written_where_room_is_short(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    logs = MessageLogs(tmp_path / "logs", 1 << 62)
    logs.of("A", "FIX.4.4").put(SENT, ONE)
    logs.close()
    assert not (tmp_path / "logs").exists()
    assert "messages are not logged: reason=too little room" in caplog.text


def test_a_file_that_cannot_be_written_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    (tmp_path / "logs").write_text("in the way")
    logs = MessageLogs(tmp_path / "logs")
    one = logs.of("A", "FIX.4.4")
    for _ in range(3):
        one.put(SENT, ONE)
    logs.close()
    assert caplog.text.count("messages are not logged") == 1


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=32))
def test_property_file_names_are_safe_and_different(comp_id: str):
    name = file_name(comp_id)
    assert not set(name) & set("/.\\ \0")
    assert len(name) <= 96
    assert unquote(name) == comp_id

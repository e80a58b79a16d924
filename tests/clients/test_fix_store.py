"""The client's store: numbers and messages outlive the process, whatever is torn."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from conformance.fix_harness import frame, readable, value_of

from openoutcry.clients.fix_store import FileStore
from openoutcry.protocol.fix.session import MemoryState, SessionState
from openoutcry.protocol.fix.store import MemoryStore, MessageStore, mark_resent

NOW_MS = 1_795_341_600_000


def one(number: int) -> bytes:
    text = f"35=D|34={number}|11=order-{number}"
    return frame(text, sender="A", target="B", now_ms=NOW_MS)


@pytest.fixture(params=["memory", "file"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MessageStore]:
    if request.param == "memory":
        yield MemoryStore()
        return
    opened = FileStore(tmp_path)
    yield opened
    opened.close()


def test_messages_come_back_as_recorded(store: MessageStore) -> None:
    store.record(1, NOW_MS, None)
    store.record(2, NOW_MS, one(2))
    assert list(store.first_time(1, 3)) == [(1, 1, None), (2, 2, one(2)), (3, 3, None)]


def test_resent_messages_are_marked(store: MessageStore) -> None:
    store.record(1, NOW_MS, one(1))
    store.record(2, NOW_MS, None)
    assert list(store.resent(1, 2, NOW_MS + 5)) == [
        (1, 1, mark_resent(one(1), NOW_MS + 5)),
        (2, 2, None),
    ]


def test_a_reset_discards(store: MessageStore) -> None:
    store.record(1, NOW_MS, one(1))
    store.reset()
    assert list(store.first_time(1, 1)) == [(1, 1, None)]


def test_marking_changes_the_header_only() -> None:
    again = mark_resent(one(7), NOW_MS + 1_500)
    assert readable(again) == "35=D|43=Y|122=20261122-10:00:00.000|34=7|11=order-7"
    assert value_of(again, 52) == "20261122-10:00:01.500"


def test_a_message_without_sending_time_cannot_be_marked() -> None:
    with pytest.raises(ValueError, match="not found"):
        mark_resent(b"8=FIX.4.4\x019=5\x0135=0\x0110=161\x01", NOW_MS)


def test_numbers_and_messages_outlive_the_process(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "a" / "b")
    assert store.is_empty
    for number in range(1, 5):
        store.record(number, NOW_MS, one(number) if number % 2 else None)
    store.next_in = 9
    store.save()
    store.close()
    again = FileStore(tmp_path / "a" / "b")
    assert (again.next_in, again.next_out) == (9, 5)
    assert not again.is_empty
    assert [f is None for _, _, f in again.first_time(1, 4)] == [False, True, False, True]
    again.close()


def test_what_was_received_but_not_processed_is_asked_for_again(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    store.next_in = 5
    store.save()
    store.next_in = 8
    store.close()
    again = FileStore(tmp_path)
    assert again.next_in == 5
    again.close()


@pytest.mark.parametrize("torn", range(1, 60, 7))
def test_a_torn_last_record_is_cut_off(tmp_path: Path, torn: int) -> None:
    store = FileStore(tmp_path)
    store.record(1, NOW_MS, one(1))
    store.record(2, NOW_MS, one(2))
    store.close()
    messages = tmp_path / "messages"
    messages.write_bytes(messages.read_bytes()[:-torn])
    again = FileStore(tmp_path)
    assert again.next_out == 2
    again.record(2, NOW_MS, None)
    assert list(again.first_time(1, 2)) == [(1, 1, one(1)), (2, 2, None)]
    again.close()


def test_a_damaged_last_record_is_cut_off(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    store.record(1, NOW_MS, one(1))
    store.record(2, NOW_MS, one(2))
    store.close()
    messages = tmp_path / "messages"
    data = bytearray(messages.read_bytes())
    data[-10] ^= 1
    messages.write_bytes(data)
    again = FileStore(tmp_path)
    assert again.next_out == 2
    again.close()


def test_a_foreign_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "expected").write_text("hello")
    with pytest.raises(ValueError, match="expected: not a sequence number"):
        FileStore(tmp_path)


def test_two_processes_cannot_share_a_folder(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    with pytest.raises(BlockingIOError):
        FileStore(tmp_path)
    store.close()


def test_a_reset_keeps_what_is_expected_until_the_peer_agrees(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    store.record(1, NOW_MS, one(1))
    store.next_in = 4
    store.reset()
    assert (store.next_in, store.next_out) == (4, 1)
    store.close()


def test_it_is_what_a_session_wants(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    state: SessionState = store
    messages: MessageStore = store
    assert (state.next_in, messages) == (MemoryState().next_in, store)
    store.close()

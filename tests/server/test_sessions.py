"""The session index: what each session sent, in order, over blocks, epochs and sessions in turn."""

import random
from pathlib import Path
from typing import Any

import pytest

from openoutcry.server import durable
from openoutcry.server.config import Config, Firm
from openoutcry.server.registry import SessionRegistry
from openoutcry.server.segments import SegmentError
from openoutcry.server.session_settings import Session
from openoutcry.server.sessions import (
    BLOCK_ENTRIES,
    BLOCK_HEADER_WORDS,
    BLOCK_WORDS,
    NEXT_BLOCK,
    PROTOCOL_BINARY,
    PROTOCOL_FIX,
    SEGMENT_BLOCKS,
    SessionIndex,
)


def entries_of(
    index: SessionIndex, session: int, first: int, last: int
) -> list[tuple[int, int, int]]:
    """Return (number, SendingTime in ms, source) of the messages first … last that are noted."""
    found = []
    for number in range(first, last + 1):
        block = index.block_of(session, number)
        if block is not None and number - block[0] < block[1][4]:
            time_ms, source = block[1][BLOCK_HEADER_WORDS + 2 * (number - block[0]) :][:2]
            found.append((number, int(time_ms), int(source)))
    return found


@pytest.fixture
def index(tmp_path: Path):
    made = SessionIndex(tmp_path, "gateway-0", 8, 1 << 20)
    yield made
    made.close()


def test_entries_come_back_in_order_over_many_blocks(index: SessionIndex):
    chooser = random.Random(3)
    sent: dict[int, list[tuple[int, int, int]]] = {1: [], 2: [], 3: []}
    for n in range(4 * BLOCK_ENTRIES):
        session = chooser.choice([1, 2, 3])
        entry = (len(sent[session]) + 1, 1000 + n, 7 * n + 1)
        index.append(session, *entry)
        sent[session].append(entry)
    for session, entries in sent.items():
        assert entries_of(index, session, 1, len(entries)) == entries
        assert entries_of(index, session, 5, 9) == entries[4:9]
        last = len(entries)
        assert entries_of(index, session, last, last + 10) == entries[-1:]
        assert entries_of(index, session, last + 1, last + 10) == []


@pytest.mark.parametrize("first", [1, BLOCK_ENTRIES, BLOCK_ENTRIES + 1, 2 * BLOCK_ENTRIES])
def test_a_range_may_begin_at_a_block_s_border(index: SessionIndex, first: int):
    for number in range(1, 2 * BLOCK_ENTRIES + 2):
        index.append(1, number, number, number)
    found = [number for number, _, _ in entries_of(index, 1, first, first + 1)]
    assert found == [first, first + 1]


def test_a_sync_is_for_every_segment_that_changed_and_no_other(
    index: SessionIndex, monkeypatch: pytest.MonkeyPatch
):
    synced: list[str] = []

    def note(event: str, path: Path) -> None:
        if event == durable.SYNC and "index" in path.name:
            synced.append(path.stem[-8:])

    def sync() -> list[int]:
        synced.clear()
        index.sync()
        return [int(name) for name in synced]

    def send(session: int, count: int) -> None:
        for _ in range(count):
            number = int(index.rows[session]["next_out"])
            index.append(session, number, 5, 9)
            index.rows[session]["next_out"] = number + 1

    monkeypatch.setattr(durable, "observer", note)
    segment = int(index.allocator[SEGMENT_BLOCKS]) * BLOCK_ENTRIES
    send(1, 1)
    send(2, 1)
    # Nothing is known of what was before the first two.
    assert sync() == [0]
    assert sync() == [0]
    assert sync() == []
    send(1, 1)
    assert sync() == [0]
    # An entry that was being written then is not missed.
    assert sync() == [0]
    assert sync() == []
    # Many blocks of one session, with whole segments between its old one and its new one.
    send(1, 3 * segment)
    assert sync() == [0, 1, 2, 3]
    assert sync() == [0, 1, 2, 3]
    assert sync() == []
    # Somebody who was quiet goes on where he was, or in a block of his own.
    block = int(index.rows[2]["block"])
    send(2, 1)
    later = int(index.rows[2]["block"]) // int(index.allocator[SEGMENT_BLOCKS])
    assert later == 3
    assert block == 2
    assert sync() == [0, 3]
    index.reset(1, 5)
    assert sync() == [0, 3]
    assert sync() == [3]
    assert sync() == []


def test_a_sync_misses_no_block_that_is_filled_while_it_looks(
    index: SessionIndex, monkeypatch: pytest.MonkeyPatch
):
    synced: list[str] = []

    def note(event: str, path: Path) -> None:
        if event == durable.SYNC and "index" in path.name:
            synced.append(path.stem[-8:])

    def send(session: int, count: int) -> None:
        for _ in range(count):
            number = int(index.rows[session]["next_out"])
            index.append(session, number, 5, 9)
            index.rows[session]["next_out"] = number + 1

    class Rows:
        """The rows, with a session that is sent much between two looks at them."""

        def __init__(self) -> None:
            self.rows = index.rows
            self.is_first = True

        def __getitem__(self, name: Any) -> Any:
            found = self.rows[name].copy()
            if self.is_first:
                self.is_first, index.rows = False, self.rows
                send(1, 5)
                index.rows = self  # type: ignore[assignment]
            return found

    monkeypatch.setattr(durable, "observer", note)
    segment = int(index.allocator[SEGMENT_BLOCKS]) * BLOCK_ENTRIES
    send(1, 5)
    # Another one's blocks come between.
    send(2, segment)
    for _ in range(3):
        index.sync()
    rows = index.rows
    send(1, BLOCK_ENTRIES - 5)
    synced.clear()
    index.rows = Rows()  # type: ignore[assignment]
    index.sync()
    index.rows = rows
    assert int(rows[1]["entries"]) == 5
    assert [int(name) for name in synced] == [0, 1]


def test_a_reset_begins_anew_and_forgets_what_was_sent(index: SessionIndex):
    index.rows[1]["epoch"] = 1
    for number in range(1, 4):
        index.append(1, number, 10, 5)
    index.rows[1]["next_out"] = 4
    index.reset(1, 5)
    assert (index.rows[1]["next_out"], index.rows[1]["next_in"], index.rows[1]["epoch"]) == (
        1,
        1,
        2,
    )
    assert entries_of(index, 1, 1, 10) == []
    index.append(1, 1, 20, 6)
    assert entries_of(index, 1, 1, 10) == [(1, 20, 6)]


def test_the_index_grows_by_segments(index: SessionIndex):
    total = (3 << 20) // 16
    for number in range(1, total + 1, 1):
        index.append(1, number, 1, number)
    assert entries_of(index, 1, total, total) == [(total, 1, total)]
    assert entries_of(index, 1, 1, 1) == [(1, 1, 1)]


def test_bytes_of_any_length_are_kept(index: SessionIndex):
    texts = [b"x" * n for n in (0, 1, 7, 8, 9, 5000)]
    sources = [index.store_bytes(text) for text in texts]
    assert all(source < 0 for source in sources)
    assert [index.stored_bytes(source) for source in sources] == texts


def registry(index: SessionIndex, *, is_open: bool) -> SessionRegistry:
    firm = Firm(
        name="FIRM",
        sessions=(Session(id="A"), Session(id="A", protocol="binary", password="secret")),
    )
    return SessionRegistry(Config(firms=(firm,), dynamic_sessions=is_open), index.rows)


def test_configured_sessions_have_stable_numbers_per_protocol(index: SessionIndex):
    found = registry(index, is_open=False)
    fix, binary = found.find("A", PROTOCOL_FIX, "FIX.4.4"), found.find("A", PROTOCOL_BINARY)
    assert fix is not None
    assert binary is not None
    assert (fix.number, binary.number, binary.firm) == (1, 2, 1)
    assert "secret" not in repr(binary)
    assert found.find("B", PROTOCOL_FIX, "FIX.4.4") is None


@pytest.mark.parametrize("name", ["", "X" * 33, "with space", "tab\t", "é"])
def test_an_open_venue_takes_no_unsound_names(index: SessionIndex, name: str):
    assert registry(index, is_open=True).find(name, PROTOCOL_FIX, "FIX.4.4") is None


def test_an_open_venue_takes_newcomers_while_there_is_room(index: SessionIndex):
    found = registry(index, is_open=True)
    numbers = [
        entry.number for n in range(9) if (entry := found.find(f"N{n}", PROTOCOL_FIX, "FIX.4.4"))
    ]
    assert numbers == [3, 4, 5, 6, 7]
    again = found.find("N0", PROTOCOL_FIX, "FIX.4.4")
    assert again is not None
    assert again.number == 3


def test_a_session_that_slept_goes_on_in_a_new_block(index: SessionIndex):
    for number in range(1, 11):
        index.append(1, number, number, 100 + number)
    many = (4 << 20) // 16
    for number in range(1, many + 1):
        index.append(2, number, number, number)
    assert index.index_file.first_byte > 0
    index.append(1, 11, 11, 111)
    assert [number for number, _, _ in entries_of(index, 1, 1, 99)] == list(range(1, 12))
    assert entries_of(index, 1, 10, 11) == [(10, 10, 110), (11, 11, 111)]
    assert entries_of(index, 2, 5, 6) == [(5, 5, 5), (6, 6, 6)]


def test_an_index_is_opened_far_behind_its_first_segment(tmp_path: Path):
    before = SessionIndex(tmp_path, "gateway-0", 8, 1 << 20)
    total = (5 << 20) // 16
    for number in range(1, total + 1):
        before.append(1, number, number, number)
    sources = [before.store_bytes(b"x" * 60_000) for _ in range(60)]
    block, next_block = int(before.rows["block"][1]), int(before.allocator[NEXT_BLOCK])
    words = before.words_of(block).copy()
    after = SessionIndex(
        *(tmp_path, "gateway-0", 8, 1 << 20), next_block=next_block, stored_end=before.stored_end
    )
    assert after.index_file.first_byte > 0
    assert after.message_file.first_byte > 0
    assert (after.words_of(block) == words).all()
    assert after.stored_bytes(sources[0]) == after.stored_bytes(sources[-1]) == b"x" * 60_000
    assert after.blocks[next_block * BLOCK_WORDS] == 0
    before.close()
    after.close()


@pytest.mark.parametrize("kind", ["index", "messages"])
def test_what_a_checkpoint_tells_of_must_be_there(tmp_path: Path, kind: str):
    made = SessionIndex(tmp_path, "gateway-0", 8, 1 << 20)
    made.store_bytes(b"x")
    for number in range(1, 1000):
        made.append(1, number, 1, 0)
    block, end = int(made.allocator[NEXT_BLOCK]), made.stored_end
    made.close()

    def again() -> SessionIndex:
        return SessionIndex(tmp_path, "gateway-0", 8, 1 << 20, next_block=block, stored_end=end)

    again().close()
    path = tmp_path / f"gateway-0-{kind}-00000000.seg"
    path.unlink()
    with pytest.raises(SegmentError, match=f"{path.name} is missing, though"):
        again()
    assert not path.exists()

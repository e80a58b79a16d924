"""The replay kernel over a log in memory: every way in which a call can end, and go on."""

from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from oracle.book import OracleBook, join_rows
from oracle.commands import random_commands

from openoutcry.config.jit import IS_COMPILED
from openoutcry.engine.book import Book, Capacity, create_book
from openoutcry.engine.enums import CommandKind
from openoutcry.engine.log import (
    HEADER_WORDS,
    MAGIC,
    READ_HEADER_WORDS,
    append_batch,
    as_words,
    batch_words,
    checksum,
)
from openoutcry.engine.pack import FIRST_BYTE, MAX_PACKED_BYTES, unpack_rows
from openoutcry.engine.records import COMMAND, REPORT
from openoutcry.engine.recovery import (
    CURSOR_WORDS,
    READ_ROWS,
    Cursor,
    ReplayExit,
    last_word,
    later_batch,
    replay,
    skip_batches,
)
from openoutcry.engine.snapshot import check_invariants
from openoutcry.engine.words import INT64_MAX

CAPACITY = Capacity(open_orders=60, finished_orders=9, levels=60, symbols=2, sessions=3)
COUNT = 2_000 if IS_COMPILED else 300
TIME_NS = 1_700_000_000_000_000_000
SHARD = 2


class Log(NamedTuple):
    words: NDArray[np.int64]
    #: Words behind each batch, and its last command.
    ends: list[int]
    seqs: list[int]
    commands: NDArray[Any]
    #: The oracle's reports of each command.
    reports: list[NDArray[Any]]


def symbols() -> NDArray[Any]:
    rows = np.zeros(2, COMMAND)
    rows["kind"], rows["symbol"] = CommandKind.ADD_SYMBOL, [0, 1]
    rows["price_ticks"], rows["price2_ticks"] = -(1 << 62), 1 << 62
    rows["qty_lots"], rows["qty2_lots"] = 1, 1 << 40
    return rows


@pytest.fixture(scope="module")
def log() -> Log:
    commands = join_rows([symbols(), random_commands(3, COUNT, ids=60, masses=0.01)], COMMAND)
    count = len(commands)
    ring = np.zeros(1 << count.bit_length(), COMMAND)
    ring[:count] = commands
    words = np.zeros(batch_words(count, 2) + 8 * count, np.int64)
    chooser = np.random.default_rng(1)
    position = first = 0
    ends, seqs = [], []
    while first < count:
        size = min(int(chooser.integers(1, 30)), count - first)
        rings = np.array([first + size, 3], np.int64)
        position = int(
            append_batch(
                *(words, position, as_words(ring), len(ring) - 1, first, size, first + 1),
                *(TIME_NS + first, 1, 0, rings, 0),
            )
        )
        commands["seq"][first : first + size] = np.arange(first + 1, first + size + 1)
        commands["time_ns"][first : first + size] = TIME_NS + first
        first += size
        ends.append(position)
        seqs.append(first)
    oracle = OracleBook(**CAPACITY._asdict(), shard=SHARD)
    return Log(words[: position + 16], ends, seqs, commands, [oracle.process(c) for c in commands])


class Replay:
    """The kernel's arguments."""

    def __init__(self, log: Log, rows: int = 400) -> None:
        self.log = log
        self.book: Book = create_book(CAPACITY, SHARD)
        self.cursor = np.zeros(CURSOR_WORDS, np.int64)
        self.cursor[Cursor.REPORT_POSITION] = FIRST_BYTE
        self.commands = np.zeros(READ_ROWS, COMMAND)
        self.header = np.zeros(READ_HEADER_WORDS, np.int64)
        self.report_log = np.zeros(FIRST_BYTE + MAX_PACKED_BYTES * 4 * COUNT, np.uint8)
        self.mapped = FIRST_BYTE
        self.keep_below = 0
        self.make_rows(rows)

    def make_rows(self, rows: int) -> None:
        self.fresh = np.zeros(rows, REPORT)
        self.packed = np.zeros((rows + 1) * MAX_PACKED_BYTES, np.uint8)

    def run(
        self, most: int = INT64_MAX, stop: int = INT64_MAX, *, piece: int = 0, writes: bool = False
    ) -> tuple[ReplayExit, int]:
        code, done = replay(
            self.book,
            self.log.words,
            len(self.log.words),
            self.cursor,
            self.commands,
            as_words(self.commands),
            self.header,
            self.fresh,
            as_words(self.fresh),
            int(self.packed.ctypes.data),
            int(self.report_log.ctypes.data) if writes else 0,
            self.keep_below,
            self.mapped,
            most,
            stop,
            piece,
            0,
        )
        return ReplayExit(code), int(done)

    def written(self) -> NDArray[Any]:
        rows = np.zeros(int(self.cursor[Cursor.REPORT_SEQ]), REPORT)
        start = int(self.report_log.ctypes.data)
        base = int(self.cursor[Cursor.BASE_NS])
        end = unpack_rows(
            as_words(rows), 0, len(rows), base, self.book.shard_base, start + FIRST_BYTE
        )
        assert int(end) - start == self.cursor[Cursor.REPORT_POSITION]
        return rows


@pytest.mark.parametrize("rows", [400, 4])
def test_reports_are_the_oracles_and_packed_where_they_belong(log, rows):
    play = Replay(log, rows)
    exits = []
    while True:
        code, _ = play.run(writes=True)
        exits.append(code)
        # Behind it nothing is mapped.
        assert not play.report_log[play.mapped :].any()
        if code == ReplayExit.END:
            break
        if code == ReplayExit.ROWS:
            play.make_rows(int(play.cursor[Cursor.ROWS_WANTED]))
        else:
            assert code == ReplayExit.REPORT_SEGMENT
            wanted = int(play.cursor[Cursor.REPORT_POSITION]) + (rows + 1) * MAX_PACKED_BYTES
            play.mapped = max(wanted, play.mapped + rows * MAX_PACKED_BYTES // 10)
    assert ReplayExit.REPORT_SEGMENT in exits
    expected = join_rows(log.reports, REPORT)
    assert play.written().tobytes() == expected.tobytes()
    assert play.cursor[Cursor.EXECUTED] == log.ends[-1]
    assert play.cursor[Cursor.BASE_NS] == TIME_NS
    rings = play.cursor[Cursor.RING_POSITIONS :][: int(play.cursor[Cursor.RINGS])]
    assert rings.tolist() == [log.seqs[-1], 3]
    check_invariants(play.book)


def test_rows_that_do_not_suffice_are_asked_for_before_anything_happens(log):
    play = Replay(log, rows=1)
    before = -1
    while (code := play.run()[0]) != ReplayExit.END:
        assert code == ReplayExit.ROWS
        wanted = int(play.cursor[Cursor.ROWS_WANTED])
        assert wanted > len(play.fresh)
        assert int(play.cursor[Cursor.SEQ]) > before
        before = int(play.cursor[Cursor.SEQ])
        play.make_rows(wanted)
    assert play.cursor[Cursor.REPORT_SEQ] == sum(len(rows) for rows in log.reports)


def test_pieces_give_every_command_with_its_reports(log):
    play = Replay(log, rows=70)
    seq = 0
    while True:
        code, done = play.run(piece=1)
        if code == ReplayExit.ROWS:
            play.make_rows(int(play.cursor[Cursor.ROWS_WANTED]))
            continue
        if code == ReplayExit.END:
            break
        assert code == ReplayExit.PIECE
        first, rows = int(play.cursor[Cursor.FIRST]), int(play.cursor[Cursor.ROWS])
        commands = play.commands[first : first + done]
        assert commands["seq"].tolist() == list(range(seq + 1, seq + 1 + done))
        expected = join_rows(log.reports[seq : seq + done], REPORT)
        assert play.fresh[:rows].tobytes() == expected.tobytes()
        seq += done
    assert seq == len(log.commands)


@pytest.mark.parametrize("held", [0.0, 0.3, 1.0])
def test_what_the_report_log_has_is_not_written_again(log, held):
    """Wherever it ends: only what begins behind it is written, byte for byte where it belongs."""
    whole = Replay(log, 4_000)
    whole.mapped = len(whole.report_log)
    assert whole.run(writes=True)[0] == ReplayExit.END
    end = int(whole.cursor[Cursor.REPORT_POSITION])
    part = Replay(log, 4_000)
    part.mapped = len(part.report_log)
    # Between two reports, as a shard leaves it.
    counts = np.cumsum([len(rows) for rows in log.reports])
    stop = Replay(log, 4_000)
    seq = max(1, round(held * len(counts)))
    stop.run(stop=seq)
    part.keep_below = int(stop.cursor[Cursor.REPORT_POSITION])
    part.report_log[: part.keep_below] = 0xEE
    assert part.run(writes=True)[0] == ReplayExit.END
    assert (part.report_log[: part.keep_below] == 0xEE).all()
    kept = slice(part.keep_below, end)
    assert part.report_log[kept].tobytes() == whole.report_log[kept].tobytes()


def test_stops_and_limits(log):
    play = Replay(log, 4_000)
    assert play.run(stop=0) == (ReplayExit.STOPPED, 0)
    assert play.run(stop=5) == (ReplayExit.STOPPED, 5)
    assert play.run(stop=5) == (ReplayExit.STOPPED, 0)
    code, done = play.run(most=40)
    assert code == ReplayExit.LIMIT
    assert int(play.cursor[Cursor.SEQ]) == 5 + done
    assert 5 + done in log.seqs
    assert play.cursor[Cursor.EXECUTED] == log.ends[log.seqs.index(5 + done)]
    assert play.run(most=0) == (ReplayExit.LIMIT, 0)
    # Within a batch: no limit ends it before its end.
    within = next(n for n in range(10, 40) if log.seqs[n + 1] - log.seqs[n] > 2)
    play.run(stop=log.seqs[within] + 1)
    assert play.run(most=0) == (ReplayExit.LIMIT, log.seqs[within + 1] - log.seqs[within] - 1)
    play = Replay(log, 4_000)
    assert play.run(most=log.seqs[3]) == (ReplayExit.LIMIT, log.seqs[3])
    assert play.run(most=1) == (ReplayExit.LIMIT, log.seqs[4] - log.seqs[3])


@pytest.mark.parametrize(
    ("count", "expected"),
    [(READ_ROWS - 2, (ReplayExit.END, READ_ROWS + 1)), (READ_ROWS + 1, (ReplayExit.TORN, 3))],
)
def test_a_batch_without_room_behind_others_is_read_alone_if_at_all(log, count, expected):
    words = np.zeros(batch_words(READ_ROWS + 1, 0) + 100, np.int64)
    ring = np.zeros(1 << count.bit_length(), COMMAND)
    ring["kind"] = CommandKind.TIME
    rings = np.zeros(0, np.int64)
    position = 0
    for first, size in ((0, 1), (1, 2), (3, count)):
        arguments = (first, size, first + 1, TIME_NS, 1, 0, rings, 0)
        position = append_batch(words, position, as_words(ring), len(ring) - 1, *arguments)
    assert Replay(log._replace(words=words)).run() == expected


def test_a_capacity_command_is_left_to_the_caller(log):
    commands = join_rows([symbols(), log.commands[:3]], COMMAND)[:4]
    commands["kind"][2] = CommandKind.CAPACITY
    words = np.zeros(batch_words(4, 1) + 8, np.int64)
    append_batch(words, 0, as_words(commands), 3, 0, 4, 1, TIME_NS, 1, 0, np.zeros(1, np.int64), 0)
    play = Replay(log._replace(words=words))
    assert play.run() == (ReplayExit.CAPACITY, 2)
    assert play.run() == (ReplayExit.CAPACITY, 0)
    assert play.cursor[Cursor.EXECUTED] == 0
    play.cursor[Cursor.AT] += 1
    play.cursor[Cursor.SEQ] += 1
    assert play.run() == (ReplayExit.END, 1)
    assert play.cursor[Cursor.EXECUTED] > 0


def test_a_bad_batch_ends_the_replay_before_it(log):
    for word, code in ((1, ReplayExit.TORN), (0, ReplayExit.END), (5, ReplayExit.TORN)):
        words = log.words.copy()
        words[log.ends[2] + word] ^= 1
        play = Replay(log._replace(words=words), 4_000)
        assert play.run()[0] == code
        assert play.cursor[Cursor.EXECUTED] == log.ends[2]
        assert play.cursor[Cursor.SEQ] == log.seqs[2]
        last = np.array([-1, 0, 0], np.int64)
        found, position = skip_batches(words, 0, len(words), last)
        assert (found, position) == (code, log.ends[2])
        assert last.tolist() == [log.seqs[2], 1, TIME_NS + log.seqs[1]]
        assert later_batch(words, log.ends[2] + 1, len(words)) == (log.ends[3], 0)
        assert last_word(words, log.ends[2], len(words)) == log.ends[-1]
    assert later_batch(log.words, log.ends[-1], len(log.words)) == (-1, 0)
    assert last_word(log.words, log.ends[-1], len(log.words)) == log.ends[-1]


@pytest.mark.parametrize(("word", "change"), [(2, 1), (2, -1), (4, -1), (5, -(10**6))])
def test_a_batch_out_of_order_is_not_executed(log, word, change):
    """Sequence, epoch or time do not follow, though the checksum is right."""
    words = log.words.copy()
    words[log.ends[3] + word] += change
    words[log.ends[3] + 1] = checksum(words, log.ends[3], log.ends[4])
    play = Replay(log._replace(words=words), 4_000)
    assert play.run() == (ReplayExit.OUT_OF_ORDER, log.seqs[3])
    assert play.cursor[Cursor.EXECUTED] == log.ends[3]
    assert play.run() == (ReplayExit.OUT_OF_ORDER, 0)
    last = np.array([-1, 0, 0], np.int64)
    assert skip_batches(words, 0, len(words), last) == (ReplayExit.OUT_OF_ORDER, log.ends[3])


@pytest.mark.parametrize(
    ("word", "value"),
    [
        (0, MAGIC | (64 * 8 + 4) << 32),
        (0, MAGIC | (HEADER_WORDS + 2) * 8 << 32),
        (0, MAGIC | 1 << 52),
        (2, 0),
        (2, 102),
        (2, int.from_bytes(b"OOB2AAAA", "little")),
        (3, 0),
        (3, 3 << 32),
        (3, 3 | 3 << 32),
        (6, -8),
        (6, 101 * 8),
    ],
)
def test_words_that_a_client_chose_are_taken_for_no_batch(word, value):
    """A command's words may have a frame's shape and checksum; then no torn tail is damage."""
    at, size = 100, 12
    words = np.zeros(400, np.int64)

    def seal() -> None:
        length = (int(words[at]) >> 32) >> 3
        words[at + 1] = checksum(words, at, min(at + length, len(words)))

    words[at : at + HEADER_WORDS] = (MAGIC | size * 8 << 32, 0, 101, 3 | 2 << 32, 1, 9, at * 8)
    seal()
    assert later_batch(words, 1, len(words)) == (at, at * 8)
    words[at + word] = value
    seal()
    assert later_batch(words, 1, len(words)) == (-1, 0)

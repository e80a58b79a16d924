"""The shard's loop over real rings and logs, without a process: what it logs and releases."""

from typing import Any

import numpy as np
import pytest
from oracle.book import join_rows

from openoutcry.config.jit import IS_COMPILED
from openoutcry.engine.api import SymbolLimits, add_symbols, mass_cancel, mass_status, new_orders
from openoutcry.engine.book import Capacity, create_book
from openoutcry.engine.commit import make_queue
from openoutcry.engine.enums import CommandFlag, CommandKind, RejectReason, ReportKind
from openoutcry.engine.latency import HISTOGRAM_WORDS, STAGE_ROWS, ShardCounter
from openoutcry.engine.log import BATCH_OK, as_words, read_batch
from openoutcry.engine.loop import BATCH_COMMANDS, run_shard
from openoutcry.engine.match import process_batch
from openoutcry.engine.pack import FIRST_BYTE, MAX_PACKED_BYTES, unpack_rows
from openoutcry.engine.records import COMMAND, DEPTH_LEVEL, REPORT
from openoutcry.engine.ring import HEAD_WORD, HEADER_WORDS, TAIL_WORD
from openoutcry.engine.snapshot import check_invariants, state_hash
from openoutcry.engine.state import SHARD_WORDS, STAMP_RECORDS, Durability, LoopExit, ShardWord

MANY = 100_000 if IS_COMPILED else 700
#: As a shard's process sizes its buffer.
SPARE = 4096
SEGMENT_BYTES = 1 << 20


class Loop:
    """A shard's memory; its report log grows by segments, as the process lets it grow."""

    def __init__(self, capacity, ring_records=1 << 17, durability=Durability.PROCESS):
        self.capacity = capacity
        self.book = create_book(capacity)
        self.state = np.zeros(SHARD_WORDS, np.int64)
        self.state[ShardWord.REPORT_POSITION] = FIRST_BYTE
        self.headers = np.zeros((1, HEADER_WORDS), np.int64)
        self.records = np.zeros((1, ring_records), COMMAND)
        self.log = np.zeros(16 << 20, np.int64)
        self.fresh = np.zeros(2 * capacity.open_orders + SPARE, REPORT)
        self.report_log = np.zeros(64 << 20, np.uint8)
        self.mapped = SEGMENT_BYTES
        self.stamps = np.zeros((STAMP_RECORDS, 2), np.int64)
        self.counters = np.zeros(1024, np.int64)
        self.histograms = np.zeros((STAGE_ROWS, HISTOGRAM_WORDS), np.int64)
        self.levels = np.zeros((2, 8), DEPTH_LEVEL)
        self.positions = np.zeros(1, np.int64)
        self.durability = durability
        self.queue = make_queue(16)
        self.exits = []
        #: Commands as the loop sequenced them.
        self.sent = []

    def put(self, commands):
        """Put commands into the ring."""
        tail = int(self.headers[0, TAIL_WORD])
        rows = (tail + np.arange(len(commands))) & (self.records.shape[1] - 1)
        self.records[0, rows] = commands
        self.headers[0, TAIL_WORD] = tail + len(commands)

    def run(self):
        """Run until the ring is empty, mapping what the loop asks for; return the new reports."""
        first, start = (
            int(self.state[word]) for word in (ShardWord.REPORT_SEQ, ShardWord.REPORT_POSITION)
        )
        self.state[ShardWord.STOP] = 1
        code = None
        while code != LoopExit.STOPPED:
            code = self._call()
            self.exits.append(code)
            assert code in (LoopExit.REPORT_SEGMENT, LoopExit.STOPPED, LoopExit.TICK)
            if code == LoopExit.REPORT_SEGMENT:
                wanted = int(self.state[ShardWord.REPORT_BYTES_WANTED]) + 2 * MAX_PACKED_BYTES
                assert wanted > self.mapped - MAX_PACKED_BYTES
                while self.mapped < wanted:
                    self.mapped += SEGMENT_BYTES
        count = int(self.state[ShardWord.REPORT_SEQ]) - first
        rows = np.zeros(count + 1, REPORT)
        address = int(self.report_log.ctypes.data)
        end = unpack_rows(as_words(rows), 0, count, 0, 0, address + start)
        assert end - address == self.state[ShardWord.REPORT_POSITION]
        assert self.state[ShardWord.RELEASED_REPORT] == self.state[ShardWord.REPORT_SEQ]
        assert self.headers[0, HEAD_WORD] == self.headers[0, TAIL_WORD]
        return rows[:count]

    def _call(self):
        return run_shard(
            self.book,
            int(self.state.ctypes.data),
            int(self.headers.ctypes.data),
            self.records,
            as_words(self.records),
            self.log,
            len(self.log),
            self.fresh,
            as_words(self.fresh),
            int(self.report_log.ctypes.data),
            min(self.mapped, len(self.report_log)) - MAX_PACKED_BYTES,
            self.positions,
            np.zeros(0, np.int64),
            np.zeros(0, np.int64),
            self.stamps,
            self.counters,
            self.histograms,
            self.levels,
            50_000_000,
            0,
            self.durability,
            self.queue,
        )

    def logged(self):
        """Read the command log back."""
        read: list[Any] = []
        position = 0
        commands, header = np.zeros(BATCH_COMMANDS, COMMAND), np.zeros(8, np.int64)
        while True:
            code, count, position = read_batch(
                self.log, position, len(self.log), as_words(commands), header
            )
            if code != BATCH_OK:
                return join_rows(read, COMMAND)
            read.append(commands[:count].copy())


def orders(count, session=1, first=1):
    """Return orders that rest, of two symbols."""
    commands = new_orders(count, id0=np.arange(count) + first, session=session, qty_lots=5)
    commands["side"] = 1 + np.arange(count) % 2
    commands["symbol"] = np.arange(count) // 2 % 2
    commands["price_ticks"] = np.where(commands["side"] == 1, -1, 1) * (1 + np.arange(count) % 97)
    return commands


@pytest.fixture
def loop():
    made = Loop(Capacity(open_orders=MANY + 100, levels=1_000, symbols=2, sessions=4))
    made.put(add_symbols(enumerate([SymbolLimits()] * 2)))
    assert not len(made.run())
    return made


def test_a_session_with_more_orders_than_a_batch_has_reports_is_canceled_whole(loop):
    """100,000 open orders: more than the loop's stamps, many times its batch and its segment."""
    loop.put(orders(MANY))
    loop.put(orders(20, session=2))
    assert len(loop.run()) == MANY + 20
    loop.exits.clear()
    asked = mass_status(session=1, inbound_seq=5, cl_ord_id=b"ask")
    told = mass_cancel(session=1, flags=CommandFlag.CONNECTION_LOST)
    # Others' commands before and behind it, in the same batch.
    for part in (orders(3, session=3), asked, told, orders(3, session=3, first=9)):
        loop.put(part)
    reports = loop.run()
    kinds = reports["kind"].tolist()
    assert kinds[:3] == kinds[-3:] == [ReportKind.NEW] * 3
    asked, told = reports[3 : MANY + 4], reports[MANY + 4 : -3]
    for part, one, end in (
        (asked, ReportKind.MASS_STATUS, ReportKind.MASS_STATUS_END),
        (told, ReportKind.CANCELED, ReportKind.MASS_CANCELED),
    ):
        assert set(part["kind"][:-1].tolist()) == {one}
        assert (part[-1]["kind"], part[-1]["qty_lots"]) == (end, MANY)
        assert (part["id0"][:-1] == np.arange(MANY) + 1).all()
        assert len(set(part["seq"].tolist())) == 1
    assert set(asked["orig_cl_ord_id"][:-1].tolist()) == {b"ask"}
    assert set(asked["inbound_seq"].tolist()) == {5}
    assert set(told["reason"][:-1].tolist()) == {RejectReason.CONNECTION_LOST}
    assert not told["inbound_seq"].any()
    assert (np.diff(reports["report_seq"]) == 1).all()
    if IS_COMPILED:
        assert LoopExit.REPORT_SEGMENT in loop.exits
    assert loop.book.state[0]["open_orders"] == 26
    assert loop.counters[ShardCounter.COMMANDS + CommandKind.MASS_CANCEL] == 1
    assert loop.counters[ShardCounter.REPORTS + ReportKind.CANCELED] == MANY
    assert not loop.counters[ShardCounter.REJECTS : ShardCounter.TRADES].any()
    check_invariants(loop.book)


def test_what_was_logged_gives_the_same_reports_and_state_again(loop):
    """Replayed in one piece, with another table seed and another capacity."""
    loop.put(orders(500))
    loop.put(orders(50, session=2))
    first = loop.run()
    loop.put(mass_cancel(session=1, side="buy", symbol=1))
    loop.put(orders(40, session=1, first=5_000))
    loop.put(mass_status(session=2, inbound_seq=9, epoch=1))
    loop.put(mass_cancel(session=1, flags=CommandFlag.LOGGED_OUT))
    loop.put(mass_cancel(session=1, symbol=7))
    written = join_rows([first, loop.run()], REPORT)
    commands = loop.logged()
    book = create_book(loop.capacity._replace(open_orders=900, sessions=90), seed=77)
    again = np.zeros(len(written) + 1000, REPORT)
    done, last = process_batch(
        *(book, commands, 0, len(commands), again, 1, 0, len(again)),
    )
    assert (done, last) == (len(commands), len(written))
    assert again[:last].tobytes() == written.tobytes()
    assert state_hash(book) == state_hash(loop.book)


def test_a_declined_mass_cancel_counts_as_one_and_a_canceled_order_does_not(loop):
    loop.put(orders(5))
    loop.put(mass_cancel(session=1, symbol=5))
    loop.put(mass_cancel(session=1))
    loop.run()
    rejects = loop.counters[ShardCounter.REJECTS : ShardCounter.TRADES]
    assert np.flatnonzero(rejects).tolist() == [RejectReason.UNKNOWN_SYMBOL]
    assert rejects[RejectReason.UNKNOWN_SYMBOL] == 1


def test_a_full_log_declines_orders_and_serves_mass_cancels(loop):
    loop.put(orders(5))
    loop.run()
    loop.state[ShardWord.LOG_IS_FULL] = 1
    loop.put(orders(1, first=9))
    loop.put(mass_cancel(session=1))
    reports = loop.run()
    assert reports[0]["reason"] == RejectReason.LOG_CAPACITY
    assert reports["kind"].tolist()[1:] == [ReportKind.CANCELED] * 5 + [ReportKind.MASS_CANCELED]
    assert loop.book.state[0]["open_orders"] == 0


def test_a_reasons_counter_is_no_other_ones():
    assert ShardCounter.REJECTS + max(RejectReason) < ShardCounter.TRADES
    assert ShardCounter.REPORTS + max(ReportKind) < ShardCounter.REJECTS
    assert ShardCounter.COMMANDS + max(CommandKind) < ShardCounter.REPORTS

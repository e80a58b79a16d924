"""The shard's loop over real rings and logs, without a process: what it logs and releases."""

import numpy as np
import pytest
from oracle.book import join_rows
from support.shard_loop import Loop

from openoutcry.config.jit import IS_COMPILED
from openoutcry.engine.api import SymbolLimits, add_symbols, mass_cancel, mass_status, new_orders
from openoutcry.engine.book import Capacity, create_book
from openoutcry.engine.enums import CommandFlag, CommandKind, RejectReason, ReportKind
from openoutcry.engine.latency import ShardCounter
from openoutcry.engine.match import process_batch
from openoutcry.engine.records import REPORT
from openoutcry.engine.snapshot import check_invariants, state_hash
from openoutcry.engine.state import LoopExit, ShardWord

MANY = 100_000 if IS_COMPILED else 700


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

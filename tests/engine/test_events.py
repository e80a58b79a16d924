"""The broadcast ring of order-level market data."""

import threading

import numpy as np
import pytest
from oracle.book import join_rows
from oracle.pair import SMALL, Pair, add_symbols

from openoutcry.config.jit import IS_COMPILED, lean_kernel
from openoutcry.engine.book import Capacity, create_book
from openoutcry.engine.enums import CommandKind, EventKind, OrderType, Side, TimeInForce
from openoutcry.engine.events import OVERRUN, EventReader, emit_event, read_events
from openoutcry.engine.records import EVENT


@lean_kernel
def _emit(book, first, count):
    """Write events whose fields all tell their number."""
    for n in range(first, first + count):
        emit_event(book, n & 7, n & 1, n, n, n, n, n)


def _read(reader):
    got = reader.read()
    assert got is not None
    return got


def _ring(rows):
    events = np.zeros(rows, EVENT)
    return create_book(SMALL, events=events), events


def test_events_arrive_in_order_with_their_numbers():
    book, events = _ring(8)
    reader = EventReader(events)
    assert len(_read(reader)) == 0
    _emit(book, 1, 5)
    got = _read(reader)
    assert got["event_seq"].tolist() == [1, 2, 3, 4, 5]
    assert got["order_id"].tolist() == [1, 2, 3, 4, 5]
    assert got["side"].tolist() == [2, 1, 2, 1, 2]
    assert len(_read(reader)) == 0


def test_a_full_ring_is_still_whole_and_one_more_event_overruns():
    book, events = _ring(8)
    reader = EventReader(events)
    _emit(book, 1, 8)
    assert len(_read(reader)) == 8
    _emit(book, 9, 9)
    assert reader.read() is None
    reader.next_seq = 10
    assert _read(reader)["event_seq"].tolist() == list(range(10, 18))


def test_a_reader_takes_at_most_its_batch():
    book, events = _ring(64)
    reader = EventReader(events, batch=10)
    _emit(book, 1, 25)
    assert [len(_read(reader)) for _ in range(4)] == [10, 10, 5, 0]


def test_a_row_being_written_is_not_there_yet():
    book, events = _ring(8)
    out = np.zeros(8, EVENT)
    _emit(book, 1, 3)
    events[3]["event_seq"] = 0
    assert read_events(events, 1, out, 8) == 2
    assert read_events(events, 3, out, 8) == 0
    events[3]["event_seq"] = 11
    assert read_events(events, 3, out, 8) == OVERRUN


def test_a_one_row_ring_keeps_only_the_last():
    book, events = _ring(1)
    _emit(book, 1, 3)
    assert events[0]["event_seq"] == 3
    assert book.event_mask == 0


def test_what_each_command_publishes():
    pair = Pair()
    add_symbols(pair)
    fields = {"session": 1, "ord_type": OrderType.LIMIT, "tif": TimeInForce.GTC}
    new, change = CommandKind.NEW, CommandKind.REPLACE
    pair.send(new, cl_ord_id=b"a", side=Side.BUY, price_ticks=10, qty_lots=9, **fields)
    pair.send(new, cl_ord_id=b"s", side=Side.SELL, price_ticks=9, qty_lots=2, **fields)
    pair.send(change, cl_ord_id=b"b", orig_cl_ord_id=b"a", price_ticks=10, qty_lots=8, session=1)
    pair.send(change, cl_ord_id=b"c", orig_cl_ord_id=b"b", price_ticks=11, qty_lots=8, session=1)
    pair.send(CommandKind.CANCEL, orig_cl_ord_id=b"c", session=1)
    rows = join_rows(pair.oracle.events, EVENT)
    told = [
        (EventKind(row["kind"]).name, *(int(row[f]) for f in ("price_ticks", "qty_lots")))
        for row in rows
    ]
    assert told == [
        ("ADD", 10, 9),
        ("EXECUTE", 10, 2),
        ("REDUCE", 10, 1),
        ("DELETE", 10, 6),
        ("ADD", 11, 6),
        ("DELETE", 11, 6),
    ]
    assert rows["leaves_qty"].tolist() == [9, 7, 6, 0, 6, 0]
    assert len(set(rows["order_id"].tolist())) == 1


@pytest.mark.skipif(not IS_COMPILED, reason="only compiled code gives up the interpreter lock")
def test_a_reader_beside_the_writer_never_sees_a_torn_event():
    book, events = _ring(64)
    total = 300_000
    writer = threading.Thread(target=lambda: [_emit(book, n, 100) for n in range(1, total, 100)])
    reader = EventReader(events, batch=64)
    overruns = seen = 0
    writer.start()
    while reader.next_seq <= total:
        got = reader.read()
        if got is None:
            overruns += 1
            reader.next_seq = int(book.state[0]["event_seq"]) - 32
            continue
        seen += len(got)
        for field in ("order_id", "price_ticks", "qty_lots", "leaves_qty", "trade_id"):
            assert (got[field] == got["event_seq"]).all()
    writer.join()
    assert seen > 0


@pytest.mark.parametrize(
    "events",
    [
        np.zeros(16, EVENT)[::-1],
        np.zeros(16, EVENT)[::2],
        np.frombuffer(bytes(64 * 16), EVENT),
        np.zeros((4, 4), EVENT),
        np.zeros(12, EVENT),
        np.zeros(0, EVENT),
        np.zeros(16, np.int64),
    ],
)
def test_a_ring_that_cannot_be_written_row_by_row_is_refused(events):
    with pytest.raises(ValueError, match="events must be"):
        create_book(Capacity(1, 0, 1, 1, 1), events=events)

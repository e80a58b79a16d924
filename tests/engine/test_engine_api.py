"""The in-process API: `from openoutcry.engine import Engine`."""

import copy
import doctest
import pickle
import subprocess
import sys

import numpy as np
import pytest

from openoutcry.engine import (
    Capacity,
    Engine,
    OrderStatus,
    ReportKind,
    Side,
    SymbolLimits,
    TimeInForce,
    api,
    cancels,
    day_end,
    new_orders,
    replaces,
)
from openoutcry.engine.records import COMMAND
from openoutcry.engine.snapshot import check_invariants

SMALL = Capacity(open_orders=5_000, finished_orders=0, levels=5_000, symbols=8, sessions=4)


def test_the_docstrings_example_runs():
    assert doctest.testmod(api).failed == 0


def test_importing_an_engine_module_does_not_load_the_api():
    code = (
        "import sys, openoutcry.engine.enums; print('openoutcry.engine.api' in sys.modules,"
        " 'numba' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == ["False", "False"]


def test_an_unknown_name_is_an_attribute_error():
    import openoutcry.engine

    with pytest.raises(AttributeError, match="no attribute 'Enigne'"):
        _ = openoutcry.engine.Enigne


def test_sequence_and_time_are_given_by_the_engine():
    engine = Engine(capacity=SMALL)
    orders = new_orders(4, id0=[1, 2, 3, 4], side=Side.BUY, price_ticks=5, qty_lots=1)
    orders["time_ns"] = [10, 0, 30, 20]
    reports = engine.process(orders)
    assert orders["seq"].tolist() == [2, 3, 4, 5]
    assert reports["time_ns"].tolist() == [10, 10, 30, 30]
    assert reports["report_seq"].tolist() == [1, 2, 3, 4]
    reports = engine.process(cancels(1, orig0=1))
    assert (reports[0]["time_ns"], reports[0]["seq"], reports[0]["report_seq"]) == (30, 6, 5)


def test_reports_are_a_view_until_the_next_call():
    engine = Engine(capacity=SMALL)
    first = engine.process(new_orders(1, id0=1, side=Side.BUY, price_ticks=5, qty_lots=1))
    kept = first.copy()
    second = engine.process(new_orders(1, id0=2, side=Side.BUY, price_ticks=5, qty_lots=1))
    assert np.shares_memory(first, second)
    assert (kept["id0"][0], second["id0"][0]) == (1, 2)


def test_the_report_buffer_grows_to_what_a_command_needs():
    engine = Engine(capacity=SMALL)
    count = 3_000
    engine.process(
        new_orders(
            count, id0=np.arange(count), side=Side.SELL, price_ticks=np.arange(count), qty_lots=1
        )
    )
    sweep = new_orders(2, id0=[9_001, 9_002], side=Side.BUY, price_ticks=9_999, qty_lots=count)
    reports = engine.process(sweep)
    assert len(reports) == 1 + 2 * count + 1
    assert (reports["report_seq"] == np.arange(count + 1, count + 1 + len(reports))).all()
    assert reports[0]["kind"] == ReportKind.NEW
    assert engine.best_bid(0) == 9_999
    assert engine.best_ask(0) is None
    check_invariants(engine.book)


def test_an_empty_array_is_nothing():
    engine = Engine(capacity=SMALL)
    assert len(engine.process(new_orders(0))) == 0


@pytest.mark.parametrize(
    "commands",
    [
        np.zeros(4),
        np.zeros((2, 2), COMMAND),
        np.zeros(4, COMMAND)[::2],
        np.frombuffer(bytes(192), COMMAND),
    ],
)
def test_other_arrays_are_refused_with_a_sentence(commands):
    with pytest.raises(ValueError, match="commands must be"):
        Engine(capacity=SMALL).process(commands)


def test_depth_and_best_prices():
    engine = Engine(symbols=2, capacity=SMALL)
    assert (engine.best_bid(0), engine.best_ask(0), engine.depth(0, Side.BUY, 3)) == (None,) * 2 + (
        [],
    )
    engine.process(
        new_orders(
            4,
            id0=[1, 2, 3, 4],
            side=[1, 1, 1, 2],
            price_ticks=[-3, -2, -3, 7],
            qty_lots=5,
            symbol=1,
        )
    )
    assert (engine.best_bid(1), engine.best_ask(1), engine.best_bid(0)) == (-2, 7, None)
    assert engine.depth(1, Side.BUY, 3) == [(-2, 5, 1), (-3, 10, 2)]
    assert engine.depth(1, Side.BUY, 1) == [(-2, 5, 1)]
    assert engine.depth_rows(1, Side.SELL, 9)["qty_lots"].tolist() == [5]
    assert engine.depth_at(1, Side.BUY, -3) == 10
    assert engine.depth_at(1, Side.SELL, -3) == 0
    assert engine.depth_at(99, Side.SELL, 1) == 0
    assert engine.best_bid(99) is engine.best_ask(-1) is None
    assert engine.depth(99, Side.BUY, 2) == []
    assert engine.open_orders == 4


def test_order_status_tells_the_exact_notional():
    engine = Engine(capacity=SMALL._replace(finished_orders=10))
    big = (1 << 63) - 1
    engine.process(new_orders(1, cl_ord_id=b"a", side=Side.BUY, price_ticks=-big, qty_lots=big))
    engine.process(
        new_orders(1, cl_ord_id=b"b", side=Side.SELL, price_ticks=-big, qty_lots=big - 4)
    )
    a, b = engine.order_status(b"a"), engine.order_status(b"b")
    assert a is not None
    assert b is not None
    assert a.notional == b.notional == -big * (big - 4)
    assert (a.status, a.leaves_qty, a.side) == (OrderStatus.PARTIALLY_FILLED, 4, Side.BUY)
    assert (b.status, b.leaves_qty, b.cum_qty) == (OrderStatus.FILLED, 0, big - 4)
    assert engine.order_status(b"a", session=1) is None


def test_symbol_limits():
    engine = Engine(symbols=[SymbolLimits(), SymbolLimits(price_min=1)], capacity=SMALL)
    orders = new_orders(2, id0=[1, 2], side=Side.BUY, price_ticks=0, qty_lots=1, symbol=[0, 1])
    assert engine.process(orders)["kind"].tolist() == [ReportKind.NEW, ReportKind.REJECTED]
    with pytest.raises(ValueError, match="impossible limits of symbol 1"):
        Engine(symbols=[SymbolLimits(), SymbolLimits(qty_min=0)], capacity=SMALL)
    with pytest.raises(ValueError, match="9 symbols exceed the capacity of 8"):
        Engine(symbols=9, capacity=SMALL)


def test_replace_and_day_end():
    engine = Engine(capacity=SMALL)
    engine.process(
        new_orders(1, cl_ord_id=b"a", side=Side.BUY, price_ticks=5, qty_lots=3, tif=TimeInForce.DAY)
    )
    (report,) = engine.process(
        replaces(1, orig_cl_ord_id=b"a", cl_ord_id=b"b", price_ticks=6, qty_lots=2)
    )
    assert report["kind"] == ReportKind.REPLACED
    (report,) = engine.process(day_end())
    assert (report["kind"], report["cl_ord_id"]) == (ReportKind.EXPIRED, b"b")
    assert engine.open_orders == 0


def test_equal_commands_give_equal_hashes_whatever_the_batches():
    rng = np.random.default_rng(8)
    count = 500
    orders = new_orders(
        count,
        id0=np.arange(count),
        side=rng.integers(1, 3, count),
        price_ticks=rng.integers(0, 9, count),
        qty_lots=rng.integers(1, 9, count),
    )
    whole, parts = Engine(capacity=SMALL), Engine(capacity=SMALL)
    reports = whole.process(orders.copy()).tobytes()
    pieces = [parts.process(part.copy()).tobytes() for part in np.array_split(orders, 13)]
    assert b"".join(pieces) == reports
    assert whole.state_hash() == parts.state_hash()
    assert 0 <= whole.state_hash() < 1 << 64
    parts.process(cancels(1, orig0=3))
    assert whole.state_hash() != parts.state_hash()


@pytest.mark.parametrize(
    "again", [copy.deepcopy, lambda engine: pickle.loads(pickle.dumps(engine))]
)
def test_a_copy_goes_its_own_way(again):
    engine = Engine(capacity=SMALL)
    engine.process(new_orders(2, id0=[1, 2], side=Side.BUY, price_ticks=[5, 6], qty_lots=3))
    before = engine.state_hash()
    other = again(engine)
    assert (other.state_hash(), other.seq, other.report_seq) == (before, 3, 2)
    reports = other.process(cancels(1, orig0=2)).copy()
    assert reports["report_seq"].tolist() == [3]
    assert (other.best_bid(0), engine.best_bid(0), engine.state_hash()) == (5, 6, before)
    assert engine.process(cancels(1, orig0=2)).tobytes() == reports.tobytes()
    assert engine.state_hash() == other.state_hash()
    check_invariants(other.book)

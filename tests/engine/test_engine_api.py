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
    OrderBook,
    OrderStatus,
    ReportKind,
    Side,
    SymbolLimits,
    TimeInForce,
    api,
    cancels,
    day_end,
    mass_cancel,
    mass_status,
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


ONE = np.zeros(1, COMMAND)


@pytest.mark.parametrize(
    ("call", "kind", "sentence"),
    [
        (lambda e: e.best_bid(5), ValueError, "there is no symbol 5: symbols are numbered from 0"),
        (lambda e: e.best_ask(-1), ValueError, "there is no symbol -1: symbols are numbered from "
         "0"),
        (lambda e: e.best_bid("AAPL"), TypeError, "symbol must be a symbol's number, not 'AAPL'"),
        (lambda e: e.depth_at(1.0, 1, 1), TypeError, "symbol must be a symbol's number, not 1.0"),
        (lambda e: e.depth_at(0, 1, 1.5), TypeError, "price_ticks must be an int, not 1.5"),
        (lambda e: e.depth(0, 7, 5), ValueError, "side must be 'buy' or 'sell', not 7"),
        (lambda e: e.depth(0, 1, -2), ValueError, "levels must be 0 or more, not -2"),
        (lambda e: e.depth(0, 1, None), TypeError, "levels must be an int, not None"),
        (lambda e: e.order_status(1.5), TypeError,
         "cl_ord_id must be bytes, or a number as in id0, not 1.5"),
        (lambda e: e.process([]), TypeError,
         "commands must be an array of COMMAND, as new_orders makes, not []"),
        (lambda e: e.process(None), TypeError,
         "commands must be an array of COMMAND, as new_orders makes, not None"),
        (lambda e: e.process(np.concatenate([ONE, ONE])), ValueError,
         "commands must be in COMMAND's own layout, which np.concatenate does not keep: make "
         "np.zeros(n, COMMAND) and assign the parts to it"),
        (lambda _: Engine(0), ValueError, "symbols must be 1 or more, not 0"),
        (lambda _: Engine(-1), ValueError, "symbols must be 1 or more, not -1"),
        (lambda _: Engine("AAPL"), TypeError,  # type: ignore[arg-type]
         "symbols must be a number of symbols or a sequence of SymbolLimits, not 'AAPL'"),
        (lambda _: Engine(["AAPL"]), TypeError,  # type: ignore[list-item]
         "the limits of symbol 0 must be SymbolLimits, not 'AAPL': a symbol has a number and no "
         "name"),
        (lambda _: OrderBook(limits=5), TypeError,  # type: ignore[arg-type]
         "the limits of symbol 0 must be SymbolLimits, not 5: a symbol has a number and no name"),
        (lambda _: Engine(capacity=5), TypeError,  # type: ignore[arg-type]
         "capacity must be a Capacity, not 5"),
        (lambda _: Engine(capacity=Capacity(levels=1.5)), TypeError,  # type: ignore[arg-type]
         "levels of capacity must be an int, not 1.5"),
        (lambda _: Engine([SymbolLimits(price_min=5, price_max=4)]), ValueError,
         "price_min of symbol 0 is above its price_max: 5 and 4"),
        (lambda _: Engine([SymbolLimits(qty_min=5, qty_max=4)]), ValueError,
         "qty_min of symbol 0 is above its qty_max: 5 and 4"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_in_a_sentence(call, kind, sentence):
    with pytest.raises(kind) as raised:
        call(Engine(capacity=SMALL))
    assert str(raised.value) == sentence


@pytest.mark.parametrize(
    ("count", "fields", "kind", "sentence"),
    [
        (1, {"price_ticks": [100.5]}, TypeError, "price_ticks must be integers, not 100.5"),
        (1, {"price_ticks": 100.0}, TypeError, "price_ticks must be integers, not 100.0"),
        (1, {"qty_lots": np.array([np.nan])}, TypeError, "qty_lots must be integers, not "
         f"{np.float64('nan')!r}"),
        (2, {"qty_lots": [True, 3]}, TypeError, "qty_lots must be integers, not True"),
        (1, {"qty_lots": True}, TypeError, "qty_lots must be integers, not True"),
        (1, {"qty_lots": None}, TypeError, "qty_lots must be integers, not None"),
        (2, {"side": np.array([1, -1])}, ValueError, "side must be 0 to 255, not -1"),
        (1, {"side": "by"}, ValueError, "side must be 'buy' (1) or 'sell' (2), not 'by'"),
        (2, {"tif": ["gtc", "x"]}, ValueError, "tif must be 'gtc', 'day', 'ioc' or 'fok', not 'x'"),
        (1, {"price_ticks": 1 << 63}, ValueError,
         f"price_ticks must be {-1 << 63} to {(1 << 63) - 1}, not {1 << 63}"),
        (2, {"price_ticks": [-1, 1 << 63]}, ValueError,
         f"price_ticks must be {-1 << 63} to {(1 << 63) - 1}, not {1 << 63}"),
        (1, {"id0": [-1]}, ValueError, f"id0 must be 0 to {(1 << 64) - 1}, not -1"),
        (3, {"qty_lots": [1, 2]}, ValueError, "qty_lots has 2 values, and there are 3 commands"),
        (3, {"qty_lots": [1]}, ValueError, "qty_lots has 1 values, and there are 3 commands"),
        (1, {"cl_ord_id": b"x" * 37}, ValueError,
         f"cl_ord_id has at most 36 bytes, not 37: {np.bytes_(b'x' * 37)!r}"),
        (2, {"cl_ord_id": [b"a", b"x" * 50]}, ValueError,
         f"cl_ord_id has at most 36 bytes, not 50: {np.bytes_(b'x' * 50)!r}"),
        (1, {"cl_ord_id": 7}, TypeError, "cl_ord_id takes bytes, not 7: for numbers there is id0"),
        (1, {"orig_cl_ord_id": [None]}, TypeError,
         "orig_cl_ord_id takes bytes, not [None]: for numbers there is orig0"),
        (1, {"cl_ord_id": "ä"}, ValueError, "cl_ord_id must be ASCII, not 'ä'"),
        (1, {"price": 5}, TypeError, "a command has no field 'price': use price_ticks"),
        (1, {"qty": 5}, TypeError, "a command has no field 'qty': use qty_lots"),
        (1, {"symbol_id": 5}, TypeError, "a command has no field 'symbol_id': use symbol"),
        (1.5, {}, TypeError, "count must be an int, not 1.5"),
        (-1, {}, ValueError, "count must be 0 or more, not -1"),
    ],
)  # fmt: skip
def test_a_field_that_does_not_fit_is_refused(count, fields, kind, sentence):
    for make in (new_orders, cancels, replaces):
        with pytest.raises(kind) as raised:
            make(count, **fields)
        assert str(raised.value) == sentence


def test_fields_take_texts_lists_and_arrays():
    orders = new_orders(
        3,
        id0=range(3),
        side=["buy", "Sell", "BUY"],
        tif=np.array(["ioc", "gtc", "day"]),
        price_ticks=(np.int8(-3), 0, (1 << 63) - 1),
        qty_lots=np.array([1, 2, 3], np.uint64),
        symbol=np.int64(2),
    )
    assert orders["side"].tolist() == [1, 2, 1]
    assert orders["tif"].tolist() == [3, 1, 0]
    assert orders["price_ticks"].tolist() == [-3, 0, (1 << 63) - 1]
    assert orders["symbol"].tolist() == [2, 2, 2]
    assert new_orders(2, side="sell", tif="fok")["tif"].tolist() == [TimeInForce.FOK] * 2
    assert new_orders(2, side=[Side.BUY, "sell"])["side"].tolist() == [1, 2]
    names = [b"a" * 36, b"b"]
    for given in (
        names,
        np.array(names),
        [name.decode() for name in names],
        np.array(names, "S60"),
    ):
        assert new_orders(2, cl_ord_id=given)["cl_ord_id"].tolist() == names
    assert new_orders(1, id0=(1 << 64) - 1)["id0"].tolist() == [(1 << 64) - 1]
    assert len(new_orders(0, id0=[], cl_ord_id=[], side=[])) == 0


def test_all_vocabulary_is_exported():
    from openoutcry.engine import COMMAND as command
    from openoutcry.engine import REPORT, Liquidity, RejectReason

    assert (command, REPORT.itemsize) == (COMMAND, 192)
    assert (RejectReason.ORDER_CAPACITY, Liquidity.ADDED) == (50, 1)


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
    assert engine.depth(1, "sell", 1 << 40) == [(7, 5, 1)]
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
    with pytest.raises(ValueError, match="qty_min of symbol 1 must be 1 to"):
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


def test_mass_cancel_and_mass_status():
    engine = Engine(2, SMALL)
    orders = new_orders(
        4, cl_ord_id=list("abcd"), session=[1, 1, 2, 1], side=["buy", "sell", "buy", "buy"]
    )
    orders["symbol"], orders["price_ticks"], orders["qty_lots"] = [0, 1, 1, 1], [5, 9, 5, 5], 1
    engine.process(orders)
    told = engine.process(mass_status(session=1, cl_ord_id=b"s"))
    assert told["cl_ord_id"].tolist() == [b"a", b"b", b"d", b"s"]
    assert told["orig_cl_ord_id"].tolist() == [b"s"] * 3 + [b""]
    assert told["kind"].tolist() == [ReportKind.MASS_STATUS] * 3 + [ReportKind.MASS_STATUS_END]
    gone = engine.process(mass_cancel(session=1, symbol=1, side="buy"))
    assert gone["cl_ord_id"].tolist() == [b"d", b""]
    gone = engine.process(mass_cancel(session=1))
    assert gone["cl_ord_id"].tolist() == [b"a", b"b", b""]
    assert gone[-1]["qty_lots"] == 2
    assert engine.open_orders == 1


def test_a_mass_cancel_makes_its_own_room():
    count = SMALL.open_orders
    engine = Engine(capacity=SMALL)
    engine.process(new_orders(count, id0=range(count), side="buy", price_ticks=1, qty_lots=1))
    reports = engine.process(mass_cancel())
    assert reports["id0"].tolist() == [*range(count), 0]
    assert engine.open_orders == 0


@pytest.mark.parametrize("make", [mass_cancel, mass_status])
@pytest.mark.parametrize(
    ("fields", "kind", "sentence"),
    [
        ({"side": "both"}, ValueError, "side must be 'buy' (1) or 'sell' (2), not 'both'"),
        ({"symbol": 1.0}, TypeError, "symbol must be integers, not 1.0"),
        ({"account": -1}, ValueError, f"account must be 0 to {(1 << 32) - 1}, not -1"),
        ({"symbol": [0, 1]}, ValueError, "symbol has 2 values, and there are 1 commands"),
        ({"order_id": 5}, TypeError, "a command has no field 'order_id': use id0"),
    ],
)
def test_a_mass_request_takes_no_other_fields(make, fields, kind, sentence):
    with pytest.raises(kind) as raised:
        make(**fields)
    assert str(raised.value) == sentence


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

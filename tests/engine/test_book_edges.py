"""The edges of the book, one named case each, under both replace policies.

Every command goes through the oracle and the ledger, and every step to the auditor; what is
expected is written out nevertheless.
"""

import numpy as np
import pytest
from oracle.pair import SMALL, Pair, add_symbols, kinds
from oracle.requests import cancel, fills, order, reason_of, replace, status
from oracle.trio import Trio

from openoutcry.config.jit import IS_COMPILED
from openoutcry.engine import Engine, new_orders
from openoutcry.engine.book import Capacity
from openoutcry.engine.enums import (
    CommandFlag,
    CommandKind,
    OrderStatus,
    OrderType,
    RejectReason,
    ReplacePolicy,
    ReportKind,
    Side,
    TimeInForce,
)
from openoutcry.engine.market import best_price, depth
from openoutcry.engine.records import DEPTH_LEVEL
from openoutcry.engine.snapshot import check_invariants

BUY, SELL = Side.BUY, Side.SELL
IOC, FOK, GTC = TimeInForce.IOC, TimeInForce.FOK, TimeInForce.GTC
INT64_MAX = (1 << 63) - 1
INT64_MIN = -(1 << 63)
KEEP, REQUEUE = ReplacePolicy.KEEP_ON_REDUCE, ReplacePolicy.ALWAYS_REQUEUE


@pytest.fixture(params=list(ReplacePolicy), ids=lambda policy: policy.name.lower())
def policy(request):
    return request.param


@pytest.fixture
def book(policy):
    trio = Trio()
    add_symbols(trio, 2, flags=policy)
    return trio


def small_book(policy=KEEP, **capacity):
    trio = Trio(SMALL._replace(**capacity))
    add_symbols(trio, 1, flags=policy)
    return trio


def best(book):
    """Return best bid and ask, None where there is none."""
    found = [best_price(book.book, 0, int(side)) for side in (BUY, SELL)]
    return tuple(int(price) if is_there else None for price, is_there in found)


def levels(book, side):
    """Return a side's levels as (price, lots, orders), best first."""
    rows = np.zeros(book.book.level_capacity, DEPTH_LEVEL)
    return [tuple(row) for row in rows[: depth(book.book, 0, int(side), rows)].tolist()]


def swap(side):
    return SELL if side == BUY else BUY


# --- Cancels in a queue ---------------------------------------------------------------------------


@pytest.mark.parametrize("victim", ["a", "b", "c"], ids=["head", "middle", "tail"])
@pytest.mark.parametrize("side", [BUY, SELL])
def test_cancel_head_middle_or_tail_of_a_level_then_sweep(book, victim, side):
    for name in "abc":
        order(book, name, side, 10, 2)
    assert kinds(cancel(book, victim)) == ["CANCELED"]
    assert levels(book, side) == [(10, 4, 2)]
    left = [name for name in "abc" if name != victim]
    reports = order(book, "s", swap(side), 10, 9)
    assert fills(reports) == [(name, 10, 2) for name in left]
    assert levels(book, side) == []
    assert levels(book, swap(side)) == [(10, 5, 1)]


def test_cancel_all_of_a_level_one_by_one_then_use_its_price_again(book):
    for name in "abcd":
        order(book, name, BUY, 10, 2)
    for name, left in (("a", 3), ("d", 2), ("c", 1), ("b", 0)):
        cancel(book, name)
        assert levels(book, BUY) == ([(10, 2 * left, left)] if left else [])
    order(book, "e", BUY, 10, 1)
    assert fills(order(book, "s", SELL, 10, 3)) == [("e", 10, 1)]


def test_cancel_of_the_only_order_of_the_best_level_uncovers_the_next(book):
    order(book, "a", BUY, 10, 2)
    order(book, "b", BUY, 9, 2)
    cancel(book, "a")
    assert best(book) == (9, None)
    assert fills(order(book, "s", SELL, 1, 1)) == [("b", 9, 1)]


# --- Sweeps ---------------------------------------------------------------------------------------


def test_ioc_sweeps_several_levels_and_its_rest_is_canceled(book):
    for price in (10, 11, 12, 13):
        order(book, f"a{price}", SELL, price, 3)
    reports = order(book, "b", BUY, 12, 20, tif=IOC)
    assert fills(reports) == [("a10", 10, 3), ("a11", 11, 3), ("a12", 12, 3)]
    last = reports[-1]
    assert (last["kind"], last["status"]) == (ReportKind.CANCELED, OrderStatus.CANCELED)
    assert (last["leaves_qty"], last["cum_qty"], last["notional_lo"]) == (0, 9, 99)
    assert reason_of(status(book, "b")) == RejectReason.UNKNOWN_ORDER
    assert levels(book, SELL) == [(13, 3, 1)]
    assert levels(book, BUY) == []


@pytest.mark.parametrize(
    ("qty", "left", "is_canceled"),
    [
        (8, [(11, 1, 1), (12, 3, 1)], False),
        (9, [(12, 3, 1)], False),
        (10, [(12, 3, 1)], True),
    ],
    ids=["one less", "exact", "one more"],
)
@pytest.mark.parametrize("side", [BUY, SELL])
def test_ioc_at_the_exact_boundary_of_its_levels(book, side, qty, left, is_canceled):
    # Prices mirrored about 0 let a seller meet what a buyer meets.
    sign = 1 if side == BUY else -1
    for name, price, lots in (("a", 10, 2), ("b", 10, 3), ("c", 11, 4), ("d", 12, 3)):
        order(book, name, swap(side), sign * price, lots)
    reports = order(book, "z", side, sign * 11, qty, tif=IOC)
    last = min(4, qty - 5)
    assert fills(reports) == [
        ("a", sign * 10, 2),
        ("b", sign * 10, 3),
        ("c", sign * 11, last),
    ]
    assert (kinds(reports)[-1] == "CANCELED") is is_canceled
    assert levels(book, swap(side)) == [(sign * price, lots, n) for price, lots, n in left]


@pytest.mark.parametrize(("qty", "trades"), [(9, 3), (10, 0)], ids=["exact", "one more"])
def test_fok_at_the_exact_boundary_of_its_levels(book, qty, trades):
    for name, price, lots in (("a", 10, 2), ("b", 10, 3), ("c", 11, 4), ("d", 12, 3)):
        order(book, name, SELL, price, lots)
    reports = order(book, "f", BUY, 11, qty, tif=FOK)
    assert kinds(reports) == ["NEW", *["TRADE"] * 2 * trades, *["CANCELED"] * (not trades)]
    assert len(levels(book, SELL)) == (1 if trades else 3)


def test_a_limit_at_the_best_price_trades_and_one_tick_off_it_rests(book):
    order(book, "a", SELL, 10, 5)
    assert fills(order(book, "b", BUY, 9, 1)) == []
    assert fills(order(book, "c", BUY, 10, 1)) == [("a", 10, 1)]
    assert best(book) == (9, 10)


@pytest.mark.parametrize("side", [BUY, SELL])
def test_what_a_sweep_leaves_becomes_the_new_best(book, side):
    sign = 1 if side == BUY else -1
    order(book, "own", side, sign * 9, 1)
    for name, price in (("a", 10), ("b", 11), ("c", 13)):
        order(book, name, swap(side), sign * price, 2)
    reports = order(book, "z", side, sign * 12, 7)
    assert fills(reports) == [("a", sign * 10, 2), ("b", sign * 11, 2)]
    assert levels(book, side) == [(sign * 12, 3, 1), (sign * 9, 1, 1)]
    assert levels(book, swap(side)) == [(sign * 13, 2, 1)]
    reports = order(book, "y", swap(side), sign * 9, 4)
    assert fills(reports) == [("z", sign * 12, 3), ("own", sign * 9, 1)]


FILLS = 5_000 if IS_COMPILED else 300


def _wall(count, first_id=1, **fields):
    """Return orders of 3 lots to be swept, five to a price from 100 up."""
    numbers = np.arange(count)
    return new_orders(
        count,
        **{
            "id0": numbers + first_id,
            "session": 1,
            "side": SELL,
            "price_ticks": 100 + numbers // 5,
            "qty_lots": 3,
            **fields,
        },
    )


@pytest.mark.parametrize("is_one_level", [True, False], ids=["one level", "many levels"])
def test_five_thousand_fills_in_one_sweep(policy, is_one_level):
    capacity = Capacity(FILLS + 1, 0, FILLS, 1, 2)
    # Checking all the structure after each of the orders would take minutes.
    trio = Trio(capacity, is_checking=False, event_rows=1 << 14)
    trio.rows = np.zeros(1 << 14, trio.rows.dtype)
    add_symbols(trio, 1, flags=policy)
    wall = _wall(FILLS, **({"price_ticks": 100} if is_one_level else {}))
    trio.run(wall)
    check_invariants(trio.book)
    reports = order(trio, "last", BUY, INT64_MAX, 3 * FILLS + 7)
    trades = reports[1:]
    assert len(trades) == 2 * FILLS
    assert trades["id0"][1::2].tolist() == list(range(1, FILLS + 1))
    assert trades["last_px"][1::2].tolist() == wall["price_ticks"].tolist()
    assert trades["cum_qty"][::2].tolist() == list(range(3, 3 * FILLS + 1, 3))
    assert set(trades["status"][1::2].tolist()) == {int(OrderStatus.FILLED)}
    assert levels(trio, SELL) == []
    assert levels(trio, BUY) == [(INT64_MAX, 7, 1)]
    check_invariants(trio.book)
    trio.audit.check(trio.book)


def test_an_engines_buffer_grows_with_a_sweep():
    engine = Engine(capacity=Capacity(FILLS + 1, 0, FILLS, 1, 2))
    engine.process(_wall(FILLS))
    sweep = new_orders(1, id0=FILLS + 1, session=1, side=BUY, price_ticks=10**6, qty_lots=3 * FILLS)
    reports = engine.process(sweep)
    assert len(reports) == 1 + 2 * FILLS
    assert reports["report_seq"].tolist() == list(range(FILLS + 1, 3 * FILLS + 2))
    assert engine.open_orders == 0


# --- Modifies -------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [BUY, SELL])
def test_modify_into_a_cross_trades_at_the_makers_price(book, side):
    sign = 1 if side == BUY else -1
    order(book, "m1", swap(side), sign * 11, 2)
    order(book, "m2", swap(side), sign * 12, 2)
    order(book, "t", side, sign * 9, 7)
    reports = replace(book, "t", "u", sign * 14, 7)
    assert kinds(reports) == ["REPLACED", *["TRADE"] * 4]
    # The buyer would have paid 14: it pays 11 and 12.
    assert fills(reports) == [("m1", sign * 11, 2), ("m2", sign * 12, 2)]
    assert reports["price_ticks"][1::2].tolist() == [sign * 14] * 2
    assert reports["notional_lo"].view(np.int64)[3] == sign * 46
    assert levels(book, side) == [(sign * 14, 3, 1)]
    assert levels(book, swap(side)) == []


def test_modify_into_a_cross_of_exactly_its_quantity_is_filled(book):
    order(book, "m", SELL, 12, 5)
    order(book, "t", BUY, 9, 5)
    reports = replace(book, "t", "u", 12, 5)
    assert fills(reports) == [("m", 12, 5)]
    assert reports[-2]["status"] == OrderStatus.FILLED
    assert best(book) == (None, None)
    assert reason_of(cancel(book, "u")) == RejectReason.UNKNOWN_ORDER


@pytest.mark.parametrize(("price", "qty"), [(9, 5), (11, 5), (10, 7)], ids=["down", "up", "more"])
@pytest.mark.parametrize("who", ["a", "b"])
def test_modify_one_of_two_orders_at_a_level(book, price, qty, who):
    for name in "ab":
        order(book, name, BUY, 10, 5)
    replace(book, who, "z", price, qty)
    other = "b" if who == "a" else "a"
    if price == 10:
        assert levels(book, BUY) == [(10, 12, 2)]
        expected = [(other, 10, 5), ("z", 10, 7)]
    else:
        expected = sorted([(other, 10, 5), ("z", price, 5)], key=lambda fill: -fill[1])
        assert levels(book, BUY) == [(price, 5, 1) for _, price, _ in expected]
    assert fills(order(book, "s", SELL, 1, 12, tif=IOC)) == expected


@pytest.mark.parametrize("qty", [3, 5], ids=["less", "the same"])
def test_modify_down_of_the_first_of_two_keeps_or_loses_its_turn(book, policy, qty):
    for name in "ab":
        order(book, name, BUY, 10, 5)
    replace(book, "a", "z", 10, qty)
    assert levels(book, BUY) == [(10, qty + 5, 2)]
    expected = [("z", 10, qty), ("b", 10, 5)]
    if policy == REQUEUE:
        expected.reverse()
    assert fills(order(book, "s", SELL, 10, qty + 5)) == expected


def test_modify_away_and_back_is_last_in_its_level(book):
    for name in "abc":
        order(book, name, SELL, 10, 1)
    replace(book, "a", "a1", 11, 1)
    replace(book, "a1", "a2", 10, 1)
    assert fills(order(book, "z", BUY, 10, 3)) == [("b", 10, 1), ("c", 10, 1), ("a2", 10, 1)]


def test_partial_fill_then_cancel_gives_back_the_rest_only(book):
    order(book, "a", SELL, 10, 5)
    order(book, "b", SELL, 10, 5)
    assert fills(order(book, "t", BUY, 10, 2)) == [("a", 10, 2)]
    (report,) = cancel(book, "a")
    assert (report["status"], report["cum_qty"]) == (OrderStatus.CANCELED, 2)
    assert (report["leaves_qty"], report["notional_lo"]) == (0, 20)
    assert levels(book, SELL) == [(10, 5, 1)]
    assert fills(order(book, "u", BUY, 10, 9, tif=IOC)) == [("b", 10, 5)]


@pytest.mark.parametrize(
    ("qty", "leaves"), [(3, 1), (5, 3), (6, 4)], ids=["less", "the same", "more"]
)
def test_partial_fill_then_modify_counts_what_was_filled(book, policy, qty, leaves):
    order(book, "a", SELL, 10, 5)
    order(book, "b", SELL, 10, 5)
    order(book, "t", BUY, 10, 2)
    (report,) = replace(book, "a", "a1", 10, qty)
    assert (report["status"], report["cum_qty"]) == (OrderStatus.PARTIALLY_FILLED, 2)
    assert (report["qty_lots"], report["leaves_qty"]) == (qty, leaves)
    assert levels(book, SELL) == [(10, 5 + leaves, 2)]
    expected = [("a1", 10, leaves), ("b", 10, 5)]
    if policy == REQUEUE or qty > 5:
        expected.reverse()
    assert fills(order(book, "u", BUY, 10, 20, tif=IOC)) == expected


@pytest.mark.parametrize("qty", [1, 2])
def test_partial_fill_then_modify_to_no_more_than_was_filled_is_declined(book, qty):
    order(book, "a", SELL, 10, 5)
    order(book, "t", BUY, 10, 2)
    reason = reason_of(replace(book, "a", "a1", 10, qty))
    assert reason == RejectReason.QTY_NOT_ABOVE_CUM_QTY
    assert levels(book, SELL) == [(10, 3, 1)]


@pytest.mark.parametrize(("qty", "keeps"), [(2, True), (3, True), (4, False)])
def test_a_modify_may_state_the_open_quantity(book, policy, qty, keeps):
    order(book, "a", SELL, 10, 5)
    order(book, "b", SELL, 10, 5)
    order(book, "t", BUY, 10, 2)
    (report,) = replace(book, "a", "a1", 10, qty, flags=CommandFlag.OPEN_QTY)
    assert (report["qty_lots"], report["cum_qty"], report["leaves_qty"]) == (qty + 2, 2, qty)
    expected = [("a1", 10, qty), ("b", 10, 5)]
    if policy == REQUEUE or not keeps:
        expected.reverse()
    assert fills(order(book, "u", BUY, 10, 20, tif=IOC)) == expected


@pytest.mark.parametrize("qty", [0, -1, INT64_MIN, INT64_MAX, INT64_MAX - 1])
def test_an_open_quantity_that_cannot_be_is_out_of_range(book, qty):
    order(book, "a", SELL, 10, 5)
    order(book, "t", BUY, 10, 2)
    reports = replace(book, "a", "a1", 10, qty, flags=CommandFlag.OPEN_QTY)
    assert reason_of(reports) == RejectReason.QTY_OUT_OF_RANGE
    assert levels(book, SELL) == [(10, 3, 1)]


# --- Stale, reused and unknown identifiers --------------------------------------------------------


@pytest.mark.parametrize("name", ["maker", "taker", "never"])
def test_stale_cancel_or_modify_after_a_fill_finds_nothing(book, name):
    order(book, "maker", SELL, 10, 5)
    order(book, "taker", BUY, 10, 5)
    for reports in (cancel(book, name, "c"), replace(book, name, "c", 11, 9)):
        assert reason_of(reports) == RejectReason.UNKNOWN_ORDER
        assert kinds(reports) == ["CANCEL_REJECTED"]
        assert (reports[0]["cl_ord_id"], reports[0]["orig_cl_ord_id"]) == (b"c", name.encode())
    assert best(book) == (None, None)


@pytest.mark.parametrize("name", ["maker", "taker"])
def test_within_a_window_a_stale_request_is_too_late(policy, name):
    pair = Pair(SMALL._replace(finished_orders=4))
    add_symbols(pair, 1, flags=policy)
    order(pair, "maker", SELL, 10, 5)
    order(pair, "taker", BUY, 10, 5)
    for reports in (cancel(pair, name, "c"), replace(pair, name, "c", 11, 9)):
        assert reason_of(reports) == RejectReason.TOO_LATE_TO_CANCEL
        assert reports[0]["status"] == OrderStatus.FILLED


def test_an_identifier_is_used_again_after_a_cancel(book):
    (first,) = order(book, "a", BUY, 10, 5)
    cancel(book, "a")
    (again,) = order(book, "a", SELL, 20, 3)
    assert again["order_id"] > first["order_id"]
    (report,) = cancel(book, "a")
    assert (report["order_id"], report["side"]) == (again["order_id"], SELL)
    assert (levels(book, BUY), levels(book, SELL)) == ([], [])


@pytest.mark.parametrize("name", ["maker", "taker"])
def test_an_identifier_is_used_again_after_a_fill(book, name):
    order(book, "maker", SELL, 10, 5)
    order(book, "taker", BUY, 10, 5)
    (again,) = order(book, name, BUY, 9, 3)
    (report,) = status(book, name)
    assert report["order_id"] == again["order_id"]
    assert (report["cum_qty"], report["leaves_qty"]) == (0, 3)


def test_an_identifier_is_used_again_after_a_modify(book):
    order(book, "a", BUY, 10, 5)
    replace(book, "a", "b", 10, 4)
    order(book, "a", BUY, 10, 1)
    assert fills(order(book, "s", SELL, 10, 9)) == [("b", 10, 4), ("a", 10, 1)]


def test_the_identifier_of_a_partly_filled_order_is_taken(book):
    order(book, "a", SELL, 10, 5)
    order(book, "t", BUY, 10, 2)
    assert reason_of(order(book, "a", SELL, 11, 5)) == RejectReason.DUPLICATE_CL_ORD_ID
    assert levels(book, SELL) == [(10, 3, 1)]


@pytest.mark.parametrize("request_kind", ["cancel", "replace", "status"])
def test_an_unknown_identifier_on_a_virgin_book(book, request_kind):
    if request_kind == "cancel":
        reports = cancel(book, "a")
    elif request_kind == "replace":
        reports = replace(book, "a", "b", 10, 5)
    else:
        reports = status(book, "a")
    assert reason_of(reports) == RejectReason.UNKNOWN_ORDER
    assert (reports[0]["order_id"], reports[0]["status"]) == (0, OrderStatus.REJECTED)
    assert kinds(order(book, "a", BUY, 10, 5)) == ["NEW"]


def test_before_any_symbol_nothing_is_known():
    trio = Trio()
    assert reason_of(cancel(trio, "a")) == RejectReason.UNKNOWN_ORDER
    assert reason_of(replace(trio, "a", "b", 10, 5)) == RejectReason.UNKNOWN_ORDER
    assert reason_of(order(trio, "a", BUY, 10, 5)) == RejectReason.UNKNOWN_SYMBOL


@pytest.mark.parametrize(("price", "qty"), [(10, 3), (10, 5), (10, 6), (11, 5), (20, 5)])
def test_an_order_may_keep_its_identifier_where_identifiers_are_used_again(book, price, qty):
    (ack,) = order(book, "a", BUY, 10, 5)
    order(book, "m", SELL, 20, 1)
    for _ in range(3):
        report = replace(book, "a", "a", price, qty)[0]
        assert (report["kind"], report["order_id"]) == (ReportKind.REPLACED, ack["order_id"])
        assert (report["cl_ord_id"], report["orig_cl_ord_id"]) == (b"a", b"a")
    assert reason_of(order(book, "a", BUY, 1, 1)) == RejectReason.DUPLICATE_CL_ORD_ID
    assert kinds(cancel(book, "a")) == ["CANCELED"]
    assert reason_of(cancel(book, "a")) == RejectReason.UNKNOWN_ORDER


def test_an_order_that_keeps_its_identifier_and_is_filled_frees_it(book):
    order(book, "m", SELL, 20, 5)
    order(book, "a", BUY, 10, 5)
    assert fills(replace(book, "a", "a", 20, 5)) == [("m", 20, 5)]
    assert kinds(order(book, "a", BUY, 10, 5)) == ["NEW"]


def test_anothers_identifier_is_declined_where_an_orders_own_is_not(book):
    order(book, "a", BUY, 10, 5)
    order(book, "b", BUY, 10, 5)
    order(book, "b", BUY, 10, 5, session=2)
    assert reason_of(replace(book, "a", "b", 10, 4)) == RejectReason.DUPLICATE_CL_ORD_ID
    order(book, "c", BUY, 10, 5, session=2)
    assert kinds(replace(book, "a", "c", 10, 4)) == ["REPLACED"], "it is another session's"


def test_within_a_window_an_orders_own_identifier_is_declined(policy):
    pair = Pair(SMALL._replace(finished_orders=4))
    add_symbols(pair, 1, flags=policy)
    order(pair, "a", BUY, 10, 5)
    assert reason_of(replace(pair, "a", "a", 10, 4)) == RejectReason.DUPLICATE_CL_ORD_ID
    assert status(pair, "a")[0]["qty_lots"] == 5


# --- Prices at the ends ---------------------------------------------------------------------------


@pytest.mark.parametrize("price", [INT64_MIN, INT64_MIN + 1, -1, 0, 1, INT64_MAX - 1, INT64_MAX])
@pytest.mark.parametrize("side", [BUY, SELL])
def test_any_int64_price_trades(book, price, side):
    order(book, "a", side, price, INT64_MAX)
    reports = order(book, "b", swap(side), price, INT64_MAX)
    assert fills(reports) == [("a", price, INT64_MAX)]
    notional = (int(reports[1]["notional_hi"]) << 64) | int(reports[1]["notional_lo"])
    assert notional == price * INT64_MAX


def test_prices_at_both_ends_of_the_range_keep_their_order(book):
    prices = [0, INT64_MAX, INT64_MIN, 1, -1, INT64_MAX - 1, INT64_MIN + 1]
    for n, price in enumerate(prices):
        order(book, f"s{n}", SELL, price, 1)
    reports = order(book, "m", BUY, 0, 99, ord_type=OrderType.MARKET)
    assert [fill[1] for fill in fills(reports)] == sorted(prices)
    for n, price in enumerate(prices):
        order(book, f"b{n}", BUY, price, 1)
    reports = order(book, "n", SELL, 0, 99, ord_type=OrderType.MARKET)
    assert [fill[1] for fill in fills(reports)] == sorted(prices, reverse=True)


def test_a_book_from_end_to_end_is_not_crossed(book):
    order(book, "low", BUY, INT64_MIN, 1)
    order(book, "high", SELL, INT64_MAX, 1)
    assert best(book) == (INT64_MIN, INT64_MAX)
    assert fills(order(book, "i", SELL, INT64_MIN + 1, 1, tif=IOC)) == []
    assert fills(order(book, "j", BUY, INT64_MAX - 1, 1, tif=IOC)) == []
    replace(book, "low", "low2", INT64_MAX - 1, 1)
    assert best(book) == (INT64_MAX - 1, INT64_MAX)
    assert fills(replace(book, "low2", "low3", INT64_MAX, 1)) == [("high", INT64_MAX, 1)]


def test_a_modify_of_a_level_as_full_as_can_be_counts_itself_once(book):
    order(book, "a", SELL, 10, INT64_MAX)
    for qty in (INT64_MAX - 1, INT64_MAX, INT64_MAX, 1):
        assert kinds(replace(book, "a", "a", 10, qty)) == ["REPLACED"]
        assert levels(book, SELL) == [(10, qty, 1)]
    order(book, "b", SELL, 10, INT64_MAX - 1)
    assert reason_of(replace(book, "a", "a", 10, 2)) == RejectReason.LEVEL_QTY_OVERFLOW
    assert levels(book, SELL) == [(10, INT64_MAX, 2)]


@pytest.mark.parametrize("victims", [(), (0, 3, 4), (1, 2, 5), (0, 1, 2, 3, 4, 5, 6)])
@pytest.mark.parametrize("side", [BUY, SELL])
def test_neighbouring_prices_on_both_sides_of_a_power_of_two(book, side, victims):
    prices = [-33, -32, -1, 0, 31, 32, 63, 64, 1 << 32, (1 << 32) - 1]
    for n in (4, 7, 0, 9, 2, 8, 5, 1, 6, 3):
        order(book, f"a{n}", side, prices[n], 1)
    for n in victims:
        assert kinds(cancel(book, f"a{n}")) == ["CANCELED"]
    left = [price for n, price in enumerate(prices) if n not in victims]
    expected = sorted(left, reverse=side == BUY)
    assert [price for price, _, _ in levels(book, side)] == expected
    reports = order(book, "m", swap(side), 0, 99, ord_type=OrderType.MARKET)
    assert [fill[1] for fill in fills(reports)] == expected


# --- Capacity exhausted mid-sweep -----------------------------------------------------------------


def test_a_sweep_into_a_full_pool_of_orders_is_declined_whole(policy):
    """What it sweeps would make room; but room is asked for before the first fill."""
    book = small_book(policy, open_orders=3)
    for name, price in (("a", 10), ("b", 11), ("c", 12)):
        order(book, name, SELL, price, 2)
    reports = order(book, "z", BUY, 12, 9)
    assert reason_of(reports) == RejectReason.ORDER_CAPACITY
    assert kinds(reports) == ["REJECTED"]
    assert levels(book, SELL) == [(10, 2, 1), (11, 2, 1), (12, 2, 1)]
    # One that cannot rest needs no room, and makes some.
    reports = order(book, "y", BUY, 12, 3, tif=IOC)
    assert fills(reports) == [("a", 10, 2), ("b", 11, 1)]
    assert fills(order(book, "z", BUY, 12, 9)) == [("b", 11, 1), ("c", 12, 2)]
    assert levels(book, BUY) == [(12, 6, 1)]


def test_a_sweep_into_full_levels_is_declined_whole(policy):
    book = small_book(policy, levels=3)
    for name, price in (("a", 10), ("b", 11), ("c", 12)):
        order(book, name, SELL, price, 2)
    assert reason_of(order(book, "z", BUY, 12, 9)) == RejectReason.LEVEL_CAPACITY
    assert levels(book, SELL) == [(10, 2, 1), (11, 2, 1), (12, 2, 1)]
    reports = order(book, "y", BUY, 12, 3, ord_type=OrderType.MARKET)
    assert fills(reports) == [("a", 10, 2), ("b", 11, 1)]
    assert fills(order(book, "z", BUY, 12, 9)) == [("b", 11, 1), ("c", 12, 2)]
    assert levels(book, BUY) == [(12, 6, 1)]


def test_a_modify_that_sweeps_with_all_pools_full_has_its_own_room(policy):
    book = small_book(policy, open_orders=3, levels=3)
    order(book, "t", BUY, 9, 7)
    for name, price in (("a", 10), ("b", 11)):
        order(book, name, SELL, price, 2)
    reports = replace(book, "t", "u", 15, 7)
    assert fills(reports) == [("a", 10, 2), ("b", 11, 2)]
    assert levels(book, BUY) == [(15, 3, 1)]


def test_a_modify_that_shares_its_level_finds_full_levels_before_it_trades(policy):
    book = small_book(policy, levels=2)
    for name in "tv":
        order(book, name, BUY, 9, 2)
    order(book, "a", SELL, 10, 2)
    assert reason_of(replace(book, "t", "u", 15, 9)) == RejectReason.LEVEL_CAPACITY
    assert levels(book, SELL) == [(10, 2, 1)]
    cancel(book, "v")
    assert fills(replace(book, "t", "u", 15, 9)) == [("a", 10, 2)]


def test_a_sweep_beyond_the_report_buffer_waits_whole(policy):
    """`Trio` offers every command one report too few first, and nothing may happen then."""
    book = small_book(policy)
    for n in range(30):
        order(book, f"a{n}", SELL, 10 + n, 2)
    reports = order(book, "z", BUY, 100, 61)
    assert len(fills(reports)) == 30
    assert levels(book, BUY) == [(100, 1, 1)]


def test_pools_emptied_and_filled_again_are_whole(policy):
    book = small_book(policy, open_orders=8, levels=8)
    for turn in range(4):
        for n in range(8):
            assert kinds(order(book, f"a{n}", SELL, 10 + n * (turn + 1), 2)) == ["NEW"]
        assert reason_of(order(book, "b", SELL, 1, 2)) == RejectReason.ORDER_CAPACITY
        if turn % 2:
            for n in (3, 0, 7, 1, 6, 2, 5, 4):
                assert kinds(cancel(book, f"a{n}")) == ["CANCELED"]
        else:
            assert len(fills(order(book, "z", BUY, 1000, 16, tif=IOC))) == 8
        assert book.book.state[0]["open_orders"] == 0


def test_a_status_request_changes_nothing(book):
    order(book, "a", BUY, 10, 5)
    assert kinds(book.send(CommandKind.STATUS, cl_ord_id=b"a", session=1)) == ["STATUS"]
    assert levels(book, BUY) == [(10, 5, 1)]

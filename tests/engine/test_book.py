"""The book's rules, one named case each; every command also goes through the oracle."""

import numpy as np
import pytest
from oracle.pair import SMALL, Pair, add_symbols, kinds
from oracle.requests import cancel, fills, order, reason_of, replace, status

from openoutcry.engine.book import Capacity, create_book
from openoutcry.engine.enums import (
    CommandKind,
    OrderStatus,
    OrderType,
    RejectReason,
    ReplacePolicy,
    ReportKind,
    Side,
    TimeInForce,
)
from openoutcry.engine.records import EVENT, SHARD_SHIFT

BUY, SELL = Side.BUY, Side.SELL
IOC, FOK, DAY, GTC = TimeInForce.IOC, TimeInForce.FOK, TimeInForce.DAY, TimeInForce.GTC
INT64_MAX = (1 << 63) - 1
INT64_MIN = -(1 << 63)


@pytest.fixture
def pair():
    pair = Pair()
    add_symbols(pair, 2)
    return pair


def windowed(finished, **fields):
    pair = Pair(SMALL._replace(finished_orders=finished, **fields))
    add_symbols(pair, 2)
    return pair


# --- Resting and trading --------------------------------------------------------------------------


def test_a_new_order_is_acknowledged_and_rests(pair):
    (report,) = order(pair, "a", BUY, 10, 5, inbound_seq=2, epoch=1, account=7)
    assert report["kind"] == ReportKind.NEW
    assert report["status"] == OrderStatus.NEW
    assert (report["leaves_qty"], report["cum_qty"]) == (5, 0)
    assert (report["inbound_seq"], report["session"], report["epoch"]) == (2, 1, 1)
    assert report["account"] == 7
    assert report["order_id"] == pair.seq


def test_identifiers_carry_the_shard():
    pair = Pair(shard=5)
    add_symbols(pair)
    order(pair, "a", SELL, 10, 5)
    _, taken, given = order(pair, "b", BUY, 10, 5)
    assert taken["order_id"] == 5 << SHARD_SHIFT | pair.seq
    assert taken["trade_id"] == 5 << SHARD_SHIFT | taken["report_seq"] == given["trade_id"]
    assert taken["contra_order_id"] == given["order_id"]
    assert given["contra_order_id"] == taken["order_id"]


def test_a_trade_is_at_the_resting_price_and_unsolicited_for_its_owner(pair):
    order(pair, "a", SELL, 10, 5, session=2, epoch=3, account=9, inbound_seq=4)
    reports = order(pair, "b", BUY, 12, 3, inbound_seq=8)
    assert kinds(reports) == ["NEW", "TRADE", "TRADE"]
    assert [int(row["last_px"]) for row in reports[1:]] == [10, 10]
    assert [int(row["inbound_seq"]) for row in reports] == [8, 8, 0]
    assert [int(row["session"]) for row in reports] == [1, 1, 2]
    assert (reports[2]["epoch"], reports[2]["account"]) == (3, 9)
    assert [int(row["liquidity"]) for row in reports] == [0, 2, 1]


def test_best_price_first_then_first_come(pair):
    for name, price in (("a", 12), ("b", 11), ("c", 12), ("d", 11), ("e", 13)):
        order(pair, name, SELL, price, 1)
    reports = order(pair, "z", BUY, 12, 9)
    assert fills(reports) == [("b", 11, 1), ("d", 11, 1), ("a", 12, 1), ("c", 12, 1)]
    assert status(pair, "z")[0]["leaves_qty"] == 5


def test_ioc_that_meets_nothing_is_canceled(pair):
    reports = order(pair, "b", BUY, 12, 20, tif=IOC, inbound_seq=5)
    assert kinds(reports) == ["NEW", "CANCELED"]
    assert reports["inbound_seq"].tolist() == [5, 5]


@pytest.mark.parametrize(("qty", "expected"), [(6, 2), (7, 0)])
def test_fok_fills_whole_or_not_at_all(pair, qty, expected):
    order(pair, "a", SELL, 10, 3)
    order(pair, "b", SELL, 11, 3)
    order(pair, "c", SELL, 12, 3)
    reports = order(pair, "f", BUY, 11, qty, tif=FOK)
    assert len(fills(reports)) == expected
    assert kinds(reports)[-1] == ("TRADE" if expected else "CANCELED")


def test_a_market_order_takes_any_price_and_never_rests(pair):
    order(pair, "a", SELL, INT64_MAX, 3)
    reports = order(pair, "m", BUY, 77, 5, ord_type=OrderType.MARKET)
    assert fills(reports) == [("a", INT64_MAX, 3)]
    assert kinds(reports)[-1] == "CANCELED"
    assert reports[0]["price_ticks"] == 0


def test_a_market_fok_that_cannot_fill_does_nothing(pair):
    order(pair, "a", BUY, -5, 3)
    reports = order(pair, "m", SELL, 0, 4, tif=FOK, ord_type=OrderType.MARKET)
    assert kinds(reports) == ["NEW", "CANCELED"]
    assert kinds(order(pair, "n", SELL, 0, 3, tif=FOK, ord_type=OrderType.MARKET))[1] == "TRADE"


def test_symbols_do_not_meet(pair):
    order(pair, "a", SELL, 10, 3, symbol=0)
    assert kinds(order(pair, "b", BUY, 10, 3, symbol=1)) == ["NEW"]


# --- Sums at the ends -----------------------------------------------------------------------------


def test_a_fok_over_totals_beyond_int64_does_not_overflow(pair):
    for price in (10, 11, 12):
        order(pair, f"a{price}", SELL, price, INT64_MAX)
    assert len(fills(order(pair, "f", BUY, 12, INT64_MAX, tif=FOK))) == 1


def test_a_level_total_that_would_overflow_is_declined(pair):
    order(pair, "a", SELL, 10, INT64_MAX - 1)
    assert kinds(order(pair, "b", SELL, 10, 1)) == ["NEW"]
    assert reason_of(order(pair, "c", SELL, 10, 1)) == RejectReason.LEVEL_QTY_OVERFLOW
    assert kinds(order(pair, "d", SELL, 11, 1)) == ["NEW"]
    assert reason_of(replace(pair, "d", "e", 10, 1)) == RejectReason.LEVEL_QTY_OVERFLOW
    assert reason_of(replace(pair, "b", "f", 10, 2)) == RejectReason.LEVEL_QTY_OVERFLOW


# --- What a new order may say ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"symbol": 3}, RejectReason.UNKNOWN_SYMBOL),
        ({"symbol": -1}, RejectReason.UNKNOWN_SYMBOL),
        ({"symbol": 4}, RejectReason.UNKNOWN_SYMBOL),
        ({"symbol": 1 << 30}, RejectReason.UNKNOWN_SYMBOL),
        ({"side": 0}, RejectReason.INVALID_SIDE),
        ({"side": 3}, RejectReason.INVALID_SIDE),
        ({"ord_type": 0}, RejectReason.UNSUPPORTED_ORDER_TYPE),
        ({"ord_type": 3}, RejectReason.UNSUPPORTED_ORDER_TYPE),
        ({"tif": 2}, RejectReason.UNSUPPORTED_TIME_IN_FORCE),
        ({"tif": 5}, RejectReason.UNSUPPORTED_TIME_IN_FORCE),
        ({"qty_lots": 0}, RejectReason.QTY_OUT_OF_RANGE),
        ({"qty_lots": -1}, RejectReason.QTY_OUT_OF_RANGE),
        ({"qty_lots": INT64_MIN}, RejectReason.QTY_OUT_OF_RANGE),
        ({"qty_lots": 101}, RejectReason.QTY_OUT_OF_RANGE),
        ({"price_ticks": 0}, RejectReason.PRICE_OUT_OF_RANGE),
        ({"price_ticks": 1001}, RejectReason.PRICE_OUT_OF_RANGE),
        ({"price_ticks": INT64_MIN}, RejectReason.PRICE_OUT_OF_RANGE),
        ({"reject_reason": RejectReason.UNKNOWN_ACCOUNT}, RejectReason.UNKNOWN_ACCOUNT),
        ({"session": 8}, RejectReason.SESSION_CAPACITY),
        ({"session": (1 << 32) - 1}, RejectReason.SESSION_CAPACITY),
    ],
)
def test_a_wrong_order_is_declined_with_its_reason(fields, reason):
    pair = Pair()
    add_symbols(pair, 2, price_ticks=1, price2_ticks=1000, qty_lots=1, qty2_lots=100)
    reports = order(pair, "a", **{"side": BUY, "price": 10, "qty": 5, **fields})
    assert reason_of(reports) == reason
    assert reports[0]["kind"] == ReportKind.REJECTED
    assert (reports[0]["status"], reports[0]["order_id"]) == (OrderStatus.REJECTED, 0)
    assert kinds(order(pair, "a", BUY, 10, 5)) == ["NEW"], "a declined identifier is not used up"


def test_a_market_orders_price_is_not_looked_at():
    pair = Pair()
    add_symbols(pair, 1, price_ticks=1, price2_ticks=1000)
    reports = order(pair, "a", BUY, -5, 5, ord_type=OrderType.MARKET)
    assert kinds(reports) == ["NEW", "CANCELED"]


def test_a_command_kind_that_does_not_exist_is_declined(pair):
    assert reason_of(pair.send(9, session=1)) == RejectReason.UNSUPPORTED_ORDER_TYPE
    assert reason_of(pair.send(200)) == RejectReason.UNSUPPORTED_ORDER_TYPE


# --- Identifiers ----------------------------------------------------------------------------------


def test_an_open_orders_identifier_is_taken_within_its_session(pair):
    order(pair, "a", BUY, 10, 5)
    assert reason_of(order(pair, "a", SELL, 20, 1)) == RejectReason.DUPLICATE_CL_ORD_ID
    assert kinds(order(pair, "a", BUY, 10, 5, session=2)) == ["NEW"]


@pytest.mark.parametrize("length", [1, 7, 8, 9, 16, 17, 24, 31, 32, 33, 36])
def test_identifiers_of_every_length_are_told_apart(pair, length):
    names = {("x" * length)[:n] + "y" + ("x" * length)[n + 1 :] for n in range(length)}
    names |= {"x" * length}
    for name in sorted(names):
        order(pair, name, BUY, 10, 5)
    for name in sorted(names, reverse=True):
        assert kinds(cancel(pair, name)) == ["CANCELED"]


def test_without_a_window_a_finished_identifier_is_free(pair):
    order(pair, "a", BUY, 10, 5)
    cancel(pair, "a")
    assert reason_of(cancel(pair, "a")) == RejectReason.UNKNOWN_ORDER
    assert kinds(order(pair, "a", BUY, 10, 5)) == ["NEW"]
    replace(pair, "a", "b", 10, 4)
    assert kinds(order(pair, "a", BUY, 10, 5)) == ["NEW"]


def test_within_the_window_a_finished_identifier_is_taken():
    pair = windowed(2)
    order(pair, "a", BUY, 10, 5)
    cancel(pair, "a")
    assert reason_of(order(pair, "a", BUY, 10, 5)) == RejectReason.DUPLICATE_CL_ORD_ID
    (report,) = cancel(pair, "a", "c")
    assert report["reason"] == RejectReason.TOO_LATE_TO_CANCEL
    assert report["status"] == OrderStatus.CANCELED
    assert report["order_id"] != 0
    (report,) = replace(pair, "a", "r", 10, 6)
    assert report["reason"] == RejectReason.TOO_LATE_TO_CANCEL
    assert status(pair, "a")[0]["status"] == OrderStatus.CANCELED


def test_the_oldest_finished_order_is_forgotten_first():
    pair = windowed(2)
    for name in "abc":
        order(pair, name, BUY, 10, 5)
    for name in "bac":
        cancel(pair, name)
    assert reason_of(status(pair, "b")) == RejectReason.UNKNOWN_ORDER
    assert status(pair, "a")[0]["reason"] == RejectReason.NONE
    assert kinds(order(pair, "b", BUY, 10, 5)) == ["NEW"]


def test_a_replaced_identifier_stays_in_the_window():
    pair = windowed(3)
    order(pair, "a", BUY, 10, 5)
    replace(pair, "a", "b", 10, 4)
    (report,) = cancel(pair, "a")
    assert report["reason"] == RejectReason.ORDER_REPLACED
    assert report["status"] == OrderStatus.REPLACED
    assert reason_of(order(pair, "a", BUY, 10, 5)) == RejectReason.DUPLICATE_CL_ORD_ID
    assert reason_of(replace(pair, "b", "a", 10, 3)) == RejectReason.DUPLICATE_CL_ORD_ID
    assert status(pair, "a")[0]["status"] == OrderStatus.REPLACED
    assert kinds(cancel(pair, "b")) == ["CANCELED"]


def test_filled_orders_are_remembered_in_the_order_they_finished():
    pair = windowed(2)
    for name in "ab":
        order(pair, name, SELL, 10, 1)
    order(pair, "c", BUY, 10, 2)
    assert reason_of(status(pair, "a")) == RejectReason.UNKNOWN_ORDER
    assert [int(status(pair, name)[0]["status"]) for name in "bc"] == [OrderStatus.FILLED] * 2
    assert status(pair, "c")[0]["cum_qty"] == 2


def test_ioc_and_fok_remainders_are_remembered():
    pair = windowed(4)
    order(pair, "i", BUY, 10, 2, tif=IOC)
    order(pair, "f", BUY, 10, 2, tif=FOK)
    for name in "if":
        assert reason_of(cancel(pair, name)) == RejectReason.TOO_LATE_TO_CANCEL
        assert reason_of(order(pair, name, BUY, 10, 2)) == RejectReason.DUPLICATE_CL_ORD_ID


# --- Cancel, replace, status ----------------------------------------------------------------------


def test_a_cancel_names_both_identifiers(pair):
    order(pair, "a", BUY, 10, 5)
    (report,) = cancel(pair, "a", "c", inbound_seq=9)
    assert (report["cl_ord_id"], report["orig_cl_ord_id"]) == (b"c", b"a")
    assert (report["status"], report["leaves_qty"]) == (OrderStatus.CANCELED, 0)
    assert report["inbound_seq"] == 9


@pytest.mark.parametrize("request_kind", ["cancel", "replace", "status"])
@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"symbol": 1}, RejectReason.UNKNOWN_ORDER),
        ({"symbol": -1}, RejectReason.UNKNOWN_ORDER),
        ({"session": 2}, RejectReason.UNKNOWN_ORDER),
        ({"side": SELL}, RejectReason.SIDE_MISMATCH),
        ({"side": 9}, RejectReason.SIDE_MISMATCH),
        ({"side": BUY}, RejectReason.NONE),
        ({"reject_reason": RejectReason.VENUE_CLOSED}, RejectReason.VENUE_CLOSED),
        ({"session": 9}, RejectReason.SESSION_CAPACITY),
    ],
)
def test_a_request_must_fit_its_order(pair, request_kind, fields, reason):
    order(pair, "a", BUY, 10, 5)
    if request_kind == "cancel":
        reports = cancel(pair, "a", **fields)
    elif request_kind == "replace":
        reports = replace(pair, "a", "b", 10, 4, **fields)
    else:
        reports = status(pair, "a", **fields)
    assert reason_of(reports) == reason
    if reason == RejectReason.UNKNOWN_ORDER:
        assert (reports[0]["order_id"], reports[0]["status"]) == (0, OrderStatus.REJECTED)
    if reason == RejectReason.SIDE_MISMATCH:
        assert reports[0]["order_id"] != 0
        assert reports[0]["leaves_qty"] == 5


def test_status_tells_the_whole_state(pair):
    order(pair, "a", BUY, 10, 5)
    order(pair, "b", SELL, 9, 2, tif=IOC)
    (report,) = status(pair, "a", inbound_seq=3)
    assert report["kind"] == ReportKind.STATUS
    assert report["status"] == OrderStatus.PARTIALLY_FILLED
    assert (report["cum_qty"], report["leaves_qty"], report["notional_lo"]) == (2, 3, 20)


def test_less_quantity_at_the_same_price_keeps_priority(pair):
    order(pair, "a", BUY, 10, 5)
    order(pair, "b", BUY, 10, 5)
    (report,) = replace(pair, "a", "a2", 10, 3)
    assert report["kind"] == ReportKind.REPLACED
    assert (report["cl_ord_id"], report["orig_cl_ord_id"]) == (b"a2", b"a")
    assert (report["status"], report["leaves_qty"]) == (OrderStatus.NEW, 3)
    assert fills(order(pair, "s", SELL, 10, 4)) == [("a2", 10, 3), ("b", 10, 1)]


def test_the_same_quantity_at_the_same_price_keeps_priority(pair):
    order(pair, "a", BUY, 10, 5)
    order(pair, "b", BUY, 10, 5)
    before = pair.event_count
    replace(pair, "a", "a2", 10, 5)
    assert pair.event_count == before, "nothing that market data could show has changed"
    assert fills(order(pair, "s", SELL, 10, 1)) == [("a2", 10, 1)]


@pytest.mark.parametrize(("price", "qty"), [(10, 6), (11, 5), (9, 5), (11, 1)])
def test_more_quantity_or_another_price_loses_priority(pair, price, qty):
    for name in "ab":
        order(pair, name, BUY, 10, 5)
        order(pair, name + "9", BUY, 9, 5)
        order(pair, name + "11", BUY, 11, 5)
    replace(pair, "a", "z", price, qty)
    reports = order(pair, "s", SELL, 1, 60, tif=IOC)
    at_price = [fill[0] for fill in fills(reports) if fill[1] == price]
    assert at_price[-1] == "z"


def test_always_requeue_loses_priority_even_with_less():
    pair = Pair()
    add_symbols(pair, 1, flags=ReplacePolicy.ALWAYS_REQUEUE)
    order(pair, "a", BUY, 10, 5)
    order(pair, "b", BUY, 10, 5)
    replace(pair, "a", "a2", 10, 3)
    assert fills(order(pair, "s", SELL, 10, 6)) == [("b", 10, 5), ("a2", 10, 1)]


def test_a_replace_that_crosses_trades_after_its_ack(pair):
    order(pair, "a", BUY, 10, 5, inbound_seq=1)
    order(pair, "s", SELL, 12, 3, session=2)
    reports = replace(pair, "a", "b", 12, 5, inbound_seq=2)
    assert kinds(reports) == ["REPLACED", "TRADE", "TRADE"]
    assert [int(row["inbound_seq"]) for row in reports] == [2, 2, 0]
    assert reports[1]["cl_ord_id"] == b"b"
    (report,) = status(pair, "b")
    assert (report["cum_qty"], report["leaves_qty"]) == (3, 2)


def test_a_replace_that_fills_whole_is_finished():
    pair = windowed(4)
    order(pair, "a", BUY, 10, 5)
    order(pair, "s", SELL, 12, 5, session=2)
    replace(pair, "a", "b", 12, 5)
    assert status(pair, "b")[0]["status"] == OrderStatus.FILLED
    assert status(pair, "a")[0]["status"] == OrderStatus.REPLACED


def test_a_replaced_order_keeps_its_id_fills_and_time_in_force(pair):
    (ack,) = order(pair, "a", BUY, 10, 5, tif=DAY)
    order(pair, "s", SELL, 10, 2)
    (report,) = replace(pair, "a", "b", 11, 6, tif=GTC)
    assert report["order_id"] == ack["order_id"]
    assert (report["cum_qty"], report["leaves_qty"], report["qty_lots"]) == (2, 4, 6)
    assert report["status"] == OrderStatus.PARTIALLY_FILLED
    assert report["tif"] == DAY
    assert kinds(pair.send(CommandKind.DAY_END, symbol=-1)) == ["EXPIRED"]


@pytest.mark.parametrize(("qty", "is_ok"), [(1, False), (2, False), (3, True)])
def test_the_new_quantity_must_exceed_what_is_filled(pair, qty, is_ok):
    order(pair, "a", BUY, 10, 5)
    order(pair, "s", SELL, 10, 2)
    (report,) = replace(pair, "a", "b", 10, qty)
    assert report["reason"] == (0 if is_ok else RejectReason.QTY_NOT_ABOVE_CUM_QTY)
    assert status(pair, "b" if is_ok else "a")[0]["leaves_qty"] == (1 if is_ok else 3)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"price": 1001}, RejectReason.PRICE_OUT_OF_RANGE),
        ({"qty": 101}, RejectReason.QTY_OUT_OF_RANGE),
        ({"qty": 0}, RejectReason.QTY_OUT_OF_RANGE),
        ({"new_name": "b"}, RejectReason.DUPLICATE_CL_ORD_ID),
        ({"tif": IOC}, RejectReason.UNSUPPORTED_TIME_IN_FORCE),
        ({"ord_type": OrderType.MARKET}, RejectReason.UNSUPPORTED_ORDER_TYPE),
    ],
)
def test_a_wrong_replace_is_declined_and_changes_nothing(fields, reason):
    pair = Pair()
    add_symbols(pair, 1, price_ticks=1, price2_ticks=1000, qty_lots=1, qty2_lots=100)
    order(pair, "a", BUY, 10, 5)
    order(pair, "b", BUY, 10, 5)
    reports = replace(pair, "a", **{"new_name": "n", "price": 10, "qty": 4, **fields})
    assert reason_of(reports) == reason
    assert reports[0]["kind"] == ReportKind.CANCEL_REJECTED
    assert (reports[0]["leaves_qty"], reports[0]["qty_lots"]) == (5, 5)
    assert fills(order(pair, "s", SELL, 10, 1)) == [("a", 10, 1)]


# --- Inbound marks --------------------------------------------------------------------------------


def test_a_number_at_or_below_the_mark_is_not_executed(pair):
    order(pair, "a", BUY, 10, 5, inbound_seq=5, epoch=1)
    for number in (5, 4, 1):
        (report,) = order(pair, "b", BUY, 10, 5, inbound_seq=number, epoch=1)
        assert report["kind"] == ReportKind.DUPLICATE
        assert (report["inbound_seq"], report["epoch"]) == (number, 1)
    assert kinds(order(pair, "b", BUY, 10, 5, inbound_seq=9, epoch=1)) == ["NEW"]


def test_a_new_epoch_begins_again_and_an_old_one_is_over(pair):
    order(pair, "a", BUY, 10, 5, inbound_seq=5, epoch=1)
    assert kinds(order(pair, "b", BUY, 10, 5, inbound_seq=2, epoch=2)) == ["NEW"]
    assert kinds(order(pair, "c", BUY, 10, 5, inbound_seq=6, epoch=1)) == ["DUPLICATE"]


def test_marks_are_kept_by_session_and_raised_by_declined_commands_too(pair):
    order(pair, "a", BUY, 10, 5, inbound_seq=5)
    assert kinds(order(pair, "b", BUY, 10, 5, inbound_seq=5, session=2)) == ["NEW"]
    assert kinds(order(pair, "c", BUY, 10, 0, inbound_seq=6)) == ["REJECTED"]
    assert kinds(order(pair, "c", BUY, 10, 5, inbound_seq=6)) == ["DUPLICATE"]


def test_without_session_or_number_there_is_no_mark(pair):
    for name in "abc":
        assert kinds(order(pair, name, BUY, 10, 5, inbound_seq=0)) == ["NEW"]
        assert kinds(order(pair, name, BUY, 10, 5, inbound_seq=3, session=0)) == ["NEW"]


# --- Capacity -------------------------------------------------------------------------------------


def test_order_capacity_is_a_reject_until_an_order_leaves():
    pair = Pair(SMALL._replace(open_orders=3))
    add_symbols(pair)
    for name in "abc":
        order(pair, name, SELL, 10, 5)
    assert reason_of(order(pair, "d", SELL, 10, 5)) == RejectReason.ORDER_CAPACITY
    assert reason_of(order(pair, "d", BUY, 10, 5)) == RejectReason.ORDER_CAPACITY
    assert len(fills(order(pair, "d", BUY, 10, 5, tif=IOC))) == 1, "an IOC never rests"
    assert kinds(order(pair, "e", SELL, 10, 5)) == ["NEW"]
    assert kinds(replace(pair, "e", "f", 11, 5)) == ["REPLACED"], "a replace needs no new row"


@pytest.mark.parametrize("finished", [0, 1, 2, 50])
def test_full_pools_with_a_full_window_still_serve(finished):
    pair = windowed(finished, open_orders=3)
    for turn in range(6):
        for name in "abc":
            order(pair, f"{name}{turn}", SELL, 10, 5)
        replace(pair, f"a{turn}", f"x{turn}", 10, 4)
        replace(pair, f"b{turn}", f"y{turn}", 11, 9)
        order(pair, f"i{turn}", BUY, 20, 99, tif=IOC)
        assert int(pair.book.state[0]["open_orders"]) == 0


def test_level_capacity_is_a_reject_until_a_level_is_free():
    pair = Pair(SMALL._replace(levels=2))
    add_symbols(pair, 2)
    order(pair, "a", BUY, 10, 5)
    order(pair, "b", SELL, 20, 5)
    assert reason_of(order(pair, "c", BUY, 11, 5)) == RejectReason.LEVEL_CAPACITY
    assert reason_of(order(pair, "c", BUY, 10, 5, symbol=1)) == RejectReason.LEVEL_CAPACITY
    assert kinds(order(pair, "c", BUY, 10, 5)) == ["NEW"]
    assert reason_of(replace(pair, "a", "d", 9, 5)) == RejectReason.LEVEL_CAPACITY
    assert kinds(replace(pair, "b", "e", 21, 5)) == ["REPLACED"], "its own level comes free"
    cancel(pair, "e")
    assert kinds(order(pair, "f", BUY, 11, 5)) == ["NEW"]


def test_impossible_capacities_are_refused_with_a_sentence():
    with pytest.raises(ValueError, match="capacity of open_orders must be 1 to"):
        create_book(Capacity(open_orders=0))
    with pytest.raises(ValueError, match="shard must be"):
        create_book(SMALL, shard=1 << 15)
    with pytest.raises(ValueError, match="power of two"):
        create_book(SMALL, events=np.zeros(3, EVENT))


# --- Control commands -----------------------------------------------------------------------------


def test_day_end_expires_day_orders_in_priority_order():
    pair = windowed(20)
    order(pair, "s", SELL, 20, 1, tif=DAY)
    order(pair, "other", BUY, 5, 1, tif=DAY, symbol=1)
    order(pair, "gtc", BUY, 10, 1)
    for name, price in (("b", 9), ("c", 10), ("d", 9)):
        order(pair, name, BUY, price, 1, tif=DAY, inbound_seq=pair.seq)
    reports = pair.send(CommandKind.DAY_END, symbol=0)
    assert kinds(reports) == ["EXPIRED"] * 4
    assert [row["cl_ord_id"].decode() for row in reports] == ["c", "b", "d", "s"]
    assert set(reports["inbound_seq"].tolist()) == {0}
    assert set(reports["status"].tolist()) == {OrderStatus.EXPIRED}
    assert reason_of(cancel(pair, "b")) == RejectReason.TOO_LATE_TO_CANCEL
    reports = pair.send(CommandKind.DAY_END, symbol=-1)
    assert [row["cl_ord_id"].decode() for row in reports] == ["other"]
    assert not len(pair.send(CommandKind.DAY_END, symbol=-1))
    assert kinds(cancel(pair, "gtc")) == ["CANCELED"]


def test_filled_canceled_and_replaced_day_orders_are_not_expired_twice(pair):
    for name in "abcd":
        order(pair, name, BUY, 10, 2, tif=DAY)
    cancel(pair, "a")
    order(pair, "s", SELL, 10, 3)
    replace(pair, "d", "e", 11, 3)
    reports = pair.send(CommandKind.DAY_END, symbol=-1)
    assert [row["cl_ord_id"].decode() for row in reports] == ["e", "c"]


@pytest.mark.parametrize("symbol", [3, 4, 99, 1 << 30])
def test_day_end_of_a_symbol_without_orders_does_nothing(pair, symbol):
    order(pair, "a", BUY, 10, 2, tif=DAY)
    assert not len(pair.send(CommandKind.DAY_END, symbol=symbol))


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"symbol": 4}, RejectReason.UNKNOWN_SYMBOL),
        ({"symbol": -1}, RejectReason.UNKNOWN_SYMBOL),
        ({"price_ticks": 11}, RejectReason.PRICE_OUT_OF_RANGE),
        ({"qty_lots": 0}, RejectReason.QTY_OUT_OF_RANGE),
        ({"qty_lots": 9}, RejectReason.QTY_OUT_OF_RANGE),
    ],
)
def test_an_impossible_symbol_is_declined(fields, reason):
    pair = Pair()
    wanted = {"symbol": 0, "price_ticks": 1, "price2_ticks": 10, "qty_lots": 1, "qty2_lots": 8}
    reports = pair.send(CommandKind.ADD_SYMBOL, **{**wanted, **fields})
    assert kinds(reports) == ["REJECTED"]
    assert reason_of(reports) == reason


def test_a_symbols_limits_can_change_while_orders_rest(pair):
    order(pair, "a", BUY, 10, 5)
    add_symbols(pair, 1, price_ticks=20, price2_ticks=30)
    assert reason_of(order(pair, "b", BUY, 10, 5)) == RejectReason.PRICE_OUT_OF_RANGE
    assert fills(order(pair, "s", SELL, 0, 2, ord_type=OrderType.MARKET)) == [("a", 10, 2)]


def test_a_time_command_only_moves_the_clock(pair):
    assert not len(pair.send(CommandKind.TIME))
    assert pair.book.state[0]["seq"] == pair.seq
    assert reason_of(pair.send(CommandKind.TIME, reject_reason=70)) == RejectReason.VENUE_CLOSED

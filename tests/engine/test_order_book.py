"""One call at a time: `from openoutcry.engine import OrderBook`."""

import copy
import doctest
import pickle
import random
from decimal import Decimal

import numpy as np
import pytest

from openoutcry.config.jit import IS_COMPILED
from openoutcry.engine import (
    Capacity,
    Engine,
    Fill,
    Order,
    OrderBook,
    OrderStatus,
    OrderType,
    PriceLevel,
    Rejected,
    ReportKind,
    Side,
    SymbolLimits,
    TimeInForce,
    UnknownOrder,
    cancels,
    day_end,
    new_orders,
    order_book,
    replaces,
)
from openoutcry.engine.enums import RejectReason
from openoutcry.engine.snapshot import check_invariants

INT64_MAX = (1 << 63) - 1


def small(**options):
    return OrderBook(**{"open_orders": 5_000, "levels": 5_000, **options})


@pytest.fixture
def book():
    return small()


def state(order):
    return order.status.name, order.filled, order.leaves


def test_the_docstrings_example_runs():
    assert doctest.testmod(order_book).failed == 0


def test_an_order_rests_and_is_traded_against(book):
    maker = book.limit("sell", 101, 5)
    assert (maker.id, maker.side, maker.type, maker.tif) == (
        1,
        Side.SELL,
        OrderType.LIMIT,
        TimeInForce.GTC,
    )
    assert state(maker) == ("NEW", 0, 5)
    assert (maker.average_price, maker.fills) == (None, [])
    taker = book.limit("buy", 103, 3)
    assert state(taker) == ("FILLED", 3, 0)
    assert state(maker) == ("PARTIALLY_FILLED", 3, 2)
    assert taker.fills == maker.fills == [Fill(price=101, qty=3, maker=1, taker=2)]
    assert taker.average_price == 101.0
    assert (taker.price, taker.qty) == (103, 3)
    assert (maker.order_id, taker.order_id) == (2, 3)
    assert (book.best_bid, book.best_ask) == (None, 101)


def test_a_taker_that_is_not_filled_rests_with_what_is_left(book):
    makers = [book.limit("sell", price, 2) for price in (101, 102, 104)]
    taker = book.limit("buy", 102, 7)
    assert state(taker) == ("PARTIALLY_FILLED", 4, 3)
    assert [state(maker) for maker in makers] == [("FILLED", 2, 0), ("FILLED", 2, 0), ("NEW", 0, 2)]
    assert taker.average_price == 101.5
    assert (book.best_bid, book.best_ask) == (102, 104)
    last = book.limit("sell", 102, 3)
    assert state(taker) == ("FILLED", 7, 0)
    assert taker.fills == [Fill(101, 2, 1, 4), Fill(102, 2, 2, 4), Fill(102, 3, 4, 5)]
    assert last.fills == taker.fills[2:]


@pytest.mark.parametrize("tif", ["ioc", "IOC", TimeInForce.IOC, 3, np.int64(3)])
def test_what_is_left_of_an_ioc_order_is_cancelled(book, tif):
    assert state(book.limit("buy", 100, 1, tif)) == ("CANCELED", 0, 0)
    book.limit("sell", 100, 2)
    taker = book.limit("buy", 100, 5, tif=tif)
    assert state(taker) == ("CANCELED", 2, 0)
    assert taker.tif == TimeInForce.IOC
    assert taker not in book
    assert book.open_orders == 0


def test_a_fok_order_fills_whole_or_not_at_all(book):
    maker = book.limit("sell", 100, 2)
    assert state(book.limit("buy", 100, 3, "fok")) == ("CANCELED", 0, 0)
    assert state(maker) == ("NEW", 0, 2)
    assert state(book.limit("buy", 100, 2, "fok")) == ("FILLED", 2, 0)


def test_a_market_order_takes_any_price(book):
    book.limit("buy", -5, 2)
    book.limit("buy", -9, 2)
    order = book.market("sell", 5)
    assert state(order) == ("CANCELED", 4, 0)
    assert (order.type, order.price, order.average_price) == (OrderType.MARKET, None, -7.0)
    assert state(book.market("sell", 1)) == ("CANCELED", 0, 0)
    assert "market" in repr(order)


@pytest.mark.parametrize("side", ["buy", "Buy", "BUY", Side.BUY, 1, np.int64(1), np.uint8(1)])
def test_sides_are_texts_or_enums(book, side):
    assert book.limit(side, 5, 1).side == Side.BUY
    assert book.depth(side) == [PriceLevel(5, 1, 1)]
    assert book.qty_at(side, 5) == 1
    assert book.market(side, 1).side == Side.BUY


def test_numpy_integers_are_integers(book):
    order = book.limit("buy", np.int32(5), np.uint64(7), id=np.int16(40))
    assert (order.price, order.qty, order.id) == (5, 7, 40)
    assert {type(value) for value in (order.price, order.qty, order.id)} == {int}


def test_cancel(book):
    order, other = book.limit("buy", 5, 3), book.limit("buy", 5, 3)
    assert book.cancel(order) is True
    assert state(order) == ("CANCELED", 0, 0)
    assert book.cancel(order) is False
    assert book.cancel(other.id) is True
    assert state(other) == ("CANCELED", 0, 0)
    with pytest.raises(UnknownOrder, match=r"^no order 2 is open: it never was, or has finished$"):
        book.cancel(other.id)
    assert book.best_bid is None


def test_a_filled_order_is_not_cancelled(book):
    order = book.limit("buy", 5, 3)
    book.market("sell", 3)
    seq = book.engine.seq
    assert (book.cancel(order), book.replace(order, qty=9)) == (False, False)
    assert state(order) == ("FILLED", 3, 0)
    assert book.engine.seq == seq


def test_replace_keeps_the_handle_and_the_place_of_a_smaller_order(book):
    first, second = book.limit("buy", 5, 3), book.limit("buy", 5, 3)
    assert book.replace(first, qty=2) is True
    book.market("sell", 1)
    assert (first.filled, second.filled) == (1, 0)
    assert (first.price, first.qty, first.leaves, first.id) == (5, 2, 1, 1)
    book.replace(first.id, qty=4)
    book.market("sell", 4)
    assert (state(first), state(second)) == (("PARTIALLY_FILLED", 2, 2), ("FILLED", 3, 0))
    assert book.order(1) is first


def test_a_replace_may_trade(book):
    ask = book.limit("sell", 10, 3)
    bid = book.limit("buy", 5, 2)
    assert book.replace(bid, price=10)
    assert state(bid) == ("FILLED", 2, 0)
    assert bid.fills == [Fill(10, 2, ask.id, bid.id)]
    other = book.limit("buy", 5, 2)
    assert book.replace(other, 11, 4)
    assert (state(other), other.price, other.qty) == (("PARTIALLY_FILLED", 1, 3), 11, 4)
    assert (state(ask), book.best_bid, book.open_orders) == (("FILLED", 3, 0), 11, 1)


def test_a_declined_replace_changes_nothing(book):
    order = book.limit("buy", 5, 4)
    book.market("sell", 3)
    with pytest.raises(Rejected, match="order 1 must be above the 3 that are filled, not 3") as why:
        book.replace(order, price=4, qty=3)
    assert why.value.reason == RejectReason.QTY_NOT_ABOVE_CUM_QTY
    assert (order.price, order.qty, order.leaves) == (5, 4, 1)
    assert book.depth("buy") == [PriceLevel(5, 1, 1)]


def test_identifiers_are_the_callers_or_the_next_number(book):
    assert [book.limit("buy", 1, 1, id=given).id for given in (7, None, 3, None, 0)] == [
        7,
        8,
        3,
        9,
        0,
    ]
    with pytest.raises(Rejected, match=r"^order 7 is open already: give another id, or none"):
        book.limit("buy", 1, 1, id=7)
    book.cancel(7)
    assert book.limit("buy", 1, 1, id=7).is_open
    assert book.limit("buy", 1, 1, id=INT64_MAX - 1).id == INT64_MAX - 1
    assert book.limit("buy", 1, 1).id == INT64_MAX
    assert book.reserve_ids(0).tolist() == []


def test_no_identifier_is_left_after_the_largest(book):
    book.limit("buy", 1, 1, id=INT64_MAX)
    for _ in range(2):
        with pytest.raises(ValueError, match=f"^no id is left to choose after {INT64_MAX}: give"):
            book.limit("buy", 1, 1)
    with pytest.raises(ValueError, match=f"^1 ids are not left after {INT64_MAX}: number"):
        book.reserve_ids(1)
    assert book.reserve_ids(0).tolist() == []
    assert book.place("buy", 1, 1, id=5) == 5


def test_reserved_numbers_are_integers_that_calls_skip(book):
    with pytest.raises(ValueError, match="not -2"):
        book.reserve_ids(-2)
    assert book.reserve_ids(np.int64(3)).tolist() == [1, 2, 3]
    assert book.limit("buy", 1, 1).id == 4


def test_calls_skip_the_numbers_that_batches_took(book):
    batch = new_orders(3, id0=[2, 9, 4], side=Side.BUY, price_ticks=1, qty_lots=1)
    book.engine.process(batch)
    assert book.limit("buy", 1, 1).id == 10
    book.engine.process(replaces(1, orig0=2, id0=20, price_ticks=1, qty_lots=2))
    assert book.place("buy", 1, 1) == 21
    # A request's number names no order, and a text of more than eight characters is no number.
    book.engine.process(cancels(1, orig0=4, id0=90))
    name = {"cl_ord_id": b"ORDER-0001", "side": Side.BUY, "price_ticks": 1, "qty_lots": 1}
    book.engine.process(new_orders(1, **name))
    assert book.limit("buy", 1, 1).id == 22


def test_orders_are_found_by_number(book):
    order = book.limit("buy", 1, 1)
    assert book.order(1) is order
    assert 1 in book
    assert order in book
    assert 2 not in book
    assert "1" not in book
    assert order not in small()
    with pytest.raises(UnknownOrder, match="no order 2 is open"):
        book.order(2)
    with pytest.raises(TypeError, match=r"^order must be an Order, or its id, not '1'$"):
        book.order("1")


def test_depth(book):
    for price, qty in ((5, 1), (7, 2), (5, 3), (6, 4)):
        book.limit("buy", price, qty)
    assert book.depth("buy") == [(7, 2, 1), (6, 4, 1), (5, 4, 2)]
    assert book.depth("buy", 1) == [PriceLevel(price=7, qty=2, orders=1)]
    assert book.depth("sell", 5) == book.depth("buy", 0) == []
    arrays = book.depth_arrays("buy", 2)
    assert [part.tolist() for part in arrays] == [[7, 6], [2, 4], [1, 1]]
    assert {part.dtype for part in arrays} == {np.dtype(np.int64)}
    book.market("sell", 2)
    assert arrays.price_ticks.tolist() == [7, 6]
    assert (book.qty_at("buy", 5), book.qty_at("sell", 5)) == (4, 0)
    assert repr(book) == "<OrderBook: 3 open, bid 6, ask None>"


def test_more_levels_than_usual():
    book = small()
    for price in range(200):
        book.limit("sell", price, 1)
    assert book.depth("sell", 1 << 40) == [(price, 1, 1) for price in range(200)]
    assert len(book.depth("sell", 150)) == 150


def test_the_extreme_prices_are_prices(book):
    low, high = -(1 << 63), INT64_MAX
    assert book.best_bid is book.best_ask is None
    book.limit("buy", low, 1)
    book.limit("sell", high, 1)
    assert [book.best_bid, book.best_ask] == [low, high]


def test_a_sweep_of_thousands_of_orders_makes_its_own_room():
    count = 5_000
    book = small(open_orders=count + 1, levels=count + 1)
    makers = [book.limit("sell", price, 2) for price in range(count)]
    taker = book.limit("buy", count, 2 * count - 1)
    assert state(taker) == ("FILLED", 2 * count - 1, 0)
    assert [fill.maker for fill in taker.fills] == [maker.id for maker in makers]
    assert {maker.status for maker in makers[:-1]} == {OrderStatus.FILLED}
    assert state(makers[-1]) == ("PARTIALLY_FILLED", 1, 1)
    reports = book.reports
    assert len(reports) == 1 + 2 * count
    assert reports["report_seq"].tolist() == list(range(count + 1, 3 * count + 2))
    assert book.engine.report_seq == 3 * count + 1
    again = book.limit("sell", 1, 1)
    assert book.cancel(again)
    check_invariants(book.engine.book)


def test_a_sweep_by_a_replace_makes_room_too():
    book = small()
    for _ in range(600):
        book.limit("sell", 9, 1)
    order = book.limit("buy", 1, 700)
    assert book.replace(order, price=9)
    assert state(order) == ("PARTIALLY_FILLED", 600, 100)
    assert len(order.fills) == 600


def test_reports_of_the_last_call(book):
    book.limit("sell", 5, 2)
    book.limit("buy", 5, 3)
    kinds = [ReportKind(kind) for kind in book.reports["kind"]]
    assert kinds == [ReportKind.NEW, ReportKind.TRADE, ReportKind.TRADE]


def test_place_returns_the_number_alone(book):
    assert [book.place("sell", price, 2) for price in (5, 6)] == [1, 2]
    assert book.last_fills == []
    bid = book.limit("buy", 4, 3)
    assert book.place("buy", 6, 3, "ioc", id=9) == 9
    assert book.last_fills == [Fill(5, 2, 1, 9), Fill(6, 1, 2, 9)]
    assert book.place("Sell", np.int64(4), 2, id=8) == 8
    assert (state(bid), bid.fills) == (("PARTIALLY_FILLED", 2, 1), [Fill(4, 2, 3, 8)])
    assert book.place("buy", 1, 1) == 10
    with pytest.raises(Rejected, match="order 10 is open already"):
        book.place("buy", 1, 1, id=10)
    with pytest.raises(ValueError, match="too large"):
        book.place("buy", 1 << 63, 1)
    assert (book.cancel(10), book.open_orders) == (True, 2)


def test_a_number_is_replaced(book):
    number = book.place("buy", 5, 5)
    assert book.replace(number, 6, 4)
    assert book.depth("buy") == [(6, 4, 1)]
    ask = book.limit("sell", 9, 1)
    assert book.replace(number, 9, 4)
    assert (state(ask), book.last_fills) == (("FILLED", 1, 0), [Fill(9, 1, ask.id, number)])
    with pytest.raises(Rejected, match="new qty of order 1 must be above"):
        book.replace(number, 9, 1)
    assert book.replace(number, price=8)
    assert (book.order(number).price, book.order(number).qty) == (8, 4)
    with pytest.raises(UnknownOrder):
        book.replace(77, 1, 1)


def test_a_sweep_by_number_makes_room_too():
    book = small()
    for _ in range(700):
        book.place("sell", 5, 1)
    assert book.place("buy", 5, 800) == 701
    assert len(book.last_fills) == 700
    assert book.depth("buy") == [(5, 100, 1)]


# --- Mistakes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "kind", "sentence"),
    [
        (lambda b: b.limit("by", 1, 1), ValueError, "side must be 'buy' or 'sell', not 'by'"),
        (lambda b: b.limit([], 1, 1), ValueError, "side must be 'buy' or 'sell', not []"),
        (lambda b: b.limit(3, 1, 1), ValueError, "side must be 'buy' or 'sell', not 3"),
        (lambda b: b.market(None, 1), ValueError, "side must be 'buy' or 'sell', not None"),
        (lambda b: b.depth("ask"), ValueError, "side must be 'buy' or 'sell', not 'ask'"),
        (lambda b: b.cancel_all(""), ValueError, "side must be 'buy' or 'sell', not ''"),
        (
            lambda b: b.limit("buy", 1, 1, "gtd"),
            ValueError,
            "tif must be 'gtc', 'day', 'ioc' or 'fok', not 'gtd'",
        ),
        (
            lambda b: b.limit("buy", 1, 1, "market"),
            ValueError,
            "tif must be 'gtc', 'day', 'ioc' or 'fok', not 'market'",
        ),
        (
            lambda b: b.limit("buy", 1.5, 1),
            TypeError,
            "price must be an int (ticks) in a book without a tick_size, not 1.5",
        ),
        (
            lambda b: b.limit("buy", 1, "2"),
            TypeError,
            "qty must be an int (lots) in a book without a lot_size, not '2'",
        ),
        (
            lambda b: b.limit("buy", True, 1),
            TypeError,
            "price must be an int (ticks) in a book without a tick_size, not True",
        ),
        (
            lambda b: b.limit("buy", 1, 0),
            Rejected,
            f"qty must be 1 to {INT64_MAX}, not 0",
        ),
        (
            lambda b: b.limit("buy", 1 << 63, 1),
            ValueError,
            f"price {1 << 63} is too large: ticks, lots and ids are 64-bit integers",
        ),
        (
            lambda b: b.limit("buy", 1, 1, id=-1),
            ValueError,
            f"id must be 0 to {INT64_MAX}, not -1",
        ),
        (lambda b: b.limit("buy", 1, 1, id="a"), TypeError, "id must be an int, not 'a'"),
        (lambda b: b.cancel("a"), TypeError, "order must be an Order, or its id, not 'a'"),
        (
            lambda b: b.limit("buy", 1, 1 << 63),
            ValueError,
            f"qty {1 << 63} is too large: ticks, lots and ids are 64-bit integers",
        ),
        (
            lambda b: b.limit("buy", 1, 1, id=1 << 63),
            ValueError,
            f"id {1 << 63} is too large: ticks, lots and ids are 64-bit integers",
        ),
        (
            lambda b: b.limit("buy", 101.0, 5),
            TypeError,
            "price must be an int (ticks) in a book without a tick_size, not 101.0",
        ),
        (
            lambda b: b.reserve_ids(-2),
            ValueError,
            "count must be 0 to 100000000, not -2: reserve by batch",
        ),
        (
            lambda b: b.reserve_ids(1 << 40),
            ValueError,
            f"count must be 0 to 100000000, not {1 << 40}: reserve by batch",
        ),
        (lambda b: b.reserve_ids(1.5), TypeError, "count must be an int, not 1.5"),
        (lambda b: b.reserve_ids("3"), TypeError, "count must be an int, not '3'"),
        (
            lambda b: b.cancel(1 << 64),
            ValueError,
            f"order {1 << 64} is too large: ticks, lots and ids are 64-bit integers",
        ),
        (
            lambda b: b.replace(1 << 64, 1, 1),
            ValueError,
            f"order {1 << 64} is too large: ticks, lots and ids are 64-bit integers",
        ),
        (
            lambda b: b.replace(1, 1, 1 << 64),
            ValueError,
            f"qty {1 << 64} is too large: ticks, lots and ids are 64-bit integers",
        ),
        (lambda b: b.cancel(9), UnknownOrder, "no order 9 is open: it never was, or has finished"),
        (lambda b: b.replace(9, 1), UnknownOrder, "no order 9 is open: it never was, or has "
         "finished"),
        (lambda b: b.depth("buy", -1), ValueError, "levels must be 0 or more, not -1"),
        (lambda b: Order(), TypeError, "an Order is made by OrderBook.limit or OrderBook.market"),
        (lambda b: OrderBook(tick_size=0), ValueError, "tick_size must be above 0, not 0"),
        (lambda b: OrderBook(lot_size="x"), TypeError, "lot_size must be a number, not 'x'"),
        (
            lambda b: OrderBook(tick_size="inf"),
            ValueError,
            "tick_size must be a finite number, not inf",
        ),
        (lambda b: OrderBook(tick_size=True), TypeError, "tick_size must be a number, not True"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_in_a_sentence(book, call, kind, sentence):
    with pytest.raises(kind) as raised:
        call(book)
    assert str(raised.value) == sentence
    assert book.open_orders == 0


def test_an_order_of_another_book_is_refused(book):
    order = small().limit("buy", 1, 1)
    for call in (book.cancel, book.replace):
        with pytest.raises(ValueError, match=r"<Order 1: buy 1 @ 1.*> is of another book"):
            call(order)


def test_what_the_engine_declines_has_a_reason():
    book = OrderBook(open_orders=2, levels=1, limits=SymbolLimits(price_min=1, qty_max=5))
    for call, reason, sentence in (
        (lambda: book.limit("buy", 0, 1), RejectReason.PRICE_OUT_OF_RANGE, "price must be 1 to"),
        (lambda: book.limit("buy", 1, 6), RejectReason.QTY_OUT_OF_RANGE, "qty must be 1 to 5"),
        (lambda: book.limit("buy", 1, 1) and book.limit("buy", 2, 1),
         RejectReason.LEVEL_CAPACITY, "make the book with larger levels"),
        (lambda: book.limit("buy", 1, 1) and book.limit("buy", 1, 1),
         RejectReason.ORDER_CAPACITY, "make the book with a larger open_orders"),
    ):  # fmt: skip
        with pytest.raises(Rejected, match=sentence) as raised:
            call()
        assert raised.value.reason == reason
    assert book.open_orders == 2
    heavy = small()
    heavy.limit("buy", 1, INT64_MAX)
    with pytest.raises(Rejected, match="price 1 would exceed 64 bits"):
        heavy.limit("buy", 1, 1)


def test_a_book_is_not_copied(book):
    for call in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="cannot be copied or pickled"):
            call(book)


# --- Decimal prices -------------------------------------------------------------------------------


def test_decimal_prices_are_exact():
    book = small(tick_size="0.05", lot_size=Decimal("0.001"))
    ask = book.limit("sell", "100.10", 2)
    assert (ask.price, ask.price_ticks, ask.qty_lots) == (Decimal("100.10"), 2002, 2000)
    bid = book.limit("buy", 100.15, 0.5)
    assert (bid.filled, bid.leaves, bid.average_price) == (
        Decimal("0.500"),
        0,
        Decimal("100.10"),
    )
    assert ask.fills == [Fill(Decimal("100.10"), Decimal("0.500"), 1, 2)]
    assert book.best_ask == Decimal("100.10")
    assert book.best_bid is None
    assert book.depth("sell") == [PriceLevel(Decimal("100.10"), Decimal("1.5"), 1)]
    assert book.depth_arrays("sell").qty_lots.tolist() == [1500]
    assert book.qty_at("sell", np.float64(100.1)) == Decimal("1.5")
    assert book.replace(ask, price=np.int64(100))
    assert (ask.price, book.best_ask) == (100, 100)
    assert repr(ask) == "<Order 1: sell 2.000 @ 100.00, PARTIALLY_FILLED, 0.500 filled, 1.500 open>"


def test_only_one_of_both_may_be_decimal():
    book = small(tick_size=Decimal("0.5"))
    assert book.limit("buy", 1.5, 3).price == Decimal("1.5")
    with pytest.raises(TypeError, match=r"^qty must be an int \(lots\)"):
        book.limit("buy", 1.5, 3.0)


@pytest.mark.parametrize("price", ["0.015", 0.1 + 0.2, "1e-30", Decimal(1) / 3])
def test_what_does_not_fit_the_tick_is_refused(price):
    book = small(tick_size=0.01)
    with pytest.raises(ValueError, match=r"^price .* is no multiple of tick_size 0\.01$"):
        book.limit("buy", price, 1)
    with pytest.raises(ValueError, match="too large"):
        book.limit("buy", "1e18", 1)
    assert book.limit("buy", "-0.30", 1).price_ticks == -30


def test_thirds_have_no_decimal_tick_but_multiples_of_one():
    book = small(tick_size=3)
    assert book.limit("buy", 9, 1).price_ticks == 3
    with pytest.raises(ValueError, match="price 10 is no multiple of tick_size 3"):
        book.limit("buy", 10, 1)


def test_a_mean_price_is_the_nearest():
    book = small()
    book.limit("sell", 1, 1)
    book.limit("sell", 2, 2)
    assert book.market("buy", 3).average_price == 5 / 3
    ticks = small(tick_size="0.1")
    ticks.limit("sell", "0.1", 1)
    ticks.limit("sell", "0.2", 2)
    assert ticks.market("buy", 3).average_price == Decimal("0.1666666666666666666666666667")


# --- Together with batches ------------------------------------------------------------------------


def test_batches_and_calls_share_one_book(book):
    ids = book.reserve_ids(2)
    assert ids.tolist() == [1, 2]
    book.engine.process(new_orders(2, id0=ids, side=Side.SELL, price_ticks=[7, 8], qty_lots=5))
    taker = book.limit("buy", 7, 2)
    assert (taker.id, taker.fills) == (3, [Fill(7, 2, 1, 3)])
    found = book.order(1)
    assert (found.id, found.price, found.filled, found.leaves, found.notional) == (1, 7, 2, 3, 14)
    assert (found.side, found.tif) == (Side.SELL, TimeInForce.GTC)
    assert 2 in book
    assert book.cancel(2)
    assert (book.engine.report_seq, book.engine.seq) == (6, 5)
    reports = book.engine.process(new_orders(1, id0=9, side=Side.BUY, price_ticks=7, qty_lots=1))
    assert reports["report_seq"].tolist() == [7, 8, 9]
    assert (found.filled, found.fills) == (3, [Fill(7, 1, 1, 9)])


def test_batches_bring_orders_up_to_date(book):
    orders = [book.limit("buy", price, 5, tif) for price, tif in ((9, "gtc"), (8, "day"), (7, 1))]
    engine = book.engine
    engine.process(new_orders(1, id0=50, side=Side.SELL, price_ticks=9, qty_lots=2))
    assert state(orders[0]) == ("PARTIALLY_FILLED", 2, 3)
    assert orders[0].fills == [Fill(9, 2, 1, 50)]
    engine.process(cancels(1, orig0=3))
    assert state(orders[2]) == ("CANCELED", 0, 0)
    engine.process(replaces(1, orig0=1, id0=60, price_ticks=6, qty_lots=4))
    assert (orders[0].id, orders[0].price, orders[0].qty, orders[0].leaves) == (60, 6, 4, 2)
    assert book.order(60) is orders[0]
    assert 1 not in book
    engine.process(new_orders(1, id0=51, side=Side.SELL, price_ticks=20, qty_lots=2))
    engine.process(replaces(1, orig0=60, id0=60, price_ticks=20, qty_lots=4))
    assert state(orders[0]) == ("FILLED", 4, 0)
    assert orders[0].fills[-1] == Fill(20, 2, 51, 60)
    assert book.end_day() == 1
    assert state(orders[1]) == ("EXPIRED", 0, 0)
    assert book.open_orders == 0


def test_all_orders_are_canceled_at_once(book):
    bids = [book.limit("buy", price, 5) for price in (9, 8, 9)]
    asks = [book.limit("sell", price, 5, "day") for price in (12, 11)]
    number = book.place("sell", 13, 1, id=0)
    book.limit("sell", 9, 7)
    assert book.cancel_all("sell") == 3
    assert [state(order) for order in asks] == [("CANCELED", 0, 0)] * 2
    assert [state(order) for order in bids] == [
        ("FILLED", 5, 0),
        ("NEW", 0, 5),
        ("PARTIALLY_FILLED", 2, 3),
    ]
    assert number not in book
    book.engine.process(new_orders(1, id0=50, side=Side.SELL, price_ticks=20, qty_lots=2))
    assert (book.cancel_all(), book.cancel_all()) == (3, 0)
    assert [order.status.name for order in bids] == ["FILLED", "CANCELED", "CANCELED"]
    assert book.open_orders == 0
    assert book.limit("buy", 9, 5).is_open


def test_a_number_used_again_by_a_batch_is_another_order(book):
    order = book.limit("buy", 5, 5)
    both = np.concatenate([cancels(1, orig0=1).view("u1"), new_orders(
        1, id0=1, side=Side.BUY, price_ticks=5, qty_lots=3).view("u1")])  # fmt: skip
    book.engine.process(both.view(new_orders(0).dtype))
    assert state(order) == ("CANCELED", 0, 0)
    book.market("sell", 1)
    assert order.filled == 0
    assert book.order(1).leaves == 2


def test_the_hash_is_that_of_the_same_commands_in_a_batch():
    rng = random.Random(5)
    book = small()
    batch = new_orders(0)
    commands: list[np.ndarray] = []
    open_orders: list[Order] = []
    number = 0
    for _ in range(3_000 if IS_COMPILED else 400):
        draw = rng.random()
        if draw < 0.6 or not open_orders:
            number += 1
            side, qty = rng.choice(list(Side)), rng.randint(1, 9)
            price = rng.randint(80, 101) + 18 * (side == Side.SELL)
            tif = rng.choice([TimeInForce.GTC, TimeInForce.DAY, TimeInForce.IOC, TimeInForce.FOK])
            order = book.limit(side, price, qty, tif)
            fields = {"id0": number, "side": side, "price_ticks": price, "qty_lots": qty}
            commands.append(new_orders(1, tif=tif, **fields))
            open_orders.append(order)
        elif draw < 0.65:
            number += 1
            side, qty = rng.choice(list(Side)), rng.randint(1, 20)
            book.market(side, qty)
            commands.append(new_orders(1, id0=number, side=side, qty_lots=qty,
                                       ord_type=OrderType.MARKET, tif=TimeInForce.IOC))  # fmt: skip
        elif draw < 0.8:
            order = rng.choice(open_orders)
            if book.cancel(order):
                commands.append(cancels(1, orig0=order.id))
        else:
            order = rng.choice(open_orders)
            price, qty = order.price + rng.randint(-1, 1), order.filled + rng.randint(1, 9)
            if book.replace(order, price, qty):
                commands.append(replaces(1, orig0=order.id, id0=order.id, price_ticks=price,
                                         qty_lots=qty))  # fmt: skip
        open_orders = [order for order in open_orders if order.is_open]
    batch = np.frombuffer(b"".join(each.tobytes() for each in commands), batch.dtype).copy()
    limits = Capacity(open_orders=5_000, finished_orders=0, levels=5_000)
    engine = Engine(capacity=limits)
    engine.process(batch)
    assert book.state_hash() == engine.state_hash()
    assert book.engine.report_seq == engine.report_seq
    check_invariants(book.engine.book)
    assert {order.id for order in open_orders} == set(book._open)
    for order in open_orders:
        known = engine.order_status(order.id)
        assert known is not None
        assert known[:8] == (
            order.order_id, order.status, order.side, order.price_ticks,
            order.qty_lots, order.filled_lots, order.leaves_lots, order.notional,
        )  # fmt: skip
    engine.process(day_end())
    assert book.end_day() > 0
    assert book.state_hash() == engine.state_hash()


def test_a_batch_may_not_rename_an_order_to_a_text():
    book = OrderBook(open_orders=10, levels=10)
    order = book.limit("buy", 1, 1)
    renamed = replaces(1, orig0=order.id, cl_ord_id=b"abcdefgh1", price_ticks=1, qty_lots=1)
    with pytest.raises(ValueError, match=r"by number \(id0\), not b'abcdefgh1'"):
        book.engine.process(renamed)
    book.engine.process(replaces(1, orig0=order.id, id0=77, price_ticks=1, qty_lots=1))
    assert order.id == 77
    assert book.cancel(order)

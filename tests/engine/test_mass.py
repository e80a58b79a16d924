"""Mass cancel and mass status, and requests that may have been sent before."""

import numpy as np
import pytest
from oracle.pair import SMALL, Pair, add_symbols, kinds
from oracle.requests import cancel, order, reason_of, replace, status
from oracle.trio import Trio

from openoutcry.config.jit import IS_COMPILED
from openoutcry.engine.book import Capacity
from openoutcry.engine.enums import (
    CommandFlag,
    CommandKind,
    EventKind,
    OrderStatus,
    OrderType,
    RejectReason,
    ReportKind,
    TimeInForce,
)
from openoutcry.engine.records import COMMAND

BUY, SELL = 1, 2
DAY, GTC = TimeInForce.DAY, TimeInForce.GTC


def mass_cancel(pair, session=1, **fields):
    return pair.send(CommandKind.MASS_CANCEL, **{"session": session, "symbol": -1, **fields})


def mass_status(pair, session=1, **fields):
    return pair.send(CommandKind.MASS_STATUS, **{"session": session, "symbol": -1, **fields})


def names(reports):
    """Name the orders that the reports before the last are about."""
    return [name.decode() for name in reports["cl_ord_id"][:-1]]


def enter_orders(pair):
    """Enter eight orders of session 1 and one of session 2, on two symbols."""
    add_symbols(pair, 2)
    order(pair, "a", BUY, 10, 5)
    order(pair, "b", BUY, 11, 5, tif=DAY)
    order(pair, "c", SELL, 20, 5, account=7)
    order(pair, "d", SELL, 19, 5, account=7, tif=DAY)
    order(pair, "e", BUY, 10, 5, symbol=1)
    order(pair, "z", BUY, 10, 5, session=2)
    order(pair, "f", SELL, 15, 5, symbol=1, account=7, tif=DAY)
    order(pair, "g", SELL, 14, 5, symbol=1, account=8)
    order(pair, "h", BUY, 11, 5)
    return pair


@pytest.fixture
def book():
    return enter_orders(Trio())


@pytest.fixture
def window():
    pair = Pair(SMALL._replace(finished_orders=10))
    add_symbols(pair)
    return pair


FILTERS = [
    ({}, "abcdefgh"),
    ({"symbol": 0}, "abcdh"),
    ({"symbol": 1}, "efg"),
    ({"side": BUY}, "abeh"),
    ({"side": SELL}, "cdfg"),
    ({"account": 7}, "cdf"),
    ({"account": 9}, ""),
    ({"symbol": 1, "side": SELL}, "fg"),
    ({"symbol": 1, "side": SELL, "account": 7}, "f"),
    ({"session": 2}, "z"),
    ({"session": 2, "side": SELL}, ""),
    ({"session": 3}, ""),
    # The symbols are the first two commands.
    ({"orig0": 3 + 2}, "c"),
    ({"orig0": 3 + 2, "side": SELL, "account": 7}, "c"),
    ({"orig0": 3 + 2, "side": BUY}, ""),
    ({"orig0": 3 + 5}, ""),
    ({"orig0": 3 + 5, "session": 2}, "z"),
    ({"orig0": (1 << 64) - 1}, ""),
    ({"session": 0}, ""),
]


@pytest.mark.parametrize(("fields", "wanted"), FILTERS)
def test_a_mass_cancel_takes_what_the_filters_let_through_oldest_first(book, fields, wanted):
    before = int(book.book.state[0]["open_orders"])
    reports = mass_cancel(book, **fields)
    assert names(reports) == list(wanted)
    assert kinds(reports) == ["CANCELED"] * len(wanted) + ["MASS_CANCELED"]
    assert set(reports["reason"][:-1].tolist()) <= {RejectReason.MASS_CANCEL}
    assert reports[-1]["qty_lots"] == len(wanted)
    assert book.book.state[0]["open_orders"] == before - len(wanted)
    assert names(mass_cancel(book, **fields)) == []


@pytest.mark.parametrize(("fields", "wanted"), FILTERS)
def test_a_mass_status_tells_of_the_same_orders_and_changes_nothing(book, fields, wanted):
    before = int(book.book.state[0]["event_seq"])
    for _ in range(2):
        reports = mass_status(book, cl_ord_id=b"ask", **fields)
        assert names(reports) == list(wanted)
        assert kinds(reports) == ["MASS_STATUS"] * len(wanted) + ["MASS_STATUS_END"]
        assert reports[-1]["qty_lots"] == len(wanted)
        assert reports[-1]["cl_ord_id"] == b"ask"
        assert set(reports["orig_cl_ord_id"][:-1].tolist()) <= {b"ask"}
        assert not reports["reason"].any()
    assert book.book.state[0]["event_seq"] == before


def test_orders_good_till_cancel_may_be_kept(book):
    reports = mass_cancel(book, flags=CommandFlag.KEEP_GTC)
    assert names(reports) == ["b", "d", "f"]
    assert names(mass_cancel(book, side=SELL, flags=CommandFlag.KEEP_GTC)) == []
    # A status is not about canceling.
    assert names(mass_status(book, flags=CommandFlag.KEEP_GTC)) == ["a", "c", "e", "g", "h"]


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (0, RejectReason.MASS_CANCEL),
        (CommandFlag.CONNECTION_LOST, RejectReason.CONNECTION_LOST),
        (CommandFlag.LOGGED_OUT, RejectReason.LOGGED_OUT),
        (CommandFlag.KEEP_GTC | CommandFlag.LOGGED_OUT, RejectReason.LOGGED_OUT),
        (CommandFlag.CONNECTION_LOST | CommandFlag.LOGGED_OUT, RejectReason.CONNECTION_LOST),
    ],
)
def test_each_report_says_why(book, flags, reason):
    reports = mass_cancel(book, flags=flags)
    assert set(reports["reason"][:-1].tolist()) == {reason}
    assert reports[-1]["reason"] == RejectReason.NONE


def test_the_reports_of_a_mass_cancel_in_full():
    book = enter_orders(Pair())
    order(book, "t", SELL, 11, 2, session=2)
    reports = mass_cancel(book, cl_ord_id=b"m1", inbound_seq=9, epoch=3, side=BUY, symbol=0)
    assert reports["cl_ord_id"].tolist() == [b"a", b"b", b"h", b"m1"]
    assert reports["orig_cl_ord_id"].tolist() == [b""] * 4
    assert reports["inbound_seq"].tolist() == [9] * 4
    assert reports["epoch"].tolist() == [3] * 4
    assert reports["session"].tolist() == [1] * 4
    assert reports["qty_lots"].tolist() == [5, 5, 5, 3]
    assert reports["cum_qty"].tolist() == [0, 2, 0, 0]
    assert reports["leaves_qty"].tolist() == [0] * 4
    assert reports["status"].tolist() == [OrderStatus.CANCELED] * 3 + [0]
    last = reports[-1]
    assert (last["order_id"], last["symbol"], last["side"], last["reason"]) == (0, 0, BUY, 0)


def test_each_canceled_order_leaves_the_market_data(book):
    mass_cancel(book, symbol=1)
    events = book.oracle.events[-3:]
    assert [int(event["kind"][0]) for event in events] == [EventKind.DELETE] * 3
    assert [int(event["price_ticks"][0]) for event in events] == [10, 15, 14]


@pytest.mark.parametrize("ask", [mass_cancel, mass_status])
@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"symbol": 2}, RejectReason.UNKNOWN_SYMBOL),
        ({"symbol": 4}, RejectReason.UNKNOWN_SYMBOL),
        ({"symbol": -2}, RejectReason.UNKNOWN_SYMBOL),
        ({"side": 3}, RejectReason.INVALID_SIDE),
        ({"side": 255, "symbol": 0}, RejectReason.INVALID_SIDE),
        ({"reject_reason": 70}, RejectReason.VENUE_CLOSED),
        ({"session": 8}, RejectReason.SESSION_CAPACITY),
    ],
)
def test_what_cannot_be_is_declined_with_the_last_report(book, ask, fields, reason):
    reports = ask(book, cl_ord_id=b"m1", qty_lots=77, **fields)
    assert reason_of(reports) == reason
    last = ReportKind.MASS_CANCELED if ask is mass_cancel else ReportKind.MASS_STATUS_END
    assert reports[0]["kind"] == last
    assert (reports[0]["qty_lots"], reports[0]["status"]) == (0, OrderStatus.REJECTED)
    assert book.book.state[0]["open_orders"] == 9


def test_a_number_seen_before_is_not_executed_again():
    pair = Pair()
    add_symbols(pair)
    order(pair, "a", BUY, 10, 5, inbound_seq=1)
    assert kinds(mass_cancel(pair, inbound_seq=2)) == ["CANCELED", "MASS_CANCELED"]
    order(pair, "b", BUY, 10, 5, inbound_seq=3)
    assert kinds(mass_cancel(pair, inbound_seq=2)) == ["DUPLICATE"]
    assert kinds(mass_status(pair, inbound_seq=3)) == ["DUPLICATE"]
    # What the venue asks for by itself has no number.
    assert kinds(mass_cancel(pair)) == ["CANCELED", "MASS_CANCELED"]
    assert kinds(mass_cancel(pair)) == ["MASS_CANCELED"]


def test_a_canceled_order_is_remembered_as_such():
    pair = Pair(SMALL._replace(finished_orders=10))
    add_symbols(pair)
    order(pair, "a", BUY, 10, 5)
    mass_cancel(pair, flags=CommandFlag.CONNECTION_LOST)
    assert reason_of(cancel(pair, "a")) == RejectReason.TOO_LATE_TO_CANCEL
    assert status(pair, "a")[0]["status"] == OrderStatus.CANCELED
    assert reason_of(order(pair, "a", BUY, 10, 5)) == RejectReason.DUPLICATE_CL_ORD_ID


def test_a_window_smaller_than_the_cancel_keeps_the_youngest():
    pair = Pair(SMALL._replace(finished_orders=2))
    add_symbols(pair)
    for name in "abcd":
        order(pair, name, BUY, 10, 5)
    assert names(mass_cancel(pair)) == list("abcd")
    found = [status(pair, name)[0]["status"] for name in "abcd"]
    assert found == [OrderStatus.REJECTED] * 2 + [OrderStatus.CANCELED] * 2


def test_an_order_keeps_its_age_when_it_is_replaced(book):
    replace(book, "a", "a2", 3, 50)
    replace(book, "c", "c2", 20, 2)
    assert names(mass_cancel(book, symbol=0)) == ["a2", "b", "c2", "d", "h"]


def test_a_canceled_day_order_is_not_expired(window):
    for name, price in (("a", 10), ("b", 11)):
        order(window, name, BUY, price, 5, tif=DAY)
    order(window, "s", SELL, 20, 5, tif=DAY)
    mass_cancel(window, side=BUY)
    reports = window.send(CommandKind.DAY_END, symbol=-1)
    assert reports["cl_ord_id"].tolist() == [b"s"]


@pytest.mark.parametrize("count", [3, 17, 300, 3_000 if IS_COMPILED else 400])
def test_many_orders_in_rows_used_again_come_by_age(count):
    """Rows of the pool come and go in any order; the reports' order is of the commands alone."""
    rng = np.random.default_rng(count)
    pair = Pair(Capacity(count, 0, count, 2, 4), is_checking=False, event_rows=4096)
    add_symbols(pair, 2)
    commands = np.zeros(3 * count, COMMAND)
    commands["id0"] = np.arange(len(commands)) + 1
    commands["session"] = 1 + (rng.random(len(commands)) < 0.3)
    commands["kind"], commands["ord_type"], commands["tif"] = 1, OrderType.LIMIT, GTC
    commands["side"] = rng.integers(1, 3, len(commands))
    commands["price_ticks"] = np.where(commands["side"] == BUY, -1, 1) * rng.integers(
        1, 40, len(commands)
    )
    commands["qty_lots"], commands["symbol"] = 5, rng.integers(0, 2, len(commands))
    gone = commands[:count].copy()
    gone["kind"], gone["orig0"] = CommandKind.CANCEL, gone["id0"]
    for part in (commands[:count], rng.permutation(gone), commands[count : 2 * count]):
        pair.run(part.copy())
    told = mass_status(pair)
    assert told[-1]["qty_lots"] == len(told) - 1 > count // 3
    assert (np.diff(told["order_id"][:-1]) > 0).all()
    assert (mass_cancel(pair)["order_id"] == told["order_id"]).all()
    assert pair.book.marks["open_orders"].tolist()[:2] == [0, 0]
    pair.run(commands[2 * count :].copy())
    assert len(mass_cancel(pair, session=2, side=SELL)) > 1


# --- PossResend -----------------------------------------------------------------------------------

RESENT = CommandFlag.POSS_RESEND


def test_a_resent_order_is_told_of_and_not_entered_again(window):
    order(window, "a", BUY, 10, 5)
    order(window, "s", SELL, 10, 2)
    (report,) = order(window, "a", BUY, 10, 5, flags=RESENT, inbound_seq=7)
    assert (report["kind"], report["reason"], report["inbound_seq"]) == (ReportKind.STATUS, 0, 7)
    assert report["status"] == OrderStatus.PARTIALLY_FILLED
    assert (report["leaves_qty"], report["cum_qty"], report["cl_ord_id"]) == (3, 2, b"a")
    assert window.book.state[0]["open_orders"] == 1


@pytest.mark.parametrize(
    ("request_kind", "status_of"),
    [(cancel, OrderStatus.CANCELED), (None, OrderStatus.FILLED)],
)
def test_a_resent_order_that_is_finished_has_its_final_state(window, request_kind, status_of):
    order(window, "a", BUY, 10, 5)
    if request_kind:
        request_kind(window, "a")
    else:
        order(window, "s", SELL, 10, 5)
    (report,) = order(window, "a", BUY, 10, 5, flags=RESENT)
    assert (report["kind"], report["status"]) == (ReportKind.STATUS, status_of)
    assert (report["leaves_qty"], report["reason"]) == (0, 0)


def test_an_order_not_seen_before_is_as_new(window):
    assert kinds(order(window, "a", BUY, 10, 5, flags=RESENT)) == ["NEW"]
    assert kinds(order(window, "b", SELL, 10, 5, flags=RESENT)) == ["NEW", "TRADE", "TRADE"]
    reports = order(window, "c", SELL, 10, 0, flags=RESENT)
    assert reason_of(reports) == RejectReason.QTY_OUT_OF_RANGE
    # An order that was declined was never known.
    assert kinds(order(window, "c", SELL, 10, 1, flags=RESENT)) == ["NEW"]
    # Another session's identifiers are its own.
    assert kinds(order(window, "c", SELL, 10, 1, session=2, flags=RESENT)) == ["NEW"]


def test_what_was_seen_is_looked_at_before_the_limits(window):
    """The same order might be declined by now; that would say that it never was."""
    order(window, "a", BUY, 10, 5)
    add_symbols(window, price2_ticks=9)
    assert kinds(order(window, "a", BUY, 10, 5, flags=RESENT)) == ["STATUS"]
    assert kinds(order(window, "a", BUY, 10, 5, flags=RESENT, reject_reason=53)) == ["STATUS"]
    assert reason_of(order(window, "a", BUY, 10, 5)) == RejectReason.PRICE_OUT_OF_RANGE


def test_a_resent_replace_is_told_of_and_not_done_again(window):
    order(window, "a", BUY, 10, 5)
    replace(window, "a", "b", 11, 6)
    (report,) = replace(window, "a", "b", 11, 6, flags=RESENT)
    assert (report["kind"], report["reason"]) == (ReportKind.STATUS, 0)
    assert (report["cl_ord_id"], report["orig_cl_ord_id"]) == (b"b", b"a")
    assert (report["status"], report["price_ticks"], report["leaves_qty"]) == (0, 11, 6)
    # Without the flag it is the second order of that name, or rather no order at all.
    assert reason_of(replace(window, "a", "b", 11, 6)) == RejectReason.ORDER_REPLACED


def test_a_resent_replace_of_an_earlier_name_tells_that_it_was_replaced(window):
    order(window, "a", BUY, 10, 5)
    replace(window, "a", "b", 11, 6)
    replace(window, "b", "c", 12, 7)
    for resent in (
        replace(window, "a", "b", 11, 6, flags=RESENT),
        order(window, "b", BUY, 11, 6, flags=RESENT),
    ):
        assert kinds(resent) == ["STATUS"]
        assert (resent[0]["status"], resent[0]["leaves_qty"]) == (OrderStatus.REPLACED, 0)
    (report,) = status(window, "c")
    assert (report["price_ticks"], report["leaves_qty"]) == (12, 7)


def test_a_replace_not_seen_before_is_as_new(window):
    order(window, "a", BUY, 10, 5)
    assert kinds(replace(window, "a", "b", 11, 6, flags=RESENT)) == ["REPLACED"]
    assert reason_of(replace(window, "x", "y", 11, 6, flags=RESENT)) == RejectReason.UNKNOWN_ORDER
    assert kinds(replace(window, "b", "c", 11, 4, flags=RESENT | CommandFlag.OPEN_QTY)) == [
        "REPLACED"
    ]


def test_within_a_window_an_orders_own_name_was_seen(window):
    order(window, "a", BUY, 10, 5)
    (report,) = replace(window, "a", "a", 11, 6, flags=RESENT)
    assert (report["kind"], report["price_ticks"]) == (ReportKind.STATUS, 10)


def test_a_resent_cancel_is_answered_as_any(window):
    order(window, "a", BUY, 10, 5)
    assert kinds(cancel(window, "a", flags=RESENT)) == ["CANCELED"]
    assert reason_of(cancel(window, "a", flags=RESENT)) == RejectReason.TOO_LATE_TO_CANCEL


def test_where_names_are_used_again_only_open_orders_were_seen():
    pair = Trio()
    add_symbols(pair)
    order(pair, "a", BUY, 10, 5)
    assert kinds(order(pair, "a", BUY, 10, 5, flags=RESENT)) == ["STATUS"]
    assert kinds(replace(pair, "a", "a", 11, 5, flags=RESENT)) == ["REPLACED"]
    assert kinds(replace(pair, "a", "b", 11, 6, flags=RESENT)) == ["REPLACED"]
    assert kinds(replace(pair, "a", "b", 11, 6, flags=RESENT)) == ["STATUS"]
    cancel(pair, "b")
    assert kinds(order(pair, "b", BUY, 10, 5, flags=RESENT)) == ["NEW"]

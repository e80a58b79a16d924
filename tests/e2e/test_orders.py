"""Orders over both protocols in a running venue. The symbols' tick is 0.05, the lot 10."""

import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from support.peers import BinaryPeer, FixPeer, utc
from support.venue import Venue, wait_for

from openoutcry.protocol.binary.enums import OrderStatus, RejectReason, ReportKind
from openoutcry.protocol.binary.messages import ExecutionReport

pytestmark = pytest.mark.two_gateways_too

MakeFix = Callable[..., FixPeer]
MakeBinary = Callable[..., BinaryPeer]


def told(report: ExecutionReport) -> str:
    """Return what a report tells in one line, as FixReport.outcome does."""
    last = f" {report.last_qty}@{report.last_px}" if report.last_qty else ""
    kind, status = ReportKind(report.kind).name, OrderStatus(report.status).name
    total = f"cum={report.cum_qty} leaves={report.leaves_qty}"
    return f"{report.cl_ord_id} {kind}/{status}{last} {total}"


# --- FIX ---


@pytest.mark.parametrize(
    ("qty", "price", "extra", "text"),
    [
        (15, "10.00", "", "quantity is not a multiple of the symbol's lot"),
        (20, "10.01", "", "price is not a multiple of the symbol's tick"),
        (20, "10.00", "18=6|", "a field asks for what this venue does not do"),
    ],
)
def test_a_declined_replace_tells_how_the_order_stands(
    fix: MakeFix, symbol: str, qty: int, price: str, extra: str, text: str
):
    client = fix()
    client.new("d1", symbol, "1", 10, "10.00")
    order_id = client.receive()[37]
    body = f"41=d1|11=d2|55={symbol}|54=1|60={utc()}|38={qty}|40=2|44={price}|{extra}"
    client.send("G", body)
    answer = client.receive()
    assert answer.pick(35, 37, 39, 102, 434, 58) == ["9", order_id, "0", "99", "2", text]
    client.send("G", body.replace("41=d1", "41=none"))
    assert client.receive().pick(35, 37, 39) == ["9", "NONE", "8"]
    client.status("d1", symbol)
    assert client.outcomes(1) == ["d1 I/0 cum=0 leaves=10"]


def test_a_new_order_rests_is_filled_in_parts_and_then_wholly(fix: MakeFix, symbol: str):
    seller, buyer = fix(), fix()
    seller.new("s1", symbol, "2", 100, "10.05", extra="1=HOUSE|")
    new = seller.receive()
    assert new.outcome == "s1 0/0 cum=0 leaves=100"
    assert new.pick(1, 55, 54, 38, 40, 44, 59, 6) == [
        *("HOUSE", symbol, "2", "100", "2", "10.05", "1", "0"),
    ]
    buyer.new("b1", symbol, "1", 30, "10.10")
    assert buyer.outcomes(2) == [
        "b1 0/0 cum=0 leaves=30",
        "b1 F/2 30@10.05 cum=30 leaves=0",
    ]
    assert seller.outcomes(1) == ["s1 F/1 30@10.05 cum=30 leaves=70"]
    buyer.new("b2", symbol, "1", 100, "10.05")
    assert buyer.outcomes(2) == [
        "b2 0/0 cum=0 leaves=100",
        "b2 F/1 70@10.05 cum=70 leaves=30",
    ]
    assert seller.outcomes(1) == ["s1 F/2 70@10.05 cum=100 leaves=0"]


def test_identifiers_of_a_trade_agree_on_both_sides(fix: MakeFix, symbol: str):
    seller, buyer = fix(), fix()
    seller.new("s1", symbol, "2", 10, "10.00")
    resting = seller.receive()
    buyer.new("b1", symbol, "1", 10, "10.00")
    new, bought = buyer.reports(2)
    sold = seller.receive()
    assert sold[37] == resting[37]
    assert bought[37] == new[37]
    assert new[37] != resting[37]
    ids = [report[17] for report in (resting, new, bought, sold)]
    assert len(set(ids)) == 4
    shard = resting[37].partition("-")[0].removeprefix("O")
    assert shard in {"0", "1"}
    assert all(each.startswith(f"E{shard}-") for each in ids)
    assert sold.get(880) == bought.get(880)
    assert sold[60] == bought[60]


def test_price_then_time_decide_who_trades(fix: MakeFix, symbol: str):
    maker, taker = fix(), fix()
    for name, price in (("late", "10.10"), ("best", "10.00"), ("next", "10.05"), ("n2", "10.05")):
        maker.new(name, symbol, "2", 10, price)
    maker.reports(4)
    taker.new("t", symbol, "1", 40, "10.05")
    assert taker.outcomes(4) == [
        "t 0/0 cum=0 leaves=40",
        "t F/1 10@10.00 cum=10 leaves=30",
        "t F/1 10@10.05 cum=20 leaves=20",
        "t F/1 10@10.05 cum=30 leaves=10",
    ]
    assert [report[11] for report in maker.reports(3)] == ["best", "next", "n2"]


def test_the_average_price_is_exact_and_rounded_half_to_even(fix: MakeFix, symbol: str):
    maker, taker = fix(), fix()
    maker.new("m1", symbol, "2", 20, "10.00")
    maker.new("m2", symbol, "2", 10, "10.05")
    maker.reports(2)
    taker.new("t", symbol, "1", 30, "10.05")
    assert [report[6] for report in taker.reports(3)] == ["0", "10.00000000", "10.01666667"]


def test_immediate_or_cancel_takes_what_there_is(fix: MakeFix, symbol: str):
    maker, taker = fix(), fix()
    maker.new("m", symbol, "2", 20, "10.00")
    maker.receive()
    taker.new("t", symbol, "1", 50, "10.00", "3")
    assert taker.outcomes(3) == [
        "t 0/0 cum=0 leaves=50",
        "t F/1 20@10.00 cum=20 leaves=30",
        "t 4/4 cum=20 leaves=0",
    ]
    taker.new("t2", symbol, "1", 50, "10.00", "3")
    assert taker.outcomes(2) == ["t2 0/0 cum=0 leaves=50", "t2 4/4 cum=0 leaves=0"]


def test_fill_or_kill_takes_all_or_nothing(fix: MakeFix, symbol: str):
    maker, taker = fix(), fix()
    maker.new("m", symbol, "2", 20, "10.00")
    maker.new("m2", symbol, "2", 20, "10.05")
    maker.reports(2)
    taker.new("t", symbol, "1", 30, "10.00", "4")
    assert taker.outcomes(2) == ["t 0/0 cum=0 leaves=30", "t 4/4 cum=0 leaves=0"]
    taker.new("t2", symbol, "1", 30, "10.05", "4")
    assert taker.outcomes(3) == [
        "t2 0/0 cum=0 leaves=30",
        "t2 F/1 20@10.00 cum=20 leaves=10",
        "t2 F/2 10@10.05 cum=30 leaves=0",
    ]


def test_a_market_order_takes_any_price_and_never_rests(fix: MakeFix, symbol: str):
    maker, taker = fix(), fix()
    maker.new("m", symbol, "1", 20, "10.00")
    maker.new("m2", symbol, "1", 20, "0.05")
    maker.reports(2)
    taker.new("t", symbol, "2", 50, None, "0")
    reports = taker.reports(4)
    assert [report.outcome for report in reports] == [
        "t 0/0 cum=0 leaves=50",
        "t F/1 20@10.00 cum=20 leaves=30",
        "t F/1 20@0.05 cum=40 leaves=10",
        "t 4/4 cum=40 leaves=0",
    ]
    assert reports[0].pick(40, 44) == ["1", None]


def test_a_cancel_takes_the_rest_out(fix: MakeFix, symbol: str):
    maker, taker = fix(), fix()
    maker.new("m", symbol, "2", 30, "10.00")
    taker.new("t", symbol, "1", 10, "10.00")
    taker.reports(2)
    maker.reports(2)
    maker.cancel("c", "m", symbol, "2")
    canceled = maker.receive()
    assert canceled.outcome == "c 4/4 cum=10 leaves=0"
    assert canceled.pick(41, 38, 6) == ["m", "30", "10.00000000"]
    taker.new("t2", symbol, "1", 10, "10.00")
    assert taker.outcomes(1) == ["t2 0/0 cum=0 leaves=10"]


def test_a_chain_of_replaces_keeps_the_order_and_its_fills(fix: MakeFix, symbol: str):
    maker, taker = fix(), fix()
    maker.new("r0", symbol, "2", 100, "10.00")
    order_id = maker.receive()[37]
    taker.new("t", symbol, "1", 40, "10.00")
    taker.reports(2)
    assert maker.outcomes(1) == ["r0 F/1 40@10.00 cum=40 leaves=60"]
    for step, (qty, price) in enumerate(((90, "10.00"), (120, "10.05"), (50, "10.10")), 1):
        maker.replace(f"r{step}", f"r{step - 1}", symbol, "2", qty, price)
        replaced = maker.receive()
        assert replaced.outcome == f"r{step} 5/1 cum=40 leaves={qty - 40}"
        assert replaced.pick(41, 37, 44, 38) == [f"r{step - 1}", order_id, price, str(qty)]
    maker.cancel("late", "r1", symbol, "2")
    refused = maker.receive()
    assert refused.kind == "9"
    assert refused.pick(11, 41, 434, 102) == ["late", "r1", "1", "0"]
    taker.new("t2", symbol, "1", 10, "10.10")
    taker.reports(2)
    filled = maker.receive()
    assert filled.outcome == "r3 F/2 10@10.10 cum=50 leaves=0"
    assert filled[6] == "10.02000000"


def test_a_replace_that_crosses_trades_at_once(fix: MakeFix, symbol: str):
    maker, taker = fix(), fix()
    maker.new("m", symbol, "2", 20, "10.00")
    taker.new("t", symbol, "1", 20, "9.00")
    maker.receive()
    taker.receive()
    taker.replace("t2", "t", symbol, "1", 30, "10.00")
    assert taker.outcomes(2) == [
        "t2 5/0 cum=0 leaves=30",
        "t2 F/1 20@10.00 cum=20 leaves=10",
    ]


def test_a_replace_keeps_its_place_only_for_less_at_the_same_price(fix: MakeFix, symbol: str):
    maker, taker = fix(), fix()
    for name in ("a", "b"):
        maker.new(name, symbol, "2", 20, "10.00")
    maker.replace("a2", "a", symbol, "2", 10, "10.00")
    maker.replace("b2", "b", symbol, "2", 30, "10.00")
    maker.reports(4)
    maker.new("c", symbol, "2", 10, "10.00")
    maker.replace("a3", "a2", symbol, "2", 20, "10.00")
    maker.reports(2)
    taker.new("t", symbol, "1", 60, "10.00")
    assert [report[11] for report in maker.reports(3)] == ["b2", "c", "a3"]


def test_status_tells_the_order_as_it_stands(fix: MakeFix, symbol: str):
    client = fix()
    client.new("m", symbol, "2", 20, "10.00")
    client.receive()
    client.status("m", symbol, "2")
    assert client.outcomes(1) == ["m I/0 cum=0 leaves=20"]
    client.cancel("c", "m", symbol, "2")
    client.receive()
    client.status("m", symbol, "2")
    assert client.outcomes(1) == ["m I/4 cum=0 leaves=0"]
    client.status("nothing", symbol)
    unknown = client.receive()
    assert unknown.outcome == "nothing I/8 cum=0 leaves=0"
    assert unknown.pick(37, 103) == ["NONE", "5"]


@pytest.mark.parametrize(
    ("side", "qty", "price", "extra", "reason", "text"),
    [
        ("1", 15, "10.00", "", "13", "15 is not a multiple of the lot 10"),
        ("1", "10.5", "10.00", "", "13", "is not a multiple of the lot"),
        ("1", 10, "10.01", "", "99", "10.01 is not a multiple of the tick 0.05"),
        ("1", 0, "10.00", "", "13", "quantity is outside the symbol's limits"),
        ("1", -10, "10.00", "", "13", "quantity is outside the symbol's limits"),
        ("1", 10, "0", "", "3", "price is outside the symbol's limits"),
        ("1", 10, "-10.00", "", "3", "price is outside the symbol's limits"),
        ("1", 10, "99999999999999.95", "", "3", "price is outside the symbol's limits"),
        ("1", 10**14, "10.00", "", "13", "quantity is outside the symbol's limits"),
        ("1", 10**17, "10.00", "", "13", "quantity is outside the symbol's limits"),
    ],
)
def test_an_order_out_of_bounds_is_declined(
    fix: MakeFix,
    symbol: str,
    side: str,
    qty: object,
    price: str,
    extra: str,
    reason: str,
    text: str,
):
    client = fix()
    client.new("o", symbol, side, qty, price, extra=extra)
    rejected = client.receive()
    assert rejected.kind == "8", rejected
    assert rejected.outcome == "o 8/8 cum=0 leaves=0"
    assert rejected[103] == reason
    assert text in rejected[58]
    assert client.is_alive()


def test_orders_for_what_is_not_there_are_declined(fix: MakeFix, symbol: str):
    client = fix()
    client.new("o", "NOSUCH", "1", 10, "10.00")
    assert client.receive().pick(11, 150, 39, 103, 55, 58) == [
        *("o", "8", "8", "1", "NOSUCH", "unknown symbol NOSUCH"),
    ]
    client.cancel("c", "o", "NOSUCH")
    assert client.receive().pick(35, 11, 41, 39, 102, 37) == ["9", "c", "o", "8", "1", "NONE"]
    client.cancel("c", "o", symbol)
    assert client.receive().pick(35, 11, 41, 39, 102, 37) == ["9", "c", "o", "8", "1", "NONE"]
    client.replace("r", "o", symbol, "1", 10, "10.00")
    assert client.receive().pick(35, 11, 434, 102) == ["9", "r", "2", "1"]
    client.status("o", "NOSUCH")
    assert client.receive().pick(35, 11, 150, 39, 37) == ["8", "o", "I", "8", "NONE"]


def test_a_cl_ord_id_is_used_once(fix: MakeFix, symbol: str):
    client, other = fix(), fix()
    client.new("o", symbol, "1", 10, "10.00")
    client.receive()
    client.new("o", symbol, "1", 10, "10.05")
    assert client.receive().pick(11, 150, 39, 103) == ["o", "8", "8", "6"]
    client.cancel("c", "o", symbol)
    client.receive()
    client.new("o", symbol, "1", 10, "10.00")
    assert client.receive().pick(11, 150, 103) == ["o", "8", "6"]
    client.cancel("c2", "o", symbol)
    assert client.receive().pick(35, 102, 39) == ["9", "0", "4"]
    other.new("o", symbol, "1", 10, "10.00")
    assert other.outcomes(1) == ["o 0/0 cum=0 leaves=10"]


def test_a_cancel_of_anothers_order_finds_nothing(fix: MakeFix, symbol: str):
    owner, other = fix(), fix()
    owner.new("mine", symbol, "1", 10, "10.00")
    owner.receive()
    other.cancel("c", "mine", symbol)
    assert other.receive().pick(35, 102) == ["9", "1"]
    owner.status("mine", symbol)
    assert owner.outcomes(1) == ["mine I/0 cum=0 leaves=10"]


def test_a_cancel_with_the_other_side_is_declined(fix: MakeFix, symbol: str):
    client = fix()
    client.new("o", symbol, "1", 10, "10.00")
    client.receive()
    client.cancel("c", "o", symbol, "2")
    assert client.receive().pick(35, 102, 39) == ["9", "1", "0"]
    client.cancel("c", "o", symbol, "1")
    assert client.outcomes(1) == ["c 4/4 cum=0 leaves=0"]


def test_a_replace_below_what_is_filled_is_declined(fix: MakeFix, symbol: str):
    maker, taker = fix(), fix()
    maker.new("m", symbol, "2", 30, "10.00")
    taker.new("t", symbol, "1", 20, "10.00")
    maker.reports(2)
    maker.replace("r", "m", symbol, "2", 20, "10.05")
    refused = maker.receive()
    assert refused.pick(35, 11, 41, 434, 39) == ["9", "r", "m", "2", "1"]
    assert refused[58] == "new quantity must be above what is filled already"


@pytest.mark.parametrize("length", [1, 36])
def test_a_cl_ord_id_may_be_as_long_as_36_characters(fix: MakeFix, symbol: str, length: int):
    client = fix()
    name = "".join(chr(0x21 + n) for n in range(length)).replace("|", "~")
    client.new(name, symbol, "1", 10, "10.00")
    assert client.receive()[11] == name
    client.status(name, symbol)
    assert client.receive()[11] == name


def test_decimals_in_any_spelling_mean_the_same(fix: MakeFix, symbol: str):
    client = fix()
    for number, (qty, price) in enumerate(
        (("10", "10.05"), ("10.000", "10.0500000"), ("0010", "010.05"), ("10.", "+10.05"))
    ):
        client.new(f"d{number}", symbol, "1", qty, price)
        report = client.receive()
        if report.kind == "3":
            # FIX knows no plus sign: a Reject is right, a wrong number would not be.
            assert report[373] in {"5", "6"}
            continue
        assert report.pick(150, 38, 44) == ["0", "10", "10.05"]


# --- Binary ---


def test_binary_orders_rest_trade_and_are_canceled(binary: MakeBinary, symbol: str):
    maker, taker = binary(), binary()
    maker.new("m", symbol, 2, 10, 200, account="HOUSE")
    new = maker.report()
    assert told(new) == "m NEW/NEW cum=0 leaves=10"
    assert (new.account, new.price, new.qty, new.ref_seq) == ("HOUSE", 200, 10, 1)
    taker.new("t", symbol, 1, 4, 205)
    assert [told(report) for report in taker.reports(2)] == [
        "t NEW/NEW cum=0 leaves=4",
        "t TRADE/FILLED 4@200 cum=4 leaves=0",
    ]
    sold = maker.report()
    assert told(sold) == "m TRADE/PARTIALLY_FILLED 4@200 cum=4 leaves=6"
    assert sold.ref_seq == 0
    assert sold.avg_px == 200 * 10**8
    maker.replace("m2", "m", symbol, 8, 195)
    replaced = maker.report()
    assert told(replaced) == "m2 REPLACED/PARTIALLY_FILLED cum=4 leaves=4"
    assert (replaced.orig_cl_ord_id, replaced.order_id) == ("m", new.order_id)
    maker.status("m2", symbol)
    assert told(maker.report()) == "m2 STATUS/PARTIALLY_FILLED cum=4 leaves=4"
    maker.cancel("c", "m2", symbol)
    assert told(maker.report()) == "c CANCELED/CANCELED cum=4 leaves=0"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"qty": 0}, RejectReason.QTY_OUT_OF_RANGE),
        ({"qty": -1}, RejectReason.QTY_OUT_OF_RANGE),
        ({"qty": 2**63 - 1}, RejectReason.QTY_OUT_OF_RANGE),
        ({"price": 0}, RejectReason.PRICE_OUT_OF_RANGE),
        ({"price": -(2**63)}, RejectReason.PRICE_OUT_OF_RANGE),
        ({"price": 2**63 - 1}, RejectReason.PRICE_OUT_OF_RANGE),
        ({"side": 0}, RejectReason.INVALID_SIDE),
        ({"side": 255}, RejectReason.INVALID_SIDE),
        ({"tif": 2}, RejectReason.UNSUPPORTED_TIME_IN_FORCE),
        ({"tif": 255}, RejectReason.UNSUPPORTED_TIME_IN_FORCE),
    ],
)
def test_a_binary_order_out_of_bounds_is_declined(
    binary: MakeBinary, symbol: str, change: dict[str, int], reason: RejectReason
):
    client = binary()
    values = {"side": 1, "qty": 10, "price": 200, "tif": 1, **change}
    client.new("o", symbol, **values)
    report = client.report()
    assert told(report) == "o REJECTED/REJECTED cum=0 leaves=0"
    assert report.reason == reason
    assert client.is_alive()


def test_a_binary_order_for_an_unknown_symbol_is_declined(binary: MakeBinary, venue: Venue):
    client = binary()
    for number in (len(venue.symbol_numbers), 2**31 - 1):
        order = client.order("o", "BTCUSDT", 1, 10, 200)
        client.send(type(order)(order.seq, "o", number, 1, 2, 1, 200, 10))
        reject = client.reject()
        assert (reject.ref_seq, reject.cl_ord_id) == (order.seq, "o")
        assert reject.reason == RejectReason.UNKNOWN_SYMBOL
    assert client.is_alive()


# --- Both ---


def test_fix_and_binary_trade_with_each_other(fix: MakeFix, binary: MakeBinary, symbol: str):
    seller, buyer = binary(), fix()
    seller.new("s", symbol, 2, 3, 201)
    resting = seller.report()
    buyer.new("b", symbol, "1", 50, "10.05")
    assert buyer.outcomes(2) == ["b 0/0 cum=0 leaves=50", "b F/1 30@10.05 cum=30 leaves=20"]
    sold = seller.report()
    assert told(sold) == "s TRADE/FILLED 3@201 cum=3 leaves=0"
    assert sold.order_id == resting.order_id
    seller.new("s2", symbol, 2, 2, 200)
    assert [told(report) for report in seller.reports(2)] == [
        "s2 NEW/NEW cum=0 leaves=2",
        "s2 TRADE/FILLED 2@201 cum=2 leaves=0",
    ]
    bought = buyer.receive()
    assert bought.outcome == "b F/2 20@10.05 cum=50 leaves=0"


def test_the_same_name_is_two_sessions_on_two_protocols(venue: Venue, symbol: str):
    with FixPeer(venue.port("fix"), "TWICE") as one, BinaryPeer(venue.port("binary"), "TWICE") as b:
        one.log_on()
        b.log_on()
        one.new("x", symbol, "1", 10, "10.00")
        b.new("x", symbol, 1, 1, 200)
        assert one.outcomes(1) == ["x 0/0 cum=0 leaves=10"]
        assert told(b.report()) == "x NEW/NEW cum=0 leaves=1"


def test_day_orders_expire_by_command_and_others_stay(
    venue: Venue, fix: MakeFix, binary: MakeBinary, symbol: str
):
    client, other = fix(), binary()
    client.new("day", symbol, "1", 10, "10.00", "0")
    client.new("gtc", symbol, "1", 10, "10.00", "1")
    client.reports(2)
    other.new("day", symbol, 2, 1, 300, 0)
    other.report()
    assert venue.http("/admin/day-end", {"symbol": symbol}) == (200, '{"ok": true}')
    assert client.outcomes(1) == ["day C/C cum=0 leaves=0"]
    assert told(other.report()) == "day EXPIRED/EXPIRED cum=0 leaves=0"
    client.status("gtc", symbol)
    assert client.outcomes(1) == ["gtc I/0 cum=0 leaves=10"]
    status, text = venue.http("/admin/day-end", {"symbol": "NOSUCH"})
    assert (status, json.loads(text)["ok"]) == (400, False)


def test_the_control_socket_ends_the_day_of_all_symbols(venue: Venue, fix: MakeFix):
    client = fix()
    symbols = [venue.take_symbol(), venue.take_symbol()]
    for symbol in symbols:
        client.new(symbol, symbol, "1", 10, "10.00", "0")
    client.reports(2)
    (folder,) = venue.shared()
    with socket.socket(socket.AF_UNIX) as control:
        control.settimeout(10)
        control.connect(f"/dev/shm/{folder}/control.sock")
        control.sendall(b'{"command": "day-end"}\n')
        assert json.loads(control.recv(4096)) == {"ok": True}
    assert sorted(report.outcome for report in client.reports(2)) == [
        f"{symbol} C/C cum=0 leaves=0" for symbol in symbols
    ]


def test_two_shards_serve_one_session_and_each_its_symbols(tmp_path: Path):
    with Venue(tmp_path, "shards=[{},{}]") as venue:
        assert {"oo-shard-0", "oo-shard-1"} <= venue.children().keys()
        client = FixPeer(venue.port("fix"), "BOTH")
        other = BinaryPeer(venue.port("binary"), "BOTH")
        client.log_on()
        other.log_on()
        client.new("a", "BTCUSDT", "1", "0.5", "100.01")
        client.new("b", "ETHUSDT", "1", "0.5", "100.01")
        reports = {report[11]: report for report in client.reports(2)}
        assert reports["a"][37].startswith("O0-")
        assert reports["b"][37].startswith("O1-")
        # A ClOrdID belongs to session and shard.
        client.new("a", "ETHUSDT", "1", "0.5", "100.01")
        assert client.outcomes(1) == ["a 0/0 cum=0.0000 leaves=0.5000"]
        other.new("x", "BTCUSDT", 2, 50_000, 10_001)
        other.new("y", "ETHUSDT", 2, 10_000, 10_001)
        assert sorted(told(report) for report in other.reports(5)) == [
            "x NEW/NEW cum=0 leaves=50000",
            "x TRADE/FILLED 50000@10001 cum=50000 leaves=0",
            "y NEW/NEW cum=0 leaves=10000",
            "y TRADE/FILLED 5000@10001 cum=10000 leaves=0",
            "y TRADE/PARTIALLY_FILLED 5000@10001 cum=5000 leaves=5000",
        ]
        trades = client.reports(3)
        assert sorted(report[11] for report in trades) == ["a", "a", "b"]
        assert {report[37] for report in trades} >= {reports["a"][37], reports["b"][37]}
        wait_for(lambda: venue.metrics()("trades_total", shard="1") == 2)
        assert venue.metrics()("trades_total", shard="0") == 1
        client.log_out()
        other.log_out()

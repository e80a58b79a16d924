"""The whole generator against a venue in plain Python: all is answered, and no lie passes."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from support.stub_venue import StubVenue

from openoutcry.engine.enums import ReportKind
from openoutcry.loadgen import driver
from openoutcry.loadgen.run import RunOptions, run
from openoutcry.loadgen.scenario import Scenario, Shares, Symbol

PROTOCOLS = ["binary", "fix"]
SCENARIO = Scenario(
    shares=Shares(new=450, cancel=300, replace=100, marketable=150),
    resting_orders=120,
    depth_ticks=30,
    through_ticks=10,
    walk_every=8,
    walk_ticks=40,
    near_ticks=2,
    tif="gtc",
    symbols=(
        Symbol(
            name="BTCUSDT", tick="0.01", lot="0.00001", price="65000", min_qty="0.001", max_qty="1"
        ),
        Symbol(name="ODD", tick="0.025", lot="5", price="75", min_qty="5", max_qty="50"),
    ),
)


@pytest.fixture(autouse=True)
def _brief_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "TICK_S", 0.01)


def run_against(
    venue: StubVenue, on_edge: Callable[[], None] | None = None, **options: Any
) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "scenario": SCENARIO,
        "scenario_name": "test",
        "host": "127.0.0.1",
        "port": venue.port,
        "protocol": venue.protocol,
        "connections": 2,
        "window": 8,
        "orders": 400,
        "warmup_s": 0.05,
        "is_quiet": True,
    }
    return run(RunOptions(**(settings | options)), on_edge)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("window", [1, 7, 64])
def test_every_request_is_answered_and_every_report_fits(protocol: str, window: int) -> None:
    with StubVenue(SCENARIO, protocol) as venue:
        result = run_against(venue, window=window)
    assert result["error_texts"] == []
    assert result["errors"] == 0
    assert result["orders_sent"] == 400
    assert result["acked"] + result["rejected"] == 400
    assert result["trades"] > 0
    assert result["fill_percent"] > 10
    assert result["reports_received"] >= 400
    assert result["acked_per_s"] > 0
    latency = result["latency_us"]
    assert 0 < latency["p50"] <= latency["p90"] <= latency["p99"] <= latency["max"]
    assert result["window"] == window
    assert result["rate"] is None


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_between_its_edges_the_book_is_neither_filled_nor_emptied(protocol: str) -> None:
    edges: list[int] = []
    with StubVenue(SCENARIO, protocol) as venue:
        result = run_against(venue, lambda: edges.append(venue.requests))
        all_requests = venue.requests
    assert result["error_texts"] == []
    filled, measured = edges
    assert filled == SCENARIO.resting_orders
    assert measured - filled >= result["orders_sent"] == 400
    # What emptied the book.
    assert all_requests - measured == result["resting_orders"][1] > 0


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_reports_that_come_in_pieces_are_put_together(protocol: str) -> None:
    with StubVenue(SCENARIO, protocol, piece_bytes=13) as venue:
        result = run_against(venue, orders=150)
    assert result["error_texts"] == []
    assert result["acked"] + result["rejected"] == 150


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_open_loop_keeps_its_rate(protocol: str) -> None:
    with StubVenue(SCENARIO, protocol) as venue:
        result = run_against(venue, rate=300.0, orders=0, duration_s=0.5)
    assert result["error_texts"] == []
    # Half a second; longer where the machine is busy.
    assert 100 <= result["orders_sent"] <= 600
    assert result["window"] is None
    assert result["rate"] == 300.0


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_session_messages_between_reports_are_served(protocol: str) -> None:
    with StubVenue(SCENARIO, protocol, test_request_every=25) as venue:
        result = run_against(venue)
    assert result["error_texts"] == []
    if protocol == "fix":
        assert venue.heartbeats_received > 10


def test_heartbeats_are_sent_on_silent_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "HEARTBEAT_EVERY_S", 0.15)
    with StubVenue(SCENARIO, "binary") as venue:
        result = run_against(venue, rate=2.0, orders=0, duration_s=1.0)
    assert result["error_texts"] == []
    assert venue.heartbeats_received > 2


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_second_run_on_the_same_venue_has_fresh_identifiers(
    protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with StubVenue(SCENARIO, protocol) as venue:
        assert run_against(venue, orders=50)["errors"] == 0
        monkeypatch.setattr("openoutcry.loadgen.run.time.time", lambda: 12345.0)
        assert run_against(venue, orders=50)["errors"] == 0


# --- lies -----------------------------------------------------------------------------------------


def change(kind: ReportKind, field: str, change: Callable[[Any], Any]) -> Callable[..., None]:
    """Return a lie: one field of the fifth report of a kind is changed."""
    seen = 0

    def lie(values: dict[str, Any]) -> None:
        nonlocal seen
        if values["kind"] != kind:
            return
        seen += 1
        if seen == 5:
            values[field] = change(values.get(field, 0))

    return lie


LIES = [
    (ReportKind.NEW, "side", lambda side: 3 - side, "SIDE"),
    (ReportKind.NEW, "price_ticks", lambda price: price + 1, "PRICE"),
    (ReportKind.NEW, "qty_lots", lambda qty: qty + 5, "QTY"),
    (ReportKind.NEW, "symbol", lambda symbol: 1 - symbol, "SYMBOL"),
    (ReportKind.NEW, "leaves_qty", lambda qty: qty - 1, "LEAVES_QTY"),
    (ReportKind.NEW, "cum_qty", lambda qty: qty + 1, "CUM_QTY"),
    (ReportKind.NEW, "status", lambda _: 1, "STATUS"),
    (ReportKind.NEW, "tif", lambda _: 4, "TIF"),
    (ReportKind.NEW, "ord_type", lambda _: 1, "ORD_TYPE"),
    (ReportKind.NEW, "account", lambda _: 0, "ACCOUNT|MISSING_FIELD"),
    (ReportKind.NEW, "order_id", lambda _: 0, "ORDER_ID"),
    (ReportKind.NEW, "kind", lambda _: ReportKind.REPLACED, "KIND"),
    (ReportKind.NEW, "cl_ord_id", lambda text: text[:-1] + b"?", "CL_ORD_ID"),
    (ReportKind.NEW, "cl_ord_id", lambda text: text[:-3] + b"0VV", "UNKNOWN_ORDER"),
    (ReportKind.NEW, "orig_cl_ord_id", lambda _: b"X", "ORIG_CL_ORD_ID"),
    (ReportKind.TRADE, "last_px", lambda price: price + 100_000, "LAST_PX|AVG_PX"),
    (ReportKind.TRADE, "last_px", lambda price: price - 100_000, "LAST_PX|AVG_PX"),
    (ReportKind.TRADE, "last_qty", lambda _: 0, "LAST_QTY"),
    (ReportKind.TRADE, "last_qty", lambda qty: qty + 10**9, "LAST_QTY"),
    (ReportKind.TRADE, "cum_qty", lambda qty: qty + 1, "CUM_QTY"),
    (ReportKind.TRADE, "order_id", lambda number: number + 1, "ORDER_ID"),
    (ReportKind.TRADE, "report_seq", lambda number: number - 3, "EXEC_ID"),
    (ReportKind.TRADE, "liquidity", lambda _: 0, "LIQUIDITY"),
    (ReportKind.TRADE, "avg_px_error", lambda _: 1, "AVG_PX"),
    (ReportKind.CANCELED, "orig_cl_ord_id", lambda _: b"X", "ORIG_CL_ORD_ID"),
    (ReportKind.CANCELED, "leaves_qty", lambda _: 1, "LEAVES_QTY"),
    (ReportKind.REPLACED, "price_ticks", lambda price: price - 1, "PRICE"),
    (ReportKind.REPLACED, "orig_cl_ord_id", lambda _: b"X", "ORIG_CL_ORD_ID"),
]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(("kind", "field", "how", "code"), LIES)
def test_a_wrong_report_is_found(
    protocol: str,
    kind: ReportKind,
    field: str,
    how: Callable[[Any], Any],
    code: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Where the lie leaves a request unanswered, the run ends soon.
    monkeypatch.setattr(driver, "STALLED_S", 0.5)
    with StubVenue(SCENARIO, protocol, lie=change(kind, field, how)) as venue:
        result = run_against(venue, orders=300)
    assert result["errors"] >= 1
    assert re.search(f": ({code}): ", result["error_texts"][0])


def test_a_canceled_order_must_not_be_rejected_as_unknown() -> None:
    def lie(values: dict[str, Any]) -> None:
        if values["kind"] == ReportKind.CANCELED and values["inbound_seq"] > 100:
            values["kind"] = ReportKind.CANCEL_REJECTED
            values["reason"] = 30

    with StubVenue(SCENARIO, "binary", lie=lie) as venue:
        result = run_against(venue, orders=100)
    assert ": REASON: " in result["error_texts"][0]


def test_a_refused_request_is_an_error() -> None:
    def lie(values: dict[str, Any]) -> None:
        values["refused"] = values["inbound_seq"] == 90

    for protocol, text in (("binary", "REFUSED"), ("fix", "message 90 was rejected")):
        with StubVenue(SCENARIO, protocol, lie=lie) as venue:
            result = run_against(venue)
        assert result["errors"] >= 1
        assert any(text in found for found in result["error_texts"])


# --- a venue that fails ---------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_unanswered_requests_are_errors(protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "STALLED_S", 0.3)
    with StubVenue(SCENARIO, protocol, mute_after=300) as venue:
        result = run_against(venue)
    assert result["errors"] > 1
    assert any("not answered" in text for text in result["error_texts"])


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_refused_logon_is_an_error(protocol: str) -> None:
    with StubVenue(SCENARIO, protocol, refuse=True) as venue:
        result = run_against(venue)
    assert result["errors"] == 1
    assert "not today" in result["error_texts"][0]


def test_a_venue_that_is_not_there_is_an_error() -> None:
    with StubVenue(SCENARIO, "fix") as venue:
        pass
    result = run_against(venue)
    assert result["errors"] == 1
    assert str(venue.port) in result["error_texts"][0]


def test_other_symbols_than_the_venues_are_an_error() -> None:
    other = Scenario(
        **{
            name: getattr(SCENARIO, name)
            for name in SCENARIO.__struct_fields__
            if name != "symbols"
        },
        symbols=(
            *SCENARIO.symbols[:1],
            Symbol(name="ODD", tick="0.05", lot="5", price="75", min_qty="5", max_qty="50"),
        ),
    )
    with StubVenue(SCENARIO, "binary") as venue:
        result = run_against(venue, scenario=other)
    assert "ODD: tick and lot" in result["error_texts"][0]


def test_bursts_share_their_time() -> None:
    with StubVenue(SCENARIO, "binary") as venue:
        result = run_against(venue, rate=400.0, burst=20, orders=0, duration_s=0.5)
    assert result["error_texts"] == []
    assert result["burst"] == 20
    assert result["orders_sent"] % 20 == 0
    assert 160 <= result["orders_sent"] <= 800

"""`openoutcry book` and `top` beside a running venue, and the feed that they read."""

import json
import os
import random
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from support.peers import BinaryPeer
from support.venue import Venue, wait_for

from openoutcry.engine.enums import Side
from openoutcry.protocol.binary.enums import ReportKind
from openoutcry.protocol.binary.messages import Cancel, ExecutionReport, Replace
from openoutcry.server.depth import BookFeed
from openoutcry.server.venues import find_venue

MakeBinary = Callable[..., BinaryPeer]
_COMMAND = [sys.executable, "-m", "openoutcry.server.main"]
_TIMEOUT_S = 60

#: (price in ticks, quantity in lots, orders), best first, of bids and of asks.
Book = tuple[list[tuple[int, int, int]], list[tuple[int, int, int]]]


def run(*args: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*_COMMAND, *args],
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
        env={**os.environ, **environment},
    )


class Flow:
    """Random orders of one session in one symbol, and the book that its reports tell of."""

    def __init__(self, peer: BinaryPeer, symbol: str, seed: int = 1) -> None:
        self.peer = peer
        self.symbol = symbol
        self.random = random.Random(seed)
        self.orders: dict[str, tuple[int, int, int]] = {}
        self.trades = 0
        self.traded_lots = 0
        self._ids = 0
        self._prefix = f"{symbol}-{seed}-"

    def send(self, count: int) -> None:
        """Send orders, cancels and replaces in one piece, and take in all reports."""
        messages: list[Any] = []
        for _ in range(count):
            self._ids += 1
            name = f"{self._prefix}{self._ids}"
            kind = self.random.random()
            known = f"{self._prefix}{self.random.randint(max(1, self._ids - 60), self._ids)}"
            number = self.peer.symbols[self.symbol].number
            if kind < 0.6:
                side = self.random.choice([1, 2])
                offset = self.random.randint(-4, 30)
                price = 10_000 + (offset if side == Side.SELL else -offset)
                order = self.peer.order(name, self.symbol, side, self.random.randint(1, 30), price)
                messages.append(order)
            elif kind < 0.85:
                messages.append(Cancel(self.peer.next_seq(), name, known, number, 0))
            else:
                price = 10_000 + self.random.randint(-30, 30)
                qty = self.random.randint(1, 30)
                messages.append(
                    Replace(self.peer.next_seq(), name, known, number, 0, 2, price, qty)
                )
        last = messages[-1].seq
        self.peer.send(*messages)
        self._take(last)

    def _take(self, last: int) -> None:
        # The number answered rises; a status request after the last marks the end.
        self.peer.status("none", self.symbol)
        while True:
            report = self.peer.receive()
            assert isinstance(report, ExecutionReport), report
            if report.ref_seq == last + 1:
                return
            if report.kind in (ReportKind.CANCEL_REJECTED, ReportKind.REJECTED):
                continue
            self.orders.pop(report.orig_cl_ord_id, None)
            self.orders[report.cl_ord_id] = (report.side, report.price, report.leaves_qty)
            if report.kind == ReportKind.TRADE and report.liquidity == 1:
                self.trades += 1
                self.traded_lots += report.last_qty

    def book(self) -> Book:
        """Return the book by price."""
        levels: dict[tuple[int, int], list[int]] = defaultdict(lambda: [0, 0])
        for side, price, leaves in self.orders.values():
            if leaves:
                levels[side, price][0] += leaves
                levels[side, price][1] += 1
        sides = []
        for side, sign in ((Side.BUY, -1), (Side.SELL, 1)):
            rows = [(p, qty, n) for (s, p), (qty, n) in levels.items() if s == side]
            sides.append(sorted(rows, key=lambda row: sign * row[0]))
        return sides[0], sides[1]


def shown(record: dict[str, Any]) -> Book:
    """Return a printed book in ticks (of 0.05) and lots (of 10)."""
    sides = []
    for name in ("bids", "asks"):
        rows = []
        for level in record[name]:
            ticks, lots = Decimal(level["price"]) / Decimal("0.05"), Decimal(level["qty"]) / 10
            assert ticks == int(ticks)
            assert lots == int(lots)
            rows.append((int(ticks), int(lots), level["orders"]))
        sides.append(rows)
    return sides[0], sides[1]


def known(feed: BookFeed) -> Book:
    """Return a feed's book."""

    def rows(levels: Any) -> list[tuple[int, int, int]]:
        return [tuple(row) for row in levels.tolist()]

    return rows(feed.mirror.bids), rows(feed.mirror.asks)


def feed_of(venue: Venue, symbol: str, levels: int = 20) -> BookFeed:
    running = find_venue(venue.name)
    found = running.card.symbol(symbol)
    assert found is not None
    return BookFeed(running, found, levels)


@pytest.fixture
def reader(venue: Venue, symbol: str) -> Iterator["subprocess.Popen[str]"]:
    """A `book --json` that follows the test's symbol."""
    options = ("--json", "--venue", venue.name, "--refresh", "0.05", "--levels", "100")
    process = subprocess.Popen(
        [*_COMMAND, "book", symbol, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_once_prints_the_book_as_it_is(venue: Venue, binary: MakeBinary, symbol: str):
    flow = Flow(binary(), symbol)
    flow.send(300)
    done = run("book", symbol, "--once", "--json", "--venue", venue.name, "--levels", "500")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert shown(record) == flow.book()
    bids, asks = flow.book()
    assert Decimal(record["best_bid"]) == bids[0][0] * Decimal("0.05")
    assert Decimal(record["best_ask"]) == asks[0][0] * Decimal("0.05")
    assert Decimal(record["spread"]) == (asks[0][0] - bids[0][0]) * Decimal("0.05")
    middle = (asks[0][0] + bids[0][0]) / 2
    assert record["spread_bps"] == pytest.approx(1e4 * (asks[0][0] - bids[0][0]) / middle, abs=1e-4)
    # Trades from before the reader came, out of the ring; it saw none itself.
    assert len(record["last_trades"]) == 10
    assert record["trades"] == 0
    assert record["symbol"] == symbol
    assert record["venue"] == venue.name


def test_a_reader_follows_and_never_shows_a_crossed_book(
    reader: "subprocess.Popen[str]", binary: MakeBinary, symbol: str
):
    assert reader.stdout is not None
    flow = Flow(binary(), symbol, seed=2)
    first = json.loads(reader.stdout.readline())
    assert shown(first) == ([], [])
    for _ in range(20):
        flow.send(100)
        record = json.loads(reader.stdout.readline())
        if record["best_bid"] and record["best_ask"]:
            assert Decimal(record["best_bid"]) < Decimal(record["best_ask"])
    expected = flow.book()

    def is_shown() -> Any:
        assert reader.stdout is not None
        record = json.loads(reader.stdout.readline())
        return record if shown(record) == (expected[0][:100], expected[1][:100]) else None

    record = wait_for(is_shown, 10)
    assert flow.trades > 50
    assert record["trades"] == flow.trades
    assert Decimal(record["volume"]) == flow.traded_lots * 10
    assert record["overruns"] == 0


def test_many_readers_at_once_get_their_own_books(venue: Venue, binary: MakeBinary, symbol: str):
    peer = binary()
    symbols = [symbol, *(venue.take_symbol() for _ in range(3))]
    books = {}
    for number, name in enumerate(symbols):
        flow = Flow(peer, name, seed=10 + number)
        flow.send(120)
        books[name] = flow.book()

    def read(name: str) -> Book:
        # A feed asks for a snapshot when it is made.
        feed = feed_of(venue, name, levels=200)
        feed.update()
        return known(feed)

    wanted = symbols * 25
    with ThreadPoolExecutor(8) as pool:
        for name, book in zip(wanted, pool.map(read, wanted), strict=True):
            assert book == books[name]


def test_an_overrun_feed_takes_a_snapshot_and_goes_on(tmp_path: Path):
    with Venue(tmp_path, "capacity.event_ring_records=64") as venue:
        peer = BinaryPeer(venue.port("binary"), "OVERRUN")
        peer.log_on()
        feed = feed_of(venue, "AAPL")
        flow = Flow(peer, "AAPL", seed=3)
        for step in range(30):
            flow.send(10 if step % 3 else 300)
            feed.update()
            assert known(feed) == flow.book()
        assert feed.overruns >= 5
        assert feed.snapshots == feed.overruns + 1
        assert feed.mirror.faults == 0
        peer.close()


def test_the_human_form_is_a_ladder_and_fits_eighty_columns(
    venue: Venue, binary: MakeBinary, symbol: str
):
    peer = binary()
    peer.new(f"{symbol}-b", symbol, 1, 3, 10_000)
    peer.new(f"{symbol}-a", symbol, 2, 4, 10_010)
    peer.receive()
    peer.receive()
    for columns in ("80", "120"):
        done = run("book", symbol, "--once", "--venue", venue.name, COLUMNS=columns)
        assert done.returncode == 0, done.stderr
        assert "500.00" in done.stdout
        assert "500.50" in done.stdout
        assert "spread 0.50 (9.995 bps)" in done.stdout
        assert max(map(len, done.stdout.splitlines())) <= int(columns)


def test_an_empty_book_is_shown_as_such(venue: Venue, symbol: str):
    done = run("book", symbol, "--once", "--venue", venue.name)
    assert done.returncode == 0, done.stderr
    assert "bid none  ask none" in done.stdout


def test_an_unknown_symbol_gets_the_nearest_name(venue: Venue):
    done = run("book", "BTCUSD", "--venue", venue.name)
    assert done.returncode == 2
    assert "Did you mean 'BTCUSDT'?" in done.stderr


def test_no_venue_is_said_in_a_sentence(tmp_path: Path):
    done = run("book", "AAPL", "--shm-dir", str(tmp_path))
    assert done.returncode == 1
    assert "no venue is running here" in done.stderr
    assert "openoutcry serve" in done.stderr


def test_a_reader_ends_when_the_venue_stops(tmp_path: Path):
    with Venue(tmp_path) as venue:
        process = subprocess.Popen(
            [*_COMMAND, "book", "AAPL", "--json", "--venue", venue.name],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout is not None
            process.stdout.readline()
            venue.process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=_TIMEOUT_S)
        finally:
            process.kill()
            process.communicate()
    assert process.returncode == 1
    assert "the venue has stopped" in errors


def test_a_reader_ends_quietly_on_a_signal_and_on_a_closed_pipe(
    venue: Venue, reader: "subprocess.Popen[str]"
):
    assert reader.stdout is not None
    assert reader.stderr is not None
    reader.stdout.readline()
    reader.send_signal(signal.SIGTERM)
    assert reader.wait(_TIMEOUT_S) == 0
    assert reader.stderr.read() == ""
    piped = subprocess.run(
        f"{sys.executable} -m openoutcry.server.main book AAPL --json --refresh 0.05 "
        f"--venue {venue.name} | head -1",
        shell=True,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=True,
    )
    assert json.loads(piped.stdout)["symbol"] == "AAPL"
    assert piped.stderr == ""


def test_top_tells_what_the_venue_did_meanwhile(venue: Venue, binary: MakeBinary, symbol: str):
    process = subprocess.Popen(
        [*_COMMAND, "top", "--json", "--venue", venue.name, "--refresh", "0.5"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        records = [json.loads(process.stdout.readline())]
        flow = Flow(binary(), symbol, seed=4)
        flow.send(500)
        records += [json.loads(process.stdout.readline()) for _ in range(3)]
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=_TIMEOUT_S)
    # Gauges are as of the last picture, rates of the half second before each.
    assert max(record["orders_per_s"] for record in records) > 0
    totals = [record["totals"] for record in records]
    assert totals[-1]["trades"] - totals[0]["trades"] == flow.trades
    # The status request is one, too.
    assert totals[-1]["orders"] - totals[0]["orders"] == 501
    busy = max(records, key=lambda record: record["orders_per_s"])
    for stage, figures in busy["stages_us"].items():
        assert figures["count"] > 0, stage
        assert 0 < figures["p50"] <= figures["p99"] <= figures["max"]
    assert records[-1]["sessions"]["binary"] >= 1
    assert {process["name"] for process in records[-1]["processes"]} >= {"gateway-0", "shard-0"}


def test_tops_human_form_fits_eighty_columns(venue: Venue):
    done = run("top", "--once", "--venue", venue.name, "--refresh", "0.1", COLUMNS="80")
    assert done.returncode == 0, done.stderr
    assert "gateway to gateway" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80

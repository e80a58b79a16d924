"""A gateway killed while clients of both protocols trade on two shards: it comes back alone, and
every order is executed and told once."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from support.peers import BinaryPeer, Closed, FixPeer, FixReport, utc
from support.venue import Venue, wait_for

from openoutcry.engine.enums import ReportKind
from openoutcry.protocol.binary.messages import ExecutionReport

SYMBOLS = ("AAPL", "MSFT")
ORDERS = 60


class FixClient:
    """A FIX client that keeps its numbers, what it sent, and what it was told."""

    def __init__(self, venue: Venue, name: str) -> None:
        self._venue, self._name = venue, name
        self.sent: dict[int, tuple[str, str]] = {}
        self.told: dict[int, FixReport] = {}
        self.peer = FixPeer(venue.port("fix"), name)
        self.peer.log_on()

    def send_orders(self, first: int, count: int) -> None:
        """Send orders, by turns to either shard, in one go."""
        frames = []
        for n in range(first, first + count):
            body = self.peer.order(f"{self._name}-{n}", SYMBOLS[n % 2], "1", 1, "10")
            self.sent[self.peer.next_out] = ("D", body)
            frames.append(self.peer.frame("D", body))
        self.peer.raw(b"".join(frames))

    def listen(self, *, until: int = 0) -> None:
        """Take in what comes until so many orders are told of, or the connection ends; send again
        what is asked for."""
        deadline = time.monotonic() + 20
        while not until or len(self.orders()) < until:
            try:
                message = self.peer.receive(is_numbered=False)
            except Closed:
                assert not until
                return
            assert time.monotonic() < deadline
            self._take(message)

    def _take(self, message: FixReport) -> None:
        number = int(message[34])
        if message.kind == "2":
            self._resend(int(message[7]))
        if number in self.told and message.kind == "8":
            # Sent again, it is what it was.
            assert message.get(43) == "Y"
            assert self.told[number].pick(17, 11, 150, 60) == message.pick(17, 11, 150, 60)
        self.told.setdefault(number, message)

    def _resend(self, first: int) -> None:
        for number in range(first, self.peer.next_out):
            kind, body = self.sent.get(number, ("4", f"123=Y|36={number + 1}|"))
            extra = f"43=Y|122={utc()}|"
            self.peer.send(kind, body, seq=str(number), extra=extra)

    def come_back(self) -> None:
        """Connect again with the numbers kept, and ask for what is missing."""
        self.peer.close()
        next_out = self.peer.next_out
        missing = next(n for n in range(1, 10**6) if n not in self.told)

        def connected() -> bool:
            self.peer = FixPeer(self._venue.port("fix"), self._name, next_out=next_out)
            self.peer.send("A", "98=0|108=0|")
            try:
                answer = self.peer.receive(is_numbered=False)
            except (Closed, OSError):
                self.peer.close()
                return False
            assert answer.kind == "A", answer
            self.told.setdefault(int(answer[34]), answer)
            return True

        wait_for(connected, 20, 0.05)
        self.peer.send("2", f"7={missing}|16=0|")

    def orders(self) -> list[str]:
        """Return the ClOrdIDs of the orders told as new."""
        return [m[11] for m in self.told.values() if m.kind == "8" and m[150] == "0"]


@pytest.mark.parametrize(
    "settings",
    [("log.durability=process",), ("log.durability=power", "gateway.count=2")],
    ids=["process", "power, two gateways"],
)
def test_every_order_is_told_once_when_the_gateway_is_killed(
    tmp_path: Path, settings: tuple[str, ...]
):
    config: dict[str, Any] = {"shards": [{}, {}]}
    with Venue(tmp_path, *settings, config=config, data_dir=tmp_path / "data") as venue:
        fix = FixClient(venue, "FIXER")
        binary = BinaryPeer(venue.port("binary"), "BINNY")
        binary.log_on()
        for life in range(3):
            for n in range(life * ORDERS, (life + 1) * ORDERS):
                binary.new(f"B-{n}", SYMBOLS[n % 2], 1, 1, 1000)
            fix.send_orders(life * ORDERS, ORDERS)
            time.sleep(0.001 * life)
            for name, pid in venue.children().items():
                if name.startswith("oo-gateway"):
                    os.kill(pid, signal.SIGKILL)
            fix.listen()
            fix.come_back()
            fix.listen(until=(life + 1) * ORDERS)
            binary = come_back_binary(venue, binary, (life + 1) * ORDERS)
        told = fix.orders()
        assert sorted(told) == sorted(f"FIXER-{n}" for n in range(3 * ORDERS))
        assert "recovered:" in venue.log()
        # The books hold each order once.
        for symbol in SYMBOLS:
            assert book_qty(binary, symbol) == 3 * ORDERS
        binary.close()
        fix.peer.close()


def come_back_binary(venue: Venue, peer: BinaryPeer, orders: int) -> BinaryPeer:
    """Log on again from the first message on, send what was not accepted, and hold what is told
    against what was sent."""
    peer.close()

    def connected() -> BinaryPeer | None:
        again = BinaryPeer(venue.port("binary"), "BINNY")
        try:
            again.log_on(next_expected=1)
        except (Closed, OSError):
            again.close()
            return None
        return again

    peer = wait_for(connected, 20, 0.05)
    for n in range(peer.seq - 1, orders):
        peer.new(f"B-{n}", SYMBOLS[n % 2], 1, 1, 1000)
    told: set[str] = set()
    while len(told) < orders:
        report = peer.receive()
        if isinstance(report, ExecutionReport) and report.kind == ReportKind.NEW:
            assert report.cl_ord_id not in told
            told.add(report.cl_ord_id)
    assert told == {f"B-{n}" for n in range(orders)}
    return peer


def book_qty(peer: BinaryPeer, symbol: str) -> int:
    """Sell into the book until nothing is left; return how much there was."""
    peer.new(f"SELL-{symbol}", symbol, 2, 100_000, 1000, tif=3)
    total = 0
    while True:
        report = peer.receive()
        if isinstance(report, ExecutionReport) and report.cl_ord_id == f"SELL-{symbol}":
            total = max(total, report.cum_qty)
            if report.leaves_qty == 0:
                return total

"""The dashboard's queries over a venue that trades: real processes, a real Prometheus."""

import json
import math
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from support.prometheus import (
    Prometheus,
    board_queries,
    needs_prometheus,
    run_prometheus,
    stop,
)


class Trader:
    """A FIX session that sends pairs of orders that trade, and never reads a message in full."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), timeout=20)
        self.seq = 0

    def message(self, kind: str, *fields: str) -> bytes:
        self.seq += 1
        now = datetime.now(UTC).strftime("%Y%m%d-%H:%M:%S.%f")[:-3]
        head = [f"35={kind}", f"34={self.seq}", "49=DASHBOARD", f"52={now}", "56=OPENOUTCRY"]
        body = "".join(f"{field}\x01" for field in (*head, *fields)).encode()
        text = f"8=FIX.4.4\x019={len(body)}\x01".encode() + body
        return text + f"10={sum(text) % 256:03d}\x01".encode()

    def order(self, side: int, price: str) -> bytes:
        now = datetime.now(UTC).strftime("%Y%m%d-%H:%M:%S.%f")[:-3]
        identity = f"d{self.seq}"
        fields = (f"11={identity}", "21=1", "38=10", "40=2", f"44={price}", f"54={side}")
        return self.message("D", "1=A", *fields, "55=AAPL", "59=1", f"60={now}")

    def log_on(self) -> None:
        self.socket.sendall(self.message("A", "98=0", "108=30", "141=Y"))
        assert b"\x0135=A\x01" in self.socket.recv(4096)

    def trade(self) -> None:
        """Send a batch: trades, a resting order, a cancel of what is not there."""
        batch = self.order(1, "100.00") + self.order(2, "100.00") + self.order(1, "99.00")
        now = datetime.now(UTC).strftime("%Y%m%d-%H:%M:%S.%f")[:-3]
        cancel = ("11=c" + str(self.seq), "41=none", "38=10", "54=1", "55=AAPL", f"60={now}")
        self.socket.sendall(batch + self.message("F", *cancel))
        self.socket.recv(1 << 16)


@pytest.fixture(scope="module")
def venue() -> Iterator[dict[str, Any]]:
    """Run a venue in which somebody trades; yield its ready line."""
    ports = ("listen.fix=0", "listen.binary=0", "listen.http=0")
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "openoutcry.server.main",
            "serve",
            *(part for port in ports for part in ("--set", port)),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    done = threading.Event()
    worker = None
    try:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        trader = Trader(ready["fix"])
        trader.log_on()

        def trade() -> None:
            while not done.wait(0.1):
                trader.trade()

        worker = threading.Thread(target=trade)
        worker.start()
        yield ready
    finally:
        done.set()
        if worker is not None:
            worker.join(timeout=30)
            trader.socket.close()
        stop(process)
        if process.stdout is not None:
            process.stdout.close()


@pytest.fixture(scope="module")
def prometheus(
    venue: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    yield from run_prometheus(tmp_path_factory.mktemp("prometheus"), venue["http"])


@needs_prometheus
@pytest.mark.parametrize(("panel", "expression"), board_queries())
def test_a_panels_query_gives_numbers(prometheus: Prometheus, panel: str, expression: str):
    values = prometheus.values(expression)
    assert values, f"{panel}: no series"
    assert not any(map(math.isnan, values)), f"{panel}: {values}"


@needs_prometheus
@pytest.mark.parametrize(
    "expression",
    [
        'sum(rate(openoutcry_orders_total{type="new"}[20s]))',
        'sum(rate(openoutcry_orders_total{type="cancel"}[20s]))',
        "sum(rate(openoutcry_trades_total[20s]))",
        'sum(rate(openoutcry_rejects_total{reason="unknown_order"}[20s]))',
        'openoutcry_sessions_connected{protocol="fix"}',
        'openoutcry_connections{protocol="fix"}',
        'sum(rate(openoutcry_messages_total{protocol="fix",direction="in"}[20s]))',
        'sum(rate(openoutcry_messages_total{protocol="fix",direction="out"}[20s]))',
        'openoutcry_pool_used{pool="open_orders"}',
        'rate(openoutcry_log_bytes{log="command"}[20s])',
        'rate(openoutcry_log_bytes{log="report"}[20s])',
        'openoutcry_process_resident_memory_bytes{process="shard-0"}',
        "min by (stage) (rate(openoutcry_stage_seconds_count[20s]))",
    ],
)
def test_a_venue_that_trades_shows_it(prometheus: Prometheus, expression: str):
    values = prometheus.values(expression)
    assert values
    assert all(value > 0 for value in values), values


def test_metrics_of_a_venue_that_trades_are_a_few_hundred_lines(venue: dict[str, Any]):
    with urllib.request.urlopen(f"http://{venue['http']}/metrics", timeout=20) as response:
        lines = response.read().decode().splitlines()
    assert 100 < len(lines) < 2000
    assert "openoutcry_ready 1.0" in lines

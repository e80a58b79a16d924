"""Every query of the dashboard and the alerts, executed by a real Prometheus."""

import importlib.util
import json
import math
import os
import shutil
import socket
import subprocess
import sys
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator

import pytest
from support.prometheus import (
    BOARD,
    DEPLOY,
    Prometheus,
    alert_queries,
    board_queries,
    needs_prometheus,
    run_prometheus,
    stop,
)
from support.venue_folder import VenueFolder

from openoutcry.engine.enums import CommandKind, ReportKind
from openoutcry.engine.latency import GatewayCounter, GatewayStage, ShardCounter, ShardStage


def test_the_committed_dashboard_is_what_the_script_writes():
    pytest.importorskip("grafana_foundation_sdk")
    spec = importlib.util.spec_from_file_location("dashboard", DEPLOY / "dashboard.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.to_json() == BOARD.read_text(), "run `make dashboard`"


def test_the_dashboard_has_queries_and_titles():
    board = json.loads(BOARD.read_text())
    panels = [panel for panel in board["panels"] if panel["type"] != "row"]
    assert len(panels) > 15
    assert all(panel["title"] and panel["description"] for panel in panels)
    assert all(panel["datasource"]["uid"] == "${source}" for panel in panels)
    assert len(board_queries()) > 30


@needs_prometheus
def test_promtool_accepts_the_configuration():
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed")
    subprocess.run(
        ["promtool", "check", "config", str(DEPLOY / "prometheus.yml")],
        check=True,
        capture_output=True,
        timeout=30,
    )


_EXPORTER = """
import socket, sys
from pathlib import Path
from openoutcry.server.exporter import run_exporter
listener = socket.socket(fileno=int(sys.argv[1]))
run_exporter(Path(sys.argv[2]), Path("/nowhere"), listener, parent_pid=int(sys.argv[3]))
"""


@pytest.fixture(scope="module")
def exporter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve /metrics of a synthetic venue whose counters go up; yield its address."""
    venue = VenueFolder(tmp_path_factory.mktemp("venue"))
    venue.fill()
    done = threading.Event()

    def trade() -> None:
        while not done.wait(0.2):
            for shard in venue.shards:
                shard.counters[ShardCounter.COMMANDS + CommandKind.NEW] += 20
                shard.counters[ShardCounter.REPORTS + ReportKind.NEW] += 20
                shard.counters[ShardCounter.REPORTS + ReportKind.TRADE] += 4
                shard.counters[ShardCounter.LOG_BYTES] += 20 * 192
                for stage in ShardStage:
                    venue.observe(shard, stage, [300, 2_000, 40_000])
            for word in range(GatewayCounter.CONNECTIONS):
                venue.gateway.counters[word] += 1
            venue.gateway.counters[GatewayCounter.READ_CALLS] += 1
            for row in GatewayStage:
                venue.observe(venue.gateway, row, [3_000, 50_000])

    worker = threading.Thread(target=trade)
    worker.start()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                _EXPORTER,
                str(listener.fileno()),
                str(venue.folder),
                str(os.getpid()),
            ],
            pass_fds=[listener.fileno()],
        )
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            done.set()
            worker.join(timeout=10)
            stop(process)


@pytest.fixture(scope="module")
def prometheus(exporter: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    yield from run_prometheus(tmp_path_factory.mktemp("prometheus"), exporter)


@needs_prometheus
@pytest.mark.parametrize(("panel", "expression"), board_queries())
def test_a_panels_query_gives_numbers(prometheus: Prometheus, panel: str, expression: str):
    values = prometheus.values(expression)
    assert values, f"{panel}: no series"
    assert not any(map(math.isnan, values)), f"{panel}: {values}"


@needs_prometheus
@pytest.mark.parametrize(("alert", "expression"), alert_queries())
def test_an_alert_is_evaluated(prometheus: Prometheus, alert: str, expression: str):
    prometheus.values(expression)
    groups = prometheus.get("/api/v1/rules")["groups"]
    rules = {rule["name"]: rule for group in groups for rule in group["rules"]}
    assert rules[alert]["health"] in {"ok", "unknown"}
    assert not rules[alert].get("lastError")


@needs_prometheus
def test_quantiles_are_those_that_were_counted(prometheus: Prometheus):
    buckets = 'openoutcry_stage_seconds_bucket{stage="match",process="shard-0"}'
    (p50,) = prometheus.values(f"histogram_quantile(0.5, rate({buckets}[20s]))")
    (p99,) = prometheus.values(f"histogram_quantile(0.99, rate({buckets}[20s]))")
    # A third each of 300 ns, 2 µs (whose inner bucket reaches above the bound 2 µs) and 40 µs.
    assert 1.5e-6 <= p50 <= 3e-6
    assert 3e-5 <= p99 <= 5e-5


def test_every_metric_of_the_queries_is_exported(exporter: str):
    import re

    with urllib.request.urlopen(f"http://{exporter}/metrics", timeout=20) as response:
        text = response.read().decode()
    exported = set(re.findall(r"^# TYPE (\w+)", text, re.MULTILINE))
    exported |= {f"{name}_bucket" for name in exported}
    for _, expression in board_queries() + alert_queries():
        for name in re.findall(r"openoutcry_\w+", expression):
            assert name in exported, name

"""`openoutcry demo`: its figures hold together, and it leaves nothing."""

import json
import os
import signal
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

_COMMAND = [sys.executable, "-m", "openoutcry.server.main", "demo"]
#: The first run compiles the venue's kernels and the clients'.
_TIMEOUT_S = 240


def left_behind(pid: int) -> list[Path]:
    """Return what there is of a demo's venue in shared memory."""
    return list(Path("/dev/shm").glob(f"openoutcry-demo-{pid}-*"))


def processes_of(pid: int) -> list[str]:
    """Return the command lines that belong to a demo's venue or ladder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if f"demo-{pid} " in line:
            found.append(line)
    return found


@pytest.fixture(scope="module")
def result() -> dict[str, Any]:
    """What a short run prints."""
    with subprocess.Popen(
        [*_COMMAND, "--json", "--duration", "5"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            out, err = process.communicate(timeout=_TIMEOUT_S)
        finally:
            process.kill()
    assert process.returncode == 0, out + err
    assert left_behind(process.pid) == []
    assert processes_of(process.pid) == []
    found: dict[str, Any] = json.loads(out)
    assert found["errors"] == []
    return found


def test_latency_is_measured_for_both_protocols(result: dict[str, Any]):
    for protocol in ("fix", "binary"):
        figures = result["latency"][protocol]
        latency = figures["latency_us"]
        assert (figures["connections"], figures["window"]) == (1, 1)
        assert 5 < latency["p50"] <= latency["p90"] <= latency["p99"] <= latency["max"]
        # One in flight: as many as fit into the time.
        assert figures["acked"] > 100
        assert figures["rejected"] <= figures["acked"] / 50
        assert figures["errors"] == 0


def test_throughput_is_measured_for_both_protocols(result: dict[str, Any]):
    for protocol in ("fix", "binary"):
        figures = result["throughput"][protocol]
        assert (figures["connections"], figures["window"]) == (8, 1024)
        assert figures["acked_per_s"] > 5_000
        rate = figures["acked"] / figures["duration_s"]
        assert figures["acked_per_s"] == pytest.approx(rate, rel=0.01)
        assert figures["errors"] == 0


def test_trading_adds_up(result: dict[str, Any]):
    trading = result["trading"]
    assert trading["symbol"] == "BTCUSDT"
    assert trading["trades"] == trading["venue_trades"] > 20
    assert trading["trades_per_s"] > 5
    volume, notional = Decimal(trading["volume"]), Decimal(trading["notional"])
    assert volume > 0
    assert 64_000 < notional / volume < 66_000
    assert trading["declined_orders"] == 0


def test_the_ladder_has_twenty_levels_and_is_never_crossed(result: dict[str, Any]):
    trading = result["trading"]
    assert trading["pictures"] >= 3
    assert trading["crossed"] == 0
    ladder = trading["ladder"]
    for side in ("bids", "asks"):
        # Takers may have eaten some just now.
        assert 10 <= trading["levels"][side] == len(ladder[side]) <= 20
    bids = [Decimal(level["price"]) for level in ladder["bids"]]
    asks = [Decimal(level["price"]) for level in ladder["asks"]]
    assert bids == sorted(bids, reverse=True)
    assert asks == sorted(asks)
    assert bids[0] < asks[0]
    assert Decimal(trading["best_bid"]) == bids[0]
    assert Decimal(trading["best_ask"]) == asks[0]
    bps = 20_000 * (asks[0] - bids[0]) / (asks[0] + bids[0])
    assert trading["spread_bps"] == pytest.approx(float(bps), abs=1e-3)
    assert trading["spread_bps_mean"] > 0


def test_the_venues_own_figures(result: dict[str, Any]):
    venue = result["venue"]
    assert result["ready_s"] > 0
    assert venue["orders"] > sum(
        result[phase][protocol]["orders_sent"]
        for phase in ("latency", "throughput")
        for protocol in ("fix", "binary")
    )
    assert venue["trades"] > result["trading"]["trades"]
    for phase in ("latency", "throughput", "trading"):
        stages = venue["stages_us"][phase]
        assert set(stages) == {
            *("decode_to_ring", "ring_wait", "match", "report_to_socket", "gateway_to_gateway")
        }
        for figures in stages.values():
            assert figures["count"] > 0
            assert 0 < figures["p50"] <= figures["p90"] <= figures["p99"]


def test_the_venues_figures_are_of_the_orders_measured(result: dict[str, Any]):
    """Neither of those that filled the book nor of those that emptied it, which go in batches."""
    for phase in ("latency", "throughput"):
        inside = result["venue"]["stages_us"][phase]["gateway_to_gateway"]
        outside = [result[phase][protocol] for protocol in ("fix", "binary")]
        assert inside["count"] >= sum(figures["orders_sent"] for figures in outside)
        # Each is within what its client sees; the warm-up is a sixth of them.
        assert inside["p50"] < max(figures["latency_us"]["p90"] for figures in outside)


def test_the_human_form_has_its_sections():
    done = subprocess.run(
        [*_COMMAND, "--duration", "2"],
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
        env={**os.environ, "COLUMNS": "80"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    titles = ("1. Start", "2. Latency", "3. Throughput", "4. Trading BTCUSDT", "5. Figures")
    places = [done.stdout.index(title) for title in titles]
    assert places == sorted(places)
    assert "ready in" in done.stdout
    assert "bps" in done.stdout
    assert "\x1b" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


@pytest.mark.parametrize(
    ("number", "section"), [(signal.SIGINT, "1. Start"), (signal.SIGTERM, "4. Trading")]
)
def test_interrupted_it_stops_the_venue_and_leaves_nothing(number: int, section: str):
    with subprocess.Popen(
        [*_COMMAND, "--duration", "6"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if section in line:
                    break
            time.sleep(1)
            process.send_signal(number)
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130
    assert errors == "interrupted; the venue is stopped\n"
    assert left_behind(process.pid) == []
    assert processes_of(process.pid) == []


@pytest.mark.parametrize(
    ("number", "where"),
    [
        (signal.SIGINT, "demo._Ladders.add"),
        (signal.SIGTERM, "trading.Walk.move"),
        (signal.SIGINT, "fix_link.FixLink._receive"),
        (signal.SIGTERM, "fix_link.FixLink._receive"),
    ],
)
def test_trading_is_interrupted_wherever_it_is(number: int, where: str):
    """In the main task's own code, in another task's, or in that of a client."""
    code = (
        "import os, sys\n"
        "from openoutcry.clients import fix_link\n"
        "from openoutcry.loadgen import demo, trading\n"
        "calls = []\n"
        f"before = {where}\n"
        "def interrupt(*args):\n"
        "    calls.append(args)\n"
        "    if len(calls) == (100 if before.__name__ == '_receive' else 1):\n"
        f"        os.kill(os.getpid(), {int(number)})\n"
        "    return before(*args)\n"
        f"{where} = interrupt\n"
        "demo._Demo._loads = lambda *_: {}\n"
        "sys.argv[1:] = ['--json', '--duration', '30']\n"
        "demo.demo()\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stdout) == (130, ""), ended.stderr
    assert ended.stderr == "interrupted; the venue is stopped\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_that_the_compiler_drops_ends_the_demo_all_the_same(number: int):
    """As in a callback from C: the exception goes nowhere."""
    code = (
        "import os, sys\n"
        "from openoutcry.loadgen import demo\n"
        "def compile_client(scenario, protocol):\n"
        "    try:\n"
        f"        os.kill(os.getpid(), {int(number)})\n"
        "    except KeyboardInterrupt:\n"
        "        pass\n"
        "demo._compile_client = compile_client\n"
        "sys.argv[1:] = ['--json', '--duration', '2']\n"
        "demo.demo()\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stdout) == (130, ""), ended.stderr
    assert "interrupted; the venue is stopped" in ended.stderr

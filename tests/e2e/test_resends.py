"""Big resends in a running venue, to clients that trade on meanwhile."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.peers import BinaryPeer, FixPeer
from support.venue import Venue

from openoutcry.protocol.binary.messages import ExecutionReport

pytestmark = pytest.mark.two_gateways_too

MakeFix = Callable[..., FixPeer]
MakeBinary = Callable[..., BinaryPeer]

_BEFORE = 1500
_MEANWHILE = 1500


def ioc(peer: FixPeer, name: str, symbol: str) -> bytes:
    """Return an order that finds nobody: it gives two reports."""
    return peer.frame("D", peer.order(name, symbol, "1", 10, "1.00", tif="3"))


def test_a_client_that_trades_while_it_is_resent_to_is_caught_up_with(fix: MakeFix, symbol: str):
    peer = fix()
    peer.raw(b"".join(ioc(peer, f"a{n}", symbol) for n in range(_BEFORE)))
    before = peer.reports(2 * _BEFORE)
    peer.raw(
        b"".join(
            [
                peer.frame("2", f"7=2|16={1 + 2 * _BEFORE}|"),
                *(ioc(peer, f"b{n}", symbol) for n in range(_MEANWHILE)),
            ]
        )
    )
    again = [peer.receive(is_numbered=False) for _ in range(2 * _BEFORE)]
    assert all(report.get(43) == "Y" for report in again)
    changed = (9, 10, 43, 52, 122)
    for first, second in zip(before, again, strict=True):
        assert second[122] == first[52]
        assert {t: v for t, v in second.items() if t not in changed} == {
            t: v for t, v in first.items() if t not in changed
        }
    # What was numbered meanwhile follows, in order and for the first time.
    fresh = peer.reports(2 * _MEANWHILE)
    assert [report[11] for report in fresh] == [f"b{n // 2}" for n in range(2 * _MEANWHILE)]
    assert not any(43 in report for report in fresh)
    assert peer.is_alive()


def test_a_binary_client_that_trades_while_it_is_repeated_to_is_caught_up_with(
    venue: Venue, symbol: str, comp_id: str
):
    def orders(peer: BinaryPeer, letter: str, count: int) -> None:
        peer.send(*(peer.order(f"{letter}{n}", symbol, 1, 1, 20, tif=3) for n in range(count)))

    with BinaryPeer(venue.port("binary"), comp_id) as peer:
        peer.log_on()
        orders(peer, "a", _BEFORE)
        before = peer.reports(2 * _BEFORE)
        peer.log_out()
    with BinaryPeer(venue.port("binary"), comp_id) as peer:
        peer.log_on(next_expected=1)
        orders(peer, "b", _MEANWHILE)
        again = [peer.receive() for _ in range(2 * _BEFORE)]
        for first, second in zip(before, again, strict=True):
            assert isinstance(second, ExecutionReport)
            assert second.repeated
            assert (second.seq, second.exec_id) == (first.seq, first.exec_id)
        fresh = peer.reports(2 * _MEANWHILE)
        assert [report.cl_ord_id for report in fresh] == [
            f"b{n // 2}" for n in range(2 * _MEANWHILE)
        ]
        assert not any(report.repeated for report in fresh)
        peer.log_out()


def test_the_benchmark_measures_resends(tmp_path: Path):
    file = tmp_path / "result.json"
    command = [sys.executable, "-m", "openoutcry.server.main", "bench", "resend"]
    command += ["--messages", "3000", "--seconds", "0.5", "--pairs", "1", "--rate", "2000"]
    done = subprocess.run(
        [*command, "--json", str(file)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(file.read_text("utf-8"))
    assert result["messages"] >= 3000
    assert result["resends"] >= 1
    assert result["errors"] == 0
    assert 0 < result["resend_s"] < 60
    assert result["alone_us"]["p99"] > 0
    assert "3,000 messages again" in done.stdout

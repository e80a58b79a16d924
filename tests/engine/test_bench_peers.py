"""Beside other Python books: the flow is the same for all, and a missing peer is no error."""

import json

import pytest
from click.testing import CliRunner

from openoutcry.config.jit import IS_COMPILED
from openoutcry.engine.bench import peers
from openoutcry.engine.bench.peers import Contestant, Run, make_flow

pytestmark = pytest.mark.skipif(not IS_COMPILED, reason="plays a flow many times")

OURS = peers.CONTESTANTS[:5]


def run(monkeypatch, tmp_path, contestants):
    monkeypatch.setattr(peers, "CONTESTANTS", contestants)
    file = tmp_path / "peers.json"
    arguments = ["--calls", "600", "--slow-calls", "100", "--turns", "2", "--json", str(file)]
    result = CliRunner().invoke(peers.main, arguments)
    return result, json.loads(file.read_text())


def test_a_flow_is_the_same_for_the_same_seed():
    flow = make_flow(3_000, 1, resting=100)
    assert flow == make_flow(3_000, 1, resting=100)
    assert flow != make_flow(3_000, 2, resting=100)
    kinds = [call[0] for call in flow.calls]
    assert 0.25 < kinds.count(1) / len(kinds) < 0.40
    assert 0.05 < kinds.count(2) / len(kinds) < 0.15
    assert flow.traded[-1] > 3_000


def test_every_way_to_call_this_engine_trades_the_same():
    flow = make_flow(3_000, 1, resting=100)
    for one in OURS:
        play = one.make(flow.calls)
        play.play()
        assert play.traded() == flow.traded[-1], one.name


def test_the_table_has_every_book_and_tells_what_is_missing(monkeypatch, tmp_path):
    def absent(calls):
        raise ImportError("No module named 'no_such_book'")

    def broken(calls):
        raise OSError("no library")

    peers = (
        Contestant("absent", "no-such-book", absent),
        Contestant("broken", "no-such-book", broken, is_slow=True),
    )
    result, figures = run(monkeypatch, tmp_path, (*OURS, *peers))
    assert result.exit_code == 0
    rows = figures["books"]
    assert [name for name, row in rows.items() if "missing" in row] == ["absent", "broken"]
    assert rows["broken"]["missing"] == "OSError: no library"
    assert rows["broken"]["calls"] == 100
    assert {row["traded"] for row in rows.values() if "traded" in row} == {
        rows[OURS[0].name]["expected"]
    }
    assert all(name in result.output for name in rows)
    assert "first 100 calls" in result.output


def test_a_book_that_trades_something_else_is_an_error(monkeypatch, tmp_path):
    wrong = Contestant("wrong", "openoutcry", lambda calls: Run(lambda: None, lambda: 7))
    result, figures = run(monkeypatch, tmp_path, (OURS[0], wrong))
    assert result.exit_code == 1
    assert "7, not " in result.output
    assert figures["books"]["wrong"]["traded"] == 7

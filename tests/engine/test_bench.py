"""The engine's benchmarks measure what they say; how fast it is, no test asks."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from openoutcry.config.jit import IS_COMPILED
from openoutcry.engine.bench import command
from openoutcry.engine.bench.command import bench_workload, engine, format_figures, survey
from openoutcry.engine.bench.handoff import (
    Drain,
    RingTooSmallError,
    match_into_ring,
    time_each,
)
from openoutcry.engine.bench.mixes import MIXES, record_flow
from openoutcry.engine.bench.workloads import DEPTH, NAMES, Workload, make_workload
from openoutcry.engine.enums import CommandKind, Liquidity, ReportKind, TimeInForce
from openoutcry.engine.match import process_batch
from openoutcry.engine.records import REPORT

pytestmark = pytest.mark.skipif(not IS_COMPILED, reason="long flows, and threads that spin")


@pytest.mark.parametrize("name", ["mixed", "shallow"])
def test_a_recorded_flow_has_the_wanted_mix(name):
    flow = record_flow(MIXES[name], 100_000)
    kinds = flow.commands["kind"][flow.warm_up :]
    shares = {kind: (kinds == kind).mean() for kind in CommandKind}
    assert shares[CommandKind.NEW] == pytest.approx(0.52, abs=0.04)
    assert shares[CommandKind.CANCEL] == pytest.approx(0.38, abs=0.04)
    assert shares[CommandKind.REPLACE] == pytest.approx(0.10, abs=0.02)
    assert flow.declined < 0.02 * 100_000
    assert flow.trades > 0.04 * 100_000


def test_flows_are_the_same_for_the_same_seed():
    first, second = (record_flow(MIXES["shallow"], 5_000, seed=3) for _ in range(2))
    assert first.commands.tobytes() == second.commands.tobytes()
    assert record_flow(MIXES["shallow"], 5_000, seed=4).commands.tobytes() != (
        first.commands.tobytes()
    )


def test_the_universe_has_many_symbols_and_mostly_moves():
    smaller = MIXES["universe"]._replace(symbols=500, resting=20_000)
    flow = record_flow(smaller, 100_000)
    commands = flow.commands[flow.warm_up :]
    shares = {kind: (commands["kind"] == kind).mean() for kind in CommandKind}
    assert shares[CommandKind.REPLACE] == pytest.approx(0.82, abs=0.03)
    assert shares[CommandKind.CANCEL] == pytest.approx(0.06, abs=0.02)
    is_ioc = (commands["kind"] == CommandKind.NEW) & (commands["tif"] == TimeInForce.IOC)
    assert is_ioc.mean() == pytest.approx(0.03, abs=0.01)
    moves = commands[commands["kind"] == CommandKind.REPLACE]
    assert (moves["price_ticks"] != 0).all()
    counts = np.sort(np.bincount(commands["symbol"], minlength=500))[::-1]
    # Pareto: a tenth of the symbols has far more than a tenth of the flow, the last still some.
    assert counts[:50].sum() > 0.25 * len(commands)
    assert counts[-1] > 0


@pytest.mark.parametrize(("name", "victim"), [("deep-lifo", DEPTH), ("deep-fifo", 1)])
def test_a_deep_level_is_emptied_from_the_wanted_end(name, victim):
    workload = make_workload(name, 1)
    assert workload.commands["orig0"][workload.warm_up] == victim
    figures = survey(workload)
    assert (figures["peak_resting"], figures["peak_levels"]) == (DEPTH, 1)
    assert (figures["messages"], figures["reports"]) == (2 * DEPTH, 2 * DEPTH)


def _all_reports(workload: Workload):
    book = workload.new_book()
    reports = np.zeros(4 * len(workload.commands), REPORT)
    done, last = process_batch(
        *(book, workload.commands, 0, len(workload.commands), reports, 1, 0, len(reports)),
    )
    assert done == len(workload.commands)
    return reports[:last]


def _hash(reports):
    hashed = 0
    for words in reports.view(np.uint64).reshape(len(reports), -1).tolist():
        hashed = (hashed * 31 + sum(words)) % (1 << 64)
    return hashed - (1 << 64) if hashed >> 63 else hashed


@pytest.mark.parametrize(("rows", "batch"), [(64, 1), (64, 64), (128, 7), (4096, 64)])
def test_the_other_core_reads_each_report_once_and_in_order(rows, batch):
    workload = make_workload("normal", 6_000)
    expected = _all_reports(workload)
    commands = workload.commands
    with Drain(rows) as drain:
        last = match_into_ring(
            *(workload.new_book(), commands, 0, len(commands)),
            *(drain.ring, drain.header, 0, batch),
        )
        drained = drain.finish(int(last))
    assert drained.reports == last == len(expected)
    assert drained.hash == _hash(expected)


@pytest.mark.parametrize(("interval_ns", "is_idle"), [(0, False), (1_000, False), (1_000, True)])
def test_timing_each_message_executes_them_all(interval_ns, is_idle):
    workload = make_workload("swing-40", 6_000)
    expected = _all_reports(workload)
    book = workload.new_book()
    nanoseconds = np.full(len(workload.commands), -1, np.int64)
    with Drain(64) as drain:
        last = time_each(
            *(book, workload.commands, 0, len(workload.commands), drain.ring, drain.header),
            *(interval_ns, is_idle, nanoseconds),
        )
        drained = drain.finish(int(last))
    assert (nanoseconds >= 0).all()
    if is_idle:
        assert drained.reports == 0
    else:
        assert drained == (len(expected), _hash(expected))


@pytest.mark.parametrize("timed", [False, True])
def test_a_sweep_longer_than_the_ring_is_refused(timed):
    workload = make_workload("deep-fifo", 1)
    commands = workload.commands[: DEPTH + 1].copy()
    commands[DEPTH] = commands[0]
    commands["side"][DEPTH], commands["qty_lots"][DEPTH] = 2, 40
    commands["id0"][DEPTH], commands["seq"][DEPTH] = 1 << 40, DEPTH + 1
    with Drain(64) as drain:
        head = (workload.new_book(), commands, 0, len(commands), drain.ring, drain.header)
        if timed:
            last = time_each(*head, 0, False, np.zeros(len(commands), np.int64))
        else:
            last = match_into_ring(*head, 0, 64)
        with pytest.raises(RingTooSmallError, match="more than the 64 reports"):
            drain.finish(int(last))


def test_a_survey_counts_what_the_reports_say():
    workload = make_workload("flash-crash", 20_000)
    reports = _all_reports(workload)
    figures = survey(workload)
    is_fill = (reports["kind"] == ReportKind.TRADE) & (reports["liquidity"] == Liquidity.REMOVED)
    assert figures["messages"] == len(workload.commands)
    assert figures["reports"] == len(reports)
    assert figures["fills"] == is_fill.sum() > 0
    assert figures["declined"] == (reports["kind"] == ReportKind.CANCEL_REJECTED).sum()
    assert figures["price_span"][0] < 33_504 < figures["price_span"][1]


def test_figures_are_complete():
    figures = bench_workload(make_workload("swing-25", 5_000), runs=2, rate=500_000, seconds=0.02)
    assert figures["messages_per_s"] > 0
    for times in (
        figures["latency_ns"],
        figures["open_loop"]["latency_ns"],
        figures["open_loop"]["no_work_ns"],
    ):
        assert set(times) == {"p50", "p90", "p99", "p999", "max"}
    text = format_figures(figures)
    assert text.startswith("swing-25")
    assert "open loop at 500,000/s" in text


def test_the_command_writes_the_agreed_figures(tmp_path):
    file = tmp_path / "engine.json"
    outcome = CliRunner().invoke(
        engine,
        ["--scenario", "equity", "--messages", "4000", "--runs", "1", "--json", str(file)],
    )
    assert outcome.exit_code == 0, outcome.output
    result = json.loads(file.read_text())
    assert set(result) == {"scenarios", "worst", "machine"}
    assert list(result["scenarios"]) == ["static", "normal", "swing-25", "swing-40", "flash-crash"]
    slowest = min(result["scenarios"].values(), key=lambda figures: figures["messages_per_s"])
    assert result["worst"]["scenario"] == slowest["scenario"]


def test_a_rate_of_less_than_one_message_in_the_time_still_measures_one():
    figures = bench_workload(make_workload("swing-25", 2_000), runs=1, rate=999, seconds=0.0001)
    assert figures["open_loop"]["latency_ns"]["max"] > 0


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--seconds", "nan"], "nan is no time"),
        (["--seconds", "inf"], "inf is no time"),
        (["--json", "/nowhere/at/all.json"], "No such file"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_measured(options, sentence, monkeypatch):
    monkeypatch.setattr(command, "bench_all", lambda *_, **__: pytest.fail("measured"))
    outcome = CliRunner().invoke(engine, options)
    assert outcome.exit_code == 2
    assert sentence in outcome.output


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"universe"}))
def test_every_flow_runs_through(name):
    workload = make_workload(name, 2_000)
    figures = survey(workload)
    assert figures["messages"] >= 1_500
    assert figures["declined"] < 0.1 * figures["messages"]

"""The engine's micro-benchmark measures what it says; how fast it is, no test asks."""

import pytest

from openoutcry.config.jit import IS_COMPILED
from openoutcry.engine.bench.mixes import SCENARIOS, bench_engine, format_figures, record_flow
from openoutcry.engine.enums import CommandKind

pytestmark = pytest.mark.skipif(not IS_COMPILED, reason="generates a long flow")


@pytest.mark.parametrize("name", ["mixed", "shallow"])
def test_a_recorded_flow_has_the_wanted_mix(name):
    scenario = SCENARIOS[name]
    flow = record_flow(scenario, 100_000)
    kinds = flow.commands["kind"][flow.warm_up :]
    shares = {kind: (kinds == kind).mean() for kind in CommandKind}
    assert shares[CommandKind.NEW] == pytest.approx(0.52, abs=0.04)
    assert shares[CommandKind.CANCEL] == pytest.approx(0.38, abs=0.04)
    assert shares[CommandKind.REPLACE] == pytest.approx(0.10, abs=0.02)
    assert flow.declined < 0.02 * 100_000
    assert flow.trades > 0.04 * 100_000


def test_flows_are_the_same_for_the_same_seed():
    first, second = (record_flow(SCENARIOS["shallow"], 5_000, seed=3) for _ in range(2))
    assert first.commands.tobytes() == second.commands.tobytes()
    assert record_flow(SCENARIOS["shallow"], 5_000, seed=4).commands.tobytes() != (
        first.commands.tobytes()
    )


def test_figures_are_complete():
    figures = bench_engine("shallow", messages=5_000)
    assert figures["messages"] == 5_000
    assert figures["messages_per_s"] > 0
    assert set(figures["latency_ns"]) == {"p50", "p90", "p99", "p999", "max"}
    assert figures["resting"] > 1_000
    assert format_figures(figures).startswith("shallow")

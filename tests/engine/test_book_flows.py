"""The five scenarios of a busy equity, a slice of each: `make proof` runs all of them in full."""

import numpy as np
import pytest
from oracle.ledger import Ledger
from oracle.pair import SMALL, add_symbols, differences
from oracle.trio import Trio
from proof import flows

from openoutcry.config.jit import IS_COMPILED
from openoutcry.engine import ReplacePolicy
from openoutcry.engine.bench.equity import SCENARIOS, equity_flow
from openoutcry.engine.records import REPORT
from openoutcry.engine.snapshot import check_invariants

#: New orders of a slice; there are about twice as many messages.
ORDERS = 15_000 if IS_COMPILED else 600
ORACLE_ORDERS = 1_000 if IS_COMPILED else 100


@pytest.mark.parametrize("scenario", list(SCENARIOS))
def test_a_slice_of_each_flow_matches_the_ledger(scenario):
    flow = equity_flow(scenario, ORDERS)
    _run(scenario, flow, ReplacePolicy.ALWAYS_REQUEUE)
    crowded = flows.crowded(flow)
    requeued = _run(scenario, crowded, ReplacePolicy.ALWAYS_REQUEUE)
    kept = _run(scenario, crowded, ReplacePolicy.KEEP_ON_REDUCE)
    if IS_COMPILED:
        # Without the JIT the slice is too short for that.
        assert requeued.reports_sha256 != kept.reports_sha256, "no place in a queue mattered"


def _run(scenario, commands, policy):
    outcome = flows.compare(scenario, commands, policy)
    assert outcome.messages > 1.9 * ORDERS
    assert outcome.fills > 0
    # One report answers each message; an IOC's remainder is told in one of its own.
    remainders = outcome.reports - outcome.messages - 2 * outcome.fills
    assert 0 < remainders < ORDERS
    return outcome


@pytest.mark.parametrize("policy", list(ReplacePolicy), ids=lambda policy: policy.name.lower())
@pytest.mark.parametrize("scenario", list(SCENARIOS))
def test_a_crowded_slice_of_each_flow_matches_oracle_and_auditor(scenario, policy):
    trio = Trio(SMALL._replace(open_orders=2_000, levels=2_000), is_checking=False)
    add_symbols(trio, 1, flags=policy)
    trio.run(flows.crowded(equity_flow(scenario, ORACLE_ORDERS)))
    check_invariants(trio.book)
    trio.audit.check(trio.book)


def test_a_difference_in_one_field_is_told(monkeypatch):
    """The comparison itself: one lot too many in one of the reports ends the run."""
    process = Ledger.process

    def spoiled(ledger, commands):
        reports = bytearray(process(ledger, commands))
        if len(reports) > 5 * REPORT.itemsize:
            np.frombuffer(reports, REPORT)[5:6]["qty_lots"] += 1
        return bytes(reports)

    monkeypatch.setattr(Ledger, "process", spoiled)
    commands = equity_flow("normal", 100)
    with pytest.raises(AssertionError, match="normal, KEEP_ON_REDUCE, messages 0 to") as e:
        flows.compare("normal", commands, ReplacePolicy.KEEP_ON_REDUCE)
    assert "row 5: qty_lots is" in str(e.value)
    assert differences(np.zeros(2, REPORT), np.zeros(1, REPORT)) == "2 rows, expected 1"

"""Ten million messages through the engine and the ledger, with equal reports: `make proof`.

The five scenarios of openoutcry.engine.bench.equity, about two million messages each, under both
replace policies. The engine's reports and the ledger's are compared byte for byte, so in every
field; then what rests in both books, and the engine's structure. A difference ends the run with its
fields and exit code 1.
"""

import argparse
import hashlib
import json
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from oracle.ledger import Ledger
from oracle.pair import differences

from openoutcry.engine import Engine, ReplacePolicy, Side, SymbolLimits, add_symbols
from openoutcry.engine.api import IN_PROCESS_CAPACITY
from openoutcry.engine.bench.equity import ORDERS, SCENARIOS, equity_flow
from openoutcry.engine.enums import ReportKind
from openoutcry.engine.records import REPORT
from openoutcry.engine.snapshot import check_invariants

#: Commands executed between two comparisons: their reports fit the memory of any machine.
CHUNK = 50_000


class Outcome(NamedTuple):
    """A run in which all reports were equal."""

    scenario: str
    policy: str
    messages: int
    reports: int
    fills: int
    declined: int
    resting: int
    state_hash: str
    reports_sha256: str
    engine_s: float
    ledger_s: float


def compare(scenario: str, commands: NDArray[Any], policy: ReplacePolicy) -> Outcome:
    """Execute commands in both; raise AssertionError at the first chunk whose reports differ."""
    limits = SymbolLimits(replace_policy=policy)
    engine = Engine([limits])
    ledger = Ledger(**IN_PROCESS_CAPACITY._asdict())
    ledger.process(add_symbols([(0, limits)]))
    sha256 = hashlib.sha256()
    fills = declined = 0
    engine_s = ledger_s = 0.0
    for first in range(0, len(commands), CHUNK):
        part = commands[first : first + CHUNK]
        start = time.perf_counter()
        reports = engine.process(part)
        middle = time.perf_counter()
        expected = ledger.process(part)
        engine_s += middle - start
        ledger_s += time.perf_counter() - middle
        got = reports.tobytes()
        if got != expected:
            found = differences(reports, np.frombuffer(expected, REPORT)).splitlines()[:20]
            where = f"{scenario}, {policy.name}, messages {first} to {first + len(part)}"
            raise AssertionError("\n".join([f"{where}: the reports differ", *found]))
        sha256.update(got)
        fills += int(np.count_nonzero(reports["kind"] == ReportKind.TRADE)) // 2
        declined += int(np.count_nonzero(reports["reason"]))
    _compare_books(engine, ledger)
    return Outcome(
        scenario=scenario,
        policy=policy.name,
        messages=len(commands),
        reports=engine.report_seq,
        fills=fills,
        declined=declined,
        resting=engine.open_orders,
        state_hash=f"{engine.state_hash():016x}",
        reports_sha256=sha256.hexdigest(),
        engine_s=round(engine_s, 2),
        ledger_s=round(ledger_s, 2),
    )


def _compare_books(engine: Engine, ledger: Ledger) -> None:
    """Compare what rests in both, level by level; walk the engine's structure."""
    assert engine.open_orders == len(ledger.open)
    for side in Side:
        rows = engine.depth_rows(0, side, ledger.level_count + 1).tolist()
        queues = ledger.sheets[0].pages[side].queues
        sign = -1 if side == Side.BUY else 1
        expected = [(sign * rank, queues[rank].lots, len(queues[rank])) for rank in sorted(queues)]
        assert rows == expected, f"the {side.name} levels differ"
    check_invariants(engine.book)


def main() -> int:
    """Run every scenario under both policies; print one line each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--orders", type=int, default=ORDERS, help="new orders a scenario")
    parser.add_argument("--json", type=Path, help="write the outcomes to this file, too")
    arguments = parser.parse_args()
    outcomes = []
    for scenario in SCENARIOS:
        commands = equity_flow(scenario, arguments.orders)
        for policy in ReplacePolicy:
            try:
                outcome = compare(scenario, commands, policy)
            except AssertionError as error:
                print(error, file=sys.stderr)
                return 1
            outcomes.append(outcome)
            print(
                f"{scenario} {policy.name}: {outcome.messages:,} messages, {outcome.reports:,} "
                f"reports ({outcome.fills:,} fills, {outcome.declined:,} declined): all equal to "
                f"the ledger's; state {outcome.state_hash}, reports' SHA-256 "
                f"{outcome.reports_sha256} ({outcome.engine_s} s, ledger {outcome.ledger_s} s)",
                flush=True,
            )
    total = sum(outcome.messages for outcome in outcomes)
    print(f"{total:,} messages in {len(outcomes)} runs: every report is equal in every field.")
    if arguments.json:
        arguments.json.write_text(json.dumps([one._asdict() for one in outcomes], indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

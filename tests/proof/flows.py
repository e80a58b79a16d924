"""Thirty million messages through the engine and the ledger, with equal reports: `make proof`.

The five scenarios of openoutcry.engine.bench.equity, about two million messages each: as they are,
under ALWAYS_REQUEUE, which is that benchmark's policy; and crowded (see there), under both replace
policies. The engine's reports and the ledger's are compared byte for byte, so in every field; then
what rests in both books, and the engine's structure. A difference ends the run with its fields and
exit code 1.
"""

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from oracle.ledger import Ledger
from oracle.pair import differences

from openoutcry.engine import Engine, ReplacePolicy, Side, SymbolLimits, add_symbols
from openoutcry.engine.api import IN_PROCESS_CAPACITY
from openoutcry.engine.bench.equity import ORDERS, SCENARIOS, equity_flow
from openoutcry.engine.enums import CommandKind, ReportKind
from openoutcry.engine.records import REPORT
from openoutcry.engine.snapshot import check_invariants

#: Commands executed between two comparisons: their reports fit the memory of any machine.
CHUNK = 50_000


class Outcome(NamedTuple):
    """A run in which all reports were equal."""

    flow: str
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


def crowded(commands: NDArray[Any]) -> NDArray[Any]:
    """Return a flow folded onto 24 prices, with later cancels and with later, smaller modifies.

    As they are, an order is modified and canceled right after it came, before the next one: always
    at the end of its queue, and never to less at the same price, so that both replace policies give
    the same reports. Crowded, thousands of orders rest in few queues, requests reach any place in
    them, and places kept or lost decide who trades.
    """
    number = commands["id0"].astype(np.int64)
    later = commands["kind"] != CommandKind.NEW
    delay = np.where(later, number * 7_919 % 2_000, 0)
    delay += np.where(commands["kind"] == CommandKind.CANCEL, number * 104_729 % 8_000, 0)
    changed = commands[np.argsort(np.arange(len(commands)) + delay, kind="stable")]
    changed["price_ticks"] = changed["price_ticks"] % 16 + 8 * (changed["side"] == Side.SELL)
    chosen = (changed["kind"] == CommandKind.REPLACE) & (changed["id0"] % 2 == 0)
    changed["qty_lots"][chosen] = (changed["qty_lots"][chosen] + 3) // 4
    return changed


def compare(flow: str, commands: NDArray[Any], policy: ReplacePolicy) -> Outcome:
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
            where = f"{flow}, {policy.name}, messages {first} to {first + len(part)}"
            raise AssertionError("\n".join([f"{where}: the reports differ", *found]))
        sha256.update(got)
        fills += int(np.count_nonzero(reports["kind"] == ReportKind.TRADE)) // 2
        declined += int(np.count_nonzero(reports["reason"]))
    _compare_books(engine, ledger)
    return Outcome(
        flow=flow,
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


def _runs(orders: int) -> Iterator[tuple[str, NDArray[Any], ReplacePolicy]]:
    for scenario in SCENARIOS:
        commands = equity_flow(scenario, orders)
        yield scenario, commands, ReplacePolicy.ALWAYS_REQUEUE
        commands = crowded(commands)
        for policy in ReplacePolicy:
            yield f"{scenario} crowded", commands, policy


def main() -> int:
    """Run every scenario, as it is and crowded; print a line for each run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--orders", type=int, default=ORDERS, help="new orders a scenario")
    parser.add_argument("--json", type=Path, help="write the outcomes to this file, too")
    arguments = parser.parse_args()
    outcomes = []
    for flow, commands, policy in _runs(arguments.orders):
        try:
            outcome = compare(flow, commands, policy)
        except AssertionError as error:
            print(error, file=sys.stderr)
            return 1
        outcomes.append(outcome)
        print(
            f"{flow}, {policy.name}: {outcome.messages:,} messages, {outcome.reports:,} reports "
            f"({outcome.fills:,} fills, {outcome.declined:,} declined): equal to the ledger's; "
            f"state {outcome.state_hash}, reports' SHA-256 {outcome.reports_sha256} "
            f"(engine {outcome.engine_s} s, ledger {outcome.ledger_s} s)",
            flush=True,
        )
    total = sum(outcome.messages for outcome in outcomes)
    print(f"{total:,} messages in {len(outcomes)} runs: every report is equal in every field.")
    if arguments.json:
        arguments.json.write_text(json.dumps([one._asdict() for one in outcomes], indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

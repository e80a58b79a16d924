"""The report stream of the public matching-engine-benchmark, in the text form that it hashes.

One line a report, sorted by the number of the message and then by kind: 0 order acknowledged,
1 trade, 2 canceled, 3 modified, 4 cancel rejected, 5 modify rejected. The published SHA-256 of each
scenario at seed 23 is what three independent engines (Liquibook, QuantCup, exchange-core) and all
conforming ones agree on.
"""

import hashlib
from collections.abc import Iterator

import numpy as np

from openoutcry.engine import Engine, ReplacePolicy, SymbolLimits
from openoutcry.engine.bench.equity import equity_flow
from openoutcry.engine.enums import CommandKind, Liquidity, ReportKind

#: reference/correctness_hash.txt of that benchmark, seed 23, 1,000,000 orders.
PUBLISHED = {
    "static": "9803843ee404fc29c9a0aa5614f8f0d5a58b5c44fcac9ef89067886fcaaa30d1",
    "normal": "e9b2e3926854410b01a035aeb25dd05f1e597c233be8263de9eb49b6713d367e",
    "swing-25": "61a84be9469661bd039e00dbc9a7c011e70b6ace37aadfe60045ea083b05f4df",
    "swing-40": "3cb0175e7982ff09ea220d1feaee3844cf9116a5ce455757879dea1d880b9b9f",
    "flash-crash": "cff8d3f94b709fc64a8b2058a6ca4fb6920364904796e46906895e362d2bb16b",
}
_CHUNK = 65_536
_FIELDS = (
    *("seq", "kind", "side", "price_ticks", "qty_lots", "leaves_qty", "last_px", "last_qty"),
    *("liquidity", "id0", "contra_order_id", "order_id", "response_to"),
)


def lines(scenario: str) -> Iterator[tuple[int, int, str]]:
    """Yield (message number, kind, line) of each report that the engine gives, as they come."""
    commands = equity_flow(scenario)
    engine = Engine([SymbolLimits(replace_policy=ReplacePolicy.ALWAYS_REQUEUE)])
    first = engine.seq + 1
    names: dict[int, int] = {}
    for start in range(0, len(commands), _CHUNK):
        reports = engine.process(commands[start : start + _CHUNK])
        columns = [np.ascontiguousarray(reports[name]).tolist() for name in _FIELDS]
        for row in zip(*columns, strict=True):
            seq, kind, side, price, qty, leaves, last_px, last_qty, liquidity, *rest = row
            name, contra, order_id, response_to = rest
            n = seq - first
            if kind == ReportKind.NEW:
                names[order_id] = name
                yield n, 0, f"0,{n},{side - 1},{name},{price},{qty}"
            elif kind == ReportKind.TRADE:
                if liquidity == Liquidity.REMOVED:
                    yield n, 1, f"1,{n},{last_px},{last_qty},{names[contra]},{name}"
            elif kind == ReportKind.CANCELED:
                yield n, 2, f"2,{n},{side - 1},{name},{price}"
            elif kind == ReportKind.REPLACED:
                yield n, 3, f"3,{n},{side - 1},{name},{price},{leaves}"
            else:
                assert kind == ReportKind.CANCEL_REJECTED
                answer = 4 if response_to == CommandKind.CANCEL else 5
                yield n, answer, f"{answer},{n},{name}"


def report_hash(scenario: str) -> str:
    """Return the SHA-256 of a scenario's report stream, as the benchmark defines it."""
    found = sorted(lines(scenario), key=lambda line: line[:2])
    return hashlib.sha256("\n".join(line[2] for line in found).encode()).hexdigest()

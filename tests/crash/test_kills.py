"""A slice of `make crash`: processes are killed under load, and nothing is lost or told twice."""

from collections import Counter
from pathlib import Path

import pytest
from crash.kills import Kills
from crash.venue import CrashVenue

from openoutcry.engine.faults import FaultPoint

pytestmark = pytest.mark.timeout(240)

#: Durability, gateways and shards of a venue, and what is done to it: points by the process that
#: dies there, or ways to restart all, or processes killed at a random moment.
SLICES = [
    ("process", 2, [
        ("shard", FaultPoint.WITHIN_APPEND), ("gateway", FaultPoint.AFTER_INDEX),
        ("shard", FaultPoint.BETWEEN_REPORTS), ("kill", "shard-0", "gateway-1"),
    ]),
    ("power", 2, [
        ("shard", FaultPoint.AFTER_SYNC), ("gateway", FaultPoint.PARTIAL_WRITE),
        ("kill", "shard-1"), ("restart", "container"),
    ]),
    ("process", 1, [("shard", FaultPoint.WITHIN_RECOVERY), ("restart", "everything")]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("durability", "count", "steps"), SLICES, ids=[f"{kind}-{n}x{n}" for kind, n, _ in SLICES]
)
def test_nothing_acknowledged_is_lost(tmp_path: Path, durability: str, count: int, steps):
    venue = CrashVenue(
        tmp_path, 7, durability=durability, gateways=count, shards=count, faults=True
    )
    try:
        venue.start()
        kills = Kills(venue)
        for what, *rest in steps:
            if what == "kill":
                kills.kill(*rest)
            elif what == "restart":
                kills.restart(*rest)
            else:
                kills.at_some_point(what, *rest)
        found = kills.finish(with_tools=False)
    finally:
        venue.close()
    hit = Counter(key.split()[1] for key in found["counts"] if key.startswith("point "))
    assert set(hit) == {rest[0].name for what, *rest in steps if what in {"shard", "gateway"}}
    assert found["checks"] > len(steps)
    assert found["orders"] > 50
    assert found["matched"] > 100
    assert found["resent at the end"] >= found["matched"]
    assert (found["losses"], found["duplicates"]) == (0, 0)

"""A slice of `make crash`: processes are killed under load, and nothing is lost or told twice."""

from pathlib import Path

import pytest
from crash.kills import Kills
from crash.venue import CrashVenue

from openoutcry.engine.faults import FaultPoint

pytestmark = pytest.mark.timeout(240)

#: What each slice does: points by the process that dies there, and other things by name.
SLICES = {
    "process, two gateways and two shards": [
        ("shard", FaultPoint.AFTER_SEQUENCING),
        ("shard", FaultPoint.WITHIN_APPEND),
        ("gateway", FaultPoint.AFTER_INDEX),
        ("shard", FaultPoint.BETWEEN_REPORTS),
        ("gateway", FaultPoint.BEFORE_EXPECTED),
        "both",
        "everything",
        "stop",
    ],
    "power, two gateways and two shards": [
        ("shard", FaultPoint.AFTER_SYNC),
        ("gateway", FaultPoint.BEFORE_WRITE),
        ("gateway", FaultPoint.PARTIAL_WRITE),
        ("shard", FaultPoint.AFTER_APPEND),
        "container",
    ],
    "process, one gateway and one shard": [
        ("gateway", FaultPoint.GATEWAY_RECOVERY),
        ("shard", FaultPoint.WITHIN_RECOVERY),
        "supervisor",
    ],
}


@pytest.mark.parametrize("name", SLICES)
def test_nothing_acknowledged_is_lost(tmp_path: Path, name: str):
    durability, _, rest = name.partition(", ")
    count = 2 if rest.startswith("two") else 1
    venue = CrashVenue(
        tmp_path, 7, durability=durability, gateways=count, shards=count, faults=True
    )
    try:
        venue.start()
        kills = Kills(venue)
        for step in SLICES[name]:
            if isinstance(step, tuple):
                kills.at_some_point(*step)
            elif step == "both":
                kills.kill("shard-0", "gateway-0")
            else:
                kills.restart(step)
        found = kills.finish()
        found_points = {key for key in found["counts"] if key.startswith("point ")}
        asked = {f"point {step[1].name}" for step in SLICES[name] if isinstance(step, tuple)}
        assert found_points == asked
        assert found["orders"] > 50
        assert found["matched"] > 100
        assert (found["losses"], found["duplicates"]) == (0, 0)
    finally:
        venue.close()

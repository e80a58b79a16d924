"""A slice of `make crash`: what the disk may hold after a power cut has all that was told of."""

from pathlib import Path

import pytest
from crash.power import run_power_images

pytestmark = pytest.mark.timeout(240)


def test_nothing_told_of_is_lost_with_the_power(tmp_path: Path):
    found = run_power_images(3, 16, tmp_path, cuts=2)
    assert (
        sum(count for name, count in found["counts"].items() if name.startswith("power cut")) >= 2
    )
    assert found["counts"]["unsynced pages"] > 10
    assert found["counts"]["images"] >= 16
    assert found["orders"] > 50
    assert (found["losses"], found["duplicates"]) == (0, 0)

"""A slice of `make crash`: damaged files are refused by name or survived; syncs fail."""

from pathlib import Path

import pytest
from crash.disk import SYNCS, damage_files, fail_syncs

pytestmark = pytest.mark.timeout(240)


def test_damaged_files_are_refused_or_survived(tmp_path: Path):
    names = (
        "commands flipped behind the snapshot",
        "commands lost their end",
        "snapshot cut in half",
        "reports and snapshots gone",
    )
    found = damage_files(5, tmp_path, names=names)
    assert {name: found["counts"][name] for name in names} == dict.fromkeys(names, 1)
    assert found["counts"]["starts refused with a sentence"] == 2
    assert found["orders"] > 50
    assert (found["losses"], found["duplicates"]) == (0, 0)


def test_a_sync_that_fails_ends_who_needs_it(tmp_path: Path):
    chosen = [each for each in SYNCS if "commands-*.seg" in each[0] or "snapshot" in each[0]]
    found = fail_syncs(5, tmp_path, syncs=tuple(chosen))
    assert [found["counts"][f"fail {order}"] for order, _ in chosen] == [1, 1]
    assert found["orders"] > 50
    assert (found["losses"], found["duplicates"]) == (0, 0)

"""What every process does alike."""

import os
import sys
import threading
from pathlib import Path

import pytest

from openoutcry.server.process import take_short_slices


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc is Linux's")
def test_a_short_slice_is_the_thread_s_own_and_claims_no_more():
    if tuple(int(n) for n in os.uname().release.split(".")[:2]) < (6, 12):
        pytest.skip("the kernel knows no slices of threads")
    if not Path("/proc/self/sched").exists():
        pytest.skip("the kernel does not tell")
    found: dict[str, str] = {}

    def look() -> dict[str, str]:
        lines = Path(f"/proc/self/task/{threading.get_native_id()}/sched").read_text().splitlines()
        return {name.strip(): value.strip() for name, _, value in (x.partition(":") for x in lines)}

    def run() -> None:
        take_short_slices()
        found.update(look())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    own = look()
    assert int(found["se.slice"]) == 100_000 < int(own["se.slice"])
    for same in ("policy", "prio", "se.load.weight"):
        assert found[same] == own[same]

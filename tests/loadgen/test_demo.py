"""What the demonstration shows of its book, with a process in place of `openoutcry book`."""

import asyncio
import json
import sys
import time

import pytest

from openoutcry.loadgen.demo import DemoError, _Demo, _Ladders
from openoutcry.loadgen.demo_view import SilentView

_EMPTY = {"best_bid": None, "best_ask": None, "spread_bps": None}
_BOTH = {"best_bid": "99", "best_ask": "101", "spread_bps": 200.0}


def watched(script: str, duration_s: float) -> tuple[_Ladders, float]:
    """Return what was seen of the pictures that a script prints, and how long that took."""

    async def watch() -> tuple[_Ladders, float]:
        book = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", script),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        ladders = _Ladders()
        started = time.perf_counter()
        try:
            demo = _Demo(duration_s=1, seed=1, view=SilentView())
            await demo._watch(book, ladders, lambda: None, duration_s)
            return ladders, time.perf_counter() - started
        finally:
            if book.returncode is None:
                book.kill()
            await book.communicate()

    return asyncio.run(watch())


def test_trading_goes_on_until_both_sides_were_seen():
    script = (
        "import time\n"
        f"print('{json.dumps(_EMPTY)}', flush=True)\n"
        "time.sleep(1)\n"
        f"print('{json.dumps(_BOTH)}', flush=True)\n"
        "time.sleep(60)\n"
    )
    ladders, _ = watched(script, 0.1)
    assert (ladders.count, ladders.last, ladders.mean_spread_bps()) == (2, _BOTH, 200)


def test_it_ends_in_time_where_they_were_seen():
    script = f"import time\nwhile True: print('{json.dumps(_BOTH)}', flush=True); time.sleep(0.01)"
    ladders, seconds = watched(script, 0.5)
    assert ladders.last == _BOTH
    assert 0.5 <= seconds < 10


def test_a_ladder_that_ends_is_told_of():
    with pytest.raises(DemoError, match="the ladder ended: no such venue"):
        watched("import sys; sys.exit('no such venue')", 5)

"""The public benchmark's flow is the same everywhere, and the book answers it as others do."""

import hashlib
import math

import numpy as np
import pytest
from oracle.consensus import PUBLISHED, report_hash

from openoutcry.config.jit import IS_COMPILED
from openoutcry.engine.bench.elementary import cos_turns, exp, log
from openoutcry.engine.bench.equity import SCENARIOS, equity_flow
from openoutcry.engine.enums import CommandKind, TimeInForce

needs_jit = pytest.mark.skipif(not IS_COMPILED, reason="two million messages")

#: SHA-256 of the COMMAND rows: 1,000 orders, and all of them.
SHORT = {
    "static": "bbc2c45a3d1d81dd66aa1536d922f370c2aba0e563c293f8fa8f3fe9325b99b7",
    "normal": "4c733e03ba70b0996f6e7c1791ebb35643aadf589ea7d0d19287d4767ec31a60",
    "swing-25": "f171de409ab16bb227697aa16d98434c18cc5c83a67669db0afb17350f5f47ef",
    "swing-40": "a0eb102352274a183db56b0a54d1425fa717caf490efd83f931dffaee37d45a8",
    "flash-crash": "09b2ecd93284467239cca58c05d56694986690116a8ddb0120dd0b08d8b73479",
}
WHOLE = {
    "static": "c6dfa21ec241dd9e24900b03a9e689c98ea0ac14f9149be852b1341f142fe187",
    "normal": "c301a32dc0794441746573c41ecd858f12e41e4daf63d331baf87cc8f0d76139",
    "swing-25": "8231560dc20c4270a61b53d8632e5f0b896a3146ac3ea091ff0f5408a58d8225",
    "swing-40": "8fdf42c86d76dceee22e65e8b4eefeee342a0095b28b9e62aced375d59b042a5",
    "flash-crash": "885c5cd9a4e18ccaab772e43e59c7690b3d32c9e04d032ef143f88a4a5764623",
}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_short_stream_is_the_same_bytes_everywhere(scenario):
    stream = equity_flow(scenario, 1_000)
    assert hashlib.sha256(stream.tobytes()).hexdigest() == SHORT[scenario]


@needs_jit
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_whole_stream_is_the_same_bytes_everywhere(scenario):
    stream = equity_flow(scenario)
    assert len(stream) == 1_996_097
    assert hashlib.sha256(stream.tobytes()).hexdigest() == WHOLE[scenario]


@needs_jit
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_reports_have_the_published_hash(scenario):
    assert report_hash(scenario) == PUBLISHED[scenario]


@needs_jit
def test_the_stream_has_the_wanted_shares():
    stream = equity_flow("normal", 200_000)
    new = stream[stream["kind"] == CommandKind.NEW]
    assert sorted(new["id0"].tolist()) == list(range(1, 200_001))
    is_ioc = new["tif"] == TimeInForce.IOC
    assert is_ioc.mean() == pytest.approx(0.15, abs=0.005)
    resting = (~is_ioc).sum()
    modified = np.unique(stream["id0"][stream["kind"] == CommandKind.REPLACE])
    canceled = np.unique(stream["id0"][stream["kind"] == CommandKind.CANCEL])
    assert len(modified) / resting == pytest.approx(0.20, abs=0.005)
    assert len(canceled) / resting == pytest.approx(0.95, abs=0.005)
    assert (new["side"][new["id0"] <= 100_000] == 1).all()
    assert (new["side"][new["id0"] > 100_000] == 2).all()
    assert set(np.unique(new["qty_lots"]).tolist()) == set(range(1, 101))
    assert (np.diff(stream["time_ns"]) >= 0).all()


def test_static_orders_lie_around_a_mid_that_stands_still():
    new = equity_flow("static", 2_000)
    new = new[new["kind"] == CommandKind.NEW]
    depths = np.where(new["side"] == 1, 33_504 - new["price_ticks"], new["price_ticks"] - 33_504)
    assert depths.min() == 1
    assert depths.max() <= 800
    # The hump: most orders lie 6 to 12 ticks out.
    assert ((depths >= 6) & (depths <= 12)).mean() > 0.7


@pytest.mark.parametrize(("name", "orders"), [("nowhere", 100), ("static", 1)])
def test_what_cannot_be_generated_is_refused(name, orders):
    with pytest.raises((KeyError, ValueError)):
        equity_flow(name, orders)


@pytest.mark.parametrize("x", [1e-300, 1e-9, 0.3, 0.7071067811865475, 1.0, 1.5, 799.0, 1e300])
def test_logarithms_are_right(x):
    assert log(x) == pytest.approx(math.log(x), rel=5e-16, abs=5e-16)


@pytest.mark.parametrize("x", [-1e4, -708.5, -700.0, -1.0, -1e-9, 0.0, 1e-3, 1.0, 20.0])
def test_powers_of_e_are_right(x):
    assert exp(x) == pytest.approx(math.exp(x) if x > -708 else 0.0, rel=1e-15)


@pytest.mark.parametrize("n", range(41))
def test_cosines_are_right(n):
    turns = n / 40
    assert cos_turns(turns) == pytest.approx(math.cos(2 * math.pi * turns), abs=5e-16)

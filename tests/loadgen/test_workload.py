"""The generator without a wire: deterministic, of the stated mix, and stationary."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openoutcry.loadgen.check import apply_report
from openoutcry.loadgen.ids import decode_id, encode_id, prefix_word
from openoutcry.loadgen.layouts import Action, Count, Load, Phase
from openoutcry.loadgen.scenario import ScenarioError, load_scenario, scenario_names
from openoutcry.loadgen.workload import (
    new_load,
    next_action,
    resting_orders,
    start_measuring,
    start_phase,
    unanswered,
)
from openoutcry.protocol.binary.enums import OrderStatus, ReportKind

FIELDS = ("kind", "market", "side", "tif", "price", "qty", "id0", "id1")


def small_load(seed: int = 1, **options: int) -> Load:
    settings: dict[str, Any] = {"connections": 2, "window": 16, "run": 7} | options
    return new_load(load_scenario("default"), seed=seed, **settings)


def accept(load: Load, c: int) -> None:
    """Answer the latest request as a venue does in which nothing trades."""
    action, report = load.action[0], load.report[0]
    kinds = {Action.CANCEL: ReportKind.CANCELED, Action.REPLACE: ReportKind.REPLACED}
    kind = kinds.get(action["kind"], ReportKind.NEW)
    for name in ("id0", "id1", "side", "ord_type", "tif", "price", "qty"):
        report[name] = action[name]
    report["orig0"] = report["orig1"] = 0
    if kind != ReportKind.NEW:
        report["orig0"], report["orig1"] = action["orig0"], action["orig1"]
    report["ref_seq"] = action["seq"]
    report["symbol"] = action["market"]
    report["kind"] = kind
    report["status"] = OrderStatus.CANCELED if kind == ReportKind.CANCELED else OrderStatus.NEW
    report["leaves_qty"] = 0 if kind == ReportKind.CANCELED else action["qty"]
    number = decode_id(load.connections[c]["prefix"], report["id0"], report["id1"])
    slot = number & 0x3FFFF
    report["order_id"] = slot + 1
    report["exec_id"] += 1
    if action["tif"] == 3:
        apply_report(load, c, 0, 10)
        report["exec_id"] += 1
        report["kind"], report["status"] = ReportKind.CANCELED, OrderStatus.CANCELED
        report["leaves_qty"] = 0
    apply_report(load, c, 0, 10)


def drive(load: Load, count: int) -> list[tuple[int, ...]]:
    """Let the connections take turns; return what was asked."""
    asked = []
    for number in range(count):
        c = number % len(load.connections)
        if not next_action(load, c, number):
            break
        asked.append(tuple(int(load.action[0][name]) for name in FIELDS))
        accept(load, c)
    return asked


def test_same_seed_asks_the_same() -> None:
    first, second, other = small_load(1), small_load(1), small_load(2)
    for load in (first, second, other):
        drive(load, 500)
        start_phase(load, Phase.MIX, 16)
    asked = drive(first, 2000)
    assert asked == drive(second, 2000)
    assert asked != drive(other, 2000)
    assert int(first.plan[0]["mismatches"]) == 0


@pytest.mark.parametrize("name", scenario_names())
def test_mix_is_what_the_scenario_says(name: str) -> None:
    scenario = load_scenario(name)
    load = new_load(scenario, connections=4, window=16, seed=3, run=1)
    while drive(load, 100_000):
        pass
    assert resting_orders(load) == pytest.approx(scenario.resting_orders, rel=0.001)
    start_phase(load, Phase.MIX, 16)
    start_measuring(load, 40_000)
    assert len(drive(load, 100_000)) == 40_000
    shares = scenario.shares
    counts = load.counts
    assert counts[Count.REPLACE] / 400 == pytest.approx(shares.replace / 10, abs=0.7)
    assert counts[Count.MARKETABLE] / 400 == pytest.approx(shares.marketable / 10, abs=1.0)
    # Nothing trades here: what trading would remove is cancelled instead, when too many rest.
    assert resting_orders(load) == pytest.approx(scenario.resting_orders, rel=0.05)
    assert counts[Count.ACKED] == 40_000
    assert unanswered(load) == 0
    assert int(load.plan[0]["mismatches"]) == 0


def test_clean_cancels_all() -> None:
    load = small_load()
    drive(load, 3000)
    start_phase(load, Phase.CLEAN, 16)
    assert len(drive(load, 10_000)) == 3000
    assert resting_orders(load) == 0
    assert (load.connections["free_slots"] == load.orders.shape[1]).all()


def test_window_and_budget_limit_what_is_asked() -> None:
    load = small_load()
    asked = 0
    while next_action(load, 0, 0):
        asked += 1
    assert asked == 16
    load = small_load()
    start_measuring(load, 5)
    assert len(drive(load, 100)) == 5


def test_new_orders_lie_on_their_side_of_the_middle() -> None:
    load = small_load()
    for row in drive(load, 5000):
        fields = dict(zip(FIELDS, row, strict=True))
        market = load.markets[fields["market"]]
        reach = 1000 + 400 + 1
        away = fields["price"] - int(market["start"])
        assert -reach <= away <= 400 if fields["side"] == 1 else -400 <= away <= reach
        assert market["min_qty"] <= fields["qty"] < market["min_qty"] + market["qty_range"]


@given(
    run=st.integers(0, 2**40),
    connection=st.integers(0, 1023),
    slot=st.integers(0, 2**18 - 1),
    generation=st.integers(0, 2**32 - 1),
)
def test_identifiers_lead_back(run: int, connection: int, slot: int, generation: int) -> None:
    prefix = np.uint64(prefix_word(run, connection))
    id0, id1 = encode_id(prefix, slot, generation)
    text = np.array([id0, id1], np.uint64).tobytes()
    assert len(text) == 16
    assert all(chr(byte) in "0123456789ABCDEFGHIJKLMNOPQRSTUV" for byte in text)
    assert int(text[6:].decode(), 32) == generation << 18 | slot
    assert decode_id(prefix, np.uint64(id0), np.uint64(id1)) == generation << 18 | slot
    other = np.uint64(prefix_word(run, connection ^ 1))
    assert decode_id(other, np.uint64(id0), np.uint64(id1)) == -1


@given(st.binary(min_size=8, max_size=8))
def test_foreign_characters_are_no_identifier(text: bytes) -> None:
    prefix = np.uint64(prefix_word(1, 1))
    id0, _ = encode_id(prefix, 0, 0)
    word = np.frombuffer(text, np.uint64)[0]
    number = decode_id(prefix, np.uint64(id0), word)
    if all(chr(byte) in "0123456789ABCDEFGHIJKLMNOPQRSTUV" for byte in text):
        assert number == int(text.decode(), 32)
    else:
        assert number == -1


def test_scenarios_are_decoded_strictly(tmp_path) -> None:
    with pytest.raises(ScenarioError, match="none of default"):
        load_scenario("nothing")
    text = """
shares: {new: 500, cancel: 300, replace: 100, marketable: 100}
resting_orders: 100
depth_ticks: 50
through_ticks: 10
walk_every: 64
walk_ticks: 40
near_ticks: 2
tif: gtc
symbols:
  - {name: X, tick: "0.5", lot: "2", price: "100", min_qty: "2", max_qty: "8"}
"""
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    scenario = load_scenario(str(file))
    assert scenario.symbols[0].price_ticks == 200
    assert scenario.symbols[0].qty_lots == (1, 4)
    for old, new, match in (
        ("new: 500", "new: 501", "add up to 1001"),
        ("walk_every: 64", "walk_every: 60", "power of two"),
        ('price: "100"', 'price: "10"', "above 91 ticks"),
        ('min_qty: "2"', 'min_qty: "3"', "not a multiple"),
        ("near_ticks: 2", "nearticks: 2", "nearticks"),
        ("tif: gtc", "tif: [", "mine.yaml"),
    ):
        file.write_text(text.replace(old, new))
        with pytest.raises(ScenarioError, match=match):
            load_scenario(str(file))

"""A mirror fed by events shows what the engine's own depth shows."""

import numpy as np
import pytest

from openoutcry.engine import (
    Capacity,
    CommandKind,
    Engine,
    OrderType,
    Side,
    TimeInForce,
    cancels,
    day_end,
    new_orders,
)
from openoutcry.engine.enums import EventKind
from openoutcry.engine.events import EventReader
from openoutcry.engine.mirror import MIRROR_LEVELS, BookMirror
from openoutcry.engine.records import COMMAND, DEPTH_LEVEL, EVENT
from openoutcry.engine.state import DEPTH_LEVELS

SYMBOLS = 2
KINDS = [CommandKind.NEW, CommandKind.CANCEL, CommandKind.REPLACE]
CAPACITY = Capacity(open_orders=1 << 14, finished_orders=0, levels=1 << 14, symbols=SYMBOLS)


class Market:
    """An engine with an event ring, random flow, and who reads it."""

    def __init__(self, seed: int = 1, event_rows: int = 1 << 12, width: int = 40) -> None:
        self.events = np.zeros(event_rows, EVENT)
        self.engine = Engine(SYMBOLS, CAPACITY, events=self.events)
        self.reader = EventReader(self.events, batch=event_rows)
        self.random = np.random.default_rng(seed)
        self.width = width
        self.ids = 0

    def flow(self, count: int) -> None:
        """Execute random orders, cancels and replaces around a middle price."""
        random = self.random
        commands = np.zeros(count, COMMAND)
        kinds = random.choice(KINDS, count, p=[0.55, 0.25, 0.2])
        for command, kind in zip(commands, kinds, strict=True):
            self.ids += 1
            command["kind"] = kind
            command["id0"] = self.ids
            command["symbol"] = random.integers(SYMBOLS)
            command["side"] = random.integers(1, 3)
            command["qty_lots"] = random.integers(1, 20)
            offset = int(random.integers(-8, self.width))
            command["price_ticks"] = 10_000 + (offset if command["side"] == Side.SELL else -offset)
            command["ord_type"] = OrderType.LIMIT
            command["tif"] = random.choice([TimeInForce.DAY, TimeInForce.GTC, TimeInForce.IOC])
            command["orig0"] = random.integers(max(1, self.ids - 400), self.ids + 1)
        self.engine.process(commands)

    def snapshot(self, mirror: BookMirror) -> None:
        """Load a mirror as the shard's snapshot would."""
        sides = [self.engine.depth_rows(mirror.symbol, side, DEPTH_LEVELS) for side in Side]
        event_seq = int(self.engine.book.state[0]["event_seq"])
        mirror.load(sides[0], sides[1], event_seq)
        self.reader.next_seq = event_seq + 1


def assert_equal(mirror: BookMirror, engine: Engine, levels: int = MIRROR_LEVELS) -> None:
    for side in Side:
        expected = engine.depth_rows(mirror.symbol, side, levels)
        assert mirror.levels(side, levels).tolist() == expected.tolist()
    bids, asks = mirror.bids, mirror.asks
    if len(bids) and len(asks):
        assert bids[0]["price_ticks"] < asks[0]["price_ticks"]


@pytest.mark.parametrize("seed", range(5))
def test_the_mirror_equals_the_depth_after_every_batch(seed: int):
    market = Market(seed)
    mirrors = [BookMirror(symbol) for symbol in range(SYMBOLS)]
    for _ in range(60):
        market.flow(40)
        events = market.reader.read()
        assert events is not None
        for mirror in mirrors:
            mirror.apply(events)
            assert mirror.faults == 0
            assert_equal(mirror, market.engine)
    assert len(mirrors[0].bids) > 5
    market.engine.process(day_end())
    events = market.reader.read()
    assert events is not None
    mirrors[0].apply(events)
    assert_equal(mirrors[0], market.engine)


def test_the_best_prices_never_cross_after_any_single_event():
    market = Market(7)
    mirror = BookMirror(0)
    market.flow(1500)
    events = market.reader.read()
    assert events is not None
    for n in range(len(events)):
        mirror.apply(events[n : n + 1])
        bids, asks = mirror.levels(Side.BUY, 1), mirror.levels(Side.SELL, 1)
        if len(bids) and len(asks):
            assert bids[0]["price_ticks"] < asks[0]["price_ticks"]
    assert_equal(mirror, market.engine)


def test_an_overrun_reader_goes_on_from_a_snapshot():
    market = Market(3, event_rows=64)
    mirror = BookMirror(1)
    overruns = 0
    for step in range(40):
        market.flow(10 if step % 4 else 200)
        while True:
            events = market.reader.read()
            if events is not None:
                break
            overruns += 1
            market.snapshot(mirror)
        mirror.apply(events)
        assert_equal(mirror, market.engine)
    assert overruns >= 5


def test_a_snapshot_in_the_middle_of_the_flow():
    market = Market(4)
    market.flow(500)
    mirror = BookMirror(0)
    market.snapshot(mirror)
    assert_equal(mirror, market.engine)
    market.flow(500)
    events = market.reader.read()
    assert events is not None
    mirror.apply(events)
    assert_equal(mirror, market.engine)


def fill(market: Market, levels: int) -> None:
    """Put a bid on each of so many prices, and one ask above."""
    names = np.arange(levels, dtype=np.uint64) + np.uint64(1)
    prices = 20_000 - np.arange(levels)
    market.engine.process(
        new_orders(levels, id0=names, side=Side.BUY, qty_lots=3, price_ticks=prices)
    )
    market.engine.process(
        new_orders(1, id0=1 << 40, side=Side.SELL, qty_lots=1, price_ticks=20_001)
    )


def test_a_cut_snapshot_ignores_what_lies_beyond_and_asks_for_more_when_it_runs_out():
    market = Market()
    fill(market, DEPTH_LEVELS + 100)
    mirror = BookMirror(0)
    market.snapshot(mirror)
    assert not mirror.needs_snapshot(DEPTH_LEVELS)
    # Beyond the horizon: not known, so not counted as a fault either.
    beyond = DEPTH_LEVELS + 50
    market.engine.process(cancels(1, id0=1 << 41, orig0=beyond))
    market.engine.process(new_orders(1, id0=1 << 42, side=Side.BUY, qty_lots=1, price_ticks=10_000))
    # The first 500 levels go: twelve are left of what is known.
    market.engine.process(
        cancels(500, id0=np.arange(500, dtype=np.uint64) + np.uint64(1 << 43), orig0=range(1, 501))
    )
    events = market.reader.read()
    assert events is not None
    mirror.apply(events)
    assert mirror.faults == 0
    assert_equal(mirror, market.engine, levels=DEPTH_LEVELS - 500)
    assert not mirror.needs_snapshot(DEPTH_LEVELS - 500)
    assert mirror.needs_snapshot(20)
    market.snapshot(mirror)
    assert not mirror.needs_snapshot(20)
    assert_equal(mirror, market.engine)


def test_a_full_side_forgets_its_worst_levels():
    market = Market()
    mirror = BookMirror(0)
    fill(market, MIRROR_LEVELS + 7)
    # Better ones come: the worst go, one by one.
    market.engine.process(
        new_orders(
            5,
            id0=np.arange(5, dtype=np.uint64) + np.uint64(1 << 44),
            side=Side.SELL,
            qty_lots=1,
            price_ticks=np.arange(5) + 20_010,
        )
    )
    events = market.reader.read()
    assert events is not None
    mirror.apply(events)
    assert mirror.faults == 0
    assert_equal(mirror, market.engine)
    assert mirror.needs_snapshot(MIRROR_LEVELS + 1)
    market.engine.process(
        cancels(
            MIRROR_LEVELS,
            id0=np.arange(MIRROR_LEVELS, dtype=np.uint64) + np.uint64(1 << 45),
            orig0=np.arange(MIRROR_LEVELS, dtype=np.uint64) + np.uint64(8),
        )
    )
    events = market.reader.read()
    assert events is not None
    mirror.apply(events)
    assert mirror.faults == 0
    assert_equal(mirror, market.engine, levels=7)


def test_a_better_level_pushes_out_the_worst_of_a_full_side():
    market = Market()
    mirror = BookMirror(0)
    fill(market, MIRROR_LEVELS)
    market.engine.process(cancels(1, id0=1 << 41, orig0=1 << 40))
    market.engine.process(new_orders(1, id0=1 << 42, side=Side.BUY, qty_lots=1, price_ticks=20_001))
    events = market.reader.read()
    assert events is not None
    mirror.apply(events)
    assert mirror.faults == 0
    assert_equal(mirror, market.engine)
    # The forgotten level is beyond the horizon: its cancel is ignored.
    market.engine.process(cancels(1, id0=1 << 46, orig0=MIRROR_LEVELS))
    events = market.reader.read()
    assert events is not None
    mirror.apply(events)
    assert mirror.faults == 0
    assert_equal(mirror, market.engine)


def test_events_missing_in_between_are_refused():
    market = Market()
    market.flow(50)
    events = market.reader.read()
    assert events is not None
    with pytest.raises(ValueError, match="do not follow event 0"):
        BookMirror(0).apply(events[3:])


def test_an_event_that_does_not_fit_is_noticed():
    mirror = BookMirror(0)
    events = np.zeros(1, EVENT)
    events["event_seq"] = 1
    events["kind"] = EventKind.DELETE
    events["side"] = Side.BUY
    events["price_ticks"] = 100
    events["qty_lots"] = 1
    mirror.apply(events)
    assert mirror.faults == 1
    assert mirror.needs_snapshot(1)
    mirror.load(np.zeros(0, DEPTH_LEVEL), np.zeros(0, DEPTH_LEVEL), 1)
    assert not mirror.needs_snapshot(1)

"""Price levels by the thousand, at every distance: the tree, the hash and the links agree."""

import numpy as np
import pytest

from openoutcry.config.jit import IS_COMPILED
from openoutcry.engine.book import Capacity, book_bytes, create_book
from openoutcry.engine.enums import CommandKind, OrderType, Side, TimeInForce
from openoutcry.engine.market import depth
from openoutcry.engine.match import process_batch
from openoutcry.engine.records import COMMAND, DEPTH_LEVEL, REPORT
from openoutcry.engine.snapshot import check_invariants

LEVELS = 8_000 if IS_COMPILED else 300
INT64_MAX = (1 << 63) - 1


def _orders(prices, side):
    commands = np.zeros(len(prices), COMMAND)
    commands["kind"] = CommandKind.NEW
    commands["side"] = side
    commands["ord_type"] = OrderType.LIMIT
    commands["tif"] = TimeInForce.GTC
    commands["price_ticks"] = prices
    commands["qty_lots"] = 3
    commands["id0"] = np.arange(len(prices)) + 1
    commands["session"] = 1
    return commands


def _cancels(orders):
    commands = np.zeros(len(orders), COMMAND)
    commands["kind"] = CommandKind.CANCEL
    commands["orig0"] = orders["id0"]
    commands["session"] = 1
    return commands


def _book(levels=LEVELS):
    book = create_book(Capacity(levels, 0, levels, 1, 2))
    symbol = np.zeros(1, COMMAND)
    symbol["kind"] = CommandKind.ADD_SYMBOL
    symbol["price_ticks"], symbol["price2_ticks"] = -(1 << 63), INT64_MAX
    symbol["qty_lots"], symbol["qty2_lots"] = 1, INT64_MAX
    _run(book, symbol)
    return book


def _run(book, commands):
    reports = np.zeros(2 * len(commands) + 2, REPORT)
    done, last = process_batch(book, commands, 0, len(commands), reports, 1, 0, len(reports))
    assert done == len(commands)
    return reports[:last]


def _prices(pattern):
    rng = np.random.default_rng(3)
    if pattern == "random":
        return rng.integers(-(1 << 63), INT64_MAX, LEVELS)
    if pattern == "powers":
        signs = [s * (1 << e) + d for e in range(62) for s in (1, -1) for d in (-1, 0, 1)]
        return np.array(sorted(set(signs)))
    steps = np.arange(LEVELS)
    if pattern == "descending":
        steps = steps[::-1]
    if pattern == "inside out":
        steps = np.where(steps % 2 == 0, steps, -steps)
    return steps.astype(np.int64)


@pytest.mark.parametrize("side", [Side.BUY, Side.SELL])
@pytest.mark.parametrize("pattern", ["ascending", "descending", "inside out", "random", "powers"])
def test_levels_stay_in_price_order_as_they_come_and_go(pattern, side):
    prices = _prices(pattern)
    book = _book(len(prices))
    orders = _orders(prices, side)
    _run(book, orders)
    check_invariants(book)
    rows = np.zeros(len(prices), DEPTH_LEVEL)
    expected = np.sort(prices)
    if side == Side.BUY:
        expected = expected[::-1]
    assert depth(book, 0, int(side), rows) == len(prices)
    assert rows["price_ticks"].tolist() == expected.tolist()
    for part in np.array_split(np.random.default_rng(4).permutation(len(prices)), 3):
        _run(book, _cancels(orders[part]))
        check_invariants(book)
    for name in ("open_orders", "levels_used", "nodes_used"):
        assert book.state[0][name] == 0


def test_a_tree_thinned_out_and_refilled_stays_within_its_pool():
    """One level kept in each leaf's width, again and again: nodes are merged, not leaked."""
    book = _book(LEVELS)
    prices = np.arange(LEVELS)
    orders = _orders(prices, Side.SELL)
    _run(book, orders)
    for turn in range(5):
        kept = prices % 29 == turn
        _run(book, _cancels(orders[~kept]))
        check_invariants(book)
        again = orders[~kept].copy()
        again["price_ticks"] = again["price_ticks"] * (turn + 2) + 1_000_003 * turn
        free = ~np.isin(again["price_ticks"], orders[kept]["price_ticks"])
        _run(book, again[free])
        check_invariants(book)
        _run(book, _cancels(again[free]))
        _run(book, orders[~kept])
        check_invariants(book)


@pytest.mark.parametrize("distance", [32, 1 << 40])
@pytest.mark.parametrize("side", [Side.BUY, Side.SELL])
def test_prices_apart_come_and_go_anywhere_in_the_tree(side, distance):
    """Levels that are first in their leaf leave; others take their place, between the leaves."""
    rng = np.random.default_rng(5)
    count = min(LEVELS, 2_000)
    book = _book(count)
    orders = _orders(rng.permutation(count) * distance - (1 << 50), side)
    _run(book, orders)
    for _ in range(6):
        chosen = rng.random(count) < 0.3
        _run(book, _cancels(orders[chosen]))
        check_invariants(book)
        orders["price_ticks"][chosen] += rng.integers(-300, 300, count)[chosen] * (distance // 32)
        _run(book, orders[chosen])
        check_invariants(book)
        rows = np.zeros(count, DEPTH_LEVEL)
        shown = rows[: depth(book, 0, int(side), rows)]
        expected = sorted(set(orders["price_ticks"].tolist()), reverse=side == Side.BUY)
        assert shown["price_ticks"].tolist() == expected


@pytest.mark.skipif(not IS_COMPILED, reason="takes 249 MB and two seconds compiled")
def test_the_default_capacity_takes_about_250_mb():
    assert book_bytes(create_book()) < 250_000_000

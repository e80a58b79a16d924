"""The checkers themselves: each damage to a book is found; what the ledger cannot, it refuses."""

from copy import deepcopy

import numpy as np
import pytest
from oracle.ledger import Ledger
from oracle.pair import SMALL, Pair, add_symbols
from oracle.requests import cancel, order
from oracle.trio import Trio

from openoutcry.engine.book import BLOCK_BITS, BLOCK_PRICES, TREE_FANOUT
from openoutcry.engine.enums import CommandKind, Side, TimeInForce
from openoutcry.engine.records import COMMAND
from openoutcry.engine.snapshot import check_invariants

BUY, SELL = Side.BUY, Side.SELL


@pytest.fixture
def book():
    """Return a book with used and free rows in every pool, a queue of three, several blocks."""
    pair = Pair(SMALL._replace(finished_orders=4))
    add_symbols(pair, 2)
    for name in "abc":
        order(pair, name, BUY, 100, 5, tif=TimeInForce.DAY)
    for name, price in (("d", 98), ("e", 60), ("f", 20), ("g", -20)):
        order(pair, name, BUY, price, 5)
    order(pair, "s", SELL, 200, 5)
    order(pair, "t", SELL, 200, 5, symbol=1)
    cancel(pair, "e")
    cancel(pair, "f")
    cancel(pair, "t", symbol=1)
    check_invariants(pair.book)
    return pair.book


def _best(book, side=0):
    return int(book.sides[side]["best"])


def _head(book, side=0):
    return int(book.levels[_best(book, side)]["head"])


def _block(book, side=0):
    return int(book.levels[_best(book, side)]["block"])


def _row(pool, row, field, change):
    """Return a damage: a field of the row that `row(book)` names, changed by or set to a number."""

    def spoil(book):
        rows = getattr(book, pool)
        number = row(book) if callable(row) else row
        value = change(book) if callable(change) else change
        rows[number][field] = value

    return spoil


def _word(pool, place, value):
    def spoil(book):
        getattr(book, pool)[place(book)] = value(book) if callable(value) else value

    return spoil


def _cross(book):
    """Move the best offer to the best bid's price, in every place that says so."""
    level, block = _best(book, 1), _block(book, 1)
    book.levels[level]["price_ticks"] = 100
    book.details[int(book.orders[_head(book, 1)]["detail"])]["price_ticks"] = 100
    book.sides[1]["best_key"] = 100
    book.blocks[block]["key"] = 100 >> BLOCK_BITS
    book.blocks[block]["bits"] = 1 << 100 % BLOCK_PRICES
    book.block_levels[block * BLOCK_PRICES + 100 % BLOCK_PRICES] = level
    book.tree_keys[int(book.sides[1]["tree_root"]) * TREE_FANOUT] = 100 >> BLOCK_BITS


def _state(field, value):
    return _row("state", 0, field, value)


#: What is done to the book, and the sentence that finds it.
DAMAGES = {
    "a level's total": (_row("levels", _best, "qty_lots", 16), "has 16 lots, not 15"),
    "a level's count": (_row("levels", _best, "orders", 4), "counts 4 orders"),
    "a side's orders": (_row("sides", 0, "orders", 4), "counts 4 orders"),
    "a side's levels": (_row("sides", 0, "levels", 2), "counts 2 levels"),
    "the tail": (_row("levels", _best, "tail", _head), "ends with"),
    "an order's back link": (_row("orders", _head, "prev", 5), "links back to 5"),
    "a queue in a ring": (
        _row("orders", lambda b: int(b.levels[_best(b)]["tail"]), "next", _head),
        "order row .* is in two places",
    ),
    "a queue cut short": (_row("orders", _head, "next", -1), "ends with"),
    "an order's level": (_row("orders", _head, "level", 9), "names level 9"),
    "leaves": (_row("orders", _head, "leaves_qty", 4), "qty less cum_qty"),
    "leaves of 0": (_row("orders", _head, "leaves_qty", 0), "has no leaves"),
    "an order's session": (_row("orders", _head, "session", 7), "has another session"),
    "a session's orders": (_row("marks", 1, "open_orders", 77), "session 1 counts 77 orders"),
    "status": (
        _row("details", lambda b: int(b.orders[_head(b)]["detail"]), "status", 2),
        "rests with status 2",
    ),
    "a level's price": (_row("levels", _best, "price_ticks", 99), "has another price"),
    "a level marked free": (_row("levels", _best, "is_used", 0), "which is free"),
    "the best level": (
        _row("sides", 0, "best", lambda b: int(b.orders[_head(b, 1)]["level"])),
        "the best level of side 0 is",
    ),
    "the best key": (_row("sides", 0, "best_key", 5), "has another best key"),
    "a block's bit lost": (
        _row(
            "blocks", _block, "bits", lambda b: int(b.blocks[_block(b)]["bits"]) & -2 & ~(1 << 29)
        ),
        "counts 3 levels",
    ),
    "a block without bits": (_row("blocks", _block, "bits", 0), "has the bits 0"),
    "a block's next": (_row("blocks", _block, "next", -1), "leads to -1"),
    "a block's side": (_row("blocks", _block, "side", 1), "names side 1"),
    "a crossed book": (_cross, "symbol 0 is crossed: 100 >= 100"),
    "a key of the tree": (
        _word("tree_keys", lambda b: int(b.sides[0]["tree_root"]) * TREE_FANOUT, -99),
        "has the key",
    ),
    "identifiers lost": (_word("id_slots", lambda _: slice(None), 0), "cannot be found by its id"),
    "blocks lost in their table": (
        _word("block_slots", lambda _: slice(None), 0),
        "the block table leads to other rows",
    ),
    "a block's entry to another row": (
        _word("block_slots", lambda b: np.flatnonzero(b.block_slots)[0], (7 << 32) | 60),
        "the block table leads to other rows",
    ),
    "free orders lost": (_state("order_free", -1), "order rows .* are lost"),
    "free details lost": (_state("detail_fresh", 50), "detail rows .* are lost"),
    "free levels lost": (_state("level_free", -1), "level rows .* are lost"),
    "free blocks lost": (_state("block_free", -1), "block rows .* are lost"),
    "free nodes lost": (_state("node_free", -1), "node rows .* are lost"),
    "a used order also free": (
        _row("orders", lambda b: int(b.state[0]["order_free"]), "next", _head),
        "which is in use",
    ),
    "a free list in a ring": (
        _row(
            "orders",
            lambda b: int(b.state[0]["order_free"]),
            "next",
            lambda b: b.state[0]["order_free"],
        ),
        "twice",
    ),
    "open orders": (_state("open_orders", 99), "open_orders is 99"),
    "DAY orders": (_state("day_orders", 4), "day_orders is 4"),
    "a symbol's DAY orders": (
        _row("symbols", 0, "day_orders", 4),
        "symbol 0 counts 4 DAY orders, not 3",
    ),
    "a finished order open": (
        _row("details", lambda b: (int(b.finished[0]) & 0xFFFFFFFF) - 1, "status", 0),
        "is open",
    ),
    "an order finished twice": (
        _word("finished", lambda _: 1, lambda b: b.finished[0]),
        "detail row .* is in two places",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_each_damage_to_a_book_is_found(book, damage):
    spoil, sentence = DAMAGES[damage]
    spoil(book)
    with pytest.raises(AssertionError, match=sentence):
        check_invariants(book)


@pytest.mark.parametrize(
    ("field", "row", "value"),
    [
        ("last_px", slice(1, 3), 11),
        ("last_qty", slice(1, 3), 1),
        ("leaves_qty", 2, 1),
        ("cum_qty", 1, 3),
        ("notional_lo", 1, 21),
        ("trade_id", slice(1, 3), 9),
        ("contra_order_id", 1, 3),
        ("status", 2, 1),
        ("liquidity", 1, 1),
        ("report_seq", 1, 9),
        ("seq", 0, 9),
    ],
)
def test_the_auditor_finds_a_wrong_field_of_a_fill(field, row, value):
    trio = Trio()
    add_symbols(trio, 1)
    for name in "ab":
        order(trio, name, SELL, 10, 2)
    before = deepcopy(trio.audit)
    reports = order(trio, "c", BUY, 10, 2)
    command = np.zeros(1, COMMAND)
    command["kind"], command["seq"] = CommandKind.NEW, trio.seq
    command["time_ns"] = reports[0]["time_ns"]
    deepcopy(before).take(command[0], reports)
    reports[field][row] = value
    with pytest.raises(AssertionError):
        before.take(command[0], reports)


def test_the_auditor_finds_a_fill_out_of_turn():
    trio = Trio()
    add_symbols(trio, 1)
    for name in "ab":
        order(trio, name, SELL, 10, 2)
    first, second = trio.audit.resting[0, SELL]
    trio.audit.resting[0, SELL] = [second, first]
    with pytest.raises(AssertionError, match="an earlier turn waits"):
        order(trio, "c", BUY, 10, 1)


@pytest.mark.parametrize("field", ["leaves", "price", "order_id", "name"])
def test_the_auditor_finds_another_book_than_was_reported(field):
    trio = Trio()
    add_symbols(trio, 1)
    order(trio, "a", SELL, 10, 2)
    account = next(iter(trio.audit.accounts.values()))
    setattr(account, field, b"z" if field == "name" else 7)
    with pytest.raises(AssertionError):
        trio.audit.check(trio.book)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"kind": CommandKind.DAY_END, "symbol": -1}, "no day"),
        ({"kind": CommandKind.NEW, "session": 1, "inbound_seq": 4}, "no inbound numbers"),
    ],
)
def test_the_ledger_refuses_what_it_does_not_know(fields, sentence):
    command = np.zeros(1, COMMAND)
    for name, value in fields.items():
        command[name] = value
    with pytest.raises(NotImplementedError, match=sentence):
        Ledger().process(command)


def test_the_ledger_refuses_a_window():
    with pytest.raises(NotImplementedError, match="remembers no finished orders"):
        Ledger(finished_orders=1)

"""A book taken apart into logical rows and made again answers, and hashes, as the one before."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle.commands import random_commands
from oracle.pair import Pair, add_symbols

from openoutcry.config.jit import IS_COMPILED
from openoutcry.engine.book import Book, Capacity, create_book
from openoutcry.engine.enums import CommandKind, ReportKind
from openoutcry.engine.image import (
    Image,
    ImageError,
    capacity_of,
    load_image,
    resize,
    take_image,
    why_not,
)
from openoutcry.engine.snapshot import check_invariants, state_hash

EXAMPLES = 150 if IS_COMPILED else 15
CAPACITY = Capacity(open_orders=64, finished_orders=20, levels=64, symbols=2, sessions=3)


def images_equal(one: Image, other: Image) -> bool:
    parts: Iterator[tuple[Any, Any]] = zip(one, other, strict=True)
    return all(
        a.tobytes() == b.tobytes() if isinstance(a, np.ndarray) else a == b for a, b in parts
    )


def swap(pair: Pair, capacity: Capacity, seed: int) -> None:
    """Give a pair a book made of its book's image, and its oracle the same capacity."""
    image = take_image(pair.book)
    book = load_image(image, capacity, pair.book.events, seed)
    assert capacity_of(book) == capacity
    check_invariants(book)
    if capacity.finished_orders >= image.finished_orders:
        assert state_hash(book) == state_hash(pair.book)
        assert images_equal(take_image(book)._replace(capacity=image.capacity), image)
    pair.book = book
    pair.oracle.resize(capacity)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 1 << 32),
    counts=st.lists(st.integers(1, 60 if IS_COMPILED else 25), min_size=2, max_size=4),
    spread=st.sampled_from([1, 63, 1 << 33, (1 << 57) + 1]),
    finished=st.lists(st.sampled_from([0, 1, 3, 20]), min_size=4, max_size=4),
    more=st.integers(0, 40),
)
def test_a_book_made_again_answers_as_the_oracle_does(seed, counts, spread, finished, more):
    """Taken in the middle of a flow, several times, into more or less room."""
    pair = Pair(CAPACITY._replace(finished_orders=finished[0]), shard=5, is_checking=False)
    add_symbols(pair, 2, flags=seed & 1)
    commands = random_commands(seed, sum(counts), prices=12, spread=spread, masses=0.02)
    first = 0
    for n, count in enumerate(counts):
        pair.run(commands[first : first + count])
        first += count
        # An identifier of a finished order is free again at once where none are remembered.
        window = finished[n] if finished[0] else 0
        capacity = Capacity(64 + more, window, 64 + more, 2 + more, 3 + more)
        swap(pair, capacity, seed + n)
    check_invariants(pair.book)


def resting(count: int, capacity: Capacity) -> Pair:
    pair = Pair(capacity, is_checking=False)
    add_symbols(pair, 1)
    for n in range(count):
        fields = {"session": 1, "inbound_seq": n + 1, "epoch": 1, "id0": n + 1, "side": 1}
        fields |= {"ord_type": 2, "tif": 1, "price_ticks": n, "qty_lots": 10}
        pair.send(CommandKind.NEW, **fields)
    return pair


def test_a_notional_of_128_bits_is_kept():
    pair = resting(1, CAPACITY)
    fields = {"symbol": 0, "session": 2, "ord_type": 2, "tif": 1}
    big = (1 << 62) + 3
    for n, side in enumerate((1, 2, 1, 2)):
        pair.send(
            CommandKind.NEW,
            id0=100 + n,
            side=side,
            price_ticks=-big,
            qty_lots=big - n % 2,
            **fields,
        )
    swap(pair, CAPACITY, 7)
    reports = pair.send(CommandKind.STATUS, id0=100, symbol=0, session=2)
    assert reports[0]["kind"] == ReportKind.STATUS
    assert reports[0]["notional_hi"] < -(1 << 59)


@pytest.mark.parametrize("word", [-1, 1, (1 << 63) - 1, -(1 << 63), 1 << 56, 0x80])
def test_every_word_of_an_order_is_kept_whatever_its_size(word):
    pair = resting(1, CAPACITY)
    unsigned = word & (1 << 64) - 1
    names = {f"id{n}": unsigned >> n for n in range(5)}
    fields = {"session": 2, "epoch": (1 << 32) - 1, "account": (1 << 32) - 2, "firm": 1 << 31}
    fields |= {"symbol": 0, "side": 2, "ord_type": 2, "tif": 0, "price_ticks": max(word, 2)}
    fields |= {"qty_lots": (1 << 62) + 5, "expire_ns": word, **names}
    pair.send(CommandKind.NEW, **fields)
    assert int(pair.book.state[0]["open_orders"]) == 2
    expected = pair.book.details[1].copy()
    swap(pair, CAPACITY, 3)
    for name in set(pair.book.details.dtype.names or ()) - {"tag"}:
        assert pair.book.details[1][name] == expected[name], name


def test_the_oldest_finished_orders_are_forgotten_first():
    pair = resting(5, CAPACITY)
    for n in range(5):
        pair.send(CommandKind.CANCEL, session=1, id0=50 + n, orig0=n + 1)
    book = resize(pair.book, CAPACITY._replace(finished_orders=2))
    check_invariants(book)
    assert int(book.state[0]["finished_count"]) == 2
    kept = load_image(take_image(book), CAPACITY)
    names = [int(row["id0"]) for row in kept.details[: int(kept.state[0]["detail_fresh"])]]
    assert names == [4, 5]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"open_orders": 4}, "capacity.open_orders cannot be 4: 5 open orders are in use; set it"),
        ({"levels": 4}, "capacity.levels cannot be 4: 5 levels are in use; set it to 5 or more"),
        ({"sessions": 1}, "capacity.sessions cannot be 1: session number 1 is in use; set it to 2"),
    ],
)
def test_what_does_not_fit_is_refused_with_a_sentence(change, sentence):
    book = resting(5, CAPACITY).book
    reason = why_not(book, CAPACITY._replace(**change))
    assert reason is not None
    assert reason.startswith(sentence)
    with pytest.raises(ImageError, match=sentence):
        resize(book, CAPACITY._replace(**change))
    assert why_not(book, CAPACITY) is None


def test_symbols_above_the_capacity_are_refused():
    pair = Pair(CAPACITY)
    add_symbols(pair, 2)
    sentence = "capacity.symbols cannot be 1: symbol number 1 is in use"
    assert str(why_not(pair.book, CAPACITY._replace(symbols=1))).startswith(sentence)


@pytest.mark.parametrize("kind", [CommandKind.START, CommandKind.CAPACITY])
def test_a_start_and_its_sizes_only_move_sequence_and_time(kind):
    """A book's sizes change outside of it: a command that reaches one all the same is harmless."""
    pair = resting(3, CAPACITY)
    before = take_image(pair.book)
    assert not len(pair.send(kind, price_ticks=1, symbol=-1))
    after = take_image(pair.book)
    assert (after.seq, after.time_ns) == (pair.seq, 1_000 + pair.seq)
    assert images_equal(after._replace(seq=before.seq, time_ns=before.time_ns), before)


def empty(capacity: Capacity = CAPACITY) -> Book:
    return create_book(capacity)


def test_an_empty_book_comes_back():
    book = resize(empty(), CAPACITY._replace(open_orders=7))
    assert state_hash(book) == state_hash(empty())
    check_invariants(book)


@pytest.mark.parametrize("part", ["orders", "finished"])
def test_damaged_orders_are_refused_or_give_another_hash(part):
    """No byte can make the loading write outside of the book: it ends, and the hash tells."""
    pair = resting(8, CAPACITY)
    for n in range(4):
        pair.send(CommandKind.CANCEL, session=1, id0=50 + n, orig0=n + 1)
    image = take_image(pair.book)
    expected = state_hash(pair.book)
    data = getattr(image, part)
    for at in range(len(data)):
        for value in (0, 1, 0x7F, 0xFF):
            damaged = data.copy()
            if damaged[at] == value:
                continue
            damaged[at] = value
            try:
                book = load_image(image._replace(**{part: damaged}))
            except ImageError:
                continue
            assert state_hash(book) != expected
    for cut in range(len(data)):
        with pytest.raises(ImageError):
            load_image(image._replace(**{part: data[:cut]}))


DETAIL_FIELDS = (
    *("id0", "id1", "id2", "id3", "id4", "session", "epoch", "account", "firm", "order_id"),
    *("symbol", "side", "ord_type", "tif", "status", "price_ticks", "qty_lots", "cum_qty"),
    *("notional_lo", "notional_hi", "expire_ns"),
)


@pytest.mark.parametrize(
    ("table", "row", "fields"),
    [
        ("details", 0, DETAIL_FIELDS),
        ("details", 2, DETAIL_FIELDS),
        ("orders", 0, ("leaves_qty",)),
        ("symbols", 0, ("price_min", "price_max", "qty_min", "qty_max", "replace_policy")),
        ("symbols", 1, ("is_defined",)),
        ("marks", 1, ("epoch", "inbound_seq")),
        ("marks", 2, ("epoch", "inbound_seq")),
        ("state", 0, ("seq", "time_ns", "event_seq")),
    ],
)
def test_all_that_an_answer_depends_on_is_in_the_hash(table, row, fields):
    """Of an open order, a finished one, a symbol, a session that has a mark or none, a book."""
    pair = resting(3, CAPACITY)
    pair.send(CommandKind.CANCEL, session=1, id0=50, orig0=3)
    expected = state_hash(pair.book)
    cells = getattr(pair.book, table)
    for name in fields:
        before = cells[row][name].copy()
        cells[row][name] = before ^ 1
        assert state_hash(pair.book) != expected, name
        cells[row][name] = before
    assert state_hash(pair.book) == expected

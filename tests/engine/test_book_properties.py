"""Random commands: every report and event equals the oracle's, and the structure holds."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle.book import join_rows
from oracle.pair import SMALL, Pair, add_symbols

from openoutcry.config.jit import IS_COMPILED
from openoutcry.engine.book import Capacity, create_book
from openoutcry.engine.enums import CommandKind, OrderType
from openoutcry.engine.match import process_batch
from openoutcry.engine.records import COMMAND, REPORT
from openoutcry.engine.snapshot import check_invariants, state_hash

EXAMPLES = 150 if IS_COMPILED else 40
LONG_RUN = 200_000 if IS_COMPILED else 6_000


def _words(rng, choices, count, shares=None):
    return rng.choice(np.array(choices), count, p=shares)


def random_commands(seed, count, *, ids=40, prices=12, symbols=2, sessions=2, spread=1):
    """Return random commands over small ranges, so that most of them meet others."""
    rng = np.random.default_rng(seed)
    commands = np.zeros(count, COMMAND)
    kinds: list[int] = [
        CommandKind.NEW,
        CommandKind.CANCEL,
        CommandKind.REPLACE,
        CommandKind.STATUS,
    ]
    kinds += [CommandKind.DAY_END, CommandKind.TIME, 7]
    commands["kind"] = _words(rng, kinds, count, [0.52, 0.22, 0.2, 0.05, 0.003, 0.005, 0.002])
    commands["symbol"] = rng.integers(0, symbols, count)
    commands["symbol"][rng.random(count) < 0.01] = -1
    commands["session"] = rng.integers(1, sessions + 1, count)
    commands["epoch"] = _words(rng, [1, 2], count, [0.999, 0.001])
    numbered = rng.random(count) < 0.5
    commands["inbound_seq"] = np.where(numbered, np.arange(1, count + 1), 0)
    commands["inbound_seq"][rng.random(count) < 0.01] = 1
    commands["side"] = rng.integers(1, 3, count)
    later = commands["kind"] != CommandKind.NEW
    commands["side"][later & (rng.random(count) < 0.8)] = 0
    commands["ord_type"] = _words(rng, [2, 1, 3], count, [0.93, 0.06, 0.01])
    commands["ord_type"][later & (rng.random(count) < 0.9)] = 0
    commands["tif"] = _words(rng, [0, 1, 3, 4, 2], count, [0.3, 0.5, 0.1, 0.09, 0.01])
    commands["tif"][commands["kind"] == CommandKind.REPLACE] %= 2
    commands["price_ticks"] = rng.integers(-prices // 2, prices // 2, count) * spread
    commands["qty_lots"] = rng.integers(0, 12, count)
    commands["account"] = rng.integers(0, 9, count)
    for field in ("id", "orig"):
        numbers = rng.integers(1, ids, count)
        commands[f"{field}0"] = numbers
        commands[f"{field}1"] = np.where(numbers % 3 == 0, numbers, 0)
        commands[f"{field}4"] = np.where(numbers % 7 == 0, 1 << 40, 0)
    commands["reject_reason"] = _words(rng, [0, 12], count, [0.99, 0.01])
    return commands


@st.composite
def command_arrays(draw):
    """Draw a seed, a length and ranges: hypothesis shrinks towards short runs over few ids."""
    count = draw(st.integers(1, 60 if IS_COMPILED else 25))
    ids = draw(st.integers(2, 30))
    prices = draw(st.sampled_from([2, 4, 12, 60]))
    spread = draw(st.sampled_from([1, 63, 1 << 33, (1 << 57) + 1]))
    seed = draw(st.integers(0, 1 << 32))
    return random_commands(seed, count, ids=ids, prices=prices, spread=spread)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    command_arrays(),
    st.sampled_from([0, 1, 3, 20]),
    st.sampled_from([2, 5, 64]),
    st.sampled_from([2, 6, 64]),
    st.integers(0, 1),
)
def test_any_commands_match_the_oracle(commands, finished, open_orders, levels, policy):
    capacity = Capacity(
        open_orders=open_orders,
        finished_orders=finished,
        levels=levels,
        symbols=2,
        sessions=3,
    )
    pair = Pair(capacity, shard=1)
    add_symbols(pair, 2, flags=policy)
    pair.run(commands)


@pytest.mark.parametrize(
    ("seed", "finished", "ids", "prices", "spread"),
    [
        (1, 0, 300, 40, 1),
        (2, 500, 600, 400, 1),
        (3, 100, 900, 4_000, (1 << 51) - 7),
    ],
)
def test_a_long_run_matches_the_oracle(seed, finished, ids, prices, spread):
    capacity = Capacity(
        open_orders=2_000, finished_orders=finished, levels=2_000, symbols=3, sessions=4
    )
    pair = Pair(capacity, is_checking=False)
    add_symbols(pair, 3)
    commands = random_commands(
        seed, LONG_RUN // 3, ids=ids, prices=prices, symbols=3, sessions=3, spread=spread
    )
    for first in range(0, len(commands), 2_000):
        pair.run(commands[first : first + 2_000])
        check_invariants(pair.book)


def _run_in_batches(commands, batch, capacity=SMALL, seed=0, rows=200):
    """Process commands in batches into a small buffer; return all report bytes and the book."""
    book = create_book(capacity, seed=seed)
    reports = np.zeros(rows, REPORT)
    written = []
    first = report_seq = 0
    while first < len(commands):
        stop = min(first + batch, len(commands))
        done, last = process_batch(
            *(book, commands, first, stop, reports, report_seq + 1),
            *(report_seq, report_seq + rows),
        )
        written.append(reports[: last - report_seq].tobytes())
        assert done > first
        first, report_seq = done, last
    return b"".join(written), book


@pytest.fixture
def sequenced():
    symbols = np.zeros(2, COMMAND)
    symbols["kind"] = CommandKind.ADD_SYMBOL
    symbols["symbol"] = [0, 1]
    symbols["price_ticks"], symbols["price2_ticks"] = -1000, 1000
    symbols["qty_lots"], symbols["qty2_lots"] = 1, 1000
    count = 4_000 if IS_COMPILED else 400
    commands = join_rows([symbols, random_commands(5, count)], COMMAND)
    commands["seq"] = np.arange(1, len(commands) + 1)
    commands["time_ns"] = commands["seq"] * 7
    return commands


@pytest.mark.parametrize("finished", [0, 30])
def test_batches_and_hash_seeds_change_nothing(sequenced, finished):
    capacity = SMALL._replace(finished_orders=finished)
    expected, book = _run_in_batches(sequenced, 1, capacity)
    for batch, seed in ((7, 0), (64, 1), (10_000, 2**63)):
        written, other = _run_in_batches(sequenced, batch, capacity, seed)
        assert written == expected
        assert state_hash(other) == state_hash(book)
        check_invariants(other)


def test_the_state_hash_does_not_know_the_memory_layout(sequenced):
    """Orders that came and went leave no trace but in the sequence numbers."""
    book = create_book(SMALL)
    busy = create_book(SMALL._replace(open_orders=100, levels=90))
    reports = np.zeros(300, REPORT)
    resting = sequenced[sequenced["kind"] == CommandKind.NEW][:30].copy()
    resting["ord_type"], resting["tif"], resting["qty_lots"] = OrderType.LIMIT, 1, 5
    resting["symbol"], resting["id0"], resting["inbound_seq"] = 0, np.arange(1, 31), 0
    resting["side"], resting["reject_reason"] = 1, 0
    noise = resting.copy()
    noise["id0"] += 100
    gone = noise.copy()
    gone["kind"] = CommandKind.CANCEL
    for field in range(5):
        gone[f"orig{field}"] = noise[f"id{field}"]
    for commands in (sequenced[:2], noise, gone[::-1].copy(), resting):
        process_batch(busy, commands, 0, len(commands), reports, 1, 0, 300)
    for commands in (sequenced[:2], resting):
        process_batch(book, commands, 0, len(commands), reports, 1, 0, 300)
    assert state_hash(busy) != state_hash(book)
    busy.state[0]["event_seq"] = book.state[0]["event_seq"]
    assert state_hash(busy) == state_hash(book)


def test_each_part_of_the_state_changes_the_hash(sequenced):
    capacity = SMALL._replace(finished_orders=30)
    _, book = _run_in_batches(sequenced, 64, capacity)
    before = state_hash(book)
    level = max(int(side["best"]) for side in book.sides)
    assert level >= 0
    detail = int(book.orders[int(book.levels[level]["head"])]["detail"])
    finished = (int(book.finished[0]) & 0xFFFFFFFF) - 1
    for rows, row, field in (
        (book.details, detail, "cum_qty"),
        (book.details, detail, "notional_lo"),
        (book.details, detail, "id4"),
        (book.details, finished, "status"),
        (book.orders, int(book.levels[level]["head"]), "leaves_qty"),
        (book.marks, 1, "inbound_seq"),
        (book.symbols, 1, "qty_max"),
        (book.state, 0, "seq"),
        (book.state, 0, "time_ns"),
    ):
        rows[row][field] += 1
        assert state_hash(book) != before, field
        rows[row][field] -= 1
    assert state_hash(book) == before

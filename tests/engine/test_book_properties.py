"""Random commands: every report and event equals the oracle's, and the structure holds."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle.book import join_rows
from oracle.commands import random_commands
from oracle.ledger import Ledger
from oracle.pair import SMALL, Pair, add_symbols, differences
from oracle.trio import Trio

from openoutcry.config.jit import IS_COMPILED
from openoutcry.engine import Engine, ReplacePolicy, SymbolLimits, match
from openoutcry.engine import add_symbols as engine_symbols
from openoutcry.engine.book import Capacity, create_book
from openoutcry.engine.enums import CommandKind, OrderType
from openoutcry.engine.match import PREFETCH_FROM, process_batch
from openoutcry.engine.records import COMMAND, REPORT
from openoutcry.engine.snapshot import check_invariants, state_hash

# `make fuzz` asks for many more.
EXAMPLES = max(settings().max_examples, 300) if IS_COMPILED else 60
LONG_RUN = 200_000 if IS_COMPILED else 6_000


@st.composite
def command_arrays(draw):
    """Draw a seed, a length and ranges: hypothesis shrinks towards short runs over few ids."""
    count = draw(st.integers(1, 60 if IS_COMPILED else 25))
    ids = draw(st.integers(2, 30))
    prices = draw(st.sampled_from([2, 4, 12, 60]))
    spread = draw(st.sampled_from([1, 63, 1 << 33, (1 << 57) + 1]))
    seed = draw(st.integers(0, 1 << 32))
    return random_commands(seed, count, ids=ids, prices=prices, spread=spread, masses=0.02)


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


#: Prices on both sides of what the book may cut the range into.
CUTS = (-65, -64, -33, -32, -1, 0, 31, 32, 63, 64)
ENDS = (-(1 << 63), -(1 << 63) + 1, 0, (1 << 63) - 2, (1 << 63) - 1)
MAX_STEPS = 60 if IS_COMPILED else 30


@st.composite
def steps(draw):
    """Draw commands one by one, so that a failure shrinks to the few that it takes."""
    choices = [(10, 11), (10, 11, 12, 13), tuple(range(-8, 9)), CUTS, ENDS]
    prices = draw(st.sampled_from(choices))
    lots = draw(st.sampled_from([(1, 2, 3), (1, 5, 40), (1, 1 << 62, (1 << 63) - 1)]))
    names = st.integers(1, draw(st.sampled_from([3, 8, 25])))
    step = st.fixed_dictionaries(
        {
            # Twice as many orders as anything else, or there is nothing to collide with.
            "kind": st.sampled_from([1, 1, 1, 1, 1, 2, 2, 3, 3, 4, 5, 6, 16]),
            "side": st.sampled_from([1, 2]),
            "ord_type": st.sampled_from([2, 2, 2, 2, 2, 1]),
            "tif": st.sampled_from([1, 1, 1, 0, 3, 4]),
            "price_ticks": st.sampled_from(prices),
            "qty_lots": st.sampled_from(lots),
            "id0": names,
            "orig0": names,
            "session": st.integers(1, 2),
            "symbol": st.sampled_from([0, 0, 0, 0, 1]),
            "account": st.sampled_from([0, 0, 7]),
            "flags": st.sampled_from([0, 0, 0, 1, 1, 2, 3, 4, 6, 8, 16, 24]),
        }
    )
    # Left alone, hypothesis draws half a dozen: enough for a counterexample, too few to find one.
    least = draw(st.sampled_from([1, MAX_STEPS // 4, MAX_STEPS // 2]))
    return draw(st.lists(step, min_size=least, max_size=MAX_STEPS))


def _command_of(step):
    command = np.zeros(1, COMMAND)
    for name, value in step.items():
        command[name] = value
    if step["kind"] == CommandKind.ADD_SYMBOL:
        # Another replace policy while orders rest.
        command["price_ticks"], command["price2_ticks"] = ENDS[0], ENDS[-1]
        command["qty_lots"], command["qty2_lots"] = 1, ENDS[-1]
    elif step["kind"] in (CommandKind.MASS_CANCEL, CommandKind.MASS_STATUS):
        # What the steps draw for other purposes says which filters it has.
        command["symbol"] = -1 if step["tif"] == 1 else step["symbol"]
        command["side"] = step["side"] if step["ord_type"] == OrderType.MARKET else 0
        # An order_id is the number of an order's command; the symbols took the first two.
        command["orig0"] = step["orig0"] + 2 if step["qty_lots"] == 1 else 0
    elif step["kind"] != CommandKind.NEW:
        command["side"], command["ord_type"] = 0, 0
        command["tif"] = step["tif"] % 2
    return command


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    steps(),
    st.sampled_from([1, 3, 64]),
    st.sampled_from([1, 2, 64]),
    st.integers(0, 1),
)
def test_any_steps_keep_every_property_of_the_books(wanted, open_orders, levels, policy):
    """Engine, oracle and ledger agree, and the auditor and the walk find nothing, after each."""
    trio = Trio(SMALL._replace(open_orders=open_orders, levels=levels))
    add_symbols(trio, 2, flags=policy)
    for step in wanted:
        trio.run(_command_of(step))
    # Sweeps from both sides reach every order that rests, in its turn, and leave nothing.
    while trio.book.state[0]["open_orders"]:
        before = int(trio.book.state[0]["open_orders"])
        for symbol, side in ((0, 1), (0, 2), (1, 1), (1, 2)):
            sweep = {"side": side, "ord_type": 1, "tif": 3, "qty_lots": ENDS[-1], "id0": 99}
            trio.run(_command_of({"kind": 1, "session": 1, "symbol": symbol, **sweep}))
        assert trio.book.state[0]["open_orders"] < before
    check_invariants(trio.book)


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


@pytest.mark.parametrize("policy", [0, 1])
@pytest.mark.parametrize(("ids", "prices", "spread"), [(40, 6, 1), (2_000, 60, (1 << 51) - 7)])
def test_a_long_mixed_run_matches_the_ledger(policy, ids, prices, spread):
    """Every kind of order and request, many of them declined, in batches of thousands."""
    commands = random_commands(
        policy + 7, LONG_RUN // 2, ids=ids, prices=prices, symbols=3, sessions=3, spread=spread
    )
    commands["inbound_seq"] = 0
    # Mass cancels of one side of a symbol at the most, or the books would never fill.
    masses = commands["kind"] == CommandKind.MASS_CANCEL
    commands["side"][masses & (commands["side"] == 0)] = 1
    commands["symbol"][masses & (commands["symbol"] == -1)] = 0
    commands = commands[commands["kind"] != CommandKind.DAY_END].copy()
    edge = prices * spread * 2 // 5
    symbols = [SymbolLimits(-edge, edge, 1, 11, ReplacePolicy(policy))] * 3
    capacity = Capacity(open_orders=ids, finished_orders=0, levels=ids // 2, symbols=4, sessions=4)
    engine = Engine(symbols, capacity)
    ledger = Ledger(**capacity._asdict())
    ledger.process(engine_symbols(enumerate(symbols)))
    reasons = set()
    for first in range(0, len(commands), 5_000):
        reports = engine.process(commands[first : first + 5_000])
        expected = ledger.process(commands[first : first + 5_000])
        assert reports.tobytes() == expected, differences(reports, np.frombuffer(expected, REPORT))
        reasons |= set(reports["reason"].tolist())
        check_invariants(engine.book)
    assert len(reasons) >= 9, "too few ways to be declined were met"


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


def test_memory_asked_for_ahead_changes_nothing(monkeypatch):
    """A book above PREFETCH_FROM: the commands ahead are followed to rows that come and go."""
    capacity = SMALL._replace(open_orders=20_000, levels=9_000, finished_orders=0)
    wanted = PREFETCH_FROM if IS_COMPILED else 100
    monkeypatch.setattr(match, "PREFETCH_FROM", wanted)
    count = wanted * 4
    symbols = np.zeros(2, COMMAND)
    symbols["kind"] = CommandKind.ADD_SYMBOL
    symbols["symbol"] = [0, 1]
    symbols["price_ticks"], symbols["price2_ticks"] = -(1 << 62), 1 << 62
    symbols["qty_lots"], symbols["qty2_lots"] = 1, 1000
    commands = random_commands(11, count, ids=count, prices=4_000, spread=17)
    commands["inbound_seq"] = 0
    # Sides far apart for the first half, that it grows; then they meet.
    half = commands[: count // 2]
    half["kind"] = CommandKind.NEW
    half["id0"] = np.arange(len(half)) + 1
    half["id1"], half["id4"], half["tif"], half["ord_type"] = 0, 0, 1, OrderType.LIMIT
    half["price_ticks"] += np.where(half["side"] == 1, -100_000, 100_000)
    later = commands[count // 2 :]
    later["orig0"] = np.random.default_rng(1).integers(1, len(half), len(later))
    later["orig1"], later["orig4"], later["session"] = 0, 0, 1
    later["account"][later["kind"] == CommandKind.MASS_CANCEL] = 8
    half["session"] = 1
    commands = join_rows([symbols, commands], COMMAND)
    commands["seq"] = np.arange(1, len(commands) + 1)
    commands["time_ns"] = commands["seq"]
    expected, book = _run_in_batches(commands, 1, capacity, rows=40_000)
    assert book.state[0]["details_used"] + book.state[0]["levels_used"] > wanted
    for batch in (5, 64, 10_000):
        written, other = _run_in_batches(commands, batch, capacity, 7, rows=40_000)
        assert written == expected
        assert state_hash(other) == state_hash(book)
    check_invariants(book)


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

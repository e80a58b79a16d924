"""Recorded order flows of the load generator's kind: many symbols, a wanted mix, a steady book.

A flow is made against a book of its own, so that cancels and replaces name orders that rest then;
a warm-up fills the book.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from openoutcry.config.jit import int64, lean_kernel, lean_part
from openoutcry.engine.bench.elementary import exp, log
from openoutcry.engine.book import Book, Capacity, create_book
from openoutcry.engine.enums import CommandKind, OrderType, ReplacePolicy, ReportKind, TimeInForce
from openoutcry.engine.match import process_batch
from openoutcry.engine.records import COMMAND, REPORT
from openoutcry.engine.words import as_signed, as_unsigned, mix

_CHUNK = 256
_NIBBLES = 0x0F0F0F0F0F0F0F0F
_LETTERS = 0x4141414141414141
_SUFFIX = int.from_bytes(b"-BENCH01", "little")


class Scenario(NamedTuple):
    """What the flow looks like; shares are in thousandths, and the rest is marketable orders."""

    name: str
    symbols: int = 4
    resting: int = 75_000
    new: int = 450
    cancel: int = 380
    replace: int = 100
    #: Resting prices lie within this many ticks of the middle, more of them near it.
    width_ticks: int = 2_000
    #: Ticks between neighbouring prices: 1 is a dense book, a large number spreads it over int64.
    stride_ticks: int = 1
    finished_orders: int = 0
    #: One new order in 64 moves its symbol's middle by up to so many ticks.
    walk: int = 1
    max_qty: int = 100
    #: Of the replaces, in thousandths: with a new price.
    moves: int = 500
    #: Shape of the Pareto distribution of the symbols' shares of the orders; 0: all alike.
    pareto: float = 0.0


MIXES = {
    scenario.name: scenario
    for scenario in (
        Scenario("mixed"),
        Scenario("mixed-window", finished_orders=1_000_000),
        Scenario("symbols", symbols=1_000, resting=200_000, width_ticks=100),
        Scenario("shallow", symbols=1, resting=2_000, width_ticks=50),
        Scenario("one-level", symbols=1, width_ticks=1, walk=0),
        Scenario("wide", resting=100_000, width_ticks=1 << 20, stride_ticks=(1 << 40) + 7),
        Scenario("sweeps", new=500, cancel=150, replace=50, max_qty=400),
        Scenario(
            "universe",
            symbols=10_000,
            resting=1_000_000,
            new=90,
            cancel=60,
            replace=820,
            moves=1_000,
            pareto=1.5,
            width_ticks=400,
        ),
    )
}

#: An order that the generator believes to rest.
_RESTING = np.dtype(
    [("number", "<i8"), ("price", "<i8"), ("qty", "<i8"), ("symbol", "<i4"), ("side", "<i4")]
)
#: The generator's own state, one row.
_FLOW = np.dtype([("seed", "<i8"), ("draws", "<i8"), ("number", "<i8"), ("open", "<i8")])


@lean_part
def _draw(flow: NDArray[Any], below: int) -> int:
    flow[0]["draws"] += 1
    word = mix(mix(flow[0]["seed"], flow[0]["draws"]), 0x5BD1E995)
    return ((word >> 20) & 0xFFFFFFFF) % below


@lean_part
def _word_of(number: int) -> int:
    """Spell 32 bits as eight letters."""
    spread = (number & 0xFFFF) | ((number & 0xFFFF0000) << 16)
    spread = (spread & 0x000000FF000000FF) | ((spread & 0x0000FF000000FF00) << 8)
    return ((spread & 0x000F000F000F000F) | ((spread & 0x00F000F000F000F0) << 4)) + _LETTERS


@lean_part
def _number_of(word: int) -> int:
    """Read eight letters as 32 bits."""
    spread = word - _LETTERS
    spread = (spread & 0x000F000F000F000F) | ((spread >> 4) & 0x00F000F000F000F0)
    spread = (spread & 0x000000FF000000FF) | ((spread >> 8) & 0x0000FF000000FF00)
    return (spread & 0xFFFF) | ((spread >> 16) & 0xFFFF0000)


@lean_part
def _forget(flow: NDArray[Any], resting: NDArray[Any], places: NDArray[Any], place: int) -> None:
    last = flow[0]["open"] - 1
    places[resting[place]["number"]] = -1
    if place != last:
        resting[place] = resting[last]
        places[resting[place]["number"]] = place
    flow[0]["open"] = last


@lean_part
def _remember(
    flow: NDArray[Any],
    resting: NDArray[Any],
    places: NDArray[Any],
    number: int,
    symbol: int,
    side: int,
    price: int,
    qty: int,
) -> None:
    place = flow[0]["open"]
    row = resting[place]
    row["number"] = number
    row["price"] = price
    row["qty"] = qty
    row["symbol"] = symbol
    row["side"] = side
    places[number] = place
    flow[0]["open"] = place + 1


@lean_part
def _draw_price(flow: NDArray[Any], middle: int, side: int, width: int, stride: int) -> int:
    # The product of two draws lies near the middle more often than far from it.
    offset = (_draw(flow, width) * _draw(flow, 1024)) >> 10
    if side == 1:
        return (middle - 1 - offset) * stride
    return (middle + 1 + offset) * stride


@lean_kernel
def _generate(
    flow: NDArray[Any],
    middles: NDArray[Any],
    sums: NDArray[Any],
    resting: NDArray[Any],
    places: NDArray[Any],
    commands: NDArray[Any],
    first: int,
    stop: int,
    shares: NDArray[Any],
    width: int,
    stride: int,
    max_qty: int,
) -> None:
    """Write commands; `shares` are new, cancel, replace (in thousandths), the number of resting
    orders aimed at, the walk, and of the replaces those that move (in thousandths); `sums` are the
    running sums of the symbols' weights."""
    target = shares[3]
    for i in range(first, stop):
        command = commands[i]
        draw = _draw(flow, 1000)
        count = flow[0]["open"]
        # Gently back to the target: near it the shares are as wanted.
        if count < target - target // 16:
            draw %= shares[0]
        elif count > target + target // 16 and draw < shares[0]:
            draw = shares[0]
        flow[0]["number"] += 1
        number = flow[0]["number"]
        command["seq"] = i + 1
        command["time_ns"] = i + 1
        command["inbound_seq"] = 0
        command["session"] = 1
        command["ord_type"] = OrderType.LIMIT.value
        command["tif"] = TimeInForce.GTC.value
        command["id0"] = as_unsigned(_word_of(number))
        command["id1"] = _SUFFIX
        qty = _draw(flow, max_qty) + 1
        if draw < shares[0] or draw >= shares[0] + shares[1] + shares[2] or count == 0:
            symbol = int64(np.searchsorted(sums, _draw(flow, sums[len(sums) - 1]), "right"))
            side = _draw(flow, 2) + 1
            if _draw(flow, 64) == 0:
                middles[symbol] += _draw(flow, 2 * shares[4] + 1) - shares[4]
            command["kind"] = CommandKind.NEW.value
            command["symbol"] = symbol
            command["side"] = side
            command["qty_lots"] = qty
            if draw < shares[0]:
                price = _draw_price(flow, middles[symbol], side, width, stride)
                _remember(flow, resting, places, number, symbol, side, price, qty)
            else:
                price = (middles[symbol] + (width if side == 1 else -width)) * stride
                command["tif"] = TimeInForce.IOC.value
            command["price_ticks"] = price
            continue
        place = _draw(flow, count)
        old = resting[place]["number"]
        symbol, side = int64(resting[place]["symbol"]), int64(resting[place]["side"])
        command["symbol"] = symbol
        command["side"] = side
        command["orig0"] = as_unsigned(_word_of(old))
        command["orig1"] = _SUFFIX
        if draw < shares[0] + shares[1]:
            command["kind"] = CommandKind.CANCEL.value
            _forget(flow, resting, places, place)
            continue
        command["kind"] = CommandKind.REPLACE.value
        price = resting[place]["price"]
        qty = resting[place]["qty"]
        if _draw(flow, 1000) < shares[5]:
            price = _draw_price(flow, middles[symbol], side, width, stride)
        _forget(flow, resting, places, place)
        _remember(flow, resting, places, number, symbol, side, price, qty)
        command["price_ticks"] = price
        command["qty_lots"] = qty


@lean_kernel
def _absorb(
    flow: NDArray[Any],
    resting: NDArray[Any],
    places: NDArray[Any],
    reports: NDArray[Any],
    count: int,
) -> int:
    """Forget the orders that the reports say are gone; return how many were declined."""
    declined = 0
    for i in range(count):
        kind = reports[i]["kind"]
        is_declined = kind == ReportKind.CANCEL_REJECTED or kind == ReportKind.REJECTED
        if is_declined:
            declined += 1
        if is_declined or (kind == ReportKind.TRADE and reports[i]["leaves_qty"] == 0):
            place = places[_number_of(as_signed(reports[i]["id0"]))]
            if place >= 0:
                _forget(flow, resting, places, place)
    return declined


class Flow(NamedTuple):
    """A recorded flow: the commands, how many fill the book first, and what they yield."""

    commands: NDArray[Any]
    warm_up: int
    reports: int
    declined: int
    trades: int


def mix_capacity(scenario: Scenario) -> Capacity:
    """Return what a book needs to take a scenario's flow."""
    return Capacity(
        open_orders=scenario.resting * 2,
        finished_orders=scenario.finished_orders,
        levels=scenario.resting * 2,
        symbols=scenario.symbols,
    )


def open_book(
    capacity: Capacity, symbols: int, policy: ReplacePolicy = ReplacePolicy.KEEP_ON_REDUCE
) -> Book:
    """Create a book whose symbols, numbered from 0, take any price and quantity."""
    book = create_book(capacity)
    commands = np.zeros(symbols, COMMAND)
    commands["kind"] = CommandKind.ADD_SYMBOL
    commands["symbol"] = np.arange(symbols)
    commands["price_ticks"], commands["price2_ticks"] = -(1 << 63), (1 << 63) - 1
    commands["qty_lots"], commands["qty2_lots"] = 1, (1 << 63) - 1
    commands["flags"] = policy
    process_batch(book, commands, 0, symbols, np.zeros(1, REPORT), 1, 0, 1)
    return book


def _weigh_symbols(scenario: Scenario, seed: int) -> NDArray[Any]:
    """Return the running sums of the symbols' weights."""
    if not scenario.pareto:
        return np.arange(1, scenario.symbols + 1)
    chances = np.random.RandomState(seed).random_sample(scenario.symbols)
    weights = [1_000 * exp(-log(1.0 - chance) / scenario.pareto) for chance in chances]
    return np.cumsum(np.array(weights).astype(np.int64))


def record_flow(scenario: Scenario, messages: int, seed: int = 1) -> Flow:
    """Make a scenario's commands: a warm-up that fills the book, then `messages` more."""
    warm_up = scenario.resting * 2 // _CHUNK * _CHUNK + _CHUNK
    total = warm_up + messages
    commands = np.zeros(total, COMMAND)
    flow = np.zeros(1, _FLOW)
    flow["seed"] = seed
    middles = np.full(scenario.symbols, 100_000, np.int64)
    resting = np.zeros(scenario.resting * 2 + _CHUNK, _RESTING)
    places = np.full(total + 1, -1, np.int64)
    shares = np.array(
        [
            *(scenario.new, scenario.cancel, scenario.replace),
            *(scenario.resting, scenario.walk, scenario.moves),
        ]
    )
    sums = _weigh_symbols(scenario, seed)
    reports = np.zeros(1 << 18, REPORT)
    book = open_book(mix_capacity(scenario), scenario.symbols)
    produced = declined = trades = 0
    for first in range(0, total, _CHUNK):
        stop = min(first + _CHUNK, total)
        _generate(
            *(flow, middles, sums, resting, places, commands, first, stop, shares),
            *(scenario.width_ticks, scenario.stride_ticks, scenario.max_qty),
        )
        done, count = process_batch(book, commands, first, stop, reports, 1, 0, len(reports))
        if done != stop:
            raise RuntimeError(f"the report buffer is too small for scenario {scenario.name}")
        refused = _absorb(flow, resting, places, reports, count)
        if first >= warm_up:
            produced += count
            declined += refused
            trades += int(np.count_nonzero(reports["kind"][:count] == ReportKind.TRADE)) // 2
    return Flow(commands, warm_up, produced, declined, trades)

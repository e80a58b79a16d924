"""The order flow of one busy equity, by which matching algorithms are publicly compared.

The model is that of the matching-engine-benchmark of Flash One Technologies (2026), whose page on
its methodology states it: a mid price that follows a geometric Brownian motion; orders a power law
of ticks away from it, with a hump 8 ticks out; buys priced along the first half of the path, sells
along the second, all shuffled into the order of arrival; 15 % IOC; of the rest 20 % modified and
95 % cancelled; some cancels and modifies sent twice. Words and draws are taken in that benchmark's
order from the Mersenne Twister, so with seed 23 (its canonical one) the messages are its messages,
and the reports can be held against the hashes that it publishes: three independent engines agree on
them. A modify goes by `ReplacePolicy.ALWAYS_REQUEUE` and states the quantity to be open.

Random words are MT19937's with Knuth's initialisation, taken two at a time as 53-bit fractions
(numpy's RandomState, whose stream is frozen). Distributions use nothing but IEEE 754 arithmetic
(engine/bench/elementary.py): the streams are the same on every platform.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from openoutcry.config.jit import int64, lean_kernel, lean_part
from openoutcry.engine.bench.elementary import cos_turns, exp, log
from openoutcry.engine.enums import CommandFlag, CommandKind, OrderType, TimeInForce
from openoutcry.engine.records import COMMAND

#: Standard deviation of the whole path, as a fraction of the price.
SCENARIOS = {"static": 0.0, "normal": 0.02, "swing-25": 0.25, "swing-40": 0.40, "flash-crash": 0.60}
#: The benchmark's canonical seed.
SEED = 23
ORDERS = 1_000_000

_START_PRICE = 167.52
_TICK = 0.005
_DEPTHS = 800
_POWER = 2.23
_HUMP_HEIGHT = 5.0
_HUMP_AT = 8.0
_MAX_QTY = 100
_IOC_SHARE = 0.15
_MODIFIED_SHARE = 0.20
_REPRICED_SHARE = 0.80
_CANCELED_SHARE = 0.95
_AGAIN_SHARE = 0.02
#: Median life of an order at the mid, in microseconds; one k ticks out lives sqrt(1 + k) as long.
_MEDIAN_LIFE_US = 431.0
#: Most draws, and most messages, that one order takes after the shuffle.
_LIFE_DRAWS = 9
_LIFE_MESSAGES = 5

_MESSAGE = np.dtype(
    [
        ("time_us", "<i8"),
        ("order", "<i8"),
        ("price_ticks", "<i8"),
        ("qty", "<i4"),
        ("kind", "u1"),
        ("tif", "u1"),
        ("side", "u1"),
        ("unused", "u1"),
    ]
)
#: What is drawn of an order before it arrives.
_PLACED = np.dtype([("price_ticks", "<i8"), ("qty", "<i4"), ("depth", "<i4")])


class _Shares(NamedTuple):
    """What the lifecycle kernel is told."""

    ioc: float
    modified: float
    repriced: float
    canceled: float
    again: float
    rate: float


@lean_kernel
def _weigh_depths(sums: NDArray[Any]) -> None:
    """Write the running sums of the depths' weights."""
    total = 0.0
    for k in range(len(sums)):
        away = k - _HUMP_AT
        total += exp(-_POWER * log(k + 1.0)) + _HUMP_HEIGHT * exp(-0.5 * away * away)
        sums[k] = total


@lean_kernel
def _place(draws: NDArray[Any], sums: NDArray[Any], step: float, placed: NDArray[Any]) -> None:
    """Draw every order's price, quantity and depth along the path of the mid."""
    count = len(placed)
    mid = _START_PRICE
    for i in range(count):
        normal = math.sqrt(-2.0 * log(max(draws[i, 0], 1e-300))) * cos_turns(draws[i, 1])
        mid *= exp(-0.5 * step * step + step * normal)
        ticks = int64(math.floor(mid / _TICK + 0.5))
        wanted = draws[i, 2] * sums[len(sums) - 1]
        depth = min(int64(np.searchsorted(sums, wanted)), len(sums) - 1)
        price = ticks + depth + 1
        if i < count // 2:
            price = ticks - depth - 1
        placed[i]["price_ticks"] = max(price, 1)
        placed[i]["qty"] = 1 + int64(draws[i, 3] * _MAX_QTY)
        placed[i]["depth"] = depth


@lean_kernel
def _shuffle(draws: NDArray[Any], arrival: NDArray[Any]) -> None:
    """Shuffle 0 … n - 1 from the end (Fisher and Yates)."""
    for i in range(len(arrival)):
        arrival[i] = i
    for i in range(len(arrival) - 1, 0, -1):
        j = int64(draws[len(arrival) - 1 - i] * (i + 1))
        kept = arrival[i]
        arrival[i] = arrival[j]
        arrival[j] = kept


@lean_part
def _write(
    messages: NDArray[Any], row: int, time_us: int, kind: int, order: int, price: int, qty: int
) -> int:
    message = messages[row]
    message["time_us"] = time_us
    message["order"] = order
    message["price_ticks"] = price
    message["qty"] = qty
    message["kind"] = kind
    message["tif"] = TimeInForce.GTC.value
    return row + 1


@lean_kernel
def _live(
    draws: NDArray[Any],
    arrival: NDArray[Any],
    placed: NDArray[Any],
    shares: _Shares,
    messages: NDArray[Any],
) -> int:
    """Write each order's messages, not yet in the order of their times; return how many."""
    new, cancel, modify = (
        CommandKind.NEW.value,
        CommandKind.CANCEL.value,
        CommandKind.REPLACE.value,
    )
    row = int64(0)
    at = int64(0)
    now = int64(0)
    for n in range(len(arrival)):
        order = arrival[n]
        price, qty = placed[order]["price_ticks"], int64(placed[order]["qty"])
        first = row
        row = _write(messages, row, now, new, order, price, qty)
        is_ioc = draws[at] < shares.ioc
        at += 1
        if is_ioc:
            messages[first]["tif"] = TimeInForce.IOC.value
        is_modified = False
        if not is_ioc:
            is_modified = draws[at] < shares.modified
            at += 1
        if is_modified:
            now += 30 + int64(draws[at] * 70.0)
            if draws[at + 1] < shares.repriced:
                price += 1 if order < len(arrival) // 2 else -1
            at += 2
            row = _write(messages, row, now, modify, order, price, qty + 1)
        is_canceled = False
        if not is_ioc:
            is_canceled = draws[at] < shares.canceled
            at += 1
        if is_canceled:
            rate = shares.rate / math.sqrt(1.0 + placed[order]["depth"])
            now += int64(-log(max(draws[at], 1e-300)) / rate)
            row = _write(messages, row, now, cancel, order, price, qty)
            is_again = draws[at + 1] < shares.again
            at += 2
            if is_again:
                now += 1 + int64(draws[at] * 20.0)
                at += 1
                row = _write(messages, row, now, cancel, order, price, qty)
        if is_modified and is_canceled:
            is_again = draws[at] < shares.again
            at += 1
            if is_again:
                now += 1 + int64(draws[at] * 20.0)
                at += 1
                row = _write(messages, row, now, modify, order, price, qty + 1)
        side = 1 if order < len(arrival) // 2 else 2
        for written in range(first, row):
            messages[written]["side"] = side
        now += 1
    return row


def equity_flow(scenario: str, orders: int = ORDERS, seed: int = SEED) -> NDArray[Any]:
    """Return the COMMAND rows of a scenario: about twice as many as there are new orders.

    The orders are numbered from 1 in `id0`; all are of session 1 and symbol 0. `time_ns` is the
    model's own time. Sequence numbers are left to the engine.

    Raises: KeyError: there is no such scenario. ValueError: fewer than 2 orders, or a seed that is
    no 32-bit number.
    """
    deviation = SCENARIOS[scenario]
    if orders < 2:
        raise ValueError(f"a flow has at least 2 orders, not {orders}")
    words = np.random.RandomState(seed)
    sums = np.empty(_DEPTHS)
    _weigh_depths(sums)
    placed = np.zeros(orders, _PLACED)
    _place(words.random_sample((orders, 4)), sums, deviation / math.sqrt(orders), placed)
    arrival = np.empty(orders, np.int64)
    _shuffle(words.random_sample(orders - 1), arrival)
    messages = np.zeros(orders * _LIFE_MESSAGES, _MESSAGE)
    shares = _Shares(
        _IOC_SHARE,
        _MODIFIED_SHARE,
        _REPRICED_SHARE,
        _CANCELED_SHARE,
        _AGAIN_SHARE,
        float(log(2.0)) / _MEDIAN_LIFE_US,
    )
    draws = words.random_sample(orders * _LIFE_DRAWS)
    messages = messages[: _live(draws, arrival, placed, shares, messages)]
    return _commands(messages[np.argsort(messages["time_us"], kind="stable")])


def _commands(messages: NDArray[Any]) -> NDArray[Any]:
    commands = np.zeros(len(messages), COMMAND)
    is_new = messages["kind"] == CommandKind.NEW
    commands["kind"] = messages["kind"]
    commands["side"] = messages["side"]
    commands["tif"] = messages["tif"]
    commands["ord_type"] = OrderType.LIMIT
    commands["time_ns"] = messages["time_us"] * 1_000
    commands["session"] = 1
    commands["price_ticks"] = messages["price_ticks"]
    commands["qty_lots"] = messages["qty"]
    commands["id0"] = messages["order"] + 1
    commands["orig0"] = np.where(is_new, 0, messages["order"] + 1)
    commands["flags"] = np.where(
        messages["kind"] == CommandKind.REPLACE, CommandFlag.OPEN_QTY.value, 0
    )
    return commands

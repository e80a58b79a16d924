"""Every flow of commands that `openoutcry bench engine` times, by name.

- `static`, `normal`, `swing-25`, `swing-40`, `flash-crash`: the public benchmark's five, one symbol
  (engine/bench/equity.py). Together they are called `equity`.
- `universe`: 10,000 symbols with Pareto shares, a million resting orders, four fifths of the
  messages moves to another price.
- `deep-lifo`, `deep-fifo`, `deep-random`: one price, 100,000 orders deep, emptied from its end, its
  front, or anywhere, and filled again.
- the others: recorded flows of the load generator's kind (engine/bench/mixes.py).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from openoutcry.engine.bench.equity import SCENARIOS as EQUITY
from openoutcry.engine.bench.equity import SEED as EQUITY_SEED
from openoutcry.engine.bench.equity import equity_flow
from openoutcry.engine.bench.mixes import MIXES, mix_capacity, open_book, record_flow
from openoutcry.engine.book import Book, Capacity
from openoutcry.engine.enums import CommandKind, OrderType, ReplacePolicy, Side, TimeInForce
from openoutcry.engine.records import COMMAND

#: Orders at the one price of the deep flows.
DEPTH = 100_000
_MESSAGES = 1_000_000
_KEEP, _REQUEUE = ReplacePolicy.KEEP_ON_REDUCE, ReplacePolicy.ALWAYS_REQUEUE


class Workload(NamedTuple):
    """A flow, what a book needs to take it, and how many of its commands only fill the book."""

    name: str
    commands: NDArray[Any]
    warm_up: int
    capacity: Capacity
    symbols: int = 1
    policy: ReplacePolicy = _KEEP

    @property
    def messages(self) -> int:
        """How many commands are timed."""
        return len(self.commands) - self.warm_up

    def new_book(self) -> Book:
        """Create a book with the workload's symbols, of any price and quantity."""
        return open_book(self.capacity, self.symbols, self.policy)


def _equity(name: str, messages: int | None, seed: int | None) -> Workload:
    # Each order makes about two messages.
    orders = 1_000_000 if messages is None else max(2, messages // 2)
    commands = equity_flow(name, orders, EQUITY_SEED if seed is None else seed)
    return Workload(name, commands, 0, Capacity(finished_orders=0), policy=_REQUEUE)


def _mix(name: str, messages: int | None, seed: int | None) -> Workload:
    scenario = MIXES[name]
    flow = record_flow(scenario, messages or _MESSAGES, 1 if seed is None else seed)
    return Workload(name, flow.commands, flow.warm_up, mix_capacity(scenario), scenario.symbols)


def _deep(name: str, messages: int | None, seed: int | None) -> Workload:
    rounds = max(1, (messages or _MESSAGES) // (2 * DEPTH))
    shuffled = np.random.RandomState(1 if seed is None else seed)
    parts = [_fill(0)]
    for turn in range(rounds):
        left = np.arange(DEPTH) + turn * DEPTH
        if name == "deep-lifo":
            left = left[::-1]
        elif name == "deep-random":
            # Sorted by random words, and not shuffled: numpy keeps only the words' stream fixed.
            left = left[np.argsort(shuffled.random_sample(DEPTH), kind="stable")]
        cancels = np.zeros(DEPTH, COMMAND)
        cancels["kind"] = CommandKind.CANCEL
        cancels["orig0"] = left + 1
        parts += [cancels, _fill(turn + 1)]
    commands = np.zeros(sum(len(part) for part in parts), COMMAND)
    for part, first in zip(parts, range(0, len(commands), DEPTH), strict=True):
        commands[first : first + DEPTH] = part
    commands["session"] = 1
    return Workload(name, commands, DEPTH, Capacity(finished_orders=0))


def _fill(turn: int) -> NDArray[Any]:
    orders = np.zeros(DEPTH, COMMAND)
    orders["kind"] = CommandKind.NEW
    orders["side"] = Side.BUY
    orders["ord_type"] = OrderType.LIMIT
    orders["tif"] = TimeInForce.GTC
    orders["price_ticks"] = 100
    orders["qty_lots"] = 1
    orders["id0"] = np.arange(DEPTH) + turn * DEPTH + 1
    return orders


_MAKERS: dict[str, Callable[[str, int | None, int | None], Workload]] = {
    **dict.fromkeys(EQUITY, _equity),
    **dict.fromkeys(MIXES, _mix),
    **dict.fromkeys(("deep-lifo", "deep-fifo", "deep-random"), _deep),
}
NAMES = tuple(_MAKERS)
EQUITY_NAMES = tuple(EQUITY)


def make_workload(name: str, messages: int | None = None, seed: int | None = None) -> Workload:
    """Make a flow by name, about `messages` long (by default 2.0 M for the equity flows, else 1 M).

    Sequence numbers are written into the commands.

    Raises: KeyError: there is no such flow.
    """
    workload = _MAKERS[name](name, messages, seed)
    commands = workload.commands
    commands["seq"] = np.arange(len(commands)) + 1
    commands["time_ns"] = np.maximum.accumulate(commands["time_ns"])
    return workload

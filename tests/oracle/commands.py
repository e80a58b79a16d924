"""Random commands, for a book and whatever stands beside it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from openoutcry.engine.enums import CommandKind
from openoutcry.engine.records import COMMAND


def _words(
    rng: np.random.Generator, choices: list[int], count: int, shares: list[float] | None = None
) -> NDArray[Any]:
    return rng.choice(np.array(choices), count, p=shares)


def random_commands(
    seed: int,
    count: int,
    *,
    ids: int = 40,
    prices: int = 12,
    symbols: int = 2,
    sessions: int = 2,
    spread: int = 1,
    masses: float = 0.001,
) -> NDArray[Any]:
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
    kinds += [CommandKind.MASS_CANCEL, CommandKind.MASS_STATUS]
    shares = [0.52, 0.22, 0.2 - 2 * masses, 0.05, 0.003, 0.005, 0.002, masses, masses]
    commands["kind"] = _words(rng, kinds, count, shares)
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
    # All bits of CommandFlag, each seldom.
    for bit in range(5):
        commands["flags"][rng.random(count) < 0.05] |= 1 << bit
    mass = (commands["kind"] == kinds[-2]) | (commands["kind"] == kinds[-1])
    commands["symbol"][mass & (rng.random(count) < 0.5)] = -1
    commands["symbol"][mass & (rng.random(count) < 0.02)] = symbols
    commands["side"][mass & (rng.random(count) < 0.02)] = 3
    commands["account"][mass & (rng.random(count) < 0.7)] = 0
    commands["flags"][mass & (rng.random(count) < 0.3)] |= 4
    # Seldom one order by its order_id: the number of an earlier command, on shard 0.
    commands["orig0"][mass] = 0
    one = mass & (rng.random(count) < 0.1)
    commands["orig0"][one] = rng.integers(1, np.arange(count)[one] + 2)
    return commands

"""The commands with which a shard's new epoch begins: START, and what its configuration says
otherwise than its log."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from openoutcry.engine.book import Capacity
from openoutcry.engine.enums import CommandKind
from openoutcry.engine.image import why_not
from openoutcry.engine.records import COMMAND
from openoutcry.server.config import Config
from openoutcry.server.log_end import RecoveryError
from openoutcry.server.replica import Replica
from openoutcry.server.tables import symbol_flags


def book_capacity(config: Config) -> Capacity:
    """Return the sizes of a shard's pools."""
    capacity = config.capacity
    return Capacity(
        open_orders=capacity.open_orders,
        finished_orders=capacity.finished_orders,
        levels=capacity.levels,
        symbols=capacity.symbols,
        sessions=capacity.sessions,
    )


def start_commands(config: Config, index: int, replica: Replica) -> NDArray[Any]:
    """Return START, and what the configuration says otherwise than the log.

    Raises:
        RecoveryError: the book does not fit into the sizes that are configured now.
    """
    book = replica.book
    rows = [np.zeros(1, COMMAND)]
    rows[0]["kind"] = CommandKind.START
    capacity = book_capacity(config)
    if replica.seq == 0 or replica.capacity != capacity:
        reason = why_not(book, capacity)
        if reason is not None:
            raise RecoveryError(f"shard {index} cannot have the configured sizes: {reason}")
        row = np.zeros(1, COMMAND)
        row["kind"] = CommandKind.CAPACITY
        row["price_ticks"], row["price2_ticks"] = capacity.open_orders, capacity.finished_orders
        row["qty_lots"], row["qty2_lots"] = capacity.levels, capacity.symbols
        row["expire_ns"] = capacity.sessions
        rows.append(row)
    for row in rows:
        row["symbol"] = -1
    for number, symbol in enumerate(config.symbols):
        if config.shard_of(number) != index:
            continue
        row = np.zeros(1, COMMAND)
        row["kind"] = CommandKind.ADD_SYMBOL
        row["symbol"] = number
        row["price_ticks"] = symbol.min_price_ticks
        row["price2_ticks"] = symbol.max_price_ticks
        row["qty_lots"] = symbol.min_qty_lots
        row["qty2_lots"] = symbol.max_qty_lots
        row["flags"] = symbol_flags(symbol.replace_policy)
        if number >= len(book.symbols) or _differs(book.symbols[number], row[0]):
            rows.append(row)
    return np.concatenate([row.view(np.uint8) for row in rows]).view(COMMAND)


def _differs(symbol: Any, command: Any) -> bool:
    """Tell whether a symbol of the book is another than an ADD_SYMBOL command makes it."""
    pairs = (
        ("price_min", "price_ticks"),
        ("price_max", "price2_ticks"),
        ("qty_min", "qty_lots"),
        ("qty_max", "qty2_lots"),
    )
    return (
        not symbol["is_defined"]
        or symbol["replace_policy"] != command["flags"] & 1
        or any(symbol[mine] != command[theirs] for mine, theirs in pairs)
    )

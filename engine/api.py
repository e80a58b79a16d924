"""The matching engine in process: for backtests, research and tests, without any server.

Commands and reports are numpy structured arrays (COMMAND, REPORT), so nothing is copied but the
records themselves. Prices are integer ticks, quantities integer lots. A session:

>>> from openoutcry.engine import Engine, Side, new_orders, cancels
>>> engine = Engine(symbols=1)
>>> names = [b"a1", b"a2"]
>>> asks = new_orders(2, cl_ord_id=names, side=Side.SELL, qty_lots=5, price_ticks=[101, 102])
>>> reports = engine.process(asks)
>>> engine.best_ask(0), engine.best_bid(0)
(101, None)
>>> bid = new_orders(1, cl_ord_id=b"b1", side=Side.BUY, qty_lots=7, price_ticks=102)
>>> for report in engine.process(bid):
...     print(report["cl_ord_id"].decode(), ReportKind(report["kind"]).name, report["leaves_qty"])
b1 NEW 7
b1 TRADE 2
a1 TRADE 0
b1 TRADE 0
a2 TRADE 3
>>> engine.depth(0, Side.SELL, 5)
[DepthLevel(price_ticks=102, qty_lots=3, orders=1)]
>>> engine.process(cancels(1, orig_cl_ord_id=b"a2", cl_ord_id=b"c1"))["leaves_qty"].tolist()
[0]
>>> engine.order_status(b"a2") is None  # finished, and this engine remembers no finished orders
True
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from openoutcry.engine.book import Book, Capacity, create_book
from openoutcry.engine.direct import Cells, entries
from openoutcry.engine.enums import (
    CommandFlag,
    CommandKind,
    OrderStatus,
    OrderType,
    ReplacePolicy,
    ReportKind,
    Side,
    TimeInForce,
)
from openoutcry.engine.market import best_price, depth, depth_at, find_order
from openoutcry.engine.match import reports_needed
from openoutcry.engine.records import COMMAND, DEPTH_LEVEL, NIL, REPORT
from openoutcry.engine.snapshot import state_hash

#: The in-process default: an identifier may be used again once its order is finished.
IN_PROCESS_CAPACITY = Capacity(finished_orders=0)


class SymbolLimits(NamedTuple):
    """What orders of a symbol may say; by default any positive quantity at any int64 price."""

    price_min: int = -(1 << 63)
    price_max: int = (1 << 63) - 1
    qty_min: int = 1
    qty_max: int = (1 << 63) - 1
    replace_policy: ReplacePolicy = ReplacePolicy.KEEP_ON_REDUCE


class DepthLevel(NamedTuple):
    """One price of a side."""

    price_ticks: int
    qty_lots: int
    orders: int


class OrderState(NamedTuple):
    """An order as the engine knows it; `notional` is the sum of price times quantity filled."""

    order_id: int
    status: OrderStatus
    side: Side
    price_ticks: int
    qty_lots: int
    cum_qty: int
    leaves_qty: int
    notional: int
    tif: TimeInForce


def _commands(kind: CommandKind, count: int, fields: dict[str, Any]) -> NDArray[Any]:
    commands = np.zeros(count, COMMAND)
    commands["kind"] = kind
    for name, value in fields.items():
        commands[name] = value
    return commands


def new_orders(count: int, **fields: Any) -> NDArray[Any]:
    """Return `count` NEW commands: limit orders, good till cancelled, of symbol 0, unless told.

    Each field of COMMAND is a keyword, with one value for all or a sequence of `count`. An order
    needs an identifier that no open order of its session has: `cl_ord_id` (bytes, at most 36), or,
    quicker to make, a number in `id0`.
    """
    return _commands(
        CommandKind.NEW, count, {"ord_type": OrderType.LIMIT, "tif": TimeInForce.GTC, **fields}
    )


def cancels(count: int, **fields: Any) -> NDArray[Any]:
    """Return `count` CANCEL commands; `orig_cl_ord_id` (or `orig0`) names the order."""
    return _commands(CommandKind.CANCEL, count, fields)


def replaces(count: int, **fields: Any) -> NDArray[Any]:
    """Return `count` REPLACE commands: `orig_cl_ord_id` names the order, `cl_ord_id` renames it."""
    return _commands(CommandKind.REPLACE, count, fields)


def day_end(symbol: int = -1, time_ns: int = 0) -> NDArray[Any]:
    """Return the command that expires the DAY orders of a symbol, or of all."""
    return _commands(CommandKind.DAY_END, 1, {"symbol": symbol, "time_ns": time_ns})


def add_symbols(limits: Iterable[tuple[int, SymbolLimits]]) -> NDArray[Any]:
    """Return the commands that define symbols, or change their limits, by number."""
    wanted = list(limits)
    commands = _commands(CommandKind.ADD_SYMBOL, len(wanted), {})
    for command, (symbol, limit) in zip(commands, wanted, strict=True):
        command["symbol"] = symbol
        command["price_ticks"], command["price2_ticks"] = limit.price_min, limit.price_max
        command["qty_lots"], command["qty2_lots"] = limit.qty_min, limit.qty_max
        command["flags"] = limit.replace_policy
    return commands


class Engine:
    """The books of one shard, driven by arrays of commands.

    `symbols` is how many there are (numbered from 0, without limits), or a sequence of
    SymbolLimits. `events` is an EVENT ring to write order-level market data to (see
    engine/events.py). The result is a pure function of the commands: `state_hash` is the same
    wherever they are run. An engine may be copied (`copy.deepcopy`) and pickled: both go on from
    the same state.
    """

    def __init__(
        self,
        symbols: int | Sequence[SymbolLimits] = 1,
        capacity: Capacity = IN_PROCESS_CAPACITY,
        shard: int = 0,
        events: NDArray[Any] | None = None,
    ) -> None:
        limits = [SymbolLimits()] * symbols if isinstance(symbols, int) else list(symbols)
        if len(limits) > capacity.symbols:
            raise ValueError(f"{len(limits)} symbols exceed the capacity of {capacity.symbols}")
        #: The kernels' view of the books.
        self.book: Book = create_book(capacity, shard, events)
        self._cells = Cells(self.book)
        self._reports = np.zeros(4096, REPORT)
        refused = self.process(add_symbols(enumerate(limits)))
        if len(refused):
            raise ValueError(f"impossible limits of symbol {refused[0]['symbol']}")
        self._cells.last_report[0] = 0

    @property
    def report_seq(self) -> int:
        """The number of the last report."""
        return int(self._cells.last_report[0])

    @property
    def seq(self) -> int:
        """The sequence number of the last command."""
        return int(self.book.state[0]["seq"])

    def process(self, commands: NDArray[Any]) -> NDArray[Any]:
        """Execute commands in order and return their reports.

        The commands get their `seq` written into them, and their `time_ns` raised to the latest
        time seen where it is lower (time never goes back; 0 means "as before"). The reports are a
        view that the next call overwrites: copy what is to be kept.

        Raises: ValueError: the array is not one-dimensional, contiguous, writable COMMAND rows.
        """
        if commands.dtype != COMMAND or commands.ndim != 1:
            raise ValueError("commands must be a one-dimensional array of COMMAND")
        if not (commands.flags.c_contiguous and commands.flags.writeable):
            raise ValueError("commands must be contiguous and writable: seq is written into them")
        count = len(commands)
        if not count:
            return self._reports[:0]
        process = entries().process
        base = self.report_seq + 1
        done = process(self._cells.address, commands, 0, self._reports, base)
        while done < count:
            given = self.report_seq - base + 1
            wanted = given + reports_needed(self.book, commands, done)
            grown = np.zeros(max(wanted, 2 * len(self._reports)), REPORT)
            grown[:given] = self._reports[:given]
            self._reports = grown
            done = process(self._cells.address, commands, done, grown, base)
        return self._reports[: self.report_seq - base + 1]

    def best_bid(self, symbol: int) -> int | None:
        """Return the highest price bid, in ticks, or None."""
        price, is_there = best_price(self.book, symbol, Side.BUY.value)
        return int(price) if is_there else None

    def best_ask(self, symbol: int) -> int | None:
        """Return the lowest price offered, in ticks, or None."""
        price, is_there = best_price(self.book, symbol, Side.SELL.value)
        return int(price) if is_there else None

    def depth_at(self, symbol: int, side: Side, price_ticks: int) -> int:
        """Return the lots that rest at a price."""
        return int(depth_at(self.book, symbol, int(side), price_ticks))

    def depth(self, symbol: int, side: Side, levels: int) -> list[DepthLevel]:
        """Return a side's first levels, best first."""
        return [DepthLevel(*row.tolist()) for row in self.depth_rows(symbol, side, levels)]

    def depth_rows(self, symbol: int, side: Side, levels: int) -> NDArray[Any]:
        """Return a side's first levels as an array of DEPTH_LEVEL, best first."""
        rows = np.zeros(levels, DEPTH_LEVEL)
        return rows[: depth(self.book, symbol, int(side), rows)]

    def order_status(self, cl_ord_id: bytes | int, session: int = 0) -> OrderState | None:
        """Return an order by its session's identifier, open or remembered, or None.

        A number is one in `id0`.
        """
        name = "cl_ord_id" if isinstance(cl_ord_id, bytes) else "id0"
        request = _commands(CommandKind.STATUS, 1, {name: cl_ord_id, "session": session})
        row = int(find_order(self.book, request, 0))
        if row == NIL:
            return None
        order = self.book.details[row]
        status = OrderStatus(order["status"])
        qty, cum = int(order["qty_lots"]), int(order["cum_qty"])
        is_open = status in (OrderStatus.NEW, OrderStatus.PARTIALLY_FILLED)
        return OrderState(
            order_id=int(order["order_id"]),
            status=status,
            side=Side(order["side"]),
            price_ticks=int(order["price_ticks"]),
            qty_lots=qty,
            cum_qty=cum,
            leaves_qty=qty - cum if is_open else 0,
            notional=(int(order["notional_hi"]) << 64) | int(order["notional_lo"]) & (1 << 64) - 1,
            tif=TimeInForce(order["tif"]),
        )

    def state_hash(self) -> int:
        """Return the hash of all state, as 64 bits without sign (see engine/snapshot.py)."""
        return int(state_hash(self.book)) & (1 << 64) - 1

    @property
    def open_orders(self) -> int:
        """How many orders rest, over all symbols."""
        return int(self.book.state[0]["open_orders"])


__all__ = [
    "Capacity",
    "CommandFlag",
    "CommandKind",
    "DepthLevel",
    "Engine",
    "OrderState",
    "OrderStatus",
    "OrderType",
    "ReplacePolicy",
    "ReportKind",
    "Side",
    "SymbolLimits",
    "TimeInForce",
    "add_symbols",
    "cancels",
    "day_end",
    "new_orders",
    "replaces",
]

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

import difflib
import operator
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from openoutcry.engine.book import Book, Capacity, create_book
from openoutcry.engine.direct import Cells, entries
from openoutcry.engine.enums import (
    CommandFlag,
    CommandKind,
    Liquidity,
    OrderStatus,
    OrderType,
    RejectReason,
    ReplacePolicy,
    ReportKind,
    Side,
    TimeInForce,
)
from openoutcry.engine.market import best_price, depth, depth_at, find_order
from openoutcry.engine.match import reports_needed
from openoutcry.engine.records import CL_ORD_ID_MAX, COMMAND, DEPTH_LEVEL, NIL, REPORT
from openoutcry.engine.snapshot import state_hash
from openoutcry.engine.words import INT64_MAX, INT64_MIN

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


# --- Arguments ------------------------------------------------------------------------------------

#: What callers may write for the fields that are enums: texts of any case, or numbers.
SIDES: dict[Any, Side] = {"buy": Side.BUY, "sell": Side.SELL, 1: Side.BUY, 2: Side.SELL}
TIFS: dict[Any, TimeInForce] = {
    **{tif.name.lower(): tif for tif in TimeInForce},
    **{int(tif): tif for tif in TimeInForce},
}
_TEXTS: dict[str, tuple[dict[Any, Any], str]] = {
    "side": (SIDES, "'buy' (1) or 'sell' (2)"),
    "tif": (TIFS, "'gtc', 'day', 'ioc' or 'fok'"),
}
_NAMES = tuple(COMMAND.names or ())
_TYPES = {name: COMMAND[name] for name in _NAMES}
_RANGES = {
    name: (int(np.iinfo(kind).min), int(np.iinfo(kind).max))
    for name, kind in _TYPES.items()
    if kind.kind != "S"
}
#: The fields of a command that other names are likely to mean.
_MEANT = {
    "price": "price_ticks",
    "qty": "qty_lots",
    "quantity": "qty_lots",
    "size": "qty_lots",
    "id": "id0",
    "order_id": "id0",
    "time": "time_ns",
    "type": "ord_type",
}


def known_side(side: Any) -> Side:
    """Return the Side that a text, a number or an enum means; ValueError if none."""
    found = known_name(SIDES, side)
    if found is None:
        raise ValueError(f"side must be 'buy' or 'sell', not {side!r}")
    return Side(found)


def known_name(names: dict[Any, Any], value: Any) -> Any:
    """Return what a text or an integer stands for, or None."""
    if isinstance(value, str):
        return names.get(value.lower())
    return names.get(value) if isinstance(value, int | np.integer) else None


def integer(name: str, value: Any, wanted: str = "an int") -> int:
    """Return a value as an int; TypeError if it is none (a bool is none)."""
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be {wanted}, not {value!r}")
    return number


def _within(name: str, value: Any, low: int, high: int) -> int:
    number = integer(name, value)
    if not low <= number <= high:
        raise ValueError(f"{name} must be {low} to {high}, not {number}")
    return number


def _no_field(name: str) -> TypeError:
    near = _MEANT.get(name) or next(iter(difflib.get_close_matches(name, _NAMES, 1)), None)
    hint = f"use {near}" if near else f"there are {', '.join(_NAMES)}"
    return TypeError(f"a command has no field {name!r}: {hint}")


def _of_texts(name: str, value: Any) -> Any:
    """Return the numbers that texts stand for, in a field that takes texts."""
    names, wanted = _TEXTS[name]
    texts, places = np.unique(value, return_inverse=True)
    numbers = [known_name(names, str(text)) for text in texts]
    if None in numbers:
        text = str(texts[numbers.index(None)])
        raise ValueError(f"{name} must be {wanted}, not {text!r}")
    return np.array(numbers, _TYPES[name])[places].reshape(value.shape)


def _is_mixed_with_bools(value: Any, array: NDArray[Any]) -> bool:
    # numpy makes numbers of bools among integers. They are 0 and 1: others need no second look.
    if isinstance(value, np.ndarray | range):
        return False
    places = np.flatnonzero(array >> 1 == 0)
    if not array.ndim or (array.ndim == 1 and len(places) > len(array) // 8):
        return not {bool, np.bool_}.isdisjoint(map(type, value if array.ndim else [value]))
    return array.ndim == 1 and any(isinstance(value[i], bool | np.bool_) for i in places.tolist())


def _fits(array: NDArray[Any], name: str) -> bool:
    """Tell quickly whether integers are certainly in a field's range: one look at them, or none."""
    if array.dtype == _TYPES[name]:
        return True
    # Seen without a sign, what is below 0 is above all else; and every range ends in 2^n - 1.
    unsigned = array.view(array.dtype.str.replace("i", "u"))
    return int(np.bitwise_or.reduce(unsigned, axis=None)) <= min(
        _RANGES[name][1], (1 << 8 * array.dtype.itemsize - (array.dtype.kind == "i")) - 1
    )


def _integers(name: str, value: Any) -> Any:
    """Return a field's value or values as they may be assigned.

    Raises: TypeError: no integers. ValueError: too large or too small for the field.
    """
    low, high = _RANGES[name]
    if isinstance(value, int) and not isinstance(value, bool):
        if low <= value <= high:
            return value
        raise ValueError(f"{name} must be {low} to {high}, not {int(value)}")
    try:
        array = np.asarray(value)
    except ValueError:
        raise TypeError(f"{name} takes an int or a flat sequence of them, not {value!r}") from None
    is_texts = array.dtype.kind == "U" and name in _TEXTS
    # numpy makes texts of numbers among texts.
    if is_texts and (isinstance(value, np.ndarray | str) or set(map(type, value)) == {str}):
        return _of_texts(name, array)
    if array.dtype.kind not in "iu" or _is_mixed_with_bools(value, array):
        if not array.size and not isinstance(value, np.ndarray):
            return np.zeros(array.shape, _TYPES[name])
        # Integers beyond 64 bits, or texts among integers: slow, but seldom. What numpy made of a
        # mixture is not what was written.
        given = [value] if not array.ndim else list(value)
        found = [_one(name, each) for each in given]
        return np.array(found, _TYPES[name]).reshape(array.shape)
    if array.size and not _fits(array, name):
        least, most = int(array.min()), int(array.max())
        if least < low or most > high:
            wrong = least if least < low else most
            raise ValueError(f"{name} must be {low} to {high}, not {wrong}")
    return array


def _one(name: str, value: Any) -> int:
    """Return one value of an integer field, as _integers does many."""
    if isinstance(value, str) and name in _TEXTS:
        names, wanted = _TEXTS[name]
        found = known_name(names, value)
        if found is None:
            raise ValueError(f"{name} must be {wanted}, not {value!r}")
        return int(found)
    return _within(name, integer(name, value, "integers"), *_RANGES[name])


def _short_names(names: Any) -> NDArray[Any] | None:
    """Return a sequence of bytes as an array, in half numpy's time; None if it is another."""
    try:
        b"".join(names)  # the quickest way to learn that there is nothing else
    except TypeError:
        return None
    array = np.array(names, _TYPES["cl_ord_id"])
    return None if array.view(np.uint32)[CL_ORD_ID_MAX // 4 :: 10].any() else array


def _identifiers(name: str, value: Any) -> Any:
    """Return an identifier or identifiers as they may be assigned.

    Raises: TypeError: no bytes or texts. ValueError: longer than 36 bytes, or not ASCII.
    """
    short = _short_names(value) if type(value) in (list, tuple) else None
    if short is not None:
        return short
    array = np.asarray(value)
    if array.dtype.kind not in "SU":
        if array.size or isinstance(value, np.ndarray):
            number = name.removesuffix("_cl_ord_id").replace("cl_ord_id", "id") + "0"
            raise TypeError(f"{name} takes bytes, not {value!r}: for numbers there is {number}")
        return array.astype("S")
    if array.dtype.kind == "U":
        try:
            array = array.astype("S")
        except UnicodeEncodeError as error:
            raise ValueError(f"{name} must be ASCII, not {str(error.object)!r}") from None
    if array.dtype.itemsize > CL_ORD_ID_MAX:
        lengths = np.char.str_len(array)
        if lengths.max(initial=0) > CL_ORD_ID_MAX:
            wrong = array.reshape(-1)[int(lengths.argmax())]
            raise ValueError(
                f"{name} has at most {CL_ORD_ID_MAX} bytes, not {lengths.max()}: {wrong!r}"
            )
    return array


def _commands(kind: CommandKind, count: int, fields: dict[str, Any]) -> NDArray[Any]:
    number = integer("count", count)
    if number < 0:
        raise ValueError(f"count must be 0 or more, not {number}")
    commands = np.zeros(number, COMMAND)
    commands["kind"] = kind
    for name, value in fields.items():
        if name not in _TYPES:
            raise _no_field(name)
        given = _integers(name, value) if name in _RANGES else _identifiers(name, value)
        if type(given) is np.ndarray and given.ndim and given.shape != (number,):
            size = len(given) if given.ndim == 1 else given.shape
            raise ValueError(f"{name} has {size} values, and there are {number} commands")
        commands[name] = given
    return commands


def new_orders(count: int, **fields: Any) -> NDArray[Any]:
    """Return `count` NEW commands: limit orders, good till cancelled, of symbol 0, unless told.

    Each field of COMMAND is a keyword, with one value for all or a sequence of `count`; integers
    only, and for `side` and `tif` also "buy", "sell", "gtc", "day", "ioc", "fok". An order needs an
    identifier that no open order of its session has: `cl_ord_id` (bytes, at most 36), or, quicker
    to make, a number in `id0`.

    Raises: TypeError: a value of another kind, or no such field. ValueError: a value that does not
    fit its field, or not `count` of them. Nothing is rounded or cut.
    """
    return _commands(
        CommandKind.NEW, count, {"ord_type": OrderType.LIMIT, "tif": TimeInForce.GTC, **fields}
    )


def cancels(count: int, **fields: Any) -> NDArray[Any]:
    """Return `count` CANCEL commands; `orig_cl_ord_id` (or `orig0`) names the order.

    Raises: as `new_orders`.
    """
    return _commands(CommandKind.CANCEL, count, fields)


def replaces(count: int, **fields: Any) -> NDArray[Any]:
    """Return `count` REPLACE commands: `orig_cl_ord_id` names the order, `cl_ord_id` renames it.

    Each states the price and the whole quantity, also where only one of them changes.

    Raises: as `new_orders`.
    """
    return _commands(CommandKind.REPLACE, count, fields)


def _mass(kind: CommandKind, fields: dict[str, Any]) -> NDArray[Any]:
    return _commands(kind, 1, {"symbol": -1, **fields})


def mass_cancel(**fields: Any) -> NDArray[Any]:
    """Return the command that cancels the open orders of a `session`.

    All of them, unless `symbol`, `side` or `account` is given; `flags` may hold
    `CommandFlag.KEEP_GTC` and a reason, and `cl_ord_id` names the request. Each order has a
    CANCELED report, the oldest first; then MASS_CANCELED has their number as `qty_lots`.

    Raises: as `new_orders`.
    """
    return _mass(CommandKind.MASS_CANCEL, fields)


def mass_status(**fields: Any) -> NDArray[Any]:
    """Return the command that reports the open orders of a `session`, as `mass_cancel` finds them.

    Each has a MASS_STATUS report; then MASS_STATUS_END has their number as `qty_lots`.

    Raises: as `new_orders`.
    """
    return _mass(CommandKind.MASS_STATUS, fields)


def day_end(symbol: int = -1, time_ns: int = 0) -> NDArray[Any]:
    """Return the command that expires the DAY orders of a symbol, or of all."""
    return _commands(CommandKind.DAY_END, 1, {"symbol": symbol, "time_ns": time_ns})


def add_symbols(limits: Iterable[tuple[int, SymbolLimits]]) -> NDArray[Any]:
    """Return the commands that define symbols, or change their limits, by number."""
    wanted = list(limits)
    commands = _commands(CommandKind.ADD_SYMBOL, len(wanted), {})
    for command, (symbol, limit) in zip(commands, wanted, strict=True):
        _check_limits(symbol, limit)
        command["symbol"] = symbol
        command["price_ticks"], command["price2_ticks"] = limit.price_min, limit.price_max
        command["qty_lots"], command["qty2_lots"] = limit.qty_min, limit.qty_max
        command["flags"] = limit.replace_policy
    return commands


def _check_limits(symbol: int, limits: Any) -> None:
    """Raise a TypeError or ValueError that says which limit of a symbol is impossible."""
    if not isinstance(limits, SymbolLimits):
        raise TypeError(
            f"the limits of symbol {symbol} must be SymbolLimits, not {limits!r}: a symbol has a "
            "number and no name"
        )
    for name, value in zip(limits._fields[:4], limits, strict=False):
        low = 1 if name.startswith("qty") else INT64_MIN
        _within(f"{name} of symbol {symbol}", value, low, INT64_MAX)
    for name in ("price", "qty"):
        low, high = getattr(limits, f"{name}_min"), getattr(limits, f"{name}_max")
        if low > high:
            raise ValueError(
                f"{name}_min of symbol {symbol} is above its {name}_max: {low} and {high}"
            )


def _limits_of(symbols: Any) -> list[SymbolLimits]:
    if isinstance(symbols, Sequence) and not isinstance(symbols, str | bytes | SymbolLimits):
        return list(symbols)
    number = integer("symbols", symbols, "a number of symbols or a sequence of SymbolLimits")
    if number < 1:
        raise ValueError(f"symbols must be 1 or more, not {number}")
    return [SymbolLimits()] * number


class Engine:
    """The books of one shard, driven by arrays of commands.

    `symbols` is how many there are (numbered from 0, without limits), or a sequence of
    SymbolLimits. `events` is an EVENT ring to write order-level market data to (see
    engine/events.py). Methods that take a symbol or a side raise a TypeError or ValueError where
    there is none such. The result is a pure function of the commands: `state_hash` is the same
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
        if not isinstance(capacity, Capacity):
            raise TypeError(f"capacity must be a Capacity, not {capacity!r}")
        for name, value in zip(capacity._fields, capacity, strict=True):
            integer(f"{name} of capacity", value)
        limits = _limits_of(symbols)
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

        Raises: TypeError: no array. ValueError: it is not one-dimensional, contiguous, writable
        COMMAND rows.
        """
        if not isinstance(commands, np.ndarray):
            raise TypeError(
                f"commands must be an array of COMMAND, as new_orders makes, not {commands!r}"
            )
        if commands.dtype != COMMAND and commands.dtype.names == COMMAND.names:
            raise ValueError(
                "commands must be in COMMAND's own layout, which np.concatenate does not keep: "
                "make np.zeros(n, COMMAND) and assign the parts to it"
            )
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
        price, is_there = best_price(self.book, self._symbol(symbol), Side.BUY.value)
        return int(price) if is_there else None

    def best_ask(self, symbol: int) -> int | None:
        """Return the lowest price offered, in ticks, or None."""
        price, is_there = best_price(self.book, self._symbol(symbol), Side.SELL.value)
        return int(price) if is_there else None

    def depth_at(self, symbol: int, side: Side | str, price_ticks: int) -> int:
        """Return the lots that rest at a price, 0 where none do."""
        price = _within("price_ticks", price_ticks, INT64_MIN, INT64_MAX)
        return int(depth_at(self.book, self._symbol(symbol), known_side(side).value, price))

    def depth(self, symbol: int, side: Side | str, levels: int) -> list[DepthLevel]:
        """Return a side's first levels, best first."""
        return [DepthLevel(*row.tolist()) for row in self.depth_rows(symbol, side, levels)]

    def depth_rows(self, symbol: int, side: Side | str, levels: int) -> NDArray[Any]:
        """Return a side's first levels as an array of DEPTH_LEVEL, best first."""
        number, wanted = self._symbol(symbol), integer("levels", levels)
        if wanted < 0:
            raise ValueError(f"levels must be 0 or more, not {wanted}")
        # There are no more prices than this, whatever is asked for.
        rows = np.zeros(min(wanted, self.book.level_capacity), DEPTH_LEVEL)
        return rows[: depth(self.book, number, known_side(side).value, rows)]

    def _symbol(self, symbol: Any) -> int:
        number = integer("symbol", symbol, "a symbol's number")
        symbols = self.book.symbols
        if not (0 <= number < len(symbols) and symbols[number]["is_defined"]):
            raise ValueError(f"there is no symbol {number}: symbols are numbered from 0")
        return number

    def order_status(self, cl_ord_id: bytes | int, session: int = 0) -> OrderState | None:
        """Return an order by its session's identifier, open or remembered, or None.

        A number is one in `id0`.
        """
        name = "cl_ord_id" if isinstance(cl_ord_id, bytes) else "id0"
        if name == "id0":
            integer("cl_ord_id", cl_ord_id, "bytes, or a number as in id0")
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
    "COMMAND",
    "DEPTH_LEVEL",
    "REPORT",
    "Capacity",
    "CommandFlag",
    "CommandKind",
    "DepthLevel",
    "Engine",
    "Liquidity",
    "OrderState",
    "OrderStatus",
    "OrderType",
    "RejectReason",
    "ReplacePolicy",
    "ReportKind",
    "Side",
    "SymbolLimits",
    "TimeInForce",
    "add_symbols",
    "cancels",
    "day_end",
    "mass_cancel",
    "mass_status",
    "new_orders",
    "replaces",
]

"""One order book, one call at a time: for those who start with an order rather than with an array.

>>> from openoutcry.engine import OrderBook
>>> book = OrderBook()
>>> maker = book.limit("sell", 101, 5)
>>> taker = book.limit("buy", 101, 3)
>>> taker.status.name, taker.filled, taker.leaves, taker.average_price
('FILLED', 3, 0, 101.0)
>>> maker
<Order 1: sell 5 @ 101, PARTIALLY_FILLED, 3 filled, 2 open>
>>> book.best_bid, book.best_ask, book.depth("sell", 5)
(None, 101, [PriceLevel(price=101, qty=2, orders=1)])
>>> book.replace(maker, qty=4), book.cancel(maker), book.cancel(maker)
(True, True, False)

Prices are integer ticks and quantities integer lots; with `tick_size` or `lot_size` they are exact
decimals. The engine under it (`book.engine`) takes arrays of commands, and both may be mixed.
"""

from decimal import Context, Decimal, DecimalException, Inexact
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from openoutcry.engine.api import (
    IN_PROCESS_CAPACITY,
    SIDES,
    TIFS,
    Engine,
    SymbolLimits,
    day_end,
    integer,
    known_name,
    known_side,
    mass_cancel,
)
from openoutcry.engine.book import Capacity
from openoutcry.engine.direct import (
    ANSWER_FILLS,
    ANSWER_HEAD,
    ANSWER_REASON,
    ANSWER_REPORTS,
    ANSWER_SEQ,
    FILL_WORDS,
    NO_ROOM,
    entries,
    form_of,
)
from openoutcry.engine.enums import (
    CommandKind,
    Liquidity,
    OrderStatus,
    OrderType,
    RejectReason,
    ReportKind,
    Side,
    TimeInForce,
)
from openoutcry.engine.records import COMMAND, DEPTH_LEVEL
from openoutcry.engine.words import INT64_MAX, INT64_MIN

#: A price in ticks, or a Decimal where the book has a tick size; likewise a quantity.
Number = Any

_CAPACITY = IN_PROCESS_CAPACITY._replace(symbols=1, sessions=1)
#: The most identifiers to reserve at once: 800 MB of them.
_RESERVE_MAX = 100_000_000
#: A bit of a form that kernels do not look at: what is left of the order stays in the book.
_RESTS = 1 << 32
#: Stands for the time in force of a market order; no caller can write it.
_MARKET: Any = object()


def _new_forms(ord_type: OrderType, tif: TimeInForce) -> dict[Any, int]:
    rests = _RESTS if tif in (TimeInForce.DAY, TimeInForce.GTC) else 0
    return {
        name: form_of(CommandKind.NEW, side, ord_type, tif) | rests for name, side in SIDES.items()
    }


#: The forms of NEW commands, by what callers write as time in force and as side.
_FORMS: dict[Any, dict[Any, int]] = {
    **{name: _new_forms(OrderType.LIMIT, tif) for name, tif in TIFS.items()},
    _MARKET: _new_forms(OrderType.MARKET, TimeInForce.IOC),
}
_CANCEL_FORM = form_of(CommandKind.CANCEL, 0, 0, 0)
#: A replace's form, less the side.
_REPLACE_FORM = form_of(CommandKind.REPLACE, 0, OrderType.LIMIT, TimeInForce.DAY)
_SIDE_BITS = 0xFF << 8
_NEW, _PARTIAL, _FILLED = OrderStatus.NEW, OrderStatus.PARTIALLY_FILLED, OrderStatus.FILLED
_CANCELED = OrderStatus.CANCELED
# Quotients that do not end are refused: they fit no tick. 60 digits hold any product of an int64
# and a tick size of 40 digits.
_MEAN = Context(prec=28)
_EXACT = Context(prec=60, traps=[Inexact, *Context().traps])


class Rejected(ValueError):
    """The engine declined a command; `reason` says why. It was a command all the same: it has a
    number."""

    def __init__(self, message: str, reason: RejectReason) -> None:
        super().__init__(message)
        self.reason = reason


class UnknownOrder(KeyError):
    """No open order has this identifier."""

    def __str__(self) -> str:
        return str(self.args[0])


class Fill(NamedTuple):
    """A trade between two orders, named by their identifiers; the price is the maker's."""

    price: Number
    qty: Number
    maker: int
    taker: int


class PriceLevel(NamedTuple):
    """One price of a side: what rests there, in how many orders."""

    price: Number
    qty: Number
    orders: int


class DepthArrays(NamedTuple):
    """A side's levels, best first, as three int64 arrays of one length."""

    price_ticks: NDArray[np.int64]
    qty_lots: NDArray[np.int64]
    orders: NDArray[np.int64]


class Order:
    """An order of an OrderBook, kept up to date with whatever becomes of it.

    `id` is its identifier in the book, `order_id` the engine's. What is in ticks and lots is so
    always; `price`, `qty`, `filled`, `leaves` (still open), `average_price` and `fills` are
    decimals where the book has a tick or a lot size. A finished order keeps its final state.
    """

    __slots__ = (
        "_book",
        "_fills",
        "_form",
        "filled_lots",
        "id",
        "leaves_lots",
        "notional",
        "order_id",
        "price_ticks",
        "qty_lots",
        "status",
    )

    _book: "OrderBook"
    #: Ticks, lots, maker and taker of each fill, one after another: no object a fill to keep.
    _fills: list[int] | None
    _form: int
    id: int
    order_id: int
    price_ticks: int
    qty_lots: int
    filled_lots: int
    leaves_lots: int
    #: Sum of ticks times lots of the fills, exact.
    notional: int
    status: OrderStatus

    def __init__(self) -> None:
        raise TypeError("an Order is made by OrderBook.limit or OrderBook.market")

    @property
    def side(self) -> Side:
        """Buy or sell."""
        return Side(self._form >> 8 & 0xFF)

    @property
    def type(self) -> OrderType:
        """Limit or market."""
        return OrderType(self._form >> 16 & 0xFF)

    @property
    def tif(self) -> TimeInForce:
        """The time in force."""
        return TimeInForce(self._form >> 24 & 0xFF)

    @property
    def price(self) -> Number:
        """The limit, or None of a market order."""
        if self.type == OrderType.MARKET:
            return None
        return self._book._price_of(self.price_ticks)

    @property
    def qty(self) -> Number:
        """The whole quantity, filled included."""
        return self._book._qty_of(self.qty_lots)

    @property
    def filled(self) -> Number:
        """How much has traded."""
        return self._book._qty_of(self.filled_lots)

    @property
    def leaves(self) -> Number:
        """How much is still open: 0 of a finished order."""
        return self._book._qty_of(self.leaves_lots)

    @property
    def is_open(self) -> bool:
        """Whether it rests in the book."""
        return self.leaves_lots > 0

    @property
    def average_price(self) -> float | Decimal | None:
        """The mean price of the fills, or None without any.

        The float nearest to it; with a tick size a Decimal of 28 digits.
        """
        if not self.filled_lots:
            return None
        tick = self._book.tick_size
        if tick is None:
            return self.notional / self.filled_lots
        return _MEAN.divide(_EXACT.multiply(Decimal(self.notional), tick), self.filled_lots)

    @property
    def fills(self) -> list[Fill]:
        """Its trades in order, as maker or taker."""
        price_of, qty_of, words = self._book._price_of, self._book._qty_of, self._fills or []
        return [
            Fill(price_of(words[at]), qty_of(words[at + 1]), words[at + 2], words[at + 3])
            for at in range(0, len(words), 4)
        ]

    def __repr__(self) -> str:
        price = "market" if self.price is None else self.price
        return (
            f"<Order {self.id}: {self.side.name.lower()} {self.qty} @ {price}, "
            f"{self.status.name}, {self.filled} filled, {self.leaves} open>"
        )

    def _add(self, fills: list[int], lots: int, notional: int) -> None:
        """Count fills, and keep the list."""
        self.filled_lots += lots
        self.leaves_lots -= lots
        self.notional += notional
        self.status = _PARTIAL if self.leaves_lots else _FILLED
        if self._fills is None:
            self._fills = fills
        else:
            self._fills += fills

    def _close(self, status: OrderStatus) -> None:
        self.leaves_lots = 0
        self.status = status


_blank_order = Order.__new__


def _check_new_names(commands: NDArray[Any]) -> None:
    """Refuse to rename orders to texts: the objects of a book's orders know them by number."""
    renamed = commands[commands["kind"] == CommandKind.REPLACE]
    if len(renamed):
        rest = renamed["id1"] | renamed["id2"] | renamed["id3"] | renamed["id4"]
        is_text = (rest != 0) | (renamed["id0"] > INT64_MAX)
        if is_text.any():
            name = bytes(renamed["cl_ord_id"][is_text][0])
            raise ValueError(
                f"a replace in an order book's batch names the order by number (id0), not {name!r}"
            )


class _SharedEngine(Engine):
    """The engine under an OrderBook, which hears of what batches do to its orders."""

    owner: "OrderBook | None" = None

    def process(self, commands: NDArray[Any]) -> NDArray[Any]:
        if self.owner is not None and getattr(commands, "dtype", None) == COMMAND:
            _check_new_names(commands)
        reports = super().process(commands)
        if self.owner is not None:
            self.owner._absorb(reports)
        return reports


class OrderBook:
    """An order book of one symbol, driven by single calls.

    Prices are whole ticks and quantities whole lots (Python or numpy integers) within 64 bits.
    With `tick_size` or `lot_size` (a Decimal, a text or an integer; a float counts as the number
    it prints) they are decimals: exact, and what is no multiple is refused, never rounded.
    `limits` bounds prices and quantities; `open_orders` and `levels` are how many orders and
    prices there is room for. A call takes about half a microsecond, its engine's batches far less a
    command.

    Raises, in every call: ValueError or TypeError: an argument cannot be meant; nothing happened.
    Rejected (a ValueError): the engine declined it; `reason` says why. UnknownOrder (a KeyError).
    """

    def __init__(
        self,
        *,
        tick_size: Number = None,
        lot_size: Number = None,
        limits: SymbolLimits = SymbolLimits(),  # noqa: B008 - immutable
        open_orders: int = IN_PROCESS_CAPACITY.open_orders,
        levels: int = IN_PROCESS_CAPACITY.levels,
    ) -> None:
        #: What a tick and a lot are worth, or None where they are the unit.
        self.tick_size = _step_size("tick_size", tick_size)
        self.lot_size = _step_size("lot_size", lot_size)
        self._is_scaled = self.tick_size is not None or self.lot_size is not None
        capacity = Capacity(open_orders, 0, levels, symbols=1, sessions=1)
        shared = _SharedEngine([limits], capacity)
        #: The engine: `process` takes commands of symbol 0 and session 0 as arrays.
        self.engine: Engine = shared
        self._limits = limits
        self._open: dict[int, Order] = {}
        self._next_id = 1
        self._cells = shared._cells
        self._address = self._cells.address
        self._execute, self._best, self._depth, _ = entries()
        self._levels = np.zeros(64, DEPTH_LEVEL)
        shared.owner = self

    def __reduce__(self) -> NoReturn:
        # A copy would hold addresses of this book's memory.
        raise TypeError("an OrderBook cannot be copied or pickled: feed its commands to another")

    # --- Orders -----------------------------------------------------------------------------------

    def limit(
        self,
        side: Side | str,
        price: Number,
        qty: Number,
        tif: TimeInForce | str = "gtc",
        id: int | None = None,
    ) -> Order:
        """Enter a limit order; what does not trade at once rests, unless `tif` is ioc or fok.

        `side` is "buy" or "sell", `tif` "gtc", "day", "ioc" or "fok", or their enums. `id` (0 to
        2^63 - 1) is the order's identifier while it is open; by default it is the next number.
        """
        # All in one piece, for speed: in here an attribute set takes 4 ns and a call 50.
        try:
            form = _FORMS[tif][side]
        except (KeyError, TypeError):
            form = _FORMS[_tif(tif)][known_side(side)]
        if self._is_scaled or type(price) is not int or type(qty) is not int:
            price, qty = self._ticks(price), self._lots(qty)
        if id is None:
            id = self._next_id
            self._next_id = id + 1
        elif type(id) is not int or id >= self._next_id or id < 0:
            id = self._own_id(id)
        # An attribute of an object is called 20 ns faster through a local name.
        execute = self._execute
        try:
            answer = execute(self._address, form, price, qty, id)
        except OverflowError:
            raise self._overflow(price, qty, id) from None
        order = _blank_order(Order)
        order._book = self
        order._fills = None
        order._form = form
        order.id = id
        order.order_id = answer
        order.price_ticks = price
        order.qty_lots = order.leaves_lots = qty
        order.filled_lots = order.notional = 0
        order.status = _NEW
        if answer <= 0:
            words = self._words_of(answer, form, price, qty, id)
            order.order_id = words[ANSWER_SEQ]
            self._trade(order, id, words)
            if not order.leaves_lots:
                return order
        if form & _RESTS:
            self._open[id] = order
        else:
            order._close(_CANCELED)
        return order

    def market(self, side: Side | str, qty: Number, id: int | None = None) -> Order:
        """Enter a market order: it trades at any price, and what is left is cancelled."""
        return self.limit(side, 0, qty, _MARKET, id)

    def place(
        self,
        side: Side | str,
        price: Number,
        qty: Number,
        tif: TimeInForce | str = "gtc",
        id: int | None = None,
    ) -> int:
        """Enter a limit order like `limit`, but return its number alone: no object is made.

        For long runs that keep books of their own: it takes half the time, and leaves nothing for
        Python's garbage collector to walk. `last_fills` has what it traded at once, `order(id)`
        its state while it is open; `cancel` and `replace` take the number.
        """
        try:
            form = _FORMS[tif][side]
        except (KeyError, TypeError):
            form = _FORMS[_tif(tif)][known_side(side)]
        if self._is_scaled or type(price) is not int or type(qty) is not int:
            price, qty = self._ticks(price), self._lots(qty)
        if id is None:
            id = self._next_id
            self._next_id = id + 1
        elif type(id) is not int or id >= self._next_id or id < 0:
            id = self._own_id(id)
        execute = self._execute
        try:
            answer = execute(self._address, form, price, qty, id)
        except OverflowError:
            raise self._overflow(price, qty, id) from None
        # A trade that no object is to hear of is not looked at.
        if answer <= 0 and (self._open or answer == NO_ROOM or self._cells.answer[ANSWER_REASON]):
            self._trade(None, id, self._words_of(answer, form, price, qty, id))
        return id

    def cancel(self, order: Order | int) -> bool:
        """Take an order out of the book; False if it had finished before, and nothing happens.

        Raises: UnknownOrder: given a number, there is no open order of it.
        """
        if type(order) is Order:
            if order._book is not self:
                raise ValueError(f"{order} is of another book")
            if not order.leaves_lots:
                return False
            id = order.id
        else:
            id = order if type(order) is int else self._known_id(order)
        execute = self._execute
        try:
            answer = execute(self._address, _CANCEL_FORM, 0, 0, id)
        except OverflowError:
            raise _too_large("order", id) from None
        if answer <= 0:
            raise _unknown(id)
        canceled = self._open.pop(id, None)
        if canceled is not None:
            canceled.leaves_lots = 0
            canceled.status = _CANCELED
        return True

    def replace(self, order: Order | int, price: Number = None, qty: Number = None) -> bool:
        """Change an open order's price or whole quantity (what was filled included), or both.

        It keeps its identity, and its place in the queue if the price stays and the quantity does
        not rise; else it may trade like a new one. Return False if it had finished before.

        Raises: Rejected: the quantity is not above what is filled. UnknownOrder: see cancel.
        """
        if not isinstance(order, Order):
            if price is not None and qty is not None and order not in self._open:
                return self._replace_number(order, price, qty)
            order = self.order(order)
        if order._book is not self:
            raise ValueError(f"{order} is of another book")
        if not order.leaves_lots:
            return False
        form = _REPLACE_FORM | order._form & _SIDE_BITS
        if price is None:
            ticks = order.price_ticks
        else:
            ticks = price if type(price) is int and not self._is_scaled else self._ticks(price)
        if qty is None:
            lots = order.qty_lots
        else:
            lots = qty if type(qty) is int and not self._is_scaled else self._lots(qty)
        execute = self._execute
        try:
            answer = execute(self._address, form, ticks, lots, order.id)
        except OverflowError:
            raise self._overflow(ticks, lots, order.id) from None
        words: list[int] = []
        if answer <= 0:
            words = self._words_of(answer, form, ticks, lots, order.id)
        order.price_ticks = ticks
        order.qty_lots = lots
        order.leaves_lots = lots - order.filled_lots
        if words:
            self._trade(order, order.id, words)
            if not order.leaves_lots:
                del self._open[order.id]
        return True

    def _replace_number(self, order: int, price: Number, qty: Number) -> bool:
        """Replace an order that has no object, and make none."""
        id = order if type(order) is int else self._known_id(order)
        if self._is_scaled or type(price) is not int or type(qty) is not int:
            price, qty = self._ticks(price), self._lots(qty)
        execute = self._execute
        try:
            answer = execute(self._address, _REPLACE_FORM, price, qty, id)
        except OverflowError:
            raise self._overflow(price, qty, id) from None
        if answer <= 0 and (self._open or answer == NO_ROOM or self._cells.answer[ANSWER_REASON]):
            self._trade(None, id, self._words_of(answer, _REPLACE_FORM, price, qty, id))
        return True

    def order(self, id: int) -> Order:
        """Return the open order of an identifier, also one that a batch of the engine entered.

        Raises: UnknownOrder: there is none; it never was, or has finished.
        """
        if type(id) is not int:
            id = self._known_id(id)
        found = self._open.get(id)
        if found is not None:
            return found
        state = self.engine.order_status(id)
        if state is None:
            raise _unknown(id)
        order = _blank_order(Order)
        order._book = self
        order._fills = None
        order._form = _FORMS[state.tif][state.side]
        order.id = id
        order.order_id = state.order_id
        order.price_ticks, order.qty_lots = state.price_ticks, state.qty_lots
        order.filled_lots, order.leaves_lots = state.cum_qty, state.leaves_qty
        order.notional = state.notional
        order.status = state.status
        self._open[id] = order
        return order

    def __contains__(self, order: object) -> bool:
        """Tell whether an order, or the order of an identifier, is open."""
        if isinstance(order, Order):
            return order._book is self and order.leaves_lots > 0
        try:
            self.order(order)  # type: ignore[arg-type]
        except (KeyError, TypeError, ValueError):
            return False
        return True

    def reserve_ids(self, count: int) -> NDArray[np.uint64]:
        """Return the next `count` identifiers, for `id0` of a batch: no call here takes them.

        Raises: TypeError, ValueError: `count` is no int of 0 to 100,000,000, or so many identifiers
        are not left.
        """
        count, first = integer("count", count), self._next_id
        if not 0 <= count <= _RESERVE_MAX:
            raise ValueError(f"count must be 0 to {_RESERVE_MAX}, not {count}: reserve by batch")
        if count > INT64_MAX + 1 - first:
            raise ValueError(
                f"{count} ids are not left after {first - 1}: number the batch with ids that are "
                "not open"
            )
        self._next_id = first + count
        return np.arange(first, first + count, dtype=np.uint64)

    def cancel_all(self, side: Side | str | None = None) -> int:
        """Take out all orders, or those of one side, batches' included; return how many."""
        chosen = 0 if side is None else known_side(side)
        return len(self.engine.process(mass_cancel(side=chosen))) - 1

    def end_day(self) -> int:
        """Expire the day orders; return how many there were."""
        return len(self.engine.process(day_end()))

    # --- What the book shows ----------------------------------------------------------------------

    @property
    def best_bid(self) -> Number:
        """The highest price bid, or None."""
        return self._best_price(Side.BUY)

    @property
    def best_ask(self) -> Number:
        """The lowest price offered, or None."""
        return self._best_price(Side.SELL)

    @property
    def open_orders(self) -> int:
        """How many orders rest, those of batches included."""
        return self.engine.open_orders

    @property
    def last_fills(self) -> list[Fill]:
        """What the last call here traded."""
        trades = self.reports[1:]
        trades = trades[trades["kind"] == ReportKind.TRADE]
        takers, makers = trades[::2], trades[1::2]
        columns = (*(makers[name].tolist() for name in ("last_px", "last_qty", "id0")),)
        return [
            Fill(self._price_of(price), self._qty_of(qty), maker, taker)
            for price, qty, maker, taker in zip(*columns, takers["id0"].tolist(), strict=True)
        ]

    @property
    def reports(self) -> NDArray[Any]:
        """The reports of the last call here, as a view that the next one overwrites."""
        return self._cells.reports[: self._cells.answer[ANSWER_REPORTS]]

    def depth(self, side: Side | str, levels: int = 10) -> list[PriceLevel]:
        """Return a side's first levels, best first."""
        rows = self._level_rows(side, levels).tolist()
        if not self._is_scaled:
            return [PriceLevel(*row) for row in rows]
        return [
            PriceLevel(self._price_of(price), self._qty_of(qty), orders)
            for price, qty, orders in rows
        ]

    def depth_arrays(self, side: Side | str, levels: int = 10) -> DepthArrays:
        """Return a side's first levels as arrays of ticks, lots and orders, best first."""
        rows = self._level_rows(side, levels)
        return DepthArrays(*(rows[name].copy() for name in DepthArrays._fields))

    def qty_at(self, side: Side | str, price: Number) -> Number:
        """Return how much rests at a price."""
        return self._qty_of(self.engine.depth_at(0, known_side(side), self._ticks(price)))

    def state_hash(self) -> int:
        """Return the hash of all state: that of an Engine which executed the same commands."""
        return self.engine.state_hash()

    def __repr__(self) -> str:
        return f"<OrderBook: {self.open_orders} open, bid {self.best_bid}, ask {self.best_ask}>"

    # --- Behind the calls -------------------------------------------------------------------------

    def _words_of(self, returned: int, form: int, price: int, qty: int, id: int) -> list[int]:
        """Return the answer to a command that did not simply go through, making room for it.

        Raises: Rejected, UnknownOrder: it was declined.
        """
        cells = self._cells
        if returned == NO_ROOM:
            cells.make_room(max(cells.answer[ANSWER_REPORTS], 2 * len(cells.reports)))
            self._execute(self._address, form, price, qty, id)
        words: list[int] = cells.answer[: ANSWER_HEAD + FILL_WORDS].tolist()
        if words[ANSWER_REASON]:
            raise self._refusal(RejectReason(words[ANSWER_REASON]), price, qty, id)
        fills = words[ANSWER_FILLS]
        return words if fills == 1 else cells.answer[: ANSWER_HEAD + FILL_WORDS * fills].tolist()

    def _trade(self, order: Order | None, taker: int, words: list[int]) -> None:
        """Count the fills of an answer into its order and into those it traded with."""
        open_orders = self._open
        filled = notional = 0
        fills: list[int] = []
        for at in range(ANSWER_HEAD, len(words), FILL_WORDS):
            maker, order_id, price, qty = words[at : at + FILL_WORDS]
            fills += (price, qty, maker, taker)
            filled += qty
            notional += price * qty
            resting = open_orders.get(maker)
            # A batch may have given the number to an order of its own.
            if resting is not None and resting.order_id == order_id:
                resting._add([price, qty, maker, taker], qty, price * qty)
                if not resting.leaves_lots:
                    del open_orders[maker]
        if fills and order is not None:
            order._add(fills, filled, notional)

    def _absorb(self, reports: NDArray[Any]) -> None:
        """Bring the orders up to date with what a batch did, and skip the numbers it took."""
        # One look at all is quick, and enough where the numbers were reserved.
        if len(reports) and reports["id0"].max() >= self._next_id:
            named = np.isin(reports["kind"], (ReportKind.NEW, ReportKind.REPLACED))
            is_number = (reports["id0"] <= INT64_MAX) & (reports["id1"] == 0)
            taken = reports["id0"][named & is_number]
            self._next_id = max(self._next_id, int(taken.max(initial=0)) + 1)
        if not self._open:
            return
        columns = (reports[name].tolist() for name in ("order_id", "id0", "orig0"))
        for row, (order_id, own, original) in enumerate(zip(*columns, strict=True)):
            # An answer to a request has the request's identifier first and the order's second.
            order = self._open.get(own)
            if order is None or order.order_id != order_id:
                order = self._open.get(original)
                if order is None or order.order_id != order_id:
                    continue
            report = reports[row]
            kind = report["kind"]
            if kind == ReportKind.TRADE:
                is_maker = report["liquidity"] == Liquidity.ADDED
                # The two reports of a trade stand side by side, the taker's first.
                other = int(reports[row - 1 if is_maker else row + 1]["id0"])
                maker, taker = (order.id, other) if is_maker else (other, order.id)
                price, qty = int(report["last_px"]), int(report["last_qty"])
                order._add([price, qty, maker, taker], qty, price * qty)
            elif kind in (ReportKind.CANCELED, ReportKind.EXPIRED):
                order._close(OrderStatus(report["status"]))
            elif kind == ReportKind.REPLACED:
                order.price_ticks = int(report["price_ticks"])
                order.qty_lots = int(report["qty_lots"])
                order.leaves_lots = int(report["leaves_qty"])
                self._open[int(report["id0"])] = self._open.pop(order.id)
                order.id = int(report["id0"])
            if not order.leaves_lots:
                del self._open[order.id]

    def _refusal(self, reason: RejectReason, price: int, qty: int, id: int) -> Exception:
        """Put a RejectReason into a sentence."""
        limits = self._limits
        if reason == RejectReason.UNKNOWN_ORDER:
            return _unknown(id)
        sentences = {
            RejectReason.DUPLICATE_CL_ORD_ID: f"order {id} is open already: give another id, or "
            "none to have one chosen",
            RejectReason.QTY_OUT_OF_RANGE: f"qty must be {self._qty_of(limits.qty_min)} to "
            f"{self._qty_of(limits.qty_max)}, not {self._qty_of(qty)}",
            RejectReason.PRICE_OUT_OF_RANGE: f"price must be {self._price_of(limits.price_min)} to "
            f"{self._price_of(limits.price_max)}, not {self._price_of(price)}",
            RejectReason.QTY_NOT_ABOVE_CUM_QTY: f"the new qty of order {id} must be above the "
            f"{self._open[id].filled if id in self._open else 0} that are filled, not "
            f"{self._qty_of(qty)}: cancel it to stop there",
            RejectReason.ORDER_CAPACITY: f"{self.open_orders} orders are open, and there is room "
            "for no more: make the book with a larger open_orders",
            RejectReason.LEVEL_CAPACITY: "there is no room for another price: make the book with "
            "larger levels",
            RejectReason.LEVEL_QTY_OVERFLOW: f"the lots at price {self._price_of(price)} would "
            "exceed 64 bits: give a smaller qty",
        }
        return Rejected(sentences.get(reason, reason.name), reason)

    def _overflow(self, price: int, qty: int, id: int) -> ValueError:
        """Say which argument of a call was beyond 64 bits."""
        for name, value in (("price", price), ("qty", qty)):
            if not INT64_MIN <= value <= INT64_MAX:
                return _too_large(name, value)
        if id >= self._next_id:
            return _too_large("order", id)
        self._next_id = INT64_MAX + 1
        return ValueError(
            f"no id is left to choose after {INT64_MAX}: give an id of your own in each call"
        )

    def _own_id(self, id: Any) -> int:
        number = _integer("id", id, "an int")
        if number < 0:
            raise ValueError(f"id must be 0 to {INT64_MAX}, not {number}")
        self._next_id = max(self._next_id, number + 1)
        return number

    def _known_id(self, id: Any) -> int:
        return _integer("order", id, "an Order, or its id")

    def _ticks(self, price: Any) -> int:
        if self.tick_size is None:
            return _integer("price", price, "an int (ticks) in a book without a tick_size")
        return _steps("price", price, "tick_size", self.tick_size)

    def _lots(self, qty: Any) -> int:
        if self.lot_size is None:
            return _integer("qty", qty, "an int (lots) in a book without a lot_size")
        return _steps("qty", qty, "lot_size", self.lot_size)

    def _price_of(self, ticks: int) -> Number:
        return ticks if self.tick_size is None else _EXACT.multiply(self.tick_size, ticks)

    def _qty_of(self, lots: int) -> Number:
        return lots if self.lot_size is None else _EXACT.multiply(self.lot_size, lots)

    def _best_price(self, side: Side) -> Number:
        ticks = self._best(self._address, side)
        # The one price that stands for none may be a price, too.
        if ticks == INT64_MIN and not len(self._level_rows(side, 1)):
            return None
        return ticks if self.tick_size is None else self._price_of(ticks)

    def _level_rows(self, side: Any, levels: Any) -> NDArray[Any]:
        """Return a side's first levels, as a view that the next call overwrites."""
        levels = _integer("levels", levels, "how many prices to show")
        if levels < 0:
            raise ValueError(f"levels must be 0 or more, not {levels}")
        # A book has no more prices than this, whatever is asked for.
        levels = min(levels, self.engine.book.level_capacity)
        if levels > len(self._levels):
            self._levels = np.zeros(levels, DEPTH_LEVEL)
        out = self._levels.ctypes.data
        return self._levels[: self._depth(self._address, int(known_side(side)), out, levels)]


# --- Arguments ------------------------------------------------------------------------------------


def _tif(tif: Any) -> Any:
    if tif is _MARKET:
        return tif
    found = known_name(TIFS, tif)
    if found is None:
        raise ValueError(f"tif must be 'gtc', 'day', 'ioc' or 'fok', not {tif!r}")
    return TimeInForce(found)


def _integer(name: str, value: Any, wanted: str) -> int:
    number = integer(name, value, wanted)
    if not INT64_MIN <= number <= INT64_MAX:
        raise _too_large(name, number)
    return number


def _decimal(name: str, value: Any) -> Decimal:
    if isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be a number, not {value!r}")
    if isinstance(value, float | np.floating):
        # The number that it prints, which is what was meant: 0.1 and not 0.1000000000000000055….
        value = repr(float(value))
    elif isinstance(value, np.integer):
        value = int(value)
    try:
        exact = Decimal(value)
    except (DecimalException, TypeError, ValueError):
        raise TypeError(f"{name} must be a number, not {value!r}") from None
    if not exact.is_finite():
        raise ValueError(f"{name} must be a finite number, not {value}")
    return exact


def _steps(name: str, value: Any, option: str, step: Decimal) -> int:
    """Return how many times a step goes into a number."""
    exact = _decimal(name, value)
    try:
        number = _EXACT.divide(exact, step)
    except DecimalException:
        number = None
    if number is None or number != number.to_integral_value():
        raise ValueError(f"{name} {exact} is no multiple of {option} {step}")
    if not INT64_MIN <= number <= INT64_MAX:
        raise _too_large(name, exact)
    return int(number)


def _step_size(option: str, value: Any) -> Decimal | None:
    if value is None:
        return None
    step = _decimal(option, value)
    if step <= 0:
        raise ValueError(f"{option} must be above 0, not {value}")
    return step


def _too_large(name: str, value: Any) -> ValueError:
    return ValueError(f"{name} {value} is too large: ticks, lots and ids are 64-bit integers")


def _unknown(id: int) -> UnknownOrder:
    return UnknownOrder(f"no order {id} is open: it never was, or has finished")

"""The book that a file itself describes, by order id and without any matching."""

from bisect import bisect_left, insort
from collections import defaultdict
from dataclasses import dataclass

from openoutcry.loadgen.flow_files import EventKind, FileEvent
from openoutcry.protocol.binary.enums import Side


@dataclass(slots=True)
class FileOrder:
    """An order as the file tells it."""

    order_id: str
    symbol: str
    side: Side
    price: int
    left: int
    #: All that was executed, before a replace, too.
    executed: int = 0
    is_open: bool = True


def filled_by(order: FileOrder, event: FileEvent) -> int:
    """Return how much of an order a REMAINS event says was filled.

    With a new price it is an amendment: a market order that walks to the next price, less what its
    amount of money no longer buys there.
    """
    return max(0, order.left - event.qty) if event.price == order.price else 0


class FileBook:
    """Every order that the file ever created, by its id."""

    def __init__(self) -> None:
        self.orders: dict[str, FileOrder] = {}

    def apply(self, event: FileEvent) -> None:
        """Take in an event; what names no open order changes nothing."""
        if event.kind is EventKind.ADD and event.side is not None:
            self.orders[event.order_id] = FileOrder(
                event.order_id, event.symbol, event.side, event.price, event.qty
            )
            return
        order = self.orders.get(event.order_id)
        if order is None or not order.is_open:
            return
        match event.kind:
            case EventKind.EXECUTE:
                executed = min(event.qty, order.left)
                order.executed += executed
                order.left -= executed
            case EventKind.REDUCE:
                order.left -= min(event.qty, order.left)
            case EventKind.REMAINS:
                order.executed += filled_by(order, event)
                order.left = event.qty
                order.price = event.price
            case EventKind.DELETE:
                order.left = 0
            case EventKind.REPLACE:
                order.left = 0
                self.orders[event.new_order_id] = FileOrder(
                    event.new_order_id,
                    order.symbol,
                    order.side,
                    event.price,
                    event.qty,
                    order.executed,
                )
        order.is_open = order.left > 0

    def resting(self) -> dict[str, FileOrder]:
        """Return the open orders by id."""
        return {name: order for name, order in self.orders.items() if order.is_open}


class Displayed:
    """The orders that may still stand in the file's market, in price-time order.

    For finding gaps: a displayed order never crosses another, and is executed only when nothing
    stands before it; where the file says otherwise, it leaves out that the other one went.
    """

    def __init__(self) -> None:
        self._prices: dict[tuple[str, Side], list[int]] = defaultdict(list)
        self._levels: dict[tuple[str, Side, int], dict[str, None]] = {}
        self._places: dict[str, tuple[str, Side, int]] = {}

    def add(self, order_id: str, symbol: str, side: Side, price: int) -> None:
        """Let an order stand last at its price."""
        place = (symbol, side, price)
        if place not in self._levels:
            self._levels[place] = {}
            insort(self._prices[symbol, side], price)
        self._levels[place][order_id] = None
        self._places[order_id] = place

    def remove(self, order_id: str) -> None:
        """Take an order away, if it stands."""
        place = self._places.pop(order_id, None)
        if place is None:
            return
        del self._levels[place][order_id]
        if not self._levels[place]:
            del self._levels[place]
            symbol, side, price = place
            prices = self._prices[symbol, side]
            del prices[bisect_left(prices, price)]

    def crossed_by(self, symbol: str, side: Side, price: int) -> list[str]:
        """Return the orders of the other side that an order at this price would meet."""
        other = Side.SELL if side is Side.BUY else Side.BUY
        found: list[str] = []
        for level in self._best_first(symbol, other):
            if (level > price) if side is Side.BUY else (level < price):
                break
            found.extend(self._levels[symbol, other, level])
        return found

    def ahead_of(self, order_id: str) -> list[str]:
        """Return the orders that would be executed before this one."""
        place = self._places.get(order_id)
        if place is None:
            return []
        symbol, side, price = place
        found: list[str] = []
        for level in self._best_first(symbol, side):
            if level == price:
                break
            found.extend(self._levels[symbol, side, level])
        for other in self._levels[place]:
            if other == order_id:
                break
            found.append(other)
        return found

    def _best_first(self, symbol: str, side: Side) -> list[int]:
        prices = self._prices[symbol, side]
        return prices[::-1] if side is Side.BUY else prices

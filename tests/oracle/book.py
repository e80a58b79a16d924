"""The book in plain Python (dict, deque, bisect), written from the rules: what kernels must equal.

Not fast, and not meant to be read beside the kernels: nothing here knows of rows, slots or trees.
"""

import bisect
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openoutcry.engine.enums import (
    CommandFlag,
    CommandKind,
    EventKind,
    Liquidity,
    OrderStatus,
    OrderType,
    RejectReason,
    ReportKind,
    Side,
    TimeInForce,
)
from openoutcry.engine.records import EVENT, REPORT, SHARD_SHIFT

MAX = 2**63 - 1
_OPEN = (OrderStatus.NEW, OrderStatus.PARTIALLY_FILLED)


def join_rows(rows: Iterable[NDArray[Any]], dtype: np.dtype[np.void]) -> NDArray[Any]:
    """Join arrays of rows (numpy's concatenate would drop the overlaying fields' layout)."""
    return np.frombuffer(bytearray(b"".join(part.tobytes() for part in rows)), dtype)


@dataclass
class Order:
    """One order, with all that its reports tell."""

    session: int
    epoch: int
    account: int
    firm: int
    cl_ord_id: bytes
    order_id: int
    symbol: int
    side: int
    ord_type: int
    tif: int
    price: int
    qty: int
    cum: int = 0
    notional: int = 0
    status: int = OrderStatus.NEW

    @property
    def leaves(self) -> int:
        return self.qty - self.cum if self.status in _OPEN else 0

    @property
    def is_open(self) -> bool:
        return self.status in _OPEN

    def may_rest(self) -> bool:
        return self.ord_type == OrderType.LIMIT and self.tif in (TimeInForce.DAY, TimeInForce.GTC)


@dataclass
class Symbol:
    """A symbol's limits and its two sides: price to queue."""

    price_min: int
    price_max: int
    qty_min: int
    qty_max: int
    always_requeue: bool

    def __post_init__(self) -> None:
        self.queues: dict[int, dict[int, deque[Order]]] = {Side.BUY: {}, Side.SELL: {}}
        self.prices: dict[int, list[int]] = {Side.BUY: [], Side.SELL: []}

    def best_first(self, side: int) -> Iterable[int]:
        return reversed(self.prices[side]) if side == Side.BUY else iter(self.prices[side])

    def total(self, side: int, price: int) -> int:
        return sum(order.leaves for order in self.queues[side].get(price, ()))

    def add(self, order: Order) -> None:
        if order.price not in self.queues[order.side]:
            self.queues[order.side][order.price] = deque()
            bisect.insort(self.prices[order.side], order.price)
        self.queues[order.side][order.price].append(order)

    def remove(self, order: Order) -> None:
        queue = self.queues[order.side][order.price]
        queue.remove(order)
        if not queue:
            del self.queues[order.side][order.price]
            self.prices[order.side].remove(order.price)


class OracleBook:
    """All books of a shard; `process` answers one command with the rows of its reports."""

    def __init__(
        self,
        open_orders: int = 10**9,
        finished_orders: int = 0,
        levels: int = 10**9,
        symbols: int = 1024,
        sessions: int = 4096,
        shard: int = 0,
    ) -> None:
        self.capacity = open_orders
        self.window = finished_orders
        self.level_capacity = levels
        self.symbol_capacity = symbols
        self.session_capacity = sessions
        self.base = shard << SHARD_SHIFT
        self.symbols: dict[int, Symbol] = {}
        self.known: dict[tuple[int, bytes], Order] = {}
        self.finished: OrderedDict[tuple[int, bytes], Order] = OrderedDict()
        self.marks: dict[int, tuple[int, int]] = {}
        self.report_seq = 0
        self.events: list[NDArray[Any]] = []
        self.reports: list[NDArray[Any]] = []
        self.command: Any = None
        self.seq = self.time_ns = 0

    def resize(self, capacity: Any) -> None:
        """Go on with other capacities, as a CAPACITY command asks for; what is in use fits."""
        self.capacity, self.level_capacity = capacity.open_orders, capacity.levels
        self.symbol_capacity, self.session_capacity = capacity.symbols, capacity.sessions
        self.window = capacity.finished_orders
        while len(self.finished) > self.window:
            self.finished.popitem(last=False)

    # --- The command processor ---

    def process(self, command: Any) -> NDArray[Any]:
        self.command = command
        self.seq, self.time_ns = int(command["seq"]), int(command["time_ns"])
        self.reports = []
        if command["kind"] >= CommandKind.ADD_SYMBOL:
            self.control()
        elif command["session"] >= self.session_capacity:
            self.decline(RejectReason.SESSION_CAPACITY)
        elif self.is_duplicate():
            report = self.unknown(ReportKind.DUPLICATE, RejectReason.NONE)
            report["status"] = 0
        else:
            handlers: dict[int, Callable[[], None]] = {
                CommandKind.NEW: self.new,
                CommandKind.CANCEL: self.cancel,
                CommandKind.REPLACE: self.replace,
                CommandKind.STATUS: self.status,
                CommandKind.MASS_CANCEL: self.mass,
                CommandKind.MASS_STATUS: self.mass,
            }
            handler = handlers.get(int(command["kind"]))
            if handler is None:
                self.decline(RejectReason.UNSUPPORTED_ORDER_TYPE)
            else:
                handler()
        return join_rows(self.reports, REPORT)

    def is_duplicate(self) -> bool:
        session, number = int(self.command["session"]), int(self.command["inbound_seq"])
        if session == 0 or number == 0:
            return False
        mark = (int(self.command["epoch"]), number)
        if mark <= self.marks.get(session, (0, 0)):
            return True
        self.marks[session] = mark
        return False

    def control(self) -> None:
        command = self.command
        number = int(command["symbol"])
        if command["reject_reason"]:
            self.decline(command["reject_reason"])
        elif command["kind"] == CommandKind.DAY_END:
            for each in sorted(self.symbols) if number < 0 else [number]:
                if each in self.symbols:
                    self.end_day(self.symbols[each])
        elif command["kind"] == CommandKind.ADD_SYMBOL:
            if not 0 <= number < self.symbol_capacity:
                self.decline(RejectReason.UNKNOWN_SYMBOL)
            elif command["price_ticks"] > command["price2_ticks"]:
                self.decline(RejectReason.PRICE_OUT_OF_RANGE)
            elif not 1 <= command["qty_lots"] <= command["qty2_lots"]:
                self.decline(RejectReason.QTY_OUT_OF_RANGE)
            else:
                added = Symbol(
                    int(command["price_ticks"]),
                    int(command["price2_ticks"]),
                    int(command["qty_lots"]),
                    int(command["qty2_lots"]),
                    bool(command["flags"] & 1),
                )
                if number in self.symbols:
                    added.queues = self.symbols[number].queues
                    added.prices = self.symbols[number].prices
                self.symbols[number] = added
        elif command["kind"] not in (CommandKind.TIME, CommandKind.START, CommandKind.CAPACITY):
            self.decline(RejectReason.UNSUPPORTED_ORDER_TYPE)

    def end_day(self, symbol: Symbol) -> None:
        for side in (Side.BUY, Side.SELL):
            for price in list(symbol.best_first(side)):
                for order in list(symbol.queues[side][price]):
                    if order.tif == TimeInForce.DAY:
                        self.event(EventKind.DELETE, order, order.leaves, 0)
                        symbol.remove(order)
                        order.status = OrderStatus.EXPIRED
                        self.report(ReportKind.EXPIRED, order)
                        self.finish(order)

    def new(self) -> None:
        command = self.command
        if self.was_seen(None):
            return
        reason = command["reject_reason"] or self.new_reason()
        if reason:
            self.decline(reason)
            return
        order = Order(
            session=int(command["session"]),
            epoch=int(command["epoch"]),
            account=int(command["account"]),
            firm=int(command["firm"]),
            cl_ord_id=bytes(command["cl_ord_id"]),
            order_id=self.base | self.seq,
            symbol=int(command["symbol"]),
            side=int(command["side"]),
            ord_type=int(command["ord_type"]),
            tif=int(command["tif"]),
            price=int(command["price_ticks"]) if command["ord_type"] == OrderType.LIMIT else 0,
            qty=int(command["qty_lots"]),
        )
        self.answer(ReportKind.NEW, order)
        self.trade(order)

    def new_reason(self) -> int:
        command = self.command
        symbol = self.symbols.get(int(command["symbol"]))
        if symbol is None:
            return RejectReason.UNKNOWN_SYMBOL
        if command["side"] not in (Side.BUY, Side.SELL):
            return RejectReason.INVALID_SIDE
        if command["ord_type"] not in (OrderType.LIMIT, OrderType.MARKET):
            return RejectReason.UNSUPPORTED_ORDER_TYPE
        if command["tif"] not in tuple(TimeInForce):
            return RejectReason.UNSUPPORTED_TIME_IN_FORCE
        is_limit = command["ord_type"] == OrderType.LIMIT
        reason = self.limits(symbol, int(command["qty_lots"]), is_limit)
        if reason:
            return reason
        if self.find("cl_ord_id"):
            return RejectReason.DUPLICATE_CL_ORD_ID
        if is_limit and command["tif"] in (TimeInForce.DAY, TimeInForce.GTC):
            side, price = int(command["side"]), int(command["price_ticks"])
            if len(self.known) >= self.capacity:
                return RejectReason.ORDER_CAPACITY
            if price not in symbol.queues[side]:
                if self.level_count() >= self.level_capacity:
                    return RejectReason.LEVEL_CAPACITY
            elif symbol.total(side, price) + int(command["qty_lots"]) > MAX:
                return RejectReason.LEVEL_QTY_OVERFLOW
        return RejectReason.NONE

    def limits(self, symbol: Symbol, qty: int, is_priced: bool) -> int:
        if not symbol.qty_min <= qty <= symbol.qty_max:
            return RejectReason.QTY_OUT_OF_RANGE
        if is_priced and not symbol.price_min <= self.command["price_ticks"] <= symbol.price_max:
            return RejectReason.PRICE_OUT_OF_RANGE
        return RejectReason.NONE

    def cancel(self) -> None:
        order = self.find_own("orig_cl_ord_id")
        reason = self.open_reason(order)
        if reason or order is None:
            self.decline(reason, order)
            return
        self.event(EventKind.DELETE, order, order.leaves, 0)
        self.symbols[order.symbol].remove(order)
        order.status = OrderStatus.CANCELED
        report = self.answer(ReportKind.CANCELED, order)
        report["cl_ord_id"] = self.command["cl_ord_id"]
        report["orig_cl_ord_id"] = self.command["orig_cl_ord_id"]
        self.finish(order)

    def status(self) -> None:
        order = self.find_own("cl_ord_id")
        self.decline(self.request_reason(order), order)

    def replace(self) -> None:
        command = self.command
        order = self.find_own("orig_cl_ord_id")
        if self.was_seen(order):
            return
        reason = self.open_reason(order) or self.replace_reason(order)
        if reason or order is None:
            self.decline(reason, order)
            return
        symbol = self.symbols[order.symbol]
        price, qty = int(command["price_ticks"]), self.total_qty(order)
        leaves = qty - order.cum
        keeps = price == order.price and qty <= order.qty and not symbol.always_requeue
        reduction = order.leaves - leaves
        if keeps:
            if reduction:
                self.event(EventKind.REDUCE, order, reduction, leaves)
        else:
            self.event(EventKind.DELETE, order, order.leaves, 0)
            symbol.remove(order)
        old = replace(order, status=OrderStatus.REPLACED)
        del self.known[order.session, order.cl_ord_id]
        if self.window:
            self.remember(old)
        order.cl_ord_id = bytes(command["cl_ord_id"])
        order.epoch = int(command["epoch"])
        order.price, order.qty = price, qty
        report = self.answer(ReportKind.REPLACED, order)
        report["orig_cl_ord_id"] = command["orig_cl_ord_id"]
        if keeps:
            self.known[order.session, order.cl_ord_id] = order
        else:
            self.trade(order)

    def was_seen(self, named: Order | None) -> bool:
        """Answer what may have come before with the state of the order that has its identifier."""
        if not self.command["flags"] & CommandFlag.POSS_RESEND:
            return False
        known = self.find("cl_ord_id")
        if known is None or (known is named and not self.window):
            return False
        report = self.answer(ReportKind.STATUS, known)
        report["orig_cl_ord_id"] = self.command["orig_cl_ord_id"]
        return True

    def mass(self) -> None:
        """Cancel or report the open orders of the command's session, the oldest first."""
        command = self.command
        reason = command["reject_reason"]
        if not reason and command["symbol"] != -1 and int(command["symbol"]) not in self.symbols:
            reason = RejectReason.UNKNOWN_SYMBOL
        if not reason and command["side"] not in (0, Side.BUY, Side.SELL):
            reason = RejectReason.INVALID_SIDE
        if reason:
            self.decline(reason)
            return
        is_cancel = command["kind"] == CommandKind.MASS_CANCEL
        keeps_gtc = is_cancel and command["flags"] & CommandFlag.KEEP_GTC
        wanted = [
            order
            for order in self.known.values()
            if order.session == command["session"]
            and command["symbol"] in (-1, order.symbol)
            and command["side"] in (0, order.side)
            and command["account"] in (0, order.account)
            and command["orig0"] in (0, order.order_id)
            and not (keeps_gtc and order.tif == TimeInForce.GTC)
        ]
        why = RejectReason.MASS_CANCEL
        if command["flags"] & CommandFlag.CONNECTION_LOST:
            why = RejectReason.CONNECTION_LOST
        elif command["flags"] & CommandFlag.LOGGED_OUT:
            why = RejectReason.LOGGED_OUT
        for order in sorted(wanted, key=lambda order: order.order_id):
            if is_cancel:
                self.event(EventKind.DELETE, order, order.leaves, 0)
                self.symbols[order.symbol].remove(order)
                order.status = OrderStatus.CANCELED
                self.answer(ReportKind.CANCELED, order)["reason"] = why
                self.finish(order)
            else:
                report = self.answer(ReportKind.MASS_STATUS, order)
                report["orig_cl_ord_id"] = command["cl_ord_id"]
        end = self.unknown(
            ReportKind.MASS_CANCELED if is_cancel else ReportKind.MASS_STATUS_END,
            RejectReason.NONE,
        )
        end["status"] = 0
        end["qty_lots"] = len(wanted)

    def total_qty(self, order: Order) -> int:
        """Return the quantity a replace asks for, filled included; 0 where it cannot be."""
        qty = int(self.command["qty_lots"])
        if not self.command["flags"] & CommandFlag.OPEN_QTY:
            return qty
        return qty + order.cum if 1 <= qty <= MAX - order.cum else 0

    def replace_reason(self, order: Any) -> int:
        command = self.command
        symbol = self.symbols[order.symbol]
        price, qty = int(command["price_ticks"]), self.total_qty(order)
        if command["ord_type"] not in (0, OrderType.LIMIT):
            return RejectReason.UNSUPPORTED_ORDER_TYPE
        if command["tif"] not in (TimeInForce.DAY, TimeInForce.GTC):
            return RejectReason.UNSUPPORTED_TIME_IN_FORCE
        reason = self.limits(symbol, qty, is_priced=True)
        if reason:
            return reason
        holder = self.find("cl_ord_id")
        if holder and (holder is not order or self.window):
            return RejectReason.DUPLICATE_CL_ORD_ID
        if qty <= order.cum:
            return RejectReason.QTY_NOT_ABOVE_CUM_QTY
        queues = symbol.queues[order.side]
        if price not in queues:
            frees_level = len(queues[order.price]) == 1
            if self.level_count() >= self.level_capacity and not frees_level:
                return RejectReason.LEVEL_CAPACITY
            return RejectReason.NONE
        others = symbol.total(order.side, price)
        if price == order.price:
            others -= order.leaves
        if others + qty - order.cum > MAX:
            return RejectReason.LEVEL_QTY_OVERFLOW
        return RejectReason.NONE

    def request_reason(self, order: Order | None) -> int:
        if self.command["reject_reason"]:
            return int(self.command["reject_reason"])
        if order is None:
            return RejectReason.UNKNOWN_ORDER
        if self.command["side"] not in (0, order.side):
            return RejectReason.SIDE_MISMATCH
        return RejectReason.NONE

    def open_reason(self, order: Order | None) -> int:
        reason = self.request_reason(order)
        if reason or order is None or order.is_open:
            return reason
        if order.status == OrderStatus.REPLACED:
            return RejectReason.ORDER_REPLACED
        return RejectReason.TOO_LATE_TO_CANCEL

    # --- Trading ---

    def trade(self, order: Order) -> None:
        """Match an accepted order; let the rest rest, or cancel it."""
        symbol = self.symbols[order.symbol]
        other = Side.SELL if order.side == Side.BUY else Side.BUY

        def crosses(price: int) -> bool:
            if order.ord_type == OrderType.MARKET:
                return True
            return price <= order.price if order.side == Side.BUY else price >= order.price

        def reachable() -> int:
            return sum(symbol.total(other, p) for p in symbol.prices[other] if crosses(p))

        if order.tif != TimeInForce.FOK or reachable() >= order.leaves:
            for price in list(symbol.best_first(other)):
                if not crosses(price):
                    break
                for resting in list(symbol.queues[other][price]):
                    if not order.leaves:
                        break
                    self.fill(order, resting, price)
        if order.leaves and order.may_rest():
            symbol.add(order)
            self.known[order.session, order.cl_ord_id] = order
            self.event(EventKind.ADD, order, order.leaves, order.leaves)
            return
        if order.leaves:
            order.status = OrderStatus.CANCELED
            self.answer(ReportKind.CANCELED, order)
        self.finish(order)

    def fill(self, order: Order, resting: Order, price: int) -> None:
        qty = min(order.leaves, resting.leaves)
        trade_id = self.base | (self.report_seq + 1)
        for one, contra, liquidity in (
            (order, resting, Liquidity.REMOVED),
            (resting, order, Liquidity.ADDED),
        ):
            one.cum += qty
            one.notional += price * qty
            is_done = one.cum == one.qty
            one.status = OrderStatus.FILLED if is_done else OrderStatus.PARTIALLY_FILLED
            write = self.answer if one is order else self.report
            report = write(ReportKind.TRADE, one)
            report["last_px"], report["last_qty"] = price, qty
            report["trade_id"], report["contra_order_id"] = trade_id, contra.order_id
            report["liquidity"] = liquidity
        self.event(EventKind.EXECUTE, resting, qty, resting.leaves, trade_id)
        if not resting.leaves:
            self.symbols[resting.symbol].remove(resting)
            self.finish(resting)

    def finish(self, order: Order) -> None:
        self.known.pop((order.session, order.cl_ord_id), None)
        if self.window:
            self.remember(order)

    def remember(self, order: Order) -> None:
        if len(self.finished) == self.window:
            self.finished.popitem(last=False)
        self.finished[order.session, order.cl_ord_id] = order

    def find(self, field: str) -> Order | None:
        key = (int(self.command["session"]), bytes(self.command[field]))
        return self.known.get(key) or self.finished.get(key)

    def find_own(self, field: str) -> Order | None:
        order = self.find(field)
        return order if order and order.symbol == self.command["symbol"] else None

    def level_count(self) -> int:
        return sum(len(q) for symbol in self.symbols.values() for q in symbol.queues.values())

    # --- Rows ---

    def row(self, **fields: Any) -> NDArray[Any]:
        self.report_seq += 1
        report = np.zeros(1, REPORT)
        for name, value in fields.items():
            report[name] = value
        report["report_seq"] = self.report_seq
        report["seq"], report["time_ns"] = self.seq, self.time_ns
        self.reports.append(report)
        return report

    def report(self, kind: int, order: Order) -> NDArray[Any]:
        """Report an order's state to its owner, unasked."""
        return self.row(
            kind=kind,
            order_id=order.order_id,
            price_ticks=order.price,
            qty_lots=order.qty,
            cum_qty=order.cum,
            leaves_qty=order.leaves,
            session=order.session,
            epoch=order.epoch,
            account=order.account,
            symbol=order.symbol,
            cl_ord_id=order.cl_ord_id,
            notional_lo=np.uint64(order.notional & (2**64 - 1)),
            notional_hi=order.notional >> 64,
            status=order.status,
            side=order.side,
            ord_type=order.ord_type,
            tif=order.tif,
        )

    def answer(self, kind: int, order: Order) -> NDArray[Any]:
        """Report an order's state in answer to the command."""
        report = self.report(kind, order)
        report["inbound_seq"] = self.command["inbound_seq"]
        report["epoch"] = self.command["epoch"]
        return report

    def unknown(self, kind: int, reason: int) -> NDArray[Any]:
        """Answer the command with nothing but its own fields."""
        copied = (
            *("price_ticks", "qty_lots", "inbound_seq", "session", "epoch", "account", "symbol"),
            *("cl_ord_id", "orig_cl_ord_id", "side", "ord_type", "tif"),
        )
        fields = {name: self.command[name] for name in copied}
        return self.row(kind=kind, status=OrderStatus.REJECTED, reason=reason, **fields)

    def decline(self, reason: int, order: Order | None = None) -> None:
        kinds: dict[int, ReportKind] = {
            CommandKind.CANCEL: ReportKind.CANCEL_REJECTED,
            CommandKind.REPLACE: ReportKind.CANCEL_REJECTED,
            CommandKind.STATUS: ReportKind.STATUS,
            CommandKind.MASS_CANCEL: ReportKind.MASS_CANCELED,
            CommandKind.MASS_STATUS: ReportKind.MASS_STATUS_END,
        }
        kind = kinds.get(int(self.command["kind"]), ReportKind.REJECTED)
        if order is None:
            report = self.unknown(kind, reason)
        else:
            report = self.answer(kind, order)
            report["reason"] = reason
            report["cl_ord_id"] = self.command["cl_ord_id"]
            report["orig_cl_ord_id"] = self.command["orig_cl_ord_id"]
        if kind == ReportKind.CANCEL_REJECTED:
            report["response_to"] = self.command["kind"]
        elif kind in (ReportKind.MASS_CANCELED, ReportKind.MASS_STATUS_END):
            report["qty_lots"] = 0

    def event(self, kind: int, order: Order, qty: int, leaves: int, trade_id: int = 0) -> None:
        event = np.zeros(1, EVENT)
        event["event_seq"] = len(self.events) + 1
        event["time_ns"] = self.time_ns
        event["order_id"] = order.order_id
        event["price_ticks"] = order.price
        event["qty_lots"] = qty
        event["leaves_qty"] = leaves
        event["trade_id"] = trade_id
        event["symbol"] = order.symbol
        event["kind"] = kind
        event["side"] = order.side
        self.events.append(event)

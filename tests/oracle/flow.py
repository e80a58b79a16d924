"""Recorded order flow through the plain-Python book: what a venue must make of the same file.

Written from docs/flow.md, with readers of its own; nothing of loadgen is used.
"""

import csv
import lzma
import struct
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from oracle.book import OracleBook, Order

from openoutcry.engine.enums import (
    CommandKind,
    Liquidity,
    OrderStatus,
    OrderType,
    ReportKind,
    Side,
    TimeInForce,
)
from openoutcry.engine.records import COMMAND

_SESSION = 1
_ITCH_SIZES = (
    *(12, 39, 25, 20, 26, 35, 12, 28, 35, 21, 36, 40, 31, 36, 23, 19, 35, 44, 40, 19),
    *(50, 20, 48),
)
_OPPOSITE = {Side.BUY: Side.SELL, Side.SELL: Side.BUY}


@dataclass
class Event:
    """An event as the file has it; `word` is the file's own."""

    number: int
    word: str
    order_id: str = ""
    symbol: str = ""
    side: Side = Side.BUY
    price: int = 0
    qty: int = 0
    new_id: str = ""


@dataclass
class Told:
    """What the file says of an order, by its id alone."""

    symbol: str
    side: Side
    price: int
    left: int


@dataclass
class Outcome:
    """What the venue must end with."""

    #: File's id → symbol, side, price, quantity left.
    resting: dict[str, tuple[str, int, int, int]] = field(default_factory=dict)
    #: Resting id, aggressor's id, price, quantity; in order.
    fills: list[tuple[str, str, int, int]] = field(default_factory=list)
    sent: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    refused: int = 0


def read_bitstamp(path: Path) -> list[Event]:
    """Read the CSV, row by row."""
    with lzma.open(path, "rt") as text:
        return [
            Event(
                number,
                row["action"],
                row["id"],
                "BTCUSD",
                Side.BUY if row["direction"] == "bid" else Side.SELL,
                round(float(row["price"]) * 100),
                int(row["volume"]),
            )
            for number, row in enumerate(csv.DictReader(text), 1)
        ]


def read_itch(path: Path) -> list[Event]:
    """Read the messages, whose length follows from the type."""
    sizes = dict(zip("SRHYLVWKJhAFECXDUPQBINO", _ITCH_SIZES, strict=True))
    data = path.read_bytes()
    events: list[Event] = []
    at = 0
    while at < len(data):
        word = chr(data[at + 2])
        body = data[at + 2 + 11 : at + 2 + sizes[word]]
        at += 2 + sizes[word]
        event = Event(len(events) + 1, word)
        if word in "AF":
            number, side, event.qty, stock, event.price = struct.unpack(">QcI8sI", body[:25])
            event.order_id, event.symbol = str(number), stock.decode().strip()
            event.side = Side.BUY if side == b"B" else Side.SELL
        elif word in "EXCDU":
            event.order_id = str(int.from_bytes(body[:8], "big"))
            if word == "U":
                event.new_id = str(int.from_bytes(body[8:16], "big"))
                event.qty, event.price = struct.unpack(">II", body[16:24])
            elif word != "D":
                event.qty = int.from_bytes(body[8:12], "big")
        events.append(event)
    return events


def straight_book(events: list[Event]) -> dict[str, tuple[str, int, int, int]]:
    """Make the book by order id alone, every event in its place: no matching, no rules."""
    book: dict[str, Told] = {}
    for event in events:
        _tell(book, event)
    return {
        name: (one.symbol, int(one.side), one.price, one.left)
        for name, one in book.items()
        if one.left > 0
    }


def _tell(book: dict[str, Told], event: Event) -> None:
    if event.word in ("created", "A", "F"):
        book[event.order_id] = Told(event.symbol, event.side, event.price, event.qty)
        return
    told = book.get(event.order_id)
    if told is None or told.left == 0:
        return
    if event.word in ("E", "C", "X"):
        told.left = max(0, told.left - event.qty)
    elif event.word == "U":
        told.left = 0
        book[event.new_id] = Told(told.symbol, told.side, event.price, event.qty)
    elif event.word == "changed":
        told.price, told.left = event.price, event.qty
    elif event.word in ("D", "deleted"):
        told.left = 0


class FlowOracle:
    """A venue and its one client, without anything between them."""

    def __init__(self, events: list[Event], *, closes_gaps: bool = False) -> None:
        self.events = events
        self.closes_gaps = closes_gaps
        self.outcome = Outcome()
        self.told: dict[str, Told] = {}
        #: File's ids that may stand in the file's market, oldest first.
        self.standing: dict[str, None] = {}
        names = dict.fromkeys(event.symbol for event in events if event.symbol)
        self.symbols = {name: number for number, name in enumerate(names)}
        self.book = OracleBook(finished_orders=10**9)
        for number in self.symbols.values():
            self._process(CommandKind.ADD_SYMBOL, symbol=number, qty_lots=1, qty2_lots=10**12)
        #: The order behind a file's id, and the id that an order goes by now.
        self.orders: dict[str, Order] = {}
        self.names: dict[int, str] = {}

    def run(self) -> Outcome:
        """Process every event and return what comes of it."""
        for event in self._in_causal_order():
            self._take(event)
        for name, order in self.orders.items():
            if order.leaves and self.names[order.order_id] == name:
                symbol = list(self.symbols)[order.symbol]
                self.outcome.resting[name] = (symbol, order.side, order.price, order.leaves)
        return self.outcome

    def _in_causal_order(self) -> list[Event]:
        """Put each event behind the creation of the order that it names, if there is one."""
        created_at_all = {self._creates(event) for event in self.events} - {""}
        created: set[str] = set()
        found: list[Event] = []
        pending: list[Event] = []
        for event in self.events:
            is_new = event.word in ("created", "A", "F")
            name = event.order_id
            if not is_new and name in created_at_all and name not in created:
                pending.append(event)
                continue
            found.append(event)
            step = [event]
            while step:
                created |= {self._creates(one) for one in step}
                step = [one for one in pending if one.order_id in created]
                pending = [one for one in pending if one.order_id not in created]
                found += step
        return found

    @staticmethod
    def _creates(event: Event) -> str:
        return event.order_id if event.word in ("created", "A", "F") else event.new_id

    # --- one event ---

    def _take(self, event: Event) -> None:
        word, name = event.word, event.order_id
        told = self.told.get(name)
        if word in ("created", "A", "F"):
            self._uncross(event.symbol, event.side, event.price)
            self._new(name, event.symbol, event.side, event.price, event.qty)
            self.standing[name] = None
            self.outcome.sent[word] += 1
        elif not name:
            self.outcome.skipped["nothing"] += 1
        elif told is None:
            self.outcome.skipped["never created"] += 1
        elif told.left == 0:
            self.outcome.skipped["gone"] += 1
        elif self._change(event, told):
            self.outcome.sent[word] += 1
        else:
            self.outcome.skipped["matched"] += 1
        _tell(self.told, event)
        if name in self.told and self.told[name].left == 0:
            self.standing.pop(name, None)
            if word == "U" and event.new_id in self.told:
                self.standing[event.new_id] = None

    def _change(self, event: Event, told: Told) -> bool:
        """Send what an event about a standing order asks for; False if nothing."""
        name = event.order_id
        order = self.orders.get(name)
        leaves = order.leaves if order else 0
        match event.word:
            case "E" | "C":
                self._clear_the_way(name, told)
                opposite = _OPPOSITE[told.side]
                self._new(
                    f"x{event.number}", told.symbol, opposite, told.price, event.qty, is_ioc=True
                )
            case "X" if order and leaves > event.qty:
                self._replace(order, order.price, order.qty - event.qty)
            case "U":
                self._uncross(told.symbol, told.side, event.price)
                self._succeed(event, told, order)
            case "changed" | "deleted" if event.word == "changed" or event.qty == 0:
                if order is None:
                    return False
                left = min(event.qty, leaves + max(0, event.qty - told.left))
                if left == leaves and (not leaves or event.price == order.price):
                    return False
                if left:
                    self._replace(order, event.price, order.cum + left)
                else:
                    self._cancel(name, told)
            case _:
                self._cancel(name, told)
        return True

    def _succeed(self, event: Event, told: Told, order: Order | None) -> None:
        if order is None:
            self._cancel(event.order_id, told)
        elif order.leaves >= event.qty and event.price == order.price:
            self._cancel(event.order_id, told)
            self._new(event.new_id, told.symbol, told.side, event.price, event.qty)
        elif self._replace(order, event.price, order.cum + event.qty, event.new_id):
            self.orders[event.new_id] = self.orders.pop(event.order_id)

    # --- gaps ---

    def _uncross(self, symbol: str, side: Side, price: int) -> None:
        if not self.closes_gaps:
            return
        found = []
        for name in self.standing:
            told = self.told[name]
            if told.symbol == symbol and told.side != side:
                if told.price <= price if side == Side.BUY else told.price >= price:
                    found.append(name)
        self._drop(found)

    def _clear_the_way(self, name: str, told: Told) -> None:
        if not self.closes_gaps or name not in self.standing:
            return
        found = []
        ahead = True
        for other in self.standing:
            ahead &= other != name
            that = self.told[other]
            if (that.symbol, that.side) == (told.symbol, told.side):
                is_better = that.price > told.price
                if told.side == Side.SELL:
                    is_better = that.price < told.price
                if is_better or (ahead and that.price == told.price):
                    found.append(other)
        self._drop(found)

    def _drop(self, names: list[str]) -> None:
        """Cancel in price-time order; the order is of no consequence but for the reports'."""
        for name in names:
            del self.standing[name]
            self._cancel(name, self.told[name])

    # --- requests ---

    def _new(
        self, name: str, symbol: str, side: Side, price: int, qty: int, *, is_ioc: bool = False
    ) -> None:
        reports = self._send(
            CommandKind.NEW,
            symbol=self.symbols[symbol],
            side=side,
            ord_type=OrderType.LIMIT,
            tif=TimeInForce.IOC if is_ioc else TimeInForce.GTC,
            price_ticks=price,
            qty_lots=qty,
            cl_ord_id=name.encode(),
        )
        key = (_SESSION, name.encode())
        order = self.book.known.get(key) or self.book.finished.get(key)
        assert order is not None
        assert reports[0]["kind"] == ReportKind.NEW
        self.orders[name] = order
        self.names[order.order_id] = name
        self._note_fills(reports)

    def _cancel(self, name: str, told: Told) -> None:
        order = self.orders.get(name)
        self._send(
            CommandKind.CANCEL,
            symbol=self.symbols[told.symbol],
            side=told.side,
            cl_ord_id=self._next_id(),
            orig_cl_ord_id=order.cl_ord_id if order else name.encode(),
        )

    def _replace(self, order: Order, price: int, qty: int, new_name: str = "") -> bool:
        reports = self._send(
            CommandKind.REPLACE,
            symbol=order.symbol,
            side=order.side,
            ord_type=OrderType.LIMIT,
            tif=order.tif,
            price_ticks=price,
            qty_lots=qty,
            cl_ord_id=self._next_id(),
            orig_cl_ord_id=order.cl_ord_id,
        )
        is_accepted = bool(reports[0]["kind"] == ReportKind.REPLACED)
        if is_accepted and new_name:
            self.names[order.order_id] = new_name
        self._note_fills(reports)
        return is_accepted

    def _note_fills(self, reports: NDArray[Any]) -> None:
        for report in reports:
            if report["kind"] == ReportKind.TRADE and report["liquidity"] == Liquidity.ADDED:
                resting = self.names[int(report["order_id"])]
                aggressor = self.names[int(report["contra_order_id"])]
                last = (int(report["last_px"]), int(report["last_qty"]))
                self.outcome.fills.append((resting, aggressor, *last))

    def _next_id(self) -> bytes:
        return b"request-%d" % self.outcome.requests

    def _send(self, kind: CommandKind, **fields: Any) -> NDArray[Any]:
        self.outcome.requests += 1
        reports = self._process(
            kind, session=_SESSION, epoch=1, inbound_seq=self.outcome.requests, **fields
        )
        if reports[0]["status"] == OrderStatus.REJECTED or (
            reports[0]["kind"] == ReportKind.CANCEL_REJECTED
        ):
            self.outcome.refused += 1
        return reports

    def _process(self, kind: CommandKind, **fields: Any) -> NDArray[Any]:
        command = np.zeros(1, COMMAND)[0]
        command["kind"] = kind
        for name, value in fields.items():
            command[name] = value
        if kind == CommandKind.ADD_SYMBOL:
            command["price_ticks"], command["price2_ticks"] = 1, 10**12
        command["seq"] = self.book.seq + 1
        return self.book.process(command)

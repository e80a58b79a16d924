"""An auditor who knows only what was reported, and holds it against what the book shows.

It repeats no engine's work: it never matches. It checks that each fill was due (the best price, the
first in time, the resting order's price, as much as both had), keeps every order's balance, and
compares the open ones with the book's levels, queues and indexes, found without engine/snapshot.py.
"""

from bisect import insort
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openoutcry.engine.book import Book
from openoutcry.engine.enums import (
    CommandFlag,
    CommandKind,
    Liquidity,
    OrderStatus,
    OrderType,
    ReplacePolicy,
    ReportKind,
    Side,
    TimeInForce,
)
from openoutcry.engine.market import best_price, depth, depth_at, find_order
from openoutcry.engine.records import COMMAND, DEPTH_LEVEL, NIL


@dataclass
class Account:
    """An order by its reports: `qty` is `leaves + traded + canceled`, always."""

    order_id: int
    symbol: int
    side: int
    ord_type: int
    tif: int
    session: int
    account: int
    name: bytes
    price: int
    qty: int
    leaves: int
    traded: int = 0
    canceled: int = 0
    notional: int = 0
    #: Its turn among equals, from when it last came to rest; None: it does not rest.
    turn: int | None = None

    @property
    def key(self) -> tuple[int, int, int]:
        """Sort by price, better ones first, then by turn (and never by more)."""
        assert self.turn is not None
        return (-self.price if self.side == Side.BUY else self.price), self.turn, self.order_id


class Audit:
    """Takes each command with its reports; an AssertionError is a finding."""

    def __init__(self) -> None:
        self.accounts: dict[int, Account] = {}
        #: Keys of the resting orders of a symbol's side, in priority.
        self.resting: dict[tuple[int, int], list[tuple[int, int, int]]] = {}
        self.policies: dict[int, int] = {}
        self.traded = {Side.BUY: 0, Side.SELL: 0}
        self.turns = 0
        self.report_seq = 0

    # --- What was reported ---

    def take(self, command: Any, reports: NDArray[Any]) -> None:
        """Book a command's reports."""
        if command["kind"] == CommandKind.ADD_SYMBOL and not len(reports):
            self.policies[int(command["symbol"])] = int(command["flags"]) & 1
        for row in reports:
            self.report_seq += 1
            assert row["report_seq"] == self.report_seq
            assert (row["seq"], row["time_ns"]) == (command["seq"], command["time_ns"])
        if command["kind"] in (CommandKind.MASS_CANCEL, CommandKind.MASS_STATUS):
            self._mass(command, reports)
        aggressor: Account | None = None
        n = 0
        while n < len(reports):
            row = reports[n]
            kind = int(row["kind"])
            if kind == ReportKind.TRADE:
                assert aggressor is not None
                self._trade(aggressor, row, reports[n + 1])
                n += 1
            elif kind == ReportKind.NEW:
                aggressor = self._new(row)
            elif kind == ReportKind.REPLACED:
                aggressor = self._replaced(row)
            elif kind == ReportKind.CANCELED:
                self._canceled(row)
            elif kind == ReportKind.MASS_STATUS:
                assert row["orig_cl_ord_id"] == command["cl_ord_id"]
                self._unchanged(row)
            elif kind not in (ReportKind.MASS_CANCELED, ReportKind.MASS_STATUS_END):
                assert len(reports) == 1, "a declined request has one report"
                self._unchanged(row)
            n += 1
        if aggressor is not None and aggressor.leaves and aggressor.turn is None:
            self._rest(aggressor)
        if aggressor is not None and aggressor.tif == TimeInForce.FOK:
            assert aggressor.traded in (0, aggressor.qty), "fill or kill"

    def _mass(self, command: Any, reports: NDArray[Any]) -> None:
        """Check before they are booked that the reports are about the right orders, each once."""
        last = reports[-1]
        if last["reason"]:
            assert len(reports) == 1, "a declined request has one report"
            return
        is_cancel = command["kind"] == CommandKind.MASS_CANCEL
        kinds = (ReportKind.MASS_STATUS, ReportKind.MASS_STATUS_END)
        if is_cancel:
            kinds = (ReportKind.CANCELED, ReportKind.MASS_CANCELED)
        assert set(reports[:-1]["kind"].tolist()) <= {kinds[0]}
        assert last["kind"] == kinds[1]
        asked = {name: int(command[name]) for name in ("symbol", "side", "session")}
        wanted = [
            one.order_id
            for one in self.accounts.values()
            if one.turn is not None
            and one.session == asked["session"]
            and asked["symbol"] in (-1, one.symbol)
            and asked["side"] in (0, one.side)
            and command["account"] in (0, one.account)
            and command["orig0"] in (0, one.order_id)
            and not (
                is_cancel and command["flags"] & CommandFlag.KEEP_GTC and one.tif == TimeInForce.GTC
            )
        ]
        assert reports[:-1]["order_id"].tolist() == sorted(wanted)
        assert last["qty_lots"] == len(wanted)

    def _new(self, row: Any) -> Account:
        order_id, qty = int(row["order_id"]), int(row["qty_lots"])
        assert order_id not in self.accounts, "an order_id is never used again"
        account = Account(
            order_id=order_id,
            **{
                name: int(row[name])
                for name in ("symbol", "side", "ord_type", "tif", "session", "account")
            },
            name=bytes(row["cl_ord_id"]),
            price=int(row["price_ticks"]),
            qty=qty,
            leaves=qty,
        )
        self.accounts[order_id] = account
        self._agrees(account, row)
        return account

    def _trade(self, account: Account, taken: Any, given: Any) -> None:
        """Book the two reports of a fill, and check that it was due."""
        other = self.accounts[int(taken["contra_order_id"])]
        assert (taken["order_id"], given["order_id"]) == (account.order_id, other.order_id)
        assert given["contra_order_id"] == account.order_id
        assert (taken["liquidity"], given["liquidity"]) == (Liquidity.REMOVED, Liquidity.ADDED)
        assert given["kind"] == ReportKind.TRADE
        assert account.side != other.side
        assert account.symbol == other.symbol
        for name in ("last_px", "last_qty", "trade_id"):
            assert taken[name] == given[name], name
        price, qty = int(taken["last_px"]), int(taken["last_qty"])
        assert taken["trade_id"] & ((1 << 48) - 1) == taken["report_seq"]
        queue = self.resting[other.symbol, other.side]
        assert queue[0] == other.key, "an order with a better price or an earlier turn waits"
        assert price == other.price, "a fill is at the resting order's price"
        if account.ord_type == OrderType.LIMIT:
            assert price <= account.price if account.side == Side.BUY else price >= account.price
        assert qty == min(account.leaves, other.leaves) > 0
        for one, row in ((account, taken), (other, given)):
            one.traded += qty
            one.leaves -= qty
            one.notional += qty * price
            self.traded[Side(one.side)] += qty
            self._agrees(one, row)
        if not other.leaves:
            del queue[0]
            other.turn = None

    def _replaced(self, row: Any) -> Account:
        account = self.accounts[int(row["order_id"])]
        price, qty = int(row["price_ticks"]), int(row["qty_lots"])
        keeps = price == account.price and qty <= account.qty
        if not keeps or self.policies[account.symbol] == ReplacePolicy.ALWAYS_REQUEUE:
            self._leave(account)
        assert row["orig_cl_ord_id"] == account.name
        account.name = bytes(row["cl_ord_id"])
        account.price, account.qty = price, qty
        account.leaves = qty - account.traded
        self._agrees(account, row)
        return account

    def _canceled(self, row: Any) -> None:
        account = self.accounts[int(row["order_id"])]
        assert account.leaves > 0, "nothing is left to cancel"
        if account.turn is not None:
            self._leave(account)
        account.canceled += account.leaves
        account.leaves = 0
        self._agrees(account, row)

    def _unchanged(self, row: Any) -> None:
        if row["order_id"]:
            self._agrees(self.accounts[int(row["order_id"])], row)

    def _rest(self, account: Account) -> None:
        assert account.ord_type == OrderType.LIMIT, "a market order rests"
        assert account.tif in (TimeInForce.DAY, TimeInForce.GTC), "an IOC or FOK rests"
        self.turns += 1
        account.turn = self.turns
        insort(self.resting.setdefault((account.symbol, account.side), []), account.key)

    def _leave(self, account: Account) -> None:
        self.resting[account.symbol, account.side].remove(account.key)
        account.turn = None

    @staticmethod
    def _agrees(account: Account, row: Any) -> None:
        """Check a report's figures against the order's balance."""
        assert account.qty == account.leaves + account.traded + account.canceled
        assert row["price_ticks"] == account.price
        assert row["qty_lots"] == account.qty
        assert row["cum_qty"] == account.traded
        assert row["leaves_qty"] == account.leaves
        assert (int(row["notional_hi"]) << 64) + int(row["notional_lo"]) == account.notional
        if account.canceled:
            status = OrderStatus.CANCELED
        elif not account.leaves:
            status = OrderStatus.FILLED
        else:
            status = OrderStatus.PARTIALLY_FILLED if account.traded else OrderStatus.NEW
        assert row["status"] == status

    # --- What the book shows ---

    def check(self, book: Book) -> None:
        """Compare all open orders with the book."""
        assert self.traded[Side.BUY] == self.traded[Side.SELL], "bought is not sold"
        rows = np.zeros(book.level_capacity, DEPTH_LEVEL)
        for symbol in self.policies:
            for side in Side:
                waiting = [
                    self.accounts[order_id]
                    for _, _, order_id in self.resting.get((symbol, int(side)), ())
                ]
                self._check_side(book, symbol, side, waiting, rows)
            bid, is_bid = best_price(book, symbol, int(Side.BUY))
            ask, is_ask = best_price(book, symbol, int(Side.SELL))
            assert not (is_bid and is_ask and bid >= ask), f"crossed: {bid} and {ask}"
        self._check_identifiers(book)

    @staticmethod
    def _check_side(
        book: Book, symbol: int, side: Side, waiting: list[Account], rows: NDArray[Any]
    ) -> None:
        queue = []
        shown = rows[: depth(book, symbol, int(side), rows)]
        for price in shown["price_ticks"].tolist():
            levels = np.flatnonzero(
                (book.levels["price_ticks"] == price)
                & (book.levels["side"] == symbol * 2 + side - 1)
                & (book.levels["is_used"] == 1)
            )
            assert len(levels) == 1, f"the price {price} has the levels {levels}"
            order = int(book.levels[int(levels[0])]["head"])
            while order != NIL:
                row = book.orders[order]
                order_id = int(book.details[int(row["detail"])]["order_id"])
                queue.append((order_id, int(row["leaves_qty"]), price))
                order = int(row["next"])
        assert queue == [(one.order_id, one.leaves, one.price) for one in waiting]
        totals = []
        for price, group in groupby(waiting, lambda one: one.price):
            members = list(group)
            totals.append((price, sum(one.leaves for one in members), len(members)))
            assert depth_at(book, symbol, int(side), price) == totals[-1][1]
        assert [tuple(row) for row in shown.tolist()] == totals

    def _check_identifiers(self, book: Book) -> None:
        """Check that the open orders are found by name, and no finished one is."""
        names = {
            (one.session, one.name): one for one in self.accounts.values() if one.turn is not None
        }
        request = np.zeros(1, COMMAND)
        for one in self.accounts.values():
            request["session"], request["cl_ord_id"] = one.session, one.name
            row = int(find_order(book, request, 0))
            holder = names.get((one.session, one.name))
            found = None if row == NIL else int(book.details[row]["order_id"])
            assert found == (holder.order_id if holder else None), one

"""The book a second time, in plain Python and fast enough for tens of millions of commands.

Written from docs/engine.md and the drawing of REPORT, and built unlike `oracle.book` as well as
unlike the kernels, so that three authors would have to make the same mistake: prices are *ranks*
(the smaller is the better one, on both sides), a price's queue is an ordered dict from which any
order leaves in one step, the best price is the top of a heap that is cleaned when it is looked at,
and a report is packed into its 192 bytes at once, without numpy.

It knows what an in-process engine does by default. Inbound numbers, a window of finished orders and
the day's end are refused with NotImplementedError.
"""

from collections import OrderedDict
from collections.abc import Iterable
from heapq import heappop, heappush
from struct import Struct
from typing import Any

from numpy.typing import NDArray

from openoutcry.engine.enums import CommandKind, OrderStatus, RejectReason, ReportKind

#: Command fields that an answer depends on, in the order in which `Ledger.execute` takes them.
COLUMNS = (
    *("kind", "seq", "time_ns", "inbound_seq", "session", "epoch", "account", "symbol", "side"),
    *("ord_type", "tif", "price_ticks", "qty_lots", "cl_ord_id", "orig_cl_ord_id"),
    *("reject_reason", "flags", "price2_ticks", "qty2_lots"),
)

# REPORT: nine words from report_seq to inbound_seq; session, epoch, account, symbol; the two
# identifiers, or one and the four words of a fill; notional; kind, status, side, ord_type, tif,
# liquidity or response_to, reason.
_PLAIN = Struct("<9q3Ii40s40sQq6BH").pack
_FILL = Struct("<9q3Ii40s4q8xQq6BH").pack
_WORD = (1 << 64) - 1
_INT64_MAX = (1 << 63) - 1

# Plain integers: looking an enum's member up costs more than half of the rest.
_NEW, _CANCEL, _REPLACE, _STATUS, _MASS_CANCEL, _MASS_STATUS = 1, 2, 3, 4, 5, 6
_ADD_SYMBOL, _TIME, _DAY_END, _START, _CAPACITY = 16, 17, 18, 19, 20
_MARKET, _LIMIT = 1, 2
_DAY, _GTC, _IOC, _FOK = 0, 1, 3, 4
_BUY, _SELL = 1, 2
assert tuple(CommandKind) == (
    *(_NEW, _CANCEL, _REPLACE, _STATUS, _MASS_CANCEL, _MASS_STATUS),
    *(_ADD_SYMBOL, _TIME, _DAY_END, _START, _CAPACITY),
)

_R_NEW, _R_TRADE, _R_CANCELED, _R_REPLACED = (
    int(ReportKind[name]) for name in ("NEW", "TRADE", "CANCELED", "REPLACED")
)
_R_REJECTED, _R_STATUS, _R_CANCEL_REJECTED = (
    int(ReportKind[name]) for name in ("REJECTED", "STATUS", "CANCEL_REJECTED")
)
_R_MASS_CANCELED, _R_MASS_STATUS, _R_MASS_STATUS_END = (
    int(ReportKind[name]) for name in ("MASS_CANCELED", "MASS_STATUS", "MASS_STATUS_END")
)
_OPEN_UNTOUCHED, _OPEN_TOUCHED, _FILLED, _CANCELED, _REJECTED = (
    int(OrderStatus[name]) for name in ("NEW", "PARTIALLY_FILLED", "FILLED", "CANCELED", "REJECTED")
)


class Entry:
    """An order: who, what, and how far it has come."""

    __slots__ = (
        *("order_id", "name", "session", "epoch", "account", "symbol", "side", "ord_type", "tif"),
        *("price", "rank", "qty", "cum", "notional"),
    )

    order_id: int
    name: bytes
    session: int
    epoch: int
    account: int
    symbol: int
    side: int
    ord_type: int
    tif: int
    price: int
    rank: int
    qty: int
    cum: int
    notional: int


class Queue(OrderedDict[int, Entry]):
    """The orders at one price, first come first, by order_id; `lots` is what they have left."""

    lots = 0


class Page:
    """One side of a symbol: queues by rank, and a heap with at least the ranks in use."""

    def __init__(self) -> None:
        self.queues: dict[int, Queue] = {}
        self.heap: list[int] = []
        self.in_heap: set[int] = set()

    def best(self) -> int | None:
        """Return the best rank with orders, or None."""
        heap = self.heap
        while heap:
            if heap[0] in self.queues:
                return heap[0]
            self.in_heap.remove(heappop(heap))
        return None


class Sheet:
    """A symbol: its limits and its two pages, by side."""

    def __init__(self) -> None:
        self.pages = {_BUY: Page(), _SELL: Page()}
        self.price_min = self.price_max = self.qty_min = self.qty_max = 0
        self.always_requeues = False


class Ledger:
    """All books of an engine; `process` answers an array of commands with the reports' bytes."""

    def __init__(
        self,
        open_orders: int = 1 << 62,
        finished_orders: int = 0,
        levels: int = 1 << 62,
        symbols: int = 1024,
        sessions: int = 4096,
        shard: int = 0,
    ) -> None:
        if finished_orders:
            raise NotImplementedError("the ledger remembers no finished orders")
        self.order_limit = open_orders
        self.level_limit = levels
        self.symbol_limit = symbols
        self.session_limit = sessions
        self.shard = shard << 48
        self.sheets: dict[int, Sheet] = {}
        self.open: dict[tuple[int, bytes], Entry] = {}
        self.level_count = 0
        self.report_seq = 0
        self._rows: list[bytes] = []
        self._seq = self._time_ns = self._inbound_seq = self._epoch = 0

    def process(self, commands: NDArray[Any]) -> bytes:
        """Execute an array of COMMAND; return its reports as the bytes of an array of REPORT."""
        return self.execute(zip(*(commands[name].tolist() for name in COLUMNS), strict=True))

    def execute(self, commands: Iterable[tuple[Any, ...]]) -> bytes:
        """Execute commands given as tuples of COLUMNS."""
        self._rows = []
        for command in commands:
            kind = command[0]
            self._seq, self._time_ns, self._inbound_seq, session, self._epoch = command[1:6]
            if kind >= _ADD_SYMBOL:
                self._control(command)
            elif session >= self.session_limit:
                self._decline(command, RejectReason.SESSION_CAPACITY)
            elif session and self._inbound_seq:
                raise NotImplementedError("the ledger keeps no inbound numbers")
            elif kind == _NEW:
                self._new(command)
            elif kind == _CANCEL:
                self._cancel(command)
            elif kind == _REPLACE:
                self._replace(command)
            elif kind == _STATUS:
                order = self._own(command, command[13])
                self._decline(command, self._request_reason(command, order), order)
            elif kind == _MASS_CANCEL or kind == _MASS_STATUS:
                self._mass(command)
            else:
                self._decline(command, RejectReason.UNSUPPORTED_ORDER_TYPE)
        return b"".join(self._rows)

    # --- Control ---

    def _control(self, command: tuple[Any, ...]) -> None:
        kind, symbol, price_min, qty_min = command[0], command[7], command[11], command[12]
        reject_reason, flags, price_max, qty_max = command[15:]
        if kind == _DAY_END:
            raise NotImplementedError("the ledger knows no day")
        if reject_reason:
            self._decline(command, reject_reason)
        elif kind == _ADD_SYMBOL:
            if not 0 <= symbol < self.symbol_limit:
                self._decline(command, RejectReason.UNKNOWN_SYMBOL)
            elif price_min > price_max:
                self._decline(command, RejectReason.PRICE_OUT_OF_RANGE)
            elif qty_min < 1 or qty_min > qty_max:
                self._decline(command, RejectReason.QTY_OUT_OF_RANGE)
            else:
                sheet = self.sheets.setdefault(symbol, Sheet())
                sheet.price_min, sheet.price_max = price_min, price_max
                sheet.qty_min, sheet.qty_max = qty_min, qty_max
                sheet.always_requeues = flags % 2 == 1
        elif kind not in (_TIME, _START, _CAPACITY):
            self._decline(command, RejectReason.UNSUPPORTED_ORDER_TYPE)

    # --- The three requests ---

    def _new(self, command: tuple[Any, ...]) -> None:
        _, seq, _, _, session, epoch, account, symbol, side, ord_type, tif = command[:11]
        price, qty, name, old_name, reason, flags = command[11:17]
        sheet = self.sheets.get(symbol)
        known = self.open.get((session, name)) if flags & 2 else None
        if known is not None:
            # It may have come before, and did: the order's state is all there is to tell.
            self._answer(_R_STATUS, known, self._touched(known), name, old_name)
            return
        if reason:
            pass
        elif sheet is None:
            reason = RejectReason.UNKNOWN_SYMBOL
        elif side != _BUY and side != _SELL:
            reason = RejectReason.INVALID_SIDE
        elif ord_type != _LIMIT and ord_type != _MARKET:
            reason = RejectReason.UNSUPPORTED_ORDER_TYPE
        elif tif != _GTC and tif != _IOC and tif != _DAY and tif != _FOK:
            reason = RejectReason.UNSUPPORTED_TIME_IN_FORCE
        elif qty < sheet.qty_min or qty > sheet.qty_max:
            reason = RejectReason.QTY_OUT_OF_RANGE
        elif ord_type == _LIMIT and not sheet.price_min <= price <= sheet.price_max:
            reason = RejectReason.PRICE_OUT_OF_RANGE
        elif (session, name) in self.open:
            reason = RejectReason.DUPLICATE_CL_ORD_ID
        elif ord_type == _LIMIT and tif <= _GTC:
            # It may come to rest: room for it is asked for before anything happens.
            queue = sheet.pages[side].queues.get(-price if side == _BUY else price)
            if len(self.open) >= self.order_limit:
                reason = RejectReason.ORDER_CAPACITY
            elif queue is None:
                if self.level_count >= self.level_limit:
                    reason = RejectReason.LEVEL_CAPACITY
            elif queue.lots + qty > _INT64_MAX:
                reason = RejectReason.LEVEL_QTY_OVERFLOW
        if reason or sheet is None:
            self._decline(command, reason)
            return
        order = Entry()
        order.order_id = self.shard + seq
        order.name, order.session, order.epoch, order.account = name, session, epoch, account
        order.symbol, order.side, order.ord_type, order.tif = symbol, side, ord_type, tif
        order.price = price if ord_type == _LIMIT else 0
        order.rank = -order.price if side == _BUY else order.price
        order.qty = qty
        order.cum = order.notional = 0
        self._answer(_R_NEW, order, _OPEN_UNTOUCHED, name)
        self._match(sheet, order)

    def _cancel(self, command: tuple[Any, ...]) -> None:
        order = self._own(command, command[14])
        reason = self._request_reason(command, order)
        if reason or order is None:
            self._decline(command, reason, order)
            return
        self._take_out(self.sheets[order.symbol].pages[order.side], order)
        self._answer(_R_CANCELED, order, _CANCELED, command[13], command[14])

    def _replace(self, command: tuple[Any, ...]) -> None:
        price, qty, name, old_name = command[11:15]
        order = self._own(command, old_name)
        known = self.open.get((command[4], name)) if command[16] & 2 else None
        if known is not None and known is not order:
            self._answer(_R_STATUS, known, self._touched(known), name, old_name)
            return
        reason = self._request_reason(command, order)
        if not reason and order is not None:
            if command[16] % 2:
                # CommandFlag.OPEN_QTY: what was filled comes on top.
                qty = qty + order.cum if qty > 0 else 0
            reason = self._replace_reason(command, order, qty)
        if reason or order is None:
            self._decline(command, reason, order)
            return
        sheet = self.sheets[order.symbol]
        page = sheet.pages[order.side]
        keeps_place = price == order.price and qty <= order.qty and not sheet.always_requeues
        if keeps_place:
            page.queues[order.rank].lots -= order.qty - qty
            del self.open[order.session, order.name]
            self.open[order.session, name] = order
        else:
            self._take_out(page, order)
        order.name, order.epoch = name, self._epoch
        order.price, order.qty = price, qty
        order.rank = -price if order.side == _BUY else price
        self._answer(_R_REPLACED, order, self._touched(order), name, old_name)
        if not keeps_place:
            self._match(sheet, order)

    def _replace_reason(self, command: tuple[Any, ...], order: Entry, qty: int) -> int:
        session, ord_type, tif, price, name = command[4], *command[9:12], command[13]
        sheet = self.sheets[order.symbol]
        if ord_type != 0 and ord_type != _LIMIT:
            return RejectReason.UNSUPPORTED_ORDER_TYPE
        if tif != _DAY and tif != _GTC:
            return RejectReason.UNSUPPORTED_TIME_IN_FORCE
        if qty < sheet.qty_min or qty > sheet.qty_max:
            return RejectReason.QTY_OUT_OF_RANGE
        if not sheet.price_min <= price <= sheet.price_max:
            return RejectReason.PRICE_OUT_OF_RANGE
        # Its own present name is no other order's: the order keeps it.
        if self.open.get((session, name), order) is not order:
            return RejectReason.DUPLICATE_CL_ORD_ID
        if qty <= order.cum:
            return RejectReason.QTY_NOT_ABOVE_CUM_QTY
        queues = sheet.pages[order.side].queues
        queue = queues.get(-price if order.side == _BUY else price)
        if queue is None:
            if self.level_count >= self.level_limit and len(queues[order.rank]) > 1:
                return RejectReason.LEVEL_CAPACITY
            return 0
        lots = queue.lots + qty - order.cum
        if price == order.price:
            lots -= order.qty - order.cum
        return RejectReason.LEVEL_QTY_OVERFLOW if lots > _INT64_MAX else 0

    def _own(self, command: tuple[Any, ...], name: bytes) -> Entry | None:
        """Find a session's open order of the command's symbol."""
        order = self.open.get((command[4], name))
        return order if order is not None and order.symbol == command[7] else None

    @staticmethod
    def _request_reason(command: tuple[Any, ...], order: Entry | None) -> int:
        if command[15]:
            return int(command[15])
        if order is None:
            return RejectReason.UNKNOWN_ORDER
        if command[8] and command[8] != order.side:
            return RejectReason.SIDE_MISMATCH
        return 0

    @staticmethod
    def _touched(order: Entry) -> int:
        return _OPEN_TOUCHED if order.cum else _OPEN_UNTOUCHED

    # --- All of a session at once ---

    def _mass(self, command: tuple[Any, ...]) -> None:
        kind, session, account, symbol, side = command[0], command[4], *command[6:9]
        name, reason, flags = command[13], command[15], command[16]
        wanted = int.from_bytes(command[14][:8], "little")
        if not reason and symbol != -1 and symbol not in self.sheets:
            reason = RejectReason.UNKNOWN_SYMBOL
        if not reason and side > _SELL:
            reason = RejectReason.INVALID_SIDE
        found = 0
        if not reason:
            why = 81 if flags & 8 else 82 if flags & 16 else 80
            mine = [order for key, order in self.open.items() if key[0] == session]
            for order in sorted(mine, key=lambda order: order.order_id):
                if (
                    (symbol != -1 and order.symbol != symbol)
                    or (side and order.side != side)
                    or (account and order.account != account)
                    or wanted not in (0, order.order_id)
                ):
                    continue
                if kind == _MASS_STATUS:
                    self._answer(_R_MASS_STATUS, order, self._touched(order), order.name, name)
                elif flags & 4 and order.tif == _GTC:
                    continue
                else:
                    self._take_out(self.sheets[order.symbol].pages[order.side], order)
                    self._answer(_R_CANCELED, order, _CANCELED, order.name, b"", 0, why)
                found += 1
        self._decline(command, reason, None, found)

    # --- The book ---

    def _match(self, sheet: Sheet, order: Entry) -> None:
        """Fill an accepted order as far as it goes; then it rests, is canceled, or is done."""
        page = sheet.pages[_SELL if order.side == _BUY else _BUY]
        # The worst rank that it may trade with: the other side's ranks have the other sign.
        limit = -order.rank if order.ord_type == _LIMIT else _INT64_MAX + 1
        left = order.qty - order.cum
        if order.tif != _FOK or self._within(page, limit) >= left:
            best = page.best()
            while best is not None and best <= limit:
                left = self._sweep(page, best, order, left)
                if not left:
                    return
                best = page.best()
        if order.ord_type == _LIMIT and order.tif <= _GTC:
            self._put_in(sheet.pages[order.side], order, left)
        else:
            self._answer(_R_CANCELED, order, _CANCELED, order.name)

    @staticmethod
    def _within(page: Page, limit: int) -> int:
        return sum(queue.lots for rank, queue in page.queues.items() if rank <= limit)

    def _sweep(self, page: Page, rank: int, order: Entry, left: int) -> int:
        """Trade with one price's orders until either side has nothing left; return what is left."""
        queue = page.queues[rank]
        while left and queue:
            other = next(iter(queue.values()))
            other_left = other.qty - other.cum
            lots = min(left, other_left)
            left -= lots
            self._fill(order, other, lots)
            queue.lots -= lots
            if lots == other_left:
                del queue[other.order_id]
                del self.open[other.session, other.name]
        if not queue:
            del page.queues[rank]
            self.level_count -= 1
        return left

    def _put_in(self, page: Page, order: Entry, left: int) -> None:
        rank = order.rank
        queue = page.queues.get(rank)
        if queue is None:
            queue = page.queues[rank] = Queue()
            self.level_count += 1
            if rank not in page.in_heap:
                page.in_heap.add(rank)
                heappush(page.heap, rank)
        queue[order.order_id] = order
        queue.lots += left
        self.open[order.session, order.name] = order

    def _take_out(self, page: Page, order: Entry) -> None:
        queue = page.queues[order.rank]
        del queue[order.order_id]
        queue.lots -= order.qty - order.cum
        if not queue:
            del page.queues[order.rank]
            self.level_count -= 1
        del self.open[order.session, order.name]

    # --- Reports ---

    def _answer(
        self, kind: int, order: Entry, status: int, name: bytes, old_name: bytes = b"", *tail: int
    ) -> None:
        """Report an order to its owner, who asked; `tail`: liquidity or response_to, reason."""
        self.report_seq += 1
        self._rows.append(
            _PLAIN(
                *(self.report_seq, self._seq, self._time_ns, order.order_id),
                *(order.price, order.qty, order.cum),
                0 if status == _CANCELED else order.qty - order.cum,
                *(self._inbound_seq, order.session, self._epoch, order.account, order.symbol),
                *(name, old_name, order.notional & _WORD, order.notional >> 64),
                *(kind, status, order.side, order.ord_type, order.tif, *(tail or (0, 0))),
            )
        )

    def _fill(self, order: Entry, other: Entry, lots: int) -> None:
        """Book a trade at the resting order's price, and report it to both."""
        price = other.price
        trade_id = self.shard + self.report_seq + 1
        for one, contra, inbound_seq, epoch, liquidity in (
            (order, other, self._inbound_seq, self._epoch, 2),
            (other, order, 0, other.epoch, 1),
        ):
            one.cum += lots
            one.notional += lots * price
            left = one.qty - one.cum
            self.report_seq += 1
            self._rows.append(
                _FILL(
                    *(self.report_seq, self._seq, self._time_ns, one.order_id),
                    *(one.price, one.qty, one.cum, left, inbound_seq),
                    *(one.session, epoch, one.account, one.symbol, one.name),
                    *(price, lots, trade_id, contra.order_id),
                    *(one.notional & _WORD, one.notional >> 64, _R_TRADE),
                    *(_OPEN_TOUCHED if left else _FILLED, one.side, one.ord_type, one.tif),
                    *(liquidity, 0),
                )
            )

    def _decline(
        self, command: tuple[Any, ...], reason: int, order: Entry | None = None, found: int = 0
    ) -> None:
        """Answer a request that changes nothing, with the order's state where there is one.

        A mass request ends with this one, too: `found` is how many orders it was about.
        """
        kind, seq, time_ns, inbound_seq, session, epoch, account, symbol = command[:8]
        side, ord_type, tif, price, qty, name, old_name = command[8:15]
        if kind == _CANCEL or kind == _REPLACE:
            report_kind, response_to = _R_CANCEL_REJECTED, kind
        else:
            report_kind, response_to = _R_STATUS if kind == _STATUS else _R_REJECTED, 0
        status = _REJECTED
        if kind == _MASS_CANCEL or kind == _MASS_STATUS:
            report_kind = _R_MASS_CANCELED if kind == _MASS_CANCEL else _R_MASS_STATUS_END
            status, qty = _REJECTED if reason else 0, found
        if order is not None:
            status = self._touched(order)
            self._answer(report_kind, order, status, name, old_name, response_to, reason)
            return
        self.report_seq += 1
        self._rows.append(
            _PLAIN(
                *(self.report_seq, seq, time_ns, 0, price, qty, 0, 0, inbound_seq),
                *(session, epoch, account, symbol, name, old_name, 0, 0),
                *(report_kind, status, side, ord_type, tif, response_to, reason),
            )
        )

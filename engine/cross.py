"""Crossing and resting: what an accepted order does in the book, by price, then time."""

from typing import Any

from numpy.typing import NDArray

from openoutcry.config.jit import int64, lean_part
from openoutcry.engine.arithmetic import add_notional
from openoutcry.engine.book import Book
from openoutcry.engine.enums import (
    EventKind,
    Liquidity,
    OrderStatus,
    OrderType,
    ReportKind,
    TimeInForce,
)
from openoutcry.engine.events import emit_event
from openoutcry.engine.levels import append_order, create_level, key_mask, next_level
from openoutcry.engine.orders import enter_id, finish, give_detail, leave_book, take_order
from openoutcry.engine.records import NIL
from openoutcry.engine.reports import answer, write_order, write_trade
from openoutcry.engine.words import INT64_MAX


@lean_part
def limit_key_of(price: int, ord_type: int, opposite: int) -> int:
    """Return the worst key of the opposite side at which an order may trade."""
    if ord_type == OrderType.MARKET:
        return int64(INT64_MAX)
    return price ^ key_mask(opposite)


@lean_part
def may_rest(ord_type: int, tif: int) -> bool:
    """Tell whether what is left of an order stays in the book."""
    return ord_type == OrderType.LIMIT and tif <= TimeInForce.GTC


@lean_part
def fills_at_most(book: Book, opposite: int, limit_key: int, qty: int) -> int:
    """Bound an order's fills on a side: a level gives at most its orders, or the lots."""
    levels = book.levels
    mask = key_mask(opposite)
    level = int64(book.sides[opposite]["best"])
    if level == NIL or book.sides[opposite]["best_key"] > limit_key:
        # As most orders: nothing but the side's row is looked at.
        return int64(0)
    fills = int64(0)
    while level != NIL and qty > 0 and (levels[level]["price_ticks"] ^ mask) <= limit_key:
        fills += min(int64(levels[level]["orders"]), qty)
        qty -= levels[level]["qty_lots"]
        level = next_level(book, opposite, level)
    return fills


@lean_part
def _can_fill(book: Book, opposite: int, limit_key: int, qty: int) -> bool:
    """Tell whether a side holds `qty` within a limit; level totals, so no order is looked at."""
    levels = book.levels
    mask = key_mask(opposite)
    level = int64(book.sides[opposite]["best"])
    while level != NIL and (levels[level]["price_ticks"] ^ mask) <= limit_key:
        qty -= levels[level]["qty_lots"]
        if qty <= 0:
            return True
        level = next_level(book, opposite, level)
    return False


@lean_part
def _add_fill(book: Book, detail: int, price: int, qty: int, leaves: int) -> int:
    """Count a fill into an order's sums; return its status."""
    order = book.details[detail]
    order["cum_qty"] += qty
    hi, lo = add_notional(order["notional_hi"], order["notional_lo"], price, qty)
    order["notional_hi"] = hi
    order["notional_lo"] = lo
    status = OrderStatus.PARTIALLY_FILLED.value
    if leaves == 0:
        status = OrderStatus.FILLED.value
    order["status"] = status
    return status


@lean_part
def _cross(
    book: Book,
    commands: NDArray[Any],
    i: int,
    detail: int,
    opposite: int,
    limit_key: int,
    leaves: int,
    reports: NDArray[Any],
    report_base: int,
    report_seq: int,
) -> tuple[int, int]:
    """Trade an order against the opposite side; return its leaves and report_seq."""
    details, levels, orders = book.details, book.levels, book.orders
    sides = book.sides
    order_id = details[detail]["order_id"]
    level = int64(sides[opposite]["best"])
    while leaves > 0 and level != NIL and sides[opposite]["best_key"] <= limit_key:
        price = levels[level]["price_ticks"]
        order = int64(levels[level]["head"])
        resting = int64(orders[order]["detail"])
        available = orders[order]["leaves_qty"]
        resting_id = details[resting]["order_id"]
        qty = min(leaves, available)
        leaves -= qty
        left = available - qty
        report_seq += 1
        trade_id = book.shard_base | report_seq
        trade = ReportKind.TRADE.value

        report = reports[report_seq - report_base]
        status = _add_fill(book, detail, price, qty, leaves)
        write_order(book, detail, report, report_seq, trade, status, leaves)
        write_trade(report, price, qty, trade_id, resting_id, Liquidity.REMOVED.value)
        answer(report, commands, i)

        report_seq += 1
        report = reports[report_seq - report_base]
        status = _add_fill(book, resting, price, qty, left)
        write_order(book, resting, report, report_seq, trade, status, left)
        write_trade(report, price, qty, trade_id, order_id, Liquidity.ADDED.value)

        kind = EventKind.EXECUTE.value
        emit_event(book, kind, opposite, resting_id, price, qty, left, trade_id)
        if left > 0:
            orders[order]["leaves_qty"] = left
            levels[level]["qty_lots"] -= qty
        else:
            leave_book(book, resting)
            finish(book, resting, OrderStatus.FILLED.value)
        level = int64(sides[opposite]["best"])
    return leaves, report_seq


@lean_part
def rest(book: Book, detail: int, side: int, level: int, leaves: int) -> None:
    """Put an order at the end of its price's queue."""
    details = book.details
    price = details[detail]["price_ticks"]
    if level == NIL:
        level = create_level(book, side, price)
    order = take_order(book)
    details[detail]["order"] = order
    book.orders[order]["detail"] = detail
    session = int64(details[detail]["session"])
    book.orders[order]["session"] = session
    book.marks[session]["open_orders"] += 1
    append_order(book, level, order, leaves)
    if details[detail]["tif"] == TimeInForce.DAY:
        book.symbols[side >> 1]["day_orders"] += 1
        book.state[0]["day_orders"] += 1
    kind = EventKind.ADD.value
    emit_event(book, kind, side, details[detail]["order_id"], price, leaves, leaves, 0)


@lean_part
def settle(
    book: Book,
    commands: NDArray[Any],
    i: int,
    detail: int,
    level: int,
    tag: int,
    reports: NDArray[Any],
    report_base: int,
    report_seq: int,
) -> int:
    """Match an accepted order, then let what remains rest, or cancel it; return report_seq."""
    details = book.details
    ord_type, tif = details[detail]["ord_type"], details[detail]["tif"]
    side = int64(details[detail]["symbol"]) * 2 + details[detail]["side"] - 1
    opposite = side ^ 1
    limit_key = limit_key_of(details[detail]["price_ticks"], ord_type, opposite)
    leaves = details[detail]["qty_lots"] - details[detail]["cum_qty"]
    if tif != TimeInForce.FOK or _can_fill(book, opposite, limit_key, leaves):
        leaves, report_seq = _cross(
            book,
            commands,
            i,
            detail,
            opposite,
            limit_key,
            leaves,
            reports,
            report_base,
            report_seq,
        )
    if leaves > 0 and may_rest(ord_type, tif):
        rest(book, detail, side, level, leaves)
        enter_id(book, tag, detail)
        return report_seq
    status = OrderStatus.FILLED.value
    if leaves > 0:
        status = OrderStatus.CANCELED.value
        report_seq += 1
        report = reports[report_seq - report_base]
        write_order(book, detail, report, report_seq, ReportKind.CANCELED.value, status, 0)
        answer(report, commands, i)
    if book.finished_capacity == 0:
        give_detail(book, detail)
    else:
        enter_id(book, tag, detail)
        finish(book, detail, status)
    return report_seq

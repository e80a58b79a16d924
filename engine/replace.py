"""Replace: a new identifier, price and quantity for an open order, with or without its place.

The order keeps its order_id, its fills, its type and its time in force. It keeps its place in the
queue when the price is the same and the quantity is not up (unless the symbol's policy says
otherwise); else it leaves the book here, and is matched and rests like a new order.
"""

from typing import Any

from numpy.typing import NDArray

from openoutcry.config.jit import int64, lean_part
from openoutcry.engine.accept import (
    copy_id,
    decline_unseen,
    find_taken,
    limits_reason,
    open_reason,
    own_detail,
)
from openoutcry.engine.book import Book
from openoutcry.engine.enums import (
    CommandFlag,
    EventKind,
    OrderStatus,
    OrderType,
    RejectReason,
    ReplacePolicy,
    ReportKind,
    TimeInForce,
)
from openoutcry.engine.events import emit_event
from openoutcry.engine.levels import find_level
from openoutcry.engine.orders import enter_id, find_orig, finish, leave_book, take_detail
from openoutcry.engine.records import NIL
from openoutcry.engine.reports import answer, copy_ids, write_order
from openoutcry.engine.table import remove_slot, slot_of
from openoutcry.engine.words import INT64_MAX


@lean_part
def _total_qty(book: Book, commands: NDArray[Any], i: int, detail: int) -> int:
    """Return the quantity that a replaced order is to have, filled included; 0 beyond int64."""
    qty = commands[i]["qty_lots"]
    if commands[i]["flags"] & CommandFlag.OPEN_QTY.value == 0:
        return qty
    cum = book.details[detail]["cum_qty"]
    # An open quantity below 1 is none: with the fills it might pass for one.
    if qty < 1 or qty > INT64_MAX - cum:
        return int64(0)
    return qty + cum


@lean_part
def _replace_reason(book: Book, commands: NDArray[Any], i: int, detail: int, tag: int) -> int:
    command = commands[i]
    reason = open_reason(book, commands, i, detail)
    if reason != 0:
        return reason
    # The order keeps its type and time in force; a request for a kind that cannot rest is declined.
    if command["ord_type"] != 0 and command["ord_type"] != OrderType.LIMIT:
        return RejectReason.UNSUPPORTED_ORDER_TYPE.value
    if command["tif"] > TimeInForce.GTC:
        return RejectReason.UNSUPPORTED_TIME_IN_FORCE.value
    price, qty = command["price_ticks"], _total_qty(book, commands, i, detail)
    reason = limits_reason(book, int64(command["symbol"]), True, price, qty)
    if reason != 0:
        return reason
    if find_taken(book, commands, i, tag, detail) != NIL:
        return RejectReason.DUPLICATE_CL_ORD_ID.value
    if qty <= book.details[detail]["cum_qty"]:
        return RejectReason.QTY_NOT_ABOVE_CUM_QTY.value
    return _replace_room_reason(book, detail, price, qty)


@lean_part
def _replace_room_reason(book: Book, detail: int, price: int, qty: int) -> int:
    """Check the level that a replaced order may go to; its own ORDER row and level come free."""
    levels, orders = book.levels, book.orders
    order = int64(book.details[detail]["order"])
    own_level = int64(orders[order]["level"])
    level = find_level(book, int64(levels[own_level]["side"]), price)
    if level == NIL:
        if book.state[0]["levels_used"] >= book.level_capacity and levels[own_level]["orders"] != 1:
            return RejectReason.LEVEL_CAPACITY.value
        return RejectReason.NONE.value
    others = levels[level]["qty_lots"]
    if level == own_level:
        others -= orders[order]["leaves_qty"]
    if others > INT64_MAX - (qty - book.details[detail]["cum_qty"]):
        return RejectReason.LEVEL_QTY_OVERFLOW.value
    return RejectReason.NONE.value


@lean_part
def _supersede(book: Book, detail: int) -> int:
    """Give up an order's old identifier; return its DETAIL row from now on, not in the id table."""
    if book.finished_capacity == 0:
        tag = int64(book.details[detail]["tag"])
        remove_slot(book.id_slots, book.id_bits, slot_of(tag, detail))
        return detail
    renamed = take_detail(book)
    book.details[renamed] = book.details[detail]
    finish(book, detail, OrderStatus.REPLACED.value)
    return renamed


@lean_part
def accept_replace(
    book: Book,
    commands: NDArray[Any],
    i: int,
    tag: int,
    new_tag: int,
    reports: NDArray[Any],
    row: int,
    report_seq: int,
) -> tuple[int, int]:
    """Decline a replace, or carry it out as far as the order's own queue goes, with one report.

    Return the DETAIL row of an order that lost its place and is now to be matched, or NIL, and the
    level of its new price.
    """
    command = commands[i]
    details, orders, levels = book.details, book.orders, book.levels
    nowhere = int64(NIL)
    detail = own_detail(book, commands, i, find_orig(book, commands, i, tag))
    reason = _replace_reason(book, commands, i, detail, new_tag)
    if reason != 0:
        decline_unseen(book, commands, i, new_tag, detail, reports, row, report_seq, reason)
        return nowhere, nowhere
    price, qty = command["price_ticks"], _total_qty(book, commands, i, detail)
    order = int64(details[detail]["order"])
    level = int64(orders[order]["level"])
    side = int64(levels[level]["side"])
    order_id = details[detail]["order_id"]
    old_price = details[detail]["price_ticks"]
    old_leaves = orders[order]["leaves_qty"]
    leaves = qty - details[detail]["cum_qty"]
    keeps_place = (
        price == old_price
        and leaves <= old_leaves
        and book.symbols[side >> 1]["replace_policy"] == ReplacePolicy.KEEP_ON_REDUCE
    )
    if keeps_place:
        detail = _supersede(book, detail)
        orders[order]["detail"] = detail
        orders[order]["leaves_qty"] = leaves
        if leaves < old_leaves:
            reduction = old_leaves - leaves
            levels[level]["qty_lots"] -= reduction
            kind = EventKind.REDUCE.value
            emit_event(book, kind, side, order_id, price, reduction, leaves, 0)
    else:
        kind = EventKind.DELETE.value
        emit_event(book, kind, side, order_id, old_price, old_leaves, 0, 0)
        leave_book(book, detail)
        detail = _supersede(book, detail)
        details[detail]["order"] = NIL
        level = find_level(book, side, price)
    copy_id(book, detail, commands, i)
    details[detail]["price_ticks"] = price
    details[detail]["qty_lots"] = qty
    report = reports[row]
    status = int64(details[detail]["status"])
    write_order(book, detail, report, report_seq, ReportKind.REPLACED.value, status, leaves)
    answer(report, commands, i)
    copy_ids(report, commands, i)
    if keeps_place:
        enter_id(book, new_tag, detail)
        return nowhere, nowhere
    return detail, level

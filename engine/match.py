"""The command processor: price-time priority matching as a pure function of the commands.

A command is executed whole or declined whole: everything it may need (ORDER row, level, room in the
level's total) is checked before its first effect, and callers make room for its reports beforehand with
`reports_needed`. There is no clock, no randomness and no float in here.

The checks of each kind are made in the order written, and the first that fails is the reason given.
What a new order and a requeued replace have in common, crossing and coming to rest, is in `_execute`.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from openoutcry.config.jit import inlined_kernel, lean_kernel, lean_part
from openoutcry.engine.arithmetic import add_notional
from openoutcry.engine.atomics import prefetch
from openoutcry.engine.book import Book
from openoutcry.engine.control import control_reports, process_control
from openoutcry.engine.enums import (
    CommandKind,
    EventKind,
    Liquidity,
    OrderStatus,
    OrderType,
    RejectReason,
    ReplacePolicy,
    ReportKind,
    TimeInForce,
)
from openoutcry.engine.events import emit_event
from openoutcry.engine.levels import append_order, create_level, find_level, key_mask
from openoutcry.engine.orders import (
    enter_id,
    find_id,
    find_orig,
    finish,
    give_detail,
    id_tag,
    leave_book,
    orig_tag,
    take_detail,
    take_order,
)
from openoutcry.engine.records import NIL
from openoutcry.engine.reports import (
    answer,
    copy_ids,
    decline,
    write_duplicate,
    write_order,
    write_trade,
)
from openoutcry.engine.table import home_of, remove_slot, row_of, slot_of
from openoutcry.engine.words import INT64_MAX

#: Commands between the one executed and the one whose memory is first asked for.
PREFETCH_DISTANCE = 12

# --- Room for reports -----------------------------------------------------------------------------


@lean_part
def _fills_at_most(book: Book, opposite: int, limit_key: int, qty: int) -> int:
    """Bound the fills of an order against a side: no level gives more fills than orders, or lots."""
    levels = book.levels
    mask = key_mask(opposite)
    level = np.int64(book.sides[opposite]["best"])
    fills = np.int64(0)
    while level != NIL and qty > 0 and (levels[level]["price_ticks"] ^ mask) <= limit_key:
        fills += min(np.int64(levels[level]["orders"]), qty)
        qty -= levels[level]["qty_lots"]
        level = np.int64(levels[level]["next"])
    return fills


@lean_part
def _limit_key(price: int, ord_type: int, opposite: int) -> int:
    """Return the worst key of the opposite side at which an order may trade."""
    if ord_type == OrderType.MARKET:
        return np.int64(INT64_MAX)
    return price ^ key_mask(opposite)


@lean_part
def _reports_needed(book: Book, commands: NDArray[Any], i: int) -> int:
    command = commands[i]
    kind = command["kind"]
    if kind == CommandKind.CANCEL or kind == CommandKind.STATUS:
        return np.int64(1)
    if kind >= CommandKind.ADD_SYMBOL:
        return control_reports(book, commands, i)
    symbol = np.int64(command["symbol"])
    if symbol < 0 or symbol >= book.symbol_capacity:
        return np.int64(1)
    qty = command["qty_lots"]
    side = command["side"]
    fills = np.int64(0)
    for own in range(2):
        # A replace may leave the side out: then both are counted.
        if side == own + 1 or (side == 0 and kind == CommandKind.REPLACE):
            opposite = symbol * 2 + 1 - own
            limit_key = _limit_key(command["price_ticks"], command["ord_type"], opposite)
            fills += _fills_at_most(book, opposite, limit_key, qty)
    return fills * 2 + 2


@lean_kernel
def reports_needed(book: Book, commands: NDArray[Any], i: int) -> int:
    """Return an upper bound of the reports that command `i` can yield on the book as it stands."""
    return _reports_needed(book, commands, i)


# --- New orders -----------------------------------------------------------------------------------


@lean_part
def _limits_reason(book: Book, symbol: int, is_priced: bool, price: int, qty: int) -> int:
    limits = book.symbols[symbol]
    if qty < limits["qty_min"] or qty > limits["qty_max"]:
        return RejectReason.QTY_OUT_OF_RANGE.value
    if is_priced and (price < limits["price_min"] or price > limits["price_max"]):
        return RejectReason.PRICE_OUT_OF_RANGE.value
    return RejectReason.NONE.value


@lean_part
def _new_reason(book: Book, commands: NDArray[Any], i: int) -> int:
    """Check what a new order says, before anything is looked up."""
    command = commands[i]
    if command["reject_reason"] != 0:
        return np.int64(command["reject_reason"])
    symbol = np.int64(command["symbol"])
    if symbol < 0 or symbol >= book.symbol_capacity or not book.symbols[symbol]["is_defined"]:
        return RejectReason.UNKNOWN_SYMBOL.value
    if command["side"] != 1 and command["side"] != 2:
        return RejectReason.INVALID_SIDE.value
    ord_type = command["ord_type"]
    if ord_type != OrderType.LIMIT and ord_type != OrderType.MARKET:
        return RejectReason.UNSUPPORTED_ORDER_TYPE.value
    tif = command["tif"]
    if tif > TimeInForce.FOK or tif == 2:
        return RejectReason.UNSUPPORTED_TIME_IN_FORCE.value
    return _limits_reason(
        book, symbol, ord_type == OrderType.LIMIT, command["price_ticks"], command["qty_lots"]
    )


@lean_part
def _may_rest(ord_type: int, tif: int) -> bool:
    return ord_type == OrderType.LIMIT and tif <= TimeInForce.GTC


@lean_part
def _room_reason(book: Book, level: int, qty: int) -> int:
    """Check that a new order, if it should come to rest, finds an ORDER row and a level."""
    state = book.state
    if state[0]["open_orders"] >= book.open_capacity:
        return RejectReason.ORDER_CAPACITY.value
    if level == NIL:
        if state[0]["levels_used"] >= book.level_capacity:
            return RejectReason.LEVEL_CAPACITY.value
    elif book.levels[level]["qty_lots"] > INT64_MAX - qty:
        return RejectReason.LEVEL_QTY_OVERFLOW.value
    return RejectReason.NONE.value


@lean_part
def _copy_id(book: Book, detail: int, commands: NDArray[Any], i: int) -> None:
    order, command = book.details[detail], commands[i]
    order["id0"] = command["id0"]
    order["id1"] = command["id1"]
    order["id2"] = command["id2"]
    order["id3"] = command["id3"]
    order["id4"] = command["id4"]
    order["epoch"] = command["epoch"]


@lean_part
def _fill_detail(book: Book, detail: int, commands: NDArray[Any], i: int) -> None:
    order, command = book.details[detail], commands[i]
    _copy_id(book, detail, commands, i)
    order["session"] = command["session"]
    order["order"] = NIL
    order["symbol"] = command["symbol"]
    order["order_id"] = book.shard_base | command["seq"]
    order["qty_lots"] = command["qty_lots"]
    order["cum_qty"] = 0
    order["price_ticks"] = command["price_ticks"]
    if command["ord_type"] == OrderType.MARKET:
        order["price_ticks"] = 0
    order["notional_lo"] = 0
    order["notional_hi"] = 0
    order["account"] = command["account"]
    order["firm"] = command["firm"]
    order["side"] = command["side"]
    order["ord_type"] = command["ord_type"]
    order["tif"] = command["tif"]
    order["status"] = OrderStatus.NEW.value
    order["expire_ns"] = command["expire_ns"]


@lean_part
def _accept_new(
    book: Book,
    commands: NDArray[Any],
    i: int,
    tag: int,
    reports: NDArray[Any],
    row: int,
    report_seq: int,
) -> tuple[int, int]:
    """Accept or decline a new order, with one report; return its DETAIL row (or NIL) and level."""
    command = commands[i]
    level = np.int64(NIL)
    reason = _new_reason(book, commands, i)
    if reason == 0 and find_id(book, commands, i, tag) != NIL:
        reason = RejectReason.DUPLICATE_CL_ORD_ID.value
    if reason == 0 and _may_rest(command["ord_type"], command["tif"]):
        side = np.int64(command["symbol"]) * 2 + command["side"] - 1
        level = find_level(book, side, command["price_ticks"])
        reason = _room_reason(book, level, command["qty_lots"])
    if reason != 0:
        decline(book, commands, i, NIL, reports, row, report_seq, reason)
        return np.int64(NIL), np.int64(NIL)
    detail = take_detail(book)
    _fill_detail(book, detail, commands, i)
    report = reports[row]
    write_order(
        book,
        detail,
        report,
        report_seq,
        ReportKind.NEW.value,
        OrderStatus.NEW.value,
        command["qty_lots"],
    )
    answer(report, commands, i)
    return detail, level


# --- Cancel and status ----------------------------------------------------------------------------


@lean_part
def _own_detail(book: Book, commands: NDArray[Any], i: int, detail: int) -> int:
    """Return NIL in place of an order of another symbol than the request's."""
    if detail != NIL and book.details[detail]["symbol"] != commands[i]["symbol"]:
        return np.int64(NIL)
    return detail


@lean_part
def _request_reason(book: Book, commands: NDArray[Any], i: int, detail: int) -> int:
    """Check a request about an order, whether it is open or not."""
    if commands[i]["reject_reason"] != 0:
        return np.int64(commands[i]["reject_reason"])
    if detail == NIL:
        return RejectReason.UNKNOWN_ORDER.value
    side = commands[i]["side"]
    if side != 0 and side != book.details[detail]["side"]:
        return RejectReason.SIDE_MISMATCH.value
    return RejectReason.NONE.value


@lean_part
def _open_reason(book: Book, commands: NDArray[Any], i: int, detail: int) -> int:
    """Check a request that needs an open order."""
    reason = _request_reason(book, commands, i, detail)
    if reason == 0 and book.details[detail]["order"] == NIL:
        if book.details[detail]["status"] == OrderStatus.REPLACED:
            return RejectReason.ORDER_REPLACED.value
        return RejectReason.TOO_LATE_TO_CANCEL.value
    return reason


@lean_part
def _cancel(
    book: Book,
    commands: NDArray[Any],
    i: int,
    tag: int,
    reports: NDArray[Any],
    row: int,
    report_seq: int,
) -> None:
    details = book.details
    detail = _own_detail(book, commands, i, find_orig(book, commands, i, tag))
    reason = _open_reason(book, commands, i, detail)
    if reason != 0:
        decline(book, commands, i, detail, reports, row, report_seq, reason)
        return
    report = reports[row]
    write_order(
        book,
        detail,
        report,
        report_seq,
        ReportKind.CANCELED.value,
        OrderStatus.CANCELED.value,
        0,
    )
    answer(report, commands, i)
    copy_ids(report, commands, i)
    emit_event(
        book,
        EventKind.DELETE.value,
        np.int64(details[detail]["symbol"]) * 2 + details[detail]["side"] - 1,
        details[detail]["order_id"],
        details[detail]["price_ticks"],
        book.orders[np.int64(details[detail]["order"])]["leaves_qty"],
        0,
        0,
    )
    leave_book(book, detail)
    finish(book, detail, OrderStatus.CANCELED.value)


@lean_part
def _status(
    book: Book,
    commands: NDArray[Any],
    i: int,
    tag: int,
    reports: NDArray[Any],
    row: int,
    report_seq: int,
) -> None:
    detail = _own_detail(book, commands, i, find_id(book, commands, i, tag))
    # A status request is always answered by the same report; what it could not tell is the reason.
    decline(
        book,
        commands,
        i,
        detail,
        reports,
        row,
        report_seq,
        _request_reason(book, commands, i, detail),
    )


# --- Replace --------------------------------------------------------------------------------------


@lean_part
def _replace_reason(book: Book, commands: NDArray[Any], i: int, detail: int, tag: int) -> int:
    command = commands[i]
    reason = _open_reason(book, commands, i, detail)
    if reason != 0:
        return reason
    # The order keeps its type and time in force; a request for a kind that cannot rest is declined.
    if command["ord_type"] != 0 and command["ord_type"] != OrderType.LIMIT:
        return RejectReason.UNSUPPORTED_ORDER_TYPE.value
    if command["tif"] > TimeInForce.GTC:
        return RejectReason.UNSUPPORTED_TIME_IN_FORCE.value
    price, qty = command["price_ticks"], command["qty_lots"]
    reason = _limits_reason(book, command["symbol"], True, price, qty)
    if reason != 0:
        return reason
    if find_id(book, commands, i, tag) != NIL:
        return RejectReason.DUPLICATE_CL_ORD_ID.value
    if qty <= book.details[detail]["cum_qty"]:
        return RejectReason.QTY_NOT_ABOVE_CUM_QTY.value
    return _replace_room_reason(book, detail, price, qty)


@lean_part
def _replace_room_reason(book: Book, detail: int, price: int, qty: int) -> int:
    """Check the level that a replaced order may go to; its own ORDER row and level come free."""
    levels, orders = book.levels, book.orders
    order = np.int64(book.details[detail]["order"])
    own_level = np.int64(orders[order]["level"])
    level = find_level(book, np.int64(levels[own_level]["side"]), price)
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
        tag = np.int64(book.details[detail]["tag"])
        remove_slot(book.id_slots, book.id_bits, slot_of(tag, detail))
        return detail
    renamed = take_detail(book)
    book.details[renamed] = book.details[detail]
    finish(book, detail, OrderStatus.REPLACED.value)
    return renamed


@lean_part
def _accept_replace(
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
    nowhere = np.int64(NIL)
    detail = _own_detail(book, commands, i, find_orig(book, commands, i, tag))
    reason = _replace_reason(book, commands, i, detail, new_tag)
    if reason != 0:
        decline(book, commands, i, detail, reports, row, report_seq, reason)
        return nowhere, nowhere
    price, qty = command["price_ticks"], command["qty_lots"]
    order = np.int64(details[detail]["order"])
    level = np.int64(orders[order]["level"])
    side = np.int64(levels[level]["side"])
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
    _copy_id(book, detail, commands, i)
    details[detail]["price_ticks"] = price
    details[detail]["qty_lots"] = qty
    report = reports[row]
    status = np.int64(details[detail]["status"])
    write_order(book, detail, report, report_seq, ReportKind.REPLACED.value, status, leaves)
    answer(report, commands, i)
    copy_ids(report, commands, i)
    if keeps_place:
        enter_id(book, new_tag, detail)
        return nowhere, nowhere
    return detail, level


# --- Crossing and resting -------------------------------------------------------------------------


@lean_part
def _can_fill(book: Book, opposite: int, limit_key: int, qty: int) -> bool:
    """Tell whether a side holds `qty` within a limit; level totals, so no order is looked at."""
    levels = book.levels
    mask = key_mask(opposite)
    level = np.int64(book.sides[opposite]["best"])
    while level != NIL and (levels[level]["price_ticks"] ^ mask) <= limit_key:
        qty -= levels[level]["qty_lots"]
        if qty <= 0:
            return True
        level = np.int64(levels[level]["next"])
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
    """Trade an order against the opposite side up to its limit; return its leaves and report_seq."""
    details, levels, orders = book.details, book.levels, book.orders
    mask = key_mask(opposite)
    order_id = details[detail]["order_id"]
    level = np.int64(book.sides[opposite]["best"])
    while leaves > 0 and level != NIL and (levels[level]["price_ticks"] ^ mask) <= limit_key:
        price = levels[level]["price_ticks"]
        order = np.int64(levels[level]["head"])
        resting = np.int64(orders[order]["detail"])
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
        level = np.int64(book.sides[opposite]["best"])
    return leaves, report_seq


@lean_part
def _rest(book: Book, detail: int, side: int, level: int, leaves: int) -> None:
    """Put an order at the end of its price's queue."""
    details = book.details
    price = details[detail]["price_ticks"]
    if level == NIL:
        level = create_level(book, side, price)
    order = take_order(book)
    details[detail]["order"] = order
    book.orders[order]["detail"] = detail
    book.orders[order]["order_id"] = details[detail]["order_id"]
    append_order(book, level, order, leaves)
    if details[detail]["tif"] == TimeInForce.DAY:
        book.symbols[side >> 1]["day_orders"] += 1
        book.state[0]["day_orders"] += 1
    kind = EventKind.ADD.value
    emit_event(book, kind, side, details[detail]["order_id"], price, leaves, leaves, 0)


@lean_part
def _settle(
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
    side = np.int64(details[detail]["symbol"]) * 2 + details[detail]["side"] - 1
    opposite = side ^ 1
    limit_key = _limit_key(details[detail]["price_ticks"], ord_type, opposite)
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
    if leaves > 0 and _may_rest(ord_type, tif):
        _rest(book, detail, side, level, leaves)
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


# --- The processor --------------------------------------------------------------------------------


@lean_part
def _is_duplicate(book: Book, commands: NDArray[Any], i: int) -> bool:
    """Compare a command with its session's inbound mark, and raise the mark if it is new."""
    command = commands[i]
    session, inbound_seq = np.int64(command["session"]), command["inbound_seq"]
    if session == 0 or inbound_seq == 0:
        return False
    mark = book.marks[session]
    epoch, seen = np.int64(command["epoch"]), np.int64(mark["epoch"])
    if epoch < seen or (epoch == seen and inbound_seq <= mark["inbound_seq"]):
        return True
    mark["epoch"] = epoch
    mark["inbound_seq"] = inbound_seq
    return False


@lean_part
def _named_tag(book: Book, commands: NDArray[Any], i: int) -> int:
    """Return the tag of the order that a command names: its own, or the one to change."""
    kind = commands[i]["kind"]
    if kind == CommandKind.CANCEL or kind == CommandKind.REPLACE:
        return orig_tag(book, commands, i)
    return id_tag(book, commands, i)


@lean_part
def _execute(
    book: Book,
    commands: NDArray[Any],
    i: int,
    tag: int,
    reports: NDArray[Any],
    report_base: int,
    report_seq: int,
) -> int:
    command = commands[i]
    book.state[0]["seq"] = command["seq"]
    book.state[0]["time_ns"] = command["time_ns"]
    kind = command["kind"]
    if kind >= CommandKind.ADD_SYMBOL:
        return process_control(book, commands, i, reports, report_base, report_seq)
    report_seq += 1
    row = report_seq - report_base
    if command["session"] >= book.session_capacity:
        reason = RejectReason.SESSION_CAPACITY.value
        decline(book, commands, i, NIL, reports, row, report_seq, reason)
        return report_seq
    if _is_duplicate(book, commands, i):
        write_duplicate(book, commands, i, reports, row, report_seq)
        return report_seq
    if kind == CommandKind.CANCEL:
        _cancel(book, commands, i, tag, reports, row, report_seq)
        return report_seq
    if kind == CommandKind.NEW:
        detail, level = _accept_new(book, commands, i, tag, reports, row, report_seq)
    elif kind == CommandKind.REPLACE:
        new_tag = id_tag(book, commands, i)
        detail, level = _accept_replace(book, commands, i, tag, new_tag, reports, row, report_seq)
        tag = new_tag
    elif kind == CommandKind.STATUS:
        _status(book, commands, i, tag, reports, row, report_seq)
        return report_seq
    else:
        reason = RejectReason.UNSUPPORTED_ORDER_TYPE.value
        decline(book, commands, i, NIL, reports, row, report_seq, reason)
        return report_seq
    if detail == NIL:
        return report_seq
    return _settle(book, commands, i, detail, level, tag, reports, report_base, report_seq)


@inlined_kernel
def prefetch_command(book: Book, commands: NDArray[Any], i: int) -> None:
    """Ask for the memory that a command some 12 places ahead will need.

    What is needed is found step by step, each from the one before: identifier table, DETAIL row,
    ORDER row, its neighbours. Each call takes one step for this command and one more for each of
    three earlier ones. Nothing here changes what a command does.
    """
    state, slots, tags = book.state, book.id_slots, book.tags
    ahead = state[0]["ahead"]
    state[0]["ahead"] = ahead + 1
    tag = _named_tag(book, commands, i)
    tags[ahead & 15] = tag
    prefetch(np.int64(slots.ctypes.data) + home_of(tag, book.id_bits) * 8)
    # Step 2: the DETAIL row, if the tag is in the table (to be compared when the command comes).
    mask = (1 << book.id_bits) - 1
    tag = tags[(ahead - 3) & 15]
    place = home_of(tag, book.id_bits)
    found = np.int64(NIL)
    for _ in range(8):
        slot = slots[place]
        if slot == 0:
            break
        if slot >> 32 == tag:
            found = row_of(slot)
            address = np.int64(book.details.ctypes.data) + found * 128
            prefetch(address)
            prefetch(address + 64)
            break
        place = (place + 1) & mask
    tags[16 + (ahead & 15)] = found
    # Step 3: its ORDER row.
    row = tags[16 + ((ahead - 3) & 15)]
    order = np.int64(NIL)
    if row != NIL:
        order = np.int64(book.details[row]["order"])
        if order >= 0 and order < book.open_capacity:
            prefetch(np.int64(book.orders.ctypes.data) + order * 32)
        else:
            order = np.int64(NIL)
    tags[32 + (ahead & 15)] = order
    # Step 4: its level and its neighbours in the queue.
    order = tags[32 + ((ahead - 3) & 15)]
    if order != NIL:
        resting = book.orders[order]
        base = np.int64(book.orders.ctypes.data)
        prefetch(base + np.int64(resting["prev"]) * 32)
        prefetch(base + np.int64(resting["next"]) * 32)
        prefetch(np.int64(book.levels.ctypes.data) + np.int64(resting["level"]) * 64)


@inlined_kernel
def process_command(
    book: Book,
    commands: NDArray[Any],
    i: int,
    reports: NDArray[Any],
    report_base: int,
    report_seq: int,
) -> int:
    """Execute command `i`; report number n goes to row n - report_base.

    `report_seq` is the last report number given so far; return the last one after the command.
    """
    tag = _named_tag(book, commands, i)
    return _execute(book, commands, i, tag, reports, report_base, report_seq)


@lean_kernel
def process_batch(
    book: Book,
    commands: NDArray[Any],
    first: int,
    stop: int,
    reports: NDArray[Any],
    report_base: int,
    report_seq: int,
    report_limit: int,
) -> tuple[int, int]:
    """Execute commands first … stop - 1, ending before one that might exceed `report_limit`.

    `report_seq` is the last report number given so far, `report_limit` the last that may be given.
    Return the index of the first command not executed, and the last report number.
    """
    i = first
    ahead = first
    while i < stop:
        while ahead < min(i + PREFETCH_DISTANCE + 1, stop):
            prefetch_command(book, commands, ahead)
            ahead += 1
        if report_seq + _reports_needed(book, commands, i) > report_limit:
            break
        tag = _named_tag(book, commands, i)
        report_seq = _execute(book, commands, i, tag, reports, report_base, report_seq)
        i += 1
    return i, report_seq

"""What becomes of a request before any trading: new orders accepted or declined, cancels, status.

The checks of each kind are made in the order written, and the first that fails is the reason given.
Everything that an order may need (ORDER row, level, room in its level's total) is checked here,
before its first effect.
"""

from typing import Any

from numpy.typing import NDArray

from openoutcry.config.jit import int64, lean_kernel, lean_part
from openoutcry.engine.book import Book
from openoutcry.engine.cross import may_rest
from openoutcry.engine.enums import (
    CommandFlag,
    OrderStatus,
    OrderType,
    RejectReason,
    ReportKind,
    TimeInForce,
)
from openoutcry.engine.levels import find_level
from openoutcry.engine.orders import find_id, find_orig, take_detail, take_out
from openoutcry.engine.records import NIL
from openoutcry.engine.reports import answer, copy_ids, decline, write_order, write_state
from openoutcry.engine.words import INT64_MAX


@lean_part
def limits_reason(book: Book, symbol: int, is_priced: bool, price: int, qty: int) -> int:
    """Check a quantity and, unless it is a market order's, a price against the symbol's limits."""
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
        return int64(command["reject_reason"])
    symbol = int64(command["symbol"])
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
    return limits_reason(
        book, symbol, ord_type == OrderType.LIMIT, command["price_ticks"], command["qty_lots"]
    )


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
def copy_id(book: Book, detail: int, commands: NDArray[Any], i: int) -> None:
    """Give an order command `i`'s ClOrdID, and the epoch in which it was used."""
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
    copy_id(book, detail, commands, i)
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
def find_taken(book: Book, commands: NDArray[Any], i: int, tag: int, named: int) -> int:
    """Return the DETAIL row that a request's own identifier is taken by, or NIL.

    Where identifiers may be used again (no finished orders are remembered), the order `named` by a
    replace may keep its own.
    """
    found = find_id(book, commands, i, tag)
    if found == named and book.finished_capacity == 0:
        return int64(NIL)
    return found


@lean_kernel
def decline_unseen(
    book: Book,
    commands: NDArray[Any],
    i: int,
    tag: int,
    named: int,
    reports: NDArray[Any],
    row: int,
    report_seq: int,
    reason: int,
) -> None:
    """Decline a new order or a replace, but tell of the order where it came before, as it says.

    `tag` is that of its own identifier, `named` the order that a replace names, NIL in a new order.
    An identifier that is taken is always a reason to decline, so it is early enough to look here.
    """
    if commands[i]["flags"] & CommandFlag.POSS_RESEND.value != 0:
        found = find_taken(book, commands, i, tag, named)
        if found != NIL:
            write_state(book, commands, i, found, reports, row, report_seq, ReportKind.STATUS.value)
            return
    decline(book, commands, i, named, reports, row, report_seq, reason)


@lean_part
def accept_new(
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
    level = int64(NIL)
    reason = _new_reason(book, commands, i)
    if reason == 0 and find_id(book, commands, i, tag) != NIL:
        reason = RejectReason.DUPLICATE_CL_ORD_ID.value
    if reason == 0 and may_rest(command["ord_type"], command["tif"]):
        side = int64(command["symbol"]) * 2 + command["side"] - 1
        level = find_level(book, side, command["price_ticks"])
        reason = _room_reason(book, level, command["qty_lots"])
    if reason != 0:
        decline_unseen(book, commands, i, tag, int64(NIL), reports, row, report_seq, reason)
        return int64(NIL), int64(NIL)
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
def own_detail(book: Book, commands: NDArray[Any], i: int, detail: int) -> int:
    """Return NIL in place of an order of another symbol than the request's."""
    if detail != NIL and book.details[detail]["symbol"] != commands[i]["symbol"]:
        return int64(NIL)
    return detail


@lean_part
def request_reason(book: Book, commands: NDArray[Any], i: int, detail: int) -> int:
    """Check a request about an order, whether it is open or not."""
    if commands[i]["reject_reason"] != 0:
        return int64(commands[i]["reject_reason"])
    if detail == NIL:
        return RejectReason.UNKNOWN_ORDER.value
    side = commands[i]["side"]
    if side != 0 and side != book.details[detail]["side"]:
        return RejectReason.SIDE_MISMATCH.value
    return RejectReason.NONE.value


@lean_part
def open_reason(book: Book, commands: NDArray[Any], i: int, detail: int) -> int:
    """Check a request that needs an open order."""
    reason = request_reason(book, commands, i, detail)
    if reason == 0 and book.details[detail]["order"] == NIL:
        if book.details[detail]["status"] == OrderStatus.REPLACED:
            return RejectReason.ORDER_REPLACED.value
        return RejectReason.TOO_LATE_TO_CANCEL.value
    return reason


@lean_part
def cancel_order(
    book: Book,
    commands: NDArray[Any],
    i: int,
    tag: int,
    reports: NDArray[Any],
    row: int,
    report_seq: int,
) -> None:
    """Execute or decline a cancel, with one report."""
    detail = own_detail(book, commands, i, find_orig(book, commands, i, tag))
    reason = open_reason(book, commands, i, detail)
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
    take_out(book, detail, OrderStatus.CANCELED.value)


@lean_part
def answer_status(
    book: Book,
    commands: NDArray[Any],
    i: int,
    tag: int,
    reports: NDArray[Any],
    row: int,
    report_seq: int,
) -> None:
    """Answer a status request with the order\'s state, or with why it has none to tell."""
    detail = own_detail(book, commands, i, find_id(book, commands, i, tag))
    # The report is the same either way: an order's state, or none, and a reason.
    decline(
        book,
        commands,
        i,
        detail,
        reports,
        row,
        report_seq,
        request_reason(book, commands, i, detail),
    )

"""Control commands: symbols, time, and the end of the trading day.

They come from the supervisor, or from the shard itself when it starts. START and CAPACITY only move
sequence and time on: a start is of interest to who reads the log, and a book's sizes change outside
of it (`engine.image.resize`). A control command gets a report only when it is refused (ADD_SYMBOL
with impossible limits), besides the EXPIRED reports that DAY_END sends to the orders' owners.
"""

from typing import Any

from numpy.typing import NDArray

from openoutcry.config.jit import int64, lean_kernel, lean_part
from openoutcry.engine.book import Book
from openoutcry.engine.enums import (
    CommandKind,
    OrderStatus,
    RejectReason,
    ReportKind,
    TimeInForce,
)
from openoutcry.engine.levels import next_level
from openoutcry.engine.orders import take_out
from openoutcry.engine.records import NIL
from openoutcry.engine.reports import decline, write_order


@lean_part
def control_reports(book: Book, commands: NDArray[Any], i: int) -> int:
    """Return an upper bound of the reports of a control command."""
    if commands[i]["kind"] != CommandKind.DAY_END:
        return int64(1)
    symbol = int64(commands[i]["symbol"])
    if symbol < 0 or symbol >= book.symbol_capacity:
        return book.state[0]["day_orders"] + 1
    return int64(book.symbols[symbol]["day_orders"]) + 1


@lean_part
def _symbol_reason(book: Book, commands: NDArray[Any], i: int) -> int:
    command = commands[i]
    if command["symbol"] < 0 or command["symbol"] >= book.symbol_capacity:
        return RejectReason.UNKNOWN_SYMBOL.value
    if command["price_ticks"] > command["price2_ticks"]:
        return RejectReason.PRICE_OUT_OF_RANGE.value
    if command["qty_lots"] < 1 or command["qty_lots"] > command["qty2_lots"]:
        return RejectReason.QTY_OUT_OF_RANGE.value
    return RejectReason.NONE.value


@lean_part
def _set_symbol(book: Book, commands: NDArray[Any], i: int) -> None:
    """Define a symbol, or change the limits of one that exists (its resting orders stay)."""
    command = commands[i]
    symbol = book.symbols[int64(command["symbol"])]
    symbol["price_min"] = command["price_ticks"]
    symbol["price_max"] = command["price2_ticks"]
    symbol["qty_min"] = command["qty_lots"]
    symbol["qty_max"] = command["qty2_lots"]
    symbol["replace_policy"] = command["flags"] & 1
    symbol["is_defined"] = 1


@lean_part
def _end_day(
    book: Book, symbol: int, reports: NDArray[Any], report_base: int, report_seq: int
) -> int:
    """Expire the DAY orders of a symbol, or of all (-1): by symbol, side and priority."""
    orders, levels, details = book.orders, book.levels, book.details
    first, stop = symbol * 2, symbol * 2 + 2
    if symbol < 0:
        first, stop = 0, book.symbol_capacity * 2
    expired = OrderStatus.EXPIRED.value
    for side in range(first, min(stop, book.symbol_capacity * 2)):
        level = int64(NIL)
        if book.symbols[side >> 1]["day_orders"] > 0:
            level = int64(book.sides[side]["best"])
        order = int64(NIL)
        after = level
        while True:
            if order == NIL:
                # On to the next level; this one may be gone by now.
                level = after
                if level == NIL:
                    break
                after = next_level(book, side, level)
                order = int64(levels[level]["head"])
            next_order = int64(orders[order]["next"])
            detail = int64(orders[order]["detail"])
            if details[detail]["tif"] == TimeInForce.DAY:
                report_seq += 1
                report = reports[report_seq - report_base]
                kind = ReportKind.EXPIRED.value
                write_order(book, detail, report, report_seq, kind, expired, 0)
                take_out(book, detail, expired)
            order = next_order
    return report_seq


@lean_kernel
def process_control(
    book: Book,
    commands: NDArray[Any],
    i: int,
    reports: NDArray[Any],
    report_base: int,
    report_seq: int,
) -> int:
    """Execute a control command; return the last report number."""
    kind = commands[i]["kind"]
    reason = int64(commands[i]["reject_reason"])
    if reason == 0:
        if kind == CommandKind.DAY_END:
            symbol = int64(commands[i]["symbol"])
            return _end_day(book, symbol, reports, report_base, report_seq)
        if kind == CommandKind.ADD_SYMBOL:
            reason = _symbol_reason(book, commands, i)
            if reason == 0:
                _set_symbol(book, commands, i)
        elif (
            kind != CommandKind.TIME and kind != CommandKind.START and kind != CommandKind.CAPACITY
        ):
            reason = int64(RejectReason.UNSUPPORTED_ORDER_TYPE.value)
    if reason != 0:
        report_seq += 1
        decline(
            book, commands, i, int64(NIL), reports, report_seq - report_base, report_seq, reason
        )
    return report_seq

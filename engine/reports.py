"""Kernels that write a report's row. Every byte of the row is written, so no row need be cleared
first."""

from typing import Any

from numpy.typing import NDArray

from openoutcry.config.jit import int64, lean_kernel, lean_part
from openoutcry.engine.book import Book
from openoutcry.engine.enums import CommandKind, OrderStatus, RejectReason, ReportKind
from openoutcry.engine.records import NIL
from openoutcry.engine.words import as_unsigned


@lean_part
def write_order(
    book: Book,
    detail: int,
    report: Any,
    report_seq: int,
    kind: int,
    status: int,
    leaves: int,
) -> None:
    """Write an unsolicited report of an order's present state; the second identifier is left
    empty."""
    order = book.details[detail]
    report["report_seq"] = report_seq
    report["seq"] = book.state[0]["seq"]
    report["time_ns"] = book.state[0]["time_ns"]
    report["order_id"] = order["order_id"]
    report["price_ticks"] = order["price_ticks"]
    report["qty_lots"] = order["qty_lots"]
    report["cum_qty"] = order["cum_qty"]
    report["leaves_qty"] = leaves
    report["inbound_seq"] = 0
    report["session"] = order["session"]
    report["epoch"] = order["epoch"]
    report["account"] = order["account"]
    report["symbol"] = order["symbol"]
    report["id0"] = order["id0"]
    report["id1"] = order["id1"]
    report["id2"] = order["id2"]
    report["id3"] = order["id3"]
    report["id4"] = order["id4"]
    report["orig0"] = 0
    report["orig1"] = 0
    report["orig2"] = 0
    report["orig3"] = 0
    report["orig4"] = 0
    report["notional_lo"] = as_unsigned(order["notional_lo"])
    report["notional_hi"] = order["notional_hi"]
    report["kind"] = kind
    report["status"] = status
    report["side"] = order["side"]
    report["ord_type"] = order["ord_type"]
    report["tif"] = order["tif"]
    report["liquidity"] = 0
    report["reason"] = 0


@lean_part
def write_trade(
    report: Any, price: int, qty: int, trade_id: int, contra_order_id: int, liquidity: int
) -> None:
    """Turn a report just written into a trade's: its fields lie over the second identifier."""
    report["last_px"] = price
    report["last_qty"] = qty
    report["trade_id"] = trade_id
    report["contra_order_id"] = contra_order_id
    report["liquidity"] = liquidity


@lean_part
def answer(report: Any, commands: NDArray[Any], i: int) -> None:
    """Turn a report just written into the answer to a command: it carries the number answered."""
    report["inbound_seq"] = commands[i]["inbound_seq"]
    report["epoch"] = commands[i]["epoch"]


@lean_part
def copy_ids(report: Any, commands: NDArray[Any], i: int) -> None:
    """Put a request's own two identifiers into its answer."""
    command = commands[i]
    report["id0"] = command["id0"]
    report["id1"] = command["id1"]
    report["id2"] = command["id2"]
    report["id3"] = command["id3"]
    report["id4"] = command["id4"]
    report["orig0"] = command["orig0"]
    report["orig1"] = command["orig1"]
    report["orig2"] = command["orig2"]
    report["orig3"] = command["orig3"]
    report["orig4"] = command["orig4"]


@lean_part
def _write_unknown(book: Book, commands: NDArray[Any], i: int, report: Any) -> None:
    """Write an answer that has no order: what it says comes from the command alone."""
    command = commands[i]
    report["seq"] = book.state[0]["seq"]
    report["time_ns"] = book.state[0]["time_ns"]
    report["order_id"] = 0
    report["price_ticks"] = command["price_ticks"]
    report["qty_lots"] = command["qty_lots"]
    report["cum_qty"] = 0
    report["leaves_qty"] = 0
    report["inbound_seq"] = command["inbound_seq"]
    report["session"] = command["session"]
    report["epoch"] = command["epoch"]
    report["account"] = command["account"]
    report["symbol"] = command["symbol"]
    copy_ids(report, commands, i)
    report["notional_lo"] = 0
    report["notional_hi"] = 0
    report["status"] = OrderStatus.REJECTED.value
    report["side"] = command["side"]
    report["ord_type"] = command["ord_type"]
    report["tif"] = command["tif"]
    report["liquidity"] = 0


@lean_part
def _mass_end(kind: int) -> int:
    """Return the kind of the last report of a mass request."""
    if kind == CommandKind.MASS_CANCEL:
        return ReportKind.MASS_CANCELED.value
    return ReportKind.MASS_STATUS_END.value


@lean_part
def write_state(
    book: Book,
    commands: NDArray[Any],
    i: int,
    detail: int,
    reports: NDArray[Any],
    row: int,
    report_seq: int,
    kind: int,
) -> None:
    """Answer a request with an order's state, and with the request's own identifiers."""
    report = reports[row]
    order = int64(book.details[detail]["order"])
    leaves = int64(0)
    if order != NIL:
        leaves = book.orders[order]["leaves_qty"]
    status = int64(book.details[detail]["status"])
    write_order(book, detail, report, report_seq, kind, status, leaves)
    answer(report, commands, i)
    copy_ids(report, commands, i)


@lean_kernel
def decline(
    book: Book,
    commands: NDArray[Any],
    i: int,
    detail: int,
    reports: NDArray[Any],
    row: int,
    report_seq: int,
    reason: int,
) -> None:
    """Write the one report of a command that is not executed.

    With an order (`detail` is not NIL) it is the refused cancel's or replace's, with the order's
    state; without one, or for a new order, everything comes from the command, and the order_id is
    0. A mass request gets its last report, with a count of 0.
    """
    report = reports[row]
    kind = commands[i]["kind"]
    if detail == NIL or kind == CommandKind.NEW:
        _write_unknown(book, commands, i, report)
    else:
        write_state(book, commands, i, detail, reports, row, report_seq, 0)
    report["report_seq"] = report_seq
    if kind == CommandKind.CANCEL or kind == CommandKind.REPLACE:
        report["kind"] = ReportKind.CANCEL_REJECTED.value
        report["response_to"] = kind
    elif kind == CommandKind.STATUS:
        report["kind"] = ReportKind.STATUS.value
    elif kind == CommandKind.MASS_CANCEL or kind == CommandKind.MASS_STATUS:
        report["kind"] = _mass_end(kind)
        report["qty_lots"] = 0
    else:
        report["kind"] = ReportKind.REJECTED.value
    report["reason"] = reason


@lean_kernel
def write_mass_end(
    book: Book,
    commands: NDArray[Any],
    i: int,
    reports: NDArray[Any],
    row: int,
    report_seq: int,
    count: int,
) -> None:
    """Write the last report of a mass cancel or status: how many orders it found."""
    report = reports[row]
    _write_unknown(book, commands, i, report)
    report["report_seq"] = report_seq
    report["qty_lots"] = count
    report["kind"] = _mass_end(commands[i]["kind"])
    report["status"] = 0
    report["reason"] = RejectReason.NONE.value


@lean_kernel
def write_duplicate(
    book: Book, commands: NDArray[Any], i: int, reports: NDArray[Any], row: int, report_seq: int
) -> None:
    """Write the mark of a command that was logged before, for the gateway only."""
    report = reports[row]
    _write_unknown(book, commands, i, report)
    report["report_seq"] = report_seq
    report["kind"] = ReportKind.DUPLICATE.value
    report["status"] = 0
    report["reason"] = RejectReason.NONE.value

"""Mass cancel and mass status: all open orders of one session that a request's filters let through.

The filters are a command's `symbol` (-1: all), `side` (0: both), `account` (0: any) and `orig0` (0:
any; else the order_id of the one order it is about), and with `CommandFlag.KEEP_GTC` a mass cancel
leaves orders that are good till cancel. An account's number
stands for itself alone: a gateway that gives variants of an account numbers of their own asks for a
status without this filter and leaves out what is of other accounts, and takes no mass cancel of
such an account.

The reports are one an order, by order_id (the oldest first), then one with their count:

MASS_CANCEL  CANCELED, with the order's own identifier, no second one, and why as `reason`
             (MASS_CANCEL; CONNECTION_LOST or LOGGED_OUT by flag); then MASS_CANCELED
MASS_STATUS  MASS_STATUS, with the order's identifier and the request's as second one; then
             MASS_STATUS_END

All carry the request's inbound number and epoch. A request for a symbol or side that is not there
has the last report alone, with a `reason` and the status REJECTED. Like any command it is executed
whole: `mass_reports` bounds the reports, and the caller makes room.

The session's orders are found by reading the ORDER rows that were ever in use, one after another:
the session stands in them, and a count in its MARK row says when all are found. That is 32 bytes an
order in sequence, where a walk through the books (as at the day's end) follows links from row to
row, and a chain of each session's orders would cost two more links on every order's way in and out.
With 262,144 orders open (4 symbols, 1,000 sessions) a request of a session without orders takes
nothing, one that has a single order 0.2 ms, one that has 10,000 of them 4 ms (a status: 2 ms), and
one that has 100,000 of them 20 to 30 ms (9 to 14 ms).
"""

from typing import Any

from numpy.typing import NDArray

from openoutcry.config.jit import int64, lean_kernel, lean_part
from openoutcry.engine.atomics import load_relaxed, store_relaxed
from openoutcry.engine.book import Book
from openoutcry.engine.enums import (
    CommandFlag,
    CommandKind,
    OrderStatus,
    RejectReason,
    ReportKind,
    TimeInForce,
)
from openoutcry.engine.orders import take_out
from openoutcry.engine.records import NIL, REPORT
from openoutcry.engine.reports import answer, decline, write_mass_end, write_order
from openoutcry.engine.words import as_signed

_REPORT_WORDS = REPORT.itemsize // 8
#: Bits of a key that one pass of the sort looks at, and how many values they have.
_DIGIT_BITS = 4
_DIGITS = 1 << _DIGIT_BITS

# The orders found are listed in the rows of the reports to come, n rows of 24 words for n orders:
# two lists of ORDER rows with their keys, the one that is read at the very end. Report i overwrites
# words 24 i to 24 i + 23, and word 23 n + i is never below them.
_ROWS, _KEYS, _OTHER_ROWS, _OTHER_KEYS = 23, 22, 21, 20
assert _OTHER_KEYS >= _DIGITS
assert _ROWS + 1 == _REPORT_WORDS


@lean_part
def mass_reports(book: Book, commands: NDArray[Any], i: int) -> int:
    """Return an upper bound of the reports of a mass cancel or status."""
    session = int64(commands[i]["session"])
    if session >= book.session_capacity:
        return int64(1)
    return int64(book.marks[session]["open_orders"]) + 1


@lean_part
def _mass_reason(book: Book, commands: NDArray[Any], i: int) -> int:
    command = commands[i]
    if command["reject_reason"] != 0:
        return int64(command["reject_reason"])
    symbol = int64(command["symbol"])
    if symbol != NIL:
        if symbol < 0 or symbol >= book.symbol_capacity or not book.symbols[symbol]["is_defined"]:
            return RejectReason.UNKNOWN_SYMBOL.value
    if command["side"] > 2:
        return RejectReason.INVALID_SIDE.value
    return RejectReason.NONE.value


@lean_part
def _is_wanted(book: Book, commands: NDArray[Any], i: int, detail: int) -> bool:
    """Tell whether a request's filters let an order of its session through."""
    order, command = book.details[detail], commands[i]
    if command["symbol"] != NIL and command["symbol"] != order["symbol"]:
        return False
    if command["side"] != 0 and command["side"] != order["side"]:
        return False
    if command["account"] != 0 and command["account"] != order["account"]:
        return False
    order_id = as_signed(command["orig0"])
    if order_id != 0 and order_id != order["order_id"]:
        return False
    if command["kind"] == CommandKind.MASS_CANCEL:
        keeps_gtc = command["flags"] & CommandFlag.KEEP_GTC.value != 0
        return not (keeps_gtc and order["tif"] == TimeInForce.GTC)
    return True


@lean_part
def _find(book: Book, commands: NDArray[Any], i: int, rows: int, keys: int) -> int:
    """List the ORDER rows that a request is about, with their order_id; return how many."""
    orders, details = book.orders, book.details
    session = int64(commands[i]["session"])
    left = int64(book.marks[session]["open_orders"])
    count = int64(0)
    order = int64(0)
    while left > 0:
        if orders[order]["session"] == session and orders[order]["level"] != NIL:
            left -= 1
            detail = int64(orders[order]["detail"])
            if _is_wanted(book, commands, i, detail):
                store_relaxed(rows + count * 8, order)
                store_relaxed(keys + count * 8, details[detail]["order_id"])
                count += 1
        order += 1
    return count


@lean_part
def _sort(rows: int, keys: int, other_rows: int, other_keys: int, digits: int, count: int) -> None:
    """Sort a list by its keys (a radix sort); the digits' counts are noted at `digits`."""
    least, most = load_relaxed(keys), load_relaxed(keys)
    for n in range(1, count):
        key = load_relaxed(keys + n * 8)
        least = min(least, key)
        most = max(most, key)
    shift = int64(0)
    is_away = False
    while (most - least) >> shift != 0:
        for digit in range(_DIGITS):
            store_relaxed(digits + digit * 8, 0)
        for n in range(count):
            place = digits + (((load_relaxed(keys + n * 8) - least) >> shift) & (_DIGITS - 1)) * 8
            store_relaxed(place, load_relaxed(place) + 1)
        before = int64(0)
        for digit in range(_DIGITS):
            found = load_relaxed(digits + digit * 8)
            store_relaxed(digits + digit * 8, before)
            before += found
        for n in range(count):
            key = load_relaxed(keys + n * 8)
            place = digits + (((key - least) >> shift) & (_DIGITS - 1)) * 8
            to = load_relaxed(place)
            store_relaxed(place, to + 1)
            store_relaxed(other_keys + to * 8, key)
            store_relaxed(other_rows + to * 8, load_relaxed(rows + n * 8))
        rows, other_rows = other_rows, rows
        keys, other_keys = other_keys, keys
        is_away = not is_away
        shift += _DIGIT_BITS
    if is_away:
        for n in range(count):
            store_relaxed(other_rows + n * 8, load_relaxed(rows + n * 8))


@lean_part
def _cancel_reason(commands: NDArray[Any], i: int) -> int:
    flags = int64(commands[i]["flags"])
    if flags & CommandFlag.CONNECTION_LOST.value:
        return RejectReason.CONNECTION_LOST.value
    if flags & CommandFlag.LOGGED_OUT.value:
        return RejectReason.LOGGED_OUT.value
    return RejectReason.MASS_CANCEL.value


@lean_part
def _cancel(
    book: Book, commands: NDArray[Any], i: int, detail: int, report: Any, report_seq: int
) -> None:
    """Cancel one order, with its report."""
    canceled = OrderStatus.CANCELED.value
    write_order(book, detail, report, report_seq, ReportKind.CANCELED.value, canceled, 0)
    answer(report, commands, i)
    report["reason"] = _cancel_reason(commands, i)
    take_out(book, detail, canceled)


@lean_part
def _tell(
    book: Book, commands: NDArray[Any], i: int, detail: int, report: Any, report_seq: int
) -> None:
    """Report one order's state."""
    command = commands[i]
    leaves = book.orders[int64(book.details[detail]["order"])]["leaves_qty"]
    status = int64(book.details[detail]["status"])
    write_order(book, detail, report, report_seq, ReportKind.MASS_STATUS.value, status, leaves)
    answer(report, commands, i)
    report["orig0"] = command["id0"]
    report["orig1"] = command["id1"]
    report["orig2"] = command["id2"]
    report["orig3"] = command["id3"]
    report["orig4"] = command["id4"]


@lean_kernel
def process_mass(
    book: Book,
    commands: NDArray[Any],
    i: int,
    reports: NDArray[Any],
    report_base: int,
    report_seq: int,
) -> int:
    """Execute a mass cancel or status; return the last report number."""
    reason = _mass_reason(book, commands, i)
    if reason != 0:
        report_seq += 1
        row = report_seq - report_base
        decline(book, commands, i, int64(NIL), reports, row, report_seq, reason)
        return report_seq
    open_orders = int64(book.marks[int64(commands[i]["session"])]["open_orders"])
    count = int64(0)
    rows = int64(0)
    if open_orders > 0:
        first = report_seq + 1 - report_base
        scratch = int64(reports.ctypes.data) + first * reports.itemsize
        rows = scratch + _ROWS * open_orders * 8
        keys = scratch + _KEYS * open_orders * 8
        count = _find(book, commands, i, rows, keys)
        if count > 1:
            other_rows = scratch + _OTHER_ROWS * open_orders * 8
            other_keys = scratch + _OTHER_KEYS * open_orders * 8
            _sort(rows, keys, other_rows, other_keys, scratch, count)
    is_cancel = commands[i]["kind"] == CommandKind.MASS_CANCEL
    for n in range(count):
        detail = int64(book.orders[load_relaxed(rows + n * 8)]["detail"])
        report_seq += 1
        report = reports[report_seq - report_base]
        if is_cancel:
            _cancel(book, commands, i, detail, report, report_seq)
        else:
            _tell(book, commands, i, detail, report, report_seq)
    report_seq += 1
    write_mass_end(book, commands, i, reports, report_seq - report_base, report_seq, count)
    return report_seq

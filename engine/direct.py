"""One command by one thin call from Python: a few integers in, one integer out.

Handing a Book (a tuple of arrays) to a kernel costs some 2.5 µs a call, and filling a COMMAND row
from Python about 100 ns a field. So the addresses of the book's arrays are written down once, in a
block of int64 cells. A call passes the block's address and the integers of the command; the kernel
finds the book there, writes the COMMAND row, executes it, and leaves the rest of the answer in the
cells. Called without numba's dispatcher, a kernel of five integers costs 80 ns.

Cells: first those named below; from _CELL_FIELDS on the fields of the Book, an array as its address
and row count, an integer as itself.

The answer to a call, int64 words, so that Python reads them in one slice:
  0 the command's number   1 RejectReason   2 how many reports   3 how many fills
  4 … four words a fill: the resting order's id0 and order_id, the price in ticks, the lots
"""

import ctypes
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np import arrayobj
from numpy.typing import NDArray

from openoutcry.config.jit import IS_COMPILED, inlined_kernel, int64, lean_kernel
from openoutcry.engine.book import Book, Capacity, create_book
from openoutcry.engine.enums import ReportKind
from openoutcry.engine.market import best_price, depth
from openoutcry.engine.match import command_tags, process_batch, process_command, reports_needed
from openoutcry.engine.records import COMMAND, DEPTH_LEVEL, REPORT
from openoutcry.engine.words import INT64_MIN, as_signed, as_unsigned

#: The number of the last report given.
_CELL_REPORT_SEQ = 0
#: Addresses of the COMMAND row, the REPORT rows and the answer; how many reports have room.
_CELL_COMMAND = 1
_CELL_REPORTS = 2
_CELL_ANSWER = 3
_CELL_ROOM = 4
_CELL_FIELDS = 16

#: The dtypes of a Book's fields, None for its integers; a book of any size tells.
_KINDS = tuple(getattr(part, "dtype", None) for part in create_book(Capacity(1, 0, 1, 1, 1)))
#: The first cell of each field.
_PLACES = tuple(
    _CELL_FIELDS + sum(1 if kind is None else 2 for kind in _KINDS[:field])
    for field in range(len(_KINDS))
)
_CELLS = _PLACES[-1] + 2

#: Words of an answer.
ANSWER_SEQ = 0
ANSWER_REASON = 1
ANSWER_REPORTS = 2
ANSWER_FILLS = 3
ANSWER_HEAD = 4
FILL_WORDS = 4

#: What `execute` returns when not the number of a command that went through without a fill.
SEE_ANSWER = 0
NO_ROOM = -1

if IS_COMPILED:

    def _emit_rows(context: Any, builder: Any, kind: Any, address: Any, count: Any) -> Any:
        """Emit an array of `count` rows at an address, with no owner to count references of."""
        rows = context.make_array(kind)(context, builder)
        itemsize = context.get_abi_sizeof(context.get_data_type(kind.dtype))
        step = context.get_constant(types.intp, itemsize)
        arrayobj.populate_array(
            rows,
            data=builder.inttoptr(address, rows.data.type),
            shape=cgutils.pack_array(builder, [count]),
            strides=cgutils.pack_array(builder, [step]),
            itemsize=step,
            meminfo=None,
        )
        return rows._getvalue()

    # numba lets no function without reference counts return an array, hence intrinsics.
    @intrinsic
    def _rows_at(typingctx: Any, address: Any, count: Any, dtype: Any) -> Any:
        kind = types.Array(dtype.dtype, 1, "C")

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return _emit_rows(context, builder, kind, args[0], args[1])

        return kind(types.int64, types.int64, dtype), codegen

    @intrinsic
    def _book_at(typingctx: Any, address: Any) -> Any:
        kinds = [
            types.int64 if kind is None else types.Array(numba.from_dtype(kind), 1, "C")
            for kind in _KINDS
        ]
        book = types.NamedTuple(kinds, Book)

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            word = ir.IntType(64)
            cells = builder.inttoptr(args[0], word.as_pointer())

            def load(cell: int) -> Any:
                return builder.load(builder.gep(cells, [word(cell)]))

            parts = [
                load(at)
                if kind is types.int64
                else _emit_rows(context, builder, kind, load(at), load(at + 1))
                for kind, at in zip(kinds, _PLACES, strict=True)
            ]
            return context.make_tuple(builder, book, parts)

        return book(types.int64), codegen

else:

    def _rows_at(address: int, count: int, dtype: Any) -> NDArray[Any]:
        size = int(count) * np.dtype(dtype).itemsize
        return np.frombuffer((ctypes.c_char * size).from_address(int(address)), dtype)

    def _book_at(address: int) -> Book:
        cells = _rows_at(address, _CELLS, np.int64).tolist()
        return Book(
            *(
                cells[at] if kind is None else _rows_at(cells[at], cells[at + 1], kind)
                for kind, at in zip(_KINDS, _PLACES, strict=True)
            )
        )


@inlined_kernel
def _answer_words(room: int) -> int:
    """Return the length of an answer to a command that yields at most `room` reports."""
    return ANSWER_HEAD + room // 2 * FILL_WORDS


@lean_kernel
def _execute(address: int, form: int, price_ticks: int, qty_lots: int, number: int) -> int:
    """Execute one command on the book whose cells are at an address.

    `form` is made by `form_of`, and what is above its 32 bits is not looked at; `number` is the
    order's identifier as `id0`, and as `orig0` of a cancel or replace. Return the command's number
    if it went through without a fill; else SEE_ANSWER, or NO_ROOM: nothing was done, and the answer
    says how many reports to have room for.
    """
    cells = _rows_at(address, _CELLS, np.int64)
    book = _book_at(address)
    room = cells[_CELL_ROOM]
    commands = _rows_at(cells[_CELL_COMMAND], int64(1), COMMAND)
    reports = _rows_at(cells[_CELL_REPORTS], room, REPORT)
    answer = _rows_at(cells[_CELL_ANSWER], _answer_words(room), np.int64)
    command = commands[0]
    seq = book.state[0]["seq"] + 1
    command["seq"] = seq
    command["time_ns"] = book.state[0]["time_ns"]
    command["kind"] = form & 0xFF
    command["side"] = (form >> 8) & 0xFF
    command["ord_type"] = (form >> 16) & 0xFF
    command["tif"] = (form >> 24) & 0xFF
    command["price_ticks"] = price_ticks
    command["qty_lots"] = qty_lots
    command["id0"] = as_unsigned(number)
    command["orig0"] = as_unsigned(number)
    needed = reports_needed(book, commands, int64(0))
    if needed > room:
        answer[ANSWER_REPORTS] = needed
        return int64(NO_ROOM)
    first = cells[_CELL_REPORT_SEQ] + 1
    tag, own = command_tags(book, commands, int64(0))
    last = process_command(book, commands, int64(0), tag, own, reports, first, first - 1)
    cells[_CELL_REPORT_SEQ] = last
    count = last - first + 1
    reason = int64(reports[0]["reason"])
    answer[ANSWER_SEQ] = seq
    answer[ANSWER_REASON] = reason
    answer[ANSWER_REPORTS] = count
    found = int64(0)
    # Fills come in pairs: the aggressor's report, then the resting order's.
    row = int64(2)
    while row < count and reports[row]["kind"] == ReportKind.TRADE:
        at = ANSWER_HEAD + found * FILL_WORDS
        answer[at] = as_signed(reports[row]["id0"])
        answer[at + 1] = reports[row]["order_id"]
        answer[at + 2] = reports[row]["last_px"]
        answer[at + 3] = reports[row]["last_qty"]
        found += 1
        row += 2
    answer[ANSWER_FILLS] = found
    if found == 0 and reason == 0:
        return seq
    return int64(SEE_ANSWER)


@lean_kernel
def _process(
    address: int, commands: NDArray[Any], first: int, reports: NDArray[Any], base: int
) -> int:
    """Execute commands from row `first` on, as far as their reports have room; return how far.

    Before the first one, all get their numbers, and times that never go back. Report number n goes
    to row n - base.
    """
    cells = _rows_at(address, _CELLS, np.int64)
    book = _book_at(address)
    if first == 0:
        seq, time_ns = book.state[0]["seq"], book.state[0]["time_ns"]
        for i in range(len(commands)):
            time_ns = max(time_ns, commands[i]["time_ns"])
            commands[i]["seq"] = seq + 1 + i
            commands[i]["time_ns"] = time_ns
    limit = base - 1 + len(reports)
    last = cells[_CELL_REPORT_SEQ]
    done, last = process_batch(
        book, commands, first, int64(len(commands)), reports, base, last, limit
    )
    cells[_CELL_REPORT_SEQ] = last
    return done


@lean_kernel
def _best(address: int, side: int) -> int:
    """Return a side's best price in ticks, INT64_MIN where there is none."""
    price, is_there = best_price(_book_at(address), int64(0), side)
    if is_there:
        return price
    return int64(INT64_MIN)


@lean_kernel
def _depth(address: int, side: int, out: int, levels: int) -> int:
    """Write up to `levels` DEPTH_LEVEL rows at an address; return how many there were."""
    return depth(_book_at(address), int64(0), side, _rows_at(out, levels, DEPTH_LEVEL))


def form_of(kind: int, side: int, ord_type: int, tif: int) -> int:
    """Return the four enum values of a command as one integer."""
    return int(kind) | int(side) << 8 | int(ord_type) << 16 | int(tif) << 24


class Entries(NamedTuple):
    """The kernels as plain callables, past numba's dispatcher.

    They take Python's own integers only: anything else would be converted without a word. Arrays
    must be of the very dtype, contiguous.
    """

    execute: Callable[[int, int, int, int, int], int]
    best: Callable[[int, int], int]
    depth: Callable[[int, int, int, int], int]
    process: Callable[[int, NDArray[Any], int, NDArray[Any], int], int]


def _entry(kernel: Any, *arguments: Any) -> Callable[..., int]:
    if IS_COMPILED:
        entry: Callable[..., int] = kernel.compile(arguments)
        return entry

    def plain(*given: Any) -> int:
        # As compiled: an OverflowError beyond 64 bits.
        return int(kernel(*(int(np.int64(one)) if isinstance(one, int) else one for one in given)))

    return plain


@functools.cache
def entries() -> Entries:
    """Compile the kernels, or load them from the cache."""
    word = types.int64
    commands, reports = (types.Array(numba.from_dtype(one), 1, "C") for one in (COMMAND, REPORT))
    return Entries(
        _entry(_execute, word, word, word, word, word),
        _entry(_best, word, word),
        _entry(_depth, word, word, word, word),
        _entry(_process, word, commands, word, reports, word),
    )


class Cells:
    """The cells of a book, and the memory that calls work in.

    `address` is what a kernel is given. The book's arrays must live as long: nothing here counts
    references to them.
    """

    def __init__(self, book: Book, room: int = 512) -> None:
        self._book = book
        self._command = np.zeros(1, COMMAND)
        self.cells = np.zeros(_CELLS, np.int64)
        self.address = int(self.cells.ctypes.data)
        fields: tuple[Any, ...] = book
        for part, kind, at in zip(fields, _KINDS, _PLACES, strict=True):
            if kind is not None:
                if part.dtype != kind:
                    raise TypeError(f"a book's array is {part.dtype}, not {kind}")
                self.cells[at : at + 2] = part.ctypes.data, len(part)
            else:
                self.cells[at] = part
        #: The number of the last report, in one element.
        self.last_report = self.cells[_CELL_REPORT_SEQ : _CELL_REPORT_SEQ + 1]
        self.cells[_CELL_COMMAND] = self._command.ctypes.data
        self.make_room(room)

    def __reduce__(self) -> Any:
        # A copy is of the copied book: addresses are made anew.
        return _cells_again, (self._book, len(self.reports), int(self.last_report[0]))

    def make_room(self, reports: int) -> None:
        """Have room for so many reports of one command; those of the last one are dropped."""
        #: The reports of the last command, from row 0.
        self.reports = np.zeros((reports + 1) // 2 * 2, REPORT)
        self._answer = np.zeros(_answer_words(len(self.reports)), np.int64)
        #: The answer to it.
        self.answer = self._answer.data
        self.cells[_CELL_REPORTS] = self.reports.ctypes.data
        self.cells[_CELL_ANSWER] = self._answer.ctypes.data
        self.cells[_CELL_ROOM] = len(self.reports)


def _cells_again(book: Book, room: int, last_report: int) -> Cells:
    cells = Cells(book, room)
    cells.last_report[0] = last_report
    return cells

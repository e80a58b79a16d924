"""What the books show: best prices, quantity at a price, depth."""

from typing import Any

from numpy.typing import NDArray

from openoutcry.config.jit import int64, lean_kernel, lean_part
from openoutcry.engine.book import Book
from openoutcry.engine.enums import Side
from openoutcry.engine.levels import find_level, next_level
from openoutcry.engine.orders import find_id, id_tag
from openoutcry.engine.records import NIL


@lean_part
def _side_row(symbol: int, side: int) -> int:
    """Return the row of a symbol's side in `book.sides`."""
    return symbol * 2 + (1 if side == Side.SELL else 0)


@lean_kernel
def best_price(book: Book, symbol: int, side: int) -> tuple[int, bool]:
    """Return a side's best price, and whether there is one."""
    if symbol < 0 or symbol >= book.symbol_capacity:
        return int64(0), False
    level = int64(book.sides[_side_row(symbol, side)]["best"])
    if level == NIL:
        return int64(0), False
    return book.levels[level]["price_ticks"], True


@lean_kernel
def depth_at(book: Book, symbol: int, side: int, price_ticks: int) -> int:
    """Return the lots that rest at a price, 0 where none do."""
    if symbol < 0 or symbol >= book.symbol_capacity:
        return int64(0)
    level = find_level(book, _side_row(symbol, side), price_ticks)
    if level == NIL:
        return int64(0)
    return book.levels[level]["qty_lots"]


@lean_kernel
def depth(book: Book, symbol: int, side: int, out: NDArray[Any]) -> int:
    """Write a side's levels, best first, into DEPTH_LEVEL rows; return how many were written."""
    if symbol < 0 or symbol >= book.symbol_capacity:
        return int64(0)
    levels = book.levels
    row = _side_row(symbol, side)
    level = int64(book.sides[row]["best"])
    count = int64(0)
    while level != NIL and count < len(out):
        out[count]["price_ticks"] = levels[level]["price_ticks"]
        out[count]["qty_lots"] = levels[level]["qty_lots"]
        out[count]["orders"] = levels[level]["orders"]
        count += 1
        level = next_level(book, row, level)
    return count


@lean_kernel
def find_order(book: Book, commands: NDArray[Any], i: int) -> int:
    """Return the DETAIL row of the order that command `i` names by session and ClOrdID, or NIL."""
    return find_id(book, commands, i, id_tag(book, commands, i))

"""Orders' rows: taken from the pools and given back, found by session and ClOrdID, remembered a
while.

An order has a DETAIL row from acceptance until it is forgotten, and an ORDER row while it rests. A
finished order's DETAIL row stays in the id table for as long as it is among the last N finished.
"""

from typing import Any

from numpy.typing import NDArray

from openoutcry.config.jit import int64, lean_part
from openoutcry.engine.atomics import prefetch
from openoutcry.engine.book import Book
from openoutcry.engine.enums import EventKind, TimeInForce
from openoutcry.engine.events import emit_event
from openoutcry.engine.levels import unlink_order
from openoutcry.engine.records import NIL
from openoutcry.engine.table import (
    home_of,
    insert_slot,
    remove_slot,
    row_of,
    slot_of,
    tag_of,
)
from openoutcry.engine.words import as_signed, fold, wrap_add, wrap_mul


@lean_part
def _hash_id(
    state: NDArray[Any], session: int, id0: int, id1: int, id2: int, id3: int, id4: int
) -> int:
    """Hash a session's identifier (multilinear, with the book's keys)."""
    first = wrap_add(
        wrap_mul(fold(as_signed(id0)), state[0]["key0"]),
        wrap_mul(fold(as_signed(id1)), state[0]["key1"]),
    )
    second = wrap_add(
        wrap_mul(fold(as_signed(id2)), state[0]["key2"]),
        wrap_mul(fold(as_signed(id3)), state[0]["key3"]),
    )
    third = wrap_add(
        wrap_mul(fold(as_signed(id4)), state[0]["key4"]),
        wrap_mul(int64(session), state[0]["key5"]),
    )
    return wrap_add(wrap_add(first, second), third)


@lean_part
def id_tag(book: Book, commands: NDArray[Any], i: int) -> int:
    """Return the id table's tag of command `i`'s ClOrdID."""
    command = commands[i]
    return tag_of(
        _hash_id(
            book.state,
            command["session"],
            command["id0"],
            command["id1"],
            command["id2"],
            command["id3"],
            command["id4"],
        )
    )


@lean_part
def orig_tag(book: Book, commands: NDArray[Any], i: int) -> int:
    """Return the id table's tag of command `i`'s OrigClOrdID."""
    command = commands[i]
    return tag_of(
        _hash_id(
            book.state,
            command["session"],
            command["orig0"],
            command["orig1"],
            command["orig2"],
            command["orig3"],
            command["orig4"],
        )
    )


@lean_part
def find_id(book: Book, commands: NDArray[Any], i: int, tag: int) -> int:
    """Return the DETAIL row of command `i`'s session and ClOrdID, or NIL."""
    slots, details, command = book.id_slots, book.details, commands[i]
    mask = (1 << book.id_bits) - 1
    place = home_of(tag, book.id_bits)
    slot = slots[place]
    while slot != 0:
        if slot >> 32 == tag:
            row = row_of(slot)
            detail = details[row]
            if (
                detail["id0"] == command["id0"]
                and detail["id1"] == command["id1"]
                and detail["session"] == command["session"]
                and detail["id2"] == command["id2"]
                and detail["id3"] == command["id3"]
                and detail["id4"] == command["id4"]
            ):
                return row
        place = (place + 1) & mask
        slot = slots[place]
    return int64(NIL)


@lean_part
def find_orig(book: Book, commands: NDArray[Any], i: int, tag: int) -> int:
    """Return the DETAIL row of command `i`'s session and OrigClOrdID, or NIL."""
    slots, details, command = book.id_slots, book.details, commands[i]
    mask = (1 << book.id_bits) - 1
    place = home_of(tag, book.id_bits)
    slot = slots[place]
    while slot != 0:
        if slot >> 32 == tag:
            row = row_of(slot)
            detail = details[row]
            if (
                detail["id0"] == command["orig0"]
                and detail["id1"] == command["orig1"]
                and detail["session"] == command["session"]
                and detail["id2"] == command["orig2"]
                and detail["id3"] == command["orig3"]
                and detail["id4"] == command["orig4"]
            ):
                return row
        place = (place + 1) & mask
        slot = slots[place]
    return int64(NIL)


@lean_part
def enter_id(book: Book, tag: int, detail: int) -> None:
    """Make a DETAIL row findable by its identifier."""
    book.details[detail]["tag"] = tag
    insert_slot(book.id_slots, book.id_bits, slot_of(tag, detail))


@lean_part
def take_detail(book: Book) -> int:
    """Take a DETAIL row; one is always free, the pool being larger than what can be in use."""
    state = book.state
    detail = state[0]["detail_free"]
    if detail != NIL:
        state[0]["detail_free"] = book.details[detail]["order"]
    else:
        detail = state[0]["detail_fresh"]
        state[0]["detail_fresh"] = detail + 1
    state[0]["details_used"] += 1
    return detail


@lean_part
def give_detail(book: Book, detail: int) -> None:
    """Return a DETAIL row to the pool."""
    state = book.state
    book.details[detail]["order"] = state[0]["detail_free"]
    state[0]["detail_free"] = detail
    state[0]["details_used"] -= 1


@lean_part
def take_order(book: Book) -> int:
    """Take an ORDER row; the caller knows that one is free."""
    state = book.state
    order = state[0]["order_free"]
    if order != NIL:
        state[0]["order_free"] = book.orders[order]["next"]
    else:
        order = state[0]["order_fresh"]
        state[0]["order_fresh"] = order + 1
    state[0]["open_orders"] += 1
    return order


@lean_part
def give_order(book: Book, order: int) -> None:
    """Return an ORDER row to the pool."""
    state = book.state
    book.orders[order]["next"] = state[0]["order_free"]
    book.orders[order]["level"] = NIL
    state[0]["order_free"] = order
    state[0]["open_orders"] -= 1


@lean_part
def _prefetch_detail(book: Book, detail: int) -> None:
    address = int64(book.details.ctypes.data) + detail * book.details.itemsize
    prefetch(address)
    prefetch(address + 64)


@lean_part
def _evict_oldest(book: Book) -> None:
    """Forget the order that finished longest ago; its place in the ring is the next to be
    written."""
    state, finished = book.state, book.finished
    place = state[0]["finished_next"]
    slot = finished[place]
    remove_slot(book.id_slots, book.id_bits, slot)
    detail = row_of(slot)
    # The row is the next one taken, and long out of the caches.
    _prefetch_detail(book, detail)
    give_detail(book, detail)
    state[0]["finished_count"] -= 1
    # Likewise the table's slot of an eviction soon to come.
    ahead = place + 8
    if ahead < book.finished_capacity:
        home = home_of(finished[ahead] >> 32, book.id_bits)
        prefetch(int64(book.id_slots.ctypes.data) + home * 8)


@lean_part
def leave_book(book: Book, detail: int) -> None:
    """Take a resting order out of its queue and return its ORDER row."""
    order = int64(book.details[detail]["order"])
    book.marks[int64(book.details[detail]["session"])]["open_orders"] -= 1
    if book.details[detail]["tif"] == TimeInForce.DAY:
        book.symbols[book.details[detail]["symbol"]]["day_orders"] -= 1
        book.state[0]["day_orders"] -= 1
    unlink_order(book, order)
    give_order(book, order)


@lean_part
def finish(book: Book, detail: int, status: int) -> None:
    """Note an order's final state, and keep it among the last N, or forget it at once when N is 0.

    The order must be in the id table and have no ORDER row any more.
    """
    state, details = book.state, book.details
    slot = slot_of(int64(details[detail]["tag"]), detail)
    if book.finished_capacity == 0:
        remove_slot(book.id_slots, book.id_bits, slot)
        give_detail(book, detail)
        return
    details[detail]["status"] = status
    details[detail]["order"] = NIL
    if state[0]["finished_count"] == book.finished_capacity:
        _evict_oldest(book)
    place = state[0]["finished_next"]
    book.finished[place] = slot
    place += 1
    state[0]["finished_next"] = 0 if place == book.finished_capacity else place
    state[0]["finished_count"] += 1


@lean_part
def take_out(book: Book, detail: int, status: int) -> None:
    """Take a resting order out of the book, unfilled, with its event and a final state."""
    details = book.details
    emit_event(
        book,
        EventKind.DELETE.value,
        int64(details[detail]["symbol"]) * 2 + details[detail]["side"] - 1,
        details[detail]["order_id"],
        details[detail]["price_ticks"],
        book.orders[int64(details[detail]["order"])]["leaves_qty"],
        0,
        0,
    )
    leave_book(book, detail)
    finish(book, detail, status)

"""Order-level market data in a broadcast ring: one writer that never waits, any number of readers.

Event number n lies in row n & mask. A row's `event_seq` is 0 while its body is being written, and
its number once it is whole (a sequence lock per row). A reader that finds a later number than it
awaited was overrun: the events between are gone, and it starts again from a snapshot of the book.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from openoutcry.config.jit import int64, lean_kernel, lean_part
from openoutcry.engine.atomics import (
    fence_acquire,
    fence_release,
    load_acquire,
    load_relaxed,
    store_relaxed,
    store_release,
)
from openoutcry.engine.book import Book
from openoutcry.engine.records import EVENT

#: What `read_events` returns when the writer has overwritten the awaited event.
OVERRUN = -1


@lean_part
def _row_address(events: NDArray[Any], row: int) -> int:
    """Return the address of a row, whose first field is `event_seq`."""
    return int64(events.ctypes.data) + row * events.itemsize


@lean_part
def emit_event(
    book: Book,
    kind: int,
    side: int,
    order_id: int,
    price_ticks: int,
    qty_lots: int,
    leaves_qty: int,
    trade_id: int,
) -> None:
    """Write the book's next event; `side` is the resting order's side row (symbol * 2 + 0 or 1)."""
    state, events = book.state, book.events
    event_seq = state[0]["event_seq"] + 1
    state[0]["event_seq"] = event_seq
    row = event_seq & book.event_mask
    address = _row_address(events, row)
    store_relaxed(address, 0)
    fence_release()
    event = events[row]
    event["time_ns"] = state[0]["time_ns"]
    event["order_id"] = order_id
    event["price_ticks"] = price_ticks
    event["qty_lots"] = qty_lots
    event["leaves_qty"] = leaves_qty
    event["trade_id"] = trade_id
    event["symbol"] = side >> 1
    event["kind"] = kind
    event["side"] = (side & 1) + 1
    store_release(address, event_seq)


@lean_kernel
def read_events(events: NDArray[Any], next_seq: int, out: NDArray[Any], limit: int) -> int:
    """Copy the events from number `next_seq` on, at most `limit`, into `out`.

    Return how many were copied (0: none yet), or OVERRUN when `next_seq` itself is gone.
    """
    mask = len(events) - 1
    for count in range(limit):
        awaited = next_seq + count
        row = awaited & mask
        address = _row_address(events, row)
        found = load_acquire(address)
        if found == awaited:
            out[count] = events[row]
            fence_acquire()
            found = load_relaxed(address)
        if found != awaited:
            # A later number, or a row being rewritten after it held ours: what was copied before
            # stands.
            if count > 0:
                return count
            return int64(OVERRUN if found > awaited else 0)
    return limit


class EventReader:
    """Reads a broadcast ring from event `next_seq` on.

    `read` returns a copy of what is new (perhaps nothing), or None when the reader was overrun: its
    owner then takes a snapshot and sets `next_seq` to the event after it.
    """

    def __init__(self, events: NDArray[Any], next_seq: int = 1, batch: int = 1024) -> None:
        self.next_seq = next_seq
        self._events = events
        self._batch = np.zeros(batch, dtype=EVENT)

    def read(self) -> NDArray[Any] | None:
        """Return the events that follow the last ones read, or None after an overrun."""
        count = int(read_events(self._events, self.next_seq, self._batch, len(self._batch)))
        if count == OVERRUN:
            return None
        self.next_seq += count
        return self._batch[:count].copy()

"""A book by price, kept outside the shard: a depth snapshot plus the events that follow it.

A snapshot has at most DEPTH_LEVELS levels a side, so a mirror may know only the better part of a
side. It then keeps a horizon: all levels at that price or better are known, events beyond it are
ignored, and a reader that wants more levels than are left asks for another snapshot
(`needs_snapshot`).
"""

from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openoutcry.config.jit import int64, lean_kernel, lean_part
from openoutcry.engine.atomics import load_acquire, store_release
from openoutcry.engine.enums import EventKind, Side
from openoutcry.engine.records import DEPTH_LEVEL
from openoutcry.engine.state import DEPTH_LEVELS, ShardWord

#: Levels a side that a mirror holds: a snapshot's, and as many that come nearer to the middle.
MIRROR_LEVELS = 2 * DEPTH_LEVELS


class _Word(IntEnum):
    """Words of a side."""

    COUNT = 0
    #: 1 where worse levels exist that the mirror does not know; HORIZON is the last price known.
    IS_CUT = 1
    HORIZON = 2


@lean_kernel
def ask_depth(state: int, symbol: int) -> int:
    """Ask a shard for a depth snapshot; return the request's number. One reader at a time may ask.

    `state` is the address of the shard's state block.
    """
    request = load_acquire(state + ShardWord.DEPTH_REQUEST * 8) + 1
    store_release(state + ShardWord.DEPTH_SYMBOL * 8, symbol)
    store_release(state + ShardWord.DEPTH_REQUEST * 8, request)
    return request


@lean_kernel
def is_depth_answered(state: int, request: int) -> bool:
    """Tell whether the shard's depth levels are the answer to a request."""
    return bool(load_acquire(state + ShardWord.DEPTH_ANSWER * 8) == request)


@lean_kernel
def published_event(state: int) -> int:
    """Return the number of the last event whose command is committed: readers stop there."""
    return load_acquire(state + ShardWord.EVENT_SEQ * 8)


@lean_part
def _find(rows: NDArray[Any], side: int, count: int, sign: int, price_ticks: int) -> int:
    """Return the place of a price in a side, or where it belongs; `sign` is 1 where low is best."""
    low, high = int64(0), count
    while low < high:
        middle = (low + high) >> 1
        if sign * rows[side, middle]["price_ticks"] < sign * price_ticks:
            low = middle + 1
        else:
            high = middle
    return low


@lean_part
def _copy_level(rows: NDArray[Any], side: int, source: int, target: int) -> None:
    rows[side, target]["price_ticks"] = rows[side, source]["price_ticks"]
    rows[side, target]["qty_lots"] = rows[side, source]["qty_lots"]
    rows[side, target]["orders"] = rows[side, source]["orders"]


@lean_part
def _insert(
    rows: NDArray[Any], words: NDArray[np.int64], side: int, place: int, price: int, qty: int
) -> None:
    """Open a level; a full side forgets its worst one."""
    count = words[side, _Word.COUNT]
    capacity = rows.shape[1]
    if count == capacity:
        words[side, _Word.IS_CUT] = 1
        words[side, _Word.HORIZON] = rows[side, count - (1 if place == count else 2)]["price_ticks"]
        if place == count:
            return
        count -= 1
    for row in range(count, place, -1):
        _copy_level(rows, side, row - 1, row)
    rows[side, place]["price_ticks"] = price
    rows[side, place]["qty_lots"] = qty
    rows[side, place]["orders"] = 1
    words[side, _Word.COUNT] = count + 1


@lean_part
def _apply(rows: NDArray[Any], words: NDArray[np.int64], events: NDArray[Any], i: int) -> bool:
    """Apply one event; return False where it does not fit the mirror."""
    kind = int64(events[i]["kind"])
    if kind == EventKind.SYMBOL:
        return True
    side = int64(events[i]["side"]) - 1
    sign = int64(1) if side == Side.SELL - 1 else int64(-1)
    price, qty = events[i]["price_ticks"], events[i]["qty_lots"]
    if words[side, _Word.IS_CUT] and sign * price > sign * words[side, _Word.HORIZON]:
        return True
    count = words[side, _Word.COUNT]
    place = _find(rows, side, count, sign, price)
    is_there = place < count and rows[side, place]["price_ticks"] == price
    if kind == EventKind.ADD:
        if is_there:
            rows[side, place]["qty_lots"] += qty
            rows[side, place]["orders"] += 1
        else:
            _insert(rows, words, side, place, price, qty)
        return True
    if not is_there:
        return False
    is_gone = kind == EventKind.DELETE or events[i]["leaves_qty"] == 0
    rows[side, place]["qty_lots"] -= qty
    rows[side, place]["orders"] -= int64(1) if is_gone else int64(0)
    orders, left = rows[side, place]["orders"], rows[side, place]["qty_lots"]
    if orders == 0:
        for row in range(place + 1, count):
            _copy_level(rows, side, row, row - 1)
        words[side, _Word.COUNT] = count - 1
    return bool(left == 0 if orders == 0 else left > 0)


@lean_kernel
def apply_events(
    rows: NDArray[Any], words: NDArray[np.int64], events: NDArray[Any], symbol: int
) -> int:
    """Apply a symbol's events to a mirror; return how many did not fit (0, or there is a bug)."""
    faults = 0
    for i in range(len(events)):
        if events[i]["symbol"] == symbol and not _apply(rows, words, events, i):
            faults += 1
    return faults


class BookMirror:
    """One symbol's book by price: bids and asks as DEPTH_LEVEL rows, best first."""

    def __init__(self, symbol: int) -> None:
        self.symbol = symbol
        #: The last event that the mirror includes.
        self.event_seq = 0
        #: Events that did not fit: the mirror is wrong, and wants a snapshot.
        self.faults = 0
        self._rows = np.zeros((2, MIRROR_LEVELS), DEPTH_LEVEL)
        self._words = np.zeros((2, len(_Word)), np.int64)

    def load(self, bids: NDArray[Any], asks: NDArray[Any], event_seq: int) -> None:
        """Start from a snapshot, which includes all events up to `event_seq`."""
        for side, levels in enumerate((bids, asks)):
            count = len(levels)
            self._rows[side, :count] = levels
            is_cut = count >= DEPTH_LEVELS
            horizon = int(levels[-1]["price_ticks"]) if is_cut else 0
            self._words[side] = (count, is_cut, horizon)
        self.event_seq = event_seq
        self.faults = 0

    def apply(self, events: NDArray[Any]) -> None:
        """Apply the events that follow the last ones, those of other symbols included.

        Raises:
            ValueError: Events are missing in between.
        """
        if not len(events):
            return
        first, last = int(events[0]["event_seq"]), int(events[-1]["event_seq"])
        if first != self.event_seq + 1 or last - first + 1 != len(events):
            raise ValueError(f"events {first} to {last} do not follow event {self.event_seq}")
        self.faults += int(apply_events(self._rows, self._words, events, self.symbol))
        self.event_seq = last

    def needs_snapshot(self, levels: int) -> bool:
        """Return whether fewer levels are known than are wanted and exist."""
        counts, cuts = self._words[:, _Word.COUNT], self._words[:, _Word.IS_CUT]
        return self.faults > 0 or bool(np.any((cuts == 1) & (counts < levels)))

    def levels(self, side: Side, count: int) -> NDArray[Any]:
        """Return a side's first levels, best first, as a copy."""
        known = int(self._words[side - 1, _Word.COUNT])
        return self._rows[side - 1, : min(count, known)].copy()

    @property
    def bids(self) -> NDArray[Any]:
        """All bids known, best first."""
        return self.levels(Side.BUY, MIRROR_LEVELS)

    @property
    def asks(self) -> NDArray[Any]:
        """All asks known, best first."""
        return self.levels(Side.SELL, MIRROR_LEVELS)

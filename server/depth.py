"""A reader of one symbol's market data in a running venue: its book by price, and its trades.

It reads the shard's broadcast ring in shared memory, so the shard does not know that it exists, but
for the depth snapshots that it asks for: at first, and whenever it was overrun.
"""

import fcntl
import os
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from openoutcry.engine.enums import EventKind, Side
from openoutcry.engine.events import OVERRUN, read_events
from openoutcry.engine.mirror import BookMirror, ask_depth, is_depth_answered, published_event
from openoutcry.engine.records import EVENT
from openoutcry.engine.state import SHARD_WORDS, ShardWord
from openoutcry.server.memory import VenueMemory, VenueWord
from openoutcry.server.venues import CardSymbol, RunningVenue

#: How long a snapshot may take, a wait for other readers included.
SNAPSHOT_TIMEOUT_S = 5.0
_POLL_S = 0.0005
_BATCH_EVENTS = 8192
#: Trades remembered, for what is shown of them.
_LAST_TRADES = 64


class VenueGoneError(Exception):
    """The venue does not answer or has stopped."""


class Trade(NamedTuple):
    """A trade, in ticks and lots; `aggressor` is the side that took."""

    time_ns: int
    trade_id: int
    price_ticks: int
    qty_lots: int
    aggressor: Side


class BookFeed:
    """One symbol's book and trades, as of the last `update`.

    Attributes:
        mirror: the book by price.
        trades, volume_lots: since the feed began; what an overrun lost is not in them.
        last_trades: the latest, newest last; some may be older than the feed.
        snapshots: how many were taken; overruns: how many because events were gone.
    """

    def __init__(self, venue: RunningVenue, symbol: CardSymbol, levels: int = 20) -> None:
        """Map the venue's memory and take the first snapshot.

        Args:
            venue: Where.
            symbol: Which.
            levels: How many levels a side `mirror` is to know at least, where they exist.

        Raises:
            VenueGoneError: The shard does not answer.
        """
        try:
            self._memory = VenueMemory.open(venue.folder)
        except (OSError, ValueError) as error:
            raise VenueGoneError(f"cannot read the venue's shared memory: {error}") from error
        self.venue = venue
        self.symbol = symbol
        self.mirror = BookMirror(symbol.number)
        self.trades = 0
        self.volume_lots = 0
        self.last_trades: deque[Trade] = deque(maxlen=_LAST_TRADES)
        self.snapshots = 0
        self.overruns = 0
        #: Time of the last event seen, ns since 1970; 0 before the first.
        self.time_ns = 0
        self._levels = levels
        self._ring = self._memory.events[symbol.shard]
        self._state = int(self._memory.shards.ctypes.data) + symbol.shard * SHARD_WORDS * 8
        self._words = self._memory.shards[symbol.shard]
        self._batch = np.zeros(_BATCH_EVENTS, EVENT)
        self._snapshot()
        self._look_back()

    def update(self) -> None:
        """Take in all that was published up to now.

        Raises:
            VenueGoneError: The venue has stopped, or does not answer.
        """
        if not self._memory.venue[VenueWord.SERVES] or not self.venue.is_alive():
            raise VenueGoneError("the venue has stopped")
        published = int(published_event(self._state))
        while self.mirror.event_seq < published:
            limit = min(len(self._batch), published - self.mirror.event_seq)
            count = int(read_events(self._ring, self.mirror.event_seq + 1, self._batch, limit))
            if count == OVERRUN:
                self.overruns += 1
                self._snapshot()
                published = int(published_event(self._state))
                continue
            events = self._batch[:count]
            self.mirror.apply(events)
            trades = self._take_trades(events)
            self.trades += len(trades)
            self.volume_lots += int(trades["qty_lots"].sum())
        if self.mirror.needs_snapshot(self._levels):
            self._snapshot()

    def _take_trades(self, events: NDArray[Any]) -> NDArray[Any]:
        """Remember the last of the symbol's trades among events; return all of them."""
        if not len(events):
            return events
        self.time_ns = int(events[-1]["time_ns"])
        is_trade = (events["symbol"] == self.symbol.number) & (events["kind"] == EventKind.EXECUTE)
        trades: NDArray[Any] = events[is_trade]
        for event in trades[-_LAST_TRADES:]:
            # The event's side is that of the order that rested.
            aggressor = Side.SELL if event["side"] == Side.BUY else Side.BUY
            self.last_trades.append(
                Trade(
                    int(event["time_ns"]),
                    int(event["trade_id"]),
                    int(event["price_ticks"]),
                    int(event["qty_lots"]),
                    aggressor,
                )
            )
        return trades

    def _look_back(self) -> None:
        """Find the last trades before the first snapshot in what the ring still holds."""
        last = self.mirror.event_seq
        # Not all that it holds: the oldest are overwritten as we read.
        limit = min(len(self._batch), len(self._ring) // 2, last)
        count = int(read_events(self._ring, last - limit + 1, self._batch, limit))
        if count != OVERRUN:
            self._take_trades(self._batch[:count])

    def _snapshot(self) -> None:
        """Ask the shard for the book, and start again from there."""
        shard = self.symbol.shard
        deadline = time.monotonic() + SNAPSHOT_TIMEOUT_S
        # The shard has one place for answers: readers take turns.
        with self._turn(deadline):
            request = int(ask_depth(self._state, self.symbol.number))
            while not is_depth_answered(self._state, request):
                if time.monotonic() > deadline:
                    raise VenueGoneError(f"shard {shard} does not answer")
                time.sleep(_POLL_S)
            levels = self._memory.depth_levels[shard]
            self.mirror.load(
                levels[0, : int(self._words[ShardWord.DEPTH_BIDS])],
                levels[1, : int(self._words[ShardWord.DEPTH_ASKS])],
                int(self._words[ShardWord.DEPTH_EVENT_SEQ]),
            )
        self.snapshots += 1

    @contextmanager
    def _turn(self, deadline: float) -> Iterator[None]:
        """Hold the lock of the shard's snapshots; the system frees it when a reader dies."""
        path = self.venue.folder / f"depth-{self.symbol.shard}.lock"
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise VenueGoneError("the venue has stopped") from error
        try:
            while True:
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except OSError:
                    if time.monotonic() > deadline:
                        text = f"another reader holds {path}"
                        raise VenueGoneError(text) from None
                    time.sleep(_POLL_S)
            yield
        finally:
            os.close(fd)

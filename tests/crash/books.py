"""Holds a running venue's books against a replay of the whole log, between two kills.

Clients are at rest. A shard's log is executed twice: from the first command on, and from the newest
snapshot on. Both must end with the same state hash. What the shard itself answers when it is asked
for the depth of a symbol must be what the replayed book has, and so must the book of a reader of
market data who was there before the kill and after it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from openoutcry.engine.enums import Side
from openoutcry.engine.market import depth
from openoutcry.engine.mirror import BookMirror
from openoutcry.engine.records import DEPTH_LEVEL
from openoutcry.engine.state import DEPTH_LEVELS
from openoutcry.server.depth import BookFeed
from openoutcry.server.replica import Replica
from openoutcry.server.venues import RunningVenue, find_venue


class Books:
    """The books of the venue that runs on a data directory."""

    def __init__(self, data: Path, shards: int) -> None:
        self._data = data
        self._shards = shards
        self._venue: RunningVenue | None = None
        #: Symbol → who reads it since the venue was started.
        self._feeds: dict[str, BookFeed] = {}

    def begin(self) -> None:
        """Read the market data of the venue that runs; readers of the one before went with it."""
        venue = find_venue(data_dir=self._data)
        if venue != self._venue:
            self._venue = venue
            self._feeds = {each.name: BookFeed(venue, each) for each in venue.card.symbols}

    def check(self) -> Iterator[str]:
        """Yield what differs. Nothing may be under way."""
        self.begin()
        for shard in range(self._shards):
            whole = Replica.open(self._data, shard, snapshot=False)
            short = Replica.open(self._data, shard)
            try:
                whole.follow()
                # The venue may have logged the time since.
                short.follow(stop_seq=whole.seq)
                if _stand(whole) != _stand(short):
                    yield (
                        f"shard {shard}: the whole log makes {_stand(whole)}, what follows the "
                        f"snapshot behind command {short.snapshot_seq} makes {_stand(short)}"
                    )
                yield from self._check_shown(shard, whole)
            finally:
                whole.close()
                short.close()

    def _check_shown(self, shard: int, replica: Replica) -> Iterator[str]:
        assert self._venue is not None
        for name, feed in self._feeds.items():
            symbol = feed.symbol
            if symbol.shard != shard:
                continue
            booked = [_levels(replica, symbol.number, side) for side in Side]
            asked = _shown(BookFeed(self._venue, symbol).mirror)
            if asked != booked:
                yield f"shard {shard} shows {asked} of {name}, the log makes {booked}"
            feed.update()
            if _shown(feed.mirror) != booked:
                yield f"events make {_shown(feed.mirror)} of {name}, the log makes {booked}"
            if feed.snapshots > 1 + feed.overruns:
                yield f"events of {name} did not fit the book of who read them"


def _stand(replica: Replica) -> tuple[int, ...]:
    return (
        *(replica.seq, replica.state_hash(), replica.epoch, replica.log_bytes),
        *(replica.report_seq, replica.report_bytes, replica.event_seq, *replica.ring_positions),
    )


def _shown(mirror: BookMirror) -> list[Any]:
    return [mirror.bids.tolist(), mirror.asks.tolist()]


def _levels(replica: Replica, symbol: int, side: Side) -> Any:
    rows = np.zeros(DEPTH_LEVELS, DEPTH_LEVEL)
    count = int(depth(replica.book, symbol, side.value, rows))
    return rows[:count].tolist()

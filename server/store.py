"""Where a gateway's sessions keep their numbers, and from where what was sent is sent again."""

import logging
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from openoutcry.engine.records import SHARD_SHIFT
from openoutcry.engine.state import ShardWord
from openoutcry.protocol.fix.store import Run, mark_resent
from openoutcry.server.sessions import (
    BLOCK_ENTRIES,
    BLOCK_HEADER_WORDS,
    SOURCE_ADMINISTRATIVE,
    SOURCE_ANSWER,
)

if TYPE_CHECKING:
    from openoutcry.server.gateway import Gateway

log = logging.getLogger(__name__)

_POSITION_MASK = (1 << SHARD_SHIFT) - 1


class RowState:
    """A session's two numbers, kept in the row that the kernels use too."""

    def __init__(self, row: Any) -> None:
        self._row = row

    @property
    def next_in(self) -> int:
        """The number due next from the client."""
        return int(self._row["next_in"])

    @next_in.setter
    def next_in(self, number: int) -> None:
        self._row["next_in"] = number

    @property
    def next_out(self) -> int:
        """The number of the next message to the client."""
        return int(self._row["next_out"])

    @next_out.setter
    def next_out(self, number: int) -> None:
        self._row["next_out"] = number


class SentMessages:
    """What one session was sent, to be sent again; made by shards or by the gateway itself."""

    def __init__(self, gateway: "Gateway", session: int) -> None:
        self._gateway = gateway
        self._session = session

    def runs(
        self,
        first: int,
        last: int,
        again: Callable[[int, bytes], bytes],
        *,
        now_ms: int = 0,
        repeat_below: int = 0,
    ) -> Iterator[Run]:
        """Yield the messages first … last in runs: (first, last, the bytes or None).

        None stands for administrative and unknown numbers. `again` gives the bytes of a message
        that the gateway made from its number and what was stored; for now_ms and repeat_below see
        `openoutcry.server.resend.encode_again`.
        """
        gateway, session = self._gateway, self._session
        number = first
        oldest = int(gateway.index.rows[session]["oldest_out"])
        if number < oldest:
            # What retention gave up cannot be sent any more.
            yield number, min(last, oldest - 1), None
            number = oldest
        while number <= last:
            found = gateway.index.block_of(session, number)
            if found is None:
                yield number, last, None
                return
            start, words = found
            stop = min(int(words[4]), BLOCK_ENTRIES, last - start + 1)
            entry = number - start
            if entry >= stop:
                yield number, last, None
                return
            source = int(words[BLOCK_HEADER_WORDS + 2 * entry + 1])
            data: bytes | None = None
            sources = words[BLOCK_HEADER_WORDS + 1 + 2 * entry :: 2][: stop - entry]
            unknown = np.flatnonzero(~self._are_there(sources))
            if len(unknown) and unknown[0] == 0:
                log.error("the index is damaged: session=%d number=%d", session, number)
                entry += 1
            elif source > SOURCE_ADMINISTRATIVE:
                entry, data = gateway.resender.encode(
                    session,
                    words,
                    entry,
                    entry + int(unknown[0]) if len(unknown) else stop,
                    number=number,
                    now_ms=now_ms,
                    repeat_below=repeat_below,
                )
                if entry == number - start:
                    log.error("the index is damaged: session=%d number=%d", session, number)
                    entry, data = entry + 1, None
            elif SOURCE_ANSWER < source < SOURCE_ADMINISTRATIVE:
                if gateway.index.stored_message(source) is not None:
                    data = again(number, gateway.index.stored_bytes(source))
                else:
                    log.error("a stored message is damaged: session=%d number=%d", session, number)
                entry += 1
            else:
                others = np.flatnonzero(
                    (sources != SOURCE_ADMINISTRATIVE) & (sources > SOURCE_ANSWER)
                )
                entry = entry + int(others[0]) if len(others) else stop
            yield number, start + entry - 1, data
            number = start + entry

    def _are_there(self, sources: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Tell of each source whether it is none of a report, or of one that a shard has written;
        an index that is damaged may name others, which nothing can read."""
        released = self._gateway.memory.shards[:, ShardWord.RELEASED_POSITION]
        shards = sources >> SHARD_SHIFT
        ends = released[np.minimum(np.maximum(shards, 0), len(released) - 1)]
        is_there = (shards < len(released)) & ((sources & _POSITION_MASK) < ends)
        return is_there | (sources <= SOURCE_ADMINISTRATIVE)


class GatewayStore:
    """The FIX message store of one session: `openoutcry.protocol.fix.store.MessageStore`."""

    def __init__(self, gateway: "Gateway", session: int) -> None:
        self._gateway = gateway
        self._session = session
        self._sent = SentMessages(gateway, session)

    def record(
        self, number: int, sending_time_ms: int, frame: bytes | None, answers: int = 0
    ) -> None:
        """Note a message that Python made, before its first byte leaves."""
        index = self._gateway.index
        if frame is not None:
            source = index.store_bytes(frame, self._session, answers)
        elif answers:
            source = SOURCE_ANSWER - answers
        else:
            source = SOURCE_ADMINISTRATIVE
        index.append(self._session, number, sending_time_ms, source)

    def resent(self, first: int, last: int, now_ms: int) -> Iterator[Run]:
        """Yield runs of messages as they are sent again."""
        return self._sent.runs(
            first, last, lambda _, frame: mark_resent(frame, now_ms), now_ms=now_ms
        )

    def first_time(self, first: int, last: int) -> Iterator[Run]:
        """Yield runs of messages as they would have been sent at first."""
        return self._sent.runs(first, last, lambda _, frame: frame)

    def reset(self) -> None:
        """Start a new epoch."""
        gateway = self._gateway
        gateway.index.reset(self._session, gateway.now_ms())

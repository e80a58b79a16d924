"""Sent messages, kept so that a ResendRequest can be answered.

The session records every outgoing message before it hands out the first byte (number and bytes
together), so that after a crash a message may be sent again with PossDupFlag(43)=Y, but never
another one under its number. Administrative messages are recorded by their number alone: they are
never resent, a gap fill covers them.

`MessageStore` is the interface; the gateway implements it over its index and the report log.
`MemoryStore` and `FileStore` (which keeps the sequence numbers, too) serve clients and tests.
"""

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeAlias

from openoutcry.protocol.fix.stamps import format_utc_ms, format_utc_s

SOH = b"\x01"

#: Neighbouring numbers, first to last: their messages, or None for such as are gap-filled.
Run: TypeAlias = tuple[int, int, bytes | None]


class MessageStore(Protocol):
    """What a session needs to answer a ResendRequest.

    All frames are whole messages, from `8=` to the SOH after CheckSum(10).
    """

    def record(
        self, number: int, sending_time_ms: int, frame: bytes | None, answers: int = 0
    ) -> None:
        """Keep a message before its first byte is sent; frame None means administrative.

        `answers` is the number of the peer's message that this one answers, below 0 where more of
        the answer follows, 0 where it answers none: a store that survives a crash knows by it which
        messages, asked for again, are answered already.
        """

    def resent(self, first: int, last: int, now_ms: int) -> Iterator[Run]:
        """Yield all numbers from first to last in runs, messages made ready to be sent again.

        Ready means 43=Y, 122 = the first SendingTime(52), a new 52 from now_ms, lengths computed
        anew; nothing else changes. A run holds one message or more, or is of administrative and
        unknown numbers; the session merges neighbours of the latter. A run is made when it is
        asked for, and should not be much larger than what is sent at a time.
        """

    def first_time(self, first: int, last: int) -> Iterator[Run]:
        """Yield all numbers from first to last in runs, messages as they were first to be sent.

        For messages that were numbered while a resend was running.
        """

    def reset(self) -> None:
        """Discard everything: the next number to be recorded is 1."""


class MemoryStore:
    """Keep sent messages in a dict: for tests, and for clients that start anew each time."""

    def __init__(self) -> None:
        self._frames: dict[int, bytes] = {}

    def record(
        self, number: int, sending_time_ms: int, frame: bytes | None, answers: int = 0
    ) -> None:
        """Keep the frame of an application message."""
        if frame is not None:
            self._frames[number] = frame

    def resent(self, first: int, last: int, now_ms: int) -> Iterator[Run]:
        """Yield runs of messages marked as resent."""
        return as_resent(self.first_time(first, last), now_ms)

    def first_time(self, first: int, last: int) -> Iterator[Run]:
        """Yield runs of messages as recorded."""
        return as_runs((number, self._frames.get(number)) for number in range(first, last + 1))

    def reset(self) -> None:
        """Forget all."""
        self._frames.clear()


def as_runs(frames: Iterable[tuple[int, bytes | None]]) -> Iterator[Run]:
    """Yield each message as a run of its own, and neighbours without one as a single run."""
    empty_from = 0
    number = 0
    for number, frame in frames:
        if frame is None:
            empty_from = empty_from or number
            continue
        if empty_from:
            yield empty_from, number - 1, None
            empty_from = 0
        yield number, number, frame
    if empty_from:
        yield empty_from, number, None


def as_resent(runs: Iterable[Run], now_ms: int) -> Iterator[Run]:
    """Yield runs of single messages as they go out again."""
    for first, last, frame in runs:
        yield first, last, None if frame is None else mark_resent(frame, now_ms)


def mark_resent(frame: bytes, now_ms: int) -> bytes:
    """Return the frame as it goes out again: 43=Y, 122 = its 52, 52 = now, 9 and 10 computed anew.

    The frame is one of our own: well-formed, with SendingTime(52) in its header, without 43 and
    122.

    Raises:
        ValueError: The frame has no SendingTime(52).
    """
    begin = frame.index(SOH) + 1
    body = frame.index(SOH, begin) + 1
    trailer = frame.rindex(SOH, 0, len(frame) - 1) + 1
    start = frame.index(b"\x0152=", body - 1) + 1
    end = frame.index(SOH, start)
    first_time = frame[start + 3 : end]
    # As long as the first one: FIX 4.0 and 4.1 have no milliseconds.
    stamp = format_utc_ms(now_ms) if b"." in first_time else format_utc_s(now_ms)
    stamps = b"43=Y\x0152=%b\x01122=%b" % (stamp, first_time)
    return seal(frame[:begin], frame[body:start] + stamps + frame[end:trailer])


def seal(begin: bytes, body: bytes) -> bytes:
    """Return `begin` (`8=…|`) and `body` (`35=` to the SOH before `10=`) with their 9 and 10."""
    head = b"%b9=%d\x01%b" % (begin, len(body), body)
    return b"%b10=%03d\x01" % (head, sum(head) & 0xFF)

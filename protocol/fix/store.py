"""Sent messages, kept so that a ResendRequest can be answered.

The session records every outgoing message before it hands out the first byte (number and bytes
together), so that after a crash a message may be sent again with PossDupFlag(43)=Y, but never
another one under its number. Administrative messages are recorded by their number alone: they are
never resent, a gap fill covers them.

`MessageStore` is the interface; the gateway implements it over its index and the report log.
`MemoryStore` and `FileStore` (which keeps the sequence numbers, too) serve clients and tests.
"""

from collections.abc import Iterator
from typing import Protocol

from openoutcry.protocol.fix.stamps import format_utc_ms, format_utc_s

SOH = b"\x01"


class MessageStore(Protocol):
    """What a session needs to answer a ResendRequest.

    All frames are whole messages, from `8=` to the SOH after CheckSum(10).
    """

    def record(self, number: int, sending_time_ms: int, frame: bytes | None) -> None:
        """Keep a message before its first byte is sent; frame None means administrative."""

    def resent(self, first: int, last: int, now_ms: int) -> Iterator[tuple[int, bytes | None]]:
        """Yield every number from first to last with its frame made ready to be sent again.

        Ready means 43=Y, 122 = the first SendingTime(52), a new 52 from now_ms, lengths computed
        anew; nothing else changes. None stands for an administrative or unknown number: the
        session merges them into a gap fill.
        """

    def first_time(self, first: int, last: int) -> Iterator[tuple[int, bytes | None]]:
        """Yield every number from first to last with its frame as it was first to be sent.

        For messages that were numbered while a resend was running.
        """

    def reset(self) -> None:
        """Discard everything: the next number to be recorded is 1."""


class MemoryStore:
    """Keep sent messages in a dict: for tests, and for clients that start anew each time."""

    def __init__(self) -> None:
        self._frames: dict[int, bytes] = {}

    def record(self, number: int, sending_time_ms: int, frame: bytes | None) -> None:
        """Keep the frame of an application message."""
        if frame is not None:
            self._frames[number] = frame

    def resent(self, first: int, last: int, now_ms: int) -> Iterator[tuple[int, bytes | None]]:
        """Yield the numbers with frames marked as resent."""
        for number, frame in self.first_time(first, last):
            yield number, None if frame is None else mark_resent(frame, now_ms)

    def first_time(self, first: int, last: int) -> Iterator[tuple[int, bytes | None]]:
        """Yield the numbers with frames as recorded."""
        for number in range(first, last + 1):
            yield number, self._frames.get(number)

    def reset(self) -> None:
        """Forget all."""
        self._frames.clear()


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

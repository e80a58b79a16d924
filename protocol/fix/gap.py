"""What is missing on the way in, and what came above it and waits."""

import heapq

from openoutcry.protocol.fix.message import Message

# A gap is asked for so often while Expected stands still; then the session ends.
_MOST_REQUESTS = 3


class Gap:
    """The first gap of the numbers on the way in, if there is one, and the messages above it."""

    def __init__(self, max_queued: int) -> None:
        self._max_queued = max_queued
        #: The last missing number below the first message that showed the gap; 0 means no gap.
        self.last = 0
        #: When to ask again.
        self.deadline_ms = 0
        # What was due when the peer was last asked, and how often that was.
        self._asked_from = 0
        self._requests = 0
        # Messages above a gap by number; None marks one that was acted upon at once.
        self._queue: dict[int, Message | None] = {}
        # The numbers in `_queue`, and perhaps some that left it.
        self._heap: list[int] = []

    @property
    def is_open(self) -> bool:
        """Whether numbers are missing."""
        return self.last != 0

    def open(self, last: int) -> None:
        """Begin to wait for the numbers up to the last."""
        self.last = last
        self._requests = 0

    def wait(self, expected: int, deadline_ms: int) -> None:
        """Note from which number on, and until when, the peer is to fill the gap."""
        self._asked_from = expected
        self.deadline_ms = deadline_ms

    def note_request(self) -> None:
        """Count a ResendRequest for this gap."""
        self._requests += 1

    def is_hopeless(self, expected: int) -> bool:
        """Whether the peer was asked often enough without any effect."""
        if expected > self._asked_from:
            self._requests = 0
        return self._requests >= _MOST_REQUESTS

    def close_if_filled(self, expected: int) -> bool:
        """End the gap where its last number has come; True if it has just done so."""
        is_filled = self.is_open and expected > self.last
        if is_filled:
            self.last = 0
        return is_filled

    def forget(self) -> None:
        """Forget the gap and what waits above it."""
        self._queue.clear()
        self._heap.clear()
        self.last = 0

    # -- the queue

    def __contains__(self, number: int) -> bool:
        return number in self._queue

    def enqueue(self, number: int, message: Message | None) -> None:
        """Keep what came above a gap while there is room; the first message of a number counts."""
        if number not in self._queue and len(self._queue) < self._max_queued:
            self._queue[number] = message
            heapq.heappush(self._heap, number)

    def take(self, number: int) -> Message | None:
        """Take out the message of a number that is there."""
        return self._queue.pop(number)

    def lowest_above(self, expected: int) -> int | None:
        """Return the lowest number that waits, and drop what a gap fill passed over.

        The peer has declared those numbers void. The heap finds the lowest without a look at all
        that wait.
        """
        while self._heap and self._heap[0] <= expected:
            self._queue.pop(heapq.heappop(self._heap), None)
        return self._heap[0] if self._heap else None

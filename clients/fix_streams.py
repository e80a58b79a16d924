"""What a client tells its user, as asynchronous iterators."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Stream(Generic[T]):
    """All items from its making on, as an asynchronous iterator; what is not read is kept."""

    def __init__(self, hub: "Hub[T]") -> None:
        self._hub = hub
        self._queue: asyncio.Queue[tuple[T] | None] = asyncio.Queue()

    def __aiter__(self) -> AsyncIterator[T]:
        return self

    async def __anext__(self) -> T:
        item = await self._queue.get()
        if item is not None:
            return item[0]
        # The end stays the end, for whoever else reads, too.
        self._queue.put_nowait(None)
        raise StopAsyncIteration

    def close(self) -> None:
        """Stop listening."""
        with contextlib.suppress(ValueError):
            self._hub.streams.remove(self)

    def put(self, item: T) -> None:
        """Add an item."""
        self._queue.put_nowait((item,))

    def end(self) -> None:
        """Let the iterator end behind what waits in it."""
        self._queue.put_nowait(None)


class Hub(Generic[T]):
    """The streams that items go to."""

    def __init__(self) -> None:
        self.streams: list[Stream[T]] = []
        self._is_ended = False

    def open(self) -> Stream[T]:
        """Return a new stream; it ends at once where all have ended."""
        stream = Stream(self)
        self.streams.append(stream)
        if self._is_ended:
            stream.end()
        return stream

    def publish(self, item: T) -> None:
        """Give an item to all streams."""
        for stream in self.streams:
            stream.put(item)

    def end(self) -> None:
        """End all streams."""
        if not self._is_ended:
            self._is_ended = True
            for stream in self.streams:
                stream.end()

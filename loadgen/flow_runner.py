"""Sends a file's events through a link, several requests in flight, and gathers what came of it."""

import asyncio
import time
from collections.abc import Callable

from openoutcry.loadgen.flow_files import FlowFile
from openoutcry.loadgen.flow_links import FlowError, Link
from openoutcry.loadgen.flow_mapping import Mapper, causal_order
from openoutcry.loadgen.flow_orders import AnswerKind, OwnOrder, OwnOrders, Request
from openoutcry.protocol.binary.enums import Side

#: Seconds without any answer, while some are due, after which the venue counts as stuck.
SILENCE_S = 30.0
_PROGRESS_EVERY = 1000


class FlowRunner:
    """One file through one session.

    One session keeps the file's order, so nothing but the window limits what is in flight. Before
    an event whose request depends on an order's state, an order status request is sent and its
    answer awaited: a shard answers in the order asked, so by then all that was sent is known.
    """

    def __init__(
        self,
        link: Link,
        mapper: Mapper,
        *,
        window: int = 256,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        self.own = OwnOrders()
        self.mapper = mapper
        self.requests = 0
        self.status_requests = 0
        self.elapsed_s = 0.0
        self._link = link
        self._window = window
        self._progress = progress
        self._in_flight: set[str] = set()
        self._statuses_due = 0
        self._last: dict[str, Request] = {}
        self._audited: dict[str, OwnOrder] = {}
        self._moved = asyncio.Event()

    async def run(self, file: FlowFile) -> None:
        """Send every event and wait for the last answer.

        Raises:
            FlowError: the venue refused a message, ended the session or fell silent.
        """
        reader = asyncio.create_task(self._read())
        sender = asyncio.create_task(self._send_all(file))
        began = time.monotonic()
        try:
            await asyncio.wait({reader, sender}, return_when=asyncio.FIRST_COMPLETED)
            if not sender.done():
                reader.result()
                raise FlowError("the venue ended the session")
            sender.result()
        finally:
            for task in (reader, sender):
                task.cancel()
            await asyncio.gather(reader, sender, return_exceptions=True)
            self.elapsed_s = time.monotonic() - began
        left = list(self.own.unmatched_fills)
        if left:
            raise FlowError(f"only one side of {len(left)} trades was reported, such as {left[0]}")

    async def _send_all(self, file: FlowFile) -> None:
        for event, was_held in causal_order(file.events):
            if self.mapper.needs_state(event):
                symbol = event.symbol or self.mapper.file.orders[event.order_id].symbol
                await self._settle(symbol)
            decision = self.mapper.decide(event, self.own, was_held=was_held)
            for request in decision.requests:
                await self._send(request)
            if self._progress is not None and event.number % _PROGRESS_EVERY == 0:
                self._progress(event.number)
        for symbol in list(self._last):
            await self._settle(symbol)
        await self._until(lambda: not self._in_flight)
        await self._audit()

    async def _audit(self) -> None:
        """Ask the venue how each order stands that should rest: its book must say the same."""
        for order in self.own.resting().values():
            self._audited[order.cl_ord_id] = order
            await self._until(lambda: self._statuses_due < self._window)
            await self._ask(order.cl_ord_id, order.symbol, order.side)
        await self._until(lambda: self._statuses_due == 0)

    async def _settle(self, symbol: str) -> None:
        """Wait until all that was sent for a symbol is answered."""
        last = self._last.get(symbol)
        if last is None:
            return
        await self._ask(last.cl_ord_id, last.symbol, last.side)
        await self._until(lambda: self._statuses_due == 0)

    async def _ask(self, cl_ord_id: str, symbol: str, side: Side) -> None:
        self._statuses_due += 1
        self.status_requests += 1
        await self._link.ask(cl_ord_id, symbol, side)

    async def _send(self, request: Request) -> None:
        await self._until(lambda: len(self._in_flight) < self._window)
        self.own.sent(request)
        self._in_flight.add(request.cl_ord_id)
        self._last[request.symbol] = request
        self.requests += 1
        await self._link.send(request)

    async def _until(self, is_reached: Callable[[], bool]) -> None:
        while not is_reached():
            self._moved.clear()
            try:
                async with asyncio.timeout(SILENCE_S):
                    await self._moved.wait()
            except TimeoutError:
                due = len(self._in_flight)
                raise FlowError(f"no answer for {SILENCE_S:.0f} s, {due} are due") from None

    async def _read(self) -> None:
        async for answer in self._link.answers():
            if answer.kind is AnswerKind.STATUS:
                self._statuses_due -= 1
                order = self._audited.get(answer.cl_ord_id)
                if order is not None and not order.is_as(answer):
                    raise FlowError(
                        f"the venue holds {order.order_id} as {answer}, not as reported"
                    )
            else:
                self.own.answered(answer)
                self._in_flight.discard(answer.cl_ord_id)
            self._moved.set()

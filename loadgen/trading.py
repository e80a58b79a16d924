"""Simulated trading in one symbol: market makers quote around a random walk, takers hit them.

Each trader is a client of its own over FIX or the binary protocol, through the same client classes
that anybody uses. What they count is what the venue told them.
"""

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal

from openoutcry.clients import binary, fix
from openoutcry.loadgen.venue import endpoint

#: Seconds between two looks of a maker at the price, and between two moves of the price.
_STEP_S = 0.1
#: Mean seconds between two orders of a taker.
_TAKE_EVERY_S = 0.025
_SIDES = ("buy", "sell")


@dataclass(frozen=True, kw_only=True)
class Market:
    """What is traded, and how widely it is quoted."""

    symbol: str = "BTCUSDT"
    start: Decimal = Decimal("65000.00")
    #: Distance of two neighbouring quotes, and of the first ones from the middle price.
    step: Decimal = Decimal("0.25")
    half_spread: Decimal = Decimal("0.25")
    #: Quotes a side, each maker.
    levels: int = 20
    lot: Decimal = Decimal("0.00001")
    #: Smallest and largest quantity of a quote and of a taker's order, in lots.
    quote_lots: tuple[int, int] = (1_000, 150_000)
    take_lots: tuple[int, int] = (500, 120_000)
    makers: int = 2
    takers: int = 4


class Walk:
    """The price that all makers believe in, in steps."""

    def __init__(self, market: Market, seed: int) -> None:
        self._random = random.Random(seed)
        self.step = int(market.start / market.step)

    def move(self) -> None:
        """Move by no step or a few."""
        self.step += self._random.choice((-2, -1, -1, 0, 0, 0, 0, 0, 1, 1, 2))


@dataclass(slots=True)
class Tally:
    """What traders were told, both sides of each trade."""

    orders: int = 0
    replaces: int = 0
    cancels: int = 0
    fills: int = 0
    bought: Decimal = Decimal(0)
    sold: Decimal = Decimal(0)
    notional: Decimal = Decimal(0)
    #: Cancels and replaces that were declined: nearly all came too late, the order was filled.
    too_late: int = 0
    #: Orders that were declined, in words.
    declined: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Outcome:
    """A report, whatever protocol it came over."""

    cl_ord_id: str
    orig_cl_ord_id: str
    side: str
    last_qty: Decimal = Decimal(0)
    last_px: Decimal = Decimal(0)
    is_final: bool = False
    #: Why a cancel or replace was declined; empty for any other report.
    cancel_refusal: str = ""
    #: Why an order was declined.
    refusal: str = ""


def _binary_outcome(report: binary.Report | binary.Reject) -> _Outcome:
    if isinstance(report, binary.Reject):
        return _Outcome(report.cl_ord_id, "", "", refusal=report.text or f"reason {report.reason}")
    kind = binary.ReportKind
    reason = getattr(report.reason, "name", str(report.reason))
    is_trade = report.kind == kind.TRADE
    status = binary.OrderStatus
    final = (status.FILLED, status.CANCELED, status.REJECTED, status.EXPIRED)
    return _Outcome(
        report.cl_ord_id,
        report.orig_cl_ord_id,
        _SIDES[report.side - 1] if report.side in (1, 2) else "",
        report.last_qty if is_trade else Decimal(0),
        report.last_px if is_trade else Decimal(0),
        is_final=report.status in final,
        cancel_refusal=reason if report.kind == kind.CANCEL_REJECTED else "",
        refusal=reason if report.kind == kind.REJECTED else "",
    )


def _fix_outcome(report: fix.Report) -> _Outcome:
    if isinstance(report, fix.OrderCancelReject):
        reason = f"CxlRejReason(102)={report.cxl_rej_reason} {report.text}"
        is_final = report.ord_status in ("2", "4", "8", "C")
        return _Outcome(
            report.cl_ord_id, report.orig_cl_ord_id, "", is_final=is_final, cancel_refusal=reason
        )
    if not isinstance(report, fix.ExecutionReport):
        return _Outcome(report.cl_ord_id, "", "", refusal=report.text or "Reject")
    is_trade = report.exec_type == fix.ExecType.TRADE
    is_refused = report.exec_type == fix.ExecType.REJECTED
    return _Outcome(
        report.cl_ord_id,
        report.orig_cl_ord_id,
        "buy" if report.side == fix.Side.BUY else "sell",
        report.last_qty if is_trade else Decimal(0),
        (report.last_px or Decimal(0)) if is_trade else Decimal(0),
        is_final=report.is_final,
        refusal=f"OrdRejReason(103)={report.ord_rej_reason} {report.text}" if is_refused else "",
    )


class _Account:
    """One client, spoken to in the same words over either protocol."""

    def __init__(self, client: fix.FixClient | binary.BinaryClient, market: Market) -> None:
        self._client = client
        self._symbol = market.symbol
        self._ids = itertools.count(1)
        self.tally = Tally()

    def new_id(self, side: str) -> str:
        """Return a ClOrdID: ours, so that no report comes before its order is known here."""
        return f"{side}-{next(self._ids)}"

    async def new_order(
        self, cl_ord_id: str, side: str, qty: Decimal, price: Decimal | None = None
    ) -> None:
        """Send a limit order, or a market order where there is no price."""
        self.tally.orders += 1
        if isinstance(self._client, fix.FixClient):
            fix_side = fix.Side.BUY if side == "buy" else fix.Side.SELL
            fix_tif = fix.TimeInForce.DAY if price is not None else fix.TimeInForce.IOC
            await self._client.new_order(
                self._symbol, fix_side, qty, price, tif=fix_tif, cl_ord_id=cl_ord_id
            )
            return
        binary_side = binary.Side.BUY if side == "buy" else binary.Side.SELL
        tif = binary.TimeInForce.DAY if price is not None else binary.TimeInForce.IOC
        await self._client.new_order(
            self._symbol, binary_side, qty, price, tif=tif, cl_ord_id=cl_ord_id
        )

    async def replace(self, new_id: str, old_id: str, side: str, qty: Decimal, px: Decimal) -> None:
        """Give an order another quantity and price."""
        self.tally.replaces += 1
        if isinstance(self._client, fix.FixClient):
            fix_side = fix.Side.BUY if side == "buy" else fix.Side.SELL
            await self._client.replace(old_id, self._symbol, fix_side, qty, px, cl_ord_id=new_id)
            return
        await self._client.replace(old_id, self._symbol, qty, px, cl_ord_id=new_id)

    async def cancel(self, old_id: str, side: str) -> None:
        """Cancel an order."""
        self.tally.cancels += 1
        new_id = self.new_id(side)
        if isinstance(self._client, fix.FixClient):
            fix_side = fix.Side.BUY if side == "buy" else fix.Side.SELL
            await self._client.cancel(old_id, self._symbol, fix_side, cl_ord_id=new_id)
            return
        await self._client.cancel(old_id, self._symbol, cl_ord_id=new_id)

    async def outcomes(self) -> AsyncIterator[_Outcome]:
        """Yield what the venue answers, counting it."""
        if isinstance(self._client, fix.FixClient):
            async for fix_report in self._client.reports():
                yield self._counted(_fix_outcome(fix_report))
        else:
            async for report in self._client.reports():
                yield self._counted(_binary_outcome(report))

    def _counted(self, outcome: _Outcome) -> _Outcome:
        tally = self.tally
        if outcome.last_qty:
            tally.fills += 1
            tally.notional += outcome.last_qty * outcome.last_px
            if outcome.side == "buy":
                tally.bought += outcome.last_qty
            else:
                tally.sold += outcome.last_qty
        if outcome.refusal:
            tally.declined.append(f"{outcome.cl_ord_id}: {outcome.refusal}")
        elif outcome.cancel_refusal:
            tally.too_late += 1
        return outcome


class Maker:
    """Quotes both sides of the walk, and follows it."""

    def __init__(self, account: _Account, market: Market, walk: Walk, seed: int) -> None:
        self._account = account
        self._market = market
        self._walk = walk
        self._random = random.Random(seed)
        #: ClOrdID of each live quote by (side, price in steps), and back.
        self._quotes: dict[tuple[str, int], str] = {}
        self._places: dict[str, tuple[str, int]] = {}
        self._last_step = walk.step

    async def trade(self) -> None:
        """Follow the walk until cancelled."""
        while True:
            await self._requote()
            await asyncio.sleep(_STEP_S * self._random.uniform(0.7, 1.3))

    async def listen(self) -> None:
        """Take in what happens to the quotes."""
        async for outcome in self._account.outcomes():
            if outcome.cancel_refusal and not outcome.is_final:
                # The old order still rests, under a name that we gave up: away with it.
                side = outcome.cl_ord_id.partition("-")[0]
                await self._account.cancel(outcome.orig_cl_ord_id, side)
            if outcome.is_final or outcome.cancel_refusal or outcome.refusal:
                self._forget(outcome.cl_ord_id)

    def _forget(self, cl_ord_id: str) -> None:
        place = self._places.pop(cl_ord_id, None)
        if place is not None and self._quotes.get(place) == cl_ord_id:
            del self._quotes[place]

    def _keep(self, cl_ord_id: str, place: tuple[str, int]) -> None:
        self._quotes[place] = cl_ord_id
        self._places[cl_ord_id] = place

    async def _requote(self) -> None:
        """Move the quotes that are in the wrong place, the side that the price moves away from us
        first: so a maker does not trade with itself.
        """
        market = self._market
        middle = self._walk.step
        first = int(market.half_spread / market.step)
        sides = ("sell", "buy") if middle >= self._last_step else ("buy", "sell")
        self._last_step = middle
        for side in sides:
            sign = 1 if side == "sell" else -1
            wanted = {(side, middle + sign * (first + n)) for n in range(market.levels)}
            missing = sorted(wanted - self._quotes.keys(), key=lambda place: sign * place[1])
            surplus = [place for place in self._quotes if place[0] == side and place not in wanted]
            for place in missing:
                qty = self._random.randint(*market.quote_lots) * market.lot
                price = place[1] * market.step
                new_id = self._account.new_id(side)
                if surplus:
                    old_id = self._quotes.pop(surplus.pop())
                    self._places.pop(old_id, None)
                    self._keep(new_id, place)
                    await self._account.replace(new_id, old_id, side, qty, price)
                else:
                    self._keep(new_id, place)
                    await self._account.new_order(new_id, side, qty, price)
            for place in surplus:
                old_id = self._quotes.pop(place)
                await self._account.cancel(old_id, side)


class Taker:
    """Sends market orders now and then."""

    def __init__(self, account: _Account, market: Market, seed: int) -> None:
        self._account = account
        self._market = market
        self._random = random.Random(seed)

    async def trade(self) -> None:
        """Take until cancelled."""
        while True:
            await asyncio.sleep(self._random.expovariate(1 / _TAKE_EVERY_S))
            qty = self._random.randint(*self._market.take_lots) * self._market.lot
            side = self._random.choice(_SIDES)
            await self._account.new_order(self._account.new_id(side), side, qty)

    async def listen(self) -> None:
        """Count what happens."""
        async for _ in self._account.outcomes():
            pass


class Trading:
    """All traders of a market, and their tally."""

    def __init__(self, market: Market, accounts: Sequence[_Account]) -> None:
        self.market = market
        self._accounts = accounts

    def tally(self) -> Tally:
        """Return what all traders together were told."""
        total = Tally()
        for account in self._accounts:
            one = account.tally
            total.orders += one.orders
            total.replaces += one.replaces
            total.cancels += one.cancels
            total.fills += one.fills
            total.bought += one.bought
            total.sold += one.sold
            total.notional += one.notional
            total.too_late += one.too_late
            total.declined += one.declined
        return total


@asynccontextmanager
async def trading(ready: dict[str, str], market: Market, seed: int) -> AsyncIterator[Trading]:
    """Trade while the context lasts; half of the traders over FIX, half over the binary protocol.

    At the end the takers stop, and all that was answered is counted. Raises what a client raises.
    """
    walk = Walk(market, seed)
    accounts: list[_Account] = []
    makers: list[Maker] = []
    takers: list[Taker] = []
    async with AsyncExitStack() as stack:
        for number in range(market.makers + market.takers):
            name = f"DEMO-{'MAKER' if number < market.makers else 'TAKER'}-{number + 1}"
            client: fix.FixClient | binary.BinaryClient
            if number % 2:
                host, port = endpoint(ready["binary"])
                client = binary.BinaryClient(host, port, name, history=1)
            else:
                host, port = endpoint(ready["fix"])
                client = fix.FixClient(host, port, name, history=1)
            await stack.enter_async_context(client)
            account = _Account(client, market)
            accounts.append(account)
            if number < market.makers:
                makers.append(Maker(account, market, walk, seed + number))
            else:
                takers.append(Taker(account, market, seed + number))
        traders: list[Maker | Taker] = [*makers, *takers]
        listening = [asyncio.create_task(trader.listen()) for trader in traders]
        acting = [asyncio.create_task(trader.trade()) for trader in traders]
        acting.append(asyncio.create_task(_move(walk)))
        try:
            yield Trading(market, accounts)
        finally:
            for task in acting:
                task.cancel()
            results = await asyncio.gather(*acting, return_exceptions=True)
            # What is on its way is counted, too.
            await asyncio.sleep(0.3)
            for task in listening:
                task.cancel()
            results += await asyncio.gather(*listening, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result


async def _move(walk: Walk) -> None:
    while True:
        await asyncio.sleep(_STEP_S)
        walk.move()

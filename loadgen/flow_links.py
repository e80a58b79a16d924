"""A venue over either protocol, as the flow tool needs it: requests out, answers in."""

from collections.abc import AsyncIterator
from decimal import Decimal
from types import TracebackType
from typing import Protocol, Self

from openoutcry.clients import binary, fix
from openoutcry.loadgen.flow_files import FlowSymbol
from openoutcry.loadgen.flow_orders import Answer, AnswerKind, Request, RequestKind
from openoutcry.protocol.binary.enums import Liquidity, ReportKind, Side
from openoutcry.protocol.fix.message import Message

_FIX_KINDS = {
    fix.ExecType.NEW: AnswerKind.NEW,
    fix.ExecType.TRADE: AnswerKind.TRADE,
    fix.ExecType.CANCELED: AnswerKind.CANCELED,
    fix.ExecType.REPLACED: AnswerKind.REPLACED,
    fix.ExecType.REJECTED: AnswerKind.REJECTED,
    fix.ExecType.EXPIRED: AnswerKind.EXPIRED,
    fix.ExecType.ORDER_STATUS: AnswerKind.STATUS,
}
_BINARY_KINDS = {
    ReportKind.NEW: AnswerKind.NEW,
    ReportKind.TRADE: AnswerKind.TRADE,
    ReportKind.CANCELED: AnswerKind.CANCELED,
    ReportKind.REPLACED: AnswerKind.REPLACED,
    ReportKind.REJECTED: AnswerKind.REJECTED,
    ReportKind.EXPIRED: AnswerKind.EXPIRED,
    ReportKind.STATUS: AnswerKind.STATUS,
    ReportKind.CANCEL_REJECTED: AnswerKind.CANCEL_REJECTED,
}


class FlowError(Exception):
    """The flow cannot go on; the message says why."""


class Link(Protocol):
    """A session with a venue."""

    async def __aenter__(self) -> Self:
        """Log on."""

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Log out."""

    async def send(self, request: Request) -> None:
        """Send a request."""

    async def ask(self, cl_ord_id: str, symbol: str, side: Side) -> None:
        """Ask how an order stands."""

    def answers(self) -> AsyncIterator[Answer]:
        """Return all answers from now on; ends with the session."""


class _Units:
    """A symbol's decimals to ticks and lots and back."""

    def __init__(self, symbol: FlowSymbol) -> None:
        self.tick = Decimal(symbol.tick)
        self.lot = Decimal(symbol.lot)

    def price(self, ticks: int) -> Decimal:
        return ticks * self.tick

    def qty(self, lots: int) -> Decimal:
        return lots * self.lot

    def ticks(self, price: Decimal | None) -> int:
        return 0 if price is None else _whole(price / self.tick)

    def lots(self, qty: Decimal) -> int:
        return _whole(qty / self.lot)


def _whole(value: Decimal) -> int:
    if value != int(value):
        raise FlowError(f"the venue reported {value} ticks or lots: another tick or lot size?")
    return int(value)


class FixLink:
    """One FIX session."""

    def __init__(self, host: str, port: int, session: str, symbols: tuple[FlowSymbol, ...]) -> None:
        self._client = fix.FixClient(host, port, session, reconnect=False, history=1)
        self._units = {symbol.name: _Units(symbol) for symbol in symbols}

    async def __aenter__(self) -> Self:
        await self._client.connect()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await (self._client.logout() if error is None else self._client.close())

    async def send(self, request: Request) -> None:
        """Send a request."""
        units = self._units[request.symbol]
        side = fix.Side(str(int(request.side)))
        match request.kind:
            case RequestKind.NEW:
                await self._client.new_order(
                    request.symbol,
                    side,
                    units.qty(request.qty),
                    units.price(request.price),
                    tif=fix.TimeInForce(str(int(request.tif))),
                    cl_ord_id=request.cl_ord_id,
                )
            case RequestKind.CANCEL:
                await self._client.cancel(
                    request.orig_cl_ord_id, request.symbol, side, cl_ord_id=request.cl_ord_id
                )
            case RequestKind.REPLACE:
                await self._client.replace(
                    request.orig_cl_ord_id,
                    request.symbol,
                    side,
                    units.qty(request.qty),
                    units.price(request.price),
                    cl_ord_id=request.cl_ord_id,
                )

    async def ask(self, cl_ord_id: str, symbol: str, side: Side) -> None:
        """Ask how an order stands."""
        await self._client.status(cl_ord_id, symbol, fix.Side(str(int(side))))

    async def answers(self) -> AsyncIterator[Answer]:
        """Return all answers from now on."""
        async for report in self._client.reports():
            yield self._answer(report)

    def _answer(self, report: fix.Report) -> Answer:
        match report:
            case fix.ExecutionReport():
                return self._execution(report)
            case fix.OrderCancelReject():
                reason = report.text or f"CxlRejReason {report.cxl_rej_reason}"
                return Answer(AnswerKind.CANCEL_REJECTED, report.cl_ord_id, reason=reason)
            case _:
                raise FlowError(f"the venue refused a message: {report.text}")

    def _execution(self, report: fix.ExecutionReport) -> Answer:
        kind = _FIX_KINDS[fix.ExecType(report.exec_type)]
        if kind is AnswerKind.REJECTED:
            reason = report.text or f"OrdRejReason {report.ord_rej_reason}"
            return Answer(kind, report.cl_ord_id, reason=reason)
        units = self._units[report.symbol]
        answer = Answer(
            kind,
            report.cl_ord_id,
            price=units.ticks(report.price),
            qty=units.lots(report.order_qty),
            cum_qty=units.lots(report.cum_qty),
            leaves_qty=units.lots(report.leaves_qty),
        )
        if kind is not AnswerKind.TRADE:
            return answer
        return Answer(
            kind,
            report.cl_ord_id,
            price=answer.price,
            qty=answer.qty,
            cum_qty=answer.cum_qty,
            leaves_qty=answer.leaves_qty,
            last_px=units.ticks(report.last_px),
            last_qty=units.lots(report.last_qty),
            trade_id=_field(report.message, 527),
            is_aggressor=_field(report.message, 851) == "2",
        )


def _field(message: Message, tag: int) -> str:
    value = message.get(tag)
    if value is None:
        raise FlowError(f"a trade's report without tag {tag}")
    return value.decode("ascii")


class BinaryLink:
    """One session of the binary protocol."""

    def __init__(self, host: str, port: int, session: str, symbols: tuple[FlowSymbol, ...]) -> None:
        self._client = binary.BinaryClient(host, port, session, reconnect=False, history=1)
        self._symbols = symbols
        self._units = {symbol.name: _Units(symbol) for symbol in symbols}

    async def __aenter__(self) -> Self:
        await self._client.connect()
        for symbol in self._symbols:
            known = self._client.symbols.get(symbol.name)
            if known is None:
                raise FlowError(f"the venue has no symbol {symbol.name}")
            if (known.tick, known.lot) != (Decimal(symbol.tick), Decimal(symbol.lot)):
                raise FlowError(
                    f"{symbol.name} has tick {known.tick} and lot {known.lot} at the venue, "
                    f"but the file needs {symbol.tick} and {symbol.lot}"
                )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await (self._client.logout() if error is None else self._client.close())

    async def send(self, request: Request) -> None:
        """Send a request."""
        units = self._units[request.symbol]
        match request.kind:
            case RequestKind.NEW:
                await self._client.new_order(
                    request.symbol,
                    request.side,
                    units.qty(request.qty),
                    units.price(request.price),
                    tif=request.tif,
                    cl_ord_id=request.cl_ord_id,
                )
            case RequestKind.CANCEL:
                await self._client.cancel(
                    request.orig_cl_ord_id,
                    request.symbol,
                    side=request.side,
                    cl_ord_id=request.cl_ord_id,
                )
            case RequestKind.REPLACE:
                await self._client.replace(
                    request.orig_cl_ord_id,
                    request.symbol,
                    units.qty(request.qty),
                    units.price(request.price),
                    side=request.side,
                    cl_ord_id=request.cl_ord_id,
                )

    async def ask(self, cl_ord_id: str, symbol: str, side: Side) -> None:
        """Ask how an order stands."""
        await self._client.status(cl_ord_id, symbol)

    async def answers(self) -> AsyncIterator[Answer]:
        """Return all answers from now on."""
        async for report in self._client.reports():
            if isinstance(report, binary.Reject):
                raise FlowError(f"the venue refused a message: {report.text}")
            raw = report.raw
            yield Answer(
                _BINARY_KINDS[report.kind],
                report.cl_ord_id,
                price=raw.price,
                qty=raw.qty,
                cum_qty=raw.cum_qty,
                leaves_qty=raw.leaves_qty,
                last_px=raw.last_px,
                last_qty=raw.last_qty,
                trade_id=str(raw.trade_id),
                is_aggressor=raw.liquidity == Liquidity.REMOVED,
                reason=_words(report.reason),
            )


def _words(reason: binary.RejectReason | int) -> str:
    if isinstance(reason, binary.RejectReason):
        return "" if reason is binary.RejectReason.NONE else reason.name.lower().replace("_", " ")
    return f"reason {reason}"

"""The command line's way to send one order, or cancel one, and read its reports."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

import click

from openoutcry.clients import binary, fix
from openoutcry.protocol.binary.errors import BinaryProtocolError
from openoutcry.protocol.errors import ProtocolError
from openoutcry.protocol.fix.versions import VERSIONS

_DEFAULT_TARGETS = {"fix": "127.0.0.1:8081", "binary": "127.0.0.1:8082"}
#: How long the first answer may take, however impatient the caller.
_ANSWER_S = 5.0
_SIDES = ("buy", "sell")
_TIFS = ("day", "gtc", "ioc", "fok")


@dataclass(frozen=True, slots=True)
class Request:
    """What to send: an order, or with `cancels` the cancel of one."""

    symbol: str
    side: str
    qty: Decimal | None
    #: None for a market order.
    price: Decimal | None = None
    tif: str = "day"
    account: str = ""
    cl_ord_id: str | None = None
    #: ClOrdID of the order to be canceled.
    cancels: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """A report in readable form."""

    text: str
    #: Nothing further is to be expected of the request.
    is_final: bool
    is_refusal: bool


Show = Callable[[Line], None]
NextLine = Callable[[], Awaitable[Line]]


async def send_order(
    request: Request,
    show: Show,
    *,
    protocol: str = "fix",
    target: str = "",
    session_id: str = "CONSOLE",
    username: str | None = None,
    password: str | None = None,
    venue_comp_id: str = "OPENOUTCRY",
    fix_version: fix.Version = fix.Version.FIX44,
    wait_s: float = 1.0,
) -> bool:
    """Send a request over FIX or the binary protocol, and show each report of it.

    Ends when the order is final, or when nothing has come for `wait_s`.

    Args:
        request: What to send.
        show: Called with each report.
        protocol: `fix` or `binary`.
        target: HOST:PORT of the venue; by default the protocol's usual port on this machine.
        session_id: SenderCompID, or the binary protocol's session id.
        username: The FIX session's user name.
        password: The session's password.
        venue_comp_id: TargetCompID.
        fix_version: The version to speak over FIX.
        wait_s: How long to wait for a further report.

    Returns:
        Whether the venue did as it was asked: True, too, for an order that rests.

    Raises:
        ProtocolError: The venue refused the session.
        OSError: The venue cannot be reached.
        ValueError: The request cannot be sent.
    """
    host, _, port = (target or _DEFAULT_TARGETS[protocol]).rpartition(":")
    if protocol == "fix":
        session = _over_fix(
            request,
            fix.FixClient(
                host,
                int(port),
                session_id,
                venue_comp_id,
                version=fix_version,
                username=username,
                password=password,
                reconnect=False,
            ),
        )
    else:
        session = _over_binary(
            request,
            binary.BinaryClient(host, int(port), session_id, password or "", reconnect=False),
        )
    is_accepted = False
    async with session as next_line:
        while True:
            try:
                async with asyncio.timeout(wait_s if is_accepted else max(wait_s, _ANSWER_S)):
                    line = await next_line()
            except (TimeoutError, StopAsyncIteration):
                return is_accepted
            show(line)
            if line.is_refusal:
                return False
            is_accepted = True
            if line.is_final:
                return True


@asynccontextmanager
async def _over_fix(request: Request, client: fix.FixClient) -> AsyncIterator[NextLine]:
    async with client:
        reports = client.reports()
        side = fix.Side[request.side.upper()]
        if request.cancels:
            identifier = await client.cancel(
                request.cancels,
                request.symbol,
                side,
                request.qty,
                cl_ord_id=request.cl_ord_id,
            )
        else:
            identifier = await client.new_order(
                request.symbol,
                side,
                request.qty or 0,
                request.price,
                tif=fix.TimeInForce[request.tif.upper()],
                account=request.account,
                cl_ord_id=request.cl_ord_id,
            )

        async def next_line() -> Line:
            while (report := await anext(reports)).cl_ord_id != identifier:
                pass
            return fix_line(report)

        yield next_line


@asynccontextmanager
async def _over_binary(request: Request, client: binary.BinaryClient) -> AsyncIterator[NextLine]:
    async with client:
        reports = client.reports()
        side = binary.Side[request.side.upper()]
        if request.cancels:
            identifier = await client.cancel(
                request.cancels, request.symbol, side=side, cl_ord_id=request.cl_ord_id
            )
        else:
            identifier = await client.new_order(
                request.symbol,
                side,
                request.qty or 0,
                request.price,
                tif=binary.TimeInForce[request.tif.upper()],
                account=request.account,
                cl_ord_id=request.cl_ord_id,
            )

        async def next_line() -> Line:
            while (report := await anext(reports)).cl_ord_id != identifier:
                pass
            return binary_line(report)

        yield next_line


def fix_line(report: fix.Report) -> Line:
    """Return a FIX report as a line."""
    match report:
        case fix.ExecutionReport():
            name = _fix_name(report)
            is_refused = report.exec_type == fix.ExecType.REJECTED
            text = _order_line(
                name,
                report.cl_ord_id,
                report.order_id,
                _fix_side(report.side),
                report.symbol,
                report.order_qty,
                report.price,
            )
            if report.exec_type == fix.ExecType.TRADE:
                text += f", filled {report.last_qty} @ {report.last_px}"
            text += _filled(report.cum_qty, report.leaves_qty, report.avg_px)
            if is_refused:
                text += f": {report.text or f'reason {report.ord_rej_reason}'}"
            return Line(text, report.is_final, is_refused)
        case fix.OrderCancelReject():
            why = report.text or f"reason {report.cxl_rej_reason}"
            text = f"cancel rejected  {report.cl_ord_id} for {report.orig_cl_ord_id}: {why}"
            return Line(text, is_final=True, is_refusal=True)
        case fix.MassCancelReport():
            text = f"mass cancel  {report.cl_ord_id}: {report.total_affected or 0} orders"
            return Line(text, is_final=True, is_refusal=report.is_refused)
        case fix.Reject():
            text = f"message rejected  tag {report.ref_tag}, reason {report.reason}: {report.text}"
            return Line(text, is_final=True, is_refusal=True)
        case fix.BusinessReject():
            text = f"not served  {report.cl_ord_id}, reason {report.reason}: {report.text}"
            return Line(text, is_final=True, is_refusal=True)


def binary_line(report: binary.Report | binary.Reject) -> Line:
    """Return a report of the binary protocol as a line."""
    if isinstance(report, binary.Reject):
        text = f"rejected  {report.cl_ord_id}, reason {report.reason}: {report.text}"
        return Line(text, is_final=True, is_refusal=True)
    kind = binary.ReportKind
    is_refused = report.kind in (kind.REJECTED, kind.CANCEL_REJECTED)
    text = _order_line(
        report.kind.name.lower().replace("_", " "),
        report.cl_ord_id,
        str(report.order_id),
        _SIDES[report.side - 1] if report.side in (1, 2) else "?",
        report.symbol,
        report.qty,
        report.price if report.raw.ord_type == binary.OrderType.LIMIT else None,
    )
    if report.kind == kind.TRADE:
        text += f", filled {report.last_qty} @ {report.last_px}"
    text += _filled(report.cum_qty, report.leaves_qty, report.avg_px)
    if is_refused:
        reason = report.reason
        name = reason.name if isinstance(reason, binary.RejectReason) else str(reason)
        text += f": {name.lower().replace('_', ' ')}"
    status = binary.OrderStatus
    final = {status.FILLED, status.CANCELED, status.REJECTED, status.EXPIRED}
    return Line(text, is_refused or report.status in final, is_refused)


def _order_line(
    name: str,
    cl_ord_id: str,
    order_id: str,
    side: str,
    symbol: str,
    qty: Decimal,
    price: Decimal | None,
) -> str:
    at = "at market" if price is None else f"@ {price}"
    # A rejected order has none: FIX says NONE, the binary protocol 0.
    named = cl_ord_id if order_id in {"", "NONE", "0"} else f"{cl_ord_id} ({order_id})"
    return f"{name:<16} {named}  {side} {qty} {symbol} {at}"


def _filled(cum_qty: Decimal, leaves_qty: Decimal, avg_px: Decimal | None) -> str:
    if not cum_qty:
        return ""
    average = "" if avg_px is None else f" on average @ {avg_px.normalize():f}"
    return f", {cum_qty} in all{average}, {leaves_qty} left"


def _fix_name(report: fix.ExecutionReport) -> str:
    try:
        return fix.ExecType(report.exec_type).name.lower().replace("_", " ")
    except ValueError:
        return f"ExecType {report.exec_type}"


def _fix_side(side: str) -> str:
    return {fix.Side.BUY: "buy", fix.Side.SELL: "sell"}.get(fix.Side(side), side)


def parse_words(words: tuple[str, ...], tif: str, account: str, cl_ord_id: str | None) -> Request:
    """Read `buy BTCUSDT 0.5 @ 65000`, `sell BTCUSDT 0.5` or `cancel ID BTCUSDT buy [0.5]`.

    Raises:
        click.UsageError: It is none of these.
    """
    match [*words]:
        case ["buy" | "sell" as side, symbol, qty]:
            return Request(symbol, side, _decimal(qty), None, tif, account, cl_ord_id)
        case ["buy" | "sell" as side, symbol, qty, "@", price]:
            return Request(symbol, side, _decimal(qty), _decimal(price), tif, account, cl_ord_id)
        case ["buy" | "sell" as side, symbol, qty, price] if len(price) > 1 and price[0] == "@":
            limit = _decimal(price.removeprefix("@"))
            return Request(symbol, side, _decimal(qty), limit, tif, account, cl_ord_id)
        case ["cancel", orig, symbol, "buy" | "sell" as side]:
            return Request(symbol, side, None, cl_ord_id=cl_ord_id, cancels=orig)
        case ["cancel", orig, symbol, "buy" | "sell" as side, qty]:
            return Request(symbol, side, _decimal(qty), cl_ord_id=cl_ord_id, cancels=orig)
    raise click.UsageError(
        "expected  buy|sell SYMBOL QTY [@ PRICE]  or  cancel CL_ORD_ID SYMBOL buy|sell [QTY]"
    )


def _decimal(text: str) -> Decimal:
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise click.UsageError(f"{text!r} is no number") from None
    if not value.is_finite():
        raise click.UsageError(f"{text!r} is no number")
    return value


@click.command()
@click.argument("words", nargs=-1, required=True, metavar="buy|sell SYMBOL QTY [@ PRICE]")
@click.option("--protocol", type=click.Choice(["fix", "binary"]), default="fix", show_default=True)
@click.option(
    "--target", metavar="HOST:PORT", default="", help="The venue; by default this machine."
)
@click.option("--session", "session_id", default="CONSOLE", show_default=True, help="Who we are.")
@click.option("--username", default=None, help="Of the session, where it has one.")
@click.option("--password", default=None, envvar="OPENOUTCRY_PASSWORD", help="Of the session.")
@click.option(
    "--target-comp-id",
    "venue_comp_id",
    default="OPENOUTCRY",
    show_default=True,
    help="FIX: the venue.",
)
@click.option(
    "--fix-version",
    # FIX 4.0 cannot begin the numbers anew, and a command keeps none for the next.
    type=click.Choice([label for label in VERSIONS if label != "FIX.4.0"]),
    default="FIX.4.4",
    show_default=True,
)
@click.option("--tif", type=click.Choice(_TIFS), default="day", show_default=True)
@click.option("--account", default="")
@click.option("--id", "cl_ord_id", default=None, help="ClOrdID; by default something new.")
@click.option(
    "--wait", "wait_s", default=1.0, show_default=True, help="Seconds to wait for another report."
)
@click.pass_context
def order(
    ctx: click.Context,
    words: tuple[str, ...],
    protocol: str,
    target: str,
    session_id: str,
    username: str | None,
    password: str | None,
    venue_comp_id: str,
    fix_version: str,
    tif: str,
    account: str,
    cl_ord_id: str | None,
    wait_s: float,
) -> None:
    """Send an order and print its reports; `cancel ID SYMBOL buy|sell [QTY]` cancels one.

    \b
    openoutcry order buy BTCUSDT 0.5 @ 65000
    openoutcry order sell BTCUSDT 0.2 --tif ioc --protocol binary
    openoutcry order cancel 3f2a9c01-1 BTCUSDT buy 0.5

    Over FIX the session's numbers begin anew with each command (141=Y): use a session of its own,
    not one that a program of yours is using.

    The status is 0 when the venue accepted it, 1 when it refused, 2 for a mistake in the command.
    """
    request = parse_words(words, tif, account, cl_ord_id)
    name, _, port = (target or _DEFAULT_TARGETS[protocol]).rpartition(":")
    if not name or not port.isdigit():
        raise click.UsageError(f"--target {target!r}: expected HOST:PORT")

    def show(line: Line) -> None:
        click.echo(line.text)

    try:
        is_accepted = asyncio.run(
            send_order(
                request,
                show,
                protocol=protocol,
                target=target,
                session_id=session_id,
                username=username,
                password=password,
                venue_comp_id=venue_comp_id,
                fix_version=VERSIONS[fix_version],
                wait_s=wait_s,
            )
        )
    except (OSError, ValueError, ProtocolError, BinaryProtocolError) as error:
        raise click.ClickException(f"{name}:{port}: {error or type(error).__name__}") from error
    ctx.exit(0 if is_accepted else 1)

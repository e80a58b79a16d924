"""How the demonstration looks: sections of plain text, with a live ladder on a terminal."""

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from openoutcry.loadgen.scrape import NAMES, STAGES
from openoutcry.loadgen.trading import Market, Tally

_STAGE_NAMES = {
    "decode_to_ring": "receive and decode",
    "ring_wait": "wait for the shard",
    "match": "match",
    "report_to_socket": "report to socket",
    "gateway_to_gateway": "gateway to gateway",
}
_PHASES = {"latency": "one in flight", "throughput": "full load", "trading": "trading"}
_PERCENTILES = ("p50", "p90", "p99", "max")
#: From this many columns on, trades stand beside the ladder.
_WIDE = 100
_BAR_COLUMNS = 6


class View(Protocol):
    """What the demonstration tells as it goes."""

    def start(self, machine: dict[str, Any], versions: dict[str, str]) -> None:
        """The venue is being started."""

    def note(self, text: str) -> None:
        """Something takes its time."""

    def ready(self, result: dict[str, Any]) -> None:
        """The venue is ready."""

    def measuring(self, phase: str, duration_s: float, connections: int, window: int) -> None:
        """A phase begins."""

    def measured(self, phase: str, protocol: str, figures: dict[str, Any]) -> None:
        """A protocol's figures of a phase are there."""

    def trading(self, market: Market, duration_s: float) -> None:
        """Trading begins."""

    def live(self, duration_s: float) -> AbstractContextManager[None]:
        """Show ladders in this context."""

    def ladder(self, ladder: dict[str, Any], tally: Tally, seconds: float) -> None:
        """The book has a new picture."""

    def traded(self, result: dict[str, Any]) -> None:
        """Trading is over."""

    def end(self, result: dict[str, Any]) -> None:
        """All is measured, and the venue stopped."""


class SilentView:
    """Shows nothing: for --json."""

    def start(self, machine: dict[str, Any], versions: dict[str, str]) -> None:
        """Show nothing."""

    def note(self, text: str) -> None:
        """Show nothing."""

    def ready(self, result: dict[str, Any]) -> None:
        """Show nothing."""

    def measuring(self, phase: str, duration_s: float, connections: int, window: int) -> None:
        """Show nothing."""

    def measured(self, phase: str, protocol: str, figures: dict[str, Any]) -> None:
        """Show nothing."""

    def trading(self, market: Market, duration_s: float) -> None:
        """Show nothing."""

    def live(self, duration_s: float) -> AbstractContextManager[None]:
        """Show nothing."""
        return contextlib.nullcontext()

    def ladder(self, ladder: dict[str, Any], tally: Tally, seconds: float) -> None:
        """Show nothing."""

    def traded(self, result: dict[str, Any]) -> None:
        """Show nothing."""

    def end(self, result: dict[str, Any]) -> None:
        """Show nothing."""


class HumanView:
    """Prints sections on stdout; on a terminal the ladder moves."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        self._live: Live | None = None
        self._duration_s = 0.0

    def start(self, machine: dict[str, Any], versions: dict[str, str]) -> None:
        """Print what runs where."""
        self._section("1. Start")
        self._print(
            f"openoutcry {versions['openoutcry']}, Python {versions['python']}, "
            f"numba {versions['numba']}; {machine['processor']}, {machine['cores']} cores"
        )
        self._print("starting a venue in processes of its own …", style="dim")

    def note(self, text: str) -> None:
        """Print a note."""
        self._print(text, style="dim")

    def ready(self, result: dict[str, Any]) -> None:
        """Print how long the start took, and where the venue listens."""
        venue = result["venue"]
        how = "kernels compiled" if result["kernels_compiled"] else "kernels from the cache"
        self._print(Text.assemble("ready in ", (f"{result['ready_s']:.2f} s", "bold"), f" ({how})"))
        self._print(
            f"FIX {venue['fix']}, binary {venue['binary']}, HTTP {venue['http']}\n"
            f"durability: {venue['durability']}"
        )

    def measuring(self, phase: str, duration_s: float, connections: int, window: int) -> None:
        """Begin a section with a table."""
        if phase == "latency":
            self._section("2. Latency of individual orders")
            text = "one order in flight, from sending it to its answer; in µs"
        else:
            self._section("3. Throughput")
            text = f"{connections} connections, up to {window:,} orders in flight on each; in ms"
        self._print(f"{text}; {duration_s:.1f} s", style="dim")
        head = f"{'':<10}{'orders' if phase == 'latency' else 'orders/s':>12}"
        self._print(head + "".join(f"{name:>10}" for name in _PERCENTILES), style="bold")

    def measured(self, phase: str, protocol: str, figures: dict[str, Any]) -> None:
        """Print a row: latency of one order in µs, under full load in ms."""
        is_single = phase == "latency"
        count = figures["acked"] if is_single else figures["acked_per_s"]
        row = f"{NAMES[protocol]:<10}{count:>12,.0f}"
        for name in _PERCENTILES:
            latency_us = figures["latency_us"][name]
            row += f"{_us(latency_us) if is_single else f'{latency_us / 1000:,.1f}':>10}"
        self._print(row)
        if figures["errors"]:
            self._print(f"{figures['errors']} errors", style="bold red")

    def trading(self, market: Market, duration_s: float) -> None:
        """Begin the section."""
        self._section(f"4. Trading {market.symbol}")
        self._print(
            f"{market.makers} market makers quote both sides around a random "
            f"walk, {market.takers} takers hit them;\nhalf of them over FIX, half over the binary "
            f"protocol, for {duration_s:.0f} s",
            style="dim",
        )

    @contextlib.contextmanager
    def live(self, duration_s: float) -> Iterator[None]:
        """Let the ladder move in place; without a terminal there is none."""
        self._duration_s = duration_s
        if not self._console.is_terminal:
            yield
            return
        # Gone at the end: the section that follows has the last picture.
        live = Live(console=self._console, auto_refresh=False, transient=True)
        with live:
            self._live = live
            try:
                yield
            finally:
                self._live = None

    def ladder(self, ladder: dict[str, Any], tally: Tally, seconds: float) -> None:
        """Draw the ladder and what was traded so far."""
        if self._live is None:
            return
        trades = tally.fills // 2
        foot = Text(
            f"{seconds:4.1f} of {self._duration_s:.0f} s: {trades:,} trades, "
            f"{ladder['trades_per_s']:,.0f}/s, {tally.sold:,f} traded",
            style="dim",
        )
        height = self._console.height
        drawn = draw_ladder(ladder, self._console.width, height - 2)
        self._live.update(Group(drawn, foot), refresh=True)

    def traded(self, result: dict[str, Any]) -> None:
        """Leave the last picture of the book."""
        if result["ladder"]:
            self._print(draw_ladder(result["ladder"], self._console.width, 1000))

    def end(self, result: dict[str, Any]) -> None:
        """Print the summary."""
        self._section("5. Figures of this run")
        self._print(_summary(result))
        self._print("")
        self._print("inside the venue, p50 / p99 in µs, from its /metrics", style="dim")
        self._print(_stages(result["venue"]["stages_us"]))
        for text in result["errors"]:
            self._print(f"error: {text}", style="bold red")
        self._print("")
        self._print(
            f"the venue stopped cleanly in {result['stop_s']:.2f} s; "
            f"the demo took {result['total_s']:.1f} s",
            style="dim",
        )

    def _section(self, title: str) -> None:
        self._console.print()
        self._console.print(Rule(title, align="left", style="dim"))

    def _print(self, what: RenderableType, style: str | None = None) -> None:
        self._console.print(what, style=style, markup=False)


def _us(value: float) -> str:
    return f"{value:,.1f}" if value < 1000 else f"{value:,.0f}"


def _summary(result: dict[str, Any]) -> RenderableType:
    trading, venue = result["trading"], result["venue"]
    orders = _table("one in flight, µs", *_PERCENTILES, "full load, orders/s")
    for protocol, name in NAMES.items():
        latency = result["latency"][protocol]["latency_us"]
        rate = result["throughput"][protocol]["acked_per_s"]
        orders.add_row(name, *(_us(latency[key]) for key in _PERCENTILES), f"{rate:,.0f}")
    table = _table("", "")
    table.add_row("ready after", f"{result['ready_s']:.2f} s")
    symbol = trading["symbol"]
    table.add_row(f"{symbol}, trades", f"{trading['trades']:,} ({trading['trades_per_s']:,.1f}/s)")
    volume, notional = Decimal(trading["volume"]), Decimal(trading["notional"])
    table.add_row(f"{symbol}, volume", f"{volume:,f} BTC for {notional:,.2f} USDT")
    if trading["spread_bps_mean"] is not None:
        table.add_row(f"{symbol}, mean spread", f"{trading['spread_bps_mean']:.3f} bps")
    table.add_row("all phases", f"{venue['orders']:,} orders, {venue['trades']:,} trades")
    table.add_row("errors", f"{len(result['errors'])}")
    return Group(orders, "", table)


def _stages(stages_us: dict[str, Any]) -> Table:
    table = _table("", *_PHASES.values())
    for stage in STAGES:
        cells = []
        for phase in _PHASES:
            figures = stages_us[phase][stage]
            cells.append(f"{_us(figures['p50'])} / {_us(figures['p99'])}")
        table.add_row(_STAGE_NAMES[stage], *cells)
    return table


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=any(others))
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, justify="right", no_wrap=True, min_width=7)
    return table


# --- the ladder -----------------------------------------------------------------------------------


def draw_ladder(ladder: dict[str, Any], columns: int, lines: int) -> RenderableType:
    """Return a picture of the book, as `openoutcry book --json` prints it, that fits a terminal."""
    is_wide = columns >= _WIDE
    rows = max(lines - (3 if is_wide else 6), 3)
    book = _book(ladder, rows)
    if is_wide:
        body = Table.grid(padding=(0, 3))
        body.add_row(book, _trades(ladder, rows))
        return Group(_head(ladder), body)
    return Group(_head(ladder), book, _trades(ladder, 2))


def _head(ladder: dict[str, Any]) -> Text:
    text = Text(f"{ladder['symbol']}", style="bold")
    for name, style in (("bid", "green"), ("ask", "red")):
        price = ladder[f"best_{name}"]
        text.append(f"  {name} ", "not bold")
        text.append("none" if price is None else f"{Decimal(price):,f}", style)
    if ladder["spread"] is not None:
        bps = f"{ladder['spread_bps']:,.3f}"
        text.append(f"  spread {Decimal(ladder['spread']):,f} ({bps} bps)", "not bold")
    return text


def _book(ladder: dict[str, Any], rows: int) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1))
    for name in ("orders", "", "qty", "bid", "ask", "qty"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", justify="left", no_wrap=True)
    table.add_column("orders", justify="right", no_wrap=True)
    bids, asks = ladder["bids"][:rows], ladder["asks"][:rows]
    largest = max((Decimal(level["qty"]) for level in (*bids, *asks)), default=Decimal(1))
    for n in range(max(len(bids), len(asks))):
        left = reversed(_cells(bids, n, largest, "green"))
        table.add_row(*left, *_cells(asks, n, largest, "red"))
    return table


def _cells(levels: list[dict[str, Any]], n: int, largest: Decimal, style: str) -> list[Text]:
    if n >= len(levels):
        return [Text()] * 4
    level = levels[n]
    qty = Decimal(level["qty"])
    return [
        Text(f"{Decimal(level['price']):,f}", style=f"bold {style}"),
        Text(f"{qty:,f}"),
        Text("▒" * max(round(_BAR_COLUMNS * qty / largest), 1), style=style),
        Text(str(level["orders"]), style="dim"),
    ]


def _trades(ladder: dict[str, Any], rows: int) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1))
    table.add_column("trades, UTC", no_wrap=True)
    for name in ("price", "qty"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("taker", no_wrap=True)
    for trade in ladder["last_trades"][:rows]:
        style = "green" if trade["aggressor"] == "buy" else "red"
        when = datetime.fromtimestamp(trade["time_ns"] / 1e9, UTC)
        table.add_row(
            f"{when:%H:%M:%S}.{when.microsecond // 1000:03d}",
            Text(f"{Decimal(trade['price']):,f}", style=style),
            f"{Decimal(trade['qty']):,f}",
            Text(trade["aggressor"], style=style),
        )
    return table

"""`openoutcry book SYMBOL`: the live ladder of a symbol in the terminal."""

import difflib
import time
from collections import deque
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import click
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from openoutcry.engine.enums import Side
from openoutcry.engine.records import SHARD_SHIFT
from openoutcry.engine.state import DEPTH_LEVELS
from openoutcry.server.depth import BookFeed, VenueGoneError
from openoutcry.server.terminal import Record, choose_venue, show, venue_options
from openoutcry.server.venues import VenueCard

#: A reader at this pace keeps up with two million events a second before the ring overruns it.
_POLL_S = 0.02
#: Trades a second are counted over so long.
_RATE_S = 5.0
_SHOWN_TRADES = 10
#: From this many columns on, trades stand beside the ladder and not under it.
_WIDE = 104
_BAR_COLUMNS = 8


class Ladder:
    """A feed, and what is shown of it."""

    def __init__(self, feed: BookFeed, levels: int) -> None:
        self._feed = feed
        self._levels = levels
        self._counts = deque([(time.monotonic(), feed.trades)])

    def update(self) -> None:
        """Take in what was published."""
        self._feed.update()

    def record(self) -> Record:
        """Return the book as it is now, as JSON: prices and quantities as decimal text."""
        feed, symbol = self._feed, self._feed.symbol
        bids, asks = (self._side(side) for side in (Side.BUY, Side.SELL))
        record: Record = {
            "venue": feed.venue.card.name,
            "symbol": symbol.name,
            "time_ns": feed.time_ns or None,
            "event_seq": feed.mirror.event_seq,
            "best_bid": bids[0]["price"] if bids else None,
            "best_ask": asks[0]["price"] if asks else None,
            "spread": None,
            "spread_bps": None,
            "trades": feed.trades,
            "trades_per_s": self._trades_per_s(),
            "volume": _plain(symbol.qty(feed.volume_lots)),
            "bids": bids,
            "asks": asks,
            "last_trades": [
                {
                    "time_ns": trade.time_ns,
                    "trade_id": _trade_id(trade.trade_id),
                    "price": _plain(symbol.price(trade.price_ticks)),
                    "qty": _plain(symbol.qty(trade.qty_lots)),
                    "aggressor": trade.aggressor.name.lower(),
                }
                for trade in list(feed.last_trades)[: -_SHOWN_TRADES - 1 : -1]
            ],
            "snapshots": feed.snapshots,
            "overruns": feed.overruns,
        }
        if bids and asks:
            bid, ask = Decimal(bids[0]["price"]), Decimal(asks[0]["price"])
            record["spread"] = _plain(ask - bid)
            if ask + bid > 0:
                record["spread_bps"] = round(float((ask - bid) / (ask + bid) * 20_000), 4)
        return record

    def _side(self, side: Side) -> list[dict[str, Any]]:
        symbol = self._feed.symbol
        return [
            {
                "price": _plain(symbol.price(row["price_ticks"])),
                "qty": _plain(symbol.qty(row["qty_lots"])),
                "orders": int(row["orders"]),
            }
            for row in self._feed.mirror.levels(side, self._levels)
        ]

    def _trades_per_s(self) -> float:
        now = time.monotonic()
        self._counts.append((now, self._feed.trades))
        while len(self._counts) > 2 and now - self._counts[1][0] >= _RATE_S:
            self._counts.popleft()
        since, trades = self._counts[0]
        return round((self._feed.trades - trades) / (now - since), 1) if now > since else 0.0


def _plain(value: Decimal) -> str:
    return format(value, "f")


def _trade_id(number: int) -> str:
    return f"T{number >> SHARD_SHIFT}-{number & ((1 << SHARD_SHIFT) - 1)}"


# --- the human form -------------------------------------------------------------------------------


def draw(record: Record, columns: int, lines: int) -> RenderableType:
    """Return a record as a ladder that fits a terminal."""
    is_wide = columns >= _WIDE
    # Head and feet of the ladder, and what stands under it.
    rows = max(lines - (6 if is_wide else 9), 3)
    ladder = _ladder(record, rows)
    if is_wide:
        body = Table.grid(padding=(0, 3))
        body.add_row(ladder, _trades(record, rows))
        return Group(_head(record), body, _foot(record))
    return Group(_head(record), ladder, _trades(record, 2), _foot(record))


def _head(record: Record) -> Text:
    text = Text(f" {record['symbol']}", style="bold")
    text.append("  bid ", "not bold").append(_price(record, "bid"), "green")
    text.append("  ask ", "not bold").append(_price(record, "ask"), "red")
    if record["spread"] is not None:
        spread = f"  spread {_grouped(record['spread'])}"
        if record["spread_bps"] is not None:
            spread += f" ({record['spread_bps']:,.3f} bps)"
        text.append(spread, "not bold")
    return text


def _price(record: Record, side: str) -> str:
    price = record[f"best_{side}"]
    return "none" if price is None else _grouped(price)


def _grouped(number: str) -> str:
    return f"{Decimal(number):,f}"


def _ladder(record: Record, rows: int) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1))
    for name in ("orders", "", "qty", "bid"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, justify in (("ask", "right"), ("qty", "right"), ("", "left"), ("orders", "right")):
        table.add_column(name, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    bids, asks = record["bids"][:rows], record["asks"][:rows]
    largest = max((Decimal(level["qty"]) for level in (*bids, *asks)), default=Decimal(1))
    for n in range(max(len(bids), len(asks), 1)):
        left = _cells(bids, n, largest, "green")
        table.add_row(*reversed(left), *_cells(asks, n, largest, "red"))
    return table


def _cells(levels: list[dict[str, Any]], n: int, largest: Decimal, style: str) -> list[Text]:
    if n >= len(levels):
        return [Text()] * 4 if n or levels else [Text("none", style="dim"), *[Text()] * 3]
    level = levels[n]
    width = max(round(_BAR_COLUMNS * Decimal(level["qty"]) / largest), 1)
    return [
        Text(_grouped(level["price"]), style=f"bold {style}"),
        Text(_grouped(level["qty"])),
        Text("▒" * width, style=style),
        Text(str(level["orders"]), style="dim"),
    ]


def _trades(record: Record, rows: int) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1))
    table.add_column("trades, UTC", no_wrap=True)
    for name in ("price", "qty"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("taker", no_wrap=True)
    for trade in record["last_trades"][:rows]:
        style = "green" if trade["aggressor"] == "buy" else "red"
        when = datetime.fromtimestamp(trade["time_ns"] / 1e9, UTC)
        table.add_row(
            f"{when:%H:%M:%S}.{when.microsecond // 1000:03d}",
            Text(_grouped(trade["price"]), style=style),
            _grouped(trade["qty"]),
            Text(trade["aggressor"], style=style),
        )
    return table


def _foot(record: Record) -> Text:
    text = (
        f" {record['trades']:,} trades seen, {record['trades_per_s']:,.1f}/s, "
        f"{_grouped(record['volume'])} traded"
    )
    if record["overruns"]:
        text += f", {record['overruns']:,} times overrun"
    return Text(text, style="dim")


# --- the command ----------------------------------------------------------------------------------


@click.command()
@click.argument("symbol")
@click.option(
    "--levels",
    type=click.IntRange(1, DEPTH_LEVELS),
    default=20,
    show_default=True,
    help="Price levels a side.",
)
@click.option("--once", is_flag=True, help="Print the book as it is now, and end.")
@click.option("--json", "is_json", is_flag=True, help="One JSON object a line.")
@click.option(
    "--refresh",
    type=click.FloatRange(0.05, 60),
    default=0.25,
    show_default=True,
    help="Seconds between two pictures.",
)
@venue_options
def book(
    symbol: str,
    levels: int,
    once: bool,
    is_json: bool,
    refresh: float,
    venue: str | None,
    data_dir: Path | None,
    shm_dir: Path,
) -> None:
    """Show the live ladder of SYMBOL in a venue on this machine, until Ctrl-C.

    It reads the venue's shared memory, and costs the order path nothing. Where the output is no
    terminal, it prints one picture; with --json, it goes on, a line each.
    """
    running = choose_venue(venue, data_dir, shm_dir)
    known = running.card.symbol(symbol)
    if known is None:
        raise click.UsageError(_unknown(symbol, running.card))
    try:
        ladder = Ladder(BookFeed(running, known, levels), levels)
    except VenueGoneError as error:
        raise click.ClickException(str(error)) from None
    show(
        ladder.update,
        ladder.record,
        draw,
        refresh_s=refresh,
        poll_s=_POLL_S,
        is_once=once,
        is_json=is_json,
    )


def _unknown(symbol: str, card: VenueCard) -> str:
    names = [known.name for known in card.symbols]
    nearest = difflib.get_close_matches(symbol.upper(), names, n=1)
    if nearest:
        return f"the venue has no symbol {symbol!r}. Did you mean '{nearest[0]}'?"
    some = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
    return f"the venue has no symbol {symbol!r}; it has {some}"

"""Other Python order books beside this one: the same calls, in turns (`make bench-peers`).

A seeded flow of new limit orders (some of which trade), cancels and price changes is made once,
against this engine; then each book takes it, call by call. Before anything is timed, each takes it
once for its traded quantity, which must be the engine's. Slow books get the first part of the flow.

The peers come from the package index, into an environment of their own; none is needed otherwise:

- bourse 0.4.0 (MIT, 2024): a Rust book with a Python face, made for simulations. It keeps every
  order and every trade for ever. Its array interface shuffles a step's orders, so that it cannot
  take a flow in order.
- limit-order-book 2.0.0 (MIT, C++ behind ctypes; version 3 of 2026 wants Python 3.13 and was not
  tried): meant for building a book from a feed. It tells nothing of fills and has no modify.
- pyorderbook 0.4.9 (MIT, 2025): plain Python with Decimal prices and a UUID an order. No modify.
- lightmatchingengine 2019.1.4 (MIT, no release since 2019): plain Python; it searches the prices
  for the best one and the queue for an order. No modify.

Where there is no modify, a price change is a cancel and a new order: two calls, counted as one. In
each book here it goes to the end of its new price's queue, so that trades are the same.
"""

import gc
import importlib
import importlib.metadata
import json
import platform
import random
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
from numpy.typing import NDArray

from openoutcry.engine.api import Engine
from openoutcry.engine.enums import CommandKind, OrderType, ReportKind, Side, TimeInForce
from openoutcry.engine.order_book import Order, OrderBook
from openoutcry.engine.records import COMMAND

_NEW, _CANCEL, _MOVE = 0, 1, 2

#: (kind, number of the order, whether it buys, price, what is open of it, what it has in all):
#: number n is the n-th new order, from 0.
Call = tuple[int, int, bool, int, int, int]


class Flow(NamedTuple):
    """Calls, and after each the lots traded so far (the same for every book)."""

    calls: list[Call]
    traded: list[int]


def make_flow(count: int, seed: int, resting: int = 2_000) -> Flow:
    """Return `count` calls that hold about `resting` orders in the book once it has filled."""
    draw = random.Random(seed)
    book = OrderBook()
    orders: list[Order] = []
    live: list[int] = []
    calls: list[Call] = []
    traded: list[int] = []
    middle, total = 10_000, 0

    def take_live() -> int | None:
        """Choose a resting order, forgetting those met that are finished."""
        while live:
            at = draw.randrange(len(live))
            if orders[live[at]].is_open:
                return live[at]
            live[at] = live[-1]
            live.pop()
        return None

    while len(calls) < count:
        wanted = draw.random()
        number = take_live() if wanted < 0.45 and book.open_orders > resting else None
        if number is None:
            # Of four new orders one is priced to trade; the others join within 50 ticks.
            buys = draw.random() < 0.5
            middle += draw.choice((-1, 0, 0, 0, 1))
            away = -draw.randint(0, 5) if draw.random() < 0.25 else int(draw.random() ** 2 * 50) + 1
            price, qty = middle - away if buys else middle + away, draw.randint(1, 100)
            orders.append(book.limit("buy" if buys else "sell", price, qty))
            calls.append((_NEW, len(orders) - 1, buys, price, qty, qty))
            if orders[-1].is_open:
                live.append(len(orders) - 1)
            total += orders[-1].filled
        else:
            order = orders[number]
            buys = order.side == Side.BUY
            if wanted < 0.35:
                calls.append((_CANCEL, number, buys, order.price, order.leaves, order.qty))
                book.cancel(order)
            else:
                price = order.price + draw.choice((-3, -2, -1, 1, 2, 3))
                calls.append((_MOVE, number, buys, price, order.leaves, order.qty))
                before = order.filled
                book.replace(order, price=price)
                total += order.filled - before
        traded.append(total)
    return Flow(calls, traded)


# --- The books ------------------------------------------------------------------------------------


class Run(NamedTuple):
    """What a contestant's run is: to be called and timed; then the lots that were traded."""

    play: Callable[[], None]
    traded: Callable[[], int]


class Contestant(NamedTuple):
    """A book under test: how to make a run of it, and what to know when reading its row."""

    name: str
    module: str
    make: Callable[[Sequence[Call]], Run]
    is_slow: bool = False
    note: str = ""


def _play_order_book(calls: Sequence[Call]) -> Run:
    book = OrderBook()
    orders: list[Order] = []

    def play() -> None:
        limit, cancel, replace = book.limit, book.cancel, book.replace
        for kind, number, buys, price, qty, _ in calls:
            if kind == _NEW:
                orders.append(limit("buy" if buys else "sell", price, qty))
            elif kind == _CANCEL:
                cancel(orders[number])
            else:
                replace(orders[number], price)

    return Run(play, lambda: sum(order.filled_lots for order in orders) // 2)


def _play_numbers(calls: Sequence[Call]) -> Run:
    book = OrderBook()
    ids: list[int] = []

    def play() -> None:
        place, cancel, replace = book.place, book.cancel, book.replace
        for kind, number, buys, price, qty, whole in calls:
            if kind == _NEW:
                ids.append(place("buy" if buys else "sell", price, qty))
            elif kind == _CANCEL:
                cancel(ids[number])
            else:
                replace(ids[number], price, whole)

    return Run(play, lambda: _traded_alike(calls, book.state_hash()))


def commands_of(calls: Sequence[Call]) -> NDArray[Any]:
    """Return the calls as COMMAND rows."""
    commands = np.zeros(len(calls), COMMAND)
    kinds, numbers, buys, prices, _, wholes = (np.array(each) for each in zip(*calls, strict=True))
    commands["kind"] = np.array([CommandKind.NEW, CommandKind.CANCEL, CommandKind.REPLACE])[kinds]
    commands["id0"] = commands["orig0"] = numbers + 1
    commands["side"] = np.where(buys, Side.BUY, Side.SELL)
    commands["ord_type"], commands["tif"] = OrderType.LIMIT, TimeInForce.GTC
    commands["price_ticks"], commands["qty_lots"] = prices, wholes
    return commands


def _play_engine(size: int) -> Callable[[Sequence[Call]], Run]:
    def make(calls: Sequence[Call]) -> Run:
        engine = Engine()
        commands = commands_of(calls)
        batches = [commands[at : at + size] for at in range(0, len(calls), size)]

        def play() -> None:
            process = engine.process
            for batch in batches:
                process(batch)

        return Run(play, lambda: _traded_alike(calls, engine.state_hash()))

    return make


def _traded_alike(calls: Sequence[Call], state_hash: int) -> int:
    """Return the lots traded in one large batch, which must lead to the same state."""
    engine = Engine()
    reports = engine.process(commands_of(calls))
    if engine.state_hash() != state_hash:
        raise RuntimeError("one large batch gave another state")
    return int(reports["last_qty"][reports["kind"] == ReportKind.TRADE].sum()) // 2


def _play_bourse(calls: Sequence[Call]) -> Run:
    book = importlib.import_module("bourse").core.OrderBook(0, 1, True)
    ids: list[int] = []

    def play() -> None:
        place, cancel, modify = book.place_order, book.cancel_order, book.modify_order
        set_time = book.set_time
        for now, (kind, number, buys, price, qty, _) in enumerate(calls):
            set_time(now)
            if kind == _NEW:
                ids.append(place(buys, qty, 0, price))
            elif kind == _CANCEL:
                cancel(ids[number])
            else:
                modify(ids[number], price)

    return Run(play, lambda: sum(trade[3] for trade in book.get_trades()))


def _play_limit_order_book(calls: Sequence[Call]) -> Run:
    book = importlib.import_module("limit_order_book").LimitOrderBook()

    def play() -> None:
        # As it wants them: the caller's own numbers.
        buy, sell, cancel = book.limit_buy, book.limit_sell, book.cancel
        for kind, number, buys, price, qty, _ in calls:
            if kind != _NEW:
                cancel(number)
            if kind != _CANCEL:
                (buy if buys else sell)(number, qty, price)

    def traded() -> int:
        entered = sum(call[4] for call in calls if call[0] == _NEW)
        canceled = sum(call[4] for call in calls if call[0] == _CANCEL)
        return (entered - canceled - int(book.volume())) // 2

    return Run(play, traded)


def _play_pyorderbook(calls: Sequence[Call]) -> Run:
    module = importlib.import_module("pyorderbook")
    book = module.Book()
    orders: list[Any] = []
    moved: list[Any] = []

    def play() -> None:
        bid, ask, match, cancel = module.bid, module.ask, book.match, book.cancel
        for kind, number, buys, price, qty, _ in calls:
            if kind == _NEW:
                order = (bid if buys else ask)("X", price, qty)
                orders.append(order)
                match(order)
                continue
            cancel(orders[number])
            if kind == _MOVE:
                moved.append(orders[number])
                orders[number] = order = (bid if buys else ask)("X", price, qty)
                match(order)

    return Run(
        play, lambda: sum(each.original_quantity - each.quantity for each in orders + moved) // 2
    )


def _play_lightmatchingengine(calls: Sequence[Call]) -> Run:
    module = importlib.import_module("lightmatchingengine.lightmatchingengine")
    book = module.LightMatchingEngine()
    orders: list[Any] = []
    moved: list[Any] = []

    def play() -> None:
        add, cancel = book.add_order, book.cancel_order
        for kind, number, buys, price, qty, _ in calls:
            if kind == _NEW:
                orders.append(add("X", price, qty, 1 if buys else 2)[0])
                continue
            cancel(orders[number].order_id, "X")
            if kind == _MOVE:
                moved.append(orders[number])
                orders[number] = add("X", price, qty, 1 if buys else 2)[0]

    return Run(play, lambda: sum(each.cum_qty for each in orders + moved) // 2)


_TWO_CALLS = "a price change is a cancel and a new order"

CONTESTANTS = (
    Contestant("OrderBook.limit", "openoutcry", _play_order_book, note="returns an object"),
    Contestant("OrderBook.place", "openoutcry", _play_numbers, note="returns a number"),
    Contestant("Engine, 1 a batch", "openoutcry", _play_engine(1)),
    Contestant("Engine, 64 a batch", "openoutcry", _play_engine(64)),
    Contestant("Engine, 1,024 a batch", "openoutcry", _play_engine(1024)),
    Contestant(
        "bourse",
        "bourse",
        _play_bourse,
        note="returns a number; told the time before each call, which orders its queues",
    ),
    Contestant(
        "limit-order-book",
        "limit-order-book",
        _play_limit_order_book,
        note=f"returns nothing; {_TWO_CALLS}",
    ),
    Contestant("pyorderbook", "pyorderbook", _play_pyorderbook, True, _TWO_CALLS),
    Contestant(
        "lightmatchingengine", "lightmatchingengine", _play_lightmatchingengine, True, _TWO_CALLS
    ),
)

# --- Timing and table -----------------------------------------------------------------------------


def _seconds(run: Run) -> float:
    # Collected before and not during, as far as that is the last one's rubbish.
    gc.collect()
    started = time.perf_counter()
    run.play()
    return time.perf_counter() - started


def _version(module: str) -> str:
    try:
        return importlib.metadata.version(module)
    except importlib.metadata.PackageNotFoundError:
        return ""


def compare(count: int, slow_count: int, turns: int, seed: int) -> dict[str, Any]:
    """Run every contestant `turns` times, one after another; return the figures by name."""
    flow = make_flow(count, seed)
    rows: dict[str, dict[str, Any]] = {}
    able: list[tuple[Contestant, Sequence[Call]]] = []
    for one in CONTESTANTS:
        calls: Sequence[Call] = flow.calls[:slow_count] if one.is_slow else flow.calls
        row: dict[str, Any] = {
            "version": _version(one.module),
            "calls": len(calls),
            "note": one.note,
        }
        rows[one.name] = row
        try:
            run = one.make(calls)
            run.play()
            row["traded"] = run.traded()
        except ImportError as error:
            row["missing"] = str(error)
            continue
        except Exception as error:  # a peer may raise anything: it is told, and the rest goes on
            row["missing"] = f"{type(error).__name__}: {error}"
            continue
        row["expected"] = flow.traded[len(calls) - 1]
        able.append((one, calls))
    # What was loaded stays: else each full collection walks numba's 100,000 objects again.
    gc.collect()
    gc.freeze()
    times: dict[str, list[float]] = {one.name: [] for one, _ in able}
    for _ in range(turns):
        for one, calls in able:
            times[one.name].append(_seconds(one.make(calls)) / len(calls) * 1e9)
    gc.unfreeze()
    for name, nanoseconds in times.items():
        rows[name]["ns_per_call"] = statistics.median(nanoseconds)
        rows[name]["ns_range"] = [min(nanoseconds), max(nanoseconds)]
    kinds = [call[0] for call in flow.calls]
    return {
        "seed": seed,
        "turns": turns,
        "shares": {
            name: kinds.count(kind) / count
            for name, kind in (("new", _NEW), ("cancel", _CANCEL), ("move", _MOVE))
        },
        "machine": {
            "machine": platform.machine(),
            "system": platform.platform(),
            "python": platform.python_version(),
        },
        "books": rows,
    }


def format_table(result: dict[str, Any]) -> str:
    """Return the figures as text for a terminal."""
    shares = ", ".join(f"{share:.0%} {name}" for name, share in result["shares"].items())
    lines = [
        f"{shares}; median of {result['turns']} in turns, seed {result['seed']}",
        f"{'':24}{'version':>10}{'calls':>10}{'ns a call':>11}{'range':>16}{'M calls/s':>11}  "
        f"traded lots",
    ]
    notes = []
    for name, row in result["books"].items():
        start = f"{name:24}{row['version'] or '-':>10}"
        if "missing" in row:
            lines.append(f"{start}  not run: {row['missing']}")
            continue
        low, high = row["ns_range"]
        same = "" if row["traded"] == row["expected"] else f", not {row['expected']:,}"
        lines.append(
            f"{start}{row['calls']:>10,}{row['ns_per_call']:>11,.0f}"
            f"{f'{low:,.0f}-{high:,.0f}':>16}{1e3 / row['ns_per_call']:>11.3f}  "
            f"{row['traded']:,}{same}"
        )
        if row["note"]:
            notes.append(f"{name}: {row['note']}.")
    counts = {row["calls"] for row in result["books"].values()}
    if len(counts) > 1:
        notes.append(f"Slow books took the first {min(counts):,} calls of the same flow.")
    return "\n".join([*lines, "", *notes])


@click.command()
@click.option("--calls", type=click.IntRange(1), default=200_000, show_default=True)
@click.option(
    "--slow-calls", type=click.IntRange(1), default=20_000, show_default=True,
    help="How many of them the plain Python books take.",
)  # fmt: skip
@click.option("--turns", type=click.IntRange(1), default=5, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--json", "json_file", type=click.Path(dir_okay=False), help="Write the figures.")
def main(calls: int, slow_calls: int, turns: int, seed: int, json_file: str | None) -> None:
    """Run other Python order books and this one in turns, over the same calls."""
    result = compare(calls, min(calls, slow_calls), turns, seed)
    click.echo(format_table(result))
    if json_file:
        Path(json_file).write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    if any(row.get("traded") != row.get("expected") for row in result["books"].values()):
        raise SystemExit(
            "A book traded another quantity than the engine: its row compares nothing."
        )


if __name__ == "__main__":
    main()

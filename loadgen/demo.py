"""`openoutcry demo`: start a venue, drive it over real sockets, and show what it measured."""

import asyncio
import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec

if TYPE_CHECKING:
    from openoutcry.loadgen.demo_view import View
    from openoutcry.loadgen.scenario import Scenario
    from openoutcry.loadgen.scrape import Scrape

_T = TypeVar("_T")

#: How --duration is divided: latency and throughput are measured once for each protocol.
_SHARES = {"latency": 0.08, "throughput": 0.16, "trading": 0.52}
PROTOCOLS = ("fix", "binary")
SYMBOL = "BTCUSDT"
LEVELS = 20
#: Connections, and orders in flight on each.
_LOAD = (8, 1024)
#: Orders resting while latency is measured.
_SMALL_BOOK = 200
_LADDER_EVERY_S = 0.25
#: How long trading goes on for a picture of it, where none came in time.
_FIRST_LADDER_S = 20.0
#: A step that takes longer is compiling kernels, and says so.
_QUIET_S = 2.0
_BOOK_END_S = 5.0


class DemoError(Exception):
    """The demonstration cannot go on; the text is for the user."""


@dataclass
class _Demo:
    """A demonstration under way."""

    duration_s: float
    seed: int
    view: "View"
    result: dict[str, Any] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    #: The venue's own figures before and after each measurement of the phase under way.
    spans: list[tuple["Scrape", "Scrape"]] = field(default_factory=list)
    name: str = field(default_factory=lambda: f"demo-{os.getpid()}")
    log: deque[str] = field(default_factory=lambda: deque(maxlen=50))

    def run(self) -> dict[str, Any]:
        """Run all phases; return the figures as --json prints them."""
        from openoutcry.config.system import machine
        from openoutcry.loadgen.report import versions
        from openoutcry.loadgen.venue import VenueError, own_venue

        started = time.perf_counter()
        self.view.start(machine(), versions())
        settings = (f"venue.name={self.name}",)
        try:
            with own_venue(settings, on_log=self._take_log) as ready:
                self._ready(ready, time.perf_counter() - started)
                self._measure(ready)
                stop = time.perf_counter()
            stop_s = time.perf_counter() - stop
        except VenueError as error:
            raise DemoError("\n".join([str(error), *self.log])) from error
        self.result |= {
            "stop_s": round(stop_s, 3),
            "total_s": round(time.perf_counter() - started, 3),
            "errors": self.errors,
            "machine": machine(),
            "versions": versions(),
        }
        self.view.end(self.result)
        return self.result

    def _take_log(self, line: str) -> None:
        self.log.append(line)
        if line.startswith(("compiling", "compiled")):
            self.view.note(line)

    def _ready(self, ready: dict[str, Any], ready_s: float) -> None:
        self.result["ready_s"] = round(ready_s, 3)
        # The supervisor's own time; the rest is Python's start.
        self.result["kernels_compiled"] = any(line.startswith("compiled") for line in self.log)
        self.result["venue"] = {key: ready[key] for key in ("fix", "binary", "http", "durability")}
        self.view.ready(self.result)

    def _measure(self, ready: dict[str, Any]) -> None:
        from openoutcry.loadgen.scenario import load_scenario
        from openoutcry.loadgen.scrape import NAMES, scrape, stages_us

        scenario = load_scenario("default")
        # A large book takes longer to fill than there is time to measure.
        small = msgspec.structs.replace(scenario, resting_orders=_SMALL_BOOK)
        for protocol in PROTOCOLS:
            text = f"compiling the {NAMES[protocol]} client's kernels (first run only) …"
            with _slow(self.view, text):
                _compile_client(scenario, protocol)
            _heed_interrupts()

        def trade() -> dict[str, Any]:
            before = scrape(ready["http"])
            try:
                found = asyncio.run(_cancellable(self._trade(ready)))
            except asyncio.CancelledError:
                _heed_interrupts()
                raise
            self.spans.append((before, scrape(ready["http"])))
            return found

        phases: list[tuple[str, Callable[[], dict[str, Any]]]] = [
            ("latency", lambda: self._loads(ready, small, "latency", (1, 1))),
            ("throughput", lambda: self._loads(ready, scenario, "throughput", _LOAD)),
            ("trading", trade),
        ]
        stages = {}
        for phase, measure in phases:
            self.spans.clear()
            self.result[phase] = measure()
            _heed_interrupts()
            stages[phase] = stages_us(*self.spans)
        before, last = self.spans[-1]
        totals = last.totals
        trading = self.result["trading"]
        trading["venue_trades"] = round(totals["trades"] - before.totals["trades"])
        if trading["venue_trades"] != trading["trades"]:
            self.errors.append(
                f"the venue counted {trading['venue_trades']} trades, the clients were told of "
                f"{trading['trades']}"
            )
        self.result["venue"] |= {
            "orders": round(totals["orders"]),
            "trades": round(totals["trades"]),
            "reports": round(totals["reports"]),
            "rejects": round(totals["rejects"]),
            "stages_us": stages,
            "processes": {
                name: {key: round(value, 2) for key, value in usage.items()}
                for name, usage in sorted(last.processes.items())
            },
        }

    # --- latency and throughput -------------------------------------------------------------------

    def _loads(
        self,
        ready: dict[str, Any],
        scenario: "Scenario",
        phase: str,
        size: tuple[int, int],
    ) -> dict[str, Any]:
        from openoutcry.loadgen.run import RunOptions, run
        from openoutcry.loadgen.scrape import scrape
        from openoutcry.loadgen.venue import endpoint

        edges: list[Scrape] = []

        def on_edge() -> None:
            edges.append(scrape(ready["http"]))

        connections, window = size
        duration_s = max(self.duration_s * _SHARES[phase], 0.2)
        self.view.measuring(phase, duration_s, connections, window)
        found = {}
        for protocol in PROTOCOLS:
            host, port = endpoint(ready[protocol])
            edges.clear()
            result = run(
                RunOptions(
                    scenario=scenario,
                    scenario_name="default",
                    host=host,
                    port=port,
                    protocol=protocol,
                    connections=connections,
                    window=window,
                    duration_s=duration_s,
                    warmup_s=duration_s / 5,
                    seed=self.seed,
                    session_prefix=f"DEMO-{phase[0]}{protocol[0]}".upper(),
                    is_quiet=True,
                ),
                on_edge,
            )
            if len(edges) == 2:  # a run that failed may have fewer
                self.spans.append((edges[0], edges[1]))
            self.errors += [f"{phase}, {protocol}: {text}" for text in result["error_texts"]]
            names = ("orders_sent", "acked", "rejected", "trades", "duration_s", "acked_per_s")
            found[protocol] = {
                **{name: _rounded(result[name]) for name in names},
                "connections": connections,
                "window": window,
                "latency_us": result["latency_us"],
                "errors": result["errors"],
            }
            self.view.measured(phase, protocol, found[protocol])
        return found

    # --- trading ----------------------------------------------------------------------------------

    async def _trade(self, ready: dict[str, Any]) -> dict[str, Any]:
        from openoutcry.loadgen.trading import Market, trading

        duration_s = max(self.duration_s * _SHARES["trading"], 1.0)
        # A few quotes more than are shown: takers eat some between two looks of a maker.
        market = Market(symbol=SYMBOL, levels=LEVELS + 4)
        self.view.trading(market, duration_s)
        book = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "openoutcry.server.main", "book", SYMBOL, "--json"),
            *("--venue", self.name, "--levels", str(LEVELS), "--refresh", str(_LADDER_EVERY_S)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=1 << 20,
        )
        ladders = _Ladders()
        try:
            # On a busy machine the ladder's process would begin when trading is over.
            await _next_ladder(book)
            async with trading(ready, market, self.seed) as traders:
                started = time.perf_counter()
                with self.view.live(duration_s):
                    await self._watch(book, ladders, traders.tally, duration_s)
                seconds = time.perf_counter() - started
            tally = traders.tally()
        finally:
            await _end(book)
        self.errors += [f"trading: {text}" for text in tally.declined[:10]]
        if tally.bought != tally.sold:
            self.errors.append(f"trading: {tally.bought} bought, {tally.sold} sold")
        if ladders.crossed:
            self.errors.append(f"trading: the book was crossed in {ladders.crossed} pictures")
        # Every trade is told to both of its sides.
        trades = tally.fills // 2
        last = ladders.last
        result = {
            "symbol": SYMBOL,
            "duration_s": round(seconds, 3),
            "makers": market.makers,
            "takers": market.takers,
            "orders": tally.orders,
            "replaces": tally.replaces,
            "cancels": tally.cancels,
            "requests_per_s": round((tally.orders + tally.replaces + tally.cancels) / seconds, 1),
            "declined_changes": tally.too_late,
            "declined_orders": len(tally.declined),
            "trades": trades,
            "trades_per_s": round(trades / seconds, 1),
            "volume": _text(tally.sold),
            "notional": _text(tally.notional / 2),
            "average_price": float(tally.notional / 2 / tally.sold) if tally.sold else None,
            **{key: last.get(key) for key in ("best_bid", "best_ask", "spread", "spread_bps")},
            "levels": {side: len(last.get(side, ())) for side in ("bids", "asks")},
            "spread_bps_mean": ladders.mean_spread_bps(),
            "pictures": ladders.count,
            "crossed": ladders.crossed,
            "ladder": last,
        }
        self.view.traded(result)
        return result

    async def _watch(
        self,
        book: asyncio.subprocess.Process,
        ladders: "_Ladders",
        tally: Callable[[], Any],
        duration_s: float,
    ) -> None:
        """Show the ladder as `openoutcry book` prints it, for a time.

        It takes longer where no picture of both sides came, for there would be none to show.
        """
        started = time.perf_counter()

        async def show() -> None:
            ladder = await _next_ladder(book)
            ladders.add(ladder)
            self.view.ladder(ladder, tally(), time.perf_counter() - started)

        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(duration_s):
                while True:
                    await show()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FIRST_LADDER_S):
                while not ladders.last:
                    await show()


async def _next_ladder(book: asyncio.subprocess.Process) -> dict[str, Any]:
    assert book.stdout is not None
    assert book.stderr is not None
    line = await book.stdout.readline()
    if not line:
        raise DemoError(f"the ladder ended: {(await book.stderr.read()).decode()}")
    ladder: dict[str, Any] = json.loads(line)
    return ladder


@dataclass
class _Ladders:
    """What is kept of the pictures of the book."""

    count: int = 0
    crossed: int = 0
    last: dict[str, Any] = field(default_factory=dict)
    spreads_bps: list[float] = field(default_factory=list)

    def add(self, ladder: dict[str, Any]) -> None:
        """Count a picture; one without both sides is not the last shown."""
        self.count += 1
        bid, ask = ladder["best_bid"], ladder["best_ask"]
        if bid is None or ask is None:
            return
        self.crossed += Decimal(bid) >= Decimal(ask)
        self.spreads_bps.append(ladder["spread_bps"])
        self.last = ladder

    def mean_spread_bps(self) -> float | None:
        """Return the mean spread of all pictures."""
        if not self.spreads_bps:
            return None
        return round(sum(self.spreads_bps) / len(self.spreads_bps), 4)


async def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    # Read to the end: a full pipe would keep it.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_BOOK_END_S):
            await process.communicate()
            return
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.wait()


def _compile_client(scenario: "Scenario", protocol: str) -> None:
    """Compile the load generator's kernels, or load them from the cache, ahead of all phases."""
    from openoutcry.loadgen.exchange import VenueExchange
    from openoutcry.loadgen.workload import new_load

    decimals = 8 if protocol == "fix" else -1
    load = new_load(
        scenario,
        connections=1,
        window=1,
        seed=1,
        run=1,
        account="LOAD",
        is_own_venue=True,
        avg_px_decimals=decimals,
    )
    VenueExchange(load, protocol, ["COMPILE"], account="LOAD").compile()


@contextlib.contextmanager
def _slow(view: "View", text: str) -> Iterator[None]:
    """Say what is being done if it takes long."""
    timer = threading.Timer(_QUIET_S, view.note, (text,))
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()


def _rounded(value: Any) -> Any:
    return round(value, 3) if isinstance(value, float) else value


def _text(value: Decimal) -> str:
    return format(value.normalize(), "f")


#: The signals that were to end the demo.
_interrupts: list[int] = []
#: The main task of the event loop that runs, if one does.
_main_tasks: list[asyncio.Task[Any]] = []


def _interrupt(number: int, frame: FrameType | None) -> None:
    # Not by way of SIGINT, which a shell's background job ignores.
    _interrupts.append(number)
    if not _main_tasks or len(_interrupts) > 1:
        raise KeyboardInterrupt
    # Raised here it would end any task, a client's for one, and the others could not close theirs.
    task = _main_tasks[0]
    task.get_loop().call_soon_threadsafe(task.cancel)


async def _cancellable(what: Awaitable[_T]) -> _T:
    """Await it in a main task that the first signal cancels; asyncio has that for SIGINT alone."""
    task = asyncio.current_task()
    assert task is not None
    _main_tasks.append(task)
    try:
        return await what
    finally:
        _main_tasks.clear()


def _heed_interrupts() -> None:
    """Raise again what was raised in a place that lets no exception through.

    Compiling calls back from the compiler's C code: an exception there is printed and dropped.
    """
    if _interrupts:
        raise KeyboardInterrupt


@click.command()
@click.option("--json", "is_json", is_flag=True, help="Print one JSON object, and nothing else.")
@click.option(
    "--duration",
    type=click.FloatRange(2, 3600),
    default=24.0,
    show_default=True,
    help="Seconds to be measured, all phases together.",
)
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True)
def demo(is_json: bool, duration: float, seed: int) -> None:
    """Start a venue on free ports and show it working: latency, throughput, trading.

    The venue runs in processes of its own, as `openoutcry serve` starts it, and is driven over real
    sockets; every figure is measured in this run. It is stopped at the end, and leaves nothing.
    The status is 1 when a report did not fit its order, or sums did not agree.
    """
    from openoutcry.loadgen.demo_view import HumanView, SilentView

    _interrupts.clear()
    signal.signal(signal.SIGTERM, _interrupt)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)
    view = SilentView() if is_json else HumanView()
    try:
        result = _Demo(duration, seed, view).run()
    except KeyboardInterrupt:
        click.echo("interrupted; the venue is stopped", err=True)
        sys.exit(130)
    except (DemoError, OSError) as error:
        raise click.ClickException(str(error) or type(error).__name__) from None
    if is_json:
        click.echo(json.dumps(result, indent=2))
    sys.exit(1 if result["errors"] else 0)

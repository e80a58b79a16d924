"""A run of the generator: fill the book, warm up, measure, clean up, judge."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from openoutcry.config.system import machine
from openoutcry.loadgen.driver import Driver, DriverError, connect
from openoutcry.loadgen.exchange import VenueExchange
from openoutcry.loadgen.layouts import Count, Load, Phase
from openoutcry.loadgen.report import latency_us, mismatches, rejects, versions
from openoutcry.loadgen.scenario import Scenario
from openoutcry.loadgen.workload import (
    is_cleaned,
    new_load,
    resting_orders,
    start_measuring,
    start_phase,
    stop_measuring,
    unanswered,
)

#: Requests in flight at most in an open loop, a connection: the generator never waits for answers.
_OPEN_LOOP_IN_FLIGHT = 1 << 16
#: The same, while the book is filled or emptied.
_FILL_WINDOW = 512
_PROGRESS_EVERY_S = 1.0


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What to run. Of `window` and `rate`, a rate counts; of `orders` and `duration_s`, orders."""

    scenario: Scenario
    scenario_name: str
    host: str
    port: int
    protocol: str = "binary"
    connections: int = 8
    window: int = 1024
    rate: float = 0.0
    burst: int = 1
    orders: int = 0
    duration_s: float = 20.0
    warmup_s: float = 2.0
    seed: int = 1
    is_own_venue: bool = True
    session_prefix: str = "LOAD"
    target_comp_id: str = "OPENOUTCRY"
    password: str = ""
    account: str = "LOAD"
    avg_px_decimals: int = 8
    is_quiet: bool = False


def run(options: RunOptions, on_edge: Callable[[], None] | None = None) -> dict[str, Any]:
    """Run, and return the result as `load --json` writes it; errors are counted, not raised.

    `on_edge` is called twice, with nothing in flight: when the book is filled, and when everything
    after that is answered. The venue's own figures of between are of warm-up and measurement alone.
    """
    in_flight = max(_OPEN_LOOP_IN_FLIGHT if options.rate else options.window, _FILL_WINDOW)
    load = new_load(
        options.scenario,
        connections=options.connections,
        window=in_flight,
        seed=options.seed,
        run=int(time.time()),
        account=options.account,
        is_own_venue=options.is_own_venue,
        avg_px_decimals=options.avg_px_decimals if options.protocol == "fix" else -1,
    )
    names = [f"{options.session_prefix}{number + 1:02d}" for number in range(options.connections)]
    exchange = VenueExchange(
        load,
        options.protocol,
        names,
        target=options.target_comp_id,
        account=options.account,
        password=options.password,
    )
    progress = _Progress(load, options.is_quiet)
    progress.say("compiling the client's kernels, or loading them from the cache …")
    exchange.compile()
    sockets = []
    resting: list[int] = []
    texts: list[str] = []
    start_ns = time.perf_counter_ns()
    try:
        for c in range(options.connections):
            sockets.append(connect(options.host, options.port))
            exchange.logon(c, sockets[c])
        exchange.take_symbols(options.scenario)
        driver = Driver(sockets, exchange)
        try:
            start_ns = _phases(options, load, driver, resting, progress, on_edge or _ignore)
        finally:
            driver.release()
        for c, sock in enumerate(sockets):
            exchange.logout(c, sock)
    except DriverError as error:
        texts.append(str(error))
    finally:
        progress.end()
        for sock in sockets:
            sock.close()
    return _result(options, load, start_ns, resting, texts)


def _ignore() -> None:
    pass


def _phases(
    options: RunOptions,
    load: Load,
    driver: Driver,
    resting: list[int],
    progress: "_Progress",
    on_edge: Callable[[], None],
) -> int:
    """Drive the venue through all phases; return when the measurement started."""

    def is_answered() -> bool:
        return unanswered(load) == 0

    def go(is_over: Callable[[], bool], name: str) -> None:
        def watched() -> bool:
            progress.show(name)
            return is_over()

        if options.rate:
            driver.run_open(options.rate, options.burst, watched)
        else:
            driver.run_closed(watched)

    start_phase(load, Phase.FILL, _FILL_WINDOW)

    def is_filled() -> bool:
        progress.show("filling the book")
        return is_answered()

    driver.run_closed(is_filled)
    on_edge()
    start_phase(load, Phase.MIX, _OPEN_LOOP_IN_FLIGHT if options.rate else options.window)
    warm_until = time.perf_counter() + options.warmup_s
    go(lambda: time.perf_counter() >= warm_until, "warming up")

    resting.append(resting_orders(load))
    start_ns = time.perf_counter_ns()
    counts = load.counts
    if options.orders:
        start_measuring(load, options.orders)
        go(lambda: bool(counts[Count.SENT] >= options.orders), "measuring")
    else:
        start_measuring(load)
        until = time.perf_counter() + options.duration_s
        go(lambda: time.perf_counter() >= until, "measuring")
    start_phase(load, Phase.QUIET, 0)
    stop_measuring(load)
    driver.run_closed(is_answered)
    on_edge()
    resting.append(resting_orders(load))
    # What follows is not part of the figures, only of the checks.
    measured = counts.copy()
    start_phase(load, Phase.CLEAN, _FILL_WINDOW)
    driver.run_closed(lambda: is_cleaned(load))
    resting.append(resting_orders(load))
    start_phase(load, Phase.QUIET, 0)
    counts[:] = measured
    return start_ns


def _result(
    options: RunOptions, load: Load, start_ns: int, resting: list[int], texts: list[str]
) -> dict[str, Any]:
    counts = {count.name.lower(): int(load.counts[count]) for count in Count}
    found = int(load.plan[0]["mismatches"])
    open_requests = unanswered(load)
    if open_requests:
        texts.append(f"{open_requests} requests were not answered")
    errors = found + open_requests + len(texts) - bool(open_requests)
    left_open = resting[2] if len(resting) > 2 else 0
    if left_open:
        errors += 1
        texts.append(f"{left_open} orders could not be cancelled at the end")
    if options.is_own_venue and not errors:
        # All traders are ours: what one bought another sold.
        for place, symbol in enumerate(options.scenario.symbols):
            market = load.markets[place]
            if market["bought"] != market["sold"]:
                errors += 1
                texts.append(f"{symbol.name}: {market['bought']} bought, {market['sold']} sold")
    duration_s = max((counts["last_answer_ns"] - start_ns) / 1e9, 0.0)
    sent = counts["sent"]
    new = counts["new"] + counts["marketable"]
    answered = max(sent, 1)
    return {
        "protocol": options.protocol,
        "connections": options.connections,
        "window": None if options.rate else options.window,
        "rate": options.rate or None,
        "burst": options.burst if options.rate else None,
        "orders_sent": sent,
        "reports_received": counts["reports"],
        "acked": counts["acked"],
        "rejected": counts["rejected"],
        "rejected_percent": 100 * counts["rejected"] / answered,
        "rejects": rejects(load),
        "duration_s": duration_s,
        "acked_per_s": counts["acked"] / duration_s if duration_s else 0.0,
        "latency_us": latency_us(load),
        "errors": errors,
        "error_texts": [*mismatches(load), *texts],
        "trades": counts["trades"],
        "fill_percent": 100 * counts["filled"] / max(new, 1),
        "mix_percent": {
            name: 100 * counts[name] / answered
            for name in ("new", "cancel", "replace", "marketable")
        },
        "foreign_reports": counts["foreign"],
        "resting_orders": resting[:2],
        "bytes_per_order": counts["bytes_out"] / answered,
        "bytes_per_report": counts["bytes_in"] / max(counts["reports"], 1),
        "scenario": options.scenario_name,
        "seed": options.seed,
        "warmup_s": options.warmup_s,
        "machine": machine(),
        "versions": versions(),
    }


class _Progress:
    """A line on stderr: rewritten on a terminal, a new one every five seconds elsewhere."""

    def __init__(self, load: Load, is_quiet: bool) -> None:
        self._load = load
        self._is_quiet = is_quiet
        self._is_terminal = sys.stderr.isatty()
        self._every_s = _PROGRESS_EVERY_S if self._is_terminal else 5 * _PROGRESS_EVERY_S
        self._shown = time.perf_counter()
        self._acked = 0
        self._has_line = False

    def say(self, text: str) -> None:
        """Write a text."""
        if self._is_quiet:
            return
        if self._is_terminal:
            sys.stderr.write(f"\r\x1b[K{text}")
        else:
            sys.stderr.write(f"{text}\n")
        sys.stderr.flush()
        self._has_line = self._is_terminal

    def show(self, phase: str) -> None:
        """Write how far the run is, if it is time to."""
        now = time.perf_counter()
        passed = now - self._shown
        if passed < self._every_s:
            return
        counts = self._load.counts
        answered = int(counts[Count.REPORTS])
        speed = max(answered - self._acked, 0) / passed
        self._shown = now
        self._acked = answered
        found = int(self._load.plan[0]["mismatches"])
        self.say(
            f"{phase}: {speed:,.0f} reports/s, {int(counts[Count.SENT]):,} sent, "
            f"{int(counts[Count.ACKED]):,} acknowledged, {int(counts[Count.REJECTED]):,} rejected, "
            f"{unanswered(self._load):,} in flight, {found} errors"
        )

    def end(self) -> None:
        """Leave the line."""
        if self._has_line:
            sys.stderr.write("\n")
            sys.stderr.flush()
            self._has_line = False

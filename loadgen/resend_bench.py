"""`openoutcry bench resend`: what a big resend to one client costs another.

A venue of our own; a client in a process of its own that was sent many reports asks for all of them
again and again; another client trades in an open loop meanwhile. Spells with and without resends
take turns, and each with is set beside the one without just before it.
"""

import multiprocessing
import socket
import statistics
import sys
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

import click

from openoutcry.config.system import machine
from openoutcry.loadgen.driver import Driver, DriverError, connect
from openoutcry.loadgen.exchange import VenueExchange, utc_ms
from openoutcry.loadgen.layouts import Load, Phase
from openoutcry.loadgen.report import latency_us, mismatches, versions
from openoutcry.loadgen.scenario import Scenario
from openoutcry.loadgen.workload import (
    new_load,
    start_measuring,
    start_phase,
    stop_measuring,
    unanswered,
)
from openoutcry.protocol.fix.stamps import format_utc_ms
from openoutcry.protocol.fix.store import seal

#: What the resend may take, and by how much it may raise the other client's p99: the larger counts.
TARGET_S = 5.0
TARGET_PERCENT = 20.0
TARGET_US = 200.0

_FILL_WINDOW = 512
_IN_FLIGHT = 1 << 16
_SETTLE_S = 0.5
_TIMEOUT_S = 60.0
#: Orders that the reader has unanswered at a time.
_BATCH = 500
_AGAIN = b"\x0143=Y\x01"
#: Longest field that may lie across the border of two reads.
_TAIL = 64


class Reader:
    """The client that is resent to: plain FIX on a socket, no more work than it takes.

    Attributes:
        last: MsgSeqNum of the last message that is asked for.
        reports: how many reports lie below it.
    """

    def __init__(self, host: str, port: int, symbol: str, price: str, qty: str) -> None:
        self._sock = connect(host, port, _TIMEOUT_S)
        self._number = 0
        self._order = b"55=%b\x0144=%b\x0138=%b\x01" % tuple(
            text.encode() for text in (symbol, price, qty)
        )
        self.last = 1
        self.reports = 0
        self._send(b"A", b"98=0\x01108=0\x01141=Y\x01")
        self._read_until(b"\x0134=1\x01")

    def _message(self, msg_type: bytes, fields: bytes) -> bytes:
        self._number += 1
        head = b"35=%b\x0149=RESENT\x0156=OPENOUTCRY\x0134=%d\x0152=%b\x01"
        body = head % (msg_type, self._number, format_utc_ms(utc_ms())) + fields
        return seal(b"8=FIX.4.4\x01", body)

    def _send(self, msg_type: bytes, fields: bytes) -> None:
        self._sock.sendall(self._message(msg_type, fields))

    def _read_until(self, mark: bytes) -> int:
        """Read up to a mark; return how many resent messages came."""
        tail, again = b"", 0
        while True:
            data = self._sock.recv(1 << 18)
            if not data:
                raise DriverError("the venue closed the connection of the client resent to")
            part = tail + data
            tail = part[-_TAIL:]
            # What the kept part has of its own is counted already.
            again += part.count(_AGAIN) - tail.count(_AGAIN)
            if mark in part:
                return again + tail.count(_AGAIN)

    def trade(self, reports: int) -> None:
        """Be sent so many reports at least: orders that find nobody give two each."""
        while self.reports < reports:
            fields = [
                b"11=R%d\x0154=1\x0160=%b\x0140=2\x0159=3\x01%b"
                % (self._number + 1 + n, format_utc_ms(utc_ms()), self._order)
                for n in range(_BATCH)
            ]
            self._sock.sendall(b"".join(self._message(b"D", each) for each in fields))
            self.last += 2 * _BATCH
            self.reports += 2 * _BATCH
            self._read_until(b"\x0134=%d\x01" % self.last)

    def resend(self) -> tuple[float, int]:
        """Ask for all again; return (seconds, reports that came)."""
        started = time.perf_counter()
        self._send(b"2", b"7=1\x0116=%d\x01" % self.last)
        # The Logon's gap fill is marked as a duplicate, too.
        again = self._read_until(b"\x0134=%d\x01" % self.last) - 1
        return time.perf_counter() - started, again

    def close(self) -> None:
        """Leave."""
        self._send(b"5", b"")
        self._sock.shutdown(socket.SHUT_WR)
        self._sock.close()


def _read_on_demand(
    pipe: Connection, host: str, port: int, reports: int, order: tuple[str, str, str]
) -> None:
    """Be the reader's process: each message asks for resends until the next one."""
    reader = Reader(host, port, *order)
    reader.trade(reports)
    pipe.send(reader.reports)
    while pipe.recv():
        taken: list[tuple[float, int]] = []
        while not pipe.poll():
            taken.append(reader.resend())
        pipe.recv()
        pipe.send(taken)
    reader.close()


def _spell(driver: Driver, load: Load, rate: float, seconds: float) -> dict[str, float]:
    """Trade for a while; return the latencies of what was sent."""
    start_phase(load, Phase.MIX, _IN_FLIGHT)
    for measured in (False, True):
        if measured:
            start_measuring(load)
        until = time.perf_counter() + (seconds if measured else _SETTLE_S)
        driver.run_open(rate, 1, lambda until=until: time.perf_counter() >= until)  # type: ignore[misc]
    start_phase(load, Phase.QUIET, 0)
    stop_measuring(load)
    driver.run_closed(lambda: unanswered(load) == 0)
    return latency_us(load)


def bench_resend(
    flow: Scenario,
    host: str,
    port: int,
    *,
    reports: int,
    rate: float,
    seconds: float,
    pairs: int,
    seed: int = 1,
) -> dict[str, Any]:
    """Run the benchmark against a venue; return its result. Raises DriverError."""
    context = multiprocessing.get_context("spawn")
    pipe, other = context.Pipe()
    symbol = flow.symbols[0]
    order = (symbol.name, symbol.tick, symbol.lot)
    process = context.Process(
        target=_read_on_demand, args=(other, host, port, reports, order), daemon=True
    )
    process.start()
    other.close()
    try:
        load = new_load(
            flow, connections=1, window=_IN_FLIGHT, seed=seed, run=int(time.time()), account="LOAD"
        )
        exchange = VenueExchange(load, "fix", ["LOAD01"], account="LOAD")
        exchange.compile()
        sock = connect(host, port)
        exchange.logon(0, sock)
        driver = Driver([sock], exchange)
        start_phase(load, Phase.FILL, _FILL_WINDOW)
        driver.run_closed(lambda: unanswered(load) == 0)
        count = _heard(pipe)
        rows = []
        for number in range(pairs):
            click.echo(f"pair {number + 1} of {pairs}", err=True)
            alone = _spell(driver, load, rate, seconds)
            pipe.send(True)
            beside = _spell(driver, load, rate, seconds)
            pipe.send(False)
            taken = _heard(pipe)
            wrong = [again for _, again in taken if again != count]
            if wrong:
                raise DriverError(f"{wrong[0]} of {count} messages came again")
            rows.append({"alone": alone, "beside": beside, "resend_s": [t for t, _ in taken]})
        pipe.send(False)
        process.join(_TIMEOUT_S)
        driver.release()
        exchange.logout(0, sock)
        sock.close()
    except (EOFError, OSError) as error:
        raise DriverError(f"the client that is resent to is gone: {error}") from error
    finally:
        process.kill()
    return _result(load, rows, count)


def _heard(pipe: Connection) -> Any:
    if not pipe.poll(_TIMEOUT_S):
        raise DriverError(f"the client that is resent to is silent for {_TIMEOUT_S:g} s")
    return pipe.recv()


def _result(load: Load, rows: list[dict[str, Any]], count: int) -> dict[str, Any]:
    def median(side: str) -> dict[str, float]:
        return {name: statistics.median(row[side][name] for row in rows) for name in rows[0][side]}

    raised = [row["beside"]["p99"] - row["alone"]["p99"] for row in rows]
    all_s = [seconds for row in rows for seconds in row["resend_s"]]
    alone = median("alone")
    allowed = max(TARGET_US, alone["p99"] * TARGET_PERCENT / 100)
    resend_s = statistics.median(all_s)
    found = int(load.plan[0]["mismatches"]) + unanswered(load)
    return {
        "messages": count,
        "resends": len(all_s),
        "resend_s": resend_s,
        "resend_s_range": [min(all_s), max(all_s)],
        "alone_us": alone,
        "beside_us": median("beside"),
        "p99_raised_us": statistics.median(raised),
        "p99_raised_us_range": [min(raised), max(raised)],
        "p99_may_be_raised_us": allowed,
        "is_within_target": resend_s <= TARGET_S and statistics.median(raised) <= allowed,
        "errors": found,
        "error_texts": mismatches(load),
        "all": rows,
    }


@click.command()
@click.option("--messages", type=click.IntRange(1000), default=100_000, show_default=True)
@click.option("--rate", type=click.FloatRange(min=1), default=20_000.0, show_default=True)
@click.option("--seconds", type=click.FloatRange(min=0.5), default=5.0, show_default=True)
@click.option("--pairs", type=click.IntRange(1, 99), default=7, show_default=True)
@click.option("--scenario", default="default", show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True)
@click.option("--config", type=click.Path(exists=True), help="The venue's configuration.")
@click.option("--set", "settings", multiple=True, help="Override key=value of it.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False), help="Write the result.")
def resend(
    messages: int,
    rate: float,
    seconds: float,
    pairs: int,
    scenario: str,
    seed: int,
    config: str | None,
    settings: Sequence[str],
    json_file: str | None,
) -> None:
    """Measure how long a big resend takes, and what it costs a client that trades meanwhile.

    The one asks for all its messages again, over and over, for every second spell of --seconds; the
    other sends --rate requests a second, whatever comes back, and its latencies count from when a
    request was due. Prints medians. The status is 1 when a message was missed or did not fit.
    """
    from openoutcry.loadgen.main import write_json
    from openoutcry.loadgen.scenario import ScenarioError, load_scenario
    from openoutcry.loadgen.venue import VenueError, endpoint, own_venue

    try:
        flow = load_scenario(scenario)
    except ScenarioError as error:
        raise click.UsageError(str(error)) from None
    try:
        with own_venue(settings, config) as ready:
            host, port = endpoint(ready["fix"])
            result = bench_resend(
                flow,
                host,
                port,
                reports=messages,
                rate=rate,
                seconds=seconds,
                pairs=pairs,
                seed=seed,
            )
    except (VenueError, DriverError) as error:
        raise click.ClickException(str(error)) from None
    result |= {"rate": rate, "seconds": seconds, "pairs": pairs, "scenario": scenario, "seed": seed}
    result |= {"machine": machine(), "versions": versions()}
    low, high = result["resend_s_range"]
    click.echo(
        f"{result['messages']:,} messages again: {result['resend_s']:.2f} s "
        f"({low:.2f} … {high:.2f}, {result['resends']} times)"
    )
    for side, text in (("alone_us", "the other client alone"), ("beside_us", "beside resends")):
        figures = result[side]
        click.echo(
            f"{text:24} p50 {figures['p50']:8.1f}   p99 {figures['p99']:8.1f}   "
            f"p99.9 {figures['p999']:8.1f} µs"
        )
    low, high = result["p99_raised_us_range"]
    click.echo(
        f"p99 raised by {result['p99_raised_us']:.1f} µs ({low:.1f} … {high:.1f}), pair by pair; "
        f"{result['p99_may_be_raised_us']:.0f} µs are allowed"
    )
    for text in result["error_texts"]:
        click.echo(text, err=True)
    if json_file:
        write_json(result, json_file)
    sys.exit(1 if result["errors"] else 0)

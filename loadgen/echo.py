"""`openoutcry bench echo`: what TCP itself costs here, measured with the generator's own loop."""

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

#: Bytes of a message: the mean of what `load` sends and receives, so that as many bytes go through.
SIZES = {"binary": 68, "fix": 222}


@click.command()
@click.option("--connections", type=click.IntRange(1, 512), default=8, show_default=True)
@click.option("--window", type=click.IntRange(1, 65536), default=1024, show_default=True)
@click.option("--batch", type=click.IntRange(1, 65536), default=50, show_default=True)
@click.option("--runs", type=click.IntRange(1, 99), default=5, show_default=True)
@click.option("--seconds", type=click.FloatRange(min=0.05), default=2.0, show_default=True)
@click.option("--json", "json_file", type=click.Path(dir_okay=False), help="Write the result.")
def echo(
    connections: int, window: int, batch: int, runs: int, seconds: float, json_file: str | None
) -> None:
    """Measure an echo: messages a second when pipelined, and the unloaded round trip.

    The servers are a uvloop Protocol and a native epoll loop, each a process of its own. Medians of
    all runs. Messages a second are the uvloop echo's, `batch` of them a send: with full windows,
    and with one batch in flight on each connection.
    """
    from rich.console import Console
    from rich.table import Table

    from openoutcry.config.system import machine
    from openoutcry.loadgen.main import write_json
    from openoutcry.loadgen.report import versions

    batch = min(batch, window)
    result: dict[str, Any] = {
        "connections": connections,
        "window": window,
        "batch": batch,
        "runs": runs,
        "machine": machine(),
        "versions": versions(),
    }
    table = Table(title=f"echo, medians of {runs} runs")
    for name in (
        "",
        "bytes a message",
        "messages/s",
        "with one batch in flight",
        "uvloop RTT p50",
        "native RTT p50",
    ):
        table.add_column(name, justify="right" if name else "left")
    for protocol, size in SIZES.items():
        speeds, batches, uvloop_us, native_us = [], [], [], []
        for _ in range(runs):
            speeds.append(pipelined("uvloop", connections, size, batch, window, seconds))
            batches.append(pipelined("uvloop", connections, size, batch, batch, seconds))
            uvloop_us.append(round_trip_us("uvloop", size, seconds))
            native_us.append(round_trip_us("native", size, seconds))
        row = {
            "bytes": size,
            "messages_per_s": statistics.median(speeds),
            "batch_messages_per_s": statistics.median(batches),
            "uvloop_rtt_us": statistics.median(uvloop_us),
            "native_rtt_us": statistics.median(native_us),
            "all": {
                "messages_per_s": speeds,
                "batch_messages_per_s": batches,
                "uvloop_rtt_us": uvloop_us,
                "native_rtt_us": native_us,
            },
        }
        result[protocol] = row
        table.add_row(
            protocol,
            f"{size}",
            f"{row['messages_per_s']:,.0f}",
            f"{row['batch_messages_per_s']:,.0f}",
            f"{row['uvloop_rtt_us']:.1f} µs",
            f"{row['native_rtt_us']:.1f} µs",
        )
    Console().print(table)
    if json_file:
        write_json(result, json_file)


def pipelined(
    kind: str, connections: int, size: int, batch: int, window: int, seconds: float
) -> float:
    """Return messages a second through an echo with full windows, `batch` messages a send."""
    speed, _ = _measure(kind, connections, size, batch, window, seconds)
    return speed


def round_trip_us(kind: str, size: int, seconds: float) -> float:
    """Return the median round trip of one message in flight."""
    _, p50 = _measure(kind, 1, size, 1, 1, seconds)
    return p50


def _measure(
    kind: str, connections: int, size: int, batch: int, window: int, seconds: float
) -> tuple[float, float]:
    from openoutcry.loadgen.driver import Driver, connect
    from openoutcry.loadgen.echo_exchange import EchoExchange
    from openoutcry.loadgen.histogram import value_at

    exchange = EchoExchange(connections, size, batch, window)
    exchange.turn(0, 0, 0)  # compiles, and sends nothing
    with echo_server(kind, connections) as port:
        sockets = [connect("127.0.0.1", port) for _ in range(connections)]
        driver = Driver(sockets, exchange)
        try:
            exchange.allow(2**62)
            driver.run_closed(_after(min(seconds / 4, 0.5)))
            exchange.start_measuring()
            start = time.perf_counter()
            driver.run_closed(_after(seconds))
            passed = time.perf_counter() - start
            speed = exchange.returned / passed
            exchange.allow(0)
            driver.run_closed(lambda: not exchange.awaits_reply())
        finally:
            driver.release()
            for sock in sockets:
                sock.close()
    if exchange.mismatches:
        raise click.ClickException(f"{exchange.mismatches} messages came back wrong")
    return speed, value_at(exchange.histogram, 50.0) / 1000


def _after(seconds: float) -> Any:
    until = time.perf_counter() + seconds
    return lambda: time.perf_counter() >= until


@contextmanager
def echo_server(kind: str, connections: int) -> Iterator[int]:
    """Run an echo server as a process; yield its port."""
    command: Sequence[str] = [
        sys.executable,
        "-m",
        "openoutcry.loadgen.echo_server",
        kind,
        str(connections),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            if not line.strip().isdigit():
                raise click.ClickException(f"the {kind} echo did not start")
            yield int(line)
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()

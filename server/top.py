"""`openoutcry top`: the live figures of a venue in the terminal."""

import time
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
from numpy.typing import NDArray
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from openoutcry.engine.enums import CommandKind, ReportKind
from openoutcry.engine.latency import (
    HISTOGRAM_BUCKETS,
    GatewayCounter,
    GatewayStage,
    Metrics,
    Pool,
    Protocol,
    Role,
    ShardCounter,
    ShardStage,
    bucket_upper_ns,
    quantile_ns,
    read_metrics,
)
from openoutcry.engine.ring import HEAD_WORD, TAIL_WORD
from openoutcry.engine.state import ShardWord
from openoutcry.server.depth import VenueGoneError
from openoutcry.server.memory import VenueMemory, VenueWord
from openoutcry.server.metrics import process_usage
from openoutcry.server.terminal import Record, choose_venue, show, venue_options
from openoutcry.server.venues import RunningVenue

_ORDERS = (CommandKind.NEW, CommandKind.CANCEL, CommandKind.REPLACE, CommandKind.STATUS)
_QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999}
#: The stages in the order in which a message passes them, and what they mean.
_STAGES = {
    "decode_to_ring": "receive and decode",
    "ring_wait": "wait for the shard",
    "match": "match (one in eight)",
    "report_to_socket": "report to socket",
    "gateway_to_gateway": "gateway to gateway",
}
_POOLS = (Pool.OPEN_ORDERS, Pool.FINISHED_ORDERS, Pool.LEVELS)


class _Sample(NamedTuple):
    """What rises, at one moment."""

    time_s: float
    #: Summed over shards, and over gateways.
    shard: NDArray[np.int64]
    gateway: NDArray[np.int64]
    stages: dict[str, NDArray[np.int64]]
    cpu_s: dict[str, float]


class Figures:
    """Figures of a venue: rates and percentiles between two calls of `record`."""

    def __init__(self, venue: RunningVenue) -> None:
        """Map the venue's memory. Raises VenueGoneError."""
        try:
            self._memory = VenueMemory.open(venue.folder)
        except (OSError, ValueError) as error:
            raise VenueGoneError(f"cannot read the venue's shared memory: {error}") from error
        self._venue = venue
        self._metrics = read_metrics(venue.folder)
        self._last = self._sample()

    def update(self) -> None:
        """Look whether the venue still runs; raise VenueGoneError where it does not."""
        if not self._memory.venue[VenueWord.SERVES] or not self._venue.is_alive():
            raise VenueGoneError("the venue has stopped")

    def record(self) -> Record:
        """Return the figures since the last call, as JSON."""
        before, now = self._last, self._sample()
        self._last = now
        seconds = max(now.time_s - before.time_s, 1e-9)
        shard = now.shard - before.shard
        gateway = now.gateway - before.gateway

        def rate(count: Any) -> float:
            return round(int(count) / seconds, 1)

        orders = {kind.name.lower(): rate(shard[ShardCounter.COMMANDS + kind]) for kind in _ORDERS}
        return {
            "venue": self._venue.card.name,
            "interval_s": round(seconds, 3),
            "orders_per_s": rate(sum(shard[ShardCounter.COMMANDS + kind] for kind in _ORDERS)),
            "orders_per_s_by_type": orders,
            "trades_per_s": rate(_trades(shard)),
            "reports_per_s": rate(shard[_reports()].sum()),
            "rejects_per_s": rate(shard[_rejects()].sum()),
            "totals": {
                "orders": sum(int(now.shard[ShardCounter.COMMANDS + kind]) for kind in _ORDERS),
                "trades": _trades(now.shard),
                "reports": int(now.shard[_reports()].sum()),
            },
            "stages_us": {
                name: _percentiles(now.stages[name] - before.stages[name]) for name in _STAGES
            },
            "ring_depth": self._ring_depth(),
            "sessions": {
                protocol.name.lower(): int(now.gateway[GatewayCounter.SESSIONS + protocol])
                for protocol in Protocol
            },
            "messages_per_s": {
                protocol.name.lower(): {
                    "in": rate(gateway[GatewayCounter.MESSAGES_IN + protocol]),
                    "out": rate(gateway[GatewayCounter.MESSAGES_OUT + protocol]),
                }
                for protocol in Protocol
            },
            "pools": {
                pool.name.lower(): {
                    "used": int(now.shard[ShardCounter.POOL_USED + pool]),
                    "capacity": int(now.shard[ShardCounter.POOL_CAPACITY + pool]),
                }
                for pool in _POOLS
            },
            "processes": self._processes(before, now, seconds),
        }

    def _sample(self) -> _Sample:
        shards = [metrics for metrics in self._metrics if metrics.role is Role.SHARD]
        gateways = [metrics for metrics in self._metrics if metrics.role is Role.GATEWAY]
        stages: dict[str, NDArray[np.int64]] = {}
        for members, names in ((gateways, GatewayStage), (shards, ShardStage)):
            for stage in names:
                rows = [metrics.histograms[stage] for metrics in members]
                total: NDArray[np.int64] = np.sum(rows, axis=0)
                stages[stage.name.lower()] = total
        cpu_s = {}
        for metrics in self._metrics:
            usage = process_usage(metrics.pid)
            if usage is not None:
                cpu_s[_process(metrics)] = usage[1]
        return _Sample(time.monotonic(), _summed(shards), _summed(gateways), stages, cpu_s)

    def _ring_depth(self) -> dict[str, int]:
        memory = self._memory
        command = 0
        # The consumer first: read later, it could have passed the tail read before.
        for header in memory.ring_headers[:, :-1].reshape(-1, memory.ring_headers.shape[-1]):
            head = int(header[HEAD_WORD])
            command += max(int(header[TAIL_WORD]) - head, 0)
        report = 0
        for metrics in self._metrics:
            if metrics.role is Role.GATEWAY:
                for shard in range(memory.shard_count):
                    read = int(metrics.counters[GatewayCounter.REPORTS_READ + shard])
                    released = int(memory.shards[shard, ShardWord.RELEASED_REPORT])
                    report += max(released - read, 0)
        return {"command": command, "report": report}

    def _processes(self, before: _Sample, now: _Sample, seconds: float) -> list[dict[str, Any]]:
        rows = []
        for metrics in self._metrics:
            name = _process(metrics)
            usage = process_usage(metrics.pid)
            if usage is not None and name in before.cpu_s and name in now.cpu_s:
                rows.append(
                    {
                        "name": name,
                        "pid": metrics.pid,
                        "cpu_percent": round(
                            100 * (now.cpu_s[name] - before.cpu_s[name]) / seconds, 1
                        ),
                        "resident_bytes": int(usage[0]),
                    }
                )
        return rows


def _process(metrics: Metrics) -> str:
    name = metrics.role.name.lower()
    return name if metrics.role is Role.SUPERVISOR else f"{name}-{metrics.index}"


def _summed(members: list[Metrics]) -> NDArray[np.int64]:
    total: NDArray[np.int64] = np.sum([metrics.counters for metrics in members], axis=0)
    return total


def _reports() -> list[int]:
    return [ShardCounter.REPORTS + kind for kind in ReportKind]


def _rejects() -> list[int]:
    kinds = (ReportKind.REJECTED, ReportKind.CANCEL_REJECTED)
    return [ShardCounter.REPORTS + kind for kind in kinds]


def _trades(shard: NDArray[np.int64]) -> int:
    # Each trade is reported to both sides.
    return int(shard[ShardCounter.REPORTS + ReportKind.TRADE]) // 2


def _percentiles(row: NDArray[np.int64]) -> dict[str, float | int]:
    buckets = row[:HISTOGRAM_BUCKETS]
    found: dict[str, float | int] = {"count": int(buckets.sum())}
    for name, quantile in _QUANTILES.items():
        found[name] = round(quantile_ns(row, quantile) / 1000, 3)
    filled = np.flatnonzero(buckets)
    found["max"] = round(bucket_upper_ns(int(filled[-1])) / 1000, 3) if len(filled) else 0.0
    return found


# --- the human form -------------------------------------------------------------------------------


def draw(record: Record, columns: int, lines: int) -> RenderableType:
    """Return the figures as tables."""
    head = Text(f" {record['venue']}", style="bold")
    sessions = record["sessions"]
    head.append(f"  {sessions['fix']} FIX and {sessions['binary']} binary sessions", "not bold")
    parts: list[RenderableType] = [head, _rates(record), _latency(record), _load(record)]
    spaced: list[RenderableType] = []
    for part in parts:
        spaced += [part] if not spaced or lines < 30 else ["", part]
    return Group(*spaced)


def _rates(record: Record) -> Table:
    table = _table("", "a second", "in all")
    by_type = record["orders_per_s_by_type"]
    totals = record["totals"]
    table.add_row("orders", _number(record["orders_per_s"]), f"{totals['orders']:,}", style="bold")
    for name, value in by_type.items():
        table.add_row(f"  {name}", _number(value), "")
    table.add_row("trades", _number(record["trades_per_s"]), f"{totals['trades']:,}", style="bold")
    table.add_row("reports", _number(record["reports_per_s"]), f"{totals['reports']:,}")
    table.add_row("rejects", _number(record["rejects_per_s"]), "")
    return table


def _latency(record: Record) -> Table:
    table = _table("time in µs", "p50", "p90", "p99", "p99.9", "max")
    for name, text in _STAGES.items():
        stage = record["stages_us"][name]
        cells = [f"{stage[key]:,.1f}" if stage["count"] else "-" for key in (*_QUANTILES, "max")]
        table.add_row(text, *cells)
    return table


def _load(record: Record) -> Table:
    grid = Table.grid(padding=(0, 3))
    left = _table("process", "CPU %", "MB")
    for process in record["processes"]:
        resident = f"{process['resident_bytes'] / 1e6:,.0f}"
        left.add_row(process["name"], f"{process['cpu_percent']:.0f}", resident)
    right = _table("waiting or in use", "now", "of")
    ring = record["ring_depth"]
    right.add_row("commands for the shards", f"{ring['command']:,}", "")
    right.add_row("reports for the gateway", f"{ring['report']:,}", "")
    for name, pool in record["pools"].items():
        right.add_row(name.replace("_", " "), f"{pool['used']:,}", f"{pool['capacity']:,}")
    grid.add_row(left, right)
    return grid


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1))
    table.add_column(first, no_wrap=True, min_width=12)
    for name in others:
        table.add_column(name, justify="right", no_wrap=True, min_width=7)
    return table


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:,.1f}"


# --- the command ----------------------------------------------------------------------------------


@click.command()
@click.option("--once", is_flag=True, help="Print the figures of one interval, and end.")
@click.option("--json", "is_json", is_flag=True, help="One JSON object a line.")
@click.option(
    "--refresh",
    type=click.FloatRange(0.1, 60),
    default=1.0,
    show_default=True,
    help="Seconds that each picture's rates and percentiles are of.",
)
@venue_options
def top(
    once: bool,
    is_json: bool,
    refresh: float,
    venue: str | None,
    data_dir: Path | None,
    shm_dir: Path,
) -> None:
    """Show the live figures of a venue on this machine, until Ctrl-C.

    Orders and trades a second, the time spent in each stage of the order path, and what is in use.
    Where the output is no terminal, it prints one picture; with --json, it goes on, a line each.
    """
    running = choose_venue(venue, data_dir, shm_dir)
    try:
        figures = Figures(running)
    except VenueGoneError as error:
        raise click.ClickException(str(error)) from None
    try:
        time.sleep(refresh)
    except KeyboardInterrupt:
        return
    show(
        figures.update,
        figures.record,
        draw,
        refresh_s=refresh,
        poll_s=0.1,
        is_once=once,
        is_json=is_json,
    )

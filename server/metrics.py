"""What `/metrics` says: a prometheus-client collector over the venue's shared memory.

Nothing is counted here. Kernels add to words of shared memory (engine/latency.py) and the collector
reads them at each scrape: a scrape costs the order path nothing, and the exporter may die and come
back.
"""

import os
import platform
from collections.abc import Iterable, Iterator
from enum import IntEnum
from functools import cache
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector, CollectorRegistry
from prometheus_client.utils import floatToGoString

from openoutcry.engine.enums import CommandKind, RejectReason, ReportKind
from openoutcry.engine.latency import (
    HISTOGRAM_BUCKETS,
    HISTOGRAM_SUM,
    GatewayCounter,
    GatewayStage,
    Metrics,
    Pool,
    Protocol,
    Role,
    ShardCounter,
    ShardStage,
    SupervisorCounter,
    bucket_upper_ns,
    read_metrics,
)
from openoutcry.engine.ring import HEAD_WORD, TAIL_WORD
from openoutcry.engine.state import ShardWord
from openoutcry.server.memory import VenueMemory
from openoutcry.server.processes import ProcessState, ProcessWord, is_ready, names_of

PREFIX = "openoutcry_"

#: Upper bounds of the exported histograms: 1–1.5–2–3–5–7 a decade from 1 µs to 1 s.
BOUNDS_NS = (
    *(step * 10**power // 10 for power in range(3, 9) for step in (10, 15, 20, 30, 50, 70)),
    10**9,
)

_CLIENT_COMMANDS = (
    CommandKind.NEW,
    CommandKind.CANCEL,
    CommandKind.REPLACE,
    CommandKind.STATUS,
    CommandKind.MASS_CANCEL,
    CommandKind.MASS_STATUS,
)


def _label(member: IntEnum) -> str:
    return member.name.lower()


@cache
def _edges() -> NDArray[np.int64]:
    """Return, for each bound, how many inner buckets lie at or below it as a whole."""
    uppers = np.array([bucket_upper_ns(i) for i in range(HISTOGRAM_BUCKETS)])
    return np.searchsorted(uppers, np.array(BOUNDS_NS), side="right")


def prometheus_buckets(row: NDArray[np.int64]) -> tuple[list[tuple[str, float]], float]:
    """Return a histogram's cumulative (le, count) pairs and its sum in seconds.

    A duration counts as below a bound only when its whole inner bucket is, so a quantile read from
    the result is never too good, and at most a sixteenth too bad on that account.
    """
    row = row.copy()
    cumulative = np.concatenate(([0], np.cumsum(row[:HISTOGRAM_BUCKETS])))
    counts = cumulative[_edges()]
    pairs = [
        (str(floatToGoString(bound / 1e9)), float(count))  # type: ignore[no-untyped-call]
        for bound, count in zip(BOUNDS_NS, counts, strict=True)
    ]
    pairs.append(("+Inf", float(cumulative[-1])))
    return pairs, float(row[HISTOGRAM_SUM]) / 1e9


class VenueCollector(Collector):
    """Yields every metric of the venue whose shared memory is in a folder."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def describe(self) -> Iterable[Metric]:
        """Return nothing: registering must not read a venue that is only starting."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Read the shared memory as it is now."""
        found = read_metrics(self.folder)
        shards = [metrics for metrics in found if metrics.role is Role.SHARD]
        gateways = [metrics for metrics in found if metrics.role is Role.GATEWAY]
        supervisors = [metrics for metrics in found if metrics.role is Role.SUPERVISOR]
        try:
            memory: VenueMemory | None = VenueMemory.open(self.folder)
        except (OSError, ValueError):
            memory = None
        yield _build_info()
        yield from _venue(memory, supervisors)
        yield from _orders(shards, gateways)
        yield _stages(shards, gateways)
        yield _ring_depth(memory, shards, gateways)
        yield from _pools_and_logs(shards)
        yield from _snapshots(memory)
        yield from _connections(gateways)
        yield from _processes(found, memory)


def venue_registry(folder: str | Path) -> CollectorRegistry:
    """Return a registry that holds a venue's metrics and nothing else."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(VenueCollector(folder))
    return registry


def _counter(name: str, text: str, *labels: str) -> CounterMetricFamily:
    return CounterMetricFamily(PREFIX + name, text, labels=labels)


def _gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(PREFIX + name, text, labels=labels)


def _build_info() -> Metric:
    family = InfoMetricFamily(PREFIX + "build", "Versions of the venue and of what it runs on.")
    family.add_metric([], _versions())
    return family


@cache
def _versions() -> dict[str, str]:
    return {
        "version": version("openoutcry"),
        "python": platform.python_version(),
        "numba": version("numba"),
        "numpy": version("numpy"),
    }


def _venue(memory: VenueMemory | None, supervisors: list[Metrics]) -> Iterator[Metric]:
    ready = _gauge("ready", "1 while the venue serves.")
    ready.add_metric([], float(is_ready(memory)))
    yield ready
    day_ends = _counter("day_ends", "Trading days ended.")
    for metrics in supervisors:
        day_ends.add_metric([], float(metrics.counters[SupervisorCounter.DAY_ENDS]))
    yield day_ends
    up = _gauge("process_up", "1 while a process does its work.", "process")
    text = "Times that a process was started again after it died or hung."
    # The shorter name came first, and dashboards have it.
    restarts = [_counter(name, text, "process") for name in ("restarts", "process_restarts")]
    rows = [] if memory is None else zip(names_of(memory), memory.processes, strict=True)
    for name, row in rows:
        if row[ProcessWord.STATE] != ProcessState.NONE:
            up.add_metric([name], float(row[ProcessWord.STATE] == ProcessState.RUNNING))
            for family in restarts:
                family.add_metric([name], float(row[ProcessWord.RESTARTS]))
    yield from (up, *restarts)


def _orders(shards: list[Metrics], gateways: list[Metrics]) -> Iterator[Metric]:
    orders = _counter("orders", "Clients' commands that a shard sequenced.", "type", "shard")
    reports = _counter("reports", "Reports that a shard released.", "type", "shard")
    rejects = _counter(
        "rejects",
        "Commands declined, by reason; shard is 'gateway' where the gateway answered by itself.",
        "reason",
        "shard",
    )
    trades = _counter("trades", "Trades.", "shard")
    for metrics in shards:
        shard, counters = str(metrics.index), metrics.counters
        for command in _CLIENT_COMMANDS:
            orders.add_metric(
                [_label(command), shard], float(counters[ShardCounter.COMMANDS + command])
            )
        for kind in ReportKind:
            reports.add_metric([_label(kind), shard], float(counters[ShardCounter.REPORTS + kind]))
        for reason in RejectReason:
            if reason:
                count = float(counters[ShardCounter.REJECTS + reason])
                rejects.add_metric([_label(reason), shard], count)
        # Each trade is reported to both sides.
        trades.add_metric([shard], float(counters[ShardCounter.REPORTS + ReportKind.TRADE] // 2))
    for reason in RejectReason:
        if reason and gateways:
            total = sum(int(m.counters[GatewayCounter.REJECTS + reason]) for m in gateways)
            rejects.add_metric([_label(reason), "gateway"], float(total))
    yield from (orders, reports, rejects, trades)


def _stages(shards: list[Metrics], gateways: list[Metrics]) -> Metric:
    family = HistogramMetricFamily(
        PREFIX + "stage_seconds",
        "Time spent in a stage of the order path (match: one command in several).",
        labels=["stage", "process"],
    )
    for role, members, stages in (
        ("gateway", gateways, GatewayStage),
        ("shard", shards, ShardStage),
    ):
        for metrics in members:
            for stage in stages:
                pairs, total = prometheus_buckets(metrics.histograms[stage])
                family.add_metric([_label(stage), f"{role}-{metrics.index}"], pairs, total)
    return family


def _ring_depth(
    memory: VenueMemory | None, shards: list[Metrics], gateways: list[Metrics]
) -> Metric:
    family = _gauge(
        "ring_depth",
        "Records waiting: 'command' and 'control' for the shard, 'report' for the gateway.",
        "ring",
        "shard",
    )
    if memory is None:
        return family
    for shard in range(memory.shard_count):
        for name, rings in (
            ("command", range(memory.ring_count - 1)),
            ("control", range(memory.ring_count - 1, memory.ring_count)),
        ):
            depth = 0
            for ring in rings:
                header = memory.ring_headers[shard, ring]
                # The consumer first: read later, it could have passed the tail read before.
                head = int(header[HEAD_WORD])
                depth += max(int(header[TAIL_WORD]) - head, 0)
            family.add_metric([name, str(shard)], float(depth))
        read = [int(m.counters[GatewayCounter.REPORTS_READ + shard]) for m in gateways]
        if read:
            released = int(memory.shards[shard, ShardWord.RELEASED_REPORT])
            family.add_metric(["report", str(shard)], float(max(released - min(read), 0)))
    return family


def _pools_and_logs(shards: list[Metrics]) -> Iterator[Metric]:
    used = _gauge("pool_used", "Rows of a pool in use.", "pool", "shard")
    capacity = _gauge("pool_capacity", "Rows of a pool.", "pool", "shard")
    logs = _gauge("log_bytes", "Bytes of a log since its beginning.", "log", "shard")
    replayed = _gauge("recovery_commands", "Commands that the latest start replayed.", "shard")
    took = _gauge("recovery_seconds", "How long the latest start of a shard took.", "shard")
    for metrics in shards:
        shard, counters = str(metrics.index), metrics.counters
        for pool in Pool:
            rows = int(counters[ShardCounter.POOL_CAPACITY + pool])
            if rows:
                labels = [_label(pool), shard]
                used.add_metric(labels, float(counters[ShardCounter.POOL_USED + pool]))
                capacity.add_metric(labels, float(rows))
        logs.add_metric(["command", shard], float(counters[ShardCounter.LOG_BYTES]))
        logs.add_metric(["report", shard], float(counters[ShardCounter.REPORT_LOG_BYTES]))
        replayed.add_metric([shard], float(counters[ShardCounter.RECOVERY_COMMANDS]))
        took.add_metric([shard], counters[ShardCounter.RECOVERY_NS] / 1e9)
    yield from (used, capacity, logs, replayed, took)


#: Gauges and counters of a shard's follower: (word, name, text, divisor).
_FOLLOWER_GAUGES = (
    (ShardWord.SNAPSHOT_SEQ, "snapshot_seq", "The last command in the latest snapshot.", 1),
    (
        ShardWord.SNAPSHOT_LOG_BYTES,
        "snapshot_log_bytes",
        "Bytes of the command log that the latest snapshot stands for.",
        1,
    ),
    (ShardWord.SNAPSHOT_BYTES, "snapshot_bytes", "Size of the latest snapshot.", 1),
    (
        ShardWord.SNAPSHOT_NS,
        "snapshot_timestamp_seconds",
        "When the latest snapshot was written, since 1970; 0: there is none.",
        1e9,
    ),
    (
        ShardWord.SNAPSHOT_TOOK_NS,
        "snapshot_duration_seconds",
        "How long the follower wrote the latest snapshot; 0: an earlier run did.",
        1e9,
    ),
)
_FOLLOWER_TOTALS = (
    (ShardWord.SNAPSHOTS_WRITTEN, "snapshots_written", "Snapshots written."),
    (ShardWord.SNAPSHOTS_FAILED, "snapshots_failed", "Snapshots that could not be written."),
    (ShardWord.SEGMENTS_RELEASED, "segments_released", "Log segments archived or deleted."),
    (
        ShardWord.RETENTION_FAILED,
        "retention_failed",
        "Times that log segments could not be archived or deleted.",
    ),
)


def _snapshots(memory: VenueMemory | None) -> Iterator[Metric]:
    lag = _gauge("follower_lag_commands", "Commands that a shard's follower is behind.", "shard")
    rows = [
        (index, row)
        for index, row in enumerate(() if memory is None else memory.shards)
        if row[ShardWord.FOLLOWER_PID]
    ]
    for index, row in rows:
        # The follower first: read later, it could have passed the shard's word read before.
        followed = int(row[ShardWord.FOLLOWED_SEQ])
        behind = max(int(row[ShardWord.COMMITTED_SEQ]) - followed, 0)
        lag.add_metric([str(index)], float(behind))
    yield lag
    family: CounterMetricFamily | GaugeMetricFamily
    for word, name, text, divisor in _FOLLOWER_GAUGES:
        family = _gauge(name, text, "shard")
        for index, row in rows:
            family.add_metric([str(index)], int(row[word]) / divisor)
        yield family
    for word, name, text in _FOLLOWER_TOTALS:
        family = _counter(name, text, "shard")
        for index, row in rows:
            family.add_metric([str(index)], float(row[word]))
        yield family


#: Counters and gauges of a gateway by protocol: (word, name, text).
_BY_PROTOCOL_TOTALS = (
    (GatewayCounter.CONNECTIONS_OPENED, "connections_opened", "Connections accepted."),
    (
        GatewayCounter.CONNECTIONS_CLOSED,
        "connections_dropped",
        "Connections closed by the venue for what the client did wrong.",
    ),
    (
        GatewayCounter.CONNECTIONS_REFUSED,
        "connections_refused",
        "Connections refused because all slots were taken.",
    ),
    (
        GatewayCounter.SLOW_CONSUMERS,
        "slow_consumers",
        "Connections closed because the client did not read.",
    ),
    (GatewayCounter.GARBLED, "garbled_messages", "Messages that could not be read."),
    (GatewayCounter.SESSION_REJECTS, "session_rejects", "Messages answered by a session Reject."),
    (
        GatewayCounter.THROTTLED,
        "throttled_messages",
        "Messages above a session's throttle, refused or held for a later window.",
    ),
    (GatewayCounter.RING_FULL, "ring_full", "Times that reading stopped: a command ring was full."),
    (GatewayCounter.RESENDS, "resends", "Messages sent again."),
)
_BY_PROTOCOL_GAUGES = (
    (GatewayCounter.CONNECTIONS, "connections", "Connections open."),
    (GatewayCounter.SESSIONS, "sessions_connected", "Sessions logged on."),
)
_BY_DIRECTION = (
    (GatewayCounter.MESSAGES_IN, GatewayCounter.MESSAGES_OUT, "messages", "Messages."),
    (GatewayCounter.BYTES_IN, GatewayCounter.BYTES_OUT, "socket_bytes", "Bytes on sockets."),
)


def _summed(gateways: list[Metrics], word: int) -> float:
    return float(sum(int(metrics.counters[word]) for metrics in gateways))


def _connections(gateways: list[Metrics]) -> Iterator[Metric]:
    family: CounterMetricFamily | GaugeMetricFamily
    for inbound, outbound, name, text in _BY_DIRECTION:
        family = _counter(name, text, "protocol", "direction")
        for protocol in Protocol:
            for direction, word in (("in", inbound), ("out", outbound)):
                labels = [_label(protocol), direction]
                family.add_metric(labels, _summed(gateways, word + protocol))
        yield family
    for make, table in ((_counter, _BY_PROTOCOL_TOTALS), (_gauge, _BY_PROTOCOL_GAUGES)):
        for word, name, text in table:
            family = make(name, text, "protocol")
            for protocol in Protocol:
                family.add_metric([_label(protocol)], _summed(gateways, word + protocol))
            yield family
    for word, name, text in (
        (GatewayCounter.READ_CALLS, "socket_reads", "Chunks received from sockets."),
        (GatewayCounter.WRITE_CALLS, "socket_writes", "Batches written to sockets."),
    ):
        family = _counter(name, text)
        family.add_metric([], _summed(gateways, word))
        yield family


def _processes(found: list[Metrics], venue: VenueMemory | None) -> Iterator[Metric]:
    memory = _gauge("process_resident_memory_bytes", "Resident memory.", "process")
    cpu = _counter("process_cpu_seconds", "CPU time, user and system.", "process")
    members = [(f"{_label(m.role)}-{m.index}", m.pid) for m in found]
    members.append(("exporter", os.getpid()))
    for index, row in enumerate(() if venue is None else venue.shards):
        members.append((f"follower-{index}", int(row[ShardWord.FOLLOWER_PID])))
    for name, pid in members:
        usage = process_usage(pid) if pid else None
        if usage is not None:
            memory.add_metric([name], usage[0])
            cpu.add_metric([name], usage[1])
    yield memory
    yield cpu


def process_usage(pid: int) -> tuple[float, float] | None:
    """Return a process's (resident bytes, CPU seconds), or None where /proc does not tell."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
        # The command's name, in parentheses, may contain anything: the numbers follow the last one.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (OSError, IndexError):
        return None
    seconds = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return float(int(pages) * os.sysconf("SC_PAGE_SIZE")), seconds

"""Counters and latency histograms in shared memory: kernels add, the exporter reads.

One file a process, all words int64, one writer: plain increments, no atomics. A reader sees each
word whole, and is off by what is being added meanwhile.

File, in words
      0  header       HEADER_WORDS    magic, version, role, index, pid, start (see MetricsWord)
     64  counters     COUNTER_WORDS   ShardCounter, GatewayCounter or SupervisorCounter
   1088  histograms   STAGE_ROWS rows of HISTOGRAM_WORDS: buckets, then the sum in ns

A histogram is log-linear: 16 buckets an octave, so a bucket is at most 1/16 of its value wide;
values below 16 ns have a bucket each, and values of 2^40 ns (18 minutes) and above share the last.
"""

import mmap
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from openoutcry.config.jit import IS_COMPILED, inline_kernel

_SUB_BITS = 4
_SUB_BUCKETS = 1 << _SUB_BITS
_TOP_BITS = 40

#: Buckets of a histogram.
HISTOGRAM_BUCKETS = (_TOP_BITS - _SUB_BITS + 1) * _SUB_BUCKETS
#: The word of a histogram's row that holds the sum of its values.
HISTOGRAM_SUM = HISTOGRAM_BUCKETS
#: Words of a histogram's row: a whole number of cache lines.
HISTOGRAM_WORDS = (HISTOGRAM_BUCKETS + 1 + 7) // 8 * 8
#: Histograms of a process.
STAGE_ROWS = 8

HEADER_WORDS = 64
COUNTER_WORDS = 1024
METRICS_WORDS = HEADER_WORDS + COUNTER_WORDS + STAGE_ROWS * HISTOGRAM_WORDS
METRICS_BYTES = METRICS_WORDS * 8
_MAGIC = int.from_bytes(b"OOMETRIC", "little")
_VERSION = 1


class MetricsWord(IntEnum):
    """Words of the header."""

    MAGIC = 0
    VERSION = 1
    ROLE = 2
    INDEX = 3
    PID = 4
    START_NS = 5


class Role(IntEnum):
    """What process a metrics file belongs to."""

    SUPERVISOR = 1
    GATEWAY = 2
    SHARD = 3


class ShardStage(IntEnum):
    """Histograms of a shard, by row."""

    #: From the gateway's publishing of a command to its sequencing.
    RING_WAIT = 0
    #: Matching one command, sampled.
    MATCH = 1


class GatewayStage(IntEnum):
    """Histograms of a gateway, by row."""

    #: From the receipt of the bytes to the command's place in the ring.
    DECODE_TO_RING = 0
    #: From the shard's release of a report to the write of its bytes to the socket.
    REPORT_TO_SOCKET = 1
    #: From the receipt of a message's bytes to the write of its answer.
    GATEWAY_TO_GATEWAY = 2


class ShardCounter(IntEnum):
    """Words of a shard's counters; a family is indexed by adding the named enum's value."""

    #: Plus CommandKind.
    COMMANDS = 0
    #: Plus ReportKind.
    REPORTS = 32
    #: Plus RejectReason.
    REJECTS = 64
    TRADES = 192
    EVENTS = 193
    BATCHES = 194
    #: Commands whose inbound number was logged before.
    DUPLICATES = 195
    #: Gauges, stored: bytes of the two logs, position reached in the command ring.
    LOG_BYTES = 200
    REPORT_LOG_BYTES = 201
    RING_CONSUMED = 202
    RELEASED_REPORTS = 203
    #: Gauges, stored: commands replayed at the last start, and how long that start took.
    RECOVERY_COMMANDS = 204
    RECOVERY_NS = 205
    #: Gauges, stored, plus Pool.
    POOL_USED = 208
    POOL_CAPACITY = 224


class Pool(IntEnum):
    """The pools of a shard."""

    OPEN_ORDERS = 0
    FINISHED_ORDERS = 1
    LEVELS = 2
    SYMBOLS = 3
    SESSIONS = 4
    ACCOUNTS = 5


class Protocol(IntEnum):
    """The protocols of a gateway, for the counters of its connections."""

    FIX = 0
    BINARY = 1


class GatewayCounter(IntEnum):
    """Words of a gateway's counters; a family is indexed by adding the named enum's value."""

    #: All plus Protocol.
    MESSAGES_IN = 0
    MESSAGES_OUT = 4
    BYTES_IN = 8
    BYTES_OUT = 12
    #: Connections accepted; those closed for what the client did wrong; those refused for capacity.
    CONNECTIONS_OPENED = 16
    CONNECTIONS_CLOSED = 20
    CONNECTIONS_REFUSED = 24
    #: Closed because the client read too slowly.
    SLOW_CONSUMERS = 28
    #: Messages that could not be read, and session-level rejects.
    GARBLED = 32
    SESSION_REJECTS = 36
    #: Times that reading stopped because a command ring was full.
    RING_FULL = 40
    RESENDS = 44
    #: Gauges, stored: connections now, and sessions logged on.
    CONNECTIONS = 48
    SESSIONS = 52
    #: Messages above a session's throttle: refused, or held for a later window.
    THROTTLED = 56
    #: Not by protocol.
    READ_CALLS = 60
    WRITE_CALLS = 61
    #: Answers that the gateway gave by itself, plus RejectReason.
    REJECTS = 64
    #: Gauges, stored, plus the shard's number: positions published to its ring, and reports read.
    RING_PUBLISHED = 256
    REPORTS_READ = 512


class SupervisorCounter(IntEnum):
    """Words of the supervisor's counters."""

    #: Gauge: 1 while the venue serves.
    READY = 0
    #: Gauge: CLOCK_MONOTONIC in ns of the last look at the children.
    HEARTBEAT_NS = 1
    DAY_ENDS = 2


# The histogram


if IS_COMPILED:

    @intrinsic
    def _leading_zeros(typingctx: Any, value: Any) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return builder.ctlz(args[0], ir.Constant(ir.IntType(1), 0))

        return types.int64(types.int64), codegen

else:

    def _leading_zeros(value: int) -> int:
        return 64 - int(value).bit_length()


@inline_kernel
def bucket_of(ns: int) -> int:
    """Return the bucket that counts a duration; a negative one counts as 0."""
    value = min(max(int(ns), 0), (1 << _TOP_BITS) - 1)
    if value < _SUB_BUCKETS:
        return value
    shift = 63 - _SUB_BITS - int(_leading_zeros(value))
    return shift * _SUB_BUCKETS + (value >> shift)


@inline_kernel
def add_many(histograms: NDArray[np.int64], row: int, ns: int, count: int) -> None:
    """Count `count` durations of the same length."""
    histograms[row, bucket_of(ns)] += count
    histograms[row, HISTOGRAM_SUM] += max(int(ns), 0) * count


@inline_kernel
def add(histograms: NDArray[np.int64], row: int, ns: int) -> None:
    """Count one duration."""
    add_many(histograms, row, ns, 1)


def bucket_lower_ns(bucket: int) -> int:
    """Return the smallest duration that a bucket counts."""
    if bucket < 2 * _SUB_BUCKETS:
        return bucket
    shift = bucket // _SUB_BUCKETS - 1
    return (_SUB_BUCKETS + bucket % _SUB_BUCKETS) << shift


def bucket_upper_ns(bucket: int) -> int:
    """Return the largest duration that a bucket counts (the last one counts all above, too)."""
    return bucket_lower_ns(bucket + 1) - 1


def quantile_ns(row: NDArray[np.int64], quantile: float) -> int:
    """Return the upper edge of the bucket in which a quantile (0 to 1) lies; 0 of an empty row."""
    buckets = row[:HISTOGRAM_BUCKETS]
    cumulative = np.cumsum(buckets)
    total = int(cumulative[-1])
    if total == 0:
        return 0
    # Less a hair: 0.999 * 20000 is a little more than 19980 in floating point.
    wanted = min(max(int(np.ceil(quantile * total - 1e-9 * total)), 1), total)
    return bucket_upper_ns(int(np.searchsorted(cumulative, wanted)))


# The file


class Metrics:
    """The metrics of one process, over one mapped file."""

    def __init__(self, words: NDArray[np.int64]) -> None:
        self.words = words
        #: Header, counters and histograms as views of the same memory.
        self.header = words[:HEADER_WORDS]
        self.counters = words[HEADER_WORDS : HEADER_WORDS + COUNTER_WORDS]
        self.histograms = words[HEADER_WORDS + COUNTER_WORDS :].reshape(STAGE_ROWS, -1)

    @property
    def role(self) -> Role:
        """What process it belongs to."""
        return Role(int(self.header[MetricsWord.ROLE]))

    @property
    def index(self) -> int:
        """The process's number within its role."""
        return int(self.header[MetricsWord.INDEX])

    @property
    def pid(self) -> int:
        """The process's pid, 0 before it starts."""
        return int(self.header[MetricsWord.PID])


def metrics_in_memory(role: Role, index: int = 0) -> Metrics:
    """Return metrics over private memory, for tests and benchmarks."""
    metrics = Metrics(np.zeros(METRICS_WORDS, np.int64))
    _claim(metrics, role, index)
    return metrics


def _claim(metrics: Metrics, role: Role, index: int) -> None:
    header = metrics.header
    header[MetricsWord.VERSION] = _VERSION
    header[MetricsWord.ROLE] = role
    header[MetricsWord.INDEX] = index
    header[MetricsWord.PID] = os.getpid()
    header[MetricsWord.START_NS] = time.time_ns()
    header[MetricsWord.MAGIC] = _MAGIC


def metrics_path(folder: str | Path, role: Role, index: int = 0) -> Path:
    """Return the path of a process's metrics in the venue's shared-memory folder."""
    return Path(folder) / f"metrics-{role.name.lower()}-{index}"


def open_metrics(folder: str | Path, role: Role, index: int = 0) -> Metrics:
    """Map the calling process's metrics, for writing; what an earlier process counted stays."""
    path = metrics_path(folder, role, index)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        # Allocated in full first: a store into a hole on a full disk would kill the process.
        os.posix_fallocate(fd, 0, METRICS_BYTES)
        mapped = mmap.mmap(fd, METRICS_BYTES)
    finally:
        os.close(fd)
    metrics = Metrics(np.frombuffer(mapped, np.int64))
    if (
        metrics.header[MetricsWord.MAGIC] != _MAGIC
        or metrics.header[MetricsWord.VERSION] != _VERSION
    ):
        metrics.words[:] = 0
    _claim(metrics, role, index)
    return metrics


def read_metrics(folder: str | Path) -> list[Metrics]:
    """Map every process's metrics in a folder, read-only, ordered by role and number."""
    found = []
    for path in Path(folder).glob("metrics-*-*"):
        with _opened(path) as fd:
            if fd < 0 or os.fstat(fd).st_size < METRICS_BYTES:
                continue
            mapped = mmap.mmap(fd, METRICS_BYTES, prot=mmap.PROT_READ)
        metrics = Metrics(np.frombuffer(mapped, np.int64))
        header = metrics.header
        if header[MetricsWord.MAGIC] == _MAGIC and header[MetricsWord.VERSION] == _VERSION:
            found.append(metrics)
    return sorted(found, key=lambda metrics: (metrics.role, metrics.index))


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    """Open a file that may vanish at any time; yield -1 then."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        yield -1
        return
    try:
        yield fd
    finally:
        os.close(fd)

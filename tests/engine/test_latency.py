"""The latency histogram against hdrhistogram, and the metrics file."""

import itertools
import random
from pathlib import Path

import numpy as np
import pytest
from hdrh.histogram import HdrHistogram
from hypothesis import given
from hypothesis import strategies as st

from openoutcry.config.jit import kernel
from openoutcry.engine.enums import CommandKind
from openoutcry.engine.latency import (
    COUNTER_WORDS,
    HISTOGRAM_BUCKETS,
    HISTOGRAM_SUM,
    METRICS_BYTES,
    GatewayCounter,
    Role,
    ShardCounter,
    ShardStage,
    SupervisorCounter,
    add,
    add_many,
    bucket_lower_ns,
    bucket_of,
    bucket_upper_ns,
    metrics_in_memory,
    metrics_path,
    open_metrics,
    quantile_ns,
    read_metrics,
)


@kernel
def add_all(histograms, row, values):
    for value in values:
        add(histograms, row, value)


@kernel
def bucket_kernel(ns):
    return bucket_of(ns)


@kernel
def count_command(counters, kind):
    counters[ShardCounter.COMMANDS + kind] += 1


def test_buckets_partition_the_range():
    assert bucket_lower_ns(0) == 0
    for bucket in range(HISTOGRAM_BUCKETS):
        lower, upper = bucket_lower_ns(bucket), bucket_upper_ns(bucket)
        assert lower <= upper
        assert bucket_lower_ns(bucket + 1) == upper + 1
        assert bucket_kernel(lower) == bucket
        assert bucket_kernel(upper) == bucket
        if lower >= 16:
            assert (upper - lower + 1) * 16 <= lower
    assert bucket_upper_ns(HISTOGRAM_BUCKETS - 1) == 2**40 - 1


@given(st.integers(0, 2**40 - 1))
def test_a_duration_lies_in_its_bucket(ns):
    bucket = bucket_kernel(ns)
    assert bucket_lower_ns(bucket) <= ns <= bucket_upper_ns(bucket)


@pytest.mark.parametrize("ns", [2**40, 2**62, 2**63 - 1])
def test_too_long_is_in_the_last_bucket(ns):
    assert bucket_kernel(ns) == HISTOGRAM_BUCKETS - 1


@pytest.mark.parametrize("ns", [-1, -(2**63)])
def test_negative_counts_as_zero(ns):
    assert bucket_kernel(ns) == 0
    metrics = metrics_in_memory(Role.SHARD)
    add_all(metrics.histograms, 0, np.array([ns], np.int64))
    assert metrics.histograms[0, HISTOGRAM_SUM] == 0


@pytest.mark.parametrize("seed", range(3))
def test_quantiles_agree_with_hdrhistogram(seed):
    rng = random.Random(seed)
    values = [int(rng.lognormvariate(9, 2)) + 1 for _ in range(20_000)]
    oracle = HdrHistogram(1, 2**40, 3)
    for value in values:
        oracle.record_value(value)
    metrics = metrics_in_memory(Role.SHARD)
    add_all(metrics.histograms, ShardStage.MATCH, np.array(values, np.int64))
    row = metrics.histograms[ShardStage.MATCH]
    assert row[:HISTOGRAM_BUCKETS].sum() == len(values)
    assert row[HISTOGRAM_SUM] == sum(values)
    for percentile in (1, 10, 50, 90, 99, 99.9, 100):
        expected = oracle.get_value_at_percentile(percentile)
        assert quantile_ns(row, percentile / 100) == pytest.approx(expected, rel=1 / 16 + 1 / 500)


def test_quantile_of_an_empty_row_is_zero():
    assert quantile_ns(metrics_in_memory(Role.SHARD).histograms[0], 0.99) == 0


def test_add_many_counts_alike_durations_at_once():
    metrics = metrics_in_memory(Role.GATEWAY)

    @kernel
    def add_some(histograms):
        add_many(histograms, 2, 1000, 7)

    add_some(metrics.histograms)
    assert metrics.histograms[2][bucket_kernel(1000)] == 7
    assert metrics.histograms[2, HISTOGRAM_SUM] == 7000
    assert metrics.histograms.sum() == 7007


def test_counter_families_do_not_overlap():
    from openoutcry.engine.enums import RejectReason, ReportKind
    from openoutcry.engine.latency import Pool, Protocol

    shard = ShardCounter
    assert shard.COMMANDS + max(CommandKind) < shard.REPORTS
    assert shard.REPORTS + max(ReportKind) < shard.REJECTS
    assert shard.REJECTS + max(RejectReason) < shard.TRADES
    assert shard.POOL_USED + max(Pool) < shard.POOL_CAPACITY
    gateway = sorted(GatewayCounter)
    per_protocol = gateway[: gateway.index(GatewayCounter.READ_CALLS)]
    assert all(b - a > max(Protocol) for a, b in itertools.pairwise(per_protocol))
    assert GatewayCounter.REJECTS + max(RejectReason) < GatewayCounter.RING_PUBLISHED
    assert GatewayCounter.REPORTS_READ + 256 <= COUNTER_WORDS
    assert SupervisorCounter.DAY_ENDS < COUNTER_WORDS


def test_kernels_index_counters_by_enum():
    metrics = metrics_in_memory(Role.SHARD)
    count_command(metrics.counters, int(CommandKind.CANCEL))
    count_command(metrics.counters, int(CommandKind.CANCEL))
    assert metrics.counters[ShardCounter.COMMANDS + CommandKind.CANCEL] == 2


def test_a_reader_sees_what_is_counted(tmp_path: Path):
    shard = open_metrics(tmp_path, Role.SHARD, 1)
    gateway = open_metrics(tmp_path, Role.GATEWAY)
    assert metrics_path(tmp_path, Role.SHARD, 1).stat().st_size == METRICS_BYTES
    seen = read_metrics(tmp_path)
    assert [(m.role, m.index, m.pid) for m in seen] == [
        (Role.GATEWAY, 0, gateway.pid),
        (Role.SHARD, 1, shard.pid),
    ]
    shard.counters[ShardCounter.TRADES] += 3
    add_all(shard.histograms, 0, np.array([5, 6], np.int64))
    assert seen[1].counters[ShardCounter.TRADES] == 3
    assert seen[1].histograms[0, 5] == 1
    with pytest.raises(ValueError, match="read-only"):
        seen[1].counters[0] = 1


def test_a_successor_goes_on_counting(tmp_path: Path):
    open_metrics(tmp_path, Role.SHARD).counters[ShardCounter.TRADES] += 3
    assert open_metrics(tmp_path, Role.SHARD).counters[ShardCounter.TRADES] == 3


def test_a_foreign_file_is_started_afresh_by_the_writer_and_skipped_by_readers(tmp_path: Path):
    path = metrics_path(tmp_path, Role.SHARD)
    path.write_bytes(b"x" * METRICS_BYTES)
    assert read_metrics(tmp_path) == []
    path.write_bytes(b"short")
    assert read_metrics(tmp_path) == []
    assert open_metrics(tmp_path, Role.SHARD).counters.sum() == 0
    assert len(read_metrics(tmp_path)) == 1

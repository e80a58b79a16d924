"""The collector: what is in shared memory is what a scrape says."""

import os
from pathlib import Path

import numpy as np
import pytest
from prometheus_client.core import Metric, Sample
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from support.venue_folder import VenueFolder, add_all

from openoutcry.engine.latency import Role, metrics_in_memory
from openoutcry.engine.state import ShardWord
from openoutcry.server.metrics import (
    BOUNDS_NS,
    process_usage,
    prometheus_buckets,
    venue_registry,
)


def scrape(folder: Path) -> dict[str, Metric]:
    text = generate_latest(venue_registry(folder)).decode()
    return {family.name: family for family in text_string_to_metric_families(text)}


def value(families: dict[str, Metric], sample: str, **labels: str) -> float:
    found: list[Sample] = [
        s
        for family in families.values()
        for s in family.samples
        if s.name == sample and s.labels == labels
    ]
    assert len(found) == 1, (sample, labels)
    return found[0].value


@pytest.fixture
def venue(tmp_path: Path) -> VenueFolder:
    folder = VenueFolder(tmp_path)
    folder.fill()
    return folder


def test_bounds_are_a_decade_scale_from_1_us_to_1_s():
    seconds = [f"{bound / 1e9:g}" for bound in BOUNDS_NS]
    assert seconds[:7] == ["1e-06", "1.5e-06", "2e-06", "3e-06", "5e-06", "7e-06", "1e-05"]
    assert seconds[-3:] == ["0.5", "0.7", "1"]
    assert len(seconds) == 37
    assert list(BOUNDS_NS) == sorted(BOUNDS_NS)


def test_buckets_never_claim_a_duration_to_be_shorter_than_it_is():
    rng = np.random.default_rng(1)
    values = rng.lognormal(11, 3, 20_000).astype(np.int64)
    metrics = metrics_in_memory(Role.SHARD)
    add_all(metrics.histograms, 0, values)
    pairs, total = prometheus_buckets(metrics.histograms[0])
    assert total == pytest.approx(values.sum() / 1e9)
    assert pairs[-1] == ("+Inf", 20_000.0)
    for bound, (le, count) in zip(BOUNDS_NS, pairs, strict=False):
        assert float(le) == bound / 1e9
        assert (values <= bound * 15 / 16).sum() <= count <= (values <= bound).sum()
    counts = [count for _, count in pairs]
    assert counts == sorted(counts)


def test_counters_and_gauges(venue: VenueFolder):
    found = scrape(venue.folder)
    assert value(found, "openoutcry_ready") == 1
    assert value(found, "openoutcry_orders_total", type="new", shard="1") == 101
    assert value(found, "openoutcry_orders_total", type="status", shard="0") == 0
    assert value(found, "openoutcry_orders_total", type="mass_cancel", shard="0") == 0
    assert value(found, "openoutcry_reports_total", type="trade", shard="0") == 40
    assert value(found, "openoutcry_trades_total", shard="1") == 21
    assert value(found, "openoutcry_rejects_total", reason="unknown_order", shard="1") == 8
    rejects = value(found, "openoutcry_rejects_total", reason="unknown_symbol", shard="gateway")
    assert rejects == 6
    assert value(found, "openoutcry_ring_depth", ring="command", shard="1") == 6
    assert value(found, "openoutcry_ring_depth", ring="control", shard="1") == 1
    assert value(found, "openoutcry_ring_depth", ring="report", shard="1") == 3
    assert value(found, "openoutcry_pool_used", pool="open_orders", shard="1") == 31
    assert value(found, "openoutcry_pool_capacity", pool="open_orders", shard="1") == 1000
    assert value(found, "openoutcry_log_bytes", log="command", shard="1") == 4097
    assert value(found, "openoutcry_sessions_connected", protocol="fix") == 3
    assert value(found, "openoutcry_connections", protocol="binary") == 4
    messages = value(found, "openoutcry_messages_total", protocol="fix", direction="in")
    assert messages == 500
    sent = value(found, "openoutcry_socket_bytes_total", protocol="binary", direction="out")
    assert sent == 12345
    assert value(found, "openoutcry_restarts_total", process="shard-1") == 2


def test_followers(venue: VenueFolder):
    found = scrape(venue.folder)
    for name, expected in (
        ("follower_lag_commands", 11),
        ("snapshot_seq", 901),
        ("snapshot_timestamp_seconds", 1_800_000_000.5),
        ("snapshot_log_bytes", 80_001),
        ("snapshot_bytes", 4_001),
        ("snapshot_duration_seconds", 0.25),
        ("snapshots_written_total", 6),
        ("snapshots_failed_total", 1),
        ("segments_released_total", 4),
        ("retention_failed_total", 0),
    ):
        assert value(found, f"openoutcry_{name}", shard="1") == expected, name


def test_a_follower_is_told_of_under_its_own_shard(venue: VenueFolder):
    venue.memory.shards[0, ShardWord.FOLLOWER_PID] = 0
    found = scrape(venue.folder)
    samples = found["openoutcry_snapshot_seq"].samples
    assert [(sample.labels, sample.value) for sample in samples] == [({"shard": "1"}, 901)]


def test_a_followers_memory_and_time_are_told(venue: VenueFolder):
    venue.memory.shards[1, ShardWord.FOLLOWER_PID] = os.getpid()
    found = scrape(venue.folder)
    name = "openoutcry_process_resident_memory_bytes"
    assert value(found, name, process="follower-1") == value(found, name, process="exporter")


def test_a_venue_without_followers_says_nothing_of_them(venue: VenueFolder):
    venue.memory.shards[:, ShardWord.FOLLOWER_PID] = 0
    found = scrape(venue.folder)
    assert not found["openoutcry_follower_lag_commands"].samples
    assert not found["openoutcry_snapshots_written"].samples


def test_stage_histograms(venue: VenueFolder):
    found = scrape(venue.folder)
    labels = {"stage": "match", "process": "shard-0"}
    assert value(found, "openoutcry_stage_seconds_bucket", le="1e-06", **labels) == 1000
    assert value(found, "openoutcry_stage_seconds_bucket", le="5e-05", **labels) == 1000
    assert value(found, "openoutcry_stage_seconds_bucket", le="0.0001", **labels) == 1001
    assert value(found, "openoutcry_stage_seconds_count", **labels) == 1001
    total = value(found, "openoutcry_stage_seconds_sum", **labels)
    assert total == pytest.approx((250 * 1000 + 80_000) / 1e9)
    labels = {"stage": "gateway_to_gateway", "process": "gateway-0"}
    assert value(found, "openoutcry_stage_seconds_bucket", le="1.0", **labels) == 3
    assert value(found, "openoutcry_stage_seconds_bucket", le="+Inf", **labels) == 4
    stages = {s.labels["stage"] for s in found["openoutcry_stage_seconds"].samples}
    assert stages == {
        "decode_to_ring",
        "ring_wait",
        "match",
        "report_to_socket",
        "gateway_to_gateway",
    }


def test_every_name_starts_alike_and_every_family_is_described(venue: VenueFolder):
    for name, family in scrape(venue.folder).items():
        assert name.startswith("openoutcry_")
        assert family.documentation.endswith((".", ")."))
        assert family.type in {"counter", "gauge", "histogram"}


def test_processes(venue: VenueFolder):
    found = scrape(venue.folder)
    resident = value(found, "openoutcry_process_resident_memory_bytes", process="shard-0")
    assert resident > 1 << 20
    assert value(found, "openoutcry_process_cpu_seconds_total", process="exporter") > 0
    assert process_usage(2**22 + 1) is None


def test_a_folder_without_a_venue_is_not_ready(tmp_path: Path):
    found = scrape(tmp_path)
    assert value(found, "openoutcry_ready") == 0
    assert found["openoutcry_orders"].samples == []


def test_a_folder_that_is_gone_is_not_ready(tmp_path: Path):
    assert value(scrape(tmp_path / "gone"), "openoutcry_ready") == 0


def test_a_scrape_leaves_no_file_open(venue: VenueFolder):
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        scrape(venue.folder)
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_documentation_lists_what_is_exported(venue: VenueFolder):
    page = Path(__file__).parents[2] / "docs" / "operations.md"
    rows = [line for line in page.read_text().splitlines() if line.startswith("| `openoutcry_")]
    listed: dict[str, set[str]] = {}
    for row in rows:
        names, labels = row.split("|")[1:3]
        for name in names.split(","):
            listed[name.strip().strip("`")] = {one.strip() for one in labels.split(",")} - {""}
    found = {}
    for family in scrape(venue.folder).values():
        name = family.name + ("_total" if family.type == "counter" else "")
        found[name] = set().union(*(sample.labels for sample in family.samples)) - {"le"}
    assert listed == found

"""The small benchmarks run, count right, and write what they promise."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from openoutcry.config.jit import IS_COMPILED
from openoutcry.server.main import main

pytestmark = pytest.mark.skipif(not IS_COMPILED, reason="measures compiled kernels")


def run(tmp_path: Path, *args: str) -> tuple[str, dict[str, Any]]:
    path = tmp_path / "figures.json"
    result = CliRunner().invoke(main, ["bench", *args, "--json", str(path)])
    assert result.exit_code == 0, result.output
    return result.output, json.loads(path.read_text())


def test_ring_counts_every_record_and_round_trip(tmp_path: Path) -> None:
    output, figures = run(
        tmp_path, "ring", "--capacity", "64", "--records", "1000", "--runs", "1", "--trips", "100"
    )
    assert set(figures["records_per_s"]) == {"1", "8", "64", "256"}
    assert all(speed > 0 for speed in figures["records_per_s"].values())
    assert 0 < figures["round_trip_ns"]["p50"] <= figures["round_trip_ns"]["max"]
    assert len(output.splitlines()) == 5


def test_ring_refuses_a_capacity_that_is_no_power_of_two(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["bench", "ring", "--capacity", "100"])
    assert result.exit_code == 1
    assert "a power of two" in result.output


def test_journal_packs_and_appends(tmp_path: Path) -> None:
    output, figures = run(
        tmp_path, "journal", "--rounds", "1", "--runs", "1", "--dir", str(tmp_path)
    )
    assert figures["folder"] == str(tmp_path)
    assert set(figures["append"]) == {"1", "16", "256"}
    rows = figures["append"].values()
    assert all(row["warm_ns"] > 0 and row["cold_ns"] > 0 for row in rows)
    assert 64 < figures["append"]["256"]["bytes_per_command"] < 120
    assert 40 < figures["reports"]["bytes_per_report"] < 100
    assert len(output.splitlines()) == 4
    assert [path.name for path in tmp_path.iterdir()] == ["figures.json"]


def test_codec_runs_on_messages_of_the_size_that_is_promised(tmp_path: Path) -> None:
    output, figures = run(tmp_path, "codec", "--messages", "50", "--rounds", "1", "--runs", "1")
    assert figures["fix_decode"]["bytes"] >= 170
    assert figures["fix_encode"]["bytes"] >= 220
    for name in ("fix_decode", "fix_encode", "binary_decode", "binary_encode"):
        assert figures[name]["ns"] > 0
        assert figures[name]["library_ns"] > 0
    assert {"machine", "versions"} <= set(figures)
    assert len(output.splitlines()) == 4


def test_engine_writes_every_scenario_and_the_worst(tmp_path: Path) -> None:
    output, figures = run(tmp_path, "engine", "--scenario", "shallow", "--messages", "2000")
    assert set(figures) == {"scenarios", "worst", "machine"}
    assert set(figures["scenarios"]) == {"shallow"}
    assert figures["worst"]["scenario"] == "shallow"
    assert figures["scenarios"]["shallow"]["messages"] == 2000
    assert figures["scenarios"]["shallow"]["latency_ns"]["p50"] > 0
    assert output.startswith("shallow")


def test_snapshot_has_a_shard_and_its_follower_work(tmp_path: Path) -> None:
    size = ("--orders", "3000", "--finished", "500", "--rate", "20000")
    output, figures = run(
        tmp_path,
        *("snapshot", *size, "--snapshots", "2", "--seconds", "0.2", "--dir", str(tmp_path)),
    )
    assert len(figures["all"]) == 2
    seqs = [row["seq"] for row in figures["all"]]
    assert 3_000 < seqs[0] < seqs[1]
    assert 0 < figures["snapshot_s"] < 10
    assert 50_000 < figures["bytes"] < 500_000
    assert figures["rate_reached"] > 10_000
    assert figures["stall_ms"] > 0 < figures["stall_ms_without"]
    assert f"file system {figures['file_system']}" in output
    assert [path.name for path in tmp_path.iterdir()] == ["figures.json"]

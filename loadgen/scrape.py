"""A venue's own figures, from its /metrics."""

import urllib.request
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

_PREFIX = "openoutcry_"
#: The protocols, as they are called.
NAMES = {"fix": "FIX", "binary": "binary"}
#: The stages of the order path, in the order in which a message passes them.
STAGES = ("decode_to_ring", "ring_wait", "match", "report_to_socket", "gateway_to_gateway")
_TIMEOUT_S = 10.0


@dataclass(slots=True)
class Scrape:
    """One scrape: totals by name, and cumulative buckets of each stage by upper bound (s)."""

    totals: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    stages: dict[str, dict[float, float]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(float))
    )
    #: (resident bytes, CPU seconds) of each process.
    processes: dict[str, dict[str, float]] = field(default_factory=lambda: defaultdict(dict))


def scrape(http: str) -> Scrape:
    """Read /metrics at HOST:PORT, summed over shards and gateways. Raises OSError."""
    with urllib.request.urlopen(f"http://{http}/metrics", timeout=_TIMEOUT_S) as response:
        text = response.read().decode()
    found = Scrape()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            name = sample.name.removeprefix(_PREFIX)
            if name == "stage_seconds_bucket":
                bounds = found.stages[sample.labels["stage"]]
                bounds[float(sample.labels["le"])] += sample.value
            elif name == "process_resident_memory_bytes":
                found.processes[sample.labels["process"]]["resident_bytes"] = sample.value
            elif name == "process_cpu_seconds_total":
                found.processes[sample.labels["process"]]["cpu_s"] = sample.value
            elif name.endswith("_total"):
                found.totals[name.removesuffix("_total")] += sample.value
    return found


def stages_us(*spans: tuple[Scrape, Scrape]) -> dict[str, dict[str, float]]:
    """Return each stage's count and percentiles in spans from scrape to scrape together, in µs."""
    return {
        stage: _percentiles([(start.stages[stage], end.stages[stage]) for start, end in spans])
        for stage in STAGES
    }


def _percentiles(spans: list[tuple[dict[float, float], dict[float, float]]]) -> dict[str, Any]:
    counts: dict[float, float] = defaultdict(float)
    for start, end in spans:
        for bound, count in end.items():
            counts[bound] += count - start.get(bound, 0.0)
    buckets = sorted(counts.items())
    result: dict[str, Any] = {"count": int(buckets[-1][1]) if buckets else 0}
    for name, quantile in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99)):
        result[name] = round(1e6 * _quantile(buckets, quantile), 2)
    return result


def _quantile(buckets: list[tuple[float, float]], quantile: float) -> float:
    """Interpolate within the bucket, as PromQL's histogram_quantile does."""
    total = buckets[-1][1] if buckets else 0.0
    if not total:
        return 0.0
    wanted = quantile * total
    lower, below = 0.0, 0.0
    for bound, count in buckets:
        if count >= wanted:
            if bound == float("inf"):
                return lower
            return lower + (bound - lower) * (wanted - below) / (count - below)
        lower, below = bound, count
    return lower

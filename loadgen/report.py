"""What a run has measured: as JSON, as a table, and mismatches in words."""

import platform
from importlib.metadata import version
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from openoutcry.loadgen.check import Mismatch
from openoutcry.loadgen.fix_turn import FIX_REASONS
from openoutcry.loadgen.histogram import value_at
from openoutcry.loadgen.layouts import MISMATCHES_KEPT, Count, Load
from openoutcry.protocol.binary.enums import RejectReason, ReportKind

_PERCENTILES = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p999": 99.9}


def versions() -> dict[str, str]:
    """Return the versions of the product and of what does its work."""
    found = {"python": platform.python_version()}
    for package in ("openoutcry", "numba", "numpy", "uvloop"):
        found[package] = version(package)
    return found


def latency_us(load: Load) -> dict[str, float]:
    """Return percentiles of the time from request to positive answer."""
    largest = int(load.counts[Count.MAX_LATENCY_NS])
    figures = {
        # A bucket's end may lie above the largest value in it.
        name: min(value_at(load.histogram, percent), largest)
        for name, percent in _PERCENTILES.items()
    }
    figures["max"] = largest
    return {name: round(value / 1000, 3) for name, value in figures.items()}


def rejects(load: Load) -> dict[str, int]:
    """Return how many requests were declined, by reason."""
    found = {}
    for family, reason in zip(*np.nonzero(load.rejects), strict=True):
        what = "new order" if family == 0 else "cancel or replace"
        name = f"{what}: {_reason_name(int(family), int(reason))}"
        found[name] = int(load.rejects[family, reason])
    return found


def _reason_name(family: int, reason: int) -> str:
    if reason >= FIX_REASONS:
        return (
            f"{'OrdRejReason(103)' if family == 0 else 'CxlRejReason(102)'}={reason - FIX_REASONS}"
        )
    try:
        return RejectReason(reason).name
    except ValueError:
        return f"reason {reason}"


def mismatches(load: Load) -> list[str]:
    """Describe the first reports that did not fit their orders."""
    kept = min(int(load.plan[0]["mismatches"]), MISMATCHES_KEPT)
    return [_describe(row) for row in load.mismatches[:kept]]


def _describe(row: Any) -> str:
    report = row["report"]
    try:
        kind = ReportKind(int(report["kind"])).name
    except ValueError:
        kind = f"report of kind {report['kind']}"
    what = Mismatch(int(row["code"])).name
    cl_ord_id = report["cl_ord_id"].decode("ascii", "replace")
    return (
        f"connection {row['connection']}, message {report['seq']}, {kind} of {cl_ord_id!r}: "
        f"{what}: expected {row['expected']}, got {row['got']} (price {report['price']}, "
        f"qty {report['qty']}, cum_qty {report['cum_qty']}, leaves_qty {report['leaves_qty']}, "
        f"last {report['last_qty']} at {report['last_px']}, status {report['status']})"
    )


def print_table(result: dict[str, Any], console: Console) -> None:
    """Print a run's result for people."""
    latency = result["latency_us"]
    how = f"{result['rate']:,.0f} orders/s" if result["rate"] else f"window {result['window']:,}"
    table = Table(title=f"{result['protocol']}, {result['connections']} connections, {how}")
    table.add_column("")
    table.add_column("", justify="right")
    rows = [
        ("acknowledged orders/s", f"{result['acked_per_s']:,.0f}"),
        ("orders sent", f"{result['orders_sent']:,}"),
        ("acknowledged", f"{result['acked']:,}"),
        ("rejected", f"{result['rejected']:,} ({result['rejected_percent']:.3f} %)"),
        *((f"  {name}", f"{count:,}") for name, count in result["rejects"].items()),
        ("reports received", f"{result['reports_received']:,}"),
        ("trade reports", f"{result['trades']:,}"),
        ("new orders with a fill", f"{result['fill_percent']:.1f} %"),
        (
            "new / cancel / replace / marketable",
            " / ".join(f"{value:.1f} %" for value in result["mix_percent"].values()),
        ),
        ("resting after warm-up, at the end", " ".join(f"{n:,}" for n in result["resting_orders"])),
        ("measured for", f"{result['duration_s']:.2f} s"),
        (
            "bytes a message, out and in",
            f"{result['bytes_per_order']:.0f} {result['bytes_per_report']:.0f}",
        ),
        (
            "latency p50 / p90 / p99 / p99.9 / max",
            " / ".join(f"{latency[n]:,.1f}" for n in ("p50", "p90", "p99", "p999", "max")) + " µs",
        ),
        ("errors", f"{result['errors']:,}"),
    ]
    for name, value in rows:
        table.add_row(name, value)
    console.print(table)
    where = result["machine"]
    console.print(
        f"{where['processor']}, {where['cores']} cores, {where['system']}; "
        f"scenario {result['scenario']}, seed {result['seed']}"
    )
    for text in result["error_texts"]:
        console.print(text, style="bold red", markup=False, highlight=False)

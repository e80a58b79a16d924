"""Write the Grafana dashboard as JSON to standard output: `make dashboard` after a change here.

Every query is executed against a real Prometheus by tests/deploy/test_dashboard.py.
"""

import sys

from grafana_foundation_sdk.builders import dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.builders.common import (
    ReduceDataOptions,
    ScaleDistributionConfig,
    VizLegendOptions,
)
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import (
    LegendDisplayMode,
    LegendPlacement,
    ScaleDistribution,
)
from grafana_foundation_sdk.models.dashboard import DataSourceRef

#: The data source is chosen in the dashboard.
_SOURCE = DataSourceRef(type_val="prometheus", uid="${source}")
_RATE = "[$__rate_interval]"
_HEIGHT = 8

STAGES = (
    (
        "gateway_to_gateway",
        "Receipt to answer",
        "From the receipt of a message's bytes to the write of its answer: what a client waits,"
        " less the network.",
    ),
    (
        "decode_to_ring",
        "Decode to ring",
        "From the receipt of the bytes to the command's place in the ring.",
    ),
    ("ring_wait", "Ring wait", "From the command's place in the ring to its sequencing."),
    ("match", "Match", "Matching one command; one command in several is measured."),
    (
        "report_to_socket",
        "Report to socket",
        "From the release of a report to the write of its bytes.",
    ),
)
QUANTILES = (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999))


def _query(expression: str, legend: str) -> prometheus.Dataquery:
    return prometheus.Dataquery().expr(expression).legend_format(legend)


def _number(title: str, expression: str, unit: str, description: str) -> stat.Panel:
    return (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(_SOURCE)
        .unit(unit)
        .height(4)
        .span(4)
        .reduce_options(ReduceDataOptions().calcs(["lastNotNull"]))
        .with_target(_query(expression, title).instant())
    )


def _graph(
    title: str,
    unit: str,
    description: str,
    *queries: tuple[str, str],
    span: int = 8,
    is_log: bool = False,
) -> timeseries.Panel:
    panel = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(_SOURCE)
        .unit(unit)
        .min(0)
        .height(_HEIGHT)
        .span(span)
        .legend(
            VizLegendOptions()
            .show_legend(True)
            .display_mode(LegendDisplayMode.TABLE)
            .placement(LegendPlacement.BOTTOM)
            .calcs(["lastNotNull", "max"])
        )
    )
    if is_log:
        scale = ScaleDistributionConfig().type(ScaleDistribution.LOG).log(10)
        panel = panel.scale_distribution(scale)
    for number, (expression, legend) in enumerate(queries):
        panel = panel.with_target(_query(expression, legend).ref_id(chr(ord("A") + number)))
    return panel


def _quantile(quantile: float, stage: str) -> str:
    buckets = f'rate(openoutcry_stage_seconds_bucket{{stage="{stage}"}}{_RATE})'
    return f"histogram_quantile({quantile}, sum by (le) ({buckets}))"


def _rate(metric: str, *by: str) -> str:
    return f"sum by ({', '.join(by)}) (rate({metric}{_RATE}))"


def build() -> dashboard.Dashboard:
    """Return the dashboard."""
    board = (
        dashboard.Dashboard("openoutcry")
        .uid("openoutcry")
        .description("Rates, latency by stage, rings, pools and processes of an openoutcry venue.")
        .tags(["openoutcry"])
        .refresh("5s")
        .time("now-15m", "now")
        .timezone("browser")
        .with_variable(
            dashboard.DatasourceVariable("source").label("Data source").type("prometheus")
        )
    )
    board = board.with_row(dashboard.Row("Now"))
    for panel in (
        _number("Ready", "min(openoutcry_ready)", "bool_yes_no", "Whether the venue serves."),
        _number(
            "Commands", f"sum(rate(openoutcry_orders_total{_RATE}))", "cps", "Commands sequenced."
        ),
        _number("Trades", f"sum(rate(openoutcry_trades_total{_RATE}))", "cps", "Trades."),
        _number(
            "Rejected",
            f"sum(rate(openoutcry_rejects_total{_RATE}))"
            f" / clamp_min(sum(rate(openoutcry_orders_total{_RATE})), 1e-9)",
            "percentunit",
            "Share of commands declined.",
        ),
        _number("Sessions", "sum(openoutcry_sessions_connected)", "short", "Sessions logged on."),
        _number(
            "p99", _quantile(0.99, "gateway_to_gateway"), "s", "Receipt to answer, 99th percentile."
        ),
    ):
        board = board.with_panel(panel)

    board = board.with_row(dashboard.Row("Rates"))
    for graph in (
        _graph(
            "Commands by type",
            "cps",
            "Clients' commands that the shards sequenced.",
            (_rate("openoutcry_orders_total", "type"), "{{type}}"),
        ),
        _graph(
            "Reports by type",
            "cps",
            "Reports released to the gateway.",
            (_rate("openoutcry_reports_total", "type"), "{{type}}"),
        ),
        _graph(
            "Rejects by reason",
            "cps",
            "The ten most frequent reasons; shard 'gateway' is what it answers by itself.",
            (f"topk(10, {_rate('openoutcry_rejects_total', 'reason')})", "{{reason}}"),
        ),
        _graph(
            "Commands by shard",
            "cps",
            "How the load spreads over the shards.",
            (_rate("openoutcry_orders_total", "shard"), "shard {{shard}}"),
        ),
        _graph(
            "Messages by protocol",
            "cps",
            "Messages in and out.",
            (
                _rate("openoutcry_messages_total", "protocol", "direction"),
                "{{protocol}} {{direction}}",
            ),
        ),
        _graph(
            "Batching",
            "short",
            "Messages received for each read of a socket: more is cheaper.",
            (
                f'sum(rate(openoutcry_messages_total{{direction="in"}}{_RATE}))'
                f" / clamp_min(sum(rate(openoutcry_socket_reads_total{_RATE})), 1e-9)",
                "messages a read",
            ),
        ),
    ):
        board = board.with_panel(graph)

    board = board.with_row(dashboard.Row("Latency by stage"))
    for number, (stage, title, description) in enumerate(STAGES):
        board = board.with_panel(
            _graph(
                title,
                "s",
                description,
                *((_quantile(quantile, stage), name) for name, quantile in QUANTILES),
                span=24 if number == 0 else 6,
                is_log=True,
            )
        )

    board = board.with_row(dashboard.Row("Rings, pools, logs"))
    for graph in (
        _graph(
            "Ring depth",
            "short",
            "Records waiting. A command ring that fills up stops the gateway from reading sockets.",
            ("openoutcry_ring_depth", "{{ring}} {{shard}}"),
        ),
        _graph(
            "Pool use",
            "percentunit",
            "Share of each pool in use; a full one rejects.",
            ("openoutcry_pool_used / openoutcry_pool_capacity", "{{pool}} {{shard}}"),
        ),
        _graph(
            "Log growth",
            "Bps",
            "Bytes a second appended to the command log and the report log.",
            (f"rate(openoutcry_log_bytes{_RATE})", "{{log}} {{shard}}"),
        ),
    ):
        board = board.with_panel(graph)

    board = board.with_row(dashboard.Row("Snapshots"))
    for graph in (
        _graph(
            "Log since the latest snapshot",
            "bytes",
            "What a recovery would replay; a snapshot is due at snapshots.every_bytes.",
            (
                'openoutcry_log_bytes{log="command"} - on (shard) openoutcry_snapshot_log_bytes',
                "shard {{shard}}",
            ),
        ),
        _graph(
            "Follower behind",
            "short",
            "Commands that the process which writes the snapshots has yet to follow.",
            ("openoutcry_follower_lag_commands", "shard {{shard}}"),
        ),
        _graph(
            "Snapshot duration",
            "s",
            "How long the latest snapshot was written in the background.",
            ("openoutcry_snapshot_duration_seconds", "shard {{shard}}"),
        ),
    ):
        board = board.with_panel(graph)

    board = board.with_row(dashboard.Row("Connections and processes"))
    for graph in (
        _graph(
            "Connections",
            "short",
            "Connections open and sessions logged on.",
            ("openoutcry_connections", "{{protocol}} connections"),
            ("openoutcry_sessions_connected", "{{protocol}} sessions"),
            span=6,
        ),
        _graph(
            "Trouble",
            "cps",
            "Connections dropped, slow or unreadable; reads stopped by a full ring; restarts.",
            (_rate("openoutcry_connections_dropped_total", "protocol"), "{{protocol}} dropped"),
            (_rate("openoutcry_slow_consumers_total", "protocol"), "{{protocol}} too slow"),
            (_rate("openoutcry_garbled_messages_total", "protocol"), "{{protocol}} garbled"),
            (_rate("openoutcry_ring_full_total", "protocol"), "{{protocol}} ring full"),
            (_rate("openoutcry_restarts_total", "process"), "{{process}} restarted"),
            span=6,
        ),
        _graph(
            "CPU",
            "percentunit",
            "Cores in use by each process.",
            (f"rate(openoutcry_process_cpu_seconds_total{_RATE})", "{{process}}"),
            span=6,
        ),
        _graph(
            "Memory",
            "bytes",
            "Resident memory of each process; shared memory counts in each that touches it.",
            ("openoutcry_process_resident_memory_bytes", "{{process}}"),
            span=6,
        ),
    ):
        board = board.with_panel(graph)
    return board


def to_json() -> str:
    """Return the dashboard as the JSON that Grafana imports."""
    return JSONEncoder(sort_keys=True, indent=2).encode(build().build()) + "\n"


if __name__ == "__main__":
    sys.stdout.write(to_json())

"""Rules of the configuration over several fields, and what works but badly."""

import os
from collections import Counter
from collections.abc import Sequence

from openoutcry.server.config import (
    DEFAULT_MAX_UNITS,
    LIMIT_UNITS,
    Config,
    Symbol,
    decimal_parts,
    in_units,
)
from openoutcry.server.session_rules import check_firms, check_time_zone, count_sessions


def broken_rules(config: Config) -> list[str]:
    """Return what is wrong between fields, in the form of the decoder's messages."""
    found: list[str] = []
    _check_cores(config, found)
    _check_ports(config, found)
    if config.fix.heartbeat_min_s > config.fix.heartbeat_max_s:
        found.append(
            f"Expected heartbeat_min_s <= heartbeat_max_s ({config.fix.heartbeat_max_s})"
            " - at `$.fix.heartbeat_min_s`"
        )
    for name in ("command_ring_records", "event_ring_records"):
        records = getattr(config.capacity, name)
        if records & (records - 1):
            found.append(f"Expected a power of two, got {records} - at `$.capacity.{name}`")
    if config.day is not None:
        check_time_zone(config.day.time_zone, "$.day.time_zone", found)
    if config.retention.segments == "archive" and not config.retention.archive_dir:
        found.append(
            "Segments are archived in a folder: name it, or choose keep or delete"
            " - at `$.retention.archive_dir`"
        )
    _check_symbols(config, found)
    check_firms(config, found)
    return found


def _check_cores(config: Config, found: list[str]) -> None:
    owners: dict[int, int] = {}
    for index, shard in enumerate(config.shards):
        if isinstance(shard.core, int) and owners.setdefault(shard.core, index) != index:
            found.append(
                f"Core {shard.core} is taken by shard {owners[shard.core]}"
                f" - at `$.shards[{index}].core`"
            )


def _check_ports(config: Config, found: list[str]) -> None:
    owners: dict[int, str] = {}
    for name in ("http", "fix", "binary"):
        port = getattr(config.listen, name)
        if port and owners.setdefault(port, name) != name:
            found.append(f"Port {port} is taken by `{owners[port]}` - at `$.listen.{name}`")


def _check_symbols(config: Config, found: list[str]) -> None:
    names = Counter(symbol.name for symbol in config.symbols)
    if len(config.symbols) > config.capacity.symbols:
        found.append(
            f"{len(config.symbols)} symbols do not fit capacity.symbols"
            f" ({config.capacity.symbols}) - at `$.symbols`"
        )
    seen: set[str] = set()
    for index, symbol in enumerate(config.symbols):
        path = f"$.symbols[{index}]"
        if names[symbol.name] > 1 and symbol.name in seen:
            found.append(f"Symbol {symbol.name} appears twice - at `{path}.name`")
        seen.add(symbol.name)
        if symbol.shard is not None and symbol.shard >= len(config.shards):
            last = len(config.shards) - 1
            found.append(f"Expected a shard from 0 to {last} - at `{path}.shard`")
        _check_limits(symbol, path, "tick", ("min_price", "max_price"), found)
        _check_limits(symbol, path, "lot", ("min_qty", "max_qty"), found)


def _check_limits(
    symbol: Symbol, path: str, unit_name: str, limits: tuple[str, str], found: list[str]
) -> None:
    """Check a tick or lot and the two limits counted in it."""
    unit = getattr(symbol, unit_name)
    mantissa, _ = decimal_parts(unit)
    if mantissa <= 0:
        found.append(f"Expected a positive {unit_name}, got {unit} - at `{path}.{unit_name}`")
        return
    units: list[int | None] = []
    for name, default in zip(limits, (1, DEFAULT_MAX_UNITS), strict=True):
        text = getattr(symbol, name)
        try:
            count = default if text is None else in_units(text, unit)
        except ValueError:
            found.append(
                f"Expected a multiple of the {unit_name} {unit}, got {text} - at `{path}.{name}`"
            )
            units.append(None)
            continue
        if abs(count) > LIMIT_UNITS:
            found.append(
                f"{text} is more than {LIMIT_UNITS} times the {unit_name} {unit}"
                f" - at `{path}.{name}`"
            )
        if name == "min_qty" and count <= 0:
            found.append(f"Expected a positive quantity, got {text} - at `{path}.{name}`")
        units.append(count)
    low, high = units
    if low is not None and high is not None and low > high:
        found.append(f"Expected {limits[0]} <= {limits[1]} - at `{path}.{limits[0]}`")


def warnings_of(config: Config, cores: Sequence[int] | None = None) -> list[str]:
    """Return what will work but badly on this machine: nothing here stops a start."""
    if cores is None:
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    found = []
    wanted = [(f"$.shards[{i}].core", shard.core) for i, shard in enumerate(config.shards)]
    first = config.gateway.core
    gateway_cores = [] if first is None else list(range(first, first + config.gateway.count))
    wanted.extend(("$.gateway.core", core) for core in gateway_cores)
    for path, core in wanted:
        if isinstance(core, int) and cores and core not in cores:
            found.append(f"Core {core} is not available here; not pinned - at `{path}`")
    found.extend(
        f"Core {shard.core} is the gateway's too: they will wait for each other"
        f" - at `$.shards[{index}].core`"
        for index, shard in enumerate(config.shards)
        if shard.core in gateway_cores
    )
    sessions = count_sessions(config)
    if sessions > config.gateway.max_connections * config.gateway.count:
        found.append(
            f"{sessions} sessions are configured: not all can be logged on at a time"
            " - at `$.gateway.max_connections`"
        )
    if config.dynamic_sessions and sessions + 1 >= config.capacity.sessions:
        found.append(
            "The configured sessions leave no room for dynamic ones - at `$.capacity.sessions`"
        )
    polling = len(config.shards) + config.gateway.count
    if config.wait.mode == "spin" and cores and polling > len(cores):
        found.append(
            f"Spinning with {polling} processes on {len(cores)} cores starves them"
            " - at `$.wait.mode`"
        )
    return found

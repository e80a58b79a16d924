"""The venue's configuration: msgspec Structs, decoded once and strictly from YAML.

Every mistake in a file is reported at once, each with the file's name, the path of the value and,
for a key that does not exist, the nearest one that does. The defaults of the Structs and those
written out (with unit and trade-off) in `config/server.yaml` are the same; a test compares them.
"""

import difflib
import os
import re
import types
import typing
import zoneinfo
from collections import Counter
from collections.abc import Hashable, Sequence
from datetime import time
from fractions import Fraction
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import yaml
from msgspec import Meta, Struct

#: Largest price in ticks and quantity in lots, either sign: 18 digits, well inside an int64.
LIMIT_UNITS = 10**18
#: A symbol that states no largest price or quantity gets this many ticks or lots.
DEFAULT_MAX_UNITS = 10**12
#: Most decimals of a tick or lot.
MAX_SCALE = 12

_DECIMAL = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?")

Core = Annotated[int, Meta(ge=0, le=4095)]
Port = Annotated[int, Meta(ge=0, le=65535)]
Decimal = Annotated[str, Meta(pattern=r"^-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,12})?$")]
#: CompIDs and account names: printable ASCII without a space.
Name = Annotated[str, Meta(pattern=r"^[!-~]+$", min_length=1, max_length=32)]
Rows = Annotated[int, Meta(ge=1, le=1 << 30)]


class ConfigError(Exception):
    """The configuration is not valid; `messages` holds every reason found, one a line."""

    def __init__(self, messages: Sequence[str]) -> None:
        self.messages = tuple(messages)
        super().__init__("\n".join(self.messages))


class Venue(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who the venue is; the name also names its files in shared memory."""

    name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=32)] = "openoutcry"
    comp_id: Name = "OPENOUTCRY"


class Listen(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the venue listens. Port 0 takes any free port; null switches a listener off."""

    host: Annotated[str, Meta(min_length=1, max_length=255)] = "127.0.0.1"
    http: Port | None = 8080
    fix: Port | None = 8081
    binary: Port | None = 8082


class Fix(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the FIX sessions accept."""

    heartbeat_min_s: Annotated[int, Meta(ge=0, le=86400)] = 0
    heartbeat_max_s: Annotated[int, Meta(ge=0, le=86400)] = 3600
    logon_timeout_s: Annotated[int, Meta(ge=1, le=3600)] = 10
    logout_timeout_s: Annotated[int, Meta(ge=1, le=3600)] = 5
    sending_time_window_s: Annotated[int, Meta(ge=0, le=86400)] = 120
    max_message_bytes: Annotated[int, Meta(ge=512, le=65536)] = 4096
    avg_px_decimals: Annotated[int, Meta(ge=0, le=12)] = 8


class Binary(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the binary protocol's sessions accept."""

    logon_timeout_s: Annotated[int, Meta(ge=1, le=3600)] = 10
    max_message_bytes: Annotated[int, Meta(ge=256, le=65536)] = 1024


class Gateway(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The process that holds the connections."""

    core: Core | None = None
    spin_us: Annotated[int, Meta(ge=0, le=1_000_000)] = 20
    receive_buffer_bytes: Annotated[int, Meta(ge=16384, le=1 << 26)] = 262144
    send_queue_bytes: Annotated[int, Meta(ge=65536, le=1 << 32)] = 16 << 20
    max_connections: Annotated[int, Meta(ge=1, le=65536)] = 1024


class Shard(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One matching process."""

    core: Core | Literal["auto"] | None = "auto"


class Wait(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a shard waits for commands."""

    mode: Literal["adaptive", "spin", "block"] = "adaptive"
    spin_us: Annotated[int, Meta(ge=0, le=1_000_000)] = 200


class Capacity(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Sizes of the pools of each shard; nothing grows while the venue runs."""

    open_orders: Rows = 262144
    finished_orders: Rows = 1_000_000
    levels: Rows = 131072
    symbols: Annotated[int, Meta(ge=1, le=1_000_000)] = 1024
    sessions: Annotated[int, Meta(ge=1, le=1_000_000)] = 4096
    accounts: Annotated[int, Meta(ge=1, le=1 << 24)] = 65536
    command_ring_records: Annotated[int, Meta(ge=64, le=1 << 24)] = 16384
    event_ring_records: Annotated[int, Meta(ge=64, le=1 << 24)] = 65536


class Log(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The command log and the report log of each shard."""

    durability: Literal["process", "none"] = "process"
    segment_bytes: Annotated[int, Meta(ge=1 << 20, le=1 << 36, multiple_of=1 << 20)] = 16 << 20
    min_free_bytes: Annotated[int, Meta(ge=0, le=1 << 50)] = 256 << 20


class Day(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When the trading day ends, and DAY orders with it."""

    end: Annotated[str, Meta(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]$")] = "17:00:00"
    time_zone: str = "America/New_York"

    @property
    def end_time(self) -> time:
        """The end as a naive time of day in `time_zone`."""
        return time.fromisoformat(self.end)


class Symbol(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An instrument. Prices are multiples of the tick, quantities of the lot, limits included."""

    name: Annotated[str, Meta(pattern=r"^[!-~]+$", min_length=1, max_length=24)]
    tick: Decimal = "0.01"
    lot: Decimal = "1"
    min_price: Decimal | None = None
    max_price: Decimal | None = None
    min_qty: Decimal | None = None
    max_qty: Decimal | None = None
    shard: Annotated[int, Meta(ge=0)] | None = None
    replace_policy: Literal["keep_on_reduce", "always_requeue"] = "keep_on_reduce"

    @property
    def tick_parts(self) -> tuple[int, int]:
        """The tick as (mantissa, scale)."""
        return decimal_parts(self.tick)

    @property
    def lot_parts(self) -> tuple[int, int]:
        """The lot as (mantissa, scale)."""
        return decimal_parts(self.lot)

    @property
    def min_price_ticks(self) -> int:
        """Smallest price, in ticks: one unless stated; zero or below allows such prices."""
        return 1 if self.min_price is None else in_units(self.min_price, self.tick)

    @property
    def max_price_ticks(self) -> int:
        """Largest price, in ticks."""
        return DEFAULT_MAX_UNITS if self.max_price is None else in_units(self.max_price, self.tick)

    @property
    def min_qty_lots(self) -> int:
        """Smallest quantity of an order, in lots."""
        return 1 if self.min_qty is None else in_units(self.min_qty, self.lot)

    @property
    def max_qty_lots(self) -> int:
        """Largest quantity of an order, in lots."""
        return DEFAULT_MAX_UNITS if self.max_qty is None else in_units(self.max_qty, self.lot)


class Session(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A client's session: its SenderCompID in FIX, its session id in the binary protocol."""

    id: Name
    protocol: Literal["fix", "binary"] = "fix"
    password: Annotated[str, Meta(min_length=1, max_length=128)] | None = None

    def __repr__(self) -> str:
        hidden = None if self.password is None else "…"
        return f"Session(id={self.id!r}, protocol={self.protocol!r}, password={hidden!r})"


class Firm(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A member of the venue, with its accounts and sessions."""

    name: Name
    accounts: tuple[Name, ...] = ()
    sessions: tuple[Session, ...] = ()


def _default_symbols() -> tuple[Symbol, ...]:
    return (
        Symbol(name="BTCUSDT", tick="0.01", lot="0.00001"),
        Symbol(name="ETHUSDT", tick="0.01", lot="0.0001"),
        Symbol(name="AAPL", tick="0.01", lot="1"),
        Symbol(name="MSFT", tick="0.01", lot="1"),
    )


class Config(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that `serve` is told."""

    venue: Venue = Venue()
    listen: Listen = Listen()
    fix: Fix = Fix()
    binary: Binary = Binary()
    gateway: Gateway = Gateway()
    shards: Annotated[tuple[Shard, ...], Meta(min_length=1, max_length=256)] = (Shard(),)
    wait: Wait = Wait()
    capacity: Capacity = Capacity()
    log: Log = Log()
    day: Day | None = Day()
    symbols: Annotated[tuple[Symbol, ...], Meta(min_length=1)] = msgspec.field(
        default_factory=_default_symbols
    )
    firms: tuple[Firm, ...] = ()
    dynamic_sessions: bool = True
    shm_dir: Annotated[str, Meta(pattern=r"^/")] = "/dev/shm"
    log_format: Literal["text", "json"] = "text"

    def shard_of(self, symbol: int) -> int:
        """Return the shard of a symbol by its number, which is its place in `symbols`."""
        named = self.symbols[symbol].shard
        return symbol % len(self.shards) if named is None else named


# Decimals


def decimal_parts(text: str) -> tuple[int, int]:
    """Return (mantissa, scale) of a plain decimal such as "0.005": value = mantissa × 10^-scale.

    The form is canonical: "0.50" gives (5, 1), like "0.5". Raises ValueError for anything else.
    """
    if not _DECIMAL.fullmatch(text):
        raise ValueError(f"{text!r} is not a plain decimal number")
    whole, _, fraction = text.partition(".")
    fraction = fraction.rstrip("0")
    return int(whole + fraction), len(fraction)


def in_units(value: str, unit: str) -> int:
    """Return how many units (ticks, lots) a decimal is; raise ValueError if not a whole number."""
    value_mantissa, value_scale = decimal_parts(value)
    unit_mantissa, unit_scale = decimal_parts(unit)
    units = Fraction(value_mantissa * 10**unit_scale, unit_mantissa * 10**value_scale)
    if units.denominator != 1:
        raise ValueError(f"{value} is not a multiple of {unit}")
    return units.numerator


# Reading YAML


class _Loader(yaml.SafeLoader):
    """YAML as strict as the Structs: numbers are decimal integers, all other text stays text.

    YAML 1.1 would read the symbols ON and NO as booleans, 17:00:00 as 61200 and 0.01 as a binary
    float. A key that appears twice is an error.
    """

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 (as in the base class)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                break  # the base class says so
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} appears twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|false|False)$"), list("tTfF")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"^[-+]?(?:0|[1-9][0-9_]*)$"), list("-+0123456789")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:null", re.compile(r"^(?:~|null|)$"), ["~", "n", ""]
)


def _read_yaml(text: str, source: str) -> Any:
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        # Without the excerpt that the error carries: it may show a password.
        where = error.problem_mark or error.context_mark
        place = f" in line {where.line + 1}, column {where.column + 1}" if where else ""
        context = f"{error.context}, " if error.context else ""
        raise ConfigError([f"{source}: {context}{error.problem}{place}"]) from None
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError([f"{source}: {' '.join(str(error).split())}"]) from None


def default_text() -> str:
    """Return the embedded default configuration, commented, as YAML."""
    return resources.files("openoutcry.config").joinpath("server.yaml").read_text("utf-8")


_STEP = re.compile(r"([^.\[\]]+)|\[([0-9]+)\]")


def _override(tree: dict[str, Any], setting: str) -> None:
    """Set one `key.path=value` in the undecoded tree; the value is YAML."""
    path, equals, text = setting.partition("=")
    source = f"--set {setting if 'password' not in path else path}"
    if not equals or not re.fullmatch(r"[^.\[\]]+(\.[^.\[\]]+|\[[0-9]+\])*", path):
        raise ConfigError([f"{source}: write it as key.path=value, for example listen.fix=0"])
    steps = [key or int(index) for key, index in _STEP.findall(path)]
    value = _read_yaml(text, source)
    holder: Any = tree
    for step, following in zip(steps, [*steps[1:], None], strict=True):
        if isinstance(step, int):
            if not isinstance(holder, list) or step > len(holder):
                raise ConfigError([f"{source}: there is no element [{step}] to set"])
            if step == len(holder):
                holder.append(None)
        elif not isinstance(holder, dict):
            raise ConfigError([f"{source}: {step!r} is not inside a mapping"])
        if following is None:
            holder[step] = value
            return
        below = holder[step] if isinstance(step, int) else holder.get(step)
        if below is None:
            below = holder[step] = [] if isinstance(following, int) else {}
        holder = below


# Decoding


def _unwrap(kind: Any) -> Any:
    """Return a type without its Annotated shell."""
    return kind.__origin__ if typing.get_origin(kind) is Annotated else kind


def _without_none(kind: Any) -> Any:
    if typing.get_origin(_unwrap(kind)) in {typing.Union, types.UnionType}:
        rest = [arm for arm in typing.get_args(_unwrap(kind)) if arm is not type(None)]
        return rest[0] if len(rest) == 1 else kind
    return kind


def _nearest(key: str, known: Sequence[str]) -> str:
    found = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    return f", did you mean `{found[0]}`?" if found else f"; known are {', '.join(known)}"


def _collect(value: Any, kind: Any, path: str, found: list[str]) -> None:
    """Add every mistake in a decoded YAML value, each with its path: msgspec stops at the first."""
    core = _unwrap(_without_none(kind))
    if value is None and core is not _unwrap(kind):
        return
    if isinstance(core, type) and issubclass(core, Struct):
        if not isinstance(value, dict):
            found.append(f"Expected `object`, got `{_kind_name(value)}` - at `{path}`")
            return
        hints = typing.get_type_hints(core, include_extras=True)
        for key, below in value.items():
            if key in hints:
                _collect(below, hints[key], f"{path}.{key}", found)
            else:
                found.append(f"Unknown key `{key}`{_nearest(str(key), list(hints))} - at `{path}`")
        found.extend(
            f"Missing required key `{field.name}` - at `{path}`"
            for field in msgspec.structs.fields(core)
            if field.required and field.name not in value
        )
        return
    if isinstance(value, list) and typing.get_origin(core) is tuple:
        before = len(found)
        for index, below in enumerate(value):
            _collect(below, typing.get_args(core)[0], f"{path}[{index}]", found)
        if len(found) > before:
            return
    try:
        msgspec.convert(value, kind, strict=True)
    except msgspec.ValidationError as error:
        text = str(error)
        if text.startswith("Invalid enum value"):
            text += f"; known are {', '.join(_choices(kind))}"
        if core is str and isinstance(value, int | float):
            text += " (put it in quotes)"
        found.append(f"{text} - at `{path}`")


def _choices(kind: Any) -> list[str]:
    """Return what a type allows, in words: the names of a Literal, `a number`, `null`."""
    core = _unwrap(kind)
    if typing.get_origin(core) in {typing.Union, types.UnionType}:
        return [choice for arm in typing.get_args(core) for choice in _choices(arm)]
    if typing.get_origin(core) is Literal:
        return [str(choice) for choice in typing.get_args(core)]
    return [{int: "a number", type(None): "null"}.get(core, str(core))]


def _kind_name(value: Any) -> str:
    names = {dict: "object", list: "array", type(None): "null"}
    return names.get(type(value), type(value).__name__)


def _decode(tree: Any, source: str) -> Config:
    if not isinstance(tree, dict):
        raise ConfigError([f"{source}: Expected `object`, got `{_kind_name(tree)}` - at `$`"])
    try:
        config = msgspec.convert(tree, Config, strict=True)
    except msgspec.ValidationError as error:
        found: list[str] = []
        _collect(tree, Config, "$", found)
        raise ConfigError([f"{source}: {text}" for text in found or [str(error)]]) from None
    broken = broken_rules(config)
    if broken:
        raise ConfigError([f"{source}: {text}" for text in broken])
    return config


def load_config(path: str | Path | None, overrides: Sequence[str] = ()) -> Config:
    """Read, decode and check a configuration file, or the embedded default where `path` is None.

    A top-level key that the file leaves out has the default's value. `overrides` are texts of the
    form `key.path=value`, as in `listen.fix=0` or `shards=[{core: 2}, {core: 3}]`, applied in order
    before decoding. Raises ConfigError with every message.
    """
    tree: Any = _read_yaml(default_text(), "server.yaml")
    source = "default configuration"
    if path is not None:
        source = str(path)
        try:
            text = Path(path).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
            raise ConfigError([f"{source}: cannot be read: {reason}"]) from None
        given = _read_yaml(text, source)
        if given is None:
            given = {}
        if not isinstance(given, dict):
            raise ConfigError([f"{source}: Expected `object`, got `{_kind_name(given)}` - at `$`"])
        tree = {**tree, **given}
    errors: list[str] = []
    for setting in overrides:
        try:
            _override(tree, setting)
        except ConfigError as error:
            errors.extend(error.messages)
    if errors:
        raise ConfigError(errors)
    return _decode(tree, source)


# Rules over several fields


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
        try:
            zoneinfo.ZoneInfo(config.day.time_zone)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            found.append(f"Unknown time zone {config.day.time_zone!r} - at `$.day.time_zone`")
    _check_symbols(config, found)
    _check_firms(config, found)
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


def _check_firms(config: Config, found: list[str]) -> None:
    firms: set[str] = set()
    accounts: dict[str, str] = {}
    sessions: dict[tuple[str, str], str] = {}
    for index, firm in enumerate(config.firms):
        path = f"$.firms[{index}]"
        if firm.name in firms:
            found.append(f"Firm {firm.name} appears twice - at `{path}.name`")
        firms.add(firm.name)
        for number, account in enumerate(firm.accounts):
            if account in accounts:
                found.append(
                    f"Account {account} is already one of {accounts[account]}"
                    f" - at `{path}.accounts[{number}]`"
                )
            accounts[account] = firm.name
        for number, session in enumerate(firm.sessions):
            key = (session.protocol, session.id)
            if key in sessions:
                found.append(
                    f"Session {session.id} ({session.protocol}) is already one of {sessions[key]}"
                    f" - at `{path}.sessions[{number}].id`"
                )
            sessions[key] = firm.name
    if not config.dynamic_sessions and not sessions:
        found.append(
            "No session could log on: dynamic_sessions is false and no firm has a session"
            " - at `$.dynamic_sessions`"
        )


def warnings_of(config: Config, cores: Sequence[int] | None = None) -> list[str]:
    """Return what will work but badly on this machine: nothing here stops a start."""
    if cores is None:
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    found = []
    wanted = [(f"$.shards[{i}].core", shard.core) for i, shard in enumerate(config.shards)]
    wanted.append(("$.gateway.core", config.gateway.core))
    for path, core in wanted:
        if isinstance(core, int) and cores and core not in cores:
            found.append(f"Core {core} is not available here; not pinned - at `{path}`")
    if config.gateway.core is not None:
        found.extend(
            f"Core {shard.core} is the gateway's too: they will wait for each other"
            f" - at `$.shards[{index}].core`"
            for index, shard in enumerate(config.shards)
            if shard.core == config.gateway.core
        )
    polling = len(config.shards) + 1
    if config.wait.mode == "spin" and cores and polling > len(cores):
        found.append(
            f"Spinning with {polling} processes on {len(cores)} cores starves them"
            " - at `$.wait.mode`"
        )
    return found

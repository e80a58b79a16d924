"""The venue's configuration as msgspec Structs: `config_file` reads it, `config_rules` judges it.

The defaults of the Structs and those written out (with unit and trade-off) in `config/server.yaml`
are the same; a test compares them.
"""

import re
from datetime import time
from fractions import Fraction
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from openoutcry.server.session_settings import (
    Name,
    Session,
    SessionDefaults,
    TimeOfDay,
    settings_of,
)

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
Rows = Annotated[int, Meta(ge=1, le=1 << 30)]


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
    takeover_timeout_s: Annotated[int, Meta(ge=1, le=3600)] = 5
    avg_px_decimals: Annotated[int, Meta(ge=0, le=12)] = 8


class Binary(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the binary protocol's sessions accept."""

    logon_timeout_s: Annotated[int, Meta(ge=1, le=3600)] = 10
    max_message_bytes: Annotated[int, Meta(ge=256, le=65536)] = 1024


class Credentials(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What logons with a wrong password lead to, and what a new password must be."""

    lock_after: Annotated[int, Meta(ge=1, le=1_000_000)] | None = 5
    lock_s: Annotated[int, Meta(ge=1, le=31_536_000)] = 300
    min_password_bytes: Annotated[int, Meta(ge=1, le=128)] = 8


class Gateway(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The processes that hold the connections, `count` of them with these settings each."""

    count: Annotated[int, Meta(ge=1, le=64)] = 1
    core: Core | None = None
    spin_us: Annotated[int, Meta(ge=0, le=1_000_000)] = 20
    receive_buffer_bytes: Annotated[int, Meta(ge=16384, le=1 << 26)] = 262144
    send_queue_bytes: Annotated[int, Meta(ge=65536, le=1 << 32)] = 64 << 20
    max_connections: Annotated[int, Meta(ge=1, le=65536)] = 1024
    tcp_user_timeout_s: Annotated[int, Meta(ge=0, le=86400)] = 15
    tcp_keepalive_s: Annotated[int, Meta(ge=0, le=32767)] = 15


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

    durability: Literal["process", "power", "none"] = "process"
    group_commit_us: Annotated[int, Meta(ge=0, le=1_000_000)] = 1000
    segment_bytes: Annotated[int, Meta(ge=1 << 20, le=1 << 36, multiple_of=1 << 20)] = 16 << 20
    min_free_bytes: Annotated[int, Meta(ge=0, le=1 << 50)] = 256 << 20


class Snapshots(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When each shard's follower writes a snapshot, and how many are kept."""

    every_bytes: Annotated[int, Meta(ge=1 << 20, le=1 << 40)] | None = 512 << 20
    every_s: Annotated[int, Meta(ge=1, le=31_536_000)] | None = 300
    keep: Annotated[int, Meta(ge=2, le=1000)] = 2


class Retention(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What becomes of segments that neither a recovery nor a resend needs any more."""

    segments: Literal["keep", "archive", "delete"] = "keep"
    archive_dir: str | None = None
    resend_messages: Annotated[int, Meta(ge=1, le=1 << 40)] | None = None


class Supervision(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How processes that die or hang are replaced."""

    hang_s: Annotated[int, Meta(ge=1, le=3600)] = 5
    hold_s: Annotated[int, Meta(ge=0, le=3600)] = 0
    restart_max_s: Annotated[int, Meta(ge=1, le=3600)] = 30


class Day(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When the trading day ends, and DAY orders with it."""

    end: TimeOfDay = "17:00:00"
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
    listed: bool = True

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
    credentials: Credentials = Credentials()
    gateway: Gateway = Gateway()
    shards: Annotated[tuple[Shard, ...], Meta(min_length=1, max_length=256)] = (Shard(),)
    wait: Wait = Wait()
    capacity: Capacity = Capacity()
    log: Log = Log()
    snapshots: Snapshots | None = Snapshots()
    retention: Retention = Retention()
    supervision: Supervision = Supervision()
    day: Day | None = Day()
    symbols: Annotated[tuple[Symbol, ...], Meta(min_length=1)] = msgspec.field(
        default_factory=_default_symbols
    )
    firms: tuple[Firm, ...] = ()
    session_defaults: SessionDefaults = SessionDefaults()
    dynamic_sessions: bool = True
    shm_dir: Annotated[str, Meta(pattern=r"^/")] = "/dev/shm"
    log_format: Literal["text", "json"] = "text"

    def shard_of(self, symbol: int) -> int:
        """Return the shard of a symbol by its number, which is its place in `symbols`."""
        named = self.symbols[symbol].shard
        return symbol % len(self.shards) if named is None else named

    def settings_of(self, session: Session) -> SessionDefaults:
        """Return a session's settings, the defaults where it has none of its own."""
        return settings_of(session, self.session_defaults)


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

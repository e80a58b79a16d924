"""Scenarios: what kind of order flow is generated, decoded strictly from YAML."""

import re
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import yaml
from msgspec import Meta, Struct

PerMille = Annotated[int, Meta(ge=0, le=1000)]
Ticks = Annotated[int, Meta(ge=0, le=10**9)]
Decimal = Annotated[str, Meta(pattern=r"^(0|[1-9][0-9]{0,17})(\.[0-9]{1,12})?$")]

_DECIMAL = re.compile(r"(0|[1-9][0-9]*)(\.[0-9]+)?")


class ScenarioError(ValueError):
    """The scenario does not exist or is not valid."""


class Shares(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How requests divide, in per mille."""

    new: PerMille
    cancel: PerMille
    replace: PerMille
    marketable: PerMille


class Symbol(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A symbol to be traded. Tick and lot must be the venue's (checked where the venue tells)."""

    name: Annotated[str, Meta(pattern=r"^[!-~]{1,24}$")]
    tick: Decimal
    lot: Decimal
    price: Decimal
    min_qty: Decimal
    max_qty: Decimal

    @property
    def tick_parts(self) -> tuple[int, int]:
        """The tick as (mantissa, scale)."""
        return decimal_parts(self.tick)

    @property
    def lot_parts(self) -> tuple[int, int]:
        """The lot as (mantissa, scale)."""
        return decimal_parts(self.lot)

    @property
    def price_ticks(self) -> int:
        """Where the price starts its walk."""
        return in_units(self.price, self.tick)

    @property
    def qty_lots(self) -> tuple[int, int]:
        """Smallest and largest quantity of an order."""
        return in_units(self.min_qty, self.lot), in_units(self.max_qty, self.lot)


class Scenario(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A kind of order flow; scenarios.yaml explains each key."""

    shares: Shares
    resting_orders: Annotated[int, Meta(ge=1, le=2_000_000)]
    depth_ticks: Annotated[int, Meta(ge=1, le=65536)]
    through_ticks: Ticks
    walk_every: Annotated[int, Meta(ge=1, le=65536)]
    walk_ticks: Ticks
    near_ticks: Ticks
    tif: Literal["day", "gtc"]
    symbols: Annotated[tuple[Symbol, ...], Meta(min_length=1, max_length=256)]


def decimal_parts(text: str) -> tuple[int, int]:
    """Return (mantissa, scale) of a plain decimal, mantissa × 10^-scale; "0.50" is (5, 1)."""
    if not _DECIMAL.fullmatch(text):
        raise ValueError(f"{text!r} is not a plain decimal number")
    whole, _, fraction = text.partition(".")
    fraction = fraction.rstrip("0")
    return int(whole + fraction), len(fraction)


def in_units(value: str, unit: str) -> int:
    """Return how many units a decimal is; raise ValueError if not a whole number."""
    units = Fraction(value) / Fraction(unit)
    if units.denominator != 1:
        raise ValueError(f"{value} is not a multiple of {unit}")
    return units.numerator


def scenario_names() -> list[str]:
    """Return the names of the built-in scenarios."""
    return list(_built_in())


def load_scenario(name: str) -> Scenario:
    """Return a built-in scenario by its name, or the one in a YAML file.

    Raises:
        ScenarioError: There is no such scenario, or it is not valid; the text says where.
    """
    built_in = _built_in()
    if name in built_in:
        return _decode(built_in[name], f"scenario {name}")
    path = Path(name)
    if not path.is_file():
        raise ScenarioError(
            f"no scenario {name!r}: it is none of {', '.join(built_in)}, nor a file"
        )
    try:
        tree = yaml.safe_load(path.read_text("utf-8"))
    except (yaml.YAMLError, OSError, UnicodeDecodeError) as error:
        raise ScenarioError(f"{name}: {error}") from None
    return _decode(tree, name)


def _built_in() -> dict[str, Any]:
    text = Path(__file__).with_name("scenarios.yaml").read_text("utf-8")
    tree: dict[str, Any] = yaml.safe_load(text)
    return tree


def _decode(tree: Any, source: str) -> Scenario:
    try:
        scenario = msgspec.convert(tree, Scenario)
    except msgspec.ValidationError as error:
        raise ScenarioError(f"{source}: {error}") from None
    for problem in _problems(scenario):
        raise ScenarioError(f"{source}: {problem}")
    return scenario


def _problems(scenario: Scenario) -> list[str]:
    problems = []
    total = sum(msgspec.structs.astuple(scenario.shares))
    if total != 1000:
        problems.append(f"the shares add up to {total}, not 1000 - at `$.shares`")
    if scenario.walk_every & (scenario.walk_every - 1):
        problems.append("must be a power of two - at `$.walk_every`")
    for number, symbol in enumerate(scenario.symbols):
        where = f"at `$.symbols[{number}]`"
        try:
            smallest, largest = symbol.qty_lots
            price = symbol.price_ticks
        except (ValueError, ZeroDivisionError) as error:
            problems.append(f"{error} - {where}")
            continue
        if not 1 <= smallest <= largest:
            problems.append(f"min_qty must be at least a lot, and at most max_qty - {where}")
        reach = scenario.walk_ticks + max(scenario.depth_ticks, scenario.through_ticks) + 1
        if price <= reach:
            problems.append(f"price must be above {reach} ticks, or orders reach zero - {where}")
    return problems

"""Names and decimals for what the logs hold as numbers, ticks and lots."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple


class Units(NamedTuple):
    """A symbol's name, and its tick and lot as mantissa × 10^-scale."""

    name: str
    tick_mantissa: int
    tick_scale: int
    lot_mantissa: int
    lot_scale: int


@dataclass
class Names:
    """What the numbers in a data directory's logs stand for, as far as it is known.

    Each mapping goes from number to name; of sessions, two may have the same one (FIX versions).
    """

    symbols: Mapping[int, Units] = field(default_factory=dict)
    sessions: Mapping[int, str] = field(default_factory=dict)
    accounts: Mapping[int, str] = field(default_factory=dict)
    firms: Mapping[int, str] = field(default_factory=dict)

    def symbol(self, number: int) -> str | int:
        """Return a symbol's name, or its number where the name is not known."""
        units = self.symbols.get(number)
        return number if units is None else units.name

    def price(self, symbol: int, ticks: int) -> str | None:
        """Return a price as decimal text; None where the tick is not known."""
        units = self.symbols.get(symbol)
        return None if units is None else decimal(ticks * units.tick_mantissa, units.tick_scale)

    def qty(self, symbol: int, lots: int) -> str | None:
        """Return a quantity as decimal text; None where the lot is not known."""
        units = self.symbols.get(symbol)
        return None if units is None else decimal(lots * units.lot_mantissa, units.lot_scale)


class UnknownNameError(ValueError):
    """A name that nothing has; the text is for the user."""


def numbers_of(what: str, text: str, names: Iterable[tuple[int, str]]) -> list[int]:
    """Return the numbers of a name, or the number itself where the text is one.

    Raises:
        UnknownNameError: nothing has that name.
    """
    known = list(names)
    found = [number for number, name in known if name == text]
    if not found:
        found = [number for number, name in known if name.upper() == text.upper()]
    if not found and text.isdigit():
        found = [int(text)]
    if not found:
        hint = "its number" if not known else "one of the directory's names, or a number"
        raise UnknownNameError(f"{what} {text!r} is not in the directory: give {hint}")
    return found


def decimal(mantissa: int, scale: int) -> str:
    """Return mantissa × 10^-scale as plain decimal text with `scale` decimals."""
    if scale == 0:
        return str(mantissa)
    sign = "-" if mantissa < 0 else ""
    digits = str(abs(mantissa)).rjust(scale + 1, "0")
    return f"{sign}{digits[:-scale]}.{digits[-scale:]}"


def instant(time_ns: int) -> str:
    """Return UTC nanoseconds in ISO 8601, with all nine decimals."""
    seconds, rest = divmod(time_ns, 1_000_000_000)
    try:
        whole = datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        return f"{time_ns} ns"
    return f"{whole:%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"

"""Readers of recorded order flow: Bitstamp's order events (CSV) and NASDAQ TotalView-ITCH 5.0.

Both give the same `FileEvent`s, with prices in ticks and quantities in lots. docs/flow.md says what
each row or message means.
"""

import csv
import gzip
import io
import lzma
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from openoutcry.protocol.binary.enums import Side

FORMATS = ("bitstamp", "itch")
BITSTAMP_SYMBOL = "BTCUSD"

_BITSTAMP_COLUMNS = {"id", "price", "volume", "action", "direction"}


class FlowFileError(ValueError):
    """The file is not what its format says."""


class EventKind(Enum):
    """What an event of a file means for the order that it names."""

    #: A new order appears: price, qty.
    ADD = "add"
    #: qty of the order was executed; who took it is not in the file.
    EXECUTE = "execute"
    #: qty of the order was cancelled.
    REDUCE = "reduce"
    #: All that was left of the order was cancelled.
    DELETE = "delete"
    #: The order became `new_order_id`, with this price and this qty left.
    REPLACE = "replace"
    #: The order, on either side of a match, has this price and this qty left; 0: it is filled.
    REMAINS = "remains"
    #: Nothing in the book changes.
    NONE = "none"


@dataclass(frozen=True, slots=True)
class FileEvent:
    """One row or message of a file."""

    #: Place in the file, from 1.
    number: int
    kind: EventKind
    #: The file's own word: an action or a message type.
    word: str
    order_id: str = ""
    #: Known in ADD and, for Bitstamp, in every event.
    symbol: str = ""
    side: Side | None = None
    price: int = 0
    qty: int = 0
    new_order_id: str = ""


@dataclass(frozen=True, slots=True)
class FlowSymbol:
    """A symbol that a venue needs for the file."""

    name: str
    tick: str
    lot: str


@dataclass(frozen=True, slots=True)
class FlowFile:
    """A file read as a whole."""

    format: str
    symbols: tuple[FlowSymbol, ...]
    events: tuple[FileEvent, ...]


def guess_format(path: Path) -> str:
    """Tell the format from the file's name: anything with .csv in it is Bitstamp's."""
    return "bitstamp" if ".csv" in path.name else "itch"


def read_flow(path: Path, format_name: str | None = None) -> FlowFile:
    """Read a file, plain or compressed (.xz, .gz).

    Raises:
        FlowFileError: it is not of that format; the message names the place.
        OSError: it cannot be read.
    """
    name = format_name or guess_format(path)
    try:
        data = _contents(path)
        return _read_bitstamp(data) if name == "bitstamp" else _read_itch(data)
    except (lzma.LZMAError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise FlowFileError(f"{path}: {error}") from None


def _contents(path: Path) -> bytes:
    if path.suffix == ".xz":
        return lzma.decompress(path.read_bytes())
    if path.suffix == ".gz":
        return gzip.decompress(path.read_bytes())
    return path.read_bytes()


# --- Bitstamp -------------------------------------------------------------------------------------


def _read_bitstamp(data: bytes) -> FlowFile:
    rows = csv.DictReader(io.StringIO(data.decode("ascii"), newline=""))
    missing = _BITSTAMP_COLUMNS - set(rows.fieldnames or ())
    if missing:
        raise FlowFileError(f"line 1: no column {', '.join(sorted(missing))}")
    events = tuple(_bitstamp_event(number, row) for number, row in enumerate(rows, 1))
    return FlowFile("bitstamp", (FlowSymbol(BITSTAMP_SYMBOL, "0.01", "0.00000001"),), events)


def _bitstamp_event(number: int, row: dict[str, str]) -> FileEvent:
    try:
        side = {"bid": Side.BUY, "ask": Side.SELL}[row["direction"]]
        left = int(row["volume"])
        kind = {
            "created": EventKind.ADD,
            "changed": EventKind.REMAINS,
            # Nothing left: the last fill. Something left: a cancel.
            "deleted": EventKind.DELETE if left else EventKind.REMAINS,
        }[row["action"]]
        price = _cents(row["price"])
    except (KeyError, TypeError, ValueError):
        raise FlowFileError(f"line {number + 1}: cannot be understood: {row}") from None
    return FileEvent(number, kind, row["action"], row["id"], BITSTAMP_SYMBOL, side, price, left)


def _cents(text: str) -> int:
    whole, _, decimals = text.partition(".")
    if len(decimals) > 2:
        raise ValueError(text)
    return int(whole) * 100 + int(decimals.ljust(2, "0"))


# --- ITCH 5.0 -------------------------------------------------------------------------------------

#: Bytes of each message, without the two length bytes.
_ITCH_BYTES = {
    **{b"S": 12, b"R": 39, b"H": 25, b"Y": 20, b"L": 26, b"V": 35, b"W": 12, b"K": 28, b"J": 35},
    **{b"h": 21, b"A": 36, b"F": 40, b"E": 31, b"C": 36, b"X": 23, b"D": 19, b"U": 35, b"P": 44},
    **{b"Q": 40, b"B": 19, b"I": 50, b"N": 20, b"O": 48},
}
_ADD = struct.Struct(">QcI8sI")
_SHARES = struct.Struct(">QI")
_REFERENCE = struct.Struct(">Q")
_REPLACE = struct.Struct(">QQII")
#: A message's own fields begin behind type, stock locate, tracking number and time stamp.
_BODY = 11


def _read_itch(data: bytes) -> FlowFile:
    events = tuple(_itch_events(data))
    names = {event.symbol: None for event in events if event.symbol}
    return FlowFile("itch", tuple(FlowSymbol(name, "0.0001", "1") for name in names), events)


def _itch_events(data: bytes) -> Iterator[FileEvent]:
    position = 0
    number = 0
    while position < len(data):
        number += 1
        # The two length bytes may be 0; the type says the length anyway.
        start = position + 2
        kind = data[start : start + 1]
        size = _ITCH_BYTES.get(kind)
        if size is None or start + size > len(data):
            raise FlowFileError(f"byte {position}: no complete ITCH 5.0 message")
        yield _itch_event(number, kind.decode(), data, start + _BODY)
        position = start + size


def _itch_event(number: int, word: str, data: bytes, body: int) -> FileEvent:
    match word:
        case "A" | "F":
            reference, side, shares, stock, price = _ADD.unpack_from(data, body)
            return FileEvent(
                number,
                EventKind.ADD,
                word,
                str(reference),
                stock.decode("ascii").rstrip(),
                Side.BUY if side == b"B" else Side.SELL,
                price,
                shares,
            )
        case "E" | "C":
            reference, shares = _SHARES.unpack_from(data, body)
            return FileEvent(number, EventKind.EXECUTE, word, str(reference), qty=shares)
        case "X":
            reference, shares = _SHARES.unpack_from(data, body)
            return FileEvent(number, EventKind.REDUCE, word, str(reference), qty=shares)
        case "D":
            (reference,) = _REFERENCE.unpack_from(data, body)
            return FileEvent(number, EventKind.DELETE, word, str(reference))
        case "U":
            old, new, shares, price = _REPLACE.unpack_from(data, body)
            return FileEvent(
                number,
                EventKind.REPLACE,
                word,
                str(old),
                price=price,
                qty=shares,
                new_order_id=str(new),
            )
        case _:
            return FileEvent(number, EventKind.NONE, word)

"""Tables that the gateway's kernels look things up in: symbols, accounts and drop copies.

A name is held as 64-bit words (NUL-padded, little-endian), so that hashing and comparing need no
loop over characters. The hash index is open addressing with linear probing; entries are never
removed.
"""

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openoutcry.config.jit import inline_kernel, int64, lean_kernel, uint64
from openoutcry.engine.enums import ReplacePolicy
from openoutcry.protocol.fix.encode import PARTIES_MAX, ROUTE_MAX
from openoutcry.protocol.fix.versions import Version
from openoutcry.server.config import Config, Symbol
from openoutcry.server.directory import (
    AccountRecord,
    Directory,
    DirectoryError,
    VariantRecord,
)

log = logging.getLogger(__name__)

#: `copies` of an account that this gateway has not heard of.
COPIES_UNKNOWN = -2
#: `shard` of a symbol that takes no orders.
NOT_LISTED = -1

SYMBOL_WORDS = 3
ACCOUNT_WORDS = 4
#: Room for route and party fields, a row of the account table; pages never written take none.
_TEXT_BYTES = 128

#: One row a symbol; the row's number is the symbol's number.
SYMBOL_ROW = np.dtype(
    [
        ("name0", "<u8"),
        ("name1", "<u8"),
        ("name2", "<u8"),
        ("name_len", "<i8"),
        ("shard", "<i8"),  # NOT_LISTED: it takes no orders
        ("tick_mantissa", "<i8"),
        ("tick_scale", "<i8"),
        ("lot_mantissa", "<i8"),
        ("lot_scale", "<i8"),
        ("avg_multiplier", "<i8"),  # AvgPx mantissa = notional * avg_multiplier / cum_qty
        ("avg_scale", "<i8"),
    ],
    align=True,
)

#: One row an account; the row's number is the account's number. Row 0 means "no account given".
#: What every report looks at comes first, within a cache line.
ACCOUNT_ROW = np.dtype(
    [
        ("name0", "<u8"),
        ("name1", "<u8"),
        ("name2", "<u8"),
        ("name3", "<u8"),
        ("name_len", "<i8"),
        ("copies", "<i8"),  # first of its drop copies in Routes.copies, -1, or COPIES_UNKNOWN
        # Whole fields for an order's reports, SOH behind each, in AccountTable.texts.
        ("route_len", "<i8"),  # header fields
        ("party_len", "<i8"),  # body fields, in reports of FIX versions party_min to party_max
        ("route_off", "<i8"),
        ("party_off", "<i8"),
        ("party_min", "<i8"),
        ("party_max", "<i8"),
        ("party_tail", "<i8"),  # bytes at their end that only ExecutionReports have
        ("firm", "<i8"),
        ("base", "<i8"),  # number of the account that this one is a variant of, or its own
    ],
    align=True,
)


def name_words(name: bytes, words: int) -> tuple[int, ...]:
    """Return a name as NUL-padded little-endian words."""
    padded = name.ljust(words * 8, b"\0")
    return tuple(int.from_bytes(padded[i * 8 : i * 8 + 8], "little") for i in range(words))


@inline_kernel
def hash_words(w0: int, w1: int, w2: int, w3: int) -> int:
    """Mix four words into a non-negative integer."""
    h = (w0 ^ (w1 << uint64(1))) * uint64(0x9E3779B97F4A7C15)
    h ^= h >> uint64(29)
    h = (h ^ w2 ^ (w3 << uint64(1))) * uint64(0xBF58476D1CE4E5B9)
    return int64(h >> uint64(20))


@lean_kernel
def find_symbol(symbols: NDArray[Any], index: NDArray[np.int32], w0: int, w1: int, w2: int) -> int:
    """Return the number of a symbol, or -1."""
    mask = len(index) - 1
    at = hash_words(w0, w1, w2, uint64(0)) & mask
    while True:
        row = int64(index[at])
        if row < 0:
            return -1
        if (
            symbols[row]["name0"] == w0
            and symbols[row]["name1"] == w1
            and symbols[row]["name2"] == w2
        ):
            return row
        at = (at + 1) & mask


@lean_kernel
def find_account(
    accounts: NDArray[Any], index: NDArray[np.int32], w0: int, w1: int, w2: int, w3: int
) -> int:
    """Return the number of an account, or -1."""
    mask = len(index) - 1
    at = hash_words(w0, w1, w2, w3) & mask
    while True:
        row = int64(index[at])
        if row < 0:
            return -1
        if (
            accounts[row]["name0"] == w0
            and accounts[row]["name1"] == w1
            and accounts[row]["name2"] == w2
            and accounts[row]["name3"] == w3
        ):
            return row
        at = (at + 1) & mask


@lean_kernel
def _insert(index: NDArray[np.int32], hashed: int, row: int) -> None:
    mask = len(index) - 1
    at = hashed & mask
    while index[at] >= 0:
        at = (at + 1) & mask
    index[at] = row


@lean_kernel
def _hash(w0: int, w1: int, w2: int, w3: int) -> int:
    return hash_words(w0, w1, w2, w3)


def _hash_of(words: tuple[int, ...]) -> int:
    w0, w1, w2, w3 = (uint64(word) for word in (*words, 0, 0, 0, 0)[:4])
    return int(_hash(w0, w1, w2, w3))


def _empty_index(rows: int) -> NDArray[np.int32]:
    size = 1 << max(4, (2 * rows - 1).bit_length())
    return np.full(size, -1, np.int32)


class SymbolTable:
    """The venue's symbols: rows for kernels, and their names and definitions for Python.

    A symbol that is not listed has a row, for what was reported of it, and no shard there; no name
    leads to it.

    Args:
        config: the venue's, resolved: its symbols stand at their numbers.
    """

    def __init__(self, config: Config) -> None:
        self.definitions = config.symbols
        self.rows = np.zeros(len(config.symbols), SYMBOL_ROW)
        self.index = _empty_index(len(config.symbols))
        self.numbers: dict[bytes, int] = {}
        for number, symbol in enumerate(config.symbols):
            name = symbol.name.encode()
            words = name_words(name, SYMBOL_WORDS)
            row = self.rows[number]
            for i, word in enumerate(words):
                row[f"name{i}"] = word
            row["name_len"] = len(name)
            row["shard"] = config.shard_of(number) if symbol.listed else NOT_LISTED
            row["tick_mantissa"], row["tick_scale"] = symbol.tick_parts
            row["lot_mantissa"], row["lot_scale"] = symbol.lot_parts
            # AvgPx has the configured decimals, and never fewer than the tick.
            scale = max(config.fix.avg_px_decimals, int(row["tick_scale"]))
            row["avg_scale"] = scale
            row["avg_multiplier"] = row["tick_mantissa"] * 10 ** (scale - int(row["tick_scale"]))
            if symbol.listed:
                _insert(self.index, _hash_of(words), number)
                self.numbers[name] = number

    @property
    def listed(self) -> tuple[Symbol, ...]:
        """The definitions of those that take orders."""
        return tuple(symbol for symbol in self.definitions if symbol.listed)

    def is_listed(self, number: int) -> bool:
        """Tell whether there is a symbol of this number, and it takes orders."""
        return 0 <= number < len(self.definitions) and self.definitions[number].listed

    def name(self, number: int) -> str:
        """Return the name of a symbol."""
        return self.definitions[number].name


class AccountTable:
    """The accounts: those configured, and in a test venue any that a client names.

    A variant is an account under a number of its own: the orders under it carry route and party
    fields that their reports echo. The numbers are the directory's: what is added here is added
    there first, and what other gateways added comes with `take_in`.

    Args:
        capacity: most accounts, the unnamed one and variants included.
        is_open: whether unknown names are added.
        directory: the venue's; by default one that only this table has.
        firms: the accounts configured, with their firms' numbers.

    Attributes:
        rows: ACCOUNT_ROW, by number.
        names: by number, a variant's is its account's; numbers: of accounts that orders may name.
        texts: the variants' fields; up to seven bytes behind a text may be read.
    """

    def __init__(
        self,
        capacity: int,
        *,
        is_open: bool,
        directory: Directory | None = None,
        firms: Mapping[bytes, int] | None = None,
    ) -> None:
        self.rows = np.zeros(capacity, ACCOUNT_ROW)
        self.rows["copies"] = COPIES_UNKNOWN
        self.rows["copies"][0] = -1
        self.index = _empty_index(capacity)
        self.names: list[bytes] = [b""]
        self.numbers: dict[bytes, int] = {b"": 0}
        self.texts = np.zeros(capacity * _TEXT_BYTES + ROUTE_MAX + PARTIES_MAX + 8, np.uint8)
        self._texts_end = 0
        self._is_open = is_open
        self._directory = Directory(None) if directory is None else directory
        self._firms = dict(firms or {})
        _insert(self.index, _hash_of((0,)), 0)
        self.take_in()

    def take_in(self) -> None:
        """Take in those accounts and variants of the directory that are new."""
        for record in self._directory.content.accounts[len(self.names) :]:
            if isinstance(record, VariantRecord):
                self._take_variant(record)
            else:
                self._take_account(record)

    def _take_account(self, record: AccountRecord) -> None:
        name = record.name.encode()
        words = name_words(name, ACCOUNT_WORDS)
        row = self.rows[record.number]
        for i, word in enumerate(words):
            row[f"name{i}"] = word
        row["name_len"] = len(name)
        row["firm"] = self._firms.get(name, 0)
        row["copies"] = -1
        row["base"] = record.number
        self.names.append(name)
        if self._is_open or name in self._firms:
            self.numbers[name] = record.number
            _insert(self.index, _hash_of(words), record.number)

    def _take_variant(self, record: VariantRecord) -> None:
        route, parties = record.route.encode("latin-1"), record.parties.encode("latin-1")
        self.rows[record.number] = self.rows[record.base]
        row = self.rows[record.number]
        row["route_off"], row["route_len"] = self._keep(route), len(route)
        row["party_off"], row["party_len"] = self._keep(parties), len(parties)
        row["party_min"], row["party_max"] = record.party_min, record.party_max
        row["party_tail"] = record.party_tail
        self.names.append(self.names[record.base])

    def add(self, name: bytes, firm: int = 0) -> int:
        """Return an account's number, adding it (to `firm`, if it is new here).

        Raises:
            OverflowError: the table is full.
            DirectoryError, OSError: the directory cannot be written.
        """
        if name not in self.numbers and firm:
            self._firms[name] = firm
        number = self._directory.add_account(name.decode("ascii"), len(self.rows))
        self.take_in()
        return number

    def variant(
        self,
        base: int,
        route: bytes = b"",
        parties: bytes = b"",
        *,
        party_min: Version = Version.FIX40,
        party_max: Version = Version.FIX50SP2,
        party_tail: int = 0,
    ) -> int:
        """Return the number of the account whose orders' reports carry these fields besides.

        The same fields give the same number again, no fields the account itself.

        Args:
            base: number of the account, or of a variant of it.
            route: header fields as they go over the wire, SOH behind each.
            parties: body fields likewise, for reports of the versions party_min to party_max.
            party_tail: bytes at the end of `parties` that are not for an OrderCancelReject.

        Raises:
            ValueError: a text is longer than ROUTE_MAX or PARTIES_MAX, or has no SOH at its end.
            OverflowError: the table or the room for its texts is full, or the directory cannot be
                written.
        """
        base = int(self.rows[base]["base"])
        if not route and not parties:
            return base
        for text, most in ((route, ROUTE_MAX), (parties, PARTIES_MAX)):
            if len(text) > most or (text and text[-1:] != b"\x01"):
                raise ValueError(f"no fields of at most {most} bytes: {text!r}")
        wanted = VariantRecord(
            number=0,
            base=base,
            route=route.decode("latin-1"),
            parties=parties.decode("latin-1"),
            party_min=int(party_min),
            party_max=int(party_max),
            party_tail=party_tail,
        )
        try:
            number = self._directory.add_variant(wanted, len(self.rows), len(self.texts) - 8)
        except (OSError, DirectoryError) as error:
            log.error("cannot keep an account's parties: account=%d error=%s", base, error)
            raise OverflowError(str(error)) from error
        self.take_in()
        return number

    def _keep(self, text: bytes) -> int:
        start = self._texts_end
        self._texts_end = start + len(text)
        self.texts[start : self._texts_end] = np.frombuffer(text, np.uint8)
        return start

    def find(self, name: bytes) -> int:
        """Return the number of an account, adding it where that is allowed; -1 if there is none."""
        number = self.numbers.get(name)
        if number is not None:
            return number
        if not self._is_open or len(name) > ACCOUNT_WORDS * 8:
            return -1
        if any(not 0x20 <= character <= 0x7E for character in name):
            return -1
        try:
            return self.add(name)
        except OverflowError:
            return -1
        except (OSError, DirectoryError) as error:
            log.error("cannot keep a new account: name=%s error=%s", name.decode("ascii"), error)
            return -1


class CopyTable:
    """Who gets drop copies: lists of sessions, each begun by a `copies` of a session or account.

    Args:
        capacity: most entries of all lists together.

    Attributes:
        rows: (capacity, 2) numbers: a session, and the next row of the list or -1.
    """

    def __init__(self, capacity: int) -> None:
        self.rows = np.full((capacity, 2), -1, np.int64)
        self._used = 0

    def add(self, first: int, session: int) -> int:
        """Put a session in front of the list that begins at row `first` (-1: none); return its row.

        Raises OverflowError when the table is full.
        """
        row = self._used
        if row >= len(self.rows):
            raise OverflowError(f"the table of drop copies holds {len(self.rows)} entries")
        self.rows[row] = session, first
        self._used += 1
        return row


def symbol_flags(policy: str) -> int:
    """Return the flags of an ADD_SYMBOL command for a replace policy's name."""
    return int(ReplacePolicy[policy.upper()])

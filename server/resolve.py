"""A configuration and the directory make the configuration that the processes run with.

A configuration may name its symbols, firms, accounts and sessions in any order, and have more of
them with each start. What was there before keeps its number; a symbol that is not configured any
more, or has another tick or lot, stays under its old number, not listed, so that reports about it
can be sent again.

What a changed configuration may not do is found before anything is written, so that a start that is
refused leaves the data directory as it was: first what the directory tells (`refusals`), then what
only the recovered books do (`resting_refusals`).
"""

from collections.abc import Sequence

import msgspec
import numpy as np

from openoutcry.engine.book import Book
from openoutcry.engine.enums import Side
from openoutcry.engine.market import depth
from openoutcry.engine.records import DEPTH_LEVEL
from openoutcry.server.config import Config, Symbol
from openoutcry.server.directory import (
    AccountRecord,
    Directory,
    DirectoryContent,
    FirmRecord,
    LayoutRecord,
    Record,
    SessionRecord,
    SymbolRecord,
    VenueRecord,
    home_of,
)


class ResolveError(Exception):
    """The configuration does not go with the data directory; one sentence a message."""

    def __init__(self, messages: Sequence[str]) -> None:
        self.messages = tuple(messages)
        super().__init__("; ".join(messages))


def refusals(config: Config, content: DirectoryContent) -> list[str]:
    """Return what a changed configuration may not do, a sentence each."""
    found = []
    if content.venue and content.venue != config.venue.name:
        found.append(
            f"the data directory is of the venue {content.venue!r} and the configuration of"
            f" {config.venue.name!r}: set venue.name to {content.venue}, or name another --data-dir"
        )
    shards, gateways = len(config.shards), config.gateway.count
    if shards < content.shards:
        found.append(
            f"there are {shards} shards now and were {content.shards}: symbols cannot move, so"
            f" configure at least {content.shards} shards"
        )
    if gateways < content.gateways:
        found.append(
            f"gateway.count is {gateways} now and was {content.gateways}: sessions cannot move, so"
            f" set it to at least {content.gateways}"
        )
    places = {record.name: record.shard for record in content.symbols}
    for index, symbol in enumerate(config.symbols):
        place = places.get(symbol.name)
        if place is not None and symbol.shard is not None and symbol.shard != place:
            found.append(
                f"symbol {symbol.name} is on shard {place} and cannot move to {symbol.shard}: set"
                f" symbols[{index}].shard to {place}, or leave it out"
            )
    found.extend(_no_room(config, content))
    return found


def _no_room(config: Config, content: DirectoryContent) -> list[str]:
    """Return which tables are too small for all that has a number, those of before included."""
    records = missing(config, content)
    capacity = config.capacity
    new_symbols = sum(isinstance(record, SymbolRecord) for record in records)
    new_accounts = sum(isinstance(record, AccountRecord) for record in records)
    sessions = [record.number for record in records if isinstance(record, SessionRecord)]
    # The first row of sessions and of accounts stands for none; a row has 128 bytes of fields.
    needed = {
        "symbols": len(content.symbols) + new_symbols,
        "sessions": max(len(content.sessions), *sessions, 0) + 1,
        "accounts": max(len(content.accounts) + new_accounts, content.text_bytes // 128),
    }
    return [
        f"the data directory and the configuration need capacity.{name} of {count}, and it is"
        f" {getattr(capacity, name)}: set it to at least {count}, what had a number keeps it"
        for name, count in needed.items()
        if count > getattr(capacity, name)
    ]


def missing(config: Config, content: DirectoryContent) -> list[Record]:
    """Return what the directory does not say yet of what is configured."""
    records: list[Record] = []
    if not content.venue:
        records.append(VenueRecord(config.venue.name))
    shards, gateways = len(config.shards), config.gateway.count
    if (shards, gateways) != (content.shards, content.gateways):
        records.append(LayoutRecord(shards, gateways))
    firms = {name: record.number for name, record in content.firms.items()}
    accounts, sessions = len(content.accounts), len(content.sessions)
    for firm in config.firms:
        if firm.name not in firms:
            firms[firm.name] = len(firms) + 1
            records.append(FirmRecord(firms[firm.name], firm.name))
        for account in firm.accounts:
            if account not in content.account_numbers:
                records.append(AccountRecord(accounts, account))
                accounts += 1
        for session in firm.sessions:
            key = (session.protocol, session.session_profile, session.id)
            known = content.session_of(*key)
            if known is None:
                sessions += 1
                home = home_of(*key, gateways)
                known = SessionRecord(
                    sessions, session.protocol, session.id, session.session_profile, home, 0
                )
            if known.firm != firms[firm.name]:
                records.append(msgspec.structs.replace(known, firm=firms[firm.name]))
    records.extend(_missing_symbols(config, content))
    return records


def _missing_symbols(config: Config, content: DirectoryContent) -> list[Record]:
    records: list[Record] = []
    places = {record.name: record.shard for record in content.symbols}
    known = {record.key for record in content.symbols}
    for symbol in config.symbols:
        number = len(content.symbols) + len(records)
        shard = symbol.shard
        if shard is None:
            shard = places.get(symbol.name, number % len(config.shards))
        record = SymbolRecord(number, symbol.name, symbol.tick, symbol.lot, shard)
        if record.key not in known:
            records.append(record)
    return records


def register(config: Config, directory: Directory) -> None:
    """Give numbers to everything configured that has none.

    Raises:
        DirectoryError, OSError: the directory cannot be written.
    """
    if missing(config, directory.content):
        directory.append(lambda content: missing(config, content))


def resolve(config: Config, content: DirectoryContent) -> Config:
    """Return the configuration to run with, once it is registered.

    Its symbols stand at their numbers, each with its shard: `symbols[number]` and
    `shard_of(number)` hold. Doing it again changes nothing. `content` is what was read of the
    directory; what `register` will add is added to it, and to nothing else.

    Raises:
        ResolveError: the configuration does not go with what is on the disk.
    """
    found = refusals(config, content)
    if found:
        raise ResolveError(found)
    for record in missing(config, content):
        content.apply(record)
    return msgspec.structs.replace(config, symbols=_numbered(config, content))


def _numbered(config: Config, content: DirectoryContent) -> tuple[Symbol, ...]:
    configured = {
        SymbolRecord(0, symbol.name, symbol.tick, symbol.lot, 0).key: symbol
        for symbol in config.symbols
    }
    symbols = []
    for record in content.symbols:
        symbol = configured.get(record.key)
        if symbol is None:
            symbol = Symbol(name=record.name, tick=record.tick, lot=record.lot, listed=False)
        symbols.append(msgspec.structs.replace(symbol, shard=record.shard))
    return tuple(symbols)


def firm_numbers(config: Config, content: DirectoryContent) -> dict[str, int]:
    """Return the numbers of the firms configured, by name."""
    return {firm.name: content.firms[firm.name].number for firm in config.firms}


def account_firms(config: Config, content: DirectoryContent) -> dict[bytes, int]:
    """Return the firm's number of each account configured."""
    numbers = firm_numbers(config, content)
    return {
        account.encode(): numbers[firm.name] for firm in config.firms for account in firm.accounts
    }


def resting_refusals(config: Config, book: Book, shard: int) -> list[str]:
    """Return which symbols of a resolved configuration are not listed although orders rest there.

    `book` is the recovered one of `shard`.
    """
    found = []
    for number, symbol in enumerate(config.symbols):
        if symbol.listed or config.shard_of(number) != shard:
            continue
        orders = _resting(book, number)
        if not orders:
            continue
        again = next((s for s in config.symbols if s.listed and s.name == symbol.name), None)
        if again is None:
            found.append(
                f"symbol {symbol.name} is not listed any more, and {orders} orders rest in its"
                " book: list it again, and have them cancelled first, by their sessions or (DAY"
                f" orders) by: openoutcry admin day-end --symbol {symbol.name}"
            )
        else:
            found.append(
                f"symbol {symbol.name} has tick {again.tick} and lot {again.lot} now, and {orders}"
                f" orders rest at tick {symbol.tick} and lot {symbol.lot}: set these again, and"
                " have them cancelled first"
            )
    return found


def _resting(book: Book, symbol: int) -> int:
    """Return how many orders rest in a symbol's book."""
    if symbol >= book.symbol_capacity:
        return 0
    rows = np.zeros(book.level_capacity, DEPTH_LEVEL)
    count = 0
    for side in (Side.BUY, Side.SELL):
        levels = depth(book, symbol, side, rows)
        count += int(rows["orders"][:levels].sum())
    return count

"""A journal's trades and orders as columns, block by block, whatever its length.

They come from a replay, not from the report log: an archived journal of commands and one snapshot
is enough, and what a crash left short is whole.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openoutcry.engine.enums import (
    Liquidity,
    OrderStatus,
    OrderType,
    RejectReason,
    ReportKind,
    Side,
    TimeInForce,
)
from openoutcry.engine.records import NIL, SHARD_SHIFT
from openoutcry.server.journal_names import Names
from openoutcry.server.journal_records import average_of, identifier, name_of, text_of
from openoutcry.server.log_end import first_log_byte
from openoutcry.server.log_reader import CommandReader, find_start
from openoutcry.server.replica import FollowEnd, Replica
from openoutcry.server.report_check import BlockSink, unpack_block
from openoutcry.server.snapshots import SnapshotError, snapshots, verify_snapshot

#: Commands replayed before what came out is looked at.
_COMMANDS_AT_ONCE = 50_000
_LOW_48 = (1 << SHARD_SHIFT) - 1
_OPEN = (OrderStatus.NEW.value, OrderStatus.PARTIALLY_FILLED.value)

#: A block of columns: as many values in each, by name.
Columns = dict[str, list[Any]]

#: What columns hold, beside text: prices and quantities are decimals, times UTC nanoseconds.
DECIMALS = frozenset({"price", "qty", "cum_qty", "leaves_qty", "avg_px"})
TIMES = frozenset({"time", "entered", "finished"})

TRADE_COLUMNS = (
    *("trade_id", "time", "symbol", "price", "qty", "aggressor_side"),
    *("aggressor_order_id", "aggressor_cl_ord_id", "aggressor_account", "aggressor_session"),
    *("resting_order_id", "resting_cl_ord_id", "resting_account", "resting_session"),
)
ORDER_COLUMNS = (
    *("order_id", "cl_ord_id", "symbol", "side", "type", "tif", "price", "qty"),
    *("cum_qty", "leaves_qty", "avg_px", "status", "reason", "entered", "finished"),
    *("account", "session"),
)


class ExportError(Exception):
    """What cannot be exported; the text is for the operator."""


@dataclass(frozen=True)
class Wanted:
    """What is to be exported; None: any. Times are UTC ns, [first, stop)."""

    symbols: list[int] | None = None
    first_ns: int = 0
    stop_ns: int | None = None

    def is_late(self, times: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which times are in the range."""
        late: NDArray[np.bool_] = times >= self.first_ns
        return late if self.stop_ns is None else late & (times < self.stop_ns)

    def select(self, rows: NDArray[Any]) -> NDArray[np.bool_]:
        """Return which reports are of the symbols and the time."""
        found = self.is_late(rows["time_ns"])
        return found if self.symbols is None else found & np.isin(rows["symbol"], self.symbols)


class Source:
    """The replay of one shard's journal, as blocks of reports.

    Attributes:
        replica: whose book is the one behind the last block.
        notes: what the operator should know.
    """

    def __init__(self, folder: Path, shard: int, wanted: Wanted, *, is_late: bool) -> None:
        """Begin; `is_late`: what was before the time that is wanted need not be known."""
        self.shard = shard
        self.notes: list[str] = []
        self._stop_seq = None
        if wanted.stop_ns is not None:
            self._stop_seq = _last_before(folder, shard, wanted.stop_ns)
        start = self._start(folder, wanted.first_ns if is_late else 0)
        self.replica = Replica.open(folder, shard, snapshot=start or False)

    def _start(self, folder: Path, first_ns: int) -> Path | None:
        """Return the newest snapshot before a time, the oldest one where the log's beginning is
        gone, or None for the log's beginning."""
        first_byte = first_log_byte(folder, self.shard)
        oldest = None
        for path in snapshots(folder, self.shard):
            try:
                header = verify_snapshot(path)
            except SnapshotError:
                continue
            if header.log_bytes < first_byte:
                continue
            oldest = path
            if header.time_ns < first_ns:
                return path
        if first_byte == 0:
            return None
        if oldest is not None:
            self.notes.append(
                f"shard {self.shard}: the log's beginning is gone; what was before the oldest "
                f"snapshot ({oldest.name}) is exported only with the archive's segments beside the "
                "rest"
            )
        return oldest

    def blocks(self) -> Iterator[NDArray[Any]]:
        """Yield REPORT rows; the reports of a command are all in one block.

        Raises:
            RecoveryError: the log is damaged.
        """
        taken: list[NDArray[Any]] = []
        replica = self.replica
        sink = BlockSink(
            replica,
            lambda _, block: taken.append(unpack_block(block, self.shard, replica.base_ns)),
        )
        while True:
            result = replica.follow(
                max_commands=_COMMANDS_AT_ONCE, stop_seq=self._stop_seq, reports=sink
            )
            sink.flush()
            yield from taken
            taken.clear()
            if result.end != FollowEnd.LIMIT:
                break
        if result.end != FollowEnd.STOPPED:
            end = replica.find_end()
            if end.is_torn:
                self.notes.append(
                    f"shard {self.shard}: {end.dirty_end - end.position} bytes behind command "
                    f"{replica.seq} are no whole batch, and are left out"
                )

    def close(self) -> None:
        """Give the log's addresses back."""
        self.replica.close()


def _last_before(folder: Path, shard: int, time_ns: int) -> int:
    """Return the last command before a time; 0 where there is none."""
    last = 0
    with CommandReader(folder, shard, find_start(folder, shard)) as reader:
        for _, batches in reader.pieces():
            early = batches[batches["time_ns"] < time_ns]
            if len(early):
                last = int(early[-1]["seq"] + early[-1]["count"] - 1)
            if len(early) < len(batches):
                break
    return last


def trades(source: Source, names: Names, wanted: Wanted) -> Iterator[Columns]:
    """Yield the trades, one row each, in the order in which they happened."""
    for rows in source.blocks():
        is_first = (rows["kind"] == ReportKind.TRADE) & (
            rows["liquidity"] == Liquidity.REMOVED.value
        )
        first = np.flatnonzero(is_first & wanted.select(rows))
        if not len(first):
            continue
        # The resting order's report follows the aggressor's.
        aggressors, resting = rows[first], rows[first + 1]
        columns: Columns = {
            "trade_id": [identifier("T", number) for number in aggressors["trade_id"].tolist()],
            "time": aggressors["time_ns"].tolist(),
            "symbol": _symbols(aggressors["symbol"], names),
            "price": _prices(aggressors["symbol"], aggressors["last_px"], names),
            "qty": _qtys(aggressors["symbol"], aggressors["last_qty"], names),
            "aggressor_side": _named(Side, aggressors["side"]),
        }
        for label, side in (("aggressor", aggressors), ("resting", resting)):
            columns[f"{label}_order_id"] = [identifier("O", n) for n in side["order_id"].tolist()]
            columns[f"{label}_cl_ord_id"] = [text_of(n) for n in side["cl_ord_id"].tolist()]
            columns[f"{label}_account"] = _accounts(side["account"], names)
            columns[f"{label}_session"] = _sessions(side["session"], names)
        yield columns


def orders(source: Source, names: Names, wanted: Wanted) -> Iterator[Columns]:
    """Yield the orders, one row each: those that were finished or rejected, when that happened;
    then those that are open."""
    with tempfile.TemporaryFile(prefix="openoutcry-") as file:
        entered = _Times(file)
        for rows in source.blocks():
            new = rows[rows["kind"] == ReportKind.NEW]
            entered.note(new["order_id"] & _LOW_48, new["time_ns"])
            last = rows[_finishes(rows) & wanted.select(rows)]
            if len(last):
                is_rejected = last["order_id"] == 0
                began = entered.of(last["order_id"] & _LOW_48)
                began[is_rejected] = last["time_ns"][is_rejected]
                yield _order_columns(last, began, last["time_ns"], names, _own_ids(last))
        for rows in _open_orders(source.replica, wanted.symbols):
            began = entered.of(rows["order_id"] & _LOW_48)
            yield _order_columns(rows, began, np.zeros(len(rows), np.int64), names)


class _Times:
    """When orders were entered, by the low 48 bits of their identifiers: in a file of 8 bytes a
    command, of which only what is touched takes memory."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._times: NDArray[np.int64] = np.zeros(0, np.int64)

    def _reach(self, most: int) -> None:
        if most >= len(self._times):
            size = max(1 << 20, 2 * (most + 1))
            self._file.truncate(size * 8)
            self._times = np.memmap(self._file, np.int64, "r+", 0, size)

    def note(self, seqs: NDArray[np.int64], times: NDArray[np.int64]) -> None:
        """Take in what was entered."""
        if len(seqs):
            self._reach(int(seqs.max()))
            self._times[seqs] = times

    def of(self, seqs: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return when orders were entered, 0 where that was before the first report."""
        if len(seqs):
            self._reach(int(seqs.max()))
        return np.array(self._times[seqs])


def _finishes(rows: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which reports are the last of their order."""
    kind = rows["kind"]
    is_filled = (kind == ReportKind.TRADE) & (rows["leaves_qty"] == 0)
    is_gone = (kind == ReportKind.CANCELED) | (kind == ReportKind.EXPIRED)
    is_rejected = (kind == ReportKind.REJECTED) & (rows["session"] > 0)
    found: NDArray[np.bool_] = is_filled | is_gone | is_rejected
    return found


def _own_ids(rows: NDArray[Any]) -> list[bytes]:
    """Return the orders' own ClOrdIDs: an answer to a cancel has them second."""
    is_answer = (rows["kind"] == ReportKind.CANCELED) & (rows["orig_cl_ord_id"] != b"")
    return [
        second if other else first
        for first, second, other in zip(
            rows["cl_ord_id"].tolist(), rows["orig_cl_ord_id"].tolist(), is_answer, strict=True
        )
    ]


def _open_orders(replica: Replica, symbols: list[int] | None) -> Iterator[NDArray[Any]]:
    """Yield the open orders, with the fields of a report's row that are exported."""
    book = replica.book
    fresh = int(book.state[0]["detail_fresh"])
    for start in range(0, fresh, _COMMANDS_AT_ONCE):
        details = book.details[start : min(start + _COMMANDS_AT_ONCE, fresh)]
        is_open = np.isin(details["status"], _OPEN) & (details["order"] != NIL)
        is_open &= details["qty_lots"] > 0
        if symbols is not None:
            is_open &= np.isin(details["symbol"], symbols)
        found = details[is_open]
        if len(found):
            yield _with_leaves(found, book.orders["leaves_qty"][found["order"]])


def _with_leaves(details: NDArray[Any], leaves: NDArray[np.int64]) -> NDArray[Any]:
    fields = (
        *("order_id", "cl_ord_id", "symbol", "side", "ord_type", "tif", "price_ticks"),
        *("qty_lots", "cum_qty", "notional_lo", "notional_hi", "status", "account", "session"),
    )
    layout = [(name, details.dtype[name]) for name in fields]
    rows = np.zeros(len(details), [*layout, ("leaves_qty", "<i8"), ("reason", "<u2")])
    for name in fields:
        rows[name] = details[name]
    rows["leaves_qty"] = leaves
    return rows


def _order_columns(
    rows: NDArray[Any],
    entered: NDArray[np.int64],
    finished: NDArray[np.int64],
    names: Names,
    ids: list[bytes] | None = None,
) -> Columns:
    symbol = rows["symbol"]
    return {
        "order_id": [identifier("O", n) if n else None for n in rows["order_id"].tolist()],
        "cl_ord_id": [text_of(n) for n in ids or rows["cl_ord_id"].tolist()],
        "symbol": _symbols(symbol, names),
        "side": _named(Side, rows["side"]),
        "type": _named(OrderType, rows["ord_type"]),
        "tif": _named(TimeInForce, rows["tif"]),
        "price": [
            None if is_market else price
            for is_market, price in zip(
                (rows["ord_type"] == OrderType.MARKET).tolist(),
                _prices(symbol, rows["price_ticks"], names),
                strict=True,
            )
        ],
        "qty": _qtys(symbol, rows["qty_lots"], names),
        "cum_qty": _qtys(symbol, rows["cum_qty"], names),
        "leaves_qty": _qtys(symbol, rows["leaves_qty"], names),
        "avg_px": [average_of(row, names) if row["cum_qty"] > 0 else None for row in rows],
        "status": _named(OrderStatus, rows["status"]),
        "reason": [str(name_of(RejectReason, n)) if n else None for n in rows["reason"].tolist()],
        "entered": [n or None for n in entered.tolist()],
        "finished": [n or None for n in finished.tolist()],
        "account": _accounts(rows["account"], names),
        "session": _sessions(rows["session"], names),
    }


def _named(enum: Any, values: NDArray[Any]) -> list[str]:
    names = {member.value: member.name for member in enum}
    return [names.get(value, str(value)) for value in values.tolist()]


def _symbols(numbers: NDArray[Any], names: Names) -> list[str]:
    return [str(names.symbol(number)) for number in numbers.tolist()]


def _accounts(numbers: NDArray[Any], names: Names) -> list[str | None]:
    return [names.accounts.get(n, str(n)) if n else None for n in numbers.tolist()]


def _sessions(numbers: NDArray[Any], names: Names) -> list[str]:
    return [names.sessions.get(n, str(n)) for n in numbers.tolist()]


def _prices(symbols: NDArray[Any], ticks: NDArray[Any], names: Names) -> list[str]:
    """Return prices as decimal text, in ticks where no tick is known."""
    both = zip(symbols.tolist(), ticks.tolist(), strict=True)
    return [names.price(symbol, value) or str(value) for symbol, value in both]


def _qtys(symbols: NDArray[Any], lots: NDArray[Any], names: Names) -> list[str]:
    """Return quantities as decimal text, in lots where no lot is known."""
    both = zip(symbols.tolist(), lots.tolist(), strict=True)
    return [names.qty(symbol, value) or str(value) for symbol, value in both]


def day_of(text: str) -> tuple[int, int]:
    """Return the UTC day of an ISO date as [first ns, first ns of the next day).

    Raises:
        ExportError: it is none.
    """
    try:
        day = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise ExportError(f"{text!r} is no day: write it as 2026-01-31") from None
    first = int(day.timestamp()) * 1_000_000_000
    return first, first + 86_400 * 1_000_000_000

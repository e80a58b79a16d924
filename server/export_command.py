"""`openoutcry export DIR trades|orders`: a journal's trades or orders as CSV or Parquet."""

import csv
import importlib
import os
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol, TextIO

import click

from openoutcry.server.export_rows import (
    DECIMALS,
    ORDER_COLUMNS,
    TIMES,
    TRADE_COLUMNS,
    Columns,
    ExportError,
    Source,
    Wanted,
    day_of,
    orders,
    trades,
)
from openoutcry.server.journal_folder import (
    chosen_shards,
    folder_argument,
    read_names,
    shard_option,
    symbol_numbers,
)
from openoutcry.server.journal_names import instant
from openoutcry.server.log_end import RecoveryError
from openoutcry.server.snapshots import SnapshotError

#: Rows of a Parquet row group.
_GROUP_ROWS = 1 << 17


class Writer(Protocol):
    """Where rows go."""

    rows: int

    def write(self, columns: Columns) -> None:
        """Take a block of rows."""

    def close(self) -> None:
        """Finish the file."""


@click.command("export")
@folder_argument
@click.argument("what", metavar="trades|orders", type=click.Choice(["trades", "orders"]))
@click.option(
    "--format",
    "form",
    type=click.Choice(["csv", "parquet"]),
    help="By default as FILE ends, or csv.",
)
@click.option(
    "--out",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file to write; standard output by default.",
)
@click.option("--symbol", metavar="NAME", help="Only this symbol.")
@click.option(
    "--day", metavar="YYYY-MM-DD", help="Only this UTC day; open orders as they are at its end."
)
@shard_option("Only this shard; all by default.")
def export(
    folder: Path,
    what: str,
    form: str | None,
    out: Path | None,
    symbol: str | None,
    day: str | None,
    shard: int | None,
) -> None:
    """Write the trades or the orders in the journal of DIR, one row each.

    Trades come in the order in which they happened, shard by shard. An order's row tells how it
    ended, or how it stands; orders come as they ended, then those that are open. The commands are
    run again for this: DIR is only read, and a venue may be running there. Parquet needs pyarrow:
    pip install 'openoutcry[parquet]'.
    """
    if form is None:
        suffix = ".csv" if out is None else out.suffix
        if suffix not in {".csv", ".parquet"}:
            raise click.UsageError(f"{out} is neither .csv nor .parquet: choose with --format")
        form = suffix[1:]
    if out is not None and not out.absolute().parent.is_dir():
        raise click.UsageError(f"there is no directory {out.absolute().parent} for {out.name}")
    names = read_names(folder)
    shards = chosen_shards(folder, shard)
    try:
        span = (0, None) if day is None else day_of(day)
        wanted = Wanted(None if symbol is None else symbol_numbers(names, symbol), *span)
        has_units = bool(names.symbols)
        columns = TRADE_COLUMNS if what == "trades" else ORDER_COLUMNS
        writer = _open(form, out, columns, has_units)
        notes: list[str] = []
        try:
            for number in shards:
                source = Source(folder, number, wanted, is_late=what == "trades")
                try:
                    blocks = (trades if what == "trades" else orders)(source, names, wanted)
                    for block in blocks:
                        writer.write(block)
                finally:
                    source.close()
                notes += source.notes
            writer.close()
        except BaseException:
            if out is not None:
                _part(out).unlink(missing_ok=True)
            raise
        if out is not None:
            _part(out).replace(out)
    except (ExportError, RecoveryError, SnapshotError, OSError) as error:
        raise click.ClickException(str(error)) from None
    for note in notes:
        click.echo(note, err=True)
    if not has_units:
        click.echo("no directory.log: prices are in ticks, quantities in lots", err=True)
    where = "standard output" if out is None else str(out)
    click.echo(f"{writer.rows:,} {what} written to {where}", err=True)


def _part(out: Path) -> Path:
    """Return the name under which a file is written until it is whole."""
    return out.with_name(out.name + ".part")


def _open(form: str, out: Path | None, columns: tuple[str, ...], has_units: bool) -> Writer:
    """Begin a file.

    Raises:
        ExportError: it cannot be written in this format.
    """
    if form == "csv":
        file = sys.stdout if out is None else _part(out).open("w", encoding="utf-8", newline="")
        return _CsvWriter(file, columns, has_units)
    if out is None:
        raise ExportError("Parquet is written to a file: name it with --out FILE")
    try:
        return _ParquetWriter(_part(out), columns, has_units)
    except ImportError:
        raise ExportError(
            "Parquet needs pyarrow, which is not installed: pip install 'openoutcry[parquet]'"
        ) from None


def _titles(columns: tuple[str, ...], has_units: bool) -> list[str]:
    """Return the columns' names; without a directory they say that they are in ticks or lots."""
    if has_units:
        return list(columns)
    units = {"price": "price_ticks", "avg_px": "avg_px_ticks"}
    return [units.get(name, f"{name}_lots" if name in DECIMALS else name) for name in columns]


class _CsvWriter:
    """CSV as RFC 4180 has it, with LF at the ends of lines and a line of names."""

    def __init__(self, file: TextIO, columns: tuple[str, ...], has_units: bool) -> None:
        self.rows = 0
        self._file = file
        self._columns = columns
        self._csv = csv.writer(file, lineterminator="\n")
        self._csv.writerow(_titles(columns, has_units))

    def write(self, columns: Columns) -> None:
        """Take a block of rows."""
        values = [
            [None if time is None else instant(time) for time in columns[name]]
            if name in TIMES
            else columns[name]
            for name in self._columns
        ]
        self._csv.writerows(zip(*values, strict=True))
        self.rows += len(values[0])

    def close(self) -> None:
        """Finish the file."""
        self._file.flush()
        if self._file is not sys.stdout:
            os.fsync(self._file.fileno())
            self._file.close()


class _ParquetWriter:
    """Parquet: prices and quantities are decimal128(38, 12), times are timestamps in ns, UTC."""

    def __init__(self, path: Path, columns: tuple[str, ...], has_units: bool) -> None:
        self._arrow: Any = importlib.import_module("pyarrow")
        parquet: Any = importlib.import_module("pyarrow.parquet")
        arrow = self._arrow
        self.rows = 0
        self._columns = columns
        self._types = {name: self._type(name, has_units) for name in columns}
        self._has_units = has_units
        titles = _titles(columns, has_units)
        self._schema = arrow.schema(
            [(title, self._types[name]) for title, name in zip(titles, columns, strict=True)]
        )
        self._writer = parquet.ParquetWriter(str(path), self._schema, compression="zstd")
        self._waiting: dict[str, list[Any]] = {name: [] for name in columns}

    def _type(self, name: str, has_units: bool) -> Any:
        arrow = self._arrow
        if name in TIMES:
            return arrow.timestamp("ns", tz="UTC")
        if name not in DECIMALS:
            return arrow.string()
        return arrow.decimal128(38, 12) if has_units else arrow.int64()

    def write(self, columns: Columns) -> None:
        """Take a block of rows."""
        for name in self._columns:
            self._waiting[name] += columns[name]
        self.rows += len(columns[self._columns[0]])
        if len(self._waiting[self._columns[0]]) >= _GROUP_ROWS:
            self._flush()

    def _flush(self) -> None:
        arrow = self._arrow
        arrays = [
            arrow.array(list(self._values(name)), type=self._types[name]) for name in self._columns
        ]
        self._writer.write_table(arrow.Table.from_arrays(arrays, schema=self._schema))
        for values in self._waiting.values():
            values.clear()

    def _values(self, name: str) -> Iterator[Any]:
        convert: Any = None
        if name in DECIMALS:
            convert = Decimal if self._has_units else int
        for value in self._waiting[name]:
            yield value if value is None or convert is None else convert(value)

    def close(self) -> None:
        """Finish the file."""
        self._flush()
        self._writer.close()

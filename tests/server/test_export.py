"""`openoutcry export`: trades and orders of a journal, told independently from its reports."""

import csv
import io
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from support.journal_folder import Journal, write_journal

from openoutcry.engine.enums import Liquidity, OrderStatus, ReportKind, Side
from openoutcry.server.directory import (
    AccountRecord,
    Directory,
    FirmRecord,
    LayoutRecord,
    SessionRecord,
    SymbolRecord,
    VenueRecord,
)
from openoutcry.server.export_rows import ORDER_COLUMNS, TRADE_COLUMNS
from openoutcry.server.main import main

TICK, LOT = Decimal("0.05"), Decimal("0.001")
NAMES = {0: "AAA", 1: "BBB"}


def run(*args: object, status: int = 0) -> Result:
    result = CliRunner().invoke(main, ["export", *map(str, args)])
    assert result.exit_code == status, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def table(*args: object) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(run(*args).stdout)))


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Journal:
    """A journal that no test changes."""
    made = write_journal(tmp_path_factory.mktemp("journal"), 1_500)
    directory = Directory(made.folder)
    directory.append(
        lambda _: [
            VenueRecord("test"),
            LayoutRecord(1, 1),
            FirmRecord(1, "alpha"),
            *(AccountRecord(n, f"A{n}") for n in range(1, 9)),
            SessionRecord(1, "fix", "ONE", "FIX.4.2", 0, 1),
            SessionRecord(2, "fix", "ONE", "FIX.4.4", 0, 1),
            *(SymbolRecord(n, name, "0.05", "0.001", 0) for n, name in NAMES.items()),
        ]
    )
    directory.close()
    return made


def order_id(number: int) -> str:
    return f"O{number >> 48}-{number & (1 << 48) - 1}"


def told_trades(journal: Journal) -> Iterator[dict[str, Any]]:
    """Tell the trades from the reports, two by two."""
    halves: dict[int, Any] = {}
    for row in journal.expected.rows():
        if row["kind"] != ReportKind.TRADE:
            continue
        other = halves.pop(int(row["trade_id"]), None)
        if other is None:
            halves[int(row["trade_id"])] = row.copy()
            continue
        aggressor, resting = (
            (other, row) if other["liquidity"] == Liquidity.REMOVED.value else (row, other)
        )
        yield {
            "symbol": NAMES[int(row["symbol"])],
            "price": int(row["last_px"]) * TICK,
            "qty": int(row["last_qty"]) * LOT,
            "aggressor_side": Side(aggressor["side"]).name,
            "aggressor_order_id": order_id(int(aggressor["order_id"])),
            "resting_order_id": order_id(int(resting["order_id"])),
            "resting_cl_ord_id": resting["cl_ord_id"].decode(),
            "aggressor_account": f"A{aggressor['account']}" if aggressor["account"] else "",
        }
    assert not halves


def told_orders(journal: Journal) -> dict[str, dict[str, Any]]:
    """Tell how each order stands from its reports, one after another."""
    found: dict[str, dict[str, Any]] = {}
    for row in journal.expected.rows():
        kind = ReportKind(int(row["kind"])) if row["kind"] else None
        if kind not in {
            *(ReportKind.NEW, ReportKind.TRADE, ReportKind.REPLACED),
            *(ReportKind.CANCELED, ReportKind.EXPIRED),
        }:
            continue
        order = found.setdefault(order_id(int(row["order_id"])), {"notional": 0})
        order["status"] = OrderStatus(int(row["status"])).name
        order["cum_qty"], order["leaves_qty"] = row["cum_qty"] * LOT, row["leaves_qty"] * LOT
        order["qty"] = int(row["qty_lots"]) * LOT
        order["price"] = int(row["price_ticks"]) * TICK
        order["last"] = int(row["time_ns"])
        if kind in {ReportKind.NEW, ReportKind.REPLACED}:
            order["cl_ord_id"] = row["cl_ord_id"].decode()
        if kind == ReportKind.NEW:
            order["entered"] = int(row["time_ns"])
        if kind == ReportKind.TRADE:
            order["notional"] += int(row["last_px"]) * int(row["last_qty"])
            order["average"] = Fraction(order["notional"], int(row["cum_qty"])) * Fraction(TICK)
    return found


def time_ns(text: str) -> int:
    whole, _, rest = text.removesuffix("Z").partition(".")
    moment = datetime.fromisoformat(whole).replace(tzinfo=UTC)
    return int(moment.timestamp()) * 10**9 + int(rest)


def test_trades(journal: Journal):
    rows, told = table(journal.folder, "trades"), list(told_trades(journal))
    assert tuple(rows[0]) == TRADE_COLUMNS
    assert len(rows) == len(told) > 100
    for row, trade in zip(rows, told, strict=True):
        shown = {name: row[name] for name in trade}
        assert shown | {"price": Decimal(row["price"]), "qty": Decimal(row["qty"])} == trade
        assert row["price"].count(".") == 1
    assert len({row["trade_id"] for row in rows}) == len(rows)
    assert {row["aggressor_session"] for row in rows} <= {"FIX.4.2:ONE", "FIX.4.4:ONE"}


def test_orders(journal: Journal):
    rows, told = table(journal.folder, "orders"), told_orders(journal)
    assert tuple(rows[0]) == ORDER_COLUMNS
    rejected = [row for row in rows if row["status"] == "REJECTED"]
    others = [row for row in rows if row["status"] != "REJECTED"]
    assert {row["order_id"] for row in others} == set(told)
    assert len(others) == len(told)
    statuses = set()
    for row in others:
        order = told[row["order_id"]]
        statuses.add(row["status"])
        for name in ("status", "cl_ord_id"):
            assert row[name] == order[name], row
        for name in ("qty", "cum_qty"):
            assert Decimal(row[name]) == order[name], row
        if row["type"] == "MARKET":
            assert row["price"] == ""
        else:
            assert Decimal(row["price"]) == order["price"], row
        is_open = row["status"] in {"NEW", "PARTIALLY_FILLED"}
        assert Decimal(row["leaves_qty"]) == (order["leaves_qty"] if is_open else 0)
        assert time_ns(row["entered"]) == order["entered"]
        assert (row["finished"] == "") == is_open
        if not is_open:
            assert time_ns(row["finished"]) == order["last"]
        if order["cum_qty"]:
            error = abs(Fraction(Decimal(row["avg_px"])) - order["average"])
            assert error <= Fraction(1, 2 * 10**8)
        else:
            assert row["avg_px"] == ""
    assert statuses >= {"NEW", "PARTIALLY_FILLED", "FILLED", "CANCELED"}
    count = sum(row["kind"] == ReportKind.REJECTED for row in journal.expected.rows())
    assert len(rejected) == count > 0
    assert all(row["reason"] and not row["order_id"] for row in rejected)


def test_a_symbol_and_a_day(journal: Journal, tmp_path: Path):
    rows = table(journal.folder, "orders")
    some = table(journal.folder, "orders", "--symbol", "BBB")
    assert some == [row for row in rows if row["symbol"] == "BBB"]
    day = rows[0]["entered"][:10]
    assert table(journal.folder, "orders", "--day", day) == rows
    assert table(journal.folder, "trades", "--day", "2020-02-29") == []
    assert table(journal.folder, "orders", "--day", "2020-02-29") == []
    # After the day, only what is open stands.
    later = table(journal.folder, "orders", "--day", "2030-01-01")
    assert later == [row for row in rows if row["finished"] == ""]
    assert (
        "write it as 2026-01-31"
        in run(journal.folder, "trades", "--day", "31.1.26", status=1).stderr
    )


def test_without_a_directory_it_is_ticks_and_lots(tmp_path: Path):
    made = write_journal(tmp_path / "plain", 300)
    result = run(made.folder, "trades")
    assert "prices are in ticks" in result.stderr
    row = next(csv.DictReader(io.StringIO(result.stdout)))
    assert {"price_ticks", "qty_lots"} <= set(row)


def test_a_late_journal_begins_with_its_snapshot(tmp_path: Path):
    made = write_journal(tmp_path / "late", 1_000)
    rows = table(made.folder, "trades")
    (made.folder / "shard-0-commands-00000000.seg").unlink()
    result = run(made.folder, "trades")
    late = list(csv.DictReader(io.StringIO(result.stdout)))
    assert late == rows[-len(late) :]
    assert 0 < len(late) < len(rows)
    assert "the log's beginning is gone" in result.stderr
    # Orders that were open in the snapshot are there, without their time of entry.
    orders = table(made.folder, "orders")
    assert any(row["entered"] == "" for row in orders)


def test_parquet(journal: Journal, tmp_path: Path):
    parquet = pytest.importorskip(
        "pyarrow.parquet", reason="pyarrow is not installed (the extra parquet)"
    )
    for what in ("trades", "orders"):
        path = tmp_path / f"{what}.parquet"
        run(journal.folder, what, "--out", path)
        found = parquet.read_table(path)
        rows = table(journal.folder, what)
        assert found.num_rows == len(rows)
        for name in found.column_names:
            kind = str(found.schema.field(name).type)
            values = [row[name] or None for row in rows]
            if kind.startswith("decimal"):
                wanted = [None if value is None else Decimal(value) for value in values]
                assert found[name].to_pylist() == wanted
            elif kind.startswith("timestamp"):
                assert kind == "timestamp[ns, tz=UTC]"
                numbers = found[name].cast("int64").to_pylist()
                assert numbers == [None if value is None else time_ns(value) for value in values]
            else:
                assert found[name].to_pylist() == values
    assert [path.name for path in tmp_path.glob("*.part")] == []


def test_mistakes_get_a_sentence(journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    text = run(journal.folder, "trades", "--format", "parquet", status=1).stderr
    assert "name it with --out" in text
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    out = tmp_path / "t.parquet"
    text = run(journal.folder, "trades", "--out", out, status=1).stderr
    assert "pip install 'openoutcry[parquet]'" in text
    assert not list(tmp_path.iterdir())
    missing = tmp_path / "no" / "t.csv"
    text = run(journal.folder, "trades", "--out", missing, status=2).stderr
    assert f"no directory {missing.parent}" in text
    text = run(journal.folder, "trades", "--out", tmp_path / "t.xlsx", status=2).stderr
    assert "choose with --format" in text
    run(journal.folder, "trades", "--format", "csv", "--out", tmp_path / "t.txt")

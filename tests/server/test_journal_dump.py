"""`openoutcry journal dump`: every command in readable form, filters, reports."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from support.journal_folder import Journal, write_journal

from openoutcry.engine.enums import CommandKind, ReportKind
from openoutcry.server.main import main


def run(*args: object, status: int = 0) -> Result:
    result = CliRunner().invoke(main, ["journal", "dump", *map(str, args)])
    assert result.exit_code == status, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def lines(*args: object) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run(*args, "--json").stdout.splitlines()]


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Journal:
    """A journal that no test changes."""
    return write_journal(tmp_path_factory.mktemp("journal"))


def test_every_command_is_shown_once_and_in_order(journal: Journal):
    shown = lines(journal.folder)
    assert [line["seq"] for line in shown] == journal.commands["seq"].tolist()
    names = {kind.value: kind.name for kind in CommandKind}
    kinds = journal.commands["kind"].tolist()
    assert [line["kind"] for line in shown] == [names.get(kind, kind) for kind in kinds]
    assert [line["time_ns"] for line in shown] == journal.commands["time_ns"].tolist()
    assert {line["epoch"] for line in shown} == {1, 2}
    # Each is shown with the place of its batch.
    starts = [0, *journal.ends]
    for line in shown:
        batch = next(n for n, last in enumerate(journal.seqs) if line["seq"] <= last)
        assert line["offset"] == starts[batch]


def test_fields_are_those_of_the_command(journal: Journal):
    for line, command in zip(lines(journal.folder), journal.commands, strict=True):
        if line["kind"] != "NEW":
            continue
        assert line["session"] == command["session"]
        assert line["inbound_seq"] == command["inbound_seq"]
        assert line.get("account", 0) == command["account"]
        # A market order has no price.
        price = None if line["type"] == "MARKET" else command["price_ticks"]
        assert line.get("price_ticks") == price
        assert line["qty_lots"] == command["qty_lots"]


@pytest.mark.parametrize(
    ("option", "field"),
    [("--symbol", "symbol"), ("--account", "account"), ("--session", "session")],
)
def test_a_filter_lets_through_what_has_the_number(journal: Journal, option: str, field: str):
    values = set(journal.commands[field].tolist()) - {-1}
    for value in values:
        shown = [line["seq"] for line in lines(journal.folder, option, value)]
        wanted = journal.commands["seq"][journal.commands[field] == value]
        assert shown == wanted.tolist()


def test_a_range_and_a_cl_ord_id(journal: Journal):
    assert [line["seq"] for line in lines(journal.folder, "--from", 500, "--to", 512)] == list(
        range(500, 513)
    )
    name = next(row["cl_ord_id"] for row in journal.commands if row["cl_ord_id"])
    shown = [line["seq"] for line in lines(journal.folder, "--cl-ord-id", name.decode("ascii"))]
    commands = journal.commands
    is_named = (commands["cl_ord_id"] == name) | (commands["orig_cl_ord_id"] == name)
    assert shown == commands["seq"][is_named].tolist()
    assert len(shown) > 1


def test_nothing_to_show_is_said(journal: Journal):
    last = journal.seqs[-1]
    assert run(journal.folder, "--from", last).stderr == ""
    for options in (("--from", last + 1), ("--from", last + 1, "--to", last + 9)):
        shown = run(journal.folder, *options)
        assert shown.stdout == ""
        assert shown.stderr.splitlines() == [
            f"shard 0: the log ends with command {last}",
            "no command is what was asked for",
        ]
    shown = run(journal.folder, "--cl-ord-id", "nobody's")
    assert (shown.stdout, shown.stderr) == ("", "no command is what was asked for\n")


def test_the_reports_stand_below_their_command(journal: Journal):
    rows = journal.expected.rows()
    shown = lines(journal.folder, "--reports")
    flat = [report for line in shown for report in line["reports"]]
    assert [report["report_seq"] for report in flat] == rows["report_seq"].tolist()
    assert [report["kind"] for report in flat] == [ReportKind(kind).name for kind in rows["kind"]]
    for line in shown:
        assert all(report["seq"] == line["seq"] for report in line["reports"])
    some = lines(journal.folder, "--reports", "--from", 700, "--to", 730, "--session", 1)
    assert some == [
        line for line in shown if 700 <= line["seq"] <= 730 and line.get("session") == 1
    ]
    text = run(journal.folder, "--reports").stdout
    assert len(text.splitlines()) == len(shown) + len(flat)


def test_early_segments_may_be_in_the_archive(journal: Journal, tmp_path: Path):
    folder = tmp_path / "late"
    shutil.copytree(journal.folder, folder)
    for name in ("commands", "reports"):
        (folder / f"shard-0-{name}-00000000.seg").unlink()
    result = run(folder, "--json", "--reports")
    late = [json.loads(line) for line in result.stdout.splitlines()]
    assert "the log begins behind command" in result.stderr
    assert late == lines(journal.folder, "--reports")[-len(late) :]
    assert len(late) > 100


def test_a_torn_tail_is_told_of_and_damage_ends_it(journal: Journal, tmp_path: Path):
    folder = tmp_path / "torn"
    shutil.copytree(journal.folder, folder)
    segments = sorted(folder.glob("shard-0-commands-*.seg"))
    size = segments[0].stat().st_size - 4096
    last = journal.ends[-2] + 24
    with (folder / f"shard-0-commands-{last // size:08d}.seg").open("r+b") as file:
        file.seek(4096 + last % size)
        file.write(b"\xff")
    result = run(folder, "--json")
    assert len(result.stdout.splitlines()) == journal.seqs[-2]
    assert f"behind command {journal.seqs[-2]}" in result.stderr
    assert "no whole batch" in result.stderr
    middle = journal.ends[5] + 24
    with (folder / f"shard-0-commands-{middle // size:08d}.seg").open("r+b") as file:
        file.seek(4096 + middle % size)
        file.write(b"\xff")
    result = run(folder, "--json", status=1)
    assert len(result.stdout.splitlines()) == journal.seqs[5]
    assert f"damaged at byte {4096 + journal.ends[5] % size}" in result.stderr
    assert "restore the file from a backup" in result.stderr


def test_mistakes_get_a_sentence(journal: Journal, tmp_path: Path):
    assert "holds no journal" in run(tmp_path, status=1).stderr
    assert "nothing of shard 7" in run(journal.folder, "--shard", 7, status=1).stderr
    wrong = run(journal.folder, "--symbol", "NOPE", status=1).stderr
    assert "symbol 'NOPE' is not in the directory" in wrong
    assert "1 to 36" in run(journal.folder, "--cl-ord-id", "x" * 37, status=2).stderr

"""`openoutcry replay`: what comes out is what was written, or is told of."""

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from support.damage import flip
from support.journal_folder import Journal, write_journal

from openoutcry.engine.enums import CommandKind, ReportKind, Side
from openoutcry.engine.log import MAX_BATCH_COMMANDS
from openoutcry.server import log_reader
from openoutcry.server.main import main
from openoutcry.server.replica import Replica


def run(*args: object, status: int = 0) -> Result:
    result = CliRunner().invoke(main, ["replay", *map(str, args)])
    assert result.exit_code == status, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def record(*args: object, status: int = 0) -> dict[str, Any]:
    (line,) = run(*args, "--json", status=status).stdout.splitlines()
    found: dict[str, Any] = json.loads(line)
    return found


def hashed(value: int) -> str:
    return f"{value & (1 << 64) - 1:016x}"


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Journal:
    """A journal that no test changes."""
    return write_journal(tmp_path_factory.mktemp("journal"))


@pytest.fixture
def copied(journal: Journal, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(journal.folder, tmp_path / "copy"))


def test_the_log_and_its_reports_are_the_same(journal: Journal):
    found = record(journal.folder, "--verify")
    expected = journal.expected
    assert found["commands"] == found["seq"] == len(journal.commands)
    assert found["reports"] == found["report_seq"] == expected.report_seq
    assert found["state_hash"] == hashed(expected.hashes[-1])
    assert (found["log_bytes"], found["report_bytes"]) == (journal.ends[-1], journal.report_bytes)
    verified = found["verified"]
    assert verified["reports"] == expected.report_seq
    assert [each["is_same"] for each in verified["snapshots"]] == [True, True]
    assert found["notes"] == []


def test_from_a_snapshot_it_is_the_same_again(journal: Journal):
    found = record(journal.folder, "--verify", "--from-snapshot")
    assert found["from_snapshot"] > 700
    assert found["commands"] == len(journal.commands) - found["from_snapshot"]
    assert found["state_hash"] == hashed(journal.expected.hashes[-1])


def test_without_the_first_segments_it_begins_with_the_oldest_snapshot(copied, journal):
    (copied / "shard-0-commands-00000000.seg").unlink()
    found = record(copied, "--verify")
    assert 300 < found["from_snapshot"] < 500
    assert found["state_hash"] == hashed(journal.expected.hashes[-1])
    for path in copied.glob("*.snap"):
        path.unlink()
    assert "no good snapshot tells what was before" in run(copied, status=1).stderr


@pytest.mark.parametrize("seq", [1, 4, 23, 333, 900])
def test_it_stops_behind_a_command(journal: Journal, seq: int):
    found = record(journal.folder, "--to", seq, "--verify")
    assert found["seq"] == seq
    assert found["state_hash"] == hashed(journal.expected.hashes[seq - 1])
    assert found["report_seq"] == sum(len(rows) for rows in journal.expected.reports[:seq])


def test_the_book_is_shown_as_it_was(journal: Journal):
    replica = Replica.open(journal.folder, 0, snapshot=False)
    replica.follow(stop_seq=600)
    found = record(journal.folder, "--to", 600, "--book", 1, "--levels", 1000)["book"]
    book, wanted = replica.book, {Side.BUY: Counter[int](), Side.SELL: Counter[int]()}
    count = {Side.BUY: Counter[int](), Side.SELL: Counter[int]()}
    for detail in book.details:
        if detail["status"] in {0, 1} and detail["qty_lots"] and detail["symbol"] == 1:
            side, price = Side(detail["side"]), int(detail["price_ticks"])
            wanted[side][price] += int(book.orders[detail["order"]]["leaves_qty"])
            count[side][price] += 1
    for key, side in (("bids", Side.BUY), ("asks", Side.SELL)):
        prices = sorted(wanted[side], reverse=side == Side.BUY)
        assert [(each["price"], each["qty"], each["orders"]) for each in found[key]] == [
            (f"{price} ticks", f"{wanted[side][price]} lots", count[side][price])
            for price in prices
        ]
        assert prices
    replica.close()
    text = run(journal.folder, "--to", 600, "--book", 1).stdout
    assert "book of 1 behind command 600" in text
    assert found["bids"][0]["price"] in text
    assert "has a symbol '55'" in run(journal.folder, "--book", 55, status=1).stderr


def test_the_book_that_an_order_met(journal: Journal):
    commands = journal.commands
    names, counts = np.unique(commands["cl_ord_id"], return_counts=True)
    once = {bytes(name) for name, count in zip(names, counts, strict=True) if count == 1 and name}
    is_rejected = {
        int(row["seq"]) for row in journal.expected.rows() if row["kind"] == ReportKind.REJECTED
    }
    command = next(
        row
        for row in commands
        if bytes(row["cl_ord_id"]) in once
        and row["kind"] == CommandKind.NEW
        and int(row["seq"]) in is_rejected
    )
    name, seq = bytes(command["cl_ord_id"]).decode("ascii"), int(command["seq"])
    found = record(journal.folder, "--to-order", name, "--book", 0)
    assert found["seq"] == seq - 1
    assert found["state_hash"] == hashed(journal.expected.hashes[seq - 2])
    assert found["order"]["command"]["seq"] == seq
    (report,) = found["order"]["reports"]
    assert (report["kind"], report["seq"]) == ("REJECTED", seq)
    assert "reason" in report
    text = run(journal.folder, "--to-order", name).stdout
    assert f"ClOrdID {name} is command {seq} of shard 0" in text
    twice = bytes(names[np.argmax(counts * (names != b""))]).decode("ascii")
    assert "times: shard 0, command" in run(journal.folder, "--to-order", twice, status=1).stderr
    missing = run(journal.folder, "--to-order", "never-sent", status=1).stderr
    assert "no order, replace or cancel with ClOrdID 'never-sent'" in missing


def test_a_changed_report_is_named(journal: Journal, copied: Path):
    rows = journal.expected.rows()
    place = len(journal.expected.packed()) // 2 + 64
    flip(copied, "shard-0-reports", place, 0x01)
    found = record(copied, "--verify", status=1)
    difference = found["verified"]["difference"]
    assert difference["position"] <= place < difference["position"] + 204
    n = found["verified"]["reports"]
    assert difference["replay"]["report_seq"] == rows["report_seq"][n]
    assert difference["command"]["seq"] == rows["seq"][n] == difference["replay"]["seq"]
    assert found["state_hash"] == hashed(journal.expected.hashes[-1])
    text = run(copied, "--verify", status=1).stdout
    assert "differs from the report log at byte" in text
    assert "replay: E0-" in text
    assert "log:    " in text


def test_a_short_report_log_is_no_damage(journal: Journal, copied: Path):
    size = 16 << 10
    index = journal.report_bytes // size
    last = copied / f"shard-0-reports-{index:08d}.seg"
    last.write_bytes(last.read_bytes()[:4096] + bytes(size))
    found = record(copied, "--verify")
    assert found["verified"]["report_log_ends_at"] < journal.report_bytes
    assert found["verified"]["reports"] < journal.expected.report_seq
    for path in copied.glob("shard-0-reports-*.seg"):
        if path >= last:
            path.unlink()
    again = record(copied, "--verify")["verified"]
    assert again["report_log_ends_at"] == found["verified"]["report_log_ends_at"]


def test_a_snapshot_of_another_state_is_named(journal: Journal, copied: Path):
    other = write_journal(copied.parent / "other", seed=2)
    # The file of the other journal, of the same command, has good checksums.
    for path in copied.glob("*.snap"):
        path.unlink()
    shutil.copy(other.snapshots[0], copied)
    found = record(copied, "--verify", status=1)
    assert [each["is_same"] for each in found["verified"]["snapshots"]] == [False]
    assert "remove that snapshot" in found["notes"][0]


def test_damage_and_a_torn_tail(journal: Journal, copied: Path):
    flip(copied, "shard-0-commands", journal.ends[-2] + 30)
    found = record(copied)
    assert found["seq"] == journal.seqs[-2]
    assert found["torn_bytes"] > 0
    flip(copied, "shard-0-commands", journal.ends[3] + 30)
    assert "is damaged at byte" in run(copied, status=1).stderr
    # What lies before the snapshot is not looked at.
    assert record(copied, "--from-snapshot")["seq"] == journal.seqs[-2]


def test_the_longer_log_is_read_to_its_end(
    journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    # A piece has room for no more than one batch, whatever its size.
    monkeypatch.setattr(log_reader, "_ROWS", MAX_BATCH_COMMANDS)
    shorter = write_journal(tmp_path / "shorter", snapshots_at=())
    for path in sorted(shorter.folder.glob("shard-0-*-0000000[1-9].seg")):
        path.unlink()
    last = [record(each.folder, "--verify")["seq"] for each in (journal, shorter)]
    assert 1 < last[1] < last[0]
    for folders in ((journal, shorter), (shorter, journal)):
        found = record(folders[0].folder, "--diff", folders[1].folder)
        assert found["last_commands"] == (last if folders[0] is journal else last[::-1])


def test_the_first_command_that_differs_is_named(journal: Journal, tmp_path: Path):
    assert "are the same" in run(journal.folder, "--diff", journal.folder).stdout
    shorter = write_journal(tmp_path / "shorter", snapshots_at=())
    for path in sorted(shorter.folder.glob("shard-0-*-0000000[3-9].seg")):
        path.unlink()
    found = record(journal.folder, "--diff", shorter.folder)
    assert found["differs"] is None
    assert found["last_commands"][0] > found["last_commands"][1] == found["number"]
    assert "this journal goes on" in run(journal.folder, "--diff", shorter.folder).stdout
    other = write_journal(tmp_path / "other", seed=2)
    found = record(journal.folder, "--diff", other.folder, status=1)
    ours, theirs = journal.commands, other.commands
    first = next(
        n for n in range(len(ours)) if ours[n].tobytes()[8:176] != theirs[n].tobytes()[8:176]
    )
    assert (found["differs"], found["number"]) == ("command", first + 1)
    assert found["this"]["seq"] == found["other"]["seq"] == first + 1
    assert found["this"] != found["other"]
    text = run(journal.folder, "--diff", other.folder, status=1).stdout
    assert f"command {first + 1} is the first that differs" in text
    assert "this: " in text


def test_damage_is_no_end_of_a_log(journal: Journal, copied: Path):
    flip(copied, "shard-0-commands", journal.ends[3] + 30)
    for ours, theirs in ((journal.folder, copied), (copied, journal.folder), (copied, copied)):
        found = run(ours, "--diff", theirs, status=1)
        assert f"{copied}/shard-0-commands-00000000.seg is damaged at byte" in found.stderr


def test_the_first_report_that_differs_is_named(journal: Journal, copied: Path):
    # Bit 0 of an order's price, whose packed word lies behind the lengths and four other words.
    packed, rows = journal.expected.packed(), journal.expected.rows()
    at, n = 0, 0
    while not (n > 700 and rows["price_ticks"][n] > 1):
        lengths = int.from_bytes(packed[at : at + 12], "little")
        at += 12 + sum(lengths >> 4 * word & 15 for word in range(24))
        n += 1
    lengths = int.from_bytes(packed[at : at + 8], "little")
    flip(copied, "shard-0-reports", 64 + at + 12 + sum(lengths >> 4 * w & 15 for w in range(4)), 1)
    found = record(journal.folder, "--diff", copied, status=1)
    assert (found["differs"], found["number"]) == ("report", n + 1)
    assert found["this"]["price_ticks"] ^ 1 == found["other"]["price_ticks"]
    assert found["reports_compared"] == n
    text = run(journal.folder, "--diff", copied, status=1).stdout
    assert f"report {n + 1} is the first that differs" in text
    assert f"both of command {rows['seq'][n]}" in text


def test_mistakes_get_a_sentence(journal: Journal, tmp_path: Path):
    assert "give one" in run(journal.folder, "--to", 3, "--to-order", "x", status=2).stderr
    assert (
        "replays none" in run(journal.folder, "--diff", journal.folder, "--verify", status=2).stderr
    )
    two = write_journal(tmp_path / "two", 100)
    write_journal(two.folder, 100, shard=1)
    assert "--to needs --shard" in run(two.folder, "--to", 3, status=2).stderr
    shown = run(two.folder, "--json").stdout.splitlines()
    assert [json.loads(line)["shard"] for line in shown] == [0, 1]

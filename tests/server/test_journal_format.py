"""docs/journal.md is right: a reader written from the page alone reads what the product writes."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from oracle import journal as oracle
from support.journal_folder import Journal, write_journal

from openoutcry.engine.records import REPORT
from openoutcry.server.checkpoint import Checkpoint, CheckpointFile
from openoutcry.server.directory import Directory, FirmRecord, LayoutRecord, VenueRecord
from openoutcry.server.replica import Replica
from openoutcry.server.segments import SegmentHeader
from openoutcry.server.sessions import stored_record
from openoutcry.server.snapshots import read_header

SHARD = 3


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Journal:
    """A journal that no test changes."""
    return write_journal(tmp_path_factory.mktemp("journal"), 600, shard=SHARD, synced=True)


def plain(row: Any) -> dict[str, Any]:
    """Return a row's fields as Python's own values, words of identifiers and stamps left out."""
    names = [name for name in row.dtype.names if not name[-1].isdigit() and "_ns" not in name[-3:]]
    names += [name for name in ("time_ns", "expire_ns") if name in row.dtype.names]
    found = {name: row[name].item() for name in names}
    return {name: value for name, value in found.items() if name not in {"recv_ns", "ring_ns"}}


def test_segments(tmp_path: Path):
    header = SegmentHeader("commands", "a-venue", 3, 17, 1 << 20, "0123456789abcdef", 12345)
    path = tmp_path / "x.seg"
    path.write_bytes(header.encode() + bytes(100))
    found = oracle.read_segment(path)
    assert found.format == 2
    assert tuple(found)[1:] == tuple(header)
    path.write_bytes(header.encode()[:20] + b"\1" + header.encode()[21:])
    with pytest.raises(ValueError, match="checksum"):
        oracle.read_segment(path)


def test_commands(journal: Journal):
    batches = list(oracle.read_batches(journal.folder, SHARD))
    assert [batch.position + batch.size for batch in batches] == journal.ends
    # Each says that what lies before it is on the disk; a start says again what the last one did.
    for before, batch in itertools.pairwise(batches):
        is_start = batch.epoch != before.epoch
        assert batch.synced == (before.synced if is_start else batch.position)
    assert {batch.epoch for batch in batches} == {1, 2}
    commands = [command for batch in batches for command in batch.commands]
    assert len(commands) == len(journal.commands)
    for command, row in zip(commands, journal.commands, strict=True):
        wanted = plain(row)
        assert {name: command[name] for name in wanted} == wanted


def test_reports(journal: Journal):
    rows = journal.expected.rows()
    reports = list(oracle.read_reports(journal.folder, SHARD))
    assert len(reports) == len(rows)
    is_trade = rows["kind"] == 2
    for report, row, trade in zip(reports, rows, is_trade, strict=True):
        wanted = plain(row)
        if not trade:
            for name in ("last_px", "last_qty", "trade_id", "contra_order_id"):
                del wanted[name]
        wanted.pop("response_to")
        assert {name: report[name] for name in wanted} == wanted
    assert REPORT.itemsize == 192


def test_snapshots_and_the_logs_behind_them(journal: Journal):
    for path in journal.snapshots:
        snapshot = oracle.read_snapshot(path)
        header = snapshot.header
        known = read_header(path)
        assert header["state_hash"] == known.state_hash
        replica = Replica.open(journal.folder, SHARD, snapshot=path)
        book = replica.book
        is_open = np.isin(book.details["status"], (0, 1)) & (book.details["qty_lots"] > 0)
        wanted = {
            int(row["order_id"]): (row["cl_ord_id"], int(book.orders[row["order"]]["leaves_qty"]))
            for row in book.details[is_open]
        }
        found = {
            order["order_id"]: (order["cl_ord_id"], order["leaves_qty"])
            for order in snapshot.orders
        }
        assert found == wanted
        assert len(snapshot.orders) == header["open_orders"] > 0
        assert len(snapshot.finished) == header["finished_orders"] > 0
        assert len(snapshot.symbols) == 2
        assert snapshot.marks
        replica.close()
        (batch, *_) = oracle.read_batches(journal.folder, SHARD, header["log_bytes"])
        assert batch.commands[0]["seq"] == header["seq"] + 1
        report = next(
            oracle.read_reports(
                *(journal.folder, SHARD, header["report_bytes"], header["report_seq"] + 1),
                header["base_ns"],
            )
        )
        assert report["seq"] > header["seq"]


def test_stored_messages_and_checkpoints(tmp_path: Path):
    record = stored_record(b"some bytes", 7, -12)
    assert oracle.read_stored(bytes(8) + record + bytes(64), 8) == (7, -12, b"some bytes")
    spoiled = record[:-1] + b"?"
    assert oracle.read_stored(spoiled + bytes(64), 0) is None
    path = tmp_path / "gateway-0-checkpoint"
    file = CheckpointFile(path, 5, 2)
    assert oracle.read_checkpoint(path) is None
    for n in (1, 2, 3):
        found = Checkpoint.empty(5, 2)
        found.next_block, found.stored_end, found.time_ms = 10 * n, 100 * n, 1000 * n
        found.rows["epoch"][1:3] = 4
        found.rows["expected"][2] = 99
        found.shards["position"] = n
        file.presence[2] = n
        file.write(file.image(found))
    slot = oracle.read_checkpoint(path)
    file.close()
    assert slot is not None
    assert slot[:4] == (3, 30, 300, 3000)
    assert slot.presence == (0, 0, 3, 0, 0)
    assert [place[1] for place in slot.shards] == [3, 3]
    assert [line[0] for line in slot.sessions] == [0, 4, 4]
    assert slot.sessions[2][6] == 99


def test_directory(tmp_path: Path):
    directory = Directory(tmp_path)
    directory.append(lambda _: [VenueRecord("v"), LayoutRecord(2, 1)])
    directory.append(lambda _: [FirmRecord(1, "alpha")])
    directory.close()
    path = tmp_path / "directory.log"
    with path.open("ab") as file:
        file.write(b"0000 unfinished")
    kinds = [record["kind"] for record in oracle.read_directory(path)]
    assert kinds == ["venue", "layout", "firm"]

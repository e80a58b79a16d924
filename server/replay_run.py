"""The replay of one shard's journal: what comes out, and whether it is what was written."""

import time
from pathlib import Path
from typing import Any

import click
import msgspec
import numpy as np
from numpy.typing import NDArray

from openoutcry.engine.enums import Side
from openoutcry.engine.market import depth
from openoutcry.engine.records import DEPTH_LEVEL
from openoutcry.server.gateway_files import lost_end
from openoutcry.server.journal_dump import Filter, below, find_commands
from openoutcry.server.journal_names import Names, instant
from openoutcry.server.journal_records import (
    Record,
    command_line,
    command_record,
    report_line,
    report_record,
)
from openoutcry.server.log_end import RecoveryError, first_log_byte
from openoutcry.server.log_reader import CommandReader, find_start
from openoutcry.server.replica import FollowEnd, Replica, RowSink
from openoutcry.server.report_check import Difference, ReportLogCheck
from openoutcry.server.report_sink import ReportSink
from openoutcry.server.snapshots import SnapshotError, read_header, snapshots, verify_snapshot


class ReplayRun:
    """The replay of a shard.

    `sent` is the last report that a gateway has noted as sent before the replay (see
    `last_reports_sent`); the commands must make it.
    """

    def __init__(
        self,
        folder: Path,
        shard: int,
        names: Names,
        last_seq: int | None,
        from_snapshot: bool,
        verify: bool,
        sent: tuple[int, int] | None = None,
    ) -> None:
        self._folder = folder
        self._shard = shard
        self._names = names
        self._last_seq = last_seq
        self._notes: list[str] = []
        self._verify = verify
        self._sent = sent
        self._hashes: list[Record] = []
        self._record: Record = {}
        self._lines: list[str] = []
        self.is_good = True
        start = self._start(from_snapshot)
        self._replica = Replica.open(folder, shard, snapshot=start or False)
        self._first_seq = self._replica.seq
        self._check = ReportLogCheck(self._replica) if verify else None

    def _start(self, from_snapshot: bool) -> Path | None:
        """Return the snapshot to begin with; None for the log's beginning."""
        first_byte = first_log_byte(self._folder, self._shard)
        if first_byte == 0 and not from_snapshot:
            return None
        good = []
        for path in snapshots(self._folder, self._shard):
            try:
                header = verify_snapshot(path)
            except SnapshotError as error:
                self._notes.append(f"passed over: {error}")
                continue
            if header.log_bytes >= first_byte and header.seq <= (self._last_seq or header.seq):
                good.append(path)
        if good:
            return good[0] if from_snapshot else good[-1]
        if first_byte == 0:
            return None
        raise RecoveryError(
            f"the command log of shard {self._shard} in {self._folder} begins at byte "
            f"{first_byte}, and no good snapshot tells what was before: restore older segments or "
            f"a snapshot from the archive or a backup"
        )

    def go(self) -> None:
        """Replay up to the end, or to where it shall stop.

        Raises:
            RecoveryError: the log is damaged.
        """
        replica = self._replica
        sink = ReportSink() if self._check is None else self._check.sink
        # Loading the kernels is no part of the time.
        replica.follow(stop_seq=replica.seq)
        began = time.perf_counter()
        commands = reports = 0
        for seq, path in [*self._snapshots_passed(), (self._last_seq, None)]:
            result = replica.follow(stop_seq=seq, reports=sink)
            commands += result.commands
            reports += result.reports
            if path is not None and result.end == FollowEnd.STOPPED:
                self._check_hash(path)
            elif result.end != FollowEnd.STOPPED:
                break
        if self._check is not None:
            self._check.sink.flush()
        seconds = time.perf_counter() - began
        self._record = {
            "shard": self._shard,
            "from_snapshot": replica.snapshot_seq or None,
            "commands": commands,
            "reports": reports,
            "seconds": round(seconds, 3),
            "commands_per_s": round(commands / seconds) if seconds else 0,
            "seq": replica.seq,
            "time": instant(replica.time_ns) if replica.seq else None,
            "epoch": replica.epoch,
            "log_bytes": replica.log_bytes,
            "report_seq": replica.report_seq,
            "report_bytes": replica.report_bytes,
            "state_hash": f"{replica.state_hash() & (1 << 64) - 1:016x}",
        }
        self._tell_end(result.end)
        if self._check is not None:
            self._tell_check(self._check)

    def _snapshots_passed(self) -> list[tuple[int, Path]]:
        """Return (command, snapshot) of the snapshots that the replay passes."""
        found = []
        for path in reversed(snapshots(self._folder, self._shard) if self._verify else []):
            try:
                seq = read_header(path).seq
            except SnapshotError as error:
                self._notes.append(str(error))
                self.is_good = False
                continue
            if self._first_seq <= seq <= (self._last_seq or seq):
                found.append((seq, path))
        return found

    def _check_hash(self, path: Path) -> None:
        says = read_header(path).state_hash
        is_same = says == self._replica.state_hash()
        self._hashes.append({"seq": self._replica.seq, "file": path.name, "is_same": is_same})
        if not is_same:
            self.is_good = False
            self._notes.append(
                f"{path} says the state hash {says & (1 << 64) - 1:016x}, the replay has "
                f"{self._replica.state_hash() & (1 << 64) - 1:016x} there: remove that snapshot"
            )

    def _tell_end(self, end: FollowEnd) -> None:
        replica = self._replica
        if end == FollowEnd.STOPPED:
            return
        if self._sent is not None and self._sent[0] >= replica.report_bytes:
            self.is_good = False
            self._notes.append(
                lost_end(
                    replica.folder, replica.shard, replica.log_bytes, replica.seq, self._sent[1]
                )
            )
        if self._last_seq is not None and replica.seq < self._last_seq:
            self._notes.append(f"the log ends with command {replica.seq}, before {self._last_seq}")
        tail = replica.find_end()
        self._record["torn_bytes"] = tail.dirty_end - tail.position
        if tail.is_torn:
            self._notes.append(
                f"behind it, {tail.dirty_end - tail.position} bytes at byte {tail.position} of the "
                f"log are no whole batch"
            )

    def _tell_check(self, check: ReportLogCheck) -> None:
        difference = check.difference
        verified: Record = {
            "reports": check.compared,
            "snapshots": self._hashes,
            "not_compared": check.reason or None,
        }
        self._record["verified"] = verified
        if check.reason:
            self.is_good = False
            self._notes.append(f"reports are not compared: {check.reason}")
        if difference is not None and difference.is_end:
            verified["report_log_ends_at"] = difference.position
            self._notes.append(
                f"the report log ends at byte {difference.position}, behind report "
                f"{int(difference.ours['report_seq']) - 1}: the next start writes the rest"
            )
        elif difference is not None:
            self.is_good = False
            verified["difference"] = self._difference(difference)

    def _difference(self, found: Difference) -> Record:
        ours = report_record(found.ours, self._names, self._shard)
        theirs = (
            None if found.theirs is None else report_record(found.theirs, self._names, self._shard)
        )
        seq = int(found.ours["seq"])
        command = command_at(self._folder, self._shard, seq, self._names)
        self._notes.append(
            f"report {ours['report_seq']} differs from the report log at byte {found.position} "
            f"({found.path}, byte {found.offset})"
        )
        self._lines += [
            command_line(command),
            f"replay: {report_line(ours)}",
            f"log:    {report_line(theirs) if theirs else 'no report is there'}",
        ]
        return {
            "position": found.position,
            "file": str(found.path),
            "offset": found.offset,
            "command": command,
            "replay": ours,
            "log": theirs,
        }

    def execute(self, seq: int, cl_ord_id: str) -> None:
        """Execute the next command, which is the one asked for, and note its reports."""
        replica = self._replica
        before = replica.seq
        if before != seq - 1:
            raise RecoveryError(f"the log of shard {self._shard} ends with command {before}")
        rows: list[Record] = []

        def take(_: NDArray[Any], reports: NDArray[Any]) -> None:
            rows.extend(report_record(row, self._names, self._shard) for row in reports)

        replica.follow(stop_seq=seq, reports=RowSink(take))
        command = command_at(self._folder, self._shard, seq, self._names)
        self._record["order"] = {"command": command, "reports": rows}
        self._lines.append(
            f"ClOrdID {cl_ord_id} is command {seq} of shard {self._shard}: it met the book as it "
            f"is behind command {before}, and was answered"
        )
        self._lines += [command_line(command), *(below(row) for row in rows)]

    def has_symbol(self, symbol: int) -> bool:
        """Return whether the shard has a symbol."""
        book = self._replica.book
        return bool(symbol < book.symbol_capacity and book.symbols[symbol]["is_defined"])

    def take_book(self, symbol: int, levels: int) -> None:
        """Note a symbol's book, so that it is shown."""
        names = self._names
        sides: dict[str, list[Record]] = {}
        for key, side in (("bids", Side.BUY), ("asks", Side.SELL)):
            rows = np.zeros(levels, DEPTH_LEVEL)
            count = int(depth(self._replica.book, symbol, side.value, rows))
            sides[key] = [_level(names, symbol, row) for row in rows[:count]]
        self._record["book"] = {"symbol": names.symbol(symbol), **sides}

    def show(self, as_json: bool) -> None:
        """Print what came out."""
        if as_json:
            click.echo(msgspec.json.encode({**self._record, "notes": self._notes}).decode())
            return
        record = self._record
        start = (
            "the beginning"
            if record["from_snapshot"] is None
            else f"the snapshot behind command {record['from_snapshot']}"
        )
        click.echo(f"shard {self._shard}: replayed from {start}")
        click.echo(
            f"  commands     {record['commands']:,} in {record['seconds']:.2f} s "
            f"({record['commands_per_s']:,}/s), {record['reports']:,} reports"
        )
        click.echo(f"  last command {record['seq']} of epoch {record['epoch']}, {record['time']}")
        click.echo(f"  last report  {record['report_seq']}")
        click.echo(f"  state hash   {record['state_hash']}")
        verified = record.get("verified")
        if verified is not None:
            hashes = verified["snapshots"]
            same = sum(each["is_same"] for each in hashes)
            click.echo(
                f"  verified     {verified['reports']:,} reports are those of the report log; "
                f"{same} of {len(hashes)} snapshots have this state hash"
            )
        for note in self._notes:
            click.echo(f"  note: {note}")
        for line in self._lines:
            click.echo(line)
        if "book" in record:
            _show_book(record["book"], record["seq"])

    def close(self) -> None:
        """Give the logs' addresses back."""
        if self._check is not None:
            self._check.close()
        self._replica.close()


def _level(names: Names, symbol: int, row: Any) -> Record:
    price, qty = int(row["price_ticks"]), int(row["qty_lots"])
    return {
        "price": names.price(symbol, price) or f"{price} ticks",
        "qty": names.qty(symbol, qty) or f"{qty} lots",
        "orders": int(row["orders"]),
    }


def _show_book(book: Record, seq: int) -> None:
    click.echo(f"book of {book['symbol']} behind command {seq}")
    click.echo(f"{'orders':>8} {'qty':>16} {'bid':>16} | {'ask':<16} {'qty':<16} {'orders':<8}")
    blank = {"price": "", "qty": "", "orders": ""}
    bids, asks = book["bids"], book["asks"]
    for n in range(max(len(bids), len(asks))):
        bid = bids[n] if n < len(bids) else blank
        ask = asks[n] if n < len(asks) else blank
        click.echo(
            f"{bid['orders']:>8} {bid['qty']:>16} {bid['price']:>16} | "
            f"{ask['price']:<16} {ask['qty']:<16} {ask['orders']:<8}".rstrip()
        )
    if not bids and not asks:
        click.echo("  (empty)")


def command_at(folder: Path, shard: int, seq: int, names: Names) -> Record:
    """Return a command's record. Raises RecoveryError where it is not there."""
    with CommandReader(folder, shard, find_start(folder, shard, seq)) as reader:
        wanted = Filter(first_seq=seq, last_seq=seq)
        for command, epoch, offset, _ in find_commands(reader, wanted):
            return command_record(command, names, epoch=epoch, offset=offset)
    raise RecoveryError(f"command {seq} of shard {shard} is not in {folder}")

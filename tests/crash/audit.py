"""Holds the clients' record against the command logs: what was executed is what they were told."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from crash.checker import Checker
from crash.wire import Report
from numpy.typing import NDArray
from oracle.book import OracleBook

from openoutcry.engine.enums import CommandKind, OrderStatus, ReportKind
from openoutcry.engine.records import SHARD_SHIFT
from openoutcry.engine.recovery import FollowEnd
from openoutcry.engine.snapshot import check_invariants
from openoutcry.server.replica import Replica, RowSink
from openoutcry.server.snapshots import read_header, snapshots

#: What no client gets, or gets put together from several rows.
_INTERNAL = frozenset({
    ReportKind.DUPLICATE, ReportKind.MASS_CANCELED, ReportKind.MASS_STATUS,
    ReportKind.MASS_STATUS_END,
})  # fmt: skip
_KINDS = {
    ReportKind.NEW: "new",
    ReportKind.TRADE: "trade",
    ReportKind.CANCELED: "canceled",
    ReportKind.REPLACED: "replaced",
    ReportKind.REJECTED: "rejected",
    ReportKind.EXPIRED: "expired",
    ReportKind.STATUS: "status",
    ReportKind.CANCEL_REJECTED: "cancel-rejected",
}
_OPEN = (OrderStatus.NEW, OrderStatus.PARTIALLY_FILLED)


@dataclass
class Replayed:
    """A shard's log, executed from its first command on."""

    shard: int
    commands: list[Any]
    rows: list[Any]
    state_hash: int
    open_orders: int
    seq: int
    end: FollowEnd


def replay(folder: Path, shard: int) -> Replayed:
    """Execute a shard's log from the beginning, without any snapshot."""
    commands: list[NDArray[Any]] = []
    rows: list[NDArray[Any]] = []

    def take(some: NDArray[Any], reports: NDArray[Any]) -> None:
        commands.append(some.copy())
        rows.append(reports.copy())

    replica = Replica.open(folder, shard, snapshot=False)
    result = replica.follow(reports=RowSink(take))
    check_invariants(replica.book)
    found = Replayed(
        shard,
        [command for some in commands for command in some],
        [row for some in rows for row in some],
        replica.state_hash(),
        int(replica.book.state[0]["open_orders"]),
        replica.seq,
        result.end,
    )
    replica.close()
    return found


@dataclass
class Audit:
    """What the comparison of record and logs found."""

    findings: list[str] = field(default_factory=list)
    #: Reports that are in both.
    matched: int = 0
    commands: int = 0
    #: Commands that came again and were not executed again.
    passed_over: int = 0
    losses: int = 0
    duplicates: int = 0
    #: Session number → name, as the reports tell.
    names: dict[int, str] = field(default_factory=dict)

    def find(self, text: str, *, lost: int = 0, doubled: int = 0) -> None:
        """Note a finding."""
        self.losses += lost
        self.duplicates += doubled
        if len(self.findings) < 30:
            self.findings.append(text)


def audit(
    checker: Checker, logs: Iterable[Replayed], *, firm: Iterable[str] = (), is_whole: bool = True
) -> Audit:
    """Compare the record with what the shards' logs make.

    Args:
        checker: it has read the record.
        logs: all shards'.
        firm: sessions whose reports are copied.
        is_whole: the clients were at rest: each report has reached them. Otherwise only what they
            got must be in the logs.
    """
    found = Audit()
    reports = {key: _report(checker, key) for key in checker.exec_ids}
    executed: set[str] = set()
    for log in logs:
        found.commands += len(log.commands)
        _check_once(found, log)
        for row in log.rows:
            exec_id = f"E{log.shard}-{int(row['report_seq'])}"
            executed.add(exec_id)
            found.passed_over += int(row["kind"] == ReportKind.DUPLICATE)
            if int(row["kind"]) in _INTERNAL:
                continue
            key = (exec_id, False)
            if key in reports:
                _compare(found, checker, row, *reports[key])
            elif int(row["kind"]) != ReportKind.CANCEL_REJECTED and is_whole:
                found.find(f"{exec_id} reached nobody: {_text(row)}", lost=1)
    for (exec_id, is_copy), (name, report) in reports.items():
        if exec_id.startswith("E") and exec_id not in executed:
            found.find(f"{name} got {report}, which no log knows", lost=1)
        original = reports.get((exec_id, False))
        if (
            is_copy
            and original is not None
            and _without_number(report) != _without_number(original[1])
        ):
            found.find(f"{name} got {report} as a copy of {original}")
    if is_whole:
        _check_refusals(found, checker, logs)
        _check_copies(found, checker, reports, set(firm))
        _check_open(found, checker, logs)
    return found


def _report(checker: Checker, key: tuple[str, bool]) -> tuple[str, Report]:
    name, number = checker.exec_ids[key]
    return name, checker.sessions[name].reports[number]


def _without_number(report: Report) -> tuple[Any, ...]:
    return (
        *(report.kind, report.cl_ord_id, report.orig, report.symbol, report.side),
        *(report.order_id, report.last_px, report.last_qty, report.cum, report.leaves),
    )


def _text(row: Any) -> str:
    return " ".join(f"{name}={row[name]}" for name in ("kind", "session", "seq", "cl_ord_id"))


def _compare(found: Audit, checker: Checker, row: Any, name: str, report: Report) -> None:
    session, shard_base = int(row["session"]), int(row["order_id"]) >> SHARD_SHIFT
    if found.names.setdefault(session, name) != name:
        found.find(f"{name} got {report}, of session {session} {found.names[session]}")
    kind = ReportKind(int(row["kind"]))
    is_trade = kind is ReportKind.TRADE
    order = int(row["order_id"]) & ((1 << SHARD_SHIFT) - 1)
    fields = 9
    wanted = (
        *(_KINDS[kind], bytes(row["cl_ord_id"]).decode(), int(row["side"])),
        f"O{shard_base}-{order}" if order else "",
        *(int(row["qty_lots"]), int(row["cum_qty"]), int(row["leaves_qty"])),
        *((int(row["last_px"]), int(row["last_qty"])) if is_trade else (0, 0)),
    )
    got = (
        *(report.kind, report.cl_ord_id, report.side, report.order_id),
        *(report.qty, report.cum, report.leaves, report.last_px, report.last_qty),
    )
    if kind in {ReportKind.STATUS, ReportKind.REJECTED, ReportKind.CANCEL_REJECTED}:
        # Such a report may lack what there is no order for.
        fields = 2
    if wanted[:fields] != got[:fields]:
        found.find(f"{name} got {got}, executed was {wanted}: {report}")
    found.matched += 1


def _check_once(found: Audit, log: Replayed) -> None:
    """Check that no request of a session was executed twice."""
    kinds: dict[int, set[int]] = defaultdict(set)
    for row in log.rows:
        if row["inbound_seq"]:
            kinds[int(row["seq"])].add(int(row["kind"]))
    seen: set[tuple[int, int, int]] = set()
    for command in log.commands:
        key = (int(command["session"]), int(command["epoch"]), int(command["inbound_seq"]))
        if not key[0] or not key[2] or kinds[int(command["seq"])] == {ReportKind.DUPLICATE}:
            continue
        if key in seen:
            found.find(f"shard {log.shard} executed {key} twice", doubled=1)
        seen.add(key)


def _check_refusals(found: Audit, checker: Checker, logs: Iterable[Replayed]) -> None:
    """Check OrderCancelRejects, which have no ExecID in FIX, by the request."""
    for log in logs:
        for row in log.rows:
            if int(row["kind"]) != ReportKind.CANCEL_REJECTED:
                continue
            name = found.names.get(int(row["session"]), "")
            session = checker.sessions.get(name)
            cl_ord_id = bytes(row["cl_ord_id"]).decode()
            if session is not None and session.answers.get(cl_ord_id) != "cancel-rejected":
                found.find(f"{name} was not told of {_text(row)}", lost=1)


def _check_copies(
    found: Audit,
    checker: Checker,
    reports: dict[tuple[str, bool], tuple[str, Report]],
    firm: set[str],
) -> None:
    listeners = [session for session in checker.sessions.values() if session.listens]
    if not listeners:
        return
    for (exec_id, is_copy), (name, report) in reports.items():
        # What a gateway declines by itself, in no log, is copied unless a gateway dies just then.
        if is_copy or name not in firm or report.kind == "status" or not exec_id.startswith("E"):
            continue
        if report.kind != "cancel-rejected" and (exec_id, True) not in reports:
            found.find(f"{listeners[0].name} has no copy of {report} of {name}", lost=1)


def _check_open(found: Audit, checker: Checker, logs: Iterable[Replayed]) -> None:
    """Check that the books hold what the clients think is open, and that positions agree."""
    last: dict[str, Any] = {}
    positions: dict[tuple[str, int], int] = defaultdict(int)
    open_orders = 0
    for log in logs:
        open_orders += log.open_orders
        for row in log.rows:
            kind = int(row["kind"])
            if kind in {ReportKind.STATUS, ReportKind.CANCEL_REJECTED, *_INTERNAL}:
                continue
            order = int(row["order_id"])
            last[f"O{order >> SHARD_SHIFT}-{order & ((1 << SHARD_SHIFT) - 1)}"] = row
            if kind == ReportKind.TRADE:
                sign = 1 if row["side"] == 1 else -1
                name = found.names.get(int(row["session"]), "?")
                positions[name, int(row["symbol"])] += sign * int(row["last_qty"])
    held = checker.open_orders()
    booked = {
        order_id: (bytes(row["cl_ord_id"]).decode(), int(row["side"]), int(row["leaves_qty"]))
        for order_id, row in last.items()
        if int(row["status"]) in _OPEN and row["leaves_qty"] > 0
    }
    for order_id, (cl_ord_id, _, side, leaves) in held.items():
        if booked.get(order_id) != (cl_ord_id, side, leaves):
            text = f"{order_id} is {cl_ord_id} {leaves} to its client"
            found.find(f"{text}, {booked.get(order_id)} in the book", lost=1)
    if not len(held) == len(booked) == open_orders:
        found.find(f"{len(held)} orders are open, {len(booked)} reported so, {open_orders} booked")
    names = list(checker.symbols)
    for session in checker.sessions.values():
        for number, symbol in enumerate(names):
            if session.positions[symbol] != positions[session.name, number]:
                found.find(
                    f"{session.name} has {session.positions[symbol]} {symbol}, "
                    f"the book says {positions[session.name, number]}"
                )


def check_oracle(log: Replayed) -> Iterator[str]:
    """Execute a log with the oracle; yield the first report that differs."""
    sizes = next(c for c in log.commands if c["kind"] == CommandKind.CAPACITY)
    oracle = OracleBook(
        open_orders=int(sizes["price_ticks"]),
        finished_orders=int(sizes["price2_ticks"]),
        levels=int(sizes["qty_lots"]),
        symbols=int(sizes["qty2_lots"]),
        sessions=int(sizes["expire_ns"]),
        shard=log.shard,
    )
    at = 0
    for command in log.commands:
        made = oracle.process(command)
        rows = log.rows[at : at + len(made)]
        at += len(made)
        if b"".join(row.tobytes() for row in rows) != made.tobytes():
            yield f"the oracle differs at command {int(command['seq'])} of shard {log.shard}"
            return
    if at != len(log.rows):
        yield f"the oracle makes {at} reports of {len(log.rows)} in shard {log.shard}"


def check_snapshots(folder: Path, log: Replayed) -> Iterator[str]:
    """Yield where the newest snapshot, taken at the stop, is not what the whole log makes."""
    paths = snapshots(folder, log.shard)
    if not paths:
        yield f"shard {log.shard} has no snapshot"
        return
    header = read_header(paths[0])
    if (header.seq, header.state_hash) != (log.seq, log.state_hash):
        yield (
            f"{paths[0].name}: command {header.seq}, state hash {header.state_hash}; "
            f"the log makes {log.state_hash} at command {log.seq}"
        )


__all__ = ["Audit", "Replayed", "audit", "check_oracle", "check_snapshots", "replay"]

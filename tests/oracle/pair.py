"""The compiled book and the oracle, driven by the same commands and compared after each."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from oracle.book import OracleBook, join_rows

from openoutcry.engine.book import Book, Capacity, create_book
from openoutcry.engine.enums import CommandKind, ReportKind
from openoutcry.engine.events import EventReader
from openoutcry.engine.match import process_batch, reports_needed
from openoutcry.engine.records import COMMAND, EVENT, REPORT
from openoutcry.engine.snapshot import check_invariants

SMALL = Capacity(open_orders=64, finished_orders=0, levels=64, symbols=4, sessions=8)


def differences(got: NDArray[Any], expected: NDArray[Any]) -> str:
    """Say where two arrays of rows differ, field by field."""
    lines = [f"{len(got)} rows, expected {len(expected)}"] if len(got) != len(expected) else []
    for n, (one, other) in enumerate(zip(got, expected, strict=False)):
        lines.extend(
            f"row {n}: {name} is {one[name]}, expected {other[name]}"
            for name in got.dtype.names or ()
            if one[name] != other[name]
        )
    return "\n".join(lines)


class Pair:
    """Executes each command in both books; any difference in reports or events fails."""

    def __init__(
        self,
        capacity: Capacity = SMALL,
        shard: int = 0,
        *,
        is_checking: bool = True,
        event_rows: int = 1024,
    ) -> None:
        events = np.zeros(event_rows, EVENT)
        self.book: Book = create_book(capacity, shard, events)
        self.oracle = OracleBook(**capacity._asdict(), shard=shard)
        self.reader = EventReader(events, batch=event_rows)
        self.is_checking = is_checking
        self.seq = self.report_seq = self.event_count = 0
        self.rows = np.zeros(4096, REPORT)

    def send(self, kind: int, **fields: Any) -> NDArray[Any]:
        """Execute one command; return its reports."""
        command = np.zeros(1, COMMAND)
        command["kind"] = kind
        for name, value in fields.items():
            command[name] = value
        return self.run(command)

    def run(self, commands: NDArray[Any]) -> NDArray[Any]:
        """Sequence and execute commands; return their reports."""
        first = self.report_seq
        reports = [self._run_one(commands, i) for i in range(len(commands))]
        assert first <= self.report_seq
        return join_rows(reports, REPORT)

    def _run_one(self, commands: NDArray[Any], i: int) -> NDArray[Any]:
        self.seq += 1
        commands[i]["seq"] = self.seq
        commands[i]["time_ns"] = 1_000 + self.seq
        expected = self.oracle.process(commands[i])
        needed = int(reports_needed(self.book, commands, i))
        base = self.report_seq + 1
        # One report less than needed: nothing may happen.
        done, last = process_batch(
            *(self.book, commands, i, i + 1, self.rows, base),
            *(self.report_seq, self.report_seq + needed - 1),
        )
        assert (done, last) == (i, self.report_seq)
        self.rows[: needed + 1].view(np.uint8).fill(0xAA)
        done, last = process_batch(
            *(self.book, commands, i, i + 1, self.rows, base),
            *(self.report_seq, self.report_seq + needed),
        )
        assert done == i + 1
        assert last <= self.report_seq + needed, "more reports than there was room for"
        got = self.rows[: last - self.report_seq].copy()
        assert got.tobytes() == expected.tobytes(), differences(got, expected)
        self.report_seq = int(last)
        self._compare_events()
        if self.is_checking:
            check_invariants(self.book)
        return got

    def _compare_events(self) -> None:
        got = self.reader.read()
        expected = self.oracle.events[self.event_count :]
        self.event_count = len(self.oracle.events)
        assert got is not None
        wanted = join_rows(expected, EVENT)
        assert differences(got, wanted) == ""


def add_symbols(pair: Pair, count: int = 1, **fields: Any) -> None:
    """Define symbols 0 … count - 1; by default any int64 price and any positive quantity."""
    for symbol in range(count):
        limits = {
            "price_ticks": -(1 << 63),
            "price2_ticks": (1 << 63) - 1,
            "qty_lots": 1,
            "qty2_lots": (1 << 63) - 1,
            **fields,
        }
        assert not len(pair.send(CommandKind.ADD_SYMBOL, symbol=symbol, **limits))


def kinds(reports: NDArray[Any]) -> list[str]:
    """Name the reports' kinds."""
    return [ReportKind(kind).name for kind in reports["kind"]]

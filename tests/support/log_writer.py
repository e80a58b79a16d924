"""Writes a shard's command log without a shard, and says what a book must make of it."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from oracle.book import join_rows

from openoutcry.engine.book import Book, Capacity, create_book
from openoutcry.engine.enums import CommandKind
from openoutcry.engine.image import resize
from openoutcry.engine.log import append_batch, as_words, batch_words
from openoutcry.engine.match import process_batch, reports_needed
from openoutcry.engine.pack import FIRST_BYTE, MAX_PACKED_BYTES, pack_rows
from openoutcry.engine.records import COMMAND, REPORT
from openoutcry.engine.snapshot import state_hash
from openoutcry.server.journal import SegmentedFile

SEGMENT = 16 << 10
START_NS = 1_700_000_000_000_000_000
CAPACITY = Capacity(open_orders=200, finished_orders=50, levels=200, symbols=2, sessions=3)


def control(kind: CommandKind, **fields: Any) -> NDArray[Any]:
    """Return one control command."""
    command = np.zeros(1, COMMAND)
    command["kind"], command["symbol"] = kind, -1
    for name, value in fields.items():
        command[name] = value
    return command


def capacity_command(capacity: Capacity) -> NDArray[Any]:
    """Return the command that gives a book its sizes."""
    return control(
        CommandKind.CAPACITY,
        price_ticks=capacity.open_orders,
        price2_ticks=capacity.finished_orders,
        qty_lots=capacity.levels,
        qty2_lots=capacity.symbols,
        expire_ns=capacity.sessions,
    )


def start_commands(capacity: Capacity, symbols: int = 2) -> NDArray[Any]:
    """Return what a log begins with."""
    rows = [control(CommandKind.START), capacity_command(capacity)]
    for symbol in range(symbols):
        limits = {"price_ticks": -(1 << 62), "price2_ticks": 1 << 62, "qty2_lots": 1 << 40}
        rows.append(control(CommandKind.ADD_SYMBOL, symbol=symbol, qty_lots=1, **limits))
    return join_rows(rows, COMMAND)


class LogWriter:
    """A command log being written.

    Attributes:
        commands: all commands logged, as a shard executes them.
        ends: the byte behind each batch; `seqs` the last command of each.
    """

    def __init__(self, folder: Path, shard: int = 0, segment_bytes: int = SEGMENT) -> None:
        self.shard = shard
        self.file = SegmentedFile(folder, f"shard-{shard}-commands", segment_bytes, writable=True)
        self.words = self.file.array(np.int64)
        self.commands: list[NDArray[Any]] = []
        self.seq = 0
        self.position = 0
        self.epoch = 1
        self.ends: list[int] = []
        self.seqs: list[int] = []
        self.synced = 0
        #: Added to the time of what is logged from now on.
        self.skew_ns = 0

    def append(self, commands: NDArray[Any]) -> None:
        """Log commands as one batch."""
        count = len(commands)
        room = 1 << max(count - 1, 1).bit_length()
        ring = np.zeros(room, COMMAND)
        ring[:count] = commands
        time_ns = START_NS + self.seq * 1_000 + self.skew_ns
        self.file.ensure((self.position + batch_words(count, 2)) * 8)
        rings = np.array([self.seq + count, 7], np.int64)
        self.position = int(
            append_batch(
                *(self.words, self.position, as_words(ring), room - 1, 0, count, self.seq + 1),
                *(time_ns, self.epoch, self.synced, rings, 0),
            )
        )
        logged = ring[:count].copy()
        logged["seq"] = np.arange(self.seq + 1, self.seq + count + 1)
        logged["time_ns"] = time_ns
        self.commands.append(logged)
        self.seq += count
        self.ends.append(self.position * 8)
        self.seqs.append(self.seq)

    def append_all(self, commands: NDArray[Any], seed: int, most: int = 40) -> None:
        """Log commands as batches of random sizes."""
        chooser = random.Random(seed)
        first = 0
        while first < len(commands):
            count = chooser.randint(1, most)
            self.append(commands[first : first + count])
            first += count

    def close(self) -> None:
        self.file.close()


class Expected:
    """What a log's commands make: found one by one, without the log and the replay's kernel."""

    def __init__(self, commands: Sequence[NDArray[Any]], shard: int = 0) -> None:
        self.book: Book = create_book(Capacity(1, 0, 1, 1, 1), shard)
        self.base_ns = int(commands[0]["time_ns"][0])
        #: Per command: its reports, the hash after it.
        self.reports: list[NDArray[Any]] = []
        self.hashes: list[int] = []
        self.report_seq = 0
        for batch in commands:
            for i in range(len(batch)):
                self._run(batch[i : i + 1].copy())

    def _run(self, command: NDArray[Any]) -> None:
        if command["kind"][0] == CommandKind.CAPACITY:
            names = ("price_ticks", "price2_ticks", "qty_lots", "qty2_lots", "expire_ns")
            self.book = resize(self.book, Capacity(*(int(command[name][0]) for name in names)))
        needed = int(reports_needed(self.book, command, 0))
        rows = np.zeros(needed + 1, REPORT)
        _, last = process_batch(
            *(self.book, command, 0, 1, rows, self.report_seq + 1),
            *(self.report_seq, self.report_seq + needed),
        )
        self.reports.append(rows[: int(last) - self.report_seq].copy())
        self.report_seq = int(last)
        self.hashes.append(int(state_hash(self.book)))

    def rows(self, first_seq: int = 1) -> NDArray[Any]:
        """Return the reports of the commands from one on."""
        return join_rows(self.reports[first_seq - 1 :], REPORT)

    def packed(self) -> bytes:
        """Return the report log's bytes from its first report on."""
        rows = self.rows()
        out = np.zeros((len(rows) + 1) * MAX_PACKED_BYTES, np.uint8)
        start = int(out.ctypes.data)
        end = pack_rows(as_words(rows), 0, len(rows), self.base_ns, self.book.shard_base, start)
        return out[: int(end) - start].tobytes()

    def report_bytes(self) -> int:
        """Return the report log's end."""
        return FIRST_BYTE + len(self.packed())

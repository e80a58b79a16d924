"""A data directory with logs, reports and snapshots, as a venue leaves it, without a venue."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from oracle.book import join_rows
from oracle.commands import random_commands
from support.log_writer import (
    CAPACITY,
    SEGMENT,
    Expected,
    LogWriter,
    capacity_command,
    control,
    start_commands,
)

from openoutcry.engine.enums import CommandKind
from openoutcry.engine.pack import write_header
from openoutcry.engine.records import COMMAND
from openoutcry.server.journal import SegmentedFile
from openoutcry.server.replica import LogSink, Replica
from openoutcry.server.snapshots import write_snapshot

VENUE = "test"


@dataclass
class Journal:
    """What was written.

    Attributes:
        ends, seqs: the byte behind each batch of the command log, and the last command of each.
        commands: all commands; `expected` is what they make.
        snapshots: the files, the oldest first.
    """

    folder: Path
    shard: int
    ends: list[int]
    seqs: list[int]
    commands: Any
    expected: Expected
    snapshots: list[Path]
    report_bytes: int


def write_journal(
    folder: Path,
    count: int = 1_000,
    *,
    shard: int = 0,
    seed: int = 1,
    snapshots_at: tuple[float, ...] = (0.4, 0.8),
    synced: bool = False,
) -> Journal:
    """Write a journal of random commands with two epochs, its reports, and snapshots on the way.

    `synced`: batches say that those before them are on the disk (`durability: power`).
    """
    folder.mkdir(parents=True, exist_ok=True)
    writer = LogWriter(folder, shard)
    writer.append(start_commands(CAPACITY))
    made_up: Callable[..., Any] = random_commands
    commands = made_up(seed, count, masses=0.01, ids=200)
    _name_orders(commands)
    for start, stop in ((0, count // 2), (count // 2, count)):
        part = commands[start:stop]
        if start:
            writer.epoch += 1
            larger = CAPACITY._replace(open_orders=300, finished_orders=20, levels=250)
            both = [control(CommandKind.START), capacity_command(larger)]
            writer.append(join_rows(both, COMMAND))
        for first in range(0, len(part), 20):
            writer.synced = writer.position * 8 if synced else 0
            writer.append(part[first : first + 20])
    writer.close()
    replica = Replica.open(folder, shard, snapshot=False)
    reports = SegmentedFile(folder, f"shard-{shard}-reports", SEGMENT, writable=True)
    reports.map_next()
    replica.follow(max_commands=1)
    write_header(reports.array(np.int64), replica.base_ns)
    replica.close()
    replica = Replica.open(folder, shard, snapshot=False)
    made = []
    for place in (*snapshots_at, None):
        if place is None:
            replica.follow(reports=LogSink(reports))
            continue
        end = writer.ends[int(place * (len(writer.ends) - 1))]
        replica.follow(end_bytes=end, reports=LogSink(reports))
        made.append(write_snapshot(folder, replica, VENUE))
    expected = Expected(writer.commands, shard=shard)
    found = Journal(
        folder,
        shard,
        writer.ends,
        writer.seqs,
        join_rows(writer.commands, COMMAND),
        expected,
        made,
        replica.report_bytes,
    )
    replica.close()
    reports.close()
    return found


def _name_orders(commands: Any) -> None:
    """Give orders printable identifiers: the same one where they had the same."""
    names: dict[bytes, bytes] = {b"": b""}
    for field in ("cl_ord_id", "orig_cl_ord_id"):
        for n, name in enumerate(commands[field].tolist()):
            commands[field][n] = names.setdefault(name, b"order-%d" % len(names))

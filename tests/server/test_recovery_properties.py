"""Random flows through a shard that dies at every kind of moment: told once, told alike, refound.

The shard runs in this process and is let finish; its death is then made from what it wrote. Batches
from a random one on are taken out of the log, the next one is left torn, and the words of shared
memory, the rings' positions and the report log behind what was released are put back to an earlier
batch, or the shared memory is lost and the clients send again. Segments are one page long, so that
batches and reports lie across their borders all the time.
"""

import random
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray
from oracle.commands import random_commands
from support.shard_alone import ShardAlone, fresh_memory, small_config, with_log

from openoutcry.config.jit import IS_COMPILED
from openoutcry.engine.enums import CommandKind, RejectReason, ReportKind
from openoutcry.engine.log import (
    BATCH_OK,
    MAX_BATCH_COMMANDS,
    READ_HEADER_WORDS,
    BatchWord,
    as_words,
    read_batch,
)
from openoutcry.engine.records import COMMAND
from openoutcry.engine.ring import HEAD_WORD
from openoutcry.engine.snapshot import check_invariants, state_hash
from openoutcry.engine.state import ShardWord
from openoutcry.server.config import Symbol
from openoutcry.server.journal import open_segments
from openoutcry.server.replica import Replica, RowSink
from openoutcry.server.snapshots import write_snapshot

pytestmark = pytest.mark.skipif(not IS_COMPILED, reason="the shard's loop is slow without the JIT")

SEGMENT_BYTES = 4096
ROUNDS = 6
PER_ROUND = 150
SESSIONS = (1, 2)


class Batch(NamedTuple):
    """A batch of the log: its bytes, its last command, what it says."""

    begin: int
    end: int
    seq: int
    epoch: int
    synced: int
    rings: list[int]


def read_batches(alone: ShardAlone) -> list[Batch]:
    file = open_segments(alone.folder, f"shard-{alone.index}-commands")
    assert file is not None
    while file.is_next_there():
        file.map_next()
    rows, header = np.zeros(MAX_BATCH_COMMANDS, COMMAND), np.zeros(READ_HEADER_WORDS, np.int64)
    found: list[Batch] = []
    at = 0
    while True:
        code, count, stop = read_batch(
            file.array(np.int64), at, file.mapped_bytes // 8, as_words(rows), header
        )
        if code != BATCH_OK:
            file.close()
            return found
        rings = header[BatchWord.POSITIONS :][: header[BatchWord.RINGS]].tolist()
        seq = int(header[BatchWord.SEQ]) + int(count) - 1
        epoch, synced = int(header[BatchWord.EPOCH]), int(header[BatchWord.SYNCED])
        found.append(Batch(at * 8, int(stop) * 8, seq, epoch, synced, rings))
        at = int(stop)


def overwrite(alone: ShardAlone, kind: str, begin: int, value: int, keep: int = 0) -> None:
    """Set all bytes of a log behind `begin + keep` to one value."""
    file = open_segments(alone.folder, f"shard-{alone.index}-{kind}")
    assert file is not None
    at = begin + keep
    while True:
        path, offset = file.locate(at)
        if not path.exists():
            break
        size = path.stat().st_size - offset
        with path.open("r+b") as segment:
            segment.seek(offset)
            segment.write(bytes([value]) * size)
        at += size
    file.close()


class Venue:
    """A shard's clients: what each sent, and how far it was answered."""

    def __init__(self, durability: str, seed: int, folder: Path) -> None:
        self.rng = random.Random(seed)
        self.seed = seed
        self.folder = folder
        config = with_log(
            small_config(durability=durability, group_commit_us=0), segment_bytes=SEGMENT_BYTES
        )
        sizes = {"open_orders": 40, "finished_orders": 20, "levels": 12, "event_ring_records": 64}
        self.config = msgspec.structs.replace(
            config, capacity=msgspec.structs.replace(config.capacity, **sizes)
        )
        self.data = folder / "data"
        self.data.mkdir()
        self.lives = 0
        self.sent: dict[int, list[NDArray[Any]]] = {session: [] for session in SESSIONS}
        self.restart()

    def restart(self) -> None:
        """Lose the shared memory."""
        self.lives += 1
        memory = fresh_memory(self.config, self.folder / f"shm-{self.lives}")
        self.alone = ShardAlone(self.config, memory, 0, self.data)

    def send(self) -> None:
        """Publish some more commands of every session, and the supervisor's."""
        commands = random_commands(self.rng.getrandbits(32), PER_ROUND, ids=70, masses=0.01)
        commands["symbol"][commands["symbol"] >= 0] *= 2
        is_control = commands["kind"] >= CommandKind.ADD_SYMBOL
        control = commands[is_control & (commands["kind"] == CommandKind.DAY_END)][:1].copy()
        control["session"] = control["inbound_seq"] = control["epoch"] = 0
        self.alone.put(control, ring=2)
        for session in SESSIONS:
            mine = commands[~is_control & (commands["session"] == session)].copy()
            before = sum(map(len, self.sent[session]))
            mine["inbound_seq"] = np.arange(before + 1, before + 1 + len(mine))
            mine["epoch"] = 1
            self.sent[session].append(mine)
            # Some of them while the shard works; a batch each, for the batches' borders.
            self.alone.put(mine, ring=session - 1)

    def send_again(self, released: NDArray[Any]) -> None:
        """Publish what no released report answers."""
        for session in SESSIONS:
            own = released[(released["session"] == session) & (released["inbound_seq"] != 0)]
            answered = int(own["inbound_seq"].max(initial=0))
            everything = np.concatenate(self.sent[session])
            self.alone.put(everything[answered:], ring=session - 1)

    def die(self) -> tuple[NDArray[Any], bool]:
        """Make the shard's death; return what was released, and whether memory is lost."""
        alone, rng = self.alone, self.rng
        batches = read_batches(alone)
        life = [n for n, batch in enumerate(batches) if batch.epoch == batches[-1].epoch]
        last = rng.choice(life)
        done = rng.choice([n for n in life if n <= last])
        torn = rng.choice([0, 8, 24, rng.randrange(0, 400) & ~7])
        if last + 1 < len(batches):
            torn = min(torn, batches[last + 1].end - batches[last + 1].begin - 8)
        synced = max([batch.synced for batch in batches[: last + 1]] + [batches[done].end])
        replica = Replica.open(self.data, 0, snapshot=rng.random() < 0.5)
        replica.follow(stop_seq=batches[done].seq)
        assert replica.log_bytes == batches[done].end
        report_seq, report_bytes = replica.report_seq, replica.report_bytes
        if rng.random() < 0.5:
            write_snapshot(self.data, replica, self.config.venue.name)
        event_seq = replica.event_seq
        replica.close()
        released = alone.reports()[:report_seq]
        overwrite(alone, "commands", batches[last].end, 0, keep=torn)
        overwrite(alone, "reports", report_bytes, rng.choice([0, 0xEE]))
        words = alone.words
        words[ShardWord.LOG_BYTES] = batches[rng.choice([done, last])].end
        words[ShardWord.LOG_POSITION] = words[ShardWord.LOG_BYTES] // 8
        words[ShardWord.SYNCED_BYTES] = synced if self.config.log.durability == "power" else 0
        words[ShardWord.RELEASED_REPORT] = report_seq
        words[ShardWord.RELEASED_POSITION] = report_bytes
        words[ShardWord.EVENT_SEQ] = event_seq
        # Within a batch, as far as the dead loop's own words say.
        words[ShardWord.BATCH_NEXT] = rng.randrange(1, 99)
        words[ShardWord.BATCH_END] = rng.randrange(1, 99)
        words[ShardWord.BATCH_RING] = rng.randrange(3)
        words[ShardWord.LOG_IS_FULL] = 1
        alone.memory.ring_headers[0, :, HEAD_WORD] = batches[done].rings
        return released, rng.random() < 0.5

    def change_configuration(self) -> None:
        """Other sizes, and more symbols: what a restart of the venue may bring."""
        rng, old = self.rng, self.config.capacity
        sizes = {
            # Less might not hold what is open: the start would be refused.
            "open_orders": max(rng.choice([40, 60, 200]), old.open_orders),
            "levels": max(rng.choice([12, 20, 60]), old.levels),
            "finished_orders": rng.choice([0, 1, 20, 500]),
        }
        self.config = msgspec.structs.replace(
            self.config,
            capacity=msgspec.structs.replace(old, **sizes),
            symbols=tuple(Symbol(name=f"S{n}") for n in range(rng.choice([4, 6, 8]))),
        )


def check_all_told_once(venue: Venue, reports: NDArray[Any]) -> None:
    assert (np.diff(reports["report_seq"]) == 1).all()
    assert (np.diff(reports["time_ns"]) >= 0).all()
    # The dead shard's log was full; this one's is not.
    assert not (reports["reason"] == RejectReason.LOG_CAPACITY).any()
    for session in SESSIONS:
        count = sum(map(len, venue.sent[session]))
        own = reports[(reports["session"] == session) & (reports["inbound_seq"] != 0)]
        real = own[own["kind"] != ReportKind.DUPLICATE]
        pairs = {(int(row["inbound_seq"]), int(row["seq"])) for row in real}
        assert sorted(number for number, _ in pairs) == list(range(1, count + 1))


def check_replay(venue: Venue, book: Any, reports: NDArray[Any]) -> None:
    """The whole log anew makes the same book and reports; so does the newest snapshot."""
    rows: list[bytes] = []
    replica = Replica.open(venue.data, 0, snapshot=False)
    replica.follow(reports=RowSink(lambda _, reports: rows.append(reports.tobytes())))
    assert b"".join(rows) == reports.tobytes()
    assert replica.state_hash() == state_hash(book)
    check_invariants(replica.book)
    replica.close()
    replica = Replica.open(venue.data, 0)
    replica.follow()
    assert (replica.state_hash(), replica.report_seq) == (state_hash(book), len(reports))
    check_invariants(replica.book)
    replica.close()


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("durability", ["process", "power"])
def test_whenever_it_dies_everything_is_told_once_and_alike(tmp_path, durability, seed):
    venue = Venue(durability, seed, tmp_path)
    released = np.zeros(0, np.uint8)
    loses_memory = False
    for round_ in range(ROUNDS):
        if loses_memory:
            venue.restart()
            venue.send_again(released)
        if round_ == 0 or venue.rng.random() < 0.8:
            venue.send()
        book = venue.alone.run().book
        check_invariants(book)
        reports = venue.alone.reports()
        assert reports[: len(released)].tobytes() == released.tobytes()
        check_all_told_once(venue, reports)
        check_replay(venue, book, reports)
        released, loses_memory = venue.die()
        if loses_memory and venue.rng.random() < 0.5:
            venue.change_configuration()
    shutil.rmtree(tmp_path)

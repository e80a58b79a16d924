"""A gateway that dies at any moment: what the next one makes of its files.

A run is made of what clients send, what shards and the gateway itself answer, checkpoints and
resets. Copies of its files are taken at random points, also such as a kill within the kernels
leaves; another gateway recovers each. What it must come to is told by a model in plain Python,
which knows who was sent what and which message was answered by whom.
"""

import errno
import random
import shutil
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from support.gateway_alone import GatewayAlone

from openoutcry.engine.enums import CommandKind, OrderStatus, ReportKind
from openoutcry.engine.ring import HEAD_WORD, TAIL_WORD
from openoutcry.server import durable
from openoutcry.server.checkpoint import CheckpointFile
from openoutcry.server.journal import OutOfSpaceError, SegmentedFile
from openoutcry.server.log_end import RecoveryError
from openoutcry.server.segments import HEADER_BYTES
from openoutcry.server.session_settings import CancelOnDisconnect, Session
from openoutcry.server.sessions import (
    BLOCK_HEADER_WORDS,
    BLOCK_WORDS,
    SEGMENT_HEAD_WORDS,
    SEGMENT_MARK,
    SOURCE_ANSWER,
)
from openoutcry.server.store import GatewayStore

#: Two FIX sessions, one of the binary protocol, and a drop copy of all of them.
FIX, FIX_TOO, BINARY, COPY = 1, 2, 3, 4
CLIENTS = (FIX, FIX_TOO, BINARY)
SESSIONS = (
    Session(id="A"),
    Session(id="B", cancel_on_disconnect=CancelOnDisconnect(grace_s=5)),
    Session(id="C", protocol="binary"),
    Session(id="D", drop_copy="firm"),
)
SHARDS = 2
REPORT = {
    "order_id": 3,
    "price_ticks": 7,
    "qty_lots": 5,
    "leaves_qty": 5,
    "cl_ord_id": b"ID",
    "kind": ReportKind.NEW,
    "status": OrderStatus.NEW,
    "side": 1,
    "ord_type": 2,
}


@dataclass
class Model:
    """What clients sent and got, as it should be.

    Attributes:
        epoch: by session.
        sent: by (session, epoch), what became of each number from 1 on: ("shard", shard), "own"
            (the gateway answered it), "reject" (likewise, with a Reject(3)) or "admin" (no answer).
        marks: by (session, shard): the highest (epoch, number) that the shard logged.
        executed: (session, epoch, number) → how often.
        reports: by shard, (session, epoch, number or 0) of each report.
    """

    epoch: dict[int, int] = field(default_factory=lambda: dict.fromkeys(CLIENTS, 1))
    sent: dict[tuple[int, int], list[Any]] = field(default_factory=lambda: defaultdict(list))
    marks: dict[tuple[int, int], tuple[int, int]] = field(default_factory=dict)
    executed: dict[tuple[int, int, int], int] = field(default_factory=lambda: defaultdict(int))
    reports: dict[int, list[tuple[int, int, int, bool]]] = field(
        default_factory=lambda: defaultdict(list)
    )


class Run:
    """A gateway at work: its clients, and shards that answer what is in the rings."""

    def __init__(self, alone: GatewayAlone, model: Model, chooser: random.Random) -> None:
        self.alone = alone
        self.gateway = alone.gateway
        self.model = model
        self.chooser = chooser
        #: First numbers and places of the index blocks that a gateway before this one wrote.
        self.places: dict[int, tuple[list[int], list[int]]] = {}
        #: The files as they are on the disk, and what left the venue before they were.
        self.synced: dict[str, bytes] = {}
        self.released: dict[int, list[int]] = {}

    # --- what may happen --------------------------------------------------------------------------

    def send(self, session: int) -> None:
        """Have a client send its next message."""
        rows = self.gateway.index.rows
        number = int(rows[session]["next_in"])
        sent = self.model.sent[session, self.model.epoch[session]]
        assert number == len(sent) + 1
        kinds = ["shard"] * 6 + ["own", "reject", "admin"]
        kind: Any = self.chooser.choice(kinds if session != BINARY else ["shard", "own"])
        if kind == "shard":
            kind = ("shard", self.chooser.randrange(SHARDS))
        sent.append(kind)
        self.handle(session, number, kind)

    def handle(self, session: int, number: int, kind: Any) -> None:
        """Do with a message what its kind says, and count its number."""
        gateway, index = self.gateway, self.gateway.index
        index.rows[session]["next_in"] += 1
        if isinstance(kind, tuple):
            row = gateway.orders.command(CommandKind.NEW, session, number)
            gateway.orders.put(kind[1], row)
            return
        if kind == "admin":
            return
        key = session, int(index.rows[session]["epoch"]), number
        frame = f"answer to {key}".encode() if kind == "own" else None
        next_out = int(index.rows[session]["next_out"])
        GatewayStore(gateway, session).record(next_out, 5, frame, number)
        index.rows[session]["next_out"] += 1

    def answer(self, shard: int, most: int = 1 << 30) -> None:
        """Have a shard take commands from its ring, and answer them."""
        memory, model = self.alone.memory, self.model
        header = memory.ring_headers[shard, 0]
        commands = memory.commands[shard, 0]
        while header[HEAD_WORD] < header[TAIL_WORD] and most:
            most -= 1
            command = commands[int(header[HEAD_WORD]) & (len(commands) - 1)].copy()
            header[HEAD_WORD] += 1
            session, number = int(command["session"]), int(command["inbound_seq"])
            epoch = int(command["epoch"])
            if number == 0:
                continue
            report = REPORT | {"session": session, "inbound_seq": number, "epoch": epoch}
            if (epoch, number) <= model.marks.get((session, shard), (0, 0)):
                report["kind"], report["order_id"] = ReportKind.DUPLICATE, 0
                self.write(shard, report)
                continue
            model.marks[session, shard] = epoch, number
            model.executed[session, epoch, number] += 1
            self.write(shard, report)
            for _ in range(self.chooser.choice([0, 0, 1, 3])):
                # Somebody's resting order trades.
                other = self.chooser.choice(CLIENTS)
                trade = {"session": other, "inbound_seq": 0, "epoch": model.epoch[other]}
                self.write(shard, REPORT | trade | {"kind": ReportKind.TRADE})

    def write(self, shard: int, report: dict[str, Any]) -> None:
        """Release a report."""
        self.alone.logs[shard].write(report)
        key = report["session"], report["epoch"], report["inbound_seq"]
        self.model.reports[shard].append((*key, report["kind"] == ReportKind.DUPLICATE))

    def reset(self, session: int) -> None:
        """Have a session's numbers begin anew."""
        self.gateway.index.reset(session, 9)
        self.model.epoch[session] = int(self.gateway.index.rows[session]["epoch"])

    def step(self) -> None:
        """Let something happen."""
        chooser = self.chooser
        what = chooser.random()
        if what < 0.5:
            self.send(chooser.choice(CLIENTS))
        elif what < 0.75:
            self.answer(chooser.randrange(SHARDS), chooser.randrange(1, 6))
        elif what < 0.93:
            self.gateway.drain()
        elif what < 0.985:
            self.sync()
            self.gateway.try_checkpoint()
        elif what < 0.99:
            self.reset(chooser.choice(CLIENTS))

    def sync(self) -> None:
        """Have all on the disk, and let out what was noted."""
        self.released = {session: self.sources(session) for session in (*CLIENTS, COPY)}

        def note(event: str, path: Path) -> None:
            if event == durable.SYNCED:
                self.synced[path.name] = path.read_bytes()

        durable.observer = note
        try:
            self.gateway.index.sync()
        finally:
            durable.observer = None
        # The checkpoint is written behind this, by whoever syncs it himself.
        name = "gateway-0-checkpoint"
        self.synced[name] = (self.alone.folder / name).read_bytes()

    # --- what can be seen -------------------------------------------------------------------------

    def sources(self, session: int) -> list[int]:
        """Return the sources of all that a session was sent in its epoch, from number 1 on."""
        index = self.gateway.index
        starts, places = index.blocks_of(session)
        found: list[int] = []
        for start, place in zip(starts, places, strict=True):
            words = index.words_of(place)
            assert start == len(found) + 1
            count = int(words[4])
            found += words[BLOCK_HEADER_WORDS + 1 :: 2][:count].tolist()
        assert len(found) == int(index.rows[session]["next_out"]) - 1
        return found

    def own_answers(self, session: int) -> Counter[int]:
        """Return how often the gateway itself answered each message of a client's."""
        index = self.gateway.index
        numbers: list[int] = []
        for source in self.sources(session):
            if source <= SOURCE_ANSWER:
                numbers.append(SOURCE_ANSWER - source)
            elif source < 0:
                stored = index.stored_message(source)
                assert stored is not None
                assert stored.session == session
                key = session, int(index.rows[session]["epoch"]), stored.answers
                assert index.stored_bytes(source) == f"answer to {key}".encode()
                numbers.append(stored.answers)
        return Counter(numbers)


def start(folder: Path, **options: Any) -> GatewayAlone:
    folder.mkdir(exist_ok=True)
    alone = GatewayAlone(folder, SHARDS, SESSIONS, **options)
    alone.gateway.recover()
    return alone


def crash(run: Run, folder: Path) -> GatewayAlone:
    """Return a gateway over a copy of another one's files, not recovered; its rings are gone."""
    shutil.copytree(run.alone.folder, folder)
    return GatewayAlone(folder, SHARDS, SESSIONS, ends=run.alone.ends())


def keep_rings(run: Run, alone: GatewayAlone) -> None:
    """Have the rings outlive the gateway."""
    alone.memory.ring_headers[:] = run.alone.memory.ring_headers
    alone.memory.commands[:] = run.alone.memory.commands
    tails = alone.memory.ring_headers[:, 0, TAIL_WORD]
    alone.gateway.routes.tails[:] = tails
    alone.gateway.routes.published[:] = tails


def recover(run: Run, folder: Path) -> Run:
    """Have a gateway recover; now and then it dies just before its checkpoint, and another one
    does."""
    if run.chooser.random() < 0.3:
        run.gateway.write_checkpoint = lambda: None  # type: ignore[method-assign]
        run.gateway.recover()
        before = {session: run.sources(session) for session in (*CLIENTS, COPY)}
        again = crash(run, folder)
        run.alone.close()
        run = Run(again, run.model, run.chooser)
        run.gateway.recover()
        check_sent(run, before)
        assert before == {session: run.sources(session) for session in (*CLIENTS, COPY)}
        return run
    run.gateway.recover()
    return run


def check_sent(run: Run, before: dict[int, list[int]]) -> None:
    """Every report was numbered once for each who sees it; no number has another meaning."""
    for session in (*CLIENTS, COPY):
        sources = run.sources(session)
        assert sources[: len(before[session])] == before[session]
        for shard in range(SHARDS):
            positions = [s for s in sources if s > 0 and s >> 48 == shard]
            assert positions == sorted(set(positions))
            if session == COPY:
                expected = sum(not mark for *_, mark in run.model.reports[shard])
                assert len(positions) == expected


def come_back(run: Run) -> None:
    """Have the clients send again what they are asked for, and check that all is answered once."""
    model, index = run.model, run.gateway.index
    for session in CLIENTS:
        epoch = model.epoch[session]
        assert int(index.rows[session]["epoch"]) == epoch
        sent = model.sent[session, epoch]
        expected = int(index.rows[session]["next_in"])
        # Never above what the client sent, and all before was answered.
        assert 1 <= expected <= len(sent) + 1
        own = run.own_answers(session)
        for number in range(1, expected):
            is_admin = sent[number - 1] == "admin"
            assert is_admin or model.executed[session, epoch, number] + own[number] == 1
        for number in range(expected, len(sent) + 1):
            kind = sent[number - 1]
            if kind == "admin":
                # A gap fill.
                index.rows[session]["next_in"] += 1
            elif index.answers.was_answered(session, number):
                index.rows[session]["next_in"] += 1
            else:
                run.handle(session, number, kind)
    for shard in range(SHARDS):
        run.answer(shard)
    run.gateway.drain()
    for (session, epoch), sent in model.sent.items():
        if epoch != model.epoch[session]:
            continue
        own = run.own_answers(session)
        for number, kind in enumerate(sent, 1):
            answered = model.executed[session, epoch, number], own[number]
            assert answered == (int(isinstance(kind, tuple)), int(kind in ("own", "reject")))
    marks = sum(mark for reports in model.reports.values() for *_, mark in reports)
    assert marks == 0, "a message was sent to a shard that had it"


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("rings_are_kept", [False, True])
def test_whenever_it_dies_all_is_answered_once(tmp_path: Path, seed: int, rings_are_kept: bool):
    chooser = random.Random(seed)
    run = Run(start(tmp_path / "0"), Model(), chooser)
    for life in range(1, 5):
        for _ in range(chooser.randrange(1, 500)):
            run.step()
        before = {session: run.sources(session) for session in (*CLIENTS, COPY)}
        alone = crash(run, tmp_path / str(life))
        if rings_are_kept:
            keep_rings(run, alone)
        run.alone.close()
        run = Run(alone, run.model, chooser)
        for shard in range(SHARDS):
            run.answer(shard)
        run = recover(run, tmp_path / f"{life}a")
        check_sent(run, before)
        if chooser.random() < 0.3:
            # It dies again before anybody has come back.
            before = {session: run.sources(session) for session in (*CLIENTS, COPY)}
            again = crash(run, tmp_path / f"{life}b")
            run.alone.close()
            run = Run(again, run.model, chooser)
            run.gateway.recover()
            check_sent(run, before)
        come_back(run)
        check_sent(run, before)
    run.alone.close()


def tear(run: Run, appends: list[int], before: dict[int, list[int]]) -> None:
    """Leave of the latest entries only some of the first, as a kill within the kernel does.

    `appends`: whose entries were added last, in this order, behind those `before`.
    """
    chooser, index = run.chooser, run.gateway.index
    kept = appends[: chooser.randrange(len(appends) + 1)]
    for session in (*CLIENTS, COPY):
        count = len(before[session]) + kept.count(session)
        starts, places = run.places[session]
        for start, place in zip(starts, places, strict=True):
            words = index.blocks[place * BLOCK_WORDS : (place + 1) * BLOCK_WORDS]
            if start <= count:
                # What lies behind was written, and not counted yet.
                words[4] = min(int(words[4]), count - start + 1)
            elif start == count + 1 and chooser.random() < 0.5:
                words[4] = 0
            else:
                words[:] = 0


@pytest.mark.parametrize("seed", range(20))
def test_a_kill_between_two_stores_of_the_index(tmp_path: Path, seed: int):
    chooser = random.Random(100 + seed)
    run = Run(start(tmp_path / "0"), Model(), chooser)
    for life in range(1, 4):
        for _ in range(chooser.randrange(1, 300)):
            run.step()
        # Enough for several blocks of the drop copy, all numbered in one go.
        for _ in range(chooser.randrange(1, 120)):
            for _ in range(chooser.randrange(8)):
                run.send(chooser.choice(CLIENTS))
            for shard in range(SHARDS):
                run.answer(shard)
        before = {session: run.sources(session) for session in (*CLIENTS, COPY)}
        appends = []
        for shard in range(SHARDS):
            for session, *_, is_mark in run.model.reports[shard][
                run.gateway.next_report[shard] - 1 :
            ]:
                appends += [] if is_mark else [session, COPY]
        run.gateway.drain()
        places = {session: run.gateway.index.blocks_of(session) for session in (*CLIENTS, COPY)}
        alone = crash(run, tmp_path / str(life))
        run.alone.close()
        run = Run(alone, run.model, chooser)
        run.places = places
        tear(run, appends, before)
        run = recover(run, tmp_path / f"{life}a")
        check_sent(run, before)
        come_back(run)
        check_sent(run, before)
    run.alone.close()


# --- a power cut ----------------------------------------------------------------------------------

PAGE = 4096


def gateway_files(folder: Path) -> dict[str, bytes]:
    """Return what the gateway's files hold."""
    return {path.name: path.read_bytes() for path in folder.glob("gateway-0-*")}


def cut_power(run: Run, folder: Path) -> GatewayAlone:
    """Return a gateway over files of which each page is as at the last sync, or as now."""
    shutil.copytree(run.alone.folder, folder)
    for name, now in gateway_files(folder).items():
        # A new segment is on the disk, all zero behind its header, before it is used.
        before = run.synced.get(name) or now[:PAGE].ljust(len(now), b"\0")
        pages = []
        for at in range(0, len(now), PAGE):
            pages.append((now if run.chooser.random() < 0.5 else before)[at : at + PAGE])
        (folder / name).write_bytes(b"".join(pages))
    return GatewayAlone(folder, SHARDS, SESSIONS, ends=run.alone.ends())


@pytest.mark.parametrize("seed", range(20))
def test_a_power_cut_takes_nothing_that_was_released(tmp_path: Path, seed: int):
    chooser = random.Random(1000 + seed)
    run = Run(start(tmp_path / "0"), Model(), chooser)
    for life in range(1, 4):
        run.sync()
        for _ in range(chooser.randrange(1, 400)):
            epochs = dict(run.model.epoch)
            run.step()
            # The answer to a reset's Logon waits for the sync.
            if chooser.random() < 0.05 or epochs != run.model.epoch:
                run.sync()
        released = run.released
        alone = cut_power(run, tmp_path / str(life))
        run.alone.close()
        run = Run(alone, run.model, chooser)
        run = recover(run, tmp_path / f"{life}a")
        check_sent(run, released)
        come_back(run)
        check_sent(run, released)
    run.alone.close()


def test_a_reset_that_only_a_shard_heard_of_has_happened(tmp_path: Path):
    run = Run(start(tmp_path / "0"), Model(), random.Random(1))
    for _ in range(40):
        run.step()
    run.sync()
    before = len(run.sources(FIX))
    assert before
    # The Logon's answer waits for the disk, but orders behind it are in the shard's log already.
    run.reset(FIX)
    for number in (1, 2):
        run.model.sent[FIX, run.model.epoch[FIX]].append(("shard", 0))
        run.handle(FIX, number, ("shard", 0))
    run.answer(0)
    run.answer(1)
    alone = crash(run, tmp_path / "1")
    for name, data in run.synced.items():
        (tmp_path / "1" / name).write_bytes(data)
    alone.close()
    again = GatewayAlone(tmp_path / "1", SHARDS, SESSIONS, ends=run.alone.ends())
    run.alone.close()
    run = Run(again, run.model, run.chooser)
    run.gateway.recover()
    row = run.gateway.index.rows[FIX]
    assert (int(row["epoch"]), int(row["next_in"])) == (run.model.epoch[FIX], 3)
    executed = [n for s, e, n in run.model.executed if (s, e) == (FIX, run.model.epoch[FIX])]
    assert sorted(executed) == [1, 2]
    assert len(run.sources(FIX)) == sum(
        (s, e) == (FIX, run.model.epoch[FIX])
        for shard in range(SHARDS)
        for s, e, *_ in run.model.reports[shard]
    )
    come_back(run)
    run.alone.close()


@pytest.mark.parametrize("has_checkpoint", [False, True])
def test_a_segment_that_lost_its_first_block_is_marked_again(tmp_path: Path, has_checkpoint: bool):
    run = Run(start(tmp_path / "0"), Model(), random.Random(4))
    file = run.gateway.index.index_file
    while file.mapped_bytes < 2 * file.segment_bytes:
        run.step()
        if has_checkpoint and run.chooser.random() < 0.1:
            run.gateway.write_checkpoint()
    before = {session: run.sources(session) for session in (*CLIENTS, COPY)}
    head = run.gateway.index.blocks[file.segment_bytes // 8 :][: SEGMENT_HEAD_WORDS + SHARDS]
    marked = head.tolist()
    assert marked[:2] == [SEGMENT_MARK, SHARDS]
    # The segment was made; what is in it was to be synced when the power went.
    head[:] = 0
    alone = crash(run, tmp_path / "1")
    if not has_checkpoint:
        (tmp_path / "1" / "gateway-0-checkpoint").unlink()
        alone.close()
        alone = GatewayAlone(tmp_path / "1", SHARDS, SESSIONS, ends=run.alone.ends())
    run.alone.close()
    run = Run(alone, run.model, run.chooser)
    run.gateway.recover()
    found = run.gateway.index.blocks[file.segment_bytes // 8 :][: SEGMENT_HEAD_WORDS + SHARDS]
    # From further back on, at most: the latest checkpoint may be older than the segment.
    assert found[:2].tolist() == [SEGMENT_MARK, SHARDS]
    assert (found <= marked).all()
    check_sent(run, before)
    run.alone.close()


@pytest.mark.parametrize("has_checkpoint", [False, True])
def test_an_index_that_is_ahead_of_the_reports_is_refused(tmp_path: Path, has_checkpoint: bool):
    run = Run(start(tmp_path / "0"), Model(), random.Random(3))
    for _ in range(60):
        run.step()
    run.gateway.drain()
    ends = run.alone.ends()
    run.write(0, REPORT | {"session": FIX, "inbound_seq": 0, "epoch": run.model.epoch[FIX]})
    run.gateway.drain()
    if has_checkpoint:
        run.gateway.write_checkpoint()
    # Such a log was cut, or is of another time.
    shutil.copytree(run.alone.folder, tmp_path / "1")
    run.alone.close()
    again = GatewayAlone(tmp_path / "1", SHARDS, SESSIONS, ends=ends)
    with pytest.raises(RecoveryError, match="not of one venue at one time"):
        again.gateway.recover()
    again.close()


@pytest.mark.parametrize("damage", [bytes(100), b"\xff" * 100, b"\x11" * 12 + b"\x01" * 88])
def test_what_is_not_the_report_that_is_due_is_refused(tmp_path: Path, damage: bytes):
    run = Run(start(tmp_path / "0"), Model(), random.Random(3))
    for _ in range(60):
        run.step()
    run.gateway.drain()
    run.gateway.write_checkpoint()
    position = int(run.gateway.positions[0])
    for _ in range(20):
        run.write(0, REPORT | {"session": FIX, "inbound_seq": 0, "epoch": run.model.epoch[FIX]})
    ends = run.alone.ends()
    shutil.copytree(run.alone.folder, tmp_path / "1")
    run.alone.close()
    path = tmp_path / "1" / "shard-0-reports-00000000.seg"
    data = bytearray(path.read_bytes())
    data[HEADER_BYTES + position : HEADER_BYTES + position + len(damage)] = damage
    path.write_bytes(data)
    again = GatewayAlone(tmp_path / "1", SHARDS, SESSIONS, ends=ends)
    with pytest.raises(RecoveryError, match=f"{path.name} has no report .* at byte"):
        again.gateway.recover()
    again.close()


def test_a_gateway_whose_checkpoints_cannot_be_written_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    run = Run(start(tmp_path / "0"), Model(), random.Random(8))
    for _ in range(30):
        run.step()
    assert run.gateway.try_checkpoint()

    def refuse(file: CheckpointFile, image: bytes) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(CheckpointFile, "write", refuse)
    for _ in range(30):
        run.step()
        assert not run.gateway.try_checkpoint()
    assert caplog.text.count("no checkpoint can be written") == 1
    monkeypatch.undo()
    before = {session: run.sources(session) for session in (*CLIENTS, COPY)}
    alone = crash(run, tmp_path / "1")
    run.alone.close()
    run = Run(alone, run.model, run.chooser)
    for shard in range(SHARDS):
        run.answer(shard)
    run.gateway.recover()
    check_sent(run, before)
    come_back(run)
    run.alone.close()


def test_a_disk_without_room_holds_reports_back_until_there_is_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    run = Run(start(tmp_path / "0"), Model(), random.Random(2))
    alone, index = run.alone, run.gateway.index
    allocate = SegmentedFile.map_next

    def refuse(file: SegmentedFile, **options: Any) -> None:
        if file.name.startswith("gateway"):
            raise OutOfSpaceError(28, "no room")
        allocate(file, **options)

    monkeypatch.setattr(SegmentedFile, "map_next", refuse)
    count = 0
    while index.has_room:
        for shard in range(SHARDS):
            for _ in range(60):
                run.write(shard, REPORT | {"session": FIX, "inbound_seq": 0, "epoch": 1})
                count += 1
        run.gateway.drain()
        assert count < 20_000
    for _ in range(3000):
        run.write(0, REPORT | {"session": FIX, "inbound_seq": 0, "epoch": 1})
        count += 1
    run.gateway.drain()
    assert int(index.rows[FIX]["next_out"]) - 1 < count
    assert caplog.text.count("no room for what sessions are sent") == 1

    def number_many() -> None:
        for _ in range(20_000):
            index.append(FIX_TOO, int(index.rows[FIX_TOO]["next_out"]), 5, 0)
            index.rows[FIX_TOO]["next_out"] += 1

    with pytest.raises(OutOfSpaceError):
        number_many()
    monkeypatch.undo()
    run.gateway.drain()
    assert int(index.rows[FIX]["next_out"]) - 1 == count
    assert index.has_room
    check_sent(run, {session: [] for session in (*CLIENTS, COPY)})
    alone.close()


def test_what_was_sent_before_a_reset_is_not_sent_again_behind_it(tmp_path: Path):
    run = Run(start(tmp_path / "0"), Model(), random.Random(6))
    trade = REPORT | {"inbound_seq": 0, "kind": ReportKind.TRADE}
    run.gateway.write_checkpoint()
    for shard in range(SHARDS):
        run.write(shard, trade | {"session": FIX, "epoch": 1})
    run.gateway.drain()
    assert len(run.sources(FIX)) == SHARDS
    # Two resets, and the latest of the reports is not numbered yet.
    run.reset(FIX)
    run.write(0, trade | {"session": FIX, "epoch": 1})
    run.gateway.drain()
    assert len(run.sources(FIX)) == 1
    run.reset(FIX)
    run.write(1, trade | {"session": FIX, "epoch": 1})
    before = {session: run.sources(session) for session in (*CLIENTS, COPY)}
    alone = crash(run, tmp_path / "1")
    run.alone.close()
    run = Run(alone, run.model, run.chooser)
    run.gateway.recover()
    check_sent(run, before)
    assert int(run.gateway.index.rows[FIX]["epoch"]) == run.model.epoch[FIX] == 3
    (source,) = run.sources(FIX)
    assert source >> 48 == 1
    run.alone.close()


def numbered(run: Run, session: int, count: int) -> None:
    """Have a session be sent reports."""
    for _ in range(count):
        trade = {"session": session, "inbound_seq": 0, "epoch": 1, "kind": ReportKind.TRADE}
        run.write(0, REPORT | trade)
    run.gateway.drain()


def store(run: Run, session: int, data: bytes) -> None:
    """Have a session be sent what the gateway made."""
    row = run.gateway.index.rows[session]
    GatewayStore(run.gateway, session).record(int(row["next_out"]), 5, data)
    row["next_out"] += 1


def test_blocks_behind_a_cut_one_are_not_found_again(tmp_path: Path):
    run = Run(start(tmp_path / "0"), Model(), random.Random(9))
    at = run.gateway.index.stored_end
    numbered(run, FIX, 240)
    store(run, FIX, b"lost with the power")
    numbered(run, FIX, 30)
    assert len(run.gateway.index.blocks_of(FIX)[0]) == 2
    alone = crash(run, tmp_path / "1")
    run.alone.close()
    run = Run(alone, run.model, run.chooser)
    run.gateway.index._stored[at : at + 64] = 0
    # It dies before its checkpoint, and with a new block that begins as the lost one did.
    run.gateway.write_checkpoint = lambda: None  # type: ignore[method-assign]
    run.gateway.recover()
    before = {session: run.sources(session) for session in (*CLIENTS, COPY)}
    assert len(before[FIX]) == 270
    assert len(run.gateway.index.blocks_of(FIX)[0]) == 2
    again = crash(run, tmp_path / "2")
    run.alone.close()
    run = Run(again, run.model, run.chooser)
    run.gateway.recover()
    assert {session: run.sources(session) for session in (*CLIENTS, COPY)} == before
    run.alone.close()


def test_another_one_s_stored_message_is_not_taken_over(tmp_path: Path):
    run = Run(start(tmp_path / "0"), Model(), random.Random(9))
    index = run.gateway.index
    numbered(run, FIX, 2)
    source = index.store_bytes(b"for somebody else", FIX_TOO)
    index.append(FIX, 3, 5, source)
    alone = crash(run, tmp_path / "1")
    run.alone.close()
    run = Run(alone, run.model, run.chooser)
    run.gateway.recover()
    assert len(run.sources(FIX)) == 2
    run.alone.close()


def test_a_message_that_was_stored_and_not_noted_cannot_be_told_later(tmp_path: Path):
    run = Run(start(tmp_path / "0"), Model(), random.Random(9))
    index = run.gateway.index
    store(run, FIX, b"noted")
    end = index.stored_end
    # It dies before it notes these.
    stale = [index.store_bytes(b"not noted", FIX, number) for number in (3, 4)]
    alone = crash(run, tmp_path / "1")
    run.alone.close()
    run = Run(alone, run.model, run.chooser)
    run.gateway.recover()
    index = run.gateway.index
    assert index.stored_end == end
    assert index.stored_bytes(run.sources(FIX)[0]) == b"noted"
    # Should the next one's page be lost with the power, and its entry not, nothing is there.
    assert [index.stored_message(source) for source in stale] == [None, None]
    run.alone.close()


def test_what_is_in_the_rings_is_awaited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run = Run(start(tmp_path / "0"), Model(), random.Random(9))
    for number in (1, 2, 3):
        run.model.sent[FIX, 1].append(("shard", number % SHARDS))
        run.handle(FIX, number, ("shard", number % SHARDS))
    alone = crash(run, tmp_path / "1")
    keep_rings(run, alone)
    run.alone.close()
    run = Run(alone, run.model, run.chooser)
    waits = iter(range(SHARDS))
    # A shard works while the gateway waits.
    monkeypatch.setattr(
        "openoutcry.server.gateway_recovery.time.sleep", lambda _: run.answer(next(waits))
    )
    run.gateway.recover()
    assert next(waits, None) is None
    assert int(run.gateway.index.rows[FIX]["next_in"]) == 4
    monkeypatch.undo()
    come_back(run)
    run.alone.close()

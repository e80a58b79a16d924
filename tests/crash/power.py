"""Power cuts under load: from each, many images of what the disk may hold, and each is recovered.

At a moment, often between two steps of a write, all processes are stopped where they are; the
clients' record up to then is read, and the files and their shadow (server/recorder.py) are taken.
Every image is recovered in this process, by the code that the venue's processes run: what a client
had got would be sent to it again, the same bytes under the same number, and no request that the
venue does not ask for again may be missing. Then the power comes back for real: the venue starts on
one of the images, and its clients go on; sometimes the power goes again while it starts.
"""

import itertools
import os
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from crash.audit import Replayed, audit
from crash.checker import Session
from crash.images import Frozen
from crash.kills import Kills
from crash.venue import SESSIONS, CrashError, CrashVenue
from crash.wire import read_binary, read_fix
from numpy.typing import NDArray
from support.peers import Closed, FixPeer

from openoutcry.engine.log import as_words
from openoutcry.engine.pack import FIRST_BYTE, unpack_rows
from openoutcry.engine.records import COMMAND, REPORT, SHARD_SHIFT
from openoutcry.engine.recovery import FollowEnd
from openoutcry.engine.snapshot import check_invariants, state_hash
from openoutcry.engine.state import ProcessStatus, ShardWord
from openoutcry.protocol.binary.frames import HEADER_BYTES
from openoutcry.protocol.binary.frames import FrameReader as BinaryFrames
from openoutcry.protocol.fix.stream import FrameReader as FixFrames
from openoutcry.protocol.fix.versions import Version
from openoutcry.server.config_file import load_config
from openoutcry.server.directory import SessionRecord, read_directory
from openoutcry.server.gateway import Gateway
from openoutcry.server.journal import open_segments
from openoutcry.server.log_reader import join_rows
from openoutcry.server.memory import VenueMemory
from openoutcry.server.recorder import HALT, HALTED, VARIABLE
from openoutcry.server.replica import Replica, RowSink
from openoutcry.server.resolve import resolve
from openoutcry.server.sessions import BLOCK_HEADER_WORDS, SOURCE_ADMINISTRATIVE
from openoutcry.server.shard_start import start_shard
from openoutcry.server.store import GatewayStore, SentMessages

#: Moments at which the power goes: what is told to `server.durable.observer`, and a part of the
#: file's name. `sync`: written, the sync has not begun; `synced`: nobody knows of it yet;
#: `renamed`: the folder does not have the name for sure.
MOMENTS = (
    *(("sync", "commands"), ("synced", "commands"), ("renamed", "commands")),
    *(("sync", "index"), ("synced", "index"), ("renamed", "index"), ("sync", "messages")),
    *(("sync", "checkpoint"), ("synced", "checkpoint"), ("renamed", "reports")),
    *(("sync", "snapshot"), ("renamed", "snapshot"), ("folder-sync", "data")),
    *(("sync", "directory.log"), ("synced", "directory.log")),
)
#: Share of the cuts at any moment whatever.
_AT_RANDOM = 0.25
#: How long a moment is waited for; a segment is full after some ten seconds.
_MOMENT_S = 30.0
#: Share of the starts that are cut off again.
_AGAIN = 0.2
#: Times between two syncs of a log, by turns: the longer, the more is under way.
_GROUP_COMMIT_US = (1000, 50_000)
#: Cuts in the life of one venue; then another begins with an empty folder.
_LIFE = 10

_VERSIONS = {plan.name: Version[plan.protocol] for plan in SESSIONS if plan.protocol != "binary"}


def run_power_images(
    seed: int,
    images: int,
    folder: Path,
    tell: Callable[[str], None] = lambda text: None,
    *,
    cuts: int = 40,
    gateways: int = 2,
    shards: int = 2,
) -> dict[str, Any]:
    """Cut the power again and again; return the counts. Raises CrashError."""
    total: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    for life, first in enumerate(range(0, cuts, _LIFE)):
        own = folder / f"power-{life}"
        many = [
            images * (cut + 1) // cuts - images * cut // cuts
            for cut in range(first, min(first + _LIFE, cuts))
        ]
        group = f"log.group_commit_us={_GROUP_COMMIT_US[life % len(_GROUP_COMMIT_US)]}"
        run = PowerCuts(seed + life, own, tell, group, gateways=gateways, shards=shards)
        found = run.run(many, first)
        counts.update(found.pop("counts"))
        total.update(found)
        shutil.rmtree(own)
    return {"counts": dict(counts), **total}


class PowerCuts:
    """One venue whose power is cut again and again."""

    def __init__(
        self,
        seed: int,
        folder: Path,
        tell: Callable[[str], None] = lambda text: None,
        *settings: str,
        gateways: int = 2,
        shards: int = 2,
    ) -> None:
        self.rng = random.Random(seed)
        self.counts: Counter[str] = Counter()
        self._tell = tell
        self._folder = folder
        self._shadow = folder / "shadow"
        self._shadow.mkdir(parents=True)
        self._venue = CrashVenue(
            folder,
            seed,
            *settings,
            durability="power",
            gateways=gateways,
            shards=shards,
            faults=True,
            environment={VARIABLE: str(self._shadow)},
            plan={"pause_s": 0.002},
        )
        self._newcomers = Newcomers(self._venue.fix_port)

    def run(self, images: list[int], first: int = 0) -> dict[str, Any]:
        """Cut the power once for each number of images; return the counts.

        `first` says which of MOMENTS is due at the first cut.
        """
        venue, rng = self._venue, self.rng
        checks = 0
        try:
            venue.start()
            for cut, many in enumerate(images, first):
                venue.trade()
                moment = None if rng.random() < _AT_RANDOM else MOMENTS[cut % len(MOMENTS)]
                self._await(moment)
                self._cut(many, moment)
                while rng.random() < _AGAIN:
                    venue.venue.spawn()
                    time.sleep(rng.random() * 3)
                    self._cut(max(many // 4, 1), "starting")
                self.counts["venues started on an image"] += 1
                venue.start()
                self._newcomers.come_back()
                venue.check()
                checks += 1
            found = Kills(venue, tell=self._tell).finish()
        finally:
            self._newcomers.close()
            venue.close()
        found["checks"] += checks
        found["counts"] = {**self.counts, **found["counts"]}
        return found

    def _await(self, moment: tuple[str, str] | None) -> None:
        """Wait until a process stopped itself at a moment, or (None) for any time."""
        venue, rng = self._venue, self.rng
        time.sleep(0.3 + rng.random())
        if moment is None:
            time.sleep(rng.random() * 2)
            return
        event, part = moment
        # The first one that comes by may always be the same one.
        time.sleep(rng.random() * 0.2)
        (self._shadow / HALT).write_text(f"{event} *{part}*")
        if part == "snapshot":
            venue.memory.shards[rng.randrange(venue.shards), ShardWord.SNAPSHOT_REQUEST] += 1
        elif part == "directory.log":
            self._newcomers.come()
        deadline = time.monotonic() + _MOMENT_S
        while not (self._shadow / HALTED).exists() and time.monotonic() < deadline:
            time.sleep(0.0005)
        if not (self._shadow / HALTED).exists():
            raise CrashError(f"nobody came by {event} {part} within {_MOMENT_S} s")

    def _cut(self, many: int, moment: tuple[str, str] | str | None) -> None:
        """Cut the power, recover images of what is left, and leave one of them as the data."""
        venue = self._venue
        venue.pause()
        # What has left the venue reaches the clients' record now.
        time.sleep(0.2)
        venue.look()
        self._newcomers.look()
        for name in (HALT, HALTED):
            (self._shadow / name).unlink(missing_ok=True)
        frozen = Frozen.take(venue.data, self._shadow)
        venue.kill_everything()
        for left in venue.venue.temporary.iterdir():
            # Nobody else takes away what a venue that was killed while it started made there.
            shutil.rmtree(left)
        pages = frozen.unsynced_pages()
        name = " ".join(moment) if isinstance(moment, tuple) else moment or "any moment"
        self.counts[f"power cut, {name}"] += 1
        self.counts["unsynced pages"] += pages
        self._tell(f"power cut, {name}: {many} images of {pages} unsynced pages")
        seeds = [self.rng.getrandbits(40) for _ in range(many)]
        with Images(venue, frozen, self._newcomers.answered, self._folder) as recover:
            for seed in seeds:
                self.counts.update(recover(seed))
        shutil.rmtree(venue.data)
        frozen.build(venue.data, seeds[-1])
        Frozen.adopt(venue.data, self._shadow)
        venue.wipe_shared()


class Newcomers:
    """FIX sessions that the venue has not heard of before: it notes them in its directory."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._waiting: list[FixPeer] = []
        self._here: list[FixPeer] = []
        self._count = 0
        #: Those that were told that they are logged on.
        self.answered: set[str] = set()

    def come(self) -> None:
        """Have another one log on; the answer is not awaited."""
        self._count += 1
        peer = FixPeer(self._port, f"NEW{self._count}")
        peer.send("A", "98=0|108=0|")
        self._waiting.append(peer)

    def look(self) -> None:
        """Take the answers that have come so far."""
        for peer in self._waiting:
            try:
                assert peer.receive(0.05).kind == "A"
            except (Closed, TimeoutError):
                peer.close()
                continue
            self.answered.add(peer.comp_id)
            peer.close()
        self._waiting.clear()

    def come_back(self) -> None:
        """Have the latest one that was answered log on again: its numbers go on."""
        for name in sorted(self.answered)[-1:]:
            peer = FixPeer(self._port, name, next_out=2, next_in=2)
            self._here.append(peer)
            try:
                peer.log_on()
            except (AssertionError, Closed) as error:
                raise CrashError(f"{name} was logged on, and is not known: {error!r}") from error
            # Its numbers are others from here on.
            self.answered.discard(name)

    def close(self) -> None:
        """Cut all connections."""
        for peer in (*self._waiting, *self._here):
            peer.close()


class Images:
    """The images of one moment, each recovered and held against the record."""

    def __init__(
        self, venue: CrashVenue, frozen: Frozen, newcomers: set[str], folder: Path
    ) -> None:
        self._venue = venue
        self._frozen = frozen
        self._folder = folder
        self._place = Path(tempfile.mkdtemp(prefix="images-", dir=folder))
        command = venue.venue.command
        settings = [word for before, word in itertools.pairwise(command) if before == "--set"]
        path = Path(command[command.index("--config") + 1])
        self.config = load_config(path, tuple(settings))
        self.checker = venue.checker
        #: By shard: all rows that an image had so far: the logs of two images differ in length.
        self._rows: list[NDArray[Any]] = []
        #: Session → the messages that it would be sent again, which are right.
        self.known: dict[str, list[bytes | None]] = {}
        self.newcomers = newcomers

    def __enter__(self) -> Callable[[int], Counter[str]]:
        return self._recover

    def __exit__(self, *error: object) -> None:
        shutil.rmtree(self._place, ignore_errors=True)

    def _recover(self, seed: int) -> Counter[str]:
        place = self._place / str(seed)
        self._frozen.build(place / "data", seed)
        try:
            image = _Image(self, place)
            counts = image.check()
            self._compare(image)
        except Exception as error:
            kept = self._folder / f"image-{seed}"
            # As it was before the recovery wrote to it.
            self._frozen.build(kept, seed)
            text = f"image {seed} of seed {self._venue.seed}, {kept}: {error!r}"
            raise CrashError(text) from error
        shutil.rmtree(place)
        return counts

    def _compare(self, image: "_Image") -> None:
        """Hold the rows against those of the images before; those of the first one, and what is
        longer, against the record."""
        found = image.rows
        is_new = not self._rows
        for shard, rows in enumerate(found):
            known = self._rows[shard] if self._rows else rows[:0]
            both = min(len(known), len(rows))
            if known[:both].tobytes() != rows[:both].tobytes():
                raise CrashError(f"the reports of shard {shard} are others than in another image")
        if is_new:
            self._rows = found
            audited = audit(self.checker, image.replayed(), is_whole=False)
            if audited.findings:
                raise CrashError("\n".join(audited.findings))
        self._rows = [max(pair, key=len) for pair in zip(self._rows, found, strict=True)]


class _Image:
    """One image, recovered."""

    def __init__(self, images: Images, place: Path) -> None:
        self._images = images
        self._checker = images.checker
        self._data = place / "data"
        shared = place / "shm"
        shared.mkdir()
        self._config = resolve(images.config, read_directory(self._data))
        capacity = self._config.capacity
        self._memory = VenueMemory.create(
            *(shared, len(self._config.shards), self._config.gateway.count),
            *(capacity.command_ring_records, capacity.event_ring_records),
        )
        #: By shard: all that the log has, and makes.
        self._commands: list[NDArray[Any]] = []
        self.rows: list[NDArray[Any]] = []
        self._state: list[tuple[int, int, int]] = []

    def check(self) -> Counter[str]:
        """Recover shards and gateways, and hold what they have against the record."""
        counts: Counter[str] = Counter(images=1)
        for shard in range(len(self._config.shards)):
            counts["commands recovered"] += self._recover_shard(shard)
        answered = [_answered(rows) for rows in self.rows]
        newcomers = set(self._images.newcomers)
        for number in range(self._config.gateway.count):
            gateway = Gateway(self._config, self._memory, self._data, number)
            try:
                gateway.recover()
                for record in gateway.directory.content.sessions:
                    if record.home != number:
                        continue
                    if gateway.index.rows[record.number]["next_out"] > 1:
                        newcomers.discard(record.name)
                    session = self._checker.sessions.get(record.name)
                    if session is not None:
                        counts["reports held"] += self._check_resend(gateway, record, session)
                        self._check_expected(gateway, record.number, session, answered)
            finally:
                gateway.close()
        if newcomers:
            raise CrashError(f"{newcomers} were logged on, and are not known")
        return counts

    def replayed(self) -> list[Replayed]:
        """Return the shards' logs as the audit takes them."""
        parts = zip(self._commands, self.rows, self._state, strict=True)
        return [
            Replayed(shard, list(commands), list(rows), *state, FollowEnd.END)
            for shard, (commands, rows, state) in enumerate(parts)
        ]

    def _recover_shard(self, shard: int) -> int:
        started = start_shard(self._config, self._memory, shard, self._data, seed=shard)
        try:
            check_invariants(started.book)
            recovered = state_hash(started.book)
        finally:
            started.log.close()
            started.reports.close()
            os.close(started.lock_fd)
        words = self._memory.shards[shard]
        words[ShardWord.STATUS] = ProcessStatus.RUNNING
        commands: list[NDArray[Any]] = []
        pieces: list[NDArray[Any]] = [np.zeros(0, REPORT)]

        def take(some: NDArray[Any], reports: NDArray[Any]) -> None:
            commands.append(some.copy())
            pieces.append(reports.copy())

        replica = Replica.open(self._data, shard, snapshot=False)
        result = replica.follow(reports=RowSink(take))
        found = (replica.seq, replica.state_hash(), replica.report_seq, replica.report_bytes)
        open_orders = int(replica.book.state[0]["open_orders"])
        replica.close()
        wanted = (
            *(int(words[ShardWord.SEQ]), recovered),
            *(int(words[ShardWord.REPORT_SEQ]), int(words[ShardWord.REPORT_POSITION])),
        )
        if found != wanted or result.end != FollowEnd.END:
            raise CrashError(f"shard {shard} recovered {wanted}, its log makes {found}, {result}")
        rows = join_rows(pieces, REPORT)
        self._check_report_log(shard, rows, int(words[ShardWord.BASE_NS]), found[3])
        self._commands.append(join_rows(commands, COMMAND))
        self.rows.append(rows)
        self._state.append((found[1], open_orders, found[0]))
        return found[0]

    def _check_report_log(self, shard: int, rows: NDArray[Any], base_ns: int, end: int) -> None:
        """Check that the report log holds just these rows."""
        file = open_segments(self._data, f"shard-{shard}-reports")
        assert file is not None
        while file.is_next_there():
            file.map_next()
        found = np.zeros(len(rows), REPORT)
        words, base = as_words(found), shard << SHARD_SHIFT
        at = unpack_rows(words, 0, len(rows), base_ns, base, file.address + FIRST_BYTE)
        at -= file.address
        file.close()
        if found.tobytes() != rows.tobytes():
            differs = int(np.flatnonzero((words != as_words(rows)).any(axis=1))[0])
            raise CrashError(f"report {differs + 1} of shard {shard} is another one in its log")
        if len(rows) and at != end:
            raise CrashError(f"the report log of shard {shard} ends at {at}, not {end}")

    # --- sessions ---------------------------------------------------------------------------------

    def _check_resend(self, gateway: Gateway, record: SessionRecord, session: Session) -> int:
        """Check that a client would be sent what it got: the same under the same number."""
        number, name = record.number, session.name
        last = max([*session.reports, *session.administrative], default=0)
        if last >= int(gateway.index.rows[number]["next_out"]):
            next_out = int(gateway.index.rows[number]["next_out"])
            raise CrashError(f"{name} got {last}, and {next_out} is due next")
        if session.is_binary:
            runs = SentMessages(gateway, number).runs(1, last, lambda _, frame: frame)
        else:
            gateway.set_comp_ids(number, name, _VERSIONS[name])
            runs = GatewayStore(gateway, number).first_time(1, last)
        frames: list[bytes | None] = []
        for first, stop, data in runs:
            if data is None:
                frames += [None] * (stop - first + 1)
            else:
                frames += _split(data, is_binary=session.is_binary)
        known = self._images.known.get(name)
        if known is None:
            self._compare_frames(session, frames)
            self._images.known[name] = frames
        elif known != frames:
            # It says where, or the images differ in what the client has not got.
            self._compare_frames(session, frames)
        return len(session.reports)

    def _compare_frames(self, session: Session, frames: list[bytes | None]) -> None:
        for number, got in session.reports.items():
            frame = frames[number - 1]
            if frame is None:
                raise CrashError(f"{session.name} got {got}, nothing is kept of it")
            again = (
                read_binary(frame[HEADER_BYTES:], session.names)
                if session.is_binary
                else read_fix(frame, self._checker.symbols)
            )
            assert again is not None
            digest = blake2b(again.content, digest_size=8).digest()
            if digest != session.digests[number] or again.number != number:
                raise CrashError(f"{session.name} got {got}, it would get {again.report}")
            if again.sent != session.stamps[number]:
                raise CrashError(
                    f"{session.name} got {number} at {session.stamps[number]!r}, "
                    f"it would be of {again.sent!r}"
                )

    def _check_expected(
        self,
        gateway: Gateway,
        number: int,
        session: Session,
        answered: list[set[tuple[int, int, int]]],
    ) -> None:
        """Check that what is not asked for again has been executed, or answered."""
        row = gateway.index.rows[number]
        epoch, expected = int(row["epoch"]), int(row["next_in"])
        for asked in session.unanswered.values():
            key = (number, epoch, asked.number)
            if asked.number < expected and not any(key in each for each in answered):
                stored = asked.number in self._stored_answers(gateway, number)
                if not stored:
                    raise CrashError(f"{session.name}: {asked} is lost, {expected} is expected")
        most = max(session.requests, default=0)
        if session.is_binary and expected > most + 1:
            raise CrashError(f"{session.name}: {expected} is expected, {most} was the last sent")

    @staticmethod
    def _stored_answers(gateway: Gateway, session: int) -> set[int]:
        index = gateway.index
        found = set()
        for place in index.blocks_of(session)[1]:
            words = index.words_of(place)
            for source in words[BLOCK_HEADER_WORDS + 1 :: 2][: int(words[4])].tolist():
                stored = index.stored_message(source) if source < SOURCE_ADMINISTRATIVE else None
                if stored is not None:
                    found.add(stored.answers)
        return found


def _answered(rows: NDArray[Any]) -> set[tuple[int, int, int]]:
    rows = rows[rows["inbound_seq"] != 0]
    columns = (rows[name].tolist() for name in ("session", "epoch", "inbound_seq"))
    return set(zip(*columns, strict=True))


def _split(data: bytes, *, is_binary: bool) -> list[bytes]:
    """Cut messages apart."""
    if not is_binary:
        return [frame for frame in FixFrames().feed(data) if frame is not None]
    frames = BinaryFrames(1 << 20)
    frames.receive_data(data)
    return [bytes(HEADER_BYTES) + bytes(payload) for payload in frames.payloads()]

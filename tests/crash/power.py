"""Power cuts under load: from each, many images of what the disk may hold, and each is recovered.

All processes are stopped where they are, the clients' record up to then is read, and the files and
their shadow (server/recorder.py) are taken. Every image is recovered in this process, by the code
that the venue's processes run; whatever a client had got must be in it under the same number, and
no request that the venue does not ask for again may be missing. Then the power comes back for real:
the venue starts on one of the images, and its clients go on.
"""

import contextlib
import itertools
import os
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from crash.checker import Session
from crash.images import Frozen
from crash.kills import Kills
from crash.venue import CrashError, CrashVenue
from numpy.typing import NDArray
from oracle.book import join_rows

from openoutcry.engine.log import as_words
from openoutcry.engine.pack import FIRST_BYTE, unpack_rows
from openoutcry.engine.records import REPORT, SHARD_SHIFT
from openoutcry.engine.snapshot import check_invariants, state_hash
from openoutcry.engine.state import ProcessStatus, ShardWord
from openoutcry.server.config_file import load_config
from openoutcry.server.directory import read_directory
from openoutcry.server.gateway import Gateway
from openoutcry.server.journal import open_segments
from openoutcry.server.memory import VenueMemory
from openoutcry.server.recorder import VARIABLE
from openoutcry.server.replica import Replica, RowSink
from openoutcry.server.resolve import resolve
from openoutcry.server.sessions import BLOCK_HEADER_WORDS
from openoutcry.server.shard_start import start_shard

#: Where its sequence lies in what a report's row tells.
_POSITION_BITS = (1 << SHARD_SHIFT) - 1


def run_power_images(
    seed: int,
    images: int,
    folder: Path,
    tell: Callable[[str], None] = lambda text: None,
    *,
    cuts: int = 20,
    gateways: int = 2,
    shards: int = 2,
) -> dict[str, Any]:
    """Cut the power again and again; return the counts. Raises CrashError."""
    rng = random.Random(seed)
    shadow = folder / "shadow"
    shadow.mkdir(parents=True)
    venue = CrashVenue(
        *(folder, seed),
        durability="power",
        gateways=gateways,
        shards=shards,
        faults=True,
        environment={VARIABLE: str(shadow)},
        plan={"pause_s": 0.003},
    )
    counts: Counter[str] = Counter()
    try:
        venue.start()
        kills = Kills(venue, tell=tell)
        for cut in range(cuts):
            venue.trade()
            time.sleep(0.5 + rng.random() * 3)
            if rng.random() < 0.4:
                # Some of it happens while a snapshot is written, synced and renamed.
                venue.memory.shards[:, ShardWord.SNAPSHOT_REQUEST] += 1
                time.sleep(rng.random() * 0.06)
            frozen = freeze(venue, shadow)
            counts["power cuts"] += 1
            pages = frozen.unsynced_pages()
            counts["unsynced pages"] += pages
            many = images // cuts + (cut < images % cuts)
            tell(f"power cut: {many} images of {pages} unsynced pages")
            seeds = [rng.getrandbits(40) for _ in range(many)]
            with recovering(venue, folder) as recover:
                for one in seeds:
                    counts.update(recover(frozen, one))
                    counts["images"] += 1
            # The power is back.
            shutil.rmtree(venue.data)
            frozen.build(venue.data, seeds[-1] if seeds else seed)
            Frozen.adopt(venue.data, shadow)
            venue.wipe_shared()
            venue.start()
            venue.check()
            kills.checks += 1
        found = kills.finish()
    finally:
        venue.close()
    found["counts"] = {**counts, **found["counts"]}
    return found


def freeze(venue: CrashVenue, shadow: Path) -> Frozen:
    """Stop all processes, read the clients' record and take the files; then end the processes."""
    venue.pause()
    # What has left the venue reaches the clients' record now.
    time.sleep(0.2)
    venue.look()
    frozen = Frozen.take(venue.data, shadow)
    venue.kill_everything()
    return frozen


@contextlib.contextmanager
def recovering(venue: CrashVenue, folder: Path) -> Iterator[Callable[[Frozen, int], Counter[str]]]:
    """Yield what recovers an image and holds it against the record."""
    command = venue.venue.command
    path = Path(command[command.index("--config") + 1])
    settings = [word for before, word in itertools.pairwise(command)
                if before == "--set"]  # fmt: skip
    config = load_config(path, tuple(settings))
    with tempfile.TemporaryDirectory(prefix="images-", dir=folder) as name:

        def recover(frozen: Frozen, seed: int) -> Counter[str]:
            place = Path(name) / str(seed)
            frozen.build(place / "data", seed)
            try:
                counts = _Image(venue, config, place).check()
            except Exception as error:
                kept = folder / f"image-{seed}"
                shutil.move(place, kept)
                text = f"image {seed} of seed {venue.seed}, {kept}: {error!r}"
                raise CrashError(text) from error
            shutil.rmtree(place)
            return counts

        yield recover


class _Image:
    """One image, recovered."""

    def __init__(self, venue: CrashVenue, config: Any, place: Path) -> None:
        self._checker = venue.checker
        self._data = place / "data"
        shared = place / "shm"
        shared.mkdir()
        self._config = resolve(config, read_directory(self._data))
        capacity = config.capacity
        self._memory = VenueMemory.create(
            *(shared, len(config.shards), config.gateway.count),
            *(capacity.command_ring_records, capacity.event_ring_records),
        )
        #: By shard: each report's row, and number by its place in the report log.
        self._rows: list[NDArray[Any]] = []
        self._numbers: list[dict[int, int]] = []

    def check(self) -> Counter[str]:
        """Recover shards and gateways, and hold what they have against the record."""
        counts: Counter[str] = Counter()
        for shard in range(len(self._config.shards)):
            counts["commands recovered"] += self._recover_shard(shard)
        answered = [self._answered(shard) for shard in range(len(self._rows))]
        for number in range(self._config.gateway.count):
            gateway = Gateway(self._config, self._memory, self._data, number)
            try:
                gateway.recover()
                content = gateway.directory.content
                for record in content.sessions:
                    session = self._checker.sessions.get(record.name)
                    if session is not None and record.home == number:
                        self._check_session(gateway, record.number, session, answered)
                        counts["reports held"] += len(session.reports)
            finally:
                gateway.close()
        return counts

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
        pieces: list[NDArray[Any]] = [np.zeros(0, REPORT)]
        replica = Replica.open(self._data, shard, snapshot=False)
        replica.follow(reports=RowSink(lambda _, reports: pieces.append(reports.copy())))
        found = (replica.seq, replica.state_hash(), replica.report_seq, replica.report_bytes)
        replica.close()
        wanted = (
            *(int(words[ShardWord.SEQ]), recovered),
            *(int(words[ShardWord.REPORT_SEQ]), int(words[ShardWord.REPORT_POSITION])),
        )
        if found != wanted:
            raise CrashError(f"shard {shard} recovered {wanted}, its log makes {found}")
        rows = join_rows(pieces, REPORT)
        self._rows.append(rows)
        self._numbers.append(self._places(shard, rows, int(words[ShardWord.BASE_NS]), found[3]))
        return found[0]

    def _places(self, shard: int, rows: NDArray[Any], base_ns: int, end: int) -> dict[int, int]:
        """Read the report log, which must hold just these rows; return numbers by place."""
        file = open_segments(self._data, f"shard-{shard}-reports")
        assert file is not None
        while file.is_next_there():
            file.map_next()
        places: dict[int, int] = {}
        one = np.zeros(1, REPORT)
        words, at = as_words(one), FIRST_BYTE
        for row in rows:
            places[at] = int(row["report_seq"])
            one[:] = 0
            address = file.address + at
            at = int(unpack_rows(words, 0, 1, base_ns, shard << SHARD_SHIFT, address))
            at -= file.address
            if one.tobytes() != row.tobytes():
                raise CrashError(f"report {row['report_seq']} of shard {shard} differs in its log")
        file.close()
        if rows.size and at != end:
            raise CrashError(f"the report log of shard {shard} ends at {at}, not {end}")
        return places

    def _answered(self, shard: int) -> set[tuple[int, int, int]]:
        rows = self._rows[shard]
        rows = rows[rows["inbound_seq"] != 0]
        return set(
            zip(
                rows["session"].tolist(),
                rows["epoch"].tolist(),
                rows["inbound_seq"].tolist(),
                strict=True,
            )
        )

    def _check_session(
        self,
        gateway: Gateway,
        number: int,
        session: Session,
        answered: list[set[tuple[int, int, int]]],
    ) -> None:
        index = gateway.index
        row = index.rows[number]
        sources = _sources(gateway, number)
        # What the client got, it would get again under the same number.
        last = max([*session.reports, *session.administrative], default=0)
        if last > len(sources):
            raise CrashError(f"{session.name} got {last}, {len(sources)} are known")
        stored: set[int] = set()
        for at, source in enumerate(sources, 1):
            report = session.reports.get(at)
            if source > 0:
                shard, place = source >> SHARD_SHIFT, source & _POSITION_BITS
                exec_id = f"E{shard}-{self._numbers[shard].get(place)}"
                if report is not None and report.exec_id and report.exec_id != exec_id:
                    raise CrashError(f"{session.name} got {report}, the image has {exec_id}")
            elif source < 0 and index.stored_message(source) is not None:
                message = index.stored_message(source)
                assert message is not None
                stored.add(message.answers)
            elif report is not None and report.exec_id:
                raise CrashError(f"{session.name} got {report}, nothing is kept of it")
        # What is not asked for again has been executed, or answered.
        epoch, expected = int(row["epoch"]), int(row["next_in"])
        most = max(session.requests, default=0)
        for asked in session.requests.values():
            key = (number, epoch, asked.number)
            if asked.number >= expected or any(key in each for each in answered):
                continue
            if asked.number not in stored and asked.cl_ord_id in session.unanswered:
                raise CrashError(f"{session.name}: {asked} is lost, {expected} is expected next")
        if session.is_binary and expected > most + 1:
            raise CrashError(f"{session.name}: {expected} is expected, {most} was the last sent")


def _sources(gateway: Gateway, session: int) -> list[int]:
    index = gateway.index
    found: list[int] = []
    for start, place in zip(*index.blocks_of(session), strict=True):
        words = index.words_of(place)
        if start != len(found) + 1:
            raise CrashError(f"session {session}: a block begins at {start}, not {len(found) + 1}")
        found += words[BLOCK_HEADER_WORDS + 1 :: 2][: int(words[4])].tolist()
    if len(found) != int(index.rows[session]["next_out"]) - 1:
        raise CrashError(f"session {session}: {len(found)} entries, next is not as many")
    return found

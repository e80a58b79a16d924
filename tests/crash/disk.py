"""Faults of the disk under load: full, failing, read-only; files that were cut, or changed.

What a venue cannot go on with it must refuse with a sentence that names the file, and change
nothing: with the file restored it starts, and its clients find everything. All else it must survive
by itself.
"""

import contextlib
import os
import random
import resource
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from crash.kills import Kills
from crash.venue import CrashError, CrashVenue

from openoutcry.engine.state import ShardWord
from openoutcry.server.journal import HEADER_BYTES
from openoutcry.server.snapshots import snapshots

#: Bytes of the small file system that gets full.
_ROOM = 96 << 20
_START_S = 60.0

Tell = Callable[[str], None]


def run_disk_faults(
    seed: int, folder: Path, tell: Tell = lambda text: None, *, faults: list[str] | None = None
) -> dict[str, Any]:
    """Do all of it to one venue after another; return the counts. Raises CrashError.

    `faults`: only these, of "full", "failing", "files".
    """
    counts: Counter[str] = Counter()
    total: Counter[str] = Counter()
    parts: dict[str, Callable[[_Faults], None]] = {
        "failing": _Faults.fail_writes,
        "files": _Faults.damage_files,
        "full": _Faults.fill,
    }
    for number, name in enumerate(faults or parts):
        own = folder / name
        own.mkdir(parents=True)
        with contextlib.ExitStack() as stack:
            if name == "full" and not stack.enter_context(_small_disk(own / "data")):
                tell("no small file system can be mounted here: a full disk is left out")
                counts["full disk: not possible here"] += 1
                continue
            settings = ["log.min_free_bytes=4194304"] if name == "full" else []
            venue = CrashVenue(own, seed + number, *settings, plan={"pause_s": 0.003})
            stack.callback(venue.close)
            venue.start()
            one = _Faults(venue, tell)
            parts[name](one)
            found = one.kills.finish()
        counts.update(one.counts)
        counts.update(found.pop("counts"))
        total.update(found)
        shutil.rmtree(own, ignore_errors=True)
    return {"counts": dict(counts), **total}


@contextlib.contextmanager
def _small_disk(folder: Path) -> Iterator[bool]:
    """Mount a small file system at a folder; yield whether that was possible."""
    folder.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={_ROOM}", "none", str(folder)]
    try:
        is_mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        is_mounted = False
    try:
        yield is_mounted
    finally:
        if is_mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True)


class _Kills(Kills):
    """Kills that know which processes are expected to end by themselves."""

    def __init__(self, venue: CrashVenue, tell: Tell) -> None:
        super().__init__(venue, tell=tell)
        self.expected: set[str] = set()

    def _other_deaths(self) -> list[str]:
        return [line for line in super()._other_deaths() if line not in self.expected]

    def start(self) -> None:
        """Start the venue again."""
        self.venue.start()
        self._books.begin()


class _Faults:
    """What is done to one venue."""

    def __init__(self, venue: CrashVenue, tell: Tell) -> None:
        self.venue = venue
        self.kills = _Kills(venue, tell)
        self.counts: Counter[str] = Counter()
        self._tell = tell
        self._rng = random.Random(venue.seed)

    # --- a full disk ------------------------------------------------------------------------------

    def fill(self) -> None:
        """Fill the disk to the reserve, and to the last byte; make room again."""
        venue = self.venue
        for is_whole in (False, True, False):
            filler = venue.data / "filler"

            def harm(filler: Path = filler, is_whole: bool = is_whole) -> None:
                seen = len(venue.venue.log())
                _fill(filler, 0 if is_whole else 3 << 20)
                venue.wait(
                    lambda: bool(venue.memory.shards[:, ShardWord.LOG_IS_FULL].all()),
                    "a shard does not notice that the disk is full",
                )
                time.sleep(2 if is_whole else 1)
                if "no new segment" not in venue.venue.log()[seen:]:
                    raise CrashError("a full disk is not told of in the log")
                filler.unlink()
                venue.wait(
                    lambda: not venue.memory.shards[:, ShardWord.LOG_IS_FULL].any(),
                    "a shard does not notice that there is room again",
                )

            self.kills.hurt("full disk", harm)
            self.counts["full disk" if is_whole else "disk full to the reserve"] += 1
        # A restart while there is no room, and afterwards.
        self._refuse_to_write(venue.data)

    def _refuse_to_write(self, data: Path) -> None:
        venue = self.venue

        def harm() -> None:
            venue.kill_everything()
            options = ["mount", "-o", "remount,ro", str(data)]
            subprocess.run(options, check=True)
            try:
                text = self._refused([])
                if str(data.name) not in text or "ead-only" not in text:
                    raise CrashError(f"a read-only directory is refused by: {text}")
            finally:
                subprocess.run([*options[:2], "remount,rw", str(data)], check=True)
            self.kills.start()

        self.kills.hurt("read-only directory", harm)
        self.counts["read-only directory"] += 1

    # --- failing writes ---------------------------------------------------------------------------

    def fail_writes(self) -> None:
        """Have new segments and snapshots fail in one process after another; then let them be."""
        venue = self.venue
        names = [*(f"shard-{n}" for n in range(venue.shards)),
                 *(f"follower-{n}" for n in range(venue.shards)),
                 *(f"gateway-{n}" for n in range(venue.gateways))]  # fmt: skip
        for name in names:

            def harm(name: str = name) -> None:
                pid = venue.pid(name)
                # No file may get as long as a segment's header and a byte.
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (HEADER_BYTES, -1))
                venue.memory.shards[:, ShardWord.SNAPSHOT_REQUEST] += 1
                time.sleep(6)
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (-1, -1))
                time.sleep(1)

            self.kills.hurt(f"failing writes in {name}", harm)
            self.counts[f"failing writes in a {name.partition('-')[0]}"] += 1

    # --- files ------------------------------------------------------------------------------------

    def damage_files(self) -> None:
        """Cut and flip files of a dead venue; what is refused is restored and started again."""
        venue = self.venue
        # Some segments and snapshots, of each shard.
        venue.trade()
        venue.wait(
            lambda: (
                all(len(snapshots(venue.data, n)) > 1 for n in range(venue.shards))
                and all(venue.memory.shards[:, ShardWord.LOG_BYTES] > 5 << 19)
            ),
            "two snapshots of each shard did not come",
            120.0,
        )
        refused: dict[str, tuple[str, Callable[[Path], None]]] = {
            "truncated segment": ("commands", _truncate),
            "bit-flipped segment": ("commands", self._flip),
            "bit-flipped segment header": ("commands", lambda path: _flip_at(path, 40)),
            "truncated segment of reports": ("reports", _truncate),
        }
        survived: dict[str, Callable[[Path], None]] = {
            "snapshot cut in half": _truncate,
            "bit-flipped snapshot": self._flip,
            "all snapshots gone": Path.unlink,
        }
        for name, (kind, damage) in refused.items():
            self._damage_segment(name, kind, damage)
        for name, damage in survived.items():
            self._damage_snapshots(name, damage)

    def _damage_segment(self, name: str, kind: str, damage: Callable[[Path], None]) -> None:
        venue, shard = self.venue, self._rng.randrange(self.venue.shards)

        def harm() -> None:
            venue.kill_everything()
            kept = venue.folder / "kept"
            kept.mkdir(exist_ok=True)
            # The truth of the log from its first segment on: no snapshot may stand in for it.
            for path in snapshots(venue.data, shard):
                path.rename(kept / path.name)
            path = sorted(venue.data.glob(f"shard-{shard}-{kind}-*.seg"))[0]
            shutil.copyfile(path, kept / path.name)
            damage(path)
            text = self._refused([path.name])
            self._tell(text)
            for each in kept.iterdir():
                shutil.copyfile(each, venue.data / each.name)
            shutil.rmtree(kept)
            self.kills.start()

        self.kills.hurt(name, harm)
        self.counts[name] += 1

    def _damage_snapshots(self, name: str, damage: Callable[[Path], None]) -> None:
        venue = self.venue
        is_all = damage is Path.unlink

        def harm() -> None:
            venue.kill_everything()
            seen = len(venue.venue.log())
            for shard in range(venue.shards):
                for path in snapshots(venue.data, shard)[: None if is_all else 1]:
                    damage(path)
            self.kills.start()
            told = venue.venue.log()[seen:]
            if not is_all and told.count("the one before it is taken") < venue.shards:
                raise CrashError(f"{name}: the log does not say that an older one is taken")

        self.kills.hurt(name, harm)
        self.counts[name] += 1
        # A new snapshot each, for what comes next.
        for _ in range(2):
            venue.trade()
            time.sleep(0.3)
            self._await_snapshots()

    def _await_snapshots(self) -> None:
        words = self.venue.memory.shards
        before = words[:, ShardWord.SNAPSHOTS_WRITTEN].copy()
        words[:, ShardWord.SNAPSHOT_REQUEST] += 1

        def have_come() -> bool:
            return bool((words[:, ShardWord.SNAPSHOTS_WRITTEN] > before).all())

        self.venue.wait(have_come, "a snapshot that was asked for did not come")

    def _flip(self, path: Path) -> None:
        # Well within what is written.
        _flip_at(path, HEADER_BYTES + 600 + self._rng.randrange(20_000))

    def _refused(self, named: list[str]) -> str:
        """Start the venue, which must not come up; return what it says, one sentence a thing."""
        venue = self.venue
        seen = len(venue.venue.log())
        venue.venue.spawn()
        process = venue.venue.process
        try:
            status = process.wait(_START_S)
        except subprocess.TimeoutExpired:
            raise CrashError(
                f"the venue starts in spite of it: {venue.venue.log()[seen:]}"
            ) from None
        finally:
            assert process.stdout is not None
            process.stdout.close()
        text = venue.venue.log()[seen:]
        self.kills.expected.update(line for line in text.splitlines() if "process ended" in line)
        last = text.strip().rpartition("\n")[2]
        if status == 0 or "Traceback" in text or any(name not in last for name in named):
            raise CrashError(f"status {status}, {named} are not named by: {text[-3000:]}")
        return last


def _fill(path: Path, rest: int) -> None:
    """Fill a file system, but for some bytes."""
    with path.open("wb", buffering=0) as file:
        while True:
            stat = os.statvfs(path.parent)
            free = stat.f_bavail * stat.f_frsize - rest
            if free <= 0:
                return
            try:
                file.write(bytes(min(free, 1 << 20)))
            except OSError:
                return


def _truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _flip_at(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1 << (offset % 8)]))

"""Disks that fail: full, read-only, with syncs that fail; files that are cut, flipped or gone.

Each fault happens to a venue under load. Where the venue can go on, its clients are held against
the rules afterwards; where it cannot, its start must end with one sentence that names the file, and
with the file back in its place all goes on.
"""

import contextlib
import os
import random
import resource
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from crash.kills import Kills
from crash.venue import CrashError, CrashVenue
from support.damage import flip_file, place_of

from openoutcry.engine.state import ShardWord
from openoutcry.server.gateway_files import last_reports_sent
from openoutcry.server.log_end import find_end
from openoutcry.server.log_reader import CommandReader, LogStart, ReportReader
from openoutcry.server.recorder import FAIL, FAILED, VARIABLE
from openoutcry.server.segments import HEADER_BYTES
from openoutcry.server.snapshots import SnapshotHeader, read_header, snapshots

#: The venue's whole disk, where it is to become full.
_SMALL_MB = 48
_START_S = 90.0
_LOG_FULL = "the venue's log is full: orders can only be cancelled"

Tell = Callable[[str], None]


def run_disk_faults(seed: int, folder: Path, tell: Tell = lambda text: None) -> dict[str, Any]:
    """Have each fault happen; return the counts. Raises CrashError."""
    total: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    for name, run in SERIES.items():
        own = folder / f"disk-{name}"
        own.mkdir()
        tell(f"--- {name}")
        try:
            found = run(seed, own, tell)
        except SkippedError as error:
            tell(f"skipped: {error}")
            counts[f"skipped: {error}"] += 1
            continue
        counts.update(found.pop("counts"))
        total.update(found)
        shutil.rmtree(own)
    return {"counts": dict(counts), **total}


class _Kills(Kills):
    """Knows which processes ended by themselves because they had to."""

    def __init__(self, venue: CrashVenue, expected: set[str], tell: Tell) -> None:
        super().__init__(venue, tell=tell)
        self._expected = expected

    def _other_deaths(self) -> list[str]:
        return [line for line in super()._other_deaths() if line not in self._expected]


def _deaths(log: str) -> set[str]:
    return {line for line in log.splitlines() if "process ended" in line}


# --- files that are not what they were ------------------------------------------------------------


class Fault(NamedTuple):
    """Damage to the files of a venue that does not run, and what must come of it.

    Attributes:
        harm: does it; returns words that the log must say, and, where it can be undone while the
            venue runs, how.
        is_refused: whether the venue must not start.
    """

    name: str
    harm: Callable[["Files"], tuple[str, ...]]
    is_refused: bool


class Files:
    """The files of a venue that was killed."""

    def __init__(self, venue: CrashVenue, rng: random.Random) -> None:
        self.data = venue.data
        self.rng = rng
        self.shard = rng.randrange(venue.shards)
        self.gateway = rng.randrange(venue.gateways)
        #: What undoes it, in a venue that runs.
        self.undo: list[Callable[[], None]] = []

    def snapshot(self, age: int = 0) -> tuple[Path, SnapshotHeader]:
        """Return a snapshot of the shard; 0 is the newest."""
        path = snapshots(self.data, self.shard)[age]
        return path, read_header(path)

    def segments(self, name: str) -> list[Path]:
        """Return the segments of a series."""
        return sorted(self.data.glob(f"{name}-*.seg"))

    def flip(self, path: Path, offset: int) -> None:
        """Flip a bit, until it is undone."""
        bits = 1 << self.rng.randrange(8)
        flip_file(path, offset, bits)
        self.undo.append(lambda: flip_file(path, offset, bits))

    def move_away(self, path: Path) -> None:
        """Have a bad file away in the end, as it is advised."""
        self.undo.append(lambda: path.unlink(missing_ok=True))

    def cut(self, path: Path, size: int) -> None:
        """Cut a file short."""
        os.truncate(path, size)

    @property
    def commands(self) -> str:
        """The shard's command log."""
        return f"shard-{self.shard}-commands"

    @property
    def reports(self) -> str:
        """The shard's report log."""
        return f"shard-{self.shard}-reports"


def _commands_behind_snapshot(files: Files) -> tuple[str, ...]:
    _, header = files.snapshot()
    end = find_end(files.data, files.shard, start=header.log_bytes).position
    if end - header.log_bytes < _BEHIND_BYTES:
        raise CrashError(f"nothing lies behind the snapshot: {header.log_bytes}, {end}")
    # The last batch might as well be a torn one.
    at = header.log_bytes + files.rng.randrange((end - header.log_bytes) // 2)
    path, offset = place_of(files.data, files.commands, at)
    files.flip(path, offset)
    return f"{path.name} is damaged at byte", "journal cut"


def _commands_lost_their_end(files: Files) -> tuple[str, ...]:
    """Flip a bit in the batch of the last report that was sent, and lose what follows: the log
    alone looks torn."""
    sent, _ = last_reports_sent(files.data)[files.shard]
    _, header = files.snapshot()
    start = LogStart(header.log_bytes, header.seq)
    with ReportReader(files.data, files.shard) as reports:
        seq = int(reports.report_at(sent)["seq"])
    with CommandReader(files.data, files.shard, start) as reader:
        batches = np.concatenate([found.copy() for _, found in reader.pieces()])
        ends = [*batches["position"][1:].tolist(), reader.position]
    n = int(np.searchsorted(batches["seq"], seq, "right")) - 1
    if n < 0:
        raise CrashError(f"nothing of what lies behind the snapshot was sent: {seq}, {start}")
    begin, end = int(batches["position"][n]), int(ends[n])
    for path in files.segments(files.commands):
        content = path.read_bytes()
        size = len(content) - HEADER_BYTES
        kept = HEADER_BYTES + min(max(end - int(path.stem[-8:]) * size, 0), size)
        path.write_bytes(content[:kept].ljust(len(content), b"\0"))
    place = place_of(files.data, files.commands, files.rng.randrange(begin, end))
    files.flip(*place)
    said = f"can be read up to byte {begin}, command {batches['seq'][n] - 1}"
    return f"the command log of shard {files.shard} in", "has lost its end", said, "journal cut"


#: What has to lie behind the newest snapshot before it can be damaged.
_BEHIND_BYTES = 8192


def _commands_below_snapshot(files: Files) -> tuple[str, ...]:
    _, header = files.snapshot()
    path, offset = place_of(files.data, files.commands, files.rng.randrange(header.log_bytes))
    files.flip(path, offset)
    return ()


def _header_of(series: str) -> Callable[[Files], tuple[str, ...]]:
    def harm(files: Files) -> tuple[str, ...]:
        name = series.format(shard=files.shard, gateway=files.gateway)
        # The last one that is in use, and the first.
        path = files.rng.choice(files.segments(name)[:1])
        files.flip(path, files.rng.randrange(152))
        return (path.name,)

    return harm


def _cut_segment(series: str) -> Callable[[Files], tuple[str, ...]]:
    def harm(files: Files) -> tuple[str, ...]:
        name = series.format(shard=files.shard, gateway=files.gateway)
        path = files.segments(name)[-1]
        sizes = [0, 100, HEADER_BYTES, HEADER_BYTES + 4096, path.stat().st_size - 1]
        files.cut(path, files.rng.choice(sizes))
        return (path.name,)

    return harm


def _cut_reports(files: Files) -> tuple[str, ...]:
    _, header = files.snapshot()
    path, _ = place_of(files.data, files.reports, header.report_bytes)
    files.cut(path, files.rng.randrange(path.stat().st_size))
    return (path.name,)


def _cut_reports_ahead(files: Files) -> tuple[str, ...]:
    path = files.segments(files.reports)[-1]
    if any(path.read_bytes()[HEADER_BYTES:]):
        # It is in use, and the next one was about to be made.
        path = path.with_name(f"{files.reports}-{int(path.stem[-8:]) + 1:08d}.seg")
        path.touch()
    else:
        files.cut(path, files.rng.randrange(path.stat().st_size))
    return "a segment that was made ahead is made again", path.name


def _reports_behind_snapshot(files: Files) -> tuple[str, ...]:
    _, header = files.snapshot()
    path, offset = place_of(files.data, files.reports, header.report_bytes + 20)
    flip_file(path, offset)
    return ()


def _flip_snapshot(files: Files) -> tuple[str, ...]:
    path, _ = files.snapshot()
    flip_file(path, files.rng.randrange(path.stat().st_size))
    files.move_away(path)
    return "a snapshot is bad, the one before it is taken", path.name


def _cut_snapshot(files: Files) -> tuple[str, ...]:
    path, _ = files.snapshot()
    files.cut(path, path.stat().st_size // 2)
    files.move_away(path)
    return "a snapshot is bad, the one before it is taken", path.name


def _flip_all_snapshots(files: Files) -> tuple[str, ...]:
    for path in snapshots(files.data, files.shard):
        flip_file(path, files.rng.randrange(path.stat().st_size))
        files.move_away(path)
    return (f"no snapshot of shard {files.shard} is good: the whole log is replayed",)


def _no_snapshots(files: Files) -> tuple[str, ...]:
    for path in files.data.glob("shard-*.snap"):
        path.unlink()
    return ("shard recovered: shard=0 snapshot_seq=0", "shard recovered: shard=1 snapshot_seq=0")


def _no_reports(files: Files) -> tuple[str, ...]:
    for path in files.data.glob("shard-*-reports-*.seg"):
        path.unlink()
    return ()


def _no_reports_and_no_snapshots(files: Files) -> tuple[str, ...]:
    _no_reports(files)
    _no_snapshots(files)
    return ()


def _checkpoint(files: Files) -> Path:
    return files.data / f"gateway-{files.gateway}-checkpoint"


def _slots(path: Path) -> list[int]:
    """Return where the slots of a checkpoint file begin, the newest first."""
    words = np.frombuffer(path.read_bytes(), np.int64)
    first, size = int(words[4]), int(words[5])
    return sorted([first, first + size], key=lambda at: -int(words[at // 8 + 1]))


def _flip_checkpoint(files: Files) -> tuple[str, ...]:
    path = _checkpoint(files)
    newest, _ = _slots(path)
    flip_file(path, newest + 8 + files.rng.randrange(56))
    return ()


def _flip_both_checkpoints(files: Files) -> tuple[str, ...]:
    path = _checkpoint(files)
    for slot in _slots(path):
        flip_file(path, slot + 8 + files.rng.randrange(56))
    return ("no checkpoint can be read: everything is recovered from the index",)


def _no_checkpoint(files: Files) -> tuple[str, ...]:
    _checkpoint(files).unlink()
    return ("no checkpoint can be read: everything is recovered from the index",)


def _cut_checkpoint(files: Files) -> tuple[str, ...]:
    path = _checkpoint(files)
    files.cut(path, path.stat().st_size // 2)
    return ("no checkpoint can be read: everything is recovered from the index",)


def _flip_directory(files: Files) -> tuple[str, ...]:
    path = files.data / "directory.log"
    flip_file(path, files.rng.randrange(path.stat().st_size // 2))
    return "directory.log is damaged at byte", "restore"


def _torn_directory(files: Files) -> tuple[str, ...]:
    path = files.data / "directory.log"
    with path.open("ab") as file:
        file.write(path.read_bytes()[:40].strip(b"\n"))
    return ()


def _no_directory(files: Files) -> tuple[str, ...]:
    (files.data / "directory.log").unlink()
    return ("directory.log",)


def _no_commands(files: Files) -> tuple[str, ...]:
    for path in files.segments(files.commands):
        path.unlink()
    return (files.commands, "missing")


def _no_first_commands(files: Files) -> tuple[str, ...]:
    """Take the segments away in which the snapshot's log ends."""
    _, header = files.snapshot()
    path, _ = place_of(files.data, files.commands, header.log_bytes)
    path.unlink()
    return (f"shard {files.shard}", "restore")


def _no_index(files: Files) -> tuple[str, ...]:
    for path in files.segments(f"gateway-{files.gateway}-index"):
        path.unlink()
    return (f"gateway-{files.gateway}-index",)


FAULTS = (
    Fault("commands flipped behind the snapshot", _commands_behind_snapshot, True),
    Fault("commands lost their end", _commands_lost_their_end, True),
    Fault("commands flipped below the snapshot", _commands_below_snapshot, False),
    Fault("header of commands flipped", _header_of("shard-{shard}-commands"), True),
    Fault("header of reports flipped", _header_of("shard-{shard}-reports"), True),
    Fault("header of index flipped", _header_of("gateway-{gateway}-index"), True),
    Fault("commands cut short", _cut_segment("shard-{shard}-commands"), True),
    Fault("reports cut short", _cut_reports, True),
    Fault("reports made ahead cut short", _cut_reports_ahead, False),
    Fault("index cut short", _cut_segment("gateway-{gateway}-index"), True),
    Fault("messages cut short", _cut_segment("gateway-{gateway}-messages"), True),
    Fault("reports flipped behind the snapshot", _reports_behind_snapshot, False),
    Fault("snapshot flipped", _flip_snapshot, False),
    Fault("snapshot cut in half", _cut_snapshot, False),
    Fault("all snapshots flipped", _flip_all_snapshots, False),
    Fault("all snapshots gone", _no_snapshots, False),
    Fault("reports and snapshots gone", _no_reports_and_no_snapshots, False),
    Fault("checkpoint flipped", _flip_checkpoint, False),
    Fault("both checkpoints flipped", _flip_both_checkpoints, False),
    Fault("checkpoint cut in half", _cut_checkpoint, False),
    Fault("checkpoint gone", _no_checkpoint, False),
    Fault("directory flipped", _flip_directory, True),
    Fault("directory gone", _no_directory, True),
    Fault("directory with a torn end", _torn_directory, False),
    Fault("commands gone", _no_commands, True),
    Fault("segment behind the snapshot gone", _no_first_commands, True),
    Fault("index gone", _no_index, True),
)


def damage_files(
    seed: int, folder: Path, tell: Tell = lambda text: None, names: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Damage the files of a venue between its lives; `names` chooses faults."""
    venue = CrashVenue(folder, seed)
    rng = random.Random(seed)
    counts: Counter[str] = Counter()
    expected: set[str] = set()
    chosen = [fault for fault in FAULTS if not names or fault.name in names]
    rng.shuffle(chosen)
    try:
        venue.start()
        venue.trade()
        for fault in chosen:
            tell(fault.name)
            venue.trade()
            _take_snapshots(venue)
            venue.kill_everything()
            files = Files(venue, rng)
            before = folder / "before"
            shutil.copytree(venue.data, before)
            words = fault.harm(files)
            if fault.is_refused:
                seen = len(venue.venue.log())
                check_refusal(venue, fault.name, words)
                expected |= _deaths(venue.venue.log()[seen:])
                shutil.rmtree(venue.data)
                shutil.copytree(before, venue.data)
                files.undo.clear()
                counts["starts refused with a sentence"] += 1
            shutil.rmtree(before)
            seen = len(venue.venue.log())
            venue.start()
            log = venue.venue.log()[seen:]
            missing = [word for word in words if word not in log]
            if missing and not fault.is_refused:
                raise CrashError(f"{fault.name}: {missing} was not said: {log[-4000:]}")
            venue.check()
            for undo in files.undo:
                undo()
            counts[fault.name] += 1
        found = _Kills(venue, expected, tell).finish()
    finally:
        venue.close()
    found["checks"] += len(chosen)
    found["counts"] = {**counts, **found["counts"]}
    return found


def _take_snapshots(venue: CrashVenue) -> None:
    """Have two snapshots of each shard, and something behind the newest one."""
    words = venue.memory.shards

    def is_answered() -> bool:
        return bool(
            (words[:, ShardWord.SNAPSHOT_ANSWER] == words[:, ShardWord.SNAPSHOT_REQUEST]).all()
        )

    while True:
        words[:, ShardWord.SNAPSHOT_REQUEST] += 1
        venue.wait(is_answered, "no snapshots")
        if min(len(snapshots(venue.data, shard)) for shard in range(venue.shards)) >= 2:
            break
        venue.await_reports(50)

    def is_enough() -> bool:
        behind = words[:, ShardWord.LOG_BYTES] - words[:, ShardWord.SNAPSHOT_LOG_BYTES]
        return bool((behind > 2 * _BEHIND_BYTES).all())

    venue.wait(is_enough, "nothing was logged behind the snapshots")


def check_refusal(venue: CrashVenue, what: str, words: tuple[str, ...]) -> str:
    """Start the venue, which must end with one sentence and without leaving anything; return its
    log."""
    seen = len(venue.venue.log())
    process = venue.venue.spawn().process
    try:
        status = process.wait(_START_S)
    except subprocess.TimeoutExpired:
        raise CrashError(f"{what}: the venue goes on: {venue.venue.log()[seen:][-4000:]}") from None
    assert process.stdout is not None
    said = process.stdout.read()
    process.stdout.close()
    if said:
        raise CrashError(f"{what}: it said {said!r}")
    return _check_sentence(venue, what, seen, status, words)


def _check_sentence(
    venue: CrashVenue, what: str, seen: int, status: int, words: tuple[str, ...]
) -> str:
    log = venue.venue.log()[seen:]
    last = log.rstrip("\n").rpartition("\n")[2]
    is_sentence = last.startswith("openoutcry: ") and all(word in last for word in words)
    if status != 1 or not is_sentence or "Traceback" in log:
        raise CrashError(f"{what}: status {status}, expected were {words}; it said: {log[-4000:]}")
    # Who cannot have the directory's lock must not touch what a killed venue left.
    left = venue.venue.shared()
    if left and "Read-only" not in last:
        raise CrashError(f"{what}: it left {left}")
    return log


# --- a full disk ----------------------------------------------------------------------------------


class SkippedError(Exception):
    """Something cannot be tried here; the text says why."""


def mount_small_disk(place: Path, megabytes: int) -> None:
    """Mount a file system that has room for so much. Raises SkippedError."""
    if os.geteuid() != 0 or not shutil.which("mount"):
        raise SkippedError("only root can mount a small file system")
    _mount("-t", "tmpfs", "-o", f"size={megabytes}m", "openoutcry-test", str(place))


def _mount(*arguments: str) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SkippedError(f"{' '.join(arguments)} cannot be mounted: {done.stderr.strip()}")


@contextlib.contextmanager
def _small_disk(place: Path) -> Iterator[None]:
    place.mkdir()
    mount_small_disk(place, _SMALL_MB)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


class Filler:
    """A file that takes the room on a disk."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "filler"

    def fill(self, left_bytes: int = 0) -> None:
        """Take all room but so much."""
        stat = os.statvfs(self._path.parent)
        size = stat.f_bavail * stat.f_frsize - left_bytes
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT)
        try:
            # Others take room at the same time.
            while size > 0:
                with contextlib.suppress(OSError):
                    os.posix_fallocate(fd, 0, os.fstat(fd).st_size + size)
                    return
                size -= 1 << 16
        finally:
            os.close(fd)

    def free(self) -> None:
        """Give it back."""
        self._path.unlink(missing_ok=True)


def fill_disk(
    seed: int, folder: Path, tell: Tell = lambda text: None, *, times: int = 4
) -> dict[str, Any]:
    """Have the venue's disk become full under load, and be freed again; then be read-only.

    Raises:
        SkippedError: no small disk can be had here.
    """
    counts: Counter[str] = Counter()
    expected: set[str] = set()
    rng = random.Random(seed)
    with _small_disk(folder / "data"):
        venue = CrashVenue(folder, seed, faults=True)
        filler = Filler(venue.data)
        try:
            venue.start()
            for turn in range(times):
                venue.trade()
                left = rng.choice([0, 0, 1 << 20, 2 << 20])
                tell(f"disk full but for {left} bytes")
                filler.fill(left)
                _await_more(venue, _declined, "no order was refused")
                counts["disk full"] += 1
                if turn % 2:
                    name = rng.choice(["shard-0", "shard-1", "gateway-0", "gateway-1"])
                    tell(f"kill {name}")
                    before = {name: venue.pid(name)}
                    venue.send_signal(name, signal.SIGKILL)
                    venue.await_change(before)
                    counts["disk full, kill -9"] += 1
                venue.check()
                if turn == 0:
                    counts["disk full, start"] += 1
                    expected |= _deaths(_start_anyhow(venue, filler))
                filler.free()
                venue.trade()
                _await_more(venue, _accepted, "no order was taken")
                venue.check()
            tell("read-only")
            venue.kill_everything()
            _mount("-o", "remount,ro", str(venue.data))
            expected |= _deaths(check_refusal(venue, "read-only", ("Read-only file system",)))
            _mount("-o", "remount,rw", str(venue.data))
            counts["disk read-only, start"] += 1
            venue.start()
            found = _Kills(venue, expected, tell).finish()
        finally:
            venue.close()
    found["checks"] += 2 * times
    found["counts"] = {**counts, **found["counts"]}
    return found


def _start_anyhow(venue: CrashVenue, filler: Filler) -> str:
    """Kill everything and start, which may be refused with a sentence until there is room; return
    the log of a start that was."""
    venue.kill_everything()
    seen = len(venue.venue.log())
    try:
        venue.start()
    except AssertionError:
        process = venue.venue.process
        log = _check_sentence(venue, "start on a full disk", seen, process.wait(_START_S), ())
        filler.free()
        venue.start()
        return log
    venue.check()
    return ""


def _await_more(venue: CrashVenue, count: Callable[[CrashVenue], int], what: str) -> None:
    goal = count(venue) + 20
    venue.wait(lambda: count(venue) >= goal, what)


def _declined(venue: CrashVenue) -> int:
    venue.look()
    return sum(
        report.text == _LOG_FULL
        for session in venue.checker.sessions.values()
        for report in session.reports.values()
    )


def _accepted(venue: CrashVenue) -> int:
    venue.look()
    return len(venue.checker.orders)


# --- syncs that fail ------------------------------------------------------------------------------

#: What fails, and who has to die of it; nobody where it is no part of what was promised.
SYNCS = (
    ("sync shard-*-commands-*.seg", "shard"),
    ("sync gateway-*-index-*.seg", "gateway"),
    ("sync gateway-*-messages-*.seg", "gateway"),
    ("sync gateway-*-checkpoint", "gateway"),
    ("sync shard-*-snapshot-*", ""),
    ("sync shard-*-commands-*.new", ""),
    ("sync shard-*-reports-*.new", ""),
    ("folder-sync data", ""),
)


def fail_syncs(
    seed: int, folder: Path, tell: Tell = lambda text: None, syncs: tuple[Any, ...] = SYNCS
) -> dict[str, Any]:
    """Have syncs fail under `power`: what was told of is there, and the venue goes on."""
    counts: Counter[str] = Counter()
    expected: set[str] = set()
    shadow = folder / "shadow"
    shadow.mkdir()
    venue = CrashVenue(
        *(folder, seed), durability="power", faults=True, environment={VARIABLE: str(shadow)}
    )
    try:
        venue.start()
        for order, victim in syncs:
            tell(f"fail: {order}")
            venue.trade()
            time.sleep(0.3)
            names = [name for name in venue.processes() if name.startswith(victim or "-")]
            before = {name: venue.pid(name) for name in names}
            (shadow / FAILED).unlink(missing_ok=True)
            seen = len(venue.venue.log())
            (shadow / FAIL).write_text(order)
            if "snapshot" in order:
                venue.memory.shards[:, ShardWord.SNAPSHOT_REQUEST] += 1
            venue.wait((shadow / FAILED).exists, f"nobody came by {order}")
            if victim:
                venue.wait(
                    lambda: any(venue.pid(name) != pid for name, pid in before.items()),  # noqa: B023
                    f"no {victim} died of {order}",
                )
            venue.wait(venue.is_up, f"not all came back after {order}")
            venue.await_reports(200)
            venue.check()
            # Who could not have its files on the disk has to end; nobody else.
            deaths = _deaths(venue.venue.log()[seen:])
            if len(deaths) > 1:
                raise CrashError(f"{order}: {deaths}")
            expected |= deaths
            counts[f"fail {order}"] += 1
        found = _Kills(venue, expected, tell).finish()
    finally:
        venue.close()
    found["checks"] += len(syncs)
    found["counts"] = {**counts, **found["counts"]}
    return found


# --- writes that fail -----------------------------------------------------------------------------


def fail_writes(seed: int, folder: Path, tell: Tell = lambda text: None) -> dict[str, Any]:
    """Have no process after another write files for a while: no new segment, no snapshot."""
    counts: Counter[str] = Counter()
    venue = CrashVenue(folder, seed, faults=True)
    try:
        venue.start()
        for name in venue.processes()[:-1]:
            tell(f"failing writes in {name}")
            venue.trade()
            pid = venue.pid(name)
            # No file may get as long as a segment's header and a byte.
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (HEADER_BYTES, resource.RLIM_INFINITY))
            venue.memory.shards[:, ShardWord.SNAPSHOT_REQUEST] += 1
            time.sleep(3)
            unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, unlimited)
            venue.await_reports(200)
            venue.check()
            counts[f"failing writes in a {name.partition('-')[0]}"] += 1
        found = Kills(venue, tell=tell).finish()
    finally:
        venue.close()
    found["checks"] += len(venue.processes()) - 1
    found["counts"] = {**counts, **found["counts"]}
    return found


SERIES: dict[str, Callable[[int, Path, Tell], dict[str, Any]]] = {
    "files": damage_files,
    "full": fill_disk,
    "syncs": fail_syncs,
    "writes": fail_writes,
}

"""`python -m crash`: hurt venues under load, many times, and count what was lost (nothing may be).

    kills    processes are killed, at every named point and at random moments, or stand still
    disk     the disk is full, fails, cannot be written; files are cut and bits of them flipped
    power    what the disk may hold after a power cut is recovered, image by image

Prints a table of counts. The status is 1 when anything was lost, doubled or different, or when a
point was not come by often enough; the seed and the folder that was kept are in the message.
"""

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

#: The kernels of the test build are others than the product's, here, too.
os.environ.setdefault("OPENOUTCRY_TEST_BUILD", "1")

from crash.kills import Kills
from crash.venue import CrashError, CrashVenue

from openoutcry.config.system import file_system, machine
from openoutcry.engine.faults import FaultPoint

#: What one venue goes through, before another one begins with an empty directory.
_LIFE = 40

#: A process's kind and the point where it dies; None: something at random.
Step = tuple[str, FaultPoint] | None


class Series(NamedTuple):
    """Venues of one kind, and their share of all kills."""

    durability: str
    gateways: int
    shards: int
    share: float


#: Most kills hit venues whose sessions trade in both shards through two gateways.
_SERIES = (
    Series("process", 2, 2, 0.4),
    Series("power", 2, 2, 0.4),
    Series("process", 1, 1, 0.1),
    Series("power", 1, 1, 0.1),
)


class Progress:
    """Tells on stderr what is being done."""

    def __init__(self) -> None:
        self._since = time.monotonic()

    def __call__(self, text: str) -> None:
        """Tell."""
        print(f"{time.monotonic() - self._since:7.1f} s  {text}", file=sys.stderr, flush=True)


def plan_kills(seed: int, kills: int, per_point: int, durability: str) -> dict[Series, list[Step]]:
    """Return what each series does, in the order in which it does it."""
    all_series = [each for each in _SERIES if durability in {"both", each.durability}]
    steps: dict[Series, list[Step]] = {series: [] for series in all_series}
    for point in Kills.points_of("both" if durability == "both" else durability):
        passing = [each for each in all_series if point in Kills.points_of(each.durability)]
        weights = [each.share for each in passing]
        # Each series once, and the rest by share.
        rng = random.Random(f"{seed} {point}")
        chosen = passing[:per_point] + rng.choices(passing, weights, k=max(0, per_point - 4))
        chosen += passing[:1] * (per_point - len(chosen))
        for series in chosen:
            steps[series].append(point)
    whole = sum(each.share for each in all_series)
    for series in all_series:
        steps[series] += [None] * round(kills * series.share / whole)
        # Kills at points among those at random: each meets what the one before has left.
        random.Random(f"{seed} {series}").shuffle(steps[series])
    return steps


def run_kills(
    seed: int,
    kills: int,
    per_point: int,
    durability: str,
    folder: Path,
    tell: Callable[[str], None],
) -> dict[str, Any]:
    """Kill at every named point and at random moments; return the counts, and what was found."""
    total: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    findings: list[str] = []
    venues = 0
    for series, steps in plan_kills(seed, kills, per_point, durability).items():
        for first in range(0, len(steps), _LIFE):
            name = f"{series.durability}-{series.gateways}x{series.shards}-{first // _LIFE}"
            own = folder / name
            own.mkdir()
            tell(f"--- {name}")
            venues += 1
            try:
                found = _live(own, seed + venues, series, steps[first : first + _LIFE], tell)
            except Exception as error:
                # Another venue may find another thing.
                text = str(error) if isinstance(error, CrashError) else traceback.format_exc()
                findings.append(f"{name}, seed {seed}, files in {own}: {text}")
                tell(f"FOUND {text}")
                continue
            shutil.rmtree(own)
            counts.update(found.pop("counts"))
            total.update(found)
    missed = [
        f"{point.name} was come by {counts[f'point {point.name}']} times, not {per_point}"
        for _, point in Kills.points_of(durability)
        if counts[f"point {point.name}"] < per_point
    ]
    # A venue at which something was found counts for nothing.
    findings += missed
    return {"counts": dict(counts), "venues": venues, **total, "findings": findings}


def _live(
    folder: Path, seed: int, series: Series, steps: list[Step], tell: Callable[[str], None]
) -> dict[str, Any]:
    venue = CrashVenue(
        folder,
        seed,
        durability=series.durability,
        gateways=series.gateways,
        shards=series.shards,
        faults=True,
    )
    try:
        venue.start()
        kills = Kills(venue, tell=tell)
        for step in steps:
            if step is None:
                kills.at_random()
            else:
                kills.at_some_point(*step)
        return kills.finish()
    finally:
        venue.close()


def _print(result: dict[str, Any]) -> None:
    for part, found in result.items():
        if not isinstance(found, dict) or "counts" not in found:
            continue
        print(f"\n{part}")
        rows = {**dict(sorted(found["counts"].items())), **found}
        for name, count in rows.items():
            if isinstance(count, int):
                print(f"  {name:48} {count:12,}")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="crash", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["kills", "disk", "power", "all"], default="all", nargs="?")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=300, help="and other harm at random moments")
    parser.add_argument("--per-point", type=int, default=10, help="kills at each named point")
    parser.add_argument("--durability", choices=["process", "power", "both"], default="both")
    parser.add_argument("--images", type=int, default=1000, help="of the disk after a power cut")
    parser.add_argument("--json", type=Path, help="write the counts to this file")
    return parser.parse_args()


def main() -> int:
    """Do what is asked for; return the status."""
    options = _parse()
    tell = Progress()
    folder = Path(tempfile.mkdtemp(prefix="openoutcry-crash-"))
    result: dict[str, Any] = {
        "seed": options.seed,
        "machine": machine(),
        "file_system": file_system(folder),
    }
    began = time.monotonic()
    if options.what in {"kills", "all"}:
        result["kills"] = run_kills(
            options.seed, options.kills, options.per_point, options.durability, folder, tell
        )
    if options.what in {"disk", "all"}:
        run_disk_faults = import_module("crash.disk").run_disk_faults
        part = folder / "disk"
        part.mkdir()
        result["disk"] = _guarded(lambda: run_disk_faults(options.seed, part, tell), part, tell)
    if options.what in {"power", "all"}:
        run_power_images = import_module("crash.power").run_power_images
        part = folder / "power"
        part.mkdir()
        result["power"] = _guarded(
            lambda: run_power_images(options.seed, options.images, part, tell), part, tell
        )
    result["seconds"] = round(time.monotonic() - began)
    _print(result)
    findings = [
        text
        for found in result.values()
        if isinstance(found, dict)
        for text in found.get("findings", [])
    ]
    for text in findings:
        print(f"\nFOUND {text}", file=sys.stderr)
    if not any(folder.iterdir()):
        folder.rmdir()
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    print(f"\n{len(findings)} findings, {result['seconds']} s, seed {options.seed}")
    return 1 if findings else 0


def _guarded(
    run: Callable[[], dict[str, Any]], folder: Path, tell: Callable[[str], None]
) -> dict[str, Any]:
    """Return the counts of a part, or what stopped it as a finding; its folder is then kept."""
    try:
        found = run()
        shutil.rmtree(folder)
        return {**found, "findings": []}
    except Exception as error:
        text = str(error) if isinstance(error, CrashError) else traceback.format_exc()
        tell(f"FOUND {text}")
        return {"counts": {}, "findings": [f"files in {folder}: {text}"]}


if __name__ == "__main__":
    sys.exit(main())

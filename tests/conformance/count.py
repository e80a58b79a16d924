"""Run the table, and count by version: `python -m conformance.count [--live]` with tests/ in sight.

`--show 2.b FIX.4.2` prints the bytes of a row, or of a case's rows, in place of that: `*` is any
value, stamps are those of the fake clock. The exit status is 1 where a run fails.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from conformance.fake import OURS, START_MS
from conformance.fake import run as run_fake
from conformance.live import all_runs, venue_for
from conformance.table import CASES, ROLES, Row, gaps, is_in, page, reference, rows
from conformance.wire import Envelope, readable

from openoutcry.protocol.fix.versions import VERSIONS, Version

#: (row's id, version) → wire → what went wrong, empty where nothing did.
Outcomes = dict[tuple[str, Version], dict[str, str]]


def main(arguments: list[str] | None = None) -> int:
    """Run and print; return the exit status."""
    parser = argparse.ArgumentParser(prog="conformance.count", description=__doc__)
    parser.add_argument("--live", action="store_true", help="also against a venue of its own")
    parser.add_argument("--show", nargs=2, metavar=("ROW", "VERSION"), help="print a row's bytes")
    chosen = parser.parse_args(arguments)
    if chosen.show:
        print("\n".join(show(chosen.show[0], VERSIONS[chosen.show[1]])))
        return 0
    outcomes = fake_outcomes()
    if chosen.live:
        with tempfile.TemporaryDirectory() as folder:
            for (row, version), error in live_outcomes(Path(folder)):
                outcomes.setdefault((row.id, version), {})["live"] = error
    print("\n".join(report(outcomes)))
    return int(any(error for found in outcomes.values() for error in found.values()))


def show(name: str, version: Version) -> Iterator[str]:
    """Yield the bytes of the rows that have a name or a case."""
    for row in rows():
        if name != row.id and name not in row.case:
            continue
        for role in row.roles if row.holds_in(version) else ():
            now_ms = START_MS
            yield f"{row.id}, {role}: {row.title}"
            for step in row.expand(version, role):
                us, them = (Envelope(version, *pair, now_ms) for pair in (OURS, OURS[::-1]))
                data = {">": them.message, ">1": them.message, ">>": them.raw}.get(step.action)
                text = readable(data(step.text)) if data else f"{step.action} {step.text}"
                yield f"  > {text.strip()}"
                if step.action == "wait":
                    now_ms += round(float(step.text) * 1000)
                    us = Envelope(version, *OURS, now_ms)
                yield from (f"  < {readable(us.message(answer))}" for answer in step.messages)
                if step.closes:
                    yield "  closed"


def _error_of(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def fake_outcomes() -> Outcomes:
    """Run every row on the fake wire."""
    outcomes: Outcomes = {}
    for row in rows():
        for version in Version:
            if not row.is_fake or not row.holds_in(version):
                continue
            for role in row.roles:
                error = ""
                try:
                    run_fake(row, version, role)
                except Exception as raised:  # a run that fails must not hide the others
                    error = _error_of(raised)
                outcomes.setdefault((row.id, version), {})[role] = error
    return outcomes


def live_outcomes(folder: Path) -> Iterator[tuple[tuple[Row, Version], str]]:
    """Run every row that a client can play against a venue."""
    with venue_for(folder) as results:
        for name, (row, version, _, _) in all_runs().items():
            error = results[name].exception(timeout=300)
            yield (row, version), _error_of(error) if error else ""


def report(outcomes: Outcomes) -> Iterator[str]:
    """Yield the lines of the summary."""
    yield f"{len(rows())} rows for {len(CASES)} numbered cases, {len(page())} lines of behaviour"
    yield f"and {_definitions()} definitions of the reference engines."
    yield ""
    wires = (*ROLES, "live")
    yield "Cases of the standard, and runs of rows (passed/all):"
    head = f"{'version':<12}{'cases':>6}{'passed':>8}{'failed':>8}{'n/a':>6}"
    yield head + "".join(f"{wire:>12}" for wire in wires)
    for version in Version:
        passed, failed, without = _cases(version, outcomes)
        line = f"{version.label:<12}{len(CASES):>6}{passed:>8}{failed:>8}{without:>6}"
        for wire in wires:
            errors = [
                found[wire]
                for (_, of), found in outcomes.items()
                if of is version and wire in found
            ]
            counted = f"{errors.count('')}/{len(errors)}" if errors else "-"
            line += f"{counted:>12}"
        yield line
    yield ""
    yield "Not applicable:"
    yield from _not_applicable()
    failures = [
        f"{row_id} {version.label} {wire}: {error}"
        for (row_id, version), found in outcomes.items()
        for wire, error in found.items()
        if error
    ]
    if failures:
        yield ""
        yield from ("Failed:", *failures)


def _definitions() -> int:
    return sum(len(names.split()) for names in reference()["definitions"].values())


def _cases(version: Version, outcomes: Outcomes) -> tuple[int, int, int]:
    """Return how many cases of the standard passed, failed, and do not apply."""
    passed = failed = without = 0
    for case in CASES:
        named = [row for row in rows() if case in row.case and row.holds_in(version)]
        errors = [error for row in named for error in outcomes.get((row.id, version), {}).values()]
        without += not named
        failed += any(errors)
        passed += bool(errors) and not any(errors)
    return passed, failed, without


def _not_applicable() -> Iterator[str]:
    for gap in gaps():
        labels = [version.label for version in Version if is_in(version, gap.versions)]
        yield f"  {gap.case:<6}{_span(labels):<24}{gap.reason}"
    for case in CASES:
        named = [row for row in rows() if case in row.case]
        without = [v for v in Version if named and not any(row.holds_in(v) for row in named)]
        if without:
            labels = [version.label for version in without]
            yield f"  {case:<6}{_span(labels):<24}{named[0].otherwise}"


def _span(labels: list[str]) -> str:
    short = [label.removeprefix("FIX.") for label in labels]
    return short[0] if len(short) == 1 else f"{short[0]} to {short[-1]}"


if __name__ == "__main__":
    sys.exit(main())

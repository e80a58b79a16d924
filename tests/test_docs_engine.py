"""docs/engine.md: its example prints what the page says, and its tables have every field."""

import re
import subprocess
import sys
from pathlib import Path

from openoutcry.engine import Engine
from openoutcry.engine.enums import CommandKind, ReportKind
from openoutcry.engine.records import COMMAND, REPORT

PAGE = (Path(__file__).parents[1] / "docs" / "engine.md").read_text()


def table(after: str) -> list[list[str]]:
    """Return the cells of the first table after a text, less its head."""
    lines = PAGE.partition(after)[2].split("\n")
    start = next(n for n, line in enumerate(lines) if line.startswith("|"))
    found = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        found.append([cell.strip() for cell in line[1:-1].split(" | ")])
    return found


def names(text: str) -> list[str]:
    return re.findall(r"`(\w+)", text)


def test_the_example_prints_what_the_page_says() -> None:
    found = re.search(r"```python\n(.*?)```\n```\n(.*?)```", PAGE, re.DOTALL)
    assert found
    done = subprocess.run(
        [sys.executable, "-c", found[1]], capture_output=True, text=True, timeout=170, check=True
    )
    assert done.stdout == found[2]


def test_every_field_of_a_command_is_there() -> None:
    fields = {name for row in table("COMMAND, 192 bytes") for name in names(row[0])}
    words = {f"{kind}{i}" for kind in ("id", "orig") for i in range(5)}
    assert fields == set(COMMAND.names or ()) - words


def test_every_field_of_a_report_is_there() -> None:
    fields = {name for row in table("REPORT, 192 bytes") for name in names(row[0])}
    words = {f"{kind}{i}" for kind in ("id", "orig") for i in range(5)}
    assert fields == set(REPORT.names or ()) - words


def test_the_kinds_are_named() -> None:
    for title, enum in (("COMMAND, 192 bytes", CommandKind), ("REPORT, 192 bytes", ReportKind)):
        row = next(row for row in table(title) if row[0] == "`kind`")
        assert re.findall(r"\b[A-Z]{2,}(?:_[A-Z]+)*\b", row[1]) == [kind.name for kind in enum]


def test_every_public_call_is_there() -> None:
    calls = {name for row in table("## Engine") for name in names(row[0])}
    public = {name for name in vars(Engine) if not name.startswith("_")}
    assert public <= calls

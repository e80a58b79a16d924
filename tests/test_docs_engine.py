"""docs/engine.md: its examples print what the page says, and its tables have every field."""

import contextlib
import io
import re
from pathlib import Path

import pytest

from openoutcry.engine import Engine, Order, OrderBook
from openoutcry.engine.enums import CommandKind, ReportKind
from openoutcry.engine.records import COMMAND, REPORT

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "engine.md").read_text()


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


EXAMPLES = re.findall(r"```python\n(.*?)```\n(?:```\n(.*?)```)?", PAGE, re.DOTALL)


def printed_by(code: str) -> str:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "example", "exec"), {"__name__": "example"})
    return printed.getvalue()


@pytest.mark.parametrize(("code", "output"), EXAMPLES, ids=range(len(EXAMPLES)))
def test_each_example_prints_what_the_page_says(code: str, output: str) -> None:
    assert printed_by(code) == output


def test_the_readmes_order_book_runs() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    code = next(block for block in blocks if "import OrderBook" in block)
    assert printed_by(code) == "FILLED 3 2 [PriceLevel(price=101, qty=2, orders=1)]\n"


def test_the_first_example_is_five_lines() -> None:
    code, _ = EXAMPLES[0]
    assert len([line for line in code.splitlines() if line]) == 5


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


@pytest.mark.parametrize(
    ("title", "described"),
    [("## Engine", Engine), ("## OrderBook", OrderBook), ("### Order", Order)],
)
def test_every_public_name_is_there(title: str, described: type) -> None:
    named = {name for row in table(f"\n{title}\n") for name in names(row[0])}
    public = {name for name in vars(described) if not name.startswith("_")}
    assert public <= named

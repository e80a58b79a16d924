"""README and docs: links lead somewhere, commands parse, examples run."""

import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import click
import pytest

from openoutcry.server.main import BENCHES, COMMANDS, main

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("deploy/*.md")])
README = (ROOT / "README.md").read_text()


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def anchors(page: Path) -> set[str]:
    heads = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        there = page.parent / file if file else page
        assert there.exists(), target
        if anchor:
            assert anchor in anchors(there), target


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_path_that_is_named_is_there(page: Path) -> None:
    named = re.findall(r"`((?:server|engine|protocol|clients|loadgen|config|tests)/[\w/.]+)`",
                       page.read_text())  # fmt: skip
    for path in named:
        assert (ROOT / path).exists(), path


def commands_of(page: Path) -> set[str]:
    """Return the command lines of a page: in code spans, and in blocks where a line begins so."""
    text = page.read_text()
    spans = re.findall(r"`(openoutcry [^`\n]*)`", text)
    lines = re.findall(r"^(?:\$ )?(openoutcry [^|\n]*?)(?: *[|#&].*)?$", text, re.MULTILINE)
    return {" ".join(each.split()) for each in [*spans, *lines]}


@cache
def command_named(path: tuple[str, ...]) -> click.Command:
    context = click.Context(main)
    command: click.Command = main
    for name in path:
        assert isinstance(command, click.Group), f"{path}: no subcommands"
        found = command.get_command(context, name)
        assert found is not None, f"no command {' '.join(path)}"
        command = found
    return command


def is_complete(command: click.Command) -> bool:
    """Tell whether a command needs no more than options."""
    return not any(isinstance(each, click.Argument) and each.required for each in command.params)


@pytest.mark.parametrize(
    ("page", "line"),
    [(page, line) for page in PAGES for line in sorted(commands_of(page))],
    ids=lambda part: part if isinstance(part, str) else name_of(part),
)
def test_every_command_that_is_shown_parses(
    page: Path, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A data directory that the text has made before.
    (tmp_path / "venue-data").mkdir()
    monkeypatch.chdir(tmp_path)
    words = shlex.split(line)[1:]
    path: tuple[str, ...] = ()
    while words and not words[0].startswith("-"):
        if path and not isinstance(command_named(path), click.Group):
            break
        path = (*path, words.pop(0))
    command = command_named(path)
    options = {
        name
        for option in command.params
        if isinstance(option, click.Option)
        for name in option.opts
    }
    options |= {"-h", "--help"}
    for word in words:
        if word.startswith("-"):
            assert word.partition("=")[0] in options, f"{' '.join(path)} has no option {word}"
    # A bare name is a mention, and a placeholder is not parsed; what could be typed is.
    is_typed = words and not re.search(r"\b(FILE|DIR|OTHER|SEQ|SYMBOL|NAME|N|KEY)\b|…", line)
    is_mention = words and all(word.startswith("-") for word in words) and not is_complete(command)
    if is_typed and not is_mention and not isinstance(command, click.Group):
        command.make_context(path[-1], words)


def test_the_readme_names_every_command() -> None:
    shown = {line.split()[1] for line in commands_of(ROOT / "README.md")}
    assert shown >= set(COMMANDS)
    assert shown <= set(COMMANDS)
    line = next(line for line in README.splitlines() if line.startswith("| `openoutcry bench`"))
    assert set(re.findall(r"`(\w+)`", line)) == set(BENCHES)


def test_the_readme_names_every_page() -> None:
    for page in PAGES:
        if page.name != "README.md" or page.parent != ROOT:
            assert f"({name_of(page)})" in README, name_of(page)


def test_make_targets_that_are_named_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for page in PAGES:
        for target in re.findall(r"`?make ([a-z][a-z-]+)`?", page.read_text()):
            if re.search(rf"`make {target}", page.read_text()):
                assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"{page}: make {target}"


def test_the_readmes_engine_example_runs() -> None:
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    code = next(block for block in blocks if "import Engine" in block)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=170, check=True
    )
    assert done.stdout.splitlines() == [
        "5 reports, best ask 102",
        "[DepthLevel(price_ticks=102, qty_lots=3, orders=1)]",
    ]


def test_the_readmes_client_example_is_python() -> None:
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    for block in blocks:
        compile(block, "README.md", "exec")


def test_no_page_names_a_place_of_one_machine() -> None:
    for page in PAGES:
        found = re.search(r"(?<![\w.])/(?:home|root|work|Users)/", page.read_text())
        assert found is None, f"{name_of(page)}: {found}"

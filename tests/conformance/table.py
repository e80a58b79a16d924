"""The table of FIX session cases: YAML rows under table/, expanded for one version and one role.

Every row is written from the side of the system under test. Its steps are lines of text:

    > 35=1|34=2|112=x        a message to us; 8, 9, 49, 56, 52 and 10 are put in their places
    >> 8=$begin|9=#+1|…      bytes to us as they stand; `#` is the right length or sum, `#+1` not
    >1 35=1|34=2|112=x       a message to us, byte by byte
    < 35=0|34=2|112=x        a message from us, with the same places filled in; every field counts
    closed                   we close the connection
    connect, cut, wait 30    the peer connects, is gone; seconds pass; nothing but answers
    send …, logout TEXT, reset, end TEXT, begin, probe 5   what our own side asks the session for
    2: …                     the same on a second connection (live venue only)

A field `!52` leaves one out that would be put in. `@0` is the time of the clock, `@-30` is half a
minute earlier. `*` stands for any value. `$name` is a text from the head of the table, and
`{4.2+|371=112}` is there in these versions only; `{4.2+?371=112}` leaves out the first `|`. What
follows a step up to the next one that is not `<` or `closed` is all that we may send: no message
more, none less, in this order.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from openoutcry.protocol.fix.versions import VERSIONS, Version

FOLDER = Path(__file__).parent / "table"
ROLES = ("acceptor", "initiator")
#: Versions as the table writes them: 4.0 … 5.0SP2.
NAMES = {label.removeprefix("FIX."): version for label, version in VERSIONS.items()}

_BRACES = re.compile(r"\{([^{}|?]*)([|?])([^{}]*)\}")
_VARIABLE = re.compile(r"\$([a-z_]+)")
_ANSWERS = ("<", "closed")
#: What cannot be had from a venue over its socket: our own doings, other settings, long waits.
_INSIDE = ("send", "logout", "reset", "end", "begin", "probe")
_LONGEST_LIVE_WAIT_S = 4.0


@dataclass(frozen=True)
class Step:
    """Something that happens, and all that we answer."""

    action: str
    text: str = ""
    #: Messages from us, then perhaps `closed`.
    answers: tuple[str, ...] = ()
    connection: int = 1

    @property
    def closes(self) -> bool:
        """Whether we close the connection."""
        return "closed" in self.answers

    @property
    def messages(self) -> tuple[str, ...]:
        """Return what we send."""
        return tuple(answer for answer in self.answers if answer != "closed")


@dataclass(frozen=True)
class Row:
    """A case: in which versions and roles it holds, what happens, and how it ends."""

    id: str
    title: str
    steps: str
    result: str
    #: The numbers of the standard's test cases.
    case: tuple[str, ...] = ()
    #: Lines of the text-book behaviour, by their keys in page.yaml.
    page: tuple[str, ...] = ()
    #: What holds here where venues differ.
    choice: str = ""
    #: Definitions of the reference engines' suites with the same scenario.
    like: tuple[str, ...] = ()
    versions: str = "4.0+"
    #: Why the row does not hold in the other versions.
    otherwise: str = ""
    roles: tuple[str, ...] = ROLES
    #: `logon`: both Logons are exchanged; `connect`: the connection stands; `none`.
    start: str = "logon"
    settings: dict[str, Any] = field(default_factory=dict)
    #: (due next from the peer, due next to the peer) before the first connection.
    before: tuple[int, int] = (1, 1)
    #: The same at the end; None where a venue is asked for more than numbers.
    numbers: tuple[int, int] | None = None
    #: At the end numbers are missing on the way in.
    gap: bool = False
    #: ClOrdIDs that reached the application, in order.
    applied: tuple[str, ...] = ()
    #: `also`: on the fake wire and live; `only`; `no`, and why not. Unless said, a row runs live
    #: where a client can play it, and the venue says nothing more than the session.
    live: str = ""
    #: Settings of the session in the configuration of the live venue.
    venue: dict[str, Any] = field(default_factory=dict)

    def holds_in(self, version: Version) -> bool:
        """Tell whether the row applies to a version."""
        return is_in(version, self.versions)

    @property
    def is_fake(self) -> bool:
        """Whether the row runs on the fake wire."""
        return not self.live.startswith("only")

    @property
    def is_live(self) -> bool:
        """Whether the row runs against a venue."""
        if self.live:
            return not self.live.startswith("no")
        if "acceptor" not in self.roles or (self.settings and not self.venue):
            return False
        steps = list(self.expand(_first_version(self.versions), "acceptor"))
        waited = sum(float(step.text) for step in steps if step.action == "wait")
        is_order = any(step.action == ">" and "35=D|" in step.text for step in steps)
        is_inside = any(step.action in _INSIDE for step in steps)
        return not (is_order or is_inside or waited > _LONGEST_LIVE_WAIT_S)

    def expand(self, version: Version, role: str) -> Iterator[Step]:
        """Yield the steps for a version and role."""
        start = {"none": "", "connect": "connect\n"}.get(self.start)
        lines = head()[f"logon_{role}"] if start is None else start
        yield from _parse(expand(lines + self.steps, version))


@dataclass(frozen=True)
class Gap:
    """A test case of the standard that does not apply, and why not."""

    case: str
    versions: str
    reason: str


def is_in(version: Version, spec: str) -> bool:
    """Tell whether a version is meant: `4.2+`, `-4.1`, `4.2-4.4`, `5.0`, several with commas."""
    for part in spec.split(","):
        first, dash, last = part.strip().removesuffix("+").partition("-")
        if part.strip().endswith("+"):
            last, dash = "", "-"
        low = NAMES[first] if first else Version.FIX40
        high = (NAMES[last] if last else Version.FIX50SP2) if dash else low
        if low <= version <= high:
            return True
    return False


def _first_version(spec: str) -> Version:
    return next(version for version in Version if is_in(version, spec))


def expand(text: str, version: Version) -> str:
    """Put in the variables, and what is in braces for this version."""
    known = head()
    while (found := _VARIABLE.search(text)) is not None:
        name = found[1]
        value = version.begin_string if name == "begin" else known[name].strip()
        text = text[: found.start()] + value + text[found.end() :]
    while (braces := _BRACES.search(text)) is not None:
        inner = braces[2].strip("?") + braces[3] if is_in(version, braces[1]) else ""
        text = text[: braces.start()] + inner + text[braces.end() :]
    return text


def _parse(text: str) -> Iterator[Step]:
    step: Step | None = None
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        number, colon, rest = line.partition(": ")
        is_numbered = bool(colon) and number.isdigit()
        action, _, argument = (rest if is_numbered else line).strip().partition(" ")
        if action in _ANSWERS:
            assert step is not None, f"nothing comes before: {line}"
            answer = argument if action == "<" else action
            step = Step(step.action, step.text, (*step.answers, answer), step.connection)
            continue
        if step is not None:
            yield step
        step = Step(action, argument, connection=int(number) if is_numbered else 1)
    if step is not None:
        yield step


@cache
def head() -> dict[str, str]:
    """Return the texts that rows refer to."""
    found: dict[str, str] = yaml.safe_load((FOLDER / "head.yaml").read_text())
    return found


@cache
def _sections() -> list[dict[str, Any]]:
    return [yaml.safe_load(path.read_text()) for path in sorted(FOLDER.glob("[0-9]*.yaml"))]


@cache
def rows() -> list[Row]:
    """Return every row that runs, in the order of the files."""
    return [_row(each) for section in _sections() for each in section["rows"]]


@cache
def gaps() -> list[Gap]:
    """Return the cases that do not apply."""
    return [
        Gap(str(case), str(each.get("versions", "4.0+")), each["reason"])
        for section in _sections()
        for each in section.get("not_applicable", ())
        for case in _tuple(each["case"])
    ]


def _row(each: dict[str, Any]) -> Row:
    values = dict(each)
    for name in ("case", "page", "like", "applied", "roles"):
        if name in values:
            values[name] = _tuple(values[name])
    for name in ("before", "numbers"):
        if values.get(name) is not None:
            first, second = str(values[name]).split()
            values[name] = (int(first), int(second))
    for name in ("id", "versions"):
        if name in values:
            values[name] = str(values[name])
    return Row(**values)


def _tuple(value: Any) -> tuple[str, ...]:
    if isinstance(value, list):
        return tuple(str(each) for each in value)
    return tuple(str(value).split())


@cache
def elsewhere() -> dict[str, str]:
    """Return the lines of behaviour that other tests prove: key → their file."""
    found: dict[str, str] = {}
    for section in _sections():
        found |= section.get("elsewhere", {})
    return found


@cache
def page() -> dict[str, str]:
    """Return the lines of the text-book behaviour: key → short text."""
    found: dict[str, str] = yaml.safe_load((FOLDER / "page.yaml").read_text())
    return found


@cache
def reference() -> dict[str, Any]:
    """Return the definitions of the reference engines' suites, and those left out with reasons."""
    found: dict[str, Any] = yaml.safe_load((FOLDER / "reference.yaml").read_text())
    return found


#: Every case that the standard numbers ("FIX session-level test cases and expected behaviours").
CASES = (
    *(f"1B.{letter}" for letter in "abcde"),
    *(f"1S.{letter}" for letter in "abcd"),
    "2S",
    *(f"2.{letter}" for letter in "abcdefghijklmnopqrst"),
    *(f"3.{letter}" for letter in "abcde"),
    *("4.a", "4.b", "5", "6", "7", "8", "9"),
    *(f"10.{letter}" for letter in "abcde"),
    *(f"11.{letter}" for letter in "abc"),
    *("12", "13.a", "13.b"),
    *(f"14.{letter}" for letter in "abcdefghijklmn"),
    *("15", "16.a", "16.b"),
    *(f"17.{letter}" for letter in "abcdefghij"),
    *("18.a", "18.b", "19.a", "19.b", "20"),
)

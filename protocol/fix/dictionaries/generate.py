"""Make the dictionaries in this folder from dictionaries in QuickFIX's XML format.

Run `python -m openoutcry.protocol.fix.dictionaries.generate FOLDER`, FOLDER holding FIX40.xml …
FIX50SP2.xml and FIXT11.xml; the `quickfix` package installs them under `share/quickfix`. Where they
differ from the standard, CORRECTIONS and OPEN say so; the standard has the last word.

A file has six parts, each begun by its name alone on a line. `fields`: tag, name, type, and the
codes that a value may be. `components`: name and members. `header`, `trailer`: members. `messages`:
MsgType, name and members. `data`, behind fields: the tag of a length and that of its data. A member
is a tag or a component; `*` behind it means required. A group is `tag(`, its members, the first of
which begins an instance, and `)`. data.txt has the pairs of all versions; codes.txt what codes mean
in the newest version that has them.
"""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

FILES = ("FIX40", "FIX41", "FIX42", "FIX43", "FIX44", "FIX50", "FIX50SP1", "FIX50SP2", "FIXT11")
_BEFORE_42 = ("FIX40", "FIX41")
_BEFORE_43 = ("FIX40", "FIX41", "FIX42")
_SINCE_50 = ("FIX50", "FIX50SP1", "FIX50SP2")
_DATA_TYPES = ("DATA", "XMLDATA")

_HEAD = """\
# {name}: fields, components, messages. Made by generate.py, which tells the format; corrections
# belong there. Source: the FIX specification of this version.
"""

_DATA_HEAD = """\
# Tags of lengths with those of the data behind them, of all versions. Made by generate.py.
"""

_CODES_HEAD = """\
# What codes mean: a tag, then each code with its name, of all versions. Made by generate.py.
"""


class Correction(NamedTuple):
    """What the XML has wrong about a field: its name, its type, or codes that it leaves out."""

    files: tuple[str, ...]
    tag: int
    reason: str
    name: str | None = None
    type: str | None = None
    codes: tuple[str, ...] = ()


CORRECTIONS = (
    *(
        Correction(_BEFORE_43, tag, "int then, a sequence number since", type="SEQNUM")
        for tag in (7, 16, 34, 36, 45, 369)
    ),
    Correction(("FIX40",), 97, "Y or N, as PossDupFlag", type="BOOLEAN"),
    Correction(_BEFORE_42, 18, "several, with spaces between", type="MULTIPLEVALUESTRING"),
    Correction(("FIX43",), 286, "misspelt", name="OpenCloseSettlFlag"),
    Correction(("FIX44",), 103, "12 is in 4.3, 4.4 and 5.0", codes=("12",)),
    Correction(("FIX50",), 996, "misspelt", name="UnitOfMeasure"),
)

#: Fields whose codes are not all that a value may be: (files, tag, reason).
OPEN = (
    (FILES, 27, "a quantity, or one of the codes"),
    (_BEFORE_42, 100, "any destination; the codes are two of them"),
    (FILES, 166, "an ISO country code, too"),
    (_SINCE_50, 63, "a tenor, too"),
    (FILES, 65, "suffixes of equities are free; the codes are for fixed income"),
    (_SINCE_50, 336, "names agreed on by the parties, too"),
    (_SINCE_50, 625, "names agreed on by the parties, too"),
)


class _Source:
    """One XML file."""

    def __init__(self, path: Path) -> None:
        self.name = path.stem
        self.root = ElementTree.parse(path).getroot()
        self.numbers = {e.attrib["name"]: int(e.attrib["number"]) for e in self.part("fields")}
        self.types = {e.attrib["name"]: e.attrib["type"] for e in self.part("fields")}
        self.count_tags = {self._tag(e) for e in self.root.iter("group")}
        self.components = {e.attrib["name"] for e in self.part("components")}

    def part(self, name: str) -> ElementTree.Element:
        found = self.root.find(name)
        return ElementTree.Element(name) if found is None else found

    def field_lines(self) -> Iterator[str]:
        corrections = {c.tag: c for c in CORRECTIONS if self.name in c.files}
        is_open = {tag for files, tag, _ in OPEN if self.name in files}
        for field in sorted(self.part("fields"), key=lambda e: int(e.attrib["number"])):
            tag, name, kind = (
                int(field.attrib["number"]),
                field.attrib["name"],
                field.attrib["type"],
            )
            codes = {value.attrib["enum"] for value in field}
            if tag in corrections:
                right = corrections[tag]
                name, kind = right.name or name, right.type or kind
                codes.update(right.codes)
            # Up to FIX 4.2 these were int.
            if tag in self.count_tags:
                kind = "NUMINGROUP"
            # BeginString is the version, and MsgType's codes are the messages.
            if tag in is_open or tag in (8, 35):
                codes.clear()
            if any(" " in code for code in codes):
                raise ValueError(f"{self.name}: a code of {name}({tag}) has a space")
            yield " ".join([str(tag), name, kind, *sorted(codes, key=_code_order)])

    def data_lines(self) -> Iterator[str]:
        pairs = set()
        for parent in (e for part in self.root if part.tag != "fields" for e in part.iter()):
            for before, field in zip(parent, list(parent)[1:], strict=False):
                if field.tag == "field" and self.types.get(field.attrib["name"]) in _DATA_TYPES:
                    pairs.add((self.numbers[before.attrib["name"]], self._tag(field)))
        for length, data in sorted(pairs):
            yield f"{length} {data}"

    def code_names(self) -> Iterator[tuple[int, str, str]]:
        """Yield (tag, code, name) of every code of every field."""
        for field in self.part("fields"):
            for value in field:
                yield int(field.attrib["number"]), value.attrib["enum"], value.attrib["description"]

    def _tag(self, element: ElementTree.Element) -> int:
        return self.numbers[element.attrib["name"]]

    def members(self, parent: Iterable[ElementTree.Element]) -> str:
        return " ".join(self._members(parent))

    def _members(self, parent: Iterable[ElementTree.Element]) -> Iterator[str]:
        for member in parent:
            star = "*" if member.attrib["required"] == "Y" else ""
            if member.tag == "component":
                if member.attrib["name"] not in self.components:
                    raise KeyError(f"{self.name}: no component {member.attrib['name']}")
                yield member.attrib["name"] + star
            elif member.tag == "group":
                yield f"{self._tag(member)}{star}("
                yield from self._members(member)
                yield ")"
            else:
                yield f"{self._tag(member)}{star}"

    def lines(self) -> Iterator[str]:
        yield "fields"
        yield from self.field_lines()
        yield "data"
        yield from self.data_lines()
        yield "components"
        for component in self.part("components"):
            yield f"{component.attrib['name']} {self.members(component)}"
        yield "header"
        yield self.members(self.part("header"))
        yield "trailer"
        yield self.members(self.part("trailer"))
        yield "messages"
        for message in self.part("messages"):
            yield (
                f"{message.attrib['msgtype']} {message.attrib['name']} {self.members(message)}"
            ).rstrip()


def _code_order(code: str) -> tuple[bool, int, str]:
    return (not code.isdigit(), int(code) if code.isdigit() else 0, code)


def texts(folder: Path) -> dict[str, str]:
    """Return the texts of all files, by their names, from a folder of XML dictionaries."""
    made = {}
    pairs: set[str] = set()
    codes: dict[int, dict[str, str]] = {}
    for name in FILES:
        source = _Source(folder / f"{name}.xml")
        made[f"{name.lower()}.txt"] = _text(_HEAD.format(name=name), source.lines())
        pairs.update(source.data_lines())
        for tag, code, meaning in source.code_names():
            codes.setdefault(tag, {})[code] = meaning
    made["codes.txt"] = _text(_CODES_HEAD, _code_lines(codes))
    made["data.txt"] = _text(_DATA_HEAD, sorted(pairs, key=lambda pair: int(pair.split()[0])))
    return made


def _code_lines(codes: dict[int, dict[str, str]]) -> Iterator[str]:
    # BeginString says it itself, MsgType by the message's name.
    for tag, names in sorted(codes.items()):
        if tag not in (8, 35):
            pairs = (f"{code}={names[code]}" for code in sorted(names, key=_code_order))
            yield " ".join([str(tag), *pairs])


def _text(head: str, lines: Iterable[str]) -> str:
    return head + "".join(f"{line}\n" for line in lines)


def main() -> None:
    """Write all dictionaries, from the folder that the first argument names."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m openoutcry.protocol.fix.dictionaries.generate FOLDER")
    for name, text in texts(Path(sys.argv[1])).items():
        Path(__file__).with_name(name).write_text(text, "ascii")


if __name__ == "__main__":
    main()

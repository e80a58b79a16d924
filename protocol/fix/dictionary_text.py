"""Read a dictionary's text; dictionaries/generate.py tells its format."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from openoutcry.protocol.fix.definitions import FieldType, Group, MessageDefinition

#: FieldType by FIX's names of types, those of all versions.
TYPES = {
    "AMT": FieldType.DECIMAL,
    "BOOLEAN": FieldType.BOOLEAN,
    "CHAR": FieldType.CHAR,
    "COUNTRY": FieldType.STRING,
    "CURRENCY": FieldType.STRING,
    "DATA": FieldType.DATA,
    "DATE": FieldType.DATE,
    "DAYOFMONTH": FieldType.DAY_OF_MONTH,
    "EXCHANGE": FieldType.STRING,
    "FLOAT": FieldType.DECIMAL,
    "INT": FieldType.INT,
    "LANGUAGE": FieldType.STRING,
    "LENGTH": FieldType.NATURAL,
    "LOCALMKTDATE": FieldType.DATE,
    "LOCALMKTTIME": FieldType.LOCAL_TIME,
    "MONTHYEAR": FieldType.MONTH_YEAR,
    "MULTIPLECHARVALUE": FieldType.CHARS,
    "MULTIPLESTRINGVALUE": FieldType.STRINGS,
    "MULTIPLEVALUESTRING": FieldType.STRINGS,
    "NUMINGROUP": FieldType.NATURAL,
    "PERCENTAGE": FieldType.DECIMAL,
    "PRICE": FieldType.DECIMAL,
    "PRICEOFFSET": FieldType.DECIMAL,
    "QTY": FieldType.DECIMAL,
    "SEQNUM": FieldType.NATURAL,
    "STRING": FieldType.STRING,
    "TAGNUM": FieldType.NATURAL,
    "TIME": FieldType.UTC_TIMESTAMP,
    "TZTIMEONLY": FieldType.TZ_TIME,
    "TZTIMESTAMP": FieldType.TZ_TIMESTAMP,
    "UTCDATE": FieldType.DATE,
    "UTCDATEONLY": FieldType.DATE,
    "UTCTIMEONLY": FieldType.UTC_TIME,
    "UTCTIMESTAMP": FieldType.UTC_TIMESTAMP,
    "XID": FieldType.STRING,
    "XIDREF": FieldType.STRING,
    "XMLDATA": FieldType.DATA,
}

_COUNT_TAG = re.compile(r"\b([0-9]+)\*?\(")
_PARTS = ("fields", "data", "components", "header", "trailer", "messages")
_FOLDER = Path(__file__).with_name("dictionaries")


class Member(NamedTuple):
    """A field of a message, component or group; `group` where it counts one."""

    tag: int
    is_required: bool
    group: Group | None


class DictionaryText:
    """A dictionary's text; what a message or component consists of is read when asked for.

    Args:
        name: of the file, without its ending.
        char: what the type CHAR means in this version.
    """

    def __init__(self, name: str, char: FieldType) -> None:
        parts: dict[str, list[str]] = {}
        lines: list[str] = []
        for line in _lines(name):
            if line in _PARTS:
                lines = parts[line] = []
            else:
                lines.append(line)
        types = TYPES | {"CHAR": char}
        self.names: dict[int, str] = {}
        self.types: dict[int, FieldType] = {}
        self.enumerations: dict[int, frozenset[bytes]] = {}
        for line in parts["fields"]:
            number, field_name, kind, *codes = line.split(" ")
            tag = int(number)
            self.names[tag] = field_name
            self.types[tag] = types[kind]
            if codes:
                self.enumerations[tag] = frozenset(" ".join(codes).encode().split(b" "))
        self.data_tags = _pairs(parts["data"])
        bodies = "".join(parts["components"] + parts["header"] + parts["messages"])
        #: Tags of all fields that count a group.
        self.count_tags = frozenset(map(int, _COUNT_TAG.findall(bodies)))
        self._components = dict(_name_and_rest(line) for line in parts["components"])
        self._expanded: dict[str, list[Member]] = {}
        self._header = " ".join(parts["header"])
        self._trailer = " ".join(parts["trailer"])
        self._messages = dict(_name_and_rest(line) for line in parts["messages"])

    @property
    def header(self) -> list[Member]:
        """The header's members, BeginString first."""
        return self._members(iter(self._header.split()))

    @property
    def trailer(self) -> list[Member]:
        """The trailer's members, CheckSum last."""
        return self._members(iter(self._trailer.split()))

    @property
    def msg_types(self) -> list[str]:
        """MsgType(35) of all messages, in the text's order."""
        return list(self._messages)

    def message(self, msg_type: str) -> tuple[str, list[Member]]:
        """Return a message's name and members. KeyError where there is no such message."""
        name, members = _name_and_rest(self._messages[msg_type])
        return name, self._members(iter(members.split()))

    def _members(self, words: Iterator[str]) -> list[Member]:
        """Read members up to the end, or the `)` of a group."""
        members: list[Member] = []
        for word in words:
            if word == ")":
                break
            name = word.rstrip("(").rstrip("*")
            is_required = "*" in word
            if word.endswith("("):
                members.append(Member(int(name), is_required, group_of(self._members(words))))
            elif name.isdigit():
                members.append(Member(int(name), is_required, None))
            else:
                members += (
                    member if is_required else member._replace(is_required=False)
                    for member in self._component(name)
                )
        return members

    def _component(self, name: str) -> list[Member]:
        if name not in self._expanded:
            self._expanded[name] = self._members(iter(self._components[name].split()))
        return self._expanded[name]


def _lines(name: str) -> list[str]:
    text = (_FOLDER / f"{name}.txt").read_text("ascii")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def _pairs(lines: list[str]) -> dict[int, int]:
    pairs = (line.split() for line in lines)
    return {int(first): int(second) for first, second in pairs}


def data_tags_of_all_versions() -> dict[int, int]:
    """Return the tags of DATA fields by those of their lengths."""
    return _pairs(_lines("data"))


def names_of_codes() -> dict[int, dict[bytes, str]]:
    """Return what the codes of each tag mean, in the newest version that has them."""
    named = {}
    for line in _lines("codes"):
        tag, *pairs = line.split(" ")
        parted = (pair.partition("=") for pair in pairs)
        named[int(tag)] = {code.encode(): name for code, _, name in parted}
    return named


def _name_and_rest(line: str) -> tuple[str, str]:
    name, _, rest = line.partition(" ")
    return name, rest


def groups_of(members: list[Member]) -> Mapping[int, Group]:
    """Return the groups among some members, by the tag that counts them."""
    return {member.tag: member.group for member in members if member.group is not None}


def group_of(members: list[Member]) -> Group:
    """Make a group of its members; of one that is named twice the first place counts."""
    places: dict[int, Member] = {}
    for member in members:
        places.setdefault(member.tag, member)
    return Group(
        tuple(places),
        tuple(tag for tag, member in places.items() if member.is_required),
        groups_of(members),
    )


def definition_of(name: str, members: list[Member], required: frozenset[int]) -> MessageDefinition:
    """Make a message of its members; those in `required` are, whatever they say themselves."""
    return MessageDefinition(
        name,
        tuple(m.tag for m in members if m.is_required or m.tag in required),
        frozenset(m.tag for m in members),
        groups_of(members),
    )

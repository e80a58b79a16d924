"""FIX's versions as data: fields with types and codes, groups, and what each message carries.

The facts lie in dictionaries/, one text a version; they are read when a version is first asked for,
and a message's when it is. A version from FIX 5.0 on has FIXT.1.1's header, trailer and session
messages. Beyond FIX's own tables: Symbol(55) is required in D, F, G and H, and OrderQty(38) in D
and G where CashOrderQty(152) and OrderPercent(516) are absent.

Source: FIX 4.0 to 4.4 with errata, FIXT 1.1, FIX 5.0 to 5.0 SP2, with extension packs.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from types import MappingProxyType

from openoutcry.protocol.fix.definitions import CustomField, FieldType, Group, MessageDefinition
from openoutcry.protocol.fix.dictionary_text import (
    DictionaryText,
    data_tags_of_all_versions,
    definition_of,
    groups_of,
)
from openoutcry.protocol.fix.tags import USER_DEFINED, Tag
from openoutcry.protocol.fix.versions import Version

__all__ = [
    "DATA_TAGS",
    "ORDER_QTY_ALTERNATIVES",
    "ORDER_QTY_REQUIRED",
    "CustomField",
    "Dictionary",
    "FieldType",
    "Group",
    "MessageDefinition",
    "dictionary",
]

#: OrderQty(38) is missed in these messages unless one of the alternatives is there.
ORDER_QTY_REQUIRED = frozenset("DG")
ORDER_QTY_ALTERNATIVES = (152, 516)

#: Fields of type DATA, of all versions, by the field that tells their length, just before them.
DATA_TAGS: Mapping[int, int] = MappingProxyType(data_tags_of_all_versions())

_SYMBOL_REQUIRED = frozenset("DFGH")
_FIRST_THREE = (Tag.BEGIN_STRING, Tag.BODY_LENGTH, Tag.MSG_TYPE)


class _Messages(Mapping[str, MessageDefinition]):
    """Messages by MsgType(35), each read when it is first asked for."""

    def __init__(self, read: Mapping[str, Callable[[], MessageDefinition]]) -> None:
        self._read = read
        self._known: dict[str, MessageDefinition] = {}

    def __getitem__(self, msg_type: str) -> MessageDefinition:
        found = self._known.get(msg_type)
        if found is None:
            found = self._known[msg_type] = self._read[msg_type]()
        return found

    def __contains__(self, msg_type: object) -> bool:
        return msg_type in self._read

    def __iter__(self) -> Iterator[str]:
        return iter(self._read)

    def __len__(self) -> int:
        return len(self._read)


@dataclass(frozen=True, eq=False, repr=False)
class Dictionary:
    """A version of FIX, perhaps with fields of one's own, and how strictly it is held to."""

    version: Version
    names: Mapping[int, str]
    types: Mapping[int, FieldType]
    #: All codes of a field that has codes, those of several characters too.
    enumerations: Mapping[int, frozenset[bytes]]
    #: All messages of the version by MsgType(35).
    messages: Mapping[str, MessageDefinition]
    header_tags: frozenset[int]
    #: Beside BeginString, BodyLength and MsgType, without which a message is garbled.
    header_required: tuple[int, ...]
    header_groups: Mapping[int, Group]
    trailer_tags: frozenset[int]
    #: Fields of type DATA by the field that tells their length and stands just before them.
    data_tags: Mapping[int, int]
    #: Fields that count a group, in whatever message.
    count_tags: frozenset[int]
    #: Undefined tags, tags that are not for the message, sections and members of groups out of
    #: order pass, and optional fields without a value, which count as absent.
    is_lenient: bool = False
    #: Tags of fields added by `with_fields`.
    custom_tags: frozenset[int] = frozenset()

    @cached_property
    def msg_types(self) -> frozenset[str]:
        """MsgType(35) of all messages."""
        return frozenset(self.messages)

    def is_defined(self, tag: int) -> bool:
        """Tell whether the version defines a tag, or leaves it to its users."""
        return tag in self.names or tag >= USER_DEFINED

    def describe(self, tag: int) -> str:
        """Return `Name(tag)`, or the tag alone."""
        return f"{self.names[tag]}({tag})" if tag in self.names else f"tag {tag}"

    def with_fields(
        self, custom: Iterable[CustomField] = (), *, lenient: bool = False
    ) -> "Dictionary":
        """Return a dictionary with further fields, and perhaps a lenient one.

        A field may be one that the version defines, for messages that it does not define it for;
        its type and name are then the custom ones, in every message.

        Raises:
            ValueError: A tag is below 1, of the header or trailer, counts a group, or tells a
                length; a type is DATA; a MsgType is none of the version's.
        """
        fields = tuple(custom)
        if not fields:
            return replace(self, is_lenient=lenient)
        for field in fields:
            self._check(field)
        tags = {field.tag for field in fields}
        read = {
            msg_type: partial(_with_tags, self.messages, msg_type, fields)
            for msg_type in self.messages
        }
        return replace(
            self,
            names={**self.names, **{field.tag: field.name for field in fields}},
            types={**self.types, **{field.tag: field.type for field in fields}},
            enumerations={t: codes for t, codes in self.enumerations.items() if t not in tags},
            messages=_Messages(read),
            is_lenient=lenient,
            custom_tags=self.custom_tags | tags,
        )

    def _check(self, field: CustomField) -> None:
        what = f"custom field {field.name}({field.tag})"
        if field.tag < 1:
            raise ValueError(f"{what}: a tag is 1 or more")
        if field.tag in self.header_tags | self.trailer_tags:
            raise ValueError(f"{what}: this tag is the header's or trailer's")
        if FieldType.DATA in (field.type, self.types.get(field.tag)):
            raise ValueError(f"{what}: data cannot be custom")
        if field.tag in self.data_tags or field.tag in self.count_tags:
            raise ValueError(f"{what}: this tag tells a length or counts a group")
        unknown = (field.msg_types or frozenset()) - self.msg_types
        if unknown:
            raise ValueError(f"{what}: {self.version.label} has no message {min(unknown)!r}")


def _with_tags(
    messages: Mapping[str, MessageDefinition], msg_type: str, fields: tuple[CustomField, ...]
) -> MessageDefinition:
    definition = messages[msg_type]
    more = {f.tag for f in fields if f.msg_types is None or msg_type in f.msg_types}
    return replace(definition, allowed=definition.allowed | more)


@cache
def dictionary(version: Version) -> Dictionary:
    """Return a version's dictionary, strict and without custom fields; always the same object."""
    # Up to FIX 4.1 CHAR was any text; one character is what its codes say.
    char = FieldType.STRING if version <= Version.FIX41 else FieldType.CHAR
    text = _text(version.name.lower(), char)
    session = _text("fixt11", char) if version.is_fixt else text
    header, trailer = session.header, session.trailer
    texts = dict.fromkeys(text.msg_types, text) | dict.fromkeys(session.msg_types, session)
    return Dictionary(
        version,
        MappingProxyType({**text.names, **session.names}),
        MappingProxyType({**text.types, **session.types}),
        MappingProxyType(_codes(text, session)),
        _Messages({t: partial(_definition, source, t) for t, source in texts.items()}),
        frozenset(member.tag for member in header),
        tuple(m.tag for m in header if m.is_required and m.tag not in _FIRST_THREE),
        groups_of(header),
        frozenset(member.tag for member in trailer),
        MappingProxyType({**text.data_tags, **session.data_tags}),
        text.count_tags | session.count_tags,
    )


@cache
def _text(name: str, char: FieldType) -> DictionaryText:
    return DictionaryText(name, char)


def _codes(text: DictionaryText, session: DictionaryText) -> dict[int, frozenset[bytes]]:
    codes = {**text.enumerations, **session.enumerations}
    # FIXT knows versions of the application, and an application reasons, that the other does not.
    for tag in text.enumerations.keys() & session.enumerations.keys():
        codes[tag] = text.enumerations[tag] | session.enumerations[tag]
    return codes


def _definition(text: DictionaryText, msg_type: str) -> MessageDefinition:
    name, members = text.message(msg_type)
    required = frozenset({int(Tag.SYMBOL)} if msg_type in _SYMBOL_REQUIRED else ())
    return definition_of(name, members, required)

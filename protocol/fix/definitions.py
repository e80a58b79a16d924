"""What a data dictionary is made of: types of fields, groups, messages, fields of one's own."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum


class FieldType(Enum):
    """What a value must look like."""

    STRING = "text"
    CHAR = "one character"
    BOOLEAN = "Y or N"
    INT = "a whole number"
    NATURAL = "a whole number, not negative"
    DAY_OF_MONTH = "1 to 31"
    DECIMAL = "a decimal number"
    UTC_TIMESTAMP = "YYYYMMDD-HH:MM:SS, with 3, 6, 9 or no decimals"
    UTC_TIME = "HH:MM:SS, with 3, 6, 9 or no decimals"
    LOCAL_TIME = "HH:MM:SS"
    TZ_TIMESTAMP = "YYYYMMDD-HH:MM:SS, with decimals or none, and Z, +hh, -hh:mm or nothing"
    TZ_TIME = "HH:MM or HH:MM:SS, and Z, +hh, -hh:mm or nothing"
    DATE = "YYYYMMDD"
    MONTH_YEAR = "YYYYMM, with a day, a week or neither"
    CHARS = "characters with a space between two"
    STRINGS = "texts with a space between two"
    DATA = "bytes, as many as the length field before says"


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """A repeating group: instances of the same members, behind the field that counts them."""

    #: In their order; every instance begins with the first. Nested groups by NumInGroup's tag.
    members: tuple[int, ...]
    #: Those that every instance must have, in the order in which they are missed.
    required: tuple[int, ...]
    #: Nested groups by NumInGroup's tag.
    groups: Mapping[int, "Group"]
    #: Where a member stands among the others.
    places: Mapping[int, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        places = {tag: place for place, tag in enumerate(self.members)}
        object.__setattr__(self, "places", places)


@dataclass(frozen=True, slots=True, eq=False)
class MessageDefinition:
    """The body of a message: header and trailer are the same for all."""

    name: str
    #: In the order in which they are missed.
    required: tuple[int, ...]
    #: Top-level tags, those that count groups among them.
    allowed: frozenset[int]
    #: Groups by NumInGroup's tag.
    groups: Mapping[int, Group]


@dataclass(frozen=True, slots=True)
class CustomField:
    """A field that two parties agreed on, at the top level of a body, never required."""

    tag: int
    name: str
    type: FieldType = FieldType.STRING
    #: MsgTypes that may carry it; None: all.
    msg_types: frozenset[str] | None = None

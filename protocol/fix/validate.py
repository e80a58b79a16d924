"""Judge a FIX message against a dictionary, in plain Python.

Of several faults the one reported is the first field in message order that is wrong, by the first
of these checks that fails; then the first required field that is missing, header before body:

1. the field has no `=` (17, of the field before), its tag is no number (0)
2. the tag is undefined (3), or not defined for this message (2)
3. it is out of order: header after body, trailer before body (14)
4. it is there for the second time (13)
5. its value is empty (4), has the wrong format (6), or is none of its codes (5)
6. a group's fields are out of order (15), one that each instance must have is missing (1), or they
   are not as many as NumInGroup says (16)

Users' own tags (from 5000 on, unless the dictionary defines them) are only looked at for an empty
value; they may stand between a group's fields. Numbers may have 18 digits, leading zeros not
counted. ClOrdID(11) and OrigClOrdID(41) are 1 to 36 printable ASCII characters. Whether the venue
serves a value that FIX defines is not judged here, nor what another field requires.

By a lenient dictionary, fields that are undefined or not for this message are not looked at, an
empty value is an absent field, and there is no order of sections or of a group's fields, but that
each instance begins with the first.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from openoutcry.protocol.fix.dictionary import (
    ORDER_QTY_ALTERNATIVES,
    ORDER_QTY_REQUIRED,
    Dictionary,
    FieldType,
    Group,
)
from openoutcry.protocol.fix.enums import SessionRejectReason as Reason
from openoutcry.protocol.fix.formats import number_of, value_fault
from openoutcry.protocol.fix.tags import INVALID_TAG, NO_TAG, USER_DEFINED, Tag

_HEADER, _BODY, _TRAILER = range(3)

_TEXTS = {
    Reason.INVALID_TAG_NUMBER: "Invalid tag number",
    Reason.REQUIRED_TAG_MISSING: "Required tag missing",
    Reason.TAG_NOT_DEFINED_FOR_MESSAGE: "Tag not defined for this message type",
    Reason.UNDEFINED_TAG: "Undefined tag",
    Reason.NO_VALUE: "Tag specified without a value",
    Reason.VALUE_INCORRECT: "Value is incorrect (out of range) for this tag",
    Reason.INCORRECT_FORMAT: "Incorrect data format for value",
    Reason.INVALID_MSG_TYPE: "Invalid MsgType",
    Reason.TAG_REPEATED: "Tag appears more than once",
    Reason.TAG_OUT_OF_ORDER: "Tag specified out of required order",
    Reason.GROUP_FIELDS_OUT_OF_ORDER: "Repeating group fields out of order",
    Reason.WRONG_NUM_IN_GROUP: "Incorrect NumInGroup count for repeating group",
    Reason.SOH_IN_VALUE: "Field delimiter in a value that is no data",
}


class Fields(Protocol):
    """What `validate` asks of a message."""

    @property
    def msg_type(self) -> str:
        """MsgType(35)."""

    @property
    def fields(self) -> list[tuple[int, bytes]]:
        """All fields in order: 8, 9, 35 first, 10 last."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a message: the content of a Reject(3)."""

    #: RefTagID(371); None where there is no tag to name.
    ref_tag: int | None
    ref_msg_type: str
    reason: Reason
    text: str


# What is wrong with a field: the tag to name, and why.
_Fault = tuple[int | None, Reason]


def validate(message: Fields, facts: Dictionary) -> Problem | None:
    """Judge a message by a version's dictionary; return the first thing that is wrong."""
    fault = _msg_type_fault(message.msg_type, facts) or _Judge(message, facts).first_fault()
    if fault is None:
        return None
    tag, reason = fault
    text = _TEXTS[reason] if tag is None else f"{_TEXTS[reason]}: {facts.describe(tag)}"
    return Problem(tag, message.msg_type, reason, text)


def _msg_type_fault(msg_type: str, facts: Dictionary) -> _Fault | None:
    if not msg_type:
        return Tag.MSG_TYPE, Reason.NO_VALUE
    if msg_type not in facts.messages:
        return Tag.MSG_TYPE, Reason.INVALID_MSG_TYPE
    return None


class _Judge:
    """One walk over the fields of one message."""

    def __init__(self, message: Fields, facts: Dictionary) -> None:
        self._facts = facts
        self._fields = message.fields
        self._msg_type = message.msg_type
        self._definition = facts.messages[message.msg_type]
        self._seen: set[int] = {8, 9, 35}
        self._section = _HEADER
        self._next = 3

    def first_fault(self) -> _Fault | None:
        # The last field is CheckSum, which framing has judged.
        while self._next < len(self._fields) - 1:
            fault = self._field_fault()
            if fault is not None:
                return fault
        return self._missing()

    def _field_fault(self) -> _Fault | None:
        """Judge the next field, and the group that it begins."""
        tag, value = self._fields[self._next]
        if tag == NO_TAG:
            before = self._fields[self._next - 1][0]
            return before if before > 0 else None, Reason.SOH_IN_VALUE
        if tag == INVALID_TAG:
            return None, Reason.INVALID_TAG_NUMBER
        self._next += 1
        if self._is_passed(tag):
            return None if value or self._facts.is_lenient else (tag, Reason.NO_VALUE)
        reason = self._tag_reason(tag, value)
        if reason is None and (value or not self._facts.is_lenient):
            reason = value_fault(self._facts, tag, value)
            if reason is None:
                return self._followers_fault(tag, value, ())
        return None if reason is None else (tag, reason)

    def _is_passed(self, tag: int, groups: tuple[Group, ...] = ()) -> bool:
        """Tell whether a field is not looked at; `groups` are those around it."""
        if tag <= 0:
            return False
        if tag not in self._facts.names:
            return tag >= USER_DEFINED or self._facts.is_lenient
        return (
            self._facts.is_lenient
            and tag not in self._definition.allowed
            and tag not in self._facts.header_tags
            and tag not in self._facts.trailer_tags
            and not any(tag in group.places for group in groups)
        )

    def _tag_reason(self, tag: int, value: bytes) -> Reason | None:
        """Judge whether a tag may stand here."""
        facts = self._facts
        if tag not in facts.names:
            return Reason.UNDEFINED_TAG
        if tag in facts.header_tags:
            section = _HEADER
        elif tag in facts.trailer_tags:
            section = _TRAILER
        else:
            section = _BODY
            if tag not in self._definition.allowed:
                return Reason.TAG_NOT_DEFINED_FOR_MESSAGE
        # CheckSum stands last, and is not judged here.
        is_late = section < self._section and not facts.is_lenient
        if is_late or tag == Tag.CHECK_SUM:
            return Reason.TAG_OUT_OF_ORDER
        self._section = section
        if not value and facts.is_lenient:
            return None
        if tag in self._seen:
            return Reason.TAG_REPEATED
        self._seen.add(tag)
        return None

    def _followers_fault(self, tag: int, value: bytes, groups: tuple[Group, ...]) -> _Fault | None:
        """Judge what must stand next to a field: a group's instances, the data of a length."""
        data_tag = self._facts.data_tags.get(tag)
        if data_tag is not None:
            following, data = self._fields[self._next]
            if following != data_tag or len(data) != number_of(value):
                return tag, Reason.VALUE_INCORRECT
        if self._facts.types[tag] is FieldType.DATA:
            before = self._fields[self._next - 2][0]
            if self._facts.data_tags.get(before) != tag:
                return self._length_tag(tag), Reason.REQUIRED_TAG_MISSING
        if groups:
            group = groups[-1].groups.get(tag)
        else:
            group = self._definition.groups.get(tag) or self._facts.header_groups.get(tag)
        return None if group is None else self._group_fault(tag, number_of(value), (*groups, group))

    def _length_tag(self, data_tag: int) -> int:
        return next(tag for tag, data in self._facts.data_tags.items() if data == data_tag)

    def _group_fault(self, count_tag: int, count: int, groups: tuple[Group, ...]) -> _Fault | None:
        """Walk over the instances of the last group, from the field behind NumInGroup on."""
        group = groups[-1]
        is_lenient = self._facts.is_lenient
        instances = 0
        last = 0
        seen: set[int] = set()
        while True:
            tag, value = self._fields[self._next]
            place = group.places.get(tag)
            if place is None:
                if not self._is_passed(tag, groups):
                    break
                if not value and not is_lenient:
                    return tag, Reason.NO_VALUE
                self._next += 1
                continue
            if place == 0:
                missing = self._missing_member(group, seen) if instances else None
                if missing is not None:
                    return missing
                instances += 1
                seen.clear()
            elif not instances:
                return tag, Reason.GROUP_FIELDS_OUT_OF_ORDER
            elif not value and is_lenient:
                self._next += 1
                continue
            elif tag in seen:
                return tag, Reason.TAG_REPEATED
            elif place < last and not is_lenient:
                return tag, Reason.GROUP_FIELDS_OUT_OF_ORDER
            last = place
            seen.add(tag)
            reason = value_fault(self._facts, tag, value)
            if reason is not None:
                return tag, reason
            self._next += 1
            fault = self._followers_fault(tag, value, groups)
            if fault is not None:
                return fault
        missing = self._missing_member(group, seen) if instances else None
        if missing is None and instances != count:
            return count_tag, Reason.WRONG_NUM_IN_GROUP
        return missing

    @staticmethod
    def _missing_member(group: Group, seen: set[int]) -> _Fault | None:
        for tag in group.required:
            if tag not in seen:
                return tag, Reason.REQUIRED_TAG_MISSING
        return None

    def _missing(self) -> _Fault | None:
        for tag in self._required():
            if tag not in self._seen:
                return tag, Reason.REQUIRED_TAG_MISSING
        return None

    def _required(self) -> Iterator[int]:
        yield from self._facts.header_required
        yield from self._definition.required
        if self._msg_type in ORDER_QTY_REQUIRED:
            if self._seen.isdisjoint(ORDER_QTY_ALTERNATIVES):
                yield Tag.ORDER_QTY

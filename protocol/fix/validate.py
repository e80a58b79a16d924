"""Judge a FIX message against the dictionary, in plain Python.

Of several faults the one reported is the first field in message order that is wrong, by the first
of these checks that fails; then the first required field that is missing, header before body:

1. the field has no `=` (17, of the field before), its tag is no number (0)
2. the tag is undefined (3), or not defined for this message (2)
3. it is out of order: header after body, trailer before body (14)
4. it is there for the second time (13)
5. its value is empty (4), has the wrong format (6), or is none that FIX 4.4 defines (5)
6. a group's fields are out of order (15), or not as many as NumInGroup says (16)

Tags from 5000 on are only looked at for an empty value. Numbers may have 18 digits, leading zeros
not counted. ClOrdID(11) and OrigClOrdID(41) are 1 to 36 printable ASCII characters. Whether the
venue serves a value that FIX defines is not judged here, nor what another field requires.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from openoutcry.protocol.fix.dictionary import (
    DATA_TAGS,
    ENUMERATIONS,
    FIELD_TYPES,
    GROUPS,
    HEADER_REQUIRED,
    HEADER_TAGS,
    MESSAGES,
    MSG_TYPES,
    ORDER_QTY_ALTERNATIVES,
    ORDER_QTY_REQUIRED,
    TRAILER_TAGS,
    FieldType,
    MessageDefinition,
    describe,
    is_defined,
)
from openoutcry.protocol.fix.enums import SessionRejectReason as Reason
from openoutcry.protocol.fix.layouts import CL_ORD_ID_MAX, DIGITS_MAX
from openoutcry.protocol.fix.stamps import parse_utc_ms
from openoutcry.protocol.fix.tags import INVALID_TAG, NO_TAG, USER_DEFINED, Tag

_HEADER, _BODY, _TRAILER = range(3)
_LENGTHS = {data: length for length, data in DATA_TAGS.items()}

_INT = re.compile(rb"-?([0-9]+)")
_DECIMAL = re.compile(rb"-?(?=[0-9.]*[0-9])([0-9]*)\.?([0-9]*)")
_MONTH_YEAR = re.compile(rb"([0-9]{6})(|w[1-5]|[0-9]{2})")
_CL_ORD_ID = re.compile(rb"[\x21-\x7e]{1,%d}" % CL_ORD_ID_MAX)

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


def validate(message: Fields) -> Problem | None:
    """Judge a message; return the first thing that is wrong.

    Of a message that FIX 4.4 defines, but MESSAGES does not, only the header is judged.
    """
    fault = _msg_type_fault(message.msg_type) or _Judge(message).first_fault()
    if fault is None:
        return None
    tag, reason = fault
    text = _TEXTS[reason] if tag is None else f"{_TEXTS[reason]}: {describe(tag)}"
    return Problem(tag, message.msg_type, reason, text)


def _msg_type_fault(msg_type: str) -> _Fault | None:
    if not msg_type:
        return Tag.MSG_TYPE, Reason.NO_VALUE
    if msg_type not in MSG_TYPES:
        return Tag.MSG_TYPE, Reason.INVALID_MSG_TYPE
    return None


class _Judge:
    """One walk over the fields of one message."""

    def __init__(self, message: Fields) -> None:
        self._fields = message.fields
        self._msg_type = message.msg_type
        self._definition = MESSAGES.get(message.msg_type)
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
        if tag >= USER_DEFINED:
            return None if value else (tag, Reason.NO_VALUE)
        reason = self._tag_reason(tag)
        if reason is None and tag in FIELD_TYPES:
            reason = value_fault(tag, value)
        if reason is not None:
            return tag, reason
        return self._followers_fault(tag, value)

    def _followers_fault(self, tag: int, value: bytes) -> _Fault | None:
        """Judge what must stand next to a field: a group's instances, the data of a length."""
        if tag in DATA_TAGS:
            following, data = self._fields[self._next]
            if following != DATA_TAGS[tag] or len(data) != _number(value):
                return tag, Reason.VALUE_INCORRECT
        if tag in _LENGTHS and self._fields[self._next - 2][0] != _LENGTHS[tag]:
            return _LENGTHS[tag], Reason.REQUIRED_TAG_MISSING
        if tag in GROUPS and (self._definition is not None or tag in HEADER_TAGS):
            return self._group_fault(tag, _number(value))
        return None

    def _tag_reason(self, tag: int) -> Reason | None:
        """Judge whether a tag may stand here."""
        if not is_defined(tag):
            return Reason.UNDEFINED_TAG
        if tag in HEADER_TAGS:
            section = _HEADER
        elif tag in TRAILER_TAGS:
            section = _TRAILER
        elif self._definition is None:
            return None
        else:
            section = _BODY
            if tag not in self._definition.allowed:
                return Reason.TAG_NOT_DEFINED_FOR_MESSAGE
        # CheckSum stands last, and is not judged here.
        if section < self._section or tag == Tag.CHECK_SUM:
            return Reason.TAG_OUT_OF_ORDER
        self._section = section
        if tag in self._seen:
            return Reason.TAG_REPEATED
        self._seen.add(tag)
        return None

    def _group_fault(self, count_tag: int, count: int) -> _Fault | None:
        """Walk over a group's instances, from the field behind NumInGroup on."""
        first, members = GROUPS[count_tag][0], frozenset(GROUPS[count_tag])
        instances = 0
        seen: set[int] = set()
        while True:
            tag, value = self._fields[self._next]
            if tag not in members:
                break
            if tag == first:
                instances += 1
                seen.clear()
            elif not instances:
                return tag, Reason.GROUP_FIELDS_OUT_OF_ORDER
            if tag in seen:
                return tag, Reason.TAG_REPEATED
            seen.add(tag)
            reason = value_fault(tag, value)
            if reason is not None:
                return tag, reason
            self._next += 1
            fault = self._followers_fault(tag, value)
            if fault is not None:
                return fault
        return None if instances == count else (count_tag, Reason.WRONG_NUM_IN_GROUP)

    def _missing(self) -> _Fault | None:
        for tag in self._required():
            if tag not in self._seen:
                return tag, Reason.REQUIRED_TAG_MISSING
        return None

    def _required(self) -> Iterable[int]:
        yield from HEADER_REQUIRED
        definition: MessageDefinition | None = self._definition
        if definition is not None:
            yield from definition.required
        if self._msg_type in ORDER_QTY_REQUIRED:
            if self._seen.isdisjoint(ORDER_QTY_ALTERNATIVES):
                yield Tag.ORDER_QTY


def value_fault(tag: int, value: bytes) -> Reason | None:
    """Judge the value of a field in FIELD_TYPES."""
    if not value:
        return Reason.NO_VALUE
    reason = _FORMATS.get(FIELD_TYPES[tag], _any_text)(value)
    if reason is None:
        if tag in ENUMERATIONS and value[0] not in ENUMERATIONS[tag]:
            return Reason.VALUE_INCORRECT
        if tag in (Tag.CL_ORD_ID, Tag.ORIG_CL_ORD_ID) and not _CL_ORD_ID.fullmatch(value):
            return Reason.VALUE_INCORRECT
    return reason


def _number(value: bytes) -> int:
    # Python refuses to convert thousands of digits, zeros too.
    return int(value.lstrip(b"0") or b"0")


def _any_text(value: bytes) -> Reason | None:
    del value
    return None


def _char(value: bytes) -> Reason | None:
    return None if len(value) == 1 else Reason.INCORRECT_FORMAT


def _boolean(value: bytes) -> Reason | None:
    return None if value in (b"Y", b"N") else Reason.INCORRECT_FORMAT


def _int(value: bytes) -> Reason | None:
    found = _INT.fullmatch(value)
    if found is None:
        return Reason.INCORRECT_FORMAT
    return Reason.VALUE_INCORRECT if len(found[1].lstrip(b"0")) > DIGITS_MAX else None


def _natural(value: bytes) -> Reason | None:
    reason = _int(value)
    return Reason.VALUE_INCORRECT if reason is None and value.startswith(b"-") else reason


def _decimal(value: bytes) -> Reason | None:
    found = _DECIMAL.fullmatch(value)
    if found is None:
        return Reason.INCORRECT_FORMAT
    digits = len(found[1].lstrip(b"0")) + len(found[2])
    return Reason.VALUE_INCORRECT if digits > DIGITS_MAX else None


def _utc_timestamp(value: bytes) -> Reason | None:
    return Reason.INCORRECT_FORMAT if parse_utc_ms(value) is None else None


def _date(value: bytes) -> Reason | None:
    return Reason.INCORRECT_FORMAT if parse_utc_ms(value + b"-00:00:00") is None else None


def _month_year(value: bytes) -> Reason | None:
    found = _MONTH_YEAR.fullmatch(value)
    if found is None:
        return Reason.INCORRECT_FORMAT
    day = found[2] if found[2][:1].isdigit() else b"01"
    return _date(found[1] + day)


_FORMATS = {
    FieldType.CHAR: _char,
    FieldType.BOOLEAN: _boolean,
    FieldType.INT: _int,
    FieldType.NATURAL: _natural,
    FieldType.DECIMAL: _decimal,
    FieldType.UTC_TIMESTAMP: _utc_timestamp,
    FieldType.DATE: _date,
    FieldType.MONTH_YEAR: _month_year,
}

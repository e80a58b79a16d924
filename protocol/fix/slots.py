"""What the decode kernel knows of a session's dictionary, as one row of a table: a profile.

A profile says what to do with each tag in each message, which tags must be there, which characters
are codes, and how the frames begin. Profiles 0 to 7 are the versions, held to strictly; sessions
with fields of their own or lenient ones have further rows.
"""

from collections.abc import Sequence
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openoutcry.protocol.fix.dictionary import (
    DATA_TAGS,
    ORDER_QTY_REQUIRED,
    Dictionary,
    FieldType,
)
from openoutcry.protocol.fix.enums import SessionRejectReason
from openoutcry.protocol.fix.framing import BEGIN_FIXT
from openoutcry.protocol.fix.tags import USER_DEFINED, Tag
from openoutcry.protocol.fix.versions import Version

#: MsgTypes that the kernel decodes, in the order of a profile's rows for them.
ORDER_TYPES = "DFGH"
#: A profile knows what to do with the tags below.
SLOTS_TAGS = USER_DEFINED


class Slot(IntEnum):
    """What to do with a field; from SENDER_COMP_ID on, also its bit among the fields seen."""

    UNDEFINED = 0
    #: The version defines the tag, but not for this message.
    FOREIGN = 1
    #: The tag is right here, but Python shall look at the message.
    UNUSUAL = 2
    #: The two parties' own: only looked at for an empty value, and not even that if lenient.
    USER_DEFINED = 3
    #: BeginString, BodyLength or MsgType for the second time.
    FIRST_THREE = 4
    #: CheckSum, but not at the end.
    CHECK_SUM = 5
    # Header
    SENDER_COMP_ID = 8
    TARGET_COMP_ID = 9
    MSG_SEQ_NUM = 10
    SENDING_TIME = 11
    SENDER_SUB_ID = 12
    TARGET_SUB_ID = 13
    # Body
    CL_ORD_ID = 16
    ORIG_CL_ORD_ID = 17
    SYMBOL = 18
    ACCOUNT = 19
    ORDER_ID = 20
    SIDE = 21
    ORD_TYPE = 22
    TIME_IN_FORCE = 23
    PRICE = 24
    ORDER_QTY = 25
    TRANSACT_TIME = 26
    HANDL_INST = 27
    # Texts that change nothing for the venue
    CURRENCY = 28
    TEXT = 29
    EX_DESTINATION = 30
    SECURITY_EXCHANGE = 31
    # Of one code only: the whole order
    CXL_TYPE = 32


#: The first slot whose fields are judged, and the first of the body.
FIRST_FIELD = int(Slot.SENDER_COMP_ID)
FIRST_OF_BODY = int(Slot.CL_ORD_ID)

_FIELD_SLOTS = {int(Tag[slot.name]): slot for slot in Slot if slot >= FIRST_FIELD}
_FIRST_THREE = (Tag.BEGIN_STRING, Tag.BODY_LENGTH, Tag.MSG_TYPE)

#: Fields of one character of a set, in the order of a profile's code sets.
CODE_SLOTS = (Slot.SIDE, Slot.ORD_TYPE, Slot.TIME_IN_FORCE, Slot.HANDL_INST)
#: A set of characters is a word, by their codes less this.
FIRST_CODE = ord("0")
_CODES_MAX = 63

_CODE_KINDS = frozenset({FieldType.CHAR, FieldType.STRING})
_KINDS = {
    Slot.MSG_SEQ_NUM: {FieldType.NATURAL},
    Slot.SENDING_TIME: {FieldType.UTC_TIMESTAMP},
    Slot.TRANSACT_TIME: {FieldType.UTC_TIMESTAMP},
    Slot.PRICE: {FieldType.DECIMAL},
    # Whole numbers of shares up to FIX 4.1.
    Slot.ORDER_QTY: {FieldType.DECIMAL, FieldType.INT},
    Slot.CXL_TYPE: _CODE_KINDS,
    **dict.fromkeys(CODE_SLOTS, _CODE_KINDS),
}
#: What the venue goes by; without one of them Python decides what to make of a message.
_NEEDED = {
    "D": (Tag.CL_ORD_ID, Tag.SYMBOL),
    "F": (Tag.CL_ORD_ID, Tag.SYMBOL, Tag.ORIG_CL_ORD_ID),
    "G": (Tag.CL_ORD_ID, Tag.SYMBOL, Tag.ORIG_CL_ORD_ID),
    "H": (Tag.CL_ORD_ID, Tag.SYMBOL),
}
_REQUIRED_MAX = 15
_TYPES = len(ORDER_TYPES)

#: One profile; sets of fields are words of bits by Slot.
PROFILE = np.dtype(
    [
        ("begin", "<i8"),  # BeginString, as framing tells it
        ("is_lenient", "<i8"),
        # Fields of one character: the sets, and what is wrong with any other number of characters.
        ("codes", "<i8", (len(CODE_SLOTS),)),
        ("length_fault", "<i8"),
        ("is_qty_whole", "<i8"),
        # Tags from USER_DEFINED on that are for Python; first > last: none.
        ("first_python_tag", "<i8"),
        ("last_python_tag", "<i8"),
        # By row of ORDER_TYPES
        ("required", "<i8", (_TYPES,)),
        ("needed", "<i8", (_TYPES,)),
        # Required tags in the order in which they are missed, 0 behind the last.
        ("required_tags", "<i8", (_TYPES, _REQUIRED_MAX + 1)),
        ("slots", "u1", (_TYPES, SLOTS_TAGS)),
    ],
    align=True,
)

#: Profiles, an array of PROFILE.
DecodeTables = NDArray[Any]


def decode_tables(dictionaries: Sequence[Dictionary]) -> DecodeTables:
    """Return a profile for each dictionary, in their order."""
    tables = np.zeros(len(dictionaries), PROFILE)
    for row, facts in zip(tables, dictionaries, strict=True):
        _fill(row, facts)
    return tables


def _fill(row: Any, facts: Dictionary) -> None:
    row["begin"] = BEGIN_FIXT if facts.version.is_fixt else facts.version
    row["is_lenient"] = facts.is_lenient
    row["codes"] = [_codes(facts, Tag[slot.name]) for slot in CODE_SLOTS]
    # Up to FIX 4.1 these are texts; later, more than one character is no character.
    row["length_fault"] = (
        SessionRejectReason.VALUE_INCORRECT
        if facts.version <= Version.FIX41
        else SessionRejectReason.INCORRECT_FORMAT
    )
    row["is_qty_whole"] = facts.types[Tag.ORDER_QTY] is FieldType.INT
    for_python = [tag for tag in {*facts.names, *DATA_TAGS} if tag >= USER_DEFINED]
    row["first_python_tag"] = min(for_python, default=USER_DEFINED)
    row["last_python_tag"] = max(for_python, default=0)
    for kind, msg_type in enumerate(ORDER_TYPES):
        required = _required(facts, msg_type)
        row["required"][kind] = sum(1 << _FIELD_SLOTS[tag] for tag in required)
        row["needed"][kind] = sum(1 << _FIELD_SLOTS[tag] for tag in _NEEDED[msg_type])
        row["required_tags"][kind, : len(required)] = required
        slots = row["slots"][kind]
        slots[:] = Slot.USER_DEFINED if facts.is_lenient else Slot.UNDEFINED
        for tag in {*facts.names, *DATA_TAGS}:
            if tag < SLOTS_TAGS:
                slots[tag] = _slot(facts, msg_type, tag)


def _slot(facts: Dictionary, msg_type: str, tag: int) -> Slot:
    if tag in _FIRST_THREE:
        return Slot.FIRST_THREE
    if tag == Tag.CHECK_SUM:
        return Slot.CHECK_SUM
    # Behind the length of data nothing is sure: the data may contain SOH.
    if tag in DATA_TAGS:
        return Slot.UNUSUAL
    allowed = facts.messages[msg_type].allowed
    if tag not in allowed and tag not in facts.header_tags and tag not in facts.trailer_tags:
        return Slot.USER_DEFINED if facts.is_lenient else Slot.FOREIGN
    slot = _FIELD_SLOTS.get(tag, Slot.UNUSUAL)
    return slot if _is_as_the_kernel_reads_it(facts, tag, slot) else Slot.UNUSUAL


def _is_as_the_kernel_reads_it(facts: Dictionary, tag: int, slot: Slot) -> bool:
    if tag in facts.custom_tags:
        return False
    has_codes = tag in facts.enumerations and slot != Slot.CXL_TYPE
    return facts.types[tag] in _KINDS.get(slot, {FieldType.STRING}) and (
        has_codes == (slot in CODE_SLOTS)
    )


def _codes(facts: Dictionary, tag: int) -> int:
    """Return the set of a field's codes."""
    codes = 0
    for code in facts.enumerations.get(tag, frozenset()):
        place = code[0] - FIRST_CODE
        if len(code) != 1 or not 0 <= place < _CODES_MAX:
            raise ValueError(f"{facts.version.label}: code {code!r} of {facts.describe(tag)}")
        codes |= 1 << place
    return codes


def _required(facts: Dictionary, msg_type: str) -> list[int]:
    tags = [*facts.header_required, *facts.messages[msg_type].required]
    if msg_type in ORDER_QTY_REQUIRED:
        # The alternatives are UNUSUAL.
        tags.append(Tag.ORDER_QTY)
    return [int(tag) for tag in dict.fromkeys(tags)]

"""What the decode kernel does with each tag, as one table made from the dictionary."""

from enum import IntEnum

import numpy as np

from openoutcry.protocol.fix.dictionary import DATA_TAGS, ORDER_QTY_REQUIRED, dictionary
from openoutcry.protocol.fix.tags import Tag
from openoutcry.protocol.fix.versions import Version

_FACTS = dictionary(Version.FIX44)
HEADER_TAGS, TRAILER_TAGS, MESSAGES = _FACTS.header_tags, _FACTS.trailer_tags, _FACTS.messages
is_defined = _FACTS.is_defined

#: MsgTypes that the kernel decodes; their rows in SLOTS and REQUIRED.
ORDER_TYPES = "DFGH"
#: SLOTS knows the tags below; FIX 4.4 defines none above, up to USER_DEFINED.
SLOTS_TAGS = 1024


class Slot(IntEnum):
    """What to do with a field; from SENDER_COMP_ID on, also its bit among the fields seen."""

    UNDEFINED = 0
    #: FIX 4.4 defines the tag, but not for this message.
    FOREIGN = 1
    #: The tag is right here, but Python shall look at the message.
    UNUSUAL = 2
    #: The two parties' own: not looked at.
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


#: The first slot whose fields are judged, and the first of the body.
FIRST_FIELD = int(Slot.SENDER_COMP_ID)
FIRST_OF_BODY = int(Slot.CL_ORD_ID)

_FIELD_SLOTS = {int(Tag[slot.name]): slot for slot in Slot if slot >= FIRST_FIELD}
_FIRST_THREE = (Tag.BEGIN_STRING, Tag.BODY_LENGTH, Tag.MSG_TYPE)


def _slot(msg_type: str, tag: int) -> Slot:
    if not is_defined(tag):
        return Slot.UNDEFINED
    if tag in _FIRST_THREE:
        return Slot.FIRST_THREE
    if tag == Tag.CHECK_SUM:
        return Slot.CHECK_SUM
    # Behind the length of data nothing is sure: the data may contain SOH.
    if tag in DATA_TAGS:
        return Slot.UNUSUAL
    if tag in MESSAGES[msg_type].allowed or tag in HEADER_TAGS or tag in TRAILER_TAGS:
        return _FIELD_SLOTS.get(tag, Slot.UNUSUAL)
    return Slot.FOREIGN


#: Slot by row of ORDER_TYPES and tag.
SLOTS = np.array(
    [[_slot(msg_type, tag) for tag in range(SLOTS_TAGS)] for msg_type in ORDER_TYPES], np.uint8
)


def _required(msg_type: str) -> list[int]:
    tags = [Tag.SENDER_COMP_ID, Tag.TARGET_COMP_ID, Tag.MSG_SEQ_NUM, Tag.SENDING_TIME]
    tags += [Tag(tag) for tag in MESSAGES[msg_type].required]
    if msg_type in ORDER_QTY_REQUIRED:
        # The alternatives are UNUSUAL.
        tags.append(Tag.ORDER_QTY)
    return [int(tag) for tag in tags]


_MOST_REQUIRED = max(len(_required(msg_type)) for msg_type in ORDER_TYPES)

#: Required tags in the order in which they are missed, padded with 0, by row of ORDER_TYPES.
REQUIRED_TAGS = np.array(
    [
        _required(msg_type) + [0] * (_MOST_REQUIRED - len(_required(msg_type)))
        for msg_type in ORDER_TYPES
    ],
    np.int64,
)
#: The same as bits of their slots.
REQUIRED_BITS = np.array(
    [sum(1 << _FIELD_SLOTS[tag] for tag in _required(msg_type)) for msg_type in ORDER_TYPES],
    np.int64,
)

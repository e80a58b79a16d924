"""The venue's decode kernel: client bytes to ORDER_FIELDS rows, fully validated.

One pass over the fields of NewOrderSingle (D), OrderCancelRequest (F), OrderCancelReplaceRequest
(G) and OrderStatusRequest (H), by a profile of the session's dictionary (slots.py). Its verdicts
are those of message.py and validate.py. Whatever is not the plain case of an order (another MsgType
or BeginString, ApplVerID, PossDupFlag, routing, groups, data, fields that change what an order
means, no identifier or symbol) is OTHER, and Python has a look. The caller compares CompIDs,
MsgSeqNum and SendingTime.
"""

from typing import Any

from numpy.typing import NDArray

from openoutcry.config.jit import inline_kernel, int64, kernel, lean_kernel
from openoutcry.protocol.binary.words import address_of, load_byte, load_word
from openoutcry.protocol.fix.enums import SessionRejectReason
from openoutcry.protocol.fix.framing import find_frame
from openoutcry.protocol.fix.layouts import CL_ORD_ID_MAX, ORDER, OTHER, REJECT
from openoutcry.protocol.fix.slots import (
    CODE_SLOTS,
    FIRST_CODE,
    FIRST_FIELD,
    FIRST_OF_BODY,
    PROFILE,
    SLOTS_TAGS,
    DecodeTables,
    Slot,
)
from openoutcry.protocol.fix.swar import (
    BLOCK_BYTES,
    clear_lowest,
    is_printable,
    read_tag,
    soh_mask,
    trailing_zeros,
)
from openoutcry.protocol.fix.tags import INVALID_TAG, Tag
from openoutcry.protocol.fix.values import SOUND, read_decimal, read_natural, read_timestamp

_SOH = 1
_EQUALS = ord("=")
_POINT = ord(".")
_WHOLE_ORDER = ord("F")
_TYPE_D, _TYPE_F, _TYPE_G, _TYPE_H = (ord(c) for c in "DFGH")

_UNDEFINED = int(Slot.UNDEFINED)
_FOREIGN = int(Slot.FOREIGN)
_UNUSUAL = int(Slot.UNUSUAL)
_USER = int(Slot.USER_DEFINED)
_FIRST_THREE = int(Slot.FIRST_THREE)
_SENDER_COMP_ID = int(Slot.SENDER_COMP_ID)
_TARGET_COMP_ID = int(Slot.TARGET_COMP_ID)
_MSG_SEQ_NUM = int(Slot.MSG_SEQ_NUM)
_SENDING_TIME = int(Slot.SENDING_TIME)
_CL_ORD_ID = int(Slot.CL_ORD_ID)
_ORIG_CL_ORD_ID = int(Slot.ORIG_CL_ORD_ID)
_SYMBOL = int(Slot.SYMBOL)
_ACCOUNT = int(Slot.ACCOUNT)
_ORDER_ID = int(Slot.ORDER_ID)
_SIDE = int(Slot.SIDE)
_ORD_TYPE = int(Slot.ORD_TYPE)
_TIME_IN_FORCE = int(Slot.TIME_IN_FORCE)
_PRICE = int(Slot.PRICE)
_ORDER_QTY = int(Slot.ORDER_QTY)
_TRANSACT_TIME = int(Slot.TRANSACT_TIME)
_HANDL_INST = int(Slot.HANDL_INST)
_CXL_TYPE = int(Slot.CXL_TYPE)

_INVALID_TAG_NUMBER = int(SessionRejectReason.INVALID_TAG_NUMBER)
_REQUIRED_TAG_MISSING = int(SessionRejectReason.REQUIRED_TAG_MISSING)
_NOT_FOR_MESSAGE = int(SessionRejectReason.TAG_NOT_DEFINED_FOR_MESSAGE)
_UNDEFINED_TAG = int(SessionRejectReason.UNDEFINED_TAG)
_NO_VALUE = int(SessionRejectReason.NO_VALUE)
_VALUE_INCORRECT = int(SessionRejectReason.VALUE_INCORRECT)
_INCORRECT_FORMAT = int(SessionRejectReason.INCORRECT_FORMAT)
_TAG_REPEATED = int(SessionRejectReason.TAG_REPEATED)
_OUT_OF_ORDER = int(SessionRejectReason.TAG_OUT_OF_ORDER)
_SOH_IN_VALUE = int(SessionRejectReason.SOH_IN_VALUE)

_TAG_MSG_TYPE = int(Tag.MSG_TYPE)
_MSG_TYPE_BYTES = len("35=D|")


def _offset(name: str) -> int:
    """Return where a profile has something."""
    places: Any = PROFILE.fields
    return int(places[name][1])


_PROFILE_BYTES = PROFILE.itemsize
_BEGIN = _offset("begin")
_LENIENT = _offset("is_lenient")
_LENGTH_FAULT = _offset("length_fault")
_QTY_WHOLE = _offset("is_qty_whole")
_FIRST_PYTHON_TAG = _offset("first_python_tag")
_LAST_PYTHON_TAG = _offset("last_python_tag")
_REQUIRED = _offset("required")
_NEEDED = _offset("needed")
_REQUIRED_TAGS = _offset("required_tags")
_REQUIRED_TAGS_BYTES = PROFILE["required_tags"].itemsize // PROFILE["required_tags"].shape[0]
_SLOTS = _offset("slots")
_SIDES, _ORD_TYPES, _TIMES_IN_FORCE, _HANDL_INSTS = (
    _offset("codes") + 8 * place for place in range(len(CODE_SLOTS))
)


@inline_kernel
def _number(address: int) -> int:
    """Load a number of a profile."""
    return int64(load_word(address))


@inline_kernel
def _read_code(address: int, length: int, facts: int, place: int) -> tuple[int, int]:
    """Read one character of a profile's set: (SOUND, character less 48)."""
    if length != 1:
        return _number(facts + _LENGTH_FAULT), 0
    code = load_byte(address) - FIRST_CODE
    codes = _number(facts + place)
    if code < 0 or code > 62 or (codes >> code) & 1 == 0:
        return _VALUE_INCORRECT, 0
    return SOUND, code


@kernel
def _has(char: int, pos: int, stop: int) -> bool:
    while pos < stop:
        if load_byte(pos) == char:
            return True
        pos += 1
    return False


@kernel
def _first_missing(facts: int, kind: int, seen: int) -> int:
    """Return the first required tag whose slot was not seen."""
    place = facts + _REQUIRED_TAGS + kind * _REQUIRED_TAGS_BYTES
    while True:
        tag = _number(place)
        if tag == 0 or (seen >> load_byte(facts + _SLOTS + kind * SLOTS_TAGS + tag)) & 1 == 0:
            return tag
        place += 8


@lean_kernel
def decode_message(
    buf: NDArray[Any],
    start: int,
    end: int,
    max_message_bytes: int,
    tables: DecodeTables,
    profile: int,
    fields: NDArray[Any],
    k: int,
) -> int:
    """Decode the frame at `start` into row `k` of `fields` (ORDER_FIELDS); return its status.

    `buf` is uint8 with SPARE_BYTES behind `end`, which is behind the last byte received. A frame of
    more than max_message_bytes is garbled, as soon as its BodyLength is there. `profile` is a row
    of `tables`; with a negative one no frame is decoded: all are OTHER. For the statuses
    (PARTIAL, ORDER, OTHER, REJECT, GARBLED) and what counts with each see layouts.py.
    """
    row = fields[k]
    base = address_of(buf)
    facts = address_of(tables) + max(profile, 0) * _PROFILE_BYTES
    status, frame_end, body, body_end, begin = find_frame(
        base + start, base + end, max_message_bytes
    )
    row["frame_end"] = frame_end - base if frame_end else 0
    if (
        status != OTHER
        or begin != _number(facts + _BEGIN)
        or profile < 0
        or load_byte(body + 4) != _SOH
    ):
        return status
    msg_type = load_byte(body + 3)
    if msg_type == _TYPE_D:
        kind = 0
    elif msg_type == _TYPE_F:
        kind = 1
    elif msg_type == _TYPE_G:
        kind = 2
    elif msg_type == _TYPE_H:
        kind = 3
    else:
        return OTHER
    slots = facts + _SLOTS + kind * SLOTS_TAGS
    is_lenient = _number(facts + _LENIENT) != 0
    row["msg_type"] = msg_type
    row["sender_comp_id_len"] = 0
    row["target_comp_id_len"] = 0
    row["cl_ord_id_len"] = 0
    row["orig_cl_ord_id_len"] = 0
    row["symbol_len"] = 0
    row["account_len"] = 0
    row["order_id_len"] = 0
    row["sending_time_ms"] = 0
    row["transact_time_ms"] = 0
    row["price"] = 0
    row["price_scale"] = 0
    row["has_price"] = 0
    row["qty"] = 0
    row["qty_scale"] = 0
    row["has_qty"] = 0
    row["side"] = 0
    row["ord_type"] = 0
    row["tif"] = 0

    seq_num = -1
    ref_tag = 0
    reject_reason = SOUND
    tag_before = _TAG_MSG_TYPE
    seen = 0
    in_body = False
    pos = body + _MSG_TYPE_BYTES
    block = pos
    borders = soh_mask(block)
    while pos < body_end:
        while borders == 0:
            block += BLOCK_BYTES
            borders = soh_mask(block)
        stop = block + trailing_zeros(borders)
        borders = clear_lowest(borders)
        tag, digits = read_tag(pos)
        if tag == 0:
            if reject_reason == SOUND:
                if _has(_EQUALS, pos, stop):
                    reject_reason = _INVALID_TAG_NUMBER
                    ref_tag = INVALID_TAG
                else:
                    reject_reason = _SOH_IN_VALUE
                    ref_tag = tag_before
            tag_before = INVALID_TAG
            pos = stop + 1
            continue
        value = pos + digits + 1
        length = stop - value
        pos = stop + 1
        tag_before = tag
        if tag < SLOTS_TAGS:
            slot = load_byte(slots + tag)
        elif tag < _number(facts + _FIRST_PYTHON_TAG) or tag > _number(facts + _LAST_PYTHON_TAG):
            slot = _USER
        else:
            return OTHER

        if length == 0 and is_lenient and (slot >= FIRST_FIELD or slot == _FIRST_THREE):
            continue
        fault = SOUND
        if slot < FIRST_FIELD:
            if slot == _UNUSUAL:
                return OTHER
            if slot == _UNDEFINED:
                fault = _UNDEFINED_TAG
            elif slot == _FOREIGN:
                fault = _NOT_FOR_MESSAGE
            elif slot == _USER:
                if length == 0 and not is_lenient:
                    fault = _NO_VALUE
            elif slot == _FIRST_THREE and (is_lenient or not in_body):
                fault = _TAG_REPEATED
            else:
                fault = _OUT_OF_ORDER
        else:
            bit = 1 << slot
            if slot >= FIRST_OF_BODY:
                in_body = True
            elif in_body and not is_lenient:
                fault = _OUT_OF_ORDER
            if fault == SOUND:
                if seen & bit:
                    fault = _TAG_REPEATED
                elif length == 0:
                    fault = _NO_VALUE
            seen |= bit
            if slot == _MSG_SEQ_NUM:
                # Whatever is wrong with its place: the number answers for the message.
                if seq_num < 0 and length > 0:
                    seq_num = read_natural(value, length)
                    if seq_num < 0:
                        return OTHER
            elif fault != SOUND:
                pass
            elif slot == _SENDER_COMP_ID:
                row["sender_comp_id_off"] = value - base
                row["sender_comp_id_len"] = length
            elif slot == _TARGET_COMP_ID:
                row["target_comp_id_off"] = value - base
                row["target_comp_id_len"] = length
            elif slot == _SENDING_TIME:
                fault, ms = read_timestamp(value, length)
                row["sending_time_ms"] = ms
            elif slot == _CL_ORD_ID:
                if length > CL_ORD_ID_MAX or not is_printable(value, length):
                    fault = _VALUE_INCORRECT
                row["cl_ord_id_off"] = value - base
                row["cl_ord_id_len"] = length
            elif slot == _ORIG_CL_ORD_ID:
                if length > CL_ORD_ID_MAX or not is_printable(value, length):
                    fault = _VALUE_INCORRECT
                row["orig_cl_ord_id_off"] = value - base
                row["orig_cl_ord_id_len"] = length
            elif slot == _SYMBOL:
                row["symbol_off"] = value - base
                row["symbol_len"] = length
            elif slot == _ACCOUNT:
                row["account_off"] = value - base
                row["account_len"] = length
            elif slot == _ORDER_ID:
                row["order_id_off"] = value - base
                row["order_id_len"] = length
            elif slot == _SIDE:
                fault, code = _read_code(value, length, facts, _SIDES)
                row["side"] = code
            elif slot == _ORD_TYPE:
                fault, code = _read_code(value, length, facts, _ORD_TYPES)
                row["ord_type"] = code
            elif slot == _TIME_IN_FORCE:
                fault, code = _read_code(value, length, facts, _TIMES_IN_FORCE)
                row["tif"] = code
            elif slot == _HANDL_INST:
                fault, code = _read_code(value, length, facts, _HANDL_INSTS)
            elif slot == _CXL_TYPE:
                if length != 1 or load_byte(value) != _WHOLE_ORDER:
                    return OTHER
            elif slot == _PRICE:
                fault, mantissa, scale = read_decimal(value, length)
                row["price"] = mantissa
                row["price_scale"] = scale
                row["has_price"] = 1
            elif slot == _ORDER_QTY:
                if _number(facts + _QTY_WHOLE) and _has(_POINT, value, stop):
                    fault, mantissa, scale = _INCORRECT_FORMAT, 0, 0
                else:
                    fault, mantissa, scale = read_decimal(value, length)
                row["qty"] = mantissa
                row["qty_scale"] = scale
                row["has_qty"] = 1
            elif slot == _TRANSACT_TIME:
                fault, ms = read_timestamp(value, length)
                row["transact_time_ms"] = ms
        if fault != SOUND and reject_reason == SOUND:
            reject_reason = fault
            ref_tag = tag

    if seq_num < 0:
        return OTHER
    row["seq_num"] = seq_num
    if reject_reason == SOUND:
        required = _number(facts + _REQUIRED + kind * 8)
        if seen & required == required:
            needed = _number(facts + _NEEDED + kind * 8)
            return ORDER if seen & needed == needed else OTHER
        reject_reason = _REQUIRED_TAG_MISSING
        ref_tag = _first_missing(facts, kind, seen)
    row["ref_tag"] = ref_tag
    row["reject_reason"] = reject_reason
    return REJECT

"""What the decode kernel must answer, in plain Python: framing by expressions, values by Decimal.

The verdict on the fields is `validate`'s, by the dictionary given; which messages the kernel leaves
to Python (OTHER) is spelled out here.
"""

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from openoutcry.protocol.errors import GarbledMessage
from openoutcry.protocol.fix.dictionary import DATA_TAGS, Dictionary, dictionary
from openoutcry.protocol.fix.layouts import GARBLED, ORDER, OTHER, PARTIAL, REJECT
from openoutcry.protocol.fix.message import Message, parse, validate
from openoutcry.protocol.fix.versions import Version

_HEAD = re.compile(rb"8=FIX[^\x01]{0,13}\x019=([0-9]{1,9})\x01")
_PART_OF_HEAD = re.compile(
    rb"8(?:=(?:F(?:I(?:X(?:[^\x01]{0,13}(?:\x01(?:9(?:=([0-9]{0,9}))?)?)?)?)?)?)?)?"
)
_TRAILER = re.compile(rb"\x0110=[0-9]{3}\x01")
_ODD_TRAILER = re.compile(rb"\x0110=[^\x01]*\x01")

#: Tags with which a message stays on the order path.
PLAIN_TAGS = frozenset(
    {8, 9, 10, 35, 49, 56, 34, 52, 50, 57}
    | {11, 41, 55, 1, 37, 54, 40, 59, 44, 38, 60, 21, 125, 15, 58, 100, 207}
)
#: Without one of these it is no plain order, even where the version does not ask for it.
NEEDED_TAGS = {"D": (11, 55), "F": (11, 41, 55), "G": (11, 41, 55), "H": (11, 55)}
FIX44 = dictionary(Version.FIX44)


@dataclass(frozen=True)
class Decoded:
    """A status, and of the row what counts with it."""

    status: int
    frame_end: int
    values: dict[str, Any] = field(default_factory=dict)


def next_begin(data: bytes, start: int) -> int:
    """Return where the next `8=FIX` is, or the part of one that ends the bytes."""
    found = data.find(b"8=FIX", start)
    if found >= 0:
        return found
    for length in (4, 3, 2, 1):
        if len(data) - length >= start and data.endswith(b"8=FIX"[:length]):
            return len(data) - length
    return len(data)


def find_frame(data: bytes, max_bytes: int) -> Decoded:
    """Frame the beginning of the bytes: PARTIAL, OTHER or GARBLED."""
    garbled = Decoded(GARBLED, next_begin(data, 1))
    head = _HEAD.match(data)
    if head is None:
        part = _PART_OF_HEAD.fullmatch(data)
        if data and part is None:
            return garbled
        if part is not None and part[1] and len(data) + int(part[1]) + 7 > max_bytes:
            return garbled
        return Decoded(PARTIAL, 0)
    body_end = head.end() + int(head[1])
    end = body_end + 7
    if end > max_bytes or not b"35=".startswith(data[head.end() : head.end() + 3]):
        return garbled
    if len(data) < max(head.end() + 3, body_end):
        return Decoded(PARTIAL, end)
    if not _TRAILER.match(data, body_end - 1):
        # Wherever the next one is, and however long: the frame ends there, and is garbled.
        odd = _ODD_TRAILER.search(data[:max_bytes], body_end - 1)
        if odd is not None:
            return Decoded(GARBLED, odd.end())
        return (
            garbled if len(data) >= max_bytes else Decoded(PARTIAL, end if len(data) < end else 0)
        )
    if int(data[end - 4 : end - 1]) != sum(data[:body_end]) % 256:
        return Decoded(GARBLED, end)
    return Decoded(OTHER, end)


def decode(data: bytes, max_bytes: int = 4096, facts: Dictionary | None = FIX44) -> Decoded:
    """Decode the frame that the bytes begin with; without a dictionary only frame it."""
    framed = find_frame(data, max_bytes)
    if framed.status != OTHER or facts is None:
        return framed
    try:
        message = parse(data[: framed.frame_end])
    except GarbledMessage as error:
        raise AssertionError(f"parse refuses a good frame: {error}") from error
    if not _is_plain(message, facts):
        return framed
    problem = validate(message, facts)
    if problem is not None:
        values = {"ref_tag": problem.ref_tag or 0, "reject_reason": int(problem.reason)}
        return Decoded(REJECT, framed.frame_end, values | {"seq_num": message.seq_num})
    if not all(message.get(tag) for tag in NEEDED_TAGS[message.msg_type]):
        return framed
    return Decoded(ORDER, framed.frame_end, _values(message, facts))


def _right_tags(message: Message, facts: Dictionary) -> frozenset[int]:
    return facts.messages[message.msg_type].allowed | facts.header_tags | facts.trailer_tags


def _is_plain(message: Message, facts: Dictionary) -> bool:
    if message.get(8) != facts.version.begin_string.encode():
        return False
    if message.msg_type not in ("D", "F", "G", "H") or message.seq_num is None:
        return False
    right = _right_tags(message, facts)
    plain = PLAIN_TAGS - facts.custom_tags
    # Of users' own tags those that somebody defined, and for simplicity all in between.
    defined = [tag for tag in {*facts.names, *DATA_TAGS} if tag >= 5000]
    if any(
        tag in DATA_TAGS
        or (tag < 5000 and tag in right and tag not in plain)
        or min(defined) <= tag <= max(defined)
        for tag, _ in message.fields
    ):
        return False
    # A cancel of a part is for Python; the kernel looks at the value that counts.
    parts = [value for tag, value in message.fields if tag == 125 and 125 in right]
    if facts.is_lenient:
        parts = [value for value in parts if value]
    return not parts or parts[0] in (b"", b"F")


def _values(message: Message, facts: Dictionary) -> dict[str, Any]:
    right = _right_tags(message, facts)

    def value(tag: int) -> bytes | None:
        return message.get(tag) if tag in right else None

    def text(tag: int) -> bytes:
        return value(tag) or b""

    def code(tag: int) -> int:
        return ord(text(tag) or b"0") - ord("0")

    price, qty = value(44), value(38)
    return {
        "msg_type": ord(message.msg_type),
        "seq_num": message.seq_num,
        "sender_comp_id": text(49),
        "target_comp_id": text(56),
        "cl_ord_id": text(11),
        "orig_cl_ord_id": text(41),
        "symbol": text(55),
        "account": text(1),
        "order_id": text(37),
        "sending_time_ms": utc_ms(text(52)),
        "transact_time_ms": utc_ms(text(60)) if text(60) else 0,
        "side": code(54),
        "ord_type": code(40),
        "tif": code(59),
        "has_price": int(price is not None),
        "has_qty": int(qty is not None),
        "price": Decimal((price or b"0").decode()),
        "qty": Decimal((qty or b"0").decode()),
    }


def utc_ms(text: bytes) -> int:
    """Read a UTCTimestamp that is known to be right."""
    whole, _, decimals = text.decode().partition(".")
    whole = whole[:-2] + min(whole[-2:], "59")
    moment = datetime.strptime(whole, "%Y%m%d-%H:%M:%S").replace(tzinfo=UTC)
    return round(moment.timestamp()) * 1000 + int(decimals[:3] or "0")

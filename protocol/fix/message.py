"""FIX messages in Python: parse and encode what is not on the order path."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from openoutcry.protocol.errors import GarbledMessage
from openoutcry.protocol.fix.dictionary import DATA_TAGS
from openoutcry.protocol.fix.tags import INVALID_TAG, NO_TAG
from openoutcry.protocol.fix.validate import Problem, validate

__all__ = ["Message", "Problem", "encode_message", "parse", "validate"]

SOH = b"\x01"

_HEAD = re.compile(rb"8=(FIX[^\x01]{0,13})\x019=([0-9]{1,9})\x01(?=35=)")
_TRAILER = re.compile(rb"\x0110=([0-9]{3})\x01")
_TRAILER_BYTES = 7
_TAG = re.compile(rb"[1-9][0-9]{0,6}")
_DATA_LENGTH = re.compile(rb"[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class Message:
    """A well-formed frame: BodyLength and CheckSum are right, and 8, 9, 35 come first."""

    msg_type: str
    #: All fields in order, 8 and 10 included. A broken field has the tag INVALID_TAG or NO_TAG.
    fields: list[tuple[int, bytes]]
    frame: bytes = b""
    _first: dict[int, bytes] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        first: dict[int, bytes] = {}
        for tag, value in self.fields:
            if value:
                first.setdefault(tag, value)
        object.__setattr__(self, "_first", first)

    def get(self, tag: int) -> bytes | None:
        """Return the value of the first field with a tag and a value; None where there is none."""
        return self._first.get(tag)

    @property
    def seq_num(self) -> int | None:
        """Return MsgSeqNum(34), or None where it is absent or no number."""
        value = self._first.get(34)
        if value is None or not value.isdigit() or len(value) > 18:
            return None
        return int(value)


def parse(frame: bytes) -> Message:
    """Split one whole frame. Data fields may contain SOH: their length fields are believed.

    Raises:
        GarbledMessage: The first three fields, BodyLength or CheckSum are wrong, or the frame has
            more or fewer bytes than it claims.
    """
    head = _HEAD.match(frame)
    if head is None:
        raise GarbledMessage("BeginString, BodyLength and MsgType do not come first")
    body_end = head.end() + int(head[2])
    if body_end + _TRAILER_BYTES != len(frame):
        raise GarbledMessage("BodyLength(9) is wrong")
    trailer = _TRAILER.match(frame, body_end - 1)
    if trailer is None:
        raise GarbledMessage("CheckSum(10) is not where BodyLength(9) says")
    if int(trailer[1]) != sum(frame[:body_end]) % 256:
        raise GarbledMessage("CheckSum(10) is wrong")
    fields = [(8, head[1]), (9, head[2])]
    fields += _split(frame, head.end(), body_end)
    fields.append((10, trailer[1]))
    return Message(fields[2][1].decode("latin-1"), fields, frame)


def _split(frame: bytes, pos: int, body_end: int) -> list[tuple[int, bytes]]:
    fields = []
    while pos < body_end:
        stop = frame.index(SOH, pos)
        name, equals, value = frame[pos:stop].partition(b"=")
        if not equals:
            fields.append((NO_TAG, name))
        elif not _TAG.fullmatch(name):
            fields.append((INVALID_TAG, frame[pos:stop]))
        else:
            fields.append((int(name), value))
        pos = stop + 1
        data_tag = DATA_TAGS.get(fields[-1][0])
        if data_tag is not None and _DATA_LENGTH.fullmatch(value):
            first = pos + len(b"%d=" % data_tag)
            last = first + int(value)
            # A length that fits nothing is not believed; `validate` names it.
            if frame.startswith(b"%d=" % data_tag, pos) and last < body_end:
                if frame[last : last + 1] == SOH:
                    fields.append((data_tag, frame[first:last]))
                    pos = last + 1
    return fields


def encode_message(begin_string: str, fields: Iterable[tuple[int, bytes | str | int]]) -> bytes:
    """Frame fields, from MsgType(35) on: put 8 and 9 before them and 10 behind."""
    body = b"".join(b"%d=%b\x01" % (tag, _to_bytes(value)) for tag, value in fields)
    head = b"8=%b\x019=%d\x01" % (begin_string.encode(), len(body))
    return b"%b%b10=%03d\x01" % (head, body, (sum(head) + sum(body)) % 256)


def _to_bytes(value: bytes | str | int) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode("latin-1")

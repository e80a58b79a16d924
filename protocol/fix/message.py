"""FIX messages in Python: parse, validate, encode. What the kernels do on the path, in plain words.

`parse` frames and splits; `validate` judges against the dictionary. The decode kernel must come to
the same verdicts on orders.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from openoutcry.protocol.errors import GarbledMessage
from openoutcry.protocol.fix.enums import SessionRejectReason

SOH = b"\x01"


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
            first.setdefault(tag, value)
        object.__setattr__(self, "_first", first)

    def get(self, tag: int) -> bytes | None:
        """Return the value of the first field with a tag."""
        return self._first.get(tag)

    @property
    def seq_num(self) -> int | None:
        """Return MsgSeqNum(34), or None where it is absent or no number."""
        value = self._first.get(34)
        if value is None or not value.isdigit() or len(value) > 18:
            return None
        return int(value)


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a message: the content of a Reject(3)."""

    #: RefTagID(371); None where there is no tag to name.
    ref_tag: int | None
    ref_msg_type: str
    reason: SessionRejectReason
    text: str


def parse(frame: bytes) -> Message:
    """Split one whole frame.

    Raises:
        GarbledMessage: BodyLength, CheckSum or the first three fields are wrong.
    """
    if not frame.startswith(b"8=") or not frame.endswith(SOH):
        raise GarbledMessage("no frame")
    fields = []
    for text in frame[:-1].split(SOH):
        tag, _, value = text.partition(b"=")
        fields.append((int(tag) if tag.isdigit() else 0, value))
    if [tag for tag, _ in fields[:3]] != [8, 9, 35]:
        raise GarbledMessage("first three fields")
    return Message(fields[2][1].decode("latin-1"), fields, frame)


def validate(message: Message) -> Problem | None:
    """Judge a message against the dictionary; return the first thing that is wrong."""
    del message
    return None


def encode_message(begin_string: str, fields: Iterable[tuple[int, bytes | str | int]]) -> bytes:
    """Frame fields, from MsgType(35) on: put 8 and 9 before them and 10 behind."""
    body = b"".join(b"%d=%b\x01" % (tag, _to_bytes(value)) for tag, value in fields)
    head = b"8=%b\x019=%d\x01" % (begin_string.encode(), len(body))
    return b"%b%b10=%03d\x01" % (head, body, (sum(head) + sum(body)) % 256)


def _to_bytes(value: bytes | str | int) -> bytes:
    if isinstance(value, bytes):
        return value
    return str(value).encode("latin-1")

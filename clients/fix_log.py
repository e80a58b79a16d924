"""Find FIX messages in captured streams and in logs, whoever wrote them.

In a stream the messages follow each other. A log has one on a line, with whatever its writer puts
before it, and may have `|`, `^A` or the like in place of SOH. A message ends where BodyLength says
if CheckSum(10) is there; else, as where a password was masked, behind the nearest CheckSum.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from openoutcry.protocol.fix.dictionary import DATA_TAGS
from openoutcry.protocol.fix.redact import without_secrets

#: Bytes after which a message that has not ended is given up as garbled.
LONGEST_MESSAGE = 1 << 18
#: Texts that stand for SOH in logs.
_SEPARATORS = rb"\x01|\||\^A|<SOH>|\\x01|\\001"
_BEGIN = b"8=FIX"
_HEAD = re.compile(rb"8=FIX[A-Z.0-9]{1,13}?(" + _SEPARATORS + rb")")
#: Enough bytes to tell whether a head is one.
_HEAD_BYTES = 32
_BODY_LENGTH = re.compile(rb"9=([0-9]{1,9})\x01")
_CHECK_SUM = re.compile(rb"\x0110=([0-9]{3})(?=[\x01\r\n ]|$)")
_TAG = re.compile(rb"[0-9]{1,9}")
_TRAILER_BYTES = 7
_MASK = b"***"
#: How the venue's message log tells of what it has not.
_HOLE = re.compile(rb"# (not logged: [0-9]+ chunks, [0-9]+ bytes; [a-z ]+)$")

_TIME = re.compile(
    rb"([0-9]{4})[-/]?([0-9]{2})[-/]?([0-9]{2})[-T ]"
    rb"([0-9]{2}):([0-9]{2}):([0-9]{2})(?:[.,]([0-9]{1,9}))?"
)
_IN = re.compile(
    rb"(?:^|[\s\[(:])(?:in|inbound|incoming|recv|rcvd|received|rx|<-+|<<?)(?=$|[\s\]):,])", re.I
)
_OUT = re.compile(
    rb"(?:^|[\s\[(:])(?:out|outbound|outgoing|send|sent|sending|tx|-+>|>>?)(?=$|[\s\]):,])", re.I
)


@dataclass(slots=True)
class LogEntry:
    """A message of a log, or a stretch of bytes that should be one and is not."""

    #: What stood before it on its line.
    prefix: bytes
    #: Its bytes, SOH between fields, passwords masked.
    frame: bytes
    #: Fields in order; those that cannot be read have the tag -1.
    fields: list[tuple[int, bytes]] = field(default_factory=list)
    #: What is wrong with it; with a garbled message nothing else is known.
    faults: list[str] = field(default_factory=list)
    is_garbled: bool = False
    is_masked: bool = False

    def get(self, tag: int) -> bytes:
        """Return the first value of a tag, empty where there is none."""
        return next((value for each, value in self.fields if each == tag), b"")

    @property
    def direction(self) -> str:
        """`in`, `out`, or nothing where the log does not say: as its writer saw it."""
        # A stream's last message may end without a line: what is before counts by its end only.
        tail = self.prefix[-200:]
        found = [
            (match.end(), name)
            for name, pattern in (("in", _IN), ("out", _OUT))
            for match in pattern.finditer(tail)
        ]
        return max(found)[1] if found else ""

    @property
    def time(self) -> datetime | None:
        """When it was logged, else SendingTime(52); in UTC, as a time without a zone is taken."""
        return _time_in(self.prefix[-200:]) or _time_in(self.get(52))


def _time_in(text: bytes) -> datetime | None:
    match = _TIME.search(text)
    if match is None:
        return None
    year, month, day, hour, minute, second = (int(match[n]) for n in range(1, 7))
    micros = int((match[7] or b"0")[:6].ljust(6, b"0"))
    try:
        return datetime(year, month, day, hour, minute, min(second, 59), micros, UTC)
    except ValueError:
        return None


class LogReader:
    """Collect the bytes of one log or stream, and give out its messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[LogEntry]:
        """Yield what is whole now."""
        self._buffer += data
        return self._entries(is_end=False)

    def end(self) -> Iterator[LogEntry]:
        """Yield what is left: nothing more comes."""
        return self._entries(is_end=True)

    def _entries(self, *, is_end: bool) -> Iterator[LogEntry]:
        data = bytes(self._buffer)
        pos = 0
        while True:
            begin = data.find(_BEGIN, pos)
            if begin < 0:
                yield from self._rest(data, pos, is_end=is_end)
                return
            if not is_end and len(data) - begin < _HEAD_BYTES:
                break
            before = data[pos:begin]
            stop, entry = _message(data, begin, is_end=is_end)
            if entry is None:
                break
            yield from _between(before)
            entry.prefix = before.rpartition(b"\n")[2].lstrip(b"\x01\r")
            yield entry
            pos = stop
        del self._buffer[:pos]

    def _rest(self, data: bytes, pos: int, *, is_end: bool) -> Iterator[LogEntry]:
        """Go over bytes without the beginning of a message, keeping what may belong to the next."""
        if is_end:
            keep = len(data)
        else:
            keep = max(data.rfind(b"\n") + 1, pos, len(data) - LONGEST_MESSAGE)
        yield from _between(data[pos:keep])
        del self._buffer[:keep]


def _between(data: bytes) -> Iterator[LogEntry]:
    """Yield the lines between messages that look like parts of one; others are none of FIX."""
    for line in data.split(b"\n"):
        text = line.strip(b"\x01\r ")
        hole = _HOLE.search(line)
        if hole is not None:
            yield _garbled(text, hole[1].decode())
        elif b"\x01" in text and b"=" in text:
            yield _garbled(text, "no beginning of a message")


def _message(data: bytes, begin: int, *, is_end: bool) -> tuple[int, LogEntry | None]:
    """Read the message at `begin`: (position behind it, entry), or None to wait for more."""
    head = _HEAD.match(data, begin, begin + _HEAD_BYTES)
    limit = data.find(_BEGIN, begin + len(_BEGIN), begin + LONGEST_MESSAGE)
    is_all_here = is_end or limit >= 0 or len(data) - begin >= LONGEST_MESSAGE
    if limit < 0:
        limit = min(len(data), begin + LONGEST_MESSAGE)
    if head is None:
        line = data.find(b"\n", begin, limit)
        if line < 0 and not is_all_here:
            return begin, None
        stop = limit if line < 0 else line
        return stop, _garbled(data[begin:stop], "no FIX version at the beginning")
    separator = head[1]
    if separator == b"\x01":
        return _stretch(data, begin, limit, is_all_here=is_all_here)
    # A log's message ends with its line at the latest.
    line = data.find(b"\n", begin)
    if line < 0 and not is_end and len(data) - begin < LONGEST_MESSAGE:
        return begin, None
    stop = min(len(data) if line < 0 else line, begin + LONGEST_MESSAGE)
    text = data[begin:stop].replace(separator, b"\x01")
    length, entry = _stretch(text, 0, len(text), is_all_here=True)
    assert entry is not None
    if separator == b"|" and any(tag < 0 for tag, _ in entry.fields):
        entry = _with_bars(entry)
    rest = text[length:].strip(b"\x01\r ")
    second = rest.find(_BEGIN)
    if second >= 0:
        # Another message on the line: begin again there.
        return data.find(_BEGIN, begin + 1), entry
    return stop, entry


def _stretch(
    data: bytes, begin: int, limit: int, *, is_all_here: bool
) -> tuple[int, LogEntry | None]:
    """Read the message at `begin`, before the next beginning at `limit`."""
    body = _body(data, begin)
    if body is not None and body[1] < LONGEST_MESSAGE:
        stop = body[0] + body[1] + _TRAILER_BYTES
        if _CHECK_SUM.match(data, stop - _TRAILER_BYTES - 1, stop):
            return stop, _read(data[begin:stop])
    match = _CHECK_SUM.search(data, begin, limit)
    # At the end of what is here the last digit may be followed by another.
    if match is not None and (is_all_here or match.end() < limit):
        if body is None or is_all_here or len(data) >= body[0] + body[1] + _TRAILER_BYTES:
            stop = match.end() + (data[match.end() : match.end() + 1] == b"\x01")
            return stop, _read(data[begin:stop])
        if b"\n" in data[match.end() : limit] and _MASK in data[begin : match.start()]:
            stop = match.end() + (data[match.end() : match.end() + 1] == b"\x01")
            return stop, _read(data[begin:stop])
    if not is_all_here:
        return begin, None
    line = data.find(b"\n", begin, limit)
    stop = limit if line < 0 else line
    return stop, _garbled(data[begin:stop], "no CheckSum(10) at its end")


def _body(data: bytes, begin: int) -> tuple[int, int] | None:
    """Return where the body begins, and its length as BodyLength(9) says."""
    soh = data.find(b"\x01", begin, begin + _HEAD_BYTES)
    match = _BODY_LENGTH.match(data, soh + 1) if soh >= 0 else None
    return None if match is None else (match.end(), int(match[1]))


def _garbled(data: bytes, fault: str) -> LogEntry:
    shown = without_secrets(data)
    return LogEntry(b"", shown, [], [fault], is_garbled=True, is_masked=shown != data)


def _read(data: bytes) -> LogEntry:
    """Take a message apart; `data` has SOH between the fields, and perhaps none at the end."""
    frame = data if data.endswith(b"\x01") else data + b"\x01"
    shown = without_secrets(frame)
    entry = LogEntry(b"", shown, _split(shown))
    secrets = [value for tag, value in entry.fields if _is_secret(tag, entry.fields)]
    entry.is_masked = _MASK in secrets
    # The bytes of a message that came with a masked password are no more those that were sent.
    if not (entry.is_masked and shown == frame):
        entry.faults += _sums(frame)
    if any(tag < 0 for tag, _ in entry.fields):
        entry.faults.append("a field without a tag")
    return entry


def _is_secret(tag: int, fields: list[tuple[int, bytes]]) -> bool:
    return tag in (554, 925, 1402, 1404) or (tag == 96 and (35, b"A") in fields)


def _sums(frame: bytes) -> Iterator[str]:
    """Check BodyLength and CheckSum."""
    end = frame.rindex(b"\x0110=") + 1
    body = _body(frame, 0)
    if body is None:
        yield "no BodyLength(9) behind BeginString(8)"
    elif end - body[0] != body[1]:
        yield f"BodyLength(9) is {body[1]}, the body has {end - body[0]} bytes"
    total = sum(frame[:end]) % 256
    if frame[end + 3 : end + 6] != b"%03d" % total:
        claimed = frame[end + 3 : end + 6].decode("latin-1")
        yield f"CheckSum(10) is {claimed}, the bytes give {total:03}"


def _split(frame: bytes) -> list[tuple[int, bytes]]:
    fields: list[tuple[int, bytes]] = []
    pos = 0
    while pos < len(frame):
        stop = frame.index(b"\x01", pos)
        name, equals, value = frame[pos:stop].partition(b"=")
        is_field = bool(equals) and _TAG.fullmatch(name) is not None
        fields.append((int(name), value) if is_field else (-1, frame[pos:stop]))
        pos = stop + 1
        data_tag = DATA_TAGS.get(fields[-1][0])
        if data_tag is not None and value.isdigit() and len(value) < 10:
            first = pos + len(b"%d=" % data_tag)
            last = first + int(value)
            if frame.startswith(b"%d=" % data_tag, pos) and frame[last : last + 1] == b"\x01":
                fields.append((data_tag, frame[first:last]))
                pos = last + 1
    return fields


def _with_bars(entry: LogEntry) -> LogEntry:
    """Put values together again that had a `|` of their own."""
    joined: list[tuple[int, bytes]] = []
    for tag, value in entry.fields:
        if tag < 0 and joined and joined[-1][0] >= 0:
            joined[-1] = (joined[-1][0], joined[-1][1] + b"|" + value)
        else:
            joined.append((tag, value))
    if any(tag < 0 for tag, _ in joined):
        return entry
    return _read(b"".join(b"%d=%b\x01" % pair for pair in joined))

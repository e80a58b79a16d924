"""Bytes for the table: messages built from text, and compared with what was sent.

Nothing here comes from the encoders under test: lengths, sums and stamps are computed anew.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from openoutcry.protocol.fix.versions import Version

SOH = b"\x01"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_STAMP = re.compile(r"@([+-]?\d+(?:\.\d+)?)")


class Mismatch(AssertionError):
    """What was sent is not what the table says."""


@dataclass(frozen=True)
class Envelope:
    """What the runner puts around a line of the table."""

    version: Version
    sender: str
    target: str
    now_ms: int
    symbol: str = "BTCUSDT"

    def stamp(self, offset_s: float = 0) -> str:
        """Return a UTCTimestamp in the precision of the version: milliseconds since 4.2."""
        moment = _EPOCH + timedelta(milliseconds=self.now_ms + round(offset_s * 1000))
        text = f"{moment:%Y%m%d-%H:%M:%S}"
        if self.version < Version.FIX42:
            return text
        return f"{text}.{moment.microsecond // 1000:03d}"

    def fields(self, text: str) -> list[tuple[str, str]]:
        """Return the fields of a line, from MsgType on; `*` and `@` stand as they are."""
        parts = [part for part in self._named(text).split("|") if part]
        named = {part.lstrip("!").partition("=")[0] for part in parts}
        out: list[tuple[str, str]] = []
        put_time = "52" not in named
        for part in parts:
            if part.startswith("!"):
                continue
            tag, _, value = part.partition("=")
            out.append((tag, value))
            if len(out) == 1:
                # ApplVerID comes fourth where it is there at all.
                comp_ids = (("49", self.sender), ("56", self.target))
                out += [(tag, value) for tag, value in comp_ids if tag not in named]
            if tag == "34" and put_time:
                out.append(("52", "@0"))
                put_time = False
        if put_time:
            out.append(("52", "@0"))
        return out

    def message(self, text: str) -> bytes:
        """Build a whole message from a line."""
        return self.frame(self.fields(text))

    def frame(self, fields: list[tuple[str, str]]) -> bytes:
        """Put 8 and 9 before fields and 10 behind them; stamps become times."""
        body = b"".join(
            f"{tag}={_STAMP.sub(lambda m: self.stamp(float(m[1])), value)}".encode("latin-1") + SOH
            for tag, value in fields
        )
        head = f"8={self.version.begin_string}\x019={len(body)}\x01".encode() + body
        return head + b"10=%03d\x01" % (sum(head) % 256)

    def raw(self, text: str) -> bytes:
        """Build bytes as a line has them; `#` is a right length or sum, `#+1` one more."""
        text = self._named(text)
        text = _STAMP.sub(lambda m: self.stamp(float(m[1])), text)
        data = b""
        for piece in re.split(r"(?<=\|)(?=8=)", text):
            data += _measured(piece)
        return data

    def _named(self, text: str) -> str:
        text = text.replace("@comp", "49=@sender|56=@target")
        text = text.replace("@sender", self.sender).replace("@target", self.target)
        return text.replace("@symbol", self.symbol)


def _measured(text: str) -> bytes:
    """Put in the length and the sum of one message."""
    data = text.replace("|", "\x01").encode("latin-1")
    body_at = data.find(SOH, data.find(b"9=#")) + 1
    # The last one: data may hold a message of its own.
    body_end = data.rfind(b"\x0110=", body_at - 1) + 1
    length = (body_end or len(data)) - body_at
    data = re.sub(
        rb"(?<=9=)#([+-]\d+)?", lambda m: b"%d" % (length + int(m[1] or 0)), data, count=1
    )
    sum_at = data.rfind(b"\x0110=#")
    total = sum(data[: sum_at + 1]) % 256
    return re.sub(
        rb"(?<=\x0110=)#([+-]\d+)?",
        lambda m: b"%03d" % ((total + int(m[1] or 0)) % 256),
        data,
        count=1,
    )


def split(data: bytes) -> tuple[list[bytes], bytes]:
    """Cut whole messages off a stream by their BodyLength(9); return them and the rest."""
    frames = []
    while data.count(SOH) >= 2:
        begin, length, _ = data.split(SOH, 2)
        end = len(begin) + len(length) + 2 + int(length[2:]) + len(b"10=000|")
        if len(data) < end:
            break
        frames.append(data[:end])
        data = data[end:]
    return frames, data


def check(sent: bytes, text: str, envelope: Envelope, is_time: Callable[[str, str], bool]) -> None:
    """Compare a message that was sent with a line of the table, byte for byte.

    A `*` of the line takes what was sent; so does a stamp for which `is_time` (what was sent, what
    the clock says) is true.

    Raises:
        Mismatch: They differ.
    """
    values = fields_of(sent)[2:-1]
    filled = []
    for place, (tag, awaited) in enumerate(envelope.fields(text)):
        value = awaited
        if place < len(values) and values[place][0] == tag:
            there = values[place][1]
            stamp = _STAMP.fullmatch(awaited)
            is_any = awaited == "*" and there
            if is_any or (stamp and is_time(there, envelope.stamp(float(stamp[1])))):
                value = there
        filled.append((tag, value))
    expected = envelope.frame(filled)
    if sent != expected:
        raise Mismatch(f"sent     {readable(sent)}\nexpected {readable(expected)}")


def readable(data: bytes) -> str:
    """Return bytes with `|` for SOH."""
    return data.replace(SOH, b"|").decode("latin-1")


def value_of(frame: bytes, tag: int) -> str | None:
    """Return a field of a message."""
    return next((value for found, value in fields_of(frame) if found == str(tag)), None)


def fields_of(frame: bytes) -> list[tuple[str, str]]:
    """Return the fields of a message, 8 and 9 first and 10 last."""
    parts = [part.partition("=") for part in frame.decode("latin-1").split("\x01")[:-1]]
    return [(tag, value) for tag, _, value in parts]

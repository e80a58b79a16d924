"""A FIX session on the bench: messages as text with `|`, a clock that the test moves, no wire.

`8`, `9`, `49`, `56`, `52` and `10` are added to what a test sends, unless it names them itself,
and left out of what it reads, so that a case shows what matters: `35=1|34=2|112=hello`.
"""

from typing import Any

from openoutcry.protocol.fix.events import Disconnect, Event
from openoutcry.protocol.fix.session import MemoryState, Role, Session, SessionConfig
from openoutcry.protocol.fix.stamps import format_utc_ms
from openoutcry.protocol.fix.store import MemoryStore

SOH = "\x01"
#: 2026-11-22 10:00:00 UTC.
START_MS = 1_795_341_600_000


def later_ms(seconds: float) -> int:
    """Return the time so many seconds after the start."""
    return START_MS + round(seconds * 1000)


#: A NewOrderSingle without its number.
ORDER = "11={0}|55=BTCUSDT|54=1|60=20261122-10:00:00.000|38=1|40=2|44=10|59=0"


def frame(
    text: str, *, sender: str, target: str, now_ms: int, begin: str | None = "FIX.4.4"
) -> bytes:
    """Build a whole message: header fields that the text does not name are added."""
    fields = [part.split("=", 1) for part in text.split("|")]
    named = {tag for tag, _ in fields}
    msg_type = fields[0]
    header = [msg_type]
    stamp = format_utc_ms(now_ms).decode()
    for tag, value in (("49", sender), ("56", target), ("52", stamp)):
        if tag not in named:
            header.append([tag, value])
    left_out = [field for field in fields[1:] if field[1] != "MISSING"]
    header_tags = {"34", "43", "49", "56", "52", "97", "115", "116", "122", "128", "129", "144"}
    header += [field for field in left_out if field[0] in header_tags]
    body = [field for field in left_out if field[0] not in header_tags]
    inner = "".join(f"{tag}={value}{SOH}" for tag, value in header + body).encode("latin-1")
    head = f"8={begin}{SOH}9={len(inner)}{SOH}".encode() + inner
    return head + f"10={sum(head) % 256:03d}{SOH}".encode()


def split(data: bytes) -> list[bytes]:
    """Cut a stream of whole messages by their BodyLength(9), and check their CheckSum(10)."""
    frames = []
    while data:
        begin, length, _ = data.split(b"\x01", 2)
        end = len(begin) + len(length) + 2 + int(length[2:]) + len(b"10=000|")
        one, data = data[:end], data[end:]
        assert one[-7:] == b"10=%03d\x01" % (sum(one[:-7]) % 256), one
        frames.append(one)
    return frames


def readable(one: bytes) -> str:
    """Return a message as text, without the fields that every message has."""
    fields = [part.partition("=") for part in one.decode("latin-1").split(SOH)[:-1]]
    hidden = {"8", "9", "49", "56", "52", "10"}
    return "|".join(f"{tag}={value}" for tag, _, value in fields if tag not in hidden)


def value_of(one: bytes, tag: int) -> str | None:
    """Return a field of a message."""
    for part in one.decode("latin-1").split(SOH)[:-1]:
        if part.startswith(f"{tag}="):
            return part.partition("=")[2]
    return None


class Bench:
    """A session, its clock, and the texts that go in and out."""

    def __init__(self, role: Role = Role.ACCEPTOR, **settings: Any) -> None:
        settings.setdefault("served_types", frozenset("DFGH8"))
        names = {"sender_comp_id": "US", "target_comp_id": "THEM"}
        self.config = SessionConfig(role=role, **(names | settings))
        self.state = MemoryState()
        self.store = MemoryStore()
        self.session = Session(self.config, self.state, self.store)
        self.now_ms = START_MS
        self.events: list[Event] = []
        #: How many numbers a call of `resend_slice` serves; 0 leaves resends to the test.
        self.slice = 100
        #: The whole messages of the last answer.
        self.frames: list[bytes] = []

    @property
    def numbers(self) -> tuple[int, int]:
        """Return what is due next from the peer, and to it."""
        return self.state.next_in, self.state.next_out

    def connect(self) -> list[str]:
        """Begin a connection."""
        return self._out(self.session.connected(self.now_ms))

    def log_on(self, text: str = "35=A|34=1|98=0|108=30") -> list[str]:
        """Begin a connection and exchange Logons: both numbers are 2 afterwards."""
        self.connect()
        return self.receive(text)

    def receive(self, text: str, *, begin: str | None = None) -> list[str]:
        """Give the session a message, and return what it sends; `closed` at the end says that."""
        begin = begin or self.config.begin_string
        one = frame(text, sender="THEM", target="US", now_ms=self.now_ms, begin=begin)
        return self._out(self.session.receive(one, self.now_ms))

    def advance(self, seconds: float) -> list[str]:
        """Move the clock, and return what the session sends of its own accord."""
        self.now_ms += round(seconds * 1000)
        return self._out(self.session.poll(self.now_ms))

    def send(self, cl_ord_id: str, msg_type: str = "D") -> list[str]:
        """Send an application message."""
        fields = [part.split("=", 1) for part in ORDER.format(cl_ord_id).split("|")]
        body = [(int(tag), value.encode()) for tag, value in fields]
        self.session.send_application(msg_type, body, self.now_ms)
        return self._out([])

    def act(self, events: list[Event]) -> list[str]:
        """Return what was sent by an action of the test's own, which returned these events."""
        return self._out(events)

    def cut(self) -> None:
        """Lose the connection."""
        self._out(self.session.connection_lost(self.now_ms))

    def _out(self, events: list[Event]) -> list[str]:
        self.events += events
        data = self.session.data_to_send()
        while self.slice and self.session.is_resending:
            data += self.session.resend_slice(self.now_ms, self.slice)
        self.frames = split(data)
        closed = ["closed"] if any(isinstance(e, Disconnect) for e in events) else []
        return [readable(one) for one in self.frames] + closed

    def take_events(self) -> list[Event]:
        """Return the events so far, and forget them."""
        events, self.events = self.events, []
        return events

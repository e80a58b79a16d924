"""An initiator and an acceptor on a fake wire that is cut and loses bytes where a seed says.

After any number of disconnects both sides have seen every application message of the other
exactly once and in order, whatever was on its way.
"""

import random
from collections.abc import Iterator

import pytest
from conformance.fix_harness import ORDER, START_MS, split

from openoutcry.protocol.fix.events import Application, Disconnect, Event
from openoutcry.protocol.fix.session import MemoryState, Role, Session, SessionConfig
from openoutcry.protocol.fix.store import MemoryStore
from openoutcry.protocol.fix.versions import Version


class Side:
    """One end of the wire."""

    def __init__(self, role: Role, version: Version, *, use_next_expected: bool) -> None:
        us, them = ("A", "B") if role is Role.ACCEPTOR else ("B", "A")
        config = SessionConfig(
            role=role,
            version=version,
            sender_comp_id=us,
            target_comp_id=them,
            heartbeat_s=30,
            use_next_expected=use_next_expected,
        )
        self.session = Session(config, MemoryState(), MemoryStore())
        self.seen: list[str] = []
        self.sent: list[str] = []
        #: Frames on their way to the other side.
        self.wire: list[bytes] = []
        self.is_closed = False

    def take(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, Application):
                self.seen.append((event.message.get(11) or b"").decode())
            elif isinstance(event, Disconnect):
                self.is_closed = True

    def send(self, name: str, now_ms: int) -> None:
        self.sent.append(name)
        fields = [part.split("=", 1) for part in ORDER.format(name).split("|")]
        if self.session.config.version < Version.FIX44:
            fields.append(["21", "1"])
        if self.session.config.version < Version.FIX42:
            fields = [field for field in fields if field[0] != "60"]
        self.session.send_application("D", [(int(t), v.encode()) for t, v in fields], now_ms)


class ConnectionPair:
    """Two sides, a clock, and a wire."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        version = Version(seed % len(Version))
        use_next_expected = version >= Version.FIX44 and seed // len(Version) % 2 == 1
        self.initiator = Side(Role.INITIATOR, version, use_next_expected=use_next_expected)
        self.acceptor = Side(Role.ACCEPTOR, version, use_next_expected=use_next_expected)
        self.now_ms = START_MS
        self.is_connected = False
        self.cuts = 0

    def sides(self) -> Iterator[tuple[Side, Side]]:
        yield self.initiator, self.acceptor
        yield self.acceptor, self.initiator

    def connect(self) -> None:
        for side, _ in self.sides():
            side.is_closed = False
            side.wire.clear()
            side.take(side.session.connected(self.now_ms))
        self.is_connected = True

    def cut(self) -> None:
        """Lose the connection, and with it a part of what is on its way."""
        for side, other in self.sides():
            kept = self.random.randint(0, len(side.wire))
            for one in side.wire[:kept]:
                other.take(other.session.receive(one, self.now_ms))
            side.wire.clear()
        for side, _ in self.sides():
            side.take(side.session.connection_lost(self.now_ms))
        self.is_connected = False
        self.cuts += 1

    def flush(self, side: Side) -> None:
        data = side.session.data_to_send()
        if side.session.is_resending:
            size = self.random.choice((1, 300, 10_000))
            data += side.session.resend_slice(self.now_ms, self.random.randint(1, 5), size)
        side.wire += split(data)

    def deliver(self, side: Side, other: Side, *, loss: float) -> None:
        """Deliver some frames; a lost one is a garbled one that the other side dropped."""
        for _ in range(self.random.randint(0, 6)):
            if side.wire and not other.is_closed:
                one = side.wire.pop(0)
                is_first = b"\x0135=A\x01" in one
                if self.random.random() < loss and not is_first:
                    other.take(other.session.receive_garbled(self.now_ms))
                else:
                    other.take(other.session.receive(one, self.now_ms))

    def step(self, *, loss: float) -> None:
        self.now_ms += self.random.choice((1, 10, 100, 2_000))
        for side, other in self.sides():
            self.flush(side)
            self.deliver(side, other, loss=loss)
            if self.is_connected:
                side.take(side.session.poll(self.now_ms))
        if self.is_connected and (self.initiator.is_closed or self.acceptor.is_closed):
            self.cut()

    def settle(self) -> None:
        """Run without losses until nothing is on its way; a heartbeat shows the last gap."""
        for _ in range(3_000):
            if not self.is_connected:
                self.connect()
            self.now_ms += 1_000
            self.step(loss=0)


@pytest.mark.parametrize("seed", range(32))
def test_every_message_arrives_once_and_in_order(seed: int) -> None:
    pair = ConnectionPair(seed)
    names = {pair.initiator: "i", pair.acceptor: "a"}
    for turn in range(600):
        if not pair.is_connected and pair.random.random() < 0.5:
            pair.connect()
        for side, _ in pair.sides():
            if pair.random.random() < 0.5:
                side.send(f"{names[side]}{turn}", pair.now_ms)
        if pair.is_connected and pair.random.random() < 0.03:
            pair.cut()
        pair.step(loss=0.02)
    pair.settle()
    assert pair.cuts > 5
    for side, other in pair.sides():
        assert other.seen == side.sent
        assert side.session.is_live

"""Run a row of the table on a fake wire with a fake clock: acceptor or initiator."""

from typing import Any

from conformance.table import Row, Step
from conformance.wire import Envelope, Mismatch, check, readable, split, value_of

from openoutcry.protocol.fix.dictionary import CustomField, FieldType, dictionary
from openoutcry.protocol.fix.events import Application, Disconnect, Event
from openoutcry.protocol.fix.session import MemoryState, Role, Session, SessionConfig
from openoutcry.protocol.fix.store import MemoryStore
from openoutcry.protocol.fix.stream import FrameReader
from openoutcry.protocol.fix.versions import Version

#: 2026-11-22 10:00:00 UTC.
START_MS = 1_795_341_600_000
#: The CompIDs of what we send.
OURS = ("US", "THEM")


class FakeWire:
    """A session, its clock and its wire."""

    def __init__(self, row: Row, version: Version, role: str) -> None:
        settings: dict[str, Any] = {"served_types": frozenset("DFGH8"), **row.settings}
        is_lenient, custom = settings.pop("lenient", False), settings.pop("custom", ())
        fields = [CustomField(tag, name, FieldType[kind]) for tag, name, kind in custom]
        own = None
        if is_lenient or fields:
            own = dictionary(version).with_fields(fields, lenient=is_lenient)
        config = SessionConfig(
            sender_comp_id=OURS[0],
            target_comp_id=OURS[1],
            role=Role(role),
            version=version,
            dictionary=own,
            **settings,
        )
        self.version = version
        self.state = MemoryState(*row.before)
        self.session = Session(config, self.state, MemoryStore())
        self.now_ms = START_MS
        self.events: list[Event] = []
        self._reader = FrameReader()
        self._is_open = False

    def run(self, step: Step) -> None:
        """Let something happen, and check the answers."""
        events = self._act(step)
        self.events += events
        data = self.session.data_to_send()
        while self.session.is_resending:
            data += self.session.resend_slice(self.now_ms, 2)
        frames, rest = split(data)
        assert not rest, readable(rest)
        is_closed = any(isinstance(event, Disconnect) for event in events)
        envelope = Envelope(self.version, *OURS, self.now_ms)
        what = f"{step.action} {step.text}"
        for frame, text in zip(frames, step.messages, strict=False):
            try:
                check(frame, text, envelope, str.__eq__)
            except Mismatch as error:
                raise Mismatch(f"after {what}:\n{error}") from None
        sent = [readable(frame) for frame in frames]
        assert len(sent) == len(step.messages), (what, sent, step.messages)
        assert is_closed == step.closes, (what, sent, "closed" if is_closed else "not closed")
        if is_closed:
            self._lose()

    def _act(self, step: Step) -> list[Event]:
        now_ms = self.now_ms
        them = Envelope(self.version, *OURS[::-1], now_ms)
        match step.action:
            case "connect":
                self._lose()
                self._reader = FrameReader()
                self._is_open = True
                return self.session.connected(now_ms)
            case "cut":
                return self._lose()
            case ">":
                return self._receive(them.message(step.text))
            case ">1":
                return [
                    event
                    for byte in them.message(step.text)
                    for event in self._receive(bytes([byte]))
                ]
            case ">>":
                return self._receive(them.raw(step.text))
            case "wait":
                self.now_ms += round(float(step.text) * 1000)
                return self.session.poll(self.now_ms)
            case "send":
                msg_type, *fields = them.fields(step.text)
                body = [(int(tag), value.encode()) for tag, value in fields if tag not in _HEADER]
                self.session.send_application(msg_type[1], body, now_ms)
                return []
            case "logout":
                return self.session.logout(step.text, now_ms)
            case "reset":
                return self.session.reset_numbers(now_ms)
            case "end":
                return self.session.end_session(step.text, now_ms)
            case "begin":
                self.session.reset()
                self.session.accept_logons()
                return []
            case "probe":
                return self.session.probe(now_ms, round(float(step.text) * 1000))
        raise ValueError(f"no such step: {step.action}")

    def _receive(self, data: bytes) -> list[Event]:
        events: list[Event] = []
        for frame in self._reader.feed(data):
            if frame is None:
                events += self.session.receive_garbled(self.now_ms)
            else:
                events += self.session.receive(frame, self.now_ms)
        return events

    def _lose(self) -> list[Event]:
        if not self._is_open:
            return []
        self._is_open = False
        return self.session.connection_lost(self.now_ms)

    @property
    def applied(self) -> tuple[str, ...]:
        """Return the ClOrdIDs that reached the application."""
        messages = [event.message for event in self.events if isinstance(event, Application)]
        return tuple(value_of(message.frame, 11) or message.msg_type for message in messages)


_HEADER = frozenset({"49", "56", "34", "52"})


def run(row: Row, version: Version, role: str) -> None:
    """Run a row, and check how it ends."""
    wire = FakeWire(row, version, role)
    for step in row.expand(version, role):
        wire.run(step)
    numbers = (wire.state.next_in, wire.state.next_out)
    assert row.numbers in (None, numbers), (row.numbers, numbers)
    assert wire.session.is_gap_pending == row.gap
    assert wire.applied == row.applied

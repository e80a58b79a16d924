"""Random peers and owners: a session never fails, never sends what its version does not define,
and never asks to be polled without an end."""

import contextlib
import random
from collections.abc import Callable

import pytest
from conformance.fix_harness import START_MS, frame, split

from openoutcry.protocol.fix.dictionary import dictionary
from openoutcry.protocol.fix.enums import SessionStatus
from openoutcry.protocol.fix.events import Application, Disconnect, Event
from openoutcry.protocol.fix.message import parse
from openoutcry.protocol.fix.session import (
    LocalProtocolError,
    MemoryState,
    Role,
    Session,
    SessionConfig,
    State,
)
from openoutcry.protocol.fix.store import MemoryStore
from openoutcry.protocol.fix.validate import validate
from openoutcry.protocol.fix.versions import VERSIONS, Version

_TYPES = [*"001122344ADDD8jR", "ZZ", "\xe4"]
_NUMBERS = ["", "0", "-1", "x", "1", "2", "3", "7", "999999", "123456789012345678", "1" * 19]
_TEXTS = ["", "Y", "N", "x", "30", "0", "-1", "US", "secret", "20261122-09:59:00", "\xe4"]
_TAGS = [7, 16, 36, 45, 98, 108, 112, 123, 141, 383, 464, 553, 554, 789, 925, 1137, 1409, 55, 999]
_HEADER_TAGS = [115, 116, 128, 144, 145, 97, 369, 1128]


class Fuzz:
    """A session between a random peer and a random owner."""

    def __init__(self, version: Version, role: Role, seed: int) -> None:
        self.random = random.Random(seed)
        self.version = version
        self.facts = dictionary(version)
        config = SessionConfig(
            role=role,
            version=version,
            dictionary=self.facts.with_fields(lenient=True) if seed % 3 == 2 else None,
            sender_comp_id="US",
            target_comp_id="THEM",
            password="secret" if self.random.random() < 0.3 else None,
            change_password=lambda new: new != b"x",
            is_reset_allowed=self.random.random() < 0.7,
            sends_last_processed=self.random.random() < 0.5,
            use_next_expected=self.random.random() < 0.5,
            max_message_size=self.random.choice((0, 400)),
            is_test=self.random.choice((None, True, False)),
            max_queued=self.random.choice((2, 10_000)),
        )
        self.state = MemoryState()
        self.session = Session(config, self.state, MemoryStore())
        self.now_ms = START_MS
        self.is_closed = False
        self.applied: list[int] = []

    def step(self) -> None:
        if self.session.connection is State.DISCONNECTED:
            if self.random.random() < 0.8:
                self.session.accept_logons()
            if self.random.random() < 0.02:
                self.session.reset()
            self.take(self.session.connected(self.now_ms))
            self.receive(f"35=A|34={self.state.next_in}|98=0|108=30{self.logon_end()}")
        elif self.is_closed or self.random.random() < 0.01:
            self.take(self.session.connection_lost(self.now_ms))
            self.is_closed = False
        else:
            self.random.choice(self.actions())()
        self.flush()
        self.check_timer()

    def actions(self) -> list[Callable[[], None]]:
        session = self.session
        often = [self.peer] * 12 + [self.wait, self.send]
        rare = [
            lambda: self.take(session.probe(self.now_ms, self.random.choice((1, 5_000)))),
            lambda: session.refuse_logons("not now", self.random.choice(list(SessionStatus)[5:])),
            session.accept_logons,
            lambda: self.take(session.logout("bye", self.now_ms)),
            lambda: self.take(session.end_session("over", self.now_ms)),
            lambda: self.take(session.receive_garbled(self.now_ms)),
            self.reset_numbers,
            self.reset,
        ]
        return often if self.random.random() < 0.93 else rare

    def reset_numbers(self) -> None:
        try:
            self.take(self.session.reset_numbers(self.now_ms))
        except LocalProtocolError:
            assert not self.session.is_logged_on or self.version is Version.FIX40

    def reset(self) -> None:
        with pytest.raises(LocalProtocolError, match="reset while"):
            self.session.reset()

    def wait(self) -> None:
        self.now_ms += self.random.choice((1, 1_000, 30_000, 36_000, 150_000, -5_000))
        self.take(self.session.poll(self.now_ms))

    def send(self) -> None:
        fields = [(11, b"x"), (21, b"1"), (55, b"S"), (54, b"1"), (38, b"1"), (40, b"1")]
        if self.version >= Version.FIX42:
            fields.append((60, b"20261122-10:00:00"))
        # A Logon may have said that its sender takes next to nothing.
        with contextlib.suppress(ValueError):
            self.session.send_application("D", fields, self.now_ms)

    def peer(self) -> None:
        """Send something in which this or that is wrong."""
        rnd = self.random
        kind = rnd.choice(_TYPES)
        number = str(self.state.next_in + rnd.choice((0, 0, 0, 0, 0, 0, 1, 2)))
        if rnd.random() < 0.02:
            number = rnd.choice((*_NUMBERS, str(self.state.next_in - 1)))
        header = [f"35={kind}", f"34={number}"]
        if rnd.random() < 0.2:
            first = rnd.choice(("20261122-09:59:00", "", "x", "20991122-09:59:00"))
            header += ["43=Y", f"122={first}"]
        header += [f"{tag}={rnd.choice(_TEXTS)}" for tag in _HEADER_TAGS if rnd.random() < 0.04]
        body = {
            "1": ["112=x"],
            "2": [f"7={rnd.choice(_NUMBERS)}", f"16={rnd.choice(_NUMBERS)}"],
            "3": [f"45={number}"],
            "4": [f"36={self.new_seq_no()}", *rnd.choice(([], ["123=Y"], ["123=N"]))],
            "A": ["98=0", "108=30", *rnd.choice(([], ["141=Y"]))],
            "D": self.order(),
            "j": ["45=1", "372=D", "380=0"],
        }.get(kind, [])
        if kind == "A":
            header[1] = rnd.choice((header[1], "34=1"))
            body.append(self.logon_end().lstrip("|"))
        body += [f"{tag}={rnd.choice(_TEXTS)}" for tag in _TAGS if rnd.random() < 0.03]
        if rnd.random() < 0.05:
            rnd.shuffle(body)
        self.receive("|".join(part for part in header + body if part))

    def new_seq_no(self) -> str:
        if self.random.random() < 0.2:
            return self.random.choice(_NUMBERS[:8])
        return str(self.state.next_in + self.random.randint(-1, 3))

    def order(self) -> list[str]:
        when = ["60=20261122-10:00:00"] if self.version >= Version.FIX42 else []
        return ["11=x", "21=1", "55=S", "54=1", "38=1", "40=1", *when]

    def logon_end(self) -> str:
        appl = f"|1137={self.version.appl_ver_id.decode()}" if self.version.is_fixt else ""
        if self.random.random() < 0.1:
            return appl
        return appl + ("|554=secret" if self.version >= Version.FIX43 else "|95=6|96=secret")

    def receive(self, text: str) -> None:
        sender = "THEM" if self.random.random() < 0.995 else "WHO"
        begin = self.version.begin_string if self.random.random() < 0.998 else "FIX.4.1"
        one = frame(text, sender=sender, target="US", now_ms=self.now_ms, begin=begin)
        before = self.state.next_in
        events = self.session.receive(one, self.now_ms)
        self.take(events)
        if any(isinstance(event, Application) for event in events):
            assert self.state.next_in > before

    def take(self, events: list[Event]) -> None:
        for event in events:
            assert not self.is_closed, "an event behind Disconnect"
            if isinstance(event, Disconnect):
                self.is_closed = True

    def flush(self) -> None:
        data = self.session.data_to_send()
        if self.session.is_resending and self.random.random() < 0.7:
            limit, size = self.random.choice(((1, 1), (3, 500), (100, 10_000)))
            data += self.session.resend_slice(self.now_ms, limit, size)
        for one in split(data):
            problem = validate(parse(one), self.facts)
            assert problem is None, (one, problem)

    def check_timer(self) -> None:
        """See that a poll at the time that was given settles what was due."""
        due_ms = self.session.next_timeout_ms()
        if due_ms is not None and due_ms <= self.now_ms:
            self.take(self.session.poll(self.now_ms))
            due_ms = self.session.next_timeout_ms()
            assert due_ms is None or due_ms > self.now_ms


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("version", list(Version), ids=list(VERSIONS))
def test_random_peers(version: Version, role: Role, seed: int) -> None:
    fuzz = Fuzz(version, role, seed)
    for _ in range(400):
        fuzz.step()

"""What the parts of a FIX session share: state, timers' marks, events, and the ways out."""

from collections.abc import Iterable

from openoutcry.protocol.fix.dictionary import Dictionary, dictionary
from openoutcry.protocol.fix.enums import BusinessRejectReason, SessionStatus
from openoutcry.protocol.fix.enums import SessionRejectReason as Reason
from openoutcry.protocol.fix.events import (
    Disconnect,
    Event,
    GapDetected,
    GapFilled,
    LoggedOut,
    MessageRejected,
    NumbersReset,
    ResendStarted,
)
from openoutcry.protocol.fix.gap import Gap
from openoutcry.protocol.fix.logon import as_int
from openoutcry.protocol.fix.message import Message, Problem, validate
from openoutcry.protocol.fix.outbox import Outbox, route_back
from openoutcry.protocol.fix.session_config import SessionConfig, SessionState
from openoutcry.protocol.fix.session_table import State, Trigger, next_state
from openoutcry.protocol.fix.store import MessageStore
from openoutcry.protocol.fix.versions import Version

Fields = Iterable[tuple[int, bytes]]

_ADMINISTRATIVE = frozenset("012345A")
_ROUTE_VALUE_MAX = 256
_BY_APPL_VER_ID = {version.appl_ver_id: version for version in Version if version.is_fixt}


class SessionCore:
    """The state of a session, and the steps that Logon and later messages have in common."""

    def __init__(self, config: SessionConfig, state: SessionState, store: MessageStore) -> None:
        self.config = config
        self.state = state
        self.store = store
        self.connection = State.DISCONNECTED
        #: HeartBtInt(108) as agreed.
        self.heartbeat_s = 0
        #: MaxMessageSize(383) from the peer's Logon; 0 means none.
        self.peer_max_message_size = 0
        #: What a message is held against, and what ours may say.
        self.facts = config.dictionary or dictionary(config.version)
        self.outbox = Outbox(config, state, store, self._own_header)
        self.gap = Gap(config.max_queued)
        self.events: list[Event] = []
        self.last_received_ms = 0
        #: When a TestRequest was sent that nothing has followed yet.
        self.test_request_ms: int | None = None
        #: When the peer's Logon or Logout is due.
        self.deadline_ms = 0
        #: When the peer must have shown that it lives, where somebody wants to know.
        self.probe_deadline_ms: int | None = None
        #: Why no Logon is accepted now, None where they are; and its SessionStatus(1409).
        self.closed_text: str | None = None
        self.closed_status = SessionStatus.LOGONS_NOT_ALLOWED
        #: We asked for a reset of both directions, and the peer has not yet agreed.
        self.is_reset_pending = False
        self.sender = config.sender_comp_id.encode()
        self.target = config.target_comp_id.encode()
        self.begin_string = config.begin_string.encode()
        #: EndSeqNo(16) of a ResendRequest that asks for all there is.
        self.no_end = b"0" if config.version >= Version.FIX42 else b"999999"

    def move(self, trigger: Trigger) -> None:
        """Go to the state that follows."""
        self.connection = next_state(self.connection, trigger)

    def take_events(self) -> list[Event]:
        """Return the events so far, and forget them."""
        events, self.events = self.events, []
        return events

    def note_life(self, now_ms: int) -> None:
        """Note that something has come."""
        self.last_received_ms = now_ms
        self.test_request_ms = None
        self.probe_deadline_ms = None

    # -- dictionaries

    def application_version(self, message: Message) -> Version | None:
        """Return the version of a message's content; None where ApplVerID(1128) is none of ours."""
        code = message.get(1128)
        if not code or not self.config.version.is_fixt or message.msg_type in _ADMINISTRATIVE:
            return self.config.version
        return _BY_APPL_VER_ID.get(code)

    def judge(self, message: Message) -> Problem | None:
        """Hold a message against the dictionary of its version."""
        version = self.application_version(message)
        if version is None:
            text = "Unsupported application version: ApplVerID(1128)"
            reason = Reason.UNSUPPORTED_APPLICATION_VERSION
            return Problem(1128, message.msg_type, reason, text)
        return validate(message, self._facts_of(version))

    def _facts_of(self, version: Version) -> Dictionary:
        if version is self.config.version:
            return self.facts
        facts = dictionary(version)
        return facts.with_fields(lenient=True) if self.facts.is_lenient else facts

    def _defined(self, msg_type: str, fields: Fields) -> Fields:
        """Leave out what the session's version does not have in a message."""
        allowed = self.facts.messages[msg_type].allowed
        return [field for field in fields if field[0] in allowed]

    def has_code(self, tag: int, code: int) -> bool:
        """Whether the session's version has a code of a field."""
        return b"%d" % code in self.facts.enumerations.get(tag, ())

    def _own_header(self) -> Fields:
        """Return what every header of ours has beside the usual."""
        if self.config.sends_last_processed and 369 in self.facts.header_tags:
            return [*self.config.header, (369, b"%d" % (self.state.next_in - 1))]
        return self.config.header

    def _route_back(self, message: Message) -> Fields:
        # Longer values would make an answer larger than any other message of ours.
        return [
            (tag, value)
            for tag, value in route_back(message)
            if tag in self.facts.header_tags and len(value) <= _ROUTE_VALUE_MAX
        ]

    # -- numbers

    def take_number(self, number: int) -> None:
        """Consume a number if it is the one that is due."""
        if number == self.state.next_in:
            self.state.next_in = number + 1

    def reset_out(self) -> None:
        """Begin our direction again at 1."""
        self.outbox.abort_resend()
        self.store.reset()
        self.state.next_out = 1

    def reset_in(self) -> None:
        """Begin the peer's direction again at 1: both have done so then."""
        self.gap.forget()
        self.state.next_in = 1
        self.events.append(NumbersReset())

    # -- what is missing on either side

    def open_gap(self, last: int, now_ms: int, *, is_asked: bool) -> None:
        """Ask for what is missing, once; `is_asked` where the peer resends of its own accord."""
        self.gap.open(last)
        self._await_gap(now_ms)
        self.events.append(GapDetected(self.state.next_in, last))
        if not is_asked:
            self.request_resend(now_ms)

    def request_resend(self, now_ms: int) -> None:
        """Ask for everything from Expected on."""
        self.gap.note_request()
        self._await_gap(now_ms)
        self.send("2", [(7, b"%d" % self.state.next_in), (16, self.no_end)], now_ms)

    def _await_gap(self, now_ms: int) -> None:
        self.gap.wait(self.state.next_in, now_ms + self.config.gap_timeout_ms)

    def note_gap_filled(self) -> None:
        """Tell the owner where the gap's last number has come."""
        if self.gap.close_if_filled(self.state.next_in):
            self.events.append(GapFilled())

    def start_resend(self, first: int, last: int) -> None:
        """Begin to send a range again."""
        self.outbox.start_resend(first, last)
        self.events.append(ResendStarted(first, last))

    # -- ways out

    def send(
        self,
        msg_type: str,
        fields: Fields,
        now_ms: int,
        *,
        header: Fields = (),
        agreed: Fields = (),
        answers: int = 0,
    ) -> int:
        """Number, record and queue an administrative message, without what the version lacks.

        The `agreed` fields behind it go out whatever the dictionary says.
        """
        body = [*self._defined(msg_type, fields), *agreed]
        return self.outbox.send(
            msg_type, body, now_ms, header=header, is_admin=True, answers=answers
        )

    def send_application(
        self,
        msg_type: str,
        fields: Fields,
        now_ms: int,
        *,
        header: Fields = (),
        answers: int = 0,
    ) -> int:
        """Number, record and, where the connection is open for it, queue a message.

        Raises:
            ValueError: It is larger than the peer takes.
        """
        return self.outbox.send(
            msg_type,
            fields,
            now_ms,
            header=header,
            is_admin=False,
            is_open=self.connection is State.ACTIVE,
            max_size=self.peer_max_message_size,
            answers=answers,
        )

    def reject(
        self, message: Message, reason: int, now_ms: int, *, ref_tag: int | None, text: str
    ) -> int:
        """Send a Reject(3) with what the version lets it say."""
        return self._reject(message, reason, now_ms, ref_tag, text, message.seq_num or 0)

    def _reject(
        self,
        message: Message,
        reason: int,
        now_ms: int,
        ref_tag: int | None,
        text: str,
        answers: int,
    ) -> int:
        fields = [(45, b"%d" % (message.seq_num or 0))]
        if ref_tag is not None:
            fields.append((371, b"%d" % ref_tag))
        if message.msg_type:
            fields.append((372, message.msg_type.encode("latin-1")))
        if self.has_code(373, reason):
            fields.append((373, b"%d" % reason))
        if text:
            fields.append((58, text.encode()))
        header = self._route_back(message)
        return self.send("3", fields, now_ms, header=header, answers=answers)

    def business_reject(
        self,
        message: Message,
        reason: int,
        now_ms: int,
        *,
        ref_id: bytes,
        text: str,
        is_answer: bool = True,
    ) -> int:
        """Send a BusinessMessageReject(j), or what the version has in its place."""
        answers = (message.seq_num or 0) if is_answer else 0
        if "j" not in self.facts.messages:
            return self._reject(message, reason, now_ms, None, text, answers)
        fields = [(45, b"%d" % (message.seq_num or 0)), (372, message.msg_type.encode())]
        if ref_id:
            fields.append((379, ref_id))
        known = reason if self.has_code(380, reason) else BusinessRejectReason.OTHER
        fields.append((380, b"%d" % known))
        if text:
            fields.append((58, text.encode()))
        header = self._route_back(message)
        return self.send_application("j", fields, now_ms, header=header, answers=answers)

    def refuse(
        self, message: Message, reason: int, ref_tag: int | None, text: str, now_ms: int
    ) -> None:
        """Answer with Reject(3), but never a Reject, and tell the owner."""
        if message.msg_type == "3":
            return
        number = as_int(message.get(34)) or 0
        self.events.append(
            MessageRejected(number, message.msg_type, reason, ref_tag, text, is_business=False)
        )
        self.reject(message, reason, now_ms, ref_tag=ref_tag, text=text)

    def reject_fatally(
        self, message: Message, reason: int, ref_tag: int, text: str, now_ms: int
    ) -> None:
        """Refuse a message, consume its number, and end the session."""
        self.outbox.abort_resend()
        self.take_number(as_int(message.get(34)) or 0)
        self.refuse(message, reason, ref_tag, text, now_ms)
        self.fatal(text, text, now_ms)

    def send_logout(self, text: str, now_ms: int, *, status: SessionStatus | None = None) -> None:
        """Send a Logout."""
        self.send("5", _logout_fields(text, status), now_ms)

    def turn_away(self, number: int, text: str, status: SessionStatus | None, now_ms: int) -> None:
        """Refuse a Logon with a Logout that takes no number, since it is not for the session."""
        fields = self._defined("5", _logout_fields(text, status))
        self.outbox.send_beside("5", number, fields, now_ms)
        self.events.append(LoggedOut(text, by_peer=False))
        self.close("Logon refused")

    def fatal(self, reason: str, text: str, now_ms: int) -> None:
        """Send a Logout that says why, past a running resend, and close at once."""
        self.outbox.abort_resend()
        if self.connection is not State.LOGOUT_SENT:
            self.send_logout(text, now_ms)
        self.events.append(LoggedOut(text, by_peer=False))
        self.close(reason)

    def close(self, reason: str, *, is_error: bool = True) -> None:
        """Ask the owner to close the connection."""
        self.move(Trigger.FINISHED)
        self.events.append(Disconnect(reason, is_error))


def text_of(message: Message) -> str:
    """Return Text(58)."""
    return (message.get(58) or b"").decode("latin-1")


def status_of(message: Message) -> int | None:
    """Return SessionStatus(1409)."""
    return as_int(message.get(1409))


def _logout_fields(text: str, status: SessionStatus | None) -> Fields:
    fields = [] if status is None else [(1409, b"%d" % status)]
    return [*fields, (58, text.encode())] if text else fields

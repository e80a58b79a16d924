"""Every message behind the Logon: what ends the session, its number, then the message itself."""

from collections.abc import Callable

from openoutcry.protocol.fix.enums import BusinessRejectReason, SessionStatus
from openoutcry.protocol.fix.enums import SessionRejectReason as Reason
from openoutcry.protocol.fix.events import (
    Application,
    LoggedOut,
    MessageRejected,
    RejectReceived,
)
from openoutcry.protocol.fix.logon import as_int, too_low_text
from openoutcry.protocol.fix.message import Message
from openoutcry.protocol.fix.session_core import SessionCore, status_of, text_of
from openoutcry.protocol.fix.session_table import State
from openoutcry.protocol.fix.stamps import parse_utc_ms

_YES = b"Y"
_RESENT_EARLY = "OrigSendingTime(122) after SendingTime(52)"

Handler = Callable[[Message, int], None]


def passes_envelope(core: SessionCore, message: Message, now_ms: int) -> bool:
    """Check what ends the session: BeginString, CompIDs, MsgSeqNum, SendingTime."""
    if message.get(8) != core.begin_string:
        core.fatal("BeginString", "Incorrect BeginString", now_ms)
        return False
    for tag, awaited in ((49, core.target), (56, core.sender)):
        value = message.get(tag)
        if value and value != awaited:
            core.reject_fatally(message, Reason.COMP_ID_PROBLEM, tag, "CompID problem", now_ms)
            return False
    number = as_int(message.get(34))
    if number is None or number < 0:
        core.fatal("MsgSeqNum missing", "Required tag missing: MsgSeqNum(34)", now_ms)
        return False
    if is_sending_time_off(core, message, now_ms):
        text = "SendingTime accuracy problem"
        core.reject_fatally(message, Reason.SENDING_TIME_ACCURACY, 52, text, now_ms)
        return False
    return True


def is_sending_time_off(core: SessionCore, message: Message, now_ms: int) -> bool:
    """Whether SendingTime(52) is too far from our clock."""
    sent_ms = parse_utc_ms(message.get(52) or b"")
    window_ms = core.config.sending_time_window_ms
    return bool(window_ms) and sent_ms is not None and abs(now_ms - sent_ms) > window_ms


def _is_resent_early(message: Message) -> bool:
    """Whether a message claims to be sent again before it was first sent."""
    if message.get(43) != _YES:
        return False
    first_ms, sent_ms = (parse_utc_ms(message.get(tag) or b"") for tag in (122, 52))
    return first_ms is not None and sent_ms is not None and first_ms > sent_ms


class Inbound:
    """What a live session does with the messages that it gets."""

    def __init__(self, core: SessionCore, on_reset_logon: Handler) -> None:
        self._core = core
        self._on_reset_logon = on_reset_logon
        self._admin: dict[str, Handler] = {
            "0": self._on_heartbeat,
            "1": self._on_test_request,
            "2": self._on_resend_request,
            "3": self._on_reject,
            "4": self._on_gap_fill,
            "5": self._on_logout,
            "A": self._on_second_logon,
        }

    def take(self, message: Message, now_ms: int) -> None:
        """Take one message in."""
        core = self._core
        if not passes_envelope(core, message, now_ms):
            return
        if message.msg_type == "4" and message.get(123) != _YES:
            self._on_sequence_reset(message, now_ms)
            return
        is_poss_dup = message.get(43) == _YES
        if message.msg_type == "A" and message.get(141) == _YES and not is_poss_dup:
            self._on_reset_logon(message, now_ms)
            return
        number = as_int(message.get(34)) or 0
        expected = core.state.next_in
        if number < expected:
            self._on_too_low(message, number, now_ms)
        elif number > expected:
            self._on_too_high(message, number, now_ms)
        else:
            self._process(message, now_ms)
            self._drain(now_ms)

    def _process(self, message: Message, now_ms: int) -> None:
        """Consume the number that was due, and act on the message."""
        core = self._core
        is_answered = core.config.is_answered
        was_answered = is_answered is not None and is_answered(core.state.next_in)
        core.state.next_in += 1
        msg_type = message.msg_type
        if was_answered and msg_type not in self._admin:
            return
        problem = core.judge(message)
        # A Logout is honoured, however it is made.
        if problem is not None and msg_type != "5":
            core.refuse(message, problem.reason, problem.ref_tag, problem.text, now_ms)
            return
        handle = self._admin.get(msg_type)
        if handle is not None:
            handle(message, now_ms)
        elif _is_resent_early(message):
            core.refuse(message, Reason.SENDING_TIME_ACCURACY, 122, _RESENT_EARLY, now_ms)
        elif msg_type in core.config.served_types or msg_type == "j":
            version = core.application_version(message) or core.config.version
            is_poss_dup, is_poss_resend = message.get(43) == _YES, message.get(97) == _YES
            core.events.append(Application(message, is_poss_dup, is_poss_resend, version))
        else:
            self._refuse_type(message, now_ms)

    def _refuse_type(self, message: Message, now_ms: int) -> None:
        """Answer a message that is good FIX, but not served here."""
        reason, text = BusinessRejectReason.UNSUPPORTED_MESSAGE_TYPE, "Unsupported message type"
        number = as_int(message.get(34)) or 0
        self._core.events.append(
            MessageRejected(number, message.msg_type, reason, None, text, is_business=True)
        )
        ref_id = message.get(11) or b""
        self._core.business_reject(message, reason, now_ms, ref_id=ref_id, text=text)

    # -- numbers

    def _on_too_low(self, message: Message, number: int, now_ms: int) -> None:
        core = self._core
        if core.connection is State.LOGOUT_SENT and message.msg_type == "5":
            self._on_logout(message, now_ms)
            return
        if message.get(43) != _YES:
            core.fatal("MsgSeqNum too low", too_low_text(core.state.next_in, number), now_ms)
            return
        first_sent = message.get(122)
        if not first_sent:
            is_empty = (122, b"") in message.fields
            reason = Reason.NO_VALUE if is_empty else Reason.REQUIRED_TAG_MISSING
            core.refuse(message, reason, 122, "OrigSendingTime(122) required", now_ms)
            return
        if parse_utc_ms(first_sent) is None:
            text = "Incorrect data format for OrigSendingTime(122)"
            core.refuse(message, Reason.INCORRECT_FORMAT, 122, text, now_ms)
        elif _is_resent_early(message):
            reason = Reason.SENDING_TIME_ACCURACY
            core.reject_fatally(message, reason, 122, _RESENT_EARLY, now_ms)

    def _on_too_high(self, message: Message, number: int, now_ms: int) -> None:
        core = self._core
        if message.msg_type == "5":
            self._on_logout(message, now_ms)
            return
        kept: Message | None = message
        if message.msg_type == "2" and number not in core.gap and core.judge(message) is None:
            self._on_resend_request(message, now_ms)
            kept = None
        core.gap.enqueue(number, kept)
        if not core.gap.is_open:
            core.open_gap(number - 1, now_ms, is_asked=False)

    def _drain(self, now_ms: int) -> None:
        """Process what was queued above a gap, as far as it follows on; ask for the next gap."""
        core = self._core
        core.note_gap_filled()
        while core.state.next_in in core.gap and core.connection is not State.CLOSING:
            message = core.gap.take(core.state.next_in)
            if message is None:
                core.state.next_in += 1
            else:
                self._process(message, now_ms)
            core.note_gap_filled()
        if core.gap.is_open or core.connection is State.CLOSING:
            return
        lowest = core.gap.lowest_above(core.state.next_in)
        if lowest is not None:
            core.open_gap(lowest - 1, now_ms, is_asked=False)

    # -- administrative messages

    def _on_heartbeat(self, message: Message, now_ms: int) -> None:
        """Do nothing: any message has stopped the timer."""

    def _on_test_request(self, message: Message, now_ms: int) -> None:
        fields = [(112, message.get(112) or b"")]
        self._core.send("0", fields, now_ms, answers=message.seq_num or 0)

    def _on_resend_request(self, message: Message, now_ms: int) -> None:
        core = self._core
        first, last = as_int(message.get(7)) or 0, as_int(message.get(16)) or 0
        if message.get(16) == core.no_end:
            last = 0
        sent = core.outbox.last_sent
        if first < 1 or (last and last < first) or first > sent:
            text = f"BeginSeqNo(7) must be between 1 and {sent}, and not above EndSeqNo(16)"
            core.refuse(message, Reason.VALUE_INCORRECT, 7, text, now_ms)
            return
        core.start_resend(first, sent if last == 0 else min(last, sent))

    def _on_reject(self, message: Message, now_ms: int) -> None:
        self._core.events.append(RejectReceived(message))

    def _on_gap_fill(self, message: Message, now_ms: int) -> None:
        """Skip to NewSeqNo(36); the message's own number, the first skipped, is consumed."""
        core = self._core
        new_seq_no = as_int(message.get(36)) or 0
        due = core.state.next_in - 1
        if new_seq_no > due:
            core.state.next_in = new_seq_no
            return
        core.state.next_in = due
        if new_seq_no < due:
            self._reject_new_seq_no(message, due, new_seq_no, now_ms)
        else:
            text = f"NewSeqNo(36) of a gap fill must be above its MsgSeqNum(34), {due}"
            core.refuse(message, Reason.VALUE_INCORRECT, 36, text, now_ms)

    def _on_sequence_reset(self, message: Message, now_ms: int) -> None:
        """Begin anew at NewSeqNo(36), whatever the message's own number."""
        core = self._core
        problem = core.judge(message)
        if problem is not None:
            core.take_number(as_int(message.get(34)) or 0)
            core.refuse(message, problem.reason, problem.ref_tag, problem.text, now_ms)
            self._drain(now_ms)
            return
        new_seq_no = as_int(message.get(36)) or 0
        if new_seq_no < core.state.next_in:
            self._reject_new_seq_no(message, core.state.next_in, new_seq_no, now_ms)
        elif new_seq_no > core.state.next_in:
            # Whatever is queued bears a number that the peer has given up, or will use again.
            core.gap.forget()
            core.state.next_in = new_seq_no

    def _reject_new_seq_no(self, message: Message, expected: int, got: int, now_ms: int) -> None:
        text = f"NewSeqNo(36) too low, expecting at least {expected} but received {got}"
        self._core.refuse(message, Reason.VALUE_INCORRECT, 36, text, now_ms)

    def _on_logout(self, message: Message, now_ms: int) -> None:
        """Confirm the peer's Logout, or take it as the confirmation of ours."""
        core = self._core
        is_ours = core.connection is State.LOGOUT_SENT
        core.take_number(as_int(message.get(34)) or 0)
        core.events.append(LoggedOut(text_of(message), not is_ours, status_of(message)))
        if not is_ours:
            core.outbox.abort_resend()
            core.send_logout("", now_ms, status=SessionStatus.LOGOUT_COMPLETE)
        core.close("logout", is_error=False)

    def _on_second_logon(self, message: Message, now_ms: int) -> None:
        self._core.refuse(message, Reason.OTHER, None, "Already logged on", now_ms)

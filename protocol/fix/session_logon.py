"""The exchange of Logons: the first one of a connection, and the one that resets a live session."""

from openoutcry.protocol.fix.enums import SessionStatus
from openoutcry.protocol.fix.events import LoggedOn, LoggedOut, RejectReceived
from openoutcry.protocol.fix.logon import (
    Credentials,
    as_int,
    credentials_of,
    is_told,
    judge_credentials,
    logon_fields,
    logon_objection,
)
from openoutcry.protocol.fix.message import Message
from openoutcry.protocol.fix.session_config import Role
from openoutcry.protocol.fix.session_core import SessionCore, status_of, text_of
from openoutcry.protocol.fix.session_inbound import is_sending_time_off, passes_envelope
from openoutcry.protocol.fix.session_table import State, Trigger

_YES = b"Y"


class LogonExchange:
    """What a session does with Logons, its own and the peer's."""

    def __init__(self, core: SessionCore) -> None:
        self._core = core

    def begin(self, now_ms: int) -> None:
        """Send the initiator's Logon."""
        core = self._core
        core.move(Trigger.LOGON_SENT)
        core.heartbeat_s = core.config.heartbeat_s
        core.is_reset_pending = core.config.reset_on_logon
        if core.is_reset_pending:
            # Nothing of the peer's is on its way on a new connection: both directions at once.
            core.reset_out()
            core.state.next_in = 1
        self._send(self._fields(is_reset=core.is_reset_pending), now_ms)

    def ask_for_reset(self, now_ms: int) -> None:
        """Begin our direction again on the live session; the peer's follows with its reply."""
        self._core.reset_out()
        self._core.is_reset_pending = True
        self._send(self._fields(is_reset=True), now_ms)

    def first_of_initiator(self, message: Message, now_ms: int) -> None:
        """Judge the peer's Logon, answer it, and see what is missing on either side."""
        core = self._core
        if message.msg_type != "A":
            core.close("first message is no Logon")
            return
        if message.get(8) != core.begin_string:
            core.turn_away(1, "Incorrect BeginString", None, now_ms)
            return
        if message.get(49) != core.target or message.get(56) != core.sender:
            core.close("unknown CompIDs")
            return
        problem = core.judge(message)
        if problem is not None and not is_told(problem):
            # The owner may know what the peer is not told.
            core.events.append(LoggedOut(problem.text, by_peer=False))
            core.close("invalid Logon")
            return
        number = as_int(message.get(34))
        if number is None or number < 1:
            core.close("invalid Logon")
            return
        given = credentials_of(message, core.facts)
        status = judge_credentials(core.config, given)
        if status >= SessionStatus.INVALID_CREDENTIALS:
            # The same words and number for all causes: a stranger learns nothing of the session.
            core.turn_away(1, "Logon refused: not authorized", status, now_ms)
            return
        if core.closed_text is not None:
            core.turn_away(core.state.next_out, core.closed_text, core.closed_status, now_ms)
            return
        if is_sending_time_off(core, message, now_ms):
            core.fatal("SendingTime", "SendingTime accuracy problem", now_ms)
            return
        text = (
            problem.text
            if problem is not None
            else logon_objection(core.config, core.state, message)
        )
        if text:
            core.fatal("Logon refused", text, now_ms)
            return
        is_reset = message.get(141) == _YES
        if is_reset:
            core.reset_out()
            core.reset_in()
        status = self._with_new_password(given, status)
        self._agree(message, number, now_ms, is_reset=is_reset, status=status)

    def _with_new_password(self, given: Credentials, status: SessionStatus) -> SessionStatus:
        """Have a new password taken; return how the peer stands then."""
        if given.new_password is None:
            return status
        change = self._core.config.change_password
        if change is not None and change(given.new_password):
            return SessionStatus.PASSWORD_CHANGED
        return SessionStatus.NEW_PASSWORD_NOT_COMPLIANT

    def first_of_acceptor(self, message: Message, now_ms: int) -> None:
        """Judge the peer's answer to our Logon."""
        core = self._core
        if not passes_envelope(core, message, now_ms):
            return
        number = as_int(message.get(34)) or 0
        if message.msg_type == "5":
            # Whether it took a number of the session is not known. Where it did, the next Logon
            # shows a gap, which is filled; the other way round its number would be too low.
            event = LoggedOut(text_of(message), by_peer=True, status=status_of(message))
            core.events.append(event)
            core.close("Logon refused by the peer")
            return
        if message.msg_type == "3":
            core.take_number(number)
            core.events.append(RejectReceived(message))
            return
        if message.msg_type != "A":
            core.close("first message is no Logon")
            return
        problem = core.judge(message)
        if problem is not None:
            core.fatal("invalid Logon", problem.text, now_ms)
            return
        is_reset = message.get(141) == _YES
        text = logon_objection(core.config, core.state, message)
        # A reset that we did not ask for passes where our Logon had the number 1 all the same.
        if is_reset and not text and not core.is_reset_pending and core.state.next_out != 2:
            text = "ResetSeqNumFlag(141)=Y was not asked for"
        if text:
            core.fatal("Logon refused", text, now_ms)
            return
        # Some acceptors leave 141 out of the answer: the number 1 says as much.
        is_reset = is_reset or (core.is_reset_pending and number == 1)
        if is_reset:
            core.reset_in()
        core.is_reset_pending = False
        self._agree(message, number, now_ms, is_reset=is_reset, status=None)

    def _agree(
        self,
        logon: Message,
        number: int,
        now_ms: int,
        *,
        is_reset: bool,
        status: SessionStatus | None,
    ) -> None:
        """Complete the exchange of Logons, then repair what is missing on either side.

        The acceptor answers with the peer's `status`; the initiator has none to tell.
        """
        core = self._core
        expected = core.state.next_in
        core.heartbeat_s = as_int(logon.get(108)) or 0
        core.peer_max_message_size = as_int(logon.get(383)) or 0
        core.move(Trigger.LOGON_AGREED)
        core.take_number(number)
        peer_awaits = as_int(logon.get(789))
        before_reply = core.state.next_out
        if status is not None:
            fields = self._fields(is_reset=is_reset, status=status, asked_by=logon)
            self._send(fields, now_ms, answers=number)
        event = LoggedOn(core.heartbeat_s, is_reset, status_of(logon), text_of(logon))
        core.events.append(event)
        if number > expected:
            core.gap.enqueue(number, None)
            core.open_gap(number - 1, now_ms, is_asked=self._uses_next_expected(logon))
        if peer_awaits is not None and peer_awaits < before_reply:
            core.start_resend(peer_awaits, core.outbox.last_sent)

    def _uses_next_expected(self, logon: Message) -> bool:
        """Whether our Logon carried NextExpectedMsgSeqNum(789): the peer then resends unasked."""
        config = self._core.config
        if config.role is Role.INITIATOR:
            return config.use_next_expected and bool(logon.get(789))
        return bool(logon.get(789))

    def _fields(
        self,
        *,
        is_reset: bool,
        status: SessionStatus = SessionStatus.ACTIVE,
        asked_by: Message | None = None,
    ) -> list[tuple[int, bytes]]:
        core = self._core
        return logon_fields(
            core.config,
            core.state,
            core.facts,
            core.heartbeat_s,
            is_reset=is_reset,
            status=status,
            asked_by=asked_by,
        )

    def _send(self, fields: list[tuple[int, bytes]], now_ms: int, *, answers: int = 0) -> None:
        agreed = self._core.config.logon_fields
        self._core.send("A", fields, now_ms, agreed=agreed, answers=answers)

    def on_reset_logon(self, message: Message, now_ms: int) -> None:
        """Begin both directions again at 1, at the peer's wish or as the answer to ours."""
        core = self._core
        if core.connection is State.LOGOUT_SENT:
            return
        problem = core.judge(message)
        number = as_int(message.get(34)) or 0
        text = problem.text if problem is not None else ""
        if not text and number != 1:
            text = "ResetSeqNumFlag(141)=Y needs MsgSeqNum(34)=1"
        if not text and not core.is_reset_pending:
            text = logon_objection(core.config, core.state, message)
        if text:
            core.fatal("reset refused", text, now_ms)
            return
        if core.is_reset_pending:
            core.is_reset_pending = False
            core.reset_in()
            core.state.next_in = 2
            return
        core.reset_out()
        core.reset_in()
        core.state.next_in = 2
        core.heartbeat_s = as_int(message.get(108)) or 0
        self._send(self._fields(is_reset=True, asked_by=message), now_ms, answers=1)

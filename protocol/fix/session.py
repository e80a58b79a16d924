"""The FIX session as a sans-I/O state machine, for acceptor and initiator alike.

One `Session` object stands for a pair of CompIDs and lives over any number of connections. Its
owner feeds it whole messages (`receive`) and the time (`poll`), acts on the events that both
return, and writes the bytes that `data_to_send` and `resend_slice` give. The session never sees a
socket or a clock.

Time is one integer, UTC milliseconds, for stamps and timers both: a clock that steps forward
costs at most a TestRequest (the peer then has the whole grace time to answer), one that steps
back restarts the timers.

Rules that venues differ in, and what holds here:

- A first message that is no valid Logon, or that names other CompIDs, is answered by closing
  only; so is a silent peer after `logon_timeout_ms`. A Logon whose fields are well-formed, but
  not acceptable, gets a Logout with Text(58). Wrong credentials get the same Text whatever is
  wrong, and are judged before anything else that could tell a stranger about the session.
- A refused Logon takes no number of the peer's: it may come back with the same MsgSeqNum, or with
  the next.
- HeartBtInt(108) outside the limits is refused, not replaced. 0 means no heartbeats.
- ResetSeqNumFlag(141)=Y is allowed at any time of the day, also on the live session, unless
  configured.
- NewSeqNo(36) equal to Expected changes nothing.
- A ResendRequest whose range is empty, or begins above the last number sent, gets a Reject 373=5.
- A ResendRequest above a gap is served first; ours goes out after it.
- Logon without 141=Y on a live session gets a Reject 373=99.
- Reject(3) is administrative: gap-filled in a resend. BusinessMessageReject(j) is resent.
- A Logout is honoured also above a gap. After the reply the session asks to close, without
  waiting for the peer.
- Messages are judged one by one when their number is due; only BeginString, CompIDs, MsgSeqNum
  and SendingTime are judged at once, since they end the session.
- One ResendRequest per gap. Only where nothing of it came for `gap_timeout_ms` (a resent message
  may come garbled), it is repeated; the third time without effect ends the session.
- LastMsgSeqNumProcessed(369) is not sent.

Source: FIX 4.4 volume 2 (session protocol) and the FIX session test cases.
"""

import heapq
from collections.abc import Callable, Iterable

from openoutcry.protocol.fix.enums import BusinessRejectReason
from openoutcry.protocol.fix.enums import SessionRejectReason as Reason
from openoutcry.protocol.fix.events import (
    Application,
    Disconnect,
    Event,
    GapDetected,
    GapFilled,
    LoggedOn,
    LoggedOut,
    MessageRejected,
    NumbersReset,
    RejectReceived,
    ResendStarted,
)
from openoutcry.protocol.fix.logon import (
    TAGS_WITH_REASON,
    as_int,
    is_authentic,
    logon_fields,
    logon_objection,
    too_low_text,
)
from openoutcry.protocol.fix.message import Message, Problem, parse, validate
from openoutcry.protocol.fix.outbox import Outbox, route_back
from openoutcry.protocol.fix.session_config import (
    Authenticate,
    MemoryState,
    Role,
    SessionConfig,
    SessionState,
)
from openoutcry.protocol.fix.session_table import LocalProtocolError, State, Trigger, next_state
from openoutcry.protocol.fix.stamps import parse_utc_ms
from openoutcry.protocol.fix.store import MessageStore
from openoutcry.protocol.fix.versions import Version

__all__ = [
    "Authenticate",
    "LocalProtocolError",
    "MemoryState",
    "Role",
    "Session",
    "SessionConfig",
    "SessionState",
    "State",
]

_YES = b"Y"

# Fields that FIXT.1.1 adds to the header and the Logon.
_FIXT_TAGS = frozenset({1128, 1129, 1137, 1156, 1409})
# A gap is asked for so often while Expected stands still; then the session ends.
_GAP_REQUESTS = 3


class Session:
    """One FIX session over any number of connections."""

    def __init__(self, config: SessionConfig, state: SessionState, store: MessageStore) -> None:
        self.config = config
        self.state = state
        self.store = store
        self.connection: State = State.DISCONNECTED
        #: HeartBtInt(108) as agreed.
        self.heartbeat_s = 0
        #: MaxMessageSize(383) from the peer's Logon; 0 means none.
        self.peer_max_message_size = 0
        self._outbox = Outbox(config, state, store)
        self._events: list[Event] = []
        self._last_received_ms = 0
        self._test_request_ms: int | None = None
        self._deadline_ms = 0
        # Messages above a gap by number; None marks one that was acted upon at once.
        self._queue: dict[int, Message | None] = {}
        #: The numbers in `_queue`, and perhaps some that left it.
        self._queue_heap: list[int] = []
        # The last missing number below the first message that showed the gap; 0 means no gap.
        self._gap_last = 0
        # When to ask again, what was due when the peer was last asked, and how often that was.
        self._gap_deadline_ms = 0
        self._gap_asked_from = 0
        self._gap_requests = 0
        # We asked for a reset of both directions, and the peer has not yet agreed.
        self._is_reset_pending = False
        self._sender = config.sender_comp_id.encode()
        self._target = config.target_comp_id.encode()
        self._begin_string = config.begin_string.encode()
        # EndSeqNo(16) of a ResendRequest that asks for all there is.
        self._no_end = b"0" if config.version >= Version.FIX42 else b"999999"
        self._admin: dict[str, Callable[[Message, int], None]] = {
            "0": self._on_heartbeat,
            "1": self._on_test_request,
            "2": self._on_resend_request,
            "3": self._on_reject,
            "4": self._on_gap_fill,
            "5": self._on_logout,
            "A": self._on_second_logon,
        }

    # -- what the owner may ask

    @property
    def is_logged_on(self) -> bool:
        """Whether both Logons are exchanged and no Logout was sent or received."""
        return self.connection is State.ACTIVE

    @property
    def is_resending(self) -> bool:
        """Whether `resend_slice` has more to give."""
        return self._outbox.is_resending

    @property
    def is_gap_pending(self) -> bool:
        """Whether numbers are missing on the way in."""
        return self._gap_last != 0

    @property
    def can_send(self) -> bool:
        """Whether a new message may be written directly: logged on and not resending.

        Otherwise it is numbered and recorded only: after a running resend it follows by itself,
        after the next Logon the peer asks for it.
        """
        return self.connection is State.ACTIVE and not self._outbox.is_resending

    @property
    def is_live(self) -> bool:
        """Whether the fast path may take messages in and send: `can_send`, and no gap pending."""
        return self.can_send and self._gap_last == 0 and not self._is_reset_pending

    # -- connection

    def connected(self, now_ms: int) -> list[Event]:
        """Begin a connection.

        The acceptor then awaits a Logon; the initiator's Logon is in `data_to_send`.
        """
        self._outbox.clear()
        self._outbox.last_sent_ms = self._last_received_ms = now_ms
        self._test_request_ms = None
        self._deadline_ms = now_ms + self.config.logon_timeout_ms
        if self.config.role is Role.ACCEPTOR:
            self._move(Trigger.ACCEPTED)
            return self._take_events()
        self._move(Trigger.LOGON_SENT)
        self.heartbeat_s = self.config.heartbeat_s
        self._is_reset_pending = self.config.reset_on_logon
        if self._is_reset_pending:
            # Nothing of the peer's is on its way on a new connection: both directions at once.
            self._reset_out()
            self.state.next_in = 1
        self._send("A", self._logon_fields(is_reset=self._is_reset_pending), now_ms)
        return self._take_events()

    def connection_lost(self, now_ms: int) -> list[Event]:
        """End the connection; numbers and stored messages live on."""
        del now_ms  # no timer outlives the connection
        self._move(Trigger.CONNECTION_LOST)
        self._outbox.clear()
        self._clear_queue()
        self._gap_last = 0
        self._is_reset_pending = False
        return self._take_events()

    # -- bytes

    def receive(self, frame: bytes | Message, now_ms: int) -> list[Event]:
        """Take in one well-formed message (the caller drops garbled ones, see `receive_garbled`).

        Raises:
            ProtocolError: `frame` is bytes, and garbled.
        """
        if self.connection in (State.DISCONNECTED, State.CLOSING):
            return []
        limit = self.config.max_message_size
        if limit and isinstance(frame, bytes) and len(frame) > limit:
            self._refuse_size(len(frame), now_ms)
            return self._take_events()
        message = parse(frame) if isinstance(frame, bytes) else frame
        self._last_received_ms = now_ms
        self._test_request_ms = None
        if self.connection is State.AWAITING_LOGON:
            self._first_of_initiator(message, now_ms)
        elif self.connection is State.LOGON_SENT:
            self._first_of_acceptor(message, now_ms)
        else:
            self._next(message, now_ms)
        return self._take_events()

    def receive_garbled(self, now_ms: int) -> list[Event]:
        """Tell that a garbled message was dropped: as the first one it ends the connection."""
        del now_ms
        if self.connection in (State.AWAITING_LOGON, State.LOGON_SENT):
            self._close("garbled message in place of a Logon")
        return self._take_events()

    def data_to_send(self) -> bytes:
        """Return the bytes queued so far, and forget them."""
        return self._outbox.take()

    def resend_slice(self, now_ms: int, limit: int) -> bytes:
        """Return the queued bytes and the next `limit` numbers of the running resend.

        The range that the peer asked for comes with 43=Y and merged gap fills, then whatever was
        numbered meanwhile, as first-time messages; nothing new in between.
        """
        return self._outbox.resend_slice(now_ms, limit)

    # -- time

    def poll(self, now_ms: int) -> list[Event]:
        """Act on timers that are due."""
        self._outbox.last_sent_ms = min(self._outbox.last_sent_ms, now_ms)
        self._last_received_ms = min(self._last_received_ms, now_ms)
        if self.connection in (State.AWAITING_LOGON, State.LOGON_SENT):
            if now_ms >= self._deadline_ms:
                self._close("no Logon in time")
        elif self.connection is State.LOGOUT_SENT:
            if now_ms >= self._deadline_ms:
                self._close("Logout not answered")
        elif self.connection is State.ACTIVE:
            if self._gap_last:
                self._poll_gap(now_ms)
            if self.heartbeat_s and self.connection is State.ACTIVE:
                self._poll_heartbeats(now_ms)
        return self._take_events()

    def _poll_gap(self, now_ms: int) -> None:
        """Ask again where a gap has not moved: a resent message may have come garbled."""
        self._gap_deadline_ms = min(self._gap_deadline_ms, now_ms + self.config.gap_timeout_ms)
        if now_ms < self._gap_deadline_ms:
            return
        if self.state.next_in > self._gap_asked_from:
            self._gap_requests = 0
        if self._gap_requests >= _GAP_REQUESTS:
            self._fatal("gap not filled", f"MsgSeqNum {self.state.next_in} never came", now_ms)
            return
        self._request_resend(now_ms)

    def _poll_heartbeats(self, now_ms: int) -> None:
        if self._test_request_ms is None:
            if now_ms - self._last_received_ms >= self._grace_ms:
                self._test_request_ms = now_ms
                self._send("1", [(112, b"TEST-%d" % self.state.next_out)], now_ms)
        elif now_ms - self._test_request_ms >= self._grace_ms:
            self._fatal(
                "heartbeat timeout", f"Nothing received for {self._grace_ms * 2} ms", now_ms
            )
            return
        if now_ms - self._outbox.last_sent_ms >= self.heartbeat_s * 1000:
            self._send("0", [], now_ms)

    @property
    def _grace_ms(self) -> int:
        return self.heartbeat_s * 1200

    def next_timeout_ms(self) -> int | None:
        """Return when `poll` is due next, or None where no timer runs."""
        if self.connection in (State.AWAITING_LOGON, State.LOGON_SENT, State.LOGOUT_SENT):
            return self._deadline_ms
        if self.connection is not State.ACTIVE:
            return None
        due = [self._gap_deadline_ms] if self._gap_last else []
        if self.heartbeat_s:
            waiting_since = self._last_received_ms
            if self._test_request_ms is not None:
                waiting_since = self._test_request_ms
            due.append(self._outbox.last_sent_ms + self.heartbeat_s * 1000)
            due.append(waiting_since + self._grace_ms)
        return min(due, default=None)

    def note_received(self, received_ms: int) -> None:
        """Tell the timers when the fast path last took a message in; an old time is ignored."""
        if received_ms > self._last_received_ms:
            self._last_received_ms = received_ms
            self._test_request_ms = None

    def note_sent(self, sent_ms: int) -> None:
        """Tell the timers when the fast path last sent a message; an old time is ignored."""
        self._outbox.last_sent_ms = max(self._outbox.last_sent_ms, sent_ms)

    # -- sending

    def send_application(
        self, msg_type: str, fields: Iterable[tuple[int, bytes]], now_ms: int
    ) -> int:
        """Number, record and, where `can_send`, queue a message; return its number.

        Raises:
            ValueError: It is larger than the peer's MaxMessageSize(383); it takes no number.
        """
        return self._send(msg_type, fields, now_ms, is_admin=False)

    def reject(
        self,
        message: Message,
        reason: int,
        now_ms: int,
        *,
        ref_tag: int | None = None,
        text: str = "",
    ) -> int:
        """Answer a message with Reject(3), reason = SessionRejectReason(373); return its number."""
        fields = [(45, message.get(34) or b"0")]
        if self.config.version >= Version.FIX42:
            if ref_tag is not None:
                fields.append((371, b"%d" % ref_tag))
            if message.msg_type:
                fields.append((372, message.msg_type.encode("latin-1")))
            if self.config.version > Version.FIX42 or reason <= Reason.INVALID_MSG_TYPE:
                fields.append((373, b"%d" % reason))
        if text:
            fields.append((58, text.encode()))
        return self._send("3", fields, now_ms, header=route_back(message))

    def business_reject(
        self,
        message: Message,
        reason: int,
        now_ms: int,
        *,
        ref_id: bytes = b"",
        text: str = "",
    ) -> int:
        """Answer a message with BusinessMessageReject(j); return its number.

        `reason` is BusinessRejectReason(380); `ref_id` (379), the ClOrdID of the message as a rule.
        FIX 4.0 and 4.1 have no such message: there it is a Reject(3).
        """
        if self.config.version < Version.FIX42:
            return self.reject(message, reason, now_ms, text=text)
        fields = [(45, message.get(34) or b"0"), (372, message.msg_type.encode())]
        if ref_id:
            fields.append((379, ref_id))
        fields.append((380, b"%d" % reason))
        if text:
            fields.append((58, text.encode()))
        return self._send("j", fields, now_ms, header=route_back(message), is_admin=False)

    def logout(self, text: str, now_ms: int) -> list[Event]:
        """Send a Logout and await the peer's; where nobody is logged on, ask to close at once."""
        if self.connection is State.AWAITING_LOGON:
            self._close("logged out before a Logon", is_error=False)
        elif self.connection in (State.ACTIVE, State.LOGON_SENT):
            self._send_logout(text, now_ms)
            self._deadline_ms = now_ms + self.config.logout_timeout_ms
            self._move(Trigger.LOGOUT_SENT)
        return self._take_events()

    def reset_numbers(self, now_ms: int) -> list[Event]:
        """Ask for a reset of both directions on the live session: a Logon with 34=1 and 141=Y.

        Our direction begins again at once, the peer's with its reply.

        Raises:
            LocalProtocolError: Nobody is logged on.
        """
        if self.connection is not State.ACTIVE:
            raise LocalProtocolError(f"reset of numbers while {self.connection.value}")
        self._reset_out()
        self._is_reset_pending = True
        self._send("A", self._logon_fields(is_reset=True), now_ms)
        return self._take_events()

    # -- the first message of a connection

    def _first_of_initiator(self, message: Message, now_ms: int) -> None:
        """Judge the peer's Logon, answer it, and see what is missing on either side."""
        if message.msg_type != "A":
            self._close("first message is no Logon")
            return
        if message.get(8) != self._begin_string:
            self._fatal("BeginString", "Incorrect BeginString", now_ms)
            return
        if message.get(49) != self._target or message.get(56) != self._sender:
            self._close("unknown CompIDs")
            return
        problem = self._judge(message)
        if problem is not None and problem.ref_tag not in TAGS_WITH_REASON:
            self._close("invalid Logon")
            return
        number = as_int(message.get(34))
        if number is None or number < 1:
            self._close("invalid Logon")
            return
        if not is_authentic(self.config, message):
            self._fatal("not authorized", "Logon refused: not authorized", now_ms)
            return
        if self._is_sending_time_off(message, now_ms):
            self._fatal("SendingTime", "SendingTime accuracy problem", now_ms)
            return
        text = (
            problem.text
            if problem is not None
            else logon_objection(self.config, self.state, message)
        )
        if text:
            self._fatal("Logon refused", text, now_ms)
            return
        is_reset = message.get(141) == _YES
        if is_reset:
            self._reset_out()
            self._reset_in()
        self._agree(message, number, now_ms, is_reset=is_reset, is_reply_due=True)

    def _first_of_acceptor(self, message: Message, now_ms: int) -> None:
        """Judge the peer's answer to our Logon."""
        if not self._passes_envelope(message, now_ms):
            return
        number = as_int(message.get(34)) or 0
        if message.msg_type == "5":
            self._take_number(number)
            self._events.append(LoggedOut(_text(message), by_peer=True))
            self._close("Logon refused by the peer")
            return
        if message.msg_type == "3":
            self._take_number(number)
            self._events.append(RejectReceived(message))
            return
        if message.msg_type != "A":
            self._close("first message is no Logon")
            return
        problem = self._judge(message)
        if problem is not None:
            self._fatal("invalid Logon", problem.text, now_ms)
            return
        is_reset = message.get(141) == _YES
        text = logon_objection(self.config, self.state, message)
        # A reset that we did not ask for passes where our Logon had the number 1 all the same.
        if is_reset and not text and not self._is_reset_pending and self.state.next_out != 2:
            text = "ResetSeqNumFlag(141)=Y was not asked for"
        if text:
            self._fatal("Logon refused", text, now_ms)
            return
        # Some acceptors leave 141 out of the answer: the number 1 says as much.
        is_reset = is_reset or (self._is_reset_pending and number == 1)
        if is_reset:
            self._reset_in()
        self._is_reset_pending = False
        self._agree(message, number, now_ms, is_reset=is_reset, is_reply_due=False)

    def _agree(
        self, logon: Message, number: int, now_ms: int, *, is_reset: bool, is_reply_due: bool
    ) -> None:
        """Complete the exchange of Logons, then repair what is missing on either side."""
        expected = self.state.next_in
        self.heartbeat_s = as_int(logon.get(108)) or 0
        self.peer_max_message_size = as_int(logon.get(383)) or 0
        self._move(Trigger.LOGON_AGREED)
        self._take_number(number)
        peer_awaits = as_int(logon.get(789))
        before_reply = self.state.next_out
        if is_reply_due:
            self._send("A", self._logon_fields(is_reset=is_reset, asked_by=logon), now_ms)
        self._events.append(LoggedOn(self.heartbeat_s, is_reset))
        is_next_expected = self._uses_next_expected(logon)
        if number > expected:
            self._enqueue(number, None)
            self._open_gap(number - 1, now_ms, is_asked=is_next_expected)
        if peer_awaits is not None and peer_awaits < before_reply:
            self._start_resend(peer_awaits, self._outbox.last_sent)

    def _uses_next_expected(self, logon: Message) -> bool:
        """Whether our Logon carried NextExpectedMsgSeqNum(789): the peer then resends unasked."""
        if self.config.role is Role.INITIATOR:
            return self.config.use_next_expected and logon.get(789) is not None
        return logon.get(789) is not None

    def _logon_fields(
        self, *, is_reset: bool, asked_by: Message | None = None
    ) -> list[tuple[int, bytes]]:
        return logon_fields(
            self.config, self.state, self.heartbeat_s, is_reset=is_reset, asked_by=asked_by
        )

    # -- every further message

    def _next(self, message: Message, now_ms: int) -> None:
        """Judge what ends the session, then the number, then the message itself."""
        if not self._passes_envelope(message, now_ms):
            return
        if message.msg_type == "4" and message.get(123) != _YES:
            self._on_sequence_reset(message, now_ms)
            return
        is_poss_dup = message.get(43) == _YES
        if message.msg_type == "A" and message.get(141) == _YES and not is_poss_dup:
            self._on_reset_logon(message, now_ms)
            return
        number = as_int(message.get(34)) or 0
        expected = self.state.next_in
        if number < expected:
            self._on_too_low(message, number, now_ms)
        elif number > expected:
            self._on_too_high(message, number, now_ms)
        else:
            self._process(message, now_ms)
            self._drain(now_ms)

    def _passes_envelope(self, message: Message, now_ms: int) -> bool:
        """Check what ends the session: BeginString, CompIDs, MsgSeqNum, SendingTime."""
        if message.get(8) != self._begin_string:
            self._fatal("BeginString", "Incorrect BeginString", now_ms)
            return False
        for tag, awaited in ((49, self._target), (56, self._sender)):
            value = message.get(tag)
            if value and value != awaited:
                self._reject_fatally(message, Reason.COMP_ID_PROBLEM, tag, "CompID problem", now_ms)
                return False
        number = as_int(message.get(34))
        if number is None or number < 0:
            self._fatal("MsgSeqNum missing", "Required tag missing: MsgSeqNum(34)", now_ms)
            return False
        if self._is_sending_time_off(message, now_ms):
            text = "SendingTime accuracy problem"
            self._reject_fatally(message, Reason.SENDING_TIME_ACCURACY, 52, text, now_ms)
            return False
        return True

    def _is_sending_time_off(self, message: Message, now_ms: int) -> bool:
        sent_ms = parse_utc_ms(message.get(52) or b"")
        window_ms = self.config.sending_time_window_ms
        return bool(window_ms) and sent_ms is not None and abs(now_ms - sent_ms) > window_ms

    def _process(self, message: Message, now_ms: int) -> None:
        """Consume the number that was due, and act on the message."""
        self.state.next_in += 1
        msg_type = message.msg_type
        problem = self._judge(message)
        # A Logout is honoured, however it is made.
        if problem is not None and msg_type != "5":
            self._refuse(message, problem.reason, problem.ref_tag, problem.text, now_ms)
            return
        handle = self._admin.get(msg_type)
        if handle is not None:
            handle(message, now_ms)
        elif msg_type in self.config.served_types or msg_type == "j":
            self._events.append(
                Application(message, message.get(43) == _YES, message.get(97) == _YES)
            )
        else:
            self._refuse_type(message, now_ms)

    def _judge(self, message: Message) -> Problem | None:
        problem = validate(message)
        if problem is not None and problem.ref_tag in _FIXT_TAGS and self.config.version.is_fixt:
            return None
        return problem

    def _refuse_type(self, message: Message, now_ms: int) -> None:
        """Answer a message that is good FIX, but not served here."""
        reason, text = BusinessRejectReason.UNSUPPORTED_MESSAGE_TYPE, "Unsupported message type"
        number = as_int(message.get(34)) or 0
        self._events.append(
            MessageRejected(number, message.msg_type, reason, None, text, is_business=True)
        )
        ref_id = message.get(11) or b""
        self.business_reject(message, reason, now_ms, ref_id=ref_id, text=text)

    # -- sequence numbers on the way in

    def _on_too_low(self, message: Message, number: int, now_ms: int) -> None:
        if self.connection is State.LOGOUT_SENT and message.msg_type == "5":
            self._on_logout(message, now_ms)
            return
        if message.get(43) != _YES:
            self._fatal("MsgSeqNum too low", too_low_text(self.state.next_in, number), now_ms)
            return
        first_sent = message.get(122)
        if not first_sent:
            reason = Reason.REQUIRED_TAG_MISSING if first_sent is None else Reason.NO_VALUE
            self._refuse(message, reason, 122, "OrigSendingTime(122) required", now_ms)
            return
        first_ms, sent_ms = parse_utc_ms(first_sent), parse_utc_ms(message.get(52) or b"")
        if first_ms is None:
            text = "Incorrect data format for OrigSendingTime(122)"
            self._refuse(message, Reason.INCORRECT_FORMAT, 122, text, now_ms)
        elif sent_ms is not None and first_ms > sent_ms:
            text = "OrigSendingTime(122) after SendingTime(52)"
            self._reject_fatally(message, Reason.SENDING_TIME_ACCURACY, 122, text, now_ms)

    def _on_too_high(self, message: Message, number: int, now_ms: int) -> None:
        if message.msg_type == "5":
            self._on_logout(message, now_ms)
            return
        kept: Message | None = message
        if message.msg_type == "2" and number not in self._queue and self._judge(message) is None:
            self._on_resend_request(message, now_ms)
            kept = None
        if len(self._queue) < self.config.max_queued:
            self._enqueue(number, kept)
        if not self._gap_last:
            self._open_gap(number - 1, now_ms, is_asked=False)

    def _open_gap(self, last: int, now_ms: int, *, is_asked: bool) -> None:
        """Ask for what is missing, once; `is_asked` where the peer resends of its own accord."""
        self._gap_last = last
        self._gap_requests = 0
        self._gap_asked_from = self.state.next_in
        self._gap_deadline_ms = now_ms + self.config.gap_timeout_ms
        self._events.append(GapDetected(self.state.next_in, last))
        if not is_asked:
            self._request_resend(now_ms)

    def _request_resend(self, now_ms: int) -> None:
        self._gap_requests += 1
        self._gap_asked_from = self.state.next_in
        self._gap_deadline_ms = now_ms + self.config.gap_timeout_ms
        self._send("2", [(7, b"%d" % self.state.next_in), (16, self._no_end)], now_ms)

    def _drain(self, now_ms: int) -> None:
        """Process what was queued above a gap, as far as it follows on; ask for the next gap."""
        self._note_gap_filled()
        while self.state.next_in in self._queue and self.connection is not State.CLOSING:
            message = self._queue.pop(self.state.next_in)
            if message is None:
                self.state.next_in += 1
            else:
                self._process(message, now_ms)
            self._note_gap_filled()
        if self._gap_last or self.connection is State.CLOSING:
            return
        # What a gap fill passed over is not processed: the peer has declared those numbers void.
        # The heap finds the lowest number without a look at all that wait.
        while self._queue_heap and self._queue_heap[0] <= self.state.next_in:
            self._queue.pop(heapq.heappop(self._queue_heap), None)
        if self._queue_heap:
            self._open_gap(self._queue_heap[0] - 1, now_ms, is_asked=False)

    def _enqueue(self, number: int, message: Message | None) -> None:
        """Keep what came above a gap; the first message under a number counts."""
        if number not in self._queue:
            self._queue[number] = message
            heapq.heappush(self._queue_heap, number)

    def _clear_queue(self) -> None:
        self._queue.clear()
        self._queue_heap.clear()

    def _note_gap_filled(self) -> None:
        if self._gap_last and self.state.next_in > self._gap_last:
            self._gap_last = 0
            self._events.append(GapFilled())

    def _take_number(self, number: int) -> None:
        """Consume a number if it is the one that is due."""
        if number == self.state.next_in:
            self.state.next_in = number + 1

    # -- administrative messages

    def _on_heartbeat(self, message: Message, now_ms: int) -> None:
        """Do nothing: any message has stopped the timer."""

    def _on_test_request(self, message: Message, now_ms: int) -> None:
        self._send("0", [(112, message.get(112) or b"")], now_ms)

    def _on_resend_request(self, message: Message, now_ms: int) -> None:
        first, last = as_int(message.get(7)) or 0, as_int(message.get(16)) or 0
        if message.get(16) == self._no_end:
            last = 0
        sent = self._outbox.last_sent
        if first < 1 or (last and last < first) or first > sent:
            text = f"BeginSeqNo(7) must be between 1 and {sent}, and not above EndSeqNo(16)"
            self._refuse(message, Reason.VALUE_INCORRECT, 7, text, now_ms)
            return
        self._start_resend(first, sent if last == 0 else min(last, sent))

    def _start_resend(self, first: int, last: int) -> None:
        self._outbox.start_resend(first, last)
        self._events.append(ResendStarted(first, last))

    def _on_reject(self, message: Message, now_ms: int) -> None:
        self._events.append(RejectReceived(message))

    def _on_gap_fill(self, message: Message, now_ms: int) -> None:
        """Skip to NewSeqNo(36); the message's own number, the first skipped, is consumed."""
        new_seq_no = as_int(message.get(36)) or 0
        due = self.state.next_in - 1
        if new_seq_no > due:
            self.state.next_in = new_seq_no
            return
        self.state.next_in = due
        if new_seq_no < due:
            self._reject_new_seq_no(message, due, new_seq_no, now_ms)

    def _on_sequence_reset(self, message: Message, now_ms: int) -> None:
        """Begin anew at NewSeqNo(36), whatever the message's own number."""
        problem = self._judge(message)
        if problem is not None:
            self._take_number(as_int(message.get(34)) or 0)
            self._refuse(message, problem.reason, problem.ref_tag, problem.text, now_ms)
            self._drain(now_ms)
            return
        new_seq_no = as_int(message.get(36)) or 0
        if new_seq_no < self.state.next_in:
            self._reject_new_seq_no(message, self.state.next_in, new_seq_no, now_ms)
        elif new_seq_no > self.state.next_in:
            # Whatever is queued bears a number that the peer has given up, or will use again.
            self._clear_queue()
            self._gap_last = 0
            self.state.next_in = new_seq_no

    def _reject_new_seq_no(self, message: Message, expected: int, got: int, now_ms: int) -> None:
        text = f"NewSeqNo(36) too low, expecting at least {expected} but received {got}"
        self._refuse(message, Reason.VALUE_INCORRECT, 36, text, now_ms)

    def _on_logout(self, message: Message, now_ms: int) -> None:
        """Confirm the peer's Logout, or take it as the confirmation of ours."""
        is_ours = self.connection is State.LOGOUT_SENT
        self._take_number(as_int(message.get(34)) or 0)
        self._events.append(LoggedOut(_text(message), by_peer=not is_ours))
        if not is_ours:
            self._outbox.abort_resend()
            self._send_logout("", now_ms)
        self._close("logout", is_error=False)

    def _on_second_logon(self, message: Message, now_ms: int) -> None:
        self._refuse(message, Reason.OTHER, None, "Already logged on", now_ms)

    def _on_reset_logon(self, message: Message, now_ms: int) -> None:
        """Begin both directions again at 1, at the peer's wish or as the answer to ours."""
        if self.connection is State.LOGOUT_SENT:
            return
        problem = self._judge(message)
        number = as_int(message.get(34)) or 0
        text = problem.text if problem is not None else ""
        if not text and number != 1:
            text = "ResetSeqNumFlag(141)=Y needs MsgSeqNum(34)=1"
        if not text and not self._is_reset_pending:
            text = logon_objection(self.config, self.state, message)
        if text:
            self._fatal("reset refused", text, now_ms)
            return
        if self._is_reset_pending:
            self._is_reset_pending = False
            self._reset_in()
            self.state.next_in = 2
            return
        self._reset_out()
        self._reset_in()
        self.state.next_in = 2
        self.heartbeat_s = as_int(message.get(108)) or 0
        self._send("A", self._logon_fields(is_reset=True, asked_by=message), now_ms)

    def _reset_out(self) -> None:
        self._outbox.abort_resend()
        self.store.reset()
        self.state.next_out = 1

    def _reset_in(self) -> None:
        self._clear_queue()
        self._gap_last = 0
        self.state.next_in = 1
        self._events.append(NumbersReset())

    # -- ways out

    def _send(
        self,
        msg_type: str,
        fields: Iterable[tuple[int, bytes]],
        now_ms: int,
        *,
        header: Iterable[tuple[int, bytes]] = (),
        is_admin: bool = True,
    ) -> int:
        return self._outbox.send(
            msg_type,
            fields,
            now_ms,
            header=header,
            is_admin=is_admin,
            is_open=is_admin or self.connection is State.ACTIVE,
            max_size=0 if is_admin else self.peer_max_message_size,
        )

    def _refuse(
        self, message: Message, reason: int, ref_tag: int | None, text: str, now_ms: int
    ) -> None:
        """Answer with Reject(3), but never a Reject, and tell the owner."""
        if message.msg_type == "3":
            return
        number = as_int(message.get(34)) or 0
        self._events.append(
            MessageRejected(number, message.msg_type, reason, ref_tag, text, is_business=False)
        )
        self.reject(message, reason, now_ms, ref_tag=ref_tag, text=text)

    def _reject_fatally(
        self, message: Message, reason: int, ref_tag: int, text: str, now_ms: int
    ) -> None:
        """Refuse a message, consume its number, and end the session."""
        self._outbox.abort_resend()
        self._take_number(as_int(message.get(34)) or 0)
        self._refuse(message, reason, ref_tag, text, now_ms)
        self._fatal(text, text, now_ms)

    def _refuse_size(self, size: int, now_ms: int) -> None:
        if self.connection is State.AWAITING_LOGON:
            self._close("message too large")
            return
        text = (
            f"A message of {size} bytes exceeds MaxMessageSize(383)={self.config.max_message_size}"
        )
        self._fatal("message too large", text, now_ms)

    def _send_logout(self, text: str, now_ms: int) -> None:
        self._send("5", [(58, text.encode())] if text else [], now_ms)

    def _fatal(self, reason: str, text: str, now_ms: int) -> None:
        """Send a Logout that says why, past a running resend, and close at once."""
        self._outbox.abort_resend()
        if self.connection is not State.LOGOUT_SENT:
            self._send_logout(text, now_ms)
        self._events.append(LoggedOut(text, by_peer=False))
        self._close(reason)

    def _close(self, reason: str, *, is_error: bool = True) -> None:
        self._move(Trigger.FINISHED)
        self._events.append(Disconnect(reason, is_error))

    def _move(self, trigger: Trigger) -> None:
        self.connection = next_state(self.connection, trigger)

    def _take_events(self) -> list[Event]:
        events, self._events = self._events, []
        return events


def _text(message: Message) -> str:
    return (message.get(58) or b"").decode("latin-1")

"""The FIX session as a sans-I/O state machine, for acceptor and initiator alike.

One `Session` object stands for a pair of CompIDs and lives over any number of connections. Its
owner feeds it whole messages (`receive`) and the time (`poll`), acts on the events that both
return, and writes the bytes that `data_to_send` and `resend_slice` give. The session never sees a
socket or a clock.

Time is one integer, UTC milliseconds, for stamps and timers both: a clock that steps forward
costs at most a TestRequest (the peer then has the whole grace time to answer), one that steps
back restarts the timers.

Eight versions, FIX.4.0 to FIX.5.0SP2 (the last three over FIXT.1.1). What a version's dictionary
does not define for a message is not sent in it, and codes of 373 and 380 that it does not know are
left out or become 0 (other). FIX 4.0 and 4.1 ask for resends up to 999999, have whole seconds in
SendingTime, and a Reject(3) in place of BusinessMessageReject(j).

Rules that venues differ in, and what holds here:

- A first message that is no valid Logon, or that names other CompIDs, is answered by closing
  only; so is a silent peer after `logon_timeout_ms`. A Logon whose fields are well-formed, but
  not acceptable, gets a Logout with Text(58). Wrong credentials get the same Text whatever is
  wrong, and are judged before anything else that could tell a stranger about the session. Before
  FIX 4.3 the password is RawData(96), as it is, and there is no user name.
- A refused Logon takes no number of the peer's: it may come back with the same MsgSeqNum, or with
  the next. The Logout that refuses wrong credentials has MsgSeqNum 1 and takes no number of ours;
  nor does one outside the session's hours. Any other takes its number. An initiator that is refused
  does not count the Logout: where it took a number, the next Logon shows a gap, which is filled.
- SessionStatus(1409), under FIXT: 5 to 8 where credentials or hours refuse, 1, 2 or 3 in the
  answer to a Logon, 4 in an agreed Logout. Others have none.
- HeartBtInt(108) outside the limits is refused, not replaced. 0 means no heartbeats.
- DefaultApplVerID(1137) must be the session's; others are refused with a Logout. ApplVerID(1128)
  may name FIX 5.0, 5.0 SP1 or 5.0 SP2 for one message; it is not looked at in administrative ones.
- ResetSeqNumFlag(141)=Y is allowed at any time of the day, also on the live session, unless
  configured. FIX 4.0 has none.
- NewSeqNo(36) equal to Expected: a reset changes nothing, a gap fill gets a Reject 373=5.
- A ResendRequest whose range is empty, or begins above the last number sent, gets a Reject 373=5.
  EndSeqNo(16) beyond the last one sent, 0, and before FIX 4.2 999999 mean the last one.
- A ResendRequest above a gap is served first; ours goes out after it.
- Logon without 141=Y on a live session gets a Reject 373=99.
- Reject(3) is administrative: gap-filled in a resend. BusinessMessageReject(j) is resent.
- A Logout is honoured also above a gap. After the reply the session asks to close, without
  waiting for the peer.
- Messages are judged one by one when their number is due; only BeginString, CompIDs, MsgSeqNum
  and SendingTime are judged at once, since they end the session.
- PossDupFlag(43)=Y at Expected is processed as normal; where OrigSendingTime(122) is after
  SendingTime(52), an application message gets a Reject 373=10, and the session goes on.
- One ResendRequest per gap. Only where nothing of it came for `gap_timeout_ms` (a resent message
  may come garbled), it is repeated; the third time without effect ends the session.
- LastMsgSeqNumProcessed(369) is sent where configured.

Source: volume 2 (session protocol) of each FIX version, FIXT 1.1, the FIX session test cases.
"""

from collections.abc import Iterable

from openoutcry.protocol.fix.enums import SessionStatus
from openoutcry.protocol.fix.events import Event
from openoutcry.protocol.fix.message import Message, parse
from openoutcry.protocol.fix.session_config import (
    Authenticate,
    MemoryState,
    Role,
    SessionConfig,
    SessionState,
)
from openoutcry.protocol.fix.session_core import SessionCore
from openoutcry.protocol.fix.session_inbound import Inbound
from openoutcry.protocol.fix.session_logon import LogonExchange
from openoutcry.protocol.fix.session_table import LocalProtocolError, State, Trigger
from openoutcry.protocol.fix.session_timers import Timers
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


class Session:
    """One FIX session over any number of connections."""

    def __init__(self, config: SessionConfig, state: SessionState, store: MessageStore) -> None:
        self._core = SessionCore(config, state, store)
        self._logon = LogonExchange(self._core)
        self._inbound = Inbound(self._core, self._logon.on_reset_logon)
        self._timers = Timers(self._core)

    # -- what the owner may ask

    @property
    def config(self) -> SessionConfig:
        """What was agreed beforehand; a change of other than CompIDs and version counts at once."""
        return self._core.config

    @config.setter
    def config(self, config: SessionConfig) -> None:
        self._core.config = config

    @property
    def state(self) -> SessionState:
        """The two numbers."""
        return self._core.state

    @property
    def store(self) -> MessageStore:
        """Where sent messages are kept."""
        return self._core.store

    @property
    def connection(self) -> State:
        """Where the connection stands."""
        return self._core.connection

    @property
    def heartbeat_s(self) -> int:
        """HeartBtInt(108) as agreed."""
        return self._core.heartbeat_s

    @property
    def peer_max_message_size(self) -> int:
        """MaxMessageSize(383) from the peer's Logon; 0 means none."""
        return self._core.peer_max_message_size

    @property
    def is_logged_on(self) -> bool:
        """Whether both Logons are exchanged and no Logout was sent or received."""
        return self.connection is State.ACTIVE

    @property
    def is_resending(self) -> bool:
        """Whether `resend_slice` has more to give."""
        return self._core.outbox.is_resending

    @property
    def is_gap_pending(self) -> bool:
        """Whether numbers are missing on the way in."""
        return self._core.gap.is_open

    @property
    def can_send(self) -> bool:
        """Whether a new message may be written directly: logged on and not resending.

        Otherwise it is numbered and recorded only: after a running resend it follows by itself,
        after the next Logon the peer asks for it.
        """
        return self.is_logged_on and not self.is_resending

    @property
    def is_live(self) -> bool:
        """Whether the fast path may take messages in and send: `can_send`, and no gap pending."""
        return self.can_send and not self.is_gap_pending and not self._core.is_reset_pending

    # -- connection

    def connected(self, now_ms: int) -> list[Event]:
        """Begin a connection.

        The acceptor then awaits a Logon; the initiator's Logon is in `data_to_send`.
        """
        core = self._core
        core.outbox.clear()
        self._timers.connected(now_ms)
        if core.config.role is Role.ACCEPTOR:
            core.move(Trigger.ACCEPTED)
        else:
            self._logon.begin(now_ms)
        return core.take_events()

    def connection_lost(self, now_ms: int) -> list[Event]:
        """End the connection; numbers and stored messages live on."""
        del now_ms  # no timer outlives the connection
        core = self._core
        core.move(Trigger.CONNECTION_LOST)
        core.outbox.clear()
        core.gap.forget()
        core.is_reset_pending = False
        return core.take_events()

    # -- bytes

    def receive(self, frame: bytes | Message, now_ms: int) -> list[Event]:
        """Take in one well-formed message (the caller drops garbled ones, see `receive_garbled`).

        Raises:
            ProtocolError: `frame` is bytes, and garbled.
        """
        core = self._core
        if core.connection in (State.DISCONNECTED, State.CLOSING):
            return []
        message = parse(frame) if isinstance(frame, bytes) else frame
        limit = core.config.max_message_size
        if limit and len(message.frame) > limit:
            self._refuse_size(len(message.frame), now_ms)
            return core.take_events()
        core.note_life(now_ms)
        if core.connection is State.AWAITING_LOGON:
            self._logon.first_of_initiator(message, now_ms)
        elif core.connection is State.LOGON_SENT:
            self._logon.first_of_acceptor(message, now_ms)
        else:
            self._inbound.take(message, now_ms)
        return core.take_events()

    def _refuse_size(self, size: int, now_ms: int) -> None:
        core = self._core
        if core.connection is State.AWAITING_LOGON:
            core.close("message too large")
            return
        limit = core.config.max_message_size
        text = f"A message of {size} bytes exceeds MaxMessageSize(383)={limit}"
        core.fatal("message too large", text, now_ms)

    def receive_garbled(self, now_ms: int) -> list[Event]:
        """Tell that a garbled message was dropped: as the first one it ends the connection."""
        del now_ms
        if self.connection in (State.AWAITING_LOGON, State.LOGON_SENT):
            self._core.close("garbled message in place of a Logon")
        return self._core.take_events()

    def data_to_send(self) -> bytes:
        """Return the bytes queued so far, and forget them."""
        return self._core.outbox.take()

    def resend_slice(self, now_ms: int, limit: int, max_bytes: int = 64 << 10) -> bytes:
        """Return the queued bytes and the next part of the running resend.

        The range that the peer asked for comes with 43=Y and merged gap fills, then whatever was
        numbered meanwhile, as first-time messages; nothing new in between. A part ends with
        `limit` numbers, or with the message that makes it `max_bytes` or more.
        """
        return self._core.outbox.resend_slice(now_ms, limit, max_bytes)

    # -- time

    def poll(self, now_ms: int) -> list[Event]:
        """Act on timers that are due."""
        self._timers.poll(now_ms)
        return self._core.take_events()

    def next_timeout_ms(self) -> int | None:
        """Return when `poll` is due next, or None where no timer runs."""
        return self._timers.next_timeout_ms()

    def probe(self, now_ms: int, timeout_ms: int) -> list[Event]:
        """Send a TestRequest on the live connection; without any sign of life it is closed.

        For a second client that wants the session: the first one goes on where it still answers.
        While an earlier probe runs, and where nobody is logged on, nothing happens.
        """
        self._timers.probe(now_ms, timeout_ms)
        return self._core.take_events()

    def note_received(self, received_ms: int) -> None:
        """Tell the timers when the fast path last took a message in; an old time is ignored."""
        if received_ms > self._core.last_received_ms:
            self._core.note_life(received_ms)

    def note_sent(self, sent_ms: int) -> None:
        """Tell the timers when the fast path last sent a message; an old time is ignored."""
        self._core.outbox.last_sent_ms = max(self._core.outbox.last_sent_ms, sent_ms)

    # -- sending

    def send_application(
        self,
        msg_type: str,
        fields: Iterable[tuple[int, bytes]],
        now_ms: int,
        *,
        answers: int = 0,
    ) -> int:
        """Number, record and, where `can_send`, queue a message; return its number.

        For `answers` see `MessageStore.record`.

        Raises:
            ValueError: It is larger than the peer's MaxMessageSize(383); it takes no number.
        """
        return self._core.send_application(msg_type, fields, now_ms, answers=answers)

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
        return self._core.reject(message, reason, now_ms, ref_tag=ref_tag, text=text)

    def business_reject(
        self,
        message: Message,
        reason: int,
        now_ms: int,
        *,
        ref_id: bytes = b"",
        text: str = "",
        is_answer: bool = True,
    ) -> int:
        """Answer a message with BusinessMessageReject(j); return its number.

        `is_answer` is False where the message's number stands for another one since a reset.
        `reason` is BusinessRejectReason(380); `ref_id` (379), the ClOrdID of the message as a rule.
        FIX 4.0 and 4.1 have no such message: there it is a Reject(3).
        """
        return self._core.business_reject(
            message, reason, now_ms, ref_id=ref_id, text=text, is_answer=is_answer
        )

    def logout(self, text: str, now_ms: int) -> list[Event]:
        """Send a Logout and await the peer's; where nobody is logged on, ask to close at once."""
        core = self._core
        if core.connection is State.AWAITING_LOGON:
            core.close("logged out before a Logon", is_error=False)
        elif core.connection in (State.ACTIVE, State.LOGON_SENT):
            core.send_logout(text, now_ms, status=SessionStatus.LOGOUT_COMPLETE)
            core.deadline_ms = now_ms + core.config.logout_timeout_ms
            core.move(Trigger.LOGOUT_SENT)
        return core.take_events()

    # -- hours and resets

    def refuse_logons(
        self, text: str, status: SessionStatus = SessionStatus.LOGONS_NOT_ALLOWED
    ) -> None:
        """Answer Logons with a Logout that says why, until `accept_logons`.

        It says so to an authenticated peer only, and takes no number of either side. Who is logged
        on stays: see `end_session`. `status` is SessionStatus(1409), under FIXT.
        """
        self._core.closed_text = text
        self._core.closed_status = status

    def accept_logons(self) -> None:
        """Let peers log on again."""
        self._core.closed_text = None

    def end_session(self, text: str, now_ms: int) -> list[Event]:
        """Log the peer out, if there is one, and refuse Logons from now on."""
        self.refuse_logons(text)
        return self.logout(text, now_ms)

    def reset(self) -> None:
        """Begin both directions again at 1 and discard what was sent, while nobody is connected.

        Raises:
            LocalProtocolError: There is a connection.
        """
        if self.connection is not State.DISCONNECTED:
            raise LocalProtocolError(f"reset while {self.connection.value}")
        self._core.reset_out()
        self._core.state.next_in = 1

    def reset_numbers(self, now_ms: int) -> list[Event]:
        """Ask for a reset of both directions on the live session: a Logon with 34=1 and 141=Y.

        Our direction begins again at once, the peer's with its reply.

        Raises:
            LocalProtocolError: Nobody is logged on, or the version is FIX 4.0.
        """
        if not self.is_logged_on:
            raise LocalProtocolError(f"reset of numbers while {self.connection.value}")
        if self.config.version is Version.FIX40:
            raise LocalProtocolError("FIX.4.0 has no reset of a live session")
        self._logon.ask_for_reset(now_ms)
        return self._core.take_events()

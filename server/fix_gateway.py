"""FIX sessions of a gateway: who may log on, and what happens to messages that the kernel leaves to
Python."""

import dataclasses
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from openoutcry.engine.latency import GatewayCounter, Protocol
from openoutcry.protocol.fix import events as ev
from openoutcry.protocol.fix.enums import BusinessRejectReason, SessionStatus
from openoutcry.protocol.fix.message import Message
from openoutcry.protocol.fix.session import Session
from openoutcry.protocol.fix.session_config import ChangePassword, SessionConfig
from openoutcry.protocol.fix.versions import Version, version_of
from openoutcry.server.departures import Trigger
from openoutcry.server.fix_logon import Credentials, LogonDesk
from openoutcry.server.fix_requests import SERVED_TYPES
from openoutcry.server.hours import Hours
from openoutcry.server.registry import SessionEntry, SessionRegistry
from openoutcry.server.session_rules import heartbeat_limits
from openoutcry.server.sessions import OUT_SINCE, PROTOCOL_FIX
from openoutcry.server.store import GatewayStore, RowState
from openoutcry.server.throttle import Admission, SessionThrottle
from openoutcry.server.translate import LARGEST_REPORT

if TYPE_CHECKING:
    from openoutcry.server.connection import Connection
    from openoutcry.server.gateway import Gateway

log = logging.getLogger(__name__)

#: Messages sent again before other connections get their turn: a slice takes 40 to 100 µs, and the
#: next one waits at least for the pause, so that little of the time is taken from those that trade.
RESEND_SLICE = 128
RESEND_PAUSE_S = 0.003
#: Most messages added to a slice because as many were numbered since the one before: a client that
#: trades on while it is resent to must be caught up with.
RESEND_ADDED = 2048
#: More than a message takes on average, however long they are.
_MESSAGE_BYTES = 512
#: A session's timers are looked at again after this time at most: the clock may be set.
_LOOK_MS = 1000


class FixSession:
    """A FIX session with its numbers, its store and, while a client is there, its connection."""

    def __init__(self, gateway: "Gateway", entry: SessionEntry) -> None:
        self.gateway = gateway
        self.entry = entry
        self.number = entry.number
        self.comp_id = entry.id
        #: It gets copies of others' reports, and takes no orders.
        self.is_drop_copy = False
        self.connection: Connection | None = None
        # One slice is under way or planned: asking again must not plan a second chain of them.
        self._is_resend_due = False
        # How far messages were numbered when the last slice was made.
        self._resend_seen = 0
        # When `poll` has something to do at the earliest; 0 after anything happened.
        self._due_ms = 0
        # How the client left, once it was logged on.
        self._departure: Trigger | None = None
        throttle = entry.settings.throttle
        self.throttle = (
            None if throttle is None else SessionThrottle(throttle, gateway.index.rows, self.number)
        )
        self._is_release_due = False
        # The number due next to the client when the throttle began to hold messages.
        self.held_out = 0
        self.session: Session
        self._use_version(entry.versions[-1])

    def _use_version(self, version: Version) -> None:
        """Have the session speak a version; of FIXT's, each Logon may name another one."""
        gateway, settings = self.gateway, self.entry.settings
        fix = gateway.config.fix
        low, high = heartbeat_limits(gateway.config, settings)
        profile = gateway.profiles.number(version, settings)
        self.version = version
        self.session = Session(
            SessionConfig(
                sender_comp_id=gateway.config.venue.comp_id,
                target_comp_id=self.comp_id,
                version=version,
                dictionary=gateway.profiles.dictionaries[profile],
                min_heartbeat_s=low,
                max_heartbeat_s=high,
                sending_time_window_ms=fix.sending_time_window_s * 1000,
                logon_timeout_ms=fix.logon_timeout_s * 1000,
                logout_timeout_ms=fix.logout_timeout_s * 1000,
                is_reset_allowed=settings.reset_allowed,
                is_test=settings.test_message_indicator,
                sends_last_processed=settings.last_msg_seq_num_processed,
                max_message_size=fix.max_message_bytes,
                # The kernels encode reports of any length up to this one.
                largest_sent=LARGEST_REPORT,
                served_types=SERVED_TYPES,
                is_answered=self._was_answered,
            ),
            RowState(gateway.index.rows[self.number]),
            GatewayStore(gateway, self.number),
        )
        row = gateway.index.rows[self.number]
        row["profile"] = profile
        has_last_processed = settings.last_msg_seq_num_processed and version >= Version.FIX42
        row["sends_last_processed"] = int(has_last_processed)
        gateway.set_comp_ids(self.number, self.comp_id, version)

    def _was_answered(self, number: int) -> bool:
        """Tell whether a message that comes again was answered before a crash."""
        return self.gateway.index.answers.was_answered(self.number, number)

    def receive(self, frame: bytes | Message) -> None:
        """Take one frame in."""
        self.act(self.session.receive(frame, self.gateway.now_ms()))

    def poll(self, now_ms: int) -> None:
        """Let the session look at its timers; the fast path's traffic counts."""
        if now_ms < self._due_ms <= now_ms + _LOOK_MS:
            return
        row = self.gateway.index.rows[self.number]
        if row["received_ms"] > 0:
            self.session.note_received(int(row["received_ms"]))
        if row["sent_ms"] > 0:
            self.session.note_sent(int(row["sent_ms"]))
        self.act(self.session.poll(now_ms))
        due_ms = self.session.next_timeout_ms()
        self._due_ms = now_ms + _LOOK_MS if due_ms is None else min(due_ms, now_ms + _LOOK_MS)

    def act(self, events: list[ev.Event]) -> None:
        """Do what the session's events ask for, then send what it has to say."""
        connection = self.connection
        counters = self.gateway.metrics.counters
        closing: ev.Disconnect | None = None
        self._due_ms = 0
        for event in events:
            match event:
                case ev.Application():
                    self._take(event.message)
                case ev.Disconnect():
                    closing = event
                    if self._departure is not None:
                        self._departure = "connection_lost" if event.is_error else "logout"
                case ev.LoggedOn():
                    self._departure = "connection_lost"
                    self.gateway.departures.returned(self.number)
                    log.info(
                        "logged on: session=%s version=%s heartbeat_s=%d",
                        self.comp_id,
                        self.version.label,
                        event.heartbeat_s,
                    )
                case ev.NumbersReset():
                    self.discard_held(is_reset=True)
                case ev.LoggedOut():
                    log.info(
                        "logged out: session=%s by_peer=%s text=%r",
                        self.comp_id,
                        event.by_peer,
                        event.text,
                    )
                case ev.MessageRejected():
                    counters[GatewayCounter.SESSION_REJECTS + Protocol.FIX] += 1
                    log.info(
                        "message rejected: session=%s MsgSeqNum=%d tag=%s reason=%d text=%r",
                        self.comp_id,
                        event.ref_seq_num,
                        event.ref_tag,
                        event.reason,
                        event.text,
                    )
                case ev.GapDetected():
                    log.info(
                        "gap: session=%s first=%d last=%d", self.comp_id, event.first, event.last
                    )
                case ev.ResendStarted():
                    counters[GatewayCounter.RESENDS + Protocol.FIX] += 1
                    log.info(
                        "resend: session=%s first=%d last=%d", self.comp_id, event.first, event.last
                    )
                case _:
                    pass
        self._mark()
        if connection is None:
            return
        data = self.session.data_to_send()
        if data:
            connection.write(data)
        if closing is not None:
            connection.close(closing.reason, is_error=closing.is_error)
        elif self.session.is_resending and not self._is_resend_due:
            self._is_resend_due = True
            self._resend_seen = int(self.gateway.index.rows[self.number]["next_out"])
            self.gateway.loop.call_soon(self._resend)

    def _take(self, message: Message) -> None:
        """Hand an application message on, as far as the throttle lets it."""
        if self.throttle is None:
            self.gateway.orders.take_fix(self, message)
            return
        now_ms = self.gateway.now_ms()
        admission = self.throttle.admit(message, now_ms)
        if admission is Admission.PASS:
            self.gateway.orders.take_fix(self, message)
            return
        self.gateway.metrics.counters[GatewayCounter.THROTTLED + Protocol.FIX] += 1
        if admission is Admission.HELD:
            assert self.throttle is not None
            if len(self.throttle.held) == 1:
                self.held_out = int(self.gateway.index.rows[self.number]["next_out"])
            self._plan_release(now_ms)
        else:
            is_last = admission is Admission.LAST and self.session.is_logged_on
            self._refuse_throttled(message, is_last=is_last)
            if is_last:
                log.warning("logged out by its throttle: session=%s", self.comp_id)
                self.gateway.loop.call_soon(self.log_out, self.throttle.text)

    def _refuse_throttled(
        self,
        message: Message,
        *,
        is_last: bool = False,
        text: str = "",
        is_answer: bool = True,
    ) -> None:
        reason = BusinessRejectReason.THROTTLE_LIMIT_EXCEEDED
        if is_last:
            reason = BusinessRejectReason.THROTTLE_LIMIT_EXCEEDED_AND_DISCONNECTED
        codes = self.gateway.profiles.dictionaries[self.version].enumerations.get(380, frozenset())
        if b"%d" % reason not in codes:
            reason = BusinessRejectReason.OTHER
        assert self.throttle is not None
        self.session.business_reject(
            message,
            reason,
            self.gateway.now_ms(),
            ref_id=message.get(11) or b"",
            text=text or self.throttle.text,
            is_answer=is_answer,
        )

    def _plan_release(self, now_ms: int) -> None:
        assert self.throttle is not None
        if self.throttle.held and not self._is_release_due:
            self._is_release_due = True
            delay_s = self.throttle.ms_to_next_window(now_ms) / 1000
            self.gateway.loop.call_later(delay_s, self._release)

    def _release(self) -> None:
        """Hand on what was held, as far as the new window goes."""
        self._is_release_due = False
        assert self.throttle is not None
        now_ms = self.gateway.now_ms()
        # Their latency counts from their turn: they were to wait.
        self.gateway.recv_ns = self.gateway.monotonic_ns()
        while (message := self.throttle.release(now_ms)) is not None:
            self.gateway.orders.take_fix(self, message, was_held=True)
            # What was refused while it waited was answered before it.
            since = self.gateway.index.flight[self.number, :, OUT_SINCE]
            np.minimum(since, self.held_out, out=since)
        self._plan_release(now_ms)
        self.act([])

    def discard_held(self, *, is_reset: bool = False) -> None:
        """Refuse what the throttle holds: the client is gone, or its numbers began anew.

        After a reset that answers no message any more: their numbers are others'.
        """
        if self.throttle is None:
            return
        text = "Not executed: held by the throttle until now"
        for message in self.throttle.discard():
            self._refuse_throttled(message, text=text, is_answer=not is_reset)

    def _resend(self) -> None:
        """Send one slice of a resend, and come back for the next."""
        self._is_resend_due = False
        connection = self.connection
        if connection is None or not self.session.is_resending:
            return
        if connection.is_writing_paused:
            # The client reads slower than we can resend: go on when it has caught up.
            self._is_resend_due = True
            self.gateway.loop.call_later(0.01, self._resend)
            return
        next_out = int(self.gateway.index.rows[self.number]["next_out"])
        limit = RESEND_SLICE + min(max(next_out - self._resend_seen, 0), RESEND_ADDED)
        self._resend_seen = next_out
        data = self.session.resend_slice(self.gateway.now_ms(), limit, limit * _MESSAGE_BYTES)
        if data:
            connection.write(data)
        self._mark()
        if self.session.is_resending:
            self._is_resend_due = True
            self.gateway.loop.call_later(RESEND_PAUSE_S, self._resend)

    def _mark(self) -> None:
        """Tell the kernels whether they may use this session's connection."""
        row = self.gateway.index.rows[self.number]
        is_open = self.connection is not None
        row["is_live"] = int(is_open and self.session.can_send)
        # Whoever sends again what was answered before a crash is listened to by Python alone.
        is_repeating = self.gateway.index.answers.is_repeating(self.number, int(row["next_in"]))
        takes_orders = is_open and self.session.is_live and not self.is_drop_copy
        takes_orders = takes_orders and not is_repeating
        row["takes_orders"] = int(takes_orders)

    def attach(
        self,
        connection: "Connection",
        message: Message,
        *,
        status: SessionStatus,
        closed_text: str,
        change_password: ChangePassword,
    ) -> None:
        """Give the session to a connection whose first message is this Logon.

        Args:
            status: what was made of its credentials; ACTIVE lets it in.
            closed_text: why nobody may log on now, or empty.
            change_password: takes NewPassword(925).
        """
        version = version_of(message.get(8) or b"", message.get(1137))
        if version is not None and version is not self.version and version in self.entry.versions:
            self._use_version(version)
        self.session.config = dataclasses.replace(
            self.session.config,
            authenticate=lambda username, password: status,
            change_password=change_password,
        )
        if closed_text:
            self.session.refuse_logons(closed_text)
        else:
            self.session.accept_logons()
        self.connection = connection
        if self.entry.settings.message_log:
            begin_string = self.version.begin_string
            message_log = self.gateway.message_logs.of(self.comp_id, begin_string)
            connection.log_messages(message_log, message.frame)
        self._departure = None
        row = self.gateway.index.rows[self.number]
        row["connection"] = connection.row
        now_ms = self.gateway.now_ms()
        row["received_ms"] = 0
        row["sent_ms"] = 0
        self.act(self.session.connected(now_ms))
        self.act(self.session.receive(message, now_ms))

    def probe(self) -> None:
        """Ask whether the client is still there: another logon with its credentials came."""
        timeout_ms = self.gateway.config.fix.takeover_timeout_s * 1000
        self.act(self.session.probe(self.gateway.now_ms(), timeout_ms))

    def detach(self) -> None:
        """Take the connection away; reports go on being numbered and kept."""
        self.connection = None
        row = self.gateway.index.rows[self.number]
        row["connection"] = -1
        now_ms = self.gateway.now_ms()
        self.act(self.session.connection_lost(now_ms))
        departure, self._departure = self._departure, None
        if departure is not None and self.gateway.is_stopping:
            self.gateway.note_presence(self.number, 0)
        elif departure is not None:
            cancel = self.entry.settings.cancel_on_disconnect
            self.gateway.departures.left(self.number, cancel, departure, now_ms)
        self.gateway.fix.hours.left(self.number)

    def log_out(self, text: str) -> None:
        """Say goodbye to the client."""
        self.act(self.session.logout(text, self.gateway.now_ms()))


class FixSessions:
    """The FIX sessions of a gateway, by number."""

    def __init__(
        self, gateway: "Gateway", registry: SessionRegistry, credentials: Credentials
    ) -> None:
        self.gateway = gateway
        self.registry = registry
        self.by_number: dict[int, FixSession] = {}
        self.desk = LogonDesk(self, credentials)
        self.hours = Hours(self, gateway.now_ms())

    def find(self, comp_id: bytes, begin_string: bytes) -> FixSession | None:
        """Return the session of a SenderCompID and BeginString; in an open venue a new one is
        made for a new pair."""
        try:
            name, version = comp_id.decode("ascii"), begin_string.decode("ascii")
        except UnicodeDecodeError:
            return None
        entry = self.registry.find(name, PROTOCOL_FIX, version)
        if entry is None:
            return None
        session = self.by_number.get(entry.number)
        if session is None:
            session = self.by_number[entry.number] = FixSession(self.gateway, entry)
        return session

    def of_number(self, number: int) -> FixSession | None:
        """Return a FIX session by its number, whichever gateway is its home."""
        if number not in self.by_number and 0 < number <= len(self.registry):
            entry = self.registry[number]
            if entry.protocol == PROTOCOL_FIX:
                self.by_number[number] = FixSession(self.gateway, entry)
        return self.by_number.get(number)

    def held(self) -> Iterator[tuple[int, tuple[int, int]]]:
        """Yield (session, (first number that a throttle holds, number due next to the client when
        it began to hold))."""
        for number, session in self.by_number.items():
            if session.throttle is not None and session.throttle.held:
                first = session.throttle.held[0].seq_num or 0
                yield number, (first, session.held_out)

    def reset(self, number: int) -> None:
        """Begin the numbers of a session anew whose client is away."""
        self.discard_held(number)
        self.gateway.index.reset(number, self.gateway.now_ms())

    def discard_held(self, number: int) -> None:
        """Refuse what a session's throttle holds."""
        session = self.by_number.get(number)
        if session is not None:
            session.discard_held()

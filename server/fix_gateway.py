"""FIX sessions of a gateway: who may log on, and what happens to messages that the kernel leaves to
Python."""

import hmac
import logging
from typing import TYPE_CHECKING

from openoutcry.engine.latency import GatewayCounter, Protocol
from openoutcry.protocol.fix import events as ev
from openoutcry.protocol.fix.encode import MAX_REPORT_BYTES
from openoutcry.protocol.fix.message import Message
from openoutcry.protocol.fix.session import Session
from openoutcry.protocol.fix.session_config import SessionConfig
from openoutcry.server.sessions import PROTOCOL_FIX, SessionEntry, SessionRegistry
from openoutcry.server.store import GatewayStore, RowState

if TYPE_CHECKING:
    from openoutcry.server.connection import Connection, FixConnection
    from openoutcry.server.gateway import Gateway

log = logging.getLogger(__name__)

#: Messages sent again before other connections get their turn.
RESEND_SLICE = 512


class FixSession:
    """A FIX session with its numbers, its store and, while a client is there, its connection."""

    def __init__(self, gateway: "Gateway", entry: SessionEntry) -> None:
        self.gateway = gateway
        self.number = entry.number
        self.comp_id = entry.id
        self.connection: Connection | None = None
        # One slice is under way or planned: asking again must not plan a second chain of them.
        self._is_resend_due = False
        fix = gateway.config.fix
        password = entry.password

        def authenticate(username: bytes | None, given: bytes | None) -> bool:
            return password is None or hmac.compare_digest(password.encode(), given or b"")

        self.session = Session(
            SessionConfig(
                sender_comp_id=gateway.config.venue.comp_id,
                target_comp_id=entry.id,
                min_heartbeat_s=fix.heartbeat_min_s,
                max_heartbeat_s=fix.heartbeat_max_s,
                sending_time_window_ms=fix.sending_time_window_s * 1000,
                logon_timeout_ms=fix.logon_timeout_s * 1000,
                logout_timeout_ms=fix.logout_timeout_s * 1000,
                authenticate=authenticate,
                max_message_size=fix.max_message_bytes,
                # The kernels encode reports of any length up to this one.
                largest_sent=MAX_REPORT_BYTES,
            ),
            RowState(gateway.index.rows[entry.number]),
            GatewayStore(gateway, entry.number),
        )

    def receive(self, frame: bytes | Message) -> None:
        """Take one frame in."""
        self.act(self.session.receive(frame, self.gateway.now_ms()))

    def poll(self, now_ms: int) -> None:
        """Let the session look at its timers; the fast path's traffic counts."""
        row = self.gateway.index.rows[self.number]
        if row["received_ms"] > 0:
            self.session.note_received(int(row["received_ms"]))
        if row["sent_ms"] > 0:
            self.session.note_sent(int(row["sent_ms"]))
        self.act(self.session.poll(now_ms))

    def act(self, events: list[ev.Event]) -> None:
        """Do what the session's events ask for, then send what it has to say."""
        connection = self.connection
        counters = self.gateway.metrics.counters
        closing: ev.Disconnect | None = None
        for event in events:
            match event:
                case ev.Application():
                    self.gateway.orders.take_fix(self, event.message)
                case ev.Disconnect():
                    closing = event
                case ev.LoggedOn():
                    log.info(
                        "logged on: session=%s heartbeat_s=%d", self.comp_id, event.heartbeat_s
                    )
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
            self.gateway.loop.call_soon(self._resend)

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
        data = self.session.resend_slice(self.gateway.now_ms(), RESEND_SLICE)
        if data:
            connection.write(data)
        self._mark()
        if self.session.is_resending:
            self._is_resend_due = True
            self.gateway.loop.call_soon(self._resend)

    def _mark(self) -> None:
        """Tell the kernels whether they may use this session's connection."""
        row = self.gateway.index.rows[self.number]
        is_open = self.connection is not None
        row["is_live"] = int(is_open and self.session.can_send)
        row["takes_orders"] = int(is_open and self.session.is_live)

    def attach(self, connection: "Connection", message: Message) -> None:
        """Give the session to a connection whose first message is this Logon."""
        self.connection = connection
        row = self.gateway.index.rows[self.number]
        row["connection"] = connection.row
        now_ms = self.gateway.now_ms()
        row["received_ms"] = 0
        row["sent_ms"] = 0
        self.act(self.session.connected(now_ms))
        self.act(self.session.receive(message, now_ms))

    def detach(self) -> None:
        """Take the connection away; reports go on being numbered and kept."""
        self.connection = None
        row = self.gateway.index.rows[self.number]
        row["connection"] = -1
        self.act(self.session.connection_lost(self.gateway.now_ms()))

    def log_out(self, text: str) -> None:
        """Say goodbye to the client."""
        self.act(self.session.logout(text, self.gateway.now_ms()))


class FixSessions:
    """The FIX sessions of a gateway, by SenderCompID."""

    def __init__(self, gateway: "Gateway", registry: SessionRegistry) -> None:
        self.gateway = gateway
        self.registry = registry
        self.by_number: dict[int, FixSession] = {}

    def first_message(self, connection: "FixConnection", message: Message) -> None:
        """Take the first message of a connection: a Logon that is for us, or the connection
        ends."""
        sender = message.get(49) or b""
        target = message.get(56) or b""
        if message.msg_type != "A":
            connection.close("first message is no Logon", is_error=True)
            return
        if target != self.gateway.config.venue.comp_id.encode():
            connection.close("Logon for another TargetCompID", is_error=True)
            return
        session = self.find(sender, message.get(8) or b"")
        if session is None:
            connection.close("Logon with an unknown SenderCompID", is_error=True)
            return
        if session.connection is not None:
            # The first one goes on; no answer, as the numbers are the live connection's.
            connection.close("session is logged on already", is_error=True)
            return
        connection.session = session
        connection.session_number = session.number
        session.attach(connection, message)

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
            self.gateway.set_comp_ids(entry.number, name, entry.versions[-1])
        return session

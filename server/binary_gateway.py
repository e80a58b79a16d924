"""Binary sessions of a gateway: logon, recovery, and the frames that the kernel leaves to
Python."""

import functools
import logging
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import msgspec

from openoutcry.engine.latency import GatewayCounter, Protocol
from openoutcry.protocol.binary import session as bs
from openoutcry.protocol.binary.enums import LogoutReason, RejectReason
from openoutcry.protocol.binary.frames import encode_frame
from openoutcry.protocol.binary.messages import Reject, SymbolDefinition
from openoutcry.server.credentials import Given, Verdict
from openoutcry.server.departures import Trigger
from openoutcry.server.registry import SessionEntry, SessionRegistry
from openoutcry.server.sessions import PROTOCOL_BINARY
from openoutcry.server.store import RowState, SentMessages

if TYPE_CHECKING:
    from openoutcry.server.connection import Connection
    from openoutcry.server.gateway import Gateway

log = logging.getLogger(__name__)

#: Messages repeated before other connections get their turn, the pause after them, and how many at
#: most are added because as many were numbered meanwhile; see RESEND_SLICE of the FIX gateway.
REPEAT_SLICE = 128
REPEAT_PAUSE_S = 0.001
REPEAT_ADDED = 2048

_reject_decoder = msgspec.msgpack.Decoder(Reject)


def _repeat(frame: bytes, *, repeated: bool) -> bytes:
    """Return a Reject, as it was stored, for another time."""
    message = _reject_decoder.decode(frame[4:])
    return encode_frame(msgspec.structs.replace(message, repeated=repeated))


class BinaryLink:
    """A binary session over one connection."""

    def __init__(self, gateway: "Gateway", connection: "Connection") -> None:
        self.gateway = gateway
        self.connection = connection
        self.entry: SessionEntry | None = None
        self.number = 0
        self._departure: Trigger = "connection_lost"
        self.session = bs.BinarySession(
            connection.opened_ms, logon_timeout_ms=gateway.config.binary.logon_timeout_s * 1000
        )

    def receive(self, payload: bytes) -> None:
        """Take the payload of one frame in."""
        self.act(self.session.receive_payload(payload, self.gateway.now_ms()))

    def too_long(self, length: int) -> None:
        """End the session: a frame claims to be longer than allowed."""
        limit = self.gateway.config.binary.max_message_bytes
        self.act(self.session.too_long(length, limit, self.gateway.now_ms()))

    def poll(self, now_ms: int) -> None:
        """Let the session look at its timers; the fast path's traffic counts."""
        if self.number:
            row = self.gateway.index.rows[self.number]
            if row["received_ms"] > 0:
                self.session.note_received(int(row["received_ms"]))
            if row["sent_ms"] > 0:
                self.session.note_sent(int(row["sent_ms"]))
        self.act(self.session.poll(now_ms))

    def act(self, event: bs.Event | None) -> None:
        """Do what an event asks for, then send what the session has to say."""
        match event:
            case bs.LogonRequest():
                self.act(self._log_on(event))
                return
            case bs.Application() | bs.Malformed() if self._was_answered(event.seq):
                pass
            case bs.Application():
                self.gateway.orders.take_binary(self, event.message)
            case bs.Malformed():
                self.reject(event.seq, event.cl_ord_id, RejectReason.MALFORMED_MESSAGE, event.text)
            case _:
                pass
        data = self.session.data_to_send()
        if data:
            self.connection.write(data)
        if isinstance(event, bs.Disconnect):
            is_error = event.reason not in {LogoutReason.NORMAL, LogoutReason.VENUE_STOPPING}
            self._departure = "connection_lost" if is_error else "logout"
            self.connection.close(event.text or event.reason.name, is_error=is_error)

    def _log_on(self, request: bs.LogonRequest) -> bs.Event | None:
        """Look for the session, and have its credentials judged: in a thread where it takes a
        hash."""
        gateway = self.gateway
        home = gateway.registry.home(request.session_id, PROTOCOL_BINARY)
        if gateway.is_elsewhere(self.connection, home):
            return None
        entry = gateway.binary.registry.find(request.session_id, PROTOCOL_BINARY)
        if entry is None or gateway.credentials.locks.is_locked(entry.number, gateway.now_ms()):
            return self._not_authorized()
        future = gateway.credentials.judge(entry, Given(None, request.password.encode()))
        if future.done():
            return self._judged(entry, future.result())
        self.connection.hold()
        later = functools.partial(self._judged_later, entry)
        future.add_done_callback(lambda done: gateway.loop.call_soon_threadsafe(later, done))
        return None

    def _judged_later(self, entry: SessionEntry, done: "Future[Verdict]") -> None:
        if self.connection.is_closed or done.cancelled():
            return
        error = done.exception()
        if error is not None:
            log.error("credentials cannot be judged: session=%s", entry.id, exc_info=error)
            self.connection.close("credentials cannot be judged", is_error=True)
            return
        self.act(self._judged(entry, done.result()))
        self.connection.release()

    def _not_authorized(self) -> bs.Event:
        # One wording for all causes: strangers need not learn which sessions exist.
        text = "session id or password is not valid"
        return self.session.refuse(LogoutReason.NOT_AUTHORIZED, text, self.gateway.now_ms())

    def _judged(self, entry: SessionEntry, verdict: Verdict) -> bs.Event | None:
        gateway = self.gateway
        now_ms = gateway.now_ms()
        gateway.credentials.note(entry, is_authentic=verdict.is_authentic, now_ms=now_ms)
        if not verdict.is_authentic:
            return self._not_authorized()
        if entry.number in gateway.binary.links:
            return self.session.refuse(
                LogoutReason.ALREADY_LOGGED_ON, "the session is logged on already", now_ms
            )
        row = gateway.index.rows[entry.number]
        answer = self.session.accept(
            RowState(row),
            session_number=entry.number,
            symbols=gateway.binary.definitions,
            now_ms=now_ms,
            oldest_out=int(row["oldest_out"]),
        )
        if isinstance(answer, bs.Disconnect):
            return answer
        self.entry = entry
        self.number = entry.number
        self.connection.session_number = entry.number
        gateway.binary.links[entry.number] = self
        gateway.departures.returned(entry.number)
        row["connection"] = self.connection.row
        row["received_ms"] = 0
        row["sent_ms"] = 0
        log.info(
            "logged on: session=%s last_accepted=%d repeats=%d",
            entry.id,
            row["next_in"] - 1,
            len(answer),
        )
        self.connection.write(self.session.data_to_send())
        if self.connection.is_closed:
            return None
        self._mark()
        if answer:
            gateway.metrics.counters[GatewayCounter.RESENDS + Protocol.BINARY] += 1
            self._repeat_from(answer.start, answer.stop, int(row["next_out"]))
        else:
            row["is_live"] = 1
        return None

    def _mark(self) -> None:
        """Have the kernel take orders, once nothing can come again that was answered before a
        crash."""
        answers, row = self.gateway.index.answers, self.gateway.index.rows[self.number]
        row["takes_orders"] = int(not answers.is_repeating(self.number, int(row["next_in"])))

    def _was_answered(self, number: int) -> bool:
        """Pass over a message that comes again and was answered before a crash."""
        if not self.gateway.index.answers.was_answered(self.number, number):
            return False
        self.gateway.index.rows[self.number]["next_in"] += 1
        self._mark()
        return True

    def _repeat_from(self, first: int, stop: int, seen: int) -> None:
        """Repeat messages a slice at a time, then what was numbered meanwhile, then go live.

        `seen` is how far messages were numbered when the last slice was made.
        """
        if self.connection.is_closed or self.number == 0:
            return
        if self.connection.is_writing_paused:
            self.gateway.loop.call_later(0.01, self._repeat_from, first, stop, seen)
            return
        row = self.gateway.index.rows[self.number]
        end = int(row["next_out"])
        last = min(first + REPEAT_SLICE + min(end - seen, REPEAT_ADDED), end) - 1
        if first <= last:
            runs = SentMessages(self.gateway, self.number).runs(
                first,
                last,
                lambda number, frame: _repeat(frame, repeated=number < stop),
                repeat_below=stop,
            )
            self.connection.write(b"".join(data for _, _, data in runs if data is not None))
        if self.connection.is_closed:
            return
        if last + 1 < end:
            self.gateway.loop.call_later(REPEAT_PAUSE_S, self._repeat_from, last + 1, stop, end)
        else:
            row["is_live"] = 1

    def reject(self, seq: int, cl_ord_id: str, reason: RejectReason, text: str) -> None:
        """Answer a message that does not reach a shard."""
        answer = self.session.reject(seq, cl_ord_id, reason, text)
        self._send_reject(answer)

    def decline(self, seq: int, cl_ord_id: str, reason: RejectReason, text: str) -> None:
        """Answer a message that came by as Application and whose number is counted already."""
        row = self.gateway.index.rows[self.number]
        answer = Reject(int(row["next_out"]), False, seq, cl_ord_id, int(reason), text)
        row["next_out"] += 1
        self._send_reject(answer)

    def _send_reject(self, answer: Reject) -> None:
        frame = encode_frame(answer)
        index = self.gateway.index
        now_ms = self.gateway.now_ms()
        source = index.store_bytes(frame, self.number, answer.ref_seq)
        index.append(self.number, answer.seq, now_ms, source)
        self.gateway.metrics.counters[GatewayCounter.REJECTS + min(answer.reason, 127)] += 1
        if index.rows[self.number]["is_live"]:
            self.connection.write(frame)
            self.session.note_sent(now_ms)

    def detach(self) -> None:
        """The connection is gone; reports go on being numbered and kept."""
        if self.number:
            row = self.gateway.index.rows[self.number]
            row["connection"] = -1
            row["is_live"] = 0
            row["takes_orders"] = 0
            self.gateway.binary.links.pop(self.number, None)
        number, self.number = self.number, 0
        if number and self.gateway.is_stopping:
            self.gateway.note_presence(number, 0)
        elif number and self.entry is not None:
            cancel = self.entry.settings.cancel_on_disconnect
            now_ms = self.gateway.now_ms()
            self.gateway.departures.left(number, cancel, self._departure, now_ms)

    def log_out(self, text: str) -> None:
        """Say goodbye to the client."""
        self.act(self.session.logout(LogoutReason.VENUE_STOPPING, text, self.gateway.now_ms()))


class BinarySessions:
    """The binary sessions of a gateway that are logged on, and what a logon gets to know."""

    def __init__(self, gateway: "Gateway", registry: SessionRegistry) -> None:
        self.registry = registry
        self.links: dict[int, BinaryLink] = {}
        self.definitions: list[Any] = [
            SymbolDefinition(
                number,
                symbol.name,
                symbol.tick,
                symbol.lot,
                symbol.min_price_ticks,
                symbol.max_price_ticks,
                symbol.min_qty_lots,
                symbol.max_qty_lots,
            )
            # Those not listed are for reports of before; a client that goes by names takes the last
            # of a name.
            for number, symbol in sorted(
                enumerate(gateway.config.symbols), key=lambda pair: pair[1].listed
            )
        ]

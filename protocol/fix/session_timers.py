"""The clocks of a FIX session: what is due when, and what happens then."""

from openoutcry.protocol.fix.session_core import SessionCore
from openoutcry.protocol.fix.session_table import State

_FIRST_ANSWER = (State.AWAITING_LOGON, State.LOGON_SENT)


class Timers:
    """What a session does of its own accord."""

    def __init__(self, core: SessionCore) -> None:
        self._core = core
        self._probe_timeout_ms = 0

    def connected(self, now_ms: int) -> None:
        """Start anew with a connection."""
        core = self._core
        core.outbox.last_sent_ms = now_ms
        core.note_life(now_ms)
        core.deadline_ms = now_ms + core.config.logon_timeout_ms

    def probe(self, now_ms: int, timeout_ms: int) -> None:
        """Ask the peer for a sign of life, unless it is asked already."""
        core = self._core
        if core.connection is not State.ACTIVE or core.probe_deadline_ms is not None:
            return
        self._probe_timeout_ms = timeout_ms
        core.probe_deadline_ms = now_ms + timeout_ms
        core.send("1", [(112, b"PROBE-%d" % core.state.next_out)], now_ms)

    def poll(self, now_ms: int) -> None:
        """Act on what is due."""
        core = self._core
        core.outbox.last_sent_ms = min(core.outbox.last_sent_ms, now_ms)
        core.last_received_ms = min(core.last_received_ms, now_ms)
        if core.connection in _FIRST_ANSWER:
            if now_ms >= core.deadline_ms:
                core.close("no Logon in time")
        elif core.connection is State.LOGOUT_SENT:
            if now_ms >= core.deadline_ms:
                core.close("Logout not answered")
        elif core.connection is State.ACTIVE:
            for act in (self._poll_probe, self._poll_gap, self._poll_heartbeats):
                if core.connection is State.ACTIVE:
                    act(now_ms)

    def _poll_probe(self, now_ms: int) -> None:
        core = self._core
        if core.probe_deadline_ms is None:
            return
        core.probe_deadline_ms = min(core.probe_deadline_ms, now_ms + self._probe_timeout_ms)
        if now_ms >= core.probe_deadline_ms:
            text = f"TestRequest not answered for {self._probe_timeout_ms} ms"
            core.fatal("no sign of life", text, now_ms)

    def _poll_gap(self, now_ms: int) -> None:
        """Ask again where a gap has not moved: a resent message may have come garbled."""
        core = self._core
        gap = core.gap
        if not gap.is_open:
            return
        gap.deadline_ms = min(gap.deadline_ms, now_ms + core.config.gap_timeout_ms)
        if now_ms < gap.deadline_ms:
            return
        if gap.is_hopeless(core.state.next_in):
            core.fatal("gap not filled", f"MsgSeqNum {core.state.next_in} never came", now_ms)
            return
        core.request_resend(now_ms)

    def _poll_heartbeats(self, now_ms: int) -> None:
        core = self._core
        if not core.heartbeat_s:
            return
        if core.test_request_ms is None:
            if now_ms - core.last_received_ms >= self._grace_ms:
                core.test_request_ms = now_ms
                core.send("1", [(112, b"TEST-%d" % core.state.next_out)], now_ms)
        elif now_ms - core.test_request_ms >= self._grace_ms:
            text = f"Nothing received for {self._grace_ms * 2} ms"
            core.fatal("heartbeat timeout", text, now_ms)
            return
        if now_ms - core.outbox.last_sent_ms >= core.heartbeat_s * 1000:
            core.send("0", [], now_ms)

    @property
    def _grace_ms(self) -> int:
        return self._core.heartbeat_s * 1200

    def next_timeout_ms(self) -> int | None:
        """Return when something is due next, or None where no timer runs."""
        core = self._core
        if core.connection is State.LOGOUT_SENT or core.connection in _FIRST_ANSWER:
            return core.deadline_ms
        if core.connection is not State.ACTIVE:
            return None
        due = [core.gap.deadline_ms] if core.gap.is_open else []
        if core.probe_deadline_ms is not None:
            due.append(core.probe_deadline_ms)
        if core.heartbeat_s:
            waiting_since = core.last_received_ms
            if core.test_request_ms is not None:
                waiting_since = core.test_request_ms
            due.append(core.outbox.last_sent_ms + core.heartbeat_s * 1000)
            due.append(waiting_since + self._grace_ms)
        return min(due, default=None)

"""Session schedules at work: ends sessions, refuses logons outside hours, begins numbers anew."""

import itertools
import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from openoutcry.server.registry import SessionEntry
from openoutcry.server.schedule import Opening, last_reset, next_change, next_opening, opening_at
from openoutcry.server.session_settings import Schedule
from openoutcry.server.sessions import PROTOCOL_FIX

if TYPE_CHECKING:
    from openoutcry.server.fix_gateway import FixSessions

log = logging.getLogger(__name__)


def _datetime(now_ms: int) -> datetime:
    return datetime.fromtimestamp(now_ms / 1000, UTC)


def _due_ms(schedule: Schedule, now: datetime) -> int:
    return int(next_change(schedule, now).timestamp() * 1000)


@dataclass(slots=True)
class _State:
    opening: Opening | None
    reset_at: datetime | None
    due_ms: int
    looked_ms: int
    members: list[int] = field(default_factory=list)


class Hours:
    """The schedules of a gateway's FIX sessions; one state for all sessions that share one.

    Args:
        sessions: the sessions.
        now_ms: UTC. What is due before is taken as done, unless `catch_up` finds that it was not.
    """

    def __init__(self, sessions: "FixSessions", now_ms: int) -> None:
        self._sessions = sessions
        self._states: dict[Schedule, _State] = {}
        #: Sessions whose numbers begin anew as soon as their client is gone.
        self._pending: set[int] = set()
        self._known = 0
        self._take_in(now_ms)

    def _take_in(self, now_ms: int) -> None:
        """Note the schedules of sessions that are new: dynamic ones come while the venue runs."""
        if self._known == len(self._sessions.registry):
            return
        for entry in itertools.islice(self._sessions.registry, self._known, None):
            self._known += 1
            schedule = entry.settings.schedule
            if entry.protocol != PROTOCOL_FIX or schedule is None:
                continue
            if entry.home != self._sessions.gateway.number:
                continue
            state = self._states.get(schedule)
            if state is None:
                now = _datetime(now_ms)
                state = self._states[schedule] = _State(
                    opening_at(schedule, now),
                    last_reset(schedule, now),
                    _due_ms(schedule, now),
                    now_ms,
                )
            state.members.append(entry.number)

    def catch_up(self, now_ms: int) -> None:
        """Begin the numbers anew of those sessions whose reset was due while no gateway ran."""
        self._take_in(now_ms)
        rows = self._sessions.gateway.index.rows
        for schedule, state in self._states.items():
            reset_at = last_reset(schedule, _datetime(now_ms))
            if reset_at is None:
                continue
            reset_ms = int(reset_at.timestamp() * 1000)
            late = [n for n in state.members if 0 < rows[n]["epoch_ms"] < reset_ms]
            for number in late:
                self._sessions.reset(number)
            if late:
                log.info("schedule: numbers begun anew of sessions=%d, due before", len(late))

    def closed_text(self, entry: SessionEntry, now_ms: int) -> str:
        """Return why a session cannot log on now, or an empty text."""
        schedule = entry.settings.schedule
        if schedule is None:
            return ""
        self._take_in(now_ms)
        state = self._states[schedule]
        self._look(schedule, state, now_ms)
        if state.opening is not None:
            return ""
        start = next_opening(schedule, _datetime(now_ms)).start
        return f"Session closed until {start:%Y%m%d-%H:%M:%S} UTC"

    def poll(self, now_ms: int) -> None:
        """Do what is due: end sessions, begin numbers anew."""
        self._take_in(now_ms)
        for schedule, state in self._states.items():
            self._look(schedule, state, now_ms)

    def _look(self, schedule: Schedule, state: _State, now_ms: int) -> None:
        if state.looked_ms <= now_ms < state.due_ms:
            return
        now = _datetime(now_ms)
        opening, reset_at = opening_at(schedule, now), last_reset(schedule, now)
        state.due_ms, state.looked_ms = _due_ms(schedule, now), now_ms
        was_open, state.opening = state.opening, opening
        is_over = was_open is not None and (opening is None or opening.start > was_open.start)
        is_reset = reset_at is not None and (state.reset_at is None or reset_at > state.reset_at)
        if is_reset:
            state.reset_at = reset_at
        if not is_over and not is_reset:
            return
        log.info(
            "schedule: sessions=%d ended=%s numbers_begin_anew=%s",
            len(state.members),
            is_over,
            is_reset,
        )
        for number in state.members:
            session = self._sessions.by_number.get(number)
            is_connected = session is not None and session.connection is not None
            if is_reset and not is_connected:
                self._sessions.reset(number)
            elif is_reset:
                self._pending.add(number)
            if session is not None and is_connected and is_over:
                session.log_out("End of session")

    def left(self, session: int) -> None:
        """Begin a session's numbers anew where that was due while its client was there."""
        if session in self._pending:
            self._pending.discard(session)
            self._sessions.reset(session)

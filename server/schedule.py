"""When a session is open, and when its numbers begin anew: pure functions of a time.

A schedule names local times of day in a time zone. They are turned into instants of UTC one by one,
so that a session keeps its local hours when the clocks change and is an hour shorter or longer on
that day. A local time that the clocks skip is as much later as they skip; of one that they show
twice, the first counts. An opening of which nothing is left by that does not take place.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from openoutcry.server.session_settings import WEEKDAYS, Schedule

_DAY = timedelta(days=1)
_WEEK = 7


@dataclass(frozen=True, slots=True)
class Opening:
    """A time for which sessions are open: from `start` until just before `end`, UTC."""

    start: datetime
    end: datetime
    #: Whether numbers begin anew with it.
    is_reset: bool


def opening_at(schedule: Schedule, now: datetime) -> Opening | None:
    """Return the opening that holds an instant, or None where sessions are closed then.

    Of two that touch, the later one. `now` is aware of its time zone.
    """
    found = None
    for opening in _openings(schedule, now):
        if opening.start <= now < opening.end:
            found = opening
    return found


def next_opening(schedule: Schedule, now: datetime) -> Opening:
    """Return the first opening that begins after an instant."""
    return next(opening for opening in _openings(schedule, now) if opening.start > now)


def next_change(schedule: Schedule, now: datetime) -> datetime:
    """Return when sessions open or close next, UTC, after an instant."""
    following = next_opening(schedule, now).start
    opening = opening_at(schedule, now)
    return following if opening is None else min(opening.end, following)


def last_reset(schedule: Schedule, now: datetime) -> datetime | None:
    """Return the latest instant, at or before `now`, at which numbers began anew.

    None where they never do.
    """
    if schedule.reset == "never":
        return None
    starts = [
        opening.start
        for opening in _openings(schedule, now)
        if opening.is_reset and opening.start <= now
    ]
    return starts[-1] if starts else None


def _openings(schedule: Schedule, now: datetime) -> Iterator[Opening]:
    """Yield the openings around an instant: all that may hold it, and those of a week on each
    side."""
    zone = ZoneInfo(schedule.time_zone)
    start, end = time.fromisoformat(schedule.start), time.fromisoformat(schedule.end)
    today = now.astimezone(zone).date()
    for offset in range(-_WEEK - 1, _WEEK + 2):
        day = today + offset * _DAY
        days = _days_open(schedule, day, is_over_midnight=end <= start)
        if days is None:
            continue
        opening = Opening(
            _instant(day, start, zone),
            _instant(day + days * _DAY, end, zone),
            _is_reset(schedule, day),
        )
        if opening.start < opening.end:
            yield opening


def _days_open(schedule: Schedule, day: date, *, is_over_midnight: bool) -> int | None:
    """Return on which day after `day` a session ends that starts on it; None: none starts."""
    weekday = WEEKDAYS[day.weekday()]
    if schedule.start_day is None or schedule.end_day is None:
        return int(is_over_midnight) if weekday in schedule.days else None
    if weekday != schedule.start_day:
        return None
    days = (WEEKDAYS.index(schedule.end_day) - WEEKDAYS.index(schedule.start_day)) % _WEEK
    return _WEEK if days == 0 and is_over_midnight else days


def _is_reset(schedule: Schedule, day: date) -> bool:
    if schedule.reset == "weekly" and schedule.start_day is None:
        return WEEKDAYS[day.weekday()] == schedule.days[0]
    return schedule.reset != "never"


@lru_cache(maxsize=4096)
def _instant(day: date, at: time, zone: ZoneInfo) -> datetime:
    """Return a local time as UTC."""
    return datetime.combine(day, at, zone).astimezone(UTC)

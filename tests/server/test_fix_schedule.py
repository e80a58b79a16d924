"""When sessions are open: fixed days with their hours, over midnight, weeks, and clock changes."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openoutcry.server.schedule import last_reset, next_change, next_opening, opening_at
from openoutcry.server.session_settings import WEEKDAYS, Schedule, Weekday

WORKDAYS: tuple[Weekday, ...] = WEEKDAYS[:5]
#: A Monday.
MONDAY = datetime(2026, 11, 23, tzinfo=UTC)


def at(text: str) -> datetime:
    """Return an instant, UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def hours(schedule: Schedule, now: str) -> str:
    """Return the opening that holds an instant, as text."""
    found = opening_at(schedule, at(now))
    if found is None:
        return "closed"
    return f"{found.start:%a %d %H:%M} - {found.end:%a %d %H:%M}"


DAY = Schedule(start="08:00:00", end="17:30:00", days=WORKDAYS)
NIGHT = Schedule(start="18:00:00", end="17:00:00", days=("sunday", *WORKDAYS[:4]))
ROUND = Schedule(start="00:00:00", end="00:00:00")
WEEK = Schedule(start="22:00:00", end="21:00:00", start_day="sunday", end_day="friday")
FULL_WEEK = Schedule(start="06:00:00", end="06:00:00", start_day="monday", end_day="monday")


@pytest.mark.parametrize(
    ("schedule", "now", "expected"),
    [
        (DAY, "2026-11-23 07:59:59", "closed"),
        (DAY, "2026-11-23 08:00:00", "Mon 23 08:00 - Mon 23 17:30"),
        (DAY, "2026-11-23 17:29:59", "Mon 23 08:00 - Mon 23 17:30"),
        (DAY, "2026-11-23 17:30:00", "closed"),
        (DAY, "2026-11-28 12:00:00", "closed"),
        (NIGHT, "2026-11-22 17:59:59", "closed"),
        (NIGHT, "2026-11-22 18:00:00", "Sun 22 18:00 - Mon 23 17:00"),
        (NIGHT, "2026-11-23 00:00:00", "Sun 22 18:00 - Mon 23 17:00"),
        (NIGHT, "2026-11-23 17:30:00", "closed"),
        (NIGHT, "2026-11-27 16:59:59", "Thu 26 18:00 - Fri 27 17:00"),
        (NIGHT, "2026-11-27 18:00:00", "closed"),
        (ROUND, "2026-11-23 23:59:59", "Mon 23 00:00 - Tue 24 00:00"),
        (ROUND, "2026-11-24 00:00:00", "Tue 24 00:00 - Wed 25 00:00"),
        (WEEK, "2026-11-22 21:59:59", "closed"),
        (WEEK, "2026-11-22 22:00:00", "Sun 22 22:00 - Fri 27 21:00"),
        (WEEK, "2026-11-27 20:59:59", "Sun 22 22:00 - Fri 27 21:00"),
        (WEEK, "2026-11-27 21:00:00", "closed"),
        (FULL_WEEK, "2026-11-23 05:59:59", "Mon 16 06:00 - Mon 23 06:00"),
        (FULL_WEEK, "2026-11-23 06:00:00", "Mon 23 06:00 - Mon 30 06:00"),
    ],
)
def test_hours(schedule: Schedule, now: str, expected: str):
    assert hours(schedule, now) == expected


@pytest.mark.parametrize(
    ("schedule", "now", "expected"),
    [
        (DAY, "2026-11-23 07:00:00", "2026-11-23 08:00:00"),
        (DAY, "2026-11-23 08:00:00", "2026-11-23 17:30:00"),
        (DAY, "2026-11-27 17:30:00", "2026-11-30 08:00:00"),
        (NIGHT, "2026-11-23 12:00:00", "2026-11-23 17:00:00"),
        (ROUND, "2026-11-23 12:00:00", "2026-11-24 00:00:00"),
        (ROUND, "2026-11-24 00:00:00", "2026-11-25 00:00:00"),
        (WEEK, "2026-11-27 21:00:00", "2026-11-29 22:00:00"),
        (FULL_WEEK, "2026-11-25 00:00:00", "2026-11-30 06:00:00"),
    ],
)
def test_next_change(schedule: Schedule, now: str, expected: str):
    assert next_change(schedule, at(now)) == at(expected)


@pytest.mark.parametrize(
    ("settings", "now", "expected"),
    [
        ({"reset": "daily"}, "2026-11-25 12:00:00", "2026-11-25 08:00:00"),
        ({"reset": "daily"}, "2026-11-25 07:00:00", "2026-11-24 08:00:00"),
        ({"reset": "daily"}, "2026-11-29 12:00:00", "2026-11-27 08:00:00"),
        ({"reset": "weekly"}, "2026-11-25 12:00:00", "2026-11-23 08:00:00"),
        ({"reset": "weekly"}, "2026-11-23 07:59:59", "2026-11-16 08:00:00"),
        ({"reset": "weekly", "days": ("wednesday", "monday")}, "2026-11-24 09:00:00", "18 08:00"),
        ({"reset": "never"}, "2026-11-25 12:00:00", None),
    ],
)
def test_numbers_begin_anew(settings: dict[str, Any], now: str, expected: str | None):
    schedule = Schedule(start="08:00:00", end="17:30:00", **{"days": WORKDAYS, **settings})
    found = last_reset(schedule, at(now))
    if expected is not None and len(expected) < 10:
        expected = f"2026-11-{expected}:00"
    assert found == (None if expected is None else at(expected))


@pytest.mark.parametrize("reset", ["daily", "weekly"])
def test_a_session_of_a_week_begins_anew_with_each(reset: Any):
    schedule = Schedule(
        start="22:00:00", end="21:00:00", start_day="sunday", end_day="friday", reset=reset
    )
    assert last_reset(schedule, at("2026-11-28 12:00:00")) == at("2026-11-22 22:00:00")


@pytest.mark.parametrize(
    ("start", "end", "now", "expected_start", "length_h"),
    [
        # Summer time begins on 8 March 2026 at 02:00, and ends on 1 November at 02:00.
        ("20:00:00", "16:00:00", "2026-03-08 12:00", "2026-03-08 01:00", 19),
        ("20:00:00", "16:00:00", "2026-03-09 12:00", "2026-03-09 00:00", 20),
        ("20:00:00", "16:00:00", "2026-11-01 12:00", "2026-11-01 00:00", 21),
        # 02:30 is skipped: it is 03:30; 01:30 comes twice: the first counts.
        ("02:30:00", "16:00:00", "2026-03-08 12:00", "2026-03-08 07:30", 12.5),
        ("01:30:00", "16:00:00", "2026-11-01 12:00", "2026-11-01 05:30", 15.5),
    ],
)
def test_local_hours_stay_when_the_clocks_change(
    start: str, end: str, now: str, expected_start: str, length_h: float
):
    schedule = Schedule(start=start, end=end, time_zone="America/New_York")
    found = opening_at(schedule, at(now))
    assert found is not None
    assert found.start == at(expected_start)
    assert found.end - found.start == timedelta(hours=length_h)


def test_an_opening_inside_the_skipped_hour_does_not_take_place():
    schedule = Schedule(start="02:10:00", end="03:05:00", time_zone="America/New_York")
    night = at("2026-03-08 04:00")
    assert all(opening_at(schedule, night + timedelta(minutes=n)) is None for n in range(600))
    assert next_opening(schedule, night).start == at("2026-03-09 06:10")


_seconds = st.integers(0, 86399)


def _text(second: int) -> str:
    return f"{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}"


@given(
    _seconds,
    _seconds,
    st.lists(st.sampled_from(WEEKDAYS), min_size=1, unique=True),
    st.integers(0, 14 * 86400),
)
def test_days_with_hours_are_what_they_say(start: int, end: int, days: list[Weekday], second: int):
    schedule = Schedule(start=_text(start), end=_text(end), days=tuple(days))
    now = MONDAY + timedelta(seconds=second)
    today = second % 86400
    weekday, yesterday = WEEKDAYS[now.weekday()], WEEKDAYS[now.weekday() - 1]
    if start < end:
        expected = weekday in days and start <= today < end
    else:
        expected = (weekday in days and today >= start) or (yesterday in days and today < end)
    assert (opening_at(schedule, now) is not None) == expected


@given(
    _seconds,
    _seconds,
    st.sampled_from(WEEKDAYS),
    st.sampled_from(WEEKDAYS),
    st.integers(0, 14 * 86400),
)
def test_a_week_is_what_it_says(
    start: int, end: int, start_day: Weekday, end_day: Weekday, second: int
):
    schedule = Schedule(start=_text(start), end=_text(end), start_day=start_day, end_day=end_day)
    now = MONDAY + timedelta(seconds=second)
    opens = WEEKDAYS.index(start_day) * 86400 + start
    closes = WEEKDAYS.index(end_day) * 86400 + end
    length = (closes - opens) % (7 * 86400) or 7 * 86400
    expected = (second - opens) % (7 * 86400) < length
    assert (opening_at(schedule, now) is not None) == expected


@given(
    _seconds,
    _seconds,
    st.lists(st.sampled_from(WEEKDAYS), min_size=1, unique=True),
    st.sampled_from(["UTC", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]),
    st.sampled_from(["daily", "weekly", "never"]),
    st.integers(0, 366 * 86400),
)
def test_nothing_changes_between_two_changes(
    start: int, end: int, days: list[Weekday], zone: str, reset: Any, second: int
):
    schedule = Schedule(
        start=_text(start), end=_text(end), days=tuple(days), time_zone=zone, reset=reset
    )
    now = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=second)
    change = next_change(schedule, now)
    assert now < change
    before = opening_at(schedule, now)
    just_before = change - timedelta(seconds=1)
    if just_before > now:
        assert opening_at(schedule, just_before) == before
        assert last_reset(schedule, just_before) == last_reset(schedule, now)
    after = opening_at(schedule, change)
    assert after != before
    if after is not None and after.is_reset:
        assert last_reset(schedule, change) == change

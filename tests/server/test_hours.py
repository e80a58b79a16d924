"""Session schedules at work, on a clock that the test sets."""

import time
from datetime import UTC, datetime
from typing import Any
from unittest.mock import MagicMock

import pytest

from openoutcry.server.hours import Hours
from openoutcry.server.registry import SessionEntry
from openoutcry.server.session_settings import Schedule, SessionDefaults
from openoutcry.server.sessions import PROTOCOL_BINARY, PROTOCOL_FIX

DAY = Schedule(start="08:00:00", end="17:00:00")
ROUND = Schedule(start="12:00:00", end="12:00:00", reset="weekly")


def ms(text: str) -> int:
    """Return a time of 23 November 2026 (a Monday) or, with its day, of that month, in UTC ms."""
    day, _, clock = text.rpartition(" ")
    moment = datetime.fromisoformat(f"2026-11-{day or '23'} {clock}").replace(tzinfo=UTC)
    return int(moment.timestamp() * 1000)


class Venue:
    """Sessions 1 and 2 by day, 3 round the clock, 4 always open, 5 binary; 1 and 3 live."""

    def __init__(self, start: str) -> None:
        schedules = (DAY, DAY, ROUND, None, DAY)
        self.entries = [
            SessionEntry(
                number,
                f"s{number}",
                PROTOCOL_BINARY if number == 5 else PROTOCOL_FIX,
                0,
                SessionDefaults(schedule=schedule),
            )
            for number, schedule in enumerate(schedules, 1)
        ]
        self.sessions: Any = MagicMock(registry=self.entries)
        self.sessions.gateway.number = 0
        live, away = MagicMock(), MagicMock(connection=None)
        self.sessions.by_number = {1: live, 2: away, 3: MagicMock(), 4: MagicMock()}
        self.hours = Hours(self.sessions, ms(start))

    def at(self, text: str) -> tuple[list[int], list[int]]:
        """Let it be a time; return the sessions logged out and those whose numbers began anew."""
        self.sessions.reset.reset_mock()
        for session in self.sessions.by_number.values():
            session.log_out.reset_mock()
        self.hours.poll(ms(text))
        return (
            [n for n, session in self.sessions.by_number.items() if session.log_out.called],
            sorted(call.args[0] for call in self.sessions.reset.call_args_list),
        )

    def closed(self, number: int, text: str) -> str:
        return self.hours.closed_text(self.entries[number - 1], ms(text))


def test_a_day():
    venue = Venue("13:00:00")
    assert venue.closed(1, "13:00:00") == ""
    assert venue.at("16:59:59.999") == ([], [])
    assert venue.at("17:00:00") == ([1], [])
    assert venue.closed(2, "17:00:00") == "Session closed until 20261124-08:00:00 UTC"
    assert venue.closed(4, "17:00:00") == ""
    # Once only; and it begins anew for those that are there, and those that are not.
    assert venue.at("17:00:00.100") == ([], [])
    venue.sessions.by_number[1].connection = None
    assert venue.at("24 07:59:59.999") == ([], [])
    assert venue.at("24 08:00:00") == ([], [1, 2])
    assert venue.closed(1, "24 08:00:00") == ""


def test_numbers_of_a_live_session_begin_anew_when_it_has_gone():
    venue = Venue("11:00:00")
    assert venue.at("12:00:00") == ([3], [])
    venue.hours.left(1)
    venue.sessions.reset.assert_not_called()
    venue.hours.left(3)
    venue.sessions.reset.assert_called_once_with(3)
    venue.hours.left(3)
    venue.sessions.reset.assert_called_once_with(3)


def test_round_the_clock_there_is_a_border_between_two_sessions():
    venue = Venue("24 11:00:00")
    # Tuesday's is not the first of the week, so that the numbers go on.
    assert venue.at("24 12:00:00") == ([3], [])
    venue.hours.left(3)
    venue.sessions.reset.assert_not_called()
    assert venue.closed(3, "24 12:00:01") == ""


def test_a_gateway_that_slept_does_what_was_due():
    venue = Venue("10:00:00")
    logged_out, begun_anew = venue.at("26 09:00:00")
    assert 1 in logged_out
    assert begun_anew == [2]
    venue.hours.left(1)
    venue.sessions.reset.assert_called_with(1)


def test_a_new_gateway_takes_what_is_past_as_done():
    venue = Venue("13:00:00")
    assert venue.at("16:00:00") == ([], [])


@pytest.mark.parametrize("back", ["23 09:00:00", "22 09:00:00"])
def test_a_clock_set_back_begins_nothing_anew(back: str):
    venue = Venue("24 10:00:00")
    assert venue.at(back)[1] == []
    assert venue.at("24 10:00:01")[1] == []


def test_newcomers_have_their_schedule_from_the_first_moment():
    venue = Venue("13:00:00")
    late = Schedule(start="20:00:00", end="21:00:00")
    venue.entries.append(SessionEntry(6, "new", PROTOCOL_FIX, 0, SessionDefaults(schedule=late)))
    assert venue.closed(6, "18:00:00") == "Session closed until 20261123-20:00:00 UTC"
    venue.entries.append(SessionEntry(7, "newer", PROTOCOL_FIX, 0, SessionDefaults(schedule=late)))
    assert venue.at("20:00:00")[1] == [6, 7]
    assert venue.closed(7, "20:00:00") == ""


def test_thousands_of_schedules_are_cheap_while_nothing_is_due():
    venue = Venue("13:00:00")
    for second in range(2000):
        schedule = Schedule(start="06:00:00", end=f"05:{second // 60:02}:{second % 60:02}")
        venue.entries.append(
            SessionEntry(6 + second, "x", PROTOCOL_FIX, 0, SessionDefaults(schedule=schedule))
        )
    venue.at("13:00:01")
    started = time.process_time()
    for _ in range(10):
        venue.hours.poll(ms("13:00:02"))
    assert time.process_time() - started < 0.2

"""When trading days end."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from openoutcry.server.config import Day


def next_day_end(day: Day, now: datetime) -> datetime:
    """Return the first end of a trading day after `now` (aware)."""
    zone = ZoneInfo(day.time_zone)
    local = now.astimezone(zone)
    end = datetime.combine(local.date(), day.end_time, zone)
    if end <= local:
        end = datetime.combine(local.date() + timedelta(days=1), day.end_time, zone)
    return end


def has_ended_since(day: Day, last_ns: int, now: datetime) -> bool:
    """Tell whether a day ended after a time (UTC, ns) and up to `now`: while nobody was there."""
    return next_day_end(day, utc(last_ns)) <= now


def utc(time_ns: int) -> datetime:
    """Return a time (UTC, ns) to the microsecond below."""
    seconds, rest = divmod(time_ns, 1_000_000_000)
    return datetime.fromtimestamp(seconds, UTC) + timedelta(microseconds=rest // 1000)

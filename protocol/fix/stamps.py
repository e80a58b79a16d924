"""UTCTimestamp as milliseconds since 1970, both ways, without a clock."""

from datetime import UTC, datetime

from openoutcry.protocol.fix.versions import Version

_LENGTHS = (17, 21, 24, 27)  # whole seconds, milliseconds, microseconds, nanoseconds


def format_utc_ms(utc_ms: int) -> bytes:
    """Return `YYYYMMDD-HH:MM:SS.sss` for milliseconds since 1970."""
    return b"%b.%03d" % (format_utc_s(utc_ms), utc_ms % 1000)


def format_utc_s(utc_ms: int) -> bytes:
    """Return `YYYYMMDD-HH:MM:SS`, the only form of FIX 4.0 and 4.1; the rest is cut off."""
    moment = datetime.fromtimestamp(utc_ms // 1000, UTC)
    return f"{moment:%Y%m%d-%H:%M:%S}".encode()


def format_sending_time(utc_ms: int, version: Version) -> bytes:
    """Return a SendingTime(52) in the version's form."""
    return format_utc_ms(utc_ms) if version >= Version.FIX42 else format_utc_s(utc_ms)


def parse_utc_ms(text: bytes) -> int | None:
    """Return milliseconds since 1970, or None where the text is no UTCTimestamp.

    Seconds may carry 3, 6 or 9 decimals; what is finer than a millisecond is cut off. A leap
    second (:60) counts as the second before it.
    """
    if len(text) not in _LENGTHS or not text.isascii():
        return None
    whole, dot, decimals = text[:17], text[17:18], text[18:]
    if (dot and dot != b".") or (decimals and not decimals.isdigit()):
        return None
    if whole[8:9] != b"-" or whole[11:12] != b":" or whole[14:15] != b":":
        return None
    digits = whole[:8] + whole[9:11] + whole[12:14] + whole[15:17]
    if not digits.isdigit():
        return None
    second = min(int(whole[15:17]), 59) if whole[15:17] == b"60" else int(whole[15:17])
    try:
        moment = datetime(
            int(whole[:4]),
            int(whole[4:6]),
            int(whole[6:8]),
            int(whole[9:11]),
            int(whole[12:14]),
            second,
            tzinfo=UTC,
        )
    except ValueError:
        return None
    return int(moment.timestamp()) * 1000 + int(decimals[:3] or b"0")

"""UTCTimestamp both ways."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openoutcry.protocol.fix.stamps import (
    format_sending_time,
    format_utc_ms,
    format_utc_s,
    parse_utc_ms,
)
from openoutcry.protocol.fix.versions import Version


@given(st.integers(min_value=0, max_value=4_102_444_800_000))
def test_what_is_written_reads_back(utc_ms: int) -> None:
    assert parse_utc_ms(format_utc_ms(utc_ms)) == utc_ms


@given(st.integers(min_value=0, max_value=4_102_444_800_000))
def test_whole_seconds_cut_the_rest_off(utc_ms: int) -> None:
    assert parse_utc_ms(format_utc_s(utc_ms)) == utc_ms // 1000 * 1000


def test_the_oldest_versions_have_whole_seconds() -> None:
    forms = {version: len(format_sending_time(1_999, version)) for version in Version}
    assert forms == {version: 21 if version >= Version.FIX42 else 17 for version in Version}


@pytest.mark.parametrize(
    ("text", "utc_ms"),
    [
        (b"19700101-00:00:00", 0),
        (b"19700101-00:00:01.250", 1250),
        (b"19700101-00:00:01.250999", 1250),
        (b"19700101-00:00:01.250999999", 1250),
        (b"20261122-10:00:00.000", 1_795_341_600_000),
        (b"20161231-23:59:60", 1_483_228_799_000),
    ],
)
def test_precisions(text: bytes, utc_ms: int) -> None:
    assert parse_utc_ms(text) == utc_ms


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"20261122",
        b"20261122-10:00",
        b"20261122 10:00:00",
        b"20261122-10-00-00",
        b"20261322-10:00:00",
        b"20261122-24:00:00",
        b"20261122-10:00:61",
        b"20261122-10:00:00.1",
        b"20261122-10:00:00,123",
        b"20261122-10:00:00.12a",
        b"2026112a-10:00:00",
        b"00001122-10:00:00",
        "20261122-10:00:0٣".encode(),
    ],
)
def test_what_is_no_timestamp(text: bytes) -> None:
    assert parse_utc_ms(text) is None

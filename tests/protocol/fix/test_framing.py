"""Framing: every place where a message can be cut or spoiled, and where reading goes on."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle.fix_decoder import find_frame, next_begin
from support.fix import (
    CANCEL,
    MAX_BYTES,
    NEW_ORDER,
    REPLACE,
    STATUS,
    buffer,
    frame,
    run_kernel,
    seal,
    to_bytes,
    with_sum,
)

from openoutcry.protocol.fix import framing
from openoutcry.protocol.fix.layouts import GARBLED, ORDER, OTHER, PARTIAL

GOOD = frame(NEW_ORDER)


def scan(data: bytes, max_bytes: int = MAX_BYTES) -> tuple[int, int]:
    bounds = np.zeros(1, np.int64)
    before = 5
    status = framing.scan_frame(buffer(data, before), before, before + len(data), max_bytes, bounds)
    return status, int(bounds[0]) - before if bounds[0] else 0


def test_a_frame_ends_behind_its_checksum():
    assert scan(GOOD) == (OTHER, len(GOOD))
    assert scan(GOOD + GOOD) == (OTHER, len(GOOD))
    assert scan(GOOD + b"rubbish") == (OTHER, len(GOOD))


@pytest.mark.parametrize("text", [NEW_ORDER, CANCEL, REPLACE, STATUS, "35=0|", "35=|"])
def test_every_cut_is_partial(text):
    whole = frame(text)
    known_from = whole.index(b"35=")
    for cut in range(len(whole)):
        assert run_kernel(whole[:cut]) == find_frame(whole[:cut], MAX_BYTES)
        assert scan(whole[:cut]) == (PARTIAL, len(whole) if cut >= known_from else 0)


BEGINS = ["FIX.4.0", "FIX.4.2", "FIX.4.4", "FIX.4.5", "FIX.4.", "FIX.5.0", "FIXT.1.1", "FIXT.1.2"]


@pytest.mark.parametrize("begin", BEGINS)
def test_every_cut_and_every_other_byte_at_the_head(begin):
    whole = frame("35=0|", begin)
    assert run_kernel(whole) == find_frame(whole, MAX_BYTES)
    for cut in range(len(whole)):
        assert run_kernel(whole[:cut]) == find_frame(whole[:cut], MAX_BYTES)
    for place in range(whole.index(b"35=")):
        for char in b"\x00\x0159:=XT./\xff":
            data = whole[:place] + bytes([char]) + whole[place + 1 :]
            assert run_kernel(data) == find_frame(data, MAX_BYTES), data


@pytest.mark.parametrize("spoiled", range(len(GOOD)))
def test_every_spoiled_byte_of_an_order_is_garbled(spoiled):
    data = GOOD[:spoiled] + bytes([GOOD[spoiled] ^ 0x04]) + GOOD[spoiled + 1 :]
    # What spoils BodyLength or CheckSum may leave the frame without an end, until so many came.
    for more in (b"", GOOD, GOOD * (MAX_BYTES // len(GOOD) + 1)):
        got = run_kernel(data + more)
        assert got == find_frame(data + more, MAX_BYTES)
        assert got.status == GARBLED or (got.status == PARTIAL and len(data + more) < MAX_BYTES)


def test_nothing_is_partial():
    assert scan(b"") == (PARTIAL, 0)


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "8=FIT",
        "8=fix.4.4|",
        "88",
        "|8",
        "9=5|",
        "8=FIX.4.4|35",
        "8=FIX.4.4||",
        "8=FIX.4.4|9=|",
        "8=FIX.4.4|9=-5|",
        "8=FIX.4.4|9=5x",
        "8=FIX.4.4|9=5 ",
        "8=FIX.4.4|9=0000000005",
        "8=FIX.4.4|9=5|34",
        "8=FIX.4.4|9=5|8",
        "8=FIX.4.4.4.4.4.4.4",
        "\x008=FIX.4.4|",
    ],
)
def test_what_cannot_be_fix_is_garbled_at_once(text):
    assert scan(to_bytes(text))[0] == GARBLED
    assert run_kernel(to_bytes(text)) == find_frame(to_bytes(text), MAX_BYTES)


@pytest.mark.parametrize(
    "text", ["8=FIX|9=5|35=0|", "8=FIX.4.4|9=005|35=0|", "8=FIXT.1.1|9=5|35=0|"]
)
def test_odd_heads_that_are_fix(text):
    assert scan(with_sum(text)) == (OTHER, len(with_sum(text)))


@pytest.mark.parametrize("begin", ["FIX.4.2", "FIX.5.0", "FIXT.1.1", "FIX", "FIX.4.4.EP1"])
def test_another_begin_string_is_for_python(begin):
    data = frame(NEW_ORDER, begin)
    assert run_kernel(data).status == OTHER
    assert run_kernel(data).frame_end == len(data)


def test_a_claimed_length_over_the_cap_is_garbled_before_its_bytes_come():
    assert scan(b"8=FIX.4.4\x019=4", max_bytes=60) == (PARTIAL, 0)
    assert scan(b"8=FIX.4.4\x019=40", max_bytes=60) == (GARBLED, 14)
    assert scan(b"8=FIX.4.4\x019=999999999\x0135=D\x01") == (GARBLED, 27)
    assert scan(GOOD, max_bytes=len(GOOD)) == (OTHER, len(GOOD))
    assert scan(GOOD, max_bytes=len(GOOD) - 1)[0] == GARBLED


@pytest.mark.parametrize(
    "trailer", ["10=1|", "10=12|", "10=1234|", "10=|", "10=x12|", "10=12x|", "10= 12|", "10=+12|"]
)
def test_a_malformed_checksum_is_skipped_with_its_field(trailer):
    data = GOOD[:-7] + to_bytes(trailer)
    assert scan(data + GOOD) == (GARBLED, len(data))


def test_a_wrong_checksum_is_skipped_with_its_field():
    data = GOOD[:-4] + b"%03d\x01" % ((int(GOOD[-4:-1]) + 1) % 1000)
    assert scan(data + GOOD) == (GARBLED, len(data))
    assert scan(data) == (GARBLED, len(data))


def test_a_checksum_over_255_is_wrong():
    data = GOOD[:-4] + b"%03d\x01" % (int(GOOD[-4:-1]) + 256)
    assert scan(data) == (GARBLED, len(data))


def test_a_checksum_field_goes_on_to_its_end():
    data = GOOD[:-7] + b"10=1234"
    assert scan(data) == (PARTIAL, 0)
    assert scan(data + b"8=FIX.4.4\x01") == (GARBLED, len(data) + 10)


def test_a_frame_without_end_goes_on_at_the_next_begin_when_it_may_not_be_longer():
    for tail in (b"10=1234", b"", b"11=5\x01"):
        data = GOOD[:-7] + tail
        more = b"x" * (300 - len(data) - 1)
        assert scan(data + more, max_bytes=300) == (PARTIAL, 0)
        assert scan(data + more + b"x", max_bytes=300) == (GARBLED, 300)
        assert scan(data + b"8=FIX.4.4" + more, max_bytes=300) == (GARBLED, len(data))
        assert scan(data + more + b"x\x0110=123\x01", max_bytes=300) == (GARBLED, 308)


@pytest.mark.parametrize("difference", [-100, -20, -7, -1, 1, 7, 20, 100])
def test_a_wrong_body_length_goes_on_behind_the_checksum_that_follows(difference):
    body = to_bytes(NEW_ORDER)
    data = with_sum(f"8=FIX.4.4|9={len(body) + difference}|{NEW_ORDER}")
    end = len(data) + (len(GOOD) if difference > 0 else 0)
    assert scan(data + GOOD + GOOD) == (GARBLED, end)
    # However the bytes come.
    for cut in range(len(data) - 7, end):
        assert scan((data + GOOD)[:cut])[0] == PARTIAL


@pytest.mark.parametrize(
    ("garbage", "rest"),
    [
        (b"xyz", b""),
        (b"xyz", b"8"),
        (b"xyz8=FI", b"8=FI"),
        (b"8=FI", b"8=FIX"),
        (b"88=FI8=", b"8=FIX.4"),
        (b"8=FIX.4.4\x01x", b""),
        (b"\x01\x00\xff", b"8="),
        (b"8=FIX.4.4\x018", b"8=FIX.4.4\x01"),
    ],
)
def test_garbage_is_dropped_up_to_the_next_begin(garbage, rest):
    data = garbage + rest
    status, resume = scan(data)
    while status == GARBLED:
        data = data[resume:]
        status, resume = scan(data)
    assert (status, data) == (PARTIAL, rest)


def test_soh_and_nul_inside_a_frame_do_not_matter_to_framing():
    body = b"35=n\x01\x01\x01\x00\x00=\x01212=3\x01213=\x01\x01\x01\x01"
    assert scan(seal(body)) == (OTHER, len(seal(body)))


@pytest.mark.parametrize("length", range(40, 330))
def test_the_checksum_is_right_for_every_length(length):
    text = "35=0|112=" + "\xfe" * length + "|"
    assert scan(frame(text)) == (OTHER, len(frame(text)))


@given(st.binary(max_size=40), st.integers(0, 40))
def test_next_begin_equals_the_oracle(data, start):
    data = data.replace(b"\x00", b"8=FIX").replace(b"\x01", b"8=F")
    start = min(start, len(data))
    buf = buffer(data)
    base = buf.ctypes.data
    assert framing.next_begin(base + start, base + len(data)) - base == next_begin(data, start)


@given(st.lists(st.sampled_from([GOOD, b"8=FIX", b"8", b"garbage", b"\x0110=000\x01", GOOD[:50]])))
def test_good_frames_are_found_between_garbage_however_the_bytes_arrive(parts):
    data = b"".join(parts)
    whole = take_all(data, len(data) or 1)
    assert whole == take_all(data, 1) == take_all(data, 7)
    if all(part in (GOOD, b"garbage") for part in parts):
        assert whole == parts.count(GOOD)


def take_all(data: bytes, step: int) -> int:
    """Count orders in bytes that come in steps, as a connection would."""
    buf = buffer(data)
    bounds = np.zeros(1, np.int64)
    start = orders = 0
    for end in range(step, len(data) + step, step):
        while True:
            status = framing.scan_frame(buf, start, min(end, len(data)), MAX_BYTES, bounds)
            if status == PARTIAL:
                break
            assert bounds[0] > start
            orders += status == OTHER
            start = int(bounds[0])
    return orders


def test_orders_follow_each_other():
    data = frame(NEW_ORDER) + frame(CANCEL) + frame(STATUS)
    statuses = []
    while data:
        got = run_kernel(data)
        statuses.append(got.status)
        data = data[got.frame_end :]
    assert statuses == [ORDER] * 3

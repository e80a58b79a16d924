"""Cutting a stream into frames, wherever the bytes are parted and whatever is spoiled."""

import pytest
import simplefix
from hypothesis import given
from hypothesis import strategies as st

from openoutcry.protocol.fix.stream import FrameReader


def build(text: str) -> bytes:
    message = simplefix.FixMessage()
    for part in text.split("|"):
        message.append_string(part)
    encoded: bytes = message.encode()
    return encoded


FIRST = build("8=FIX.4.4|35=0|34=1")
SECOND = build("8=FIX.4.4|35=1|34=2|112=8=FIX")
THIRD = build("8=FIX.4.4|35=0|34=3|58=10=123")


def read(*chunks: bytes) -> list[bytes | None]:
    reader = FrameReader()
    return [frame for chunk in chunks for frame in reader.feed(chunk)]


@pytest.mark.parametrize("cut", range(1, len(FIRST + SECOND)))
def test_a_stream_may_be_cut_anywhere(cut: int) -> None:
    stream = FIRST + SECOND
    assert read(stream[:cut], stream[cut:]) == [FIRST, SECOND]


@given(st.lists(st.integers(min_value=1, max_value=9), min_size=1))
def test_many_small_pieces(sizes: list[int]) -> None:
    stream = FIRST + SECOND + THIRD
    chunks = []
    for size in sizes:
        chunks.append(stream[:size])
        stream = stream[size:]
    assert read(*chunks, stream) == [FIRST, SECOND, THIRD]


@pytest.mark.parametrize(
    "spoiled",
    [
        FIRST.replace(b"34=1", b"34=2"),
        FIRST[:-4] + b"999\x01",
        FIRST[:-4] + b"12\x01",
        FIRST[:-4] + b"1x2\x01",
        FIRST.replace(b"9=10", b"9=30"),
        FIRST.replace(b"9=", b"9=x"),
        FIRST.replace(b"9=10", b"9=5"),
        FIRST.replace(b"\x0135=", b"\x0136="),
        FIRST.replace(b"9=", b"9=9999999"),
        FIRST[:20],
        b"garbage",
        b"8=FI8=",
        b"8=FIXandverymuchmorethanfits\x01",
        b"\x00\xff\x01\x01",
    ],
)
def test_garbled_bytes_are_dropped_and_the_next_frame_is_found(spoiled: bytes) -> None:
    frames = read(spoiled + SECOND + SECOND + THIRD)
    assert None in frames
    assert frames[-1] == THIRD
    assert SECOND in frames


def test_a_beginning_that_is_parted_after_garbage_is_kept() -> None:
    assert read(b"xx8=F", FIRST[3:][:0] + b"IX" + FIRST[5:]) == [None, FIRST]


@given(st.binary(max_size=200))
def test_any_bytes_leave_the_reader_alive(data: bytes) -> None:
    reader = FrameReader(max_frame_bytes=300)
    list(reader.feed(data))
    frames = list(reader.feed(FIRST * 40))
    assert frames.count(FIRST) >= 20

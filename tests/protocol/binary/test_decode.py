"""The venue's decode kernel against msgspec: the same messages, values and refusals."""

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.binary import (
    INT64_MAX,
    buffer,
    dirty,
    framed,
    msgspec_order,
    mutate,
    order_message,
    requests,
    wide_payloads,
)

from openoutcry.protocol.binary.decode import decode_message
from openoutcry.protocol.binary.enums import MAX_PAYLOAD_BYTES
from openoutcry.protocol.binary.frames import encode_frame
from openoutcry.protocol.binary.layouts import ORDER, ORDER_FIELDS, OTHER, PARTIAL, TOO_LONG
from openoutcry.protocol.binary.messages import (
    Cancel,
    ClientApplication,
    Heartbeat,
    Logon,
    Logout,
    NewOrder,
    Replace,
    Status,
    encode_payload,
)

VALID: list[ClientApplication] = [
    NewOrder(1, "A", 0, 1, 2, 1, 100, 5, "ACC"),
    NewOrder(70000, "A" * 36, 300, 2, 1, 3, -70000, 2**40, "B" * 32),
    Cancel(2, "C" * 8, "O" * 16, 3, 1),
    Replace(3, "R" * 24, "O" * 35, 3, 1, 2, 128, 255),
    Status(4, "S" * 33, 65536),
]


def check_frame(payload: bytes) -> None:
    """Decode a complete frame with the kernel and compare with msgspec."""
    frame = framed(payload)
    rows = dirty(ORDER_FIELDS)
    status = decode_message(buffer(frame), 0, len(frame), MAX_PAYLOAD_BYTES, rows, 0)
    expected = msgspec_order(payload)
    assert status == (OTHER if expected is None else ORDER), payload.hex()
    assert rows[0]["frame_end"] == len(frame)
    if expected is not None:
        assert order_message(rows) == expected


@given(requests)
def test_what_msgspec_encodes_the_kernel_decodes(message: ClientApplication) -> None:
    payload = encode_payload(message)
    assert msgspec_order(payload) == message
    check_frame(payload)


@given(wide_payloads(requests))
def test_every_width_that_msgspec_takes_is_taken(drawn: tuple[ClientApplication, bytes]) -> None:
    message, payload = drawn
    assert msgspec_order(payload) == message
    check_frame(payload)


@pytest.mark.parametrize("message", VALID)
def test_a_frame_cut_anywhere_is_partial(message: ClientApplication) -> None:
    frame = encode_frame(message)
    data = buffer(frame)
    for end in range(len(frame)):
        rows = dirty(ORDER_FIELDS)
        assert decode_message(data, 0, end, MAX_PAYLOAD_BYTES, rows, 0) == PARTIAL
        assert rows[0]["frame_end"] == (len(frame) if end >= 4 else 0)


@pytest.mark.parametrize("message", VALID)
def test_a_payload_cut_anywhere_is_other(message: ClientApplication) -> None:
    payload = encode_payload(message)
    for end in range(len(payload)):
        check_frame(payload[:end])


@pytest.mark.parametrize("message", VALID)
def test_every_byte_replaced_by_every_other(message: ClientApplication) -> None:
    payload = encode_payload(message)
    for at in range(len(payload)):
        for value in range(0, 256, 1 if len(payload) < 30 else 7):
            check_frame(payload[:at] + bytes([value]) + payload[at + 1 :])


@pytest.mark.parametrize("seed", range(8))
def test_mutated_messages(seed: int) -> None:
    random = np.random.default_rng(seed)
    payloads = [encode_payload(message) for message in VALID]
    for _ in range(1500):
        check_frame(mutate(payloads[int(random.integers(len(payloads)))], random))


@given(st.binary(max_size=80))
def test_garbage_in_a_frame(payload: bytes) -> None:
    check_frame(payload)


@given(st.binary(max_size=40))
def test_garbage_on_the_wire(data: bytes) -> None:
    rows = dirty(ORDER_FIELDS)
    status = decode_message(buffer(data), 0, len(data), MAX_PAYLOAD_BYTES, rows, 0)
    length = int.from_bytes(data[:4], "big")
    if len(data) < 4:
        assert status == PARTIAL
    elif length > MAX_PAYLOAD_BYTES:
        assert status == TOO_LONG
    elif length > len(data) - 4:
        assert status == PARTIAL
    else:
        assert status in (ORDER, OTHER)
        assert rows[0]["frame_end"] == 4 + length


_ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text()
    | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(st.sampled_from(VALID), st.integers(0, 11), _ANY)
def test_one_element_of_another_type(message: ClientApplication, at: int, value: object) -> None:
    elements = list(msgspec.to_builtins(message))
    elements[min(at, len(elements) - 1)] = value
    check_frame(msgspec.msgpack.encode(elements))


@given(st.lists(_ANY, max_size=11))
def test_any_array(elements: list[object]) -> None:
    check_frame(msgspec.msgpack.encode(elements))


@pytest.mark.parametrize("message", VALID)
def test_elements_left_out_and_added(message: ClientApplication) -> None:
    elements = list(msgspec.to_builtins(message))
    for count in range(len(elements)):
        check_frame(msgspec.msgpack.encode(elements[:count]))
    extras: list[object] = [0, "", None, [[]]]
    for extra in extras:
        check_frame(msgspec.msgpack.encode([*elements, extra]))


@pytest.mark.parametrize(
    "elements",
    [
        [16, 0, "A", 0, 1, 2, 1, 100, 5, ""],  # numbers start at 1
        [16, -1, "A", 0, 1, 2, 1, 100, 5, ""],
        [16, 2**63, "A", 0, 1, 2, 1, 100, 5, ""],
        [16, 1, "", 0, 1, 2, 1, 100, 5, ""],
        [16, 1, "A" * 37, 0, 1, 2, 1, 100, 5, ""],
        [16, 1, "A" * 300, 0, 1, 2, 1, 100, 5, ""],
        [16, 1, "A B", 0, 1, 2, 1, 100, 5, ""],
        [16, 1, "A\0", 0, 1, 2, 1, 100, 5, ""],
        [16, 1, "\x01A", 0, 1, 2, 1, 100, 5, ""],
        [16, 1, "A\x7f", 0, 1, 2, 1, 100, 5, ""],
        [16, 1, "ABCDEFG\x80", 0, 1, 2, 1, 100, 5, ""],
        [16, 1, "Ä", 0, 1, 2, 1, 100, 5, ""],
        [16, 1, "A\n", 0, 1, 2, 1, 100, 5, ""],
        [16, 1, "A", -1, 1, 2, 1, 100, 5, ""],
        [16, 1, "A", 2**31, 1, 2, 1, 100, 5, ""],
        [16, 1, "A", 0, 256, 2, 1, 100, 5, ""],
        [16, 1, "A", 0, -1, 2, 1, 100, 5, ""],
        [16, 1, "A", 0, 1, 2, 1, 2**63, 5, ""],
        [16, 1, "A", 0, 1, 2, 1, 1.0, 5, ""],
        [16, 1, "A", 0, 1, 2, 1, True, 5, ""],
        [16, 1, b"A", 0, 1, 2, 1, 100, 5, ""],
        [16, 1, "A", 0, 1, 2, 1, 100, 5, "X" * 33],
        [16, 1, "A", 0, 1, 2, 1, 100, 5, "X Y"],
        [16, 1, "A", 0, 1, 2, 1, 100, 5, None],
        [17, 1, "A", "", 0, 1],
        [17, 1, "A", " ", 0, 1],
        [15, 1, "A", 0],
        ["NewOrder", 1, "A", 0],
        [],
    ],
)
def test_what_the_schema_forbids_is_other(elements: list[object]) -> None:
    payload = msgspec.msgpack.encode(elements)
    assert msgspec_order(payload) is None
    check_frame(payload)


@pytest.mark.parametrize(
    "message", [Logon(1, "S", "secret", 1, 10), Heartbeat(), Logout("bye"), Logout()]
)
def test_session_messages_are_other(message: Logon | Heartbeat | Logout) -> None:
    check_frame(encode_payload(message))


@pytest.mark.parametrize(
    "head", [b"\xdc\xff\xff", b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc1", b"\xc9"]
)
def test_headers_that_claim_much(head: bytes) -> None:
    check_frame(head)
    check_frame(head + b"\x10\x01\xa1A")
    check_frame(b"\x9a\x10\x01" + head)


def test_deeply_nested_arrays() -> None:
    check_frame(b"\x91" * 4000)
    check_frame(b"\x9a\x10\x01" + b"\x91" * 4000)


def test_a_text_that_claims_more_than_the_frame() -> None:
    for head in (b"\xa5", b"\xd9\x05", b"\xda\x00\x05", b"\xdb\x00\x00\x00\x05"):
        check_frame(b"\x94\x13\x01" + head + b"AB\x01")
    check_frame(b"\x94\x13\x01\xdb\xff\xff\xff\xffAB\x01")


def test_the_cap_on_lengths() -> None:
    rows = dirty(ORDER_FIELDS)
    payload = encode_payload(VALID[0])
    frame = framed(payload)
    assert decode_message(buffer(frame), 0, len(frame), len(payload), rows, 0) == ORDER
    assert decode_message(buffer(frame), 0, len(frame), len(payload) - 1, rows, 0) == TOO_LONG
    for length in (2**31 - 1, 2**31, 2**32 - 1):
        data = length.to_bytes(4, "big")
        assert decode_message(buffer(data), 0, 4, MAX_PAYLOAD_BYTES, rows, 0) == TOO_LONG


def test_an_empty_frame_is_other() -> None:
    check_frame(b"")


@given(st.lists(requests, min_size=1, max_size=5), st.integers(0, 255))
def test_frames_in_a_row(messages: list[ClientApplication], behind: int) -> None:
    data = b"".join(encode_frame(message) for message in messages)
    array = buffer(data, behind)
    rows = dirty(ORDER_FIELDS, len(messages) + 1)
    untouched = rows[-1:].tobytes()
    start = 0
    for k in range(len(messages)):
        assert decode_message(array, start, len(data), MAX_PAYLOAD_BYTES, rows, k) == ORDER
        start = int(rows[k]["frame_end"])
    assert start == len(data)
    assert [order_message(rows, k) for k in range(len(messages))] == messages
    assert rows[-1:].tobytes() == untouched
    assert array[: len(data)].tobytes() == data


def test_largest_and_smallest_numbers() -> None:
    check_frame(encode_payload(NewOrder(INT64_MAX, "A", 2**31 - 1, 255, 255, 255, -(2**63), 0)))

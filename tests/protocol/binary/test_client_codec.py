"""The client side's kernels against msgspec."""

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.binary import (
    buffer,
    dirty,
    framed,
    msgspec_report,
    mutate,
    order_row,
    rejects,
    report_message,
    reports,
    requests,
    wide_payloads,
)

from openoutcry.protocol.binary.client_codec import decode_report, encode_request
from openoutcry.protocol.binary.enums import CL_ORD_ID_MAX, MAX_PAYLOAD_BYTES
from openoutcry.protocol.binary.frames import encode_frame
from openoutcry.protocol.binary.layouts import (
    MAX_REQUEST_FRAME,
    OTHER,
    PARTIAL,
    REPORT,
    REPORT_VALUES,
    SPARE_BYTES,
    TOO_LONG,
)
from openoutcry.protocol.binary.messages import (
    ClientApplication,
    ExecutionReport,
    Heartbeat,
    LogonAccepted,
    Logout,
    NewOrder,
    Reject,
    ServerApplication,
    SymbolDefinition,
    encode_payload,
)

FILL = ExecutionReport(
    seq=70000,
    repeated=False,
    ref_seq=12,
    kind=2,
    status=1,
    reason=0,
    symbol=1,
    side=1,
    ord_type=2,
    tif=1,
    liquidity=2,
    order_id=(1 << 48) | 12,
    exec_id=(1 << 48) | 77,
    trade_id=(1 << 48) | 76,
    cl_ord_id="A12345-000123",
    orig_cl_ord_id="",
    account="ACC1",
    price=6_500_012,
    qty=1500,
    last_px=6_500_012,
    last_qty=300,
    cum_qty=300,
    leaves_qty=1200,
    avg_px=650_001_200_000_000,
    time_ns=1_700_000_000_123_456_789,
)
REJECT = Reject(5, True, 9, "A9", 100, "Expected `int`, got `str` - at `$[3]`")


@given(requests, st.integers(0, 40))
def test_requests_have_the_bytes_of_msgspec(message: ClientApplication, pos: int) -> None:
    out = np.full(pos + MAX_REQUEST_FRAME + SPARE_BYTES, 0xEE, np.uint8)
    end = encode_request(out, pos, order_row(message), 0)
    assert out[pos:end].tobytes() == encode_frame(message)
    assert out[:pos].tobytes() == b"\xee" * pos
    assert end - pos <= MAX_REQUEST_FRAME


def test_the_longest_request_fits() -> None:
    message = NewOrder(2**63 - 1, "A" * 36, 2**31 - 1, 255, 255, 255, 2**62, 2**62, "B" * 32)
    out = np.zeros(MAX_REQUEST_FRAME + SPARE_BYTES, np.uint8)
    end = encode_request(out, 0, order_row(message), 0)
    assert out[:end].tobytes() == encode_frame(message)


def check_frame(payload: bytes) -> None:
    """What the kernel takes is what msgspec sees; what it leaves, its rows could not hold."""
    frame = framed(payload)
    data = buffer(frame)
    rows = dirty(REPORT_VALUES)
    status = decode_report(data, 0, len(frame), MAX_PAYLOAD_BYTES, rows, 0)
    assert rows[0]["frame_end"] == len(frame)
    expected = msgspec_report(payload)
    if status == REPORT:
        # A text in a Reject is not looked at: its place is told.
        if expected is None:
            assert b"\xff" in payload or any(byte >= 0x80 for byte in payload)
            return
        assert report_message(rows, data) == expected
    else:
        assert status == OTHER
        assert expected is None or not fits(expected) or has_more(payload)


def fits(message: ServerApplication) -> bool:
    """True where a REPORT_VALUES row can hold the message."""
    for name in message.__struct_fields__:
        value = getattr(message, name)
        if isinstance(value, str) and name != "text":
            longest = 32 if name == "account" else CL_ORD_ID_MAX
            if len(value) > longest or not all("!" <= c <= "~" for c in value):
                return False
        elif isinstance(value, int):
            low, high = {
                "reason": (0, 65535),
                "symbol": (-(2**31), 2**31 - 1),
                **dict.fromkeys(
                    ["kind", "status", "side", "ord_type", "tif", "liquidity"], (0, 255)
                ),
            }.get(name, (-(2**63), 2**63 - 1))
            if not low <= value <= high:
                return False
    return True


def has_more(payload: bytes) -> bool:
    """True where elements follow that this version does not know."""
    elements = msgspec.msgpack.decode(payload)
    return len(elements) > (26 if elements[0] == 32 else 7)


@given(reports | rejects)
def test_what_msgspec_encodes_the_kernel_decodes(message: ServerApplication) -> None:
    frame = encode_frame(message)
    data = buffer(frame)
    rows = dirty(REPORT_VALUES)
    assert decode_report(data, 0, len(frame), MAX_PAYLOAD_BYTES, rows, 0) == REPORT
    assert report_message(rows, data) == message
    assert rows[0]["frame_end"] == len(frame)


@given(wide_payloads(reports | rejects))
def test_every_width_is_taken(drawn: tuple[ServerApplication, bytes]) -> None:
    message, payload = drawn
    frame = framed(payload)
    data = buffer(frame)
    rows = dirty(REPORT_VALUES)
    assert decode_report(data, 0, len(frame), MAX_PAYLOAD_BYTES, rows, 0) == REPORT
    assert report_message(rows, data) == message


@pytest.mark.parametrize("message", [FILL, REJECT])
def test_cut_anywhere(message: ServerApplication) -> None:
    payload = encode_payload(message)
    frame = framed(payload)
    rows = dirty(REPORT_VALUES)
    for end in range(len(frame)):
        assert decode_report(buffer(frame), 0, end, MAX_PAYLOAD_BYTES, rows, 0) == PARTIAL
        assert rows[0]["frame_end"] == (len(frame) if end >= 4 else 0)
    for end in range(len(payload)):
        check_frame(payload[:end])


@pytest.mark.parametrize("message", [FILL, REJECT])
def test_every_byte_replaced(message: ServerApplication) -> None:
    payload = encode_payload(message)
    for at in range(len(payload)):
        for value in range(0, 256, 5):
            check_frame(payload[:at] + bytes([value]) + payload[at + 1 :])


@pytest.mark.parametrize("seed", range(4))
def test_mutated_messages(seed: int) -> None:
    random = np.random.default_rng(seed)
    payloads = [encode_payload(FILL), encode_payload(REJECT)]
    for _ in range(1500):
        check_frame(mutate(payloads[int(random.integers(2))], random))


@given(st.binary(max_size=80))
def test_garbage(payload: bytes) -> None:
    check_frame(payload)


@pytest.mark.parametrize(
    "message",
    [
        LogonAccepted(1, 1, 0, 1, 10, 4),
        Heartbeat(),
        Logout("bye"),
        SymbolDefinition(0, "BTCUSDT", "0.01", "0.00001", 1, 2, 1, 2),
    ],
)
def test_session_messages_are_other(
    message: LogonAccepted | Heartbeat | Logout | SymbolDefinition,
) -> None:
    check_frame(encode_payload(message))


def test_a_later_versions_longer_message_is_other() -> None:
    payload = msgspec.msgpack.encode([*msgspec.to_builtins(FILL), "more"])
    assert msgspec_report(payload) == FILL
    frame = framed(payload)
    rows = dirty(REPORT_VALUES)
    assert decode_report(buffer(frame), 0, len(frame), MAX_PAYLOAD_BYTES, rows, 0) == OTHER


def test_the_cap_on_lengths() -> None:
    rows = dirty(REPORT_VALUES)
    data = (MAX_PAYLOAD_BYTES + 1).to_bytes(4, "big")
    assert decode_report(buffer(data), 0, 4, MAX_PAYLOAD_BYTES, rows, 0) == TOO_LONG

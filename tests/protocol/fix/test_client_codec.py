"""The client's FIX kernels against simplefix and plain Python."""

from decimal import Decimal
from typing import Any

import numpy as np
import pytest
import simplefix
from hypothesis import example, given
from hypothesis import strategies as st
from oracle.fix_encoder import (
    SessionTexts,
    encode_cancel_reject,
    encode_execution_report,
    time_text,
)

from openoutcry.protocol.fix.client_codec import (
    CLIENT_REPORT,
    MAX_REQUEST_BYTES,
    ORDER_REQUEST,
    REPORT,
    Field,
    client_header,
    decode_report,
    encode_request,
)
from openoutcry.protocol.fix.layouts import GARBLED, OTHER, PARTIAL, SPARE_BYTES
from openoutcry.protocol.fix.versions import Version

MAX = 4096
VENUE = SessionTexts(Version.FIX44, "VENUE", "CLIENT")


def text(most: int, least: int = 1) -> Any:
    return st.text(
        st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=least, max_size=most
    )


def set_text(row: Any, name: str, words: int, value: str) -> None:
    for number, word in enumerate(np.frombuffer(value.encode().ljust(8 * words, b"\0"), np.uint64)):
        row[f"{name}{number}"] = word


def get_text(row: Any, name: str, words: int) -> str:
    both = np.array([row[f"{name}{number}"] for number in range(words)], np.uint64)
    return both.tobytes().rstrip(b"\0").decode()


# --- requests -------------------------------------------------------------------------------------


@given(
    kind=st.sampled_from("DFG"),
    seq=st.integers(1, 10**12),
    cl_ord_id=text(36),
    orig_cl_ord_id=text(36),
    symbol=text(24),
    account=text(32, 0),
    sender=text(32),
    price=st.integers(-(10**15), 10**15),
    qty=st.integers(0, 10**15),
    scales=st.tuples(st.integers(0, 12), st.integers(0, 12)),
    side=st.sampled_from([1, 2]),
    ord_type=st.sampled_from([1, 2]),
    tif=st.sampled_from([0, 1, 3, 4]),
    utc_ms=st.integers(0, 4 * 10**12),
)
def test_requests_are_what_simplefix_writes(
    kind: str,
    seq: int,
    cl_ord_id: str,
    orig_cl_ord_id: str,
    symbol: str,
    account: str,
    sender: str,
    price: int,
    qty: int,
    scales: tuple[int, int],
    side: int,
    ord_type: int,
    tif: int,
    utc_ms: int,
) -> None:
    requests = np.zeros(1, ORDER_REQUEST)
    row = requests[0]
    set_text(row, "id", 5, cl_ord_id)
    set_text(row, "orig", 5, orig_cl_ord_id)
    set_text(row, "symbol", 3, symbol)
    set_text(row, "account", 4, account)
    row["seq"], row["price"], row["qty"] = seq, price, qty
    row["price_scale"], row["qty_scale"] = scales
    row["side"], row["ord_type"], row["tif"] = side, ord_type, tif
    row["msg_type"] = ord(kind)
    out = np.full(MAX_REQUEST_BYTES + 9, 0xEE, np.uint8)
    headers = np.stack([client_header("A", "B"), client_header(sender, "VENUE")])
    end = encode_request(out, 5, headers, 1, np.zeros(12, np.int64), utc_ms, requests, 0)

    message = simplefix.FixMessage()
    stamp = time_text(utc_ms)
    pairs: list[tuple[int, Any]] = [(8, "FIX.4.4"), (35, kind), (49, sender), (56, "VENUE")]
    pairs += [(34, seq), (52, stamp)]
    pairs += [(41, orig_cl_ord_id)] if kind != "D" else []
    pairs += [(11, cl_ord_id)]
    pairs += [(1, account)] if account else []
    pairs += [(55, symbol), (54, side), (60, stamp), (38, decimal(qty, scales[1]))]
    if kind != "F":
        pairs += [(40, ord_type)]
        pairs += [(44, decimal(price, scales[0]))] if ord_type == 2 else []
        pairs += [(59, tif)]
    for tag, value in pairs:
        message.append_pair(tag, value)
    wanted = message.encode()
    if len(wanted) - 22 < 100:
        assert end == -1 or bytes(out[5:end]) == wanted
        return
    assert bytes(out[5:end]) == wanted
    assert bytes(out[:5]) == b"\xee" * 5


def decimal(mantissa: int, scale: int) -> str:
    return f"{Decimal(mantissa).scaleb(-scale):.{scale}f}"


def test_names_that_are_too_long_are_refused() -> None:
    with pytest.raises(ValueError, match="too long"):
        client_header("A" * 40, "B" * 40)


# --- reports --------------------------------------------------------------------------------------


@st.composite
def report_values(draw: Any) -> dict[str, Any]:
    price_scale, qty_scale = draw(st.integers(0, 12)), draw(st.integers(0, 12))
    figure = st.integers(0, 10**9) | st.integers(0, 10**17)
    number = st.integers(1, 2**47)
    return {
        "seq_num": draw(st.integers(1, 10**15)),
        "sending_time_ms": draw(st.integers(0, 4 * 10**12)),
        "orig_sending_time_ms": 0,
        "transact_time_ns": draw(st.integers(0, 4 * 10**18)),
        "poss_dup": draw(st.integers(0, 1)),
        "order_id": draw(st.just(0) | number | number.map(lambda n: n | 300 << 48)),
        "exec_id": draw(number),
        "trade_id": draw(st.just(0) | number),
        "cl_ord_id": draw(text(36)),
        "orig_cl_ord_id": draw(st.just("") | text(36)),
        "symbol": draw(text(24)),
        "account": draw(text(32, 0)),
        "price": draw(figure | st.integers(-(10**17), -1)),
        "last_px": draw(figure),
        "avg_px": draw(figure),
        "order_qty": draw(figure),
        "last_qty": draw(figure),
        "leaves_qty": draw(figure),
        "cum_qty": draw(figure),
        "price_scale": price_scale,
        "qty_scale": qty_scale,
        "avg_px_scale": draw(st.integers(0, 12)),
        "text": draw(st.just("") | text(200)),
        "ord_rej_reason": draw(st.integers(-1, 99)),
        "cxl_rej_reason": draw(st.integers(-1, 99)),
        "cxl_rej_response_to": draw(st.sampled_from([1, 2])),
        "exec_type": draw(st.sampled_from("0F458CI")),
        "ord_status": draw(st.sampled_from("01248C")),
        "side": draw(st.sampled_from([1, 2])),
        "ord_type": draw(st.sampled_from([0, 1, 2])),
        "tif": draw(st.integers(0, 9)),
        "liquidity": draw(st.integers(0, 2)),
        "has_price": draw(st.booleans()),
        "has_last": draw(st.booleans()),
    }


def decode(data: bytes, limit: int | None = None) -> tuple[int, Any]:
    buffer = np.full(len(data) + SPARE_BYTES, 0xEE, np.uint8)
    buffer[: len(data)] = np.frombuffer(data, np.uint8)
    rows = np.full(CLIENT_REPORT.itemsize, 0xAA, np.uint8).view(CLIENT_REPORT)
    end = len(data) if limit is None else limit
    return decode_report(buffer, 0, end, MAX, rows, 0), rows[0]


def check_common(row: Any, frame: bytes, values: dict[str, Any]) -> None:
    assert row["frame_end"] == len(frame)
    assert row["seq"] == values["seq_num"]
    assert row["is_poss_dup"] == values["poss_dup"]
    assert row["order_id"] == (values["order_id"] or -1)
    assert get_text(row, "id", 5) == values["cl_ord_id"]
    assert get_text(row, "orig", 5) == values["orig_cl_ord_id"]
    assert get_text(row, "account", 4) == values["account"]
    assert chr(row["ord_status"]) == values["ord_status"]
    start, length = int(row["text_start"]), int(row["text_length"])
    assert frame[start : start + length].decode() == values["text"]


@given(report_values())
def test_execution_reports_are_read(values: dict[str, Any]) -> None:
    frame = encode_execution_report(VENUE, values)
    status, row = decode(frame)
    assert status == REPORT
    check_common(row, frame, values)
    assert chr(row["msg_type"]) == "8"
    assert row["exec_id"] == values["exec_id"]
    assert row["trade_id"] == values["trade_id"]
    assert get_text(row, "symbol", 3) == values["symbol"]
    assert chr(row["exec_type"]) == values["exec_type"]
    for name in ("side", "ord_type", "tif", "liquidity"):
        assert row[name] == values[name]
    wanted: dict[str, tuple[str, str]] = {
        "qty": ("order_qty", "qty_scale"),
        "leaves_qty": ("leaves_qty", "qty_scale"),
        "cum_qty": ("cum_qty", "qty_scale"),
        "avg_px": ("avg_px", "avg_px_scale"),
    }
    if values["has_price"]:
        wanted["price"] = ("price", "price_scale")
    if values["has_last"]:
        wanted |= {"last_px": ("last_px", "price_scale"), "last_qty": ("last_qty", "qty_scale")}
    for name, (value, scale) in wanted.items():
        assert (row[name], row[f"{name}_scale"]) == (values[value], values[scale])
    present = int(row["present"])
    assert bool(present & Field.PRICE) == values["has_price"]
    assert bool(present & Field.LAST_PX) == values["has_last"]
    assert bool(present & Field.REASON) == (values["ord_rej_reason"] >= 0)
    assert row["reason"] == max(values["ord_rej_reason"], 0)
    assert present & Field.AVG_PX
    assert not present & Field.RESPONSE_TO


@given(report_values())
def test_cancel_rejects_are_read(values: dict[str, Any]) -> None:
    frame = encode_cancel_reject(VENUE, values)
    status, row = decode(frame)
    assert status == REPORT
    check_common(row, frame, values)
    assert chr(row["msg_type"]) == "9"
    assert row["response_to"] == values["cxl_rej_response_to"]
    assert row["reason"] == max(values["cxl_rej_reason"], 0)


def plain(*pairs: tuple[int, Any]) -> bytes:
    message = simplefix.FixMessage()
    for tag, value in ((8, "FIX.4.4"), *pairs):
        message.append_pair(tag, value)
    encoded: bytes = message.encode()
    return encoded


GOOD = plain((35, 8), (49, "V"), (56, "C"), (34, 7), (52, time_text(0)), (11, "A"), (38, "1.50"))


def test_a_report_is_partial_until_its_last_byte() -> None:
    for cut in range(len(GOOD)):
        status, row = decode(GOOD, cut)
        assert status == PARTIAL
        assert row["frame_end"] in (0, len(GOOD))
    status, row = decode(GOOD + b"8=FIX")
    assert status == REPORT
    assert row["frame_end"] == len(GOOD)


def test_any_changed_byte_is_garbled() -> None:
    for place in range(len(GOOD)):
        wrong = bytearray(GOOD)
        wrong[place] ^= 4
        status, _ = decode(bytes(wrong))
        # A longer length may also ask for more.
        assert status in (GARBLED, PARTIAL), place


def test_session_messages_are_left_to_python() -> None:
    for kind in ("0", "1", "5", "A", "3", "j", "AE", "88"):
        status, row = decode(plain((35, kind), (34, 12), (45, 3), (43, "Y")))
        assert status == OTHER
        assert (row["seq"], row["ref_seq"], row["is_poss_dup"]) == (12, 3, 1)


@pytest.mark.parametrize(
    ("tag", "value"),
    [
        (34, "x"),
        (34, "1.5"),
        (38, "1.2.3"),
        (38, "."),
        (38, "12a45678"),
        (38, "1234567890a"),
        (44, "-"),
        (44, "1-2"),
        (6, "1" * 40),
        (31, "1e5"),
    ],
)
def test_figures_that_are_none_are_garbled(tag: int, value: str) -> None:
    status, _ = decode(plain((35, 8), (tag, value)))
    assert status == GARBLED


@given(st.from_regex(r"-?[0-9]{1,12}(\.[0-9]{0,6})?", fullmatch=True))
@example("0.5")
@example("1.")
@example("-0.001")
@example("00012")
@example("12345678.")
@example("123456789.12345")
def test_decimals_keep_their_value_and_scale(value: str) -> None:
    status, row = decode(plain((35, 8), (44, value)))
    assert status == REPORT
    assert Decimal(int(row["price"])).scaleb(-int(row["price_scale"])) == Decimal(value)
    assert row["price_scale"] == len(value.partition(".")[2])


@given(st.binary(max_size=200))
def test_no_bytes_break_the_decoder(data: bytes) -> None:
    decode(data)
    body = b"35=8\x01" + data
    frame = b"8=FIX.4.4\x019=%d\x01%b" % (len(body), body)
    decode(frame + b"10=%03d\x01" % (sum(frame) & 0xFF))

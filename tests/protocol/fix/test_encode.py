"""The encode kernels write byte for byte what simplefix and decimal write, in every version."""

from typing import Any

import numpy as np
import pytest
import simplefix
from hypothesis import example, given, settings
from hypothesis import strategies as st
from oracle import fix_encoder as oracle

from openoutcry.protocol.fix.dictionary import dictionary
from openoutcry.protocol.fix.encode import (
    MAX_REPORT_BYTES,
    NONE,
    PARTIES_MAX,
    REPORT_VALUES,
    ROUTE_MAX,
    encode_cancel_reject,
    encode_execution_report,
)
from openoutcry.protocol.fix.encode_frame import (
    SESSION_TEXT,
    TEXT_MAX,
    session_text,
    text_table,
    time_cache,
)
from openoutcry.protocol.fix.message import parse
from openoutcry.protocol.fix.stamps import format_utc_ms
from openoutcry.protocol.fix.validate import validate
from openoutcry.protocol.fix.versions import Version

INT64_MAX = (1 << 63) - 1
INT64_MIN = -(1 << 63)
YEAR_9999_MS = 253_402_300_799_999
GUARD = 0xEE

PLAIN: dict[str, Any] = {
    "seq_num": 123_456,
    "sending_time_ms": 1_700_000_000_123,
    "orig_sending_time_ms": 1_700_000_000_001,
    "transact_time_ns": 1_700_000_000_122_999_999,
    "order_id": 17,
    "exec_id": 42,
    "trade_id": 0,
    "cl_ord_id": "ORDER-00001",
    "orig_cl_ord_id": "",
    "symbol": "BTCUSDT",
    "account": "ACCOUNT1",
    "price": 6_543_210,
    "last_px": 0,
    "avg_px": 0,
    "order_qty": 150_000,
    "last_qty": 0,
    "leaves_qty": 150_000,
    "cum_qty": 0,
    "price_scale": 2,
    "qty_scale": 5,
    "avg_px_scale": 8,
    "text": "",
    "ord_rej_reason": NONE,
    "cxl_rej_reason": NONE,
    "cxl_rej_response_to": 1,
    "restatement": NONE,
    "last_processed": 0,
    "route": [],
    "parties": [],
    "exec_trans_type": 0,
    "exec_type": "0",
    "ord_status": "0",
    "side": 1,
    "ord_type": 2,
    "tif": 1,
    "liquidity": 0,
    "has_price": 1,
    "has_last": 0,
    "poss_dup": 0,
    "is_copy": 0,
}
SESSION = oracle.SessionTexts(Version.FIX44, "OPENOUTCRY", "CLIENT01")
_TEXTS = {"cl_ord_id": ("id", 5), "orig_cl_ord_id": ("orig", 5), "symbol": ("symbol", 3)}
_TEXTS["account"] = ("account", 4)


def raw_fields(fields: list[tuple[int, str]]) -> Any:
    """Return fields as they go over the wire, with the room behind that the kernels may read."""
    text = "".join(f"{tag}={value}\x01" for tag, value in fields).encode("latin-1")
    return np.frombuffer(text + b"\xee" * 7, np.uint8)


def make_row(values: dict[str, Any], arenas: list[Any]) -> Any:
    """Return one REPORT_VALUES row; a text is row 1 of the table of texts.

    `arenas` takes what the row holds addresses of.
    """
    rows = np.zeros(1, REPORT_VALUES)
    row = rows[0]
    for key, value in values.items():
        if key in _TEXTS:
            name, words = _TEXTS[key]
            padded = value.encode().ljust(8 * words, b"\0")
            for i in range(words):
                row[f"{name}{i}"] = int.from_bytes(padded[8 * i : 8 * i + 8], "little")
        elif key == "text":
            row["text"] = 1 if value else NONE
        elif key in {"exec_type", "ord_status"}:
            row[key] = ord(value)
        elif key in {"route", "parties"}:
            arenas.append(raw_fields(value))
            row[key] = arenas[-1].ctypes.data
            row[f"{key}_len"] = len(arenas[-1]) - 7
        else:
            row[key] = value
    return rows


def encode(
    kernel: Any, values: dict[str, Any], session: oracle.SessionTexts = SESSION, pos: int = 0
) -> bytes:
    sessions = np.zeros(2, SESSION_TEXT)
    sessions[1] = session_text(session.version, session.sender, session.target)
    texts, lengths = text_table(["another text", values["text"] or "unused"])
    out = np.full(pos + MAX_REPORT_BYTES + 64, GUARD, np.uint8)
    arenas: list[Any] = []
    row = make_row(values, arenas)
    end = kernel(out, pos, sessions, 1, texts, lengths, time_cache(), row, 0)
    assert (out[:pos] == GUARD).all(), "wrote before its position"
    assert (out[pos + MAX_REPORT_BYTES :] == GUARD).all(), "wrote behind its room"
    return bytes(out[pos:end])


def check_frame(message: bytes) -> None:
    """Check BodyLength, CheckSum and field order the way a receiver does."""
    head, _, rest = message.partition(b"\x019=")
    assert head.startswith(b"8=FIX")
    length, _, after = rest.partition(b"\x01")
    assert after[int(length) :].startswith(b"10=")
    assert len(after) == int(length) + 7
    assert int(after[int(length) + 3 : -1]) == sum(message[:-7]) % 256
    parser = simplefix.FixParser()
    parser.append_buffer(message)
    parsed = parser.get_message()
    assert parsed is not None
    assert [tag for tag, _ in parsed.pairs[:3]] == [b"8", b"9", b"35"]
    assert parser.get_buffer() == b""


def check_both(
    values: dict[str, Any], session: oracle.SessionTexts = SESSION, pos: int = 0
) -> None:
    for kernel, plain in (
        (encode_execution_report, oracle.encode_execution_report),
        (encode_cancel_reject, oracle.encode_cancel_reject),
    ):
        message = encode(kernel, values, session, pos)
        assert message.replace(b"\x01", b"|") == plain(session, values).replace(b"\x01", b"|")
        check_frame(message)


def text_of(size: int, least: int = 1) -> st.SearchStrategy[str]:
    return st.text(
        st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=least, max_size=size
    )


int64 = st.one_of(
    st.integers(INT64_MIN, INT64_MAX),
    st.integers(-(10**9), 10**9),
    st.builds(lambda n, d: 10**n + d, st.integers(0, 18), st.integers(-1, 1)),
    st.builds(lambda n, d: -(10**n) + d, st.integers(0, 18), st.integers(-1, 1)),
    st.sampled_from([INT64_MIN, INT64_MIN + 1, INT64_MAX, 0]),
)
scale = st.one_of(st.integers(0, 9), st.integers(0, 18))
number = st.one_of(
    st.integers(1, INT64_MAX),
    st.builds(lambda n, d: max(1, 10**n + d), st.integers(0, 18), st.integers(-1, 0)),
)
identifier = st.builds(
    lambda shard, sequence: shard << 48 | sequence,
    st.one_of(st.integers(0, 12), st.integers(0, 32_767)),
    st.one_of(st.integers(0, 10**9), st.integers(0, (1 << 48) - 1)),
)
utc_ms = st.one_of(
    st.integers(0, YEAR_9999_MS),
    st.sampled_from([0, 999, 1000, YEAR_9999_MS, 951_782_400_000, 4_107_542_399_999]),
)
flag = st.integers(0, 1)


def fields_of(tags: tuple[int, ...], most: int) -> st.SearchStrategy[list[tuple[int, str]]]:
    """Return strategies of each tag once or not at all, `most` bytes in all at most."""
    room = most // len(tags) - 5
    value = st.text(
        st.characters(min_codepoint=0x21, max_codepoint=0xFF), min_size=1, max_size=room
    )
    texts = st.lists(st.one_of(st.none(), value), min_size=len(tags), max_size=len(tags))
    return texts.map(
        lambda each: [(tag, text) for tag, text in zip(tags, each, strict=True) if text is not None]
    )


rows = st.fixed_dictionaries(
    {
        "seq_num": number,
        "sending_time_ms": utc_ms,
        "orig_sending_time_ms": utc_ms,
        "transact_time_ns": st.integers(0, INT64_MAX),
        "order_id": identifier,
        "exec_id": identifier,
        "trade_id": identifier,
        "cl_ord_id": text_of(36, 0),
        "orig_cl_ord_id": text_of(36, 0),
        "symbol": text_of(24, 0),
        "account": text_of(32, 0),
        **dict.fromkeys(
            ("price", "last_px", "avg_px", "order_qty", "last_qty", "leaves_qty", "cum_qty"), int64
        ),
        **dict.fromkeys(("price_scale", "qty_scale", "avg_px_scale"), scale),
        "text": st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=TEXT_MAX),
        "ord_rej_reason": st.integers(-1, 99),
        "cxl_rej_reason": st.integers(-1, 99),
        "cxl_rej_response_to": st.integers(1, 2),
        "restatement": st.integers(-1, 99),
        "last_processed": st.just(0) | number,
        "route": fields_of((128, 129, 145), ROUTE_MAX),
        "parties": fields_of((448, 447, 452), PARTIES_MAX - 6),
        "exec_trans_type": st.sampled_from([0, 3]),
        "exec_type": st.sampled_from("0458CFI"),
        "ord_status": st.sampled_from("012458C"),
        "side": st.integers(1, 2),
        "ord_type": st.integers(0, 2),
        "tif": st.integers(0, 9),
        "liquidity": st.integers(0, 2),
        "has_price": flag,
        "has_last": flag,
        "poss_dup": flag,
        "is_copy": flag,
    }
)
sessions = st.builds(
    oracle.SessionTexts,
    st.sampled_from(Version),
    text_of(32),
    text_of(32),
)


def parties_of(version: Version, fields: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """Return party fields as the version has them."""
    if version <= Version.FIX42:
        return [(tag, value) for tag, (_, value) in zip((109, 76), fields, strict=False)]
    return fields and [(453, "1"), *fields]


@settings(max_examples=1000, deadline=None)
@given(rows, sessions, st.integers(0, 9))
@example(PLAIN | {"poss_dup": 1}, SESSION, 3)
def test_bytes_equal_the_plain_encoder(values, session, pos):
    parties = parties_of(session.version, values["parties"])
    check_both(values | {"parties": parties}, session, pos)


@settings(max_examples=600, deadline=None)
@given(rows, sessions, st.data())
def test_every_version_accepts_its_messages(values, session, data):
    facts = dictionary(session.version)

    def one_of(tag: int) -> str:
        codes = facts.enumerations.get(tag)
        return data.draw(st.sampled_from(sorted(codes))).decode() if codes else "0"

    values = values | {
        # What the engine never reports, and what these versions' whole numbers cannot say.
        **{name: abs(values[name]) % 10**10 for name in ("order_qty", "leaves_qty", "cum_qty")},
        **{name: abs(values[name]) % 10**10 for name in ("last_qty", "price", "last_px", "avg_px")},
        **dict.fromkeys(("price_scale", "avg_px_scale"), min(values["price_scale"], 8)),
        "qty_scale": 0 if session.version < Version.FIX42 else min(values["qty_scale"], 8),
        "seq_num": values["seq_num"] % 10**15 + 1,
        "exec_id": values["exec_id"] % 10**17,
        "exec_type": one_of(150),
        "ord_status": one_of(39),
        "ord_rej_reason": int(one_of(103)),
        "cxl_rej_reason": int(one_of(102)),
        "restatement": int(one_of(378)),
        "cl_ord_id": values["cl_ord_id"] or "1",
        "orig_cl_ord_id": values["orig_cl_ord_id"] or "1",
        "sending_time_ms": values["orig_sending_time_ms"],
        "tif": min(values["tif"], 6),
        "last_processed": values["last_processed"] % 10**15 if 369 in facts.header_tags else 0,
        "route": [field for field in values["route"] if field[0] in facts.header_tags],
        "parties": parties_of(session.version, [(448, "FIRM"), (447, "D"), (452, "1")]),
    }
    for kernel in (encode_execution_report, encode_cancel_reject):
        message = encode(kernel, values, session)
        assert validate(parse(message), facts) is None, message


def test_a_usual_report():
    message = encode(encode_execution_report, PLAIN)
    assert message.replace(b"\x01", b"|").decode() == (
        "8=FIX.4.4|9=231|35=8|49=OPENOUTCRY|56=CLIENT01|34=123456|52=20231114-22:13:20.123"
        "|37=O0-17|11=ORDER-00001|17=E0-42|150=0|39=0|1=ACCOUNT1|55=BTCUSDT|54=1|38=1.50000|40=2"
        "|44=65432.10|59=1|151=1.50000|14=0.00000|6=0.00000000|60=20231114-22:13:20.122|10=015|"
    )


def test_a_trade():
    trade = PLAIN | {
        "exec_type": "F",
        "ord_status": "1",
        "has_last": 1,
        "last_px": 6_543_209,
        "last_qty": 50_000,
        "leaves_qty": 100_000,
        "cum_qty": 50_000,
        "avg_px": 6_543_209_000_000,
        "liquidity": 2,
        "trade_id": 3 << 48 | 42,
    }
    text = encode(encode_execution_report, trade).replace(b"\x01", b"|").decode()
    assert "|32=0.50000|31=65432.09|151=1.00000|14=0.50000|6=65432.09000000|60=" in text
    assert "|851=2|527=T3-42|10=" in text


def test_an_unknown_order_is_none():
    reject = PLAIN | {"order_id": 0, "orig_cl_ord_id": "NO-SUCH", "cxl_rej_reason": 1}
    text = encode(encode_cancel_reject, reject).replace(b"\x01", b"|").decode()
    assert "|37=NONE|11=ORDER-00001|41=NO-SUCH|39=0|434=1|102=1|1=ACCOUNT1|60=" in text


@pytest.mark.parametrize("digits", range(1, 20))
def test_sequence_numbers_of_every_length(digits):
    for seq_num in (10 ** (digits - 1), min(10**digits - 1, INT64_MAX)):
        check_both(PLAIN | {"seq_num": seq_num})


@pytest.mark.parametrize("places", range(19))
@pytest.mark.parametrize(
    "mantissa", [0, 1, -1, 9, 99_999_999, 10**8, -(10**16), 10**16 - 1, INT64_MIN, INT64_MAX]
)
def test_decimals_at_every_scale(mantissa, places):
    check_both(
        PLAIN
        | {"price": mantissa, "price_scale": places, "avg_px": mantissa, "avg_px_scale": places}
    )


@pytest.mark.parametrize("size", [*range(1, 37)])
def test_identifiers_of_every_length(size):
    text = "".join(chr(0x21 + (7 * i) % 94) for i in range(size))
    check_both(
        PLAIN
        | {
            "cl_ord_id": text,
            "orig_cl_ord_id": text[::-1],
            "account": text[:32],
            "symbol": text[:24],
        }
    )


def test_body_length_around_its_digits():
    """Grow a message byte by byte through 999 and 1000, and shrink a reject below 100."""
    long = PLAIN | {
        "cl_ord_id": "C" * 36,
        "orig_cl_ord_id": "O" * 36,
        "account": "A" * 32,
        "symbol": "S" * 24,
        "has_last": 1,
        "poss_dup": 1,
        "liquidity": 1,
        "trade_id": INT64_MAX,
        "order_id": INT64_MAX,
        "exec_id": INT64_MAX,
        "seq_num": INT64_MAX,
        **dict.fromkeys(
            ("price", "last_px", "avg_px", "order_qty", "last_qty", "leaves_qty", "cum_qty"),
            INT64_MIN,
        ),
        **dict.fromkeys(("price_scale", "qty_scale", "avg_px_scale"), 18),
    }
    session = oracle.SessionTexts(Version.FIX50SP2, "V" * 32, "C" * 32)
    lengths = set()
    for size in range(1, TEXT_MAX + 1):
        values = long | {"text": "t" * size}
        check_both(values, session)
        message = encode(encode_execution_report, values, session)
        assert len(message) <= MAX_REPORT_BYTES - 64
        lengths.add(int(message.split(b"\x01")[1][2:]))
    assert {998, 999, 1000, 1001} <= lengths
    short = PLAIN | {"seq_num": 1, "order_id": 0, "account": "", "orig_cl_ord_id": ""}
    for cl_ord_id in ("", "1", "12", "123", "1234", "12345", "1" * 20):
        check_both(short | {"cl_ord_id": cl_ord_id}, oracle.SessionTexts(Version.FIX44, "V", "C"))


def test_one_cache_serves_rising_and_falling_times():
    sessions = np.zeros(1, SESSION_TEXT)
    sessions[0] = session_text(Version.FIX44, "VENUE", "CLIENT")
    texts, lengths = text_table([])
    times = time_cache()
    out = np.zeros(MAX_REPORT_BYTES, np.uint8)
    day_end = 1_709_251_199_999
    for ms in (0, 5, day_end, day_end + 1, day_end - 1000, 0, 68_169_600_000, 1_000):
        times_of = {"sending_time_ms": ms, "transact_time_ns": (ms + 999) * 1_000_000}
        rows = make_row(PLAIN | times_of, [])
        end = encode_execution_report(out, 0, sessions, 0, texts, lengths, times, rows, 0)
        message = bytes(out[:end])
        assert b"\x0152=" + format_utc_ms(ms) + b"\x01" in message
        assert b"\x0160=" + format_utc_ms(ms + 999) + b"\x01" in message


def test_texts_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="too long"):
        session_text(Version.FIX44, "V" * 40, "C" * 40)
    with pytest.raises(ValueError, match="58"):
        text_table(["a\x01b"])
    with pytest.raises(ValueError, match="58"):
        text_table(["x" * (TEXT_MAX + 1)])

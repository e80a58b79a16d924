"""What was sent is sent again: same messages, whatever files and blocks they lie in."""

import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.gateway_alone import BINARY, NOW_MS, GatewayAlone, frames_of

from openoutcry.engine.enums import OrderStatus, RejectReason, ReportKind
from openoutcry.protocol.binary import messages as bm
from openoutcry.protocol.binary.frames import encode_frame
from openoutcry.protocol.fix.message import parse
from openoutcry.protocol.fix.stamps import format_sending_time
from openoutcry.protocol.fix.store import MemoryStore, mark_resent
from openoutcry.protocol.fix.versions import Version
from openoutcry.server.sessions import BLOCK_ENTRIES, BLOCK_HEADER_WORDS
from openoutcry.server.store import GatewayStore, SentMessages

LATER_MS = NOW_MS + 77_000
FIX44 = Version.FIX44 + 1


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[GatewayAlone]:
    made = GatewayAlone(tmp_path, shards=3)
    yield made
    made.close()


def random_report(chooser: random.Random, session: int) -> dict[str, Any]:
    """Return a report of any usual kind, with identifiers of any length."""
    kind = chooser.choice(
        [ReportKind.NEW, ReportKind.TRADE, ReportKind.REPLACED, ReportKind.CANCEL_REJECTED]
    )
    report: dict[str, Any] = {
        "session": session,
        "kind": kind,
        "order_id": chooser.randrange(1, 1 << 40),
        "price_ticks": chooser.randrange(-5, 1 << 40),
        "qty_lots": chooser.randrange(1, 1 << 30),
        "cl_ord_id": b"C" * chooser.randrange(1, 37),
        "side": 1,
        "ord_type": 2,
        "account": chooser.randrange(2),
        "symbol": chooser.randrange(2),
    }
    if kind == ReportKind.TRADE:
        report |= {"last_px": 5, "last_qty": 7, "cum_qty": 7, "notional_lo": 35, "trade_id": 3}
        report["status"] = OrderStatus.PARTIALLY_FILLED
    else:
        report["orig_cl_ord_id"] = b"O" * chooser.randrange(1, 37)
    if kind == ReportKind.CANCEL_REJECTED:
        report["reason"] = RejectReason.TOO_LATE_TO_CANCEL
    return report


def record(
    alone: GatewayAlone, session: int, count: int, chooser: random.Random
) -> tuple[bytes, MemoryStore]:
    """Send reports, the gateway's own messages and administrative ones, among others' reports.

    Returns the application messages as they went out, and a store of frames that a plain acceptor
    would have kept.
    """
    connection = alone.connect(session)
    index, store = alone.gateway.index, GatewayStore(alone.gateway, session)
    row, kept, sent = index.rows[session], MemoryStore(), bytearray()
    while row["next_out"] <= count:
        alone.now_ms += chooser.randrange(3)
        what = chooser.random()
        number = int(row["next_out"])
        if what < 0.02:
            frame = parse_free(number, alone.now_ms, b"x" * chooser.randrange(1, 300))
            store.record(number, alone.now_ms, frame)
            kept.record(number, alone.now_ms, frame)
            row["next_out"] += 1
            sent += frame
        elif what < 0.05:
            for _ in range(chooser.choice([1, 1, 3, BLOCK_ENTRIES])):
                store.record(int(row["next_out"]), alone.now_ms, None)
                row["next_out"] += 1
        else:
            log = chooser.choice(alone.logs)
            others = [random_report(chooser, FIX44 + 1)] * chooser.choice([0, 0, 0, 1, 40])
            reports = [random_report(chooser, session) for _ in range(chooser.randrange(1, 20))]
            log.write(*others, *reports)
            alone.gateway.drain()
            data = connection.take()
            sent += data
            if session != BINARY:
                for frame in frames_of(data):
                    kept.record(parse(frame).seq_num or 0, 0, frame)
    return bytes(sent), kept


def parse_free(number: int, now_ms: int, text: bytes) -> bytes:
    """Return a message that the gateway made, as its session would frame it."""
    stamp = format_sending_time(now_ms, Version.FIX44)
    body = b"35=j\x0149=OPENOUTCRY\x0156=FIX44\x0134=%d\x0152=%b\x0145=1\x01372=D\x01380=0\x0158=%b"
    body = body % (number, stamp, text) + b"\x01"
    head = b"8=FIX.4.4\x019=%d\x01%b" % (len(body), body)
    return b"%b10=%03d\x01" % (head, sum(head) & 255)


def in_order(found: list[tuple[int, bytes | None]]) -> list[tuple[int, bytes | None]]:
    """Put PossDupFlag(43) behind SendingTime(52), where the kernels have it."""
    swap = re.compile(rb"(\x0143=Y)(\x0152=[^\x01]*)(?=\x01122=)")
    return [(number, frame and swap.sub(rb"\2\1", frame)) for number, frame in found]


def flat(runs: Iterator[Any]) -> list[tuple[int, bytes | None]]:
    """Return runs as single messages, and see that they leave no number out."""
    found: list[tuple[int, bytes | None]] = []
    for first, last, data in runs:
        frames = [None] * (last - first + 1) if data is None else frames_of(data)
        assert len(frames) == last - first + 1
        found += zip(range(first, last + 1), frames, strict=True)
    assert [number for number, _ in found] == list(range(found[0][0], found[-1][0] + 1))
    return found


@pytest.mark.parametrize("version", [Version.FIX40, Version.FIX44])
def test_messages_again_as_a_plain_store_keeps_them(alone: GatewayAlone, version: Version):
    session, chooser = version + 1, random.Random(5)
    sent, kept = record(alone, session, 6_000, chooser)
    store = GatewayStore(alone.gateway, session)
    last = int(alone.gateway.index.rows[session]["next_out"]) - 1
    first_time = flat(store.first_time(1, last))
    assert b"".join(frame for _, frame in first_time if frame) == sent
    assert first_time == flat(kept.first_time(1, last))
    resent = in_order(flat(store.resent(1, last, LATER_MS)))
    assert resent == in_order(flat(kept.resent(1, last, LATER_MS)))
    for _ in range(300):
        first = chooser.randrange(1, last + 1)
        stop = min(last, first + chooser.choice([0, 1, 10, 700]))
        assert in_order(flat(store.resent(first, stop, LATER_MS))) == resent[first - 1 : stop]
    # Far more than a segment of each log was gone over.
    assert alone.gateway.report_files[0].first_byte > 0


def test_neighbouring_reports_come_in_one_run(alone: GatewayAlone):
    alone.connect(FIX44)
    for _ in range(BLOCK_ENTRIES // 2):
        for log in alone.logs[:2]:
            log.write({"session": FIX44, "kind": ReportKind.NEW, "order_id": 1, "side": 1})
    alone.gateway.drain()
    runs = list(GatewayStore(alone.gateway, FIX44).resent(1, BLOCK_ENTRIES, LATER_MS))
    assert [(first, last) for first, last, _ in runs] == [(1, BLOCK_ENTRIES)]


def test_numbers_that_were_never_sent_are_a_gap(alone: GatewayAlone):
    store = GatewayStore(alone.gateway, FIX44)
    assert list(store.resent(1, 3, LATER_MS)) == [(1, 3, None)]
    store.record(1, NOW_MS, None)
    store.record(2, NOW_MS, None)
    assert list(store.resent(1, 9, LATER_MS)) == [(1, 2, None), (3, 9, None)]
    frame = parse_free(3, NOW_MS, b"text")
    store.record(3, NOW_MS, frame)
    assert list(store.resent(2, 4, LATER_MS)) == [
        (2, 2, None),
        (3, 3, mark_resent(frame, LATER_MS)),
        (4, 4, None),
    ]


def test_a_stored_message_that_is_damaged_is_not_sent(
    alone: GatewayAlone, caplog: pytest.LogCaptureFixture
):
    store = GatewayStore(alone.gateway, FIX44)
    for number in (1, 2, 3):
        store.record(number, NOW_MS, b"message %d" % number)
        alone.gateway.index.rows[FIX44]["next_out"] += 1
    assert [data for *_, data in store.first_time(1, 3)] == [b"message %d" % n for n in (1, 2, 3)]
    index = alone.gateway.index
    index.message_file.array("u1")[index.stored_end // 2] ^= 4
    assert list(store.first_time(1, 3)) == [
        (1, 1, b"message 1"), (2, 2, None), (3, 3, b"message 3")
    ]  # fmt: skip
    assert "a stored message is damaged" in caplog.text


@pytest.mark.parametrize("shift", [-64, 1, 8, 13])
def test_an_entry_that_points_at_no_report_is_filled(
    alone: GatewayAlone, caplog: pytest.LogCaptureFixture, shift: int
):
    alone.connect(FIX44)
    report = {"session": FIX44, "kind": ReportKind.NEW, "order_id": 1, "side": 1, "account": 1}
    alone.logs[0].write(*[report | {"cl_ord_id": b"C%d" % n} for n in range(9)])
    alone.gateway.drain()
    store, index = GatewayStore(alone.gateway, FIX44), alone.gateway.index
    assert all(data for _, data in flat(store.resent(1, 9, LATER_MS)))
    found = index.block_of(FIX44, 1)
    assert found is not None
    # The entry of number 5; no report begins where it says then.
    found[1][BLOCK_HEADER_WORDS + 2 * 4 + 1] += shift
    again = flat(store.resent(1, 9, LATER_MS))
    assert [number for number, data in again if data is None] == [5]
    assert "the index is damaged" in caplog.text


def test_a_reset_forgets_what_was_sent(alone: GatewayAlone):
    alone.connect(FIX44)
    report = {"session": FIX44, "kind": ReportKind.NEW, "order_id": 1, "side": 1}
    alone.logs[0].write(*[report] * 300)
    alone.gateway.drain()
    store = GatewayStore(alone.gateway, FIX44)
    assert flat(store.resent(300, 300, LATER_MS))[0][1] is not None
    store.reset()
    assert list(store.resent(1, 2, LATER_MS)) == [(1, 2, None)]
    alone.logs[0].write(report | {"cl_ord_id": b"AFTER"})
    alone.gateway.drain()
    ((_, frame),) = flat(store.resent(1, 1, LATER_MS))
    assert frame is not None
    assert parse(frame).get(11) == b"AFTER"


def test_a_report_just_released_is_read_behind_what_was_read_before(alone: GatewayAlone):
    """What is read of a log ends where it was written then; later reports lie in the same part."""
    alone.connect(FIX44)
    store = GatewayStore(alone.gateway, FIX44)
    for number in range(1, 200):
        alone.logs[0].write(
            {"session": FIX44, "kind": ReportKind.NEW, "side": 1, "cl_ord_id": b"N%d" % number}
        )
        alone.gateway.drain()
        ((_, frame),) = flat(store.resent(number, number, LATER_MS))
        assert frame is not None
        assert parse(frame).get(11) == b"N%d" % number


def test_binary_messages_again(alone: GatewayAlone):
    sent = record_binary(alone, 3_000)
    again = SentMessages(alone.gateway, BINARY).runs(1, len(sent), repeated, repeat_below=1_501)
    data = b"".join(data or b"" for _, _, data in again)
    found: list[Any] = [bm.decode_server_message(payload) for payload in payloads(data)]
    assert [message.repeated for message in found] == [n < 1_501 for n in range(1, len(sent) + 1)]
    assert [plain(message) for message in found] == [plain(message) for message in sent]


def plain(message: Any) -> dict[str, Any]:
    return {
        name: getattr(message, name) for name in message.__struct_fields__ if name != "repeated"
    }


def payloads(data: bytes) -> list[bytes]:
    found = []
    while data:
        size = 4 + int.from_bytes(data[:4], "big")
        found.append(data[4:size])
        data = data[size:]
    return found


def repeated(number: int, frame: bytes) -> bytes:
    message: Any = bm.decode_server_message(frame[4:])
    return encode_frame(bm.Reject(number, number < 1_501, *list(plain(message).values())[1:]))


def record_binary(alone: GatewayAlone, count: int) -> list[Any]:
    connection, chooser = alone.connect(BINARY), random.Random(6)
    row = alone.gateway.index.rows[BINARY]
    sent: list[Any] = []
    while row["next_out"] <= count:
        if chooser.random() < 0.02:
            number = int(row["next_out"])
            message = bm.Reject(number, False, 5, "C", 1, "text")
            source = alone.gateway.index.store_bytes(encode_frame(message))
            alone.gateway.index.append(BINARY, number, NOW_MS, source)
            row["next_out"] += 1
            sent.append(message)
            continue
        reports = [random_report(chooser, BINARY) for _ in range(chooser.randrange(1, 20))]
        chooser.choice(alone.logs).write(*reports)
        alone.gateway.drain()
        sent += map(bm.decode_server_message, payloads(connection.take()))
    return sent

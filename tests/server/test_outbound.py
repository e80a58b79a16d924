"""Reports to messages, version by version, and to all who see them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.gateway_alone import BINARY, GatewayAlone, frames_of

from openoutcry.engine.enums import CommandKind, OrderStatus, RejectReason, ReportKind
from openoutcry.protocol.binary.messages import decode_server_message
from openoutcry.protocol.fix.dictionary import dictionary
from openoutcry.protocol.fix.message import parse
from openoutcry.protocol.fix.validate import validate
from openoutcry.protocol.fix.versions import Version
from openoutcry.server.store import GatewayStore

PARTIES = b"453=1\x01448=FIRM\x01447=D\x01452=1\x01"
OLD_PARTIES = b"109=FIRM\x01"
#: An order of 5 at 7, of which 2 are filled.
ORDER: dict[str, Any] = {
    "order_id": 3,
    "price_ticks": 7,
    "qty_lots": 5,
    "cum_qty": 2,
    "leaves_qty": 3,
    "notional_lo": 14,
    "inbound_seq": 4,
    "account": 1,
    "cl_ord_id": b"NEW-ID",
    "status": OrderStatus.PARTIALLY_FILLED,
    "side": 1,
    "ord_type": 2,
    "tif": 1,
}
NEW = ORDER | {"kind": ReportKind.NEW, "cum_qty": 0, "status": OrderStatus.NEW, "notional_lo": 0}
TRADE = ORDER | {
    "kind": ReportKind.TRADE,
    "last_px": 7,
    "last_qty": 2,
    "trade_id": 2,
    "liquidity": 1,
}
CHANGED = ORDER | {"orig_cl_ord_id": b"OLD-ID"}
REJECTED = NEW | {"order_id": 0, "kind": ReportKind.REJECTED, "status": OrderStatus.REJECTED}
REPORTS: dict[str, dict[str, Any]] = {
    "new": NEW,
    "partial fill": TRADE,
    "fill": TRADE | {"status": OrderStatus.FILLED, "leaves_qty": 0, "cum_qty": 5},
    "canceled": CHANGED
    | {"kind": ReportKind.CANCELED, "status": OrderStatus.CANCELED, "leaves_qty": 0},
    "replaced": CHANGED | {"kind": ReportKind.REPLACED},
    "replaced unfilled": CHANGED
    | {"kind": ReportKind.REPLACED, "cum_qty": 0, "notional_lo": 0, "status": OrderStatus.NEW},
    "expired": ORDER | {"kind": ReportKind.EXPIRED, "status": OrderStatus.EXPIRED, "leaves_qty": 0},
    "status": ORDER | {"kind": ReportKind.STATUS},
    "status of a replaced identifier": CHANGED
    | {"kind": ReportKind.STATUS, "status": OrderStatus.REPLACED, "leaves_qty": 0},
    "status unknown": REJECTED | {"kind": ReportKind.STATUS, "reason": RejectReason.UNKNOWN_ORDER},
    **{
        f"unasked cancel {reason.name}": ORDER
        | {"kind": ReportKind.CANCELED, "status": OrderStatus.CANCELED, "reason": reason}
        for reason in (
            RejectReason.MASS_CANCEL,
            RejectReason.CONNECTION_LOST,
            RejectReason.LOGGED_OUT,
        )
    },
    **{
        f"reject {reason.name}": REJECTED | {"reason": reason}
        for reason in RejectReason
        if 0 < reason < RejectReason.MASS_CANCEL
    },
    **{
        f"cancel reject {reason.name}": CHANGED
        | {"kind": ReportKind.CANCEL_REJECTED, "reason": reason, "response_to": CommandKind.REPLACE}
        for reason in RejectReason
        if 0 < reason < RejectReason.MASS_CANCEL
    },
    "cancel reject of the replaced": CHANGED
    | {
        "kind": ReportKind.CANCEL_REJECTED,
        "reason": RejectReason.ORDER_REPLACED,
        "status": OrderStatus.REPLACED,
        "response_to": CommandKind.CANCEL,
    },
}


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[GatewayAlone]:
    made = GatewayAlone(tmp_path)
    yield made
    made.close()


def sent(alone: GatewayAlone, version: Version, report: dict[str, Any]) -> dict[int, str]:
    """Return the fields of what a session of a version is told."""
    connection = alone.connections.get(version + 1) or alone.connect(version + 1)
    alone.logs[0].write(report | {"session": version + 1})
    alone.gateway.drain()
    (frame,) = frames_of(connection.take())
    return {tag: value.decode() for tag, value in parse(frame).fields}


@pytest.mark.parametrize("version", Version, ids=lambda version: version.label)
def test_every_report_is_good_in_its_version(alone: GatewayAlone, version: Version):
    connection = alone.connect(version + 1)
    facts = dictionary(version)
    accounts = alone.gateway.accounts
    parties = OLD_PARTIES if version <= Version.FIX42 else PARTIES
    variant = accounts.variant(1, b"128=DESK\x01129=TRADER\x01", parties)
    for symbol in (0, 1) if version >= Version.FIX42 else (0,):
        for account in (0, 1, variant):
            reports = [
                report | {"session": version + 1, "symbol": symbol, "account": account}
                for report in REPORTS.values()
            ]
            alone.logs[symbol].write(*reports)
            alone.gateway.drain()
            frames = frames_of(connection.take())
            assert len(frames) == len(REPORTS)
            for name, frame in zip(REPORTS, frames, strict=True):
                assert validate(parse(frame), facts) is None, (name, frame)


def test_types_and_states_by_version(alone: GatewayAlone):
    def told(name: str, version: Version) -> str:
        fields = sent(alone, version, REPORTS[name])
        return "/".join(fields.get(tag, "") for tag in (20, 150, 39))

    v40, v41, v42, v43, v44, *v50 = Version
    expected = {
        "new": ["0//0", "0/0/0", "0/0/0", "/0/0", "/0/0", "/0/0"],
        "partial fill": ["0//1", "0/1/1", "0/1/1", "/F/1", "/F/1", "/F/1"],
        "fill": ["0//2", "0/2/2", "0/2/2", "/F/2", "/F/2", "/F/2"],
        "canceled": ["0//4", "0/4/4", "0/4/4", "/4/4", "/4/4", "/4/4"],
        "replaced": ["0//5", "0/5/1", "0/5/1", "/5/1", "/5/1", "/5/1"],
        "replaced unfilled": ["0//5", "0/5/5", "0/5/5", "/5/0", "/5/0", "/5/0"],
        "expired": ["0//C", "0/C/C", "0/C/C", "/C/C", "/C/C", "/C/C"],
        "status": ["3//1", "3/1/1", "3/1/1", "/I/1", "/I/1", "/I/1"],
        "status unknown": ["3//8", "3/8/8", "3/8/8", "/I/8", "/I/8", "/I/8"],
        "status of a replaced identifier": ["3//5", "3/5/5", "3/5/5", "/I/5", "/I/8", "/I/5"],
    }
    for name, values in expected.items():
        assert [told(name, version) for version in (v40, v41, v42, v43, v44, v50[-1])] == values


def test_unasked_cancels_say_why(alone: GatewayAlone):
    lost, out, mass = (
        [sent(alone, version, REPORTS[f"unasked cancel {name}"]) for version in Version]
        for name in ("CONNECTION_LOST", "LOGGED_OUT", "MASS_CANCEL")
    )
    assert [fields.get(378) for fields in lost] == [None] * 4 + ["99"] * 3 + ["12"]
    assert [fields.get(378) for fields in out] == [None] * 4 + ["99"] * 3 + ["13"]
    assert [fields.get(378) for fields in mass] == [None] * 8
    assert {fields[58] for fields in lost} == {"canceled since the session lost its connection"}
    assert {fields[39] for fields in lost + out + mass} == {"4"}
    assert {fields[11] for fields in lost} == {"NEW-ID"}
    assert not any(103 in fields or 41 in fields for fields in lost + out + mass)


def test_a_variant_s_fields_go_where_they_may(alone: GatewayAlone):
    variant = alone.gateway.accounts.variant(
        1, b"128=DESK\x01", PARTIES, party_min=Version.FIX44, party_max=Version.FIX50
    )
    told = [sent(alone, version, NEW | {"account": variant}) for version in Version]
    assert [fields.get(448) for fields in told] == [None] * 4 + ["FIRM"] * 2 + [None] * 2
    assert {fields[128] for fields in told} == {"DESK"}
    assert {fields[1] for fields in told} == {"ACC"}
    plain = sent(alone, Version.FIX44, NEW)
    assert not {448, 128} & plain.keys()


# --- drop copies ----------------------------------------------------------------------------------

FIX44, FIX50SP2, FIX42 = Version.FIX44 + 1, Version.FIX50SP2 + 1, Version.FIX42 + 1


def copy_to(alone: GatewayAlone, owner: int, *targets: int) -> None:
    for target in targets:
        row = alone.gateway.index.rows[owner]
        row["copies"] = alone.gateway.copies.add(int(row["copies"]), target)


def without(frame: bytes, *tags: int) -> dict[int, bytes]:
    left_out = {8, 9, 10, 49, 56, 34, *tags}
    return {tag: value for tag, value in parse(frame).fields if tag not in left_out}


def test_copies_are_the_report_with_797(alone: GatewayAlone):
    own, copied, old = (alone.connect(session) for session in (FIX44, FIX50SP2, FIX42))
    copy_to(alone, FIX44, FIX50SP2, FIX42)
    alone.gateway.index.rows[FIX50SP2]["next_out"] = 9
    account = alone.gateway.accounts.variant(1, b"128=DESK\x01", PARTIES, party_min=Version.FIX43)
    reports = [REPORTS["new"], REPORTS["fill"], REPORTS["cancel reject UNKNOWN_ORDER"]]
    alone.logs[1].write(*(r | {"session": FIX44, "account": account} for r in reports))
    alone.gateway.drain()
    owned, copies = frames_of(own.take()), frames_of(copied.take())
    assert [parse(frame).seq_num for frame in owned] == [1, 2, 3]
    assert [parse(frame).seq_num for frame in copies] == [9, 10, 11]
    for first, copy in zip(owned, copies, strict=True):
        # Where an answer should go is none of a copy's business.
        expected = without(first, 128)
        if b"\x0135=8\x01" in copy:
            expected[797] = b"Y"
        else:
            # Only 5.0 SP2 has parties in an OrderCancelReject.
            expected |= {453: b"1", 448: b"FIRM", 447: b"D", 452: b"1"}
        assert without(copy) == expected
        assert validate(parse(copy), dictionary(Version.FIX50SP2)) is None
    for frame in frames_of(old.take()):
        message = parse(frame)
        assert validate(message, dictionary(Version.FIX42)) is None
        assert message.get(797) is None
        assert message.get(453) is None


def test_a_session_gets_one_copy_and_none_of_its_own(alone: GatewayAlone):
    connections = [alone.connect(session) for session in (FIX44, FIX50SP2, FIX42)]
    copy_to(alone, FIX44, FIX50SP2, FIX44)
    accounts = alone.gateway.accounts.rows
    for target in (FIX50SP2, FIX42):
        accounts[1]["copies"] = alone.gateway.copies.add(int(accounts[1]["copies"]), target)
    alone.logs[0].write(NEW | {"session": FIX44})
    # Of another session, but of the account.
    alone.logs[0].write(NEW | {"session": FIX42})
    # Of neither.
    alone.logs[0].write(NEW | {"session": FIX42, "account": 0})
    alone.gateway.drain()
    counts = [len(frames_of(connection.take())) for connection in connections]
    assert counts == [1, 2, 3]


def test_copies_of_what_the_binary_protocol_traded(alone: GatewayAlone):
    binary, copied = alone.connect(BINARY), alone.connect(FIX44)
    copy_to(alone, BINARY, FIX44)
    odd = REJECTED | {"reason": RejectReason.INVALID_SIDE, "side": 0}
    unknown = REPORTS["status unknown"]
    for report in (NEW, odd, unknown, REPORTS["reject QTY_OFF_LOT"]):
        alone.logs[0].write(report | {"session": BINARY})
    alone.gateway.drain()
    data = binary.take()
    told: list[Any] = []
    while data:
        size = 4 + int.from_bytes(data[:4], "big")
        told.append(decode_server_message(data[4:size]))
        data = data[size:]
    assert [message.seq for message in told] == [1, 2, 3, 4]
    # What FIX has no words for, and what tells of no order, is not copied.
    copies = frames_of(copied.take())
    assert [parse(frame).get(150) for frame in copies] == [b"0", b"8"]
    assert all(validate(parse(frame), dictionary(Version.FIX44)) is None for frame in copies)


def test_copies_wait_for_a_client_that_is_away(alone: GatewayAlone):
    alone.connect(FIX44)
    copy_to(alone, FIX44, FIX50SP2)
    alone.logs[0].write(NEW | {"session": FIX44})
    alone.gateway.drain()
    assert alone.gateway.index.rows[FIX50SP2]["next_out"] == 2
    alone.disconnect(FIX44)
    copied = alone.connect(FIX50SP2)
    alone.logs[0].write(TRADE | {"session": FIX44})
    alone.gateway.drain()
    assert alone.gateway.index.rows[FIX44]["next_out"] == 3
    (second,) = frames_of(copied.take())
    assert parse(second).seq_num == 2
    store = GatewayStore(alone.gateway, FIX50SP2)
    resent = [
        frame for _, _, data in store.resent(1, 2, alone.now_ms) for frame in frames_of(data or b"")
    ]
    assert [parse(frame).get(797) for frame in resent] == [b"Y"] * 2
    assert without(resent[1], 43, 52, 122) == without(second, 52)


def test_copies_of_many_reports_fill_buffers_and_blocks(alone: GatewayAlone):
    """Far more than a buffer, or a segment of the index, takes at once: all arrive, in order."""
    own, copied = alone.connect(FIX44), alone.connect(FIX50SP2)
    copy_to(alone, FIX44, FIX50SP2)
    count = 10_000
    alone.logs[0].write(*([NEW | {"session": FIX44}] * count))
    alone.gateway.drain()
    for connection in (own, copied):
        numbers = [parse(frame).seq_num for frame in frames_of(connection.take())]
        assert numbers == list(range(1, count + 1))


# --- what is for Python ---------------------------------------------------------------------------


def test_answers_to_mass_requests_are_taken_between_their_neighbours(
    alone: GatewayAlone, monkeypatch: pytest.MonkeyPatch
):
    connection = alone.connect(FIX44)
    taken: list[tuple[int, int, int, int, int]] = []

    def take(shard: int, position: int, row: Any) -> None:
        written = len(frames_of(bytes(connection.data)))
        taken.append((shard, position, int(row["kind"]), int(row["qty_lots"]), written))

    monkeypatch.setattr(alone.gateway.orders, "take_report", take, raising=False)
    mass = {"session": FIX44, "inbound_seq": 7, "qty_lots": 2}
    alone.logs[1].write(
        NEW | {"session": FIX44},
        mass | {"kind": ReportKind.MASS_CANCELED},
        NEW | {"session": FIX44},
        # Nobody asked: the gateway itself did.
        mass | {"kind": ReportKind.MASS_CANCELED, "inbound_seq": 0},
        mass | {"kind": ReportKind.MASS_STATUS},
        mass | {"kind": ReportKind.MASS_STATUS_END},
        NEW | {"session": FIX44},
    )
    alone.gateway.drain()
    assert [(shard, *rest) for shard, _, *rest in taken] == [
        (1, ReportKind.MASS_CANCELED, 2, 1),
        (1, ReportKind.MASS_STATUS, 2, 2),
        (1, ReportKind.MASS_STATUS_END, 2, 2),
    ]
    assert [position for _, position, *_ in taken] == sorted({p for _, p, *_ in taken})
    assert [parse(frame).seq_num for frame in frames_of(connection.take())] == [1, 2, 3]

"""Mass cancel, mass status, and status by other identifiers: what shards are asked and clients
told."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.fix_desk import TIME, Desk, number_of, order, told

from openoutcry.engine.enums import CommandKind, OrderStatus, RejectReason, ReportKind
from openoutcry.protocol.fix.message import Message
from openoutcry.protocol.fix.versions import Version
from openoutcry.server.fix_gateway import FixSession
from openoutcry.server.fix_mass import order_id_of

FROM_43 = list(Version)[Version.FIX43 :]
VERSIONS = pytest.mark.parametrize("version", FROM_43, ids=lambda version: version.label)
#: The desk's symbols are in a shard each.
SHARDS = {"WHOLE": 0, "PARTS": 1}


def mass_cancel(desk: Desk, session: FixSession, body: str) -> Message:
    return desk.take(session, f"35=q|11=M-1|60={TIME}|{body}")


def mass_status(desk: Desk, session: FixSession, body: str) -> Message:
    return desk.take(session, f"35=AF|584=S-1|{body}")


def to(session: FixSession, message: Message, kind: ReportKind, **values: Any) -> dict[str, Any]:
    """Return a report that answers a message."""
    epoch = int(session.gateway.index.rows[session.number]["epoch"])
    number = message.seq_num
    return {
        "session": session.number,
        "epoch": epoch,
        "inbound_seq": number,
        "kind": kind,
        **values,
    }


def resting(session: FixSession, message: Message, number: int, **values: Any) -> dict[str, Any]:
    """Return a MASS_STATUS report of an open order."""
    facts = {
        "order_id": number,
        "cl_ord_id": b"C-%d" % number,
        "symbol": 1,
        "side": 1,
        "ord_type": 2,
        "tif": 1,
        "status": OrderStatus.PARTIALLY_FILLED,
        "price_ticks": 201,
        "qty_lots": 3000,
        "cum_qty": 1000,
        "leaves_qty": 2000,
        "notional_lo": 201_000,
    }
    return to(session, message, ReportKind.MASS_STATUS, **(facts | values))


# --- mass cancel ----------------------------------------------------------------------------------


@VERSIONS
def test_all_orders_are_canceled_in_every_shard_and_counted(desk: Desk, version: Version):
    session = desk.session(version)
    message = mass_cancel(desk, session, "530=7|54=2|")
    commands = desk.commands()
    assert [shard for shard, _ in commands] == [0, 1]
    for _, row in commands:
        assert (row["kind"], row["symbol"], row["side"], row["account"]) == (
            *(CommandKind.MASS_CANCEL, -1, 2),
            0,
        )
        assert row["inbound_seq"] == message.seq_num
    canceled = {"order_id": 5, "cl_ord_id": b"C-5", "symbol": 0, "side": 2, "ord_type": 2}
    canceled |= {"reason": RejectReason.MASS_CANCEL, "status": OrderStatus.CANCELED}
    end = ReportKind.MASS_CANCELED
    desk.shard_says(
        0,
        to(session, message, ReportKind.CANCELED, **canceled),
        to(session, message, end, qty_lots=1),
    )
    assert [each.msg_type for each in desk.answers(session)] == ["8"]
    desk.shard_says(1, to(session, message, end, qty_lots=4))
    (report,) = desk.answers(session)
    assert told(report, 35, 11, 530, 531, 532, 533, 54) == {
        **{35: b"r", 11: b"M-1", 530: b"7", 531: b"7"},
        **{533: b"5", 54: b"2"},
    }
    own = b"G%d-1-%d" % (session.number, message.seq_num or 0)
    assert report.get(37) == own
    assert report.get(1369) == (own if version >= Version.FIX50SP1 else None)


@VERSIONS
def test_orders_of_a_symbol_are_canceled_in_its_shard_alone(desk: Desk, version: Version):
    session = desk.session(version)
    message = mass_cancel(desk, session, "530=1|55=PARTS|")
    ((shard, row),) = desk.commands()
    assert (shard, row["symbol"], row["side"]) == (1, 1, 0)
    desk.shard_says(1, to(session, message, ReportKind.MASS_CANCELED))
    (report,) = desk.answers(session)
    assert told(report, 530, 531, 533, 55) == {530: b"1", 531: b"1", 533: b"0", 55: b"PARTS"}


@VERSIONS
@pytest.mark.parametrize(
    ("body", "code", "text"),
    [
        ("530=1|55=NOPE|", b"1", b"unknown symbol"),
        ("530=1|", b"1", None),
        ("530=7|55=PARTS|", b"0", None),
        ("530=2|", b"0", None),
        ("530=6|336=DAY|", b"6", b"TradingSessionID(336) is not supported"),
        ("530=6|", b"6", None),
        ("530=7|54=5|", b"99", b"Side must be 1 (buy) or 2 (sell)"),
    ],
)
def test_what_is_not_served_is_refused_with_a_reason(
    desk: Desk, version: Version, body: str, code: bytes, text: bytes | None
):
    session = desk.session(version)
    mass_cancel(desk, session, body)
    assert desk.commands() == []
    (report,) = desk.answers(session)
    if code == b"99" and version == Version.FIX43:
        code = b"0"
    assert told(report, 35, 531, 532, 533) == {35: b"r", 531: b"0", 532: code, 533: b"0"}
    expected = text or b"the type of the request must be 1, with Symbol(55), or 7, without"
    assert report.get(58) == expected


def test_an_account_narrows_a_mass_cancel_unless_it_has_variants(own_desk: Desk):
    # No version has the field here; a session may have agreed on it.
    session = own_desk.session(Version.FIX44)
    message = mass_cancel(own_desk, session, "530=7|1=ACC|")
    assert [row["account"] for _, row in own_desk.commands()] == [1, 1]
    for shard in (0, 1):
        own_desk.shard_says(shard, to(session, message, ReportKind.MASS_CANCELED))
    assert [each.get(531) for each in own_desk.answers(session)] == [b"7"]
    own_desk.take(session, f"{order(Version.FIX44)}1=ACC|453=1|448=A|447=D|452=3|")
    own_desk.commands()
    mass_cancel(own_desk, session, "530=7|1=ACC|")
    mass_cancel(own_desk, session, "530=7|1=NOBODY|")
    assert own_desk.commands() == []
    assert [told(each, 531, 532) for each in own_desk.answers(session)] == [
        {531: b"0", 532: b"99"},
        {531: b"0", 532: b"99"},
    ]


def test_a_refusal_by_every_shard_is_told(desk: Desk):
    session = desk.session(Version.FIX44)
    refusal = {"reason": RejectReason.VENUE_CLOSED, "status": OrderStatus.REJECTED}
    message = mass_cancel(desk, session, "530=7|")
    for shard in (0, 1):
        desk.shard_says(shard, to(session, message, ReportKind.MASS_CANCELED, **refusal))
    (report,) = desk.answers(session)
    assert told(report, 531, 532, 58) == {531: b"0", 532: b"99", 58: b"the venue is closed"}


# --- mass status ----------------------------------------------------------------------------------


@VERSIONS
def test_all_open_orders_are_told_when_every_shard_has_answered(desk: Desk, version: Version):
    session = desk.session(version)
    message = mass_status(desk, session, "585=7|")
    assert [(shard, row["symbol"]) for shard, row in desk.commands()] == [(0, -1), (1, -1)]
    end = ReportKind.MASS_STATUS_END
    first = [resting(session, message, number) for number in (1, 2)]
    desk.shard_says(1, *first, to(session, message, end, qty_lots=2))
    assert desk.answers(session) == []
    other = resting(session, message, 3, symbol=0, price_ticks=5, notional_lo=5000)
    desk.shard_says(0, other, to(session, message, end, qty_lots=1))
    reports = desk.answers(session)
    # Shard by shard, whichever answers first: the answer can be made again.
    assert [each.get(11) for each in reports] == [b"C-3", b"C-1", b"C-2"]
    assert [each.get(37) for each in reports] == [b"O0-3", b"O1-1", b"O1-2"]
    assert told(reports[1], 35, 150, 39, 55, 38, 14, 151, 6, 41) == {
        **{35: b"8", 150: b"I", 39: b"1", 55: b"PARTS", 38: b"3.000", 14: b"1.000"},
        **{151: b"2.000", 6: b"10.05000000"},
    }
    if version >= Version.FIX44:
        assert [told(each, 584, 911, 912) for each in reports] == [
            {584: b"S-1", 911: b"3", 912: last} for last in (b"N", b"N", b"Y")
        ]
    else:
        assert [told(each, 584, 911, 912) for each in reports] == [{}] * 3


@VERSIONS
def test_without_an_open_order_there_is_one_report(desk: Desk, version: Version):
    session = desk.session(version)
    message = mass_status(desk, session, "585=1|55=WHOLE|54=2|")
    ((shard, row),) = desk.commands()
    assert (shard, row["symbol"], row["side"]) == (0, 0, 2)
    desk.shard_says(0, to(session, message, ReportKind.MASS_STATUS_END))
    (report,) = desk.answers(session)
    assert told(report, 35, 37, 150, 39, 54, 55, 103, 58) == {
        **{35: b"8", 37: b"NONE", 150: b"I", 39: b"8", 54: b"2", 55: b"WHOLE", 103: b"5"},
        **{58: b"no open order"},
    }
    if version >= Version.FIX44:
        assert told(report, 584, 911, 912) == {584: b"S-1", 911: b"0", 912: b"Y"}


@VERSIONS
@pytest.mark.parametrize(
    "body", ["585=1|", "585=2|", "585=1|55=NOPE|", "585=7|54=5|", "585=7|1=X|"]
)
def test_a_mass_status_that_is_not_served_is_refused(desk: Desk, version: Version, body: str):
    session = desk.session(version)
    mass_status(desk, session, body)
    assert desk.commands() == []
    (report,) = desk.answers(session)
    assert told(report, 35, 150, 39) == {35: b"8", 150: b"I", 39: b"8"}
    assert report.get(58)


def test_the_last_number_processed_is_in_the_header_once(desk: Desk):
    session = desk.session(Version.FIX44, "LAST")
    message = mass_status(desk, session, "585=1|55=PARTS|")
    desk.shard_says(
        1, resting(session, message, 1), to(session, message, ReportKind.MASS_STATUS_END)
    )
    (report,) = desk.answers(session)
    assert [tag for tag, _ in report.fields].count(369) == 1


def test_an_account_narrows_a_mass_status_to_its_variants_too(own_desk: Desk):
    session = own_desk.session(Version.FIX44)
    own_desk.take(session, f"{order(Version.FIX44)}1=ACC|453=1|448=A|447=D|452=3|")
    ((_, row),) = own_desk.commands()
    message = mass_status(own_desk, session, "585=1|55=PARTS|1=ACC|")
    assert [row["account"] for _, row in own_desk.commands()] == [0]
    accounts = (0, 1, int(row["account"]))
    reports = [resting(session, message, 1 + n, account=each) for n, each in enumerate(accounts)]
    own_desk.shard_says(1, *reports, to(session, message, ReportKind.MASS_STATUS_END))
    answers = own_desk.answers(session)
    assert [told(each, 11, 911) for each in answers] == [
        {11: b"C-2", 911: b"2"},
        {11: b"C-3", 911: b"2"},
    ]
    assert (453, b"1") not in answers[0].fields
    assert (453, b"1") in answers[1].fields


def test_an_answer_of_many_reports_lets_others_have_their_turn(desk: Desk):
    session = desk.session(Version.FIX44)
    message = mass_status(desk, session, "585=1|55=PARTS|")
    desk.commands()
    count = 500
    reports = [resting(session, message, number) for number in range(1, count + 1)]
    desk.shard_says(1, *reports, to(session, message, ReportKind.MASS_STATUS_END))
    turns = desk.loop.run()
    assert turns >= 10
    answers = desk.answers(session)
    assert [each.get(11) for each in answers] == [b"C-%d" % n for n in range(1, count + 1)]
    assert [each.get(912) for each in answers[-2:]] == [b"N", b"Y"]


def test_a_session_has_so_many_answers_on_their_way_and_no_more(desk: Desk):
    session = desk.session(Version.FIX44)
    messages = []
    for _ in range(9):
        message = mass_status(desk, session, "585=1|55=PARTS|")
        messages.append(message)
        reports = [resting(session, message, number) for number in range(1, 100)]
        desk.shard_says(1, *reports, to(session, message, ReportKind.MASS_STATUS_END))
    assert len(desk.commands()) == 8
    answers = desk.answers(session)
    assert [each.get(58) for each in answers if each.get(58)] == [b"too many requests at once"]
    assert len(answers) == 8 * 99 + 1


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_shards_answers_in_any_order_are_put_together(desk: Desk, data: Any):
    session = desk.session(data.draw(st.sampled_from(FROM_43)))
    desk.forget()
    waiting: list[tuple[int, dict[str, Any]]] = []
    expected: dict[int, list[bytes]] = {}
    for _ in range(data.draw(st.integers(1, 3))):
        message = mass_status(desk, session, "585=7|")
        assert message.seq_num is not None
        expected[message.seq_num] = []
        for shard in (0, 1):
            for _ in range(data.draw(st.integers(0, 3))):
                number = len(waiting) + 1
                waiting.append((shard, resting(session, message, number, symbol=shard)))
                expected[message.seq_num].append(b"C-%d" % number)
            waiting.append((shard, to(session, message, ReportKind.MASS_STATUS_END)))
    # Each shard keeps its order; between the shards there is none.
    first = [each for each in waiting if each[0] == 0]
    second = [each for each in waiting if each[0] == 1]
    while first or second:
        source = first if first and (not second or data.draw(st.booleans())) else second
        shard, report = source.pop(0)
        desk.shard_says(shard, report)
    answers = desk.answers(session)
    assert sorted(each.get(11) or b"" for each in answers) == sorted(
        name for names in expected.values() for name in names or [b""]
    )


# --- status of one order --------------------------------------------------------------------------


@pytest.mark.parametrize("version", [Version.FIX50SP1, Version.FIX50SP2])
def test_an_order_may_be_named_by_the_venues_own_identifier(desk: Desk, version: Version):
    session = desk.session(version)
    message = desk.take(session, "35=H|37=O1-2|790=Q-7|55=PARTS|54=1|")
    ((shard, row),) = desk.commands()
    assert (shard, row["kind"], row["symbol"]) == (1, CommandKind.MASS_STATUS, 1)
    assert row["orig0"] == 1 << 48 | 2
    reports = [resting(session, message, number) for number in (1, 2, 3)]
    desk.shard_says(1, *reports, to(session, message, ReportKind.MASS_STATUS_END))
    (report,) = desk.answers(session)
    assert told(report, 11, 37, 790, 150, 911) == {11: b"C-2", 37: b"O1-2", 790: b"Q-7", 150: b"I"}
    message = desk.take(session, "35=H|37=O1-9|790=Q-8|55=PARTS|54=1|")
    desk.shard_says(1, *reports, to(session, message, ReportKind.MASS_STATUS_END))
    desk.take(session, "35=H|37=FOREIGN|55=PARTS|54=1|")
    assert [told(each, 37, 39, 790, 103) for each in desk.answers(session)] == [
        {37: b"NONE", 39: b"8", 790: b"Q-8", 103: b"5"},
        {37: b"NONE", 39: b"8", 103: b"5"},
    ]


@pytest.mark.parametrize("version", FROM_43[1:], ids=lambda version: version.label)
def test_a_status_carries_the_requests_own_identifier(desk: Desk, version: Version):
    session = desk.session(version)
    row = desk.gateway.index.rows[session.number]
    message = desk.take(session, "35=H|11=C-2|790=Q-7|55=PARTS|54=1|")
    ((shard, command),) = desk.commands()
    assert (shard, command["kind"], command["cl_ord_id"]) == (1, CommandKind.STATUS, b"C-2")
    assert row["python_statuses"] == 1
    # Another's answer, and another answer of the same session, go by as ever.
    other = desk.session(Version.FIX42)
    state = resting(session, message, 2) | {"kind": ReportKind.STATUS}
    desk.shard_says(
        1,
        state | {"session": other.number},
        state | {"inbound_seq": 1_000_000},
        state,
    )
    assert row["python_statuses"] == 0
    assert [told(each, 11, 20, 790) for each in desk.answers(other)] == [{11: b"C-2", 20: b"3"}]
    assert [told(each, 11, 37, 39, 150, 790) for each in desk.answers(session)] == [
        {11: b"C-2", 37: b"O1-2", 39: b"1", 150: b"I"},
        {11: b"C-2", 37: b"O1-2", 39: b"1", 150: b"I", 790: b"Q-7"},
    ]
    # A copy is made of each of them, without what only concerns who asked.
    copies = desk.answers(desk.gateway.fix.by_number[number_of(desk, "COPYSP2")])
    assert [told(each, 11, 797, 790) for each in copies] == [{11: b"C-2", 797: b"Y"}] * 3


def test_a_status_in_43_has_no_identifier_of_its_own(desk: Desk):
    session = desk.session(Version.FIX43)
    desk.take(session, "35=H|11=C-2|55=PARTS|54=1|")
    assert [row["kind"] for _, row in desk.commands()] == [CommandKind.STATUS]
    assert desk.gateway.index.rows[session.number]["python_statuses"] == 0


@pytest.mark.parametrize(
    ("text", "number"),
    [
        (b"O0-1", 1),
        (b"O3-77", 3 << 48 | 77),
        *[(each, None) for each in (b"", b"O", b"O-", b"O1-", b"1-1", b"E1-1", b"O1-x", b"O1-1-1")],
        *[(each, None) for each in (b"O" + b"1" * 30 + b"-1", b"O0-0", b"O32768-1")],
        *[(b"O0-%d" % seq, seq if seq < 1 << 48 else None) for seq in ((1 << 48) - 1, 1 << 48)],
    ],
)
def test_the_venues_identifiers_of_orders(text: bytes, number: int | None):
    assert order_id_of(text) == number

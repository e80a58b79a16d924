"""What the gateway itself says to FIX clients, in every version: each message is good FIX."""

from typing import Any
from unittest.mock import MagicMock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.fix_desk import Desk, cancel, number_of, order, told

from openoutcry.engine.enums import CommandFlag, CommandKind, ReportKind
from openoutcry.protocol.binary import messages as bm
from openoutcry.protocol.fix.dictionary import dictionary
from openoutcry.protocol.fix.encode import MAX_REPORT_BYTES
from openoutcry.protocol.fix.message import validate
from openoutcry.protocol.fix.versions import Version

VERSIONS = pytest.mark.parametrize("version", Version, ids=lambda version: version.label)
FROM_43 = pytest.mark.parametrize(
    "version", list(Version)[Version.FIX43 :], ids=lambda version: version.label
)


# --- orders ---------------------------------------------------------------------------------------


@VERSIONS
def test_a_new_order_goes_to_its_symbols_shard(desk: Desk, version: Version):
    session = desk.session(version)
    text = order(version, **{"1": "ACC"})
    desk.take(session, text)
    desk.take(session, f"35=D|97=Y|{text[5:]}")
    (shard, plain), (_, again) = desk.commands()
    assert (shard, plain["kind"], plain["flags"]) == (1, CommandKind.NEW, 0)
    assert (plain["session"], plain["symbol"], plain["side"]) == (session.number, 1, 1)
    assert (plain["price_ticks"], plain["qty_lots"]) == (201, 10_000)
    assert plain["cl_ord_id"] == b"A-1"
    assert again["flags"] == CommandFlag.POSS_RESEND
    assert desk.answers(session) == []


@VERSIONS
@pytest.mark.parametrize("kind", "DFG")
def test_a_declined_order_is_told_in_the_words_of_its_version(
    desk: Desk, version: Version, kind: str
):
    session = desk.session(version)
    wrong = {"55": "NOPE"}
    text = order(version, **wrong) if kind == "D" else cancel(version, kind, **wrong)
    message = desk.take(session, text)
    assert validate(message, dictionary(version)) is None
    (told_of,) = desk.answers(session)
    assert told_of.get(11) == message.get(11)
    assert told_of.get(58) == b"unknown symbol NOPE"
    assert told_of.get(37) == b"NONE"
    if kind == "D":
        assert told_of.msg_type == "8"
        assert told(told_of, 39, 103, 55) == {39: b"8", 103: b"1", 55: b"NOPE"}
        assert told_of.get(150) == (None if version == Version.FIX40 else b"8")
        assert told_of.get(20) == (b"0" if version <= Version.FIX42 else None)
    else:
        assert told_of.msg_type == "9"
        response = b"1" if kind == "F" else b"2"
        assert told_of.get(434) == (None if version < Version.FIX42 else response)
        assert told_of.get(102) == b"1"
    assert desk.commands() == []


@VERSIONS
def test_a_declined_status_is_told_in_the_words_of_its_version(desk: Desk, version: Version):
    session = desk.session(version)
    desk.take(session, "35=H|11=A-1|55=NOPE|54=2|")
    (told_of,) = desk.answers(session)
    expected = {39: b"8", 54: b"2"}
    if version <= Version.FIX42:
        expected |= {20: b"3"}
    if version != Version.FIX40:
        expected |= {150: b"I" if version >= Version.FIX43 else b"8"}
    assert told(told_of, 20, 150, 39, 54) == expected
    # Nothing happened to an order: the copies are not told.
    for copy in ("COPY42", "COPYSP2"):
        assert desk.answers(desk.gateway.fix.by_number[number_of(desk, copy)]) == []


_TEXT = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=300)
_NUMBER = st.from_regex(r"0{0,90}[0-9]{1,12}(\.[0-9]{1,6})?", fullmatch=True)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_whatever_is_declined_the_answer_and_its_copies_are_good_fix(desk: Desk, data: Any):
    version = data.draw(st.sampled_from(list(Version)))
    session = desk.session(version)
    kind = data.draw(st.sampled_from("DFGH"))
    facts = dictionary(version)
    values = {"55": "=" + data.draw(_TEXT), "1": data.draw(_TEXT)}
    for tag in (54, 40, 59):
        code = data.draw(st.sampled_from(sorted(facts.enumerations[tag])))
        values[str(tag)] = code.decode()
    values |= {"38": data.draw(_NUMBER), "44": data.draw(_NUMBER)}
    route = "".join(
        f"{tag}={data.draw(_TEXT)}|" for tag in (115, 116, 144) if tag in facts.header_tags
    )
    if kind == "D":
        text = order(version, **values)
    elif kind == "H":
        text = f"35=H|11=A-1|55={values['55']}|54={values['54']}|"
    else:
        text = cancel(version, kind, **values)
    desk.take(session, text.replace(f"35={kind}|", f"35={kind}|{route}"))
    (told_of,) = desk.answers(session)
    assert told_of.msg_type == ("9" if kind in "FG" else "8")
    assert len(told_of.frame) < 1024
    for copy in ("COPY42", "COPYSP2"):
        copies = desk.answers(desk.gateway.fix.by_number[number_of(desk, copy)])
        assert len(copies) == (kind != "H")
        for each in copies:
            assert told(each, 11, 58) == told(told_of, 11, 58)
            assert each.get(797) == (b"Y" if copy == "COPYSP2" and kind == "D" else None)
            assert not told(each, 128, 129, 145)


@VERSIONS
def test_a_declined_order_of_an_account_is_copied_once(desk: Desk, version: Version):
    session = desk.session(version)
    desk.take(session, order(version, **{"1": "ACC", "38": "0.0001"}))
    for copy in ("COPY42", "COPY44", "COPYSP2"):
        (each,) = desk.answers(desk.gateway.fix.by_number[number_of(desk, copy)])
        assert told(each, 1, 39) == {1: b"ACC", 39: b"8"}


@pytest.mark.parametrize("kind", "FG")
@pytest.mark.parametrize("version", [Version.FIX50SP1, Version.FIX50SP2])
def test_an_order_is_canceled_by_its_clients_identifier(desk: Desk, version: Version, kind: str):
    session = desk.session(version)
    text = cancel(version, kind).replace("41=A-1|", "37=O1-1|")
    assert validate(desk.take(session, text), dictionary(version)) is None
    (refused,) = desk.answers(session)
    assert told(refused, 35, 372, 379, 380) == {
        35: b"j",
        372: kind.encode(),
        379: b"A-2",
        380: b"5",
    }
    assert desk.commands() == []


@VERSIONS
@pytest.mark.parametrize("kind", "DF")
def test_what_is_declined_has_its_parties(desk: Desk, version: Version, kind: str):
    session = desk.session(version)
    parties = "453=1|448=FUND|447=D|452=3|" if version >= Version.FIX43 else "109=FUND|"
    wrong = {"55": "NOPE"}
    text = order(version, **wrong) if kind == "D" else cancel(version, kind, **wrong)
    desk.take(session, f"{text}{parties}")
    (told_of,) = desk.answers(session)
    has_none = kind == "F" and Version.FIX43 <= version <= Version.FIX50SP1
    tag = 448 if version >= Version.FIX43 else 109
    assert told_of.get(tag) == (None if has_none else b"FUND")
    copies = desk.answers(desk.gateway.fix.by_number[number_of(desk, "COPY42")])
    assert [each.get(109) for each in copies] == [b"FUND" if tag == 109 else None]


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            bm.NewOrder(5, "B-1", 99, 1, 2, 1, 10, 10, "ACC"),
            {35: b"8", 11: b"B-1", 1: b"ACC", 54: b"1", 103: b"1", 58: b"there is no symbol 99"},
        ),
        (
            bm.NewOrder(5, "B-1", 1, 1, 2, 1, 10, 10, "NOT YOURS"),
            {35: b"8", 11: b"B-1", 55: b"PARTS", 103: b"15", 58: b"unknown account NOT YOURS"},
        ),
        (
            bm.Cancel(5, "B-2", "B-1", 99),
            {35: b"9", 11: b"B-2", 41: b"B-1", 434: b"1", 102: b"1"},
        ),
        (
            bm.Replace(5, "B-2", "B-1", 99, 9, 2, 10, 10),
            {35: b"9", 11: b"B-2", 41: b"B-1", 434: b"2", 102: b"1"},
        ),
        (bm.Status(5, "B-2", 99), {}),
    ],
)
def test_what_a_binary_client_is_declined_is_copied_too(
    desk: Desk, message: Any, expected: dict[int, bytes], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(desk.gateway.accounts, "_is_open", False)
    number = number_of(desk, "BINARY")
    link = MagicMock(number=number)
    desk.orders.take_binary(link, message)
    assert link.decline.call_count == 1
    for name in ("COPY42", "COPYSP2"):
        copies = desk.answers(desk.gateway.fix.by_number[number_of(desk, name)])
        assert len(copies) == bool(expected)
        for each in copies:
            wanted = dict(expected)
            if name == "COPY42":
                wanted |= {tag: b"0" for tag in (103,) if wanted.get(tag) == b"15"}
            assert told(each, *wanted) == wanted
            is_marked = name == "COPYSP2" and each.msg_type == "8"
            assert each.get(797) == (b"Y" if is_marked else None)


# --- parties and routes ---------------------------------------------------------------------------


def variant(desk: Desk) -> Any:
    ((_, row),) = desk.commands()
    return desk.gateway.accounts.rows[int(row["account"])]


def texts(desk: Desk, row: Any) -> tuple[str, str]:
    """Return a variant's route and parties."""
    data = desk.gateway.accounts.texts
    found = []
    for name in ("route", "party"):
        start, length = int(row[f"{name}_off"]), int(row[f"{name}_len"])
        found.append(data[start : start + length].tobytes().decode().replace("\x01", "|"))
    return found[0], found[1]


@VERSIONS
def test_the_route_of_an_order_leads_its_reports_back(desk: Desk, version: Version):
    session = desk.session(version)
    text = order(version, **{"1": "ACC"})
    location = "" if version == Version.FIX40 else "144=NYC|"
    desk.take(session, f"35=D|115=FUND|116=joe|{location}128=OPENOUTCRY|{text[5:]}")
    row = variant(desk)
    back = "" if version == Version.FIX40 else "145=NYC|"
    assert texts(desk, row) == (f"128=FUND|129=joe|{back}115=OPENOUTCRY|", "")
    assert desk.gateway.accounts.names[int(row["base"])] == b"ACC"


@pytest.mark.parametrize(
    ("version", "parties", "first", "last"),
    [
        (Version.FIX40, "109=FUND|76=BRK|", Version.FIX40, Version.FIX42),
        (Version.FIX42, "109=FUND|", Version.FIX40, Version.FIX42),
        (Version.FIX43, "453=1|448=FUND|447=D|452=3|523=X|", Version.FIX43, Version.FIX43),
        (
            Version.FIX44,
            "453=2|448=FUND|447=D|452=3|448=T|447=D|452=12|",
            Version.FIX43,
            Version.FIX50SP2,
        ),
        (
            Version.FIX44,
            "453=1|448=FUND|447=D|452=3|802=1|523=X|803=4|",
            Version.FIX44,
            Version.FIX50SP2,
        ),
        (
            Version.FIX50SP2,
            "453=1|448=FUND|447=D|452=3|2376=22|",
            Version.FIX50SP2,
            Version.FIX50SP2,
        ),
    ],
)
def test_parties_are_kept_for_the_versions_that_may_carry_them(
    desk: Desk, version: Version, parties: str, first: Version, last: Version
):
    session = desk.session(version)
    message = desk.take(session, f"{order(version)}{parties}")
    assert validate(message, dictionary(version)) is None
    row = variant(desk)
    assert texts(desk, row) == ("", parties)
    assert (row["party_min"], row["party_max"]) == (first, last)
    before = len(desk.gateway.accounts.names)
    desk.take(session, f"{order(version, **{'11': 'A-9'})}{parties}")
    assert int(variant(desk)["party_off"]) == int(row["party_off"])
    assert len(desk.gateway.accounts.names) == before


@pytest.mark.parametrize("parties", ["", "453=1|448=FUND|447=D|452=3|"])
def test_that_an_order_was_held_is_told_where_fix_has_it(desk: Desk, parties: str):
    session = desk.session(Version.FIX50SP2)
    desk.take(session, f"{order(Version.FIX50SP2)}{parties}", was_held=True)
    ((_, row),) = desk.commands()
    told_of = {"session": session.number, "epoch": 1, "order_id": 1, "cl_ord_id": b"A-1"}
    told_of |= {"symbol": 1, "side": 1, "ord_type": 2, "tif": 1, "account": int(row["account"])}
    desk.shard_says(
        1,
        told_of | {"kind": ReportKind.NEW},
        told_of
        | {"kind": ReportKind.CANCEL_REJECTED, "orig_cl_ord_id": b"A-0", "reason": 30}
        | {"response_to": CommandKind.CANCEL},
    )
    new, refused = desk.answers(session)
    assert (new.get(1609), refused.get(1609)) == (b"1", None)
    assert new.get(448) == refused.get(448) == (b"FUND" if parties else None)


def test_what_is_behind_the_parties_is_not_of_them(desk: Desk):
    session = desk.session(Version.FIX44)
    desk.take(session, f"{order(Version.FIX44)}453=1|448=A|7000=mine|447=D|452=3|58=hello|")
    assert texts(desk, variant(desk))[1] == "453=1|448=A|447=D|452=3|"


def test_an_order_with_too_much_to_echo_is_declined(desk: Desk):
    session = desk.session(Version.FIX44)
    desk.take(session, f"35=D|115={'F' * 260}|{order(Version.FIX44)[5:]}")
    parties = "".join(f"448={number:060}|447=D|452=3|" for number in range(9))
    desk.take(session, f"{order(Version.FIX44)}453=9|{parties}")
    first, second = desk.answers(session)
    assert first.get(58) == b"OnBehalfOf and DeliverTo fields of more than 256 bytes"
    assert second.get(58) == b"parties of more than 512 bytes"
    # Its cancel is not: the answer has what the order has.
    desk.take(session, f"35=F|115={'F' * 260}|{cancel(Version.FIX44)[5:]}")
    assert [row["kind"] for _, row in desk.commands()] == [CommandKind.CANCEL]


def test_a_session_gets_a_share_of_the_room_for_parties(own_desk: Desk):
    desk = own_desk
    session, other = desk.session(Version.FIX42), desk.session(Version.FIX41)
    share = len(desk.gateway.accounts.rows) // 4
    for number in range(share):
        desk.take(session, order(Version.FIX42, **{"109": f"C{number}"}))
    assert len(desk.commands()) == share
    desk.take(session, order(Version.FIX42, **{"109": "ONE-MORE"}))
    desk.take(session, order(Version.FIX42, **{"109": "C0"}))
    desk.take(other, order(Version.FIX41, **{"109": "ONE-MORE"}))
    assert len(desk.commands()) == 2
    (declined,) = desk.answers(session)
    assert declined.get(58) == (
        b"too many different accounts, parties and routes: use those of an earlier order"
    )


# --- who may send what ----------------------------------------------------------------------------


@VERSIONS
def test_another_firm_cannot_be_delivered_to(desk: Desk, version: Version):
    session = desk.session(version)
    row = desk.gateway.index.rows[session.number]
    before = int(row["next_out"])
    desk.take(session, f"35=D|128=ELSEWHERE|{order(version)[5:]}")
    assert desk.commands() == []
    assert row["next_out"] == before + 1
    if version < Version.FIX42:
        return  # a Reject(3)
    (refused,) = desk.answers(session)
    assert refused.msg_type == "j"
    code = b"0" if version == Version.FIX42 else b"7"
    assert told(refused, 372, 379, 380) == {372: b"D", 379: b"A-1", 380: code}


@pytest.mark.parametrize(("length", "is_led_back"), [(200, True), (3000, False)])
def test_an_answer_is_never_larger_than_a_report_can_be(desk: Desk, length: int, is_led_back: bool):
    session = desk.session(Version.FIX44)
    route = f"115={'F' * length}|"
    desk.take(session, f"35=D|{route}128=ELSEWHERE|{order(Version.FIX44)[5:]}")
    desk.take(session, f"35=D|{route}{order(Version.FIX44, **{'55': 'NOPE'})[5:]}")
    desk.take(session, f"35=q|{route}11=M|530=2|60=20240808-12:34:56|")
    desk.take(session, f"35=x|{route}320=R|559=4|")
    answers = desk.answers(session)
    assert [each.msg_type for each in answers] == ["j", "8", "r", "y"]
    assert all(len(each.frame) < MAX_REPORT_BYTES for each in answers)
    assert [each.get(128) is not None for each in answers] == [is_led_back] * 4


@pytest.mark.parametrize(("name", "code"), [("COPY42", b"0"), ("COPY44", b"6"), ("COPYSP2", b"6")])
def test_a_drop_copy_session_takes_no_orders(desk: Desk, name: str, code: bytes):
    session = desk.gateway.fix.by_number[number_of(desk, name)]
    desk.take(session, order(session.version))
    (refused,) = desk.answers(session)
    assert told(refused, 35, 380, 58) == {
        35: b"j",
        380: code,
        58: b"a drop copy session takes no orders",
    }
    desk.take(session, "35=c|320=R|321=0|55=PARTS|")
    assert [each.msg_type for each in desk.answers(session)] == ["d"]


@FROM_43
@pytest.mark.parametrize(
    "text", ["35=x|320={}|559=4|", "35=AF|584={}|585=7|", "35=c|320={}|321=3|"]
)
def test_an_identifier_that_is_too_long_is_refused(desk: Desk, version: Version, text: str):
    session = desk.session(version)
    desk.take(session, text.format("R" * 65))
    (refused,) = desk.answers(session)
    assert told(refused, 35, 380, 379) == {35: b"j", 380: b"0", 379: b"R" * 64}


def test_a_reject_of_the_clients_is_not_answered(desk: Desk):
    session = desk.session(Version.FIX44)
    desk.take(session, "35=j|45=1|372=8|380=0|")
    assert desk.answers(session) == []

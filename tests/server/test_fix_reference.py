"""Security lists and definitions: what clients are told of the symbols, in every version."""

from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fix_desk import Desk, told

from openoutcry.protocol.fix.message import Message
from openoutcry.protocol.fix.versions import Version
from openoutcry.server.config import Symbol
from openoutcry.server.fix_reference import facts_of

FROM_43 = pytest.mark.parametrize(
    "version", list(Version)[Version.FIX43 :], ids=lambda version: version.label
)
FROM_42 = pytest.mark.parametrize(
    "version", list(Version)[Version.FIX42 :], ids=lambda version: version.label
)
PARTS = {
    55: b"PARTS",
    969: b"0.05",
    561: b"0.001",
    562: b"0.001",
    1140: b"1000000000.000",
    1148: b"0.05",
    1149: b"50000000000.00",
}


def all_of(message: Message, tag: int) -> list[bytes]:
    return [value for name, value in message.fields if name == tag]


@FROM_43
def test_a_list_of_all_symbols(desk: Desk, version: Version):
    session = desk.session(version)
    desk.take(session, "35=x|320=R-1|559=4|")
    (answer,) = desk.answers(session)
    assert told(answer, 35, 320, 322, 560) == {35: b"y", 320: b"R-1", 322: b"R-1", 560: b"0"}
    assert told(answer, 393, 146) == {393: b"2", 146: b"2"}
    assert answer.get(893) == (b"Y" if version >= Version.FIX44 else None)
    assert all_of(answer, 55) == [b"WHOLE", b"PARTS"]


@FROM_43
def test_a_list_of_one_symbol_says_what_the_version_has_tags_for(desk: Desk, version: Version):
    session = desk.session(version)
    desk.take(session, "35=x|115=DESK|320=R-1|559=0|55=PARTS|263=1|")
    (answer,) = desk.answers(session)
    expected = {tag: PARTS[tag] for tag in (55, 561, 562)}
    if version >= Version.FIX50:
        expected[969] = PARTS[969]
    if version >= Version.FIX50SP1:
        expected = dict(PARTS)
    assert told(answer, *PARTS) == expected
    assert answer.get(128) == b"DESK"


@FROM_43
@pytest.mark.parametrize(
    ("body", "result"),
    [
        ("559=0|55=NOPE|", b"2"),
        ("559=0|", b"1"),
        ("559=1|", b"1"),
        ("559=4|263=2|", b"1"),
    ],
)
def test_a_list_that_cannot_be_had(desk: Desk, version: Version, body: str, result: bytes):
    session = desk.session(version)
    desk.take(session, f"35=x|320=R-1|{body}")
    (answer,) = desk.answers(session)
    assert told(answer, 35, 320, 322, 560) == {35: b"y", 320: b"R-1", 322: b"R-1", 560: result}
    assert all_of(answer, 146) == []


@FROM_42
def test_a_definition_of_one_symbol(desk: Desk, version: Version):
    session = desk.session(version)
    desk.take(session, "35=c|320=R-1|321=0|55=PARTS|")
    (answer,) = desk.answers(session)
    assert told(answer, 35, 320, 322, 323) == {35: b"d", 320: b"R-1", 322: b"R-1-1", 323: b"1"}
    assert answer.get(393) == (b"1" if version == Version.FIX42 else None)
    expected = {55: PARTS[55]}
    if version >= Version.FIX43:
        expected |= {561: PARTS[561], 562: PARTS[562]}
    if version >= Version.FIX50:
        expected[969] = PARTS[969]
    if version >= Version.FIX50SP1:
        expected = dict(PARTS)
        assert told(answer, 1310, 1301) == {1310: b"1", 1301: b"OPENOUTCRY"}
    assert told(answer, *PARTS) == expected


@FROM_42
def test_definitions_of_all_symbols(desk: Desk, version: Version):
    session = desk.session(version)
    desk.take(session, "35=c|320=R-1|321=3|")
    answers = desk.answers(session)
    response = b"1" if version == Version.FIX44 else b"4"
    assert [told(each, 55, 322, 323) for each in answers] == [
        {55: b"WHOLE", 322: b"R-1-1", 323: response},
        {55: b"PARTS", 322: b"R-1-2", 323: response},
    ]


@FROM_42
@pytest.mark.parametrize(
    ("body", "response", "text"),
    [
        ("321=0|55=NOPE|", b"6", b"unknown symbol"),
        ("321=1|", b"6", b"unknown symbol"),
        ("321=2|", b"5", b"SecurityRequestType(321) must be 0, 1 or 3"),
    ],
)
def test_a_definition_that_cannot_be_had(
    desk: Desk, version: Version, body: str, response: bytes, text: bytes
):
    session = desk.session(version)
    desk.take(session, f"35=c|320=R-1|{body}")
    (answer,) = desk.answers(session)
    assert told(answer, 35, 320, 323, 58) == {35: b"d", 320: b"R-1", 323: response, 58: text}


def test_a_list_of_many_symbols_comes_in_parts_that_anybody_takes(own_desk: Desk):
    session = own_desk.session(Version.FIX50SP2)
    symbols = tuple(Symbol(name=f"SYMBOL-{number}", tick="0.05") for number in range(300))
    own_desk.gateway.symbols.definitions = symbols
    own_desk.take(session, "35=x|320=R-1|559=4|")
    answers = own_desk.answers(session)
    assert [name for each in answers for name in all_of(each, 55)] == [
        symbol.name.encode() for symbol in symbols
    ]
    assert len(answers) > 10
    assert all(len(each.frame) < 2048 for each in answers)
    assert {each.get(393) for each in answers} == {b"300"}
    assert [each.get(893) for each in answers] == [b"N"] * (len(answers) - 1) + [b"Y"]
    numbers = [each.seq_num or 0 for each in answers]
    assert all(after == before + 1 for before, after in pairwise(numbers))


@given(
    mantissa=st.integers(1, 10**6),
    scale=st.integers(0, 12),
    low=st.integers(-(10**6), 10**6),
    high=st.integers(10**6, 10**18),
)
def test_limits_are_exact(mantissa: int, scale: int, low: int, high: int):
    unit = Decimal(mantissa).scaleb(-scale)
    text = f"{unit:f}"

    def times(count: int) -> str:
        return f"{Decimal(count * mantissa).scaleb(-scale):f}"

    symbol = Symbol(name="S", tick=text, min_price=times(low), max_price=times(high))
    facts = facts_of(symbol)
    assert Decimal(facts[1148].decode()) == low * unit
    if 1149 in facts:
        assert Decimal(facts[1149].decode()) == Decimal(times(high))
    else:
        assert high * mantissa > 10**17

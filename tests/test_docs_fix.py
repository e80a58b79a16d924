"""docs/fix.md says what the code does: tables, reasons and example frames."""

import re
from pathlib import Path

import pytest

from openoutcry.engine.enums import OrderStatus, RejectReason, ReportKind
from openoutcry.protocol.fix.dictionary import ORDER_QTY_REQUIRED, dictionary
from openoutcry.protocol.fix.enums import SessionRejectReason
from openoutcry.protocol.fix.message import Message, parse
from openoutcry.protocol.fix.tags import Tag
from openoutcry.protocol.fix.validate import validate
from openoutcry.protocol.fix.versions import Version
from openoutcry.server.fix_orders import UNSERVED_FIELDS
from openoutcry.server.translate import (
    CXL_REJ_REASON,
    EXEC_TYPE,
    ORD_REJ_REASON,
    ORD_STATUS,
    REASON_TEXTS,
)

PAGE = (Path(__file__).parents[1] / "docs" / "fix.md").read_text()
FIX44 = dictionary(Version.FIX44)
#: Messages that the page describes.
MESSAGES = {msg_type: FIX44.messages[msg_type] for msg_type in "012345A89DFGHj"}
#: Messages that only the venue sends: what it always sends may be more than FIX requires.
FROM_VENUE = "89j"
EXAMPLES = re.findall(r"^([<>]) (8=FIX.*)$", PAGE, re.MULTILINE)


def section(title: str) -> str:
    found = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, f"no section {title}"
    return found[1]


def table(title: str) -> list[list[str]]:
    """Return the cells of a section's first table, less its head."""
    lines = [line for line in section(title).splitlines() if line.startswith("|")]
    assert len(lines) > 2, f"no table in {title}"
    return [[cell.strip() for cell in line[1:-1].split("|")] for line in lines[2:]]


def title_of(msg_type: str) -> str:
    return f"{MESSAGES[msg_type].name} ({msg_type})"


def message_of(text: str) -> Message:
    return parse(text.replace("|", "\x01").encode())


def test_every_message_of_the_dictionary_has_a_table() -> None:
    assert set(re.findall(r"^### (\w+ \(.\))$", PAGE, re.MULTILINE)) == {
        title_of(msg_type) for msg_type in MESSAGES
    }


@pytest.mark.parametrize("title", ["Header and trailer", *map(title_of, MESSAGES)])
def test_tags_have_their_names(title: str) -> None:
    rows = table(title)
    assert [(tag, name) for tag, name, _, _ in rows] == [
        (tag, FIX44.names[int(tag)]) for tag, *_ in rows
    ]
    assert len({tag for tag, *_ in rows}) == len(rows)


@pytest.mark.parametrize("msg_type", MESSAGES)
def test_required_tags_are_the_dictionarys(msg_type: str) -> None:
    rows = table(title_of(msg_type))
    assert {int(tag) for tag, *_ in rows} <= MESSAGES[msg_type].allowed
    always = {int(tag) for tag, _, required, _ in rows if required == "Y"}
    wanted = set(MESSAGES[msg_type].required)
    if msg_type in FROM_VENUE:
        assert always >= wanted
        return
    if msg_type in ORDER_QTY_REQUIRED:
        wanted.add(int(Tag.ORDER_QTY))
    # A replace is always of a limit order.
    assert always - {int(Tag.PRICE)} == wanted


def test_the_header_is_the_dictionarys() -> None:
    rows = table("Header and trailer")
    assert {int(tag) for tag, *_ in rows} <= FIX44.header_tags | FIX44.trailer_tags
    always = {int(tag) for tag, _, required, _ in rows if required == "Y"}
    assert always == {8, 9, 35, 10, *FIX44.header_required}


def test_reject_reasons_are_what_the_venue_answers() -> None:
    assert table("Reject reasons") == [
        [
            reason.name,
            str(ORD_REJ_REASON[Version.FIX44, reason]),
            str(CXL_REJ_REASON[Version.FIX44, reason]),
            REASON_TEXTS[reason],
        ]
        for reason in RejectReason
        # What lies above says why an order was canceled that its client did not name.
        if RejectReason.NONE < reason < RejectReason.MASS_CANCEL
    ]


def test_session_reject_reasons_are_complete() -> None:
    rows = {int(number) for number, _ in table("Session reject reasons")}
    unused = re.search(r"^([\d, and]+) \(encryption", section("Session reject reasons"), re.M)
    assert unused
    never = {int(number) for number in re.findall(r"\d+", unused[1])}
    assert rows | never == set(SessionRejectReason)
    assert not rows & never


def test_exec_types_are_what_the_venue_sends() -> None:
    rows = table("ExecType and OrdStatus")
    assert {row[0] for row in rows} == {
        chr(EXEC_TYPE[Version.FIX44, kind]) for kind in ReportKind if EXEC_TYPE[Version.FIX44, kind]
    }
    statuses = {char for row in rows for char in re.findall(r"\b[0-9C]\b", row[2])}
    assert statuses == {chr(ORD_STATUS[Version.FIX50SP2, status]) for status in OrderStatus}


def test_fields_that_are_not_served_are_named() -> None:
    named = re.findall(r"\b([A-Z]\w+)\((\d+)\)", section("Orders").partition("An order with")[2])
    named = [(int(tag), name) for name, tag in named]
    assert dict(named) == UNSERVED_FIELDS


def test_there_are_examples_both_ways() -> None:
    assert {direction for direction, _ in EXAMPLES} == {"<", ">"}
    assert {message_of(text).msg_type for _, text in EXAMPLES} == {*MESSAGES, "V"}


@pytest.mark.parametrize(("direction", "text"), EXAMPLES, ids=lambda part: part[-40:])
def test_an_example_is_whole(direction: str, text: str) -> None:
    frame = text.replace("|", "\x01").encode()
    head, _, rest = frame.partition(b"\x01")[2].partition(b"\x01")
    assert head == b"9=%d" % (len(rest) - len(b"10=ddd\x01"))
    assert frame[-7:] == b"10=%03d\x01" % (sum(frame[:-7]) & 255)
    message = parse(frame)
    # The one that misses a field is there to be rejected.
    assert (validate(message, FIX44) is None) == (message.get(11) != b"B-6")
    assert message.get(56 if direction == ">" else 49) == b"OPENOUTCRY"


@pytest.mark.parametrize(("direction", "text"), EXAMPLES, ids=lambda part: part[-40:])
def test_an_example_has_the_fields_of_its_table(direction: str, text: str) -> None:
    message = message_of(text)
    if message.msg_type not in MESSAGES or message.get(11) == b"B-6":
        return
    rows = table("Header and trailer") + table(title_of(message.msg_type))
    there = {tag for tag, _ in message.fields}
    assert there <= {int(tag) for tag, *_ in rows}
    assert {int(tag) for tag, _, required, _ in rows if required == "Y"} <= there


def test_links_within_the_page_lead_somewhere() -> None:
    heads = re.findall(r"^#+ (.*)$", PAGE, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}
    assert set(re.findall(r"\]\(#([^)]*)\)", PAGE)) <= anchors

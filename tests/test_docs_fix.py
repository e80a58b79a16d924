"""docs/fix.md says what the code does: tables, reasons and example frames, in every version."""

import re
from pathlib import Path

import pytest

from openoutcry.engine.enums import OrderStatus, RejectReason, ReportKind
from openoutcry.protocol.fix.dictionary import Dictionary, dictionary
from openoutcry.protocol.fix.enums import SessionRejectReason
from openoutcry.protocol.fix.message import Message, parse
from openoutcry.protocol.fix.validate import validate
from openoutcry.protocol.fix.versions import Version, version_of
from openoutcry.server.fix_orders import _UNSERVED
from openoutcry.server.translate import (
    CXL_REJ_REASON,
    EXEC_TYPE,
    ORD_REJ_REASON,
    ORD_STATUS,
    REASON_TEXTS,
)

PAGE = (Path(__file__).parents[1] / "docs" / "fix.md").read_text()
DICTIONARIES = [dictionary(version) for version in Version]
#: Messages that only the venue sends: what it always sends may be more than FIX requires.
FROM_VENUE = {"8", "9", "j", "r", "y", "d"}
#: What FIX leaves open and the venue needs.
REQUIRED_HERE = {"D": {38}, "G": {38}}
EXAMPLES = re.findall(r"^([<>]) (8=FIX.*)$", PAGE, re.MULTILINE)
TITLES = re.findall(r"^### (\w+) \((\w+)\)$", PAGE, re.MULTILINE)


def section(title: str) -> str:
    found = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, f"no section {title}"
    return found[1]


def table(title: str) -> list[list[str]]:
    """Return the cells of a section's first table, less its head."""
    lines = [line for line in section(title).splitlines() if line.startswith("|")]
    assert len(lines) > 2, f"no table in {title}"
    return [[cell.strip() for cell in line[1:-1].split("|")] for line in lines[2:]]


def versions_of(msg_type: str) -> list[Dictionary]:
    return [facts for facts in DICTIONARIES if msg_type in facts.messages]


def span(part: list[Dictionary], whole: list[Dictionary]) -> str:
    """Say which of a message's versions these are: `from 4.2`, `4.1 to 5.0`, or nothing for all."""
    if part == whole:
        return ""
    first, last = (facts.version.label.removeprefix("FIX.") for facts in (part[0], part[-1]))
    if part == whole[: len(part)]:
        return f"to {last}"
    return f"from {first}" if part == whole[-len(part) :] else f"{first} to {last}"


def told_span(meaning: str) -> str:
    """Return what a row says of its versions, in parentheses, before all else."""
    found = re.match(r"\(((?:from |to |\d\S* to )[4-5]\.\w+)\) ", meaning)
    return found[1] if found else ""


def message_of(text: str) -> Message:
    return parse(text.replace("|", "\x01").encode())


def facts_of(message: Message) -> Dictionary:
    """Return the dictionary of an example; those of FIXT.1.1 are all FIX 5.0 SP2."""
    version = version_of(message.get(8) or b"", b"9")
    assert version is not None
    return dictionary(version)


def test_every_message_that_is_served_has_a_table() -> None:
    served = {"A", *"0123459", *"DFGHqxc8ryj", "AF", "d"}
    assert {msg_type for _, msg_type in TITLES} == served


@pytest.mark.parametrize(("name", "msg_type"), TITLES)
def test_a_table_is_the_dictionarys(name: str, msg_type: str) -> None:
    whole = versions_of(msg_type)
    assert name == whole[-1].messages[msg_type].name
    rows = table(f"{name} ({msg_type})")
    assert len({tag for tag, *_ in rows}) == len(rows)
    for text, field, required, meaning in rows:
        tag = int(text)
        having = [facts for facts in whole if tag in facts.messages[msg_type].allowed]
        assert having, f"{tag} is not in {name}"
        assert field == having[-1].names[tag]
        assert told_span(meaning) == span(having, whole), tag
        needing = [facts for facts in having if tag in facts.messages[msg_type].required]
        if required == "Y" and (msg_type in FROM_VENUE or tag in REQUIRED_HERE.get(msg_type, ())):
            continue
        wanted = span(needing, whole) or "Y" if needing else ""
        assert required in ({wanted, span(having, whole)} if msg_type in FROM_VENUE else {wanted})


@pytest.mark.parametrize(("name", "msg_type"), TITLES)
def test_no_required_tag_is_left_out(name: str, msg_type: str) -> None:
    named = {int(tag) for tag, *_ in table(f"{name} ({msg_type})")}
    for facts in versions_of(msg_type):
        assert named >= set(facts.messages[msg_type].required), facts.version.label


def test_the_header_is_the_dictionarys() -> None:
    rows = table("Header and trailer")
    for text, field, required, meaning in rows:
        tag = int(text)
        having = [f for f in DICTIONARIES if tag in f.header_tags | f.trailer_tags]
        assert field == having[-1].names[tag]
        assert told_span(meaning) == span(having, DICTIONARIES), tag
        always = {8, 9, 35, 10, *DICTIONARIES[0].header_required}
        assert required == ("Y" if tag in always else "")


def test_reject_reasons_are_what_the_venue_answers() -> None:
    version = Version.FIX44
    declining = [r for r in RejectReason if RejectReason.NONE < r < RejectReason.MASS_CANCEL]
    assert table("Reject reasons") == [
        [
            reason.name,
            str(ORD_REJ_REASON[version, reason]),
            str(CXL_REJ_REASON[version, reason]),
            REASON_TEXTS[reason],
        ]
        for reason in declining
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
    statuses = {char for row in rows for char in re.findall(r"\b[0-9C]\b(?!\.)", row[2])}
    assert statuses == {chr(ORD_STATUS[v, status]) for v in Version for status in OrderStatus}


def test_fields_that_are_not_served_are_named() -> None:
    named = re.findall(r"\b([A-Z]\w+)\((\d+)\)", section("Orders").partition("An order with")[2])
    named = [(int(tag), name) for name, tag in named]
    assert dict(named) == _UNSERVED


def test_there_are_examples_both_ways() -> None:
    assert {direction for direction, _ in EXAMPLES} == {"<", ">"}
    assert {message_of(text).msg_type for _, text in EXAMPLES} == {
        *(msg_type for _, msg_type in TITLES),
        "V",
    }
    assert {message_of(text).get(8) for _, text in EXAMPLES} >= {b"FIX.4.2", b"FIX.4.4"}


@pytest.mark.parametrize(("direction", "text"), EXAMPLES, ids=lambda part: part[-40:])
def test_an_example_is_whole(direction: str, text: str) -> None:
    frame = text.replace("|", "\x01").encode()
    head, _, rest = frame.partition(b"\x01")[2].partition(b"\x01")
    assert head == b"9=%d" % (len(rest) - len(b"10=ddd\x01"))
    assert frame[-7:] == b"10=%03d\x01" % (sum(frame[:-7]) & 255)
    message = parse(frame)
    # The one that misses a field is there to be rejected.
    problem = validate(message, facts_of(message))
    assert (problem is None) == (message.get(11) != b"BAD")
    assert message.get(56 if direction == ">" else 49) == b"OPENOUTCRY"


@pytest.mark.parametrize(("direction", "text"), EXAMPLES, ids=lambda part: part[-40:])
def test_an_example_has_the_fields_of_its_table(direction: str, text: str) -> None:
    message = message_of(text)
    names = {msg_type: name for name, msg_type in TITLES}
    if message.msg_type not in names or message.get(11) == b"BAD":
        return
    rows = table("Header and trailer") + table(f"{names[message.msg_type]} ({message.msg_type})")
    there = {tag for tag, _ in message.fields} - members_of(message)
    assert there <= {int(tag) for tag, *_ in rows}
    assert {int(tag) for tag, _, required, _ in rows if required == "Y"} <= there


def members_of(message: Message) -> set[int]:
    """Return the tags that stand in groups of a message."""
    groups = facts_of(message).messages[message.msg_type].groups
    return {
        member
        for count_tag in {tag for tag, _ in message.fields} & groups.keys()
        for member in groups[count_tag].members
    }


def test_links_within_the_page_lead_somewhere() -> None:
    heads = re.findall(r"^#+ (.*)$", PAGE, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}
    assert set(re.findall(r"\]\(#([^)]*)\)", PAGE)) <= anchors

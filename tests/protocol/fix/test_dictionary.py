"""The dictionaries: what each version has, custom fields, and what an independent engine says."""

import random
import sys
from pathlib import Path

import pytest

from openoutcry.protocol.fix.dictionaries.generate import texts
from openoutcry.protocol.fix.dictionary import (
    DATA_TAGS,
    CustomField,
    Dictionary,
    FieldType,
    Group,
    dictionary,
)
from openoutcry.protocol.fix.message import Message, encode_message, parse
from openoutcry.protocol.fix.validate import validate
from openoutcry.protocol.fix.versions import Version

ALL = list(Version)
LABELS = [version.label for version in ALL]
FIX40, FIX41, FIX42, FIX43, FIX44, FIX50, FIX50SP1, FIX50SP2 = map(dictionary, ALL)
XML_FOLDER = Path(sys.prefix) / "share" / "quickfix"
has_xml = pytest.mark.skipif(not XML_FOLDER.is_dir(), reason="quickfix is not installed")

of_every_version = pytest.mark.parametrize("facts", [*map(dictionary, ALL)], ids=LABELS)


def all_groups(facts: Dictionary) -> list[tuple[int, Group]]:
    found: list[tuple[int, Group]] = list(facts.header_groups.items())
    for definition in facts.messages.values():
        found += definition.groups.items()
    for _, group in found:
        found += group.groups.items()
    return found


@of_every_version
def test_a_dictionary_is_whole(facts):
    assert facts.names.keys() == facts.types.keys()
    assert facts.enumerations.keys() <= facts.names.keys()
    outside = facts.header_tags | facts.trailer_tags
    assert outside <= facts.names.keys()
    assert facts.header_required == (49, 56, 34, 52)
    assert facts.trailer_tags == {93, 89, 10}
    for msg_type, definition in facts.messages.items():
        assert definition.allowed.issuperset(definition.required), msg_type
        assert definition.allowed.issuperset(definition.groups), msg_type
        assert definition.allowed <= facts.names.keys() - outside, msg_type


@of_every_version
def test_groups_are_whole(facts):
    groups = all_groups(facts)
    assert {tag for tag, _ in groups} <= facts.count_tags
    for tag, group in groups:
        assert facts.types[tag] is FieldType.NATURAL
        assert [group.places[member] for member in group.members] == [*range(len(group.members))]
        assert set(group.members) <= facts.names.keys()
        assert set(group.members) >= {*group.required, *group.groups}


@of_every_version
def test_lengths_and_data_are_pairs(facts):
    assert facts.data_tags.items() <= DATA_TAGS.items()
    for length, data in facts.data_tags.items():
        assert facts.types[length] is FieldType.NATURAL
        assert facts.types[data] is FieldType.DATA
    data_fields = {tag for tag, kind in facts.types.items() if kind is FieldType.DATA}
    assert data_fields == set(facts.data_tags.values())


@pytest.mark.parametrize(
    ("facts", "fields", "messages"),
    [
        (FIX40, 138, 27),
        (FIX41, 206, 28),
        (FIX42, 405, 46),
        (FIX43, 635, 68),
        (FIX44, 912, 93),
        (FIX50, 1100, 101),
        (FIX50SP1, 1373, 113),
        (FIX50SP2, 6028, 164),
    ],
    ids=LABELS,
)
def test_how_much_a_version_defines(facts, fields, messages):
    assert len(facts.names) == fields
    assert len(facts.messages) == len(facts.msg_types) == messages


def test_a_dictionary_is_read_once():
    assert dictionary(Version.FIX42) is FIX42
    assert FIX42.messages["D"] is FIX42.messages["D"]
    assert list(FIX44.messages)[:10] == list("0123456789")


def test_what_reports_carry_differs_by_version():
    def allowed(tag: int) -> list[bool]:
        return [tag in dictionary(version).messages["8"].allowed for version in ALL]

    assert allowed(20) == [True, True, True, False, False, False, False, False]
    assert allowed(150) == [False] + [True] * 7
    assert allowed(527) == [False] * 3 + [True] * 5
    assert allowed(851) == [False] * 4 + [True] * 4
    assert FIX40.messages["8"].required == (37, 17, 20, 39, 55, 54, 38, 32, 31, 14, 6)
    assert FIX42.messages["8"].required == (37, 17, 20, 150, 39, 55, 54, 151, 14, 6)
    assert FIX44.messages["8"].required == (37, 17, 150, 39, 54, 151, 14, 6)
    assert FIX50.messages["8"].required == (37, 17, 150, 39, 54, 151, 14)


@of_every_version
def test_the_venue_asks_for_a_symbol(facts):
    for msg_type in "DFGH":
        assert 55 in facts.messages[msg_type].required


def test_fixt_has_the_session_of_fix_5():
    for facts in (FIX50, FIX50SP1, FIX50SP2):
        assert {1128, 1129, 1156} <= facts.header_tags
        assert 1137 in facts.messages["A"].required
        assert 1409 in facts.messages["5"].allowed
        assert b"18" in facts.enumerations[373]
        assert facts.messages["D"].name == "NewOrderSingle"
    assert 1128 not in FIX44.names


def test_char_was_any_text_up_to_fix_41():
    assert FIX40.types[58] is FIX41.types[58] is FieldType.STRING
    assert FIX41.types[54] is FieldType.STRING
    assert FIX42.types[54] is FieldType.CHAR
    assert FIX41.types[38] is FieldType.INT
    assert FIX42.types[38] is FieldType.DECIMAL


def test_names_are_told():
    assert FIX42.describe(32) == "LastShares(32)"
    assert FIX44.describe(32) == "LastQty(32)"
    assert FIX44.describe(4999) == "tag 4999"
    assert not FIX44.is_defined(4999)
    assert FIX44.is_defined(5000)


@has_xml
def test_the_texts_are_what_the_generator_makes():
    folder = Path(sys.modules[texts.__module__].__file__ or "").parent
    for name, text in texts(XML_FOLDER).items():
        assert (folder / name).read_text("ascii") == text, f"{name}: run generate.py"


# -- fields of one's own


def test_custom_fields_are_added_to_their_messages():
    desk = CustomField(5001, "DeskID")
    score = CustomField(6000, "Score", FieldType.DECIMAL, frozenset("DG"))
    mine = FIX44.with_fields([desk, score])
    assert mine.names[5001] == "DeskID"
    assert mine.types[6000] is FieldType.DECIMAL
    assert mine.custom_tags == {5001, 6000}
    assert {5001, 6000} <= mine.messages["D"].allowed
    assert 6000 not in mine.messages["F"].allowed
    assert 5001 in mine.messages["0"].allowed
    assert mine.messages["D"].groups is FIX44.messages["D"].groups
    assert not FIX44.custom_tags
    assert 5001 not in FIX44.names
    assert not mine.is_lenient
    lenient = mine.with_fields(lenient=True)
    assert lenient.is_lenient
    assert lenient.messages is mine.messages
    assert lenient.custom_tags == mine.custom_tags


@pytest.mark.parametrize(
    ("field", "why"),
    [
        (CustomField(0, "X"), "a tag is 1 or more"),
        (CustomField(49, "X"), "the header's or trailer's"),
        (CustomField(10, "X"), "the header's or trailer's"),
        (CustomField(5001, "X", FieldType.DATA), "data cannot be custom"),
        (CustomField(355, "X"), "data cannot be custom"),
        (CustomField(354, "X"), "tells a length or counts a group"),
        (CustomField(453, "X"), "tells a length or counts a group"),
        (CustomField(5001, "X", msg_types=frozenset(["D", "ZZ"])), "FIX.4.4 has no message 'ZZ'"),
    ],
)
def test_what_cannot_be_custom(field, why):
    with pytest.raises(ValueError, match=why):
        FIX44.with_fields([field])


# -- QuickFIX takes what we take


#: Where QuickFIX knows only the values that we take as examples.
FOR_QUICKFIX = {27: b"S", 63: b"0", 65: b"CD", 100: b"0", 166: b"DTC", 336: b"1", 625: b"1"}


def sample(rng: random.Random, facts: Dictionary, tag: int) -> bytes:
    """Return a value that a field may have."""
    if tag in FOR_QUICKFIX:
        return FOR_QUICKFIX[tag]
    if tag in facts.enumerations:
        return rng.choice(sorted(facts.enumerations[tag]))
    return {
        FieldType.STRING: b"ABC",
        FieldType.CHAR: b"A",
        FieldType.BOOLEAN: b"Y",
        FieldType.INT: b"7",
        FieldType.NATURAL: b"7",
        FieldType.DAY_OF_MONTH: b"31",
        FieldType.DECIMAL: b"-1.50",
        FieldType.UTC_TIMESTAMP: b"20240229-23:59:59",
        FieldType.UTC_TIME: b"23:59:59",
        FieldType.LOCAL_TIME: b"23:59:59",
        FieldType.TZ_TIMESTAMP: b"20240229-23:59:59Z",
        FieldType.TZ_TIME: b"23:59:59Z",
        FieldType.DATE: b"20240229",
        FieldType.MONTH_YEAR: b"202402",
        FieldType.CHARS: b"A B",
        FieldType.STRINGS: b"A B",
    }[facts.types[tag]]


def fields_of(
    rng: random.Random,
    facts: Dictionary,
    tags: list[int],
    required: set[int],
    groups: dict[int, Group],
    share: float,
) -> list[tuple[int, bytes]]:
    fields: list[tuple[int, bytes]] = []
    lengths = {data: length for length, data in facts.data_tags.items()}
    for tag in tags:
        # QuickFIX looks for a length one tag before its data, or at 93.
        is_odd = tag in facts.data_tags and facts.data_tags[tag] not in (tag + 1, 89)
        if tag in lengths or (tag not in required and (is_odd or rng.random() > share)):
            continue
        if tag in facts.data_tags:
            fields += [(tag, b"3"), (facts.data_tags[tag], b"a=b")]
        elif tag in groups:
            group = groups[tag]
            codes = facts.enumerations.get(tag, frozenset({b"1", b"2"}))
            count = int(rng.choice(sorted(codes)))
            fields.append((tag, b"%d" % count))
            for _ in range(count):
                first = {group.members[0], *group.required}
                members = list(group.members)
                fields += fields_of(rng, facts, members, first, dict(group.groups), share / 4)
        else:
            fields.append((tag, sample(rng, facts, tag)))
    return fields


def random_message(rng: random.Random, facts: Dictionary, msg_type: str, share: float) -> Message:
    definition = facts.messages[msg_type]
    needed = {*definition.required, *({38} if msg_type in "DG" else ())}
    body = fields_of(rng, facts, sorted(definition.allowed), needed, dict(definition.groups), share)
    head: list[tuple[int, bytes | str | int]] = [
        (35, msg_type),
        (49, "C"),
        (56, "V"),
        (34, 7),
        (52, "20240229-23:59:59"),
    ]
    return parse(encode_message(facts.version.begin_string, [*head, *body]))


@of_every_version
def test_random_messages_of_every_type_are_right(facts):
    rng = random.Random(f"right {facts.version}")
    for msg_type in facts.messages:
        for share in (0, 0.3, 1):
            message = random_message(rng, facts, msg_type, share)
            assert validate(message, facts) is None, message.frame


@has_xml
@of_every_version
def test_quickfix_takes_what_we_take(facts):
    quickfix = pytest.importorskip("quickfix")
    name = facts.version.name
    session = "FIXT11" if facts.version.is_fixt else name
    transport = quickfix.DataDictionary(str(XML_FOLDER / f"{session}.xml"))
    application = quickfix.DataDictionary(str(XML_FOLDER / f"{name}.xml"))
    rng = random.Random(f"quickfix {facts.version}")
    for msg_type in facts.messages:
        message = random_message(rng, facts, msg_type, 0.2)
        theirs = quickfix.Message()
        theirs.setString(message.frame.decode("latin-1"), True, transport, application)
        if facts.version.is_fixt and msg_type in "012345An":
            transport.validate(theirs)
        elif facts.version.is_fixt:
            quickfix.DataDictionary.validate(theirs, transport, application)
        else:
            application.validate(theirs)

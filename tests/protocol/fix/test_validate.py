"""The dictionary's verdict on messages of every type that the venue knows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fix import BODY, CANCEL, HEADER, NEW_ORDER, REPLACE, STATUS, frame, seal

from openoutcry.protocol.fix.dictionary import CustomField, Dictionary, FieldType, dictionary
from openoutcry.protocol.fix.enums import SessionRejectReason as Reason
from openoutcry.protocol.fix.message import Problem, parse, validate
from openoutcry.protocol.fix.versions import Version

FIX44 = dictionary(Version.FIX44)

REPORT = "37=O|17=E|150=0|39=0|54=1|151=1|14=0|6=0|"


def verdict(text: str, facts: Dictionary = FIX44) -> tuple[int | None, int] | None:
    problem = validate(parse(frame(text, facts.version.begin_string)), facts)
    return None if problem is None else (problem.ref_tag, problem.reason)


@pytest.mark.parametrize(
    "text",
    [
        NEW_ORDER,
        CANCEL,
        REPLACE,
        STATUS,
        f"35=0|{HEADER}",
        f"35=0|{HEADER}112=x|",
        f"35=1|{HEADER}112=x|",
        f"35=2|{HEADER}7=1|16=0|",
        f"35=3|{HEADER}45=3|371=55|372=D|373=1|58=why|",
        f"35=4|{HEADER}36=9|",
        f"35=4|{HEADER}123=Y|36=9|",
        f"35=5|{HEADER}58=bye|",
        f"35=A|{HEADER}98=0|108=30|141=Y|383=4096|464=N|553=me|554=secret|789=5|",
        f"35=A|{HEADER}98=0|108=30|95=3|96=a|b|",
        f"35=A|{HEADER}98=0|108=-1|",
        f"35=8|{HEADER}{REPORT}",
        f"35=8|{HEADER}{REPORT}55=X|40=2|44=1|32=1|31=1.5|60=20240808-12:34:56|527=T1|851=1|103=0|",
        f"35=9|{HEADER}37=NONE|11=a|41=b|39=8|434=1|102=1|58=why|",
        f"35=j|{HEADER}45=3|372=D|379=a|380=3|58=why|",
        f"35=0|43=Y|97=N|115=a|128=b|122=20240808-12:34:56|369=5|{HEADER}",
        f"35=0|{HEADER}93=3|89=a|b|",
        f"35=c|{HEADER}320=x|321=3|",
    ],
)
def test_right_messages(text):
    assert verdict(text) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("35=|", (35, Reason.NO_VALUE)),
        (f"35=DD|{HEADER}", (35, Reason.INVALID_MSG_TYPE)),
        (f"35=I|{HEADER}", (35, Reason.INVALID_MSG_TYPE)),
        ("35=0|", (49, Reason.REQUIRED_TAG_MISSING)),
        ("35=0|49=a|", (56, Reason.REQUIRED_TAG_MISSING)),
        ("35=0|49=a|56=b|", (34, Reason.REQUIRED_TAG_MISSING)),
        ("35=0|49=a|56=b|34=1|", (52, Reason.REQUIRED_TAG_MISSING)),
        (f"35=1|{HEADER}", (112, Reason.REQUIRED_TAG_MISSING)),
        (f"35=2|{HEADER}16=0|", (7, Reason.REQUIRED_TAG_MISSING)),
        (f"35=2|{HEADER}7=1|", (16, Reason.REQUIRED_TAG_MISSING)),
        (f"35=2|{HEADER}7=-1|16=0|", (7, Reason.VALUE_INCORRECT)),
        (f"35=2|{HEADER}7=1|16={'9' * 19}|", (16, Reason.VALUE_INCORRECT)),
        (f"35=2|{HEADER}7=x|16=0|", (7, Reason.INCORRECT_FORMAT)),
        (f"35=3|{HEADER}", (45, Reason.REQUIRED_TAG_MISSING)),
        (f"35=4|{HEADER}123=Y|", (36, Reason.REQUIRED_TAG_MISSING)),
        (f"35=4|{HEADER}123=y|36=5|", (123, Reason.INCORRECT_FORMAT)),
        (f"35=5|{HEADER}55=x|", (55, Reason.TAG_NOT_DEFINED_FOR_MESSAGE)),
        (f"35=5|{HEADER}1409=4|", (1409, Reason.UNDEFINED_TAG)),
        (f"35=A|{HEADER}108=30|", (98, Reason.REQUIRED_TAG_MISSING)),
        (f"35=A|{HEADER}98=0|", (108, Reason.REQUIRED_TAG_MISSING)),
        (f"35=A|{HEADER}98=0|108=30.5|", (108, Reason.INCORRECT_FORMAT)),
        (f"35=A|{HEADER}98=0|108=30|141=1|", (141, Reason.INCORRECT_FORMAT)),
        (f"35=A|{HEADER}98=0|108=30|95=9|96=a|", (95, Reason.VALUE_INCORRECT)),
        (f"35=A|{HEADER}98=0|108=30|95=1|", (95, Reason.VALUE_INCORRECT)),
        (f"35=A|{HEADER}98=0|108=30|96=a|", (95, Reason.REQUIRED_TAG_MISSING)),
        (f"35=8|{HEADER}{REPORT}150=0|", (150, Reason.TAG_REPEATED)),
        (f"35=8|{HEADER}{REPORT.replace('39=0', '39=Z')}", (39, Reason.VALUE_INCORRECT)),
        (f"35=9|{HEADER}37=NONE|11=a|41=b|39=8|434=3|", (434, Reason.VALUE_INCORRECT)),
        (f"35=j|{HEADER}372=D|", (380, Reason.REQUIRED_TAG_MISSING)),
        (f"35=0|{HEADER}93=1|89=x|112=y|", (112, Reason.TAG_OUT_OF_ORDER)),
        (f"35=0|{HEADER}112=x|43=Y|", (43, Reason.TAG_OUT_OF_ORDER)),
        (f"35=0|43=X|{HEADER}", (43, Reason.INCORRECT_FORMAT)),
        (f"35=AE|{HEADER}571=x|43=N|", (43, Reason.TAG_OUT_OF_ORDER)),
        (f"35=AE|{HEADER}571=x|", (570, Reason.REQUIRED_TAG_MISSING)),
        (f"35=AE|{HEADER}320=x|", (320, Reason.TAG_NOT_DEFINED_FOR_MESSAGE)),
        (f"35=AE|{HEADER}571|", (52, Reason.SOH_IN_VALUE)),
        (f"35=AE|{HEADER}x=5|", (None, Reason.INVALID_TAG_NUMBER)),
        (f"{NEW_ORDER}432=20240230|", (432, Reason.INCORRECT_FORMAT)),
        (f"{NEW_ORDER}126=20240230-00:00:00|", (126, Reason.INCORRECT_FORMAT)),
        (f"{NEW_ORDER}200=202413|", (200, Reason.INCORRECT_FORMAT)),
        (f"{NEW_ORDER}200=202412w6|", (200, Reason.INCORRECT_FORMAT)),
        (f"{NEW_ORDER}114=x|", (114, Reason.INCORRECT_FORMAT)),
        (f"{NEW_ORDER}110=1.2.3|", (110, Reason.INCORRECT_FORMAT)),
    ],
)
def test_wrong_messages(text, expected):
    assert verdict(text) == expected


@pytest.mark.parametrize("value", ["202412", "20241231", "202412w5"])
def test_months(value):
    assert verdict(f"{NEW_ORDER}200={value}|") is None


def test_order_qty_may_be_said_in_cash():
    without = BODY.replace("38=10|", "")
    assert verdict(f"35=D|{HEADER}{without}") == (38, Reason.REQUIRED_TAG_MISSING)
    assert verdict(f"35=D|{HEADER}{without}152=10|") is None
    assert verdict(f"35=D|{HEADER}{without}516=10|") is None


PARTY = "448=a|447=D|452=1|"


@pytest.mark.parametrize(
    ("group", "expected"),
    [
        (f"453=1|{PARTY}", None),
        (f"453=2|{PARTY}{PARTY}", None),
        ("453=2|448=a|448=b|", None),
        (f"453=1|{PARTY}802=2|523=x|803=1|523=y|803=2|", None),
        (f"453=2|{PARTY}802=1|523=x|{PARTY}", None),
        (f"453=1|{PARTY}58=x|", None),
        ("453=0|", None),
        (f"453=2|{PARTY}", (453, Reason.WRONG_NUM_IN_GROUP)),
        (f"453=1|{PARTY}{PARTY}", (453, Reason.WRONG_NUM_IN_GROUP)),
        (f"453=1|{PARTY}802=2|523=x|", (802, Reason.WRONG_NUM_IN_GROUP)),
        ("453=1|447=D|448=a|", (447, Reason.GROUP_FIELDS_OUT_OF_ORDER)),
        ("453=1|448=a|447=D|447=D|", (447, Reason.TAG_REPEATED)),
        ("453=1|448=a|447=|", (447, Reason.NO_VALUE)),
        ("453=1|448=a|452=x|", (452, Reason.INCORRECT_FORMAT)),
        ("453=1|448=a|452=1|447=D|", (447, Reason.GROUP_FIELDS_OUT_OF_ORDER)),
        ("453=1|448=a|802=1|523=x|803=1|447=D|", (447, Reason.GROUP_FIELDS_OUT_OF_ORDER)),
        ("453=1|448=a|802=1|803=1|523=x|", (803, Reason.GROUP_FIELDS_OUT_OF_ORDER)),
        ("453=1|448=a|452=777|", (452, Reason.VALUE_INCORRECT)),
        # Users' own fields may stand between a group's.
        (f"453=2|448=a|5000=x|447=D|452=1|5001=x|{PARTY}5002=x|", None),
        ("453=1|448=a|5000=|447=D|", (5000, Reason.NO_VALUE)),
        ("453=1|448=a|4999=x|447=D|", (4999, Reason.UNDEFINED_TAG)),
        (f"453=-1|{PARTY}", (453, Reason.VALUE_INCORRECT)),
        (f"453={'0' * 5000}1|{PARTY}", None),
        (f"453=1|{PARTY}453=1|{PARTY}", (453, Reason.TAG_REPEATED)),
        ("453=1|448=a|x=1|447=D|", (None, Reason.INVALID_TAG_NUMBER)),
        ("453=1|448=a|b|447=D|", (448, Reason.SOH_IN_VALUE)),
        ("448=a|", (448, Reason.TAG_NOT_DEFINED_FOR_MESSAGE)),
    ],
)
def test_groups(group, expected):
    assert verdict(f"{NEW_ORDER}{group}") == expected


def test_fields_that_every_instance_must_have():
    # Every leg of a MultilegOrderCancelReplaceRequest has a symbol of its own; sides have a side.
    cross = f"35=s|{HEADER}548=x|549=1|550=1|55=X|60=20240808-12:34:56|40=1|552=2|"
    sides = ["54=1|11=a|38=1|", "54=2|11=b|38=1|"]
    assert verdict(cross + "".join(sides)) is None
    assert verdict(cross + sides[0] + "54=2|38=1|") == (11, Reason.REQUIRED_TAG_MISSING)
    assert verdict(cross + "54=1|38=1|" + sides[1]) == (11, Reason.REQUIRED_TAG_MISSING)
    assert verdict(cross + sides[0]) == (552, Reason.WRONG_NUM_IN_GROUP)
    security = f"35=V|{HEADER}262=x|263=0|264=1|267=2|269=0|269=1|146=1|"
    assert verdict(f"{security}55=X|") is None
    assert verdict(security) == (146, Reason.WRONG_NUM_IN_GROUP)
    assert verdict(security.replace("269=1|", "269=Z|")) == (269, Reason.VALUE_INCORRECT)


# -- values


def judged(kind: FieldType, value: str) -> Reason | None:
    """Judge a value of a type, by a field of one's own."""
    facts = FIX44.with_fields([CustomField(5001, "Mine", kind)])
    problem = validate(parse(frame(f"{NEW_ORDER}5001={value}|")), facts)
    if problem is not None:
        assert problem.ref_tag == 5001
    return None if problem is None else problem.reason


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (FieldType.STRING, ["x", " ", "é"], []),
        (FieldType.CHAR, ["x", " ", "1"], ["xy", "11"]),
        (FieldType.BOOLEAN, ["Y", "N"], ["y", "1", "YES"]),
        (FieldType.INT, ["0", "-5", "00023", "9" * 18], ["+5", "1.0", "", "-", "1 ", "x"]),
        (FieldType.NATURAL, ["0", "5", "005"], ["+5", "x"]),
        (FieldType.DAY_OF_MONTH, ["1", "01", "9", "10", "31"], ["x", "1.0", "-1"]),
        (FieldType.DECIMAL, ["0", "-.5", "23.", "0.10"], [".", "1e5", "+1", "1,0"]),
        (FieldType.UTC_TIMESTAMP, ["20240229-23:59:60.123456"], ["20230229-00:00:00", "20240229"]),
        (FieldType.UTC_TIME, ["00:00:00", "23:59:60", "12:34:56.123"], ["24:00:00", "1:00:00"]),
        (FieldType.UTC_TIME, ["12:34:56.123456789"], ["12:34:56.1", "12:34", "12:34:56Z", "1234"]),
        (FieldType.LOCAL_TIME, ["00:00:00", "23:59:59"], ["12:34", "12:34:56.123", "24:00:00"]),
        (FieldType.TZ_TIME, ["07:39", "07:39Z", "07:39:01Z", "02:39-05"], ["7:39", "07:39 Z"]),
        (FieldType.TZ_TIME, ["13:09+05:30", "07:39:01.5"], ["07:39+5", "07:39+05:60", "07"]),
        (
            FieldType.TZ_TIMESTAMP,
            ["20060901-07:39Z", "20060901-02:39-05", "20060901-13:09:00.123+05:30"],
            ["20060901", "20060931-07:39Z", "20060901-07:39z", "20060901 07:39"],
        ),
        (FieldType.DATE, ["20240229"], ["20230229", "2024022", "202402299", "2024-2-9"]),
        (FieldType.MONTH_YEAR, ["202402", "20240229", "202402w5"], ["202400", "202402w0", "2024"]),
        (FieldType.CHARS, ["A", "A B", "1 2 3"], ["AB", "A  B", "A ", " "]),
        (FieldType.STRINGS, ["AB", "AB C"], ["A  B", "A ", " A"]),
    ],
)
def test_formats(kind, good, bad):
    for value in good:
        assert judged(kind, value) is None, value
    for value in bad:
        assert judged(kind, value) == (Reason.INCORRECT_FORMAT if value else Reason.NO_VALUE), value


def test_values_out_of_range():
    for kind in (FieldType.INT, FieldType.NATURAL, FieldType.DECIMAL):
        assert judged(kind, "9" * 19) == Reason.VALUE_INCORRECT
    assert judged(FieldType.NATURAL, "-5") == Reason.VALUE_INCORRECT
    for day in ("0", "00", "32", "99", "100"):
        assert judged(FieldType.DAY_OF_MONTH, day) == Reason.VALUE_INCORRECT


@pytest.mark.parametrize(
    ("version", "field", "expected"),
    [
        # Each of several values is a code.
        (Version.FIX44, "18=1 G", None),
        (Version.FIX44, "18=1 f", (18, Reason.VALUE_INCORRECT)),
        (Version.FIX44, "18=1  G", (18, Reason.INCORRECT_FORMAT)),
        (Version.FIX50SP2, "18=1 f", None),
        (Version.FIX50SP2, "18=1 AB", (18, Reason.INCORRECT_FORMAT)),
        # Codes are numbers in fields of numbers.
        (Version.FIX44, "581=1", None),
        (Version.FIX44, "581=01", None),
        (Version.FIX44, "581=5", (581, Reason.VALUE_INCORRECT)),
        (Version.FIX44, "22=J", None),
        (Version.FIX44, "22=L", (22, Reason.VALUE_INCORRECT)),
        (Version.FIX50SP1, "22=L", None),
        # Codes that are not all
        (Version.FIX50SP2, "63=M3", None),
        (Version.FIX44, "63=M3", (63, Reason.INCORRECT_FORMAT)),
        (Version.FIX50SP2, "386=1|336=DAY", None),
    ],
)
def test_codes(version, field, expected):
    assert verdict(f"{NEW_ORDER}{field}|", dictionary(version)) == expected


# -- versions


IN_FIX40 = f"35=D|{HEADER}11=a|21=1|55=X|54=1|38=10|40=2|44=1.5|"


@pytest.mark.parametrize(
    ("version", "text", "expected"),
    [
        (Version.FIX40, IN_FIX40, None),
        (Version.FIX40, IN_FIX40.replace("21=1|", ""), (21, Reason.REQUIRED_TAG_MISSING)),
        (
            Version.FIX40,
            IN_FIX40 + "60=20240808-12:34:56|",
            (60, Reason.TAG_NOT_DEFINED_FOR_MESSAGE),
        ),
        (Version.FIX40, IN_FIX40 + "453=1|", (453, Reason.UNDEFINED_TAG)),
        (Version.FIX40, IN_FIX40.replace("38=10|", "38=1.5|"), (38, Reason.INCORRECT_FORMAT)),
        # CHAR is text there: what is not among the codes is out of range.
        (Version.FIX40, IN_FIX40.replace("54=1|", "54=11|"), (54, Reason.VALUE_INCORRECT)),
        (Version.FIX42, IN_FIX40, (60, Reason.REQUIRED_TAG_MISSING)),
        (Version.FIX42, IN_FIX40 + "60=20240808-12:34:56|", None),
        (Version.FIX42, IN_FIX40 + "60=20240808-12:34:56|58=x|1=A|", None),
        (Version.FIX42, IN_FIX40.replace("54=1|", "54=11|"), (54, Reason.INCORRECT_FORMAT)),
        (Version.FIX42, f"35=AE|{HEADER}", (35, Reason.INVALID_MSG_TYPE)),
        (Version.FIX43, f"35=AE|{HEADER}", (571, Reason.REQUIRED_TAG_MISSING)),
        (Version.FIX40, f"35=F|{HEADER}41=a|11=b|125=F|55=X|54=1|38=1|", None),
        (
            Version.FIX40,
            f"35=F|{HEADER}41=a|11=b|55=X|54=1|38=1|",
            (125, Reason.REQUIRED_TAG_MISSING),
        ),
        (Version.FIX41, f"35=F|{HEADER}41=a|11=b|125=F|55=X|54=1|", (125, Reason.UNDEFINED_TAG)),
        (Version.FIX42, f"35=A|{HEADER}98=0|108=30|553=me|", (553, Reason.UNDEFINED_TAG)),
        (Version.FIX42, f"35=A|{HEADER}98=0|108=30|384=1|372=D|385=R|", None),
        (Version.FIX43, f"35=A|{HEADER}98=0|108=30|553=me|", None),
        (Version.FIX44, f"35=A|{HEADER}98=0|108=30|1137=9|", (1137, Reason.UNDEFINED_TAG)),
        (Version.FIX50, f"35=A|{HEADER}98=0|108=30|1137=7|", None),
        (Version.FIX50, f"35=A|{HEADER}98=0|108=30|", (1137, Reason.REQUIRED_TAG_MISSING)),
        (Version.FIX50SP2, f"35=5|{HEADER}1409=4|58=bye|", None),
        (Version.FIX50SP2, f"35=0|1128=9|{HEADER}", None),
        (Version.FIX50SP2, f"35=0|1128=77|{HEADER}", (1128, Reason.VALUE_INCORRECT)),
        # Tags from 5000 on that the version defines are judged.
        (Version.FIX50SP2, f"35=0|{HEADER}50001=5|", (50001, Reason.TAG_NOT_DEFINED_FOR_MESSAGE)),
        (Version.FIX44, f"35=0|{HEADER}50001=5|", None),
        (Version.FIX50SP2, f"{NEW_ORDER}", None),
        (Version.FIX50SP2, f"35=H|{HEADER}37=O|55=X|54=1|", None),
        (Version.FIX50, f"35=H|{HEADER}37=O|55=X|54=1|", (11, Reason.REQUIRED_TAG_MISSING)),
    ],
)
def test_versions(version, text, expected):
    assert verdict(text, dictionary(version)) == expected


# -- lenient, and custom fields


LENIENT = FIX44.with_fields(lenient=True)


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("4999=x", None),
        ("4999=x|4999=|4999=x", None),
        ("41=x|448=x|41=x", None),
        ("50=x|57=y", None),
        ("93=3|89=a|b|110=5|110=", None),
        ("44=|44=|59=", None),
        ("5000=", None),
        ("453=1|448=a|452=1|447=|447=D", None),
        ("453=1|448=a|4999=x|447=D|37=foreign|452=1", None),
        ("453=2|448=a|802=1|523=x|37=foreign|803=1|448=b", None),
        ("453=", None),
        # What stays judged
        ("44=1|44=1", (44, Reason.TAG_REPEATED)),
        ("50=x|50=x", (50, Reason.TAG_REPEATED)),
        ("18=ZZ", (18, Reason.VALUE_INCORRECT)),
        ("110=x", (110, Reason.INCORRECT_FORMAT)),
        ("453=2|448=a", (453, Reason.WRONG_NUM_IN_GROUP)),
        ("453=1|447=D|448=a", (447, Reason.GROUP_FIELDS_OUT_OF_ORDER)),
        ("453=1|448=|447=D", (448, Reason.NO_VALUE)),
        ("453=1|448=a|447=D|447=D", (447, Reason.TAG_REPEATED)),
        ("354=9|355=a", (354, Reason.VALUE_INCORRECT)),
        ("355=a", (354, Reason.REQUIRED_TAG_MISSING)),
        ("8=FIX.4.4", (8, Reason.TAG_REPEATED)),
        ("10=000", (10, Reason.TAG_OUT_OF_ORDER)),
        ("58", (110, Reason.SOH_IN_VALUE)),
        ("x=1", (None, Reason.INVALID_TAG_NUMBER)),
    ],
)
def test_leniency(field, expected):
    order = NEW_ORDER.replace("|44=60123.45|59=1|", "|110=1|")
    if field.startswith(("93=", "110=")):
        order = order.replace("110=1|", "")
    assert verdict(f"{order}{field}|", LENIENT) == expected


def test_a_required_field_without_a_value_is_missing_to_a_lenient_judge():
    without = NEW_ORDER.replace("54=1|", "54=|")
    assert verdict(without, LENIENT) == (54, Reason.REQUIRED_TAG_MISSING)
    assert verdict(without) == (54, Reason.NO_VALUE)
    # What counts is the field that has a value.
    twice = NEW_ORDER.replace("54=1|", "54=|54=1|")
    assert verdict(twice, LENIENT) is None
    assert parse(frame(twice)).get(54) == b"1"


def test_custom_fields_are_judged():
    mine = FIX44.with_fields(
        [
            CustomField(5001, "Score", FieldType.DECIMAL, frozenset("D")),
            CustomField(847, "Strategy", FieldType.STRING, frozenset("DH")),
            CustomField(4999, "Desk"),
        ]
    )
    assert verdict(f"{NEW_ORDER}5001=1.5|4999=x|847=VWAP|", mine) is None
    assert verdict(f"35=H|{HEADER}847=x|11=a|55=X|54=1|", mine) is None
    assert verdict(f"{NEW_ORDER}5001=x|", mine) == (5001, Reason.INCORRECT_FORMAT)
    assert verdict(f"{NEW_ORDER}5001=1|5001=1|", mine) == (5001, Reason.TAG_REPEATED)
    assert verdict(f"{NEW_ORDER}4999=|", mine) == (4999, Reason.NO_VALUE)
    assert verdict(f"35=D|{HEADER}5001=1|43=N|{BODY}", mine) == (43, Reason.TAG_OUT_OF_ORDER)
    assert verdict(f"{REPLACE}5001=1|", mine) == (5001, Reason.TAG_NOT_DEFINED_FOR_MESSAGE)
    assert verdict(f"{NEW_ORDER}5002=|", mine) == (5002, Reason.NO_VALUE)
    assert verdict(f"{NEW_ORDER}4998=x|", mine) == (4998, Reason.UNDEFINED_TAG)


def test_a_group_in_the_header():
    hop = "627=1|628=x|629=20240808-12:34:56|630=5|"
    assert verdict(f"35=0|{hop}{HEADER}") is None
    assert verdict(f"35=c|{hop}{HEADER}320=x|321=3|") is None
    assert verdict(f"35=0|{hop.replace('=1', '=2', 1)}{HEADER}") == (
        627,
        Reason.WRONG_NUM_IN_GROUP,
    )


def test_a_problem_says_what_and_where_but_not_the_value():
    assert validate(parse(frame(f"35=A|{HEADER}98=0|108=30|554=|")), FIX44) == Problem(
        554, "A", Reason.NO_VALUE, "Tag specified without a value: Password(554)"
    )
    assert validate(parse(frame(f"35=D|{HEADER}4999=x|")), FIX44) == Problem(
        4999, "D", Reason.UNDEFINED_TAG, "Undefined tag: tag 4999"
    )
    assert validate(parse(frame("35=D|x=y|")), FIX44) == Problem(
        None, "D", Reason.INVALID_TAG_NUMBER, "Invalid tag number"
    )


@given(
    st.sampled_from([*map(dictionary, Version), LENIENT]), st.integers(0), st.binary(max_size=200)
)
def test_any_body_is_judged(facts, place, body):
    msg_types = sorted(facts.messages)
    msg_type = msg_types[place % len(msg_types)]
    validate(parse(seal(b"35=%b\x01%b\x01" % (msg_type.encode(), body))), facts)

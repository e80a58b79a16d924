"""The dictionary's verdict on messages of every type that the venue knows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fix import BODY, CANCEL, HEADER, NEW_ORDER, REPLACE, STATUS, frame, seal

from openoutcry.protocol.fix.dictionary import dictionary
from openoutcry.protocol.fix.enums import SessionRejectReason as Reason
from openoutcry.protocol.fix.message import Problem, parse, validate
from openoutcry.protocol.fix.versions import Version

FIX44 = dictionary(Version.FIX44)

REPORT = "37=O|17=E|150=0|39=0|54=1|151=1|14=0|6=0|"


def verdict(text: str) -> tuple[int | None, int] | None:
    problem = validate(parse(frame(text)), FIX44)
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
        (f"453=-1|{PARTY}", (453, Reason.VALUE_INCORRECT)),
        (f"453={'0' * 5000}1|{PARTY}", None),
        (f"453=1|{PARTY}453=1|{PARTY}", (453, Reason.TAG_REPEATED)),
        ("448=a|", (448, Reason.TAG_NOT_DEFINED_FOR_MESSAGE)),
    ],
)
def test_groups(group, expected):
    assert verdict(f"{NEW_ORDER}{group}") == expected


def test_a_group_in_the_header():
    hop = "627=1|628=x|629=20240808-12:34:56|630=5|"
    assert verdict(f"35=0|{hop}{HEADER}") is None
    assert verdict(f"35=c|{hop}{HEADER}320=x|321=3|") is None
    assert verdict(f"35=0|{hop.replace('=1', '=2', 1)}{HEADER}") == (
        627,
        Reason.WRONG_NUM_IN_GROUP,
    )


def test_a_problem_says_what_and_where_but_not_the_value():
    assert validate(parse(frame(f"35=A|{HEADER}98=0|108=30|554=|"))) == Problem(
        554, "A", Reason.NO_VALUE, "Tag specified without a value: Password(554)"
    )
    assert validate(parse(frame(f"35=D|{HEADER}4999=x|"))) == Problem(
        4999, "D", Reason.UNDEFINED_TAG, "Undefined tag: tag 4999"
    )
    assert validate(parse(frame("35=D|x=y|"))) == Problem(
        None, "D", Reason.INVALID_TAG_NUMBER, "Invalid tag number"
    )


@given(st.sampled_from(sorted(FIX44.messages)), st.binary(max_size=200))
def test_any_body_is_judged(msg_type, body):
    validate(parse(seal(b"35=" + msg_type.encode() + b"\x01" + body + b"\x01")))

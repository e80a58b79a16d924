"""The decode kernel: values, verdicts, and what it leaves to Python; always as the oracle says."""

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle.fix_decoder import Decoded, decode, utc_ms
from support.fix import (
    BODY,
    CANCEL,
    FACTS,
    HEADER,
    NEW_ORDER,
    REPLACE,
    STATUS,
    TABLES,
    frame,
    run_kernel,
)

from openoutcry.protocol.fix.dictionary import CustomField
from openoutcry.protocol.fix.enums import SessionRejectReason as Reason
from openoutcry.protocol.fix.layouts import ORDER, OTHER, REJECT
from openoutcry.protocol.fix.slots import FIRST_FIELD, ORDER_TYPES, Slot, decode_tables
from openoutcry.protocol.fix.versions import Version


def verdict(text: str) -> tuple[int, int, int]:
    """Return (status, ref_tag, reason), after a look at the oracle's."""
    data = frame(text)
    got = run_kernel(data)
    assert got == decode(data)
    assert got.frame_end == len(data)
    return got.status, got.values.get("ref_tag", -1), got.values.get("reject_reason", -1)


def rejected(ref_tag: int, reason: Reason) -> tuple[int, int, int]:
    return REJECT, ref_tag, reason


def test_a_new_order_is_decoded():
    assert run_kernel(frame(NEW_ORDER)) == Decoded(
        ORDER,
        len(frame(NEW_ORDER)),
        {
            "msg_type": ord("D"),
            "seq_num": 7,
            "sender_comp_id": b"CLIENT",
            "target_comp_id": b"VENUE",
            "cl_ord_id": b"A-1",
            "orig_cl_ord_id": b"",
            "symbol": b"BTCUSDT",
            "account": b"ACC",
            "order_id": b"",
            "sending_time_ms": 1723120496789,
            "transact_time_ms": 1723120496788,
            "side": 1,
            "ord_type": 2,
            "tif": 1,
            "has_price": 1,
            "has_qty": 1,
            "price": Decimal("60123.45"),
            "qty": Decimal(10),
        },
    )


@pytest.mark.parametrize("text", [NEW_ORDER, CANCEL, REPLACE, STATUS])
def test_orders_of_every_type_equal_the_oracle(text):
    assert verdict(text)[0] == ORDER


@pytest.mark.parametrize("text", [NEW_ORDER, CANCEL, REPLACE, STATUS])
def test_every_left_out_field_equals_the_oracle(text):
    fields = text.split("|")[:-1]
    for i in range(1, len(fields)):
        verdict("|".join(fields[:i] + fields[i + 1 :]) + "|")


@pytest.mark.parametrize("text", [NEW_ORDER, CANCEL, REPLACE, STATUS])
def test_every_emptied_field_is_named(text):
    fields = text.split("|")[:-1]
    for i in range(1, len(fields)):
        tag = fields[i].split("=")[0]
        emptied = "|".join([*fields[:i], f"{tag}=", *fields[i + 1 :]]) + "|"
        assert verdict(emptied) == (
            (OTHER, -1, -1) if tag == "34" else rejected(int(tag), Reason.NO_VALUE)
        )


@pytest.mark.parametrize("text", [NEW_ORDER, CANCEL, REPLACE, STATUS])
def test_every_repeated_field_is_named(text):
    fields = text.split("|")[:-1]
    for i in range(1, len(fields)):
        tag = int(fields[i].split("=")[0])
        assert verdict("|".join([*fields[: i + 1], *fields[i:]]) + "|") == rejected(
            tag, Reason.TAG_REPEATED
        )


@pytest.mark.parametrize("text", [NEW_ORDER, CANCEL, REPLACE, STATUS])
def test_every_field_that_is_moved_equals_the_oracle(text):
    fields = text.split("|")[1:-1]
    for i in range(len(fields)):
        for j in range(len(fields)):
            moved = fields[:i] + fields[i + 1 :]
            moved.insert(j, fields[i])
            verdict("|".join([text[:4], *moved]) + "|")


@pytest.mark.parametrize(
    ("text", "tag"),
    [
        (NEW_ORDER.replace("49=CLIENT|", ""), 49),
        (NEW_ORDER.replace("56=VENUE|", ""), 56),
        (NEW_ORDER.replace("52=20240808-12:34:56.789|", ""), 52),
        (NEW_ORDER.replace("11=A-1|", "").replace("55=BTCUSDT|", ""), 11),
        (NEW_ORDER.replace("55=BTCUSDT|", "").replace("54=1|", ""), 55),
        (NEW_ORDER.replace("54=1|", "").replace("60=20240808-12:34:56.788|", ""), 54),
        (NEW_ORDER.replace("60=20240808-12:34:56.788|", "").replace("38=10|", ""), 60),
        (NEW_ORDER.replace("40=2|", "").replace("38=10|", ""), 40),
        (NEW_ORDER.replace("38=10|", ""), 38),
        (CANCEL.replace("41=A-1|", ""), 41),
        (REPLACE.replace("38=5|", ""), 38),
        (STATUS.replace("11=A-1|", ""), 11),
    ],
)
def test_the_first_missing_field_is_named(text, tag):
    assert verdict(text) == rejected(tag, Reason.REQUIRED_TAG_MISSING)


def test_without_a_number_python_decides():
    assert verdict(NEW_ORDER.replace("34=7|", ""))[0] == OTHER
    for value in ("", "x", "-1", "1.0", " 1", "1" * 19):
        assert verdict(NEW_ORDER.replace("34=7|", f"34={value}|"))[0] == OTHER


def test_the_number_counts_wherever_it_stands():
    text = NEW_ORDER.replace("34=7|", "") + "34=99|"
    assert verdict(text) == rejected(34, Reason.TAG_OUT_OF_ORDER)
    assert run_kernel(frame(text)).values["seq_num"] == 99


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        # Undefined, or not for this message
        ("4999=x", rejected(4999, Reason.UNDEFINED_TAG)),
        ("957=x", rejected(957, Reason.UNDEFINED_TAG)),
        ("1023=x", rejected(1023, Reason.UNDEFINED_TAG)),
        ("1024=x", rejected(1024, Reason.UNDEFINED_TAG)),
        ("20=0", rejected(20, Reason.UNDEFINED_TAG)),
        ("37=x", rejected(37, Reason.TAG_NOT_DEFINED_FOR_MESSAGE)),
        ("41=x", rejected(41, Reason.TAG_NOT_DEFINED_FOR_MESSAGE)),
        ("448=x", rejected(448, Reason.TAG_NOT_DEFINED_FOR_MESSAGE)),
        # Users' own
        ("5000=x", (ORDER, -1, -1)),
        ("9999999=x", (ORDER, -1, -1)),
        ("5000=", rejected(5000, Reason.NO_VALUE)),
        ("5000=x|5000=x", (ORDER, -1, -1)),
        # No tag at all
        ("10000000=x", rejected(0, Reason.INVALID_TAG_NUMBER)),
        ("99999999999999999999=x", rejected(0, Reason.INVALID_TAG_NUMBER)),
        ("0=x", rejected(0, Reason.INVALID_TAG_NUMBER)),
        ("058=x", rejected(0, Reason.INVALID_TAG_NUMBER)),
        ("-58=x", rejected(0, Reason.INVALID_TAG_NUMBER)),
        ("5 8=x", rejected(0, Reason.INVALID_TAG_NUMBER)),
        ("58\x00=x", rejected(0, Reason.INVALID_TAG_NUMBER)),
        ("5\xb28=x", rejected(0, Reason.INVALID_TAG_NUMBER)),
        ("=x", rejected(0, Reason.INVALID_TAG_NUMBER)),
        ("=", rejected(0, Reason.INVALID_TAG_NUMBER)),
        ("ClOrdID=x", rejected(0, Reason.INVALID_TAG_NUMBER)),
        # SOH in a value
        ("58=a|b", rejected(58, Reason.SOH_IN_VALUE)),
        ("58=a||15=USD", rejected(58, Reason.SOH_IN_VALUE)),
        ("58", rejected(59, Reason.SOH_IN_VALUE)),
        ("", rejected(59, Reason.SOH_IN_VALUE)),
        ("=x|y", rejected(0, Reason.INVALID_TAG_NUMBER)),
        ("58=x|" * 2 + "y|z", rejected(58, Reason.TAG_REPEATED)),
        # Order of sections
        ("50=x", rejected(50, Reason.TAG_OUT_OF_ORDER)),
        ("8=FIX.4.4", rejected(8, Reason.TAG_OUT_OF_ORDER)),
        ("35=D", rejected(35, Reason.TAG_OUT_OF_ORDER)),
        ("10=000", rejected(10, Reason.TAG_OUT_OF_ORDER)),
        # Free text takes anything but SOH
        ("58=\x00\x02\xff=|15=USD|21=1|100=X|207=Y", (ORDER, -1, -1)),
        ("58= ", (ORDER, -1, -1)),
        ("58=10=123", (ORDER, -1, -1)),
        ("21=4", rejected(21, Reason.VALUE_INCORRECT)),
        ("21=11", rejected(21, Reason.INCORRECT_FORMAT)),
        # For Python
        ("453=1|448=x|447=D|452=1", (OTHER, -1, -1)),
        ("18=6", (OTHER, -1, -1)),
        ("110=5", (OTHER, -1, -1)),
        ("99=5", (OTHER, -1, -1)),
        ("354=3|355=a|b", (OTHER, -1, -1)),
        ("95=3|96=a|b", (OTHER, -1, -1)),
        ("43=Y", (OTHER, -1, -1)),
        ("93=3|89=a|b", (OTHER, -1, -1)),
    ],
)
def test_a_field_behind_a_new_order(field, expected):
    assert verdict(f"{NEW_ORDER}{field}|") == expected


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("50=me|57=you", (ORDER, -1, -1)),
        ("5001=x", (ORDER, -1, -1)),
        ("8=FIX.4.4", rejected(8, Reason.TAG_REPEATED)),
        ("9=5", rejected(9, Reason.TAG_REPEATED)),
        ("35=D", rejected(35, Reason.TAG_REPEATED)),
        ("x", rejected(35, Reason.SOH_IN_VALUE)),
        ("43=Y", (OTHER, -1, -1)),
        ("43=N", (OTHER, -1, -1)),
        ("97=Y", (OTHER, -1, -1)),
        ("115=x", (OTHER, -1, -1)),
        ("122=20240808-12:34:56", (OTHER, -1, -1)),
        ("369=5", (OTHER, -1, -1)),
        ("627=1|628=x", (OTHER, -1, -1)),
        ("347=UTF-8", (OTHER, -1, -1)),
        ("55=X", rejected(49, Reason.TAG_OUT_OF_ORDER)),
    ],
)
def test_a_field_at_the_head_of_a_new_order(field, expected):
    assert verdict(f"35=D|{field}|{HEADER}{BODY}") == expected


@pytest.mark.parametrize("msg_type", ["0", "A", "8", "E", "", "DD", "AE", "d", "\x00", "é"])
def test_other_types_are_for_python(msg_type):
    assert verdict(f"35={msg_type}|{HEADER}{BODY}")[0] == OTHER


@pytest.mark.parametrize(
    ("tag", "good", "bad"),
    [
        (54, "123456789ABCDEFG", "0HZa:\x00"),
        (40, "12346789DEGIJKLMP", "05ACF:@\xff"),
        (59, "01234567", "89A/\x7f"),
    ],
)
def test_characters(tag, good, bad):
    def with_value(value: str) -> str:
        return NEW_ORDER.replace(f"|{tag}={'1' if tag != 40 else '2'}|", f"|{tag}={value}|")

    for value in good:
        assert verdict(with_value(value))[0] == ORDER
    for value in bad:
        assert verdict(with_value(value)) == rejected(tag, Reason.VALUE_INCORRECT)
    for value in ("11", "Buy", "1 "):
        assert verdict(with_value(value)) == rejected(tag, Reason.INCORRECT_FORMAT)


def test_without_time_in_force_it_is_day():
    assert run_kernel(frame(NEW_ORDER.replace("59=1|", ""))).values["tif"] == 0


def test_a_limit_order_without_price_is_left_to_the_venue():
    assert run_kernel(frame(NEW_ORDER.replace("44=60123.45|", ""))).values["has_price"] == 0


DECIMALS = [
    ("0", ORDER),
    ("-0", ORDER),
    ("1.", ORDER),
    (".5", ORDER),
    ("-.5", ORDER),
    ("-12.30", ORDER),
    ("00023.23", ORDER),
    ("999999999999999999", ORDER),
    ("-999999999999999999", ORDER),
    ("0.000000000000000001", ORDER),
    ("0" * 50 + "1", ORDER),
    ("1000000000000000000", Reason.VALUE_INCORRECT),
    ("0.0000000000000000001", Reason.VALUE_INCORRECT),
    ("9" * 300, Reason.VALUE_INCORRECT),
    ("18446744073709551617", Reason.VALUE_INCORRECT),
    (".", Reason.INCORRECT_FORMAT),
    ("-", Reason.INCORRECT_FORMAT),
    ("-.", Reason.INCORRECT_FORMAT),
    ("+1", Reason.INCORRECT_FORMAT),
    ("--1", Reason.INCORRECT_FORMAT),
    ("1-", Reason.INCORRECT_FORMAT),
    ("1.2.3", Reason.INCORRECT_FORMAT),
    ("1e5", Reason.INCORRECT_FORMAT),
    ("1,5", Reason.INCORRECT_FORMAT),
    ("0x10", Reason.INCORRECT_FORMAT),
    (" 1", Reason.INCORRECT_FORMAT),
    ("1 ", Reason.INCORRECT_FORMAT),
    ("NaN", Reason.INCORRECT_FORMAT),
    ("inf", Reason.INCORRECT_FORMAT),
    ("1\x00", Reason.INCORRECT_FORMAT),
    ("\xb2", Reason.INCORRECT_FORMAT),
    ("1_000", Reason.INCORRECT_FORMAT),
    ("9" * 19 + "x", Reason.INCORRECT_FORMAT),
]


@pytest.mark.parametrize(("value", "expected"), DECIMALS)
def test_decimals(value, expected):
    for tag, old in ((44, "60123.45"), (38, "10")):
        got = verdict(NEW_ORDER.replace(f"|{tag}={old}|", f"|{tag}={value}|"))
        assert got == ((ORDER, -1, -1) if expected == ORDER else rejected(tag, expected))


TIMES = [
    ("20240808-12:34:56", True),
    ("20240808-12:34:56.7", False),
    ("20240808-12:34:56.789", True),
    ("20240808-12:34:56.789012", True),
    ("20240808-12:34:56.789012345", True),
    ("20240808-12:34:56.78901", False),
    ("20240808-12:34:56.7890123456", False),
    ("20240808-12:34:56.", False),
    ("20240808-12:34:56,789", False),
    ("20240808-12:34:56.78x", False),
    ("20240808-12:34:56.789x12", False),
    ("20240808-12:34:56.789-12", False),
    ("20240808-12:34:56.78901234x", False),
    ("20240808-12:34:56.-89", False),
    ("20240808 12:34:56", False),
    ("20240808-12.34.56", False),
    ("20240808-12:34-56", False),
    ("20240808-123456", False),
    ("2024-08-08T12:34:56", False),
    ("20240808", False),
    ("20240808-24:00:00", False),
    ("20240808-23:59:59.999", True),
    ("20240808-23:59:60", True),
    ("20240808-23:59:60.5", False),
    ("20240808-12:60:00", False),
    ("20240808-12:00:61", False),
    ("20240229-00:00:00", True),
    ("20230229-00:00:00", False),
    ("20240230-00:00:00", False),
    ("19000229-00:00:00", False),
    ("20000229-00:00:00", True),
    ("20240431-00:00:00", False),
    ("20240531-00:00:00", True),
    ("20241301-00:00:00", False),
    ("20240001-00:00:00", False),
    ("20240100-00:00:00", False),
    ("20240132-00:00:00", False),
    ("00000101-00:00:00", False),
    ("00010101-00:00:00", True),
    ("19691231-23:59:59.999", True),
    ("99991231-23:59:59", True),
    ("-0240808-12:34:56", False),
    ("2024080a-12:34:56", False),
    ("20240808-\x002:34:56", False),
]


@pytest.mark.parametrize(("value", "is_right"), TIMES)
def test_times(value, is_right):
    for tag, old in ((52, "20240808-12:34:56.789"), (60, "20240808-12:34:56.788")):
        got = verdict(NEW_ORDER.replace(f"|{tag}={old}|", f"|{tag}={value}|"))
        assert got == ((ORDER, -1, -1) if is_right else rejected(tag, Reason.INCORRECT_FORMAT))


@given(st.datetimes())
def test_every_moment_equals_datetime(moment):
    text = f"{moment.year:04}{moment:%m%d-%H:%M:%S}.{moment.microsecond // 1000:03}"
    got = run_kernel(frame(NEW_ORDER.replace("20240808-12:34:56.788", text)))
    assert got.values["transact_time_ms"] == utc_ms(text.encode())


@pytest.mark.parametrize(
    ("value", "is_right"),
    [
        ("A", True),
        ("A" * 36, True),
        ("A" * 37, False),
        ("A" * 3000, False),
        ("!~", True),
        ("A B", False),
        (" ", False),
        ("A\x7f", False),
        ("A\x00", False),
        ("\x1f", False),
        ("é", False),
        ("A" * 35 + "\x80", False),
        ("=", True),
    ],
)
def test_identifiers(value, is_right):
    for tag, old in ((11, "A-2"), (41, "A-1")):
        got = verdict(REPLACE.replace(f"|{tag}={old}|", f"|{tag}={value}|"))
        assert got == ((ORDER, -1, -1) if is_right else rejected(tag, Reason.VALUE_INCORRECT))


def test_every_byte_at_every_place_of_an_identifier():
    for length in (1, 7, 8, 9, 36):
        for place in range(length):
            for char in (0x00, 0x02, 0x1F, 0x20, 0x21, 0x7E, 0x7F, 0x80, 0xA1, 0xFF):
                value = "x" * place + chr(char) + "x" * (length - place - 1)
                expected = ORDER if 0x21 <= char <= 0x7E else REJECT
                assert verdict(NEW_ORDER.replace("11=A-1", f"11={value}"))[0] == expected


@pytest.mark.parametrize("text", [NEW_ORDER, CANCEL, REPLACE, STATUS])
def test_every_tag_behind_every_order_equals_the_oracle(text):
    for tag in [*range(1, 1100), 4999, 5000]:
        verdict(f"{text}{tag}=1|")


# -- versions


CANCEL_40 = f"35=F|{HEADER}41=A-1|11=A-2|125=F|55=BTCUSDT|54=1|38=5|"
NEW_40 = f"35=D|{HEADER}11=A-1|1=ACC|21=1|55=BTCUSDT|54=1|38=10|40=2|44=60123.45|59=1|"
NEW_42 = NEW_ORDER + "21=1|"
REPLACE_40 = f"35=G|{HEADER}37=O|41=A-1|11=A-2|21=1|55=BTCUSDT|54=1|38=5|40=2|44=1.5|"
REPLACE_42 = REPLACE + "21=1|"
PLAIN = {
    Version.FIX40: (NEW_40, CANCEL_40, REPLACE_40, STATUS),
    Version.FIX41: (NEW_40, CANCEL_40.replace("125=F|", ""), REPLACE_40, STATUS),
    Version.FIX42: (NEW_42, CANCEL, REPLACE_42, STATUS),
    Version.FIX43: (NEW_42, CANCEL, REPLACE_42, STATUS),
    Version.FIX44: (NEW_ORDER, CANCEL, REPLACE, STATUS),
    Version.FIX50: (NEW_ORDER, CANCEL, REPLACE, STATUS),
    Version.FIX50SP1: (NEW_ORDER, CANCEL, REPLACE, STATUS),
    Version.FIX50SP2: (NEW_ORDER, CANCEL, REPLACE, STATUS),
}


def verdict_of(text: str, profile: int) -> tuple[int, int, int]:
    """Return the same as `verdict`, by a profile."""
    facts = FACTS[profile]
    data = frame(text, facts.version.begin_string)
    got = run_kernel(data, profile=profile)
    assert got == decode(data, facts=facts)
    return got.status, got.values.get("ref_tag", -1), got.values.get("reject_reason", -1)


@pytest.mark.parametrize("profile", range(2 * len(Version)))
def test_plain_orders_of_every_version_are_orders(profile):
    for text in PLAIN[FACTS[profile].version]:
        assert verdict_of(text, profile)[0] == ORDER


@pytest.mark.parametrize("profile", range(len(FACTS)))
def test_every_left_out_emptied_or_repeated_field_in_every_version(profile):
    for text in PLAIN[FACTS[profile].version]:
        fields = text.split("|")[:-1]
        for i in range(1, len(fields)):
            tag = fields[i].partition("=")[0]
            for middle in ([], [f"{tag}="], [f"{tag}=", fields[i]], [fields[i], fields[i]]):
                verdict_of("|".join([*fields[:i], *middle, *fields[i + 1 :]]) + "|", profile)


@pytest.mark.parametrize("profile", range(len(FACTS)))
def test_every_tag_behind_orders_of_every_version(profile):
    new_order, cancel, _, status = PLAIN[FACTS[profile].version]
    tags = [*range(1, 3000, 7), 4999, 5000, 5001, 5002, 6000, 40003, 40004, 43111, 43112, 50003]
    for tag in [*range(1, 160), *tags]:
        for text in (new_order, cancel, status):
            verdict_of(f"{text}{tag}=1|", profile)


@pytest.mark.parametrize("begin", ["FIX.4.0", "FIX.4.4", "FIX.4.5", "FIX.5.0", "FIXT.1.1", "FIX.4"])
def test_only_frames_of_the_profiles_begin_are_decoded(begin):
    for profile, facts in enumerate(FACTS[: len(Version)]):
        data = frame(PLAIN[facts.version][0], begin)
        got = run_kernel(data, profile=profile)
        assert got == decode(data, facts=facts)
        assert (got.status == ORDER) == (begin == facts.version.begin_string)


@pytest.mark.parametrize("version", Version)
def test_before_the_logon_nothing_is_decoded(version):
    data = frame(PLAIN[version][0], version.begin_string)
    got = run_kernel(data, profile=-1)
    assert got == decode(data, facts=None) == Decoded(OTHER, len(data))


@pytest.mark.parametrize(
    ("version", "text", "expected"),
    [
        # Whole numbers of shares
        (Version.FIX41, NEW_40.replace("38=10|", "38=1.5|"), rejected(38, Reason.INCORRECT_FORMAT)),
        (Version.FIX40, NEW_40.replace("38=10|", "38=10.|"), rejected(38, Reason.INCORRECT_FORMAT)),
        (Version.FIX40, NEW_40.replace("38=10|", "38=-10|"), (ORDER, -1, -1)),
        (Version.FIX42, NEW_42.replace("38=10|", "38=1.5|"), (ORDER, -1, -1)),
        # CHAR was text: a wrong length is a wrong value.
        (Version.FIX41, NEW_40.replace("54=1|", "54=11|"), rejected(54, Reason.VALUE_INCORRECT)),
        (Version.FIX42, NEW_42.replace("54=1|", "54=11|"), rejected(54, Reason.INCORRECT_FORMAT)),
        # Codes of the version
        (Version.FIX40, NEW_40.replace("54=1|", "54=7|"), rejected(54, Reason.VALUE_INCORRECT)),
        (Version.FIX41, NEW_40.replace("54=1|", "54=7|"), (ORDER, -1, -1)),
        (Version.FIX44, NEW_ORDER.replace("40=2|", "40=5|"), rejected(40, Reason.VALUE_INCORRECT)),
        (Version.FIX50, NEW_ORDER.replace("40=2|", "40=5|"), (ORDER, -1, -1)),
        (Version.FIX50, NEW_ORDER.replace("59=1|", "59=8|"), rejected(59, Reason.VALUE_INCORRECT)),
        (Version.FIX50SP1, NEW_ORDER.replace("59=1|", "59=8|"), (ORDER, -1, -1)),
        # A cancel of a part is for Python.
        (Version.FIX40, CANCEL_40.replace("125=F", "125=P"), (OTHER, -1, -1)),
        (Version.FIX40, CANCEL_40.replace("125=F|", "125=|"), rejected(125, Reason.NO_VALUE)),
        (
            Version.FIX40,
            CANCEL_40.replace("125=F|", ""),
            rejected(125, Reason.REQUIRED_TAG_MISSING),
        ),
        # Without identifiers that newer versions do not ask for
        (Version.FIX50, CANCEL.replace("41=A-1|", ""), rejected(41, Reason.REQUIRED_TAG_MISSING)),
        (Version.FIX50SP1, CANCEL.replace("41=A-1|", "37=O|"), (OTHER, -1, -1)),
        (Version.FIX50SP2, STATUS.replace("11=A-1|", "37=O|"), (OTHER, -1, -1)),
        # The application's version of one message
        (Version.FIX50SP2, NEW_ORDER.replace("49=", "1128=9|49=", 1), (OTHER, -1, -1)),
        (Version.FIX44, f"{NEW_ORDER}1128=9|", rejected(1128, Reason.UNDEFINED_TAG)),
        # Tags from 5000 on that FIX defines
        (Version.FIX50SP2, f"{NEW_ORDER}50000=1|", (OTHER, -1, -1)),
        (Version.FIX50SP2, f"{NEW_ORDER}50003=1|", (ORDER, -1, -1)),
        (Version.FIX44, f"{NEW_ORDER}50000=1|", (ORDER, -1, -1)),
        # Lengths of data, whoever defines them
        (Version.FIX44, f"{NEW_ORDER}40004=1|", (OTHER, -1, -1)),
        (Version.FIX40, f"{NEW_40}354=1|355=x|", (OTHER, -1, -1)),
    ],
)
def test_what_versions_differ_in(version, text, expected):
    assert verdict_of(text, version) == expected


LENIENT = len(Version) + Version.FIX44
CUSTOM = 2 * len(Version)


@pytest.mark.parametrize(
    ("profile", "field", "expected"),
    [
        (LENIENT, "4999=x|4999=", (ORDER, -1, -1)),
        (LENIENT, "41=x|448=y", (ORDER, -1, -1)),
        (LENIENT, "50=x", (ORDER, -1, -1)),
        (LENIENT, "50=x|50=y", rejected(50, Reason.TAG_REPEATED)),
        (LENIENT, "5000=|58=|58=|58=x", (ORDER, -1, -1)),
        (LENIENT, "35=D", rejected(35, Reason.TAG_REPEATED)),
        (LENIENT, "35=|8=", (ORDER, -1, -1)),
        (LENIENT, "10=", rejected(10, Reason.TAG_OUT_OF_ORDER)),
        (LENIENT, "453=1|448=x", (OTHER, -1, -1)),
        (LENIENT, "21=9", rejected(21, Reason.VALUE_INCORRECT)),
        (CUSTOM, "5001=x", (OTHER, -1, -1)),
        (CUSTOM, "1724=5", (OTHER, -1, -1)),
        (CUSTOM, "5000=x", (ORDER, -1, -1)),
        (CUSTOM, "4999=x", rejected(4999, Reason.UNDEFINED_TAG)),
        (CUSTOM, "58=long", (OTHER, -1, -1)),
    ],
)
def test_lenient_and_custom_profiles(profile, field, expected):
    assert verdict_of(f"{NEW_ORDER}{field}|", profile) == expected


def test_a_custom_field_is_never_read_by_the_kernel():
    custom = [CustomField(tag, "Mine") for tag in (54, 44, 1, 9999)]
    slots = decode_tables([FACTS[Version.FIX44].with_fields(custom)])[0]["slots"][0]
    assert [slots[tag] for tag in (54, 44, 1)] == [Slot.UNUSUAL] * 3
    assert slots[40] == Slot.ORD_TYPE


def test_codes_that_the_kernel_cannot_hold():
    facts = FACTS[Version.FIX44]
    for code in (b"AB", b"!", b"\x7f"):
        odd = replace(facts, enumerations={**facts.enumerations, 54: frozenset({code})})
        with pytest.raises(ValueError, match=r"FIX.4.4: code .* of Side\(54\)"):
            decode_tables([odd])


def test_every_slot_is_used():
    strict = TABLES["slots"][: len(Version)]
    assert set(strict.flatten().tolist()) == {int(slot) for slot in Slot} - {Slot.USER_DEFINED}
    assert strict.shape[1] == len(ORDER_TYPES)
    assert max(Slot) < 63
    assert min(slot for slot in Slot if slot >= FIRST_FIELD) == FIRST_FIELD


def test_of_several_faults_the_first_field_counts():
    text = f"35=D|{HEADER}54=9|44=x|38=y|21=9|"
    assert verdict(text) == rejected(44, Reason.INCORRECT_FORMAT)


def test_something_for_python_counts_before_a_fault():
    assert verdict(f"35=D|43=Y|{HEADER}{BODY}44=x|")[0] == OTHER
    assert verdict(f"35=D|{HEADER}44=x|{BODY}18=6|")[0] == OTHER


@pytest.mark.parametrize("before", range(0, 130, 7))
def test_an_order_may_lie_anywhere_in_the_buffer(before):
    assert run_kernel(frame(NEW_ORDER), before=before) == decode(frame(NEW_ORDER))


def test_a_large_frame_is_decoded():
    data = frame(f"{NEW_ORDER}58={'x' * 60_000}|")
    assert run_kernel(data, max_bytes=70_000) == decode(data, 70_000)


def test_a_frame_of_nothing_but_separators():
    verdict("35=D|" + "|" * 200)
    verdict("35=D|" + "=|" * 200)
    verdict("35=D|" + "34=5|" * 200)

"""Messages in Python: parse, encode, and simplefix as an independent peer."""

import pytest
import simplefix
from hypothesis import given
from hypothesis import strategies as st
from support.fix import NEW_ORDER, frame, seal, to_bytes, with_sum

from openoutcry.protocol.errors import GarbledMessage, ProtocolError
from openoutcry.protocol.fix.dictionary import DATA_TAGS
from openoutcry.protocol.fix.message import Message, encode_message, parse
from openoutcry.protocol.fix.tags import INVALID_TAG, NO_TAG

GOOD = frame(NEW_ORDER)

_VALUES = st.binary(min_size=1, max_size=20).filter(lambda value: b"\x01" not in value)
#: Not the lengths of data fields: what follows depends on them, and simplefix believes any.
_LENGTHS = DATA_TAGS.keys() | set(simplefix.FixParser().raw_len_tags)
_TAGS = st.integers(5000, 9999999).filter(lambda tag: tag not in _LENGTHS)
_FIELDS = st.lists(st.tuples(_TAGS, _VALUES), max_size=10)


def test_a_message_gives_its_fields_in_order():
    message = parse(GOOD)
    assert message.msg_type == "D"
    assert message.seq_num == 7
    assert message.frame == GOOD
    assert [tag for tag, _ in message.fields[:5]] == [8, 9, 35, 49, 56]
    assert message.fields[-1] == (10, GOOD[-4:-1])
    assert message.get(55) == b"BTCUSDT"
    assert message.get(99) is None


def test_of_repeated_fields_the_first_counts():
    assert parse(frame("35=D|58=a|58=b|")).get(58) == b"a"


@pytest.mark.parametrize("value", ["", "x", "-1", "1.5", " 1", "\xb2", "9" * 19])
def test_a_bad_number_is_none(value):
    assert parse(frame(f"35=D|34={value}|")).seq_num is None
    assert parse(frame("35=D|")).seq_num is None


def test_a_long_number_is_a_number():
    assert parse(frame(f"35=D|34=00{'9' * 16}|")).seq_num == 10**16 - 1


@pytest.mark.parametrize("cut", range(len(GOOD)))
def test_a_cut_frame_is_garbled(cut):
    with pytest.raises(GarbledMessage):
        parse(GOOD[:cut])


@pytest.mark.parametrize("spoiled", range(len(GOOD)))
def test_a_spoiled_byte_is_garbled(spoiled):
    with pytest.raises(GarbledMessage):
        parse(GOOD[:spoiled] + bytes([GOOD[spoiled] ^ 0x04]) + GOOD[spoiled + 1 :])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        GOOD + b"\x01",
        GOOD + GOOD,
        b"\x01" + GOOD,
        with_sum("8=FIX.4.4|9=5|34=0|"),
        with_sum("8=FIX.4.4|9=4|35=0|"),
        with_sum("8=FIX.4.4|9=6|35=0|"),
        with_sum("8=FIX.4.4|35=0|9=5|"),
        with_sum("9=5|8=FIX.4.4|35=0|"),
        with_sum("8=FIX.4.4|9=0000000005|35=0|"),
        with_sum("8=XIF.4.4|9=5|35=0|"),
        to_bytes("8=FIX.4.4|9=5|35=0|10=1|"),
        to_bytes("8=FIX.4.4|9=5|35=0|10=0161|"),
        to_bytes("8=FIX.4.4|9=5|35=0|11=161|"),
    ],
)
def test_what_is_no_frame_is_garbled(data):
    with pytest.raises(ProtocolError):
        parse(data)


def test_broken_fields_keep_their_text():
    message = parse(frame("35=D|abc||=x|07=y|12345678=z|58=|"))
    assert message.fields[3:-1] == [
        (NO_TAG, b"abc"),
        (NO_TAG, b""),
        (INVALID_TAG, b"=x"),
        (INVALID_TAG, b"07=y"),
        (INVALID_TAG, b"12345678=z"),
        (58, b""),
    ]


def test_data_may_contain_soh():
    message = parse(frame("35=A|95=5|96=a|b=c|98=0|"))
    assert message.fields[3:-1] == [(95, b"5"), (96, b"a\x01b=c"), (98, b"0")]


@pytest.mark.parametrize("length", ["4", "6", "99999", "x", "", "-5", "9" * 5000])
def test_a_length_that_does_not_fit_its_data_is_not_believed(length):
    message = parse(frame(f"35=A|95={length}|96=a|b=c|98=0|"))
    assert message.fields[4:-1] == [(96, b"a"), (INVALID_TAG, b"b=c"), (98, b"0")]


def test_a_length_without_its_data_is_not_believed():
    assert parse(frame("35=A|95=3|58=abc|")).fields[3:-1] == [(95, b"3"), (58, b"abc")]


def test_messages_with_the_same_fields_are_equal():
    assert parse(GOOD) == parse(GOOD)
    assert parse(GOOD) == Message("D", parse(GOOD).fields, GOOD)


def test_values_are_encoded_as_bytes_text_or_numbers():
    encoded = encode_message("FIX.4.4", [(35, "D"), (34, 7), (58, b"\xff"), (100, "é")])
    assert encoded == frame("35=D|34=7|58=\xff|100=\xe9|")


@given(_FIELDS)
def test_encoded_messages_parse_to_the_same_fields(fields):
    data = encode_message("FIX.4.4", [(35, "0"), *fields])
    message = parse(data)
    assert message.fields[3:-1] == fields
    assert seal(data[data.index(b"35=") : -7]) == data


@given(_FIELDS)
def test_encoding_and_parsing_equal_simplefix(fields):
    peer = simplefix.FixMessage()
    peer.append_pair(8, b"FIX.4.4")
    peer.append_pair(35, b"D")
    for tag, value in fields:
        peer.append_pair(tag, value)
    data = peer.encode()
    assert encode_message("FIX.4.4", [(35, "D"), *fields]) == data
    parser = simplefix.FixParser()
    parser.append_buffer(data)
    assert [(int(tag), value) for tag, value in parser.get_message().pairs] == parse(data).fields


@given(st.binary(max_size=300))
def test_any_body_is_parsed(body):
    data = seal(b"35=" + body + b"\x01")
    message = parse(data)
    assert message.msg_type == body.split(b"\x01")[0].decode("latin-1")
    assert encode_message("FIX.4.4", message.fields[2:-1]) == data or any(
        tag <= 0 for tag, _ in message.fields
    )

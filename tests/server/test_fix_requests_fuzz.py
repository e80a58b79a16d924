"""Any application message that is good FIX gets an answer that is, or goes to a shard."""

from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from support.fix_desk import TIME, Desk, number_of

from openoutcry.engine.enums import CommandKind
from openoutcry.protocol.fix.definitions import FieldType
from openoutcry.protocol.fix.dictionary import Dictionary, dictionary
from openoutcry.protocol.fix.message import validate
from openoutcry.protocol.fix.versions import Version
from openoutcry.server.fix_requests import SERVED_TYPES

_TEXT = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=80)
_VALUES = {
    FieldType.STRING: _TEXT,
    FieldType.CHAR: st.characters(min_codepoint=33, max_codepoint=126),
    FieldType.BOOLEAN: st.sampled_from("YN"),
    FieldType.INT: st.integers(-(10**9), 10**18 - 1).map(str),
    FieldType.NATURAL: st.integers(0, 10**18 - 1).map(str),
    FieldType.DECIMAL: st.decimals(-(10**9), 10**9, places=3).map(lambda number: f"{number:f}"),
    FieldType.UTC_TIMESTAMP: st.just(TIME),
    FieldType.DATE: st.just("20240808"),
}
_KNOWN = {
    11: st.from_regex(r"[A-Z]-[0-9]{1,9}", fullmatch=True),
    41: st.just("A-1"),
    55: st.sampled_from(["PARTS", "WHOLE", "NOPE"]),
    1: st.sampled_from(["ACC", "X"]),
    37: st.sampled_from(["O1-1", "O0-99999999", "NOT-OURS"]),
    38: st.sampled_from(["1", "10", "0.0015", "999999999999999999"]),
    44: st.sampled_from(["10.05", "10.01", "-1", "999999999999999999"]),
    128: st.sampled_from(["OPENOUTCRY", "ELSEWHERE"]),
}
_ROUTE = (115, 116, 128, 144)


def value(facts: Dictionary, tag: int) -> Any:
    """Return a strategy for a field, None where there is none."""
    if tag in _KNOWN:
        return _KNOWN[tag]
    if tag in facts.enumerations:
        return st.sampled_from(sorted(facts.enumerations[tag])).map(bytes.decode)
    return _VALUES.get(facts.types[tag])


def body(data: Any, facts: Dictionary, msg_type: str) -> str:
    definition = facts.messages[msg_type]
    lengths = {*facts.data_tags, *facts.data_tags.values()}
    free = sorted(definition.allowed - set(definition.groups) - lengths)
    needed = {11, 55, 41, 38, 320, 321, 559, 584, 585, 530} & definition.allowed
    chosen = (
        needed
        | set(definition.required)
        | set(data.draw(st.lists(st.sampled_from(free), max_size=6)))
    )
    # What the rules between fields forbid to be left out, or to be there at will.
    if not data.draw(st.booleans()):
        chosen -= {11, 55, 41, 38} - set(definition.required)
    text = "".join(
        f"{tag}={data.draw(value(facts, tag))}|"
        for tag in _ROUTE
        if tag in facts.header_tags and data.draw(st.booleans())
    )
    for tag in sorted(chosen):
        strategy = value(facts, tag)
        if strategy is not None:
            text += f"{tag}={data.draw(strategy)}|"
    return text.replace("\x01", "")


@pytest.mark.parametrize("version", Version, ids=lambda version: version.label)
@settings(
    max_examples=120,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much],
)
@given(data=st.data())
def test_a_good_message_is_answered_in_good_fix_or_goes_to_a_shard(
    desk: Desk, version: Version, data: Any
):
    facts = dictionary(version)
    msg_type = data.draw(st.sampled_from(sorted(SERVED_TYPES & facts.msg_types)))
    session = desk.session(version)
    desk.forget()
    row = desk.gateway.index.rows[session.number]
    before = int(row["next_out"])
    message = desk.frame(session, f"35={msg_type}|{body(data, facts, msg_type)}")
    assume(validate(message, facts) is None)
    desk.orders.take_fix(session, message)
    commands = desk.commands()
    if int(row["next_out"]) == before:
        assert commands
    if version >= Version.FIX42 or int(row["next_out"]) == before:
        desk.answers(session)
    for _, command in commands:
        assert command["session"] == session.number
        assert command["inbound_seq"] == message.seq_num
        assert CommandKind(command["kind"])
    for name in ("COPY42", "COPY44", "COPYSP2"):
        desk.answers(desk.gateway.fix.by_number[number_of(desk, name)])
    # Nothing here answers: the request is not to fill up what a session may ask.
    desk.orders._fix._mass._pending.clear()
    row["python_statuses"] = 0

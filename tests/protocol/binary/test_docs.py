"""docs/binary.md says what the code does: tables, numbers and example frames."""

import json
import re
from enum import IntEnum
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from support.binary import buffer, order_message, report_message

from openoutcry.protocol.binary import enums, messages
from openoutcry.protocol.binary.client_codec import decode_report
from openoutcry.protocol.binary.decode import decode_message
from openoutcry.protocol.binary.frames import encode_frame
from openoutcry.protocol.binary.layouts import ORDER, ORDER_FIELDS, REPORT, REPORT_VALUES
from openoutcry.protocol.binary.messages import decode_client_message, decode_server_message

PAGE = (Path(__file__).parents[3] / "docs" / "binary.md").read_text()

MESSAGES: list[type[Any]] = [
    messages.Logon,
    messages.NewOrder,
    messages.Cancel,
    messages.Replace,
    messages.Status,
    messages.Heartbeat,
    messages.Logout,
    messages.LogonAccepted,
    messages.SymbolDefinition,
    messages.ExecutionReport,
    messages.Reject,
]
FROM_CLIENT = MESSAGES[:7]
ENUMS: list[type[IntEnum]] = [
    enums.Side,
    enums.OrderType,
    enums.TimeInForce,
    enums.ReportKind,
    enums.OrderStatus,
    enums.Liquidity,
    enums.LogoutReason,
]
FRAMES = re.findall(r"^```frame\n(\w+) (\[.*\])\n([0-9a-f \n]+)```$", PAGE, re.MULTILINE)


def section(title: str) -> str:
    found = re.search(rf"^(#+) {title}\n(.*?)(?=^#|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, f"no section {title}"
    return found[2]


def rows(title: str) -> list[list[str]]:
    """Return the cells of a section's first table, less its head."""
    lines = re.search(r"(?:^\|.*\n)+", section(title), re.MULTILINE)
    assert lines, f"no table in {title}"
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in
             lines[0].splitlines()]  # fmt: skip
    return table[2:]


@pytest.mark.parametrize("kind", MESSAGES, ids=lambda kind: kind.__name__)
def test_a_messages_table_lists_its_fields_in_order(kind: type[msgspec.Struct]) -> None:
    table = rows(kind.__name__)
    assert [row[0] for row in table] == [str(i) for i in range(len(table))]
    assert [row[1] for row in table] == ["type", *kind.__struct_fields__]
    assert table[0][3] == str(kind.__struct_config__.tag)
    defaults = [row[1] for row in table if "default" in row[3]]
    assert len(defaults) == len(kind.__struct_defaults__)
    assert defaults == [row[1] for row in table[len(table) - len(defaults) :]]


@pytest.mark.parametrize("enum", ENUMS, ids=lambda enum: enum.__name__)
def test_an_enumerations_table_lists_its_numbers(enum: type[IntEnum]) -> None:
    assert [(int(row[0]), row[1]) for row in rows(enum.__name__)] == [
        (int(member), member.name) for member in enum
    ]


def test_the_table_of_reject_reasons_is_complete() -> None:
    assert [(int(row[0]), row[1]) for row in rows("Reject reasons")] == [
        (int(reason), reason.name) for reason in enums.RejectReason
    ]


def test_every_message_has_an_example() -> None:
    assert {name for name, _, _ in FRAMES} == {kind.__name__ for kind in MESSAGES}
    assert PAGE.count("```frame") == len(FRAMES)


@pytest.mark.parametrize(("name", "elements", "frame"), FRAMES)
def test_an_example_is_what_the_code_sends_and_reads(name: str, elements: str, frame: str) -> None:
    data = bytes.fromhex(frame)
    kind = getattr(messages, name)
    from_client = kind in FROM_CLIENT
    message: Any = (decode_client_message if from_client else decode_server_message)(data[4:])
    assert type(message) is kind
    assert msgspec.to_builtins(message) == json.loads(elements)
    assert encode_frame(message) == data
    # The kernels read the same.
    array = buffer(data)
    if isinstance(message, messages.ExecutionReport | messages.Reject):
        values = np.zeros(1, REPORT_VALUES)
        assert decode_report(array, 0, len(data), 4096, values, 0) == REPORT
        assert report_message(values, array) == message
    elif hasattr(message, "seq"):
        fields = np.zeros(1, ORDER_FIELDS)
        assert decode_message(array, 0, len(data), 4096, fields, 0) == ORDER
        assert order_message(fields) == message


def test_numbers_in_the_text() -> None:
    assert f"version {enums.VERSION}" in PAGE.splitlines()[0]
    assert f"must take up to {enums.MAX_PAYLOAD_BYTES} bytes" in PAGE
    assert f"1 to {enums.CL_ORD_ID_MAX} printable" in PAGE
    assert f"up to {enums.ACCOUNT_MAX} printable" in PAGE


def test_links_within_the_page_lead_somewhere() -> None:
    heads = re.findall(r"^#+ (.*)$", PAGE, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}
    assert set(re.findall(r"\]\(#([^)]*)\)", PAGE)) <= anchors

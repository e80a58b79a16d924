"""`openoutcry fix-log`: what it finds in captures and logs, and how it shows it."""

import json
import threading
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from openoutcry.clients.fix_log import LogEntry, LogReader
from openoutcry.clients.fix_log_command import fix_log, follow
from openoutcry.clients.fix_log_view import View, text
from openoutcry.protocol.fix.message import encode_message

SEPARATORS = ["\x01", "|", "^A", "<SOH>", "\\x01"]


def message(body: str, begin: str = "FIX.4.4", at: str = "20260102-10:00:00.000") -> bytes:
    """Frame `35=…|…`; 34, 49, 52 and 56 are put behind MsgType unless they are there."""
    fields = [(int(tag), value) for tag, _, value in (f.partition("=") for f in body.split("|"))]
    tags = {tag for tag, _ in fields}
    header = [(49, "ME"), (56, "VENUE"), (34, "2"), (52, at)]
    rest = [field for field in header if field[0] not in tags]
    return encode_message(begin, [*fields[:1], *rest, *fields[1:]])


ORDER = message("35=D|11=a|55=MSFT|54=1|60=20260102-10:00:00|38=5|40=2|44=7")
REPORT = message(
    "35=8|49=VENUE|56=ME|37=O1|17=E1|150=F|39=1|11=a|55=MSFT|54=1|38=5|32=2|31=7|14=2|151=3|6=7",
    at="20260102-10:00:01.000",
)
REPLACE = message("35=G|41=a|11=b|55=MSFT|54=1|60=20260102-10:00:02|38=6|40=2|44=8|34=3")
REPLACED = message("35=8|49=VENUE|56=ME|37=O1|17=E2|150=5|39=1|41=a|11=b|55=MSFT|54=1|151=4|14=2")
CANCEL = message("35=F|41=b|11=c|55=MSFT|54=1|60=20260102-10:00:03|34=4")
OTHER = message("35=D|49=YOU|11=a|55=AAPL|54=2|60=20260102-10:00:00|38=5|40=1")
LOGON = message("35=A|98=0|108=30|553=me|554=hunter2|925=hunter3", at="20260102-09:59:59")
HEARTBEAT = message("35=0|34=9")
ALL = [LOGON, ORDER, REPORT, OTHER, REPLACE, REPLACED, CANCEL, HEARTBEAT]


def run(data: bytes, *options: str, status: int = 0) -> str:
    result: Result = CliRunner().invoke(fix_log, list(options), input=data)
    assert result.exit_code == status, (result.output, result.exception)
    return result.output


def entries(data: bytes, step: int = 1 << 20) -> list[LogEntry]:
    reader = LogReader()
    found: list[LogEntry] = []
    for start in range(0, len(data), step):
        found += reader.feed(data[start : start + step])
    return found + list(reader.end())


def names(output: str) -> list[str]:
    return [line.split()[2] for line in output.splitlines()]


def test_a_stream_of_messages():
    found = entries(b"".join(ALL))
    assert [entry.get(35) for entry in found] == [b"A", b"D", b"8", b"D", b"G", b"8", b"F", b"0"]
    assert [entry.faults for entry in found] == [[]] * 8
    assert found[1].frame == ORDER


@pytest.mark.parametrize("separator", SEPARATORS)
@pytest.mark.parametrize("step", [1, 7, 1 << 20])
def test_logs_with_other_separators_and_prefixes(separator: str, step: int):
    lines = [
        f"2026-01-02 10:00:00,{number:03} INFO [session] {'->' if number % 2 else '<-'} : "
        + each.decode().replace("\x01", separator)
        for number, each in enumerate(ALL)
    ]
    log = "started\n" + "\nnothing to see = here\n".join(lines) + "\nthe end\n"
    found = entries(log.encode(), step)
    assert [entry.get(35) for entry in found] == [b"A", b"D", b"8", b"D", b"G", b"8", b"F", b"0"]
    assert [entry.faults for entry in found] == [[]] * 8
    assert [entry.direction for entry in found] == ["in", "out"] * 4
    assert [entry.time.microsecond if entry.time else 0 for entry in found] == [
        1000 * number for number in range(8)
    ]


@pytest.mark.parametrize(
    ("prefix", "direction"),
    [
        (b"20260102-10:00:00 < ", "in"),
        (b"10:00:00.000 incoming: ", "in"),
        (b"<20260102-10:00:00, FIX.4.4:A->B, outgoing>\n  (", ""),
        (b"[OUT] ", "out"),
        (b"Received ", "in"),
        (b"sent: ", "out"),
        (b"binding ", ""),
        (b"", ""),
    ],
)
def test_the_direction_is_what_the_prefix_says(prefix: bytes, direction: str):
    assert [entry.direction for entry in entries(prefix + ORDER)] == [direction]


def test_a_data_field_may_have_any_byte():
    raw = "x\x0110=000\x018=FIX"
    odd = encode_message(
        "FIX.4.4", [(35, "B"), (49, "A"), (56, "B"), (34, 1), (95, len(raw)), (96, raw), (148, "h")]
    )
    found = entries(odd + ORDER)
    assert [entry.get(96) for entry in found] == [raw.encode(), b""]
    assert [entry.faults for entry in found] == [[], []]


def test_a_value_may_have_a_bar_where_bars_part_fields():
    framed = encode_message("FIX.4.4", [(35, "j"), (58, "one|two"), (45, 1)])
    (entry,) = entries(framed.replace(b"\x01", b"|") + b"\n")
    assert entry.get(58) == b"one|two"
    assert entry.faults == []


def test_garbled_messages_are_shown_as_such():
    wrong_sum = ORDER[:-4] + b"000\x01"
    wrong_length = ORDER.replace(b"\x019=", b"\x019=1", 1)
    cut = ORDER[:40]
    for data in (wrong_sum, wrong_length):
        first, second = entries(data + REPORT)
        assert any("CheckSum(10)" in fault for fault in first.faults), first
        assert second.faults == []
    first, second = entries(cut + REPORT)
    assert first.is_garbled
    assert second.frame == REPORT
    assert "garbled" in run(cut)
    assert [entry.is_garbled for entry in entries(b"35=D\x0149=A\x0110=000\x01\n" + ORDER)] == [
        True,
        False,
    ]


def test_what_a_message_log_has_not_is_shown():
    note = b"20260102-10:00:00.000000 # not logged: 3 chunks, 700 bytes; the queue was full\n"
    hole, order = entries(note + ORDER)
    assert hole.faults == ["not logged: 3 chunks, 700 bytes; the queue was full"]
    assert order.faults == []
    assert entries(b"not logged: \x01\n") == []


@pytest.mark.parametrize("options", [[], ["--long"], ["--json"], ["--validate"]])
def test_passwords_are_never_shown(options: list[str]):
    old = encode_message(
        "FIX.4.2", [(35, "A"), (34, 1), (95, 7), (96, b"hunter\x01"), (98, 0), (108, 30)]
    )
    for data in (LOGON, old, LOGON[:-20], old[:-12], LOGON.replace(b"\x01", b"|")):
        result = CliRunner().invoke(fix_log, options, input=data + b"\n")
        assert result.output
        assert "hunter" not in result.output


def test_a_log_with_masked_passwords_has_no_faults():
    masked = LOGON.replace(b"hunter2", b"***").replace(b"hunter3", b"***")
    assert [entry.faults for entry in entries(masked + b"\n" + ORDER)] == [[], []]


def test_one_line_has_bars_and_the_name():
    output = run(REPORT)
    assert output.startswith("20260102-10:00:01.000000    VENUE>ME ExecutionReport 8=FIX.4.4|9=")
    assert "|39=1|" in output


def test_long_has_names_and_meanings():
    output = run(ORDER + REPORT, "--long")
    for wanted in ("54 Side         = 1 BUY", "35 MsgType      = D NewOrderSingle"):
        assert wanted in output
    assert "= F TRADE" in output
    assert "= 1 PARTIALLY_FILLED" in output


def test_members_of_groups_are_indented():
    body = "35=D|11=a|453=1|448=X|447=D|452=3|802=1|523=s|803=1|55=MSFT|54=1|38=5|40=1"
    lines = run(message(body), "--long").splitlines()
    depth = {line.split()[0]: len(line) - len(line.lstrip()) for line in lines[1:]}
    assert depth["448"] - depth["453"] == 2
    assert depth["523"] - depth["448"] == 2
    assert depth["55"] == depth["11"] + 0


def test_json_has_every_field():
    (line,) = run(ORDER, "--json").splitlines()
    found = json.loads(line)
    assert (found["name"], found["sender"], found["version"]) == (
        "NewOrderSingle",
        "ME",
        "FIX.4.4",
    )
    assert {"tag": 54, "name": "Side", "value": "1", "meaning": "BUY"} in found["fields"]
    assert json.loads(run(ORDER[:30], "--json"))["garbled"] is True


@pytest.mark.parametrize(
    ("options", "kinds"),
    [
        (["--session", "YOU"], ["NewOrderSingle"]),
        (["--type", "D"], ["NewOrderSingle"] * 2),
        (["--type", "neworderSINGLE,0"], ["NewOrderSingle"] * 2 + ["Heartbeat"]),
        (["--tag", "150=F"], ["ExecutionReport"]),
        (["--tag", "150"], ["ExecutionReport"] * 2),
        (["--tag", "150", "--tag", "39=9"], []),
        (["--until", "09:59:59"], ["Logon"]),
        (["--since", "2026-01-02T10:00:01"], ["ExecutionReport"]),
        (["--direction", "in"], []),
        (["--faulty"], []),
    ],
)
def test_filters(options: list[str], kinds: list[str]):
    assert names(run(b"".join(ALL), *options)) == kinds


@pytest.mark.parametrize("identifier", ["a", "b", "c", "O1"])
def test_an_order_is_followed_by_any_of_its_identifiers(identifier: str):
    output = run(b"".join(each for each in ALL if each != OTHER), "--order", identifier)
    found = ["NewOrderSingle", "ExecutionReport", "OrderCancelReplaceRequest", "ExecutionReport"]
    assert names(output) == [*found, "OrderCancelRequest"]


def test_the_same_identifier_in_another_session_is_another_order():
    assert len(run(b"".join(ALL), "--order", "O1").splitlines()) == 5


def test_validate_names_what_the_dictionary_finds():
    bad = message("35=D|11=a|55=MSFT|54=9x|60=20260102-10:00:00|38=5|40=2|44=7")
    output = run(ORDER + bad, "--validate", status=1)
    assert "[Side(54): " in output
    assert "[" not in output.splitlines()[0]
    assert run(ORDER, "--validate")


def test_fixt_is_read_by_the_version_of_its_logon():
    logon = message("35=A|98=0|108=30|1137=7", "FIXT.1.1")
    view = View()
    found = entries(logon + message("35=0", "FIXT.1.1"))
    assert [view.version(entry).label for entry in found] == ["FIX.5.0", "FIX.5.0"]
    order = message("35=D|11=a|55=MSFT|54=1|38=5|40=1", "FIXT.1.1")
    (line,) = run(logon + order, "--order", "a", "--json").splitlines()
    assert json.loads(line)["version"] == "FIX.5.0"
    (other,) = entries(message("35=0", "FIXT.1.1"))
    assert View().version(other).label == "FIX.5.0SP2"


def test_a_file_that_grows_is_followed(tmp_path: Path):
    path = tmp_path / "log"
    path.write_bytes(ORDER + b"\n")
    seen: list[bytes] = []
    is_done = threading.Event()

    def collect() -> None:
        seen.extend(entry.get(35) for entry in follow(path, is_done=is_done.is_set))

    def await_count(count: int) -> None:
        deadline = time.monotonic() + 10
        while len(seen) < count and time.monotonic() < deadline:
            time.sleep(0.01)

    thread = threading.Thread(target=collect)
    thread.start()
    try:
        await_count(1)
        with path.open("ab") as file:
            file.write(REPORT[:50])
            file.flush()
            time.sleep(0.3)
            file.write(REPORT[50:] + b"\n")
        await_count(2)
        path.rename(tmp_path / "log.1")
        path.write_bytes(HEARTBEAT + b"\n")
        await_count(3)
    finally:
        is_done.set()
        thread.join(10)
    assert seen == [b"D", b"8", b"0"]


def test_control_characters_do_not_reach_the_terminal():
    assert text(b"\x1b[31m\x07") == "\\x1b[31m\\x07"
    odd = encode_message("FIX.4.4", [(35, "j"), (58, b"\x1b[2J\xff")])
    assert "\x1b" not in run(odd, "--long")


def test_wrong_options_are_named():
    for options in (["--tag", "x"], ["--since", "noon"], ["--follow"]):
        assert CliRunner().invoke(fix_log, options).exit_code == 2


PIECES = st.sampled_from(
    [b"8=FIX.4.4\x01", b"8=FIX", b"9=5\x01", b"9=999999999\x01", b"35=A\x01", b"10=000\x01", b"|",
     b"^A", b"\n", b"8=FIX.4.4|9=12|35=0|", b"554=secret\x01", b"95=3\x01", b"96=", b"453=9\x01",
     ORDER, REPORT, LOGON]
)  # fmt: skip


@given(
    st.lists(st.one_of(st.binary(max_size=30), PIECES), max_size=12).map(b"".join),
    st.integers(1, 80),
)
def test_property_no_bytes_crash_it(data: bytes, step: int):
    view = View()
    for entry in entries(data, step):
        view.judge(entry)
        assert "\x01" not in view.one_line(entry)
        assert view.long(entry)
        assert json.loads(view.as_json(entry))
        assert entry.direction in ("", "in", "out")


@given(st.lists(st.sampled_from(ALL), max_size=8), st.integers(1, 400), st.booleans())
def test_property_pieces_of_any_size_give_the_same(
    messages: list[bytes], step: int, are_lines: bool
):
    data = (b"\n" if are_lines else b"").join(messages)
    assert [entry.frame for entry in entries(data, step)] == [
        entry.frame for entry in entries(data)
    ]
    assert len(entries(data)) == len(messages)

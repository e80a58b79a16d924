"""What differs between the eight versions of FIX at session level, in both roles."""

from typing import Any

import pytest
from conformance.fix_harness import START_MS, Bench, frame, split

from openoutcry.protocol.fix.dictionary import CustomField, FieldType, dictionary
from openoutcry.protocol.fix.events import Application, LoggedOn, MessageRejected
from openoutcry.protocol.fix.message import parse
from openoutcry.protocol.fix.session import LocalProtocolError, Role, SessionConfig
from openoutcry.protocol.fix.validate import validate
from openoutcry.protocol.fix.versions import VERSIONS, Version

all_versions = pytest.mark.parametrize("version", list(Version), ids=list(VERSIONS))
both_roles = pytest.mark.parametrize("role", list(Role))


def logon_text(version: Version, number: int = 1, more: str = "") -> str:
    appl = f"|1137={version.appl_ver_id.decode()}" if version.is_fixt else ""
    return f"35=A|34={number}|98=0|108=30{appl}{more}"


def live(version: Version, role: Role = Role.ACCEPTOR, **settings: Any) -> Bench:
    bench = Bench(role, version=version, **settings)
    bench.log_on(logon_text(version))
    bench.take_events()
    return bench


def tags(text: str) -> set[int]:
    return {int(part.partition("=")[0]) for part in text.split("|")}


@all_versions
@both_roles
def test_every_message_of_ours_is_what_the_dictionary_defines(version: Version, role: Role) -> None:
    bench = Bench(
        role,
        version=version,
        username="me",
        password="secret",
        new_password="new secret",
        use_next_expected=True,
        max_message_size=4096,
        is_test=True,
        sends_last_processed=True,
        authenticate=lambda username, password: True,
    )
    sent: list[bytes] = []

    def step(text: str) -> None:
        bench.receive(text)
        sent.extend(bench.frames)

    bench.connect()
    sent += bench.frames
    asked = {383: "|383=4096", 464: "|464=Y", 789: "|789=1", 925: "|925=other"}
    allowed = dictionary(version).messages["A"].allowed
    step(logon_text(version, 1, "".join(text for tag, text in asked.items() if tag in allowed)))
    assert bench.session.is_logged_on
    step("35=1|34=2|112=x")
    step("35=ZZ|34=3|115=desk|128=floor")
    step("35=1|34=4")
    step("35=2|34=5|7=1|16=0")
    step("35=2|34=6|7=99|16=0")
    step("35=4|34=7|123=Y|36=1")
    step("35=0|34=9")
    message = parse(split(bench_frame(bench, "35=0|34=8"))[0])
    for reason in range(19):
        bench.session.reject(message, reason, bench.now_ms, ref_tag=58, text="why")
        bench.session.business_reject(message, reason, bench.now_ms, ref_id=b"x", text="why")
    bench.act([])
    sent += bench.frames
    bench.advance(30)
    sent += bench.frames
    bench.advance(6)
    sent += bench.frames
    bench.act(bench.session.logout("bye", bench.now_ms))
    sent += bench.frames
    assert len(sent) >= 49
    kinds = {parse(one).msg_type for one in sent}
    assert kinds == set("0123A45") | ({"j"} if version >= Version.FIX42 else set())
    problems = [validate(parse(one), dictionary(version)) for one in sent]
    assert [p for p in problems if p] == []


def bench_frame(bench: Bench, text: str) -> bytes:
    return frame(
        text, sender="THEM", target="US", now_ms=bench.now_ms, begin=bench.config.begin_string
    )


@all_versions
@both_roles
def test_the_logon_says_its_version(version: Version, role: Role) -> None:
    bench = Bench(role, version=version)
    sent = bench.connect()
    frames = bench.frames
    sent += bench.receive(logon_text(version))
    assert sent == [logon_text(version)]
    (one,) = frames + bench.frames
    assert one.startswith(b"8=%b\x01" % version.begin_string.encode())
    assert bench.events == [LoggedOn(30, was_reset=False)]


@all_versions
def test_milliseconds_from_42_on(version: Version) -> None:
    bench = live(version)
    bench.receive("35=1|34=2|112=x")
    stamp = (parse(bench.frames[0]).get(52) or b"").decode()
    assert stamp == ("20261122-10:00:00.000" if version >= Version.FIX42 else "20261122-10:00:00")


@all_versions
def test_a_resent_message_keeps_the_form_of_its_stamps(version: Version) -> None:
    bench = live(version)
    bench.send("a")
    bench.advance(1)
    bench.receive("35=2|34=2|7=1|16=0")
    gap_fill, again = (parse(one) for one in bench.frames)
    ms = b".000" if version >= Version.FIX42 else b""
    assert again.get(52) == b"20261122-10:00:01" + ms
    assert again.get(122) == b"20261122-10:00:00" + ms
    assert gap_fill.get(52) == gap_fill.get(122) == b"20261122-10:00:01" + ms


@all_versions
@both_roles
def test_a_gap_is_asked_for_up_to_the_end(version: Version, role: Role) -> None:
    end = "0" if version >= Version.FIX42 else "999999"
    assert live(version, role).receive("35=0|34=5") == [f"35=2|34=2|7=2|16={end}"]


@all_versions
@pytest.mark.parametrize("end", ["0", "999999"])
def test_either_end_is_understood(version: Version, end: str) -> None:
    bench = live(version)
    bench.send("a")
    sent = bench.receive(f"35=2|34=2|7=1|16={end}")
    assert [text[:9] for text in sent] == ["35=4|34=1", "35=D|34=2"]


def test_999999_is_a_number_where_0_is_the_end() -> None:
    bench = Bench(version=Version.FIX44)
    bench.state.next_out = 1_000_009
    bench.log_on()
    (sent,) = bench.receive("35=2|34=2|7=999998|16=999999")
    assert sent.endswith("|36=1000000")
    old = Bench(version=Version.FIX41)
    old.state.next_out = 1_000_009
    old.log_on()
    (sent,) = old.receive("35=2|34=2|7=999998|16=999999")
    assert sent.endswith("|36=1000010")


@pytest.mark.parametrize(
    ("version", "sent"),
    [
        (Version.FIX40, "35=3|34=2|45=2|58=no"),
        (Version.FIX41, "35=3|34=2|45=2|58=no"),
        (Version.FIX42, "35=3|34=2|45=2|371=44|372=D|58=no"),
        (Version.FIX43, "35=3|34=2|45=2|371=44|372=D|373=13|58=no"),
        (Version.FIX44, "35=3|34=2|45=2|371=44|372=D|373=13|58=no"),
        (Version.FIX50, "35=3|34=2|45=2|371=44|372=D|373=13|58=no"),
    ],
)
def test_a_reject_says_what_the_version_can(version: Version, sent: str) -> None:
    bench = live(version)
    message = parse(bench_frame(bench, "35=D|34=2"))
    bench.session.reject(message, 13, bench.now_ms, ref_tag=44, text="no")
    assert bench.act([]) == [sent]


@pytest.mark.parametrize(
    ("reason", "first"),
    [(11, Version.FIX42), (17, Version.FIX43), (99, Version.FIX44), (18, Version.FIX50)],
)
def test_reject_reasons_have_their_first_version(reason: int, first: Version) -> None:
    for version in Version:
        bench = live(version)
        message = parse(bench_frame(bench, "35=D|34=2"))
        bench.session.reject(message, reason, bench.now_ms)
        (sent,) = bench.act([])
        assert (373 in tags(sent)) == (version >= first), version


@pytest.mark.parametrize(
    ("version", "sent"),
    [
        (Version.FIX41, "35=3|34=2|45=2|58=slower"),
        (Version.FIX42, "35=j|34=2|45=2|372=D|379=x|380=0|58=slower"),
        (Version.FIX44, "35=j|34=2|45=2|372=D|379=x|380=0|58=slower"),
        (Version.FIX50SP2, "35=j|34=2|45=2|372=D|379=x|380=8|58=slower"),
    ],
)
def test_a_business_reject_says_what_the_version_can(version: Version, sent: str) -> None:
    bench = live(version)
    message = parse(bench_frame(bench, "35=D|34=2"))
    bench.session.business_reject(message, 8, bench.now_ms, ref_id=b"x", text="slower")
    assert bench.act([]) == [sent]


def test_40_has_no_places_to_send_an_answer_back_to() -> None:
    text = "35=ZZ|34=2|115=desk|128=floor"
    assert live(Version.FIX40).receive(text)[0].startswith("35=3|34=2|128=desk|115=floor|45=2|")
    bench = live(Version.FIX40)
    message = parse(bench_frame(bench, f"{text}|144=here"))
    bench.session.reject(message, 5, bench.now_ms)
    assert bench.act([]) == ["35=3|34=2|128=desk|115=floor|45=2"]


def test_40_cannot_reset_a_live_session() -> None:
    bench = live(Version.FIX40)
    with pytest.raises(LocalProtocolError, match=r"FIX\.4\.0 has no reset"):
        bench.session.reset_numbers(bench.now_ms)


def test_40_begins_at_1_where_both_sides_know() -> None:
    bench = Bench(Role.INITIATOR, version=Version.FIX40, reset_on_logon=True)
    bench.state.next_in, bench.state.next_out = 7, 9
    assert bench.connect() == ["35=A|34=1|98=0|108=30"]
    bench.receive("35=A|34=1|98=0|108=30")
    assert bench.numbers == (2, 2)


@pytest.mark.parametrize("version", [v for v in Version if v.is_fixt])
def test_default_appl_ver_id_is_required(version: Version) -> None:
    bench = Bench(version=version)
    text = "Required tag missing: DefaultApplVerID(1137)"
    assert bench.log_on("35=A|34=1|98=0|108=30") == [f"35=5|34=1|58={text}", "closed"]
    bench.cut()
    other = "8" if version is Version.FIX50 else "7"
    text = f"DefaultApplVerID(1137) must be {version.appl_ver_id.decode()}"
    assert bench.log_on(f"35=A|34=1|98=0|108=30|1137={other}") == [f"35=5|34=2|58={text}", "closed"]


@pytest.mark.parametrize("version", [v for v in Version if v.is_fixt])
def test_the_initiator_asks_for_it_too(version: Version) -> None:
    bench = Bench(Role.INITIATOR, version=version)
    bench.connect()
    logout, closed = bench.receive("35=A|34=1|98=0|108=30")
    assert logout.startswith("35=5|34=2|58=Required tag missing: DefaultApplVerID(1137)")
    assert closed == "closed"


def test_default_appl_ver_id_stands_in_logons_only() -> None:
    bench = live(Version.FIX50SP2)
    (sent,) = bench.receive("35=0|34=2|1137=9")
    assert sent.startswith("35=3|34=2|45=2|371=1137|372=0|373=2|")


ORDER = "11=x|55=BTCUSDT|54=1|60=20261122-10:00:00|38=1|40=2|44=1"


def order(number: int, appl_ver_id: str) -> str:
    header = f"|1128={appl_ver_id}" if appl_ver_id else ""
    return f"35=D|34={number}{header}|{ORDER}"


def in_header(bench: Bench, text: str) -> list[str]:
    """Receive a message whose 1128 stands in the header."""
    whole = bench_frame(bench, text.replace("1128=", "129="))
    body = whole.replace(b"\x01129=", b"\x011128=")
    middle = body[body.index(b"\x0135=") + 1 : body.rindex(b"\x0110=") + 1]
    head = b"8=FIXT.1.1\x019=%d\x01" % len(middle) + middle
    whole = head + b"10=%03d\x01" % (sum(head) % 256)
    return bench.act(bench.session.receive(whole, bench.now_ms))


def test_appl_ver_id_counts_for_one_message() -> None:
    bench = live(Version.FIX50SP2)
    assert in_header(bench, order(2, "7")) == []
    assert in_header(bench, order(3, "")) == []
    assert in_header(bench, order(4, "9")) == []
    versions = [e.version for e in bench.take_events() if isinstance(e, Application)]
    assert versions == [Version.FIX50, Version.FIX50SP2, Version.FIX50SP2]


def test_a_message_is_held_against_the_version_it_names() -> None:
    bench = live(Version.FIX50SP2)
    # ThrottleInst came with 5.0 SP2.
    assert in_header(bench, f"{order(2, '9')}|1685=1") == []
    (sent,) = in_header(bench, f"{order(3, '7')}|1685=1")
    assert sent.startswith("35=3|34=2|45=3|371=1685|372=D|373=3|")


@pytest.mark.parametrize("code", ["2", "6", "77", "x"])
def test_an_unsupported_application_version_is_rejected(code: str) -> None:
    bench = live(Version.FIX50)
    (sent,) = in_header(bench, order(2, code))
    assert sent.startswith("35=3|34=2|45=2|371=1128|372=D|373=18|")
    (event,) = bench.take_events()
    assert isinstance(event, MessageRejected)
    assert bench.numbers == (3, 3)


def test_administrative_messages_have_no_application_version() -> None:
    bench = live(Version.FIX50)
    assert in_header(bench, "35=1|34=2|1128=4|112=x") == ["35=0|34=2|112=x"]


def test_messages_may_have_fields_of_ones_own() -> None:
    field = CustomField(999, "Desk", FieldType.STRING, frozenset("D"))
    strict = dictionary(Version.FIX42)
    text = f"35=D|34=2|21=1|{ORDER}|999=north"
    assert live(Version.FIX42).receive(text)[0].startswith("35=3|34=2|45=2|371=999|")
    bench = live(Version.FIX42, dictionary=strict.with_fields([field]))
    assert bench.receive(text) == []
    (event,) = bench.take_events()
    assert isinstance(event, Application)
    assert event.message.get(999) == b"north"


def test_a_lenient_session_passes_what_it_does_not_know() -> None:
    facts = dictionary(Version.FIX44).with_fields(lenient=True)
    bench = Bench(version=Version.FIX44, dictionary=facts)
    logon = "35=A|34=1|98=0|108=30|383=|789=|4999=what"
    assert bench.log_on(logon) == ["35=A|34=1|98=0|108=30"]
    assert bench.receive(f"35=D|34=2|{ORDER}|4999=what|58=") == []
    assert bench.receive("35=1|34=3")[0].startswith("35=3|34=2|45=3|371=112|372=1|373=1|")


def test_a_lenient_session_is_so_in_every_version() -> None:
    facts = dictionary(Version.FIX50SP2).with_fields(lenient=True)
    bench = live(Version.FIX50SP2, dictionary=facts)
    assert in_header(bench, f"{order(2, '7')}|4999=what") == []


def test_a_dictionary_of_another_version_is_our_bug() -> None:
    with pytest.raises(ValueError, match=r"a dictionary of FIX\.4\.2 in a session of FIX\.4\.4"):
        SessionConfig(sender_comp_id="A", target_comp_id="B", dictionary=dictionary(Version.FIX42))


@all_versions
def test_last_msg_seq_num_processed_where_the_header_has_it(version: Version) -> None:
    bench = live(version, sends_last_processed=True)
    bench.send("a")
    bench.receive("35=1|34=2|112=x")
    assert [parse(one).get(369) for one in bench.frames] == [
        b"2" if version >= Version.FIX42 else None
    ]
    bench.receive("35=2|34=3|7=1|16=1")
    assert parse(bench.frames[0]).get(369) == (b"3" if version >= Version.FIX42 else None)


def test_further_header_fields_stand_in_every_message() -> None:
    bench = Bench(
        Role.INITIATOR,
        header=((50, b"trader"), (57, b"desk")),
        logon_fields=((384, b"1"), (372, b"D"), (385, b"S"), (9001, b"x")),
    )
    logon = "35=A|34=1|50=trader|57=desk|98=0|108=30|384=1|372=D|385=S|9001=x"
    assert bench.connect() == [logon]
    bench.receive("35=A|34=1|98=0|108=30")
    assert bench.send("a")[0].startswith("35=D|34=2|50=trader|57=desk|11=a|")
    bench.receive("35=2|34=2|7=1|16=1")
    assert [parse(one).get(50) for one in bench.frames] == [b"trader"]
    assert bench.now_ms == START_MS

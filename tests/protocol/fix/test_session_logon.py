"""Who is let in: credentials in every version, new passwords, hours, and what a refusal costs."""

from typing import Any

import pytest
from conformance.fix_harness import START_MS, Bench, value_of

from openoutcry.protocol.fix.enums import SessionStatus
from openoutcry.protocol.fix.events import Disconnect, LoggedOn, LoggedOut
from openoutcry.protocol.fix.session import LocalProtocolError, Role, State
from openoutcry.protocol.fix.versions import VERSIONS, Version

all_versions = pytest.mark.parametrize("version", list(Version), ids=list(VERSIONS))
fixt_versions = pytest.mark.parametrize("version", [v for v in Version if v.is_fixt])


def logon(version: Version, number: int = 1, more: str = "") -> str:
    appl = f"|1137={version.appl_ver_id.decode()}" if version.is_fixt else ""
    return f"35=A|34={number}|98=0|108=30{appl}{more}"


def with_password(version: Version, password: str) -> str:
    if version < Version.FIX43:
        return f"|95={len(password)}|96={password}"
    return f"|553=me|554={password}"


@all_versions
@pytest.mark.parametrize("given", ["guess", ""], ids=["wrong", "none"])
def test_who_is_not_authenticated_costs_no_number(version: Version, given: str) -> None:
    bench = Bench(version=version, password="secret")
    bench.state.next_in, bench.state.next_out = 5, 7
    more = with_password(version, given) if given else ""
    status = "|1409=5" if version.is_fixt else ""
    text = f"35=5|34=1{status}|58=Logon refused: not authorized"
    for _ in range(3):
        assert bench.log_on(logon(version, 5, more)) == [text, "closed"]
        assert bench.numbers == (5, 7)
        bench.cut()
    sent = bench.log_on(logon(version, 5, with_password(version, "secret")))
    assert sent == [logon(version, 7)]
    assert bench.numbers == (6, 8)


@all_versions
def test_the_initiator_says_its_password_where_the_version_has_room(version: Version) -> None:
    bench = Bench(
        Role.INITIATOR, version=version, username="me", password="secret", new_password="more"
    )
    new = "|925=more" if version.is_fixt else ""
    assert bench.connect() == [logon(version, 1, with_password(version, "secret") + new)]
    shown = repr(bench.config)
    assert "secret" not in shown
    assert "more" not in shown


@all_versions
def test_both_sides_agree_on_how_it_is_said(version: Version) -> None:
    initiator = Bench(Role.INITIATOR, version=version, username="me", password="sec\x01ret|")
    acceptor = Bench(version=version, password="sec\x01ret|")
    if version >= Version.FIX43:
        # Only data may hold SOH.
        initiator = Bench(Role.INITIATOR, version=version, username="me", password="secret")
        acceptor = Bench(version=version, username="me", password="secret")
    initiator.connect()
    acceptor.connect()
    sent = initiator.frames[0].replace(b"49=US\x0156=THEM", b"49=THEM\x0156=US")
    head, _, _ = sent.rpartition(b"10=")
    sent = head + b"10=%03d\x01" % (sum(head) % 256)
    acceptor.act(acceptor.session.receive(sent, acceptor.now_ms))
    assert acceptor.session.is_logged_on


@pytest.mark.parametrize(
    ("verdict", "refusal"),
    [
        (True, None),
        (SessionStatus.ACTIVE, None),
        (SessionStatus.PASSWORD_DUE_TO_EXPIRE, None),
        (False, 5),
        (SessionStatus.INVALID_CREDENTIALS, 5),
        (SessionStatus.ACCOUNT_LOCKED, 6),
        (SessionStatus.LOGONS_NOT_ALLOWED, 7),
        (SessionStatus.PASSWORD_EXPIRED, 8),
    ],
)
@pytest.mark.parametrize("version", [Version.FIX44, Version.FIX50SP2])
def test_one_wording_for_all_causes(
    version: Version, verdict: bool | SessionStatus, refusal: int | None
) -> None:
    bench = Bench(version=version, authenticate=lambda username, password: verdict)
    sent = bench.log_on(logon(version))
    if refusal is None:
        due = "|1409=2" if version.is_fixt and verdict == 2 and verdict is not True else ""
        assert sent == [logon(version, 1, due)]
        return
    status = f"|1409={refusal}" if version.is_fixt else ""
    assert sent == [f"35=5|34=1{status}|58=Logon refused: not authorized", "closed"]


@fixt_versions
@pytest.mark.parametrize(("complies", "status"), [(True, 1), (False, 3), (None, 3)])
def test_a_new_password(version: Version, complies: bool | None, status: int) -> None:
    taken: list[bytes] = []

    def change_password(new: bytes) -> bool:
        taken.append(new)
        return bool(complies)

    settings: dict[str, Any] = {"password": "old"}
    if complies is not None:
        settings["change_password"] = change_password
    bench = Bench(version=version, **settings)
    sent = bench.log_on(logon(version, 1, "|554=old|925=new"))
    assert sent == [logon(version, 1, f"|1409={status}")]
    assert taken == ([b"new"] if complies is not None else [])


def test_a_new_password_is_not_taken_from_a_logon_that_is_refused() -> None:
    taken: list[bytes] = []

    def change_password(new: bytes) -> bool:
        taken.append(new)
        return True

    version = Version.FIX50SP2
    bench = Bench(version=version, password="old", change_password=change_password)
    bench.log_on(logon(version, 1, "|554=guess|925=new"))
    bench.cut()
    bench.log_on(logon(version, 1, "|554=old|925=new|141=Y").replace("108=30", "108=-1"))
    bench.cut()
    assert taken == []


def test_the_initiator_learns_what_became_of_its_password() -> None:
    version = Version.FIX50SP2
    bench = Bench(Role.INITIATOR, version=version, password="old", new_password="new")
    bench.connect()
    bench.receive(logon(version, 1, "|1409=3|58=too short"))
    status = SessionStatus.NEW_PASSWORD_NOT_COMPLIANT
    assert bench.events == [LoggedOn(30, False, status, "too short")]


def test_the_initiator_learns_why_it_is_refused() -> None:
    bench = Bench(Role.INITIATOR, version=Version.FIX50SP2)
    bench.connect()
    bench.receive("35=5|34=1|1409=8|58=no")
    assert bench.events[0] == LoggedOut("no", True, SessionStatus.PASSWORD_EXPIRED)


@pytest.mark.parametrize("takes_number", [True, False])
def test_the_initiator_gets_in_later_whether_the_refusal_took_a_number_or_not(
    takes_number: bool,
) -> None:
    bench = Bench(Role.INITIATOR)
    bench.state.next_in = 4
    bench.connect()
    bench.receive("35=5|34=4|58=not now")
    bench.cut()
    bench.connect()
    sent = bench.receive(f"35=A|34={4 + takes_number}|98=0|108=30")
    assert sent == (["35=2|34=3|7=4|16=0"] if takes_number else [])
    assert bench.session.is_logged_on


@all_versions
def test_an_invalid_logon_is_closed_and_the_owner_knows_why(version: Version) -> None:
    bench = Bench(version=version)
    assert bench.log_on(logon(version, 1, "|4999=what")) == ["closed"]
    assert bench.numbers == (1, 1)
    text = "Undefined tag: tag 4999"
    assert bench.events[0] == LoggedOut(text, by_peer=False)


@all_versions
def test_hours(version: Version) -> None:
    bench = Bench(version=version)
    bench.state.next_in, bench.state.next_out = 5, 7
    bench.session.refuse_logons("The session opens at 09:00")
    status = "|1409=7" if version.is_fixt else ""
    sent = bench.log_on(logon(version, 5))
    assert sent == [f"35=5|34=7{status}|58=The session opens at 09:00", "closed"]
    assert bench.numbers == (5, 7)
    assert bench.events[0] == LoggedOut("The session opens at 09:00", by_peer=False)
    bench.cut()
    bench.session.accept_logons()
    assert bench.log_on(logon(version, 5)) == [logon(version, 7)]


def test_a_stranger_is_not_told_the_hours() -> None:
    bench = Bench(password="secret")
    bench.session.refuse_logons("The session opens at 09:00")
    assert bench.log_on() == ["35=5|34=1|58=Logon refused: not authorized", "closed"]


def test_a_refusal_may_have_another_status() -> None:
    version = Version.FIX50SP2
    bench = Bench(version=version)
    bench.session.refuse_logons("Locked by the operator", SessionStatus.ACCOUNT_LOCKED)
    assert bench.log_on(logon(version))[0] == "35=5|34=1|1409=6|58=Locked by the operator"


@all_versions
def test_the_end_of_the_session(version: Version) -> None:
    bench = Bench(version=version)
    bench.log_on(logon(version))
    status = "|1409=4" if version.is_fixt else ""
    sent = bench.act(bench.session.end_session("The session is over", bench.now_ms))
    assert sent == [f"35=5|34=2{status}|58=The session is over"]
    assert bench.receive("35=5|34=2") == ["closed"]
    with pytest.raises(LocalProtocolError, match="reset while closing"):
        bench.session.reset()
    bench.cut()
    assert bench.log_on(logon(version, 3))[1] == "closed"
    bench.cut()
    bench.session.reset()
    bench.session.accept_logons()
    assert bench.numbers == (1, 1)
    assert bench.log_on(logon(version)) == [logon(version)]
    assert bench.receive("35=2|34=2|7=1|16=0")[0].endswith("|36=2")


def test_the_end_of_a_session_that_nobody_uses() -> None:
    bench = Bench()
    assert bench.act(bench.session.end_session("over", bench.now_ms)) == []
    assert bench.log_on()[1] == "closed"


def test_a_reset_discards_what_was_sent() -> None:
    bench = Bench()
    bench.log_on()
    bench.send("a")
    bench.cut()
    bench.session.reset()
    bench.log_on()
    assert bench.receive("35=2|34=2|7=1|16=0") == [
        "35=4|34=1|43=Y|122=20261122-10:00:00.000|123=Y|36=2"
    ]


@pytest.fixture(params=list(Role))
def live(request: pytest.FixtureRequest) -> Bench:
    bench = Bench(request.param)
    bench.log_on()
    bench.take_events()
    return bench


def test_a_probe_that_is_not_answered_ends_the_connection(live: Bench) -> None:
    assert live.act(live.session.probe(live.now_ms, 5_000)) == ["35=1|34=2|112=PROBE-2"]
    assert live.session.next_timeout_ms() == START_MS + 5_000
    assert live.act(live.session.probe(live.now_ms, 5_000)) == []
    assert live.advance(4.999) == []
    text = "TestRequest not answered for 5000 ms"
    assert live.advance(0.001) == [f"35=5|34=3|58={text}", "closed"]
    assert live.events == [
        LoggedOut(text, by_peer=False),
        Disconnect("no sign of life", is_error=True),
    ]


@pytest.mark.parametrize("is_fast", [True, False])
def test_any_sign_of_life_answers_a_probe(live: Bench, is_fast: bool) -> None:
    live.act(live.session.probe(live.now_ms, 5_000))
    live.advance(4)
    if is_fast:
        live.session.note_received(live.now_ms)
    else:
        live.receive("35=0|34=2|112=PROBE-2")
    assert live.advance(4) == []
    assert live.session.is_logged_on
    assert live.act(live.session.probe(live.now_ms, 5_000)) == ["35=1|34=3|112=PROBE-3"]


def test_a_clock_that_steps_back_begins_the_probe_again(live: Bench) -> None:
    live.act(live.session.probe(live.now_ms, 5_000))
    assert live.advance(-3_600) == []
    assert live.advance(5)[-1] == "closed"


def test_nobody_is_probed_where_nobody_is_logged_on() -> None:
    bench = Bench()
    assert bench.act(bench.session.probe(bench.now_ms, 5_000)) == []
    bench.connect()
    assert bench.act(bench.session.probe(bench.now_ms, 5_000)) == []
    assert bench.session.connection is State.AWAITING_LOGON


def test_a_probe_does_not_outlive_its_connection(live: Bench) -> None:
    live.act(live.session.probe(live.now_ms, 5_000))
    live.cut()
    live.connect()
    live.receive("35=A|34=2|98=0|108=30")
    live.advance(5)
    assert live.session.is_logged_on
    assert live.frames == [] or value_of(live.frames[0], 35) != "5"

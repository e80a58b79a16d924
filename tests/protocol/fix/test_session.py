"""Session rules that need more than messages in a table: events, roles, timers, own errors."""

from typing import NoReturn

import pytest
from conformance.fix_harness import Bench, frame, readable, split, value_of

from openoutcry.protocol.fix.events import (
    Application,
    Disconnect,
    LoggedOn,
    LoggedOut,
    MessageRejected,
    NumbersReset,
    RejectReceived,
)
from openoutcry.protocol.fix.message import parse
from openoutcry.protocol.fix.session import LocalProtocolError, Role, Session, State
from openoutcry.protocol.fix.versions import Version

ORDER = "11=x|55=BTCUSDT|54=1|60=20261122-10:00:00|38=1|40=2|44=1"
LOGON = "35=A|34=1|98=0|108=30"


@pytest.fixture(params=list(Role))
def bench(request: pytest.FixtureRequest) -> Bench:
    bench = Bench(request.param)
    bench.log_on()
    return bench


def test_logon_makes_the_session_live(bench: Bench) -> None:
    assert bench.events == [LoggedOn(30, was_reset=False)]
    assert bench.session.is_live
    assert bench.session.connection is State.ACTIVE
    assert bench.session.heartbeat_s == 30


def test_the_initiator_speaks_first() -> None:
    bench = Bench(Role.INITIATOR, username="me", password="secret", heartbeat_s=10)
    assert bench.connect() == ["35=A|34=1|98=0|108=10|553=me|554=secret"]
    assert "secret" not in repr(bench.config)


def test_every_message_has_the_standard_header_in_order(bench: Bench) -> None:
    bench.receive("35=1|34=2|112=x")
    tags = [part.split(b"=")[0] for part in bench.frames[0].split(b"\x01")[:-1]]
    assert tags == [b"8", b"9", b"35", b"49", b"56", b"34", b"52", b"112", b"10"]
    assert value_of(bench.frames[0], 49) == "US"
    assert value_of(bench.frames[0], 52) == "20261122-10:00:00.000"


def test_application_messages_are_events(bench: Bench) -> None:
    bench.take_events()
    bench.receive(f"35=D|34=2|{ORDER}")
    bench.receive(f"35=D|34=3|97=Y|{ORDER}")
    bench.receive(f"35=D|34=4|43=Y|122=20261122-09:59:59.000|{ORDER}")
    events = bench.take_events()
    flags = [(e.is_poss_dup, e.is_poss_resend) for e in events if isinstance(e, Application)]
    assert flags == [(False, False), (False, True), (True, False)]


def test_a_reject_from_the_peer_is_an_event(bench: Bench) -> None:
    bench.take_events()
    bench.receive("35=3|34=2|45=1|58=no")
    (event,) = bench.take_events()
    assert isinstance(event, RejectReceived)
    assert event.message.get(58) == b"no"


def test_rejects_of_ours_are_events(bench: Bench) -> None:
    bench.take_events()
    bench.receive("35=1|34=2")
    bench.receive("35=R|34=3|131=q|146=1|55=BTCUSDT")
    first, second = bench.take_events()
    assert isinstance(first, MessageRejected)
    assert (first.ref_seq_num, first.reason, first.ref_tag, first.is_business) == (2, 1, 112, False)
    assert isinstance(second, MessageRejected)
    assert (second.ref_seq_num, second.reason, second.is_business) == (3, 3, True)


def test_the_owner_may_reject_by_itself(bench: Bench) -> None:
    bench.take_events()
    bench.receive(f"35=D|34=2|{ORDER}")
    (event,) = bench.take_events()
    assert isinstance(event, Application)
    assert bench.session.reject(event.message, 5, bench.now_ms, ref_tag=44, text="off tick") == 2
    number = bench.session.business_reject(
        event.message, 6, bench.now_ms, ref_id=b"x", text="not you"
    )
    assert number == 3
    assert bench.act([]) == [
        "35=3|34=2|45=2|371=44|372=D|373=5|58=off tick",
        "35=j|34=3|45=2|372=D|379=x|380=6|58=not you",
    ]


def test_logout_by_the_peer_ends_in_a_clean_disconnect(bench: Bench) -> None:
    bench.take_events()
    bench.receive("35=5|34=2|58=end of day")
    assert bench.take_events() == [
        LoggedOut("end of day", by_peer=True),
        Disconnect("logout", is_error=False),
    ]
    assert not bench.session.is_logged_on
    assert bench.receive("35=0|34=3") == []


def test_incorrect_begin_string_ends_the_session(bench: Bench) -> None:
    assert bench.receive("35=0|34=2", begin="FIX.4.2") == [
        "35=5|34=2|58=Incorrect BeginString",
        "closed",
    ]


def test_incorrect_begin_string_in_the_logon() -> None:
    bench = Bench()
    bench.state.next_out = 7
    bench.connect()
    sent = bench.receive(LOGON, begin="FIX.4.2")
    assert sent == ["35=5|34=1|58=Incorrect BeginString", "closed"]
    assert bench.numbers == (1, 7)


def test_a_message_above_our_limit_ends_the_session() -> None:
    bench = Bench(max_message_size=150)
    bench.log_on()
    sent = bench.receive(f"35=D|34=2|58={'x' * 150}|{ORDER}")
    assert sent[-1] == "closed"
    assert "exceeds MaxMessageSize(383)=150" in sent[0]


def test_a_message_that_is_parsed_already_has_the_same_limit() -> None:
    bench = Bench(max_message_size=150)
    bench.log_on()
    text = f"35=D|34=2|58={'x' * 150}|{ORDER}"
    one = frame(text, sender="THEM", target="US", now_ms=bench.now_ms)
    assert bench.act(bench.session.receive(parse(one), bench.now_ms))[-1] == "closed"


def test_the_peers_limit_is_honoured() -> None:
    bench = Bench()
    bench.log_on(f"{LOGON}|383=120")
    with pytest.raises(ValueError, match="the peer takes 120"):
        bench.send("a" * 36)
    assert bench.numbers == (2, 2)


def test_a_garbled_first_message_closes() -> None:
    bench = Bench()
    bench.connect()
    assert bench.act(bench.session.receive_garbled(bench.now_ms)) == ["closed"]


def test_a_garbled_message_on_a_live_session_changes_nothing(bench: Bench) -> None:
    assert bench.act(bench.session.receive_garbled(bench.now_ms)) == []
    assert bench.numbers == (2, 2)


def test_a_second_connection_for_a_live_session_is_our_bug(bench: Bench) -> None:
    with pytest.raises(LocalProtocolError, match="not possible while active"):
        bench.connect()


def test_numbers_survive_a_cut(bench: Bench) -> None:
    bench.cut()
    assert bench.session.connection is State.DISCONNECTED
    bench.connect()
    bench.receive("35=A|34=2|98=0|108=30")
    assert bench.numbers == (3, 3)
    assert bench.session.is_live


def test_no_heartbeats_where_none_are_agreed() -> None:
    bench = Bench()
    bench.log_on("35=A|34=1|98=0|108=0")
    assert bench.session.next_timeout_ms() is None
    assert bench.advance(100_000) == []


def test_the_next_timeout_is_the_earliest(bench: Bench) -> None:
    session = bench.session
    assert session.next_timeout_ms() == bench.now_ms + 30_000
    bench.advance(20)
    session.note_sent(bench.now_ms)
    assert session.next_timeout_ms() == bench.now_ms + 16_000
    session.note_received(bench.now_ms)
    assert session.next_timeout_ms() == bench.now_ms + 30_000
    session.logout("", bench.now_ms)
    assert session.next_timeout_ms() == bench.now_ms + 5_000
    session.connection_lost(bench.now_ms)
    assert session.next_timeout_ms() is None


def test_the_fast_path_may_tell_an_old_time_again(bench: Bench) -> None:
    received_ms = bench.now_ms
    bench.advance(36)
    bench.session.note_received(received_ms)
    bench.session.note_sent(received_ms)
    assert bench.advance(29) == []
    bench.session.note_received(received_ms)
    assert bench.advance(7)[-1] == "closed"


def test_polling_exactly_at_each_timeout_is_enough(bench: Bench) -> None:
    sent: list[str] = []
    while (due := bench.session.next_timeout_ms()) is not None:
        sent += bench.advance((due - bench.now_ms) / 1000)
    kinds = [text.split("|")[0] for text in sent]
    assert kinds == ["35=0", "35=1", "35=0", "35=5", "closed"]


def test_a_clock_that_jumps_ahead_costs_a_test_request_only(bench: Bench) -> None:
    sent = bench.advance(3600)
    assert [text.split("|")[0] for text in sent] == ["35=1"]
    assert bench.session.is_logged_on
    bench.receive("35=0|34=2|112=TEST-2")
    assert bench.advance(35) == ["35=0|34=3"]


def test_a_clock_that_steps_back_restarts_the_timers(bench: Bench) -> None:
    assert bench.advance(-3600) == []
    assert bench.advance(30) == ["35=0|34=2"]


def test_logout_before_a_logon_closes_at_once() -> None:
    bench = Bench()
    bench.connect()
    assert bench.act(bench.session.logout("bye", bench.now_ms)) == ["closed"]
    assert bench.act(bench.session.logout("bye", bench.now_ms)) == []


def test_a_reset_discards_what_was_stored(bench: Bench) -> None:
    bench.send("a")
    bench.take_events()
    sent = bench.receive(f"{LOGON}|141=Y")
    assert sent == ["35=A|34=1|98=0|108=30|141=Y"]
    assert bench.events == [NumbersReset()]
    assert bench.numbers == (2, 2)
    assert bench.receive("35=2|34=2|7=1|16=0") == [
        "35=4|34=1|43=Y|122=20261122-10:00:00.000|123=Y|36=2"
    ]


def test_either_side_may_reset_the_live_session(bench: Bench) -> None:
    bench.receive("35=0|34=2")
    bench.take_events()
    assert bench.act(bench.session.reset_numbers(bench.now_ms)) == ["35=A|34=1|98=0|108=30|141=Y"]
    # Until the peer agrees, its messages bear the old numbers.
    assert bench.receive(f"35=D|34=3|{ORDER}") == []
    assert not bench.session.is_live
    assert bench.receive(f"{LOGON}|141=Y") == []
    assert bench.numbers == (2, 2)
    assert [type(e) for e in bench.events] == [Application, NumbersReset]
    assert bench.session.is_live


def test_a_reset_needs_a_live_session() -> None:
    with pytest.raises(LocalProtocolError, match="reset of numbers while disconnected"):
        Bench().session.reset_numbers(0)


def test_the_initiator_resets_with_the_logon() -> None:
    bench = Bench(Role.INITIATOR, reset_on_logon=True, use_next_expected=True)
    bench.state.next_in, bench.state.next_out = 7, 9
    assert bench.connect() == ["35=A|34=1|98=0|108=30|141=Y|789=1"]
    bench.receive("35=A|34=1|98=0|108=30|141=Y|789=2")
    assert bench.numbers == (2, 2)
    assert bench.events == [NumbersReset(), LoggedOn(30, was_reset=True)]


def test_a_reset_that_the_initiator_did_not_ask_for_is_refused() -> None:
    bench = Bench(Role.INITIATOR)
    bench.state.next_in, bench.state.next_out = 7, 9
    bench.connect()
    assert bench.receive("35=A|34=1|98=0|108=30|141=Y") == [
        "35=5|34=10|58=ResetSeqNumFlag(141)=Y was not asked for",
        "closed",
    ]


def test_the_initiator_is_told_why_it_is_refused() -> None:
    bench = Bench(Role.INITIATOR)
    bench.connect()
    assert bench.receive("35=5|34=1|58=not now") == ["closed"]
    assert bench.events[0] == LoggedOut("not now", by_peer=True)
    assert bench.numbers == (1, 2)


def test_the_initiator_resends_what_the_acceptor_awaits() -> None:
    bench = Bench(Role.INITIATOR, use_next_expected=True)
    bench.send("a")
    assert bench.connect() == ["35=A|34=2|98=0|108=30|789=1"]
    sent = bench.receive("35=A|34=1|98=0|108=30|789=1")
    assert [text[:14] for text in sent] == ["35=D|34=1|43=Y", "35=4|34=2|43=Y"]


def test_a_test_session_says_so() -> None:
    bench = Bench(Role.INITIATOR, is_test=True, max_message_size=4096)
    assert bench.connect() == ["35=A|34=1|98=0|108=30|383=4096|464=Y"]


def test_credentials_may_be_judged_by_a_function() -> None:
    seen = []

    def authenticate(username: bytes | None, password: bytes | None) -> bool:
        seen.append((username, password))
        return password == b"open sesame"

    bench = Bench(authenticate=authenticate)
    assert bench.log_on(f"{LOGON}|553=ali|554=please")[-1] == "closed"
    bench.cut()
    assert bench.log_on(f"{LOGON}|553=ali|554=open sesame") == ["35=A|34=1|98=0|108=30"]
    assert seen == [(b"ali", b"please"), (b"ali", b"open sesame")]


def test_a_refused_stranger_changes_no_number_and_learns_none() -> None:
    bench = Bench(password="secret")
    bench.state.next_in, bench.state.next_out = 5, 7
    sent = bench.log_on(f"{LOGON}|141=Y|554=guess")
    assert sent == ["35=5|34=1|58=Logon refused: not authorized", "closed"]
    assert bench.numbers == (5, 7)


def test_other_versions_and_names_go_through() -> None:
    bench = Bench(version=Version.FIX42, sender_comp_id="OPENOUTCRY")
    bench.connect()
    one = frame(LOGON, sender="THEM", target="OPENOUTCRY", now_ms=bench.now_ms, begin="FIX.4.2")
    bench.session.receive(one, bench.now_ms)
    (reply,) = split(bench.session.data_to_send())
    assert reply.startswith(b"8=FIX.4.2\x01")
    assert readable(reply) == LOGON
    assert value_of(reply, 49) == "OPENOUTCRY"


def test_a_session_begins_disconnected() -> None:
    session: Session = Bench().session
    assert not session.is_logged_on
    assert session.receive(b"", 0) == []
    assert session.poll(0) == []
    assert session.next_timeout_ms() is None


def test_a_gap_that_stands_still_is_asked_for_again() -> None:
    bench = Bench()
    bench.log_on("35=A|34=1|98=0|108=0")
    assert bench.receive("35=0|34=9") == ["35=2|34=2|7=2|16=0"]
    assert bench.session.next_timeout_ms() == bench.now_ms + 30_000
    assert bench.advance(29) == []
    assert bench.advance(1) == ["35=2|34=3|7=2|16=0"]
    bench.receive("35=4|34=2|43=Y|122=20261122-10:00:00.000|123=Y|36=5")
    # Something came of it: the count begins again.
    for number in (4, 5, 6):
        assert bench.advance(30) == [f"35=2|34={number}|7=5|16=0"]
    assert bench.advance(30) == ["35=5|34=7|58=MsgSeqNum 5 never came", "closed"]


def test_a_gap_that_the_peer_fills_unasked_is_asked_for_when_it_does_not() -> None:
    bench = Bench()
    bench.log_on("35=A|34=5|98=0|108=0|789=1")
    assert bench.numbers == (1, 2)
    assert bench.advance(30) == ["35=2|34=2|7=1|16=0"]


def test_a_reject_of_the_initiators_logon_is_told() -> None:
    bench = Bench(Role.INITIATOR)
    bench.connect()
    assert bench.receive("35=3|34=1|45=1|58=why") == []
    assert bench.receive("35=5|34=2") == ["closed"]
    assert [type(e) for e in bench.events] == [RejectReceived, LoggedOut, Disconnect]


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("35=0|34=1", ["closed"]),
        ("35=A|34=1|98=0", ["35=5|34=2|58=", "closed"]),
        ("35=A|34=1|98=0|108=x", ["35=5|34=2|58=", "closed"]),
        ("35=A|34=1|98=1|108=30", ["35=5|34=2|58=EncryptMethod(98) must be 0", "closed"]),
        ("35=A|34=1|98=0|108=30|789=9", ["35=5|34=2|58=NextExpected", "closed"]),
        ("35=A|34=1|98=0|108=30|49=WHO", ["35=3|34=2|45=1|371=49", "35=5|34=3|58=", "closed"]),
    ],
)
def test_the_initiator_judges_the_answer(text: str, sent: list[str]) -> None:
    bench = Bench(Role.INITIATOR)
    bench.connect()
    answer = bench.receive(text)
    assert len(answer) == len(sent)
    assert all(one.startswith(start) for one, start in zip(answer, sent, strict=True))


@pytest.mark.parametrize("number", ["0", "-1", "x", ""])
def test_a_logon_without_a_number_that_counts(number: str) -> None:
    bench = Bench()
    bench.connect()
    assert bench.receive(f"35=A|34={number}|98=0|108=30") == ["closed"]
    assert bench.numbers == (1, 1)


def test_a_logon_that_leaves_out_what_it_must_say_is_told_so() -> None:
    bench = Bench()
    (logout, closed) = bench.log_on("35=A|34=1|98=0")
    assert "HeartBtInt" in logout
    assert closed == "closed"


def test_a_stranger_with_a_large_message_gets_no_answer() -> None:
    bench = Bench(max_message_size=120)
    bench.connect()
    assert bench.receive(f"{LOGON}|553={'x' * 100}") == ["closed"]


@pytest.mark.parametrize(
    ("orig", "reason"), [("", 4), ("yesterday", 6)], ids=["empty", "no timestamp"]
)
def test_a_broken_orig_sending_time(bench: Bench, orig: str, reason: int) -> None:
    (reject,) = bench.receive(f"35=0|34=1|43=Y|122={orig}")
    assert reject.startswith(f"35=3|34=2|45=1|371=122|372=0|373={reason}|")
    assert bench.state.next_in == 2


def test_a_sequence_reset_without_its_number_is_rejected(bench: Bench) -> None:
    (reject,) = bench.receive("35=4|34=2")
    assert reject.startswith("35=3|34=2|45=2|371=36|372=4|373=1|")
    assert bench.numbers == (3, 3)
    (reject,) = bench.receive("35=4|34=9")
    assert reject.startswith("35=3|34=3|45=9|371=36|372=4|373=1|")
    assert bench.numbers == (3, 4)


def test_while_logging_out_a_low_logout_counts_and_a_reset_does_not(bench: Bench) -> None:
    bench.act(bench.session.logout("bye", bench.now_ms))
    assert bench.receive(f"{LOGON}|141=Y") == []
    assert bench.receive("35=5|34=1") == ["closed"]


def test_while_logging_out_an_error_ends_it_without_another_logout(bench: Bench) -> None:
    bench.act(bench.session.logout("bye", bench.now_ms))
    assert bench.receive("35=0|34=1") == ["closed"]


def test_the_owner_may_reject_without_words(bench: Bench) -> None:
    bench.receive(f"35=D|34=2|{ORDER}")
    (event,) = [e for e in bench.take_events() if isinstance(e, Application)]
    bench.session.reject(event.message, 5, bench.now_ms)
    bench.session.business_reject(event.message, 0, bench.now_ms)
    assert bench.act([]) == ["35=3|34=2|45=2|372=D|373=5", "35=j|34=3|45=2|372=D|380=0"]


def test_a_logon_marked_as_resent_resets_nothing(bench: Bench) -> None:
    bench.receive("35=0|34=2")
    assert bench.receive(f"{LOGON}|43=Y|122=20261122-10:00:00.000|141=Y") == []
    assert bench.numbers == (3, 2)


def test_filling_many_gaps_never_looks_through_all_that_waits(bench: Bench) -> None:
    class NeverScanned(dict[int, object]):
        """A scan for each of thousands of holes once held everybody up for twenty seconds."""

        def __iter__(self) -> NoReturn:
            raise AssertionError("the queue was scanned")

        keys = items = values = __iter__

    bench.session._core.gap._queue = NeverScanned()  # type: ignore[assignment]
    for number in range(3, 43, 2):
        bench.receive(f"35=0|34={number}")
    for number in range(2, 43, 2):
        bench.receive(f"35=0|34={number}")
    assert bench.session.state.next_in == 43
    assert not bench.session.is_gap_pending

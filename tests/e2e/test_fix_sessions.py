"""FIX sessions in a running venue: numbers, gaps, resends, time-outs, and who may log on."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.peers import Closed, FixPeer, utc
from support.venue import Venue

pytestmark = pytest.mark.two_gateways_too

MakeFix = Callable[..., FixPeer]


@pytest.fixture
def again(venue: Venue) -> Iterator[Callable[..., FixPeer]]:
    """Connect a session again, with its numbers going on; not logged on yet."""
    peers: list[FixPeer] = []

    def make(before: FixPeer) -> FixPeer:
        port, numbers = venue.port("fix"), (before.next_out, before.next_in)
        peers.append(FixPeer(port, before.comp_id, next_out=numbers[0], next_in=numbers[1]))
        return peers[-1]

    yield make
    for peer in peers:
        peer.close()


def until_free(again: Callable[..., FixPeer], before: FixPeer, body: str = "") -> FixPeer:
    """Close a session's connection and log on anew; the venue may need a moment to see the end."""
    before.close()
    deadline = time.monotonic() + 10
    while True:
        peer = again(before)
        try:
            peer.send("A", f"98=0|108=0|{body}")
            answer = peer.receive(is_numbered=False)
            assert answer.kind == "A", answer
            peer.next_in = int(answer[34]) + 1
        except Closed:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        else:
            return peer


def test_logon_is_echoed_and_logout_answered(venue: Venue, comp_id: str):
    with FixPeer(venue.port("fix"), comp_id) as client:
        answer = client.log_on(heartbeat_s=30)
        assert answer.pick(35, 34, 49, 56, 98, 108, 141) == [
            *("A", "1", "OPENOUTCRY", comp_id, "0", "30", None),
        ]
        client.send("5", "58=bye|")
        assert client.receive().pick(35, 34) == ["5", "2"]
        client.wait_closed()


def test_a_test_request_is_answered_with_its_id(fix: MakeFix):
    client = fix()
    client.send("1", "112=hello|")
    assert client.receive().pick(35, 112) == ["0", "hello"]


def test_heartbeats_and_the_end_of_a_silent_client(venue: Venue, comp_id: str):
    with FixPeer(venue.port("fix"), comp_id) as client:
        client.log_on(heartbeat_s=1)
        start = time.monotonic()
        seen = []
        while True:
            message = client.receive()
            seen.append(message.kind)
            if message.kind == "5":
                break
        assert 2.0 < time.monotonic() - start < 5.0
        assert seen[0] == "0"
        assert "1" in seen
        assert "Nothing received" in message[58]
        client.wait_closed()
    venue.wait_for_log("heartbeat timeout")


def test_a_client_that_answers_stays(venue: Venue, comp_id: str):
    with FixPeer(venue.port("fix"), comp_id) as client:
        client.log_on(heartbeat_s=1)
        until = time.monotonic() + 3.5
        kinds = set()
        while time.monotonic() < until:
            message = client.receive()
            kinds.add(message.kind)
            if message.kind == "1":
                client.send("0", f"112={message[112]}|")
        assert kinds == {"0", "1"}


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("98=1|108=30|", "EncryptMethod"),
        ("98=0|108=-1|", "108"),
        ("98=0|108=3601|", "HeartBtInt"),
    ],
)
def test_a_logon_that_cannot_be_agreed_is_refused(venue: Venue, comp_id: str, body: str, text: str):
    with FixPeer(venue.port("fix"), comp_id) as client:
        client.send("A", body)
        answer = client.receive()
        assert answer.kind == "5"
        assert text in answer[58]
        client.wait_closed()


@pytest.mark.parametrize(
    ("kind", "header", "reason"),
    [
        ("A", {"target": "SOMEBODY"}, "Logon for another TargetCompID"),
        ("D", {}, "first message is no Logon"),
        ("0", {}, "first message is no Logon"),
    ],
)
def test_a_connection_that_does_not_begin_well_is_closed_without_a_word(
    venue: Venue, comp_id: str, kind: str, header: dict[str, str], reason: str
):
    with FixPeer(venue.port("fix"), comp_id) as client:
        client.send(kind, "98=0|108=30|", **header)
        assert client.wait_closed() == b""
    venue.wait_for_log(reason)


def test_a_second_logon_is_refused_and_the_first_goes_on(
    venue: Venue, fix: MakeFix, again: Callable[..., FixPeer]
):
    first = fix()
    second = again(first)
    second.send("A", "98=0|108=0|")
    assert second.wait_closed() == b""
    venue.wait_for_log("session is logged on already")
    # Asked whether it is still there, the first one answers in time.
    asked = first.receive()
    assert asked.kind == "1"
    first.send("0", f"112={asked[112]}|")
    assert first.is_alive()


def test_a_number_too_low_ends_the_session(venue: Venue, fix: MakeFix, symbol: str):
    client = fix()
    client.new("o", symbol, "1", 10, "10.00")
    client.receive()
    client.send("D", client.order("o2", symbol, "1", 10, "10.00"), seq="2")
    answer = client.receive()
    assert answer.pick(35, 58) == ["5", "MsgSeqNum too low, expecting 3 but received 2"]
    client.send("5")
    client.wait_closed()


def test_a_logon_with_a_number_too_low_is_refused(
    fix: MakeFix, again: Callable[..., FixPeer], symbol: str
):
    first = fix()
    first.new("o", symbol, "1", 10, "10.00")
    first.receive()
    first.log_out()
    second = again(first)
    second.send("A", "98=0|108=0|", seq="1")
    answer = second.receive()
    assert answer.kind == "5"
    assert answer[58].startswith("MsgSeqNum too low, expecting 4 but received 1")


def test_a_gap_is_asked_for_and_its_messages_executed_in_order(fix: MakeFix, symbol: str):
    client = fix()
    client.next_out += 2
    client.new("o3", symbol, "1", 10, "10.00")
    request = client.receive()
    assert request.pick(35, 7, 16) == ["2", "2", "0"]
    for seq, name in ((2, "o1"), (3, "o2")):
        body = client.order(name, symbol, "1", 10, "10.00")
        client.send("D", body, seq=str(seq), extra=f"43=Y|122={utc()}|")
    assert [report[11] for report in client.reports(3)] == ["o1", "o2", "o3"]
    # What is executed is executed once.
    client.send("D", body, seq="3", extra=f"43=Y|122={utc()}|")
    assert client.is_alive()


def test_a_gap_may_be_filled_with_nothing(fix: MakeFix, symbol: str):
    client = fix()
    client.next_out += 3
    client.new("o", symbol, "1", 10, "10.00")
    assert client.receive().kind == "2"
    client.send("4", "123=Y|36=5|", seq="2", extra=f"43=Y|122={utc()}|")
    assert client.outcomes(1) == ["o 0/0 cum=0 leaves=10"]
    assert client.is_alive()


def test_fills_of_the_time_away_come_by_resend_with_the_same_ids(
    fix: MakeFix, again: Callable[..., FixPeer], symbol: str
):
    maker, taker = fix(), fix()
    maker.new("m", symbol, "2", 30, "10.00")
    new = maker.receive()
    maker.log_out()
    for name in ("t1", "t2", "t3"):
        taker.new(name, symbol, "1", 10, "10.00")
        taker.reports(2)
    back = again(maker)
    answer_number = maker.next_in + 3
    back.send("A", "98=0|108=0|")
    answer = back.receive(is_numbered=False)
    assert answer.pick(35, 34) == ["A", str(answer_number)]
    back.send("2", "7=2|16=0|")
    back.next_in = 2
    resent = [back.receive() for _ in range(6)]
    assert [message.pick(35, 43, 36) for message in resent] == [
        ["8", "Y", None],
        ["4", "Y", "4"],
        ["8", "Y", None],
        ["8", "Y", None],
        ["8", "Y", None],
        ["4", "Y", str(answer_number + 1)],
    ]
    assert resent[0].pick(17, 37, 60, 122) == new.pick(17, 37, 60, 52)
    assert [message.outcome for message in resent[2:5]] == [
        "m F/1 10@10.00 cum=10 leaves=20",
        "m F/1 10@10.00 cum=20 leaves=10",
        "m F/2 10@10.00 cum=30 leaves=0",
    ]
    # Once more: the same again, but for the time of sending.
    back.send("2", "7=2|16=0|")
    back.next_in = 2
    once_more = [back.receive() for _ in range(6)]
    for one, other in zip(resent, once_more, strict=True):
        # A gap fill is made anew, so that it has no first time of sending.
        volatile = {9, 10, 52, 122} if one.kind == "4" else {9, 10, 52}
        assert {k: v for k, v in one.items() if k not in volatile} == {
            k: v for k, v in other.items() if k not in volatile
        }
    back.next_in = answer_number + 1
    assert back.is_alive()


def test_a_resend_of_a_part_is_that_part(fix: MakeFix, symbol: str):
    client = fix()
    for number in range(1, 6):
        client.new(f"o{number}", symbol, "1", 10, "10.00")
    first = client.reports(5)
    client.send("2", "7=3|16=4|")
    for sent in first[1:3]:
        copy = client.receive(is_numbered=False)
        assert copy.pick(34, 11, 17, 43) == [sent[34], sent[11], sent[17], "Y"]
    assert client.is_alive()


def test_rejects_of_the_gateway_are_resent_too(
    fix: MakeFix, again: Callable[..., FixPeer], symbol: str
):
    client = fix()
    client.new("bad", "NOSUCH", "1", 10, "10.00")
    client.new("off", symbol, "1", 10, "10.01")
    rejects = client.reports(2)
    back = until_free(again, client)
    back.send("2", "7=2|16=3|")
    copies = [back.receive(is_numbered=False) for _ in range(2)]
    for one, other in zip(rejects, copies, strict=True):
        assert other.pick(34, 11, 17, 58, 103) == one.pick(34, 11, 17, 58, 103)
        assert other.pick(43, 122) == ["Y", one[52]]


def test_next_expected_in_the_logon_brings_the_missing_at_once(
    fix: MakeFix, again: Callable[..., FixPeer], symbol: str
):
    client = fix()
    for number in range(3):
        client.new(f"o{number}", symbol, "1", 10, "10.00")
    client.reports(3)
    client.next_in = 3
    back = until_free(again, client, "789=3|")
    copies = [back.receive(is_numbered=False) for _ in range(2)]
    assert [copy.pick(34, 11, 43) for copy in copies] == [["3", "o1", "Y"], ["4", "o2", "Y"]]


def test_a_reset_begins_both_directions_anew(
    fix: MakeFix, again: Callable[..., FixPeer], symbol: str
):
    client = fix()
    client.new("o", symbol, "1", 10, "10.00")
    client.receive()
    client.log_out()
    client.next_out = client.next_in = 1
    back = again(client)
    answer = back.log_on("141=Y|")
    assert answer.pick(34, 141) == ["1", "Y"]
    # The order is still there, its ClOrdID still used, the numbers are new.
    back.status("o", symbol)
    assert back.outcomes(1) == ["o I/0 cum=0 leaves=10"]
    back.new("o", symbol, "1", 10, "10.00")
    assert back.receive().pick(150, 103) == ["8", "6"]
    back.new("o2", symbol, "1", 10, "10.00")
    assert back.outcomes(1) == ["o2 0/0 cum=0 leaves=10"]


def test_a_reset_in_the_midst_of_a_session(fix: MakeFix, symbol: str):
    client = fix()
    client.new("o", symbol, "1", 10, "10.00")
    client.receive()
    client.next_out = client.next_in = 1
    assert client.log_on("141=Y|").pick(34, 141) == ["1", "Y"]
    client.new("o2", symbol, "1", 10, "10.00")
    assert client.outcomes(1) == ["o2 0/0 cum=0 leaves=10"]
    assert client.is_alive()


def test_a_wrong_comp_id_in_a_session_is_a_reject_and_the_end(fix: MakeFix, symbol: str):
    client = fix()
    client.send("D", client.order("o", symbol, "1", 10, "10.00"), sender="OTHER")
    assert client.receive().pick(35, 373, 371) == ["3", "9", "49"]
    assert client.receive().kind == "5"


@pytest.mark.parametrize("offset_s", [-300, 300])
def test_a_sending_time_far_off_is_a_reject_and_the_end(fix: MakeFix, symbol: str, offset_s: float):
    client = fix()
    client.send("D", client.order("o", symbol, "1", 10, "10.00"), time=utc(offset_s))
    assert client.receive().pick(35, 373) == ["3", "10"]
    assert client.receive().kind == "5"


def test_an_unknown_type_and_one_not_served(fix: MakeFix):
    client = fix()
    client.send("ZZ", "58=what|")
    assert client.receive().pick(35, 372, 373) == ["3", "ZZ", "11"]
    client.send("V", "262=x|263=0|264=0|267=1|269=0|146=1|55=BTCUSDT|")
    assert client.receive().pick(35, 372, 380) == ["j", "V", "3"]
    assert client.is_alive()


def test_configured_sessions_need_their_names_and_passwords(tmp_path: Path):
    sessions = [
        {"id": "ALPHA-1", "protocol": "fix", "password": "secret-1"},
        {"id": "ALPHA-2", "protocol": "fix"},
        {"id": "ALPHA-B", "protocol": "binary", "password": "secret-b"},
    ]
    firms = [{"name": "alpha", "accounts": ["ACC1"], "sessions": sessions}]
    config = {"dynamic_sessions": False, "firms": firms}
    with Venue(tmp_path, config=config) as venue:
        port = venue.port("fix")
        for name, body in (("ALPHA-1", ""), ("ALPHA-1", "554=wrong|"), ("ALPHA-1", "554=|")):
            with FixPeer(port, name) as client:
                client.send("A", f"98=0|108=0|{body}")
                # An empty 554 is no well-formed field, so there may be no word at all.
                assert b"\x0135=A\x01" not in client.wait_closed()
        with FixPeer(port, "NOBODY") as client:
            client.send("A", "98=0|108=0|")
            assert client.wait_closed() == b""
        with FixPeer(port, "ALPHA-B") as client:
            client.send("A", "98=0|108=0|554=secret-b|")
            assert client.wait_closed() == b""
        assert "unknown SenderCompID" in venue.log()
        with FixPeer(port, "ALPHA-1", next_in=4) as client:
            # Three refusals have taken the venue's numbers 1 to 3, and none of the client's.
            client.send("A", "98=0|108=0|554=secret-1|")
            answer = client.receive(is_numbered=False)
            assert answer.kind == "A", answer
            client.next_in = int(answer[34]) + 1
            client.new("x", "AAPL", "1", 10, "10.00", extra="1=ACC1|")
            assert client.receive().pick(150, 1) == ["0", "ACC1"]
            client.new("y", "AAPL", "1", 10, "10.00", extra="1=ACC2|")
            assert client.receive().pick(150, 103, 58) == ["8", "15", "unknown account ACC2"]
            client.log_out()
        with FixPeer(port, "ALPHA-2") as client:
            client.log_on()
            client.log_out()
        assert "secret" not in venue.log()
        assert "wrong" not in venue.log()

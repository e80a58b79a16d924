"""Binary sessions in a running venue: logon, numbers, recovery."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.peers import BinaryPeer, Heartbeat
from support.venue import GATEWAYS, Venue, wait_for

from openoutcry.protocol.binary.enums import LogoutReason, RejectReason
from openoutcry.protocol.binary.messages import ExecutionReport, Logon, LogonAccepted, Logout

MakeBinary = Callable[..., BinaryPeer]


@pytest.fixture
def again(venue: Venue) -> Iterator[Callable[..., BinaryPeer]]:
    """Connect a session again and log on, when the venue has seen the old connection's end."""
    peers: list[BinaryPeer] = []

    def make(before: BinaryPeer, next_expected: int | None = None) -> BinaryPeer:
        before.close()

        def try_it() -> BinaryPeer | None:
            peer = BinaryPeer(venue.port("binary"), before.session_id, next_in=before.next_in)
            peers.append(peer)
            awaited = before.next_in if next_expected is None else next_expected
            peer.send(Logon(1, before.session_id, "", awaited, 0))
            first = peer.receive()
            if isinstance(first, Logout) and first.reason == LogoutReason.ALREADY_LOGGED_ON:
                return None
            assert isinstance(first, LogonAccepted), first
            for _ in range(first.symbols):
                peer.receive()
            peer.symbols = before.symbols
            peer.seq = first.last_accepted + 1
            peer.next_in = awaited or first.next_seq
            return peer

        peer: BinaryPeer = wait_for(try_it)
        return peer

    yield make
    for peer in peers:
        peer.close()


def test_logon_tells_numbers_and_symbols(venue: Venue, comp_id: str):
    with BinaryPeer(venue.port("binary"), comp_id) as client:
        accepted = client.log_on(heartbeat_s=7)
        assert (accepted.version, accepted.last_accepted, accepted.next_seq) == (1, 0, 1)
        assert accepted.heartbeat_s == 7
        assert {name: each.number for name, each in client.symbols.items()} == (
            venue.symbol_numbers
        )
        bitcoin = client.symbols["BTCUSDT"]
        assert (bitcoin.tick, bitcoin.lot, bitcoin.min_price, bitcoin.min_qty) == (
            *("0.01", "0.00001", 1, 1),
        )
        client.send(Logout())
        assert client.logout_reason() == LogoutReason.NORMAL


@pytest.mark.parametrize(
    ("logon", "reason"),
    [
        (Logon(2, "V2", "", 1, 0), LogoutReason.UNSUPPORTED_VERSION),
        (Logon(1, "HB", "", 1, 3601), LogoutReason.INVALID_HEARTBEAT),
        (Logon(1, "NX", "", 2, 0), LogoutReason.NEXT_EXPECTED_OUT_OF_RANGE),
        (Logon(1, "with space", "", 1, 0), LogoutReason.NOT_AUTHORIZED),
        (Heartbeat(), LogoutReason.PROTOCOL_ERROR),
        (Logout(), LogoutReason.PROTOCOL_ERROR),
    ],
)
def test_a_first_message_that_will_not_do(venue: Venue, logon: Logon, reason: LogoutReason):
    with BinaryPeer(venue.port("binary"), "") as client:
        client.send(logon)
        assert client.logout_reason() == reason


def test_a_second_logon_is_refused_and_the_first_goes_on(venue: Venue, binary: MakeBinary):
    first = binary()
    with BinaryPeer(venue.port("binary"), first.session_id) as second:
        second.send(Logon(1, first.session_id, "", 1, 0))
        assert second.logout_reason() == LogoutReason.ALREADY_LOGGED_ON
    assert first.is_alive()


def test_heartbeats_and_the_end_of_a_silent_client(venue: Venue, comp_id: str):
    with BinaryPeer(venue.port("binary"), comp_id) as client:
        client.log_on(heartbeat_s=1)
        start = time.monotonic()
        assert client.receive() == Heartbeat()
        assert client.logout_reason() == LogoutReason.HEARTBEAT_TIMEOUT
        assert 2.5 < time.monotonic() - start < 5


def test_a_client_that_sends_heartbeats_stays(venue: Venue, comp_id: str):
    with BinaryPeer(venue.port("binary"), comp_id) as client:
        client.log_on(heartbeat_s=1)
        for _ in range(4):
            assert client.receive() == Heartbeat()
            client.send(Heartbeat())


def test_a_skipped_number_ends_the_session(binary: MakeBinary, symbol: str):
    client = binary()
    client.seq += 1
    client.new("o", symbol, 1, 1, 200)
    assert client.logout_reason() == LogoutReason.SEQUENCE_GAP


def test_a_repeated_number_is_not_executed_again(binary: MakeBinary, symbol: str):
    client = binary()
    first = client.order("o1", symbol, 1, 1, 200)
    second = client.order("o2", symbol, 1, 1, 200)
    client.send(first, first, second, first, second)
    assert [report.cl_ord_id for report in client.reports(2)] == ["o1", "o2"]
    assert client.is_alive()


def test_what_was_missed_is_repeated_with_the_same_numbers(
    binary: MakeBinary, again: Callable[..., BinaryPeer], symbol: str
):
    maker, taker = binary(), binary()
    maker.new("m", symbol, 2, 3, 200)
    new = maker.report()
    maker.close()
    for number in range(3):
        taker.new(f"t{number}", symbol, 1, 1, 200)
        taker.reports(2)
    back = again(maker)
    missed = back.reports(3)
    flags = [report.repeated for report in missed]
    assert flags == sorted(flags, reverse=True)
    # Another gateway may have told the taker before the maker's own knew of it.
    assert all(flags) or GATEWAYS > 1
    assert [(report.seq, report.cum_qty, report.leaves_qty) for report in missed] == [
        *((2, 1, 2), (3, 2, 1), (4, 3, 0)),
    ]
    assert back.seq == maker.seq
    assert back.is_alive(symbol)
    all_again = again(back, next_expected=1)
    everything = all_again.reports(5)
    assert [report.seq for report in everything] == [1, 2, 3, 4, 5]

    def but_for_the_flag(report: ExecutionReport) -> dict[str, object]:
        return {
            name: getattr(report, name)
            for name in report.__struct_fields__[1:]
            if name != "repeated"
        }

    assert but_for_the_flag(everything[0]) == but_for_the_flag(new)
    assert list(map(but_for_the_flag, everything[1:4])) == list(map(but_for_the_flag, missed))
    # Nothing that was missed is wanted: new messages only.
    fresh = again(all_again, next_expected=0)
    assert fresh.is_alive(symbol)


def test_rejects_are_repeated_too(
    binary: MakeBinary, again: Callable[..., BinaryPeer], symbol: str
):
    client = binary()
    order = client.order("bad", symbol, 1, 1, 200)
    client.send(type(order)(order.seq, "bad", 10**6, 1, 2, 1, 200, 1))
    reject = client.reject()
    client.next_in = 1
    copy = again(client).reject()
    assert copy.repeated
    assert (copy.seq, copy.ref_seq, copy.cl_ord_id, copy.reason, copy.text) == (
        *(reject.seq, reject.ref_seq, "bad", RejectReason.UNKNOWN_SYMBOL, reject.text),
    )


def test_requests_that_did_not_arrive_are_sent_again_and_executed_once(
    binary: MakeBinary, again: Callable[..., BinaryPeer], symbol: str
):
    client = binary()
    orders = [client.order(f"o{n}", symbol, 1, 1, 200) for n in range(4)]
    client.send(*orders[:2])
    client.reports(2)
    back = again(client)
    assert back.seq == 3
    back.send(*orders)
    back.seq = 5
    assert [report.cl_ord_id for report in back.reports(2)] == ["o2", "o3"]
    assert back.is_alive(symbol)


def test_configured_sessions_need_their_passwords(tmp_path: Path):
    sessions = [
        {"id": "ALPHA-B", "protocol": "binary", "password": "secret-b"},
        {"id": "ALPHA-F", "protocol": "fix"},
    ]
    firms = [{"name": "alpha", "accounts": ["ACC1"], "sessions": sessions}]
    config = {"dynamic_sessions": False, "firms": firms}
    with Venue(tmp_path, config=config) as venue:
        for name, password in (
            *(("ALPHA-B", ""), ("ALPHA-B", "wrong"), ("ALPHA-F", ""), ("NOBODY", "")),
        ):
            with BinaryPeer(venue.port("binary"), name) as client:
                client.send(Logon(1, name, password, 1, 0))
                refusal = client.receive()
                assert isinstance(refusal, Logout)
                assert refusal.reason == LogoutReason.NOT_AUTHORIZED
                assert refusal.text == "session id or password is not valid"
                client.wait_closed()
        with BinaryPeer(venue.port("binary"), "ALPHA-B") as client:
            client.log_on(password="secret-b")
            client.new("x", "AAPL", 1, 10, 1000, account="ACC1")
            assert client.report().account == "ACC1"
            client.new("y", "AAPL", 1, 10, 1000, account="ACC2")
            assert client.reject().reason == RejectReason.UNKNOWN_ACCOUNT
            client.log_out()
        assert "secret" not in venue.log()

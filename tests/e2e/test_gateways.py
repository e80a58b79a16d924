"""A venue with two gateways and two shards: every session is served by its own gateway, wherever
its connection was accepted."""

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from support.peers import BinaryPeer, FixPeer
from support.venue import SYMBOLS, Venue, wait_for

from openoutcry.protocol.binary.enums import LogoutReason, RejectReason
from openoutcry.protocol.binary.messages import ExecutionReport, Logon, Logout, Reject
from openoutcry.server.directory import AccountRecord, home_of, read_directory

COUNT = 2


def fix_home(name: str) -> int:
    """Return the gateway of a FIX session."""
    return home_of("fix", "FIX.4.4", name, COUNT)


def of_home(home: int, prefix: str, count: int = 1) -> list[str]:
    """Return names of FIX sessions that belong to a gateway."""
    names = (f"{prefix}-{n}" for n in range(1000))
    return [name for name in names if fix_home(name) == home][:count]


TRADERS = [of_home(home, "TRADER")[0] for home in range(COUNT)]
COPIES = [of_home(home, "COPY")[0] for home in range(COUNT)]
CONFIG: dict[str, Any] = {
    "dynamic_sessions": True,
    "shards": [{"core": None}, {"core": None}],
    "capacity": {"sessions": 512, "accounts": 1024},
    "gateway": {"count": COUNT},
    "fix": {"logon_timeout_s": 3, "takeover_timeout_s": 1},
    "binary": {"logon_timeout_s": 3},
    "firms": [
        {
            "name": "alpha",
            "accounts": ["HOUSE"],
            "sessions": [
                *({"id": name} for name in TRADERS),
                {"id": "B0", "protocol": "binary"},
                *({"id": name, "drop_copy": "firm"} for name in COPIES),
                {"id": "LOCKED", "password": "secret-1"},
            ],
        }
    ],
}


@pytest.fixture(scope="module")
def whole_venue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Venue]:
    folder = tmp_path_factory.mktemp("gateways")
    with Venue(folder, config=CONFIG, symbols=SYMBOLS, data_dir=folder / "data") as made:
        yield made


@pytest.fixture
def venue(whole_venue: Venue) -> Iterator[Venue]:
    """The venue of this module: the same processes after each test as before."""
    before = whole_venue.pids()
    yield whole_venue
    assert whole_venue.pids() == before, whole_venue.log()
    assert "Traceback" not in whole_venue.log()


@contextlib.contextmanager
def stopped(venue: Venue, gateway: int) -> Iterator[None]:
    """Let the other gateway accept what comes meanwhile, and read nothing itself."""
    pid = venue.children()[f"oo-gateway-{gateway}"]
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def logged_on(
    venue: Venue, name: str, accepted_by: int, numbers: tuple[int, int] = (1, 1)
) -> FixPeer:
    """Log a client on over a connection that a certain gateway accepts."""
    with stopped(venue, 1 - accepted_by):
        peer = FixPeer(venue.port("fix"), name, next_out=numbers[0], next_in=numbers[1])
        peer.send("A", "98=0|108=0|")
        time.sleep(0.1)
    answer = peer.receive()
    assert answer.kind == "A", answer
    return peer


def two_symbols(venue: Venue) -> tuple[str, str]:
    """Return a symbol of either shard."""
    found: dict[int, str] = {}
    while len(found) < 2:
        symbol = venue.take_symbol()
        found.setdefault(venue.symbol_numbers[symbol] % 2, symbol)
    return found[0], found[1]


@pytest.mark.parametrize("accepted_by", [0, 1])
@pytest.mark.parametrize("home", [0, 1])
def test_a_session_trades_both_shards_wherever_it_was_accepted(
    venue: Venue, home: int, accepted_by: int
):
    symbols = two_symbols(venue)
    (name,) = of_home(home, f"R{home}{accepted_by}")
    other = FixPeer(venue.port("fix"), f"{name}-X")
    other.log_on()
    moved = venue.log().count(f" gateway={home}")
    numbers = (1, 1)
    for round_ in range(2):
        # The second time the connection comes in by the other gateway.
        peer = logged_on(venue, name, accepted_by ^ round_, numbers)
        for symbol in symbols:
            peer.new(f"s{round_}-{symbol}", symbol, "2", 10, "10.00")
            assert peer.receive()[150] == "0"
            other.new(f"b{round_}-{symbol}", symbol, "1", 10, "10.00")
            assert [report[150] for report in other.reports(2)] == ["0", "F"]
            assert peer.receive()[150] == "F"
        assert peer.is_alive()
        numbers = peer.next_out, peer.next_in
        peer.close()
    other.close()
    # One of the two came in by the other gateway.
    assert venue.log().count(f" gateway={home}") > moved


def test_reports_of_an_absent_client_wait_at_its_home(venue: Venue):
    symbols = two_symbols(venue)
    away, here = of_home(0, "AWAY", 1)[0], of_home(1, "HERE", 1)[0]
    peer, other = FixPeer(venue.port("fix"), away), FixPeer(venue.port("fix"), here)
    peer.log_on()
    other.log_on()
    for symbol in symbols:
        peer.new(f"s-{symbol}", symbol, "2", 10, "10.00")
        assert peer.receive()[150] == "0"
    peer.close()
    for symbol in symbols:
        other.new(f"b-{symbol}", symbol, "1", 10, "10.00")
        assert [report[150] for report in other.reports(2)] == ["0", "F"]
    again = FixPeer(
        venue.port("fix"), away, next_out=peer.next_out, next_in=peer.next_in + len(symbols)
    )
    again.log_on()
    again.send("2", f"7={peer.next_in}|16=0|")
    resent = [again.receive(is_numbered=False) for _ in symbols]
    assert {report[11] for report in resent} == {f"s-{symbol}" for symbol in symbols}
    assert {(report[150], report[43]) for report in resent} == {("F", "Y")}
    again.close()
    other.close()


def test_binary_sessions_come_to_their_home_too(venue: Venue):
    symbols = two_symbols(venue)
    names = [f"BIN-{n}" for n in range(8)]
    assert {home_of("binary", "", name, COUNT) for name in names} == {0, 1}
    peers = [BinaryPeer(venue.port("binary"), name) for name in names]
    for peer in peers:
        peer.log_on()
        for symbol in symbols:
            # What comes right behind the Logon goes over with it.
            peer.new(f"o-{symbol}", symbol, 1, 1, 20)
        reports = [peer.receive() for _ in symbols]
        assert all(isinstance(report, ExecutionReport) for report in reports)
    for peer in peers:
        peer.log_out()
    for name, before in zip(names, peers, strict=True):
        with BinaryPeer(venue.port("binary"), name, next_in=1) as again:
            accepted = again.log_on()
            assert accepted.last_accepted == before.seq - 1
            assert [again.receive().seq for _ in range(2)] == [1, 2]  # type: ignore[union-attr]


def test_orders_right_behind_the_logon_are_handed_over_with_it(venue: Venue):
    for home in (0, 1):
        for by in (0, 1):
            symbol = venue.take_symbol()
            (name,) = of_home(home, f"RUSH{home}{by}")
            with stopped(venue, 1 - by):
                peer = FixPeer(venue.port("fix"), name)
                data = peer.frame("A", "98=0|108=0|")
                orders = [
                    peer.frame("D", peer.order(f"o{n}", symbol, "1", 10, "1.00")) for n in range(50)
                ]
                peer.raw(data + b"".join(orders))
                time.sleep(0.1)
            assert peer.receive().kind == "A"
            assert [report[11] for report in peer.reports(50)] == [f"o{n}" for n in range(50)]
            peer.close()


def test_sixty_clients_log_on_at_once(venue: Venue):
    peers: list[FixPeer | BinaryPeer] = []
    for n in range(30):
        peers.append(FixPeer(venue.port("fix"), f"STORM-{n}"))
        peers.append(BinaryPeer(venue.port("binary"), f"STORM-{n}"))
    failed: list[BaseException] = []

    def log_on(some: list[FixPeer | BinaryPeer]) -> None:
        try:
            for peer in some:
                peer.log_on()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=log_on, args=(peers[n::6],)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not failed
    for peer in peers:
        peer.log_out()


def test_new_accounts_named_in_both_gateways_at_once_are_one(venue: Venue):
    symbols = two_symbols(venue)
    names = [of_home(home, "ACC")[0] for home in (0, 1)]
    peers = [FixPeer(venue.port("fix"), name) for name in names]
    for peer in peers:
        peer.log_on()
    count = 40
    for start in range(0, count, 10):
        for peer, side in zip(peers, "12", strict=True):
            peer.raw(
                b"".join(
                    peer.frame(
                        "D",
                        peer.order(
                            f"o{n}",
                            symbols[n % 2],
                            side,
                            10,
                            "1.00" if side == "1" else "9.00",
                            extra=f"1=NEW-{n}|",
                        ),
                    )
                    for n in range(start, start + 10)
                )
            )
    for peer in peers:
        # Reports of the two shards come in any order.
        told = {report[11]: report[1] for report in peer.reports(count)}
        assert told == {f"o{n}": f"NEW-{n}" for n in range(count)}
        peer.close()
    assert venue.data_dir is not None
    content = read_directory(venue.data_dir)
    found = [record.name for record in content.accounts if isinstance(record, AccountRecord)]
    assert len(found) == len(set(found))
    assert {f"NEW-{n}" for n in range(count)} <= set(found)


def test_drop_copies_reach_receivers_of_either_gateway(venue: Venue):
    symbols = two_symbols(venue)
    copies = [FixPeer(venue.port("fix"), name) for name in COPIES]
    clients = [FixPeer(venue.port("fix"), name) for name in TRADERS]
    binary = BinaryPeer(venue.port("binary"), "B0")
    for peer in (*copies, *clients):
        peer.log_on()
    # Copies of what was declined tell the epoch, which only the client's own gateway knows.
    for client in clients:
        client.next_out = client.next_in = 1
        client.send("A", "98=0|108=0|141=Y|")
        assert client.receive()[141] == "Y"
    binary.log_on()
    expected: list[str] = []
    for client in clients:
        for symbol in symbols:
            client.new(f"{client.comp_id}-{symbol}", symbol, "1", 10, "1.00", extra="1=HOUSE|")
            expected.append(client.receive()[17])
        client.new(f"{client.comp_id}-no", "NOPE", "1", 10, "1.00")
        expected.append(client.receive()[17])
    binary.new("bin-1", symbols[0], 1, 1, 20)
    assert isinstance(binary.receive(), ExecutionReport)
    for copy in copies:
        told = copy.reports(len(expected) + 1)
        assert len({report[17] for report in told}) == len(told)
        assert set(expected) <= {report[17] for report in told}
        assert all(report.kind == "8" for report in told)
        assert copy.is_alive()
    for each in (*copies, *clients, binary):
        each.close()


def test_a_second_logon_takes_over_a_connection_that_is_dead(venue: Venue):
    for home in (0, 1):
        (name,) = of_home(home, "TAKE")
        first = FixPeer(venue.port("fix"), name)
        first.log_on()
        with stopped(venue, home):
            second = FixPeer(venue.port("fix"), name, next_out=2, next_in=2)
            second.send("A", "98=0|108=0|")
            time.sleep(0.1)
        second.wait_closed()
        # The first one is asked, does not answer, and makes room.
        assert first.receive().kind == "1"
        first.wait_closed()
        first.close()
        second.close()
        third = FixPeer(venue.port("fix"), name, next_out=first.next_out + 1)
        third.send("A", "98=0|108=0|")
        assert third.receive(is_numbered=False).kind == "A"
        third.close()


def test_strangers_are_dealt_with_where_they_arrive(venue: Venue):
    for by in (0, 1):
        with stopped(venue, 1 - by):
            for header in ({"target": "ELSEWHERE"}, {"sender": "a b"}):
                with FixPeer(venue.port("fix"), "STRANGER") as peer:
                    peer.send("A", "98=0|108=0|", **header)
                    assert peer.wait_closed() == b""
            with FixPeer(venue.port("fix"), "STRANGER") as peer:
                peer.raw(b"GET / HTTP/1.1\r\n\r\n" * 10)
                assert peer.wait_closed() == b""


def test_a_wrong_password_is_refused_at_the_sessions_home(venue: Venue):
    for by in (0, 1):
        with stopped(venue, 1 - by):
            peer = FixPeer(venue.port("fix"), "LOCKED")
            peer.send("A", "98=0|108=0|554=wrong|")
            time.sleep(0.1)
        answer = peer.receive(is_numbered=False)
        assert answer.kind == "5"
        peer.close()
    good = FixPeer(venue.port("fix"), "LOCKED", next_out=3, next_in=3)
    good.send("A", "98=0|108=0|554=secret-1|")
    assert good.receive(is_numbered=False).kind == "A"
    good.close()


def test_a_first_message_that_comes_slowly_is_handed_over_in_time_or_closed(venue: Venue):
    started = time.monotonic()
    slow = [FixPeer(venue.port("fix"), of_home(home, "SLOW")[0]) for home in (0, 1)]
    never = [socket.create_connection(("127.0.0.1", venue.port("fix"))) for _ in range(4)]
    for sock in never[:2]:
        # Half a Logon; the others send nothing at all.
        sock.sendall(b"8=FIX.4.4\x019=")
    frames = [peer.frame("A", "98=0|108=0|") for peer in slow]
    longest = max(len(frame) for frame in frames)
    for place in range(longest):
        for peer, frame in zip(slow, frames, strict=True):
            peer.raw(frame[place : place + 1])
        time.sleep(1.0 / longest)
    for peer in slow:
        assert peer.receive().kind == "A"
        assert peer.is_alive()
        peer.close()
    for sock in never:
        sock.settimeout(10)
        with contextlib.suppress(ConnectionResetError):
            assert sock.recv(100) == b""
        sock.close()
    assert 2.5 < time.monotonic() - started < 8


def test_a_client_whose_gateway_is_away_waits_within_the_time_for_its_logon(venue: Venue):
    (name,) = of_home(1, "LATE")
    with stopped(venue, 1):
        peer = FixPeer(venue.port("fix"), name)
        peer.send("A", "98=0|108=0|")
        with BinaryPeer(venue.port("binary"), "STRANGER-1") as other:
            assert other.symbols == {}
        time.sleep(0.5)
    assert peer.receive().kind == "A"
    peer.close()


def test_connections_are_counted_once_and_leave_nothing_behind(venue: Venue):
    def counted(name: str) -> float:
        return venue.metrics()(name, protocol="fix")

    wait_for(lambda: counted("connections") == 0)
    opened = counted("connections_opened_total")
    names = [f"oo-gateway-{n}" for n in range(COUNT)]
    files = [venue.fds(name) for name in names]
    for turn in range(3):
        peers = [
            logged_on(venue, name, turn % 2, (1 + turn, 1 + turn))
            for home, count in ((0, 1), (1, 3))
            for name in of_home(home, "COUNTED", count)
        ]
        assert counted("connections") == 4
        for peer in peers:
            peer.close()
        wait_for(lambda: counted("connections") == 0)
    assert counted("connections_opened_total") == opened + 3 * 4
    wait_for(lambda: all(venue.fds(n) <= most for n, most in zip(names, files, strict=True)))


def test_symbols_not_known_are_declined_in_either_gateway(venue: Venue):
    names = [f"BAD-{n}" for n in range(8)]
    assert {home_of("binary", "", name, COUNT) for name in names} == {0, 1}
    for name in names:
        with BinaryPeer(venue.port("binary"), name) as peer:
            peer.log_on()
            symbol = next(iter(peer.symbols))
            order = peer.order("o1", symbol, 1, 1, 20)
            peer.send(msgspec.structs.replace(order, symbol=100_000))
            answer = peer.receive()
            assert isinstance(answer, Reject)
            assert answer.reason == RejectReason.UNKNOWN_SYMBOL


def test_a_second_binary_logon_is_refused(venue: Venue):
    for name in ("TWICE-0", "TWICE-7"):
        with BinaryPeer(venue.port("binary"), name) as peer:
            peer.log_on()
            with BinaryPeer(venue.port("binary"), name) as second:
                second.send(Logon(1, name, "", 1, 0))
                answer = second.receive()
                assert isinstance(answer, Logout)
                assert answer.reason == LogoutReason.ALREADY_LOGGED_ON


def test_a_full_gateway_closes_what_it_is_handed(tmp_path: Path):
    config = {"gateway": {"count": COUNT, "max_connections": 3}}
    with Venue(tmp_path, config=config) as venue:
        mine = [logged_on(venue, name, n % 2) for n, name in enumerate(of_home(1, "FULL", 3))]
        for by in range(COUNT):
            with stopped(venue, 1 - by):
                late = FixPeer(venue.port("fix"), of_home(1, "LATE")[0])
                late.send("A", "98=0|108=0|")
                time.sleep(0.1)
            assert late.wait_closed() == b""
            late.close()
        # The other one has room, and so has this one as soon as a client has gone.
        logged_on(venue, of_home(0, "ROOM")[0], accepted_by=0).close()
        assert all(peer.is_alive() for peer in mine)
        mine.pop().close()
        venue.wait_for_log("the client has closed")
        again = logged_on(venue, of_home(1, "AGAIN")[0], accepted_by=0)
        for peer in (*mine, again):
            peer.close()


def test_a_logon_waits_for_a_gateway_that_is_started_again(whole_venue: Venue):
    """The last of this module's venue: a process of it is another one afterwards."""
    venue = whole_venue
    for home in range(COUNT):
        (name,) = of_home(home, "AGAIN")
        symbol = venue.take_symbol()
        binary_name = next(
            name for n in range(99) if home_of("binary", "", name := f"AG-{n}", COUNT) == home
        )
        first = FixPeer(venue.port("fix"), name)
        first.log_on()
        first.new("kept", symbol, "1", 10, "1.00")
        assert first.receive()[150] == "0"
        pid = venue.children()[f"oo-gateway-{home}"]
        os.kill(pid, signal.SIGKILL)
        first.wait_closed()
        # What is handed to a process that is just ending ends with it, as its own connections do.
        venue.wait_for_log(f"process ended, restarting: name=gateway-{home}")
        # Where the next one is not there yet, only the other gateway accepts, and waits for it.
        peer = FixPeer(venue.port("fix"), name, next_out=first.next_out, next_in=first.next_in)
        peer.send("A", "98=0|108=0|")
        peer.new("behind", symbol, "1", 10, "1.00")
        binary = BinaryPeer(venue.port("binary"), binary_name)
        binary.log_on()
        assert peer.receive().kind == "A"
        assert peer.receive().pick(11, 150) == ["behind", "0"]
        peer.cancel("c", "kept", symbol)
        assert peer.receive().pick(11, 150) == ["c", "4"]
        assert venue.children()[f"oo-gateway-{home}"] != pid
        first.close()
        peer.close()
        binary.log_out()

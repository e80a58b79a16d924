"""Who may log on, in which version and how: over real sockets, against a running venue."""

import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.peers import BinaryPeer, Closed, FixPeer
from support.venue import Venue, wait_for

from openoutcry.protocol.binary.enums import LogoutReason
from openoutcry.protocol.binary.messages import Heartbeat, Logon
from openoutcry.protocol.fix.versions import Version
from openoutcry.server.credentials import FILE_NAME, hash_password

#: One that takes about half a second to judge: n = 2^17.
SLOW_PASSWORD = "scenic-route"
SLOW_HASH = "scrypt$131072$8$1$c2FsdHNhbHRzYWx0$2Ip3CuDq6QwOG82Z7lavFv+YOjX46ELj5c304FCQcso="
SESSIONS = [
    {"id": "PLAIN", "password": "plain-secret"},
    {"id": "HASHED", "password_hash": hash_password(b"hashed-secret")},
    {"id": "SLOW", "password_hash": SLOW_HASH},
    {"id": "USER", "username": "joe", "password": "user-secret"},
    {"id": "OLD", "begin_string": "FIX.4.2", "password": "raw-secret"},
    {"id": "NEWEST", "begin_string": "FIXT.1.1", "password": "fixt-secret"},
    {"id": "NEWEST", "begin_string": "FIX.4.4", "password": "other-secret"},
    {"id": "SP1", "begin_string": "FIXT.1.1", "appl_version": "FIX.5.0SP1"},
    {"id": "LOCK", "begin_string": "FIXT.1.1", "password": "lock-secret"},
    {"id": "CHANGE", "begin_string": "FIXT.1.1", "password": "change-secret"},
    {"id": "STRICT", "heartbeat_min_s": 5, "heartbeat_max_s": 60, "reset_allowed": False},
    {"id": "TESTING", "test_message_indicator": True},
    {"id": "LASTS", "last_msg_seq_num_processed": True},
    {"id": "LASTS", "begin_string": "FIX.4.1", "last_msg_seq_num_processed": True},
    {"id": "OPEN"},
    {"id": "BINARY", "protocol": "binary", "password_hash": hash_password(b"binary-secret")},
]
CONFIG = {
    "dynamic_sessions": False,
    "credentials": {"lock_after": 3, "lock_s": 2},
    "fix": {"takeover_timeout_s": 1},
    "firms": [{"name": "alpha", "sessions": SESSIONS}],
}


@pytest.fixture(scope="module")
def closed_venue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Venue]:
    """A venue that only knows the sessions above, in a data directory."""
    folder = tmp_path_factory.mktemp("closed")
    with Venue(folder, data_dir=folder / "data", config=CONFIG) as venue:
        yield venue
        assert "secret" not in venue.log()


def attempt(venue: Venue, comp_id: str, body: str = "", begin: str = "FIX.4.4") -> FixPeer:
    """Send a Logon; its answer is the test's."""
    peer = FixPeer(venue.port("fix"), comp_id, begin=begin)
    peer.send("A", f"98=0|108=0|{body}")
    return peer


def answer(venue: Venue, comp_id: str, body: str = "", begin: str = "FIX.4.4") -> list[str | None]:
    """Log on and be gone; return MsgType, SessionStatus and Text of what came back."""
    with attempt(venue, comp_id, body, begin) as peer:
        try:
            return peer.receive(is_numbered=False).pick(35, 1409, 58)
        except Closed:
            return []


# --- versions -------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", Version)
def test_one_port_speaks_every_version(venue: Venue, version: Version):
    # The same CompID in all of them: each pair is a session of its own, with numbers of its own.
    body = f"1137={version.appl_ver_id.decode()}|" if version.is_fixt else ""
    begin = version.begin_string
    comp_id = "EVERY" if not version.is_fixt else f"EVERY-{version.name}"
    with FixPeer(venue.port("fix"), comp_id, begin=begin) as peer:
        logon = peer.log_on(body)
        assert logon[34] == "1"
        assert logon.get(1137) == (version.appl_ver_id.decode() if version.is_fixt else None)
        assert peer.is_alive()
        peer.log_out()


def test_sessions_of_one_id_in_two_versions_live_at_the_same_time(venue: Venue):
    with (
        FixPeer(venue.port("fix"), "TWO-VERSIONS", begin="FIX.4.2") as old,
        FixPeer(venue.port("fix"), "TWO-VERSIONS") as new,
    ):
        old.log_on()
        new.log_on()
        assert old.is_alive()
        assert new.is_alive()


def test_the_application_version_may_change_between_logons(venue: Venue):
    with FixPeer(venue.port("fix"), "CHANGING", begin="FIXT.1.1") as peer:
        assert peer.log_on("1137=9|")[1137] == "9"
        peer.log_out()
        numbers = (peer.next_out, peer.next_in)
    with FixPeer(
        venue.port("fix"), "CHANGING", next_out=numbers[0], next_in=numbers[1], begin="FIXT.1.1"
    ) as peer:
        assert peer.log_on("1137=7|")[1137] == "7"
        assert peer.is_alive()


@pytest.mark.parametrize("begin", ["FIX.3.0", "FIX.4.5", "FIXT.1.2", "FIX.5.0"])
def test_an_unknown_begin_string_is_closed_without_a_word(venue: Venue, comp_id: str, begin: str):
    with attempt(venue, comp_id, begin=begin) as peer:
        assert peer.wait_closed() == b""
    venue.wait_for_log(f"unknown BeginString b'{begin}'")


def test_a_configured_session_has_one_version(closed_venue: Venue):
    with attempt(closed_venue, "OLD", "96=raw-secret|", begin="FIX.4.4") as peer:
        assert peer.wait_closed() == b""
    closed_venue.wait_for_log("unknown SenderCompID for FIX.4.4")
    kind, _, text = answer(closed_venue, "SP1", "1137=9|", begin="FIXT.1.1")
    assert (kind, text) == ("5", "DefaultApplVerID(1137) must be 8")
    assert answer(closed_venue, "SP1", "1137=8|", begin="FIXT.1.1")[0] == "A"


# --- credentials ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("comp_id", "begin", "body", "is_admitted"),
    [
        ("PLAIN", "FIX.4.4", "554=plain-secret|", True),
        ("PLAIN", "FIX.4.4", "554=plain-secreT|", False),
        ("PLAIN", "FIX.4.4", "", False),
        ("HASHED", "FIX.4.4", "554=hashed-secret|", True),
        ("HASHED", "FIX.4.4", "554=secret|", False),
        ("HASHED", "FIX.4.4", "", False),
        ("USER", "FIX.4.4", "553=joe|554=user-secret|", True),
        ("USER", "FIX.4.4", "553=jim|554=user-secret|", False),
        ("USER", "FIX.4.4", "554=user-secret|", False),
        ("OLD", "FIX.4.2", "95=10|96=raw-secret|", True),
        ("OLD", "FIX.4.2", "95=3|96=raw|", False),
        ("OLD", "FIX.4.2", "", False),
        ("NEWEST", "FIXT.1.1", "1137=9|554=fixt-secret|", True),
        ("NEWEST", "FIXT.1.1", "1137=9|554=other-secret|", False),
        ("NEWEST", "FIX.4.4", "554=other-secret|", True),
        ("OPEN", "FIX.4.4", "", True),
    ],
)
def test_who_gets_in(closed_venue: Venue, comp_id: str, begin: str, body: str, is_admitted: bool):
    got = answer(closed_venue, comp_id, body, begin)
    if is_admitted:
        assert got[0] == "A"
    else:
        status = "5" if begin == "FIXT.1.1" else None
        assert got == ["5", status, "Logon refused: not authorized"]


def test_an_unknown_id_is_told_nothing(closed_venue: Venue):
    assert answer(closed_venue, "NOBODY", "554=plain-secret|") == []


def test_failures_lock_a_session_also_for_the_right_password(closed_venue: Venue):
    def log_on(password: str) -> list[str | None]:
        return answer(closed_venue, "LOCK", f"1137=9|141=Y|554={password}|", "FIXT.1.1")

    wrong = ["5", "5", "Logon refused: not authorized"]
    assert [log_on("wrong") for _ in range(3)] == [wrong] * 3
    assert log_on("lock-secret") == ["5", "6", "Logon refused: not authorized"]
    closed_venue.wait_for_log("locked after failed logons: session=LOCK")
    wait_for(lambda: log_on("lock-secret")[0] == "A", step_s=0.2)
    # A success in between forgets the failures.
    for _ in range(2):
        assert [log_on("wrong") for _ in range(2)] == [wrong] * 2
        assert log_on("lock-secret")[0] == "A"


def test_a_new_password_replaces_the_old_one(closed_venue: Venue):
    def log_on(password: str, more: str = "") -> list[str | None]:
        return answer(closed_venue, "CHANGE", f"1137=9|141=Y|554={password}|{more}", "FIXT.1.1")

    assert log_on("change-secret", "925=short|")[:2] == ["A", "3"]
    assert log_on("change-secret", "925=change-secret|")[:2] == ["A", "3"]
    assert log_on("bad", "925=brand-new-secret|")[:2] == ["5", "5"]
    assert log_on("change-secret", "925=brand-new-secret|")[:2] == ["A", "1"]
    assert log_on("change-secret")[:2] == ["5", "5"]
    assert log_on("brand-new-secret")[0] == "A"
    assert closed_venue.data_dir is not None
    path = closed_venue.data_dir / FILE_NAME
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "FIXT.1.1/CHANGE" in path.read_text()
    assert "secret" not in path.read_text()


def test_a_slow_hash_keeps_nobody_waiting(closed_venue: Venue):
    with FixPeer(closed_venue.port("fix"), "OPEN") as other:
        free = wait_for(lambda: _logged_on(other))
        assert free
        started = time.monotonic()
        with attempt(closed_venue, "SLOW", f"554={SLOW_PASSWORD}|") as slow:
            longest = 0.0
            answered = 0
            while not _has_data(slow):
                before = time.monotonic()
                assert other.is_alive()
                longest = max(longest, time.monotonic() - before)
                answered += 1
            took = time.monotonic() - started
            assert slow.receive().kind == "A"
            # Messages behind the Logon waited for it.
            assert slow.is_alive()
    assert took > 0.1
    assert answered > 5
    assert longest < took / 2


def _logged_on(peer: FixPeer) -> bool:
    peer.send("A", "98=0|108=0|141=Y|", seq="1")
    peer.next_out, peer.next_in = 2, 1
    return peer.receive().kind == "A"


def _has_data(peer: FixPeer) -> bool:
    peer.socket.setblocking(False)
    try:
        return bool(peer.socket.recv(1, 2))
    except BlockingIOError:
        return False
    finally:
        peer.socket.setblocking(True)


def test_passwords_never_reach_the_log(closed_venue: Venue):
    garbled = b"8=FIX.4.4\x019=99999\x0135=A\x01554=plain-secret\x01925=new-secret\x0110=000\x01"
    with FixPeer(closed_venue.port("fix"), "PLAIN") as peer:
        peer.raw(garbled.replace(b"9=99999", b"9=5") + b"8=FIX.4.4\x01")
        peer.wait_closed()
    closed_venue.wait_for_log("554=***")
    assert "secret" not in closed_venue.log()


def test_binary_sessions_have_hashes_and_locks_too(closed_venue: Venue):
    port = closed_venue.port("binary")

    def refusal(password: str) -> int:
        with BinaryPeer(port, "BINARY") as peer:
            # What comes behind the Logon waits for the verdict.
            peer.send(Logon(1, "BINARY", password, 1, 0), Heartbeat())
            return peer.logout_reason()

    with BinaryPeer(port, "BINARY") as peer:
        peer.log_on(password="binary-secret")
        assert peer.is_alive()
    assert [refusal("wrong") for _ in range(3)] == [LogoutReason.NOT_AUTHORIZED] * 3
    closed_venue.wait_for_log("locked after failed logons: session=BINARY")
    assert refusal("binary-secret") == LogoutReason.NOT_AUTHORIZED


# --- settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("comp_id", "body", "text"),
    [
        ("STRICT", "98=0|108=4|", "HeartBtInt(108) must be between 5 and 60 seconds"),
        ("STRICT", "98=0|108=61|", "HeartBtInt(108) must be between 5 and 60 seconds"),
        ("STRICT", "98=0|108=30|141=Y|", "ResetSeqNumFlag(141)=Y is not allowed"),
        ("TESTING", "98=0|108=0|464=N|", "TestMessageIndicator(464) must not be N"),
    ],
)
def test_a_session_s_own_limits(closed_venue: Venue, comp_id: str, body: str, text: str):
    with FixPeer(closed_venue.port("fix"), comp_id) as peer:
        peer.send("A", body)
        refused = peer.receive(is_numbered=False)
        assert refused.kind == "5"
        assert text in refused[58]


def test_the_last_number_processed_stands_in_every_header(closed_venue: Venue):
    with FixPeer(closed_venue.port("fix"), "LASTS") as peer:
        assert peer.log_on()[369] == "1"
        peer.new("o", "AAPL", "1", 10, "10.00")
        assert peer.receive().pick(35, 369) == ["8", "2"]
        peer.send("1", "112=x|")
        assert peer.receive().pick(35, 369) == ["0", "3"]
        peer.send("2", "7=2|16=2|")
        assert peer.receive(is_numbered=False).pick(35, 34, 43, 369) == ["8", "2", "Y", "4"]
    with FixPeer(closed_venue.port("fix"), "LASTS", begin="FIX.4.1") as old:
        assert old.log_on().get(369) is None


# --- a second connection --------------------------------------------------------------------------


def test_a_dead_connection_is_taken_over(closed_venue: Venue):
    with FixPeer(closed_venue.port("fix"), "PLAIN") as dead:
        dead.send("A", "98=0|108=0|554=plain-secret|141=Y|")
        assert dead.receive().kind == "A"
        started = time.monotonic()
        with attempt(closed_venue, "PLAIN", "554=plain-secret|") as second:
            assert second.wait_closed() == b""
        asked = dead.receive()
        assert asked.kind == "1"

        def log_on() -> FixPeer | None:
            peer = FixPeer(closed_venue.port("fix"), "PLAIN", next_out=2, next_in=1)
            peer.send("A", "98=0|108=0|554=plain-secret|")
            try:
                assert peer.receive(is_numbered=False).kind == "A"
            except Closed:
                peer.close()
                return None
            return peer

        with wait_for(log_on, step_s=0.1):
            assert 0.9 < time.monotonic() - started < 5
        dead.wait_closed()


def test_a_stranger_triggers_nothing(closed_venue: Venue):
    with FixPeer(closed_venue.port("fix"), "HASHED") as live:
        live.send("A", "98=0|108=0|554=hashed-secret|141=Y|")
        assert live.receive().kind == "A"
        for body in ("554=guess|", ""):
            with attempt(closed_venue, "HASHED", body) as stranger:
                assert stranger.wait_closed() == b""
        time.sleep(1.5)
        assert live.is_alive()


def test_the_id_is_free_as_soon_as_the_socket_dies(venue: Venue, comp_id: str):
    numbers = (1, 1)
    for _ in range(5):
        peer = FixPeer(venue.port("fix"), comp_id, next_out=numbers[0], next_in=numbers[1])
        peer.log_on()
        numbers = (peer.next_out, peer.next_in)
        peer.close()
        # The loop needs one turn to see the end of the old socket.
        time.sleep(0.05)


def test_the_id_is_free_although_reports_wait_for_the_old_socket(venue: Venue, comp_id: str):
    symbol = venue.take_symbol()
    with FixPeer(venue.port("fix"), comp_id) as old, FixPeer(venue.port("fix"), "EOF") as taker:
        old.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        old.log_on()
        # More fills than the sockets hold.
        old.new("m", symbol, "2", 400_000, "10.00")
        old.receive()
        taker.log_on()
        for start in range(0, 40_000, 2000):
            orders = (taker.order(f"t{start + n}", symbol, "1", 10, "10.00") for n in range(2000))
            taker.raw(b"".join(taker.frame("D", order) for order in orders))
            taker.reports(4000)
        # What lies unread in our socket makes this a reset.
        old.close()
        time.sleep(0.2)
        with FixPeer(venue.port("fix"), comp_id, next_out=3) as again:
            again.send("A", "98=0|108=0|")
            assert again.receive(is_numbered=False).pick(35, 34) == ["A", "40003"]


def test_a_venue_without_room_for_the_file_keeps_the_old_password(tmp_path: Path):
    data = tmp_path / "data"
    config = {"firms": [{"name": "a", "sessions": [SESSIONS[9]]}]}
    with Venue(tmp_path, data_dir=data, config=config) as venue:
        # A folder in the way of the temporary file.
        (data / "credentials.json.new").mkdir()
        body = "1137=9|554=change-secret|"
        got = answer(venue, "CHANGE", f"{body}925=brand-new-secret|", "FIXT.1.1")
        assert got[:2] == ["A", "3"]
        venue.wait_for_log("new password not kept: session=CHANGE")
        assert answer(venue, "CHANGE", f"{body}141=Y|", "FIXT.1.1")[0] == "A"

"""What clients send wrong: each gets the defined answer, and nobody else notices anything."""

import contextlib
import random
import socket
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.bystander import Bystander
from support.fix import frame, seal, to_bytes
from support.peers import BinaryPeer, Closed, FixPeer, Peer, utc
from support.venue import Venue, wait_for

from openoutcry.protocol.binary.enums import LogoutReason, RejectReason
from openoutcry.protocol.binary.frames import encode_frame
from openoutcry.protocol.binary.messages import Logon, NewOrder

MakeFix = Callable[..., FixPeer]
MakeBinary = Callable[..., BinaryPeer]


@pytest.fixture(scope="module")
def bystander(shared_venue: Venue) -> Iterator[Bystander]:
    """One for all tests of this module."""
    with Bystander(shared_venue, shared_venue.take_symbol()) as bystander:
        yield bystander
    assert bystander.slowest_s < 5


@pytest.fixture(autouse=True)
def unnoticed(bystander: Bystander) -> Iterator[None]:
    """Fail a test during which somebody else could not trade."""
    bystander.check()
    yield
    bystander.check()


# --- Before the logon ---

FIRST_BYTES = {
    "garbage": bytes(range(256)) * 4,
    "zeros": bytes(1000),
    "http": b"GET / HTTP/1.1\r\nHost: venue\r\n\r\n",
    "tls": bytes.fromhex("1603010200010001fc0303") + bytes(500),
    "wrong checksum": frame("35=A|34=1|49=X|52=20260101-00:00:00|56=OPENOUTCRY|98=0|108=30|")[:-4]
    + b"999\x01",
    "length is no number": to_bytes("8=FIX.4.4|9=abc|35=A|10=000|"),
    "fields out of order": to_bytes("9=5|8=FIX.4.4|35=A|10=000|"),
    "huge length": to_bytes("8=FIX.4.4|9=999999999|35=A|"),
    "endless length": to_bytes("8=FIX.4.4|9=" + "9" * 3000),
    "no end of a field": b"8=FIX.4.4\x019=20\x0135=A" + b"x" * 300000,
}


@pytest.mark.parametrize("data", FIRST_BYTES.values(), ids=FIRST_BYTES.keys())
def test_what_is_no_fix_at_first_ends_the_connection(venue: Venue, data: bytes):
    with Peer(venue.port("fix")) as client:
        with contextlib.suppress(Closed):
            client.raw(data)
        assert client.wait_closed(2.0) == b""
    assert "Traceback" not in venue.log()


BINARY_FIRST_BYTES = {
    "garbage": bytes(range(1, 256)) * 4,
    "fix": frame("35=A|34=1|49=X|52=20260101-00:00:00|56=OPENOUTCRY|98=0|108=30|"),
    "empty frame": bytes(4),
    "huge length": b"\xff\xff\xff\xff" + bytes(100),
    "just too long": struct.pack(">I", 1025) + bytes(1025),
    "no messagepack": struct.pack(">I", 3) + b"\xc1\xc1\xc1",
    "a map": struct.pack(">I", 1) + b"\x80",
    "an unknown type": struct.pack(">I", 2) + b"\x91\x63",
    "deep nesting": struct.pack(">I", 1000) + b"\x91" * 1000,
    "an order": encode_frame(NewOrder(1, "x", 0, 1, 2, 1, 100, 1)),
    "a wide array": struct.pack(">I", 5) + b"\xdd\xff\xff\xff\xff",
}


@pytest.mark.parametrize("data", BINARY_FIRST_BYTES.values(), ids=BINARY_FIRST_BYTES.keys())
def test_what_is_no_logon_at_first_is_refused_with_a_logout(venue: Venue, data: bytes):
    with BinaryPeer(venue.port("binary"), "") as client:
        client.raw(data)
        assert client.logout_reason() == LogoutReason.PROTOCOL_ERROR


@pytest.mark.parametrize("count", [1, 3, 5, 40])
def test_half_a_message_and_the_end(venue: Venue, symbol: str, count: int):
    with FixPeer(venue.port("fix"), f"HALF-{count}") as client:
        client.log_on()
        client.raw(client.frame("D", client.order("o", symbol, "1", 10, "10.00"))[:-count])
    with BinaryPeer(venue.port("binary"), f"HALF-{count}") as other:
        other.log_on()
        other.raw(encode_frame(other.order("o", symbol, 1, 1, 200))[:-1])


def test_messages_may_come_byte_by_byte_or_many_at_once(
    fix: MakeFix, binary: MakeBinary, symbol: str
):
    client, other = fix(), binary()
    for each in client.frame("D", client.order("o", symbol, "1", 10, "10.00")):
        client.raw(bytes([each]))
    assert client.outcomes(1) == ["o 0/0 cum=0 leaves=10"]
    for each in encode_frame(other.order("o", symbol, 1, 1, 200)):
        other.raw(bytes([each]))
    assert other.report().cl_ord_id == "o"
    many = [client.order(f"o{n}", symbol, "1", 10, "10.00") for n in range(300)]
    client.raw(b"".join(client.frame("D", body) for body in many))
    assert [report[11] for report in client.reports(300)] == [f"o{n}" for n in range(300)]
    other.send(*(other.order(f"o{n}", symbol, 1, 1, 200) for n in range(300)))
    assert [each.cl_ord_id for each in other.reports(300)] == [f"o{n}" for n in range(300)]


# --- In a FIX session ---


def test_a_garbled_message_is_dropped_and_shows_as_a_gap(fix: MakeFix, symbol: str):
    client = fix()
    good = client.frame("D", client.order("o1", symbol, "1", 10, "10.00"))
    for spoiled in (
        good[:-4] + b"000\x01" if good[-4:-1] != b"000" else good[:-4] + b"001\x01",
        good.replace(b"\x0155=", b"\x0155\x01="),
        b"8=FIX.4.4\x019=5\x0135=0\x0110=xyz\x01",
        b"\x01\x00\xff=|8=FI",
    ):
        client.raw(spoiled)
    client.new("o2", symbol, "1", 10, "10.00")
    assert client.receive().pick(35, 7) == ["2", "2"]
    client.raw(good)
    assert [report[11] for report in client.reports(2)] == ["o1", "o2"]


@pytest.mark.parametrize(
    ("change", "tag", "reason"),
    [
        (("54=1", "54=9"), "54", None),
        (("54=1", "54="), "54", "4"),
        (("54=1", "54=11"), "54", "6"),
        (("40=2", "40=Z"), "40", "5"),
        (("38=10", "38=1e1"), "38", "6"),
        (("38=10", "38=0x10"), "38", "6"),
        (("38=10", "38=--1"), "38", "6"),
        (("38=10", "38=10 "), "38", "6"),
        (("38=10", "38=\x00"), "38", "6"),
        (("38=10", "38=1\x000"), "38", "6"),
        (("38=10", "38=."), "38", "6"),
        (("44=10.00", "44=NaN"), "44", "6"),
        (("44=10.00", "44=10,00"), "44", "6"),
        (("44=10.00", "44=10.0.0"), "44", "6"),
        (("44=10.00|", ""), "44", None),
        (("38=10|", ""), "38", None),
        (("11=o|", ""), "11", "1"),
        (("55=", "4999=1|55="), "4999", None),
        (("55=", "0=1|55="), None, "0"),
        (("55=", "abc=1|55="), None, "0"),
        (("55=", "=1|55="), None, "0"),
        (("55=", "novalue|55="), None, None),
        (("54=1|", "54=1|54=1|"), "54", "13"),
        (("11=o|", "11=has space|"), "11", None),
        (("11=o|", "11=" + "x" * 37 + "|"), "11", None),
        (("11=o|", "11=nul\x00nul|"), "11", None),
        (("11=o|", "11=\xe9|"), "11", None),
        (("60=2", "60=x2"), "60", "6"),
    ],
)
def test_a_field_that_is_wrong_is_named_in_a_reject(
    fix: MakeFix, symbol: str, change: tuple[str, str], tag: str | None, reason: str | None
):
    client = fix()
    body = client.order("o", symbol, "1", 10, "10.00")
    assert change[0] in body
    client.send("D", body.replace(*change, 1))
    answer = client.receive()
    assert answer.kind in {"3", "8", "j"}, answer
    if answer.kind == "8":
        assert answer.pick(150, 39) == ["8", "8"], answer
    if reason is not None:
        assert answer.pick(35, 373) == ["3", reason], answer
        assert answer[45] == "2"
    if tag is not None and answer.kind == "3":
        assert answer[371] == tag, answer
    assert client.is_alive()
    client.new("o", symbol, "1", 10, "10.00")
    assert client.receive()[11] == "o"


@pytest.mark.parametrize(
    "qty",
    [
        *("9223372036854775807", "9223372036854775808", "18446744073709551616"),
        *("1" + "0" * 40, "0." + "0" * 40 + "1"),
    ],
)
def test_a_number_too_large_is_never_another_number(fix: MakeFix, symbol: str, qty: str):
    client = fix()
    for name, body in (
        ("q", client.order("q", symbol, "1", qty, "10.00")),
        ("p", client.order("p", symbol, "1", 10, qty)),
    ):
        client.send("D", body)
        answer = client.receive()
        assert answer.kind in {"3", "8"}
        if answer.kind == "8":
            assert answer.pick(11, 150, 39) == [name, "8", "8"]
    assert client.is_alive()


@pytest.mark.parametrize("seq", ["0", "-1", "x", "", "99999999999999999999"])
def test_a_number_of_a_message_that_is_none(fix: MakeFix, symbol: str, seq: str):
    client = fix()
    client.raw(client.frame("D", client.order("o", symbol, "1", 10, "10.00"), seq=seq))
    assert client.receive().kind in {"3", "5", "2"}


def test_a_fix_message_larger_than_allowed(fix: MakeFix, symbol: str):
    client = fix()
    client.send("D", client.order("o", symbol, "1", 10, "10.00") + "58=" + "x" * 5000 + "|")
    client.new("o2", symbol, "1", 10, "10.00")
    # Dropped as garbled, so that its number is missing; or the end of the session, said in words.
    assert client.receive().kind in {"2", "5"}


def test_random_mutations_of_good_messages_do_no_harm(venue: Venue, symbol: str):
    chance = random.Random(7)
    for number in range(60):
        with FixPeer(venue.port("fix"), f"MUT-{number}") as client:
            client.log_on()
            data = bytearray()
            for n in range(20):
                good = bytearray(client.frame("D", client.order(f"o{n}", symbol, "1", 10, "9.00")))
                for _ in range(chance.randrange(3)):
                    good[chance.randrange(len(good))] = chance.randrange(256)
                data += seal(bytes(good[good.index(b"35=") : -7])) if b"35=" in good else good
            with contextlib.suppress(Closed):
                client.raw(bytes(data))
    for number in range(60):
        with BinaryPeer(venue.port("binary"), f"MUT-{number}") as other:
            other.log_on()
            data = bytearray()
            for n in range(20):
                good = bytearray(encode_frame(other.order(f"o{n}", symbol, 1, 1, 100)))
                for _ in range(chance.randrange(3)):
                    good[chance.randrange(4, len(good))] = chance.randrange(256)
                data += good
            with contextlib.suppress(Closed):
                other.raw(bytes(data))


# --- In a binary session ---


@pytest.mark.parametrize(
    "payload",
    [
        b"\x9a\x10\x01\xa1o\x00\x01\x02\x01\xccd\xc0\xa0",  # qty nil
        b"\x9a\x10\x01\xa1o\x00\x01\x02\x01\xccd\xcb\x3f\xf0\0\0\0\0\0\0\xa0",  # qty a float
        b"\x9a\x10\x01\xa1o\x00\x01\x02\x01\xcf\xff\xff\xff\xff\xff\xff\xff\xff\x01\xa0",  # 2^64-1
        b"\x9a\x10\x01\xa0\x00\x01\x02\x01\xccd\x01\xa0",  # empty ClOrdID
        b"\x9a\x10\x01\xa3a\x00b\x00\x01\x02\x01\xccd\x01\xa0",  # NUL in it
        b"\x9a\x10\x01\xa1o\xff\x01\x02\x01\xccd\x01\xa0",  # symbol -1
        b"\x99\x10\x01\xa1o\x00\xcd\x01\x00\x02\x01\xccd\x01",  # side 256
        b"\x93\x10\x01\xa1o",  # too few elements
        b"\x9b\x10\x01\xa1o\x00\x01\x02\x01\xccd\x01\xa0\xc0",  # one too many
        b"\x9a\x10\x01\xc4\x01o\x00\x01\x02\x01\xccd\x01\xa0",  # ClOrdID as bin
        b"\x9a\x10\x01\xd9\x25" + b"x" * 37 + b"\x00\x01\x02\x01\xccd\x01\xa0",  # 37 characters
    ],
)
def test_a_numbered_message_in_wrong_form_is_rejected_and_counted(
    binary: MakeBinary, payload: bytes
):
    client = binary()
    client.raw(struct.pack(">I", len(payload)) + payload)
    reject = client.reject()
    assert (reject.ref_seq, reject.reason) == (1, RejectReason.MALFORMED_MESSAGE)
    client.seq = 2
    assert client.is_alive()


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xc0",
        b"\x80",
        b"\x91\x7f",
        b"\x91\xa1x",
        b"\xc1",
        b"\x92\x10\x00",
        b"\xdd\0\0\0\1\x10",
    ],
)
def test_what_has_no_number_ends_the_binary_session(binary: MakeBinary, payload: bytes):
    client = binary()
    client.raw(struct.pack(">I", len(payload)) + payload)
    assert client.logout_reason() == LogoutReason.PROTOCOL_ERROR


def test_a_binary_frame_too_long_ends_the_session(binary: MakeBinary, symbol: str):
    client = binary()
    client.new("o", symbol, 1, 1, 200)
    assert client.report().cl_ord_id == "o"
    client.raw(struct.pack(">I", 1025))
    assert client.logout_reason() == LogoutReason.PROTOCOL_ERROR


# --- Clients that behave badly ---


def test_clients_that_say_nothing_are_closed(tmp_path: Path):
    with Venue(tmp_path, "fix.logon_timeout_s=1", "binary.logon_timeout_s=1") as venue:
        with Peer(venue.port("fix")) as one, BinaryPeer(venue.port("binary"), "") as other:
            half = Peer(venue.port("fix"))
            half.raw(b"8=FIX.4.4\x019=70\x0135=A\x01")
            start = time.monotonic()
            assert one.wait_closed(5) == b""
            assert half.wait_closed(5) == b""
            assert other.logout_reason() == LogoutReason.LOGON_TIMEOUT
            assert 0.5 < time.monotonic() - start < 4
            half.close()
        venue.wait_for_log("no Logon received")


def test_connections_beyond_the_limit_are_closed_at_once(tmp_path: Path):
    # Of each gateway; see test_gateways for two.
    with Venue(tmp_path, "gateway.max_connections=4", gateways=1) as venue:
        peers = [FixPeer(venue.port("fix"), f"C{n}") for n in range(3)]
        other = BinaryPeer(venue.port("binary"), "C3")
        for peer in peers:
            peer.log_on()
        other.log_on()
        for name in ("fix", "binary"):
            with Peer(venue.port(name)) as late:
                assert late.wait_closed() == b""
        venue.wait_for_log("no room for a connection")
        assert all(peer.is_alive() for peer in peers)
        peers.pop().close()

        def find_room() -> bool:
            with FixPeer(venue.port("fix"), "LATE") as late:
                try:
                    late.log_on()
                except Closed:
                    return False
                return True

        wait_for(find_room)
        other.close()
        for peer in peers:
            peer.close()


@pytest.mark.slow
def test_ten_thousand_connections_leave_nothing_behind(venue: Venue, bystander: Bystander):
    wait_for(lambda: venue.metrics()("connections", protocol="binary") == 0)
    before = venue.fds("oo-gateway-0")
    reset = struct.pack("ii", 1, 0)
    logon = frame("35=A|34=1|49=THOUSAND|52=20260101-00:00:00|56=OPENOUTCRY|98=0|108=30|")
    for number in range(10_000):
        port = venue.port("fix" if number % 2 else "binary")
        with socket.create_connection(("127.0.0.1", port), 10) as sock:
            if number % 3 == 0:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
            if number % 5 == 0:
                sock.sendall(logon)
    wait_for(lambda: venue.fds("oo-gateway-0") <= before, 20)
    bystander.check()


def _flood(client: BinaryPeer, symbol: str, count: int) -> int:
    """Send orders without reading until the venue closes; return how many were handed over."""
    # Its window stays small, so that the venue's side fills up.
    sent = 0
    while sent < count:
        orders = [client.order(f"f{sent + n}", symbol, 1, 1, 200 + n % 50) for n in range(500)]
        try:
            client.socket.settimeout(0.5)
            client.socket.sendall(b"".join(map(encode_frame, orders)))
        except TimeoutError:
            return sent
        except (BrokenPipeError, ConnectionResetError):
            return sent
        sent += 500
    return sent


@pytest.mark.slow
def test_a_client_that_does_not_read_is_bounded_and_loses_nothing(tmp_path: Path):
    with Venue(tmp_path, "gateway.send_queue_bytes=1048576") as venue:
        slow = BinaryPeer(venue.port("binary"), "SLOW")
        slow.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.log_on()
        with Bystander(venue, "AAPL", "NEXT") as bystander:
            _flood(slow, "BTCUSDT", 200_000)
            bystander.check()
            # Its own orders wait now; another's fills still come for it and pile up.
            resident = venue.metrics()("process_resident_memory_bytes", process="gateway-0")
            with BinaryPeer(venue.port("binary"), "TAKER") as taker:
                taker.log_on()
                taker.send(*(taker.order(f"t{n}", "BTCUSDT", 2, 1, 100) for n in range(30_000)))
                done = 0
                while done < 30_000:
                    done += taker.report().kind == 1
            venue.wait_for_log("reads too slowly")
            bystander.check()
            grown = venue.metrics()("process_resident_memory_bytes", process="gateway-0")
            assert grown - resident < 64 << 20
            slow.close()
        again = BinaryPeer(venue.port("binary"), "SLOW")
        again.send(Logon(1, "SLOW", "", 1, 0))
        accepted = again.receive()
        total = accepted.next_seq - 1  # type: ignore[union-attr]
        for _ in range(accepted.symbols):  # type: ignore[union-attr]
            again.receive()
        new = [r.cl_ord_id for r in again.reports(total) if r.kind == 1]
        assert new == [f"f{n}" for n in range(accepted.last_accepted)]  # type: ignore[union-attr]
        again.close()


@pytest.mark.slow
def test_resends_that_nobody_reads_are_bounded(venue: Venue, bystander: Bystander, fix: MakeFix):
    symbol, count = venue.take_symbol(), 4000
    client = fix()
    for start in range(0, count, 500):
        bodies = [client.order(f"o{start + n}", symbol, "1", 10, "10.00") for n in range(500)]
        client.raw(b"".join(client.frame("D", body) for body in bodies))
        client.reports(500)

    def resident() -> float:
        return venue.metrics()("process_resident_memory_bytes", process="gateway-0")

    before = resident()
    # A hundred times the whole history would be 100 MB.
    client.raw(b"".join(client.frame("2", "7=1|16=0|") for _ in range(100)))
    end = time.monotonic() + 1
    while time.monotonic() < end:
        bystander.check()
    assert resident() - before < 40 << 20
    # Whoever reads at last gets each range whole, and the session goes on.
    copies = 0
    client.send("1", "112=AFTER|")
    while (message := client.receive(20, is_numbered=False)).kind != "0":
        copies += message.kind == "8"
    assert copies >= count
    assert copies % count == 0


@pytest.mark.slow
def test_a_fix_client_that_does_not_read_is_cut_off_and_gets_all_by_resend(tmp_path: Path):
    with Venue(tmp_path, "gateway.send_queue_bytes=1048576") as venue:
        slow = FixPeer(venue.port("fix"), "SLOW")
        slow.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.log_on()
        slow.new("s", "AAPL", "2", 40_000, "10.00")
        slow.receive()
        with BinaryPeer(venue.port("binary"), "TAKER") as taker:
            taker.log_on()
            for start in range(0, 40_000, 2000):
                names = [f"t{start + n}" for n in range(2000)]
                taker.send(*(taker.order(name, "AAPL", 1, 1, 1000) for name in names))
                taker.reports(4000)
        venue.wait_for_log("reads too slowly")
        slow.close()
        with FixPeer(venue.port("fix"), "SLOW", next_out=3) as again:
            again.send("A", "98=0|108=0|")
            last = int(again.receive(is_numbered=False)[34])
            assert last == 40_003
            again.send("2", "7=3|16=40002|")
            fills = [again.receive(20, is_numbered=False) for _ in range(40_000)]
            assert [int(fill[34]) for fill in fills] == list(range(3, 40_003))
            assert [int(fill[14]) for fill in fills] == list(range(1, 40_001))
            again.next_in = last + 1
            assert again.is_alive()


def test_a_client_that_neither_reads_nor_answers_does_not_keep_its_session(tmp_path: Path):
    with (
        Venue(tmp_path, "fix.logout_timeout_s=1") as venue,
        FixPeer(venue.port("fix"), "SILENT") as silent,
    ):
        silent.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        silent.log_on(heartbeat_s=1)
        silent.new("s", "AAPL", "2", 20_000, "10.00")
        with BinaryPeer(venue.port("binary"), "TAKER") as taker:
            taker.log_on()
            for start in range(0, 20_000, 2000):
                names = [f"t{start + n}" for n in range(2000)]
                taker.send(*(taker.order(name, "AAPL", 1, 1, 1000) for name in names))
                taker.reports(4000)
        # Its reports fill the socket's buffers: the Logout after the time-out cannot go out.
        venue.wait_for_log("closing: ", 20)
        deadline = time.monotonic() + 15
        while True:
            with FixPeer(venue.port("fix"), "SILENT", next_out=3) as again:
                again.send("A", "98=0|108=0|")
                with contextlib.suppress(AssertionError, OSError, Closed):
                    assert again.receive(2, is_numbered=False).kind == "A"
                    break
            assert time.monotonic() < deadline, "the session is still taken"
            time.sleep(0.5)


def test_a_peer_that_takes_only_tiny_messages_is_refused(venue: Venue):
    with FixPeer(venue.port("fix"), "TINY") as peer:
        peer.send("A", "98=0|108=0|383=100|")
        answer = peer.receive(is_numbered=False)
        assert answer.kind == "5"
        assert "MaxMessageSize(383) must be at least" in str(answer[58])
        peer.wait_closed()


def test_a_name_that_ends_in_nul_is_another_name(fix: MakeFix, symbol: str):
    peer = fix()
    # With OnBehalfOfCompID in its header a message goes by way of Python.
    for number, header in enumerate(("", "115=X|")):
        for body, reason in (
            (f"11=s{number}|55={symbol}\0|", "1"),
            (f"11=a{number}|1=A\0|55={symbol}|", "15"),
        ):
            text = f"{body}54=1|60={utc()}|38=10|40=2|44=1.00|"
            peer.send("D", text, extra=header)
            assert peer.receive().pick(150, 103) == ["8", reason]


def test_a_price_too_large_to_be_written_back_is_echoed_as_it_came(tmp_path: Path):
    with (
        Venue(tmp_path, symbols=[{"name": "QUARTER", "tick": "0.25"}]) as venue,
        FixPeer(venue.port("fix"), "LARGE") as peer,
    ):
        peer.log_on()
        for number, price in enumerate(("300000000000000000", "-300000000000000000")):
            peer.new(f"o{number}", "QUARTER", "1", 1, price)
            assert peer.receive().pick(150, 103, 44) == ["8", "3", price]


def test_thousands_of_messages_above_gaps_hold_nobody_up(fix: MakeFix):
    peer = fix()
    first = peer.next_out
    odd = range(first + 1, first + 8001, 2)
    peer.raw(b"".join(peer.frame("0", seq=str(number)) for number in odd))
    even = b"".join(peer.frame("0", seq=str(number)) for number in range(first, first + 8001, 2))
    peer.raw(even)
    peer.next_out = first + 8001
    answers = 0
    peer.send("1", "112=done|")
    while (report := peer.receive(30)).kind != "0":
        answers += report.kind == "2"
    assert answers > 0


def test_a_flood_of_resend_requests_holds_nobody_up(fix: MakeFix, symbol: str):
    peer = fix()
    for number in range(300):
        peer.new(f"o{number}", symbol, "1", 10, "1.00")
    peer.reports(300)
    peer.raw(b"".join(peer.frame("2", "7=2|16=301|") for _ in range(1000)))
    peer.send("1", "112=done|")
    while True:
        report = peer.receive(60, is_numbered=False)
        if report.kind == "0" and report[112] == "done":
            break

"""The binary session's rules as sentences, the venue's side alone and both sides on a fake wire."""

from dataclasses import dataclass, field

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openoutcry.protocol.binary.client_session import (
    ClientEvent,
    ClientSession,
    ClientState,
    LoggedOn,
    LoggedOut,
)
from openoutcry.protocol.binary.enums import LogoutReason, RejectReason
from openoutcry.protocol.binary.errors import LogonRefused, PeerError, UsageError
from openoutcry.protocol.binary.frames import FrameReader, FrameTooLong, encode_frame
from openoutcry.protocol.binary.messages import (
    Cancel,
    ExecutionReport,
    Heartbeat,
    Logon,
    LogonAccepted,
    Logout,
    NewOrder,
    Reject,
    ServerMessage,
    Status,
    SymbolDefinition,
    decode_client_message,
    decode_server_message,
    encode_payload,
)
from openoutcry.protocol.binary.session import (
    Application,
    BinarySession,
    Disconnect,
    LogonRequest,
    Malformed,
    VenueState,
)

LOGON = Logon(1, "S1", "secret", 1, 10)
SYMBOLS = [
    SymbolDefinition(0, "BTCUSDT", "0.01", "0.00001", 1, 10**9, 1, 10**12),
    SymbolDefinition(1, "AAPL", "0.01", "1", 1, 10**7, 1, 10**6),
]


@dataclass
class Numbers:
    next_in: int = 1
    next_out: int = 1


def sent(session: BinarySession) -> list[ServerMessage]:
    reader = FrameReader()
    reader.receive_data(session.data_to_send())
    return [decode_server_message(payload) for payload in reader.payloads()]


def logged_on(numbers: Numbers | None = None, logon: Logon = LOGON) -> BinarySession:
    session = BinarySession(0)
    session.receive_payload(encode_payload(logon), 0)
    session.accept(numbers or Numbers(), session_number=7, symbols=SYMBOLS, now_ms=0)
    session.data_to_send()
    return session


def order(seq: int, cl_ord_id: str = "A") -> NewOrder:
    return NewOrder(seq, cl_ord_id, 0, 1, 2, 1, 100, 5)


# --- logon ----------------------------------------------------------------------------------------


def test_a_logon_is_handed_to_the_gateway() -> None:
    session = BinarySession(0)
    assert session.receive_payload(encode_payload(LOGON), 0) == LogonRequest("S1", "secret", 1, 10)
    assert session.state is VenueState.LOGON_RECEIVED
    assert sent(session) == []


def test_a_logon_requests_password_is_not_shown() -> None:
    assert "secret" not in repr(LogonRequest("S1", "secret", 1, 10))


def test_accepting_answers_with_numbers_and_symbols() -> None:
    session = BinarySession(0)
    session.receive_payload(encode_payload(LOGON), 0)
    numbers = Numbers(next_in=5, next_out=9)
    repeat = session.accept(numbers, session_number=7, symbols=SYMBOLS, now_ms=0)
    assert repeat == range(1, 9)
    assert sent(session) == [LogonAccepted(1, 7, 4, 9, 10, 2), *SYMBOLS]
    assert session.is_active


@pytest.mark.parametrize(
    ("awaited", "repeat"), [(0, range(9, 9)), (1, range(1, 9)), (8, range(8, 9)), (9, range(9, 9))]
)
def test_what_is_repeated(awaited: int, repeat: range) -> None:
    session = BinarySession(0)
    session.receive_payload(encode_payload(Logon(1, "S1", "", awaited, 10)), 0)
    answer = session.accept(Numbers(5, 9), session_number=7, symbols=[], now_ms=0)
    assert answer == repeat


@pytest.mark.parametrize("awaited", [10, 3])
def test_a_logon_that_awaits_what_cannot_be_sent_is_refused(awaited: int) -> None:
    session = BinarySession(0)
    session.receive_payload(encode_payload(Logon(1, "S1", "", awaited, 10)), 0)
    answer = session.accept(Numbers(5, 9), session_number=7, symbols=[], now_ms=0, oldest_out=4)
    text = f"next_expected is {awaited}, but 4 to 9 can be sent"
    assert answer == Disconnect(LogoutReason.NEXT_EXPECTED_OUT_OF_RANGE, text)
    assert sent(session) == [Logout(text, 6)]
    assert session.state is VenueState.CLOSED


def test_refusing() -> None:
    session = BinarySession(0)
    session.receive_payload(encode_payload(LOGON), 0)
    session.refuse(LogoutReason.NOT_AUTHORIZED, "unknown session or wrong password", 0)
    assert sent(session) == [Logout("unknown session or wrong password", 3)]
    assert session.receive_payload(encode_payload(LOGON), 0) is None


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        (encode_payload(Logon(2, "S1", "", 1, 10)), LogoutReason.UNSUPPORTED_VERSION),
        (encode_payload(Logon(1, "S1", "", 1, 3601)), LogoutReason.INVALID_HEARTBEAT),
        (encode_payload(Logon(1, "", "", 1, 10)), LogoutReason.PROTOCOL_ERROR),
        (encode_payload(Logon(1, "S1", "", -1, 10)), LogoutReason.PROTOCOL_ERROR),
        (encode_payload(order(1)), LogoutReason.PROTOCOL_ERROR),
        (encode_payload(Heartbeat()), LogoutReason.PROTOCOL_ERROR),
        (encode_payload(Logout()), LogoutReason.PROTOCOL_ERROR),
        (b"", LogoutReason.PROTOCOL_ERROR),
        (b"GET / HTTP/1.1\r\n", LogoutReason.PROTOCOL_ERROR),
        (b"\xdd\xff\xff\xff\xff", LogoutReason.PROTOCOL_ERROR),
        (b"\x91" * 4000, LogoutReason.PROTOCOL_ERROR),
        (msgspec.msgpack.encode([16, 1, "A"]), LogoutReason.PROTOCOL_ERROR),
    ],
)
def test_any_other_first_message_ends_the_connection(first: bytes, reason: LogoutReason) -> None:
    session = BinarySession(0)
    answer = session.receive_payload(first, 0)
    assert isinstance(answer, Disconnect)
    assert answer.reason is reason
    assert sent(session) == [Logout(answer.text, int(reason))]


def test_a_client_that_says_nothing_is_disconnected() -> None:
    session = BinarySession(1000, logon_timeout_ms=5000)
    assert session.next_deadline_ms() == 6000
    assert session.poll(5999) is None
    assert session.poll(6000) == Disconnect(LogoutReason.LOGON_TIMEOUT, "no Logon received")
    assert session.next_deadline_ms() is None


def test_nothing_may_follow_before_the_answer() -> None:
    session = BinarySession(0)
    session.receive_payload(encode_payload(LOGON), 0)
    answer = session.receive_payload(encode_payload(order(1)), 0)
    assert answer == Disconnect(LogoutReason.PROTOCOL_ERROR, "Logon is not answered yet")


def test_accept_needs_a_logon() -> None:
    session = BinarySession(0)
    with pytest.raises(UsageError, match="awaiting logon"):
        session.accept(Numbers(), session_number=7, symbols=[], now_ms=0)
    with pytest.raises(UsageError, match="no numbers"):
        session.reject(1, "A", RejectReason.UNKNOWN_SYMBOL, "")


# --- active ---------------------------------------------------------------------------------------


def test_a_valid_message_comes_back_as_the_kernel_takes_it() -> None:
    session = logged_on(Numbers(next_in=5))
    event = session.receive_payload(encode_payload(order(5)), 0)
    assert event == Application(5, order(5), encode_frame(order(5)))


def test_a_message_accepted_before_is_ignored() -> None:
    session = logged_on(Numbers(next_in=5))
    assert session.receive_payload(encode_payload(order(4)), 0) is None
    assert session.receive_payload(msgspec.msgpack.encode([16, 4, None]), 0) is None
    assert session.is_active


@pytest.mark.parametrize("payload", [encode_payload(order(7)), b"\x93\x10\x07\xc0"])
def test_a_message_that_skips_a_number_ends_the_session(payload: bytes) -> None:
    session = logged_on(Numbers(next_in=5))
    text = "message 7 received, 5 expected"
    assert session.receive_payload(payload, 0) == Disconnect(LogoutReason.SEQUENCE_GAP, text)
    assert sent(session) == [Logout(text, 7)]


def test_a_malformed_message_is_rejected_and_counted() -> None:
    numbers = Numbers(next_in=5, next_out=9)
    session = logged_on(numbers)
    event = session.receive_payload(msgspec.msgpack.encode([19, 5, "A1", "BTC"]), 0)
    assert event == Malformed(5, "A1", "Expected `int`, got `str` - at `$[3]`")
    assert numbers == Numbers(5, 9)
    answer = session.reject(5, "A1", RejectReason.MALFORMED_MESSAGE, "text")
    assert answer == Reject(9, False, 5, "A1", 100, "text")
    assert numbers == Numbers(6, 10)


@pytest.mark.parametrize(
    "elements", [[16, 5], [16, 5, None], [16, 5, "A B", 0], [17, 5, b"A"], [18, 5, "A" * 37]]
)
def test_a_malformed_message_without_a_clordid_is_rejected(elements: list[object]) -> None:
    session = logged_on(Numbers(next_in=5))
    event = session.receive_payload(msgspec.msgpack.encode(elements), 0)
    assert isinstance(event, Malformed)
    assert (event.seq, event.cl_ord_id) == (5, "")


@pytest.mark.parametrize(
    "elements",
    [
        [16],
        [16, 0, "A"],
        [16, -1],
        [16, "5"],
        [16, 2**63],
        [99, 5],
        [32, 5],
        [],
        ["A"],
        5,
        {},
        None,
    ],
)
def test_what_has_no_number_ends_the_session(elements: object) -> None:
    session = logged_on(Numbers(next_in=5))
    event = session.receive_payload(msgspec.msgpack.encode(elements), 0)
    assert isinstance(event, Disconnect)
    assert event.reason is LogoutReason.PROTOCOL_ERROR


def test_only_the_next_message_can_be_rejected() -> None:
    session = logged_on(Numbers(next_in=5))
    with pytest.raises(UsageError, match="5 is the next"):
        session.reject(6, "A", RejectReason.UNKNOWN_SYMBOL, "")


def test_a_second_logon_ends_the_session() -> None:
    event = logged_on().receive_payload(encode_payload(LOGON), 0)
    assert event == Disconnect(LogoutReason.PROTOCOL_ERROR, "second Logon")


def test_a_logout_is_answered() -> None:
    session = logged_on()
    event = session.receive_payload(encode_payload(Logout("done")), 0)
    assert event == Disconnect(LogoutReason.NORMAL, "")
    assert sent(session) == [Logout("", 0)]


def test_a_frame_that_is_too_long_ends_the_session() -> None:
    session = logged_on()
    session.too_long(2**32 - 1, 4096, 0)
    assert sent(session) == [Logout("frame of 4294967295 bytes: at most 4096 allowed", 8)]


def test_a_logout_is_sent_once() -> None:
    session = logged_on()
    session.logout(LogoutReason.VENUE_STOPPING, "stopping", 0)
    session.logout(LogoutReason.SLOW_CONSUMER, "slow", 0)
    assert sent(session) == [Logout("stopping", 1)]


# --- heartbeats -----------------------------------------------------------------------------------


def test_a_heartbeat_is_sent_after_an_interval_without_sending() -> None:
    session = logged_on()
    assert session.next_deadline_ms() == 10_000
    session.note_sent(4_000)
    session.poll(13_999)
    assert sent(session) == []
    session.poll(14_000)
    assert sent(session) == [Heartbeat()]
    assert session.next_deadline_ms() == 24_000


def test_a_client_that_falls_silent_is_disconnected() -> None:
    session = logged_on()
    session.note_received(4_000)
    assert session.poll(33_999) is None
    text = "nothing received for 30 s"
    assert session.poll(34_000) == Disconnect(LogoutReason.HEARTBEAT_TIMEOUT, text)


def test_heartbeats_keep_a_session_alive() -> None:
    session = logged_on()
    for now_ms in range(0, 100_000, 9_000):
        assert session.receive_payload(encode_payload(Heartbeat()), now_ms) is None
        assert session.poll(now_ms) is None


def test_interval_zero_means_neither_heartbeats_nor_time_outs() -> None:
    session = logged_on(logon=Logon(1, "S1", "", 1, 0))
    assert session.next_deadline_ms() is None
    assert session.poll(10**9) is None
    assert sent(session) == []


@given(st.binary(max_size=60), st.booleans())
def test_any_bytes_have_an_answer(payload: bytes, active: bool) -> None:
    session = logged_on() if active else BinarySession(0)
    event = session.receive_payload(payload, 0)
    if isinstance(event, Disconnect):
        assert session.state is VenueState.CLOSED
        assert [type(message) for message in sent(session)] == [Logout]


# --- frames ---------------------------------------------------------------------------------------


@given(st.lists(st.binary(max_size=30), max_size=5), st.integers(1, 9))
def test_frames_come_out_whole_whatever_the_chunks(payloads: list[bytes], size: int) -> None:
    data = b"".join(len(payload).to_bytes(4, "big") + payload for payload in payloads)
    reader = FrameReader()
    received = []
    for start in range(0, len(data), size):
        reader.receive_data(data[start : start + size])
        received += list(reader.payloads())
    assert received == payloads


def test_a_frame_above_the_cap_is_not_awaited() -> None:
    reader = FrameReader(max_payload=10)
    reader.receive_data(b"\x00\x00\x00\x0b")
    with pytest.raises(FrameTooLong, match="frame of 11 bytes: at most 10 allowed"):
        list(reader.payloads())


# --- the client's side ----------------------------------------------------------------------------


@dataclass
class Pair:
    """A client and a venue that answers each request, joined by a wire that can be cut."""

    numbers: Numbers = field(default_factory=Numbers)
    client: ClientSession = field(default_factory=lambda: ClientSession("S1", next_expected=1))
    venue: BinarySession = field(default_factory=lambda: BinarySession(0))
    executed: list[str] = field(default_factory=list)
    outgoing: list[ExecutionReport] = field(default_factory=list)
    events: list[ClientEvent] = field(default_factory=list)
    unsent: bytes = b""

    def connect(self) -> None:
        self.venue = BinarySession(0)
        self.client.connected(0)

    def cut(self) -> None:
        self.client.disconnected()

    def to_venue(self, *, lost_after: int | None = None) -> None:
        """Carry the client's bytes over, of its messages only the first few."""
        reader = FrameReader()
        reader.receive_data(self.client.data_to_send())
        for i, payload in enumerate(reader.payloads()):
            if lost_after is not None and i >= lost_after:
                return
            event = self.venue.receive_payload(payload, 0)
            if isinstance(event, LogonRequest):
                repeat = self.venue.accept(
                    self.numbers, session_number=1, symbols=SYMBOLS, now_ms=0
                )
                assert isinstance(repeat, range)
                for seq in repeat:
                    report = self.outgoing[seq - 1]
                    self.unsent += encode_frame(msgspec.structs.replace(report, repeated=True))
            elif isinstance(event, Application):
                self.numbers.next_in += 1
                self.executed.append(event.message.cl_ord_id)
                self.report(event.seq, event.message.cl_ord_id)

    def report(self, ref_seq: int, cl_ord_id: str) -> None:
        report = make_report(self.numbers.next_out, ref_seq, cl_ord_id)
        self.numbers.next_out += 1
        self.outgoing.append(report)
        self.unsent += encode_frame(report)

    def to_client(self) -> list[ClientEvent]:
        data = self.venue.data_to_send() + self.unsent
        self.unsent = b""
        events = self.client.receive_data(data, 0)
        self.events += events
        return events

    def lose_answers(self) -> None:
        self.venue.data_to_send()
        self.unsent = b""


def make_report(seq: int, ref_seq: int, cl_ord_id: str) -> ExecutionReport:
    blank: dict[str, object] = dict.fromkeys(ExecutionReport.__struct_fields__, 0)
    blank |= {"seq": seq, "repeated": False, "ref_seq": ref_seq, "kind": 1}
    blank |= {"cl_ord_id": cl_ord_id, "orig_cl_ord_id": "", "account": ""}
    return ExecutionReport(**blank)  # type: ignore[arg-type]


def connected_pair() -> Pair:
    pair = Pair()
    pair.connect()
    pair.to_venue()
    pair.to_client()
    return pair


def test_logging_on() -> None:
    pair = connected_pair()
    assert pair.events == [LoggedOn(LogonAccepted(1, 1, 0, 1, 10, 2), tuple(SYMBOLS), 0)]
    assert pair.client.is_active
    assert pair.client.next_seq == 1


def test_orders_and_reports() -> None:
    pair = connected_pair()
    assert pair.client.send(order(0, "A"), 0) == 1
    assert pair.client.send(order(0, "B"), 0) == 2
    assert pair.client.unanswered == 2
    pair.to_venue()
    assert pair.to_client() == [make_report(1, 1, "A"), make_report(2, 2, "B")]
    assert pair.client.unanswered == 0
    assert pair.client.next_expected == 3


def test_requests_that_did_not_arrive_are_sent_again() -> None:
    pair = connected_pair()
    for name in "ABC":
        pair.client.send(order(0, name), 0)
    pair.to_venue(lost_after=1)
    pair.cut()
    pair.lose_answers()
    pair.connect()
    pair.to_venue()
    logon, *repeated = pair.to_client()
    assert isinstance(logon, LoggedOn)
    assert logon.resent == 2
    assert repeated == [msgspec.structs.replace(make_report(1, 1, "A"), repeated=True)]
    pair.to_venue()
    pair.to_client()
    assert pair.executed == ["A", "B", "C"]
    assert pair.client.unanswered == 0


@given(st.lists(st.sampled_from(["send", "cut", "lose", "to_venue", "to_client"]), max_size=40))
def test_whatever_is_lost_each_request_is_executed_once_and_answered_once(
    actions: list[str],
) -> None:
    pair = connected_pair()
    names: list[str] = []
    for action in actions:
        match action:
            case "send":
                names.append(f"A{len(names)}")
                pair.client.send(order(0, names[-1]), 0)
            case "to_venue":
                pair.to_venue()
            case "to_client":
                pair.to_client()
            case _:
                if action == "lose":
                    pair.to_venue(lost_after=len(names) // 2)
                pair.cut()
                pair.lose_answers()
                pair.connect()
                pair.to_venue()
                pair.to_client()
    pair.to_venue()
    pair.to_client()
    reports = [event for event in pair.events if isinstance(event, ExecutionReport)]
    assert pair.executed == names
    assert [report.cl_ord_id for report in reports] == names
    assert [report.seq for report in reports] == list(range(1, len(names) + 1))


def test_an_answered_request_above_an_unanswered_one_is_kept() -> None:
    pair = connected_pair()
    pair.client.send(order(0, "A"), 0)
    pair.client.send(order(0, "B"), 0)
    pair.client.receive_data(encode_frame(make_report(1, 2, "B")), 0)
    pair.cut()
    pair.connect()
    pair.numbers.next_out = 2
    pair.to_venue(lost_after=1)
    (logon, *_) = pair.to_client()
    assert isinstance(logon, LoggedOn)
    assert logon.resent == 2


def test_a_client_without_memory_goes_on_from_the_venues_numbers() -> None:
    client = ClientSession("S1")
    client.connected(0)
    events = client.receive_data(encode_frame(LogonAccepted(1, 1, 41, 100, 10, 0)), 0)
    assert [type(event) for event in events] == [LoggedOn]
    assert (client.next_seq, client.next_expected) == (42, 100)


def test_a_venue_that_lost_data_is_noticed() -> None:
    pair = connected_pair()
    pair.client.send(order(0), 0)
    pair.to_venue()
    pair.to_client()
    pair.client.connected(0)
    with pytest.raises(PeerError, match="lost data"):
        pair.client.receive_data(encode_frame(LogonAccepted(1, 1, 0, 2, 10, 0)), 0)


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (make_report(3, 0, "A"), "message 3 received, 1 expected"),
        (LogonAccepted(1, 1, 0, 1, 10, 0), "LogonAccepted without a Logon"),
        (SYMBOLS[0], "SymbolDefinition out of place"),
        (order(1), "message not understood"),
    ],
)
def test_a_venue_that_breaks_the_rules(message: ServerMessage | NewOrder, text: str) -> None:
    pair = connected_pair()
    with pytest.raises(PeerError, match=text):
        pair.client.receive_data(encode_frame(message), 0)


def test_a_report_before_the_logon_is_accepted() -> None:
    client = ClientSession("S1")
    client.connected(0)
    with pytest.raises(PeerError, match="ExecutionReport while logon sent"):
        client.receive_data(encode_frame(make_report(1, 0, "A")), 0)


def test_a_frame_above_the_clients_cap() -> None:
    pair = connected_pair()
    with pytest.raises(PeerError, match="frame of 4294967295 bytes"):
        pair.client.receive_data(b"\xff\xff\xff\xff", 0)


def test_a_repeated_message_that_the_client_has_is_dropped() -> None:
    pair = connected_pair()
    pair.client.receive_data(encode_frame(make_report(1, 0, "A")), 0)
    assert pair.client.receive_data(encode_frame(make_report(1, 0, "A")), 0) == []


def test_a_refused_logon() -> None:
    client = ClientSession("S1", "wrong")
    client.connected(0)
    with pytest.raises(LogonRefused, match=r"\(3\): wrong password") as refusal:
        client.receive_data(encode_frame(Logout("wrong password", 3)), 0)
    assert refusal.value.reason is LogoutReason.NOT_AUTHORIZED


def test_a_reason_of_a_later_version_is_kept_as_a_number() -> None:
    client = ClientSession("S1")
    client.connected(0)
    with pytest.raises(LogonRefused) as refusal:
        client.receive_data(encode_frame(Logout("new", 200)), 0)
    assert refusal.value.reason == 200


def test_the_venue_logs_out() -> None:
    pair = connected_pair()
    pair.venue.logout(LogoutReason.VENUE_STOPPING, "stopping", 0)
    assert pair.to_client() == [LoggedOut(1, "stopping")]


def test_the_client_logs_out() -> None:
    pair = connected_pair()
    pair.client.logout("done", 0)
    assert pair.client.state is ClientState.LOGOUT_SENT
    pair.to_venue()
    assert pair.to_client() == [LoggedOut(0, "")]
    assert not pair.client.is_active


def test_nothing_is_sent_outside_a_session() -> None:
    client = ClientSession("S1")
    with pytest.raises(UsageError, match="disconnected"):
        client.send(Status(0, "A", 0), 0)
    client.connected(0)
    with pytest.raises(UsageError, match="logon sent"):
        client.send(Cancel(0, "A", "B", 0), 0)


def test_the_clients_heartbeats_and_time_out() -> None:
    pair = connected_pair()
    assert pair.client.next_deadline_ms() == 10_000
    pair.client.poll(10_000)
    assert decode_client_message(pair.client.data_to_send()[4:]) == Heartbeat()
    assert pair.client.next_deadline_ms() == 20_000
    with pytest.raises(PeerError, match="nothing received for 30 s"):
        pair.client.poll(30_000)
    pair.client.disconnected()
    assert pair.client.next_deadline_ms() is None
    pair.client.poll(90_000)


def test_the_client_does_not_await_a_logons_answer_for_ever() -> None:
    client = ClientSession("S1")
    client.connected(0)
    assert client.next_deadline_ms() == 30_000
    client.data_to_send()
    client.poll(29_999)
    assert client.data_to_send() == b""
    with pytest.raises(PeerError):
        client.poll(30_000)

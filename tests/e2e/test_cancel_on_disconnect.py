"""Cancel on disconnect in a running venue: by socket loss, by Logout, after silence, in time."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from support.peers import BinaryPeer, FixPeer, FixReport
from support.venue import GATEWAYS, SYMBOLS, Venue, wait_for

BOTH = ["connection_lost", "logout"]
SESSIONS: list[dict[str, Any]] = [
    {"id": "LOST", "cancel_on_disconnect": {}},
    {"id": "LOST-42", "begin_string": "FIX.4.2", "cancel_on_disconnect": {}},
    {"id": "LOST-50", "begin_string": "FIXT.1.1", "cancel_on_disconnect": {}},
    {"id": "LOST-ALL", "cancel_on_disconnect": {"include_gtc": True}},
    {"id": "BYE", "cancel_on_disconnect": {"triggers": ["logout"], "include_gtc": True}},
    {"id": "GRACE", "cancel_on_disconnect": {"triggers": BOTH, "grace_s": 2}},
    {"id": "SILENT", "cancel_on_disconnect": {}},
    {"id": "LATE", "cancel_on_disconnect": {"grace_s": 1}},
    {"id": "PLAIN"},
    {"id": "BIN", "protocol": "binary", "cancel_on_disconnect": {"triggers": BOTH}},
    {
        "id": "HELD",
        "cancel_on_disconnect": {},
        "throttle": {"messages": 1, "interval_ms": 3000, "action": "queue"},
    },
]


CONFIG = {
    "dynamic_sessions": False,
    # An order may be in either shard.
    "shards": [{"core": None}, {"core": None}],
    "firms": [{"name": "alpha", "sessions": SESSIONS}],
}


@pytest.fixture(scope="module")
def leaving_one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Venue]:
    with Venue(tmp_path_factory.mktemp("leaving"), config=CONFIG, symbols=SYMBOLS) as venue:
        yield venue


@pytest.fixture(scope="module")
def leaving_two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Venue]:
    folder = tmp_path_factory.mktemp("leaving")
    with Venue(folder, config=CONFIG, symbols=SYMBOLS, gateways=2) as venue:
        yield venue


@pytest.fixture
def leaving(request: pytest.FixtureRequest, gateways: int) -> Venue:
    """The venue of this module with one gateway, or with two."""
    venue: Venue = request.getfixturevalue("leaving_two" if gateways > GATEWAYS else "leaving_one")
    return venue


@pytest.fixture
def symbols(leaving: Venue) -> list[str]:
    """Two symbols, one in each shard."""
    return [leaving.take_symbol(), leaving.take_symbol()]


def place(peer: FixPeer, symbols: list[str]) -> None:
    """Rest a DAY order and a GTC order in each shard."""
    extra = "21=1|" if peer.begin < "FIX.4.3" else ""
    for number, symbol in enumerate(symbols):
        for tif in "01":
            peer.new(f"o{number}-{tif}", symbol, "1", 10, "10.00", tif, extra)
    assert [report[39] for report in peer.reports(4)] == ["0"] * 4


def come_back(venue: Venue, before: FixPeer, body: str = "789={}|") -> FixPeer:
    """Log on again; what was missed comes by itself where the version has 789."""
    peer = FixPeer(
        venue.port("fix"),
        before.comp_id,
        next_out=before.next_out,
        next_in=before.next_in,
        begin=before.begin,
    )
    peer.send("A", f"98=0|108=0|{body.format(before.next_in)}")
    answer = peer.receive(is_numbered=False)
    assert answer.kind == "A"
    peer.next_in += int(answer[34]) == peer.next_in
    return peer


def canceled(venue: Venue) -> float:
    return venue.metrics()("reports_total", type="canceled")


def wait_until_canceled(venue: Venue, before: float, count: int) -> None:
    wait_for(lambda: canceled(venue) == before + count)


def states(peer: FixPeer, symbols: list[str]) -> dict[str, str]:
    """Return OrdStatus of the four orders, by name."""
    found = {}
    for number, symbol in enumerate(symbols):
        for tif in "01":
            peer.status(f"o{number}-{tif}", symbol)
            report = peer.receive()
            found[report[11]] = report[39]
    return found


def missed(peer: FixPeer, count: int) -> list[FixReport]:
    reports = [peer.receive() for _ in range(count)]
    assert all(report[43] == "Y" for report in reports)
    return reports


@pytest.mark.two_gateways_too
def test_a_lost_connection_cancels_day_orders_in_every_shard(leaving: Venue, symbols: list[str]):
    before = canceled(leaving)
    with FixPeer(leaving.port("fix"), "LOST") as peer:
        peer.log_on()
        place(peer, symbols)
    wait_until_canceled(leaving, before, 2)
    with come_back(leaving, peer) as back:
        reports = missed(back, 2)
        for report in reports:
            assert report.pick(35, 150, 39, 378, 41) == ["8", "4", "4", "99", None]
        assert sorted(report[11] for report in reports) == ["o0-0", "o1-0"]
        back.receive()  # the gap fill over the Logon
        assert states(back, symbols) == {"o0-0": "4", "o0-1": "0", "o1-0": "4", "o1-1": "0"}


def test_the_reports_of_an_old_version_come_by_resend(leaving: Venue, symbols: list[str]):
    before = canceled(leaving)
    with FixPeer(leaving.port("fix"), "LOST-42", begin="FIX.4.2") as peer:
        peer.log_on()
        place(peer, symbols)
    wait_until_canceled(leaving, before, 2)
    with come_back(leaving, peer, "") as back:
        back.send("2", f"7={peer.next_in}|16=0|")
        assert [report.pick(35, 150, 39) for report in missed(back, 2)] == [["8", "4", "4"]] * 2


def test_the_newest_version_names_the_cause(leaving: Venue, symbols: list[str]):
    before = canceled(leaving)
    with FixPeer(leaving.port("fix"), "LOST-50", begin="FIXT.1.1") as peer:
        peer.log_on("1137=9|")
        place(peer, symbols)
    wait_until_canceled(leaving, before, 2)
    with come_back(leaving, peer, "1137=9|789={}|") as back:
        assert {report[378] for report in missed(back, 2)} == {"12"}


def test_gtc_orders_go_too_where_that_is_wanted(leaving: Venue, symbols: list[str]):
    before = canceled(leaving)
    with FixPeer(leaving.port("fix"), "LOST-ALL") as peer:
        peer.log_on()
        place(peer, symbols)
    wait_until_canceled(leaving, before, 4)


@pytest.mark.two_gateways_too
def test_a_logout_counts_only_where_it_is_a_trigger(leaving: Venue, symbols: list[str]):
    before = canceled(leaving)
    with FixPeer(leaving.port("fix"), "LOST") as peer:
        peer.send("A", "98=0|108=0|141=Y|")
        assert peer.receive().kind == "A"
        names = [f"x{number}" for number in range(2)]
        for name, symbol in zip(names, symbols, strict=True):
            peer.new(name, symbol, "1", 10, "10.00", "0")
        peer.reports(2)
        peer.log_out()
    with FixPeer(leaving.port("fix"), "BYE") as peer:
        peer.log_on()
        place(peer, symbols)
        peer.log_out()
    # The logout of LOST has not counted, that of BYE has.
    wait_until_canceled(leaving, before, 4)
    with come_back(leaving, peer) as back:
        assert {report[378] for report in missed(back, 4)} == {"99"}
        back.receive()
        # Lost this time: no trigger.
        back.new("y", symbols[0], "1", 10, "10.00")
        back.receive()
    time.sleep(0.3)
    assert canceled(leaving) == before + 4


def test_a_return_in_time_keeps_the_orders(leaving: Venue, symbols: list[str]):
    before = canceled(leaving)
    with FixPeer(leaving.port("fix"), "GRACE") as peer:
        peer.log_on()
        place(peer, symbols)
    time.sleep(1)
    with come_back(leaving, peer) as back:
        time.sleep(2)
        assert states(back, symbols) == dict.fromkeys(("o0-0", "o0-1", "o1-0", "o1-1"), "0")
        assert canceled(leaving) == before
        back.log_out()
    time.sleep(1)
    assert canceled(leaving) == before
    wait_until_canceled(leaving, before, 2)


def test_a_refused_logon_is_no_return(leaving: Venue, symbols: list[str]):
    before = canceled(leaving)
    with FixPeer(leaving.port("fix"), "LATE") as peer:
        peer.log_on()
        place(peer, symbols)
    with FixPeer(leaving.port("fix"), "LATE", next_out=1) as refused:
        refused.send("A", "98=0|108=0|")
        assert refused.receive(is_numbered=False).kind == "5"
    wait_until_canceled(leaving, before, 2)


def test_silence_is_a_lost_connection(leaving: Venue, symbols: list[str]):
    before = canceled(leaving)
    with FixPeer(leaving.port("fix"), "SILENT") as peer:
        peer.log_on(heartbeat_s=1)
        place(peer, symbols)
        wait_until_canceled(leaving, before, 2)
        peer.wait_closed()


def test_off_by_default(leaving: Venue, symbols: list[str]):
    before = canceled(leaving)
    with FixPeer(leaving.port("fix"), "PLAIN") as peer:
        peer.log_on()
        place(peer, symbols)
    time.sleep(0.3)
    assert canceled(leaving) == before


@pytest.mark.two_gateways_too
@pytest.mark.parametrize("is_orderly", [True, False])
def test_binary_sessions_too(leaving: Venue, symbols: list[str], is_orderly: bool):
    before = canceled(leaving)
    peer = BinaryPeer(leaving.port("binary"), "BIN")
    with peer:
        peer.log_on(next_expected=0)
        for number, symbol in enumerate(symbols):
            for tif in (0, 1):
                peer.new(f"b{number}-{tif}-{is_orderly}", symbol, 1, 1, 200, tif)
        peer.reports(4)
        if is_orderly:
            peer.log_out()
    wait_until_canceled(leaving, before, 2)
    with BinaryPeer(leaving.port("binary"), "BIN", next_in=peer.next_in) as back:
        back.log_on()
        reports = back.reports(2)
        assert [report.repeated for report in reports] == [True, True]
        assert {report.reason for report in reports} == {82 if is_orderly else 81}


def test_orders_held_by_the_throttle_are_not_sent_afterwards(leaving: Venue, symbols: list[str]):
    before = canceled(leaving)
    time.sleep((3000 - time.time() * 1000 % 3000) / 1000 + 0.02)
    with FixPeer(leaving.port("fix"), "HELD") as peer:
        peer.log_on()
        for name in "abc":
            peer.new(name, symbols[0], "1", 10, "10.00", "0")
        assert peer.receive()[11] == "a"
    wait_until_canceled(leaving, before, 1)
    time.sleep(3.2)
    with come_back(leaving, peer) as back:
        reports = missed(back, 3)
        assert sorted(report.kind for report in reports) == ["8", "j", "j"]
        assert [r[379] for r in reports if r.kind == "j"] == ["b", "c"]
    assert canceled(leaving) == before + 1

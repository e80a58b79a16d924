"""Throttled sessions of a running venue: refused, held, logged out; cancels never wait alone."""

import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from support.peers import FixPeer, FixReport
from support.venue import SYMBOLS, Venue

LIMIT = 3
#: Long enough that a test's burst lies in one window.
INTERVAL_MS = 2000
TEXT = f"Throttle limit exceeded: {LIMIT} orders in {INTERVAL_MS // 1000} s"


def throttled(action: str, **more: Any) -> dict[str, Any]:
    return {"messages": LIMIT, "interval_ms": INTERVAL_MS, "action": action, **more}


SESSIONS: list[dict[str, Any]] = [
    {"id": "REJECT-44", "throttle": throttled("reject")},
    {"id": "REJECT-40", "begin_string": "FIX.4.0", "throttle": throttled("reject")},
    {"id": "REJECT-42", "begin_string": "FIX.4.2", "throttle": throttled("reject")},
    {"id": "REJECT-50", "begin_string": "FIXT.1.1", "throttle": throttled("reject")},
    {"id": "OFFENDER", "throttle": throttled("reject", logout_after=2)},
    {"id": "QUEUE", "throttle": throttled("queue")},
    {"id": "QUEUE-RESET", "throttle": throttled("queue")},
    {"id": "LEAVER", "throttle": throttled("queue")},
    {"id": "DISCONNECT", "throttle": throttled("disconnect")},
    {"id": "FREE"},
]


@pytest.fixture(scope="module")
def throttled_venue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Venue]:
    config = {"dynamic_sessions": False, "firms": [{"name": "alpha", "sessions": SESSIONS}]}
    with Venue(tmp_path_factory.mktemp("throttle"), config=config, symbols=SYMBOLS) as venue:
        yield venue


def at_window_start() -> None:
    """Wait until a window has just begun."""
    time.sleep((INTERVAL_MS - time.time() * 1000 % INTERVAL_MS) / 1000 + 0.02)


def burst(peer: FixPeer, symbol: str, names: list[str]) -> None:
    """Send orders in one write; FIX before 4.3 wants HandlInst, and 4.0 has no TransactTime."""
    extra = "21=1|" if peer.begin < "FIX.4.3" else ""
    bodies = [peer.order(name, symbol, "1", 10, "10.00", extra=extra) for name in names]
    if peer.begin == "FIX.4.0":
        bodies = [re.sub(r"\b60=[^|]*\|", "", body) for body in bodies]
    peer.raw(b"".join(peer.frame("D", body) for body in bodies))


def by_name(reports: list[FixReport]) -> dict[str | None, list[str | None]]:
    return {report.get(11) or report.get(379): report.pick(35, 150, 380, 58) for report in reports}


@pytest.mark.parametrize(
    ("comp_id", "begin", "code"),
    [("REJECT-44", "FIX.4.4", "0"), ("REJECT-50", "FIXT.1.1", "8"), ("REJECT-42", "FIX.4.2", "0")],
)
def test_what_is_too_much_is_refused_by_name(
    throttled_venue: Venue, comp_id: str, begin: str, code: str
):
    symbol = throttled_venue.take_symbol()
    with FixPeer(throttled_venue.port("fix"), comp_id, begin=begin) as peer:
        peer.log_on("1137=9|" if begin == "FIXT.1.1" else "")
        at_window_start()
        burst(peer, symbol, ["a", "b", "c", "d", "e"])
        found = by_name(peer.reports(5))
        for name in "abc":
            assert found[name][0] == "8", found
        for name in "de":
            assert found[name] == ["j", None, code, TEXT]
        # Cancels and status requests are not counted.
        if begin == "FIX.4.4":
            peer.cancel("c2", "c", symbol)
            peer.status("a", symbol)
            assert [report.pick(35, 150) for report in peer.reports(2)] == [["8", "4"], ["8", "I"]]
        assert peer.is_alive()
        at_window_start()
        burst(peer, symbol, ["f"])
        assert peer.receive().pick(35, 11) == ["8", "f"]
    assert throttled_venue.metrics()("throttled_messages_total", protocol="fix") >= 2


def test_before_fix_4_2_it_is_a_session_reject(throttled_venue: Venue):
    symbol = throttled_venue.take_symbol()
    with FixPeer(throttled_venue.port("fix"), "REJECT-40", begin="FIX.4.0") as peer:
        peer.log_on()
        at_window_start()
        burst(peer, symbol, ["a", "b", "c", "d"])
        found = peer.reports(4)
        # What Python answers is written at once, before the reports of what the kernel took.
        rejected = [report for report in found if report.kind == "3"]
        assert [report.pick(45, 58) for report in rejected] == [["5", TEXT]]
        assert peer.is_alive()


def test_repeat_offenders_are_logged_out(throttled_venue: Venue):
    symbol = throttled_venue.take_symbol()
    with FixPeer(throttled_venue.port("fix"), "OFFENDER") as peer:
        peer.log_on()
        at_window_start()
        burst(peer, symbol, ["a", "b", "c", "d", "e"])
        found = [peer.receive(is_numbered=False)]
        while found[-1].kind != "5":
            found.append(peer.receive(is_numbered=False))
        # A shard may answer after the Logout.
        assert [report.kind for report in found if report.kind != "8"] == ["j", "j", "5"]
        assert found[-1][58] == TEXT
        peer.send("5")
        peer.wait_closed()
    throttled_venue.wait_for_log("logged out by its throttle: session=OFFENDER")


def test_the_session_may_end_with_the_first_one_too_many(throttled_venue: Venue):
    symbol = throttled_venue.take_symbol()
    with FixPeer(throttled_venue.port("fix"), "DISCONNECT") as peer:
        peer.log_on()
        at_window_start()
        burst(peer, symbol, ["a", "b", "c", "d"])
        kinds: list[str] = []
        while "5" not in kinds:
            kinds.append(peer.receive(is_numbered=False).kind)
        assert set(kinds) <= {"5", "8", "j"}
        assert (kinds.count("5"), kinds.count("j")) == (1, 1)
        peer.send("5")
        peer.wait_closed()
        next_out = peer.next_out
    # A shard may answer after the Logout: what it said comes by resend.
    with FixPeer(throttled_venue.port("fix"), "DISCONNECT", next_out=next_out) as peer:
        peer.send("A", "98=0|108=0|")
        peer.send("2", "7=1|16=0|")
        names: list[str] = []
        while len(names) < 3:
            message = peer.receive(is_numbered=False)
            if message.kind == "8":
                names.append(message[11])
        assert names == ["a", "b", "c"]


def test_held_orders_follow_in_order_and_a_cancel_does_not_overtake(throttled_venue: Venue):
    symbol = throttled_venue.take_symbol()
    with FixPeer(throttled_venue.port("fix"), "QUEUE") as peer:
        peer.log_on()
        at_window_start()
        started = time.monotonic()
        names = [f"o{n}" for n in range(8)]
        burst(peer, symbol, names)
        peer.cancel("c7", "o7", symbol)
        # Administrative messages do not wait.
        assert [report[11] for report in peer.reports(3)] == names[:3]
        assert peer.is_alive()
        assert time.monotonic() - started < INTERVAL_MS / 1000
        assert [report[11] for report in peer.reports(3)] == names[3:6]
        rest = peer.reports(3)
        assert [report.pick(11, 150) for report in rest] == [
            ["o6", "0"],
            ["o7", "0"],
            ["c7", "4"],
        ]
        assert time.monotonic() - started > 1.5 * INTERVAL_MS / 1000
        # The kernel takes the next ones again.
        at_window_start()
        burst(peer, symbol, ["p"])
        assert peer.receive().outcome == "p 0/0 cum=0 leaves=10"


def test_held_orders_go_although_the_client_is_gone(throttled_venue: Venue):
    symbol = throttled_venue.take_symbol()
    with FixPeer(throttled_venue.port("fix"), "LEAVER") as peer:
        peer.log_on()
        at_window_start()
        burst(peer, symbol, ["a", "b", "c", "d"])
        peer.reports(3)
        next_out = peer.next_out
    time.sleep(INTERVAL_MS / 1000 + 0.3)
    with FixPeer(throttled_venue.port("fix"), "LEAVER", next_out=next_out, next_in=5) as back:
        back.send("A", "98=0|108=0|789=5|")
        answer = back.receive(is_numbered=False)
        assert answer.kind == "A"
        assert back.receive().pick(11, 150, 43) == ["d", "0", "Y"]


def test_a_reset_gives_up_what_is_held(throttled_venue: Venue):
    symbol = throttled_venue.take_symbol()
    with FixPeer(throttled_venue.port("fix"), "QUEUE-RESET") as peer:
        peer.log_on()
        at_window_start()
        burst(peer, symbol, ["a", "b", "c", "d", "e"])
        peer.reports(3)
        peer.next_out = peer.next_in = 1
        peer.send("A", "98=0|108=0|141=Y|")
        found = [peer.receive(is_numbered=False) for _ in range(3)]
        assert sorted(report.kind for report in found) == ["A", "j", "j"]
        refused = [report for report in found if report.kind == "j"]
        assert [report[379] for report in refused] == ["d", "e"]
        peer.next_in = max(int(report[34]) for report in found) + 1
        at_window_start()
        burst(peer, symbol, ["f"])
        assert peer.receive().outcome == "f 0/0 cum=0 leaves=10"
        assert peer.is_alive()

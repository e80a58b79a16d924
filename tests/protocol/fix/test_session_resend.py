"""Resending: PossDup, merged gap fills, slices, and nothing new in between."""

from collections.abc import Iterator
from itertools import groupby

import pytest
from conformance.fix_harness import START_MS, Bench, later_ms, readable, split, value_of

from openoutcry.protocol.fix.events import Application, GapDetected, GapFilled, ResendStarted
from openoutcry.protocol.fix.session import Role, Session
from openoutcry.protocol.fix.store import MemoryStore, Run

EARLIER = "20261122-09:59:00.000"
NOW = "20261122-10:00:00.000"


@pytest.fixture(params=list(Role))
def bench(request: pytest.FixtureRequest) -> Bench:
    bench = Bench(request.param)
    bench.log_on()
    bench.take_events()
    return bench


def short(sent: list[str]) -> list[str]:
    """Shorten `35=D|34=3|43=Y|…` to `D 3 dup`, and a gap fill to `4 3-5`."""
    out = []
    for text in sent:
        fields = dict(part.split("=", 1) for part in text.split("|"))
        kind, number = fields["35"], fields["34"]
        if kind == "4":
            out.append(f"4 {number}-{int(fields['36']) - 1}")
        else:
            out.append(f"{kind} {number}" + (" dup" if fields.get("43") == "Y" else ""))
    return out


def test_application_messages_come_again_and_the_rest_is_gap_filled(bench: Bench) -> None:
    bench.send("a")
    bench.receive("35=1|34=2|112=x")
    bench.receive("35=1|34=3|112=y")
    bench.send("b")
    bench.send("c")
    assert short(bench.receive("35=2|34=4|7=1|16=0")) == [
        "4 1-1",
        "D 2 dup",
        "4 3-4",
        "D 5 dup",
        "D 6 dup",
    ]
    assert bench.events == [ResendStarted(1, 6)]
    assert bench.numbers == (5, 7)


def test_a_resent_message_differs_in_43_52_and_122_only(bench: Bench) -> None:
    first = bench.send("a")[0]
    before = bench.frames[0]
    bench.advance(20)
    (again,) = bench.receive("35=2|34=2|7=2|16=2")
    assert again == first.replace("|11=a", f"|43=Y|122={NOW}|11=a").replace(
        f"34=2|43=Y|122={NOW}", f"34=2|43=Y|122={NOW}"
    )
    assert value_of(before, 52) == NOW
    assert value_of(bench.frames[0], 52) == "20261122-10:00:20.000"


def test_a_second_resend_keeps_the_first_sending_time(bench: Bench) -> None:
    bench.send("a")
    bench.advance(1)
    bench.receive("35=2|34=2|7=2|16=2")
    bench.advance(1)
    bench.receive("35=2|34=3|7=2|16=2")
    assert value_of(bench.frames[0], 122) == NOW
    assert bench.now_ms == later_ms(2)


def test_messages_sent_while_a_resend_runs_follow_it_as_new_ones(bench: Bench) -> None:
    for name in "abc":
        bench.send(name)
    bench.slice = 0
    assert bench.receive("35=2|34=2|7=1|16=0") == []
    assert not bench.session.can_send
    assert not bench.session.is_live
    assert bench.send("d") == []
    assert bench.receive("35=1|34=3|112=x") == []
    assert bench.send("e") == []
    bench.slice = 2
    assert short(bench.act([])) == ["4 1-1", "D 2 dup", "D 3 dup", "D 4 dup", "D 5", "0 6", "D 7"]
    assert bench.session.is_live


def test_a_slice_holds_no_more_than_its_limit(bench: Bench) -> None:
    for name in "abcdef":
        bench.send(name)
    bench.slice = 0
    bench.receive("35=2|34=2|7=2|16=0")
    sizes = []
    while bench.session.is_resending:
        sizes.append(bench.session.resend_slice(bench.now_ms, 4).count(b"35=D"))
    assert sizes == [4, 2]


def test_a_slice_ends_with_the_message_that_fills_its_bytes(bench: Bench) -> None:
    for name in "abcdef":
        bench.send(name)
    bench.slice = 0
    bench.receive("35=2|34=2|7=2|16=0")
    one = bench.session.resend_slice(bench.now_ms, 4, 1)
    assert one.count(b"35=D") == 1
    sizes = []
    while bench.session.is_resending:
        part = bench.session.resend_slice(bench.now_ms, 100, 2 * len(one) - 1)
        sizes.append(part.count(b"35=D"))
    assert sizes[:2] == [2, 2]
    assert sum(sizes) == 5


def test_what_waits_behind_a_resend_comes_in_slices_too(bench: Bench) -> None:
    bench.send("a")
    bench.slice = 0
    bench.receive("35=2|34=2|7=2|16=0")
    for name in "bcd":
        bench.send(name)
    bench.receive("35=1|34=3|112=x")
    sent = []
    while bench.session.is_resending:
        part = bench.session.resend_slice(bench.now_ms, 100, 1)
        sent.append(short([readable(one) for one in split(part)]))
    assert [one for one in sent if one] == [["D 2 dup"], ["D 3"], ["D 4"], ["D 5"], ["0 6"]]


class RunStore:
    """A store that gives neighbouring messages together, as a venue's does."""

    def __init__(self) -> None:
        self._inner = MemoryStore()
        self.record = self._inner.record
        self.reset = self._inner.reset

    def resent(self, first: int, last: int, now_ms: int) -> Iterator[Run]:
        return self._together(self._inner.resent(first, last, now_ms))

    def first_time(self, first: int, last: int) -> Iterator[Run]:
        return self._together(self._inner.first_time(first, last))

    @staticmethod
    def _together(runs: Iterator[Run]) -> Iterator[Run]:
        for is_data, group in groupby(runs, lambda run: run[2] is not None):
            some = list(group)
            data = b"".join(run[2] or b"" for run in some) if is_data else None
            yield some[0][0], some[-1][1], data


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
@pytest.mark.parametrize("max_bytes", [1, 250, 10_000])
def test_a_store_may_give_many_messages_at_once(limit: int, max_bytes: int) -> None:
    bench = Bench()
    bench.session = Session(bench.config, bench.state, RunStore())
    bench.log_on()
    for name in "abc":
        bench.send(name)
    bench.receive("35=1|34=2|112=x")
    bench.receive("35=1|34=3|112=x")
    for name in "de":
        bench.send(name)
    bench.slice = 0
    bench.receive("35=2|34=4|7=1|16=0")
    bench.send("f")
    bench.receive("35=1|34=5|112=x")
    bench.send("g")
    sent = b""
    while bench.session.is_resending:
        sent += bench.session.resend_slice(bench.now_ms, limit, max_bytes)
    assert short([readable(one) for one in split(sent)]) == [
        "4 1-1",
        "D 2 dup",
        "D 3 dup",
        "D 4 dup",
        "4 5-6",
        "D 7 dup",
        "D 8 dup",
        "D 9",
        "0 10",
        "D 11",
    ]


def test_a_gap_fill_is_merged_across_slices(bench: Bench) -> None:
    for number in range(2, 9):
        bench.receive(f"35=1|34={number}|112=x")
    bench.send("a")
    bench.slice = 2
    assert short(bench.receive("35=2|34=9|7=1|16=0")) == ["4 1-8", "D 9 dup"]


def test_a_request_during_a_resend_follows_it(bench: Bench) -> None:
    for name in "abcd":
        bench.send(name)
    bench.slice = 0
    bench.receive("35=2|34=2|7=2|16=3")
    bench.receive("35=2|34=3|7=5|16=0")
    bench.receive("35=2|34=4|7=4|16=4")
    bench.send("e")
    bench.slice = 10
    assert short(bench.act([])) == ["D 2 dup", "D 3 dup", "D 4 dup", "D 5 dup", "D 6"]


def test_a_bounded_request_ends_where_it_says(bench: Bench) -> None:
    for name in "abcd":
        bench.send(name)
    assert short(bench.receive("35=2|34=2|7=3|16=4")) == ["D 3 dup", "D 4 dup"]
    assert short(bench.send("e")) == ["D 6"]


def test_a_fatal_error_overtakes_a_running_resend(bench: Bench) -> None:
    bench.send("a")
    bench.slice = 0
    bench.receive("35=2|34=2|7=1|16=0")
    assert short(bench.receive("35=0|34=1")[:-1]) == ["5 3"]
    assert not bench.session.is_resending


def test_resent_messages_count_as_sent_for_the_heartbeat(bench: Bench) -> None:
    bench.send("a")
    bench.advance(20)
    bench.receive("35=2|34=2|7=2|16=0")
    assert bench.advance(29) == []


def test_a_resend_that_stands_still_piles_up_no_heartbeats(bench: Bench) -> None:
    bench.send("a")
    bench.slice = 0
    bench.receive("35=2|34=2|7=2|16=0")
    bench.advance(30)
    assert bench.numbers == (3, 4)
    due_ms = bench.session.next_timeout_ms()
    assert due_ms is not None
    assert due_ms > bench.now_ms
    bench.advance(1)
    assert bench.numbers == (3, 4)
    bench.slice = 10
    assert short(bench.act([])) == ["D 2 dup", "0 3"]


def test_messages_numbered_while_away_come_by_resend_after_the_logon(bench: Bench) -> None:
    bench.cut()
    bench.take_events()
    assert bench.send("a") == []
    assert bench.send("b") == []
    acceptor = bench.config.role is Role.ACCEPTOR
    bench.connect()
    bench.receive("35=A|34=2|98=0|108=30")
    logon_number = 4
    assert short(bench.receive("35=2|34=3|7=2|16=0")) == ["D 2 dup", "D 3 dup", "4 4-4"]
    assert bench.numbers == (4, logon_number + 1)
    assert acceptor or bench.session.is_live


def test_messages_numbered_while_away_come_at_once_with_next_expected() -> None:
    bench = Bench()
    bench.log_on()
    bench.cut()
    bench.send("a")
    bench.connect()
    assert short(bench.receive("35=A|34=2|98=0|108=30|789=2")) == ["A 3", "D 2 dup", "4 3-3"]


def test_gap_events_come_in_order(bench: Bench) -> None:
    bench.receive("35=D|34=4|11=d|55=BTCUSDT|54=1|60=20261122-10:00:00|38=1|40=2|44=1")
    bench.receive(f"35=4|34=2|43=Y|122={EARLIER}|123=Y|36=4")
    kinds = [type(e) for e in bench.events]
    assert kinds == [GapDetected, GapFilled, Application]
    assert bench.events[0] == GapDetected(2, 3)
    assert bench.session.is_live


def test_the_queue_above_a_gap_is_bounded() -> None:
    bench = Bench(max_queued=2)
    bench.log_on()
    order = "11=x|55=BTCUSDT|54=1|60=20261122-10:00:00|38=1|40=2|44=1"
    sent = [bench.receive(f"35=D|34={number}|{order}") for number in (4, 5, 6, 7)]
    assert sent == [["35=2|34=2|7=2|16=0"], [], [], []]
    bench.receive(f"35=4|34=2|43=Y|122={EARLIER}|123=Y|36=4")
    assert bench.state.next_in == 6
    assert bench.receive("35=0|34=8") == ["35=2|34=3|7=6|16=0"]


def test_a_cut_forgets_the_gap_and_the_resend(bench: Bench) -> None:
    bench.receive("35=0|34=9")
    bench.cut()
    assert not bench.session.is_gap_pending
    assert not bench.session.is_resending
    assert bench.session.data_to_send() == b""
    assert bench.now_ms == START_MS


def test_what_waited_long_goes_out_with_a_fresh_sending_time(bench: Bench) -> None:
    """A slow reader: the peer would refuse a SendingTime of two minutes ago."""
    for name in "ab":
        bench.send(name)
    bench.slice = 0
    bench.receive("35=2|34=2|7=2|16=0")
    bench.session.resend_slice(bench.now_ms, 1)
    bench.send("c")
    bench.receive("35=1|34=3|112=x")
    bench.now_ms += 100_000
    bench.slice = 1
    assert short(bench.act([])) == ["D 3 dup", "D 4 dup", "0 5"]
    assert {value_of(one, 52) for one in bench.frames} == {"20261122-10:01:40.000"}


def test_more_waiting_answers_than_fit_are_gap_filled(bench: Bench) -> None:
    bench.send("a")
    bench.slice = 0
    bench.receive("35=2|34=2|7=2|16=0")
    for number in range(3, 1_010):
        bench.receive(f"35=1|34={number}|112=x")
    bench.slice = 100
    sent = short(bench.act([]))
    assert len(sent) == 1 + 1_000 + 1
    assert sent[-1] == "4 1003-1009"

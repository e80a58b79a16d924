"""Recorded order flow: readers, the mapping to requests, and its outcome against the oracle."""

import asyncio
import gzip
import lzma
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from oracle import flow as oracle
from support.flow import ITCH, EngineLink, bitstamp, check_against_oracle, data_file, itch

from openoutcry.loadgen.flow import flow, venue_config
from openoutcry.loadgen.flow_executions import compare_executions, file_executions
from openoutcry.loadgen.flow_files import FlowFile, FlowFileError, read_flow
from openoutcry.loadgen.flow_links import FlowError
from openoutcry.loadgen.flow_mapping import Mapper, causal_order
from openoutcry.loadgen.flow_orders import Answer, AnswerKind, Fill, Request, RequestKind
from openoutcry.loadgen.flow_report import FlowReport, make_report
from openoutcry.loadgen.flow_runner import FlowRunner
from openoutcry.protocol.binary.enums import Side, TimeInForce
from openoutcry.server.config_file import load_config


def written(folder: Path, name: str, data: bytes) -> FlowFile:
    path = folder / name
    path.write_bytes(data)
    return read_flow(path)


def run_through(
    file: FlowFile, *, closes_gaps: bool = True, window: int = 8, orders: int = 64
) -> tuple[FlowReport, FlowRunner, list[Request]]:
    link = EngineLink(file.symbols, orders)
    mapper = Mapper(closes_gaps=closes_gaps and file.format == "itch")
    runner = FlowRunner(link, mapper, window=window)
    asyncio.run(runner.run(file))
    report = make_report(file, mapper, runner.own, runner.requests)
    return report, runner, link.requests


def in_short(requests: list[Request]) -> list[tuple[Any, ...]]:
    """Return requests without what is the same in all cases."""
    found: list[tuple[Any, ...]] = []
    for one in requests:
        match one.kind:
            case RequestKind.NEW:
                tif = "" if one.tif is TimeInForce.GTC else one.tif.name
                found.append(("new", one.cl_ord_id, one.side.name, one.qty, one.price, tif))
            case RequestKind.CANCEL:
                found.append(("cancel", one.cl_ord_id, one.orig_cl_ord_id))
            case RequestKind.REPLACE:
                ids = (one.cl_ord_id, one.orig_cl_ord_id)
                found.append(("replace", *ids, one.qty, one.price))
    return found


# --- reading --------------------------------------------------------------------------------------


def test_bitstamp_rows_plain_and_compressed(tmp_path):
    data = bitstamp((1, "236.47", 200_000_000, "created", "bid"), (1, "236.5", 0, "deleted", "bid"))
    plain = written(tmp_path, "a.csv", data)
    first, second = plain.events
    assert (first.number, first.side, first.price, first.qty) == (1, Side.BUY, 23647, 200_000_000)
    assert (second.word, second.kind.value, second.price) == ("deleted", "remains", 23650)
    assert written(tmp_path, "a.csv.xz", lzma.compress(data)) == plain
    assert written(tmp_path, "a.csv.gz", gzip.compress(data)) == plain


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"id,price\n1,2\n", "line 1: no column action, direction, volume"),
        (bitstamp((1, "1.234", 5, "created", "bid")), "line 2"),
        (bitstamp((1, "1", 5, "made", "bid")), "line 2"),
        (bitstamp((1, "1", 5, "created", "left")), "line 2"),
        (b"id,price,volume,action,direction\n1,2\n", "line 2"),
        (b"\xff\xfe", "codec"),
    ],
)
def test_what_is_no_bitstamp_file(tmp_path, data, message):
    with pytest.raises(FlowFileError, match=message):
        written(tmp_path, "a.csv", data)


def test_itch_messages_with_and_without_length_bytes(tmp_path):
    messages = [itch("S"), itch("F", 7, "S", 300, "ALC", 53_500), itch("C", 7, 100)]
    zero = written(tmp_path, "a.bin", b"".join(messages))
    assert [(one.word, one.qty) for one in zero.events] == [("S", 0), ("F", 300), ("C", 100)]
    assert zero.symbols[0].name == "ALC"
    told = b"".join(len(one[2:]).to_bytes(2, "big") + one[2:] for one in messages)
    assert written(tmp_path, "b.bin", told) == zero


@pytest.mark.parametrize("data", [b"\0\0?abc", itch("D", 1)[:-1], itch("D", 1) + b"\0"])
def test_what_is_no_itch_file(tmp_path, data):
    with pytest.raises(FlowFileError, match="byte"):
        written(tmp_path, "a.bin", data)


def test_events_wait_for_the_creation_of_their_order(tmp_path):
    file = written(
        tmp_path,
        "a.bin",
        itch("X", 2, 1)  # waits for the replace, which waits for the add
        + itch("U", 1, 2, 50, 10)
        + itch("D", 9)  # never created: stays here
        + itch("A", 1, "B", 100, "ALC", 9)
        + itch("D", 2),
    )
    assert [(one.word, held) for one, held in causal_order(file.events)] == [
        ("D", False),
        ("A", False),
        ("U", True),
        ("X", True),
        ("D", False),
    ]


# --- the mapping ----------------------------------------------------------------------------------


def test_itch_requests(tmp_path):
    file = written(
        tmp_path,
        "a.bin",
        itch("S")
        + itch("A", 1, "B", 100, "ALC", 500)
        + itch("E", 1, 30)
        + itch("X", 1, 20)
        + itch("U", 1, 2, 60, 501)
        + itch("D", 2)
        + itch("D", 3),
    )
    report, runner, requests = run_through(file)
    assert in_short(requests) == [
        ("new", "1", "BUY", 100, 500, ""),
        ("new", "x3", "SELL", 30, 500, "IOC"),
        ("replace", "1.4", "1", 80, 500),
        # 30 were filled before: 60 shall be left.
        ("replace", "1.5", "1.4", 90, 501),
        ("cancel", "2.6", "1.5"),
    ]
    assert runner.own.fills == [Fill("1", "x3", 500, 30)]
    assert report.reproduction.reproduced == 1
    assert report.differences == ()
    assert {reason.split(":")[0] for reason, _ in report.skipped} == {
        "no book effect",
        "id never created",
    }


def test_a_reduction_of_all_that_is_left_is_a_cancel(tmp_path):
    file = written(tmp_path, "a.bin", itch("A", 1, "B", 100, "ALC", 500) + itch("X", 1, 100))
    assert in_short(run_through(file)[2])[1] == ("cancel", "1.2", "1")


def test_a_replace_that_would_keep_its_place_is_sent_as_cancel_and_new(tmp_path):
    file = written(tmp_path, "a.bin", itch("A", 1, "B", 100, "ALC", 500) + itch("U", 1, 2, 90, 500))
    report, runner, requests = run_through(file)
    assert in_short(requests)[1:] == [("cancel", "1.2", "1"), ("new", "2", "BUY", 90, 500, "")]
    assert runner.own.resting().keys() == {"2"}
    assert report.differences == ()


def test_gaps_are_closed_or_kept(tmp_path):
    file = written(
        tmp_path,
        "a.bin",
        itch("A", 1, "B", 100, "ALC", 500)
        + itch("A", 2, "B", 100, "ALC", 499)
        + itch("A", 3, "B", 100, "ALC", 499)
        + itch("E", 3, 40)  # 1 and 2 stand before it: they must have left
        + itch("A", 4, "S", 10, "ALC", 499)  # 3 must have left
        + itch("D", 3),  # but it has not
    )
    report, runner, requests = run_through(file)
    assert in_short(requests)[3:] == [
        ("cancel", "1.g4", "1"),
        ("cancel", "2.g4", "2"),
        ("new", "x4", "SELL", 40, 499, "IOC"),
        ("cancel", "3.g5", "3"),
        ("new", "4", "SELL", 10, 499, ""),
        ("cancel", "3.6", "3"),
    ]
    assert (report.gap_cancels, report.gaps_contradicted) == (3, 1)
    assert [(one.order_id, one.rule) for one in report.differences] == [("1", "gap"), ("2", "gap")]
    assert runner.own.fills == [Fill("3", "x4", 499, 40)]

    report, runner, _ = run_through(file, closes_gaps=False)
    assert report.gap_cancels == 0
    assert runner.own.fills == [Fill("1", "x4", 500, 40), Fill("1", "4", 500, 10)]
    assert [(one.order_id, one.rule) for one in report.differences] == [
        ("1", "filled more"),
        ("4", "filled more"),
    ]


def test_a_refused_replace_explains_what_it_leaves_behind(tmp_path):
    file = written(
        tmp_path,
        "a.bin",
        itch("A", 1, "B", 100, "ALC", 500)
        + itch("A", 2, "S", 100, "ALC", 500)  # crosses: the venue fills both
        + itch("U", 1, 3, 100, 501)
        + itch("X", 3, 10),
    )
    report, _, requests = run_through(file, closes_gaps=False)
    assert in_short(requests)[2:] == [("replace", "1.3", "1", 200, 501), ("cancel", "3.4", "3")]
    assert [(one.order_id, one.rule) for one in report.differences] == [
        ("2", "filled more"),
        ("3", "refused"),
    ]


def test_bitstamp_requests(tmp_path):
    file = written(
        tmp_path,
        "a.csv",
        bitstamp(
            (1, "10.00", 500, "created", "ask"),
            (2, "10.00", 200, "created", "bid"),  # fills 200
            (1, "10.00", 300, "changed", "ask"),  # done already
            (2, "10.00", 0, "deleted", "bid"),  # done already
            (1, "10.00", 250, "changed", "ask"),  # by an order that is not in the file
            (3, "9.50", 90, "created", "bid"),
            (3, "10.00", 88, "changed", "bid"),  # walks to the ask, and fills 88 there
            (3, "10.00", 0, "deleted", "bid"),
            (1, "10.00", 0, "deleted", "ask"),  # 162 are left at the venue
            (4, "9.00", 7, "created", "bid"),
            (4, "9.00", 9, "changed", "bid"),  # more than before
            (4, "9.00", 7, "deleted", "bid"),
            (4, "9.00", 7, "deleted", "bid"),  # twice
            (5, "9.00", 7, "deleted", "bid"),  # never created
        ),
    )
    report, runner, requests = run_through(file)
    assert in_short(requests) == [
        ("new", "1", "SELL", 500, 1000, ""),
        ("new", "2", "BUY", 200, 1000, ""),
        ("replace", "1.5", "1", 450, 1000),
        ("new", "3", "BUY", 90, 950, ""),
        ("replace", "3.7", "3", 88, 1000),
        ("cancel", "1.9", "1.5"),
        ("new", "4", "BUY", 7, 900, ""),
        ("replace", "4.11", "4", 9, 900),
        ("cancel", "4.12", "4.11"),
    ]
    assert runner.own.fills == [Fill("1", "2", 1000, 200), Fill("1", "3", 1000, 88)]
    assert report.skipped == {
        ("no book effect: the venue's own matching has done it", "changed"): 1,
        ("no book effect: the venue's own matching has done it", "deleted"): 2,
        ("no book effect: the file has taken the order away before", "deleted"): 1,
        ("id never created", "deleted"): 1,
    }
    assert report.events == report.events_sent + sum(report.skipped.values())
    assert report.differences == ()


def test_bitstamp_executions_are_joined_from_their_two_rows(tmp_path):
    file = written(
        tmp_path,
        "a.csv",
        bitstamp(
            (5, "10.00", 500, "created", "ask"),
            (6, "10.00", 200, "created", "bid"),
            (6, "10.00", 0, "deleted", "bid"),
            (5, "10.00", 299, "changed", "ask"),  # 201: rounded
            (5, "10.01", 290, "changed", "ask"),  # walks: no execution
            (4, "10.01", 0, "deleted", "bid"),  # was there before the file began
            (5, "10.01", 90, "changed", "ask"),
            (7, "10.01", 60, "created", "bid"),
            (5, "10.01", 30, "changed", "ask"),
            (7, "10.01", 0, "deleted", "bid"),
        ),
    )
    found = [(one.number, one.resting_id, one.qty) for one in file_executions(file)]
    assert found == [(4, "5", 201), (6, "4", None), (9, "5", 60)]
    fills = [Fill("5", "6", 1000, 200), Fill("5", "7", 1001, 60)]
    outcome = compare_executions(file, fills, {"5", "6", "7"})
    assert (outcome.executions, outcome.reproduced, outcome.rounded) == (3, 1, 1)
    assert outcome.never_created == 1


# --- against the oracle ---------------------------------------------------------------------------

_ids = st.integers(1, 12)
_prices = st.integers(98, 103)
_shares = st.integers(1, 30)
_itch_messages = st.one_of(
    st.builds(lambda *f: ("A", *f), _ids, st.sampled_from("BS"), _shares, st.just("ALC"), _prices),
    st.builds(lambda *f: ("E", *f), _ids, _shares),
    st.builds(lambda *f: ("X", *f), _ids, _shares),
    st.builds(lambda *f: ("D", *f), _ids),
    st.builds(lambda *f: ("U", *f), _ids, _ids, _shares, _prices),
    st.just(("S",)),
)


def made_once(messages: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Leave out what would create an id a second time, or an order from itself."""
    created: set[int] = set()
    found = []
    for one in messages:
        new = {"A": one[1], "U": one[2]}.get(one[0]) if len(one) > 2 else None
        if new is None or new not in created:
            found.append(one)
        if new is not None:
            created.add(new)
    return found


@given(st.lists(_itch_messages, max_size=40), st.booleans(), st.integers(1, 5))
def test_any_itch_file_ends_as_the_oracle_says(tmp_path_factory, messages, closes_gaps, window):
    path = tmp_path_factory.mktemp("itch") / "a.bin"
    path.write_bytes(b"".join(itch(*one) for one in made_once(messages)))
    file = read_flow(path)
    report, runner, _ = run_through(file, closes_gaps=closes_gaps, window=window)
    events = oracle.read_itch(path)
    expected = oracle.FlowOracle(events, closes_gaps=closes_gaps).run()
    check_against_oracle(report, runner, expected, oracle.straight_book(events))


_rows = st.tuples(
    st.integers(1, 10),
    st.integers(98, 102).map(lambda price: f"{price / 100:.2f}"),
    st.integers(0, 20),
    st.sampled_from(["created", "created", "changed", "deleted"]),
    st.sampled_from(["bid", "ask"]),
)


@given(st.lists(_rows, max_size=40), st.integers(1, 5))
def test_any_bitstamp_file_ends_as_the_oracle_says(tmp_path_factory, rows, window):
    created: dict[int, str] = {}
    kept = []
    for number, price, volume, action, side in rows:
        if action == "created" and (number in created or volume == 0):
            continue
        if action == "created":
            created[number] = side
        if action == "changed" and volume == 0:
            continue
        kept.append((number, price, volume, action, created.get(number, side)))
    path = tmp_path_factory.mktemp("bitstamp") / "a.csv.xz"
    path.write_bytes(lzma.compress(bitstamp(*kept)))
    report, runner, _ = run_through(read_flow(path), window=window)
    events = oracle.read_bitstamp(path)
    check_against_oracle(
        report, runner, oracle.FlowOracle(events).run(), oracle.straight_book(events)
    )


@pytest.mark.parametrize("closes_gaps", [True, False])
def test_the_itch_sample_through_the_engine_in_process(closes_gaps):
    path = data_file(ITCH)
    report, runner, _ = run_through(
        read_flow(path), closes_gaps=closes_gaps, window=256, orders=1 << 14
    )
    events = oracle.read_itch(path)
    expected = oracle.FlowOracle(events, closes_gaps=closes_gaps).run()
    check_against_oracle(report, runner, expected, oracle.straight_book(events))


# --- the runner and the command -------------------------------------------------------------------


class _Lying(EngineLink):
    """A venue that tells of another book when asked."""

    async def ask(self, cl_ord_id: str, symbol: str, side: Side) -> None:
        await super().ask(cl_ord_id, symbol, side)
        answer = self._answers._queue.pop()  # type: ignore[attr-defined]
        assert answer.kind is AnswerKind.STATUS
        self._answers.put_nowait(Answer(AnswerKind.STATUS, cl_ord_id, leaves_qty=1))


def test_a_book_that_is_not_as_reported_is_an_error(tmp_path):
    file = written(tmp_path, "a.bin", itch("A", 1, "B", 100, "ALC", 500))
    runner = FlowRunner(_Lying(file.symbols), Mapper(closes_gaps=True))
    with pytest.raises(FlowError, match="not as reported"):
        asyncio.run(runner.run(file))


class _Silent(EngineLink):
    async def send(self, request: Request) -> None:
        pass


def test_a_silent_venue_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr("openoutcry.loadgen.flow_runner.SILENCE_S", 0.05)
    file = written(tmp_path, "a.bin", itch("A", 1, "B", 100, "ALC", 500))
    runner = FlowRunner(_Silent(file.symbols), Mapper(closes_gaps=True))
    with pytest.raises(FlowError, match="1 are due"):
        asyncio.run(runner.run(file))


def test_the_venue_configuration_is_valid(tmp_path):
    file = written(tmp_path, "a.bin", itch("A", 1, "B", 100, "NO", 5) + itch("D", 1))
    path = tmp_path / "venue.yaml"
    path.write_text(venue_config(file))
    config = load_config(path)
    assert [(one.name, one.tick, one.lot) for one in config.symbols] == [("NO", "0.0001", "1")]
    assert config.day is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--target", "nowhere"], "HOST:PORT"),
        (["--format", "bitstamp"], "codec"),
        (["--target", "127.0.0.1:1"], "Connect call failed"),
    ],
)
def test_the_command_says_what_is_wrong(tmp_path, arguments, message):
    path = tmp_path / "a.bin"
    path.write_bytes(itch("A", 1, "B", 100, "ALC", 500))
    outcome = CliRunner().invoke(flow, [str(path), *arguments])
    assert outcome.exit_code != 0
    assert message in outcome.output

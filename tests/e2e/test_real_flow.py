"""Recorded order flow of real markets through a running venue, compared with the oracle."""

import asyncio
import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from oracle import flow as oracle
from support.flow import BITSTAMP, ITCH, check_against_oracle, data_file

from openoutcry.loadgen.flow import flow, send_flow, venue_config
from openoutcry.loadgen.flow_files import FlowFile, read_flow
from openoutcry.loadgen.flow_report import FlowReport
from openoutcry.loadgen.flow_runner import FlowRunner
from openoutcry.loadgen.venue import endpoint, own_venue


def through_a_venue(
    file: FlowFile, protocol: str, folder: Path, *, closes_gaps: bool = True
) -> tuple[FlowReport, FlowRunner]:
    """Start a venue with the file's symbols, send the file, and stop the venue."""
    config = folder / "venue.yaml"
    config.write_text(venue_config(file))
    with own_venue(config=str(config)) as ready:
        target = endpoint(ready[protocol])
        return asyncio.run(send_flow(file, target, protocol, closes_gaps=closes_gaps))


def show(
    capsys: pytest.CaptureFixture[str], title: str, report: FlowReport, runner: FlowRunner
) -> None:
    with capsys.disabled():
        print(f"\n--- {title}: {runner.elapsed_s:.1f} s")
        print("\n".join(report.lines()))


def test_a_day_of_bitstamp_over_fix(tmp_path, capsys):
    path = data_file(BITSTAMP)
    report, runner = through_a_venue(read_flow(path), "fix", tmp_path)
    show(capsys, "Bitstamp over FIX", report, runner)
    events = oracle.read_bitstamp(path)
    expected = oracle.FlowOracle(events).run()
    check_against_oracle(report, runner, expected, oracle.straight_book(events))
    assert report.events == 50_414
    assert len(report.differences) <= 6
    again = report.reproduction
    assert (again.reproduced + again.rounded) / again.executions > 0.93


@pytest.mark.parametrize("closes_gaps", [True, False], ids=["gaps closed", "gaps kept"])
def test_the_itch_sample_over_the_binary_protocol(tmp_path, capsys, closes_gaps):
    path = data_file(ITCH)
    file = read_flow(path)
    report, runner = through_a_venue(file, "binary", tmp_path, closes_gaps=closes_gaps)
    title = f"ITCH over the binary protocol, gaps {'closed' if closes_gaps else 'kept'}"
    show(capsys, title, report, runner)
    events = oracle.read_itch(path)
    expected = oracle.FlowOracle(events, closes_gaps=closes_gaps).run()
    check_against_oracle(report, runner, expected, oracle.straight_book(events))
    assert report.events == 12_012
    told = [word for word in "AFXDU" if word in report.events_by_word]
    sent = sum(report.sent_by_word.get(word, 0) for word in told)
    assert sent >= 0.99 * sum(report.events_by_word[word] for word in told)
    if closes_gaps:
        assert report.reproduction.share > 0.99
        assert report.gaps_contradicted <= 1


@pytest.mark.parametrize(("name", "protocol"), [(ITCH, "fix"), (BITSTAMP, "binary")])
def test_the_protocol_makes_no_difference(tmp_path, name, protocol):
    path = data_file(name)
    file = read_flow(path)
    # A tenth is enough here.
    part = FlowFile(file.format, file.symbols, file.events[: len(file.events) // 10])
    found = []
    for each in (protocol, "binary" if protocol == "fix" else "fix"):
        report, runner = through_a_venue(part, each, tmp_path)
        resting = {one: order.leaves_qty for one, order in runner.own.resting().items()}
        found.append((report.events_sent, report.requests, runner.own.fills, resting))
    assert found[0] == found[1]


def test_the_command_with_a_venue_of_its_own(tmp_path):
    path = data_file(ITCH)
    outcome_file = tmp_path / "outcome.json"
    outcome = CliRunner().invoke(
        flow, [str(path), "--protocol", "binary", "--json", str(outcome_file)]
    )
    assert outcome.exit_code == 0, outcome.output
    assert "reproduced" in outcome.output
    told = json.loads(outcome_file.read_text())
    assert told["events"] == 12_012
    assert told["events_sent"] + sum(one["events"] for one in told["skipped"]) == 12_012
    assert told["executions_reproduced"] == 197
    assert all(one["rule"] in {"gap", "early"} for one in told["differences"])

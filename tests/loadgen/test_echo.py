"""The yardstick measures something, with both servers."""

import json

import pytest
from click.testing import CliRunner

from openoutcry.loadgen import echo
from openoutcry.loadgen.main import load


@pytest.mark.parametrize("kind", ["uvloop", "native"])
def test_an_echo_returns_all(kind: str) -> None:
    assert echo.pipelined(kind, 2, 68, 50, 200, 0.1) > 1000
    assert 1 < echo.round_trip_us(kind, 222, 0.1) < 1e6


def test_the_command_writes_json(tmp_path) -> None:
    file = tmp_path / "echo.json"
    answer = CliRunner().invoke(
        echo.echo, ["--runs", "1", "--seconds", "0.1", "--window", "64", "--json", str(file)]
    )
    assert answer.exit_code == 0, answer.output
    result = json.loads(file.read_text())
    assert result["binary"]["messages_per_s"] > 0
    assert result["fix"]["native_rtt_us"] > 0


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--scenario", "nothing"], "no scenario"),
        (["--target", "nowhere"], "not HOST:PORT"),
        (["--seed", "-1"], "negative"),
    ],
)
def test_mistakes_of_the_user_have_status_2(arguments: list[str], text: str) -> None:
    answer = CliRunner().invoke(load, arguments)
    assert answer.exit_code == 2
    assert text in answer.output


def test_a_target_that_does_not_answer_is_status_1() -> None:
    answer = CliRunner().invoke(load, ["--target", "127.0.0.1:1", "--quiet", "--orders", "1"])
    assert answer.exit_code == 1
    assert "127.0.0.1:1" in answer.output

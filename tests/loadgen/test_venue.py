"""Starting a venue: the ready line, and what happens when there is none."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from openoutcry.loadgen import venue
from openoutcry.loadgen.venue import VenueError, endpoint, own_venue


@contextmanager
def instead(monkeypatch: pytest.MonkeyPatch, program: str) -> Iterator[list[Any]]:
    """Start another program in place of the venue; yield the processes started."""
    started: list[Any] = []
    popen = subprocess.Popen

    def start(command: list[str], **options: Any) -> Any:
        assert command[:4] == [sys.executable, "-m", "openoutcry.server.main", "serve"]
        started.append(popen([sys.executable, "-c", program], **options))
        return started[0]

    monkeypatch.setattr(subprocess, "Popen", start)
    yield started


def test_ready_line_is_returned_and_the_venue_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    line = '{"ready": true, "fix": "127.0.0.1:5"}'
    program = f"print('{line}', flush=True); import time; time.sleep(60)"
    with instead(monkeypatch, program) as started:
        with own_venue(["log.durability=none"]) as ready:
            assert ready["fix"] == "127.0.0.1:5"
            assert started[0].poll() is None
        assert started[0].poll() is not None


@pytest.mark.parametrize(
    ("program", "text"),
    [
        ("raise SystemExit(3)", "status 3"),
        ("print('hello', flush=True)", "no JSON"),
        ("print('{}', flush=True)", "not ready"),
    ],
)
def test_a_venue_that_does_not_start_is_an_error(
    program: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        instead(monkeypatch, program),
        pytest.raises(VenueError, match=text),
        own_venue(),
    ):
        raise AssertionError("not reached")


def test_a_venue_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(venue, "READY_S", 0.3)
    with (
        instead(monkeypatch, "import time; time.sleep(60)"),
        pytest.raises(VenueError, match="not ready within"),
        own_venue(),
    ):
        raise AssertionError("not reached")


DEAF = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print('{"ready": true}', flush=True)
time.sleep(60)
"""


def test_a_venue_that_had_to_be_killed_did_not_stop_cleanly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(venue, "_STOP_S", 0.3)
    with instead(monkeypatch, DEAF) as started:
        with pytest.raises(VenueError, match="did not stop within"), own_venue():
            pass
        assert started[0].poll() is not None


def test_what_happened_before_a_stop_that_failed_is_what_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(venue, "_STOP_S", 0.3)
    with instead(monkeypatch, DEAF) as started:
        with pytest.raises(KeyError, match="phase"), own_venue():
            raise KeyError("phase")
        assert started[0].poll() is not None


def test_endpoints() -> None:
    assert endpoint("127.0.0.1:80") == ("127.0.0.1", 80)
    assert endpoint("[::1]:80") == ("::1", 80)
    for wrong in ("80", "host", "host:", "host:x", "host:70000", ":80"):
        with pytest.raises(ValueError, match="HOST:PORT"):
            endpoint(wrong)

"""Copies of a data directory, made while the venue runs as docs/operations.md says."""

import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from support.peers import FixPeer
from support.venue import Venue

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"


def documented_steps() -> list[str]:
    """Return the commands of the page's section."""
    section = OPERATIONS.read_text().partition("### Backup and restore")[2]
    (block,) = re.findall(r"```\n(cp .*?)```", section, re.DOTALL)
    return [line.partition("  #")[0] for line in block.splitlines()]


class Newcomers(threading.Thread):
    """New sessions with new accounts, one after another, and their orders."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self.is_stopping = threading.Event()
        self.port = port
        self.orders = 0
        self.failure: BaseException | None = None

    def run(self) -> None:
        """Trade until told to stop."""
        try:
            count = 0
            while not self.is_stopping.is_set():
                count += 1
                peer = FixPeer(self.port, f"NEW-{count}")
                peer.log_on()
                for n in range(20):
                    symbol = ("AAPL", "BTCUSDT")[n % 2]
                    peer.new(f"{count}-{n}", symbol, "1", 10, "1.00", extra=f"1=ACC-{count}|")
                    assert peer.receive()[150] == "0"
                    self.orders += 1
                peer.close()
        except BaseException as error:
            self.failure = error


def check(*command: str) -> None:
    """Run a command that must find nothing wrong."""
    run = [sys.executable, "-m", "openoutcry.server.main", *command]
    done = subprocess.run(run, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.two_gateways_too
def test_a_copy_of_a_running_venue_starts(tmp_path: Path, gateways: int):
    count: dict[str, Any] = {"gateways": gateways, "shards": gateways}
    venue = Venue(tmp_path, data_dir=tmp_path / "venue-data", **count).start()
    backup = tmp_path / "backup"
    backup.mkdir()
    clients = Newcomers(venue.port("fix"))
    try:
        resting = FixPeer(venue.port("fix"), "BEFORE")
        resting.log_on()
        resting.new("kept", "AAPL", "1", 10, "1.00")
        assert resting.receive()[150] == "0"
        check("admin", "snapshot", "--target", f"127.0.0.1:{venue.port('http')}")
        clients.start()
        steps = documented_steps()
        assert len(steps) == 6
        for step in steps:
            before = clients.orders
            done = subprocess.run(
                step, shell=True, cwd=tmp_path, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0 or "credentials.json" in step, done.stderr
            # Much happens between one file and the next.
            deadline = time.monotonic() + 10
            while clients.orders < before + 40 and time.monotonic() < deadline:
                time.sleep(0.01)
            assert clients.failure is None
    finally:
        clients.is_stopping.set()
        clients.join()
        resting.close()
        venue.stop()
    assert clients.failure is None
    check("journal", "verify", str(backup))
    check("replay", str(backup), "--verify")
    copy = Venue(tmp_path, f"venue.name={venue.name}", data_dir=backup, **count)
    copy.name = venue.name
    with copy:
        peer = FixPeer(copy.port("fix"), "BEFORE")
        peer.next_out, peer.next_in = resting.next_out, resting.next_in
        peer.log_on()
        peer.cancel("cancel", "kept", "AAPL", "1")
        assert peer.receive()[150] == "4"
        peer.close()

"""Snapshots of a venue that runs: on request, at its end, and what a start makes of a bad one."""

import re
import subprocess
import sys
from pathlib import Path

from support.peers import BinaryPeer
from support.venue import Venue, wait_for

SETTINGS = ("shards=[{core: null}, {core: null}]", "capacity.open_orders=4096")


def admin_snapshot(venue: Venue, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "openoutcry.server.main", "admin", "snapshot"]
    command += ["--target", venue.ready["http"], *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def trade(venue: Venue, session: str, first: int, count: int) -> None:
    """Let orders rest in symbols of both shards."""
    with BinaryPeer(venue.port("binary"), session) as client:
        client.log_on(next_expected=0)
        for symbol in ("AAPL", "MSFT"):
            for number in range(first, first + count):
                client.send(client.order(f"{symbol}-{number}", symbol, 1, 5, 100 + number))
        for _ in range(2 * count):
            client.receive()
        client.log_out()


def newest(folder: Path, shard: int) -> Path:
    return max(folder.glob(f"shard-{shard}-snapshot-*.snap"))


def test_snapshots_of_a_venue_with_two_shards(tmp_path: Path):
    data = tmp_path / "data"
    venue = Venue(tmp_path, *SETTINGS, data_dir=data)
    with venue:
        wait_for(lambda: {"oo-follower-0", "oo-follower-1"} <= set(venue.children()))
        trade(venue, "A", 0, 100)
        done = admin_snapshot(venue)
        assert done.returncode == 0, done.stderr
        lines = done.stdout.splitlines()
        for shard, line in enumerate(lines):
            found = re.fullmatch(
                rf"shard {shard}: (.*) up to command ([\d,]+), ([\d,]+) bytes in [\d.]+ s", line
            )
            assert found, line
            path = Path(found[1])
            assert path == newest(data.resolve(), shard)
            assert path.stat().st_size == int(found[3].replace(",", ""))
            figures = venue.metrics()
            seq = int(found[2].replace(",", ""))
            assert figures("snapshot_seq", shard=str(shard)) == seq
            assert figures("snapshots_written_total", shard=str(shard)) == 1
            assert figures("follower_lag_commands", shard=str(shard)) <= 2
        assert len(lines) == 2
        wrong = admin_snapshot(venue, "--shard", "2")
        assert wrong.returncode == 1
        assert "there is no shard 2" in wrong.stderr
        before = [newest(data, shard) for shard in range(2)]
        trade(venue, "B", 500, 20)
    # The end writes one more, and nothing else stays behind.
    last = [newest(data, shard) for shard in range(2)]
    assert all(path > old for path, old in zip(last, before, strict=True))
    assert not list(data.glob("*.new"))

    # A start with a damaged one takes the one before, and says so.
    content = bytearray(last[1].read_bytes())
    content[-10] ^= 1
    last[1].write_bytes(content)
    with venue:
        assert last[1].name in venue.wait_for_log("snapshot is bad")
        trade(venue, "C", 900, 10)
        assert admin_snapshot(venue).returncode == 0


def test_a_venue_without_snapshots_has_no_followers(tmp_path: Path):
    with Venue(tmp_path, "snapshots=null") as venue:
        assert not [name for name in venue.children() if name.startswith("oo-follower")]
        done = admin_snapshot(venue)
        assert done.returncode == 1
        assert "snapshots: null" in done.stderr

"""`bench restart`: a venue is killed and comes back; a load that ends early ends the wait."""

import json
from pathlib import Path

from click.testing import CliRunner

from openoutcry.server.main import main

ARGS = ["bench", "restart", "--commands", "16000", "--resting", "2000", "--rate", "50000"]
MORE = ["--rounds", "1", "--snapshot-bytes", str(1 << 20)]


def test_it_comes_back_with_its_orders(tmp_path: Path):
    written = tmp_path / "found.json"
    result = CliRunner().invoke(
        main, [*ARGS, *MORE, "--folder", str(tmp_path), "--json", str(written)]
    )
    assert result.exit_code == 0, result.output
    found = json.loads(written.read_text())
    assert found["commands"] >= 16000
    assert found["open_orders_after"] >= 0.5 * 2000
    assert 0 < found["replayed"] <= found["commands"] + 10_000
    assert 0 < found["recovery_s"] < found["ready_s"]


def test_a_load_that_ends_is_told(tmp_path: Path):
    settings = ["--set", "symbols[0].name=OTHER"]
    result = CliRunner().invoke(main, [*ARGS, *MORE, *settings, "--folder", str(tmp_path)])
    assert result.exit_code == 1
    assert "the load ended before the moment to kill" in result.output

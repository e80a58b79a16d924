"""`openoutcry bench recovery`, small: it runs, and its figures add up."""

import json
from pathlib import Path

from click.testing import CliRunner

from openoutcry.server.recovery_bench import BATCHES, recovery


def test_it_replays_and_loads_what_it_wrote(tmp_path: Path) -> None:
    found = tmp_path / "found.json"
    options = ["--dir", str(tmp_path), "--commands", "1000", "--orders", "1000", "--runs", "1"]
    result = CliRunner().invoke(recovery, [*options, "--flow", "shallow", "--json", str(found)])
    assert result.exit_code == 0, result.output
    figures = json.loads(found.read_text())
    assert list(figures["replay"]) == [str(batch) for batch in BATCHES]
    for row in figures["replay"].values():
        assert row["commands"] >= 900
        assert row["reports"] >= row["commands"]
        assert 60 < row["bytes_per_command"] < 250
        assert row["commands_per_s"] > 0
    snapshot = figures["snapshot"]
    assert (snapshot["open_orders"], snapshot["finished_orders"]) == (1000, 1000)
    assert snapshot["bytes"] > 50 * 2000
    assert [path.name for path in tmp_path.iterdir()] == ["found.json"]
    assert "snapshot of 1,000 open and 1,000 finished orders" in result.output


def test_an_unknown_flow_is_refused() -> None:
    result = CliRunner().invoke(recovery, ["--flow", "none"])
    assert result.exit_code == 2
    assert "there is no flow 'none'" in result.output

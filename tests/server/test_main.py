"""The command line: instant help, nearest names, every command there."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from openoutcry.server.main import ADMIN, BENCHES, COMMANDS, JOURNAL, main


def run(*args: str) -> "click.testing.Result":
    return CliRunner().invoke(main, list(args))


def test_help_lists_every_command_and_imports_none():
    code = (
        "import sys; from openoutcry.server.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted(n for n in ('numba', 'numpy', 'aiohttp', 'msgspec') if n in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    for name, (_, text) in COMMANDS.items():
        assert name in done.stdout
        assert text in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


def test_it_runs_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "openoutcry.server.main", "bench", "--help"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "openoutcry bench" in done.stdout
    assert all(name in done.stdout for name in BENCHES)


def test_version():
    result = run("--version")
    assert result.exit_code == 0
    assert result.output.startswith("openoutcry, version ")


@pytest.mark.parametrize(
    ("name", "place"),
    [
        (name, place)
        for table in (COMMANDS, BENCHES, ADMIN, JOURNAL)
        for name, (place, _) in table.items()
    ],
)
def test_every_command_is_there(name: str, place: str):
    import importlib

    module, _, attribute = place.partition(":")
    command = getattr(importlib.import_module(module), attribute)
    assert isinstance(command, click.Command)
    assert command.name == name


def test_an_unknown_command_gets_the_nearest_name():
    result = run("check-confg")
    assert result.exit_code == 2
    assert "Did you mean 'check-config'?" in result.output


def test_check_config_of_a_valid_file(tmp_path: Path):
    path = tmp_path / "venue.yaml"
    path.write_text(run("check-config", "--print-default").output)
    result = run("check-config", str(path))
    assert result.exit_code == 0
    assert result.output == f"{path}: valid: 1 shards, 4 symbols, 0 firms\n"


def test_check_config_names_every_mistake_and_exits_2(tmp_path: Path):
    path = tmp_path / "venue.yaml"
    path.write_text("listen: {fxi: 1}\nshards: [{core: -1}]\n")
    result = run("check-config", str(path))
    assert result.exit_code == 2
    assert result.output.splitlines() == [
        f"{path}: Unknown key `fxi`, did you mean `fix`? - at `$.listen`",
        f"{path}: Expected `int` >= 0 - at `$.shards[0].core`",
    ]


def test_check_config_wants_a_file():
    assert run("check-config").exit_code == 2


@contextmanager
def answering(status: int, body: bytes) -> Iterator[tuple[str, list[object]]]:
    """Serve one request with a canned answer; yield the address and what was asked."""
    asked: list[object] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            asked.append((self.path, json.loads(self.rfile.read(length))))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}", asked
        finally:
            thread.join(timeout=10)


def test_admin_day_end_asks_the_venue():
    with answering(200, b'{"ok": true}') as (target, asked):
        result = run("admin", "day-end", "--symbol", "AAPL", "--target", target)
    assert result.exit_code == 0
    assert result.output == "day ended: AAPL\n"
    assert asked == [("/admin/day-end", {"symbol": "AAPL"})]


def test_admin_snapshot_tells_where_the_snapshots_are():
    files = [
        {"shard": n, "file": f"/d/{n}.snap", "seq": 1234, "bytes": 5678, "seconds": 0.5}
        for n in range(2)
    ]
    answer = json.dumps({"ok": True, "snapshots": files}).encode()
    with answering(200, answer) as (target, asked):
        result = run("admin", "snapshot", "--target", target)
    assert result.exit_code == 0
    assert result.output.splitlines() == [
        f"shard {n}: /d/{n}.snap up to command 1,234, 5,678 bytes in 0.50 s" for n in range(2)
    ]
    assert asked == [("/admin/snapshot", {"shard": None})]


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (400, b'{"ok": false, "error": "unknown symbol NONE"}', "Error: unknown symbol NONE"),
        (503, b'{"ok": false}', "Error: status 503"),
        (200, b"<html>", "and no JSON object"),
    ],
)
def test_admin_day_end_that_fails_is_one_sentence(status: int, body: bytes, expected: str):
    with answering(status, body) as (target, _):
        result = run("admin", "day-end", "--target", target)
    assert result.exit_code == 1
    assert expected in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("target", "expected"),
    [("127.0.0.1:1", "no venue answers at 127.0.0.1:1"), ("here", "'here' is not HOST:PORT")],
)
def test_admin_without_a_venue_is_one_sentence(target: str, expected: str):
    result = run("admin", "day-end", "--target", target)
    assert result.exit_code == 1
    assert expected in result.output

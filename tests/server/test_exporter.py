"""The HTTP process: its answers, its death and return."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from support.venue_folder import VenueFolder

from openoutcry.engine.state import ShardWord
from openoutcry.server import exporter
from openoutcry.server.exporter import make_app
from openoutcry.server.processes import ProcessState, ProcessWord, write_reason


@asynccontextmanager
async def client(folder: Path, control: Path = Path("/nowhere")) -> AsyncIterator[Any]:
    async with TestClient(TestServer(make_app(folder, control))) as http:
        yield http


@asynccontextmanager
async def supervisor(control: Path, answer: bytes) -> AsyncIterator[list[Any]]:
    """Answer every command on a control socket alike; yield what was asked."""
    asked: list[Any] = []

    async def answered(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(json.loads(await reader.readline()))
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_unix_server(answered, control)
    async with server:
        yield asked


async def test_metrics_in_both_text_formats(tmp_path: Path):
    VenueFolder(tmp_path).fill()
    async with client(tmp_path) as http:
        plain = await http.get("/metrics")
        assert plain.status == 200
        assert plain.headers["Content-Type"].startswith("text/plain")
        assert 'openoutcry_orders_total{shard="1",type="new"} 101.0' in await plain.text()
        accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
        openmetrics = await http.get("/metrics", headers=accept)
        assert openmetrics.headers["Content-Type"].startswith("application/openmetrics-text")
        assert (await openmetrics.text()).endswith("# EOF\n")


async def test_metrics_for_an_accept_header_that_is_nonsense(tmp_path: Path):
    async with client(tmp_path) as http:
        accept = {"Accept": "application/openmetrics-text;version=abc"}
        assert (await http.get("/metrics", headers=accept)).status == 200


async def test_health_and_readiness(tmp_path: Path):
    venue = VenueFolder(tmp_path)
    async with client(tmp_path) as http:
        assert (await http.get("/healthz")).status == 200
        before = await http.get("/readyz")
        told = {"ready": False, "down": [], "processes": {}}
        assert (before.status, await before.json()) == (503, told)
        venue.fill()
        after = await http.get("/readyz")
        assert (after.status, (await after.json())["ready"]) == (200, True)
    async with client(tmp_path / "gone") as http:
        assert (await http.get("/readyz")).status == 503


async def test_readiness_names_what_is_down_and_why(tmp_path: Path):
    venue = VenueFolder(tmp_path)
    venue.fill()
    rows = venue.memory.processes
    rows[1, ProcessWord.STATE] = ProcessState.DOWN
    rows[1, ProcessWord.EXIT_STATUS] = 1
    rows[1, ProcessWord.NEXT_TRY_NS] = time.monotonic_ns() + 8_000_000_000
    write_reason(tmp_path, "shard-1", "the log is damaged")
    async with client(tmp_path) as http:
        answer = await http.get("/readyz")
        told = await answer.json()
        assert (answer.status, told["ready"], told["down"]) == (503, False, ["shard-1"])
        shard = told["processes"]["shard-1"]
        assert 7 < shard.pop("next_try_s") <= 8
        assert shard == {
            **{"state": "down", "pid": 0, "restarts": 2, "exit_status": 1},
            "reason": "the log is damaged",
        }
        # A recovery tells how far it is.
        rows[1, ProcessWord.STATE] = ProcessState.RECOVERING
        venue.memory.shards[1, ShardWord.RECOVERED_SEQ] = 77
        venue.memory.shards[1, ShardWord.RECOVERY_BYTES] = 4096
        told = await (await http.get("/readyz")).json()
        assert told["processes"]["shard-1"]["recovered_seq"] == 77
        assert told["processes"]["shard-1"]["log_bytes"] == 4096
        # Orders need no follower.
        rows[1, ProcessWord.STATE] = ProcessState.RUNNING
        rows[2, ProcessWord.STATE] = ProcessState.DOWN
        answer = await http.get("/readyz")
        assert (answer.status, (await answer.json())["down"]) == (200, ["follower-0"])


async def test_day_end_is_forwarded_to_the_supervisor(tmp_path: Path):
    control = tmp_path / "control"
    async with supervisor(control, b'{"ok": true}\n') as asked, client(tmp_path, control) as http:
        for body in ({}, {"symbol": None}, {"symbol": "AAPL"}):
            response = await http.post("/admin/day-end", json=body)
            assert (response.status, await response.json()) == (200, {"ok": True})
    assert [command["symbol"] for command in asked] == [None, None, "AAPL"]
    assert {command["command"] for command in asked} == {"day-end"}


async def test_a_snapshot_is_asked_of_the_supervisor(tmp_path: Path):
    control = tmp_path / "control"
    answer = {"ok": True, "snapshots": [{"shard": 1, "seq": 7}]}
    line = json.dumps(answer).encode() + b"\n"
    async with supervisor(control, line) as asked, client(tmp_path, control) as http:
        for body in ({}, {"shard": None}, {"shard": 1}):
            response = await http.post("/admin/snapshot", json=body)
            assert (response.status, await response.json()) == (200, answer)
        for wrong in ({"shard": "1"}, {"shard": True}, {"symbol": "AAPL"}):
            response = await http.post("/admin/snapshot", json=wrong)
            assert response.status == 400
            assert (await response.json())["ok"] is False
    assert asked == [{"command": "snapshot", "shard": shard} for shard in (None, None, 1)]


async def test_what_the_supervisor_declines_is_a_400(tmp_path: Path):
    control = tmp_path / "control"
    answer = {"ok": False, "error": "unknown symbol NONE"}
    async with (
        supervisor(control, json.dumps(answer).encode() + b"\n"),
        client(tmp_path, control) as http,
    ):
        response = await http.post("/admin/day-end", json={"symbol": "NONE"})
        assert (response.status, await response.json()) == (400, answer)


@pytest.mark.parametrize("answer", [b"", b"no JSON\n", b"[]\n"])
async def test_a_supervisor_that_does_not_answer_is_a_503(tmp_path: Path, answer: bytes):
    control = tmp_path / "control"
    async with supervisor(control, answer), client(tmp_path, control) as http:
        response = await http.post("/admin/day-end", json={})
        assert response.status == 503
        assert (await response.json())["ok"] is False


async def test_no_supervisor_is_a_503(tmp_path: Path):
    async with client(tmp_path, tmp_path / "control") as http:
        assert (await http.post("/admin/day-end", json={})).status == 503


async def test_a_hung_supervisor_is_a_503(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(exporter, "CONTROL_TIMEOUT_S", 0.05)
    control = tmp_path / "control"

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_unix_server(silent, control)
    async with server, client(tmp_path, control) as http:
        response = await http.post("/admin/day-end", json={})
        assert response.status == 503
        assert "did not answer" in (await response.json())["error"]


@pytest.mark.parametrize(
    ("kwargs", "status"),
    [
        ({"data": b"{}", "headers": {"Content-Type": "text/plain"}}, 415),
        ({"data": b"{}", "headers": {"Content-Type": "application/x-www-form-urlencoded"}}, 415),
        ({"data": b"{", "headers": {"Content-Type": "application/json"}}, 400),
        ({"json": []}, 400),
        ({"json": {"symbols": "AAPL"}}, 400),
        ({"json": {"symbol": 3}}, 400),
        ({"json": {"symbol": "A" * 70000}}, 413),
        ({"json": {"symbol": "A" * 65}}, 400),
        ({"data": b"[" * 60000, "headers": {"Content-Type": "application/json"}}, 400),
        ({"data": b"{}", "headers": {"Content-Type": "application/json; charset=none"}}, 400),
    ],
)
async def test_a_wrong_request_never_reaches_the_supervisor(
    tmp_path: Path, kwargs: dict[str, Any], status: int
):
    control = tmp_path / "control"
    async with supervisor(control, b'{"ok": true}\n') as asked, client(tmp_path, control) as http:
        assert (await http.post("/admin/day-end", **kwargs)).status == status
        assert (await http.get("/admin/day-end")).status == 405
    assert asked == []


# The process

_CODE = """
import os, socket, sys
from pathlib import Path
from openoutcry.server.exporter import run_exporter
listener = socket.socket(fileno=int(sys.argv[1]))
run_exporter(Path(sys.argv[2]), Path("/nowhere"), listener, parent_pid=int(sys.argv[3]))
"""


def start(listener: socket.socket, folder: Path, parent: int) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-c", _CODE, str(listener.fileno()), str(folder), str(parent)],
        pass_fds=[listener.fileno()],
    )


def get(listener: socket.socket, path: str) -> int:
    url = f"http://127.0.0.1:{listener.getsockname()[1]}{path}"
    with urllib.request.urlopen(url, timeout=20) as response:
        response.read()
        return int(response.status)


def test_it_dies_and_comes_back_on_the_same_port(tmp_path: Path):
    VenueFolder(tmp_path).fill()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
            process = start(listener, tmp_path, os.getpid())
            try:
                assert get(listener, "/metrics") == 200
                assert get(listener, "/readyz") == 200
                process.send_signal(number)
                status = process.wait(timeout=10)
            finally:
                process.kill()
                process.wait()
            assert status == (-signal.SIGKILL if number == signal.SIGKILL else 0)


def test_it_ends_when_the_supervisor_is_gone(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        # Its parent is not the process that it is told of: as after the supervisor's death.
        process = start(listener, tmp_path, 1)
        try:
            assert process.wait(timeout=20) == 0
        finally:
            process.kill()
            process.wait()


def test_an_unknown_path_is_a_404(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        process = start(listener, tmp_path, os.getpid())
        try:
            with pytest.raises(urllib.error.HTTPError, match="404") as caught:
                get(listener, "/none")
            caught.value.close()
        finally:
            process.terminate()
            process.wait(timeout=10)

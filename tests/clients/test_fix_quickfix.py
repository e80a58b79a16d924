"""The FIX client against QuickFIX as acceptor, which checks by its own data dictionaries.

Skipped where the `quickfix` package is not installed.
"""

import asyncio
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import pytest

from openoutcry.clients.fix import (
    ExecType,
    ExecutionReport,
    FileStore,
    FixClient,
    Report,
    Side,
)
from openoutcry.protocol.fix.events import MessageRejected, RejectReceived
from openoutcry.protocol.fix.versions import VERSIONS, Version

pytest.importorskip("quickfix", reason="the quickfix package is not installed")

pytestmark = pytest.mark.slow

WAIT_S = 10.0
_SCRIPT = Path(__file__).parents[1] / "support" / "quickfix_acceptor.py"


class Venue:
    """A QuickFIX acceptor in a process of its own; what it receives, as text with `|`."""

    def __init__(self, version: Version, folder: Path, extra: str = "") -> None:
        if not (Path(sys.prefix) / "share" / "quickfix" / f"{version.name}.xml").is_file():
            pytest.skip("the quickfix package came without its data dictionaries")
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port: int = listener.getsockname()[1]
        self._arguments = [str(_SCRIPT), version.label, str(self.port), str(folder), extra]
        self.received: list[str] = []

    async def __aenter__(self) -> Self:
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, *self._arguments, stdin=pipe, stdout=pipe
        )
        self._reader = asyncio.create_task(self._read())
        await until(lambda: self.received == ["ready"])
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        async with asyncio.timeout(WAIT_S):
            await self._process.wait()
            await self._reader

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self.received.append(line.decode().rstrip("\n"))

    def report(self, cl_ord_id: str) -> None:
        """Let it send a report of a new order."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"report {cl_ord_id}\n".encode())

    def of_type(self, msg_type: str) -> list[str]:
        return [text for text in self.received if f"|35={msg_type}|" in text]


async def until(is_true: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not is_true():
            await asyncio.sleep(0.02)


def is_fill(report: Report) -> bool:
    return isinstance(report, ExecutionReport) and report.exec_type == ExecType.TRADE


@pytest.mark.parametrize("version", list(Version), ids=list(VERSIONS))
async def test_orders_cuts_and_a_restart(version: Version, tmp_path: Path) -> None:
    store = FileStore(tmp_path / "client")
    settings: dict[str, Any] = {
        "version": version,
        "store": store,
        "sender_sub_id": "desk",
        "heartbeat_s": 1,
        "backoff_s": (0.02, 0.2),
        "reset": False,
    }
    async with Venue(version, tmp_path) as venue:
        client = FixClient("127.0.0.1", venue.port, "ME", "QF", **settings)
        events = client.events()
        async with client:
            order = await client.new_order("MSFT", Side.BUY, 2, 7)
            await client.wait_for(order, is_fill, timeout_s=WAIT_S)
            assert client._writer is not None
            client._writer.transport.abort()
            await until(lambda: not client.is_logged_on)
            away = await client.new_order("MSFT", Side.BUY, 2, 7)
            late = await client.wait_for(away, is_fill, timeout_s=WAIT_S)
            replaced = await client.replace(away, "MSFT", Side.BUY, 3, "7.5")
            gone = await client.cancel(replaced, "MSFT", Side.BUY, 3)
            await client.status(gone, "MSFT", Side.BUY)
            await until(lambda: len(venue.of_type("H")) == 1)
            await until(lambda: len(venue.of_type("0")) > 1)
        seen = [event async for event in events]
        # What it sends while nobody is there.
        venue.report("later")
        async with FixClient("127.0.0.1", venue.port, "ME", "QF", **settings) as second:
            missed = await second.wait_for("later", timeout_s=WAIT_S)
        assert isinstance(late, ExecutionReport)
        assert isinstance(missed, ExecutionReport)
        assert missed.exec_type == ExecType.NEW
        assert missed.leaves_qty == 2
        assert [
            event for event in seen if isinstance(event, RejectReceived | MessageRejected)
        ] == []
        assert venue.of_type("3") + venue.of_type("j") == []
        assert [len(venue.of_type(kind)) for kind in "DGFH"] == [2, 1, 1, 1]
        assert all("|50=desk|" in text for text in venue.received[1:])
    store.close()


@pytest.mark.parametrize("version", [Version.FIX41, Version.FIX44, Version.FIX50SP2])
async def test_resets(version: Version, tmp_path: Path) -> None:
    async with (
        Venue(version, tmp_path) as venue,
        FixClient("127.0.0.1", venue.port, "ME", "QF", version=version) as client,
    ):
        order = await client.new_order("MSFT", Side.BUY, 2, 7)
        await client.wait_for(order, is_fill, timeout_s=WAIT_S)
        await client.reset_numbers()
        await until(lambda: client.numbers == (2, 2))
        order = await client.new_order("MSFT", Side.BUY, 2, 7)
        await client.wait_for(order, is_fill, timeout_s=WAIT_S)
        assert venue.of_type("3") == []


async def test_next_expected_number(tmp_path: Path) -> None:
    version = Version.FIX44
    store = FileStore(tmp_path / "client")
    settings: dict[str, Any] = {"store": store, "next_expected": True, "reset": False}
    async with Venue(version, tmp_path, extra="SendNextExpectedMsgSeqNum=Y") as venue:
        async with FixClient("127.0.0.1", venue.port, "ME", "QF", **settings) as client:
            order = await client.new_order("MSFT", Side.BUY, 2, 7)
            await client.wait_for(order, is_fill, timeout_s=WAIT_S)
        venue.report("later")
        async with FixClient("127.0.0.1", venue.port, "ME", "QF", **settings) as client:
            await client.wait_for("later", timeout_s=WAIT_S)
        assert venue.of_type("2") == []
    store.close()

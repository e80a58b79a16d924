"""The acceptor Session against QuickFIX as initiator, which checks by its own data dictionary.

Skipped where the `quickfix` package is not installed.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from support.fix_acceptor import FixAcceptor, now_ms

from openoutcry.protocol.fix.events import MessageRejected, RejectReceived
from openoutcry.protocol.fix.versions import VERSIONS, Version

quickfix: Any = pytest.importorskip("quickfix", reason="the quickfix package is not installed")

pytestmark = pytest.mark.slow

WAIT_S = 10.0
SETTINGS = """
[DEFAULT]
ConnectionType=initiator
ReconnectInterval=1
FileStorePath={folder}
StartTime=00:00:00
EndTime=00:00:00
UseDataDictionary=Y
{dictionaries}
SocketConnectHost=127.0.0.1
SocketConnectPort={port}
HeartBtInt=1
LogonTimeout=5
LogoutTimeout=2
{extra}
[SESSION]
BeginString={begin_string}
SenderCompID=QF
TargetCompID=OPENOUTCRY
"""


class Recorder(quickfix.Application):  # type: ignore[misc]
    """Keep every message as text; QuickFIX calls from a thread of its own."""

    def __init__(self, version: Version) -> None:
        super().__init__()
        self.version = version
        self.logons = 0
        self.received: list[str] = []
        self.session: Any = None
        #: Put into Logons.
        self.password = ""

    def onCreate(self, session: Any) -> None:
        self.session = session

    def onLogon(self, session: Any) -> None:
        self.logons += 1

    def onLogout(self, session: Any) -> None:
        pass

    def toAdmin(self, message: Any, session: Any) -> None:
        if self.password and message.getHeader().getField(35) == "A":
            message.setField(quickfix.StringField(554, self.password))

    def toApp(self, message: Any, session: Any) -> None:
        pass

    def fromAdmin(self, message: Any, session: Any) -> None:
        self.received.append(message.toString().replace("\x01", "|"))

    def fromApp(self, message: Any, session: Any) -> None:
        self.received.append(message.toString().replace("\x01", "|"))

    def of_type(self, msg_type: str) -> list[str]:
        return [text for text in list(self.received) if f"|35={msg_type}|" in text]

    def send_order(self, cl_ord_id: str, symbol: str) -> None:
        message = quickfix.Message()
        message.getHeader().setField(quickfix.MsgType("D"))
        fields = {11: cl_ord_id, 55: symbol, 54: "1", 38: "2", 40: "2", 44: "10.5", 59: "0"}
        if self.version < Version.FIX44:
            fields[21] = "1"
        for tag, value in fields.items():
            message.setField(quickfix.StringField(tag, value))
        if self.version >= Version.FIX42:
            message.setField(quickfix.TransactTime())
        assert quickfix.Session.sendToTarget(message, self.session)


class Peer:
    """A QuickFIX initiator on its thread."""

    def __init__(
        self,
        venue: FixAcceptor,
        folder: Path,
        extra: str = "",
        version: Version = Version.FIX44,
    ) -> None:
        path = folder / "initiator.cfg"
        path.write_text(
            SETTINGS.format(
                folder=folder / "store",
                dictionaries=_dictionaries(version),
                port=venue.port,
                extra=extra,
                begin_string=version.begin_string,
            )
        )
        self.app = Recorder(version)
        self.settings = quickfix.SessionSettings(str(path))
        self.store = quickfix.FileStoreFactory(self.settings)
        self.initiator = quickfix.SocketInitiator(self.app, self.store, self.settings)

    async def start(self) -> Recorder:
        self.initiator.start()
        await until(lambda: self.app.logons > 0)
        return self.app

    async def stop(self) -> None:
        await asyncio.to_thread(self.initiator.stop)


def _dictionaries(version: Version) -> str:
    folder = Path(sys.prefix) / "share" / "quickfix"
    name = folder / f"{version.name}.xml"
    if not name.is_file():
        pytest.skip("the quickfix package came without its data dictionaries")
    if not version.is_fixt:
        return f"DataDictionary={name}"
    lines = [f"TransportDataDictionary={folder / 'FIXT11.xml'}", f"AppDataDictionary={name}"]
    return "\n".join([*lines, f"DefaultApplVerID={version.label}"])


async def until(is_true: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not is_true():
            await asyncio.sleep(0.02)


@pytest.fixture
async def venue() -> AsyncIterator[FixAcceptor]:
    async with FixAcceptor() as acceptor:
        yield acceptor


@pytest.mark.parametrize("version", list(Version), ids=list(VERSIONS))
async def test_logon_orders_heartbeats_cuts_and_logout(version: Version, tmp_path: Path) -> None:
    async with FixAcceptor(version=version) as venue:
        peer = Peer(venue, tmp_path, version=version)
        app = await peer.start()
        app.send_order("a", "FILL")
        app.send_order("b", "BTCUSDT")
        await until(lambda: len(app.of_type("8")) == 3)
        await until(lambda: len(app.of_type("0")) > 0)
        venue.cut()
        await until(lambda: not venue.connections)
        app.send_order("c", "BTCUSDT")
        await until(lambda: len(app.of_type("8")) == 4)
        session = venue.session("QF")
        session.business_reject(venue.applied[0], 4, now_ms(), ref_id=b"a", text="closed")
        venue.flush("QF")
        refusal = "j" if version >= Version.FIX42 else "3"
        await until(lambda: len(app.of_type(refusal)) == 1)
        await peer.stop()
        await until(lambda: not venue.connections)
    assert len(app.of_type("5")) == 1
    assert len(app.of_type("3") + app.of_type("j")) == 1
    assert [m.get(11) for m in venue.applied] == [b"a", b"b", b"c"]
    assert not any(isinstance(event, RejectReceived | MessageRejected) for event in venue.events)


async def test_a_cut_is_made_good_by_resend(venue: FixAcceptor, tmp_path: Path) -> None:
    peer = Peer(venue, tmp_path)
    app = await peer.start()
    app.send_order("a", "BTCUSDT")
    await until(lambda: len(app.of_type("8")) == 1)
    venue.cut()
    await until(lambda: not venue.connections)
    fill = {11: "a", 37: "O0-a", 55: "BTCUSDT", 54: "1", 38: "2", 39: "1", 150: "F"}
    venue.report("QF", fill | {32: "1", 31: "10.5", 14: "1", 151: "1", 6: "10.5"})
    venue.report("QF", fill | {39: "2", 32: "1", 31: "10.5", 14: "2", 151: "0", 6: "10.5"})
    await until(lambda: len(app.of_type("8")) == 3)
    # QuickFIX puts 43 where it pleases: what matters is that it took the resent reports.
    assert ["|43=Y|" in text for text in app.of_type("8")] == [False, True, True]
    app.send_order("b", "BTCUSDT")
    await until(lambda: len(app.of_type("8")) == 4)
    assert venue.session("QF").is_live
    await peer.stop()


async def test_orders_sent_while_away_are_resent_by_quickfix(
    venue: FixAcceptor, tmp_path: Path
) -> None:
    peer = Peer(venue, tmp_path, extra="PersistMessages=Y")
    app = await peer.start()
    venue.cut()
    await until(lambda: not venue.connections)
    app.send_order("a", "BTCUSDT")
    app.send_order("b", "BTCUSDT")
    await until(lambda: len(app.of_type("8")) == 2)
    assert [m.get(11) for m in venue.applied] == [b"a", b"b"]
    await peer.stop()


async def test_reset_on_logon(venue: FixAcceptor, tmp_path: Path) -> None:
    venue.session("QF").state.next_in = 17
    venue.session("QF").state.next_out = 23
    peer = Peer(venue, tmp_path, extra="ResetOnLogon=Y")
    app = await peer.start()
    assert "|141=Y|" in app.of_type("A")[0]
    app.send_order("a", "BTCUSDT")
    await until(lambda: len(app.of_type("8")) == 1)
    await peer.stop()


@pytest.mark.parametrize("failures", [1, 3])
async def test_a_mistyped_password_locks_nobody_out(tmp_path: Path, failures: int) -> None:
    """QuickFIX counts the Logout that refuses it, which takes no number of ours."""
    async with FixAcceptor(password="secret") as venue:
        venue.session("QF").state.next_out = 5
        peer = Peer(venue, tmp_path, extra="ResetOnLogon=N")
        peer.app.password = "guess"
        peer.initiator.start()
        await until(lambda: len(peer.app.of_type("5")) == failures)
        assert venue.session("QF").state.next_out == 5
        peer.app.password = "secret"
        await until(lambda: venue.session("QF").is_live)
        peer.app.send_order("a", "BTCUSDT")
        await until(lambda: len(peer.app.of_type("8")) == 1)
        await peer.stop()


async def test_next_expected_number(venue: FixAcceptor, tmp_path: Path) -> None:
    peer = Peer(venue, tmp_path, extra="SendNextExpectedMsgSeqNum=Y")
    app = await peer.start()
    app.send_order("a", "BTCUSDT")
    await until(lambda: len(app.of_type("8")) == 1)
    venue.cut()
    await until(lambda: not venue.connections)
    fill = {11: "a", 37: "O0-a", 55: "BTCUSDT", 54: "1", 38: "2", 39: "2", 150: "F"}
    venue.report("QF", fill | {32: "2", 31: "10.5", 14: "2", 151: "0", 6: "10.5"})
    await until(lambda: len(app.of_type("8")) == 2)
    await peer.stop()


async def test_a_logout_of_ours_is_answered(venue: FixAcceptor, tmp_path: Path) -> None:
    peer = Peer(venue, tmp_path)
    app = await peer.start()
    session = venue.session("QF")
    session.logout("end of day", now_ms())
    venue.flush("QF")
    await until(lambda: not venue.connections)
    assert "|58=end of day|" in app.of_type("5")[0]
    await peer.stop()

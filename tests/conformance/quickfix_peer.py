"""QuickFIX, an independent FIX engine, as a client of a running venue, with its validation on.

Each peer is one QuickFIX initiator with a file store and file logs. It reaches the venue through a
wire that can be cut. `complaints` is what its validator, its session or its application had against
the venue: nothing, if all is well.

Source of the settings: the QuickFIX configuration manual.
"""

import contextlib
import re
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import quickfix

from openoutcry.protocol.fix.versions import Version

WAIT_S = 15.0
SETTINGS = """
[DEFAULT]
ConnectionType=initiator
ReconnectInterval=1
FileStorePath={folder}/store
FileLogPath={folder}/log
StartTime=00:00:00
EndTime=00:00:00
UseDataDictionary=Y
ValidateFieldsOutOfOrder=Y
ValidateFieldsHaveValues=Y
ValidateUserDefinedFields=Y
AllowUnknownMsgFields=N
CheckCompID=Y
CheckLatency=Y
PersistMessages=Y
{dictionaries}
SocketConnectHost=127.0.0.1
SocketConnectPort={port}
HeartBtInt=30
LogonTimeout=5
LogoutTimeout=2
[SESSION]
BeginString={begin_string}
SenderCompID={comp_id}
TargetCompID=OPENOUTCRY
"""
#: What QuickFIX writes into its event log when all is well.
_PLAIN_EVENTS = re.compile(
    r"Created session|Connecting to|Connection succeeded|Initiated logon|Received logon response"
    r"|Received logout response|Initiated logout|Disconnecting|Socket Error"
    r"|Received ResendRequest|Resending Message|Sent SequenceReset|Received SequenceReset"
    r"|MsgSeqNum too high|Sent ResendRequest|Already sent ResendRequest|Processing QUEUED"
    r"|ResendRequest for messages FROM: \d+ TO: \d+ has been satisfied"
)
_SETTLED_S = 0.2


def dictionaries(version: Version) -> str:
    """Return the settings that name QuickFIX's own dictionaries; FileNotFoundError without them."""
    folder = Path(sys.prefix) / "share" / "quickfix"
    name = folder / f"{version.name}.xml"
    if not name.is_file():
        raise FileNotFoundError(name)
    if not version.is_fixt:
        return f"DataDictionary={name}"
    lines = [f"TransportDataDictionary={folder / 'FIXT11.xml'}", f"AppDataDictionary={name}"]
    return "\n".join([*lines, f"DefaultApplVerID={version.label}"])


def until(is_true: Callable[[], Any], what: str = "") -> Any:
    """Wait until a condition is true, and return its value; AssertionError after WAIT_S."""
    deadline = time.monotonic() + WAIT_S
    while not (value := is_true()):
        assert time.monotonic() < deadline, f"not within {WAIT_S} s: {what or is_true}"
        time.sleep(0.01)
    return value


class Wire:
    """Forwards one port to another until it is cut; then nobody gets through until it is mended."""

    def __init__(self, target_port: int) -> None:
        self._target = ("127.0.0.1", target_port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._ends: list[socket.socket] = []
        self._is_cut = False
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if self._is_cut:
                near.close()
                continue
            far = socket.create_connection(self._target)
            self._ends += [near, far]
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._copy, args=(source, sink), daemon=True).start()

    @staticmethod
    def _copy(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def cut(self) -> None:
        """End all connections, and let no new one through."""
        self._is_cut = True
        for end in self._ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self._ends.clear()

    def mend(self) -> None:
        """Let connections through again."""
        self._is_cut = False

    def close(self) -> None:
        """End all connections and stop listening."""
        self.cut()
        self._listener.close()


class Recorder(quickfix.Application):  # type: ignore[misc]
    """Keeps every message as text; QuickFIX calls from a thread of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.is_logged_on = False
        self.session: Any = None
        self.received: list[str] = []
        self.rejects_sent: list[str] = []

    def onCreate(self, session: Any) -> None:
        self.session = session

    def onLogon(self, session: Any) -> None:
        self.is_logged_on = True

    def onLogout(self, session: Any) -> None:
        self.is_logged_on = False

    def toAdmin(self, message: Any, session: Any) -> None:
        self._note_reject(message)

    def toApp(self, message: Any, session: Any) -> None:
        self._note_reject(message)

    def _note_reject(self, message: Any) -> None:
        text = message.toString().replace("\x01", "|")
        if re.search(r"\|35=[3j]\|", text):
            self.rejects_sent.append(text)

    def fromAdmin(self, message: Any, session: Any) -> None:
        self.received.append(message.toString().replace("\x01", "|"))

    def fromApp(self, message: Any, session: Any) -> None:
        self.received.append(message.toString().replace("\x01", "|"))


class Peer:
    """One QuickFIX initiator; its numbers and messages outlive `stop` and `start`."""

    def __init__(self, port: int, folder: Path, comp_id: str, version: Version) -> None:
        self.version = version
        self.comp_id = comp_id
        self.folder = folder / comp_id
        self.folder.mkdir(parents=True, exist_ok=True)
        self.wire = Wire(port)
        path = self.folder / "initiator.cfg"
        path.write_text(
            SETTINGS.format(
                folder=self.folder,
                dictionaries=dictionaries(version),
                port=self.wire.port,
                begin_string=version.begin_string,
                comp_id=comp_id,
            )
        )
        self.app = Recorder()
        # The initiator keeps no reference of its own to these.
        self._settings = quickfix.SessionSettings(str(path))
        self._store = quickfix.FileStoreFactory(self._settings)
        self._log = quickfix.FileLogFactory(self._settings)
        self._initiator: Any = None

    def start(self) -> None:
        """Connect, and wait for the venue's Logon."""
        self._initiator = quickfix.SocketInitiator(self.app, self._store, self._settings, self._log)
        self._initiator.start()
        until(lambda: self.app.is_logged_on, f"{self.comp_id} logged on")

    def stop(self) -> None:
        """Log out and stop."""
        if self._initiator is not None:
            self._initiator.stop()
            self._initiator = None

    def close(self) -> None:
        """Stop, and close the wire."""
        self.stop()
        self.wire.close()

    def cut(self) -> None:
        """Lose the connection."""
        self.wire.cut()
        until(lambda: not self.app.is_logged_on, f"{self.comp_id} cut")

    def mend(self) -> None:
        """Let QuickFIX connect again by itself."""
        self.wire.mend()
        until(lambda: self.app.is_logged_on, f"{self.comp_id} back")

    def send(self, msg_type: str, **fields: object) -> None:
        """Send a message; fields are `t11="x"`; TransactTime(60) and HandlInst(21) are added."""
        message = quickfix.Message()
        message.getHeader().setField(quickfix.MsgType(msg_type))
        for name, value in fields.items():
            message.setField(quickfix.StringField(int(name[1:]), str(value)))
        if msg_type in "DFGq":
            message.setField(quickfix.TransactTime())
        if msg_type in "DG" and self.version < Version.FIX44:
            message.setField(quickfix.StringField(21, "1"))
        quickfix.Session.sendToTarget(message, self.app.session)

    def order(self, cl_ord_id: str, side: int, qty: int, price: str | None, **more: object) -> None:
        """Send a limit order for AAPL, or one without a price."""
        fields: dict[str, object] = {"t11": cl_ord_id, "t55": "AAPL", "t54": side, "t38": qty}
        fields |= {"t40": 2, "t59": 1} | ({} if price is None else {"t44": price}) | more
        self.send("D", **fields)

    def wait(self, msg_type: str, *parts: str, count: int = 1) -> list[str]:
        """Wait for messages of a type that hold all the fields, such as `39=2`; return them."""

        def found() -> list[str]:
            texts = [text for text in list(self.app.received) if f"|35={msg_type}|" in text]
            texts = [text for text in texts if all(f"|{part}|" in text for part in parts)]
            return texts if len(texts) >= count else []

        texts: list[str] = until(found, f"{self.comp_id}: {count} of {msg_type} {parts}")
        return texts

    # --- what it has to say of the venue ----------------------------------------------------------

    def log(self) -> list[str]:
        """Return every message in and out, with its time, `|` for SOH."""
        (path,) = (self.folder / "log").glob("FIX*.messages.current.log")
        return path.read_bytes().decode("latin-1").replace("\x01", "|").splitlines()

    def complaints(self) -> list[str]:
        """Return what QuickFIX found wrong."""
        (path,) = (self.folder / "log").glob("FIX*.event.current.log")
        events = [line for line in path.read_text().splitlines() if line.strip()]
        found = [line for line in events if not _PLAIN_EVENTS.search(line)]
        found += [f"rejected by QuickFIX: {text}" for text in self.app.rejects_sent]
        # Each number that came over the wire went through the validator to the application; the
        # session itself drops what it has had before.
        time.sleep(_SETTLED_S)
        came = _numbers(line for line in self.log() if f"|56={self.comp_id}|" in line)
        missing = sorted(came - _numbers(self.app.received))
        found += [f"MsgSeqNum {number} did not pass its validator" for number in missing]
        return found


def _numbers(texts: Iterable[str]) -> set[int]:
    return {int(found[1]) for text in texts if (found := re.search(r"\|34=(\d+)\|", text))}

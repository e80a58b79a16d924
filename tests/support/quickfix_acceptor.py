"""A QuickFIX acceptor in a process of its own: its Python binding does not survive a second stop.

    python quickfix_acceptor.py VERSION PORT FOLDER EXTRA

VERSION is such as FIX.5.0SP2, EXTRA further lines of QuickFIX's settings. Every order is filled.
Prints each message that it gets, `|` for SOH; a line `report ID` on standard input sends a report
of a new order ID; the end of the input ends it.
"""

import os
import sys
from pathlib import Path
from typing import Any

import quickfix

SETTINGS = """
[DEFAULT]
ConnectionType=acceptor
FileStorePath={folder}
StartTime=00:00:00
EndTime=00:00:00
UseDataDictionary=Y
{dictionaries}
SocketAcceptPort={port}
{extra}
[SESSION]
BeginString={begin_string}
SenderCompID=QF
TargetCompID=ME
"""

#: ExecType's own code for a fill came with FIX 4.3; ExecTransType and old codes went then.
_OLDER = ("FIX.4.0", "FIX.4.1", "FIX.4.2")


class Venue(quickfix.Application):  # type: ignore[misc]
    """Fill every order; QuickFIX calls from a thread of its own."""

    def __init__(self, version: str) -> None:
        super().__init__()
        self.version = version
        self.session: Any = None
        self.exec_ids = 0

    def onCreate(self, session: Any) -> None:
        self.session = session

    def onLogon(self, session: Any) -> None:
        pass

    def onLogout(self, session: Any) -> None:
        pass

    def toAdmin(self, message: Any, session: Any) -> None:
        pass

    def toApp(self, message: Any, session: Any) -> None:
        pass

    def fromAdmin(self, message: Any, session: Any) -> None:
        print(message.toString().replace("\x01", "|"), flush=True)

    def fromApp(self, message: Any, session: Any) -> None:
        print(message.toString().replace("\x01", "|"), flush=True)
        if message.getHeader().getField(35) == "D":
            self.report(message.getField(11), "2")

    def report(self, cl_ord_id: str, status: str) -> None:
        """Send a report of an order of two at seven: 0 accepted, 2 filled."""
        self.exec_ids += 1
        is_fill = status == "2"
        done, price = ("2", "7") if is_fill else ("0", "0")
        fields = {37: "1", 17: str(self.exec_ids), 11: cl_ord_id, 39: status, 55: "MSFT", 54: "1"}
        fields |= {38: "2", 44: "7", 32: done, 31: price, 14: done, 6: price}
        if self.version != "FIX.4.0":
            fields |= {150: status, 151: "0" if is_fill else "2"}
        if self.version in _OLDER:
            fields[20] = "0"
        elif is_fill:
            fields[150] = "F"
        message = quickfix.Message()
        message.getHeader().setField(quickfix.MsgType("8"))
        for tag, value in fields.items():
            message.setField(quickfix.StringField(tag, value))
        assert quickfix.Session.sendToTarget(message, self.session)


def dictionaries(version: str) -> str:
    """Return the settings that name the package's data dictionaries."""
    folder = Path(sys.prefix) / "share" / "quickfix"
    name = folder / f"{version.replace('.', '')}.xml"
    if not version.startswith("FIX.5"):
        return f"DataDictionary={name}"
    lines = [f"TransportDataDictionary={folder / 'FIXT11.xml'}", f"AppDataDictionary={name}"]
    return "\n".join([*lines, f"DefaultApplVerID={version}"])


def main() -> None:
    """Serve until the input ends."""
    version, port, folder, extra = sys.argv[1:]
    path = Path(folder) / "acceptor.cfg"
    path.write_text(
        SETTINGS.format(
            folder=Path(folder) / "venue",
            dictionaries=dictionaries(version),
            port=port,
            extra=extra,
            begin_string="FIXT.1.1" if version.startswith("FIX.5") else version,
        )
    )
    venue = Venue(version)
    settings = quickfix.SessionSettings(str(path))
    store = quickfix.FileStoreFactory(settings)
    acceptor = quickfix.SocketAcceptor(venue, store, settings)
    acceptor.start()
    print("ready", flush=True)
    for line in sys.stdin:
        venue.report(line.split()[1], "0")
    # Without `stop`: nothing is to be saved, and it may crash.
    os._exit(0)


if __name__ == "__main__":
    main()

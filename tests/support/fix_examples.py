"""Write the examples of docs/fix.md anew, from a venue that runs: `python -m support.fix_examples`.

The page names each example by a comment, `<!-- example: NAME -->`; the block of frames behind it
is what is written.
"""

import re
import socket
import sys
import tempfile
import time
from pathlib import Path

from support.venue import Venue

PAGE = Path(__file__).parents[2] / "docs" / "fix.md"
BLOCK = re.compile(r"(<!-- example: ([\w-]+) -->\n```fix\n)[^`]*(```)")
_QUIET_S = 0.3


class Client:
    """A client on a raw socket; what goes over it comes back as lines of an example."""

    def __init__(self, port: int, comp_id: str, begin: str = "FIX.4.4") -> None:
        self._comp_id = comp_id
        self._begin = begin
        self._number = 0
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=_QUIET_S)
        #: The lines of the Logon and its answer.
        self.logon = self.say("A", "98=0|108=30" + ("|1137=9" if begin == "FIXT.1.1" else ""))

    def say(self, msg_type: str, body: str = "") -> list[str]:
        """Send a message; return its line and those of all that comes in answer."""
        self._number += 1
        now = time.strftime("%Y%m%d-%H:%M:%S", time.gmtime())
        header = f"35={msg_type}|49={self._comp_id}|56=OPENOUTCRY|34={self._number}|52={now}|"
        text = header + (f"{body}|" if body else "").replace("NOW", now)
        head = f"8={self._begin}|9={len(text)}|{text}"
        frame = f"{head}10={sum(head.replace('|', chr(1)).encode()) % 256:03d}|"
        self._socket.sendall(frame.replace("|", "\x01").encode())
        return [f"> {frame}", *self.hear()]

    def hear(self) -> list[str]:
        """Return the lines of what comes until it is quiet."""
        data = b""
        try:
            while chunk := self._socket.recv(1 << 16):
                data += chunk
        except TimeoutError:
            pass
        text = data.decode().replace("\x01", "|")
        return [f"< {frame}" for frame in re.findall(r"8=FIX.*?\|10=\d{3}\|", text)]


def _order(cl_ord_id: str, side: int, qty: int, price: str, tif: int = 1) -> str:
    return f"11={cl_ord_id}|55=AAPL|54={side}|60=NOW|38={qty}|40=2|44={price}|59={tif}"


def examples(port: int) -> dict[str, list[str]]:
    """Trade on a fresh venue; return the lines of each example."""
    alice, bob = Client(port, "ALICE"), Client(port, "BOB")
    carol, frank = Client(port, "CAROL", "FIXT.1.1"), Client(port, "FRANK", "FIX.4.2")
    made = {"logon": alice.logon, "logon-fixt": carol.logon}
    orders = alice.say("D", "1=ACC1|" + _order("A-1", 2, 100, "150.25"))
    parties = "453=1|448=DESK7|447=D|452=24"
    orders += bob.say("D", f"1=ACC2|{parties}|" + _order("B-1", 1, 40, "150.3", 3))
    made["orders"] = orders + alice.hear()
    made["orders42"] = frank.say("D", "109=FUND1|21=1|" + _order("F-1", 1, 10, "150.25", 3))
    alice.hear()
    made["replace"] = alice.say("G", "41=A-1|11=A-2|55=AAPL|54=2|60=NOW|38=90|40=2|44=150.2")
    made["status"] = alice.say("H", "11=A-2|55=AAPL|54=2")
    made["cancel"] = alice.say("F", "41=A-2|11=A-3|55=AAPL|54=2|60=NOW|38=90")
    made["cancel-reject"] = alice.say("F", "41=A-2|11=A-4|55=AAPL|54=2|60=NOW|38=90")
    made["decline"] = bob.say("D", _order("B-2", 1, 40, "150.255"))
    made["reject"] = bob.say("D", "11=BAD|55=MSFT|54=1|60=NOW|38=40")
    made["business-reject"] = bob.say("V", "262=X|263=0|264=1|267=1|269=0|146=1|55=AAPL")
    carol.say("D", _order("C-1", 1, 10, "149.1"))
    carol.say("D", _order("C-2", 1, 10, "149.2"))
    made["mass-status"] = carol.say("AF", "584=ALL|585=7")
    made["mass-cancel"] = carol.say("q", "11=C-3|530=7|60=NOW")
    made["security-list"] = carol.say("x", "320=S-1|559=0|55=AAPL")
    made["security-definition"] = alice.say("c", "320=S-2|321=0|55=AAPL")
    made["test-request"] = alice.say("1", "112=PING")
    made["resend"] = alice.say("2", "7=1|16=2")
    made["sequence-reset"] = frank.say("4", "123=N|36=10")
    made["logout"] = alice.say("5")
    return made


def main() -> int:
    """Write the page; return 1 where it names an example that is not made."""
    with tempfile.TemporaryDirectory() as folder, Venue(Path(folder)) as venue:
        made = examples(venue.port("fix"))
    page = PAGE.read_text()
    unknown = {name for _, name, _ in BLOCK.findall(page)} ^ made.keys()
    if unknown:
        print(f"on the page or made, not both: {', '.join(sorted(unknown))}", file=sys.stderr)
        return 1
    PAGE.write_text(BLOCK.sub(lambda m: m[1] + "\n".join(made[m[2]]) + "\n" + m[3], page))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""A FIX client for fuzzing a running venue: sends any bytes, and judges whatever comes back.

Every message that the venue sends must be whole, good by the strict dictionary of the session's
version, addressed to this session, numbered without a hole, and free of what others sent.
"""

import random
import re
import time

from openoutcry.protocol.fix.dictionary import dictionary
from openoutcry.protocol.fix.message import validate
from openoutcry.protocol.fix.versions import Version

from .fix import seal
from .fix_fuzz import random_order
from .peers import Closed, FixPeer, FixReport, utc


class FuzzPeer:
    """One session of a version, and the connection that it has just now.

    Args:
        others: texts that only other sessions may see.
    """

    def __init__(self, port: int, comp_id: str, version: Version, others: tuple[str, ...]) -> None:
        self.port = port
        self.comp_id = comp_id
        self.version = version
        self.facts = dictionary(version)
        self.peer: FixPeer
        self.others = tuple(other.encode() for other in others)
        self._tests = 0
        self.next_out = 1
        #: The number due next from the venue.
        self.next_in = 1
        #: A ResendRequest was sent on this connection.
        self.has_asked_again = False
        self.reset()

    # --- connection -------------------------------------------------------------------------------

    def _open(self, number: int, extra: str = "") -> None:
        self.peer = FixPeer(
            self.port,
            self.comp_id,
            begin=self.version.begin_string,
            next_out=number,
            next_in=self.next_in,
        )
        appl = f"1137={self.version.appl_ver_id.decode()}|" if self.version.is_fixt else ""
        self.peer.send("A", f"98=0|108=0|{extra}{appl}")
        self.next_out = number + 1

    def reset(self) -> None:
        """Connect, and begin with new numbers: this must work whatever was before."""
        if hasattr(self, "peer"):
            self.peer.close()
        self.has_asked_again = False
        self._log_on(1, "141=Y|" if self.version >= Version.FIX41 else "")

    def reconnect(self) -> None:
        """Cut, and log on with the number due next."""
        self.peer.close()
        self._log_on(self.next_out)

    def _log_on(self, number: int, extra: str = "") -> None:
        """Log on; the venue may not yet have seen the end of the connection before."""
        deadline = time.monotonic() + 10
        while True:
            if number == 1:
                self.next_in = 1
            self._open(number, extra)
            try:
                answer = self.receive()
            except Closed:
                assert time.monotonic() < deadline, "no logon"
                time.sleep(0.02)
                continue
            assert answer.kind == "A", answer
            return

    def close(self) -> None:
        """Close without a word."""
        self.peer.close()

    # --- out --------------------------------------------------------------------------------------

    def frame(self, msg_type: str, body: str = "", *, seq: int, extra: str = "") -> bytes:
        """Return a message with a number."""
        return self.peer.frame(msg_type, body, seq=str(seq), extra=extra)

    def order(self, cl_ord_id: str, symbol: str) -> str:
        """Return the body of an order that rests and meets none."""
        handling = "21=1|" if self.version < Version.FIX43 else ""
        stamp = utc() if self.version >= Version.FIX42 else utc()[:17]
        times = f"60={stamp}|" if self.version >= Version.FIX42 else ""
        return f"11={cl_ord_id}|{handling}55={symbol}|54=1|{times}38=10|40=2|44=1.00|59=0|"

    def random_message(self, rng: random.Random, symbol: str, cl_ord_id: str = "") -> bytes:
        """Return a good message with the number due next, mostly an order of some kind.

        `cl_ord_id` is its ClOrdID, by default a random one.
        """
        if rng.random() < 0.15:
            kind, body = rng.choice([
                ("0", ""), ("0", "112=x|"), ("1", "112=TEST|"), ("2", "7=1|16=0|"),
                ("4", f"123=Y|36={self.next_out + 1}|"), ("3", "45=1|"),
            ])  # fmt: skip
            self.has_asked_again = self.has_asked_again or kind == "2"
            return self.frame(kind, body, seq=self.next_out)
        data = random_order(rng, self.facts)
        now = utc()
        for tag, value in ((49, self.comp_id), (56, "OPENOUTCRY"), (34, self.next_out), (52, now)):
            data = re.sub(rb"\x01%d=[^\x01]*" % tag, f"\x01{tag}={value}".encode(), data)
        if cl_ord_id:
            data = re.sub(rb"\x0111=[^\x01]*", f"\x0111={cl_ord_id}".encode(), data)
        if rng.random() < 0.7:
            data = re.sub(rb"\x0155=[^\x01]*", b"\x0155=" + symbol.encode(), data)
        return seal(data[data.index(b"35=") : -7], self.version.begin_string.encode())

    # --- in ---------------------------------------------------------------------------------------

    def receive(self, timeout_s: float = 10.0) -> FixReport:
        """Return the next message, after a look at all that must be right with it."""
        answer = self.peer.receive(timeout_s, is_numbered=False)
        problem = validate(answer.message, self.facts)
        assert problem is None, (problem, answer.message.frame)
        for other in self.others:
            assert other not in answer.message.frame, answer.message.frame
        number = int(answer[34])
        if answer.get(43) == "Y":
            assert number < self.next_in, answer.message.frame
        elif answer.kind == "4" and answer.get(123) != "Y":
            self.next_in = int(answer[36])
        elif answer.kind == "A":
            # It may begin anew; else, what was sent while nobody was there has its numbers.
            assert number >= self.next_in or answer.get(141) == "Y", answer.message.frame
            self.next_in = number + 1
        elif answer.kind in "35" and self.has_asked_again:
            # A session that ends within a resend: what was held back is stored, with its numbers.
            assert number >= self.next_in, answer.message.frame
            self.next_in = number + 1
        else:
            assert number == self.next_in, (self.next_in, answer.message.frame)
            self.next_in += 1
        return answer

    def settle(self) -> tuple[list[FixReport], str]:
        """Send a TestRequest behind the number due next; return what came and how it ended.

        The end is `taken`, where the number due next was consumed; `missed` where it is asked for;
        `moved` where another one is; or `closed`.
        """
        self._tests += 1
        text = f"SETTLE{self._tests}"
        came: list[FixReport] = []
        try:
            self.peer.raw(self.frame("1", f"112={text}|", seq=self.next_out + 1))
            while True:
                answer = self.receive()
                if answer.kind == "0" and answer.get(112) == text:
                    self.next_out += 2
                    return came, "taken"
                if answer.kind == "2":
                    is_mine = int(answer[7]) == self.next_out
                    self.next_out += 2
                    return came, "missed" if is_mine else "moved"
                came.append(answer)
        except Closed:
            return came, "closed"

    def fill(self) -> None:
        """Answer the ResendRequest that `settle` saw: the number was nothing, and what waits is
        taken."""
        first = self.next_out - 2
        text = f"SETTLE{self._tests}"
        extra = f"43=Y|122={utc() if self.version >= Version.FIX42 else utc()[:17]}|"
        self.peer.raw(self.frame("4", f"123=Y|36={first + 1}|", seq=first, extra=extra))
        answer = self.receive()
        assert (answer.kind, answer.get(112)) == ("0", text), answer.message.frame

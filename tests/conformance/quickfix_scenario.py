"""What two QuickFIX clients do on a venue, in any version: `play`, and its transcript.

`python -m conformance.quickfix_scenario` plays it in FIX 4.2, 4.4 and 5.0 SP2 against a venue of
its own and prints every message.
"""

import re
import sys
import tempfile
from pathlib import Path

from conformance.quickfix_peer import Peer
from support.venue import Venue

from openoutcry.protocol.fix.versions import Version

VERSIONS = (Version.FIX42, Version.FIX44, Version.FIX50SP2)


def play(seller: Peer, buyer: Peer) -> None:
    """Trade; AssertionError where an answer does not come."""
    version = seller.version
    is_old, has_mass = version <= Version.FIX42, version >= Version.FIX43
    trade = ("150=1", "150=2") if is_old else ("150=F", "150=F")
    seller.start()
    buyer.start()
    # Crossing orders and a partial fill.
    seller.order("s1", 2, 100, "10.50", t1="ACC1")
    seller.wait("8", "11=s1", "150=0", "39=0")
    buyer.order("b1", 1, 40, "10.55", t1="ACC2")
    buyer.wait("8", "11=b1", trade[1], "39=2", "32=40", "31=10.50", "151=0")
    seller.wait("8", "11=s1", trade[0], "39=1", "14=40", "151=60")
    # A chain of replaces, and a cancel of the last.
    seller.send("G", t41="s1", t11="s2", t55="AAPL", t54=2, t38=120, t40=2, t44="10.60")
    seller.wait("8", "11=s2", "41=s1", "150=5", "39=1", "151=80")
    seller.send("G", t41="s2", t11="s3", t55="AAPL", t54=2, t38=90, t40=2, t44="10.60")
    seller.wait("8", "11=s3", "41=s2", "150=5", "39=1", "151=50")
    seller.send("G", t41="s1", t11="s4", t55="AAPL", t54=2, t38=90, t40=2, t44="10.70")
    seller.wait("9", "11=s4", "41=s1", "434=2", "102=0")
    status = {"t11": "s3", "t55": "AAPL", "t54": 2}
    seller.send("H", **status)
    seller.wait("8", "11=s3", "20=3" if is_old else "150=I", "39=1")
    seller.send("F", t41="s3", t11="s5", t55="AAPL", t54=2, t38=90)
    seller.wait("8", "11=s5", "41=s3", "150=4", "39=4", "151=0")
    # What the venue declines, and what it does not serve.
    seller.send("F", t41="s3", t11="s6", t55="AAPL", t54=2, t38=90)
    seller.wait("9", "11=s6", "434=1", "102=0")
    buyer.send("F", t41="none", t11="b2", t55="AAPL", t54=1, t38=1)
    buyer.wait("9", "11=b2", "37=NONE", "102=1")
    buyer.order("b1", 1, 1, "10.50")
    buyer.wait("8", "11=b1", "150=8", "39=8", "103=6")
    buyer.order("b3", 1, 1, "10.505")
    buyer.wait("8", "11=b3", "150=8", "39=8")
    buyer.order("b4", 1, 1, "10.50", t55="NONE")
    buyer.wait("8", "11=b4", "150=8", "103=1")
    buyer.order("b5", 1, 1, None)
    buyer.wait("j", "379=b5", "380=5")
    buyer.send("D", t11="b6", t55="AAPL", t54=1, t38=1)
    buyer.wait("3", "371=40", "373=1")
    buyer.send("c", t320="c1", t321=0, t55="AAPL")
    buyer.wait("d", "320=c1", "55=AAPL")
    if has_mass:
        _many(seller)
    # Fills while the seller is away come by resend, and a request of its own sent meanwhile.
    seller.order("s7", 2, 50, "11.00")
    seller.wait("8", "11=s7", "150=0")
    seller.cut()
    buyer.order("b7", 1, 20, "11.00")
    buyer.wait("8", "11=b7", "39=2")
    buyer.order("b8", 1, 10, "11.00")
    buyer.wait("8", "11=b8", "39=2")
    seller.send("F", t41="s7", t11="s8", t55="AAPL", t54=2, t38=50)
    seller.mend()
    seller.wait("8", "11=s7", "14=20", "31=11.00")
    seller.wait("8", "11=s7", "14=30", "31=11.00")
    seller.wait("8", "11=s8", "41=s7", "150=4", "14=30")
    # Logged out, started again on the numbers it kept, with a fill in between.
    seller.order("s9", 2, 5, "11.00")
    seller.wait("8", "11=s9", "150=0")
    seller.stop()
    buyer.order("b9", 1, 5, "11.00")
    buyer.wait("8", "11=b9", "39=2")
    seller.start()
    seller.wait("8", "11=s9", "39=2")
    for peer in (seller, buyer):
        peer.stop()


def _many(seller: Peer) -> None:
    """Ask for the states of all orders, cancel them all, and list the symbols."""
    for number in range(3):
        seller.order(f"m{number}", 2, 10, f"12.0{number}")
        seller.wait("8", f"11=m{number}", "150=0")
    seller.send("AF", t584="all", t585=7)
    seller.wait("8", "150=I", "39=0", count=3)
    seller.send("q", t11="q1", t530=7)
    seller.wait("r", "11=q1", "531=7", "533=3")
    seller.wait("8", "150=4", "39=4", "38=10", count=3)
    seller.send("x", t320="x1", t559=4)
    seller.wait("y", "320=x1", "560=0")


def transcript(seller: Peer, buyer: Peer) -> list[str]:
    """Return both clients' messages by time, each with who sent and who got it."""
    lines = []
    for peer in (seller, buyer):
        for line in peer.log():
            found = re.match(r"(\S+) : (.*)", line)
            if found:
                is_ours = f"|49={peer.comp_id}|" in found[2]
                arrow = f"{peer.comp_id:>8} >" if is_ours else f"{peer.comp_id:>8} <"
                lines.append((found[1], f"{arrow} {found[2]}"))
    return [text for _, text in sorted(lines, key=lambda line: line[0])]


def main() -> int:
    """Play in three versions, print the transcripts; return 1 where QuickFIX complained."""
    failed = 0
    for version in VERSIONS:
        with tempfile.TemporaryDirectory() as folder, Venue(Path(folder)) as venue:
            peers = [Peer(venue.port("fix"), Path(folder), n, version) for n in ("SELLER", "BUYER")]
            try:
                play(*peers)
                print(f"# {version.label}")
                print("\n".join(transcript(*peers)))
                complaints = [text for peer in peers for text in peer.complaints()]
            finally:
                for peer in peers:
                    peer.close()
        print(f"# {version.label}: {len(complaints)} complaints")
        print("\n".join(complaints))
        failed |= bool(complaints)
    return failed


if __name__ == "__main__":
    sys.exit(main())

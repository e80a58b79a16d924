"""Many sessions: thousands configured, hundreds live, none starved."""

import contextlib
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.peers import FixPeer
from support.venue import SYMBOLS, Venue, wait_for

_CONFIGURED = 5000
_LIVE = 300
_FLOOD = 20_000


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Venue]:
    """A venue with thousands of sessions of a hundred firms."""
    firms = [
        {"name": f"F{f}", "sessions": [{"id": f"S{s}"} for s in range(f, _CONFIGURED, 100)]}
        for f in range(100)
    ]
    config = {
        "dynamic_sessions": False,
        "firms": firms,
        "capacity": {"sessions": _CONFIGURED + 1},
    }
    folder = tmp_path_factory.mktemp("crowded")
    with Venue(folder, config=config, symbols=SYMBOLS) as venue:
        yield venue


def resident_mb(pid: int) -> float:
    text = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", text)
    assert found is not None
    return int(found[1]) / 1024


def test_thousands_of_sessions_cost_little(crowded: Venue, venue: Venue):
    many, few = (resident_mb(each.children()["oo-gateway-0"]) for each in (crowded, venue))
    assert many - few < 100


def test_hundreds_are_live_and_none_starves(crowded: Venue):
    port = crowded.port("fix")
    symbol = crowded.take_symbol()
    with contextlib.ExitStack() as stack:
        # Three of each firm.
        peers = [stack.enter_context(FixPeer(port, f"S{n}")) for n in range(_LIVE)]
        for peer in peers:
            peer.send("A", "98=0|108=30|")
        for peer in peers:
            assert peer.receive().kind == "A"
        wait_for(lambda: crowded.metrics()("sessions_connected", protocol="fix") == _LIVE)
        flooder = stack.enter_context(FixPeer(port, f"S{_LIVE}"))
        flooder.log_on()
        flood = b"".join(
            flooder.frame("D", flooder.order(f"f{n}", symbol, "1", 10, "1.00"))
            for n in range(_FLOOD)
        )
        reader = threading.Thread(target=_read, args=(flooder, _FLOOD))
        writer = threading.Thread(target=flooder.socket.sendall, args=(flood,))
        reader.start()
        writer.start()
        started = time.monotonic()
        for number, peer in enumerate(peers):
            peer.new(f"o{number}", symbol, "1", 10, "10.00")
        for number, peer in enumerate(peers):
            assert peer.receive().outcome == f"o{number} 0/0 cum=0 leaves=10"
        took_s = time.monotonic() - started
        writer.join(60)
        reader.join(60)
        assert not reader.is_alive()
        assert took_s < 10
        for peer in peers[::30]:
            assert peer.is_alive()


def _read(peer: FixPeer, count: int) -> None:
    for _ in range(count):
        peer.receive()

"""A session's hours in a running venue: its end, the time in between, and the next start."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.peers import FixPeer
from support.venue import Venue, wait_for

#: From writing the configuration to the end of the session: the venue starts within it.
_UNTIL_END_S = 10
_CLOSED_S = 2


@pytest.mark.usefixtures("venue")  # its start has compiled what there is to compile
def test_the_end_and_the_next_start(tmp_path: Path):
    now = datetime.now(UTC).replace(microsecond=0)
    end = now + timedelta(seconds=_UNTIL_END_S)
    start = end + timedelta(seconds=_CLOSED_S)
    # Over midnight: open all day but for two seconds.
    schedule = {"start": f"{start:%H:%M:%S}", "end": f"{end:%H:%M:%S}", "reset": "daily"}
    sessions = [
        {"id": "HOURS", "begin_string": "FIXT.1.1", "schedule": schedule},
        {"id": "AWAY", "schedule": schedule},
        {"id": "ALWAYS"},
    ]
    firms = [{"name": "alpha", "sessions": sessions}]
    with Venue(tmp_path, config={"firms": firms, "dynamic_sessions": False}) as venue:
        if datetime.now(UTC) > end - timedelta(seconds=2):
            pytest.skip("the venue took too long to start")
        port = venue.port("fix")
        with FixPeer(port, "AWAY") as away:
            away.log_on()
            away.new("a", "AAPL", "1", 10, "10.00")
            away.receive()
            away.log_out()
        with (
            FixPeer(port, "HOURS", begin="FIXT.1.1") as peer,
            FixPeer(port, "ALWAYS") as other,
        ):
            other.log_on()
            peer.log_on("1137=9|")
            peer.new("x", "AAPL", "1", 10, "10.00")
            assert peer.receive()[11] == "x"
            wait_s = (end - datetime.now(UTC)).total_seconds()
            logout = peer.receive(wait_s + 2)
            assert abs((datetime.now(UTC) - end).total_seconds()) < 1
            assert logout.pick(35, 58) == ["5", "End of session"]
            peer.send("5")
            peer.wait_closed()
            numbers = (peer.next_out, peer.next_in)
            with FixPeer(
                port, "HOURS", next_out=numbers[0], next_in=numbers[1], begin="FIXT.1.1"
            ) as early:
                early.send("A", "98=0|108=0|1137=9|")
                refused = early.receive(is_numbered=False)
                assert refused.pick(35, 1409) == ["5", "7"]
                assert refused[58] == f"Session closed until {start:%Y%m%d-%H:%M:%S} UTC"
                early.wait_closed()
            assert other.is_alive()

        def is_open() -> bool:
            return datetime.now(UTC) >= start + timedelta(milliseconds=300)

        wait_for(is_open)
        for comp_id, begin, body in (
            ("HOURS", "FIXT.1.1", "1137=9|"),
            ("AWAY", "FIX.4.4", ""),
        ):
            with FixPeer(port, comp_id, begin=begin) as again:
                assert again.log_on(body)[34] == "1"
                # The order lives on; only the numbers began anew.
                again.status("x" if comp_id == "HOURS" else "a", "AAPL")
                assert again.receive().pick(34, 150, 39) == ["2", "I", "0"]

"""The message log of a running venue, and `openoutcry fix-log` upon it."""

import json
from pathlib import Path

from click.testing import CliRunner
from support.peers import FixPeer
from support.venue import SYMBOLS, Venue

from openoutcry.clients.fix_log_command import fix_log

CONFIG = {
    "firms": [
        {
            "name": "alpha",
            "sessions": [
                {"id": "LOGGED/1", "password": "sesame-open", "message_log": True},
                {"id": "LOGGED/1", "begin_string": "FIXT.1.1", "message_log": True},
                {"id": "PLAIN"},
            ],
        }
    ],
    "session_defaults": {"message_log": False},
}


def shown(path: Path, *options: str) -> list[dict[str, object]]:
    result = CliRunner().invoke(fix_log, [str(path), "--json", *options])
    assert result.exit_code == 0, result.output
    assert "sesame" not in result.output
    return [json.loads(line) for line in result.output.splitlines()]


def kinds(path: Path, *options: str) -> list[str]:
    return [f"{each['direction']} {each['type']}" for each in shown(path, *options)]


def test_every_byte_of_the_sessions_that_ask_for_it(tmp_path: Path):
    data = tmp_path / "data"
    with Venue(tmp_path, data_dir=data, config=CONFIG, symbols=SYMBOLS) as venue:
        symbol = venue.take_symbol()
        with FixPeer(venue.port("fix"), "PLAIN") as plain:
            plain.log_on()
            plain.new("p", symbol, "1", 10, "10.00")
            plain.receive()
        with FixPeer(venue.port("fix"), "LOGGED/1") as wrong:
            wrong.send("A", "98=0|108=0|554=sesame-shut|")
            wrong.wait_closed()
        with FixPeer(venue.port("fix"), "LOGGED/1") as client:
            # The Logon with the next message behind it, and a garbled one.
            logon = client.frame("A", "98=0|108=0|554=sesame-open|")
            client.raw(logon + client.frame("D", client.order("a", symbol, "2", 10, "10.00")))
            assert [each.kind for each in client.reports(3)] == ["A", "8", "8"]
            client.raw(b"8=FIX.4.4\x019=5\x0135=0\x0110=xyz\x01")
            client.log_out()
        with FixPeer(venue.port("fix"), "LOGGED/1", begin="FIXT.1.1") as newer:
            newer.log_on("1137=9|")
            newer.log_out()
    folder = data / "fix-messages"
    assert {path.name for path in folder.iterdir()} == {
        "LOGGED%2F1.FIX.4.4.log",
        "LOGGED%2F1.FIXT.1.1.log",
    }
    path = folder / "LOGGED%2F1.FIX.4.4.log"
    assert b"sesame" not in path.read_bytes()
    found = shown(path)
    assert [each["garbled"] for each in found].count(True) == 1
    assert kinds(path, "--session", "LOGGED/1") == [
        *("in A", "out 5", "in A", "in D"),
        *("out A", "out 8", "out 8", "in 5", "out 5"),
    ]
    assert kinds(path, "--order", "a") == ["in D", "out 8", "out 8"]
    assert kinds(folder / "LOGGED%2F1.FIXT.1.1.log", "--validate") == [
        *("in A", "out A", "in 5", "out 5"),
    ]


def test_by_default_nothing_is_kept(tmp_path: Path):
    data = tmp_path / "data"
    with Venue(tmp_path, data_dir=data) as venue, FixPeer(venue.port("fix"), "X") as client:
        client.log_on()
        client.log_out()
    assert not (data / "fix-messages").exists()

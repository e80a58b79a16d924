"""Drop copies in a running venue: sessions that are told all that others of their firm are told."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.peers import FixReport
from support.strict_peer import StrictPeer
from support.venue import SYMBOLS, Venue

from openoutcry.protocol.fix.versions import Version

V42, V44, SP2 = Version.FIX42, Version.FIX44, Version.FIX50SP2
SESSIONS: list[dict[str, Any]] = [
    {"id": "FIRM-42", "begin_string": "FIX.4.2"},
    {"id": "FIRM-44"},
    {"id": "FIRM-SP2", "begin_string": "FIXT.1.1"},
    {"id": "COPY-42", "begin_string": "FIX.4.2", "drop_copy": "firm"},
    {"id": "COPY-44", "drop_copy": ["HOUSE"]},
    {"id": "COPY-SP2", "begin_string": "FIXT.1.1", "drop_copy": "firm"},
]
CONFIG = {
    "dynamic_sessions": True,
    "shards": [{"core": None}, {"core": None}],
    "capacity": {"sessions": 256},
    "firms": [
        {"name": "alpha", "accounts": ["HOUSE", "OTHER"], "sessions": SESSIONS},
        {"name": "beta", "sessions": [{"id": "STRANGER"}]},
    ],
}


@pytest.fixture
def venue(tmp_path: Path) -> Iterator[Venue]:
    """A venue with two shards and a firm that has drop copies."""
    with Venue(tmp_path, config=CONFIG, symbols=SYMBOLS) as made:
        yield made


def copied(reports: list[FixReport]) -> list[list[str | None]]:
    """Return what identifies reports and what they tell."""
    return [each.pick(11, 17, 37, 39, 14, 151) for each in reports]


def test_drop_copies_tell_all_that_the_firms_sessions_are_told(venue: Venue):
    symbol = venue.take_symbol()
    with (
        StrictPeer(venue, "COPY-42", V42).start() as old,
        StrictPeer(venue, "COPY-44", V44).start() as accounts,
        StrictPeer(venue, "COPY-SP2", SP2).start() as newest,
        StrictPeer(venue, "FIRM-44", V44).start() as maker,
        StrictPeer(venue, "FIRM-SP2", SP2).start() as taker,
        StrictPeer(venue, "STRANGER", V44).start() as stranger,
    ):
        told: list[FixReport] = []
        maker.place("m", symbol, "2", 30, "10.00", body="1=HOUSE|", header="115=DESK|")
        told.append(maker.receive())
        taker.place("t", symbol, "1", 10, "10.00")
        told += taker.reports(1)
        bought, sold = taker.receive(), maker.receive()
        told += sorted((bought, sold), key=lambda each: int(each[17].rpartition("-")[2]))
        taker.place("no", "NOPE", "1", 10, "10.00")
        told += taker.reports(1)
        maker.withdraw("c", "m", symbol, "2")
        told += maker.reports(1)
        maker.withdraw("c2", "m", symbol, "2")
        told += maker.reports(1)
        stranger.place("s", symbol, "2", 10, "11.00")
        stranger.receive()
        for receiver in (old, newest):
            copies = receiver.reports(len(told))
            assert copied(copies) == copied(told)
            assert [each.kind for each in copies] == [each.kind for each in told]
            assert not any(each.pick(128) != [None] for each in copies)
            is_marked = [receiver is newest and each.kind == "8" for each in told]
            assert [each.get(797) == "Y" for each in copies] == is_marked
            assert receiver.is_alive()
        house = [each for each in told if each.get(1) == "HOUSE" or each[11] in {"c", "c2"}]
        assert copied(accounts.reports(len(house))) == copied(house)
        # Orders are not for them, nor is what the others did before they came back.
        for receiver in (old, accounts, newest):
            receiver.place("x", symbol, "1", 10, "10.00")
            assert receiver.receive().pick(35, 379, 380) == [
                *("j", "x", "0" if receiver is old else "6"),
            ]
    with StrictPeer(venue, "FIRM-42", V42).start() as late:
        late.place("w", symbol, "2", 10, "12.00")
        late.withdraw("w2", "w", symbol, "2")
        missed = late.reports(2)
    for before in (old, newest):
        with before.again(venue) as back:
            assert copied(back.resent(2)) == copied(missed)
            back.send("2", "7=1|16=0|")
            assert copied(back.resent(len(told))) == copied(told)


def test_a_drop_copy_counts_from_the_venues_start(venue: Venue):
    with StrictPeer(venue, "FIRM-44", V44).start() as maker:
        maker.place("m", "AAPL", "2", 30, "10.00")
        told = maker.receive()
    with StrictPeer(venue, "COPY-SP2", SP2) as receiver:
        receiver.send("A", "98=0|108=0|1137=9|")
        assert receiver.receive(is_numbered=False)[34] == "2"
        receiver.send("2", "7=1|16=0|")
        assert copied(receiver.resent(1)) == copied([told])

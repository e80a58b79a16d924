"""Venues that tests share, and clients of them."""

import itertools
from collections.abc import Callable, Iterator

import pytest
from support.peers import BinaryPeer, FixPeer
from support.venue import SYMBOLS, Venue

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def shared_venue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Venue]:
    """One venue for all tests that need nothing special and leave it as they found it."""
    with Venue(tmp_path_factory.mktemp("venue"), symbols=SYMBOLS) as venue:
        yield venue


@pytest.fixture
def venue(shared_venue: Venue) -> Iterator[Venue]:
    """The shared venue: it must be the same processes after the test as before."""
    before = set(shared_venue.children().values())
    yield shared_venue
    assert set(shared_venue.children().values()) == before, shared_venue.log()
    assert "Traceback" not in shared_venue.log()


@pytest.fixture
def symbol(venue: Venue) -> str:
    """A symbol of the shared venue that is this test's own: tick 0.05, lot 10."""
    return venue.take_symbol()


@pytest.fixture
def comp_id() -> str:
    """A session's name that is this test's own."""
    return f"S{next(_numbers)}"


@pytest.fixture
def fix(venue: Venue) -> Iterator[Callable[..., FixPeer]]:
    """Make FIX clients of the shared venue, logged on, each with a session of its own."""
    peers: list[FixPeer] = []

    def make() -> FixPeer:
        peers.append(FixPeer(venue.port("fix"), f"F{next(_numbers)}"))
        peers[-1].log_on()
        return peers[-1]

    yield make
    for peer in peers:
        peer.close()


@pytest.fixture
def binary(venue: Venue) -> Iterator[Callable[..., BinaryPeer]]:
    """Make binary clients of the shared venue, logged on, each with a session of its own."""
    peers: list[BinaryPeer] = []

    def make() -> BinaryPeer:
        peers.append(BinaryPeer(venue.port("binary"), f"B{next(_numbers)}"))
        peers[-1].log_on()
        return peers[-1]

    yield make
    for peer in peers:
        peer.close()

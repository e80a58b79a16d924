"""Venues that tests share, and clients of them."""

import itertools
from collections.abc import Callable, Iterator

import pytest
from support.peers import BinaryPeer, FixPeer
from support.venue import GATEWAYS, SYMBOLS, Venue

_numbers = itertools.count(1)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what is marked `two_gateways_too` with one gateway and with two."""
    is_marked = metafunc.definition.get_closest_marker("two_gateways_too") is not None
    if is_marked and "gateways" in metafunc.fixturenames and GATEWAYS == 1:
        names = ["one gateway", "two gateways"]
        metafunc.parametrize("gateways", [1, 2], indirect=True, ids=names)


@pytest.fixture
def gateways(request: pytest.FixtureRequest) -> int:
    """How many gateways the test's venue has."""
    return int(getattr(request, "param", GATEWAYS))


@pytest.fixture(scope="session")
def shared_venue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Venue]:
    """One venue for all tests that need nothing special and leave it as they found it."""
    with Venue(tmp_path_factory.mktemp("venue"), symbols=SYMBOLS) as venue:
        yield venue


@pytest.fixture(scope="session")
def shared_venue_of_two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Venue]:
    """The same with two gateways and two shards, for tests that are marked `two_gateways_too`."""
    folder = tmp_path_factory.mktemp("venue-of-two")
    with Venue(folder, symbols=SYMBOLS, gateways=2, shards=2) as venue:
        yield venue


@pytest.fixture
def venue(request: pytest.FixtureRequest, gateways: int) -> Iterator[Venue]:
    """The shared venue: it must be the same processes after the test as before."""
    is_of_two = gateways > GATEWAYS
    shared_venue: Venue = request.getfixturevalue(
        "shared_venue_of_two" if is_of_two else "shared_venue"
    )
    before = shared_venue.pids()
    yield shared_venue
    assert shared_venue.pids() == before, shared_venue.log()
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

"""QuickFIX as a client of a running venue, validating: it has nothing to complain of.

Skipped where the `quickfix` package, or its dictionaries, are not installed.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.venue import Venue

pytest.importorskip("quickfix", reason="the quickfix package is not installed")

from conformance.quickfix_peer import Peer, dictionaries
from conformance.quickfix_scenario import VERSIONS, play, transcript

from openoutcry.protocol.fix.versions import Version

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def venue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Venue]:
    try:
        dictionaries(Version.FIX44)
    except FileNotFoundError:
        pytest.skip("the quickfix package came without its dictionaries")
    with Venue(tmp_path_factory.mktemp("venue")) as venue:
        yield venue


@pytest.mark.timeout(120)
@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.label)
def test_quickfix_trades_without_a_complaint(
    venue: Venue, tmp_path: Path, version: Version
) -> None:
    seller, buyer = (Peer(venue.port("fix"), tmp_path, n, version) for n in ("SELLER", "BUYER"))
    try:
        play(seller, buyer)
        assert seller.complaints() + buyer.complaints() == []
        lines = transcript(seller, buyer)
        # Both directions of both clients, and resends both ways.
        assert {line.split()[1] for line in lines} == {"<", ">"}
        assert all(any("|43=Y|" in x for x in lines if x.split()[1] == way) for way in "<>")
    finally:
        seller.close()
        buyer.close()

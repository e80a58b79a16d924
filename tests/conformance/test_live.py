"""The rows of the table that a client can play, over sockets against a venue that runs."""

from collections.abc import Iterator
from concurrent.futures import Future

import pytest
from conformance.live import all_runs, venue_for


@pytest.fixture(scope="session")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[None]]]:
    """All runs, on their way in other threads: a test waits for its own."""
    with venue_for(tmp_path_factory.mktemp("conformance")) as found:
        yield found


@pytest.mark.parametrize("name", all_runs())
def test_row(name: str, outcomes: dict[str, Future[None]]) -> None:
    outcomes[name].result(timeout=120)

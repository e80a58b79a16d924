"""A gateway alone, for tests of what it says."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.fix_desk import Desk


@pytest.fixture(scope="module")
def whole_desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    made = Desk(tmp_path_factory.mktemp("desk"))
    yield made
    made.alone.close()


@pytest.fixture
def desk(whole_desk: Desk) -> Desk:
    """A desk with nothing said yet."""
    whole_desk.forget()
    return whole_desk


@pytest.fixture
def own_desk(tmp_path: Path) -> Iterator[Desk]:
    """A desk whose tables are empty."""
    made = Desk(tmp_path)
    yield made
    made.alone.close()

"""Finding the venues that run: cards in shared-memory folders whose lock is held."""

import os
from pathlib import Path

import pytest

from openoutcry.server.config import Config, Symbol, Venue
from openoutcry.server.memory import lock_folder
from openoutcry.server.venues import (
    VenueNotFoundError,
    describe,
    find_venue,
    running_venues,
    write_card,
)


class Place:
    """A shared-memory folder in which venues seem to run, all with this process's pid."""

    def __init__(self, shm_dir: Path) -> None:
        self.shm_dir = shm_dir
        self.locks: list[int] = []

    def add(self, name: str, data_dir: Path, *, is_running: bool = True) -> Path:
        folder = self.shm_dir / f"openoutcry-{name}-{len(list(self.shm_dir.iterdir()))}"
        lock = lock_folder(folder)
        symbols = (Symbol(name="AAPL", tick="0.05", lot="10"), Symbol(name="MSFT"))
        config = Config(venue=Venue(name=name), symbols=symbols)
        write_card(folder, config, data_dir, fix="127.0.0.1:1", binary=None, http=None)
        if is_running:
            self.locks.append(lock)
        else:
            os.close(lock)
        return folder

    def find(self, name: str | None = None, data_dir: Path | None = None) -> Path:
        return find_venue(name, data_dir, self.shm_dir).folder


@pytest.fixture
def place(tmp_path: Path):
    shm_dir = tmp_path / "shm"
    shm_dir.mkdir()
    place = Place(shm_dir)
    yield place
    for lock in place.locks:
        os.close(lock)


def test_the_only_venue_needs_no_name(place: Place, tmp_path: Path):
    folder = place.add("one", tmp_path)
    assert place.find() == folder
    card = find_venue(shm_dir=place.shm_dir).card
    assert card.pid == os.getpid()
    symbol = card.symbol("aapl")
    assert symbol is not None
    assert (symbol.number, symbol.shard, symbol.tick, symbol.lot) == (0, 0, "0.05", "10")
    assert (str(symbol.price(201)), str(symbol.qty(3))) == ("10.05", "30")
    assert card.symbol("IBM") is None


def test_what_a_killed_venue_left_is_skipped(place: Place, tmp_path: Path):
    place.add("dead", tmp_path, is_running=False)
    running = place.add("alive", tmp_path)
    (place.shm_dir / "openoutcry-broken-1").mkdir()
    (place.shm_dir / "openoutcry-broken-1" / "venue.json").write_text("{")
    assert [venue.folder for venue in running_venues(place.shm_dir)] == [running]


def test_a_venue_is_meant_by_name_or_by_data_directory(place: Place, tmp_path: Path):
    (tmp_path / "a").mkdir()
    first = place.add("one", tmp_path / "a")
    second = place.add("one", tmp_path / "b")
    third = place.add("two", tmp_path / "c")
    assert place.find("two") == third
    assert place.find(data_dir=tmp_path / "b") == second
    assert place.find("one", tmp_path / "a" / ".." / "a") == first


def test_several_venues_are_named_in_a_sentence(place: Place, tmp_path: Path):
    place.add("one", tmp_path / "a")
    place.add("two", tmp_path / "b")
    with pytest.raises(VenueNotFoundError) as error:
        place.find()
    text = str(error.value)
    assert text.startswith("2 venues are running; name one with --venue or --data-dir:")
    for venue in running_venues(place.shm_dir):
        assert describe(venue) in text
    place.add("two", tmp_path / "c")
    with pytest.raises(VenueNotFoundError) as error:
        place.find("two")
    assert str(error.value).startswith(
        "2 venues named 'two' are running; name one with --data-dir:"
    )


def test_none_that_fits_is_said_with_those_that_run(place: Place, tmp_path: Path):
    with pytest.raises(VenueNotFoundError, match="no venue is running here"):
        place.find()
    place.add("one", tmp_path)
    with pytest.raises(VenueNotFoundError, match="no venue named 'two' is running here; these are"):
        place.find("two")


def test_looking_does_not_disturb_a_venue_that_starts(place: Place, tmp_path: Path):
    folder = place.add("dead", tmp_path, is_running=False)
    running_venues(place.shm_dir)
    os.close(lock_folder(folder))

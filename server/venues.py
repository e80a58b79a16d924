"""The venues that run on this machine: each leaves a card in its shared-memory folder.

The card tells other programs (`book`, `top`) what the shared memory itself does not: names, ticks
and lots of the symbols, and where the listeners are. It goes with the folder when the venue stops.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import msgspec
from msgspec import Struct

from openoutcry.server.config import Config
from openoutcry.server.process import is_alive

#: Where venues keep their shared memory unless configured otherwise.
DEFAULT_SHM_DIR = "/dev/shm"
_CARD_FILE = "venue.json"


class CardSymbol(Struct, frozen=True, kw_only=True):
    """A symbol: its number, the shard that matches it, and its steps of price and quantity."""

    name: str
    number: int
    shard: int
    tick: str
    lot: str

    def price(self, ticks: int) -> Decimal:
        """Convert ticks to a price."""
        return int(ticks) * Decimal(self.tick)

    def qty(self, lots: int) -> Decimal:
        """Convert lots to a quantity."""
        return int(lots) * Decimal(self.lot)


class VenueCard(Struct, frozen=True, kw_only=True):
    """What a running venue tells about itself."""

    name: str
    pid: int
    data_dir: str
    fix: str | None
    binary: str | None
    http: str | None
    symbols: list[CardSymbol]

    def symbol(self, name: str) -> CardSymbol | None:
        """Return a symbol by its name, in upper or lower case, or None."""
        by_name = {symbol.name: symbol for symbol in self.symbols}
        return by_name.get(name) or by_name.get(name.upper())


class RunningVenue(Struct, frozen=True):
    """A venue's card, and the folder of its shared memory."""

    folder: Path
    card: VenueCard

    def is_alive(self) -> bool:
        """Return whether its supervisor still runs."""
        return self.folder.is_dir() and is_alive(self.card.pid)


class VenueNotFoundError(Exception):
    """No venue, or more than one, is meant; the text is for the user."""


def write_card(
    folder: Path,
    config: Config,
    data_dir: Path,
    *,
    fix: str | None,
    binary: str | None,
    http: str | None,
) -> None:
    """Leave the card of the calling venue in its shared-memory folder."""
    symbols = [
        CardSymbol(
            name=symbol.name,
            number=number,
            shard=config.shard_of(number),
            tick=symbol.tick,
            lot=symbol.lot,
        )
        for number, symbol in enumerate(config.symbols)
        if symbol.listed
    ]
    card = VenueCard(
        name=config.venue.name,
        pid=os.getpid(),
        data_dir=str(data_dir.resolve()),
        fix=fix,
        binary=binary,
        http=http,
        symbols=symbols,
    )
    # Renamed into place: a reader finds a whole card or none.
    part = folder / f"{_CARD_FILE}.part"
    part.write_bytes(msgspec.json.encode(card))
    part.rename(folder / _CARD_FILE)


def running_venues(shm_dir: str | Path = DEFAULT_SHM_DIR) -> list[RunningVenue]:
    """Return the venues that run, by name; what killed ones left is skipped."""
    found = []
    for path in Path(shm_dir).glob(f"openoutcry-*/{_CARD_FILE}"):
        with contextlib.suppress(OSError, msgspec.DecodeError):
            card = msgspec.json.decode(path.read_bytes(), type=VenueCard)
            if is_alive(card.pid) and _is_locked(path.parent / "lock"):
                found.append(RunningVenue(path.parent, card))
    return sorted(found, key=lambda venue: (venue.card.name, venue.card.pid))


def find_venue(
    name: str | None = None,
    data_dir: Path | None = None,
    shm_dir: str | Path = DEFAULT_SHM_DIR,
) -> RunningVenue:
    """Return the one running venue that has a name, a data directory, or that runs at all.

    Raises:
        VenueNotFoundError: none does, or several do.
    """
    # Where the shared-memory folder does not exist, a venue keeps it in its data directory.
    places = [Path(shm_dir)] if data_dir is None else [Path(shm_dir), data_dir / "shm"]
    running = [venue for place in places for venue in running_venues(place)]
    fitting = list(_fitting(running, name, data_dir))
    if len(fitting) == 1:
        return fitting[0]
    wanted = "".join(
        [
            f" named {name!r}" if name else "",
            f" with data directory {data_dir}" if data_dir else "",
        ]
    )
    if fitting:
        lines = "".join(f"\n  {describe(venue)}" for venue in fitting)
        raise VenueNotFoundError(
            f"{len(fitting)} venues{wanted} are running; name one with "
            f"{'--data-dir' if name else '--venue or --data-dir'}:{lines}"
        )
    text = f"no venue{wanted} is running here"
    if running:
        text += "; these are:" + "".join(f"\n  {describe(venue)}" for venue in running)
    else:
        text += f" (looked in {shm_dir}); start one with `openoutcry serve`"
    raise VenueNotFoundError(text)


def describe(venue: RunningVenue) -> str:
    """Return a venue as a line."""
    card = venue.card
    return f"{card.name} (pid {card.pid}, FIX {card.fix or 'off'}, data directory {card.data_dir})"


def _fitting(
    running: list[RunningVenue], name: str | None, data_dir: Path | None
) -> Iterator[RunningVenue]:
    for venue in running:
        is_named = name is None or venue.card.name == name
        if is_named and (data_dir is None or venue.card.data_dir == str(data_dir.resolve())):
            yield venue


def _is_locked(path: Path) -> bool:
    """Return whether a venue holds its folder's lock: the pid may be another program's by now."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(fd)
    return False

"""The sessions that a venue knows: who they are, and their stable numbers."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from openoutcry.protocol.fix.versions import Version
from openoutcry.server.config import Config
from openoutcry.server.session_settings import SessionDefaults
from openoutcry.server.sessions import PROTOCOL_BINARY, PROTOCOL_FIX


@dataclass(frozen=True, slots=True)
class SessionEntry:
    """A session as configured, or as made up for a newcomer."""

    number: int
    id: str
    protocol: int
    firm: int
    settings: SessionDefaults
    #: BeginString(8); empty in the binary protocol.
    begin_string: str = ""
    #: The versions that the client may speak.
    versions: tuple[Version, ...] = ()
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    password_hash: str | None = field(default=None, repr=False)


class SessionRegistry:
    """All sessions by name, protocol and BeginString, with their stable numbers.

    Configured ones are numbered in the order of the configuration, from 1; where dynamic sessions
    are allowed, a newcomer gets the next number until the capacity is reached.
    """

    def __init__(self, config: Config, rows: NDArray[Any]) -> None:
        self._rows = rows
        self._is_open = config.dynamic_sessions
        self._defaults = config.session_defaults
        self._entries: dict[tuple[str, int, str], SessionEntry] = {}
        for firm_number, firm in enumerate(config.firms, 1):
            for session in firm.sessions:
                self._add(
                    SessionEntry(
                        number=len(self._entries) + 1,
                        id=session.id,
                        protocol=PROTOCOL_FIX if session.protocol == "fix" else PROTOCOL_BINARY,
                        firm=firm_number,
                        settings=config.settings_of(session),
                        begin_string=session.session_profile,
                        versions=session.versions,
                        username=session.username,
                        password=session.password,
                        password_hash=session.password_hash,
                    )
                )

    def __iter__(self) -> Iterator[SessionEntry]:
        return iter(self._entries.values())

    def __len__(self) -> int:
        return len(self._entries)

    def _add(self, entry: SessionEntry) -> SessionEntry:
        self._entries[entry.id, entry.protocol, entry.begin_string] = entry
        row = self._rows[entry.number]
        row["protocol"] = entry.protocol
        row["firm"] = entry.firm
        row["next_in"] = 1
        row["next_out"] = 1
        row["epoch"] = 1
        row["home"] = 0
        return entry

    def find(self, name: str, protocol: int, begin_string: str = "") -> SessionEntry | None:
        """Return a session, making one up where that is allowed and there is room.

        `begin_string` is BeginString(8), empty in the binary protocol.
        """
        entry = self._entries.get((name, protocol, begin_string))
        if entry is not None:
            return entry
        is_sound = 0 < len(name) <= 32 and all("!" <= c <= "~" for c in name)
        versions = tuple(version for version in Version if version.begin_string == begin_string)
        if not self._is_open or not is_sound or len(self._entries) + 1 >= len(self._rows):
            return None
        if protocol == PROTOCOL_FIX and not versions:
            return None
        number = len(self._entries) + 1
        return self._add(
            SessionEntry(number, name, protocol, 0, self._defaults, begin_string, versions)
        )

"""The sessions that a venue knows: who they are, their stable numbers, and the gateway of each."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from openoutcry.protocol.fix.versions import Version
from openoutcry.server.config import Config
from openoutcry.server.directory import (
    Directory,
    DirectoryError,
    ProtocolName,
    SessionRecord,
    home_of,
)
from openoutcry.server.resolve import register
from openoutcry.server.session_settings import Session, SessionDefaults
from openoutcry.server.sessions import PROTOCOL_BINARY, PROTOCOL_FIX

log = logging.getLogger(__name__)

_PROTOCOLS: dict[ProtocolName, int] = {"fix": PROTOCOL_FIX, "binary": PROTOCOL_BINARY}
_NAMES: dict[int, ProtocolName] = {number: name for name, number in _PROTOCOLS.items()}


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
    #: The gateway that numbers its messages.
    home: int = 0


class SessionRegistry:
    """All sessions by name, protocol and BeginString, with the numbers that the directory gives.

    Where dynamic sessions are allowed, a newcomer is added until the capacity is reached. Iterating
    gives every session in the order of the numbers, those included that may not log on (any more).

    Args:
        config: the venue's.
        rows: SESSION_ROW by number; what is known of each session is written there.
        directory: the venue's; by default one that only this registry has.
        gateway: the number of the gateway that this registry is of.
    """

    def __init__(
        self,
        config: Config,
        rows: NDArray[Any],
        directory: Directory | None = None,
        *,
        gateway: int = 0,
    ) -> None:
        self._config = config
        self._rows = rows
        self._gateway = gateway
        if directory is None:
            directory = Directory(None)
            register(config, directory)
        self._directory = directory
        self._settings: dict[tuple[ProtocolName, str, str], Session] = {
            (session.protocol, session.session_profile, session.id): session
            for firm in config.firms
            for session in firm.sessions
        }
        self._all: list[SessionEntry] = []
        self._entries: dict[tuple[ProtocolName, str, str], SessionEntry] = {}
        self.take_in()

    def __iter__(self) -> Iterator[SessionEntry]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def __getitem__(self, number: int) -> SessionEntry:
        return self._all[number - 1]

    def take_in(self) -> None:
        """Take in those sessions of the directory that are new."""
        for record in self._directory.content.sessions[len(self._all) :]:
            self._add(record)

    def _add(self, record: SessionRecord) -> None:
        settings = self._settings.get(record.key)
        entry = self._dynamic(record) if settings is None else self._configured(record, settings)
        self._all.append(entry)
        if settings is not None or self._is_welcome(record):
            self._entries[record.key] = entry
        elif record.firm:
            log.warning("session is not configured any more: nobody can log on: id=%s", record.name)
        row = self._rows[entry.number]
        row["protocol"] = entry.protocol
        row["firm"] = entry.firm
        row["next_in"] = 1
        row["next_out"] = 1
        row["epoch"] = 1
        row["home"] = entry.home

    def _is_welcome(self, record: SessionRecord) -> bool:
        # What a firm's session was sent is for nobody else, once it is taken out of the
        # configuration.
        return self._config.dynamic_sessions and record.firm == 0

    def _configured(self, record: SessionRecord, session: Session) -> SessionEntry:
        return SessionEntry(
            number=record.number,
            id=record.name,
            protocol=_PROTOCOLS[record.protocol],
            firm=record.firm,
            settings=self._config.settings_of(session),
            begin_string=record.begin_string,
            versions=session.versions,
            username=session.username,
            password=session.password,
            password_hash=session.password_hash,
            home=record.home,
        )

    def _dynamic(self, record: SessionRecord) -> SessionEntry:
        return SessionEntry(
            number=record.number,
            id=record.name,
            protocol=_PROTOCOLS[record.protocol],
            firm=record.firm,
            settings=self._config.session_defaults,
            begin_string=record.begin_string,
            versions=_versions(record.begin_string),
            home=record.home,
        )

    def home(self, name: str, protocol: int, begin_string: str = "") -> int:
        """Return the gateway that a session belongs to, known or not; raise nothing.

        Whoever cannot be a session belongs to the gateway that asks.
        """
        if not _is_sound(name, protocol, begin_string):
            return self._gateway
        key = (_NAMES[protocol], begin_string, name)
        record = self._directory.content.session_of(*key)
        if record is None and self._catch_up():
            record = self._directory.content.session_of(*key)
        if record is not None:
            return record.home
        if not self._config.dynamic_sessions:
            return self._gateway
        return home_of(*key, self._config.gateway.count)

    def find(self, name: str, protocol: int, begin_string: str = "") -> SessionEntry | None:
        """Return a session, making one up where that is allowed and there is room.

        `begin_string` is BeginString(8), empty in the binary protocol.
        """
        key = (_NAMES[protocol], begin_string, name)
        entry = self._entries.get(key)
        if entry is not None:
            return entry
        if not self._config.dynamic_sessions or not _is_sound(name, protocol, begin_string):
            return None
        if self._directory.content.session_of(*key) is None:
            home = home_of(*key, self._config.gateway.count)
            try:
                self._directory.add_session(*key, home=home, most=len(self._rows) - 1)
            except OverflowError:
                return None
            except (OSError, DirectoryError) as error:
                log.error("cannot keep a new session: id=%s error=%s", name, error)
                return None
            self.take_in()
        return self._entries.get(key)

    def _catch_up(self) -> bool:
        try:
            is_new = self._directory.catch_up()
        except (OSError, DirectoryError) as error:
            log.error("cannot read what other gateways added: error=%s", error)
            return False
        if is_new:
            self.take_in()
        return is_new


def _versions(begin_string: str) -> tuple[Version, ...]:
    return tuple(version for version in Version if version.begin_string == begin_string)


def _is_sound(name: str, protocol: int, begin_string: str) -> bool:
    """Tell whether a session could have this name."""
    is_sound = 0 < len(name) <= 32 and all("!" <= character <= "~" for character in name)
    return is_sound and (protocol == PROTOCOL_BINARY or bool(_versions(begin_string)))

"""Rules of the configuration about firms, their accounts and their sessions."""

import zoneinfo
from collections import Counter

from msgspec import UNSET

from openoutcry.protocol.fix.dictionary import dictionary
from openoutcry.protocol.fix.versions import Version
from openoutcry.server.config import Config, Firm
from openoutcry.server.credentials import is_password_hash
from openoutcry.server.profiles import session_dictionary
from openoutcry.server.session_settings import (
    FIX_ONLY,
    WEEKDAYS,
    CustomField,
    Schedule,
    Session,
    SessionDefaults,
)


def count_sessions(config: Config) -> int:
    """Return how many sessions the configuration names."""
    return sum(len(firm.sessions) for firm in config.firms)


def check_time_zone(name: str, path: str, found: list[str]) -> None:
    """Check that a time zone is known here."""
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        found.append(f"Unknown time zone {name!r} - at `{path}`")


def check_firms(config: Config, found: list[str]) -> None:
    """Check firms, accounts and sessions; add what is wrong to `found`."""
    firms: set[str] = set()
    accounts: dict[str, str] = {}
    sessions: dict[tuple[str, str, str], str] = {}
    for index, firm in enumerate(config.firms):
        path = f"$.firms[{index}]"
        if firm.name in firms:
            found.append(f"Firm {firm.name} appears twice - at `{path}.name`")
        firms.add(firm.name)
        for number, account in enumerate(firm.accounts):
            if account in accounts:
                found.append(
                    f"Account {account} is already one of {accounts[account]}"
                    f" - at `{path}.accounts[{number}]`"
                )
            accounts[account] = firm.name
        for number, session in enumerate(firm.sessions):
            key = (session.protocol, session.id, session.session_profile)
            if key in sessions:
                kind = session.session_profile or "binary"
                found.append(
                    f"Session {session.id} ({kind}) is already one of {sessions[key]}"
                    f" - at `{path}.sessions[{number}].id`"
                )
            sessions[key] = firm.name
    _check_settings(config, config.session_defaults, tuple(Version), "$.session_defaults", found)
    for index, firm in enumerate(config.firms):
        for number, session in enumerate(firm.sessions):
            path = f"$.firms[{index}].sessions[{number}]"
            _check_session(config, firm, session, path, accounts, found)
    if len(accounts) >= config.capacity.accounts:
        found.append(
            f"{len(accounts)} accounts do not fit capacity.accounts ({config.capacity.accounts},"
            " one of them for orders without one) - at `$.capacity.accounts`"
        )
    if len(sessions) >= config.capacity.sessions:
        found.append(
            f"{len(sessions)} sessions do not fit capacity.sessions ({config.capacity.sessions},"
            f" one of them not used): set it to at least {len(sessions) + 1}"
            " - at `$.capacity.sessions`"
        )
    if not config.dynamic_sessions and not sessions:
        found.append(
            "No session could log on: dynamic_sessions is false and no firm has a session"
            " - at `$.dynamic_sessions`"
        )


def _check_session(
    config: Config,
    firm: Firm,
    session: Session,
    path: str,
    accounts: dict[str, str],
    found: list[str],
) -> None:
    if session.password is not None and session.password_hash is not None:
        found.append(f"Expected password or password_hash, not both - at `{path}.password`")
    if session.password_hash is not None and not is_password_hash(session.password_hash):
        found.append(
            "Expected what `openoutcry hash-password` prints: scrypt$n$r$p$salt$hash"
            f" - at `{path}.password_hash`"
        )
    if session.protocol == "binary":
        _check_binary(session, path, found)
        return
    if session.appl_version is not None and session.begin_string != "FIXT.1.1":
        found.append(
            f"Expected begin_string FIXT.1.1 with {session.appl_version}, got"
            f" {session.begin_string} - at `{path}.appl_version`"
        )
    if session.username is not None and session.begin_string in {"FIX.4.0", "FIX.4.1", "FIX.4.2"}:
        found.append(
            f"{session.begin_string} has no Username(553), only a password in RawData(96)"
            f" - at `{path}.username`"
        )
    for number, account in enumerate(_copied_accounts(session)):
        if account not in accounts:
            found.append(f"Account {account} belongs to no firm - at `{path}.drop_copy[{number}]`")
    settings = config.settings_of(session)
    if settings is not config.session_defaults:
        _check_settings(config, settings, session.versions, path, found)


def _copied_accounts(session: Session) -> tuple[str, ...]:
    return session.drop_copy if isinstance(session.drop_copy, tuple) else ()


def _check_binary(session: Session, path: str, found: list[str]) -> None:
    """Refuse what only means something in FIX: silently ignored, it would mislead."""
    given = [name for name in sorted(FIX_ONLY) if getattr(session, name) is not UNSET]
    given += [name for name in ("appl_version", "username", "drop_copy") if getattr(session, name)]
    if session.begin_string != "FIX.4.4":
        given.append("begin_string")
    found.extend(
        f"A binary session has no such setting, only a FIX one - at `{path}.{name}`"
        for name in given
    )


def _check_settings(
    config: Config,
    settings: SessionDefaults,
    versions: tuple[Version, ...],
    path: str,
    found: list[str],
) -> None:
    low, high = heartbeat_limits(config, settings)
    has_limits = (settings.heartbeat_min_s, settings.heartbeat_max_s) != (None, None)
    if has_limits and low > high:
        found.append(f"Expected heartbeat_min_s <= {high} - at `{path}.heartbeat_min_s`")
    _check_custom_fields(settings.custom_fields, versions, path, found)
    if settings.schedule is not None:
        _check_schedule(settings.schedule, f"{path}.schedule", found)


def heartbeat_limits(config: Config, settings: SessionDefaults) -> tuple[int, int]:
    """Return the least and the largest HeartBtInt(108) of a session, seconds."""
    low, high = settings.heartbeat_min_s, settings.heartbeat_max_s
    return (
        config.fix.heartbeat_min_s if low is None else low,
        config.fix.heartbeat_max_s if high is None else high,
    )


def _check_custom_fields(
    fields: tuple[CustomField, ...], versions: tuple[Version, ...], path: str, found: list[str]
) -> None:
    tags = Counter(field.tag for field in fields)
    for number, field in enumerate(fields):
        where = f"{path}.custom_fields[{number}]"
        if tags[field.tag] > 1:
            found.append(f"Tag {field.tag} appears twice - at `{where}.tag`")
            tags[field.tag] = 0
        known = frozenset().union(*(dictionary(version).msg_types for version in versions))
        found.extend(
            f"No message {msg_type} in {', '.join(version.label for version in versions)}"
            f" - at `{where}.messages`"
            for msg_type in field.messages
            if msg_type not in known
        )
        try:
            for version in versions:
                session_dictionary(version, SessionDefaults(custom_fields=(field,)))
        except ValueError as error:
            text = str(error)
            found.append(f"{text[0].upper()}{text[1:]} - at `{where}`")


def _check_schedule(schedule: Schedule, path: str, found: list[str]) -> None:
    check_time_zone(schedule.time_zone, f"{path}.time_zone", found)
    if (schedule.start_day is None) != (schedule.end_day is None):
        missing = "start_day" if schedule.start_day is None else "end_day"
        found.append(f"A weekly session needs start_day and end_day - at `{path}.{missing}`")
    if schedule.start_day is not None and schedule.days != WEEKDAYS:
        found.append(f"Expected days, or start_day and end_day, not both - at `{path}.days`")
    if not schedule.days:
        found.append(f"Expected at least one day - at `{path}.days`")
    found.extend(
        f"Day {day} appears twice - at `{path}.days`"
        for day, count in Counter(schedule.days).items()
        if count > 1
    )

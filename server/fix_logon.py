"""The first message of a FIX connection: who is it, may it log on, and is somebody there already?

Nothing here answers a stranger: an unknown BeginString, SenderCompID or TargetCompID only closes
the connection. Credentials are judged before the session machine sees the Logon; where that takes
a hash, in a thread, while the connection is not read and all others go on.
"""

import functools
import logging
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from openoutcry.protocol.fix.enums import SessionStatus
from openoutcry.protocol.fix.message import Message
from openoutcry.protocol.fix.versions import Version, version_of
from openoutcry.server.credentials import (
    CredentialFile,
    CredentialFileError,
    Given,
    Locks,
    Required,
    Verdict,
    judge,
)
from openoutcry.server.registry import SessionEntry
from openoutcry.server.sessions import PROTOCOL_FIX

if TYPE_CHECKING:
    from openoutcry.server.connection import FixConnection
    from openoutcry.server.fix_gateway import FixSession, FixSessions

log = logging.getLogger(__name__)

_BEGIN_STRINGS = frozenset(version.begin_string.encode() for version in Version)
#: Threads that compute hashes: a storm of logons must not take the shards' cores.
_HASH_THREADS = 2


def credential_key(entry: SessionEntry) -> str:
    """Return the name of a session in the file of passwords."""
    return f"{entry.begin_string or 'binary'}/{entry.id}"


class Credentials:
    """What sessions of both protocols must say to log on, and who failed to."""

    def __init__(self, file: CredentialFile, locks: Locks, min_password_bytes: int) -> None:
        self.file = file
        self.locks = locks
        self._min_password_bytes = min_password_bytes
        self._threads = ThreadPoolExecutor(_HASH_THREADS, "password")

    def required(self, entry: SessionEntry) -> Required:
        """Return what a session's Logon must say; a password that its client set comes first."""
        hashed = self.file.get(credential_key(entry))
        if hashed is not None:
            return Required(entry.username, None, hashed)
        return Required(entry.username, entry.password, entry.password_hash)

    def judge(self, entry: SessionEntry, given: Given) -> "Future[Verdict]":
        """Judge credentials: at once where no hash is needed, else in a thread."""
        required = self.required(entry)
        if required.is_slow or given.new_password is not None:
            return self._threads.submit(judge, required, given, self._min_password_bytes)
        done: Future[Verdict] = Future()
        done.set_result(judge(required, given, self._min_password_bytes))
        return done

    def note(self, entry: SessionEntry, *, is_authentic: bool, now_ms: int) -> None:
        """Count a logon's outcome."""
        if is_authentic:
            self.locks.succeed(entry.number)
            return
        log.warning("credentials not accepted: session=%s", entry.id)
        if self.locks.fail(entry.number, now_ms):
            log.warning("locked after failed logons: session=%s", entry.id)

    def close(self) -> None:
        """End the threads; what they still compute is of no use."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def given_in(logon: Message) -> Given:
    """Return a Logon's credentials: before FIX 4.3 the password is RawData(96)."""
    version = version_of(logon.get(8) or b"", logon.get(1137))
    if version is not None and version < Version.FIX43:
        return Given(None, logon.get(96), None)
    return Given(logon.get(553), logon.get(554), logon.get(925))


class LogonDesk:
    """Takes the first message of each FIX connection."""

    def __init__(self, sessions: "FixSessions", credentials: Credentials) -> None:
        self._sessions = sessions
        self._gateway = sessions.gateway
        self._credentials = credentials
        #: Sessions whose credentials are just being judged.
        self._judging: set[int] = set()

    def first_message(self, connection: "FixConnection", message: Message) -> None:
        """Take a Logon that is for us; anything else ends the connection."""
        session = self._addressee(connection, message)
        if session is None:
            return
        entry = session.entry
        if self._credentials.locks.is_locked(entry.number, self._gateway.now_ms()):
            self._refuse(connection, session, message, SessionStatus.ACCOUNT_LOCKED)
            return
        if entry.number in self._judging:
            connection.close("another Logon of the session is being judged", is_error=True)
            return
        future = self._credentials.judge(entry, given_in(message))
        if future.done():
            self._go_on(connection, session, message, future.result())
            return
        self._judging.add(entry.number)
        connection.hold()
        later = functools.partial(self._judged, connection, session, message)
        future.add_done_callback(lambda done: self._gateway.loop.call_soon_threadsafe(later, done))

    def _addressee(self, connection: "FixConnection", message: Message) -> "FixSession | None":
        """Return the session that a Logon is for, or close the connection."""
        begin_string = message.get(8) or b""
        if message.msg_type != "A":
            connection.close("first message is no Logon", is_error=True)
        elif message.get(56) != self._gateway.config.venue.comp_id.encode():
            connection.close("Logon for another TargetCompID", is_error=True)
        elif begin_string not in _BEGIN_STRINGS:
            connection.close(f"Logon with an unknown BeginString {begin_string!r}", is_error=True)
        else:
            comp_id = message.get(49) or b""
            name = comp_id.decode("ascii", "replace")
            home = self._gateway.registry.home(name, PROTOCOL_FIX, begin_string.decode())
            if self._gateway.is_elsewhere(connection, home):
                return None
            session = self._sessions.find(comp_id, begin_string)
            if session is not None:
                return session
            text = begin_string.decode()
            connection.close(f"Logon with an unknown SenderCompID for {text}", is_error=True)
        return None

    def _judged(
        self,
        connection: "FixConnection",
        session: "FixSession",
        message: Message,
        done: "Future[Verdict]",
    ) -> None:
        self._judging.discard(session.number)
        if connection.is_closed or done.cancelled():
            return
        error = done.exception()
        if error is not None:
            log.error("credentials cannot be judged: session=%s", session.comp_id, exc_info=error)
            connection.close("credentials cannot be judged", is_error=True)
            return
        self._go_on(connection, session, message, done.result())
        connection.release()

    def _go_on(
        self,
        connection: "FixConnection",
        session: "FixSession",
        message: Message,
        verdict: Verdict,
    ) -> None:
        now_ms = self._gateway.now_ms()
        is_authentic = verdict.is_authentic
        self._credentials.note(session.entry, is_authentic=is_authentic, now_ms=now_ms)
        if not is_authentic:
            self._refuse(connection, session, message, SessionStatus.INVALID_CREDENTIALS)
        elif session.connection is not None:
            # No answer: the numbers are the live connection's.
            connection.close("session is logged on already", is_error=True)
            session.probe()
        else:
            self._log_on(connection, session, message, SessionStatus.ACTIVE, verdict.new_hash)

    def _refuse(
        self,
        connection: "FixConnection",
        session: "FixSession",
        message: Message,
        status: SessionStatus,
    ) -> None:
        """Have the session refuse a Logon, unless its numbers are in use on a live connection."""
        if session.connection is not None:
            connection.close("Logon refused, the session is live", is_error=True)
            return
        self._log_on(connection, session, message, status, None)

    def _log_on(
        self,
        connection: "FixConnection",
        session: "FixSession",
        message: Message,
        status: SessionStatus,
        new_hash: str | None,
    ) -> None:
        def change_password(new: bytes) -> bool:
            del new  # judged and hashed already
            return new_hash is not None and self._keep(session.entry, new_hash)

        connection.session = session
        connection.session_number = session.number
        closed_text = self._sessions.hours.closed_text(session.entry, self._gateway.now_ms())
        session.attach(
            connection,
            message,
            status=status,
            closed_text=closed_text,
            change_password=change_password,
        )

    def _keep(self, entry: SessionEntry, new_hash: str) -> bool:
        try:
            self._credentials.file.put(credential_key(entry), new_hash)
        except (OSError, CredentialFileError) as error:
            log.error("new password not kept: session=%s error=%s", entry.id, error)
            return False
        log.info("new password kept: session=%s", entry.id)
        return True

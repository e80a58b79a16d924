"""Passwords: salted hashes, those that clients set themselves, and locks after failed logons."""

import base64
import binascii
import fcntl
import hashlib
import hmac
import json
import logging
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from openoutcry.server.durable import write_durably

log = logging.getLogger(__name__)


class CredentialFileError(Exception):
    """The file of passwords cannot be understood; the text names it and the remedy."""


#: Cost of a new hash: 16 MiB, and some 50 ms of one core.
COST_N = 1 << 14
COST_R = 8
COST_P = 1
_SALT_BYTES = 16
_HASH_BYTES = 32
#: Hashes that were made elsewhere may cost as much memory as this.
_MAX_MEMORY = 256 << 20

FILE_NAME = "credentials.json"


def hash_password(password: bytes, *, salt: bytes | None = None) -> str:
    """Return `scrypt$n$r$p$salt$hash`, salt and hash in base64; slow on purpose."""
    salt = secrets.token_bytes(_SALT_BYTES) if salt is None else salt
    digest = _scrypt(password, salt, COST_N, COST_R, COST_P, _HASH_BYTES)
    parts = (base64.b64encode(part).decode() for part in (salt, digest))
    return "$".join(("scrypt", str(COST_N), str(COST_R), str(COST_P), *parts))


def is_password_hash(text: str) -> bool:
    """Return whether a text is such a hash, of a cost that can be paid here."""
    return _parts(text) is not None


def is_password(password: bytes, hashed: str) -> bool:
    """Return whether a password is the hashed one; a text that is no hash matches nothing.

    Slow on purpose: to be called off the event loop.
    """
    parts = _parts(hashed)
    if parts is None:
        return False
    n, r, p, salt, digest = parts
    return hmac.compare_digest(_scrypt(password, salt, n, r, p, len(digest)), digest)


def is_same(ours: bytes, theirs: bytes) -> bool:
    """Compare so that the time taken tells neither where the two differ nor how long ours is."""
    return hmac.compare_digest(hashlib.sha256(ours).digest(), hashlib.sha256(theirs).digest())


def _parts(text: str) -> tuple[int, int, int, bytes, bytes] | None:
    name, *rest = text.split("$")
    if name != "scrypt" or len(rest) != 5:
        return None
    if not all(part.isascii() and part.isdecimal() and len(part) < 10 for part in rest[:3]):
        return None
    n, r, p = (int(part) for part in rest[:3])
    try:
        salt = base64.b64decode(rest[3], validate=True)
        digest = base64.b64decode(rest[4], validate=True)
    except (binascii.Error, ValueError):
        return None
    is_power = n > 1 and n & (n - 1) == 0
    if not is_power or r < 1 or not 1 <= p <= 16 or 128 * n * r > _MAX_MEMORY:
        return None
    return (n, r, p, salt, digest) if salt and len(digest) >= 16 else None


def _scrypt(password: bytes, salt: bytes, n: int, r: int, p: int, length: int) -> bytes:
    room = 2 * _MAX_MEMORY
    return hashlib.scrypt(password, salt=salt, n=n, r=r, p=p, maxmem=room, dklen=length)


@dataclass(frozen=True, slots=True)
class Required:
    """What a Logon must say; None asks for nothing."""

    username: str | None = None
    password: str | None = field(default=None, repr=False)
    password_hash: str | None = field(default=None, repr=False)

    @property
    def is_slow(self) -> bool:
        """Whether to judge takes long enough to be done off the event loop."""
        return self.password_hash is not None

    @property
    def has_password(self) -> bool:
        """Whether a password is asked for at all."""
        return self.password is not None or self.password_hash is not None

    def admits(self, username: bytes | None, password: bytes | None) -> bool:
        """Return whether both are right; each is compared, whatever the other says."""
        is_user = self.username is None or is_same(self.username.encode(), username or b"")
        return self.has_right_password(password) & is_user

    def has_right_password(self, password: bytes | None) -> bool:
        """Return whether a password is the one asked for."""
        given = password or b""
        if self.password_hash is not None:
            return is_password(given, self.password_hash)
        return self.password is None or is_same(self.password.encode(), given)


@dataclass(frozen=True, slots=True)
class Given:
    """What a Logon says."""

    username: bytes | None = None
    password: bytes | None = field(default=None, repr=False)
    new_password: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to be made of it."""

    is_authentic: bool
    #: A new password was asked for, and does not comply.
    is_new_refused: bool = False
    #: The hash of the new password, to be kept once the logon is complete.
    new_hash: str | None = field(default=None, repr=False)


def judge(required: Required, given: Given, min_password_bytes: int) -> Verdict:
    """Judge a Logon's credentials, and hash a new password that complies.

    A new password must have `min_password_bytes`, at most 128, differ from the present one, and
    replace one: a session without a password is open to all, and stays so.
    """
    if not required.admits(given.username, given.password):
        return Verdict(is_authentic=False)
    new = given.new_password
    if new is None:
        return Verdict(is_authentic=True)
    is_compliant = min_password_bytes <= len(new) <= 128 and required.has_password
    if not is_compliant or is_same(new, given.password or b""):
        return Verdict(is_authentic=True, is_new_refused=True)
    return Verdict(is_authentic=True, new_hash=hash_password(new))


class CredentialFile:
    """The hashes of the passwords that clients have set, in the venue's data directory.

    Args:
        folder: the data directory.

    Raises:
        CredentialFileError: the file is damaged.
        OSError: it cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE_NAME
        self._hashes = self._read()

    def _read(self) -> dict[str, str]:
        if not self._path.exists():
            return {}
        try:
            hashes = msgspec.json.decode(self._path.read_bytes(), type=dict[str, str])
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise self._damaged(str(error)) from None
        for key, hashed in hashes.items():
            # Such a password would match nothing: its client could never log on.
            if not is_password_hash(hashed):
                raise self._damaged(f"what it says of {key} is no hash of a password")
        return hashes

    def _damaged(self, reason: str) -> CredentialFileError:
        return CredentialFileError(
            f"{self._path} cannot be understood ({reason}): correct it, restore it from a backup,"
            " or remove it to give every client its configured password back"
        )

    def get(self, key: str) -> str | None:
        """Return a session's hash, or None where its client has set no password."""
        return self._hashes.get(key)

    def put(self, key: str, hashed: str) -> None:
        """Keep a hash, on the disk before this returns, beside those that other gateways keep.

        Raises:
            OSError: it could not be written; the old password stays.
            CredentialFileError: the file is damaged; likewise.
        """
        lock = os.open(self._path.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            hashes = {**self._read(), key: hashed}
            write_durably(self._path, json.dumps(hashes, indent=1).encode(), mode=0o600)
            self._hashes = hashes
        finally:
            os.close(lock)


class Locks:
    """Failed logons by session: after so many in a row it is locked for a time.

    Args:
        lock_after: how many; None never locks.
        lock_ms: for how long.
    """

    def __init__(self, lock_after: int | None, lock_ms: int) -> None:
        self._lock_after = lock_after
        self._lock_ms = lock_ms
        self._failures: dict[int, int] = {}
        self._locked_until_ms: dict[int, int] = {}

    def is_locked(self, session: int, now_ms: int) -> bool:
        """Return whether a session is locked; a lock that is over is taken away."""
        until_ms = self._locked_until_ms.get(session)
        if until_ms is None:
            return False
        if now_ms < until_ms:
            return True
        del self._locked_until_ms[session]
        return False

    def fail(self, session: int, now_ms: int) -> bool:
        """Count a failed logon; return whether the session is locked by it."""
        count = self._failures.get(session, 0) + 1
        if self._lock_after is None or count < self._lock_after:
            self._failures[session] = count
            return False
        self._failures.pop(session, None)
        self._locked_until_ms[session] = now_ms + self._lock_ms
        return True

    def succeed(self, session: int) -> None:
        """Forget the failures of a session."""
        self._failures.pop(session, None)

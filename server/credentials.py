"""Passwords as salted hashes."""

import base64
import binascii
import hashlib
import hmac
import secrets

#: Cost of a new hash: about 16 MiB and 50 ms of one core.
COST_N = 1 << 14
COST_R = 8
COST_P = 1
_SALT_BYTES = 16
_HASH_BYTES = 32
#: Costs of a hash that was made elsewhere are accepted up to this memory.
_MAX_MEMORY = 256 << 20


def hash_password(password: bytes, *, salt: bytes | None = None) -> str:
    """Return `scrypt$n$r$p$salt$hash`, salt and hash in base64."""
    salt = secrets.token_bytes(_SALT_BYTES) if salt is None else salt
    digest = _scrypt(password, salt, COST_N, COST_R, COST_P, _HASH_BYTES)
    parts = (_text(salt), _text(digest))
    return f"scrypt${COST_N}${COST_R}${COST_P}${parts[0]}${parts[1]}"


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


def _parts(text: str) -> tuple[int, int, int, bytes, bytes] | None:
    name, *rest = text.split("$")
    if name != "scrypt" or len(rest) != 5 or not all(part.isdecimal() for part in rest[:3]):
        return None
    n, r, p = (int(part) for part in rest[:3])
    try:
        salt = base64.b64decode(rest[3], validate=True)
        digest = base64.b64decode(rest[4], validate=True)
    except binascii.Error:
        return None
    is_sound = n > 1 and n & (n - 1) == 0 and r >= 1 and 1 <= p <= 16 and 128 * n * r < _MAX_MEMORY
    return (n, r, p, salt, digest) if is_sound and salt and len(digest) >= 16 else None


def _scrypt(password: bytes, salt: bytes, n: int, r: int, p: int, length: int) -> bytes:
    return hashlib.scrypt(password, salt=salt, n=n, r=r, p=p, maxmem=2 * _MAX_MEMORY, dklen=length)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()

"""The versions of FIX that the venue speaks, and how a message says which one it is.

Up to FIX 4.4 the session's and the application's version are one, and BeginString(8) names it.
Since FIX 5.0 the session is FIXT.1.1; DefaultApplVerID(1137) in the Logon names the application's
version, ApplVerID(1128) another one for a single message.

Source: FIX volumes 1 and 2 of each version, FIXT 1.1, code set of ApplVerID(1128).
"""

from enum import IntEnum


class Version(IntEnum):
    """A version of the application messages; the numbers are places in tables, not FIX's codes."""

    FIX40 = 0
    FIX41 = 1
    FIX42 = 2
    FIX43 = 3
    FIX44 = 4
    FIX50 = 5
    FIX50SP1 = 6
    FIX50SP2 = 7

    @property
    def label(self) -> str:
        """Return the name as people and configuration write it, such as `FIX.5.0SP2`."""
        text = self.name.removeprefix("FIX")
        return f"FIX.{text[0]}.{text[1:]}"

    @property
    def begin_string(self) -> str:
        """Return BeginString(8)."""
        return "FIXT.1.1" if self.is_fixt else self.label

    @property
    def is_fixt(self) -> bool:
        """Whether the session is FIXT.1.1, and Logons carry DefaultApplVerID(1137)."""
        return self >= Version.FIX50

    @property
    def appl_ver_id(self) -> bytes:
        """Return the version's code in ApplVerID(1128) and DefaultApplVerID(1137)."""
        return b"%d" % (self + 2)


#: Versions by their labels: FIX.4.0 … FIX.5.0SP2.
VERSIONS = {version.label: version for version in Version}

_BY_BEGIN_STRING = {v.begin_string.encode(): v for v in Version if not v.is_fixt}
_BY_APPL_VER_ID = {v.appl_ver_id: v for v in Version if v.is_fixt}


def version_of(begin_string: bytes, appl_ver_id: bytes | None = None) -> Version | None:
    """Return the version that a Logon asks for, or None where it is none of ours.

    `appl_ver_id` is DefaultApplVerID(1137); it counts under FIXT.1.1 only, and must be there.
    """
    if begin_string == b"FIXT.1.1":
        return _BY_APPL_VER_ID.get(appl_ver_id or b"")
    return _BY_BEGIN_STRING.get(begin_string)

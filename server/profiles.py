"""By which dictionary each session's messages are judged, for Python and for the decode kernel.

Profiles 0 to 7 are the strict dictionaries of the versions. Sessions with custom fields, or lenient
ones, share one further profile for each version and set of rules.
"""

from collections.abc import Iterable

from openoutcry.protocol.fix.dictionary import CustomField, Dictionary, FieldType, dictionary
from openoutcry.protocol.fix.versions import Version
from openoutcry.server.session_settings import SessionDefaults


def session_dictionary(version: Version, settings: SessionDefaults) -> Dictionary:
    """Return a version's dictionary with a session's own rules.

    A custom field of messages none of which the version has is left out.

    Raises:
        ValueError: A custom field cannot be one.
    """
    strict = dictionary(version)
    is_lenient = settings.validation == "lenient"
    if not settings.custom_fields and not is_lenient:
        return strict
    fields = []
    for custom in settings.custom_fields:
        msg_types = frozenset(custom.messages) & strict.msg_types if custom.messages else None
        if msg_types is None or msg_types:
            kind = FieldType[custom.type.upper()]
            fields.append(CustomField(custom.tag, custom.name, kind, msg_types))
    return strict.with_fields(fields, lenient=is_lenient)


class Profiles:
    """The dictionaries in use, by number.

    Args:
        sessions: versions and settings of all that may log on.
    """

    def __init__(self, sessions: Iterable[tuple[Iterable[Version], SessionDefaults]]) -> None:
        self.dictionaries = [dictionary(version) for version in Version]
        self._numbers: dict[tuple[Version, str, object], int] = {
            (version, "strict", ()): int(version) for version in Version
        }
        for versions, settings in sessions:
            for version in versions:
                key = _key(version, settings)
                if key not in self._numbers:
                    self._numbers[key] = len(self.dictionaries)
                    self.dictionaries.append(session_dictionary(version, settings))

    def number(self, version: Version, settings: SessionDefaults) -> int:
        """Return the profile of a version with a session's rules."""
        return self._numbers[_key(version, settings)]


def _key(version: Version, settings: SessionDefaults) -> tuple[Version, str, object]:
    return version, settings.validation, settings.custom_fields

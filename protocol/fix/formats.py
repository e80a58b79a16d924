"""What a field's value may look like: formats by FieldType, and codes.

Source: data types of FIX 4.4 volume 1 and FIX 5.0 SP2.
"""

import re
from collections.abc import Callable

from openoutcry.protocol.fix.dictionary import Dictionary, FieldType
from openoutcry.protocol.fix.enums import SessionRejectReason as Reason
from openoutcry.protocol.fix.layouts import CL_ORD_ID_MAX, DIGITS_MAX
from openoutcry.protocol.fix.stamps import parse_utc_ms
from openoutcry.protocol.fix.tags import Tag

_INT = re.compile(rb"-?([0-9]+)")
_DECIMAL = re.compile(rb"-?(?=[0-9.]*[0-9])([0-9]*)\.?([0-9]*)")
_MONTH_YEAR = re.compile(rb"([0-9]{6})(|w[1-5]|[0-9]{2})")
_DAY = re.compile(rb"0?[1-9]|[12][0-9]|3[01]")
_LOCAL_TIME = re.compile(rb"([01][0-9]|2[0-3]):[0-5][0-9]:([0-5][0-9]|60)")
_UTC_TIME = re.compile(_LOCAL_TIME.pattern + rb"(\.([0-9]{3}){1,3})?")
_ZONE = rb"(Z|[+-]([01][0-9]|2[0-3])(:[0-5][0-9])?)?"
_TZ_TIME = re.compile(rb"([01][0-9]|2[0-3]):[0-5][0-9](:([0-5][0-9]|60)(\.[0-9]{1,9})?)?" + _ZONE)
_TZ_TIMESTAMP = re.compile(rb"([0-9]{8})-" + _TZ_TIME.pattern)
_CL_ORD_ID = re.compile(rb"[\x21-\x7e]{1,%d}" % CL_ORD_ID_MAX)


def value_fault(facts: Dictionary, tag: int, value: bytes) -> Reason | None:
    """Judge the value of a field that the dictionary defines."""
    if not value:
        return Reason.NO_VALUE
    kind = facts.types[tag]
    reason = _FORMATS.get(kind, _any_text)(value)
    if reason is None:
        codes = facts.enumerations.get(tag)
        if codes is not None and not _are_codes(kind, value, codes):
            return Reason.VALUE_INCORRECT
        if tag in (Tag.CL_ORD_ID, Tag.ORIG_CL_ORD_ID) and not _CL_ORD_ID.fullmatch(value):
            return Reason.VALUE_INCORRECT
    return reason


def _are_codes(kind: FieldType, value: bytes, codes: frozenset[bytes]) -> bool:
    if kind in (FieldType.CHARS, FieldType.STRINGS):
        return codes.issuperset(value.split(b" "))
    if kind in (FieldType.INT, FieldType.NATURAL):
        return value in codes or b"%d" % number_of(value) in codes
    return value in codes


def number_of(value: bytes) -> int:
    """Return the number that a value writes which is a whole number."""
    # Python refuses to convert thousands of digits, zeros too.
    return int(value.lstrip(b"0") or b"0")


def _any_text(value: bytes) -> Reason | None:
    del value
    return None


def _char(value: bytes) -> Reason | None:
    return None if len(value) == 1 else Reason.INCORRECT_FORMAT


def _boolean(value: bytes) -> Reason | None:
    return None if value in (b"Y", b"N") else Reason.INCORRECT_FORMAT


def _int(value: bytes) -> Reason | None:
    found = _INT.fullmatch(value)
    if found is None:
        return Reason.INCORRECT_FORMAT
    return Reason.VALUE_INCORRECT if len(found[1].lstrip(b"0")) > DIGITS_MAX else None


def _natural(value: bytes) -> Reason | None:
    reason = _int(value)
    return Reason.VALUE_INCORRECT if reason is None and value.startswith(b"-") else reason


def _decimal(value: bytes) -> Reason | None:
    found = _DECIMAL.fullmatch(value)
    if found is None:
        return Reason.INCORRECT_FORMAT
    digits = len(found[1].lstrip(b"0")) + len(found[2])
    return Reason.VALUE_INCORRECT if digits > DIGITS_MAX else None


def _utc_timestamp(value: bytes) -> Reason | None:
    return Reason.INCORRECT_FORMAT if parse_utc_ms(value) is None else None


def _date(value: bytes) -> Reason | None:
    return Reason.INCORRECT_FORMAT if parse_utc_ms(value + b"-00:00:00") is None else None


def _month_year(value: bytes) -> Reason | None:
    found = _MONTH_YEAR.fullmatch(value)
    if found is None:
        return Reason.INCORRECT_FORMAT
    day = found[2] if found[2][:1].isdigit() else b"01"
    return _date(found[1] + day)


def _day_of_month(value: bytes) -> Reason | None:
    if _DAY.fullmatch(value):
        return None
    return Reason.VALUE_INCORRECT if value.isdigit() else Reason.INCORRECT_FORMAT


def _chars(value: bytes) -> Reason | None:
    is_right = all(len(part) == 1 for part in value.split(b" "))
    return None if is_right else Reason.INCORRECT_FORMAT


def _strings(value: bytes) -> Reason | None:
    return None if all(value.split(b" ")) else Reason.INCORRECT_FORMAT


def _matches(pattern: re.Pattern[bytes]) -> Callable[[bytes], Reason | None]:
    return lambda value: None if pattern.fullmatch(value) else Reason.INCORRECT_FORMAT


def _tz_timestamp(value: bytes) -> Reason | None:
    found = _TZ_TIMESTAMP.fullmatch(value)
    return _date(found[1]) if found else Reason.INCORRECT_FORMAT


_FORMATS = {
    FieldType.CHAR: _char,
    FieldType.BOOLEAN: _boolean,
    FieldType.INT: _int,
    FieldType.NATURAL: _natural,
    FieldType.DECIMAL: _decimal,
    FieldType.UTC_TIMESTAMP: _utc_timestamp,
    FieldType.DATE: _date,
    FieldType.MONTH_YEAR: _month_year,
    FieldType.DAY_OF_MONTH: _day_of_month,
    FieldType.CHARS: _chars,
    FieldType.STRINGS: _strings,
    FieldType.UTC_TIME: _matches(_UTC_TIME),
    FieldType.LOCAL_TIME: _matches(_LOCAL_TIME),
    FieldType.TZ_TIME: _matches(_TZ_TIME),
    FieldType.TZ_TIMESTAMP: _tz_timestamp,
}

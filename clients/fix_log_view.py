"""Show the messages of a FIX log: on one line, field by field, or as JSON; with names for numbers.

No byte of a message reaches the terminal as a control character.
"""

import json
from functools import cache
from typing import Any

import click

from openoutcry.clients.fix_log import LogEntry
from openoutcry.protocol.fix.dictionary import Dictionary, dictionary
from openoutcry.protocol.fix.dictionary_text import names_of_codes
from openoutcry.protocol.fix.message import Message
from openoutcry.protocol.fix.validate import validate
from openoutcry.protocol.fix.versions import VERSIONS, Version, version_of

_ARROWS = {"in": "<-", "out": "->", "": "  "}
#: Colours by MsgType; others have none.
_COLOURS = {"D": "cyan", "F": "cyan", "G": "cyan", "8": "green", "3": "red", "j": "red", "9": "red"}
_ADMINISTRATIVE = frozenset("0124A5")
_codes = cache(names_of_codes)


class View:
    """Names and judges messages, of a FIXT session by the version that its Logon named.

    Args:
        version: what to take FIXT messages for whose Logon was not seen; None: FIX.5.0SP2.
    """

    def __init__(self, version: Version | None = None) -> None:
        self._default = version or Version.FIX50SP2
        self._by_session: dict[tuple[bytes, ...], Version] = {}

    def version(self, entry: LogEntry) -> Version:
        """Return the version by which a message is read."""
        if entry.get(8) != b"FIXT.1.1":
            return version_of(entry.get(8)) or Version.FIX44
        session = tuple(sorted((entry.get(49), entry.get(56))))
        named = version_of(b"FIXT.1.1", entry.get(1128) or entry.get(1137))
        if named is not None and entry.get(35) == b"A":
            self._by_session[session] = named
        return named or self._by_session.get(session, self._default)

    def judge(self, entry: LogEntry) -> None:
        """Add what the version's dictionary finds wrong to the message's faults."""
        if entry.is_garbled or any(tag < 0 for tag, _ in entry.fields):
            return
        tags = [tag for tag, _ in entry.fields[:3]]
        if tags != [8, 9, 35]:
            entry.faults.append("BeginString, BodyLength and MsgType do not come first")
            return
        if entry.get(8).decode("latin-1") not in {v.begin_string for v in Version}:
            entry.faults.append("BeginString(8) is no version of FIX")
            return
        facts = dictionary(self.version(entry))
        problem = validate(Message(entry.get(35).decode("latin-1"), entry.fields), facts)
        if problem is None:
            return
        tag = "" if problem.ref_tag is None else f"{facts.describe(problem.ref_tag)}: "
        entry.faults.append(f"{tag}{problem.text} (373={problem.reason.value})")

    def one_line(self, entry: LogEntry) -> str:
        """Return a message on a line: time, direction, sender and target, name, all its fields."""
        if entry.is_garbled:
            shown = text(entry.frame.replace(b"\x01", b"|"))
            return f"{_head(entry)} {click.style('garbled', fg='red')} {shown}{_faults(entry)}"
        who = f"{text(entry.get(49))}>{text(entry.get(56))}"
        name = click.style(self.name(entry), fg=_colour(entry), bold=True)
        fields = "".join(f"{_tag(tag)}{text(value)}|" for tag, value in entry.fields)
        return f"{_head(entry)} {who} {name} {fields}{_faults(entry)}"

    def long(self, entry: LogEntry) -> str:
        """Return a message field by field: tag, name, value, what its code means."""
        if entry.is_garbled:
            return self.one_line(entry)
        facts = dictionary(self.version(entry))
        name = click.style(self.name(entry), fg=_colour(entry), bold=True)
        who = f"{text(entry.get(49))} > {text(entry.get(56))}"
        lines = [f"{_head(entry)} {name}  {who}  #{text(entry.get(34))}"]
        width = max((len(facts.names.get(tag, "")) for tag, _ in entry.fields), default=0)
        for (tag, value), depth in zip(entry.fields, _depths(entry, facts), strict=True):
            label = facts.names.get(tag, "").ljust(width)
            meaning = self.meaning(tag, value, facts)
            number = "?" if tag < 0 else str(tag)
            shown = f"{text(value)} {click.style(meaning, fg='yellow')}" if meaning else text(value)
            lines.append(f"  {'  ' * depth}{number:>5} {label} = {shown}")
        lines += [f"        {click.style(fault, fg='red')}" for fault in entry.faults]
        return "\n".join(lines)

    def as_json(self, entry: LogEntry) -> str:
        """Return a message as one line of JSON."""
        time = entry.time
        facts: dict[str, Any] = {
            "time": None if time is None else time.isoformat(timespec="microseconds"),
            "direction": entry.direction or None,
            "garbled": entry.is_garbled,
            "faults": entry.faults,
        }
        if entry.is_garbled:
            return json.dumps(facts | {"bytes": entry.frame.decode("latin-1")})
        known = dictionary(self.version(entry))
        facts |= {
            "version": self.version(entry).label,
            "sender": entry.get(49).decode("latin-1"),
            "target": entry.get(56).decode("latin-1"),
            "type": entry.get(35).decode("latin-1"),
            "name": self.name(entry),
            "fields": [
                {
                    "tag": tag,
                    "name": known.names.get(tag),
                    "value": value.decode("latin-1"),
                    "meaning": self.meaning(tag, value, known) or None,
                }
                for tag, value in entry.fields
            ],
        }
        return json.dumps(facts)

    def name(self, entry: LogEntry) -> str:
        """Return the message's name, or its MsgType where that is unknown."""
        kind = entry.get(35).decode("latin-1")
        messages = dictionary(self.version(entry)).messages
        return messages[kind].name if kind in messages else text(entry.get(35)) or "?"

    def meaning(self, tag: int, value: bytes, facts: Dictionary) -> str:
        """Return what a field's code means, or nothing; of several codes, what each means."""
        if tag == 35:
            kind = value.decode("latin-1")
            return facts.messages[kind].name if kind in facts.messages else ""
        named = _codes().get(tag, {})
        # Up to FIX 5.0 SP2 a field may have several codes, with spaces between.
        return " ".join(named[code] for code in value.split(b" ") if code in named)


def text(value: bytes) -> str:
    """Return bytes as text that can be shown: UTF-8 where it is, no control characters."""
    decoded = value.decode("utf-8", "backslashreplace")
    if decoded.isprintable():
        return decoded
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in decoded)


def version_named(label: str | None) -> Version | None:
    """Return a version by its label."""
    return None if label is None else VERSIONS[label]


def _tag(tag: int) -> str:
    return "" if tag < 0 else f"{tag}="


def _head(entry: LogEntry) -> str:
    time = entry.time
    shown = "-" if time is None else time.strftime("%Y%m%d-%H:%M:%S.%f")
    return f"{shown} {_ARROWS[entry.direction]}"


def _colour(entry: LogEntry) -> str | None:
    kind = entry.get(35).decode("latin-1")
    return "bright_black" if kind in _ADMINISTRATIVE else _COLOURS.get(kind)


def _faults(entry: LogEntry) -> str:
    return "".join(" " + click.style(f"[{fault}]", fg="red") for fault in entry.faults)


def _depths(entry: LogEntry, facts: Dictionary) -> list[int]:
    """Return how deep in repeating groups each field stands."""
    kind = entry.get(35).decode("latin-1")
    groups = facts.messages[kind].groups if kind in facts.messages else {}
    stack = [groups]
    members: list[frozenset[int]] = []
    depths = []
    for tag, _ in entry.fields:
        while members and tag not in members[-1]:
            members.pop()
            stack.pop()
        depths.append(len(members))
        group = stack[-1].get(tag)
        if group is not None:
            members.append(frozenset(group.members))
            stack.append(group.groups)
    return depths

"""Whose order it is beside its account: Parties(453) and routes, which all its reports echo.

Before FIX 4.3 the parties are ClientID(109) and ExecBroker(76). A route is OnBehalfOf and DeliverTo
fields; reports carry them reversed. Both are kept with the account, as a variant of it with a
number of its own, under which the order goes to its shard.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING

from openoutcry.engine.enums import RejectReason
from openoutcry.protocol.fix.definitions import Group
from openoutcry.protocol.fix.dictionary import dictionary
from openoutcry.protocol.fix.encode import PARTIES_MAX, ROUTE_MAX
from openoutcry.protocol.fix.enums import SessionRejectReason
from openoutcry.protocol.fix.message import Message, validate
from openoutcry.protocol.fix.outbox import route_back
from openoutcry.protocol.fix.tags import USER_DEFINED
from openoutcry.protocol.fix.versions import Version
from openoutcry.server.declined import Declined
from openoutcry.server.fix_answers import Fields, joined, version_of_message

if TYPE_CHECKING:
    from openoutcry.server.fix_gateway import FixSession
    from openoutcry.server.gateway import Gateway

_NO_PARTY_IDS = 453
_OLD_PARTIES = frozenset({109, 76})
#: ThrottleStatus(1609): the order waited.
_QUEUED = b"1609=1\x01"
#: One session may take this part of `capacity.accounts` for variants.
_SHARE = 4


class OrderVariants:
    """Gives orders the number of their account's variant.

    A variant is never forgotten: reports that are sent again need it.
    """

    def __init__(self, gateway: "Gateway") -> None:
        self._gateway = gateway
        self._known: dict[int, dict[tuple[int, bytes, bytes], int]] = {}

    def number(
        self, session: "FixSession", base: int, message: Message, *, was_held: bool = False
    ) -> int:
        """Return the number for a message's order under account `base`.

        Reports of an order that the throttle held say so, where the version can.

        Raises:
            Declined: The message is a new order, and its parties or its route are too long or one
                too many.
        """
        route = joined(_route(session.version, message))
        parties = joined(parties_of(message, version_of_message(session, message)))
        if was_held and message.msg_type == "D" and _tells_throttle(session.version):
            if len(parties) + len(_QUEUED) <= PARTIES_MAX:
                parties += _QUEUED
        if not route and not parties:
            return base
        try:
            return self._variant(session, base, route, parties)
        except Declined:
            # A request about an order is answered with what the order has.
            if message.msg_type == "D":
                raise
            return base

    def _variant(self, session: "FixSession", base: int, route: bytes, parties: bytes) -> int:
        known = self._known.setdefault(session.number, {})
        number = known.get((base, route, parties))
        if number is not None:
            return number
        accounts = self._gateway.accounts
        if len(route) > ROUTE_MAX:
            text = f"OnBehalfOf and DeliverTo fields of more than {ROUTE_MAX} bytes"
            raise Declined(RejectReason.UNSUPPORTED_ORDER_TYPE, text)
        if len(parties) > PARTIES_MAX:
            text = f"parties of more than {PARTIES_MAX} bytes"
            raise Declined(RejectReason.UNSUPPORTED_ORDER_TYPE, text)
        full = Declined(
            RejectReason.SESSION_CAPACITY,
            "too many different accounts, parties and routes: use those of an earlier order",
        )
        if len(known) >= len(accounts.rows) // _SHARE:
            raise full
        first, last = versions_with(parties, session.version)
        if not first <= session.version <= last:
            parties = b""
        try:
            number = accounts.variant(
                base,
                route,
                parties,
                party_min=first,
                party_max=last,
                # An OrderCancelReject has no ThrottleStatus(1609).
                party_tail=len(_QUEUED) if parties.endswith(_QUEUED) else 0,
            )
        except OverflowError:
            raise full from None
        known[base, route, parties] = number
        return number


def _tells_throttle(version: Version) -> bool:
    return 1609 in dictionary(version).messages["8"].allowed


def _route(version: Version, message: Message) -> Fields:
    tags = dictionary(version).header_tags
    return [(tag, value) for tag, value in route_back(message) if tag in tags]


def parties_of(message: Message, version: Version) -> Fields:
    """Return the fields that tell a message's parties, as they stand in it."""
    definition = dictionary(version).messages[message.msg_type]
    if version <= Version.FIX42:
        return [(tag, value) for tag, value in message.fields if tag in _OLD_PARTIES and value]
    group = definition.groups.get(_NO_PARTY_IDS)
    tags = [tag for tag, _ in message.fields]
    if group is None or _NO_PARTY_IDS not in tags:
        return []
    start = tags.index(_NO_PARTY_IDS)
    members = {_NO_PARTY_IDS, *_members(group)}
    found: Fields = []
    for tag, value in message.fields[start:]:
        if tag in members:
            found.append((tag, value))
        elif tag < USER_DEFINED:
            break
    return found


def parties_in(message: Message, own: Version, version: Version, msg_type: str) -> Fields:
    """Return the parties of a message of version `own` for a report (8, 9) of another version.

    There are none where that version's report cannot have them.
    """
    if msg_type == "9" and Version.FIX42 < version < Version.FIX50SP2:
        return []
    parties = parties_of(message, own)
    text = joined(parties)
    first, last = versions_with(text, own)
    return parties if len(text) <= PARTIES_MAX and first <= version <= last else []


def _members(group: Group) -> Iterator[int]:
    yield from group.members
    for nested in group.groups.values():
        yield from _members(nested)


@lru_cache(4096)
def versions_with(parties: bytes, version: Version) -> tuple[Version, Version]:
    """Return the first and the last of the versions around one whose reports may carry parties.

    Where not even that version may (a lenient session took what FIX does not have), the first is
    above the last.
    """
    if not parties:
        return Version.FIX40, Version.FIX50SP2
    if not _may_carry(parties, version):
        return Version.FIX50SP2, Version.FIX40
    first = last = version
    while first > Version.FIX40 and _may_carry(parties, Version(first - 1)):
        first = Version(first - 1)
    while last < Version.FIX50SP2 and _may_carry(parties, Version(last + 1)):
        last = Version(last + 1)
    return first, last


def _may_carry(parties: bytes, version: Version) -> bool:
    fields = []
    for part in parties.split(b"\x01")[:-1]:
        tag, _, value = part.partition(b"=")
        fields.append((int(tag), value))
    report = Message("8", [(8, b""), (9, b""), (35, b"8"), *fields, (10, b"")])
    problem = validate(report, dictionary(version))
    # What else a report must have is not here; a group's own required fields come before that.
    return problem is None or (
        problem.reason == SessionRejectReason.REQUIRED_TAG_MISSING
        and problem.ref_tag in dictionary(version).header_required
    )

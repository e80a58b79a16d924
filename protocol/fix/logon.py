"""What makes a Logon acceptable, and what an own one holds: functions without state."""

import hashlib
import hmac
from dataclasses import dataclass, field

from openoutcry.protocol.fix.dictionary import Dictionary
from openoutcry.protocol.fix.enums import SessionStatus
from openoutcry.protocol.fix.message import Message, Problem
from openoutcry.protocol.fix.session_config import Role, SessionConfig, SessionState

_YES = b"Y"
_PASSWORD = 554

# Fields whose fault is told with a Logout, in place of a silent close.
_TAGS_WITH_REASON = frozenset({98, 108, 141, 383, 464, 789, 1137})


def as_int(value: bytes | None) -> int | None:
    """Return a FIX int, or None where the field is absent or no number."""
    if value is None or not value.removeprefix(b"-").isdigit() or len(value) > 18:
        return None
    return int(value)


def too_low_text(expected: int, received: int) -> str:
    """Return the Text(58) of the Logout that answers a MsgSeqNum below Expected."""
    return f"MsgSeqNum too low, expecting {expected} but received {received}"


def is_told(problem: Problem) -> bool:
    """Whether what is wrong with a Logon is worth a Logout that says it."""
    return problem.ref_tag in _TAGS_WITH_REASON


def logon_objection(config: SessionConfig, state: SessionState, logon: Message) -> str:
    """Return why a well-formed Logon of an authenticated peer is refused, or an empty text."""
    is_acceptor = config.role is Role.ACCEPTOR
    is_reset = logon.get(141) == _YES
    if logon.get(98) != b"0":
        return "EncryptMethod(98) must be 0"
    heartbeat_s = as_int(logon.get(108))
    if heartbeat_s is None or heartbeat_s < 0:
        return "HeartBtInt(108) must be 0 or more"
    if is_acceptor and not config.min_heartbeat_s <= heartbeat_s <= config.max_heartbeat_s:
        limits = f"{config.min_heartbeat_s} and {config.max_heartbeat_s}"
        return f"HeartBtInt(108) must be between {limits} seconds"
    if config.is_test is True and logon.get(464) == b"N":
        return "This is a test session: TestMessageIndicator(464) must not be N"
    if config.is_test is False and logon.get(464) == _YES:
        return "This is a production session: TestMessageIndicator(464) must not be Y"
    if config.version.is_fixt and logon.get(1137) != config.version.appl_ver_id:
        return f"DefaultApplVerID(1137) must be {config.version.appl_ver_id.decode()}"
    smallest = max(config.largest_sent, 1)
    if logon.get(383) and (as_int(logon.get(383)) or 0) < smallest:
        return f"MaxMessageSize(383) must be at least {smallest}"
    return _number_objection(config, state, logon, is_reset=is_reset)


def _number_objection(
    config: SessionConfig, state: SessionState, logon: Message, *, is_reset: bool
) -> str:
    number = as_int(logon.get(34)) or 0
    is_acceptor = config.role is Role.ACCEPTOR
    if is_reset:
        if is_acceptor and not config.is_reset_allowed:
            return "ResetSeqNumFlag(141)=Y is not allowed on this session"
        if number != 1:
            return "ResetSeqNumFlag(141)=Y needs MsgSeqNum(34)=1"
    elif number < state.next_in:
        return too_low_text(state.next_in, number)
    next_out = 1 if is_reset and is_acceptor else state.next_out
    peer_awaits = logon.get(789)
    if peer_awaits and not 1 <= (as_int(peer_awaits) or 0) <= next_out:
        return (
            f"NextExpectedMsgSeqNum(789) must be between 1 and {next_out}, "
            f"but is {peer_awaits.decode('latin-1')}"
        )
    return ""


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who a Logon says to come from; None stands for an absent field."""

    username: bytes | None
    password: bytes | None = field(repr=False)
    new_password: bytes | None = field(repr=False)


def credentials_of(logon: Message, facts: Dictionary) -> Credentials:
    """Return the credentials of a Logon: before FIX 4.3 RawData(96) is the password."""
    tag = _PASSWORD if _has_password(facts) else 96
    return Credentials(logon.get(553), logon.get(tag), logon.get(925))


def _has_password(facts: Dictionary) -> bool:
    return _PASSWORD in facts.messages["A"].allowed


def judge_credentials(config: SessionConfig, given: Credentials) -> SessionStatus:
    """Return how the peer stands: from INVALID_CREDENTIALS on it is refused."""
    if config.authenticate is not None:
        verdict = config.authenticate(given.username, given.password)
        if isinstance(verdict, SessionStatus):
            return verdict
        return SessionStatus.ACTIVE if verdict else SessionStatus.INVALID_CREDENTIALS
    # Both are compared, whatever the first says.
    is_user = config.username is None or _is_same(config.username, given.username)
    is_password = config.password is None or _is_same(config.password, given.password)
    is_right = is_user & is_password
    return SessionStatus.ACTIVE if is_right else SessionStatus.INVALID_CREDENTIALS


def _is_same(ours: str, theirs: bytes | None) -> bool:
    """Compare so that the time taken tells neither where the two differ nor how long they are."""
    digests = (hashlib.sha256(x).digest() for x in (ours.encode(), theirs or b""))
    return hmac.compare_digest(*digests) and theirs is not None


def logon_fields(
    config: SessionConfig,
    state: SessionState,
    facts: Dictionary,
    heartbeat_s: int,
    *,
    is_reset: bool,
    status: SessionStatus = SessionStatus.ACTIVE,
    asked_by: Message | None = None,
) -> list[tuple[int, bytes]]:
    """Return the body of a Logon of our own, or of the answer to the Logon `asked_by`.

    It may hold fields that the version does not have.
    """

    def is_due(tag: int, *, is_wanted: bool) -> bool:
        return is_wanted if asked_by is None else bool(asked_by.get(tag))

    fields = [(98, b"0"), (108, b"%d" % heartbeat_s), (1137, config.version.appl_ver_id)]
    if is_reset:
        fields.append((141, _YES))
    if is_due(789, is_wanted=config.use_next_expected):
        # With a reset asked for, the peer's numbers begin at 1, whatever we expected so far.
        awaited = 1 if is_reset and asked_by is None else state.next_in
        fields.append((789, b"%d" % awaited))
    if config.max_message_size and is_due(383, is_wanted=True):
        fields.append((383, b"%d" % config.max_message_size))
    if config.is_test is not None and is_due(464, is_wanted=True):
        fields.append((464, _YES if config.is_test else b"N"))
    if config.role is Role.INITIATOR:
        fields += _own_credentials(config, facts)
    if status:
        fields.append((1409, b"%d" % status))
    return fields


def _own_credentials(config: SessionConfig, facts: Dictionary) -> list[tuple[int, bytes]]:
    if not _has_password(facts):
        raw = (config.password or "").encode()
        return [(95, b"%d" % len(raw)), (96, raw)] if raw else []
    texts = ((553, config.username), (_PASSWORD, config.password), (925, config.new_password))
    return [(tag, text.encode()) for tag, text in texts if text is not None]

"""What makes a Logon acceptable, and what an own one holds: functions without state."""

import hashlib
import hmac

from openoutcry.protocol.fix.message import Message
from openoutcry.protocol.fix.session_config import Role, SessionConfig, SessionState

_YES = b"Y"

#: Fields judged by `logon_objection`, with a Logout that says why, in place of a silent close.
TAGS_WITH_REASON = frozenset({98, 108, 141, 383, 464, 789, 1137})


def as_int(value: bytes | None) -> int | None:
    """Return a FIX int, or None where the field is absent or no number."""
    if value is None or not value.removeprefix(b"-").isdigit() or len(value) > 18:
        return None
    return int(value)


def too_low_text(expected: int, received: int) -> str:
    """Return the Text(58) of the Logout that answers a MsgSeqNum below Expected."""
    return f"MsgSeqNum too low, expecting {expected} but received {received}"


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
    if logon.get(383) is not None and (as_int(logon.get(383)) or 0) < smallest:
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
    if peer_awaits is not None and not 1 <= (as_int(peer_awaits) or 0) <= next_out:
        return (
            f"NextExpectedMsgSeqNum(789) must be between 1 and {next_out}, "
            f"but is {peer_awaits.decode('latin-1')}"
        )
    return ""


def is_authentic(config: SessionConfig, logon: Message) -> bool:
    """Return whether Username(553) and Password(554) are right."""
    username, password = logon.get(553), logon.get(554)
    if config.authenticate is not None:
        return config.authenticate(username, password)
    # Both are compared, whatever the first says.
    is_user = config.username is None or _is_same(config.username, username)
    is_password = config.password is None or _is_same(config.password, password)
    return is_user & is_password


def _is_same(ours: str, theirs: bytes | None) -> bool:
    """Compare so that the time taken tells neither where the two differ nor how long they are."""
    digests = (hashlib.sha256(x).digest() for x in (ours.encode(), theirs or b""))
    return hmac.compare_digest(*digests) and theirs is not None


def logon_fields(
    config: SessionConfig,
    state: SessionState,
    heartbeat_s: int,
    *,
    is_reset: bool,
    asked_by: Message | None = None,
) -> list[tuple[int, bytes]]:
    """Return the body of a Logon of our own, or of the answer to the Logon `asked_by`."""

    def is_due(tag: int, *, is_wanted: bool) -> bool:
        return is_wanted if asked_by is None else asked_by.get(tag) is not None

    fields = [(98, b"0"), (108, b"%d" % heartbeat_s)]
    if config.version.is_fixt:
        fields.append((1137, config.version.appl_ver_id))
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
        credentials = ((553, config.username), (554, config.password))
        fields.extend((tag, text.encode()) for tag, text in credentials if text is not None)
    return fields

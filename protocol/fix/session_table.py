"""The states of a FIX session's connection and the transitions between them, as one table.

Everything that decides which state follows which lives in this file. Sequence gaps and running
resends are not states: they come and go while the session is ACTIVE, and `session.py` keeps them.
"""

from enum import Enum


class State(Enum):
    """Where the connection stands."""

    #: No connection. Sequence numbers and stored messages live on.
    DISCONNECTED = "disconnected"
    #: Acceptor: connected, the peer's Logon is awaited.
    AWAITING_LOGON = "awaiting logon"
    #: Initiator: our Logon is sent, the peer's is awaited.
    LOGON_SENT = "logon sent"
    #: Logged on.
    ACTIVE = "active"
    #: Our Logout is sent, the peer's is awaited; a ResendRequest is still served.
    LOGOUT_SENT = "logout sent"
    #: All is said; the owner has been told to close. Nothing is read any more.
    CLOSING = "closing"


class Trigger(Enum):
    """What moves the connection from one state to another."""

    ACCEPTED = "connection accepted"
    LOGON_SENT = "our Logon sent"
    LOGON_AGREED = "both Logons exchanged"
    LOGOUT_SENT = "our Logout sent first"
    FINISHED = "Logout answered, refused, timed out, or fatal error"
    CONNECTION_LOST = "connection lost or closed"


#: state → trigger → next state; a pair that is not here is a bug of the caller.
TRANSITIONS: dict[State, dict[Trigger, State]] = {
    State.DISCONNECTED: {
        Trigger.ACCEPTED: State.AWAITING_LOGON,
        Trigger.LOGON_SENT: State.LOGON_SENT,
        Trigger.CONNECTION_LOST: State.DISCONNECTED,
    },
    State.AWAITING_LOGON: {
        Trigger.LOGON_AGREED: State.ACTIVE,
        Trigger.FINISHED: State.CLOSING,
        Trigger.CONNECTION_LOST: State.DISCONNECTED,
    },
    State.LOGON_SENT: {
        Trigger.LOGON_AGREED: State.ACTIVE,
        Trigger.LOGOUT_SENT: State.LOGOUT_SENT,
        Trigger.FINISHED: State.CLOSING,
        Trigger.CONNECTION_LOST: State.DISCONNECTED,
    },
    State.ACTIVE: {
        Trigger.LOGOUT_SENT: State.LOGOUT_SENT,
        Trigger.FINISHED: State.CLOSING,
        Trigger.CONNECTION_LOST: State.DISCONNECTED,
    },
    State.LOGOUT_SENT: {
        Trigger.FINISHED: State.CLOSING,
        Trigger.CONNECTION_LOST: State.DISCONNECTED,
    },
    State.CLOSING: {
        Trigger.FINISHED: State.CLOSING,
        Trigger.CONNECTION_LOST: State.DISCONNECTED,
    },
}


class LocalProtocolError(Exception):
    """The owner of the session asked for what its state does not allow: our bug, not the peer's."""


def next_state(state: State, trigger: Trigger) -> State:
    """Return the state that follows.

    Raises:
        LocalProtocolError: The table has no such transition.
    """
    try:
        return TRANSITIONS[state][trigger]
    except KeyError:
        raise LocalProtocolError(f"{trigger.value}: not possible while {state.value}") from None

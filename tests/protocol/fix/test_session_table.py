"""The state table: total where it must be, and without dead ends."""

import pytest

from openoutcry.protocol.fix.session_table import (
    TRANSITIONS,
    LocalProtocolError,
    State,
    Trigger,
    next_state,
)


def test_every_state_has_a_row() -> None:
    assert set(TRANSITIONS) == set(State)


def test_every_state_can_be_reached() -> None:
    reached = {State.DISCONNECTED}
    for _ in State:
        reached |= {after for state in reached for after in TRANSITIONS[state].values()}
    assert reached == set(State)


@pytest.mark.parametrize("state", list(State))
def test_a_lost_connection_is_possible_anywhere(state: State) -> None:
    assert next_state(state, Trigger.CONNECTION_LOST) is State.DISCONNECTED


def test_what_is_not_in_the_table_is_our_bug() -> None:
    with pytest.raises(LocalProtocolError, match="both Logons exchanged: not possible while closi"):
        next_state(State.CLOSING, Trigger.LOGON_AGREED)

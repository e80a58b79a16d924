"""Throttles: the kernel and Python count in the same words, and as plainly written here."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fix import frame

from openoutcry.protocol.fix.message import Message, parse
from openoutcry.server.session_settings import Throttle
from openoutcry.server.sessions import SESSION_ROW
from openoutcry.server.throttle import HOLDING, Admission, SessionThrottle, has_budget

PASS, HELD, REFUSED, LAST = Admission.PASS, Admission.HELD, Admission.REFUSED, Admission.LAST


def message(msg_type: str, name: str = "x") -> Message:
    return parse(frame(f"35={msg_type}|49=A|56=B|34=2|52=20260101-00:00:00|11={name}|"))


def make(**settings: Any) -> tuple[SessionThrottle, Any]:
    rows = np.zeros(3, SESSION_ROW)
    return SessionThrottle(Throttle(**settings), rows, 1), rows


def kernel_takes(rows: Any, now_ms: int) -> bool:
    """Do what the inbound kernel does with an order."""
    if rows[1]["throttle_limit"] < 0 or not has_budget(rows, 1, now_ms):
        return False
    rows[1]["throttle_taken"] += 1
    return True


@given(
    st.integers(1, 5),
    st.integers(1, 50),
    st.lists(st.tuples(st.integers(0, 30), st.booleans(), st.sampled_from("DGFH")), max_size=60),
    st.integers(0, 10**13),
)
def test_kernel_and_python_count_alike(
    limit: int, interval_ms: int, steps: list[tuple[int, bool, str]], now_ms: int
):
    throttle, rows = make(messages=limit, interval_ms=interval_ms)
    taken: dict[int, int] = {}
    for wait_ms, is_kernel, msg_type in steps:
        now_ms += wait_ms
        window = now_ms // interval_ms
        is_counted = msg_type in "DG"
        passes = not is_counted or taken.get(window, 0) < limit
        if is_counted and passes:
            taken[window] = taken.get(window, 0) + 1
        if is_kernel:
            assert not is_counted or kernel_takes(rows, now_ms) == passes
        else:
            expected = PASS if passes else REFUSED
            assert throttle.admit(message(msg_type), now_ms) is expected
    assert rows[[0, 2]].tobytes() == np.zeros(2, SESSION_ROW).tobytes()


def test_a_clock_that_is_set_back_begins_a_window():
    throttle, rows = make(messages=1)
    assert throttle.admit(message("D"), 5000) is PASS
    assert throttle.admit(message("D"), 5999) is REFUSED
    assert throttle.admit(message("D"), 1000) is PASS
    assert not kernel_takes(rows, 1001)


def test_repeat_offenders_are_logged_out_by_what_they_sent_in_one_interval():
    throttle, _ = make(messages=1, logout_after=2)
    found = [throttle.admit(message("D"), now) for now in (0, 1, 1000, 1001, 1002, 1003, 2000)]
    assert found == [PASS, REFUSED, PASS, REFUSED, LAST, LAST, PASS]


def test_the_first_one_too_many_may_end_the_session():
    throttle, _ = make(messages=1, action="disconnect")
    assert [throttle.admit(message(kind), 0) for kind in "DFD"] == [PASS, PASS, LAST]


def test_what_is_held_goes_in_order_and_nothing_overtakes_it():
    throttle, rows = make(messages=2, action="queue")
    sent = [message(kind, str(n)) for n, kind in enumerate("DGDFDDH")]
    found = [throttle.admit(each, 0) for each in sent]
    assert found == [PASS, PASS, HELD, HELD, HELD, HELD, HELD]
    assert rows[1]["throttle_limit"] == HOLDING
    assert not kernel_takes(rows, 0)
    assert throttle.ms_to_next_window(1) == 999
    assert throttle.release(999) is None
    released = [throttle.release(1000) for _ in range(4)]
    # The cancel passes with the first window: it is behind one order only.
    assert [each and each.get(11) for each in released] == [b"2", b"3", b"4", None]
    assert throttle.admit(message("F", "7"), 1500) is HELD
    rest = [throttle.release(2000) for _ in range(4)]
    assert [each and each.get(11) for each in rest] == [b"5", b"6", b"7", None]
    assert rows[1]["throttle_limit"] == 2
    assert kernel_takes(rows, 2000)
    assert throttle.admit(message("D"), 2000) is HELD


@pytest.mark.parametrize(
    ("action", "inst", "expected"),
    [
        ("reject", "0", REFUSED),
        ("reject", "1", HELD),
        ("queue", "0", REFUSED),
        ("queue", "1", HELD),
        ("disconnect", "1", LAST),
    ],
)
def test_an_order_may_say_what_becomes_of_it(action: Any, inst: str, expected: Admission):
    throttle, _ = make(messages=1, action=action)
    text = f"35=D|49=A|56=B|34=2|52=20260101-00:00:00|1685={inst}|11=x|"
    order = parse(frame(text))
    assert [throttle.admit(order, 0) for _ in range(2)] == [PASS, expected]


def test_the_queue_is_bounded():
    throttle, _ = make(messages=1, action="queue", queue_messages=2)
    found = [throttle.admit(message("D"), 0) for _ in range(5)]
    assert found == [PASS, HELD, HELD, REFUSED, REFUSED]


def test_what_is_held_can_be_given_up():
    throttle, rows = make(messages=1, action="queue")
    for name in "abc":
        throttle.admit(message("D", name), 0)
    assert [each.get(11) for each in throttle.discard()] == [b"b", b"c"]
    assert throttle.release(5000) is None
    assert rows[1]["throttle_limit"] == 1


@pytest.mark.parametrize(
    ("interval_ms", "text"),
    [
        (1000, "Throttle limit exceeded: 7 orders in 1 s"),
        (60_000, "Throttle limit exceeded: 7 orders in 60 s"),
        (250, "Throttle limit exceeded: 7 orders in 250 ms"),
    ],
)
def test_the_text_names_the_limit(interval_ms: int, text: str):
    throttle, _ = make(messages=7, interval_ms=interval_ms)
    assert throttle.text == text

"""How many orders and replaces a session may send in each interval.

Windows are fixed: they begin at the multiples of the interval since 1970. The inbound kernel
counts what it takes; what is beyond the budget it leaves to Python, which refuses it, holds it for
the next windows, or ends the session. Cancels and status requests are never counted, nor are
administrative messages; while messages are held, later application messages wait behind them, so
that no cancel overtakes its order.
"""

from collections import deque
from enum import Enum, auto
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openoutcry.config.jit import inline_kernel
from openoutcry.protocol.fix.message import Message
from openoutcry.server.session_settings import Throttle

#: MsgTypes(35) that count.
COUNTED = frozenset("DG")
#: `throttle_limit` of a session that has messages waiting: the kernel takes nothing then.
HOLDING = -1


@inline_kernel
def has_budget(sessions: NDArray[Any], session: int, now_ms: int) -> bool:
    """Tell whether a throttled session may send one more message; begin a new window if due."""
    interval = sessions[session]["throttle_interval_ms"]
    window = now_ms - now_ms % interval
    if window != sessions[session]["throttle_window_ms"]:
        sessions[session]["throttle_window_ms"] = window
        sessions[session]["throttle_taken"] = 0
    return bool(sessions[session]["throttle_taken"] < sessions[session]["throttle_limit"])


class Admission(Enum):
    """What becomes of an application message."""

    PASS = auto()
    #: It waits; `SessionThrottle.release` gives it back.
    HELD = auto()
    REFUSED = auto()
    #: Refused, and the session ends.
    LAST = auto()


class SessionThrottle:
    """A session's throttle, in Python's part of the order path.

    Args:
        settings: what the configuration says.
        rows: the session rows; the kernel counts in the same words.
        session: the session's number.
    """

    def __init__(self, settings: Throttle, rows: NDArray[Any], session: int) -> None:
        self.settings = settings
        self.held: deque[Message] = deque()
        self._row = rows[session]
        self._refused = 0
        self._refused_window_ms = 0
        self._row["throttle_limit"] = settings.messages
        self._row["throttle_interval_ms"] = settings.interval_ms
        # No time, so that the first message begins a window.
        self._row["throttle_window_ms"] = np.iinfo(np.int64).min

    @property
    def text(self) -> str:
        """The limit in words."""
        interval = self.settings.interval_ms
        span = f"{interval} ms" if interval % 1000 else f"{interval // 1000} s"
        return f"Throttle limit exceeded: {self.settings.messages} orders in {span}"

    def admit(self, message: Message, now_ms: int) -> Admission:
        """Judge a message, and count it where it passes or is refused."""
        if self.held:
            return self._hold(message)
        if message.msg_type not in COUNTED or self._take(now_ms):
            return Admission.PASS
        action = self._action(message)
        if action == "queue":
            return self._hold(message)
        window = self._window(now_ms)
        if window != self._refused_window_ms:
            self._refused_window_ms = window
            self._refused = 0
        self._refused += 1
        limit = self.settings.logout_after
        is_last = action == "disconnect" or (limit is not None and self._refused >= limit)
        return Admission.LAST if is_last else Admission.REFUSED

    def release(self, now_ms: int) -> Message | None:
        """Return the next held message whose turn has come, or None."""
        if not self.held or (self.held[0].msg_type in COUNTED and not self._take(now_ms)):
            return None
        message = self.held.popleft()
        if not self.held:
            self._row["throttle_limit"] = self.settings.messages
        return message

    def discard(self) -> list[Message]:
        """Give up what is held; return it."""
        held = list(self.held)
        self.held.clear()
        self._row["throttle_limit"] = self.settings.messages
        return held

    def ms_to_next_window(self, now_ms: int) -> int:
        """Return how long it is until the next window begins."""
        return self.settings.interval_ms - now_ms % self.settings.interval_ms

    def _action(self, message: Message) -> str:
        """Return what is done with a message above the limit: ThrottleInst(1685) may choose."""
        action = self.settings.action
        if action == "disconnect":
            return action
        return {b"0": "reject", b"1": "queue"}.get(message.get(1685) or b"", action)

    def _hold(self, message: Message) -> Admission:
        if len(self.held) >= self.settings.queue_messages:
            return Admission.REFUSED
        self.held.append(message)
        self._row["throttle_limit"] = HOLDING
        return Admission.HELD

    def _window(self, now_ms: int) -> int:
        return now_ms - now_ms % self.settings.interval_ms

    def _take(self, now_ms: int) -> bool:
        window = self._window(now_ms)
        if window != self._row["throttle_window_ms"]:
            self._row["throttle_window_ms"] = window
            self._row["throttle_taken"] = 0
        if self._row["throttle_taken"] >= self.settings.messages:
            return False
        self._row["throttle_taken"] += 1
        return True

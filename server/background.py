"""Work beside matching: steps on a thread that takes only the time that nobody else wants."""

import contextlib
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

#: How often the waiting thread tells that the process lives.
_BEAT_S = 0.2
#: A step that takes longer is taken for hung: the beats end, and the supervisor steps in.
STEP_LIMIT_S = 600.0
_NICE = 19


def take_leftovers_only() -> None:
    """Give the calling thread the lowest claim on a core that lets it still get on.

    Not SCHED_IDLE, which gets nothing at all on busy cores: whoever waits for a lock of the file
    system that such a thread holds waits with it.
    """
    with contextlib.suppress(AttributeError, OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
    with contextlib.suppress(AttributeError, OSError):
        # Takes the core from nobody by waking up.
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


class Background:
    """Runs one step after another while the calling thread beats.

    A thread that has given its priority away cannot take it back without privileges. So there are
    two: steps run on the humble one, and on the ordinary one while `is_raised`.
    """

    def __init__(self, beat: Callable[[], None]) -> None:
        self.is_raised = False
        self._beat = beat
        self._humble = ThreadPoolExecutor(1, "humble", initializer=take_leftovers_only)
        self._ordinary = ThreadPoolExecutor(1, "ordinary")

    def run(self, step: Callable[[], T]) -> T:
        """Run a step to its end; return or raise what it does."""
        pool = self._ordinary if self.is_raised else self._humble
        future: Future[T] = pool.submit(step)
        deadline = time.monotonic() + STEP_LIMIT_S
        while True:
            try:
                return future.result(_BEAT_S)
            except TimeoutError:
                if future.done():
                    # The step's own: it ran into a time-out of something else.
                    return future.result()
                if time.monotonic() < deadline:
                    self._beat()

    def close(self) -> None:
        """End the threads."""
        self._humble.shutdown()
        self._ordinary.shutdown()

"""The supervisor's processes: each forked, watched and, when it ends or hangs, started again alone.

A process counts as hung when its heartbeat stands still for `supervision.hang_s`. That time is
measured by the supervisor's own looks: when it was stopped or got no core itself, the measurement
begins anew, and time that a process spent waiting for a core does not count. A process is replaced
only after its end was awaited: a hung one may still hold what the next one needs.
"""

import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openoutcry.engine.state import ProcessStatus
from openoutcry.server.config import Supervision
from openoutcry.server.process import StopFlag, wait_until
from openoutcry.server.processes import ProcessState, ProcessWord, clear_reason, write_reason

log = logging.getLogger(__name__)

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
#: A life of this length was a good one: the next restart is immediate again.
GOOD_LIFE_S = 60.0
#: A supervisor that did not look for this long knows nothing of the time between.
_GAP_S = 1.0
#: A process may take this long until its heartbeat first moves, whatever `hang_s` is.
_FIRST_BEAT_S = 30.0
#: Between two looks of somebody who waits for an end.
_END_LOOK_S = 0.005

_STATES = {
    ProcessStatus.STARTING: ProcessState.STARTING,
    ProcessStatus.RECOVERING: ProcessState.RECOVERING,
    ProcessStatus.RUNNING: ProcessState.RUNNING,
    ProcessStatus.STOPPED: ProcessState.STOPPED,
    # It is about to exit.
    ProcessStatus.FAILED: ProcessState.STARTING,
}


@dataclass(eq=False)
class Words:
    """Where a process tells of itself: its heartbeat and, unless it has none, its status."""

    heartbeat: NDArray[np.int64]
    status: NDArray[np.int64] | None = None


@dataclass(eq=False)
class Child:
    """A process of the venue.

    Attributes:
        name: as in logs and metrics.
        body: what it does, in the fork.
        row: its row of shared memory, see `server.processes`.
        words: its own words.
        prepare: what is to be done before each fork.
        ends_by_signal: SIGTERM ends it; the others are told by their stop words.
        pid: 0 while there is no process.
        restart_at: when it is started again (monotonic), None: not at all.
        down_since: when it last stopped doing its work (monotonic), 0: it never did any.
    """

    name: str
    body: Callable[[], None]
    row: NDArray[np.int64]
    words: Words
    prepare: Callable[[], None] = lambda: None
    ends_by_signal: bool = False
    pid: int = 0
    restart_at: float | None = None
    down_since: float = 0.0
    started_at: float = 0.0
    is_killed: bool = False
    _failures: int = 0
    _beat: int = -1
    _has_beaten: bool = False
    _still_since: float = 0.0
    _waited_ns: int = 0

    @property
    def state(self) -> ProcessState:
        """How it stands."""
        if self.pid == 0:
            return ProcessState.STOPPED if self.restart_at is None else ProcessState.DOWN
        if self.is_killed:
            return ProcessState.DOWN
        if self.words.status is None:
            return ProcessState.RUNNING
        return _STATES[ProcessStatus(int(self.words.status[0]))]

    @property
    def is_running(self) -> bool:
        """Whether it does its work."""
        return self.state == ProcessState.RUNNING

    def note_start(self, now: float) -> None:
        """A process was forked."""
        self.restart_at = None
        self.is_killed = self._has_beaten = False
        self.started_at = self._still_since = now
        self._beat = int(self.words.heartbeat[0])
        self._waited_ns = 0

    def note_end(self, now: float, restart_max_s: int) -> float:
        """The process ended; return after which pause it is started again."""
        if now - self.started_at >= GOOD_LIFE_S:
            self._failures = 0
        # 0, 1, 2, 4 … seconds: a crash loop must not take a core.
        pause_s = min(1 << min(self._failures - 1, 20), restart_max_s) if self._failures else 0
        self._failures += 1
        self.pid = 0
        self.restart_at = now + pause_s
        return pause_s

    def has_beaten(self, now: float, *, is_anew: bool) -> bool:
        """Look at the heartbeat; tell whether it moved, or the measurement begins anew."""
        beat = int(self.words.heartbeat[0])
        if beat == self._beat and not is_anew:
            return False
        self._has_beaten |= beat != self._beat
        self._beat = beat
        self._still_since = now
        self._waited_ns = 0
        return True

    def is_hung(self, now: float, hang_s: float) -> bool:
        """Tell whether the heartbeat stands still for too long."""
        limit = hang_s if self._has_beaten else max(hang_s, _FIRST_BEAT_S)
        still_s = now - self._still_since
        if self._waited_ns == 0 and still_s >= limit / 2:
            # From here on it counts what it waits for a core.
            self._waited_ns = waited_ns(self.pid)
        if still_s < limit:
            return False
        return still_s - (waited_ns(self.pid) - self._waited_ns) / 1e9 >= limit


def waited_ns(pid: int) -> int:
    """Return how long a process was ready to run and had no core, 0 where /proc does not tell."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1])
    return 0


@dataclass(eq=False)
class Children:
    """All processes of a venue.

    Attributes:
        settings: when one is taken for hung, and the longest pause before a restart.
        folder: where processes leave why they fail.
        stop: while it is set nothing is started again.
        leave: what a fork gives up of the supervisor's.
        is_fatal: whether a process's end is the venue's.
        failed: name of the process whose end was the venue's, "" while there is none.
    """

    settings: Supervision
    folder: Path
    stop: StopFlag
    leave: Callable[[], None]
    is_fatal: Callable[[Child], bool] = lambda child: False
    members: list[Child] = field(default_factory=list)
    failed: str = ""
    _looked_at: float = 0.0

    def add(self, child: Child) -> None:
        """Start a process."""
        self.members.append(child)
        self._fork(child)

    def find(self, prefix: str) -> list[Child]:
        """Return those whose names begin so."""
        return [child for child in self.members if child.name.startswith(prefix)]

    # --- watching ---------------------------------------------------------------------------------

    def look(self) -> None:
        """Reap those that ended, kill those that hang, start those that are due; tell of all."""
        now = time.monotonic()
        is_anew = now - self._looked_at > _GAP_S
        self._looked_at = now
        for child in self.members:
            if child.pid:
                self._reap(child)
            if child.pid and not child.is_killed and not self.stop.is_set:
                self._check(child, now, is_anew=is_anew)
            if child.restart_at is not None and now >= child.restart_at and not self.stop.is_set:
                child.row[ProcessWord.RESTARTS] += 1
                self._fork(child)
            self._tell(child)

    def _reap(self, child: Child) -> None:
        pid, status = os.waitpid(child.pid, os.WNOHANG)
        if pid == 0:
            return
        code = os.waitstatus_to_exitcode(status)
        child.row[ProcessWord.EXIT_STATUS] = code
        if child.words.status is not None and child.words.status[0] != ProcessStatus.STOPPED:
            # A killed one could not say so itself.
            child.words.status[0] = ProcessStatus.FAILED
        pause_s = child.note_end(time.monotonic(), self.settings.restart_max_s)
        if self.stop.is_set:
            child.restart_at = None
        elif self.is_fatal(child):
            child.restart_at = None
            self.failed = self.failed or child.name
            log.critical("process ended, the venue stops: name=%s status=%d", child.name, code)
        else:
            log.error(
                "process ended, restarting: name=%s status=%d in_s=%d", child.name, code, pause_s
            )

    def _check(self, child: Child, now: float, *, is_anew: bool) -> None:
        if child.has_beaten(now, is_anew=is_anew):
            return
        if child.is_hung(now, self.settings.hang_s):
            log.error("process hangs, killing it: name=%s pid=%d", child.name, child.pid)
            child.is_killed = True
            os.kill(child.pid, signal.SIGKILL)

    def _tell(self, child: Child) -> None:
        row, state = child.row, child.state
        has_run = row[ProcessWord.STATE] == ProcessState.RUNNING
        if state == ProcessState.RUNNING and not has_run:
            clear_reason(self.folder, child.name)
        elif state != ProcessState.RUNNING and has_run:
            # Not at each end: one that fails again and again is down all the while.
            child.down_since = time.monotonic()
        row[ProcessWord.PID] = child.pid
        row[ProcessWord.NEXT_TRY_NS] = int((child.restart_at or 0) * 1e9)
        row[ProcessWord.STATE] = state

    # --- starting ---------------------------------------------------------------------------------

    def _fork(self, child: Child) -> None:
        child.prepare()
        if child.words.status is not None:
            child.words.status[0] = ProcessStatus.STARTING
        child.note_start(time.monotonic())
        sys.stdout.flush()
        sys.stderr.flush()
        # Our handlers would swallow in the child what arrives before it has its own.
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        child.pid = os.fork()
        if child.pid == 0:
            self._be(child)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
        self._tell(child)

    def _be(self, child: Child) -> None:
        """Be a process, until its end."""
        code = 1
        try:
            for number in STOP_SIGNALS:
                signal.signal(number, signal.SIG_DFL if child.ends_by_signal else signal.SIG_IGN)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
            signal.set_wakeup_fd(-1)
            self.leave()
            child.body()
            code = 0
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 1
            if error.__cause__ is not None:
                write_reason(self.folder, child.name, str(error.__cause__))
        except BaseException as error:
            log.exception("process failed: name=%s", child.name)
            write_reason(self.folder, child.name, f"{type(error).__name__}: {error}")
        finally:
            sys.stderr.flush()
            os._exit(code)

    # --- ending -----------------------------------------------------------------------------------

    def end(self, prefix: str, timeout_s: float, *, while_beating_s: float = 0.0) -> None:
        """Wait for the end of those whose names begin so; kill what does not end in time.

        `while_beating_s`: how long to wait for one whose heartbeat moves.
        """
        chosen = self.find(prefix)
        latest = time.monotonic() + max(timeout_s, while_beating_s)
        still: dict[Child, tuple[int, float]] = {}

        def is_over(child: Child) -> bool:
            now = time.monotonic()
            beat = int(child.words.heartbeat[0])
            last, since = still.setdefault(child, (beat, now))
            if beat != last and while_beating_s:
                still[child] = (beat, now)
                since = now
            return now - since > timeout_s or now > latest

        def are_done() -> bool:
            self.look()
            return all(child.pid == 0 or is_over(child) for child in chosen)

        wait_until(are_done, max(timeout_s, while_beating_s) + 1, _END_LOOK_S)
        for child in chosen:
            if child.pid:
                log.error("process does not stop, killing it: name=%s", child.name)
        self.kill(chosen)

    def kill(self, chosen: list[Child]) -> None:
        """Kill processes, and await their end."""
        for child in chosen:
            if child.pid:
                child.is_killed = True
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child.pid, signal.SIGKILL)

        def are_gone() -> bool:
            self.look()
            return all(child.pid == 0 for child in chosen)

        wait_until(are_gone, 15, _END_LOOK_S)


def word(block: NDArray[Any], number: int) -> NDArray[np.int64]:
    """Return a view of one word."""
    return block[number : number + 1]

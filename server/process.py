"""What every process of the venue does alike: its core, its parent, its signals, its logging."""

import ctypes
import json
import logging
import os
import platform
import signal
import struct
import sys
import time
from collections.abc import Collection
from pathlib import Path
from types import FrameType
from typing import Any

from openoutcry.server.config import Config

log = logging.getLogger(__name__)

_PR_SET_PDEATHSIG = 1
#: Numbers of the system call, by machine.
_SCHED_SETATTR = {"x86_64": 314, "aarch64": 274}
_SHORT_SLICE_NS = 100_000


class _JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as JSON."""
        entry = {
            "time": self.formatTime(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": record.processName,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry)


def set_up_logging(form: str, level: int = logging.INFO) -> None:
    """Log to stderr, as text or as JSON lines."""
    handler = logging.StreamHandler(sys.stderr)
    if form == "json":
        handler.setFormatter(_JsonFormatter())
    else:
        text = "%(asctime)s %(levelname)s %(name)s %(message)s"
        handler.setFormatter(logging.Formatter(text))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)


def pin(core: int | None) -> None:
    """Bind this process to a core; where that is not possible, say so and go on."""
    if core is None:
        return
    if not hasattr(os, "sched_setaffinity"):
        log.warning("cannot pin to a core on this platform: core=%d", core)
        return
    try:
        os.sched_setaffinity(0, {core})
    except OSError as error:
        log.warning("cannot pin: core=%d reason=%s", core, error)


def available_cores() -> list[int]:
    """Return the cores that this process may run on; none where the system does not say."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def shard_cores(config: Config, cores: list[int]) -> list[int | None]:
    """Return each shard's core: as configured, `auto` from the top down, one core left to the
    rest."""
    named = {shard.core for shard in config.shards if isinstance(shard.core, int)}
    free = [core for core in reversed(cores[1:]) if core not in named]
    return [
        (free.pop(0) if free else None) if shard.core == "auto" else shard.core
        for shard in config.shards
    ]


def move_to(cores: Collection[int]) -> None:
    """Have the calling thread run on these cores, not on the one that it inherited; none: stay."""
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)


def take_short_slices() -> None:
    """Have the calling thread get a core soon after it wakes up, for a short while each time.

    For threads that sleep for the disk most of the time and have others wait for them. It claims no
    more of the core than before. Linux 6.12 and newer; elsewhere nothing changes.
    """
    number = _SCHED_SETATTR.get(platform.machine())
    if number is None or not sys.platform.startswith("linux"):
        return
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    # struct sched_attr: size, policy, flags, nice, priority, runtime (the slice), deadline, period,
    # two clamps.
    attributes = struct.pack("<IIQiIQQQII", 56, 0, 0, nice, 0, _SHORT_SLICE_NS, 0, 0, 0, 0)
    ctypes.CDLL(None).syscall(number, 0, attributes, 0)


def keep_off(cores: list[int]) -> None:
    """Leave these cores to others, as long as that leaves any to this process."""
    rest = set(available_cores()) - set(cores)
    if rest:
        os.sched_setaffinity(0, rest)


def die_with_parent(parent: int) -> None:
    """Ask the system to end this process when its parent dies (Linux); see also `is_orphan`."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if is_orphan(parent):
        os._exit(1)


def is_orphan(parent: int) -> bool:
    """Tell whether the parent is gone."""
    return os.getppid() != parent


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; one that has ended and waits for its parent does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return not sys.platform.startswith("linux")
    return stat.rpartition(")")[2].split()[0] not in {"Z", "X"}


class StopFlag:
    """Set by SIGTERM or SIGINT."""

    def __init__(self) -> None:
        self.is_set = False

    def install(self) -> "StopFlag":
        """Listen to the two signals."""
        signal.signal(signal.SIGTERM, self._set)
        signal.signal(signal.SIGINT, self._set)
        return self

    def _set(self, number: int, frame: FrameType | None) -> None:
        self.is_set = True


def process_name(name: str) -> None:
    """Show a name in `ps` and `top` where the system lets us."""
    if sys.platform.startswith("linux"):
        _PR_SET_NAME = 15
        ctypes.CDLL(None).prctl(_PR_SET_NAME, name.encode()[:15], 0, 0, 0)


def wait_until(condition: Any, timeout_s: float, step_s: float = 0.002) -> bool:
    """Wait until a condition holds, at most `timeout_s`; tell whether it does."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(step_s)
    return True

"""What the supervisor tells of the venue's processes: a row of shared memory for each.

The rows stand in the order of `process_names`. The supervisor alone writes them; the exporter and
the control socket read them. Why a process failed is a text, in a file beside the shared memory.
"""

import contextlib
import time
from enum import IntEnum
from pathlib import Path
from typing import Any

from openoutcry.engine.state import ShardWord
from openoutcry.server.memory import VenueMemory, VenueWord

_MAX_REASON = 1000


class ProcessWord(IntEnum):
    """Word numbers in a process's row."""

    STATE = 0
    PID = 1
    RESTARTS = 2
    #: When it is started again (CLOCK_MONOTONIC), 0: at once.
    NEXT_TRY_NS = 3
    #: Of its last end: below 0 the signal that ended it, else what it exited with.
    EXIT_STATUS = 4


class ProcessState(IntEnum):
    """Value of a STATE word."""

    #: This venue has no such process.
    NONE = 0
    STARTING = 1
    RECOVERING = 2
    RUNNING = 3
    #: It ended, and will be started again.
    DOWN = 4
    STOPPED = 5


def process_names(shards: int, gateways: int) -> list[str]:
    """Return the processes' names in the order of their rows."""
    return [
        *(f"shard-{number}" for number in range(shards)),
        *(f"follower-{number}" for number in range(shards)),
        *(f"gateway-{number}" for number in range(gateways)),
        "exporter",
    ]


def names_of(memory: VenueMemory) -> list[str]:
    """Return the names of the processes of a venue."""
    return process_names(memory.shard_count, memory.gateway_count)


def is_ready(memory: VenueMemory | None) -> bool:
    """Return whether the venue serves, and with all that orders need."""
    return memory is not None and bool(memory.venue[VenueWord.SERVES]) and not lacking(memory)


def lacking(memory: VenueMemory) -> list[str]:
    """Return the shards and gateways that do not run."""
    return [
        name
        for name, row in zip(names_of(memory), memory.processes, strict=True)
        if name.startswith(("shard", "gateway"))
        and row[ProcessWord.STATE] not in {ProcessState.NONE, ProcessState.RUNNING}
    ]


def describe(memory: VenueMemory) -> dict[str, Any]:
    """Return whether the venue is ready, and how each process stands, as JSON has it."""
    processes = {}
    for name, row in zip(names_of(memory), memory.processes, strict=True):
        if row[ProcessWord.STATE] != ProcessState.NONE:
            processes[name] = _describe_one(memory, name, [int(word) for word in row])
    down = [name for name, told in processes.items() if told["state"] != "running"]
    return {"ready": is_ready(memory), "down": down, "processes": processes}


def _describe_one(memory: VenueMemory, name: str, row: list[int]) -> dict[str, Any]:
    state = ProcessState(row[ProcessWord.STATE])
    told: dict[str, Any] = {
        "state": state.name.lower(),
        "pid": row[ProcessWord.PID],
        "restarts": row[ProcessWord.RESTARTS],
    }
    if state == ProcessState.DOWN:
        wait_ns = max(row[ProcessWord.NEXT_TRY_NS] - time.monotonic_ns(), 0)
        told["next_try_s"] = round(wait_ns / 1e9, 1)
    if state != ProcessState.RUNNING and row[ProcessWord.RESTARTS] + (state == ProcessState.DOWN):
        told["exit_status"] = row[ProcessWord.EXIT_STATUS]
        told["reason"] = read_reason(memory.path.parent, name)
    if state == ProcessState.RECOVERING and name.startswith("shard"):
        words = memory.shards[int(name.removeprefix("shard-"))]
        told["recovered_seq"] = int(words[ShardWord.RECOVERED_SEQ])
        told["log_bytes"] = int(words[ShardWord.RECOVERY_BYTES])
    return told


def write_reason(folder: Path, name: str, text: str) -> None:
    """Leave why a process fails; called in that process."""
    with contextlib.suppress(OSError):
        (folder / f"{name}.reason").write_text(text[:_MAX_REASON])


def read_reason(folder: Path, name: str) -> str:
    """Return why a process failed, "" where it did not say."""
    with contextlib.suppress(OSError, ValueError):
        return (folder / f"{name}.reason").read_text()
    return ""


def clear_reason(folder: Path, name: str) -> None:
    """Forget why a process failed: it is started again."""
    with contextlib.suppress(OSError):
        (folder / f"{name}.reason").unlink(missing_ok=True)

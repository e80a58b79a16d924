"""Fault points: named places at which a test has a process killed, to see what a restart makes of
it.

They exist in the test build only (`config.jit.IS_TEST_BUILD`); elsewhere `reach` is compiled out. A
process's state block in shared memory has a word a point, from its FAULTS word on: 0 is off, n > 0
kills the process by SIGKILL when it comes by for the n-th time, and the word is then HIT.
"""

import os
import signal
from enum import IntEnum

from numba import types

from openoutcry.config.jit import IS_COMPILED, IS_TEST_BUILD, int64, lean_part
from openoutcry.engine.atomics import load_acquire, store_release

#: What a point's word says once the process was killed there.
HIT = -1


class FaultPoint(IntEnum):
    """The places, by process; the value is the word's number from FAULTS on."""

    # Shard
    AFTER_SEQUENCING = 1
    WITHIN_APPEND = 2
    AFTER_APPEND = 3
    AFTER_MATCHING = 4
    BETWEEN_REPORTS = 5
    AFTER_SYNC = 6
    SEGMENT_CREATED = 7
    SEGMENT_MAPPED = 8
    WITHIN_RECOVERY = 9
    AFTER_RECOVERY = 10
    # Follower
    SNAPSHOT_WRITTEN = 16
    SNAPSHOT_RENAMED = 17
    # Gateway
    BEFORE_INDEX = 32
    AFTER_INDEX = 33
    BEFORE_WRITE = 34
    PARTIAL_WRITE = 35
    BEFORE_EXPECTED = 36
    AFTER_EXPECTED = 37
    GATEWAY_RECOVERY = 38
    GATEWAY_SEGMENT = 39


if IS_COMPILED:
    _kill = types.ExternalFunction("kill", types.int32(types.int32, types.int32))
    _getpid = types.ExternalFunction("getpid", types.int32())
else:

    def _kill(pid: int, number: int) -> None:
        os.kill(pid, number)

    def _getpid() -> int:
        return os.getpid()


_SIGKILL = int(signal.SIGKILL)


@lean_part
def reach(faults: int, point: int) -> None:
    """Die here if a test asks for it; `faults` is the address of the process's FAULTS word."""
    if IS_TEST_BUILD:
        word = faults + point * 8
        left = load_acquire(word)
        if left > 0:
            if left == 1:
                store_release(word, int64(HIT))
                _kill(_getpid(), _SIGKILL)
            store_release(word, left - 1)


def is_due(faults: int, point: FaultPoint) -> bool:
    """Tell whether the process dies when it comes by a point now."""
    if not IS_TEST_BUILD or not faults:
        return False
    import ctypes

    return ctypes.c_int64.from_address(faults + point * 8).value == 1


def reach_in_python(faults: int, point: FaultPoint) -> None:
    """Do the same from Python; `faults` is 0 where the process has no state block."""
    if IS_TEST_BUILD and faults:
        import ctypes

        word = ctypes.c_int64.from_address(faults + point * 8)
        if word.value > 0:
            word.value = HIT if word.value == 1 else word.value - 1
            if word.value == HIT:
                os.kill(os.getpid(), signal.SIGKILL)

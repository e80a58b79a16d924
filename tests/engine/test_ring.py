"""The command ring: wrap, full, empty, two processes with stalls, and why it needs atomics."""

import multiprocessing
import random
import time
from typing import Any

import numba
import numpy as np
import pytest
from numpy.typing import NDArray

from openoutcry.config.jit import IS_COMPILED, kernel
from openoutcry.engine.atomics import load_acquire
from openoutcry.engine.ring import (
    HEADER_WORDS,
    available_records,
    check_capacity,
    free_records,
    head_position,
    header_address,
    publish,
    release,
    tail_position,
)


class Ring:
    """A ring of int64 records over an array, driven from Python."""

    def __init__(self, capacity: int, header: NDArray[Any] | None = None) -> None:
        self.headers = np.zeros((1, HEADER_WORDS), np.int64) if header is None else header
        self.header = header_address(self.headers, 0)
        self.capacity = capacity
        self.records = np.zeros(capacity, np.int64)

    def put(self, value: int) -> bool:
        tail = tail_position(self.header)
        if free_records(self.header, tail, 1, self.capacity) < 1:
            return False
        self.records[tail & (self.capacity - 1)] = value
        publish(self.header, tail + 1)
        return True

    def take(self) -> int | None:
        head = head_position(self.header)
        if available_records(self.header, head, 1) < 1:
            return None
        value = int(self.records[head & (self.capacity - 1)])
        release(self.header, head + 1)
        return value


def test_empty_ring_gives_nothing() -> None:
    assert Ring(4).take() is None


def test_full_ring_takes_nothing() -> None:
    ring = Ring(4)
    assert [ring.put(n) for n in range(5)] == [True, True, True, True, False]


def test_a_slot_given_back_can_be_filled_again() -> None:
    ring = Ring(2)
    assert ring.put(1)
    assert ring.put(2)
    assert ring.take() == 1
    assert ring.put(3)
    assert [ring.take(), ring.take(), ring.take()] == [2, 3, None]


def test_order_is_kept_over_many_wraps() -> None:
    ring = Ring(8)
    chooser = random.Random(7)
    put = taken = 0
    while taken < 1000:
        if chooser.random() < 0.5:
            put += ring.put(put)
        elif (value := ring.take()) is not None:
            assert value == taken
            taken += 1


def test_positions_go_on_where_another_process_left_them() -> None:
    ring = Ring(4)
    for n in range(3):
        ring.put(n)
    ring.take()
    again = Ring(4, ring.headers)
    again.records = ring.records
    assert [again.take(), again.take(), again.take()] == [1, 2, None]


@pytest.mark.parametrize("capacity", [0, 1, 3, 12, -8])
def test_a_capacity_that_is_no_power_of_two_is_refused(capacity: int) -> None:
    with pytest.raises(ValueError, match=f"not {capacity}"):
        check_capacity(capacity)


@kernel
def _produce(header: int, records: NDArray[Any], first: int, count: int) -> int:
    """Put in as many as fit; return how many."""
    tail = tail_position(header)
    done = 0
    while done < count and free_records(header, tail, 1, len(records)) > 0:
        for word in range(records.shape[1]):
            records[tail & (len(records) - 1), word] = (first + done) * 31 + word
        tail += 1
        done += 1
    publish(header, tail)
    return done


@kernel
def _consume(header: int, records: NDArray[Any], first: int, limit: int) -> int:
    """Take out what is there; return how many, or -1 where a record is not as it was put in."""
    head = head_position(header)
    ready = min(available_records(header, head, limit), limit)
    for i in range(ready):
        for word in range(records.shape[1]):
            if records[(head + i) & (len(records) - 1), word] != (first + i) * 31 + word:
                return -1
    release(header, head + ready)
    return ready


_RECORDS = 300_000
_CAPACITY = 64


def _producer(path: str, seed: int) -> None:
    headers, records = _mapped(path)
    chooser = random.Random(seed)
    header = header_address(headers, 0)
    done = 0
    while done < _RECORDS:
        done += int(
            _produce(header, records, done, min(chooser.randrange(1, 200), _RECORDS - done))
        )
        if chooser.random() < 0.001:
            time.sleep(chooser.random() / 1000)


def _mapped(path: str) -> tuple[NDArray[Any], NDArray[Any]]:
    words = np.memmap(path, np.int64, "r+")
    return words[:HEADER_WORDS].reshape(1, -1), words[HEADER_WORDS:].reshape(_CAPACITY, 8)


@pytest.mark.skipif(not IS_COMPILED, reason="two processes need real atomics")
@pytest.mark.parametrize("seed", [1, 2])
def test_two_processes_with_random_stalls_lose_and_tear_nothing(tmp_path: Any, seed: int) -> None:
    path = str(tmp_path / "ring")
    np.zeros(HEADER_WORDS + _CAPACITY * 8, np.int64).tofile(path)
    headers, records = _mapped(path)
    header = header_address(headers, 0)
    context = multiprocessing.get_context("fork")
    process = context.Process(target=_producer, args=(path, seed))
    process.start()
    try:
        chooser = random.Random(seed + 100)
        taken = 0
        deadline = time.monotonic() + 60
        while taken < _RECORDS:
            got = int(_consume(header, records, taken, chooser.randrange(1, 100)))
            assert got >= 0, f"record near {taken} is torn"
            taken += got
            assert time.monotonic() < deadline, f"only {taken} of {_RECORDS} came through"
            if chooser.random() < 0.0005:
                time.sleep(chooser.random() / 1000)
    finally:
        process.join(10)
        if process.is_alive():
            process.kill()
    assert process.exitcode == 0


# The example that tells why cursors go through atomics: LLVM may hoist a plain load out of a loop.


@kernel
def _spin_plain(cell: NDArray[Any], rounds: int) -> int:
    n = 0
    while cell[0] == 0 and n < rounds:
        n += 1
    return n


@kernel
def _spin_acquire(cell: NDArray[Any], rounds: int) -> int:
    address = cell.ctypes.data
    n = 0
    while load_acquire(address) == 0 and n < rounds:
        n += 1
    return n


@pytest.mark.skipif(not IS_COMPILED, reason="about what the compiler does")
def test_a_plain_load_is_hoisted_and_an_acquire_load_is_not() -> None:
    cell = np.zeros(1, np.int64)
    code = []
    for spin in (_spin_plain, _spin_acquire):
        # Compiled anew: what comes from the disk cache cannot be looked into.
        anew = numba.njit(spin.py_func)  # type: ignore[attr-defined]
        anew(cell, 1)
        code.append(next(iter(anew.inspect_llvm().values())))
    assert ["load atomic" in text for text in code] == [False, True]
    assert _spin_acquire(cell, 1000) == 1000
    cell[0] = 1
    assert _spin_acquire(cell, 1000) == 0

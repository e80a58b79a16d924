"""A single-producer single-consumer ring of fixed-size records over shared memory.

The ring is a header of four cache-line pairs and an array of records whose length is a power of
two. Positions are 64-bit, count records since the ring was made, and are never reset; position p
lies in slot p & (capacity - 1). The records themselves are written and read by the caller, by field
name.

Header, in 64-bit words (each group on two cache lines of its own, as adjacent lines are fetched
together)
    0  tail         published by the producer (release); read by the consumer (acquire)
   16  head         published by the consumer (release); read by the producer (acquire)
   32  seen_head    the producer's copy of head
   48  seen_tail    the consumer's copy of tail
"""

import numpy as np
from numpy.typing import NDArray

from openoutcry.config.jit import inline_kernel
from openoutcry.engine.atomics import load_acquire, store_release

#: 64-bit words of a ring's header.
HEADER_WORDS = 64
HEADER_BYTES = HEADER_WORDS * 8
#: The words that hold the two published positions.
TAIL_WORD = 0
HEAD_WORD = 16
_TAIL = TAIL_WORD * 8
_HEAD = HEAD_WORD * 8
_SEEN_HEAD = 32 * 8
_SEEN_TAIL = 48 * 8


def check_capacity(capacity_records: int) -> int:
    """Return a ring's capacity, refusing one that is no power of two of at least 2."""
    if capacity_records < 2 or capacity_records & (capacity_records - 1):
        raise ValueError(
            f"a ring's capacity is a power of two of at least 2 records, not {capacity_records}"
        )
    return capacity_records


def header_address(headers: NDArray[np.int64], ring: int) -> int:
    """Return the address of the header in row `ring` of an (n, HEADER_WORDS) array."""
    return int(headers.ctypes.data) + ring * HEADER_BYTES


@inline_kernel
def free_records(header: int, tail: int, wanted: int, capacity: int) -> int:
    """Producer: return how many records fit after `tail`; looks at the consumer only if it must.

    `tail` is the producer's own position, which may be ahead of the published one.
    """
    free = capacity - (tail - load_acquire(header + _SEEN_HEAD))
    if free < wanted:
        head = load_acquire(header + _HEAD)
        store_release(header + _SEEN_HEAD, head)
        free = capacity - (tail - head)
    return free


@inline_kernel
def tail_position(header: int) -> int:
    """Return the producer's published position."""
    return load_acquire(header + _TAIL)


@inline_kernel
def head_position(header: int) -> int:
    """Return the consumer's published position."""
    return load_acquire(header + _HEAD)


@inline_kernel
def publish(header: int, tail: int) -> None:
    """Producer: make all records below `tail` visible to the consumer."""
    store_release(header + _TAIL, tail)


@inline_kernel
def available_records(header: int, head: int, wanted: int) -> int:
    """Consumer: return how many records lie at `head`; looks at the producer only if it must."""
    ready = load_acquire(header + _SEEN_TAIL) - head
    if ready < wanted:
        tail = load_acquire(header + _TAIL)
        store_release(header + _SEEN_TAIL, tail)
        ready = tail - head
    return ready


@inline_kernel
def release(header: int, head: int) -> None:
    """Consumer: give all slots below `head` back to the producer."""
    store_release(header + _HEAD, head)

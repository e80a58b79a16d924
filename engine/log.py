"""The command log's byte format, and the kernels that append to it and read it back.

The log is a sequence of batches, each a multiple of 8 bytes, one after another with nothing
between.

Batch (64-bit little-endian words)
   0   magic "OOB2" (low 32 bits), bytes of the whole batch (high 32 bits)
   1   checksum of all other words of the batch, in order
   2   sequence of the first command
   3   commands (low 32 bits), rings (high 32 bits)
   4   epoch of the writer, raised at every start
   5   time_ns of every command in the batch
   6   bytes of the log known to be on the disk when the batch was written; 0: never synced
   7…  the position reached in each command ring, after this batch
   …   the commands
Command: a mask word, then those of the record's words 2 to 21 that are not zero; bit i of the mask
stands for word i. Sequence (word 0) follows from the batch and time (word 1) is the batch's. The
measurement stamps are not logged. An ordinary new order takes about 90 bytes in place of 176.

A reader stops at the first word that is no magic (preallocated files hold zeros) or whose checksum
fails; `engine.recovery` tells what such a place means. Word 6 is what tells a corrupt middle from
the ragged end that a power cut leaves: a bad batch below what a later one says was synced was good
once.
"""

from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openoutcry.config.jit import inline_kernel, inlined_kernel, int64, lean_kernel, lean_part
from openoutcry.engine.atomics import store_release
from openoutcry.engine.faults import FaultPoint, reach
from openoutcry.engine.records import COMMAND, COMMAND_LOGGED_BYTES
from openoutcry.engine.words import INT64_MAX, wrap_mul

MAGIC = 0x32424F4F
HEADER_WORDS = 7
COMMAND_WORDS = COMMAND.itemsize // 8
LOGGED_WORDS = COMMAND_LOGGED_BYTES // 8
#: Most words that one command can take in the log.
MAX_LOGGED_WORDS = LOGGED_WORDS - 2 + 1

#: Most commands of a batch, and most rings: readers have room for so many.
MAX_BATCH_COMMANDS = 4_096
MAX_RINGS = 256
#: Most words of a batch.
MAX_BATCH_WORDS = HEADER_WORDS + MAX_RINGS + MAX_BATCH_COMMANDS * MAX_LOGGED_WORDS


class BatchWord(IntEnum):
    """Words of the header that `read_batch` gives."""

    SEQ = 0  # of the first command
    EPOCH = 1
    TIME_NS = 2
    SYNCED = 3  # bytes
    RINGS = 4
    POSITIONS = 5  # of ring 0; the others follow


#: Words of a header with room for every batch.
READ_HEADER_WORDS = BatchWord.POSITIONS + MAX_RINGS

#: Return codes of `read_batch`.
BATCH_OK = 0
BATCH_END = 1
BATCH_TORN = 2

_LOW32 = 0xFFFFFFFF


@inline_kernel
def batch_words(commands: int, rings: int) -> int:
    """Return the most words that a batch of so many commands can take."""
    return HEADER_WORDS + rings + commands * MAX_LOGGED_WORDS


@lean_part
def _mix(state: int, word: int) -> int:
    # Multiply and fold: each input bit reaches the whole word, and order matters.
    state = wrap_mul(state ^ word, 0x2545F4914F6CDD1D)
    return state ^ ((state >> 29) & 0x7FFFFFFFF)


@lean_kernel
def checksum(words: NDArray[np.int64], start: int, stop: int) -> int:
    """Return the checksum of a batch at words start … stop, without its word 1.

    Two lanes, for the multiplier's latency; the lanes are combined at the end.
    """
    first = _mix(0x6F7574637279, words[start])
    second = 0x6F70656E
    i = start + 2
    while i + 1 < stop:
        first = _mix(first, words[i])
        second = _mix(second, words[i + 1])
        i += 2
    if i < stop:
        first = _mix(first, words[i])
    return _mix(first, second)


@lean_kernel
def append_batch(
    log: NDArray[np.int64],
    position: int,
    records: NDArray[np.int64],
    mask: int,
    head: int,
    count: int,
    first_seq: int,
    time_ns: int,
    epoch: int,
    synced: int,
    ring_positions: NDArray[np.int64],
    faults: int,
) -> int:
    """Append one batch at word `position`; return the position after it.

    `records` is a ring's COMMAND array seen as (capacity, 24) words; the commands are those at ring
    positions head … head + count - 1, at most MAX_BATCH_COMMANDS. The caller has made sure that
    `batch_words` words are mapped. `synced` is how many bytes of the log are on the disk, 0 where
    nobody syncs it. `faults` is the address of the process's FAULTS word, or 0.

    Nothing else tells a reader of the log that the batch is whole than its checksum; one that reads
    while it is written goes by the committed bytes in the shard's state block.
    """
    rings = len(ring_positions)
    log[position + 2] = first_seq
    log[position + 3] = count | (rings << 32)
    log[position + 4] = epoch
    log[position + 5] = time_ns
    log[position + 6] = synced
    at = position + HEADER_WORDS
    for r in range(rings):
        log[at] = ring_positions[r]
        at += 1
    for i in range(count):
        slot = (head + i) & mask
        mask_at = at
        at += 1
        present = 0
        for w in range(2, LOGGED_WORDS):
            word = records[slot, w]
            # Written whether or not it counts: no branch to mispredict; the next write covers it.
            log[at] = word
            bit = 1 if word != 0 else 0
            present |= bit << w
            at += bit
        log[mask_at] = present
    length = at - position
    first_word = MAGIC | ((length * 8) << 32)
    # The checksum covers the first word.
    log[position] = first_word
    if faults != 0:
        reach(faults, FaultPoint.WITHIN_APPEND.value)
    log[position + 1] = checksum(log, position, at)
    store_release(log.ctypes.data + position * 8, first_word)
    return at


@inlined_kernel
def read_batch_at(
    log: NDArray[np.int64],
    position: int,
    limit: int,
    commands: NDArray[np.int64],
    row: int,
    header: NDArray[np.int64],
) -> tuple[int, int, int]:
    """Read the batch at word `position` into the rows from `row` on, as `read_batch` does."""
    if position + HEADER_WORDS > limit or (log[position] & _LOW32) != MAGIC:
        return BATCH_END, int64(0), position
    size = (log[position] >> 32) & _LOW32
    length = size >> 3
    stop = position + length
    count = log[position + 3] & _LOW32
    rings = (log[position + 3] >> 32) & _LOW32
    if size & 7 != 0 or length < HEADER_WORDS + rings + count or stop > limit:
        return BATCH_TORN, int64(0), position
    if count < 1 or count > len(commands) - row or rings + BatchWord.POSITIONS > len(header):
        return BATCH_TORN, int64(0), position
    if checksum(log, position, stop) != log[position + 1]:
        return BATCH_TORN, int64(0), position
    first_seq = log[position + 2]
    if first_seq < 1 or first_seq > INT64_MAX - count:
        return BATCH_TORN, int64(0), position
    time_ns = log[position + 5]
    header[BatchWord.SEQ] = first_seq
    header[BatchWord.EPOCH] = log[position + 4]
    header[BatchWord.TIME_NS] = time_ns
    header[BatchWord.SYNCED] = log[position + 6]
    header[BatchWord.RINGS] = rings
    at = position + HEADER_WORDS
    for r in range(rings):
        header[BatchWord.POSITIONS + r] = log[at]
        at += 1
    last = stop - 1
    for i in range(count):
        present = log[min(at, last)]
        at += 1
        commands[row + i, 0] = first_seq + i
        commands[row + i, 1] = time_ns
        for w in range(2, LOGGED_WORDS):
            # Read whether or not it counts: no branch to mispredict.
            bit = (present >> w) & 1
            commands[row + i, w] = log[min(at, last)] & -bit
            at += bit
        for w in range(LOGGED_WORDS, COMMAND_WORDS):
            commands[row + i, w] = 0
    if at != stop:
        return BATCH_TORN, int64(0), position
    return BATCH_OK, count, stop


@lean_kernel
def read_batch(
    log: NDArray[np.int64],
    position: int,
    limit: int,
    commands: NDArray[np.int64],
    header: NDArray[np.int64],
) -> tuple[int, int, int]:
    """Read the batch at word `position`; return (code, commands read, position after it).

    `commands` is a COMMAND array seen as (n, 24) words, `header` has the words of BatchWord and the
    ring positions behind; a batch with more commands or rings than they have room for is
    BATCH_TORN. `limit` is the first word that is not mapped. Whatever the words hold, nothing
    outside position … limit - 1 is touched.
    """
    return read_batch_at(log, position, limit, commands, int64(0), header)


def as_words(records: NDArray[Any]) -> NDArray[np.int64]:
    """View a contiguous record array as (n, words of a record) 64-bit integers, without a copy."""
    words = records.view(np.int64)
    return words.reshape(*records.shape[:-1], records.shape[-1], -1)

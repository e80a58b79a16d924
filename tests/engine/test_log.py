"""The command log's format: what is appended is read back; what is torn or flipped is seen."""

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from openoutcry.engine.log import (
    BATCH_END,
    BATCH_OK,
    BATCH_TORN,
    HEADER_WORDS,
    MAGIC,
    append_batch,
    as_words,
    batch_words,
    checksum,
    read_batch,
)
from openoutcry.engine.records import COMMAND, COMMAND_LOGGED_BYTES

RING = 16
POSITIONS = np.array([5, 9], np.int64)


def random_commands(seed: int, count: int = RING) -> NDArray[Any]:
    """Return commands with random bytes in every field, about half of the words zero."""
    chooser = np.random.default_rng(seed)
    words = chooser.integers(-(2**63), 2**63 - 1, (count, COMMAND.itemsize // 8), np.int64)
    words[chooser.random(words.shape) < 0.5] = 0
    return words.reshape(-1).view(COMMAND)


def append(log: NDArray[Any], at: int, ring: NDArray[Any], head: int, count: int, seq: int) -> int:
    words = as_words(ring)
    return int(
        append_batch(log, at, words, RING - 1, head, count, seq, 1_000 + seq, 3, 77, POSITIONS, 0)
    )


def read(log: NDArray[Any], at: int, limit: int) -> tuple[int, NDArray[Any], int, list[int]]:
    commands = np.zeros(RING, COMMAND)
    # What an earlier batch left there must not shine through.
    commands.view(np.uint8).fill(0xEE)
    header = np.zeros(16, np.int64)
    code, count, end = read_batch(log, at, limit, as_words(commands), header)
    return int(code), commands[:count], int(end), header[:7].tolist()


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32), head=st.integers(0, 10**9), count=st.integers(1, RING))
def test_a_batch_reads_back_as_it_was_logged(seed: int, head: int, count: int) -> None:
    ring = random_commands(seed)
    log = np.zeros(batch_words(RING, 2) + 1, np.int64)
    end = append(log, 0, ring, head, count, 41)
    code, commands, stop, header = read(log, 0, len(log))
    assert (code, stop) == (BATCH_OK, end)
    assert header == [41, 3, 1041, 77, 2, 5, 9]
    expected = ring[[(head + i) % RING for i in range(count)]]
    words, read_words = as_words(expected).copy(), as_words(commands)
    words[:, 0] = range(41, 41 + count)
    words[:, 1] = 1041
    words[:, COMMAND_LOGGED_BYTES // 8 :] = 0
    assert read_words.tolist() == words.tolist()


def test_batches_follow_one_another_and_end_where_the_zeros_begin() -> None:
    log = np.zeros(4000, np.int64)
    first = append(log, 0, random_commands(1), 0, 3, 1)
    second = append(log, first, random_commands(2), 7, RING, 4)
    assert read(log, 0, len(log))[2] == first
    assert read(log, first, len(log))[2] == second
    assert read(log, second, len(log))[0] == BATCH_END


@pytest.mark.parametrize("seed", range(20))
def test_every_flipped_bit_is_seen(seed: int) -> None:
    log = np.zeros(2000, np.int64)
    end = append(log, 0, random_commands(seed), 0, RING, 1)
    chooser = random.Random(seed)
    for _ in range(50):
        word, bit = chooser.randrange(end), chooser.randrange(64)
        flipped = log.copy()
        flipped[word] ^= np.uint64(1 << bit).astype(np.int64)
        assert read(flipped, 0, len(log))[0] in {BATCH_END, BATCH_TORN}, (word, bit)


@pytest.mark.parametrize("count", range(1, 9))
def test_a_flipped_bit_is_seen_in_every_word(count: int) -> None:
    """Batches of even and odd lengths: the checksum takes words in by two."""
    log = np.zeros(400, np.int64)
    end = append(log, 0, random_commands(count), 0, count, 1)
    for word in range(end):
        flipped = log.copy()
        flipped[word] ^= 1 << 40
        assert int(checksum(flipped, 0, end)) != log[1] or word == 1
        assert read(flipped, 0, len(log))[0] in {BATCH_END, BATCH_TORN}, word


def test_a_batch_of_sequence_0_is_none() -> None:
    log = np.zeros(400, np.int64)
    for seq, code in ((1, BATCH_OK), (0, BATCH_TORN), (-3, BATCH_TORN)):
        append(log, 0, random_commands(4), 0, 3, seq)
        assert read(log, 0, len(log))[0] == code


def test_rings_that_do_not_fit_into_a_batch_are_not_read() -> None:
    """The batch is the last thing that is mapped, and its checksum is right."""
    log = np.zeros(HEADER_WORDS + 1, np.int64)
    log[:] = (MAGIC | len(log) * 8 << 32, 0, 1, 1 | 9 << 32, 1, 1, 0, 0)
    log[1] = checksum(log, 0, len(log))
    assert read(log, 0, len(log))[0] == BATCH_TORN
    log[3] = 1
    log[1] = checksum(log, 0, len(log))
    assert read(log, 0, len(log))[0] == BATCH_OK


def test_a_batch_cut_anywhere_is_not_read() -> None:
    log = np.zeros(2000, np.int64)
    end = append(log, 0, random_commands(5), 0, RING, 1)
    for cut in range(end):
        assert read(log, 0, cut)[0] in {BATCH_END, BATCH_TORN}
        torn = log.copy()
        torn[cut:end] = 0
        if (torn[:end] != log[:end]).any():
            assert read(torn, 0, len(log))[0] in {BATCH_END, BATCH_TORN}


def test_two_commands_that_change_places_are_seen() -> None:
    ring = random_commands(9)
    log, swapped = np.zeros(2000, np.int64), np.zeros(2000, np.int64)
    append(log, 0, ring, 0, 2, 1)
    ring[[0, 1]] = ring[[1, 0]]
    append(swapped, 0, ring, 0, 2, 1)
    assert log[1] != swapped[1]


@settings(max_examples=300, deadline=None)
@example(seed=0, changes=[(2, (1 << 63) - 5)], size=0)
@given(
    seed=st.integers(0, 2**32),
    changes=st.lists(
        st.tuples(
            st.integers(0, 60),
            st.one_of(
                st.integers(-(2**63), 2**63 - 1),
                st.sampled_from([0, -1, 1, 1 << 32, 5 | 2 << 32, (1 << 32) - 1]),
            ),
        ),
        max_size=4,
    ),
    size=st.integers(0, 3_000),
)
def test_words_that_only_look_like_a_batch_touch_nothing_outside(seed, changes, size):
    """Any words behind a right checksum: plain Python raises where an index is out of range."""
    log = np.zeros(700, np.int64)
    end = append(log, 0, random_commands(seed, 16), 0, 6, 1)
    log[end:] = random_commands(seed + 1, 30).view(np.int64)[: len(log) - end]
    for at, value in changes:
        log[min(at, end - 1)] = value
    if size % 2:
        log[0] = (log[0] & 0xFFFFFFFF) | (size << 32)
    length = int((log[0] >> 32) & 0xFFFFFFFF) >> 3
    if 7 <= length <= len(log):
        log[1] = checksum(log, 0, length)
    code, commands, stop, _ = read(log, 0, len(log))
    assert code in {BATCH_OK, BATCH_END, BATCH_TORN}
    assert stop == (length if code == BATCH_OK else 0)
    assert len(commands) <= RING
    assert (code == BATCH_OK) == is_batch(log[:length].tolist())


def is_batch(words: list[int]) -> bool:
    """Tell whether words with a right checksum are a batch that there is room for."""
    if len(words) < 7 or words[0] & 0xFFFFFFFF != 0x32424F4F or (words[0] >> 32) % 8:
        return False
    count, rings = words[3] & 0xFFFFFFFF, words[3] >> 32 & 0xFFFFFFFF
    if (
        not 1 <= count <= RING
        or rings > 11
        or words[1] != int(checksum(np.array(words), 0, len(words)))
    ):
        return False
    if words[0] >> 32 != 8 * len(words) or not 1 <= words[2] <= (1 << 63) - 1 - count:
        return False
    at = 7 + rings
    for _ in range(count):
        if at >= len(words):
            return False
        at += 1 + sum(words[at] >> bit & 1 for bit in range(2, COMMAND_LOGGED_BYTES // 8))
    return at == len(words)

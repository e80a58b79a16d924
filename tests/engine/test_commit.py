"""What leaves the loop under `power`, `process` and `none`, and when."""

import threading
import time

import numpy as np
import pytest
from support.shard_loop import Loop

from openoutcry.config.jit import IS_COMPILED
from openoutcry.engine.api import SymbolLimits, add_symbols, new_orders
from openoutcry.engine.book import Capacity
from openoutcry.engine.commit import await_appended, tell_appended, tell_synced
from openoutcry.engine.enums import ReportKind
from openoutcry.engine.loop import BATCH_COMMANDS
from openoutcry.engine.records import DEPTH_LEVEL
from openoutcry.engine.ring import HEAD_WORD
from openoutcry.engine.state import Durability, LoopExit, ShardWord

CAPACITY = Capacity(open_orders=20_000, levels=500, symbols=2, sessions=4)
RELEASED = (ShardWord.COMMITTED_SEQ, ShardWord.RELEASED_REPORT, ShardWord.EVENT_SEQ)
SHORT_NS = 2_000_000


def orders(count, session=1, first=1):
    """Return orders that rest, of two symbols."""
    commands = new_orders(count, id0=np.arange(count) + first, session=session, qty_lots=5)
    commands["side"] = 1 + np.arange(count) % 2
    commands["symbol"] = np.arange(count) // 2 % 2
    commands["price_ticks"] = np.where(commands["side"] == 1, -1, 1) * (1 + np.arange(count) % 97)
    return commands


def made(durability, **options):
    """Return a loop of two rings with two symbols, all on the disk."""
    loop = Loop(CAPACITY, durability=durability, rings=2, **options)
    loop.put(add_symbols(enumerate([SymbolLimits()] * 2)), ring=1)
    loop.call(SHORT_NS)
    loop.state[ShardWord.SYNCED_BYTES] = loop.state[ShardWord.LOG_BYTES]
    loop.call(SHORT_NS)
    return loop


def words(loop, *names):
    """Return some of the state's words."""
    return [int(loop.state[name]) for name in names]


def test_nothing_is_released_before_it_is_on_the_disk():
    loop = made(Durability.POWER)
    before = words(loop, *RELEASED, ShardWord.RELEASED_POSITION)
    heads = loop.headers[:, HEAD_WORD].tolist()
    loop.put(orders(3))
    loop.put(orders(2, session=2), ring=1)
    assert loop.call(SHORT_NS) == LoopExit.TICK
    # Executed, logged and packed, but not a word to anybody; the slots are kept.
    assert loop.book.state[0]["open_orders"] == 5
    assert words(loop, ShardWord.SEQ, ShardWord.REPORT_SEQ) == [7, 5]
    assert words(loop, *RELEASED, ShardWord.RELEASED_POSITION) == before
    assert loop.headers[:, HEAD_WORD].tolist() == heads == [0, 2]
    # One byte short of the second batch: only the first goes.
    end = int(loop.state[ShardWord.LOG_BYTES])
    loop.state[ShardWord.SYNCED_BYTES] = end - 1
    loop.call(SHORT_NS)
    assert words(loop, *RELEASED) == [5, 3, 3]
    assert loop.headers[:, HEAD_WORD].tolist() == [3, 2]
    loop.state[ShardWord.SYNCED_BYTES] = end
    loop.call(SHORT_NS)
    assert words(loop, *RELEASED) == [7, 5, 5]
    assert loop.headers[:, HEAD_WORD].tolist() == [3, 4]
    position = ShardWord.REPORT_POSITION
    assert words(loop, position) == words(loop, ShardWord.RELEASED_POSITION)


def test_each_batch_says_how_much_was_on_the_disk_when_it_was_written():
    loop = made(Durability.POWER)
    synced = int(loop.state[ShardWord.SYNCED_BYTES])
    loop.put(orders(1))
    loop.call(SHORT_NS)
    assert loop.log[synced // 8 + 6] == synced


def test_a_release_stamp_is_that_of_the_release():
    loop = made(Durability.POWER)
    commands = orders(1)
    commands["recv_ns"] = time.monotonic_ns()
    commands["inbound_seq"] = 1
    loop.put(commands)
    loop.call(SHORT_NS)
    matched = int(loop.stamps[1, 1])
    loop.state[ShardWord.SYNCED_BYTES] = loop.state[ShardWord.LOG_BYTES]
    loop.call(SHORT_NS)
    assert int(loop.stamps[1, 1]) > matched >= int(loop.stamps[1, 0]) > 0


def test_a_depth_answer_waits_for_what_it_shows():
    loop = made(Durability.POWER)
    loop.put(orders(2))
    loop.call(SHORT_NS)
    loop.state[ShardWord.DEPTH_REQUEST] = 1
    loop.call(SHORT_NS)
    assert loop.state[ShardWord.DEPTH_ANSWER] == 0
    # What comes later is not in the answer, and the answer does not wait for it.
    end = int(loop.state[ShardWord.LOG_BYTES])
    loop.put(orders(2, first=10))
    loop.call(SHORT_NS)
    loop.state[ShardWord.SYNCED_BYTES] = end
    loop.call(SHORT_NS)
    answer = (ShardWord.DEPTH_ANSWER, ShardWord.DEPTH_EVENT_SEQ, ShardWord.DEPTH_BIDS)
    assert words(loop, *answer) == [1, 2, 1]
    assert loop.levels[0][0] == np.array((-1, 5, 1), DEPTH_LEVEL)


@pytest.mark.parametrize("count", [40, 4 * BATCH_COMMANDS])
def test_a_full_queue_takes_no_more_and_goes_on_when_the_disk_has(count):
    loop = made(Durability.POWER, queue=2)
    loop.put(orders(count))
    loop.put(orders(count, session=2), ring=1)
    loop.call(SHORT_NS)
    taken = int(loop.positions.sum()) - 2
    assert taken == 2 * min(count, BATCH_COMMANDS)
    for _ in range(20):
        loop.state[ShardWord.SYNCED_BYTES] = loop.state[ShardWord.LOG_BYTES]
        loop.call(SHORT_NS)
    assert loop.headers[:, HEAD_WORD].tolist() == [count, count + 2]
    assert words(loop, ShardWord.RELEASED_REPORT) == [2 * count]


def test_a_batch_that_needs_another_report_segment_is_released_whole():
    loop = made(Durability.POWER)
    loop.mapped = 8192
    loop.put(orders(200))
    segments = 1
    code = loop.call(SHORT_NS)
    # As plain Python it can run out of time in the middle of the batch, too.
    while loop.state[ShardWord.BATCH_END] != 0:
        loop.state[ShardWord.SYNCED_BYTES] = loop.state[ShardWord.LOG_BYTES]
        assert words(loop, ShardWord.RELEASED_REPORT) == [0]
        if code == LoopExit.REPORT_SEGMENT:
            loop.mapped += 8192
            segments += 1
        code = loop.call(SHORT_NS)
    assert segments > 1
    loop.state[ShardWord.SYNCED_BYTES] = loop.state[ShardWord.LOG_BYTES]
    loop.call(SHORT_NS)
    assert words(loop, ShardWord.RELEASED_REPORT, ShardWord.COMMITTED_SEQ) == [200, 202]


def test_a_stop_waits_for_the_disk():
    loop = made(Durability.POWER)
    loop.put(orders(2))
    loop.state[ShardWord.STOP] = 1
    assert loop.call(SHORT_NS) == LoopExit.TICK
    loop.state[ShardWord.SYNCED_BYTES] = loop.state[ShardWord.LOG_BYTES]
    assert loop.call(SHORT_NS) == LoopExit.STOPPED
    assert words(loop, ShardWord.RELEASED_REPORT) == [2]


def test_without_durability_nothing_is_logged_and_all_is_released():
    loop = made(Durability.NONE)
    loop.put(orders(3))
    reports = loop.run()
    assert reports["kind"].tolist() == [ReportKind.NEW] * 3
    assert not loop.log.any()
    assert words(loop, ShardWord.LOG_BYTES, ShardWord.COMMITTED_SEQ) == [0, 5]


@pytest.mark.parametrize("durability", list(Durability))
def test_the_largest_gap_is_how_long_commands_lay_in_a_ring(durability):
    loop = made(durability)
    loop.state[ShardWord.LAST_BATCH_NS] = time.monotonic_ns() - 10_000_000_000
    commands = orders(1)
    # Published half a second ago; the shard has done nothing for ten: only the half counts.
    commands["ring_ns"] = time.monotonic_ns() - 500_000_000
    loop.put(commands)
    loop.call(SHORT_NS)
    largest = int(loop.state[ShardWord.LARGEST_GAP_NS])
    assert 500_000_000 <= largest < 5_000_000_000
    commands["id0"] = 2
    loop.put(commands)
    loop.call(SHORT_NS)
    # Published before the last batch began: what counts is the time since that.
    assert loop.state[ShardWord.LARGEST_GAP_NS] == largest


@pytest.mark.skipif(not IS_COMPILED, reason="futexes need the JIT")
def test_the_shard_and_its_syncing_thread_wake_each_other():
    loop = made(Durability.POWER)
    state = int(loop.state.ctypes.data)
    synced = int(loop.state[ShardWord.SYNCED_BYTES])
    seen = []

    def sync():
        seen.append(await_appended(state, synced, 5_000_000_000))
        time.sleep(0.02)
        tell_synced(state, seen[0])

    thread = threading.Thread(target=sync)
    thread.start()
    while not loop.state[ShardWord.SYNC_SLEEPING]:
        time.sleep(0.001)
    began = time.monotonic()
    loop.put(orders(2))
    loop.state[ShardWord.STOP] = 1
    while loop.call(20_000_000_000) != LoopExit.STOPPED:
        assert time.monotonic() < began + 5
    thread.join()
    assert seen == [int(loop.state[ShardWord.LOG_BYTES])]
    assert words(loop, ShardWord.RELEASED_REPORT) == [2]
    assert time.monotonic() < began + 2
    tell_appended(state)

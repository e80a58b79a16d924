"""Shards as processes, killed at random moments, with clients' commands coming in meanwhile.

The test is supervisor and gateways: it owns the shared memory, publishes commands in both gateways'
rings, and forks the shard again whenever it has killed it.
"""

import logging
import os
import random
import signal
import time

import msgspec
import numpy as np
import pytest
from support.shard_alone import ShardAlone, fresh_memory, orders, small_config

from openoutcry.engine.enums import ReportKind
from openoutcry.engine.ring import HEAD_WORD, TAIL_WORD
from openoutcry.engine.snapshot import state_hash
from openoutcry.engine.state import ProcessStatus, ShardWord
from openoutcry.server.replica import Replica, RowSink
from openoutcry.server.shard import run_process

PER_RING = 12_000
KILLS = 12
RUNNING = ProcessStatus.RUNNING


def fork(alone, eventfds):
    """Fork the shard's process."""
    alone.words[ShardWord.STATUS] = ProcessStatus.STARTING
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        code = 1
        logging.basicConfig(filename=alone.folder / "log", force=True, level=logging.INFO)
        try:
            run_process(alone.config, alone.memory, alone.index, alone.folder, eventfds, parent)
            code = 0
        finally:
            os._exit(code)
    return pid


def publish(alone, sent):
    """Put more commands into both rings, as many as there is room for, some at a time."""
    for ring in (0, 1):
        header = alone.memory.ring_headers[alone.index, ring]
        room = len(alone.memory.commands[0, 0]) - int(header[TAIL_WORD] - header[HEAD_WORD])
        count = min(room, 40, PER_RING - sent[ring])
        if count > 0:
            session = ring + 1
            alone.put(orders(count, alone.index, session, sent[ring] + 1), ring=ring)
            sent[ring] += count


def settle(condition, folder, seconds=20):
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, (folder / "log").read_text()
        time.sleep(0.001)


@pytest.mark.parametrize("durability", ["process", "power"])
def test_killed_at_random_moments_it_executes_everything_once(tmp_path, durability):
    rng = random.Random(20261123)
    # The kernels are loaded here, not by each process anew.
    warm = small_config(durability=durability)
    (tmp_path / "warm").mkdir()
    ShardAlone(warm, fresh_memory(warm, tmp_path / "warm-shm"), 0, tmp_path / "warm").run()
    config = small_config(durability=durability)
    sizes = msgspec.structs.replace(config.capacity, command_ring_records=1024)
    config = msgspec.structs.replace(config, capacity=sizes)
    memory = fresh_memory(config, tmp_path / "shm")
    eventfds = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(config.gateway.count)]
    shards = [ShardAlone(config, memory, index, tmp_path) for index in range(2)]
    pids = [fork(alone, eventfds) for alone in shards]
    sent = [[0, 0], [0, 0]]
    kills = 0
    released = [0, 0]
    kept = [b"", b""]
    while kills < KILLS or any(count < PER_RING for each in sent for count in each):
        for alone, counts in zip(shards, sent, strict=True):
            publish(alone, counts)
        time.sleep(rng.choice((0.0, 0.0005, 0.002)))
        done = min(min(counts) for counts in sent) / PER_RING
        if kills < KILLS and (done > (kills + rng.random()) / KILLS or done == 1):
            index = rng.randrange(2)
            alone = shards[index]
            if rng.random() < 0.8:
                # The others die while they recover.
                settle(lambda w=alone.words: w[ShardWord.STATUS] == RUNNING, tmp_path)
                publish(alone, sent[index])
                time.sleep(rng.random() * 0.002)
            os.kill(pids[index], signal.SIGKILL)
            os.waitpid(pids[index], 0)
            kills += 1
            # What was released stays released, byte for byte.
            assert alone.words[ShardWord.RELEASED_REPORT] >= released[index]
            if alone.words[ShardWord.RELEASED_REPORT]:
                reports = alone.reports()
                assert reports.tobytes()[: len(kept[index])] == kept[index]
                kept[index], released[index] = reports.tobytes(), len(reports)
            pids[index] = fork(alone, eventfds)
    for alone, pid in zip(shards, pids, strict=True):
        headers = memory.ring_headers[alone.index]
        settle(lambda h=headers: (h[:, HEAD_WORD] == h[:, TAIL_WORD]).all(), tmp_path)
        assert headers[:, HEAD_WORD].tolist() == [PER_RING, PER_RING, 0]
        alone.words[ShardWord.STOP] = 1
        _, status = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        check(alone, kept[alone.index])
    assert sum(int(alone.words[ShardWord.EPOCH]) for alone in shards) > KILLS / 2
    for fd in eventfds:
        os.close(fd)


def check(alone, kept):
    """Compare what a shard released with the commands sent, and with a clean replay of its log."""
    reports = alone.reports()
    assert reports.tobytes()[: len(kept)] == kept
    assert (np.diff(reports["report_seq"]) == 1).all()
    answers = reports[
        (reports["kind"] == ReportKind.NEW) | (reports["kind"] == ReportKind.REJECTED)
    ]
    for session in (1, 2):
        numbers = answers["inbound_seq"][answers["session"] == session]
        assert numbers.tolist() == list(range(1, PER_RING + 1))
    again = []
    replica = Replica.open(alone.folder, alone.index, snapshot=False)
    replica.follow(reports=RowSink(lambda commands, rows: again.append(rows.tobytes())))
    assert b"".join(again) == reports.tobytes()
    assert replica.log_bytes == alone.words[ShardWord.LOG_BYTES]
    hash_ = replica.state_hash()
    replica.close()
    # One more start has the same book, but for the command that begins it.
    book = alone.run().book
    state = book.state[0]
    state["seq"] -= 1
    state["time_ns"] = replica.time_ns
    assert state_hash(book) == hash_

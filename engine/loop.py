"""The shard's loop: sequence → append → match → release, over all of its command rings.

How durable a batch must be before what came of it is released is a Durability; under POWER the
release waits for the disk while the loop goes on (engine.commit).

One call runs until a deadline, a stop request, or until a log needs another segment. It can be left
and entered again at any of these points: where it stands is in the state block, so that a command's
reports are never half mapped and a batch is appended exactly once.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from openoutcry.config.jit import IS_TEST_BUILD, inline_kernel, int64, lean_kernel
from openoutcry.engine.atomics import (
    CLOCK_MONOTONIC,
    CLOCK_REALTIME,
    clock_ns,
    cpu_pause,
    fence_seq_cst,
    futex_wait,
    load32_acquire,
    load_acquire,
    signal_fd,
    store_release,
    yield_core,
)
from openoutcry.engine.book import Book
from openoutcry.engine.commit import (
    QueueWord,
    enqueue,
    oldest_bytes,
    queued_batches,
    release_synced,
    tell_appended,
)
from openoutcry.engine.enums import CommandKind, RejectReason, ReportKind, Side
from openoutcry.engine.faults import FaultPoint, reach
from openoutcry.engine.latency import ShardCounter, ShardStage, add, add_many
from openoutcry.engine.log import append_batch, batch_words
from openoutcry.engine.market import depth
from openoutcry.engine.match import (
    PREFETCH_DISTANCE,
    noted_tags,
    prefetch_command,
    process_command,
    reports_needed,
)
from openoutcry.engine.pack import MAX_PACKED_BYTES, pack_rows
from openoutcry.engine.ring import HEADER_BYTES, available_records, release
from openoutcry.engine.state import Durability, GatewayWord, LoopExit, ShardWord

#: Commands taken from one ring at a time: long enough to pay for a clock reading, a checksum and a
#: wake-up, short enough that the last one's reports do not wait.
BATCH_COMMANDS = 256
#: One command in so many has its matching time measured: two clock readings cost 60 ns.
MATCH_SAMPLE_EVERY = 8
_SLEEP_NS = 10_000_000
_SPINS_PER_CLOCK = 64
_SHORT_SPIN_NS = 5_000
#: A longer pause counts as this long.
_LONGEST_PAUSE_NS = 10_000_000


@inline_kernel
def _word(state: int, word: int) -> int:
    return state + word * 8


@lean_kernel
def _answer_depth(
    book: Book, state: int, levels: NDArray[Any], queue: NDArray[np.int64], durability: int
) -> None:
    """Write the depth snapshot that a reader of market data asked for, and tell it once all that
    it shows is committed."""
    request = load_acquire(_word(state, ShardWord.DEPTH_REQUEST))
    if request == load_acquire(_word(state, ShardWord.DEPTH_ANSWER)):
        return
    if request != queue[0, QueueWord.DEPTH_REQUEST]:
        symbol = load_acquire(_word(state, ShardWord.DEPTH_SYMBOL))
        bids = depth(book, symbol, Side.BUY, levels[0])
        asks = depth(book, symbol, Side.SELL, levels[1])
        store_release(_word(state, ShardWord.DEPTH_BIDS), bids)
        store_release(_word(state, ShardWord.DEPTH_ASKS), asks)
        store_release(_word(state, ShardWord.DEPTH_EVENT_SEQ), book.state[0]["event_seq"])
        queue[0, QueueWord.DEPTH_REQUEST] = request
        queue[0, QueueWord.DEPTH_LOG_BYTES] = load_acquire(_word(state, ShardWord.LOG_BYTES))
    if durability == Durability.POWER and (
        load_acquire(_word(state, ShardWord.SYNCED_BYTES)) < queue[0, QueueWord.DEPTH_LOG_BYTES]
    ):
        return
    store_release(_word(state, ShardWord.DEPTH_ANSWER), request)


@lean_kernel
def _pack(
    state: int,
    fresh: NDArray[Any],
    words: NDArray[np.int64],
    count: int,
    shard_base: int,
    address: int,
) -> int:
    """Pack a batch's reports into the report log; return the end's address."""
    base_ns = load_acquire(_word(state, ShardWord.BASE_NS))
    if IS_TEST_BUILD:
        for row in range(count):
            if row > 0 and fresh[row]["seq"] == fresh[row - 1]["seq"]:
                reach(_word(state, ShardWord.FAULTS), FaultPoint.BETWEEN_REPORTS.value)
            address = pack_rows(words, row, row + 1, base_ns, shard_base, address)
        return address
    return pack_rows(words, 0, count, base_ns, shard_base, address)


@lean_kernel
def wake_gateways(gateways: NDArray[np.int64], eventfds: NDArray[np.int64]) -> None:
    """Wake those gateways that wait, as there are reports."""
    fence_seq_cst()
    for g in range(len(gateways)):
        sleeping = gateways[g] + GatewayWord.SLEEPING * 8
        if load_acquire(sleeping) != 0:
            store_release(sleeping, 0)
            signal_fd(eventfds[g])


@lean_kernel
def _note_gap(state: int, now: int, published_ns: int) -> None:
    """Keep the longest time that commands have lain in a ring while no batch was begun."""
    since = max(load_acquire(_word(state, ShardWord.LAST_BATCH_NS)), published_ns)
    if published_ns != 0 and now - since > load_acquire(_word(state, ShardWord.LARGEST_GAP_NS)):
        store_release(_word(state, ShardWord.LARGEST_GAP_NS), now - since)
    store_release(_word(state, ShardWord.LAST_BATCH_NS), now)


@lean_kernel
def _count_reports(
    reports: NDArray[Any],
    count: int,
    first: int,
    commands: NDArray[Any],
    head: int,
    head_seq: int,
    stamps: NDArray[np.int64],
    counters: NDArray[np.int64],
) -> None:
    """Count a batch's reports, and note for each when its command came in and when it was released.

    The stamps stay out of the reports, which are logged and hashed; an unsolicited report has none.
    `first` is the number of the report in row 0; the command with sequence `head_seq` would lie at
    ring position `head`.
    """
    mask = len(commands) - 1
    stamp_mask = len(stamps) - 1
    now = clock_ns(CLOCK_MONOTONIC)
    for i in range(count):
        recv_ns = int64(0)
        if reports[i]["inbound_seq"] != 0:
            recv_ns = commands[(head + reports[i]["seq"] - head_seq) & mask]["recv_ns"]
        stamps[(first + i) & stamp_mask, 0] = recv_ns
        stamps[(first + i) & stamp_mask, 1] = now
        kind = int64(reports[i]["kind"])
        counters[ShardCounter.REPORTS + kind] += 1
        if kind == ReportKind.TRADE:
            counters[ShardCounter.TRADES] += 1
        elif kind not in (ReportKind.STATUS, ReportKind.CANCELED):
            reason = int64(reports[i]["reason"])
            if reason != 0:
                counters[ShardCounter.REJECTS + reason] += 1


@lean_kernel
def _has_work(
    state: int, headers: int, positions: NDArray[np.int64], queue: NDArray[np.int64]
) -> bool:
    """Tell whether a batch can be taken or released."""
    waiting = oldest_bytes(queue)
    if waiting >= 0:
        if load_acquire(_word(state, ShardWord.SYNCED_BYTES)) >= waiting:
            return True
        if queued_batches(queue) == len(queue) - 1:
            return False
    for r in range(len(positions)):
        if available_records(headers + r * HEADER_BYTES, positions[r], 1) > 0:
            return True
    return False


@lean_kernel
def _wait(
    state: int,
    headers: int,
    positions: NDArray[np.int64],
    queue: NDArray[np.int64],
    stop_at_ns: int,
    spin_ns: int,
) -> None:
    """Spin for a while, then sleep until a producer or the syncing thread rings or the time is
    over.

    Waking a sleeping core takes tens of microseconds, so an idle shard spins first, and yields its
    core meanwhile to whoever wants it. When pauses have been longer than `spin_ns` of late,
    spinning would only burn the core: then it sleeps almost at once.
    """
    start = clock_ns(CLOCK_MONOTONIC)
    if load_acquire(_word(state, ShardWord.IDLE_SINCE)) == 0:
        store_release(_word(state, ShardWord.IDLE_SINCE), start)
    is_busy = load_acquire(_word(state, ShardWord.IDLE_NS)) <= spin_ns
    spin_until = start + (spin_ns if is_busy else min(spin_ns, _SHORT_SPIN_NS))
    bell = _word(state, ShardWord.DOORBELL)
    while True:
        for _ in range(_SPINS_PER_CLOCK):
            if _has_work(state, headers, positions, queue):
                return
            cpu_pause()
        now = clock_ns(CLOCK_MONOTONIC)
        if now >= stop_at_ns:
            return
        if now >= spin_until:
            break
        yield_core()
    seen = load32_acquire(bell)
    store_release(_word(state, ShardWord.SLEEPING), 1)
    # The flag must be visible before the rings are looked at once more: a producer stores its
    # position, fences, and looks at the flag, so that one of the two always sees the other.
    fence_seq_cst()
    if _has_work(state, headers, positions, queue):
        store_release(_word(state, ShardWord.SLEEPING), 0)
        return
    futex_wait(bell, seen, min(_SLEEP_NS, stop_at_ns - now))
    store_release(_word(state, ShardWord.SLEEPING), 0)


@lean_kernel
def run_shard(
    book: Book,
    state: int,
    headers: int,
    records: NDArray[Any],
    words: NDArray[np.int64],
    log: NDArray[np.int64],
    log_limit: int,
    fresh: NDArray[Any],
    fresh_words: NDArray[np.int64],
    report_log: int,
    report_limit: int,
    positions: NDArray[np.int64],
    gateways: NDArray[np.int64],
    eventfds: NDArray[np.int64],
    stamps: NDArray[np.int64],
    counters: NDArray[np.int64],
    histograms: NDArray[np.int64],
    levels: NDArray[Any],
    duration_ns: int,
    spin_ns: int,
    durability: int,
    queue: NDArray[np.int64],
) -> int:
    """Run the loop for `duration_ns` at the most; return a LoopExit.

    Args:
        book: the shard's book.
        state: address of the shard's state block.
        headers: address of the ring headers, one row a ring.
        records: COMMAND (rings, capacity); `words` is the same memory as (rings, capacity, 24).
        log: the command log as words; only words below `log_limit` may be touched.
        fresh: REPORT rows for one batch's reports (`fresh_words`: the same as (n, 24) words); room
            for the most that a command can cause.
        report_log: address of the report log; only its bytes below `report_limit` may be touched.
        positions: one a ring: the command after those that were taken. Slots are given back, by the
            ring's own position, when they are committed.
        gateways: address of each gateway's state block; `eventfds` how to wake it.
        stamps: (STAMP_RECORDS, 2): receipt and release of report n, in row n & (STAMP_RECORDS - 1).
        counters, histograms: see engine.latency.
        levels: DEPTH_LEVEL (2, n), where depth snapshots are put.
        durability: a Durability. queue: see engine.commit; one call's is the next one's.
    """
    is_power = durability == Durability.POWER
    faults = _word(state, ShardWord.FAULTS)
    rings = len(records)
    mask = records.shape[1] - 1
    stop_at_ns = clock_ns(CLOCK_MONOTONIC) + duration_ns
    while True:
        worked = False
        if is_power and release_synced(state, headers, queue, stamps):
            worked = True
            wake_gateways(gateways, eventfds)
        for turn in range(rings):
            # --- take a batch, or go on with the one that was interrupted ---
            if load_acquire(_word(state, ShardWord.BATCH_END)) == 0:
                ring = turn
                header = headers + ring * HEADER_BYTES
                head = positions[ring]
                count = available_records(header, head, BATCH_COMMANDS)
                if count <= 0 or (is_power and queued_batches(queue) == len(queue) - 1):
                    continue
                count = min(count, BATCH_COMMANDS)
                position = load_acquire(_word(state, ShardWord.LOG_POSITION))
                if (
                    position + batch_words(count, rings) > log_limit
                    and durability != Durability.NONE
                ):
                    return LoopExit.LOG_SEGMENT
                # --- sequence ---
                now = clock_ns(CLOCK_MONOTONIC)
                _note_gap(state, now, records[ring, head & mask]["ring_ns"])
                idle_since = load_acquire(_word(state, ShardWord.IDLE_SINCE))
                if idle_since != 0:
                    pause = min(now - idle_since, _LONGEST_PAUSE_NS)
                    usual = load_acquire(_word(state, ShardWord.IDLE_NS))
                    store_release(_word(state, ShardWord.IDLE_NS), (3 * usual + pause) // 4)
                    store_release(_word(state, ShardWord.IDLE_SINCE), 0)
                time_ns = max(
                    clock_ns(CLOCK_REALTIME), load_acquire(_word(state, ShardWord.TIME_NS))
                )
                seq = load_acquire(_word(state, ShardWord.SEQ))
                is_full = load_acquire(_word(state, ShardWord.LOG_IS_FULL)) != 0
                ring_ns = int64(0)
                run = 0
                for i in range(head, head + count):
                    slot = i & mask
                    seq += 1
                    records[ring, slot]["seq"] = seq
                    records[ring, slot]["time_ns"] = time_ns
                    stamp = records[ring, slot]["ring_ns"]
                    if stamp != ring_ns:
                        if run:
                            add_many(histograms, ShardStage.RING_WAIT, now - ring_ns, run)
                        ring_ns = stamp
                        run = 0
                    run += 1
                    if is_full and records[ring, slot]["kind"] == CommandKind.NEW:
                        records[ring, slot]["reject_reason"] = RejectReason.LOG_CAPACITY
                if ring_ns != 0:
                    add_many(histograms, ShardStage.RING_WAIT, now - ring_ns, run)
                reach(faults, FaultPoint.AFTER_SEQUENCING.value)
                # --- append ---
                positions[ring] = head + count
                if durability != Durability.NONE:
                    position = append_batch(
                        log,
                        position,
                        words[ring],
                        mask,
                        head,
                        count,
                        seq - count + 1,
                        time_ns,
                        load_acquire(_word(state, ShardWord.EPOCH)),
                        load_acquire(_word(state, ShardWord.SYNCED_BYTES)),
                        positions,
                        faults,
                    )
                    reach(faults, FaultPoint.AFTER_APPEND.value)
                    store_release(_word(state, ShardWord.LOG_POSITION), position)
                    store_release(_word(state, ShardWord.LOG_BYTES), position * 8)
                    if is_power:
                        tell_appended(state)
                store_release(_word(state, ShardWord.TIME_NS), time_ns)
                store_release(_word(state, ShardWord.SEQ), seq)
                if not is_power:
                    store_release(_word(state, ShardWord.COMMITTED_SEQ), seq)
                store_release(_word(state, ShardWord.BATCH_RING), ring)
                store_release(_word(state, ShardWord.BATCH_NEXT), head)
                store_release(_word(state, ShardWord.BATCH_END), head + count)
            worked = True
            ring = load_acquire(_word(state, ShardWord.BATCH_RING))
            header = headers + ring * HEADER_BYTES
            at = load_acquire(_word(state, ShardWord.BATCH_NEXT))
            end = load_acquire(_word(state, ShardWord.BATCH_END))
            commands = records[ring]
            # --- match ---
            sample = load_acquire(_word(state, ShardWord.MATCH_SAMPLE))
            first_report = load_acquire(_word(state, ShardWord.REPORT_SEQ))
            report_seq = first_report
            report_base = first_report + 1
            position = load_acquire(_word(state, ShardWord.REPORT_POSITION))
            is_short = False
            for i in range(at, min(at + PREFETCH_DISTANCE, end)):
                prefetch_command(book, commands, i & mask)
            while at < end:
                slot = at & mask
                if at + PREFETCH_DISTANCE < end:
                    prefetch_command(book, commands, (at + PREFETCH_DISTANCE) & mask)
                rows = report_seq - first_report + reports_needed(book, commands, slot)
                bytes_end = position + (rows + 1) * MAX_PACKED_BYTES
                if rows > len(fresh) or bytes_end > report_limit:
                    store_release(_word(state, ShardWord.REPORT_BYTES_WANTED), bytes_end)
                    is_short = True
                    break
                counters[ShardCounter.COMMANDS + int64(commands[slot]["kind"])] += 1
                sample += 1
                is_timed = sample % MATCH_SAMPLE_EVERY == 0
                before = clock_ns(CLOCK_MONOTONIC) if is_timed else int64(0)
                # The one place of this call: it is inlined, and large.
                tag, own = noted_tags(book, slot)
                report_seq = process_command(
                    book, commands, slot, tag, own, fresh, report_base, report_seq
                )
                if is_timed:
                    add(histograms, ShardStage.MATCH, clock_ns(CLOCK_MONOTONIC) - before)
                at += 1
            store_release(_word(state, ShardWord.MATCH_SAMPLE), sample)
            last_seq = load_acquire(_word(state, ShardWord.SEQ))
            reach(faults, FaultPoint.AFTER_MATCHING.value)
            address = _pack(
                state,
                fresh,
                fresh_words,
                report_seq - first_report,
                book.shard_base,
                report_log + position,
            )
            _count_reports(
                fresh,
                report_seq - first_report,
                first_report + 1,
                commands,
                end,
                last_seq + 1,
                stamps,
                counters,
            )
            # --- release, or queue for it ---
            event_seq = book.state[0]["event_seq"]
            store_release(_word(state, ShardWord.REPORT_SEQ), report_seq)
            store_release(_word(state, ShardWord.REPORT_POSITION), address - report_log)
            if not is_power:
                store_release(_word(state, ShardWord.RELEASED_POSITION), address - report_log)
                store_release(_word(state, ShardWord.RELEASED_REPORT), report_seq)
                store_release(_word(state, ShardWord.EVENT_SEQ), event_seq)
            store_release(_word(state, ShardWord.BATCH_NEXT), at)
            if not is_short:
                store_release(_word(state, ShardWord.BATCH_END), 0)
                if is_power:
                    enqueue(
                        queue,
                        load_acquire(_word(state, ShardWord.LOG_BYTES)),
                        last_seq,
                        ring,
                        end,
                        report_seq,
                        address - report_log,
                        event_seq,
                    )
                else:
                    release(header, end)
            if not is_power:
                wake_gateways(gateways, eventfds)
            if is_short and report_seq == first_report:
                # Not even the next command's reports have room: only Python can make some.
                return LoopExit.REPORT_SEGMENT
        heartbeat = load_acquire(_word(state, ShardWord.HEARTBEAT))
        store_release(_word(state, ShardWord.HEARTBEAT), heartbeat + 1)
        _answer_depth(book, state, levels, queue, durability)
        if worked:
            if clock_ns(CLOCK_MONOTONIC) >= stop_at_ns:
                return LoopExit.TICK
            continue
        if load_acquire(_word(state, ShardWord.STOP)) != 0 and queued_batches(queue) == 0:
            return LoopExit.STOPPED
        if clock_ns(CLOCK_MONOTONIC) >= stop_at_ns:
            return LoopExit.TICK
        _wait(state, headers, positions, queue, stop_at_ns, spin_ns)

"""The order path outwards: released reports of a shard → bytes for the sockets they belong to."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from openoutcry.config.jit import int64, lean_kernel, lean_part
from openoutcry.engine.atomics import (
    CLOCK_MONOTONIC,
    clock_ns,
    cpu_pause,
    fence_seq_cst,
    load_acquire,
    store_release,
)
from openoutcry.engine.enums import ReportKind, TimeInForce
from openoutcry.engine.latency import GatewayCounter, GatewayStage, Protocol, add_many
from openoutcry.engine.pack import unpack_report
from openoutcry.engine.records import SHARD_SHIFT
from openoutcry.engine.ring import head_position, tail_position
from openoutcry.protocol.binary.encode import encode_execution_report as encode_binary
from openoutcry.protocol.binary.layouts import MAX_REPORT_FRAME, SPARE_BYTES
from openoutcry.protocol.fix.encode import MAX_REPORT_BYTES
from openoutcry.server.reports import encode_fix, fill_binary, fill_fix
from openoutcry.server.sessions import (
    ANSWERED,
    BLOCK_LIMIT,
    HOME_UNKNOWN,
    NEXT_BLOCK,
    PROTOCOL_FIX,
    SEGMENT_BLOCKS,
    index_append,
)
from openoutcry.server.tables import COPIES_UNKNOWN
from openoutcry.server.translate import Routes

#: Return codes of `encode_reports`.
OUTBOUND_DONE = 0
OUTBOUND_FLUSH = 1  # a connection's buffer is full: write, then call again
OUTBOUND_INDEX = 2  # the session index needs another segment
OUTBOUND_PYTHON = 3  # the unpacked report is for Python, and stepped over
OUTBOUND_DIRECTORY = 4  # the report is of a session or account that the directory may tell of

_BINARY_ROOM = MAX_REPORT_FRAME + SPARE_BYTES
_PAUSES_PER_CLOCK = 16


@lean_part
def has_copies(routes: Routes, report: Any, owner: int) -> bool:
    """Tell whether sessions besides its own may see a report.

    Not copied: what tells of no order (a status request's answer), and rejects of the binary
    protocol with codes that FIX may not have.
    """
    firm = routes.sessions[owner]["copies"]
    account = routes.accounts[int64(report["account"])]["copies"]
    if firm < 0 and account < 0:
        return False
    kind = int64(report["kind"])
    if report["order_id"] != 0 or kind == ReportKind.CANCEL_REJECTED:
        return True
    if kind == ReportKind.STATUS:
        return False
    side, ord_type = int64(report["side"]), int64(report["ord_type"])
    is_common = 1 <= side <= 2 and 1 <= ord_type <= 2 and report["tif"] <= TimeInForce.FOK
    return is_common or routes.sessions[owner]["protocol"] == PROTOCOL_FIX


@lean_part
def is_account_unknown(routes: Routes, report: Any) -> bool:
    """Tell whether a report's account was added by another gateway, and is not in our table yet."""
    return bool(routes.accounts[int64(report["account"])]["copies"] == COPIES_UNKNOWN)


@lean_part
def is_listed(copies: NDArray[np.int64], row: int, session: int) -> bool:
    """Tell whether a session is in the list of receivers that begins at a row."""
    while row >= 0:
        if copies[row, 0] == session:
            return True
        row = copies[row, 1]
    return False


@lean_kernel
def _copy_report(
    is_trial: bool,
    room: int,
    source: int,
    reports: NDArray[Any],
    shard: int,
    routes: Routes,
    blocks: NDArray[np.int64],
    allocator: NDArray[np.int64],
    out: NDArray[np.uint8],
    out_used: NDArray[np.int64],
    session_texts: NDArray[Any],
    reason_texts: NDArray[np.uint8],
    reason_lengths: NDArray[np.int64],
    times: NDArray[np.int64],
    values: NDArray[Any],
    now_ms: int,
) -> tuple[int, int]:
    """Send the report in row 0 to each session that gets copies of it; return (code, how many).

    A trial sends nothing: it tells whether all of them have room, and a block each.
    """
    sessions = routes.sessions
    owner = int64(reports[0]["session"])
    firm = sessions[owner]["copies"]
    row = firm
    is_account = False
    count = 0
    while True:
        if row < 0:
            if is_account:
                break
            is_account = True
            row = routes.accounts[int64(reports[0]["account"])]["copies"]
            continue
        target = routes.copies[row, 0]
        row = routes.copies[row, 1]
        # A session gets one copy, whichever list it is in.
        if target == owner or (is_account and is_listed(routes.copies, firm, target)):
            continue
        if sessions[target]["home"] != routes.ring:
            continue
        is_live = sessions[target]["is_live"] != 0
        connection = sessions[target]["connection"]
        if is_trial:
            count += 1
            if is_live and out_used[connection] > room:
                return OUTBOUND_FLUSH, count
            continue
        number = sessions[target]["next_out"]
        index_append(sessions, target, blocks, allocator, number, now_ms, source)
        sessions[target]["next_out"] = number + 1
        if not is_live:
            continue
        count += 1
        fill_fix(values, reports, 0, routes, shard, target, session_texts[target]["version"])
        values[0]["seq_num"] = number
        values[0]["sending_time_ms"] = now_ms
        values[0]["poss_dup"] = 0
        out_used[connection] = encode_fix(
            out[connection],
            out_used[connection],
            reports,
            0,
            target,
            session_texts,
            reason_texts,
            reason_lengths,
            times,
            values,
        )
        sessions[target]["sent_ms"] = now_ms
    # One block for each of them, one for the report's own session, and those that begin segments.
    if is_trial:
        wanted = count + 2 + count // allocator[SEGMENT_BLOCKS]
        if allocator[NEXT_BLOCK] + wanted > allocator[BLOCK_LIMIT]:
            return OUTBOUND_INDEX, count
    return OUTBOUND_DONE, count


@lean_kernel
def encode_reports(
    report_log: int,
    position: int,
    base_ns: int,
    reports: NDArray[Any],
    words: NDArray[np.int64],
    next_report: int,
    stop: int,
    shard: int,
    routes: Routes,
    blocks: NDArray[np.int64],
    allocator: NDArray[np.int64],
    out: NDArray[np.uint8],
    out_used: NDArray[np.int64],
    session_texts: NDArray[Any],
    reason_texts: NDArray[np.uint8],
    reason_lengths: NDArray[np.int64],
    times: NDArray[np.int64],
    fix_values: NDArray[Any],
    binary_values: NDArray[Any],
    now_ms: int,
) -> tuple[int, int, int, int]:
    """Number the reports next_report … stop - 1, and encode those whose session is live.

    `report_log` is the address of the shard's report log, `position` where the next report lies in
    it; `reports` is one REPORT row to unpack into (`words`: the same as (1, 24) words).

    Returns (OUTBOUND_…, the next report, its position, the position of the one that is for
    Python). `out` is (connections, bytes); `out_used` says how much of each row is filled. A report
    is noted in its session's index before it is encoded; a session whose client is away, or that is
    being resent to, gets only the number and the note. Drop copies go out behind the report itself,
    likewise. The answers to mass requests are for Python, which has to be called behind what was
    encoded before; where nobody asked, they are passed over. So are answers to status requests,
    while a session has one that Python completes. Of sessions that have their home at another
    gateway, only the copies for sessions of this one are sent.
    """
    sessions = routes.sessions
    flight = routes.flight
    room = out.shape[1] - max(MAX_REPORT_BYTES, _BINARY_ROOM)
    base = int64(shard) << SHARD_SHIFT
    fix_sent = 0
    binary_sent = 0
    code = OUTBOUND_DONE
    for_python = int64(0)
    report = reports[0]
    while next_report < stop:
        end = unpack_report(words, 0, base_ns, base, report_log + position) - report_log
        session = int64(report["session"])
        kind = int64(report["kind"])
        home = sessions[session]["home"]
        is_own = home == routes.ring
        if home == HOME_UNKNOWN or is_account_unknown(routes, report):
            code = OUTBOUND_DIRECTORY
            break
        if is_own:
            inbound_seq = report["inbound_seq"]
            if inbound_seq > flight[session, shard, ANSWERED]:
                if report["epoch"] == sessions[session]["epoch"]:
                    flight[session, shard, ANSWERED] = inbound_seq
            is_mass = kind >= ReportKind.MASS_CANCELED
            is_status = kind == ReportKind.STATUS and sessions[session]["python_statuses"] != 0
            if kind == ReportKind.DUPLICATE or (is_mass and inbound_seq == 0):
                next_report += 1
                position = end
                continue
            if is_mass or is_status:
                code = OUTBOUND_PYTHON
                for_python = position
                next_report += 1
                position = end
                break
        elif kind >= ReportKind.DUPLICATE or not has_copies(routes, report, session):
            next_report += 1
            position = end
            continue
        is_live = is_own and sessions[session]["is_live"] != 0
        connection = sessions[session]["connection"]
        if is_live and out_used[connection] > room:
            code = OUTBOUND_FLUSH
            break
        is_copied = has_copies(routes, report, session)
        if is_copied:
            code, _ = _copy_report(
                True,
                room,
                base | position,
                reports,
                shard,
                routes,
                blocks,
                allocator,
                out,
                out_used,
                session_texts,
                reason_texts,
                reason_lengths,
                times,
                fix_values,
                now_ms,
            )
            if code != OUTBOUND_DONE:
                break
        number = sessions[session]["next_out"]
        if is_own:
            source = base | position
            if not index_append(sessions, session, blocks, allocator, number, now_ms, source):
                code = OUTBOUND_INDEX
                break
            sessions[session]["next_out"] = number + 1
        if is_live:
            used = out_used[connection]
            if sessions[session]["protocol"] == PROTOCOL_FIX:
                version = session_texts[session]["version"]
                fill_fix(fix_values, reports, 0, routes, shard, session, version)
                fix_values[0]["seq_num"] = number
                fix_values[0]["sending_time_ms"] = now_ms
                fix_values[0]["poss_dup"] = 0
                used = encode_fix(
                    out[connection],
                    used,
                    reports,
                    0,
                    session,
                    session_texts,
                    reason_texts,
                    reason_lengths,
                    times,
                    fix_values,
                )
                fix_sent += 1
            else:
                fill_binary(binary_values, reports, 0, routes, shard)
                binary_values[0]["seq"] = number
                binary_values[0]["repeated"] = 0
                used = encode_binary(out[connection], used, binary_values, 0)
                binary_sent += 1
            out_used[connection] = used
            sessions[session]["sent_ms"] = now_ms
        if is_copied:
            _, copied = _copy_report(
                False,
                room,
                base | position,
                reports,
                shard,
                routes,
                blocks,
                allocator,
                out,
                out_used,
                session_texts,
                reason_texts,
                reason_lengths,
                times,
                fix_values,
                now_ms,
            )
            fix_sent += copied
        next_report += 1
        position = end
    routes.counters[GatewayCounter.MESSAGES_OUT + Protocol.FIX] += fix_sent
    routes.counters[GatewayCounter.MESSAGES_OUT + Protocol.BINARY] += binary_sent
    routes.counters[GatewayCounter.REPORTS_READ + shard] = next_report - 1
    return code, next_report, position, for_python


@lean_kernel
def count_latency(
    stamps: NDArray[np.int64], first: int, stop: int, histograms: NDArray[np.int64]
) -> None:
    """Count how long ago the reports first … stop - 1, just written, were released and asked
    for."""
    mask = len(stamps) - 1
    now = clock_ns(CLOCK_MONOTONIC)
    run = 0
    seen_recv = int64(0)
    seen_released = int64(0)
    # The oldest stamps may be overwritten already when the gateway is far behind.
    for n in range(max(first, stop - (mask + 1) // 2), stop):
        recv = stamps[n & mask, 0]
        released = stamps[n & mask, 1]
        if recv != seen_recv or released != seen_released:
            if run:
                add_many(histograms, GatewayStage.REPORT_TO_SOCKET, now - seen_released, run)
                if seen_recv:
                    add_many(histograms, GatewayStage.GATEWAY_TO_GATEWAY, now - seen_recv, run)
            seen_recv = recv
            seen_released = released
            run = 0
        run += 1
    if run:
        add_many(histograms, GatewayStage.REPORT_TO_SOCKET, now - seen_released, run)
        if seen_recv:
            add_many(histograms, GatewayStage.GATEWAY_TO_GATEWAY, now - seen_recv, run)


@lean_kernel
def released_report(state: int) -> int:
    """Return the last report that a shard released; `state` is the address of its RELEASED word."""
    return load_acquire(state)


@lean_kernel
def await_release(state: int, header: int, seen: int, spin_ns: int) -> int:
    """Spin until a report after `seen` is released, at most `spin_ns`; return the last one.

    `header` is the address of our command ring's header: an empty ring has no answers to wait for.
    """
    released = load_acquire(state)
    if released != seen or head_position(header) == tail_position(header):
        return released
    until = clock_ns(CLOCK_MONOTONIC) + spin_ns
    while True:
        for _ in range(_PAUSES_PER_CLOCK):
            cpu_pause()
            released = load_acquire(state)
            if released != seen:
                return released
        if clock_ns(CLOCK_MONOTONIC) >= until:
            return released


@lean_kernel
def fall_asleep(sleeping: int, states: NDArray[np.int64], seen: NDArray[np.int64]) -> bool:
    """Raise the sleeping flag; return False, flag down, where a shard released something
    meanwhile."""
    store_release(sleeping, 1)
    fence_seq_cst()
    for shard in range(len(states)):
        if load_acquire(states[shard]) != seen[shard]:
            store_release(sleeping, 0)
            return False
    return True

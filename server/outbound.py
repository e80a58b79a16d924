"""The order path outwards: released reports of a shard → bytes for the sockets they belong to."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from openoutcry.config.jit import int64, lean_kernel, uint64
from openoutcry.engine.arithmetic import average_price
from openoutcry.engine.atomics import (
    CLOCK_MONOTONIC,
    clock_ns,
    cpu_pause,
    fence_seq_cst,
    load_acquire,
    store_release,
)
from openoutcry.engine.enums import CommandKind, OrderType, RejectReason, ReportKind
from openoutcry.engine.latency import GatewayCounter, GatewayStage, Protocol, add_many
from openoutcry.engine.pack import unpack_report
from openoutcry.engine.records import SHARD_SHIFT
from openoutcry.engine.ring import head_position, tail_position
from openoutcry.protocol.binary.encode import encode_execution_report as encode_binary
from openoutcry.protocol.binary.layouts import MAX_REPORT_FRAME, NO_AVG_PX, SPARE_BYTES
from openoutcry.protocol.fix.encode import (
    MAX_REPORT_BYTES,
    NONE,
    encode_cancel_reject,
    encode_execution_report,
)
from openoutcry.server.sessions import PROTOCOL_FIX, index_append
from openoutcry.server.translate import (
    CXL_REJ_REASON,
    EXEC_TYPE,
    ORD_REJ_REASON,
    ORD_STATUS,
    Routes,
)

#: Return codes of `encode_reports`.
OUTBOUND_DONE = 0
OUTBOUND_FLUSH = 1  # a connection's buffer is full: write, then call again
OUTBOUND_INDEX = 2  # the session index needs another segment

#: Binary AvgPx is in this part of a tick.
_BINARY_AVERAGE = 100_000_000
_BINARY_ROOM = MAX_REPORT_FRAME + SPARE_BYTES
_PAUSES_PER_CLOCK = 16


@lean_kernel
def fill_fix(
    values: NDArray[Any], reports: NDArray[Any], n: int, routes: Routes, shard: int
) -> None:
    """Fill row 0 of FIX REPORT_VALUES from report row `n`, all but the header's fields."""
    row = values[0]
    report = reports[n]
    kind = int64(report["kind"])
    reason = int64(report["reason"])
    symbol = int64(report["symbol"])
    is_known = 0 <= symbol < len(routes.symbols)
    base = int64(shard) << SHARD_SHIFT
    row["transact_time_ns"] = report["time_ns"]
    row["order_id"] = report["order_id"]
    row["exec_id"] = base | report["report_seq"]
    row["id0"] = report["id0"]
    row["id1"] = report["id1"]
    row["id2"] = report["id2"]
    row["id3"] = report["id3"]
    row["id4"] = report["id4"]
    if kind == ReportKind.TRADE:
        row["orig0"] = uint64(0)
        row["has_last"] = 1
    else:
        row["orig0"] = report["orig0"]
        row["orig1"] = report["orig1"]
        row["orig2"] = report["orig2"]
        row["orig3"] = report["orig3"]
        row["orig4"] = report["orig4"]
        row["has_last"] = 0
    account = int64(report["account"])
    row["account0"] = routes.accounts[account]["name0"]
    row["account1"] = routes.accounts[account]["name1"]
    row["account2"] = routes.accounts[account]["name2"]
    row["account3"] = routes.accounts[account]["name3"]
    row["price_scale"] = 0
    row["qty_scale"] = 0
    row["avg_px_scale"] = 0
    tick = int64(1)
    lot = int64(1)
    row["avg_px"] = 0
    if is_known:
        row["symbol0"] = routes.symbols[symbol]["name0"]
        row["symbol1"] = routes.symbols[symbol]["name1"]
        row["symbol2"] = routes.symbols[symbol]["name2"]
        tick = routes.symbols[symbol]["tick_mantissa"]
        lot = routes.symbols[symbol]["lot_mantissa"]
        row["price_scale"] = routes.symbols[symbol]["tick_scale"]
        row["qty_scale"] = routes.symbols[symbol]["lot_scale"]
        cum_qty = report["cum_qty"]
        if cum_qty != 0:
            multiplier = routes.symbols[symbol]["avg_multiplier"]
            row["avg_px_scale"] = routes.symbols[symbol]["avg_scale"]
            hi = report["notional_hi"]
            lo = int64(report["notional_lo"])
            average, fits = average_price(hi, lo, cum_qty, multiplier)
            if not fits:
                # A price near the ends of int64: fewer decimals fit.
                row["avg_px_scale"] = row["price_scale"]
                average, fits = average_price(hi, lo, cum_qty, tick)
            row["avg_px"] = average
    else:
        row["symbol0"] = uint64(0)
    row["price"] = report["price_ticks"] * tick
    row["order_qty"] = report["qty_lots"] * lot
    row["leaves_qty"] = report["leaves_qty"] * lot
    row["cum_qty"] = report["cum_qty"] * lot
    row["trade_id"] = 0
    row["liquidity"] = 0
    if kind == ReportKind.TRADE:
        row["last_px"] = report["last_px"] * tick
        row["last_qty"] = report["last_qty"] * lot
        row["trade_id"] = report["trade_id"]
        row["liquidity"] = report["liquidity"]
    row["exec_type"] = EXEC_TYPE[kind]
    row["ord_status"] = ORD_STATUS[int64(report["status"])]
    row["side"] = report["side"]
    row["ord_type"] = report["ord_type"]
    row["tif"] = report["tif"]
    row["has_price"] = 1 if report["ord_type"] == OrderType.LIMIT else 0
    row["ord_rej_reason"] = NONE
    row["cxl_rej_reason"] = NONE
    row["text"] = NONE
    if reason != RejectReason.NONE:
        row["text"] = reason
        row["ord_rej_reason"] = ORD_REJ_REASON[reason]
        if kind == ReportKind.CANCEL_REJECTED:
            row["cxl_rej_reason"] = CXL_REJ_REASON[reason]
    row["cxl_rej_response_to"] = 2 if report["response_to"] == CommandKind.REPLACE else 1
    if kind == ReportKind.CANCEL_REJECTED and reason == RejectReason.UNKNOWN_ORDER:
        row["order_id"] = 0


@lean_kernel
def encode_fix(
    out: NDArray[np.uint8],
    pos: int,
    reports: NDArray[Any],
    n: int,
    session: int,
    texts: NDArray[Any],
    reason_texts: NDArray[np.uint8],
    reason_lengths: NDArray[np.int64],
    times: NDArray[np.int64],
    values: NDArray[Any],
) -> int:
    """Encode report row `n`, for which row 0 of `values` is filled; return the end position."""
    if reports[n]["kind"] == ReportKind.CANCEL_REJECTED:
        return encode_cancel_reject(
            out, pos, texts, session, reason_texts, reason_lengths, times, values, 0
        )
    return encode_execution_report(
        out, pos, texts, session, reason_texts, reason_lengths, times, values, 0
    )


@lean_kernel
def fill_binary(
    values: NDArray[Any], reports: NDArray[Any], n: int, routes: Routes, shard: int
) -> None:
    """Fill row 0 of binary REPORT_VALUES from report row `n`, all but seq and repeated."""
    row = values[0]
    report = reports[n]
    kind = int64(report["kind"])
    row["ref_seq"] = report["inbound_seq"]
    row["order_id"] = report["order_id"]
    row["exec_id"] = (int64(shard) << SHARD_SHIFT) | report["report_seq"]
    row["price"] = report["price_ticks"]
    row["qty"] = report["qty_lots"]
    row["cum_qty"] = report["cum_qty"]
    row["leaves_qty"] = report["leaves_qty"]
    row["avg_px"] = 0
    if report["cum_qty"] != 0:
        average, fits = average_price(
            report["notional_hi"],
            int64(report["notional_lo"]),
            report["cum_qty"],
            _BINARY_AVERAGE,
        )
        row["avg_px"] = average if fits else NO_AVG_PX
    row["time_ns"] = report["time_ns"]
    row["symbol"] = report["symbol"]
    row["reason"] = report["reason"]
    row["kind"] = kind
    row["status"] = report["status"]
    row["side"] = report["side"]
    row["ord_type"] = report["ord_type"]
    row["tif"] = report["tif"]
    row["id0"] = report["id0"]
    row["id1"] = report["id1"]
    row["id2"] = report["id2"]
    row["id3"] = report["id3"]
    row["id4"] = report["id4"]
    if kind == ReportKind.TRADE:
        row["liquidity"] = report["liquidity"]
        row["last_px"] = report["last_px"]
        row["last_qty"] = report["last_qty"]
        row["trade_id"] = report["trade_id"]
        row["orig0"] = uint64(0)
        row["orig1"] = uint64(0)
        row["orig2"] = uint64(0)
        row["orig3"] = uint64(0)
        row["orig4"] = uint64(0)
    else:
        row["liquidity"] = 0
        row["last_px"] = 0
        row["last_qty"] = 0
        row["trade_id"] = 0
        row["orig0"] = report["orig0"]
        row["orig1"] = report["orig1"]
        row["orig2"] = report["orig2"]
        row["orig3"] = report["orig3"]
        row["orig4"] = report["orig4"]
    account = int64(report["account"])
    row["account0"] = routes.accounts[account]["name0"]
    row["account1"] = routes.accounts[account]["name1"]
    row["account2"] = routes.accounts[account]["name2"]
    row["account3"] = routes.accounts[account]["name3"]


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
) -> tuple[int, int, int]:
    """Number the reports next_report … stop - 1, and encode those whose session is live.

    `report_log` is the address of the shard's report log, `position` where the next report lies in
    it; `reports` is one REPORT row to unpack into (`words`: the same as (1, 24) words).

    Returns (OUTBOUND_…, the next report, its position). `out` is (connections, bytes); `out_used`
    says how much of each row is filled. A report is noted in its session's index before it is
    encoded; a session whose client is away, or that is being resent to, gets only the number and
    the note.
    """
    sessions = routes.sessions
    room = out.shape[1] - max(MAX_REPORT_BYTES, _BINARY_ROOM)
    base = int64(shard) << SHARD_SHIFT
    fix_sent = 0
    binary_sent = 0
    code = OUTBOUND_DONE
    report = reports[0]
    while next_report < stop:
        end = unpack_report(words, 0, base_ns, base, report_log + position) - report_log
        session = int64(report["session"])
        if session == 0 or report["kind"] == ReportKind.DUPLICATE:
            next_report += 1
            position = end
            continue
        is_live = sessions[session]["is_live"] != 0
        connection = sessions[session]["connection"]
        if is_live and out_used[connection] > room:
            code = OUTBOUND_FLUSH
            break
        number = sessions[session]["next_out"]
        if not index_append(sessions, session, blocks, allocator, number, now_ms, base | position):
            code = OUTBOUND_INDEX
            break
        sessions[session]["next_out"] = number + 1
        if is_live:
            used = out_used[connection]
            if sessions[session]["protocol"] == PROTOCOL_FIX:
                fill_fix(fix_values, reports, 0, routes, shard)
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
        next_report += 1
        position = end
    routes.counters[GatewayCounter.MESSAGES_OUT + Protocol.FIX] += fix_sent
    routes.counters[GatewayCounter.MESSAGES_OUT + Protocol.BINARY] += binary_sent
    routes.counters[GatewayCounter.REPORTS_READ + shard] = next_report - 1
    return code, next_report, position


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

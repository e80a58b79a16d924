"""A shard's report as a message of either protocol: the row that an encode kernel takes."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from openoutcry.config.jit import int64, lean_kernel, lean_part, uint64
from openoutcry.engine.arithmetic import average_price
from openoutcry.engine.enums import CommandKind, OrderStatus, OrderType, RejectReason, ReportKind
from openoutcry.engine.records import SHARD_SHIFT
from openoutcry.protocol.binary.layouts import NO_AVG_PX
from openoutcry.protocol.binary.words import address_of
from openoutcry.protocol.fix.encode import NONE, encode_cancel_reject, encode_execution_report
from openoutcry.protocol.fix.versions import Version
from openoutcry.server.translate import (
    CXL_REJ_REASON,
    EXEC_TYPE,
    ORD_REJ_REASON,
    ORD_STATUS,
    RESTATEMENT,
    Routes,
)

#: Binary AvgPx is in this part of a tick.
_BINARY_AVERAGE = 100_000_000
_FIX40 = int(Version.FIX40)
_FIX42 = int(Version.FIX42)
#: The least number with more digits than FIX may have.
_DIGITS = 10**18
#: ExecTransType(20).
_NEW = 0
_STATUS = 3
_REPLACED = ord("5")


@lean_part
def is_report(reports: NDArray[Any], routes: Routes) -> bool:
    """Tell whether row 0 has the numbers that a report may have, by which tables are read."""
    report = reports[0]
    return (
        0 <= int64(report["session"]) < len(routes.sessions)
        and 0 <= int64(report["account"]) < len(routes.accounts)
        and 0 < int64(report["kind"]) < EXEC_TYPE.shape[1]
        and 0 <= int64(report["status"]) < ORD_STATUS.shape[1]
        and 0 <= int64(report["reason"]) < ORD_REJ_REASON.shape[1]
    )


@lean_kernel
def fill_fix(
    values: NDArray[Any],
    reports: NDArray[Any],
    n: int,
    routes: Routes,
    shard: int,
    session: int,
    version: int,
) -> None:
    """Fill row 0 of FIX REPORT_VALUES from report row `n`, all but the header's numbers and times.

    `session` is who gets it, in FIX's `version`: a drop copy where it is not the report's own.
    """
    row = values[0]
    report = reports[n]
    kind = int64(report["kind"])
    reason = int64(report["reason"])
    symbol = int64(report["symbol"])
    is_known = 0 <= symbol < len(routes.symbols)
    base = int64(shard) << SHARD_SHIFT
    row["last_processed"] = 0
    if routes.sessions[session]["sends_last_processed"] != 0:
        row["last_processed"] = routes.sessions[session]["next_in"] - 1
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
    row["is_copy"] = 0
    row["route_len"] = 0
    if session != report["session"]:
        row["is_copy"] = 1
    elif routes.accounts[account]["route_len"] > 0:
        row["route"] = address_of(routes.account_texts) + routes.accounts[account]["route_off"]
        row["route_len"] = routes.accounts[account]["route_len"]
    row["parties_len"] = 0
    if (
        routes.accounts[account]["party_len"] > 0
        and routes.accounts[account]["party_min"]
        <= version
        <= routes.accounts[account]["party_max"]
    ):
        row["parties"] = address_of(routes.account_texts) + routes.accounts[account]["party_off"]
        row["parties_len"] = routes.accounts[account]["party_len"]
        if kind == ReportKind.CANCEL_REJECTED:
            row["parties_len"] -= routes.accounts[account]["party_tail"]
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
            scale = routes.symbols[symbol]["avg_scale"]
            hi = report["notional_hi"]
            lo = int64(report["notional_lo"])
            average, fits = average_price(hi, lo, cum_qty, multiplier)
            # Of a very large price fewer decimals fit.
            while scale > row["price_scale"] and not (fits and -_DIGITS < average < _DIGITS):
                scale -= 1
                multiplier //= 10
                average, fits = average_price(hi, lo, cum_qty, multiplier)
            row["avg_px_scale"] = scale
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
    status = int64(report["status"])
    ord_status = ORD_STATUS[version, status]
    exec_type = EXEC_TYPE[version, kind]
    row["exec_type"] = exec_type if exec_type != 0 else ord_status
    row["exec_trans_type"] = _STATUS if kind == ReportKind.STATUS else _NEW
    if kind == ReportKind.REPLACED and version <= _FIX42:
        # In 4.0, which has no ExecType, nothing else says so; later, fills are the better news.
        if version == _FIX40 or status == OrderStatus.NEW:
            ord_status = _REPLACED
    row["ord_status"] = ord_status
    row["side"] = report["side"]
    row["ord_type"] = report["ord_type"]
    row["tif"] = report["tif"]
    row["has_price"] = 1 if report["ord_type"] == OrderType.LIMIT else 0
    row["ord_rej_reason"] = NONE
    row["cxl_rej_reason"] = NONE
    row["restatement"] = NONE
    row["text"] = NONE
    if reason != RejectReason.NONE:
        row["text"] = reason
        if kind == ReportKind.CANCEL_REJECTED:
            row["cxl_rej_reason"] = CXL_REJ_REASON[version, reason]
        elif kind == ReportKind.CANCELED:
            row["restatement"] = RESTATEMENT[version, reason]
        else:
            row["ord_rej_reason"] = ORD_REJ_REASON[version, reason]
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

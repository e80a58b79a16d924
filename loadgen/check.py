"""Each report against the order that it answers: what the venue says must follow from what we know.

A report that does not fit is counted, and the first few are kept for a description. The order's
state then follows the report as far as that is possible, so that one mistake is not reported a
thousand times.
"""

from enum import IntEnum
from typing import Any

import numpy as np

from openoutcry.config.jit import inlined_kernel, lean_kernel, lean_part
from openoutcry.loadgen.histogram import record
from openoutcry.loadgen.ids import decode_id, encode_id, slot_of
from openoutcry.loadgen.layouts import (
    MISMATCHES_KEPT,
    NIL,
    ORDER,
    SHARDS_MAX,
    SLOT_BITS,
    Action,
    Count,
    Load,
    OrderState,
)
from openoutcry.loadgen.prefetch import prefetch
from openoutcry.protocol.binary.enums import (
    AVG_PX_SCALE,
    Liquidity,
    OrderStatus,
    RejectReason,
    ReportKind,
    Side,
    TimeInForce,
)
from openoutcry.protocol.binary.layouts import NO_AVG_PX
from openoutcry.protocol.binary.words import address_of


class Mismatch(IntEnum):
    """What does not fit."""

    CL_ORD_ID = 1
    ORIG_CL_ORD_ID = 2
    UNKNOWN_ORDER = 3
    NOT_ASKED = 4
    KIND = 5
    STATUS = 6
    SYMBOL = 7
    SIDE = 8
    ORD_TYPE = 9
    TIF = 10
    ACCOUNT = 11
    PRICE = 12
    QTY = 13
    CUM_QTY = 14
    LEAVES_QTY = 15
    LAST_QTY = 16
    LAST_PX = 17
    AVG_PX = 18
    ORDER_ID = 19
    EXEC_ID = 20
    REASON = 21
    REF_SEQ = 22
    LIQUIDITY = 23
    SEQ = 24
    REFUSED = 25
    MISSING_FIELD = 26


#: A figure that the protocol at hand does not give: it is not checked.
NOT_GIVEN = -(2**62)

_NEW = int(ReportKind.NEW)
_TRADE = int(ReportKind.TRADE)
_CANCELED = int(ReportKind.CANCELED)
_REPLACED = int(ReportKind.REPLACED)
_REJECTED = int(ReportKind.REJECTED)
_EXPIRED = int(ReportKind.EXPIRED)
_CANCEL_REJECTED = int(ReportKind.CANCEL_REJECTED)
_STATUS_NEW = int(OrderStatus.NEW)
_STATUS_PARTIAL = int(OrderStatus.PARTIALLY_FILLED)
_STATUS_FILLED = int(OrderStatus.FILLED)
_STATUS_CANCELED = int(OrderStatus.CANCELED)
_STATUS_REJECTED = int(OrderStatus.REJECTED)
_STATUS_EXPIRED = int(OrderStatus.EXPIRED)
_TOO_LATE = int(RejectReason.TOO_LATE_TO_CANCEL)
_UNKNOWN_ORDER = int(RejectReason.UNKNOWN_ORDER)
_ORDER_REPLACED = int(RejectReason.ORDER_REPLACED)
_SIDE_MISMATCH = int(RejectReason.SIDE_MISMATCH)
_BUY = int(Side.BUY)
_DAY = int(TimeInForce.DAY)
_IOC = int(TimeInForce.IOC)
_FOK = int(TimeInForce.FOK)
_ADDED = int(Liquidity.ADDED)
_REMOVED = int(Liquidity.REMOVED)
_ASKED_NEW = int(Action.NEW)
_ASKED_CANCEL = int(Action.CANCEL)
_ASKED_REPLACE = int(Action.REPLACE)
_ASKED_MARKETABLE = int(Action.MARKETABLE)
_FREE = int(OrderState.FREE)
_OPEN = int(OrderState.OPEN)
_FINISHED = int(OrderState.FINISHED)
_ORDER_BYTES = ORDER.itemsize
_SLOT_MASK = (1 << SLOT_BITS) - 1
_SHARD_SHIFT = 48
_ZERO = np.uint64(0)
POWERS = np.array([10**n for n in range(19)], np.int64)


@lean_part
def expect(verdict: Any, code: int, expected: Any, got: Any) -> None:
    """Compare; the first difference of a report is its verdict."""
    if expected != got and got != NOT_GIVEN and verdict["code"] == 0:
        verdict["code"] = code
        verdict["expected"] = expected
        verdict["got"] = got


@lean_part
def fail(verdict: Any, code: int, expected: Any, got: Any) -> None:
    """Find against the report, unless something was found before."""
    if verdict["code"] == 0:
        verdict["code"] = code
        verdict["expected"] = expected
        verdict["got"] = got


@lean_kernel
def keep_verdict(load: Load, c: int, k: int) -> None:
    """Count the mismatch found in the report at hand, keep the first few, and start anew."""
    plan = load.plan[0]
    number = plan["mismatches"]
    plan["mismatches"] = number + 1
    verdict = load.verdict[0]
    if number < MISMATCHES_KEPT:
        row = load.mismatches[number]
        row["connection"] = c
        row["code"] = verdict["code"]
        row["expected"] = verdict["expected"]
        row["got"] = verdict["got"]
        load.mismatches[number]["report"] = load.report[k]
    verdict["code"] = 0


@lean_part
def _release(load: Load, c: int, order: Any, slot: int) -> None:
    """Forget the request in flight; free the slot of an order that is finished."""
    connection = load.connections[c]
    load.free_pending[c, connection["free_pending"]] = order["pending"]
    connection["free_pending"] += 1
    order["pending"] = NIL
    if order["state"] == _FINISHED:
        _free(load, c, order, slot)


@lean_part
def _free(load: Load, c: int, order: Any, slot: int) -> None:
    connection = load.connections[c]
    order["state"] = _FREE
    load.free_slots[c, connection["free_slots"]] = slot
    connection["free_slots"] += 1


@lean_part
def _acknowledge(load: Load, c: int, order: Any, slot: int, now: int) -> None:
    """Count the positive answer to the request in flight."""
    pending = load.pending[c, order["pending"]]
    if pending["is_measured"]:
        latency = now - pending["sent_ns"]
        record(load.histogram, latency)
        load.counts[Count.ACKED] += 1
        load.counts[Count.MAX_LATENCY_NS] = max(load.counts[Count.MAX_LATENCY_NS], latency)
        load.counts[Count.LAST_ANSWER_NS] = now
    _release(load, c, order, slot)


@lean_part
def _decline(load: Load, c: int, order: Any, slot: int, family: int, reason: Any, now: int) -> None:
    """Count the negative answer to the request in flight."""
    if load.pending[c, order["pending"]]["is_measured"]:
        load.counts[Count.REJECTED] += 1
        load.counts[Count.LAST_ANSWER_NS] = now
        load.rejects[family, reason] += 1
    _release(load, c, order, slot)


@lean_part
def _check_order(load: Load, c: int, order: Any, row: Any) -> None:
    """Compare what each report repeats of its order."""
    verdict = load.verdict[0]
    market = load.markets[order["market"]]
    expect(verdict, Mismatch.SYMBOL, np.int64(market["number"]), np.int64(row["symbol"]))
    expect(verdict, Mismatch.SIDE, np.int64(order["side"]), np.int64(row["side"]))
    expect(verdict, Mismatch.ORD_TYPE, np.int64(order["ord_type"]), np.int64(row["ord_type"]))
    expect(verdict, Mismatch.TIF, np.int64(order["tif"]), np.int64(row["tif"]))
    expect(verdict, Mismatch.PRICE, order["price"], row["price"])
    expect(verdict, Mismatch.QTY, order["qty"], row["qty"])
    plan = load.plan[0]
    if (
        row["account0"] != plan["account0"]
        or row["account1"] != plan["account1"]
        or row["account2"] != plan["account2"]
        or row["account3"] != plan["account3"]
    ):
        fail(verdict, Mismatch.ACCOUNT, 0, 0)
    order_id = row["order_id"]
    if order["order_id"] == 0:
        order["order_id"] = order_id
        if order_id <= 0:
            fail(verdict, Mismatch.ORDER_ID, 1, order_id)
    else:
        expect(verdict, Mismatch.ORDER_ID, order["order_id"], order_id)
    # ExecIDs of one shard rise within a session: none comes twice.
    exec_id = row["exec_id"]
    shard = exec_id >> _SHARD_SHIFT
    if exec_id <= 0 or shard >= SHARDS_MAX:
        fail(verdict, Mismatch.EXEC_ID, 1, exec_id)
    else:
        latest = load.exec_ids[c, shard]
        if exec_id <= latest:
            fail(verdict, Mismatch.EXEC_ID, latest + 1, exec_id)
        load.exec_ids[c, shard] = exec_id


@lean_part
def _average(order: Any, market: Any, decimals: int) -> int:
    """Return notional / cum_qty, rounded half to even; 0 without a fill.

    In 1e-8 of a tick, or, in FIX, at the configured number of decimals of the price.
    """
    cum = order["cum_qty"]
    if cum <= 0:
        return 0
    scale = np.int64(AVG_PX_SCALE)
    divisor = cum
    if decimals >= 0:
        scale = market["tick_mantissa"]
        shift = decimals - market["tick_scale"]
        if shift >= 0:
            scale *= POWERS[shift]
        else:
            divisor *= POWERS[-shift]
    whole = order["notional"] // divisor
    scaled = (order["notional"] - whole * divisor) * scale
    part = scaled // divisor
    twice = 2 * (scaled - part * divisor)
    total = whole * scale + part
    if twice > divisor or (twice == divisor and total & 1):
        total += 1
    return total


@lean_part
def _check_state(load: Load, order: Any, row: Any, status: int, leaves: int) -> None:
    """Compare status and quantities with what follows from the order's fills."""
    verdict = load.verdict[0]
    expect(verdict, Mismatch.STATUS, status, np.int64(row["status"]))
    expect(verdict, Mismatch.CUM_QTY, order["cum_qty"], row["cum_qty"])
    expect(verdict, Mismatch.LEAVES_QTY, leaves, row["leaves_qty"])
    order["status"] = row["status"]
    if row["avg_px"] != NO_AVG_PX:
        decimals = load.plan[0]["avg_px_decimals"]
        average = _average(order, load.markets[order["market"]], decimals)
        expect(verdict, Mismatch.AVG_PX, average, row["avg_px"])


@lean_part
def _check_orig(load: Load, c: int, order: Any, slot: int, row: Any) -> None:
    """The request named the order by the ClOrdID that it had."""
    orig0, orig1 = encode_id(load.connections[c]["prefix"], slot, order["generation"])
    if row["orig0"] != orig0 or row["orig1"] != orig1 or row["orig2"] != _ZERO:
        fail(load.verdict[0], Mismatch.ORIG_CL_ORD_ID, order["generation"], 0)


@lean_part
def _trade(load: Load, order: Any, row: Any) -> None:
    """Check a trade by itself, and add it to the order."""
    verdict = load.verdict[0]
    last_px = row["last_px"]
    last_qty = row["last_qty"]
    leaves = order["qty"] - order["cum_qty"]
    if last_qty <= 0 or last_qty > leaves:
        fail(verdict, Mismatch.LAST_QTY, leaves, last_qty)
    worse = last_px > order["price"] if order["side"] == _BUY else last_px < order["price"]
    liquidity = np.int64(row["liquidity"])
    if worse or (liquidity == _ADDED and last_px != order["price"]):
        fail(verdict, Mismatch.LAST_PX, order["price"], last_px)
    if liquidity != _REMOVED and (liquidity != _ADDED or order["tif"] == _IOC):
        fail(verdict, Mismatch.LIQUIDITY, _REMOVED, liquidity)
    if order["cum_qty"] == 0 and order["is_measured"]:
        load.counts[Count.FILLED] += 1
    load.counts[Count.TRADES] += 1
    order["cum_qty"] += last_qty
    order["notional"] += last_px * last_qty
    market = load.markets[order["market"]]
    if order["side"] == _BUY:
        market["bought"] += last_qty
    else:
        market["sold"] += last_qty


@lean_part
def _may_end(tif: Any, kind: Any) -> bool:
    """Tell whether the venue may end such an order by itself."""
    return tif == _IOC or tif == _FOK or (tif == _DAY and kind == _EXPIRED)


@lean_part
def _check_cancel_reject(load: Load, order: Any, row: Any) -> None:
    """A cancel or replace came too late: then the order must be finished, or filled too far."""
    verdict = load.verdict[0]
    reason = np.int64(row["reason"])
    is_finished = order["state"] == _FINISHED
    if reason == _TOO_LATE or reason == _UNKNOWN_ORDER or reason == _ORDER_REPLACED:
        if not is_finished:
            fail(verdict, Mismatch.REASON, 0, reason)
    elif reason == _SIDE_MISMATCH:
        fail(verdict, Mismatch.REASON, 0, reason)
    if is_finished:
        expect(verdict, Mismatch.STATUS, np.int64(order["status"]), np.int64(row["status"]))


@lean_part
def _is_expected(asked: Any, state: Any, kind: Any) -> bool:
    """Tell whether a report of this kind can follow, for an order in this state."""
    if asked == _ASKED_NEW or asked == _ASKED_MARKETABLE:
        return kind == _NEW or kind == _REJECTED
    if asked == _ASKED_CANCEL and kind == _CANCELED:
        return state == _OPEN
    if asked == _ASKED_REPLACE and kind == _REPLACED:
        return state == _OPEN
    if asked != 0:
        return kind == _CANCEL_REJECTED
    return state == _OPEN and (kind == _TRADE or kind == _CANCELED or kind == _EXPIRED)


@lean_part
def _follow(load: Load, c: int, k: int, order: Any, slot: int, asked: int, now: int) -> None:
    """Check a report of a kind that can be, and let the order follow it."""
    row = load.report[k]
    verdict = load.verdict[0]
    kind = np.int64(row["kind"])
    is_answer = asked != 0
    if is_answer:
        pending = load.pending[c, order["pending"]]
        expect(verdict, Mismatch.REF_SEQ, pending["seq"], row["ref_seq"])
        if kind == _REPLACED:
            _check_orig(load, c, order, slot, row)
            order["price"] = pending["price"]
            order["qty"] = pending["qty"]
            order["generation"] = pending["generation"]
    if kind == _TRADE:
        _trade(load, order, row)
    if is_answer and (kind == _CANCELED or kind == _CANCEL_REJECTED):
        _check_orig(load, c, order, slot, row)
    elif kind != _REPLACED and row["orig0"] != _ZERO:
        fail(verdict, Mismatch.ORIG_CL_ORD_ID, 0, 0)

    leaves = order["qty"] - order["cum_qty"]
    if kind == _REJECTED:
        expect(verdict, Mismatch.STATUS, _STATUS_REJECTED, np.int64(row["status"]))
        expect(verdict, Mismatch.SIDE, np.int64(order["side"]), np.int64(row["side"]))
        expect(verdict, Mismatch.CUM_QTY, 0, row["cum_qty"])
        expect(verdict, Mismatch.LEAVES_QTY, 0, row["leaves_qty"])
    elif kind == _CANCEL_REJECTED:
        _check_cancel_reject(load, order, row)
    else:
        status = _STATUS_NEW if order["cum_qty"] == 0 else _STATUS_PARTIAL
        if kind == _CANCELED or kind == _EXPIRED:
            status = _STATUS_CANCELED if kind == _CANCELED else _STATUS_EXPIRED
            leaves = np.int64(0)
            if not is_answer and not _may_end(order["tif"], kind):
                fail(verdict, Mismatch.NOT_ASKED, np.int64(order["tif"]), kind)
        elif leaves <= 0:
            status = _STATUS_FILLED
        _check_order(load, c, order, row)
        _check_state(load, order, row, status, leaves)

    if kind == _REJECTED or (leaves <= 0 and kind != _CANCEL_REJECTED):
        order["state"] = _FINISHED
    elif kind == _NEW:
        order["state"] = _OPEN
    if is_answer:
        if kind == _REJECTED:
            _decline(load, c, order, slot, 0, np.int64(row["reason"]), now)
        elif kind == _CANCEL_REJECTED:
            _decline(load, c, order, slot, 1, np.int64(row["reason"]), now)
        else:
            _acknowledge(load, c, order, slot, now)
    elif order["state"] == _FINISHED and order["pending"] == NIL:
        _free(load, c, order, slot)


@lean_part
def expect_order(load: Load, c: int, k: int) -> None:
    """Ask for the row of the order that report `k` is about: it is looked at soon."""
    row = load.report[k]
    slot: Any = np.int64(slot_of(row["id1"]))
    if slot < load.orders.shape[1]:
        orders = address_of(load.orders)
        prefetch(orders + (c * load.orders.shape[1] + slot) * _ORDER_BYTES)


@inlined_kernel
def apply_report(load: Load, c: int, k: int, now: int) -> None:
    """Check report `k` of `load.report`, which connection `c` received at `now`, and follow it."""
    row = load.report[k]
    verdict = load.verdict[0]
    load.counts[Count.REPORTS] += 1
    number = decode_id(load.connections[c]["prefix"], row["id0"], row["id1"])
    slot = number & _SLOT_MASK
    if number < 0 or row["id2"] != _ZERO:
        # An order of an earlier run on this session may still be there, in a venue that lives on.
        load.counts[Count.FOREIGN] += 1
        if load.plan[0]["is_own_venue"]:
            fail(verdict, Mismatch.CL_ORD_ID, 0, 0)
    elif slot >= load.orders.shape[1]:
        fail(verdict, Mismatch.CL_ORD_ID, load.orders.shape[1], slot)
    else:
        order = load.orders[c, slot]
        generation = number >> SLOT_BITS
        asked: Any = 0
        if order["pending"] != NIL:
            pending = load.pending[c, order["pending"]]
            if pending["generation"] == generation:
                asked = np.int64(pending["kind"])
        state = np.int64(order["state"])
        kind = np.int64(row["kind"])
        if state == _FREE or (asked == 0 and order["generation"] != generation):
            fail(verdict, Mismatch.UNKNOWN_ORDER, order["generation"], generation)
        elif not _is_expected(asked, state, kind):
            fail(verdict, Mismatch.KIND, asked, kind)
        else:
            _follow(load, c, k, order, slot, asked, now)
    if verdict["code"] != 0:
        keep_verdict(load, c, k)


@lean_part
def _find_pending(load: Load, c: int, seq: int) -> int:
    """Return the slot of the order whose request in flight has this number, or NIL."""
    for slot in range(load.orders.shape[1]):
        place = load.orders[c, slot]["pending"]
        if place != NIL and load.pending[c, place]["seq"] == seq:
            return slot
    return NIL


@lean_kernel
def refuse_request(load: Load, c: int, seq: int, reason: Any, now: int) -> bool:
    """Drop the request with this number, which the venue refused; False if there is none."""
    slot = _find_pending(load, c, seq)
    if slot == NIL:
        return False
    order = load.orders[c, slot]
    asked = np.int64(load.pending[c, order["pending"]]["kind"])
    is_new = asked == _ASKED_NEW or asked == _ASKED_MARKETABLE
    if is_new:
        order["state"] = _FINISHED
    _decline(load, c, order, slot, 0 if is_new else 1, reason, now)
    return True

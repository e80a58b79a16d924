"""A FIX connection's turn: decode and check all that came, then encode what the window allows."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from openoutcry.config.jit import lean_kernel, lean_part
from openoutcry.loadgen.check import (
    NOT_GIVEN,
    POWERS,
    Mismatch,
    apply_report,
    expect_order,
    fail,
)
from openoutcry.loadgen.layouts import Action, Count, Load, Turn
from openoutcry.loadgen.workload import next_action
from openoutcry.protocol.binary.enums import OrderStatus, RejectReason, ReportKind
from openoutcry.protocol.fix.client_codec import (
    CLIENT_REPORT,
    MAX_REQUEST_BYTES,
    ORDER_REQUEST,
    REPORT,
    Field,
    client_header,
    decode_report,
    encode_request,
)
from openoutcry.protocol.fix.layouts import OTHER, PARTIAL, SPARE_BYTES

_MAX_MESSAGE_BYTES = 4096
_ASKED_CANCEL = int(Action.CANCEL)
_ASKED_REPLACE = int(Action.REPLACE)
_DONE = int(Turn.DONE)
_SESSION = int(Turn.SESSION)
_GARBLED = int(Turn.GARBLED)
_CANCEL_REJECTED = int(ReportKind.CANCEL_REJECTED)
_REJECTED = int(ReportKind.REJECTED)
_TRADE = int(ReportKind.TRADE)
_EXPIRED = int(OrderStatus.EXPIRED)
_TOO_LATE = int(RejectReason.TOO_LATE_TO_CANCEL)
_UNKNOWN_ORDER = int(RejectReason.UNKNOWN_ORDER)
_REPLACE_RESPONSE = 2
#: FIX's own numbers of reasons stand behind this in Load.rejects.
FIX_REASONS = 1000

#: ReportKind by ExecType(150).
_KIND = np.zeros(256, np.int64)
for _character, _kind in {
    "0": ReportKind.NEW,
    "F": ReportKind.TRADE,
    "4": ReportKind.CANCELED,
    "5": ReportKind.REPLACED,
    "8": ReportKind.REJECTED,
    "C": ReportKind.EXPIRED,
    "I": ReportKind.STATUS,
}.items():
    _KIND[ord(_character)] = _kind

_IN_ALL = int(
    Field.ORDER_ID | Field.CL_ORD_ID | Field.ORD_STATUS | Field.SENDING_TIME | Field.MSG_SEQ_NUM
)
_IN_CANCEL_REJECT = int(_IN_ALL | Field.ORIG_CL_ORD_ID | Field.RESPONSE_TO)
_IN_REPORT = int(
    _IN_ALL
    | Field.EXEC_ID
    | Field.EXEC_TYPE
    | Field.SYMBOL
    | Field.SIDE
    | Field.ORDER_QTY
    | Field.LEAVES_QTY
    | Field.CUM_QTY
    | Field.AVG_PX
    | Field.TRANSACT_TIME
)
_IN_ORDER = int(_IN_REPORT | Field.PRICE | Field.ORD_TYPE | Field.TIME_IN_FORCE | Field.ACCOUNT)
_IN_TRADE = int(_IN_ORDER | Field.LAST_PX | Field.LAST_QTY)


class FixWire(NamedTuple):
    """Buffers of all connections."""

    received: NDArray[np.uint8]
    to_send: NDArray[np.uint8]
    headers: NDArray[np.uint8]
    times: NDArray[np.int64]
    requests: NDArray[Any]
    reports: NDArray[Any]


def new_wire(
    comp_ids: list[tuple[str, str]], receive_bytes: int, send_bytes: int, account: str
) -> FixWire:
    """Return empty buffers, a connection for each (SenderCompID, TargetCompID)."""
    requests = np.zeros(1, ORDER_REQUEST)
    words = np.frombuffer(account.encode().ljust(32, b"\0"), np.uint64)
    for number in range(4):
        requests[f"account{number}"] = words[number]
    return FixWire(
        np.zeros((len(comp_ids), receive_bytes + SPARE_BYTES), np.uint8),
        np.zeros((len(comp_ids), send_bytes + MAX_REQUEST_BYTES), np.uint8),
        np.stack([client_header(*pair) for pair in comp_ids]),
        np.zeros(12, np.int64),
        requests,
        np.zeros(2, CLIENT_REPORT),
    )


@lean_part
def _units(mantissa: int, scale: Any, unit_mantissa: int, unit_scale: int) -> int:
    """Return a decimal in ticks or lots; NOT_GIVEN less one, which fits nothing, if not whole."""
    if scale < unit_scale:
        mantissa *= POWERS[unit_scale - scale]
    elif scale > unit_scale:
        power = POWERS[scale - unit_scale]
        if mantissa % power != 0:
            return NOT_GIVEN - 1
        mantissa //= power
    if unit_mantissa == 1:
        return mantissa
    if mantissa % unit_mantissa != 0:
        return NOT_GIVEN - 1
    return mantissa // unit_mantissa


@lean_part
def _find_market(load: Load, got: Any) -> int:
    for place in range(len(load.markets)):
        market = load.markets[place]
        if (
            market["symbol0"] == got["symbol0"]
            and market["symbol1"] == got["symbol1"]
            and market["symbol2"] == got["symbol2"]
        ):
            return place
    return -1


@lean_part
def _translate(load: Load, c: int, k: int, got: Any) -> None:
    """Bring a FIX report into the form that is checked: ticks, lots, kinds."""
    row = load.report[k]
    row["seq"] = got["seq"]
    row["ref_seq"] = NOT_GIVEN
    row["id0"] = got["id0"]
    row["id1"] = got["id1"]
    row["id2"] = got["id2"]
    row["id3"] = got["id3"]
    row["id4"] = got["id4"]
    row["orig0"] = got["orig0"]
    row["orig1"] = got["orig1"]
    row["orig2"] = got["orig2"]
    row["orig3"] = got["orig3"]
    row["orig4"] = got["orig4"]
    row["account0"] = got["account0"]
    row["account1"] = got["account1"]
    row["account2"] = got["account2"]
    row["account3"] = got["account3"]
    row["order_id"] = got["order_id"]
    row["exec_id"] = got["exec_id"]
    row["trade_id"] = got["trade_id"]
    row["side"] = got["side"]
    row["ord_type"] = got["ord_type"]
    row["tif"] = got["tif"]
    row["liquidity"] = got["liquidity"]
    status = got["ord_status"]
    row["status"] = _EXPIRED if status == ord("C") else (status - ord("0")) & 0xFF
    kind = _KIND[got["exec_type"]]
    present = got["present"]
    if got["msg_type"] == ord("9"):
        kind = _CANCEL_REJECTED
        needed = _IN_CANCEL_REJECT
        reason = np.int64(got["reason"])
        if reason == 0 and present & Field.REASON:
            row["reason"] = _TOO_LATE
        elif reason == 1:
            row["reason"] = _UNKNOWN_ORDER
        else:
            row["reason"] = FIX_REASONS + (reason & 0xFF)
    else:
        row["reason"] = FIX_REASONS + (got["reason"] & 0xFF)
        needed = _IN_ORDER
        if kind == _TRADE:
            needed = _IN_TRADE
        elif kind == _REJECTED:
            needed = _IN_REPORT
        place = _find_market(load, got)
        if place < 0:
            row["symbol"] = -1
            place = 0
        else:
            row["symbol"] = load.markets[place]["number"]
        market = load.markets[place]
        tick = market["tick_mantissa"]
        tick_scale = market["tick_scale"]
        lot = market["lot_mantissa"]
        lot_scale = market["lot_scale"]
        row["price"] = _units(got["price"], np.int64(got["price_scale"]), tick, tick_scale)
        row["qty"] = _units(got["qty"], np.int64(got["qty_scale"]), lot, lot_scale)
        row["last_px"] = _units(got["last_px"], np.int64(got["last_px_scale"]), tick, tick_scale)
        row["last_qty"] = _units(got["last_qty"], np.int64(got["last_qty_scale"]), lot, lot_scale)
        row["cum_qty"] = _units(got["cum_qty"], np.int64(got["cum_qty_scale"]), lot, lot_scale)
        leaves = _units(got["leaves_qty"], np.int64(got["leaves_qty_scale"]), lot, lot_scale)
        row["leaves_qty"] = leaves
        decimals = load.plan[0]["avg_px_decimals"]
        row["avg_px"] = _units(got["avg_px"], np.int64(got["avg_px_scale"]), 1, decimals)
    row["kind"] = kind
    if present & needed != needed:
        fail(load.verdict[0], Mismatch.MISSING_FIELD, needed, present)


@lean_part
def _receive(load: Load, wire: FixWire, c: int, now: int) -> int:
    connection = load.connections[c]
    buf = wire.received[c]
    end = connection["in_end"]
    status = decode_report(buf, connection["in_start"], end, _MAX_MESSAGE_BYTES, wire.reports, 0)
    this = 0
    while status == REPORT:
        got = wire.reports[this]
        start = got["frame_end"]
        _translate(load, c, this, got)
        # The order comes into the cache while the next report is decoded.
        expect_order(load, c, this)
        status = decode_report(buf, start, end, _MAX_MESSAGE_BYTES, wire.reports, 1 - this)
        connection["in_start"] = start
        if got["seq"] != connection["next_in"] or got["is_poss_dup"] != 0:
            fail(load.verdict[0], Mismatch.SEQ, connection["next_in"], got["seq"])
        connection["next_in"] = got["seq"] + 1
        apply_report(load, c, this, now)
        this = 1 - this
    if status == PARTIAL:
        return _DONE
    if status == OTHER:
        connection["frame_end"] = wire.reports[this]["frame_end"]
        return _SESSION
    return _GARBLED


@lean_part
def _encode(load: Load, wire: FixWire, c: int, pos: int, utc_ms: int) -> int:
    """Write the action at hand as a message."""
    action = load.action[0]
    market = load.markets[action["market"]]
    row = wire.requests[0]
    kind = action["kind"]
    row["seq"] = action["seq"]
    row["id0"] = action["id0"]
    row["id1"] = action["id1"]
    row["symbol0"] = market["symbol0"]
    row["symbol1"] = market["symbol1"]
    row["symbol2"] = market["symbol2"]
    row["price"] = action["price"] * market["tick_mantissa"]
    row["price_scale"] = market["tick_scale"]
    row["qty"] = action["qty"] * market["lot_mantissa"]
    row["qty_scale"] = market["lot_scale"]
    row["side"] = action["side"]
    row["ord_type"] = action["ord_type"]
    row["tif"] = action["tif"]
    row["msg_type"] = ord("D")
    if kind == _ASKED_CANCEL or kind == _ASKED_REPLACE:
        row["orig0"] = action["orig0"]
        row["orig1"] = action["orig1"]
        row["msg_type"] = ord("F") if kind == _ASKED_CANCEL else ord("G")
    return encode_request(
        wire.to_send[c], pos, wire.headers, c, wire.times, utc_ms, wire.requests, 0
    )


@lean_kernel
def fill(
    load: Load,
    wire: FixWire,
    c: int,
    limit: int,
    start_ns: int,
    first: int,
    burst: int,
    step_ns: int,
    utc_ms: int,
) -> int:
    """Encode up to `limit` requests behind what waits to be sent; return how many.

    They are the connection's requests number `first` and on; each `burst` of them counts as sent
    step_ns after the one before, from start_ns on. SendingTime(52) is `utc_ms`.
    """
    connection = load.connections[c]
    pos = connection["out_end"]
    last = wire.to_send.shape[1] - MAX_REQUEST_BYTES
    done = 0
    while (
        done < limit
        and pos <= last
        and next_action(load, c, start_ns + (first + done) // burst * step_ns)
    ):
        pos = _encode(load, wire, c, pos, utc_ms)
        done += 1
    load.counts[Count.BYTES_OUT] += pos - connection["out_end"]
    connection["out_end"] = pos
    return done


@lean_kernel
def receive(load: Load, wire: FixWire, c: int, received: int, now: int) -> int:
    """Decode and check what has come, `received` bytes of it new, at `now`; return a Turn."""
    connection = load.connections[c]
    connection["in_end"] += received
    load.counts[Count.BYTES_IN] += received
    status = _receive(load, wire, c, now)
    start = connection["in_start"]
    left = connection["in_end"] - start
    if left == 0 or start > wire.received.shape[1] // 2:
        buf = wire.received[c]
        for i in range(left):
            buf[i] = buf[start + i]
        if status == _SESSION:
            connection["frame_end"] -= start
        connection["in_start"] = 0
        connection["in_end"] = left
    return status


@lean_kernel
def turn(load: Load, wire: FixWire, c: int, received: int, now: int, utc_ms: int) -> int:
    """Receive, and fill the window again unless something still waits to be sent; return a Turn."""
    status = receive(load, wire, c, received, now)
    connection = load.connections[c]
    if status == _DONE and connection["out_start"] == connection["out_end"]:
        connection["out_start"] = 0
        connection["out_end"] = 0
        fill(load, wire, c, wire.to_send.shape[1], now, 0, 1, 0, utc_ms)
    return status

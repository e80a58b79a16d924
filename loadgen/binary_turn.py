"""A binary connection's turn: decode and check what came, then encode what the window allows."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from openoutcry.config.jit import lean_kernel, lean_part
from openoutcry.loadgen.check import (
    Mismatch,
    apply_report,
    expect_order,
    fail,
    keep_verdict,
    refuse_request,
)
from openoutcry.loadgen.layouts import Action, Count, Load, Turn
from openoutcry.loadgen.workload import next_action
from openoutcry.protocol.binary.client_codec import decode_report, encode_request
from openoutcry.protocol.binary.enums import MAX_PAYLOAD_BYTES, MessageType
from openoutcry.protocol.binary.layouts import (
    MAX_REQUEST_FRAME,
    ORDER_FIELDS,
    OTHER,
    PARTIAL,
    REPORT,
    SPARE_BYTES,
)

_NEW_ORDER = int(MessageType.NEW_ORDER)
_CANCEL = int(MessageType.CANCEL)
_REPLACE = int(MessageType.REPLACE)
_REJECT = int(MessageType.REJECT)
_ASKED_CANCEL = int(Action.CANCEL)
_ASKED_REPLACE = int(Action.REPLACE)
_ROOM = MAX_REQUEST_FRAME + SPARE_BYTES
_DONE = int(Turn.DONE)
_SESSION = int(Turn.SESSION)
_GARBLED = int(Turn.GARBLED)


class BinaryWire(NamedTuple):
    """Buffers of all connections."""

    received: NDArray[np.uint8]
    to_send: NDArray[np.uint8]
    fields: NDArray[Any]


def new_wire(connections: int, receive_bytes: int, send_bytes: int, account: str) -> BinaryWire:
    """Return empty buffers; `account` goes into each order."""
    fields = np.zeros(1, ORDER_FIELDS)
    fields["account"] = account.encode()
    return BinaryWire(
        np.zeros((connections, receive_bytes + SPARE_BYTES), np.uint8),
        np.zeros((connections, send_bytes + _ROOM), np.uint8),
        fields,
    )


@lean_part
def _receive(load: Load, wire: BinaryWire, c: int, now: int) -> int:
    connection = load.connections[c]
    buf = wire.received[c]
    end = connection["in_end"]
    status = decode_report(buf, connection["in_start"], end, MAX_PAYLOAD_BYTES, load.report, 0)
    this = 0
    while status == REPORT:
        row = load.report[this]
        start = row["frame_end"]
        # The next report's order comes into the cache while this one is looked at.
        status = decode_report(buf, start, end, MAX_PAYLOAD_BYTES, load.report, 1 - this)
        if status == REPORT:
            expect_order(load, c, 1 - this)
        connection["in_start"] = start
        if row["seq"] != connection["next_in"] or row["repeated"] != 0:
            fail(load.verdict[0], Mismatch.SEQ, connection["next_in"], row["seq"])
        connection["next_in"] = row["seq"] + 1
        if row["tag"] == _REJECT:
            load.counts[Count.REPORTS] += 1
            fail(load.verdict[0], Mismatch.REFUSED, 0, np.int64(row["reason"]))
            refuse_request(load, c, row["ref_seq"], np.int64(row["reason"]), now)
            keep_verdict(load, c, this)
        else:
            apply_report(load, c, this, now)
        this = 1 - this
    if status == PARTIAL:
        return _DONE
    if status == OTHER:
        connection["frame_end"] = load.report[this]["frame_end"]
        return _SESSION
    return _GARBLED


@lean_part
def _encode(load: Load, wire: BinaryWire, c: int, pos: int) -> int:
    """Write the action at hand as a frame."""
    action = load.action[0]
    row = wire.fields[0]
    kind = action["kind"]
    row["seq"] = action["seq"]
    row["id0"] = action["id0"]
    row["id1"] = action["id1"]
    row["symbol"] = load.markets[action["market"]]["number"]
    row["side"] = action["side"]
    row["ord_type"] = action["ord_type"]
    row["tif"] = action["tif"]
    row["price"] = action["price"]
    row["qty"] = action["qty"]
    row["tag"] = _NEW_ORDER
    if kind == _ASKED_CANCEL or kind == _ASKED_REPLACE:
        row["orig0"] = action["orig0"]
        row["orig1"] = action["orig1"]
        row["tag"] = _CANCEL if kind == _ASKED_CANCEL else _REPLACE
    return encode_request(wire.to_send[c], pos, wire.fields, 0)


@lean_kernel
def fill(
    load: Load,
    wire: BinaryWire,
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
    step_ns after the one before, from start_ns on. `utc_ms` is for FIX.
    """
    connection = load.connections[c]
    pos = connection["out_end"]
    last = wire.to_send.shape[1] - _ROOM
    done = 0
    while (
        done < limit
        and pos <= last
        and next_action(load, c, start_ns + (first + done) // burst * step_ns)
    ):
        pos = _encode(load, wire, c, pos)
        done += 1
    load.counts[Count.BYTES_OUT] += pos - connection["out_end"]
    connection["out_end"] = pos
    return done


@lean_kernel
def receive(load: Load, wire: BinaryWire, c: int, received: int, now: int) -> int:
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
def turn(load: Load, wire: BinaryWire, c: int, received: int, now: int, utc_ms: int) -> int:
    """Receive, and fill the window again unless something still waits to be sent; return a Turn."""
    status = receive(load, wire, c, received, now)
    connection = load.connections[c]
    if status == _DONE and connection["out_start"] == connection["out_end"]:
        connection["out_start"] = 0
        connection["out_end"] = 0
        fill(load, wire, c, wire.to_send.shape[1], now, 0, 1, 0, utc_ms)
    return status

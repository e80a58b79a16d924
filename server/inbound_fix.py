"""The order path inwards for FIX: bytes received → commands in the shards' rings."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from openoutcry.config.jit import inline_kernel, int64, lean_kernel
from openoutcry.engine.enums import CommandKind, OrderType
from openoutcry.engine.latency import GatewayCounter, Protocol
from openoutcry.protocol.fix.decode import decode_message
from openoutcry.protocol.fix.layouts import GARBLED, ORDER, PARTIAL
from openoutcry.protocol.fix.scalars import DECIMAL_OK, decimal_to_units, load_word
from openoutcry.server.tables import find_account, find_symbol
from openoutcry.server.throttle import has_budget
from openoutcry.server.translate import (
    INBOUND_DONE,
    INBOUND_FULL,
    INBOUND_GARBLED,
    INBOUND_PYTHON,
    PUBLISH_EVERY,
    Routes,
    has_room,
    is_shard_down,
    note_sent,
    publish_commands,
)

#: A session's CompIDs as its client must send them: SenderCompID(49) its own, TargetCompID(56) the
#: venue's.
COMP_ID = np.dtype(
    [
        *[(f"sender{i}", "<u8") for i in range(4)],
        *[(f"target{i}", "<u8") for i in range(4)],
        ("sender_len", "<i8"),
        ("target_len", "<i8"),
    ],
    align=True,
)

_INT64_MAX = 2**63 - 1
_D = ord("D")
_F = ord("F")
_G = ord("G")


@inline_kernel
def _are_comp_ids_right(buf: NDArray[np.uint8], row: Any, ids: Any) -> bool:
    sender = int64(row["sender_comp_id_off"])
    target = int64(row["target_comp_id_off"])
    sender_len = int64(row["sender_comp_id_len"])
    target_len = int64(row["target_comp_id_len"])
    return (
        sender_len == ids["sender_len"]
        and target_len == ids["target_len"]
        and load_word(buf, sender, sender_len, 0) == ids["sender0"]
        and load_word(buf, target, target_len, 0) == ids["target0"]
        and load_word(buf, sender, sender_len, 1) == ids["sender1"]
        and load_word(buf, target, target_len, 1) == ids["target1"]
        and load_word(buf, sender, sender_len, 2) == ids["sender2"]
        and load_word(buf, target, target_len, 2) == ids["target2"]
        and load_word(buf, sender, sender_len, 3) == ids["sender3"]
        and load_word(buf, target, target_len, 3) == ids["target3"]
    )


@lean_kernel
def receive_fix(
    buf: NDArray[np.uint8],
    start: int,
    end: int,
    max_message_bytes: int,
    session: int,
    comp_ids: NDArray[Any],
    routes: Routes,
    fields: NDArray[Any],
    now_ms: int,
    window_ms: int,
    recv_ns: int,
) -> tuple[int, int]:
    """Take in the complete frames of buf[start:end]; return (INBOUND_…, position reached).

    Only D, F, G and H that are valid, due, of this session, recent, within its throttle, for a
    known symbol and account, on tick and on lot go to a shard from here. The rest is left to
    Python, which finds out by itself what is the matter; after a garbled message the position is
    where to go on.
    """
    row = fields[0]
    sessions = routes.sessions
    profile = int64(sessions[session]["profile"])
    mask = routes.commands.shape[2] - 1
    taken = 0
    code = INBOUND_DONE
    while True:
        status = decode_message(
            buf, start, end, max_message_bytes, routes.decode_tables, profile, fields, 0
        )
        if status == PARTIAL:
            break
        if status == GARBLED:
            start = row["frame_end"]
            code = INBOUND_GARBLED
            break
        if (
            status != ORDER
            or sessions[session]["takes_orders"] == 0
            or row["seq_num"] != sessions[session]["next_in"]
            or row["sending_time_ms"] > now_ms + window_ms
            or row["sending_time_ms"] < now_ms - window_ms
            or not _are_comp_ids_right(buf, row, comp_ids[session])
        ):
            code = INBOUND_PYTHON
            break
        off = int64(row["symbol_off"])
        length = int64(row["symbol_len"])
        if length > 24:
            code = INBOUND_PYTHON
            break
        symbol = find_symbol(
            routes.symbols,
            routes.symbol_index,
            load_word(buf, off, length, 0),
            load_word(buf, off, length, 1),
            load_word(buf, off, length, 2),
        )
        # Words are padded with NUL, so a name that ends in NUL is told apart by its length.
        if symbol < 0 or routes.symbols[symbol]["name_len"] != length:
            code = INBOUND_PYTHON
            break
        account = int64(0)
        off = int64(row["account_off"])
        length = int64(row["account_len"])
        if length > 0:
            if length > 32:
                code = INBOUND_PYTHON
                break
            account = find_account(
                routes.accounts,
                routes.account_index,
                load_word(buf, off, length, 0),
                load_word(buf, off, length, 1),
                load_word(buf, off, length, 2),
                load_word(buf, off, length, 3),
            )
            if account < 0 or routes.accounts[account]["name_len"] != length:
                code = INBOUND_PYTHON
                break
        msg_type = int64(row["msg_type"])
        throttle = sessions[session]["throttle_limit"]
        if throttle != 0 and (
            throttle < 0 or (msg_type in (_D, _G) and not has_budget(sessions, session, now_ms))
        ):
            code = INBOUND_PYTHON
            break
        price = int64(0)
        qty = int64(0)
        if msg_type in (_D, _G):
            kind = CommandKind.NEW if msg_type == _D else CommandKind.REPLACE
            is_limit = row["ord_type"] == OrderType.LIMIT
            if row["has_qty"] == 0 or (is_limit and row["has_price"] == 0):
                code = INBOUND_PYTHON
                break
            result, qty = decimal_to_units(
                row["qty"],
                row["qty_scale"],
                routes.symbols[symbol]["lot_mantissa"],
                routes.symbols[symbol]["lot_scale"],
            )
            # What would not fit when it is written back as a decimal is for Python to decline.
            if result != DECIMAL_OK or qty > _INT64_MAX // routes.symbols[symbol]["lot_mantissa"]:
                code = INBOUND_PYTHON
                break
            if is_limit:
                result, price = decimal_to_units(
                    row["price"],
                    row["price_scale"],
                    routes.symbols[symbol]["tick_mantissa"],
                    routes.symbols[symbol]["tick_scale"],
                )
                most = _INT64_MAX // routes.symbols[symbol]["tick_mantissa"]
                if result != DECIMAL_OK or price > most or price < -most:
                    code = INBOUND_PYTHON
                    break
        elif msg_type == _F:
            kind = CommandKind.CANCEL
        else:
            kind = CommandKind.STATUS
        shard = routes.symbols[symbol]["shard"]
        if is_shard_down(routes, shard):
            code = INBOUND_PYTHON
            break
        if not has_room(routes, shard):
            code = INBOUND_FULL
            break
        tail = routes.tails[shard]
        command = routes.commands[shard, routes.ring, tail & mask]
        command["seq"] = 0
        command["time_ns"] = 0
        command["inbound_seq"] = row["seq_num"]
        command["session"] = session
        command["epoch"] = sessions[session]["epoch"]
        command["account"] = account
        command["firm"] = sessions[session]["firm"]
        command["symbol"] = symbol
        command["kind"] = kind
        command["side"] = row["side"]
        command["ord_type"] = row["ord_type"]
        command["tif"] = row["tif"]
        command["price_ticks"] = price
        command["qty_lots"] = qty
        off = int64(row["cl_ord_id_off"])
        length = int64(row["cl_ord_id_len"])
        command["id0"] = load_word(buf, off, length, 0)
        command["id1"] = load_word(buf, off, length, 1)
        command["id2"] = load_word(buf, off, length, 2)
        command["id3"] = load_word(buf, off, length, 3)
        command["id4"] = load_word(buf, off, length, 4)
        command["flags"] = 0
        command["reject_reason"] = 0
        command["smp_group"] = 0
        off = int64(row["orig_cl_ord_id_off"])
        length = int64(row["orig_cl_ord_id_len"])
        command["orig0"] = load_word(buf, off, length, 0)
        command["orig1"] = load_word(buf, off, length, 1)
        command["orig2"] = load_word(buf, off, length, 2)
        command["orig3"] = load_word(buf, off, length, 3)
        command["orig4"] = load_word(buf, off, length, 4)
        command["price2_ticks"] = 0
        command["qty2_lots"] = 0
        command["expire_ns"] = 0
        command["recv_ns"] = recv_ns
        routes.tails[shard] = tail + 1
        note_sent(routes, session, shard, row["seq_num"])
        sessions[session]["next_in"] += 1
        if throttle != 0 and msg_type in (_D, _G):
            sessions[session]["throttle_taken"] += 1
        start = row["frame_end"]
        taken += 1
        if taken % PUBLISH_EVERY == 0:
            publish_commands(routes, recv_ns)
    publish_commands(routes, recv_ns)
    routes.counters[GatewayCounter.MESSAGES_IN + Protocol.FIX] += taken
    return code, start

"""The order path inwards for the binary protocol: bytes received → commands in the shards'
rings."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from openoutcry.config.jit import int64, lean_kernel, uint64
from openoutcry.engine.enums import CommandKind
from openoutcry.engine.latency import GatewayCounter, Protocol
from openoutcry.protocol.binary.decode import decode_message
from openoutcry.protocol.binary.enums import MessageType
from openoutcry.protocol.binary.layouts import ORDER, PARTIAL
from openoutcry.server.tables import find_account
from openoutcry.server.translate import (
    INBOUND_DONE,
    INBOUND_FULL,
    INBOUND_PYTHON,
    PUBLISH_EVERY,
    Routes,
    has_room,
    is_shard_down,
    note_sent,
    publish_commands,
)


@lean_kernel
def receive_binary(
    buf: NDArray[np.uint8],
    start: int,
    end: int,
    max_payload: int,
    session: int,
    routes: Routes,
    fields: NDArray[Any],
    recv_ns: int,
) -> tuple[int, int]:
    """Take in the complete frames of buf[start:end]; return (INBOUND_…, position reached).

    Only application messages that are due, well-formed and for a known symbol and account go to a
    shard from here. The rest (heartbeats, repeated or skipped numbers, anything wrong) is left to
    Python.
    """
    row = fields[0]
    sessions = routes.sessions
    mask = routes.commands.shape[2] - 1
    taken = 0
    code = INBOUND_DONE
    while True:
        status = decode_message(buf, start, end, max_payload, fields, 0)
        if status == PARTIAL:
            break
        symbol = int64(row["symbol"])
        if (
            status != ORDER
            or sessions[session]["takes_orders"] == 0
            or row["seq"] != sessions[session]["next_in"]
            or symbol >= len(routes.symbols)
            or routes.symbols[symbol]["shard"] < 0
        ):
            code = INBOUND_PYTHON
            break
        account = int64(0)
        if row["account0"] != uint64(0):
            account = find_account(
                routes.accounts,
                routes.account_index,
                row["account0"],
                row["account1"],
                row["account2"],
                row["account3"],
            )
            if account < 0:
                code = INBOUND_PYTHON
                break
        shard = routes.symbols[symbol]["shard"]
        if is_shard_down(routes, shard):
            code = INBOUND_PYTHON
            break
        if not has_room(routes, shard):
            code = INBOUND_FULL
            break
        tail = routes.tails[shard]
        command = routes.commands[shard, routes.ring, tail & mask]
        tag = int64(row["tag"])
        command["seq"] = 0
        command["time_ns"] = 0
        command["inbound_seq"] = row["seq"]
        command["session"] = session
        command["epoch"] = sessions[session]["epoch"]
        command["account"] = account
        command["firm"] = sessions[session]["firm"]
        command["symbol"] = symbol
        # The binary message types of requests and the engine's commands follow one another alike.
        command["kind"] = tag - MessageType.NEW_ORDER + CommandKind.NEW
        command["side"] = row["side"]
        command["ord_type"] = row["ord_type"]
        command["tif"] = row["tif"]
        command["price_ticks"] = row["price"]
        command["qty_lots"] = row["qty"]
        command["id0"] = row["id0"]
        command["id1"] = row["id1"]
        command["id2"] = row["id2"]
        command["id3"] = row["id3"]
        command["id4"] = row["id4"]
        command["flags"] = 0
        command["reject_reason"] = 0
        command["smp_group"] = 0
        command["orig0"] = row["orig0"]
        command["orig1"] = row["orig1"]
        command["orig2"] = row["orig2"]
        command["orig3"] = row["orig3"]
        command["orig4"] = row["orig4"]
        command["price2_ticks"] = 0
        command["qty2_lots"] = 0
        command["expire_ns"] = 0
        command["recv_ns"] = recv_ns
        routes.tails[shard] = tail + 1
        note_sent(routes, session, shard, row["seq"])
        sessions[session]["next_in"] += 1
        start = row["frame_end"]
        taken += 1
        if taken % PUBLISH_EVERY == 0:
            publish_commands(routes, recv_ns)
    publish_commands(routes, recv_ns)
    routes.counters[GatewayCounter.MESSAGES_IN + Protocol.BINARY] += taken
    return code, start

"""Orders that came by way of Python: rare forms, messages from above a gap, and all that needs
prose.

The kernels take the ordinary ones; what they leave is done here with the same outcome, one message
at a time: a command for the shard, or an answer of the gateway's own.
"""

from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np

from openoutcry.engine.enums import CommandKind, RejectReason
from openoutcry.engine.latency import GatewayCounter
from openoutcry.engine.records import COMMAND
from openoutcry.protocol.binary import messages as bm
from openoutcry.protocol.binary.enums import RejectReason as WireReason
from openoutcry.protocol.fix.message import Message
from openoutcry.server.config import Symbol
from openoutcry.server.translate import (
    CXL_REJ_REASON,
    ORD_REJ_REASON,
    REASON_TEXTS,
    has_room_for,
    publish_commands,
)

if TYPE_CHECKING:
    from openoutcry.server.binary_gateway import BinaryLink
    from openoutcry.server.fix_gateway import FixSession
    from openoutcry.server.gateway import Gateway

_FIX_KIND = {
    "D": CommandKind.NEW,
    "F": CommandKind.CANCEL,
    "G": CommandKind.REPLACE,
    "H": CommandKind.STATUS,
}
_BINARY_KIND: dict[type, CommandKind] = {
    bm.NewOrder: CommandKind.NEW,
    bm.Cancel: CommandKind.CANCEL,
    bm.Replace: CommandKind.REPLACE,
    bm.Status: CommandKind.STATUS,
}
_INT64_MAX = 2**63 - 1

#: Fields of an order that change how it trades and that this venue does not serve: an order that
#: asks for one is declined, not traded without it.
_UNSERVED = {
    18: "ExecInst",
    99: "StopPx",
    110: "MinQty",
    111: "MaxFloor",
    126: "ExpireTime",
    152: "CashOrderQty",
    168: "EffectiveTime",
    211: "PegOffsetValue",
    388: "DiscretionInst",
    389: "DiscretionOffsetValue",
    423: "PriceType",
    432: "ExpireDate",
    516: "OrderPercent",
    847: "TargetStrategy",
}


class Declined(Exception):
    """An order that the gateway declines by itself."""

    def __init__(self, reason: RejectReason, text: str) -> None:
        super().__init__(text)
        self.reason = reason
        self.text = text


class Orders:
    """Turns messages into commands, and keeps those for which a ring has no room."""

    def __init__(self, gateway: "Gateway") -> None:
        self._gateway = gateway
        #: (shard, command) in the order of arrival; while there are any, no connection is read.
        self.waiting: deque[tuple[int, Any]] = deque()

    # --- FIX --------------------------------------------------------------------------------------

    def take_fix(self, session: "FixSession", message: Message) -> None:
        """Route an application message, or answer it."""
        try:
            shard, row = self._fix_command(session, message)
        except Declined as declined:
            self._decline_fix(session, message, declined)
            return
        self.put(shard, row)

    def _fix_command(self, session: "FixSession", message: Message) -> tuple[int, Any]:
        kind = _FIX_KIND[message.msg_type]
        row = self.command(kind, session.number, message.seq_num or 0)
        row["cl_ord_id"] = message.get(11) or b""
        row["orig_cl_ord_id"] = message.get(41) or b""
        for tag, field in _UNSERVED.items():
            if message.get(tag) is not None and kind in {CommandKind.NEW, CommandKind.REPLACE}:
                raise Declined(
                    RejectReason.UNSUPPORTED_ORDER_TYPE, f"{field}({tag}) is not supported"
                )
        name = message.get(55) or b""
        number = self._gateway.symbols.numbers.get(name)
        if number is None:
            raise Declined(
                RejectReason.UNKNOWN_SYMBOL, f"unknown symbol {name.decode('ascii', 'replace')}"
            )
        symbol = self._gateway.symbols.definitions[number]
        row["symbol"] = number
        row["account"] = self._account(message.get(1) or b"")
        row["side"] = _code(message.get(54))
        row["tif"] = _code(message.get(59))
        row["ord_type"] = _code(message.get(40))
        qty = message.get(38)
        if qty is not None:
            row["qty_lots"] = _units(
                qty,
                symbol.lot_parts,
                RejectReason.QTY_OFF_LOT,
                f"OrderQty(38) {{}} is not a multiple of the lot {symbol.lot}",
                RejectReason.QTY_OUT_OF_RANGE,
            )
        elif kind in {CommandKind.NEW, CommandKind.REPLACE}:
            raise Declined(RejectReason.QTY_OUT_OF_RANGE, "OrderQty(38) is required")
        self._fix_price(row, kind, message.get(44), symbol)
        return self._gateway.config.shard_of(number), row

    def _fix_price(self, row: Any, kind: CommandKind, price: bytes | None, symbol: Symbol) -> None:
        is_limit = row["ord_type"] == 2
        if kind in {CommandKind.NEW, CommandKind.REPLACE} and is_limit and price is None:
            raise Declined(RejectReason.PRICE_REQUIRED, "a limit order needs Price(44)")
        if price is not None and is_limit:
            row["price_ticks"] = _units(
                price,
                symbol.tick_parts,
                RejectReason.PRICE_OFF_TICK,
                f"Price(44) {{}} is not a multiple of the tick {symbol.tick}",
                RejectReason.PRICE_OUT_OF_RANGE,
            )

    def _decline_fix(self, session: "FixSession", message: Message, declined: Declined) -> None:
        gateway = self._gateway
        gateway.metrics.counters[GatewayCounter.REJECTS + declined.reason] += 1
        row = gateway.index.rows[session.number]
        own_id = b"G%d-%d-%d" % (session.number, row["epoch"], message.seq_num or 0)
        fields: list[tuple[int, bytes]]
        if message.msg_type in {"F", "G"}:
            fields = [
                (37, b"NONE"),
                (11, message.get(11) or b""),
                (41, message.get(41) or b""),
                (39, b"8"),
                (434, b"1" if message.msg_type == "F" else b"2"),
                (102, b"%d" % CXL_REJ_REASON[session.session.config.version, declined.reason]),
                (58, declined.text.encode("ascii", "replace")),
                (60, gateway.utc_stamp()),
            ]
            session.session.send_application("9", fields, gateway.now_ms())
            return
        is_status = message.msg_type == "H"
        fields = [
            (37, b"NONE" if is_status else own_id),
            (11, message.get(11) or b""),
            (17, own_id),
            (150, b"I" if is_status else b"8"),
            (39, b"8"),
        ]
        fields.extend(
            (tag, value) for tag in (1, 55, 54, 38, 40, 44, 59) if (value := message.get(tag))
        )
        fields += [
            (151, b"0"),
            (14, b"0"),
            (6, b"0"),
            (60, gateway.utc_stamp()),
            (103, b"%d" % ORD_REJ_REASON[session.session.config.version, declined.reason]),
            (58, declined.text.encode("ascii", "replace")),
        ]
        session.session.send_application("8", fields, gateway.now_ms())

    # --- binary -----------------------------------------------------------------------------------

    def take_binary(
        self, link: "BinaryLink", message: "bm.NewOrder | bm.Cancel | bm.Replace | bm.Status"
    ) -> None:
        """Route an application message, or answer it; its number is counted either way."""
        row = self._gateway.index.rows[link.number]
        row["next_in"] += 1
        try:
            shard, command = self._binary_command(link, message)
        except Declined as declined:
            link.decline(
                message.seq, message.cl_ord_id, WireReason(int(declined.reason)), declined.text
            )
            return
        self.put(shard, command)

    def _binary_command(
        self, link: "BinaryLink", message: "bm.NewOrder | bm.Cancel | bm.Replace | bm.Status"
    ) -> tuple[int, Any]:
        kind = _BINARY_KIND[type(message)]
        row = self.command(kind, link.number, message.seq)
        if message.symbol >= len(self._gateway.symbols.definitions):
            raise Declined(RejectReason.UNKNOWN_SYMBOL, f"there is no symbol {message.symbol}")
        row["symbol"] = message.symbol
        row["cl_ord_id"] = message.cl_ord_id.encode()
        if isinstance(message, bm.Cancel | bm.Replace):
            row["orig_cl_ord_id"] = message.orig_cl_ord_id.encode()
            row["side"] = message.side
        if isinstance(message, bm.NewOrder | bm.Replace):
            row["ord_type"] = message.ord_type
            row["price_ticks"] = message.price
            row["qty_lots"] = message.qty
        if isinstance(message, bm.NewOrder):
            row["side"] = message.side
            row["tif"] = message.tif
            row["account"] = self._account(message.account.encode())
        return self._gateway.config.shard_of(message.symbol), row

    # --- both -------------------------------------------------------------------------------------

    def command(self, kind: CommandKind, session: int, seq: int) -> Any:
        """Return a COMMAND row with what every command of a session carries."""
        row = np.zeros(1, COMMAND)[0]
        session_row = self._gateway.index.rows[session]
        row["kind"] = kind
        row["session"] = session
        row["epoch"] = session_row["epoch"]
        row["firm"] = session_row["firm"]
        row["inbound_seq"] = seq
        row["recv_ns"] = self._gateway.recv_ns
        return row

    def _account(self, name: bytes) -> int:
        number = self._gateway.accounts.find(name)
        if number < 0:
            raise Declined(
                RejectReason.UNKNOWN_ACCOUNT, f"unknown account {name.decode('ascii', 'replace')}"
            )
        return number

    def put(self, shard: int, row: Any) -> None:
        """Hand a command to a shard, or keep it until the ring has room."""
        self.waiting.append((shard, row))
        self.flush()

    def flush(self) -> bool:
        """Write what waits into the rings; return False where something still has to wait."""
        routes = self._gateway.routes
        mask = routes.commands.shape[2] - 1
        while self.waiting:
            shard, row = self.waiting[0]
            if not has_room_for(routes, shard):
                break
            tail = int(routes.tails[shard])
            routes.commands[shard, routes.ring, tail & mask] = row
            routes.tails[shard] = tail + 1
            self.waiting.popleft()
        publish_commands(routes, self._gateway.recv_ns)
        return not self.waiting


def _code(value: bytes | None) -> int:
    """Return a one-character code as the kernels do: its character less 48, 0 where absent."""
    return 0 if not value else value[0] - 48


def _units(
    text: bytes,
    unit: tuple[int, int],
    off_reason: RejectReason,
    off_text: str,
    range_reason: RejectReason,
) -> int:
    """Convert decimal text to ticks or lots, exactly; decline what is no multiple or too large."""
    whole, _, fraction = text.decode("ascii").partition(".")
    mantissa = int((whole if whole not in {"", "-", "+"} else whole + "0") + fraction)
    unit_mantissa, unit_scale = unit
    numerator = mantissa * 10**unit_scale
    denominator = unit_mantissa * 10 ** len(fraction)
    if numerator % denominator:
        raise Declined(off_reason, off_text.format(text.decode("ascii")))
    units = numerator // denominator
    # Reports write units × mantissa.
    if not -_INT64_MAX <= units * unit_mantissa <= _INT64_MAX:
        raise Declined(range_reason, REASON_TEXTS[range_reason])
    return units

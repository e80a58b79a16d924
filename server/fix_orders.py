"""FIX orders by way of Python: NewOrderSingle (D), cancel (F), replace (G) and status (H).

Their commands are those that the inbound kernel would write; beside the plain fields they may have
parties, routes, PossResend(97), OrdStatusReqID(790), and whatever is wrong with them.
"""

from typing import TYPE_CHECKING, Any

from openoutcry.engine.enums import CommandFlag, CommandKind, RejectReason
from openoutcry.protocol.fix.message import Message
from openoutcry.server.config import Symbol
from openoutcry.server.declined import Declined, Incomplete
from openoutcry.server.parties import OrderVariants
from openoutcry.server.translate import (
    REASON_TEXTS,
)

if TYPE_CHECKING:
    from openoutcry.server.fix_gateway import FixSession
    from openoutcry.server.gateway import Gateway
    from openoutcry.server.orders import Orders

KINDS = {
    "D": CommandKind.NEW,
    "F": CommandKind.CANCEL,
    "G": CommandKind.REPLACE,
    "H": CommandKind.STATUS,
}
_INT64_MAX = 2**63 - 1

#: Fields of an order that change how it trades and that this venue does not serve: an order that
#: asks for one is declined, not traded without it.
UNSERVED_FIELDS = {
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
#: Likewise, of FIX 4.3 to 5.0 SP2: each a part of what the fields above ask for, or newer.
_UNSERVED_LATER = {
    1084: "DisplayMethod",
    1089: "MatchIncrement",
    1090: "MaxPriceLevels",
    1094: "PegPriceType",
    1100: "TriggerType",
    1138: "DisplayQty",
}
_UNSERVED = UNSERVED_FIELDS | _UNSERVED_LATER


class FixOrders:
    """Makes commands of the messages D, F, G and H."""

    def __init__(self, gateway: "Gateway", orders: "Orders") -> None:
        self._gateway = gateway
        self._orders = orders
        self._variants = OrderVariants(gateway)

    def command(
        self, session: "FixSession", message: Message, *, was_held: bool = False
    ) -> tuple[int, Any]:
        """Return a message's command and its shard; raise Declined, or Incomplete."""
        kind = KINDS[message.msg_type]
        row = self._orders.command(kind, session.number, message.seq_num or 0)
        if kind in {CommandKind.CANCEL, CommandKind.REPLACE} and message.get(41) is None:
            # FIX 5.0 SP1 and SP2 leave it to OrderID(37) alone, by which shards do not find orders.
            raise Incomplete("OrigClOrdID(41) is required here")
        row["cl_ord_id"] = message.get(11) or b""
        row["orig_cl_ord_id"] = message.get(41) or b""
        is_order = kind in {CommandKind.NEW, CommandKind.REPLACE}
        if is_order and message.get(97) == b"Y":
            row["flags"] = CommandFlag.POSS_RESEND
        if is_order:
            for tag, field in _UNSERVED.items():
                if message.get(tag) is not None:
                    raise Declined(
                        RejectReason.UNSUPPORTED_FIELD, f"{field}({tag}) is not supported"
                    )
        number = self.symbol(message)
        symbol = self._gateway.symbols.definitions[number]
        shard = self._gateway.config.shard_of(number)
        self._orders.check_shard(shard, number, comes_again=message.get(43) == b"Y")
        row["symbol"] = number
        base = self._orders.account(message.get(1) or b"")
        row["account"] = self._variants.number(session, base, message, was_held=was_held)
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
        elif is_order:
            raise Declined(RejectReason.QTY_OUT_OF_RANGE, "OrderQty(38) is required")
        _fill_price(row, kind, message.get(44), symbol)
        return shard, row

    def declined_request(
        self, session: "FixSession", message: Message, declined: Declined
    ) -> tuple[int, Any] | None:
        """Return the command by which a shard declines a request about an order, and the shard.

        It tells how the order stands, which the gateway does not know. None where it is no such
        request, its symbol is none, or the shard is down.
        """
        kind = KINDS[message.msg_type]
        number = self._gateway.symbols.numbers.get(message.get(55) or b"")
        if kind not in {CommandKind.CANCEL, CommandKind.REPLACE} or number is None:
            return None
        shard = self._gateway.config.shard_of(number)
        if self._orders.may_decline(shard, comes_again=message.get(43) == b"Y"):
            return None
        row = self._orders.command(kind, session.number, message.seq_num or 0)
        row["cl_ord_id"] = message.get(11) or b""
        row["orig_cl_ord_id"] = message.get(41) or b""
        row["symbol"] = number
        row["side"] = _code(message.get(54))
        row["reject_reason"] = declined.reason
        return shard, row

    def symbol(self, message: Message) -> int:
        """Return the number of a message's symbol; raise Declined where there is none."""
        name = message.get(55) or b""
        number = self._gateway.symbols.numbers.get(name)
        if number is None:
            text = name[:32].decode("ascii", "replace")
            raise Declined(RejectReason.UNKNOWN_SYMBOL, f"unknown symbol {text}")
        return number


def _code(value: bytes | None) -> int:
    """Return a one-character code as the kernels do: its character less 48, 0 where absent."""
    return 0 if not value else value[0] - 48


def _fill_price(row: Any, kind: CommandKind, price: bytes | None, symbol: Symbol) -> None:
    is_limit = row["ord_type"] == 2
    if kind in {CommandKind.NEW, CommandKind.REPLACE} and is_limit and price is None:
        raise Incomplete("a limit order needs Price(44)")
    if price is not None and is_limit:
        row["price_ticks"] = _units(
            price,
            symbol.tick_parts,
            RejectReason.PRICE_OFF_TICK,
            f"Price(44) {{}} is not a multiple of the tick {symbol.tick}",
            RejectReason.PRICE_OUT_OF_RANGE,
        )


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
        raise Declined(off_reason, off_text.format(text[:32].decode("ascii")))
    units = numerator // denominator
    # Reports write units × mantissa.
    if not -_INT64_MAX <= units * unit_mantissa <= _INT64_MAX:
        raise Declined(range_reason, REASON_TEXTS[range_reason])
    return units

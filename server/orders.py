"""Orders that came by way of Python: rare forms, messages from above a gap, and all that needs
prose.

The kernels take the ordinary ones; what they leave is done here with the same outcome, one message
at a time: a command for the shard, or an answer of the gateway's own. What is particular to FIX
is in `fix_requests` and the modules it names.
"""

from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np

from openoutcry.engine.enums import CommandKind, RejectReason, Side
from openoutcry.engine.records import COMMAND
from openoutcry.engine.state import ShardWord
from openoutcry.protocol.binary import messages as bm
from openoutcry.protocol.binary.enums import RejectReason as WireReason
from openoutcry.protocol.fix.message import Message
from openoutcry.server.declined import Declined
from openoutcry.server.fix_requests import FixRequests
from openoutcry.server.translate import has_room_for, note_command, publish_commands

if TYPE_CHECKING:
    from openoutcry.server.binary_gateway import BinaryLink
    from openoutcry.server.fix_gateway import FixSession
    from openoutcry.server.gateway import Gateway

_BINARY_KIND: dict[type, CommandKind] = {
    bm.NewOrder: CommandKind.NEW,
    bm.Cancel: CommandKind.CANCEL,
    bm.Replace: CommandKind.REPLACE,
    bm.Status: CommandKind.STATUS,
}

#: Commands that wait for the ring of a shard that is down, at most.
_WAITING_MAX = 10_000


class Orders:
    """Turns messages into commands, and keeps those for which a ring has no room."""

    def __init__(self, gateway: "Gateway") -> None:
        self._gateway = gateway
        self._fix = FixRequests(gateway, self)
        #: Shard → commands that its ring has no room for, in the order of arrival.
        self.waiting: dict[int, deque[Any]] = {}

    # --- FIX --------------------------------------------------------------------------------------

    def take_fix(self, session: "FixSession", message: Message, *, was_held: bool = False) -> None:
        """Route an application message, or answer it; one that the throttle held says so."""
        self._fix.take(session, message, was_held=was_held)

    def take_report(self, shard: int, position: int, row: Any) -> None:
        """Take a shard's report that the outbound kernel leaves to Python.

        Args:
            shard: its number.
            position: where the report lies in the shard's log.
            row: the REPORT itself; the next one overwrites it.
        """
        self._fix.take_report(shard, position, row)

    def copy_decline(self, session: int, epoch: int, message: Message, declined: Declined) -> None:
        """Tell this gateway's drop copies of what a session, of any gateway, was declined."""
        self._fix.copy_decline(session, epoch, message, declined)

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
            if not isinstance(message, bm.Status):
                epoch = int(row["epoch"])
                self._fix.copy_decline(link.number, epoch, self._as_fix(message), declined)
            return
        self.put(shard, command)

    def _binary_command(
        self, link: "BinaryLink", message: "bm.NewOrder | bm.Cancel | bm.Replace | bm.Status"
    ) -> tuple[int, Any]:
        kind = _BINARY_KIND[type(message)]
        row = self.command(kind, link.number, message.seq)
        if not self._gateway.symbols.is_listed(message.symbol):
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
            row["account"] = self.account(message.account.encode())
        shard = self._gateway.config.shard_of(message.symbol)
        # Nothing tells a message that comes again from a new one.
        self.check_shard(shard, message.symbol, comes_again=True)
        return shard, row

    def _as_fix(self, message: "bm.NewOrder | bm.Cancel | bm.Replace") -> Message:
        """Return what a drop copy is to tell of a message, as FIX fields."""
        fields = {34: str(message.seq), 11: message.cl_ord_id}
        symbols = self._gateway.symbols.definitions
        if message.symbol < len(symbols):
            fields[55] = symbols[message.symbol].name
        if message.side in {Side.BUY, Side.SELL}:
            fields[54] = str(message.side)
        if isinstance(message, bm.NewOrder):
            msg_type = "D"
            fields |= {1: message.account, 40: str(message.ord_type), 59: str(message.tif)}
        else:
            msg_type = "F" if isinstance(message, bm.Cancel) else "G"
            fields[41] = message.orig_cl_ord_id
        return Message(msg_type, [(tag, value.encode()) for tag, value in fields.items()])

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

    def account(self, name: bytes) -> int:
        """Return the number of an account; raise Declined where there is none."""
        number = self._gateway.accounts.find(name)
        if number < 0:
            text = name[:32].decode("ascii", "replace")
            raise Declined(RejectReason.UNKNOWN_ACCOUNT, f"unknown account {text}")
        return number

    def is_down(self, shard: int) -> bool:
        """Tell whether a shard takes no orders, since it is being restarted."""
        return bool(self._gateway.memory.shards[shard, ShardWord.IS_DOWN])

    def may_decline(self, shard: int, *, comes_again: bool) -> bool:
        """Tell whether a request for a shard is to be declined, since the shard is down.

        One that may have come to the gateway before this one is not, where nobody knows what that
        shard made of it: it waits in the ring, or for it, and the shard knows it by its number.
        """
        if not self.is_down(shard):
            return False
        is_full = len(self.waiting.get(shard, ())) >= _WAITING_MAX
        return is_full or not comes_again or shard not in self._gateway.unsettled

    def check_shard(self, shard: int, symbol: int, *, comes_again: bool = False) -> None:
        """Raise Declined where the shard of a symbol is down."""
        if self.may_decline(shard, comes_again=comes_again):
            name = self._gateway.symbols.definitions[symbol].name
            text = f"{name} cannot be traded now: its shard is being restarted"
            raise Declined(RejectReason.SHARD_DOWN, text)

    def put(self, shard: int, row: Any) -> None:
        """Hand a command to a shard, or keep it until the ring has room."""
        if row["inbound_seq"]:
            note_command(self._gateway.routes, int(row["session"]), shard, int(row["inbound_seq"]))
        self.waiting.setdefault(shard, deque()).append(row)
        self.flush()

    def flush(self) -> bool:
        """Write what waits into the rings.

        Returns False where something still has to wait for a shard that runs: no connection is read
        until it is written. What waits for a shard that is down keeps nobody: the orders that come
        behind it are declined.
        """
        routes = self._gateway.routes
        mask = routes.commands.shape[2] - 1
        for shard, rows in list(self.waiting.items()):
            while rows and has_room_for(routes, shard):
                tail = int(routes.tails[shard])
                routes.commands[shard, routes.ring, tail & mask] = rows.popleft()
                routes.tails[shard] = tail + 1
            if not rows:
                del self.waiting[shard]
        publish_commands(routes, self._gateway.recv_ns)
        return all(self.is_down(shard) for shard in self.waiting)

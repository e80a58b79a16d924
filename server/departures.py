"""Cancel on disconnect: what becomes of a session's open orders when its client is gone.

The cancel is a command in every shard's log, like any other; its reports wait in the session's
store for the next logon.
"""

import logging
from typing import TYPE_CHECKING, Literal

from openoutcry.engine.enums import CommandFlag, CommandKind
from openoutcry.engine.ring import HEAD_WORD
from openoutcry.server.checkpoint import CONNECTED
from openoutcry.server.session_settings import CancelOnDisconnect

if TYPE_CHECKING:
    from openoutcry.server.gateway import Gateway

log = logging.getLogger(__name__)

Trigger = Literal["connection_lost", "logout"]


class Departures:
    """The sessions whose clients are gone, and whose orders are canceled once a time is over."""

    def __init__(self, gateway: "Gateway") -> None:
        self._gateway = gateway
        #: Session's number → (due, UTC ms; flags of the command).
        self._due: dict[int, tuple[int, int]] = {}
        #: Session's number → positions in the command rings behind its cancels.
        self._under_way: dict[int, list[int]] = {}

    def left(
        self, session: int, settings: CancelOnDisconnect | None, trigger: Trigger, now_ms: int
    ) -> None:
        """Note that the client of a session is gone; without grace its orders are canceled now."""
        if settings is None or trigger not in settings.triggers:
            self._gateway.note_presence(session, 0)
            return
        flags = (
            CommandFlag.CONNECTION_LOST if trigger == "connection_lost" else CommandFlag.LOGGED_OUT
        )
        if not settings.include_gtc:
            flags |= CommandFlag.KEEP_GTC
        self.restore(session, now_ms + settings.grace_s * 1000, int(flags))
        self.poll(now_ms)

    def restore(self, session: int, due_ms: int, flags: int) -> None:
        """Have a session's orders canceled at a time, by a gateway that comes after this one, too.

        Args:
            session: its number.
            due_ms: UTC.
            flags: CommandFlag of the cancel.
        """
        self._due[session] = (due_ms, flags)
        self._gateway.note_presence(session, due_ms << 8 | flags)

    def returned(self, session: int) -> None:
        """Keep the orders of a session whose client is back in time."""
        self._gateway.note_presence(session, CONNECTED)
        self._under_way.pop(session, None)
        if self._due.pop(session, None) is not None:
            log.info("back in time, orders stay: session=%d", session)

    def poll(self, now_ms: int) -> None:
        """Cancel the orders of those whose time is over."""
        self._note_done()
        due = [session for session, (due_ms, _) in self._due.items() if now_ms >= due_ms]
        for session in due:
            _, flags = self._due.pop(session)
            self._cancel(session, flags)

    def _cancel(self, session: int, flags: int) -> None:
        gateway = self._gateway
        log.info("orders canceled, the client is gone: session=%d flags=%d", session, flags)
        gateway.fix.discard_held(session)
        # No bytes asked for this: the latency counts from here.
        gateway.recv_ns = gateway.monotonic_ns()
        for shard in range(len(gateway.config.shards)):
            row = gateway.orders.command(CommandKind.MASS_CANCEL, session, 0)
            row["symbol"] = -1
            row["flags"] = flags
            gateway.orders.put(shard, row)
        if not gateway.orders.waiting:
            self._under_way[session] = gateway.routes.tails.tolist()

    def _note_done(self) -> None:
        """Forget those whose cancels the shards have logged: no other gateway has to do it again.

        Until then a gateway that comes after this one does; to cancel twice changes nothing.
        """
        if not self._under_way:
            return
        heads = self._gateway.memory.ring_headers[:, self._gateway.number, HEAD_WORD]
        for session, tails in list(self._under_way.items()):
            if (heads >= tails).all():
                del self._under_way[session]
                self._gateway.note_presence(session, 0)

"""Reports about no order: what the gateway itself declines, and statuses that find nothing.

They are built for each receiver by its version: the client that asked, and the drop copies of its
firm and account.
"""

from typing import TYPE_CHECKING

from openoutcry.engine.enums import OrderStatus, ReportKind
from openoutcry.engine.latency import GatewayCounter
from openoutcry.protocol.fix.message import Message
from openoutcry.protocol.fix.stamps import format_sending_time
from openoutcry.protocol.fix.versions import Version
from openoutcry.server.declined import Declined
from openoutcry.server.drop_copies import copies_of
from openoutcry.server.fix_answers import (
    Fields,
    echo,
    fitting,
    route_of_answer,
    send,
    text_of,
    version_of_message,
)
from openoutcry.server.parties import parties_in
from openoutcry.server.translate import CXL_REJ_REASON, EXEC_TYPE, ORD_REJ_REASON, ORD_STATUS

if TYPE_CHECKING:
    from openoutcry.server.fix_gateway import FixSession
    from openoutcry.server.gateway import Gateway

_NO_ORDER = b"NONE"
#: Side(54) where a report must have one and the request had none: undisclosed.
_NO_SIDE = b"7"
#: ExecID(17) in FIX 4.0 is a number: those of the gateway are above all those of shards.
_OWN_EXEC_IDS = 1 << 58
_SESSION_SHIFT, _EPOCH_SHIFT = 38, 30
_EPOCH_MASK, _SEQ_MASK = (1 << 8) - 1, (1 << 30) - 1


class FixDeclines:
    """Declines messages in the gateway's own name."""

    def __init__(self, gateway: "Gateway") -> None:
        self._gateway = gateway

    def decline(self, session: "FixSession", message: Message, declined: Declined) -> None:
        """Answer a message that no shard sees, and tell the drop copies."""
        self._gateway.metrics.counters[GatewayCounter.REJECTS + declined.reason] += 1
        route = route_of_answer(session.version, message)
        epoch = self.epoch_of(session.number)
        body = self._report(session.number, epoch, session.version, message, declined)
        answers = message.seq_num or 0
        send(session, _type_of_report(message), [*route, *body], answers=answers)
        self.copy(session.number, epoch, message, declined)

    def copy(self, session: int, epoch: int, message: Message, declined: Declined) -> None:
        """Tell the drop copies of an order or request that was declined in a session's epoch; of no
        status."""
        if message.msg_type == "H":
            return
        msg_type = _type_of_report(message)
        gateway = self._gateway
        account = gateway.accounts.numbers.get(message.get(1) or b"", 0)
        elsewhere: set[int] = set()
        for receiver in copies_of(gateway, session, account):
            if receiver.entry.home != gateway.number:
                elsewhere.add(receiver.entry.home)
                continue
            version = receiver.version
            body = self._report(session, epoch, version, message, declined)
            mark = fitting(version, msg_type, [(797, b"Y")])
            send(receiver, msg_type, [*body, *mark])
            receiver.act([])
        # The session's gateway tells the others, they nobody.
        is_first = int(gateway.index.rows[session]["home"]) == gateway.number
        if elsewhere and is_first and gateway.neighbours is not None:
            gateway.neighbours.tell_decline(elsewhere, session, message, declined)

    def epoch_of(self, session: int) -> int:
        """Return the epoch of a session whose home is this gateway."""
        return int(self._gateway.index.rows[session]["epoch"])

    def _report(
        self, session: int, epoch: int, version: Version, message: Message, declined: Declined
    ) -> Fields:
        """Return the body of the report to a message, as a version has it."""
        msg_type = _type_of_report(message)
        if msg_type == "9":
            fields = self._cancel_reject(version, message, declined)
        else:
            kind = ReportKind.STATUS if message.msg_type == "H" else ReportKind.REJECTED
            exec_id = self.exec_id(session, epoch, version, message)
            fields = self.no_order(exec_id, version, message, kind, declined)
        body = fitting(version, msg_type, fields)
        owner = self._gateway.fix.of_number(session)
        if owner is not None:
            own = version_of_message(owner, message)
            body += parties_in(message, own, version, msg_type)
        return body

    def _cancel_reject(self, version: Version, message: Message, declined: Declined) -> Fields:
        return [
            (37, _NO_ORDER),
            *echo(message, 11, 41),
            (39, b"8"),
            (434, b"1" if message.msg_type == "F" else b"2"),
            (102, b"%d" % CXL_REJ_REASON[version, declined.reason]),
            *echo(message, 1),
            (60, self.stamp(version)),
            (58, text_of(declined.text)),
        ]

    def no_order(
        self,
        exec_id: bytes,
        version: Version,
        message: Message,
        kind: ReportKind,
        declined: Declined,
    ) -> Fields:
        """Return the fields of an ExecutionReport about no order: a declined one or a status.

        For `fitting`: a few are not in every version. What the request says comes from it.
        """
        status = int(ORD_STATUS[version, OrderStatus.REJECTED])
        exec_type = int(EXEC_TYPE[version, kind]) or status
        symbol = echo(message, 55)
        if not symbol and version <= Version.FIX42:
            symbol = [(55, b"[N/A]")]
        return [
            (37, _NO_ORDER),
            *echo(message, 11, 41),
            (17, exec_id),
            (20, b"0" if kind == ReportKind.REJECTED else b"3"),
            (150, b"%c" % exec_type),
            (39, b"%c" % status),
            *echo(message, 1),
            *symbol,
            _side(version, message),
            *_qty(version, message),
            *echo(message, 40, 44, 59),
            *([(32, b"0"), (31, b"0")] if version < Version.FIX42 else []),
            (151, b"0"),
            (14, b"0"),
            (6, b"0"),
            (60, self.stamp(version)),
            (103, b"%d" % ORD_REJ_REASON[version, declined.reason]),
            (58, text_of(declined.text)),
        ]

    def stamp(self, version: Version) -> bytes:
        """Return the time as a version writes TransactTime(60)."""
        return format_sending_time(self._gateway.now_ms(), version)

    def exec_id(self, session: int, epoch: int, version: Version, message: Message) -> bytes:
        """Return the ExecID(17) of what a gateway itself answers a message with."""
        seq = message.seq_num or 0
        if version == Version.FIX40:
            epoch, seq = epoch & _EPOCH_MASK, seq & _SEQ_MASK
            number = session << _SESSION_SHIFT | epoch << _EPOCH_SHIFT | seq
            return b"%d" % (_OWN_EXEC_IDS | number)
        return b"G%d-%d-%d" % (session, epoch, seq)


def _type_of_report(message: Message) -> str:
    """Return MsgType(35) of what declines a message."""
    return "9" if message.msg_type in {"F", "G"} else "8"


def _side(version: Version, message: Message) -> tuple[int, bytes]:
    found = fitting(version, "8", echo(message, 54))
    return found[0] if found else (54, _NO_SIDE)


def _qty(version: Version, message: Message) -> Fields:
    found = fitting(version, "8", echo(message, 38))
    return found or ([(38, b"0")] if version < Version.FIX42 else [])

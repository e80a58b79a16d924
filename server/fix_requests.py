"""Application messages of FIX sessions: who answers which, and who may send which."""

import logging
from typing import TYPE_CHECKING, Any

from openoutcry.engine.latency import GatewayCounter, Protocol
from openoutcry.protocol.fix.enums import BusinessRejectReason
from openoutcry.protocol.fix.message import Message
from openoutcry.server.declined import Declined, Incomplete
from openoutcry.server.fix_answers import ECHO_MAX, LongAnswers
from openoutcry.server.fix_declines import FixDeclines
from openoutcry.server.fix_mass import MassRequests
from openoutcry.server.fix_orders import KINDS, FixOrders
from openoutcry.server.fix_reference import ReferenceData

if TYPE_CHECKING:
    from openoutcry.server.fix_gateway import FixSession
    from openoutcry.server.gateway import Gateway
    from openoutcry.server.orders import Orders

log = logging.getLogger(__name__)

#: MsgTypes(35) that trade, or tell of the session's orders: not for a drop copy.
_TRADING = frozenset({*KINDS, "q", "AF"})
#: MsgTypes(35) that the venue answers; others get BusinessMessageReject 380=3.
SERVED_TYPES = _TRADING | {"x", "c"}

#: Requests' own identifiers, where that is not ClOrdID(11): MassStatusReqID, SecurityReqID.
_IDS = {"AF": 584, "x": 320, "c": 320}


class FixRequests:
    """Gives each application message to the part that knows what to do with it."""

    def __init__(self, gateway: "Gateway", orders: "Orders") -> None:
        self._gateway = gateway
        self._orders = orders
        answers = LongAnswers(gateway)
        self._declines = FixDeclines(gateway)
        self._fix_orders = FixOrders(gateway, orders)
        self._mass = MassRequests(gateway, orders, self._fix_orders, self._declines, answers)
        self._reference = ReferenceData(gateway, answers)
        self._comp_id = gateway.config.venue.comp_id.encode()

    def take(self, session: "FixSession", message: Message, *, was_held: bool = False) -> None:
        """Route a message, or answer it."""
        msg_type = message.msg_type
        if msg_type == "j":
            log.warning(
                "business reject received: session=%s RefSeqNum=%r text=%r",
                session.comp_id,
                message.get(45),
                message.get(58),
            )
            return
        if message.get(128) not in {None, self._comp_id}:
            reason = BusinessRejectReason.DELIVER_TO_FIRM_NOT_AVAILABLE
            self._refuse(session, message, reason, "DeliverToCompID(128) is not the venue")
        elif session.is_drop_copy and msg_type in _TRADING:
            reason = BusinessRejectReason.NOT_AUTHORIZED
            self._refuse(session, message, reason, "a drop copy session takes no orders")
        elif len(message.get(_IDS.get(msg_type, 11)) or b"") > ECHO_MAX:
            text = f"the request's identifier has more than {ECHO_MAX} bytes"
            self._refuse(session, message, BusinessRejectReason.OTHER, text)
        elif msg_type == "q":
            self._mass.cancel(session, message)
        elif msg_type == "AF":
            self._mass.status(session, message)
        elif msg_type == "x":
            self._reference.security_list(session, message)
        elif msg_type == "c":
            self._reference.security_definition(session, message)
        else:
            self._take_order(session, message, was_held=was_held)

    def _take_order(self, session: "FixSession", message: Message, *, was_held: bool) -> None:
        try:
            if message.msg_type == "H" and self._mass.tells_order(session, message):
                return
            shard, row = self._fix_orders.command(session, message, was_held=was_held)
        except Declined as declined:
            request = self._fix_orders.declined_request(session, message, declined)
            if request is None:
                self._declines.decline(session, message, declined)
            else:
                self._orders.put(*request)
            return
        except Incomplete as incomplete:
            reason = BusinessRejectReason.CONDITIONALLY_REQUIRED_FIELD_MISSING
            self._refuse(session, message, reason, str(incomplete))
            return
        self._orders.put(shard, row)

    def _refuse(
        self, session: "FixSession", message: Message, reason: BusinessRejectReason, text: str
    ) -> None:
        counters = self._gateway.metrics.counters
        counters[GatewayCounter.SESSION_REJECTS + Protocol.FIX] += 1
        ref_id = (message.get(_IDS.get(message.msg_type, 11)) or b"")[:ECHO_MAX]
        session.session.business_reject(
            message, reason, self._gateway.now_ms(), ref_id=ref_id, text=text
        )

    def copy_decline(self, session: int, epoch: int, message: Message, declined: Declined) -> None:
        """Tell the drop copies what a client of another protocol or gateway was declined."""
        self._declines.copy(session, epoch, message, declined)

    def take_report(self, shard: int, position: int, row: Any) -> None:
        """Take a shard's report that answers a mass request."""
        self._mass.take_report(shard, position, row)

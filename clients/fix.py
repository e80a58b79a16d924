"""An asyncio client of a FIX venue, with decimal prices, reconnection and recovery.

    async with FixClient("127.0.0.1", 8081, "DEMO") as client:
        order = await client.new_order("BTCUSDT", Side.BUY, "0.5", "65000.01")
        report = await client.wait_for(order)
        print(report.ord_status, report.leaves_qty)

When the connection breaks the client connects again; the venue resends the reports that were
missed, and requests sent meanwhile follow by resend, too: each is executed once. Without a store
the numbers begin anew with each client object (its first Logon asks for a reset); with a
`FileStore` they outlive the process.

All versions from FIX.4.0 to FIX.5.0SP2 are spoken; orders go out in the form that each requires,
and their reports come back in one. What has no method here goes through `send`, and comes as an
event of `events`.
"""

import asyncio
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

from openoutcry.clients.fix_link import EventStream, FixLink, LogonRefused, SessionEnded, Value
from openoutcry.clients.fix_orders import Body, Number, OrderForms, check_cl_ord_id
from openoutcry.clients.fix_reports import (
    BusinessReject,
    ExecType,
    ExecutionReport,
    MassCancelReport,
    OrderCancelReject,
    OrdStatus,
    OrdType,
    Reject,
    Report,
    Side,
    TimeInForce,
    read_report,
)
from openoutcry.clients.fix_store import FileStore
from openoutcry.clients.fix_streams import Hub, Stream
from openoutcry.protocol.fix.dictionary import Dictionary, dictionary
from openoutcry.protocol.fix.events import Application, Event, NumbersReset, RejectReceived
from openoutcry.protocol.fix.message import Message
from openoutcry.protocol.fix.session import Role, SessionConfig
from openoutcry.protocol.fix.stamps import format_sending_time
from openoutcry.protocol.fix.versions import Version

__all__ = [
    "FixClient",
    "FixLink",
    "FileStore",
    "LogonRefused",
    "SessionEnded",
    "EventStream",
    "ReportStream",
    "Report",
    "ExecutionReport",
    "OrderCancelReject",
    "MassCancelReport",
    "Reject",
    "BusinessReject",
    "Number",
    "Side",
    "OrdType",
    "TimeInForce",
    "ExecType",
    "OrdStatus",
    "Value",
    "Version",
]

#: All reports from the call of `FixClient.reports` on, as an asynchronous iterator.
ReportStream: TypeAlias = Stream[Report]


@dataclass(slots=True)
class _Waiter:
    matches: Callable[[Report], bool]
    found: "asyncio.Future[Report]"


class FixClient(FixLink):
    """A trading client over FIX; one task of the running loop reads for it."""

    def __init__(
        self,
        host: str,
        port: int,
        sender_comp_id: str,
        target_comp_id: str = "OPENOUTCRY",
        *,
        version: Version = Version.FIX44,
        facts: Dictionary | None = None,
        username: str | None = None,
        password: str | None = None,
        new_password: str | None = None,
        sender_sub_id: str = "",
        target_sub_id: str = "",
        header: Iterable[tuple[int, bytes]] = (),
        logon_fields: Iterable[tuple[int, bytes]] = (),
        heartbeat_s: int = 10,
        store: FileStore | None = None,
        reset: bool | None = None,
        reset_each_logon: bool = False,
        next_expected: bool = False,
        reconnect: bool = True,
        backoff_s: tuple[float, float] = (0.1, 5.0),
        connect_timeout_s: float = 10.0,
        history: int = 10_000,
        id_prefix: str | None = None,
    ) -> None:
        """Prepare a client; `connect` (or `async with`) opens the session.

        Args:
            host: The venue's address.
            port: Its FIX port.
            sender_comp_id: Our CompID.
            target_comp_id: The venue's CompID.
            version: The version to speak.
            facts: Its dictionary, perhaps with fields of the venue's own or lenient.
            username: Username(553), if the venue asks for one.
            password: Password(554), likewise; before FIX 4.3 it goes in RawData(96).
            new_password: NewPassword(925) of the first Logon, from FIX 5.0 on. When the venue has
                taken it, later Logons use it; `LoggedOn.status` tells.
            sender_sub_id: SenderSubID(50) of every message.
            target_sub_id: TargetSubID(57) of every message.
            header: Further fields of every message's header.
            logon_fields: Further fields of each Logon.
            heartbeat_s: HeartBtInt(108); 0 for none.
            store: Keeps numbers and sent messages over restarts of the process.
            reset: Whether the first Logon asks for new numbers on both sides; by default where
                nothing is stored. Reports that the venue still kept for us are then lost.
            reset_each_logon: Ask for it with every Logon, also after a lost connection.
            next_expected: Put NextExpectedMsgSeqNum(789) into the Logon, from FIX 4.4 on.
            reconnect: Connect again when an open session loses its connection.
            backoff_s: First and longest pause before connecting again; doubled each time.
            connect_timeout_s: How long connecting and logging on may take.
            history: How many reports `wait_for` looks back on.
            id_prefix: What generated ClOrdIDs start with; by default something random.
        """
        subs = ((50, sender_sub_id.encode()), (57, target_sub_id.encode()))
        facts = facts or dictionary(version)
        config = SessionConfig(
            role=Role.INITIATOR,
            sender_comp_id=sender_comp_id,
            target_comp_id=target_comp_id,
            version=version,
            dictionary=facts,
            heartbeat_s=heartbeat_s,
            username=username,
            password=password,
            new_password=new_password,
            header=(*(field for field in subs if field[1]), *header),
            logon_fields=tuple(logon_fields),
            reset_on_logon=reset_each_logon,
            use_next_expected=next_expected,
            served_types=facts.msg_types,
        )
        super().__init__(
            host,
            port,
            config,
            store=store,
            reset=reset,
            reconnect=reconnect,
            backoff_s=backoff_s,
            connect_timeout_s=connect_timeout_s,
        )
        self._id_prefix = secrets.token_hex(4) + "-" if id_prefix is None else id_prefix
        self._ids = 0
        self._forms = OrderForms(facts)
        # ClOrdIDs of what was sent, by number: for a Reject, which names only the number.
        self._identifiers: dict[int, str] = {}
        self._history: deque[Report] = deque(maxlen=history)
        self._waiters: list[_Waiter] = []
        self._reports: Hub[Report] = Hub()

    # --- requests ---------------------------------------------------------------------------------

    async def new_order(
        self,
        symbol: str,
        side: Side,
        qty: Number,
        price: Number | None = None,
        *,
        tif: TimeInForce = TimeInForce.DAY,
        account: str = "",
        cl_ord_id: str | None = None,
    ) -> str:
        """Send a limit order, or a market order where no price is given; return its ClOrdID.

        While the client is connecting again the order is kept, and sent after the Logon.

        Raises:
            ValueError: A text or number cannot be sent.
            SessionEnded: The client is closed.
        """
        identifier = self._new_id(cl_ord_id)
        body = self._forms.new_order(
            identifier, symbol, side, qty, price, tif, account, self._transact_time()
        )
        await self._request("D", body, identifier)
        return identifier

    async def cancel(
        self,
        orig_cl_ord_id: str,
        symbol: str,
        side: Side,
        qty: Number | None = None,
        *,
        cl_ord_id: str | None = None,
    ) -> str:
        """Ask for an order to be canceled; return the request's own ClOrdID.

        `qty` is the order's OrderQty(38), for venues that want to see it (FIX 4.0 requires it);
        the whole of what is left is canceled in any case.
        """
        identifier = self._new_id(cl_ord_id)
        body = self._forms.cancel(
            orig_cl_ord_id, identifier, symbol, side, qty, self._transact_time()
        )
        await self._request("F", body, identifier)
        return identifier

    async def replace(
        self,
        orig_cl_ord_id: str,
        symbol: str,
        side: Side,
        qty: Number,
        price: Number,
        *,
        cl_ord_id: str | None = None,
    ) -> str:
        """Ask for another price and total quantity of a limit order; return the new ClOrdID."""
        identifier = self._new_id(cl_ord_id)
        body = self._forms.replace(
            orig_cl_ord_id, identifier, symbol, side, qty, price, self._transact_time()
        )
        await self._request("G", body, identifier)
        return identifier

    async def status(self, cl_ord_id: str, symbol: str, side: Side) -> int:
        """Ask for an order's state; return the request's number. The answer has ExecType `I`."""
        return await self._request("H", self._forms.status(cl_ord_id, symbol, side), cl_ord_id)

    async def cancel_all(
        self, symbol: str | None = None, side: Side | None = None, *, cl_ord_id: str | None = None
    ) -> str:
        """Ask for all of the session's open orders to be canceled; return the request's ClOrdID.

        The answer is a MassCancelReport; each order has its own report. FIX 4.3 and later.

        Args:
            symbol: Only its orders; by default those of all symbols.
            side: Only this side's.
            cl_ord_id: By default something new.

        Raises:
            ValueError: A text cannot be sent, or the version has no mass cancel.
            SessionEnded: The client is closed.
        """
        identifier = self._new_id(cl_ord_id)
        body = self._forms.mass_cancel(identifier, symbol, side, self._transact_time())
        await self._request("q", body, identifier)
        return identifier

    async def status_of_all(
        self, symbol: str | None = None, side: Side | None = None, *, request_id: str | None = None
    ) -> str:
        """Ask for the state of all of the session's open orders; return the request's id.

        The answers have ExecType `I` and, from FIX 4.4 on, the id as `mass_status_req_id`; the
        arguments are those of `cancel_all`. FIX 4.3 and later.
        """
        identifier = self._new_id(request_id)
        await self._request("AF", self._forms.mass_status(identifier, symbol, side), identifier)
        return identifier

    def _new_id(self, given: str | None) -> str:
        if given is None:
            self._ids += 1
            given = f"{self._id_prefix}{self._ids}"
        return check_cl_ord_id(given)

    def _transact_time(self) -> str:
        now_ms = time.time_ns() // 1_000_000
        return format_sending_time(now_ms, self._session.config.version).decode()

    async def _request(self, msg_type: str, body: Body, identifier: str) -> int:
        self._check_open()
        # Before the answer can come.
        number = self._session.state.next_out
        self._identifiers[number] = identifier
        self._identifiers.pop(number - (self._history.maxlen or 0), None)
        return await self.send(msg_type, body)

    # --- answers ----------------------------------------------------------------------------------

    def reports(self) -> ReportStream:
        """Return all reports and rejects from now on, as an asynchronous iterator.

        It ends when the client is closed or logs out. What is not read is kept.
        """
        return self._reports.open()

    async def wait_for(
        self,
        cl_ord_id: str,
        matches: Callable[[Report], bool] | None = None,
        *,
        timeout_s: float = 10.0,
    ) -> Report:
        """Return a ClOrdID's first report that matches (by default the first), past ones included.

        Raises:
            TimeoutError: None came in time.
            SessionEnded: The session is over.
        """

        def is_wanted(report: Report) -> bool:
            return report.cl_ord_id == cl_ord_id and (matches is None or matches(report))

        return await self.wait_until(is_wanted, timeout_s=timeout_s)

    async def wait_until(
        self, matches: Callable[[Report], bool], *, timeout_s: float = 10.0
    ) -> Report:
        """Return the first report that matches, past ones included."""
        for report in self._history:
            if matches(report):
                return report
        if self._failure is not None:
            raise self._failure
        waiter = _Waiter(matches, asyncio.get_running_loop().create_future())
        self._waiters.append(waiter)
        try:
            async with asyncio.timeout(timeout_s):
                return await waiter.found
        finally:
            self._waiters.remove(waiter)

    def _take(self, event: Event) -> None:
        if isinstance(event, Application | RejectReceived):
            self._publish(event.message)
        elif isinstance(event, NumbersReset):
            # What is left from before has numbers that are yet to come.
            next_out = self._session.state.next_out
            sent = self._identifiers
            self._identifiers = {number: sent[number] for number in sent if number < next_out}

    def _publish(self, message: Message) -> None:
        number = message.get(45)
        identifier = ""
        if number and number.isdigit():
            identifier = self._identifiers.get(int(number), "")
        report = read_report(message, rejected_cl_ord_id=identifier)
        if report is None:
            return
        self._history.append(report)
        self._reports.publish(report)
        for waiter in self._waiters:
            if not waiter.found.done() and waiter.matches(report):
                waiter.found.set_result(report)

    def _ended(self, error: BaseException) -> None:
        self._reports.end()
        for waiter in self._waiters:
            if not waiter.found.done():
                waiter.found.set_exception(error)

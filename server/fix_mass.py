"""FIX requests about many orders, and those about one that take a look at many.

OrderMassCancelRequest (q) and OrderMassStatusRequest (AF) go to each shard concerned as one
command; the answers of the shards are put together here. A mass status is told order by order, from
the report log, when all shards have answered: its reports say how many there are. Besides, two
forms of OrderStatusRequest (H): one that names its order by OrderID(37) alone is a mass status of
which a single order is told, one with OrdStatusReqID(790) is answered here, since reports have no
room for that.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from openoutcry.engine.enums import CommandKind, RejectReason, ReportKind
from openoutcry.engine.records import SHARD_SHIFT
from openoutcry.protocol.fix.message import Message
from openoutcry.protocol.fix.versions import Version
from openoutcry.server.answers import FoundRow
from openoutcry.server.declined import Declined
from openoutcry.server.drop_copies import copies_of
from openoutcry.server.fix_answers import (
    Fields,
    LongAnswers,
    answer,
    echo,
    fitting,
    report_fields,
    send,
    text_of,
)
from openoutcry.server.translate import REASON_TEXTS

if TYPE_CHECKING:
    from openoutcry.server.fix_declines import FixDeclines
    from openoutcry.server.fix_gateway import FixSession
    from openoutcry.server.fix_orders import FixOrders
    from openoutcry.server.gateway import Gateway
    from openoutcry.server.orders import Orders

#: MassCancelRequestType(530) and MassStatusReqType(585)
_OF_SECURITY, _ALL_ORDERS = b"1", b"7"
_OF_TRADING_SESSION = b"6"
#: MassCancelResponse(531)
_REFUSED = b"0"
#: MassCancelRejectReason(532)
_NOT_SUPPORTED, _NO_SECURITY, _NO_TRADING_SESSION, _OTHER = b"0", b"1", b"6", b"99"
#: Fields that would narrow a request and that are not served: without them it would hit more.
_NO_FILTERS = {336: "TradingSessionID", 453: "NoPartyIDs", 1461: "NoTargetPartyIDs"}
_SIDES = {b"1": 1, b"2": 2}
#: Symbols that a refusal names.
_NAMED = 4
#: Requests of one session that shards have not answered yet.
_PENDING_MAX = 64


class _Refused(Exception):
    """A request that is not served as it stands; `code` is a MassCancelRejectReason(532)."""

    def __init__(self, code: bytes, reason: RejectReason, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.reason = reason
        self.text = text


@dataclass(slots=True, eq=False)
class _Request:
    """What some shards have still to answer."""

    session: "FixSession"
    message: Message
    shards: set[int]
    #: Account to which a status is narrowed, 0 for any.
    account: int = 0
    #: OrderID of the one order that is wanted.
    order_id: int | None = None
    count: int = 0
    #: Reports of the orders, as sources.
    found: list[int] = field(default_factory=list)
    #: Why shards refused, if any did.
    reason: int = 0
    refusals: int = 0
    #: The session's when it was asked.
    epoch: int = 0


class MassRequests:
    """Sends requests about many orders to the shards, and puts their answers together."""

    def __init__(
        self,
        gateway: "Gateway",
        orders: "Orders",
        fix_orders: "FixOrders",
        declines: "FixDeclines",
        answers: LongAnswers,
    ) -> None:
        self._gateway = gateway
        self._orders = orders
        self._fix_orders = fix_orders
        self._declines = declines
        self._answers = answers
        #: By session, then by epoch and MsgSeqNum.
        self._pending: dict[int, dict[tuple[int, int], _Request]] = defaultdict(dict)

    # --- requests ---------------------------------------------------------------------------------

    def cancel(self, session: "FixSession", message: Message) -> None:
        """Take an OrderMassCancelRequest (q)."""
        try:
            row, shards = self._command(CommandKind.MASS_CANCEL, session, message, message.get(530))
            row["account"] = self._account(message)
            if row["account"] and self._has_variants(int(row["account"])):
                text = "Account(1) has orders with parties or routes: cancel by Symbol(55)"
                raise _Refused(_OTHER, RejectReason.UNKNOWN_ACCOUNT, text)
        except _Refused as refused:
            self._answer_cancel(session, message, _REFUSED, refused.code, 0, refused.text)
            return
        self._ask(_Request(session, message, set(shards)), row)

    def status(self, session: "FixSession", message: Message) -> None:
        """Take an OrderMassStatusRequest (AF)."""
        try:
            if self._answers.is_full(session):
                raise _Refused(_OTHER, RejectReason.SESSION_CAPACITY, "too many requests at once")
            row, shards = self._command(CommandKind.MASS_STATUS, session, message, message.get(585))
            account = self._account(message)
        except _Refused as refused:
            self._no_orders(session, message, refused.reason, refused.text)
            return
        self._ask(_Request(session, message, set(shards), account), row)

    def tells_order(self, session: "FixSession", message: Message) -> bool:
        """Take an OrderStatusRequest (H) if it is one for Python; raise Declined."""
        has_own_id = message.get(790) is not None and session.version >= Version.FIX44
        if message.get(11) is not None and not has_own_id:
            return False
        if self._is_full(session):
            raise Declined(RejectReason.SESSION_CAPACITY, "too many requests at once")
        number = self._fix_orders.symbol(message)
        shard = self._gateway.config.shard_of(number)
        if message.get(11) is not None:
            _, row = self._fix_orders.command(session, message)
            self._gateway.index.rows[session.number]["python_statuses"] += 1
            self._ask(_Request(session, message, {shard}), row)
            return True
        self._orders.check_shard(shard, number, comes_again=message.get(43) == b"Y")
        order_id = order_id_of(message.get(37) or b"")
        if order_id is None:
            raise Declined(RejectReason.UNKNOWN_ORDER, "unknown order")
        row = self._orders.command(CommandKind.MASS_STATUS, session.number, message.seq_num or 0)
        row["symbol"] = number
        row["orig0"] = order_id
        self._ask(_Request(session, message, {shard}, order_id=order_id), row)
        return True

    def _command(
        self, kind: CommandKind, session: "FixSession", message: Message, scope: bytes | None
    ) -> tuple[Any, Sequence[int]]:
        """Return a request's command and the shards it goes to; raise _Refused."""
        if self._is_full(session):
            raise _Refused(_OTHER, RejectReason.SESSION_CAPACITY, "too many requests at once")
        row = self._orders.command(kind, session.number, message.seq_num or 0)
        for tag, field_name in _NO_FILTERS.items():
            if message.get(tag) is not None:
                code = _NO_TRADING_SESSION if tag == 336 else _OTHER
                text = f"{field_name}({tag}) is not supported"
                raise _Refused(code, RejectReason.UNSUPPORTED_ORDER_TYPE, text)
        side = message.get(54)
        if side is not None and side not in _SIDES:
            text = "Side must be 1 (buy) or 2 (sell)"
            raise _Refused(_OTHER, RejectReason.INVALID_SIDE, text)
        row["side"] = _SIDES.get(side or b"", 0)
        name = message.get(55)
        if scope == _ALL_ORDERS and name is None:
            row["symbol"] = -1
            return row, self._check_shards(message, range(len(self._gateway.config.shards)))
        if scope == _OF_SECURITY and name is not None:
            number = self._gateway.symbols.numbers.get(name)
            if number is None:
                raise _Refused(_NO_SECURITY, RejectReason.UNKNOWN_SYMBOL, "unknown symbol")
            row["symbol"] = number
            return row, self._check_shards(message, (self._gateway.config.shard_of(number),))
        text = "the type of the request must be 1, with Symbol(55), or 7, without"
        code = _NOT_SUPPORTED
        if scope == _OF_SECURITY:
            code = _NO_SECURITY
        elif scope == _OF_TRADING_SESSION:
            code = _NO_TRADING_SESSION
        raise _Refused(code, RejectReason.UNSUPPORTED_ORDER_TYPE, text)

    def _check_shards(self, message: Message, shards: Sequence[int]) -> Sequence[int]:
        """Return shards if all of them take a request; raise _Refused."""
        again = message.get(43) == b"Y"
        down = {s for s in shards if self._orders.may_decline(s, comes_again=again)}
        if down:
            config = self._gateway.config
            names = [
                symbol.name
                for number, symbol in enumerate(config.symbols)
                if config.shard_of(number) in down
            ]
            more = " and others" if len(names) > _NAMED else ""
            text = f"the shard of {', '.join(names[:_NAMED])}{more} is being restarted"
            raise _Refused(_OTHER, RejectReason.SHARD_DOWN, text)
        return shards

    def _account(self, message: Message) -> int:
        name = message.get(1)
        if name is None:
            return 0
        number = self._gateway.accounts.numbers.get(name)
        if number is None:
            raise _Refused(_OTHER, RejectReason.UNKNOWN_ACCOUNT, "unknown account")
        return number

    def _has_variants(self, account: int) -> bool:
        rows = self._gateway.accounts.rows[: len(self._gateway.accounts.names)]
        return int((rows["base"] == account).sum()) > 1

    def _is_full(self, session: "FixSession") -> bool:
        return len(self._pending[session.number]) >= _PENDING_MAX

    def _ask(self, request: _Request, row: Any) -> None:
        session, number = int(row["session"]), int(row["inbound_seq"])
        request.epoch = int(row["epoch"])
        self._pending[session][request.epoch, number] = request
        answers = self._gateway.index.answers
        next_out = int(self._gateway.index.rows[session]["next_out"])
        answers.begin(session, number, next_out)
        # What shards had reported when the gateway before this one died is not asked for again.
        for found in answers.rows_found(session, number):
            self._take_found(request, found)
        if not request.shards:
            self._end(request)
            return
        for shard in sorted(request.shards):
            self._orders.put(shard, row)

    # --- answers ----------------------------------------------------------------------------------

    def take_report(self, shard: int, position: int, row: Any) -> None:
        """Take one report of an answer; send what is due once the shards have all answered."""
        session, number = int(row["session"]), int(row["inbound_seq"])
        pending = self._pending[session]
        key = (int(row["epoch"]), number)
        source = shard << SHARD_SHIFT | position
        request = pending.get(key)
        if int(row["kind"]) == ReportKind.STATUS:
            self._tell_status(row, request, source)
            if request is not None:
                del pending[key]
                self._gateway.index.rows[session]["python_statuses"] -= 1
                self._note_end(request)
            return
        found = found_row(shard, source, row)
        if request is None:
            rows = self._gateway.index.rows[session]
            is_awaited = row["epoch"] == rows["epoch"] and number >= rows["next_in"]
            if shard in self._gateway.unsettled and is_awaited:
                # Its client will ask again, and the shard will pass over that.
                self._gateway.index.answers.note_late(session, number, found)
            return
        if shard not in request.shards:
            return
        if self._is_owed(request):
            self._gateway.index.answers.note_row(session, number, found)
        self._take_found(request, found)
        if not request.shards:
            self._end(request)

    def _take_found(self, request: _Request, found: FoundRow) -> None:
        """Add one report of a shard to an answer."""
        if found.kind == ReportKind.MASS_STATUS:
            if self._is_wanted(request, found):
                request.found.append(found.source)
            return
        request.shards.discard(found.shard)
        request.count += found.qty_lots
        if found.reason:
            request.reason = found.reason
            request.refusals += 1

    def _is_wanted(self, request: _Request, found: FoundRow) -> bool:
        if request.order_id is not None:
            return found.order_id == request.order_id
        if not request.account:
            return True
        return bool(self._gateway.accounts.rows[found.account]["base"] == request.account)

    def _is_owed(self, request: _Request) -> bool:
        """Tell whether an answer still counts: not after a reset of the session's numbers."""
        number = request.message.seq_num or 0
        epoch = int(self._gateway.index.rows[request.session.number]["epoch"])
        return request.epoch == epoch and self._gateway.index.answers.is_open(
            request.session.number, number
        )

    def _note_end(self, request: _Request) -> None:
        if self._is_owed(request):
            number = request.message.seq_num or 0
            self._gateway.index.answers.end(request.session.number, number)

    def _end(self, request: _Request) -> None:
        """Send the answer of a request that all shards have answered."""
        number = request.message.seq_num or 0
        del self._pending[request.session.number][request.epoch, number]
        # In the same order whenever it is made.
        request.found.sort()
        if request.message.msg_type == "q":
            self._end_cancel(request)
            self._note_end(request)
        elif not request.found:
            self._end_status(request)
            self._note_end(request)
        else:
            # It ends by itself.
            self._end_status(request)

    def _end_cancel(self, request: _Request) -> None:
        session, message = request.session, request.message
        if request.refusals and not request.count:
            text = REASON_TEXTS[request.reason]
            self._answer_cancel(session, message, _REFUSED, _OTHER, 0, text, self._tag(request))
        else:
            scope = message.get(530) or b""
            tag = self._tag(request)
            self._answer_cancel(session, message, scope, b"", request.count, "", tag)
        session.act([])

    def _tag(self, request: _Request) -> int:
        """Return the number that the answer to a request answers; 0 after a reset."""
        return (request.message.seq_num or 0) if self._is_owed(request) else 0

    def _answer_cancel(
        self,
        session: "FixSession",
        message: Message,
        response: bytes,
        code: bytes,
        count: int,
        text: str,
        answers: int | None = None,
    ) -> None:
        """Send an OrderMassCancelReport (r)."""
        epoch = self._declines.epoch_of(session.number)
        own_id = self._declines.exec_id(session.number, epoch, session.version, message)
        codes = fitting(session.version, "r", [(532, code)])
        if code and not codes:
            codes = [(532, _NOT_SUPPORTED)]
        fields = [
            (37, own_id),
            *echo(message, 11),
            (1369, own_id),
            *echo(message, 530),
            (531, response),
            *codes,
            (533, b"%d" % count),
            *echo(message, 1, 55, 54),
            (60, self._declines.stamp(session.version)),
            (58, text_of(text)),
        ]
        answer(session, message, "r", fields, answers=answers)

    def _end_status(self, request: _Request) -> None:
        session, message = request.session, request.message
        if not request.found:
            reason = RejectReason(request.reason) if request.reason else RejectReason.UNKNOWN_ORDER
            text = REASON_TEXTS[reason] if request.reason else "no open order"
            self._no_orders(session, message, reason, text, self._tag(request))
            session.act([])
            return
        number = (message.seq_num or 0) if self._is_owed(request) else 0
        self._answers.begin(session, number, self._statuses(request))

    def _statuses(self, request: _Request) -> Iterator[tuple[str, Fields]]:
        """Yield an ExecutionReport for each order found."""
        session, message = request.session, request.message
        last = len(request.found)
        for number, source in enumerate(request.found, 1):
            more: Fields = [*echo(message, 790)]
            if request.order_id is None:
                more += [(584, message.get(584) or b""), (911, b"%d" % last)]
                more.append((912, b"Y" if number == last else b"N"))
            yield "8", self._status_fields(session, source, more)

    def _status_fields(self, session: "FixSession", source: int, more: Fields) -> Fields:
        fields = report_fields(self._gateway, session.number, source)
        known = {tag for tag, _ in fields}
        return [*fields, *(f for f in fitting(session.version, "8", more) if f[0] not in known)]

    def _tell_status(self, row: Any, request: _Request | None, source: int) -> None:
        """Send the answer to a status request, with its own identifier if it has one."""
        session = self._gateway.fix.by_number[int(row["session"])]
        more = [] if request is None else echo(request.message, 790)
        epoch = self._gateway.index.rows[session.number]["epoch"]
        number = int(row["inbound_seq"]) if row["epoch"] == epoch else 0
        send(session, "8", self._status_fields(session, source, more), answers=number)
        session.act([])
        if row["order_id"]:
            for copy in copies_of(self._gateway, session.number, int(row["account"])):
                send(copy, "8", report_fields(self._gateway, copy.number, source))
                copy.act([])

    def _no_orders(
        self,
        session: "FixSession",
        message: Message,
        reason: RejectReason,
        text: str,
        answers: int | None = None,
    ) -> None:
        """Answer a mass status that finds nothing, or is refused, with one rejected report."""
        epoch = self._declines.epoch_of(session.number)
        fields = self._declines.no_order(
            self._declines.exec_id(session.number, epoch, session.version, message),
            *(session.version, message, ReportKind.STATUS, Declined(reason, text)),
        )
        if message.msg_type == "AF":
            fields += [(584, message.get(584) or b""), (911, b"0"), (912, b"Y")]
        else:
            fields += echo(message, 790)
        answer(session, message, "8", fields, answers=answers)


def found_row(shard: int, source: int, row: Any) -> FoundRow:
    """Return what an answer needs of a REPORT row; `source` is where it lies."""
    return FoundRow(
        shard,
        source,
        int(row["kind"]),
        int(row["qty_lots"]),
        int(row["reason"]),
        int(row["account"]),
        int(row["order_id"]),
        int(row["report_seq"]),
    )


def order_id_of(text: bytes) -> int | None:
    """Return the number that an OrderID(37) of the venue stands for: `O{shard}-{seq}`."""
    shard, dash, seq = text[1:].partition(b"-")
    is_ours = text[:1] == b"O" and dash and shard.isdigit() and seq.isdigit()
    if not is_ours or len(text) > 24:
        return None
    number = int(shard) << SHARD_SHIFT | int(seq)
    return number if 0 < number < 1 << 63 and int(seq) >> SHARD_SHIFT == 0 else None

"""Holds the clients' record against the rules: nothing lost, nothing twice, nothing that differs.

It knows no venue, only what clients were promised: dense numbers, one meaning a number, one report
an ExecID, an answer to every request, quantities that add up, both sides of each trade.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2b

import msgspec
from crash.record import Entry
from crash.wire import (
    Received,
    Report,
    Request,
    Units,
    read_binary,
    read_binary_request,
    read_fix,
    read_fix_request,
)

from openoutcry.protocol.binary.frames import HEADER_BYTES
from openoutcry.protocol.binary.frames import FrameReader as BinaryFrames
from openoutcry.protocol.fix.stream import FrameReader as FixFrames

#: What ends an order, as OrdStatus(39).
_FINAL = frozenset({2, 4, 8, 12})
#: Answers of a request, by its kind; each comes exactly once.
_ANSWERS = {
    "new": {"new", "rejected", "declined"},
    "cancel": {"canceled", "cancel-rejected", "declined"},
    "replace": {"replaced", "cancel-rejected", "declined"},
    "status": {"status", "declined"},
    "mass-cancel": {"mass-canceled", "declined"},
    "mass-status": {"status", "declined"},
}
#: Versions without SecondaryExecID(527).
_NAMELESS = {"FIX40", "FIX41", "FIX42"}
#: What is added to a session's numbers at each reset, so that none has two meanings.
EPOCH = 1 << 32
#: More findings than this are not worth reading.
_FINDINGS_MAX = 50


@dataclass(slots=True)
class Order:
    """An order, as its reports have told of it."""

    session: str
    order_id: str
    cl_ord_id: str
    symbol: str
    side: int
    qty: int
    cum: int = 0
    leaves: int = 0
    status: int = 0
    filled: int = 0
    is_final: bool = False


@dataclass(slots=True)
class Session:
    """What the record tells of a session."""

    name: str
    is_binary: bool
    #: It only receives copies of what others did.
    listens: bool = False
    #: Its reports of fills say which trade it was.
    names_trades: bool = True
    #: Number → digest of the message's content and, in FIX, its first SendingTime(52).
    digests: dict[int, bytes] = field(default_factory=dict)
    stamps: dict[int, bytes] = field(default_factory=dict)
    #: Numbers that a gap fill stands for, or an administrative message had.
    administrative: set[int] = field(default_factory=set)
    #: Every number to this one was seen.
    dense_to: int = 0
    reports: dict[int, Report] = field(default_factory=dict)
    #: Reports below this number have been followed, in order.
    followed_to: int = 1
    requests: dict[int, Request] = field(default_factory=dict)
    by_id: dict[str, Request] = field(default_factory=dict)
    #: ClOrdID of a request → the kind of its answer; requests that have none yet.
    answers: dict[str, str] = field(default_factory=dict)
    unanswered: dict[str, Request] = field(default_factory=dict)
    #: MassStatusReqID → the parts of the answer so far.
    parts: dict[str, int] = field(default_factory=Counter)
    #: Market exposure by symbol: bought less sold, lots.
    positions: Counter[str] = field(default_factory=Counter)
    names: dict[int, str] = field(default_factory=dict)
    fix_frames: FixFrames = field(default_factory=FixFrames)
    binary_frames: BinaryFrames = field(default_factory=lambda: BinaryFrames(1 << 20))
    #: Reports that there were at `expect_resend`, and have not come again since.
    not_again: set[int] = field(default_factory=set)
    #: What lies below the numbers of the epoch: a multiple of EPOCH. `decoding` is ahead of it.
    base: int = 0
    decoding: int = 0
    connections: int = 0
    repeated: int = 0


def _moved(received: Received, base: int) -> Received:
    """Return a message with numbers that no other epoch has."""
    if not base:
        return received
    report = received.report
    if report is not None:
        report = msgspec.structs.replace(report, number=report.number + base)
    fills_to = received.fills_to and received.fills_to + base
    return replace(received, number=received.number + base, report=report, fills_to=fills_to)


class Checker:
    """Reads the record as it grows.

    Args:
        sessions: name → protocol ("binary" or a FIX version).
        symbols: name → units, for FIX.
        listens: sessions that receive copies only.
    """

    def __init__(
        self,
        sessions: Mapping[str, str],
        symbols: Mapping[str, Units],
        listens: Iterable[str] = (),
    ) -> None:
        self.symbols = dict(symbols)
        self.sessions = {
            name: Session(
                name, protocol == "binary", name in set(listens), protocol not in _NAMELESS
            )
            for name, protocol in sessions.items()
        }
        self.orders: dict[str, Order] = {}
        #: ExecID → session and number.
        self.exec_ids: dict[tuple[str, bool], tuple[str, int]] = {}
        #: Trade → its reports: side, symbol, price, quantity.
        self.trades: dict[str, list[tuple[int, str, int, int]]] = defaultdict(list)
        #: Trades of which one side is known.
        self.half: set[str] = set()
        self.findings: list[str] = []
        self.losses = 0
        self.duplicates = 0

    def _find(self, text: str, *, lost: int = 0, doubled: int = 0) -> None:
        self.losses += lost
        self.duplicates += doubled
        if len(self.findings) < _FINDINGS_MAX:
            self.findings.append(text)

    @property
    def requests(self) -> int:
        """How many requests there are."""
        return sum(len(session.requests) for session in self.sessions.values())

    @property
    def reports(self) -> int:
        """How many reports there are."""
        return sum(len(session.reports) for session in self.sessions.values())

    # --- the record -------------------------------------------------------------------------------

    def read(self, entries: Iterable[Entry]) -> None:
        """Take entries of the record."""
        self.take_all(self.decode(entries))

    def decode(self, entries: Iterable[Entry]) -> Iterator[tuple[str, Request | Received]]:
        """Yield what the entries tell: requests, and numbered messages as they came."""
        for entry in entries:
            session = self.sessions[entry.session]
            match entry.what:
                case "opened":
                    session.connections += 1
                    session.fix_frames = FixFrames()
                    session.binary_frames = BinaryFrames(1 << 20)
                case "defined":
                    names = json.loads(entry.data)
                    session.names = {int(number): name for number, name in names.items()}
                    for other in self.sessions.values():
                        other.names = other.names or session.names
                case "asked":
                    request = (
                        read_binary_request(entry.data[HEADER_BYTES:], session.names)
                        if session.is_binary
                        else read_fix_request(entry.data, self.symbols)
                    )
                    if request is not None:
                        number = request.number + session.decoding
                        yield session.name, msgspec.structs.replace(request, number=number)
                case "came" if session.is_binary:
                    session.binary_frames.receive_data(entry.data)
                    for payload in session.binary_frames.payloads():
                        received = read_binary(payload, session.names)
                        if received is not None:
                            yield session.name, received
                case "came":
                    for frame in session.fix_frames.feed(entry.data):
                        if frame is None:
                            self._find(f"{session.name} got garbled bytes")
                        else:
                            received = read_fix(frame, self.symbols)
                            if received.resets:
                                session.decoding += EPOCH
                            yield session.name, _moved(received, session.decoding)

    def take_all(self, happened: Iterable[tuple[str, Request | Received]]) -> None:
        """Take requests and messages; then follow what they tell of orders."""
        for name, item in happened:
            session = self.sessions[name]
            if isinstance(item, Received):
                self.take(session, item)
                continue
            session.requests[item.number] = item
            session.by_id[item.cl_ord_id] = item
            session.unanswered[item.cl_ord_id] = item
        for session in self.sessions.values():
            self._follow(session)

    def take(self, session: Session, received: Received) -> None:
        """Take the arrival of a numbered message."""
        number = received.number
        session.base = max(session.base, number - number % EPOCH)
        if received.fills_to:
            self._take_gap_fill(session, number, received.fills_to)
            return
        if received.report is None:
            session.administrative.add(number)
            if number in session.reports:
                self._find(f"{session.name}: {number} was a report, now it is administrative")
            return
        digest = blake2b(received.content, digest_size=8).digest()
        known = session.digests.get(number)
        stamp = received.first_sent if received.is_repeated else received.sent
        if known is not None:
            session.repeated += 1
            session.not_again.discard(number)
            if known != digest:
                self._find(
                    f"{session.name}: {number} has two meanings: {session.reports[number]} and "
                    f"{received.content!r}",
                    doubled=1,
                )
            if not received.is_repeated and not session.is_binary:
                self._find(f"{session.name}: {number} came again without PossDupFlag")
            if session.stamps[number] != stamp:
                self._find(
                    f"{session.name}: {number} was sent at {session.stamps[number]!r}, and "
                    f"repeated as of {stamp!r}"
                )
            return
        session.digests[number] = digest
        session.stamps[number] = stamp
        session.reports[number] = received.report

    def _take_gap_fill(self, session: Session, first: int, behind: int) -> None:
        """Take what stands for messages that are not sent again: reports are never among them."""
        for number in range(first, behind):
            report = session.reports.get(number)
            if report is None:
                session.administrative.add(number)
            elif not report.is_of_session:
                self._find(f"{session.name}: {report} was filled by a gap fill", lost=1)

    def expect_resend(self) -> int:
        """Begin to watch that every report comes again; return how many there are."""
        for session in self.sessions.values():
            reports = session.reports.items()
            session.not_again = {
                number
                for number, each in reports
                if number > session.base and not each.is_of_session
            }
        return sum(len(session.not_again) for session in self.sessions.values())

    def not_resent(self) -> dict[str, list[int]]:
        """Return the reports, by session, that did not come again since `expect_resend`."""
        sessions = self.sessions.values()
        return {each.name: sorted(each.not_again) for each in sessions if each.not_again}

    # --- orders -----------------------------------------------------------------------------------

    def _follow(self, session: Session) -> None:
        """Follow the reports in the order of their numbers, as far as these are dense."""
        while True:
            number = session.followed_to
            if number in session.reports:
                self._take_report(session, session.reports[number])
            elif number not in session.administrative:
                if number > session.base:
                    return
                # Clients reset at rest: all that was sent before has come.
                later = [n for n in session.reports if number < n < session.base]
                if later:
                    text = f"{session.name} had not got {number} when it reset"
                    self._find(f"{text}, but {min(later)}", lost=1)
                number = session.base
            session.followed_to = number + 1

    def _take_report(self, session: Session, report: Report) -> None:
        where = f"{session.name} {report.number} {report.kind} {report.cl_ord_id}"
        if report.exec_id:
            key = (report.exec_id, session.listens)
            if key in self.exec_ids:
                self._find(f"{where}: {report.exec_id} came as {self.exec_ids[key]}", doubled=1)
                return
            self.exec_ids[key] = (session.name, report.number)
        if session.listens:
            return
        if report.mass_id:
            self._take_part(session, report, where)
            return
        request = session.by_id.get(report.cl_ord_id)
        if request is not None:
            if report.kind in _ANSWERS[request.kind]:
                self._take_answer(session, request, report, where)
            if session.is_binary and report.answers not in {0, request.number}:
                self._find(f"{where}: answers {report.answers}, not {request.number}")
        elif report.kind not in {"declined"}:
            self._find(f"{where}: nobody asked for it")
        if report.kind in {"new", "trade", "canceled", "replaced", "expired"}:
            self._take_order(session, report, where)

    def _take_answer(self, session: Session, request: Request, report: Report, where: str) -> None:
        session.unanswered.pop(request.cl_ord_id, None)
        before = session.answers.get(request.cl_ord_id)
        if before is not None and request.kind not in {"status", "mass-status"}:
            self._find(f"{where}: {request} was answered before: {before}", doubled=1)
        session.answers[request.cl_ord_id] = report.kind

    def _take_part(self, session: Session, report: Report, where: str) -> None:
        """Take a part of the answer to a mass status request: all of them come, each once."""
        request = session.by_id.get(report.mass_id)
        if request is None:
            self._find(f"{where}: nobody asked for {report.mass_id}")
            return
        session.parts[report.mass_id] += int(report.parts > 0)
        if report.mass_id in session.answers:
            self._find(f"{where}: {request} was answered whole before", doubled=1)
        if report.is_last or report.parts == 0:
            came = session.parts[report.mass_id]
            if came != report.parts:
                lost, doubled = max(report.parts - came, 0), max(came - report.parts, 0)
                text = f"{where}: {came} of {report.parts} parts of {report.mass_id} came"
                self._find(text, lost=lost, doubled=doubled)
            session.answers[report.mass_id] = "status"
            session.unanswered.pop(report.mass_id, None)

    def _take_order(self, session: Session, report: Report, where: str) -> None:
        order = self.orders.get(report.order_id)
        if report.kind == "new":
            if order is not None:
                self._find(f"{where}: {report.order_id} is new twice", doubled=1)
            request = session.by_id.get(report.cl_ord_id)
            asked = request and (request.symbol, request.side, request.qty)
            if asked != (report.symbol, report.side, report.qty):
                self._find(f"{where}: {asked} was asked, {report} accepted")
            order = self.orders[report.order_id] = Order(
                session.name, report.order_id, report.cl_ord_id, report.symbol, report.side,
                report.qty,
            )  # fmt: skip
        if order is None:
            self._find(f"{where}: order {report.order_id} was never accepted", lost=1)
            return
        if order.is_final:
            self._find(f"{where}: {report.order_id} had come to its end before", doubled=1)
        if order.session != session.name:
            self._find(f"{where}: {report.order_id} is an order of {order.session}")
        if report.kind == "replaced":
            order.cl_ord_id, order.qty = report.cl_ord_id, report.qty
        elif report.kind == "trade":
            self._take_trade(session, order, report)
        if report.cum != order.filled:
            self._find(
                f"{where}: CumQty {report.cum}, but its fills add up to {order.filled}",
                lost=int(report.cum > order.filled),
                doubled=int(report.cum < order.filled),
            )
        is_final = report.status in _FINAL
        leaves = 0 if is_final else order.qty - order.filled
        if report.leaves != leaves:
            self._find(f"{where}: LeavesQty {report.leaves}, not {leaves}")
        if report.status == 2 and order.filled != order.qty:
            self._find(f"{where}: filled, but only {order.filled} of {order.qty}")
        order.cum, order.leaves, order.status = report.cum, report.leaves, report.status
        order.is_final = is_final

    def _take_trade(self, session: Session, order: Order, report: Report) -> None:
        order.filled += report.last_qty
        sign = 1 if order.side == 1 else -1
        session.positions[order.symbol] += sign * report.last_qty
        if report.trade_id:
            sides = self.trades[report.trade_id]
            sides.append((report.side, report.symbol, report.last_px, report.last_qty))
            if len(sides) == 1:
                self.half.add(report.trade_id)
                return
            self.half.discard(report.trade_id)
            (one, *what), (other, *same) = sides[:2]
            if len(sides) > 2:
                self._find(f"{report.trade_id} has {len(sides)} sides: {sides}", doubled=1)
            elif {one, other} != {1, 2} or what != same:
                self._find(f"{report.trade_id} is told differently: {sides}")

    # --- at rest ----------------------------------------------------------------------------------

    def check_rest(self) -> None:
        """Check what holds when nothing is under way: all is answered, and nothing is missing."""
        for session in self.sessions.values():
            last = max([*session.reports, *session.administrative], default=0)
            missing = [
                number
                for number in range(session.followed_to, last + 1)
                if number not in session.reports and number not in session.administrative
            ]
            if missing:
                self._find(f"{session.name} lacks {missing[:10]}", lost=len(missing))
            for request in session.unanswered.values():
                self._find(f"{session.name}: {request} has no answer", lost=1)
        # FIX 4.2 does not name trades.
        if all(s.is_binary or s.listens or s.names_trades for s in self.sessions.values()):
            for trade in self.half:
                self._find(f"{trade} is known to one side only: {self.trades[trade]}", lost=1)

    def open_orders(self) -> dict[str, tuple[str, str, int, int]]:
        """Return the open orders: OrderID → ClOrdID, symbol, side, LeavesQty."""
        return {
            order.order_id: (order.cl_ord_id, order.symbol, order.side, order.leaves)
            for order in self.orders.values()
            if not order.is_final
        }

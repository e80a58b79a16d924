"""A venue in one thread a connection, over the oracle's book: for the load generator's own tests.

Nothing here uses a kernel: messages go through simplefix and msgspec. `lie` may change a report
before it is sent; `piece_bytes` cuts what is sent into pieces; `mute_after` stops answering.
"""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

import numpy as np
import simplefix
from oracle.book import OracleBook
from oracle.fix_encoder import SessionTexts, encode_cancel_reject, encode_execution_report

from openoutcry.engine.enums import CommandKind, OrderStatus, RejectReason, ReportKind
from openoutcry.engine.records import COMMAND
from openoutcry.loadgen.scenario import Scenario
from openoutcry.protocol.binary.frames import FrameReader, encode_frame
from openoutcry.protocol.binary.messages import (
    Cancel,
    ExecutionReport,
    Heartbeat,
    Logon,
    LogonAccepted,
    Logout,
    NewOrder,
    Reject,
    Replace,
    SymbolDefinition,
    decode_client_message,
)
from openoutcry.protocol.fix.stamps import format_utc_ms
from openoutcry.protocol.fix.versions import Version

Lie = Callable[[dict[str, Any]], None]

_EXEC_TYPES = {
    ReportKind.NEW: "0",
    ReportKind.TRADE: "F",
    ReportKind.CANCELED: "4",
    ReportKind.REPLACED: "5",
    ReportKind.REJECTED: "8",
    ReportKind.EXPIRED: "C",
}
_CXL_REASONS = {
    RejectReason.TOO_LATE_TO_CANCEL: 0,
    RejectReason.ORDER_REPLACED: 0,
    RejectReason.UNKNOWN_ORDER: 1,
}
_KINDS = {"D": CommandKind.NEW, "F": CommandKind.CANCEL, "G": CommandKind.REPLACE}
_BINARY_KINDS: dict[Any, CommandKind] = {
    NewOrder: CommandKind.NEW,
    Cancel: CommandKind.CANCEL,
    Replace: CommandKind.REPLACE,
}


class StubVenue:
    """Listens on a free port while it is entered."""

    def __init__(
        self,
        scenario: Scenario,
        protocol: str,
        *,
        lie: Lie | None = None,
        piece_bytes: int = 0,
        mute_after: int = 0,
        refuse: bool = False,
        test_request_every: int = 0,
    ) -> None:
        self.scenario = scenario
        self.protocol = protocol
        self.lie = lie
        self.piece_bytes = piece_bytes
        self.mute_after = mute_after
        self.refuse = refuse
        self.test_request_every = test_request_every
        self.heartbeats_received = 0
        self.requests = 0
        self.lock = threading.Lock()
        self.peers: dict[int, _Peer] = {}
        self.book = OracleBook(finished_orders=100_000)
        self.accounts: list[str] = [""]
        for number, _ in enumerate(scenario.symbols):
            row = np.zeros(1, COMMAND)[0]
            row["kind"], row["symbol"] = CommandKind.ADD_SYMBOL, number
            row["price_ticks"], row["price2_ticks"] = 1, 10**12
            row["qty_lots"], row["qty2_lots"] = 1, 10**12
            self.book.process(row)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> "StubVenue":
        thread = threading.Thread(target=self._accept, daemon=True)
        thread.start()
        self._threads.append(thread)
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for peer in list(self.peers.values()):
            with contextlib.suppress(OSError):
                peer.sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            number = len(self.peers) + 1
            kind = _FixPeer if self.protocol == "fix" else _BinaryPeer
            with self.lock:
                peer = self.peers[number] = kind(self, number, sock)
            thread = threading.Thread(target=peer.serve, daemon=True)
            thread.start()
            self._threads.append(thread)

    def execute(self, command: Any) -> None:
        """Give a command to the book, and its reports to whom they belong."""
        self.requests += 1
        if self.mute_after and self.requests > self.mute_after:
            return
        command["seq"] = self.requests
        command["time_ns"] = time.time_ns()
        for report in self.book.process(command):
            values = {name: report[name].item() for name in report.dtype.names}
            if values["kind"] == ReportKind.TRADE:
                values["orig_cl_ord_id"] = b""
            if self.lie:
                self.lie(values)
            self.peers[values["session"]].report(values)

    def account_number(self, name: str) -> int:
        """Return a number for an account."""
        if name not in self.accounts:
            self.accounts.append(name)
        return self.accounts.index(name)


class _Peer:
    def __init__(self, venue: StubVenue, number: int, sock: socket.socket) -> None:
        self.venue = venue
        self.number = number
        self.sock = sock
        self.out_seq = 1
        self.in_seq = 0
        self.outgoing = bytearray()
        self.is_open = True

    def serve(self) -> None:
        with self.sock:
            while self.is_open:
                try:
                    data = self.sock.recv(65536)
                except OSError:
                    return
                if not data:
                    return
                with self.venue.lock:
                    self.receive(data)
                    for peer in self.venue.peers.values():
                        peer.flush()

    def flush(self) -> None:
        data, self.outgoing = bytes(self.outgoing), bytearray()
        with contextlib.suppress(OSError):
            for piece in _pieces(data, self.venue.piece_bytes):
                self.sock.sendall(piece)

    def receive(self, data: bytes) -> None:
        raise NotImplementedError

    def report(self, values: dict[str, Any]) -> None:
        raise NotImplementedError

    def execute(self, kind: int, seq: int, **fields: Any) -> None:
        assert seq == self.in_seq + 1
        self.in_seq = seq
        row = np.zeros(1, COMMAND)[0]
        row["kind"], row["inbound_seq"], row["session"] = kind, seq, self.number
        for name, value in fields.items():
            row[name] = value
        self.venue.execute(row)


def _pieces(data: bytes, size: int) -> Iterator[bytes]:
    if not size:
        yield data
        return
    for start in range(0, len(data), size):
        yield data[start : start + size]


class _BinaryPeer(_Peer):
    def __init__(self, venue: StubVenue, number: int, sock: socket.socket) -> None:
        super().__init__(venue, number, sock)
        self.reader = FrameReader()

    def send(self, message: Any) -> None:
        self.outgoing += encode_frame(message)

    def receive(self, data: bytes) -> None:
        self.reader.receive_data(data)
        for payload in self.reader.payloads():
            message = decode_client_message(payload)
            match message:
                case Logon():
                    self.logon()
                case Logout():
                    self.send(Logout())
                    self.is_open = False
                case Heartbeat():
                    self.venue.heartbeats_received += 1
                case _:
                    self.order(message)

    def logon(self) -> None:
        if self.venue.refuse:
            self.send(Logout("not today", 3))
            self.is_open = False
            return
        symbols = self.venue.scenario.symbols
        self.send(LogonAccepted(1, self.number, 0, 1, 30, len(symbols)))
        for number, symbol in enumerate(symbols):
            limits = (1, 10**12, 1, 10**12)
            self.send(SymbolDefinition(number, symbol.name, symbol.tick, symbol.lot, *limits))

    def order(self, message: Any) -> None:
        every = self.venue.test_request_every
        if every and message.seq % every == 0:
            self.send(Heartbeat())
        fields: dict[str, Any] = {
            "cl_ord_id": message.cl_ord_id.encode(),
            "symbol": message.symbol,
            "side": message.side,
        }
        if isinstance(message, (Cancel, Replace)):
            fields["orig_cl_ord_id"] = message.orig_cl_ord_id.encode()
        if isinstance(message, (NewOrder, Replace)):
            fields |= {"price_ticks": message.price, "qty_lots": message.qty}
            fields["ord_type"] = message.ord_type
        if isinstance(message, NewOrder):
            fields["tif"] = message.tif
            fields["account"] = self.venue.account_number(message.account)
        self.execute(_BINARY_KINDS[type(message)], message.seq, **fields)

    def report(self, values: dict[str, Any]) -> None:
        if values.get("refused"):
            text = values["cl_ord_id"].decode()
            self.send(Reject(self.out_seq, False, values["inbound_seq"], text, 100, "no"))
            self.out_seq += 1
            return
        cum = values["cum_qty"]
        average = Decimal(values["notional_lo"]) / cum if cum else Decimal(0)
        is_trade = values["kind"] == ReportKind.TRADE
        self.send(
            ExecutionReport(
                seq=self.out_seq,
                repeated=False,
                ref_seq=values["inbound_seq"],
                kind=values["kind"],
                status=values["status"],
                reason=values["reason"],
                symbol=values["symbol"],
                side=values["side"],
                ord_type=values["ord_type"],
                tif=values["tif"],
                liquidity=values["liquidity"] if is_trade else 0,
                order_id=values["order_id"],
                exec_id=values["report_seq"],
                trade_id=values["trade_id"] if is_trade else 0,
                cl_ord_id=values["cl_ord_id"].decode(),
                orig_cl_ord_id=values["orig_cl_ord_id"].decode(),
                account=self.venue.accounts[values["account"]],
                price=values["price_ticks"],
                qty=values["qty_lots"],
                last_px=values["last_px"] if is_trade else 0,
                last_qty=values["last_qty"] if is_trade else 0,
                cum_qty=cum,
                leaves_qty=values["leaves_qty"],
                avg_px=int(
                    (average * 10**8).to_integral_value(ROUND_HALF_EVEN)
                    + values.get("avg_px_error", 0)
                ),
                time_ns=values["time_ns"],
            )
        )
        self.out_seq += 1


class _FixPeer(_Peer):
    def __init__(self, venue: StubVenue, number: int, sock: socket.socket) -> None:
        super().__init__(venue, number, sock)
        self.parser = simplefix.FixParser()
        self.texts = SessionTexts(Version.FIX44, "OPENOUTCRY", "")

    def session_message(self, kind: str, *fields: tuple[int, Any]) -> None:
        message = simplefix.FixMessage()
        for tag, value in (
            (8, "FIX.4.4"),
            (35, kind),
            (49, self.texts.sender),
            (56, self.texts.target),
            (34, self.out_seq),
            (52, format_utc_ms(int(time.time() * 1000))),
            *fields,
        ):
            message.append_pair(tag, value)
        self.out_seq += 1
        self.outgoing += message.encode()

    def receive(self, data: bytes) -> None:
        self.parser.append_buffer(data)
        while (message := self.parser.get_message()) is not None:
            kind = message.message_type.decode()
            seq = int(message.get(34))
            if kind in _KINDS:
                self.order(_KINDS[kind], seq, message)
                continue
            assert seq == self.in_seq + 1
            self.in_seq = seq
            if kind == "A":
                self.texts = SessionTexts(Version.FIX44, "OPENOUTCRY", message.get(49).decode())
                if self.venue.refuse:
                    self.session_message("5", (58, "not today"))
                    self.is_open = False
                    return
                self.session_message("A", (98, 0), (108, int(message.get(108))), (141, "Y"))
            elif kind == "5":
                self.session_message("5")
                self.is_open = False
            elif kind == "0":
                self.venue.heartbeats_received += 1
                assert message.get(112) == b"PING"

    def order(self, kind: int, seq: int, message: Any) -> None:
        every = self.venue.test_request_every
        if every and seq % every == 0:
            self.session_message("1", (112, "PING"))
        names = [symbol.name for symbol in self.venue.scenario.symbols]
        number = names.index(message.get(55).decode())
        symbol = self.venue.scenario.symbols[number]
        for tag in (11, 1, 54, 60, 38):
            assert message.get(tag) is not None
        fields: dict[str, Any] = {
            "cl_ord_id": message.get(11),
            "symbol": number,
            "side": int(message.get(54)),
            "qty_lots": int(Decimal(message.get(38).decode()) / Decimal(symbol.lot)),
            "account": self.venue.account_number(message.get(1).decode()),
        }
        if kind != CommandKind.NEW:
            fields["orig_cl_ord_id"] = message.get(41)
        if kind != CommandKind.CANCEL:
            fields["price_ticks"] = int(Decimal(message.get(44).decode()) / Decimal(symbol.tick))
            fields["ord_type"] = int(message.get(40))
            fields["tif"] = int(message.get(59))
        self.execute(kind, seq, **fields)

    def report(self, values: dict[str, Any]) -> None:
        if values.get("refused"):
            self.session_message("3", (45, values["inbound_seq"]), (58, "no"))
            return
        symbol = self.venue.scenario.symbols[values["symbol"]]
        tick, tick_scale = symbol.tick_parts
        lot, lot_scale = symbol.lot_parts
        cum = values["cum_qty"]
        average = (
            Decimal(values["notional_lo"]) * tick / cum / 10**tick_scale if cum else Decimal(0)
        )
        is_trade = values["kind"] == ReportKind.TRADE
        status = values["status"]
        fields: dict[str, Any] = {
            "seq_num": self.out_seq,
            "sending_time_ms": time.time_ns() // 1_000_000,
            "transact_time_ns": values["time_ns"],
            "poss_dup": 0,
            "order_id": values["order_id"],
            "exec_id": values["report_seq"],
            "trade_id": values["trade_id"] if is_trade else 0,
            "cl_ord_id": values["cl_ord_id"].decode(),
            "orig_cl_ord_id": values["orig_cl_ord_id"].decode(),
            "symbol": symbol.name,
            "account": self.venue.accounts[values["account"]],
            "price": values["price_ticks"] * tick,
            "last_px": values["last_px"] * tick,
            "avg_px": int((average * 10**8).to_integral_value(ROUND_HALF_EVEN))
            + values.get("avg_px_error", 0),
            "order_qty": values["qty_lots"] * lot,
            "last_qty": values["last_qty"] * lot,
            "leaves_qty": values["leaves_qty"] * lot,
            "cum_qty": cum * lot,
            "price_scale": tick_scale,
            "qty_scale": lot_scale,
            "avg_px_scale": 8,
            "text": "",
            "ord_rej_reason": 99 if values["kind"] == ReportKind.REJECTED else -1,
            "cxl_rej_reason": _CXL_REASONS.get(values["reason"], 99),
            "cxl_rej_response_to": 1,
            "exec_type": _EXEC_TYPES.get(values["kind"], ""),
            "ord_status": "C" if status == OrderStatus.EXPIRED else str(status),
            "side": values["side"],
            "ord_type": values["ord_type"],
            "tif": values["tif"],
            "liquidity": values["liquidity"] if is_trade else 0,
            "has_price": 1,
            "has_last": is_trade,
        }
        if values["kind"] == ReportKind.CANCEL_REJECTED:
            self.outgoing += encode_cancel_reject(self.texts, fields)
        else:
            self.outgoing += encode_execution_report(self.texts, fields)
        self.out_seq += 1

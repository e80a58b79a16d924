"""Recorded order flow in tests: the real files, files made by hand, a venue in process."""

import asyncio
import os
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pytest
from oracle.flow import Outcome

from openoutcry.engine import Capacity, Engine, SymbolLimits
from openoutcry.engine.enums import CommandKind, Liquidity, OrderType, RejectReason, ReportKind
from openoutcry.engine.records import COMMAND
from openoutcry.loadgen.flow_files import FlowSymbol
from openoutcry.loadgen.flow_orders import Answer, AnswerKind, Request, RequestKind
from openoutcry.loadgen.flow_report import UNEXPLAINED, FlowReport
from openoutcry.loadgen.flow_runner import FlowRunner
from openoutcry.protocol.binary.enums import Side

DATA = Path(os.environ.get("OPENOUTCRY_DATA", Path(__file__).parents[3] / "shared" / "data"))
BITSTAMP = "bitstamp-2015-05-01-l3.csv.xz"
ITCH = "itch50-test-sample.bin"


def data_file(name: str) -> Path:
    """Return a recorded file, or skip the test."""
    path = DATA / name
    if not path.is_file():
        pytest.skip(
            f"the recorded order flow is missing: {path} (OPENOUTCRY_DATA names the folder)"
        )
    return path


# --- files made by hand ---------------------------------------------------------------------------

_HEAD = struct.Struct(">HsHH6s")


def itch(word: str, *fields: Any) -> bytes:
    """Return an ITCH message with zero length bytes and the fields that matter.

    A, F: id, side, shares, stock, price. E, C, X: id, shares. D: id. U: old, new, shares, price.
    """
    head = _HEAD.pack(0, word.encode(), 1, 0, bytes(6))
    match word:
        case "A" | "F":
            number, side, shares, stock, price = fields
            body = struct.pack(
                ">QcI8sI", number, side.encode(), shares, stock.ljust(8).encode(), price
            )
            return head + body + (b"MPID" if word == "F" else b"")
        case "E" | "C":
            body = struct.pack(">QIQ", *fields, 1)
            return head + body + (b"Y" + bytes(4) if word == "C" else b"")
        case "X":
            return head + struct.pack(">QI", *fields)
        case "D":
            return head + struct.pack(">Q", *fields)
        case "U":
            return head + struct.pack(">QQII", *fields)
        case "S":
            return head + b"O"
        case _:
            raise ValueError(word)


def bitstamp(*rows: tuple[int, str, int, str, str]) -> bytes:
    """Return a CSV of rows (id, price, volume, action, direction)."""
    lines = ["id,timestamp,exchange.timestamp,price,volume,action,direction"]
    lines += [
        f"{number},1,1,{price},{volume},{action},{side}"
        for number, price, volume, action, side in rows
    ]
    return "\n".join(lines).encode() + b"\n"


# --- a venue in process ---------------------------------------------------------------------------


class EngineLink:
    """A link straight into the engine: every request is answered at once."""

    def __init__(self, symbols: tuple[FlowSymbol, ...], orders: int = 64) -> None:
        self.requests: list[Request] = []
        self._numbers = {symbol.name: number for number, symbol in enumerate(symbols)}
        limits = [SymbolLimits(1, 10**12, 1, 10**12)] * max(1, len(symbols))
        capacity = Capacity(orders, finished_orders=4 * orders, levels=orders, symbols=8)
        self._engine = Engine(limits, capacity=capacity)
        self._answers: asyncio.Queue[Answer] = asyncio.Queue()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Nothing is open."""

    async def send(self, request: Request) -> None:
        self.requests.append(request)
        kind = {
            RequestKind.NEW: CommandKind.NEW,
            RequestKind.CANCEL: CommandKind.CANCEL,
            RequestKind.REPLACE: CommandKind.REPLACE,
        }[request.kind]
        self._process(
            kind,
            request.symbol,
            request.side,
            cl_ord_id=request.cl_ord_id.encode(),
            orig_cl_ord_id=request.orig_cl_ord_id.encode(),
            ord_type=OrderType.LIMIT,
            tif=request.tif,
            price_ticks=request.price,
            qty_lots=request.qty,
        )

    async def ask(self, cl_ord_id: str, symbol: str, side: Side) -> None:
        self._process(CommandKind.STATUS, symbol, side, cl_ord_id=cl_ord_id.encode())

    async def answers(self) -> AsyncIterator[Answer]:
        while True:
            yield await self._answers.get()

    def _process(self, kind: CommandKind, symbol: str, side: Side, **fields: Any) -> None:
        command = np.zeros(1, COMMAND)
        command["kind"], command["session"], command["epoch"] = kind, 1, 1
        command["symbol"], command["side"] = self._numbers[symbol], side
        for name, value in fields.items():
            command[name] = value
        for report in self._engine.process(command):
            self._answers.put_nowait(_answer(report))


def _answer(report: Any) -> Answer:
    kind = AnswerKind(ReportKind(report["kind"]).name.lower().replace("_", " "))
    is_trade = kind is AnswerKind.TRADE
    return Answer(
        kind,
        report["cl_ord_id"].decode(),
        price=int(report["price_ticks"]),
        qty=int(report["qty_lots"]),
        cum_qty=int(report["cum_qty"]),
        leaves_qty=int(report["leaves_qty"]),
        last_px=int(report["last_px"]) if is_trade else 0,
        last_qty=int(report["last_qty"]) if is_trade else 0,
        trade_id=str(report["trade_id"]) if is_trade else "",
        is_aggressor=bool(is_trade and report["liquidity"] == Liquidity.REMOVED),
        reason=RejectReason(report["reason"]).name.lower().replace("_", " "),
    )


# --- the comparison -------------------------------------------------------------------------------


def check_against_oracle(
    report: FlowReport, runner: FlowRunner, expected: Outcome, straight: dict[str, Any]
) -> None:
    """Compare an outcome with the plain-Python venue's; book and fills must be the same."""
    fills = [(one.resting_id, one.aggressor_id, one.price, one.qty) for one in runner.own.fills]
    assert fills == expected.fills
    resting = {
        name: (one.symbol, int(one.side), one.price, one.leaves_qty)
        for name, one in runner.own.resting().items()
    }
    assert resting == expected.resting
    assert report.requests == expected.requests
    assert sum(report.refused.values()) == expected.refused
    assert report.sent_by_word == dict(expected.sent)
    assert report.file_resting == len(straight)
    differing = {
        name for name in straight.keys() | resting.keys() if straight.get(name) != resting.get(name)
    }
    assert {one.order_id for one in report.differences} == differing
    assert UNEXPLAINED not in {one.rule for one in report.differences}

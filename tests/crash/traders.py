"""The clients of a crash test, in a process of their own that is never killed.

    python -m crash.traders PLAN

PLAN is JSON (`Plan`). Each session trades by itself: it keeps a few requests under way, connects
again when its connection breaks, has missed reports resent, and sends again what the venue has not
got. Orders come as lines of JSON on stdin (`{"do": "run"}`, rest, reset, resend, stop), one answer
a line on stdout; `rest` answers when every request is answered and nothing more comes, or says who
waits; `resend` has every session ask for all that it ever got; `reset` begins a session's numbers
anew.
"""

import asyncio
import contextlib
import json
import random
import sys
import time
from abc import abstractmethod
from pathlib import Path
from typing import Any

import msgspec
from crash.record import RecordWriter

from openoutcry.clients import binary, fix
from openoutcry.protocol.binary.frames import encode_frame
from openoutcry.protocol.binary.messages import ClientApplication
from openoutcry.protocol.fix.session import MemoryState, Session
from openoutcry.protocol.fix.store import MemoryStore
from openoutcry.protocol.fix.versions import Version

_BACKOFF_S = (0.02, 0.25)
_CONNECT_S = 5.0
_HEARTBEAT_S = 5


class SessionPlan(msgspec.Struct, frozen=True):
    """One session: its name, and "binary" or its FIX version."""

    name: str
    protocol: str
    #: It only listens (a receiver of drop copies).
    listens: bool = False


class Plan(msgspec.Struct, frozen=True):
    """What the clients shall do."""

    record: str
    fix_port: int
    binary_port: int
    sessions: list[SessionPlan]
    symbols: list[str]
    seed: int
    #: Requests of a session that are under way at a time.
    window: int = 8
    #: Pause between two requests of a session, seconds.
    pause_s: float = 0.004


class RecordingStore(MemoryStore):
    """Notes a request before its first byte leaves."""

    def __init__(self, record: RecordWriter, name: str) -> None:
        super().__init__()
        self._record = record
        self._name = name

    def record(
        self, number: int, sending_time_ms: int, frame: bytes | None, answers: int = 0
    ) -> None:
        """Keep the frame, and note it."""
        if frame is not None:
            self._record.note(self._name, "asked", frame)
        super().record(number, sending_time_ms, frame, answers)


class RecordingFix(fix.FixClient):
    """A FIX client that notes what it gets."""

    record: RecordWriter
    name: str

    def note_in(self, record: RecordWriter, name: str) -> None:
        """Set the record up; before `connect`."""
        self.record, self.name = record, name
        store = RecordingStore(record, name)
        self._session = Session(self._session.config, MemoryState(), store)

    async def _open(self) -> None:
        self.record.note(self.name, "opened")
        await super()._open()

    def _receive(self, data: bytes) -> bool:
        self.record.note(self.name, "came", data)
        return super()._receive(data)


class RecordingBinary(binary.BinaryClient):
    """A binary client that notes what it gets, and what it asks."""

    record: RecordWriter
    name: str

    async def _open(self) -> None:
        self.record.note(self.name, "opened")
        await super()._open()
        names = {str(symbol.number): name for name, symbol in self.symbols.items()}
        self.record.note(self.name, "defined", json.dumps(names).encode())

    def _receive(self, data: bytes) -> bool:
        self.record.note(self.name, "came", data)
        return super()._receive(data)

    async def _send(self, message: ClientApplication) -> int:
        numbered = msgspec.structs.replace(message, seq=self._session.next_seq)
        self.record.note(self.name, "asked", encode_frame(numbered))
        return await super()._send(message)


class Trader:
    """One session and what it does."""

    def __init__(self, plan: Plan, number: int, record: RecordWriter) -> None:
        self.plan = plan
        self.name = plan.sessions[number].name
        self.listens = plan.sessions[number].listens
        self.rng = random.Random(f"{plan.seed} {self.name}")
        self.record = record
        self.is_running = False
        #: ClOrdIDs of requests that are not answered.
        self.waiting: set[str] = set()
        #: ClOrdID → symbol, side of orders that may be open.
        self.open: dict[str, tuple[str, int]] = {}
        self.last_came = time.monotonic()
        self._count = 0

    @property
    @abstractmethod
    def is_ready(self) -> bool:
        """Whether requests go out at once."""

    @abstractmethod
    async def connect(self) -> None:
        """Open the session."""

    @abstractmethod
    async def listen(self) -> None:
        """Take reports, until the session ends."""

    @abstractmethod
    async def ask(self, kind: str, identifier: str, **values: Any) -> None:
        """Send a request."""

    @abstractmethod
    def ask_resend(self) -> None:
        """Ask for everything again."""

    @abstractmethod
    async def close(self) -> None:
        """Cut the connection."""

    def next_id(self) -> str:
        """Return a ClOrdID of which there is no other."""
        self._count += 1
        return f"{self.name}-{self._count}"

    async def act(self) -> None:
        """Ask one thing after another."""
        while True:
            await asyncio.sleep(self.plan.pause_s * (0.5 + self.rng.random()))
            if self.is_running and self.is_ready and len(self.waiting) < self.plan.window:
                await self._ask_something()

    async def _ask_something(self) -> None:
        rng, identifier = self.rng, self.next_id()
        chance = rng.random()
        self.waiting.add(identifier)
        if self.open and chance < 0.35:
            orig = rng.choice(list(self.open)[-30:])
            symbol, side = self.open[orig]
            if chance < 0.2:
                await self.ask("cancel", identifier, orig=orig, symbol=symbol, side=side)
            else:
                self.open[identifier] = (symbol, side)
                await self.ask(
                    *("replace", identifier), orig=orig, symbol=symbol, side=side,
                    price=rng.randint(-6, 6), qty=rng.randint(1, 9),
                )  # fmt: skip
            return
        symbol = rng.choice(self.plan.symbols)
        if chance < 0.38:
            await self.ask("status", identifier, symbol=symbol, side=1)
            return
        if chance < 0.42:
            what = "mass-cancel" if chance < 0.39 else "mass-status"
            await self.ask(what, identifier, symbol=symbol if rng.random() < 0.5 else None)
            return
        side = rng.randint(1, 2)
        self.open[identifier] = (symbol, side)
        # Buyers bid a little less than sellers ask, so that some of it rests.
        price = None if rng.random() < 0.05 else rng.randint(-6, 6) - (2 if side == 1 else -2)
        tif = rng.choices([0, 1, 3, 4], [5, 5, 1, 1])[0]
        await self.ask(
            "new", identifier, symbol=symbol, side=side, price=price, qty=rng.randint(1, 9), tif=tif
        )

    def took(self, identifier: str, orig: str, *, is_open: bool | None) -> None:
        """Note a report; `is_open` None: it tells nothing of the order."""
        self.last_came = time.monotonic()
        self.waiting.discard(identifier)
        if is_open is False:
            self.open.pop(identifier, None)
            self.open.pop(orig, None)
        elif is_open and orig:
            self.open.pop(orig, None)

    async def come_to_rest(self, timeout_s: float) -> str:
        """Stop asking; wait until all is answered; return what is not, or nothing."""
        self.is_running = False
        deadline = time.monotonic() + timeout_s
        if not self.listens:
            # Behind all that is under way in each shard: when its answer is there, so is the rest.
            await self._until(lambda: self.is_ready and not self.waiting, deadline)
            for symbol in self.plan.symbols[:2] if self.is_ready else ():
                probe = self.next_id()
                self.waiting.add(probe)
                await self.ask("status", probe, symbol=symbol, side=1)
        await self._until(
            lambda: (
                self.is_ready
                and not self.waiting
                and time.monotonic() > self.last_came + (0.25 if self.listens else 0.05)
            ),
            deadline,
        )
        if not self.is_ready:
            return f"{self.name} is not logged on"
        waiting = sorted(self.waiting)[:5]
        return f"{self.name} waits for {len(self.waiting)}: {waiting}" if waiting else ""

    async def _until(self, condition: Any, deadline: float) -> None:
        while not condition() and time.monotonic() < deadline:
            await asyncio.sleep(0.01)


def _price(base: float, ticks: int | None) -> str | None:
    return None if ticks is None else f"{base + ticks * 0.05:.2f}"


class FixTrader(Trader):
    """A session of FIX."""

    def __init__(self, plan: Plan, number: int, record: RecordWriter) -> None:
        super().__init__(plan, number, record)
        self.version = Version[plan.sessions[number].protocol]
        self.client = RecordingFix(
            *("127.0.0.1", plan.fix_port, self.name),
            version=self.version,
            heartbeat_s=_HEARTBEAT_S,
            reset=False,
            backoff_s=_BACKOFF_S,
            connect_timeout_s=_CONNECT_S,
            history=10,
        )
        self.client.note_in(record, self.name)
        self.reports = self.client.reports()

    @property
    def is_ready(self) -> bool:
        """Whether the session is logged on."""
        return self.client.is_logged_on

    async def connect(self) -> None:
        """Log on."""
        await self.client.connect()

    def ask_resend(self) -> None:
        """Send a ResendRequest of all there is; the client passes over what it knows."""
        core = self.client._session._core
        core.send("2", [(7, b"1"), (16, core.no_end)], time.time_ns() // 1_000_000)
        self.client._flush()

    async def close(self) -> None:
        """Cut the connection."""
        await self.client.close()

    async def listen(self) -> None:
        """Take reports."""
        async for report in self.reports:
            if isinstance(report, fix.ExecutionReport):
                if report.mass_status_req_id:
                    if report.is_last_report or not report.total_reports:
                        self.took(report.mass_status_req_id, "", is_open=None)
                    continue
                is_status = report.exec_type == fix.ExecType.ORDER_STATUS
                is_open = None if is_status else not report.is_final
                self.took(report.cl_ord_id, report.orig_cl_ord_id, is_open=is_open)
            elif isinstance(report, fix.OrderCancelReject):
                self.open.pop(report.cl_ord_id, None)
                if report.cxl_rej_reason in {0, 1}:
                    self.open.pop(report.orig_cl_ord_id, None)
                self.took(report.cl_ord_id, "", is_open=None)
            else:
                self.took(report.cl_ord_id, "", is_open=None)

    async def ask(self, kind: str, identifier: str, **values: Any) -> None:
        """Send a request; a mass cancel only where the version has it."""
        client, symbol = self.client, values["symbol"]
        side = fix.Side(str(values["side"])) if values.get("side") else fix.Side.BUY
        match kind:
            case "new":
                tif = fix.TimeInForce(str(values["tif"]))
                await client.new_order(
                    *(symbol, side, values["qty"] * 10, _price(100, values["price"])),
                    tif=tif, cl_ord_id=identifier,
                )  # fmt: skip
            case "cancel":
                await client.cancel(values["orig"], symbol, side, cl_ord_id=identifier)
            case "replace":
                price = _price(100, values["price"])
                assert price is not None
                await client.replace(
                    *(values["orig"], symbol, side, values["qty"] * 10, price),
                    cl_ord_id=identifier,
                )
            case "mass-cancel" if self.version >= Version.FIX43:
                await client.cancel_all(symbol, cl_ord_id=identifier)
            case "mass-status" if self.version >= Version.FIX44:
                await client.status_of_all(symbol, request_id=identifier)
            case "mass-cancel" | "mass-status":
                self.waiting.discard(identifier)
            case "status":
                await client.status(identifier, symbol, side)


class BinaryTrader(Trader):
    """A session of the binary protocol."""

    def __init__(self, plan: Plan, number: int, record: RecordWriter) -> None:
        super().__init__(plan, number, record)
        self.client = RecordingBinary(
            *("127.0.0.1", plan.binary_port, self.name),
            heartbeat_s=_HEARTBEAT_S,
            next_expected=1,
            backoff_s=_BACKOFF_S,
            connect_timeout_s=_CONNECT_S,
            history=10,
        )
        self.client.record, self.client.name = record, self.name
        self.reports = self.client.reports()

    @property
    def is_ready(self) -> bool:
        """Whether the session is logged on."""
        return self.client.is_logged_on

    async def connect(self) -> None:
        """Log on."""
        await self.client.connect()

    def ask_resend(self) -> None:
        """Connect again as one who has got nothing yet."""
        self.client._session.next_expected = 1
        if self.client._writer is not None:
            self.client._writer.transport.abort()

    async def close(self) -> None:
        """Cut the connection."""
        await self.client.close()

    async def listen(self) -> None:
        """Take reports."""
        async for report in self.reports:
            if isinstance(report, binary.Reject):
                self.took(report.cl_ord_id, "", is_open=None)
                continue
            kind = report.kind
            if kind is binary.ReportKind.CANCEL_REJECTED:
                self.open.pop(report.cl_ord_id, None)
                if report.reason in {30, 31}:
                    self.open.pop(report.orig_cl_ord_id, None)
                self.took(report.cl_ord_id, "", is_open=None)
            elif kind is binary.ReportKind.STATUS:
                self.took(report.cl_ord_id, "", is_open=None)
            else:
                is_open = report.leaves_qty > 0
                self.took(report.cl_ord_id, report.orig_cl_ord_id, is_open=is_open)

    async def ask(self, kind: str, identifier: str, **values: Any) -> None:
        """Send a request; the protocol has no mass requests."""
        client, symbol = self.client, values["symbol"]
        side = binary.Side(values["side"]) if values.get("side") else None
        match kind:
            case "new":
                assert side is not None
                await client.new_order(
                    *(symbol, side, values["qty"] * 10, _price(100, values["price"])),
                    tif=binary.TimeInForce(values["tif"]), cl_ord_id=identifier,
                )  # fmt: skip
            case "cancel":
                await client.cancel(values["orig"], symbol, side=side, cl_ord_id=identifier)
            case "replace":
                price = _price(100, values["price"])
                assert price is not None
                await client.replace(
                    *(values["orig"], symbol, values["qty"] * 10, price),
                    side=side, cl_ord_id=identifier,
                )  # fmt: skip
            case "mass-cancel" | "mass-status":
                self.waiting.discard(identifier)
            case "status":
                await client.status(identifier, symbol)


async def _lines() -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


async def _guard(trader: "FixTrader | BinaryTrader", failures: list[str]) -> None:
    """Be a session; that it ends is a failure."""
    try:
        await trader.connect()
    except Exception as error:
        failures.append(f"{trader.name} did not get in: {error!r}")
        return
    tasks = [asyncio.create_task(trader.listen())]
    if not trader.listens:
        tasks.append(asyncio.create_task(trader.act()))
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            why = task.exception() or trader.client._failure
            failures.append(f"{trader.name} ended: {why!r}")
    finally:
        for task in tasks:
            task.cancel()


async def main(plan: Plan) -> None:
    """Trade until told to stop, or until stdin ends."""
    record = RecordWriter(Path(plan.record))
    traders: list[FixTrader | BinaryTrader] = [
        BinaryTrader(plan, n, record) if each.protocol == "binary" else FixTrader(plan, n, record)
        for n, each in enumerate(plan.sessions)
    ]
    failures: list[str] = []
    tasks = [asyncio.create_task(_guard(trader, failures)) for trader in traders]
    reader = await _lines()
    while line := await reader.readline():
        order = json.loads(line)
        answer: dict[str, Any] = {"failures": failures}
        if order["do"] == "stop":
            break
        if order["do"] == "run":
            for trader in traders:
                trader.is_running = True
        elif order["do"] == "resend":
            for trader in traders:
                trader.ask_resend()
        elif order["do"] == "reset":
            (trader,) = (each for each in traders if each.name == order["session"])
            assert isinstance(trader, FixTrader)
            await trader.client.reset_numbers()
        elif order["do"] == "rest":
            timeout_s = order["timeout_s"]
            found = await asyncio.gather(*(t.come_to_rest(timeout_s) for t in traders))
            answer["waits"] = [text for text in found if text]
        print(json.dumps(answer), flush=True)
    for task in tasks:
        task.cancel()
    for trader in traders:
        with contextlib.suppress(OSError):
            await trader.close()


if __name__ == "__main__":
    asyncio.run(main(msgspec.json.decode(sys.argv[1].encode(), type=Plan)))

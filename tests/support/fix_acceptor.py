"""A tiny FIX venue on a loopback port: the acceptor's Session over asyncio, and scripted answers.

It has no book. An order is acknowledged, and filled at once when its symbol is FILL; a cancel is
always good.
"""

import asyncio
import contextlib
import time
from typing import Any, Self

from openoutcry.protocol.fix.dictionary import dictionary
from openoutcry.protocol.fix.events import Application, Disconnect, Event
from openoutcry.protocol.fix.message import Message, parse
from openoutcry.protocol.fix.session import MemoryState, Session, SessionConfig
from openoutcry.protocol.fix.store import MemoryStore
from openoutcry.protocol.fix.stream import FrameReader
from openoutcry.protocol.fix.versions import Version

NAME = "OPENOUTCRY"


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class FixAcceptor:
    """Sessions by SenderCompID, which live over connections."""

    def __init__(self, **settings: Any) -> None:
        self.settings = settings
        self.sessions: dict[str, Session] = {}
        self.connections: dict[str, asyncio.StreamWriter] = {}
        #: All events of all sessions.
        self.events: list[Event] = []
        #: Messages that reached the application.
        self.applied: list[Message] = []
        self.port = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._exec_ids = 0

    async def __aenter__(self) -> Self:
        await self.listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def listen(self) -> None:
        """Listen, on the same port as before if there was one."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close everything without a word; sessions keep their numbers."""
        assert self._server is not None
        self._server.close()
        self.cut()
        for task in list(self._tasks):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await self._server.wait_closed()

    def cut(self) -> None:
        """Break every connection at once."""
        for writer in list(self.connections.values()):
            writer.transport.abort()

    def session(self, name: str) -> Session:
        """Return the session of a client, made when first asked for."""
        if name not in self.sessions:
            config = SessionConfig(
                sender_comp_id=NAME, target_comp_id=name, **(self.settings or {})
            )
            self.sessions[name] = Session(config, MemoryState(), MemoryStore())
        return self.sessions[name]

    def report(self, name: str, fields: dict[int, str]) -> None:
        """Send an ExecutionReport, now or when the client is back."""
        self._exec_ids += 1
        body = {17: f"E0-{self._exec_ids}"} | fields
        self.send(name, "8", self._defined(name, "8", self._in_version(name, body)))

    def send(self, name: str, msg_type: str, fields: dict[int, str]) -> None:
        """Send a message, now or when the client is back."""
        body = [(tag, value.encode()) for tag, value in fields.items()]
        self.session(name).send_application(msg_type, body, now_ms())
        self.flush(name)

    def _defined(self, name: str, msg_type: str, fields: dict[int, str]) -> dict[int, str]:
        allowed = dictionary(self.session(name).config.version).messages[msg_type].allowed
        return {tag: value for tag, value in fields.items() if tag in allowed}

    def _in_version(self, name: str, fields: dict[int, str]) -> dict[int, str]:
        """Put a report of FIX 4.4 into the session's terms."""
        if self.session(name).config.version > Version.FIX42:
            return fields
        older = {20: "0", 32: "0", 31: "0"} | fields
        if fields[150] == "I":
            older |= {20: "3", 150: fields[39]}
        elif fields[150] == "F":
            older[150] = fields[39]
        elif fields[150] == "5":
            older[39] = "5"
        # ExecID was a number once.
        return older | {17: fields[17].removeprefix("E0-")}

    def flush(self, name: str) -> None:
        """Write what the session has to say."""
        session = self.session(name)
        data = session.data_to_send()
        while session.is_resending:
            data += session.resend_slice(now_ms(), 3)
        writer = self.connections.get(name)
        if data and writer is not None:
            writer.write(data)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        name = ""
        try:
            frames = FrameReader()
            while data := await reader.read(65_536):
                for frame in frames.feed(data):
                    if frame is None:
                        continue
                    if not name:
                        name = (parse(frame).get(49) or b"").decode()
                        if name in self.connections:
                            name = ""
                            return
                        self.connections[name] = writer
                        self.session(name).connected(now_ms())
                    if self._act(name, self.session(name).receive(frame, now_ms())):
                        return
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            if name:
                del self.connections[name]
                self.session(name).connection_lost(now_ms())
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            self._tasks.discard(task)

    def _act(self, name: str, events: list[Event]) -> bool:
        self.flush(name)
        self.events += events
        for event in events:
            if isinstance(event, Application):
                self.applied.append(event.message)
                self._answer(name, event.message)
        self.flush(name)
        return any(isinstance(event, Disconnect) for event in events)

    def _answer(self, name: str, message: Message) -> None:
        def get(tag: int) -> str:
            return (message.get(tag) or b"").decode()

        qty, price = get(38) or "0", get(44)
        order = {11: get(11), 37: f"O0-{get(11)}", 55: get(55), 54: get(54), 38: qty}
        order |= {14: "0", 151: qty, 6: "0"} | ({44: price} if price else {})
        match message.msg_type:
            case "D" if get(55) == "BAD":
                reject = {37: "NONE", 39: "8", 150: "8", 103: "1", 58: "unknown symbol", 151: "0"}
                self.report(name, order | reject)
            case "D":
                self.report(name, order | {39: "0", 150: "0"})
                if get(55) == "FILL":
                    fill = {39: "2", 150: "F", 32: qty, 31: price or "99.5", 14: qty, 151: "0"}
                    self.report(name, order | fill | {6: price or "99.5"})
            case "F" if get(41) == "unknown":
                fields = {37: "NONE", 11: get(11), 41: get(41), 39: "8", 434: "1", 102: "1"}
                self.send(name, "9", self._defined(name, "9", fields))
            case "F":
                self.report(name, order | {39: "4", 150: "4", 41: get(41), 151: "0"})
            case "G":
                self.report(name, order | {39: "0", 150: "5", 41: get(41)})
            case "q":
                answer = {11: get(11), 37: "1", 1369: "1", 530: get(530), 60: get(60)}
                answer |= {531: get(530), 533: "2"} if get(55) != "BAD" else {531: "0", 532: "1"}
                self.send(name, "r", self._defined(name, "r", answer))
            case "AF":
                status = {37: "1", 11: "x", 584: get(584), 911: "1", 912: "Y", 39: "0", 150: "I"}
                order |= {11: "x", 54: "1", 55: get(55) or "BTCUSDT"}
                self.report(name, order | status)
            case "H":
                self.report(name, order | {39: "0", 150: "I"})

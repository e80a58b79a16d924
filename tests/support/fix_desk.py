"""A gateway alone at work: messages that FIX clients send it, commands and answers that come of
them."""

from pathlib import Path
from typing import Any

from openoutcry.engine.ring import HEAD_WORD
from openoutcry.protocol.fix.dictionary import dictionary
from openoutcry.protocol.fix.message import Message, parse, validate
from openoutcry.protocol.fix.versions import Version
from openoutcry.server.fix_gateway import FixSession
from openoutcry.server.session_settings import Session

from .fix import seal, to_bytes
from .gateway_alone import GatewayAlone, frames_of

TIME = "20240808-12:34:56"


class Loop:
    """Calls what it is given when it is told to."""

    def __init__(self) -> None:
        self._due: list[Any] = []

    def call_later(self, delay_s: float, function: Any, *arguments: Any) -> None:
        """Note a call; the delay is over at once."""
        assert delay_s > 0
        self._due.append((function, arguments))

    def call_soon(self, function: Any, *arguments: Any) -> None:
        """Note a call."""
        self._due.append((function, arguments))

    def run(self) -> int:
        """Call until nothing is due; return how many calls that took."""
        calls = 0
        while self._due:
            function, arguments = self._due.pop(0)
            function(*arguments)
            calls += 1
        return calls


class Desk:
    """A gateway alone, what comes to it, and what it says to whom."""

    def __init__(self, folder: Path) -> None:
        self.alone = GatewayAlone(folder, sessions=sessions())
        self.gateway = self.alone.gateway
        self.orders = self.gateway.orders
        self.loop = self.gateway.loop = Loop()  # type: ignore[assignment]
        self._seq = 0
        self._read: dict[int, int] = {}
        self._taken = [0] * len(self.alone.logs)
        for version in Version:
            self.session(version)

    def session(self, version: Version, name: str = "") -> FixSession:
        """Return a session: in each version there is one with the version's name."""
        found = self.gateway.fix.find(
            (name or version.name).encode(), version.begin_string.encode()
        )
        assert found is not None
        if found.version is not version:
            found._use_version(version)
        return found

    def take(self, session: FixSession, text: str, *, was_held: bool = False) -> Message:
        """Have a session take a message that begins with 35; return it."""
        message = self.frame(session, text)
        self.orders.take_fix(session, message, was_held=was_held)
        return message

    def frame(self, session: FixSession, text: str) -> Message:
        """Return the next message of a session's client."""
        self._seq += 1
        kind, _, body = text.partition("|")
        head = f"{kind}|49={session.comp_id}|56=OPENOUTCRY|34={self._seq}|52={TIME}|"
        return parse(seal(to_bytes(head + body), session.version.begin_string.encode()))

    def shard_says(self, shard: int, *reports: dict[str, Any]) -> None:
        """Release reports of a shard, and have the gateway take them."""
        self.alone.logs[shard].write(*reports)
        self.gateway._drain_shard(shard)

    def forget(self) -> None:
        """Pass over what was said and put so far."""
        self.loop.run()
        self.commands()
        rows = self.gateway.index.rows
        self._read = {number: int(rows[number]["next_out"]) for number in range(len(rows))}

    def answers(self, session: FixSession) -> list[Message]:
        """Return what a session was told since; all of it is good FIX."""
        self.loop.run()
        row = self.gateway.index.rows[session.number]
        first, last = self._read.get(session.number, 1), int(row["next_out"]) - 1
        self._read[session.number] = last + 1
        found = []
        for run in session.session.store.first_time(first, last) if first <= last else ():
            assert run[2] is not None
            for frame in frames_of(run[2]):
                message = parse(frame)
                problem = validate(message, dictionary(session.version))
                assert problem is None, (problem, frame)
                assert message.get(8) == session.version.begin_string.encode()
                found.append(message)
        return found

    def commands(self) -> list[tuple[int, Any]]:
        """Return what was put into the rings since: (shard, COMMAND)."""
        found = []
        routes = self.gateway.routes
        for shard, taken in enumerate(self._taken):
            tail = int(routes.tails[shard])
            mask = routes.commands.shape[2] - 1
            found += [
                (shard, routes.commands[shard, 0, at & mask].copy()) for at in range(taken, tail)
            ]
            self._taken[shard] = tail
            # Nobody else takes them out of the rings here.
            self.gateway.memory.ring_headers[shard, 0, HEAD_WORD] = tail
        return found


def sessions() -> tuple[Session, ...]:
    begin = {version: version.begin_string for version in Version}
    each: list[Any] = [
        Session(
            id=version.name,
            begin_string=begin[version],  # type: ignore[arg-type]
            appl_version=version.label if version.is_fixt else None,  # type: ignore[arg-type]
        )
        for version in Version
    ]
    return (
        *each,
        Session(id="BINARY", protocol="binary"),
        Session(id="LAST", last_msg_seq_num_processed=True),
        Session(id="COPY42", begin_string="FIX.4.2", drop_copy="firm"),
        Session(id="COPY44", drop_copy=("ACC",)),
        Session(id="COPYSP2", begin_string="FIXT.1.1", drop_copy="firm"),
    )


def order(version: Version, **values: str) -> str:
    """Return a NewOrderSingle's body with what the version requires."""
    fields = {"11": "A-1", "55": "PARTS", "54": "1", "38": "10", "40": "2", "44": "10.05"}
    if version <= Version.FIX43:
        fields["21"] = "1"
    if version >= Version.FIX42:
        fields["60"] = TIME
    fields |= values
    return "35=D|" + "".join(f"{tag}={value}|" for tag, value in fields.items())


def cancel(version: Version, kind: str = "F", **values: str) -> str:
    fields = {"41": "A-1", "11": "A-2", "55": "PARTS", "54": "1"}
    if version == Version.FIX40 and kind == "F":
        fields["125"] = "F"
    if version <= Version.FIX43 and kind == "G":
        fields["21"] = "1"
    if kind == "G" or version <= Version.FIX41:
        fields |= {"38": "10"}
    if kind == "G":
        fields |= {"40": "2", "44": "10.05"}
    if version >= Version.FIX42:
        fields["60"] = TIME
    fields |= values
    return f"35={kind}|" + "".join(f"{tag}={value}|" for tag, value in fields.items())


def told(message: Message, *tags: int) -> dict[int, bytes]:
    """Return some fields of a message, those that it has."""
    return {tag: value for tag in tags if (value := message.get(tag)) is not None}


def number_of(desk: Desk, name: str) -> int:
    return next(entry.number for entry in desk.gateway.fix.registry if entry.id == name)

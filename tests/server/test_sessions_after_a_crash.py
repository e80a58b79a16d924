"""Clients of a gateway that died: what the next one asks them for, and what it tells them."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.fix_desk import Loop
from support.gateway_alone import NOW_MS, FakeConnection, GatewayAlone, frames_of

from openoutcry.engine.enums import CommandFlag, CommandKind, OrderStatus, RejectReason, ReportKind
from openoutcry.engine.ring import HEAD_WORD, TAIL_WORD
from openoutcry.engine.state import GatewayWord, ProcessStatus, ShardWord
from openoutcry.protocol.binary import messages as bm
from openoutcry.protocol.binary.frames import encode_frame
from openoutcry.protocol.binary.messages import decode_server_message
from openoutcry.protocol.fix.enums import SessionStatus
from openoutcry.protocol.fix.message import Message, parse
from openoutcry.protocol.fix.stamps import format_utc_ms
from openoutcry.protocol.fix.store import seal
from openoutcry.server import durable
from openoutcry.server.binary_gateway import BinaryLink
from openoutcry.server.checkpoint import CONNECTED
from openoutcry.server.fix_gateway import FixSession
from openoutcry.server.gateway import run_process
from openoutcry.server.session_settings import CancelOnDisconnect, Schedule, Session, Throttle

A, THROTTLED, BINARY, DAILY = 1, 2, 3, 4
SESSIONS = (
    Session(id="A", cancel_on_disconnect=CancelOnDisconnect(grace_s=5)),
    Session(id="T", throttle=Throttle(messages=1, interval_ms=60_000, action="reject")),
    Session(id="C", protocol="binary", password="secret"),
    Session(id="S", schedule=Schedule(start="22:00:00", end="21:59:00")),
)
ORDER = {
    "order_id": 3,
    "price_ticks": 7,
    "qty_lots": 5,
    "leaves_qty": 5,
    "epoch": 1,
    "cl_ord_id": b"ID",
    "kind": ReportKind.NEW,
    "status": OrderStatus.NEW,
    "side": 1,
    "ord_type": 2,
    "tif": 1,
}


class Connection(FakeConnection):
    """What a FIX session needs of a connection."""

    row = 5
    is_writing_paused = False
    is_closed = False

    def close(self, reason: str, *, is_error: bool) -> None:
        self.is_closed = True

    def log_messages(self, *unused: Any) -> None: ...


class Client:
    """A FIX client of a session, with numbers of its own that outlive the gateway's death."""

    def __init__(self, venue: "Venue", name: str) -> None:
        self.venue, self.name = venue, name
        self.next_out = 1
        self.sent: dict[int, str] = {}
        self.session: FixSession

    def log_on(self, body: str = "35=A|98=0|108=30|") -> list[Message]:
        """Log on; return what comes of it."""
        session = self.venue.gateway.fix.find(self.name.encode(), b"FIX.4.4")
        assert session is not None
        self.session = session
        self.connection = Connection()
        self.venue.gateway.connections[5] = self.connection  # type: ignore[call-overload]
        session.attach(
            self.connection,  # type: ignore[arg-type]
            self._frame(self._number(body)),
            status=SessionStatus.ACTIVE,
            closed_text="",
            change_password=lambda password: False,
        )
        return self.received()

    def send(self, *bodies: str) -> list[Message]:
        """Send messages that begin with 35; return what comes of them."""
        for body in bodies:
            self.session.receive(self._frame(self._number(body)))
        return self.received()

    def resend(self, first: int) -> list[Message]:
        """Send all from a number on again, as a ResendRequest asks for."""
        number = first
        while number < self.next_out:
            body = self.sent[number]
            if body.startswith(("35=A|", "35=0|")):
                body = f"35=4|123=Y|36={number + 1}|"
            self.session.receive(self._frame(number, body, "43=Y|122=20231114-22:13:20|"))
            number += 1
        return self.received()

    def received(self) -> list[Message]:
        """Return what came since."""
        self.venue.loop.run()
        return [parse(frame) for frame in frames_of(self.connection.take())]

    def _number(self, body: str) -> int:
        self.sent[self.next_out] = body
        self.next_out += 1
        return self.next_out - 1

    def _frame(self, number: int, body: str = "", again: str = "") -> Message:
        kind, _, rest = (body or self.sent[number]).partition("|")
        head = f"{kind}|49={self.name}|56=OPENOUTCRY|34={number}|{again}"
        stamp = format_utc_ms(NOW_MS).decode()
        text = f"{head}52={stamp}|{rest}".replace("|", "\x01")
        return parse(seal(b"8=FIX.4.4\x01", text.encode()))


class Venue:
    """A gateway that may die, and shards by hand."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._lives = folder, 0
        self.alone: GatewayAlone
        self._begin()

    def _begin(
        self, ends: list[tuple[int, int]] | None = None, *, down: tuple[int, ...] = ()
    ) -> None:
        folder = self._folder / str(self._lives)
        folder.mkdir(exist_ok=True)
        self.alone = GatewayAlone(folder, 2, SESSIONS, ends=ends)
        self.gateway = self.alone.gateway
        self.loop = self.gateway.loop = Loop()  # type: ignore[assignment]
        for shard in down:
            self.alone.memory.shards[shard, ShardWord.STATUS] = ProcessStatus.RECOVERING
            self.alone.memory.shards[shard, ShardWord.IS_DOWN] = 1
        self.gateway.recover()

    def die(self, *, down: tuple[int, ...] = ()) -> None:
        """Have a new gateway take over; the shards have worked off the rings, or are down."""
        folder, ends = self.alone.folder, self.alone.ends()
        self._lives += 1
        shutil.copytree(folder, self._folder / str(self._lives))
        self.alone.close()
        self._begin(ends, down=down)

    def say(self, shard: int, *reports: dict[str, Any]) -> None:
        """Have a shard report."""
        self.alone.logs[shard].write(*reports)

    def drain(self) -> None:
        self.gateway.drain()

    def commands(self) -> list[tuple[int, int, int, int]]:
        """Take what is in the rings: (shard, kind, session, inbound number)."""
        found = []
        memory = self.alone.memory
        for shard, header in enumerate(memory.ring_headers[:, 0]):
            for at in range(int(header[HEAD_WORD]), int(header[TAIL_WORD])):
                row = memory.commands[shard, 0, at & 63]
                found.append(
                    (shard, int(row["kind"]), int(row["session"]), int(row["inbound_seq"]))
                )
            header[HEAD_WORD] = header[TAIL_WORD]
        return found

    def number(self, name: str) -> int:
        return next(e.number for e in self.gateway.fix.registry if e.id == name)


@pytest.fixture
def venue(tmp_path: Path) -> Iterator[Venue]:
    made = Venue(tmp_path)
    yield made
    made.alone.close()


def new(n: int, symbol: str = "WHOLE") -> str:
    return f"35=D|11=ID-{n}|55={symbol}|54=1|38=5|40=2|44=7|60=20231114-22:13:20|"


def kinds(messages: list[Message]) -> list[str]:
    return [message.msg_type for message in messages]


def test_a_client_is_asked_for_what_is_not_answered_and_nothing_is_done_twice(venue: Venue):
    client = Client(venue, "A")
    assert kinds(client.log_on()) == ["A"]
    # 2 and 4 reach shard 0; 3 has no symbol of ours; 5 never leaves the gateway.
    client.send(new(2), new(3, "NOTHING"), new(4))
    assert venue.commands() == [(0, CommandKind.NEW, A, 2), (0, CommandKind.NEW, A, 4)]
    venue.say(0, ORDER | {"session": A, "inbound_seq": 2})
    venue.drain()
    told = client.received()
    assert [each.get(34) for each in told] == [b"3"]
    client.send(new(5, "PARTS"))
    venue.alone.memory.ring_headers[:, 0, TAIL_WORD] = venue.alone.memory.ring_headers[
        :, 0, HEAD_WORD
    ]
    venue.say(0, ORDER | {"session": A, "inbound_seq": 4, "order_id": 4})
    venue.die()
    answers = client.log_on()
    assert kinds(answers) == ["A", "2"]
    # 5 is the lowest that is not answered; the report to 4 is to be asked for.
    assert (answers[1].get(7), answers[1].get(34)) == (b"5", b"6")
    assert answers[0].get(34) == b"5"
    assert client.resend(5) == []
    assert venue.commands() == [(1, CommandKind.NEW, A, 5)]
    again = client.send("35=2|7=1|16=0|")
    assert [each.get(34) for each in again] == [b"1", b"2", b"3", b"4", b"5"]
    assert [each.get(150) for each in again] == [None, b"8", b"0", b"0", None]
    assert {each.get(43) for each in again} == {b"Y"}


def test_what_the_gateway_refused_is_not_asked_for_again_with_another_outcome(venue: Venue):
    client = Client(venue, "T")
    client.log_on()
    # 2 passes and is never answered; 3 is above the limit, and refused.
    refused = client.send(new(2), new(3))
    assert kinds(refused) == ["j"]
    venue.commands()
    venue.gateway.write_checkpoint()
    venue.die()
    (logon, request) = client.log_on()
    assert (kinds([logon, request]), request.get(7)) == (["A", "2"], b"2")
    assert client.resend(2) == []
    # 3 is in the budget now, and yet it stays refused.
    assert venue.commands() == [(0, CommandKind.NEW, THROTTLED, 2)]
    assert kinds(client.send("35=1|112=X|")) == ["0"]


def test_what_a_shard_may_still_execute_is_not_declined(
    venue: Venue, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("openoutcry.server.gateway_recovery._SHARDS_S", 0.0)
    client = Client(venue, "A")
    client.log_on()
    client.send(new(2), "35=F|11=C|41=ID-2|55=WHOLE|54=1|60=20231114-22:13:20|")
    client.send("35=q|11=M|530=7|60=20231114-22:13:20|")
    assert len(venue.commands()) == 4
    # All of that is in the log of a shard that takes its time.
    venue.die(down=(0,))
    assert venue.gateway.unsettled == {0}
    assert kinds(client.log_on()) == ["A", "2"]
    assert client.resend(2) == []
    assert [(kind, number) for shard, kind, _, number in venue.commands() if shard == 0] == [
        (CommandKind.NEW, 2),
        (CommandKind.CANCEL, 3),
        (CommandKind.MASS_CANCEL, 4),
    ]
    # Nobody can have heard of this one.
    (refused,) = client.send(new(6))
    assert (refused.get(150), refused.get(58)) == (
        b"8",
        b"WHOLE cannot be traded now: its shard is being restarted",
    )
    venue.say(0, ORDER | {"session": A, "inbound_seq": 2})
    again = {"session": A, "epoch": 1, "kind": ReportKind.DUPLICATE}
    venue.say(0, again | {"inbound_seq": 2})
    venue.drain()
    assert [each.get(150) for each in client.received()] == [b"0"]


def test_a_request_that_a_shard_knows_is_not_answered_by_that(
    venue: Venue, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("openoutcry.server.gateway_recovery._SHARDS_S", 0.0)
    client = Client(venue, "A")
    client.log_on()
    client.send("35=q|11=M|530=7|60=20231114-22:13:20|")
    venue.commands()
    venue.die(down=(0, 1))
    assert kinds(client.log_on()) == ["A", "2"]
    assert client.resend(2) == []
    # One shard says what it did, and that it had heard of it before.
    said = {"session": A, "inbound_seq": 2, "epoch": 1}
    venue.say(0, said | {"kind": ReportKind.MASS_CANCELED, "qty_lots": 1})
    venue.say(0, said | {"kind": ReportKind.DUPLICATE})
    venue.drain()
    venue.commands()
    venue.die()
    assert kinds(client.log_on()) == ["A", "2"]
    client.resend(2)
    assert venue.commands() == [(1, CommandKind.MASS_CANCEL, A, 2)]
    venue.say(1, said | {"kind": ReportKind.MASS_CANCELED, "qty_lots": 4})
    venue.drain()
    (report,) = client.received()
    assert report.get(533) == b"5"


@pytest.mark.parametrize("has_own_id", [False, True])
def test_a_status_is_told_once(venue: Venue, has_own_id: bool):
    client = Client(venue, "A")
    client.log_on()
    assert kinds(client.send(new(2, "NOTHING"))) == ["8"]
    client.send(f"35=H|{'790=Q|' if has_own_id else ''}11=ID|55=WHOLE|54=1|")
    venue.commands()
    venue.say(0, ORDER | {"session": A, "inbound_seq": 3, "kind": ReportKind.STATUS})
    venue.drain()
    (told,) = client.received()
    assert (told.get(34), told.get(790)) == (b"3", b"Q" if has_own_id else None)
    venue.die()
    (logon,) = client.log_on()
    assert (logon.msg_type, logon.get(34)) == ("A", b"4")


@pytest.mark.parametrize("dies_again", [False, True])
def test_an_answer_that_comes_before_its_client_does_is_kept(
    venue: Venue, monkeypatch: pytest.MonkeyPatch, dies_again: bool
):
    monkeypatch.setattr("openoutcry.server.gateway_recovery._SHARDS_S", 0.0)
    client = Client(venue, "A")
    client.log_on()
    client.send("35=q|11=M|530=7|60=20231114-22:13:20|")
    venue.commands()
    said = {"session": A, "inbound_seq": 2, "epoch": 1, "kind": ReportKind.MASS_CANCELED}
    venue.say(1, said | {"qty_lots": 1})
    venue.die(down=(0,))
    words = venue.alone.memory.shards[0]
    words[ShardWord.STATUS], words[ShardWord.IS_DOWN] = ProcessStatus.RUNNING, 0
    venue.say(0, said | {"qty_lots": 2})
    venue.drain()
    if dies_again:
        venue.gateway.write_checkpoint()
        venue.die()
    assert kinds(client.log_on()) == ["A", "2"]
    (report,) = client.resend(2)
    assert (report.msg_type, report.get(533)) == ("r", b"3")
    assert venue.commands() == []


def test_a_mass_status_goes_on_where_it_was(venue: Venue):
    client = Client(venue, "A")
    client.log_on()
    client.send("35=AF|584=S|585=7|")
    assert [command[:2] for command in venue.commands()] == [
        (0, CommandKind.MASS_STATUS),
        (1, CommandKind.MASS_STATUS),
    ]
    said = {"session": A, "inbound_seq": 2}
    status = ORDER | said | {"kind": ReportKind.MASS_STATUS}
    end = {"session": A, "inbound_seq": 2, "epoch": 1, "kind": ReportKind.MASS_STATUS_END}
    venue.say(1, *(status | {"order_id": n} for n in (1, 2)), end | {"qty_lots": 2})
    venue.drain()
    venue.die()
    # Only one shard had answered: the other one is asked again.
    assert kinds(client.log_on()) == ["A", "2"]
    assert client.resend(2) == []
    assert venue.commands() == [(0, CommandKind.MASS_STATUS, A, 2)]
    venue.say(0, status | {"order_id": 9}, end | {"qty_lots": 1})
    venue.drain()
    told = client.received()
    assert [each.get(37) for each in told] == [b"O0-9", b"O1-1", b"O1-2"]
    assert [each.get(912) for each in told] == [b"N", b"N", b"Y"]


def test_parts_of_an_answer_that_were_sent_are_not_sent_again(
    venue: Venue, monkeypatch: pytest.MonkeyPatch
):
    client = Client(venue, "A")
    client.log_on()
    client.send("35=AF|584=S|585=1|55=WHOLE|")
    venue.commands()
    status = ORDER | {"session": A, "inbound_seq": 2, "kind": ReportKind.MASS_STATUS}
    end = {"session": A, "inbound_seq": 2, "epoch": 1, "kind": ReportKind.MASS_STATUS_END}
    venue.say(0, *(status | {"order_id": n} for n in (1, 2, 3)), end | {"qty_lots": 3})
    # One message a slice, and the gateway dies before the second.
    monkeypatch.setattr("openoutcry.server.fix_answers.LongAnswers.SLICE_NS", -1)
    venue.drain()
    first = [parse(frame) for frame in frames_of(client.connection.take())]
    assert [each.get(37) for each in first] == [b"O0-1"]
    venue.gateway.write_checkpoint()
    venue.die()
    assert kinds(client.log_on()) == ["A", "2"]
    told = client.resend(2)
    assert venue.commands() == []
    assert [each.get(37) for each in told] == [b"O0-2", b"O0-3"]
    assert [each.get(912) for each in told] == [b"N", b"Y"]
    # All is answered now: nothing is asked for, whoever comes next.
    venue.gateway.write_checkpoint()
    venue.die()
    assert kinds(client.log_on()) == ["A"]


def test_a_mass_cancel_counts_what_was_canceled_before_the_crash(venue: Venue):
    client = Client(venue, "A")
    client.log_on()
    client.send("35=q|11=M|530=7|60=20231114-22:13:20|")
    venue.commands()
    said = {"session": A, "inbound_seq": 2, "epoch": 1}
    canceled = ORDER | said | {"kind": ReportKind.CANCELED, "reason": RejectReason.MASS_CANCEL}
    venue.say(1, canceled, said | {"kind": ReportKind.MASS_CANCELED, "qty_lots": 1})
    venue.drain()
    venue.gateway.write_checkpoint()
    venue.die()
    # Checkpoints of the new gateway keep it in mind, too.
    venue.die()
    assert kinds(client.log_on()) == ["A", "2"]
    client.resend(2)
    assert venue.commands() == [(0, CommandKind.MASS_CANCEL, A, 2)]
    venue.say(0, said | {"kind": ReportKind.MASS_CANCELED, "qty_lots": 2})
    venue.drain()
    (report,) = client.received()
    assert (report.msg_type, report.get(533)) == ("r", b"3")


def test_orders_of_a_client_that_was_there_are_canceled_after_the_grace_time(venue: Venue):
    client = Client(venue, "A")
    client.log_on()
    assert venue.gateway.checkpoints.presence[A] == CONNECTED
    venue.die()
    venue.gateway.departures.poll(NOW_MS + 4_999)
    assert venue.commands() == []
    # It dies within the grace time: the time goes on.
    venue.die()
    venue.gateway.departures.poll(NOW_MS + 4_999)
    assert venue.commands() == []
    venue.gateway.departures.poll(NOW_MS + 5_000)
    assert venue.commands() == [(shard, CommandKind.MASS_CANCEL, A, 0) for shard in (0, 1)]
    flags = CommandFlag.CONNECTION_LOST | CommandFlag.KEEP_GTC
    assert venue.alone.memory.commands[0, 0, 0]["flags"] == flags
    # Logged by the shards: it need not be done again.
    venue.gateway.departures.poll(NOW_MS + 5_001)
    venue.die()
    venue.gateway.departures.poll(NOW_MS + 10**6)
    assert venue.commands() == []


def test_who_is_there_is_on_the_disk_before_he_is_told_so(
    venue: Venue, monkeypatch: pytest.MonkeyPatch
):
    """Under `durability: power`: a client's orders are canceled, whenever the power goes."""
    found: list[int] = []

    def note(event: str, path: Path) -> None:
        if event == durable.SYNC and path.name == "gateway-0-checkpoint":
            found.append(int(np.frombuffer(path.read_bytes()[4096:8192], np.int64)[A]))

    monkeypatch.setattr(durable, "observer", note)
    client = Client(venue, "A")
    client.log_on()
    venue.gateway.sync_noted()
    assert found == [CONNECTED]
    client.send(new(2))
    venue.gateway.sync_noted()
    assert found == [CONNECTED]
    client.session.detach()
    venue.gateway.sync_noted()
    flags = CommandFlag.CONNECTION_LOST | CommandFlag.KEEP_GTC
    assert found == [CONNECTED, (NOW_MS + 5_000) << 8 | flags]


def test_a_client_that_logged_out_before_keeps_its_orders(venue: Venue):
    client = Client(venue, "A")
    client.log_on()
    client.send("35=5|")
    client.session.detach()
    venue.die()
    venue.gateway.departures.poll(NOW_MS + 10**6)
    assert venue.commands() == []


def test_a_reset_that_was_due_meanwhile_is_made_up_for(venue: Venue):
    client = Client(venue, "S")
    client.log_on()
    client.session.detach()
    row = venue.gateway.index.rows[DAILY]
    assert (int(row["next_out"]), int(row["epoch"])) == (2, 1)
    venue.die()
    assert int(venue.gateway.index.rows[DAILY]["epoch"]) == 1
    venue.gateway.fix.hours.catch_up(NOW_MS)
    # A day later the numbers begin anew.
    venue.alone.now_ms += 86_400_000
    hours = venue.gateway.fix.hours
    hours.catch_up(venue.alone.now_ms)
    row = venue.gateway.index.rows[DAILY]
    assert (int(row["next_out"]), int(row["next_in"]), int(row["epoch"])) == (1, 1, 2)
    hours.catch_up(venue.alone.now_ms)
    assert int(venue.gateway.index.rows[DAILY]["epoch"]) == 2


def test_a_reset_outlives_the_gateway(venue: Venue):
    client = Client(venue, "A")
    client.log_on()
    client.send(new(2))
    client.session.detach()
    client.next_out = 1
    assert kinds(client.log_on("35=A|98=0|108=30|141=Y|")) == ["A"]
    venue.commands()
    venue.die()
    row = venue.gateway.index.rows[A]
    assert [int(row[name]) for name in ("epoch", "next_in", "next_out")] == [2, 2, 2]
    assert kinds(client.log_on()) == ["A"]


class BinaryConnection(FakeConnection):
    """What a binary session needs of a connection."""

    row = 6
    opened_ms = NOW_MS
    session_number = 0
    is_closed = False
    is_writing_paused = False

    def close(self, reason: str, *, is_error: bool) -> None:
        self.is_closed = True


def binary_messages(data: bytes) -> list[Any]:
    found = []
    while data:
        size = int.from_bytes(data[:4], "big")
        found.append(decode_server_message(data[4 : 4 + size]))
        data = data[4 + size :]
    return found


def log_on_binary(venue: Venue) -> tuple[BinaryLink, BinaryConnection, list[Any]]:
    connection = BinaryConnection()
    venue.gateway.connections[6] = connection  # type: ignore[call-overload]
    link = BinaryLink(venue.gateway, connection)  # type: ignore[arg-type]
    logon = bm.Logon(version=1, session_id="C", password="secret", next_expected=1, heartbeat_s=0)
    link.receive(encode_frame(logon)[4:])
    venue.loop.run()
    return link, connection, binary_messages(connection.take())


def test_a_binary_client_is_told_how_far_it_was_accepted(venue: Venue):
    link, connection, first = log_on_binary(venue)
    assert first[0].last_accepted == 0

    def order(seq: int, symbol: int) -> bytes:
        message = bm.NewOrder(
            seq=seq,
            cl_ord_id=f"ID-{seq}",
            symbol=symbol,
            side=1,
            ord_type=2,
            tif=0,
            price=7,
            qty=5,
            account="",
        )
        return encode_frame(message)[4:]

    link.receive(order(1, 0))
    link.receive(order(2, 7))  # no such symbol: answered by the gateway
    (reject,) = binary_messages(connection.take())
    assert reject.ref_seq == 2
    venue.commands()
    venue.gateway.write_checkpoint()
    venue.die()
    link, connection, told = log_on_binary(venue)
    assert told[0].last_accepted == 0
    assert [m.ref_seq for m in told if isinstance(m, bm.Reject)] == [2]
    row = venue.gateway.index.rows[BINARY]
    assert row["takes_orders"] == 0
    link.receive(order(1, 0))
    link.receive(order(2, 7))
    assert binary_messages(connection.take()) == []
    assert venue.commands() == [(0, CommandKind.NEW, BINARY, 1)]
    assert row["takes_orders"] == 1


def test_a_stop_while_shards_recover_leaves_the_sessions_as_they_stood(
    venue: Venue, monkeypatch: pytest.MonkeyPatch
):
    client = Client(venue, "A")
    client.log_on()
    client.send(new(2))
    venue.say(0, ORDER | {"session": A, "inbound_seq": 2})
    venue.drain()
    venue.commands()
    venue.gateway.write_checkpoint()
    venue.say(0, ORDER | {"session": A, "inbound_seq": 0, "kind": ReportKind.TRADE})
    venue.drain()
    told = [each.get(34) for each in client.received()]
    assert told == [b"2", b"3"]
    folder, memory, config = venue.alone.folder, venue.alone.memory, venue.gateway.config
    before = {path.name: path.read_bytes() for path in sorted(folder.glob("gateway-0-*"))}
    for name in ("die_with_parent", "process_name", "keep_off"):
        monkeypatch.setattr(f"openoutcry.server.gateway.{name}", lambda *unused: None)
    monkeypatch.setattr("signal.signal", lambda *unused: None)
    memory.shards[1, ShardWord.STATUS] = ProcessStatus.RECOVERING
    memory.gateways[0, GatewayWord.STOP] = 1
    reader, writer = os.pipe()
    run_process(config, memory, folder, reader, None, None, os.getppid())
    os.close(reader)
    os.close(writer)
    assert memory.gateways[0, GatewayWord.STATUS] == ProcessStatus.STOPPED
    after = {path.name: path.read_bytes() for path in sorted(folder.glob("gateway-0-*"))}
    assert after == before
    memory.gateways[0, GatewayWord.STOP] = 0
    memory.shards[1, ShardWord.STATUS] = ProcessStatus.RUNNING
    venue.die()
    assert kinds(client.log_on()) == ["A"]
    row = venue.gateway.index.rows[A]
    assert [int(row[name]) for name in ("epoch", "next_in", "next_out")] == [1, 4, 5]

"""A connection by itself: its end, and the time in which it is not read."""

from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest
from support.fix_desk import Loop
from support.gateway_alone import NOW_MS, GatewayAlone

from openoutcry.engine.ring import HEAD_WORD, TAIL_WORD
from openoutcry.engine.state import ShardWord
from openoutcry.protocol.fix.message import parse
from openoutcry.protocol.fix.stamps import format_utc_ms
from openoutcry.protocol.fix.store import seal
from openoutcry.server.config import Config
from openoutcry.server.connection import FixConnection
from openoutcry.server.session_settings import Session
from openoutcry.server.sessions import SESSION_ROW
from openoutcry.server.translate import INBOUND_DONE, INBOUND_GARBLED, INBOUND_PYTHON


@pytest.fixture
def connection() -> Any:
    gateway = MagicMock(config=Config(), orders=MagicMock(waiting=[]), gate=None, faults=0)
    gateway.index.rows = np.zeros(2, SESSION_ROW)
    gateway.now_ms.return_value = 5_000
    made = FixConnection(gateway)
    made.transport = MagicMock()
    made.row = 0
    made.opened()
    return made


def test_the_end_of_what_a_client_sends_frees_its_session_at_once(connection: Any):
    session = connection.session = MagicMock()
    assert connection.eof_received() is False
    session.detach.assert_called_once_with()
    assert connection.session is None
    connection.transport.close.assert_called_once_with()
    # The socket's own end finds nothing more to do.
    connection.connection_lost(None)
    session.detach.assert_called_once_with()
    connection.gateway.unregister.assert_called_once_with(connection)


def test_what_cannot_go_out_is_cut_after_a_while(connection: Any):
    connection.close("done", is_error=False)
    (delay_s, cut), _ = connection.gateway.loop.call_later.call_args
    assert delay_s < 10
    connection.transport.abort.assert_not_called()
    cut()
    connection.transport.abort.assert_called_once_with()


def test_a_held_connection_is_not_read_and_goes_on_where_it_was(connection: Any):
    codes = iter([INBOUND_PYTHON, INBOUND_PYTHON, INBOUND_DONE])
    connection.receive = lambda start, end: (next(codes), start)
    taken: list[str] = []

    def take_frame() -> None:
        taken.append("frame")
        if len(taken) == 1:
            connection.hold()

    connection.take_frame = take_frame
    connection.process()
    assert taken == ["frame"]
    connection.transport.pause_reading.assert_called_once_with()
    # Neither a stall that is over nor a buffer that is empty again reads on.
    connection.resume()
    connection.resume_writing()
    assert taken == ["frame"]
    connection.transport.resume_reading.assert_not_called()
    # The time for the Logon does not run out while it is judged.
    connection.poll(10**9)
    assert not connection.is_closed
    connection.release()
    assert taken == ["frame"] * 2
    connection.transport.resume_reading.assert_called_once_with()


def test_a_connection_that_sends_no_logon_is_closed(connection: Any):
    connection.poll(14_999)
    assert not connection.is_closed
    connection.poll(15_000)
    assert connection.is_closed


def test_garbled_bytes_are_logged_without_passwords(
    connection: Any, caplog: pytest.LogCaptureFixture
):
    data = b"8=FIX.4.4\x0135=A\x01554=secret\x01"
    connection.buffer[: len(data)] = np.frombuffer(data, np.uint8)
    connection.gateway.receive_fix.return_value = (INBOUND_GARBLED, len(data))
    with caplog.at_level("INFO"):
        connection.receive(0, len(data))
    assert "554=***" in caplog.text
    assert "secret" not in caplog.text
    assert connection.is_closed


class Reachable(FixConnection):
    """A connection without a socket."""

    def feed(self, *frames: bytes) -> None:
        """Have bytes received."""
        data = b"".join(frames)
        self.get_buffer(len(data))[: len(data)] = data
        self.buffer_updated(len(data))

    def write(self, data: bytes | memoryview) -> None:
        """Nobody reads."""


def fix(number: int, body: str) -> bytes:
    kind, _, rest = body.partition("|")
    stamp = format_utc_ms(NOW_MS).decode()
    text = f"{kind}|49=A|56=OPENOUTCRY|34={number}|52={stamp}|{rest}".replace("|", "\x01")
    return seal(b"8=FIX.4.4\x01", text.encode())


def order(number: int) -> bytes:
    head = f"35=D|11=ID-{number}|55=WHOLE|54=1|38=5|40=2|44=7"
    return fix(number, head + "|60=20231114-22:13:20|")


def test_an_order_never_overtakes_one_that_waits_for_its_shard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    alone = GatewayAlone(tmp_path, 2, (Session(id="A"),))
    gateway = alone.gateway
    gateway.recover()
    gateway.loop = Loop()  # type: ignore[assignment]
    connection = Reachable(gateway)
    connection.transport = MagicMock()
    assert gateway.register(connection)
    connection.feed(fix(1, "35=A|98=0|108=30|"))
    row = gateway.index.rows[1]
    # The ring is full, and the last of these came by way of Python.
    connection.feed(*map(order, range(2, 66)))
    header, words = alone.memory.ring_headers[0, 0], alone.memory.shards[0]
    assert int(header[TAIL_WORD]) == int(row["next_in"]) - 2 == 64
    gateway.stalled.clear()
    connection._is_stalled = False
    row["takes_orders"] = 0
    frame = parse(order(66))
    assert connection.session is not None
    connection.session.receive(frame)
    assert [int(each["inbound_seq"]) for each in gateway.orders.waiting[0]] == [66]
    row["takes_orders"] = 1
    words[ShardWord.IS_DOWN] = 1
    flush, taken = gateway.orders.flush, []

    def come_back() -> bool:
        """Have the shard run again just after it was looked at."""
        may_go_on = flush()
        if words[ShardWord.IS_DOWN]:
            words[ShardWord.IS_DOWN] = 0
            taken.append(int(header[TAIL_WORD]))
            header[HEAD_WORD] = header[TAIL_WORD]
        return may_go_on

    monkeypatch.setattr(gateway.orders, "flush", come_back)
    connection.feed(order(67), order(68))
    assert taken == [64]
    commands = alone.memory.commands[0, 0]
    numbers = [int(commands[at & 63]["inbound_seq"]) for at in range(64, int(header[TAIL_WORD]))]
    assert numbers == [66, 67, 68]
    assert row["takes_orders"] == 1
    alone.close()

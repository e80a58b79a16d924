"""A connection by itself: its end, and the time in which it is not read."""

from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest

from openoutcry.server.config import Config
from openoutcry.server.connection import FixConnection
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

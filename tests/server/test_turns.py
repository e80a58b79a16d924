"""One connection's flood takes turns with the others: a budget of frames, one chain of resends."""

from typing import Any
from unittest.mock import MagicMock

import numpy as np

from openoutcry.engine.latency import Protocol
from openoutcry.server.config import Config
from openoutcry.server.connection import _FRAMES_PER_TURN, Connection
from openoutcry.server.fix_gateway import FixSession
from openoutcry.server.sessions import SESSION_ROW
from openoutcry.server.translate import INBOUND_DONE, INBOUND_PYTHON


class Flood(Connection):
    """A connection in whose buffer lie many frames for Python."""

    protocol = Protocol.FIX
    frames = 0

    def receive(self, start: int, end: int) -> tuple[int, int]:
        return (INBOUND_PYTHON if self.frames else INBOUND_DONE), start

    def take_frame(self) -> None:
        self.frames -= 1

    opened = lost = MagicMock()
    poll = log_out = MagicMock()


def test_a_long_chunk_gives_others_their_turn_after_a_budget_of_frames():
    gateway = MagicMock(config=Config(), orders=MagicMock(waiting=[]))
    flood = Flood(gateway)
    flood.transport = MagicMock()
    flood.frames = 3 * _FRAMES_PER_TURN // 2
    flood.process()
    assert flood.frames == _FRAMES_PER_TURN // 2
    flood.transport.pause_reading.assert_called_once()
    gateway.loop.call_soon.assert_called_once_with(flood.resume)
    flood.resume()
    assert flood.frames == 0
    flood.transport.resume_reading.assert_called_once()


def test_asking_again_during_a_resend_plans_no_second_chain_of_slices():
    session: Any = FixSession.__new__(FixSession)
    session.number, session.comp_id = 1, "A"
    session.gateway = MagicMock()
    session.gateway.index.rows = np.zeros(2, SESSION_ROW)
    session.connection = MagicMock(is_writing_paused=False)
    session.session = MagicMock(is_resending=True, can_send=False, is_live=False)
    session.session.data_to_send.return_value = b""
    session._is_resend_due = False
    for _ in range(5):
        session.act([])
    session.session.resend_slice.assert_not_called()
    session.gateway.loop.call_soon.assert_called_once_with(session._resend)
    session._resend()
    session.session.resend_slice.assert_called_once()
    session.gateway.loop.call_soon.assert_called_once()
    session.gateway.loop.call_later.assert_called_once()
    assert session.gateway.loop.call_later.call_args.args[1] == session._resend

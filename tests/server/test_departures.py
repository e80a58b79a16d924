"""Cancel on disconnect: when the command goes out, and what it says."""

from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest

from openoutcry.engine.enums import CommandFlag, CommandKind
from openoutcry.engine.records import COMMAND
from openoutcry.server.config import Config, Shard
from openoutcry.server.departures import Departures
from openoutcry.server.session_settings import CancelOnDisconnect


@pytest.fixture
def gateway() -> Any:
    made = MagicMock(config=Config(shards=(Shard(), Shard(), Shard())))

    def command(kind: int, session: int, seq: int) -> Any:
        row = np.zeros(1, COMMAND)[0]
        row["kind"], row["session"], row["inbound_seq"] = kind, session, seq
        return row

    made.orders.command = command
    return made


def commands(gateway: Any) -> list[tuple[int, ...]]:
    """Return the commands put so far: shard, kind, session, inbound_seq, symbol, flags."""
    fields = ("kind", "session", "inbound_seq", "symbol", "flags")
    return [
        (call.args[0], *(int(call.args[1][name]) for name in fields))
        for call in gateway.orders.put.call_args_list
    ]


def test_without_the_setting_orders_stay(gateway: Any):
    departures = Departures(gateway)
    departures.left(7, None, "connection_lost", 1000)
    departures.poll(10**9)
    assert commands(gateway) == []


@pytest.mark.parametrize(
    ("settings", "trigger", "flags"),
    [
        (CancelOnDisconnect(), "connection_lost", CommandFlag.CONNECTION_LOST | 4),
        (CancelOnDisconnect(), "logout", None),
        (CancelOnDisconnect(include_gtc=True), "connection_lost", CommandFlag.CONNECTION_LOST),
        (CancelOnDisconnect(triggers=("logout",)), "logout", CommandFlag.LOGGED_OUT | 4),
        (CancelOnDisconnect(triggers=("logout",)), "connection_lost", None),
        (
            CancelOnDisconnect(triggers=("connection_lost", "logout"), include_gtc=True),
            "logout",
            CommandFlag.LOGGED_OUT,
        ),
    ],
)
def test_every_shard_is_told_at_once_without_a_grace_time(
    gateway: Any, settings: CancelOnDisconnect, trigger: Any, flags: int | None
):
    Departures(gateway).left(7, settings, trigger, 1000)
    expected = [(shard, CommandKind.MASS_CANCEL, 7, 0, -1, flags) for shard in range(3)]
    assert commands(gateway) == ([] if flags is None else expected)


def test_a_return_within_the_grace_time_keeps_the_orders(gateway: Any):
    departures = Departures(gateway)
    settings = CancelOnDisconnect(grace_s=5)
    for session in (7, 8):
        departures.left(session, settings, "connection_lost", 1000)
    departures.poll(5999)
    assert commands(gateway) == []
    departures.returned(7)
    departures.returned(9)
    departures.poll(6000)
    assert {command[2] for command in commands(gateway)} == {8}
    departures.poll(10**9)
    assert len(commands(gateway)) == 3
    gateway.fix.discard_held.assert_called_once_with(8)


def test_the_time_begins_with_the_last_departure(gateway: Any):
    departures = Departures(gateway)
    settings = CancelOnDisconnect(grace_s=5)
    departures.left(7, settings, "connection_lost", 0)
    departures.returned(7)
    departures.left(7, settings, "connection_lost", 4000)
    departures.poll(8999)
    assert commands(gateway) == []
    departures.poll(9000)
    assert len(commands(gateway)) == 3

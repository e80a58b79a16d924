"""Plain orders of every version go to a shard from the kernel; what is not plain, to Python."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.fix import buffer, frame
from support.gateway_alone import GatewayAlone

from openoutcry.engine.enums import CommandKind
from openoutcry.protocol.fix.versions import Version
from openoutcry.server.translate import INBOUND_DONE, INBOUND_GARBLED, INBOUND_PYTHON

ALL = [*Version]
of_every_version = pytest.mark.parametrize("version", ALL, ids=[v.label for v in ALL])


class Received:
    """What a connection has received."""

    def __init__(self, session: int, data: bytes) -> None:
        self.buffer: Any = buffer(data)
        self.session_number = session


class Inbound:
    """A gateway whose sessions have just logged on, and the commands it writes."""

    def __init__(self, folder: Path) -> None:
        self.alone = GatewayAlone(folder)
        self.gateway = self.alone.gateway
        for version in Version:
            row = self.gateway.index.rows[version + 1]
            row["takes_orders"], row["profile"], row["next_in"] = 1, version, 2

    def receive(self, version: Version, data: bytes) -> tuple[int, int]:
        connection: Any = Received(version + 1, data)
        return self.gateway.receive_fix(connection, 0, len(data))

    def commands(self) -> list[Any]:
        routes = self.gateway.routes
        return [
            routes.commands[shard, routes.ring, place]
            for shard in range(len(routes.tails))
            for place in range(int(routes.tails[shard]))
        ]


@pytest.fixture
def inbound(tmp_path: Path) -> Iterator[Inbound]:
    made = Inbound(tmp_path)
    yield made
    made.alone.close()


def order(version: Version, msg_type: str = "D", number: int = 2, more: str = "") -> bytes:
    """Return a plain message as the version has it."""
    has_time = version >= Version.FIX42
    body = {
        "D": "11=one|55=WHOLE|54=1|38=7|40=2|44=12|59=1|1=ACC|",
        "F": "41=one|11=two|55=WHOLE|54=1|",
        "G": "41=one|11=two|55=WHOLE|54=1|38=9|40=2|44=13|",
        "H": "11=one|55=WHOLE|54=1|",
    }[msg_type]
    if msg_type in "DG" and version < Version.FIX44:
        body += "21=1|"
    if msg_type in "DFG" and has_time:
        body += "60=20231114-22:13:20|"
    if msg_type == "F" and version == Version.FIX40:
        body += "125=F|38=7|"
    header = f"49={version.name}|56=OPENOUTCRY|34={number}|52=20231114-22:13:20|"
    return frame(f"35={msg_type}|{header}{body}{more}", version.begin_string)


@of_every_version
def test_plain_messages_of_every_version_become_commands(inbound, version):
    data = b"".join(order(version, kind, 2 + place) for place, kind in enumerate("DFGH"))
    assert inbound.receive(version, data) == (INBOUND_DONE, len(data))
    kinds = [CommandKind.NEW, CommandKind.CANCEL, CommandKind.REPLACE, CommandKind.STATUS]
    commands = inbound.commands()
    assert [int(command["kind"]) for command in commands] == kinds
    assert {int(command["session"]) for command in commands} == {version + 1}
    assert [int(command["inbound_seq"]) for command in commands] == [2, 3, 4, 5]
    assert [int(command["qty_lots"]) for command in commands] == [7, 0, 9, 0]
    assert [int(command["price_ticks"]) for command in commands] == [12, 0, 13, 0]
    assert inbound.gateway.index.rows[version + 1]["next_in"] == 6


@of_every_version
def test_frames_of_another_version_are_for_python(inbound, version):
    text = order(version)[order(version).index(b"35=") : -7].decode().replace("\x01", "|")
    for begin in {other.begin_string for other in ALL} - {version.begin_string}:
        assert inbound.receive(version, frame(text, begin)) == (INBOUND_PYTHON, 0)
    assert not inbound.commands()


@of_every_version
def test_what_is_left_to_python(inbound, version):
    header = f"49={version.name}|56=OPENOUTCRY|34=2|52=20231114-22:13:20|"
    for data in (
        order(version, more="18=6|"),
        order(version, more="58=a|58=b|"),
        order(version, number=3),
        frame(f"35=H|{header}11=one|55=OTHER|54=1|", version.begin_string),
        frame(f"35=0|{header}", version.begin_string),
    ):
        assert inbound.receive(version, data) == (INBOUND_PYTHON, 0)
    inbound.gateway.index.rows[version + 1]["profile"] = -1
    assert inbound.receive(version, order(version)) == (INBOUND_PYTHON, 0)
    assert not inbound.commands()
    assert inbound.gateway.index.rows[version + 1]["next_in"] == 2


def test_a_garbled_message_is_dropped(inbound):
    data = order(Version.FIX42).replace(b"WHOLE", b"OTHER")
    assert inbound.receive(Version.FIX42, data) == (INBOUND_GARBLED, len(data))
    assert not inbound.commands()

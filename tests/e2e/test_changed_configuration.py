"""A venue started again with a changed configuration: what may change does, and what was told is
told again as it was; what may not is refused by a sentence, and leaves the data as they were."""

import copy
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from support.peers import BinaryPeer, Closed, FixPeer, FixReport
from support.venue import STOP_S, Venue

from openoutcry.protocol.binary.messages import ExecutionReport

BASE: dict[str, Any] = {
    "dynamic_sessions": False,
    "shards": [{"core": None}] * 2,
    "gateway": {"count": 2},
    "capacity": {
        "symbols": 8,
        "sessions": 16,
        "accounts": 16,
        "open_orders": 4096,
        "finished_orders": 4096,
        "levels": 1024,
    },
    "symbols": [
        {"name": "ANT", "tick": "0.05", "lot": "10"},
        {"name": "BEE", "tick": "0.05", "lot": "10"},
        {"name": "CAT", "tick": "0.05", "lot": "10"},
        {"name": "DOG", "tick": "0.05", "lot": "10"},
    ],
    "firms": [
        {
            "name": "alpha",
            "accounts": ["HOUSE", "OTHER"],
            "sessions": [
                {"id": "TRADER"},
                {"id": "MAKER"},
                {"id": "BIN", "protocol": "binary"},
            ],
        }
    ],
}
NAMES = [str(symbol["name"]) for symbol in BASE["symbols"]]
#: Of a message that is sent again: BodyLength, CheckSum, PossDupFlag, SendingTime and the first.
CHANGING = {9, 10, 43, 52, 122}


class Desk:
    """Two FIX clients and a binary one, with all that they were told."""

    def __init__(self) -> None:
        self.next_out = {"TRADER": 1, "MAKER": 1, "MAKER-2": 1}
        self.next_in = dict(self.next_out)
        self.told: dict[str, dict[int, dict[int, str]]] = {name: {} for name in self.next_out}
        self.binary: list[Any] = []
        self.binary_seq = 0

    def log_on(self, venue: Venue, name: str) -> FixPeer:
        """Log a FIX client on with the numbers kept."""
        next_out, next_in = self.next_out[name], self.next_in[name]
        peer = FixPeer(venue.port("fix"), name, next_out=next_out, next_in=next_in)
        peer.log_on()
        return peer

    def take(self, peer: FixPeer, count: int = 1) -> list[FixReport]:
        """Receive reports, and keep them."""
        reports = peer.reports(count)
        for report in reports:
            self.told[peer.comp_id][int(report[34])] = _lasting(report)
        return reports

    def leave(self, peer: FixPeer) -> None:
        """Log out, and keep the numbers."""
        peer.log_out()
        self.next_out[peer.comp_id], self.next_in[peer.comp_id] = peer.next_out, peer.next_in

    def check_resends(self, venue: Venue) -> None:
        """Have everything sent again: it is what it was."""
        peer = self.log_on(venue, "TRADER")
        peer.send("2", "7=1|16=0|")
        sent_again = {}
        while True:
            message = peer.receive(is_numbered=False)
            assert message[43] == "Y"
            if message.kind == "8":
                sent_again[int(message[34])] = _lasting(message)
            # The Logon's answer is the last.
            elif int(message[36]) >= peer.next_in:
                break
        assert sent_again == self.told["TRADER"]
        self.leave(peer)
        with BinaryPeer(venue.port("binary"), "BIN", next_in=1) as binary:
            binary.log_on()
            again = [binary.receive() for _ in self.binary]
        assert all(isinstance(report, ExecutionReport) and report.repeated for report in again)
        assert [msgspec.structs.replace(report, repeated=False) for report in again] == self.binary


def _lasting(report: FixReport) -> dict[int, str]:
    return {tag: value for tag, value in report.items() if tag not in CHANGING}


class Place:
    """A data directory with a day's trading in it, and the venue that made it, stopped."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self.venue = Venue(
            folder, "log.segment_bytes=1048576", data_dir=self.data, config=copy.deepcopy(BASE)
        )
        self.desk = Desk()
        self.venue.start()
        self._trade()
        self.venue.stop()

    def _trade(self) -> None:
        desk, venue = self.desk, self.venue
        trader, maker = desk.log_on(venue, "TRADER"), desk.log_on(venue, "MAKER")
        for symbol in NAMES:
            maker.new(f"m-{symbol}", symbol, "2", 20, "10.00")
            desk.take(maker)
            trader.new(f"t-{symbol}", symbol, "1", 20, "10.00", extra="1=HOUSE|")
            desk.take(trader, 2)
            desk.take(maker)
        # What rests: two orders on either shard, of two symbols.
        for symbol in ("ANT", "BEE"):
            for n in range(2):
                trader.new(f"r{n}-{symbol}", symbol, "1", 30, "9.00", extra="1=HOUSE|")
                desk.take(trader)
        trader.new("nope", "NOPE", "1", 30, "9.00")
        desk.take(trader)
        desk.leave(trader)
        desk.leave(maker)
        with BinaryPeer(venue.port("binary"), "BIN") as binary:
            binary.log_on()
            for symbol in NAMES:
                binary.new(f"b-{symbol}", symbol, 1, 2, 100, tif=3)
                # Taken, and cancelled at once, for nobody sells.
                desk.binary += [binary.receive(), binary.receive()]
        assert all(isinstance(message, ExecutionReport) for message in desk.binary)

    def configure(self, **changes: Any) -> Venue:
        """Change the configuration file; return the venue."""
        path = self.venue.folder / "server.yaml"
        path.write_text(yaml.safe_dump({**copy.deepcopy(BASE), **changes}))
        return self.venue

    def content(self) -> dict[str, int]:
        """Return the checksum of each file in the data directory."""
        return {
            path.name: zlib.crc32(path.read_bytes())
            for path in self.data.iterdir()
            if path.is_file() and not path.name.endswith("lock")
        }

    def refused(self, **changes: Any) -> str:
        """Try to start with a changed configuration; return what was said on stderr."""
        before = self.content()
        venue = self.configure(**changes)
        said = len(venue.log())
        venue.spawn()
        assert venue.first_line() == b""
        assert venue.process.wait(STOP_S) == 1, venue.log()
        venue.kill()
        assert self.content() == before
        text = venue.log()[said:]
        assert "Traceback" not in text
        return text


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    made = Place(tmp_path_factory.mktemp("changed"))
    yield made
    made.venue.kill_all()


def symbols(*names: str, **changes: dict[str, Any]) -> list[dict[str, Any]]:
    """Return symbols as configured, some of them with changes."""
    known = {symbol["name"]: symbol for symbol in BASE["symbols"]}
    return [
        {**known.get(name, {"name": name, "tick": "0.05", "lot": "10"}), **changes.get(name, {})}
        for name in names
    ]


GROWN: dict[str, Any] = {
    "shards": [{"core": None}] * 3,
    "gateway": {"count": 3},
    "capacity": {**BASE["capacity"], "symbols": 16, "sessions": 32, "accounts": 32},
    "firms": [*BASE["firms"], {"name": "gamma", "accounts": ["G"], "sessions": [{"id": "NEW"}]}],
}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"shards": [{}]}, "there are 1 shards now and were 2: symbols cannot move, so configure"),
        ({"gateway": {"count": 1}}, "gateway.count is 1 now and was 2: sessions cannot move"),
        (
            {"symbols": symbols(*NAMES, BEE={"shard": 0})},
            "symbol BEE is on shard 1 and cannot move to 0: set symbols[1].shard to 1",
        ),
        (
            {
                "firms": [{"name": "new", "sessions": [{"id": "NEW"}]}],
                "capacity": {**BASE["capacity"], "sessions": 4},
            },
            "need capacity.sessions of 5, and it is 4: set it to at least 5",
        ),
        # Only the second shard has something against it, and everything else may grow.
        (
            {**GROWN, "symbols": symbols("FOX", "DOG", "CAT", "ANT")},
            "symbol BEE is not listed any more, and 2 orders rest in its book: list it again",
        ),
        (
            {**GROWN, "symbols": symbols("FOX", *NAMES, ANT={"tick": "0.01"})},
            "symbol ANT has tick 0.01 and lot 10 now, and 2 orders rest at tick 0.05 and lot 10",
        ),
        (
            {**GROWN, "capacity": {**GROWN["capacity"], "open_orders": 1}},
            "capacity.open_orders cannot be 1: 2 open orders are in use; set it to 2 or more",
        ),
        ({"log": {"durability": "none"}}, "set it to process or power, or name another --data-dir"),
    ],
    ids=["shards", "gateways", "moved", "sessions", "removed", "tick", "orders", "none"],
)
def test_what_may_not_change_is_refused_and_changes_nothing(
    place: Place, changes: dict[str, Any], sentence: str
):
    assert sentence in place.refused(**changes)


def test_damaged_passwords_are_told_of_before_anything_starts(place: Place):
    path = place.data / "credentials.json"
    path.write_text('{"FIX.4.4/TRADER": "scrypt$163')
    assert f"{path} cannot be understood" in place.refused(**GROWN)
    path.unlink()


def test_the_old_configuration_starts_after_all_that(place: Place):
    venue = place.configure().start()
    place.desk.check_resends(venue)
    venue.stop()


def test_everything_that_may_change_changes_at_once(place: Place):
    desk = place.desk
    firm = {
        "name": "beta",
        "accounts": ["HOUSE-2", "OTHER"],
        "sessions": [{"id": "BIN", "protocol": "binary"}, {"id": "MAKER-2"}, {"id": "TRADER"}],
    }
    listed = symbols("FOX", "CAT", "BEE", "ANT", CAT={"tick": "0.5", "lot": "1"})
    changes = {**GROWN, "firms": [GROWN["firms"][1], firm], "symbols": listed}
    changes["capacity"] = {**GROWN["capacity"], "open_orders": 8192, "levels": 2048}
    venue = place.configure(**changes).start()
    desk.check_resends(venue)
    with FixPeer(venue.port("fix"), "MAKER", next_out=desk.next_out["MAKER"]) as gone:
        gone.send("A", "98=0|108=0|")
        with pytest.raises(Closed):
            gone.receive(is_numbered=False)
    trader, maker = desk.log_on(venue, "TRADER"), desk.log_on(venue, "MAKER-2")
    # The order that rests has its old account, and fills.
    maker.new("m-1", "ANT", "2", 30, "9.00")
    desk.take(maker, 2)
    (fill,) = desk.take(trader)
    assert fill.pick(11, 1, 150, 31) == ["r0-ANT", "HOUSE", "F", "9.00"]
    for name, price in (("FOX", "9.05"), ("CAT", "9.5")):
        trader.new(f"n-{name}", name, "1", 10, price, extra="1=HOUSE-2|")
        assert desk.take(trader)[0].pick(150, 44) == ["0", price]
    for name, symbol, price, extra in (
        ("n-DOG", "DOG", "9.00", ""),
        ("n-tick", "CAT", "9.05", ""),
        ("n-account", "ANT", "9.00", "1=HOUSE|"),
    ):
        trader.new(name, symbol, "1", 10, price, extra=extra)
        assert desk.take(trader)[0].pick(11, 150) == [name, "8"]
    desk.leave(trader)
    desk.leave(maker)
    venue.stop()


def test_most_of_it_may_change_back(place: Place):
    desk = place.desk
    capacity = {
        **BASE["capacity"],
        "symbols": 6,
        "sessions": 6,
        "accounts": 5,
        "open_orders": 8,
        "finished_orders": 1,
        "levels": 8,
    }
    listed = symbols("DOG", "CAT", "BEE", "ANT", "FOX", CAT={"tick": "0.5", "lot": "1"})
    changes = {"shards": GROWN["shards"], "gateway": GROWN["gateway"], "symbols": listed}
    venue = place.configure(**changes, capacity=capacity).start()
    desk.check_resends(venue)
    trader, maker = desk.log_on(venue, "TRADER"), desk.log_on(venue, "MAKER")
    maker.new("m-2", "ANT", "2", 30, "9.00")
    desk.take(maker, 2)
    assert desk.take(trader)[0].pick(11, 150) == ["r1-ANT", "F"]
    trader.new("d-2", "DOG", "1", 10, "9.00", extra="1=HOUSE|")
    assert desk.take(trader)[0][150] == "0"
    desk.leave(trader)
    desk.leave(maker)
    venue.stop()
    venue = place.configure(**changes, capacity=capacity).start()
    desk.check_resends(venue)
    venue.stop()

"""The logs of a venue that traded: one command log gives the same reports wherever it is run."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from oracle.book import OracleBook
from support.peers import BinaryPeer, FixPeer
from support.venue import Venue

from openoutcry.engine import Capacity, Engine
from openoutcry.engine.log import BATCH_END, BATCH_OK, as_words, read_batch
from openoutcry.engine.pack import FIRST_BYTE, unpack_rows
from openoutcry.engine.records import COMMAND, REPORT, SHARD_SHIFT
from openoutcry.engine.state import ShardWord
from openoutcry.protocol.binary.messages import ExecutionReport, Reject
from openoutcry.server.journal import SegmentedFile
from openoutcry.server.memory import VenueMemory

SEGMENT = 1 << 20
SETTINGS = (
    "shards=[{},{}]",
    f"log.segment_bytes={SEGMENT}",
    "capacity.open_orders=256",
    "capacity.finished_orders=500",
    "capacity.levels=24",
)
CAPACITY = Capacity(open_orders=256, finished_orders=500, levels=24, symbols=1024, sessions=4096)
SYMBOLS = ("AAPL", "MSFT")


class Trader:
    """Sends what a seeded generator makes up, good and bad, and keeps the identifiers."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.ids: list[tuple[str, str, int]] = []
        self.count = 0

    def name(self) -> str:
        if self.ids and self.chance.random() < 0.02:
            return self.chance.choice(self.ids)[0]
        self.count += 1
        return f"i{self.count}"

    def known(self) -> tuple[str, str, int]:
        if not self.ids or self.chance.random() < 0.05:
            return ("never", self.chance.choice(SYMBOLS), 1)
        return self.chance.choice(self.ids[-40:])

    def step(self) -> None:
        """Send one request."""
        draw = self.chance.random()
        if draw < 0.6:
            name, symbol, side = (
                self.name(),
                self.chance.choice(SYMBOLS),
                self.chance.choice((1, 2)),
            )
            self.ids.append((name, symbol, side))
            price = self.chance.choice((None, *range(990, 1011), *range(990, 1011), 0, 10**13))
            tif = self.chance.choice((0, 1, 1, 1, 1, 3, 4))
            self.send_new(name, symbol, side, self.chance.choice((1, 2, 5, 50, 0)), price, tif)
            return
        orig, symbol, side = self.known()
        name = self.name()
        if draw < 0.8:
            self.send_cancel(name, orig, symbol, side)
        elif draw < 0.95:
            self.ids.append((name, symbol, side))
            qty, price = self.chance.choice((1, 3, 60)), self.chance.randrange(990, 1011)
            self.send_replace(name, orig, symbol, side, qty, price)
        else:
            self.send_status(orig, symbol, side)

    def send_new(
        self, name: str, symbol: str, side: int, qty: int, price: int | None, tif: int
    ) -> None:
        raise NotImplementedError

    def send_cancel(self, name: str, orig: str, symbol: str, side: int) -> None:
        raise NotImplementedError

    def send_replace(
        self, name: str, orig: str, symbol: str, side: int, qty: int, price: int
    ) -> None:
        raise NotImplementedError

    def send_status(self, name: str, symbol: str, side: int) -> None:
        raise NotImplementedError

    def read_to_end(self) -> list[int]:
        """Read until both shards have answered a last request; return the reports' ExecIDs."""
        raise NotImplementedError


class FixTrader(Trader):
    """Over FIX; 0.01 is a tick."""

    def __init__(self, port: int, name: str, seed: int) -> None:
        super().__init__(seed)
        self.peer = FixPeer(port, name)
        self.peer.log_on()

    def send_new(
        self, name: str, symbol: str, side: int, qty: int, price: int | None, tif: int
    ) -> None:
        text = None if price is None else f"{price // 100}.{price % 100:02d}"
        self.peer.new(name, symbol, str(side), qty, text, str(tif))

    def send_cancel(self, name: str, orig: str, symbol: str, side: int) -> None:
        self.peer.cancel(name, orig, symbol, str(side))

    def send_replace(
        self, name: str, orig: str, symbol: str, side: int, qty: int, price: int
    ) -> None:
        text = f"{price // 100}.{price % 100:02d}"
        self.peer.replace(name, orig, symbol, str(side), qty, text)

    def send_status(self, name: str, symbol: str, side: int) -> None:
        self.peer.status(name, symbol, str(side))

    def read_to_end(self) -> list[int]:
        for symbol in SYMBOLS:
            self.peer.status("END", symbol)
        found, ends = [], 0
        while ends < len(SYMBOLS):
            report = self.peer.receive()
            assert report.kind in {"8", "9"}, report
            if report.kind == "8":
                shard, _, number = report[17].removeprefix("E").partition("-")
                found.append(int(shard) << SHARD_SHIFT | int(number))
                ends += report[11] == "END"
            else:
                found.append(0)
        return found


class BinaryTrader(Trader):
    """Over the binary protocol."""

    def __init__(self, port: int, name: str, seed: int) -> None:
        super().__init__(seed)
        self.peer = BinaryPeer(port, name)
        self.peer.log_on()

    def send_new(
        self, name: str, symbol: str, side: int, qty: int, price: int | None, tif: int
    ) -> None:
        self.peer.new(name, symbol, side, qty, price, tif)

    def send_cancel(self, name: str, orig: str, symbol: str, side: int) -> None:
        self.peer.cancel(name, orig, symbol, side)

    def send_replace(
        self, name: str, orig: str, symbol: str, side: int, qty: int, price: int
    ) -> None:
        del side
        self.peer.replace(name, orig, symbol, qty, price)

    def send_status(self, name: str, symbol: str, side: int) -> None:
        del side
        self.peer.status(name, symbol)

    def read_to_end(self) -> list[int]:
        for symbol in SYMBOLS:
            self.peer.status("END", symbol)
        found, ends = [], 0
        while ends < len(SYMBOLS):
            report = self.peer.receive()
            assert isinstance(report, ExecutionReport | Reject), report
            if isinstance(report, ExecutionReport):
                # OrderCancelReject(9) has no ExecID: leave it out here, too.
                found.append(report.exec_id)
                ends += report.cl_ord_id == "END"
        return found


def join(parts: list[NDArray[Any]], layout: Any) -> NDArray[Any]:
    """Return rows one after another (numpy's own way lays them out anew)."""
    return np.frombuffer(b"".join(part.tobytes() for part in parts), layout).copy()


def read_commands(folder: Path, shard: int) -> NDArray[Any]:
    """Return all commands of a shard's log."""
    file = SegmentedFile(folder, f"shard-{shard}-commands", SEGMENT, writable=False)
    while file.segment_path(file.mapped_bytes // SEGMENT).exists():
        file.map_next()
    log = file.array(np.int64)
    batch, header = np.zeros(4096, COMMAND), np.zeros(64, np.int64)
    position, parts = 0, []
    while True:
        code, count, position = read_batch(
            log, position, file.mapped_bytes // 8, as_words(batch), header
        )
        if code == BATCH_END:
            break
        assert code == BATCH_OK
        parts.append(batch[:count].copy())
    file.close()
    return join(parts, COMMAND)


def read_reports(folder: Path, shard: int, count: int, end: int, base_ns: int) -> NDArray[Any]:
    """Return the first `count` reports of a shard's log, which is written up to byte `end`."""
    file = SegmentedFile(folder, f"shard-{shard}-reports", SEGMENT, writable=False)
    data = np.frombuffer(file.read(FIRST_BYTE, end) + bytes(256), np.uint8)
    rows = np.zeros(count, REPORT)
    start = int(data.ctypes.data)
    stop = unpack_rows(as_words(rows), 0, count, base_ns, shard << SHARD_SHIFT, start)
    assert stop - start == end - FIRST_BYTE
    file.close()
    return rows


def replay(commands: NDArray[Any], shard: int, at_once: int) -> tuple[NDArray[Any], int]:
    """Run commands through a new engine, some at once; return the reports and the state's hash."""
    engine = Engine(symbols=[], capacity=CAPACITY, shard=shard)
    commands = commands.copy()
    parts = [
        engine.process(commands[start : start + at_once]).copy()
        for start in range(0, len(commands), at_once)
    ]
    return join(parts, REPORT), engine.state_hash()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1])
def test_a_replay_gives_the_same_reports_byte_for_byte(tmp_path: Path, seed: int):
    data = tmp_path / "data"
    with Venue(tmp_path, *SETTINGS, data_dir=data) as venue:
        traders: list[FixTrader | BinaryTrader] = [
            FixTrader(venue.port("fix"), "F1", seed * 10),
            BinaryTrader(venue.port("binary"), "B1", seed * 10 + 1),
            FixTrader(venue.port("fix"), "F2", seed * 10 + 2),
            BinaryTrader(venue.port("binary"), "B2", seed * 10 + 3),
        ]
        received: list[list[int]] = [[] for _ in traders]
        for turn in range(40):
            for trader in traders:
                for _ in range(25):
                    trader.step()
            if turn % 10 == 9:
                assert venue.http("/admin/day-end", {})[0] == 200
            for number, trader in enumerate(traders):
                received[number] += trader.read_to_end()
        # Nothing is asked for any more: after this, each has what the others' requests did to it.
        for number, trader in enumerate(traders):
            received[number] += trader.read_to_end()
        (folder,) = venue.shared()
        words = VenueMemory.open(Path("/dev/shm") / folder).shards.copy()
        for trader in traders:
            trader.peer.log_out()
    logged: list[NDArray[Any]] = []
    for shard in range(2):
        commands = read_commands(data, shard)
        assert len(commands) > 1500
        assert commands["seq"].tolist() == list(range(1, len(commands) + 1))
        assert len(commands) == words[shard, ShardWord.SEQ]
        reports = read_reports(
            data,
            shard,
            int(words[shard, ShardWord.REPORT_SEQ]),
            int(words[shard, ShardWord.REPORT_POSITION]),
            int(words[shard, ShardWord.BASE_NS]),
        )
        assert reports["report_seq"].tolist() == list(range(1, len(reports) + 1))
        again, state = replay(commands, shard, 1_000_000)
        assert again.tobytes() == reports.tobytes()
        one_by_one, same_state = replay(commands, shard, 1)
        assert one_by_one.tobytes() == reports.tobytes()
        assert state == same_state
        oracle = OracleBook(open_orders=256, finished_orders=500, levels=24, shard=shard)
        expected = [oracle.process(command) for command in commands]
        assert join(expected, REPORT).tobytes() == reports.tobytes()
        kinds = set(reports["kind"].tolist())
        assert {1, 2, 3, 4, 5, 6, 7, 8} <= kinds, kinds
        logged.append(reports)
    for session, exec_ids in enumerate(received, 1):
        expected_ids = set()
        for shard, reports in enumerate(logged):
            own = reports[reports["session"] == session]
            mine = [i for i in exec_ids if i >> SHARD_SHIFT == shard and i]
            told = own["report_seq"] if session % 2 == 0 else own[own["kind"] != 8]["report_seq"]
            expected_ids = {shard << SHARD_SHIFT | int(n) for n in told}
            missing = expected_ids - set(mine)
            extra = set(mine) - expected_ids - {0}
            assert not missing, (session, shard, len(missing))
            assert not extra, (session, shard, len(extra))
            assert mine == sorted(mine)

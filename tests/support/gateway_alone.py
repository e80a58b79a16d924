"""A gateway without processes around it: shards' report logs written by hand, connections that keep
what they are sent."""

from pathlib import Path
from typing import Any

import numpy as np

from openoutcry.engine.log import as_words
from openoutcry.engine.pack import FIRST_BYTE, MAX_PACKED_BYTES, pack_rows, write_header
from openoutcry.engine.records import REPORT
from openoutcry.engine.state import ProcessStatus, ShardWord
from openoutcry.protocol.fix.versions import Version
from openoutcry.server.config import Capacity, Config, Firm, Log, Retention, Shard, Symbol
from openoutcry.server.config import Gateway as GatewayConfig
from openoutcry.server.gateway import Gateway
from openoutcry.server.journal import SegmentedFile, SegmentOwner
from openoutcry.server.memory import VenueMemory
from openoutcry.server.session_settings import Session

BASE_NS = 1_700_000_000_000_000_000
NOW_MS = 1_700_000_000_500
SEGMENT_BYTES = 64 << 10
#: A FIX session of each version, then a binary one; numbers from 1.
SESSIONS = (
    *(Session(id=version.name) for version in Version),
    Session(id="BINARY", protocol="binary"),
)
BINARY = len(SESSIONS)


class FakeConnection:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, data: bytes | memoryview) -> None:
        self.data += data

    def take(self) -> bytes:
        """Return what was written since, and forget it."""
        data = bytes(self.data)
        self.data.clear()
        return data


class WrittenLog:
    """The report log of a shard that is not there; one that was closed before goes on."""

    def __init__(
        self,
        folder: Path,
        memory: VenueMemory,
        shard: int,
        *,
        count: int = 0,
        end: int = FIRST_BYTE,
    ) -> None:
        self._file = SegmentedFile(
            folder,
            f"shard-{shard}-reports",
            SEGMENT_BYTES,
            writable=True,
            owner=SegmentOwner("openoutcry"),
        )
        self._file.map_next()
        write_header(self._file.array(np.int64), BASE_NS)
        self._base = shard << 48
        self._words = memory.shards[shard]
        self._words[ShardWord.BASE_NS] = BASE_NS
        self._words[ShardWord.RELEASED_POSITION] = end
        self._words[ShardWord.RELEASED_REPORT] = count
        self._words[ShardWord.STATUS] = ProcessStatus.RUNNING
        self.count = count

    def close(self) -> None:
        """Give the file's addresses back."""
        self._file.close()

    def write(self, *reports: dict[str, Any]) -> None:
        """Write and release reports, numbered; shards' bits are put into order identifiers."""
        rows = np.zeros(len(reports), REPORT)
        for row, report in zip(rows, reports, strict=True):
            self.count += 1
            row["report_seq"] = self.count
            row["time_ns"] = BASE_NS + self.count * 1_000_000
            for name, value in report.items():
                row[name] = value
            if row["order_id"]:
                row["order_id"] |= self._base
        at = int(self._words[ShardWord.RELEASED_POSITION])
        self._file.ensure(at + (len(rows) + 1) * MAX_PACKED_BYTES)
        address = self._file.address
        end = pack_rows(as_words(rows), 0, len(rows), BASE_NS, self._base, address + at)
        self._words[ShardWord.RELEASED_POSITION] = int(end) - address
        self._words[ShardWord.RELEASED_REPORT] = self.count


class GatewayAlone:
    """A gateway in this process, with a clock that stands still.

    The first sessions are those of the versions. `ends` (report, position behind it) are those of
    report logs that are there already.

    Attributes:
        gateway: the gateway.
        logs: the report logs of its shards.
    """

    def __init__(
        self,
        folder: Path,
        shards: int = 2,
        sessions: tuple[Session, ...] = SESSIONS,
        *,
        ends: list[tuple[int, int]] | None = None,
        log: Log | None = None,
        retention: Retention | None = None,
    ) -> None:
        config = Config(
            symbols=(
                Symbol(name="WHOLE", tick="1", lot="1"),
                Symbol(name="PARTS", tick="0.05", lot="0.001"),
            ),
            shards=tuple(Shard() for _ in range(shards)),
            firms=(Firm(name="FIRM", accounts=("ACC",), sessions=sessions),),
            capacity=Capacity(symbols=8, sessions=24, accounts=64, command_ring_records=64),
            log=log or Log(segment_bytes=SEGMENT_BYTES),
            retention=retention or Retention(),
            gateway=GatewayConfig(max_connections=16, receive_buffer_bytes=16384),
        )
        memory = VenueMemory.create(folder, shards, 1, 64, 64)
        ends = ends or [(0, FIRST_BYTE)] * shards
        self.logs = [
            WrittenLog(folder, memory, shard, count=count, end=end)
            for shard, (count, end) in enumerate(ends)
        ]
        self.folder = folder
        self.memory = memory
        self.gateway = Gateway(config, memory, folder)
        self.now_ms = NOW_MS
        self.gateway.now_ms = lambda: self.now_ms  # type: ignore[method-assign]
        for version in Version if sessions is SESSIONS else ():
            self.gateway.set_comp_ids(version + 1, version.name, version)
        self.connections: dict[int, FakeConnection] = {}

    def ends(self) -> list[tuple[int, int]]:
        """Return how far the report logs are written, for another one over the same folder."""
        words = self.memory.shards[:, ShardWord.RELEASED_POSITION].tolist()
        return [(log.count, end) for log, end in zip(self.logs, words, strict=True)]

    def connect(self, session: int) -> FakeConnection:
        """Make a session live."""
        connection = self.connections[session] = FakeConnection()
        self.gateway.connections[session] = connection  # type: ignore[call-overload]
        row = self.gateway.index.rows[session]
        row["is_live"], row["connection"] = 1, session
        return connection

    def disconnect(self, session: int) -> None:
        """Let a session's client be away."""
        self.gateway.connections[session] = None
        row = self.gateway.index.rows[session]
        row["is_live"], row["connection"] = 0, -1

    def close(self) -> None:
        """Give files and memory back."""
        self.gateway.close()
        for log in self.logs:
            log.close()


def frames_of(data: bytes) -> list[bytes]:
    """Return the messages of a stream of FIX."""
    frames = []
    while data:
        length = data.index(b"\x01", data.index(b"\x019=") + 3) + 1
        size = int(data[data.index(b"\x019=") + 3 : length - 1])
        end = length + size + 7
        frames.append(data[:end])
        data = data[end:]
    return frames

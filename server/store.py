"""Where a gateway's sessions keep their numbers, and from where what was sent is sent again."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from openoutcry.engine.log import as_words
from openoutcry.engine.pack import MAX_PACKED_BYTES, unpack_rows
from openoutcry.engine.records import REPORT, SHARD_SHIFT
from openoutcry.protocol.fix.store import Run, as_runs, mark_resent
from openoutcry.server.journal import SegmentedFile
from openoutcry.server.sessions import SOURCE_ADMINISTRATIVE

if TYPE_CHECKING:
    from openoutcry.server.gateway import Gateway

#: Bytes of a report log read at a time.
_CHUNK_BYTES = 256 << 10


class RowState:
    """A session's two numbers, kept in the row that the kernels use too."""

    def __init__(self, row: Any) -> None:
        self._row = row

    @property
    def next_in(self) -> int:
        """The number due next from the client."""
        return int(self._row["next_in"])

    @next_in.setter
    def next_in(self, number: int) -> None:
        self._row["next_in"] = number

    @property
    def next_out(self) -> int:
        """The number of the next message to the client."""
        return int(self._row["next_out"])

    @next_out.setter
    def next_out(self, number: int) -> None:
        self._row["next_out"] = number


class ReportReader:
    """Any report of a shard, by its position in the report log, read from the log's files.

    Args:
        reports: the report log.
        shard: the shard's number.
    """

    def __init__(self, reports: SegmentedFile, shard: int) -> None:
        self._reports = reports
        self._shard_base = shard << SHARD_SHIFT
        self._chunk = np.zeros(0, np.uint8)
        self._start = 0
        self._stop = 0
        self._row = np.zeros(1, REPORT)
        self._words = as_words(self._row)

    def row(self, position: int, written: int, base_ns: int) -> NDArray[Any]:
        """Return the report at a position, as an array of one REPORT that the next call overwrites.

        Args:
            position: where the report begins.
            written: how far the log is written.
            base_ns: the log's base time.
        """
        need = min(position + MAX_PACKED_BYTES, written)
        if not self._start <= position or need > self._stop:
            data = self._reports.read(position, min(position + _CHUNK_BYTES, written))
            self._start = position
            self._stop = position + len(data)
            # Unpacking may touch what lies behind; it is no part of the log.
            self._chunk = np.frombuffer(data + bytes(MAX_PACKED_BYTES), np.uint8)
        address = int(self._chunk.ctypes.data) + position - self._start
        unpack_rows(self._words, 0, 1, base_ns, self._shard_base, address)
        return self._row


class GatewayStore:
    """The FIX message store of one session: `openoutcry.protocol.fix.store.MessageStore`."""

    def __init__(self, gateway: "Gateway", session: int) -> None:
        self._gateway = gateway
        self._session = session

    def record(self, number: int, sending_time_ms: int, frame: bytes | None) -> None:
        """Note a message that Python made, before its first byte leaves."""
        index = self._gateway.index
        source = SOURCE_ADMINISTRATIVE if frame is None else index.store_bytes(frame)
        index.append(self._session, number, sending_time_ms, source)

    def resent(self, first: int, last: int, now_ms: int) -> Iterator[Run]:
        """Yield the numbers with their frames as they are sent again."""
        return as_runs(self._frames(first, last, now_ms))

    def first_time(self, first: int, last: int) -> Iterator[Run]:
        """Yield the numbers with their frames as they would have been sent at first."""
        return as_runs(self._frames(first, last, 0))

    def _frames(self, first: int, last: int, now_ms: int) -> Iterator[tuple[int, bytes | None]]:
        gateway = self._gateway
        for number, time_ms, source in gateway.index.entries(self._session, first, last):
            if source == SOURCE_ADMINISTRATIVE:
                yield number, None
            elif source < 0:
                frame = gateway.index.stored_bytes(source)
                yield number, mark_resent(frame, now_ms) if now_ms else frame
            else:
                shard = source >> SHARD_SHIFT
                position = source & ((1 << SHARD_SHIFT) - 1)
                yield (
                    number,
                    gateway.encode_fix_again(
                        self._session, shard, position, number, time_ms, now_ms
                    ),
                )

    def reset(self) -> None:
        """Start a new epoch."""
        self._gateway.index.reset(self._session)

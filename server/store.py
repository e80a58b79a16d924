"""Where a gateway's sessions keep their numbers, and from where what was sent is sent again."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from openoutcry.engine.records import REPORT, SHARD_SHIFT
from openoutcry.protocol.fix.store import mark_resent
from openoutcry.server.journal import SegmentedFile
from openoutcry.server.sessions import SOURCE_ADMINISTRATIVE

if TYPE_CHECKING:
    from openoutcry.server.gateway import Gateway

#: Reports read from a file at a time, when they are no longer mapped.
_CHUNK_REPORTS = 1024


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
    """Any report of a shard, by its number, read from the report log's files."""

    def __init__(self, reports: SegmentedFile) -> None:
        self._reports = reports
        self._chunk: NDArray[Any] = np.zeros(0, REPORT)
        self._first = 0

    def row(self, number: int) -> tuple[NDArray[Any], int]:
        """Return (a REPORT array, the index in it) of report `number`."""
        if not self._first <= number < self._first + len(self._chunk):
            first = max(number - number % _CHUNK_REPORTS, 1)
            size = REPORT.itemsize
            data = self._reports.read(first * size, (first + _CHUNK_REPORTS) * size)
            self._chunk = np.frombuffer(data[: len(data) // size * size], REPORT)
            # A report that is written after this reading must be read anew.
            valid = int(np.argmin(self._chunk["report_seq"] > 0)) or len(self._chunk)
            self._chunk = self._chunk[:valid]
            self._first = first
        return self._chunk, number - self._first


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

    def resent(self, first: int, last: int, now_ms: int) -> Iterator[tuple[int, bytes | None]]:
        """Yield the numbers with their frames as they are sent again."""
        return self._frames(first, last, now_ms)

    def first_time(self, first: int, last: int) -> Iterator[tuple[int, bytes | None]]:
        """Yield the numbers with their frames as they would have been sent at first."""
        return self._frames(first, last, 0)

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
                report = source & ((1 << SHARD_SHIFT) - 1)
                yield (
                    number,
                    gateway.encode_fix_again(self._session, shard, report, number, time_ms, now_ms),
                )

    def reset(self) -> None:
        """Start a new epoch."""
        self._gateway.index.reset(self._session)

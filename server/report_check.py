"""A replay's reports beside those of a report log, byte by byte."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from openoutcry.engine.log import as_words
from openoutcry.engine.pack import unpack_rows
from openoutcry.engine.records import REPORT, SHARD_SHIFT
from openoutcry.server.journal import SegmentedFile, open_segments
from openoutcry.server.log_end import RecoveryError, map_another
from openoutcry.server.log_reader import count_rows, packed_bytes
from openoutcry.server.replica import Replica
from openoutcry.server.report_sink import ReportSink
from openoutcry.server.segments import SegmentError

#: Bytes of reports that are packed before they are looked at.
_BLOCK_BYTES = 16 << 20
#: Bytes behind the end that packing and unpacking may touch.
_SPARE_BYTES = 512


class BlockSink(ReportSink):
    """Has a replay's reports packed into memory, and gives them away in large blocks.

    Args:
        replica: whose reports they are.
        take: called with (position in the report log, the packed rows as bytes), which are whole
            rows and valid within the call.
    """

    def __init__(self, replica: Replica, take: Callable[[int, NDArray[np.uint8]], None]) -> None:
        self._replica = replica
        self._take = take
        self._buffer = np.zeros(_BLOCK_BYTES + _SPARE_BYTES, np.uint8)
        self._base = replica.report_bytes
        self._place()

    def _place(self) -> None:
        # The kernel adds the position in the log.
        self.address = int(self._buffer.ctypes.data) - self._base

    def limit(self) -> int:
        """Return the first byte of the report log that may not be touched."""
        return self._base + len(self._buffer) - _SPARE_BYTES

    def make_room(self, end: int) -> None:
        """Give away what is packed, and have room up to byte `end`."""
        self.flush()
        wanted = end - self._base + _SPARE_BYTES
        if wanted > len(self._buffer):
            self._buffer = np.zeros(2 * wanted, np.uint8)
            self._place()

    def flush(self) -> None:
        """Give away what is packed: to be called when the replay has ended, too."""
        size = self._replica.report_bytes - self._base
        if size:
            self._take(self._base, self._buffer[:size])
        self._base += size
        self._place()


def unpack_block(block: NDArray[np.uint8], shard: int, base_ns: int) -> NDArray[Any]:
    """Return the REPORT rows of a block of BlockSink."""
    start = int(block.ctypes.data)
    rows = np.zeros(int(count_rows(start, len(block))), REPORT)
    unpack_rows(as_words(rows), 0, len(rows), base_ns, shard << SHARD_SHIFT, start)
    return rows


class Difference(NamedTuple):
    """The first place where a report log has not what the replay makes.

    Attributes:
        position: byte of the report log at which the report begins.
        path, offset: file and byte of it.
        ours: the REPORT row that the replay makes.
        theirs: the row in the log; None where no report is there.
        is_end: nothing at all is written there: the log is short.
    """

    position: int
    path: Path
    offset: int
    ours: Any
    theirs: Any
    is_end: bool


class ReportLogCheck:
    """Compares what a replay makes with a shard's report log.

    Attributes:
        compared: reports that are equal.
        difference: the first one that is not.
        reason: why nothing (more) is compared, or "".
    """

    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        self._shard = replica.shard
        self.compared = 0
        self.difference: Difference | None = None
        self.reason = ""
        self.sink = BlockSink(replica, self._take)
        self._file: SegmentedFile | None = None
        name = f"shard-{replica.shard}-reports"
        try:
            self._file = open_segments(replica.folder, name)
            if self._file is None:
                self.reason = f"there is no report log {name}-*.seg in {replica.folder}"
                return
            if replica.report_bytes < self._file.first_byte:
                self.reason = (
                    f"{name} begins at byte {self._file.first_byte}, the replay at byte "
                    f"{replica.report_bytes}: begin with a later snapshot (--from-snapshot)"
                )
                return
            self._file.ensure_from(replica.report_bytes)
        except SegmentError as error:
            self.reason = str(error)

    def _take(self, position: int, block: NDArray[np.uint8]) -> None:
        if self.reason or self.difference is not None:
            return
        file = self._file
        assert file is not None
        try:
            while file.mapped_bytes < position + len(block) and map_another(file):
                pass
        except RecoveryError as error:
            self.reason = str(error)
            return
        there = file.array(np.uint8)[position : min(position + len(block), file.mapped_bytes)]
        unequal = there != block[: len(there)]
        if len(there) == len(block) and not unequal.any():
            self.compared += int(count_rows(int(block.ctypes.data), len(block)))
        else:
            first = int(np.argmax(unequal)) if unequal.any() else len(there)
            self._differ(position, block, first)
        file.drop_below(position + len(there))

    def _differ(self, position: int, block: NDArray[np.uint8], first: int) -> None:
        """Note the report in which byte `first` of a block lies."""
        file = self._file
        assert file is not None
        start = int(block.ctypes.data)
        at = 0
        while at + (size := int(packed_bytes(start + at))) <= first:
            self.compared += 1
            at += size
        base_ns = self._replica.base_ns
        ours = unpack_block(block[at : at + size], self._shard, base_ns)[0]
        theirs, is_end = None, True
        place = position + at
        if place < file.mapped_bytes:
            # A copy, with room behind: what is there need not be a report.
            found = np.zeros(_SPARE_BYTES, np.uint8)
            raw = file.array(np.uint8)[place : min(place + 256, file.mapped_bytes)]
            found[: len(raw)] = raw
            # A page that never reached the disk begins anywhere in a row.
            is_end = not raw[first - at :].any()
            length = int(packed_bytes(int(found.ctypes.data)))
            if length and not is_end:
                theirs = unpack_block(found[:length], self._shard, base_ns)[0]
        path, offset = file.locate(place)
        self.difference = Difference(place, path, offset, ours, theirs, is_end)

    def close(self) -> None:
        """Give the report log's addresses back."""
        if self._file is not None:
            self._file.close()
            self._file = None

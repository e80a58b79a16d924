"""Where the reports of a replay go."""

from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from openoutcry.server.journal import SegmentedFile


class ReportSink:
    """Where a replay's reports go: nowhere. They are counted, and their bytes, too."""

    #: 1 where each piece of the log is wanted by Python.
    by_piece = 0
    #: Address of the report log, or 0; the first byte that may be written.
    address = 0
    from_byte = 0

    def limit(self) -> int:
        """Return the first byte of the report log that may not be touched."""
        return 0

    def make_room(self, end: int) -> None:
        """Have the report log mapped up to byte `end`."""

    def take(self, commands: NDArray[Any], reports: NDArray[Any]) -> None:
        """Take some commands that follow one another, and their reports."""


class LogSink(ReportSink):
    """Writes the reports where they belong in a shard's report log, from a byte on.

    Those that begin below `from_byte` are there already, and are not touched.
    """

    def __init__(self, file: SegmentedFile, from_byte: int = 0) -> None:
        self.file = file
        self.address = file.address
        self.from_byte = from_byte

    def limit(self) -> int:
        """Return the first byte of the report log that may not be touched."""
        return self.file.mapped_bytes

    def make_room(self, end: int) -> None:
        """Map segments up to byte `end`. Raises OutOfSpaceError where there is no room for one."""
        self.file.ensure(end)


class RowSink(ReportSink):
    """Gives Python the rows: `take(commands, reports)` for some commands at a time.

    COMMAND and REPORT rows, joined by their `seq`; they are views that the next piece overwrites.
    """

    by_piece = 1

    def __init__(self, take: Callable[[NDArray[Any], NDArray[Any]], None]) -> None:
        self._take = take

    def take(self, commands: NDArray[Any], reports: NDArray[Any]) -> None:
        """Take some commands that follow one another, and their reports."""
        self._take(commands, reports)

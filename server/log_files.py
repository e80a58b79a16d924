"""A shard's log files as a reader finds them."""

from pathlib import Path

from openoutcry.server.journal import SegmentedFile


class LogFile(SegmentedFile):
    """A series of segments that are there."""

    first_segment = 0

    def ensure_from(self, byte: int) -> None:
        """Map segments so that a byte can be read."""
        del byte
        if not self.mapped_bytes:
            self.map_next()

    def locate(self, position: int) -> tuple[Path, int]:
        """Return the segment and the byte in it where a position lies."""
        index, offset = divmod(position, self.segment_bytes)
        return self.segment_path(index), offset


def open_segments(folder: Path, name: str) -> LogFile | None:
    """Open a series for reading; None where there is no segment."""
    paths = sorted(folder.glob(f"{name}-*.seg"))
    if not paths:
        return None
    return LogFile(folder, name, paths[0].stat().st_size, writable=False)

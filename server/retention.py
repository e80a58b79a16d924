"""What becomes of segments that nobody needs any more: they are kept, archived or deleted.

A segment is needed while a recovery may read it (the oldest kept snapshot's positions say from
where) or a resend may (`VenueMemory.retain`). Files go oldest first, so that what stays is one run
without holes whenever the process dies. In the archive a file has its final name only once it is
whole and on the disk, and only then does it vanish here.
"""

import contextlib
import errno
import filecmp
import logging
import os
import shutil
import time
from pathlib import Path

from openoutcry.engine.state import GatewayWord, ProcessStatus, ShardWord
from openoutcry.server.config import Config
from openoutcry.server.durable import sync_folder
from openoutcry.server.memory import VenueMemory
from openoutcry.server.segments import segments_on_disk

log = logging.getLogger(__name__)

#: After a failure a series rests for so long: a full archive is not asked again at each look.
RETRY_S = 60.0
#: What `link` says where a file has to be copied: another file system, or one without hard links.
_NO_LINK = {errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS}


class ArchiveError(Exception):
    """A segment could not be archived; the text is for the operator."""


def needed_commands(memory: VenueMemory, shard: int) -> int:
    """Return the lowest byte of a shard's command log that a recovery may read."""
    return int(memory.shards[shard, ShardWord.OLDEST_LOG_BYTES])


def needed_reports(memory: VenueMemory, shard: int) -> int:
    """Return the lowest byte of a shard's report log that a recovery or a resend may read.

    A gateway that has not said what it needs, because it is new or down, may need everything.
    """
    if (memory.gateways[:, GatewayWord.STATUS] != ProcessStatus.RUNNING).any():
        return 0
    oldest = int(memory.shards[shard, ShardWord.OLDEST_REPORT_BYTES])
    return min(oldest, int(memory.retain[:, shard].min()))


class Retention:
    """Releases segments of a data directory as `retention` in the configuration says.

    Attributes:
        released: segments archived or deleted so far; failed: how often that was not possible.
    """

    def __init__(self, config: Config, data_dir: Path) -> None:
        self.folder = data_dir
        self.policy = config.retention.segments
        named = config.retention.archive_dir
        self.archive = None if named is None else Path(named) / config.venue.name
        self.released = 0
        self.failed = 0
        #: By series: the index below which nothing is left, and when to try again after a failure.
        self._done: dict[str, int] = {}
        self._retry_at: dict[str, float] = {}

    def release(self, series: str, segment_bytes: int, needed_from: int) -> int:
        """Release the segments of a series that end at or below byte `needed_from`.

        Returns how many were released. A failure is logged and counted, and leaves the rest of the
        series where it is for `RETRY_S`; nothing is raised.
        """
        stop = needed_from // segment_bytes
        if (
            self.policy == "keep"
            or stop <= self._done.get(series, 0)
            or time.monotonic() < self._retry_at.get(series, 0.0)
        ):
            return 0
        count = 0
        try:
            for index in segments_on_disk(self.folder, series):
                if index >= stop:
                    break
                path = self.folder / f"{series}-{index:08d}.seg"
                if self.policy == "archive":
                    self._archive(series, path)
                else:
                    path.unlink()
                count += 1
            self._done[series] = stop
        except (ArchiveError, OSError) as error:
            self.failed += 1
            self._retry_at[series] = time.monotonic() + RETRY_S
            log.error(
                "cannot %s segments, keeping them: series=%s reason=%s", self.policy, series, error
            )
        self.released += count
        if count:
            log.info("segments released: series=%s count=%d by=%s", series, count, self.policy)
        return count

    def _archive(self, series: str, path: Path) -> None:
        """Move a segment to the archive: `archive_dir/VENUE/shard-0/NAME`.

        Raises:
            ArchiveError: there is another file of that name; nothing changed.
        """
        if self.archive is None:
            raise ArchiveError("retention.archive_dir is not set")
        folder = self.archive / "-".join(series.split("-")[:2])
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / path.name
        if target.exists():
            # Of an earlier try that was cut short behind this point, or of another data directory.
            if not (target.samefile(path) or filecmp.cmp(path, target, shallow=False)):
                raise ArchiveError(
                    f"{target} is another file than {path}; move it away, or give each data "
                    "directory a retention.archive_dir of its own"
                )
        else:
            _move_in(path, target)
        sync_folder(folder)
        path.unlink()


def _move_in(path: Path, target: Path) -> None:
    """Give a file its name in the archive; the one that it has stays for now."""
    try:
        os.link(path, target)
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        _copy(path, target)


def _copy(path: Path, target: Path) -> None:
    """Copy a file so that its name is there only with all of its content on the disk."""
    temporary = target.with_suffix(".new")
    try:
        shutil.copyfile(path, temporary)
        shutil.copystat(path, temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.rename(target)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise

"""What a check of a data directory says, and the check of segments' header pages."""

import itertools
from collections.abc import Callable
from pathlib import Path

import msgspec

from openoutcry.server.segments import (
    SegmentError,
    SegmentHeader,
    kind_and_number,
    read_segment_header,
    segments_on_disk,
)

OK = "ok"
NOTE = "note"
DAMAGED = "damaged"

_LABELS = {OK: "ok     ", NOTE: "note   ", DAMAGED: "DAMAGED"}


class Finding(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line: which part, in which state, and why; the file and the byte where there is one."""

    part: str
    state: str
    text: str
    file: str | None = None
    offset: int | None = None

    def line(self) -> str:
        """Return it for people."""
        return f"{_LABELS[self.state]} {self.part}: {self.text}"


def check_segments(folder: Path, name: str, tell: Callable[[Finding], None]) -> bool:
    """Check the header pages of a series; return whether all of it can be read."""
    indexes = segments_on_disk(folder, name)
    if not indexes:
        if name.endswith("-commands"):
            tell(
                Finding(
                    name,
                    DAMAGED,
                    "there are no segments: restore them from a backup",
                    str(folder),
                )
            )
        return False
    headers: list[SegmentHeader] = []
    is_good = True
    for index in indexes:
        path = folder / f"{name}-{index:08d}.seg"
        try:
            header = read_segment_header(path)
        except (SegmentError, OSError) as error:
            tell(Finding(name, DAMAGED, str(error), str(path), 0))
            is_good = False
            continue
        wanted = (*kind_and_number(name), index)
        if (header.kind, header.number, header.segment) != wanted:
            text = (
                f"{path} says that it is segment {header.segment} of {header.kind} "
                f"{header.number}: restore the right file from a backup"
            )
            tell(Finding(name, DAMAGED, text, str(path), 0))
            is_good = False
        elif headers and _whose(header) != _whose(headers[0]):
            text = f"{path} is of another venue or size than the segments before it"
            tell(Finding(name, DAMAGED, f"{text}: restore the right file", str(path), 0))
            is_good = False
        headers.append(header)
    for before, index in itertools.pairwise(indexes):
        if index != before + 1:
            path = folder / f"{name}-{before + 1:08d}.seg"
            text = f"{path.name} is missing: restore it from the archive or a backup"
            tell(Finding(name, DAMAGED, text, str(path)))
            is_good = False
    if is_good:
        prints = sorted({header.fingerprint for header in headers if header.fingerprint})
        text = (
            f"segments {indexes[0]} to {indexes[-1]} of {headers[0].segment_bytes:,} bytes, "
            f"venue {headers[0].venue or '(none)'}"
        )
        if prints:
            text += f", configuration {', '.join(prints)}"
        tell(Finding(name, OK, text))
    return is_good


def _whose(header: SegmentHeader) -> tuple[str, int]:
    return header.venue, header.segment_bytes

"""The header page that each segment file begins with, and how segments are found in a folder."""

import errno
import hashlib
import os
import re
import struct
import zlib
from mmap import PAGESIZE
from pathlib import Path
from typing import NamedTuple, Self

import msgspec

from openoutcry.server.config import Config

#: Bytes in front of a segment's content. The content is mapped from there on, so it is a page.
HEADER_BYTES = max(4096, PAGESIZE)
FORMAT = 2
MAGIC = b"OOSEG\0\0\0"

#: Little-endian: magic, format, header's bytes, kind, venue, number, index, segment_bytes,
#: fingerprint, created_ns; then the CRC-32 of all that.
_LAYOUT = struct.Struct("<8sII16s64sQQQ16sq")
_CHECKSUM = struct.Struct("<Q")
_NAME = re.compile(r"(?:shard|gateway)-(\d+)-([a-z]+)")


class SegmentError(Exception):
    """A segment file cannot be used; the text is for the operator."""


class SegmentOwner(NamedTuple):
    """Who writes a series of segments, and how.

    Attributes:
        venue: the venue's name; "": not looked at (tools read what there is).
        fingerprint: of the configuration, see `config_fingerprint`; kept in new segments' headers.
        is_durable: whether a segment and its name are on the disk before it is used (`power`).
    """

    venue: str = ""
    fingerprint: str = ""
    is_durable: bool = False


def owner_of(config: Config) -> SegmentOwner:
    """Return the owner of a venue's segments."""
    return SegmentOwner(
        config.venue.name, config_fingerprint(config), config.log.durability == "power"
    )


def config_fingerprint(config: Config) -> str:
    """Return 16 hexadecimal digits that change with what a log depends on: symbols, shards, pools
    and firms."""
    parts = (config.symbols, len(config.shards), config.capacity, config.firms)
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:16]


class SegmentHeader(NamedTuple):
    """What a segment says of itself. `number` is the shard's or gateway's; times are UTC ns."""

    kind: str
    venue: str
    number: int
    segment: int
    segment_bytes: int
    fingerprint: str
    created_ns: int

    def encode(self) -> bytes:
        """Return the header page."""
        data = _LAYOUT.pack(
            MAGIC,
            FORMAT,
            HEADER_BYTES,
            self.kind.encode(),
            self.venue.encode(),
            self.number,
            self.segment,
            self.segment_bytes,
            self.fingerprint.encode(),
            self.created_ns,
        )
        return (data + _CHECKSUM.pack(zlib.crc32(data))).ljust(HEADER_BYTES, b"\0")

    @classmethod
    def decode(cls, page: bytes, path: Path) -> Self:
        """Read a header page; `path` is for the error's text.

        Raises:
            SegmentError: it is none, or damaged, or of another format.
        """
        if page[:4] == b"OOB1" or page[:8] == b"OOREPORT":
            raise SegmentError(
                f"{path} was written in format 1, which this version cannot continue: finish with "
                "the version that wrote it, then start on an empty --data-dir"
            )
        if len(page) < _LAYOUT.size + _CHECKSUM.size or page[: len(MAGIC)] != MAGIC:
            raise SegmentError(
                f"{path} has no segment header: it is damaged, or another file; restore it from a "
                "backup"
            )
        data = page[: _LAYOUT.size]
        _, version, header_bytes, kind, venue, number, index, size, fingerprint, created = (
            _LAYOUT.unpack(data)
        )
        if version != FORMAT:
            raise SegmentError(
                f"{path} was written in format {version}, and this version reads format {FORMAT}: "
                "use the version that wrote it"
            )
        if _CHECKSUM.unpack_from(page, _LAYOUT.size)[0] != zlib.crc32(data):
            raise SegmentError(
                f"the header of {path} is damaged (its checksum is wrong): restore the file from a "
                "backup"
            )
        if header_bytes != HEADER_BYTES:
            raise SegmentError(
                f"{path} has a header of {header_bytes} bytes, this system's pages need "
                f"{HEADER_BYTES}: read it on a system like the one that wrote it"
            )
        return cls(_text(kind), _text(venue), number, index, size, _text(fingerprint), created)


def _text(field: bytes) -> str:
    return field.rstrip(b"\0").decode("utf-8", "replace")


def read_segment_header(path: Path) -> SegmentHeader:
    """Read and check the header of one segment file.

    Raises:
        SegmentError: it cannot be used; FileNotFoundError: it is not there.
    """
    fd = os.open(path, os.O_RDONLY)
    try:
        return check_segment(fd, path)
    finally:
        os.close(fd)


def check_segment(fd: int, path: Path) -> SegmentHeader:
    """Read the header of an open segment file, and see that all of its content is there.

    Raises:
        SegmentError: it cannot be used.
    """
    header = SegmentHeader.decode(os.pread(fd, HEADER_BYTES, 0), path)
    if header.segment_bytes == 0 or header.segment_bytes % PAGESIZE:
        raise SegmentError(
            f"the header of {path} is damaged (segments of {header.segment_bytes} bytes): restore "
            "the file from a backup"
        )
    size = os.fstat(fd).st_size
    whole = HEADER_BYTES + header.segment_bytes
    if size != whole:
        # Touching a page behind a file's end kills the process. Ours never have another size.
        raise SegmentError(
            f"{path} has {size} bytes where a segment has {whole}: it was cut short outside of the "
            "venue; restore it from a backup"
        )
    return header


def kind_and_number(name: str) -> tuple[str, int]:
    """Return a series' kind and its shard's or gateway's number: "shard-3-commands" is
    ("commands", 3)."""
    match = _NAME.fullmatch(name)
    return (match[2], int(match[1])) if match else (name[:16], 0)


def segments_on_disk(folder: Path, name: str) -> list[int]:
    """Return which segments of a series exist, in order; [] for a folder that is not there."""
    pattern = re.compile(re.escape(name) + r"-(\d{8,})\.seg")
    try:
        names = os.listdir(folder)
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ENOTDIR}:
            return []
        raise
    return sorted(int(match[1]) for entry in names if (match := pattern.fullmatch(entry)))

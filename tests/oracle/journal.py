"""A reader of a venue's files in plain Python, written from docs/journal.md alone.

It is slow and simple, and knows nothing of the product's modules.
"""

import json
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

PAGE = 4096
WRAP = (1 << 64) - 1


class Segment(NamedTuple):
    """A segment's header page."""

    format: int
    kind: str
    venue: str
    number: int
    segment: int
    segment_bytes: int
    fingerprint: str
    created_ns: int


def read_segment(path: Path) -> Segment:
    """Read and check a header page; raise ValueError where it is none."""
    page = path.read_bytes()[:PAGE]
    if page[:8] != b"OOSEG\0\0\0":
        raise ValueError("no segment")
    if int.from_bytes(page[144:152], "little") != zlib.crc32(page[:144]):
        raise ValueError("checksum")
    form, size = struct.unpack_from("<II", page, 8)
    if size != PAGE:
        raise ValueError("page")
    kind, venue = (page[a:b].rstrip(b"\0").decode() for a, b in ((16, 32), (32, 96)))
    number, segment, segment_bytes = struct.unpack_from("<QQQ", page, 96)
    fingerprint = page[120:136].rstrip(b"\0").decode()
    (created_ns,) = struct.unpack_from("<q", page, 136)
    return Segment(form, kind, venue, number, segment, segment_bytes, fingerprint, created_ns)


def read_series(folder: Path, name: str) -> tuple[int, bytes]:
    """Return the position at which a series begins, and the content of all its segments."""
    paths = sorted(folder.glob(f"{name}-*.seg"))
    headers = [read_segment(path) for path in paths]
    first = headers[0].segment
    assert [header.segment for header in headers] == list(range(first, first + len(headers)))
    return first * headers[0].segment_bytes, b"".join(path.read_bytes()[PAGE:] for path in paths)


# --- the command log ---

_COMMAND = (
    *(("seq", 0, "q"), ("time_ns", 8, "q"), ("inbound_seq", 16, "q"), ("session", 24, "I")),
    *(("epoch", 28, "I"), ("account", 32, "I"), ("firm", 36, "I"), ("symbol", 40, "i")),
    *(("kind", 44, "B"), ("side", 45, "B"), ("ord_type", 46, "B"), ("tif", 47, "B")),
    *(("price_ticks", 48, "q"), ("qty_lots", 56, "q"), ("cl_ord_id", 64, "40s")),
    *(("flags", 104, "H"), ("reject_reason", 106, "H"), ("smp_group", 108, "I")),
    *(("orig_cl_ord_id", 112, "40s"), ("price2_ticks", 152, "q"), ("qty2_lots", 160, "q")),
    ("expire_ns", 168, "q"),
)
_REPORT = (
    *(("report_seq", 0, "q"), ("seq", 8, "q"), ("time_ns", 16, "q"), ("order_id", 24, "q")),
    *(("price_ticks", 32, "q"), ("qty_lots", 40, "q"), ("cum_qty", 48, "q")),
    *(("leaves_qty", 56, "q"), ("inbound_seq", 64, "q"), ("session", 72, "I")),
    *(("epoch", 76, "I"), ("account", 80, "I"), ("symbol", 84, "i"), ("cl_ord_id", 88, "40s")),
    *(("orig_cl_ord_id", 128, "40s"), ("last_px", 128, "q"), ("last_qty", 136, "q")),
    *(("trade_id", 144, "q"), ("contra_order_id", 152, "q"), ("notional_lo", 168, "Q")),
    *(("notional_hi", 176, "q"), ("kind", 184, "B"), ("status", 185, "B"), ("side", 186, "B")),
    *(("ord_type", 187, "B"), ("tif", 188, "B"), ("liquidity", 189, "B"), ("reason", 190, "H")),
)


def _fields(record: bytes, layout: Any) -> dict[str, Any]:
    found = {}
    for name, offset, kind in layout:
        (value,) = struct.unpack_from("<" + kind, record, offset)
        found[name] = value.rstrip(b"\0") if isinstance(value, bytes) else value
    return found


@dataclass
class Batch:
    """A batch of the command log; `position` is where it begins."""

    position: int
    size: int
    epoch: int
    time_ns: int
    synced: int
    rings: list[int]
    commands: list[dict[str, Any]]


def _mix(state: int, word: int) -> int:
    mixed = (state ^ word) * 0x2545F4914F6CDD1D & WRAP
    return mixed ^ (mixed >> 29)


def checksum(words: tuple[int, ...]) -> int:
    """Return the checksum of a batch's words (unsigned), its word 1 left out."""
    first, second = _mix(0x6F7574637279, words[0]), 0x6F70656E
    for n, word in enumerate(words[2:]):
        if n % 2 == 0:
            first = _mix(first, word)
        else:
            second = _mix(second, word)
    return _mix(first, second)


def read_batch(data: bytes, at: int, position: int) -> Batch | None:
    """Return the batch at byte `at`, None where no whole one begins there."""
    if at + 56 > len(data):
        return None
    (head,) = struct.unpack_from("<Q", data, at)
    size = head >> 32
    if head & 0xFFFFFFFF != 0x32424F4F or size % 8 or size < 56 or at + size > len(data):
        return None
    words = struct.unpack_from(f"<{size // 8}Q", data, at)
    if words[1] != checksum(words):
        return None
    signed = struct.unpack_from(f"<{size // 8}q", data, at)
    seq, counts, epoch, time_ns, synced = signed[2:7]
    count, rings = counts & 0xFFFFFFFF, counts >> 32 & 0xFFFFFFFF
    place = 7 + rings
    commands = []
    for n in range(count):
        mask = words[place]
        place += 1
        record = [0] * 24
        record[0], record[1] = seq + n, time_ns
        for w in range(2, 22):
            if mask >> w & 1:
                record[w] = words[place]
                place += 1
        commands.append(_fields(struct.pack("<24Q", *record), _COMMAND))
    assert place == len(words)
    return Batch(position, size, epoch, time_ns, synced, list(signed[7 : 7 + rings]), commands)


def read_batches(folder: Path, shard: int, start: int = 0) -> Iterator[Batch]:
    """Yield the batches of a command log from a position on, as long as each follows."""
    base, data = read_series(folder, f"shard-{shard}-commands")
    at, seq, epoch, time_ns = start - base, None, 0, 0
    while (batch := read_batch(data, at, base + at)) is not None:
        first = batch.commands[0]["seq"]
        if (seq is not None and first != seq + 1) or batch.epoch < epoch:
            return
        if batch.time_ns < time_ns:
            return
        seq, epoch, time_ns = batch.commands[-1]["seq"], batch.epoch, batch.time_ns
        at += batch.size
        yield batch


# --- the report log ---


def _unpack(data: bytes, at: int, words: int) -> tuple[list[int], int] | None:
    """Return a packed record's words (unsigned) and where it ends; None where it is none."""
    lengths_bytes = words // 2
    lengths = int.from_bytes(data[at : at + lengths_bytes], "little")
    sizes = [lengths >> 4 * w & 15 for w in range(words)]
    if max(sizes) > 8:
        return None
    at += lengths_bytes
    found = []
    for size in sizes:
        found.append(int.from_bytes(data[at : at + size], "little"))
        at += size
    return found, at


def read_reports(
    folder: Path, shard: int, start: int = 64, number: int = 1, base_ns: int | None = None
) -> Iterator[dict[str, Any]]:
    """Yield the reports of a report log from a position on, where report `number` begins."""
    base, data = read_series(folder, f"shard-{shard}-reports")
    if base_ns is None:
        magic, form, base_ns = struct.unpack_from("<8sqq", data)
        assert (magic, form) == (b"OOREPORT", 1)
    at = start - base
    while at + 12 <= len(data) and (found := _unpack(data, at, 24)) is not None:
        words, end = found
        words[2] = (words[2] + base_ns) & WRAP
        words[3] ^= shard << 48
        record = _fields(struct.pack("<24Q", *words), _REPORT)
        if record["report_seq"] != number:
            return
        yield {**record, "position": base + at}
        number += 1
        at = end


# --- snapshots ---


class Snapshot(NamedTuple):
    """A snapshot's header and content."""

    header: dict[str, Any]
    symbols: list[tuple[int, ...]]
    marks: list[tuple[int, ...]]
    orders: list[dict[str, Any]]
    finished: list[dict[str, Any]]


def read_snapshot(path: Path) -> Snapshot:
    """Read a snapshot; raise ValueError where it is damaged."""
    data = path.read_bytes()
    magic, form, size, crc, zero = struct.unpack_from("<8sIIII", data)
    if (magic, form, zero) != (b"OOSNAP\r\n", 1, 0):
        raise ValueError("no snapshot")
    text = data[24 : 24 + size]
    if zlib.crc32(text) != crc:
        raise ValueError("header")
    header = json.loads(text)
    at, parts = 24 + size, {}
    for name in ("symbols", "marks", "orders", "finished"):
        section = header["sections"][name]
        parts[name] = data[at : at + section["bytes"]]
        at += section["bytes"]
        if zlib.crc32(parts[name]) != section["crc"] or at > len(data):
            raise ValueError(name)
    if at != len(data):
        raise ValueError("end")
    return Snapshot(
        header,
        list(struct.iter_unpack("<qqqqii", parts["symbols"])),
        list(struct.iter_unpack("<qII", parts["marks"])),
        list(_orders(parts["orders"], header["shard"])),
        list(_orders(parts["finished"], header["shard"])),
    )


def _orders(data: bytes, shard: int) -> Iterator[dict[str, Any]]:
    at = 0
    while at < len(data):
        found = _unpack(data, at, 16)
        assert found is not None
        words, at = found
        signed = struct.unpack("<16q", struct.pack("<16Q", *words))
        yield {
            "cl_ord_id": struct.pack("<5Q", *words[:5]).rstrip(b"\0"),
            "session": words[5] & 0xFFFFFFFF,
            "symbol": words[5] >> 32,
            "leaves_qty": signed[6],
            "order_id": words[7] ^ shard << 48,
            "qty_lots": signed[8],
            "cum_qty": signed[9],
            "price_ticks": signed[10],
            "notional": words[11] | signed[12] << 64,
            "epoch": words[13] & 0xFFFFFFFF,
            "account": words[13] >> 32,
            "firm": words[14] & 0xFFFFFFFF,
            **dict(
                zip(
                    ("side", "ord_type", "tif", "status"),
                    (words[14] >> 32).to_bytes(4, "little"),
                    strict=True,
                )
            ),
            "expire_ns": signed[15],
        }


# --- gateways ---


class Sent(NamedTuple):
    """An entry of a session's index."""

    session: int
    epoch: int
    number: int
    time_ms: int
    source: int


def read_index(folder: Path, gateway: int) -> list[Sent]:
    """Return all entries, in the order of the blocks."""
    _, data = read_series(folder, f"gateway-{gateway}-index")
    found = []
    for start in range(0, len(data), PAGE):
        words = struct.unpack_from("<512q", data, start)
        session, epoch, number, _, entries = words[:5]
        if session <= 0:
            continue
        for n in range(entries):
            time_ms, source = words[8 + 2 * n : 10 + 2 * n]
            found.append(Sent(session, epoch, number + n, time_ms, source))
    return found


def read_stored(data: bytes, at: int) -> tuple[int, int, bytes] | None:
    """Return session, number answered and data of the stored message at byte `at`."""
    if at + 24 > len(data) or not any(data[at : at + 24]):
        return None
    length, crc, session, answers = struct.unpack_from("<IIQq", data, at)
    end = at + 24 + length
    if end > len(data) or zlib.crc32(data[at + 8 : end]) != crc:
        return None
    return session, answers, data[at + 24 : end]


class Slot(NamedTuple):
    """The newest whole slot of a checkpoint."""

    number: int
    next_block: int
    stored_end: int
    time_ms: int
    presence: tuple[int, ...]
    shards: list[tuple[int, ...]]
    sessions: list[tuple[int, ...]]


def read_checkpoint(path: Path) -> Slot | None:
    """Return the newest whole slot, None without."""
    data = path.read_bytes()
    magic, form, sessions, shards, first, size = struct.unpack_from("<8s5q", data)
    assert (magic, form) == (b"OOCHKPT\0", 1)
    presence = struct.unpack_from(f"<{sessions}q", data, PAGE)
    found = []
    for start in (first, first + size):
        crc, number, block, stored, time_ms, rows, *_ = struct.unpack_from("<8q", data, start)
        end = start + 64 + 32 * shards + 64 * rows
        if number < 1 or not 0 <= rows <= sessions or zlib.crc32(data[start + 8 : end]) != crc:
            continue
        places = list(struct.iter_unpack("<4q", data[start + 64 : start + 64 + 32 * shards]))
        lines = list(struct.iter_unpack("<8q", data[start + 64 + 32 * shards : end]))
        found.append(Slot(number, block, stored, time_ms, presence, places, lines))
    return max(found, default=None)


def read_directory(path: Path) -> list[dict[str, Any]]:
    """Return the records; raise ValueError where a line before the last is damaged."""
    *lines, rest = path.read_bytes().split(b"\n")
    del rest
    found: list[dict[str, Any]] = []
    for line in lines:
        if int(line[:8], 16) != zlib.crc32(line[9:]):
            raise ValueError("line")
        found += json.loads(line[9:])
    return found

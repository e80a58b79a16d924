"""Sending again: entries of the session index → messages, by way of the shards' report logs.

A kernel takes entries one after another, reads each report out of its log's files (old segments are
not mapped any more), and encodes it; what it cannot do itself it leaves to Python: messages that
the gateway made, entries of administrative messages, and opening the next segment's file.
"""

import contextlib
import ctypes
import os
from typing import Any, NamedTuple

import numpy as np
from numba import types
from numpy.typing import NDArray

from openoutcry.config.jit import IS_COMPILED, int64, lean_kernel, lean_part
from openoutcry.engine.log import as_words
from openoutcry.engine.pack import MAX_PACKED_BYTES, unpack_report
from openoutcry.engine.records import REPORT, SHARD_SHIFT
from openoutcry.engine.state import ShardWord
from openoutcry.protocol.binary.encode import encode_execution_report as encode_binary
from openoutcry.protocol.binary.layouts import MAX_REPORT_FRAME, SPARE_BYTES
from openoutcry.protocol.binary.layouts import REPORT_VALUES as BINARY_REPORT_VALUES
from openoutcry.protocol.binary.words import address_of
from openoutcry.protocol.fix.encode import MAX_REPORT_BYTES
from openoutcry.protocol.fix.encode import REPORT_VALUES as FIX_REPORT_VALUES
from openoutcry.protocol.fix.encode_frame import time_cache
from openoutcry.server.journal import SegmentedFile
from openoutcry.server.log_reader import packed_bytes
from openoutcry.server.reports import encode_fix, fill_binary, fill_fix, is_report
from openoutcry.server.segments import HEADER_BYTES
from openoutcry.server.sessions import BLOCK_HEADER_WORDS, PROTOCOL_FIX
from openoutcry.server.translate import Routes

#: Return codes of `encode_again`.
AGAIN_DONE = 0
AGAIN_FULL = 1  # the buffer is
AGAIN_PYTHON = 2  # the entry is no report of a shard
AGAIN_FILE = 3  # the entry's report has to be read by Python
AGAIN_DAMAGED = 4  # no report begins where the entry says

#: Bytes of a report log read at a time: a client's own reports may lie far apart.
_CHUNK_BYTES = 4096
_OUT_BYTES = 256 << 10
_POSITION_MASK = (1 << SHARD_SHIFT) - 1
_ROOM = max(MAX_REPORT_BYTES, MAX_REPORT_FRAME + SPARE_BYTES)

if IS_COMPILED:
    _pread = types.ExternalFunction(
        "pread", types.int64(types.int32, types.int64, types.uint64, types.int64)
    )
else:

    def _pread(fd: int, address: int, size: int, offset: int) -> int:
        data = os.pread(int(fd), int(size), int(offset))
        ctypes.memmove(int(address), data, len(data))
        return len(data)


class Chunks(NamedTuple):
    """Parts of the shards' report logs, one a shard, and from where the next ones are read.

    fds, segments: the open segment file and its index, or -1; starts, stops: the positions that
    `data` (shards, bytes) holds; written: how far each log is; bases: its base time in ns;
    segment_bytes: the size of its segments.
    """

    fds: NDArray[np.int64]
    segments: NDArray[np.int64]
    starts: NDArray[np.int64]
    stops: NDArray[np.int64]
    written: NDArray[np.int64]
    bases: NDArray[np.int64]
    data: NDArray[np.uint8]
    segment_bytes: NDArray[np.int64]


@lean_part
def _find(chunks: Chunks, shard: int, position: int) -> int:
    """Return the address of the packed row at a position, 0 where Python has to read it."""
    data = address_of(chunks.data) + shard * chunks.data.shape[1]
    written = chunks.written[shard]
    need = min(position + MAX_PACKED_BYTES, written)
    if position < chunks.starts[shard] or need > chunks.stops[shard]:
        segment_bytes = chunks.segment_bytes[shard]
        segment = position // segment_bytes
        offset = position - segment * segment_bytes
        size = min(_CHUNK_BYTES, written - position, segment_bytes - offset)
        if segment != chunks.segments[shard] or position + size < need:
            return 0
        # Whatever comes of it, the old bytes are gone.
        chunks.stops[shard] = 0
        if _pread(chunks.fds[shard], data, size, HEADER_BYTES + offset) != size:
            return 0
        chunks.starts[shard] = position
        chunks.stops[shard] = position + size
    return data + position - chunks.starts[shard]


@lean_kernel
def encode_again(
    block: NDArray[np.int64],
    entry: int,
    stop: int,
    number: int,
    session: int,
    repeat_below: int,
    now_ms: int,
    chunks: Chunks,
    reports: NDArray[Any],
    words: NDArray[np.int64],
    routes: Routes,
    session_texts: NDArray[Any],
    reason_texts: NDArray[np.uint8],
    reason_lengths: NDArray[np.int64],
    times: NDArray[np.int64],
    fix_values: NDArray[Any],
    binary_values: NDArray[Any],
    out: NDArray[np.uint8],
    used: int,
) -> tuple[int, int, int]:
    """Encode the messages of the entries entry … stop - 1 of an index block behind `used` bytes.

    `number` is the first one's; `reports` is one REPORT row to unpack into (`words`: the same).
    FIX messages go out again at now_ms, or as at first where that is 0; those of the binary
    protocol are marked as repeated below the number `repeat_below`.

    Returns (AGAIN_…, the next entry, bytes used).
    """
    is_fix = routes.sessions[session]["protocol"] == PROTOCOL_FIX
    version = session_texts[session]["version"]
    while entry < stop:
        source = block[BLOCK_HEADER_WORDS + 2 * entry + 1]
        if source <= 0:
            return AGAIN_PYTHON, entry, used
        if used + _ROOM > len(out):
            return AGAIN_FULL, entry, used
        shard = source >> SHARD_SHIFT
        address = _find(chunks, shard, source & _POSITION_MASK)
        if address == 0:
            return AGAIN_FILE, entry, used
        if packed_bytes(address) == 0:
            return AGAIN_DAMAGED, entry, used
        unpack_report(words, 0, chunks.bases[shard], int64(shard) << SHARD_SHIFT, address)
        if not is_report(reports, routes):
            return AGAIN_DAMAGED, entry, used
        if is_fix:
            time_ms = block[BLOCK_HEADER_WORDS + 2 * entry]
            fill_fix(fix_values, reports, 0, routes, shard, session, version)
            fix_values[0]["seq_num"] = number
            fix_values[0]["sending_time_ms"] = now_ms if now_ms != 0 else time_ms
            fix_values[0]["orig_sending_time_ms"] = time_ms
            fix_values[0]["poss_dup"] = 1 if now_ms != 0 else 0
            used = encode_fix(
                out,
                used,
                reports,
                0,
                session,
                session_texts,
                reason_texts,
                reason_lengths,
                times,
                fix_values,
            )
        else:
            fill_binary(binary_values, reports, 0, routes, shard)
            binary_values[0]["seq"] = number
            binary_values[0]["repeated"] = 1 if number < repeat_below else 0
            used = encode_binary(out, used, binary_values, 0)
        entry += 1
        number += 1
    return AGAIN_DONE, entry, used


class Resender:
    """Encodes what a gateway's sessions were sent by the shards once more.

    Args:
        logs: the shards' report logs.
        shards: the shards' state words, (shards, SHARD_WORDS).
        routes: what the gateway's kernels share.
        session_texts: SESSION_TEXT rows, by session.
        texts: the table of texts by reason, (rows, lengths).
    """

    def __init__(
        self,
        logs: list[SegmentedFile],
        shards: NDArray[np.int64],
        routes: Routes,
        session_texts: NDArray[Any],
        texts: tuple[NDArray[np.uint8], NDArray[np.int64]],
    ) -> None:
        count = len(logs)
        self._logs = logs
        self._shards = shards
        self._chunks = Chunks(
            fds=np.full(count, -1, np.int64),
            segments=np.full(count, -1, np.int64),
            starts=np.zeros(count, np.int64),
            stops=np.zeros(count, np.int64),
            written=np.zeros(count, np.int64),
            bases=np.zeros(count, np.int64),
            data=np.zeros((count, _CHUNK_BYTES + MAX_PACKED_BYTES), np.uint8),
            segment_bytes=np.array([log.segment_bytes for log in logs], np.int64),
        )
        self._routes = routes
        self._session_texts = session_texts
        self._texts, self._lengths = texts
        self._report = np.zeros(1, REPORT)
        self._words = as_words(self._report)
        self._times = time_cache()
        self._fix_values = np.zeros(1, FIX_REPORT_VALUES)
        self._binary_values = np.zeros(1, BINARY_REPORT_VALUES)
        self._out = np.zeros(_OUT_BYTES, np.uint8)

    def encode(
        self,
        session: int,
        block: NDArray[np.int64],
        entry: int,
        stop: int,
        *,
        number: int,
        now_ms: int = 0,
        repeat_below: int = 0,
    ) -> tuple[int, bytes]:
        """Return (the next entry, messages) of entries of an index block.

        The messages end before the first entry that is no shard's report, or is damaged, or when
        the buffer is full; see `encode_again`.

        Raises:
            OSError: a report log could not be read.
        """
        chunks = self._chunks
        chunks.written[:] = self._shards[:, ShardWord.RELEASED_POSITION]
        chunks.bases[:] = self._shards[:, ShardWord.BASE_NS]
        used = 0
        first = entry
        while True:
            code, entry, used = encode_again(
                block,
                entry,
                stop,
                number + entry - first,
                session,
                repeat_below,
                now_ms,
                chunks,
                self._report,
                self._words,
                self._routes,
                self._session_texts,
                self._texts,
                self._lengths,
                self._times,
                self._fix_values,
                self._binary_values,
                self._out,
                used,
            )
            if code != AGAIN_FILE:
                return int(entry), self._out[:used].tobytes()
            source = int(block[BLOCK_HEADER_WORDS + 2 * entry + 1])
            self._load(source >> SHARD_SHIFT, source & _POSITION_MASK)

    def _load(self, shard: int, position: int) -> None:
        """Read one report, and open its segment's file for those that follow."""
        chunks, log = self._chunks, self._logs[shard]
        segment = position // log.segment_bytes
        if segment != chunks.segments[shard]:
            self._close(shard)
            chunks.fds[shard] = os.open(log.segment_path(segment), os.O_RDONLY)
            chunks.segments[shard] = segment
        stop = min(position + MAX_PACKED_BYTES, int(chunks.written[shard]))
        data = log.read(position, stop)
        if len(data) != stop - position:
            raise OSError(f"{log.name} ends at {position + len(data)}, not {stop}")
        chunks.data[shard, : len(data)] = np.frombuffer(data, np.uint8)
        chunks.starts[shard] = position
        chunks.stops[shard] = stop

    def _close(self, shard: int) -> None:
        fd = int(self._chunks.fds[shard])
        self._chunks.fds[shard] = self._chunks.segments[shard] = -1
        if fd >= 0:
            with contextlib.suppress(OSError):
                os.close(fd)

    def close(self) -> None:
        """Close the files."""
        for shard in range(len(self._logs)):
            self._close(shard)

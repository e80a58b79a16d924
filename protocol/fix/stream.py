"""Cut a stream of bytes into FIX frames, in plain Python: for clients and tests.

The venue's own framing is a kernel (framing.py); both follow the same rules. A frame is
`8=FIX…|9=n|`, n bytes that begin with `35=`, and `10=ddd|` with the right sum. What is garbled is
dropped: reading goes on behind the `10=` field that follows the claimed length, else at the next
`8=FIX`.
"""

import re
from collections.abc import Iterator

_HEAD = re.compile(rb"8=FIX[^\x01]{1,13}\x019=(\d{1,9})\x01")
# What may still become a head when more bytes come.
_PART_OF_HEAD = re.compile(rb"8(=(F(I(X([^\x01]{1,13}(\x01(9(=(\d{1,9})?)?)?)?)?)?)?)?)?")
_TRAILER = re.compile(rb"\x0110=\d{3}\x01")
_ODD_TRAILER = re.compile(rb"\x0110=[^\x01]*\x01")
_TRAILER_BYTES = 7


class FrameReader:
    """Collect bytes, and give out whole frames."""

    def __init__(self, max_frame_bytes: int = 65_536) -> None:
        self.max_frame_bytes = max_frame_bytes
        #: Stretches of bytes that were dropped as garbled.
        self.garbled = 0
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes | None]:
        """Yield every frame that is whole now, and None for each garbled stretch."""
        self._buffer += data
        while self._buffer:
            frame = self._next()
            if frame == b"":
                return
            if frame is None:
                self.garbled += 1
            yield frame

    def _next(self) -> bytes | None:
        """Return the next frame, None for a garbled stretch that was dropped, b"" to wait."""
        buffer = self._buffer
        head = _HEAD.match(buffer)
        if head is None:
            if _PART_OF_HEAD.fullmatch(buffer):
                return b""
            self._drop(0)
            return None
        end = head.end() + int(head[1]) + _TRAILER_BYTES
        if end > self.max_frame_bytes:
            self._drop(0)
            return None
        if not b"35=".startswith(bytes(buffer[head.end() : head.end() + 3])):
            self._drop(0)
            return None
        body_end = end - _TRAILER_BYTES
        if len(buffer) < body_end:
            return b""
        if not _TRAILER.match(buffer, body_end - 1):
            odd = _ODD_TRAILER.search(buffer, body_end - 1, self.max_frame_bytes)
            if odd is None and len(buffer) < self.max_frame_bytes:
                return b""
            self._drop(0 if odd is None else odd.end())
            return None
        if sum(buffer[:body_end]) & 0xFF != int(buffer[body_end + 3 : end - 1]):
            self._drop(end)
            return None
        frame = bytes(buffer[:end])
        del buffer[:end]
        return frame

    def _drop(self, end: int) -> None:
        """Drop bytes up to `end`, or where that is 0 up to the next beginning of a frame."""
        if end == 0:
            end = self._buffer.find(b"8=FIX", 1)
            if end < 0:
                # The tail may be the beginning of a beginning.
                keep = next((n for n in (4, 3, 2, 1) if self._buffer.endswith(b"8=FIX"[:n])), 0)
                end = len(self._buffer) - keep if keep < len(self._buffer) else 1
        del self._buffer[:end]

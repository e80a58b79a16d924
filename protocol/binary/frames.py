"""Framing: each message is a 4-byte big-endian length of the payload, and the payload."""

from collections.abc import Iterator

from openoutcry.protocol.binary.enums import MAX_PAYLOAD_BYTES
from openoutcry.protocol.binary.messages import ClientMessage, ServerMessage, encode_payload

#: Bytes of the length prefix.
HEADER_BYTES = 4


class FrameTooLong(ValueError):
    """The length prefix claims more than the cap; nothing after it can be read."""


def encode_frame(message: ClientMessage | ServerMessage) -> bytes:
    """Encode a message with its length prefix."""
    payload = encode_payload(message)
    return len(payload).to_bytes(HEADER_BYTES, "big") + payload


class FrameReader:
    """Cut a byte stream into payloads."""

    def __init__(self, max_payload: int = MAX_PAYLOAD_BYTES) -> None:
        self._buffer = bytearray()
        self._max_payload = max_payload

    def receive_data(self, data: bytes | bytearray | memoryview) -> None:
        """Add bytes as they came from the connection."""
        self._buffer += data

    def payloads(self) -> Iterator[bytes]:
        """Yield each complete payload, and keep the rest for the next call.

        Raises:
            FrameTooLong: a length prefix is above the cap.
        """
        while len(self._buffer) >= HEADER_BYTES:
            length = int.from_bytes(self._buffer[:HEADER_BYTES], "big")
            if length > self._max_payload:
                raise FrameTooLong(f"frame of {length} bytes: at most {self._max_payload} allowed")
            end = HEADER_BYTES + length
            if len(self._buffer) < end:
                return
            payload = bytes(self._buffer[HEADER_BYTES:end])
            del self._buffer[:end]
            yield payload

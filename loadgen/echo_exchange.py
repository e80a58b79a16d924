"""What the client loop says to an echo: numbered messages of one size, a batch a send."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from openoutcry.config.jit import lean_kernel
from openoutcry.loadgen.histogram import new_histogram, record
from openoutcry.loadgen.layouts import CONNECTION
from openoutcry.protocol.binary.layouts import SPARE_BYTES
from openoutcry.protocol.binary.words import address_of, load_word, store_word

_RECEIVE_BYTES = 1 << 18


@lean_kernel
def echo_turn(
    connections: NDArray[Any],
    received: NDArray[Any],
    to_send: NDArray[Any],
    sent_ns: NDArray[Any],
    histogram: NDArray[Any],
    totals: NDArray[Any],
    c: int,
    came: int,
    now: int,
) -> int:
    """Check all messages that came back, then write the batches that the window has room for.

    totals: bytes a message, messages a batch, window, messages back, mismatches, budget.
    """
    row = connections[c]
    size = totals[0]
    batch = totals[1]
    window = totals[2]
    row["in_end"] += came
    buffer = address_of(received) + c * received.shape[1]
    mask = sent_ns.shape[1] - 1
    while row["in_end"] - row["in_start"] >= size:
        number = row["next_in"]
        word = load_word(buffer + row["in_start"])
        if word != np.uint64(number):
            totals[4] += 1
        record(histogram, now - sent_ns[c, number & mask])
        row["next_in"] = number + 1
        row["in_start"] += size
        totals[3] += 1
    left = row["in_end"] - row["in_start"]
    if left == 0 or row["in_start"] > received.shape[1] // 2:
        for i in range(left):
            received[c, i] = received[c, row["in_start"] + i]
        row["in_start"] = 0
        row["in_end"] = left
    if row["out_start"] != row["out_end"]:
        return 0
    row["out_start"] = 0
    row["out_end"] = 0
    out = address_of(to_send) + c * to_send.shape[1]
    while row["next_out"] - row["next_in"] <= window - batch and totals[5] >= batch:
        for _ in range(batch):
            store_word(out + row["out_end"], np.uint64(row["next_out"]))
            sent_ns[c, row["next_out"] & mask] = now
            row["next_out"] += 1
            row["out_end"] += size
        totals[5] -= batch
    return 0


class EchoExchange:
    """Messages of `size` bytes on each connection, `batch` of them a send, `window` in flight."""

    def __init__(self, connections: int, size: int, batch: int, window: int) -> None:
        if size < 8 or not 1 <= batch <= window:
            raise ValueError("a message has at least 8 bytes, a batch at most the window")
        self.connections = np.zeros(connections, CONNECTION)
        self.received = np.zeros((connections, _RECEIVE_BYTES + SPARE_BYTES), np.uint8)
        self.to_send = np.zeros((connections, window * size + SPARE_BYTES), np.uint8)
        self.received[:] = 0  # maps its pages
        self.to_send[:] = 32
        self.send_bytes = batch * size
        self.histogram = new_histogram()
        self._sent_ns = np.zeros((connections, 1 << window.bit_length()), np.int64)
        self._totals = np.array([size, batch, window, 0, 0, 0], np.int64)

    @property
    def returned(self) -> int:
        """Messages that came back."""
        return int(self._totals[3])

    @property
    def mismatches(self) -> int:
        """Messages that were not the ones awaited."""
        return int(self._totals[4])

    def allow(self, messages: int) -> None:
        """Allow so many more messages to be sent, and no others."""
        self._totals[5] = messages

    def start_measuring(self) -> None:
        """Forget what was counted so far."""
        self.histogram[:] = 0
        self._totals[3] = 0

    def turn(self, c: int, received: int, now: int) -> int:
        """Take what came back, and write the batches that the window has room for."""
        status: int = echo_turn(
            self.connections,
            self.received,
            self.to_send,
            self._sent_ns,
            self.histogram,
            self._totals,
            c,
            received,
            now,
        )
        return status

    def receive(self, c: int, received: int, now: int) -> int:
        """Not used: an echo is driven in a closed loop."""
        raise NotImplementedError

    def fill(self, c: int, limit: int, start_ns: int, first: int, burst: int, step_ns: int) -> int:
        """Not used: an echo is driven in a closed loop."""
        raise NotImplementedError

    def session_frame(self, c: int, frame: bytes) -> bytes:
        """Not used: an echo has no sessions."""
        raise NotImplementedError

    def heartbeat(self, c: int) -> bytes:
        """Say nothing."""
        return b""

    def awaits_reply(self) -> bool:
        """Tell whether a message is under way."""
        return bool((self.connections["next_out"] != self.connections["next_in"]).any())

"""Under `durability: power`: nothing leaves on a socket before what the gateway noted of it is on
the disk.

All that is written passes here, in order. While a thread syncs the session index and the stored
messages, more gathers behind it: the next sync is for all of that, so that its time is shared by
many writes and the event loop goes on receiving meanwhile. Checkpoints take the same way: one is
written when what it builds upon is on the disk.
"""

import logging
import os
import threading
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from openoutcry.server.process import move_to, take_short_slices

if TYPE_CHECKING:
    from openoutcry.server.connection import Connection

log = logging.getLogger(__name__)


class Gate:
    """Holds bytes back until all that was noted before them is on the disk.

    Args:
        sync: brings the index and the stored messages to the disk; OSError is final.
        write_checkpoint: writes a checkpoint's image and brings it to the disk; likewise.
        call_soon: has the event loop call something; from another thread.
        fail: ends the process, after a sync that failed.
        cores: what the thread runs on: the event loop's own is busy when there is much to sync.
    """

    def __init__(
        self,
        sync: Callable[[], None],
        write_checkpoint: Callable[[bytes], None],
        call_soon: Callable[[Callable[[], None]], object],
        fail: Callable[[], None] = lambda: os._exit(1),
        cores: Collection[int] = (),
    ) -> None:
        self._cores = cores
        self._sync = sync
        self._write_checkpoint = write_checkpoint
        self._call_soon = call_soon
        self._fail = fail
        self._lock = threading.Condition()
        #: What waits for the next sync, and what the latest one was for; None closes a connection.
        self._waiting: list[tuple[Connection, bytes | None]] = []
        self._checkpoint: bytes | None = None
        self._synced: list[tuple[Connection, bytes | None]] = []
        self._is_stopping = False
        self._has_failed = False
        #: How often the files were brought to the disk.
        self.syncs = 0
        self._thread = threading.Thread(target=self._run, name="gate", daemon=True)
        self._thread.start()

    # --- the event loop's side --------------------------------------------------------------------

    def put(self, connection: "Connection", data: bytes) -> None:
        """Have bytes written to a connection's socket, behind all that was put before."""
        self._add(connection, data)

    def close(self, connection: "Connection") -> None:
        """Have a connection closed, behind what was put before."""
        self._add(connection, None)

    def _add(self, connection: "Connection", data: bytes | None) -> None:
        with self._lock:
            self._waiting.append((connection, data))
            self._lock.notify()

    def put_checkpoint(self, image: bytes) -> None:
        """Have a checkpoint written once what was noted before is on the disk."""
        with self._lock:
            self._checkpoint = image
            self._lock.notify()

    def stop(self) -> None:
        """Let out what waits, with a last sync, and end the thread."""
        with self._lock:
            self._is_stopping = True
            self._lock.notify()
        self._thread.join()
        self._let_out()

    def _let_out(self) -> None:
        """Write what the latest syncs were for."""
        with self._lock:
            synced, self._synced = self._synced, []
        by_connection: dict[Connection, list[bytes | None]] = {}
        for connection, part in synced:
            by_connection.setdefault(connection, []).append(part)
        for connection, parts in by_connection.items():
            data = b"".join(part for part in parts if part is not None)
            if data:
                connection.write_now(data)
            if None in parts:
                connection.close_now()

    # --- the thread -------------------------------------------------------------------------------

    def _run(self) -> None:
        move_to(self._cores)
        take_short_slices()
        while True:
            with self._lock:
                while not self._waiting and self._checkpoint is None and not self._is_stopping:
                    self._lock.wait()
                if not self._waiting and self._checkpoint is None:
                    return
                batch, self._waiting = self._waiting, []
                checkpoint, self._checkpoint = self._checkpoint, None
            try:
                self._sync()
                if checkpoint is not None:
                    self._write_checkpoint(checkpoint)
            except OSError as error:
                # What the disk holds is not known any more: nothing of it may leave.
                log.critical("the session files cannot be synced: the gateway stops: %s", error)
                self._has_failed = True
                self._fail()
                return
            self.syncs += 1
            if batch:
                with self._lock:
                    self._synced += batch
                self._call_soon(self._let_out)

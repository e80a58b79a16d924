"""The gateway process: a uvloop event loop around the kernels of the order path."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import time
from collections import deque
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np
import uvloop

from openoutcry.engine.faults import FaultPoint, reach_in_python
from openoutcry.engine.latency import GatewayCounter, Protocol, Role, open_metrics
from openoutcry.engine.log import as_words
from openoutcry.engine.pack import MAX_PACKED_BYTES
from openoutcry.engine.records import REPORT
from openoutcry.engine.ring import HEAD_WORD, TAIL_WORD
from openoutcry.engine.state import SHARD_WORDS, GatewayWord, ProcessStatus, ShardWord
from openoutcry.protocol.binary.layouts import ORDER_FIELDS as BINARY_ORDER_FIELDS
from openoutcry.protocol.binary.layouts import REPORT_VALUES as BINARY_REPORT_VALUES
from openoutcry.protocol.fix.encode import REPORT_VALUES as FIX_REPORT_VALUES
from openoutcry.protocol.fix.encode_frame import (
    SESSION_TEXT,
    session_text,
    text_table,
    time_cache,
)
from openoutcry.protocol.fix.layouts import ORDER_FIELDS as FIX_ORDER_FIELDS
from openoutcry.protocol.fix.slots import decode_tables
from openoutcry.protocol.fix.stamps import format_utc_ms
from openoutcry.protocol.fix.versions import Version
from openoutcry.server.binary_gateway import BinarySessions
from openoutcry.server.checkpoint import CheckpointFile, capture
from openoutcry.server.config import Config
from openoutcry.server.connection import BinaryConnection, Connection, FixConnection
from openoutcry.server.credentials import CredentialFile, Locks
from openoutcry.server.departures import Departures
from openoutcry.server.directory import Directory, DirectoryError
from openoutcry.server.drop_copies import count_copies, set_up_copies
from openoutcry.server.fix_gateway import FixSessions
from openoutcry.server.fix_logon import Credentials
from openoutcry.server.gate import Gate
from openoutcry.server.gateway_recovery import GatewayRecovery, Stopped, await_shards
from openoutcry.server.handoff import Neighbours
from openoutcry.server.inbound_binary import receive_binary
from openoutcry.server.inbound_fix import COMP_ID, receive_fix
from openoutcry.server.journal import SegmentedFile, SegmentError, owner_of
from openoutcry.server.log_end import RecoveryError
from openoutcry.server.memory import VenueMemory
from openoutcry.server.message_log import MessageLogs
from openoutcry.server.orders import Orders
from openoutcry.server.outbound import (
    OUTBOUND_DIRECTORY,
    OUTBOUND_DONE,
    OUTBOUND_INDEX,
    OUTBOUND_PYTHON,
    await_release,
    count_latency,
    encode_reports,
    fall_asleep,
    released_report,
)
from openoutcry.server.process import (
    available_cores,
    die_with_parent,
    is_orphan,
    keep_off,
    pin,
    process_name,
    shard_cores,
)
from openoutcry.server.profiles import Profiles
from openoutcry.server.registry import SessionRegistry
from openoutcry.server.resend import Resender
from openoutcry.server.resolve import account_firms, register
from openoutcry.server.retainer import Retainer
from openoutcry.server.sessions import BLOCK_LIMIT, HOME_NONE, HOME_UNKNOWN, SessionIndex
from openoutcry.server.sockets import watch_peers
from openoutcry.server.tables import (
    COPIES_UNKNOWN,
    AccountTable,
    CopyTable,
    SymbolTable,
    name_words,
)
from openoutcry.server.translate import REASON_TEXTS, Routes

log = logging.getLogger(__name__)

#: Bytes of encoded reports a connection before they are written.
_OUT_BYTES = 128 << 10
#: Reports encoded before the first of them is written.
_REPORTS_AT_ONCE = 2048
_POLL_S = 0.1
#: Time between two checkpoints: what came since is read again by a recovery.
_CHECKPOINT_NS = 1_000_000_000
#: Connections whose timers are looked at before others get their turn.
_POLL_SLICE = 32
#: How long a client may take to answer the Logout of a venue that stops.
_LOGOUT_S = 2.0
_BACKLOG = 1024


class Gateway:
    """All that a gateway process holds."""

    def __init__(
        self, config: Config, memory: VenueMemory, data_dir: Path, number: int = 0
    ) -> None:
        self.config = config
        self.memory = memory
        self.number = number
        self.loop: asyncio.AbstractEventLoop
        self.metrics = open_metrics(memory.path.parent, Role.GATEWAY, number)
        self.directory = Directory(data_dir, is_durable=config.log.durability == "power")
        register(config, self.directory)
        self.symbols = SymbolTable(config)
        self.accounts = AccountTable(
            config.capacity.accounts,
            is_open=config.dynamic_sessions,
            directory=self.directory,
            firms=account_firms(config, self.directory.content),
        )
        self.copies = CopyTable(max(config.capacity.sessions, count_copies(config)))
        #: Our words in shared memory, and the address of those for fault points.
        self.words = memory.gateways[number]
        self.faults = int(self.words.ctypes.data) + GatewayWord.FAULTS * 8
        shards, sessions = len(config.shards), config.capacity.sessions
        self.checkpoints = CheckpointFile(
            data_dir / f"gateway-{number}-checkpoint", sessions, shards
        )
        latest = self.checkpoints.latest()
        self.index = SessionIndex(
            data_dir,
            f"gateway-{number}",
            sessions,
            config.log.segment_bytes,
            shards,
            owner=owner_of(config),
            next_block=0 if latest is None else latest.next_block,
            stored_end=0 if latest is None else latest.stored_end,
            faults=self.faults,
        )
        #: Under `durability: power`, what everything written passes.
        self.gate: Gate | None = None
        self._captured_ns = 0
        self._has_checkpoint_failed = False
        self._is_presence_noted = False
        self.registry = SessionRegistry(config, self.index.rows, self.directory, gateway=number)
        registry = self.registry
        self.profiles = Profiles(
            [
                *((entry.versions, entry.settings) for entry in registry),
                (Version, config.session_defaults),
            ]
        )
        rules = config.credentials
        self.credentials = Credentials(
            CredentialFile(data_dir),
            Locks(rules.lock_after, rules.lock_s * 1000),
            rules.min_password_bytes,
        )
        self.message_logs = MessageLogs(data_dir / "fix-messages", config.log.min_free_bytes)
        self.fix = FixSessions(self, registry, self.credentials)
        self.binary = BinarySessions(self, registry)
        self.departures = Departures(self)
        self.orders = Orders(self)
        #: The other gateways, where there are any and while this one serves.
        self.neighbours: Neighbours | None = None
        #: Shards that the recovery went on without: they may still execute what the gateway before
        #: this one asked for.
        self.unsettled: frozenset[int] = frozenset()
        self.recv_ns = 0
        self.stalled: deque[Connection] = deque()
        self.connections: list[Connection | None] = [None] * config.gateway.max_connections
        self._open: dict[Connection, None] = {}
        self._free_rows = list(range(config.gateway.max_connections - 1, -1, -1))
        self._out = np.empty((config.gateway.max_connections, _OUT_BYTES), np.uint8)
        self._out_used = np.zeros(config.gateway.max_connections, np.int64)
        self._out_views = memoryview(self._out.reshape(-1).data)
        self._set_up_shards(data_dir)
        self._set_up_kernels()
        set_up_copies(self)
        self._retainer = Retainer(self, data_dir)
        self.is_stopping = False
        self._is_draining = False

    # --- set-up -----------------------------------------------------------------------------------

    def _set_up_shards(self, data_dir: Path) -> None:
        memory, number = self.memory, self.number
        shards = memory.shard_count
        segment = self.config.log.segment_bytes
        self.report_files = [
            SegmentedFile(data_dir, f"shard-{s}-reports", segment, writable=False)
            for s in range(shards)
        ]
        self.next_report = np.ones(shards, np.int64)
        self.positions = self.index.positions
        self._row = np.zeros(1, REPORT)
        self._row_words = as_words(self._row)
        states = int(memory.shards.ctypes.data)
        self._released = np.array(
            [(states + (s * SHARD_WORDS + ShardWord.RELEASED_REPORT) * 8) for s in range(shards)],
            np.int64,
        )
        self._first_header = int(memory.ring_headers[0, number].ctypes.data)
        # A replaced gateway continues where the published position stands.
        tails = memory.ring_headers[:, number, TAIL_WORD].copy()
        self.routes = Routes(
            symbols=self.symbols.rows,
            symbol_index=self.symbols.index,
            accounts=self.accounts.rows,
            account_index=self.accounts.index,
            sessions=self.index.rows,
            commands=memory.commands,
            headers=int(memory.ring_headers.ctypes.data),
            ring=number,
            states=states,
            state_bytes=SHARD_WORDS * 8,
            tails=tails,
            published=tails.copy(),
            decode_tables=decode_tables(self.profiles.dictionaries),
            counters=self.metrics.counters,
            histograms=self.metrics.histograms,
            account_texts=self.accounts.texts,
            copies=self.copies.rows,
            flight=self.index.flight,
        )

    def _set_up_kernels(self) -> None:
        self.fix_fields = np.zeros(1, FIX_ORDER_FIELDS)
        self.binary_fields = np.zeros(1, BINARY_ORDER_FIELDS)
        self._fix_values = np.zeros(1, FIX_REPORT_VALUES)
        self._binary_values = np.zeros(1, BINARY_REPORT_VALUES)
        self._session_texts = np.zeros(self.config.capacity.sessions, SESSION_TEXT)
        self._comp_ids = np.zeros(self.config.capacity.sessions, COMP_ID)
        texts = [REASON_TEXTS.get(reason, "declined") for reason in range(256)]
        self._texts, self._text_lengths = text_table(texts)
        self._times = time_cache()
        self.resender = Resender(
            self.report_files,
            self.memory.shards,
            self.routes,
            self._session_texts,
            (self._texts, self._text_lengths),
        )
        self._window_ms = self.config.fix.sending_time_window_s * 1000 or 1 << 62
        self._spin_ns = self.config.gateway.spin_us * 1000
        self._sleeping = int(self.words.ctypes.data) + GatewayWord.SLEEPING * 8

    def set_comp_ids(self, number: int, comp_id: str, version: Version) -> None:
        """Prepare what the kernels need of a FIX session's CompIDs and version."""
        venue = self.config.venue.comp_id
        self._session_texts[number] = session_text(version, venue, comp_id)
        row = self._comp_ids[number]
        for side, name in (("sender", comp_id), ("target", venue)):
            row[f"{side}_len"] = len(name)
            for i, word in enumerate(name_words(name.encode(), 4)):
                row[f"{side}{i}"] = word

    # --- clocks -----------------------------------------------------------------------------------

    @staticmethod
    def now_ms() -> int:
        """Return UTC in ms since 1970."""
        return time.time_ns() // 1_000_000

    @staticmethod
    def monotonic_ns() -> int:
        """Return the clock of all measurement stamps."""
        return time.clock_gettime_ns(time.CLOCK_MONOTONIC)

    def utc_stamp(self) -> bytes:
        """Return the time as FIX writes it."""
        return bytes(format_utc_ms(self.now_ms()))

    # --- connections ------------------------------------------------------------------------------

    def register(self, connection: Connection) -> bool:
        """Give a connection a row; return False where there is none left."""
        if not self._free_rows or self.is_stopping:
            return False
        connection.row = self._free_rows.pop()
        self.connections[connection.row] = connection
        self._open[connection] = None
        self._out_used[connection.row] = 0
        self.metrics.counters[GatewayCounter.CONNECTIONS + connection.protocol] += 1
        return True

    def make_connection(self, protocol: Protocol, data: bytes, opened_ms: int) -> Connection:
        """Return a connection that another gateway accepted, and read `data` from."""
        kind = FixConnection if protocol == Protocol.FIX else BinaryConnection
        return kind(self, data, opened_ms)

    def is_elsewhere(self, connection: Connection, home: int) -> bool:
        """Hand a connection to the gateway of its session, unless it is this one.

        Its first message was just taken. Returns whether it is of no concern here any more.
        """
        if home == self.number:
            return False
        if connection.is_handed or self.neighbours is None:
            connection.close(f"its session belongs to gateway {home}", is_error=True)
        else:
            self.neighbours.hand_over(connection, home, connection.first_bytes())
        return True

    def unregister(self, connection: Connection) -> None:
        """Take a connection's row back."""
        self.connections[connection.row] = None
        del self._open[connection]
        self._free_rows.append(connection.row)
        connection.row = -1
        self.metrics.counters[GatewayCounter.CONNECTIONS + connection.protocol] -= 1

    # --- in ---------------------------------------------------------------------------------------

    def receive_fix(self, connection: Connection, start: int, end: int) -> tuple[int, int]:
        """Run the FIX kernel over a connection's buffer."""
        code, position = receive_fix(
            connection.buffer,
            start,
            end,
            self.config.fix.max_message_bytes,
            connection.session_number,
            self._comp_ids,
            self.routes,
            self.fix_fields,
            self.now_ms(),
            self._window_ms,
            self.recv_ns,
        )
        return int(code), int(position)

    def receive_binary(self, connection: Connection, start: int, end: int) -> tuple[int, int]:
        """Run the binary kernel over a connection's buffer."""
        code, position = receive_binary(
            connection.buffer,
            start,
            end,
            self.config.binary.max_message_bytes,
            connection.session_number,
            self.routes,
            self.binary_fields,
            self.recv_ns,
        )
        return int(code), int(position)

    # --- out --------------------------------------------------------------------------------------

    def look_for_reports(self) -> None:
        """After a read: answers may be a microsecond away, so look for them a little longer."""
        if self._spin_ns and len(self._released) == 1:
            seen = int(self.next_report[0]) - 1
            await_release(int(self._released[0]), self._first_header, seen, self._spin_ns)
        self.drain()

    def drain(self) -> None:
        """Send everything that the shards released; then sleep until they ring."""
        if self._is_draining:
            return
        self._is_draining = True
        try:
            self.words[GatewayWord.SLEEPING] = 0
            while True:
                is_stuck = False
                for shard in range(len(self._released)):
                    is_stuck |= not self._drain_shard(shard)
                self._resume_stalled()
                if is_stuck or fall_asleep(self._sleeping, self._released, self.next_report - 1):
                    break
        finally:
            self._is_draining = False

    def _drain_shard(self, shard: int) -> bool:
        """Send what a shard released; return False where there is no room to note it."""
        while True:
            first = int(self.next_report[shard])
            released = int(released_report(int(self._released[shard])))
            if released < first:
                return True
            stop = min(released, first + _REPORTS_AT_ONCE - 1) + 1
            file = self.report_files[shard]
            written = int(self.memory.shards[shard, ShardWord.RELEASED_POSITION])
            file.ensure(written + MAX_PACKED_BYTES)
            self.index.make_room()
            code, reached, position, for_python = encode_reports(
                file.address,
                int(self.positions[shard]),
                int(self.memory.shards[shard, ShardWord.BASE_NS]),
                self._row,
                self._row_words,
                first,
                stop,
                shard,
                self.routes,
                self.index.blocks,
                self.index.allocator,
                self._out,
                self._out_used,
                self._session_texts,
                self._texts,
                self._text_lengths,
                self._times,
                self._fix_values,
                self._binary_values,
                self.now_ms(),
            )
            self.next_report[shard] = reached
            self.positions[shard] = int(position)
            self._write_out()
            count_latency(self.memory.stamps[shard], first, reached, self.metrics.histograms)
            if code == OUTBOUND_PYTHON:
                self.orders.take_report(shard, int(for_python), self._row[0])
            elif code == OUTBOUND_DIRECTORY:
                self.catch_up(self._row[0])
            elif code == OUTBOUND_INDEX and not self._has_mapped_more():
                # The shard's log keeps the reports until there is room on the disk.
                return False
            if code in {OUTBOUND_DONE, OUTBOUND_PYTHON} and reached > released:
                file.drop_below(int(position) - file.segment_bytes)
                return True

    def _has_mapped_more(self) -> bool:
        """Map another segment for the index; return whether there was room."""
        before = int(self.index.allocator[BLOCK_LIMIT])
        self.index.make_room(wants_more=True)
        return int(self.index.allocator[BLOCK_LIMIT]) > before

    def catch_up(self, report: Any) -> None:
        """Take in what the directory tells of sessions and accounts that other gateways added.

        `report` is one of a session or account that is not known here; the directory has it, since
        it was added there before a shard heard of it.
        """
        try:
            self.directory.catch_up()
        except (OSError, DirectoryError) as error:
            log.error("cannot read what other gateways added: error=%s", error)
        self.registry.take_in()
        self.accounts.take_in()
        session, account = int(report["session"]), int(report["account"])
        if self.index.rows["home"][session] == HOME_UNKNOWN:
            log.error("report of an unknown session: session=%d", session)
            self.index.rows["home"][session] = HOME_NONE
        if self.accounts.rows["copies"][account] == COPIES_UNKNOWN:
            log.error("report of an unknown account: account=%d", account)
            self.accounts.rows["copies"][account] = -1

    # --- what survives ----------------------------------------------------------------------------

    def recover(self, is_stopping: Callable[[], bool] = lambda: False) -> None:
        """Bring the sessions to where they stood, from the gateway's files and the shards' logs.

        Raises:
            Stopped: `is_stopping` said so while the shards were waited for.
            OutOfSpaceError: there is no room for what has to be noted.
        """
        self.unsettled = await_shards(self, is_stopping)
        outcome = GatewayRecovery(self, self.checkpoints.latest()).run()
        if outcome:
            log.info("gateway %d %s", self.number, outcome)
        self.fix.hours.catch_up(self.now_ms())
        self.write_checkpoint()

    def write_checkpoint(self) -> None:
        """Write how the sessions stand now: from there a recovery goes on."""
        self._captured_ns = self.monotonic_ns()
        image = self.checkpoints.image(capture(self))
        if self.gate is not None:
            self.gate.put_checkpoint(image)
        else:
            self._store_checkpoint(image, is_synced=self.config.log.durability == "power")

    def try_checkpoint(self) -> bool:
        """Write a checkpoint; where the file takes none, a recovery goes on from the one before.
        Return whether it was written, or will be."""
        try:
            self.write_checkpoint()
        except OSError as error:
            if not self._has_checkpoint_failed:
                log.error("no checkpoint can be written, the one before counts on: %s", error)
            self._has_checkpoint_failed = True
            return False
        if self._has_checkpoint_failed:
            log.warning("checkpoints are written again")
        self._has_checkpoint_failed = False
        return True

    def _store_checkpoint(self, image: bytes, *, is_synced: bool = True) -> None:
        if is_synced and self.gate is None:
            # The first one, before there is a gate: what it builds upon comes first.
            self.index.sync()
        reach_in_python(self.faults, FaultPoint.BEFORE_EXPECTED)
        self.checkpoints.write(image)
        if is_synced:
            self.checkpoints.sync()
        reach_in_python(self.faults, FaultPoint.AFTER_EXPECTED)

    def note_presence(self, session: int, word: int) -> None:
        """Note who is there, for a gateway that comes after this one; see `checkpoint`."""
        self.checkpoints.presence[session] = word
        self._is_presence_noted = True

    def sync_noted(self) -> None:
        """Bring to the disk what was noted so far, in the gate's thread: the index, the stored
        messages, and who is there. Whoever is told that he is logged on counts as such behind a
        power cut.

        Raises:
            OSError: it may not be there; that is final.
        """
        self.index.sync()
        if self._is_presence_noted:
            # Before the sync: what is noted from now on is for the next one.
            self._is_presence_noted = False
            self.checkpoints.sync()

    def _write_out(self) -> None:
        for row in np.flatnonzero(self._out_used).tolist():
            used = int(self._out_used[row])
            self._out_used[row] = 0
            connection = self.connections[row]
            if connection is not None:
                start = row * _OUT_BYTES
                connection.write(self._out_views[start : start + used])

    def _resume_stalled(self) -> None:
        for _ in range(len(self.stalled)):
            self.stalled.popleft().resume()

    # --- the process ------------------------------------------------------------------------------

    async def serve(
        self,
        wake_fd: int,
        fix_socket: socket.socket | None,
        binary_socket: socket.socket | None,
        parent: int,
        cores: Collection[int] = (),
    ) -> None:
        """Listen, and run until the supervisor says stop; `cores` are all that threads may use."""
        self.loop = asyncio.get_running_loop()
        if self.config.log.durability == "power":
            self.gate = Gate(
                self.sync_noted,
                self._store_checkpoint,
                self.loop.call_soon_threadsafe,
                cores=cores,
            )
        self.loop.add_reader(wake_fd, self._woken, wake_fd)
        servers = []
        for sock in (fix_socket, binary_socket):
            if sock is not None:
                watch_peers(
                    sock,
                    user_timeout_s=self.config.gateway.tcp_user_timeout_s,
                    keepalive_s=self.config.gateway.tcp_keepalive_s,
                )
        if fix_socket is not None:
            servers.append(
                await self.loop.create_server(
                    lambda: FixConnection(self), sock=fix_socket, backlog=_BACKLOG
                )
            )
        if binary_socket is not None:
            servers.append(
                await self.loop.create_server(
                    lambda: BinaryConnection(self), sock=binary_socket, backlog=_BACKLOG
                )
            )
        if self.config.gateway.count > 1:
            self.neighbours = Neighbours(self, self.memory.path.parent)
            self.neighbours.listen()
        self.drain()
        self.words[GatewayWord.PID] = os.getpid()
        self.words[GatewayWord.STATUS] = ProcessStatus.RUNNING
        while not self.words[GatewayWord.STOP]:
            await asyncio.sleep(_POLL_S)
            self.words[GatewayWord.HEARTBEAT] += 1
            if is_orphan(parent):
                log.error("supervisor is gone: the gateway stops")
                return
            await self._poll()
        self.is_stopping = True
        for server in servers:
            server.close()
        if self.neighbours is not None:
            self.neighbours.close()
        await self._log_everybody_out()
        self.try_checkpoint()
        if self.gate is not None:
            self.gate.stop()
        self.words[GatewayWord.STATUS] = ProcessStatus.STOPPED

    def _woken(self, fd: int) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(fd, 8)
        self.drain()

    async def _poll(self) -> None:
        """Look at every timer, a few connections at a time: between them others have their
        turn."""
        now_ms = self.now_ms()
        self.fix.hours.poll(now_ms)
        self.departures.poll(now_ms)
        if self.orders.waiting:
            self.orders.flush()
        if self.monotonic_ns() - self._captured_ns >= _CHECKPOINT_NS and self.try_checkpoint():
            self._retainer.poll()
        fix = binary = 0
        for number, connection in enumerate(list(self._open), 1):
            if number % _POLL_SLICE == 0:
                await asyncio.sleep(0)
            if connection.is_closed:
                continue
            connection.poll(self.now_ms())
            if connection.session_number:
                fix += connection.protocol == Protocol.FIX
                binary += connection.protocol == Protocol.BINARY
        self.metrics.counters[GatewayCounter.SESSIONS + Protocol.FIX] = fix
        self.metrics.counters[GatewayCounter.SESSIONS + Protocol.BINARY] = binary
        self.drain()

    def close(self) -> None:
        """Give files, their addresses and threads back; the gateway is of no use any more."""
        self.credentials.close()
        self.message_logs.close()
        self.resender.close()
        if self.gate is not None:
            self.gate.stop()
        self._retainer.close()
        self.checkpoints.close()
        self.index.close()
        self.directory.close()
        for file in self.report_files:
            file.close()

    async def _log_everybody_out(self) -> None:
        """Answer what is in the rings still, send Logouts, and wait a little for theirs."""
        deadline = self.loop.time() + _LOGOUT_S
        while self.loop.time() < deadline and not self._are_rings_empty():
            await asyncio.sleep(0.002)
        self.drain()
        for connection in list(self._open):
            connection.log_out("the venue stops")
        while self.loop.time() < deadline and self._open:
            await asyncio.sleep(0.01)
        for connection in list(self._open):
            connection.close("the venue stops", is_error=False)
        self.credentials.close()
        await asyncio.sleep(0.01)
        self.message_logs.close()

    def _are_rings_empty(self) -> bool:
        headers = self.memory.ring_headers[:, self.number]
        return bool((headers[:, TAIL_WORD] == headers[:, HEAD_WORD]).all())


def run_process(
    config: Config,
    memory: VenueMemory,
    data_dir: Path,
    wake_fd: int,
    fix_socket: socket.socket | None,
    binary_socket: socket.socket | None,
    parent: int,
    number: int = 0,
) -> None:
    """Be the process of a gateway (called in the child)."""
    die_with_parent(parent)
    process_name(f"oo-gateway-{number}")
    # The supervisor tells when to stop; a terminal's Ctrl-C reaches the whole group.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    cores = available_cores()
    if config.gateway.core is not None:
        pin(config.gateway.core + number)
    else:
        # On a shard's core it would wait for answers from a process that waits for the core.
        pinned = shard_cores(config, cores)
        keep_off([core for core in pinned if core is not None])
    try:
        gateway = Gateway(config, memory, data_dir, number)
        gateway.words[GatewayWord.PID] = os.getpid()
        gateway.words[GatewayWord.STATUS] = ProcessStatus.RECOVERING
        gateway.recover(lambda: bool(gateway.words[GatewayWord.STOP]) or is_orphan(parent))
    except Stopped:
        # Nothing was taken over yet: a checkpoint of this would be of sessions that never were.
        log.info("gateway %d stops before it has recovered: its files stay as they are", number)
        gateway.close()
        gateway.words[GatewayWord.STATUS] = ProcessStatus.STOPPED
        return
    except (RecoveryError, SegmentError, DirectoryError, OSError) as error:
        log.critical("cannot start: gateway=%d reason=%s", number, error)
        raise SystemExit(1) from error
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(gateway.serve(wake_fd, fix_socket, binary_socket, parent, cores))

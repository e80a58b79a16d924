"""`openoutcry serve`: starts, watches and stops the venue's processes. No order passes through it.

It compiles (or loads) every kernel in itself first, then forks the shards, which recover what the
data directory holds, then the gateways, which do likewise, and a follower beside each shard. All of
them thus start at once and never compile while clients wait. One that dies or hangs is started
again alone, while the others go on.
"""

import contextlib
import json
import logging
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import click
import numpy as np

from openoutcry.engine.enums import CommandKind
from openoutcry.engine.latency import Role, SupervisorCounter, open_metrics
from openoutcry.engine.state import GatewayWord, ProcessStatus, ShardWord
from openoutcry.server import recorder
from openoutcry.server.children import STOP_SIGNALS, Child, Children, Words, word
from openoutcry.server.config import Config
from openoutcry.server.config_file import ConfigError, load_config
from openoutcry.server.control import ControlRing
from openoutcry.server.control_socket import CONTROL_SOCKET, ControlSocket, Pending, refusal
from openoutcry.server.credentials import CredentialFile, CredentialFileError
from openoutcry.server.data_dir import data_directory, shared_memory_folder
from openoutcry.server.directory import FILE_NAME, Directory, DirectoryError, read_directory
from openoutcry.server.listeners import Listeners, StartError, address_of, bind_listeners
from openoutcry.server.log_reader import shards_in
from openoutcry.server.memory import VenueMemory, VenueWord
from openoutcry.server.process import StopFlag, die_with_parent, process_name, set_up_logging
from openoutcry.server.processes import describe, names_of, read_reason
from openoutcry.server.resolve import ResolveError, register, resolve
from openoutcry.server.snapshot_request import ask_for_snapshots
from openoutcry.server.trading_day import has_ended_since, next_day_end
from openoutcry.server.venues import write_card

log = logging.getLogger(__name__)

#: Between two looks at the processes, in seconds: usually, and while something is under way.
_LOOK_S = 0.25
_BUSY_LOOK_S = 0.01
#: How long processes may take to stop, and how long a follower that still beats: it writes a
#: snapshot.
_STOP_TIMEOUT_S = 15
_LAST_SNAPSHOT_S = 60


class Supervisor:
    """The parent of all the venue's processes."""

    def __init__(
        self, config: Config, data_dir: Path, shm_folder: Path, stop: StopFlag, *, is_kept: bool
    ) -> None:
        self.config = config
        self.data_dir = data_dir
        self.shm_folder = shm_folder
        self.stop = stop
        #: Whether the data directory outlives the venue.
        self._is_kept = is_kept
        self._pid = os.getpid()
        self._selector = selectors.DefaultSelector()
        self._has_started = False
        #: The next end of a trading day that is to be seen to.
        self._day_end: datetime | None = None
        self.metrics = open_metrics(shm_folder, Role.SUPERVISOR)
        capacity = config.capacity
        self.memory = VenueMemory.create(
            shm_folder,
            len(config.shards),
            config.gateway.count,
            capacity.command_ring_records,
            capacity.event_ring_records,
        )
        self.eventfds = [_wake_pair() for _ in range(self.memory.gateway_count)]
        self.rings = [ControlRing(self.memory, shard) for shard in range(self.memory.shard_count)]
        self._control = ControlSocket(shm_folder / CONTROL_SOCKET, self._selector, self._execute)
        self._rows = dict(zip(names_of(self.memory), self.memory.processes, strict=True))
        self.children = Children(
            config.supervision, shm_folder, stop, self._leave_in_fork, self._is_fatal
        )

    @property
    def has_failed(self) -> bool:
        """Whether a process ended without which there is no venue."""
        return bool(self.children.failed)

    # --- start ------------------------------------------------------------------------------------

    def start(self, listeners: Listeners) -> None:
        """Fork everything and wait until orders can be taken.

        Raises:
            StartError: a process did not come up.
        """
        if listeners.http is not None:
            # The first, so that it tells how far a recovery is.
            listeners.http.listen(128)
            self._add_exporter(listeners.http)
        # Until all have recovered nothing is written that the old configuration could not read.
        self.memory.venue[VenueWord.HOLDS] = 1
        for shard in range(self.memory.shard_count):
            self._add_shard(shard)
        shards = self.children.find("shard")
        self._await(shards, lambda: bool(self.memory.recovered.all()))
        if self.stop.is_set:
            return
        _register(self.config, self.data_dir)
        self.memory.venue[VenueWord.HOLDS] = 0
        self._await(shards)
        if self.stop.is_set:
            return
        self._catch_up_day_end()
        for number in range(self.memory.gateway_count):
            self._add_gateway(number, listeners)
        self._await(self.children.find("gateway"))
        if self.stop.is_set:
            return
        if self.config.snapshots is not None and self.config.log.durability != "none":
            for shard in range(self.memory.shard_count):
                self._add_follower(shard)
        self.metrics.counters[SupervisorCounter.READY] = 1
        self.memory.venue[VenueWord.SERVES] = 1
        self._has_started = True

    def _await(self, children: list[Child], are_done: Callable[[], bool] | None = None) -> None:
        """Wait until processes run (or `are_done`), however long they recover: one that hangs ends
        the start."""

        def are_running() -> bool:
            return all(child.is_running for child in children)

        is_over = are_done or are_running
        while not is_over() and not self.stop.is_set:
            self._turn(_BUSY_LOOK_S)
            hung = [child.name for child in children if child.is_killed]
            if hung and not self.has_failed:
                raise StartError(f"{hung[0]} hangs while it starts; its log is above")
            if self.has_failed:
                name = self.children.failed
                reason = read_reason(self.shm_folder, name)
                raise StartError(f"{name} cannot start: {reason or 'its log is above'}")

    def _is_fatal(self, child: Child) -> bool:
        is_needed = child.name.startswith(("shard", "gateway"))
        # Without a log there is nothing that a shard could be made from again.
        is_lost = child.name.startswith("shard") and self.config.log.durability == "none"
        return is_lost or (is_needed and not self._has_started)

    def _leave_in_fork(self) -> None:
        self._selector.close()
        self._control.close()

    def _add(
        self,
        name: str,
        body: Callable[[], None],
        words: Words,
        prepare: Callable[[], None] = lambda: None,
        *,
        ends_by_signal: bool = False,
    ) -> None:
        child = Child(name, body, self._rows[name], words, prepare, ends_by_signal)
        self.children.add(child)

    def _add_shard(self, index: int) -> None:
        def body() -> None:
            from openoutcry.server.shard import run_process

            signals = [writer for _, writer in self.eventfds]
            run_process(self.config, self.memory, index, self.data_dir, signals, self._pid)

        block = self.memory.shards[index]
        words = Words(word(block, ShardWord.HEARTBEAT), word(block, ShardWord.STATUS))
        self._add(f"shard-{index}", body, words)

    def _add_follower(self, index: int) -> None:
        def body() -> None:
            from openoutcry.server.follower import run_process

            run_process(self.config, self.memory, index, self.data_dir, self._pid)

        def prepare() -> None:
            block[ShardWord.FOLLOWER_STOP] = 0

        block = self.memory.shards[index]
        words = Words(
            word(block, ShardWord.FOLLOWER_HEARTBEAT), word(block, ShardWord.FOLLOWER_STATUS)
        )
        self._add(f"follower-{index}", body, words, prepare)

    def _add_gateway(self, number: int, listeners: Listeners) -> None:
        def body() -> None:
            from openoutcry.server.gateway import run_process

            run_process(
                self.config,
                self.memory,
                self.data_dir,
                self.eventfds[number][0],
                listeners.fix,
                listeners.binary,
                self._pid,
                number,
            )

        block = self.memory.gateways[number]
        words = Words(word(block, GatewayWord.HEARTBEAT), word(block, GatewayWord.STATUS))
        self._add(f"gateway-{number}", body, words)

    def _add_exporter(self, http: socket.socket) -> None:
        def body() -> None:
            from openoutcry.server.exporter import run_exporter

            die_with_parent(self._pid)
            process_name("oo-exporter")
            control = self.shm_folder / CONTROL_SOCKET
            run_exporter(self.shm_folder, control, http, parent_pid=self._pid)

        words = Words(word(self.memory.venue, VenueWord.EXPORTER_HEARTBEAT))
        self._add("exporter", body, words, ends_by_signal=True)

    # --- commands ---------------------------------------------------------------------------------

    def _execute(self, request: dict[str, Any]) -> dict[str, Any] | Pending:
        match request.get("command"):
            case "day-end":
                return self._end_day_of(request.get("symbol"))
            case "snapshot":
                shard = request.get("shard")
                return ask_for_snapshots(self.config, self.memory, self.data_dir, shard)
            case "status":
                return {"ok": True, **describe(self.memory)}
            case _:
                return refusal("the commands are day-end, snapshot and status")

    def _end_day_of(self, name: Any) -> dict[str, Any]:
        try:
            if name is None:
                self.end_day(range(len(self.rings)))
                return {"ok": True}
            for number, symbol in enumerate(self.config.symbols):
                if symbol.name == name and symbol.listed:
                    ring = self.rings[self.config.shard_of(number)]
                    ring.send(CommandKind.DAY_END, symbol=number)
                    return {"ok": True}
        except TimeoutError as error:
            return refusal(str(error))
        return refusal(f"there is no symbol {name!r}")

    def end_day(self, shards: range | list[int]) -> None:
        """Expire the DAY orders of all symbols of some shards.

        Raises:
            TimeoutError: one does not take commands.
        """
        for shard in shards:
            self.rings[shard].send(CommandKind.DAY_END, symbol=-1)
        self.metrics.counters[SupervisorCounter.DAY_ENDS] += 1
        log.info("day ended: DAY orders expire")

    def _catch_up_day_end(self) -> None:
        """End the day that ended while nobody was there, before anybody can order."""
        day, now = self.config.day, datetime.now().astimezone()
        if day is None:
            return
        # From the same moment on: gateways may take long to start, and a day may end meanwhile.
        self._day_end = next_day_end(day, now)
        before = [int(row[ShardWord.PREVIOUS_NS]) for row in self.memory.shards]
        due = [shard for shard, ns in enumerate(before) if ns and has_ended_since(day, ns, now)]
        if due:
            log.info("a day ended while the venue was down: shards=%s", due)
            self.end_day(due)

    def _see_to_day_end(self) -> None:
        """End the day when it is time."""
        day, now = self.config.day, datetime.now().astimezone()
        if day is None or self._day_end is None or now < self._day_end:
            return
        try:
            self.end_day(range(len(self.rings)))
        except TimeoutError as error:
            log.error("the day's end waits: reason=%s", error)
            return
        self._day_end = next_day_end(day, now)

    # --- watching ---------------------------------------------------------------------------------

    def watch(self) -> None:
        """Look after the processes until asked to stop, or until one ends that cannot come back."""
        reader, writer = socket.socketpair()
        reader.setblocking(False)
        writer.setblocking(False)
        signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        self._selector.register(reader, selectors.EVENT_READ, lambda sock: sock.recv(4096))
        while not self.stop.is_set and not self.has_failed:
            wait_s = _BUSY_LOOK_S if self._is_busy() else _LOOK_S
            now = datetime.now().astimezone()
            if self._day_end is not None:
                wait_s = min(wait_s, max((self._day_end - now).total_seconds(), 0.0))
            self._turn(wait_s)
            self._see_to_day_end()
        signal.set_wakeup_fd(-1)
        writer.close()

    def _is_busy(self) -> bool:
        return self._control.is_busy or any(not c.is_running for c in self.children.members)

    def _turn(self, wait_s: float) -> None:
        for key, _ in self._selector.select(wait_s):
            key.data(key.fileobj)
        self._control.poll()
        self.children.look()
        self._mark_shards()
        self.metrics.counters[SupervisorCounter.HEARTBEAT_NS] = time.monotonic_ns()

    def _mark_shards(self) -> None:
        """Tell the gateways which shards' orders they have to answer themselves."""
        now, hold_s = time.monotonic(), self.config.supervision.hold_s
        for shard, child in enumerate(self.children.find("shard")):
            is_down = not child.is_running and now >= child.down_since + hold_s
            words = self.memory.shards[shard]
            if words[ShardWord.IS_DOWN] != is_down:
                words[ShardWord.IS_DOWN] = int(is_down)

    # --- stop -------------------------------------------------------------------------------------

    def shut_down(self) -> None:
        """Stop the gateways, then the shards, then the rest; kill what does not end in time."""
        log.info("stopping")
        self.stop.is_set = True
        children, memory = self.children, self.memory
        self.metrics.counters[SupervisorCounter.READY] = 0
        memory.venue[VenueWord.SERVES] = 0
        memory.gateways[:, GatewayWord.STOP] = 1
        for _, writer in self.eventfds:
            with contextlib.suppress(OSError):
                os.write(writer, (1).to_bytes(8, sys.byteorder))
        children.end("gateway", _STOP_TIMEOUT_S)
        # One that recovers may be killed at any time, and has nothing to finish.
        starting = [child for child in children.find("shard") if not child.is_running]
        children.kill(starting)
        memory.shards[:, ShardWord.STOP] = 1
        for ring in self.rings:
            ring.wake()
        children.end("shard", _STOP_TIMEOUT_S)
        stopped = memory.shards[:, ShardWord.STATUS] == ProcessStatus.STOPPED
        # Of a shard that did not end well the log may have to be cut: a recovery does that.
        is_useful = stopped & self._is_kept
        memory.shards[:, ShardWord.FOLLOWER_STOP] = np.where(is_useful, 1, 2)
        # One that writes no last snapshot has nothing to finish, and may have little of a core.
        followers = zip(children.find("follower"), is_useful, strict=False)
        children.kill([follower for follower, useful in followers if not useful])
        children.end("follower", _STOP_TIMEOUT_S, while_beating_s=_LAST_SNAPSHOT_S)
        for child in children.find("exporter"):
            if child.pid:
                os.kill(child.pid, signal.SIGTERM)
        children.end("exporter", _STOP_TIMEOUT_S)


def _wake_pair() -> tuple[int, int]:
    """Return (descriptor to poll, descriptor to write eight bytes to), both non-blocking."""
    if hasattr(os, "eventfd"):
        fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        return fd, fd
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    return reader, writer


def run_venue(config: Config, data_dir: Path | None) -> int:
    """Run a venue until it is told to stop; return the exit status."""
    from openoutcry.server.warm import warm_kernels

    started = time.monotonic()
    process_name("oo-supervisor")
    recorder.install()
    # Installed first: a signal during start-up stops in good order, too.
    stop = StopFlag().install()
    listeners = bind_listeners(config)
    with data_directory(data_dir) as folder, shared_memory_folder(config, folder) as shm_folder:
        config = _resolved(config, folder)
        warm_kernels(lambda: stop.is_set)
        if stop.is_set:
            return 0
        try:
            supervisor = Supervisor(config, folder, shm_folder, stop, is_kept=data_dir is not None)
        except OSError as error:
            raise StartError(
                f"cannot make the shared memory in {shm_folder}: {error.strerror}; make room, name "
                "another folder with --set shm_dir=DIR, or set smaller rings (capacity)"
            ) from error
        try:
            supervisor.start(listeners)
            if not stop.is_set:
                ready = _ready(config, listeners, data_dir)
                addresses = {name: ready[name] for name in ("fix", "binary", "http")}
                write_card(shm_folder, config, folder, **addresses)
                log.info("ready: start_s=%.2f", time.monotonic() - started)
                print(json.dumps(ready), flush=True)
                supervisor.watch()
        finally:
            supervisor.shut_down()
    return 1 if supervisor.has_failed else 0


def _resolved(config: Config, folder: Path) -> Config:
    """Return the configuration with what the data directory knows of symbols; write nothing.

    Raises:
        StartError: the two do not go together.
    """
    try:
        CredentialFile(folder)
        return resolve(config, read_directory(folder))
    except ResolveError as error:
        raise StartError("; ".join(error.messages)) from None
    except (DirectoryError, CredentialFileError) as error:
        raise StartError(str(error)) from None
    except OSError as error:
        raise StartError(f"cannot read {error.filename}: {error.strerror}") from error


def _register(config: Config, folder: Path) -> None:
    """Give numbers to everything configured that has none: those that `_resolved` told.

    Raises:
        StartError: it cannot be done; or there are logs, whose numbers nobody knows any more.
    """
    try:
        if not read_directory(folder).venue and shards_in(folder):
            raise StartError(
                f"{folder / FILE_NAME} is missing or empty, though there are logs, which name "
                "sessions and symbols by the numbers that it says: restore it from a backup"
            )
        directory = Directory(folder, is_durable=config.log.durability == "power")
        try:
            register(config, directory)
        finally:
            directory.close()
    except DirectoryError as error:
        raise StartError(str(error)) from None
    except OSError as error:
        raise StartError(f"cannot write {folder / FILE_NAME}: {error.strerror}") from error


def _ready(config: Config, listeners: Listeners, data_dir: Path | None) -> dict[str, Any]:
    return {
        "ready": True,
        "fix": address_of(listeners.fix),
        "binary": address_of(listeners.binary),
        "market_data": None,
        "http": address_of(listeners.http),
        "data_dir": None if data_dir is None else str(data_dir.resolve()),
        "durability": config.log.durability,
        "pid": os.getpid(),
    }


@click.command()
@click.option(
    "--config", "path", type=click.Path(dir_okay=False, path_type=Path), help="YAML file."
)
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the logs are kept, and recovered from; without it a temporary folder that a clean "
    "exit removes.",
)
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a setting.")
def serve(path: Path | None, data_dir: Path | None, overrides: tuple[str, ...]) -> None:
    """Run the venue; prints one line of JSON when it is ready, and stops on SIGTERM or Ctrl-C."""
    try:
        config = load_config(path, overrides)
    except ConfigError as error:
        for message in error.messages:
            print(message, file=sys.stderr)
        raise SystemExit(2) from None
    set_up_logging(config.log_format)
    try:
        status = run_venue(config, data_dir)
    except StartError as error:
        print(f"openoutcry: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    # A second signal must not turn the end of a good stop into a death by signal.
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    raise SystemExit(status)

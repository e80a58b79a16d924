"""`openoutcry serve`: starts, watches and stops the venue's processes. No order passes through it.

It compiles (or loads) every kernel in itself first, then forks the shards, the gateway and the
exporter, which thus start at once and never compile while clients wait.
"""

import contextlib
import functools
import json
import logging
import os
import selectors
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import click

from openoutcry.engine.enums import CommandKind
from openoutcry.engine.latency import Role, SupervisorCounter, open_metrics
from openoutcry.engine.state import GatewayWord, ProcessStatus, ShardWord
from openoutcry.server.config import Config, Day
from openoutcry.server.config_file import ConfigError, load_config
from openoutcry.server.control import ControlRing
from openoutcry.server.memory import (
    FolderInUseError,
    VenueMemory,
    lock_folder,
    remove_stale,
    shared_folder,
)
from openoutcry.server.process import (
    StopFlag,
    die_with_parent,
    process_name,
    set_up_logging,
    wait_until,
)
from openoutcry.server.venues import write_card

log = logging.getLogger(__name__)

CONTROL_SOCKET = "control.sock"
_START_TIMEOUT_S = 30
_STOP_TIMEOUT_S = 15
_LOOK_S = 0.25
_RESTART_PAUSE_S = 1.0
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StartError(Exception):
    """The venue cannot start; the text is for the operator."""


@dataclass
class Child:
    """A process of the venue."""

    name: str
    pid: int
    #: Forks it again.
    start: Callable[[], int]
    #: False for processes that hold what a restart would lose.
    is_restartable: bool = False
    #: When to start it again, by the monotonic clock; 0 while it runs.
    restart_at: float = 0.0


@dataclass
class Listeners:
    """Bound sockets, made before anything is forked so that a port in use is reported at once."""

    fix: socket.socket | None
    binary: socket.socket | None
    http: socket.socket | None


def bind_listeners(config: Config) -> Listeners:
    """Bind the configured ports; they listen once the venue is ready.

    Raises:
        StartError: a port is in use or the host is not ours.
    """

    def bind(name: str, port: int | None) -> socket.socket | None:
        if port is None:
            return None
        host = config.listen.host
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((host, port))
        except OSError as error:
            sock.close()
            raise StartError(
                f"cannot listen on {host}:{port} (listen.{name}): {error.strerror}; "
                f"choose another with --set listen.{name}=PORT (0: any free one); "
                f"with make: make run ARGS='--set listen.{name}=PORT'"
            ) from error
        return sock

    return Listeners(
        fix=bind("fix", config.listen.fix),
        binary=bind("binary", config.listen.binary),
        http=bind("http", config.listen.http),
    )


def _address(sock: socket.socket | None) -> str | None:
    if sock is None:
        return None
    host, port = sock.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@contextlib.contextmanager
def data_directory(data_dir: Path | None) -> Iterator[Path]:
    """Give the folder of the logs: the one named, locked, or a temporary one that is removed after.

    Raises:
        StartError: it is in use, holds another run's logs, or cannot be written.
    """
    if data_dir is None:
        temporary = Path(tempfile.mkdtemp(prefix="openoutcry-"))
        try:
            yield temporary
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return
    try:
        lock = lock_folder(data_dir)
    except FolderInUseError as error:
        raise StartError(
            f"data directory {data_dir} is in use by the venue with pid {error.pid}; "
            "stop that one or name another --data-dir"
        ) from error
    except OSError as error:
        raise StartError(f"cannot use data directory {data_dir}: {error.strerror}") from error
    old = next(data_dir.glob("*.seg"), None)
    if old is not None:
        os.close(lock)
        raise StartError(
            f"data directory {data_dir} holds the log of an earlier run ({old.name}); "
            "this version cannot continue a log: move it away or name another --data-dir"
        )
    try:
        yield data_dir
    finally:
        os.close(lock)


def next_day_end(day: Day, now: datetime) -> datetime:
    """Return the first end of a trading day after `now` (aware)."""
    zone = ZoneInfo(day.time_zone)
    local = now.astimezone(zone)
    end = datetime.combine(local.date(), day.end_time, zone)
    if end <= local:
        end = datetime.combine(local.date() + timedelta(days=1), day.end_time, zone)
    return end


class Supervisor:
    """The parent of all the venue's processes."""

    def __init__(self, config: Config, data_dir: Path, shm_folder: Path) -> None:
        self.config = config
        self.data_dir = data_dir
        self.shm_folder = shm_folder
        self.children: list[Child] = []
        self.failed = False
        self.stop = StopFlag()
        self.memory: VenueMemory
        self.rings: list[ControlRing] = []
        self._pid = os.getpid()
        self._selector = selectors.DefaultSelector()
        self._connections: dict[socket.socket, bytes] = {}

    # --- start ------------------------------------------------------------------------------------

    def start(self, listeners: Listeners) -> None:
        """Fork everything and wait until orders can be taken.

        Raises:
            StartError: a process did not come up.
        """
        config = self.config
        capacity = config.capacity
        shards = len(config.shards)
        self.metrics = open_metrics(self.shm_folder, Role.SUPERVISOR)
        self.memory = VenueMemory.create(
            self.shm_folder, shards, 1, capacity.command_ring_records, capacity.event_ring_records
        )
        self.eventfds = [_wake_pair() for _ in range(self.memory.gateway_count)]
        self.rings = [ControlRing(self.memory, shard) for shard in range(shards)]
        self._listen_control()
        for shard in range(shards):
            self._fork(f"shard {shard}", functools.partial(self._be_shard, shard))
        self._await(
            lambda: all(
                self.memory.shards[s, ShardWord.STATUS] == ProcessStatus.RUNNING
                for s in range(shards)
            ),
            "the shards",
        )
        self._fork("gateway", lambda: self._be_gateway(listeners))
        self._await(
            lambda: self.memory.gateways[0, GatewayWord.STATUS] == ProcessStatus.RUNNING,
            "the gateway",
        )
        if listeners.http is not None:
            http = listeners.http
            http.listen(128)
            self._fork("exporter", lambda: self._be_exporter(http), is_restartable=True)
        self.metrics.counters[SupervisorCounter.READY] = 1
        self.memory.venue[0] = 1

    def _fork(self, name: str, body: Callable[[], None], *, is_restartable: bool = False) -> None:
        def start() -> int:
            sys.stdout.flush()
            sys.stderr.flush()
            # Our handlers would swallow in the child what arrives before it has its own.
            signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
            pid = os.fork()
            if pid:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP_SIGNALS)
                return pid
            code = 1
            try:
                # The exporter ends by signal; the others, by their stop word.
                for number in _STOP_SIGNALS:
                    signal.signal(number, signal.SIG_DFL if is_restartable else signal.SIG_IGN)
                signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP_SIGNALS)
                signal.set_wakeup_fd(-1)
                self._selector.close()
                body()
                code = 0
            except SystemExit as error:
                code = error.code if isinstance(error.code, int) else 1
            except BaseException:
                log.exception("process failed: name=%s", name)
            finally:
                sys.stderr.flush()
                os._exit(code)

        self.children.append(Child(name, start(), start, is_restartable))

    def _be_shard(self, index: int) -> None:
        from openoutcry.server.shard import run_process

        signals = [writer for _, writer in self.eventfds]
        run_process(self.config, self.memory, index, self.data_dir, signals, self._pid)

    def _be_gateway(self, listeners: Listeners) -> None:
        from openoutcry.server.gateway import run_process

        run_process(
            self.config,
            self.memory,
            self.data_dir,
            self.eventfds[0][0],
            listeners.fix,
            listeners.binary,
            self._pid,
        )

    def _be_exporter(self, sock: socket.socket) -> None:
        from openoutcry.server.exporter import run_exporter

        die_with_parent(self._pid)
        process_name("oo-exporter")
        run_exporter(self.shm_folder, self.shm_folder / CONTROL_SOCKET, sock, parent_pid=self._pid)

    def _await(self, condition: Callable[[], bool], what: str) -> None:
        def is_over() -> bool:
            self._reap()
            return condition() or self.failed or self.stop.is_set

        if not wait_until(is_over, _START_TIMEOUT_S):
            raise StartError(f"{what} did not come up within {_START_TIMEOUT_S} s")
        if self.failed:
            raise StartError(f"a process ended while starting {what}; its log is above")

    # --- control socket ---------------------------------------------------------------------------

    def _listen_control(self) -> None:
        path = self.shm_folder / CONTROL_SOCKET
        path.unlink(missing_ok=True)
        server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        server.bind(str(path))
        server.listen(8)
        server.setblocking(False)
        self._selector.register(server, selectors.EVENT_READ, self._accept)

    def _accept(self, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            connection, _ = server.accept()
            connection.setblocking(False)
            self._connections[connection] = b""
            self._selector.register(connection, selectors.EVENT_READ, self._read)

    def _read(self, connection: socket.socket) -> None:
        data = b""
        with contextlib.suppress(OSError):
            data = connection.recv(4096)
        text = self._connections[connection] + data
        if data and b"\n" not in text and len(text) < 4096:
            self._connections[connection] = text
            return
        if b"\n" in text:
            answer = self._execute(text.partition(b"\n")[0])
            with contextlib.suppress(OSError):
                connection.sendall(json.dumps(answer).encode() + b"\n")
        self._selector.unregister(connection)
        del self._connections[connection]
        connection.close()

    def _execute(self, line: bytes) -> dict[str, Any]:
        try:
            request = json.loads(line)
        except ValueError:
            return {"ok": False, "error": "a command is one line of JSON"}
        if not isinstance(request, dict) or request.get("command") != "day-end":
            return {"ok": False, "error": 'the only command is {"command": "day-end"}'}
        name = request.get("symbol")
        if name is None:
            self.end_day()
            return {"ok": True}
        for number, symbol in enumerate(self.config.symbols):
            if symbol.name == name:
                self.rings[self.config.shard_of(number)].send(CommandKind.DAY_END, symbol=number)
                return {"ok": True}
        return {"ok": False, "error": f"there is no symbol {name!r}"}

    def end_day(self) -> None:
        """Expire the DAY orders of all symbols."""
        for ring in self.rings:
            ring.send(CommandKind.DAY_END, symbol=-1)
        self.metrics.counters[SupervisorCounter.DAY_ENDS] += 1
        log.info("day ended: DAY orders expire")

    # --- watching ---------------------------------------------------------------------------------

    def watch(self) -> None:
        """Look after the processes until asked to stop, or until one that matters ends."""
        reader, writer = socket.socketpair()
        reader.setblocking(False)
        writer.setblocking(False)
        signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        self._selector.register(reader, selectors.EVENT_READ, lambda sock: sock.recv(4096))
        day = self.config.day
        day_end = next_day_end(day, datetime.now().astimezone()) if day else None
        while not self.stop.is_set and not self.failed:
            for key, _ in self._selector.select(_LOOK_S):
                key.data(key.fileobj)
            self._reap()
            self.metrics.counters[SupervisorCounter.HEARTBEAT_NS] = time.monotonic_ns()
            now = datetime.now().astimezone()
            if day is not None and day_end is not None and now >= day_end:
                self.end_day()
                day_end = next_day_end(day, now)
        signal.set_wakeup_fd(-1)
        writer.close()

    def _reap(self) -> None:
        for child in self.children:
            if child.pid == 0:
                if child.restart_at and time.monotonic() >= child.restart_at:
                    child.restart_at = 0.0
                    child.pid = child.start()
                continue
            pid, status = os.waitpid(child.pid, os.WNOHANG)
            if pid == 0:
                continue
            code = os.waitstatus_to_exitcode(status)
            child.pid = 0
            if self.stop.is_set:
                continue
            if child.is_restartable:
                log.error("process ended, restarting: name=%s status=%d", child.name, code)
                self.metrics.counters[SupervisorCounter.EXPORTER_RESTARTS] += 1
                # A crash loop must not take a core: once a second is soon enough for an exporter.
                child.restart_at = time.monotonic() + _RESTART_PAUSE_S
                continue
            log.critical("process ended, the venue stops: name=%s status=%d", child.name, code)
            self.failed = True

    # --- stop -------------------------------------------------------------------------------------

    def shut_down(self) -> None:
        """Stop the gateway, then the shards, then the rest; kill what does not end in time."""
        log.info("stopping")
        self.stop.is_set = True
        for child in self.children:
            child.restart_at = 0.0
        self.metrics.counters[SupervisorCounter.READY] = 0
        self.memory.venue[0] = 0
        self.memory.gateways[:, GatewayWord.STOP] = 1
        for _, writer in self.eventfds:
            with contextlib.suppress(OSError):
                os.write(writer, (1).to_bytes(8, sys.byteorder))
        self._end("gateway")
        self.memory.shards[:, ShardWord.STOP] = 1
        for ring in self.rings:
            ring.wake()
        self._end("shard")
        for child in self.children:
            if child.pid and child.name == "exporter":
                os.kill(child.pid, signal.SIGTERM)
        self._end("exporter")

    def _end(self, prefix: str) -> None:
        chosen = [c for c in self.children if c.name.startswith(prefix)]

        def are_gone() -> bool:
            self._reap()
            return all(child.pid == 0 for child in chosen)

        if wait_until(are_gone, _STOP_TIMEOUT_S):
            return
        for child in chosen:
            if child.pid:
                log.error("process does not stop, killing it: name=%s", child.name)
                os.kill(child.pid, signal.SIGKILL)
        wait_until(are_gone, _STOP_TIMEOUT_S)


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
    # Installed first: a signal during start-up stops in good order, too.
    stop = StopFlag().install()
    listeners = bind_listeners(config)
    with data_directory(data_dir) as folder:
        remove_stale(config.shm_dir, config.venue.name)
        shm_folder = shared_folder(config.shm_dir, config.venue.name, folder)
        try:
            lock = lock_folder(shm_folder)
        except OSError as error:
            raise StartError(f"cannot use shared memory {shm_folder}: {error}") from error
        supervisor = Supervisor(config, folder, shm_folder)
        supervisor.stop = stop
        try:
            warm_kernels(lambda: stop.is_set)
            if stop.is_set:
                return 0
            supervisor.start(listeners)
            if not stop.is_set:
                ready = _ready(config, listeners, data_dir)
                addresses = {name: ready[name] for name in ("fix", "binary", "http")}
                write_card(shm_folder, config, folder, **addresses)
                log.info("ready: start_s=%.2f", time.monotonic() - started)
                print(json.dumps(ready), flush=True)
                supervisor.watch()
        finally:
            if supervisor.children:
                supervisor.shut_down()
            shutil.rmtree(shm_folder, ignore_errors=True)
            os.close(lock)
    return 1 if supervisor.failed else 0


def _ready(config: Config, listeners: Listeners, data_dir: Path | None) -> dict[str, Any]:
    return {
        "ready": True,
        "fix": _address(listeners.fix),
        "binary": _address(listeners.binary),
        "market_data": None,
        "http": _address(listeners.http),
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
    help="Where the logs are kept; without it a temporary folder that a clean exit removes.",
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
    for number in _STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    raise SystemExit(status)

"""Compile every kernel of the venue before anything listens, or load it from the disk cache.

The real objects are made at a small size and their kernels called once, so that exactly the types
that serve clients are compiled. Processes forked afterwards have everything in place.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np

from openoutcry.config.jit import IS_COMPILED, cache_folder
from openoutcry.server.config import Capacity, Config, Log
from openoutcry.server.config import Gateway as GatewayConfig

#: A step that takes longer is compiling, and says so.
_QUIET_S = 1.0


def _small_config() -> Config:
    return Config(
        capacity=Capacity(
            open_orders=64,
            finished_orders=64,
            levels=64,
            symbols=8,
            sessions=8,
            accounts=8,
            command_ring_records=64,
            event_ring_records=64,
        ),
        log=Log(segment_bytes=1 << 20),
        gateway=GatewayConfig(max_connections=2, receive_buffer_bytes=16384),
    )


class _Step:
    """Prints what is being compiled, if it takes long enough for somebody to wonder."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._started = time.monotonic()
        self._timer = threading.Timer(_QUIET_S, self._announce)
        self._is_announced = False

    def _announce(self) -> None:
        self._is_announced = True
        print(f"compiling {self._name} (first start only) …", file=sys.stderr, flush=True)

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *exc: object) -> None:
        self._timer.cancel()
        self._timer.join()
        if self._is_announced:
            seconds = time.monotonic() - self._started
            print(f"compiled {self._name} in {seconds:.1f} s", file=sys.stderr, flush=True)


def _marker() -> Path | None:
    """Return the file that says that the kernels of these sources are on the disk, if one can."""
    folder = cache_folder(Path(__file__).resolve())
    return Path(folder) / "compiled" if folder and IS_COMPILED else None


def warm_kernels(is_stopping: Callable[[], bool] = lambda: False) -> None:
    """Have all kernels of the venue ready in this process, compiling what is not on the disk yet.

    Compiling leaves some 300 MB behind in the process that does it, and so in all that it forks: a
    process of its own compiles, and this one loads the result. Returns early when `is_stopping`.
    """
    marker = _marker()
    if marker is not None and not marker.is_file():
        command = [sys.executable, "-m", "openoutcry.server.main", "warm"]
        # Its temporary files lie in ours, so that nothing stays behind when it is killed.
        with (
            tempfile.TemporaryDirectory(prefix="openoutcry-warm-") as folder,
            subprocess.Popen(command, env={**os.environ, "TMPDIR": folder}) as compiling,
        ):
            while compiling.poll() is None:
                if is_stopping():
                    compiling.kill()
                    return
                time.sleep(0.02)
    _call_all()


def compile_kernels() -> None:
    """Compile or load all kernels of the shard, the gateway and the supervisor, here."""
    _call_all()
    marker = _marker()
    if marker is not None:
        with contextlib.suppress(OSError):
            # A cache that cannot be written is none: every start compiles in memory.
            marker.touch()


def _call_all() -> None:
    with tempfile.TemporaryDirectory(prefix="openoutcry-warm-") as name:
        folder = Path(name)
        for what, step in _steps(folder):
            with _Step(what):
                step()


def _steps(folder: Path) -> list[tuple[str, Callable[[], None]]]:
    from openoutcry.engine.enums import CommandKind
    from openoutcry.engine.state import ShardWord
    from openoutcry.protocol.fix.versions import Version
    from openoutcry.server.gateway import Gateway
    from openoutcry.server.gateway_recovery import warm as warm_recovery
    from openoutcry.server.memory import VenueMemory
    from openoutcry.server.replica import Replica
    from openoutcry.server.sessions import PROTOCOL_FIX
    from openoutcry.server.shard import Shard
    from openoutcry.server.snapshots import load_snapshot, read_snapshot, write_snapshot

    config = _small_config()
    memory = VenueMemory.create(folder, 1, 1, 64, 64)
    gateways: list[Gateway] = []

    def inwards() -> None:
        gateway = Gateway(config, memory, folder)
        gateways.append(gateway)
        gateway.set_comp_ids(1, "WARM", Version.FIX44)
        session = gateway.fix.registry.find("WARM", PROTOCOL_FIX, "FIX.4.4")
        assert session is not None
        order = gateway.orders.command(CommandKind.STATUS, session.number, 1)
        order["account"] = gateway.accounts.find(b"WARM")
        order["cl_ord_id"] = b"WARM"
        gateway.orders.put(0, order)
        connection = _Unconnected(config.gateway.receive_buffer_bytes)
        gateway.receive_binary(connection, 0, 0)  # type: ignore[arg-type]
        gateway.receive_fix(connection, 0, 0)  # type: ignore[arg-type]

    def match() -> None:
        memory.shards[0, ShardWord.STOP] = 1
        Shard(config, memory, 0, folder, [-1]).run(os.getppid())

    def recover() -> None:
        replica = Replica.open(folder, 0)
        replica.follow()
        replica.find_end()
        load_snapshot(read_snapshot(write_snapshot(folder, replica, "")))
        replica.close()

    def outwards() -> None:
        gateway = gateways[0]
        gateway.look_for_reports()
        found = gateway.index.block_of(1, 1)
        assert found is not None
        gateway.resender.encode(1, found[1], 0, 1, number=1)
        warm_recovery(gateway)
        gateway.resender.close()

    return [
        ("the FIX and binary decoders", inwards),
        ("the order book and its log", match),
        ("the replay of the log", recover),
        ("the FIX and binary encoders", outwards),
    ]


class _Unconnected:
    """What the inbound kernels read of a connection."""

    session_number = 0

    def __init__(self, size: int) -> None:
        self.buffer = np.zeros(size, np.uint8)


@click.command()
def warm() -> None:
    """Compile all kernels now, so that the first start is as quick as every other."""
    started = time.monotonic()
    compile_kernels()
    print(f"kernels are ready ({time.monotonic() - started:.1f} s)", file=sys.stderr)

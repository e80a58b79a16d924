"""A venue of our own, as a separate process: started, waited for, stopped."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

#: A first start compiles every kernel.
READY_S = 300.0
#: Longer than a venue waits for its own processes, each kind of which has 15 s.
_STOP_S = 100.0
_LOG_S = 20.0


class VenueError(Exception):
    """The venue did not start or did not stop as it should."""


@contextmanager
def own_venue(
    settings: Sequence[str] = (),
    config: str | None = None,
    data_dir: str | None = None,
    on_log: Callable[[str], None] | None = None,
) -> Iterator[dict[str, Any]]:
    """Run a venue on free ports; yield what its ready line says.

    Args:
        settings: `key=value` overrides of its configuration.
        config: Its configuration file, if not the embedded default.
        data_dir: Its data directory, if not a temporary one.
        on_log: Gets each line of its log, in a thread; by default they go to our stderr.

    Raises:
        VenueError: it did not start, and the text ends with the last line of its log; or it did
            not stop, and was killed.
    """
    command = [sys.executable, "-m", "openoutcry.server.main", "serve"]
    if config:
        command += ["--config", config]
    if data_dir:
        command += ["--data-dir", data_dir]
    for setting in ("listen.fix=0", "listen.binary=0", "listen.http=0", *settings):
        command += ["--set", setting]
    stderr = subprocess.PIPE if on_log else None
    with (
        _terminated_in_order(),
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True) as process,
    ):
        reader = None
        last: deque[str] = deque(maxlen=1)
        if on_log is not None:
            reader = threading.Thread(target=_read_log, args=(process, on_log, last), daemon=True)
            reader.start()
        try:
            try:
                ready = _ready_line(process)
            except VenueError as error:
                if reader is not None and process.poll() is not None:
                    reader.join(_LOG_S)
                raise VenueError(": ".join([str(error), *last])) from None
            yield ready
        except BaseException:
            with contextlib.suppress(VenueError):
                _stop(process)
            raise
        else:
            _stop(process)
        finally:
            if reader is not None:
                reader.join(_LOG_S)


@contextmanager
def _terminated_in_order() -> Iterator[None]:
    """Let SIGTERM end the program as an exception does, so that the venue is stopped with it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    if before is signal.SIG_DFL:
        # A caller with a handler of its own (the demo) leaves by an exception, too.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _read_log(
    process: "subprocess.Popen[str]", on_log: Callable[[str], None], last: deque[str]
) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        last.append(line.rstrip("\n"))
        on_log(last[0])


def _ready_line(process: "subprocess.Popen[str]") -> dict[str, Any]:
    assert process.stdout is not None
    until = time.monotonic() + READY_S
    text = b""
    while b"\n" not in text:
        left = until - time.monotonic()
        if left <= 0:
            raise VenueError(f"the venue was not ready within {READY_S:g} s")
        if not select.select([process.stdout], (), (), left)[0]:
            continue
        # By hand: what a buffered reader holds back would not wake a select.
        part = os.read(process.stdout.fileno(), 65536)
        if not part:
            raise VenueError(f"the venue ended with status {process.wait()} before it was ready")
        text += part
    try:
        ready = json.loads(text.split(b"\n")[0])
    except ValueError as error:
        raise VenueError(f"the venue's ready line is no JSON: {text!r}") from error
    if not isinstance(ready, dict) or ready.get("ready") is not True:
        raise VenueError(f"the venue is not ready: {text!r}")
    return ready


def _stop(process: "subprocess.Popen[str]") -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise VenueError(f"the venue did not stop within {_STOP_S:g} s, and was killed") from None


def endpoint(text: str) -> tuple[str, int]:
    """Return (host, port) of `host:port`. Raises ValueError."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"{text!r} is not HOST:PORT")
    return host.strip("[]"), int(port)

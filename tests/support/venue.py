"""A venue in processes of its own, as an operator would run it."""

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import yaml
from prometheus_client.parser import text_string_to_metric_families

#: Gateways and shards of a venue whose test asks for none in particular (`make e2e-two`).
GATEWAYS = int(os.environ.get("OPENOUTCRY_TEST_GATEWAYS", "1"))
SHARDS = int(os.environ.get("OPENOUTCRY_TEST_SHARDS", "1"))

#: A cold cache of kernels takes its time on two busy cores.
START_S = 150
STOP_S = 30

#: Symbols of a test venue: a test takes one that nobody else uses.
SYMBOLS = [
    {"name": "BTCUSDT", "tick": "0.01", "lot": "0.00001"},
    {"name": "ETHUSDT", "tick": "0.01", "lot": "0.0001"},
    {"name": "AAPL", "tick": "0.01", "lot": "1"},
    {"name": "MSFT", "tick": "0.01", "lot": "1"},
    *({"name": f"T{number:03d}", "tick": "0.05", "lot": "10"} for number in range(4, 400)),
]
#: The bounds that make a test venue small; all else is the default configuration.
SMALL = (
    "listen.fix=0",
    "listen.binary=0",
    "listen.http=0",
    "log.segment_bytes=16777216",
    "log.min_free_bytes=1048576",
    "day=null",
)


def wait_for(condition: Callable[[], Any], timeout_s: float = 10.0, step_s: float = 0.01) -> Any:
    """Wait until a condition is true, and return its value; AssertionError after the time-out."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {condition}"
        time.sleep(step_s)


class Venue:
    """A running `openoutcry serve`.

    Args:
        folder: where its temporary files, its log and its configuration go; no other venue's.
        settings: key=value, as `--set` takes them.
        data_dir: `--data-dir`, or None.
        config: keys of a configuration file.
        symbols: the file's symbols; None for the default ones.
        environment: variables besides this process's own.
        gateways, shards: how many, where neither settings nor config say so.
    """

    _count = 0

    def __init__(
        self,
        folder: Path,
        *settings: str,
        data_dir: Path | None = None,
        config: dict[str, Any] | None = None,
        symbols: list[dict[str, str]] | None = None,
        environment: dict[str, str] | None = None,
        gateways: int = GATEWAYS,
        shards: int = SHARDS,
    ) -> None:
        Venue._count += 1
        self._environment = environment or {}
        self.name = f"test-{os.getpid()}-{Venue._count}"
        self.folder = folder / self.name
        self.temporary = self.folder / "tmp"
        self.temporary.mkdir(parents=True)
        self.data_dir = data_dir
        tree = dict(config or {})
        if symbols is not None:
            tree["symbols"] = symbols
        if gateways > 1:
            tree["gateway"] = {"count": gateways, **tree.get("gateway", {})}
        if shards > 1:
            tree.setdefault("shards", [{"core": None}] * shards)
        path = self.folder / "server.yaml"
        path.write_text(yaml.safe_dump(tree))
        self.symbol_numbers = {str(each["name"]): n for n, each in enumerate(symbols or SYMBOLS)}
        self.command = [sys.executable, "-m", "openoutcry.server.main", "serve"]
        self.command += ["--config", str(path)]
        for setting in (f"venue.name={self.name}", *SMALL, *settings):
            self.command += ["--set", setting]
        if data_dir is not None:
            self.command += ["--data-dir", str(data_dir)]
        self.ready: dict[str, Any] = {}
        #: How many of its processes the test has hang.
        self.hangs = 0
        self.process: subprocess.Popen[bytes]
        self._free_symbols = [str(each["name"]) for each in (symbols or SYMBOLS)[4:]]
        self._err = self.folder / "stderr"

    # --- life -------------------------------------------------------------------------------------

    def spawn(self) -> Self:
        """Start the process, and do not wait."""
        environment = {**os.environ, "TMPDIR": str(self.temporary), **self._environment}
        with self._err.open("ab") as err:
            self.process = subprocess.Popen(
                self.command, stdout=subprocess.PIPE, stderr=err, env=environment
            )
        return self

    def start(self) -> Self:
        """Start, and wait for the ready line."""
        self.spawn()
        try:
            line = self.first_line()
            assert line, f"no ready line; status {self.process.wait(STOP_S)}: {self.log()}"
        except AssertionError:
            self.kill_all()
            raise
        self.ready = json.loads(line)
        return self

    def first_line(self) -> bytes:
        """Return the first line on stdout, empty where it was closed without one."""
        assert self.process.stdout is not None
        readable, _, _ = select.select([self.process.stdout], [], [], START_S)
        assert readable, f"nothing on stdout within {START_S} s: {self.log()}"
        return self.process.stdout.readline()

    def stop(self, number: int = signal.SIGTERM, status: int = 0) -> None:
        """Stop in good order, and check that it was."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            assert self.process.wait(STOP_S) == status, self.log()
        except BaseException:
            self.kill_all()
            raise
        self.kill()
        self.check_clean()

    def kill(self) -> None:
        """End what is left, whatever it is."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(STOP_S)
        if self.process.stdout is not None:
            self.process.stdout.close()

    def check_clean(self) -> None:
        """Fail where the venue left something behind, or logged a bug of ours."""
        log = self.log()
        assert "Traceback" not in log, log
        assert "process failed" not in log, log
        assert "does not stop, killing it" not in log, log
        assert log.count("hangs, killing it") == self.hangs, log
        assert self.shared() == []
        assert list(self.temporary.iterdir()) == []

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        if kind is None:
            self.stop()
        else:
            self.kill_all()

    def kill_all(self) -> None:
        """End every process of the venue, and take away what it leaves: a test failed."""
        pids = self.pids() if self.process.poll() is None else set()
        self.kill()
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        for name in self.shared():
            shutil.rmtree(Path("/dev/shm") / name, ignore_errors=True)

    # --- looking ----------------------------------------------------------------------------------

    def log(self) -> str:
        """Return everything on stderr so far."""
        return self._err.read_text(errors="replace")

    def wait_for_log(self, text: str, timeout_s: float = 10.0) -> str:
        """Wait for a line of the log that contains a text; return it."""

        def line() -> str | None:
            return next((line for line in self.log().splitlines() if text in line), None)

        deadline = time.monotonic() + timeout_s
        while (found := line()) is None:
            assert time.monotonic() < deadline, f"{text!r} was not logged: {self.log()}"
            time.sleep(0.01)
        return found

    def shared(self) -> list[str]:
        """Return what there is of the venue in shared memory."""
        return [path.name for path in Path("/dev/shm").glob(f"openoutcry-{self.name}-*")]

    def pids(self) -> set[int]:
        """Return the pids of the venue's processes, the supervisor left out."""
        pid = self.process.pid
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        return {int(child) for child in text.split()}

    def children(self) -> dict[str, int]:
        """Return the same by name; one that was forked just now may have none of its own yet."""
        found = {}
        for child in self.pids():
            try:
                found[Path(f"/proc/{child}/comm").read_text().strip()] = child
            except OSError:
                continue
        return found

    def fds(self, name: str) -> int:
        """Return how many files a process has open."""
        return len(os.listdir(f"/proc/{self.children()[name]}/fd"))

    def port(self, name: str) -> int:
        """Return a listener's port."""
        return int(self.ready[name].rpartition(":")[2])

    def take_symbol(self) -> str:
        """Return a symbol that no other test uses (tick 0.05, lot 10)."""
        return self._free_symbols.pop(0)

    # --- HTTP -------------------------------------------------------------------------------------

    def http(self, path: str, body: Any = None) -> tuple[int, str]:
        """Send a request; return status and text."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://{self.ready['http']}{path}", data)
        if data is not None:
            request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=20) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def metrics(self) -> "Metrics":
        """Scrape."""
        status, text = self.http("/metrics")
        assert status == 200
        return Metrics(text)


class Metrics:
    """What one scrape told."""

    def __init__(self, text: str) -> None:
        self.samples = [
            sample for family in text_string_to_metric_families(text) for sample in family.samples
        ]

    def __call__(self, name: str, **labels: str) -> float:
        """Return the sum of the samples of a name that have these labels."""
        found = [
            sample.value
            for sample in self.samples
            if sample.name == f"openoutcry_{name}" and labels.items() <= sample.labels.items()
        ]
        assert found, f"no sample {name} {labels}"
        return sum(found)

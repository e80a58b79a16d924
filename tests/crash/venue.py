"""A venue to be killed, and the clients that are not."""

import contextlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import msgspec
from crash.checker import Checker
from crash.record import RecordReader
from crash.traders import Plan, SessionPlan
from crash.wire import Units
from support.venue import Venue, wait_for

from openoutcry.engine.faults import HIT, FaultPoint
from openoutcry.engine.state import GatewayWord, ProcessStatus, ShardWord
from openoutcry.server.memory import VenueMemory

#: Two symbols a shard, alternating; orders of nine lots are refused.
SYMBOLS = [
    {"name": name, "tick": "0.05", "lot": "10", "max_qty": "80"}
    for name in ("S0", "S1", "S2", "S3")
]
UNITS = {each["name"]: Units(Fraction("0.05"), Fraction(10)) for each in SYMBOLS}

#: Sessions: those of a firm, whose reports another session gets copies of, and others.
FIRM_SESSIONS = (
    SessionPlan("FIRM42", "FIX42"),
    SessionPlan("FIRM44", "FIX44"),
    SessionPlan("FIRMBIN", "binary"),
)
COPY_SESSION = SessionPlan("COPY", "FIX44", listens=True)
OTHER_SESSIONS = (
    SessionPlan("FIX50", "FIX50SP2"),
    SessionPlan("BIN1", "binary"),
    SessionPlan("BIN2", "binary"),
)
SESSIONS = [*FIRM_SESSIONS, COPY_SESSION, *OTHER_SESSIONS]

#: Sessions whose orders are canceled when their connection is lost; whoever kills a gateway does
#: that, too.
_DEPARTURES: dict[str, dict[str, Any]] = {
    "FIRM44": {"cancel_on_disconnect": {"grace_s": 0}},
    "FIRMBIN": {"cancel_on_disconnect": {"grace_s": 1}},
}
_RECOVER_S = 60.0
_STOP_S = 30.0
_FIRST_REPORTS = 300
_REST_S = 60.0

#: Fault points by the process whose words they are in.
SHARD_POINTS = [point for point in FaultPoint if point < FaultPoint.SNAPSHOT_WRITTEN]
FOLLOWER_POINTS = [FaultPoint.SNAPSHOT_WRITTEN, FaultPoint.SNAPSHOT_RENAMED]
GATEWAY_POINTS = [point for point in FaultPoint if point >= FaultPoint.BEFORE_INDEX]


class CrashError(AssertionError):
    """Something that must hold after a crash does not."""


def free_port() -> int:
    """Return a port that nobody listens on just now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _config() -> dict[str, Any]:
    begin = {"FIX42": "FIX.4.2", "FIX44": "FIX.4.4"}

    def session(plan: SessionPlan) -> dict[str, Any]:
        if plan.protocol == "binary":
            return {"id": plan.name, "protocol": "binary"}
        return {"id": plan.name, "begin_string": begin[plan.protocol]}

    firm = [{**session(plan), **_DEPARTURES.get(plan.name, {})} for plan in FIRM_SESSIONS]
    firm.append({**session(COPY_SESSION), "drop_copy": "firm"})
    return {"firms": [{"name": "FIRM", "sessions": firm}]}


class Clients:
    """The process of the clients."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        tests = Path(__file__).parents[1]
        path = os.pathsep.join([str(tests), os.environ.get("PYTHONPATH", "")])
        self.error = Path(plan.record).with_suffix(".err")
        with self.error.open("ab") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "crash.traders", msgspec.json.encode(plan).decode()],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=err,
                env={**os.environ, "PYTHONPATH": path},
            )

    def tell(self, do: str, wait_s: float = 10.0, **more: Any) -> dict[str, Any]:
        """Give an order, and return the answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        line = json.dumps({"do": do, **more}) + "\n"
        try:
            self.process.stdin.write(line.encode())
            self.process.stdin.flush()
        except BrokenPipeError:
            raise CrashError(f"the clients ended: {self.error.read_text()}") from None
        readable, _, _ = select.select([self.process.stdout], [], [], wait_s)
        text = self.process.stdout.readline() if readable else b""
        if not text:
            raise CrashError(f"no answer to {do}: {self.error.read_text()}")
        answer: dict[str, Any] = json.loads(text)
        if answer["failures"]:
            raise CrashError(f"clients gave up: {answer['failures']}")
        return answer

    def run(self) -> None:
        """Let them trade."""
        self.tell("run")

    def rest(self, timeout_s: float = _REST_S) -> None:
        """Have all that is under way answered."""
        answer = self.tell("rest", timeout_s + 20, timeout_s=timeout_s)
        if answer["waits"]:
            raise CrashError(f"not answered within {timeout_s} s: {answer['waits']}")

    def reset(self, session: str) -> None:
        """Have a session of FIX begin its numbers anew; all must be at rest."""
        self.tell("reset", session=session)

    def resend(self) -> None:
        """Have them ask for all reports again."""
        self.tell("resend")

    def stop(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(b'{"do": "stop"}\n')
            self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)
        self.process.stdout.close()


class CrashVenue:
    """A venue on a data directory of its own, clients under load, and what checks their record.

    Args:
        folder: for everything; the data directory is `folder/data`, and stays.
        faults: use the build that dies at fault points.
    """

    def __init__(
        self,
        folder: Path,
        seed: int,
        *settings: str,
        gateways: int = 2,
        shards: int = 2,
        durability: str = "process",
        faults: bool = False,
        environment: dict[str, str] | None = None,
        plan: dict[str, Any] | None = None,
    ) -> None:
        self.folder = folder
        self.seed = seed
        self.data = folder / "data"
        self.has_faults = faults
        self.durability = durability
        self.gateways = gateways
        self.shards = shards
        self.fix_port, self.binary_port = free_port(), free_port()
        # A few compilers' folders: the test build's kernels are others than the product's.
        build = {"OPENOUTCRY_TEST_BUILD": "1"} if faults or environment else {}
        self.environment = {**build, **(environment or {})}
        self.venue = Venue(
            folder,
            f"gateway.count={gateways}",
            f"log.durability={durability}",
            "log.segment_bytes=1048576",
            "snapshots.every_bytes=1048576",
            "supervision.restart_max_s=1",
            "supervision.hang_s=2",
            "capacity.open_orders=32768",
            "capacity.finished_orders=200000",
            "capacity.levels=4096",
            "capacity.sessions=64",
            "capacity.accounts=256",
            "capacity.command_ring_records=4096",
            "capacity.event_ring_records=4096",
            f"listen.fix={self.fix_port}",
            f"listen.binary={self.binary_port}",
            *settings,
            data_dir=self.data,
            config={**_config(), "shards": [{"core": None}] * shards},
            symbols=SYMBOLS,
            environment=self.environment,
        )
        self.record = folder / "record"
        self.reader = RecordReader(self.record)
        listens = [COPY_SESSION.name]
        self.checker = Checker({s.name: s.protocol for s in SESSIONS}, UNITS, listens)
        symbols = [each["name"] for each in SYMBOLS]
        self.plan = Plan(
            *(str(self.record), self.fix_port, self.binary_port, SESSIONS, symbols, seed),
            **(plan or {}),
        )
        self.clients: Clients | None = None
        self.memory: VenueMemory

    # --- life -------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the venue, on what the data directory holds."""
        self.venue.start()
        (name,) = self.venue.shared()
        self.memory = VenueMemory.open(Path("/dev/shm") / name)

    def trade(self) -> None:
        """Have the clients trade; they stay for good."""
        if self.clients is not None:
            self.clients.run()
            return
        self.clients = Clients(self.plan)
        self.clients.run()
        # Their first Logon must not fail; later they come back by themselves.
        self.await_reports(_FIRST_REPORTS)
        missing = [name for name, each in self.checker.sessions.items() if not each.connections]
        assert not missing, f"{missing} did not connect"

    def check(self) -> None:
        """Bring all to rest, and hold the record against the rules."""
        assert self.clients is not None
        self.clients.rest()
        self.look()
        self.checker.check_rest()
        self.raise_findings()

    def reset(self, session: str) -> None:
        """Bring all to rest, and have a session's numbers begin anew."""
        assert self.clients is not None
        self.clients.rest()
        self.look()
        before = self.checker.sessions[session].base
        self.clients.reset(session)

        def is_done() -> bool:
            self.look()
            return self.checker.sessions[session].base > before

        self.wait(is_done, f"{session} was not reset")

    def look(self) -> None:
        """Read what is new in the record."""
        self.checker.read(self.reader.fresh())

    def await_reports(self, count: int) -> None:
        """Wait until clients got so many more reports."""
        self.look()
        goal = self.checker.reports + count

        def have_come() -> bool:
            self.look()
            return self.checker.reports >= goal

        self.wait(have_come, f"{count} more reports did not come")

    def raise_findings(self) -> None:
        """Fail where the checker found something."""
        if self.checker.findings:
            found = "\n".join(self.checker.findings[:20])
            raise CrashError(f"seed {self.seed}, {self.folder}:\n{found}")

    def close(self) -> None:
        """End everything, however it stands, and leave the data directory."""
        if self.clients is not None:
            self.clients.stop()
            self.clients = None
        self.reader.close()
        if hasattr(self.venue, "process"):
            self.resume()
            self.kill_everything()
            self.venue.kill_all()

    def stop(self) -> None:
        """Stop the venue in good order, and see that it was."""
        process = self.venue.process
        process.terminate()
        try:
            status = process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            raise CrashError(f"the venue does not stop: {self.venue.log()[-6000:]}") from None
        log = self.venue.log()
        self.venue.kill()
        # What a start that was killed had in its temporary folder stays there.
        if status or self.venue.shared():
            left = self.venue.shared()
            raise CrashError(f"stopped with status {status}, left {left}: {log[-6000:]}")
        if "Traceback" in log:
            raise CrashError(f"an exception: {log[log.index('Traceback') - 2000 :][:6000]}")

    # --- processes --------------------------------------------------------------------------------

    def pid(self, name: str) -> int:
        """Return the pid of a process: shard-0, gateway-1, follower-0, exporter, supervisor."""
        kind, _, number = name.partition("-")
        n = int(number or 0)
        match kind:
            case "supervisor":
                return self.venue.process.pid
            case "shard":
                return int(self.memory.shards[n, ShardWord.PID])
            case "follower":
                return int(self.memory.shards[n, ShardWord.FOLLOWER_PID])
            case "gateway":
                return int(self.memory.gateways[n, GatewayWord.PID])
        return self.venue.children().get(f"oo-{name}", 0)

    def processes(self) -> list[str]:
        """Return the names of all processes but the supervisor."""
        return [
            *(f"shard-{n}" for n in range(self.shards)),
            *(f"gateway-{n}" for n in range(self.gateways)),
            *(f"follower-{n}" for n in range(self.shards)),
            "exporter",
        ]

    def send_signal(self, name: str, number: int) -> None:
        """Send a process a signal; it may be gone already."""
        pid = self.pid(name)
        if pid > 0:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def all_pids(self) -> list[int]:
        """Return the pids of the supervisor and of its children."""
        if self.venue.process.poll() is not None:
            return []
        return [self.venue.process.pid, *self.venue.children().values()]

    def pause(self) -> None:
        """Stop every process where it is, the supervisor first."""
        for pid in self.all_pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let them go on."""
        for pid in reversed(self.all_pids()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def kill_supervisor(self) -> None:
        """Kill the supervisor, and wait until its children have noticed."""
        pids = self.all_pids()
        self.venue.process.kill()
        self.venue.process.wait(10)
        self._await_end(pids)

    def kill_everything(self) -> None:
        """Kill all processes at once, as the end of a container does."""
        pids = self.all_pids()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if pids:
            self.venue.process.wait(10)
        self._await_end(pids)

    def _await_end(self, pids: list[int]) -> None:
        assert self.venue.process.stdout is not None
        self.venue.process.stdout.close()
        deadline = time.monotonic() + 5
        while any(Path(f"/proc/{pid}").exists() for pid in pids):
            if time.monotonic() > deadline:
                names = [pid for pid in pids if Path(f"/proc/{pid}").exists()]
                raise CrashError(f"processes {names} outlive the supervisor: {self.venue.log()}")
            time.sleep(0.01)

    def wipe_shared(self) -> None:
        """Take the shared memory away, as a container's restart does."""
        for name in self.venue.shared():
            shutil.rmtree(Path("/dev/shm") / name, ignore_errors=True)

    # --- faults -----------------------------------------------------------------------------------

    def fault_word(self, name: str, point: FaultPoint) -> tuple[Any, int, int]:
        """Return the array and the place of a point's word."""
        kind, _, number = name.partition("-")
        if kind == "gateway":
            return self.memory.gateways, int(number), GatewayWord.FAULTS + point
        return self.memory.shards, int(number), ShardWord.FAULTS + point

    def arm(self, name: str, point: FaultPoint, countdown: int) -> None:
        """Have a process die when it comes by a point for the n-th time."""
        words, row, column = self.fault_word(name, point)
        words[row, column] = countdown

    def is_hit(self, name: str, point: FaultPoint) -> bool:
        """Tell whether a process died at a point."""
        words, row, column = self.fault_word(name, point)
        return bool(words[row, column] == HIT)

    def disarm(self, name: str, point: FaultPoint) -> None:
        """Switch a point off."""
        words, row, column = self.fault_word(name, point)
        words[row, column] = 0

    # --- recovery ---------------------------------------------------------------------------------

    def is_up(self) -> bool:
        """Tell whether every shard, gateway and follower runs."""
        running = ProcessStatus.RUNNING
        shards, gateways = self.memory.shards, self.memory.gateways
        return bool(
            (shards[:, ShardWord.STATUS] == running).all()
            and (gateways[:, GatewayWord.STATUS] == running).all()
            and (shards[:, ShardWord.FOLLOWER_STATUS] == running).all()
            and not shards[:, ShardWord.IS_DOWN].any()
        )

    def await_successors(self, before: dict[str, int]) -> None:
        """Wait until processes have other pids than before; they may still recover."""

        def is_done() -> bool:
            return all(self.pid(name) not in {0, pid} for name, pid in before.items())

        self.wait(is_done, f"{list(before)} were not started again")

    def await_change(self, before: dict[str, int]) -> None:
        """Wait until processes have other pids than before, and all is up."""

        def is_done() -> bool:
            if self.venue.process.poll() is not None:
                raise CrashError(f"the venue ended: {self.venue.log()[-6000:]}")
            return self.is_up() and all(
                self.pid(name) not in {0, pid} for name, pid in before.items()
            )

        self.wait(is_done, f"{list(before)} did not come back")

    def wait(self, condition: Callable[[], Any], what: str, timeout_s: float = _RECOVER_S) -> None:
        """Wait, or fail with the end of the venue's log."""
        try:
            wait_for(condition, timeout_s)
        except CrashError:
            raise
        except AssertionError:
            raise CrashError(
                f"seed {self.seed}: {what} within {timeout_s} s: {self.venue.log()[-6000:]}"
            ) from None

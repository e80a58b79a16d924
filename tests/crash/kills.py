"""Ways to hurt a venue under load, each with its recovery, check and place in the counts."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from crash.audit import audit, check_oracle, check_snapshots, replay
from crash.books import Books
from crash.venue import (
    FIRM_SESSIONS,
    FOLLOWER_POINTS,
    GATEWAY_POINTS,
    SHARD_POINTS,
    CrashError,
    CrashVenue,
)

from openoutcry.engine.faults import FaultPoint
from openoutcry.engine.state import ShardWord

#: Points that are passed when a process starts again, not under load.
RECOVERY_POINTS = {
    FaultPoint.WITHIN_RECOVERY,
    FaultPoint.AFTER_RECOVERY,
    FaultPoint.GATEWAY_RECOVERY,
}
#: Points that are passed once in a while: a process dies there whenever it comes by, be it in the
#: middle of something else.
SEGMENT_POINTS = {
    FaultPoint.SEGMENT_CREATED,
    FaultPoint.SEGMENT_MAPPED,
    FaultPoint.GATEWAY_SEGMENT,
}
#: Points that only `power` passes.
POWER_POINTS = {FaultPoint.AFTER_SYNC}
#: Points that are passed so often that a kill at the first time would always hit the same state.
_BUSY_MOST = 200
_HIT_S = 60.0
_TRIES = 5
_HANG_S = 2.0
_RESEND_S = 120.0
_AMBUSH_S = 150.0
_STALL_S = 1.2
_STILL_S = 0.4
#: Points that load leads to all the time.
_LOADED = [
    *(("shard", point) for point in SHARD_POINTS if point <= FaultPoint.AFTER_SYNC),
    *(("gateway", point) for point in GATEWAY_POINTS if point <= FaultPoint.PARTIAL_WRITE),
]
#: How a whole venue comes to its end before it is started again.
RESTARTS = ("supervisor", "everything", "twice", "container", "stalled", "point", "stop")
#: Sessions that begin their numbers anew now and then.
RESETTING = ("FIRM42", "FIRM44", "FIX50", "COPY")
#: Logs of more commands are not executed by the oracle, which takes 50 us each.
_ORACLE_COMMANDS = 60_000


class Kills:
    """Hurts one venue, again and again, and counts.

    Attributes:
        counts: kind of kill or fault → how often.
        checks: how often the record was held against the rules, and the books against the logs.
    """

    def __init__(
        self, venue: CrashVenue, *, tell: Callable[[str], None] = lambda text: None
    ) -> None:
        self.venue = venue
        self.rng = random.Random(venue.seed)
        self.counts: Counter[str] = Counter()
        self.checks = 0
        self.resent = 0
        self._tell = tell
        self._books = Books(venue.data, venue.shards)
        self._books.begin()
        #: Points that a process shall die at some time.
        self._ambushes: list[tuple[str, FaultPoint]] = []

    # --- one kill ---------------------------------------------------------------------------------

    def hurt(self, kind: str, harm: Callable[[], None]) -> None:
        """Do something under load, have it recovered, and check."""
        self._tell(kind)
        self.venue.trade()
        self._lie_in_wait()
        time.sleep(self.rng.random() * 0.3)
        harm()
        # Some of it happens while clients come back.
        time.sleep(self.rng.random() * 0.1)
        self._check()

    def _check(self) -> None:
        self.venue.check()
        self._look_at_ambushes()
        self.venue.wait(self.venue.is_up, "not all came back")
        self._raise([*self._books.check(), *self._other_deaths()])
        self.checks += 1

    def _other_deaths(self) -> list[str]:
        """Return what the venue's log tells of processes that died, and not by our hand."""
        lines = self.venue.venue.log().splitlines()
        return [line for line in lines if "process ended" in line and "status=-9 " not in line]

    def _raise(self, findings: list[str]) -> None:
        if findings:
            text = "\n".join(findings[:20])
            raise CrashError(f"seed {self.venue.seed}, {self.venue.folder}:\n{text}")

    def kill(self, *names: str) -> None:
        """Kill processes at the same time."""

        def harm() -> None:
            before = {name: self.venue.pid(name) for name in names}
            for name in names:
                self.venue.send_signal(name, signal.SIGKILL)
            self.venue.await_change(before)

        self._kill(names, harm)

    def kill_again(self, *names: str) -> None:
        """Kill processes, and their successors within the recovery."""

        def harm() -> None:
            for _ in range(2):
                before = {name: self.venue.pid(name) for name in names}
                for name in names:
                    self.venue.send_signal(name, signal.SIGKILL)
                self.venue.await_successors(before)
                time.sleep(self.rng.random() * 0.5)
            self.venue.await_change(before)

        self._kill(names, harm, " twice")

    def kill_after_reset(self, *names: str) -> None:
        """Kill processes right after a session's numbers began anew, or a little later."""
        session = self.rng.choice(RESETTING)

        def harm() -> None:
            self.venue.reset(session)
            self.counts["resets of a session's numbers"] += 1
            if self.rng.random() < 0.5:
                self.venue.trade()
                time.sleep(self.rng.random() * 0.3)
            before = {name: self.venue.pid(name) for name in names}
            for name in names:
                self.venue.send_signal(name, signal.SIGKILL)
            self.venue.await_change(before)

        self._kill(names, harm, " after a reset")

    def kill_beside(self, name: str, still: str) -> None:
        """Kill a process while another stands still, so that much is under way between them."""

        def harm() -> None:
            before = {name: self.venue.pid(name)}
            self.venue.send_signal(still, signal.SIGSTOP)
            time.sleep(_STILL_S)
            self.venue.send_signal(name, signal.SIGKILL)
            time.sleep(self.rng.random() * _STILL_S)
            self.venue.send_signal(still, signal.SIGCONT)
            self.venue.await_change(before)

        self._kill((name,), harm, f" while a {still.partition('-')[0]} stands still")

    def _kill(self, names: tuple[str, ...], harm: Callable[[], None], how: str = "") -> None:
        kinds = sorted({name.partition("-")[0] for name in names})
        what = "shards, gateways, followers" if len(kinds) > 2 else " and ".join(kinds)
        self.hurt(f"kill {' '.join(names)}{how}", harm)
        self.counts[f"kill -9 {what}{how}"] += 1

    def at_point(self, name: str, point: FaultPoint, countdown: int = 1, times: int = 1) -> None:
        """Have a process die at a point, several times in a row; it must come by there."""

        def harm() -> None:
            before = {name: self.venue.pid(name)}
            for time_ in range(times):
                self.venue.arm(name, point, countdown if time_ == 0 else 1)
                self._provoke(name, point, is_first=time_ == 0)
                self._await_hit(name, point)
                self.counts[f"point {point.name}"] += 1
            if times > 1:
                self.counts[f"point {point.name} twice in a row"] += 1
            self.venue.disarm(name, point)
            self.venue.await_change(before)

        self.hurt(f"{point.name} in {name}", harm)

    def _await_hit(self, name: str, point: FaultPoint) -> None:
        """Wait until a process has died at a point; a recovery that passes it too few times is
        followed by another."""
        pid = self.venue.pid(name)

        def is_over() -> bool:
            is_back = point in RECOVERY_POINTS and self.venue.pid(name) not in {0, pid}
            return self.venue.is_hit(name, point) or (is_back and self.venue.is_up())

        what = f"{name} did not come by {point.name}"
        for _ in range(_TRIES):
            self.venue.wait(is_over, what, _HIT_S)
            if self.venue.is_hit(name, point):
                return
            pid = self.venue.pid(name)
            self.venue.send_signal(name, signal.SIGKILL)
        raise CrashError(f"{what} in {_TRIES} recoveries")

    def ambush(self, name: str, point: FaultPoint) -> None:
        """Have a process die at a point whenever it comes by there; `finish` waits for it."""
        self._tell(f"{point.name} in {name} at some time")
        self._ambushes.append((name, point))
        self.venue.trade()
        self._lie_in_wait()

    def _lie_in_wait(self) -> None:
        for name, point in self._ambushes:
            self.venue.arm(name, point, 1)

    def _look_at_ambushes(self) -> None:
        """Count those that were hit; the others are off until the next harm."""
        for name, point in dict.fromkeys(self._ambushes):
            is_hit = self.venue.is_hit(name, point)
            self.venue.disarm(name, point)
            # It may have died there just before it could be switched off.
            if is_hit:
                self._ambushes.remove((name, point))
                self.counts[f"point {point.name}"] += 1
                self._tell(f"  {name} died at {point.name}")

    def _finish_ambushes(self) -> None:
        while self._ambushes:
            name, point = self._ambushes[0]

            def wait_for_it(name: str = name, point: FaultPoint = point) -> None:
                what = f"{name} did not come by {point.name}"
                self.venue.wait(lambda: self.venue.is_hit(name, point), what, _AMBUSH_S)

            self.hurt(f"{point.name} in {name}", wait_for_it)

    def _provoke(self, name: str, point: FaultPoint, *, is_first: bool) -> None:
        """Make a process come by a point that load alone does not lead it to."""
        if point in RECOVERY_POINTS and is_first:
            self.venue.send_signal(name, signal.SIGKILL)
        elif point in FOLLOWER_POINTS:
            shard = int(name.partition("-")[2])
            self.venue.memory.shards[shard, ShardWord.SNAPSHOT_REQUEST] += 1

    def pause(self, name: str, seconds: float) -> None:
        """Stop a process for a while; one that hangs for long is replaced."""

        def harm() -> None:
            before = {name: self.venue.pid(name)}
            self.venue.send_signal(name, signal.SIGSTOP)
            if seconds > _HANG_S:
                self.venue.await_change(before)
            else:
                time.sleep(seconds)
                self.venue.send_signal(name, signal.SIGCONT)

        what = "longer" if seconds > _HANG_S else "shorter"
        self.hurt(f"SIGSTOP {name} {seconds:.1f} s", harm)
        self.counts[f"SIGSTOP {what} than hang_s"] += 1

    def restart(self, kind: str) -> None:
        """End the whole venue and start it again: supervisor, everything, container or stop."""

        def harm() -> None:
            if kind == "stop":
                for name, point in self._ambushes:
                    self.venue.disarm(name, point)
                self.venue.stop()
            elif kind == "supervisor":
                self.venue.kill_supervisor()
            else:
                if kind == "stalled":
                    self._stall()
                elif kind == "point":
                    self._die_at_some_point()
                self.venue.kill_everything()
            if kind in {"container", "stalled"}:
                self.venue.wipe_shared()
            if kind == "twice":
                self.venue.venue.spawn()
                time.sleep(self.rng.random() * 3)
                self.venue.kill_everything()
            self.venue.start()
            self._books.begin()

        self.hurt(f"restart after {kind}", harm)
        self.counts[
            {
                "stop": "clean stop and start",
                "supervisor": "kill -9 supervisor",
                "everything": "kill -9 everything",
                "twice": "kill -9 everything, again while it starts",
                "container": "kill -9 everything, /dev/shm gone",
                "stalled": "kill -9 everything while one stands still, /dev/shm gone",
                "point": "kill -9 everything when one died at a named point",
            }[kind]
        ] += 1

    def _stall(self) -> None:
        """Have one process stand still for so long that gateways write how far they have come."""
        name = self.rng.choice(self.venue.processes()[: self.venue.shards + self.venue.gateways])
        self.venue.send_signal(name, signal.SIGSTOP)
        time.sleep(_STALL_S)

    def _die_at_some_point(self) -> None:
        kind, point = self.rng.choice(
            [each for each in _LOADED if each in self.points_of(self.venue.durability)]
        )
        count = self.venue.gateways if kind == "gateway" else self.venue.shards
        name = f"{kind}-{self.rng.randrange(count)}"
        self.venue.arm(name, point, self.rng.randint(1, _BUSY_MOST))
        what = f"{name} did not come by {point.name}"
        self.venue.wait(lambda: self.venue.is_hit(name, point), what, _HIT_S)

    # --- many -------------------------------------------------------------------------------------

    def at_random(self) -> None:
        """Do one thing or another."""
        rng, venue = self.rng, self.venue
        shard = f"shard-{rng.randrange(venue.shards)}"
        gateway = f"gateway-{rng.randrange(venue.gateways)}"
        follower = f"follower-{rng.randrange(venue.shards)}"
        any_of = rng.choice([shard, gateway, follower])
        match rng.choices(range(11), [16, 16, 4, 3, 11, 5, 8, 8, 6, 8, 15])[0]:
            case 0:
                self.kill(shard)
            case 1:
                self.kill(gateway)
            case 2:
                self.kill(follower)
            case 3:
                self.kill("exporter")
            case 4:
                self.kill(shard, gateway)
            case 5:
                self.kill(*venue.processes()[:-1])
            case 6:
                self.kill_again(*rng.choice([(shard,), (gateway,), (shard, gateway)]))
            case 7:
                self.kill_beside(*rng.choice([(gateway, shard), (shard, gateway)]))
            case 8:
                self.kill_after_reset(*rng.choice([(gateway,), (shard,), (shard, gateway)]))
            case 9:
                self.pause(any_of, rng.choice([0.3, 1.0, _HANG_S + 1]))
            case _:
                self.restart(rng.choice(RESTARTS))

    @staticmethod
    def points_of(durability: str) -> list[tuple[str, FaultPoint]]:
        """Return where kills by point can happen at a level of durability, by kind of process."""
        return [
            (kind, point)
            for kind, points in (
                *(("shard", SHARD_POINTS), ("follower", FOLLOWER_POINTS)),
                ("gateway", GATEWAY_POINTS),
            )
            for point in points
            if durability != "process" or point not in POWER_POINTS
        ]

    def at_some_point(self, kind: str, point: FaultPoint) -> None:
        """Have a process of a kind die at a point."""
        count = self.venue.gateways if kind == "gateway" else self.venue.shards
        name = f"{kind}-{self.rng.randrange(count)}"
        rare = {*FOLLOWER_POINTS, FaultPoint.BEFORE_EXPECTED, FaultPoint.AFTER_EXPECTED}
        if point in SEGMENT_POINTS:
            self.ambush(name, point)
        elif point in RECOVERY_POINTS:
            self.at_point(name, point, self.rng.randint(1, 2), self.rng.randint(1, 2))
        else:
            self.at_point(name, point, 1 if point in rare else self.rng.randint(1, _BUSY_MOST))

    # --- the end ----------------------------------------------------------------------------------

    def finish(self, *, with_tools: bool = True) -> dict[str, Any]:
        """Stop the venue in good order, hold record and logs against each other; return counts.

        `with_tools`: have the operator's commands verify the files, too.
        """
        venue = self.venue
        self._finish_ambushes()
        self._check()
        self._check_resend()
        venue.stop()
        logs = [replay(venue.data, shard) for shard in range(venue.shards)]
        firm = [session.name for session in FIRM_SESSIONS]
        found = audit(venue.checker, logs, firm=firm)
        findings = list(found.findings)
        for log in logs:
            if len(log.commands) <= _ORACLE_COMMANDS:
                findings += check_oracle(log)
            findings += check_snapshots(venue.data, log)
        findings += self._run_tools() if with_tools else []
        self._raise(findings)
        checker = venue.checker
        repeated = sum(session.repeated for session in checker.sessions.values())
        return {
            "counts": dict(self.counts),
            "checks": self.checks,
            "orders": len(checker.orders),
            "requests": checker.requests,
            "reports": checker.reports,
            "repeated": repeated - self.resent,
            "resent at the end": self.resent,
            "connections": sum(session.connections for session in checker.sessions.values()),
            "commands": found.commands,
            "matched": found.matched,
            "commands that came again": found.passed_over,
            "losses": checker.losses + found.losses,
            "duplicates": checker.duplicates + found.duplicates,
        }

    def _check_resend(self) -> None:
        """Have every session ask for all it ever got, and see that all of it comes as it was."""
        venue = self.venue
        assert venue.clients is not None
        self.resent = venue.checker.expect_resend()
        venue.clients.resend()

        def is_there() -> bool:
            venue.look()
            return not venue.checker.not_resent()

        try:
            venue.wait(is_there, "not all was sent again", _RESEND_S)
        except CrashError as error:
            missing = {name: numbers[:10] for name, numbers in venue.checker.not_resent().items()}
            raise CrashError(f"not sent again: {missing}; {error}") from None
        venue.check()

    def _run_tools(self) -> list[str]:
        """Verify what was left with the operator's own tools; return what they find."""
        findings = []
        environment = {**os.environ, **self.venue.environment}
        for command in (["journal", "verify"], ["replay", "--verify", "--json"]):
            done = subprocess.run(
                [sys.executable, "-m", "openoutcry.server.main", *command, str(self.venue.data)],
                capture_output=True, text=True, env=environment, check=False, timeout=120,
            )  # fmt: skip
            if done.returncode:
                findings.append(f"{' '.join(command)}: {done.stdout[-2000:]} {done.stderr[-2000:]}")
            elif command[0] == "replay":
                verified = [json.loads(line)["verified"] for line in done.stdout.splitlines()]
                if any(each["not_compared"] or "difference" in each for each in verified):
                    findings.append(f"{' '.join(command)}: {verified}")
        return findings

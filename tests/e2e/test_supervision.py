"""Processes that die, hang or cannot come back, and the one writer of a data directory: what goes
on meanwhile, what clients are told, and that every order is executed once all the same."""

import contextlib
import fcntl
import json
import os
import re
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.bystander import Bystander
from support.peers import BinaryPeer, FixPeer
from support.supervised import PATIENCE_S, SupervisedVenue, Trader, check_books
from support.venue import STOP_S, Venue, wait_for

from openoutcry.engine.enums import ReportKind
from openoutcry.engine.faults import HIT, FaultPoint
from openoutcry.engine.latency import Role, SupervisorCounter, read_metrics
from openoutcry.engine.state import GatewayWord, ShardWord
from openoutcry.protocol.binary.enums import RejectReason
from openoutcry.protocol.binary.messages import Cancel
from openoutcry.server.memory import VenueWord

#: The first is of shard 0, the other one of shard 1 where there are two.
BOTH = ("AAPL", "MSFT")

#: TimeInForce(59)
DAY = 0

two_gateways_too = pytest.mark.two_gateways_too


def is_there(pid: int) -> bool:
    """Tell whether a process lives, stopped or not."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


@contextlib.contextmanager
def trading(venue: Venue, gateways: int) -> Iterator[list[Trader]]:
    """Have a client at each gateway."""
    traders = [Trader(venue, Trader.name_at(number, gateways)) for number in range(gateways)]
    try:
        yield traders
    finally:
        for trader in traders:
            trader.close()


@contextlib.contextmanager
def killed_on_failure(venue: Venue) -> Iterator[None]:
    """Leave nothing of a venue that the test starts and stops itself."""
    try:
        yield
    except BaseException:
        venue.kill_all()
        raise


# --- Deaths ---


@two_gateways_too
def test_whoever_is_killed_is_replaced_alone(tmp_path: Path, gateways: int):
    venue = SupervisedVenue(tmp_path, data_dir=tmp_path / "d", gateways=gateways, shards=gateways)
    with venue, trading(venue, gateways) as traders:
        for name in venue.processes():
            before, comebacks = venue.processes(), [each.comebacks for each in traders]
            for trader in traders:
                trader.order(*BOTH * 5)
            venue.signal(name)
            for trader in traders:
                trader.order(*BOTH * 5)
            successor = venue.await_successor(name, before[name])
            for trader in traders:
                trader.settle()
                trader.order(*BOTH)
                trader.settle()
            assert venue.processes() == {**before, name: successor}
            # Only a gateway's own clients lose their connections.
            lost = [int(name == f"gateway-{number}") for number in range(gateways)]
            assert [t.comebacks - n for t, n in zip(traders, comebacks, strict=True)] == lost
            for trader in traders:
                # What comes while nobody can execute it is declined, all else is executed.
                assert set(trader.outcomes()) <= {"NEW", "SHARD_DOWN"}
                assert trader.outcomes()[-2:] == ["NEW", "NEW"]
        assert venue.restarts() == dict.fromkeys(venue.processes(), 1)
        check_books(venue, traders, *BOTH)


def test_a_shard_without_a_log_ends_the_venue(tmp_path: Path):
    venue = Venue(tmp_path, "log.durability=none")
    with killed_on_failure(venue):
        venue.start()
        os.kill(venue.children()["oo-shard-0"], signal.SIGKILL)
        assert venue.process.wait(STOP_S) == 1
    assert "process ended, the venue stops: name=shard-0 status=-9" in venue.log()
    venue.kill()
    venue.check_clean()


# --- One that cannot come back ---


def test_one_shard_is_down_and_the_other_one_serves(tmp_path: Path):
    """The first shard's lock is held by somebody: it ends again and again until that is over."""
    settings = ("supervision.restart_max_s=1",)
    venue = SupervisedVenue(tmp_path, *settings, data_dir=tmp_path / "d", gateways=2, shards=2)
    with venue, Bystander(venue, "MSFT") as bystander:
        fix = FixPeer(venue.port("fix"), "F")
        binary = BinaryPeer(venue.port("binary"), "B")
        fix.log_on()
        binary.log_on()
        fix.new("kept", "AAPL", "1", 10, "5.00")
        assert fix.outcomes(1) == ["kept 0/0 cum=0 leaves=10"]
        binary.new("kept", "AAPL", 1, 10, 400)
        binary.report()
        before = venue.processes()
        with venue.without_shard(0):
            wait_for(lambda: venue.memory.shards[0, ShardWord.IS_DOWN], PATIENCE_S)
            bystander.check()
            check_that_orders_are_declined(fix, binary)
            wait_for(lambda: len(venue.pauses("shard-0")) >= 2, PATIENCE_S)
            told = wait_for(lambda: find_down(venue, "shard-0"), PATIENCE_S)
            assert told["exit_status"] == 1
            assert "shard-0.lock is held by process" in told["reason"]
            assert 0 <= told["next_try_s"] <= 1
            wait_for(lambda: len(venue.pauses("shard-0")) >= 3, PATIENCE_S)
            metrics = venue.metrics()
            assert metrics("process_up", process="shard-0") == 0
            assert metrics("restarts_total", process="shard-0") >= 2
            assert metrics("process_up", process="shard-1") == 1
            assert metrics("restarts_total") == metrics("restarts_total", process="shard-0")
            assert metrics("ready") == 0
            bystander.check()
        after = venue.await_successor("shard-0", 0)
        assert venue.pauses("shard-0")[:3] == [0, 1, 1]
        assert venue.processes() == {**before, "shard-0": after}
        wait_for(lambda: venue.http("/readyz")[0] == 200, PATIENCE_S)
        assert venue.metrics()("process_up", process="shard-0") == 1
        wait_for(lambda: not venue.memory.shards[0, ShardWord.IS_DOWN], PATIENCE_S)
        check_that_what_was_declined_never_was(fix, binary)
        bystander.check()
        assert bystander.slowest_s < 5
        fix.close()
        binary.close()


def check_that_orders_are_declined(fix: FixPeer, binary: BinaryPeer) -> None:
    """Send both shards' orders: those of the first one are declined by name."""
    fix.new("down", "AAPL", "1", 10, "5.00")
    answer = fix.receive()
    assert answer.pick(35, 11, 150, 39) == ["8", "down", "8", "8"]
    assert answer[58] == "AAPL cannot be traded now: its shard is being restarted" or (
        answer[58] == "the symbol cannot be traded now: its shard is being restarted"
    )
    fix.cancel("cancel", "kept", "AAPL")
    answer = fix.receive()
    assert answer.pick(35, 11, 41) == ["9", "cancel", "kept"]
    assert "its shard is being restarted" in answer[58]
    fix.new("up", "MSFT", "1", 10, "5.00")
    assert fix.outcomes(1) == ["up 0/0 cum=0 leaves=10"]
    binary.new("down", "AAPL", 1, 10, 400)
    declined = binary.reject()
    assert (declined.cl_ord_id, declined.reason) == ("down", RejectReason.SHARD_DOWN)
    binary.cancel("cancel", "kept", "AAPL")
    declined = binary.reject()
    assert (declined.cl_ord_id, declined.reason) == ("cancel", RejectReason.SHARD_DOWN)
    binary.new("up", "MSFT", 1, 10, 400)
    assert binary.report().kind == ReportKind.NEW


def check_that_what_was_declined_never_was(fix: FixPeer, binary: BinaryPeer) -> None:
    """Cancel what came before, and use a declined order's name again."""
    fix.cancel("down", "kept", "AAPL")
    assert fix.outcomes(1) == ["down 4/4 cum=0 leaves=0"]
    binary.new("down", "AAPL", 1, 10, 400)
    assert binary.report().kind == ReportKind.NEW
    binary.cancel("c", "kept", "AAPL")
    assert binary.report().kind == ReportKind.CANCELED


def find_down(venue: Venue, name: str) -> dict[str, Any] | None:
    """Return what /readyz says of a process while it waits to be started again, None while it does
    not; all others that orders need run."""
    status, text = venue.http("/readyz")
    told = json.loads(text)
    assert (status, told["ready"]) == (503, False)
    assert told["down"] == [name]
    process: dict[str, Any] = told["processes"][name]
    return process if process["state"] == "down" else None


def test_orders_are_held_for_a_while_and_then_declined(tmp_path: Path):
    settings = ("supervision.hold_s=2", "supervision.restart_max_s=1")
    venue = SupervisedVenue(tmp_path, *settings, data_dir=tmp_path / "d", gateways=2, shards=2)
    with venue, trading(venue, 2) as traders:
        with venue.without_shard(0):
            wait_for(lambda: not venue.is_running("shard-0"), PATIENCE_S)
            await_look(venue, looks(venue))
            for trader in traders:
                trader.order("AAPL", "AAPL", "MSFT")
            wait_for(lambda: venue.memory.shards[0, ShardWord.IS_DOWN], PATIENCE_S)
            for trader in traders:
                trader.order("AAPL", "MSFT")
                trader.settle(3)
                # The other shard's orders, and the one that came too late to be held.
                assert sorted(trader.answers) == [3, 4, 5]
                assert trader.answers[4] == ["SHARD_DOWN"]
        for trader in traders:
            trader.settle()
            assert trader.outcomes() == ["NEW", "NEW", "NEW", "SHARD_DOWN", "NEW"]
        # A short absence is not noticed by anybody.
        wait_for(lambda: not venue.memory.shards[0, ShardWord.IS_DOWN], PATIENCE_S)
        venue.await_successor("shard-0", venue.signal("shard-0"))
        for trader in traders:
            trader.order(*BOTH)
            trader.settle()
            assert trader.outcomes()[5:] == ["NEW", "NEW"]
        check_books(venue, traders, *BOTH)


@pytest.mark.timeout(300)
def test_a_gateway_in_a_crash_loop_keeps_nobody_else(tmp_path: Path):
    """It dies within its recovery again and again; the other gateway's clients trade."""
    venue = SupervisedVenue(
        *(tmp_path, "supervision.restart_max_s=1"),
        data_dir=tmp_path / "d",
        environment={"OPENOUTCRY_TEST_BUILD": "1"},
        gateways=2,
        shards=2,
    )
    with venue, trading(venue, 2) as traders:
        before = venue.processes()
        words = venue.memory.gateways[0]
        point = GatewayWord.FAULTS + FaultPoint.GATEWAY_RECOVERY
        for trader in traders:
            trader.order(*BOTH)
            trader.settle()

        def is_told() -> dict[str, Any] | None:
            if words[point] == HIT:
                words[point] = 1
                traders[1].order(*BOTH)
                traders[1].settle()
            return find_down(venue, "gateway-0") if len(venue.pauses("gateway-0")) > 3 else None

        words[point] = 1
        traders[0].order(*BOTH)
        venue.signal("gateway-0")
        told = wait_for(is_told, PATIENCE_S)
        assert told["exit_status"] == -signal.SIGKILL
        assert venue.metrics()("process_up", process="gateway-0") == 0
        words[point] = 0
        successor = venue.await_successor("gateway-0", before["gateway-0"])
        assert venue.pauses("gateway-0")[:4] == [0, 1, 1, 1]
        restarts = len(venue.pauses("gateway-0"))
        assert venue.metrics()("restarts_total", process="gateway-0") == restarts
        assert venue.processes() == {**before, "gateway-0": successor}
        assert traders[1].comebacks == 0
        for trader in traders:
            trader.settle()
            assert set(trader.outcomes()) == {"NEW"}
        check_books(venue, traders, *BOTH)


# --- One that hangs ---


def test_whoever_hangs_is_killed_and_replaced(tmp_path: Path):
    settings = ("supervision.hang_s=2",)
    venue = SupervisedVenue(tmp_path, *settings, data_dir=tmp_path / "d", gateways=2, shards=2)
    with venue, trading(venue, 2) as traders:
        before = venue.processes()
        hung = ["shard-0", "gateway-1", "follower-0", "exporter"]
        await_beats(venue)
        stopped_at = time.monotonic()
        for name in hung:
            venue.signal(name, signal.SIGSTOP)
        venue.hangs = len(hung)
        # Orders wait in the shard's rings and in the gateway's sockets; the rest goes on.
        for trader in traders:
            trader.order(*BOTH * 3)
        traders[0].settle_on("MSFT")
        for name in hung:
            venue.wait_for_log(f"process hangs, killing it: name={name} ", PATIENCE_S)
            assert 1 < time.monotonic() - stopped_at < 20
        after = {name: venue.await_successor(name, before[name]) for name in hung}
        assert venue.processes() == {**before, **after}
        assert not any(is_there(before[name]) for name in hung)
        for trader in traders:
            trader.settle()
            assert set(trader.outcomes()) <= {"NEW", "SHARD_DOWN"}
            trader.order(*BOTH)
            trader.settle()
            assert trader.outcomes()[-2:] == ["NEW", "NEW"]
        assert [trader.comebacks for trader in traders] == [0, 1]
        wait_for(lambda: venue.http("/readyz")[0] == 200, PATIENCE_S)
        assert venue.restarts() == dict.fromkeys(hung, 1)
        check_books(venue, traders, *BOTH)


def await_beats(venue: SupervisedVenue) -> None:
    """Wait until the supervisor knows of every process that it beats; before that each one may take
    its time."""
    memory = venue.memory

    def have_beaten() -> bool:
        return bool(
            memory.shards[:, [ShardWord.HEARTBEAT, ShardWord.FOLLOWER_HEARTBEAT]].all()
            and memory.gateways[:, GatewayWord.HEARTBEAT].all()
            and memory.venue[VenueWord.EXPORTER_HEARTBEAT]
        )

    wait_for(have_beaten, PATIENCE_S)
    for _ in range(2):
        seen = looks(venue)
        await_look(venue, seen)


def looks(venue: SupervisedVenue) -> int:
    """Return when the supervisor last looked."""
    (own,) = [m for m in read_metrics(venue.memory.path.parent) if m.role is Role.SUPERVISOR]
    return int(own.counters[SupervisorCounter.HEARTBEAT_NS])


def await_look(venue: SupervisedVenue, last: int) -> None:
    """Wait until it has looked again."""
    wait_for(lambda: looks(venue) != last, PATIENCE_S)


def test_a_supervisor_that_stood_still_replaces_only_who_is_dead(tmp_path: Path):
    settings = ("supervision.hang_s=2",)
    venue = SupervisedVenue(tmp_path, *settings, data_dir=tmp_path / "d", gateways=2, shards=2)
    with venue, trading(venue, 2) as traders:
        before = venue.processes()
        # As a virtual machine that is suspended, and the supervisor goes on first.
        pids = [venue.process.pid, *before.values()]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(2.2)
        seen = looks(venue)
        os.kill(pids[0], signal.SIGCONT)
        await_look(venue, seen)
        for pid in pids[1:]:
            os.kill(pid, signal.SIGCONT)
        for trader in traders:
            trader.order(*BOTH)
            trader.settle()
        assert (venue.processes(), venue.restarts()) == (before, {})
        # It alone stands still: all others serve, and one that dies is missed only later.
        venue.process.send_signal(signal.SIGSTOP)
        venue.signal("shard-1")
        for trader in traders:
            trader.order(*BOTH * 3)
            trader.settle_on("AAPL")
        second = Venue(tmp_path, data_dir=tmp_path / "d")
        second.command = venue.command
        second.spawn()
        assert second.first_line() == b""
        assert second.process.wait(STOP_S) == 1
        assert f"is in use by the venue with pid {venue.process.pid};" in second.log()
        second.kill()
        second.check_clean()
        venue.process.send_signal(signal.SIGCONT)
        successor = venue.await_successor("shard-1", before["shard-1"])
        assert venue.processes() == {**before, "shard-1": successor}
        assert venue.restarts() == {"shard-1": 1}
        for trader in traders:
            trader.settle()
            assert set(trader.outcomes()) == {"NEW"}
            assert trader.comebacks == 0
        check_books(venue, traders, *BOTH)


# --- One writer ---


def test_nobody_outlives_a_killed_supervisor(tmp_path: Path, gateways: int):
    """Not even who stands still; a start at once waits for their end, and writes alone."""
    venue = SupervisedVenue(tmp_path, data_dir=tmp_path / "d", gateways=gateways, shards=gateways)
    venue.start()
    with killed_on_failure(venue), trading(venue, gateways) as traders:
        for trader in traders:
            trader.order(*BOTH * 5)
            trader.settle()
        before = venue.processes()
        for name in ("shard-0", "gateway-0"):
            venue.signal(name, signal.SIGSTOP)
        for trader in traders:
            trader.order(*BOTH * 5)
        venue.kill()
        venue.start()
        assert not any(map(is_there, before.values()))
        for trader in traders:
            trader.settle()
            assert trader.comebacks == 1
            assert set(trader.outcomes()) == {"NEW"}
        check_books(venue, traders, *BOTH)
    venue.stop()


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold a lock, as somebody would who does not end."""
    fd = os.open(path, os.O_RDWR)
    try:
        wait_for(lambda: taken(fd), PATIENCE_S)
        yield
    finally:
        os.close(fd)


def taken(fd: int) -> bool:
    """Take a lock if nobody has it."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def refused(venue: Venue) -> str:
    """Start a venue that must refuse; return what it says last."""
    logs = sorted(Path(venue.data_dir or "").glob("shard-*-commands-*"))
    before = [path.read_bytes() for path in logs]
    venue.spawn()
    assert venue.first_line() == b""
    assert venue.process.wait(STOP_S) == 1
    venue.kill()
    assert [path.read_bytes() for path in logs] == before
    return venue.log().splitlines()[-1]


def test_while_somebody_may_write_a_start_is_refused(tmp_path: Path):
    data = tmp_path / "d"
    venue = SupervisedVenue(tmp_path, data_dir=data, gateways=2, shards=2).start()
    with killed_on_failure(venue), trading(venue, 2) as traders:
        for trader in traders:
            trader.order(*BOTH)
            trader.settle()
        killed = venue.process.pid
        for name in ("shard-0", "gateway-1"):
            venue.signal(name, signal.SIGSTOP)
        for trader in traders:
            trader.order(*BOTH)
        venue.kill()
        # A process of the killed venue that is still there holds the directory's lock.
        with held(data / "lock"):
            why = refused(venue)
            assert f"the venue with pid {killed} was killed, and processes of it are still" in why
        # Of one shard, when somebody else has taken the directory's lock away.
        with held(data / "shard-1.lock"):
            why = refused(venue)
            assert why.startswith("openoutcry: shard-1 cannot start: ")
            assert "shard-1.lock is held by process" in why
        venue.start()
        for trader in traders:
            trader.settle()
            assert trader.outcomes() == ["NEW"] * 4
        check_books(venue, traders, *BOTH)
    venue.stop()


# --- Starts and stops ---


def set_day_end(venue: Venue, end: datetime) -> None:
    """Have the venue's next start know of a trading day's end (UTC, to the second)."""
    at = next(n for n, word in enumerate(venue.command) if word.startswith("day="))
    venue.command[at] = f"day={{end: '{end:%H:%M:%S}', time_zone: UTC}}"


def next_second(seconds: int) -> datetime:
    """Return a whole second from now on."""
    return datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=seconds)


def await_time(moment: datetime) -> None:
    """Wait until then."""
    wait_for(lambda: datetime.now(UTC) > moment, PATIENCE_S)


def stop_children(venue: Venue, skip: int, count: int) -> list[int]:
    """Stop so many children of a starting venue as soon as they are there, the first ones left
    out; return their pids."""
    pid = venue.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children")
    found: list[int] = []
    deadline = time.monotonic() + PATIENCE_S
    while len(found) < count:
        assert venue.process.poll() is None, venue.log()
        assert time.monotonic() < deadline
        for child in [int(text) for text in children.read_text().split()[skip:]]:
            if child not in found:
                os.kill(child, signal.SIGSTOP)
                found.append(child)
        time.sleep(0.0005)
    return found


def test_stops_while_shards_recover_and_days_that_end_meanwhile(tmp_path: Path):
    venue = SupervisedVenue(tmp_path, data_dir=tmp_path / "d", gateways=2, shards=2).start()
    with killed_on_failure(venue), trading(venue, 2) as traders:
        for trader in traders:
            trader.order(*BOTH)
            trader.order(*BOTH, tif=DAY)
            trader.settle()
        with venue.without_shard(0):
            wait_for(lambda: venue.memory.shards[0, ShardWord.IS_DOWN], PATIENCE_S)
            # In good order, though one shard is not there and cannot be.
            venue.stop()
        # The same while shards recover for a start; the exporter is the first child.
        venue.spawn()
        stop_children(venue, 1, 2)
        venue.process.terminate()
        assert venue.first_line() == b""
        venue.stop()
        # A day ends while nobody is there, and is caught up with before anybody can order.
        end = next_second(1)
        set_day_end(venue, end)
        await_time(end)
        venue.start()
        venue.wait_for_log("a day ended while the venue was down: shards=[0, 1]")
        for trader in traders:
            trader.await_expired(2)
            assert trader.expired == [f"{trader.name}-{n}" for n in (2, 3)]
            trader.order(*BOTH, tif=DAY)
            trader.settle()
        # Killed, and started again: not once more.
        venue.kill()
        venue.start()
        for trader in traders:
            trader.order(*BOTH)
            trader.settle()
        assert venue.log().count("a day ended while the venue was down") == 1
        check_books(venue, traders, *BOTH)
        for trader in traders:
            assert len(trader.expired) == 2
            trader.order(*BOTH, tif=DAY)
            trader.settle()
        venue.stop()
        # It ends while the gateways still start: no later than that, and not tomorrow.
        for seconds in (4, 15, 60):
            end = next_second(seconds)
            set_day_end(venue, end)
            venue.spawn()
            gateways = stop_children(venue, 3, 2)
            if datetime.now(UTC) < end:
                break
            # Too slow to be there before the day's end.
            venue.kill_all()
        else:
            pytest.fail("the gateways were not there within a minute")
        await_time(end)
        for pid in gateways:
            os.kill(pid, signal.SIGCONT)
        venue.ready = json.loads(venue.first_line())
        for trader in traders:
            trader.await_expired(4)
        venue.stop()


# --- Retention ---


def test_old_segments_go_under_load_and_nothing_is_missed(tmp_path: Path):
    settings = (
        *("log.segment_bytes=1048576", "snapshots.every_bytes=1048576", "supervision.hold_s=60"),
        *("retention.segments=archive", f"retention.archive_dir={tmp_path / 'archive'}"),
        "retention.resend_messages=1000",
    )
    data = tmp_path / "d"
    venue = SupervisedVenue(tmp_path, *settings, data_dir=data, gateways=2, shards=2).start()
    with killed_on_failure(venue), trading(venue, 2) as traders:
        for trader in traders:
            trader.order(*BOTH)
            trader.settle()
        load = BinaryPeer(venue.port("binary"), "LOAD")
        load.log_on()
        third = data / "shard-0-commands-00000002.seg"

        def is_there_under_load() -> bool:
            run_load(load, 500)
            return third.exists()

        wait_for(is_there_under_load, PATIENCE_S, 0.02)
        for name in ("shard-0", "follower-0"):
            venue.signal(name)
        wait_for(lambda: not is_there_under_load(), PATIENCE_S, 0.02)
        for trader in traders:
            trader.order(*BOTH)
            trader.settle()
        venue.kill()
        venue.start()
        found = re.findall(r"shard recovered: shard=0 snapshot_seq=(\d+)", venue.log())
        assert len(found) == 2
        assert int(found[1]) > 10_000
        archive = tmp_path / "archive" / venue.name / "shard-0"
        archived = {path.name for path in archive.glob("shard-0-commands-*.seg")}
        here = {path.name for path in data.glob("shard-0-commands-*.seg")}
        assert len(archived) >= 3
        assert sorted(archived | here) == [
            f"shard-0-commands-{n:08d}.seg" for n in range(len(archived | here))
        ]
        again = BinaryPeer(venue.port("binary"), "LOAD", next_in=load.next_in)
        assert again.log_on().last_accepted == load.seq - 1
        run_load(again, 10)
        for peer in (load, again):
            peer.close()
        for trader in traders:
            trader.settle()
            assert trader.outcomes() == ["NEW"] * 4
        check_books(venue, traders, *BOTH)
        venue.stop()


def run_load(peer: BinaryPeer, count: int) -> None:
    """Have orders accepted and canceled; each is answered in its turn, and once."""
    messages: list[Any] = []
    first = peer.seq
    number = peer.symbols["AAPL"].number
    for n in range(count):
        order = peer.order(f"o{first + n}", "AAPL", 1, 1, 500)
        messages += [order, Cancel(peer.next_seq(), f"c{first + n}", order.cl_ord_id, number, 0)]
    peer.send(*messages)
    reports = [peer.report(PATIENCE_S) for _ in messages]
    assert [report.ref_seq for report in reports] == list(range(first, first + 2 * count))
    assert {report.kind for report in reports[::2]} == {ReportKind.NEW}
    assert {report.kind for report in reports[1::2]} == {ReportKind.CANCELED}

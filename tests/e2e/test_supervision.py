"""Processes that die, hang or cannot come back, and the one writer of a data directory: what goes
on meanwhile, what clients are told, and that every order is executed once all the same."""

import contextlib
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.bystander import Bystander
from support.peers import BinaryPeer, FixPeer
from support.supervised import PATIENCE_S, SupervisedVenue, Trader, check_books
from support.venue import STOP_S, Venue, wait_for

from openoutcry.engine.enums import ReportKind
from openoutcry.engine.state import ShardWord
from openoutcry.protocol.binary.enums import RejectReason

#: The first is of shard 0, the other one of shard 1 where there are two.
BOTH = ("AAPL", "MSFT")

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
    venue = SupervisedVenue(tmp_path, "log.durability=none", "snapshots=null")
    Venue.start(venue)
    os.kill(venue.children()["oo-shard-0"], signal.SIGKILL)
    assert venue.process.wait(STOP_S) == 1
    assert "process ended, the venue stops: name=shard-0 status=-9" in venue.log()
    venue.kill()
    venue.check_clean()


# --- One that cannot come back ---


def test_one_shard_is_down_and_the_other_one_serves(tmp_path: Path):
    """The first shard's lock is held by somebody: it ends again and again until that is over."""
    settings = ("supervision.restart_max_s=2",)
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
            told = wait_for(lambda: find_down(venue, "shard-0"), PATIENCE_S)
            assert told["exit_status"] != 0
            assert "shard-0.lock is held by process" in told["reason"]
            assert 0 < told["next_try_s"] <= 2
            # At once, then after pauses that get longer, up to the longest.
            wait_for(lambda: len(venue.pauses("shard-0")) >= 4, PATIENCE_S)
            metrics = venue.metrics()
            assert metrics("process_up", process="shard-0") == 0
            assert metrics("restarts_total", process="shard-0") >= 3
            assert metrics("process_up", process="shard-1") == 1
            assert metrics("restarts_total") == metrics("restarts_total", process="shard-0")
            assert metrics("ready") == 0
            bystander.check()
        after = venue.await_successor("shard-0", 0)
        assert venue.pauses("shard-0")[:4] == [0, 1, 2, 2]
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
    return process if process["state"] == "down" and process.get("reason") else None


def test_orders_are_held_for_a_while_and_then_declined(tmp_path: Path):
    settings = ("supervision.hold_s=3", "supervision.restart_max_s=1")
    venue = SupervisedVenue(tmp_path, *settings, data_dir=tmp_path / "d", gateways=2, shards=2)
    with venue, trading(venue, 2) as traders:
        with venue.without_shard(0):
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

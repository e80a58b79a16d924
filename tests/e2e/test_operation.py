"""Running a venue: start, stop, mistakes of the operator, deaths of processes, limits."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from support.bystander import Bystander
from support.peers import BinaryPeer, Closed, FixPeer
from support.venue import STOP_S, Venue, wait_for

from openoutcry.protocol.binary.enums import RejectReason, ReportKind
from openoutcry.protocol.binary.frames import encode_frame


def is_there(pid: int) -> bool:
    """Tell whether a process lives (a zombie does not)."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


# --- Start ---


def test_the_ready_line_tells_where_the_venue_is(tmp_path: Path):
    with Venue(tmp_path, data_dir=tmp_path / "data", gateways=1, shards=1) as venue:
        ready = venue.ready
        assert ready["ready"] is True
        assert ready["pid"] == venue.process.pid
        assert ready["data_dir"] == str(tmp_path / "data")
        assert ready["market_data"] is None
        assert ready["durability"] == "process"
        assert venue.http("/healthz") == (200, '{"ok": true}')
        status, text = venue.http("/readyz")
        told = json.loads(text)
        assert (status, told["ready"]) == (200, True)
        assert set(told["processes"]) == {"shard-0", "follower-0", "gateway-0", "exporter"}
        assert venue.http("/nothing")[0] == 404


def test_a_listener_may_be_left_out(tmp_path: Path):
    with Venue(tmp_path, "listen.fix=null", "listen.http=null") as venue:
        assert (venue.ready["fix"], venue.ready["http"]) == (None, None)
        with BinaryPeer(venue.port("binary"), "B") as client:
            client.log_on()
            assert client.is_alive()


def test_a_second_venue_on_the_same_data_names_the_first(tmp_path: Path):
    data = tmp_path / "data"
    with Venue(tmp_path, data_dir=data) as first:
        second = Venue(tmp_path, data_dir=data).spawn()
        assert second.first_line() == b""
        assert second.process.wait(STOP_S) == 1
        last = second.log().splitlines()[-1]
        assert last.startswith("openoutcry: ")
        assert f"is in use by the venue with pid {first.process.pid}" in last
        second.kill()
        second.check_clean()


def test_a_port_in_use_is_one_clear_sentence(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        venue = Venue(tmp_path, f"listen.fix={port}").spawn()
        assert venue.process.wait(STOP_S) == 1
    assert venue.log().splitlines() == [
        f"openoutcry: cannot listen on 127.0.0.1:{port} (listen.fix): Address already in use; "
        "choose another with --set listen.fix=PORT (0: any free one); "
        "with make: make run ARGS='--set listen.fix=PORT'"
    ]
    venue.kill()
    venue.check_clean()


def test_a_wrong_configuration_is_told_in_full(tmp_path: Path):
    venue = Venue(tmp_path, "fix.heartbeat_max=1", "gateway.spin_us=-1", "nonsense=1").spawn()
    assert venue.process.wait(STOP_S) == 2
    lines = venue.log().splitlines()
    assert len(lines) == 3
    assert all("server.yaml" in line for line in lines)
    assert any("`$.gateway.spin_us`" in line for line in lines)
    assert any("did you mean `heartbeat_max_s`?" in line for line in lines)
    venue.kill()
    venue.check_clean()


def test_a_data_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path):
    (tmp_path / "file").write_text("")
    venue = Venue(tmp_path, data_dir=tmp_path / "file" / "data").spawn()
    assert venue.process.wait(STOP_S) == 1
    assert venue.log().splitlines()[-1].startswith("openoutcry: cannot use data directory")
    venue.kill()
    venue.check_clean()


def test_the_largest_message_may_be_larger_than_the_buffer(tmp_path: Path):
    settings = ("fix.max_message_bytes=65536", "gateway.receive_buffer_bytes=16384")
    with Venue(tmp_path, *settings) as venue, FixPeer(venue.port("fix"), "BIG") as client:
        client.log_on()
        client.send(
            "D", client.order("o", "AAPL", "1", 10, "10.00", extra="58=" + "x" * 60000 + "|")
        )
        assert client.outcomes(1) == ["o 0/0 cum=0 leaves=10"]


# --- Stop ---


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_at_once_after_the_ready_line_stops_in_good_order(tmp_path: Path, number: int):
    venue = Venue(tmp_path).start()
    start = time.monotonic()
    venue.stop(number)
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("delay_s", [0.1, 0.5, 0.8, 1.0, 1.2])
def test_a_signal_during_the_start_stops_too(tmp_path: Path, delay_s: float):
    venue = Venue(tmp_path).spawn()
    time.sleep(delay_s)
    if venue.process.poll() is None:
        venue.process.send_signal(signal.SIGTERM)
    status = venue.process.wait(STOP_S)
    # Before our handler is there, the system ends the process: there is nothing to leave yet.
    assert status in {0, -signal.SIGTERM}, venue.log()
    venue.kill()
    venue.check_clean()


def test_clients_are_logged_out_with_a_word_when_the_venue_stops(tmp_path: Path):
    venue = Venue(tmp_path).start()
    fix = FixPeer(venue.port("fix"), "F")
    binary = BinaryPeer(venue.port("binary"), "B")
    fix.log_on()
    binary.log_on()
    venue.process.send_signal(signal.SIGTERM)
    farewell = fix.receive()
    assert farewell.pick(35, 58) == ["5", "the venue stops"]
    fix.send("5")
    fix.wait_closed()
    assert binary.logout_reason() == 1
    venue.stop()
    fix.close()
    binary.close()


def test_a_stop_during_load_answers_what_it_took(tmp_path: Path):
    data = tmp_path / "data"
    venue = Venue(tmp_path, data_dir=data).start()
    with BinaryPeer(venue.port("binary"), "B") as client:
        client.log_on()
        orders = [client.order(f"o{n}", "AAPL", 1, 1, 200 + n % 90) for n in range(20_000)]
        client.socket.setblocking(False)
        blob = memoryview(b"".join(map(encode_frame, orders)))
        sent = client.socket.send(blob)
        venue.process.send_signal(signal.SIGTERM)
        client.socket.setblocking(True)
        answered = []
        try:
            while True:
                message = client.receive()
                if hasattr(message, "ref_seq"):
                    answered.append(message.ref_seq)
        except Closed:
            pass
        # A prefix of what was sent, in order, each once.
        assert answered == list(range(1, len(answered) + 1))
        assert sent > 0
    venue.stop()


# --- Deaths ---


def test_the_exporter_comes_back_and_nobody_notices(tmp_path: Path):
    with Venue(tmp_path) as venue, Bystander(venue, "AAPL") as bystander:
        bystander.check()
        pid = wait_for(lambda: venue.children().get("oo-exporter"))
        os.kill(pid, signal.SIGKILL)
        bystander.check()
        venue.wait_for_log("process ended, restarting: name=exporter")

        def scrape() -> bool:
            try:
                return venue.metrics()("restarts_total", process="exporter") == 1
            except OSError:
                return False

        wait_for(scrape)
        bystander.check()
        assert bystander.slowest_s < 3


def test_the_death_of_the_supervisor_ends_all(tmp_path: Path):
    venue = Venue(tmp_path, gateways=1, shards=1).start()
    # The follower and the exporter may have no names of their own yet.
    wait_for(lambda: len({*venue.children()} - {"oo-supervisor"}) == 4, 10)
    children = venue.children()
    with FixPeer(venue.port("fix"), "F") as client:
        client.log_on()
        venue.process.kill()
        start = time.monotonic()
        wait_for(lambda: not any(map(is_there, children.values())), 5)
        assert time.monotonic() - start < 1
        client.wait_closed()
    venue.kill()
    left = venue.shared()
    assert len(left) == 1
    # The next start of that name takes away what the dead one left, in shared memory.
    successor = Venue(tmp_path)
    successor.command[successor.command.index(f"venue.name={successor.name}")] = (
        f"venue.name={venue.name}"
    )
    with successor:
        assert left[0] not in venue.shared()
    assert venue.shared() == []


def test_a_stop_awaits_no_follower_that_has_nothing_to_write(tmp_path: Path):
    """On busy cores it has so little of one that the stop would take a minute."""
    with Venue(tmp_path, gateways=1, shards=1) as venue:
        follower = wait_for(lambda: venue.children().get("oo-follower-0"))
        os.kill(follower, signal.SIGSTOP)
    assert not is_there(follower)


# --- Metrics ---


def test_counters_agree_with_what_the_clients_did(tmp_path: Path):
    with Venue(tmp_path) as venue:
        fix = FixPeer(venue.port("fix"), "F")
        binary = BinaryPeer(venue.port("binary"), "B")
        fix.log_on()
        binary.log_on()
        for n in range(5):
            fix.new(f"s{n}", "AAPL", "2", 10, "10.00")
        fix.cancel("c", "s4", "AAPL", "2")
        fix.replace("r", "s3", "AAPL", "2", 5, "10.00")
        fix.status("r", "AAPL", "2")
        fix.new("bad", "NOSUCH", "2", 10, "10.00")
        fix.new("off", "AAPL", "2", 10, "10.001")
        fix.cancel("c2", "nothing", "AAPL", "2")
        fix.reports(11)
        for n in range(3):
            binary.new(f"b{n}", "AAPL", 1, 10, 1000)
        binary.new("big", "AAPL", 1, 2**62, 1000)
        binary.reports(7)
        fix.reports(3)
        metrics = venue.metrics()
        counted = {
            kind: metrics("orders_total", type=kind)
            for kind in ("new", "cancel", "replace", "status")
        }
        assert counted == {"new": 9, "cancel": 2, "replace": 1, "status": 1}
        counted = {
            kind.name: metrics("reports_total", type=kind.name.lower()) for kind in ReportKind
        }
        assert counted == {
            **{"NEW": 8, "TRADE": 6, "CANCELED": 1, "REPLACED": 1, "REJECTED": 1},
            **{"EXPIRED": 0, "STATUS": 1, "CANCEL_REJECTED": 1},
        }
        assert metrics("trades_total") == 3
        assert metrics("rejects_total", reason="unknown_symbol", shard="gateway") == 1
        assert metrics("rejects_total", reason="price_off_tick", shard="gateway") == 1
        assert metrics("rejects_total", reason="unknown_order", shard="0") == 1
        assert metrics("rejects_total", reason="qty_out_of_range", shard="0") == 1
        for protocol in ("fix", "binary"):
            assert metrics("connections", protocol=protocol) == 1
        # Gauges that gateway and shard set ten or twenty times a second.
        wait_for(lambda: venue.metrics()("sessions_connected") == 2)
        wait_for(lambda: venue.metrics()("pool_used", pool="open_orders") == 1)
        stages: Counter[str] = Counter()
        for sample in metrics.samples:
            if sample.name == "openoutcry_stage_seconds_count":
                stages[sample.labels["stage"]] += int(sample.value)
        assert len(stages) == 5
        assert all(count > 0 for count in stages.values()), stages
        assert metrics("stage_seconds_count", stage="decode_to_ring") == 13
        assert metrics("process_resident_memory_bytes", process="gateway-0") > 1 << 20
        fix.close()
        binary.close()


# --- Limits ---


def test_a_small_command_ring_answers_all_in_order(tmp_path: Path):
    with (
        Venue(tmp_path, "capacity.command_ring_records=64") as venue,
        BinaryPeer(venue.port("binary"), "B") as client,
        FixPeer(venue.port("fix"), "F") as fix,
    ):
        client.log_on()
        fix.log_on()
        count = 5000
        orders = [client.order(f"o{n}", "AAPL", 1, 1, 200 + n % 90) for n in range(count)]
        flood = b"".join(map(encode_frame, orders))
        bodies = [fix.order(f"o{n}", "MSFT", "1", 10, "10.00") for n in range(500)]
        # Every other one takes the way through Python: the symbol is unknown.
        bodies[1::2] = [body.replace("MSFT", "NOSUCH") for body in bodies[1::2]]
        client.raw(flood)
        fix.raw(b"".join(fix.frame("D", body) for body in bodies))
        assert [r.cl_ord_id for r in client.reports(count)] == [f"o{n}" for n in range(count)]
        answers = {report[11]: report[150] for report in fix.reports(500)}
        assert answers == {f"o{n}": "8" if n % 2 else "0" for n in range(500)}
        full = venue.metrics()("ring_full_total", protocol="binary")
        assert full > 0


def test_full_pools_are_rejects_and_cancels_make_room(tmp_path: Path):
    settings = ("capacity.open_orders=8", "capacity.levels=4")
    with (
        Venue(tmp_path, *settings, shards=1) as venue,
        BinaryPeer(venue.port("binary"), "B") as client,
    ):
        client.log_on()
        for n in range(5):
            client.new(f"level{n}", "AAPL", 1, 1, 200 + n)
        reasons = [report.reason for report in client.reports(5)]
        assert reasons == [0, 0, 0, 0, RejectReason.LEVEL_CAPACITY]
        for n in range(5):
            client.new(f"order{n}", "AAPL", 1, 1, 200)
        reasons = [report.reason for report in client.reports(5)]
        assert reasons == [0, 0, 0, 0, RejectReason.ORDER_CAPACITY]
        client.cancel("c", "order0", "AAPL")
        client.new("again", "AAPL", 1, 1, 200)
        assert [report.kind for report in client.reports(2)] == [
            *(ReportKind.CANCELED, ReportKind.NEW),
        ]
        # A full pool does not keep those from trading that need no room.
        client.new("ioc", "AAPL", 2, 1, 203, 3)
        assert [report.kind for report in client.reports(3)] == [
            *(ReportKind.NEW, ReportKind.TRADE, ReportKind.TRADE),
        ]
        assert venue.metrics()("pool_capacity", pool="open_orders") == 8


def test_more_sessions_than_there_is_room_for_are_refused(tmp_path: Path):
    with Venue(tmp_path, "capacity.sessions=4") as venue:
        peers = [FixPeer(venue.port("fix"), f"F{n}") for n in range(4)]
        for peer in peers[:3]:
            peer.log_on()
        peers[3].send("A", "98=0|108=0|")
        assert peers[3].wait_closed() == b""
        assert all(peer.is_alive() for peer in peers[:3])
        for peer in peers:
            peer.close()


@pytest.mark.slow
def test_a_full_disk_declines_new_orders_and_serves_cancels(tmp_path: Path):
    settings = ("log.min_free_bytes=1125899906842624", "log.segment_bytes=1048576")
    with Venue(tmp_path, *settings) as venue, BinaryPeer(venue.port("binary"), "B") as client:
        client.log_on()
        accepted: list[str] = []
        refused: list[int] = []
        n = 0
        while not refused:
            client.send(*(client.order(f"o{n + k}", "AAPL", 1, 1, 200) for k in range(200)))
            for report in client.reports(200):
                if report.kind == ReportKind.NEW:
                    accepted.append(report.cl_ord_id)
                else:
                    refused.append(report.reason)
            n += 200
            assert n < 60_000
        assert set(refused) == {RejectReason.LOG_CAPACITY}
        # A busy machine may notice the lack of room before the first order, or after thousands.
        client.cancel("c", accepted[0] if accepted else "o0", "AAPL")
        answer = client.report()
        if accepted:
            assert answer.kind == ReportKind.CANCELED
        else:
            assert answer.reason == RejectReason.UNKNOWN_ORDER
        assert "no new segment" in venue.log()
        client.log_out()


# --- Commands ---


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the product."""
    command = [sys.executable, "-m", "openoutcry.server.main", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_the_day_ends_by_the_command_line(tmp_path: Path):
    with Venue(tmp_path) as venue, FixPeer(venue.port("fix"), "F") as client:
        client.log_on()
        client.new("d", "AAPL", "1", 10, "10.00", "0")
        client.receive()
        done = run("admin", "day-end", "--target", venue.ready["http"])
        assert done.returncode == 0, done.stderr
        assert client.outcomes(1) == ["d C/C cum=0 leaves=0"]
        wrong = run("admin", "day-end", "--target", venue.ready["http"], "--symbol", "NOSUCH")
        assert wrong.returncode == 1
        assert "there is no symbol 'NOSUCH'" in wrong.stderr

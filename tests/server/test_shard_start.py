"""A shard's start: recovery of what is on the disk and in the rings, and the epoch after it."""

import errno
import os
import time

import msgspec
import numpy as np
import pytest
from support.shard_alone import (
    SEGMENT_BYTES,
    ShardAlone,
    fresh_memory,
    orders,
    small_config,
    with_log,
)

from openoutcry.engine.enums import CommandKind, RejectReason, ReportKind
from openoutcry.engine.log import (
    BATCH_OK,
    MAX_BATCH_COMMANDS,
    READ_HEADER_WORDS,
    BatchWord,
    append_batch,
    as_words,
    read_batch,
)
from openoutcry.engine.records import COMMAND, SHARD_SHIFT
from openoutcry.engine.ring import TAIL_WORD
from openoutcry.engine.snapshot import check_invariants, state_hash
from openoutcry.engine.state import ProcessStatus, ShardWord
from openoutcry.server import durable, journal, shard_start
from openoutcry.server.checkpoint import Checkpoint, CheckpointFile
from openoutcry.server.config import Symbol, Venue
from openoutcry.server.journal import (
    HEADER_BYTES,
    SegmentedFile,
    open_segments,
    segments_on_disk,
)
from openoutcry.server.replica import Replica
from openoutcry.server.segments import owner_of
from openoutcry.server.sessions import BLOCK_BYTES, BLOCK_WORDS, SEGMENT_MARK
from openoutcry.server.shard_guard import lock_shard
from openoutcry.server.snapshots import write_snapshot


@pytest.fixture(params=[("process", 0), ("power", 1)], ids=["process", "power"])
def shard(request, tmp_path):
    """Return one of two shards, after its first run of some orders from both gateways."""
    durability, index = request.param
    config = small_config(durability=durability)
    data = tmp_path / "data"
    data.mkdir()
    alone = ShardAlone(config, fresh_memory(config, tmp_path / "shm"), index, data)
    alone.put(orders(700, index, 1, 1), ring=0)
    alone.put(orders(500, index, 2, 1), ring=1)
    alone.run()
    return alone


def replayed(shard):
    """Return (state hash, last command, last report) of a clean replay of the log."""
    replica = Replica.open(shard.folder, shard.index, snapshot=False)
    replica.follow()
    check_invariants(replica.book)
    found = (replica.state_hash(), replica.seq, replica.report_seq)
    replica.close()
    return found


def opened(shard, kind):
    """Return one of the shard's logs, for reading."""
    file = open_segments(shard.folder, f"shard-{shard.index}-{kind}")
    assert file is not None
    return file


def batches(shard):
    """Return (epoch, sequence of the first command, kinds, ring positions) of each batch."""
    file = opened(shard, "commands")
    while file.is_next_there():
        file.map_next()
    rows, header = np.zeros(MAX_BATCH_COMMANDS, COMMAND), np.zeros(READ_HEADER_WORDS, np.int64)
    found: list[tuple[int, int, list[int], list[int]]] = []
    position = 0
    while True:
        code, count, position = read_batch(
            file.array(np.int64), position, file.mapped_bytes // 8, as_words(rows), header
        )
        if code != BATCH_OK:
            file.close()
            return found
        rings = header[BatchWord.POSITIONS :][: header[BatchWord.RINGS]].tolist()
        kinds = rows["kind"][:count].tolist()
        found.append((int(header[BatchWord.EPOCH]), int(header[BatchWord.SEQ]), kinds, rings))


def forget(shard, tmp_path):
    """Lose the shared memory, as a restart of the machine does."""
    memory = fresh_memory(shard.config, tmp_path / "other-shm")
    return ShardAlone(shard.config, memory, shard.index, shard.folder)


def is_power(shard):
    return shard.config.log.durability == "power"


def test_a_first_start_begins_the_log_with_what_the_configuration_says(shard):
    first = batches(shard)[0]
    symbol = CommandKind.ADD_SYMBOL
    assert first == (1, 1, [CommandKind.START, CommandKind.CAPACITY, symbol, symbol], [0, 0, 0])
    book = shard.run().book
    assert np.flatnonzero(book.symbols["is_defined"]).tolist() == [shard.index, shard.index + 2]


def test_a_shard_that_comes_back_has_its_book_and_a_higher_epoch(shard):
    before = replayed(shard)
    reports = shard.reports()
    assert shard.heads == [700, 500, 0]
    again = shard.run()
    last = batches(shard)[-1]
    assert last == (2, before[1] + 1, [CommandKind.START], [700, 500, 0])
    assert shard.words[ShardWord.EPOCH] == 2
    assert shard.words[ShardWord.STATUS] == ProcessStatus.STOPPED
    assert shard.words[ShardWord.RECOVERED_SEQ] == before[1] + 1
    assert shard.words[ShardWord.LOG_BYTES] == shard.words[ShardWord.LOG_POSITION] * 8
    assert (state_hash(again.book), *replayed(shard)[1:]) == replayed(shard)
    assert replayed(shard)[2] == before[2] == len(reports)
    assert shard.reports().tobytes() == reports.tobytes()


def test_commands_that_were_published_and_not_logged_are_executed_once(shard):
    shard.put(orders(300, shard.index, 1, 701), ring=0)
    shard.put(orders(300, shard.index, 2, 501), ring=1)
    shard.run()
    assert shard.heads == [1000, 800, 0]
    reports = shard.reports()
    answered = reports[reports["inbound_seq"] != 0]
    taken = answered[(answered["kind"] == ReportKind.NEW) | (answered["kind"] == 5)]
    for session, count in ((1, 1000), (2, 800)):
        numbers = taken["inbound_seq"][taken["session"] == session]
        assert sorted(numbers.tolist()) == list(range(1, count + 1))
    assert (np.diff(reports["report_seq"]) == 1).all()


def test_a_log_that_was_full_when_the_shard_died_declines_nothing_now(shard):
    shard.words[ShardWord.LOG_IS_FULL] = 1
    shard.put(orders(100, shard.index, 1, 701))
    shard.run()
    reports = shard.reports()
    assert reports["inbound_seq"].max() == 800
    assert not (reports["reason"] == RejectReason.LOG_CAPACITY).any()


def test_slots_of_logged_commands_are_given_back_after_a_crash_before_their_release(shard):
    """Killed between the append and the ring's position: the log has them, the ring still does."""
    before = replayed(shard)
    shard.memory.ring_headers[shard.index, 0, 16] = 650
    shard.memory.ring_headers[shard.index, 1, 16] = 500
    for word in (ShardWord.RELEASED_REPORT, ShardWord.RELEASED_POSITION, ShardWord.REPORT_SEQ):
        shard.words[word] = 0
    shard.run()
    assert shard.heads == [700, 500, 0]
    assert replayed(shard)[2] == before[2]
    assert len(shard.reports()) == before[2]


def test_with_new_shared_memory_the_rings_begin_at_0(shard, tmp_path):
    before = replayed(shard)
    reports = shard.reports()
    base_ns = shard.words[ShardWord.BASE_NS]
    fresh = forget(shard, tmp_path)
    fresh.put(orders(20, shard.index, 3, 1), ring=1)
    fresh.run()
    assert batches(shard)[-2:] == [
        (2, before[1] + 1, [CommandKind.START], [0, 0, 0]),
        (2, before[1] + 2, [CommandKind.NEW] * 20, [0, 20, 0]),
    ]
    assert fresh.heads == [0, 20, 0]
    assert fresh.words[ShardWord.BASE_NS] == base_ns
    assert fresh.reports()[: len(reports)].tobytes() == reports.tobytes()


def test_the_report_log_is_written_anew_where_it_is_gone(shard, tmp_path):
    shard.run()
    reports = shard.reports()
    file = opened(shard, "reports")
    content = file.read(0, int(shard.words[ShardWord.RELEASED_POSITION]))
    file.segment_path(0).unlink()
    fresh = forget(shard, tmp_path)
    fresh.run()
    assert fresh.reports().tobytes() == reports.tobytes()
    assert file.read(0, len(content)) == content
    file.close()


@pytest.mark.parametrize("size", [0, HEADER_BYTES, HEADER_BYTES + 1])
def test_a_bad_segment_that_was_made_ahead_is_made_again(shard, tmp_path, caplog, size):
    before = replayed(shard)
    name = f"shard-{shard.index}-reports"
    file = opened(shard, "reports")
    ahead = file.segment_path(segments_on_disk(shard.folder, name)[-1] + 1)
    file.close()
    ahead.write_bytes(bytes(size))
    shard = forget(shard, tmp_path)
    shard.run()
    assert f"made again: {ahead}" in caplog.text
    assert not ahead.exists()
    assert replayed(shard)[2] == before[2]


def test_a_segment_that_was_made_ahead_is_kept(shard, tmp_path, caplog):
    name = f"shard-{shard.index}-reports"
    ahead = segments_on_disk(shard.folder, name)[-1] + 1
    file = journal.SegmentedFile(
        shard.folder, name, SEGMENT_BYTES, writable=True, owner=owner_of(shard.config)
    )
    file.ensure((ahead + 1) * SEGMENT_BYTES)
    file.close()
    inode = file.segment_path(ahead).stat().st_ino
    forget(shard, tmp_path).run()
    assert "made again" not in caplog.text
    assert file.segment_path(ahead).stat().st_ino == inode


def test_released_reports_are_not_touched_while_gateways_may_read_them(shard):
    """A byte that is wrong in the released part stays; one behind it is made right."""
    end = int(shard.words[ShardWord.RELEASED_POSITION])
    path = shard.folder / f"shard-{shard.index}-reports-00000000.seg"
    with path.open("r+b") as file:
        for place in (end - 1, end + 3):
            file.seek(HEADER_BYTES + place)
            file.write(b"\xee")
    shard.put(orders(5, shard.index, 1, 701))
    shard.run()
    with path.open("rb") as file:
        file.seek(HEADER_BYTES + end - 1)
        assert file.read(1) == b"\xee"
        file.seek(HEADER_BYTES + end + 3)
        assert file.read(1) != b"\xee"


def test_events_of_market_data_are_in_the_ring_that_others_read(shard, tmp_path):
    events = shard.memory.events[shard.index].copy()
    last = int(shard.words[ShardWord.EVENT_SEQ])
    assert last > len(events)
    fresh = forget(shard, tmp_path)
    again = fresh.run()
    assert fresh.words[ShardWord.EVENT_SEQ] == last
    assert fresh.memory.events[shard.index].tobytes() == events.tobytes()
    assert again.book.events.ctypes.data == fresh.memory.events[shard.index].ctypes.data


@pytest.mark.parametrize("last", [4, 7], ids=["log-behind-it", "nothing-behind-it"])
def test_it_begins_with_a_snapshot_and_needs_no_older_segment(shard, tmp_path, last):
    for round_ in range(8):
        shard.put(orders(5_000, shard.index, 1, 701 + 5_000 * round_))
        shard.run()
        if round_ == last:
            replica = Replica.open(shard.folder, shard.index)
            replica.follow()
            write_snapshot(shard.folder, replica, shard.config.venue.name)
            gone = replica.log_bytes // SEGMENT_BYTES, replica.report_bytes // SEGMENT_BYTES
            replica.close()
    before = replayed(shard)
    time_ns = int(shard.words[ShardWord.TIME_NS])
    reports = shard.reports()
    for kind, count in zip(("commands", "reports"), gone, strict=True):
        assert count > 0
        for index in range(count):
            (shard.folder / f"shard-{shard.index}-{kind}-{index:08d}.seg").unlink()
    fresh = forget(shard, tmp_path)
    again = fresh.run()
    for kind, count in zip(("commands", "reports"), gone, strict=True):
        assert segments_on_disk(shard.folder, f"shard-{shard.index}-{kind}")[0] == count
    assert fresh.words[ShardWord.SEQ] == before[1] + 1
    assert fresh.words[ShardWord.RELEASED_REPORT] == len(reports)
    check_invariants(again.book)
    state = again.book.state[0]
    state["seq"], state["time_ns"] = before[1], time_ns
    assert state_hash(again.book) == before[0]


# --- the log's end --------------------------------------------------------------------------------


def commands_path(shard, index=0):
    return shard.folder / f"shard-{shard.index}-commands-{index:08d}.seg"


@pytest.mark.parametrize("keeps_memory", [True, False])
@pytest.mark.parametrize("left", [8, 64, 2_000])
def test_a_torn_tail_is_cut_and_told_of(shard, tmp_path, caplog, left, keeps_memory):
    before = replayed(shard)
    end = int(shard.words[ShardWord.LOG_BYTES])
    # The batch that was being written when the process died: its beginning is there.
    with commands_path(shard).open("r+b") as file:
        file.seek(HEADER_BYTES)
        whole = file.read(end)
        file.seek(HEADER_BYTES + end)
        file.write(whole[-3_000:][:left])
    again = shard if keeps_memory else forget(shard, tmp_path)
    again.run()
    assert f"cut a torn tail: shard={shard.index} from_byte={end} bytes=" in caplog.text
    assert replayed(shard)[1:] == (before[1] + 1, before[2])
    data = commands_path(shard).read_bytes()[HEADER_BYTES:]
    assert not any(data[int(again.words[ShardWord.LOG_BYTES]) :])


def test_a_damaged_middle_stops_the_start_and_names_the_place(shard, caplog):
    path = commands_path(shard)
    with path.open("r+b") as file:
        file.seek(HEADER_BYTES + 4_000)
        file.write(b"\xff" * 16)
    with pytest.raises(SystemExit):
        shard.run()
    assert shard.words[ShardWord.STATUS] == ProcessStatus.FAILED
    assert f"{path} is damaged at byte" in caplog.text
    assert "openoutcry journal cut" in caplog.text


def test_a_lost_end_that_was_committed_is_no_torn_tail(shard, caplog):
    """In the log alone it looks like one; the shared memory knows better."""
    end = int(shard.words[ShardWord.LOG_BYTES])
    with commands_path(shard).open("r+b") as file:
        file.seek(HEADER_BYTES + end - 500)
        file.write(bytes(500))
    with pytest.raises(SystemExit):
        shard.run()
    assert f"the log was good up to byte {end} at least" in caplog.text


def note_sent(shard, place):
    """Write the index of a gateway that has sent a report of the shard."""
    owner = owner_of(shard.config)
    index = SegmentedFile(
        shard.folder, "gateway-1-index", 4 * BLOCK_BYTES, writable=True, owner=owner
    )
    index.map_next()
    words = index.array(np.int64)
    words[:3] = SEGMENT_MARK, 2, 0
    block = words[BLOCK_WORDS : 2 * BLOCK_WORDS]
    block[:6] = 1, 1, 1, -1, 1, 1
    block[8:10] = 1, shard.index << SHARD_SHIFT | place
    index.close()


def checkpoint_sent(shard, position):
    """Write the checkpoint of a gateway that has worked off the shard's reports up to a byte."""
    file = CheckpointFile(shard.folder / "gateway-1-checkpoint", 2, 2)
    made = Checkpoint.empty(2, 2)
    made.shards["position"][shard.index] = position
    file.write(file.image(made))
    file.close()


@pytest.mark.parametrize("noted", ["index", "checkpoint", "nothing", "damaged"])
def test_a_lost_end_of_which_reports_were_sent_is_no_torn_tail(shard, tmp_path, caplog, noted):
    """Whatever the log looks like: it is refused before anything is cut, or written over."""
    before = replayed(shard)
    end, reports = int(shard.words[ShardWord.LOG_BYTES]), shard.reports()
    report_end = int(shard.words[ShardWord.RELEASED_POSITION])
    shard.put(orders(10, shard.index, 1, 701))
    shard.run()
    if noted == "index":
        note_sent(shard, report_end)
    elif noted == "checkpoint":
        checkpoint_sent(shard, report_end + 1)
    elif noted == "damaged":
        note_sent(shard, 64)
        (shard.folder / "gateway-1-index-00000000.seg").write_bytes(b"")
    path = commands_path(shard)
    with path.open("r+b") as file:
        file.seek(HEADER_BYTES + end + 40)
        file.write(bytes(10_000))
    content = {each.name: each.read_bytes() for each in shard.folder.iterdir()}
    fresh = forget(shard, tmp_path)
    if noted == "nothing":
        note_sent(shard, report_end - 1)
        checkpoint_sent(shard, report_end)
        fresh.run()
        assert "cut a torn tail" in caplog.text
        assert replayed(shard)[1] == before[1] + 1
        assert fresh.reports()[: len(reports)].tobytes() == reports.tobytes()
        return
    with pytest.raises(SystemExit):
        fresh.run()
    if noted == "damaged":
        assert "gateway-1-index-00000000.seg has no segment header" in caplog.text
    else:
        said = f"it can be read up to byte {end}, command {before[1]}, and gateway 1 has sent"
        assert said in caplog.text
    now = {each.name: each.read_bytes() for each in shard.folder.iterdir()}
    # The reports of the commands that are there were written again: the last one's packing touches
    # the bytes behind it.
    name = f"shard-{shard.index}-reports-00000000.seg"
    old, new = (np.frombuffer(files.pop(name), np.uint8) for files in (content, now))
    touched = np.flatnonzero(old != new) - HEADER_BYTES - report_end
    assert ((touched >= 0) & (touched < 8)).all()
    assert now == content


def test_a_log_that_is_gone_is_missing_where_its_reports_were_sent(shard, tmp_path, caplog):
    note_sent(shard, 64)
    commands_path(shard).unlink()
    with pytest.raises(SystemExit):
        forget(shard, tmp_path).run()
    assert f"the command log of shard {shard.index} is missing" in caplog.text
    assert not commands_path(shard).exists()


def test_a_log_that_lacks_what_was_released_is_refused(shard, caplog):
    shard.words[ShardWord.RELEASED_REPORT] += 1
    with pytest.raises(SystemExit):
        shard.run()
    assert "has released 1 reports more than its log accounts for" in caplog.text


# --- a configuration that changed -----------------------------------------------------------------


def changed(shard, **fields):
    """Return the shard with another configuration."""
    config = msgspec.structs.replace(shard.config, **fields)
    return ShardAlone(config, shard.memory, shard.index, shard.folder)


def resized(shard, **sizes):
    return changed(shard, capacity=msgspec.structs.replace(shard.config.capacity, **sizes))


def test_a_start_logs_what_the_configuration_says_otherwise(shard):
    open_orders = int(shard.run().book.state[0]["open_orders"])
    symbols = [*shard.config.symbols, Symbol(name="S4"), Symbol(name="S5")]
    mine = shard.index + 2
    symbols[mine] = msgspec.structs.replace(symbols[mine], max_price="5")
    other = resized(
        changed(shard, symbols=tuple(symbols)), open_orders=10_000, symbols=9, levels=900
    )
    again = other.run()
    last = batches(shard)[-1]
    kinds = [
        CommandKind.START,
        CommandKind.CAPACITY,
        CommandKind.ADD_SYMBOL,
        CommandKind.ADD_SYMBOL,
    ]
    assert (last[0], last[2]) == (3, kinds)
    book = again.book
    assert (book.open_capacity, book.symbol_capacity, book.level_capacity) == (10_000, 9, 900)
    assert book.symbols[mine]["price_max"] == 500
    assert book.symbols[4 + shard.index]["is_defined"]
    assert book.state[0]["open_orders"] == open_orders
    check_invariants(book)
    assert state_hash(book) == replayed(shard)[0]


def test_another_replace_policy_is_logged(shard):
    symbols = list(shard.config.symbols)
    mine = shard.index + 2
    symbols[mine] = msgspec.structs.replace(symbols[mine], replace_policy="always_requeue")
    book = changed(shard, symbols=tuple(symbols)).run().book
    assert batches(shard)[-1][2] == [CommandKind.START, CommandKind.ADD_SYMBOL]
    assert book.symbols["replace_policy"][mine] == 1


def test_sizes_that_do_not_hold_what_is_open_are_refused_before_they_are_logged(shard, caplog):
    before = batches(shard)
    with pytest.raises(SystemExit):
        resized(shard, open_orders=3).run()
    assert f"shard {shard.index} cannot have the configured sizes" in caplog.text
    assert batches(shard) == before


def test_another_segment_size_counts_for_a_new_log_only(shard):
    other = ShardAlone(
        with_log(shard.config, segment_bytes=4 << 20), shard.memory, shard.index, shard.folder
    )
    assert other.run().log.segment_bytes == SEGMENT_BYTES


def test_another_venues_log_is_refused(shard, tmp_path, caplog):
    with pytest.raises(SystemExit):
        forget(changed(shard, venue=Venue(name="other")), tmp_path).run()
    assert "belongs to the venue 'openoutcry', not to 'other'" in caplog.text


# --- one writer -----------------------------------------------------------------------------------


def test_a_log_that_another_process_writes_is_refused_naming_it(shard, caplog):
    fd = lock_shard(shard.folder, shard.index)
    with pytest.raises(SystemExit):
        shard.run()
    assert f"shard-{shard.index}.lock is held by process {os.getpid()}" in caplog.text
    os.close(fd)
    shard.run()


def test_the_heart_beats_while_it_recovers(shard, monkeypatch):
    """The supervisor takes a heartbeat that stands still for a hung process."""
    seen: list[int] = []
    follow = Replica.follow

    def slow(self, **options):
        if not seen:
            assert shard.words[ShardWord.STATUS] == ProcessStatus.RECOVERING
            first = int(shard.words[ShardWord.HEARTBEAT])
            time.sleep(0.5)
            seen.append(int(shard.words[ShardWord.HEARTBEAT]) - first)
        return follow(self, **options)

    monkeypatch.setattr(Replica, "follow", slow)
    shard.run()
    assert seen[0] >= 3


# --- no durability --------------------------------------------------------------------------------


def test_without_durability_there_is_no_log_and_no_coming_back(tmp_path, caplog):
    config = small_config(durability="none")
    shard = ShardAlone(config, fresh_memory(config, tmp_path / "shm"), 1, tmp_path)
    shard.put(orders(50, 1, 1, 1))
    assert shard.run().book.state[0]["open_orders"] > 0
    assert len(shard.reports()) >= 50
    assert not list(tmp_path.glob("*-commands-*"))
    with pytest.raises(SystemExit):
        shard.run()
    assert "log.durability is none: what it held is lost" in caplog.text
    with pytest.raises(SystemExit):
        forget(shard, tmp_path).run()
    assert "holds the log of shard 1, and log.durability none would not go on" in caplog.text


# --- power ----------------------------------------------------------------------------------------


@pytest.fixture
def powered(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    config = small_config(durability="power", group_commit_us=0)
    alone = ShardAlone(config, fresh_memory(config, tmp_path / "shm"), 0, data)
    alone.put(orders(200, 0, 1, 1))
    alone.run()
    return alone


def test_a_failed_sync_stops_the_shard_and_the_next_one_cuts_what_it_covered(
    powered, monkeypatch, caplog
):
    released = powered.reports()
    synced = int(powered.words[ShardWord.SYNCED_BYTES])
    assert synced == powered.words[ShardWord.LOG_BYTES]
    sync_file = durable.sync_file
    is_broken: list[bool] = []

    def fail(fd, path):
        if is_broken:
            raise OSError(errno.EIO, "Input/output error")
        sync_file(fd, path)

    monkeypatch.setattr(journal, "sync_file", fail)
    begin_ring = powered.memory.ring_headers[0, 0, TAIL_WORD]
    start = journal.SegmentedFile.sync

    def after_start(self, first, stop):
        start(self, first, stop)
        if self.name.endswith("commands") and stop > synced:
            is_broken.append(True)

    monkeypatch.setattr(journal.SegmentedFile, "sync", after_start)
    powered.put(orders(100, 0, 1, 201))
    with pytest.raises(SystemExit):
        powered.run()
    begun = int(powered.words[ShardWord.SYNCED_BYTES])
    assert powered.words[ShardWord.STATUS] == ProcessStatus.FAILED
    assert powered.words[ShardWord.SYNC_CUT] == begun + 1
    assert powered.words[ShardWord.LOG_BYTES] > begun > synced
    # Not one report of the 100 left, and their slots are theirs.
    assert powered.words[ShardWord.RELEASED_REPORT] == len(released)
    assert powered.heads[0] == begin_ring
    assert "the log cannot be synced, the shard stops" in caplog.text
    monkeypatch.undo()
    powered.run()
    assert "cut a torn tail" in caplog.text
    assert powered.words[ShardWord.SYNC_CUT] == 0
    assert powered.heads[0] == begin_ring + 100
    epochs = [batch[0] for batch in batches(powered)]
    assert epochs == sorted(epochs)
    reports = powered.reports()
    assert reports[: len(released)].tobytes() == released.tobytes()
    fresh = reports[len(released) :]
    taken = fresh[(fresh["kind"] == ReportKind.NEW) | (fresh["kind"] == ReportKind.REJECTED)]
    assert taken["inbound_seq"].tolist() == list(range(201, 301))
    assert replayed(powered)[2] == len(reports)


def test_pages_that_a_start_is_not_sure_of_are_synced_before_its_epoch(
    powered, tmp_path, monkeypatch
):
    """With the shared memory gone, what the last batch says was on the disk is all it knows."""
    seen = []
    sync = journal.SegmentedFile.sync

    def note(self, first, stop):
        if self.name.endswith("commands"):
            seen.append((first, stop))
        sync(self, first, stop)

    end = int(powered.words[ShardWord.LOG_BYTES])
    monkeypatch.setattr(journal.SegmentedFile, "sync", note)
    forget(powered, tmp_path).run()
    assert seen[0][0] < end
    assert seen[0][1] == end
    assert seen[1][0] == end


def test_each_part_of_a_start_is_synced_before_the_next(tmp_path, monkeypatch):
    """With many symbols a start takes several batches. Had the disk only the later one, a log of
    `process` would look alike, and there it is damage."""
    config = small_config(durability="power")
    data = tmp_path / "data"
    data.mkdir()
    alone = ShardAlone(config, fresh_memory(config, tmp_path / "shm"), 0, data)
    order: list[str] = []
    sync = journal.SegmentedFile.sync

    def note_sync(self, first, stop):
        if self.name.endswith("commands") and stop > first:
            order.append(f"sync {first} to {stop}")
        sync(self, first, stop)

    def note_append(*arguments):
        end = append_batch(*arguments)
        order.append(f"append {arguments[1] * 8} to {end * 8}, synced {arguments[9]}")
        return end

    with monkeypatch.context() as patch:
        patch.setattr(shard_start, "MAX_BATCH_COMMANDS", 2)
        patch.setattr(shard_start, "append_batch", note_append)
        patch.setattr(journal.SegmentedFile, "sync", note_sync)
        alone.run()
    assert [(batch[0], len(batch[2])) for batch in batches(alone)] == [(1, 2), (1, 2)]
    middle, end = find_middle(alone), int(alone.words[ShardWord.LOG_BYTES])
    assert order == [
        f"append 0 to {middle}, synced 0",
        f"sync 0 to {middle}",
        f"append {middle} to {end}, synced {middle}",
        f"sync {middle} to {end}",
    ]


def find_middle(shard):
    """Return where a log's first batch ends."""
    file = opened(shard, "commands")
    first = file.read(0, 8)
    file.close()
    return int.from_bytes(first[4:], "little")


def test_a_torn_tail_is_gone_from_the_disk_before_the_new_epoch(powered, monkeypatch):
    end = int(powered.words[ShardWord.LOG_BYTES])
    with commands_path(powered).open("r+b") as file:
        file.seek(HEADER_BYTES + end + 800)
        file.write(bytes([1]) * 8)
    seen = []
    sync = journal.SegmentedFile.sync

    def note(self, first, stop):
        if self.name.endswith("commands") and stop > first:
            seen.append((first, stop))
        sync(self, first, stop)

    monkeypatch.setattr(journal.SegmentedFile, "sync", note)
    powered.run()
    assert seen[0] == (end, end + 808)
    assert seen[1] == (end, int(powered.words[ShardWord.LOG_BYTES]))


def test_a_clock_that_was_set_back_stops_no_start(shard, monkeypatch):
    before = int(shard.words[ShardWord.TIME_NS])
    with monkeypatch.context() as patch:
        patch.setattr(time, "time_ns", lambda: before - 10**12)
        shard.run()
    assert shard.words[ShardWord.TIME_NS] == before
    assert batches(shard)[-1][0] == 2


def test_a_start_that_dies_before_it_ends_a_day_leaves_it_due(shard, tmp_path, monkeypatch):
    before = int(shard.words[ShardWord.TIME_NS])
    monkeypatch.setattr(time, "time_ns", lambda: before + 25 * 3600 * 10**9)
    for n in range(2):
        memory = fresh_memory(shard.config, tmp_path / f"shm-{n}")
        shard = ShardAlone(shard.config, memory, shard.index, shard.folder)
        shard.run()
        assert shard.words[ShardWord.PREVIOUS_NS] == before
    assert batches(shard)[-1][0] == 3
    day_end = np.zeros(1, COMMAND)
    day_end["kind"], day_end["symbol"] = CommandKind.DAY_END, -1
    shard.put(day_end, ring=2)
    shard.run()
    assert shard.words[ShardWord.TIME_NS] > before
    # Where no day's end is due a start says when it was.
    later = before + 10**15
    monkeypatch.setattr(time, "time_ns", lambda: later)
    without = msgspec.structs.replace(shard.config, day=None)
    ShardAlone(without, shard.memory, shard.index, shard.folder).run()
    assert shard.words[ShardWord.TIME_NS] == later

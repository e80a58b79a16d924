"""`openoutcry journal verify` and `cut`: damage is found, named, and can be given up."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from support.damage import flip, flip_file, place_of
from support.journal_folder import VENUE, Journal, write_journal

from openoutcry.engine.pack import FIRST_BYTE
from openoutcry.server.checkpoint import Checkpoint, CheckpointFile, read_checkpoint
from openoutcry.server.journal import SegmentedFile
from openoutcry.server.main import main
from openoutcry.server.memory import lock_folder
from openoutcry.server.replica import Replica
from openoutcry.server.segments import SegmentOwner
from openoutcry.server.sessions import BLOCK_WORDS, stored_record
from openoutcry.server.snapshots import snapshots, write_snapshot

INDEX_SEGMENT = 16 << 10


def run(*args: object, status: int = 0, answer: str = "") -> Result:
    result = CliRunner().invoke(main, ["journal", *map(str, args)], input=answer)
    assert result.exit_code == status, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def findings(folder: Path, status: int = 0) -> list[dict[str, Any]]:
    shown = run("verify", folder, "--json", status=status).stdout
    return [json.loads(line) for line in shown.splitlines()]


def damage(folder: Path) -> dict[str, Any]:
    """Return the one part that is damaged."""
    (found,) = (each for each in findings(folder, 1) if each["state"] == "damaged")
    return found


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Journal:
    """A journal that no test changes, of a gateway with three sessions, too."""
    made = write_journal(tmp_path_factory.mktemp("journal"))
    write_gateway(made)
    return made


@pytest.fixture
def copied(journal: Journal, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(journal.folder, tmp_path / "copy"))


def report_places(journal: Journal) -> list[int]:
    """Return the byte of the report log at which each report begins, and its end."""
    packed, places, at = journal.expected.packed(), [], 0
    while at < len(packed):
        places.append(FIRST_BYTE + at)
        lengths = int.from_bytes(packed[at : at + 12], "little")
        at += 12 + sum(lengths >> 4 * word & 15 for word in range(24))
    return [*places, FIRST_BYTE + at]


def write_gateway(journal: Journal) -> None:
    """Write an index of three sessions (every report is somebody's), stored messages and a
    checkpoint."""
    owner = SegmentOwner(VENUE)
    folder, places = journal.folder, report_places(journal)
    index = SegmentedFile(folder, "gateway-0-index", INDEX_SEGMENT, writable=True, owner=owner)
    messages = SegmentedFile(
        folder, "gateway-0-messages", INDEX_SEGMENT, writable=True, owner=owner
    )
    messages.map_next()
    at, stored = 0, messages.array(np.uint8)
    for n in range(20):
        record = stored_record(b"message %d" % n, 1 + n % 3, 0)
        stored[at : at + len(record)] = np.frombuffer(record, np.uint8)
        at += (len(record) + 7) // 8 * 8
    words = index.array(np.int64)
    newest = dict.fromkeys((1, 2, 3), -1)
    sent = dict.fromkeys((1, 2, 3), 0)
    block = 0
    for n, place in enumerate(places[:-1]):
        session = 1 + n % 3
        number = sent[session]
        if number % 252 == 0:
            if block % (INDEX_SEGMENT // 4096) == 0:
                index.map_next()
                words[block * BLOCK_WORDS : block * BLOCK_WORDS + 4] = [-1, 1, 0, place]
                block += 1
            head = [session, 1, number + 1, newest[session], 0, 1_700_000_000_000]
            words[block * BLOCK_WORDS : block * BLOCK_WORDS + 6] = head
            newest[session] = block
            block += 1
        start = newest[session] * BLOCK_WORDS
        entry = start + 8 + 2 * (number % 252)
        words[entry : entry + 2] = [1_700_000_000_000 + n, place]
        words[start + 4] += 1
        sent[session] += 1
    index.close()
    messages.close()
    write_checkpoint(folder, block, at, places)


def write_checkpoint(folder: Path, next_block: int, stored_end: int, places: list[int]) -> None:
    """Write both slots of the gateway's checkpoints."""
    file = CheckpointFile(folder / "gateway-0-checkpoint", 4, 1)
    for _ in range(2):
        found = Checkpoint.empty(4, 1)
        found.next_block, found.stored_end = next_block, stored_end
        found.rows["epoch"][1:] = 1
        found.shards[0] = (len(places), places[-1], len(places), places[-1])
        file.write(file.image(found))
    file.sync()
    file.close()


def sources(folder: Path) -> dict[int, list[int]]:
    """Return each session's sources, in order."""
    found: dict[int, list[int]] = {1: [], 2: [], 3: []}
    for path in sorted(folder.glob("gateway-0-index-*.seg")):
        words = np.frombuffer(path.read_bytes()[4096:], np.int64).reshape(-1, BLOCK_WORDS)
        for block in words:
            if block[0] > 0:
                found[int(block[0])] += block[9 : 8 + 2 * int(block[4]) : 2].tolist()
    return found


def test_all_is_well(journal: Journal):
    found = findings(journal.folder)
    # This journal was written without a venue, which would have given names to its numbers.
    assert [each["part"] for each in found if each["state"] != "ok"] == ["directory.log"]
    parts = {each["part"] for each in found}
    assert parts >= {
        *("shard-0-commands", "shard-0-reports", "gateway-0-index", "gateway-0-messages"),
        *("gateway-0-checkpoint", *(path.name for path in journal.snapshots)),
    }
    text = run("verify", journal.folder).stdout
    assert f"commands 1 to {len(journal.commands)}" in text
    assert "epochs 1 to 2" in text
    assert f"reports 1 to {journal.expected.report_seq}" in text
    assert "20 messages of the gateway's own" in text
    assert text.splitlines()[-1] == "no damage"
    run("verify", journal.folder, "--shard", 0)


def test_a_flipped_command_is_named_with_file_and_offset(journal: Journal, copied: Path):
    path, offset = place_of(copied, "shard-0-commands", journal.ends[9])
    flip(copied, "shard-0-commands", journal.ends[9] + 50)
    found = damage(copied)
    assert (found["part"], found["file"], found["offset"]) == (
        *("shard-0-commands", str(path), offset),
    )
    assert f"the venue starts from {journal.snapshots[1].name} behind it" in found["text"]
    assert "1 part is damaged" in run("verify", copied, status=1).stdout
    for path in snapshots(copied, 0):
        path.unlink()
    assert f"openoutcry journal cut {copied} --shard 0" in damage(copied)["text"]


def test_a_torn_tail_is_no_damage(journal: Journal, copied: Path):
    end = journal.ends[-1]
    path, offset = place_of(copied, "shard-0-commands", end)
    first = (journal.folder / "shard-0-commands-00000000.seg").read_bytes()[4096:]
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(first[:200])
    notes = [each for each in findings(copied) if each["state"] == "note"]
    assert "torn tail: 200 bytes" in notes[0]["text"]
    assert f"byte {end} of the log" in notes[0]["text"]


def test_a_part_of_an_archive_ends_within_a_batch(journal: Journal, copied: Path):
    for path in copied.iterdir():
        if path.name.startswith("gateway-") or path.name == "shard-0-commands-00000004.seg":
            path.unlink()
    (note,) = (each for each in findings(copied) if "torn tail" in each["text"])
    assert "its batch goes on in shard-0-commands-00000004.seg, which is not here" in note["text"]
    assert "cuts it off" not in note["text"]


def test_segments(journal: Journal, copied: Path, tmp_path: Path):
    second = copied / "shard-0-commands-00000001.seg"
    whole = second.read_bytes()
    second.write_bytes(whole[:-1])
    assert "it was cut short" in damage(copied)["text"]
    second.unlink()
    assert "is missing" in damage(copied)["text"]
    second.write_bytes((copied / "shard-0-commands-00000002.seg").read_bytes())
    assert "says that it is segment 2 of commands 0" in damage(copied)["text"]
    second.write_bytes(whole)
    flip_file(second, 100)
    assert "checksum" in damage(copied)["text"]
    second.write_bytes(whole)
    findings(copied)
    for path in copied.glob("shard-0-commands-*.seg"):
        path.unlink()
    assert "restore them from a backup" in damage(copied)["text"]


def test_snapshots(journal: Journal, copied: Path):
    path = snapshots(copied, 0)[0]
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert damage(copied)["part"] == path.name
    path.write_bytes(whole)
    flip_file(path, len(whole) - 20)
    assert "checksum" in damage(copied)["text"]
    path.write_bytes(whole)
    moved = path.with_name(path.name.replace("786", "787"))
    path.rename(moved)
    assert "move the file away" in damage(copied)["text"]
    moved.unlink()
    (copied / "shard-0-snapshot-00000000000000000900.new").write_bytes(b"x")
    assert [each["state"] for each in findings(copied) if each["part"].endswith(".new")] == ["note"]


def test_the_end_of_the_log_below_a_snapshot(journal: Journal, copied: Path):
    size = 16 << 10
    header = journal.ends[journal.seqs.index(786)]
    for path in copied.glob("shard-0-commands-*.seg"):
        if int(path.stem[-8:]) >= header // size:
            path.unlink()
    assert f"the log was good up to byte {header}" in damage(copied)["text"]


def test_gateways(journal: Journal, copied: Path):
    flip(copied, "gateway-0-index", 4096 + 4 * 8 + 2)
    assert "too many entries" in damage(copied)["text"]
    flip(copied, "gateway-0-index", 4096 + 4 * 8 + 2)
    flip(copied, "gateway-0-messages", 30)
    assert any("not whole" in each["text"] for each in findings(copied))
    path = copied / "gateway-0-checkpoint"
    path.write_bytes(bytes(4096) + path.read_bytes()[4096:])
    assert any("no checkpoint in it" in each["text"] for each in findings(copied))


def test_an_index_segment_that_was_just_made(journal: Journal, copied: Path):
    last = max(copied.glob("gateway-0-index-*.seg"))
    content = last.read_bytes()
    last.write_bytes(content[:4096] + bytes(8) + content[4104:])
    assert "does not begin its segment" in damage(copied)["text"]
    # The next start writes what was missing, where the segment was made since the checkpoint.
    first = int(last.stem[-8:]) * (INDEX_SEGMENT // 4096)
    write_checkpoint(copied, first, 0, report_places(journal))
    found = findings(copied)
    assert [each["part"] for each in found if each["state"] == "damaged"] == []
    assert any("does not begin its segment yet" in each["text"] for each in found)


def test_reports_sent_that_no_command_makes(journal: Journal, copied: Path, tmp_path: Path):
    def replay(status: int) -> dict[str, Any]:
        result = CliRunner().invoke(main, ["replay", str(copied), "--verify", "--json"])
        assert result.exit_code == status, result.output
        found: dict[str, Any] = json.loads(result.stdout)
        return found

    assert replay(0)["notes"] == []
    # What was logged last is gone: the files are of two times.
    last = journal.ends[-2]
    path, offset = place_of(copied, "shard-0-commands", last)
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(bytes(journal.ends[-1] - last))
    (note,) = (note for note in replay(1)["notes"] if "gateway" in note)
    said = f"has lost its end: it can be read up to byte {last}, command {journal.seqs[-2]}"
    assert said in note
    assert "gateway 0 has sent reports of later commands" in note
    assert "restore them together" in note
    found = damage(copied)
    assert (found["part"], found["offset"]) == ("shard-0-commands", offset)
    assert said in found["text"]


@pytest.mark.parametrize("batch", [-1, -4])
def test_a_flipped_last_batch_is_no_torn_tail(journal: Journal, copied: Path, batch: int):
    """In the log alone it looks like one; what was sent of its reports tells otherwise."""
    end, seq = journal.ends[batch - 1], journal.seqs[batch - 1]
    flip(copied, "shard-0-commands", end + 50, 1)
    if batch < -1:
        # Nothing that can be read follows.
        path, offset = place_of(copied, "shard-0-commands", journal.ends[batch])
        with path.open("r+b") as file:
            file.seek(offset)
            file.write(bytes(journal.ends[-1] - journal.ends[batch]))
    found = damage(copied)
    assert f"has lost its end: it can be read up to byte {end}, command {seq}" in found["text"]
    assert f"journal cut {copied} --shard 0" in found["text"]
    assert not any("torn tail" in each["text"] for each in findings(copied, 1))
    # A start that was refused has touched the bytes behind the last report of what is left.
    places = report_places(journal)
    kept = int((journal.expected.rows()["seq"] <= seq).sum())
    flip(copied, "shard-0-reports", places[kept])
    assert "has lost its end" in damage(copied)["text"]
    # Where the reports that were sent are gone, too, only a replay can tell.
    before = {path: path.read_bytes() for path in copied.glob("shard-0-reports-*.seg")}
    first, offset = place_of(copied, "shard-0-reports", places[kept - 2])
    for path, content in before.items():
        if path >= first:
            size = offset if path == first else 4096
            path.write_bytes(content[:size] + bytes(len(content) - size))
    (note,) = (each for each in findings(copied) if "whether the command log" in each["text"])
    assert (note["part"], note["state"]) == ("shard-0-reports", "note")
    for path, content in before.items():
        path.write_bytes(content)
    text = run("cut", copied, "--shard", 0, "--yes").stdout
    assert f"the log ends with command {seq} from now on, at byte {end}" in text
    findings(copied)


def test_damage_at_the_logs_end_below_a_snapshot(journal: Journal, copied: Path, tmp_path: Path):
    replica = Replica.open(copied, 0)
    replica.follow()
    made = write_snapshot(copied, replica, VENUE)
    replica.close()
    flip(copied, "shard-0-commands", journal.ends[-2] + 50, 1)
    found = damage(copied)["text"]
    assert f"the log was good up to byte {journal.ends[-1]} at least" in found
    assert f"the venue starts from {made.name} behind it all the same" in found
    assert "all the same" in run("cut", copied, "--shard", 0, "--yes", status=1).stderr
    # Where the log does not reach the snapshot, no start can go on there.
    place_of(copied, "shard-0-commands", journal.ends[-1])[0].unlink()
    for path in copied.glob("shard-0-commands-*.seg"):
        if int(path.stem[-8:]) > 1:
            path.unlink()
    assert "journal cut" in damage(copied)["text"]


def test_cut_gives_up_what_lies_behind_the_damage(journal: Journal, copied: Path):
    batch = 30
    end, seq = journal.ends[batch], journal.seqs[batch]
    flip(copied, "shard-0-commands", end + 50)
    before = {path.name: path.read_bytes() for path in copied.iterdir()}
    # A start begins with the snapshot behind it.
    text = run("cut", copied, "--shard", 0, "--yes", status=1).stderr
    assert f"the venue starts from {journal.snapshots[1].name} behind it all the same" in text
    assert f"the venue starts from {journal.snapshots[1].name} behind it" in damage(copied)["text"]
    text = run("cut", copied, "--shard", 0, "--at", end, answer="n\n", status=1).stdout
    assert f"the log ends with command {seq} from now on, at byte {end}" in text
    last = len(journal.commands)
    assert f"the {last - seq} commands {seq + 1} to {last}" in text
    assert "sessions may have been told of them" in text
    now = {path.name: path.read_bytes() for path in copied.iterdir()}
    assert {name: now[name] for name in before} == before
    text = run("cut", copied, "--shard", 0, "--at", end, "--yes").stdout
    aside = copied / f"cut-shard-0-at-{end}"
    assert f"what was given up is in {aside}" in text
    findings(copied)
    replica = Replica.open(copied, 0, snapshot=False)
    assert replica.follow().commands == seq
    assert replica.state_hash() == journal.expected.hashes[seq - 1]
    assert replica.find_end().position == end
    # The newer snapshot went, too, the older one stays.
    assert [path.name for path in snapshots(copied, 0)] == [journal.snapshots[0].name]
    assert (aside / journal.snapshots[1].name).exists()
    # Nothing is lost: put back, all is as it was.
    for path in aside.iterdir():
        assert path.read_bytes() == before[path.name]
    # No session points behind the end of the report log; numbers stay.
    old, new = sources(journal.folder), sources(copied)
    for session in old:
        assert [source if source < replica.report_bytes else 0 for source in old[session]] == (
            new[session]
        )
        assert 0 in new[session]
    found = read_checkpoint(copied / "gateway-0-checkpoint")
    assert found is not None
    assert found.shards[0].tolist() == (
        *(replica.report_seq + 1, replica.report_bytes),
        *(replica.report_seq + 1, replica.report_bytes),
    )
    assert found.rows["epoch"].tolist() == [0, 1, 1, 1]
    replica.close()


def test_cut_finds_the_place_that_a_start_reads(journal: Journal, copied: Path):
    behind = journal.ends[journal.seqs.index(786)]
    place = next(end for end in journal.ends if end > behind)
    flip(copied, "shard-0-commands", journal.ends[3] + 50)
    flip(copied, "shard-0-commands", place + 50)
    for path in snapshots(copied, 0)[1:]:
        path.unlink()
    text = run("cut", copied, "--shard", 0, "--yes").stdout
    assert f"at byte {place}" in text
    assert [path.name for path in snapshots(copied, 0)] == [journal.snapshots[1].name]


def test_cut_at_a_place_of_ones_own(journal: Journal, copied: Path):
    text = run("cut", copied, "--shard", 0, status=1).stderr
    assert "is not damaged" in text
    text = run("cut", copied, "--shard", 0, "--at", journal.ends[4] + 8, status=1).stderr
    assert f"can be read up to byte {journal.ends[4]}" in text
    run("cut", copied, "--shard", 0, "--at", journal.ends[4], "--yes")
    assert f"commands 1 to {journal.seqs[4]}" in run("verify", copied).stdout
    assert not snapshots(copied, 0)


def test_cut_refuses_while_a_venue_holds_the_lock(copied: Path):
    holder = lock_folder(copied)
    try:
        text = run("cut", copied, "--shard", 0, "--yes", status=1).stderr
    finally:
        os.close(holder)
    assert f"in use by the venue with pid {os.getpid()}: stop it first" in text
    assert "name the shard" in run("cut", copied, status=2).stderr

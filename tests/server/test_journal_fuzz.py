"""Damaged files of a data directory: every parser refuses them, or reads what a reader in plain
Python (tests/oracle/journal.py) reads of them; nothing crashes, hangs or raises anything else.

Half of the damage to what has a checksum is done with the checksum made right again, so that
lengths, counts, masks and fields get past it. The same tests run without the JIT (`make
test-plain`), where an index out of bounds is an error. Seeds count from 0: `make fuzz` takes 50
times as many as `make test`.
"""

import json
import shutil
import struct
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import settings
from oracle import journal as oracle
from support.gateway_alone import GatewayAlone
from support.journal_folder import VENUE, Journal, write_journal
from support.log_writer import SEGMENT

from openoutcry.config.jit import IS_COMPILED
from openoutcry.engine.enums import CommandKind
from openoutcry.engine.image import load_image
from openoutcry.engine.log import MAX_BATCH_COMMANDS, READ_HEADER_WORDS, as_words
from openoutcry.engine.pack import MAX_PACKED_BYTES
from openoutcry.engine.records import COMMAND, REPORT, SHARD_SHIFT
from openoutcry.engine.recovery import ReplayExit, later_batch, skip_batches
from openoutcry.engine.snapshot import state_hash
from openoutcry.server.checkpoint import (
    CHECKPOINT_ROW,
    Checkpoint,
    CheckpointFile,
    read_checkpoint,
)
from openoutcry.server.credentials import CredentialFile, CredentialFileError, hash_password
from openoutcry.server.directory import (
    AccountRecord,
    Directory,
    DirectoryError,
    FirmRecord,
    LayoutRecord,
    SessionRecord,
    SymbolRecord,
    VenueRecord,
    read_directory,
)
from openoutcry.server.journal import SegmentedFile
from openoutcry.server.log_end import RecoveryError, find_end
from openoutcry.server.log_reader import (
    BATCH,
    CommandReader,
    ReportReader,
    read_batches,
    read_rows,
)
from openoutcry.server.main import main
from openoutcry.server.replica import Replica
from openoutcry.server.segments import (
    HEADER_BYTES,
    SegmentError,
    SegmentOwner,
    read_segment_header,
)
from openoutcry.server.sessions import BLOCK_WORDS, stored_record
from openoutcry.server.snapshots import (
    SnapshotError,
    load_snapshot,
    read_header,
    read_snapshot,
    verify_snapshot,
)
from openoutcry.server.store import SentMessages

SHARD = 3
#: 1 in `make test`, 50 in `make fuzz`.
_MORE = max(1, settings().max_examples // 400)
_WRAP = oracle.WRAP
_EXTREMES = [0, 1, 7, 8, 255, 256, 4095, 4096, 4097, (1 << 31) - 1, 1 << 31, (1 << 32) - 1]
_EXTREMES += [1 << 32, 1 << 40, (1 << 62), (1 << 63) - 1, 1 << 63, _WRAP - 1, _WRAP]


def seeds(count: int, *, plain: int = 0) -> range:
    """Return the seeds of a run; plain Python takes fewer."""
    return range((count if IS_COMPILED else plain or count // 10) * _MORE)


# --- damage ---------------------------------------------------------------------------------------


def damage(data: bytearray, random: Random, start: int, stop: int) -> int:
    """Damage bytes start … stop - 1, not the length; return the first byte that may be another."""
    at = random.randrange(start, stop)
    size = min(random.choice((1, 4, 8, 40, 200)), stop - at)
    match random.randrange(7):
        case 0:
            for _ in range(random.choice((1, 1, 1, 3, 16))):
                place = random.randrange(start, stop)
                data[place] ^= 1 << random.randrange(8)
                at = min(at, place)
        case 1:
            data[at : at + size] = random.randbytes(size)
        case 2:
            data[at : at + size] = bytes(size)
        case 3:
            source = random.randrange(len(data) - size + 1)
            data[at : at + size] = data[source : source + size]
        case 4:
            data[at:stop] = bytes(stop - at)
        case 5:
            other = random.randrange(start, stop - size + 1)
            first, second = bytes(data[at : at + size]), bytes(data[other : other + size])
            data[at : at + size], data[other : other + size] = second, first
            at = min(at, other)
        case _:
            at -= at % 8
            if at + 8 <= stop:
                width = random.choice((1, 2, 4, 8))
                value = random.choice(_EXTREMES) & ((1 << 8 * width) - 1)
                place = at + random.randrange(0, 8, width)
                data[place : place + width] = value.to_bytes(width, "little")
    return max(start, at)


def resize(data: bytearray, random: Random) -> None:
    """Cut a file, or make it longer."""
    if random.random() < 0.6:
        del data[random.randrange(len(data) + 1) :]
    else:
        data += random.choice((bytes(64), random.randbytes(random.randrange(1, 5000)), data[:900]))


def refusal(read: Callable[[], object], *errors: type[Exception]) -> str | None:
    """Return what a parser says that refuses, None where it does not; any other error is one."""
    try:
        read()
    except errors as error:
        return str(error)
    return None


# --- the command log ------------------------------------------------------------------------------


def make_right(data: bytearray, at: int) -> None:
    """Give the batch at byte `at` a checksum that is right, whatever else it says."""
    head = int.from_bytes(data[at : at + 8], "little")
    size = head >> 32
    if size % 8 or size < 56 or at + size > len(data):
        return
    words = tuple(np.frombuffer(data, "<u8", size // 8, at).tolist())
    data[at + 8 : at + 16] = oracle.checksum(words).to_bytes(8, "little")


def batch_at(data: bytes, at: int) -> oracle.Batch | None:
    """Return the batch at byte `at` as the page says it, None where none is whole."""
    try:
        batch = oracle.read_batch(data, at, at)
    except (AssertionError, IndexError, struct.error):
        return None
    if batch is None or not 1 <= len(batch.commands) <= 4096 or len(batch.rings) > 256:
        return None
    first = batch.commands[0]["seq"]
    return batch if 1 <= first <= (1 << 63) - 1 - len(batch.commands) else None


def following(data: bytes, at: int, last: tuple[int, int, int]) -> Iterator[oracle.Batch]:
    """Yield the batches from byte `at` on, as long as each follows (sequence, epoch, time)."""
    seq, epoch, time_ns = last
    while (batch := batch_at(data, at)) is not None:
        first = batch.commands[0]["seq"]
        if first != seq + 1 or batch.epoch < epoch or batch.time_ns < time_ns:
            return
        seq, epoch, time_ns = seq + len(batch.commands), batch.epoch, batch.time_ns
        at += batch.size
        yield batch


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Journal:
    """A journal of small batches that no test changes."""
    folder = tmp_path_factory.mktemp("fuzzed")
    return write_journal(folder, 400 if IS_COMPILED else 160, shard=SHARD, synced=True)


class Batches:
    """A command log in memory, and what the product's kernels read in one like it."""

    def __init__(self, journal: Journal) -> None:
        _, content = oracle.read_series(journal.folder, f"shard-{SHARD}-commands")
        self.data = content[: journal.ends[-1] + 512]
        self.starts = [0, *journal.ends[:-1]]
        self.ends = journal.ends
        self.before = [(0, 0, 0)]
        for batch in following(self.data, 0, (0, 0, 0)):
            self.before.append((batch.commands[-1]["seq"], batch.epoch, batch.time_ns))
        assert len(self.before) == len(self.ends) + 1
        self._commands = np.zeros(MAX_BATCH_COMMANDS + 200, COMMAND)
        self._batches = np.zeros(4, BATCH)
        self._header = np.zeros(READ_HEADER_WORDS, np.int64)

    def read(self, data: bytes, at: int, last: tuple[int, int, int]) -> tuple[Any, Any, int, int]:
        """Return commands and batches from byte `at` on, a ReplayExit, and the byte behind."""
        log = np.frombuffer(data[: len(data) // 8 * 8], np.int64)
        state = np.array(last, np.int64)
        code, rows, count, position = read_batches(
            *(log, at // 8, len(log), state, as_words(self._commands), self._batches, self._header)
        )
        return self._commands[:rows], self._batches[:count], int(code), int(position) * 8


@pytest.fixture(scope="module")
def batches(journal: Journal) -> Batches:
    return Batches(journal)


def test_mutated_command_logs_read_as_the_oracle_reads_them(batches: Batches):
    accepted = refused = 0
    for seed in seeds(4000, plain=150):
        random = Random(seed)
        data = bytearray(batches.data)
        n = random.randrange(len(batches.starts))
        start, stop = batches.starts[n], batches.ends[n]
        if random.random() < 0.5:
            # Headers are a small part of the bytes, and the larger part of what can go wrong.
            stop = min(stop, start + 56 + 8 * random.randrange(8))
        is_right = random.random() < 0.6
        damage(data, random, start, stop)
        if random.random() < 0.05:
            del data[random.randrange(start, len(data)) :]
            is_right = False
        if is_right:
            make_right(data, start)
        at, last = start, batches.before[n]
        commands, found, code, _ = batches.read(bytes(data), at, last)
        row = 0
        wanted = list(_first(following(bytes(data), at, last), 4))
        assert len(found) == len(wanted), seed
        for batch, read in zip(wanted, found, strict=True):
            assert (batch.position, batch.epoch, batch.time_ns, batch.synced) == (
                *(int(read["position"]), int(read["epoch"])),
                *(int(read["time_ns"]), int(read["synced"])),
            ), seed
            for command in batch.commands:
                assert oracle._fields(commands[row].tobytes(), oracle._COMMAND) == command, seed
                row += 1
        assert row == len(commands), seed
        if not is_right:
            # Neither is a batch read whose checksum is wrong, nor what was never written.
            is_whole = data[start : batches.ends[n]] == batches.data[start : batches.ends[n]]
            assert len(found) == 0 or is_whole, seed
            true = _first(following(batches.data, at, last), 4)
            assert [batch.commands for batch in wanted] == [
                batch.commands for batch, _ in zip(true, wanted, strict=False)
            ], seed
        if len(found) < 4:
            assert code != ReplayExit.PIECE, seed
            refused += 1
        else:
            accepted += 1
    assert accepted
    assert refused


def _first(found: Iterator[oracle.Batch], count: int) -> Iterator[oracle.Batch]:
    for _, batch in zip(range(count), found, strict=False):
        yield batch


def test_mutated_logs_end_where_the_oracle_ends(batches: Batches):
    for seed in seeds(600, plain=40):
        random = Random(seed)
        data = bytearray(batches.data)
        is_right = random.random() < 0.3
        n = random.randrange(len(batches.starts))
        changed = damage(data, random, batches.starts[n], len(data))
        if is_right:
            make_right(data, batches.starts[n])
        log = np.frombuffer(data, np.int64)
        at, last = batches.starts[n], np.array(batches.before[n], np.int64)
        code, position = skip_batches(log, at // 8, len(log), last)
        end = at
        for batch in following(bytes(data), at, batches.before[n]):
            end += batch.size
        if is_right:
            assert position * 8 >= end, seed
        else:
            assert position * 8 == end, seed
        assert end <= len(data)
        assert ReplayExit(int(code)) in {
            *(ReplayExit.END, ReplayExit.TORN, ReplayExit.OUT_OF_ORDER),
        }
        # The next good batch behind the place is one whose checksum is right.
        later, _ = later_batch(log, int(position) + 1, len(log))
        if later >= 0:
            size = int(log[later]) >> 32 & 0xFFFF_FFFF
            words = tuple(np.frombuffer(data, "<u8", size // 8, int(later) * 8).tolist())
            assert words[1] == oracle.checksum(words), seed
        elif not is_right and changed < batches.starts[-1] and end < batches.starts[-1]:
            assert bytes(data[batches.starts[-1] :]) != batches.data[batches.starts[-1] :], seed


# --- the report log -------------------------------------------------------------------------------


def test_mutated_report_logs_read_as_the_oracle_reads_them(journal: Journal):
    _, content = oracle.read_series(journal.folder, f"shard-{SHARD}-reports")
    whole = content[: journal.report_bytes + MAX_PACKED_BYTES]
    (base_ns,) = np.frombuffer(whole, np.int64, 1, 16).tolist()
    true = list(oracle.read_reports(journal.folder, SHARD))
    places = [report["position"] for report in true]
    rows, refused = np.zeros(6, REPORT), 0
    for seed in seeds(4000, plain=200):
        random = Random(seed)
        data = bytearray(whole)
        n = random.randrange(len(places))
        is_lengths = random.random() < 0.4
        stop = places[n] + 12 if is_lengths else min(places[n] + 300, len(data))
        damage(data, random, places[n], stop)
        if random.random() < 0.05:
            del data[random.randrange(places[n], len(data)) :]
        state = np.array([n, true[n]["seq"] - 1], np.int64)
        seq = int(state[1])
        kept = np.frombuffer(bytes(data), np.uint8)
        code, count, behind = read_rows(
            *(int(kept.ctypes.data), places[n], len(data), base_ns, SHARD << SHARD_SHIFT),
            *(state, (1 << 63) - 1, rows, as_words(rows)),
        )
        at, number = places[n], n
        for row in rows[:count]:
            found = oracle._unpack(bytes(data), at, 24)
            assert found is not None, seed
            words, at = found
            words[2] = (words[2] + base_ns) & _WRAP
            words[3] ^= SHARD << SHARD_SHIFT
            assert as_words(row.reshape(1))[0].view(np.uint64).tolist() == words, seed
            number += 1
            assert (row["report_seq"], row["seq"] >= seq) == (number, True), seed
            seq = int(row["seq"])
        assert behind == at, seed
        if code == 2:
            found = oracle._unpack(bytes(data), at, 24)
            if found is not None:
                first, second = np.array(found[0][:2], np.uint64).view(np.int64).tolist()
                assert first != number + 1 or second < seq, seed
            refused += 1
        elif code == 3:
            assert at + MAX_PACKED_BYTES > len(data), seed
        else:
            assert (int(code), int(count)) == (1, len(rows)), seed
    assert refused


# --- whole data directories -----------------------------------------------------------------------


class Folder:
    """A copy of a journal whose files are damaged and made whole again."""

    def __init__(self, journal: Journal, folder: Path) -> None:
        self.path = folder
        shutil.copytree(journal.folder, folder, dirs_exist_ok=True)
        self.files = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}

    def put(self, name: str, data: bytes) -> Path:
        path = self.path / name
        path.write_bytes(data)
        return path

    def mend(self, name: str) -> None:
        """Make a file as it was."""
        self.put(name, self.files[name])

    def named(self, part: str) -> list[str]:
        return [name for name in self.files if part in name]


@pytest.fixture
def folder(journal: Journal, tmp_path: Path) -> Folder:
    return Folder(journal, tmp_path / "copy")


def asks_for_much(data: bytes, at: int) -> bool:
    """Tell whether a batch has a CAPACITY that is large; all that a configuration can ask for is
    granted, gigabytes too."""
    batch = batch_at(data, at)
    if batch is None:
        return False
    fields = ("price_ticks", "price2_ticks", "qty_lots", "qty2_lots", "expire_ns")
    return any(
        command["kind"] == CommandKind.CAPACITY
        and any(4096 < command[field] <= 1 << 28 for field in fields)
        for command in batch.commands
    )


def test_mutated_commands_are_executed_or_refused(
    batches: Batches, journal: Journal, folder: Folder
):
    """Fields that no gateway writes, with checksums that are right: no index leaves its array."""
    names = folder.named("commands")
    executed = 0
    for seed in seeds(300, plain=40):
        random = Random(seed)
        data = bytearray(batches.data)
        for _ in range(random.choice((1, 1, 4))):
            n = random.randrange(len(batches.starts)) if random.random() < 0.8 else 0
            damage(data, random, batches.starts[n] + 56, batches.ends[n])
            make_right(data, batches.starts[n])
            if asks_for_much(bytes(data), batches.starts[n]):
                data[:] = batches.data
        content = bytes(data).ljust(SEGMENT * len(names), b"\0")
        for m, name in enumerate(names):
            folder.put(
                name,
                folder.files[name][:HEADER_BYTES] + content[m * SEGMENT : (m + 1) * SEGMENT],
            )
        replica = Replica.open(folder.path, SHARD, snapshot=False)
        try:
            result = replica.follow()
            end = sum(batch.size for batch in following(bytes(data), 0, (0, 0, 0)))
            assert result.position == end, seed
            executed += result.commands
            replica.state_hash()
        except RecoveryError:
            pass
        finally:
            replica.close()
    assert executed


def read_commands(folder: Path) -> None:
    with CommandReader(folder, SHARD) as commands:
        for _ in commands.pieces():
            pass
        commands.examine()


def test_mutated_segments_are_read_or_refused(folder: Folder, journal: Journal):
    names = folder.named(".seg")
    read = refused = 0
    for seed in seeds(150, plain=20):
        random = Random(seed)
        name = random.choice(names)
        data = bytearray(folder.files[name])
        is_right = False
        match random.randrange(5):
            case 0:
                resize(data, random)
            case 1:
                damage(data, random, 0, 160)
            case 2:
                damage(data, random, 8, 144)
                is_right = True
            case 3:
                data[:] = folder.files[random.choice(names)]
            case _:
                damage(data, random, HEADER_BYTES, len(data))
        if is_right:
            data[144:152] = zlib.crc32(data[:144]).to_bytes(8, "little")
            if random.random() < 0.5:
                wanted = HEADER_BYTES + int.from_bytes(data[112:120], "little")
                data = data[:wanted].ljust(min(wanted, 1 << 20), b"\0")
        path = folder.put(name, bytes(data))
        said = refusal(partial(read_segment_header, path), SegmentError)
        if said is not None:
            assert str(path) in said
            refused += 1
        else:
            header = read_segment_header(path)
            assert header.segment_bytes == len(data) - HEADER_BYTES
            # Names that are no UTF-8 the oracle does not read.
            if b"\xef\xbf\xbd" not in f"{header.kind}{header.venue}{header.fingerprint}".encode():
                assert tuple(oracle.read_segment(path))[1:] == tuple(header), seed
            read += 1
        for look in (partial(read_commands, folder.path), partial(find_end, folder.path, SHARD)):
            said = refusal(look, RecoveryError)
            assert said is None or str(folder.path) in said, seed
        with ReportReader(folder.path, SHARD) as reports:
            for _ in reports.pieces(1 << 62):
                pass
        folder.mend(name)
    assert read
    assert refused


# --- snapshots ------------------------------------------------------------------------------------


def mutated_header(header: dict[str, Any], random: Random) -> dict[str, Any]:
    """Return a header with one value that no program writes there."""
    made = json.loads(json.dumps(header))
    target = random.choice((made, made, made["sections"][random.choice(list(made["sections"]))]))
    key = random.choice(list(target))
    if key == "capacity":
        # Sizes a little wrong: all that a configuration can ask for is granted.
        values = random.choice(([], [1], [0] * 5, [-1, *target[key][1:]], [9, 9, 9, 9, 9], None))
        target[key] = values
        return made
    numbers = [-1, 0, 1, 7, 8, 1 << 15, 1 << 31, 1 << 32, (1 << 63) - 1, 1 << 63, 1 << 64, 10**30]
    others: list[Any] = [
        "",
        "x",
        None,
        [],
        {},
        [1 << 70],
        [0] * 2000,
        1.5,
        True,
        -(1 << 63),
        -(1 << 63) - 1,
    ]
    target[key] = random.choice(numbers if random.random() < 0.7 else others)
    if random.random() < 0.05:
        del target[key]
    return made


def snapshot_file(header: bytes, parts: list[bytes]) -> bytes:
    prelude = b"OOSNAP\r\n" + b"".join(
        word.to_bytes(4, "little") for word in (1, len(header), zlib.crc32(header), 0)
    )
    return prelude + header + b"".join(parts)


def mutated_snapshot(data: bytes, random: Random) -> tuple[bytes, bool]:
    """Return a damaged snapshot, and whether its checksums are right."""
    size = int.from_bytes(data[12:16], "little")
    header = json.loads(data[24 : 24 + size])
    parts, at = [], 24 + size
    for section in header["sections"].values():
        parts.append(data[at : at + section["bytes"]])
        at += section["bytes"]
    kind = random.randrange(4)
    if kind == 0:
        made = bytearray(data)
        if random.random() < 0.3:
            resize(made, random)
        else:
            damage(made, random, 0, random.choice((24, 24 + size, len(made))))
        return bytes(made), False
    if kind == 1:
        text = bytearray(json.dumps(mutated_header(header, random)).encode())
        if random.random() < 0.2:
            damage(text, random, 0, len(text))
        return snapshot_file(bytes(text), parts), True
    n = random.choice([n for n, part in enumerate(parts) if part])
    part = bytearray(parts[n])
    if random.random() < 0.2:
        resize(part, random)
    else:
        damage(part, random, 0, len(part))
    parts[n] = bytes(part)
    for section, each in zip(header["sections"].values(), parts, strict=True):
        section.update(bytes=len(each), crc=zlib.crc32(each))
    return snapshot_file(json.dumps(header).encode(), parts), True


def test_mutated_snapshots_are_refused(folder: Folder, journal: Journal):
    name = journal.snapshots[-1].name
    path = folder.path / name
    past_checksums = loaded = 0
    for seed in seeds(600, plain=60):
        data, is_right = mutated_snapshot(folder.files[name], Random(seed))
        folder.put(name, data)
        try:
            oracle.read_snapshot(path)
            is_whole = True
        except Exception:
            is_whole = False
        for check in (read_header, verify_snapshot, read_snapshot):
            said = refusal(partial(check, path), SnapshotError)
            assert said is None or name in said, seed
        if said is not None:
            continue
        snapshot = read_snapshot(path)
        past_checksums += 1
        assert is_right or is_whole, seed
        # A book that is made has the hash that the file names; the kernels stay in their arrays.
        try:
            load_image(snapshot.image)
        except ValueError:
            with pytest.raises(SnapshotError):
                load_snapshot(snapshot)
            continue
        try:
            book = load_snapshot(snapshot)
        except SnapshotError:
            continue
        assert int(state_hash(book)) == snapshot.header.state_hash
        loaded += 1
    assert past_checksums
    assert loaded


def test_a_mutated_snapshot_is_passed_over(folder: Folder, journal: Journal):
    name = journal.snapshots[-1].name
    true = Replica.open(journal.folder, SHARD)
    true.follow()
    wanted = (true.seq, true.state_hash(), true.report_bytes)
    true.close()
    passed = 0
    for seed in seeds(60, plain=8):
        data, is_right = mutated_snapshot(folder.files[name], Random(seed))
        folder.put(name, data)
        told: list[str] = []
        try:
            replica = Replica.open(folder.path, SHARD, on_event=told.append)
        except RecoveryError:
            assert is_right, seed
            continue
        try:
            replica.follow()
            if not is_right:
                assert (replica.seq, replica.state_hash(), replica.report_bytes) == wanted, seed
        finally:
            replica.close()
        passed += bool(told)
    assert passed


# --- gateways -------------------------------------------------------------------------------------


def write_index(folder: Path) -> list[tuple[int, int]]:
    """Have a gateway number 600 reports of two shards; return where their logs end."""
    folder.mkdir()
    alone = GatewayAlone(folder)
    alone.gateway.recover()
    for n in range(300):
        for shard in (0, 1):
            alone.logs[shard].write(
                {
                    **{"session": 1 + n % 2, "epoch": 1, "kind": 1, "side": 1, "ord_type": 2},
                    **{"order_id": 1 + n, "qty_lots": 5, "leaves_qty": 5, "cl_ord_id": b"ID"},
                }
            )
        alone.gateway.drain()
        if n == 250:
            for session in (1, 2):
                alone.gateway.index.store_bytes(b"some bytes", session, -3)
            alone.gateway.try_checkpoint()
    ends = alone.ends()
    alone.close()
    return ends


@pytest.mark.skipif(not IS_COMPILED, reason="a gateway's kernels take minutes as plain Python")
def test_gateways_recover_mutated_files_or_refuse(tmp_path: Path):
    ends = write_index(tmp_path / "whole")
    files = {path.name: path.read_bytes() for path in (tmp_path / "whole").glob("gateway-0-*")}
    assert len(files) == 3
    folder = tmp_path / "copy"
    shutil.copytree(tmp_path / "whole", folder)
    recovered = refused = 0
    for seed in seeds(60):
        random = Random(seed)
        for name, whole in files.items():
            (folder / name).write_bytes(whole)
        name = random.choice([*files, next(name for name in files if "index" in name)])
        data, size = bytearray(files[name]), 0
        if name.endswith(".seg"):
            start = HEADER_BYTES + 4096 * random.randrange(4)
            size = random.choice((64, 4096))
            damage(data, random, start, start + size)
        else:
            damage(data, random, 0, random.choice((48, 4096 + 192, len(data))))
        (folder / name).write_bytes(data)
        alone = GatewayAlone(folder, ends=ends)
        try:
            said = refusal(alone.gateway.recover, RecoveryError, SegmentError)
            if said is None:
                recovered += 1
                for session in (1, 2) if name.endswith(".seg") else ():
                    next_out = int(alone.gateway.index.rows[session]["next_out"])
                    runs = SentMessages(alone.gateway, session).runs(
                        1, next_out - 1, lambda _, frame: frame
                    )
                    told = [(first, last) for first, last, _ in runs]
                    assert sum(last - first + 1 for first, last in told) <= next_out, seed
            else:
                refused += 1
        finally:
            alone.close()
    assert recovered
    assert refused


# --- the small files ------------------------------------------------------------------------------


def test_mutated_checkpoints_are_read_as_the_oracle_reads_them(tmp_path: Path):
    path = tmp_path / "gateway-0-checkpoint"
    file = CheckpointFile(path, 5, 2)
    for n in (1, 2, 3):
        made = Checkpoint.empty(5, 2)
        made.next_block, made.stored_end, made.time_ms = 10 * n, 100 * n, 1000 * n
        made.rows["epoch"][1:4] = n
        file.write(file.image(made))
    file.close()
    whole = path.read_bytes()
    first, slot = np.frombuffer(whole, np.int64, 2, 32).tolist()
    read = 0
    for seed in seeds(400, plain=100):
        random = Random(seed)
        data = bytearray(whole)
        start = random.choice((0, first, first + slot))
        is_right = start > 0 and random.random() < 0.5
        damage(data, random, start, start + random.choice((48, 64, 260)))
        if random.random() < 0.1:
            resize(data, random)
            is_right = False
        if is_right:
            rows = int.from_bytes(data[start + 40 : start + 48], "little", signed=True)
            end = start + 64 + 64 + CHECKPOINT_ROW.itemsize * rows
            if 0 <= rows <= 5:
                crc = zlib.crc32(data[start + 8 : end])
                data[start : start + 8] = crc.to_bytes(8, "little")
            if data[first + 8 : first + 16] == data[first + slot + 8 : first + slot + 16]:
                # Two of one number: none is the newer one.
                data[start : start + 8] = bytes(8)
        path.write_bytes(data)
        found = read_checkpoint(path)
        try:
            wanted = oracle.read_checkpoint(path)
        except Exception:
            # Sizes that are no sizes: there is no checkpoint.
            assert found is None, seed
        else:
            if found is not None:
                assert wanted is not None, seed
                assert wanted[1:4] == (found.next_block, found.stored_end, found.time_ms), seed
                assert wanted.shards == [tuple(row.tolist()) for row in found.shards], seed
                rows = len(wanted.sessions)
                assert wanted.sessions == [row.item() for row in found.rows[:rows]], seed
                read += 1
            elif data[:48] == whole[:48] and len(data) >= len(whole):
                assert wanted is None, seed
        # A gateway that starts takes what is whole, or makes the file anew.
        if seed % 8 == 0:
            again = CheckpointFile(path, 5, 2)
            assert len(again.presence) == 5
            again.close()
    assert read


def directory_file(folder: Path) -> bytes:
    directory = Directory(folder)
    directory.append(lambda _: [VenueRecord("v"), LayoutRecord(2, 1)])
    directory.append(lambda _: [FirmRecord(1, "alpha"), AccountRecord(1, "a-1")])
    directory.append(lambda _: [SessionRecord(1, "fix", "ALICE", "FIX.4.4", 0, 1)])
    directory.append(lambda _: [SymbolRecord(0, "AAPL", "0.01", "1", 1)])
    directory.close()
    return (folder / "directory.log").read_bytes()


def told_in(folder: Path) -> dict[str, Any]:
    """Return what a directory says, but for its unfinished end."""
    return {**vars(read_directory(folder)), "torn": 0}


def test_mutated_directories_are_read_or_refused(tmp_path: Path):
    whole = directory_file(tmp_path)
    path = tmp_path / "directory.log"
    prefixes = []
    for count in range(len(whole.splitlines()) + 1):
        path.write_bytes(b"".join(whole.splitlines(keepends=True)[:count]))
        prefixes.append(told_in(tmp_path))
    read = refused = 0
    for seed in seeds(1000, plain=200):
        random = Random(seed)
        data = bytearray(whole)
        is_right = random.random() < 0.5
        if is_right:
            lines = bytes(data).splitlines()
            n = random.randrange(len(lines))
            payload = bytearray(lines[n][9:])
            damage(payload, random, 0, len(payload))
            payload = bytearray(payload.replace(b"\n", b" "))
            if random.random() < 0.3:
                number = str(random.choice((-1, *_EXTREMES))).encode()
                payload = bytearray(lines[n][9:].replace(b":1", b":" + number))
            lines[n] = b"%08x %s" % (zlib.crc32(payload), payload)
            data = bytearray(b"\n".join(lines) + b"\n")
        elif random.random() < 0.3:
            resize(data, random)
        else:
            damage(data, random, 0, len(data))
        path.write_bytes(data)
        said = refusal(partial(read_directory, tmp_path), DirectoryError)
        if said is not None:
            assert str(path) in said, seed
            refused += 1
            continue
        read += 1
        if not is_right:
            # What is read is a prefix of what was written.
            assert told_in(tmp_path) in prefixes, seed
    assert read
    assert refused


def test_mutated_credentials_are_read_or_refused(tmp_path: Path):
    path = tmp_path / "credentials.json"
    hashed = hash_password(b"secret")
    file = CredentialFile(tmp_path)
    for key in ("fix:ALICE", "fix:BOB"):
        file.put(key, hashed)
    whole = path.read_bytes()
    refused = 0
    for seed in seeds(1000, plain=200):
        random = Random(seed)
        data = bytearray(whole)
        if random.random() < 0.2:
            resize(data, random)
        else:
            damage(data, random, 0, len(data))
        path.write_bytes(data)
        said = refusal(partial(CredentialFile, tmp_path), CredentialFileError)
        if said is not None:
            assert str(path) in said, seed
            refused += 1
    assert refused


# --- commands -------------------------------------------------------------------------------------


def write_gateway(journal: Journal, folder: Path) -> None:
    """Write the index of one session that is sent every report, stored messages, a checkpoint."""
    owner = SegmentOwner(VENUE)
    index, messages = (
        SegmentedFile(folder, f"gateway-0-{kind}", SEGMENT, writable=True, owner=owner)
        for kind in ("index", "messages")
    )
    places = [each["position"] for each in oracle.read_reports(journal.folder, SHARD)]
    index.map_next()
    messages.map_next()
    stored = stored_record(b"some bytes", 1, 0)
    messages.array(np.uint8)[: len(stored)] = np.frombuffer(stored, np.uint8)
    words = index.array(np.int64)
    words[: 3 + SHARD + 1] = [-1, SHARD + 1, 0, *[64] * (SHARD + 1)]
    block, number = 0, 1
    for first in range(0, min(len(places), 3 * 252), 252):
        block += 1
        some = places[first : first + 252]
        head = [1, 1, number, block - 1 if block > 1 else -1, len(some), 1_700_000_000_000]
        at = block * BLOCK_WORDS
        words[at : at + 6] = head
        for n, place in enumerate(some):
            words[at + 8 + 2 * n] = 1_700_000_000_000
            words[at + 9 + 2 * n] = SHARD << SHARD_SHIFT | place
        number += len(some)
    index.close()
    messages.close()
    file = CheckpointFile(folder / "gateway-0-checkpoint", 4, SHARD + 1)
    found = Checkpoint.empty(4, SHARD + 1)
    found.next_block, found.stored_end = block + 1, (len(stored) + 7) // 8 * 8
    found.rows["epoch"][1] = 1
    file.write(file.image(found))
    file.close()


def test_commands_on_mutated_directories_end_with_a_sentence(journal: Journal, tmp_path: Path):
    folder = tmp_path / "copy"
    shutil.copytree(journal.folder, folder)
    write_gateway(journal, folder)
    directory_file(folder)
    copy = Folder(journal, folder)
    copy.files = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    commands: list[list[str]] = [
        ["journal", "dump", str(folder), "--reports"],
        ["journal", "dump", str(folder), "--json", "--from", "50"],
        ["journal", "verify", str(folder)],
        ["replay", str(folder), "--verify"],
        ["replay", str(folder), "--from-snapshot"],
        ["replay", str(folder), "--diff", str(journal.folder)],
        ["export", str(folder), "trades"],
        ["export", str(folder), "orders"],
    ]
    names = [name for name in copy.files if name.endswith((".seg", ".snap", ".log", "checkpoint"))]
    failed = 0
    # A command that fails leaves addresses (1 TiB a file) to its process's end, which is not here.
    for seed in seeds(80, plain=16)[:2000]:
        random = Random(seed)
        name = random.choice(names)
        data = bytearray(copy.files[name])
        match random.randrange(5):
            case 0:
                resize(data, random)
            case 1:
                damage(data, random, 0, min(160, len(data)))
            case 2:
                (folder / name).unlink()
            case 3:
                data[:] = copy.files[random.choice(names)]
            case _:
                for _ in range(3):
                    damage(data, random, 0, len(data))
        if (folder / name).exists():
            copy.put(name, bytes(data))
        command = commands[seed % len(commands)]
        result = CliRunner().invoke(main, command)
        is_ended = result.exception is None or isinstance(result.exception, SystemExit)
        assert is_ended, (seed, name, command, result.exception)
        assert result.exit_code in {0, 1, 2}, (seed, name, command)
        assert "Traceback" not in result.output, (seed, name, command)
        if result.exit_code:
            failed += 1
            said = (result.stderr or result.output).strip()
            assert said, (seed, name, command)
        copy.mend(name)
    assert failed

"""What a gateway makes of its files when it starts: sessions as they were, and nothing left out.

It begins with the latest checkpoint and rolls forward: index blocks written since are taken over as
far as they are whole, reports of the shards that the index does not tell of are numbered (for each
session and each receiver of copies that has not got them), and from all of that follows what the
clients' messages were answered with. The shards have worked off the commands of the gateway before
by then, so nothing is under way. A session's Expected is its lowest number that is not answered:
its client is asked for what lies above, and what was answered of that is passed over when it comes.
"""

import logging
import time
from collections import defaultdict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from openoutcry.engine.enums import ReportKind
from openoutcry.engine.faults import FaultPoint, reach_in_python
from openoutcry.engine.log import as_words
from openoutcry.engine.pack import MAX_PACKED_BYTES, unpack_rows
from openoutcry.engine.records import REPORT, SHARD_SHIFT
from openoutcry.engine.ring import HEAD_WORD, TAIL_WORD
from openoutcry.engine.state import GatewayWord, ProcessStatus, ShardWord
from openoutcry.server.answers import FoundRow
from openoutcry.server.checkpoint import CONNECTED, Checkpoint
from openoutcry.server.fix_mass import found_row
from openoutcry.server.journal import OutOfSpaceError
from openoutcry.server.log_end import RecoveryError
from openoutcry.server.outbound import OUTBOUND_DIRECTORY, OUTBOUND_INDEX, OUTBOUND_PYTHON
from openoutcry.server.renumber import (
    ANSWERS_DONE,
    ANSWERS_PYTHON,
    RENUMBER_DAMAGED,
    RENUMBER_EPOCH,
    answers_by_itself,
    append_copies,
    first_stored,
    last_positions,
    list_answers,
    number_missing,
)
from openoutcry.server.sessions import (
    BLOCK_BYTES,
    BLOCK_ENTRIES,
    BLOCK_HEADER_WORDS,
    BLOCK_WORDS,
    NEXT_BLOCK,
    SEGMENT_HEAD_WORDS,
    SEGMENT_MARK,
)

if TYPE_CHECKING:
    from openoutcry.server.gateway import Gateway

log = logging.getLogger(__name__)

#: How long a starting gateway waits for shards that recover, and for what its predecessor asked of
#: them to be done.
_SHARDS_S = 30.0
_REPORTS_AT_ONCE = 65536
_NUMBERS_AT_ONCE = 4096
_POSITION_MASK = (1 << SHARD_SHIFT) - 1
#: Sessions whose Expected the log tells.
_TOLD = 8


class Stopped(Exception):
    """The venue stops while the gateway recovers."""


def await_shards(gateway: "Gateway", is_stopping: Callable[[], bool]) -> frozenset[int]:
    """Wait until every shard runs and has answered what is in the gateway's rings.

    What the gateway before asked for is in the report logs then. A shard that does not come up is
    not waited for without end: the others' clients need a gateway. Returns those shards: what they
    were asked for may be executed later.

    Raises:
        Stopped: the venue stops.
    """
    memory, words = gateway.memory, gateway.words
    deadline = time.monotonic() + _SHARDS_S
    while True:
        words[GatewayWord.HEARTBEAT] += 1
        headers = memory.ring_headers[:, gateway.number]
        is_running = memory.shards[:, ShardWord.STATUS] == ProcessStatus.RUNNING
        is_done = headers[:, TAIL_WORD] <= headers[:, HEAD_WORD]
        if (is_running & is_done).all():
            return frozenset()
        if is_stopping():
            raise Stopped
        if time.monotonic() >= deadline:
            shards = np.flatnonzero(~(is_running & is_done)).tolist()
            log.error("recovery goes on without waiting for shards: shards=%s", shards)
            return frozenset(shards)
        time.sleep(0.002)


def warm(gateway: "Gateway") -> None:
    """Compile or load the kernels of a recovery, before there is anything to recover."""
    index = gateway.index
    index.reset(1, 1, epoch=int(index.rows[1]["epoch"]) + 1)
    start = Checkpoint.empty(len(index.rows), len(gateway.positions))
    recovery = GatewayRecovery(gateway, start)
    recovery.run()
    last = np.zeros(len(index.rows), np.int64)
    append_copies(gateway.routes, 1, 0, last, 0, index.blocks, index.allocator, 0, 1)
    answers_by_itself(np.zeros(1, REPORT), 1, 1)
    buffer = np.zeros(MAX_PACKED_BYTES + 16, np.uint8)
    unpack_rows(as_words(np.zeros(1, REPORT)), 0, 1, 0, 0, int(buffer.ctypes.data))


class GatewayRecovery:
    """One recovery of a gateway, in steps that leave everything as it is for a second try."""

    def __init__(self, gateway: "Gateway", checkpoint: Checkpoint | None) -> None:
        self._gateway = gateway
        self._index = gateway.index
        self._is_first = checkpoint is None
        index, shards = gateway.index, len(gateway.config.shards)
        self._from = checkpoint or Checkpoint.empty(len(index.rows), shards)
        #: By shard and session: position of the last report that the session's index tells of.
        self._last = np.zeros((shards, len(index.rows)), np.int64)
        #: By session: whether the index tells of stored messages since the checkpoint.
        self._has_stored = np.zeros(len(index.rows), np.bool_)
        #: (session, epoch, number) of what stored messages since the checkpoint answer.
        self._told: set[tuple[int, int, int]] = set()
        #: (session, number) → reports of an answer that Python puts together.
        self._rows: dict[tuple[int, int], list[FoundRow]] = defaultdict(list)
        #: Session → numbers that a shard knew already.
        self._duplicates: dict[int, set[int]] = defaultdict(set)
        #: (session, number) of answers by Python that are whole, and parts of those that are not.
        self._stored: set[tuple[int, int]] = set()
        self._parts: dict[tuple[int, int], int] = defaultdict(int)
        self._row = np.zeros(1, REPORT)
        self._words = as_words(self._row)
        self._numbers = np.zeros(_NUMBERS_AT_ONCE, np.int64)
        self._numbered = 0
        self._found = 0

    def run(self) -> str:
        """Recover, and return in words what came of it; the caller then writes a checkpoint.

        Raises:
            OutOfSpaceError: there is no room for what has to be noted.
            RecoveryError: the index is damaged, or the shards' logs are not those it tells of.
        """
        started = time.monotonic()
        gateway = self._gateway
        if self._is_first and not self._has_blocks():
            # The first start: nothing in the shards' logs is for a session of this gateway yet.
            self._begin()
            self._index.mark_segments()
            return ""
        if self._is_first:
            log.warning("no checkpoint can be read: everything is recovered from the index")
            self._begin_with_segment()
        self._check_blocks()
        self._restore()
        self._index.mark_segments()
        self._step()
        self._roll_forward()
        self._index.clear_stored()
        self._step()
        for shard in range(len(gateway.config.shards)):
            self._map_reports(shard)
        for shard in range(len(gateway.config.shards)):
            self._number(shard)
            self._step()
        expected = self._settle_answers()
        self._step()
        departed = self._note_departures()
        sessions = int((self._index.rows["epoch"] > 0).sum())
        return (
            f"recovered: sessions={sessions} messages_found={self._found} "
            f"reports_numbered={self._numbered} expected={expected} departed={departed} "
            f"seconds={time.monotonic() - started:.3f}"
        )

    def _step(self) -> None:
        self._gateway.words[GatewayWord.HEARTBEAT] += 1
        reach_in_python(self._gateway.faults, FaultPoint.GATEWAY_RECOVERY)

    # --- where to begin ---------------------------------------------------------------------------

    def _has_blocks(self) -> bool:
        file = self._index.index_file
        first = file.first_byte // 8 + BLOCK_WORDS
        return file.mapped_bytes > file.first_byte and bool(self._index.blocks[first] != 0)

    def _begin(self) -> None:
        gateway, shards = self._gateway, self._gateway.memory.shards
        for shard in range(len(gateway.config.shards)):
            gateway.next_report[shard] = shards[shard, ShardWord.RELEASED_REPORT] + 1
            position = max(int(shards[shard, ShardWord.RELEASED_POSITION]), self._first(shard))
            gateway.positions[shard] = position

    def _first(self, shard: int) -> int:
        return int(self._from.shards[shard]["position"])

    def _begin_with_segment(self) -> None:
        """Begin with the oldest index segment that is there: its first block says from where."""
        index, start = self._index, self._from
        first = index.index_file.first_byte // 8
        head = index.blocks[first : first + SEGMENT_HEAD_WORDS + len(start.shards)]
        start.next_block = first // BLOCK_WORDS
        if head[0] != SEGMENT_MARK:
            return
        for shard, position in enumerate(head[SEGMENT_HEAD_WORDS:].tolist()):
            row = start.shards[shard]
            released = int(self._gateway.memory.shards[shard, ShardWord.RELEASED_POSITION])
            row["position"] = row["first_position"] = position
            if position < released:
                self._unpack(shard, position)
                row["next_report"] = row["first_report"] = self._row[0]["report_seq"]
            else:
                next_report = self._gateway.memory.shards[shard, ShardWord.RELEASED_REPORT] + 1
                row["next_report"] = row["first_report"] = next_report

    def _restore(self) -> None:
        """Take the checkpoint over."""
        index, start, gateway = self._index, self._from, self._gateway
        known = np.flatnonzero(start.rows["epoch"])
        for name in ("epoch", "epoch_ms", "block", "first_block", "next_out", "oldest_out"):
            index.rows[name][known] = start.rows[name][known]
        index.rows["next_in"][known] = start.rows["expected"][known]
        index.stored_end = start.stored_end
        index.allocator[NEXT_BLOCK] = start.next_block
        for shard, row in enumerate(start.shards):
            gateway.next_report[shard] = row["first_report"]
            gateway.positions[shard] = row["first_position"]

    # --- the index --------------------------------------------------------------------------------

    def _check_blocks(self) -> None:
        """Refuse blocks that nobody can have written so: kernels take what they say as it is."""
        index, shards = self._index, len(self._from.shards)
        file = index.index_file
        first = file.first_byte // BLOCK_BYTES
        words = index.blocks[first * BLOCK_WORDS : file.mapped_bytes // 8]
        blocks = words.reshape(-1, BLOCK_WORDS)
        session, number, before, entries = (blocks[:, word] for word in (0, 2, 3, 4))
        is_bad = (session > 0) & (
            (entries < 0)
            | (entries > BLOCK_ENTRIES)
            | (number < 1)
            | (before >= first + np.arange(len(blocks)))
        )
        # The blocks that checkpoints name are those of their sessions.
        owners = np.flatnonzero(self._from.rows["epoch"])
        named = self._from.rows["block"][owners]
        is_here = (named >= first) & (named < first + len(blocks))
        if (named >= first + len(blocks)).any():
            raise RecoveryError(
                f"the checkpoint of gateway {self._gateway.number} names blocks behind the end of "
                f"{file.name}-*.seg: the data directory's files are not of one time; restore them "
                "together from a backup"
            )
        is_bad[(named - first)[is_here]] |= session[(named - first)[is_here]] != owners[is_here]
        for at in np.flatnonzero((session > 0) & ~is_bad).tolist():
            count = int(entries[at])
            sources = blocks[at, BLOCK_HEADER_WORDS + 1 :: 2][:count]
            is_bad[at] = bool((sources >> SHARD_SHIFT >= shards).any())
        if is_bad.any():
            raise self._damaged(first + int(np.argmax(is_bad)))

    def _damaged(self, block: int) -> RecoveryError:
        path, offset = self._index.index_file.locate(block * BLOCK_BYTES)
        return RecoveryError(
            f"{path} is damaged at byte {offset}: block {block} tells what nobody can have been "
            "sent; restore the file from a backup"
        )

    def _roll_forward(self) -> None:
        """Take over what was noted since the checkpoint, as far as it is whole."""
        index, start = self._index, self._from
        file = index.index_file
        limit = file.mapped_bytes // (BLOCK_WORDS * 8)
        heads = index.blocks[start.next_block * BLOCK_WORDS : limit * BLOCK_WORDS]
        heads = heads.reshape(-1, BLOCK_WORDS)[:, :BLOCK_HEADER_WORDS]
        fresh = np.flatnonzero(heads[:, 0])
        if len(fresh):
            index.allocator[NEXT_BLOCK] = start.next_block + int(fresh[-1]) + 1
        fresh = fresh[heads[fresh, 0] > 0]
        by_session: dict[int, list[int]] = defaultdict(list)
        for at in fresh.tolist():
            session = int(heads[at, 0])
            if session < len(index.rows):
                by_session[session].append(start.next_block + at)
        had_block = np.flatnonzero((start.rows["block"] >= 0) & (start.rows["epoch"] > 0))
        for session in sorted({*by_session, *had_block.tolist()} - {0}):
            self._roll_session(session, by_session.get(session, []))
        # A session whose block is not mapped any more begins a new one.
        blocks = index.rows["block"]
        is_old = (blocks >= 0) & (blocks * BLOCK_WORDS * 8 < file.first_byte)
        index.rows["entries"][is_old] = BLOCK_ENTRIES

    def _roll_session(self, session: int, fresh: list[int]) -> None:
        """Bring a session's row up to its blocks: `fresh` are those begun since the checkpoint."""
        index = self._index
        row, words_of = index.rows[session], index.words_of
        chains: dict[int, list[int]] = defaultdict(list)
        for block in fresh:
            chains[int(words_of(block)[1])].append(block)
        # An epoch begins with a block of its own; one whose first block is not there never began.
        begun = [
            epoch
            for epoch in sorted(chains)
            if epoch > row["epoch"] and words_of(chains[epoch][0])[2:4].tolist() == [1, -1]
        ]
        if row["block"] >= 0:
            self._take_block(session, int(row["block"]))
        self._take_chain(session, chains.pop(int(row["epoch"]), []))
        for epoch in begun:
            # A reset since the checkpoint: nothing of the epoch before is sent again, but it tells
            # which reports were numbered in it.
            row["epoch"] = epoch
            row["first_block"] = row["block"] = -1
            row["next_in"] = row["next_out"] = row["oldest_out"] = 1
            self._take_chain(session, chains.pop(epoch))
        for left in chains.values():
            for block in left:
                self._discard(block)

    def _take_chain(self, session: int, chain: list[int]) -> None:
        """Take over the blocks of an epoch that were begun since the checkpoint, as far as each
        goes on where the one before it ends."""
        row = self._index.rows[session]
        for block in chain:
            words = self._index.words_of(block)
            is_next = words[2] == row["next_out"] and words[3] == row["block"]
            if not is_next:
                # Its predecessor was lost, or cut: nothing of it was ever sent.
                self._discard(block)
                continue
            if row["block"] < 0:
                row["first_block"], row["epoch_ms"] = block, words[5]
            row["block"] = block
            self._take_block(session, block)

    def _discard(self, block: int) -> None:
        self._index.blocks[block * BLOCK_WORDS] = 0

    def _take_block(self, session: int, block: int) -> None:
        """Take over a block's entries from next_out on, as far as they are whole."""
        index = self._index
        row, words = index.rows[session], index.words_of(block)
        begin = int(row["next_out"]) - int(words[2])
        end = stop = int(words[4])
        if block * BLOCK_WORDS * 8 < index.index_file.first_byte:
            # It was full, or given up, before the checkpoint.
            row["entries"] = BLOCK_ENTRIES
            return
        if begin < 0:
            # The block begins above the number that the session had reached.
            raise self._damaged(block)
        entry = begin
        while (entry := int(first_stored(index.blocks, block, entry, stop))) < stop:
            source = int(words[BLOCK_HEADER_WORDS + 2 * entry + 1])
            stored = index.stored_message(source)
            if stored is None or stored.session != session:
                stop = entry
                break
            self._has_stored[session] = True
            self._told.add((session, int(words[1]), stored.answers))
            index.stored_end = max(index.stored_end, stored.end)
            entry += 1
        if stop < end:
            log.warning(
                "messages cut that were never sent: session=%d from=%d count=%d",
                session,
                int(words[2]) + stop,
                end - stop,
            )
            words[4] = stop
        last = np.zeros(len(self._last), np.int64)
        last_positions(index.blocks, block, begin, stop, last)
        self._last[:, session] = np.maximum(self._last[:, session], last)
        self._found += max(stop - begin, 0)
        row["next_out"] = int(words[2]) + stop
        row["entries"] = stop

    # --- the reports ------------------------------------------------------------------------------

    def _map_reports(self, shard: int) -> None:
        gateway = self._gateway
        end = int(gateway.memory.shards[shard, ShardWord.RELEASED_POSITION])
        file = gateway.report_files[shard]
        if file.is_next_there():
            file.ensure_from(max(int(gateway.positions[shard]), file.first_byte))
        if end > gateway.positions[shard]:
            file.ensure(end + MAX_PACKED_BYTES)

    def _number(self, shard: int) -> None:
        """Note what is missing of a shard's reports, and find those that answers are made of."""
        gateway, index = self._gateway, self._index
        words = gateway.memory.shards[shard]
        released = int(words[ShardWord.RELEASED_REPORT])
        end = int(words[ShardWord.RELEASED_POSITION])
        numbered = int(self._from.shards[shard]["position"])
        next_report, position = int(gateway.next_report[shard]), int(gateway.positions[shard])
        noted = max(position, int(self._last[shard].max()) + 1)
        if released < next_report - 1 or (noted > end and noted > position):
            raise RecoveryError(
                f"the report log of shard {shard} ends at {end}, before {noted}, up to which "
                f"gateway {gateway.number} had numbered reports: the data directory's files are "
                "not of one venue at one time; restore them together from a backup"
            )
        file = gateway.report_files[shard]
        while next_report <= released:
            gateway.words[GatewayWord.HEARTBEAT] += 1
            index.make_room()
            code, next_report, position, at, count = number_missing(
                file.address,
                position,
                int(words[ShardWord.BASE_NS]),
                self._row,
                self._words,
                next_report,
                min(released + 1, next_report + _REPORTS_AT_ONCE),
                shard,
                numbered,
                self._last[shard],
                self._has_stored,
                gateway.routes,
                index.blocks,
                index.allocator,
                gateway.now_ms(),
            )
            next_report, position = int(next_report), int(position)
            self._numbered += int(count)
            if code == OUTBOUND_INDEX:
                self._need_room()
            elif code == OUTBOUND_DIRECTORY:
                gateway.catch_up(self._row[0])
            elif code == RENUMBER_EPOCH:
                # The reset was to be noted when the power went: the shard had heard of it.
                session, epoch = int(self._row[0]["session"]), int(self._row[0]["epoch"])
                index.reset(session, gateway.now_ms(), epoch=epoch)
            elif code == OUTBOUND_PYTHON:
                self._take_row(shard, int(at), numbered)
            elif code == RENUMBER_DAMAGED:
                path, offset = file.locate(position)
                raise RecoveryError(
                    f"{path} has no report {next_report} at byte {offset}, where gateway "
                    f"{gateway.number} knows it: the file is damaged, or the data directory's "
                    "files are not of one venue at one time; restore them together from a backup"
                )
        gateway.next_report[shard] = next_report
        gateway.positions[shard] = position

    def _need_room(self) -> None:
        before = self._index.index_file.mapped_bytes
        self._index.make_room(wants_more=True)
        if self._index.index_file.mapped_bytes == before:
            raise OutOfSpaceError(
                28, "no room to note what sessions are sent: free space in the data directory"
            )

    def _take_row(self, shard: int, position: int, numbered: int) -> None:
        """Take a report that the kernel leaves to Python."""
        row, index = self._row[0].copy(), self._index
        session, number = int(row["session"]), int(row["inbound_seq"])
        epoch, kind = int(row["epoch"]), int(row["kind"])
        is_of_before = epoch != int(index.rows[session]["epoch"])
        if is_of_before and kind >= ReportKind.DUPLICATE:
            return
        source = shard << SHARD_SHIFT | position
        if kind == ReportKind.DUPLICATE:
            self._duplicates[session].add(number)
        elif kind > ReportKind.DUPLICATE:
            self._rows[session, number].append(found_row(shard, source, row))
        elif position >= numbered and not self._is_told(session, epoch, number):
            account = int(row["account"])
            now_ms = self._gateway.now_ms()
            if position > self._last[shard, session]:
                next_out = int(index.rows[session]["next_out"])
                index.append(session, next_out, now_ms, source)
                index.rows[session]["next_out"] += 1
                self._numbered += 1
            if row["order_id"]:
                self._numbered += int(
                    append_copies(
                        self._gateway.routes,
                        session,
                        account,
                        self._last[shard],
                        position,
                        index.blocks,
                        index.allocator,
                        source,
                        now_ms,
                    )
                )

    def _is_told(self, session: int, epoch: int, number: int) -> bool:
        """Tell whether a stored message since the checkpoint answers a session's message."""
        # To a session that was reset meanwhile it is told as what answers none.
        now = int(self._index.rows[session]["epoch"])
        told = self._told
        return (session, epoch, number) in told or (epoch != now and (session, now, 0) in told)

    # --- answers ----------------------------------------------------------------------------------

    def _settle_answers(self) -> str:
        """Work out each session's Expected; return some of them in words."""
        index, answers = self._index, self._gateway.index.answers
        told: list[str] = []
        sessions = np.flatnonzero(index.rows["epoch"] > 0)
        for session in sessions.tolist():
            row = index.rows[session]
            if int(row["home"]) != self._gateway.number:
                continue
            numbers = self._list_answers(session) | self._duplicates.get(session, set())
            expected = self._first_number(session)
            unfinished = {n for s, n in (*self._rows, *self._parts) if s == session}
            unfinished = {n for n in unfinished if (session, n) not in self._stored}
            numbers -= unfinished
            while expected in numbers:
                expected += 1
            row["next_in"] = expected
            later = {number for number in numbers if number > expected}
            unfinished = {number for number in unfinished if number >= expected}
            if later or unfinished:
                answers.note_done(session, later, self._scan_from(session))
            for number in sorted(unfinished):
                key = session, number
                answers.note_unfinished(
                    session,
                    number,
                    parts=self._parts.get(key, 0),
                    rows=self._rows.get(key, []),
                )
            if expected > 1 and len(told) < _TOLD:
                told.append(f"{session}:{expected}" + (f"(+{len(later)})" if later else ""))
        count = int((index.rows["next_in"][sessions] > 1).sum())
        more = f",… of {count}" if count > len(told) else ""
        return (",".join(told) or "none") + more

    def _is_epoch_of_checkpoint(self, session: int) -> bool:
        return bool(self._from.rows[session]["epoch"] == self._index.rows[session]["epoch"])

    def _first_number(self, session: int) -> int:
        """Return the checkpoint's Expected, 1 in an epoch that began since."""
        if self._is_epoch_of_checkpoint(session):
            return int(self._from.rows[session]["expected"])
        return 1

    def _scan_from(self, session: int) -> int:
        if self._is_epoch_of_checkpoint(session):
            return int(self._from.rows[session]["scan_from"])
        return 1

    def _list_answers(self, session: int) -> set[int]:
        """Return which of a client's messages its index shows as answered, since those that were
        answered all; note the stored ones."""
        index, gateway = self._index, self._gateway
        row = index.rows[session]
        first, lowest = self._scan_from(session), self._first_number(session)
        next_out = int(row["next_out"])
        found: set[int] = set()
        files = gateway.report_files
        logs = np.array([file.address for file in files], np.int64)
        mapped = np.array([file.first_byte for file in files], np.int64)
        bases = gateway.memory.shards[:, ShardWord.BASE_NS].copy()
        self._parts = defaultdict(
            int, {key: parts for key, parts in self._parts.items() if key[0] != session}
        )
        number = max(first, int(row["oldest_out"]))
        while number < next_out:
            block = index.block_of(session, number)
            if block is None:
                break
            start, words = block
            entry, stop = number - start, min(int(words[4]), next_out - start)
            if entry >= stop:
                break
            while entry < stop:
                code, entry, count = list_answers(
                    words,
                    entry,
                    stop,
                    session,
                    int(row["epoch"]),
                    logs,
                    mapped,
                    bases,
                    self._row,
                    self._words,
                    self._numbers,
                )
                entry = int(entry)
                found.update(self._numbers[:count].tolist())
                if code == ANSWERS_PYTHON:
                    source = int(words[BLOCK_HEADER_WORDS + 2 * entry + 1])
                    found |= self._answered_by(session, int(row["epoch"]), source)
                    entry += 1
                elif code == ANSWERS_DONE:
                    break
            number = start + stop
        return {number for number in found if number >= lowest}

    def _answered_by(self, session: int, epoch: int, source: int) -> set[int]:
        """Return what a stored message, or a report that is not mapped, answers."""
        if source > 0:
            self._unpack(source >> SHARD_SHIFT, source & _POSITION_MASK)
            if answers_by_itself(self._row, session, epoch):
                return {int(self._row[0]["inbound_seq"])}
            return set()
        stored = self._index.stored_message(source)
        if stored is None or stored.answers == 0:
            return set()
        if stored.answers < 0:
            self._parts[session, -stored.answers] += 1
            return set()
        self._stored.add((session, stored.answers))
        return {stored.answers}

    def _unpack(self, shard: int, position: int) -> None:
        """Read one report from the shard's files."""
        words = self._gateway.memory.shards[shard]
        stop = min(position + MAX_PACKED_BYTES, int(words[ShardWord.RELEASED_POSITION]))
        data = self._gateway.report_files[shard].read(position, stop)
        buffer = np.zeros(MAX_PACKED_BYTES + 16, np.uint8)
        buffer[: len(data)] = np.frombuffer(data, np.uint8)
        base = int(words[ShardWord.BASE_NS])
        unpack_rows(self._words, 0, 1, base, shard << SHARD_SHIFT, int(buffer.ctypes.data))

    # --- who was there ----------------------------------------------------------------------------

    def _note_departures(self) -> int:
        """Take the clients that were logged on as gone, and those gone as they were."""
        gateway = self._gateway
        presence: NDArray[np.int64] = gateway.checkpoints.presence
        settings = {
            entry.number: entry.settings.cancel_on_disconnect for entry in gateway.fix.registry
        }
        now_ms = gateway.now_ms()
        found = np.flatnonzero(presence).tolist()
        for session in found:
            word = int(presence[session])
            if word == CONNECTED:
                presence[session] = 0
                cancel: Any = settings.get(session)
                gateway.departures.left(session, cancel, "connection_lost", now_ms)
            else:
                gateway.departures.restore(session, word >> 8, word & 0xFF)
        return len(found)

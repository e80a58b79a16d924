"""Kernels of a gateway's recovery: what its index misses of the reports, and what it tells."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from openoutcry.config.jit import int64, lean_kernel, lean_part
from openoutcry.engine.enums import RejectReason, ReportKind
from openoutcry.engine.pack import unpack_report
from openoutcry.engine.records import SHARD_SHIFT
from openoutcry.server.log_reader import packed_bytes
from openoutcry.server.outbound import (
    OUTBOUND_DIRECTORY,
    OUTBOUND_DONE,
    OUTBOUND_INDEX,
    OUTBOUND_PYTHON,
    has_copies,
    is_account_unknown,
    is_listed,
)
from openoutcry.server.reports import is_report
from openoutcry.server.sessions import (
    BLOCK_HEADER_WORDS,
    BLOCK_LIMIT,
    BLOCK_WORDS,
    HOME_UNKNOWN,
    NEXT_BLOCK,
    SEGMENT_BLOCKS,
    SOURCE_ANSWER,
    index_append,
)
from openoutcry.server.translate import Routes

#: Return code of `number_missing`: the report is of an epoch that the index does not know of.
RENUMBER_EPOCH = 16
#: What lies there is not the report that is due.
RENUMBER_DAMAGED = 17

#: Return codes of `list_answers`.
ANSWERS_DONE = 0
ANSWERS_FULL = 1  # `numbers` is
ANSWERS_PYTHON = 2  # the entry is a stored message, or a report that is not mapped

_POSITION_MASK = (1 << SHARD_SHIFT) - 1


@lean_kernel
def last_positions(
    blocks: NDArray[np.int64], block: int, entry: int, stop: int, last: NDArray[np.int64]
) -> None:
    """Raise `last` (by shard) to the positions of the reports in a block's entries entry … stop -
    1."""
    at = block * BLOCK_WORDS + BLOCK_HEADER_WORDS
    for n in range(entry, stop):
        source = blocks[at + 2 * n + 1]
        if source > 0:
            shard = source >> SHARD_SHIFT
            last[shard] = max(last[shard], source & _POSITION_MASK)


@lean_kernel
def first_stored(blocks: NDArray[np.int64], block: int, entry: int, stop: int) -> int:
    """Return the first stored message of a block's entries entry … stop - 1, or `stop`."""
    at = block * BLOCK_WORDS + BLOCK_HEADER_WORDS
    for n in range(entry, stop):
        source = blocks[at + 2 * n + 1]
        if SOURCE_ANSWER < source < 0:
            return int64(n)
    return int64(stop)


@lean_part
def _receivers(routes: Routes, owner: int, account: int) -> int:
    """Return an upper bound of how many get copies of a report."""
    count = 0
    row = routes.sessions[owner]["copies"]
    while row >= 0:
        count += 1
        row = routes.copies[row, 1]
    row = routes.accounts[account]["copies"]
    while row >= 0:
        count += 1
        row = routes.copies[row, 1]
    return count


@lean_kernel
def append_copies(
    routes: Routes,
    owner: int,
    account: int,
    last: NDArray[np.int64],
    position: int,
    blocks: NDArray[np.int64],
    allocator: NDArray[np.int64],
    source: int,
    now_ms: int,
) -> int:
    """Note a report for those receivers of copies that have not got it; return how many.

    `last`: by session, the position of the last report of the shard that it has got.
    """
    sessions = routes.sessions
    firm = sessions[owner]["copies"]
    row = firm
    is_account = False
    count = 0
    while True:
        if row < 0:
            if is_account:
                return count
            is_account = True
            row = routes.accounts[account]["copies"]
            continue
        target = routes.copies[row, 0]
        row = routes.copies[row, 1]
        if target == owner or (is_account and is_listed(routes.copies, firm, target)):
            continue
        if sessions[target]["home"] != routes.ring or position <= last[target]:
            continue
        number = sessions[target]["next_out"]
        index_append(sessions, target, blocks, allocator, number, now_ms, source)
        sessions[target]["next_out"] = number + 1
        count += 1


@lean_kernel
def number_missing(
    report_log: int,
    position: int,
    base_ns: int,
    reports: NDArray[Any],
    words: NDArray[np.int64],
    next_report: int,
    stop: int,
    shard: int,
    numbered: int,
    last: NDArray[np.int64],
    has_stored: NDArray[np.bool_],
    routes: Routes,
    blocks: NDArray[np.int64],
    allocator: NDArray[np.int64],
    now_ms: int,
) -> tuple[int, int, int, int, int]:
    """Note the reports next_report … stop - 1 of a shard in the index where they are missing.

    Args:
        report_log, position, base_ns, reports, words: see `encode_reports`.
        numbered: position before which every report is numbered.
        last: by session, the position of the last report of this shard that its index tells of.
        has_stored: by session, whether it was sent what the gateway made since the checkpoint.

    Returns (OUTBOUND_… or RENUMBER_…, the next report, its position, the position of the one
    that is for Python, how many were noted). With OUTBOUND_PYTHON the report is in row 0 and
    stepped over: the answer to a mass request, a mark of a duplicate, or a status that may have
    been told already. With other codes it is to be tried again.
    """
    sessions = routes.sessions
    base = int64(shard) << SHARD_SHIFT
    report = reports[0]
    count = 0
    while next_report < stop:
        if packed_bytes(report_log + position) == 0:
            return RENUMBER_DAMAGED, next_report, position, position, count
        end = unpack_report(words, 0, base_ns, base, report_log + position) - report_log
        at = position
        if report["report_seq"] != next_report or not is_report(reports, routes):
            return RENUMBER_DAMAGED, next_report, at, at, count
        session = int64(report["session"])
        kind = int64(report["kind"])
        inbound_seq = report["inbound_seq"]
        account = int64(report["account"])
        home = sessions[session]["home"]
        if home == HOME_UNKNOWN or is_account_unknown(routes, report):
            return OUTBOUND_DIRECTORY, next_report, at, at, count
        is_own = home == routes.ring
        if is_own and inbound_seq != 0 and report["epoch"] > sessions[session]["epoch"]:
            return RENUMBER_EPOCH, next_report, at, at, count
        if kind >= ReportKind.DUPLICATE:
            next_report += 1
            position = end
            if is_own and inbound_seq != 0:
                return OUTBOUND_PYTHON, next_report, position, at, count
            continue
        if at < numbered:
            next_report += 1
            position = end
            continue
        is_copied = has_copies(routes, report, session)
        # A block for each that may get it, and those that begin segments.
        wanted = 2 + (_receivers(routes, session, account) if is_copied else 0)
        wanted += wanted // allocator[SEGMENT_BLOCKS]
        if allocator[NEXT_BLOCK] + wanted > allocator[BLOCK_LIMIT]:
            return OUTBOUND_INDEX, next_report, at, at, count
        next_report += 1
        position = end
        if is_own and kind == ReportKind.STATUS and has_stored[session]:
            return OUTBOUND_PYTHON, next_report, position, at, count
        source = base | at
        if is_own and at > last[session]:
            number = sessions[session]["next_out"]
            index_append(sessions, session, blocks, allocator, number, now_ms, source)
            sessions[session]["next_out"] = number + 1
            count += 1
        if is_copied:
            count += append_copies(
                routes, session, account, last, at, blocks, allocator, source, now_ms
            )
    return OUTBOUND_DONE, next_report, position, int64(0), count


@lean_kernel
def list_answers(
    block: NDArray[np.int64],
    entry: int,
    stop: int,
    session: int,
    epoch: int,
    report_logs: NDArray[np.int64],
    first_mapped: NDArray[np.int64],
    bases: NDArray[np.int64],
    reports: NDArray[Any],
    words: NDArray[np.int64],
    numbers: NDArray[np.int64],
) -> tuple[int, int, int]:
    """List which of a client's messages the entries entry … stop - 1 of an index block answer.

    Args:
        block: words of the block.
        report_logs, first_mapped, bases: by shard: address of the report log, its first byte that
            is mapped, its base time.
        reports, words: a row to unpack into.
        numbers: where the numbers are put.

    Returns (ANSWERS_…, the next entry, how many numbers). What a mass cancel did to the orders does
    not answer it.
    """
    count = 0
    report = reports[0]
    while entry < stop:
        source = block[BLOCK_HEADER_WORDS + 2 * entry + 1]
        if source == 0:
            entry += 1
            continue
        if count == len(numbers):
            return ANSWERS_FULL, entry, count
        if source <= SOURCE_ANSWER:
            numbers[count] = SOURCE_ANSWER - source
            count += 1
            entry += 1
            continue
        shard = source >> SHARD_SHIFT
        position = source & _POSITION_MASK
        if source < 0 or position < first_mapped[shard]:
            return ANSWERS_PYTHON, entry, count
        base = shard << SHARD_SHIFT
        unpack_report(words, 0, bases[shard], base, report_logs[shard] + position)
        if answers_by_itself(reports, session, epoch):
            numbers[count] = report["inbound_seq"]
            count += 1
        entry += 1
    return ANSWERS_DONE, entry, count


@lean_kernel
def answers_by_itself(reports: NDArray[Any], session: int, epoch: int) -> bool:
    """Tell whether the report in row 0 answers a message of a session."""
    report = reports[0]
    return (
        report["session"] == session
        and report["epoch"] == epoch
        and report["inbound_seq"] != 0
        and report["kind"] < ReportKind.DUPLICATE
        and report["reason"] != RejectReason.MASS_CANCEL
    )

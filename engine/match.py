"""The command processor: price-time priority matching as a pure function of the commands.

A command is executed whole or declined whole: everything it may need is checked before its first
effect (engine/accept.py, engine/replace.py), and callers make room for its reports beforehand with
`reports_needed`. There is no clock, no randomness and no float in here.
"""

from typing import Any

from numpy.typing import NDArray

from openoutcry.config.jit import inlined_kernel, int64, lean_kernel, lean_part
from openoutcry.engine.accept import accept_new, answer_status, cancel_order
from openoutcry.engine.atomics import prefetch
from openoutcry.engine.book import BLOCK_BITS, BLOCK_PRICES, Book
from openoutcry.engine.control import control_reports, process_control
from openoutcry.engine.cross import fills_at_most, limit_key_of, settle
from openoutcry.engine.enums import CommandKind, RejectReason
from openoutcry.engine.levels import block_tag, key_mask
from openoutcry.engine.mass import mass_reports, process_mass
from openoutcry.engine.orders import id_tag, orig_tag
from openoutcry.engine.records import NIL
from openoutcry.engine.replace import accept_replace
from openoutcry.engine.reports import decline, write_duplicate
from openoutcry.engine.table import home_of, row_of

#: Commands between the one executed and the one whose memory is first asked for.
PREFETCH_DISTANCE = 12
#: Known orders and levels from which on memory is asked for ahead; a smaller book lies in caches.
PREFETCH_FROM = 8_192

# Where in a book's notes the 16 commands ahead have their: tag of the order named, tag of their own
# ClOrdID, DETAIL, ORDER and LEVEL row of the order; block tag, place in it, and block of the price.
_TAG, _OWN_TAG, _DETAIL, _ORDER, _LEVEL, _BLOCK_TAG, _PLACE, _BLOCK = range(0, 8 * 16, 16)


@inlined_kernel
def reports_needed(book: Book, commands: NDArray[Any], i: int) -> int:
    """Return an upper bound of the reports that command `i` can yield on the book as it stands."""
    command = commands[i]
    kind = command["kind"]
    if kind == CommandKind.CANCEL or kind == CommandKind.STATUS:
        return int64(1)
    if kind >= CommandKind.MASS_CANCEL:
        if kind >= CommandKind.ADD_SYMBOL:
            return control_reports(book, commands, i)
        return mass_reports(book, commands, i)
    symbol = int64(command["symbol"])
    if symbol < 0 or symbol >= book.symbol_capacity:
        return int64(1)
    qty = command["qty_lots"]
    side = command["side"]
    fills = int64(0)
    for own in range(2):
        # A replace may leave the side out: then both are counted.
        if side == own + 1 or (side == 0 and kind == CommandKind.REPLACE):
            opposite = symbol * 2 + 1 - own
            limit_key = limit_key_of(command["price_ticks"], command["ord_type"], opposite)
            fills += fills_at_most(book, opposite, limit_key, qty)
    return fills * 2 + 2


@lean_part
def _is_duplicate(book: Book, commands: NDArray[Any], i: int) -> bool:
    """Compare a command with its session's inbound mark, and raise the mark if it is new."""
    command = commands[i]
    session, inbound_seq = int64(command["session"]), command["inbound_seq"]
    if session == 0 or inbound_seq == 0:
        return False
    mark = book.marks[session]
    epoch, seen = int64(command["epoch"]), int64(mark["epoch"])
    if epoch < seen or (epoch == seen and inbound_seq <= mark["inbound_seq"]):
        return True
    mark["epoch"] = epoch
    mark["inbound_seq"] = inbound_seq
    return False


@lean_part
def _is_stopped(
    book: Book, commands: NDArray[Any], i: int, reports: NDArray[Any], row: int, report_seq: int
) -> bool:
    """Answer a client's command that is not looked at further: of no session, or seen before."""
    if commands[i]["session"] >= book.session_capacity:
        reason = RejectReason.SESSION_CAPACITY.value
        decline(book, commands, i, int64(NIL), reports, row, report_seq, reason)
        return True
    if _is_duplicate(book, commands, i):
        write_duplicate(book, commands, i, reports, row, report_seq)
        return True
    return False


@lean_kernel
def _process_rare(
    book: Book,
    commands: NDArray[Any],
    i: int,
    tag: int,
    reports: NDArray[Any],
    report_base: int,
    report_seq: int,
) -> int:
    """Execute a command of the kinds above REPLACE; return the last report number.

    Each call in `process_command` itself costs orders and cancels a percent or two.
    """
    kind = commands[i]["kind"]
    if kind >= CommandKind.ADD_SYMBOL:
        return process_control(book, commands, i, reports, report_base, report_seq)
    report_seq += 1
    row = report_seq - report_base
    if _is_stopped(book, commands, i, reports, row, report_seq):
        return report_seq
    if kind == CommandKind.STATUS:
        answer_status(book, commands, i, tag, reports, row, report_seq)
        return report_seq
    if kind == CommandKind.MASS_CANCEL or kind == CommandKind.MASS_STATUS:
        return process_mass(book, commands, i, reports, report_base, report_seq - 1)
    reason = RejectReason.UNSUPPORTED_ORDER_TYPE.value
    decline(book, commands, i, int64(NIL), reports, row, report_seq, reason)
    return report_seq


@lean_part
def _named_tag(book: Book, commands: NDArray[Any], i: int) -> int:
    """Return the tag of the order that a command names: its own, or the one to change."""
    kind = commands[i]["kind"]
    if kind == CommandKind.CANCEL or kind == CommandKind.REPLACE:
        return orig_tag(book, commands, i)
    return id_tag(book, commands, i)


@inlined_kernel
def process_command(
    book: Book,
    commands: NDArray[Any],
    i: int,
    tag: int,
    own_tag: int,
    reports: NDArray[Any],
    report_base: int,
    report_seq: int,
) -> int:
    """Execute command `i`; report number n goes to row n - report_base.

    The tags are those of `command_tags`. `report_seq` is the last report number given so far;
    return the last one after the command. It is inlined where it is called, and large: call it in
    one place.
    """
    command = commands[i]
    book.state[0]["seq"] = command["seq"]
    book.state[0]["time_ns"] = command["time_ns"]
    kind = command["kind"]
    if kind > CommandKind.REPLACE:
        return _process_rare(book, commands, i, tag, reports, report_base, report_seq)
    report_seq += 1
    row = report_seq - report_base
    if _is_stopped(book, commands, i, reports, row, report_seq):
        return report_seq
    if kind == CommandKind.CANCEL:
        cancel_order(book, commands, i, tag, reports, row, report_seq)
        return report_seq
    if kind == CommandKind.NEW:
        detail, level = accept_new(book, commands, i, tag, reports, row, report_seq)
    elif kind == CommandKind.REPLACE:
        detail, level = accept_replace(book, commands, i, tag, own_tag, reports, row, report_seq)
        tag = own_tag
    else:
        reason = RejectReason.UNSUPPORTED_ORDER_TYPE.value
        decline(book, commands, i, int64(NIL), reports, row, report_seq, reason)
        return report_seq
    if detail == NIL:
        return report_seq
    return settle(book, commands, i, detail, level, tag, reports, report_base, report_seq)


@lean_part
def _ask_row(table: NDArray[Any], row: int) -> None:
    """Ask for the cache line in which a row of a table begins."""
    prefetch(int64(table.ctypes.data) + row * table.itemsize)


@lean_part
def _row_ahead(slots: NDArray[Any], bits: int, tag: int) -> int:
    """Return the row that a tag probably leads to, or NIL; what it leads to is not compared."""
    mask = (1 << bits) - 1
    place = home_of(tag, bits)
    for _ in range(8):
        slot = slots[place]
        if slot == 0:
            break
        if slot >> 32 == tag:
            return row_of(slot)
        place = (place + 1) & mask
    return int64(NIL)


@inlined_kernel
def prefetch_command(book: Book, commands: NDArray[Any], i: int) -> None:
    """Look at a command some 12 places ahead: note its tags, and ask for the memory it will need.

    What `process_command` takes as tags is noted here, so this must have been called for a command
    before it is executed, and for at most 15 others since. Nothing here changes what a command
    does.
    """
    state, notes = book.state, book.notes
    tag = _named_tag(book, commands, i)
    own = tag
    _ask_row(book.id_slots, home_of(tag, book.id_bits))
    if commands[i]["kind"] == CommandKind.REPLACE:
        own = id_tag(book, commands, i)
        _ask_row(book.id_slots, home_of(own, book.id_bits))
    notes[_TAG + (i & 15)] = tag
    notes[_OWN_TAG + (i & 15)] = own
    if state[0]["details_used"] + state[0]["levels_used"] >= PREFETCH_FROM:
        _prefetch_further(book, commands, i)


@inlined_kernel
def command_tags(book: Book, commands: NDArray[Any], i: int) -> tuple[int, int]:
    """Return the id table's tags of a command: of the order it names, and of its own ClOrdID."""
    return _named_tag(book, commands, i), id_tag(book, commands, i)


@lean_part
def noted_tags(book: Book, i: int) -> tuple[int, int]:
    """Return the tags that `prefetch_command` noted."""
    return book.notes[_TAG + (i & 15)], book.notes[_OWN_TAG + (i & 15)]


@lean_part
def _prefetch_further(book: Book, commands: NDArray[Any], i: int) -> None:
    """Ask for what lies behind a command's tags and price.

    It is found step by step, each from the one before. Of the order that is named: DETAIL row,
    ORDER row, its neighbours and level, that level's block. Of the price that is named: side and
    block table, block, level. Each call takes one step for this command and one more for each of
    four earlier ones.
    """
    notes, command = book.notes, commands[i]
    kind = command["kind"]
    symbol = int64(command["symbol"])
    tag = int64(NIL)
    if kind <= CommandKind.STATUS and symbol >= 0 and symbol < book.symbol_capacity:
        _ask_row(book.symbols, symbol)
        _ask_row(book.sides, symbol * 2)
        side = int64(command["side"])
        if kind != CommandKind.CANCEL and (side == 1 or side == 2):
            row = symbol * 2 + side - 1
            key = command["price_ticks"] ^ key_mask(row)
            tag = block_tag(book.state, row, key >> BLOCK_BITS)
            _ask_row(book.block_slots, home_of(tag, book.block_bits))
            notes[_PLACE + (i & 15)] = key & (BLOCK_PRICES - 1)
    notes[_BLOCK_TAG + (i & 15)] = tag
    # Step 2: the DETAIL row, and the block of the price with what its level's number lies in.
    earlier = (i - 3) & 15
    found = _row_ahead(book.id_slots, book.id_bits, notes[_TAG + earlier])
    if found != NIL:
        _ask_row(book.details, found)
        prefetch(int64(book.details.ctypes.data) + found * 128 + 64)
    notes[_DETAIL + earlier] = found
    found = int64(NIL)
    tag = notes[_BLOCK_TAG + earlier]
    if tag != NIL:
        found = _row_ahead(book.block_slots, book.block_bits, tag)
        if found != NIL:
            _ask_row(book.blocks, found)
            _ask_row(book.block_levels, found * BLOCK_PRICES + notes[_PLACE + earlier])
    notes[_BLOCK + earlier] = found
    # Step 3: the ORDER row, and the price's level.
    earlier = (i - 6) & 15
    detail = notes[_DETAIL + earlier]
    order = int64(NIL)
    if detail != NIL:
        order = int64(book.details[detail]["order"])
        if order >= 0 and order < book.open_capacity:
            _ask_row(book.orders, order)
        else:
            order = int64(NIL)
    notes[_ORDER + earlier] = order
    block = notes[_BLOCK + earlier]
    if block != NIL:
        level = int64(book.block_levels[block * BLOCK_PRICES + notes[_PLACE + earlier]])
        if level >= 0 and level < book.level_capacity:
            _ask_row(book.levels, level)
    # Step 4: the order's level and its neighbours in the queue.
    earlier = (i - 9) & 15
    order = notes[_ORDER + earlier]
    level = int64(NIL)
    if order != NIL:
        resting = book.orders[order]
        _ask_row(book.orders, int64(resting["prev"]))
        _ask_row(book.orders, int64(resting["next"]))
        level = int64(resting["level"])
        if level >= 0 and level < book.level_capacity:
            _ask_row(book.levels, level)
        else:
            level = int64(NIL)
    notes[_LEVEL + earlier] = level
    # Step 5: that level's block.
    level = notes[_LEVEL + ((i - 11) & 15)]
    if level != NIL:
        _ask_row(book.blocks, int64(book.levels[level]["block"]))


@lean_kernel
def process_batch(
    book: Book,
    commands: NDArray[Any],
    first: int,
    stop: int,
    reports: NDArray[Any],
    report_base: int,
    report_seq: int,
    report_limit: int,
) -> tuple[int, int]:
    """Execute commands first … stop - 1, ending before one that might exceed `report_limit`.

    `report_seq` is the last report number given so far, `report_limit` the last that may be given.
    Return the index of the first command not executed, and the last report number.
    """
    i = first
    ahead = first
    while i < stop:
        while ahead < min(i + PREFETCH_DISTANCE + 1, stop):
            prefetch_command(book, commands, ahead)
            ahead += 1
        if report_seq + reports_needed(book, commands, i) > report_limit:
            break
        tag, own = noted_tags(book, i)
        report_seq = process_command(book, commands, i, tag, own, reports, report_base, report_seq)
        i += 1
    return i, report_seq

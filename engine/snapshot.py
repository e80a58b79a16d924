"""A book's state as one number, and the proof that its structure holds.

The state hash covers, in this order, each as signed 64-bit words taken in by `words.mix`:

1. the sequence number and time of the last command, and the last event number;
2. each defined symbol: its number, limits and replace policy; then its buys and its sells:
   the count of orders, then each order from best price to worst, in time priority;
3. each session that has an inbound mark: number, epoch, highest inbound number;
4. the count of the finished orders remembered, then each, from the one that finished first.

An order counts with session, epoch, account, firm, the five words of its ClOrdID, order_id, symbol,
side, type, time in force, status, price, qty, cum_qty, leaves_qty, both words of the notional, and
expire_ns. Rows, free lists, hash slots and their seed do not count: two books that answer alike
hash alike.
"""

from typing import Any

import numpy as np

from openoutcry.config.jit import int64, lean_kernel, lean_part
from openoutcry.engine.atomics import prefetch
from openoutcry.engine.book import (
    BLOCK_BITS,
    BLOCK_PRICES,
    DETAIL,
    NO_KEY,
    TREE_FANOUT,
    TREE_MIN,
    Book,
)
from openoutcry.engine.levels import next_level
from openoutcry.engine.records import NIL
from openoutcry.engine.table import TAG_BITS, row_of
from openoutcry.engine.words import as_signed, mix

_DETAIL_BYTES = DETAIL.itemsize
#: Orders between the one taken in and the one whose memory is asked for.
_AHEAD = 12


@lean_part
def _mix_order(book: Book, state: int, detail: int, leaves: int) -> int:
    order = book.details[detail]
    state = mix(state, int64(order["session"]))
    state = mix(state, int64(order["epoch"]))
    state = mix(state, int64(order["account"]))
    state = mix(state, int64(order["firm"]))
    state = mix(state, as_signed(order["id0"]))
    state = mix(state, as_signed(order["id1"]))
    state = mix(state, as_signed(order["id2"]))
    state = mix(state, as_signed(order["id3"]))
    state = mix(state, as_signed(order["id4"]))
    state = mix(state, order["order_id"])
    state = mix(state, int64(order["symbol"]))
    state = mix(state, int64(order["side"]))
    state = mix(state, int64(order["ord_type"]))
    state = mix(state, int64(order["tif"]))
    state = mix(state, int64(order["status"]))
    state = mix(state, order["price_ticks"])
    state = mix(state, order["qty_lots"])
    state = mix(state, order["cum_qty"])
    state = mix(state, leaves)
    state = mix(state, order["notional_lo"])
    state = mix(state, order["notional_hi"])
    return mix(state, order["expire_ns"])


@lean_part
def _ask_detail(book: Book, detail: int) -> None:
    """Ask for the two cache lines of a DETAIL row."""
    address = int64(book.details.ctypes.data) + detail * _DETAIL_BYTES
    prefetch(address)
    prefetch(address + 64)


@lean_part
def _following(book: Book, side: int, level: int, order: int) -> tuple[int, int, int]:
    """Return side, level and ORDER row of the order after one, over all sides; NIL behind the last.

    An order of NIL stands before the first of its side.
    """
    sides = 2 * book.symbol_capacity
    if order != NIL:
        order = int64(book.orders[order]["next"])
        if order != NIL:
            return side, level, order
        level = next_level(book, side, level)
        if level != NIL:
            return side, level, int64(book.levels[level]["head"])
        side += 1
    while side < sides:
        level = int64(book.sides[side]["best"])
        if level != NIL:
            return side, level, int64(book.levels[level]["head"])
        side += 1
    return side, int64(NIL), int64(NIL)


@lean_part
def _mix_side(
    book: Book, state: int, side: int, ahead_side: int, ahead_level: int, ahead: int
) -> tuple[int, int, int, int]:
    """Take a side's orders in; return the hash, and where the order that is asked for stands."""
    state = mix(state, int64(book.sides[side]["orders"]))
    level = int64(book.sides[side]["best"])
    while level != NIL:
        order = int64(book.levels[level]["head"])
        while order != NIL:
            if ahead != NIL:
                # Rows that follow one another in the book lie anywhere: three quarters of the time
                # went into waiting for them.
                _ask_detail(book, int64(book.orders[ahead]["detail"]))
                ahead_side, ahead_level, ahead = _following(book, ahead_side, ahead_level, ahead)
            leaves = book.orders[order]["leaves_qty"]
            state = _mix_order(book, state, int64(book.orders[order]["detail"]), leaves)
            order = int64(book.orders[order]["next"])
        level = next_level(book, side, level)
    return state, ahead_side, ahead_level, ahead


@lean_kernel
def state_hash(book: Book) -> int:
    """Return the 64-bit hash of all that a book's future answers depend on (a signed word)."""
    counters = book.state[0]
    state = mix(int64(0), counters["seq"])
    state = mix(state, counters["time_ns"])
    state = mix(state, counters["event_seq"])
    ahead_side, ahead_level, ahead = _following(book, int64(0), int64(NIL), int64(NIL))
    for _ in range(_AHEAD):
        if ahead != NIL:
            ahead_side, ahead_level, ahead = _following(book, ahead_side, ahead_level, ahead)
    for symbol in range(book.symbol_capacity):
        limits = book.symbols[symbol]
        if limits["is_defined"]:
            state = mix(state, symbol)
            state = mix(state, limits["price_min"])
            state = mix(state, limits["price_max"])
            state = mix(state, limits["qty_min"])
            state = mix(state, limits["qty_max"])
            state = mix(state, int64(limits["replace_policy"]))
            for side in range(symbol * 2, symbol * 2 + 2):
                state, ahead_side, ahead_level, ahead = _mix_side(
                    book, state, side, ahead_side, ahead_level, ahead
                )
    for session in range(book.session_capacity):
        mark = book.marks[session]
        if mark["epoch"] != 0 or mark["inbound_seq"] != 0:
            state = mix(state, session)
            state = mix(state, int64(mark["epoch"]))
            state = mix(state, mark["inbound_seq"])
    count = counters["finished_count"]
    state = mix(state, count)
    first = counters["finished_next"] - count
    for n in range(count):
        if n + _AHEAD < count:
            place = first + n + _AHEAD
            if place < 0:
                place += book.finished_capacity
            _ask_detail(book, row_of(book.finished[place]))
        place = first + n
        if place < 0:
            place += book.finished_capacity
        state = _mix_order(book, state, row_of(book.finished[place]), int64(0))
    return state


# --- Invariants, in plain Python ------------------------------------------------------------------


def _claim(claim: bool, sentence: str) -> None:
    if not claim:
        raise AssertionError(sentence)


def _slot_of(detail: Any, row: int) -> int:
    return (int(detail["tag"]) << 32) | (row + 1)


class _Rows:
    """The rows of each pool that a walk has come across, each once."""

    def __init__(self) -> None:
        self.of: dict[str, set[int]] = {
            name: set() for name in ("order", "detail", "level", "block", "node")
        }

    def take(self, name: str, row: int) -> None:
        """Note a row; raise where it is met again, as on a link that leads back."""
        _claim(row not in self.of[name], f"{name} row {row} is in two places")
        self.of[name].add(row)


def check_invariants(book: Book) -> None:
    """Walk every link; raise AssertionError with a sentence for the first that is wrong."""
    identifiers = {int(slot) for slot in book.id_slots[book.id_slots != 0]}
    used = _Rows()
    day_orders = 0
    for symbol in range(len(book.symbols)):
        days = sum(_check_side(book, symbol * 2 + n, identifiers, used) for n in range(2))
        counted = int(book.symbols[symbol]["day_orders"])
        _claim(counted == days, f"symbol {symbol} counts {counted} DAY orders, not {days}")
        _check_uncrossed(book, symbol)
        day_orders += days
    _check_sessions(book, used.of["order"])
    _check_finished(book, identifiers, used)
    state = book.state[0]
    for name, counted in (
        ("open_orders", len(used.of["order"])),
        ("levels_used", len(used.of["level"])),
        ("blocks_used", len(used.of["block"])),
        ("nodes_used", len(used.of["node"])),
        ("day_orders", day_orders),
        ("details_used", len(used.of["detail"])),
    ):
        _claim(int(state[name]) == counted, f"{name} is {state[name]}, but {counted} are there")
    _check_pools(book, used)
    _check_table(book.id_slots, book.id_bits, used.of["detail"], "identifier")
    _check_table(book.block_slots, book.block_bits, used.of["block"], "block")


def _check_side(book: Book, side: int, identifiers: set[int], used: _Rows) -> int:
    """Check a side's tree, blocks and levels; return how many DAY orders it has."""
    row = book.sides[side]
    mask = _mask(side)
    blocks: list[tuple[int, int]] = []
    root = int(row["tree_root"])
    if root != NIL:
        _check_node(book, root, int(row["tree_height"]), True, None, None, blocks, used)
    orders = day_orders = 0
    levels: list[tuple[int, int]] = []
    for n, (key, block) in enumerate(blocks):
        after = blocks[n + 1][1] if n + 1 < len(blocks) else NIL
        for level in _check_block(book, side, key, block, after, used):
            levels.append((int(book.levels[level]["price_ticks"]) ^ mask, level))
            count, days = _check_queue(book, side, level, identifiers, used)
            orders += count
            day_orders += days
    prices = [key for key, _ in levels]
    _claim(prices == sorted(set(prices)), f"the levels of side {side} are not in price order")
    _claim(int(row["levels"]) == len(levels), f"side {side} counts {row['levels']} levels")
    _claim(int(row["orders"]) == orders, f"side {side} counts {row['orders']} orders")
    best_key, best = levels[0] if levels else (None, NIL)
    _claim(int(row["best"]) == best, f"the best level of side {side} is {best}, not {row['best']}")
    _claim(best_key in {None, int(row["best_key"])}, f"side {side} has another best key")
    return day_orders


def _mask(side: int) -> int:
    return -1 if side % 2 == 0 else 0


def _check_block(book: Book, side: int, key: int, block: int, after: int, used: _Rows) -> list[int]:
    """Check a block; return its levels, best first."""
    found = book.blocks[block]
    where = f"block {block} of side {side}"
    used.take("block", block)
    _claim(int(found["key"]) == key, f"{where} has the key {found['key']}, not {key}")
    _claim(int(found["side"]) == side, f"{where} names side {found['side']}")
    _claim(int(found["next"]) == after, f"{where} leads to {found['next']}, not {after}")
    bits = int(found["bits"]) & (1 << 64) - 1
    _claim(bits != 0, f"{where} has the bits 0")
    levels = []
    for place in range(BLOCK_PRICES):
        if bits >> place & 1:
            level = int(book.block_levels[block * BLOCK_PRICES + place])
            used.take("level", level)
            row = book.levels[level]
            price = ((key << BLOCK_BITS) + place) ^ _mask(side)
            _claim(bool(row["is_used"]), f"{where} has level {level}, which is free")
            _claim(int(row["block"]) == block, f"level {level} of {where} names another block")
            _claim(int(row["side"]) == side, f"level {level} of {where} names another side")
            _claim(int(row["price_ticks"]) == price, f"level {level} of {where} has another price")
            levels.append(level)
    return levels


def _check_queue(
    book: Book, side: int, level: int, identifiers: set[int], used: _Rows
) -> tuple[int, int]:
    """Check a level's orders; return how many, and how many of them are DAY orders."""
    found = book.levels[level]
    count = qty = days = 0
    before = NIL
    order = int(found["head"])
    while order != NIL:
        resting = book.orders[order]
        detail = book.details[int(resting["detail"])]
        where = f"order {order} of level {level}"
        used.take("order", order)
        used.take("detail", int(resting["detail"]))
        _claim(int(resting["level"]) == level, f"{where} names level {resting['level']}")
        _claim(int(resting["prev"]) == before, f"{where} links back to {resting['prev']}")
        _claim(int(resting["leaves_qty"]) > 0, f"{where} has no leaves")
        _claim(int(detail["order"]) == order, f"{where} has the detail of another order")
        _claim(int(detail["session"]) == int(resting["session"]), f"{where} has another session")
        _claim(
            int(detail["qty_lots"]) - int(detail["cum_qty"]) == int(resting["leaves_qty"]),
            f"{where}: qty less cum_qty is not leaves_qty",
        )
        _claim(
            int(detail["price_ticks"]) == int(found["price_ticks"]), f"{where} has another price"
        )
        _claim(int(detail["symbol"]) * 2 + int(detail["side"]) - 1 == side, f"{where}: wrong side")
        _claim(int(detail["status"]) in {0, 1}, f"{where} rests with status {detail['status']}")
        slot = _slot_of(detail, int(resting["detail"]))
        _claim(slot in identifiers, f"{where} cannot be found by its identifier")
        count += 1
        qty += int(resting["leaves_qty"])
        days += int(detail["tif"]) == 0
        before, order = order, int(resting["next"])
    _claim(count > 0, f"level {level} is empty")
    _claim(int(found["tail"]) == before, f"level {level} ends with {found['tail']}, not {before}")
    _claim(int(found["orders"]) == count, f"level {level} counts {found['orders']} orders")
    _claim(int(found["qty_lots"]) == qty, f"level {level} has {found['qty_lots']} lots, not {qty}")
    return count, days


def _check_node(
    book: Book,
    node: int,
    height: int,
    is_root: bool,
    low: int | None,
    high: int | None,
    in_tree: list[tuple[int, int]],
    used: _Rows,
) -> None:
    """Check a tree node and all below it; append its keys."""
    used.take("node", node)
    count = int(book.tree_counts[node])
    least = (2 if height else 1) if is_root else TREE_MIN
    _claim(least <= count <= TREE_FANOUT, f"tree node {node} has {count} entries")
    keys = [int(key) for key in book.tree_keys[node * TREE_FANOUT :][:TREE_FANOUT]]
    _claim(set(keys[count:]) <= {NO_KEY}, f"tree node {node} has keys beyond its {count}")
    keys = keys[:count]
    refs = [int(ref) for ref in book.tree_refs[node * TREE_FANOUT :][:count]]
    if not height:
        _claim(low is None or keys[0] >= low, f"tree node {node} has a key below its bound")
        _claim(high is None or keys[-1] < high, f"tree node {node} has a key above its bound")
        in_tree.extend(zip(keys, refs, strict=True))
        return
    bounds = [low, *keys[1:], high]
    for j, ref in enumerate(refs):
        _check_node(book, ref, height - 1, False, bounds[j], bounds[j + 1], in_tree, used)


def _check_uncrossed(book: Book, symbol: int) -> None:
    bid, ask = (int(book.sides[symbol * 2 + n]["best"]) for n in range(2))
    if bid != NIL and ask != NIL:
        bid_price, ask_price = (int(book.levels[n]["price_ticks"]) for n in (bid, ask))
        _claim(bid_price < ask_price, f"symbol {symbol} is crossed: {bid_price} >= {ask_price}")


def _check_pools(book: Book, used: _Rows) -> None:
    """Check that every row ever used is either in use or free, once, and that no other is."""
    state = book.state[0]
    pools: list[tuple[str, int, Any]] = [
        ("order", len(book.orders), lambda row: book.orders[row]["next"]),
        ("detail", len(book.details), lambda row: book.details[row]["order"]),
        ("level", len(book.levels), lambda row: book.levels[row]["next_free"]),
        ("block", len(book.blocks), lambda row: book.blocks[row]["next"]),
        ("node", len(book.tree_counts), lambda row: book.tree_refs[row * TREE_FANOUT]),
    ]
    for name, capacity, next_free in pools:
        fresh = int(state[f"{name}_fresh"])
        _claim(fresh <= capacity, f"{fresh} of {capacity} {name} rows were used")
        in_use = used.of[name]
        free: set[int] = set()
        row = int(state[f"{name}_free"])
        while row != NIL:
            _claim(row not in free, f"the free list of {name} rows has {row} twice")
            _claim(row not in in_use, f"the free list of {name} rows has {row}, which is in use")
            free.add(row)
            row = int(next_free(row))
        lost = set(range(fresh)) ^ (free | in_use)
        _claim(not lost, f"{name} rows {sorted(lost)[:9]} are lost, or were never given out")


def _check_sessions(book: Book, resting: set[int]) -> None:
    """Check each session's count of resting orders."""
    sessions = book.orders["session"][sorted(resting)]
    counts = np.bincount(sessions, minlength=len(book.marks))
    wrong = np.flatnonzero(book.marks["open_orders"] != counts)
    for session in wrong[:1]:
        counted = book.marks[session]["open_orders"]
        _claim(False, f"session {session} counts {counted} orders, not {counts[session]}")


def _check_finished(book: Book, identifiers: set[int], used: _Rows) -> None:
    state = book.state[0]
    count, after = int(state["finished_count"]), int(state["finished_next"])
    _claim(count <= book.finished_capacity, f"{count} finished orders are remembered")
    for n in range(count):
        slot = int(book.finished[(after - 1 - n) % book.finished_capacity])
        row = (slot & 0xFFFFFFFF) - 1
        detail = book.details[row]
        used.take("detail", row)
        _claim(slot in identifiers, f"finished order {row} is not in the id table")
        _claim(int(detail["order"]) == NIL, f"finished order {row} has an ORDER row")
        _claim(int(detail["status"]) not in {0, 1}, f"finished order {row} is open")


def _check_table(slots: Any, bits: int, rows: set[int], name: str) -> None:
    """Check a hash table: one entry for each row in use, reachable from its home."""
    mask = (1 << bits) - 1
    places = [int(place) for place in np.flatnonzero(slots)]
    found = sorted((int(slots[place]) & 0xFFFFFFFF) - 1 for place in places)
    _claim(found == sorted(rows), f"the {name} table leads to other rows than those in use")
    for place in places:
        tag = int(slots[place]) >> 32
        _claim(0 <= tag < 1 << TAG_BITS, f"the {name} table has the tag {tag}")
        home = tag >> (TAG_BITS - bits)
        gap = (place - home) & mask
        _claim(
            all(slots[(home + step) & mask] != 0 for step in range(gap)),
            f"the entry at {place} of the {name} table is cut off from its home {home}",
        )

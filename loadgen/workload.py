"""The order flow: which request comes next, from a seed and from what the venue has reported.

Nothing here knows a wire or a clock: the same seed and the same reports give the same requests.
"""

from typing import Any

import numpy as np

from openoutcry.config.jit import inlined_kernel, lean_part
from openoutcry.loadgen.histogram import new_histogram
from openoutcry.loadgen.ids import encode_id, prefix_word
from openoutcry.loadgen.layouts import (
    ACTION,
    CANDIDATES,
    CONNECTION,
    GENERATION_BITS,
    MARKET,
    MISMATCH,
    MISMATCHES_KEPT,
    NIL,
    ORDER,
    PENDING,
    PLAN,
    SHARDS_MAX,
    SLOT_MAX,
    VERDICT,
    Action,
    Count,
    Load,
    OrderState,
    Phase,
)
from openoutcry.loadgen.prefetch import prefetch
from openoutcry.loadgen.scenario import Scenario
from openoutcry.protocol.binary.layouts import REPORT_VALUES
from openoutcry.protocol.binary.words import address_of

_NEW = int(Action.NEW)
_CANCEL = int(Action.CANCEL)
_REPLACE = int(Action.REPLACE)
_MARKETABLE = int(Action.MARKETABLE)
_FILL = int(Phase.FILL)
_MIX = int(Phase.MIX)
_CLEAN = int(Phase.CLEAN)
_FREE = int(OrderState.FREE)
_SENT = int(OrderState.SENT)
_OPEN = int(OrderState.OPEN)
_ORDER_BYTES = ORDER.itemsize
_BUY = 1
_SELL = 2
_LIMIT = 2
_IOC = 3
#: As Plan's budget: more requests than will ever be sent.
NO_LIMIT = 2**62
_TIF = {"day": 0, "gtc": 1}
_ID_BITS = (1 << GENERATION_BITS) - 1
#: Slots looked at for an order to cancel, before a new order is sent instead.
_TRIES = 12
#: Random bits of a request: 16 action, 8 market, 1 side, 16 quantity, 11 + 11 distance (scaled).
_U = np.uint64
_S13 = _U(13)
_S7 = _U(7)
_S17 = _U(17)
_DISTANCE_BITS = 11
_DISTANCE_MASK = (1 << _DISTANCE_BITS) - 1


def new_load(
    scenario: Scenario,
    *,
    connections: int,
    window: int,
    seed: int,
    run: int,
    account: str = "",
    numbers: dict[str, int] | None = None,
    is_own_venue: bool = True,
    avg_px_decimals: int = 8,
) -> Load:
    """Return a generator's fresh state.

    Args:
        scenario: What kind of flow.
        connections: Sessions that share it, each with its own orders.
        window: Requests in flight at most, a connection.
        seed: Where the random bits start.
        run: Told apart by the ClOrdIDs of one run from the other runs' on the same sessions.
        account: Account of each order.
        numbers: The venue's numbers of the symbols by name; the places in the scenario if None.
        is_own_venue: Nobody else trades there, so that every report must be ours.
        avg_px_decimals: Decimals of the venue's AvgPx(6); -1 for the binary protocol.
    """
    each = -(-scenario.resting_orders // connections)
    slots = each + each // 4 + 2 * window + 16
    if slots > SLOT_MAX:
        raise ValueError(
            f"{scenario.resting_orders} resting orders need more than {connections} connections"
        )
    load = Load(
        plan=np.zeros(1, PLAN),
        connections=np.zeros(connections, CONNECTION),
        markets=np.zeros(len(scenario.symbols), MARKET),
        orders=np.zeros((connections, slots), ORDER),
        free_slots=np.tile(np.arange(slots, dtype=np.int32)[::-1], (connections, 1)),
        candidates=np.zeros((connections, CANDIDATES), np.int32),
        pending=np.zeros((connections, window), PENDING),
        free_pending=np.tile(np.arange(window, dtype=np.int32)[::-1], (connections, 1)),
        exec_ids=np.zeros((connections, SHARDS_MAX), np.int64),
        action=np.zeros(1, ACTION),
        report=np.zeros(2, REPORT_VALUES),
        verdict=np.zeros(1, VERDICT),
        counts=np.zeros(len(Count), np.int64),
        rejects=np.zeros((2, 1 << 16), np.int64),
        histogram=new_histogram(),
        mismatches=np.zeros(MISMATCHES_KEPT, MISMATCH),
    )
    for array in load:
        # The system maps a page when it is first written, which is not to happen while we measure.
        array.view(np.uint8).reshape(-1)[::4096] |= 0
    load.orders["pending"] = NIL
    rows = load.connections
    rows["free_slots"] = slots
    rows["free_pending"] = window
    rows["prefix"] = [prefix_word(run, number) for number in range(connections)]
    rows["random"] = np.random.SeedSequence(seed).generate_state(connections, np.uint64) | 1
    rows["next_in"] = 1
    rows["next_out"] = 1
    _fill_plan(load.plan[0], scenario, each, window, is_own_venue, avg_px_decimals, account)
    for place, symbol in enumerate(scenario.symbols):
        market = load.markets[place]
        market["number"] = place if numbers is None else numbers[symbol.name]
        market["middle"] = market["start"] = symbol.price_ticks
        smallest, largest = symbol.qty_lots
        market["min_qty"] = smallest
        market["qty_range"] = largest - smallest + 1
        market["tick_mantissa"], market["tick_scale"] = symbol.tick_parts
        market["lot_mantissa"], market["lot_scale"] = symbol.lot_parts
        name = np.frombuffer(symbol.name.encode().ljust(24, b"\0"), np.uint64)
        market["symbol0"], market["symbol1"], market["symbol2"] = name
    return load


def _fill_plan(
    plan: Any,
    scenario: Scenario,
    each: int,
    window: int,
    is_own_venue: bool,
    avg_px_decimals: int,
    account: str,
) -> None:
    shares = scenario.shares
    plan["new_below"] = shares.new * 65536 // 1000
    plan["cancel_below"] = (shares.new + shares.cancel) * 65536 // 1000
    plan["replace_below"] = (shares.new + shares.cancel + shares.replace) * 65536 // 1000
    plan["resting_each"] = each
    plan["depth"] = scenario.depth_ticks
    plan["through"] = scenario.through_ticks
    plan["walk_mask"] = scenario.walk_every - 1
    plan["walk_range"] = scenario.walk_ticks
    plan["near"] = scenario.near_ticks
    plan["tif"] = _TIF[scenario.tif]
    plan["phase"] = _FILL
    plan["budget"] = NO_LIMIT
    plan["window"] = window
    plan["is_own_venue"] = is_own_venue
    plan["avg_px_decimals"] = avg_px_decimals
    words = np.frombuffer(account.encode().ljust(32, b"\0"), np.uint64)
    for number in range(4):
        plan[f"account{number}"] = words[number]


def start_measuring(load: Load, budget: int = NO_LIMIT) -> None:
    """Forget what was counted so far; requests sent from now on, at most `budget`, are measured."""
    load.counts[:] = 0
    load.rejects[:] = 0
    load.histogram[:] = 0
    load.plan[0]["is_measuring"] = 1
    load.plan[0]["budget"] = budget


def stop_measuring(load: Load) -> None:
    """Measure no further requests; those in flight still count when they are answered."""
    load.plan[0]["is_measuring"] = 0
    load.plan[0]["budget"] = NO_LIMIT


def resting_orders(load: Load) -> int:
    """Return how many of our orders rest in the venue, as far as it has told."""
    orders = load.orders
    return int(((orders["state"] == _OPEN) & (orders["tif"] != _IOC)).sum())


def is_cleaned(load: Load) -> bool:
    """Tell whether every order was tried to be cancelled, and every request is answered."""
    rows = load.connections
    return bool((rows["cursor"] >= rows["top"]).all()) and unanswered(load) == 0


def unanswered(load: Load) -> int:
    """Return how many requests are in flight."""
    return int(load.pending.size - load.connections["free_pending"].sum())


def start_phase(load: Load, phase: Phase, window: int) -> None:
    """Let the workload do something else from now on, with so many requests in flight at most."""
    load.plan[0]["phase"] = phase
    load.plan[0]["window"] = min(window, load.pending.shape[1])
    load.connections["cursor"] = 0


@lean_part
def _random(connection: Any) -> int:
    """Return 63 random bits (xorshift, Marsaglia 2003)."""
    bits = connection["random"]
    bits ^= bits << _S13
    bits ^= bits >> _S7
    bits ^= bits << _S17
    connection["random"] = bits
    positive: Any = np.int64(bits >> _U(1))
    return positive


@lean_part
def _new_price(plan: Any, market: Any, side: int, bits: int) -> int:
    """Return a price that lies away from the middle, near it more often than far from it."""
    a = bits & _DISTANCE_MASK
    b = (bits >> _DISTANCE_BITS) & _DISTANCE_MASK
    away = 1 + ((abs(a - b) * plan["depth"]) >> _DISTANCE_BITS)
    if side == _BUY:
        return market["middle"] - away
    return market["middle"] + away


@lean_part
def _walk(plan: Any, market: Any, bits: int) -> None:
    """Move the middle price now and then."""
    if bits & plan["walk_mask"] != 0:
        return
    step = 1 - ((bits >> 15) & 2)
    moved = market["middle"] + step
    if abs(moved - market["start"]) <= plan["walk_range"]:
        market["middle"] = moved


@lean_part
def _pick(load: Load, c: int, connection: Any, near: int) -> int:
    """Return the slot of a resting order without a request in flight, or NIL if none was met.

    An order near the market is passed over three times: it may be filled before a cancel arrives.
    """
    top = connection["top"]
    base = address_of(load.orders) + c * load.orders.shape[1] * _ORDER_BYTES
    for attempt in range(_TRIES):
        place = connection["candidate"] & (CANDIDATES - 1)
        connection["candidate"] += 1
        slot: Any = np.int64(load.candidates[c, place])
        # Chosen now, looked at a few picks later: its row is in the cache by then.
        ahead = ((_random(connection) >> 31) * top) >> 32
        load.candidates[c, place] = ahead
        prefetch(base + ahead * _ORDER_BYTES)
        order = load.orders[c, slot]
        if order["state"] != _OPEN or order["pending"] != NIL or order["tif"] == _IOC:
            continue
        middle = load.markets[order["market"]]["middle"]
        if abs(order["price"] - middle) <= near and attempt < _TRIES - 3:
            continue
        return slot
    return NIL


@lean_part
def _next_to_clean(load: Load, c: int, connection: Any) -> int:
    """Return the next slot with an order to be cancelled, or NIL."""
    while connection["cursor"] < connection["top"]:
        slot = connection["cursor"]
        connection["cursor"] = slot + 1
        order = load.orders[c, slot]
        if order["state"] == _OPEN and order["pending"] == NIL and order["tif"] != _IOC:
            return slot
    return NIL


@lean_part
def _decide(plan: Any, connection: Any, alive: int, roll: int) -> int:
    """Return the Action for 16 random bits, holding the number of resting orders near its aim."""
    aim = plan["resting_each"]
    if roll < plan["new_below"]:
        # A band of 3 % to both sides: inside, the shares are what the scenario says.
        if alive > aim + (aim >> 5) + 1:
            return _CANCEL
        return _NEW
    if roll < plan["cancel_below"]:
        if alive < aim - (aim >> 5):
            return _NEW
        return _CANCEL
    if roll < plan["replace_below"]:
        return _REPLACE
    return _MARKETABLE


@lean_part
def _start_request(
    load: Load, c: int, connection: Any, order: Any, slot: int, kind: int, now: int
) -> None:
    """Take a PENDING row for the action, and give it its ClOrdID and number."""
    action = load.action[0]
    generation = (np.int64(order["newest"]) + 1) & _ID_BITS
    order["newest"] = generation
    connection["free_pending"] -= 1
    place = load.free_pending[c, connection["free_pending"]]
    order["pending"] = place
    pending = load.pending[c, place]
    pending["generation"] = generation
    pending["sent_ns"] = now
    pending["price"] = action["price"]
    pending["qty"] = action["qty"]
    pending["seq"] = connection["next_out"]
    pending["slot"] = slot
    pending["kind"] = kind
    pending["is_measured"] = load.plan[0]["is_measuring"]
    action["seq"] = connection["next_out"]
    load.plan[0]["budget"] -= 1
    connection["next_out"] += 1
    action["kind"] = kind
    action["id0"], action["id1"] = encode_id(connection["prefix"], slot, generation)
    load.counts[Count.SENT] += 1


@lean_part
def _ask_new(load: Load, c: int, connection: Any, kind: int, bits: int, now: int) -> None:
    plan = load.plan[0]
    action = load.action[0]
    place = ((bits & 0xFF) * len(load.markets)) >> 8
    market = load.markets[place]
    side = _BUY + ((bits >> 8) & 1)
    qty = market["min_qty"] + ((((bits >> 9) & 0xFFFF) * market["qty_range"]) >> 16)
    bits = _random(connection)
    _walk(plan, market, bits)
    tif = plan["tif"]
    if kind == _MARKETABLE:
        tif = _IOC
        price = market["middle"] + (plan["through"] if side == _BUY else -plan["through"])
        load.counts[Count.MARKETABLE] += 1
    else:
        price = _new_price(plan, market, side, bits >> 20)
        load.counts[Count.NEW] += 1
    connection["free_slots"] -= 1
    slot: Any = np.int64(load.free_slots[c, connection["free_slots"]])
    connection["top"] = max(connection["top"], slot + 1)
    order = load.orders[c, slot]
    action["price"] = price
    action["qty"] = qty
    _start_request(load, c, connection, order, slot, kind, now)
    order["price"] = price
    order["qty"] = qty
    order["cum_qty"] = 0
    order["order_id"] = 0
    order["notional"] = 0
    order["generation"] = load.pending[c, order["pending"]]["generation"]
    order["market"] = place
    order["state"] = _SENT
    order["side"] = side
    order["tif"] = tif
    order["ord_type"] = _LIMIT
    order["status"] = 0
    order["is_measured"] = plan["is_measuring"]
    action["market"] = place
    action["side"] = side
    action["ord_type"] = _LIMIT
    action["tif"] = tif


@lean_part
def _ask_change(load: Load, c: int, connection: Any, slot: int, kind: int, now: int) -> None:
    """Cancel an order, or replace it: half of the time a lower quantity, else another price."""
    order = load.orders[c, slot]
    action = load.action[0]
    price = order["price"]
    qty = order["qty"]
    if kind == _REPLACE:
        bits = _random(connection)
        market = load.markets[order["market"]]
        leaves = qty - order["cum_qty"]
        if bits & 1 and leaves > 1:
            qty = order["cum_qty"] + (leaves >> 1)
        else:
            price = _new_price(load.plan[0], market, order["side"], bits >> 20)
            qty = (
                order["cum_qty"]
                + market["min_qty"]
                + ((((bits >> 1) & 0xFFFF) * market["qty_range"]) >> 16)
            )
        load.counts[Count.REPLACE] += 1
    else:
        load.counts[Count.CANCEL] += 1
    action["price"] = price
    action["qty"] = qty
    _start_request(load, c, connection, order, slot, kind, now)
    action["orig0"], action["orig1"] = encode_id(
        connection["prefix"], slot, np.int64(order["generation"])
    )
    action["market"] = order["market"]
    action["side"] = order["side"]
    action["ord_type"] = order["ord_type"]
    action["tif"] = order["tif"]


@inlined_kernel
def next_action(load: Load, c: int, now: int) -> bool:
    """Choose connection `c`'s next request, in flight since `now`, and fill `load.action`.

    Return False when there is nothing to ask: the window is full, or the phase has nothing more.
    """
    plan = load.plan[0]
    connection = load.connections[c]
    phase = plan["phase"]
    in_flight = load.pending.shape[1] - connection["free_pending"]
    if in_flight >= plan["window"] or plan["budget"] == 0:
        return False
    alive = load.orders.shape[1] - connection["free_slots"]
    if phase == _MIX:
        bits = _random(connection)
        kind = _decide(plan, connection, alive, bits & 0xFFFF)
        if kind == _CANCEL or kind == _REPLACE:
            slot = _pick(load, c, connection, plan["near"])
            if slot != NIL:
                _ask_change(load, c, connection, slot, kind, now)
                return True
            kind = _NEW
        if connection["free_slots"] == 0:
            return False
        _ask_new(load, c, connection, kind, bits >> 16, now)
        return True
    if phase == _FILL:
        if alive >= plan["resting_each"]:
            return False
        _ask_new(load, c, connection, _NEW, _random(connection) >> 16, now)
        return True
    if phase == _CLEAN:
        slot = _next_to_clean(load, c, connection)
        if slot == NIL:
            return False
        _ask_change(load, c, connection, slot, _CANCEL, now)
        return True
    return False

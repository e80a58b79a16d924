"""The blocks of a side in price order: a B+-tree of keys, searched only when one comes or goes.

A block that exists is found by hash and knows the next one; so the tree answers one question,
"between which blocks does this new one lie", for any distribution of int64 prices, in at most five
nodes for 131,072 blocks. Nodes hold 12 to 32 keys (four cache lines); full nodes are split and thin
ones filled on the way down, so there is no path to remember. In an inner node, key j is a lower
bound of child j's keys; the first is never looked at.
"""

from openoutcry.config.jit import int64, lean_kernel, lean_part, uint64
from openoutcry.engine.atomics import move_bytes
from openoutcry.engine.book import NO_KEY, TREE_FANOUT, TREE_MIN, Book
from openoutcry.engine.records import NIL


@lean_part
def _take_node(book: Book) -> int:
    state = book.state
    node = state[0]["node_free"]
    if node != NIL:
        state[0]["node_free"] = book.tree_refs[node * TREE_FANOUT]
    else:
        node = state[0]["node_fresh"]
        state[0]["node_fresh"] = node + 1
    state[0]["nodes_used"] += 1
    return node


@lean_part
def _forget_keys(book: Book, node: int, start: int) -> None:
    """Say that a node has no keys from place `start` on."""
    for j in range(node * TREE_FANOUT + start, (node + 1) * TREE_FANOUT):
        book.tree_keys[j] = NO_KEY


@lean_part
def _give_node(book: Book, node: int) -> None:
    state = book.state
    _forget_keys(book, node, 0)
    book.tree_counts[node] = 0
    book.tree_refs[node * TREE_FANOUT] = state[0]["node_free"]
    state[0]["node_free"] = node
    state[0]["nodes_used"] -= 1


@lean_part
def _move(book: Book, source: int, target: int, count: int) -> None:
    """Copy `count` entries from entry `source` on to entry `target` on."""
    keys = int64(book.tree_keys.ctypes.data)
    move_bytes(keys + target * 8, keys + source * 8, count * 8)
    refs = int64(book.tree_refs.ctypes.data)
    move_bytes(refs + target * 4, refs + source * 4, count * 4)


@lean_part
def _insert_at(book: Book, node: int, place: int, key: int, ref: int) -> None:
    at = node * TREE_FANOUT + place
    count = int64(book.tree_counts[node])
    _move(book, at, at + 1, count - place)
    book.tree_keys[at] = key
    book.tree_refs[at] = ref
    book.tree_counts[node] = count + 1


@lean_part
def _remove_at(book: Book, node: int, place: int) -> None:
    at = node * TREE_FANOUT + place
    left = int64(book.tree_counts[node]) - 1
    _move(book, at + 1, at, left - place)
    book.tree_keys[node * TREE_FANOUT + left] = NO_KEY
    book.tree_counts[node] = left


@lean_part
def _count_up_to(book: Book, node: int, key: int) -> int:
    """Return how many of a node's keys are at most `key`."""
    # All places, whether they have a key or not: a fixed number is compared without a branch. An
    # index without sign spares looking whether it counts from the end.
    first = uint64(node * TREE_FANOUT)
    count = int64(0)
    for j in range(TREE_FANOUT):
        count += book.tree_keys[first + uint64(j)] <= key
    return count


@lean_part
def _child_place(book: Book, node: int, key: int) -> int:
    # The first key of an inner node is no bound: it may even be above the second.
    return _count_up_to(book, node, key) - int64(book.tree_keys[node * TREE_FANOUT] <= key)


@lean_kernel
def _split_child(book: Book, parent: int, place: int) -> None:
    """Move the upper half of a full child to a new node right of it."""
    keys, refs = book.tree_keys, book.tree_refs
    left = int64(refs[parent * TREE_FANOUT + place])
    right = _take_node(book)
    half = TREE_FANOUT // 2
    source = left * TREE_FANOUT + half
    target = right * TREE_FANOUT
    _move(book, source, target, TREE_FANOUT - half)
    _forget_keys(book, left, half)
    book.tree_counts[left] = half
    book.tree_counts[right] = TREE_FANOUT - half
    _insert_at(book, parent, place + 1, keys[target], right)


@lean_kernel
def _fill_child(book: Book, parent: int, place: int, is_leaf: bool) -> None:
    """Merge a thin child with a sibling, or level the two out."""
    keys, refs, counts = book.tree_keys, book.tree_refs, book.tree_counts
    base = parent * TREE_FANOUT
    if place == counts[parent] - 1:
        place -= 1
    left = int64(refs[base + place])
    right = int64(refs[base + place + 1])
    left_first = left * TREE_FANOUT
    right_first = right * TREE_FANOUT
    left_count = int64(counts[left])
    right_count = int64(counts[right])
    total = left_count + right_count
    if not is_leaf:
        # The right node's first key, till now minus infinity, becomes one among others.
        keys[right_first] = keys[base + place + 1]
    if total <= TREE_FANOUT - 4:
        _move(book, right_first, left_first + left_count, right_count)
        counts[left] = total
        _remove_at(book, parent, place + 1)
        _give_node(book, right)
        return
    wanted = total // 2
    if left_count < wanted:
        moved = wanted - left_count
        _move(book, right_first, left_first + left_count, moved)
        _move(book, right_first + moved, right_first, right_count - moved)
        _forget_keys(book, right, right_count - moved)
    else:
        moved = left_count - wanted
        _move(book, right_first, right_first + moved, right_count)
        _move(book, left_first + wanted, right_first, moved)
        _forget_keys(book, left, wanted)
    counts[left] = wanted
    counts[right] = total - wanted
    keys[base + place + 1] = keys[right_first]


@lean_part
def _last_ref(book: Book, node: int, height: int) -> int:
    """Return the last block below a node."""
    while height > 0:
        node = int64(book.tree_refs[node * TREE_FANOUT + book.tree_counts[node] - 1])
        height -= 1
    return int64(book.tree_refs[node * TREE_FANOUT + book.tree_counts[node] - 1])


@lean_kernel
def insert_key(book: Book, side: int, key: int, block: int) -> int:
    """Enter a block's key, and return the block before it (the next better one), or NIL."""
    sides, refs, counts = book.sides, book.tree_refs, book.tree_counts
    node = int64(sides[side]["tree_root"])
    if node == NIL:
        node = _take_node(book)
        sides[side]["tree_root"] = node
        sides[side]["tree_height"] = 0
        counts[node] = 0
        _insert_at(book, node, int64(0), key, block)
        return int64(NIL)
    height = int64(sides[side]["tree_height"])
    if counts[node] == TREE_FANOUT:
        root = _take_node(book)
        counts[root] = 1
        book.tree_keys[root * TREE_FANOUT] = book.tree_keys[node * TREE_FANOUT]
        refs[root * TREE_FANOUT] = node
        _split_child(book, root, int64(0))
        sides[side]["tree_root"] = root
        height += 1
        sides[side]["tree_height"] = height
        node = root
    # The node left of the path, `left_height` above the leaves: it has the block before, where the
    # key comes first in its leaf.
    left = int64(NIL)
    left_height = int64(0)
    while height > 0:
        place = _child_place(book, node, key)
        child = int64(refs[node * TREE_FANOUT + place])
        if counts[child] == TREE_FANOUT:
            _split_child(book, node, place)
            if book.tree_keys[node * TREE_FANOUT + place + 1] <= key:
                place += 1
                child = int64(refs[node * TREE_FANOUT + place])
        height -= 1
        if place > 0:
            left = int64(refs[node * TREE_FANOUT + place - 1])
            left_height = height
        node = child
    place = _count_up_to(book, node, key)
    better = int64(NIL)
    if place > 0:
        better = int64(refs[node * TREE_FANOUT + place - 1])
    elif left != NIL:
        better = _last_ref(book, left, left_height)
    _insert_at(book, node, place, key, block)
    return better


@lean_kernel
def remove_key(book: Book, side: int, key: int) -> int:
    """Take out a key that is in the tree, and return the block before it, or NIL."""
    sides, refs, counts = book.sides, book.tree_refs, book.tree_counts
    node = int64(sides[side]["tree_root"])
    height = int64(sides[side]["tree_height"])
    left = int64(NIL)
    left_height = int64(0)
    while height > 0:
        place = _child_place(book, node, key)
        child = int64(refs[node * TREE_FANOUT + place])
        if counts[child] <= TREE_MIN:
            _fill_child(book, node, place, height == 1)
            if counts[node] == 1:
                # Only a root gets so thin: its last child takes its place.
                child = int64(refs[node * TREE_FANOUT])
                _give_node(book, node)
                sides[side]["tree_root"] = child
                sides[side]["tree_height"] = height - 1
                place = int64(0)
            else:
                place = _child_place(book, node, key)
                child = int64(refs[node * TREE_FANOUT + place])
        height -= 1
        if place > 0:
            left = int64(refs[node * TREE_FANOUT + place - 1])
            left_height = height
        node = child
    place = _count_up_to(book, node, key) - 1
    better = int64(NIL)
    if place > 0:
        better = int64(refs[node * TREE_FANOUT + place - 1])
    elif left != NIL:
        better = _last_ref(book, left, left_height)
    _remove_at(book, node, place)
    if counts[node] == 0:
        _give_node(book, node)
        sides[side]["tree_root"] = NIL
    return better

"""The report log's byte format: a REPORT row with the zero bytes of its words left out.

Header: eight 64-bit words: "OOREPORT", format, base time in ns; the others are 0.

The log is a sequence of packed rows, one after another with nothing between, from byte FIRST_BYTE
on. A row is found by its position, and read without any other row.

Packed row
    0  lengths of words 0 to 15, four bits each (0 to 8), little-endian
    8  lengths of words 16 to 23
   12  the words' significant low bytes, one word after another

A word is one of the row's 24 64-bit words; time_ns is kept less the log's base time, and the
shard's bits are taken out of the order's identifier, so that both are short. A usual report takes
about 65 bytes in place of 192. That matters more than the 30 ns that packing costs: every fresh
page of the page cache is paid for in faults and in writing it to the disk.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from openoutcry.config.jit import IS_COMPILED, inlined_kernel, int64, lean_kernel
from openoutcry.engine.records import REPORT

#: Words of a REPORT row.
REPORT_WORDS = REPORT.itemsize // 8
#: Bytes of the lengths in front of a packed row.
LENGTHS_BYTES = 12
#: Most bytes that a packed row can take; reading one may touch as many.
MAX_PACKED_BYTES = LENGTHS_BYTES + REPORT.itemsize
#: Position of the first row, behind the header: no row lies at 0.
FIRST_BYTE = 64
_MAGIC = int.from_bytes(b"OOREPORT", "little")
_FORMAT = 1

_offsets = REPORT.fields
assert _offsets is not None
_TIME_WORD = _offsets["time_ns"][1] // 8
_ORDER_ID_WORD = _offsets["order_id"][1] // 8
_FIRST_WORDS = 16
#: What a word's low n bytes are masked with.
LOW_BYTES = np.array([(1 << (8 * n)) - 1 if n < 8 else -1 for n in range(9)], np.int64)

if IS_COMPILED:
    _I64 = ir.IntType(64)

    @intrinsic
    def store_word(typingctx: Any, address: Any, word: Any) -> Any:
        """Store a word at any address, aligned or not."""

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            builder.store(args[1], builder.inttoptr(args[0], _I64.as_pointer()), align=1)
            return context.get_dummy_value()

        return types.void(types.int64, types.int64), codegen

    @intrinsic
    def load_word(typingctx: Any, address: Any) -> Any:
        """Load the word at any address, aligned or not."""

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return builder.load(builder.inttoptr(args[0], _I64.as_pointer()), align=1)

        return types.int64(types.int64), codegen

    @intrinsic
    def significant_bytes(typingctx: Any, word: Any) -> Any:
        """Return how many low bytes hold a word taken as unsigned: 0 to 8."""

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            zeros = builder.ctlz(args[0], ir.Constant(ir.IntType(1), 0))
            bits = builder.sub(_I64(71), zeros)
            return builder.lshr(bits, _I64(3))

        return types.int64(types.int64), codegen

else:
    import ctypes

    def store_word(address: int, word: int) -> None:
        """Store a word at any address, aligned or not."""
        ctypes.c_int64.from_address(int(address)).value = int(word)

    def load_word(address: int) -> int:
        """Load the word at any address, aligned or not."""
        return int(ctypes.c_int64.from_address(int(address)).value)

    def significant_bytes(word: int) -> int:
        """Return how many low bytes hold a word taken as unsigned: 0 to 8."""
        return ((int(word) & 0xFFFF_FFFF_FFFF_FFFF).bit_length() + 7) // 8


@inlined_kernel
def pack_report(
    words: NDArray[np.int64], row: int, base_ns: int, shard_base: int, address: int
) -> int:
    """Write row `row` of a REPORT array seen as (n, 24) words at `address`; return the end.

    Up to eight bytes behind the end may be overwritten.
    """
    at = address + LENGTHS_BYTES
    lengths = int64(0)
    for w in range(_FIRST_WORDS):
        word = words[row, w]
        if w == _TIME_WORD:
            word = word - base_ns
        elif w == _ORDER_ID_WORD:
            word = word ^ shard_base
        size = significant_bytes(word)
        store_word(at, word)
        at += size
        lengths |= size << (4 * w)
    store_word(address, lengths)
    # The second store of lengths covers bytes 8 to 15: what lies from 12 on must be kept.
    rest = int64(0)
    for w in range(_FIRST_WORDS, REPORT_WORDS):
        word = words[row, w]
        size = significant_bytes(word)
        store_word(at, word)
        at += size
        rest |= size << (4 * (w - _FIRST_WORDS))
    kept = load_word(address + 8) & ~int64(0xFFFF_FFFF)
    store_word(address + 8, kept | rest)
    return at


@inlined_kernel
def unpack_report(
    words: NDArray[np.int64], row: int, base_ns: int, shard_base: int, address: int
) -> int:
    """Read the packed row at `address` into row `row`; return the end."""
    at = address + LENGTHS_BYTES
    lengths = load_word(address)
    for w in range(_FIRST_WORDS):
        size = (lengths >> (4 * w)) & 15
        word = load_word(at) & LOW_BYTES[size]
        at += size
        if w == _TIME_WORD:
            word = word + base_ns
        elif w == _ORDER_ID_WORD:
            word = word ^ shard_base
        words[row, w] = word
    lengths = load_word(address + 8)
    for w in range(_FIRST_WORDS, REPORT_WORDS):
        size = (lengths >> (4 * (w - _FIRST_WORDS))) & 15
        words[row, w] = load_word(at) & LOW_BYTES[size]
        at += size
    return at


def write_header(log: NDArray[np.int64], base_ns: int) -> None:
    """Begin a report log (seen as words) with its base time."""
    log[1:8] = 0
    log[1] = _FORMAT
    log[2] = base_ns
    log[0] = _MAGIC


def read_header(log: NDArray[np.int64]) -> int:
    """Return a report log's base time. Raises ValueError where there is no such log."""
    if log[0] != _MAGIC or log[1] != _FORMAT:
        raise ValueError("this is no report log of this format")
    return int(log[2])


@lean_kernel
def pack_rows(
    words: NDArray[np.int64], first: int, stop: int, base_ns: int, shard_base: int, address: int
) -> int:
    """Pack rows first … stop - 1 at `address`; return the end."""
    for row in range(first, stop):
        address = pack_report(words, row, base_ns, shard_base, address)
    return address


@lean_kernel
def unpack_rows(
    words: NDArray[np.int64], first: int, stop: int, base_ns: int, shard_base: int, address: int
) -> int:
    """Unpack rows first … stop - 1 from `address`; return the end."""
    for row in range(first, stop):
        address = unpack_report(words, row, base_ns, shard_base, address)
    return address

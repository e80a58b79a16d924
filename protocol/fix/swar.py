"""What FIX decoding does with many bytes at once: field borders, sums, tags, digits.

Everything is by address (see protocol/binary/words.py). Blocks are BLOCK_BYTES long, and are read
whole: up to BLOCK_BYTES behind the last byte that counts. Each kernel that relies on integers that
wrap has a plain twin for runs without the JIT, which also says what it does.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from openoutcry.config.jit import IS_COMPILED, inline_kernel, int64, uint64
from openoutcry.protocol.binary.words import load_byte, load_word

#: Bytes that `soh_mask` and `block_sum` look at.
BLOCK_BYTES = 64

_SOH = 1
_I1 = ir.IntType(1)
_I8 = ir.IntType(8)
_I64 = ir.IntType(64)
_BLOCK = ir.VectorType(_I8, BLOCK_BYTES)


def _block(builder: Any, address: Any) -> Any:
    return builder.load(builder.inttoptr(address, _BLOCK.as_pointer()), align=1)


def _splat(builder: Any, byte: Any) -> Any:
    first = builder.insert_element(ir.Constant(_BLOCK, ir.Undefined), byte, ir.IntType(32)(0))
    lanes = ir.Constant(ir.VectorType(ir.IntType(32), BLOCK_BYTES), [0] * BLOCK_BYTES)
    return builder.shuffle_vector(first, first, lanes)


if IS_COMPILED:

    @intrinsic
    def soh_mask(typingctx: Any, address: Any) -> Any:
        """Return a word whose bit i tells whether byte i of a block is SOH."""

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            is_soh = builder.icmp_unsigned(
                "==", _block(builder, args[0]), ir.Constant(_BLOCK, [_SOH] * BLOCK_BYTES)
            )
            return builder.bitcast(is_soh, _I64)

        return types.uint64(types.int64), codegen

    @intrinsic
    def block_sum(typingctx: Any, address: Any, count: Any) -> Any:
        """Return the sum of the first `count` (1 to BLOCK_BYTES) bytes of a block, modulo 256."""

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            lanes = ir.Constant(_BLOCK, list(range(BLOCK_BYTES)))
            count = _splat(builder, builder.trunc(args[1], _I8))
            counted = builder.icmp_unsigned("<", lanes, count)
            zeros = ir.Constant(_BLOCK, [0] * BLOCK_BYTES)
            block = builder.select(counted, _block(builder, args[0]), zeros)
            reduce = builder.module.declare_intrinsic(
                f"llvm.vector.reduce.add.v{BLOCK_BYTES}i8", (), ir.FunctionType(_I8, (_BLOCK,))
            )
            return builder.zext(builder.call(reduce, (block,)), _I64)

        return types.int64(types.int64, types.int64), codegen

    @intrinsic
    def trailing_zeros(typingctx: Any, word: Any) -> Any:
        """Return the index of a word's lowest set bit; the word is not 0."""

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return builder.cttz(args[0], _I1(1))

        return types.int64(types.uint64), codegen

    _ONES = uint64(0x0101_0101_0101_0101)
    _HIGHS = uint64(0x8080_8080_8080_8080)
    _EQUALS = uint64(0x3D3D_3D3D_3D3D_3D3D)
    _ZEROS = uint64(0x3030_3030_3030_3030)
    _CARRY_10 = uint64(0x7676_7676_7676_7676)
    _LOW_PAIR = uint64(0x0000_00FF_0000_00FF)
    _TEN = uint64(10)
    _EIGHT = uint64(8)
    _SIXTEEN = uint64(16)
    _HALF = uint64(32)
    _MUL_1 = uint64(0x000F_4240_0000_0064)  # 1,000,000 and 100
    _MUL_2 = uint64(0x0000_2710_0000_0001)  # 10,000 and 1
    _NONE = uint64(0)
    _FIRST = uint64(0xFF)
    _ZERO = uint64(0x30)
    _WHOLE = uint64(64)
    _INDEX = uint64(0x38)
    _LOWEST_PRINTABLE = uint64(0x2121_2121_2121_2121)
    _CLOCK = uint64(0x3030_3A30_303A_3030)  # 00:00:00
    _COLONS = uint64(0x0000_FF00_00FF_0000)

    @inline_kernel
    def clear_lowest(word: int) -> int:
        """Clear a word's lowest set bit."""
        return word & (word - uint64(1))

    @inline_kernel
    def _eight_digits(digits: int) -> int:
        """Return the number whose digits are the bytes of a word, the first one lowest."""
        pairs = digits * _TEN + (digits >> _EIGHT)
        high = (pairs & _LOW_PAIR) * _MUL_1
        low = ((pairs >> _SIXTEEN) & _LOW_PAIR) * _MUL_2
        return int64((high + low) >> _HALF)

    @inline_kernel
    def _are_digits(digits: int) -> bool:
        return ((digits + _CARRY_10) | digits) & _HIGHS == _NONE

    @inline_kernel
    def read_tag(address: int) -> tuple[int, int]:
        """Read a tag of 1 to 7 digits and `=`: (tag, digits), or (0, 0) for anything else."""
        word = load_word(address)
        other = word ^ _EQUALS
        found = (other - _ONES) & ~other & _HIGHS
        if found == _NONE or word & _FIRST == _ZERO:
            return 0, 0
        # The lowest bit found is exact; 8 times its byte's index is 8 times the number of digits.
        bits = uint64(trailing_zeros(found)) & _INDEX
        if bits == _NONE:
            return 0, 0
        digits = (word ^ _ZEROS) << (_WHOLE - bits)
        if not _are_digits(digits):
            return 0, 0
        return _eight_digits(digits), int64(bits) >> 3

    @inline_kernel
    def read_eight_digits(address: int) -> int:
        """Return the number that eight bytes write, -1 where one is no digit."""
        digits = load_word(address) ^ _ZEROS
        if not _are_digits(digits):
            return -1
        return _eight_digits(digits)

    @inline_kernel
    def read_clock(address: int) -> int:
        """Return the seconds since midnight of `HH:MM:SS`, -1 where it is none; :60 is :59."""
        digits = load_word(address) ^ _CLOCK
        if not _are_digits(digits) or digits & _COLONS != _NONE:
            return -1
        pairs = digits * _TEN + (digits >> _EIGHT)
        hour = int64(pairs & _FIRST)
        minute = int64((pairs >> uint64(24)) & _FIRST)
        second = int64((pairs >> uint64(48)) & _FIRST)
        if hour > 23 or minute > 59 or second > 60:
            return -1
        return hour * 3600 + minute * 60 + min(second, 59)

    @inline_kernel
    def is_printable(address: int, length: int) -> bool:
        """Tell whether all bytes are printable ASCII, the space not counted."""
        bad = _NONE
        while length >= 8:
            word = load_word(address)
            bad |= (word - _LOWEST_PRINTABLE) | (word + _ONES) | word
            address += 8
            length -= 8
        if length > 0:
            bits = uint64(8 * length)
            word = load_word(address) << (_WHOLE - bits) | _LOWEST_PRINTABLE >> bits
            bad |= (word - _LOWEST_PRINTABLE) | (word + _ONES) | word
        return bad & _HIGHS == _NONE

else:

    def soh_mask(address: int) -> Any:
        """Return a word whose bit i tells whether byte i of a block is SOH."""
        return sum(1 << i for i in range(BLOCK_BYTES) if load_byte(address + i) == _SOH)

    def block_sum(address: int, count: int) -> int:
        """Return the sum of the first `count` (1 to BLOCK_BYTES) bytes of a block, modulo 256."""
        return sum(load_byte(address + i) for i in range(count)) % 256

    def trailing_zeros(word: int) -> int:
        """Return the index of a word's lowest set bit; the word is not 0."""
        return (word & -word).bit_length() - 1

    def clear_lowest(word: int) -> int:
        """Clear a word's lowest set bit."""
        return word & (word - 1)

    def read_tag(address: int) -> tuple[int, int]:
        """Read a tag of 1 to 7 digits and `=`: (tag, digits), or (0, 0) for anything else."""
        text = bytes(load_byte(address + i) for i in range(8)).partition(b"=")
        if not text[1] or not text[0].isdigit() or text[0].startswith(b"0"):
            return 0, 0
        return int(text[0]), len(text[0])

    def read_eight_digits(address: int) -> int:
        """Return the number that eight bytes write, -1 where one is no digit."""
        text = bytes(load_byte(address + i) for i in range(8))
        return int(text) if text.isdigit() else -1

    def read_clock(address: int) -> int:
        """Return the seconds since midnight of `HH:MM:SS`, -1 where it is none; :60 is :59."""
        text = bytes(load_byte(address + i) for i in range(8))
        parts = text.split(b":")
        if [len(p) for p in parts] != [2, 2, 2] or not all(p.isdigit() for p in parts):
            return -1
        hour, minute, second = map(int, parts)
        if hour > 23 or minute > 59 or second > 60:
            return -1
        return hour * 3600 + minute * 60 + min(second, 59)

    def is_printable(address: int, length: int) -> bool:
        """Tell whether all bytes are printable ASCII, the space not counted."""
        return all(0x20 < load_byte(address + i) < 0x7F for i in range(length))

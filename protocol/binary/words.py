"""Memory in kernels by address: single bytes, words of eight, and byte order.

Kernels take arrays, but what they call takes addresses: an array handed on is reference-counted at
each call, with atomic instructions, wherever the caller has early returns (decoding an order took
157 ns that way). Nothing is checked; a load or store of eight bytes may reach past what
is meant by seven, which is why arrays have SPARE_BYTES. Without the JIT the same names are plain
Python.
"""

import ctypes
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from openoutcry.config.jit import IS_COMPILED, lean_part

_I64 = ir.IntType(64)
_I8 = ir.IntType(8)

if IS_COMPILED:

    @intrinsic
    def address_of(typingctx: Any, array: Any) -> Any:
        """Return the address of an array's first byte."""

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            data = context.make_array(sig.args[0])(context, builder, args[0]).data
            return builder.ptrtoint(data, _I64)

        return types.int64(array), codegen

    @intrinsic
    def load_byte(typingctx: Any, address: Any) -> Any:
        """Load a byte."""

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            pointer = builder.inttoptr(args[0], _I8.as_pointer())
            return builder.zext(builder.load(pointer), _I64)

        return types.int64(types.int64), codegen

    @intrinsic
    def store_byte(typingctx: Any, address: Any, value: Any) -> Any:
        """Store the lowest byte of a number."""

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            pointer = builder.inttoptr(args[0], _I8.as_pointer())
            builder.store(builder.trunc(args[1], _I8), pointer)
            return context.get_dummy_value()

        return types.void(types.int64, types.int64), codegen

    @intrinsic
    def load_word(typingctx: Any, address: Any) -> Any:
        """Load eight bytes as an unsigned little-endian word."""

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return builder.load(builder.inttoptr(args[0], _I64.as_pointer()), align=1)

        return types.uint64(types.int64), codegen

    @intrinsic
    def store_word(typingctx: Any, address: Any, word: Any) -> Any:
        """Store an unsigned word as eight little-endian bytes."""

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            builder.store(args[1], builder.inttoptr(args[0], _I64.as_pointer()), align=1)
            return context.get_dummy_value()

        return types.void(types.int64, types.uint64), codegen

    @intrinsic
    def load_big_endian(typingctx: Any, address: Any) -> Any:
        """Load eight bytes as a signed big-endian number."""

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            pointer = builder.inttoptr(args[0], _I64.as_pointer())
            return builder.bswap(builder.load(pointer, align=1))

        return types.int64(types.int64), codegen

    @intrinsic
    def store_big_endian(typingctx: Any, address: Any, value: Any) -> Any:
        """Store a signed number as eight big-endian bytes."""

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            pointer = builder.inttoptr(args[0], _I64.as_pointer())
            builder.store(builder.bswap(args[1]), pointer, align=1)
            return context.get_dummy_value()

        return types.void(types.int64, types.int64), codegen

    @intrinsic
    def _leading_zeros(typingctx: Any, word: Any) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return builder.ctlz(args[0], ir.IntType(1)(0))

        return types.int64(types.uint64), codegen

    @lean_part
    def bit_length(word: Any) -> int:
        """Return how many bits an unsigned word needs; 0 needs none."""
        return 64 - _leading_zeros(word)

else:

    def address_of(array: Any) -> int:
        """Return the address of an array's first byte."""
        return int(array.ctypes.data)

    def load_byte(address: int) -> int:
        """Load a byte."""
        return ctypes.c_uint8.from_address(int(address)).value

    def store_byte(address: int, value: int) -> None:
        """Store the lowest byte of a number."""
        ctypes.c_uint8.from_address(int(address)).value = int(value)

    def load_word(address: int) -> Any:
        """Load eight bytes as an unsigned little-endian word."""
        return np.uint64(int.from_bytes(ctypes.string_at(int(address), 8), "little"))

    def store_word(address: int, word: int) -> None:
        """Store an unsigned word as eight little-endian bytes."""
        ctypes.memmove(int(address), int(word).to_bytes(8, "little"), 8)

    def load_big_endian(address: int) -> int:
        """Load eight bytes as a signed big-endian number."""
        return int.from_bytes(ctypes.string_at(int(address), 8), "big", signed=True)

    def store_big_endian(address: int, value: int) -> None:
        """Store a signed number as eight big-endian bytes."""
        wrapped = int(value) & 0xFFFF_FFFF_FFFF_FFFF
        ctypes.memmove(int(address), wrapped.to_bytes(8, "big"), 8)

    def bit_length(word: Any) -> int:
        """Return how many bits an unsigned word needs; 0 needs none."""
        return int(word).bit_length()

"""Atomic loads and stores, fences, copies, clocks and futex calls on addresses, for kernels.

A plain `while cursor[0] == seen` is hoisted out of the loop by LLVM and never sees the other side's
store; these intrinsics emit atomic instructions that may not be. Without the JIT they run through
ctypes, which is enough for single-process tests.
"""

import ctypes
import errno
import platform
import sys
import time
from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from openoutcry.config.jit import IS_COMPILED, inline_kernel, kernel

IS_LINUX = sys.platform.startswith("linux")
_IS_X86 = platform.machine() in {"x86_64", "AMD64"}
_I64 = ir.IntType(64)
_I32 = ir.IntType(32)

CLOCK_REALTIME = 0
#: Linux numbers CLOCK_MONOTONIC 1, macOS 6.
CLOCK_MONOTONIC = 1 if IS_LINUX else 6


def _load(width: int, ordering: str) -> Any:
    int_type = ir.IntType(width)

    def load(typingctx: Any, address: Any) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            pointer = builder.inttoptr(args[0], int_type.as_pointer())
            value = builder.load_atomic(pointer, ordering, width // 8)
            return value if width == 64 else builder.sext(value, _I64)

        return types.int64(types.int64), codegen

    return intrinsic(load)


def _store(width: int, ordering: str) -> Any:
    int_type = ir.IntType(width)

    def store(typingctx: Any, address: Any, value: Any) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            pointer = builder.inttoptr(args[0], int_type.as_pointer())
            stored = args[1] if width == 64 else builder.trunc(args[1], int_type)
            builder.store_atomic(stored, pointer, ordering, width // 8)
            return context.get_dummy_value()

        return types.void(types.int64, types.int64), codegen

    return intrinsic(store)


def _fence(ordering: str) -> Any:
    def fence(typingctx: Any) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            builder.fence(ordering)
            return context.get_dummy_value()

        return types.void(), codegen

    return intrinsic(fence)


@intrinsic
def _fetch_add(typingctx: Any, address: Any, value: Any) -> Any:
    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = builder.inttoptr(args[0], _I64.as_pointer())
        return builder.atomic_rmw("add", pointer, args[1], "seq_cst")

    return types.int64(types.int64, types.int64), codegen


@intrinsic
def _pause(typingctx: Any) -> Any:
    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        if _IS_X86:
            declared = builder.module.declare_intrinsic(
                "llvm.x86.sse2.pause", (), ir.FunctionType(ir.VoidType(), ())
            )
            builder.call(declared, ())
        else:
            # arm64 has no cheap portable hint without inline assembly; a fence keeps the loop
            # honest.
            builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def _prefetch(typingctx: Any, address: Any) -> Any:
    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer_type = ir.IntType(8).as_pointer()
        pointer = builder.inttoptr(args[0], pointer_type)
        declared = builder.module.declare_intrinsic(
            "llvm.prefetch",
            (pointer_type,),
            ir.FunctionType(ir.VoidType(), (pointer_type, _I32, _I32, _I32)),
        )
        builder.call(declared, (pointer, _I32(1), _I32(3), _I32(1)))
        return context.get_dummy_value()

    return types.void(types.int64), codegen


_memmove = types.ExternalFunction("memmove", types.int64(types.int64, types.int64, types.int64))
_clock_gettime = types.ExternalFunction("clock_gettime", types.int32(types.int32, types.int64))


@intrinsic
def _stack_pair(typingctx: Any) -> Any:
    """Return the address of 16 bytes on the stack, allocated once at function entry."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        with builder.goto_entry_block():
            slot = builder.alloca(ir.ArrayType(_I64, 2))
        return builder.ptrtoint(slot, _I64)

    return types.int64(), codegen


if IS_COMPILED:
    load_acquire = _load(64, "acquire")
    load_relaxed = _load(64, "monotonic")
    store_release = _store(64, "release")
    store_relaxed = _store(64, "monotonic")
    load32_acquire = _load(32, "acquire")
    store32_release = _store(32, "release")
    fence_seq_cst = _fence("seq_cst")
    fence_acquire = _fence("acquire")
    fence_release = _fence("release")
    fetch_add = _fetch_add
    cpu_pause = _pause
    prefetch = _prefetch

    @inline_kernel
    def move_bytes(target: int, source: int, size: int) -> None:
        """Copy bytes between addresses; the two stretches may overlap."""
        _memmove(target, source, size)

    @inline_kernel
    def clock_ns(clock: int) -> int:
        """Read a POSIX clock, in ns (30 ns a call: one a batch, not one a message)."""
        pair = _stack_pair()
        _clock_gettime(clock, pair)
        return load_relaxed(pair) * 1_000_000_000 + load_relaxed(pair + 8)

else:

    def _cell(address: int) -> Any:
        return ctypes.c_int64.from_address(int(address))

    def load_acquire(address: int) -> int:
        """Load 64 bits, ordered before all later accesses."""
        return int(_cell(address).value)

    def store_release(address: int, value: int) -> None:
        """Store 64 bits, ordered after all earlier accesses."""
        _cell(address).value = int(value)

    load_relaxed = load_acquire
    store_relaxed = store_release

    def load32_acquire(address: int) -> int:
        """Load 32 bits, sign-extended."""
        return int(ctypes.c_int32.from_address(int(address)).value)

    def store32_release(address: int, value: int) -> None:
        """Store the lower 32 bits."""
        ctypes.c_int32.from_address(int(address)).value = int(value)

    def fetch_add(address: int, value: int) -> int:
        """Add, and return what was there before."""
        cell = _cell(address)
        before = int(cell.value)
        cell.value = before + int(value)
        return before

    def fence_seq_cst() -> None:
        """Order every access before with every access after."""

    fence_acquire = fence_seq_cst
    fence_release = fence_seq_cst
    cpu_pause = fence_seq_cst

    def prefetch(address: int) -> None:
        """Ask for a cache line ahead of its use."""

    def move_bytes(target: int, source: int, size: int) -> None:
        """Copy bytes between addresses; the two stretches may overlap."""
        ctypes.memmove(int(target), int(source), int(size))

    def clock_ns(clock: int) -> int:
        """Read a POSIX clock, in ns."""
        return time.clock_gettime_ns(clock)


if IS_COMPILED:
    yield_core = types.ExternalFunction("sched_yield", types.int32())
else:

    def yield_core() -> int:
        """Let another process have the core, if one waits for it."""
        time.sleep(0)
        return 0


# --- futex: sleep in the kernel until a 32-bit word changes ---------------------------------------

_FUTEX_NUMBER = {"x86_64": 202, "aarch64": 98}.get(platform.machine(), 0) if IS_LINUX else 0
_FUTEX_WAIT = 0
_FUTEX_WAKE = 1
HAS_FUTEX = bool(_FUTEX_NUMBER) and IS_COMPILED

if HAS_FUTEX:
    _syscall = types.ExternalFunction(
        "syscall",
        types.int64(
            types.int64,
            types.int64,
            types.int64,
            types.int64,
            types.int64,
            types.int64,
            types.int64,
        ),
    )

    @intrinsic
    def _timespec(typingctx: Any, nanoseconds: Any) -> Any:
        """Return the address of a stack timespec that holds a duration."""

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            with builder.goto_entry_block():
                slot = builder.alloca(ir.ArrayType(_I64, 2))
            billion = _I64(1_000_000_000)
            zero, one = _I32(0), _I32(1)
            builder.store(builder.sdiv(args[0], billion), builder.gep(slot, [zero, zero]))
            builder.store(builder.srem(args[0], billion), builder.gep(slot, [zero, one]))
            return builder.ptrtoint(slot, _I64)

        return types.int64(types.int64), codegen

    @kernel
    def futex_wait(address: int, seen: int, timeout_ns: int) -> int:
        """Sleep until woken, while the 32-bit word at `address` is `seen`, at most `timeout_ns`."""
        return _syscall(_FUTEX_NUMBER, address, _FUTEX_WAIT, seen, _timespec(timeout_ns), 0, 0)

    @kernel
    def futex_wake(address: int) -> int:
        """Wake one sleeper; return how many were woken."""
        return _syscall(_FUTEX_NUMBER, address, _FUTEX_WAKE, 1, 0, 0, 0)

elif IS_COMPILED:
    _usleep = types.ExternalFunction("usleep", types.int32(types.uint32))

    @kernel
    def futex_wait(address: int, seen: int, timeout_ns: int) -> int:
        """Sleep a little: without futex a waiting side polls."""
        if load32_acquire(address) == seen:
            _usleep(numba.uint32(min(timeout_ns // 1000, 50)))
        return 0

    @kernel
    def futex_wake(address: int) -> int:
        """Do nothing: the other side polls."""
        return 0

else:

    def futex_wait(address: int, seen: int, timeout_ns: int) -> int:
        """Sleep a little: without the JIT a waiting side polls."""
        if load32_acquire(address) == seen:
            time.sleep(min(timeout_ns / 1e9, 0.0005))
        return 0

    def futex_wake(address: int) -> int:
        """Do nothing: the other side polls."""
        return 0


# --- eventfd: wake a process that waits in epoll --------------------------------------------------

if IS_COMPILED:
    _write = types.ExternalFunction("write", types.int64(types.int32, types.int64, types.int64))

    @intrinsic
    def _one_on_stack(typingctx: Any) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            with builder.goto_entry_block():
                slot = builder.alloca(_I64)
            builder.store(_I64(1), slot)
            return builder.ptrtoint(slot, _I64)

        return types.int64(), codegen

    @kernel
    def signal_fd(fd: int) -> int:
        """Add one to an eventfd (or write eight bytes to a pipe), waking whoever polls it."""
        return _write(numba.int32(fd), _one_on_stack(), 8)

else:

    def signal_fd(fd: int) -> int:
        """Add one to an eventfd (or write eight bytes to a pipe), waking whoever polls it."""
        import os

        try:
            return os.write(fd, (1).to_bytes(8, sys.byteorder))
        except OSError as error:
            if error.errno == errno.EAGAIN:
                return -1
            raise

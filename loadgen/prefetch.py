"""Asking for a cache line ahead of its use: order rows are read in no order."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from openoutcry.config.jit import IS_COMPILED

if IS_COMPILED:

    @intrinsic
    def prefetch(typingctx: Any, address: Any) -> Any:
        """Ask for the cache line at an address, to be written."""

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            number, pointer = ir.IntType(32), ir.IntType(8).as_pointer()
            declared = builder.module.declare_intrinsic(
                "llvm.prefetch",
                (pointer,),
                ir.FunctionType(ir.VoidType(), (pointer, number, number, number)),
            )
            where = builder.inttoptr(args[0], pointer)
            builder.call(declared, (where, number(1), number(3), number(1)))
            return context.get_dummy_value()

        return types.void(types.int64), codegen

else:

    def prefetch(address: int) -> None:
        """Do nothing."""

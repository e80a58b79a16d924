"""The matching engine: price-time priority books in compiled kernels, with an in-process API.

`from openoutcry.engine import Engine` is the door for backtests and research; see engine/api.py for
an example. The names are loaded when first used, so importing one of the engine's modules stays
cheap.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from openoutcry.engine.api import (
        Capacity,
        CommandKind,
        DepthLevel,
        Engine,
        OrderState,
        OrderStatus,
        OrderType,
        ReplacePolicy,
        ReportKind,
        Side,
        SymbolLimits,
        TimeInForce,
        add_symbols,
        cancels,
        day_end,
        new_orders,
        replaces,
    )

__all__ = [
    "Capacity",
    "CommandKind",
    "DepthLevel",
    "Engine",
    "OrderState",
    "OrderStatus",
    "OrderType",
    "ReplacePolicy",
    "ReportKind",
    "Side",
    "SymbolLimits",
    "TimeInForce",
    "add_symbols",
    "cancels",
    "day_end",
    "new_orders",
    "replaces",
]


def __getattr__(name: str) -> Any:
    """Load a public name from engine/api.py."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from openoutcry.engine import api

    return getattr(api, name)

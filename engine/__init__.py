"""The matching engine: price-time priority books in compiled kernels, with an in-process API.

`from openoutcry.engine import OrderBook` is the door for one order at a time, `Engine` for arrays
of them: see docs/engine.md. The names are loaded when first used, so importing one of the engine's
modules stays cheap.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from openoutcry.engine.api import (
        COMMAND,
        DEPTH_LEVEL,
        REPORT,
        Capacity,
        CommandFlag,
        CommandKind,
        DepthLevel,
        Engine,
        Liquidity,
        OrderState,
        OrderStatus,
        OrderType,
        RejectReason,
        ReplacePolicy,
        ReportKind,
        Side,
        SymbolLimits,
        TimeInForce,
        add_symbols,
        cancels,
        day_end,
        mass_cancel,
        mass_status,
        new_orders,
        replaces,
    )
    from openoutcry.engine.order_book import (
        DepthArrays,
        Fill,
        Order,
        OrderBook,
        PriceLevel,
        Rejected,
        UnknownOrder,
    )

__all__ = [
    "COMMAND",
    "DEPTH_LEVEL",
    "REPORT",
    "Capacity",
    "CommandFlag",
    "CommandKind",
    "DepthLevel",
    "Engine",
    "Liquidity",
    "OrderState",
    "OrderStatus",
    "OrderType",
    "RejectReason",
    "ReplacePolicy",
    "ReportKind",
    "Side",
    "SymbolLimits",
    "TimeInForce",
    "add_symbols",
    "cancels",
    "day_end",
    "mass_cancel",
    "mass_status",
    "new_orders",
    "replaces",
    "DepthArrays",
    "Fill",
    "Order",
    "OrderBook",
    "PriceLevel",
    "Rejected",
    "UnknownOrder",
]


def __getattr__(name: str) -> Any:
    """Load a public name from engine/api.py or engine/order_book.py."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from openoutcry.engine import api, order_book

    return getattr(api if name in api.__all__ else order_book, name)

"""Requests as sentences of a test, and what a test reads from their reports."""

from typing import Any

from numpy.typing import NDArray
from oracle.pair import Pair

from openoutcry.engine.enums import (
    CommandKind,
    OrderType,
    RejectReason,
    ReportKind,
    TimeInForce,
)


def order(
    pair: Pair,
    name: str,
    side: int,
    price: int,
    qty: int,
    tif: int = TimeInForce.GTC,
    session: int = 1,
    **fields: Any,
) -> NDArray[Any]:
    """Send a new order: limit, good till cancelled, of symbol 0, unless told."""
    return pair.send(
        CommandKind.NEW,
        **{
            "cl_ord_id": name.encode(),
            "side": side,
            "price_ticks": price,
            "qty_lots": qty,
            "tif": tif,
            "session": session,
            "ord_type": OrderType.LIMIT,
            **fields,
        },
    )


def cancel(
    pair: Pair, name: str, new_name: str = "x", session: int = 1, **fields: Any
) -> NDArray[Any]:
    """Cancel the order called `name`."""
    return pair.send(
        CommandKind.CANCEL,
        cl_ord_id=new_name.encode(),
        orig_cl_ord_id=name.encode(),
        session=session,
        **fields,
    )


def replace(
    pair: Pair, name: str, new_name: str, price: int, qty: int, session: int = 1, **fields: Any
) -> NDArray[Any]:
    """Give the order called `name` another name, price and quantity."""
    return pair.send(
        CommandKind.REPLACE,
        cl_ord_id=new_name.encode(),
        orig_cl_ord_id=name.encode(),
        price_ticks=price,
        qty_lots=qty,
        session=session,
        **fields,
    )


def status(pair: Pair, name: str, session: int = 1, **fields: Any) -> NDArray[Any]:
    """Ask for the state of the order called `name`."""
    return pair.send(CommandKind.STATUS, cl_ord_id=name.encode(), session=session, **fields)


def fills(reports: NDArray[Any]) -> list[tuple[str, int, int]]:
    """Name the resting orders that traded, with price and quantity, in order."""
    trades = reports[reports["kind"] == ReportKind.TRADE][1::2]
    return [
        (row["cl_ord_id"].decode(), int(row["last_px"]), int(row["last_qty"])) for row in trades
    ]


def reason_of(reports: NDArray[Any]) -> RejectReason:
    """Return the reason in the only report."""
    assert len(reports) == 1
    return RejectReason(reports[0]["reason"])

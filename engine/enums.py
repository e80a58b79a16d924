"""The engine's vocabulary as integers: command kinds, report kinds, states and reasons.

Values are part of the log's format: they are never renumbered.
"""

from enum import IntEnum, IntFlag


class CommandKind(IntEnum):
    """What a command asks of a shard."""

    NEW = 1
    CANCEL = 2
    REPLACE = 3
    STATUS = 4
    #: Cancels every order of the session that the filters let through; see `engine.mass`.
    MASS_CANCEL = 5
    #: Reports every open order of the session that the filters let through.
    MASS_STATUS = 6
    # Control commands: from the supervisor, never from a client; they get no report of their own.
    ADD_SYMBOL = 16
    TIME = 17
    DAY_END = 18
    #: A start of the shard: the log's epoch rises with it, and ring positions may begin anew.
    START = 19
    #: The sizes of the book's pools from here on; the first command of every log. `price_ticks` is
    #: open_orders, `price2_ticks` finished_orders, `qty_lots` levels, `qty2_lots` symbols,
    #: `expire_ns` sessions.
    CAPACITY = 20


class ReportKind(IntEnum):
    """What a report tells; one command yields one or more."""

    NEW = 1
    TRADE = 2
    CANCELED = 3
    REPLACED = 4
    REJECTED = 5
    EXPIRED = 6
    STATUS = 7
    CANCEL_REJECTED = 8
    #: Internal: the command's inbound number was logged before; never sent to a client.
    DUPLICATE = 9
    #: The end of a MASS_CANCEL: `qty_lots` is how many orders it canceled, a CANCELED each before.
    MASS_CANCELED = 10
    #: One open order in answer to a MASS_STATUS; `orig_cl_ord_id` is the request's identifier.
    MASS_STATUS = 11
    #: The end of a MASS_STATUS: `qty_lots` is how many MASS_STATUS reports came before.
    MASS_STATUS_END = 12


class Side(IntEnum):
    """Side of an order; FIX Side(54) less its character form."""

    BUY = 1
    SELL = 2


class OrderType(IntEnum):
    """OrdType(40)."""

    MARKET = 1
    LIMIT = 2


class TimeInForce(IntEnum):
    """TimeInForce(59), with FIX's numbers."""

    DAY = 0
    GTC = 1
    IOC = 3
    FOK = 4


class OrderStatus(IntEnum):
    """OrdStatus(39), with FIX's numbers; 12 stands for the character C."""

    NEW = 0
    PARTIALLY_FILLED = 1
    FILLED = 2
    CANCELED = 4
    #: The ClOrdID was superseded by a replace; the order lives on under a newer one.
    REPLACED = 5
    REJECTED = 8
    EXPIRED = 12


class ReplacePolicy(IntEnum):
    """Whether a replace keeps the order's place in its price level; set per symbol."""

    #: Priority is kept when the quantity goes down (or stays) at the same price.
    KEEP_ON_REDUCE = 0
    ALWAYS_REQUEUE = 1


class CommandFlag(IntFlag):
    """Bits of a command's `flags`, by kind; an ADD_SYMBOL's `flags` is a ReplacePolicy."""

    #: REPLACE: `qty_lots` is what shall be open from now on, whatever was filled before; without
    #: it, as in FIX, the quantity counts what was filled.
    OPEN_QTY = 1
    #: NEW, REPLACE: PossResend(97)=Y. An identifier that was seen before is answered with the
    #: order's STATUS, not with a reject.
    POSS_RESEND = 2
    #: MASS_CANCEL: orders that are good till cancel stay.
    KEEP_GTC = 4
    #: MASS_CANCEL: on behalf of a client that lost its connection, or logged out; without either
    #: the client asked for it.
    CONNECTION_LOST = 8
    LOGGED_OUT = 16


class RejectReason(IntEnum):
    """Why a command was declined. Ranges: 1 order entry, 30 cancel and replace, 50 capacity, 70
    venue, 80 canceled unasked."""

    NONE = 0
    # Order entry
    UNKNOWN_SYMBOL = 1
    DUPLICATE_CL_ORD_ID = 2
    INVALID_SIDE = 3
    UNSUPPORTED_ORDER_TYPE = 4
    UNSUPPORTED_TIME_IN_FORCE = 5
    PRICE_OUT_OF_RANGE = 6
    PRICE_OFF_TICK = 7
    QTY_OUT_OF_RANGE = 8
    QTY_OFF_LOT = 9
    PRICE_REQUIRED = 10
    PRICE_NOT_ALLOWED = 11
    UNKNOWN_ACCOUNT = 12
    SYMBOL_EXISTS = 13
    #: The request asks for something that the venue does not do.
    UNSUPPORTED_FIELD = 14
    # Cancel, replace and status
    UNKNOWN_ORDER = 30
    TOO_LATE_TO_CANCEL = 31
    #: OrigClOrdID was superseded by an accepted replace.
    ORDER_REPLACED = 32
    QTY_NOT_ABOVE_CUM_QTY = 33
    SIDE_MISMATCH = 34
    # Capacity: sizes are configured, and their exhaustion is an answer
    ORDER_CAPACITY = 50
    LEVEL_CAPACITY = 51
    SESSION_CAPACITY = 52
    LOG_CAPACITY = 53
    LEVEL_QTY_OVERFLOW = 54
    # Venue
    VENUE_CLOSED = 70
    #: The symbol's shard is being restarted.
    SHARD_DOWN = 71
    # Why an order was canceled that its client did not name (the reason of a CANCELED report)
    MASS_CANCEL = 80
    CONNECTION_LOST = 81
    LOGGED_OUT = 82


class Liquidity(IntEnum):
    """LastLiquidityInd(851)."""

    NONE = 0
    ADDED = 1
    REMOVED = 2


class EventKind(IntEnum):
    """Order-level market data in the broadcast ring."""

    #: A new order rests: price, qty.
    ADD = 1
    #: A resting order traded: price, qty of the trade, leaves_qty after it.
    EXECUTE = 2
    #: A resting order lost quantity and kept its priority: qty by which, leaves_qty after it.
    REDUCE = 3
    #: A resting order left the book unfilled: qty that left with it.
    DELETE = 4
    SYMBOL = 5

"""The binary protocol's numbers: message types, enumerations and reasons.

They are part of the wire format and never renumbered. Those that the engine has too carry the same
numbers (a test compares them); protocol does not import engine.
"""

from enum import IntEnum

#: Version of the protocol that this package speaks.
VERSION = 1

#: Largest payload that a client must accept, in bytes, and the default on both sides here.
MAX_PAYLOAD_BYTES = 4096

#: Longest ClOrdID and longest account, in characters.
CL_ORD_ID_MAX = 36
ACCOUNT_MAX = 32

#: `avg_px` is in this fraction of a tick.
AVG_PX_SCALE = 100_000_000


class MessageType(IntEnum):
    """First element of each message."""

    LOGON = 1
    LOGON_ACCEPTED = 2
    HEARTBEAT = 3
    LOGOUT = 4
    SYMBOL_DEFINITION = 5
    # Numbered, client to server
    NEW_ORDER = 16
    CANCEL = 17
    REPLACE = 18
    STATUS = 19
    # Numbered, server to client
    EXECUTION_REPORT = 32
    REJECT = 33


class ReportKind(IntEnum):
    """What an ExecutionReport tells."""

    NEW = 1
    TRADE = 2
    CANCELED = 3
    REPLACED = 4
    REJECTED = 5
    EXPIRED = 6
    STATUS = 7
    CANCEL_REJECTED = 8


class Side(IntEnum):
    """Side of an order."""

    BUY = 1
    SELL = 2


class OrderType(IntEnum):
    """Type of an order."""

    MARKET = 1
    LIMIT = 2


class TimeInForce(IntEnum):
    """How long an order stands."""

    DAY = 0
    GTC = 1
    IOC = 3
    FOK = 4


class OrderStatus(IntEnum):
    """State of an order after the report."""

    NEW = 0
    PARTIALLY_FILLED = 1
    FILLED = 2
    CANCELED = 4
    REPLACED = 5
    REJECTED = 8
    EXPIRED = 12


class Liquidity(IntEnum):
    """Whether the order added the liquidity that traded, or removed it."""

    NONE = 0
    ADDED = 1
    REMOVED = 2


class RejectReason(IntEnum):
    """Why a request was declined. Numbers below 100 are the engine's; above, the gateway's own."""

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
    UNSUPPORTED_FIELD = 14
    # Cancel, replace and status
    UNKNOWN_ORDER = 30
    TOO_LATE_TO_CANCEL = 31
    ORDER_REPLACED = 32
    QTY_NOT_ABOVE_CUM_QTY = 33
    SIDE_MISMATCH = 34
    # Capacity
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
    # Message
    MALFORMED_MESSAGE = 100


class LogoutReason(IntEnum):
    """Why a session ends, so that a client knows whether connecting again makes sense."""

    NORMAL = 0
    VENUE_STOPPING = 1
    UNSUPPORTED_VERSION = 2
    NOT_AUTHORIZED = 3
    ALREADY_LOGGED_ON = 4
    INVALID_HEARTBEAT = 5
    #: Logon awaits a message number that the server has not reached (or no longer has).
    NEXT_EXPECTED_OUT_OF_RANGE = 6
    #: A client message skipped a number.
    SEQUENCE_GAP = 7
    #: A frame that is too long, that is not MessagePack, or of an unknown type, or out of place.
    PROTOCOL_ERROR = 8
    HEARTBEAT_TIMEOUT = 9
    LOGON_TIMEOUT = 10
    SLOW_CONSUMER = 11

"""FIX's reject reasons and states, by their numbers on the wire; older versions have fewer."""

from enum import IntEnum


class SessionRejectReason(IntEnum):
    """SessionRejectReason(373): broken FIX."""

    INVALID_TAG_NUMBER = 0
    REQUIRED_TAG_MISSING = 1
    TAG_NOT_DEFINED_FOR_MESSAGE = 2
    UNDEFINED_TAG = 3
    NO_VALUE = 4
    VALUE_INCORRECT = 5
    INCORRECT_FORMAT = 6
    DECRYPTION_PROBLEM = 7
    SIGNATURE_PROBLEM = 8
    COMP_ID_PROBLEM = 9
    SENDING_TIME_ACCURACY = 10
    INVALID_MSG_TYPE = 11
    XML_VALIDATION_ERROR = 12
    TAG_REPEATED = 13
    TAG_OUT_OF_ORDER = 14
    GROUP_FIELDS_OUT_OF_ORDER = 15
    WRONG_NUM_IN_GROUP = 16
    SOH_IN_VALUE = 17
    UNSUPPORTED_APPLICATION_VERSION = 18
    OTHER = 99


class BusinessRejectReason(IntEnum):
    """BusinessRejectReason(380): good FIX that the venue cannot serve."""

    OTHER = 0
    UNKNOWN_ID = 1
    UNKNOWN_SECURITY = 2
    UNSUPPORTED_MESSAGE_TYPE = 3
    APPLICATION_NOT_AVAILABLE = 4
    CONDITIONALLY_REQUIRED_FIELD_MISSING = 5
    NOT_AUTHORIZED = 6
    DELIVER_TO_FIRM_NOT_AVAILABLE = 7
    THROTTLE_LIMIT_EXCEEDED = 8
    THROTTLE_LIMIT_EXCEEDED_AND_DISCONNECTED = 9
    THROTTLED_MESSAGES_REJECTED = 10
    INVALID_PRICE_INCREMENT = 18


class SessionStatus(IntEnum):
    """SessionStatus(1409): how a session stands, in Logons and Logouts of FIXT."""

    ACTIVE = 0
    PASSWORD_CHANGED = 1
    PASSWORD_DUE_TO_EXPIRE = 2
    NEW_PASSWORD_NOT_COMPLIANT = 3
    LOGOUT_COMPLETE = 4
    INVALID_CREDENTIALS = 5
    ACCOUNT_LOCKED = 6
    LOGONS_NOT_ALLOWED = 7
    PASSWORD_EXPIRED = 8


class OrdRejReason(IntEnum):
    """OrdRejReason(103): a good order that the venue declines."""

    BROKER_OPTION = 0
    UNKNOWN_SYMBOL = 1
    EXCHANGE_CLOSED = 2
    EXCEEDS_LIMIT = 3
    TOO_LATE = 4
    UNKNOWN_ORDER = 5
    DUPLICATE_ORDER = 6
    DUPLICATE_OF_VERBAL_ORDER = 7
    STALE_ORDER = 8
    TRADE_ALONG_REQUIRED = 9
    INVALID_INVESTOR_ID = 10
    UNSUPPORTED_CHARACTERISTIC = 11
    SURVEILLANCE_OPTION = 12
    INCORRECT_QTY = 13
    INCORRECT_ALLOCATED_QTY = 14
    UNKNOWN_ACCOUNT = 15
    OTHER = 99


class CxlRejReason(IntEnum):
    """CxlRejReason(102): a good cancel or replace that the venue declines."""

    TOO_LATE = 0
    UNKNOWN_ORDER = 1
    BROKER_OPTION = 2
    ALREADY_PENDING = 3
    UNABLE_TO_PROCESS_MASS_CANCEL = 4
    ORIG_ORD_MOD_TIME_MISMATCH = 5
    DUPLICATE_CL_ORD_ID = 6
    OTHER = 99

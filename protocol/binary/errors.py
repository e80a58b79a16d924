"""What can go wrong on a binary session, the peer's faults and ours kept apart."""

from openoutcry.protocol.binary.enums import LogoutReason


class BinaryProtocolError(Exception):
    """Base of all errors of the binary protocol."""


class PeerError(BinaryProtocolError):
    """The other side broke the protocol; the connection cannot go on."""


class DataLost(PeerError):
    """The venue no longer has messages of ours that it answered; reconnecting is no help."""


class UsageError(BinaryProtocolError):
    """Our own side called a session in a state that does not allow it."""


class LogonRefused(BinaryProtocolError):
    """The venue answered the Logon with a Logout."""

    def __init__(self, reason: LogoutReason | int, text: str) -> None:
        super().__init__(f"logon refused ({int(reason)}): {text}")
        self.reason = reason
        self.text = text

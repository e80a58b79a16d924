"""What the gateway raises where it declines a request itself."""

from openoutcry.engine.enums import RejectReason


class Declined(Exception):
    """A request that the gateway declines by itself."""

    def __init__(self, reason: RejectReason, text: str) -> None:
        super().__init__(text)
        self.reason = reason
        self.text = text


class Incomplete(Exception):
    """A request lacks a field that another of its fields requires."""

"""What can be wrong with bytes that a peer sent."""


class ProtocolError(Exception):
    """The peer broke the protocol."""


class GarbledMessage(ProtocolError):
    """A frame that cannot be trusted: it is dropped, and its MsgSeqNum is not counted."""

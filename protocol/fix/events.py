"""What a FIX session tells its owner: one small immutable class per event.

The owner gets them as the list that `Session.receive`, `Session.poll` and the others return, in
the order in which they happened. Bytes to be sent are not events: they wait in
`Session.data_to_send()`.
"""

from dataclasses import dataclass

from openoutcry.protocol.fix.message import Message
from openoutcry.protocol.fix.versions import Version


@dataclass(frozen=True, slots=True)
class LoggedOn:
    """Both Logons are exchanged."""

    #: HeartBtInt(108) as agreed; 0 means no heartbeats.
    heartbeat_s: int
    #: Both directions began again at 1 with this Logon.
    was_reset: bool
    #: SessionStatus(1409) and Text(58) of the peer's Logon, where it has them.
    status: int | None = None
    text: str = ""


@dataclass(frozen=True, slots=True)
class NumbersReset:
    """ResetSeqNumFlag(141)=Y was agreed: both directions began again at 1.

    Stored messages are gone.

    Comes before `LoggedOn` where the Logon that opens the session carries the flag.
    """


@dataclass(frozen=True, slots=True)
class Application:
    """An application message in sequence; its number is consumed."""

    message: Message
    #: PossDupFlag(43)=Y: resent by the peer, and new to us, since its number was still expected.
    is_poss_dup: bool
    #: PossResend(97)=Y: the application decides by ClOrdID(11).
    is_poss_resend: bool
    #: The session's, or what ApplVerID(1128) said for this message.
    version: Version


@dataclass(frozen=True, slots=True)
class RejectReceived:
    """The peer refused one of our messages with Reject(3)."""

    message: Message


@dataclass(frozen=True, slots=True)
class MessageRejected:
    """We refused a message of the peer with Reject(3), or with BusinessMessageReject(j)."""

    ref_seq_num: int
    ref_msg_type: str
    #: SessionRejectReason(373), or BusinessRejectReason(380).
    reason: int
    ref_tag: int | None
    text: str
    is_business: bool


@dataclass(frozen=True, slots=True)
class GapDetected:
    """Numbers are missing on the way in; ResendRequest or 789 asks for them."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class GapFilled:
    """The last number of the gap has come: messages that were queued above it follow as events."""


@dataclass(frozen=True, slots=True)
class ResendStarted:
    """The peer asked for these numbers again.

    Call `Session.resend_slice` until `is_resending` is False.
    """

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class LoggedOut:
    """The session ended in an orderly way, or was refused; `Disconnect` follows."""

    text: str
    #: The peer sent its Logout first.
    by_peer: bool
    #: SessionStatus(1409) of the peer's Logout, where it has it.
    status: int | None = None


@dataclass(frozen=True, slots=True)
class Disconnect:
    """Write what `data_to_send` still holds, then close the connection; read nothing more."""

    #: For the log and the metrics' label; holds no secret and nothing that the peer chose.
    reason: str
    #: Whether the reason is an error, in contrast to an agreed end.
    is_error: bool


Event = (
    LoggedOn
    | NumbersReset
    | Application
    | RejectReceived
    | MessageRejected
    | GapDetected
    | GapFilled
    | ResendStarted
    | LoggedOut
    | Disconnect
)

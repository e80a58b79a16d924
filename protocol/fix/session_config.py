"""What a FIX session is told beforehand, and the two numbers that it keeps."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from openoutcry.protocol.fix.dictionary import Dictionary
from openoutcry.protocol.fix.enums import SessionStatus
from openoutcry.protocol.fix.versions import Version


class Role(Enum):
    """Which side sends the first Logon."""

    ACCEPTOR = "acceptor"
    INITIATOR = "initiator"


class SessionState(Protocol):
    """The two numbers that outlive connections; the gateway backs them by its session row."""

    #: Expected: the MsgSeqNum(34) due next from the peer.
    next_in: int
    #: The MsgSeqNum(34) of our next message.
    next_out: int


@dataclass(slots=True)
class MemoryState:
    """Sequence numbers that live as long as the process."""

    next_in: int = 1
    next_out: int = 1


#: Tells whether a user name and a password are right; None stands for an absent field. A
#: SessionStatus says more: from INVALID_CREDENTIALS on why not (the peer reads it under FIXT only),
#: below that yes, for the answer.
Authenticate = Callable[[bytes | None, bytes | None], bool | SessionStatus]
#: Tells whether a message of the peer's, by its number, was answered before a crash: when it comes
#: again it is not acted upon.
IsAnswered = Callable[[int], bool]
#: Takes NewPassword(925) of a Logon that is accepted; False where it does not comply.
ChangePassword = Callable[[bytes], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionConfig:
    """What a session agrees with its peer beforehand."""

    sender_comp_id: str
    target_comp_id: str
    role: Role = Role.ACCEPTOR
    #: Of both, the session and its application messages; FIXT.1.1 belongs to 5.0 and later.
    version: Version = Version.FIX44
    #: The version's, perhaps with fields of one's own or lenient; None is the strict one.
    dictionary: Dictionary | None = field(default=None, repr=False)
    #: Initiator: the HeartBtInt(108) to ask for. The acceptor echoes what it is asked, between
    #: the two limits; 0 (no heartbeats) only passes where the lower limit is 0.
    heartbeat_s: int = 30
    min_heartbeat_s: int = 0
    max_heartbeat_s: int = 3600
    #: Largest difference of SendingTime(52) from our clock; 0 turns the check off.
    sending_time_window_ms: int = 120_000
    #: From the connection to the peer's Logon.
    logon_timeout_ms: int = 10_000
    #: How long a gap may stand still before it is asked for again.
    gap_timeout_ms: int = 30_000
    #: From our Logout to the peer's.
    logout_timeout_ms: int = 5_000
    #: Whether the peer may send ResetSeqNumFlag(141)=Y.
    is_reset_allowed: bool = True
    #: Initiator: ask for a reset with every Logon. FIX 4.0 has no way to say so: there both
    #: directions begin at 1 because the two sides have agreed on it beforehand.
    reset_on_logon: bool = False
    #: Initiator: put NextExpectedMsgSeqNum(789) into the Logon.
    use_next_expected: bool = False
    #: Initiator: sent in the Logon. Acceptor: what the peer must send; `authenticate` comes first.
    #: Before FIX 4.3 the password alone goes in RawData(96), and there is no user name.
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    authenticate: Authenticate | None = field(default=None, repr=False)
    #: Initiator: NewPassword(925), under FIXT.
    new_password: str | None = field(default=None, repr=False)
    #: Acceptor: None takes no new passwords.
    change_password: ChangePassword | None = field(default=None, repr=False)
    is_answered: IsAnswered | None = field(default=None, repr=False)
    #: Further fields of every message's header, such as SenderSubID(50), and of each Logon: sent
    #: as they stand, whether the dictionary has them or not.
    header: tuple[tuple[int, bytes], ...] = ()
    logon_fields: tuple[tuple[int, bytes], ...] = field(default=(), repr=False)
    #: Put LastMsgSeqNumProcessed(369) into every header, where the version has it.
    sends_last_processed: bool = False
    #: Our MaxMessageSize(383) in bytes; 0 means no limit.
    max_message_size: int = 0
    #: The largest message that we may send: a peer whose 383 is below is refused. 0: no check.
    largest_sent: int = 0
    #: TestMessageIndicator(464): None takes either, True is a test port, False a production port.
    is_test: bool | None = None
    #: Application types that the owner wants as events; others get BusinessMessageReject 380=3.
    served_types: frozenset[str] = frozenset("DFGH")
    #: Messages kept above a gap at most; what comes beyond is dropped, and asked for again later.
    max_queued: int = 10_000

    def __post_init__(self) -> None:
        if self.dictionary is not None and self.dictionary.version is not self.version:
            labels = f"{self.dictionary.version.label} in a session of {self.version.label}"
            raise ValueError(f"a dictionary of {labels}")

    @property
    def begin_string(self) -> str:
        """BeginString(8)."""
        return self.version.begin_string

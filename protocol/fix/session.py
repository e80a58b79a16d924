"""The FIX session as a sans-I/O state machine, for acceptor and initiator alike (interface; body follows)."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from openoutcry.protocol.fix.events import Event
from openoutcry.protocol.fix.message import Message
from openoutcry.protocol.fix.session_table import State
from openoutcry.protocol.fix.store import MessageStore


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


#: Tells whether Username(553) and Password(554) are right; None stands for an absent field.
Authenticate = Callable[[bytes | None, bytes | None], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionConfig:
    """What a session agrees with its peer beforehand."""

    sender_comp_id: str
    target_comp_id: str
    role: Role = Role.ACCEPTOR
    begin_string: str = "FIX.4.4"
    #: Initiator: the HeartBtInt(108) asked for. The acceptor echoes what is asked within the two limits.
    heartbeat_s: int = 30
    min_heartbeat_s: int = 0
    max_heartbeat_s: int = 3600
    #: Largest difference of SendingTime(52) from our clock; 0 turns the check off.
    sending_time_window_ms: int = 120_000
    logon_timeout_ms: int = 10_000
    logout_timeout_ms: int = 5_000
    #: Whether the peer may send ResetSeqNumFlag(141)=Y.
    is_reset_allowed: bool = True
    #: Initiator: ask for a reset with every Logon.
    reset_on_logon: bool = False
    #: Initiator: put NextExpectedMsgSeqNum(789) into the Logon.
    use_next_expected: bool = False
    #: Initiator: sent in the Logon. Acceptor: what the peer must send, unless `authenticate` is given.
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    authenticate: Authenticate | None = field(default=None, repr=False)
    #: Our limit for an inbound message in bytes; 0 means none.
    max_message_size: int = 0
    #: TestMessageIndicator(464): None takes either, True is a test port, False a production port.
    is_test: bool | None = None
    #: Application types that the owner wants as events; others get BusinessMessageReject 380=3.
    served_types: frozenset[str] = frozenset("DFGH")
    #: Messages kept above a gap at most; what comes beyond is dropped and asked for again.
    max_queued: int = 10_000


class Session:
    """One FIX session over any number of connections."""

    def __init__(self, config: SessionConfig, state: SessionState, store: MessageStore) -> None:
        self.config = config
        self.state = state
        self.store = store
        self.connection: State = State.DISCONNECTED
        #: HeartBtInt(108) as agreed.
        self.heartbeat_s: int = 0
        #: MaxMessageSize(383) from the peer's Logon; 0 means none.
        self.peer_max_message_size: int = 0

    # -- what the owner may ask
    @property
    def is_logged_on(self) -> bool:
        """Whether both Logons are exchanged and no Logout was sent or received."""
        raise NotImplementedError

    @property
    def is_resending(self) -> bool:
        """Whether `resend_slice` has more to give."""
        raise NotImplementedError

    @property
    def is_gap_pending(self) -> bool:
        """Whether numbers are missing on the way in."""
        raise NotImplementedError

    @property
    def can_send(self) -> bool:
        """Whether a new report may be written directly: logged on and not resending.

        Otherwise it is numbered and recorded only: after a running resend it follows by itself, after the next
        Logon the peer asks for it.
        """
        raise NotImplementedError

    @property
    def is_live(self) -> bool:
        """Whether the fast path may take messages in and send directly: `can_send`, and no gap pending."""
        raise NotImplementedError

    # -- connection
    def connected(self, now_ms: int) -> list[Event]:
        """Begin a connection. The acceptor awaits a Logon; the initiator's Logon is in `data_to_send`."""
        raise NotImplementedError

    def connection_lost(self, now_ms: int) -> list[Event]:
        """End the connection; numbers and stored messages live on."""
        raise NotImplementedError

    # -- bytes
    def receive(self, frame: bytes | Message, now_ms: int) -> list[Event]:
        """Take in one well-formed message (the caller drops garbled ones, see `receive_garbled`)."""
        raise NotImplementedError

    def receive_garbled(self, now_ms: int) -> list[Event]:
        """Tell that a garbled message was dropped: as the first message it ends the connection."""
        raise NotImplementedError

    def data_to_send(self) -> bytes:
        """Return the bytes queued so far, and forget them."""
        raise NotImplementedError

    def resend_slice(self, now_ms: int, limit: int) -> bytes:
        """Return queued bytes and at most `limit` more messages of the running resend."""
        raise NotImplementedError

    # -- time
    def poll(self, now_ms: int) -> list[Event]:
        """Act on timers that are due."""
        raise NotImplementedError

    def next_timeout_ms(self) -> int | None:
        """Return when `poll` is due next, or None where no timer runs."""
        raise NotImplementedError

    def note_received(self, now_ms: int) -> None:
        """Tell the timers that the fast path took a message in."""
        raise NotImplementedError

    def note_sent(self, now_ms: int) -> None:
        """Tell the timers that the fast path sent a message."""
        raise NotImplementedError

    # -- sending
    def send_application(
        self, msg_type: str, fields: Iterable[tuple[int, bytes]], now_ms: int
    ) -> int:
        """Number, record and (unless a resend runs or nobody is logged on) queue a message; return its number."""
        raise NotImplementedError

    def reject(
        self,
        message: Message,
        reason: int,
        now_ms: int,
        *,
        ref_tag: int | None = None,
        text: str = "",
    ) -> int:
        """Answer a message with Reject(3); return the Reject's number."""
        raise NotImplementedError

    def business_reject(
        self, message: Message, reason: int, now_ms: int, *, ref_id: bytes = b"", text: str = ""
    ) -> int:
        """Answer a message with BusinessMessageReject(j); return its number."""
        raise NotImplementedError

    def logout(self, text: str, now_ms: int) -> list[Event]:
        """Send a Logout and await the peer's."""
        raise NotImplementedError

    def reset_numbers(self, now_ms: int) -> list[Event]:
        """Ask for a reset of both directions on the live session: a Logon with 34=1 and 141=Y."""
        raise NotImplementedError

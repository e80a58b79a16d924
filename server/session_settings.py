"""What the configuration says of a session: who it is, how it logs on, and what it may do.

`SessionDefaults` holds every setting with its default. A `Session` repeats them, each unset: it has
the default unless it says otherwise, and `settings_of` puts the two together. A session that the
configuration does not name (`dynamic_sessions`) has the defaults.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from openoutcry.protocol.fix.versions import VERSIONS, Version

#: CompIDs and account names: printable ASCII without a space.
Name = Annotated[str, Meta(pattern=r"^[!-~]+$", min_length=1, max_length=32)]
#: A time of day, as HH:MM:SS.
TimeOfDay = Annotated[str, Meta(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]$")]
Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
WEEKDAYS: tuple[Weekday, ...] = (
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
)
BeginString = Literal["FIX.4.0", "FIX.4.1", "FIX.4.2", "FIX.4.3", "FIX.4.4", "FIXT.1.1"]
ApplVersion = Literal["FIX.5.0", "FIX.5.0SP1", "FIX.5.0SP2"]
Password = Annotated[str, Meta(min_length=1, max_length=128)]
#: Seconds of HeartBtInt(108).
Heartbeat = Annotated[int, Meta(ge=0, le=86400)]


class CustomField(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A tag that a session may use beyond the standard's."""

    tag: Annotated[int, Meta(ge=1, le=2**31 - 1)]
    name: Annotated[str, Meta(pattern=r"^[A-Za-z][A-Za-z0-9_]*$", max_length=64)]
    type: Literal["string", "char", "boolean", "int", "natural", "decimal", "utc_timestamp"] = (
        "string"
    )
    #: MsgTypes(35) that may carry it; none named: all.
    messages: tuple[Annotated[str, Meta(pattern=r"^[!-~]{1,4}$")], ...] = ()


class Throttle(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many orders and replaces a session may send in each interval."""

    messages: Annotated[int, Meta(ge=1, le=10_000_000)]
    interval_ms: Annotated[int, Meta(ge=1, le=3_600_000)] = 1000
    action: Literal["reject", "queue", "disconnect"] = "reject"
    #: reject: refused messages within one interval after which the session is logged out.
    logout_after: Annotated[int, Meta(ge=1, le=10_000_000)] | None = None
    #: queue: messages held at most; what comes beyond is refused.
    queue_messages: Annotated[int, Meta(ge=1, le=1_000_000)] = 1000


class CancelOnDisconnect(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whether a session's open orders are canceled when its client is gone."""

    triggers: Annotated[tuple[Literal["connection_lost", "logout"], ...], Meta(min_length=1)] = (
        "connection_lost",
    )
    grace_s: Annotated[int, Meta(ge=0, le=86400)] = 0
    include_gtc: bool = False


class Schedule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a session is open, and when its numbers begin anew.

    By `days`: a session on each of them, from start to end, into the next day where the end is not
    after the start. By `start_day` and `end_day`: one session a week.
    """

    start: TimeOfDay
    end: TimeOfDay
    time_zone: str = "UTC"
    days: tuple[Weekday, ...] = WEEKDAYS
    start_day: Weekday | None = None
    end_day: Weekday | None = None
    reset: Literal["daily", "weekly", "never"] = "daily"


class SessionDefaults(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings that every session has; those of FIX only mean nothing to a binary one."""

    validation: Literal["strict", "lenient"] = "strict"
    custom_fields: tuple[CustomField, ...] = ()
    #: None: the venue's own limit, in `fix`.
    heartbeat_min_s: Heartbeat | None = None
    heartbeat_max_s: Heartbeat | None = None
    reset_allowed: bool = True
    test_message_indicator: bool | None = None
    last_msg_seq_num_processed: bool = False
    throttle: Throttle | None = None
    cancel_on_disconnect: CancelOnDisconnect | None = None
    schedule: Schedule | None = None
    message_log: bool = False


class Session(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A client's session: its SenderCompID in FIX, its session id in the binary protocol."""

    id: Name
    protocol: Literal["fix", "binary"] = "fix"
    begin_string: BeginString = "FIX.4.4"
    #: FIXT.1.1: what DefaultApplVerID(1137) must say; None: any of the three.
    appl_version: ApplVersion | None = None
    username: Annotated[str, Meta(min_length=1, max_length=128)] | None = None
    password: Password | None = None
    #: In place of `password`: what `openoutcry hash-password` prints.
    password_hash: Annotated[str, Meta(max_length=256)] | None = None
    #: A copy of every report of the session's firm, or of these accounts, comes by this session.
    drop_copy: Literal["firm"] | tuple[Name, ...] | None = None
    validation: Literal["strict", "lenient"] | UnsetType = UNSET
    custom_fields: tuple[CustomField, ...] | UnsetType = UNSET
    heartbeat_min_s: Heartbeat | UnsetType | None = UNSET
    heartbeat_max_s: Heartbeat | UnsetType | None = UNSET
    reset_allowed: bool | UnsetType = UNSET
    test_message_indicator: bool | UnsetType | None = UNSET
    last_msg_seq_num_processed: bool | UnsetType = UNSET
    throttle: Throttle | UnsetType | None = UNSET
    cancel_on_disconnect: CancelOnDisconnect | UnsetType | None = UNSET
    schedule: Schedule | UnsetType | None = UNSET
    message_log: bool | UnsetType = UNSET

    def __repr__(self) -> str:
        hidden = None if self.password is None else "…"
        return f"Session(id={self.id!r}, protocol={self.protocol!r}, password={hidden!r})"

    @property
    def session_profile(self) -> str:
        """The BeginString of a FIX session, empty for a binary one: part of who it is."""
        return self.begin_string if self.protocol == "fix" else ""

    @property
    def versions(self) -> tuple[Version, ...]:
        """The versions that the session's client may speak."""
        if self.protocol != "fix":
            return ()
        if self.begin_string != "FIXT.1.1":
            return (VERSIONS[self.begin_string],)
        if self.appl_version is not None:
            return (VERSIONS[self.appl_version],)
        return (Version.FIX50, Version.FIX50SP1, Version.FIX50SP2)


#: Settings that mean something in FIX only.
FIX_ONLY = frozenset(SessionDefaults.__struct_fields__) - {"cancel_on_disconnect"}


def settings_of(session: Session, defaults: SessionDefaults) -> SessionDefaults:
    """Return a session's settings: its own, and the defaults where it has none.

    The result is `defaults` itself where the session has no setting of its own.
    """
    own: dict[str, Any] = {
        name: value
        for name in SessionDefaults.__struct_fields__
        if (value := getattr(session, name)) is not UNSET
    }
    return msgspec.structs.replace(defaults, **own) if own else defaults

"""FIX session cases: given messages, what the session answers, and its numbers afterwards.

The names follow the lines of the acceptor's text-book behaviour: framing, order of checks, logon,
sequence numbers, resending, heartbeats and logout, rejects.
"""

from dataclasses import dataclass, field
from typing import Any

import pytest
from conformance.fix_harness import ORDER, Bench

from openoutcry.protocol.fix.events import Application
from openoutcry.protocol.fix.session import Role

LOGON = "35=A|34=1|98=0|108=30"
LOGON_REPLY = "35=A|34=1|98=0|108=30"
EARLIER = "20261122-09:59:00.000"
LATER = "20261122-10:00:30.000"
FAR_OFF = "20261122-09:57:59.999"


def order(number: int, *, extra: str = "") -> str:
    return f"35=D|34={number}|{extra}{ORDER.format(f'order-{number}')}"


@dataclass
class Case:
    name: str
    #: Pairs of a message received and the messages sent in answer; `wait 30` lets seconds pass.
    steps: list[tuple[str, list[str]]]
    #: (due next from the peer, due next to the peer) at the end.
    numbers: tuple[int, int]
    settings: dict[str, Any] = field(default_factory=dict)
    #: Numbers before the connection, where the session had a life before.
    before: tuple[int, int] = (1, 1)
    #: ClOrdIDs that reached the application, in order.
    applied: list[str] = field(default_factory=list)


def logout(number: int, text: str) -> str:
    return f"35=5|34={number}|58={text}"


FIRST_MESSAGE = [
    Case("logon is answered with 98 and 108 echoed", [(LOGON, [LOGON_REPLY])], (2, 2)),
    Case(
        "heartbeat of 0 is accepted", [("35=A|34=1|98=0|108=0", ["35=A|34=1|98=0|108=0"])], (2, 2)
    ),
    Case("first message is no logon: close without a reply", [("35=0|34=1", ["closed"])], (1, 1)),
    Case("an order as first message", [(order(1), ["closed"])], (1, 1)),
    Case("unknown SenderCompID: close without a reply", [(LOGON + "|49=WHO", ["closed"])], (1, 1)),
    Case("unknown TargetCompID: close without a reply", [(LOGON + "|56=WHO", ["closed"])], (1, 1)),
    Case("missing MsgSeqNum in the logon", [("35=A|98=0|108=30", ["closed"])], (1, 1)),
    Case("no logon within ten seconds", [("wait 9.9", []), ("wait 0.1", ["closed"])], (1, 1)),
    Case(
        "encryption is refused",
        [("35=A|34=1|98=1|108=30", [logout(1, "EncryptMethod(98) must be 0"), "closed"])],
        (1, 2),
    ),
    Case(
        "negative heartbeat is refused",
        [("35=A|34=1|98=0|108=-1", [logout(1, "HeartBtInt(108) must be 0 or more"), "closed"])],
        (1, 2),
    ),
    Case(
        "heartbeat outside the limits is refused, naming them",
        [
            (
                "35=A|34=1|98=0|108=61",
                [logout(1, "HeartBtInt(108) must be between 1 and 60 seconds"), "closed"],
            )
        ],
        (1, 2),
        {"min_heartbeat_s": 1, "max_heartbeat_s": 60},
    ),
    Case(
        "sending time off in the logon",
        [(f"{LOGON}|52={FAR_OFF}", [logout(1, "SendingTime accuracy problem"), "closed"])],
        (1, 2),
    ),
    Case(
        "wrong password",
        [(f"{LOGON}|553=me|554=guess", [logout(1, "Logon refused: not authorized"), "closed"])],
        (1, 1),
        {"username": "me", "password": "secret"},
    ),
    Case(
        "wrong user name: the same words",
        [(f"{LOGON}|553=you|554=secret", [logout(1, "Logon refused: not authorized"), "closed"])],
        (1, 1),
        {"username": "me", "password": "secret"},
    ),
    Case(
        "no credentials: the same words",
        [(LOGON, [logout(1, "Logon refused: not authorized"), "closed"])],
        (1, 1),
        {"username": "me", "password": "secret"},
    ),
    Case(
        "right credentials",
        [(f"{LOGON}|553=me|554=secret", [LOGON_REPLY])],
        (2, 2),
        {"username": "me", "password": "secret"},
    ),
    Case(
        "test message indicator on a production port",
        [
            (
                f"{LOGON}|464=Y",
                [
                    logout(
                        1, "This is a production session: TestMessageIndicator(464) must not be Y"
                    ),
                    "closed",
                ],
            )
        ],
        (1, 2),
        {"is_test": False},
    ),
    Case(
        "production message on a test port",
        [
            (
                f"{LOGON}|464=N",
                [
                    logout(1, "This is a test session: TestMessageIndicator(464) must not be N"),
                    "closed",
                ],
            )
        ],
        (1, 2),
        {"is_test": True},
    ),
    Case(
        "a peer that takes no report is refused",
        [(f"{LOGON}|383=100", [logout(1, "MaxMessageSize(383) must be at least 400"), "closed"])],
        (1, 2),
        {"largest_sent": 400},
    ),
    Case(
        "MaxMessageSize is answered with ours",
        [(f"{LOGON}|383=4096", ["35=A|34=1|98=0|108=30|383=2048"])],
        (2, 2),
        {"max_message_size": 2048},
    ),
    Case(
        "logon too low",
        [
            (
                "35=A|34=3|98=0|108=30",
                [logout(7, "MsgSeqNum too low, expecting 5 but received 3"), "closed"],
            )
        ],
        (5, 8),
        before=(5, 7),
    ),
    Case(
        "logon too high: the reply first, then the resend request",
        [
            (
                "35=A|34=9|98=0|108=30",
                ["35=A|34=7|98=0|108=30", "35=2|34=8|7=5|16=0"],
            ),
            ("35=4|34=5|43=Y|122=" + EARLIER + "|123=Y|36=9", []),
            ("35=1|34=10|112=x", ["35=0|34=9|112=x"]),
        ],
        (11, 10),
        before=(5, 7),
    ),
    Case(
        "reset in the logon: both directions begin at 1",
        [
            (
                "35=A|34=1|98=0|108=30|141=Y",
                ["35=A|34=1|98=0|108=30|141=Y"],
            )
        ],
        (2, 2),
        before=(5, 7),
    ),
    Case(
        "reset in the logon with another number than 1",
        [
            (
                "35=A|34=5|98=0|108=30|141=Y",
                [logout(7, "ResetSeqNumFlag(141)=Y needs MsgSeqNum(34)=1"), "closed"],
            )
        ],
        (5, 8),
        before=(5, 7),
    ),
    Case(
        "reset where it is not allowed",
        [
            (
                "35=A|34=1|98=0|108=30|141=Y",
                [logout(7, "ResetSeqNumFlag(141)=Y is not allowed on this session"), "closed"],
            )
        ],
        (5, 8),
        {"is_reset_allowed": False},
        before=(5, 7),
    ),
    Case(
        "next expected number as awaited",
        [("35=A|34=5|98=0|108=30|789=7", ["35=A|34=7|98=0|108=30|789=6"])],
        (6, 8),
        before=(5, 7),
    ),
    Case(
        "next expected number below ours: resend at once",
        [
            (
                "35=A|34=5|98=0|108=30|789=4",
                [
                    "35=A|34=7|98=0|108=30|789=6",
                    "35=4|34=4|43=Y|122=20261122-10:00:00.000|123=Y|36=8",
                ],
            )
        ],
        (6, 8),
        before=(5, 7),
    ),
    Case(
        "next expected number above ours",
        [
            (
                "35=A|34=5|98=0|108=30|789=8",
                [
                    logout(7, "NextExpectedMsgSeqNum(789) must be between 1 and 7, but is 8"),
                    "closed",
                ],
            )
        ],
        (5, 8),
        before=(5, 7),
    ),
    Case(
        "logon too high with 789: the first missing number, no resend request",
        [
            ("35=A|34=9|98=0|108=30|789=7", ["35=A|34=7|98=0|108=30|789=5"]),
            ("35=4|34=5|43=Y|122=" + EARLIER + "|123=Y|36=10", []),
        ],
        (10, 8),
        before=(5, 7),
    ),
    Case(
        "reset with 789: 1 in, 2 out",
        [
            (
                "35=A|34=1|98=0|108=30|141=Y|789=1",
                ["35=A|34=1|98=0|108=30|141=Y|789=2"],
            )
        ],
        (2, 2),
        before=(5, 7),
    ),
]

ORDER_OF_CHECKS = [
    Case(
        "wrong CompID on the live session",
        [
            (
                "35=0|34=2|49=WHO",
                [
                    "35=3|34=2|45=2|371=49|372=0|373=9|58=CompID problem",
                    logout(3, "CompID problem"),
                    "closed",
                ],
            )
        ],
        (3, 4),
    ),
    Case(
        "missing MsgSeqNum",
        [("35=0", [logout(2, "Required tag missing: MsgSeqNum(34)"), "closed"])],
        (2, 3),
    ),
    Case(
        "sending time off by more than two minutes",
        [
            (
                f"35=0|34=2|52={FAR_OFF}",
                [
                    "35=3|34=2|45=2|371=52|372=0|373=10|58=SendingTime accuracy problem",
                    logout(3, "SendingTime accuracy problem"),
                    "closed",
                ],
            )
        ],
        (3, 4),
    ),
    Case(
        "sending time off by less passes",
        [("35=1|34=2|112=x|52=20261122-09:58:00.000", ["35=0|34=2|112=x"])],
        (3, 3),
    ),
    Case(
        "message type in the dictionary, but not served",
        [
            (
                "35=R|34=2|131=q|146=1|55=BTCUSDT",
                ["35=j|34=2|45=2|372=R|380=3|58=Unsupported message type"],
            )
        ],
        (3, 3),
    ),
]

SEQUENCE_NUMBERS = [
    Case("the number that is due", [(order(2), [])], (3, 2), applied=["order-2"]),
    Case(
        "too high: one resend request per gap, then the queue in order",
        [
            (order(4), ["35=2|34=2|7=2|16=0"]),
            (order(6), []),
            (order(5), []),
            (order(2, extra=f"43=Y|122={EARLIER}|"), []),
            (order(3, extra=f"43=Y|122={EARLIER}|"), []),
        ],
        (7, 3),
        applied=["order-2", "order-3", "order-4", "order-5", "order-6"],
    ),
    Case(
        "what was queued and comes again is applied once",
        [
            (order(3), ["35=2|34=2|7=2|16=0"]),
            (order(2, extra=f"43=Y|122={EARLIER}|"), []),
            (order(3, extra=f"43=Y|122={EARLIER}|"), []),
        ],
        (4, 3),
        applied=["order-2", "order-3"],
    ),
    Case(
        "a second gap behind the first is asked for by itself",
        [
            (order(3), ["35=2|34=2|7=2|16=0"]),
            (order(6), []),
            (order(2, extra=f"43=Y|122={EARLIER}|"), ["35=2|34=3|7=4|16=0"]),
            (order(4, extra=f"43=Y|122={EARLIER}|"), []),
            (order(5, extra=f"43=Y|122={EARLIER}|"), []),
        ],
        (7, 4),
        applied=["order-2", "order-3", "order-4", "order-5", "order-6"],
    ),
    Case(
        "a gap fill over the gap",
        [
            (order(5), ["35=2|34=2|7=2|16=0"]),
            (f"35=4|34=2|43=Y|122={EARLIER}|123=Y|36=5", []),
        ],
        (6, 3),
        applied=["order-5"],
    ),
    Case(
        "too low without PossDup",
        [("35=0|34=1", [logout(2, "MsgSeqNum too low, expecting 2 but received 1"), "closed"])],
        (2, 3),
    ),
    Case("too low with PossDup is ignored", [(f"35=0|34=1|43=Y|122={EARLIER}", [])], (2, 2)),
    Case(
        "too low with PossDup, no OrigSendingTime",
        [
            (
                "35=0|34=1|43=Y",
                ["35=3|34=2|45=1|371=122|372=0|373=1|58=OrigSendingTime(122) required"],
            )
        ],
        (2, 3),
    ),
    Case(
        "too low with PossDup, OrigSendingTime after SendingTime",
        [
            (
                f"35=0|34=1|43=Y|122={LATER}",
                [
                    "35=3|34=2|45=1|371=122|372=0|373=10"
                    "|58=OrigSendingTime(122) after SendingTime(52)",
                    logout(3, "OrigSendingTime(122) after SendingTime(52)"),
                    "closed",
                ],
            )
        ],
        (2, 4),
    ),
    Case(
        "PossDup at the number that is due is processed",
        [(order(2, extra=f"43=Y|122={EARLIER}|"), [])],
        (3, 2),
        applied=["order-2"],
    ),
    Case(
        "above a gap: a resend request is answered at once, ours follows",
        [
            (
                "35=2|34=4|7=1|16=0",
                [
                    "35=4|34=1|43=Y|122=20261122-10:00:00.000|123=Y|36=2",
                    "35=2|34=2|7=2|16=0",
                ],
            ),
            (f"35=4|34=2|43=Y|122={EARLIER}|123=Y|36=4", []),
        ],
        (5, 3),
    ),
    Case("above a gap: a logout is honoured", [("35=5|34=9", ["35=5|34=2", "closed"])], (2, 3)),
    Case(
        "above a gap: a sequence reset is honoured",
        [(order(9), ["35=2|34=2|7=2|16=0"]), ("35=4|34=10|36=20", []), (order(20), [])],
        (21, 3),
        applied=["order-20"],
    ),
    Case(
        "above a gap: a logon with reset is honoured",
        [
            (order(9), ["35=2|34=2|7=2|16=0"]),
            (f"{LOGON}|141=Y", ["35=A|34=1|98=0|108=30|141=Y"]),
            (order(2), []),
        ],
        (3, 2),
        applied=["order-2"],
    ),
    Case(
        "reset on the live session with another number than 1",
        [
            (
                "35=A|34=2|98=0|108=30|141=Y",
                [logout(2, "ResetSeqNumFlag(141)=Y needs MsgSeqNum(34)=1"), "closed"],
            )
        ],
        (2, 3),
    ),
    Case(
        "a second logon without reset",
        [
            (
                "35=A|34=2|98=0|108=30",
                ["35=3|34=2|45=2|372=A|373=99|58=Already logged on"],
            )
        ],
        (3, 3),
    ),
    Case(
        "a rejected message consumes its number",
        [("35=1|34=2", ["35=3|34=2|45=2|371=112|372=1|373=1"]), ("35=0|34=3", [])],
        (4, 3),
    ),
]

RESENDING = [
    Case(
        "administrative messages are gap-filled in one run",
        [
            ("35=1|34=2|112=a", ["35=0|34=2|112=a"]),
            ("35=1|34=3|112=b", ["35=0|34=3|112=b"]),
            ("35=2|34=4|7=1|16=0", ["35=4|34=1|43=Y|122=20261122-10:00:00.000|123=Y|36=4"]),
        ],
        (5, 4),
    ),
    Case(
        "an end beyond the last sent means up to the last",
        [("35=2|34=2|7=1|16=99", ["35=4|34=1|43=Y|122=20261122-10:00:00.000|123=Y|36=2"])],
        (3, 2),
    ),
    Case(
        "a range that begins above the last sent",
        [
            (
                "35=2|34=2|7=2|16=0",
                [
                    "35=3|34=2|45=2|371=7|372=2|373=5"
                    "|58=BeginSeqNo(7) must be between 1 and 1, and not above EndSeqNo(16)"
                ],
            )
        ],
        (3, 3),
    ),
    Case("gap fill where due", [("35=4|34=2|123=Y|36=7", [])], (7, 2)),
    Case("gap fill too high", [("35=4|34=4|123=Y|36=7", ["35=2|34=2|7=2|16=0"])], (2, 3)),
    Case(
        "gap fill too low without PossDup",
        [
            (
                "35=4|34=1|123=Y|36=7",
                [logout(2, "MsgSeqNum too low, expecting 2 but received 1"), "closed"],
            )
        ],
        (2, 3),
    ),
    Case(
        "gap fill too low with PossDup is ignored",
        [(f"35=4|34=1|43=Y|122={EARLIER}|123=Y|36=7", [])],
        (2, 2),
    ),
    Case(
        "gap fill backwards",
        [
            (
                "35=4|34=2|123=Y|36=1",
                [
                    "35=3|34=2|45=2|371=36|372=4|373=5"
                    "|58=NewSeqNo(36) too low, expecting at least 2 but received 1"
                ],
            )
        ],
        (2, 3),
    ),
    Case("reset ignores its own number, too high", [("35=4|34=99|123=N|36=7", [])], (7, 2)),
    Case("reset ignores its own number, too low", [("35=4|34=1|36=7", [])], (7, 2)),
    Case("reset to the number that is due", [("35=4|34=2|36=2", [])], (2, 2)),
    Case(
        "reset backwards",
        [
            (
                "35=4|34=2|36=1",
                [
                    "35=3|34=2|45=2|371=36|372=4|373=5"
                    "|58=NewSeqNo(36) too low, expecting at least 2 but received 1"
                ],
            )
        ],
        (2, 3),
    ),
]

HEARTBEATS_AND_LOGOUT = [
    Case(
        "a heartbeat when nothing was sent for the interval",
        [("wait 29.9", []), ("wait 0.1", ["35=0|34=2"]), ("wait 0.1", [])],
        (2, 3),
    ),
    Case(
        "a test request is answered with its id", [("35=1|34=2|112=x", ["35=0|34=2|112=x"])], (3, 3)
    ),
    Case(
        "any sent message restarts the clock",
        [("wait 29", []), ("35=1|34=2|112=x", ["35=0|34=2|112=x"]), ("wait 29", [])],
        (3, 3),
    ),
    Case(
        "a test request when nothing came for 1.2 intervals",
        [("wait 30", ["35=0|34=2"]), ("wait 6", ["35=1|34=3|112=TEST-3"])],
        (2, 4),
    ),
    Case(
        "nothing for 2.4 intervals: logout and close",
        [
            ("wait 36", ["35=1|34=2|112=TEST-2"]),
            ("wait 35.9", ["35=0|34=3"]),
            ("wait 0.1", [logout(4, "Nothing received for 72000 ms"), "closed"]),
        ],
        (2, 5),
    ),
    Case(
        "any inbound message counts",
        [
            ("wait 36", ["35=1|34=2|112=TEST-2"]),
            (order(2), []),
            ("wait 35", ["35=0|34=3"]),
            ("wait 1", ["35=1|34=4|112=TEST-4"]),
        ],
        (3, 5),
        applied=["order-2"],
    ),
    Case("logout is answered", [("35=5|34=2", ["35=5|34=2", "closed"])], (3, 3)),
    Case(
        "logout of ours: the reply ends it",
        [("logout", ["35=5|34=2|58=bye"]), ("35=5|34=2", ["closed"])],
        (3, 3),
    ),
    Case(
        "logout of ours: a resend request is served meanwhile",
        [
            ("logout", ["35=5|34=2|58=bye"]),
            ("35=2|34=2|7=1|16=0", ["35=4|34=1|43=Y|122=20261122-10:00:00.000|123=Y|36=3"]),
            ("35=5|34=3", ["closed"]),
        ],
        (4, 3),
    ),
    Case(
        "logout of ours: no reply",
        [("logout", ["35=5|34=2|58=bye"]), ("wait 4.9", []), ("wait 0.1", ["closed"])],
        (2, 3),
    ),
]

REJECTS = [
    Case(
        "unknown message type",
        [("35=ZZ|34=2", ["35=3|34=2|45=2|371=35|372=ZZ|373=11"])],
        (3, 3),
    ),
    Case(
        "missing CompID: the session goes on",
        [("35=0|34=2|49=MISSING", ["35=3|34=2|45=2|371=49|372=0|373=1"]), ("35=0|34=3", [])],
        (4, 3),
    ),
    Case(
        "empty CompID: the session goes on",
        [("35=0|34=2|56=", ["35=3|34=2|45=2|371=56|372=0|373=4"]), ("35=0|34=3", [])],
        (4, 3),
    ),
    Case(
        "route fields come back reversed",
        [
            (
                "35=R|34=2|115=desk|128=floor|131=q|146=1|55=BTCUSDT",
                [
                    "35=j|34=2|128=desk|115=floor|45=2|372=R|380=3|58=Unsupported message type",
                ],
            )
        ],
        (3, 3),
    ),
    Case("a reject is never answered", [("35=3|34=2", []), ("35=3|34=3|45=1", [])], (4, 2)),
    Case("a business reject is never answered", [("35=j|34=2|45=1|372=D|380=0", [])], (3, 2)),
]


def run(case: Case, bench: Bench) -> None:
    for given, expected in case.steps:
        if given.startswith("wait "):
            sent = bench.advance(float(given.removeprefix("wait ")))
        elif given == "logout":
            sent = bench.act(bench.session.logout("bye", bench.now_ms))
        else:
            sent = bench.receive(given)
        assert [without_text(s, e) for s, e in zip(sent, expected, strict=False)] == expected, given
        assert len(sent) == len(expected), (given, sent)
    assert bench.numbers == case.numbers
    applied = [e.message.get(11) for e in bench.events if isinstance(e, Application)]
    assert [a.decode() for a in applied if a] == case.applied


def without_text(sent: str, expected: str) -> str:
    """Leave out the Text(58) of validation, whose words are its own, where the case does."""
    if sent.startswith("35=3|") and "|58=" not in expected:
        return sent.partition("|58=")[0]
    return sent


def names(cases: list[Case]) -> Any:
    return pytest.mark.parametrize("case", cases, ids=[case.name for case in cases])


@names(FIRST_MESSAGE)
def test_first_message(case: Case) -> None:
    bench = Bench(Role.ACCEPTOR, **case.settings)
    bench.state.next_in, bench.state.next_out = case.before
    bench.connect()
    run(case, bench)


@pytest.mark.parametrize("role", list(Role))
@names(ORDER_OF_CHECKS + SEQUENCE_NUMBERS + RESENDING + HEARTBEATS_AND_LOGOUT + REJECTS)
def test_live_session(case: Case, role: Role) -> None:
    bench = Bench(role, **case.settings)
    bench.log_on()
    bench.take_events()
    run(case, bench)

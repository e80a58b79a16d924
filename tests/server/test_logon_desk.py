"""The first message of a connection: who is let through to the session, and who only closed."""

from concurrent.futures import Future
from typing import Any
from unittest.mock import MagicMock

import pytest
from support.fix import frame

from openoutcry.protocol.fix.enums import SessionStatus
from openoutcry.protocol.fix.message import parse
from openoutcry.server.config import Config
from openoutcry.server.credentials import CredentialFile, Locks, Required, Verdict, judge
from openoutcry.server.fix_logon import Credentials, LogonDesk, given_in
from openoutcry.server.registry import SessionEntry
from openoutcry.server.session_settings import SessionDefaults
from openoutcry.server.sessions import PROTOCOL_FIX


class Desk:
    """A desk with one session, ME, whose password is `secret` and whose hash takes as long as the
    test wants."""

    def __init__(self, tmp_path: Any, *, is_slow: bool) -> None:
        self.entry = SessionEntry(
            1, "ME", PROTOCOL_FIX, 0, SessionDefaults(), "FIX.4.4", password="secret"
        )
        self.session: Any = MagicMock(entry=self.entry, number=1, comp_id="ME", connection=None)
        self.sessions: Any = MagicMock()
        self.sessions.gateway.config = Config()
        self.sessions.gateway.is_elsewhere.return_value = False
        self.sessions.gateway.now_ms.return_value = 1000
        self.sessions.gateway.loop.call_soon_threadsafe = lambda call, done: call(done)
        self.sessions.hours.closed_text.return_value = ""
        self.sessions.find.side_effect = lambda name, begin: (
            self.session if (name, begin) == (b"ME", b"FIX.4.4") else None
        )
        self.credentials = Credentials(CredentialFile(tmp_path), Locks(3, 60_000), 8)
        self.verdict: Future[Verdict] = Future()
        if is_slow:
            self.credentials.judge = MagicMock(return_value=self.verdict)  # type: ignore[method-assign]
        self.desk = LogonDesk(self.sessions, self.credentials)

    def log_on(self, password: str = "secret", **header: str) -> Any:
        """Hand a Logon in; return the connection."""
        connection = MagicMock(is_closed=False)
        fields = {"35": "A", "49": "ME", "56": "OPENOUTCRY", "34": "1"}
        fields |= {tag.removeprefix("t"): value for tag, value in header.items() if tag != "begin"}
        text = "".join(f"{tag}={value}|" for tag, value in fields.items())
        data = frame(f"{text}98=0|108=0|554={password}|", header.get("begin", "FIX.4.4"))
        self.desk.first_message(connection, parse(data))
        return connection

    def status(self) -> SessionStatus:
        """Return what the session was last told of the credentials."""
        found: SessionStatus = self.session.attach.call_args.kwargs["status"]
        return found


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ({"t35": "D"}, "first message is no Logon"),
        ({"t56": "ELSEWHERE"}, "Logon for another TargetCompID"),
        ({"t49": "YOU"}, "Logon with an unknown SenderCompID for FIX.4.4"),
        ({"begin": "FIX.4.2"}, "Logon with an unknown SenderCompID for FIX.4.2"),
        ({"begin": "FIX.9.9"}, "Logon with an unknown BeginString b'FIX.9.9'"),
    ],
)
def test_who_is_only_closed(tmp_path: Any, header: dict[str, str], reason: str):
    desk = Desk(tmp_path, is_slow=False)
    connection = desk.log_on(**header)
    connection.close.assert_called_once_with(reason, is_error=True)
    desk.session.attach.assert_not_called()


def test_the_right_password_and_the_wrong_one(tmp_path: Any):
    desk = Desk(tmp_path, is_slow=False)
    connection = desk.log_on()
    assert desk.status() is SessionStatus.ACTIVE
    assert connection.session is desk.session
    connection.hold.assert_not_called()
    assert [desk.log_on("wrong") and desk.status() for _ in range(3)] == [
        SessionStatus.INVALID_CREDENTIALS
    ] * 3
    desk.log_on()
    assert desk.status() is SessionStatus.ACCOUNT_LOCKED
    desk.sessions.gateway.now_ms.return_value = 61_000
    desk.log_on()
    assert desk.status() is SessionStatus.ACTIVE


def test_a_connection_waits_for_its_verdict_unread(tmp_path: Any):
    desk = Desk(tmp_path, is_slow=True)
    connection = desk.log_on()
    connection.hold.assert_called_once_with()
    desk.session.attach.assert_not_called()
    other = desk.log_on()
    other.close.assert_called_once_with(
        "another Logon of the session is being judged", is_error=True
    )
    desk.verdict.set_result(Verdict(is_authentic=True))
    assert desk.status() is SessionStatus.ACTIVE
    connection.release.assert_called_once_with()
    # The next one is judged again.
    desk.log_on()
    assert desk.session.attach.call_count == 2


def test_a_verdict_for_a_closed_connection_counts_for_nothing(tmp_path: Any):
    desk = Desk(tmp_path, is_slow=True)
    connection = desk.log_on()
    connection.is_closed = True
    desk.verdict.set_result(Verdict(is_authentic=False))
    desk.session.attach.assert_not_called()
    connection.release.assert_not_called()
    assert not any(desk.credentials.locks.fail(1, 1000) for _ in range(2))


def test_a_verdict_that_fails_closes_the_connection(tmp_path: Any):
    desk = Desk(tmp_path, is_slow=True)
    connection = desk.log_on()
    desk.verdict.set_exception(MemoryError())
    connection.close.assert_called_once_with("credentials cannot be judged", is_error=True)
    desk.session.attach.assert_not_called()


@pytest.mark.parametrize("is_right", [True, False])
def test_a_live_session_is_probed_for_its_owner_only(tmp_path: Any, is_right: bool):
    desk = Desk(tmp_path, is_slow=False)
    desk.session.connection = MagicMock()
    connection = desk.log_on("secret" if is_right else "wrong")
    connection.close.assert_called_once()
    assert desk.session.probe.called == is_right
    desk.session.attach.assert_not_called()


def test_the_hours_are_told_to_the_session(tmp_path: Any):
    desk = Desk(tmp_path, is_slow=False)
    desk.sessions.hours.closed_text.return_value = "Session closed until tomorrow"
    desk.log_on()
    assert desk.session.attach.call_args.kwargs["closed_text"] == "Session closed until tomorrow"


@pytest.mark.parametrize(
    ("begin", "body", "expected"),
    [
        ("FIX.4.2", "95=3|96=raw|553=u|554=p|", (None, b"raw", None)),
        ("FIX.4.3", "95=3|96=raw|553=u|554=p|", (b"u", b"p", None)),
        ("FIX.4.4", "554=p|925=n|", (None, b"p", b"n")),
        ("FIXT.1.1", "1137=9|553=u|554=p|925=n|", (b"u", b"p", b"n")),
        ("FIXT.1.1", "554=p|", (None, b"p", None)),
    ],
)
def test_where_a_logon_has_its_credentials(begin: str, body: str, expected: tuple[Any, ...]):
    given = given_in(parse(frame(f"35=A|49=A|56=B|34=1|{body}", begin)))
    assert (given.username, given.password, given.new_password) == expected


def test_a_password_set_by_the_client_comes_first(tmp_path: Any):
    desk = Desk(tmp_path, is_slow=False)
    assert desk.credentials.required(desk.entry) == Required(None, "secret", None)
    verdict = judge(Required(password="secret"), given_in(_new_password()), 8)
    assert verdict.new_hash is not None
    desk.credentials.file.put("FIX.4.4/ME", verdict.new_hash)
    required = desk.credentials.required(desk.entry)
    assert (required.password, required.password_hash) == (None, verdict.new_hash)


def _new_password() -> Any:
    return parse(frame("35=A|49=A|56=B|34=1|554=secret|925=new-secret|"))

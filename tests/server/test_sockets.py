"""Options of accepted sockets, and what may be shown of messages."""

import socket

import pytest

from openoutcry.protocol.fix.redact import without_secrets
from openoutcry.server.sockets import watch_peers

pytestmark = pytest.mark.skipif(
    not hasattr(socket, "TCP_USER_TIMEOUT"), reason="only Linux has TCP_USER_TIMEOUT"
)


def options(*, user_timeout_s: int, keepalive_s: int) -> dict[str, int]:
    """Return the options of a connection that a listener accepted."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        watch_peers(listener, user_timeout_s=user_timeout_s, keepalive_s=keepalive_s)
        with socket.create_connection(listener.getsockname()):
            accepted, _ = listener.accept()
            with accepted:
                names = ("TCP_NODELAY", "TCP_USER_TIMEOUT", "TCP_KEEPIDLE", "TCP_KEEPINTVL")
                found = {
                    name: accepted.getsockopt(socket.IPPROTO_TCP, getattr(socket, name))
                    for name in names
                }
                alive = accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
                return {**found, "SO_KEEPALIVE": alive}


def test_accepted_sockets_have_what_the_listener_was_given():
    found = options(user_timeout_s=7, keepalive_s=9)
    assert found["TCP_USER_TIMEOUT"] == 7000
    assert (found["TCP_KEEPIDLE"], found["TCP_KEEPINTVL"]) == (9, 3)
    assert found["TCP_NODELAY"] != 0
    assert found["SO_KEEPALIVE"] != 0


def test_both_may_be_left_to_the_kernel():
    found = options(user_timeout_s=0, keepalive_s=0)
    assert found["TCP_USER_TIMEOUT"] == 0
    assert found["SO_KEEPALIVE"] == 0


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("35=A|553=joe|554=secret|925=new|10=000|", "35=A|553=joe|554=***|925=***|10=000|"),
        ("35=A|554=cut", "35=A|554=***"),
        ("554=first|35=A", "554=***|35=A"),
        ("35=A|95=7|96=a|b=c|d|98=0|108=30|", "35=A|95=3|96=***|98=0|108=30|"),
        ("35=A|95=7|96=a|b", "35=A|95=3|96=***"),
        ("35=B|96=news|58=1554=x|", "35=B|96=news|58=1554=x|"),
        ("35=A|1554=x|9925=y|", "35=A|1554=x|9925=y|"),
    ],
)
def test_passwords_are_not_shown(message: str, shown: str):
    data, expected = (text.replace("|", "\x01").encode() for text in (message, shown))
    assert without_secrets(data) == expected

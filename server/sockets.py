"""Options of the venue's sockets."""

import socket

#: Probes without an answer after which the kernel gives a silent peer up.
_KEEPALIVE_PROBES = 3


def watch_peers(listener: socket.socket, *, user_timeout_s: int, keepalive_s: int) -> None:
    """Have the kernel notice peers that are gone; accepted sockets inherit what a listener has.

    Args:
        user_timeout_s: how long sent bytes may stay unacknowledged (TCP_USER_TIMEOUT, Linux); 0
            leaves it to the kernel.
        keepalive_s: after how much silence the kernel asks; 0: never.
    """
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if user_timeout_s and hasattr(socket, "TCP_USER_TIMEOUT"):
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, user_timeout_s * 1000)
    if not keepalive_s:
        return
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", keepalive_s),
        ("TCP_KEEPINTVL", max(keepalive_s // _KEEPALIVE_PROBES, 1)),
        ("TCP_KEEPCNT", _KEEPALIVE_PROBES),
    ):
        if hasattr(socket, name):
            listener.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)

"""The venue's listening sockets, bound before anything is forked: a port in use is told at once."""

import socket
from dataclasses import dataclass

from openoutcry.server.config import Config


class StartError(Exception):
    """The venue cannot start; the text is for the operator."""


@dataclass
class Listeners:
    """Bound sockets, None where the configuration leaves one out."""

    fix: socket.socket | None
    binary: socket.socket | None
    http: socket.socket | None


def bind_listeners(config: Config) -> Listeners:
    """Bind the configured ports; they listen once the venue is ready.

    Raises:
        StartError: a port is in use or the host is not ours.
    """

    def bind(name: str, port: int | None) -> socket.socket | None:
        if port is None:
            return None
        host = config.listen.host
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((host, port))
        except OSError as error:
            sock.close()
            raise StartError(
                f"cannot listen on {host}:{port} (listen.{name}): {error.strerror}; "
                f"choose another with --set listen.{name}=PORT (0: any free one); "
                f"with make: make run ARGS='--set listen.{name}=PORT'"
            ) from error
        return sock

    return Listeners(
        fix=bind("fix", config.listen.fix),
        binary=bind("binary", config.listen.binary),
        http=bind("http", config.listen.http),
    )


def address_of(sock: socket.socket | None) -> str | None:
    """Return host:port of a bound socket."""
    if sock is None:
        return None
    host, port = sock.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

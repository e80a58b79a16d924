"""`openoutcry hash-password`: make the hash of a password for the configuration."""

import sys

import click

from openoutcry.server.credentials import hash_password


@click.command("hash-password")
def command() -> None:
    """Print the salted hash of a password, for `password_hash` in the configuration.

    The password is asked for on a terminal, else read from standard input, one line. It is never an
    argument: those can be seen by everybody on the machine.
    """
    if sys.stdin.isatty():
        password = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    if not 1 <= len(password.encode()) <= 128:
        raise click.ClickException("A password has 1 to 128 bytes.")
    click.echo(hash_password(password.encode()))

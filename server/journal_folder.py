"""What the tools over a data directory have in common: which one, which shards, which names."""

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from openoutcry.server.config import decimal_parts
from openoutcry.server.directory import DirectoryError, read_directory
from openoutcry.server.journal_names import Names, Units, UnknownNameError, numbers_of
from openoutcry.server.log_reader import shards_in

folder_argument = click.argument(
    "folder",
    metavar="DIR",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
)


def shard_option(text: str) -> Callable[..., Any]:
    """Return the option that chooses a shard; `text` is for its help."""
    return click.option("--shard", type=click.IntRange(0, 65535), metavar="N", help=text)


def chosen_shards(folder: Path, shard: int | None) -> list[int]:
    """Return the shards that are meant: the one named, or all that have files.

    Raises:
        click.ClickException: there is none, or not that one.
    """
    found = shards_in(folder)
    if not found:
        raise click.ClickException(
            f"{folder} holds no journal (no shard-N-commands-*.seg): name a venue's data directory"
        )
    if shard is None:
        return found
    if shard not in found:
        numbers = ", ".join(map(str, found))
        raise click.ClickException(f"{folder} has nothing of shard {shard}, only of {numbers}")
    return [shard]


def only_shard(folder: Path, shard: int | None, option: str) -> int:
    """Return the shard that is meant where just one can be.

    Raises:
        click.ClickException: there are several, and none is named.
    """
    found = chosen_shards(folder, shard)
    if len(found) > 1:
        numbers = ", ".join(map(str, found))
        raise click.UsageError(f"{option} needs --shard: {folder} has the shards {numbers}")
    return found[0]


def read_names(folder: Path) -> Names:
    """Return what the directory says; where there is none, or it is damaged, numbers have to do."""
    try:
        content = read_directory(folder)
    except (DirectoryError, OSError) as error:
        click.echo(f"numbers are shown in place of names: {error}", err=True)
        return Names()
    units = {}
    for symbol in content.symbols:
        tick, lot = decimal_parts(symbol.tick), decimal_parts(symbol.lot)
        units[symbol.number] = Units(symbol.name, *tick, *lot)
    often = Counter(session.name for session in content.sessions)
    sessions = {}
    for session in content.sessions:
        full = f"{session.begin_string or session.protocol}:{session.name}"
        sessions[session.number] = session.name if often[session.name] == 1 else full
    return Names(
        symbols=units,
        sessions=sessions,
        accounts={n: content.account_name(n) for n in range(1, len(content.accounts))},
        firms={record.number: name for name, record in content.firms.items()},
    )


def symbol_numbers(names: Names, text: str) -> list[int]:
    """Return the numbers of a symbol (it has another one for each tick and lot that it had), or the
    number that is given. Raises click.ClickException."""
    return _numbers("symbol", text, {n: units.name for n, units in names.symbols.items()})


def account_numbers(names: Names, text: str) -> list[int]:
    """Return an account's numbers: one a variant of it. Raises click.ClickException."""
    return _numbers("account", text, names.accounts)


def session_numbers(names: Names, text: str) -> list[int]:
    """Return the numbers of the sessions of a name, in any protocol and version, or of one as it is
    shown. Raises click.ClickException."""
    plain = {n: name.partition(":")[2] or name for n, name in names.sessions.items()}
    known = names.sessions if text in names.sessions.values() else plain
    return _numbers("session", text, known)


def _numbers(what: str, text: str, names: Any) -> list[int]:
    try:
        return numbers_of(what, text, names.items())
    except UnknownNameError as error:
        raise click.ClickException(str(error)) from None


def running_pid(folder: Path) -> int | None:
    """Return the process of the venue that runs in a data directory, as far as its lock file says.

    The lock itself is not touched: a venue that starts at this moment would be refused.
    """
    try:
        pid = int((folder / "lock").read_text())
        os.kill(pid, 0)
    except (OSError, ValueError):
        return None
    return pid

"""The command line: `openoutcry COMMAND`, each command imported when it is called.

The tables below name every command by the place where it is written, with the line that `--help`
shows: help must be instant, and importing the kernels takes most of a second.
"""

import difflib
import importlib
import os
from typing import Any

import click

#: Command → (import string, line in --help). An entry whose module is missing is a bug, and shows.
COMMANDS: dict[str, tuple[str, str]] = {
    "serve": ("openoutcry.server.supervisor:serve", "Run the venue."),
    "check-config": ("openoutcry.server.check:check_config", "Validate a configuration file."),
    "hash-password": (
        "openoutcry.server.hash_password:command",
        "Make the hash of a session's password.",
    ),
    "demo": ("openoutcry.loadgen.demo:demo", "Start a venue and show it working."),
    "load": ("openoutcry.loadgen.main:load", "Send generated order flow and measure."),
    "flow": ("openoutcry.loadgen.flow:flow", "Send recorded order flow through a venue."),
    "order": ("openoutcry.clients.console:order", "Send an order and print its reports."),
    "fix-log": (
        "openoutcry.clients.fix_log_command:fix_log",
        "Show FIX messages of a capture or log.",
    ),
    "book": ("openoutcry.server.ladder:book", "Show the live ladder of a symbol."),
    "top": ("openoutcry.server.top:top", "Show the live figures of a venue."),
    "bench": ("openoutcry.server.main:bench", "Measure parts of the system by themselves."),
    "admin": ("openoutcry.server.main:admin", "Operate a running venue."),
    "journal": ("openoutcry.server.main:journal", "Read, check and repair a venue's journal."),
    "replay": ("openoutcry.server.replay_command:replay", "Run a venue's journal again."),
    "export": ("openoutcry.server.export_command:export", "Write trades or orders to a file."),
    "warm": ("openoutcry.server.warm:warm", "Compile every kernel into the cache and exit."),
}

BENCHES: dict[str, tuple[str, str]] = {
    "engine": ("openoutcry.engine.bench.command:engine", "Measure the matching engine in process."),
    "codec": ("openoutcry.loadgen.codec_bench:codec", "Measure decoding and encoding messages."),
    "ring": ("openoutcry.engine.bench.ring:ring", "Measure the ring between two processes."),
    "journal": ("openoutcry.engine.bench.journal:journal", "Measure appending to the logs."),
    "echo": ("openoutcry.loadgen.echo:echo", "Measure what TCP itself costs on this machine."),
    "compare": ("openoutcry.loadgen.compare:compare", "Measure a venue and an echo in turns."),
    "resend": ("openoutcry.loadgen.resend_bench:resend", "Measure what a big resend costs others."),
    "recovery": (
        "openoutcry.server.recovery_bench:recovery",
        "Measure replaying a log, and writing and loading snapshots.",
    ),
    "snapshot": (
        "openoutcry.server.snapshot_bench:snapshot",
        "Measure what snapshots cost matching.",
    ),
    "durability": (
        "openoutcry.loadgen.durability_bench:durability",
        "Measure what each level of durability costs.",
    ),
    "restart": (
        "openoutcry.loadgen.restart_bench:restart",
        "Measure how long a killed venue is away.",
    ),
}

ADMIN: dict[str, tuple[str, str]] = {
    "day-end": ("openoutcry.server.admin:day_end", "End the trading day: DAY orders expire."),
    "snapshot": ("openoutcry.server.admin:snapshot", "Write a snapshot of every shard's book."),
}

JOURNAL: dict[str, tuple[str, str]] = {
    "dump": ("openoutcry.server.journal_dump:dump", "Show the commands that were logged."),
    "verify": ("openoutcry.server.journal_verify:verify", "Check headers, checksums, snapshots."),
    "cut": ("openoutcry.server.journal_cut:cut", "Give up what lies behind a damaged place."),
}


class LazyGroup(click.Group):
    """A group whose commands are import strings, resolved when called."""

    def __init__(self, *args: Any, table: dict[str, tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.table = table

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the table."""
        return list(self.table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command; an unknown name gives None."""
        if cmd_name not in self.table:
            return None
        module, _, name = self.table[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Resolve a command, naming the nearest one where there is none."""
        name = args[0]
        if not name.startswith("-") and name not in self.table:
            nearest = difflib.get_close_matches(name, self.table, n=1)
            hint = f" Did you mean '{nearest[0]}'?" if nearest else ""
            ctx.fail(f"No such command '{name}'.{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table's own lines: nothing is imported for them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self.table.items()])


@click.group(
    cls=LazyGroup,
    table=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="openoutcry", prog_name="openoutcry")
def main() -> None:
    """Run and try out a networked matching-engine server with FIX and binary order entry."""
    # numpy's linear algebra is not used; its thread pool would start in every process.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


@click.group(cls=LazyGroup, table=BENCHES)
def bench() -> None:
    """Measure parts of the system by themselves, and the yardsticks to compare with."""


@click.group(cls=LazyGroup, table=ADMIN)
def admin() -> None:
    """Operate a running venue through its HTTP endpoint."""


@click.group(cls=LazyGroup, table=JOURNAL)
def journal() -> None:
    """Read, check and repair the journal in a data directory; no venue need run there."""


if __name__ == "__main__":
    # As the module that the tables name: "bench" and "admin" are looked up in it.
    importlib.import_module("openoutcry.server.main").main(prog_name="openoutcry")

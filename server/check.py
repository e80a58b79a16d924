"""`openoutcry check-config`: validate a configuration without starting anything."""

import click

from openoutcry.server.config_file import ConfigError, default_text, load_config
from openoutcry.server.config_rules import warnings_of


@click.command("check-config")
@click.argument("file", type=click.Path(dir_okay=False), required=False)
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Set one key, as for serve."
)
@click.option("--print-default", is_flag=True, help="Print the default configuration, commented.")
@click.pass_context
def check_config(
    ctx: click.Context, file: str | None, overrides: tuple[str, ...], print_default: bool
) -> None:
    """Validate the configuration FILE.

    Every mistake is printed with its path and, for an unknown key, the nearest known one. The exit
    status is 0 for a valid file, else 2.
    """
    if print_default:
        click.echo(default_text(), nl=False)
        return
    if file is None and not overrides:
        raise click.UsageError("Give a FILE, or --print-default to start from.")
    try:
        config = load_config(file, overrides)
    except ConfigError as error:
        for message in error.messages:
            click.echo(message, err=True)
        ctx.exit(2)
    for warning in warnings_of(config):
        click.echo(f"warning: {warning}", err=True)
    click.echo(
        f"{file or 'default configuration'}: valid: {len(config.shards)} shards,"
        f" {len(config.symbols)} symbols, {len(config.firms)} firms"
    )

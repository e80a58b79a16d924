"""`openoutcry admin`: operate a running venue through its HTTP endpoint."""

import http.client
import json
from typing import Any

import click

_TIMEOUT_S = 10.0
#: A snapshot of a saturated venue takes its time; the venue itself gives up a little earlier.
_SNAPSHOT_TIMEOUT_S = 150.0

_target = click.option(
    "--target",
    default="127.0.0.1:8080",
    show_default=True,
    metavar="HOST:PORT",
    help="The venue's HTTP address, as in its ready line.",
)


class AdminError(Exception):
    """The venue could not be reached, or declined."""


def post(
    target: str, path: str, body: dict[str, Any], timeout_s: float = _TIMEOUT_S
) -> dict[str, Any]:
    """Send one admin command to HOST:PORT and return the answer.

    Raises AdminError with a sentence.
    """
    host, _, port = target.rpartition(":")
    if not host or not port.isdigit():
        raise AdminError(f"{target!r} is not HOST:PORT")
    connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=timeout_s)
    try:
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        text = response.read(1 << 20)
    except (OSError, http.client.HTTPException) as error:
        raise AdminError(
            f"no venue answers at {target} ({error}): start one with `openoutcry serve`, or name "
            "its HTTP address with --target"
        ) from None
    finally:
        connection.close()
    try:
        answer = json.loads(text)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise AdminError(f"{target} answered status {response.status} and no JSON object")
    if response.status != 200 or not answer.get("ok"):
        raise AdminError(str(answer.get("error", f"status {response.status}")))
    return answer


@click.command("day-end")
@click.option("--symbol", help="Only this symbol; all by default.")
@_target
def day_end(symbol: str | None, target: str) -> None:
    """End the trading day: every open DAY order expires."""
    try:
        post(target, "/admin/day-end", {"symbol": symbol})
    except AdminError as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"day ended: {symbol or 'all symbols'}")


@click.command("snapshot")
@click.option("--shard", type=click.IntRange(min=0), help="Only this shard; all by default.")
@_target
def snapshot(shard: int | None, target: str) -> None:
    """Write a snapshot of every shard's book now, beside matching, and say where it is."""
    try:
        answer = post(target, "/admin/snapshot", {"shard": shard}, _SNAPSHOT_TIMEOUT_S)
    except AdminError as error:
        raise click.ClickException(str(error)) from None
    for each in answer["snapshots"]:
        click.echo(
            f"shard {each['shard']}: {each['file']} up to command {each['seq']:,}, "
            f"{each['bytes']:,} bytes in {each['seconds']:.2f} s"
        )

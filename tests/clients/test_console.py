"""One order from the command line, and its reports as lines."""

import asyncio
from decimal import Decimal

import click
import msgspec
import pytest
from click.testing import CliRunner
from support.fix_acceptor import FixAcceptor

from openoutcry.clients import binary
from openoutcry.clients.console import Request, binary_line, order, parse_words, send_order
from openoutcry.protocol.binary import messages
from openoutcry.protocol.errors import ProtocolError
from openoutcry.protocol.fix.versions import VERSIONS, Version


def parse(text: str) -> Request:
    return parse_words(tuple(text.split()), "gtc", "A1", None)


def test_words() -> None:
    expected = Request("BTCUSDT", "buy", Decimal("0.5"), Decimal(65000), "gtc", "A1")
    assert parse("buy BTCUSDT 0.5 @ 65000") == expected
    assert parse("buy BTCUSDT 0.5 @65000") == expected
    assert parse("sell BTCUSDT 2") == Request("BTCUSDT", "sell", Decimal(2), None, "gtc", "A1")
    assert parse("cancel id-1 BTCUSDT buy") == Request("BTCUSDT", "buy", None, cancels="id-1")
    assert parse("cancel id-1 BTCUSDT buy 3").qty == 3


@pytest.mark.parametrize(
    "text", ["buy", "buy BTCUSDT", "hold BTCUSDT 1", "buy X 1 @", "buy X 1 @ 2 3", "cancel x y"]
)
def test_other_words_are_explained(text: str) -> None:
    with pytest.raises(click.UsageError, match=r"expected  buy\|sell SYMBOL QTY"):
        parse(text)


@pytest.mark.parametrize("text", ["buy X one", "buy X 1 @ nan", "sell X inf"])
def test_numbers_are_checked(text: str) -> None:
    with pytest.raises(click.UsageError, match="is no number"):
        parse(text)


async def run(text: str, **settings: str) -> tuple[bool, list[str]]:
    lines: list[str] = []
    async with FixAcceptor(**settings) as venue:
        is_accepted = await send_order(
            parse_words(tuple(text.split()), "day", "", "my-id"),
            lambda line: lines.append(line.text),
            target=f"127.0.0.1:{venue.port}",
            wait_s=0.1,
        )
    return is_accepted, lines


@pytest.mark.parametrize("version", list(Version), ids=list(VERSIONS))
async def test_every_version(version: Version) -> None:
    async with FixAcceptor(version=version) as venue:
        is_accepted = await send_order(
            parse_words(("buy", "FILL", "2", "@", "7"), "day", "", None),
            lambda line: None,
            target=f"127.0.0.1:{venue.port}",
            fix_version=version,
            wait_s=0.1,
        )
    assert is_accepted
    assert [message.get(8) for message in venue.applied] == [version.begin_string.encode()]


async def test_a_fill_ends_it() -> None:
    assert await run("buy FILL 0.5 @ 65000.10") == (
        True,
        [
            "new              my-id (O0-my-id)  buy 0.5 FILL @ 65000.10",
            "trade            my-id (O0-my-id)  buy 0.5 FILL @ 65000.10, filled 0.5 @ 65000.10, "
            "0.5 in all on average @ 65000.1, 0 left",
        ],
    )


async def test_an_order_that_rests_is_accepted() -> None:
    assert await run("sell BTCUSDT 3") == (
        True,
        ["new              my-id (O0-my-id)  sell 3 BTCUSDT at market"],
    )


async def test_a_rejected_order_says_why() -> None:
    is_accepted, lines = await run("buy BAD 1 @ 2")
    assert not is_accepted
    assert lines == ["rejected         my-id  buy 1 BAD @ 2: unknown symbol"]


async def test_a_cancel() -> None:
    is_accepted, lines = await run("cancel other BTCUSDT buy 1")
    assert is_accepted
    assert lines == ["canceled         my-id (O0-my-id)  buy 1 BTCUSDT at market"]


async def test_a_cancel_of_nothing() -> None:
    is_accepted, lines = await run("cancel unknown BTCUSDT buy 1")
    assert not is_accepted
    assert lines == ["cancel rejected  my-id for unknown: reason 1"]


async def test_a_refused_session() -> None:
    with pytest.raises(ProtocolError, match="not authorized"):
        await run("buy FILL 1", password="secret")


def test_the_command_prints_and_tells_by_its_status() -> None:
    def command(*words: str) -> tuple[int, str]:
        async def go() -> tuple[int, str]:
            async with FixAcceptor() as venue:
                target = f"127.0.0.1:{venue.port}"
                args = [*words, "--target", target, "--wait", "0.1", "--id", "x"]
                result = await asyncio.to_thread(CliRunner().invoke, order, args)
                return result.exit_code, result.output

        return asyncio.run(go())

    status, output = command("buy", "FILL", "1", "@", "5")
    assert status == 0
    assert output.count("\n") == 2
    assert command("buy", "BAD", "1", "@", "5")[0] == 1


def test_mistakes_on_the_command_line() -> None:
    runner = CliRunner()
    assert runner.invoke(order, ["buy"]).exit_code == 2
    assert runner.invoke(order, ["buy", "X", "1", "--target", "here"]).exit_code == 2
    assert runner.invoke(order, ["buy", "X", "1", "--fix-version", "FIX.4.5"]).exit_code == 2
    here = ["--target", "127.0.0.1:1", "--fix-version", "FIX.5.0SP2"]
    gone = runner.invoke(order, ["buy", "X", "1", *here])
    assert gone.exit_code == 1
    assert "Error: 127.0.0.1:1:" in gone.output


def test_a_binary_report_as_a_line() -> None:
    definition = messages.SymbolDefinition(0, "BTCUSDT", "0.01", "0.001", 1, 10**9, 1, 10**9)
    symbol = binary.Symbol.from_definition(definition)
    raw = messages.ExecutionReport(
        seq=1,
        repeated=False,
        ref_seq=1,
        kind=binary.ReportKind.TRADE,
        status=binary.OrderStatus.PARTIALLY_FILLED,
        reason=0,
        symbol=0,
        side=2,
        ord_type=2,
        tif=0,
        liquidity=1,
        order_id=7,
        exec_id=8,
        trade_id=9,
        cl_ord_id="x",
        orig_cl_ord_id="",
        account="",
        price=500,
        qty=2000,
        last_px=500,
        last_qty=500,
        cum_qty=500,
        leaves_qty=1500,
        avg_px=500 * 10**8,
        time_ns=0,
    )
    line = binary_line(binary._report(raw, symbol))
    assert line.text == (
        "trade            x (7)  sell 2.000 BTCUSDT @ 5.00, filled 0.500 @ 5.00, "
        "0.500 in all on average @ 5, 1.500 left"
    )
    assert not line.is_final
    # A rejected order has no OrderID.
    unnamed = msgspec.structs.replace(
        raw, kind=binary.ReportKind.REJECTED, status=binary.OrderStatus.REJECTED, order_id=0
    )
    refused = binary_line(binary._report(unnamed, symbol))
    assert refused.is_refusal
    assert refused.text.startswith("rejected         x  sell 2.000 BTCUSDT @ 5.00")
    refused = binary_line(messages.Reject(1, False, 1, "x", 1, "unknown"))
    assert refused.is_refusal

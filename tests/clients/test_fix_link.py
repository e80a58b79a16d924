"""The client as a plain session: any message, typed events, what venues ask of a Logon."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from support.fix_acceptor import FixAcceptor, now_ms

from openoutcry.clients.fix import FileStore, FixClient, LogonRefused, Reject, SessionEnded, Side
from openoutcry.clients.fix_link import FixLink, to_bytes
from openoutcry.protocol.fix.dictionary import CustomField, FieldType, dictionary
from openoutcry.protocol.fix.enums import SessionStatus
from openoutcry.protocol.fix.events import (
    Application,
    Disconnect,
    Event,
    GapDetected,
    GapFilled,
    LoggedOn,
    LoggedOut,
    MessageRejected,
    NumbersReset,
    RejectReceived,
    ResendStarted,
)
from openoutcry.protocol.fix.message import encode_message, parse
from openoutcry.protocol.fix.session import LocalProtocolError, Role, SessionConfig
from openoutcry.protocol.fix.versions import Version

WAIT_S = 5.0
NEWS = {148: "hello", 33: "1", 58: "text"}


@pytest.fixture
async def venue() -> AsyncIterator[FixAcceptor]:
    async with FixAcceptor(served_types=frozenset("DFGHB")) as acceptor:
        yield acceptor


def make(venue: FixAcceptor, name: str = "DEMO", **settings: Any) -> FixClient:
    settings.setdefault("backoff_s", (0.01, 0.05))
    return FixClient("127.0.0.1", venue.port, name, **settings)


async def until(is_true: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not is_true():
            await asyncio.sleep(0.01)


async def test_any_message_both_ways(venue: FixAcceptor) -> None:
    async with make(venue) as client:
        events = client.events()
        number = await client.send("B", [(148, "hi"), (33, 1), (58, b"text"), (6215, "own")])
        await until(lambda: len(venue.applied) == 1)
        venue.send("DEMO", "B", NEWS)
        async with asyncio.timeout(WAIT_S):
            event = await anext(events)
    assert number == 2
    assert venue.applied[0].get(6215) == b"own"
    assert isinstance(event, Application)
    assert event.message.get(148) == b"hello"
    assert event.version is Version.FIX44


async def test_the_life_of_a_session_as_events(venue: FixAcceptor) -> None:
    client = make(venue)
    events = client.events()
    await client.connect()
    session = venue.session("DEMO")
    # A message that got lost, and one that shows it.
    session.send_application("B", [(t, v.encode()) for t, v in NEWS.items()], now_ms())
    session.data_to_send()
    venue.send("DEMO", "B", NEWS)
    await until(lambda: client.numbers[0] == 4)
    await client.send("B", [(148, "no lines")])
    await until(lambda: client.numbers[0] == 5)
    venue.cut()
    await until(lambda: client.logons == 2)
    await client.logout()
    kinds = [type(event) async for event in events]
    assert kinds == [
        NumbersReset,
        LoggedOn,
        GapDetected,
        Application,
        GapFilled,
        Application,
        RejectReceived,
        Disconnect,
        LoggedOn,
        LoggedOut,
        Disconnect,
    ]
    assert [event async for event in client.events()] == []


async def test_what_the_client_refuses_and_resends_are_events(venue: FixAcceptor) -> None:
    async with make(venue) as client:
        events = client.events()
        order = await client.new_order("BTCUSDT", Side.BUY, 1, 5)
        await client.wait_for(order, timeout_s=WAIT_S)
        venue.send("DEMO", "8", {37: "no more"})
        session = venue.session("DEMO")
        session._core.send("2", [(7, b"2"), (16, b"0")], now_ms())
        venue.flush("DEMO")
        seen: list[Event] = []
        async with asyncio.timeout(WAIT_S):
            while not seen or not isinstance(seen[-1], ResendStarted):
                seen.append(await anext(events))
        assert [type(e) for e in seen] == [Application, MessageRejected, ResendStarted]


async def test_two_listeners_and_one_that_stops(venue: FixAcceptor) -> None:
    client = make(venue)
    first, second, third = client.events(), client.events(), client.events()
    third.close()
    third.close()
    await client.connect()
    await client.close()
    kinds = [type(event) async for event in first]
    assert kinds == [NumbersReset, LoggedOn]
    assert [type(event) async for event in second] == kinds
    # The end stays the end.
    assert [event async for event in first] == []


async def test_a_link_needs_no_orders(venue: FixAcceptor) -> None:
    config = SessionConfig(
        role=Role.INITIATOR,
        sender_comp_id="LINK",
        target_comp_id="OPENOUTCRY",
        served_types=frozenset("B"),
    )
    async with FixLink("127.0.0.1", venue.port, config) as link:
        assert link.is_logged_on
        events = link.events()
        venue.send("LINK", "B", NEWS)
        async with asyncio.timeout(WAIT_S):
            assert isinstance(await anext(events), Application)


async def test_sub_ids_and_further_fields(venue: FixAcceptor) -> None:
    client = make(
        venue,
        sender_sub_id="trader",
        target_sub_id="desk",
        header=[(142, b"London")],
        logon_fields=[(95, b"4"), (96, b"a\x01b|")],
    )
    async with client:
        await client.new_order("BTCUSDT", Side.BUY, 1, 5)
        await until(lambda: len(venue.applied) == 1)
    order = venue.applied[0]
    assert [order.get(tag) for tag in (50, 57, 142)] == [b"trader", b"desk", b"London"]
    logon = client._session.config.logon_fields
    assert logon == ((95, b"4"), (96, b"a\x01b|"))


async def test_fields_of_ones_own() -> None:
    facts = dictionary(Version.FIX42).with_fields(
        [CustomField(999, "Desk", FieldType.STRING, frozenset("B"))]
    )
    settings: dict[str, Any] = {"version": Version.FIX42, "served_types": frozenset("B")}
    async with (
        FixAcceptor(**settings, dictionary=facts) as venue,
        make(venue, version=Version.FIX42, facts=facts) as client,
    ):
        await client.send("B", [(148, "hi"), (33, 1), (58, "text"), (999, "north")])
        await until(lambda: len(venue.applied) == 1)


async def test_a_new_password_is_used_from_then_on() -> None:
    version = Version.FIX50SP2
    async with FixAcceptor(version=version) as venue:
        session = venue.session("DEMO")
        password = ["old"]

        def change(new: bytes) -> bool:
            password[0] = new.decode()
            return True

        session.config = replace(
            session.config,
            authenticate=lambda _, given: given == password[0].encode(),
            change_password=change,
        )
        client = make(venue, version=version, password="old", new_password="new")
        events = client.events()
        async with client:
            venue.cut()
            await until(lambda: client.logons == 2)
        logons = [event async for event in events if isinstance(event, LoggedOn)]
    assert password == ["new"]
    assert [event.status for event in logons] == [SessionStatus.PASSWORD_CHANGED, None]


async def test_a_new_password_that_does_not_comply_leaves_the_old_one() -> None:
    version = Version.FIX50SP1
    async with (
        FixAcceptor(version=version, password="old") as venue,
        make(venue, version=version, password="old", new_password="x") as client,
    ):
        venue.cut()
        await until(lambda: client.logons == 2)


async def test_the_client_comes_back_when_the_venue_opens() -> None:
    version = Version.FIX50SP2
    async with FixAcceptor(version=version) as venue, make(venue, version=version) as client:
        session = venue.session("DEMO")
        session.end_session("closed until Monday", now_ms())
        venue.flush("DEMO")
        await until(lambda: client.logout_status == SessionStatus.LOGONS_NOT_ALLOWED)
        session.accept_logons()
        await until(lambda: client.logons == 2)
        assert client.is_logged_on


async def test_the_client_gives_up_where_it_is_not_wanted() -> None:
    async with FixAcceptor(version=Version.FIX44) as venue:
        client = make(venue)
        await client.connect()
        session = venue.session("DEMO")
        session.end_session("closed for good", now_ms())
        venue.flush("DEMO")
        with pytest.raises(SessionEnded, match="closed for good"):
            await client.wait_for("x", timeout_s=WAIT_S)
        await client.close()


async def test_a_refused_client_gets_in_later_with_the_numbers_it_has(tmp_path: Path) -> None:
    async with FixAcceptor(password="secret") as venue:
        store = FileStore(tmp_path)
        async with make(venue, store=store, password="secret") as client:
            await client.new_order("BTCUSDT", Side.BUY, 1, 5)
        for _ in range(3):
            with pytest.raises(LogonRefused, match="not authorized"):
                await make(venue, store=store, password="guess").connect()
        async with make(venue, store=store, password="secret") as client:
            order = await client.new_order("BTCUSDT", Side.BUY, 1, 5)
            await client.wait_for(order, timeout_s=WAIT_S)
        store.close()


async def test_numbers_are_reset_on_the_live_session(venue: FixAcceptor) -> None:
    client = make(venue)
    with pytest.raises(SessionEnded, match="not connected"):
        await client.reset_numbers()
    async with client:
        await client.new_order("BTCUSDT", Side.BUY, 1, 5)
        await client.reset_numbers()
        await until(lambda: client.numbers == (2, 2))
        order = await client.new_order("BTCUSDT", Side.BUY, 1, 5)
        await client.wait_for(order, timeout_s=WAIT_S)
        await venue.stop()
        await until(lambda: not client.is_logged_on)
        with pytest.raises(LocalProtocolError, match="reset of numbers while disconnected"):
            await client.reset_numbers()
        await venue.listen()


async def test_after_a_reset_a_reject_names_no_order_from_before(venue: FixAcceptor) -> None:
    async with make(venue) as client:
        for _ in range(3):
            order = await client.new_order("BTCUSDT", Side.BUY, 1, 5)
            await client.wait_for(order, timeout_s=WAIT_S)
        await client.reset_numbers()
        order = await client.new_order("BTCUSDT", Side.BUY, 1, 5)
        await client.wait_for(order, timeout_s=WAIT_S)
        session = venue.session("DEMO")
        session.reject(parse(encode_message("FIX.4.4", [(35, "D"), (34, 2)])), 5, now_ms())
        session.reject(parse(encode_message("FIX.4.4", [(35, "0"), (34, 3)])), 5, now_ms())
        venue.flush("DEMO")
        await client.wait_until(
            lambda r: isinstance(r, Reject) and r.ref_seq_num == 3, timeout_s=WAIT_S
        )
        rejects = [r for r in client._history if isinstance(r, Reject)]
    assert [r.cl_ord_id for r in rejects] == [order, ""]


async def test_a_reset_with_each_logon(venue: FixAcceptor) -> None:
    async with make(venue, reset_each_logon=True) as client:
        await client.send("B", [(148, "hi"), (33, 1), (58, "text")])
        await until(lambda: client.numbers[1] == 3)
        venue.cut()
        await until(lambda: client.logons == 2)
        assert client.numbers == (2, 2)


async def test_next_expected_number(venue: FixAcceptor) -> None:
    async with make(venue, next_expected=True) as client:
        await until(lambda: client.is_logged_on)
        venue.cut()
        await until(lambda: not venue.connections)
        venue.send("DEMO", "B", NEWS)
        await until(lambda: client.numbers[0] == 4)
        assert client.numbers[1] == 3


@pytest.mark.parametrize(
    ("value", "text"),
    [("x", b"x"), (7, b"7"), (b"a\x01b", b"a\x01b"), (Decimal("1E+2"), b"100")],
)
def test_values_as_bytes(value: Any, text: bytes) -> None:
    assert to_bytes(value) == text


def test_values_that_cannot_be_sent() -> None:
    with pytest.raises(TypeError, match="is a float"):
        to_bytes(0.1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no decimal number"):
        to_bytes(Decimal("NaN"))
    with pytest.raises(ValueError, match="SOH may stand in data only"):
        to_bytes("a\x01b")

"""What FIX clients say and hear of orders in a running venue, in three versions and more.

Every message that a client gets is held against its version's dictionary, as raw bytes.
"""

import itertools
from collections.abc import Callable, Iterator

import pytest
from support.peers import FixPeer, FixReport, utc
from support.strict_peer import StrictPeer
from support.venue import SYMBOLS, Venue

from openoutcry.protocol.fix.versions import Version

V42, V43, V44, SP2 = Version.FIX42, Version.FIX43, Version.FIX44, Version.FIX50SP2
THREE = pytest.mark.parametrize("version", [V42, V44, SP2], ids=lambda version: version.label)
EVERY = pytest.mark.parametrize("version", Version, ids=lambda version: version.label)
FROM_44 = pytest.mark.parametrize("version", [V44, SP2], ids=lambda version: version.label)
CONFIG = {
    "shards": [{"core": None}, {"core": None}],
    "firms": [{"name": "alpha", "accounts": ["OTHER"]}],
}
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def venue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Venue]:
    """A venue with two shards."""
    with Venue(tmp_path_factory.mktemp("fix"), config=CONFIG, symbols=SYMBOLS) as made:
        yield made
        assert "Traceback" not in made.log()


Make = Callable[..., StrictPeer]


@pytest.fixture
def client(venue: Venue) -> Iterator[Make]:
    """Make clients, logged on, each with a session of its own."""
    made: list[StrictPeer] = []

    def make(version: Version, name: str = "") -> StrictPeer:
        made.append(StrictPeer(venue, name or f"APP{next(_numbers)}", version))
        return made[-1].start()

    yield make
    for each in made:
        each.close()


@pytest.fixture
def symbols(venue: Venue) -> list[str]:
    """Two symbols that nobody else uses, one in each shard: tick 0.05, lot 10."""
    return [venue.take_symbol(), venue.take_symbol()]


def event(version: Version, exec_type: str, status: str) -> dict[int, str | None]:
    """Return 20, 150 and 39 of a report in a version."""
    if version <= V42 and exec_type in {"F", "I"}:
        exec_type = status
    return {20: "0" if version <= V42 else None, 150: exec_type, 39: status}


def is_event(report: FixReport, version: Version, exec_type: str, status: str) -> bool:
    expected = event(version, exec_type, status)
    return {tag: report.get(tag) for tag in expected} == expected


# --- orders ---------------------------------------------------------------------------------------


@THREE
def test_the_life_of_an_order_through_several_replaces(
    client: Make, symbols: list[str], version: Version
):
    maker, taker = client(version), client(V44)
    symbol = symbols[0]
    maker.place("r0", symbol, "2", 100, "10.00", tif="0")
    new = maker.receive()
    assert is_event(new, version, "0", "0")
    assert new.pick(11, 41, 38, 14, 151, 6, 32) == ["r0", None, "100", "0", "100", "0", None]
    taker.place("t0", symbol, "1", 30, "10.00")
    fill = maker.receive()
    assert is_event(fill, version, "F", "1")
    assert fill.pick(11, 41, 32, 31, 14, 151, 6) == [
        *("r0", None, "30", "10.00", "30", "70", "10.00000000"),
    ]
    assert fill.get(851) == (None if version < V44 else "1")
    for step, (qty, price) in enumerate(((90, "10.05"), (120, "10.10"), (60, "10.15")), 1):
        maker.change(f"r{step}", f"r{step - 1}", symbol, "2", qty, price)
        replaced = maker.receive()
        assert is_event(replaced, version, "5", "1")
        assert replaced.pick(11, 41, 37, 38, 44, 14, 151) == [
            *(f"r{step}", f"r{step - 1}", new[37], str(qty), price, "30", str(qty - 30)),
        ]
    maker.withdraw("c1", "r1", symbol, "2")
    refused = maker.receive()
    assert refused.kind == "9"
    assert refused.pick(11, 41, 434, 37) == ["c1", "r1", "1", new[37]]
    taker.place("t1", symbol, "1", 10, "10.15")
    fill = maker.receive()
    assert fill.pick(11, 41, 14, 151, 6) == ["r3", None, "40", "20", "10.03750000"]
    maker.withdraw("c2", "r3", symbol, "2")
    canceled = maker.receive()
    assert is_event(canceled, version, "4", "4")
    assert canceled.pick(11, 41, 37, 14, 151) == ["c2", "r3", new[37], "40", "0"]
    assert [report[17] for report in (new, fill, canceled)] == sorted(
        {new[17], fill[17], canceled[17]}, key=lambda text: int(text.rpartition("-")[2])
    )


@EVERY
def test_every_version_trades(client: Make, symbols: list[str], version: Version):
    maker, taker = client(version), client(version)
    maker.place("m", symbols[1], "2", 20, "10.00")
    taker.place("t", symbols[1], "1", 10, "10.00")
    new, fill = maker.reports(2)
    bought = taker.reports(2)[1]
    assert fill.pick(11, 32, 31, 14, 39) == ["m", "10", "10.00", "10", "1"]
    assert bought.pick(11, 32, 31, 14, 39) == ["t", "10", "10.00", "10", "2"]
    assert new.get(150) == (None if version is Version.FIX40 else "0")
    maker.withdraw("c", "m", symbols[1], "2")
    assert maker.receive().pick(39, 14) == ["4", "10"]
    maker.withdraw("c2", "m", symbols[1], "2")
    assert maker.receive().kind == "9"


PARTIES = {
    V42: ("109=FUND|76=BRK|", [(109, "FUND"), (76, "BRK")]),
    V44: ("453=2|448=FUND|447=D|452=3|448=T1|447=D|452=12|", [(453, "2"), (448, "FUND")]),
    SP2: ("453=1|448=FUND|447=D|452=3|802=1|523=X|803=4|", [(453, "1"), (803, "4")]),
}


@THREE
def test_parties_and_routes_are_on_every_report(
    venue: Venue, client: Make, symbols: list[str], version: Version
):
    maker, taker = client(version), client(V44)
    body, parties = PARTIES[version]
    header = "115=DESK|116=joe|144=NYC|"
    maker.place("m", symbols[0], "2", 40, "10.00", header=header, body=f"1=OTHER|{body}")
    maker.place("plain", symbols[0], "2", 40, "10.05")

    def echoes(report: FixReport) -> bool:
        fields = {(tag, value.decode()) for tag, value in report.message.fields}
        route = report.pick(128, 129, 145) == ["DESK", "joe", "NYC"]
        assert route == (set(parties) <= fields)
        return route

    new, plain = maker.reports(2)
    assert echoes(new)
    assert new[1] == "OTHER"
    assert not echoes(plain)
    taker.place("t", symbols[0], "1", 10, "10.00")
    assert echoes(maker.receive())
    maker.change("m2", "m", symbols[0], "2", 30, "10.00")
    assert echoes(maker.receive())
    # The same after a while away, from what is kept.
    maker.close()
    taker.place("t2", symbols[0], "1", 10, "10.00")
    taker.reports(4)
    with maker.again(venue) as back:
        (missed,) = back.resent(1)
        assert missed.pick(11, 14) == ["m2", "20"]
        assert echoes(missed)
        back.send("2", "7=1|16=0|")
        assert [echoes(each) for each in back.resent(5)] == [True, False, True, True, True]


@THREE
def test_a_declined_order_is_answered_by_its_route(
    client: Make, symbols: list[str], version: Version
):
    trader = client(version)
    trader.place("d1", "NOPE", "1", 10, "1.00", header="115=DESK|")
    declined = trader.receive()
    assert is_event(declined, version, "8", "8")
    assert declined.pick(128, 11, 55, 103, 151, 14, 6, 37) == [
        *("DESK", "d1", "NOPE", "1", "0", "0", "0", "NONE"),
    ]
    trader.place("d2", symbols[0], "1", 15, "1.00", header="115=DESK|")
    assert trader.receive()[58] == "OrderQty(38) 15 is not a multiple of the lot 10"
    trader.place("d3", symbols[0], "1", 10, "1.00", header="128=OTHERS|115=DESK|")
    refused = trader.receive()
    assert refused.pick(35, 372, 379, 128) == ["j", "D", "d3", "DESK"]
    assert refused[380] == ("0" if version is V42 else "7")
    assert trader.is_alive()


@THREE
def test_a_possible_resend_is_executed_once(client: Make, symbols: list[str], version: Version):
    trader = client(version)
    for _ in range(2):
        trader.place("p1", symbols[0], "1", 10, "1.00", header="97=Y|")
    new, state = trader.reports(2)
    assert is_event(new, version, "0", "0")
    assert state.pick(11, 37, 39) == ["p1", new[37], "0"]
    assert state[150] == ("0" if version is V42 else "I")
    assert state.get(20) == ("3" if version is V42 else None)
    trader.place("p1", symbols[0], "1", 10, "1.00")
    assert trader.receive().pick(39, 103) == ["8", "6"]
    trader.withdraw("c", "p1", symbols[0], "1")
    assert trader.receive()[39] == "4"


def test_a_message_may_be_of_another_version(client: Make, symbols: list[str]):
    trader = client(SP2)
    body = "453=1|448=FUND|447=D|452=3|"
    trader.place("v1", symbols[0], "1", 10, "1.00", header="1128=7|", body=body)
    new = trader.receive()
    assert new.pick(11, 39, 448) == ["v1", "0", "FUND"]
    # Not in FIX 5.0, and unknown versions.
    trader.place("v2", symbols[0], "1", 10, "1.00", header="1128=7|", body=f"{body}2376=22|")
    assert trader.receive().pick(35, 371, 373) == ["3", "2376", "3"]
    trader.place("v3", symbols[0], "1", 10, "1.00", header="1128=6|")
    assert trader.receive().pick(35, 371, 373) == ["3", "1128", "18"]
    trader.withdraw("c", "v1", symbols[0], "1")
    assert trader.receive()[39] == "4"


# --- many orders ----------------------------------------------------------------------------------


def rest(trader: StrictPeer, symbols: list[str], each: int = 2) -> list[FixReport]:
    """Rest orders on both sides of each symbol."""
    for symbol in symbols:
        for number in range(each):
            trader.place(f"{symbol}-B{number}", symbol, "1", 10, "1.00")
            trader.place(f"{symbol}-S{number}", symbol, "2", 10, "2.00")
    return trader.reports(2 * each * len(symbols))


@pytest.mark.parametrize("version", [V43, V44, SP2], ids=lambda version: version.label)
def test_a_mass_cancel_ends_with_its_report(client: Make, symbols: list[str], version: Version):
    trader, other = client(version), client(version)
    rest(trader, symbols)
    rest(other, symbols)
    trader.send("q", f"11=M-1|530=1|55={symbols[0]}|54=1|60={utc()}|")
    *canceled, report = trader.reports(3)
    assert [each.pick(11, 39, 41, 378) for each in canceled] == [
        [f"{symbols[0]}-B{number}", "4", None, None] for number in (0, 1)
    ]
    assert report.pick(35, 11, 530, 531, 533, 55, 54) == [
        *("r", "M-1", "1", "1", "2", symbols[0], "1"),
    ]
    trader.send("q", f"11=M-2|530=7|60={utc()}|")
    *canceled, report = trader.reports(7)
    assert {each[39] for each in canceled} == {"4"}
    assert report.pick(35, 11, 531, 533) == ["r", "M-2", "7", "6"]
    trader.send("q", f"11=M-3|530=7|60={utc()}|")
    assert trader.receive().pick(35, 531, 533) == ["r", "7", "0"]
    trader.send("q", f"11=M-4|530=6|336=1|60={utc()}|")
    assert trader.receive().pick(35, 531, 532, 533) == ["r", "0", "6", "0"]
    # Nobody else's orders were touched.
    other.send("q", f"11=M-5|530=7|60={utc()}|")
    assert other.reports(9)[-1].pick(35, 533) == ["r", "8"]


def test_before_43_there_is_no_mass_cancel(client: Make):
    trader = client(V42)
    trader.send("q", f"11=M-1|530=7|60={utc()}|")
    assert trader.receive().pick(35, 372, 373) == ["3", "q", "11"]


@pytest.mark.parametrize("version", [V43, V44, SP2], ids=lambda version: version.label)
def test_a_mass_status_tells_every_open_order(
    venue: Venue, client: Make, symbols: list[str], version: Version
):
    trader, other = client(version), client(V44)
    rest(trader, symbols)
    other.place("o", symbols[0], "2", 10, "1.00")
    assert trader.receive().pick(11, 39) == [f"{symbols[0]}-B0", "2"]
    trader.send("AF", "584=S-1|585=7|")
    reports = trader.reports(7)
    assert {each[150] for each in reports} == {"I"}
    assert {each[11] for each in reports} == {
        f"{symbol}-{side}{number}" for symbol in symbols for side in "BS" for number in (0, 1)
    } - {f"{symbols[0]}-B0"}
    if version >= V44:
        assert {each[584] for each in reports} == {"S-1"}
        assert {each[911] for each in reports} == {"7"}
        assert [each[912] for each in reports] == ["N"] * 6 + ["Y"]
    trader.send("AF", f"584=S-2|585=1|55={symbols[1]}|54=2|")
    assert {each[11] for each in trader.reports(2)} == {f"{symbols[1]}-S{n}" for n in (0, 1)}
    # What was told is kept, and comes again as it was.
    first = trader.next_in - 9
    numbers = {int(each[34]): each for each in reports}
    trader.send("2", f"7={first}|16={first + 6}|")
    for again in trader.resent(7):
        before = numbers[int(again[34])]
        assert again.pick(11, 17, 39, 60, 584, 911, 912) == before.pick(
            *(11, 17, 39, 60, 584, 911, 912)
        )
    trader.send("q", f"11=END|530=7|60={utc()}|")
    assert trader.reports(8)[-1][533] == "7"
    trader.send("AF", "584=S-3|585=7|")
    nothing = trader.receive()
    assert nothing.pick(37, 150, 39, 103, 58) == ["NONE", "I", "8", "5", "no open order"]
    assert venue.log().count("Traceback") == 0


def test_a_big_answer_does_not_hold_up_others(client: Make, symbols: list[str]):
    trader, other = client(V44), client(V44)
    count = 1500
    for first in range(0, count, 100):
        frames = [
            trader.frame("D", FixPeer.order(f"B-{n}", symbols[0], "1", 10, "1.00"))
            for n in range(first, first + 100)
        ]
        trader.raw(b"".join(frames))
        trader.reports(100)
    trader.send("AF", f"584=BIG|585=1|55={symbols[0]}|")
    for number in range(50):
        other.place(f"o{number}", symbols[1], "1", 10, "1.00")
        assert other.receive(2.0)[39] == "0"
    reports = trader.reports(count)
    assert [each[11] for each in reports] == [f"B-{n}" for n in range(count)]
    assert [each[912] for each in reports[-2:]] == ["N", "Y"]
    trader.send("q", f"11=END|530=7|60={utc()}|")
    assert trader.reports(count + 1)[-1].pick(35, 533) == ["r", str(count)]


@FROM_44
def test_a_status_by_other_identifiers(client: Make, symbols: list[str], version: Version):
    trader = client(version)
    trader.place("s1", symbols[1], "1", 10, "1.00")
    new = trader.receive()
    trader.send("H", f"11=s1|790=Q-1|55={symbols[1]}|54=1|")
    told = trader.receive()
    assert told.pick(11, 37, 150, 39, 790) == ["s1", new[37], "I", "0", "Q-1"]
    trader.send("H", f"11=none|790=Q-2|55={symbols[1]}|54=1|")
    assert trader.receive().pick(11, 37, 39, 790) == ["none", "NONE", "8", "Q-2"]
    trader.send("H", f"11=s1|55={symbols[1]}|54=1|")
    assert trader.receive().pick(11, 39, 790) == ["s1", "0", None]
    trader.send("H", f"37={new[37]}|55={symbols[1]}|54=1|")
    told = trader.receive()
    if version is SP2:
        assert told.pick(11, 37, 150, 39) == ["s1", new[37], "I", "0"]
    else:
        assert told.pick(35, 371, 373) == ["3", "11", "1"]
    trader.withdraw("c", "s1", symbols[1], "1")
    trader.receive()
    # A finished order has a state, too.
    trader.send("H", f"11=s1|790=Q-3|55={symbols[1]}|54=1|")
    assert trader.receive().pick(11, 39, 790) == ["s1", "4", "Q-3"]


# --- reference data -------------------------------------------------------------------------------


@FROM_44
def test_symbols_are_listed_and_defined(client: Make, version: Version):
    trader = client(version)
    trader.send("x", "320=L-1|559=4|")
    names: list[str] = []
    while True:
        part = trader.receive()
        assert part.pick(35, 320, 560, 393) == ["y", "L-1", "0", str(len(SYMBOLS))]
        names += [value.decode() for tag, value in part.message.fields if tag == 55]
        if part[893] == "Y":
            break
    assert names == [str(each["name"]) for each in SYMBOLS]
    trader.send("c", "320=D-1|321=0|55=BTCUSDT|")
    definition = trader.receive()
    assert definition.pick(35, 320, 323, 55, 561) == ["d", "D-1", "1", "BTCUSDT", "0.00001"]
    assert definition.get(969) == ("0.01" if version is SP2 else None)


@THREE
def test_market_data_is_not_served_yet(client: Make, version: Version):
    trader = client(version)
    trader.send("V", "262=MD|263=1|264=1|267=1|269=0|146=1|55=AAPL|")
    assert trader.receive().pick(35, 372, 380) == ["j", "V", "3"]
    assert trader.is_alive()


def test_a_client_that_goes_while_it_is_answered_misses_nothing(
    venue: Venue, client: Make, symbols: list[str]
):
    trader = client(V44)
    count = 400
    frames = [
        trader.frame("D", FixPeer.order(f"B-{n}", symbols[0], "1", 10, "1.00"))
        for n in range(count)
    ]
    trader.raw(b"".join(frames))
    trader.reports(count)
    trader.send("AF", f"584=BIG|585=1|55={symbols[0]}|")
    trader.receive()
    trader.close()
    with trader.again(venue) as back:
        found: dict[int, FixReport] = {}
        while len(found) < count - 1:
            report = back.receive(is_numbered=False)
            if report.kind == "8":
                # Told anew, or the rest of an answer that was still on its way.
                found.setdefault(int(report[34]), report)
        reports = [found[number] for number in sorted(found)]
        assert [each[11] for each in reports] == [f"B-{n}" for n in range(1, count)]
        assert [each[912] for each in reports[-2:]] == ["N", "Y"]

"""The directory of stable numbers: what it keeps, what crashes leave, two processes at once."""

import json
import multiprocessing
import os
import zlib
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openoutcry.engine.api import Engine, new_orders
from openoutcry.server import directory as module
from openoutcry.server.config import Capacity, Config, Firm, Gateway, Shard, Symbol
from openoutcry.server.directory import (
    FILE_NAME,
    Directory,
    DirectoryError,
    VariantRecord,
    home_of,
    read_directory,
)
from openoutcry.server.registry import SessionRegistry
from openoutcry.server.resolve import (
    ResolveError,
    refusals,
    register,
    resolve,
    resting_refusals,
)
from openoutcry.server.session_settings import Session
from openoutcry.server.sessions import PROTOCOL_BINARY, PROTOCOL_FIX, SESSION_ROW
from openoutcry.server.tables import NOT_LISTED, AccountTable, SymbolTable, find_account

import numpy as np  # isort: skip

SYMBOLS = (Symbol(name="A", tick="0.01"), Symbol(name="B"), Symbol(name="C", lot="10"))


def config(**changes: Any) -> Config:
    """Return a configuration of two shards and two gateways."""
    given_: dict[str, Any] = {
        "symbols": SYMBOLS,
        "shards": (Shard(), Shard()),
        "gateway": Gateway(count=2),
        "firms": (
            Firm(name="F", accounts=("X", "Y"), sessions=(Session(id="s1"), Session(id="s2"))),
            Firm(name="G", accounts=("Z",), sessions=(Session(id="s1", protocol="binary"),)),
        ),
        "capacity": Capacity(symbols=8, sessions=16, accounts=32),
    }
    return Config(**{**given_, **changes})


def opened(folder: Path, wanted: Config) -> Directory:
    """Return a directory with everything that is configured."""
    made = Directory(folder)
    register(wanted, made)
    return made


def resolved_and_registered(wanted: Config, made: Directory) -> Config:
    """Return the configuration to run with, after what it said before it was registered came
    true."""
    size = made.path.stat().st_size
    content = read_directory(made.path.parent)
    found = resolve(wanted, content)
    assert made.path.stat().st_size == size
    register(found, made)
    assert numbers(made.content) == numbers(content)
    return found


def numbers(content: module.DirectoryContent) -> dict[str, Any]:
    """Return all numbers by what they are of."""
    return {
        "firms": {name: each.number for name, each in content.firms.items()},
        "accounts": dict(enumerate(content.accounts)),
        "sessions": {each.key: (each.number, each.home) for each in content.sessions},
        "symbols": {each.key: (each.number, each.shard) for each in content.symbols},
    }


# --- numbers --------------------------------------------------------------------------------------


def test_everything_configured_gets_its_number_once(tmp_path: Path):
    first = opened(tmp_path, config())
    assert numbers(first.content)["firms"] == {"F": 1, "G": 2}
    assert first.content.account_numbers == {"X": 1, "Y": 2, "Z": 3}
    assert [each.key for each in first.content.sessions] == [
        ("fix", "FIX.4.4", "s1"),
        ("fix", "FIX.4.4", "s2"),
        ("binary", "", "s1"),
    ]
    assert [(each.name, each.shard) for each in first.content.symbols] == [
        ("A", 0),
        ("B", 1),
        ("C", 0),
    ]
    size = first.path.stat().st_size
    register(config(), first)
    again = opened(tmp_path, config())
    assert again.path.stat().st_size == size
    assert numbers(again.content) == numbers(first.content)
    assert numbers(read_directory(tmp_path)) == numbers(first.content)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_no_order_and_no_addition_changes_a_number(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
):
    folder = tmp_path_factory.mktemp("any")
    known: dict[str, dict[Any, Any]] = {}
    names = [f"N{n}" for n in range(6)]
    subset = st.lists(st.sampled_from(names), unique=True, min_size=1)
    for _ in range(3):
        symbols = data.draw(st.permutations(data.draw(subset)))
        firms, accounts, sessions = data.draw(subset), data.draw(subset), data.draw(subset)
        wanted = config(
            symbols=tuple(Symbol(name=name) for name in symbols),
            firms=tuple(
                Firm(
                    name=firm,
                    accounts=tuple(f"{firm}-{name}" for name in accounts),
                    sessions=tuple(Session(id=f"{firm}-{name}") for name in sessions),
                )
                for firm in firms
            ),
            capacity=Capacity(symbols=8, sessions=64, accounts=64),
        )
        made = Directory(folder)
        resolved = resolved_and_registered(wanted, made)
        found = numbers(made.content)
        for kind, before in known.items():
            assert before.items() <= found[kind].items()
        known = found
        assert {each.name for each in resolved.symbols if each.listed} == set(symbols)
        for number, symbol in enumerate(resolved.symbols):
            assert made.content.symbols[number].name == symbol.name
            assert resolved.shard_of(number) == made.content.symbols[number].shard
        assert resolved_and_registered(resolved, made) == resolved
        made.close()


def test_homes_are_those_of_the_day_of_registration(tmp_path: Path):
    made = opened(tmp_path, config(gateway=Gateway(count=1)))
    assert {each.home for each in made.content.sessions} == {0}
    more = config(
        gateway=Gateway(count=4),
        firms=(
            Firm(name="F", sessions=tuple(Session(id=f"s{n}") for n in range(14))),
            Firm(name="G"),
        ),
    )
    register(more, made)
    homes = {each.name: each.home for each in made.content.sessions if each.protocol == "fix"}
    assert (homes["s1"], homes["s2"]) == (0, 0)
    new = {name: home for name, home in homes.items() if name not in {"s1", "s2"}}
    assert new == {name: home_of("fix", "FIX.4.4", name, 4) for name in new}
    assert len(set(new.values())) > 1
    made.close()


# --- the file -------------------------------------------------------------------------------------


def test_each_line_is_a_checksum_and_json(tmp_path: Path):
    made = opened(tmp_path, config())
    made.add_account("new", 32)
    lines = made.path.read_bytes().splitlines()
    assert len(lines) == 2
    for line in lines:
        assert int(line[:8], 16) == zlib.crc32(line[9:])
    assert json.loads(lines[1][9:]) == [{"kind": "account", "number": 4, "name": "new"}]
    made.close()


@pytest.mark.parametrize("tail", [b"1234", b"deadbeef [{", b"12345678 [" + bytes(4096) + b"x]\n"])
def test_an_unfinished_last_line_is_passed_over_and_cut(tmp_path: Path, tail: bytes):
    made = opened(tmp_path, config())
    made.add_account("new", 32)
    whole = made.path.read_bytes()
    made.path.write_bytes(whole + tail)
    assert read_directory(tmp_path).torn == len(tail)
    again = Directory(tmp_path)
    assert again.content.account_numbers["new"] == 4
    assert again.path.read_bytes() == whole + tail
    assert again.add_account("next", 32) == 5
    assert again.path.read_bytes().startswith(whole)
    assert read_directory(tmp_path).torn == 0
    # Who had it open while it was cut goes on.
    assert made.add_account("next", 32) == 5
    assert made.add_account("last", 32) == 6


def test_a_crash_at_any_byte_of_an_append_keeps_what_was_before(tmp_path: Path):
    made = opened(tmp_path, config())
    before = made.path.read_bytes()
    made.add_account("new", 32)
    after = made.path.read_bytes()
    made.close()
    for end in range(len(before), len(after)):
        made.path.write_bytes(after[:end])
        again = Directory(tmp_path)
        assert "new" not in again.content.account_numbers
        assert again.add_account("other", 32) == 4
        again.close()


def test_every_flipped_bit_before_the_end_is_found(tmp_path: Path):
    made = opened(tmp_path, config())
    made.add_account("new", 32)
    good = made.path.read_bytes()
    made.close()
    for place in range(0, len(good) - 1, 7):
        damaged = bytearray(good)
        damaged[place] ^= 1 << place % 8
        made.path.write_bytes(damaged)
        with pytest.raises(DirectoryError, match=rf"{FILE_NAME} is damaged at byte \d+"):
            Directory(tmp_path)


def test_records_that_contradict_one_another_are_refused(tmp_path: Path):
    made = opened(tmp_path, config())
    payload = b'[{"kind":"account","number":9,"name":"new"}]'
    line = b"%08x %s\n" % (zlib.crc32(payload), payload)
    start = made.path.stat().st_size
    with made.path.open("ab") as file:
        file.write(line)
    with pytest.raises(DirectoryError, match=rf"at byte {start}: an account's number is out of"):
        made.catch_up()
    made.close()


def test_under_power_nothing_counts_before_it_is_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    made = Directory(tmp_path, is_durable=True)
    register(config(), made)
    synced: list[int] = []
    monkeypatch.setattr(module, "sync_file", lambda fd, path: synced.append(os.fstat(fd).st_size))
    assert made.add_account("new", 32) == 4
    assert synced == [made.path.stat().st_size]
    # What another one wrote is synced by whoever builds upon it, too.
    Directory(tmp_path).add_account("other", 32)
    assert made.catch_up()
    assert synced[-1] == made.path.stat().st_size

    def fail(fd: int, path: Path) -> None:
        raise OSError(5, "the disk is gone")

    monkeypatch.setattr(module, "sync_file", fail)
    with pytest.raises(OSError, match="the disk is gone"):
        made.add_account("third", 32)
    assert "third" not in made.content.account_numbers
    monkeypatch.setattr(module, "sync_file", lambda fd, path: None)
    with pytest.raises(OSError, match="the disk is gone"):
        made.add_account("fourth", 32)
    made.close()


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    made = opened(tmp_path, config())
    whole = made.path.read_bytes()
    real = os.pwrite

    def half(fd: int, data: Any, offset: int) -> int:
        if len(data) < 10:
            raise OSError(28, "No space left on device")
        return real(fd, data[: len(data) // 2], offset)

    monkeypatch.setattr(os, "pwrite", half)
    with pytest.raises(OSError, match="No space"):
        made.add_account("new", 32)
    monkeypatch.undo()
    assert made.path.read_bytes() == whole
    assert made.add_account("new", 32) == 4


def test_a_lock_that_is_not_given_back_is_no_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    holder, other = opened(tmp_path, config()), Directory(tmp_path)
    monkeypatch.setattr(module, "_LOCK_S", 0.05)
    with holder._locked(), pytest.raises(TimeoutError, match="another process keeps it locked"):
        other.add_account("new", 32)
    assert other.add_account("new", 32) == 4


# --- several processes ----------------------------------------------------------------------------


def _add_many(folder: str, start: Barrier, seed: int, results: Any) -> None:
    made = Directory(Path(folder))
    table = AccountTable(512, is_open=True, directory=made)
    start.wait(20)
    found: dict[Any, Any] = {}
    for n in range(120):
        # Half of the names are wanted by both at once.
        name = b"both-%d" % n if n % 2 else b"own-%d-%d" % (seed, n)
        found[name] = table.find(name)
        route = b"128=D%d\x01" % (n % 5)
        found[name, route] = table.variant(found[name], route)
        session = made.add_session("fix", "FIX.4.4", f"S{n % 40}", n % 2, 512)
        found["session", session.name] = (session.number, session.home)
    results.put((seed, found))


def test_two_processes_agree_on_every_number(tmp_path: Path):
    opened(tmp_path, config(capacity=Capacity(symbols=8, sessions=512, accounts=512))).close()
    context = multiprocessing.get_context("fork")
    start, results = context.Barrier(2), context.Queue()
    workers = [
        context.Process(target=_add_many, args=(str(tmp_path), start, seed, results))
        for seed in range(2)
    ]
    for worker in workers:
        worker.start()
    found = dict(results.get(timeout=60) for _ in workers)
    for worker in workers:
        worker.join(20)
        assert worker.exitcode == 0
    common = found[0].keys() & found[1].keys()
    assert len(common) == 60 * 2 + 40
    assert {key: found[0][key] for key in common} == {key: found[1][key] for key in common}
    # Every number has one meaning.
    accounts = {
        key: number
        for each in found.values()
        for key, number in each.items()
        if key[0] != "session"
    }
    assert len(set(accounts.values())) == len(accounts)
    # And the same one after a restart.
    table = AccountTable(512, is_open=True, directory=Directory(tmp_path))
    for key, number in accounts.items():
        if isinstance(key, bytes):
            assert table.find(key) == number
        else:
            assert table.variant(table.find(key[0]), key[1]) == number


# --- what a gateway makes of it -------------------------------------------------------------------


def registry(directory: Directory, gateway: int, wanted: Config) -> SessionRegistry:
    return SessionRegistry(wanted, np.zeros(16, SESSION_ROW), directory, gateway=gateway)


def test_a_session_is_at_home_in_one_gateway(tmp_path: Path):
    wanted = config()
    opened(tmp_path, wanted).close()
    found = [registry(Directory(tmp_path), gateway, wanted) for gateway in range(2)]
    for name in ("s1", "s2", "NEW-1", "NEW-2", "NEW-3"):
        homes = {each.home(name, PROTOCOL_FIX, "FIX.4.4") for each in found}
        assert len(homes) == 1
        home = homes.pop()
        entry = found[home].find(name, PROTOCOL_FIX, "FIX.4.4")
        assert entry is not None
        assert entry.home == home
        other = found[1 - home]
        assert other.home(name, PROTOCOL_FIX, "FIX.4.4") == home
        assert other[entry.number] == entry
    assert list(found[0]) == list(found[1])
    # What cannot be a session is dealt with where it arrived.
    for gateway in range(2):
        for name, begin in (("", "FIX.4.4"), ("a b", "FIX.4.4"), ("x", "FIX.9"), ("x" * 33, "")):
            assert found[gateway].home(name, PROTOCOL_FIX, begin) == gateway
        assert found[gateway].home("é", PROTOCOL_BINARY) == gateway


def test_a_session_taken_out_of_the_configuration_lets_nobody_in(tmp_path: Path):
    made = opened(tmp_path, config())
    without = config(firms=(Firm(name="G"),))
    register(without, made)
    found = registry(made, 0, without)
    assert found.find("s1", PROTOCOL_FIX, "FIX.4.4") is None
    assert [entry.id for entry in found] == ["s1", "s2", "s1"]
    back = registry(made, 0, config())
    entry = back.find("s1", PROTOCOL_FIX, "FIX.4.4")
    assert entry is not None
    assert (entry.number, entry.firm) == (1, 1)


def test_a_newcomer_may_be_configured_later_and_keeps_its_number(tmp_path: Path):
    made = opened(tmp_path, config(firms=()))
    newcomer = registry(made, 0, config(firms=())).find("s2", PROTOCOL_FIX, "FIX.4.4")
    assert newcomer is not None
    register(config(), made)
    entry = registry(made, 0, config()).find("s2", PROTOCOL_FIX, "FIX.4.4")
    assert entry is not None
    assert (entry.number, entry.home, entry.firm) == (newcomer.number, newcomer.home, 1)
    closed = registry(made, 0, config(firms=(), dynamic_sessions=False))
    assert closed.find("s2", PROTOCOL_FIX, "FIX.4.4") is None


def test_accounts_of_others_come_with_take_in(tmp_path: Path):
    wanted = config()
    opened(tmp_path, wanted).close()
    directories = Directory(tmp_path), Directory(tmp_path)
    firms = {b"X": 1, b"Y": 1, b"Z": 2}
    first, second = (
        AccountTable(32, is_open=True, directory=each, firms=firms) for each in directories
    )
    assert [int(first.rows[n]["firm"]) for n in range(1, 4)] == [1, 1, 2]
    new = first.find(b"NEW")
    variant = first.variant(new, b"128=D\x01", b"448=\xe9\x01")
    assert directories[1].catch_up()
    second.take_in()
    assert (second.rows == first.rows).all()
    assert (second.texts == first.texts).all()
    words = [second.rows[new][f"name{i}"] for i in range(4)]
    assert find_account(second.rows, second.index, *words) == new
    assert second.variant(second.find(b"NEW"), b"128=D\x01", b"448=\xe9\x01") == variant
    # In a venue that is not open they are known, and not to be named.
    closed = AccountTable(32, is_open=False, directory=Directory(tmp_path), firms=firms)
    assert (closed.find(b"NEW"), closed.find(b"X")) == (-1, 1)
    assert closed.names[new] == b"NEW"


# --- a changed configuration ----------------------------------------------------------------------


def test_a_symbol_gone_or_changed_stays_under_its_number(tmp_path: Path):
    made = opened(tmp_path, config())
    changed = config(
        symbols=(Symbol(name="D"), Symbol(name="C", lot="1"), Symbol(name="A", tick="0.010"))
    )
    resolved = resolved_and_registered(changed, made)
    assert [(each.name, each.lot, each.listed, each.shard) for each in resolved.symbols] == [
        ("A", "1", True, 0),
        ("B", "1", False, 1),
        ("C", "10", False, 0),
        ("D", "1", True, 1),
        ("C", "1", True, 0),
    ]
    table = SymbolTable(resolved)
    assert table.numbers == {b"A": 0, b"D": 3, b"C": 4}
    assert table.rows["shard"].tolist() == [0, NOT_LISTED, NOT_LISTED, 1, 0]
    assert [each.name for each in table.listed] == ["A", "D", "C"]
    assert [table.is_listed(n) for n in range(-1, 6)] == [
        False,
        True,
        False,
        False,
        True,
        True,
        False,
    ]
    back = resolved_and_registered(config(), made)
    assert [each.listed for each in back.symbols] == [True, True, True, False, False]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"shards": (Shard(),)}, "there are 1 shards now and were 2"),
        ({"gateway": Gateway(count=1)}, "gateway.count is 1 now and was 2"),
        (
            {"symbols": (SYMBOLS[0], Symbol(name="B", shard=0))},
            "symbol B is on shard 1 and cannot move to 0: set symbols[1].shard to 1",
        ),
        ({"symbols": tuple(Symbol(name=f"N{n}") for n in range(6))}, "capacity.symbols of 9"),
        (
            {"capacity": Capacity(symbols=8, sessions=3, accounts=32)},
            "capacity.sessions of 4, and it is 3: set it to at least 4",
        ),
        (
            {"capacity": Capacity(symbols=8, sessions=16, accounts=3)},
            "capacity.accounts of 4, and it is 3",
        ),
    ],
)
def test_what_a_changed_configuration_may_not_do(
    tmp_path: Path, changes: dict[str, Any], sentence: str
):
    made = opened(tmp_path, config())
    size = made.path.stat().st_size
    changed = config(**changes)
    with pytest.raises(ResolveError) as caught:
        resolve(changed, made.content)
    assert len(caught.value.messages) == 1
    assert sentence in caught.value.messages[0]
    assert refusals(changed, read_directory(tmp_path)) == list(caught.value.messages)
    assert made.path.stat().st_size == size


@pytest.mark.parametrize(
    ("symbol", "sentence"),
    [
        (Symbol(name="D"), "symbol C is not listed any more, and 3 orders rest in its book"),
        (
            Symbol(name="C", lot="1"),
            "symbol C has tick 0.01 and lot 1 now, and 3 orders rest at tick 0.01 and lot 10",
        ),
    ],
)
def test_a_symbol_with_resting_orders_stays_as_it_is(tmp_path: Path, symbol: Symbol, sentence: str):
    made = opened(tmp_path, config())
    changed = resolve(config(symbols=(*SYMBOLS[:2], symbol)), made.content)
    engine = Engine(symbols=3)
    assert resting_refusals(changed, engine.book, 0) == []
    sides, prices = [1, 1, 2], [100, 99, 103]
    engine.process(
        new_orders(3, symbol=2, id0=[1, 2, 3], side=sides, price_ticks=prices, qty_lots=5)
    )
    (found,) = resting_refusals(changed, engine.book, 0)
    assert sentence in found
    assert "and have them cancelled first" in found
    # Another shard's book says nothing about it, and to list it as it was is right.
    assert resting_refusals(changed, engine.book, 1) == []
    assert resting_refusals(resolve(config(), made.content), engine.book, 0) == []


def test_another_venues_directory_is_refused(tmp_path: Path):
    made = opened(tmp_path, config())
    other = config(venue=config().venue.__class__(name="other"))
    with pytest.raises(ResolveError, match="is of the venue 'openoutcry'"):
        resolve(other, made.content)


def test_variants_have_a_share_of_room(tmp_path: Path):
    made = opened(tmp_path, config())
    wanted = VariantRecord(0, 1, "128=D\x01", "", 0, 7, 0)
    with pytest.raises(OverflowError, match="no room"):
        made.add_variant(wanted, 32, 5)
    assert made.add_variant(wanted, 32, 6) == 4
    with pytest.raises(OverflowError, match="5 accounts"):
        made.add_account("new", 5)

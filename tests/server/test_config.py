"""The configuration: strict decoding, every mistake at once, rules between fields."""

from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openoutcry.server.config import (
    DEFAULT_MAX_UNITS,
    Capacity,
    Config,
    Firm,
    Shard,
    Symbol,
    decimal_parts,
    in_units,
)
from openoutcry.server.config_file import ConfigError, default_text, load_config
from openoutcry.server.config_rules import broken_rules, warnings_of
from openoutcry.server.session_settings import Session


def messages(tmp_path: Path, text: str, *overrides: str) -> list[str]:
    """Return what is wrong with a file, less its name."""
    path = tmp_path / "venue.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides)
    prefix = f"{path}: "
    assert all(line.startswith(prefix) for line in caught.value.messages)
    return [line.removeprefix(prefix) for line in caught.value.messages]


def test_the_embedded_file_says_the_same_as_the_code():
    assert load_config(None) == Config()
    assert [symbol.name for symbol in Config().symbols] == ["BTCUSDT", "ETHUSDT", "AAPL", "MSFT"]
    assert broken_rules(Config()) == []


def test_the_embedded_file_names_every_key():
    import yaml

    tree = yaml.safe_load(default_text())
    assert set(tree) == set(Config.__struct_fields__)
    sections = (
        *("venue", "listen", "fix", "binary", "credentials", "gateway", "wait", "capacity"),
        *("log", "day", "session_defaults"),
    )
    for name in sections:
        assert set(tree[name]) == set(getattr(Config(), name).__struct_fields__), name


def test_a_file_overlays_the_default(tmp_path: Path):
    path = tmp_path / "venue.yaml"
    path.write_text("listen: {fix: 0}\nshards: [{core: 2}, {}]\n")
    config = load_config(path)
    assert config.listen.fix == 0
    assert config.listen.binary == 8082
    assert config.shards == (Shard(core=2), Shard())
    assert config.symbols == Config().symbols


def test_an_empty_file_is_the_default(tmp_path: Path):
    path = tmp_path / "venue.yaml"
    path.write_text("# nothing\n")
    assert load_config(path) == Config()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("shards: [{core: -1}]", "Expected `int` >= 0 - at `$.shards[0].core`"),
        ("shards: []", "Expected `array` of length >= 1 - at `$.shards`"),
        ("shards: 2", "Expected `array`, got `int` - at `$.shards`"),
        ("listen: 8081", "Expected `object`, got `int` - at `$.listen`"),
        ("listen: {fix: 70000}", "Expected `int` <= 65535 - at `$.listen.fix`"),
        ("listen: {fix: '8081'}", "Expected `int | null`, got `str` - at `$.listen.fix`"),
        ("listen:", "Expected `object`, got `null` - at `$.listen`"),
        (
            "listen: {fxi: 8081}",
            "Unknown key `fxi`, did you mean `fix`? - at `$.listen`",
        ),
        (
            "wait: {zzz: 1}",
            "Unknown key `zzz`; known are mode, spin_us - at `$.wait`",
        ),
        ("waits: {mode: spin}", "Unknown key `waits`, did you mean `wait`? - at `$`"),
        (
            "wait: {mode: sleep}",
            "Invalid enum value 'sleep'; known are adaptive, spin, block - at `$.wait.mode`",
        ),
        ("symbols: [{tick: '1'}]", "Missing required key `name` - at `$.symbols[0]`"),
        (
            "symbols: [{name: X, tick: 1}]",
            "Expected `str`, got `int` (put it in quotes) - at `$.symbols[0].tick`",
        ),
        ("dynamic_sessions: yes", "Expected `bool`, got `str` - at `$.dynamic_sessions`"),
        ("[1, 2]", "Expected `object`, got `array` - at `$`"),
        (
            "capacity: {command_ring_records: 1000}",
            "Expected a power of two, got 1000 - at `$.capacity.command_ring_records`",
        ),
        (
            "fix: {heartbeat_min_s: 60, heartbeat_max_s: 30}",
            "Expected heartbeat_min_s <= heartbeat_max_s (30) - at `$.fix.heartbeat_min_s`",
        ),
        ("day: {time_zone: Mars/Olympus}", "Unknown time zone 'Mars/Olympus'"),
        ("day: {time_zone: ../../etc/passwd}", "Unknown time zone '../../etc/passwd'"),
        (
            "shards: [{core: 1}, {core: 1}]",
            "Core 1 is taken by shard 0 - at `$.shards[1].core`",
        ),
        ("listen: {fix: 9000, binary: 9000}", "Port 9000 is taken by `fix` - at `$.listen.binary`"),
        (
            "symbols: [{name: X}, {name: X}]",
            "Symbol X appears twice - at `$.symbols[1].name`",
        ),
        (
            "symbols: [{name: X, shard: 1}]",
            "Expected a shard from 0 to 0 - at `$.symbols[0].shard`",
        ),
        (
            "symbols: [{name: X, tick: '0.00'}]",
            "Expected a positive tick, got 0.00 - at `$.symbols[0].tick`",
        ),
        (
            "symbols: [{name: X, lot: '-1'}]",
            "Expected a positive lot, got -1 - at `$.symbols[0].lot`",
        ),
        (
            "symbols: [{name: X, tick: 0.05, max_price: 1.02}]",
            "Expected a multiple of the tick 0.05, got 1.02 - at `$.symbols[0].max_price`",
        ),
        (
            "symbols: [{name: X, min_price: '5', max_price: '4'}]",
            "Expected min_price <= max_price - at `$.symbols[0].min_price`",
        ),
        (
            "symbols: [{name: X, min_qty: '0'}]",
            "Expected a positive quantity, got 0 - at `$.symbols[0].min_qty`",
        ),
        (
            "symbols: [{name: X, tick: 0.000000000001, max_price: '2000000'}]",
            "2000000 is more than 1000000000000000000 times the tick 0.000000000001"
            " - at `$.symbols[0].max_price`",
        ),
        (
            "capacity: {symbols: 1}",
            "4 symbols do not fit capacity.symbols (1) - at `$.symbols`",
        ),
        (
            "firms: [{name: A, accounts: [x]}, {name: B, accounts: [x]}]",
            "Account x is already one of A - at `$.firms[1].accounts[0]`",
        ),
        (
            "firms: [{name: A, sessions: [{id: s}, {id: s}]}]",
            "Session s (FIX.4.4) is already one of A - at `$.firms[0].sessions[1].id`",
        ),
        ("firms: [{name: A}, {name: A}]", "Firm A appears twice - at `$.firms[1].name`"),
        ("dynamic_sessions: false", "No session could log on"),
        ("listen: {fix: 1, fix: 2}", "key 'fix' appears twice"),
        ("listen: [", "while parsing a flow node"),
        ("listen: !!python/object/apply:os.getcwd []", "could not determine a constructor"),
        ("? [1]\n: 2", "unhashable key"),
        (
            "retention: {segments: archive}",
            "Segments are archived in a folder: name it, or choose keep or delete"
            " - at `$.retention.archive_dir`",
        ),
    ],
)
def test_a_mistake_is_named_with_its_path(tmp_path: Path, text: str, expected: str):
    found = messages(tmp_path, text)
    assert len(found) == 1
    assert expected in found[0]


def test_every_mistake_is_found_at_once(tmp_path: Path):
    text = "listen: {fxi: 1, binary: -1}\nshards: [{core: 0}, {core: no}]\nsymbols: [{}]\n"
    assert messages(tmp_path, text) == [
        "Unknown key `fxi`, did you mean `fix`? - at `$.listen`",
        "Expected `int` >= 0 - at `$.listen.binary`",
        "Invalid enum value 'no'; known are a number, auto, null - at `$.shards[1].core`",
        "Missing required key `name` - at `$.symbols[0]`",
    ]


def test_a_file_that_cannot_be_read_is_one_sentence(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read: No such file"):
        load_config(tmp_path / "none.yaml")
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_config(tmp_path / "bytes.yaml")


def test_yaml_words_that_are_symbols_stay_text(tmp_path: Path):
    path = tmp_path / "venue.yaml"
    path.write_text("symbols: [{name: ON}, {name: NO}, {name: Y}]\nday: {end: 16:30:00}\n")
    config = load_config(path)
    assert [symbol.name for symbol in config.symbols] == ["ON", "NO", "Y"]
    assert config.day is not None
    assert config.day.end_time.isoformat() == "16:30:00"


def test_overrides_are_applied_in_order():
    config = load_config(
        None,
        [
            "listen.fix=0",
            "listen.fix=1",
            "listen.http=null",
            "shards=[{core: 0}, {core: 1}]",
            "shards[1].core=3",
            "shards[2].core=4",
            "symbols[0].tick=0.005",
            "venue.name=other",
            "day=null",
        ],
    )
    assert (config.listen.fix, config.listen.http) == (1, None)
    assert [shard.core for shard in config.shards] == [0, 3, 4]
    assert config.symbols[0].tick_parts == (5, 3)
    assert (config.venue.name, config.day) == ("other", None)


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("listen.fix", "write it as key.path=value"),
        ("=3", "write it as key.path=value"),
        ("listen..fix=3", "write it as key.path=value"),
        ("shards[4].core=1", "there is no element [4] to set"),
        ("listen[0]=1", "there is no element [0] to set"),
        ("log_format.x=1", "'x' is not inside a mapping"),
        ("listen.fxi=1", "Unknown key `fxi`, did you mean `fix`?"),
        ("listen.fix=[", "--set listen.fix=[: while parsing"),
    ],
)
def test_a_wrong_override_is_named(setting: str, expected: str):
    with pytest.raises(ConfigError) as caught:
        load_config(None, [setting])
    assert expected in str(caught.value)


def test_passwords_are_not_shown():
    secret = "correct horse"
    config = Config(firms=(Firm(name="A", sessions=(Session(id="s", password=secret),)),))
    assert secret not in repr(config)
    with pytest.raises(ConfigError) as caught:
        load_config(None, [f"firms[0].sessions[0].password.x=[{secret}"])
    assert secret not in str(caught.value)


def _symbol(name: str) -> Symbol:
    return Symbol(name=name)


def test_symbols_go_to_their_shards():
    symbols = (*map(_symbol, "abc"), Symbol(name="d", shard=0))
    config = Config(shards=(Shard(), Shard()), symbols=symbols)
    assert [config.shard_of(number) for number in range(4)] == [0, 1, 0, 0]


def test_limits_count_ticks_and_lots():
    symbol = Symbol(
        name="X",
        tick="0.05",
        lot="10",
        min_price="-1.50",
        max_price="100",
        min_qty="20",
        max_qty="1000",
    )
    assert (symbol.min_price_ticks, symbol.max_price_ticks) == (-30, 2000)
    assert (symbol.min_qty_lots, symbol.max_qty_lots) == (2, 100)
    plain = Symbol(name="Y")
    assert (plain.min_price_ticks, plain.max_price_ticks) == (1, DEFAULT_MAX_UNITS)
    assert (plain.min_qty_lots, plain.max_qty_lots) == (1, DEFAULT_MAX_UNITS)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("0.005", (5, 3)),
        ("1", (1, 0)),
        ("10", (10, 0)),
        ("0.50", (5, 1)),
        ("0", (0, 0)),
        ("-0.25", (-25, 2)),
        ("12.3400", (1234, 2)),
    ],
)
def test_decimal_parts(text: str, parts: tuple[int, int]):
    assert decimal_parts(text) == parts


@pytest.mark.parametrize("text", ["", ".5", "5.", "1e3", "01", "+1", "1 ", "0x1", "٣", "--1"])
def test_other_texts_are_no_decimals(text: str):
    with pytest.raises(ValueError, match="is not a plain decimal number"):
        decimal_parts(text)


@given(st.integers(-(10**18), 10**18), st.integers(1, 10**6), st.integers(0, 12))
def test_units_are_exact(units: int, mantissa: int, scale: int):
    def text(value: int) -> str:
        digits = str(abs(value)).rjust(scale + 1, "0")
        whole = digits[: len(digits) - scale]
        fraction = digits[len(digits) - scale :]
        return ("-" if value < 0 else "") + whole + (f".{fraction}" if scale else "")

    assert in_units(text(units * mantissa), text(mantissa)) == units
    found, found_scale = decimal_parts(text(units))
    assert Fraction(found, 10**found_scale) == Fraction(units, 10**scale)


def test_what_only_works_badly_is_a_warning():
    config = load_config(
        None, ["shards=[{core: 64}, {core: 1}]", "gateway.core=1", "wait.mode=spin"]
    )
    assert warnings_of(config, cores=[0, 1]) == [
        "Core 64 is not available here; not pinned - at `$.shards[0].core`",
        "Core 1 is the gateway's too: they will wait for each other - at `$.shards[1].core`",
        "Spinning with 3 processes on 2 cores starves them - at `$.wait.mode`",
    ]
    assert warnings_of(Config(), cores=[0, 1]) == []


def test_default_shared_memory_fits_64_mb():
    capacity = Capacity()
    assert capacity.command_ring_records * 192 + capacity.event_ring_records * 64 < 48 << 20


def test_the_documented_example_is_valid(tmp_path: Path):
    page = Path(__file__).parents[2] / "docs" / "operations.md"
    path = tmp_path / "venue.yaml"
    path.write_text(page.read_text().partition("```yaml\n")[2].partition("```")[0])
    config = load_config(path, ["shards=[{core: 1}]"])
    assert config.listen.fix == 9001
    assert [symbol.max_price_ticks for symbol in config.symbols] == [10_000_000]

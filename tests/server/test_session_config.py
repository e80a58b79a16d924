"""Sessions in the configuration: settings, defaults, rules, and thousands of them."""

import resource
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from openoutcry.protocol.fix.versions import Version
from openoutcry.server.config import Config, Firm
from openoutcry.server.config_file import ConfigError, load_config
from openoutcry.server.config_rules import warnings_of
from openoutcry.server.profiles import Profiles, session_dictionary
from openoutcry.server.registry import SessionRegistry
from openoutcry.server.session_settings import (
    CancelOnDisconnect,
    CustomField,
    Session,
    SessionDefaults,
    Throttle,
)
from openoutcry.server.sessions import PROTOCOL_FIX, SESSION_ROW

HASH = "scrypt$16384$8$1$c2FsdHNhbHQ=$cCO9yzr9c0hGHAbNgf046w=="


def load(tmp_path: Path, tree: dict[str, Any]) -> Config:
    path = tmp_path / "venue.yaml"
    path.write_text(yaml.safe_dump(tree))
    return load_config(path)


def with_session(**settings: Any) -> dict[str, Any]:
    return {"firms": [{"name": "A", "accounts": ["acc"], "sessions": [{"id": "s", **settings}]}]}


def test_a_session_has_the_defaults_unless_it_says_otherwise(tmp_path: Path):
    tree = with_session(heartbeat_min_s=5, throttle=None)
    tree["session_defaults"] = {
        "heartbeat_max_s": 30,
        "throttle": {"messages": 10},
        "cancel_on_disconnect": {"grace_s": 3},
    }
    config = load(tmp_path, tree)
    assert config.session_defaults.throttle == Throttle(messages=10)
    settings = config.settings_of(config.firms[0].sessions[0])
    assert (settings.heartbeat_min_s, settings.heartbeat_max_s) == (5, 30)
    assert settings.throttle is None
    assert settings.cancel_on_disconnect == CancelOnDisconnect(grace_s=3)
    assert config.settings_of(Session(id="other")) is config.session_defaults


@pytest.mark.parametrize(
    ("settings", "versions"),
    [
        ({}, [Version.FIX44]),
        ({"begin_string": "FIX.4.0"}, [Version.FIX40]),
        ({"begin_string": "FIXT.1.1"}, [Version.FIX50, Version.FIX50SP1, Version.FIX50SP2]),
        ({"begin_string": "FIXT.1.1", "appl_version": "FIX.5.0SP1"}, [Version.FIX50SP1]),
        ({"protocol": "binary"}, []),
    ],
)
def test_versions_of_a_session(tmp_path: Path, settings: dict[str, Any], versions: list[Version]):
    config = load(tmp_path, with_session(**settings))
    assert list(config.firms[0].sessions[0].versions) == versions


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"begin_string": "FIX.5.0"}, "Invalid enum value 'FIX.5.0'; known are FIX.4.0, FIX.4.1"),
        ({"appl_version": "FIX.5.0"}, "Expected begin_string FIXT.1.1 with FIX.5.0, got FIX.4.4"),
        ({"password": "x", "password_hash": HASH}, "Expected password or password_hash, not both"),
        ({"password_hash": "secret"}, "Expected what `openoutcry hash-password` prints"),
        (
            {"begin_string": "FIX.4.2", "username": "u"},
            "FIX.4.2 has no Username(553), only a password in RawData(96)",
        ),
        ({"drop_copy": ["acc", "other"]}, "Account other belongs to no firm - at `$.firms[0]"),
        ({"heartbeat_min_s": 30, "heartbeat_max_s": 20}, "Expected heartbeat_min_s <= 20"),
        ({"heartbeat_max_s": -1}, "Expected `int` >= 0"),
        ({"validation": "sloppy"}, "Invalid enum value 'sloppy'; known are strict, lenient"),
        ({"throttle": {}}, "Missing required key `messages` - at `$.firms[0].sessions[0].throttle"),
        ({"throttle": {"messages": 1, "action": "drop"}}, "known are reject, queue, disconnect"),
        ({"cancel_on_disconnect": {"triggers": []}}, "Expected `array` of length >= 1"),
        ({"cancel_on_disconnect": {"trigger": ["logout"]}}, "did you mean `triggers`?"),
        ({"schedule": {"start": "08:00:00"}}, "Missing required key `end`"),
        ({"schedule": {"start": "8:00", "end": "17:00:00"}}, "Expected `str` matching regex"),
        (
            {"schedule": {"start": "08:00:00", "end": "17:00:00", "time_zone": "Mars/Olympus"}},
            "Unknown time zone 'Mars/Olympus' - at `$.firms[0].sessions[0].schedule.time_zone`",
        ),
        (
            {"schedule": {"start": "08:00:00", "end": "17:00:00", "start_day": "monday"}},
            "A weekly session needs start_day and end_day - at `$.firms[0].sessions[0].schedule",
        ),
        (
            {"schedule": {"start": "08:00:00", "end": "17:00:00", "days": ["monday", "monday"]}},
            "Day monday appears twice",
        ),
        (
            {"custom_fields": [{"tag": 5001, "name": "A"}, {"tag": 5001, "name": "B"}]},
            "Tag 5001 appears twice - at `$.firms[0].sessions[0].custom_fields[0].tag`",
        ),
        ({"custom_fields": [{"tag": 34, "name": "A"}]}, "this tag is the header's or trailer's"),
        (
            {"custom_fields": [{"tag": 5001, "name": "A", "messages": ["ZZ"]}]},
            "No message ZZ in FIX.4.4 - at `$.firms[0].sessions[0].custom_fields[0].messages`",
        ),
        (
            {"protocol": "binary", "schedule": None},
            "A binary session has no such setting, only a FIX one - at `$.firms[0].sessions[0]",
        ),
        ({"protocol": "binary", "username": "u"}, "A binary session has no such setting"),
        ({"heartbeat_mins": 1}, "Unknown key `heartbeat_mins`, did you mean `heartbeat_min_s`?"),
    ],
)
def test_a_mistake_is_explained(tmp_path: Path, settings: dict[str, Any], expected: str):
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, with_session(**settings))
    assert len(caught.value.messages) == 1
    assert expected in caught.value.messages[0]


def test_mistakes_in_the_defaults_are_named_there(tmp_path: Path):
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, {"session_defaults": {"heartbeat_min_s": 5000, "id": "x"}})
    assert "Unknown key `id`" in str(caught.value)
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, {"session_defaults": {"heartbeat_min_s": 5000}})
    assert "Expected heartbeat_min_s <= 3600 - at `$.session_defaults" in str(caught.value)


def test_one_id_in_two_versions_is_two_sessions(tmp_path: Path):
    sessions = [{"id": "s"}, {"id": "s", "begin_string": "FIX.4.2"}, {"id": "s"}]
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, {"firms": [{"name": "A", "sessions": sessions}]})
    assert caught.value.messages[0].endswith(
        "Session s (FIX.4.4) is already one of A - at `$.firms[0].sessions[2].id`"
    )
    config = load(tmp_path, {"firms": [{"name": "A", "sessions": sessions[:2]}]})
    found = SessionRegistry(config, np.zeros(8, SESSION_ROW))
    entries = [found.find("s", PROTOCOL_FIX, text) for text in ("FIX.4.4", "FIX.4.2", "FIX.4.1")]
    assert [entry and entry.number for entry in entries] == [1, 2, 3]
    assert [found.find("s", PROTOCOL_FIX, text) for text in ("FIX.4.5", "")] == [None, None]


def test_the_number_of_sessions_must_fit(tmp_path: Path):
    sessions = [{"id": f"s{n}"} for n in range(8)]
    tree = {"capacity": {"sessions": 8}, "firms": [{"name": "A", "sessions": sessions}]}
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, tree)
    text = (
        "8 sessions do not fit capacity.sessions (8, one of them not used): set it to at least 9"
        " - at `$.capacity.sessions`"
    )
    assert caught.value.messages[0].endswith(text)
    tree["capacity"] = {"sessions": 9}
    tree["gateway"] = {"max_connections": 7}
    assert warnings_of(load(tmp_path, tree), cores=[0, 1]) == [
        "8 sessions are configured: not all can be logged on at a time"
        " - at `$.gateway.max_connections`",
        "The configured sessions leave no room for dynamic ones - at `$.capacity.sessions`",
    ]


def test_five_thousand_sessions_are_read_within_seconds(tmp_path: Path):
    firms = [
        {
            "name": f"firm-{f}",
            "accounts": [f"acc-{f}"],
            "sessions": [
                {"id": f"S-{f}-{s}", "password_hash": HASH, "throttle": {"messages": 100}}
                for s in range(50)
            ],
        }
        for f in range(100)
    ]
    tree = {"capacity": {"sessions": 6000}, "gateway": {"max_connections": 6000}, "firms": firms}
    path = tmp_path / "venue.yaml"
    path.write_text(yaml.safe_dump(tree))
    memory_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.monotonic()
    config = load_config(path)
    rows = np.zeros(config.capacity.sessions, SESSION_ROW)
    registry = SessionRegistry(config, rows)
    profiles = Profiles((entry.versions, entry.settings) for entry in registry)
    took_s = time.monotonic() - started
    assert len(list(registry)) == 5000
    # None has rules of its own.
    assert len(profiles.dictionaries) == len(Version)
    assert took_s < 20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory_kb < 200_000


# --- profiles -------------------------------------------------------------------------------------

CUSTOM = SessionDefaults(custom_fields=(CustomField(tag=5001, name="Mine", messages=("AE", "D")),))


def test_sessions_with_the_same_rules_share_a_profile():
    lenient = SessionDefaults(validation="lenient")
    strict = SessionDefaults(heartbeat_min_s=3)
    sessions = [
        ([Version.FIX44], strict),
        ([Version.FIX44, Version.FIX42], lenient),
        ([Version.FIX44], SessionDefaults(validation="lenient", heartbeat_min_s=1)),
        ([Version.FIX44], CUSTOM),
    ]
    profiles = Profiles(sessions)
    assert len(profiles.dictionaries) == len(Version) + 3
    assert [profiles.number(version, strict) for version in Version] == list(range(8))
    for versions, settings in sessions:
        for version in versions:
            found = profiles.dictionaries[profiles.number(version, settings)]
            assert found.version is version
            assert found.is_lenient == (settings.validation == "lenient")
            assert (5001 in found.names) == (settings is CUSTOM)


def test_a_custom_field_of_messages_that_a_version_lacks_is_left_out_there():
    assert 5001 in session_dictionary(Version.FIX44, CUSTOM).messages["AE"].allowed
    # FIX 4.0 has no AE, but D.
    assert 5001 in session_dictionary(Version.FIX40, CUSTOM).messages["D"].allowed
    only_ae = SessionDefaults(custom_fields=(CustomField(tag=5001, name="X", messages=("AE",)),))
    assert 5001 not in session_dictionary(Version.FIX40, only_ae).names


def test_a_firm_may_have_several_sessions():
    firm = Firm(name="A", sessions=tuple(Session(id=f"s{n}") for n in range(3)))
    registry = SessionRegistry(Config(firms=(firm,)), np.zeros(9, SESSION_ROW))
    assert [entry.firm for entry in registry] == [1, 1, 1]


def test_the_documented_sessions_are_valid(tmp_path: Path):
    page = Path(__file__).parents[2] / "docs" / "operations.md"
    path = tmp_path / "venue.yaml"
    path.write_text(page.read_text().split("```yaml\n")[2].partition("```")[0])
    config = load_config(path)
    first, second, _ = config.firms[0].sessions
    assert config.settings_of(first).throttle == Throttle(messages=1000)
    assert config.settings_of(second).throttle is None
    assert second.versions == (Version.FIX50SP2,)

"""Reading the configuration: strict YAML, decoded once into the Structs of `config`.

Every mistake in a file is reported at once, each with the file's name, the path of the value and,
for a key that does not exist, the nearest one that does.
"""

import contextlib
import difflib
import re
import types
import typing
from collections.abc import Hashable, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import yaml
from msgspec import Struct, UnsetType

from openoutcry.server.config import Config
from openoutcry.server.config_rules import broken_rules


class ConfigError(Exception):
    """The configuration is not valid; `messages` holds every reason found, one a line."""

    def __init__(self, messages: Sequence[str]) -> None:
        self.messages = tuple(messages)
        super().__init__("\n".join(self.messages))


class _Strict(yaml.constructor.SafeConstructor):
    """YAML as strict as the Structs: numbers are decimal integers, all other text stays text.

    YAML 1.1 would read the symbols ON and NO as booleans, 17:00:00 as 61200 and 0.01 as a binary
    float. A key that appears twice is an error.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                break  # the base class says so
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} appears twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


class _Loader(_Strict, yaml.SafeLoader):
    """The loader in Python: its messages say most."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 (as in the base class)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|false|False)$"), list("tTfF")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"^[-+]?(?:0|[1-9][0-9_]*)$"), list("-+0123456789")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:null", re.compile(r"^(?:~|null|)$"), ["~", "n", ""]
)
_FastLoader: Any = _Loader
if yaml.__with_libyaml__:

    class _CLoader(_Strict, yaml.CSafeLoader):
        """The same over libyaml: eight times as fast, for thousands of sessions."""

        yaml_implicit_resolvers = _Loader.yaml_implicit_resolvers

    _FastLoader = _CLoader


def _read_yaml(text: str, source: str) -> Any:
    with contextlib.suppress(yaml.YAMLError, RecursionError):
        return yaml.load(text, _FastLoader)
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        # Without the excerpt that the error carries: it may show a password.
        where = error.problem_mark or error.context_mark
        place = f" in line {where.line + 1}, column {where.column + 1}" if where else ""
        context = f"{error.context}, " if error.context else ""
        raise ConfigError([f"{source}: {context}{error.problem}{place}"]) from None
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError([f"{source}: {' '.join(str(error).split())}"]) from None


def default_text() -> str:
    """Return the embedded default configuration, commented, as YAML."""
    return resources.files("openoutcry.config").joinpath("server.yaml").read_text("utf-8")


_STEP = re.compile(r"([^.\[\]]+)|\[([0-9]+)\]")


def _override(tree: dict[str, Any], setting: str) -> None:
    """Set one `key.path=value` in the undecoded tree; the value is YAML."""
    path, equals, text = setting.partition("=")
    source = f"--set {setting if 'password' not in path else path}"
    if not equals or not re.fullmatch(r"[^.\[\]]+(\.[^.\[\]]+|\[[0-9]+\])*", path):
        raise ConfigError([f"{source}: write it as key.path=value, for example listen.fix=0"])
    steps = [key or int(index) for key, index in _STEP.findall(path)]
    value = _read_yaml(text, source)
    holder: Any = tree
    for step, following in zip(steps, [*steps[1:], None], strict=True):
        if isinstance(step, int):
            if not isinstance(holder, list) or step > len(holder):
                raise ConfigError([f"{source}: there is no element [{step}] to set"])
            if step == len(holder):
                holder.append(None)
        elif not isinstance(holder, dict):
            raise ConfigError([f"{source}: {step!r} is not inside a mapping"])
        if following is None:
            holder[step] = value
            return
        below = holder[step] if isinstance(step, int) else holder.get(step)
        if below is None:
            below = holder[step] = [] if isinstance(following, int) else {}
        holder = below


# Decoding


def _unwrap(kind: Any) -> Any:
    """Return a type without its Annotated shell."""
    return kind.__origin__ if typing.get_origin(kind) is Annotated else kind


def _arms(kind: Any) -> tuple[Any, ...]:
    """Return the types of a union, of any other type itself."""
    core = _unwrap(kind)
    is_union = typing.get_origin(core) in {typing.Union, types.UnionType}
    return typing.get_args(core) if is_union else (kind,)


def _without_none(kind: Any) -> Any:
    """Return what a value is to be where it is given, and not null."""
    rest = [arm for arm in _arms(kind) if arm not in {type(None), UnsetType}]
    return rest[0] if len(rest) == 1 else kind


def _nearest(key: str, known: Sequence[str]) -> str:
    found = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    return f", did you mean `{found[0]}`?" if found else f"; known are {', '.join(known)}"


def _collect(value: Any, kind: Any, path: str, found: list[str]) -> None:
    """Add every mistake in a decoded YAML value, each with its path: msgspec stops at the first."""
    core = _unwrap(_without_none(kind))
    if value is None and type(None) in _arms(kind):
        return
    if isinstance(core, type) and issubclass(core, Struct):
        if not isinstance(value, dict):
            found.append(f"Expected `object`, got `{_kind_name(value)}` - at `{path}`")
            return
        hints = typing.get_type_hints(core, include_extras=True)
        for key, below in value.items():
            if key in hints:
                _collect(below, hints[key], f"{path}.{key}", found)
            else:
                found.append(f"Unknown key `{key}`{_nearest(str(key), list(hints))} - at `{path}`")
        found.extend(
            f"Missing required key `{field.name}` - at `{path}`"
            for field in msgspec.structs.fields(core)
            if field.required and field.name not in value
        )
        return
    if isinstance(value, list) and typing.get_origin(core) is tuple:
        before = len(found)
        for index, below in enumerate(value):
            _collect(below, typing.get_args(core)[0], f"{path}[{index}]", found)
        if len(found) > before:
            return
    try:
        msgspec.convert(value, kind, strict=True)
    except msgspec.ValidationError as error:
        text = str(error)
        if text.startswith("Invalid enum value"):
            text += f"; known are {', '.join(_choices(kind))}"
        if core is str and isinstance(value, int | float):
            text += " (put it in quotes)"
        found.append(f"{text} - at `{path}`")


def _choices(kind: Any) -> list[str]:
    """Return what a type allows, in words: the names of a Literal, `a number`, `null`."""
    core = _unwrap(kind)
    if len(_arms(kind)) > 1:
        arms = [arm for arm in _arms(kind) if arm is not UnsetType]
        return [choice for arm in arms for choice in _choices(arm)]
    if typing.get_origin(core) is Literal:
        return [str(choice) for choice in typing.get_args(core)]
    return [{int: "a number", type(None): "null"}.get(core, str(core))]


def _kind_name(value: Any) -> str:
    names = {dict: "object", list: "array", type(None): "null"}
    return names.get(type(value), type(value).__name__)


def _decode(tree: Any, source: str) -> Config:
    if not isinstance(tree, dict):
        raise ConfigError([f"{source}: Expected `object`, got `{_kind_name(tree)}` - at `$`"])
    try:
        config = msgspec.convert(tree, Config, strict=True)
    except msgspec.ValidationError as error:
        found: list[str] = []
        _collect(tree, Config, "$", found)
        raise ConfigError([f"{source}: {text}" for text in found or [str(error)]]) from None
    broken = broken_rules(config)
    if broken:
        raise ConfigError([f"{source}: {text}" for text in broken])
    return config


def load_config(path: str | Path | None, overrides: Sequence[str] = ()) -> Config:
    """Read, decode and check a configuration file, or the embedded default where `path` is None.

    A top-level key that the file leaves out has the default's value. `overrides` are texts of the
    form `key.path=value`, as in `listen.fix=0` or `shards=[{core: 2}, {core: 3}]`, applied in order
    before decoding. Raises ConfigError with every message.
    """
    tree: Any = _read_yaml(default_text(), "server.yaml")
    source = "default configuration"
    if path is not None:
        source = str(path)
        try:
            text = Path(path).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
            raise ConfigError([f"{source}: cannot be read: {reason}"]) from None
        given = _read_yaml(text, source)
        if given is None:
            given = {}
        if not isinstance(given, dict):
            raise ConfigError([f"{source}: Expected `object`, got `{_kind_name(given)}` - at `$`"])
        tree = {**tree, **given}
    errors: list[str] = []
    for setting in overrides:
        try:
            _override(tree, setting)
        except ConfigError as error:
            errors.extend(error.messages)
    if errors:
        raise ConfigError(errors)
    return _decode(tree, source)

"""The architecture's rules, read from the syntax trees of every module; nothing is imported."""

import ast
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("config", "server", "protocol", "engine", "clients", "loadgen")

#: What a package may import besides itself: loadgen → clients → protocol ← server → engine.
ALLOWED = {
    "config": (),
    "protocol": ("openoutcry.config.jit",),
    "engine": ("openoutcry.config.jit",),
    "clients": ("openoutcry.config.jit", "openoutcry.protocol"),
    "server": ("openoutcry.config", "openoutcry.protocol", "openoutcry.engine"),
    "loadgen": ("openoutcry.config", "openoutcry.protocol", "openoutcry.clients"),
}

#: (module, what it imports against the rule): why.
EXCEPTIONS: dict[tuple[str, str], str] = {}

#: protocol is sans-I/O: "now" is an argument, bytes come in and go out.
IO_MODULES = {
    "asyncio",
    "logging",
    "multiprocessing",
    "os",
    "select",
    "selectors",
    "socket",
    "ssl",
    "subprocess",
    "threading",
    "time",
    "uvloop",
}
#: engine knows integers and arrays.
ENGINE_BANNED = {
    "aiohttp",
    "asyncio",
    "logging",
    "msgspec",
    "prometheus_client",
    "simplefix",
    "socket",
    "uvloop",
    "yaml",
}
#: (module, banned module): why.
MODULE_EXCEPTIONS: dict[tuple[str, str], str] = {}

COMPILERS = {"njit", "jit", "vectorize", "guvectorize", "generated_jit", "cfunc"}


def module_files() -> list[Path]:
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_bytes(), str(path))


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Yield every module that a file imports, anywhere in it, and the line."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: write absolute imports"
            yield node.module or "", node.lineno
            if (node.module or "").startswith("openoutcry."):
                for alias in node.names:
                    yield f"{node.module}.{alias.name}", node.lineno


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


@pytest.mark.parametrize("path", module_files(), ids=name_of)
def test_imports_go_one_way(path: Path):
    module = name_of(path)
    package = module.partition(".")[0]
    allowed = (f"openoutcry.{package}", *ALLOWED[package])
    for name, line in imports(path):
        if not within(name, "openoutcry") or (module, name) in EXCEPTIONS:
            continue
        # `from openoutcry.config import jit` names the allowed module in two steps.
        fits = any(within(name, one) or (within(one, name)) for one in allowed)
        assert fits, f"{path}:{line}: {package} may not import {name}"


@pytest.mark.parametrize("path", module_files(), ids=name_of)
def test_no_bare_folder_is_imported(path: Path):
    for name, line in imports(path):
        top = name.partition(".")[0]
        assert top not in PACKAGES, f"{path}:{line}: import openoutcry.{name}: not {name}"
        assert top != "tests", f"{path}:{line}: the product does not import its tests"


@pytest.mark.parametrize(
    ("package", "banned"), [("protocol", IO_MODULES), ("engine", ENGINE_BANNED)]
)
def test_what_a_package_keeps_away_from(package: str, banned: set[str]):
    for path in module_files():
        module = name_of(path)
        if module.partition(".")[0] != package:
            continue
        for name, line in imports(path):
            top = name.partition(".")[0]
            if (module, top) in MODULE_EXCEPTIONS:
                continue
            assert top not in banned, f"{path}:{line}: {package} may not import {top}"


@pytest.mark.parametrize("path", module_files(), ids=name_of)
def test_kernels_are_compiled_by_one_decorator(path: Path):
    if name_of(path) == "config.jit":
        return
    for node in ast.walk(tree_of(path)):
        name = ""
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            name = node.attr if node.value.id in {"numba", "nb"} else ""
        elif isinstance(node, ast.ImportFrom) and within(node.module or "", "numba"):
            name = next((alias.name for alias in node.names if alias.name in COMPILERS), "")
        assert name not in COMPILERS, (
            f"{path}: use openoutcry.config.jit.kernel, not {name}: its cache follows the sources"
        )


def test_http_stays_out_of_the_order_path():
    users = {
        name_of(path)
        for path in module_files()
        if any(within(name, "aiohttp") for name, _ in imports(path))
    }
    assert users == {"server.exporter"}


def test_exceptions_are_still_needed():
    for exceptions, whole in ((EXCEPTIONS, True), (MODULE_EXCEPTIONS, False)):
        for (module, name), reason in exceptions.items():
            path = ROOT.joinpath(*module.split(".")).with_suffix(".py")
            found = {n if whole else n.partition(".")[0] for n, _ in imports(path)}
            assert name in found, f"{module} no longer imports {name}"
            assert reason


def test_the_list_of_packages_is_what_is_on_disk():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {path.parent for path in module_files()} | {ROOT / name for name in PACKAGES}
    on_disk = {".".join(("openoutcry", *folder.relative_to(ROOT).parts)) for folder in folders}
    assert set(project["packages"]) == on_disk
    assert project["package-dir"] == {f"openoutcry.{name}": name for name in PACKAGES}
    for folder in folders:
        assert (folder / "py.typed").is_file(), f"{folder} has no py.typed"


def test_every_file_of_data_is_packaged():
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    suffixes = {pattern.removeprefix("*") for pattern in patterns["package-data"]["*"]}
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*"):
            if path.is_file() and path.suffix not in {".py", ".pyc", ".nbi", ".nbc"}:
                assert path.suffix in suffixes or path.name in suffixes, f"{path} is not packaged"


def test_the_lock_file_names_no_place():
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    for line in lines:
        assert "://" not in line, line
        assert not line.startswith("-"), line
    pinned = [line for line in lines if "==" in line]
    assert len(pinned) > 30
    hashes = sum("--hash=sha256:" in line for line in lines)
    assert hashes >= len(pinned)


def test_the_lock_file_covers_the_project():
    def plain(requirement: str) -> str:
        name = requirement
        for mark in "=><~!;[ ":
            name = name.partition(mark)[0]
        return name.lower().replace("_", "-")

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["dev"]
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    locked = {plain(line) for line in lines if "==" in line}
    assert {plain(requirement) for requirement in wanted} <= locked

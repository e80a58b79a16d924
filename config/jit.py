"""How every kernel is compiled: one decorator, and a disk cache that source changes renew.

numba keys a cached kernel by the time-stamp of its own file only, so a kernel that inlines another
from a different file would go on running the old code after an edit. Each module's kernels are
therefore cached in a folder named by a fingerprint of that module and of every openoutcry module
that it imports, directly or through others: an edit gives fresh folders to exactly the modules that
it reaches.

This module imports nothing of the product, so protocol and engine can both use it.
"""

import ast
import functools
import hashlib
import importlib.util
import os
import platform
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import llvmlite.binding as llvm
import numba
import numpy as np

_KEEP_CACHES = 256

F = TypeVar("F", bound=Callable[..., Any])

# Kernels convert between signed and unsigned by name. To a type checker the result is an integer,
# as all of a kernel's arguments are; numba and plain Python get numpy's own types.
if TYPE_CHECKING:

    def int64(value: Any) -> int:
        """Convert to a signed 64-bit integer."""

    def uint64(value: Any) -> int:
        """Convert to an unsigned 64-bit integer."""

else:
    int64 = np.int64
    uint64 = np.uint64

#: True when numba compiles; False under NUMBA_DISABLE_JIT=1, where kernels run as plain Python.
IS_COMPILED = not numba.config.DISABLE_JIT

#: True in the build for crash tests (OPENOUTCRY_TEST_BUILD=1): kernels die at the fault points set
#: (`engine.faults`), and syncs are recorded. Everywhere else both are compiled out.
IS_TEST_BUILD = os.environ.get("OPENOUTCRY_TEST_BUILD") == "1"

if IS_COMPILED:
    # Generating machine code, LLVM may rewrite an address that is a sum of integers as an offset
    # from one of them, and numba inlines that rewritten kernel into its callers. Where the integer
    # is a literal 0 there, the access looks like one through a null pointer, and the path to it is
    # deleted: kernels that load by address came out wrong without a word (LLVM 22). With this
    # option a rewritten address stays a sum.
    llvm.set_option("openoutcry", "-addr-sink-using-gep=0")


def _module_file(name: str) -> Path | None:
    """Return the source file of `openoutcry.package[.module]` without importing the module."""
    package, _, rest = name.removeprefix("openoutcry.").partition(".")
    spec = importlib.util.find_spec(f"openoutcry.{package}")
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(next(iter(spec.submodule_search_locations))).joinpath(*rest.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


def _imported_names(source: bytes) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("openoutcry."):
            names.append(node.module or "")
            names.extend(f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            names.extend(a.name for a in node.names if a.name.startswith("openoutcry."))
    return names


@functools.cache
def _read(path: Path) -> tuple[bytes, tuple[str, ...]]:
    source = path.read_bytes()
    return source, tuple(_imported_names(source))


@functools.cache
def source_fingerprint(path: Path) -> str:
    """Return a short hash over a module's source, all it imports of openoutcry, and the
    compiler."""
    sources: dict[Path, bytes] = {}
    waiting = [path]
    while waiting:
        current = waiting.pop()
        if current in sources:
            continue
        sources[current], names = _read(current)
        waiting.extend(found for name in names if (found := _module_file(name)) is not None)
    digest = hashlib.sha256()
    versions = (numba.__version__, platform.python_version(), platform.machine(), IS_TEST_BUILD)
    digest.update(repr(versions).encode())
    for text in sorted(sources.values()):
        digest.update(hashlib.sha256(text).digest())
    return digest.hexdigest()[:16]


def cache_root() -> Path:
    """Return the folder above all kernel caches: `NUMBA_CACHE_DIR`, or the user's cache folder."""
    named = os.environ.get("NUMBA_CACHE_DIR")
    if named:
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "openoutcry" / "kernels"


def _prune(root: Path) -> None:
    """Drop the oldest caches of earlier sources, so that edits do not fill the disk."""
    folders = sorted(root.glob("src-*"), key=lambda p: p.stat().st_mtime, reverse=True)
    for old in folders[_KEEP_CACHES:]:
        shutil.rmtree(old, ignore_errors=True)


_ROOT = cache_root()


@functools.cache
def cache_folder(path: Path) -> str:
    """Return where a module's kernels are cached; the folder is there, or the text is empty."""
    folder = _ROOT / f"src-{source_fingerprint(path)}"
    try:
        if not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            _prune(_ROOT)
    except OSError:
        # A read-only home still works: numba then compiles in memory.
        return ""
    return str(folder)


def _decorate(function: Callable[..., Any], **options: Any) -> Any:
    if IS_COMPILED:
        # numba reads the setting when it decorates.
        numba.config.CACHE_DIR = cache_folder(Path(function.__code__.co_filename).resolve())
    return numba.njit(cache=True, nogil=True, error_model="numpy", **options)(function)


def kernel(function: F) -> F:
    """Compile a function as a kernel: no GIL, cached on disk, numpy's error model (no
    exceptions)."""
    compiled: F = _decorate(function)
    return compiled


def inline_kernel(function: F) -> F:
    """Compile a small kernel that LLVM shall inline wherever it is called."""
    compiled: F = _decorate(function, forceinline=True)
    return compiled


def lean_kernel(function: F) -> F:
    """Compile a kernel without reference counting of its arrays, for the hottest paths.

    numba counts a reference (an atomic operation) for each array that it takes out of a tuple: that
    cost four fifths of the book's time. Such a kernel may not allocate, nor return an array.
    """
    compiled: F = _decorate(function, _nrt=False)
    return compiled


def inlined_kernel(function: F) -> F:
    """Compile a lean kernel that is inlined into other kernels and can be called from Python
    too."""
    compiled: F = _decorate(function, _nrt=False, forceinline=True)
    return compiled


def lean_part(function: F) -> F:
    """Compile a part of lean kernels: inlined by LLVM, with no entry from Python, never cached."""
    if not IS_COMPILED:
        return function
    compiled: F = numba.njit(
        nogil=True,
        error_model="numpy",
        forceinline=True,
        _nrt=False,
        no_cpython_wrapper=True,
        no_cfunc_wrapper=True,
    )(function)
    return compiled

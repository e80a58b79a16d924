"""A kernel's disk cache is renewed when a kernel that it inlines changed in another file."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from openoutcry.config import jit

INNER = """
from openoutcry.config.jit import inline_kernel

@inline_kernel
def inner(x):
    return x * {factor}
"""

OUTER = """
from openoutcry.config.jit import kernel
from openoutcry.engine.inner_probe import inner

@kernel
def outer(x):
    return inner(x) + 1
"""

RUN = """
import importlib.util, sys
from pathlib import Path
import openoutcry.engine
from openoutcry.config import jit

folder = Path(sys.argv[1])
# The probe's modules stand in for engine's: found by name, as the product's own are.
real = jit._module_file
jit._module_file = lambda name: (
    folder / (name.rpartition(".")[2] + ".py") if name.endswith("_probe") else real(name)
)

def load(name):
    path = folder / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"openoutcry.engine.{name}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module

load("inner_probe")
outer = load("outer_probe").outer
print(outer(5), sum(outer.stats.cache_hits.values()))
"""


def run(folder: Path) -> list[int]:
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(folder)],
        env={**os.environ, "NUMBA_CACHE_DIR": str(folder / "cache")},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return [int(word) for word in done.stdout.split()]


@pytest.mark.skipif(not jit.IS_COMPILED, reason="about compiled kernels")
def test_editing_an_inlined_kernel_of_another_file_renews_the_cache(tmp_path: Path) -> None:
    (tmp_path / "inner_probe.py").write_text(INNER.format(factor=3))
    (tmp_path / "outer_probe.py").write_text(OUTER)
    assert run(tmp_path) == [16, 0]
    assert run(tmp_path) == [16, 1], "the second run loads from the cache"
    (tmp_path / "inner_probe.py").write_text(INNER.format(factor=7))
    assert run(tmp_path) == [36, 0], "the edit of the inlined kernel counts"


def test_a_fingerprint_covers_what_a_module_imports_directly_or_through_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = {
        "a": "from openoutcry.engine.b import f\n",
        "b": "from openoutcry.engine.c import f\n",
        "c": "X = 1\n",
        "d": "Y = 1\n",
    }
    for name, text in texts.items():
        (tmp_path / f"{name}.py").write_text(text)

    def find(name: str) -> Path | None:
        path = tmp_path / f"{name.rpartition('.')[2]}.py"
        return path if path.is_file() else None

    monkeypatch.setattr(jit, "_module_file", find)

    def fingerprint() -> str:
        jit._read.cache_clear()
        jit.source_fingerprint.cache_clear()
        return jit.source_fingerprint(tmp_path / "a.py")

    before = fingerprint()
    (tmp_path / "d.py").write_text("Y = 2\n")
    assert fingerprint() == before
    (tmp_path / "c.py").write_text("X = 2\n")
    assert fingerprint() != before
    jit._read.cache_clear()
    jit.source_fingerprint.cache_clear()

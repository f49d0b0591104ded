# SPDX-License-Identifier: MIT
"""Outside of Linux the package is the standard library's multiprocessing, and says so.

MULTIPROC_SITE is the folder that has the package.  A sitecustomize makes every interpreter of a test, also those that
it starts, one of macOS without our extension.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SITE = os.environ["MULTIPROC_SITE"]
ELSEWHERE = """
import sys
sys.platform = "darwin"
class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "multiproc._core":
            raise ImportError("this system has no " + name)
sys.meta_path.insert(0, Finder)
"""
PROGRAM = """
import multiprocessing, sys
{imports}
def work(q, x):
    q.put((x, type(q).__module__, sys.platform))
def square(x):
    return x * x
if __name__ == "__main__":
    for method in ["spawn", "fork", "forkserver"]:
        context = mp.get_context(method)
        q = context.Queue()
        p = context.Process(target=work, args=(q, method))
        p.start()
        print(*q.get(timeout=60))
        p.join()
        with context.Pool(2) as pool:
            print(pool.map(square, [1, 2, 3]))
    print(multiprocessing.__name__, mp.get_start_method())
"""
OUTPUT = "".join(
    f"{method} multiprocessing.queues darwin\n[1, 4, 9]\n" for method in ["spawn", "fork", "forkserver"]
) + "multiprocessing spawn\n"


def run(tmp_path: Path, words: list[str], site: str = SITE) -> str:
    (tmp_path / "sitecustomize.py").write_text(ELSEWHERE, encoding="utf-8")
    path = os.pathsep.join([str(tmp_path), site])
    done = subprocess.run(
        [sys.executable, *words], env=dict(os.environ, PYTHONPATH=path), cwd=tmp_path,
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize("first", ["multiprocessing", "multiproc"])
@pytest.mark.parametrize("way", ["import", "command", "path"])
def test_a_program(tmp_path: Path, way: str, first: str) -> None:
    imports = "import multiprocessing as mp"
    if way == "import" or first == "multiproc":
        imports = "import multiproc as mp"
    text = PROGRAM.format(imports=imports)
    if first == "multiproc":
        text = "import multiproc\n" + text
    (tmp_path / "program.py").write_text(text, encoding="utf-8")
    words, site = ["program.py"], SITE
    if way == "command":
        words = ["-m", "multiproc", *words]
    elif way == "path":
        site = run(tmp_path, ["-m", "multiproc", "--path"]).strip()
        if first == "multiproc":
            site += os.pathsep + SITE
    assert run(tmp_path, words, site) == OUTPUT


def test_names(tmp_path: Path) -> None:
    """One set of modules under two names; everything is there, and `backend` tells."""
    text = """
import multiproc as mp
import multiproc.pool, multiprocessing.pool
from multiproc import *
from multiproc.managers import BaseManager
from multiproc.dummy import connection
import multiprocessing.managers as managers, multiprocessing as stock, multiprocessing.dummy.connection as other
print(mp.backend, mp.installed(), mp.install(), issubclass(mp.OwnerDiedWarning, Warning))
print(mp.pool is stock.pool, BaseManager is managers.BaseManager, connection is other)
print(mp.Process is stock.Process, Queue == stock.Queue, mp.pool.__spec__.name, install, sep="\\n")
import multiprocessing.shared_memory
print(mp.shared_memory is stock.shared_memory, set(stock.__all__) <= set(mp.__all__))
try:
    import multiproc.nothing
except ModuleNotFoundError as error:
    print(error)
"""
    lines = run(tmp_path, ["-W", "error", "-c", text]).splitlines()
    assert lines[:2] == ["standard library False None True", "True True True"]
    assert lines[2:5] == ["True", "True", "multiprocessing.pool"]
    assert lines[6:] == ["True True", "No module named 'multiproc.nothing'"]


def test_backend_here() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import multiproc; print(multiproc.backend)"],
        env=dict(os.environ, PYTHONPATH=SITE), capture_output=True, text=True, timeout=60, check=True,
    )
    assert done.stdout == "libmultiproc\n"


def test_a_lost_extension_is_an_error_on_linux(tmp_path: Path) -> None:
    """A broken installation is not hidden by slower code."""
    (tmp_path / "sitecustomize.py").write_text(
        ELSEWHERE.replace('sys.platform = "darwin"', ""), encoding="utf-8"
    )
    done = subprocess.run(
        [sys.executable, "-c", "import multiproc"], capture_output=True, text=True, timeout=60,
        env=dict(os.environ, PYTHONPATH=os.pathsep.join([str(tmp_path), SITE])), check=False,
    )
    assert done.returncode == 1
    assert "this system has no multiproc._core" in done.stderr

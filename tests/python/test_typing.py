# SPDX-License-Identifier: MIT
"""The type stubs: programs check with mypy, and stubs and package have the same names.

MULTIPROC_SITE is the folder that has the package.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

SITE = Path(os.environ["MULTIPROC_SITE"])
STUBS = SITE / "multiproc"
MODULES = sorted(path.stem for path in STUBS.glob("[a-z]*.pyi"))
# All contexts have it, their common base has not.
OF_CONTEXTS = ["BaseContext.Process"]

sys.path.insert(0, str(SITE))
needs_mypy = pytest.mark.skipif(not importlib.util.find_spec("mypy"), reason="mypy is not installed")


def mypy(tmp_path: Path, *words: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), *words],
        env=dict(os.environ, MYPYPATH=str(SITE), PYTHONPATH=""), cwd=tmp_path, text=True,
        capture_output=True, timeout=300, check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@needs_mypy
def test_a_program(tmp_path: Path) -> None:
    """Right uses pass, and wrong ones are found: an ignore that is not needed is an error."""
    mypy(tmp_path, str(Path(__file__).with_name("typed_program.py")))


@needs_mypy
def test_every_name_of_the_package_is_in_the_stubs(tmp_path: Path) -> None:
    lines = ["import multiproc", "print(multiproc.__version__)"]
    for module in ["", "dummy", *MODULES]:
        full = f"multiproc.{module}" if module else "multiproc"
        if module == "popen_spawn_win32":
            continue
        for name in getattr(importlib.import_module(full), "__all__", []):
            lines.append(f"from {full} import {name} as {module}_{name}")
    (tmp_path / "names.py").write_text("\n".join(lines) + "\n", encoding="utf-8")
    mypy(tmp_path, "names.py")


def missing(body: list[ast.stmt], owner: object) -> list[str]:
    """The names that are defined in a stub and that its module or class does not have."""
    found = []
    for node in body:
        names = [getattr(node, "name", None)]
        if isinstance(node, ast.ImportFrom):
            names = [alias.asname for alias in node.names]
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names = [node.target.id]
        elif isinstance(node, ast.Assign):
            names = [target.id for target in node.targets if isinstance(target, ast.Name)]
        for name in names:
            if name is None or name.startswith("_") and name != "__await__":
                continue
            if not hasattr(owner, name):
                found.append(name)
            elif isinstance(node, ast.ClassDef):
                inner = missing(node.body, getattr(owner, name))
                found += [f"{name}.{n}" for n in inner]
    return found


@pytest.mark.parametrize("module", ["__init__", *MODULES])
def test_every_name_of_the_stubs_is_in_the_package(module: str) -> None:
    full = "multiproc" if module == "__init__" else f"multiproc.{module}"
    if module == "popen_spawn_win32":
        pytest.skip("the module is for another system")
    tree = ast.parse((STUBS / f"{module}.pyi").read_text(encoding="utf-8"))
    found = missing(tree.body, importlib.import_module(full))
    assert [name for name in found if name not in OF_CONTEXTS] == []

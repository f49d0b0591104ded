# SPDX-License-Identifier: MIT
"""Where libmultiproc does not run: the names of this package are those of the standard library's multiprocessing."""

import importlib
import importlib.machinery
import importlib.util
import os
import sys

__all__ = ["OwnerDiedWarning", "fill", "install", "installed"]


class OwnerDiedWarning(RuntimeWarning):
    """Never given here: for programs that name it."""


def installed():
    """Whether `multiprocessing` is this package; here it is the other way round."""
    return False


def install():
    """Nothing is to be done: this package is multiprocessing."""


def _standard():
    """The standard library's package, also where our folder stands before it on the path."""
    module = sys.modules.get("multiprocessing")
    if hasattr(module, "Process"):
        return module
    folder = os.path.dirname(os.__file__)
    spec = importlib.machinery.PathFinder.find_spec("multiprocessing", [folder])
    if spec is None:  # frozen, say
        return importlib.import_module("multiprocessing")
    module = sys.modules["multiprocessing"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class _Loader:
    """Loads multiproc.x by importing multiprocessing.x: one module under two names."""

    def create_module(self, spec):
        module = importlib.import_module("multiprocessing" + spec.name[len("multiproc"):])
        self.spec = module.__spec__
        return module

    def exec_module(self, module):
        module.__spec__ = self.spec


class _Finder:
    """Finds all modules of this package but its own, which begin with an underscore."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if not name.startswith("multiproc.") or name.startswith("multiproc._"):
            return None
        if importlib.util.find_spec("multiprocessing" + name[len("multiproc"):]) is None:
            return None
        return importlib.machinery.ModuleSpec(name, _Loader())


def _look_up(name):
    """The package's __getattr__: what the standard library's package got after fill()."""
    if name == "__version__":
        from importlib.metadata import version

        return version("multiproc")
    return getattr(sys.modules["multiprocessing"], name)


def fill(namespace):
    """Gives our package's namespace the names of the standard library's, and our own."""
    standard = _standard()
    sys.meta_path.insert(0, _Finder)
    for name, value in vars(standard).items():
        if not name.startswith("__"):
            namespace[name] = value
    namespace["__getattr__"] = _look_up
    own = {"OwnerDiedWarning": OwnerDiedWarning, "install": install, "installed": installed}
    namespace.update(own, backend="standard library")
    namespace["__all__"] = [*standard.__all__, *own, "backend"]

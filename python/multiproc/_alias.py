# SPDX-License-Identifier: MIT
"""Makes `import multiprocessing` mean this package, in this process and in those that it starts."""

import importlib
import importlib.abc
import importlib.util
import sys

__all__ = ["install", "installed"]

_installed = False


class _Loader(importlib.abc.Loader):
    """Loads multiprocessing.x by importing multiproc.x: one module under two names."""

    def create_module(self, spec):
        return importlib.import_module("multiproc" + spec.name[len("multiprocessing"):])

    def exec_module(self, module):
        pass


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name != "multiprocessing" and not name.startswith("multiprocessing."):
            return None
        ours = "multiproc" + name[len("multiprocessing"):]
        if importlib.util.find_spec(ours) is None:
            return None
        return importlib.util.spec_from_loader(name, _Loader())


def installed():
    """Whether `multiprocessing` is this package."""
    return _installed


def install():
    """From now on `multiprocessing` is this package; also for modules that have imported the other one
    as a module, but not for names that they took out of it."""
    global _installed
    if _installed:
        return
    _installed = True
    import multiproc

    for name in [n for n in sys.modules if n.partition(".")[0] == "multiprocessing"]:
        del sys.modules[name]
    sys.meta_path.insert(0, _Finder())
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "multiproc" and not name.startswith("multiproc._"):
            sys.modules["multiprocessing" + name[len("multiproc"):]] = module
    sys.modules["multiprocessing"] = multiproc

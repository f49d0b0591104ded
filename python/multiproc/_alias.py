# SPDX-License-Identifier: MIT
"""Makes `import multiprocessing` mean this package, in this process and in those that it starts."""

import sys

import _frozen_importlib

__all__ = ["install", "installed"]

_installed = False
_specs = {}  # of the modules that are being imported under the other name


class _Finder:
    """Finds multiprocessing.x, and loads it by importing multiproc.x: one module under two names."""

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        # What importlib.machinery and importlib.util have, without importing them inside of an import.
        if name != "multiprocessing" and not name.startswith("multiprocessing."):
            return None
        own = "multiproc" + name[len("multiprocessing"):]
        if own not in sys.modules and _frozen_importlib._find_spec(own, path) is None:
            return None
        return _frozen_importlib.ModuleSpec(name, cls)

    @staticmethod
    def create_module(spec):
        name = "multiproc" + spec.name[len("multiprocessing"):]
        __import__(name)
        module = sys.modules[name]
        _specs[name] = module.__spec__
        return module

    @staticmethod
    def exec_module(module):
        """It is loaded; what the import system has written over its own spec is taken back."""
        module.__spec__ = _specs.pop(module.__name__, module.__spec__)


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
    sys.meta_path.insert(0, _Finder)
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "multiproc" and not name.startswith("multiproc._"):
            sys.modules["multiprocessing" + name[len("multiproc"):]] = module
    sys.modules["multiprocessing"] = multiproc

# SPDX-License-Identifier: MIT
"""Where the names come from that this package does not make itself.

The modules of this package carry every name that the running interpreter's multiprocessing has, because
they start as that: inherit() runs the interpreter's own module in the namespace of ours, under our
package's name, and what follows in our module puts libmultiproc behind it.  Submodules that need nothing
of ours are found in the interpreter's folder, which stands behind our own on the package's path.

Modules that cost much to import and are seldom used come when they are used: a fresh process imports all
this again.
"""

import builtins
import os
import sys
from _frozen_importlib_external import SourceFileLoader  # importlib.machinery's, without the import

__all__ = ["FOLDER", "inherit"]

FOLDER = os.path.join(os.path.dirname(os.__file__), "multiprocessing")


class _Later:
    """Stands for a module until something is asked of it that its stand-in does not have."""

    def __init__(self, name, stand_in):
        self._name = name
        self._stand_in = stand_in

    def __getattribute__(self, attribute):
        if attribute in ("_name", "_stand_in"):
            return object.__getattribute__(self, attribute)
        module = sys.modules.get(self._name)
        if module is None:
            if self._stand_in is not None and (attribute == "__dict__" or hasattr(self._stand_in, attribute)):
                return getattr(self._stand_in, attribute)
            module = __import__(self._name)
        return getattr(module, attribute)


class _Functions:
    """What `from module import function` finds: functions that import the module when they are called."""

    def __init__(self, name):
        self._name = name

    def __getattr__(self, attribute):
        def call(*args, **kwargs):
            return getattr(__import__(self._name), attribute)(*args, **kwargs)

        return call


def _importer(later):
    def importer(name, globals=None, locals=None, fromlist=(), level=0):
        if level == 0 and name in later and name not in sys.modules:
            if fromlist:
                return _Functions(name)
            stand_in = later[name]
            return _Later(name, __import__(stand_in) if stand_in else None)
        return __import__(name, globals, locals, fromlist, level)

    return importer


def inherit(namespace, later=None):
    """Runs the interpreter's module of the same name in a module's namespace.  `later`: modules that are
    not imported before they are used, with their stand-ins, or None."""
    name = namespace["__name__"].rpartition(".")[2]
    if namespace["__name__"] == namespace["__package__"]:
        name = "__init__"
    path = os.path.join(FOLDER, name + ".py")
    full = "multiprocessing" if name == "__init__" else "multiprocessing." + name
    code = SourceFileLoader(full, path).get_code(full)
    if later:
        namespace["__builtins__"] = dict(vars(builtins), __import__=_importer(later))
    try:
        exec(code, namespace)
    finally:
        namespace["__builtins__"] = builtins

# SPDX-License-Identifier: MIT
"""Subclasses of the processes and managers of each package, where a fresh image finds them by name."""

from __future__ import annotations

import importlib

import tasks

PACKAGES = ("multiprocessing", "multiproc")
_classes = {}


def make(package, what):
    """The subclass of a package: of a process of a start method, or of a manager."""
    return __getattr__(f"{package}_{what}")


def _talker(name, package, method):
    base = importlib.import_module(package).get_context(method).Process

    def __init__(self, conn, text):
        base.__init__(self)
        self.conn, self.text = conn, text

    def run(self):
        self.conn.send((self.text, self.name, self.pid))

    return type(name, (base,), {"__init__": __init__, "run": run, "__module__": __name__})


def _manager(name, package):
    base = importlib.import_module(package + ".managers").SyncManager
    made = type(name, (base,), {"__module__": __name__})
    made.register("Counter", tasks.Counter, exposed=("up", "get", "fail", "parts", "die"),
                  method_to_typeid={"parts": "list"})
    made.register("hidden", tasks.Counter, create_method=False)
    made.register("get_counter", tasks.the_counter, exposed=("up", "get"))
    return made


def __getattr__(name):
    package, _, what = name.partition("_")
    if package not in PACKAGES or not what:
        raise AttributeError(name)
    if name not in _classes:
        maker = [_manager] if what == "manager" else [_talker, what]
        _classes[name] = maker[0](name, package, *maker[1:])
    return _classes[name]

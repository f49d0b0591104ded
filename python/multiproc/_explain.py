# SPDX-License-Identifier: MIT
"""Which part of an object it is that cannot be pickled: looked for after that has failed."""

import pickle

__all__ = ["explain"]

DEEPEST = 20
MOST = 1000  # parts that are tried


class _Search:
    def __init__(self, dumps):
        self.dumps = dumps
        self.left = MOST
        self.seen = set()

    def fails(self, part):
        self.left -= 1
        try:
            self.dumps(part)
        except Exception:
            return True
        return False

    def find(self, thing, path, depth):
        """The path to the deepest part that fails by itself."""
        if depth > DEEPEST or id(thing) in self.seen:
            return path
        self.seen.add(id(thing))
        for name, part in _parts(thing):
            if self.left <= 0:
                break
            if self.fails(part):
                return self.find(part, path + name, depth + 1)
        return path


def _parts(thing):
    if isinstance(thing, dict):
        for key, value in thing.items():
            yield f"[{key!r:.60}]", value
    elif isinstance(thing, (list, tuple, set, frozenset)):
        for i, value in enumerate(thing):
            yield f"[{i}]", value
    else:
        for name, value in getattr(thing, "__dict__", {}).items():
            yield f".{name}", value


def explain(error, thing, dumps):
    """Adds to an exception's text which part of the thing it is about."""
    if not isinstance(error, (TypeError, AttributeError, pickle.PicklingError)) or not error.args:
        return
    if type(error.args[0]) is not str:
        return
    path = _Search(dumps).find(thing, "", 0)
    if path:
        where = f"{type(thing).__name__} object"
        error.args = (f"{error.args[0]} (at {path.lstrip('.')} of the {where})", *error.args[1:])

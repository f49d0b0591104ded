# SPDX-License-Identifier: MIT
"""Values and arrays in shared memory; an attribute is read and written under its lock in one step."""

from . import _core, _stdlib

_stdlib.inherit(globals())


def make_property(name):
    return _core.Synced(name)


class Synchronized(Synchronized):
    """A value with a lock."""

    value = make_property("value")


class SynchronizedString(SynchronizedString):
    """An array of characters with a lock."""

    value = make_property("value")
    raw = make_property("raw")

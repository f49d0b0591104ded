# SPDX-License-Identifier: MIT
"""Where the names come from that this package does not make itself.

The modules of this package carry every name that the running interpreter's multiprocessing has, because
they start as that: inherit() runs the interpreter's own module in the namespace of ours, under our
package's name, and what follows in our module puts libmultiproc behind it.  Submodules that need nothing
of ours are found in the interpreter's folder, which stands behind our own on the package's path.
"""

import os
from _frozen_importlib_external import SourceFileLoader  # importlib.machinery's, without the import

__all__ = ["FOLDER", "inherit"]

FOLDER = os.path.join(os.path.dirname(os.__file__), "multiprocessing")


def inherit(namespace):
    """Runs the interpreter's module of the same name in a module's namespace."""
    name = namespace["__name__"].rpartition(".")[2]
    if namespace["__name__"] == namespace["__package__"]:
        name = "__init__"
    path = os.path.join(FOLDER, name + ".py")
    full = "multiprocessing" if name == "__init__" else "multiprocessing." + name
    code = SourceFileLoader(full, path).get_code(full)
    exec(code, namespace)

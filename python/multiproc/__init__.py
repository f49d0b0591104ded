# SPDX-License-Identifier: MIT
"""A drop-in for multiprocessing on libmultiproc.

    import multiproc as mp

or, with nothing changed in the program, `python -m multiproc program.py`.  libmultiproc runs on Linux; elsewhere the
names here are the standard library's own, and `backend` says so.
"""

import sys as _sys

if _sys.platform == "linux":
    from . import _stdlib

    __path__.append(_stdlib.FOLDER)
    _stdlib.inherit(globals())

    from . import _core  # noqa: E402
    from . import _start  # noqa: E402
    from ._alias import install, installed  # noqa: E402
    from ._core import OwnerDiedWarning  # noqa: E402
    from .context import CancelledError, WorkerDiedError  # noqa: E402

    __version__ = _core.version()
    del serializer  # an attribute of contexts, and no function of the package
    __all__ = [name for name in __all__ if name != "serializer"] + [
        "CancelledError", "OwnerDiedWarning", "WorkerDiedError", "backend", "install", "installed"
    ]
    backend = "libmultiproc"
else:
    from . import _fallback

    _fallback.fill(globals())

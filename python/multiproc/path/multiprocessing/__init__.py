# SPDX-License-Identifier: MIT
"""With its folder first on PYTHONPATH, every `import multiprocessing` is multiproc."""

import os as _os
import sys as _sys

_folder = _os.path.dirname(_os.path.dirname(_os.path.dirname(_os.path.dirname(_os.path.abspath(__file__)))))
if _folder not in _sys.path:
    _sys.path.append(_folder)

import multiproc as _multiproc  # noqa: E402

_multiproc.install()

# SPDX-License-Identifier: MIT
"""For the names only: on Windows the standard library's multiprocessing is used."""

from . import _stdlib

_stdlib.inherit(globals())

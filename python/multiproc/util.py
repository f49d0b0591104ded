# SPDX-License-Identifier: MIT
"""Finalizers, logging and what else the package's modules share: the interpreter's."""

from . import _stdlib

_stdlib.inherit(globals(), {"subprocess": None})

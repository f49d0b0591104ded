# SPDX-License-Identifier: MIT
"""The processes of the start method forkserver."""

from . import _start

__all__ = ["Popen"]


class Popen(_start.Popen):
    method = "forkserver"

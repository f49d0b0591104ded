# SPDX-License-Identifier: MIT
"""The processes of the start method fork."""

from . import _start

__all__ = ["Popen"]


class Popen(_start.ForkPopen):
    method = "fork"

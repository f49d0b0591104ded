# SPDX-License-Identifier: MIT
"""Processes: the interpreter's, with what newer versions of it and asyncio have besides."""

from . import _stdlib

_stdlib.inherit(globals(), {"signal": "_signal"})


def _interrupt(self):
    """Sends SIGINT to the process."""
    self._check_closed()
    self._popen.interrupt()


async def _join_async(self, timeout=None):
    """Like join(), for asyncio: waits for the sentinel.  The exit code, or None when the time is up."""
    from ._asyncio import joined

    return await joined(self, timeout)


BaseProcess.interrupt = _interrupt
BaseProcess.join_async = _join_async

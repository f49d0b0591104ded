# SPDX-License-Identifier: MIT
"""What can be awaited: twins of the calls that wait, on the event loop's own readiness, without threads."""

import asyncio

__all__ = ["joined", "readable", "result_of"]


async def readable(fd):
    """Until a descriptor is readable."""
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    loop.add_reader(fd, lambda: ready.done() or ready.set_result(None))
    try:
        await ready
    finally:
        loop.remove_reader(fd)


async def result_of(result):
    """The value of a pool's result."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()

    def wake():
        try:
            loop.call_soon_threadsafe(ready.set)
        except RuntimeError:  # the loop is closed: nobody waits any more
            pass

    result._waker = wake
    if result.ready():
        ready.set()
    await ready.wait()
    return result.get()


async def joined(process, timeout=None):
    """Until a process has ended, or the time is up; its exit code, or None."""
    try:
        await asyncio.wait_for(readable(process.sentinel), timeout)
    except asyncio.TimeoutError:
        pass
    process.join(0)
    return process.exitcode

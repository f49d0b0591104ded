# SPDX-License-Identifier: MIT
"""Owns the cases of channels.py with mpi4py: two ranks, and the calls that pickle, send and recv.

Rank 0 returns the seconds, the other one None.
"""

from time import perf_counter as clock
from typing import Any, Optional

import things
from mpi4py import MPI

world = MPI.COMM_WORLD


def pipe(mp: Any, n: int, of: str) -> Optional[float]:
    """Rank 0 sends, rank 1 receives and says so at the end."""
    sent = things.Sent(of)
    world.Barrier()
    start = clock()
    if world.rank == 0:
        for _ in range(n):
            world.send(sent.thing, 1)
        world.recv(source=1)
        return (clock() - start) / n
    sent.take(world.recv, n)
    world.send(None, 0)
    return None


def ping_pong(mp: Any, n: int, of: str) -> Optional[float]:
    sent = things.Sent(of)
    world.Barrier()
    start = clock()
    if world.rank == 0:
        for _ in range(n):
            world.send(sent.thing, 1)
            got = world.recv(source=1)
        sent.check(got)
        return (clock() - start) / n
    for _ in range(n):
        world.send(world.recv(source=0), 0)
    return None

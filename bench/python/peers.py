# SPDX-License-Identifier: MIT
"""Owns the libraries besides multiprocessing that some measurements are made with too.

load() returns what stands for the module: with the names that the cases use, or with the name of the
module beside this one that has the same cases.
"""

from types import SimpleNamespace
from typing import Any


def load(library: str) -> Any:
    if library == "faster_fifo":
        return _faster_fifo()
    return SimpleNamespace(module={"joblib": "peer_joblib", "mpi": "peer_mpi"}[library])


def _faster_fifo() -> Any:
    """Its queue, which is bounded by bytes, between processes of multiprocessing."""
    import multiprocessing

    import faster_fifo

    class Queue(faster_fifo.Queue):
        def __init__(self, maxsize: int = 0) -> None:
            super().__init__(max_size_bytes=4000000)

        def get_many(self, most: int) -> Any:
            return super().get_many(max_messages_to_get=most)

    made = SimpleNamespace(Process=multiprocessing.get_context("fork").Process, Queue=Queue)
    made.get_context = lambda method: made
    return made

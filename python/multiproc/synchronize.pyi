# SPDX-License-Identifier: MIT
# Locks and their relatives in shared memory.
from multiprocessing import synchronize as _synchronize
from multiprocessing.context import BaseContext
from multiprocessing.synchronize import Barrier as Barrier, Condition as Condition

__all__ = ["Lock", "RLock", "Semaphore", "BoundedSemaphore", "Condition", "Event"]

RECURSIVE_MUTEX: int
SEMAPHORE: int
SEM_VALUE_MAX: int

class SemLock(_synchronize.SemLock):
    def locked(self) -> bool: ...

class Lock(SemLock, _synchronize.Lock): ...
class RLock(SemLock, _synchronize.RLock): ...

class Semaphore(SemLock, _synchronize.Semaphore):
    def get_value(self) -> int: ...

class BoundedSemaphore(Semaphore, _synchronize.BoundedSemaphore): ...

class Event(_synchronize.Event):
    def __init__(self, *, ctx: BaseContext) -> None: ...

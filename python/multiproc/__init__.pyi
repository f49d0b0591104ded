# SPDX-License-Identifier: MIT
# The names of the package: those of multiprocessing, with our classes behind them, and our own.
from multiproc import context as context, reduction as reducer
from multiproc._alias import install as install, installed as installed
from multiproc.context import (
    AuthenticationError as AuthenticationError,
    BufferTooShort as BufferTooShort,
    Process as Process,
    ProcessError as ProcessError,
    TimeoutError as TimeoutError,
    CancelledError as CancelledError,
    WorkerDiedError as WorkerDiedError,
)
from multiproc.process import (
    active_children as active_children,
    current_process as current_process,
    parent_process as parent_process,
)

# As in typeshed: these are functions that return instances of the classes.
from multiproc.queues import JoinableQueue as JoinableQueue, Queue as Queue, SimpleQueue as SimpleQueue
from multiproc.spawn import freeze_support as freeze_support
from typing import Literal

__version__: str
backend: Literal["libmultiproc", "standard library"]

class OwnerDiedWarning(RuntimeWarning): ...

SUBDEBUG: int
SUBWARNING: int

RawValue = context._default_context.RawValue
RawArray = context._default_context.RawArray
Value = context._default_context.Value
Array = context._default_context.Array
Barrier = context._default_context.Barrier
BoundedSemaphore = context._default_context.BoundedSemaphore
Condition = context._default_context.Condition
Event = context._default_context.Event
Lock = context._default_context.Lock
RLock = context._default_context.RLock
Semaphore = context._default_context.Semaphore
Pipe = context._default_context.Pipe
Pool = context._default_context.Pool
allow_connection_pickling = context._default_context.allow_connection_pickling
cpu_count = context._default_context.cpu_count
get_logger = context._default_context.get_logger
log_to_stderr = context._default_context.log_to_stderr
Manager = context._default_context.Manager
set_executable = context._default_context.set_executable
set_forkserver_preload = context._default_context.set_forkserver_preload
get_all_start_methods = context._default_context.get_all_start_methods
get_start_method = context._default_context.get_start_method
set_start_method = context._default_context.set_start_method
get_context = context._default_context.get_context

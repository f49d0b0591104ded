# SPDX-License-Identifier: MIT
# Pools of workers.
from collections.abc import Callable, Generator, Iterable, Mapping
from multiproc.context import CancelledError as CancelledError, WorkerDiedError as WorkerDiedError
from multiprocessing import pool as _pool
from multiprocessing.pool import IMapIterator as IMapIterator, IMapUnorderedIterator as IMapUnorderedIterator
from typing import Any, TypeVar, Union
from typing_extensions import TypeAlias

__all__ = ["Pool", "ThreadPool"]

INIT: str
RUN: str
CLOSE: str
TERMINATE: str

_S = TypeVar("_S")
_T = TypeVar("_T")
_Progress: TypeAlias = Union[bool, Callable[[int, int], object]]
_Failed: TypeAlias = Callable[[BaseException], object]

class ApplyResult(_pool.ApplyResult[_T]):
    def cancel(self) -> bool: ...
    def __await__(self) -> Generator[Any, None, _T]: ...

AsyncResult = ApplyResult

class MapResult(ApplyResult[list[_T]], _pool.MapResult[_T]): ...

class Pool(_pool.Pool):
    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        maxtasksperchild: int | None = None,
        context: Any | None = None,
        *,
        retries: int = 0,
        timeout: float | None = None,
        max_memory: int | None = None,
        name: str | None = None,
    ) -> None: ...
    def apply(
        self,
        func: Callable[..., _T],
        args: Iterable[Any] = (),
        kwds: Mapping[str, Any] = {},
        *,
        retries: int | None = None,
        timeout: float | None = None,
    ) -> _T: ...
    def apply_async(
        self,
        func: Callable[..., _T],
        args: Iterable[Any] = (),
        kwds: Mapping[str, Any] = {},
        callback: Callable[[_T], object] | None = None,
        error_callback: _Failed | None = None,
        *,
        retries: int | None = None,
        timeout: float | None = None,
    ) -> ApplyResult[_T]: ...
    def map(
        self,
        func: Callable[[_S], _T],
        iterable: Iterable[_S],
        chunksize: int | None = None,
        *,
        retries: int | None = None,
        timeout: float | None = None,
        progress: _Progress = False,
    ) -> list[_T]: ...
    def map_async(  # type: ignore[override]
        self,
        func: Callable[[_S], _T],
        iterable: Iterable[_S],
        chunksize: int | None = None,
        callback: Callable[[list[_T]], object] | None = None,
        error_callback: _Failed | None = None,
        *,
        retries: int | None = None,
        timeout: float | None = None,
        progress: _Progress = False,
    ) -> MapResult[_T]: ...
    def imap(
        self,
        func: Callable[[_S], _T],
        iterable: Iterable[_S],
        chunksize: int | None = 1,
        *,
        retries: int | None = None,
        timeout: float | None = None,
        progress: _Progress = False,
    ) -> IMapIterator[_T]: ...
    def imap_unordered(
        self,
        func: Callable[[_S], _T],
        iterable: Iterable[_S],
        chunksize: int | None = 1,
        *,
        retries: int | None = None,
        timeout: float | None = None,
        progress: _Progress = False,
    ) -> IMapIterator[_T]: ...
    def starmap(
        self,
        func: Callable[..., _T],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
        *,
        retries: int | None = None,
        timeout: float | None = None,
        progress: _Progress = False,
    ) -> list[_T]: ...
    def starmap_async(  # type: ignore[override]
        self,
        func: Callable[..., _T],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
        callback: Callable[[list[_T]], object] | None = None,
        error_callback: _Failed | None = None,
        *,
        retries: int | None = None,
        timeout: float | None = None,
        progress: _Progress = False,
    ) -> MapResult[_T]: ...

class ThreadPool(Pool):
    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
    ) -> None: ...

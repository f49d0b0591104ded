# SPDX-License-Identifier: MIT
"""What the Python tests share: the kinds of contexts, the watchdog, and the search for what a test left.

MULTIPROC_SITE is the folder that has the package.  MULTIPROC_TEST_LONG=1 makes the random tests long.
"""

from __future__ import annotations

import faulthandler
import fcntl
import gc
import importlib
import os
import signal
import sys
import tempfile
import time
import types
from typing import Any, Iterator

import pytest

if os.environ.get("MULTIPROC_SITE") and os.environ["MULTIPROC_SITE"] not in sys.path:
    sys.path.insert(0, os.environ["MULTIPROC_SITE"])

METHODS = ["fork", "spawn", "forkserver"]
LONG = bool(os.environ.get("MULTIPROC_TEST_LONG"))
# Seconds that a test may take, unless it is marked with another figure.
PATIENCE = float(os.environ.get("MULTIPROC_TEST_PATIENCE", 60))
LEFTOVERS = 10.0  # seconds in which what a test used must have gone

# Every process of the tests writes its stacks to this file when the watchdog asks for them.
_stderr_fd = 2  # a copy of the true one, once pytest is configured
_stacks_fd, _stacks_path = tempfile.mkstemp(prefix="stacks-")
fcntl.fcntl(_stacks_fd, fcntl.F_SETFL, os.O_APPEND)
os.environ["MULTIPROC_TEST_STACKS"] = _stacks_path
faulthandler.register(signal.SIGUSR1, file=_stacks_fd, all_threads=True)


class Kind:
    """One package and one start method."""

    def __init__(self, package: str, method: str) -> None:
        self.name = package
        self.method = method
        self.stock = package == "multiprocessing"
        self.package: Any = importlib.import_module(package)
        self.ctx: Any = self.package.get_context(method)

    def module(self, name: str) -> Any:
        return importlib.import_module(f"{self.name}.{name}")

    def start(self, target: Any, *args: Any, **options: Any) -> Any:
        process = self.ctx.Process(target=target, args=args, **options)
        process.start()
        return process

    def warm_up(self) -> None:
        """Starts what lives as long as this process: servers and trackers."""
        process = self.start(int)
        process.join(PATIENCE)
        assert process.exitcode == 0
        self.module("resource_tracker").ensure_running()


_kinds: dict[tuple[str, str], Kind] = {}


def kind_of(package: str, method: str) -> Kind:
    if (package, method) not in _kinds:
        kind = Kind(package, method)
        kind.warm_up()
        _kinds[package, method] = kind
    return _kinds[package, method]


@pytest.fixture(params=[f"{p}-{m}" for p in ("stock", "multiproc") for m in METHODS])
def mp(request: Any) -> Iterator[Kind]:
    """Each of the two packages under each start method."""
    package, method = request.param.split("-")
    kind = kind_of({"stock": "multiprocessing"}.get(package, package), method)
    with watched(request, kind):
        yield kind


@pytest.fixture(params=METHODS)
def ours(request: Any) -> Iterator[Kind]:
    """Our package under each start method."""
    kind = kind_of("multiproc", request.param)
    with watched(request, kind):
        yield kind


def join(*processes: Any) -> None:
    """Joins processes that must end well."""
    for process in processes:
        process.join(PATIENCE / 2)
    assert [process.exitcode for process in processes] == [0] * len(processes)


def until(condition: Any, seconds: float = PATIENCE / 2) -> bool:
    """Looks until something is true that announces itself by no event."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.002)
    return True


# ---- the watchdog ---------------------------------------------------------------------------------


def process_table() -> dict[int, tuple[int, str]]:
    """The parent and the state of every process."""
    table = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as file:
                    words = file.read().rpartition(")")[2].split()
            except OSError:
                continue
            table[int(name)] = (int(words[1]), words[0])
    return table


def descendants() -> set[int]:
    table = process_table()
    found: set[int] = set()
    fresh = {os.getpid()}
    while fresh:
        fresh = {pid for pid, (parent, _) in table.items() if parent in fresh}
        found |= fresh
    return found


def stacks() -> str:
    """The stacks of this process and of those that descend from it."""
    os.ftruncate(_stacks_fd, 0)
    for pid in [os.getpid(), *sorted(descendants())]:
        os.write(_stacks_fd, f"\n== {pid}: {command(pid)}\n".encode())
        try:
            with open(f"/proc/{pid}/status", "rb") as file:
                caught = [line for line in file if line.startswith(b"SigCgt")]
            if caught and int(caught[0].split()[1], 16) >> (signal.SIGUSR1 - 1) & 1:
                os.kill(pid, signal.SIGUSR1)
                time.sleep(0.1)
        except OSError:
            continue
    with open(_stacks_path, encoding="utf-8", errors="replace") as file:
        lines = [line for line in file if "/_pytest/" not in line and "/pluggy/" not in line]
    return "".join(lines)[-20000:]


class Watchdog:
    """Ends a test that hangs: first by an exception, then by killing all that it started."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.rings = 0

    def __enter__(self) -> Watchdog:
        self.before = descendants()
        self.previous = signal.signal(signal.SIGALRM, self.ring)
        signal.setitimer(signal.ITIMER_REAL, self.seconds, 10)
        # For a wait that no signal interrupts: nothing less than the end of this process helps.
        faulthandler.dump_traceback_later(self.seconds + 45, exit=True, file=_stderr_fd)
        return self

    def ring(self, *_: Any) -> None:
        self.rings += 1
        text = stacks() if self.rings == 1 else ""
        if self.rings > 1:
            for pid in descendants() - self.before:
                kill(pid)
        pytest.fail(f"hangs for more than {self.seconds} s\n{text}", pytrace=self.rings == 1)

    def __exit__(self, *_: Any) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self.previous)
        faulthandler.cancel_dump_traceback_later()


def kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except OSError:
        pass


def command(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return "gone"


# ---- what a test leaves ---------------------------------------------------------------------------


def memory_names() -> set[str]:
    return {name for name in os.listdir("/dev/shm") if not name.startswith("joblib_")}


def foreign(name: str) -> bool:
    """Whether a process that is not ours has this name of shared memory mapped."""
    family = descendants() | {os.getpid()}
    for pid in set(process_table()) - family:
        try:
            with open(f"/proc/{pid}/maps", encoding="utf-8", errors="replace") as file:
                if "/dev/shm/" + name in file.read():
                    return True
        except OSError:
            continue
    return False


def open_descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


class Leftovers:
    """Looks for processes and names that were not there before."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.children = descendants()
        self.names = memory_names()

    def more(self) -> list[str]:
        self.kind.ctx.active_children()  # reaps
        found = [f"process {pid}: {command(pid) or 'a zombie'}" for pid in self.processes()]
        names = memory_names() - self.names
        return found + [f"/dev/shm/{name}" for name in names if not foreign(name)]

    def processes(self) -> list[int]:
        return [
            pid for pid in sorted(descendants() - self.children)
            if "resource_tracker" not in command(pid) and command(pid) != "gone"
        ]

    def check(self, failed: bool) -> None:
        found = set(self.more())
        if found:
            gc.collect()

        def gone() -> bool:
            """What comes and goes meanwhile belongs to other programs."""
            found.intersection_update(self.more())
            return not found

        if not failed:
            until(gone, LEFTOVERS)
        for pid in self.processes():
            kill(pid)
        if found:
            until(lambda: not self.processes(), 1.0)
            if not failed:
                pytest.fail("left behind: " + ", ".join(sorted(found)))


class watched:
    """The watchdog and the search for leftovers around one test."""

    def __init__(self, request: Any, kind: Kind) -> None:
        mark = request.node.get_closest_marker("patience")
        self.request = request
        self.leftovers = Leftovers(kind)
        self.watchdog = Watchdog(mark.args[0] if mark else PATIENCE)

    def __enter__(self) -> None:
        self.watchdog.__enter__()

    def __exit__(self, *_: Any) -> None:
        try:
            report = getattr(self.request.node, "report_of_call", None)
            self.leftovers.check(report is None or report.failed)
        finally:
            self.watchdog.__exit__()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: Any, call: Any) -> Iterator[None]:
    outcome: Any = yield
    if call.when == "call":
        item.report_of_call = outcome.get_result()


def pytest_configure(config: Any) -> None:
    global _stderr_fd
    _stderr_fd = os.dup(2)
    config.addinivalue_line("markers", "patience(seconds): how long a test may take")


@pytest.fixture(scope="session", autouse=True)
def plain_main() -> Iterator[None]:
    """Children by spawn and forkserver must not import pytest's own main module again."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    yield
    sys.modules["__main__"] = main


def pytest_sessionfinish() -> None:
    os.unlink(_stacks_path)

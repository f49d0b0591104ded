# SPDX-License-Identifier: MIT
"""Well-known users of multiprocessing, unchanged, on multiproc: each prints what it prints on the standard library.

MULTIPROC_SITE is the folder that has the package.  Every program runs on the standard library, by
`python -m multiproc`, and with the folder of `--path` on PYTHONPATH.  A library that is not there is skipped.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

SITE = os.environ["MULTIPROC_SITE"]
METHODS = ["fork", "spawn", "forkserver"]
WAYS = ["standard library", "command", "path"]
HEAD = """
import logging, logging.handlers, os, signal, sys, time
import multiprocessing as mp
assert mp.__name__ == os.environ["EXPECTED_NAME"], mp.__name__
def square(x):
    return x * x
def die():
    os.kill(os.getpid(), signal.SIGKILL)
"""


def needs(name: str):
    """Skips a test where a library is not installed."""
    there = importlib.util.find_spec(name) is not None
    return pytest.mark.skipif(not there, reason=f"{name} is not installed")


def start(way: str, words: list[str], cwd: Path) -> subprocess.CompletedProcess:
    """Runs python with the words, in one of the WAYS."""
    environment = dict(os.environ, EXPECTED_NAME="multiproc", PYTHONPATH=SITE, OMP_NUM_THREADS="1")
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    if way == "standard library":
        environment["EXPECTED_NAME"] = "multiprocessing"
    elif way == "path":
        environment["PYTHONPATH"] = os.path.join(SITE, "multiproc", "path")
    else:
        words = ["-m", "multiproc", *words]
    return subprocess.run(
        [sys.executable, *words], env=environment, cwd=cwd, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=120, check=False,
    )


def run(tmp_path: Path, way: str, method: str, text: str) -> list[str]:
    """Runs a program with the method as its argument; the lines that it prints."""
    (tmp_path / "program.py").write_text(HEAD + text, encoding="utf-8")
    done = start(way, ["program.py", method], tmp_path)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


every_way = pytest.mark.parametrize("way", WAYS)
every_method = pytest.mark.parametrize("method", METHODS)


@needs("joblib")
@every_way
@pytest.mark.parametrize("backend", ["loky", "multiprocessing", "threading"])
def test_joblib(tmp_path: Path, way: str, backend: str) -> None:
    text = """
if __name__ == "__main__":
    from joblib import Parallel, delayed
    parallel = Parallel(n_jobs=2, backend=sys.argv[1])
    print(parallel(delayed(square)(i) for i in range(10)))
    print(len(parallel(delayed(square)(i) for i in range(500))))
    try:
        parallel(delayed(square)("x") for i in range(4))
    except TypeError as error:
        print("TypeError")
"""
    lines = run(tmp_path, way, backend, text)
    assert lines == [str([i * i for i in range(10)]), "500", "TypeError"]


@needs("joblib")
@every_way
def test_a_dead_worker_of_loky(tmp_path: Path, way: str) -> None:
    text = """
if __name__ == "__main__":
    from joblib import Parallel, delayed
    from joblib.externals.loky.process_executor import TerminatedWorkerError
    try:
        Parallel(n_jobs=2)(delayed(die)() for i in range(2))
    except TerminatedWorkerError:
        print("terminated")
    n = 3
    print(Parallel(n_jobs=2)(delayed(lambda x: x + n)(i) for i in range(3)))
"""
    assert run(tmp_path, way, "", text) == ["terminated", "[3, 4, 5]"]


@needs("joblib")
@needs("numpy")
@every_way
@pytest.mark.parametrize("backend", ["loky", "multiprocessing"])
def test_arrays_of_joblib(tmp_path: Path, way: str, backend: str) -> None:
    """Big arguments become memory maps, results come back as arrays."""
    text = """
def double(a):
    return type(a).__name__, a * 2
if __name__ == "__main__":
    import numpy
    from joblib import Parallel, delayed
    a = numpy.arange(1_000_000)
    for name, b in Parallel(n_jobs=2, backend=sys.argv[1])(delayed(double)(a) for i in range(2)):
        print(name, b.sum())
"""
    assert run(tmp_path, way, backend, text) == ["memmap 999999000000"] * 2


@needs("pebble")
@every_way
@every_method
def test_pebble(tmp_path: Path, way: str, method: str) -> None:
    text = """
def slow():
    time.sleep(100)
if __name__ == "__main__":
    from concurrent.futures import TimeoutError
    from pebble import ProcessExpired, ProcessPool, concurrent
    with ProcessPool(max_workers=2, context=mp.get_context(sys.argv[1])) as pool:
        print([pool.schedule(square, args=[i]).result() for i in range(4)])
        try:
            pool.schedule(slow, timeout=0.5).result(60)
        except TimeoutError:
            print("timeout")
        try:
            pool.schedule(die).result(60)
        except ProcessExpired as error:
            print("expired", error.exitcode)
        future = pool.schedule(slow)
        print(future.cancel())
        print(list(pool.map(square, range(5)).result()))
"""
    expected = ["[0, 1, 4, 9]", "timeout", "expired -9", "True", "[0, 1, 4, 9, 16]"]
    assert run(tmp_path, way, method, text) == expected


@needs("pebble")
@every_way
def test_decorators_of_pebble(tmp_path: Path, way: str) -> None:
    text = """
from pebble import concurrent
@concurrent.process(timeout=60)
def cube(x):
    return x ** 3
@concurrent.process(timeout=0.5)
def forever():
    time.sleep(100)
if __name__ == "__main__":
    print(cube(3).result(60))
    try:
        forever().result(60)
    except Exception as error:
        print(type(error).__name__)
"""
    assert run(tmp_path, way, "", text) == ["27", "TimeoutError"]


@every_way
@every_method
def test_process_pool_executor(tmp_path: Path, way: str, method: str) -> None:
    text = """
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
def start(n):
    global offset
    offset = n
def add(x):
    return x + offset
if __name__ == "__main__":
    context = mp.get_context(sys.argv[1])
    with ProcessPoolExecutor(2, mp_context=context, initializer=start, initargs=(10,)) as pool:
        print(list(pool.map(add, range(5))), sum(pool.map(square, range(1000), chunksize=10)))
        try:
            pool.submit(lambda: 1).result(60)
        except Exception as error:
            print("pickle" in str(error))
        print(len(pool.submit(bytes, 10_000_000).result(60)))
        try:
            pool.submit(square, "x").result(60)
        except TypeError as error:
            print("in square" in str(error.__cause__))
        try:
            pool.submit(die).result(60)
        except BrokenProcessPool:
            print("broken")
"""
    lines = run(tmp_path, way, method, text)
    assert lines == ["[10, 11, 12, 13, 14] 332833500", "True", "10000000", "True", "broken"]


@pytest.mark.parametrize("method", METHODS)
def test_executor_with_a_context_of_the_package(tmp_path: Path, method: str) -> None:
    """Nothing is installed; only the context is ours."""
    text = """
from concurrent.futures import ProcessPoolExecutor
if __name__ == "__main__":
    import multiproc
    with ProcessPoolExecutor(2, mp_context=multiproc.get_context(sys.argv[1])) as pool:
        print(list(pool.map(square, range(5))))
"""
    assert run(tmp_path, "standard library", method, text) == ["[0, 1, 4, 9, 16]"]


@needs("coverage")
@every_way
@every_method
def test_coverage(tmp_path: Path, way: str, method: str) -> None:
    """The lines that only a child runs are measured."""
    text = """
def child(n):
    if n > 0:
        print("child")
        return n
    return 0
if __name__ == "__main__":
    context = mp.get_context(sys.argv[1])
    p = context.Process(target=child, args=(1,))
    p.start()
    p.join()
    with context.Pool(1) as pool:
        pool.apply(child, (0,))
        pool.close()
        pool.join()
"""
    (tmp_path / "program.py").write_text(HEAD + text, encoding="utf-8")
    settings = "[run]\nconcurrency = multiprocessing\nparallel = true\n"
    (tmp_path / ".coveragerc").write_text(settings, encoding="utf-8")
    done = start(way, ["-m", "coverage", "run", "program.py", method], tmp_path)
    assert (done.returncode, done.stdout) == (0, "child\n"), done.stderr
    environment = dict(os.environ, PYTHONPATH="")
    for words in [["combine", "--quiet"], ["report", "--show-missing", "--include=program.py"]]:
        report = subprocess.run(
            [sys.executable, "-m", "coverage", *words], env=environment, cwd=tmp_path, text=True,
            capture_output=True, timeout=60, check=True,
        )
    (row,) = [line for line in report.stdout.splitlines() if line.startswith("program.py")]
    lines = (HEAD + text).splitlines()
    missing = [lines[int(n) - 1].strip() for n in row.partition("%")[2].split(",")]
    assert missing == ["return x * x", "os.kill(os.getpid(), signal.SIGKILL)"]


@needs("cloudpickle")
@every_way
@every_method
def test_cloudpickle(tmp_path: Path, way: str, method: str) -> None:
    text = """
import cloudpickle
def call(data, *args):
    return cloudpickle.loads(data)(*args)
def put(q, data):
    q.put(call(data, 5))
class Closure:
    def __init__(self, function):
        self.function = function
    def __call__(self, *args):
        return self.function(*args)
    def __reduce__(self):
        return cloudpickle.loads, (cloudpickle.dumps(self.function),)
if __name__ == "__main__":
    context = mp.get_context(sys.argv[1])
    n = 100
    data = cloudpickle.dumps(lambda x: x + n)
    with context.Pool(2) as pool:
        print(pool.apply(call, (data, 1)), pool.map(Closure(lambda x: x + n), [1, 2, 3]))
    q = context.Queue()
    p = context.Process(target=put, args=(q, data))
    p.start()
    print(q.get(timeout=60))
    p.join()
    q.put(Closure(lambda x: x - n))
    print(q.get(timeout=60)(1))
"""
    assert run(tmp_path, way, method, text) == ["101 [101, 102, 103]", "105", "-99"]


@every_way
@every_method
def test_reducers_that_are_registered(tmp_path: Path, way: str, method: str) -> None:
    """What a library registers with ForkingPickler is honoured everywhere, also while the queue is in use."""
    text = """
from multiprocessing.reduction import ForkingPickler
class Thing:
    def __reduce__(self):
        raise RuntimeError("by its own reducer")
def make(text):
    thing = Thing()
    thing.text = text
    return thing
def look(thing):
    return thing.text
def put(q):
    q.put(make("from the child"))
ForkingPickler.register(Thing, lambda thing: (make, (thing.text,)))
if __name__ == "__main__":
    context = mp.get_context(sys.argv[1])
    q, s, (a, b) = context.Queue(), context.SimpleQueue(), context.Pipe()
    for send, get in [(q.put, q.get), (s.put, s.get), (a.send, b.recv)]:
        send(1)
        send(make("there"))
        print(get(), get().text)
    with context.Pool(1) as pool:
        print(pool.apply(look, (make("task"),)))
    p = context.Process(target=put, args=(q,))
    p.start()
    print(q.get(timeout=60).text)
    p.join()
"""
    assert run(tmp_path, way, method, text) == ["1 there"] * 3 + ["task", "from the child"]


@every_way
def test_main_stays_the_program(tmp_path: Path, way: str) -> None:
    """For threads that go on when the program's last line has been run, too."""
    text = """
import atexit, pickle, threading
def late():
    threading.main_thread().join()
    print(pickle.loads(pickle.dumps(square)) is square, sys.modules["__mp_main__"].square is square)
if __name__ == "__main__":
    threading.Thread(target=late).start()
"""
    assert run(tmp_path, way, "", text) == ["True True"]


@needs("torch")
@every_way
@every_method
def test_loader_of_torch(tmp_path: Path, way: str, method: str) -> None:
    text = """
import torch
from torch.utils.data import DataLoader, Dataset
class Numbers(Dataset):
    def __len__(self):
        return 20
    def __getitem__(self, i):
        return torch.full((3,), float(i))
if __name__ == "__main__":
    options = dict(batch_size=4, num_workers=2, multiprocessing_context=sys.argv[1])
    for persistent in [False, True]:
        loader = DataLoader(Numbers(), persistent_workers=persistent, **options)
        for epoch in range(2):
            print([batch.sum().item() for batch in loader])
"""
    assert run(tmp_path, way, method, text) == [str([18.0, 66.0, 114.0, 162.0, 210.0])] * 4


@needs("torch")
@every_way
@every_method
def test_tensors_of_torch(tmp_path: Path, way: str, method: str) -> None:
    """A tensor goes through a queue, a pipe and the arguments of a process, in shared memory."""
    text = """
import torch
import torch.multiprocessing as tmp
def child(there, back, end, shared):
    shared += 1
    back.put(torch.arange(10.0))
    tensor = there.get(timeout=60)
    tensor *= 2
    end.send(torch.ones(3))
    back.put("done")
    there.get(timeout=60)
if __name__ == "__main__":
    context = tmp.get_context(sys.argv[1])
    there, back, (ours, theirs) = context.Queue(), context.SimpleQueue(), context.Pipe()
    shared = torch.zeros(4).share_memory_()
    p = context.Process(target=child, args=(there, back, theirs, shared))
    p.start()
    got = back.get()
    print(got.sum().item(), got.is_shared())
    sent = torch.ones(5)
    there.put(sent)
    print(ours.recv().sum().item(), back.get())
    print(sent.sum().item(), shared.sum().item())
    there.put("end")
    p.join(60)
    print(p.exitcode)
"""
    assert run(tmp_path, way, method, text) == ["45.0 True", "3.0 done", "10.0 4.0", "0"]


@needs("torch")
@every_way
def test_spawn_of_torch(tmp_path: Path, way: str) -> None:
    text = """
import torch.multiprocessing as tmp
def child(rank, q):
    if rank == 1:
        raise ValueError("one")
    q.put(rank)
if __name__ == "__main__":
    q = tmp.get_context("spawn").SimpleQueue()
    try:
        tmp.spawn(child, (q,), nprocs=2)
    except tmp.ProcessRaisedException as error:
        print(error.error_index, "ValueError: one" in str(error))
    with tmp.Pool(2) as pool:
        print(pool.map(square, [1, 2]))
"""
    assert run(tmp_path, way, "", text) == ["1 True", "[1, 4]"]


@every_way
@every_method
def test_handlers_of_logging(tmp_path: Path, way: str, method: str) -> None:
    text = """
def child(q, n):
    logger = logging.getLogger("child")
    logger.addHandler(logging.handlers.QueueHandler(q))
    logger.setLevel(logging.INFO)
    logger.info("number %d", n)
    try:
        1 / 0
    except ZeroDivisionError:
        logger.exception("failed")
class Collect(logging.Handler):
    def emit(self, record):
        texts.append(f"{record.processName} {record.getMessage().splitlines()[0]}")
if __name__ == "__main__":
    texts = []
    context = mp.get_context(sys.argv[1])
    q = context.Queue()
    listener = logging.handlers.QueueListener(q, Collect())
    listener.start()
    ps = [context.Process(target=child, args=(q, n), name=f"P{n}") for n in range(3)]
    for p in ps:
        p.start()
    for p in ps:
        p.join()
    listener.stop()
    print(sorted(texts))
"""
    expected = sorted(f"P{n} {text}" for n in range(3) for text in [f"number {n}", "failed"])
    assert run(tmp_path, way, method, text) == [str(expected)]


@needs("tqdm")
@every_way
@every_method
def test_tqdm(tmp_path: Path, way: str, method: str) -> None:
    text = """
from tqdm import tqdm
from tqdm.contrib.concurrent import process_map
def step(n):
    for i in tqdm(range(3), position=n, disable=None):
        pass
    with tqdm.get_lock():
        return n
if __name__ == "__main__":
    context = mp.get_context(sys.argv[1])
    tqdm.set_lock(context.RLock())
    with context.Pool(2, initializer=tqdm.set_lock, initargs=(tqdm.get_lock(),)) as pool:
        print(sorted(tqdm(pool.imap_unordered(step, range(4)), total=4)))
    print(process_map(square, range(5), max_workers=2, chunksize=1))
"""
    assert run(tmp_path, way, method, text) == ["[0, 1, 2, 3]", "[0, 1, 4, 9, 16]"]

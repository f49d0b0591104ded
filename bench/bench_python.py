# SPDX-License-Identifier: MIT
"""Measures multiproc beside the interpreter's own multiprocessing, in one run, alternating.

    bench_python.py SITE [--json FILE] [--quick]

SITE is the folder that has the package.  Each measurement is made by a fresh interpreter, five times for each
of the two in turn; what is printed is the median and how many times faster multiproc is.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys

WORK = r'''
import sys, time
if sys.argv[1] == "multiproc":
    import multiproc as mp
else:
    import multiprocessing as mp
case, n = sys.argv[2], int(sys.argv[3])

def nothing(*args):
    pass

def fill(q, n):
    for i in range(n):
        q.put(i)

def echo(c, n):
    for i in range(n):
        c.send(c.recv())

def square(x):
    return x * x

def main():
    clock = time.perf_counter
    if case.startswith("start"):
        ctx = mp.get_context(case.split()[1])
        first = ctx.Process(target=nothing)
        first.start()
        first.join()
        t = clock()
        for _ in range(n):
            p = ctx.Process(target=nothing)
            p.start()
            p.join()
    elif case == "queue":
        q = mp.Queue()
        p = mp.Process(target=fill, args=(q, n))
        t = clock()
        p.start()
        for _ in range(n):
            q.get()
        p.join()
    elif case == "simplequeue":
        q = mp.SimpleQueue()
        t = clock()
        for i in range(n):
            q.put(i)
            q.get()
    elif case == "lock":
        lock = mp.Lock()
        t = clock()
        for _ in range(n):
            lock.acquire()
            lock.release()
    elif case == "rlock":
        lock = mp.RLock()
        t = clock()
        for _ in range(n):
            with lock:
                pass
    elif case == "semaphore":
        s = mp.Semaphore(3)
        t = clock()
        for _ in range(n):
            s.acquire()
            s.release()
    elif case == "event":
        e = mp.Event()
        t = clock()
        for _ in range(n):
            e.set()
            e.is_set()
            e.clear()
    elif case == "value":
        v = mp.Value("i", 0)
        t = clock()
        for _ in range(n):
            with v.get_lock():
                v.value += 1
    elif case == "pipe":
        a, b = mp.Pipe()
        p = mp.Process(target=echo, args=(b, n))
        p.start()
        t = clock()
        for i in range(n):
            a.send(i)
            a.recv()
        p.join()
    elif case == "pool start":
        t = clock()
        for _ in range(n):
            with mp.Pool(4):
                pass
    elif case == "pool map":
        with mp.Pool(2) as pool:
            pool.map(square, range(10))
            t = clock()
            pool.map(square, range(n), chunksize=1)
            print((clock() - t) / n)
            return
    print((clock() - t) / n)

if __name__ == "__main__":
    main()
'''

CASES = [
    ("start and join of a process, fork", "start fork", 50, 1.5),
    ("start and join of a process, forkserver", "start forkserver", 40, 4),
    ("start and join of a process, spawn", "start spawn", 8, 2),
    ("Queue, small ints, one process puts, one gets", "queue", 100000, 5),
    ("SimpleQueue, put and get in one process", "simplequeue", 50000, 2),
    ("Lock, acquire and release", "lock", 500000, 2),
    ("RLock, with", "rlock", 500000, 2),
    ("Semaphore, acquire and release", "semaphore", 500000, 2),
    ("Event, set, is_set and clear", "event", 100000, 2),
    ("Value, += 1 under its lock", "value", 100000, 2),
    ("Pipe, there and back, small ints", "pipe", 20000, 3),
    ("Pool(4), start and end", "pool start", 5, 3),
    ("Pool(2).map, chunks of one", "pool map", 20000, 10),
]


def measure(site: str, which: str, case: str, n: int) -> float:
    environment = dict(os.environ, PYTHONPATH=site)
    with open(os.path.join(site, "bench_work.py"), "w", encoding="utf-8") as file:
        file.write(WORK)
    done = subprocess.run(
        [sys.executable, file.name, which, case, str(n)], env=environment, check=True,
        stdout=subprocess.PIPE, text=True, timeout=300,
    )
    return float(done.stdout)


def main() -> None:
    site, quick = sys.argv[1], "--quick" in sys.argv
    lines = []
    for work, case, n, target in CASES:
        times = {"multiproc": [], "stock": []}
        for _ in range(2 if quick else 5):
            for which, seen in times.items():
                seen.append(measure(site, which, case, n // 5 or 1 if quick else n))
        ours, stock = (statistics.median(times[w]) for w in ("multiproc", "stock"))
        lines.append({"work": work, "ours_us": ours * 1e6, "stock_us": stock * 1e6,
                      "speed": stock / ours, "target": target})
        print(f"{work:50} {ours * 1e6:10.2f} us {stock * 1e6:10.2f} us  {stock / ours:6.2f} x"
              f"  ({target})", flush=True)
    if "--json" in sys.argv:
        with open(sys.argv[sys.argv.index("--json") + 1], "w", encoding="utf-8") as file:
            json.dump(lines, file, indent=1)


if __name__ == "__main__":
    main()

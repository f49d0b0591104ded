# SPDX-License-Identifier: MIT
"""A lock lets one worker print at a time, and a queue collects what they computed."""

from multiprocessing import Lock, Process, Queue, current_process


def worker(q, lock, num):
    with lock:
        print(f"{current_process().name} working on {num}", flush=True)
        q.put(num * 2)


if __name__ == "__main__":
    q = Queue()
    lock = Lock()
    processes = [Process(target=worker, args=(q, lock, num)) for num in [1, 2, 3, 4, 5]]
    for p in processes:
        p.start()
    for p in processes:
        p.join()
    results = []
    while not q.empty():
        results.append(q.get())
    print(sorted(results))

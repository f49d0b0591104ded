# SPDX-License-Identifier: MIT
"""A process runs a function, and its parent waits for it."""

from multiprocessing import Process


def f(name):
    print("hello", name)


if __name__ == "__main__":
    p = Process(target=f, args=("Robert",))
    p.start()
    p.join()

# SPDX-License-Identifier: MIT
"""A pool of workers computes squares."""

from multiprocessing import Pool


def compute_square(n):
    return n * n


if __name__ == "__main__":
    with Pool(processes=4) as pool:
        print(pool.map(compute_square, [1, 2, 3, 4, 5]))

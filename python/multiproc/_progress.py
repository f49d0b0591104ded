# SPDX-License-Identifier: MIT
"""A bar on standard error while a long map goes on: how much is done, how fast, and how long it will take."""

import sys
import time

__all__ = ["Bar"]

WIDTH = 30


class Bar:
    """For `total` steps; silent when standard error is no terminal."""

    def __init__(self, total):
        self.total = total
        self.done = 0
        self.began = self.shown = time.monotonic()
        self.active = sys.stderr is not None and sys.stderr.isatty()

    def step(self):
        self.done += 1
        now = time.monotonic()
        if self.active and (now - self.shown > 0.1 or self.done == self.total):
            self.shown = now
            self.show(now)

    def show(self, now):
        rate = self.done / max(now - self.began, 1e-9)
        left = (self.total - self.done) / rate
        full = WIDTH * self.done // self.total
        end = "\n" if self.done == self.total else ""
        sys.stderr.write(
            f"\r[{'#' * full}{' ' * (WIDTH - full)}] {self.done}/{self.total}, {rate:.1f}/s, {left:.0f} s left "
            + end
        )
        sys.stderr.flush()

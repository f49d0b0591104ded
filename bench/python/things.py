# SPDX-License-Identifier: MIT
"""Owns the objects that the measurements send, and the check that they have arrived."""

from typing import Any

SMALL = {
    "int": 1234567,
    "tuple": ("resize", 640, 2.5, None),
    "kilobyte": b"k" * 1024,
}


def look(thing: Any) -> Any:
    """Reads a number of each page of an array, as whoever works with it would."""
    return float(thing[::512].sum()) if hasattr(thing, "dtype") else thing


class Sent:
    """One of SMALL, or a numpy array of so many bytes, each page of it touched."""

    def __init__(self, name: str) -> None:
        self.array = name not in SMALL
        if self.array:
            import numpy

            self.thing = numpy.arange(int(name) // 8, dtype=numpy.float64)
        else:
            self.thing = SMALL[name]
        self._expected = look(self.thing)

    def check(self, got: Any) -> None:
        if look(got) != self._expected:
            raise RuntimeError("another object has arrived")

    def take(self, receive: Any, n: int) -> None:
        """Receives so many times.  Of small objects only the last one is looked at."""
        if self.array:
            for _ in range(n):
                self.check(receive())
            return
        for _ in range(n):
            got = receive()
        self.check(got)
